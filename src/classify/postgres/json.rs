//! SQL/JSON: constructors, aggregates, queries and `JSON_TABLE`.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    JsonAggConstructor, JsonBehavior, JsonFuncExpr, JsonKeyValue, JsonOutput, JsonTable,
    JsonTableColumn, JsonValueExpr,
};

use super::walk::{Walker, present};
use super::{Result, nodes};

impl Walker {
    /// The SQL/JSON nodes; any other node is refused.
    #[allow(clippy::wildcard_enum_match_arm)] // `nodes::kind` names every node; the rest is refused.
    pub fn json(&mut self, node: &NodeEnum) -> Result<()> {
        match node {
            NodeEnum::JsonValueExpr(value) => self.json_value(Some(value)),
            NodeEnum::JsonKeyValue(pair) => self.json_pair(Some(pair)),
            NodeEnum::JsonArgument(argument) => self.json_value(argument.val.as_deref()),
            NodeEnum::JsonOutput(output) => self.json_output(Some(output)),
            NodeEnum::JsonBehavior(behavior) => self.json_behavior(Some(behavior)),
            NodeEnum::JsonIsPredicate(test) => self.optional(test.expr.as_deref()),
            NodeEnum::JsonFuncExpr(function) => self.json_function(function),
            NodeEnum::JsonParseExpr(parse) => {
                self.json_value(parse.expr.as_deref())?;
                self.json_output(parse.output.as_ref())
            }
            NodeEnum::JsonScalarExpr(scalar) => {
                self.optional(scalar.expr.as_deref())?;
                self.json_output(scalar.output.as_ref())
            }
            NodeEnum::JsonSerializeExpr(serialize) => {
                self.json_value(serialize.expr.as_deref())?;
                self.json_output(serialize.output.as_ref())
            }
            NodeEnum::JsonObjectConstructor(object) => {
                self.expressions(&object.exprs)?;
                self.json_output(object.output.as_ref())
            }
            NodeEnum::JsonArrayConstructor(array) => {
                self.expressions(&array.exprs)?;
                self.json_output(array.output.as_ref())
            }
            NodeEnum::JsonArrayQueryConstructor(array) => {
                self.statement(present(array.query.as_deref())?)?;
                self.json_output(array.output.as_ref())
            }
            NodeEnum::JsonObjectAgg(aggregate) => {
                self.json_aggregate(aggregate.constructor.as_deref())?;
                self.json_pair(aggregate.arg.as_deref())
            }
            NodeEnum::JsonArrayAgg(aggregate) => {
                self.json_aggregate(aggregate.constructor.as_deref())?;
                self.json_value(aggregate.arg.as_deref())
            }
            NodeEnum::JsonTablePathSpec(path) => self.optional(path.string.as_deref()),
            other => Err(nodes::refused(other)),
        }
    }

    fn json_value(&mut self, value: Option<&JsonValueExpr>) -> Result<()> {
        let Some(JsonValueExpr {
            raw_expr,
            formatted_expr,
            format: _,
        }) = value
        else {
            return Ok(());
        };
        self.optional(raw_expr.as_deref())?;
        self.optional(formatted_expr.as_deref())
    }

    fn json_pair(&mut self, pair: Option<&JsonKeyValue>) -> Result<()> {
        let Some(JsonKeyValue { key, value }) = pair else {
            return Ok(());
        };
        self.optional(key.as_deref())?;
        self.json_value(value.as_deref())
    }

    fn json_output(&mut self, output: Option<&JsonOutput>) -> Result<()> {
        let Some(JsonOutput {
            type_name,
            returning: _,
        }) = output
        else {
            return Ok(());
        };
        self.optional_type(type_name.as_ref())
    }

    fn json_behavior(&mut self, behavior: Option<&JsonBehavior>) -> Result<()> {
        let Some(JsonBehavior {
            btype: _,
            expr,
            coerce: _,
            location: _,
        }) = behavior
        else {
            return Ok(());
        };
        self.optional(expr.as_deref())
    }

    fn json_aggregate(&mut self, constructor: Option<&JsonAggConstructor>) -> Result<()> {
        let Some(JsonAggConstructor {
            output,
            agg_filter,
            agg_order,
            over,
            location: _,
        }) = constructor
        else {
            return Ok(());
        };
        self.json_output(output.as_ref())?;
        self.optional(agg_filter.as_deref())?;
        self.expressions(agg_order)?;
        match over {
            Some(window) => self.window(window),
            None => Ok(()),
        }
    }

    fn json_function(&mut self, function: &JsonFuncExpr) -> Result<()> {
        let JsonFuncExpr {
            op: _,
            column_name: _,
            context_item,
            pathspec,
            passing,
            output,
            on_empty,
            on_error,
            wrapper: _,
            quotes: _,
            location: _,
        } = function;
        self.json_value(context_item.as_deref())?;
        self.optional(pathspec.as_deref())?;
        self.expressions(passing)?;
        self.json_output(output.as_ref())?;
        self.json_behavior(on_empty.as_deref())?;
        self.json_behavior(on_error.as_deref())
    }

    pub fn json_table(&mut self, table: &JsonTable) -> Result<()> {
        let JsonTable {
            context_item,
            pathspec,
            passing,
            columns,
            on_error,
            alias: _,
            lateral: _,
            location: _,
        } = table;
        self.json_value(context_item.as_deref())?;
        if let Some(path) = pathspec {
            self.optional(path.string.as_deref())?;
        }
        self.expressions(passing)?;
        self.json_columns(columns)?;
        self.json_behavior(on_error.as_deref())
    }

    fn json_columns(&mut self, columns: &[pg_query::protobuf::Node]) -> Result<()> {
        for column in columns {
            let node = present(Some(column))?;
            let NodeEnum::JsonTableColumn(column) = node else {
                return Err(nodes::refused(node));
            };
            let JsonTableColumn {
                coltype: _,
                name: _,
                type_name,
                pathspec,
                format: _,
                wrapper: _,
                quotes: _,
                columns,
                on_empty,
                on_error,
                location: _,
            } = column.as_ref();
            self.optional_type(type_name.as_ref())?;
            if let Some(path) = pathspec {
                self.optional(path.string.as_deref())?;
            }
            self.json_columns(columns)?;
            self.json_behavior(on_empty.as_deref())?;
            self.json_behavior(on_error.as_deref())?;
        }
        Ok(())
    }
}
