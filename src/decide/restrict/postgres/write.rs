//! `UPDATE`, `DELETE` and `MERGE`: the target keeps its place, and its conditions stand beside the caller's.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    BoolExpr, BoolExprType, CaseExpr, CaseWhen, DeleteStmt, MergeStmt, Node, RangeVar, UpdateStmt,
    a_const,
};

use super::prove::{self, Value};
use super::quiet::Quiet;
use super::returning::names_of;
use super::scope::{Of, Range};
use super::statement::{Rewriter, present};
use super::{Result, render};

/// A target of a write: the table with rules that it means, and the name that it has in the statement.
pub struct Target {
    pub at: Option<usize>,
    pub name: String,
    is_aliased: bool,
}

impl Rewriter<'_, '_> {
    pub fn target(&mut self, relation: Option<&RangeVar>) -> Result<Target> {
        let relation =
            relation.ok_or_else(|| self.tables.forbid("a statement that writes to nothing"))?;
        self.relations_met += 1;
        let at = self.tables.find(relation);
        if let Some(at) = at {
            self.see(at);
            if self.table(at).rules.hides() {
                // Without the columns nothing can be proved of what is written.
                self.table(at).known(self.tables)?;
            }
        }
        let alias = relation.alias.as_ref().map(|alias| alias.aliasname.clone());
        Ok(Target {
            at,
            is_aliased: alias.is_some(),
            name: alias.unwrap_or_else(|| relation.relname.clone()),
        })
    }

    pub fn bring(&mut self, target: &Target) {
        self.sight.add(Range {
            name: target.name.clone(),
            is_aliased: target.is_aliased,
            renames: false,
            of: target.at.map_or(Of::Other, Of::Target),
        });
    }

    pub fn update(&mut self, update: &mut UpdateStmt) -> Result<()> {
        self.sight.enter_with();
        self.with(update.with_clause.as_mut())?;
        let target = self.target(update.relation.as_ref())?;
        let conjuncts = self.conjuncts(
            update.relation.as_ref(),
            &update.from_clause,
            update.where_clause.as_deref(),
        );
        self.needs_where(&target, update.where_clause.as_deref())?;
        self.sight.levels.push(Vec::new());
        self.sources(&mut update.from_clause)?;
        let others = names_of(&update.from_clause);
        self.bring(&target);
        self.assignments(&target, &mut update.target_list)?;
        self.optional(update.where_clause.as_deref_mut())?;
        self.guard(&target, &mut update.where_clause, &conjuncts)?;
        self.returning(&target, update.returning_clause.as_mut(), others)?;
        self.sight.levels.pop();
        self.sight.leave_with();
        Ok(())
    }

    pub fn delete(&mut self, delete: &mut DeleteStmt) -> Result<()> {
        self.sight.enter_with();
        self.with(delete.with_clause.as_mut())?;
        let target = self.target(delete.relation.as_ref())?;
        let conjuncts = self.conjuncts(
            delete.relation.as_ref(),
            &delete.using_clause,
            delete.where_clause.as_deref(),
        );
        self.needs_where(&target, delete.where_clause.as_deref())?;
        self.sight.levels.push(Vec::new());
        self.sources(&mut delete.using_clause)?;
        let others = names_of(&delete.using_clause);
        self.bring(&target);
        self.optional(delete.where_clause.as_deref_mut())?;
        self.guard(&target, &mut delete.where_clause, &conjuncts)?;
        self.returning(&target, delete.returning_clause.as_mut(), others)?;
        self.sight.levels.pop();
        self.sight.leave_with();
        Ok(())
    }

    pub fn merge(&mut self, merge: &mut MergeStmt) -> Result<()> {
        self.sight.enter_with();
        self.with(merge.with_clause.as_mut())?;
        let target = self.target(merge.relation.as_ref())?;
        if let Some(at) = target.at {
            return Err(self.forbid(
                at,
                format!(
                    "`MERGE` into `{}` cannot keep its rules; use `INSERT … ON CONFLICT`, `UPDATE` or `DELETE`",
                    self.table(at).object
                ),
            ));
        }
        self.sight.levels.push(Vec::new());
        if let Some(source) = merge.source_relation.as_deref_mut() {
            self.source(source)?;
        }
        self.bring(&target);
        self.optional(merge.join_condition.as_deref_mut())?;
        for clause in &mut merge.merge_when_clauses {
            let NodeEnum::MergeWhenClause(clause) = present(Some(clause), self.tables)? else {
                return Err(self
                    .tables
                    .forbid("this branch of `MERGE` is not understood"));
            };
            self.optional(clause.condition.as_deref_mut())?;
            self.expressions(&mut clause.target_list)?;
            self.expressions(&mut clause.values)?;
        }
        self.returning(&target, merge.returning_clause.as_mut(), None)?;
        self.sight.levels.pop();
        self.sight.leave_with();
        Ok(())
    }

    /// What `SET` writes: columns that may be named, and nothing that takes a row out of the caller's sight.
    pub fn assignments(&mut self, target: &Target, assignments: &mut [Node]) -> Result<()> {
        if let Some(at) = target.at {
            let table = self.table(at);
            let mut values = Vec::new();
            for assignment in assignments.iter() {
                let Some(NodeEnum::ResTarget(assignment)) = &assignment.node else {
                    return Err(table.forbid("a part of `SET` is not understood"));
                };
                self.may_write(at, &assignment.name)?;
                let value = if assignment.indirection.is_empty() {
                    Value::of(assignment.val.as_deref(), table, &assignment.name)
                } else {
                    Value::Unknown
                };
                values.push((assignment.name.clone(), value));
            }
            let changed: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
            table.tells_nothing(&changed)?;
            let rules = prove::row(table, self.tables, Some(&changed), &|column| {
                let mut found = values.iter().filter(|(name, _)| name == column);
                match (found.next(), found.next()) {
                    (Some((_, value)), None) => value.clone(),
                    _ => Value::Unknown,
                }
            })?;
            self.parameters.extend(rules);
        }
        self.expressions(assignments)
    }

    pub fn may_write(&self, at: usize, column: &str) -> Result<()> {
        let table = self.table(at);
        if table.rules.may_name(column) {
            return Ok(());
        }
        Err(table.forbid(format!(
            "the column `{column}` of `{}` may not be named, so it cannot be written",
            table.object
        )))
    }

    fn needs_where(&self, target: &Target, condition: Option<&Node>) -> Result<()> {
        let Some(at) = target.at.filter(|at| self.table(*at).rules.requires_where) else {
            return Ok(());
        };
        if condition.is_some_and(chooses) {
            return Ok(());
        }
        Err(self.forbid(
            at,
            format!(
                "`UPDATE` and `DELETE` on `{}` need a `WHERE` that says which rows",
                self.table(at).object
            ),
        ))
    }

    /// Which of the caller's conditions, joined by `AND`, cannot tell of a row that the caller may not see.
    fn conjuncts(
        &self,
        target: Option<&RangeVar>,
        from: &[Node],
        condition: Option<&Node>,
    ) -> Vec<bool> {
        let Some((target, condition)) = target.zip(condition) else {
            return Vec::new();
        };
        if !from.is_empty() && self.sight.has_ctes() {
            return Vec::new();
        }
        match Quiet::of_target(target, from, self.tables) {
            Some(quiet) => parts(condition)
                .into_iter()
                .map(|part| quiet.condition(part))
                .collect(),
            None => Vec::new(),
        }
    }

    /// Adds the row filter of a target to its `WHERE`. What could fail on a hidden row is tried only where the
    /// filter holds, which `CASE` alone promises.
    pub fn guard(
        &mut self,
        target: &Target,
        condition: &mut Option<Box<Node>>,
        are_quiet: &[bool],
    ) -> Result<()> {
        let Some(at) = target.at else {
            return Ok(());
        };
        let table = self.table(at);
        let Some(filter) = render::row_condition(table, self.tables, &target.name)? else {
            return Ok(());
        };
        let mut all = split(filter.clone());
        let mut noisy = Vec::new();
        let theirs = condition
            .take()
            .map(|theirs| split(*theirs))
            .unwrap_or_default();
        for (place, part) in theirs.into_iter().enumerate() {
            if are_quiet.get(place).copied().unwrap_or(false) {
                all.push(part);
            } else {
                noisy.push(part);
            }
        }
        if !noisy.is_empty() {
            all.push(only_where(filter, joined(noisy)));
        }
        *condition = Some(Box::new(joined(all)));
        self.is_changed = true;
        Ok(())
    }
}

/// The parts of a condition that `AND` joins.
pub fn parts(condition: &Node) -> Vec<&Node> {
    match &condition.node {
        Some(NodeEnum::BoolExpr(operation)) if is_and(operation) => operation.args.iter().collect(),
        _ => vec![condition],
    }
}

fn split(condition: Node) -> Vec<Node> {
    match condition.node {
        Some(NodeEnum::BoolExpr(operation)) if is_and(&operation) => operation.args,
        node => vec![Node { node }],
    }
}

fn is_and(operation: &BoolExpr) -> bool {
    BoolExprType::try_from(operation.boolop) == Ok(BoolExprType::AndExpr)
}

fn joined(mut parts: Vec<Node>) -> Node {
    if parts.len() == 1 {
        return parts.pop().unwrap_or_default();
    }
    Node {
        node: Some(NodeEnum::BoolExpr(Box::new(BoolExpr {
            boolop: BoolExprType::AndExpr.into(),
            args: parts,
            ..BoolExpr::default()
        }))),
    }
}

/// `CASE WHEN filter THEN condition ELSE false END`.
fn only_where(filter: Node, condition: Node) -> Node {
    let when = CaseWhen {
        expr: Some(Box::new(filter)),
        result: Some(Box::new(condition)),
        ..CaseWhen::default()
    };
    let no = pg_query::protobuf::AConst {
        val: Some(a_const::Val::Boolval(pg_query::protobuf::Boolean {
            boolval: false,
        })),
        ..Default::default()
    };
    Node {
        node: Some(NodeEnum::CaseExpr(Box::new(CaseExpr {
            args: vec![Node {
                node: Some(NodeEnum::CaseWhen(Box::new(when))),
            }],
            defresult: Some(Box::new(Node {
                node: Some(NodeEnum::AConst(no)),
            })),
            ..CaseExpr::default()
        }))),
    }
}

/// Whether a condition chooses rows: some column decides, in every branch of an `OR`.
#[allow(clippy::wildcard_enum_match_arm)] // What compares nothing chooses nothing.
fn chooses(condition: &Node) -> bool {
    match &condition.node {
        Some(NodeEnum::BoolExpr(operation)) if is_and(operation) => {
            operation.args.iter().any(chooses)
        }
        Some(NodeEnum::BoolExpr(operation)) => operation.args.iter().all(chooses),
        Some(NodeEnum::AExpr(operation)) => {
            let same = operation.lexpr.as_deref().map(names_column);
            let same = same.is_some_and(|left| {
                left.is_some() && left == operation.rexpr.as_deref().and_then(names_column)
            });
            !same
                && [&operation.lexpr, &operation.rexpr]
                    .into_iter()
                    .flatten()
                    .any(|side| mentions_column(side))
        }
        Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_) | NodeEnum::TypeCast(_)) | None => false,
        _ => mentions_column(condition),
    }
}

fn names_column(node: &Node) -> Option<Vec<Option<String>>> {
    match &node.node {
        Some(NodeEnum::ColumnRef(column)) => Some(super::scope::names(&column.fields)),
        _ => None,
    }
}

/// Whether a column stands anywhere in it.
fn mentions_column(node: &Node) -> bool {
    super::faithful::columns(node) > 0
}
