//! MySQL and MariaDB: statements that make the roles, and what `SHOW GRANTS` says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::access::{Access, Columns, Name};
use super::mend::{Mend, Others};
use super::mysql_grants::{self, Line};
use super::{CALLERS, Difference, Error, Held, Privilege, ROLE_PREFIX, Subject, compare};
use crate::operation::Action;

/// Roles that are granted to roles, and so on.
const ROLES_MAX: usize = 64;

/// What the sidecar needs on every table that lives in the store, to see what views and triggers reach.
const SEEING: [&str; 2] = ["SHOW VIEW", "TRIGGER"];

const COLUMNS: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS \
    WHERE TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') ORDER BY ORDINAL_POSITION";

/// The roles and their grants. `accounts` are subjects that exist already, as `user@host`.
pub fn script(subjects: &[Subject]) -> String {
    let mut text = String::from(
        "-- MySQL and MariaDB: the policy as roles. Run it as an administrator, again after every change of the policy.\n\
         -- Each role is emptied and filled again, so for a moment its holders may do nothing.\n\
         -- An account that should have its roles without asking for them needs a default role:\n\
         --   GRANT `bulkhead_callers` TO 'account'@'%'; SET DEFAULT ROLE `bulkhead_callers` FOR 'account'@'%';\n\
         -- (MySQL spells the last one SET DEFAULT ROLE `bulkhead_callers` TO 'account'@'%'.) The sidecar's own account\n\
         -- is given its privileges without a role, since it sees triggers by these alone: `--account user@host`.\n\
         SET SESSION sql_mode = '', SESSION group_concat_max_len = 1048576;\n",
    );
    for subject in subjects {
        text += &grants(subject);
    }
    text
}

fn grants(subject: &Subject) -> String {
    let grantee = grantee(&subject.name);
    let access = &subject.access;
    let mut text = format!("\n-- {}\n", subject.name.replace(char::is_control, " "));
    if !subject.name.contains('@') {
        let _ = writeln!(text, "CREATE ROLE IF NOT EXISTS {grantee};");
    }
    let _ = writeln!(text, "REVOKE ALL PRIVILEGES, GRANT OPTION FROM {grantee};");
    for (table, actions) in &access.objects {
        for (action, columns) in actions {
            for word in words(*action) {
                text += &grant(word, table, columns, &grantee);
            }
        }
    }
    if access.for_sidecar {
        for table in &access.listed {
            let _ = writeln!(
                text,
                "GRANT {} ON {} TO {grantee};",
                SEEING.join(", "),
                place(table)
            );
        }
    }
    for function in &access.functions {
        let _ = writeln!(
            text,
            "GRANT EXECUTE ON FUNCTION {} TO {grantee};",
            place(function)
        );
    }
    text
}

fn grant(word: &str, table: &Name, columns: &Columns, grantee: &str) -> String {
    let place = place(table);
    match columns {
        Columns::Only(columns) if has_columns(word) => {
            let list: Vec<String> = columns.iter().map(|column| identifier(column)).collect();
            format!(
                "GRANT {word} ({}) ON {place} TO {grantee};\n",
                list.join(", ")
            )
        }
        Columns::Except(columns) if has_columns(word) => {
            let columns: Vec<String> = columns.iter().map(|column| literal(column)).collect();
            format!(
                "SET @bulkhead = (SELECT CONCAT({}, GROUP_CONCAT('`', REPLACE(COLUMN_NAME, '`', '``'), '`'), {}) \
                 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} \
                 AND COLUMN_NAME NOT IN ({}));\n\
                 PREPARE bulkhead FROM @bulkhead; EXECUTE bulkhead; DEALLOCATE PREPARE bulkhead;\n",
                literal(&format!("GRANT {word} (")),
                literal(&format!(") ON {place} TO {grantee}")),
                literal(&table.namespace),
                literal(&table.name),
                columns.join(", "),
            )
        }
        Columns::All | Columns::Only(_) | Columns::Except(_) => {
            format!("GRANT {word} ON {place} TO {grantee};\n")
        }
    }
}

/// Which privileges can be had on some columns of a table alone.
fn has_columns(word: &str) -> bool {
    matches!(word, "SELECT" | "INSERT" | "UPDATE")
}

const fn words(action: Action) -> &'static [&'static str] {
    match action {
        Action::Select => &["SELECT"],
        Action::Insert => &["INSERT"],
        Action::Update => &["UPDATE"],
        Action::Delete => &["DELETE"],
        Action::Ddl => &["CREATE", "ALTER", "DROP", "INDEX"],
        Action::Find | Action::Read | Action::Write => &[],
    }
}

/// `user@host` is an account; a name without a host is a role.
fn grantee(name: &str) -> String {
    match name.rsplit_once('@') {
        Some((user, host)) => format!("{}@{}", literal(user), literal(host)),
        None => identifier(name),
    }
}

fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn place(table: &Name) -> String {
    format!(
        "{}.{}",
        identifier(&table.namespace),
        identifier(&table.name)
    )
}

/// Compares a server with the subjects. May be cancelled.
pub async fn differences(conn: &mut Conn, subjects: &[Subject]) -> Result<Vec<Difference>, Error> {
    conn.query_drop("SET SESSION sql_quote_show_create = 1")
        .await
        .map_err(unread)?;
    let mut columns: BTreeMap<Name, Vec<String>> = BTreeMap::new();
    let rows: Vec<(String, String, String)> = conn.query(COLUMNS).await.map_err(unread)?;
    for (namespace, name, column) in rows {
        columns
            .entry(Name { namespace, name })
            .or_default()
            .push(column);
    }
    let mut all = Vec::new();
    for subject in subjects {
        let held = held(conn, Some(&subject.name)).await?;
        let wanted = wanted(&subject.access, &columns);
        all.extend(compare(&subject.name, &wanted, &held, covers));
    }
    Ok(all)
}

/// Compares the account of this connection.
pub async fn own_differences(conn: &mut Conn, subject: &Subject) -> Result<Vec<Difference>, Error> {
    let held = held(conn, None).await?;
    let rows: Vec<(String, String, String)> = conn.query(COLUMNS).await.map_err(unread)?;
    let mut columns: BTreeMap<Name, Vec<String>> = BTreeMap::new();
    for (namespace, name, column) in rows {
        columns
            .entry(Name { namespace, name })
            .or_default()
            .push(column);
    }
    let wanted = wanted(&subject.access, &columns);
    Ok(compare(&subject.name, &wanted, &held, covers))
}

/// Who this connection is, as `user@host`.
pub async fn whoami(conn: &mut Conn) -> Result<String, Error> {
    let account: Option<String> = conn
        .query_first("SELECT CURRENT_USER()")
        .await
        .map_err(unread)?;
    account.ok_or_else(|| Error::Read("the server does not say who the connection is".into()))
}

/// Who else there is that concerns us.
pub(super) async fn others(conn: &mut Conn, subjects: &[Subject]) -> Result<Others, Error> {
    let mariadb: Vec<(String, String, String)> = conn
        .query("SELECT CONVERT(User, CHAR), CONVERT(Host, CHAR), CONVERT(Role, CHAR) FROM mysql.roles_mapping")
        .await
        .unwrap_or_default();
    let mysql: Vec<(String, String, String)> = conn
        .query("SELECT TO_USER, TO_HOST, FROM_USER FROM mysql.role_edges")
        .await
        .unwrap_or_default();
    let names: Vec<(String, String)> = conn
        .query("SELECT CONVERT(User, CHAR), CONVERT(Host, CHAR) FROM mysql.user WHERE User LIKE 'bulkhead\\_role\\_%'")
        .await
        .map_err(unread)?;
    let is_known = |name: &str| subjects.iter().any(|subject| subject.name == name);
    let strays = names.into_iter().filter(|(name, _)| !is_known(name));
    let dropped = |(name, host): (String, String)| {
        // MariaDB's roles have no host; MySQL's have one, as users do.
        let mend = if host.is_empty() {
            format!("DROP ROLE {};", identifier(&name))
        } else {
            format!("DROP USER {}@{};", literal(&name), literal(&host))
        };
        (name, Mend::sql(mend))
    };
    let mut holders = BTreeSet::new();
    let mut memberships = Vec::new();
    // An administrator who made the roles holds them, and is no holder to judge.
    let me = whoami(conn).await?;
    for (user, host, role) in mariadb.into_iter().chain(mysql) {
        let is_role = host.is_empty() || is_known(&user);
        let holder = if is_role {
            user
        } else {
            format!("{user}@{host}")
        };
        if role == CALLERS || role.starts_with(ROLE_PREFIX) {
            if !is_role && !holder.starts_with(ROLE_PREFIX) && holder != me {
                holders.insert(holder);
            }
            continue;
        }
        let mend = format!("REVOKE {} FROM {};", identifier(&role), grantee(&holder));
        memberships.push((holder, Mend::sql(mend)));
    }
    Ok(Others {
        strays: strays.map(dropped).collect(),
        holders: holders.into_iter().collect(),
        memberships,
        public: public(conn).await,
        ..Others::default()
    })
}

/// What undoes a privilege of an account that the script of grants leaves alone.
pub(super) fn mend(found: &Difference) -> Option<Mend> {
    revoke(&found.what, &found.on, &grantee(&found.subject))
}

/// Takes a privilege away. Names with dots in them could be taken apart in two ways, and are left to people.
fn revoke(what: &str, on: &str, from: &str) -> Option<Mend> {
    let whole = |space: &str, name: &str| format!("{}.{}", identifier(space), identifier(name));
    let (place, columns) = if on == "the server" {
        ("*.*".to_owned(), String::new())
    } else if let Some(pattern) = on.strip_prefix("databases like ") {
        (format!("{}.*", identifier(pattern)), String::new())
    } else {
        let (kind, name) = on.split_once(' ')?;
        let parts: Vec<&str> = name.split('.').collect();
        match (kind, parts.as_slice()) {
            ("table", [space, name]) => (whole(space, name), String::new()),
            ("function" | "procedure", [space, name]) => {
                let kind = kind.to_uppercase();
                (format!("{kind} {}", whole(space, name)), String::new())
            }
            ("column", [space, table, column]) => {
                (whole(space, table), format!(" ({})", identifier(column)))
            }
            (_, _) => return None,
        }
    };
    let words = |c: char| c.is_ascii_alphabetic() || c == ' ';
    if !what.chars().all(words) || what.starts_with("something") {
        return None;
    }
    Some(Mend::sql(format!(
        "REVOKE {what}{columns} ON {place} FROM {from};"
    )))
}

/// What an account or role may do, with every role that it holds; `None` is the connection's own.
async fn held(conn: &mut Conn, name: Option<&str>) -> Result<Held, Error> {
    let mut held = Held::default();
    let mut pending = vec![name.map(str::to_owned)];
    let mut seen: BTreeSet<String> = BTreeSet::new();
    while let Some(next) = pending.pop() {
        let query = match &next {
            None => "SHOW GRANTS".to_owned(),
            Some(name) => format!("SHOW GRANTS FOR {}", grantee(name)),
        };
        let lines: Vec<String> = match conn.query(&query).await {
            Ok(lines) => lines,
            // The first is the subject itself, which may not be there; a role that cannot be seen may hold anything.
            Err(mysql_async::Error::Server(error)) if seen.is_empty() && error.code == NO_GRANT => {
                return Ok(held);
            }
            Err(error) if seen.is_empty() => return Err(unread(error)),
            Err(_) => {
                let unseen = next.unwrap_or_default();
                held.privileges.insert(Privilege::new(
                    "MEMBER (not readable)",
                    format!("role {unseen}"),
                ));
                continue;
            }
        };
        held.exists = true;
        seen.insert(next.unwrap_or_default());
        for line in lines {
            match mysql_grants::read(&line) {
                Some(Line::Privileges(privileges)) => held.privileges.extend(privileges),
                Some(Line::Roles(roles)) => pending.extend(
                    roles
                        .into_iter()
                        .filter(|role| !seen.contains(role) && seen.len() < ROLES_MAX)
                        .map(Some),
                ),
                Some(Line::Nothing) => {}
                None => {
                    held.privileges
                        .insert(Privilege::new("something not understood", "the server"));
                }
            }
        }
    }
    let public = public(conn).await.into_iter();
    held.privileges
        .extend(public.map(|(privilege, _)| privilege));
    Ok(held)
}

/// What everybody may do: MariaDB from 10.11 on has such grants, other servers do not know the word.
async fn public(conn: &mut Conn) -> Vec<(Privilege, Mend)> {
    let lines: Vec<String> = conn
        .query("SHOW GRANTS FOR PUBLIC")
        .await
        .unwrap_or_default();
    let mut all = Vec::new();
    for line in lines.iter().filter_map(|line| mysql_grants::read(line)) {
        if let Line::Privileges(privileges) = line {
            all.extend(privileges.into_iter().map(|privilege| {
                let mend = revoke(&privilege.what, &privilege.on, EVERYBODY);
                let left = || Mend::sql(format!("-- left to you: PUBLIC has {privilege}"));
                let mend = mend.unwrap_or_else(left);
                (privilege, mend)
            }));
        }
    }
    all
}

/// MariaDB's word for everybody.
const EVERYBODY: &str = "PUBLIC";

/// `ER_NONEXISTING_GRANT`: there is no such account or role.
const NO_GRANT: u16 = 1141;

fn wanted(access: &Access, columns: &BTreeMap<Name, Vec<String>>) -> BTreeSet<Privilege> {
    let mut wanted = BTreeSet::new();
    let none = Vec::new();
    for (table, actions) in &access.objects {
        let Name { namespace, name } = table;
        let whole = format!("table {namespace}.{name}");
        for (action, allowed) in actions {
            for word in words(*action) {
                let some = allowed.among(columns.get(table).unwrap_or(&none));
                match some.filter(|_| has_columns(word)) {
                    None => {
                        wanted.insert(Privilege::new(*word, whole.clone()));
                    }
                    Some(some) => wanted.extend(some.into_iter().map(|column| {
                        Privilege::new(*word, format!("column {namespace}.{name}.{column}"))
                    })),
                }
            }
        }
    }
    if access.for_sidecar {
        for Name { namespace, name } in &access.listed {
            for word in SEEING {
                wanted.insert(Privilege::new(word, format!("table {namespace}.{name}")));
            }
        }
    }
    for Name { namespace, name } in &access.functions {
        wanted.insert(Privilege::new(
            "EXECUTE",
            format!("function {namespace}.{name}"),
        ));
    }
    wanted
}

/// Whether something wider that is held gives a privilege: on the server, on a database, on the table of a column.
fn covers(held: &Held, wanted: &Privilege) -> bool {
    let gives = |privilege: &Privilege, on: &str| {
        privilege.on == on && (privilege.what == wanted.what || privilege.what == "ALL PRIVILEGES")
    };
    let place = wanted.on.split_once(' ').map_or("", |(_, place)| place);
    let database = place.split('.').next().unwrap_or_default();
    let table = wanted
        .on
        .strip_prefix("column ")
        .and_then(|column| column.rsplit_once('.'));
    let table = table.map(|(table, _)| format!("table {table}"));
    held.privileges.iter().any(|privilege| {
        gives(privilege, "the server")
            || gives(privilege, &wanted.on)
            || table.as_ref().is_some_and(|table| gives(privilege, table))
            || privilege
                .on
                .strip_prefix("databases like ")
                .is_some_and(|pattern| like(pattern, database) && gives(privilege, &privilege.on))
    })
}

/// `LIKE` of SQL: `%`, `_`, and `\` before either.
fn like(pattern: &str, text: &str) -> bool {
    let mut pattern = pattern.chars();
    let rest = text.chars();
    match pattern.next() {
        None => text.is_empty(),
        Some('%') => {
            let pattern = pattern.as_str();
            text.char_indices()
                .map(|(at, _)| at)
                .chain([text.len()])
                .any(|at| text.get(at..).is_some_and(|rest| like(pattern, rest)))
        }
        Some('_') => {
            let mut rest = rest;
            rest.next().is_some() && like(pattern.as_str(), rest.as_str())
        }
        Some(first) => {
            let literal = if first == '\\' {
                pattern.next()
            } else {
                Some(first)
            };
            let mut rest = rest;
            rest.next() == literal && like(pattern.as_str(), rest.as_str())
        }
    }
}

fn unread(error: mysql_async::Error) -> Error {
    Error::Read(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_of_databases_is_a_like() {
        for (pattern, text, expected) in [
            ("shop", "shop", true),
            ("sh_p", "shop", true),
            (r"sh\_p", "shop", false),
            (r"sh\_p", "sh_p", true),
            ("s%", "shop", true),
            ("%", "", true),
            ("s%p", "sho", false),
        ] {
            assert_eq!(like(pattern, text), expected, "{pattern} {text}");
        }
    }
}
