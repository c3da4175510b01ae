//! How a refusal is told.

use super::{EXPLAINED_OBJECTS_MAX, Refusal, Why};
use crate::decide::raw;
use crate::decide::roles::{Grant, Role};
use crate::decide::stores::StoreObjects;
use crate::error::{Code, Problem};
use crate::operation::{Object, Script, Store, Touch};

/// A sentence for each refused touch, those of the leading code first.
pub(super) fn detail(
    role: &Role,
    store: (Store, &StoreObjects),
    code: Code,
    refused: &[(&Touch, Why<'_>)],
) -> String {
    let leads = |why: &Why<'_>| code_of(*why) == code;
    let first = refused.iter().filter(|(_, why)| leads(why));
    let then = refused.iter().filter(|(_, why)| !leads(why));
    let mut sentences: Vec<String> = Vec::new();
    let mut left_out = 0;
    for (touch, why) in first.chain(then) {
        let sentence = sentence(role, store, touch, *why);
        if sentences.contains(&sentence) {
            continue;
        }
        if sentences.len() < EXPLAINED_OBJECTS_MAX {
            sentences.push(sentence);
        } else {
            left_out += 1;
        }
    }
    if left_out > 0 {
        sentences.push(format!("and {left_out} more"));
    }
    sentences.join("; ")
}

const fn code_of(why: Why<'_>) -> Code {
    match why {
        Why::WrongStore(_) => Code::PolicyWrongStore,
        Why::Unknown { .. } => Code::PolicyUnknownObject,
        Why::Denied | Why::OutsideHours(_) | Why::DeniedBy(_) => Code::PolicyDenied,
    }
}

fn sentence(
    role: &Role,
    (store, objects): (Store, &StoreObjects),
    touch: &Touch,
    why: Why<'_>,
) -> String {
    let object = &touch.object;
    match (why, object) {
        (Why::WrongStore(home), _) => format!(
            "`{object}` lives in {home}, not in {store}: send what touches it to `{}`",
            route(home)
        ),
        (
            Why::Unknown {
                spelled: Some(name),
            },
            _,
        ) => {
            format!(
                "`{object}` is not known in {store}; names are case-sensitive here: `{name}` is known"
            )
        }
        (Why::Unknown { spelled: None }, Object::Named { .. }) => format!(
            "`{object}` is not known: the policy lists no such {} in {store} or elsewhere",
            raw::object_word(store)
        ),
        (Why::Unknown { spelled: None }, Object::Key(_)) => {
            format!("key `{object}` matches no key pattern of the policy")
        }
        (Why::Unknown { spelled: None }, Object::Keys(_)) => format!(
            "`{object}` can match keys outside of the policy's key patterns: begin it with the prefix of one"
        ),
        (Why::Denied, Object::Named { .. } | Object::Key(_)) => format!(
            "role `{}` is not granted `{}` on `{object}` in {store}",
            role.name(),
            touch.action
        ),
        (Why::Denied, Object::Keys(_)) => format!(
            "role `{}` is not granted `{}` on every key that `{object}` can match",
            role.name(),
            touch.action
        ),
        (Why::OutsideHours(_), _) => format!(
            "role `{}` is granted `{}` on `{object}` in {store} at certain times alone, and it is none of them: {}",
            role.name(),
            touch.action,
            hours(role.at_other_times(store, objects, touch))
        ),
        (Why::DeniedBy(_), Object::Named { .. } | Object::Key(_)) => format!(
            "role `{}` is denied `{}` on `{object}` in {store}, whatever else it is granted",
            role.name(),
            touch.action
        ),
        (Why::DeniedBy(_), Object::Keys(_)) => format!(
            "role `{}` is denied `{}` on keys that `{object}` can match",
            role.name(),
            touch.action
        ),
    }
}

/// Where a store is asked over HTTP.
const fn route(store: Store) -> &'static str {
    match store {
        Store::Postgres => "POST /v1/postgres/query",
        Store::Mysql => "POST /v1/mysql/query",
        Store::Mongodb => "POST /v1/mongodb/command",
        Store::Redis => "POST /v1/redis/command",
    }
}

pub(super) fn no_role(role: &str) -> Refusal {
    let detail = format!("the policy has no role `{role}`, so nothing is granted");
    Refusal(Problem::new(Code::PolicyDenied, detail))
}

pub(super) fn no_store(store: Store) -> Refusal {
    let detail = format!("the policy has no section for {store}, so nothing there is granted");
    Refusal(Problem::new(Code::PolicyDenied, detail))
}

/// The hours of some grants, each once.
fn hours<'g>(grants: impl Iterator<Item = &'g Grant>) -> String {
    let mut all: Vec<String> = Vec::new();
    for grant in grants {
        let hours = format!("`{}`", grant.hours_in_words());
        if !all.contains(&hours) && all.len() < EXPLAINED_OBJECTS_MAX {
            all.push(hours);
        }
    }
    all.join(", ")
}

pub(super) fn nothing_granted(role: &Role, store: Store) -> Refusal {
    let hours = hours(role.timed_in(store));
    let detail = if hours.is_empty() {
        format!("role `{}` is granted nothing in {store}", role.name())
    } else {
        format!(
            "role `{}` is granted something in {store} at certain times alone, and it is none of them: {hours}",
            role.name()
        )
    };
    Refusal(Problem::new(Code::PolicyDenied, detail))
}

pub(super) fn forbidden(store: Store, functions: &[&str]) -> Refusal {
    let named = functions.iter().take(EXPLAINED_OBJECTS_MAX);
    let named: Vec<String> = named.map(|function| format!("`{function}`")).collect();
    let detail = format!(
        "calls {}, which may do more than compute; a function is allowed where the policy lists it: \
         `functions = [...]` in `[stores.{store}]`",
        named.join(", ")
    );
    Refusal(Problem::new(Code::PolicyForbiddenStatement, detail))
}

pub(super) fn unvouched(store: Store, scripts: &[&Script]) -> Refusal {
    let mut reasons: Vec<String> = scripts
        .iter()
        .take(EXPLAINED_OBJECTS_MAX)
        .map(|script| format!("script `{}`: {}", script.digest, script.why))
        .collect();
    if scripts.len() > reasons.len() {
        reasons.push(format!("and {} more", scripts.len() - reasons.len()));
    }
    let detail = format!(
        "{}; a script is also allowed where the policy lists its digest: `scripts = [...]` in `[stores.{store}]`",
        reasons.join("; ")
    );
    Refusal(Problem::new(Code::PolicyForbiddenStatement, detail))
}
