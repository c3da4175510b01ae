//! `RETURNING`: the rows that were written, as their caller may see them.

use pg_query::NodeEnum;
use pg_query::protobuf::{AStar, ColumnRef, Node, ResTarget, ReturningClause, String as Name};

use super::scope::{Of, Range, names};
use super::statement::Rewriter;
use super::write::Target;
use super::{Result, render};

impl Rewriter<'_, '_> {
    pub fn returning(
        &mut self,
        target: &Target,
        clause: Option<&mut ReturningClause>,
        others: Option<Vec<String>>,
    ) -> Result<()> {
        let Some(clause) = clause else {
            return Ok(());
        };
        let Some(at) = target.at.filter(|at| self.table(*at).hides_columns()) else {
            return self.expressions(&mut clause.exprs);
        };
        if !clause.options.is_empty() {
            return Err(self.forbid(
                at,
                "`RETURNING WITH` renames rows that have masked or hidden columns; use `old` and `new`",
            ));
        }
        for name in ["old", "new"] {
            let in_sight = self.sight.levels.last();
            let is_taken =
                in_sight.is_some_and(|level| level.iter().any(|range| range.name == name));
            if !is_taken {
                self.sight.add(Range {
                    name: name.into(),
                    is_aliased: true,
                    renames: false,
                    of: Of::Target(at),
                });
            }
        }
        let mut exprs = Vec::new();
        for expr in std::mem::take(&mut clause.exprs) {
            self.returned(at, target, others.as_deref(), expr, &mut exprs)?;
        }
        clause.exprs = exprs;
        Ok(())
    }

    /// One item: all columns, a column, or an expression, which may use what is seen as it is stored.
    fn returned(
        &mut self,
        at: usize,
        target: &Target,
        others: Option<&[String]>,
        mut expr: Node,
        exprs: &mut Vec<Node>,
    ) -> Result<()> {
        let parts = column_of(&expr);
        let table = self.table(at);
        let parts: Vec<Option<&str>> = parts.iter().map(Option::as_deref).collect();
        let (qualifier, name) = match parts.as_slice() {
            [None] => {
                self.columns_met += 1;
                let Some(others) = others else {
                    return Err(table.forbid("`RETURNING *` of a join; name the columns"));
                };
                self.all_columns(at, &target.name, exprs)?;
                exprs.extend(others.iter().map(|name| star(name)));
                return Ok(());
            }
            [Some(qualifier), None] if self.is_target(at, qualifier) => {
                self.columns_met += 1;
                return self.all_columns(at, qualifier, exprs);
            }
            [Some(name)] => (target.name.as_str(), *name),
            [Some(qualifier), Some(name)] if self.is_target(at, qualifier) => (*qualifier, *name),
            [Some(schema), Some(name), last]
                if *schema == table.namespace && *name == table.name && *name == target.name =>
            {
                match last {
                    Some(last) => (*name, *last),
                    None => {
                        self.columns_met += 1;
                        return self.all_columns(at, name, exprs);
                    }
                }
            }
            _ => {
                self.expression(&mut expr)?;
                exprs.push(expr);
                return Ok(());
            }
        };
        if !table.rules.may_name(name) || table.mask(name).is_none() {
            self.expression(&mut expr)?;
        } else {
            self.columns_met += 1;
            let mask = render::mask(table, self.tables, name, qualifier)?;
            if let (Some(NodeEnum::ResTarget(target)), Some(mask)) = (&mut expr.node, mask) {
                if target.name.is_empty() {
                    target.name = name.to_owned();
                }
                target.val = Some(Box::new(mask));
                self.is_changed = true;
            }
        }
        exprs.push(expr);
        Ok(())
    }

    fn is_target(&self, at: usize, qualifier: &str) -> bool {
        let level = self.sight.levels.last();
        level.is_some_and(|level| {
            level
                .iter()
                .any(|range| range.name == qualifier && range.of == Of::Target(at))
        })
    }

    /// Every column of the target that may be seen.
    fn all_columns(&mut self, at: usize, qualifier: &str, exprs: &mut Vec<Node>) -> Result<()> {
        let table = self.table(at);
        let Some(columns) = table.known(self.tables)? else {
            return Ok(());
        };
        for column in columns
            .iter()
            .filter(|column| table.rules.may_name(&column.name))
        {
            let mask = render::mask(table, self.tables, &column.name, qualifier)?;
            exprs.push(result(match mask {
                Some(mask) => (column.name.to_string(), mask),
                None => (String::new(), reference(&[qualifier, &column.name])),
            }));
        }
        self.is_changed = true;
        Ok(())
    }
}

/// The names of what stands beside a target, in their order; `None` where a join may merge columns, so that `*` is
/// not all of one after all of the other, or where something has no name.
#[allow(clippy::wildcard_enum_match_arm)] // Nothing else has a certain name.
pub fn names_of(items: &[Node]) -> Option<Vec<String>> {
    items
        .iter()
        .map(|item| match item.node.as_ref()? {
            NodeEnum::RangeVar(relation) => match &relation.alias {
                Some(alias) => Some(alias.aliasname.clone()),
                None => Some(relation.relname.clone()),
            },
            NodeEnum::RangeSubselect(subselect) => {
                Some(subselect.alias.as_ref()?.aliasname.clone())
            }
            _ => None,
        })
        .collect()
}

/// The parts of the column that an item is, if it is one.
fn column_of(expr: &Node) -> Vec<Option<String>> {
    if let Some(NodeEnum::ResTarget(target)) = &expr.node
        && let Some(NodeEnum::ColumnRef(column)) =
            target.val.as_deref().and_then(|value| value.node.as_ref())
    {
        return names(&column.fields);
    }
    Vec::new()
}

fn result((name, value): (String, Node)) -> Node {
    Node {
        node: Some(NodeEnum::ResTarget(Box::new(ResTarget {
            name,
            val: Some(Box::new(value)),
            ..ResTarget::default()
        }))),
    }
}

fn reference(parts: &[&str]) -> Node {
    let fields = parts.iter().map(|part| name(part)).collect();
    Node {
        node: Some(NodeEnum::ColumnRef(ColumnRef {
            fields,
            location: 0,
        })),
    }
}

fn star(qualifier: &str) -> Node {
    let all = Node {
        node: Some(NodeEnum::AStar(AStar {})),
    };
    result((
        String::new(),
        Node {
            node: Some(NodeEnum::ColumnRef(ColumnRef {
                fields: vec![name(qualifier), all],
                location: 0,
            })),
        },
    ))
}

fn name(text: &str) -> Node {
    Node {
        node: Some(NodeEnum::String(Name {
            sval: text.to_owned(),
        })),
    }
}
