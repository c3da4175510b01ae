//! Conditions that cannot fail, and so tell nothing of rows on which the planner may try them too early.
//!
//! A comparison of a column with a constant or a parameter of the same kind is one, and so is what `AND`, `OR` and
//! `NOT` make of these. Constants and parameters are read as the column's type before any row is looked at.

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AExpr, AExprKind, ColumnRef, DeleteStmt, JoinExpr, Node, RangeVar, SelectStmt, UpdateStmt,
};

use super::kind::{Kind, compares, is_constant_for, kind_of_type};
use super::scope::names;
use super::table::{Table, Tables};
use crate::decide::restrict::Column;
use crate::decide::rules::Mask;

/// Whether no condition anywhere in the statement could tell of a row that it should not see. `selects` is how
/// many queries the statement has: with a subquery, conditions move through it.
#[allow(clippy::wildcard_enum_match_arm)] // Everything else may tell.
pub fn is_quiet(node: &NodeEnum, tables: &Tables<'_>, selects: usize) -> bool {
    match node {
        NodeEnum::SelectStmt(select) => selects == 1 && is_quiet_select(select, tables),
        NodeEnum::InsertStmt(insert) => {
            let source = insert
                .select_stmt
                .as_deref()
                .and_then(|node| node.node.as_ref());
            let is_quiet_source = match source {
                Some(NodeEnum::SelectStmt(select)) => is_quiet_select(select, tables),
                _ => false,
            };
            selects == 1 && insert.with_clause.is_none() && is_quiet_source
        }
        NodeEnum::UpdateStmt(update) => {
            selects == 0
                && is_quiet_change(
                    &Quiet::of_update(update, tables),
                    update.where_clause.as_deref(),
                    &update.from_clause,
                )
        }
        NodeEnum::DeleteStmt(delete) => {
            selects == 0
                && is_quiet_change(
                    &Quiet::of_delete(delete, tables),
                    delete.where_clause.as_deref(),
                    &delete.using_clause,
                )
        }
        _ => false,
    }
}

fn is_quiet_change(quiet: &Option<Quiet<'_>>, condition: Option<&Node>, from: &[Node]) -> bool {
    quiet.as_ref().is_some_and(|quiet| {
        quiet.joins(from) && condition.is_none_or(|condition| quiet.condition(condition))
    })
}

fn is_quiet_select(select: &SelectStmt, tables: &Tables<'_>) -> bool {
    let is_plain = select.with_clause.is_none()
        && select.larg.is_none()
        && select.values_lists.is_empty()
        && select.having_clause.is_none();
    is_plain
        && Quiet::of_sources(&select.from_clause, tables).is_some_and(|quiet| {
            quiet.joins(&select.from_clause)
                && select
                    .where_clause
                    .as_deref()
                    .is_none_or(|condition| quiet.condition(condition))
        })
}

/// What the columns of a condition belong to.
pub struct Quiet<'t> {
    sources: Vec<Source<'t>>,
}

struct Source<'t> {
    name: String,
    rules: Option<&'t Table<'t>>,
    columns: Option<Arc<[Column]>>,
}

/// A column's owner and kind.
enum Owner {
    /// One without hidden rows.
    Open(Option<Kind>),
    Restricted(Option<Kind>),
    Unclear,
}

impl<'t> Quiet<'t> {
    /// `None` where something else than tables stands in FROM.
    pub fn of_sources(items: &[Node], tables: &'t Tables<'_>) -> Option<Self> {
        let mut quiet = Self {
            sources: Vec::new(),
        };
        quiet.add_all(items, tables).then_some(quiet)
    }

    fn of_update(update: &UpdateStmt, tables: &'t Tables<'_>) -> Option<Self> {
        if update.with_clause.is_some() {
            return None;
        }
        Self::of_target(update.relation.as_ref()?, &update.from_clause, tables)
    }

    fn of_delete(delete: &DeleteStmt, tables: &'t Tables<'_>) -> Option<Self> {
        if delete.with_clause.is_some() {
            return None;
        }
        Self::of_target(delete.relation.as_ref()?, &delete.using_clause, tables)
    }

    /// A target and what stands beside it. The names in `items` must mean tables.
    pub fn of_target(relation: &RangeVar, items: &[Node], tables: &'t Tables<'_>) -> Option<Self> {
        let mut quiet = Self::of_sources(items, tables)?;
        quiet.add(relation, tables);
        Some(quiet)
    }

    fn add_all(&mut self, items: &[Node], tables: &'t Tables<'_>) -> bool {
        items.iter().all(|item| self.add_item(item, tables))
    }

    #[allow(clippy::wildcard_enum_match_arm)] // Nothing else is plain.
    fn add_item(&mut self, item: &Node, tables: &'t Tables<'_>) -> bool {
        match &item.node {
            Some(NodeEnum::RangeVar(relation)) => {
                self.add(relation, tables);
                relation
                    .alias
                    .as_ref()
                    .is_none_or(|alias| alias.colnames.is_empty())
            }
            Some(NodeEnum::JoinExpr(join)) => {
                join.alias.is_none()
                    && join.join_using_alias.is_none()
                    && [&join.larg, &join.rarg]
                        .into_iter()
                        .flatten()
                        .all(|side| self.add_item(side, tables))
            }
            _ => false,
        }
    }

    fn add(&mut self, relation: &RangeVar, tables: &'t Tables<'_>) {
        let (namespace, name) = tables.resolve(relation);
        let rules = tables
            .find(relation)
            .and_then(|at| tables.all.get(at))
            .filter(|table| table.rules.hides());
        let columns = match rules {
            Some(table) => table.columns.clone(),
            None => tables
                .columns
                .and_then(|columns| columns.of(namespace, name)),
        };
        let alias = relation.alias.as_ref().map(|alias| alias.aliasname.clone());
        self.sources.push(Source {
            name: alias.unwrap_or_else(|| relation.relname.clone()),
            rules,
            columns,
        });
    }

    /// Whether the conditions of every join are quiet.
    #[allow(clippy::wildcard_enum_match_arm)] // Only joins have conditions.
    fn joins(&self, items: &[Node]) -> bool {
        items.iter().all(|item| match &item.node {
            Some(NodeEnum::JoinExpr(join)) => self.join(join),
            _ => true,
        })
    }

    fn join(&self, join: &JoinExpr) -> bool {
        let sides = [&join.larg, &join.rarg];
        let is_quiet_using = join.using_clause.iter().all(|column| {
            let name = names(std::slice::from_ref(column)).pop().flatten();
            name.is_some_and(|name| self.shares(&name))
        });
        !join.is_natural
            && is_quiet_using
            && sides.into_iter().flatten().all(|side| match &side.node {
                Some(NodeEnum::JoinExpr(join)) => self.join(join),
                _ => true,
            })
            && join
                .quals
                .as_deref()
                .is_none_or(|condition| self.condition(condition))
    }

    /// Whether every source that may have the column has it in the same kind.
    fn shares(&self, name: &str) -> bool {
        let mut kinds = Vec::new();
        for source in &self.sources {
            if source.columns.is_none() {
                return false;
            }
            if let Some(kind) = source.kind(name) {
                kinds.push(kind);
            } else if source.has(name) {
                return false;
            }
        }
        kinds.windows(2).all(|pair| pair.first() == pair.last()) && !kinds.contains(&Kind::Text)
    }

    /// Whether a condition cannot fail on a row that it should not see.
    #[allow(clippy::wildcard_enum_match_arm)] // Everything else may fail.
    pub fn condition(&self, node: &Node) -> bool {
        match &node.node {
            Some(NodeEnum::BoolExpr(operation)) => {
                operation.args.iter().all(|part| self.condition(part))
            }
            Some(NodeEnum::NullTest(test)) => {
                test.arg.as_deref().is_some_and(|arg| self.is_column(arg))
            }
            Some(NodeEnum::BooleanTest(test)) => {
                test.arg.as_deref().is_some_and(|arg| self.is_boolean(arg))
            }
            Some(NodeEnum::ColumnRef(_)) => self.is_boolean(node),
            Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)) => true,
            Some(NodeEnum::AExpr(operation)) => self.comparison(operation),
            _ => false,
        }
    }

    fn comparison(&self, operation: &AExpr) -> bool {
        let (Some(left), Some(right)) = (operation.lexpr.as_deref(), operation.rexpr.as_deref())
        else {
            return false;
        };
        let operator = names(&operation.name).pop().flatten().unwrap_or_default();
        let is_comparison = operation.name.len() == 1
            && matches!(operator.as_str(), "=" | "<>" | "<" | "<=" | ">" | ">=");
        match AExprKind::try_from(operation.kind) {
            Ok(AExprKind::AexprOp) => is_comparison && self.pair(left, right),
            Ok(AExprKind::AexprIn) => is_comparison && self.each(left, right),
            Ok(AExprKind::AexprBetween | AExprKind::AexprNotBetween) => self.each(left, right),
            // The parameter is an array of the column's type.
            Ok(AExprKind::AexprOpAny) => {
                is_comparison
                    && matches!(right.node, Some(NodeEnum::ParamRef(_)))
                    && self.pair(left, right)
            }
            Ok(
                AExprKind::Undefined
                | AExprKind::AexprOpAll
                | AExprKind::AexprDistinct
                | AExprKind::AexprNotDistinct
                | AExprKind::AexprNullif
                | AExprKind::AexprLike
                | AExprKind::AexprIlike
                | AExprKind::AexprSimilar
                | AExprKind::AexprBetweenSym
                | AExprKind::AexprNotBetweenSym,
            )
            | Err(_) => false,
        }
    }

    /// A column and each of a list.
    fn each(&self, column: &Node, list: &Node) -> bool {
        match &list.node {
            Some(NodeEnum::List(list)) => list.items.iter().all(|item| self.pair(column, item)),
            _ => false,
        }
    }

    /// A column and a constant, or two columns, in either order.
    fn pair(&self, left: &Node, right: &Node) -> bool {
        let is_column = |node: &Node| matches!(node.node, Some(NodeEnum::ColumnRef(_)));
        match (is_column(left), is_column(right)) {
            (true, true) => match (self.owner(left), self.owner(right)) {
                (
                    Owner::Restricted(Some(left)),
                    Owner::Restricted(Some(right)) | Owner::Open(Some(right)),
                )
                | (Owner::Open(Some(left)), Owner::Restricted(Some(right))) => {
                    // Texts of two collations fail.
                    compares(left, right) && compares(right, left) && left != Kind::Text
                }
                (Owner::Open(_), Owner::Open(_)) => true,
                (Owner::Restricted(_) | Owner::Open(_) | Owner::Unclear, _) => false,
            },
            (true, false) => self.with_constant(left, right),
            (false, true) => self.with_constant(right, left),
            (false, false) => false,
        }
    }

    fn with_constant(&self, column: &Node, constant: &Node) -> bool {
        match self.owner(column) {
            Owner::Restricted(Some(kind)) => is_constant_for(kind, constant),
            Owner::Restricted(None) | Owner::Unclear => false,
            Owner::Open(_) => matches!(
                &constant.node,
                Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_))
            ),
        }
    }

    fn is_column(&self, node: &Node) -> bool {
        !matches!(self.owner(node), Owner::Unclear)
    }

    fn is_boolean(&self, node: &Node) -> bool {
        matches!(
            self.owner(node),
            Owner::Restricted(Some(Kind::Boolean)) | Owner::Open(_)
        )
    }

    fn owner(&self, node: &Node) -> Owner {
        let Some(NodeEnum::ColumnRef(ColumnRef { fields, .. })) = &node.node else {
            return Owner::Unclear;
        };
        let parts = names(fields);
        let parts: Option<Vec<&str>> = parts.iter().map(Option::as_deref).collect();
        match parts.as_deref() {
            Some([name]) => self.owner_of(name),
            Some([qualifier, name]) => {
                let mut named = self
                    .sources
                    .iter()
                    .filter(|source| source.name == *qualifier);
                match (named.next(), named.next()) {
                    (Some(source), None) => source.owner(name),
                    _ => Owner::Unclear,
                }
            }
            _ => Owner::Unclear,
        }
    }

    /// A name alone is the restricted table's that has it; else it can only be another's.
    fn owner_of(&self, name: &str) -> Owner {
        if self.sources.iter().any(|source| source.name == name) {
            return Owner::Unclear;
        }
        let mut having = self
            .sources
            .iter()
            .filter(|source| source.rules.is_some() && source.has(name));
        match (having.next(), having.next()) {
            (Some(source), None) => source.owner(name),
            (Some(_), Some(_)) => Owner::Unclear,
            (None, _) => {
                let mut kinds = self.sources.iter().filter_map(|source| source.kind(name));
                match (kinds.next(), kinds.next()) {
                    (Some(kind), None) => Owner::Open(Some(kind)),
                    _ if self.sources.iter().any(|source| source.rules.is_none()) => {
                        Owner::Open(None)
                    }
                    _ => Owner::Unclear,
                }
            }
        }
    }
}

impl Source<'_> {
    fn column(&self, name: &str) -> Option<&Column> {
        let columns = self.columns.as_ref()?;
        columns.iter().find(|column| &*column.name == name)
    }

    fn has(&self, name: &str) -> bool {
        self.column(name).is_some()
    }

    /// The kind of what is seen of a column.
    fn kind(&self, name: &str) -> Option<Kind> {
        let column = self.column(name)?;
        match self.rules.and_then(|table| table.mask(name)) {
            Some(Mask::Hash | Mask::Partial) => Some(Kind::Text),
            Some(Mask::Null) | None => kind_of_type(&column.type_name),
        }
    }

    fn owner(&self, name: &str) -> Owner {
        match (self.rules, self.kind(name)) {
            (None, _) if self.columns.is_some() && !self.has(name) => Owner::Unclear,
            (None, kind) => Owner::Open(kind),
            (Some(_), None) if !self.has(name) => Owner::Unclear,
            (Some(_), kind) => Owner::Restricted(kind),
        }
    }
}
