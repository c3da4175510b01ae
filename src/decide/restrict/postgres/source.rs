//! What stands in FROM.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    Alias, JoinExpr, JsonTable, Node, RangeFunction, RangeTableFunc, RangeVar, String as Name,
};

use super::scope::{Of, Range};
use super::statement::{Rewriter, present};
use super::{Result, render};

impl Rewriter<'_, '_> {
    pub fn sources(&mut self, items: &mut [Node]) -> Result<()> {
        for item in items {
            self.source(item)?;
        }
        Ok(())
    }

    #[allow(clippy::wildcard_enum_match_arm)] // All else is refused.
    pub fn source(&mut self, item: &mut Node) -> Result<()> {
        match present(Some(item), self.tables)? {
            NodeEnum::RangeVar(relation) => {
                if let Some(derived) = self.relation(relation)? {
                    *item = derived;
                    self.is_changed = true;
                }
                Ok(())
            }
            NodeEnum::RangeSubselect(subselect) => {
                let query = present(subselect.subquery.as_deref_mut(), self.tables)?;
                if subselect.lateral {
                    self.statement(query)?;
                } else {
                    // It cannot see what stands beside it.
                    let beside = self.sight.hide();
                    self.statement(query)?;
                    self.sight.reveal(beside);
                }
                self.name(subselect.alias.as_ref());
                Ok(())
            }
            NodeEnum::RangeFunction(function) => self.range_function(function),
            NodeEnum::JoinExpr(join) => self.join(join),
            NodeEnum::RangeTableSample(sample) => {
                let relation = present(sample.relation.as_deref_mut(), self.tables)?;
                let NodeEnum::RangeVar(relation) = relation else {
                    return Err(self
                        .tables
                        .forbid("a sample of something else than a table"));
                };
                if let Some(at) = self.with_rules(relation)
                    && self.table(at).rules.hides()
                {
                    return Err(self.forbid(at, "`TABLESAMPLE` counts rows that the rules hide"));
                }
                self.relation(relation)?;
                self.expressions(&mut sample.args)?;
                self.optional(sample.repeatable.as_deref_mut())
            }
            NodeEnum::RangeTableFunc(table) => self.xml_table(table),
            NodeEnum::JsonTable(table) => self.json_table(table),
            _ => Err(self
                .tables
                .forbid("a part of FROM is not understood under the rules of its tables")),
        }
    }

    /// The table with rules that a relation in FROM means.
    fn with_rules(&self, relation: &RangeVar) -> Option<usize> {
        if self.sight.is_cte(relation) {
            return None;
        }
        self.tables.find(relation)
    }

    /// A relation that is read: what to put in its place, where it hides something.
    fn relation(&mut self, relation: &RangeVar) -> Result<Option<Node>> {
        self.relations_met += 1;
        let found = self.with_rules(relation);
        let of = match found {
            Some(at) => {
                self.see(at);
                Of::Read(at)
            }
            None => Of::Other,
        };
        let alias = relation.alias.as_ref().map(|alias| alias.aliasname.clone());
        self.sight.add(Range {
            is_aliased: alias.is_some(),
            renames: relation
                .alias
                .as_ref()
                .is_some_and(|alias| !alias.colnames.is_empty()),
            name: alias.unwrap_or_else(|| relation.relname.clone()),
            of,
        });
        let Some(at) = found.filter(|at| self.table(*at).rules.hides()) else {
            return Ok(None);
        };
        if self.is_fenced && self.table(at).hides_rows() {
            self.fence(at);
        }
        let table = self.table(at);
        if table.known(self.tables)?.is_none() {
            return Ok(None);
        }
        render::derived(table, self.tables, relation, self.is_fenced).map(Some)
    }

    fn name(&mut self, alias: Option<&Alias>) {
        if let Some(alias) = alias {
            self.sight.add(Range {
                name: alias.aliasname.clone(),
                is_aliased: true,
                renames: !alias.colnames.is_empty(),
                of: Of::Other,
            });
        }
    }

    fn join(&mut self, join: &mut JoinExpr) -> Result<()> {
        let before = self.sight.levels.last().map_or(0, Vec::len);
        for side in [&mut join.larg, &mut join.rarg].into_iter().flatten() {
            self.source(side)?;
        }
        // Its conditions see its sides, and not what stands beside it.
        let mut beside = self.sight.hide();
        let sides = beside.split_off(before.min(beside.len()));
        self.sight.reveal(sides);
        for column in &join.using_clause {
            if let Some(NodeEnum::String(Name { sval })) = &column.node {
                self.unqualified(sval)?;
            }
        }
        self.optional(join.quals.as_deref_mut())?;
        if join.alias.is_some() {
            // An alias hides the names of the sides.
            self.sight.hide();
        }
        self.sight.reveal(beside);
        self.name(join.join_using_alias.as_ref());
        self.name(join.alias.as_ref());
        Ok(())
    }

    fn range_function(&mut self, function: &mut RangeFunction) -> Result<()> {
        for pair in &mut function.functions {
            let NodeEnum::List(pair) = present(Some(pair), self.tables)? else {
                return Err(self.tables.forbid("a function in FROM is not understood"));
            };
            for part in pair.items.iter_mut().filter(|part| part.node.is_some()) {
                self.expression(part)?;
            }
        }
        self.expressions(&mut function.coldeflist)?;
        self.name(function.alias.as_ref());
        Ok(())
    }

    fn xml_table(&mut self, table: &mut RangeTableFunc) -> Result<()> {
        self.optional(table.docexpr.as_deref_mut())?;
        self.optional(table.rowexpr.as_deref_mut())?;
        self.expressions(&mut table.namespaces)?;
        for column in &mut table.columns {
            let NodeEnum::RangeTableFuncCol(column) = present(Some(column), self.tables)? else {
                return Err(self
                    .tables
                    .forbid("a column of `XMLTABLE` is not understood"));
            };
            self.optional(column.colexpr.as_deref_mut())?;
            self.optional(column.coldefexpr.as_deref_mut())?;
        }
        self.name(table.alias.as_ref());
        Ok(())
    }

    fn json_table(&mut self, table: &mut JsonTable) -> Result<()> {
        self.json_value(table.context_item.as_deref_mut())?;
        if let Some(path) = &mut table.pathspec {
            self.optional(path.string.as_deref_mut())?;
        }
        self.expressions(&mut table.passing)?;
        self.json_columns(&mut table.columns)?;
        self.json_behavior(table.on_error.as_deref_mut())?;
        self.name(table.alias.as_ref());
        Ok(())
    }

    fn json_columns(&mut self, columns: &mut [Node]) -> Result<()> {
        for column in columns {
            let NodeEnum::JsonTableColumn(column) = present(Some(column), self.tables)? else {
                return Err(self
                    .tables
                    .forbid("a column of `JSON_TABLE` is not understood"));
            };
            if let Some(path) = &mut column.pathspec {
                self.optional(path.string.as_deref_mut())?;
            }
            self.json_columns(&mut column.columns)?;
            self.json_behavior(column.on_empty.as_deref_mut())?;
            self.json_behavior(column.on_error.as_deref_mut())?;
        }
        Ok(())
    }
}
