//! Who else there is on a PostgreSQL server that concerns us, and what undoes what they have too much.

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::{identifier, unread};
use crate::native::mend::{Mend, Others};
use crate::native::{CALLERS, Difference, Error, ROLE_PREFIX, Subject};

/// The accounts that hold one of ours.
const HOLDERS: &str = "SELECT DISTINCT m.rolname FROM pg_catalog.pg_auth_members a \
    JOIN pg_catalog.pg_roles r ON r.oid = a.roleid JOIN pg_catalog.pg_roles m ON m.oid = a.member \
    WHERE m.rolcanlogin AND (r.rolname = $1 OR starts_with(r.rolname, $2))";
/// Roles that are not ours and that somebody holds.
const MEMBERSHIPS: &str = "SELECT DISTINCT m.rolname, r.rolname FROM pg_catalog.pg_auth_members a \
    JOIN pg_catalog.pg_roles r ON r.oid = a.roleid JOIN pg_catalog.pg_roles m ON m.oid = a.member \
    WHERE m.rolname = ANY ($1) AND r.rolname <> $2 AND NOT starts_with(r.rolname, $3)";
const STRAYS: &str = "SELECT rolname FROM pg_catalog.pg_roles WHERE starts_with(rolname, $1)";

/// Who else there is that concerns us.
pub(in crate::native) async fn others(
    client: &Client,
    subjects: &[Subject],
) -> Result<Others, Error> {
    let names = |rows: Vec<tokio_postgres::Row>| -> Vec<String> {
        rows.iter().filter_map(|row| row.try_get(0).ok()).collect()
    };
    let strays = client.query(STRAYS, &[&ROLE_PREFIX]).await;
    let mut strays = names(strays.map_err(unread)?);
    strays.retain(|stray| !subjects.iter().any(|subject| subject.name == *stray));
    let ours: [&(dyn ToSql + Sync); 2] = [&CALLERS, &ROLE_PREFIX];
    let holders = names(client.query(HOLDERS, &ours).await.map_err(unread)?);
    let known = subjects.iter().map(|subject| &subject.name).chain(&holders);
    let known: Vec<&String> = known.collect();
    let memberships = client
        .query(MEMBERSHIPS, &[&known, &CALLERS, &ROLE_PREFIX])
        .await
        .map_err(unread)?;
    let membership = |row: &tokio_postgres::Row| {
        let (member, role): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (quoted, from) = (identifier(&role), identifier(&member));
        Ok((member, Mend::sql(format!("REVOKE {quoted} FROM {from};"))))
    };
    let memberships: Result<_, _> = memberships.iter().map(membership).collect();
    let dropped = |stray: String| {
        // What it should own, somebody owns afterwards; what it may do in other databases must be taken there.
        let role = identifier(&stray);
        let text = format!(
            "REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role};"
        );
        (stray, Mend::sql(text))
    };
    Ok(Others {
        strays: strays.into_iter().map(dropped).collect(),
        holders,
        memberships: memberships.map_err(unread)?,
        ..Others::default()
    })
}

/// What undoes something that is extra and that the script of grants leaves alone. Names with dots in them could be
/// taken apart in two ways, and are left to people.
pub(in crate::native) fn mend(found: &Difference, is_scripted: bool) -> Option<Mend> {
    let from = identifier(&found.subject);
    let what = found.what.strip_suffix(" WITH GRANT OPTION");
    let what = what.unwrap_or(&found.what);
    if found.on == "the server" {
        return Some(Mend::sql(format!("ALTER ROLE {from} NO{what};")));
    }
    if let Some(rest) = found.on.strip_prefix("future ") {
        let (kind, owner) = rest.split_once(" of ")?;
        let (kind, owner) = (kind.to_uppercase(), identifier(owner));
        return Some(Mend::sql(format!(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE {what} ON {kind} FROM {from};"
        )));
    }
    let (kind, name) = found.on.split_once(' ')?;
    if what.starts_with("MEMBER") {
        return Some(Mend::sql(format!(
            "REVOKE {} FROM {from};",
            identifier(name)
        )));
    }
    let (name, arguments) = match (kind, name.split_once('(')) {
        ("function", Some((name, arguments))) => (name, format!("({arguments}")),
        (_, _) => (name, String::new()),
    };
    let parts: Vec<&str> = name.split('.').collect();
    let (place, columns) = match (kind, parts.as_slice()) {
        ("table" | "sequence" | "function", [space, name]) => {
            (format!("{}.{}", identifier(space), identifier(name)), None)
        }
        ("column", [space, table, column]) => {
            let place = format!("{}.{}", identifier(space), identifier(table));
            (place, Some(identifier(column)))
        }
        ("schema" | "database", [name]) => (identifier(name), None),
        (_, _) => return None,
    };
    let kind = match kind {
        "column" => "TABLE".to_owned(),
        other => other.to_uppercase(),
    };
    if what == "OWNER" {
        return Some(Mend::sql(format!(
            "ALTER {kind} {place} OWNER TO CURRENT_USER;"
        )));
    }
    let is_servers = parts.first().is_some_and(|space| {
        kind != "DATABASE" && (space.starts_with("pg_") || *space == "information_schema")
    });
    if is_scripted && !is_servers {
        return None;
    }
    let columns = columns.map_or_else(String::new, |column| format!(" ({column})"));
    Some(Mend::sql(format!(
        "REVOKE {what}{columns} ON {kind} {place}{arguments} FROM {from};"
    )))
}
