//! How long the servers take to start, and what they take of memory: idle, with 64 connections, with 1,000 and a full
//! cache of statements.

use bulkhead::operation::Store;
use serde_json::json;

use crate::environment::Environment;
use crate::http::{Exchange, HttpClient};
use crate::process::Launch;
use crate::questions::{exchange, key, route, text};
use crate::settings::Settings;
use crate::sidecar::{self, Variant};
use crate::statistics::Spread;
use crate::{Fallible, bare};

const FEW: usize = 64;
const MANY: usize = 1_000;

pub struct Footprint {
    /// From the process' start to the first row served, in milliseconds.
    pub start_ms: Option<Spread>,
    pub idle_mb: f64,
    pub few_mb: f64,
    pub many_mb: f64,
    pub peak_mb: f64,
    /// Of the program's file.
    pub binary_mb: f64,
}

/// The bare handler's and the sidecar's.
pub async fn measure(settings: &Settings, environment: &Environment) -> Fallible<[Footprint; 2]> {
    eprintln!("gate: start and memory");
    let bare = bare::prepare(settings, environment)?;
    let bulkhead = sidecar::prepare(settings, environment, Variant::Plain)?;
    Ok([
        one(settings, environment, &bare).await?,
        one(settings, environment, &bulkhead).await?,
    ])
}

async fn one(
    settings: &Settings,
    environment: &Environment,
    launch: &Launch,
) -> Fallible<Footprint> {
    let key = &environment.ready.keys.app;
    let first = exchange(Store::Postgres, key);
    let mut start_ms = Vec::with_capacity(settings.starts);
    let process = loop {
        let (process, took) = launch.start(&first).await?;
        start_ms.push(took.as_secs_f64() * 1e3);
        if start_ms.len() == settings.starts {
            break process;
        }
        process.stop().await?;
    };
    tokio::time::sleep(settings.idle).await;
    let idle_mb = process.resident()?.now_mb;
    let mut clients = Vec::new();
    connect(&mut clients, FEW, launch, &first).await?;
    let few_mb = process.resident()?.now_mb;
    connect(&mut clients, MANY, launch, &first).await?;
    for number in 0..settings.statements {
        let at = number % clients.len();
        let client = clients.get_mut(at).ok_or("no client")?;
        client.ask(&another(key, number)).await?;
    }
    let resident = process.resident()?;
    process.stop().await?;
    Ok(Footprint {
        start_ms: Spread::of(start_ms),
        idle_mb,
        few_mb,
        many_mb: resident.now_mb,
        peak_mb: resident.peak_mb,
        binary_mb: std::fs::metadata(&launch.program)?.len() as f64 / 1e6,
    })
}

/// Opens connections until there are so many, each with a request that was answered.
async fn connect(
    clients: &mut Vec<HttpClient>,
    count: usize,
    launch: &Launch,
    first: &Exchange,
) -> Fallible {
    while clients.len() < count {
        let mut client = HttpClient::open(launch.address, None).await?;
        client.ask(first).await?;
        clients.push(client);
    }
    Ok(())
}

/// The question in other words, so that no cache knows it.
fn another(api_key: &str, number: usize) -> Exchange {
    let sql = format!(
        "SELECT key, description FROM system_config WHERE key = $1 AND 'this is another statement' <> 'statement {number}'"
    );
    let body = json!({"sql": sql, "params": [key(0)]});
    Exchange::post(route(Store::Postgres), api_key, &body, text(0))
}
