//! A glob's text → its tokens, as the server's `stringmatchlen` reads it.

/// A set of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ByteSet {
    low: u128,
    high: u128,
}

impl ByteSet {
    fn insert(&mut self, byte: u8) {
        if byte < 128 {
            self.low |= 1 << byte;
        } else {
            self.high |= 1 << (byte - 128);
        }
    }

    const fn contains(self, byte: u8) -> bool {
        if byte < 128 {
            self.low >> byte & 1 == 1
        } else {
            self.high >> (byte - 128) & 1 == 1
        }
    }

    const fn complement(self) -> Self {
        Self {
            low: !self.low,
            high: !self.high,
        }
    }

    const fn len(self) -> u32 {
        self.low.count_ones() + self.high.count_ones()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Byte(u8),
    One,
    Class(ByteSet),
    Star,
}

impl Token {
    pub(super) const fn accepts(self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => own == byte,
            Self::One | Self::Star => true,
            Self::Class(set) => set.contains(byte),
        }
    }
}

/// Reads a glob as the server does.
pub(super) fn tokens(mut rest: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(rest.len());
    while let [first, tail @ ..] = rest {
        let token = match (first, tail) {
            (b'*', _) => Token::Star,
            (b'?', _) => Token::One,
            (b'\\', [escaped, ..]) => Token::Byte(*escaped),
            (b'[', _) => {
                let (token, after) = class(tail);
                tokens.push(token);
                rest = after;
                continue;
            }
            (byte, _) => Token::Byte(*byte),
        };
        rest = match (first, tail) {
            (b'\\', [_, after @ ..]) => after,
            (_, after) => after,
        };
        // Stars in a row are one star.
        if token != Token::Star || tokens.last() != Some(&Token::Star) {
            tokens.push(token);
        }
    }
    tokens
}

/// Reads a class, from after its `[`. The order of the cases is the server's: an escape first, then `]`, then
/// a range (whose end may be any character, even `]`); a class that is not closed ends with the pattern.
fn class(mut rest: &[u8]) -> (Token, &[u8]) {
    let negated = rest.first() == Some(&b'^');
    if negated {
        rest = rest.get(1..).unwrap_or_default();
    }
    let mut set = ByteSet::default();
    let mut odd = false;
    loop {
        match rest {
            [b'\\', escaped, after @ ..] => {
                set.insert(*escaped);
                rest = after;
            }
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [] => break,
            [start, b'-', end, after @ ..] => {
                // The server compares `char`s, whose sign depends on its processor.
                odd |= !start.is_ascii() || !end.is_ascii();
                for byte in *start.min(end)..=*start.max(end) {
                    set.insert(byte);
                }
                rest = after;
            }
            [byte, after @ ..] => {
                set.insert(*byte);
                rest = after;
            }
        }
    }
    let set = if negated { set.complement() } else { set };
    let token = match set.len() {
        _ if odd => Token::One,
        256 => Token::One,
        1 => (0..=u8::MAX)
            .find(|byte| set.contains(*byte))
            .map_or(Token::Class(set), Token::Byte),
        _ => Token::Class(set),
    };
    (token, rest)
}
