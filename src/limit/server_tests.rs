//! The shared limiter against a real Redis.

use std::time::Duration;

use super::shared::{Answer, Ask, Shared};
use super::tests::{left, limit, permit, with};
use super::*;
use crate::decide::limits::CountMode;
use crate::execute::private_servers::RedisServer;

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn until_shared(limiter: &Limiter) {
    until("Redis counts", || limiter.is_shared()).await;
}

/// Asks until Redis answers: on a busy machine some answers come too late.
async fn step(shared: &Shared, asks: &[Ask<'_>]) -> Vec<Answer> {
    loop {
        until("Redis answers", || shared.is_usable()).await;
        if let Ok(answers) = shared.step(asks).await {
            return answers;
        }
    }
}

fn ask(redis_key: &str, rate: Rate, need: u32, ahead: u32) -> Ask<'_> {
    Ask {
        redis_key,
        rate,
        need,
        ahead,
        shadow: false,
    }
}

/// An hour for each request, so that the time between two steps does not change a decision.
fn slow(burst: u32) -> Rate {
    Rate::of(Numbers {
        requests: 1,
        period_ms: 3_600_000,
        burst,
    })
}

#[tokio::test]
async fn the_script_computes_what_the_model_does() {
    let server = RedisServer::start();
    let shared = Shared::connect(&server.settings()).unwrap();
    let rate = slow(20);
    let steps = [
        (0, 0),
        (1, 0),
        (1, 10),
        (0, 3),
        (5, 1),
        (2, 0),
        (9, 0),
        (0, 0),
        (1, 9),
        (1, 0),
        (8, 8),
        (1, 0),
    ];
    for (number, (need, ahead)) in steps.into_iter().enumerate() {
        // A key of its own for each beginning, so that an answer that came too late does not confuse the rest.
        let key = format!("{KEY_PREFIX}model:{number}");
        let (mut tat_us, now_us) = (0, 1_000_000);
        for (need, ahead) in [(4, 0), (need, ahead), (need, ahead)] {
            let (expected, expected_ahead, new_tat_us) = rate.step(tat_us, now_us, need, ahead);
            tat_us = new_tat_us.unwrap_or(tat_us);
            until("Redis answers", || shared.is_usable()).await;
            let Ok(found) = shared.step(&[ask(&key, rate, need, ahead)]).await else {
                break;
            };
            let found = found[0];
            assert_eq!(found.outcome.allowed, expected.allowed, "{need} {ahead}");
            assert_eq!(
                found.outcome.remaining, expected.remaining,
                "{need} {ahead}"
            );
            assert_eq!(found.ahead, expected_ahead, "{need} {ahead}");
            // Real time has passed in Redis and not in the model.
            let late_us = 60_000_000;
            for (found, expected) in [
                (found.outcome.reset_after_us, expected.reset_after_us),
                (found.outcome.retry_after_us, expected.retry_after_us),
            ] {
                assert!(
                    found <= expected && found + late_us >= expected,
                    "{found} {expected}"
                );
            }
        }
    }
}

#[tokio::test]
async fn several_limits_take_together_or_not_at_all() {
    let server = RedisServer::start();
    let shared = Shared::connect(&server.settings()).unwrap();
    let (few, many) = (slow(1), slow(100));
    let key = |name: &str| format!("{KEY_PREFIX}{name}");
    let (a, b, c) = (key("a"), key("b"), key("c"));
    let spent = step(&shared, &[ask(&a, few, 1, 0)]).await;
    // Where the first answer was late, this one refuses.
    assert!(!spent[0].outcome.allowed || spent[0].outcome.remaining == 0);
    for _ in 0..5 {
        let answers = step(&shared, &[ask(&b, many, 3, 10), ask(&a, few, 1, 0)]).await;
        let told = answers.iter().map(|answer| {
            (
                answer.outcome.allowed,
                answer.ahead,
                answer.outcome.remaining,
            )
        });
        assert!(told.eq([(true, 0, 100), (false, 0, 0)]));
    }
    let mut shadow = ask(&a, few, 1, 0);
    shadow.shadow = true;
    let answers = step(&shared, &[ask(&c, many, 3, 10), shadow]).await;
    assert_eq!((answers[0].outcome.allowed, answers[0].ahead), (true, 10));
    assert!(!answers[1].outcome.allowed);
}

#[tokio::test]
async fn two_sidecars_share_one_limit() {
    let server = RedisServer::start();
    let sidecars = [
        Shared::connect(&server.settings()).unwrap(),
        Shared::connect(&server.settings()).unwrap(),
    ];
    let key = format!("{KEY_PREFIX}two");
    let (mut admitted, mut unanswered, mut refused) = (0, 0, 0);
    while refused < 20 {
        let sidecar = &sidecars[(admitted + refused) % 2];
        until("Redis answers", || sidecar.is_usable()).await;
        match sidecar.step(&[ask(&key, slow(10), 1, 0)]).await {
            Ok(answers) if answers[0].outcome.allowed => admitted += 1,
            Ok(_) => refused += 1,
            // It came too late on a busy machine, and may have been counted.
            Err(_) => unanswered += 1,
        }
    }
    assert!(
        admitted <= 10 && admitted + unanswered >= 10,
        "{admitted} {unanswered}"
    );
}

#[tokio::test]
async fn looking_takes_nothing() {
    let server = RedisServer::start();
    let limiter = Limiter::new(Some(&server.settings()), Instant::now()).unwrap();
    let role = Role::for_tests("app", vec![Arc::new(limit("app", 1, 60_000, 10))]);
    for _ in 0..3 {
        let found = loop {
            until_shared(&limiter).await;
            let quota = limiter
                .peek(&role, &tests::caller("k2"), Instant::now())
                .await;
            if let Some(found) = left(&quota)[0] {
                break found;
            }
        };
        assert_eq!(found, (10, 0));
    }
}

#[tokio::test]
async fn a_stalled_redis_brings_nobody_a_fresh_burst() {
    let mut server = RedisServer::start();
    let now = Instant::now();
    let limiter = Limiter::new(Some(&server.settings()), now).unwrap();
    until_shared(&limiter).await;
    let limit = limit("app", 1, 60_000, 2);
    let admit = || limiter.admit(vec![permit("k", &[&limit])], now);
    drop(admit().await.unwrap());
    server.process.signal("STOP");
    drop(admit().await.unwrap());
    assert!(!limiter.is_shared());
    // The local bucket has followed, so that stalling Redis brings nobody a fresh burst.
    admit().await.unwrap_err();
    server.process.signal("CONT");
    until_shared(&limiter).await;

    server.process.kill();
    admit().await.unwrap_err();
    server.restart();
    until_shared(&limiter).await;
    // A restarted Redis has forgotten the debt and the script; both come again. What it answers too late is counted
    // here, where nothing is left.
    let mut admitted = 0;
    for _ in 0..10 {
        until_shared(&limiter).await;
        admitted += u32::from(admit().await.is_ok());
    }
    assert!((1..=2).contains(&admitted), "{admitted}");
}

#[tokio::test]
async fn a_stalled_redis_is_waited_for_once() {
    let server = RedisServer::start();
    let limiter = Limiter::new(Some(&server.settings()), Instant::now()).unwrap();
    let failures = [
        OnRedisFailure::Local,
        OnRedisFailure::Open,
        OnRedisFailure::Closed,
    ];
    let limits = failures.map(|failure| {
        with(&limit(failure.as_str(), 1, 60_000, 1_000), |rate| {
            rate.on_redis_failure = failure
        })
    });
    until_shared(&limiter).await;
    server.process.signal("STOP");
    let closed = [permit("k", &[&limits[2]])].into();
    assert!(matches!(
        limiter.admit(closed, Instant::now()).await.unwrap_err().why,
        Why::Closed { .. }
    ));
    // From here on nothing is awaited: each is ready when it is first asked.
    for _ in 0..100 {
        for (limit, expected) in
            limits
                .iter()
                .zip([CountedBy::Sidecar, CountedBy::Open, CountedBy::Nobody])
        {
            let mut asked = Box::pin(limiter.admit(vec![permit("k", &[limit])], Instant::now()));
            let asked = futures_util::FutureExt::now_or_never(&mut asked).expect("somebody waits");
            let counted = asked.map_or(CountedBy::Nobody, |admitted| admitted.counted);
            assert_eq!(counted, expected, "{}", limit.name);
        }
    }
    server.process.signal("CONT");
    until_shared(&limiter).await;
}

#[tokio::test]
async fn a_leased_limit_waits_for_few_round_trips() {
    let server = RedisServer::start();
    let limiter = Limiter::new(Some(&server.settings()), Instant::now()).unwrap();
    let limit = with(&limit("app", 100_000, 60_000, 10_000), |rate| {
        rate.mode = CountMode::Leased
    });
    until_shared(&limiter).await;
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..2_000 {
        let asked = limiter.admit(vec![permit("k", &[&limit])], Instant::now());
        *counts.entry(asked.await.unwrap().counted).or_insert(0) += 1;
        // Background renewals run between requests, as they do between a caller's.
        tokio::task::yield_now().await;
    }
    let slices = counts.get(&CountedBy::Slice).copied().unwrap_or(0);
    assert!(slices > 1_000, "{counts:?}");
}

/// What the limiter adds to a request that comes alone: prints the table of `docs/limits.md`.
#[tokio::test]
#[ignore = "a measurement: run it by name, with --nocapture"]
async fn the_latency_that_is_added() {
    const ROUNDS: usize = 5_000;
    let server = RedisServer::start();
    let limiter = Limiter::new(Some(&server.settings()), Instant::now()).unwrap();
    let roomy = limit("app", 100_000_000, 60_000, 1_000_000);
    let modes = [CountMode::Exact, CountMode::Leased];
    for (state, signal) in [("healthy", "CONT"), ("stalled", "STOP")] {
        until_shared(&limiter).await;
        server.process.signal(signal);
        for mode in modes {
            let limit = with(&roomy, |rate| rate.mode = mode);
            let mut took = Vec::with_capacity(ROUNDS);
            let mut late = 0;
            for _ in 0..ROUNDS {
                let permits = vec![permit(mode.as_str(), &[&limit])];
                let began = Instant::now();
                let admitted = limiter.admit(permits, began).await.unwrap();
                took.push(began.elapsed());
                // After an answer that was late this sidecar counts for itself, which would pass for a quick answer.
                if signal == "CONT" && admitted.counted == CountedBy::Sidecar {
                    late += 1;
                    until_shared(&limiter).await;
                }
                tokio::task::yield_now().await;
            }
            took.sort();
            let [p50, p99, max] = [ROUNDS / 2, ROUNDS * 99 / 100, ROUNDS - 1].map(|at| took[at]);
            let name = mode.as_str();
            println!("\n| {name} | {state} | {p50:?} | {p99:?} | {max:?} | {late} late |");
        }
    }
    server.process.signal("CONT");
}
