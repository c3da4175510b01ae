//! Expressions: every subquery, call, operator and cast inside them.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AExpr, AExprKind, AIndices, AIndirection, CaseExpr, CaseWhen, ColumnDef, IndexElem, Node,
    ResTarget, SortBy, SubLink, TypeCast, WindowDef, XmlExpr,
};

use super::walk::{Walker, present};
use super::{Refusal, Result, Session, names, nodes, notation};

impl Walker {
    pub fn expressions(&mut self, nodes: &[Node]) -> Result<()> {
        for node in nodes {
            self.expression(present(Some(node))?)?;
        }
        Ok(())
    }

    pub fn optional(&mut self, node: Option<&Node>) -> Result<()> {
        match node {
            Some(node) => self.expression(present(Some(node))?),
            None => Ok(()),
        }
    }

    #[allow(clippy::wildcard_enum_match_arm)] // `nodes::kind` names every node; the rest is refused.
    pub fn expression(&mut self, node: &NodeEnum) -> Result<()> {
        match node {
            NodeEnum::AConst(_)
            | NodeEnum::ParamRef(_)
            | NodeEnum::AStar(_)
            | NodeEnum::String(_)
            | NodeEnum::Integer(_)
            | NodeEnum::SetToDefault(_)
            | NodeEnum::MergeSupportFunc(_)
            | NodeEnum::SqlvalueFunction(_) => Ok(()),
            NodeEnum::ColumnRef(column) => self.column_ref(column),
            NodeEnum::ResTarget(target) => self.result_target(target),
            NodeEnum::AExpr(operation) => self.operation(operation),
            NodeEnum::BoolExpr(operation) => self.expressions(&operation.args),
            NodeEnum::FuncCall(call) => self.call(call),
            NodeEnum::NamedArgExpr(argument) => self.optional(argument.arg.as_deref()),
            NodeEnum::TypeCast(cast) => self.cast(cast),
            NodeEnum::TypeName(name) => self.type_name(name),
            NodeEnum::SubLink(link) => self.subquery(link),
            NodeEnum::List(list) => self.expressions(&list.items),
            NodeEnum::RowExpr(row) => self.expressions(&row.args),
            NodeEnum::AArrayExpr(array) => self.expressions(&array.elements),
            NodeEnum::AIndirection(indirection) => self.indirection(indirection),
            NodeEnum::AIndices(indices) => self.indices(indices),
            NodeEnum::CollateClause(collate) => self.optional(collate.arg.as_deref()),
            NodeEnum::CaseExpr(case) => self.case(case),
            NodeEnum::CoalesceExpr(coalesce) => self.expressions(&coalesce.args),
            NodeEnum::MinMaxExpr(extreme) => self.expressions(&extreme.args),
            NodeEnum::NullTest(test) => self.optional(test.arg.as_deref()),
            NodeEnum::BooleanTest(test) => self.optional(test.arg.as_deref()),
            NodeEnum::GroupingFunc(grouping) => self.expressions(&grouping.args),
            NodeEnum::GroupingSet(set) => self.expressions(&set.content),
            NodeEnum::SortBy(sort) => self.sort(sort),
            NodeEnum::WindowDef(window) => self.window(window),
            NodeEnum::MultiAssignRef(assignment) => self.optional(assignment.source.as_deref()),
            NodeEnum::IndexElem(element) => self.index_element(element),
            NodeEnum::ColumnDef(column) => self.column_of_function(column),
            NodeEnum::CurrentOfExpr(_) => self.current_of(),
            NodeEnum::XmlExpr(xml) => self.xml(xml),
            NodeEnum::XmlSerialize(xml) => {
                self.optional(xml.expr.as_deref())?;
                self.optional_type(xml.type_name.as_ref())
            }
            other => self.json(other),
        }
    }

    fn result_target(&mut self, target: &ResTarget) -> Result<()> {
        let ResTarget {
            name: _,
            indirection,
            val,
            location: _,
        } = target;
        // A target's fields and subscripts say where to store; the fields call nothing.
        self.expressions(indirection)?;
        self.optional(val.as_deref())
    }

    fn operation(&mut self, operation: &AExpr) -> Result<()> {
        let AExpr {
            kind,
            name,
            lexpr,
            rexpr,
            rexpr_list_start: _,
            rexpr_list_end: _,
            location: _,
        } = operation;
        match AExprKind::try_from(*kind) {
            Ok(
                AExprKind::AexprOp
                | AExprKind::AexprOpAny
                | AExprKind::AexprOpAll
                | AExprKind::AexprDistinct
                | AExprKind::AexprNotDistinct
                | AExprKind::AexprNullif
                | AExprKind::AexprIn
                | AExprKind::AexprLike
                | AExprKind::AexprIlike
                | AExprKind::AexprSimilar,
            ) => self.operator(name)?,
            // These stand for pairs of the built-in comparisons.
            Ok(
                AExprKind::AexprBetween
                | AExprKind::AexprNotBetween
                | AExprKind::AexprBetweenSym
                | AExprKind::AexprNotBetweenSym,
            ) => {}
            Ok(AExprKind::Undefined) | Err(_) => {
                return Err(Refusal::Forbidden(
                    "this kind of operator is not understood".into(),
                ));
            }
        }
        self.optional(lexpr.as_deref())?;
        self.optional(rexpr.as_deref())
    }

    /// An operator: PostgreSQL's own, or one that the policy must list.
    pub fn operator(&mut self, name: &[Node]) -> Result<()> {
        match names::qualified(name)? {
            (None | Some("pg_catalog"), symbol) if names::is_operator(symbol) => Ok(()),
            (schema, symbol) => self.needs_function(schema, symbol),
        }
    }

    fn subquery(&mut self, link: &SubLink) -> Result<()> {
        let SubLink {
            xpr: _,
            sub_link_type: _,
            sub_link_id: _,
            testexpr,
            oper_name,
            subselect,
            location: _,
        } = link;
        self.optional(testexpr.as_deref())?;
        if !oper_name.is_empty() {
            self.operator(oper_name)?;
        }
        self.statement(present(subselect.as_deref())?)
    }

    fn cast(&mut self, cast: &TypeCast) -> Result<()> {
        let TypeCast {
            arg,
            type_name,
            location: _,
        } = cast;
        let argument = present(arg.as_deref())?;
        if let Some(name) = type_name {
            self.cast_to(name, argument)?;
        }
        self.expression(argument)
    }

    /// `x[…]`, `x.*` and `(x).name`. The last is a column of a composite value or, failing that, a call of
    /// `name(x)`: it counts as the call unless the column is certain.
    fn indirection(&mut self, indirection: &AIndirection) -> Result<()> {
        let AIndirection { arg, indirection } = indirection;
        let argument = present(arg.as_deref())?;
        self.expression(argument)?;
        let mut certain = Some(argument);
        for step in indirection {
            let step = present(Some(step))?;
            let of = certain.take();
            if let NodeEnum::String(field) = step {
                if !of.is_some_and(|of| notation::has_field(of, &field.sval)) {
                    self.attribute(&field.sval)?;
                }
            } else {
                self.expression(step)?;
            }
        }
        Ok(())
    }

    fn indices(&mut self, indices: &AIndices) -> Result<()> {
        let AIndices {
            is_slice: _,
            lidx,
            uidx,
        } = indices;
        self.optional(lidx.as_deref())?;
        self.optional(uidx.as_deref())
    }

    fn case(&mut self, case: &CaseExpr) -> Result<()> {
        let CaseExpr {
            xpr: _,
            casetype: _,
            casecollid: _,
            arg,
            args,
            defresult,
            location: _,
        } = case;
        self.optional(arg.as_deref())?;
        for when in args {
            let node = present(Some(when))?;
            let NodeEnum::CaseWhen(when) = node else {
                return Err(nodes::refused(node));
            };
            let CaseWhen {
                xpr: _,
                expr,
                result,
                location: _,
            } = when.as_ref();
            self.optional(expr.as_deref())?;
            self.optional(result.as_deref())?;
        }
        self.optional(defresult.as_deref())
    }

    fn sort(&mut self, sort: &SortBy) -> Result<()> {
        let SortBy {
            node,
            sortby_dir: _,
            sortby_nulls: _,
            use_op,
            location: _,
        } = sort;
        if !use_op.is_empty() {
            self.operator(use_op)?;
        }
        self.optional(node.as_deref())
    }

    pub fn window(&mut self, window: &WindowDef) -> Result<()> {
        let WindowDef {
            name: _,
            refname: _,
            partition_clause,
            order_clause,
            frame_options: _,
            start_offset,
            end_offset,
            location: _,
        } = window;
        self.expressions(partition_clause)?;
        self.expressions(order_clause)?;
        self.optional(start_offset.as_deref())?;
        self.optional(end_offset.as_deref())
    }

    /// An element of an index, or of what `ON CONFLICT` infers one by.
    fn index_element(&mut self, element: &IndexElem) -> Result<()> {
        let IndexElem {
            name: _,
            expr,
            indexcolname: _,
            collation: _,
            opclass,
            opclassopts,
            ordering: _,
            nulls_ordering: _,
        } = element;
        if !opclass.is_empty() {
            match names::qualified(opclass)? {
                (None | Some("pg_catalog"), name) if names::is_operator_class(name) => {}
                (schema, name) => self.needs_function(schema, name)?,
            }
        }
        if !opclassopts.is_empty() {
            return Err(Refusal::Forbidden("options of an operator class".into()));
        }
        self.optional(expr.as_deref())
    }

    /// A column in the definition list of a function in FROM: a name and a type.
    fn column_of_function(&mut self, column: &ColumnDef) -> Result<()> {
        let plain = column.raw_default.is_none()
            && column.cooked_default.is_none()
            && column.constraints.is_empty()
            && column.fdwoptions.is_empty();
        if !plain {
            return Err(Refusal::Forbidden(
                "a column definition with more than a type".into(),
            ));
        }
        self.optional_type(column.type_name.as_ref())
    }

    /// `WHERE CURRENT OF cursor`: the cursor was decided when it was declared, on the same connection.
    fn current_of(&self) -> Result<()> {
        match self.session {
            Session::Own => Ok(()),
            Session::Shared => Err(Refusal::Forbidden(
                "`WHERE CURRENT OF` needs a cursor, so a connection of one's own; use a key".into(),
            )),
        }
    }

    fn xml(&mut self, xml: &XmlExpr) -> Result<()> {
        let XmlExpr {
            xpr: _,
            op: _,
            name: _,
            named_args,
            arg_names: _,
            args,
            xmloption: _,
            indent: _,
            r#type: _,
            typmod: _,
            location: _,
        } = xml;
        self.expressions(named_args)?;
        self.expressions(args)
    }
}
