//! Where one reply ends and the next begins, in bytes that come in pieces. Pure.
//!
//! What is too large is thrown away while it arrives, and the connection stays in step: a reply's size is known
//! from its headers before its bytes are here.
//!
//! Redis' serialization protocol, version 3 (`redis.io/docs/reference/protocol-spec`); a server sends none of its
//! streamed types.

use bytes::{Buf as _, Bytes, BytesMut};
use redis::Value;

/// Longest line: a status, a number, an error's text.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// What an element takes in memory once it is parsed, beside its bytes.
const ELEMENT_BYTES: u64 = 64;

/// The bytes are not Redis' protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's bytes are not a reply")]
pub struct Malformed;

/// One reply, or the place where it was.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    Whole(Bytes),
    /// There was no room for it.
    Dropped,
    /// What the server says unasked.
    Push,
}

/// Bytes as they arrive, and how far they are understood.
#[derive(Debug, Default)]
pub struct Replies {
    pub buffer: BytesMut,
    /// How much of the buffer is understood.
    at: usize,
    /// Bytes of a string that are yet to come.
    string: u64,
    /// Elements of this reply that are yet to come; none between replies.
    elements: u64,
    /// What this reply takes, as far as its headers tell.
    size: u64,
    is_push: bool,
    is_dropped: bool,
}

impl Replies {
    /// The next reply that is here whole. `room` says whether there is room for a reply of this many bytes.
    pub fn next(&mut self, mut room: impl FnMut(u64) -> bool) -> Result<Option<Reply>, Malformed> {
        loop {
            if self.string > 0 {
                let here = (self.buffer.len() - self.at) as u64;
                let step = self.string.min(here);
                self.string -= step;
                self.at += usize::try_from(step).map_err(|_| Malformed)?;
                if self.string > 0 {
                    self.forget_dropped();
                    return Ok(None);
                }
            } else if !self.header(&mut room)? {
                self.forget_dropped();
                return Ok(None);
            }
            if self.string == 0 && self.elements == 0 {
                return Ok(Some(self.reply()));
            }
        }
    }

    /// Reads one line, and what it says is to come; false where it is not here whole.
    fn header(&mut self, room: &mut impl FnMut(u64) -> bool) -> Result<bool, Malformed> {
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return if rest.len() > LINE_BYTES_MAX {
                Err(Malformed)
            } else {
                Ok(false)
            };
        };
        let line = rest.get(..end).and_then(|line| line.strip_suffix(b"\r"));
        let (kind, line) = line.and_then(<[u8]>::split_first).ok_or(Malformed)?;
        let is_first = self.elements == 0;
        if is_first {
            self.elements = 1;
            self.is_push = *kind == b'>';
        }
        let mut more = 0;
        match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {}
            b'$' | b'=' | b'!' => {
                if let Some(length) = length(line)? {
                    self.string = length.checked_add(2).ok_or(Malformed)?;
                }
            }
            b'*' | b'~' | b'>' => more = length(line)?.unwrap_or(0),
            b'%' => more = length(line)?.unwrap_or(0).checked_mul(2).ok_or(Malformed)?,
            // An attribute goes before the value it is about.
            b'|' => {
                let pairs = length(line)?.unwrap_or(0);
                more = pairs
                    .checked_mul(2)
                    .and_then(|more| more.checked_add(1))
                    .ok_or(Malformed)?;
            }
            _ => return Err(Malformed),
        }
        let header = end as u64 + 1;
        self.at += end + 1;
        self.elements = (self.elements - 1).checked_add(more).ok_or(Malformed)?;
        let elements = more.saturating_add(1).saturating_mul(ELEMENT_BYTES);
        self.size = self
            .size
            .saturating_add(header)
            .saturating_add(self.string)
            .saturating_add(elements);
        self.is_dropped = self.is_dropped || !room(self.size);
        Ok(true)
    }

    /// Keeps nothing of a reply that there is no room for.
    fn forget_dropped(&mut self) {
        if self.is_dropped {
            self.buffer.advance(self.at);
            self.at = 0;
        }
    }

    fn reply(&mut self) -> Reply {
        let bytes = self.buffer.split_to(self.at).freeze();
        let reply = match (self.is_dropped, self.is_push) {
            (_, true) => Reply::Push,
            (true, false) => Reply::Dropped,
            (false, false) => Reply::Whole(bytes),
        };
        (self.at, self.size) = (0, 0);
        (self.is_push, self.is_dropped) = (false, false);
        reply
    }
}

/// The value of a whole reply, where it is of the usual kinds (a string, a number, nothing): the driver's parser, which
/// knows all of them, clears a buffer of kilobytes for each.
pub fn plain(reply: &[u8]) -> Option<Value> {
    let end = reply.iter().position(|byte| *byte == b'\r')?;
    let (kind, line) = reply.get(..end)?.split_first()?;
    let rest = reply.get(end..)?.strip_prefix(b"\r\n")?;
    if *kind != b'$' && !rest.is_empty() {
        return None;
    }
    match kind {
        b'$' => match length(line).ok()? {
            None => rest.is_empty().then_some(Value::Nil),
            Some(length) => {
                let bytes = rest.strip_suffix(b"\r\n")?;
                (bytes.len() as u64 == length).then(|| Value::BulkString(bytes.to_vec()))
            }
        },
        b':' => std::str::from_utf8(line).ok()?.parse().ok().map(Value::Int),
        b'_' => line.is_empty().then_some(Value::Nil),
        b'+' if line == b"OK" => Some(Value::Okay),
        _ => None,
    }
}

/// A length; `None` for the null of older versions.
fn length(line: &[u8]) -> Result<Option<u64>, Malformed> {
    if line == b"-1" {
        return Ok(None);
    }
    let text = std::str::from_utf8(line).map_err(|_| Malformed)?;
    text.parse().map(Some).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reply of `stream`, given in pieces of `size` bytes, each within `bytes_max`.
    fn read(stream: &[u8], size: usize, bytes_max: u64) -> Result<Vec<Reply>, Malformed> {
        let mut replies = Replies::default();
        let mut seen = Vec::new();
        for piece in stream.chunks(size) {
            replies.buffer.extend_from_slice(piece);
            while let Some(reply) = replies.next(|bytes| bytes <= bytes_max)? {
                seen.push(reply);
            }
            // What is dropped is not kept.
            assert!(replies.buffer.len() <= 4096 || !replies.is_dropped);
        }
        assert!(replies.buffer.is_empty());
        Ok(seen)
    }

    #[test]
    fn replies_end_where_they_end_however_they_come() {
        let each: [&[u8]; 16] = [
            b"+OK\r\n",
            b"-ERR no\r\n",
            b":-7\r\n",
            b"_\r\n",
            b",inf\r\n",
            b"#t\r\n",
            b"(12345678901234567890\r\n",
            b"$-1\r\n",
            b"$0\r\n\r\n",
            b"$7\r\n*1\r\n$5\r\r\n",
            b"=5\r\ntxt:a\r\n",
            b"*0\r\n",
            b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
            b"~1\r\n:1\r\n",
            b"%1\r\n+k\r\n*1\r\n_\r\n",
            b"|1\r\n+a\r\n+b\r\n*1\r\n:1\r\n",
        ];
        let whole = each.concat();
        for size in [1, 2, 3, 7, whole.len()] {
            let seen = read(&whole, size, u64::MAX).unwrap();
            let expected: Vec<_> = each
                .iter()
                .map(|bytes| Reply::Whole(Bytes::from_static(bytes)))
                .collect();
            assert_eq!(seen, expected, "{size}");
        }
        let pushed = read(b">2\r\n+invalidate\r\n*0\r\n:1\r\n", 3, u64::MAX).unwrap();
        assert_eq!(
            pushed,
            [Reply::Push, Reply::Whole(Bytes::from_static(b":1\r\n"))]
        );
    }

    #[test]
    fn what_is_too_large_is_thrown_away_and_the_next_is_read() {
        let large = [b"$20000\r\n".as_slice(), &[b'\n'; 20_000], b"\r\n"].concat();
        for first in [
            large.clone(),
            [b"*3\r\n:1\r\n".as_slice(), &large, b"+x\r\n"].concat(),
            [b"*1000\r\n".as_slice(), &b":1\r\n".repeat(1000)].concat(),
        ] {
            let stream = [first.as_slice(), b":7\r\n"].concat();
            for size in [1000, 1003] {
                let seen = read(&stream, size, 10_000).unwrap();
                assert_eq!(
                    seen,
                    [Reply::Dropped, Reply::Whole(Bytes::from_static(b":7\r\n"))]
                );
            }
        }
    }

    #[test]
    fn plain_values_are_the_drivers() {
        let known: [&[u8]; 10] = [
            b"$0\r\n\r\n",
            b"$5\r\n\r\n$1\r\r\n",
            b"$2\r\n\xff\n\r\n",
            b"$-1\r\n",
            b"_\r\n",
            b":-7\r\n",
            b":9223372036854775807\r\n",
            b"+OK\r\n",
            b":0\r\n",
            b"$1\r\n1\r\n",
        ];
        for reply in known {
            let driver = redis::parse_redis_value(reply).unwrap();
            assert_eq!(plain(reply), Some(driver), "{reply:?}");
        }
        let left: [&[u8]; 9] = [
            b"+other\r\n",
            b"-ERR no\r\n",
            b"*0\r\n",
            b"$3\r\nab\r\n",
            b"$1\r\nab\r\n",
            b":x\r\n",
            b":1\r\n:2\r\n",
            b"$-1\r\n\r\n",
            b"",
        ];
        for reply in left {
            assert_eq!(plain(reply), None, "{reply:?}");
        }
    }

    #[test]
    fn what_is_no_reply_ends_the_connection() {
        for stream in [
            &b"hello\r\n"[..],
            b"\r\n",
            b"+no carriage return\n",
            b"$x\r\n",
            b"$-2\r\n",
            b"$18446744073709551615\r\n",
            b"%9223372036854775808\r\n",
            b"*?\r\n",
        ] {
            assert_eq!(read(stream, 100, 100), Err(Malformed), "{stream:?}");
        }
        let endless = vec![b'+'; LINE_BYTES_MAX + 2];
        assert_eq!(read(&endless, 1000, 100), Err(Malformed));
    }

    proptest::proptest! {
        #[test]
        fn a_plain_value_is_the_drivers(kind in "[$:_+*#,-]", rest: Vec<u8>) {
            let reply = [kind.as_bytes(), &rest, b"\r\n"].concat();
            if let Some(value) = plain(&reply) {
                proptest::prop_assert_eq!(redis::parse_redis_value(&reply).ok(), Some(value));
            }
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let mut replies = Replies::default();
            replies.buffer.extend_from_slice(&bytes);
            while let Ok(Some(_)) = replies.next(|bytes| bytes < 100) {}
        }
    }
}
