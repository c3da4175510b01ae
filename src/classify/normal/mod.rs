//! A statement as audit rows tell it: what is asked, without any value.
//!
//! Literals, parameters' values, keys and documents become `?`, comments go, and `…` stands for more of the same, so that
//! statements that differ in values, or in how many of them there are, have one text and one fingerprint. Only what is
//! known to be a name, a word of the language or a mark is shown; a text that is not understood shows nothing.

mod mongodb;
mod mysql;
mod postgres;
mod redis;
mod sql;

use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::operation::{Payload, Store};
use crate::transaction::{Control, Options};

/// Longest text, in bytes; the fingerprint is that of the whole.
pub const TEXT_BYTES_MAX: usize = 4096;

/// Bytes of the hash that name a statement.
const FINGERPRINT_BYTES: usize = 16;

/// What stands for a statement that is not understood: none of its own bytes, since any could be a value.
const UNREADABLE: &str = "unreadable";

/// A statement without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normal {
    /// At most [`TEXT_BYTES_MAX`]; what is longer ends with `…`.
    pub text: String,
    /// The first 16 bytes of the uncut text's SHA-256, in hexadecimal digits.
    pub fingerprint: String,
}

/// Tells a statement without its values, in time linear in its length but for a factor of its nesting's logarithm.
pub fn normal(store: Store, payload: &Payload) -> Normal {
    match payload {
        Payload::Sql(text) => of_sql(store, text),
        Payload::Control(control) => of_text(&control_words(store, control)),
        Payload::Mongodb { document, .. } => match mongodb::text(document) {
            Some(text) => of_text(&text),
            None => of_text(UNREADABLE),
        },
        Payload::Redis { commands, atomic } => of_text(&redis::text(commands, *atomic)),
    }
}

pub fn of_sql(store: Store, sql: &str) -> Normal {
    let read = match store {
        Store::Postgres => postgres::read(sql),
        Store::Mysql => mysql::read(sql),
        Store::Mongodb | Store::Redis => None,
    };
    read.map_or_else(|| of_text(UNREADABLE), Sink::finish)
}

/// What several statements ask, as one.
pub fn joined(each: impl Iterator<Item = Arc<Normal>>) -> Normal {
    let each: Vec<Arc<Normal>> = each.collect();
    if let [only] = &*each {
        return Normal::clone(only);
    }
    let texts: Vec<&str> = each.iter().map(|one| one.text.as_str()).collect();
    of_text(&texts.join("; "))
}

fn of_text(text: &str) -> Normal {
    let mut sink = Sink::default();
    sink.push(text);
    sink.finish()
}

fn control_words(store: Store, control: &Control) -> String {
    match control {
        Control::Begin(Options {
            isolation,
            read_only,
            ..
        }) => {
            let mut words = "BEGIN".to_owned();
            if let Some(isolation) = isolation {
                let _ = write!(words, " ISOLATION LEVEL {}", isolation.as_sql());
            }
            if *read_only {
                words.push_str(" READ ONLY");
            }
            words
        }
        Control::Savepoint(savepoint) => savepoint.to_sql(store),
        Control::Commit => "COMMIT".to_owned(),
        Control::RollBack => "ROLLBACK".to_owned(),
    }
}

/// Takes the text piece by piece: keeps its beginning and hashes all of it.
#[derive(Default)]
struct Sink {
    text: String,
    is_full: bool,
    hash: Sha256,
}

impl Sink {
    fn push(&mut self, piece: &str) {
        const CUT: char = '…';
        self.hash.update(piece);
        if self.is_full {
            return;
        }
        let room = TEXT_BYTES_MAX - self.text.len();
        if piece.len() <= room {
            self.text.push_str(piece);
            return;
        }
        self.is_full = true;
        self.text.push_str(
            piece
                .get(..piece.floor_char_boundary(room))
                .unwrap_or_default(),
        );
        let end = self
            .text
            .floor_char_boundary(TEXT_BYTES_MAX - CUT.len_utf8());
        self.text.truncate(end);
        self.text.push(CUT);
    }

    fn finish(self) -> Normal {
        let mut fingerprint = String::with_capacity(2 * FINGERPRINT_BYTES);
        for byte in self.hash.finalize().iter().take(FINGERPRINT_BYTES) {
            let _ = write!(fingerprint, "{byte:02x}");
        }
        Normal {
            text: self.text,
            fingerprint,
        }
    }
}

#[cfg(test)]
mod tests;
