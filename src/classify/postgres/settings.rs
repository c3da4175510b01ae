//! Settings: which may be read, and which a caller may set on a connection of its own, to what.

/// What a harmless setting may be set to.
enum Values {
    /// Any constant: it limits or labels the caller's own statements only.
    Any,
    /// One of these, compared without case.
    Only(&'static [&'static str]),
}

const ON_OFF: &[&str] = &["on", "off", "true", "false", "yes", "no", "1", "0"];
const ON: &[&str] = &["on", "true", "yes", "1"];
const UTF8: &[&str] = &["utf8", "utf-8", "unicode"];
const ISOLATION: &[&str] = &[
    "serializable",
    "repeatable read",
    "read committed",
    "read uncommitted",
];

/// Settings that a caller may change for itself. What is missing here is pinned: above all `search_path`,
/// `role`, `session_authorization`, `standard_conforming_strings` and whatever changes how text is read.
fn values(name: &str) -> Option<Values> {
    let values = match name {
        "application_name"
        | "extra_float_digits"
        | "idle_in_transaction_session_timeout"
        | "lock_timeout"
        | "statement_timeout"
        | "transaction_timeout"
        | "timezone" => Values::Any,
        "bytea_output" => Values::Only(&["hex"]),
        "client_encoding" => Values::Only(UTF8),
        "client_min_messages" => Values::Only(&[
            "debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "notice", "warning",
            "error", "fatal", "panic",
        ]),
        "datestyle" => Values::Only(&[
            "iso", "mdy", "dmy", "ymd", "iso, mdy", "iso, dmy", "iso, ymd",
        ]),
        "default_transaction_deferrable"
        | "default_transaction_read_only"
        | "enable_bitmapscan"
        | "enable_hashagg"
        | "enable_hashjoin"
        | "enable_indexonlyscan"
        | "enable_indexscan"
        | "enable_material"
        | "enable_mergejoin"
        | "enable_nestloop"
        | "enable_seqscan"
        | "enable_sort"
        | "escape_string_warning"
        | "jit"
        | "transaction_deferrable"
        | "transaction_read_only" => Values::Only(ON_OFF),
        "default_transaction_isolation" | "transaction_isolation" => Values::Only(ISOLATION),
        "intervalstyle" => {
            Values::Only(&["postgres", "iso_8601", "sql_standard", "postgres_verbose"])
        }
        "plan_cache_mode" => Values::Only(&["auto", "force_generic_plan", "force_custom_plan"]),
        "standard_conforming_strings" => Values::Only(ON),
        _ => return None,
    };
    Some(values)
}

/// Whether a caller may set this setting on a connection of its own at all.
pub fn may_set(name: &str) -> bool {
    values(&name.to_ascii_lowercase()).is_some()
}

/// Whether a caller may set this setting to this value.
pub fn may_set_to(name: &str, value: &str) -> bool {
    match values(&name.to_ascii_lowercase()) {
        Some(Values::Any) => true,
        Some(Values::Only(allowed)) => allowed.iter().any(|one| one.eq_ignore_ascii_case(value)),
        None => false,
    }
}

/// Settings that say nothing of the server's files, hosts, roles or other callers.
const READABLE: &[&str] = &[
    "application_name",
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "in_hot_standby",
    "integer_datetimes",
    "intervalstyle",
    "jit",
    "lc_collate",
    "lc_ctype",
    "lock_timeout",
    "max_identifier_length",
    "max_index_keys",
    "plan_cache_mode",
    "search_path",
    "server_encoding",
    "server_version",
    "server_version_num",
    "standard_conforming_strings",
    "statement_timeout",
    "timezone",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
    "transaction_timeout",
];

/// Whether this setting may be read (`SHOW`, `current_setting`).
pub fn may_read(name: &str) -> bool {
    READABLE.iter().any(|one| one.eq_ignore_ascii_case(name))
}
