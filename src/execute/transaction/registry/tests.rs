use super::*;
use crate::execute::transaction::Fate;

const LIMITS: Limits = Limits {
    idle_ms: 100,
    lifetime_ms: 1_000,
};

fn key(name: &str) -> Arc<str> {
    Arc::from(name)
}

fn id() -> TransactionId {
    TransactionId::random().unwrap()
}

fn with_one(now: Instant) -> (Registry<&'static str>, TransactionId) {
    let mut registry = Registry::new(Caps {
        total: 3,
        per_key: 2,
    });
    let id = id();
    registry.reserve(id, &key("a"), LIMITS, now).unwrap();
    registry.check_in(id, "connection", now).unwrap();
    (registry, id)
}

fn after(now: Instant, ms: u64) -> Instant {
    now + Duration::from_millis(ms)
}

#[test]
fn only_the_key_that_opened_it_goes_on_with_it() {
    let now = Instant::now();
    let (mut registry, one) = with_one(now);
    assert_eq!(registry.check_out(one, "b"), Err(Refusal::NotFound));
    assert_eq!(registry.check_out(id(), "a"), Err(Refusal::NotFound));
    let ends_at = after(now, 1_000);
    assert_eq!(registry.check_out(one, "a"), Ok(("connection", ends_at)));
    assert_eq!(registry.check_out(one, "a"), Err(Refusal::Busy));
    assert_eq!(registry.check_out(one, "b"), Err(Refusal::NotFound));
    let ended = Ended::ByItsCaller(Fate::Committed);
    registry.end(one, ended, now);
    assert_eq!(registry.check_out(one, "a"), Err(Refusal::Ended(ended)));
    assert_eq!(registry.check_out(one, "b"), Err(Refusal::NotFound));
}

#[test]
fn keys_and_the_whole_are_bounded() {
    let now = Instant::now();
    let (mut registry, one) = with_one(now);
    let another = id();
    assert_eq!(registry.reserve(another, &key("a"), LIMITS, now), Ok(()));
    // A place is taken before its connection is.
    assert_eq!(
        registry.reserve(id(), &key("a"), LIMITS, now),
        Err(Full::Key)
    );
    assert_eq!(registry.reserve(id(), &key("b"), LIMITS, now), Ok(()));
    assert_eq!(
        registry.reserve(id(), &key("c"), LIMITS, now),
        Err(Full::Total)
    );
    assert_eq!(
        registry.reserve(one, &key("c"), LIMITS, now),
        Err(Full::Known)
    );
    registry.forget(another);
    assert_eq!(registry.reserve(id(), &key("a"), LIMITS, now), Ok(()));
    registry.end(one, Ended::CutOff, now);
    assert_eq!(
        registry.reserve(one, &key("a"), LIMITS, now),
        Err(Full::Known)
    );
    assert_eq!(registry.reserve(id(), &key("a"), LIMITS, now), Ok(()));
    assert_eq!(registry.open(), 3);
}

#[test]
fn an_idle_transaction_ends_in_time_and_one_in_use_does_not() {
    let now = Instant::now();
    let (mut registry, one) = with_one(now);
    assert!(registry.expire(after(now, 99)).is_empty());
    registry.check_out(one, "a").unwrap();
    assert!(registry.expire(after(now, 5_000)).is_empty());
    registry
        .check_in(one, "connection", after(now, 500))
        .unwrap();
    assert!(registry.expire(after(now, 599)).is_empty());
    assert_eq!(registry.expire(after(now, 600)), ["connection"]);
    assert_eq!(
        registry.check_out(one, "a"),
        Err(Refusal::Ended(Ended::IdleTooLong))
    );
}

#[test]
fn a_transaction_in_use_again_and_again_ends_too() {
    let now = Instant::now();
    let (mut registry, one) = with_one(now);
    registry.check_out(one, "a").unwrap();
    registry
        .check_in(one, "connection", after(now, 999))
        .unwrap();
    assert_eq!(registry.expire(after(now, 1_000)), ["connection"]);
    assert_eq!(
        registry.check_out(one, "a"),
        Err(Refusal::Ended(Ended::LivedTooLong))
    );
}

#[test]
fn ends_are_remembered_within_bounds() {
    let now = Instant::now();
    let (mut registry, first) = with_one(now);
    registry.end(first, Ended::CutOff, now);
    for _ in 0..ENDED_MAX {
        let next = id();
        registry.reserve(next, &key("a"), LIMITS, now).unwrap();
        registry.end(next, Ended::CutOff, now);
    }
    assert_eq!(registry.past.len(), ENDED_MAX);
    assert_eq!(registry.check_out(first, "a"), Err(Refusal::NotFound));
    let later = after(now, ENDED_KEPT_MS);
    let next = id();
    registry.reserve(next, &key("a"), LIMITS, later).unwrap();
    registry.end(next, Ended::CutOff, later);
    assert_eq!((registry.past.len(), registry.order.len()), (1, 1));
}

#[test]
fn draining_takes_what_nobody_uses() {
    let now = Instant::now();
    let (mut registry, one) = with_one(now);
    let busy = id();
    registry.reserve(busy, &key("a"), LIMITS, now).unwrap();
    assert_eq!(registry.drain(now), ["connection"]);
    assert!(!registry.is_open(one) && registry.is_open(busy));
}
