//! The decision: what each touch is to a role, and how a refusal is told.
//!
//! Where several things are wrong with one statement, the refusal's code is the first of these, because what
//! no grant can mend comes first:
//!
//! 1. `policy.denied` for a role or store that the policy does not know at all;
//! 2. `policy.forbidden_statement`: a function or script that the policy does not list (the statement must change);
//! 3. `policy.wrong_store`: an object that lives in another store (the statement must go elsewhere);
//! 4. `policy.unknown_object`: an object that lives nowhere (the name or the policy must change);
//! 5. `policy.denied`: an object that the role may not touch in this way (a grant is missing).
//!
//! `objects` lists every refused object in the order of the touches, whichever of the four it is refused for.
//! A statement that touches nothing (`SELECT 1`, `BEGIN`, `PING`) is allowed to whom anything in that store is
//! granted: it reveals that the store is there and no more.

use std::sync::Arc;

use jiff::Timestamp;

use super::Refusal;
use super::roles::{Allowance, Grant, GrantIndex, Role};
use super::rules::Mode;
use super::stores::{NamedObjects, StoreObjects};
use crate::error::{Code, Problem};
use crate::operation::{Classification, Object, Store, Touch};
use words::{detail, forbidden, no_role, no_store, nothing_granted, unvouched};

mod words;

/// Most objects that a refusal names.
const REFUSED_OBJECTS_MAX: usize = 256;

/// Most objects that a refusal's text explains one by one.
const EXPLAINED_OBJECTS_MAX: usize = 5;

/// What the policy says about one touch.
#[derive(Debug, Clone, Copy)]
pub enum Verdict<'a> {
    Allowed(&'a Grant),
    /// The object lives in that other store.
    WrongStore(Store),
    /// The object lives nowhere. `spelled` is the same name in the case in which the policy knows it.
    Unknown {
        spelled: Option<&'a str>,
    },
    /// The object lives here, and no grant of the role gives this action on it.
    Denied,
    /// This grant, and perhaps others, would give it at another time.
    OutsideHours(&'a Grant),
    /// A deny rule overrides whatever is granted.
    DeniedBy(&'a Grant),
}

/// A touch and what the policy says about it.
#[derive(Debug, Clone, Copy)]
pub struct TouchVerdict<'a> {
    pub touch: &'a Touch,
    pub verdict: Verdict<'a>,
}

/// Why a touch is not allowed.
#[derive(Debug, Clone, Copy)]
enum Why<'p> {
    WrongStore(Store),
    Unknown { spelled: Option<&'p str> },
    Denied,
    OutsideHours(&'p Grant),
    DeniedBy(&'p Grant),
}

/// What is judged, for whom and when.
#[derive(Clone, Copy)]
pub(super) struct Judged<'a> {
    pub(super) role: &'a str,
    pub(super) store: Store,
    pub(super) classification: &'a Classification,
    pub(super) now: Timestamp,
}

/// What was found for whom something is allowed.
pub(super) struct Allowed<'p> {
    pub(super) role: &'p Arc<Role>,
    /// The grant that allowed the first touch.
    pub(super) rule: Option<GrantIndex>,
    /// Why it would be refused, were the role's mode not `shadow`.
    pub(super) shadow: Option<Refusal>,
}

impl super::Policy {
    /// Allows, or refuses. Nothing is allocated where the answer is a plain yes.
    pub(super) fn judge(&self, asked: Judged<'_>) -> Result<Allowed<'_>, Refusal> {
        let Judged { store, now, .. } = asked;
        let Some(role) = self.roles.get(asked.role) else {
            return Err(no_role(asked.role));
        };
        let Some(objects) = self.stores.get(store) else {
            return Err(no_store(store));
        };
        let classification = asked.classification;
        let functions = objects.unlisted_functions(&classification.functions);
        if !functions.is_empty() {
            return Err(forbidden(store, &functions));
        }
        let scripts = objects.unlisted_scripts(&classification.scripts);
        if !scripts.is_empty() {
            return Err(unvouched(store, &scripts));
        }
        if classification.touches.is_empty() && !role.is_known_in(store, now) {
            return self.or_shadow(role, nothing_granted(role, store), true);
        }
        let mut rule = None;
        for touch in &classification.touches {
            match role.allowance(store, objects, touch, now) {
                Allowance::By(grant) => rule = rule.or(Some(grant)),
                Allowance::DeniedBy(_) | Allowance::NotGranted => {
                    let (refusal, may_pass) = self.refuse(role, objects, asked);
                    return self.or_shadow(role, refusal, may_pass);
                }
            }
        }
        Ok(Allowed {
            role,
            rule,
            shadow: None,
        })
    }

    /// What becomes of a refusal: in shadow mode it is told, and the statement may pass where `may_pass`.
    fn or_shadow<'p>(
        &'p self,
        role: &'p Arc<Role>,
        refusal: Refusal,
        may_pass: bool,
    ) -> Result<Allowed<'p>, Refusal> {
        match role.mode() {
            Mode::Shadow if may_pass => Ok(Allowed {
                role,
                rule: None,
                shadow: Some(refusal),
            }),
            Mode::Shadow | Mode::Enforce => Err(refusal),
        }
    }

    pub(super) fn verdicts<'a>(&'a self, asked: Judged<'a>) -> Vec<TouchVerdict<'a>> {
        let Judged { store, now, .. } = asked;
        let verdict = |touch| {
            let Some(objects) = self.stores.get(store) else {
                return Verdict::Denied;
            };
            let role = self.roles.get(asked.role);
            let allowance = role.map(|role| role.allowance(store, objects, touch, now));
            if let (Some(Allowance::By(at)), Some(role)) = (allowance, role)
                && let Some(grant) = role.grant(at)
            {
                return Verdict::Allowed(grant);
            }
            match self.why(store, objects, role.map(Arc::as_ref), touch, now) {
                Why::WrongStore(home) => Verdict::WrongStore(home),
                Why::Unknown { spelled } => Verdict::Unknown { spelled },
                Why::Denied => Verdict::Denied,
                Why::OutsideHours(grant) => Verdict::OutsideHours(grant),
                Why::DeniedBy(denial) => Verdict::DeniedBy(denial),
            }
        };
        let touches = asked.classification.touches.iter();
        touches
            .map(|touch| TouchVerdict {
                touch,
                verdict: verdict(touch),
            })
            .collect()
    }

    /// Whether the policy names an object that `store` has, there or in another store.
    pub fn is_listed(&self, store: Store, object: &Object) -> bool {
        match (self.stores.get(store), object) {
            (Some(StoreObjects::Named(named)), Object::Named { namespace, name }) => {
                let namespace = namespace.as_deref();
                named.objects.find(namespace, name).is_some()
                    || self.home(store, named, namespace, name).is_some()
            }
            (Some(StoreObjects::Named(_)), Object::Key(_) | Object::Keys(_))
            | (Some(StoreObjects::Keys(_)) | None, _) => false,
        }
    }

    /// Why a touch that no grant allows is refused.
    fn why<'p>(
        &'p self,
        store: Store,
        objects: &'p StoreObjects,
        role: Option<&'p Role>,
        touch: &'p Touch,
        now: Timestamp,
    ) -> Why<'p> {
        let unknown = Why::Unknown { spelled: None };
        if let Some(Allowance::DeniedBy(denial)) =
            role.map(|role| role.allowance(store, objects, touch, now))
        {
            return Why::DeniedBy(denial);
        }
        if let Some(role) = role
            && let Some(grant) = role.at_other_times(store, objects, touch).next()
        {
            return Why::OutsideHours(grant);
        }
        match (objects, &touch.object) {
            (StoreObjects::Named(named), Object::Named { namespace, name }) => {
                let namespace = namespace.as_deref();
                if named.objects.find(namespace, name).is_some() {
                    return Why::Denied;
                }
                if let Some(home) = self.home(store, named, namespace, name) {
                    return Why::WrongStore(home);
                }
                Why::Unknown {
                    spelled: spelled(store, named, role, name),
                }
            }
            (StoreObjects::Keys(space), Object::Key(key)) => match space.patterns.key(key) {
                Some(()) => Why::Denied,
                None => unknown,
            },
            (StoreObjects::Keys(space), Object::Keys(glob)) => {
                match space.patterns.containing(glob) {
                    Some(()) => Why::Denied,
                    None => unknown,
                }
            }
            (StoreObjects::Named(_), Object::Key(_) | Object::Keys(_))
            | (StoreObjects::Keys(_), Object::Named { .. }) => unknown,
        }
    }

    /// The other store in which a name lives. A name in a namespace of its own is another object than the
    /// one that bears its bare name elsewhere, unless it is the namespace in which it lives there.
    fn home(
        &self,
        asked: Store,
        named: &NamedObjects,
        namespace: Option<&str>,
        name: &str,
    ) -> Option<Store> {
        let namespace = namespace.filter(|space| *space != named.objects.default_namespace());
        Store::ALL
            .into_iter()
            .filter(|store| *store != asked)
            .find(|store| match self.stores.get(*store) {
                Some(StoreObjects::Named(other)) => other.objects.find(namespace, name).is_some(),
                Some(StoreObjects::Keys(_)) | None => false,
            })
    }

    /// Tells why the statement as a whole is refused, and whether it may pass in shadow mode: where nothing but
    /// grants is missing, and what is not known is where the policy lists something.
    fn refuse(&self, role: &Role, objects: &StoreObjects, asked: Judged<'_>) -> (Refusal, bool) {
        let Judged { store, now, .. } = asked;
        let is_refused = |touch: &&Touch| match role.allowance(store, objects, touch, now) {
            Allowance::By(_) => false,
            Allowance::DeniedBy(_) | Allowance::NotGranted => true,
        };
        let refused: Vec<(&Touch, Why<'_>)> = asked
            .classification
            .touches
            .iter()
            .filter(is_refused)
            .map(|touch| (touch, self.why(store, objects, Some(role), touch, now)))
            .collect();
        let (code, lives_in) = leading(&refused);
        let mut problem = Problem::new(code, detail(role, (store, objects), code, &refused));
        problem.lives_in = lives_in;
        for (touch, _) in &refused {
            let name = touch.object.to_string();
            // Touches are sorted by object, so the repeats of an object stand together.
            if problem.objects.last() != Some(&name) {
                problem.objects.push(name);
            }
            if problem.objects.len() >= REFUSED_OBJECTS_MAX {
                break;
            }
        }
        let may_pass = refused.iter().all(|(touch, why)| match why {
            _ if is_system_table(asked.store, &touch.object) => false,
            Why::Denied | Why::OutsideHours(_) | Why::DeniedBy(_) => true,
            Why::WrongStore(_) => false,
            Why::Unknown { .. } => is_among_listed(objects, &touch.object),
        });
        (Refusal(problem), may_pass)
    }
}

/// The tables by which the sidecar itself decides and tells: who may change them may be anybody.
const SYSTEM_TABLES: [&str; 5] = [
    "api_keys",
    "oauth2_tokens",
    "audit_logs",
    "rate_limit_overrides",
    "refinery_schema_history",
];

fn is_system_table(store: Store, object: &Object) -> bool {
    match object {
        Object::Named { name, .. } => {
            store == Store::Postgres && SYSTEM_TABLES.contains(&name.as_str())
        }
        Object::Key(_) | Object::Keys(_) => false,
    }
}

/// Whether an object that the policy does not list is where it lists others: not a server's own.
fn is_among_listed(objects: &StoreObjects, object: &Object) -> bool {
    match (objects, object) {
        (StoreObjects::Named(named), Object::Named { namespace, .. }) => {
            named.objects.has_namespace(namespace.as_deref())
        }
        (StoreObjects::Keys(_), Object::Key(_) | Object::Keys(_)) => true,
        (StoreObjects::Named(_), Object::Key(_) | Object::Keys(_))
        | (StoreObjects::Keys(_), Object::Named { .. }) => false,
    }
}

/// The known name that differs in case alone, told only to whom something is granted on it.
fn spelled<'p>(
    store: Store,
    named: &'p NamedObjects,
    role: Option<&Role>,
    name: &str,
) -> Option<&'p str> {
    let (id, written) = named.in_other_case(name)?;
    role?.knows(store, id).then_some(written)
}

/// The code of the gravest refusal, and for a wrong store the right one.
fn leading(refused: &[(&Touch, Why<'_>)]) -> (Code, Option<Store>) {
    let mut code = Code::PolicyDenied;
    for (_, why) in refused {
        match why {
            Why::WrongStore(home) => return (Code::PolicyWrongStore, Some(*home)),
            Why::Unknown { .. } => code = Code::PolicyUnknownObject,
            Why::Denied | Why::OutsideHours(_) | Why::DeniedBy(_) => {}
        }
    }
    (code, None)
}
