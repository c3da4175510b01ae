use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;

/// A database in memory that can be taken down.
#[derive(Clone, Default)]
struct Fake {
    down: Arc<AtomicBool>,
    connected: Arc<AtomicU32>,
}

struct FakeLink {
    id: u32,
    busy: bool,
    down: Arc<AtomicBool>,
}

impl Connector for Fake {
    type Link = FakeLink;

    async fn connect(&self) -> Result<FakeLink, String> {
        if self.down.load(Ordering::SeqCst) {
            return Err("refused".to_owned());
        }
        Ok(FakeLink {
            id: self.connected.fetch_add(1, Ordering::SeqCst),
            busy: false,
            down: Arc::clone(&self.down),
        })
    }
}

impl Link for FakeLink {
    fn is_clean(&self) -> bool {
        !self.busy
    }

    async fn check(&mut self) -> Result<(), String> {
        if self.down.load(Ordering::SeqCst) {
            Err("closed".to_owned())
        } else {
            Ok(())
        }
    }
}

fn pool(fake: &Fake, max: u32, waiting_max: usize) -> Pool<Fake> {
    Pool::start(
        Store::Mysql,
        fake.clone(),
        PoolSettings {
            min: 0,
            max,
            acquire_timeout_ms: 50,
            waiting_max,
            max_lifetime_s: 60,
        },
    )
}

#[tokio::test]
async fn a_full_pool_says_exhausted_and_counts() {
    let pool = pool(&Fake::default(), 1, 1);
    let lease = pool.acquire("k").await.unwrap();
    let (first, second) = tokio::join!(pool.acquire("k"), pool.acquire("k"));
    let waited = |result: Result<Lease<'_, Fake>, Error>| match result {
        Err(Error::PoolExhausted { waited_ms, .. }) => waited_ms,
        _ => panic!("expected the pool to be exhausted"),
    };
    assert!(waited(first) >= 50, "the first one waits");
    assert_eq!(waited(second), 0, "the queue is full for the second");
    let state = pool.state();
    assert_eq!((state.size, state.in_use, state.waiting), (1, 1, 0));
    drop(lease);
    assert_eq!(pool.state().idle, 1);
    assert!(pool.acquire("k").await.is_ok());
}

#[tokio::test]
async fn a_busy_connection_is_never_handed_on() {
    let fake = Fake::default();
    let pool = pool(&fake, 1, 8);
    let mut lease = pool.acquire("k").await.unwrap();
    let first = lease.id;
    lease.busy = true;
    drop(lease);
    let lease = pool.acquire("k").await.unwrap();
    assert_ne!(lease.id, first);
    let second = lease.id;
    drop(lease);
    assert_eq!(
        pool.acquire("k").await.unwrap().id,
        second,
        "a clean one is"
    );
}

#[tokio::test]
async fn a_database_that_is_down_is_said_at_once_and_recovers() {
    let fake = Fake::default();
    let pool = pool(&fake, 2, 8);
    drop(pool.acquire("k").await.unwrap());
    fake.down.store(true, Ordering::SeqCst);
    let started = Instant::now();
    for _ in 0..20 {
        let refused = pool.acquire("k").await;
        assert!(matches!(refused, Err(Error::Unreached { .. })));
    }
    assert!(started.elapsed() < Duration::from_millis(500));
    fake.down.store(false, Ordering::SeqCst);
    tokio::time::timeout(Duration::from_secs(3), async {
        while pool.acquire("k").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the pool recovers by itself");
}

#[test]
fn lifetimes_are_spread_over_a_tenth() {
    let lives: Vec<u64> = (0..100).map(|_| shortened(1_000_000, 10)).collect();
    assert!(
        lives
            .iter()
            .all(|life| (900_000..=1_000_000).contains(life))
    );
    assert!(lives.iter().any(|life| life != &lives[0]), "{lives:?}");
}

#[tokio::test]
async fn a_dropped_waiter_leaves_the_queue() {
    let pool = pool(&Fake::default(), 1, 8);
    let lease = pool.acquire("k").await.unwrap();
    let waiter = tokio::time::timeout(Duration::from_millis(5), pool.acquire("k")).await;
    assert!(waiter.is_err());
    assert_eq!(pool.state().waiting, 0);
    drop(lease);
    assert!(pool.acquire("k").await.is_ok());
}
