//! The policy's format as a JSON Schema, for editors: one list of keys for each table, which a test holds against the
//! keys that the reader takes.

use serde_json::{Map, Value, json};

use super::limits::{CountMode, OnRedisFailure, Per};
use super::raw::{namespace_key, object_word, objects_key};
use super::rules::{Audited, Mask, Mode};
use crate::operation::{Action, Store};

/// What a key's value is.
enum Kind {
    Text,
    /// Text that names the store of the table.
    Fixed(&'static str),
    Names,
    /// As names, and there must be some.
    SomeNames,
    Actions(Store),
    Version,
    Positive,
    Duration,
    Share,
    /// Actions and their costs.
    Costs,
    /// Actions of any store.
    AnyActions,
    /// Names of stores.
    StoreNames,
    OneOf(Vec<&'static str>),
    Flag,
    Mode,
    /// One text or several.
    Texts,
    /// Columns and their masks.
    Masks,
    /// A table of tables.
    Tables(Value),
    /// An array of tables.
    Rows(Value),
    /// One of the four stores each.
    Stores,
}

/// A key of a table.
struct Key {
    name: &'static str,
    is_required: bool,
    kind: Kind,
    description: String,
}

fn key(name: &'static str, kind: Kind, description: impl Into<String>) -> Key {
    Key {
        name,
        is_required: false,
        kind,
        description: description.into(),
    }
}

impl Key {
    fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    fn schema(self) -> Value {
        let mut schema = match self.kind {
            Kind::Text => json!({"type": "string"}),
            Kind::Fixed(text) => json!({"const": text}),
            Kind::Names => json!({"type": "array", "items": {"type": "string", "minLength": 1}}),
            Kind::SomeNames => {
                json!({"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1})
            }
            Kind::Actions(store) => {
                let names: Vec<&str> = Action::of(store).iter().map(|a| a.as_str()).collect();
                json!({"type": "array", "items": {"enum": names}, "minItems": 1})
            }
            Kind::Version => json!({"const": super::read::POLICY_VERSION}),
            Kind::Positive => json!({"type": "integer", "minimum": 1, "maximum": u32::MAX}),
            Kind::Duration => json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"}),
            Kind::Share => {
                json!({"type": "number", "exclusiveMinimum": 0, "maximum": 10_000})
            }
            Kind::Costs => json!({
                "type": "object", "propertyNames": {"enum": every_action()},
                "additionalProperties": {"type": "integer", "minimum": 1, "maximum": u32::MAX},
            }),
            Kind::AnyActions => {
                json!({"type": "array", "items": {"enum": every_action()}, "minItems": 1})
            }
            Kind::StoreNames => json!({
                "type": "array", "items": {"enum": Store::ALL.map(Store::as_str)}, "minItems": 1,
            }),
            Kind::OneOf(words) => json!({"enum": words}),
            Kind::Flag => json!({"type": "boolean"}),
            Kind::Mode => json!({"enum": Mode::ALL.map(Mode::as_str)}),
            Kind::Texts => json!({"anyOf": [
                {"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ]}),
            Kind::Masks => json!({
                "type": "object", "additionalProperties": {"enum": Mask::ALL.map(Mask::as_str)},
            }),
            Kind::Tables(each) => json!({"type": "object", "additionalProperties": each}),
            Kind::Rows(each) => json!({"type": "array", "items": each}),
            Kind::Stores => {
                let each =
                    Store::ALL.map(|store| (store.as_str().to_owned(), table(store_keys(store))));
                let each: Map<String, Value> = each.into_iter().collect();
                json!({"type": "object", "properties": each, "additionalProperties": false})
            }
        };
        if let Some(members) = schema.as_object_mut() {
            members.insert("description".into(), self.description.into());
        }
        schema
    }
}

/// A table of these keys and no other.
fn table(keys: Vec<Key>) -> Value {
    let required: Vec<&str> = keys
        .iter()
        .filter(|key| key.is_required)
        .map(|key| key.name)
        .collect();
    let required = json!(required);
    let properties: Map<String, Value> = keys
        .into_iter()
        .map(|key| (key.name.to_owned(), key.schema()))
        .collect();
    json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    })
}

fn policy_keys() -> Vec<Key> {
    let grants = Store::ALL.map(|store| table(grant_keys(store)));
    let denials = Store::ALL.map(|store| table(denial_keys(store)));
    vec![
        key(
            "version",
            Kind::Version,
            "The version of the format; in every file.",
        )
        .required(),
        key(
            "mode",
            Kind::Mode,
            "`shadow` records what would be refused and lets it through; `enforce` where left out.",
        ),
        key(
            "mask_salt",
            Kind::Text,
            "What is hashed before a value that is masked by its hash; a secret.",
        ),
        key(
            "stores",
            Kind::Stores,
            "Where every table, collection and key lives.",
        ),
        key(
            "roles",
            Kind::Tables(table(role_keys(
                json!({"anyOf": grants}),
                json!({"anyOf": denials}),
            ))),
            "Who may do what. What is not granted is denied.",
        ),
        key(
            "rate_limits",
            Kind::Tables(rate_limit()),
            "How much, by name.",
        ),
    ]
}

fn store_keys(store: Store) -> Vec<Key> {
    let mut keys = Vec::new();
    match (namespace_key(store), store) {
        (Some(name), Store::Postgres) => keys.push(key(
            name,
            Kind::Text,
            "What a name without a schema means; `public` where left out.",
        )),
        (Some(name), Store::Mysql | Store::Mongodb | Store::Redis) => {
            let description = "What a name without a database means.";
            keys.push(key(name, Kind::Text, description));
        }
        (None, _) => {}
    }
    let lives = match store {
        Store::Redis => "The key patterns, as Redis' globs, that live here.".to_owned(),
        Store::Postgres | Store::Mysql | Store::Mongodb => {
            format!(
                "Every {} that lives here, as the server stores its name.",
                object_word(store)
            )
        }
    };
    keys.push(key(objects_key(store), Kind::Names, lives));
    if store == Store::Redis {
        let description = "SHA-1 digests of scripts that may run although they are not shown to stay within their keys.";
        keys.push(key("scripts", Kind::Names, description));
    }
    if matches!(store, Store::Postgres | Store::Mysql) {
        let description = "Functions that may be called although they may do more than compute.";
        keys.push(key("functions", Kind::Names, description));
    }
    keys
}

fn role_keys(grant: Value, denial: Value) -> Vec<Key> {
    vec![
        key("description", Kind::Text, "Who this is, for people."),
        key(
            "rate_limit",
            Kind::Text,
            "The name of a rate limit; without one there is no limit.",
        ),
        key(
            "rate_limits",
            Kind::SomeNames,
            "The names of several rate limits, in place of `rate_limit`: all must admit.",
        ),
        key(
            "grants",
            Kind::Rows(grant),
            "What the role may do, store by store.",
        ),
        key(
            "deny",
            Kind::Rows(denial),
            "What is denied to the role, whatever its grants say.",
        ),
        key(
            "mode",
            Kind::Mode,
            "As the policy's own `mode`, for this role.",
        ),
        key(
            "timeout_ms",
            Kind::Positive,
            "How long any request of the role may take.",
        ),
        key(
            "audit",
            Kind::OneOf(Audited::WRITTEN.map(Audited::as_str).to_vec()),
            "Which statements of the role are audited beside refusals and changes in postgres.",
        ),
    ]
}

fn grant_keys(store: Store) -> Vec<Key> {
    let objects = format!(
        "Each {} that is granted; `*` is all that live in {store}.",
        object_word(store)
    );
    let mut keys = vec![
        key(
            "store",
            Kind::Fixed(store.as_str()),
            "The store of this grant.",
        )
        .required(),
        key(objects_key(store), Kind::SomeNames, objects).required(),
        key(
            "actions",
            Kind::Actions(store),
            "What may be done with them.",
        )
        .required(),
    ];
    keys.extend(rule_keys());
    keys
}

fn denial_keys(store: Store) -> Vec<Key> {
    let objects = format!("Each {} that is denied.", object_word(store));
    vec![
        key(
            "store",
            Kind::Fixed(store.as_str()),
            "The store of this rule.",
        )
        .required(),
        key(objects_key(store), Kind::SomeNames, objects).required(),
        key(
            "actions",
            Kind::Actions(store),
            "What is denied; everything where left out.",
        ),
    ]
}

/// What a grant may demand.
fn rule_keys() -> Vec<Key> {
    vec![
        key(
            "columns",
            Kind::Names,
            "The only columns or fields that may be named.",
        ),
        key(
            "deny_columns",
            Kind::Names,
            "Columns or fields that may not be named.",
        ),
        key(
            "mask_columns",
            Kind::Masks,
            "Columns or fields of which a mask is seen.",
        ),
        key(
            "rows",
            Kind::Text,
            "What each row that is read or written must meet, as `user_id = :caller.user_id`.",
        ),
        key(
            "require_where",
            Kind::Flag,
            "Whether UPDATE and DELETE must say which rows.",
        ),
        key("max_rows", Kind::Positive, "The most rows of one reply."),
        key(
            "timeout_ms",
            Kind::Positive,
            "How long one statement may take.",
        ),
        key(
            "audit",
            Kind::OneOf(Audited::WRITTEN.map(Audited::as_str).to_vec()),
            "Which statements on these are audited beside refusals and changes in postgres.",
        ),
        key(
            "hours",
            Kind::Texts,
            "When the grant holds, as `mon-fri 08:00-18:00 Europe/Zurich`; always where left out.",
        ),
    ]
}

/// A rate, a bound on what is in flight, or both.
fn rate_limit() -> Value {
    let mut schema = table(rate_limit_keys());
    if let Some(members) = schema.as_object_mut() {
        members.insert(
            "anyOf".into(),
            json!([{"required": ["requests", "per"]}, {"required": ["concurrent"]}]),
        );
        members.insert(
            "dependentRequired".into(),
            json!({"requests": ["per"], "per": ["requests"]}),
        );
    }
    schema
}

fn every_action() -> Vec<&'static str> {
    let mut names: Vec<&str> = Vec::new();
    for action in Store::ALL.into_iter().flat_map(Action::of) {
        if !names.contains(&action.as_str()) {
            names.push(action.as_str());
        }
    }
    names
}

#[rustfmt::skip]
fn rate_limit_keys() -> Vec<Key> {
    vec![
        key("requests", Kind::Positive, "Requests in each period."),
        key("per", Kind::Duration, "The period: `500ms`, `10s`, `1m`, `1h`; a day at most."),
        key("burst", Kind::Positive, "Requests that may come at once; `requests` where left out."),
        key("concurrent", Kind::Positive, "Requests in flight at once, in each sidecar."),
        key("per_what", Kind::OneOf(Per::ALL.map(Per::as_str).to_vec()), "Whether each key or the whole role is counted; `key` where left out."),
        key("stores", Kind::StoreNames, "The stores that are counted; all where left out."),
        key("actions", Kind::AnyActions, "What is counted; everything where left out."),
        key("cost", Kind::Costs, "What a statement counts for, by what it does; 1 where left out."),
        key("mode", Kind::OneOf(CountMode::ALL.map(CountMode::as_str).to_vec()), "`leased`: sidecars take small slices ahead; `exact`: they ask Redis each time."),
        key("on_redis_failure", Kind::OneOf(OnRedisFailure::ALL.map(OnRedisFailure::as_str).to_vec()), "Without Redis: count here (`local`), admit all (`open`), refuse all (`closed`)."),
        key("share", Kind::Share, "How many sidecars there are, or this one's part (0.25), while it counts for itself."),
        key("shadow", Kind::Flag, "Whether it counts what it would refuse, and refuses nothing."),
    ]
}

/// The whole schema, draft 2020-12.
pub fn schema() -> Value {
    let mut schema = table(policy_keys());
    if let Some(members) = schema.as_object_mut() {
        members.shift_insert(
            0,
            "$schema".into(),
            "https://json-schema.org/draft/2020-12/schema".into(),
        );
        members.shift_insert(1, "title".into(), "Bulkhead policy, version 1".into());
    }
    schema
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::toml_tree::taken;
    use super::super::{Policy, PolicyFile};
    use super::*;

    type Keys = BTreeSet<String>;

    fn names(keys: Vec<Key>) -> Keys {
        keys.into_iter().map(|key| key.name.to_owned()).collect()
    }

    /// The keys that the reader asks a table for, as it asked while it read a policy that has such tables.
    fn read(what: &str, text: &str) -> Keys {
        taken::clear();
        let file = PolicyFile {
            path: "p.toml".into(),
            text: text.into(),
        };
        let _ = Policy::compile(&[file]);
        taken::of(what)
    }

    #[test]
    fn the_schema_has_the_readers_keys() {
        assert_eq!(read("the policy", "version = 1"), names(policy_keys()));
        for store in Store::ALL {
            let text = format!("version = 1\n[stores.{store}]\n");
            assert_eq!(
                read(&format!("stores.{store}"), &text),
                names(store_keys(store))
            );
            let text = format!("version = 1\n[[roles.r.grants]]\nstore = '{store}'\n");
            assert_eq!(read("a grant", &text), names(grant_keys(store)), "{store}");
        }
        for store in Store::ALL {
            let text = format!("version = 1\n[[roles.r.deny]]\nstore = '{store}'\nactions = []\n");
            let found = read("a deny rule", &text);
            assert_eq!(found, names(denial_keys(store)), "{store}");
        }
        let text = "version = 1\n[roles.r]\n[rate_limits.l]\n";
        assert_eq!(
            read("roles.r", text),
            names(role_keys(Value::Null, Value::Null))
        );
        assert_eq!(read("rate_limits.l", text), names(rate_limit_keys()));
    }

    #[test]
    fn the_file_beside_the_examples_is_this() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/policy.schema.json");
        let printed = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        let file = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            file, printed,
            "run `bulkhead policy schema > policies/policy.schema.json`"
        );
    }
}
