//! Whether each store answers: probed in the background, corrected by what requests see.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use crate::authenticate::tokens::KeyState;
use crate::lock::Unpoisoned as _;
use crate::operation::Store;

/// Pause between two probes of a store.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// A probe that takes longer counts as down.
pub const PROBE_TIMEOUT: Duration = Duration::from_millis(1500);

/// So many probes in a row without an answer in time, and a store is not asked any more until it answers one.
const UNANSWERED_MAX: u8 = 2;

/// What a status can be; 0, before the first probe, is not known yet.
const UP: u8 = 1;
const DOWN: u8 = 2;

/// What the last probe of one store said.
#[derive(Debug, Default)]
struct State {
    configured: AtomicBool,
    status: AtomicU8,
    ever_up: AtomicBool,
    /// Probes in a row that were not answered in time.
    unanswered: AtomicU8,
    latency_us: AtomicU64,
    /// `None` where nobody looks.
    grants: Mutex<Option<Grants>>,
    /// Whether nothing may be sent to it for its grants' sake.
    held_back: AtomicBool,
}

impl State {
    fn grants(&self) -> Option<Grants> {
        *self.grants.lock().unpoisoned()
    }

    fn report(&self) -> Value {
        let latency_ms = self.latency_us.load(Ordering::Relaxed) as f64 / 1000.0;
        let mut report = match self.status.load(Ordering::Relaxed) {
            UP if latency_ms > 0.0 => json!({"status": "up", "latency_ms": latency_ms}),
            UP => json!({"status": "up"}),
            DOWN => json!({"status": "down"}),
            _ => json!({"status": "unknown"}),
        };
        if let (Some(grants), Some(report)) = (self.grants(), report.as_object_mut()) {
            let text = match grants {
                Grants::Unknown => "unknown".to_owned(),
                Grants::Clean => "clean".to_owned(),
                Grants::Drift(differences) => format!("{differences} differences"),
            };
            report.insert("native_grants".into(), text.into());
            if self.held_back.load(Ordering::Relaxed) {
                report.insert("held_back".into(), true.into());
            }
        }
        report
    }
}

/// What is known of a store's own grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grants {
    /// Not compared, or it could not be.
    Unknown,
    Clean,
    /// So many differences.
    Drift(usize),
}

/// A policy that was not taken into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// `file:line` of its faults.
    pub places: Vec<String>,
}

/// The health of every store and of the sidecar.
#[derive(Debug, Default)]
pub struct Health {
    stores: [State; 4],
    /// Whether the sidecar's own connection (keys, audit) answers, and whether it ever did.
    system: State,
    /// Set until the data listener takes connections, where it waits with that.
    is_deaf: AtomicBool,
    /// Set before `draining`: work is still done, but nobody should send more.
    leaving: AtomicBool,
    draining: AtomicBool,
    in_flight: AtomicUsize,
    idle: Notify,
    rejected: Mutex<Option<Rejected>>,
    /// What is known of the keys of the tokens' issuer; `None` where tokens are not honoured.
    token_keys: Mutex<Option<KeyState>>,
}

/// A request under way, counted until this is dropped.
pub struct InFlight<'h>(&'h Health);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A reply that is still on its way when its request has ended, counted like a request under way.
#[derive(Debug)]
pub struct Lingering(Arc<Health>);

impl Drop for Lingering {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Health {
    pub fn configure(&self, store: Store) {
        self.of(store).configured.store(true, Ordering::Relaxed);
    }

    /// Notes that `store` answered a probe after `latency`.
    pub fn up(&self, store: Store, latency: Duration) {
        let state = self.of(store);
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        state.latency_us.store(micros, Ordering::Relaxed);
        state.ever_up.store(true, Ordering::Relaxed);
        state.status.store(UP, Ordering::Relaxed);
    }

    /// Notes that `store` has answered anything at all.
    pub fn answered(&self, store: Store) {
        let unanswered = &self.of(store).unanswered;
        if unanswered.load(Ordering::Relaxed) > 0 {
            unanswered.store(0, Ordering::Relaxed);
        }
    }

    /// Notes that `store` has let a probe wait in vain.
    pub fn unanswered(&self, store: Store) {
        let unanswered = &self.of(store).unanswered;
        let more = unanswered.load(Ordering::Relaxed).saturating_add(1);
        unanswered.store(more, Ordering::Relaxed);
    }

    /// Whether a request would wait in vain, as the last probes did.
    pub fn is_silent(&self, store: Store) -> bool {
        self.of(store).unanswered.load(Ordering::Relaxed) >= UNANSWERED_MAX
    }

    /// Notes whether the sidecar's own connection answered a probe; says whether that is news.
    pub fn system(&self, answered: bool) -> bool {
        if answered {
            self.system.ever_up.store(true, Ordering::Relaxed);
        }
        let status = if answered { UP } else { DOWN };
        self.system.status.swap(status, Ordering::Relaxed) != status
    }

    /// Notes how a store's own grants differ, and whether it is held back for it.
    pub fn set_grants(&self, store: Store, grants: Grants, held_back: bool) {
        let state = self.of(store);
        *state.grants.lock().unpoisoned() = Some(grants);
        state.held_back.store(held_back, Ordering::SeqCst);
    }

    /// What is known of a store's own grants; `None` where nobody looks.
    pub fn grants(&self, store: Store) -> Option<Grants> {
        self.of(store).grants()
    }

    /// Whether nothing may be sent to a store, since its own grants are not the policy's.
    pub fn is_held_back(&self, store: Store) -> bool {
        self.of(store).held_back.load(Ordering::Relaxed)
    }

    pub fn policy_accepted(&self) {
        *self.rejected.lock().unpoisoned() = None;
    }

    pub fn policy_refused(&self, rejected: Rejected) {
        *self.rejected.lock().unpoisoned() = Some(rejected);
    }

    /// The policy on disk that is not in force, if there is one.
    pub fn rejected(&self) -> Option<Rejected> {
        self.rejected.lock().unpoisoned().clone()
    }

    pub fn set_token_keys(&self, state: KeyState) {
        *self.token_keys.lock().unpoisoned() = Some(state);
    }

    pub fn down(&self, store: Store) {
        self.of(store).status.store(DOWN, Ordering::Relaxed);
    }

    /// Counts a request that was let in; `None` while draining, when no more are.
    pub fn enter(&self) -> Option<InFlight<'_>> {
        // Counted first and looked at second, so that a drain that begins in between waits for it.
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        let entered = InFlight(self);
        (!self.is_draining()).then_some(entered)
    }

    /// Counts a request that is let in although no new ones are.
    pub fn enter_draining(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight(self)
    }

    /// Counts a reply, for a drain to wait for; also while draining, since its request was let in.
    pub fn linger(self: &Arc<Self>) -> Lingering {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        Lingering(Arc::clone(self))
    }

    fn leave(&self) {
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 && self.is_draining() {
            self.idle.notify_waiters();
        }
    }

    /// Says that the sidecar will end, while it still does all that it is asked.
    pub fn announce_end(&self) {
        self.leaving.store(true, Ordering::SeqCst);
    }

    /// Whether the sidecar will end, or drains already.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst) || self.is_draining()
    }

    /// Lets no more requests in, and waits for those under way.
    pub async fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        loop {
            let idle = self.idle.notified();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Ready once every configured store has been reached, until draining. An outage later on does not
    /// make the sidecar unready: the other stores still work, and a pod taken out of service would not help. A store
    /// that is held back does: what is unready then are grants, and a rollout must not go on past them.
    pub fn is_ready(&self) -> bool {
        !self.is_deaf.load(Ordering::SeqCst) && !self.is_leaving() && self.has_reached_all()
    }

    /// Says whether callers' connections are not taken yet, since another sidecar serves until this one can.
    pub fn set_deaf(&self, is_deaf: bool) {
        self.is_deaf.store(is_deaf, Ordering::SeqCst);
    }

    /// Whether every configured store has been reached, and the sidecar's own connection.
    pub fn has_reached_all(&self) -> bool {
        self.system.ever_up.load(Ordering::Relaxed)
            && self.configured().all(|store| {
                self.of(store).ever_up.load(Ordering::Relaxed) && !self.is_held_back(store)
            })
    }

    /// Whether every configured store is up and may be asked, and the sidecar's own connection is up.
    pub fn is_healthy(&self) -> bool {
        let is_up = |store| self.of(store).status.load(Ordering::Relaxed) == UP;
        self.system.status.load(Ordering::Relaxed) == UP
            && self
                .configured()
                .all(|store| is_up(store) && !self.is_held_back(store))
    }

    /// What works, and somebody should look at: a store whose grants are not known to be the policy's, a policy on
    /// disk that is not in force.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for store in self.configured() {
            match self.grants(store) {
                Some(Grants::Drift(_)) => {
                    warnings.push(format!("{store} grants other than the policy does"));
                }
                Some(Grants::Unknown) => {
                    warnings.push(format!("what {store} grants could not be compared"));
                }
                Some(Grants::Clean) | None => {}
            }
        }
        if self.rejected().is_some() {
            warnings.push("the policy on disk is refused; the one before is in force".to_owned());
        }
        match *self.token_keys.lock().unpoisoned() {
            Some(KeyState::Missing) => warnings.push(
                "the keys of the tokens' issuer are not known: no token is honoured".to_owned(),
            ),
            Some(KeyState::Old { .. }) => warnings.push(
                "the keys of the tokens' issuer cannot be read again: tokens are verified with those known before"
                    .to_owned(),
            ),
            Some(KeyState::Fresh { .. }) | None => {}
        }
        warnings
    }

    /// The pattern's aggregate: a member for each configured store. `status` is `ok`, `warning` (everything works, and
    /// `warnings` say what to look at), `degraded` or `draining`.
    pub fn report(&self) -> Map<String, Value> {
        let mut report = Map::new();
        let warnings = self.warnings();
        let status = match (self.is_leaving(), self.is_healthy()) {
            (true, _) => "draining",
            (false, true) if warnings.is_empty() => "ok",
            (false, true) => "warning",
            (false, false) => "degraded",
        };
        report.insert("status".into(), status.into());
        if !warnings.is_empty() {
            report.insert("warnings".into(), warnings.into());
        }
        report.insert("system".into(), self.system.report());
        for store in self.configured() {
            let entry = self.of(store).report();
            report.insert(store.as_str().into(), entry);
        }
        report
    }

    fn configured(&self) -> impl Iterator<Item = Store> {
        Store::ALL
            .into_iter()
            .filter(|store| self.of(*store).configured.load(Ordering::Relaxed))
    }

    fn of(&self, store: Store) -> &State {
        let [postgres, mysql, mongodb, redis] = &self.stores;
        match store {
            Store::Postgres => postgres,
            Store::Mysql => mysql,
            Store::Mongodb => mongodb,
            Store::Redis => redis,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn draining_lets_nobody_in_and_waits_for_who_is() {
        let health = Health::default();
        let under_way = health.enter().unwrap();
        let drained = std::pin::pin!(health.drain());
        let soon = tokio::time::timeout(Duration::from_millis(10), drained).await;
        assert!(soon.is_err());
        assert!(health.enter().is_none());
        drop(under_way);
        health.drain().await;
    }

    #[tokio::test]
    async fn readiness_waits_for_every_store_once_and_health_follows_each() {
        let health = Health::default();
        health.configure(Store::Postgres);
        health.configure(Store::Redis);
        assert!(!health.is_ready());
        assert!(health.system(true) && !health.system(true));
        health.up(Store::Postgres, Duration::from_millis(2));
        assert!(!health.is_ready());
        health.up(Store::Redis, Duration::from_millis(1));
        assert!(health.is_ready() && health.is_healthy());
        health.down(Store::Redis);
        assert!(health.is_ready() && !health.is_healthy());
        assert_eq!(
            Value::Object(health.report()),
            json!({"status": "degraded", "system": {"status": "up"}, "postgres": {"status": "up", "latency_ms": 2.0}, "redis": {"status": "down"}})
        );
        health.set_deaf(true);
        assert!(!health.is_ready() && health.has_reached_all());
        health.set_deaf(false);
        health.announce_end();
        assert!(!health.is_ready() && health.enter().is_some());
        health.drain().await;
        assert!(!health.is_ready() && health.enter().is_none());
    }

    #[test]
    fn a_store_is_silent_after_two_probes_in_vain_and_until_it_answers() {
        let health = Health::default();
        let store = Store::Mysql;
        for (answers, is_silent) in [
            (&[][..], false),
            (&[false], false),
            (&[false, true, false], false),
            (&[false, false], true),
            (&[false; 300], true),
            (&[false, false, true], false),
        ] {
            health.answered(store);
            for answered in answers {
                if *answered {
                    health.answered(store);
                } else {
                    health.unanswered(store);
                }
            }
            assert_eq!(health.is_silent(store), is_silent, "{answers:?}");
        }
    }

    /// What grants do to each of the three answers, by what is known and whether the store is held back for it.
    #[test]
    fn grants_show_in_health() {
        let health = Health::default();
        health.configure(Store::Mysql);
        health.system(true);
        health.up(Store::Mysql, Duration::from_millis(1));
        for (grants, held_back, status, is_healthy, is_ready) in [
            (Grants::Clean, false, "ok", true, true),
            (Grants::Drift(2), false, "warning", true, true),
            (Grants::Unknown, false, "warning", true, true),
            (Grants::Drift(2), true, "degraded", false, false),
            (Grants::Unknown, true, "degraded", false, false),
        ] {
            health.set_grants(Store::Mysql, grants, held_back);
            let report = health.report();
            let seen = (health.is_healthy(), health.is_ready());
            assert_eq!(report["status"], status, "{grants:?}");
            assert_eq!(seen, (is_healthy, is_ready), "{grants:?}");
            assert_eq!(
                report.contains_key("warnings"),
                status != "ok",
                "{grants:?}"
            );
        }
        health.set_grants(Store::Mysql, Grants::Clean, false);
        health.policy_refused(Rejected { places: Vec::new() });
        assert_eq!(health.report()["status"], "warning");
        assert!(health.is_healthy());
        health.policy_accepted();
        assert_eq!(health.report()["status"], "ok");
    }

    #[test]
    fn the_keys_of_tokens_show_in_health() {
        let health = Health::default();
        health.system(true);
        for (state, warning) in [
            (KeyState::Missing, Some("no token is honoured")),
            (KeyState::Old { keys: 1 }, Some("cannot be read again")),
            (KeyState::Fresh { keys: 1 }, None),
        ] {
            health.set_token_keys(state);
            let report = health.report();
            let told = report.get("warnings").map(|told| told[0].to_string());
            assert_eq!(told.is_some(), warning.is_some(), "{state:?}");
            let has = |words| told.as_ref().is_some_and(|told| told.contains(words));
            assert!(warning.is_none_or(has), "{told:?}");
        }
    }
}
