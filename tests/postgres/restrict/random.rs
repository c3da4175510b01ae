//! Statements by chance, from a small grammar that likes to fail.

use super::attacks::is_same;
use super::{Databases, Ending, Filter};
use crate::random::Random;

/// Statements of an ordinary test run.
const CASES: usize = 150;

struct Grammar(Random);

impl Grammar {
    fn column(&mut self, of: &str) -> String {
        let columns: &[&str] = match of {
            "a" => &["id", "owner", "note", "amount", "tier", "opened"],
            "p" => &["id", "name", "email", "card", "salary", "boss"],
            _ => &["id", "account_id", "person_id", "x"],
        };
        format!("{of}.{}", self.0.pick(columns))
    }

    fn number(&mut self, of: &str) -> String {
        let columns: &[&str] = match of {
            "a" => &["id", "amount", "tier"],
            "p" => &["id", "salary", "boss"],
            _ => &["id", "x"],
        };
        format!("{of}.{}", self.0.pick(columns))
    }

    fn value(&mut self, of: &str, depth: usize) -> String {
        match self.0.below(if depth == 0 { 3 } else { 9 }) {
            0 => self.0.below(8).to_string(),
            1 | 2 => self.number(of),
            3 => format!("1 / ({} - {})", self.value(of, depth - 1), self.0.below(8)),
            4 => format!(
                "coalesce({}, {})",
                self.number(of),
                self.value(of, depth - 1)
            ),
            5 => format!("length({}::text)", self.column(of)),
            6 => format!(
                "CASE WHEN {} THEN 1 ELSE {} END",
                self.condition(of, depth - 1),
                self.value(of, depth - 1)
            ),
            7 => format!(
                "({} + {})",
                self.value(of, depth - 1),
                self.value(of, depth - 1)
            ),
            _ => format!("({}::text)::numeric", self.column(of)),
        }
    }

    fn condition(&mut self, of: &str, depth: usize) -> String {
        match self.0.below(if depth == 0 { 3 } else { 9 }) {
            0 => format!("{} = {}", self.number(of), self.0.below(10)),
            1 => format!("{} IS NOT NULL", self.column(of)),
            2 => format!("{} > {}", self.number(of), self.0.below(120)),
            3 => format!(
                "{} LIKE 'x\\'",
                self.column(of)
                    .replace(".id", ".note")
                    .replace("p.note", "p.name")
            ),
            4 => format!(
                "({} OR {})",
                self.condition(of, depth - 1),
                self.condition(of, depth - 1)
            ),
            5 => format!("NOT ({})", self.condition(of, depth - 1)),
            6 => format!(
                "EXISTS (SELECT 1 FROM plain q WHERE q.x = {})",
                self.value(of, depth - 1)
            ),
            7 => format!(
                "{} IN (SELECT b.id FROM accounts b WHERE b.tier >= {})",
                self.number(of),
                self.0.below(3)
            ),
            _ => format!(
                "{} < {}",
                self.value(of, depth - 1),
                self.value(of, depth - 1)
            ),
        }
    }

    fn statement(&mut self) -> String {
        let (table, of) = *self.0.pick_pair();
        let condition = if self.0.percent(50) {
            format!("{} AND {}", self.condition(of, 2), self.condition(of, 2))
        } else {
            self.condition(of, 1)
        };
        match self.0.below(8) {
            0 => format!("SELECT {of}.* FROM {table} {of} WHERE {condition}"),
            1 => format!(
                "SELECT count(*), max({}) FROM {table} {of} WHERE {condition}",
                self.value(of, 2)
            ),
            2 => format!(
                "SELECT {} FROM {table} {of} LEFT JOIN plain x ON x.id = {of}.id AND {condition}",
                self.value(of, 1)
            ),
            3 => format!(
                "SELECT s.v FROM (SELECT {} AS v, {of}.id FROM {table} {of}) s WHERE s.v > {}",
                self.value(of, 2),
                self.0.below(5)
            ),
            4 => format!(
                "SELECT {}, count(*) FROM {table} {of} WHERE {condition} GROUP BY 1",
                self.value(of, 1)
            ),
            5 => format!(
                "SELECT a.id, p.id FROM accounts a JOIN people p ON p.id = a.id WHERE {} AND {}",
                self.condition("a", 1),
                self.condition("p", 1)
            ),
            6 => format!(
                "UPDATE accounts a SET note = 'x', amount = {} WHERE {} RETURNING a.*",
                self.value("a", 1),
                self.condition("a", 2)
            ),
            _ => format!(
                "DELETE FROM accounts a WHERE {} RETURNING a.id",
                self.condition("a", 2)
            ),
        }
    }
}

impl Random {
    fn pick_pair(&mut self) -> &'static (&'static str, &'static str) {
        [&("accounts", "a"), &("people", "p")][self.below(2)]
    }
}

/// `BULKHEAD_ORACLE_CASES` and `BULKHEAD_ORACLE_SEED` make it longer and other.
#[tokio::test]
async fn random_statements_learn_nothing() {
    let number = |name: &str, default: usize| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap())
    };
    let seed = number("BULKHEAD_ORACLE_SEED", 1) as u64;
    let databases = Databases::open().await;
    let mut grammar = Grammar(Random::new(seed));
    let mut wrong = Vec::new();
    let (mut rows, mut failed, mut refused) = (0, 0, 0);
    for _ in 0..number("BULKHEAD_ORACLE_CASES", CASES) {
        let sql = grammar.statement();
        let filter = [Filter::Plain, Filter::Costly][grammar.0.below(2)];
        let ending = databases.ending_under(filter, &sql).await;
        match &ending {
            Ending::Rows(..) => rows += 1,
            Ending::Failed(..) => failed += 1,
            Ending::Refused(_) => {
                refused += 1;
                continue;
            }
            Ending::Leak(_) => {}
        }
        let seen = databases.on_seen(&sql).await;
        // Which of several errors comes first, the plan decides; whether there is one, too, where it need not
        // look at every condition.
        let may_differ = matches!(ending, Ending::Failed(..)) || matches!(seen, Ending::Failed(..));
        if matches!(ending, Ending::Leak(_)) || !may_differ && !is_same(&ending, &seen) {
            wrong.push(format!(
                "{sql}\n  {ending:?}\n  seen: {seen:?}\n  {:?}",
                super::rewrite(&sql)
            ));
        }
    }
    println!("seed {seed}: {rows} with rows, {failed} failed, {refused} refused");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        rows > failed / 3 && refused < rows,
        "the grammar makes too few that run"
    );
}
