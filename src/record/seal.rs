//! Seals the audit trail: at intervals the heads of the chains that moved become the next row of `audit_seals`, which is
//! signed if there is a key, and appended to a file outside of the database if there is one.
//!
//! Sidecars take turns: whoever is first in an interval seals for all. The account needs SELECT on `audit_chains` and
//! `audit_seals`, and INSERT on `audit_seals`.

mod export;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use prometheus::IntCounter;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::config;
use crate::execute::settings::{SqlStoreSettings, application_name};
use crate::system::{self, Unavailable};
use crate::trail::{Head, Hex, Micros, Seal, SealKey, sql};
use export::Export;

/// How long a round may take, export and all; the last one has a statement's time.
const ROUND_TIMEOUT: Duration = Duration::from_secs(20);

/// Seals of other sidecars that are read to learn what is sealed; beyond them all heads are sealed anew.
const LEARN_MAX: i64 = 100;

/// Rounds in a row that may find the lock taken before that is told: sidecars hold it for a moment.
const HELD_OFF_MAX: u32 = 3;

/// How far in the future a seal may be, in microseconds; of one beyond it nothing is taken for true.
const FUTURE_US_MAX: i64 = 5_000_000;

/// One sidecar's round at a time (`pg_try_advisory_xact_lock`).
const LOCK: &str = "SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtext('bulkhead_audit_seal')), now()";

const INSERT: &str = "INSERT INTO public.audit_seals
    (seal, sealed_at, sidecar, chains, seqs, hashes, prev_hash, hash, key_id, signature)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

/// How to seal.
#[derive(Debug)]
pub struct SealSettings {
    pub every: Duration,
    pub key: Option<SealKey>,
    /// Seals are appended to it, a JSON line each.
    pub export: Option<PathBuf>,
    /// By what name this sidecar's seals are known.
    pub sidecar: Option<String>,
}

impl SealSettings {
    /// What the configuration says, with the key read.
    ///
    /// # Errors
    /// In the operator's words, when the key cannot be used.
    pub fn read(audit: &config::Audit) -> Result<Self, String> {
        let key = audit.seal_key_file.as_deref().map(|file| {
            let read = std::fs::read(file).map_err(|error| error.to_string());
            let key =
                read.and_then(|pem| SealKey::from_pem(&pem).map_err(|fault| fault.to_string()));
            key.map_err(|fault| format!("[audit] seal_key_file `{}`: {fault}", file.display()))
        });
        Ok(Self {
            every: Duration::from_secs(audit.seal_interval_s),
            key: key.transpose()?,
            export: audit.seals_file.clone(),
            sidecar: Some(application_name("bulkhead-system")),
        })
    }
}

/// What is counted.
#[derive(Debug, Clone)]
pub struct SealCounts {
    pub sealed: IntCounter,
    /// Rounds that failed, and seals of the database that were found changed.
    pub failures: IntCounter,
    /// Rounds whose seals could not be appended to the file yet.
    pub export_failures: IntCounter,
}

/// Seals every interval until `drain` is ready, and once more then.
pub async fn run(
    system: SqlStoreSettings,
    settings: SealSettings,
    counts: SealCounts,
    drain: impl Future<Output = ()>,
) {
    let every = settings.every;
    let mut sealer = Sealer::new(system, settings, counts);
    let mut drain = std::pin::pin!(drain);
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => sealer.round(false).await,
            () = &mut drain => return sealer.round(true).await,
        }
    }
}

/// One sidecar's part in sealing.
pub struct Sealer {
    system: SqlStoreSettings,
    settings: SealSettings,
    counts: SealCounts,
    /// Of its own, since transactions cannot share one.
    client: Option<Client>,
    export: Option<Export>,
    /// The newest seal that this sidecar has seen, and the heads as that seal and those before it knew them.
    known: Option<(i64, Hex)>,
    sealed: HashMap<i64, (i64, Hex)>,
    failing: Option<String>,
    /// Rounds in a row in which another session had the lock.
    held_off: u32,
}

impl Sealer {
    pub fn new(system: SqlStoreSettings, settings: SealSettings, counts: SealCounts) -> Self {
        Self {
            system,
            counts,
            client: None,
            export: settings.export.clone().map(Export::new),
            settings,
            known: None,
            sealed: HashMap::new(),
            failing: None,
            held_off: 0,
        }
    }

    /// Seals what moved, unless a seal is younger than the interval; the last round seals in any case. What fails is logged,
    /// and tried again in the next round.
    pub async fn round(&mut self, is_last: bool) {
        let limit = if is_last {
            system::STATEMENT_TIMEOUT
        } else {
            ROUND_TIMEOUT
        };
        let done = tokio::time::timeout(limit, self.try_round(is_last)).await;
        match done.map_err(Unavailable::from).and_then(|done| done) {
            Ok(()) => self.failing = None,
            Err(error) => {
                self.counts.failures.inc();
                // An outage is one line, not one for each round.
                if self.failing.as_ref() != Some(&error.0) {
                    tracing::warn!(target: "audit.seal", %error, "the audit trail cannot be sealed");
                }
                self.failing = Some(error.0);
            }
        }
    }

    async fn try_round(&mut self, is_last: bool) -> Result<(), Unavailable> {
        // Whatever fails, or is given up, takes the connection with it, and a transaction that is open there.
        let client = match self.client.take() {
            Some(client) if !client.is_closed() => client,
            Some(_) | None => system::connect(&self.system).await?,
        };
        self.seal(&client, is_last).await?;
        if let Some(export) = &mut self.export
            && let Err(error) = export.catch_up(&client).await
        {
            self.counts.export_failures.inc();
            if export.is_news(&error) {
                tracing::error!(target: "audit.seal", %error, file = %export.path().display(),
                    "seals cannot be kept outside of the database");
            }
        }
        self.client = Some(client);
        Ok(())
    }

    async fn seal(&mut self, client: &Client, is_last: bool) -> Result<(), Unavailable> {
        client
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            .await?;
        let Some((seal, heads)) = self.seal_within(client, is_last).await? else {
            return Ok(client.batch_execute("ROLLBACK").await?);
        };
        client.batch_execute("COMMIT").await?;
        self.counts.sealed.inc();
        tracing::info!(
            target: "audit.seal",
            seal = seal.seal,
            chains = seal.chains.len(),
            hash = %seal.hash,
            key_id = seal.key_id,
            signature = seal.signature.as_ref().map(tracing::field::display),
            "the audit trail is sealed"
        );
        self.known = Some((seal.seal, seal.hash));
        self.learn(heads);
        Ok(())
    }

    async fn seal_within(
        &mut self,
        client: &Client,
        is_last: bool,
    ) -> Result<Option<(Seal, Vec<Head>)>, Unavailable> {
        let turn = client.query_one(LOCK, &[]).await?;
        let (is_ours, now): (bool, Micros) = (turn.try_get(0)?, turn.try_get(1)?);
        if !is_ours {
            self.held_off += 1;
            if self.held_off == HELD_OFF_MAX {
                self.counts.failures.inc();
                tracing::error!(target: "audit.seal",
                    "nothing was sealed for {HELD_OFF_MAX} rounds: somebody holds the advisory lock `bulkhead_audit_seal`");
                self.held_off = 0;
            }
            return Ok(None);
        }
        self.held_off = 0;
        let last_at = self.catch_up(client).await?;
        // One of the future would put off all others.
        if let Some(at) = last_at.filter(|at| at.0 > now.0 + FUTURE_US_MAX) {
            self.counts.failures.inc();
            tracing::error!(target: "audit.seal", sealed_at = %at,
                "the newest seal is of the future: the database's clock was set back, or somebody forged it");
        }
        // A tenth is let go, since sidecars do not wake to the microsecond.
        let every = self.settings.every.mul_f64(0.9).as_micros();
        let last_at = last_at.filter(|at| at.0 <= now.0 + FUTURE_US_MAX);
        let age = last_at.map(|at| u128::try_from(now.0.saturating_sub(at.0)).unwrap_or(0));
        if !is_last && age.is_some_and(|age| age < every) {
            return Ok(None);
        }
        let heads = self.moved(client).await?;
        if heads.is_empty() {
            return Ok(None);
        }
        let before = self.known.as_ref().map(|(number, hash)| (*number, hash));
        let sidecar = self.settings.sidecar.clone();
        let seal = Seal::new(before, now, sidecar, &heads, self.settings.key.as_ref());
        match insert(client, &seal).await {
            Ok(()) => Ok(Some((seal, heads))),
            // Another sidecar's commit came between this transaction's snapshot and its lock.
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Learns what was sealed since the newest seal that this sidecar has seen, and whether that one still stands. Returns when
    /// the last seal was made.
    async fn catch_up(&mut self, client: &Client) -> Result<Option<Micros>, Unavailable> {
        let newest = client
            .query(&newest(), &[])
            .await?
            .first()
            .map(sql::seal)
            .transpose()?;
        if let Some((number, hash)) = self.known.clone() {
            let rows = client.query(&since(), &[&number, &LEARN_MAX]).await?;
            let seals: Vec<Seal> = rows.iter().map(sql::seal).collect::<Result<_, _>>()?;
            let is_there = seals
                .first()
                .is_some_and(|seal| seal.seal == number && seal.hash == hash);
            let reaches =
                seals.last().map(|seal| seal.seal) == newest.as_ref().map(|seal| seal.seal);
            if !is_there {
                self.counts.failures.inc();
                tracing::error!(target: "audit.seal", seal = number, %hash,
                    "a seal was changed or removed: run `bulkhead audit verify`");
            }
            if is_there && reaches {
                for seal in seals.iter().skip(1) {
                    self.learn(heads(seal));
                }
            } else {
                self.sealed.clear();
            }
        }
        self.known = newest.as_ref().map(|seal| (seal.seal, seal.hash.clone()));
        Ok(newest.map(|seal| seal.sealed_at))
    }

    fn learn(&mut self, heads: Vec<Head>) {
        let heads = heads
            .into_iter()
            .map(|head| (head.chain, (head.seq, head.hash)));
        self.sealed.extend(heads);
    }

    /// The heads that are not as the seals know them.
    async fn moved(&self, client: &Client) -> Result<Vec<Head>, Unavailable> {
        let all = format!(
            "SELECT {} FROM public.audit_chains ORDER BY chain",
            sql::HEAD
        );
        let rows = client.query(&all, &[]).await?;
        let heads = rows.iter().map(sql::head);
        let is_new = |head: &Head| {
            let sealed = self.sealed.get(&head.chain);
            sealed.is_none_or(|(seq, hash)| *seq != head.seq || *hash != head.hash)
        };
        let moved = heads.filter(|head| head.as_ref().map_or(true, is_new));
        Ok(moved.collect::<Result<_, _>>()?)
    }
}

fn newest() -> String {
    let seal = sql::SEAL;
    format!("SELECT {seal} FROM public.audit_seals ORDER BY audit_seals.seal DESC LIMIT 1")
}

fn since() -> String {
    let seal = sql::SEAL;
    format!(
        "SELECT {seal} FROM public.audit_seals WHERE audit_seals.seal >= $1 ORDER BY audit_seals.seal LIMIT $2"
    )
}

fn heads(seal: &Seal) -> Vec<Head> {
    let all = seal.chains.iter().zip(&seal.seqs).zip(&seal.hashes);
    all.map(|((chain, seq), hash)| Head {
        chain: *chain,
        seq: *seq,
        hash: hash.clone(),
    })
    .collect()
}

async fn insert(client: &Client, seal: &Seal) -> Result<(), tokio_postgres::Error> {
    client
        .execute(
            INSERT,
            &[
                &seal.seal,
                &seal.sealed_at,
                &seal.sidecar,
                &seal.chains,
                &seal.seqs,
                &seal.hashes,
                &seal.prev_hash,
                &seal.hash,
                &seal.key_id,
                &seal.signature,
            ],
        )
        .await?;
    Ok(())
}
