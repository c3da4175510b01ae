//! The tables that statements are made of, and what each has that a statement may name.

/// A table as a generated statement knows it.
pub struct Table {
    /// As `Classification` names it, with its database.
    pub database: &'static str,
    pub name: &'static str,
    pub columns: &'static [&'static str],
}

const fn table(
    database: &'static str,
    name: &'static str,
    columns: &'static [&'static str],
) -> Table {
    Table {
        database,
        name,
        columns,
    }
}

/// The database that an unqualified name means.
pub const DATABASE: &str = "corpus";

/// Every table of `tests/corpus/schema_mysql.sql`: one name in two letter cases, and in two databases.
pub static TABLES: [Table; 13] = [
    table(
        DATABASE,
        "users",
        &["id", "email", "status", "balance", "role"],
    ),
    table(DATABASE, "user_profiles", &["id", "user_id", "bio"]),
    table(DATABASE, "user_preferences", &["id", "user_id", "pref_key"]),
    table(
        DATABASE,
        "posts",
        &["id", "user_id", "title", "body", "views", "status"],
    ),
    table(
        DATABASE,
        "transactions",
        &["id", "user_id", "amount", "status"],
    ),
    table(DATABASE, "api_keys", &["id", "user_id", "secret"]),
    table(
        DATABASE,
        "oauth2_tokens",
        &["id", "user_id", "access_token"],
    ),
    table(DATABASE, "audit_logs", &["id", "actor", "detail"]),
    table(DATABASE, "rate_limit_overrides", &["id", "subject"]),
    table(DATABASE, "audit_swap", &["id", "actor"]),
    table(DATABASE, "Users", &["id", "secret"]),
    table("vault", "secrets", &["id", "secret"]),
    table("vault", "users", &["id", "secret"]),
];
