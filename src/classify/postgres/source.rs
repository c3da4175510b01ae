//! What stands in FROM: relations, subqueries, functions, joins, samples, XML and JSON tables.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    JoinExpr, Node, RangeFunction, RangeSubselect, RangeTableFunc, RangeTableFuncCol,
    RangeTableSample,
};

use super::walk::{Walker, present};
use super::{Result, names, nodes};

impl Walker {
    pub fn sources(&mut self, items: &[Node]) -> Result<()> {
        for item in items {
            self.source(present(Some(item))?)?;
        }
        Ok(())
    }

    #[allow(clippy::wildcard_enum_match_arm)] // `nodes::kind` names every node; the rest is refused.
    pub fn source(&mut self, item: &NodeEnum) -> Result<()> {
        match item {
            NodeEnum::RangeVar(relation) => self.source_relation(relation),
            NodeEnum::RangeSubselect(subselect) => {
                let RangeSubselect {
                    lateral: _,
                    subquery,
                    alias: _,
                } = subselect.as_ref();
                self.statement(present(subquery.as_deref())?)
            }
            NodeEnum::RangeFunction(function) => self.range_function(function),
            NodeEnum::JoinExpr(join) => self.join(join),
            NodeEnum::RangeTableSample(sample) => self.sample(sample),
            NodeEnum::RangeTableFunc(table) => self.xml_table(table),
            NodeEnum::JsonTable(table) => self.json_table(table),
            other => Err(nodes::refused(other)),
        }
    }

    /// Whether these FROM items are relations, or joins of them, and nothing else.
    pub fn are_relations(&self, items: &[Node]) -> bool {
        !items.is_empty()
            && items.iter().all(|item| {
                item.node
                    .as_ref()
                    .is_some_and(|item| self.is_relation(item))
            })
    }

    #[allow(clippy::wildcard_enum_match_arm)] // Everything else is no relation.
    fn is_relation(&self, item: &NodeEnum) -> bool {
        match item {
            NodeEnum::RangeVar(relation) => !self.is_cte(relation),
            NodeEnum::JoinExpr(join) => {
                join.alias.is_none()
                    && [&join.larg, &join.rarg].into_iter().flatten().all(|side| {
                        side.node
                            .as_ref()
                            .is_some_and(|side| self.is_relation(side))
                    })
            }
            _ => false,
        }
    }

    fn join(&mut self, join: &JoinExpr) -> Result<()> {
        let JoinExpr {
            jointype: _,
            is_natural: _,
            larg,
            rarg,
            using_clause: _,
            join_using_alias: _,
            quals,
            alias: _,
            rtindex: _,
        } = join;
        self.source(present(larg.as_deref())?)?;
        self.source(present(rarg.as_deref())?)?;
        self.optional(quals.as_deref())
    }

    /// Each function comes as a pair: the call, and its column definitions or nothing.
    fn range_function(&mut self, function: &RangeFunction) -> Result<()> {
        let RangeFunction {
            lateral: _,
            ordinality: _,
            is_rowsfrom: _,
            functions,
            alias: _,
            coldeflist,
        } = function;
        self.note_function(function)?;
        for pair in functions {
            let node = present(Some(pair))?;
            let NodeEnum::List(pair) = node else {
                return Err(nodes::refused(node));
            };
            for part in pair.items.iter().filter(|part| part.node.is_some()) {
                self.expression(present(Some(part))?)?;
            }
        }
        self.expressions(coldeflist)
    }

    fn sample(&mut self, sample: &RangeTableSample) -> Result<()> {
        let RangeTableSample {
            relation,
            method,
            args,
            repeatable,
            location: _,
        } = sample;
        self.source(present(relation.as_deref())?)?;
        match names::qualified(method)? {
            (None | Some("pg_catalog"), "bernoulli" | "system") => {}
            (schema, other) => self.needs_function(schema, other)?,
        }
        self.expressions(args)?;
        self.optional(repeatable.as_deref())
    }

    fn xml_table(&mut self, table: &RangeTableFunc) -> Result<()> {
        let RangeTableFunc {
            lateral: _,
            docexpr,
            rowexpr,
            namespaces,
            columns,
            alias: _,
            location: _,
        } = table;
        self.optional(docexpr.as_deref())?;
        self.optional(rowexpr.as_deref())?;
        self.expressions(namespaces)?;
        for column in columns {
            let node = present(Some(column))?;
            let NodeEnum::RangeTableFuncCol(column) = node else {
                return Err(nodes::refused(node));
            };
            let RangeTableFuncCol {
                colname: _,
                type_name,
                for_ordinality: _,
                is_not_null: _,
                colexpr,
                coldefexpr,
                location: _,
            } = column.as_ref();
            self.optional_type(type_name.as_ref())?;
            self.optional(colexpr.as_deref())?;
            self.optional(coldefexpr.as_deref())?;
        }
        Ok(())
    }
}
