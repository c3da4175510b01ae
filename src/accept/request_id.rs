//! Ids for requests that bring none: UUIDs of version 7 (RFC 9562), so that they sort by time.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::{Builder, Uuid};

/// Random bytes of one id.
const ID_BYTES: usize = 10;
/// Random bytes that a thread fetches from the system at once.
const FETCHED_BYTES: usize = 64 * ID_BYTES;

thread_local! {
    static RANDOM: RefCell<Random> = const {
        RefCell::new(Random { bytes: [0; FETCHED_BYTES], used: FETCHED_BYTES })
    };
}

struct Random {
    bytes: [u8; FETCHED_BYTES],
    used: usize,
}

impl Random {
    /// `None` where the system has none.
    fn next(&mut self) -> Option<[u8; ID_BYTES]> {
        if self.used >= FETCHED_BYTES {
            getrandom::fill(&mut self.bytes).ok()?;
            self.used = 0;
        }
        let next = self.bytes.get(self.used..)?.first_chunk().copied()?;
        self.used += ID_BYTES;
        Some(next)
    }
}

/// A new id. It names a request and is no secret.
pub fn new() -> String {
    let random = RANDOM.with_borrow_mut(Random::next);
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let id = match (random, since) {
        (Some(random), Ok(since)) => {
            let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
            Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
        }
        (None, _) | (_, Err(_)) => Uuid::now_v7(),
    };
    id.to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_of_version_7_and_differ() {
        let ids: HashSet<String> = (0..1_000).map(|_| new()).collect();
        assert_eq!(ids.len(), 1_000);
        for id in ids {
            assert_eq!(Uuid::parse_str(&id).unwrap().get_version_num(), 7);
        }
    }
}
