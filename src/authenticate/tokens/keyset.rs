//! The issuer's keys, by their `kid`: read at start or when first needed, fetched again and again, and once more when a
//! token names one that is not known.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::{Fault, KeySource, TokenSettings, fetch};
use crate::authenticate::Error;

/// How often an unknown `kid` makes the keys be fetched, whatever the number of such tokens.
pub const UNKNOWN_KID_INTERVAL: Duration = Duration::from_secs(30);

/// Pause before keys are fetched again that could not be.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Keys of one set.
const KEYS_MAX: usize = 100;

/// Bytes of one set.
pub const SET_BYTES_MAX: usize = 256 * 1024;

#[derive(Clone)]
pub struct Key {
    pub algorithm: Algorithm,
    pub decoding: DecodingKey,
}

struct Loaded {
    keys: BTreeMap<String, Key>,
    text: Vec<u8>,
    /// Counts the sets that differed.
    generation: u64,
    /// When it was last read; `None`: never.
    at: Option<Instant>,
}

/// What is known of the issuer's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// They were read when they were last asked for.
    Fresh { keys: usize },
    /// They could not be read again; those known before hold for a while.
    Old { keys: usize },
    /// They were never read, or so long ago that they hold no more: no token is honoured.
    Missing,
}

impl KeyState {
    /// How many keys tokens are verified with.
    pub const fn keys(self) -> usize {
        match self {
            Self::Fresh { keys } | Self::Old { keys } => keys,
            Self::Missing => 0,
        }
    }
}

pub struct KeySet {
    source: KeySource,
    algorithms: Vec<Algorithm>,
    refresh: Duration,
    stale_max: Duration,
    loaded: ArcSwap<Loaded>,
    /// When an unknown `kid` last had the keys fetched. Held while that goes on.
    asked_at: Mutex<Option<Instant>>,
    /// Whether they could not be read when they were last asked for.
    has_failed: AtomicBool,
}

impl KeySet {
    pub fn open(settings: &TokenSettings, now: Instant) -> Result<Self, String> {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let set = Self {
            source: settings.source.clone(),
            algorithms: settings.algorithms.clone(),
            refresh: seconds(settings.refresh_s),
            stale_max: seconds(settings.stale_max_s),
            loaded: ArcSwap::from_pointee(Loaded {
                keys: BTreeMap::new(),
                text: Vec::new(),
                generation: 0,
                at: None,
            }),
            asked_at: Mutex::default(),
            has_failed: AtomicBool::new(false),
        };
        if let KeySource::File(path) = &settings.source {
            set.take(read(path)?, now)?;
        }
        Ok(set)
    }

    /// Differs when the keys do.
    pub fn generation(&self) -> u64 {
        self.loaded.load().generation
    }

    /// The key with this `kid`, and the generation it is of. May be cancelled.
    pub async fn find(&self, kid: &str, now: Instant) -> Result<(Key, u64), Error> {
        if let Some(found) = self.known(kid, now) {
            return Ok(found);
        }
        let mut asked_at = self.asked_at.lock().await;
        // Whoever waited here may find what was fetched meanwhile.
        if let Some(found) = self.known(kid, now) {
            return Ok(found);
        }
        let may_ask =
            asked_at.is_none_or(|at| now.saturating_duration_since(at) >= UNKNOWN_KID_INTERVAL);
        if may_ask {
            *asked_at = Some(now);
            self.load(now).await;
        }
        match self.known(kid, now) {
            Some(found) => Ok(found),
            None if self.is_stale(now) => Err(Error::IssuerUnavailable),
            None => Err(Error::Token(Fault::unknown_kid(kid))),
        }
    }

    fn known(&self, kid: &str, now: Instant) -> Option<(Key, u64)> {
        if self.is_stale(now) {
            return None;
        }
        let loaded = self.loaded.load();
        Some((loaded.keys.get(kid)?.clone(), loaded.generation))
    }

    fn is_stale(&self, now: Instant) -> bool {
        let at = self.loaded.load().at;
        at.is_none_or(|at| now.saturating_duration_since(at) >= self.stale_max)
    }

    pub fn state(&self, now: Instant) -> KeyState {
        let keys = self.loaded.load().keys.len();
        if self.is_stale(now) {
            KeyState::Missing
        } else if self.has_failed.load(Ordering::Relaxed) {
            KeyState::Old { keys }
        } else {
            KeyState::Fresh { keys }
        }
    }

    pub async fn keep_fresh(&self) {
        loop {
            let pause = if self.load(Instant::now()).await {
                self.refresh
            } else {
                RETRY_AFTER.min(self.refresh)
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Whether the keys could be read. Those there were stay in force when not, until they are stale.
    async fn load(&self, now: Instant) -> bool {
        let taken = text_of(&self.source)
            .await
            .and_then(|text| self.take(text, now));
        self.has_failed.store(taken.is_err(), Ordering::Relaxed);
        if let Err(error) = &taken {
            tracing::warn!(
                error,
                "the issuer's keys cannot be read: tokens are verified with those known before"
            );
        }
        taken.is_ok()
    }

    fn take(&self, text: Vec<u8>, now: Instant) -> Result<(), String> {
        let before = self.loaded.load();
        let is_new = before.at.is_none() || before.text != text;
        let (keys, generation) = if is_new {
            (parse(&text, &self.algorithms)?, before.generation + 1)
        } else {
            (before.keys.clone(), before.generation)
        };
        self.loaded.store(Arc::new(Loaded {
            keys,
            text,
            generation,
            at: Some(now),
        }));
        Ok(())
    }
}

async fn text_of(source: &KeySource) -> Result<Vec<u8>, String> {
    match source {
        KeySource::File(path) => read(path),
        KeySource::Url { url, ca_file } => fetch::get(url, ca_file.as_deref()).await,
    }
}

/// Reads the keys once; those that can verify by one of `algorithms`.
pub async fn usable_keys(
    source: &KeySource,
    algorithms: &[Algorithm],
) -> Result<BTreeMap<String, Key>, String> {
    parse(&text_of(source).await?, algorithms)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let fault = |cause: String| format!("`{}`: {cause}", path.display());
    let length = std::fs::metadata(path)
        .map_err(|error| fault(error.to_string()))?
        .len();
    if length > SET_BYTES_MAX as u64 {
        return Err(fault(format!("has more than {SET_BYTES_MAX} bytes")));
    }
    std::fs::read(path).map_err(|error| fault(error.to_string()))
}

#[derive(Deserialize)]
struct Raw {
    keys: Vec<Value>,
}

/// The keys of a set that can verify by one of `algorithms`; others are not for us, and left out.
pub fn parse(text: &[u8], algorithms: &[Algorithm]) -> Result<BTreeMap<String, Key>, String> {
    let raw: Raw =
        serde_json::from_slice(text).map_err(|_| "what is there is not a JWK set".to_owned())?;
    let mut keys = BTreeMap::new();
    for value in raw.keys.into_iter().take(KEYS_MAX) {
        let Ok(jwk) = serde_json::from_value::<Jwk>(value) else {
            continue;
        };
        let Some((kid, key)) = usable(&jwk) else {
            continue;
        };
        if !algorithms.contains(&key.algorithm) {
            continue;
        }
        if keys.insert(kid, key).is_some() {
            return Err("two keys have the same `kid`".into());
        }
    }
    if keys.is_empty() {
        return Err("the JWK set has no key with a `kid` and one of the allowed algorithms".into());
    }
    Ok(keys)
}

fn usable(jwk: &Jwk) -> Option<(String, Key)> {
    let algorithm = if let AlgorithmParameters::RSA(_) = &jwk.algorithm {
        Algorithm::RS256
    } else if let AlgorithmParameters::EllipticCurve(key) = &jwk.algorithm
        && key.curve == EllipticCurve::P256
    {
        Algorithm::ES256
    } else if let AlgorithmParameters::OctetKeyPair(key) = &jwk.algorithm
        && key.curve == EllipticCurve::Ed25519
    {
        Algorithm::EdDSA
    } else {
        return None;
    };
    let common = &jwk.common;
    let named = common.key_algorithm.as_ref();
    let is_for_it = named.is_none_or(|named| *named == KeyAlgorithm::from(algorithm));
    let is_to_sign = common
        .public_key_use
        .as_ref()
        .is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    let may_verify = common
        .key_operations
        .as_ref()
        .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !is_for_it || !is_to_sign || !may_verify {
        return None;
    }
    let kid = common.key_id.clone().filter(|kid| !kid.is_empty())?;
    let decoding = DecodingKey::from_jwk(jwk).ok()?;
    Some((
        kid,
        Key {
            algorithm,
            decoding,
        },
    ))
}
