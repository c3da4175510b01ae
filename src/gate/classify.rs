//! The stage `classify`: what each statement of a request touches, and what the catalogue says that this reaches.

use std::sync::Arc;

use super::{Ask, Gate, Rest, Statement, aside, nothing_ran};
use crate::catalogue;
use crate::classify::{self, Refusal, Session, transaction};
use crate::decide::Policy;
use crate::error::{Problem, PublicError};
use crate::execute::request::SqlRequest;
use crate::execute::stores::Place;
use crate::operation::{Classification, Object, Operation, Payload, Store};
use crate::record::Record;
use crate::transaction::Control;

/// Statements of a batch that are classified before other requests have their turn.
const CLASSIFIED_AT_ONCE: usize = 16;

impl Gate {
    /// Splits a request into what is judged and what merely travels along (parameters, time-out).
    pub(super) async fn classify(
        &self,
        ask: Ask,
        policy: &Policy,
        record: &mut Record<'_>,
    ) -> Result<(Vec<Operation>, Rest), Problem> {
        record.received();
        let store = ask.store();
        self.configured(store)?;
        let mut rest = Rest::default();
        let classified = match ask {
            Ask::Sql { sql, request, .. } => {
                rest.requests = vec![request];
                self.make_room(store, &sql, &mut rest).await?;
                let classified = self.classify_sql(store, &sql, policy).await;
                classified.map(|known| sql_operation(store, &sql, known))
            }
            Ask::Batch {
                statements,
                options,
                timeout_ms,
                ..
            } => {
                rest.place = Place::Batch {
                    options,
                    timeout_ms,
                };
                let each = self.classify_each(store, statements, &mut rest, policy, record);
                let operations = Box::pin(each).await?;
                record.classified(&operations, &self.metrics);
                return Ok((operations, rest));
            }
            Ask::Within { id, statement, .. } => {
                rest.place = Place::Within(id);
                self.make_room(store, &statement.sql, &mut rest).await?;
                let classified = self.classify_within(store, &statement.sql, policy).await;
                rest.requests = vec![statement.request];
                classified
            }
            Ask::Begin { options, .. } => Ok(control(store, Control::Begin(options))),
            Ask::End { id, commits, .. } => {
                rest.place = Place::Within(id);
                let end = if commits {
                    Control::Commit
                } else {
                    Control::RollBack
                };
                Ok(control(store, end))
            }
            Ask::Mongodb { document, database } => {
                rest.requests = vec![SqlRequest::default()];
                let default = policy.default_namespace(Store::Mongodb);
                let database = database.as_deref().or(default).unwrap_or_default();
                let classified = aside(document.len(), || {
                    classify::mongodb_operation(&document, database, Session::Shared)
                });
                classified.map_err(Into::into)
            }
            Ask::Redis { commands, atomic } => {
                rest.requests = vec![SqlRequest::default()];
                let classified = aside(redis_bytes(&commands), || {
                    classify::redis_operation(commands, atomic, Session::Shared)
                });
                classified.map_err(Into::into)
            }
        };
        let operation = classified.map_err(|error| self.not_classified(store, &error, record))?;
        let operations = vec![operation];
        record.classified(&operations, &self.metrics);
        Ok((operations, rest))
    }

    fn not_classified(
        &self,
        store: Store,
        error: &catalogue::watch::Error,
        record: &mut Record<'_>,
    ) -> Problem {
        if let catalogue::watch::Error::Refused(refusal) = error {
            let code = refusal.problem().code;
            self.metrics.count_decision(store, Some(code));
        }
        record.cause(error)
    }

    /// The statements of a batch; a refusal names the first that is not understood.
    async fn classify_each(
        &self,
        store: Store,
        statements: Vec<Statement>,
        rest: &mut Rest,
        policy: &Policy,
        record: &mut Record<'_>,
    ) -> Result<Vec<Operation>, Problem> {
        let mut operations = Vec::with_capacity(statements.len());
        for (index, Statement { sql, request }) in statements.into_iter().enumerate() {
            if index % CLASSIFIED_AT_ONCE == CLASSIFIED_AT_ONCE - 1 {
                // Others on this thread do not wait for a long batch.
                tokio::task::yield_now().await;
            }
            let room = self.make_room(store, &sql, rest).await;
            room.map_err(|problem| nothing_ran(problem, index))?;
            let classified = self.classify_within(store, &sql, policy).await;
            let operation = classified
                .map_err(|error| nothing_ran(self.not_classified(store, &error, record), index))?;
            operations.push(operation);
            rest.requests.push(request);
        }
        Ok(operations)
    }

    /// A statement in a transaction: savepoints are understood besides, and the schema does not change there.
    async fn classify_within(
        &self,
        store: Store,
        sql: &Arc<str>,
        policy: &Policy,
    ) -> Result<Operation, catalogue::watch::Error> {
        if let Some(savepoint) = transaction::savepoint(sql) {
            return Ok(control(store, Control::Savepoint(savepoint)));
        }
        transaction::does_not_control(sql)?;
        let known = self.classify_sql(store, sql, policy).await?;
        transaction::fits(&known)?;
        Ok(sql_operation(store, sql, known))
    }

    /// Waits until there is memory to understand a text; a short one, or one that is known, takes none to speak of.
    async fn make_room(
        &self,
        store: Store,
        sql: &Arc<str>,
        rest: &mut Rest,
    ) -> Result<(), Problem> {
        if sql.len() <= classify::INLINE_BYTES_MAX || self.classifications.get(store, sql).is_some()
        {
            return Ok(());
        }
        let bytes = aside(sql.len(), || classify::memory_bytes(store, sql));
        self.understandings
            .room(bytes, &mut rest.understanding)
            .await
    }

    /// What the text touches, and what the catalogue says that this reaches.
    async fn classify_sql(
        &self,
        store: Store,
        sql: &Arc<str>,
        policy: &Policy,
    ) -> Result<Arc<Classification>, catalogue::watch::Error> {
        let shown = self.classify_text(store, sql).await?;
        let is_listed = |object: &Object| policy.is_listed(store, object);
        self.catalogues.expand(store, shown, sql, is_listed).await
    }

    async fn classify_text(
        &self,
        store: Store,
        sql: &Arc<str>,
    ) -> classify::Result<Arc<Classification>> {
        if let Some(known) = self.classifications.get(store, sql) {
            return Ok(known);
        }
        if sql.len() <= classify::INLINE_BYTES_MAX {
            return self.classifications.classify(store, sql);
        }
        // On a thread of its own, so that other requests do not wait for it.
        let (classifications, sql) = (Arc::clone(&self.classifications), Arc::clone(sql));
        tokio::task::spawn_blocking(move || classifications.classify(store, &sql))
            .await
            .unwrap_or_else(|_| Err(Refusal::Unparsable("the classifier failed on it".into())))
    }
}

/// What touches no data: the caller must be somebody to whom something in the store is granted.
fn control(store: Store, control: Control) -> Operation {
    Operation {
        store,
        classification: Arc::default(),
        payload: Payload::Control(control),
    }
}

/// What is sent is what was understood: the classifier's rendering where it made one.
fn sql_operation(store: Store, sql: &Arc<str>, classification: Arc<Classification>) -> Operation {
    let text = match &classification.rewritten {
        Some(rewritten) => Arc::from(rewritten.as_str()),
        None => Arc::clone(sql),
    };
    Operation {
        store,
        classification,
        payload: Payload::Sql(text),
    }
}

/// About what classifying costs: an empty argument takes its time, too.
fn redis_bytes(commands: &[Vec<Vec<u8>>]) -> usize {
    let arguments = commands.iter().flatten();
    arguments.map(|argument| argument.len() + 16).sum()
}
