//! One caller: it asks for what only it can know, and checks each reply against its request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::ledger::{Ledger, Outcome, Place};
use super::tally::Tally;
use crate::chance::Chance;

/// No request may take longer, whatever the links do: the waits for a connection, the statement, its commit and the
/// reset of its session each have a bound of some seconds.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// What a transaction may have become, if its reply did not say that its end is unknown.
const FATES: [&str; 4] = ["open", "failed", "rolled_back", "committed"];

type Http = Client<HttpConnector, Full<Bytes>>;

pub struct Caller {
    number: usize,
    /// Requests so far, so that every id is another.
    count: usize,
    http: String,
    key: String,
    client: Http,
    pub tally: Arc<Tally>,
    pub ledger: Arc<Ledger>,
    /// Rows that this caller has written and knows to be there.
    pub sessions: Vec<String>,
    pub posts: Vec<String>,
    pub events: Vec<String>,
    pub cached: Vec<String>,
    /// The least and the most that this caller's counter may stand at.
    pub counter: (i64, i64),
}

/// A reply, with its store for complaints.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    pub fn is_ok(&self) -> bool {
        self.status < 300
    }

    /// What it says of a change that it was asked for.
    pub fn outcome(&self) -> Outcome {
        if self.is_ok() {
            Outcome::Made
        } else if self.body["outcome"] == "unknown" || self.body["transaction"] == "unknown" {
            Outcome::Unknown
        } else {
            Outcome::NotMade
        }
    }

    /// Whether the transaction goes on; errors that are not about it leave it as it was.
    pub fn is_open(&self) -> bool {
        self.is_ok() || self.body["transaction"] == "open" || self.body["transaction"].is_null()
    }
}

impl Caller {
    pub fn new(
        number: usize,
        http: &str,
        key: &str,
        tally: Arc<Tally>,
        ledger: Arc<Ledger>,
    ) -> Self {
        Self {
            number,
            count: 0,
            http: http.to_owned(),
            key: key.to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            tally,
            ledger,
            sessions: Vec::new(),
            posts: Vec::new(),
            events: Vec::new(),
            cached: Vec::new(),
            counter: (0, 0),
        }
    }

    pub async fn ask_until(mut self, until: Instant, mut chance: Chance) {
        while Instant::now() < until {
            match chance.below(21) {
                0 => self.say_postgres().await,
                1 => self.say_mysql().await,
                2 => self.insert_session().await,
                3 => self.insert_post().await,
                4 => self.read_session(&mut chance).await,
                5 => self.read_post(&mut chance).await,
                6 => self.delete_session(&mut chance).await,
                7 => self.batch("postgres").await,
                8 => self.batch("mysql").await,
                9 => self.transaction("postgres", &mut chance).await,
                10 => self.transaction("mysql", &mut chance).await,
                11 => self.stream(&mut chance).await,
                12 => self.insert_event().await,
                13 => self.read_event(&mut chance).await,
                14 => self.cursor().await,
                15 => self.document_transaction(&mut chance).await,
                16 => self.set().await,
                17 => self.get(&mut chance).await,
                18 => self.count_up().await,
                19 => self.pipeline(&mut chance).await,
                _ => self.go_away(&mut chance).await,
            }
        }
    }

    /// A name that no other row, caller or run has.
    pub fn id(&mut self) -> String {
        self.count += 1;
        format!("c{}n{}", self.number, self.count)
    }

    /// This caller's counter in Redis.
    pub fn counter_name(&self) -> String {
        format!("cache:counter:{}", self.number)
    }

    fn request(&self, path: &str, body: &Value, stream: bool) -> Request<Full<Bytes>> {
        let mut request = Request::post(format!("{}/v1/{path}", self.http))
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json");
        if stream {
            request = request.header("accept", "application/x-ndjson");
        }
        request
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let began = Instant::now();
        let asking = async {
            let reply = self.client.request(self.request(path, body, false)).await;
            let (head, body) = reply.map_err(|error| error.to_string())?.into_parts();
            let bytes = body.collect().await.map_err(|error| error.to_string())?;
            Ok((head.status.as_u16(), bytes.to_bytes()))
        };
        let asked: Result<Result<_, String>, _> = tokio::time::timeout(DEADLINE, asking).await;
        let store = path.split('/').next().unwrap();
        let (status, bytes) = match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                self.wrong(format!("no reply to {path} {body}: {error}"));
                (0, Bytes::new())
            }
            Err(_) => {
                self.wrong(format!("{path} {body} hung"));
                (0, Bytes::new())
            }
        };
        if status == 0 {
            let body = json!({"outcome": "unknown"});
            return Answer { status: 599, body };
        }
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let answer = Answer { status, body };
        let told = self.told(&answer, path);
        self.tally.reply(store, &told, began.elapsed());
        answer
    }

    /// The reply's code for the report; complains of one that no request here deserves.
    fn told(&self, answer: &Answer, path: &str) -> String {
        if answer.is_ok() {
            return "ok".to_owned();
        }
        let body = &answer.body;
        let code = body["code"].as_str().unwrap_or("none");
        if ![409, 410, 429, 503, 504].contains(&answer.status) {
            self.wrong(format!("{path}: {} {body}", answer.status));
        }
        let fate = body["transaction"].as_str();
        if let Some(fate) = fate.filter(|fate| *fate != "unknown") {
            assert!(FATES.contains(&fate), "{body}");
        }
        let unknown = body["outcome"] == "unknown" || fate == Some("unknown");
        if unknown && !body["retry_after_ms"].is_null() {
            self.wrong(format!("{path} invites to do it twice: {body}"));
        }
        let suffix = if unknown { " (unknown)" } else { "" };
        format!("{code}{suffix}")
    }

    /// Sends a request whose reply is a stream; the head of it, or nothing where none came.
    pub async fn open(&self, path: &str, body: &Value) -> Option<Response<hyper::body::Incoming>> {
        let asking = self.client.request(self.request(path, body, true));
        match tokio::time::timeout(DEADLINE, asking).await {
            Ok(Ok(reply)) => Some(reply),
            Ok(Err(error)) => {
                self.wrong(format!("no reply to the stream {body}: {error}"));
                None
            }
            Err(_) => {
                self.wrong(format!("the stream {body} hung"));
                None
            }
        }
    }

    /// Sends a write and leaves before its reply.
    async fn go_away(&mut self, chance: &mut Chance) {
        let id = self.id();
        let (path, body) = match chance.below(4) {
            0 => ("postgres/query", super::sql::session(&id)),
            1 => ("mysql/query", super::sql::post(&id)),
            2 => ("mongodb/command", super::others::event(&id, &id)),
            _ => (
                "redis/command",
                json!({"command": ["SET", format!("cache:{id}"), id]}),
            ),
        };
        // A connection of its own, which closes with it.
        let client: Http = Client::builder(TokioExecutor::new()).build_http();
        let asking = client.request(self.request(path, &body, false));
        let patience = Duration::from_millis(chance.below(30) as u64);
        let _ = tokio::time::timeout(patience, asking).await;
    }

    pub fn wrong(&self, what: String) {
        self.tally
            .complain(format!("caller {}: {what}", self.number));
    }

    pub fn check(&self, holds: bool, what: &str, answer: &Answer) {
        if !holds {
            self.wrong(format!("{what}: {answer:?}"));
        }
    }

    /// Notes what became of a new row, and remembers it where it is there.
    pub fn noted(&mut self, place: Place, id: &str, outcome: Outcome) {
        self.ledger.note(place, id, outcome);
        if outcome == Outcome::Made {
            let known = match place {
                Place::Sessions => &mut self.sessions,
                Place::Posts => &mut self.posts,
                Place::Events => &mut self.events,
                Place::Cache => &mut self.cached,
            };
            known.push(id.to_owned());
        }
    }
}

/// Whether a store serves.
pub async fn probe(http: &str, key: &str, store: &str) -> bool {
    let (path, body) = match store {
        "postgres" => (
            "postgres/query",
            json!({"sql": "SELECT count(*) AS n FROM system_config"}),
        ),
        "mysql" => (
            "mysql/query",
            json!({"sql": "SELECT id FROM users WHERE id = 1"}),
        ),
        "mongodb" => (
            "mongodb/command",
            json!({"command": {"find": "event_store", "limit": 1}}),
        ),
        _ => ("redis/command", json!({"command": ["GET", "cache:none"]})),
    };
    let headers = [("authorization", format!("Bearer {key}"))];
    let url = format!("{http}/v1/{path}");
    let asking = crate::support::send(hyper::Method::POST, &url, &headers, Some(body.to_string()));
    let reply = tokio::time::timeout(DEADLINE, asking).await;
    reply.is_ok_and(|reply| reply.status == 200)
}
