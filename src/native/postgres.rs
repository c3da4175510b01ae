//! PostgreSQL: a transaction that makes the roles, and what the server's access control lists say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use tokio_postgres::Client;

use super::access::{Access, Columns, Name};
use super::{Difference, Error, Held, Privilege, Subject, compare};
use crate::operation::Action;
use crate::system::describe;

mod others;
pub(super) use others::{mend, others};

const HELD: &str = include_str!("postgres.sql");

/// What the server says of names that the policy uses: columns, sequences behind them, functions' signatures.
const TABLES: &str = "SELECT n.nspname, c.relname, a.attname, \
    (SELECT q.nspname || '.' || s.relname FROM pg_catalog.pg_depend d \
     JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S' \
     JOIN pg_catalog.pg_namespace q ON q.oid = s.relnamespace \
     WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'a' \
     AND d.refobjid = c.oid AND d.refobjsubid = a.attnum LIMIT 1) \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname = ANY ($1) ORDER BY a.attnum";
const FUNCTIONS: &str = "SELECT n.nspname, p.proname, n.nspname || '.' || p.proname || '(' || \
    pg_catalog.pg_get_function_identity_arguments(p.oid) || ')' \
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = ANY ($1)";

/// The table of the audit trail, into which the sidecar's account writes a row with each change.
const AUDIT: &str = "audit_logs";

/// The roles and their grants as one transaction.
pub fn script(subjects: &[Subject]) -> String {
    let mut text = String::from(
        "-- PostgreSQL: the policy as roles. Run it as a superuser, or as the tables' owner with CREATEROLE, in the\n\
         -- database that it speaks of; again after every change of the policy. All of it or nothing takes effect.\n\
         BEGIN;\n\
         SET LOCAL standard_conforming_strings = on;\n\
         SET LOCAL search_path = pg_catalog;\n",
    );
    let listed: BTreeSet<&Name> = subjects.iter().flat_map(|s| &s.access.listed).collect();
    let schemas: BTreeSet<&str> = listed.iter().map(|name| name.namespace.as_str()).collect();
    text += "\n-- Nobody may do more by being anybody.\n";
    for schema in &schemas {
        let schema = identifier(schema);
        for what in ["SCHEMA", "ALL TABLES IN SCHEMA", "ALL SEQUENCES IN SCHEMA"] {
            let _ = writeln!(text, "REVOKE ALL ON {what} {schema} FROM PUBLIC;");
        }
    }
    text += &revoke_functions(&schemas);
    for subject in subjects {
        text += &grants(subject);
    }
    text + "\nCOMMIT;\n"
}

/// Takes from everybody the functions that no operator, cast or type needs.
fn revoke_functions(schemas: &BTreeSet<&str>) -> String {
    let body = format!(
        "DECLARE found record;\nBEGIN\n\
         EXECUTE format('REVOKE TEMPORARY, CREATE ON DATABASE %I FROM PUBLIC', current_database());\n\
         FOR found IN SELECT p.oid::regprocedure AS name FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace\n\
         \x20   WHERE n.nspname = ANY ({}) AND NOT (\n\
         \x20     EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')\n\
         \x20     AND (EXISTS (SELECT FROM pg_operator o WHERE p.oid IN (o.oprcode, o.oprrest, o.oprjoin))\n\
         \x20       OR EXISTS (SELECT FROM pg_cast k WHERE k.castfunc = p.oid)\n\
         \x20       OR EXISTS (SELECT FROM pg_amproc f WHERE f.amproc = p.oid)\n\
         \x20       OR EXISTS (SELECT FROM pg_type y WHERE p.oid IN\n\
         \x20         (y.typinput, y.typoutput, y.typreceive, y.typsend, y.typmodin, y.typmodout))))\n\
         LOOP EXECUTE format('REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC', found.name); END LOOP;\nEND",
        array(schemas.iter().copied())
    );
    run(&body)
}

/// One role, emptied and filled again.
fn grants(subject: &Subject) -> String {
    let Subject { name, access } = subject;
    let role = identifier(name);
    let mut text = format!("\n-- {}\n", name.replace(char::is_control, " "));
    let empty = format!(
        "DECLARE space name;\nBEGIN\n\
         IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {quoted}) THEN CREATE ROLE {role} NOLOGIN; END IF;\n\
         FOR space IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP\n\
         EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM {role_in_format}', space);\n\
         EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %I FROM {role_in_format}', space);\n\
         EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA %I FROM {role_in_format}', space);\n\
         EXECUTE format('REVOKE ALL ON SCHEMA %I FROM {role_in_format}', space);\n\
         END LOOP;\n\
         EXECUTE format('REVOKE ALL ON DATABASE %I FROM {role_in_format}', current_database());\n\
         EXECUTE format('GRANT CONNECT ON DATABASE %I TO {role_in_format}', current_database());\nEND",
        quoted = literal(name),
        role_in_format = role.replace('%', "%%").replace('\'', "''"),
    );
    text += &run(&empty);
    let mut spaces: BTreeSet<&str> = access
        .objects
        .keys()
        .map(|n| n.namespace.as_str())
        .collect();
    if audits(access) {
        spaces.insert(&access.default_namespace);
    }
    for space in spaces {
        let _ = writeln!(
            text,
            "GRANT USAGE ON SCHEMA {} TO {role};",
            identifier(space)
        );
    }
    for (table, actions) in &access.objects {
        let place = place(table);
        for (action, columns) in actions {
            match (word(*action), columns) {
                (None, _) => {
                    let _ = writeln!(
                        text,
                        "-- {} on {place} is not granted: only an owner may define a table. Migrate with another account.",
                        action.as_str()
                    );
                }
                (Some(word), Columns::All) => {
                    let _ = writeln!(text, "GRANT {word} ON TABLE {place} TO {role};");
                }
                (Some("DELETE"), _) => {
                    let _ = writeln!(text, "GRANT DELETE ON TABLE {place} TO {role};");
                }
                (Some(word), Columns::Only(columns)) => {
                    let list: Vec<String> = columns.iter().map(|c| identifier(c)).collect();
                    let list = list.join(", ");
                    let _ = writeln!(text, "GRANT {word} ({list}) ON TABLE {place} TO {role};");
                }
                (Some(word), Columns::Except(columns)) => {
                    let columns = columns.iter().map(AsRef::as_ref);
                    text += &run(&grant_except(word, table, columns, &role));
                }
            }
        }
        if actions.contains_key(&Action::Insert) {
            text += &run(&grant_sequences(table, &role));
        }
    }
    if audits(access) {
        let audit = Name {
            namespace: access.default_namespace.clone(),
            name: AUDIT.to_owned(),
        };
        let _ = writeln!(
            text,
            "-- The sidecar's own: the audit row that commits with a change.\nGRANT INSERT ON TABLE {} TO {role};",
            place(&audit)
        );
    }
    for function in &access.functions {
        text += &run(&grant_function(function, &role));
    }
    text
}

fn audits(access: &Access) -> bool {
    access.for_sidecar && access.changes()
}

/// Every column but some. The server knows them all; this text does not.
fn grant_except<'c>(
    word: &str,
    table: &Name,
    except: impl Iterator<Item = &'c str>,
    role: &str,
) -> String {
    format!(
        "BEGIN EXECUTE (SELECT format({}, string_agg(quote_ident(attname), ', ' ORDER BY attnum)) FROM pg_attribute\n\
         WHERE attrelid = {}::regclass AND attnum > 0 AND NOT attisdropped AND attname <> ALL ({})); END",
        literal(&format!(
            "GRANT {word} (%s) ON TABLE {} TO {}",
            place(table).replace('%', "%%"),
            role.replace('%', "%%")
        )),
        literal(&place(table)),
        array(except)
    )
}

/// The sequences behind a table's columns; an identity column needs none.
fn grant_sequences(table: &Name, role: &str) -> String {
    format!(
        "DECLARE found record;\nBEGIN\n\
         FOR found IN SELECT s.oid::regclass AS name FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'\n\
         \x20   WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'a'\n\
         \x20   AND d.refobjid = {}::regclass\n\
         LOOP EXECUTE format({}, found.name); END LOOP;\nEND",
        literal(&place(table)),
        literal(&format!(
            "GRANT USAGE ON SEQUENCE %s TO {}",
            role.replace('%', "%%")
        ))
    )
}

/// A function under each of its signatures.
fn grant_function(function: &Name, role: &str) -> String {
    format!(
        "DECLARE found record;\nBEGIN\n\
         FOR found IN SELECT p.oid::regprocedure AS name FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace\n\
         \x20   WHERE n.nspname = {} AND p.proname = {}\n\
         LOOP EXECUTE format({}, found.name); END LOOP;\nEND",
        literal(&function.namespace),
        literal(&function.name),
        literal(&format!(
            "GRANT EXECUTE ON ROUTINE %s TO {}",
            role.replace('%', "%%")
        ))
    )
}

const fn word(action: Action) -> Option<&'static str> {
    match action {
        Action::Select => Some("SELECT"),
        Action::Insert => Some("INSERT"),
        Action::Update => Some("UPDATE"),
        Action::Delete => Some("DELETE"),
        Action::Find | Action::Read | Action::Ddl | Action::Write => None,
    }
}

/// An anonymous block, quoted by a tag that its body does not hold.
fn run(body: &str) -> String {
    let mut tag = "$bulkhead$".to_owned();
    while body.contains(&tag) {
        tag = format!("${}_$", tag.trim_matches('$'));
    }
    format!("DO {tag} {body} {tag};\n")
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn array<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let texts: Vec<String> = texts.map(literal).collect();
    format!("ARRAY[{}]::text[]", texts.join(", "))
}

fn place(table: &Name) -> String {
    format!(
        "{}.{}",
        identifier(&table.namespace),
        identifier(&table.name)
    )
}

/// What a server has of the names that a policy uses.
#[derive(Debug, Default)]
struct Facts {
    columns: BTreeMap<Name, Vec<String>>,
    sequences: BTreeMap<Name, Vec<String>>,
    functions: BTreeMap<Name, Vec<String>>,
}

/// Compares a server with the subjects, with accounts that hold one of their roles, and names roles that the policy
/// does not have. May be cancelled.
pub async fn differences(client: &Client, subjects: &[Subject]) -> Result<Vec<Difference>, Error> {
    let mut all = Vec::new();
    // Compiling the query would take longer than it.
    client
        .batch_execute("SET jit = off")
        .await
        .map_err(unread)?;
    let facts = facts(client, subjects).await.map_err(unread)?;
    for subject in subjects {
        all.extend(of_subject(client, subject, &facts).await?);
    }
    Ok(all)
}

async fn of_subject(
    client: &Client,
    subject: &Subject,
    facts: &Facts,
) -> Result<Vec<Difference>, Error> {
    let exists = client
        .query_opt(
            "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1",
            &[&subject.name],
        )
        .await
        .map_err(unread)?
        .is_some();
    let rows = client.query(HELD, &[&subject.name]).await.map_err(unread)?;
    let mut held = Held {
        exists,
        ..Held::default()
    };
    for row in rows {
        let what: String = row.try_get("what").map_err(unread)?;
        let on: String = row.try_get("on_").map_err(unread)?;
        held.privileges.insert(Privilege::new(what, on));
    }
    let wanted = wanted(&subject.access, facts);
    Ok(compare(&subject.name, &wanted, &held, covers))
}

/// A superuser may do everything, an owner everything with what is owned; a table's columns go with it.
fn covers(held: &Held, wanted: &Privilege) -> bool {
    let has = |what: &str, on: &str| held.privileges.contains(&Privilege::new(what, on));
    let table = wanted
        .on
        .strip_prefix("column ")
        .and_then(|column| column.rsplit_once('.'));
    let table = table.map(|(table, _)| format!("table {table}"));
    has("SUPERUSER", "the server")
        || has("OWNER", &wanted.on)
        || has(&format!("{} WITH GRANT OPTION", wanted.what), &wanted.on)
        || table.is_some_and(|table| has(&wanted.what, &table) || has("OWNER", &table))
}

fn wanted(access: &Access, facts: &Facts) -> BTreeSet<Privilege> {
    let mut wanted = BTreeSet::new();
    let none = Vec::new();
    for (table, actions) in &access.objects {
        let Name { namespace, name } = table;
        wanted.insert(Privilege::new("USAGE", format!("schema {namespace}")));
        for (action, columns) in actions {
            let Some(word) = word(*action) else { continue };
            match columns.among(facts.columns.get(table).unwrap_or(&none)) {
                Some(columns) if word != "DELETE" => {
                    for column in columns {
                        let on = format!("column {namespace}.{name}.{column}");
                        wanted.insert(Privilege::new(word, on));
                    }
                }
                Some(_) | None => {
                    wanted.insert(Privilege::new(word, format!("table {namespace}.{name}")));
                }
            }
        }
        if actions.contains_key(&Action::Insert) {
            for sequence in facts.sequences.get(table).unwrap_or(&none) {
                wanted.insert(Privilege::new("USAGE", format!("sequence {sequence}")));
            }
        }
    }
    if audits(access) {
        let schema = &access.default_namespace;
        wanted.insert(Privilege::new("USAGE", format!("schema {schema}")));
        wanted.insert(Privilege::new("INSERT", format!("table {schema}.{AUDIT}")));
    }
    for function in &access.functions {
        for signature in facts.functions.get(function).unwrap_or(&none) {
            wanted.insert(Privilege::new("EXECUTE", format!("function {signature}")));
        }
    }
    wanted
}

async fn facts(client: &Client, subjects: &[Subject]) -> Result<Facts, tokio_postgres::Error> {
    let names = subjects
        .iter()
        .flat_map(|s| s.access.listed.iter().chain(&s.access.functions));
    let schemas: BTreeSet<String> = names.map(|name| name.namespace.clone()).collect();
    let schemas: Vec<String> = schemas.into_iter().collect();
    let mut facts = Facts::default();
    for row in client.query(TABLES, &[&schemas]).await? {
        let table = Name {
            namespace: row.try_get(0)?,
            name: row.try_get(1)?,
        };
        facts
            .columns
            .entry(table.clone())
            .or_default()
            .push(row.try_get(2)?);
        if let Some(sequence) = row.try_get(3)? {
            facts.sequences.entry(table).or_default().push(sequence);
        }
    }
    for row in client.query(FUNCTIONS, &[&schemas]).await? {
        let function = Name {
            namespace: row.try_get(0)?,
            name: row.try_get(1)?,
        };
        facts
            .functions
            .entry(function)
            .or_default()
            .push(row.try_get(2)?);
    }
    Ok(facts)
}

fn unread(error: tokio_postgres::Error) -> Error {
    Error::Read(describe(&error))
}
