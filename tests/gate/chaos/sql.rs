//! What a caller asks PostgreSQL and MySQL.

use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::caller::{Caller, DEADLINE};
use super::ledger::{Outcome, Place};
use crate::chance::Chance;

/// Rows of a stream.
const ROWS: usize = 400;

pub fn session(id: &str) -> Value {
    json!({
        "sql": "INSERT INTO sessions (id, user_id, expires_at) VALUES ($1, 'chaos', now() + interval '1 day')",
        "params": [id],
    })
}

/// Titles are not unique, so that a post that was made twice is seen.
pub fn post(id: &str) -> Value {
    json!({
        "sql": "INSERT INTO posts (user_id, title, content) VALUES (1, ?, 'chaos')",
        "params": [id],
    })
}

fn place_of(store: &str) -> Place {
    if store == "postgres" {
        Place::Sessions
    } else {
        Place::Posts
    }
}

fn row_of(store: &str, id: &str) -> Value {
    if store == "postgres" {
        session(id)
    } else {
        post(id)
    }
}

impl Caller {
    pub async fn say_postgres(&mut self) {
        let id = self.id();
        let body = json!({"sql": "SELECT $1::text AS said", "params": [id]});
        let answer = self.post("postgres/query", &body).await;
        let said = answer.body["rows"][0]["said"] == id;
        self.check(said || !answer.is_ok(), "another's reply", &answer);
    }

    pub async fn say_mysql(&mut self) {
        let id = self.id();
        let body =
            json!({"sql": "SELECT CONCAT(?, '') AS said FROM users WHERE id = 1", "params": [id]});
        let answer = self.post("mysql/query", &body).await;
        let said = answer.body["rows"][0]["said"] == id;
        self.check(said || !answer.is_ok(), "another's reply", &answer);
    }

    pub async fn insert_session(&mut self) {
        let id = self.id();
        let answer = self.post("postgres/query", &session(&id)).await;
        let one = answer.body["rows_affected"] == 1;
        self.check(one || !answer.is_ok(), "not one row", &answer);
        self.noted(Place::Sessions, &id, answer.outcome());
    }

    pub async fn insert_post(&mut self) {
        let id = self.id();
        let answer = self.post("mysql/query", &post(&id)).await;
        let one = answer.body["rows_affected"] == 1;
        self.check(one || !answer.is_ok(), "not one row", &answer);
        self.noted(Place::Posts, &id, answer.outcome());
    }

    pub async fn read_session(&mut self, chance: &mut Chance) {
        if self.sessions.is_empty() {
            return;
        }
        let id = chance.pick(&self.sessions).clone();
        let body = json!({"sql": "SELECT id FROM sessions WHERE id = $1", "params": [id]});
        let answer = self.post("postgres/query", &body).await;
        let is_it = answer.body["rows"] == json!([{"id": id}]);
        self.check(is_it || !answer.is_ok(), "not its session", &answer);
    }

    pub async fn read_post(&mut self, chance: &mut Chance) {
        if self.posts.is_empty() {
            return;
        }
        let title = chance.pick(&self.posts).clone();
        let body = json!({"sql": "SELECT title FROM posts WHERE title = ? AND user_id = 1", "params": [title]});
        let answer = self.post("mysql/query", &body).await;
        let is_it = answer.body["rows"] == json!([{"title": title}]);
        self.check(is_it || !answer.is_ok(), "not its post", &answer);
    }

    /// The ledger holds what becomes of the row: a deletion that was made leaves nothing.
    pub async fn delete_session(&mut self, chance: &mut Chance) {
        if self.sessions.len() < 5 {
            return;
        }
        let id = self.sessions.swap_remove(chance.below(self.sessions.len()));
        let body = json!({"sql": "DELETE FROM sessions WHERE id = $1", "params": [id]});
        let answer = self.post("postgres/query", &body).await;
        let left = match answer.outcome() {
            Outcome::Made => Outcome::NotMade,
            Outcome::NotMade => Outcome::Made,
            Outcome::Unknown => Outcome::Unknown,
        };
        self.noted(Place::Sessions, &id, left);
    }

    pub async fn batch(&mut self, store: &str) {
        let ids = [self.id(), self.id(), self.id()];
        let statements: Vec<_> = ids.iter().map(|id| row_of(store, id)).collect();
        let body = json!({"statements": statements});
        let answer = self.post(&format!("{store}/batch"), &body).await;
        self.ledger
            .note_together(place_of(store), &ids, answer.outcome());
    }

    /// Begins, writes two rows, and commits, rolls back or goes away.
    pub async fn transaction(&mut self, store: &str, chance: &mut Chance) {
        let begun = self
            .post(&format!("{store}/transactions"), &json!({}))
            .await;
        let Some(name) = begun.body["transaction"].as_str().filter(|_| begun.is_ok()) else {
            return;
        };
        let path = format!("{store}/transactions/{name}");
        let ids = [self.id(), self.id()];
        let mut end = ["commit", "commit", "rollback", ""][chance.below(4)];
        let mut outcome = Outcome::NotMade;
        for id in &ids {
            let body = row_of(store, id);
            let answer = self.post(&format!("{path}/query"), &body).await;
            if answer.outcome() == Outcome::Unknown {
                // A transaction does not commit by itself.
                self.wrong(format!(
                    "a statement within makes the end unknown: {answer:?}"
                ));
            }
            if !answer.is_ok() {
                end = if answer.is_open() { "rollback" } else { "" };
                break;
            }
        }
        if !end.is_empty() {
            let answer = self.post(&format!("{path}/{end}"), &json!({})).await;
            if end == "commit" {
                outcome = answer.outcome();
            }
        }
        self.ledger.note_together(place_of(store), &ids, outcome);
    }

    /// A stream holds all its rows in order and says that it is complete, or can be told from one that does.
    pub async fn stream(&mut self, chance: &mut Chance) {
        let id = self.id();
        let rows = chance.below(ROWS) + 1;
        let sql = format!("SELECT i, $1::text AS said FROM generate_series(1, {rows}) AS i");
        let body = json!({"sql": sql, "params": [id]});
        let began = std::time::Instant::now();
        let Some(reply) = self.open("postgres/query", &body).await else {
            return;
        };
        let status = reply.status().as_u16();
        let collecting = tokio::time::timeout(DEADLINE, reply.into_body().collect());
        let text = match collecting.await {
            Ok(Ok(bytes)) => String::from_utf8(bytes.to_bytes().to_vec()).unwrap(),
            // It was cut, and says so.
            Ok(Err(_)) => String::new(),
            Err(_) => {
                self.wrong(format!("the stream {body} hung"));
                return;
            }
        };
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_default())
            .collect();
        let told = match lines.last() {
            _ if status != 200 => "refused",
            Some(last) if last["complete"] == true => "complete",
            Some(last) if last["error"].is_object() => "ended by an error",
            Some(_) | None => "cut",
        };
        self.tally.reply("stream", told, began.elapsed());
        if status != 200 {
            return;
        }
        let delivered: Vec<_> = lines.iter().filter(|line| line.is_array()).collect();
        let expected = (1..).map(|number| json!([number, id]));
        if !delivered
            .iter()
            .copied()
            .zip(expected)
            .all(|(row, expected)| *row == expected)
        {
            self.wrong(format!("rows of another stream than {id}"));
        }
        if told == "complete" && delivered.len() != rows {
            self.wrong(format!("{id}: {} rows of {rows}", delivered.len()));
        }
    }
}
