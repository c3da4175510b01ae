//! Trails that are made here, changed in one way each, and what the verifier says. tests/audit does the same in PostgreSQL.

use super::fault::Kind;
use super::row::Row;
use super::seal::{Head, Seal};
use super::text::{Hex, Micros};
use super::verify::{RETIRE, Report, Retirement, Settings, Verifier};

struct Trail {
    rows: Vec<Row>,
    seals: Vec<Seal>,
    heads: Vec<Head>,
}

fn row(chain: i64, seq: i64, id: i64, before: &Hex) -> Row {
    let mut row = Row {
        id,
        recorded_at: Micros(id),
        occurred_at: Micros(id),
        sidecar: None,
        account: "a".into(),
        user_id: None,
        key_id: None,
        role: None,
        action: "query".into(),
        resource_type: None,
        metadata: None,
        store: None,
        objects: Vec::new(),
        decision: None,
        code: None,
        statement: None,
        fingerprint: None,
        rows_affected: None,
        duration_us: None,
        request_id: None,
        trace_id: None,
        event_id: None,
        phase: None,
        chain,
        seq,
        prev_hash: before.clone(),
        hash: Hex::default(),
    };
    row.hash = row.digest();
    row
}

/// Two chains of five rows; a seal after the third of each, another after the fourth.
fn trail() -> Trail {
    let mut rows: Vec<Row> = Vec::new();
    for chain in [1, 2] {
        let mut before = Hex::zeros();
        for seq in 1..=5 {
            rows.push(row(chain, seq, 2 * seq + chain, &before));
            before = rows.last().unwrap().hash.clone();
        }
    }
    let head = |row: &Row| Head {
        chain: row.chain,
        seq: row.seq,
        hash: row.hash.clone(),
    };
    let at = |seq| -> Vec<Head> { rows.iter().filter(|row| row.seq == seq).map(head).collect() };
    let first = Seal::new(None, Micros(1), None, &at(3), None);
    let second = Seal::new(Some((1, &first.hash)), Micros(2), None, &at(4), None);
    Trail {
        heads: at(5),
        seals: vec![first, second],
        rows,
    }
}

fn verify(trail: &Trail) -> Report {
    let mut verifier = Verifier::new(Settings::default());
    trail
        .heads
        .iter()
        .for_each(|head| verifier.head(head.clone()));
    let retirements = trail.rows.iter().filter(|row| row.action == RETIRE);
    retirements.for_each(|row| verifier.retirement(row));
    trail.seals.iter().for_each(|seal| verifier.seal(seal));
    trail.rows.iter().for_each(|row| verifier.row(row));
    verifier.finish()
}

#[track_caller]
fn check(change: impl FnOnce(&mut Trail), expected: &[(Kind, Option<i64>, Option<i64>)]) {
    let mut trail = trail();
    change(&mut trail);
    let report = verify(&trail);
    let found: Vec<_> = report
        .faults
        .iter()
        .map(|fault| (fault.kind, fault.chain, fault.seq))
        .collect();
    assert_eq!(found, expected, "{:#?}", report.faults);
}

#[test]
fn a_trail_that_nobody_touched_is_clean() {
    let report = verify(&trail());
    assert_eq!(
        (report.rows, report.chains, report.seals, report.unsealed),
        (10, 2, 2, 2)
    );
    assert_eq!(report.fault_count, 0, "{:?}", report.faults);
}

/// Hashes a chain's rows anew from an index of the rows on.
fn rehash(rows: &mut [Row], from: usize) {
    let chain = rows[from].chain;
    for index in from..rows.len() {
        if rows[index].chain != chain {
            break;
        }
        if index > from {
            rows[index].prev_hash = rows[index - 1].hash.clone();
        }
        rows[index].hash = rows[index].digest();
    }
}

#[test]
fn changed_rows_are_named() {
    let one = |kind, seq| [(kind, Some(1), Some(seq))];
    check(
        |trail| trail.rows[1].action = "x".into(),
        &one(Kind::Changed, 2),
    );
    check(
        |trail| trail.rows[1].hash = Hex::zeros(),
        &one(Kind::Changed, 2),
    );
    check(
        |trail| trail.rows[4].prev_hash = Hex::zeros(),
        &one(Kind::Changed, 5),
    );
    let replace = |trail: &mut Trail| {
        trail.rows[1].action = "x".into();
        trail.rows[1].hash = trail.rows[1].digest();
    };
    check(replace, &one(Kind::Replaced, 2));
    // The rest hashed anew: the first seal that covers it knows better.
    let rest = |trail: &mut Trail| {
        trail.rows[1].action = "x".into();
        rehash(&mut trail.rows, 1);
        trail.heads[0].hash = trail.rows[4].hash.clone();
    };
    check(rest, &one(Kind::Replaced, 3));
    // What no seal covers yet can be written anew by whoever may switch triggers off.
    let last = |trail: &mut Trail| {
        trail.rows[4].action = "x".into();
        rehash(&mut trail.rows, 4);
        trail.heads[0].hash = trail.rows[4].hash.clone();
    };
    check(last, &[]);
}

#[test]
fn missing_and_added_rows_are_named() {
    let one = |kind, seq| [(kind, Some(1), Some(seq))];
    let remove = |index: usize| move |trail: &mut Trail| drop(trail.rows.remove(index));
    check(remove(0), &one(Kind::Missing, 1));
    check(remove(2), &one(Kind::Missing, 3));
    check(remove(4), &one(Kind::Truncated, 5));
    let with_head = |seqs: usize| {
        move |trail: &mut Trail| {
            trail.rows.drain(5 - seqs..5);
            let last = &trail.rows[4 - seqs];
            trail.heads[0].seq = last.seq;
            trail.heads[0].hash = last.hash.clone();
        }
    };
    check(with_head(2), &one(Kind::Truncated, 4));
    check(with_head(1), &[]);
    let twice = |before: bool| {
        move |trail: &mut Trail| {
            let mut copy = trail.rows[2].clone();
            copy.id = 999;
            copy.hash = copy.digest();
            trail.rows.insert(if before { 2 } else { 3 }, copy);
        }
    };
    for before in [true, false] {
        let mut changed = trail();
        twice(before)(&mut changed);
        let report = verify(&changed);
        let found: Vec<_> = report
            .faults
            .iter()
            .map(|fault| (fault.kind, fault.id))
            .collect();
        assert_eq!(found, [(Kind::Inserted, Some(999))]);
    }
    let append = |trail: &mut Trail| {
        let more = row(1, 6, 99, &trail.rows[4].hash);
        trail.rows.insert(5, more);
    };
    check(append, &one(Kind::HeadAltered, 6));
    let swap = |trail: &mut Trail| {
        trail.rows[2].seq = 4;
        trail.rows[3].seq = 3;
        trail.rows.swap(2, 3);
    };
    check(
        swap,
        &[
            (Kind::Changed, Some(1), Some(3)),
            (Kind::Reordered, Some(1), Some(4)),
        ],
    );
    check(
        |trail| trail.rows.swap(2, 3),
        &[
            (Kind::Missing, Some(1), Some(3)),
            (Kind::Reordered, Some(1), Some(3)),
        ],
    );
}

#[test]
fn heads_and_chains_are_missed() {
    let chain = |kind| [(kind, Some(1), None)];
    let whole = |trail: &mut Trail| drop(trail.rows.drain(0..5));
    check(whole, &chain(Kind::ChainMissing));
    let with_head = |trail: &mut Trail| {
        trail.rows.drain(0..5);
        trail.heads.remove(0);
    };
    check(with_head, &chain(Kind::ChainMissing));
    check(
        |trail| drop(trail.heads.remove(0)),
        &chain(Kind::HeadMissing),
    );
    let hash = |trail: &mut Trail| trail.heads[0].hash = Hex::zeros();
    check(hash, &[(Kind::HeadAltered, Some(1), Some(5))]);
    let back = |trail: &mut Trail| trail.heads[0].seq = 4;
    check(back, &[(Kind::HeadAltered, Some(1), Some(5))]);
    let on = |trail: &mut Trail| trail.heads[0].seq = 7;
    check(on, &[(Kind::Truncated, Some(1), Some(6))]);
}

#[test]
fn seals_are_checked_against_each_other() {
    check(
        |trail| trail.seals[0].seqs[0] = 2,
        &[(Kind::SealChanged, None, None)],
    );
    check(
        |trail| drop(trail.seals[0].hashes.pop()),
        &[(Kind::SealChanged, None, None)],
    );
    check(
        |trail| drop(trail.seals.remove(0)),
        &[(Kind::SealMissing, None, None)],
    );
    // Nobody can tell that the last one is gone, unless it was exported.
    check(|trail| drop(trail.seals.pop()), &[]);
    let rehash = |trail: &mut Trail| {
        trail.seals[0].sealed_at = Micros(0);
        trail.seals[0].hash = trail.seals[0].digest();
    };
    check(rehash, &[(Kind::SealReplaced, None, None)]);
    let swap = |trail: &mut Trail| trail.seals.swap(0, 1);
    check(
        swap,
        &[
            (Kind::SealMissing, None, None),
            (Kind::SealReordered, None, None),
        ],
    );
}

/// A chain's first three rows retired, by a row of another chain.
fn retire(trail: &mut Trail, with: impl FnOnce(&mut Retirement)) {
    let last = &trail.rows[2];
    let mut told = Retirement {
        partition: "audit_logs_2026_01".into(),
        chains: vec![(1, last.seq, last.hash.clone())],
    };
    with(&mut told);
    let mut retirement = row(3, 1, 50, &Hex::zeros());
    retirement.action = RETIRE.into();
    retirement.metadata = serde_json::value::to_raw_value(&told).ok();
    retirement.hash = retirement.digest();
    trail.heads.push(Head {
        chain: 3,
        seq: 1,
        hash: retirement.hash.clone(),
    });
    trail.rows.push(retirement);
}

#[test]
fn retired_rows_are_not_missed() {
    let drained = |trail: &mut Trail| drop(trail.rows.drain(0..3));
    check(
        |trail| {
            retire(trail, |_| {});
            drained(trail);
        },
        &[],
    );
    check(drained, &[(Kind::Missing, Some(1), Some(1))]);
    check(
        |trail| retire(trail, |_| {}),
        &[(Kind::Retirement, Some(1), Some(1))],
    );
    check(
        |trail| {
            retire(trail, |told| told.chains[0].2 = Hex::zeros());
            drained(trail);
        },
        &[
            (Kind::Retirement, Some(1), Some(3)),
            (Kind::Replaced, Some(1), Some(4)),
        ],
    );
    check(
        |trail| {
            retire(trail, |told| told.chains[0].1 = 2);
            drained(trail);
        },
        &[(Kind::Missing, Some(1), Some(3))],
    );
}
