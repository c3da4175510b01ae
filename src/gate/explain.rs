//! `POST /v1/explain`: the pipeline as far as `decide`; nothing is executed.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Ask, Gate, Request};
use crate::authenticate::Principal;
use crate::decide::restrict::Shadow;
use crate::decide::{Audience, Explanation, Policy, Question};
use crate::error::{Code, Problem};
use crate::operation::Operation;
use crate::record::Record;

impl Gate {
    /// Judges a request without executing it, and tells its caller why. What is told is the caller's own role's.
    pub async fn explain<F: Future<Output = Result<Ask, Problem>>>(
        &self,
        request: &Request<'_>,
        receive: impl FnOnce(Arc<Principal>) -> F,
    ) -> Result<Explanation, Problem> {
        let mut record = Record::begin(request, None);
        let explained = self.explained(request, receive, &mut record).await;
        self.record(&record, explained.as_ref().err());
        explained
    }

    async fn explained<F: Future<Output = Result<Ask, Problem>>>(
        &self,
        request: &Request<'_>,
        receive: impl FnOnce(Arc<Principal>) -> F,
        record: &mut Record<'_>,
    ) -> Result<Explanation, Problem> {
        let _in_flight = self.enter(request)?;
        let caller = self.authenticate(request, record).await?;
        let ask = receive(Arc::clone(&caller)).await?;
        let (store, now) = (ask.store(), Timestamp::now());
        record.store = Some(store);
        let policy = self.policy.load_full();
        let explain = |operation: &Operation, decided: Result<Option<&Shadow>, &Problem>| {
            let caller = &*caller;
            let question = Question {
                caller,
                operation,
                now,
            };
            Policy::explanation(&policy, question, decided, Audience::Caller)
        };
        let (operations, rest) = match self.classify(ask, &policy, record).await {
            Ok(classified) => classified,
            Err(problem) => return Ok(explain(&Operation::unclassified(store), Err(&problem))),
        };
        let Some(mut operation) = operations.into_iter().next() else {
            return Err(Problem::new(Code::RequestInvalid, "there is no statement"));
        };
        // Why it is refused, `decide` finds again; what lies behind views is to be told, too.
        let _ = self
            .widen(&policy, &caller, &mut operation, now, record)
            .await;
        let permits = self
            .decide(&policy, &caller, vec![operation.clone()], &rest, record)
            .await;
        Ok(match &permits {
            Ok(permits) => explain(&operation, Ok(permits.first().and_then(|one| one.shadow()))),
            Err(problem) => explain(&operation, Err(problem)),
        })
    }
}
