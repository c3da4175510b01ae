//! The rules of grants: what each says, checked, and what all on an object demand together.

use std::collections::HashSet;
use std::sync::Arc;

use super::{EVERY_OBJECT, Grant, GrantIndex, Role};
use crate::decide::condition;
use crate::decide::fault::{Faults, did_you_mean};
use crate::decide::hours::Hours;
use crate::decide::raw::{RawGrant, RawPolicy, RawRules};
use crate::decide::rules::{Bounds, Comparison, Condition, Constant, Mask, TableRules};
use crate::decide::source::{Span, Written};
use crate::decide::stores::{ObjectId, PerStore, StoreObjects, split};
use crate::operation::{Action, Store};

/// One grant with its rules, every one of them checked.
pub(super) fn grant(raw: &RawGrant, faults: &mut Faults) -> Grant {
    let rules = &raw.rules;
    misplaced(raw, faults);
    Grant {
        store: raw.store,
        objects: raw
            .objects
            .iter()
            .map(|object| object.value.clone())
            .collect(),
        actions: raw.actions.clone(),
        place: faults.place(&raw.span),
        rules: expecting(raw, table_rules(raw.store, rules, faults)),
        bounds: Bounds {
            rows_max: rules.max_rows.as_ref().map(|rows| u64::from(rows.value)),
            timeout_ms: rules.timeout_ms.as_ref().map(|ms| u64::from(ms.value)),
            audited: rules
                .audited
                .as_ref()
                .map_or_else(Default::default, |audited| audited.value),
        },
        hours: rules
            .hours
            .iter()
            .filter_map(|hours| window(hours, faults))
            .collect(),
    }
}

fn window(written: &Written<String>, faults: &mut Faults) -> Option<Hours> {
    Hours::parse(&written.value)
        .map_err(|(message, help)| faults.error(&written.span, message, help))
        .ok()
}

/// Reports rules that mean nothing in the store, or for the actions of the grant.
fn misplaced(raw: &RawGrant, faults: &mut Faults) {
    let rules = &raw.rules;
    let columns = [
        ("columns", rules.columns.as_ref().map(|list| &list.span)),
        (
            "deny_columns",
            rules.deny_columns.as_ref().map(|list| &list.span),
        ),
        ("rows", rules.rows.as_ref().map(|rows| &rows.span)),
    ];
    let others = [
        (
            "mask_columns",
            rules.mask_columns.as_ref().map(|list| &list.span),
        ),
        (
            "require_where",
            rules.require_where.as_ref().map(|flag| &flag.span),
        ),
        ("max_rows", rules.max_rows.as_ref().map(|rows| &rows.span)),
        ("timeout_ms", rules.timeout_ms.as_ref().map(|ms| &ms.span)),
        ("audit", rules.audited.as_ref().map(|audited| &audited.span)),
    ];
    for (key, span) in columns.into_iter().chain(others) {
        let Some(span) = span else {
            continue;
        };
        if let Some(help) = unknown_in(raw.store, key) {
            faults.error(
                span,
                format!("`{key}` means nothing in {}", raw.store),
                help,
            );
        } else if !raw.actions.is_empty()
            && let Some(wanted) = actions_of(key, raw.store)
            && !raw.actions.iter().any(|action| wanted.contains(action))
        {
            let names: Vec<&str> = wanted.iter().map(|action| action.as_str()).collect();
            let message = format!("`{key}` does nothing for the actions of this grant");
            let help = format!(
                "it is for `{}`: put it into a grant of these",
                names.join("`, `")
            );
            faults.error(span, message, help);
        }
    }
}

/// What to do about a rule that a store does not have.
fn unknown_in(store: Store, key: &str) -> Option<&'static str> {
    match (store, key) {
        (Store::Redis, "timeout_ms" | "audit") => Some("write it on the role"),
        (Store::Redis, _) => Some("the rules of redis are its key patterns: write narrower `keys`"),
        (Store::Mongodb, "max_rows") => {
            Some("its cursors bring documents batch by batch: leave it out")
        }
        (Store::Postgres | Store::Mysql | Store::Mongodb, _) => None,
    }
}

/// The actions for which a rule does something; `None` for all.
fn actions_of(key: &str, store: Store) -> Option<&'static [Action]> {
    const READS: &[Action] = &[Action::Select];
    const FINDS: &[Action] = &[Action::Find];
    match (key, store) {
        ("columns" | "deny_columns" | "rows", Store::Mongodb) => {
            Some(&[Action::Find, Action::Insert, Action::Update, Action::Delete])
        }
        ("columns" | "deny_columns" | "rows", _) => Some(&[
            Action::Select,
            Action::Insert,
            Action::Update,
            Action::Delete,
        ]),
        ("mask_columns" | "max_rows", Store::Mongodb) => Some(FINDS),
        ("mask_columns" | "max_rows", _) => Some(READS),
        ("require_where", _) => Some(&[Action::Update, Action::Delete]),
        (_, _) => None,
    }
}

/// Where the grant names its tables, they must have what it hides.
fn expecting(raw: &RawGrant, mut rules: TableRules) -> TableRules {
    let names_tables = raw
        .objects
        .iter()
        .all(|object| object.value != EVERY_OBJECT);
    if names_tables && matches!(raw.store, Store::Postgres | Store::Mysql) {
        rules.expected = rules
            .denied
            .iter()
            .chain(rules.masked.keys())
            .cloned()
            .collect();
    }
    rules
}

fn table_rules(store: Store, raw: &RawRules, faults: &mut Faults) -> TableRules {
    let mut names = |list: &Option<Written<Vec<Written<String>>>>| {
        let list = list.as_ref()?;
        let named = list
            .value
            .iter()
            .filter(|name| is_column(store, name, faults));
        Some(named.map(|name| name.value.as_str().into()).collect())
    };
    let mut rules = TableRules {
        columns: names(&raw.columns),
        denied: names(&raw.deny_columns).unwrap_or_default(),
        requires_where: raw.require_where.as_ref().is_some_and(|flag| flag.value),
        ..TableRules::default()
    };
    if let Some(list) = &raw.columns
        && list.value.is_empty()
        && faults.is_untouched(&list.span)
    {
        let message = "`columns` is empty, so no column may be named".to_owned();
        faults.error(&list.span, message, "name those that may, or remove it");
    }
    for (column, mask) in raw.mask_columns.iter().flat_map(|list| &list.value) {
        if let (true, Some(mask)) = (
            is_column(store, column, faults),
            mask_of(store, mask, faults),
        ) {
            rules.masked.insert(column.value.as_str().into(), mask);
        }
    }
    contradictions(raw, &rules, faults);
    if let Some(written) = &raw.rows {
        match condition::parse(&written.value) {
            Ok(condition) => {
                comparable(&condition, &written.span, faults);
                for column in condition.columns() {
                    let column = Written {
                        value: column.to_owned(),
                        span: written.span.clone(),
                    };
                    is_column(store, &column, faults);
                }
                rules.rows.push(condition);
            }
            Err((message, help)) => faults.error(&written.span, message, help),
        }
    }
    rules
}

/// Reports what cannot be the name of a column, or of a field at the top of a document.
fn is_column(store: Store, written: &Written<String>, faults: &mut Faults) -> bool {
    let name = written.value.as_str();
    let help = if name == "*" {
        "name each one; without this rule every column may be named"
    } else if name.is_empty() || name.trim() != name || name.contains(char::is_control) {
        "write the name of a column"
    } else if store == Store::Mongodb && (name.contains('.') || name.starts_with('$')) {
        "name the field at the top of the document that holds it"
    } else {
        return true;
    };
    faults.error(
        &written.span,
        format!("`{name}` is not the name of a column"),
        help,
    );
    false
}

fn mask_of(store: Store, written: &Written<String>, faults: &mut Faults) -> Option<Mask> {
    let found = Mask::ALL
        .into_iter()
        .find(|mask| mask.as_str() == written.value);
    match (found, store) {
        (Some(Mask::Hash), Store::Mongodb) => {
            let message = "mongodb cannot hash a value".to_owned();
            faults.error(&written.span, message, "write `partial` or `null`");
            None
        }
        (Some(mask), _) => Some(mask),
        (None, _) => {
            let message = format!("unknown mask `{}`", written.value);
            let names = Mask::ALL.map(Mask::as_str);
            faults.error(&written.span, message, did_you_mean(&written.value, names));
            None
        }
    }
}

/// Reports columns of which one grant says two things.
fn contradictions(raw: &RawRules, rules: &TableRules, faults: &mut Faults) {
    for column in raw.deny_columns.iter().flat_map(|list| &list.value) {
        let name = column.value.as_str();
        if rules
            .columns
            .as_ref()
            .is_some_and(|columns| columns.contains(name))
        {
            let message = format!("`{name}` is both in `columns` and in `deny_columns`");
            faults.error(&column.span, message, "remove one of the two");
        }
    }
    for (column, _) in raw.mask_columns.iter().flat_map(|list| &list.value) {
        if !rules.may_name(&column.value) {
            let message = format!("`{}` is masked, and may not be named", column.value);
            faults.error(
                &column.span,
                message,
                "list it in `columns`, or remove the mask",
            );
        }
    }
}

/// Who is calling is not more or less than anything.
fn comparable(condition: &Condition, span: &Span, faults: &mut Faults) {
    match condition {
        Condition::All(conditions) | Condition::Any(conditions) => {
            for condition in conditions {
                comparable(condition, span, faults);
            }
        }
        Condition::Not(condition) => comparable(condition, span, faults),
        Condition::Compare {
            comparison:
                Comparison::Less
                | Comparison::LessOrEqual
                | Comparison::Greater
                | Comparison::GreaterOrEqual,
            value: Constant::Caller(attribute),
            ..
        } => {
            let name = attribute.as_str();
            let message = format!("`:caller.{name}` has no order");
            faults.error(span, message, "compare it with `=`, `<>` or `IN`");
        }
        Condition::Compare { .. } | Condition::In { .. } | Condition::IsNull { .. } => {}
    }
}

/// Warns where a hash could be undone by hashing every value that there may be.
pub(in crate::decide) fn warn_of_plain_hashes(raw: &RawPolicy, faults: &mut Faults) {
    if raw
        .mask_salt
        .as_ref()
        .is_some_and(|salt| !salt.value.is_empty())
    {
        return;
    }
    let grants = raw.roles.iter().flat_map(|role| &role.grants);
    let masks = grants.flat_map(|grant| &grant.rules.mask_columns);
    for (column, mask) in masks.flat_map(|list| &list.value) {
        if mask.value == Mask::Hash.as_str() {
            let message = format!("the hash of `{}` has no salt", column.value);
            let help = "write `mask_salt = \"…\"` above the sections: without it, who can guess a value can check it";
            faults.warning(&mask.span, message, help);
        }
    }
}

/// Adds up what all grants demand of each object.
pub(super) fn collect(
    role: &mut Role,
    raw: &[RawGrant],
    stores: &PerStore<Option<StoreObjects>>,
    faults: &mut Faults,
) {
    let mut defined: PerStore<HashSet<ObjectId>> = PerStore::default();
    for grant in raw
        .iter()
        .filter(|grant| grant.actions.contains(&Action::Ddl))
    {
        let ids = objects(grant, stores);
        defined.get_mut(grant.store).extend(ids);
    }
    for (at, (grant, raw)) in role.grants.iter().zip(raw).enumerate() {
        if grant.rules.is_empty() && grant.bounds == Bounds::default() {
            continue;
        }
        let ids = objects(raw, stores);
        let is_defined = ids.iter().any(|id| defined.get(raw.store).contains(id));
        if grant.rules.hides() && is_defined {
            let message =
                "the role may change the definition of what this grant restricts".to_owned();
            let help = "`ddl` gets around column rules and row filters: grant it to another role";
            faults.error(&raw.span, message, help);
        }
        for id in ids {
            let demands = role.demands.get_mut(raw.store).entry(id).or_default();
            Arc::make_mut(&mut demands.rules).add(grant.rules.clone());
            demands.bounds = demands.bounds.and(grant.bounds);
            let at = GrantIndex(u32::try_from(at).unwrap_or(u32::MAX));
            demands.grants.push(at);
        }
    }
}

/// The objects of a grant. Names that are not known were reported already.
fn objects(raw: &RawGrant, stores: &PerStore<Option<StoreObjects>>) -> Vec<ObjectId> {
    let Some(StoreObjects::Named(named)) = stores.get(raw.store) else {
        return Vec::new();
    };
    if raw
        .objects
        .iter()
        .any(|object| object.value == EVERY_OBJECT)
    {
        return named.objects.ids().collect();
    }
    let ids = raw.objects.iter().filter_map(|object| {
        let (namespace, name) = split(raw.store, &object.value);
        named.objects.find(namespace, name)
    });
    ids.collect()
}
