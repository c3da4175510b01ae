//! PostgreSQL: the statement's tree is rewritten and written out anew.
//!
//! What stands in FROM becomes a derived table; see [`render`]. Where rows are hidden, PostgreSQL might evaluate the
//! caller's conditions on them before ours, and an error would tell of them. So the derived table ends with
//! `OFFSET 0`, into which the planner moves no condition, unless every condition of the statement is of a form that
//! cannot fail (see [`quiet`]): then the planner is free, and the caller's conditions use their indexes.
//!
//! Three nets are under the rewriting. The walk must meet as many relations and columns as the tree has. What is
//! written out is parsed again, and must be the tree that was meant. And a table with rules that the walk does not
//! meet by name, because a view or a cascade reaches it, refuses the statement.

mod expression;
mod faithful;
mod insert;
mod kind;
mod prove;
mod quiet;
mod render;
mod returning;
mod scope;
mod source;
mod statement;
mod table;
mod write;

#[cfg(test)]
mod tests;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use self::statement::Rewriter;
use self::table::Tables;
use super::{Column, Columns, Forbidden, Restricted, Restrictions};
use crate::authenticate::Principal;
use crate::classify::{lanes, postgres as parser};
use crate::decide::rules::TableRules;
use crate::lock::Unpoisoned as _;
use crate::operation::Object;

type Result<T> = std::result::Result<T, Forbidden>;

/// How many tokens deep the rewriting may nest beyond the statement: a mask within a derived table.
const ADDED_DEPTH: usize = 8;

/// Longest text that is rewritten on the caller's own stack, in bytes.
const INLINE_BYTES_MAX: usize = 16 * 1024;

/// Rewrites one statement (the text that would be sent) so that it keeps the rules. Without `columns`, as where no
/// server is asked, everything is checked that does not need them, and nothing is rewritten.
///
/// The statement must have been classified, which bounds its length and depth.
pub fn restrict(
    sql: &str,
    rules: &Restrictions<'_>,
    columns: Option<&dyn Columns>,
) -> Result<Option<Restricted>> {
    let fits = parser::nesting_bound(sql)
        .is_some_and(|depth| depth + ADDED_DEPTH <= parser::INLINE_DEPTH_MAX);
    if fits && sql.len() <= INLINE_BYTES_MAX {
        return rewrite(sql, rules, columns);
    }
    on_deep_stack(sql, rules, columns)
}

fn rewrite(
    sql: &str,
    rules: &Restrictions<'_>,
    columns: Option<&dyn Columns>,
) -> Result<Option<Restricted>> {
    let tables = Tables::new(rules, columns)?;
    let mut tree = parser::tree(sql).map_err(|refusal| tables.forbid(refusal.to_string()))?;
    let before = faithful::Print::of(&tree);
    let mut rewriter = Rewriter::new(&tables, &before);
    rewriter.text(&mut tree)?;
    rewriter.saw_everything(&before)?;
    let (is_changed, parameters) = (rewriter.is_changed, rewriter.parameters);
    if columns.is_none() {
        return Ok(None);
    }
    let sql = if is_changed {
        faithful::written(&tree, &tables)?
    } else {
        sql.to_owned()
    };
    Ok(Some(Restricted { sql, parameters }))
}

/// The same on a thread with a deep stack. It asks this one for columns, which cannot go there.
fn on_deep_stack(
    sql: &str,
    rules: &Restrictions<'_>,
    columns: Option<&dyn Columns>,
) -> Result<Option<Restricted>> {
    let failed = || Forbidden {
        objects: objects(rules),
        reason: "the statement cannot be rewritten now".into(),
    };
    let (ask, asked) = sync_channel(1);
    let (answer, answers) = sync_channel(1);
    let answers = Mutex::new(answers);
    let asking = columns.is_some().then_some(Asking { ask, answers });
    let owned = Owned::new(sql, rules);
    let length = parser::length(sql);
    let result = lanes::begin(length, move || owned.rewrite(asking.as_ref())).ok_or_else(failed)?;
    if let Some(columns) = columns {
        serve(columns, &asked, &answer);
    }
    result.recv().map_err(|_| failed())?
}

/// Answers questions for columns until there are no more.
fn serve(
    columns: &dyn Columns,
    asked: &Receiver<(String, String)>,
    answer: &SyncSender<Option<Arc<[Column]>>>,
) {
    while let Ok((namespace, table)) = asked.recv() {
        if answer.send(columns.of(&namespace, &table)).is_err() {
            return;
        }
    }
}

/// Columns as another thread sees them.
struct Asking {
    ask: SyncSender<(String, String)>,
    answers: Mutex<Receiver<Option<Arc<[Column]>>>>,
}

impl Columns for Asking {
    fn of(&self, namespace: &str, table: &str) -> Option<Arc<[Column]>> {
        self.ask
            .send((namespace.to_owned(), table.to_owned()))
            .ok()?;
        let answers = self.answers.lock().unpoisoned();
        answers.recv().ok()?
    }
}

/// What another thread needs to know.
struct Owned {
    sql: String,
    caller: Principal,
    default_namespace: String,
    mask_salt: String,
    tables: Vec<(Object, Arc<TableRules>)>,
}

impl Owned {
    fn new(sql: &str, rules: &Restrictions<'_>) -> Self {
        Self {
            sql: sql.to_owned(),
            caller: rules.caller.clone(),
            default_namespace: rules.default_namespace.to_owned(),
            mask_salt: rules.mask_salt.to_owned(),
            tables: rules
                .tables
                .iter()
                .map(|(object, rules)| ((*object).clone(), Arc::clone(rules)))
                .collect(),
        }
    }

    fn rewrite(&self, columns: Option<&Asking>) -> Result<Option<Restricted>> {
        let rules = Restrictions {
            caller: &self.caller,
            default_namespace: &self.default_namespace,
            mask_salt: &self.mask_salt,
            tables: self
                .tables
                .iter()
                .map(|(object, rules)| (object, Arc::clone(rules)))
                .collect(),
        };
        rewrite(
            &self.sql,
            &rules,
            columns.map(|columns| columns as &dyn Columns),
        )
    }
}

fn objects(rules: &Restrictions<'_>) -> Vec<Object> {
    rules
        .tables
        .iter()
        .map(|(object, _)| (*object).clone())
        .collect()
}
