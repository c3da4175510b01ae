//! A hostile request put straight to the database, as its administrator, on data that is thrown away.

mod documents;
mod sql;

use std::time::Duration;

use crate::corpus::Case;
use crate::support::Dev;

/// How long one request may take before it counts as failed.
const PUT_TIMEOUT: Duration = Duration::from_secs(15);

/// Who puts a request to a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Administrator,
    /// An account that holds the native role of the policy's `app` and nothing else.
    Native,
}

/// The account's name and password, on servers of our own.
pub const NATIVE: (&str, &str) = ("native", "native-password-1");

impl Who {
    /// The store's URL with this account in it.
    pub fn url(self, dev: &Dev, store: &str) -> String {
        let url = dev.store_url(store);
        let (user, password) = match (self, store) {
            (Self::Administrator, _) => return url.to_owned(),
            // Redis has no roles: the role is a user.
            (Self::Native, "redis") => ("bulkhead_role_app", NATIVE.1),
            (Self::Native, _) => NATIVE,
        };
        let (scheme, rest) = url.split_once("://").unwrap();
        let (_, place) = rest.split_once('@').unwrap();
        format!("{scheme}://{user}:{password}@{place}")
    }
}

#[derive(Debug)]
pub enum Outcome {
    Succeeded,
    /// For want of a privilege.
    Refused(String),
    Failed(String),
    /// Why this server, or this way of asking, cannot tell.
    NotHere(String),
    /// It would end, lock, empty or reconfigure the server that the other cases need.
    KeptBack,
}

pub struct Databases<'d> {
    postgres: sql::Postgres<'d>,
    mysql: sql::Mysql<'d>,
    mongodb: documents::Mongodb,
    redis: documents::Redis,
}

impl<'d> Databases<'d> {
    pub async fn open(dev: &'d Dev, who: Who) -> Self {
        Self {
            postgres: sql::Postgres::open(dev, who),
            mysql: sql::Mysql::open(dev, who),
            mongodb: documents::Mongodb::open(dev, who).await,
            redis: documents::Redis::open(dev, who).await,
        }
    }

    pub async fn put(&mut self, case: &Case) -> Outcome {
        if let Some(setting) = &case.server_setting {
            return Outcome::NotHere(format!("needs the server's setting {setting}"));
        }
        let put = async {
            match case.store.as_str() {
                "postgres" => self.postgres.put(case).await,
                "mysql" => self.mysql.put(case).await,
                "mongodb" => self.mongodb.put(case).await,
                "redis" => self.redis.put(case).await,
                other => panic!("{other}"),
            }
        };
        let outcome = tokio::time::timeout(PUT_TIMEOUT, put)
            .await
            .unwrap_or_else(|_| Outcome::Failed("no answer in time".into()));
        explained(case, outcome)
    }
}

/// Where a failure is in the nature of the case, it says nothing about the gate.
fn explained(case: &Case, outcome: Outcome) -> Outcome {
    let Outcome::Failed(error) = outcome else {
        return outcome;
    };
    if !case.is_executed {
        return Outcome::NotHere(format!("not verified by running it: {error}"));
    }
    let reason = ELSEWHERE.iter().find(|(part, _)| error.contains(part));
    match reason {
        Some((_, why)) => Outcome::NotHere(format!("{why}: {error}")),
        None => Outcome::Failed(error),
    }
}

/// What servers say where the case met the server that it was written on, or is refused by its own nature.
const ELSEWHERE: [(&str, &str); 15] = [
    (
        "could not establish connection",
        "it calls a second server, which is not there",
    ),
    (
        "could not connect to server",
        "it calls a second server, which is not there",
    ),
    (
        "prepared transactions are disabled",
        "needs the setting max_prepared_transactions",
    ),
    (
        "memory exhausted",
        "deeper than the server's own parser goes",
    ),
    (
        "unterminated quoted string",
        "no statement on the server either",
    ),
    (
        "inside a transaction",
        "the transaction that protects the data is in its way",
    ),
    (
        "XPATH syntax error",
        "the error's text is how it tells the secret",
    ),
    ("WRONGTYPE", "the key is of another kind here"),
    ("cluster support disabled", "needs a cluster"),
    ("unknown command", "needs a module of the server's"),
    ("broken pipe", "the server hangs up on it too"),
    ("Number of keys", "no command on the server either"),
    ("not an integer", "no command on the server either"),
    ("syntax error", "no statement on this server either"),
    (
        "error in your SQL syntax",
        "no statement on this server either",
    ),
];

/// Redis' administrator.
pub fn administrator(dev: &Dev) -> redis::Client {
    documents::Redis::client(dev, dev.store_url("redis"))
}
