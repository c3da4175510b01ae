//! The limiter without Redis: this sidecar counts for itself.

use std::time::Duration;

use super::*;
use crate::decide::limits::{CountMode, PolicyRate, Scope, WHOLE_SHARE_PPM};
use crate::operation::{Action, Classification, Object, Operation, Payload, Store};

pub fn operation(actions: &[Action]) -> Operation {
    let mut classification = Classification::default();
    for action in actions {
        classification.touch(Object::named(None, "t"), *action);
    }
    Operation {
        store: Store::Mysql,
        classification: Arc::new(classification),
        payload: Payload::Sql("".into()),
    }
}

pub fn caller(key_id: &str) -> Arc<Principal> {
    Arc::new(Principal {
        key_id: key_id.into(),
        user_id: None,
        role: "app".into(),
    })
}

pub fn permit(key_id: &str, limits: &[&RateLimit]) -> Permit {
    doing(key_id, &[], limits)
}

fn doing(key_id: &str, actions: &[Action], limits: &[&RateLimit]) -> Permit {
    let limits = limits.iter().map(|limit| Arc::new((*limit).clone()));
    Permit::for_tests(operation(actions), caller(key_id), limits.collect())
}

pub fn limit(name: &str, requests: u32, period_ms: u64, burst: u32) -> RateLimit {
    RateLimit {
        name: name.into(),
        rate: Some(PolicyRate {
            requests,
            period_ms,
            burst,
            mode: CountMode::Exact,
            on_redis_failure: OnRedisFailure::Local,
            share_ppm: WHOLE_SHARE_PPM,
        }),
        concurrent: None,
        per: Per::Key,
        scope: Scope::default(),
        shadow: false,
    }
}

/// The same with another rate.
pub fn with(limit: &RateLimit, change: impl FnOnce(&mut PolicyRate)) -> RateLimit {
    let mut changed = limit.clone();
    changed.rate.as_mut().map(change);
    changed
}

fn two_a_second() -> RateLimit {
    limit("app", 2, 1_000, 2)
}

pub fn left(quota: &Quota) -> Vec<Option<(u32, u64)>> {
    let left = quota.0.iter().map(|standing| match standing.left {
        Left::Rate { now, .. } => now,
        Left::Flight { max, in_flight } => Some((max - in_flight, 0)),
    });
    left.collect()
}

#[tokio::test]
async fn without_a_limit_everything_is_admitted() {
    let now = Instant::now();
    let limiter = Limiter::new(None, now).unwrap();
    for _ in 0..100 {
        let admitted = limiter.admit(vec![permit("k", &[])], now).await.unwrap();
        assert_eq!(
            (admitted.quota, admitted.counted),
            (None, CountedBy::Nobody)
        );
    }
}

#[tokio::test]
async fn a_limit_is_counted_and_told() {
    let start = Instant::now();
    let limiter = Limiter::new(None, start).unwrap();
    let cases = [
        (0, Ok((1, 500))),
        (0, Ok((0, 1_000))),
        (0, Err(500)),
        (300, Err(200)),
        (500, Ok((0, 1_000))),
    ];
    for (at_ms, expected) in cases {
        let now = start + Duration::from_millis(at_ms);
        let admitted = limiter
            .admit(vec![permit("k", &[&two_a_second()])], now)
            .await;
        let found = match admitted {
            Ok(admitted) => Ok(left(&admitted.quota.unwrap())[0].unwrap()),
            Err(error) => Err(error.problem().retry_after_ms.unwrap()),
        };
        assert_eq!(found, expected, "{at_ms}");
    }
}

#[tokio::test]
async fn the_refusal_says_what_to_do() {
    let now = Instant::now();
    let limiter = Limiter::new(None, now).unwrap();
    let limit = two_a_second();
    let ask = || limiter.admit(vec![permit("k", &[&limit])], now);
    for _ in 0..2 {
        drop(ask().await.unwrap());
    }
    let error = ask().await.unwrap_err();
    let problem = error.problem();
    assert_eq!(problem.code, Code::RateLimitExceeded);
    assert_eq!(problem.retry_after_ms, Some(500));
    assert_eq!(
        problem.detail,
        "rate limit `app` allows 2 requests in 1 s: wait 500 ms"
    );
    assert_eq!(error.quota.policy_header(), r#""app";q=2;w=1"#);
}

#[tokio::test]
async fn a_batch_counts_each_of_its_statements_or_none() {
    let now = Instant::now();
    let limiter = Limiter::new(None, now).unwrap();
    let limit = two_a_second();
    let some = |count: usize| (0..count).map(|_| permit("k", &[&limit])).collect();
    let error = limiter.admit(some(3), now).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "3 at once, and the burst of rate limit `app` is 2"
    );
    let one = limiter.admit(some(1), now).await.unwrap();
    assert_eq!(left(&one.quota.unwrap()), [Some((1, 500))]);
    let error = limiter.admit(some(2), now).await.unwrap_err();
    assert_eq!(error.problem().retry_after_ms, Some(500));
    assert_eq!(limiter.admit(some(1), now).await.unwrap().tickets.len(), 1);
}

#[tokio::test]
async fn of_several_limits_all_admit_or_none_is_charged() {
    let now = Instant::now();
    let limiter = Limiter::new(None, now).unwrap();
    let wide = limit("wide", 1, 60_000, 3);
    let mut inserts = limit("inserts", 1, 60_000, 5);
    inserts.scope.only_actions(&[Action::Insert]);
    inserts.scope.set_cost(Action::Insert, 5);
    let ask = async |action| {
        let permits = vec![doing("k", &[action], &[&wide, &inserts])];
        match limiter.admit(permits, now).await {
            Ok(admitted) => Ok(left(&admitted.quota.unwrap()).len()),
            Err(error) => Err(error.to_string()),
        }
    };
    // A read is not covered by the second limit, and an insert is by both.
    assert_eq!(ask(Action::Select).await, Ok(1));
    assert_eq!(ask(Action::Insert).await, Ok(2));
    for _ in 0..5 {
        let refused = ask(Action::Insert).await.unwrap_err();
        assert!(
            refused.starts_with("rate limit `inserts` exceeded"),
            "{refused}"
        );
    }
    // The refused ones were not charged to the first limit, of which one is left.
    assert_eq!(ask(Action::Select).await, Ok(1));
    assert!(ask(Action::Select).await.unwrap_err().contains("`wide`"));
}

#[tokio::test]
async fn keys_count_apart_and_a_role_together() {
    let now = Instant::now();
    let limiter = Limiter::new(None, now).unwrap();
    let per_key = limit("per-key", 1, 60_000, 1);
    let mut per_role = limit("per-role", 1, 60_000, 1);
    per_role.per = Per::Role;
    for (limit, key, admitted) in [
        (&per_key, "a", true),
        (&per_key, "a", false),
        (&per_key, "b", true),
        (&per_role, "a", true),
        (&per_role, "b", false),
    ] {
        let found = limiter.admit(vec![permit(key, &[limit])], now).await;
        assert_eq!(found.is_ok(), admitted, "{} {key}", limit.name);
    }
}

#[tokio::test]
async fn what_is_in_flight_is_bounded_until_it_ends() {
    let now = Instant::now();
    let limiter = Limiter::new(None, now).unwrap();
    let mut limit = limit("app", 1, 60_000, 1);
    limit.rate = None;
    limit.concurrent = Some(2);
    let ask = || limiter.admit(vec![permit("k", &[&limit])], now);
    let (first, second) = (ask().await.unwrap(), ask().await.unwrap());
    assert_eq!(left(second.quota.as_ref().unwrap()), [Some((0, 0))]);
    let refused = ask().await.unwrap_err();
    assert_eq!(refused.problem().code, Code::RateLimitExceeded);
    assert_eq!(refused.problem().retry_after_ms, Some(RETRY_AFTER_MS));
    assert_eq!(
        (refused.quota.policy_header(), refused.quota.header()),
        (
            r#""app:concurrent";q=2;qu="concurrent-requests""#.into(),
            r#""app:concurrent";r=0"#.into()
        )
    );
    drop(first);
    let third = ask().await.unwrap();
    assert!(ask().await.is_err());
    drop((second, third));
    // A refusal for another limit's sake gives the place up, too.
    let slow = self::limit("slow", 1, 60_000, 1);
    let both = || limiter.admit(vec![permit("k", &[&limit, &slow])], now);
    drop(both().await.unwrap());
    for _ in 0..5 {
        let refused = both().await.unwrap_err();
        assert!(matches!(refused.why, Why::Exceeded { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_limit_in_shadow_mode_counts_and_refuses_nothing() {
    let now = Instant::now();
    let limiter = Limiter::new(None, now).unwrap();
    let mut shadow = limit("shadow", 1, 60_000, 2);
    shadow.shadow = true;
    shadow.concurrent = Some(1);
    let real = limit("real", 1, 60_000, 3);
    let ask = || limiter.admit(vec![permit("k", &[&shadow, &real])], now);
    let (first, second) = (ask().await.unwrap(), ask().await.unwrap());
    // The second is one too many in flight, the third also beyond the rate.
    let third = ask().await.unwrap();
    assert_eq!([first.spared, second.spared, third.spared], [0, 1, 2]);
    let refused = ask().await.unwrap_err();
    assert!(refused.to_string().contains("`real`"), "{refused}");
    // More than its burst at once is spared, too.
    let real = limit("roomy", 1, 60_000, 100);
    let many = (0..3).map(|_| permit("k", &[&shadow, &real])).collect();
    drop((first, second, third));
    assert_eq!(limiter.admit(many, now).await.unwrap().spared, 1);
}

#[tokio::test]
async fn without_redis_a_share_is_counted_and_closed_refuses() {
    let now = Instant::now();
    let limiter = Limiter::new(None, now).unwrap();
    let whole = limit("a", 1, 60_000, 8);
    let quarter = with(&limit("b", 1, 60_000, 8), |rate| rate.share_ppm = 250_000);
    // Where Redis is not configured nobody ever counts for all, so that open would be no limit.
    let open = with(&limit("c", 1, 60_000, 8), |rate| {
        rate.on_redis_failure = OnRedisFailure::Open;
    });
    let closed = with(&limit("d", 1, 60_000, 8), |rate| {
        rate.on_redis_failure = OnRedisFailure::Closed;
    });
    for (limit, expected) in [(&whole, 8), (&quarter, 2), (&open, 8), (&closed, 0)] {
        let mut admitted = 0;
        for _ in 0..20 {
            let asked = limiter.admit(vec![permit("k", &[limit])], now).await;
            admitted += u32::from(asked.is_ok());
        }
        assert_eq!(admitted, expected, "{}", limit.name);
    }
    let refused = limiter.admit(vec![permit("k", &[&closed])], now).await;
    let problem = refused.unwrap_err().problem();
    assert_eq!(problem.code, Code::RateLimitUnavailable);
    assert_eq!(problem.retry_after_ms, Some(RETRY_AFTER_MS));
    // What is refused for being closed takes nothing of another limit.
    for _ in 0..3 {
        let both = limiter
            .admit(vec![permit("x", &[&whole, &closed])], now)
            .await;
        assert!(matches!(both.unwrap_err().why, Why::Closed { .. }));
    }
    let one = limiter
        .admit(vec![permit("x", &[&whole])], now)
        .await
        .unwrap();
    assert_eq!(left(&one.quota.unwrap()), [Some((7, 60_000))]);
}

#[tokio::test]
async fn each_command_of_a_pipeline_counts() {
    let now = Instant::now();
    let limiter = Limiter::new(None, now).unwrap();
    let five = limit("five", 1, 60_000, 5);
    let ask = async |commands: usize| {
        let operation = Operation {
            store: Store::Redis,
            classification: Arc::default(),
            payload: Payload::Redis {
                commands: vec![vec![b"PING".to_vec()]; commands],
                atomic: false,
            },
        };
        let permit = Permit::for_tests(operation, caller("k"), vec![Arc::new(five.clone())]);
        limiter.admit(vec![permit], now).await.is_ok()
    };
    assert!(!ask(6).await, "more than the burst");
    assert!(ask(4).await);
    assert!(!ask(2).await);
    assert!(ask(1).await);
}
