//! Redis globs: `*`, `?`, `[...]`, `\x`, over bytes, as the server's `stringmatchlen` reads them.
//!
//! Two sides use them. The policy's patterns are read strictly: what the server would read in a surprising
//! way is a fault. A caller's glob (`KEYS`, `SCAN … MATCH`) is read as the server reads it, and never
//! narrower, because the question asked of it is "what could this reach?".

use std::collections::{HashMap, HashSet};

mod meet;
mod read;
mod strict;

use read::{Token, tokens};
pub(super) use strict::GlobFault;

/// Longest glob that is considered; a longer one is contained in nothing.
pub(super) const GLOB_BYTES_MAX: usize = 4096;

/// How many states the containment search visits before it answers "not proved".
const CONTAINMENT_STATES_MAX: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob {
    tokens: Vec<Token>,
}

impl Glob {
    /// A pattern of the policy.
    pub(super) fn strict(text: &str) -> Result<Self, GlobFault> {
        strict::check(text.as_bytes())?;
        Ok(Self {
            tokens: tokens(text.as_bytes()),
        })
    }

    /// A caller's glob, as the server reads it or wider. `None` where it is too long to consider.
    pub(super) fn lenient(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= GLOB_BYTES_MAX).then(|| Self {
            tokens: tokens(bytes),
        })
    }

    pub(super) fn matches(&self, key: &[u8]) -> bool {
        let (mut token, mut at) = (0, 0);
        // Where the last star stands, and how far it has eaten: the only place to come back to.
        let mut star: Option<(usize, usize)> = None;
        while at < key.len() {
            match (self.tokens.get(token), key.get(at)) {
                (Some(Token::Star), _) => {
                    star = Some((token, at));
                    token += 1;
                }
                (Some(wanted), Some(&byte)) if wanted.accepts(byte) => {
                    token += 1;
                    at += 1;
                }
                (Some(_) | None, _) => {
                    let Some((star_token, eaten)) = star else {
                        return false;
                    };
                    star = Some((star_token, eaten + 1));
                    token = star_token + 1;
                    at = eaten + 1;
                }
            }
        }
        self.tokens
            .get(token..)
            .is_some_and(|rest| rest.iter().all(|token| *token == Token::Star))
    }

    /// The bytes before the first special, and whether nothing follows them.
    pub(super) fn literal_prefix(&self) -> (Vec<u8>, Rest) {
        let prefix: Vec<u8> = self
            .tokens
            .iter()
            .map_while(|token| match token {
                Token::Byte(byte) => Some(*byte),
                Token::One | Token::Class(_) | Token::Star => None,
            })
            .collect();
        let rest = match self.tokens.get(prefix.len()..) {
            None | Some([]) => Rest::Nothing,
            Some(rest) if rest.iter().all(|token| *token == Token::Star) => Rest::Anything,
            Some(_) => Rest::Pattern,
        };
        (prefix, rest)
    }

    /// Whether this pattern provably matches every key that `inner` can match. Exact within
    /// [`CONTAINMENT_STATES_MAX`], and "no" beyond it.
    ///
    /// The search follows `inner` position by position, with the set of positions of this pattern that the
    /// same bytes can lead to; a position at the end of `inner` where this pattern is not at its end is a
    /// counterexample.
    pub(super) fn contains(&self, inner: &Self) -> bool {
        if let Some(answer) = self.contains_by_prefix(inner) {
            return answer;
        }
        let alphabet = self.alphabet();
        let mut seen: HashSet<(usize, Positions)> = HashSet::new();
        let mut open = vec![(0_usize, self.close(Positions::of(self.tokens.len())))];
        while let Some((at, positions)) = open.pop() {
            if seen.contains(&(at, positions.clone())) {
                continue;
            }
            if seen.len() >= CONTAINMENT_STATES_MAX || positions.is_empty() {
                return false;
            }
            let Some(token) = inner.tokens.get(at).copied() else {
                if !positions.contains(self.tokens.len()) {
                    return false;
                }
                seen.insert((at, positions));
                continue;
            };
            let after = match token {
                Token::Star => {
                    open.push((at + 1, positions.clone()));
                    at
                }
                Token::Byte(_) | Token::One | Token::Class(_) => at + 1,
            };
            let mut done: HashSet<u16> = HashSet::new();
            for byte in 0..=u8::MAX {
                let Some(&letter) = alphabet.get(usize::from(byte)) else {
                    return false;
                };
                if token.accepts(byte) && done.insert(letter) {
                    open.push((after, self.step(&positions, byte)));
                }
            }
            seen.insert((at, positions));
        }
        true
    }

    /// What the literal prefixes tell, which is nearly always enough and needs no search: every key of `inner` begins
    /// with its prefix. (A pattern that matches no key at all is said not to be contained where prefixes differ.)
    fn contains_by_prefix(&self, inner: &Self) -> Option<bool> {
        let (outer, rest) = self.literal_prefix();
        let (inner, _) = inner.literal_prefix();
        if rest == Rest::Anything && inner.starts_with(&outer) {
            return Some(true);
        }
        let agree = inner.starts_with(&outer) || outer.starts_with(&inner);
        (!agree).then_some(false)
    }

    /// For each byte, the number of its class: bytes that no token tells apart share one.
    fn alphabet(&self) -> Vec<u16> {
        let mut classes: HashMap<Vec<bool>, u16> = HashMap::new();
        (0..=u8::MAX)
            .map(|byte| {
                let signature = self.tokens.iter().map(|t| t.accepts(byte)).collect();
                let next = u16::try_from(classes.len()).unwrap_or(u16::MAX);
                *classes.entry(signature).or_insert(next)
            })
            .collect()
    }

    /// Where this pattern can stand after `byte`.
    fn step(&self, from: &Positions, byte: u8) -> Positions {
        let mut to = Positions::empty(self.tokens.len());
        for (at, token) in self.tokens.iter().enumerate() {
            if from.contains(at) && token.accepts(byte) {
                to.insert(if *token == Token::Star { at } else { at + 1 });
            }
        }
        self.close(to)
    }

    /// A star may match nothing, so who stands before it also stands after it.
    fn close(&self, mut positions: Positions) -> Positions {
        for (at, token) in self.tokens.iter().enumerate() {
            if *token == Token::Star && positions.contains(at) {
                positions.insert(at + 1);
            }
        }
        positions
    }
}

/// What follows a pattern's literal prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// The pattern is one key.
    Nothing,
    /// `*`: every key with this prefix.
    Anything,
    /// Anything else.
    Pattern,
}

/// A set of positions in a pattern, from before its first token to after its last.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Positions(Vec<u64>);

impl Positions {
    fn empty(tokens: usize) -> Self {
        Self(vec![0; tokens / 64 + 1])
    }

    /// The set with the first position alone.
    fn of(tokens: usize) -> Self {
        let mut set = Self::empty(tokens);
        set.insert(0);
        set
    }

    fn insert(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }

    fn contains(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|w| w >> (at % 64) & 1 == 1)
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

#[cfg(test)]
mod tests;
