//! Random requests of several callers at all four databases, while the links to these are held, cut, halved, delayed
//! and emptied. No reply may reach the wrong caller, no acknowledged write be lost, no write that was said not to have
//! happened be there, nothing hang, and everything be idle again afterwards.
//!
//! `CHAOS_SECONDS` (6) says for how long, `CHAOS_SEED` from where chance starts. `make soak` runs it for long.

mod caller;
pub mod faults;
mod ledger;
mod others;
mod settled;
mod sql;
mod tally;

use std::sync::Arc;
use std::time::{Duration, Instant};

use caller::{Caller, DEADLINE};
use faults::Links;
use ledger::Ledger;
use tally::Tally;

use crate::chance::Chance;
use crate::memory::{forget_peak, peak_kib};
use crate::support::{Dev, Sidecar, send};

/// Callers that ask at once, and the keys that they share.
const CALLERS: usize = 12;
const KEYS: usize = 4;

/// How long a statement may run in this sidecar, and how long a request waits for a connection.
const STATEMENT_TIMEOUT_MS: i64 = 2_000;
const ACQUIRE_TIMEOUT_MS: i64 = 1_000;

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A sidecar that reaches every database through a link, without limits on its callers' rate.
fn sidecar(dev: &Dev, links: &Links, policy: &std::path::Path) -> Sidecar {
    Sidecar::start(dev, |config| {
        links.put_into(config);
        config["policy"]["path"] = policy.display().to_string().into();
        for store in ["postgres", "mysql", "mongodb"] {
            let section = config["stores"][store].as_table_mut().unwrap();
            section.insert("statement_timeout_ms".into(), STATEMENT_TIMEOUT_MS.into());
            let pool = format!("acquire_timeout_ms = {ACQUIRE_TIMEOUT_MS}");
            section.insert("pool".into(), pool.parse::<toml::Table>().unwrap().into());
        }
        for store in ["postgres", "mysql"] {
            let section = config["stores"][store].as_table_mut().unwrap();
            let idle = "idle_timeout_ms = 2000".parse::<toml::Table>().unwrap();
            section.insert("transactions".into(), idle.into());
        }
        let redis = config["stores"]["redis"].as_table_mut().unwrap();
        redis.insert("command_timeout_ms".into(), STATEMENT_TIMEOUT_MS.into());
    })
}

/// The example policy without its limit on the application's rate.
fn policy(folder: &std::path::Path) -> std::path::PathBuf {
    let path = folder.join("policy.toml");
    let text = std::fs::read_to_string("policies/default.toml").unwrap();
    let free = text.replace("rate_limit = \"app\"", "");
    assert_ne!(text, free);
    std::fs::write(&path, free).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_links_do_no_reply_strays_and_no_write_is_lost() {
    let seconds = setting("CHAOS_SECONDS", 6);
    let seed = setting("CHAOS_SEED", u64::from(std::process::id()));
    println!("CHAOS_SEED={seed} CHAOS_SECONDS={seconds}");
    let dev = Dev::start();
    let links = Links::before(&dev).await;
    let folder = tempfile::tempdir().unwrap();
    let sidecar = sidecar(&dev, &links, &policy(folder.path()));
    sidecar.ready().await;
    let direct = settled::Direct::to(&dev).await;
    let keys: Vec<_> = (0..KEYS).map(|n| dev.new_key(&format!("k{n}"))).collect();
    let tally = Arc::new(Tally::default());
    let ledger = Arc::new(Ledger::default());
    for key in &keys {
        // It is known from here on, also while PostgreSQL is away.
        let headers = [("authorization", format!("Bearer {key}"))];
        let url = format!("{}/v1/whoami", sidecar.http);
        let reply = send(hyper::Method::GET, &url, &headers, None).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }

    let until = Instant::now() + Duration::from_secs(seconds);
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..CALLERS {
        let caller = Caller::new(
            number,
            &sidecar.http,
            &keys[number % KEYS],
            Arc::clone(&tally),
            Arc::clone(&ledger),
        );
        let chance = Chance::seeded(seed.wrapping_mul(1_000).wrapping_add(number as u64));
        callers.spawn(caller.ask_until(until, chance));
    }
    let memory = watch_memory(&sidecar, until);
    let faulting = links.torment(until, seed, &sidecar.http, &keys[0], &tally);
    let (mut peaks, ()) = tokio::join!(memory, faulting);
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }

    settled::everything(&sidecar, &direct, &tally).await;
    direct.compare(&ledger, &tally).await;
    peaks.push(peak_kib(&sidecar));
    tally.report(&peaks);
    let wrong = tally.wrong();
    assert!(wrong.is_empty(), "CHAOS_SEED={seed}:\n{}", wrong.join("\n"));
    assert!(tally.slowest() < DEADLINE);
}

/// The peak of each third of the run, in KiB.
async fn watch_memory(sidecar: &Sidecar, until: Instant) -> Vec<u64> {
    let third = until.saturating_duration_since(Instant::now()) / 3;
    let mut peaks = Vec::new();
    for _ in 0..3 {
        forget_peak(sidecar);
        tokio::time::sleep(third).await;
        peaks.push(peak_kib(sidecar));
    }
    peaks
}
