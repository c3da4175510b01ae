//! Calls and casts: functions, procedures and types by name.

use pg_query::NodeEnum;
use pg_query::protobuf::{CallStmt, FuncCall, Node, TypeName, a_const};

use super::functions::{self, Class};
use super::walk::{Walker, named, present};
use super::{Refusal, Result, Session, names, settings};
use crate::operation::Action;

impl Walker {
    pub fn call(&mut self, call: &FuncCall) -> Result<()> {
        let FuncCall {
            funcname,
            args,
            agg_order,
            agg_filter,
            over,
            agg_within_group: _,
            agg_star: _,
            agg_distinct: _,
            func_variadic: _,
            funcformat: _,
            location: _,
        } = call;
        let (schema, name) = names::qualified(funcname)?;
        let arguments = self.function(schema, name, args)?;
        self.expressions(arguments)?;
        self.expressions(agg_order)?;
        self.optional(agg_filter.as_deref())?;
        match over {
            Some(window) => self.window(window),
            None => Ok(()),
        }
    }

    pub fn call_procedure(&mut self, call: &CallStmt) -> Result<()> {
        match &call.funccall {
            Some(call) => self.call(call),
            None => Err(Refusal::Forbidden("`CALL` of nothing".into())),
        }
    }

    /// Decides a function by name; gives back the arguments that are still to be walked.
    fn function<'a>(
        &mut self,
        schema: Option<&str>,
        name: &str,
        arguments: &'a [Node],
    ) -> Result<&'a [Node]> {
        let class = functions::class(name);
        if !matches!(schema, None | Some("pg_catalog")) {
            if let Some(Class::NeverExtension(why)) = class {
                return Err(never(name, why));
            }
            self.needs_function(schema, name)?;
            return Ok(arguments);
        }
        match class {
            Some(Class::Pure) => Ok(arguments),
            Some(Class::AdvanceSequence) => self.sequence(name, arguments, Action::Update),
            Some(Class::ReadSequence) => self.sequence(name, arguments, Action::Select),
            Some(Class::OfSession) => match self.session {
                Session::Own => Ok(arguments),
                Session::Shared => Err(never(
                    name,
                    "it answers from what the connection did before, which is shared; use `RETURNING`",
                )),
            },
            Some(Class::ReadSetting) => read_setting(name, arguments),
            Some(Class::Never(why) | Class::NeverExtension(why)) => Err(never(name, why)),
            // The name of a built-in type, called like a function, is a cast.
            None if names::is_type(name) => Ok(arguments),
            None if schema.is_some() => Err(never(name, "it is not a known built-in function")),
            None => {
                self.needs_function(None, name)?;
                Ok(arguments)
            }
        }
    }

    /// A sequence function names its sequence in its first argument; a literal is touched, anything else
    /// could be any sequence.
    fn sequence<'a>(
        &mut self,
        name: &str,
        arguments: &'a [Node],
        action: Action,
    ) -> Result<&'a [Node]> {
        let Some((sequence, others)) = arguments.split_first() else {
            return Err(never(name, "it needs a sequence"));
        };
        let Some(text) = literal(present(Some(sequence))?) else {
            return Err(never(
                name,
                "its sequence must be a literal, so that it can be checked",
            ));
        };
        let (schema, sequence) = names::from_literal(text)?;
        self.touch_object(named(schema.as_deref(), &sequence)?, action);
        Ok(others)
    }

    /// `(x).name`, which calls `name(x)` where the value has no such column.
    pub fn attribute(&mut self, name: &str) -> Result<()> {
        match functions::class(name) {
            Some(Class::Pure) => Ok(()),
            Some(Class::Never(why) | Class::NeverExtension(why)) => Err(never(name, why)),
            Some(
                Class::AdvanceSequence
                | Class::ReadSequence
                | Class::OfSession
                | Class::ReadSetting,
            ) => Err(never(name, "write it as a call")),
            None if names::is_type(name) => Ok(()),
            None => self.needs_function(None, name),
        }
    }

    pub fn optional_type(&mut self, name: Option<&TypeName>) -> Result<()> {
        match name {
            Some(name) => self.type_name(name),
            None => Ok(()),
        }
    }

    /// A type: PostgreSQL's own, or one that the policy must list, since a domain's checks and a user's casts
    /// run functions.
    pub fn type_name(&mut self, name: &TypeName) -> Result<()> {
        if let Some((schema, name)) = self.foreign_type(name)? {
            self.needs_function(schema, name)?;
        }
        Ok(())
    }

    /// A cast of NULL or a row to a type that is not built in names a table's row type, as
    /// `json_populate_record` wants it: the table is read by its definition. A type of any other kind is then
    /// an object that the policy does not know.
    pub fn cast_to(&mut self, name: &TypeName, argument: &NodeEnum) -> Result<()> {
        if self.is_own_table(name, argument) {
            return Ok(());
        }
        let Some((schema, type_name)) = self.foreign_type(name)? else {
            return Ok(());
        };
        let of_a_row = matches!(argument, NodeEnum::AConst(constant) if constant.isnull)
            || matches!(argument, NodeEnum::RowExpr(_));
        if of_a_row && !schema.is_some_and(|schema| schema.starts_with("pg_temp")) {
            self.touch_object(named(schema, type_name)?, Action::Select);
            return Ok(());
        }
        self.needs_function(schema, type_name)
    }

    /// `tableoid::regclass`, the name of the table that a row is from: harmless where the column can only be
    /// the system's, which no table can define for itself. A subquery could call any number `tableoid`.
    fn is_own_table(&self, name: &TypeName, argument: &NodeEnum) -> bool {
        let to_name = name.array_bounds.is_empty()
            && matches!(
                names::qualified(&name.names),
                Ok((None | Some("pg_catalog"), "regclass"))
            );
        let NodeEnum::ColumnRef(column) = argument else {
            return false;
        };
        match names::parts(&column.fields).as_deref() {
            Ok(["tableoid"]) => to_name && self.only_relations(),
            Ok([_, "tableoid"]) => to_name && self.only_relations_in_sight(),
            Ok(_) | Err(_) => false,
        }
    }

    /// The name of a type that is not a harmless built-in one.
    fn foreign_type<'a>(
        &mut self,
        name: &'a TypeName,
    ) -> Result<Option<(Option<&'a str>, &'a str)>> {
        let TypeName {
            names: parts,
            type_oid: _,
            setof,
            pct_type,
            typmods,
            typemod: _,
            array_bounds: _,
            location: _,
        } = name;
        if *setof || *pct_type {
            return Err(Refusal::Forbidden(
                "`SETOF` and `%TYPE` belong into function definitions".into(),
            ));
        }
        self.expressions(typmods)?;
        let (schema, name) = names::qualified(parts)?;
        if !matches!(schema, None | Some("pg_catalog")) {
            return Ok(Some((schema, name)));
        }
        // The types of object names are classified among the functions, which have the same names.
        let base = name.strip_prefix('_').unwrap_or(name);
        if let Some(Class::Never(why)) = functions::class(base)
            && !names::is_type(name)
        {
            return Err(Refusal::Forbidden(format!("the type `{name}`: {why}")));
        }
        match (names::is_type(name), schema) {
            (true, _) => Ok(None),
            (false, None) => Ok(Some((None, name))),
            (false, Some(_)) => Err(Refusal::Forbidden(format!(
                "the type `pg_catalog.{name}` is not one that values are cast to"
            ))),
        }
    }
}

fn never(name: &str, why: &str) -> Refusal {
    Refusal::Forbidden(format!("the function `{name}`: {why}"))
}

/// `current_setting('…')` of a setting that tells nothing.
fn read_setting<'a>(name: &str, arguments: &'a [Node]) -> Result<&'a [Node]> {
    let setting = match arguments.first() {
        Some(argument) => literal(present(Some(argument))?),
        None => None,
    };
    match setting {
        Some(setting) if settings::may_read(setting) => Ok(arguments),
        Some(setting) => Err(never(
            name,
            &format!("the setting `{setting}` is not for callers"),
        )),
        None => Err(never(
            name,
            "its setting must be a literal, so that it can be checked",
        )),
    }
}

/// The text of a string constant, also with a cast to what a name may be.
pub fn literal(node: &NodeEnum) -> Option<&str> {
    let mut constant = node;
    if let NodeEnum::TypeCast(cast) = node {
        let to = cast.type_name.as_ref()?;
        // A length would cut the text, an array would read it otherwise.
        let exact = to.typmods.is_empty() && to.array_bounds.is_empty();
        let (None | Some("pg_catalog"), "text" | "varchar" | "regclass") =
            names::qualified(&to.names).ok().filter(|_| exact)?
        else {
            return None;
        };
        constant = cast.arg.as_deref()?.node.as_ref()?;
    }
    let NodeEnum::AConst(constant) = constant else {
        return None;
    };
    let Some(a_const::Val::Sval(text)) = &constant.val else {
        return None;
    };
    Some(&text.sval)
}
