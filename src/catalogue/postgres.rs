//! Reads PostgreSQL's catalogue, with the account that runs callers' statements: what it names is what they reach.
//!
//! The server's own dependency records (`pg_depend`) say which of the users' relations, functions, operators and
//! types a definition uses. They leave out what PostgreSQL itself brought, so the definitions' texts also go
//! through the classifier: a view over `pg_shadow`, or a default that runs SQL from a string, shows there.
//!
//! What counts, and what does not:
//! - a foreign key's own check of the other table does not: it tells whether a key exists, and no more;
//! - a sequence that belongs to a column is part of its table;
//! - users' casts, operators, operator classes and domains count wherever a value of their types may be;
//! - what an extension brought may overload a built-in name for its own types; the functions it brought count where
//!   a definition calls them;
//! - a materialized view counts as the view that filled it;
//! - a function's body is not looked into: the policy lists the function, or the statement is denied.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio_postgres::{Client, Row};

use super::{Actions, Case, Catalogue, Name, Reach, Target, When};
use crate::classify::{self, Session};
use crate::decide::restrict::{Column, Source};
use crate::execute::settings::SqlStoreSettings;
use crate::operation::{Action, Object};
use crate::system::{STATEMENT_TIMEOUT, System, Unavailable};

const REACHES: &str = include_str!("postgres.sql");
const TYPES: &str = include_str!("postgres_types.sql");
const FINGERPRINT: &str = include_str!("postgres_fingerprint.sql");

/// Of a generated column, the names of those that it is computed from, there and in what inherits from the table:
/// `pg_depend` has them as the expression's or, before PostgreSQL 15, as the column's own. Of each, those that a `CHECK`
/// or an index' expression looks at together with it.
const COLUMNS: &str = "WITH RECURSIVE line (top, part) AS (
        SELECT c.oid, c.oid FROM pg_class c WHERE c.relkind IN ('r', 'p', 'f')
        UNION SELECT line.top, i.inhrelid FROM line JOIN pg_inherits i ON i.inhparent = line.part
    ), computed (top, name, made_of) AS (
        SELECT line.top, g.attname, array_agg(DISTINCT s.attname::text) FILTER (WHERE s.attname <> g.attname)
        FROM line JOIN pg_attribute g ON g.attrelid = line.part AND g.attgenerated <> ''
        LEFT JOIN pg_attrdef f ON f.adrelid = g.attrelid AND f.adnum = g.attnum
        LEFT JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = g.attrelid AND d.refobjsubid > 0
            AND (d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
                OR d.classid = 'pg_class'::regclass AND d.objid = g.attrelid AND d.objsubid = g.attnum)
        LEFT JOIN pg_attribute s ON s.attrelid = d.refobjid AND s.attnum = d.refobjsubid
        GROUP BY line.top, g.attname
    ), together (top, one, name) AS (
        SELECT line.top, c.oid, s.attname FROM line JOIN pg_constraint c ON c.conrelid = line.part AND c.contype = 'c'
        JOIN pg_attribute s ON s.attrelid = c.conrelid AND s.attnum = ANY (c.conkey)
        UNION ALL
        SELECT line.top, i.indexrelid, s.attname FROM line
        JOIN pg_index i ON i.indrelid = line.part AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
        JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
            AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid > 0
        JOIN pg_attribute s ON s.attrelid = d.refobjid AND s.attnum = d.refobjsubid
    ), checked (top, name, others) AS (
        SELECT t.top, t.name, array_agg(DISTINCT o.name::text) FROM together t
        JOIN together o ON o.top = t.top AND o.one = t.one AND o.name <> t.name GROUP BY t.top, t.name
    )
    SELECT n.nspname::text, c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod),
        g.top IS NOT NULL, g.made_of, k.others
    FROM pg_attribute a LEFT JOIN computed g ON g.top = a.attrelid AND g.name = a.attname
    LEFT JOIN checked k ON k.top = a.attrelid AND k.name = a.attname JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY a.attrelid, a.attnum";

/// A column's new name or type changes no row of `pg_class`.
const COLUMNS_FINGERPRINT: &str = "SELECT coalesce(sum(hashtextextended(
    concat_ws(':', attrelid, attnum, attname, atttypid, atttypmod, attisdropped), 0)), 0)::text
    FROM pg_attribute WHERE attnum > 0 AND attrelid >= 16384";

/// With an empty path, definitions name every schema but pg_catalog. Compiling the query would take longer than it.
const PINS: &str = "SET search_path = ''; SET jit = off; SET default_transaction_read_only = on";

/// How long reading the whole catalogue may take.
const LOAD_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// Reads one PostgreSQL database over a connection of its own.
pub struct Loader {
    system: System,
    schema: String,
}

impl Loader {
    /// `schema` is what an unqualified name means.
    pub fn new(settings: SqlStoreSettings, schema: &str) -> Self {
        Self {
            system: System::new(settings),
            schema: schema.to_owned(),
        }
    }

    /// Differs whenever the catalogue does, `with_columns` also whenever these do. May be cancelled.
    pub async fn fingerprint(&self, with_columns: bool) -> Result<String, Unavailable> {
        let client = self.system.client().await?;
        tokio::time::timeout(STATEMENT_TIMEOUT, client.batch_execute(PINS)).await??;
        let ask = async |query| {
            let asking = client.query_one(query, &[]);
            let row = tokio::time::timeout(STATEMENT_TIMEOUT, asking).await??;
            Ok::<String, Unavailable>(row.try_get(0)?)
        };
        let mut fingerprint = ask(FINGERPRINT).await?;
        if with_columns {
            fingerprint = format!("{fingerprint} {}", ask(COLUMNS_FINGERPRINT).await?);
        }
        Ok(fingerprint)
    }

    /// Reads the whole. May be cancelled.
    pub async fn load(&self, with_columns: bool) -> Result<Catalogue, Unavailable> {
        let client = self.system.client().await?;
        let reading = read(&client, &self.schema, with_columns);
        let rows = tokio::time::timeout(LOAD_TIMEOUT, reading).await??;
        let schema = self.schema.clone();
        // Thousands of definitions take a while to understand.
        tokio::task::spawn_blocking(move || build(&rows, &schema))
            .await
            .map_err(|_| Unavailable("the catalogue could not be understood".into()))?
    }
}

struct Read {
    reaches: Vec<Row>,
    columns: Vec<Row>,
}

async fn read(
    client: &Arc<Client>,
    schema: &str,
    with_columns: bool,
) -> Result<Read, tokio_postgres::Error> {
    client.batch_execute(PINS).await?;
    let mut reaches = client.query(REACHES, &[]).await?;
    reaches.extend(client.query(TYPES, &[&schema]).await?);
    Ok(Read {
        reaches,
        columns: if with_columns {
            client.query(COLUMNS, &[]).await?
        } else {
            Vec::new()
        },
    })
}

fn build(read: &Read, schema: &str) -> Result<Catalogue, Unavailable> {
    let mut catalogue = Catalogue::new(schema, Case::Exact);
    let mut columns: HashMap<Name, Vec<Column>> = HashMap::new();
    for row in &read.columns {
        let relation = Name::new(row.try_get(0)?, row.try_get(1)?);
        let mut column = Column::new(row.try_get(2)?, row.try_get(3)?);
        if row.try_get(4)? {
            let made_of: Option<Vec<&str>> = row.try_get(5)?;
            column.source = match made_of {
                Some(names) => Source::Columns(names.into_iter().map(Into::into).collect()),
                None => Source::Unknown,
            };
        }
        let others: Option<Vec<&str>> = row.try_get(6)?;
        column.checked_with = others
            .unwrap_or_default()
            .into_iter()
            .map(Into::into)
            .collect();
        columns.entry(relation).or_default().push(column);
    }
    for (relation, columns) in columns {
        catalogue.set_columns(&relation, columns);
    }
    for row in &read.reaches {
        let found = Found::read(row)?;
        for reach in found.reaches()? {
            match &found.of {
                Some(of) => catalogue.add(of, reach),
                None => catalogue.add_everywhere(reach),
            }
        }
    }
    Ok(catalogue)
}

/// One row of `postgres.sql` or `postgres_types.sql`.
struct Found<'r> {
    /// The relation; none where any statement may set it off.
    of: Option<Name>,
    acts: Actions,
    words: Vec<&'r str>,
    symbols: Vec<&'r str>,
    kind: &'r str,
    to: Option<Name>,
    action: Option<&'r str>,
    body: Option<&'r str>,
}

impl<'r> Found<'r> {
    fn read(row: &'r Row) -> Result<Self, Unavailable> {
        let text = |column: &str| row.try_get::<_, Option<&'r str>>(column);
        let name = |schema, name| -> Result<Option<Name>, Unavailable> {
            let (schema, name) = (text(schema)?, text(name)?);
            Ok(schema
                .zip(name)
                .map(|(schema, name)| Name::new(schema, name)))
        };
        Ok(Self {
            of: name("of_schema", "of_name")?,
            acts: actions(row.try_get("acts")?),
            words: row.try_get("words")?,
            symbols: row.try_get("symbols")?,
            kind: text("kind")?.unwrap_or_default(),
            to: name("to_schema", "to_name")?,
            action: text("action")?,
            body: text("body")?,
        })
    }

    /// What the text must have.
    fn when(&self) -> When {
        let words = self.words.iter().map(|word| match self.kind {
            "field" => When::Field((*word).into()),
            _ => When::Word((*word).into()),
        });
        let symbols = self.symbols.iter().filter(|symbol| !is_implied(symbol));
        let mut all: Vec<When> = words
            .chain(symbols.map(|symbol| When::Symbol((*symbol).into())))
            .collect();
        all.dedup();
        match all.pop() {
            None => When::Always,
            Some(one) if all.is_empty() => one,
            Some(one) => {
                all.push(one);
                When::All(all.into())
            }
        }
    }

    fn reaches(&self) -> Result<Vec<Reach>, Unavailable> {
        let odd = || Unavailable(format!("the catalogue says `{}` of nothing", self.kind));
        let to = || self.to.clone().ok_or_else(odd);
        let target = match self.kind {
            "overload" if !classify::postgres::is_taken_for_built_in(&to()?.name) => {
                return Ok(Vec::new());
            }
            "function" | "overload" | "field" => Target::Function(to()?),
            "relation" => Target::Relation(to()?, action(self.action).ok_or_else(odd)?),
            "same" => Target::Same(to()?),
            "piece" => Target::Piece(to()?),
            "definition" => {
                // A domain's stands for the domain, whatever holds its values.
                let of = self.to.as_ref().or(self.of.as_ref()).ok_or_else(odd)?;
                let targets = behind(self.body.ok_or_else(odd)?, of).into_iter();
                let reach = |to| Reach::when(self.acts, self.when(), to);
                return Ok(targets.map(reach).collect());
            }
            other => return Err(Unavailable(format!("the catalogue says `{other}`"))),
        };
        Ok(vec![Reach::when(self.acts, self.when(), target)])
    }
}

/// The operators that words, joins, sorting and grouping stand for.
fn is_implied(symbol: &str) -> bool {
    [
        "=", "<>", "<", "<=", ">", ">=", "~~", "!~~", "~~*", "!~~*", "~", "!~",
    ]
    .contains(&symbol)
}

fn actions(bits: i32) -> Actions {
    let all = [
        Actions::SELECT,
        Actions::INSERT,
        Actions::UPDATE,
        Actions::DELETE,
        Actions::DDL,
    ];
    let set = all.into_iter().enumerate();
    set.filter(|(bit, _)| bits & (1 << bit) != 0)
        .fold(Actions::default(), |set, (_, one)| set.and(one))
}

fn action(written: Option<&str>) -> Option<Action> {
    match written? {
        "select" => Some(Action::Select),
        "update" => Some(Action::Update),
        "delete" => Some(Action::Delete),
        _ => None,
    }
}

/// What a definition's text shows of PostgreSQL's own. One that is not understood counts as a function of the
/// object's name; `pg_depend` has told of the rest.
fn behind(body: &str, of: &Name) -> HashSet<Target> {
    let Ok(found) = classify::postgres::classify(body, Session::Own) else {
        return HashSet::from([Target::Function(of.clone())]);
    };
    let own = |object: &Object| match object {
        Object::Named {
            namespace: Some(namespace),
            name,
        } if namespace.starts_with("pg_") => Some(Name::new(namespace, name)),
        Object::Named { .. } | Object::Key(_) | Object::Keys(_) => None,
    };
    let touches = found.touches.iter();
    touches
        .filter_map(|touch| Some(Target::Relation(own(&touch.object)?, touch.action)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_show_what_postgresql_itself_brought() {
        let of = Name::new("public", "v");
        let read = |name| Target::Relation(Name::new("pg_catalog", name), Action::Select);
        let cases = [
            ("SELECT a.id FROM public.accounts a", vec![]),
            ("SELECT s.usename FROM pg_shadow s", vec![read("pg_shadow")]),
            ("SELECT nextval('public.numbers'::regclass)", vec![]),
            ("SELECT 'open'::public.state", vec![]),
            (
                "SELECT pg_read_file('a')",
                vec![Target::Function(of.clone())],
            ),
            ("SELECT ?", vec![Target::Function(of.clone())]),
        ];
        for (body, expected) in cases {
            assert_eq!(behind(body, &of), HashSet::from_iter(expected), "{body}");
        }
    }

    #[test]
    fn the_trigger_that_counts_for_nothing_is_the_one_that_was_migrated() {
        let migration = include_str!("../../migrations/postgres/V2__key_changes.sql");
        let body = migration.split("$$").nth(1).unwrap();
        let digest = <sha2::Sha256 as sha2::Digest>::digest(body.as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(REACHES.contains(&hex), "postgres.sql must say {hex}");
    }

    #[test]
    fn bits_are_actions() {
        assert_eq!(actions(31), Actions::ALL);
        assert_eq!(actions(6), Actions::STORE);
        assert_eq!(actions(8), Actions::DELETE);
        assert!(actions(0).is_empty());
    }
}
