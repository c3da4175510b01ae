//! A cluster's slots: which slot a key is in, who has which, and where a node sends a command instead. Pure.

use redis::{ServerError, Value};

use crate::classify::redis::{Routing, routing};
use crate::execute::Error;

pub(super) const SLOTS: u16 = 16_384;

/// Which node a command goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Slot(u16),
    Any,
    /// To each primary.
    All,
}

impl Route {
    /// Where a command goes, or why it cannot go anywhere.
    pub(super) fn of(command: &[Vec<u8>]) -> Result<Self, Error> {
        let routed = routing(command);
        let routed = routed.map_err(|refusal| Error::Invalid(refusal.into_detail()))?;
        match routed {
            Routing::Anywhere => Ok(Self::Any),
            Routing::Scripts => Ok(Self::All),
            Routing::KeySpace => Err(Error::Invalid(
                "the command looks through all keys, and each node of the cluster has a part of them: keep a set of \
                 the keys you look for"
                    .into(),
            )),
            Routing::Keys(keys) => one_slot(keys.into_iter().map(slot_of)),
        }
    }

    /// Where commands go that must run together.
    pub(super) fn of_all(commands: &[Vec<Vec<u8>>]) -> Result<Self, Error> {
        let mut slots = Vec::new();
        for command in commands {
            match Self::of(command)? {
                Self::Slot(slot) => slots.push(slot),
                Self::Any => {}
                Self::All => {
                    return Err(Error::Invalid(
                        "scripts are stored on each node of the cluster: send this on its own"
                            .into(),
                    ));
                }
            }
        }
        one_slot(slots.into_iter())
    }
}

fn one_slot(mut slots: impl Iterator<Item = u16>) -> Result<Route, Error> {
    let Some(first) = slots.next() else {
        return Ok(Route::Any);
    };
    if slots.all(|slot| slot == first) {
        return Ok(Route::Slot(first));
    }
    Err(Error::Invalid(
        "the keys are in different slots of the cluster, which no command reaches at once: send them apart, or give \
         the keys a part in braces that is the same (`{user:1}:name`, `{user:1}:age`)"
            .into(),
    ))
}

/// The slot of a key: CRC16 of it, or of what stands between its first `{` and the next `}`, if that is not empty
/// (the cluster specification, "Key distribution model").
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let open = key.iter().position(|byte| *byte == b'{');
    let tag = open.and_then(|open| {
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM: polynomial 0x1021, nothing reflected, from 0.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}

/// A range of slots and the primary that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) host: String,
    pub(super) port: u16,
}

/// What `CLUSTER SLOTS` says; `asked` stands for a node that does not know its own name.
pub(super) fn ranges(told: &Value, asked: &str) -> Option<Vec<Range>> {
    let Value::Array(entries) = told else {
        return None;
    };
    entries.iter().map(|entry| range(entry, asked)).collect()
}

fn range(entry: &Value, asked: &str) -> Option<Range> {
    let Value::Array(parts) = entry else {
        return None;
    };
    let [
        Value::Int(first),
        Value::Int(last),
        Value::Array(primary),
        ..,
    ] = parts.as_slice()
    else {
        return None;
    };
    let [host, Value::Int(port), ..] = primary.as_slice() else {
        return None;
    };
    let host = if let Value::BulkString(bytes) = host {
        std::str::from_utf8(bytes).ok()?
    } else if let Value::SimpleString(text) = host {
        text
    } else if *host == Value::Nil {
        ""
    } else {
        return None;
    };
    let slot = |number: i64| u16::try_from(number).ok().filter(|slot| *slot < SLOTS);
    Some(Range {
        first: slot(*first)?,
        last: slot(*last)?,
        host: if host.is_empty() { asked } else { host }.to_owned(),
        port: u16::try_from(*port).ok()?,
    })
}

/// Where a node sends a command instead of running it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Redirect {
    /// The slot is there from now on. The host is empty where it is the node's own.
    Moved { slot: u16, host: String, port: u16 },
    /// The slot is on its way there, and this key has arrived.
    Ask { host: String, port: u16 },
    /// The keys are on their way.
    Later,
}

pub(super) fn redirect(error: &ServerError) -> Option<Redirect> {
    if error.code() == "TRYAGAIN" {
        return Some(Redirect::Later);
    }
    if !matches!(error.code(), "MOVED" | "ASK") {
        return None;
    }
    let (slot, address) = error.details()?.split_once(' ')?;
    let (host, port) = address.rsplit_once(':')?;
    let (host, port) = (host.to_owned(), port.parse().ok()?);
    if error.code() == "ASK" {
        return Some(Redirect::Ask { host, port });
    }
    let slot = slot.parse().ok().filter(|slot| *slot < SLOTS)?;
    Some(Redirect::Moved { slot, host, port })
}

/// The replies of all nodes to one command, as one: an error where there is one; of lists of numbers (`SCRIPT EXISTS`)
/// the least.
pub(super) fn together(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::ServerError(error), _) | (_, Value::ServerError(error)) => {
            Value::ServerError(error)
        }
        (Value::Array(ones), Value::Array(others)) => {
            let both = ones.into_iter().zip(others);
            let least = |(one, other): (Value, Value)| match (&one, &other) {
                (Value::Int(a), Value::Int(b)) if b < a => other,
                _ => one,
            };
            Value::Array(both.map(least).collect())
        }
        (one, _) => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_slots_that_redis_gives_them() {
        // `CLUSTER KEYSLOT` of a real server.
        for (key, slot) in [
            ("123456789", 12739),
            ("foo", 12182),
            ("{foo}.x", 12182),
            ("x{foo}{bar}", 12182),
            ("", 0),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(slot_of(b"{}foo"), crc16(b"{}foo") % SLOTS);
        assert_eq!(slot_of(b"{foo"), crc16(b"{foo") % SLOTS);
    }

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split(' ').map(|word| word.into()).collect()
    }

    #[test]
    fn what_no_node_can_do_is_refused() {
        for (text, expected) in [
            ("GET foo", Ok(Route::Slot(12182))),
            ("MGET foo {foo}1", Ok(Route::Slot(12182))),
            ("PING", Ok(Route::Any)),
            ("SCRIPT LOAD x", Ok(Route::All)),
            ("MGET foo bar", Err("different slots")),
            ("KEYS *", Err("all keys")),
        ] {
            let route = Route::of(&words(text)).map_err(|error| error.to_string());
            match expected {
                Ok(expected) => assert_eq!(route, Ok(expected), "{text}"),
                Err(expected) => assert!(route.unwrap_err().contains(expected), "{text}"),
            }
        }
        let all = |texts: &[&str]| {
            let commands: Vec<_> = texts.iter().map(|text| words(text)).collect();
            Route::of_all(&commands).ok()
        };
        assert_eq!(
            all(&["SET foo 1", "PING", "GET {foo}2"]),
            Some(Route::Slot(12182))
        );
        assert_eq!(all(&["PING"]), Some(Route::Any));
        assert_eq!(all(&["SET foo 1", "SET bar 1"]), None);
    }

    #[test]
    fn redirects_are_read() {
        let read = |line: &str| {
            let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
            let Value::ServerError(error) = value else {
                panic!("{value:?}");
            };
            redirect(&error)
        };
        let moved = |slot, host: &str, port| {
            let host = host.to_owned();
            Some(Redirect::Moved { slot, host, port })
        };
        assert_eq!(
            read("MOVED 3999 127.0.0.1:6381"),
            moved(3999, "127.0.0.1", 6381)
        );
        assert_eq!(read("MOVED 1 ::1:7"), moved(1, "::1", 7));
        assert_eq!(read("MOVED 1 :7"), moved(1, "", 7));
        let host = "h".to_owned();
        assert_eq!(read("ASK 3999 h:1"), Some(Redirect::Ask { host, port: 1 }));
        assert_eq!(read("TRYAGAIN later"), Some(Redirect::Later));
        for line in ["MOVED 16384 h:1", "MOVED x h:1", "MOVED 1 h", "ERR MOVED"] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
