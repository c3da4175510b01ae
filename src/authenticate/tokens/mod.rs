//! JWT bearer tokens: signed by an issuer whose keys are known, and honoured until they end or are revoked.
//!
//! What a token must have: a header with `alg` from the configured list and the `kid` of a key of the issuer's, and the
//! claims `iss`, `aud`, `exp`, `iat`, `sub`, `jti` and the role. Anything less is refused.

mod blacklist;
mod claims;
mod fault;
mod fetch;
mod keyset;
mod signature;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hyper::Uri;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, Validation};
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use super::{Error, Principal};
use crate::execute::redis::link::{ConnectError, RedisSettings};
use crate::lock::Unpoisoned as _;
pub use fault::Fault;
pub use keyset::KeyState;
pub use signature::ALGORITHMS;

use blacklist::Blacklist;
use claims::Claims;
use keyset::KeySet;

/// Tokens whose signature need not be verified again; the least used one is forgotten first.
const VERIFIED_MAX: usize = 10_000;

/// Bytes of a token.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// How old the answer may be whether a token is in the blacklist.
const BLACKLIST_FRESH: Duration = Duration::from_secs(1);

/// Before the subject in a principal's id. No API key's id has a colon.
const ID_PREFIX: &str = "jwt:";

/// `[auth.jwt]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    pub source: KeySource,
    pub issuer: String,
    pub audience: String,
    /// The claim that holds the role, and the one that holds the user.
    pub role_claim: String,
    pub user_claim: String,
    pub algorithms: Vec<Algorithm>,
    /// By how much the issuer's clock may differ.
    pub skew_s: u32,
    /// How long after `iat` a token is honoured at most, whatever its `exp`.
    pub age_max_s: u32,
    /// How often the issuer's keys are fetched.
    pub refresh_s: u32,
    /// How long they hold when they cannot be.
    pub stale_max_s: u32,
    pub blacklist_unavailable: OnUnavailable,
}

/// Where the issuer's keys (a JWK set) come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    File(PathBuf),
    /// `https` alone; `ca_file`: the CA that signed the server's certificate, without it the system's.
    Url {
        url: Uri,
        ca_file: Option<PathBuf>,
    },
}

/// What becomes of a token while Redis cannot be asked whether it was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnavailable {
    Deny,
    Allow,
}

/// Why tokens cannot be honoured at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("[auth.jwt] {0}")]
    Keys(String),
    #[error("[auth.jwt] the blacklist: {0}")]
    Blacklist(#[from] ConnectError),
}

/// A token whose signature and claims were right.
pub struct Verified {
    claims: Claims,
    principal: Arc<Principal>,
    /// The set of keys it was verified with.
    generation: u64,
    listed: Mutex<Option<Listed>>,
}

/// What Redis last said of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listed {
    is_revoked: bool,
    /// When it was asked.
    at: Instant,
}

/// Honours the tokens of one issuer.
pub struct Tokens {
    settings: TokenSettings,
    validation: Validation,
    keys: KeySet,
    verified: Cache<[u8; 32], Arc<Verified>>,
    blacklist: Option<Blacklist>,
}

impl Tokens {
    /// Must be called inside a Tokio runtime. A file of keys is read here; a URL may come to life later, and so may
    /// Redis.
    ///
    /// # Errors
    /// When the file of keys cannot be read or holds no usable key, or the connection to Redis cannot be set up.
    pub fn open(
        settings: TokenSettings,
        redis: Option<&RedisSettings>,
        now: Instant,
    ) -> Result<Self, OpenError> {
        signature::install();
        let mut validation = Validation::default();
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&[&settings.audience]);
        validation.set_required_spec_claims(&["iss", "aud"]);
        // The other claims are read here, and times compared by the time that is handed in.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Ok(Self {
            keys: KeySet::open(&settings, now).map_err(OpenError::Keys)?,
            blacklist: redis.map(Blacklist::connect).transpose()?,
            validation,
            verified: Cache::new(VERIFIED_MAX),
            settings,
        })
    }

    /// What is remembered of `text`; it is still to be [admitted](Self::admit).
    pub fn recall(&self, text: &str) -> Option<Arc<Verified>> {
        let known = self.verified.get(&digest(text))?;
        (known.generation == self.keys.generation()).then_some(known)
    }

    /// Checks signature and claims. May wait for the issuer's keys.
    pub async fn verify(
        &self,
        text: &str,
        now: Instant,
        clock: Timestamp,
    ) -> Result<Arc<Verified>, Error> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Fault::TooLong.into());
        }
        let header = jsonwebtoken::decode_header(text).map_err(|_| Fault::of_header(text))?;
        let is_jwt =
            |typ: &String| typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("at+jwt");
        if header.crit.is_some() || !header.typ.as_ref().is_none_or(is_jwt) {
            return Err(Fault::Header.into());
        }
        let kid = header.kid.as_deref().ok_or(Fault::NoKid)?;
        let (key, generation) = self.keys.find(kid, now).await?;
        let mut validation = self.validation.clone();
        // Of this key alone, so that none can be used in another's way.
        validation.algorithms = vec![key.algorithm];
        let token = jsonwebtoken::decode(text, &key.decoding, &validation).map_err(Fault::from)?;
        let claims = Claims::read(&self.settings, &token.claims)?;
        claims.began(&self.settings, clock)?;
        let known = Arc::new(Verified {
            principal: Arc::new(Principal {
                key_id: format!("{ID_PREFIX}{}", claims.subject),
                user_id: claims.user.clone(),
                role: claims.role.clone(),
            }),
            claims,
            generation,
            listed: Mutex::default(),
        });
        self.verified.insert(digest(text), Arc::clone(&known));
        Ok(known)
    }

    /// Lets a verified token in, unless it has ended or was revoked.
    pub async fn admit(
        &self,
        known: &Verified,
        now: Instant,
        clock: Timestamp,
    ) -> Result<Arc<Principal>, Error> {
        let key_id = &known.principal.key_id;
        known.claims.lasts(key_id, clock)?;
        let is_revoked = match known.listed() {
            Some(listed) if listed.is_fresh(now) => listed.is_revoked,
            listed => self.ask_blacklist(known, listed, now).await?,
        };
        if is_revoked {
            return Err(Fault::Revoked(key_id.clone()).into());
        }
        Ok(Arc::clone(&known.principal))
    }

    /// Whether it is revoked. While Redis is away, what it last said of a revoked token holds; a blacklist that is asked
    /// again is believed in both directions.
    async fn ask_blacklist(
        &self,
        known: &Verified,
        last: Option<Listed>,
        now: Instant,
    ) -> Result<bool, Error> {
        let answer = match &self.blacklist {
            Some(blacklist) => blacklist.has(&known.claims.id).await,
            None => Err("redis is not configured".to_owned()),
        };
        match (answer, self.settings.blacklist_unavailable) {
            (Ok(is_revoked), _) => {
                known.note(Listed {
                    is_revoked,
                    at: now,
                });
                Ok(is_revoked)
            }
            (Err(_), _) if last.is_some_and(|last| last.is_revoked) => Ok(true),
            (Err(cause), OnUnavailable::Deny) => Err(Error::BlacklistUnavailable(cause)),
            (Err(cause), OnUnavailable::Allow) => {
                tracing::warn!(
                    cause,
                    "a token is honoured whose revocation cannot be asked for"
                );
                Ok(false)
            }
        }
    }

    /// What is known of the issuer's keys.
    pub fn key_state(&self, now: Instant) -> KeyState {
        self.keys.state(now)
    }

    /// Fetches the issuer's keys again and again, for as long as it is polled.
    pub async fn keep_fresh(&self) {
        self.keys.keep_fresh().await;
    }
}

impl Verified {
    fn listed(&self) -> Option<Listed> {
        *self.listed.lock().unpoisoned()
    }

    /// Of two answers, that of the later question holds.
    fn note(&self, answer: Listed) {
        let mut listed = self.listed.lock().unpoisoned();
        if listed.is_none_or(|known| known.at <= answer.at) {
            *listed = Some(answer);
        }
    }
}

impl Listed {
    fn is_fresh(self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < BLACKLIST_FRESH
    }
}

/// Whether tokens could be verified with these settings: how many of the issuer's keys are usable, and where they are
/// from. May be cancelled.
///
/// # Errors
/// When the keys cannot be read, or none of them is usable.
pub async fn check(settings: &TokenSettings) -> Result<String, String> {
    signature::install();
    let keys = keyset::usable_keys(&settings.source, &settings.algorithms).await?;
    let place = match &settings.source {
        KeySource::File(path) => path.display().to_string(),
        KeySource::Url { url, .. } => fetch::place(url),
    };
    let (count, s) = (keys.len(), if keys.len() == 1 { "" } else { "s" });
    Ok(format!("{count} usable key{s} in `{place}`"))
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
