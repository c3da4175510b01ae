//! `[roles.*]` and `[rate_limits.*]` → [`Role`], every name looked up.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{
    EVERY_OBJECT, GrantIndex, KeyGrants, NamedGrants, Role, StoreGrants, TimedGrant, demands,
    denials,
};
use crate::decide::fault::{Faults, did_you_mean, nearest};
use crate::decide::glob::Glob;
use crate::decide::limits::{COUNTS_KEY_PREFIX, LIMITS_PER_ROLE_MAX, PolicyRate, RateLimit};
use crate::decide::raw::{RawGrant, RawPolicy, RawRateLimit, RawRole, object_word, objects_key};
use crate::decide::rules::{Bounds, Mode};
use crate::decide::source::{Place, Written};
use crate::decide::stores::{KeySpace, NamedObjects, PerStore, StoreObjects, glob, split};
use crate::operation::{Action, Store};

/// All roles of a policy, by name.
pub(in crate::decide) fn compile(
    raw: RawPolicy,
    stores: &PerStore<Option<StoreObjects>>,
    faults: &mut Faults,
) -> HashMap<String, Arc<Role>> {
    let limits = rate_limits(&raw.rate_limits, faults);
    let mode = raw.mode.as_ref().map(|mode| mode.value).unwrap_or_default();
    let mut first: HashMap<String, Place> = HashMap::new();
    let mut roles = HashMap::new();
    let mut used: HashSet<String> = HashSet::new();
    for role in raw.roles {
        let place = faults.place(&role.name.span);
        if let Some(other) = first.get(&role.name.value) {
            let message = format!("role `{}` is in two files", role.name.value);
            let help =
                format!("keep a role in one file, so that it can be read as a whole (see {other})");
            faults.error(&role.name.span, message, help);
            continue;
        }
        first.insert(role.name.value.clone(), place);
        used.extend(role.rate_limits.iter().map(|limit| limit.value.clone()));
        let compiled = compile_role(role, mode, stores, &limits, faults);
        roles.insert(compiled.name.clone(), Arc::new(compiled));
    }
    for limit in &raw.rate_limits {
        if !used.contains(&limit.name.value) {
            let message = format!("no role has the rate limit `{}`", limit.name.value);
            let help = format!(
                "write `rate_limit = \"{}\"` in a role, or remove it",
                limit.name.value
            );
            faults.warning(&limit.name.span, message, help);
        }
    }
    roles
}

fn rate_limits(raw: &[RawRateLimit], faults: &mut Faults) -> HashMap<String, Arc<RateLimit>> {
    let mut limits: HashMap<String, Arc<RateLimit>> = HashMap::new();
    for RawRateLimit { name, limit } in raw {
        let (span, name) = (&name.span, &name.value);
        let is_too_fast =
            |rate: PolicyRate| u64::from(rate.requests) > rate.period_ms.saturating_mul(1000);
        if limit.rate.is_some_and(is_too_fast) {
            let message = format!("rate limit `{name}` is faster than one request a microsecond");
            faults.error(span, message, "write fewer requests or a longer period");
        }
        if limits.contains_key(name) {
            let message = format!("rate limit `{name}` is in two files");
            faults.error(span, message, "keep it in one");
            continue;
        }
        limits.insert(name.clone(), Arc::new(limit.clone()));
    }
    limits
}

/// The limits that a role names, looked up.
fn named_limits(
    written: &[Written<String>],
    limits: &HashMap<String, Arc<RateLimit>>,
    faults: &mut Faults,
) -> Vec<Arc<RateLimit>> {
    let mut named: Vec<Arc<RateLimit>> = Vec::new();
    for (at, written) in written.iter().enumerate() {
        let (span, name) = (&written.span, &written.value);
        let Some(limit) = limits.get(name) else {
            let message = format!("unknown rate limit `{name}`");
            let mut names: Vec<&str> = limits.keys().map(String::as_str).collect();
            names.sort_unstable();
            let help = match nearest(name, names) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("add `[rate_limits.{name}]`"),
            };
            faults.error(span, message, help);
            continue;
        };
        if named.iter().any(|other| other.name == *name) {
            faults.error(span, format!("`{name}` is named twice"), "remove one");
            continue;
        }
        if at == LIMITS_PER_ROLE_MAX {
            let message = format!("more than {LIMITS_PER_ROLE_MAX} rate limits for one role");
            faults.error(span, message, "name fewer");
        }
        named.push(Arc::clone(limit));
    }
    named
}

fn compile_role(
    raw: RawRole,
    mode: Mode,
    stores: &PerStore<Option<StoreObjects>>,
    limits: &HashMap<String, Arc<RateLimit>>,
    faults: &mut Faults,
) -> Role {
    let rate_limits = named_limits(&raw.rate_limits, limits, faults);
    if raw.grants.is_empty() {
        let message = format!("role `{}` is granted nothing", raw.name.value);
        let help = format!(
            "add `[[roles.{}.grants]]`, or remove the role",
            raw.name.value
        );
        faults.warning(&raw.name.span, message, help);
    }
    let bounds = Bounds {
        timeout_ms: raw.timeout_ms.map(u64::from),
        audited: raw.audited.unwrap_or_default(),
        ..Bounds::default()
    };
    let mut role = Role {
        name: raw.name.value,
        description: raw.description,
        rate_limits,
        mode: raw.mode.unwrap_or(mode),
        bounds,
        ..Role::default()
    };
    for grant in &raw.grants {
        add_grant(&mut role, grant, stores, faults);
    }
    demands::collect(&mut role, &raw.grants, stores, faults);
    for denial in &raw.denials {
        denials::add(&mut role, denial, stores, faults);
    }
    role
}

fn add_grant(
    role: &mut Role,
    raw: &RawGrant,
    stores: &PerStore<Option<StoreObjects>>,
    faults: &mut Faults,
) {
    let store = raw.store;
    let at = GrantIndex(u32::try_from(role.grants.len()).unwrap_or(u32::MAX));
    let Some(objects) = stores.get(store) else {
        nothing_lives(raw, "a grant", faults);
        role.grants.push(demands::grant(raw, faults));
        return;
    };
    let is_timed = !raw.rules.hours.is_empty();
    let mut index = if is_timed {
        StoreGrants::in_place_of(None, objects)
    } else {
        StoreGrants::in_place_of(role.index.get_mut(store).take(), objects)
    };
    match (&mut index, objects) {
        (StoreGrants::Named(own), StoreObjects::Named(named)) => {
            grant_names(own, at, raw, named, stores, faults);
        }
        (StoreGrants::Keys(own), StoreObjects::Keys(space)) => {
            grant_keys(own, at, raw, space, faults);
        }
        (StoreGrants::Named(_), StoreObjects::Keys(_))
        | (StoreGrants::Keys(_), StoreObjects::Named(_)) => {}
    }
    if is_timed {
        role.timed.push(TimedGrant { at, store, index });
    } else {
        *role.index.get_mut(store) = Some(index);
    }
    role.grants.push(demands::grant(raw, faults));
}

impl StoreGrants {
    /// The grants so far, or none, of the kind that the store has.
    fn in_place_of(known: Option<Self>, objects: &StoreObjects) -> Self {
        match (known, objects) {
            (Some(known @ Self::Named(_)), StoreObjects::Named(_))
            | (Some(known @ Self::Keys(_)), StoreObjects::Keys(_)) => known,
            (_, StoreObjects::Named(_)) => Self::Named(NamedGrants::default()),
            (_, StoreObjects::Keys(_)) => Self::Keys(Box::default()),
        }
    }
}

pub(super) fn nothing_lives(raw: &RawGrant, what: &str, faults: &mut Faults) {
    let store = raw.store;
    let message = format!("{what} on {store}, where nothing lives");
    let help = format!("add `[stores.{store}]` with its `{}`", objects_key(store));
    faults.error(&raw.span, message, help);
}

fn grant_names(
    own: &mut NamedGrants,
    at: GrantIndex,
    raw: &RawGrant,
    named: &NamedObjects,
    stores: &PerStore<Option<StoreObjects>>,
    faults: &mut Faults,
) {
    for written in &raw.objects {
        let actions = if written.value == EVERY_OBJECT {
            redundant_beside_every(raw, written, faults);
            &mut own.every
        } else {
            let (namespace, name) = split(raw.store, &written.value);
            let Some(id) = named.objects.find(namespace, name) else {
                unknown_object(raw.store, written, named, stores, faults);
                continue;
            };
            own.some.entry(id).or_default()
        };
        for action in &raw.actions {
            actions.add(*action, at);
        }
    }
}

fn redundant_beside_every(raw: &RawGrant, written: &Written<String>, faults: &mut Faults) {
    if raw.objects.len() > 1 {
        let message = "`*` already grants every name beside it".to_owned();
        faults.warning(&written.span, message, "remove the names, or the `*`");
    }
}

pub(super) fn unknown_object(
    store: Store,
    written: &Written<String>,
    named: &NamedObjects,
    stores: &PerStore<Option<StoreObjects>>,
    faults: &mut Faults,
) {
    let word = object_word(store);
    let home = Store::ALL
        .into_iter()
        .find(|other| match stores.get(*other) {
            Some(StoreObjects::Named(other)) => other.objects.find(None, &written.value).is_some(),
            Some(StoreObjects::Keys(_)) | None => false,
        });
    let known = named.written.iter().map(String::as_str);
    let help = if written.value.contains('*') {
        format!("name each {word}; `*` stands alone and means all of them")
    } else if let Some(home) = home {
        format!(
            "`{}` lives in {home}: write `store = \"{home}\"`",
            written.value
        )
    } else if let Some(name) = nearest(&written.value, known.clone()) {
        format!("did you mean `{name}`?")
    } else {
        let names = did_you_mean(&written.value, known);
        let or = if names.is_empty() { "" } else { ", or " };
        format!("{names}{or}list it in `[stores.{store}]` first")
    };
    faults.error(
        &written.span,
        format!("unknown {word} `{}` in {store}", written.value),
        help,
    );
}

fn grant_keys(
    own: &mut KeyGrants,
    at: GrantIndex,
    raw: &RawGrant,
    space: &KeySpace,
    faults: &mut Faults,
) {
    for written in &raw.objects {
        warn_of_own_counts(raw, written, space, faults);
        if written.value == EVERY_OBJECT {
            redundant_beside_every(raw, written, faults);
            raw.actions
                .iter()
                .for_each(|action| own.every.add(*action, at));
            continue;
        }
        let Some(glob) = glob(written, faults) else {
            continue;
        };
        if space.patterns.containing_glob(&glob).is_none() {
            unlisted_keys(written, space, faults);
            continue;
        }
        for action in &raw.actions {
            own.add(&glob, *action, at);
        }
    }
}

/// Who may write the sidecar's own counts has no limit.
fn warn_of_own_counts(
    raw: &RawGrant,
    written: &Written<String>,
    space: &KeySpace,
    faults: &mut Faults,
) {
    let own = format!("{COUNTS_KEY_PREFIX}*");
    let (Ok(own), true) = (Glob::strict(&own), raw.actions.contains(&Action::Write)) else {
        return;
    };
    let reaches = if written.value == EVERY_OBJECT {
        space.globs.iter().any(|(_, glob)| glob.may_meet(&own))
    } else {
        Glob::strict(&written.value).is_ok_and(|glob| glob.may_meet(&own))
    };
    if reaches {
        let message = format!(
            "`{}` lets a caller write its own rate limits",
            written.value
        );
        let help = format!("name other keys, or deny `{COUNTS_KEY_PREFIX}*` to the role");
        faults.warning(&written.span, message, help);
    }
}

fn unlisted_keys(written: &Written<String>, space: &KeySpace, faults: &mut Faults) {
    let text = &written.value;
    let message = format!("key pattern `{text}` reaches keys that do not live in redis");
    let known = space.globs.iter().map(|(text, _)| text.as_str());
    let help = match nearest(text, known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "list it, or a wider pattern, in `[stores.redis]` first".to_owned(),
    };
    faults.error(&written.span, message, help);
}
