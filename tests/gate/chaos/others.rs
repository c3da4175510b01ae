//! What a caller asks MongoDB and Redis.

use serde_json::{Value, json};

use super::caller::{Answer, Caller};
use super::ledger::{Outcome, Place};
use crate::chance::Chance;

/// Documents behind one cursor, and how many come at once.
const DOCUMENTS: usize = 20;
const BATCH: usize = 6;

pub fn event(id: &str, stream: &str) -> Value {
    json!({"command": {"insert": "event_store", "documents": [{"_id": id, "stream": stream, "version": 1}]}})
}

impl Caller {
    async fn command(&self, command: Value) -> Answer {
        let body = json!({ "command": command });
        self.post("mongodb/command", &body).await
    }

    pub async fn insert_event(&mut self) {
        let id = self.id();
        let answer = self.post("mongodb/command", &event(&id, &id)).await;
        let one = answer.body["n"] == 1;
        self.check(one || !answer.is_ok(), "not one document", &answer);
        self.noted(Place::Events, &id, answer.outcome());
    }

    pub async fn read_event(&mut self, chance: &mut Chance) {
        if self.events.is_empty() {
            return;
        }
        let id = chance.pick(&self.events).clone();
        let answer = self
            .command(json!({"find": "event_store", "filter": {"_id": id}}))
            .await;
        let is_it = answer.body["cursor"]["firstBatch"][0]["_id"] == id;
        self.check(is_it || !answer.is_ok(), "not its document", &answer);
    }

    /// Writes documents and reads them through a cursor.
    pub async fn cursor(&mut self) {
        let stream = self.id();
        let documents: Vec<_> = (0..DOCUMENTS)
            .map(|n| json!({"_id": format!("{stream}-{n}"), "stream": stream, "version": n}))
            .collect();
        let written = self
            .command(json!({"insert": "event_store", "documents": documents}))
            .await;
        if !written.is_ok() {
            return;
        }
        for n in 0..DOCUMENTS {
            self.ledger
                .note(Place::Events, &format!("{stream}-{n}"), Outcome::Made);
        }
        let find = json!({
            "find": "event_store", "filter": {"stream": stream}, "sort": {"version": 1}, "batchSize": BATCH,
        });
        let mut answer = self.command(find).await;
        let mut seen = 0;
        let mut part = "firstBatch";
        while answer.is_ok() {
            let cursor = &answer.body["cursor"];
            for document in cursor[part].as_array().into_iter().flatten() {
                let is_it = document["_id"] == format!("{stream}-{seen}");
                self.check(is_it, "a document of another cursor", &answer);
                seen += 1;
            }
            let Some(id) = cursor["id"].as_i64().filter(|id| *id != 0) else {
                self.check(seen == DOCUMENTS, "documents are missing", &answer);
                return;
            };
            let id = json!({"$numberLong": id.to_string()});
            let more = json!({"getMore": id, "collection": "event_store", "batchSize": BATCH});
            answer = self.command(more).await;
            part = "nextBatch";
        }
    }

    pub async fn document_transaction(&mut self, chance: &mut Chance) {
        let lsid = json!({"id": {"$uuid": uuid::Uuid::new_v4().to_string()}});
        let ids = [self.id(), self.id()];
        let within = |mut command: Value| {
            command["lsid"] = lsid.clone();
            command["txnNumber"] = json!(1);
            command["autocommit"] = json!(false);
            command
        };
        let mut is_good = true;
        for (place, id) in ids.iter().enumerate() {
            let mut command = within(event(id, id)["command"].clone());
            if place == 0 {
                command["startTransaction"] = json!(true);
            }
            let answer = self.command(command).await;
            is_good = answer.is_ok();
            if !is_good && place == 0 {
                // It did not begin.
                self.ledger
                    .note_together(Place::Events, &ids, Outcome::NotMade);
                return;
            }
            if !is_good {
                break;
            }
        }
        let mut outcome = Outcome::NotMade;
        let commits = is_good && !chance.one_in(4);
        let end = if commits {
            "commitTransaction"
        } else {
            "abortTransaction"
        };
        let answer = self.command(within(json!({ end: 1 }))).await;
        if commits {
            outcome = answer.outcome();
        }
        self.ledger.note_together(Place::Events, &ids, outcome);
    }

    async fn redis(&self, command: Value) -> Answer {
        let body = json!({ "command": command });
        self.post("redis/command", &body).await
    }

    pub async fn set(&mut self) {
        let id = self.id();
        let answer = self.redis(json!(["SET", format!("cache:{id}"), id])).await;
        let done = answer.body["result"] == "OK";
        self.check(done || !answer.is_ok(), "not set", &answer);
        self.noted(Place::Cache, &id, answer.outcome());
    }

    pub async fn get(&mut self, chance: &mut Chance) {
        if self.cached.is_empty() {
            return;
        }
        let id = chance.pick(&self.cached).clone();
        let answer = self.redis(json!(["GET", format!("cache:{id}")])).await;
        let is_it = answer.body["result"] == id;
        self.check(is_it || !answer.is_ok(), "another's value", &answer);
    }

    /// Each reply tells how often the counter was moved; one that was moved and denied shows.
    pub async fn count_up(&mut self) {
        let name = self.counter_name();
        let answer = self.redis(json!(["INCR", name])).await;
        let (least, most) = self.counter;
        self.counter = match answer.outcome() {
            Outcome::Made => {
                let stands = answer.body["result"].as_i64().unwrap_or(-1);
                let fits = (least + 1..=most + 1).contains(&stands);
                self.check(fits, &format!("{least} to {most} before"), &answer);
                (stands, stands)
            }
            Outcome::Unknown => (least, most + 1),
            Outcome::NotMade => (least, most),
        };
        let (least, most) = self.counter;
        self.ledger.note_counter(&name, least, most);
    }

    pub async fn pipeline(&mut self, chance: &mut Chance) {
        let ids = [self.id(), self.id(), self.id()];
        let commands: Vec<_> = ids
            .iter()
            .flat_map(|id| {
                let key = format!("cache:{id}");
                [json!(["SET", key, id]), json!(["GET", key])]
            })
            .collect();
        let atomic = chance.one_in(2);
        let body = json!({"commands": commands, "atomic": atomic});
        let answer = self.post("redis/pipeline", &body).await;
        for (place, id) in ids.iter().enumerate() {
            let got = &answer.body["results"][place * 2 + 1]["result"];
            let is_it = *got == *id || !answer.is_ok();
            self.check(is_it, "another's results", &answer);
        }
        if atomic {
            self.ledger
                .note_together(Place::Cache, &ids, answer.outcome());
        } else {
            for id in &ids {
                self.ledger.note(Place::Cache, id, answer.outcome());
            }
        }
    }
}
