//! `INSERT`: what each row says of the columns that the row filter needs, and what `ON CONFLICT` may change.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    InsertStmt, Node, OnConflictAction, OnConflictClause, OverridingKind, RangeVar, SelectStmt,
};

use super::Result;
use super::prove::{self, Value};
use super::quiet::Quiet;
use super::scope::{Of, Range};
use super::statement::{Rewriter, present};
use super::write::{Target, parts};

impl Rewriter<'_, '_> {
    pub fn insert(&mut self, insert: &mut InsertStmt) -> Result<()> {
        self.sight.enter_with();
        self.with(insert.with_clause.as_mut())?;
        let target = self.target(insert.relation.as_ref())?;
        if let Some(at) = target.at {
            self.inserted(at, insert)?;
        }
        for column in &mut insert.cols {
            if let Some(NodeEnum::ResTarget(column)) = &mut column.node {
                self.expressions(&mut column.indirection)?;
            }
        }
        if let Some(source) = insert.select_stmt.as_deref_mut() {
            let query = present(Some(source), self.tables)?;
            self.statement(query)?;
        }
        self.sight.levels.push(Vec::new());
        self.bring(&target);
        if let (Some(conflict), Some(relation)) =
            (insert.on_conflict_clause.as_deref_mut(), &insert.relation)
        {
            self.on_conflict(&target, relation, conflict)?;
        }
        self.returning(&target, insert.returning_clause.as_mut(), Some(Vec::new()))?;
        self.sight.levels.pop();
        self.sight.leave_with();
        Ok(())
    }

    /// Checks the columns that are written, and proves the row filter of every row.
    fn inserted(&mut self, at: usize, insert: &InsertStmt) -> Result<()> {
        let table = self.table(at);
        let writes_denied = table.rules.columns.is_some() || !table.rules.denied.is_empty();
        if !writes_denied && !table.hides_rows() {
            return Ok(());
        }
        let select = match insert.select_stmt.as_deref().map(|node| &node.node) {
            None => None,
            Some(Some(NodeEnum::SelectStmt(select))) => Some(select.as_ref()),
            Some(_) => return Err(table.forbid("the source of the rows is not understood")),
        };
        let columns = self.written_columns(at, &insert.cols, select)?;
        for (column, _) in &columns {
            self.may_write(at, column)?;
        }
        if !table.hides_rows() {
            return Ok(());
        }
        let takes_none = matches!(
            OverridingKind::try_from(insert.r#override),
            Ok(OverridingKind::OverridingUserValue)
        );
        if takes_none {
            return Err(table.forbid(
                "`OVERRIDING USER VALUE` leaves the row filter of the table without a value",
            ));
        }
        for row in rows(select) {
            let value = |column: &str| {
                let place = columns
                    .iter()
                    .position(|(name, is_whole)| name == column && *is_whole);
                let given = place.and_then(|place| row.get(place).copied().flatten());
                given.map_or(Value::Unknown, |node| Value::of(Some(node), table, column))
            };
            let rules = prove::row(table, self.tables, None, &value)?;
            self.parameters.extend(rules);
        }
        Ok(())
    }

    /// The columns that are written, in the order of the values, each with whether the whole of it is.
    fn written_columns(
        &self,
        at: usize,
        listed: &[Node],
        select: Option<&SelectStmt>,
    ) -> Result<Vec<(String, bool)>> {
        let table = self.table(at);
        if !listed.is_empty() {
            return Ok(listed
                .iter()
                .filter_map(|column| match &column.node {
                    Some(NodeEnum::ResTarget(column)) => {
                        Some((column.name.clone(), column.indirection.is_empty()))
                    }
                    _ => None,
                })
                .collect());
        }
        let Some(select) = select else {
            // `DEFAULT VALUES` writes none.
            return Ok(Vec::new());
        };
        let width = rows(Some(select)).iter().map(Vec::len).max().unwrap_or(0);
        let is_clear = !select.values_lists.is_empty();
        match &table.columns {
            Some(columns) if is_clear => Ok(columns
                .iter()
                .take(width)
                .map(|column| (column.name.to_string(), true))
                .collect()),
            _ => Err(table.forbid(format!(
                "`INSERT` into `{}` must list the columns that it writes",
                table.object
            ))),
        }
    }

    fn on_conflict(
        &mut self,
        target: &Target,
        relation: &RangeVar,
        conflict: &mut OnConflictClause,
    ) -> Result<()> {
        if let Some(infer) = &mut conflict.infer {
            self.expressions(&mut infer.index_elems)?;
            self.optional(infer.where_clause.as_deref_mut())?;
        }
        if OnConflictAction::try_from(conflict.action) != Ok(OnConflictAction::OnconflictUpdate) {
            return Ok(());
        }
        self.sight.add(Range {
            name: "excluded".into(),
            is_aliased: true,
            renames: false,
            of: target.at.map_or(Of::Other, Of::Proposed),
        });
        let are_quiet: Vec<bool> = match (
            Quiet::of_target(relation, &[], self.tables),
            conflict.where_clause.as_deref(),
        ) {
            (Some(quiet), Some(condition)) => parts(condition)
                .into_iter()
                .map(|part| quiet.condition(part))
                .collect(),
            _ => Vec::new(),
        };
        self.assignments(target, &mut conflict.target_list)?;
        self.optional(conflict.where_clause.as_deref_mut())?;
        // The row that stands in the way must be one of the caller's.
        self.guard(target, &mut conflict.where_clause, &are_quiet)?;
        // `RETURNING` does not see the proposed row, and the target may have its name.
        if let Some(level) = self.sight.levels.last_mut() {
            level.pop();
        }
        Ok(())
    }

    /// A column that `ON CONFLICT` names to say which index is meant.
    pub fn unqualified_conflict(&self, column: &str) -> Result<()> {
        let target = self.sight.levels.last().and_then(|level| level.first());
        match target.map(|range| range.of) {
            Some(Of::Target(at)) if self.is_denied_to(at, column) => {
                Err(self.table(at).denied(column))
            }
            Some(Of::Target(_) | Of::Read(_) | Of::Proposed(_) | Of::Other) | None => Ok(()),
        }
    }
}

/// What each row says of each column; nothing where a place is not certain. `DEFAULT VALUES` is a row without any.
fn rows(select: Option<&SelectStmt>) -> Vec<Vec<Option<&Node>>> {
    let Some(select) = select else {
        return vec![Vec::new()];
    };
    if !select.values_lists.is_empty() {
        return select
            .values_lists
            .iter()
            .map(|row| match &row.node {
                Some(NodeEnum::List(row)) => row.items.iter().map(Some).collect(),
                _ => Vec::new(),
            })
            .collect();
    }
    // A list with `*` gives an unknown number of columns; a set operation has several lists.
    let mut row = Vec::new();
    for target in select.target_list.iter().filter(|_| select.larg.is_none()) {
        match &target.node {
            Some(NodeEnum::ResTarget(target)) if !is_star(target.val.as_deref()) => {
                row.push(target.val.as_deref());
            }
            _ => break,
        }
    }
    vec![row]
}

#[allow(clippy::wildcard_enum_match_arm)] // Nothing else gives several columns.
fn is_star(value: Option<&Node>) -> bool {
    match value.and_then(|value| value.node.as_ref()) {
        Some(NodeEnum::ColumnRef(column)) => {
            super::scope::names(&column.fields).last() == Some(&None)
        }
        Some(NodeEnum::AIndirection(indirection)) => indirection
            .indirection
            .iter()
            .any(|step| matches!(step.node, Some(NodeEnum::AStar(_)))),
        _ => false,
    }
}
