//! Policy text → [`RawPolicy`]: syntax, keys and types, every fault of them at once.

use toml::de::DeTable;

use super::fault::{Faults, did_you_mean, nearest};
use super::raw::{
    RawGrant, RawPolicy, RawRole, RawRules, RawStore, namespace_key, object_word, objects_key,
};
use super::source::{Sources, Written};
use super::toml_tree::{self, TableReader};
use crate::operation::{Action, Store};

mod limits;
mod rules;

/// The version of the format that this build understands.
pub(super) const POLICY_VERSION: u32 = 1;

/// The keys of a grant, whatever its store, beside its rules.
const OF_GRANT: [&str; 5] = ["store", "tables", "collections", "keys", "actions"];

/// Longest period of a rate limit.
const PERIOD_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Reads all files. The answer is complete only where `faults` has no errors.
pub(super) fn read(sources: &Sources, files: usize, faults: &mut Faults) -> RawPolicy {
    let mut policy = RawPolicy::default();
    for file in 0..files {
        let (root, errors) = DeTable::parse_recoverable(sources.text(file));
        toml_tree::syntax(file, &errors, faults);
        let before = faults.len();
        read_file(file, &root, &mut policy, faults);
        if !errors.is_empty() {
            faults.forget_echoes(before);
        }
    }
    policy
}

fn read_file(
    file: usize,
    root: &toml::Spanned<DeTable<'_>>,
    policy: &mut RawPolicy,
    faults: &mut Faults,
) {
    let mut reader = TableReader::new(file, "the policy", 0..0, root.get_ref());
    version(&mut reader, faults);
    rules::of_policy(&mut reader, policy, faults);
    for (name, table) in reader.named_tables("stores", faults) {
        match Store::parse(&name.value) {
            Some(store) => policy.stores.push(read_store(store, table, faults)),
            None => unknown_store(&name, faults),
        }
    }
    for (name, table) in reader.named_tables("roles", faults) {
        policy.roles.push(read_role(name, table, faults));
    }
    for (name, table) in reader.named_tables("rate_limits", faults) {
        policy.rate_limits.push(limits::read(name, table, faults));
    }
    reader.finish(faults, |key| {
        Store::parse(key).map(|store| format!("write `[stores.{store}]`"))
    });
}

fn version(reader: &mut TableReader<'_, '_>, faults: &mut Faults) {
    let present = reader.has("version");
    match reader.positive("version", "version = 1", faults) {
        Some(version) if version.value != POLICY_VERSION => faults.error(
            &version.span,
            format!("version `{}` is not known", version.value),
            format!("this build understands version {POLICY_VERSION}"),
        ),
        Some(_) => {}
        None if present => {}
        None => reader.missing("version", "version = 1", faults),
    }
}

fn unknown_store(name: &Written<String>, faults: &mut Faults) {
    let message = format!("unknown store `{}`", name.value);
    let stores = Store::ALL.map(Store::as_str);
    faults.error(&name.span, message, did_you_mean(&name.value, stores));
}

fn read_store(store: Store, mut table: TableReader<'_, '_>, faults: &mut Faults) -> RawStore {
    let namespace = namespace_key(store)
        .and_then(|key| table.string(key, &format!("{key} = \"NAME\""), faults));
    let key = objects_key(store);
    let objects = table.strings(key, &format!("{key} = [\"NAME\"]"), faults);
    let functions = match store {
        Store::Postgres | Store::Mysql => {
            table.strings("functions", "functions = [\"NAME\"]", faults)
        }
        Store::Mongodb | Store::Redis => None,
    };
    let scripts = match store {
        Store::Redis => table.strings("scripts", "scripts = [\"SHA-1\"]", faults),
        Store::Postgres | Store::Mysql | Store::Mongodb => None,
    };
    let raw = RawStore {
        store,
        span: table.span.clone(),
        namespace,
        objects: objects.map(|list| list.value).unwrap_or_default(),
        functions: functions.map(|list| list.value).unwrap_or_default(),
        scripts: scripts.map(|list| list.value).unwrap_or_default(),
    };
    table.finish(faults, |key| store_key_hint(store, key));
    raw
}

/// A key of `[stores.*]` that another store has, or one like it, answered with what this store calls it.
fn store_key_hint(store: Store, key: &str) -> Option<String> {
    match (
        nearest(key, ["schema", "database", "functions", "scripts"]),
        store,
    ) {
        (Some("scripts"), Store::Postgres | Store::Mysql | Store::Mongodb) => {
            Some(format!("{store} has no scripts: leave it out"))
        }
        (Some("functions"), Store::Mongodb | Store::Redis) => {
            Some(format!("{store} has no functions: leave it out"))
        }
        (Some("schema" | "database"), _) => Some(namespace_key(store).map_or_else(
            || format!("{store} has no `{key}`: leave it out"),
            |own| format!("{store} calls it `{own}`"),
        )),
        (_, Store::Postgres | Store::Mysql | Store::Mongodb | Store::Redis) => {
            objects_key_hint(store, key)
        }
    }
}

/// What this store calls what lives in it.
fn objects_key_hint(store: Store, key: &str) -> Option<String> {
    nearest(key, ["tables", "collections", "keys"])
        .map(|_| format!("{store} lists `{}`", objects_key(store)))
}

fn read_role(
    name: Written<String>,
    mut table: TableReader<'_, '_>,
    faults: &mut Faults,
) -> RawRole {
    let description = table.string("description", "description = \"…\"", faults);
    let rate_limits = named_limits(&mut table, faults);
    let mode = rules::mode(&mut table, faults).map(|mode| mode.value);
    let timeout_ms = table.positive("timeout_ms", "timeout_ms = 2000", faults);
    let audited = rules::audited(&mut table, faults).map(|audited| audited.value);
    let header = format!("[[roles.{}.grants]]", name.value);
    let grants = table
        .tables("grants", "a grant", &header, faults)
        .into_iter()
        .filter_map(|grant| read_grant(grant, faults))
        .collect();
    let denials = table
        .tables(
            "deny",
            "a deny rule",
            &format!("[[roles.{}.deny]]", name.value),
            faults,
        )
        .into_iter()
        .filter_map(|rule| read_denial(rule, faults))
        .collect();
    table.finish(faults, |key| {
        let is_of_grant = OF_GRANT.contains(&key) || rules::KEYS.contains(&key);
        is_of_grant.then(|| format!("put it under `{header}`"))
    });
    RawRole {
        name,
        description: description.map(|text| text.value),
        rate_limits,
        mode,
        timeout_ms: timeout_ms.map(|timeout| timeout.value),
        audited,
        grants,
        denials,
    }
}

/// `rate_limit = "a"` or `rate_limits = ["a", "b"]`.
fn named_limits(table: &mut TableReader<'_, '_>, faults: &mut Faults) -> Vec<Written<String>> {
    let one = table.string("rate_limit", "rate_limit = \"NAME\"", faults);
    let list = table.strings("rate_limits", "rate_limits = [\"NAME\"]", faults);
    if let (Some(_), Some(list)) = (&one, &list) {
        let message = "`rate_limit` and `rate_limits` say the same".to_owned();
        faults.error(&list.span, message, "put all names into `rate_limits`");
    }
    let list = list.map(|list| list.value).unwrap_or_default();
    one.into_iter().chain(list).collect()
}

fn read_grant(mut table: TableReader<'_, '_>, faults: &mut Faults) -> Option<RawGrant> {
    let Some(store) = store_of_grant(&mut table, faults) else {
        // Without its store nothing else of a grant can be judged, but its keys are known ones.
        OF_GRANT
            .into_iter()
            .chain(rules::KEYS)
            .for_each(|key| table.ignore(key));
        table.finish(faults, |_| None);
        return None;
    };
    let grant = RawGrant {
        span: table.span.clone(),
        store,
        objects: granted_objects(store, &mut table, faults),
        actions: granted_actions(store, &mut table, faults),
        rules: rules::of_grant(&mut table, faults),
    };
    table.finish(faults, |key| objects_key_hint(store, key));
    Some(grant)
}

/// A deny rule without actions denies all of them.
fn read_denial(mut table: TableReader<'_, '_>, faults: &mut Faults) -> Option<RawGrant> {
    let Some(store) = store_of_grant(&mut table, faults) else {
        OF_GRANT.into_iter().for_each(|key| table.ignore(key));
        table.finish(faults, |_| None);
        return None;
    };
    let objects = granted_objects(store, &mut table, faults);
    let actions = if table.has("actions") {
        granted_actions(store, &mut table, faults)
    } else {
        Action::of(store).to_vec()
    };
    let denial = RawGrant {
        span: table.span.clone(),
        store,
        objects,
        actions,
        rules: RawRules::default(),
    };
    table.finish(faults, |key| {
        if rules::KEYS.contains(&key) {
            Some("a deny rule has no rules of its own: put it into a grant".to_owned())
        } else {
            objects_key_hint(store, key)
        }
    });
    Some(denial)
}

fn store_of_grant(table: &mut TableReader<'_, '_>, faults: &mut Faults) -> Option<Store> {
    let name = table.required("store", "store = \"mysql\"", faults)?;
    let store = Store::parse(&name.value);
    if store.is_none() {
        unknown_store(&name, faults);
    }
    store
}

fn granted_objects(
    store: Store,
    table: &mut TableReader<'_, '_>,
    faults: &mut Faults,
) -> Vec<Written<String>> {
    let key = objects_key(store);
    let example = format!("{key} = [\"*\"]");
    match table.strings(key, &example, faults) {
        // A list whose members were of the wrong type was reported already.
        Some(list) if list.value.is_empty() && faults.is_untouched(&list.span) => {
            let message = format!("`{key}` is empty, so nothing is granted");
            let help = format!(
                "name each {}, or write `{example}` for all that live in {store}",
                object_word(store)
            );
            faults.error(&list.span, message, help);
            Vec::new()
        }
        Some(list) => list.value,
        None => {
            table.missing(key, &example, faults);
            Vec::new()
        }
    }
}

fn granted_actions(
    store: Store,
    table: &mut TableReader<'_, '_>,
    faults: &mut Faults,
) -> Vec<Action> {
    let known = Action::of(store);
    let names: Vec<&str> = known.iter().map(|action| action.as_str()).collect();
    let example = format!("actions = [\"{}\"]", names.first().unwrap_or(&"read"));
    let Some(list) = table.strings("actions", &example, faults) else {
        table.missing("actions", &example, faults);
        return Vec::new();
    };
    if list.value.is_empty() && faults.is_untouched(&list.span) {
        let message = "`actions` is empty, so nothing is granted".to_owned();
        faults.error(&list.span, message, format!("write `{example}`"));
    }
    let mut actions = Vec::new();
    for written in list.value {
        match known.iter().find(|action| action.as_str() == written.value) {
            Some(action) => actions.push(*action),
            None => {
                let message = format!("`{}` is not an action of {store}", written.value);
                faults.error(
                    &written.span,
                    message,
                    action_hint(store, &written.value, &names),
                );
            }
        }
    }
    actions
}

/// What a word from another store, or from SQL's own GRANT, is called in this one.
fn action_hint(store: Store, word: &str, names: &[&str]) -> String {
    let read = names.first().copied().unwrap_or("read");
    let lower = word.to_ascii_lowercase();
    let all = names.join("\", \"");
    match (store, lower.as_str()) {
        (_, "*" | "all") => format!("name each action: `[\"{all}\"]`"),
        (_, "select" | "find" | "read" | "get") => format!("{store} calls it `{read}`"),
        (Store::Redis, "insert" | "update" | "delete" | "set" | "del") => {
            "redis calls it `write`".to_owned()
        }
        (Store::Redis, "ddl") => "redis has `read` and `write`".to_owned(),
        (Store::Postgres | Store::Mysql | Store::Mongodb, "write") => {
            "write `insert`, `update`, `delete`: those that are meant".to_owned()
        }
        (
            Store::Postgres | Store::Mysql | Store::Mongodb,
            "create" | "alter" | "drop" | "truncate",
        ) => format!("{store} has `ddl` for it"),
        (Store::Postgres | Store::Mysql | Store::Mongodb | Store::Redis, _) => {
            did_you_mean(word, names.iter().copied())
        }
    }
}

/// A length of time such as `500ms`, `1s`, `1m`, `1h`.
fn duration_ms(written: &Written<String>, faults: &mut Faults) -> Option<u64> {
    const HELP: &str = "write a whole number and its unit: `500ms`, `10s`, `1m` or `1h`";
    let text = written.value.as_str();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    let unit_ms: Option<u64> = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60 * 1000),
        "h" => Some(60 * 60 * 1000),
        _ => None,
    };
    let ms = unit_ms.and_then(|unit_ms| number.parse::<u64>().ok()?.checked_mul(unit_ms));
    match ms {
        Some(0) => faults.error(&written.span, format!("`{text}` is no time at all"), HELP),
        Some(ms) if ms > PERIOD_MS_MAX => faults.error(
            &written.span,
            format!("`{text}` is longer than a day"),
            "write `24h` or less",
        ),
        Some(ms) => return Some(ms),
        None => faults.error(
            &written.span,
            format!("`{text}` is not a length of time"),
            HELP,
        ),
    }
    None
}
