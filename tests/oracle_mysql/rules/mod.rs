//! Column rules and row filters on a real server: nothing that is hidden shows.
//!
//! Two databases have the same tables, and for the caller the same visible content: what its rules hide differs in
//! every value and in the number of rows. Each attack is rewritten and run in both, and must end alike: rows, their
//! order, counts, error, warnings, and what it changed. Run as it is, it must end differently, or it is no attack.
//! A third database holds what the caller may see, as plain tables: there, an ordinary statement as it was written
//! must give what it gives rewritten where everything is.

mod attacks;
mod benign;
mod schema;

use bulkhead::authenticate::Principal;
use bulkhead::catalogue::Catalogue;
use bulkhead::classify::{self, Session};
use bulkhead::decide::restrict::{Restricted, Restrictions, mysql};
use bulkhead::operation::Object;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Row, Value};

use super::attack_table::{SQL, Table};
use super::catalogue::loader;
use super::server::{administrator, servers};

/// What the sidecar would know of the databases.
async fn known() -> Catalogue {
    let account = servers().mysql.administrator();
    let loader = loader(account.user, account.password.clone(), SHOWN);
    loader.load(true).await.unwrap()
}

pub fn caller() -> Principal {
    Principal {
        key_id: "key_1".into(),
        user_id: Some("7".into()),
        role: "analyst".into(),
    }
}

/// The statement as it is sent for the caller; or why it is not.
fn restricted(sql: &str, database: &str, known: &Catalogue) -> Result<Restricted, String> {
    let understood = classify::mysql::classify(sql, Session::Own)
        .map_err(|refusal| format!("not understood: {refusal}"))?;
    let mut objects: Vec<Object> = understood
        .touches
        .iter()
        .map(|touch| touch.object.clone())
        .collect();
    objects.dedup();
    let rules = schema::rules();
    let ruled = |object: &Object| match object {
        Object::Named { name, .. } => rules.get(name.as_str()).cloned(),
        Object::Key(_) | Object::Keys(_) => None,
    };
    let caller = caller();
    let restrictions = Restrictions {
        caller: &caller,
        default_namespace: database,
        mask_salt: schema::SALT,
        tables: objects
            .iter()
            .filter_map(|object| Some((object, ruled(object)?)))
            .collect(),
    };
    let sent = understood.rewritten.unwrap_or_else(|| sql.to_owned());
    if restrictions.tables.is_empty() {
        return Ok(Restricted {
            sql: sent,
            parameters: Vec::new(),
        });
    }
    match mysql::restrict(&sent, &restrictions, Some(known)) {
        Ok(restricted) => Ok(restricted.unwrap()),
        Err(forbidden) => Err(forbidden.reason),
    }
}

/// All that a caller can see of a statement's end, with the database's name left out.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    rows: Vec<String>,
    affected: u64,
    warnings: Vec<String>,
    error: Option<String>,
}

async fn run(conn: &mut Conn, sql: &str, parameters: &[Value], database: &str) -> Outcome {
    let text = |row: Row| {
        let values = row.unwrap();
        let values: Vec<String> = values.iter().map(|value| value.as_sql(true)).collect();
        values.join(" | ")
    };
    let plain = |text: String| text.replace(database, "db");
    let mut outcome = Outcome {
        rows: Vec::new(),
        affected: 0,
        warnings: Vec::new(),
        error: None,
    };
    let parameters = if parameters.is_empty() {
        Params::Empty
    } else {
        Params::Positional(parameters.to_vec())
    };
    match conn.exec_iter(sql, parameters).await {
        Ok(mut result) => {
            let counts = result.columns_ref().is_empty();
            outcome.affected = if counts { result.affected_rows() } else { 0 };
            match result.collect::<Row>().await {
                Ok(rows) => outcome.rows = rows.into_iter().map(text).collect(),
                Err(error) => outcome.error = Some(plain(error.to_string())),
            }
        }
        Err(error) => outcome.error = Some(plain(error.to_string())),
    }
    let warnings: Vec<Row> = conn.query("SHOW WARNINGS").await.unwrap();
    outcome.warnings = warnings.into_iter().map(text).map(plain).collect();
    outcome
}

/// Runs a statement, then gives what of the tables the caller can see, and undoes it.
async fn end(
    conn: &mut Conn,
    sql: &str,
    parameters: &[Value],
    database: &str,
    seen: &[String],
) -> (Outcome, Vec<Vec<String>>) {
    conn.query_drop("START TRANSACTION").await.unwrap();
    let outcome = run(conn, sql, parameters, database).await;
    let mut after = Vec::new();
    for sql in seen {
        after.push(run(conn, sql, &[], database).await.rows);
    }
    conn.query_drop("ROLLBACK").await.unwrap();
    (outcome, after)
}

const DATABASES: [&str; 2] = ["rules_a", "rules_b"];
const SHOWN: &str = "rules_shown";

struct Bench {
    conns: [Conn; 2],
    shown: Conn,
    known: Catalogue,
    /// What shows all that the caller can see, in each database.
    seen: [Vec<String>; 2],
}

async fn bench() -> Bench {
    let servers = servers();
    static FURNISHED: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    FURNISHED
        .get_or_init(|| async {
            let mut conn = administrator(servers, None).await;
            for statement in schema::statements() {
                conn.query_drop(&statement)
                    .await
                    .unwrap_or_else(|error| panic!("{statement}: {error}"));
            }
            let known = known().await;
            for table in schema::TABLES {
                let all = format!("SELECT * FROM {table}");
                let all = restricted(&all, DATABASES[0], &known).unwrap();
                conn.query_drop(format!("USE {}", DATABASES[0]))
                    .await
                    .unwrap();
                conn.query_drop(format!("CREATE TABLE {SHOWN}.{table} AS {}", all.sql))
                    .await
                    .unwrap();
                let _ = conn
                    .query_drop(format!("ALTER TABLE {SHOWN}.{table} ADD PRIMARY KEY (id)"))
                    .await;
            }
            conn.disconnect().await.unwrap();
        })
        .await;
    let shown = administrator(servers, Some(SHOWN)).await;
    let known = known().await;
    let seen = DATABASES.map(|database| {
        let all = schema::TABLES.iter();
        all.map(|table| {
            let sql = format!("SELECT * FROM {table} ORDER BY id");
            restricted(&sql, database, &known).unwrap().sql
        })
        .collect()
    });
    let mut conns = [
        administrator(servers, Some(DATABASES[0])).await,
        administrator(servers, Some(DATABASES[1])).await,
    ];
    for conn in &mut conns {
        // It is the same time in both.
        conn.query_drop("SET timestamp = 1800000000").await.unwrap();
    }
    Bench {
        conns,
        shown,
        known,
        seen,
    }
}

#[tokio::test]
async fn no_attack_tells_what_is_hidden() {
    let mut bench = bench().await;
    let mut faults = Vec::new();
    let mut refused = 0;
    let mut table = Table::new("MySQL", SQL);
    for attack in attacks::all() {
        let mut ends = Vec::new();
        let mut raw = Vec::new();
        for (at, database) in DATABASES.iter().enumerate() {
            let sql = attack.sql.replace("{db}", database);
            let conn = &mut bench.conns[at];
            let seen: &[String] = if attack.writes() {
                &bench.seen[at]
            } else {
                &[]
            };
            ends.push(match restricted(&sql, database, &bench.known) {
                Ok(restricted) => {
                    let parameters = &attack.parameters;
                    Ok(end(conn, &restricted.sql, parameters, database, seen).await)
                }
                Err(reason) => Err(reason),
            });
            if !attack.defines() {
                raw.push(end(conn, &sql, &attack.parameters, database, seen).await);
            }
        }
        let (first, second) = (&ends[0], &ends[1]);
        let is_refused = first.is_err() || second.is_err();
        refused += usize::from(is_refused);
        table.note(attack.sql, is_refused);
        if first != second {
            faults.push(format!("{}\n  A {first:?}\n  B {second:?}", attack.sql));
        }
        if attack.tells && !attack.defines() && raw[0] == raw[1] && raw[0].0.error.is_none() {
            faults.push(format!("no attack: {}\n  {:?}", attack.sql, raw[0]));
        }
        let error = first.as_ref().ok().and_then(|(end, _)| end.error.as_ref());
        if let Some(error) = error.filter(|_| attack.runs) {
            faults.push(format!("fails: {}\n  {error}", attack.sql));
        }
    }
    let count = attacks::all().len();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count >= 60, "{count} attacks");
    assert!(refused < count, "{refused} of {count} refused");
    table.check();
}

#[tokio::test]
async fn ordinary_statements_see_what_may_be_seen() {
    let mut bench = bench().await;
    let mut faults = Vec::new();
    for benign::Statement {
        sql,
        parameters,
        affected,
    } in benign::all()
    {
        let sent = sql.replace("{db}", DATABASES[0]);
        let sent = match restricted(&sent, DATABASES[0], &bench.known) {
            Ok(restricted) => restricted.sql,
            Err(reason) => {
                faults.push(format!("{sql}\n  refused: {reason}"));
                continue;
            }
        };
        let conn = &mut bench.conns[0];
        let found = end(conn, &sent, &parameters, DATABASES[0], &[]).await.0;
        let in_shown = sql.replace("{db}", SHOWN);
        let (rows, affected) = match affected {
            Some(affected) => (Vec::new(), affected),
            None => {
                let expected = end(&mut bench.shown, &in_shown, &parameters, SHOWN, &[])
                    .await
                    .0;
                assert_eq!(expected.error, None, "{sql}");
                (expected.rows, expected.affected)
            }
        };
        if found.error.is_some() || (&found.rows, found.affected) != (&rows, affected) {
            faults.push(format!("{sql}\n  {sent}\n  {found:?}\n  {rows:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
