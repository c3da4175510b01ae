//! What one table of closed loops does not show: requests at a constant rate, many connections, pipelines, long streams.

use std::process::Stdio;
use std::time::Instant;

use bulkhead::operation::Store;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::environment::Environment;
use crate::load::{self, Round};
use crate::questions::{PIPELINE, pipelines};
use crate::rounds::{Peers, Target, Turns};
use crate::seed::{self, STREAM_SQL};
use crate::settings::Settings;
use crate::statistics::Spread;
use crate::{Fallible, callers};

/// Connections of the open loop and of the pipelines.
const OPEN_CALLERS: usize = 64;
const PIPELINE_CALLERS: usize = 8;
/// How far the number of connections goes, doubling from one.
const SWEEP_MAX: usize = 1_024;
const SWEPT: [Store; 2] = [Store::Postgres, Store::Redis];

#[derive(Default)]
pub struct Extras {
    /// Store, target, requests a second that were due, and what was seen.
    pub open: Vec<(Store, Target, f64, Round)>,
    pub sweep: Turns,
    /// The sidecar with TLS on its listener, and with a large policy, beside itself.
    pub variants: Turns,
    /// Commands a second in pipelines, and one by one, at the same number of connections.
    pub pipeline: Option<(Spread, Spread)>,
    pub streams: Option<Streams>,
}

/// Rows a second.
pub struct Streams {
    pub rows: u64,
    pub bulkhead: Spread,
    /// `psql`'s `COPY … TO STDOUT` into a pipe, where `psql` is installed.
    pub psql: Option<Spread>,
    /// Resident memory of the sidecar before, and at most during, in MB.
    pub resident_mb: (f64, f64),
}

pub async fn measure(settings: &Settings, peers: &Peers<'_>, turns: &Turns) -> Fallible<Extras> {
    let mut extras = Extras::default();
    for store in &settings.stores {
        open_loop(settings, peers, (*store, turns), &mut extras.open).await?;
    }
    for store in settings.stores.iter().filter(|store| SWEPT.contains(store)) {
        let mut count = 1;
        while count <= SWEEP_MAX {
            let at = (*store, count);
            let swept = &mut extras.sweep;
            peers
                .take_turns(&[Target::Bulkhead], at, settings.sweep, swept)
                .await?;
            count *= 2;
        }
        for count in [1, 32] {
            let (at, variants) = ((*store, count), &mut extras.variants);
            peers
                .take_turns(&Target::VARIANTS, at, settings.pace, variants)
                .await?;
        }
    }
    if settings.stores.contains(&Store::Redis) && peers.bulkhead.is_some() {
        extras.pipeline = Some(pipeline(settings, peers).await?);
    }
    if settings.stores.contains(&Store::Postgres) && peers.bulkhead.is_some() {
        extras.streams = Some(streams(settings, peers).await?);
    }
    Ok(extras)
}

/// At half of the best that the sidecar did in the rounds, everybody at the same rate.
async fn open_loop(
    settings: &Settings,
    peers: &Peers<'_>,
    (store, turns): (Store, &Turns),
    open: &mut Vec<(Store, Target, f64, Round)>,
) -> Fallible {
    let medians = settings.callers.iter().filter_map(|count| {
        let seen = turns.get(&(store, *count, Target::Bulkhead))?;
        Some(Spread::of(seen.iter().map(|turn| turn.round.per_second))?.median)
    });
    let best = medians.fold(0.0, f64::max);
    if best == 0.0 {
        return Ok(());
    }
    let rate = best / 2.0;
    eprintln!("gate: {store}, {rate:.0} requests/s at a constant rate");
    for target in [
        Target::Bare,
        Target::Pgbouncer,
        Target::Webdis,
        Target::Bulkhead,
    ] {
        if !settings.targets.contains(&target) || !peers.serves(target, store, OPEN_CALLERS) {
            continue;
        }
        let callers = peers.callers(target, store, OPEN_CALLERS).await?;
        let (callers, _) = load::drive(callers, settings.pace.warm_up).await?;
        let round = load::drive_openly(callers, rate, settings.open).await?;
        open.push((store, target, rate, round));
    }
    Ok(())
}

/// Commands a second in pipelines of [`PIPELINE`], and one by one.
async fn pipeline(settings: &Settings, peers: &Peers<'_>) -> Fallible<(Spread, Spread)> {
    eprintln!("gate: pipelines of {PIPELINE}");
    let address = peers.bulkhead.as_ref().ok_or("it was not started")?.address;
    let asks = pipelines(&peers.environment.ready.keys.app);
    let mut many = callers::http(address, asks, PIPELINE_CALLERS, None).await?;
    let mut one = peers
        .callers(Target::Bulkhead, Store::Redis, PIPELINE_CALLERS)
        .await?;
    let (mut in_pipelines, mut one_by_one) = (Vec::new(), Vec::new());
    for _ in 0..settings.pace.rounds {
        let (back, turn) = peers
            .turn(Target::Bulkhead, many, settings.pace.round)
            .await?;
        in_pipelines.push(turn.round.per_second * f64::from(PIPELINE));
        many = back;
        let (back, turn) = peers
            .turn(Target::Bulkhead, one, settings.pace.round)
            .await?;
        one_by_one.push(turn.round.per_second);
        one = back;
    }
    let spreads = Spread::of(in_pipelines).zip(Spread::of(one_by_one));
    spreads.ok_or_else(|| "no rounds".into())
}

async fn streams(settings: &Settings, peers: &Peers<'_>) -> Fallible<Streams> {
    let (environment, rows) = (peers.environment, settings.stream_rows);
    eprintln!("gate: streams of {rows} rows");
    seed::rows(environment, rows).await?;
    let process = peers.bulkhead.as_ref().ok_or("it was not started")?;
    let before = process.resident()?.now_mb;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut most: f64 = before;
    // The first shows that it works and warms the server's cache.
    for round in 0..=settings.streams {
        let began = Instant::now();
        most = most.max(stream(peers, rows).await?);
        let took = began.elapsed().as_secs_f64();
        let copied = copy(environment).await?;
        if round > 0 {
            ours.push(rows as f64 / took);
            theirs.extend(copied.map(|took| rows as f64 / took));
        }
    }
    Ok(Streams {
        rows,
        bulkhead: Spread::of(ours).ok_or("no rounds")?,
        psql: Spread::of(theirs),
        resident_mb: (before, most),
    })
}

/// Reads a stream to its last line, and returns the most that the sidecar had resident at the ends of its parts.
async fn stream(peers: &Peers<'_>, rows: u64) -> Fallible<f64> {
    let process = peers.bulkhead.as_ref().ok_or("it was not started")?;
    let mut connection = TcpStream::connect(process.address).await?;
    let body = serde_json::json!({ "sql": STREAM_SQL }).to_string();
    let request = format!(
        "POST /v1/postgres/query HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nAccept: application/x-ndjson\r\nContent-Length: {}\r\n\r\n{body}",
        peers.environment.ready.keys.admin,
        body.len()
    );
    connection.write_all(request.as_bytes()).await?;
    let mut most: f64 = 0.0;
    let mut part = 0;
    let tail = drain(&mut connection, |read| {
        if read / (32 << 20) > part {
            part = read / (32 << 20);
            most = most.max(process.resident().map_or(0.0, |resident| resident.now_mb));
        }
    });
    let tail = tail.await?;
    let text = String::from_utf8_lossy(&tail);
    let is_whole =
        text.contains("\"complete\":true") && text.contains(&format!("\"rows_affected\":{rows}"));
    is_whole
        .then_some(most)
        .ok_or_else(|| format!("a stream was not whole: {text}").into())
}

/// Seconds for `psql` to copy the same rows into a pipe; `None` where there is no `psql`.
async fn copy(environment: &Environment) -> Fallible<Option<f64>> {
    let endpoint = environment.ready.endpoint(Store::Postgres)?;
    let target = format!(
        "host={} port={} user={} dbname={} sslmode=verify-ca sslrootcert={}",
        endpoint.host,
        endpoint.port,
        endpoint.user,
        endpoint.database,
        environment.ready.ca.display()
    );
    let began = Instant::now();
    let child = tokio::process::Command::new("psql")
        .args(["--no-psqlrc", "--quiet", &target, "--command"])
        .arg(format!("COPY ({STREAM_SQL}) TO STDOUT"))
        .env("PGPASSWORD", endpoint.password)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("gate: psql is not installed, and left out");
        return Ok(None);
    };
    let mut output = child.stdout.take().ok_or("psql has no output")?;
    drain(&mut output, |_| ()).await?;
    let status = child.wait().await?;
    status
        .success()
        .then(|| Some(began.elapsed().as_secs_f64()))
        .ok_or_else(|| "psql failed".into())
}

/// Reads to the end, and returns the last bytes.
async fn drain(
    from: &mut (impl AsyncRead + Unpin),
    mut each: impl FnMut(usize),
) -> Fallible<Vec<u8>> {
    const TAIL: usize = 512;
    let mut buffer = vec![0; 256 * 1024];
    let (mut tail, mut total) = (Vec::new(), 0);
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(tail);
        }
        total += read;
        each(total);
        tail.extend_from_slice(
            buffer
                .get(read.saturating_sub(TAIL)..read)
                .unwrap_or_default(),
        );
        tail.drain(..tail.len().saturating_sub(TAIL));
    }
}

/// Opens files enough for every connection of the sweep.
pub fn raise_open_files() -> Fallible {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    Ok(setrlimit(Resource::Nofile, files)?)
}
