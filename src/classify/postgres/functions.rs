//! Built-in functions, each classified by name in `functions.txt`.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::names;

/// What calling a built-in function may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Only computes.
    Pure,
    /// Advances the sequence that its first argument names.
    AdvanceSequence,
    /// Reads the sequence that its first argument names.
    ReadSequence,
    /// Answers from the state of the connection, so it needs one of the caller's own.
    OfSession,
    /// Reads the setting that its first argument names.
    ReadSetting,
    /// Never allowed; why, and what to use instead.
    Never(&'static str),
    /// An extension's, never allowed wherever it is installed.
    NeverExtension(&'static str),
}

static CLASSES: LazyLock<HashMap<&'static str, Class>> = LazyLock::new(|| {
    names::sections(include_str!("functions.txt"))
        .flat_map(|(heading, names)| names.into_iter().map(move |name| (name, of(heading))))
        .collect()
});

/// The meaning of a section of the table.
fn of(heading: &str) -> Class {
    match heading {
        "pure" => Class::Pure,
        "nextval" => Class::AdvanceSequence,
        "currval" => Class::ReadSequence,
        "session" => Class::OfSession,
        "setting" => Class::ReadSetting,
        "name" => Class::Never("it looks objects up in the catalogue, granted or not"),
        "sql" => Class::Never(
            "it runs SQL or reads tables that its arguments name; write the query itself",
        ),
        "catalog" => Class::Never("it tells of objects in the catalogue, granted or not"),
        "file" => Class::Never("it reads the server's files"),
        "large" => Class::Never("large objects have no grants here; use `bytea` columns"),
        "lock" => Class::Never(
            "advisory locks outlive the statement and are shared by all callers; use `SELECT … FOR UPDATE`",
        ),
        "wait" => Class::Never("it holds a connection idle; wait in the application"),
        "replication" => Class::Never("it steers replication or the write-ahead log"),
        "server" => Class::Never("it looks into or steers the server and other sessions"),
        "settings" => Class::Never("it changes the session, whose settings are pinned"),
        "internal" => Class::Never("only the server itself may call it"),
        "extension" => Class::NeverExtension(
            "it runs SQL, reads pages or files, or reaches other servers by its arguments",
        ),
        _ => Class::Never("its section of the table has no meaning"),
    }
}

/// The class of a built-in function, or of an extension's function that is never allowed.
pub fn class(name: &str) -> Option<Class> {
    CLASSES.get(name).copied()
}

/// Whether an unqualified call of `name` is taken for PostgreSQL's own function or a cast to its own type, in whatever
/// version has one of this name.
pub fn is_taken_for_built_in(name: &str) -> bool {
    class(name).is_some() || names::is_type(name)
}

/// Whether a function of pg_catalog has been classified; a coverage test asks for every name a server has.
pub fn is_classified(name: &str) -> bool {
    matches!(
        class(name),
        Some(
            Class::Pure
                | Class::AdvanceSequence
                | Class::ReadSequence
                | Class::OfSession
                | Class::ReadSetting
                | Class::Never(_)
        )
    )
}
