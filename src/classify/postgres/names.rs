//! Names: what PostgreSQL keeps in pg_catalog, and how its identifiers are written inside strings.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use pg_query::NodeEnum;
use pg_query::protobuf::Node;

use super::{Refusal, Result};

/// PostgreSQL's NAMEDATALEN less its closing zero; longer identifiers are cut by the server.
const IDENTIFIER_BYTES_MAX: usize = 63;

static NAMES: LazyLock<HashMap<&'static str, HashSet<&'static str>>> =
    LazyLock::new(|| sections(include_str!("names.txt")).collect());

/// Splits a data file into its sections: `[heading]` lines, names apart by white space, `--` comments.
pub fn sections(text: &'static str) -> impl Iterator<Item = (&'static str, HashSet<&'static str>)> {
    text.split("\n[").skip(1).filter_map(|section| {
        let (heading, body) = section.split_once("]\n")?;
        let names = body
            .lines()
            .filter(|line| !line.starts_with("--"))
            .flat_map(str::split_whitespace)
            .collect();
        Some((heading, names))
    })
}

fn is_in(section: &str, name: &str) -> bool {
    NAMES.get(section).is_some_and(|names| names.contains(name))
}

pub fn is_operator(name: &str) -> bool {
    is_in("operators", name)
}

pub fn is_operator_class(name: &str) -> bool {
    is_in("operator classes", name)
}

pub fn is_type(name: &str) -> bool {
    is_in("types", name)
}

/// Whether an unqualified relation of this name is pg_catalog's, which is searched before all others.
pub fn is_catalog(name: &str) -> bool {
    name.starts_with("pg_") && is_in("catalogs", name)
}

/// A name as the grammar gives it: a list of strings, the last the name itself.
pub fn parts(nodes: &[Node]) -> Result<Vec<&str>> {
    nodes
        .iter()
        .map(|node| match &node.node {
            Some(NodeEnum::String(part)) => Ok(part.sval.as_str()),
            _ => Err(Refusal::Forbidden(
                "a name that is not made of identifiers".into(),
            )),
        })
        .collect()
}

/// Splits a name into its schema and itself.
pub fn qualified(nodes: &[Node]) -> Result<(Option<&str>, &str)> {
    match parts(nodes)?.as_slice() {
        [name] => Ok((None, name)),
        [schema, name] => Ok((Some(schema), name)),
        other => Err(Refusal::Forbidden(format!(
            "the name `{}` reaches beyond this database; write at most `schema.name`",
            other.join(".")
        ))),
    }
}

/// `schema.name` or `name`.
pub fn written(schema: Option<&str>, name: &str) -> String {
    schema.map_or_else(|| name.to_owned(), |schema| format!("{schema}.{name}"))
}

/// Refuses a name with a dot inside: written out, `"a.b"` would look like `b` of the schema `a`, and no policy
/// can list it.
pub fn check_plain(name: &str) -> Result<()> {
    if name.contains('.') {
        return Err(Refusal::Forbidden(format!(
            "the name `\"{name}\"` has a dot inside, which no policy can list; write `schema.name` unquoted"
        )));
    }
    Ok(())
}

/// Reads a relation's name from a string as the server's `regclassin` does: `"` quotes, the rest folds to
/// lower case. Whatever could be read in another way is refused.
pub fn from_literal(text: &str) -> Result<(Option<String>, String)> {
    let refused = || {
        Refusal::Forbidden(format!(
            "the sequence name `{text}` cannot be read; write it as `schema.name`"
        ))
    };
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = identifier(rest).ok_or_else(refused)?;
        found.push(part);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => break,
            None => return Err(refused()),
        }
    }
    match (found.pop(), found.pop(), found.pop()) {
        (Some(name), schema, None) => Ok((schema, name)),
        _ => Err(refused()),
    }
}

/// Takes one identifier from the front of a text.
fn identifier(text: &str) -> Option<(String, &str)> {
    let (name, rest) = if let Some(quoted) = text.strip_prefix('"') {
        let (name, rest) = quoted.split_once('"')?;
        if rest.starts_with('"') {
            return None;
        }
        (name.to_owned(), rest)
    } else {
        let end = text
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '$'))
            .unwrap_or(text.len());
        let (name, rest) = text.split_at_checked(end)?;
        if name.starts_with(|c: char| c.is_ascii_digit() || c == '$') {
            return None;
        }
        (name.to_ascii_lowercase(), rest)
    };
    (!name.is_empty() && name.len() <= IDENTIFIER_BYTES_MAX).then_some((name, rest))
}
