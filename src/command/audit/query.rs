//! `bulkhead audit query`: each question has an index (migrations/postgres/V4__audit_chain.sql).

use clap::Args;
use tokio_postgres::types::ToSql;

use super::source::stream;
use super::{AuditError, ConfigArgs, Exit, Format, show, time};
use crate::operation::{Action, Store};
use crate::system;
use crate::trail::{Micros, sql};

#[derive(Debug, Args)]
pub struct QueryArgs {
    /// The user a key or token belongs to
    #[arg(long)]
    user: Option<String>,
    /// The key's id; `cert:NAME` or `jwt:SUB` where it was none
    #[arg(long)]
    key: Option<String>,
    #[arg(long)]
    role: Option<String>,
    /// A table, collection or Redis key, whatever was done to it
    #[arg(long)]
    table: Option<String>,
    #[arg(long, value_parser = store)]
    store: Option<Store>,
    /// What was done: a row's action (`query`, `insert`, `audit.retire`); with --table, to that table (`delete`)
    #[arg(long)]
    action: Option<String>,
    /// The code of a refusal (`policy.denied`)
    #[arg(long)]
    code: Option<String>,
    #[arg(long, value_parser = ["allow", "deny"])]
    decision: Option<String>,
    #[arg(long)]
    request_id: Option<String>,
    #[arg(long)]
    trace_id: Option<String>,
    /// What happened since then: a time (RFC 3339), or how long ago (`2h`, `7d`)
    #[arg(long, value_parser = time::past)]
    since: Option<Micros>,
    /// What happened before then
    #[arg(long, value_parser = time::past)]
    until: Option<Micros>,
    /// How many rows, the newest first
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
}

fn store(name: &str) -> Result<Store, String> {
    Store::parse(name).ok_or_else(|| "postgres, mysql, mongodb or redis".into())
}

pub async fn run(args: QueryArgs, config: &ConfigArgs, format: Format) -> Result<Exit, AuditError> {
    let config = config
        .load()
        .map_err(|faults| AuditError::Usage(faults.to_string()))?;
    let client = system::connect(&config.system).await?;
    let policy = super::super::policy::load(&config.policy);
    let namespace = |store| match &policy {
        Ok(policy) => policy.default_namespace(store).map(str::to_owned),
        Err(_) => None,
    };
    let question = Question::of(args, namespace);
    client.batch_execute("SET statement_timeout = 0").await?;
    let parameters: Vec<_> = question.parameters.iter().map(|one| &**one as _).collect();
    stream(&client, &question.statement(), &parameters, |row| {
        show::print(&sql::row(row)?, format)
    })
    .await?;
    Ok(Exit::Done)
}

#[derive(Default)]
struct Question {
    conditions: Vec<String>,
    parameters: Vec<Box<dyn ToSql + Sync>>,
}

impl Question {
    fn of(args: QueryArgs, namespace: impl Fn(Store) -> Option<String>) -> Self {
        let mut question = Self::default();
        let mut action = args.action;
        if let Some(table) = &args.table {
            let touched = touched(table, args.store, action.as_deref(), namespace);
            // Anything else (`query`, `authenticate`) is the row's own.
            if touched.iter().any(|object| {
                action
                    .as_deref()
                    .is_some_and(|action| object.starts_with(&format!("{action}:")))
            }) {
                action = None;
            }
            question.add("objects && $", touched);
        }
        let texts = [
            ("user_id = $", args.user),
            ("key_id = $", args.key),
            ("role = $", args.role),
            (
                "store = $",
                args.store.map(|store| store.as_str().to_owned()),
            ),
            ("action = $", action),
            ("code = $", args.code),
            ("decision = $", args.decision),
            ("request_id = $", args.request_id),
            ("trace_id = $", args.trace_id),
        ];
        for (condition, value) in texts {
            if let Some(value) = value {
                question.add(condition, value);
            }
        }
        for (condition, at) in [
            ("occurred_at >= $", args.since),
            ("occurred_at < $", args.until),
        ] {
            if let Some(at) = at {
                question.add(condition, at);
            }
        }
        question.parameters.push(Box::new(args.limit));
        question
    }

    fn add(&mut self, condition: &str, value: impl ToSql + Sync + 'static) {
        self.parameters.push(Box::new(value));
        self.conditions
            .push(format!("{condition}{}", self.parameters.len()));
    }

    fn statement(&self) -> String {
        let conditions = if self.conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", self.conditions.join(" AND "))
        };
        format!(
            "SELECT {} FROM public.audit_logs{conditions} ORDER BY occurred_at DESC, id DESC LIMIT ${}",
            sql::ROW,
            self.parameters.len()
        )
    }
}

/// The objects (`ACTION:OBJECT`) that stand for a table, by its name alone and with the namespace that the policy gives it.
fn touched(
    table: &str,
    store: Option<Store>,
    action: Option<&str>,
    namespace: impl Fn(Store) -> Option<String>,
) -> Vec<String> {
    let is_wanted = |known: &Action| action.is_none_or(|action| action == known.as_str());
    let mut objects = Vec::new();
    for one in Store::ALL
        .into_iter()
        .filter(|one| store.is_none_or(|store| store == *one))
    {
        let mut names = vec![table.to_owned()];
        if let Some(namespace) = namespace(one) {
            match table.strip_prefix(&format!("{namespace}.")) {
                Some(bare) => names.push(bare.to_owned()),
                None => names.push(format!("{namespace}.{table}")),
            }
        }
        let all = Action::of(one);
        let is_known = all.iter().any(is_wanted);
        for action in all.iter().filter(|action| !is_known || is_wanted(action)) {
            objects.extend(names.iter().map(|name| format!("{action}:{name}")));
        }
    }
    objects.sort_unstable();
    objects.dedup();
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_found_by_what_was_done_to_it_and_by_both_its_names() {
        let check = |table: &str, store, action, expected: &[&str]| {
            let namespace = |store| (store == Store::Mysql).then(|| "app".to_owned());
            assert_eq!(touched(table, store, action, namespace), expected);
        };
        let deletes = ["delete:app.users", "delete:users"];
        check("users", Some(Store::Mysql), Some("delete"), &deletes);
        check("app.users", Some(Store::Mysql), Some("delete"), &deletes);
        check("k", Some(Store::Redis), None, &["read:k", "write:k"]);
        check(
            "k",
            Some(Store::Redis),
            Some("command"),
            &["read:k", "write:k"],
        );
        assert_eq!(touched("t", None, None, |_| None).len(), 8);
    }
}
