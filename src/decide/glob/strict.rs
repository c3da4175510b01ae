//! What a policy's pattern may not be, although the server would take it.

use super::GLOB_BYTES_MAX;

/// Why a policy's key pattern is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decide) enum GlobFault {
    Empty,
    TooLong,
    TrailingBackslash,
    ClassOpen,
    ClassEmpty,
    ClassReversed,
    ClassNotAscii,
}

impl GlobFault {
    /// What is wrong, and what to write instead.
    pub(in crate::decide) const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Empty => ("is empty", "write a pattern such as `cache:*`"),
            Self::TooLong => ("is longer than 4096 bytes", "write a shorter pattern"),
            Self::TrailingBackslash => (
                "ends in a lone `\\`",
                "write `\\\\` for a backslash, or name the character after it",
            ),
            Self::ClassOpen => (
                "has a `[` without its `]`",
                "close the class, or write `\\[` for the character itself",
            ),
            Self::ClassEmpty => (
                "has an empty class",
                "put the allowed characters between `[` and `]`",
            ),
            Self::ClassReversed => (
                "has a range whose end comes before its start",
                "write the smaller character first, as in `[a-z]`",
            ),
            Self::ClassNotAscii => (
                "has a character outside ASCII in a class",
                "a class matches one byte: name such characters outside of classes",
            ),
        }
    }
}

/// Finds what the server would read in a way its writer can hardly have meant.
pub(super) fn check(mut rest: &[u8]) -> Result<(), GlobFault> {
    if rest.is_empty() {
        return Err(GlobFault::Empty);
    }
    if rest.len() > GLOB_BYTES_MAX {
        return Err(GlobFault::TooLong);
    }
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'\\', []) => return Err(GlobFault::TrailingBackslash),
            (b'\\', [_, after @ ..]) => after,
            (b'[', _) => check_class(tail)?,
            (_, after) => after,
        };
    }
    Ok(())
}

fn check_class(rest: &[u8]) -> Result<&[u8], GlobFault> {
    let mut rest = match rest {
        [b'^', after @ ..] => after,
        other => other,
    };
    if rest.first() == Some(&b']') {
        return Err(GlobFault::ClassEmpty);
    }
    loop {
        rest = match rest {
            [] | [b'\\'] => return Err(GlobFault::ClassOpen),
            [b']', after @ ..] => return Ok(after),
            [b'\\', byte, after @ ..] => ascii(*byte).map(|()| after)?,
            // `[a-]` is a range up to `]` to the server, and open.
            [_, b'-', b']', ..] => return Err(GlobFault::ClassOpen),
            [start, b'-', end, after @ ..] => {
                ascii(*start)?;
                ascii(*end)?;
                if start > end {
                    return Err(GlobFault::ClassReversed);
                }
                after
            }
            [byte, after @ ..] => ascii(*byte).map(|()| after)?,
        };
    }
}

const fn ascii(byte: u8) -> Result<(), GlobFault> {
    if byte.is_ascii() {
        Ok(())
    } else {
        Err(GlobFault::ClassNotAscii)
    }
}
