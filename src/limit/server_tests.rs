//! The shared limiter against a real Redis.

use std::time::{Duration, Instant};

use super::shared::{Shared, Step};
use super::tests::permit;
use super::*;
use crate::execute::private_servers::RedisServer;

async fn until_shared(limiter: &Limiter) {
    let start = Instant::now();
    while limiter.mode() != LimiterMode::Shared {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "Redis was not found"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn limit(requests: u32, period_ms: u64, burst: u32) -> RateLimit {
    RateLimit {
        name: "app".into(),
        requests,
        period_ms,
        burst,
    }
}

#[tokio::test]
async fn the_script_computes_what_the_model_does() {
    let server = RedisServer::start();
    let shared = Shared::connect(&server.settings()).unwrap();
    while !shared.is_usable() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // An hour for each request, so that the time between two steps does not change a decision.
    let rate = Rate::of(&limit(1, 3_600_000, 5));
    let (mut tat_us, mut looked) = (0, 0);
    for round in 0..12 {
        let step = if round % 3 == 2 {
            Step::Look
        } else {
            Step::Take(NonZeroU32::MIN)
        };
        let found = shared.step("app", "k", rate, step).await.unwrap();
        let now_us = 1_000_000;
        let (expected, new_tat_us) = rate.step(tat_us.max(now_us), now_us);
        if matches!(step, Step::Take(_)) {
            tat_us = new_tat_us.unwrap_or(tat_us);
            assert_eq!(found.allowed, expected.allowed, "{round}");
            assert_eq!(found.remaining, expected.remaining, "{round}");
        } else {
            looked += 1;
            assert_eq!(found.allowed, expected.allowed, "{round}");
        }
        // Real time has passed in Redis and not in the model.
        let late = 60_000_000;
        assert!(found.reset_after_us <= expected.reset_after_us, "{round}");
        if matches!(step, Step::Take(_)) {
            assert!(
                found.reset_after_us + late >= expected.reset_after_us,
                "{round}"
            );
        }
        assert!(found.retry_after_us <= rate.interval_us, "{round}");
    }
    assert_eq!(looked, 4);
}

#[tokio::test]
async fn two_sidecars_share_one_limit() {
    let server = RedisServer::start();
    let sidecars = [
        Shared::connect(&server.settings()).unwrap(),
        Shared::connect(&server.settings()).unwrap(),
    ];
    let rate = Rate::of(&limit(1, 60_000, 10));
    let (mut admitted, mut unanswered, mut refused) = (0, 0, 0);
    while refused < 20 {
        let sidecar = &sidecars[(admitted + refused) % 2];
        while !sidecar.is_usable() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match sidecar
            .step("app", "k1", rate, Step::Take(NonZeroU32::MIN))
            .await
        {
            Ok(outcome) if outcome.allowed => admitted += 1,
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
    let limit = limit(1, 60_000, 10);
    for _ in 0..3 {
        let quota = loop {
            until_shared(&limiter).await;
            if let Some(quota) = limiter.peek(&limit, "k2").await {
                break quota;
            }
        };
        assert_eq!((quota.remaining, quota.reset_ms), (10, 0));
    }
}

#[tokio::test]
async fn a_stalled_redis_brings_nobody_a_fresh_burst() {
    let mut server = RedisServer::start();
    let now = Instant::now();
    let limiter = Limiter::new(Some(&server.settings()), now).unwrap();
    until_shared(&limiter).await;
    let limit = limit(1, 60_000, 2);
    let admit = || limiter.admit(vec![permit(Some(limit.clone()))], now);
    admit().await.unwrap();
    server.process.signal("STOP");
    admit().await.unwrap();
    assert_eq!(limiter.mode(), LimiterMode::Local);
    // The local bucket has followed, so that stalling Redis brings nobody a fresh burst.
    admit().await.unwrap_err();
    server.process.signal("CONT");
    until_shared(&limiter).await;

    server.process.kill();
    admit().await.unwrap_err();
    server.restart();
    until_shared(&limiter).await;
    // A restarted Redis has forgotten the debt and the script; both come again.
    admit().await.unwrap();
    admit().await.unwrap();
    admit().await.unwrap_err();
}
