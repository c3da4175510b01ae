//! The walk over a statement: queries, and what else may touch a table with rules.

use std::collections::HashSet;

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, ParseResult, SelectStmt, WithClause};

use super::faithful::Print;
use super::quiet;
use super::scope::Sight;
use super::table::{Table, Tables};
use super::{Forbidden, Result};
use crate::decide::restrict::ParameterRule;

/// Rewrites one statement in place.
pub struct Rewriter<'s, 'a> {
    pub tables: &'s Tables<'a>,
    pub sight: Sight,
    /// Whether some condition could tell of hidden rows, so that the planner must not move conditions.
    pub is_fenced: bool,
    pub is_changed: bool,
    pub parameters: Vec<ParameterRule>,
    /// How many relations and columns the walk has met.
    pub relations_met: usize,
    pub columns_met: usize,
    /// The tables with rules that the statement names.
    seen: HashSet<usize>,
    selects: usize,
    is_unwalked: bool,
    locks: bool,
    fenced: Option<usize>,
}

impl<'s, 'a> Rewriter<'s, 'a> {
    pub fn new(tables: &'s Tables<'a>, print: &Print) -> Self {
        Self {
            tables,
            sight: Sight::default(),
            is_fenced: true,
            is_changed: false,
            parameters: Vec::new(),
            relations_met: 0,
            columns_met: 0,
            seen: HashSet::new(),
            selects: print.selects,
            is_unwalked: false,
            locks: false,
            fenced: None,
        }
    }

    pub fn table(&self, at: usize) -> &'s Table<'a> {
        // The place comes from `Tables::find`.
        #[allow(clippy::indexing_slicing)]
        &self.tables.all[at]
    }

    pub fn forbid(&self, at: usize, reason: impl Into<String>) -> Forbidden {
        self.table(at).forbid(reason)
    }

    /// A table with rules is named.
    pub fn see(&mut self, at: usize) {
        self.seen.insert(at);
    }

    pub fn fence(&mut self, at: usize) {
        self.fenced = Some(at);
    }

    /// A text of one statement.
    pub fn text(&mut self, tree: &mut ParseResult) -> Result<()> {
        let [raw] = tree.stmts.as_mut_slice() else {
            return Err(self.tables.forbid(
                "a text of several statements; send those on tables with rules one by one",
            ));
        };
        let node = present(raw.stmt.as_deref_mut(), self.tables)?;
        self.is_fenced = !quiet::is_quiet(node, self.tables, self.selects);
        self.top(node)
    }

    #[allow(clippy::wildcard_enum_match_arm)] // All else is refused on tables that hide something.
    fn top(&mut self, node: &mut NodeEnum) -> Result<()> {
        match node {
            NodeEnum::SelectStmt(_)
            | NodeEnum::InsertStmt(_)
            | NodeEnum::UpdateStmt(_)
            | NodeEnum::DeleteStmt(_)
            | NodeEnum::MergeStmt(_) => self.statement(node),
            NodeEnum::DeclareCursorStmt(declare) => {
                let query = present(declare.query.as_deref_mut(), self.tables)?;
                self.statement(query)
            }
            NodeEnum::ExplainStmt(explain) if !self.tables.hide() => {
                let query = present(explain.query.as_deref_mut(), self.tables)?;
                self.statement(query)
            }
            NodeEnum::TruncateStmt(_) => Err(self.tables.forbid(
                "`TRUNCATE` deletes every row of a table whose rules say which rows may be; use `DELETE`",
            )),
            _ if !self.tables.hide() => {
                // Nothing is hidden, and nothing but UPDATE and DELETE needs a WHERE.
                self.is_unwalked = true;
                Ok(())
            }
            NodeEnum::ExplainStmt(_) => Err(self.tables.forbid(
                "`EXPLAIN` tells of the rows and values that the rules of its tables hide",
            )),
            NodeEnum::CopyStmt(_) => Err(self.tables.forbid(
                "`COPY` cannot keep the rules of its table; use `SELECT` or `INSERT`",
            )),
            NodeEnum::PrepareStmt(_) => Err(self.tables.forbid(
                "`PREPARE` cannot keep the rules of its tables; prepare through the protocol, with parameters",
            )),
            NodeEnum::CreateStmt(_)
            | NodeEnum::IndexStmt(_)
            | NodeEnum::AlterTableStmt(_)
            | NodeEnum::RenameStmt(_)
            | NodeEnum::DropStmt(_) => Err(self.tables.forbid(
                "a table with column rules or row filters, or one made from it, is changed by an administrator",
            )),
            _ => Err(self
                .tables
                .forbid("this statement cannot keep the rules of its tables")),
        }
    }

    #[allow(clippy::wildcard_enum_match_arm)] // All else is refused.
    pub fn statement(&mut self, node: &mut NodeEnum) -> Result<()> {
        match node {
            NodeEnum::SelectStmt(select) => self.select(select),
            NodeEnum::InsertStmt(insert) => self.insert(insert),
            NodeEnum::UpdateStmt(update) => self.update(update),
            NodeEnum::DeleteStmt(delete) => self.delete(delete),
            NodeEnum::MergeStmt(merge) => self.merge(merge),
            _ => Err(self
                .tables
                .forbid("this statement is not understood where it stands")),
        }
    }

    pub fn select(&mut self, select: &mut SelectStmt) -> Result<()> {
        self.sight.enter_with();
        let outputs = select.target_list.iter().filter_map(output_name).collect();
        self.with(select.with_clause.as_mut())?;
        self.sight.levels.push(Vec::new());
        self.sight.outputs.push(outputs);
        self.select_body(select)?;
        self.sight.outputs.pop();
        self.sight.levels.pop();
        self.sight.leave_with();
        Ok(())
    }

    fn select_body(&mut self, select: &mut SelectStmt) -> Result<()> {
        if select.into_clause.is_some() {
            return Err(self
                .tables
                .forbid("`SELECT … INTO` makes a table; use `INSERT INTO … SELECT`"));
        }
        self.sources(&mut select.from_clause)?;
        self.expressions(&mut select.distinct_clause)?;
        self.expressions(&mut select.target_list)?;
        self.optional(select.where_clause.as_deref_mut())?;
        self.expressions(&mut select.group_clause)?;
        self.optional(select.having_clause.as_deref_mut())?;
        self.expressions(&mut select.window_clause)?;
        self.expressions(&mut select.values_lists)?;
        self.expressions(&mut select.sort_clause)?;
        self.optional(select.limit_offset.as_deref_mut())?;
        self.optional(select.limit_count.as_deref_mut())?;
        for clause in &select.locking_clause {
            self.locks = true;
            // The relations of a locking clause are names of what stands in FROM.
            if let Some(NodeEnum::LockingClause(clause)) = &clause.node {
                self.relations_met += clause.locked_rels.len();
            }
        }
        for side in [&mut select.larg, &mut select.rarg].into_iter().flatten() {
            self.select(side)?;
        }
        Ok(())
    }

    /// A `WITH`, as the classifier reads it: each name is in sight of what follows it, and of everything in
    /// `WITH RECURSIVE`.
    pub fn with(&mut self, with: Option<&mut WithClause>) -> Result<()> {
        let Some(with) = with else {
            return Ok(());
        };
        if with.recursive {
            for node in &with.ctes {
                if let Some(NodeEnum::CommonTableExpr(cte)) = &node.node {
                    self.sight.name_cte(&cte.ctename);
                }
            }
        }
        for node in &mut with.ctes {
            let Some(NodeEnum::CommonTableExpr(cte)) = &mut node.node else {
                return Err(self.tables.forbid("a `WITH` that is not understood"));
            };
            let query = present(cte.ctequery.as_deref_mut(), self.tables)?;
            self.statement(query)?;
            if let Some(search) = &mut cte.search_clause {
                self.expressions(&mut search.search_col_list)?;
            }
            if let Some(cycle) = &mut cte.cycle_clause {
                self.expressions(&mut cycle.cycle_col_list)?;
                self.optional(cycle.cycle_mark_value.as_deref_mut())?;
                self.optional(cycle.cycle_mark_default.as_deref_mut())?;
            }
            if !with.recursive {
                self.sight.name_cte(&cte.ctename);
            }
        }
        Ok(())
    }

    /// Refuses what the walk did not meet, or cannot keep whole.
    pub fn saw_everything(&self, print: &Print) -> Result<()> {
        if self.is_unwalked {
            return Ok(());
        }
        if (self.relations_met, self.columns_met) != (print.relations, print.columns) {
            return Err(self.tables.forbid(
                "a part of the statement is not understood under the rules of its tables",
            ));
        }
        for (at, table) in self.tables.all.iter().enumerate() {
            if table.rules.hides() && !self.seen.contains(&at) {
                return Err(table.forbid(format!(
                    "`{}` has column rules or row filters, and is reached through a view, a trigger or another table",
                    table.object
                )));
            }
        }
        match self.fenced {
            Some(at) if self.locks => Err(self.forbid(
                at,
                format!(
                    "`FOR UPDATE` on `{}`, whose rows are filtered, needs conditions that compare columns with \
                     constants or parameters, and no subquery; lock the rows by their keys",
                    self.table(at).object
                ),
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// The name that a query gives to what it returns.
fn output_name(target: &Node) -> Option<String> {
    match &target.node {
        Some(NodeEnum::ResTarget(target)) if !target.name.is_empty() => Some(target.name.clone()),
        _ => None,
    }
}

/// The node behind a field that the grammar always fills.
pub fn present<'n>(node: Option<&'n mut Node>, tables: &Tables<'_>) -> Result<&'n mut NodeEnum> {
    node.and_then(|node| node.node.as_mut())
        .ok_or_else(|| tables.forbid("a part of the statement could not be described"))
}
