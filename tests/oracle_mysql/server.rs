//! The server as an oracle: which of its accounts may prepare a statement says what the statement touches.
//!
//! For every table there is an account that lacks that table alone, and one that lacks a single verb on it. A
//! statement that the account with everything can prepare, and the one without a table cannot, touches that table.

use std::sync::OnceLock;

use bulkhead::dev::{Options, Servers};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder, SslOpts};
use secrecy::ExposeSecret;

use super::mutate;
use super::schema::{DATABASE, TABLES};

/// The session that the sidecar pins, as far as it decides how a text is read.
const PINS: &str = "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci, \
    sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'";

pub const VERBS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

/// A client's own number for a connection that ended; the server may have crashed.
pub const LOST: u16 = 2013;

/// The errors with which the server says that an account lacks a privilege.
const DENIED: [u16; 5] = [1044, 1142, 1143, 1227, 1370];

/// A private MariaDB or MySQL for all tests of this process; it ends with it.
pub fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        // The server's runtime must outlive each test's own, so it has a thread to itself for good.
        let (started, servers) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                started.send(furnished().await).unwrap();
                std::future::pending::<()>().await;
            });
        });
        servers.recv().unwrap()
    })
}

/// A private server with the corpus' tables and the accounts.
pub async fn furnished() -> Servers {
    let mut servers = Servers::prepare(&Options::default()).unwrap();
    servers.mysql.start().await.unwrap();
    let mut administrator = administrator(&servers, None).await;
    furnish(&mut administrator).await;
    administrator.disconnect().await.unwrap();
    servers
}

async fn connect(servers: &Servers, user: &str, password: &str, database: Option<&str>) -> Conn {
    let tls = SslOpts::default()
        .with_root_certs(vec![servers.ca_file().into()])
        .with_disable_built_in_roots(true);
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(servers.mysql.port())
        .user(Some(user))
        .pass(Some(password))
        .db_name(database)
        .prefer_socket(false)
        .stmt_cache_size(Some(0))
        // As the sidecar does: a row that is changed to what it was counts as affected.
        .client_found_rows(true)
        .init(vec![PINS])
        .ssl_opts(tls);
    Conn::new(options).await.unwrap()
}

/// A connection that may do everything.
pub async fn administrator(servers: &Servers, database: Option<&str>) -> Conn {
    let account = servers.mysql.administrator();
    let password = account.password.expose_secret();
    connect(servers, account.user, password, database).await
}

fn qualified(table: usize) -> String {
    let table = &TABLES[table];
    format!("`{}`.`{}`", table.database, table.name)
}

/// The corpus' tables, and the accounts.
async fn furnish(conn: &mut Conn) {
    let schema = std::fs::read_to_string("tests/corpus/schema_mysql.sql").unwrap();
    conn.query_drop(format!(
        "CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4; USE {DATABASE}; {schema}"
    ))
    .await
    .unwrap();
    account(conn, "o_all", &[]).await;
    for table in 0..TABLES.len() {
        account(
            conn,
            &format!("o_{table}"),
            &VERBS.map(|verb| (table, verb)),
        )
        .await;
        for verb in VERBS {
            account(conn, &format!("o_{table}_{verb}"), &[(table, verb)]).await;
        }
    }
}

/// An account with every verb on every table but for those.
async fn account(conn: &mut Conn, name: &str, without: &[(usize, &str)]) {
    let mut statements = vec![format!("CREATE USER '{name}'@'%' IDENTIFIED BY '{name}'")];
    for table in 0..TABLES.len() {
        let verbs: Vec<&str> = VERBS
            .into_iter()
            .filter(|verb| !without.contains(&(table, verb)))
            .collect();
        if !verbs.is_empty() {
            let (verbs, table) = (verbs.join(", "), qualified(table));
            statements.push(format!("GRANT {verbs} ON {table} TO '{name}'@'%'"));
        }
    }
    for database in [DATABASE, "vault"] {
        statements.push(format!(
            "GRANT LOCK TABLES, EXECUTE ON {database}.* TO '{name}'@'%'"
        ));
    }
    conn.query_drop(statements.join("; ")).await.unwrap();
}

/// What the server says about a statement that it has prepared, as far as a client can see it.
#[derive(Debug)]
pub struct Prepared {
    parameters: u16,
    columns: Vec<ColumnShape>,
}

#[derive(Debug)]
struct ColumnShape {
    label: String,
    /// The column, or again the label.
    column: String,
    /// The table's alias and name, its database and the column's type.
    origin: [String; 4],
}

/// The server cuts a longer label.
const LABEL_CHARS_MAX: usize = 200;

impl Prepared {
    /// Whether a client can tell the two apart. A column without an alias is labelled with its expression's text,
    /// so that names in back quotes and comments may show there.
    pub fn is_like(&self, other: &Self) -> bool {
        let alike = |one: &ColumnShape, two: &ColumnShape| {
            one.origin == two.origin
                && same_label(&one.label, &two.label)
                && same_label(&one.column, &two.column)
        };
        self.parameters == other.parameters
            && self.columns.len() == other.columns.len()
            && self
                .columns
                .iter()
                .zip(&other.columns)
                .all(|(one, two)| alike(one, two))
    }
}

fn same_label(one: &str, two: &str) -> bool {
    let cut = one.chars().count().max(two.chars().count()) > LABEL_CHARS_MAX;
    // Where a label is cut hangs on its length; what is left of a comment then ends it.
    let plain = |label: &str| -> String {
        let label = mutate::without_comments(label);
        let kept = label.chars().filter(|c| *c != '`' && !c.is_whitespace());
        kept.take(if cut { LABEL_CHARS_MAX / 2 } else { usize::MAX })
            .collect()
    };
    one == two || plain(one) == plain(two)
}

/// Why the server does not prepare it.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Rejected {
    pub code: u16,
    pub message: String,
}

impl Rejected {
    pub fn is_denial(&self) -> bool {
        DENIED.contains(&self.code)
    }
}

fn rejected(error: Error) -> Rejected {
    match error {
        Error::Server(told) => Rejected {
            code: told.code,
            message: told.message,
        },
        other @ (Error::Driver(_) | Error::Io(_) | Error::Other(_) | Error::Url(_)) => Rejected {
            code: LOST,
            message: other.to_string(),
        },
    }
}

pub async fn prepare(conn: &mut Conn, sql: &str) -> Result<Prepared, Rejected> {
    let statement = conn.prep(sql).await.map_err(rejected)?;
    let prepared = Prepared {
        parameters: statement.num_params(),
        columns: statement
            .columns()
            .iter()
            .map(|column| ColumnShape {
                label: column.name_str().into_owned(),
                column: column.org_name_str().into_owned(),
                origin: [
                    column.table_str().into_owned(),
                    column.org_table_str().into_owned(),
                    column.schema_str().into_owned(),
                    format!("{:?}", column.column_type()),
                ],
            })
            .collect(),
    };
    conn.close(statement).await.unwrap();
    Ok(prepared)
}

/// What the server makes of a statement, as it prints it after `EXPLAIN EXTENDED`.
pub async fn normalised(conn: &mut Conn, sql: &str) -> Result<Vec<String>, Rejected> {
    conn.query_drop(format!("EXPLAIN EXTENDED {sql}"))
        .await
        .map_err(rejected)?;
    let notes: Vec<(String, u16, String)> = conn.query("SHOW WARNINGS").await.map_err(rejected)?;
    Ok(notes
        .into_iter()
        .filter(|(_, code, _)| *code == 1003)
        .map(|(_, _, text)| without_comments(&without_modifiers(&text)))
        .collect())
}

/// Without comments and the white space around them: a system variable is printed with those before it. What a
/// string holds is treated alike in both texts.
fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    loop {
        let block = rest.find("/*").map(|at| (at, "*/"));
        let line = rest.find("-- ").map(|at| (at, "\n"));
        let Some((at, end)) = block.into_iter().chain(line).min() else {
            break;
        };
        out.push_str(&rest[..at]);
        let comment = &rest[at..];
        rest = match comment.find(end) {
            Some(length) => &comment[length + end.len()..],
            None => "",
        };
    }
    out.push_str(rest);
    // A system variable's label is printed with the comments and the odd white space before it.
    let out = out.replace("# x", " ").replace("\\000B", " ");
    let words: Vec<&str> = out.split_whitespace().collect();
    words.join(" ").replace(", ", ",")
}

/// Without the modifiers that change the plan alone (those in executable comments are not sent), and without the
/// labels of expressions, in which names in back quotes and comments may show.
fn without_modifiers(text: &str) -> String {
    const MODIFIERS: [&str; 7] = [
        "sql_small_result",
        "sql_big_result",
        "sql_buffer_result",
        "sql_no_cache",
        "sql_cache",
        "high_priority",
        "straight_join",
    ];
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, quoted)) = rest.split_once('`') {
        out.push_str(before);
        // A doubled back quote is part of the name.
        let mut end = quoted.find('`').unwrap_or(quoted.len());
        while quoted[end..].starts_with("``") {
            end += 2;
            end += quoted[end..].find('`').unwrap_or(quoted.len() - end);
        }
        let name = &quoted[..end];
        out.push_str(if name.chars().all(is_plain) {
            name
        } else {
            "label"
        });
        rest = quoted.get(end + 1..).unwrap_or_default();
    }
    out.push_str(rest);
    // Whether a column is shown with its database hangs on how its table is spelled.
    let out = out.replace("corpus.", "");
    let out = without_labels(&out);
    let words = out.split(' ').filter(|word| !MODIFIERS.contains(word));
    words.collect::<Vec<_>>().join(" ")
}

/// Without the labels of columns: whether an expression's own text is printed as its label hangs on the comments in
/// it. What a client sees of labels is compared where the statement is prepared. (A type's `as` is in small letters.)
fn without_labels(text: &str) -> String {
    let mut parts = text.split(" AS ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find([' ', ',', ')']).unwrap_or(part.len());
        out.push_str(&part[end..]);
    }
    out
}

/// One connection for each account.
pub struct Probes {
    pub all: Conn,
    /// `without[table]` lacks the table.
    without: Vec<Conn>,
    /// `without_verb[table][verb]` lacks the verb on the table.
    without_verb: Vec<Vec<Conn>>,
}

impl Probes {
    pub async fn connect(servers: &Servers) -> Self {
        let open = async |name: String| connect(servers, &name, &name, Some(DATABASE)).await;
        let mut without = Vec::new();
        let mut without_verb = Vec::new();
        for table in 0..TABLES.len() {
            without.push(open(format!("o_{table}")).await);
            let mut verbs = Vec::new();
            for verb in VERBS {
                verbs.push(open(format!("o_{table}_{verb}")).await);
            }
            without_verb.push(verbs);
        }
        Self {
            all: open("o_all".to_owned()).await,
            without,
            without_verb,
        }
    }

    /// Whether the server, or this connection to it, did not survive the last statement.
    pub async fn are_lost(&mut self) -> bool {
        matches!(prepare(&mut self.all, "SELECT 1").await, Err(rejected) if rejected.code == LOST)
    }

    /// The tables without which the statement cannot be prepared; `None` where the server crashes.
    pub async fn tables(&mut self, sql: &str) -> Option<Vec<usize>> {
        let asked = self.without.iter_mut().map(|conn| prepare(conn, sql));
        let answers = futures_util::future::join_all(asked).await;
        let mut tables = Vec::new();
        for (table, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(_) => {}
                Err(rejected) if rejected.code == LOST => return None,
                Err(rejected) => {
                    assert!(rejected.is_denial(), "{rejected:?} {sql}");
                    tables.push(table);
                }
            }
        }
        Some(tables)
    }

    /// The verbs without which, on this table, the statement cannot be prepared.
    pub async fn verbs(&mut self, table: usize, sql: &str) -> Vec<&'static str> {
        let mut needed = Vec::new();
        for (verb, conn) in VERBS.into_iter().zip(&mut self.without_verb[table]) {
            if let Err(rejected) = prepare(conn, sql).await {
                assert!(rejected.is_denial(), "{rejected:?} {sql}");
                needed.push(verb);
            }
        }
        needed
    }
}
