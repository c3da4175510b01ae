//! Where the rules of a policy meet one statement: which of its tables have some, and what becomes of it.

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::cache::Rewritten;
use super::{Column, Columns, Forbidden, ParameterRule, Restrictions};
use super::{mongodb, mysql, postgres};
use crate::authenticate::Principal;
use crate::decide::judge::Allowed;
use crate::decide::roles::Role;
use crate::decide::rules::{Bounds, Mode, TableRules};
use crate::decide::stores::StoreObjects;
use crate::decide::{Policy, Refusal};
use crate::error::{Code, Problem};
use crate::operation::{Action, Object, Operation, Payload, Store};
use std::sync::Arc;

/// What a decision depends on besides the policy, the caller and the operation.
#[derive(Clone, Copy)]
pub struct Circumstances<'a> {
    pub now: Timestamp,
    /// The columns of the tables in the store that is asked.
    pub columns: &'a dyn Columns,
    /// The JSON texts of a SQL statement's parameters.
    pub parameters: &'a [Box<RawValue>],
}

impl Circumstances<'_> {
    /// Nothing is known of columns, so that tables with column rules or row filters are refused.
    pub const fn at(now: Timestamp) -> Self {
        Self {
            now,
            columns: &NoColumns,
            parameters: &[],
        }
    }
}

/// The columns where no catalogue is read.
#[derive(Debug, Clone, Copy)]
pub struct NoColumns;

impl Columns for NoColumns {
    fn of(&self, _namespace: &str, _table: &str) -> Option<Arc<[Column]>> {
        None
    }
}

/// What a role that is in shadow mode was spared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shadow {
    /// It would have been refused.
    Refused(Refusal),
    /// Its columns or rows would have been restricted.
    Restricted,
}

impl Shadow {
    /// Of the refusal; `None` where it would have been allowed.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refusal) => Some(refusal.0.code),
            Self::Restricted => None,
        }
    }
}

/// What becomes of an operation that is granted.
#[derive(Debug)]
pub(in crate::decide) struct Kept {
    /// What to run in its place; `None` where it may run as it is.
    pub(in crate::decide) payload: Option<Payload>,
    pub(in crate::decide) bounds: Bounds,
    pub(in crate::decide) shadow: Option<Shadow>,
    /// Whether something that is touched has columns or rows that the caller may not see.
    pub(in crate::decide) hides: bool,
}

/// What the grants on the objects that a statement touches demand.
struct Demanded<'o> {
    tables: Vec<(&'o Object, Arc<TableRules>)>,
    bounds: Bounds,
}

impl Policy {
    /// Applies the rules of the objects that are touched. Costs one look-up in an empty map where there are none.
    pub(in crate::decide) fn keep(
        &self,
        allowed: &Allowed<'_>,
        caller: &Principal,
        operation: &Operation,
        circumstances: &Circumstances<'_>,
    ) -> Result<Kept, Refusal> {
        let shadow = allowed.shadow.clone().map(Shadow::Refused);
        let mut kept = Kept {
            payload: None,
            bounds: allowed.role.bounds(),
            shadow,
            hides: false,
        };
        let is_shadow = match allowed.role.mode() {
            Mode::Enforce => false,
            Mode::Shadow => {
                kept.bounds = Bounds {
                    audited: kept.bounds.audited,
                    ..Bounds::default()
                };
                true
            }
        };
        let Some(demanded) = self.demanded(allowed.role, operation) else {
            return Ok(kept);
        };
        if is_shadow {
            kept.bounds.audited = kept.bounds.audited.max(demanded.bounds.audited);
        } else {
            kept.bounds = kept.bounds.and(demanded.bounds);
        }
        if demanded.tables.is_empty() {
            return Ok(kept);
        }
        let restrictions = self.restrictions(caller, operation.store, demanded.tables);
        let restricted = self.rewritten(&restrictions, operation, circumstances);
        match (restricted, is_shadow) {
            (Ok(payload), false) => {
                kept.payload = payload;
                kept.hides = true;
            }
            (Err(forbidden), false) => return Err(refusal(forbidden)),
            (Ok(None), true) => {}
            (Ok(Some(_)), true) => kept.shadow = kept.shadow.or(Some(Shadow::Restricted)),
            (Err(forbidden), true) => {
                kept.shadow = kept.shadow.or(Some(Shadow::Refused(refusal(forbidden))));
            }
        }
        Ok(kept)
    }

    /// What can be said of the rules without asking a server.
    pub(in crate::decide) fn check_rules(
        &self,
        role: &Role,
        caller: &Principal,
        operation: &Operation,
    ) -> Result<(), Refusal> {
        let Some(demanded) = self.demanded(role, operation) else {
            return Ok(());
        };
        if demanded.tables.is_empty() {
            return Ok(());
        }
        let restrictions = self.restrictions(caller, operation.store, demanded.tables);
        self.restrict(&restrictions, operation, None)
            .map(drop)
            .map_err(refusal)
    }

    fn restrictions<'a>(
        &'a self,
        caller: &'a Principal,
        store: Store,
        tables: Vec<(&'a Object, Arc<TableRules>)>,
    ) -> Restrictions<'a> {
        Restrictions {
            caller,
            default_namespace: self.default_namespace(store).unwrap_or_default(),
            mask_salt: self.mask_salt.as_str(),
            tables,
        }
    }

    /// `None` where no grant of the role in this store has rules.
    fn demanded<'o>(&self, role: &Role, operation: &'o Operation) -> Option<Demanded<'o>> {
        let demands = role.demands(operation.store);
        if demands.is_empty() {
            return None;
        }
        let StoreObjects::Named(named) = self.stores.get(operation.store).as_ref()? else {
            return None;
        };
        let mut demanded = Demanded {
            tables: Vec::new(),
            bounds: Bounds::default(),
        };
        for touch in &operation.classification.touches {
            let Object::Named { namespace, name } = &touch.object else {
                continue;
            };
            let id = named.objects.find(namespace.as_deref(), name);
            let Some(found) = id.and_then(|id| demands.get(&id)) else {
                continue;
            };
            demanded.bounds = demanded.bounds.and(found.bounds);
            let changes = matches!(touch.action, Action::Update | Action::Delete);
            let concerns = found.rules.hides() || (found.rules.requires_where && changes);
            let is_new = demanded
                .tables
                .iter()
                .all(|(object, _)| **object != touch.object);
            if concerns && is_new {
                demanded
                    .tables
                    .push((&touch.object, Arc::clone(&found.rules)));
            }
        }
        Some(demanded)
    }
}

/// What is to run, and what must hold of its parameters.
type Ruled = (Payload, Arc<[ParameterRule]>);

impl Policy {
    /// What is to run in the place of an operation that has to keep rules; `None` where it keeps them as it is.
    fn rewritten(
        &self,
        rules: &Restrictions<'_>,
        operation: &Operation,
        circumstances: &Circumstances<'_>,
    ) -> Result<Option<Payload>, Forbidden> {
        let Some((payload, parameters)) =
            self.restrict(rules, operation, Some(circumstances.columns))?
        else {
            if rules.tables.iter().any(|(_, rules)| rules.hides()) {
                let reason =
                    "the statement cannot be made to keep the rules of its tables".to_owned();
                return Err(forbidden(rules, |_| true, reason));
            }
            return Ok(None);
        };
        for rule in &*parameters {
            keeps(rule, circumstances.parameters)
                .map_err(|reason| forbidden(rules, |_| true, reason))?;
        }
        Ok(Some(payload))
    }

    /// Checks, and rewrites where the columns are known.
    fn restrict(
        &self,
        rules: &Restrictions<'_>,
        operation: &Operation,
        columns: Option<&dyn Columns>,
    ) -> Result<Option<Ruled>, Forbidden> {
        can_be_kept(rules, operation)?;
        let rewrite = match operation.store {
            Store::Postgres => postgres::restrict,
            Store::Mysql => mysql::restrict,
            Store::Mongodb | Store::Redis => return rewritten_document(rules, operation),
        };
        let Payload::Sql(sql) = &operation.payload else {
            return Err(nothing_to_rewrite(rules));
        };
        let Some(columns) = columns else {
            return rewrite(sql, rules, None).map(|_| None);
        };
        let rewritten = self
            .rewritings
            .of(operation.store, sql, rules, columns, |columns| {
                rewrite(sql, rules, Some(columns))
            })?;
        Ok(rewritten.map(|Rewritten { sql, parameters }| (Payload::Sql(sql), parameters)))
    }
}

/// A command of MongoDB is rewritten every time: it has its values in it, and seldom comes again.
fn rewritten_document(
    rules: &Restrictions<'_>,
    operation: &Operation,
) -> Result<Option<Ruled>, Forbidden> {
    let Payload::Mongodb { database, document } = &operation.payload else {
        return Err(nothing_to_rewrite(rules));
    };
    let payload = Payload::Mongodb {
        document: mongodb::restrict(document, database, rules)?,
        database: database.clone(),
    };
    Ok(Some((payload, Arc::from([]))))
}

fn nothing_to_rewrite(rules: &Restrictions<'_>) -> Forbidden {
    let reason = "column rules and row filters cannot be kept here".to_owned();
    forbidden(rules, |_| true, reason)
}

/// Refuses what no rewriting can make keep the rules.
fn can_be_kept(rules: &Restrictions<'_>, operation: &Operation) -> Result<(), Forbidden> {
    let classification = &operation.classification;
    let is_reached = |object: &Object| classification.reached.contains(object);
    let hidden = |object: &Object, table: &TableRules| table.hides() && is_reached(object);
    if rules
        .tables
        .iter()
        .any(|(object, table)| hidden(object, table))
    {
        let reason = "column rules or row filters cannot be kept where a table is reached through a view, a trigger, \
                      a foreign key or a partition: name the table itself"
            .to_owned();
        return Err(forbidden(rules, is_reached, reason));
    }
    let defines = classification
        .touches
        .iter()
        .any(|touch| touch.action == Action::Ddl);
    if defines && rules.tables.iter().any(|(_, table)| table.hides()) {
        let reason =
            "a statement that defines something cannot use tables with column rules or row filters"
                .to_owned();
        return Err(forbidden(rules, |_| true, reason));
    }
    Ok(())
}

/// Whether a parameter is the constant that a row filter demands, as JSON text or number. Other spellings of a
/// number are refused: who inserts knows the value.
fn keeps(rule: &ParameterRule, parameters: &[Box<RawValue>]) -> Result<(), String> {
    let given = parameters
        .get(rule.index)
        .map(|parameter| parameter.get().trim());
    let is_kept = given.is_some_and(|text| match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(text).is_ok_and(|text| text == rule.value),
        Some(b'n' | b'[' | b'{') | None => false,
        Some(_) => text == rule.value,
    });
    if is_kept {
        return Ok(());
    }
    Err(format!(
        "parameter {} is not what the row filter demands of `{}`: only rows that the role may see can be written",
        rule.index + 1,
        rule.column
    ))
}

fn forbidden(
    rules: &Restrictions<'_>,
    concerns: impl Fn(&Object) -> bool,
    reason: String,
) -> Forbidden {
    let objects = rules.tables.iter().map(|(object, _)| *object);
    Forbidden {
        objects: objects.filter(|object| concerns(object)).cloned().collect(),
        reason,
    }
}

fn refusal(forbidden: Forbidden) -> Refusal {
    let mut problem = Problem::new(Code::PolicyDenied, forbidden.reason);
    problem.objects = forbidden.objects.iter().map(ToString::to_string).collect();
    Refusal(problem)
}
