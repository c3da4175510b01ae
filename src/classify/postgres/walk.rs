//! The walker: what has been touched so far, and which names mean something other than a relation.

use std::collections::HashMap;

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, ParseResult, RangeVar, RawStmt};

use super::nodes::{self, Kind};
use super::notation::Notation;
use super::{Refusal, Result, Session, names};
use crate::operation::{Action, Classification, Object};

/// Most statements in one text, on a connection of the caller's own.
const STATEMENTS_MAX: usize = 1_000;

/// Walks one statement after the other and gathers what they touch.
pub struct Walker {
    pub session: Session,
    found: Classification,
    /// How many common table expressions of each name are in sight.
    ctes: HashMap<String, usize>,
    /// The names that each `WITH` around has brought into sight, innermost last.
    scopes: Vec<Vec<String>>,
    /// For each query being walked, whether its FROM items are relations and nothing else.
    plain: Vec<bool>,
    /// What `PREPARE` named earlier in the same text.
    pub prepared: Vec<String>,
    /// What `x.f` may call.
    pub notation: Notation,
}

/// Classifies a parsed text.
pub fn statements(tree: &ParseResult, session: Session) -> Result {
    let mut walker = Walker {
        session,
        found: Classification::default(),
        ctes: HashMap::new(),
        scopes: Vec::new(),
        plain: Vec::new(),
        prepared: Vec::new(),
        notation: Notation::default(),
    };
    match (tree.stmts.len(), session) {
        (1, _) | (0, Session::Own) => {}
        (0, Session::Shared) => {
            return Err(Refusal::Unparsable("there is no statement".into()));
        }
        (_, Session::Shared) => {
            return Err(Refusal::Forbidden(
                "several statements in one text; send them one by one, or as a `batch`".into(),
            ));
        }
        (count, Session::Own) if count > STATEMENTS_MAX => {
            return Err(Refusal::TooLarge(format!(
                "a text may have {STATEMENTS_MAX} statements, this one has {count}"
            )));
        }
        (_, Session::Own) => {}
    }
    for RawStmt { stmt, .. } in &tree.stmts {
        walker.statement(present(stmt.as_deref())?)?;
        walker.attributes()?;
    }
    Ok(walker.found.finish())
}

/// The node behind a field that the grammar always fills.
pub fn present(node: Option<&Node>) -> Result<&NodeEnum> {
    node.and_then(|node| node.node.as_ref()).ok_or_else(|| {
        Refusal::Forbidden("a part of the statement that the parser could not describe".into())
    })
}

impl Walker {
    /// A statement on its own, or inside `EXPLAIN`, `PREPARE`, `COPY`, `DECLARE` or `WITH`.
    #[allow(clippy::wildcard_enum_match_arm)] // `nodes::kind` names every node; the rest is refused.
    pub fn statement(&mut self, node: &NodeEnum) -> Result<()> {
        if nodes::kind(node) != Kind::Statement {
            return Err(nodes::refused(node));
        }
        match node {
            NodeEnum::SelectStmt(select) => self.select(select),
            NodeEnum::InsertStmt(insert) => self.insert(insert),
            NodeEnum::UpdateStmt(update) => self.update(update),
            NodeEnum::DeleteStmt(delete) => self.delete(delete),
            NodeEnum::MergeStmt(merge) => self.merge(merge),
            NodeEnum::ExplainStmt(explain) => self.explain(explain),
            NodeEnum::CallStmt(call) => self.call_procedure(call),
            NodeEnum::VariableShowStmt(show) => self.show(show),
            NodeEnum::CreateStmt(create) => self.create_table(create),
            NodeEnum::IndexStmt(index) => self.create_index(index),
            NodeEnum::AlterTableStmt(alter) => self.alter_table(alter),
            NodeEnum::RenameStmt(rename) => self.rename(rename),
            NodeEnum::DropStmt(drop) => self.drop(drop),
            NodeEnum::TruncateStmt(truncate) => self.truncate(truncate),
            of_session => self.session_statement(of_session),
        }
    }

    /// Notes that a relation is read or written.
    pub fn touch(&mut self, relation: &RangeVar, action: Action) -> Result<()> {
        let object = object(relation)?;
        self.found.touch(object, action);
        Ok(())
    }

    pub fn touch_object(&mut self, object: Object, action: Action) {
        self.found.touch(object, action);
    }

    /// Notes a function, operator or type that is not PostgreSQL's own, for the policy to decide.
    pub fn needs_function(&mut self, schema: Option<&str>, name: &str) -> Result<()> {
        if schema.is_some_and(|schema| schema.starts_with("pg_temp")) {
            return Err(Refusal::Forbidden(format!(
                "`{}` is temporary, made in this session, and cannot be listed in a policy",
                names::written(schema, name)
            )));
        }
        names::check_plain(name)?;
        names::check_plain(schema.unwrap_or_default())?;
        self.found.functions.push(names::written(schema, name));
        Ok(())
    }

    /// A relation that is read, unless the name is that of a common table expression in sight.
    pub fn source_relation(&mut self, relation: &RangeVar) -> Result<()> {
        if self.is_cte(relation) {
            return Ok(());
        }
        self.touch(relation, Action::Select)
    }

    /// Whether a relation in FROM means a common table expression: only unqualified names do.
    pub fn is_cte(&self, relation: &RangeVar) -> bool {
        relation.schemaname.is_empty() && self.ctes.contains_key(&relation.relname)
    }

    /// Walks something inside a `WITH` of its own.
    pub fn scope<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.scopes.push(Vec::new());
        let result = inside(self);
        for name in self.scopes.pop().unwrap_or_default() {
            match self.ctes.get_mut(&name) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.ctes.remove(&name)),
            }
        }
        result
    }

    /// From here on, in this `WITH`, the name means the common table expression.
    pub fn name_cte(&mut self, name: &str) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.push(name.to_owned());
            *self.ctes.entry(name.to_owned()).or_default() += 1;
        }
    }

    /// Walks a query whose FROM items are `plain` relations, or not.
    pub fn query<T>(
        &mut self,
        plain: bool,
        inside: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.plain.push(plain);
        let result = inside(self);
        self.plain.pop();
        result
    }

    /// Whether a column of the query being walked can only be a relation's own.
    pub fn only_relations(&self) -> bool {
        self.plain.last().copied().unwrap_or(false)
    }

    /// The same for a qualified column, which may also be that of a query around.
    pub fn only_relations_in_sight(&self) -> bool {
        !self.plain.is_empty() && self.plain.iter().all(|plain| *plain)
    }
}

/// The object that a relation's name means.
pub fn object(relation: &RangeVar) -> Result<Object> {
    let RangeVar {
        catalogname,
        schemaname,
        relname,
        ..
    } = relation;
    if !catalogname.is_empty() {
        return Err(Refusal::Forbidden(format!(
            "`{catalogname}.{schemaname}.{relname}` names a database; write at most `schema.table`"
        )));
    }
    named((!schemaname.is_empty()).then_some(schemaname), relname)
}

/// The object of this name: unqualified names look into pg_catalog first.
pub fn named(schema: Option<&str>, name: &str) -> Result<Object> {
    names::check_plain(name)?;
    names::check_plain(schema.unwrap_or_default())?;
    Ok(match schema {
        None if names::is_catalog(name) => Object::named(Some("pg_catalog"), name),
        schema => Object::named(schema, name),
    })
}
