//! The form of an API key: `bhk_<id>_<secret><checksum>`.
//!
//! `bhk_` makes a leaked key recognisable to scanners, the checksum (CRC-32 of everything before it) lets
//! them, and us, tell a key from a look-alike without asking the database. The id is public; the secret is
//! 256 random bits, so that one SHA-256 is hash enough: there is nothing to guess.

use std::fmt::Write as _;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub const PREFIX: &str = "bhk_";
/// Hexadecimal digits of an id (64 bits), a secret (256 bits) and a checksum (32 bits).
const ID_DIGITS: usize = 16;
const SECRET_DIGITS: usize = 64;
const CHECKSUM_DIGITS: usize = 8;
const KEY_BYTES: usize = PREFIX.len() + ID_DIGITS + 1 + SECRET_DIGITS + CHECKSUM_DIGITS;

/// How a digest is stored in `api_keys.hashed_key`: this and 64 hexadecimal digits.
const HASH_PREFIX: &str = "sha256:";

/// A key in the form that a caller sends. Its parts borrow from the header.
#[derive(Clone, Copy)]
pub struct Presented<'k> {
    pub id: &'k str,
    secret: &'k str,
}

/// SHA-256 of a secret: what is stored, and what a presented key is compared with.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash([u8; 32]);

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash")
    }
}

impl<'k> Presented<'k> {
    /// `None` unless `text` has a key's form and its checksum is right.
    pub fn parse(text: &'k str) -> Option<Self> {
        if text.len() != KEY_BYTES {
            return None;
        }
        let (body, checksum) = text.split_at_checked(KEY_BYTES - CHECKSUM_DIGITS)?;
        let (id, secret) = body.strip_prefix(PREFIX)?.split_once('_')?;
        let well_formed = id.len() == ID_DIGITS
            // So that no id is like that of another kind of caller, whatever stands in `api_keys`.
            && id.bytes().all(|byte| byte.is_ascii_hexdigit())
            && secret.len() == SECRET_DIGITS
            && u32::from_str_radix(checksum, 16) == Ok(crc32fast::hash(body.as_bytes()));
        well_formed.then_some(Self { id, secret })
    }

    /// What the stored hash must be.
    pub fn digest(&self) -> Hash {
        hash(self.secret)
    }
}

#[cfg(test)]
thread_local! {
    /// Comparisons made by this thread: the tests' way to see that every path makes the same.
    pub static COMPARED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

impl Hash {
    /// Reads `api_keys.hashed_key`; `None` if it is not of our making.
    pub fn parse(stored: &str) -> Option<Self> {
        let digits = stored.strip_prefix(HASH_PREFIX)?;
        let mut bytes = [0; 32];
        if digits.len() != 64 || !digits.is_ascii() {
            return None;
        }
        for (byte, place) in bytes.iter_mut().zip(0..) {
            *byte = u8::from_str_radix(digits.get(2 * place..2 * place + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Whether this is `stored`, in constant time, also where nothing is stored.
    pub fn is(&self, stored: Option<&Self>) -> bool {
        #[cfg(test)]
        COMPARED.set(COMPARED.get() + 1);
        let nothing = Self([0; 32]);
        let equal: bool = self.0.ct_eq(&stored.unwrap_or(&nothing).0).into();
        equal & stored.is_some()
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub fn to_stored(&self) -> String {
        format!("{HASH_PREFIX}{}", hex(&self.0))
    }
}

/// A new key: its id, the whole key to show once, and the hash to store.
pub struct Generated {
    pub id: String,
    pub key: SecretString,
    pub hash: Hash,
}

/// Draws a new key from the operating system's random numbers.
pub fn generate() -> Result<Generated, getrandom::Error> {
    let mut id = [0; ID_DIGITS / 2];
    getrandom::fill(&mut id)?;
    generate_for(&hex(&id))
}

/// Draws a new secret for a key that has an id.
pub fn generate_for(id: &str) -> Result<Generated, getrandom::Error> {
    let mut secret = [0; SECRET_DIGITS / 2];
    getrandom::fill(&mut secret)?;
    let (id, secret) = (id.to_owned(), SecretString::from(hex(&secret)));
    let mut key = format!("{PREFIX}{id}_{}", secret.expose_secret());
    let checksum = crc32fast::hash(key.as_bytes());
    key.push_str(&format!("{checksum:08x}"));
    Ok(Generated {
        id,
        hash: hash(secret.expose_secret()),
        key: SecretString::from(key),
    })
}

fn hash(secret: &str) -> Hash {
    Hash(Sha256::digest(secret.as_bytes()).into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_parses_and_matches_its_hash_alone() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        let presented = Presented::parse(one.key.expose_secret()).unwrap();
        assert_eq!(presented.id, one.id);
        assert!(presented.digest().is(Some(&one.hash)));
        assert!(!presented.digest().is(Some(&two.hash)));
        assert!(!presented.digest().is(None));
        assert!(Hash::parse(&one.hash.to_stored()).unwrap() == one.hash);
    }

    #[test]
    fn what_is_not_a_key_is_told_without_the_database() {
        let key = generate().unwrap().key;
        let key = key.expose_secret();
        let mut flipped = key.to_owned().into_bytes();
        flipped[30] ^= 1;
        let flipped = String::from_utf8(flipped).unwrap();
        // With a checksum that is right, and an id that is another kind of caller's.
        let foreign = format!("bhk_jwt:someone12345_{}", "0".repeat(SECRET_DIGITS));
        let foreign = format!("{foreign}{:08x}", crc32fast::hash(foreign.as_bytes()));
        assert_eq!(foreign.len(), KEY_BYTES);
        for text in [
            &foreign,
            "",
            "bhk_",
            &key[1..],
            &format!("{key}0"),
            &flipped,
            &"é".repeat(47),
        ] {
            assert!(Presented::parse(text).is_none(), "{text}");
        }
        for stored in [
            "",
            "sha256:",
            "plain",
            &format!("sha256:{}", "é".repeat(32)),
        ] {
            assert!(Hash::parse(stored).is_none(), "{stored}");
        }
    }
}
