//! What understanding large statements takes of the memory for all.

use bulkhead::classify::memory_bytes;
use bulkhead::operation::Store;
use futures_util::future::join_all;
use serde_json::json;

use crate::memory::{MIB, forget_peak, grown_kib, peak_kib};
use crate::support::{Reply, Sidecar, shared};

/// What the body and the text take beside the understanding, and an allocator's moods, in KiB.
const SLACK_KIB: u64 = 24 * 1024;

/// A statement of so many elements about a table that lives nowhere: it is understood and refused.
fn statement(before: &str, element: &str, count: usize, after: &str) -> String {
    format!("{before}{}{after}", vec![element; count].join(","))
}

fn is_understood(reply: &Reply) {
    assert_eq!(reply.code(), "policy.unknown_object", "{}", reply.text);
}

#[tokio::test]
async fn understanding_takes_no_more_than_is_reserved() {
    let dev = shared();
    let long = format!("(1,'{}')", "x y ".repeat(2000));
    for (store, before, element, count, after) in [
        ("postgres", "SELECT ", "a", 60_000, " FROM nowhere"),
        ("postgres", "SELECT ", "''", 60_000, " FROM nowhere"),
        ("postgres", "SELECT ", "a+1", 30_000, " FROM nowhere"),
        (
            "postgres",
            "SELECT ",
            "sum(a) OVER ()",
            15_000,
            " FROM nowhere",
        ),
        (
            "postgres",
            "INSERT INTO nowhere VALUES ",
            "(1,2)",
            20_000,
            "",
        ),
        ("postgres", "INSERT INTO nowhere VALUES ", &long, 2_000, ""),
        ("mysql", "SELECT ", "a", 1_000_000, " FROM nowhere"),
        ("mysql", "INSERT INTO nowhere VALUES ", "(1,2)", 300_000, ""),
        ("mysql", "INSERT INTO nowhere VALUES ", &long, 2_000, ""),
    ] {
        let sidecar = Sidecar::start(dev, |_| {});
        sidecar.ready().await;
        let sql = statement(before, element, count, after);
        let reserved = memory_bytes(Store::parse(store).unwrap(), &sql);
        let path = format!("/v1/{store}/query");
        forget_peak(&sidecar);
        let before = peak_kib(&sidecar);
        let reply = sidecar
            .post(&dev.admin_key, &path, &json!({"sql": sql}))
            .await;
        is_understood(&reply);
        let grown = grown_kib(&sidecar, before);
        let reserved = reserved as u64 / 1024;
        let shown: String = element.chars().take(20).collect();
        eprintln!("{store} {count} of {shown}: {grown} KiB, {reserved} KiB reserved");
        let body = 2 * sql.len() as u64 / 1024;
        assert!(
            grown < reserved + body + SLACK_KIB,
            "{store} {shown}: {grown}, {reserved}"
        );
    }
}

/// Each takes 230 MiB while it is understood, and there are 300.
#[tokio::test]
async fn large_statements_take_turns_and_small_ones_are_served_meanwhile() {
    let dev = shared();
    let sidecar = Sidecar::start(dev, |config| {
        let server = config["server"].as_table_mut().unwrap();
        server.insert("memory_bytes_max".into(), (300 * MIB as i64).into());
    });
    sidecar.ready().await;
    let large = json!({"sql": statement("SELECT ", "a", 60_000, " FROM nowhere")});
    let small = json!({"sql": "SELECT 1 AS one"});
    forget_peak(&sidecar);
    let before = peak_kib(&sidecar);
    let ask = |body| sidecar.post(&dev.admin_key, "/v1/postgres/query", body);
    let many = join_all((0..12).map(|_| ask(&large)));
    let meanwhile = async {
        for _ in 0..50 {
            let reply = ask(&small).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
    };
    let (replies, ()) = tokio::join!(many, meanwhile);
    let grown = grown_kib(&sidecar, before);
    let (refused, understood): (Vec<_>, Vec<_>) =
        replies.iter().partition(|reply| reply.status == 503);
    eprintln!(
        "{} understood, {} refused: {grown} KiB",
        understood.len(),
        refused.len()
    );
    assert!(!understood.is_empty());
    understood.into_iter().for_each(is_understood);
    for reply in refused {
        assert_eq!(reply.code(), "memory.exhausted", "{}", reply.text);
        assert!(reply.headers.contains_key("retry-after"));
    }
    assert!(grown < 300 * 1024 + SLACK_KIB, "{grown} KiB");

    // What could never have so much is told so, and what to do.
    let larger = json!({"sql": statement("SELECT ", "a", 100_000, " FROM nowhere")});
    let reply = ask(&larger).await;
    assert_eq!(reply.code(), "request.too_large", "{}", reply.text);
    assert!(reply.text.contains("memory_bytes_max"), "{}", reply.text);
}
