use super::super::key::{Generated, generate};
use super::super::row::tests::row;
use super::*;
use secrecy::ExposeSecret;

const SETTINGS: Settings = Settings {
    ttl: Duration::from_secs(1),
    stale_max: Duration::from_secs(300),
};

/// Memory, a key, and a clock that a test moves.
struct Case {
    keys: Keys,
    key: Generated,
    start: Instant,
}

impl Case {
    fn new() -> Self {
        Self {
            keys: Keys::new(SETTINGS),
            key: generate().unwrap(),
            start: Instant::now(),
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn with<T>(&self, then: impl FnOnce(&Presented<'_>, &Hash) -> T) -> T {
        let presented = Presented::parse(self.key.key.expose_secret()).unwrap();
        let digest = presented.digest();
        then(&presented, &digest)
    }

    fn good(&self) -> Option<Row> {
        Some(row(&self.key.id, self.key.hash.clone()))
    }

    fn revoked(&self) -> Option<Row> {
        self.good().map(|row| Row {
            revoked: true,
            ..row
        })
    }

    fn keep(&self, row: Option<Row>, asked: Asked) -> Option<bool> {
        self.with(|presented, digest| {
            let kept = self.keys.keep(presented, digest, row, asked)?;
            Some(kept.is_some())
        })
    }

    fn look_up(&self, ms: u64, row: Option<Row>) {
        let asked = self.keys.ask(self.at(ms));
        assert!(self.keep(row, asked).is_some());
    }

    /// `fresh`, `usable`, `too old`, `refused` or `unknown`, and `revoked` beside it.
    fn recall(&self, ms: u64) -> String {
        let recall =
            self.with(|presented, digest| self.keys.recall(presented, digest, self.at(ms)));
        let told = |entry: &Entry, text: &str| {
            let revoked = if entry.row.revoked { " revoked" } else { "" };
            format!("{text}{revoked}")
        };
        match recall {
            Recall::Fresh(entry, _) => told(&entry, "fresh"),
            Recall::Old { entry, usable, .. } => {
                told(&entry, if usable { "usable" } else { "too old" })
            }
            Recall::Refused => "refused".into(),
            Recall::Unknown => "unknown".into(),
        }
    }

    fn heard(&self, ms: u64, change: Change) {
        self.keys.heard(&change, self.at(ms));
    }

    fn changed(&self, ms: u64, id: &str) {
        let id = Some(Arc::from(id));
        self.heard(
            ms,
            Change::Row {
                table: Table::ApiKeys,
                id,
            },
        );
    }

    /// What memory says at each of these times.
    fn says(&self, expected: &[(u64, &str)]) {
        for (ms, text) in expected {
            assert_eq!(self.recall(*ms), *text, "after {ms} ms");
        }
    }
}

#[test]
fn without_changes_told_an_entry_is_asked_for_again_and_serves_for_a_while() {
    let case = Case::new();
    case.says(&[(0, "unknown")]);
    case.look_up(0, case.good());
    case.says(&[
        (0, "fresh"),
        (999, "fresh"),
        (1_000, "usable"),
        (300_999, "usable"),
        (301_000, "too old"),
    ]);
}

#[test]
fn while_changes_are_told_an_entry_holds_until_its_own() {
    let case = Case::new();
    case.heard(0, Change::Connected);
    case.look_up(0, case.good());
    case.says(&[(59_999, "fresh"), (60_000, "usable")]);
    case.changed(2_000, "another");
    case.says(&[(3_000, "fresh")]);
    // What is gone cannot serve either, if PostgreSQL goes away before it is asked.
    case.changed(4_000, &case.key.id);
    case.says(&[(4_000, "unknown")]);
    case.look_up(5_000, case.revoked());
    case.says(&[(5_000, "fresh revoked")]);
    case.heard(
        6_000,
        Change::Row {
            table: Table::ApiKeys,
            id: None,
        },
    );
    case.says(&[(6_000, "unknown")]);
}

#[test]
fn a_lost_connection_ends_what_rests_on_it() {
    let case = Case::new();
    case.heard(0, Change::Connected);
    case.look_up(0, case.good());
    case.says(&[(10_000, "fresh")]);
    case.heard(10_000, Change::Lost);
    // It was known to be good until then, and serves for as long after that.
    case.says(&[
        (10_000, "usable"),
        (310_999, "usable"),
        (311_000, "too old"),
    ]);
    case.heard(20_000, Change::Lost);
    case.says(&[(310_999, "usable"), (311_000, "too old")]);
    // What it says of changes, it says of those to come.
    case.heard(30_000, Change::Connected);
    case.says(&[(30_000, "usable")]);
    case.look_up(31_000, case.good());
    case.says(&[(40_000, "fresh")]);
    case.heard(40_000, Change::Connected);
    case.says(&[(40_000, "usable")]);
}

#[test]
fn a_revocation_that_was_seen_stays_seen() {
    let case = Case::new();
    case.look_up(0, case.revoked());
    case.says(&[
        (0, "fresh revoked"),
        (300_999, "usable revoked"),
        (301_000, "too old revoked"),
    ]);
}

#[test]
fn an_answer_that_was_overtaken_is_not_kept() {
    let case = Case::new();
    case.heard(0, Change::Connected);
    // By the change itself.
    let asked = case.keys.ask(case.at(0));
    case.changed(0, &case.key.id);
    assert_eq!(case.keep(case.good(), asked), None);
    case.says(&[(0, "unknown")]);
    // By a later look-up's answer, which holds for the earlier one, too.
    let (earlier, later) = (case.keys.ask(case.at(1)), case.keys.ask(case.at(1)));
    assert_eq!(case.keep(case.revoked(), later), Some(true));
    assert_eq!(case.keep(case.good(), earlier), Some(true));
    case.says(&[(1, "fresh revoked")]);
    // Not by changes of others, unless there were too many to remember.
    let asked = case.keys.ask(case.at(2));
    for _ in 0..RECENT_MAX {
        case.changed(2, "another");
    }
    assert_eq!(case.keep(case.good(), asked), Some(true));
    let asked = case.keys.ask(case.at(3));
    for _ in 0..=RECENT_MAX {
        case.changed(3, "another");
    }
    assert_eq!(case.keep(case.good(), asked), None);
}

/// A wrong id and a wrong secret are remembered the same way: as they were presented, and as long.
#[test]
fn what_was_refused_is_remembered_whatever_was_wrong() {
    let wrong_secret = |case: &Case| Some(row(&case.key.id, generate().unwrap().hash));
    let wrong_id = |_: &Case| None;
    let rows: [fn(&Case) -> Option<Row>; 2] = [wrong_secret, wrong_id];
    for of in rows {
        let case = Case::new();
        case.look_up(0, of(&case));
        case.says(&[(0, "refused"), (999, "refused"), (1_000, "unknown")]);
        case.heard(2_000, Change::Connected);
        case.look_up(2_000, of(&case));
        case.says(&[(50_000, "refused")]);
        case.changed(50_000, "another");
        case.says(&[(50_000, "refused")]);
        // The key is made, or rotated: at once it counts.
        case.changed(50_000, &case.key.id);
        case.says(&[(50_000, "unknown")]);
        case.look_up(50_000, case.good());
        case.says(&[(50_000, "fresh")]);
    }
}

#[test]
fn without_a_time_to_live_nothing_is_fresh() {
    let case = Case {
        keys: Keys::new(Settings {
            ttl: Duration::ZERO,
            ..SETTINGS
        }),
        ..Case::new()
    };
    case.heard(0, Change::Connected);
    case.look_up(0, case.good());
    case.says(&[(0, "usable")]);
}

#[test]
fn a_flood_of_refusals_is_bounded_and_pushes_out_no_key() {
    let case = Case::new();
    case.heard(0, Change::Connected);
    case.look_up(0, case.good());
    for _ in 0..REFUSED_MAX + 1_000 {
        let other = generate().unwrap();
        let presented = Presented::parse(other.key.expose_secret()).unwrap();
        let asked = case.keys.ask(case.at(0));
        case.keys.keep(&presented, &presented.digest(), None, asked);
    }
    assert!(case.keys.refused.len() <= REFUSED_MAX);
    case.says(&[(0, "fresh")]);
}
