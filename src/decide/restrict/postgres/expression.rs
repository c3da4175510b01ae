//! Expressions: every subquery and every column inside them.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    FuncCall, JsonAggConstructor, JsonBehavior, JsonKeyValue, JsonValueExpr, Node, TypeName,
    WindowDef, a_const,
};

use super::Result;
use super::scope::names;
use super::statement::{Rewriter, present};
use crate::classify::postgres as parser;

impl Rewriter<'_, '_> {
    pub fn expressions(&mut self, nodes: &mut [Node]) -> Result<()> {
        nodes.iter_mut().try_for_each(|node| self.expression(node))
    }

    pub fn optional(&mut self, node: Option<&mut Node>) -> Result<()> {
        match node {
            Some(node) => self.expression(node),
            None => Ok(()),
        }
    }

    #[allow(clippy::wildcard_enum_match_arm)] // All else is SQL/JSON, or refused.
    pub fn expression(&mut self, node: &mut Node) -> Result<()> {
        // `DISTINCT` alone is a list of one empty node.
        let Some(node) = &mut node.node else {
            return Ok(());
        };
        match node {
            NodeEnum::AConst(_)
            | NodeEnum::ParamRef(_)
            | NodeEnum::AStar(_)
            | NodeEnum::String(_)
            | NodeEnum::Integer(_)
            | NodeEnum::SetToDefault(_)
            | NodeEnum::MergeSupportFunc(_)
            | NodeEnum::ColumnDef(_)
            | NodeEnum::JsonOutput(_)
            | NodeEnum::SqlvalueFunction(_) => Ok(()),
            NodeEnum::ColumnRef(column) => self.column(column),
            NodeEnum::ResTarget(target) => {
                self.expressions(&mut target.indirection)?;
                self.optional(target.val.as_deref_mut())
            }
            NodeEnum::AExpr(operation) => {
                self.optional(operation.lexpr.as_deref_mut())?;
                self.optional(operation.rexpr.as_deref_mut())
            }
            NodeEnum::BoolExpr(operation) => self.expressions(&mut operation.args),
            NodeEnum::FuncCall(call) => self.call(call),
            NodeEnum::NamedArgExpr(argument) => self.optional(argument.arg.as_deref_mut()),
            NodeEnum::TypeCast(cast) => {
                self.type_name(cast.type_name.as_ref());
                self.optional(cast.arg.as_deref_mut())
            }
            NodeEnum::SubLink(link) => {
                self.optional(link.testexpr.as_deref_mut())?;
                self.statement(present(link.subselect.as_deref_mut(), self.tables)?)
            }
            NodeEnum::List(list) => self.expressions(&mut list.items),
            NodeEnum::RowExpr(row) => self.expressions(&mut row.args),
            NodeEnum::AArrayExpr(array) => self.expressions(&mut array.elements),
            NodeEnum::AIndirection(indirection) => {
                self.optional(indirection.arg.as_deref_mut())?;
                self.expressions(&mut indirection.indirection)
            }
            NodeEnum::AIndices(indices) => {
                self.optional(indices.lidx.as_deref_mut())?;
                self.optional(indices.uidx.as_deref_mut())
            }
            NodeEnum::CollateClause(collate) => self.optional(collate.arg.as_deref_mut()),
            NodeEnum::CaseExpr(case) => {
                self.optional(case.arg.as_deref_mut())?;
                self.expressions(&mut case.args)?;
                self.optional(case.defresult.as_deref_mut())
            }
            NodeEnum::CaseWhen(when) => {
                self.optional(when.expr.as_deref_mut())?;
                self.optional(when.result.as_deref_mut())
            }
            NodeEnum::CoalesceExpr(coalesce) => self.expressions(&mut coalesce.args),
            NodeEnum::MinMaxExpr(extreme) => self.expressions(&mut extreme.args),
            NodeEnum::NullTest(test) => self.optional(test.arg.as_deref_mut()),
            NodeEnum::BooleanTest(test) => self.optional(test.arg.as_deref_mut()),
            NodeEnum::GroupingFunc(grouping) => self.expressions(&mut grouping.args),
            NodeEnum::GroupingSet(set) => self.expressions(&mut set.content),
            NodeEnum::SortBy(sort) => self.optional(sort.node.as_deref_mut()),
            NodeEnum::WindowDef(window) => self.window(window),
            NodeEnum::MultiAssignRef(assignment) => self.optional(assignment.source.as_deref_mut()),
            NodeEnum::IndexElem(element) => {
                if !element.name.is_empty() {
                    self.unqualified_conflict(&element.name)?;
                }
                self.optional(element.expr.as_deref_mut())
            }
            NodeEnum::XmlExpr(xml) => {
                self.expressions(&mut xml.named_args)?;
                self.expressions(&mut xml.args)
            }
            NodeEnum::XmlSerialize(xml) => self.optional(xml.expr.as_deref_mut()),
            other => self.json(other),
        }
    }

    fn call(&mut self, call: &mut FuncCall) -> Result<()> {
        let name = names(&call.funcname).pop().flatten().unwrap_or_default();
        // The text that is sent has the salt of the masks.
        if name == "current_query" && self.tables.hide() {
            return Err(self
                .tables
                .forbid("`current_query` would show how the rules of the tables are kept"));
        }
        if matches!(name.as_str(), "nextval" | "setval" | "currval") {
            self.sequence(call.args.first());
        }
        self.expressions(&mut call.args)?;
        self.expressions(&mut call.agg_order)?;
        self.optional(call.agg_filter.as_deref_mut())?;
        match &mut call.over {
            Some(window) => self.window(window),
            None => Ok(()),
        }
    }

    /// A sequence counts as named by a call: its rules could only be those of a list of every table.
    fn sequence(&mut self, argument: Option<&Node>) {
        let mut node = argument.and_then(|node| node.node.as_ref());
        if let Some(NodeEnum::TypeCast(cast)) = node {
            node = cast.arg.as_deref().and_then(|node| node.node.as_ref());
        }
        let Some(NodeEnum::AConst(constant)) = node else {
            return;
        };
        if let Some(a_const::Val::Sval(text)) = &constant.val
            && let Ok((schema, name)) = parser::from_literal(&text.sval)
        {
            let schema = schema
                .as_deref()
                .unwrap_or(self.tables.rules.default_namespace);
            if let Some(at) = self.tables.find_named(schema, &name) {
                self.see(at);
            }
        }
    }

    /// A cast to a table's row type names the table, and reads nothing of it.
    fn type_name(&mut self, name: Option<&TypeName>) {
        let Some(name) = name else {
            return;
        };
        let parts: Vec<Option<String>> = names(&name.names);
        let found = match parts.as_slice() {
            [Some(name)] => self
                .tables
                .find_named(self.tables.rules.default_namespace, name),
            [Some(schema), Some(name)] => self.tables.find_named(schema, name),
            _ => None,
        };
        if let Some(at) = found {
            self.see(at);
        }
    }

    pub fn window(&mut self, window: &mut WindowDef) -> Result<()> {
        self.expressions(&mut window.partition_clause)?;
        self.expressions(&mut window.order_clause)?;
        self.optional(window.start_offset.as_deref_mut())?;
        self.optional(window.end_offset.as_deref_mut())
    }

    #[allow(clippy::wildcard_enum_match_arm)] // All else is refused.
    fn json(&mut self, node: &mut NodeEnum) -> Result<()> {
        match node {
            NodeEnum::JsonValueExpr(value) => self.json_value(Some(value)),
            NodeEnum::JsonKeyValue(pair) => self.json_pair(Some(pair)),
            NodeEnum::JsonArgument(argument) => self.json_value(argument.val.as_deref_mut()),
            NodeEnum::JsonBehavior(behavior) => self.json_behavior(Some(behavior)),
            NodeEnum::JsonIsPredicate(test) => self.optional(test.expr.as_deref_mut()),
            NodeEnum::JsonFuncExpr(function) => {
                self.json_value(function.context_item.as_deref_mut())?;
                self.optional(function.pathspec.as_deref_mut())?;
                self.expressions(&mut function.passing)?;
                self.json_behavior(function.on_empty.as_deref_mut())?;
                self.json_behavior(function.on_error.as_deref_mut())
            }
            NodeEnum::JsonParseExpr(parse) => self.json_value(parse.expr.as_deref_mut()),
            NodeEnum::JsonScalarExpr(scalar) => self.optional(scalar.expr.as_deref_mut()),
            NodeEnum::JsonSerializeExpr(serialize) => {
                self.json_value(serialize.expr.as_deref_mut())
            }
            NodeEnum::JsonObjectConstructor(object) => self.expressions(&mut object.exprs),
            NodeEnum::JsonArrayConstructor(array) => self.expressions(&mut array.exprs),
            NodeEnum::JsonArrayQueryConstructor(array) => {
                self.statement(present(array.query.as_deref_mut(), self.tables)?)
            }
            NodeEnum::JsonObjectAgg(aggregate) => {
                self.json_aggregate(aggregate.constructor.as_deref_mut())?;
                self.json_pair(aggregate.arg.as_deref_mut())
            }
            NodeEnum::JsonArrayAgg(aggregate) => {
                self.json_aggregate(aggregate.constructor.as_deref_mut())?;
                self.json_value(aggregate.arg.as_deref_mut())
            }
            _ => Err(self
                .tables
                .forbid("a part of the statement is not understood under the rules of its tables")),
        }
    }

    pub fn json_value(&mut self, value: Option<&mut JsonValueExpr>) -> Result<()> {
        let Some(value) = value else {
            return Ok(());
        };
        self.optional(value.raw_expr.as_deref_mut())?;
        self.optional(value.formatted_expr.as_deref_mut())
    }

    fn json_pair(&mut self, pair: Option<&mut JsonKeyValue>) -> Result<()> {
        let Some(pair) = pair else {
            return Ok(());
        };
        self.optional(pair.key.as_deref_mut())?;
        self.json_value(pair.value.as_deref_mut())
    }

    pub fn json_behavior(&mut self, behavior: Option<&mut JsonBehavior>) -> Result<()> {
        match behavior {
            Some(behavior) => self.optional(behavior.expr.as_deref_mut()),
            None => Ok(()),
        }
    }

    fn json_aggregate(&mut self, constructor: Option<&mut JsonAggConstructor>) -> Result<()> {
        let Some(constructor) = constructor else {
            return Ok(());
        };
        self.optional(constructor.agg_filter.as_deref_mut())?;
        self.expressions(&mut constructor.agg_order)?;
        match &mut constructor.over {
            Some(window) => self.window(window),
            None => Ok(()),
        }
    }
}
