//! The metrics of DESIGN §6. Labels come from closed sets.
//!
//! Series that a request touches are looked up once, at start, so that counting costs no map and no lock.

mod grants;
mod limiter;
mod listeners;
mod tls;

use std::sync::Mutex;
use std::time::Duration;

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType, Summary};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::authenticate::tokens::KeyState;
use crate::error::Code;
use crate::execute::pool::PoolState;
use crate::lock::Unpoisoned as _;
use crate::operation::Store;
use crate::record::health::Grants;
use crate::record::seal::SealCounts;
use grants::NativeGrants;
use limiter::LimiterMetrics;
pub use listeners::ListenerCounts;
use listeners::Listeners;

/// Upper bounds in seconds: from a cached single-row read to the longest statement time-out.
const QUERY_BUCKETS: [f64; 14] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

/// Upper bounds in seconds for what the gate itself adds.
const OVERHEAD_BUCKETS: [f64; 9] = [
    0.000_000_5,
    0.000_001,
    0.000_002_5,
    0.000_005,
    0.000_01,
    0.000_05,
    0.000_25,
    0.001,
    0.01,
];

/// What a statement fails with that reached its store, or should have.
const STORE_ERRORS: [Code; 5] = [
    Code::StoreError,
    Code::StoreConflict,
    Code::StoreUnavailable,
    Code::StoreTimeout,
    Code::PoolExhausted,
];

/// A stage of the pipeline whose cost is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Authenticate,
    Classify,
    Decide,
    Admit,
}

impl Stage {
    const ALL: [Self; 4] = [
        Self::Authenticate,
        Self::Classify,
        Self::Decide,
        Self::Admit,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Authenticate => "authenticate",
            Self::Classify => "classify",
            Self::Decide => "decide",
            Self::Admit => "admit",
        }
    }
}

/// Series resolved once for each store.
struct PerStore {
    query_seconds: Histogram,
    ok: IntCounter,
    allowed: IntCounter,
    up: IntGauge,
}

/// Every metric of the sidecar, in one registry.
pub struct Metrics {
    registry: Registry,
    per_store: [PerStore; 4],
    overhead: [Histogram; 4],
    requests: IntCounterVec,
    decisions: IntCounterVec,
    errors: IntCounterVec,
    auth: IntCounterVec,
    auth_ok: IntCounter,
    pub limiter: LimiterMetrics,
    pools: Pools,
    transactions: IntGaugeVec,
    pub audit_queued: IntGauge,
    pub audit_written: IntCounter,
    pub audit_spooled: IntGauge,
    pub audit_spool_bytes: IntGauge,
    pub audit_failures: IntCounter,
    pub seals: SealCounts,
    policy_info: IntGaugeVec,
    policy_reloads: IntCounterVec,
    pub tls: tls::TlsMetrics,
    native_grants: NativeGrants,
    listeners: Listeners,
    /// Without a series where tokens are not honoured.
    token_keys: IntGaugeVec,
}

impl Metrics {
    pub fn new() -> Result<Self, prometheus::Error> {
        let make = Maker(Registry::new());
        make.process()?;
        let query = make.histograms(
            "database_query_duration_seconds",
            "Time from sending a statement to the end of its result.",
            "database",
            &QUERY_BUCKETS,
        )?;
        let overhead = make.histograms(
            "bulkhead_overhead_seconds",
            "Time a request spends in a stage of the gate.",
            "stage",
            &OVERHEAD_BUCKETS,
        )?;
        let requests = make.counters(
            "bulkhead_requests_total",
            "Requests by store and outcome code (`ok` or an error code).",
            &["store", "code"],
        )?;
        let decisions = make.counters(
            "bulkhead_policy_decisions_total",
            "Decisions by store, outcome and code.",
            &["store", "decision", "code"],
        )?;
        let up = make.gauges(
            "database_up",
            "Whether the last probe reached the database.",
        )?;
        let auth = make.counters(
            "bulkhead_auth_total",
            "Authentications by outcome (`ok` or an error code).",
            &["outcome"],
        )?;
        let per_store = Store::ALL.map(|store| {
            let name = store.as_str();
            PerStore {
                query_seconds: query.with_label_values(&[name]),
                ok: requests.with_label_values(&[name, "ok"]),
                allowed: decisions.with_label_values(&[name, "allow", "ok"]),
                up: up.with_label_values(&[name]),
            }
        });
        Ok(Self {
            per_store,
            overhead: Stage::ALL.map(|stage| overhead.with_label_values(&[stage.as_str()])),
            auth_ok: auth.with_label_values(&["ok"]),
            requests,
            decisions,
            auth,
            errors: errors(&make)?,
            limiter: LimiterMetrics::new(&make)?,
            pools: Pools::new(&make)?,
            transactions: make.gauges(
                "bulkhead_transactions_open",
                "Transactions that callers hold open between requests.",
            )?,
            audit_queued: make.gauge("bulkhead_audit_queued", "Audit records that wait for the disk.")?,
            audit_written: make.counter("bulkhead_audit_written_total", "Audit rows written.")?,
            audit_spooled: make.gauge("bulkhead_audit_spooled", "Audit records on disk, on their way to PostgreSQL.")?,
            audit_spool_bytes: make.gauge("bulkhead_audit_spool_bytes", "Bytes of these.")?,
            audit_failures: make.counter(
                "bulkhead_audit_failures_total",
                "Audit records that could not be kept: what they were about was refused, or they were dropped, as `when_full` says.",
            )?,
            seals: seals(&make)?,
            policy_info: make.gauges_by(
                "bulkhead_policy_info",
                "The policy in force.",
                &["version", "digest"],
            )?,
            policy_reloads: policy_reloads(&make)?,
            tls: tls::TlsMetrics::new(&make)?,
            native_grants: NativeGrants::new(&make)?,
            listeners: Listeners::new(&make)?,
            token_keys: make.gauges_by(
                "bulkhead_token_issuer_keys",
                "Keys of the tokens' issuer that tokens are verified with, by whether they could be read when last asked for (`fresh`, `old`); 0: no token is honoured.",
                &["state"],
            )?,
            registry: make.build_info()?,
        })
    }

    /// The text exposition format, version 0.0.4.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut families = self.registry.gather();
        families.push(self.pools.wait_seconds());
        TextEncoder::new().encode_to_string(&families)
    }

    pub fn observe_stage(&self, stage: Stage, took: Duration) {
        if let Some(histogram) = self.overhead.get(stage as usize) {
            histogram.observe(took.as_secs_f64());
        }
    }

    pub fn observe_query(&self, store: Store, took: Duration) {
        self.of(store, |series| {
            series.query_seconds.observe(took.as_secs_f64())
        });
    }

    /// Counts a finished request; `None` is success. `store` is absent where none was asked for.
    pub fn count_request(&self, store: Option<Store>, code: Option<Code>) {
        match (store, code) {
            (Some(store), None) => self.of(store, |series| series.ok.inc()),
            (store, code) => {
                let labels = [
                    store.map_or("none", Store::as_str),
                    code.map_or("ok", Code::as_str),
                ];
                self.requests.with_label_values(&labels).inc();
            }
        }
    }

    pub fn count_decision(&self, store: Store, refused: Option<Code>) {
        match refused {
            None => self.of(store, |series| series.allowed.inc()),
            Some(code) => self
                .decisions
                .with_label_values(&[store.as_str(), "deny", code.as_str()])
                .inc(),
        }
    }

    /// Counts what shadow mode let through: `code` is what it would have been refused with, `None` where its columns
    /// or rows would have been restricted.
    pub fn count_shadow(&self, store: Store, code: Option<Code>) {
        let labels = [store.as_str(), "shadow", code.map_or("ok", Code::as_str)];
        self.decisions.with_label_values(&labels).inc();
    }

    pub fn count_auth(&self, refused: Option<Code>) {
        match refused {
            None => self.auth_ok.inc(),
            Some(code) => self.auth.with_label_values(&[code.as_str()]).inc(),
        }
    }

    pub fn count_store_error(&self, store: Store, code: Code) {
        self.errors
            .with_label_values(&[store.as_str(), code.as_str()])
            .inc();
    }

    pub fn set_up(&self, store: Store, up: bool) {
        self.of(store, |series| series.up.set(i64::from(up)));
    }

    pub fn set_pool(&self, store: Store, pool: PoolState) {
        self.pools.set(store, pool);
    }

    pub fn set_transactions(&self, store: Store, open: usize) {
        let open = i64::try_from(open).unwrap_or(i64::MAX);
        self.transactions
            .with_label_values(&[store.as_str()])
            .set(open);
    }

    pub fn set_grants(&self, store: Store, grants: Grants, held_back: bool) {
        self.native_grants.set(store, grants, held_back);
    }

    /// What the connections of a listener (`data`, `admin`) are counted by.
    pub fn listener(&self, listener: &str) -> ListenerCounts {
        self.listeners.of(listener)
    }

    pub fn set_token_keys(&self, state: KeyState) {
        let is_old = matches!(state, KeyState::Old { .. });
        for (label, counts) in [("fresh", !is_old), ("old", is_old)] {
            let keys = if counts { state.keys() } else { 0 };
            let keys = i64::try_from(keys).unwrap_or(i64::MAX);
            self.token_keys.with_label_values(&[label]).set(keys);
        }
    }

    pub fn count_reload(&self, accepted: bool) {
        let outcome = if accepted { "accepted" } else { "refused" };
        self.policy_reloads.with_label_values(&[outcome]).inc();
    }

    /// Replaces the policy in force.
    pub fn set_policy(&self, version: &str, digest: &str) {
        self.policy_info.reset();
        self.policy_info
            .with_label_values(&[version, digest])
            .set(1);
    }

    fn of(&self, store: Store, count: impl FnOnce(&PerStore)) {
        if let Some(series) = self.per_store.get(store as usize) {
            count(series);
        }
    }
}

// A counter is there before its first event: from none to one is a rise that an alert would miss.

fn errors(make: &Maker) -> Made<IntCounterVec> {
    let counters = make.counters(
        "database_errors_total",
        "Statements that failed, by kind (an error code).",
        &["database", "kind"],
    )?;
    for store in Store::ALL {
        for code in STORE_ERRORS {
            counters.with_label_values(&[store.as_str(), code.as_str()]);
        }
    }
    Ok(counters)
}

fn seals(make: &Maker) -> Result<SealCounts, prometheus::Error> {
    Ok(SealCounts {
        sealed: make.counter(
            "bulkhead_audit_seals_total",
            "Seals that this sidecar wrote.",
        )?,
        failures: make.counter(
            "bulkhead_audit_seal_failures_total",
            "Rounds in which the audit trail could not be sealed.",
        )?,
        export_failures: make.counter(
            "bulkhead_audit_seal_export_failures_total",
            "Rounds in which seals could not be appended to `seals_file`.",
        )?,
    })
}

fn policy_reloads(make: &Maker) -> Made<IntCounterVec> {
    let counters = make.counters(
        "bulkhead_policy_reloads_total",
        "Policy loads by outcome.",
        &["outcome"],
    )?;
    for outcome in ["accepted", "refused"] {
        counters.with_label_values(&[outcome]);
    }
    Ok(counters)
}

/// What the pools tell, by database.
struct Pools {
    size: IntGaugeVec,
    in_use: IntGaugeVec,
    idle: IntGaugeVec,
    waiting: IntGaugeVec,
    max: IntGaugeVec,
    /// How many callers waited, and how many seconds altogether.
    waits: [Mutex<(u64, f64)>; 4],
}

impl Pools {
    fn new(make: &Maker) -> Made<Self> {
        let gauge =
            |name: &str, help| make.gauges(&format!("database_connection_pool_{name}"), help);
        Ok(Self {
            size: gauge("size", "Open connections.")?,
            in_use: gauge("in_use", "Connections in use.")?,
            idle: gauge("idle", "Connections at rest.")?,
            waiting: gauge("waiting", "Callers waiting for a connection.")?,
            max: gauge("max", "The pool's upper bound.")?,
            waits: Default::default(),
        })
    }

    fn set(&self, store: Store, pool: PoolState) {
        let label = [store.as_str()];
        for (gauge, value) in [
            (&self.size, pool.size),
            (&self.in_use, pool.in_use),
            (&self.idle, pool.idle),
            (&self.waiting, pool.waiting),
            (&self.max, pool.max),
        ] {
            gauge.with_label_values(&label).set(i64::from(value));
        }
        if let Some(waits) = self.waits.get(store as usize) {
            let seconds = pool.waited_us_total as f64 / 1e6;
            *waits.lock().unpoisoned() = (pool.waits_total, seconds);
        }
    }

    /// The pools count their waits themselves; this makes a summary of what they told last.
    fn wait_seconds(&self) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name("database_connection_pool_wait_seconds".into());
        family.set_help("Time that callers waited for a connection.".into());
        family.set_field_type(MetricType::SUMMARY);
        for (store, waits) in Store::ALL.into_iter().zip(&self.waits) {
            let (count, seconds) = *waits.lock().unpoisoned();
            let mut summary = Summary::default();
            summary.set_sample_count(count);
            summary.set_sample_sum(seconds);
            let mut label = LabelPair::default();
            label.set_name("database".into());
            label.set_value(store.as_str().into());
            let mut metric = Metric::default();
            metric.set_label(vec![label]);
            metric.set_summary(summary);
            family.mut_metric().push(metric);
        }
        family
    }
}

/// Makes metrics and registers them.
struct Maker(Registry);

impl Maker {
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Made<IntCounterVec> {
        let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(counters.clone()))?;
        Ok(counters)
    }

    fn counter(&self, name: &str, help: &str) -> Made<IntCounter> {
        let counter = IntCounter::new(name, help)?;
        self.0.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    fn gauge(&self, name: &str, help: &str) -> Made<IntGauge> {
        let gauge = IntGauge::new(name, help)?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn gauges(&self, name: &str, help: &str) -> Made<IntGaugeVec> {
        self.gauges_by(name, help, &["database"])
    }

    fn gauges_by(&self, name: &str, help: &str, labels: &[&str]) -> Made<IntGaugeVec> {
        let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(gauges.clone()))?;
        Ok(gauges)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        label: &str,
        buckets: &[f64],
    ) -> Made<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let histograms = HistogramVec::new(options, &[label])?;
        self.0.register(Box::new(histograms.clone()))?;
        Ok(histograms)
    }

    fn process(&self) -> Made<()> {
        let collector = prometheus::process_collector::ProcessCollector::for_self();
        self.0.register(Box::new(collector))
    }

    fn build_info(self) -> Made<Registry> {
        self.gauges_by("bulkhead_build_info", "The running build.", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        Ok(self.0)
    }
}

type Made<T> = Result<T, prometheus::Error>;
