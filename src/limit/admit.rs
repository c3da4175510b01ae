//! One request against all its limits: all of them admit, and each is charged; or one refuses, and none is.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::bucket::{Bucket, InFlight, Rates};
use super::claim::{Claim, CountedBy};
use super::gcra::Rate;
use super::shared::{Answer, Ask, Unanswered};
use super::{Error, Limiter, Quota, Ticket, Why, name};
use crate::decide::{Permit, RateLimit};
use crate::operation::Payload;
use crate::transaction::Control;

/// What was admitted.
#[derive(Debug)]
#[must_use]
pub struct Admission {
    pub tickets: Vec<Ticket>,
    /// What is left of the limits; `None` where none covers the request.
    pub quota: Option<Quota>,
    pub counted: CountedBy,
    /// Limits in shadow mode that would have refused.
    pub spared: u32,
    pub held: Held,
}

/// Places among the requests in flight, given up when this is dropped: keep it until the request has ended.
#[derive(Debug, Default)]
#[must_use]
pub struct Held {
    _places: Vec<InFlight>,
}

impl Limiter {
    /// Counts the operations of one request against every limit of their caller's role that covers them: all limits
    /// admit all operations, or nothing is charged. The only place where a [`Ticket`] is made. May be cancelled; the
    /// operations may then have been counted.
    ///
    /// The end of a transaction is not counted: it frees what the limit protects.
    pub async fn admit(&self, permits: Vec<Permit>, now: Instant) -> Result<Admission, Error> {
        let mut admission = Admission {
            tickets: Vec::new(),
            quota: None,
            counted: CountedBy::Nobody,
            spared: 0,
            held: Held::default(),
        };
        let mut claims = self.claims(&permits, now);
        if !claims.is_empty() {
            match self.count(&mut claims, now).await {
                Ok(spared) => admission.spared = spared,
                Err(why) => {
                    claims.iter_mut().for_each(Claim::give_back);
                    let quota = self.quota(&claims, now);
                    return Err(Error { why, quota });
                }
            }
            let counted = claims.iter().map(Claim::counted_by).max();
            admission.counted = counted.unwrap_or(CountedBy::Nobody);
            admission.quota = Some(self.quota(&claims, now));
            let held = claims.iter_mut().filter_map(Claim::place);
            admission.held = Held {
                _places: held.collect(),
            };
        }
        drop(claims);
        let tickets = permits.into_iter().map(|permit| Ticket { permit });
        admission.tickets = tickets.collect();
        Ok(admission)
    }

    /// The limits that cover a request. Its permits are all of one caller.
    fn claims<'p>(&self, permits: &'p [Permit], now: Instant) -> Vec<Claim<'p>> {
        let Some(first) = permits.first() else {
            return Vec::new();
        };
        let caller = first.caller();
        let limits = first.rate_limits().iter().enumerate();
        let claims = limits.filter_map(|(at, limit)| {
            let units = NonZeroU32::new(cost(limit, permits))?;
            let numbers = self.numbers(limit, at == 0, caller, now);
            let rate = limit.rate.as_ref().zip(numbers);
            let rates = rate.map(|(policy, numbers)| {
                let whole = Rate::of(numbers);
                let share = whole.share(policy.share_ppm, limit.scope.cost_max());
                Rates { whole, share }
            });
            let bucket = (self.0.buckets).get(limit, name(limit, caller), rates, now);
            Some(Claim::new(limit, bucket, rate, units, now))
        });
        claims.collect()
    }

    /// How many limits in shadow mode would have refused, or which other refuses.
    async fn count(&self, claims: &mut [Claim<'_>], now: Instant) -> Result<u32, Why> {
        let mut spared = 0;
        for claim in claims.iter_mut() {
            spared += claim.enter()?;
        }
        for claim in claims.iter_mut() {
            spared += claim.fits()?;
        }
        if self.0.shared.is_some() {
            for claim in claims.iter_mut() {
                let renew = claim.take_held(now);
                if renew > 0 {
                    self.renew(claim.bucket(), renew, now);
                }
            }
        }
        if claims.iter().any(|claim| claim.is_open()) {
            spared += Box::pin(self.ask(claims, now)).await?;
        }
        for claim in claims.iter() {
            claim.follow(now);
        }
        Ok(spared)
    }

    fn quota(&self, claims: &[Claim<'_>], now: Instant) -> Quota {
        let mut quota = Quota::default();
        let (has_redis, is_shared) = (self.0.shared.is_some(), self.is_shared());
        for claim in claims {
            claim.standings(has_redis, is_shared, now, &mut quota);
        }
        quota
    }

    /// Has Redis count what no slice had, or does without.
    async fn ask(&self, claims: &mut [Claim<'_>], now: Instant) -> Result<u32, Why> {
        let answers = match &self.0.shared {
            Some(shared) => {
                let asks: Vec<Ask<'_>> = claims.iter().filter_map(Claim::ask).collect();
                shared.step(&asks).await
            }
            None => Err(Unanswered::NotConnected),
        };
        let open = claims.iter_mut().filter(|claim| claim.is_open());
        match answers {
            Ok(answers) => settle(open.zip(answers), now),
            Err(_) => {
                let mut open: Vec<_> = open.collect();
                // Those that refuse whatever is left come first, so that nothing is taken in vain.
                open.sort_by_key(|claim| !claim.may_be_closed());
                let mut spared = 0;
                for claim in open {
                    spared += claim.alone(self.0.shared.is_some(), now)?;
                }
                Ok(spared)
            }
        }
    }

    /// Asks for a further slice, of which no request waits. What is asked for is reserved already.
    fn renew(&self, bucket: &Arc<Bucket>, ahead: u32, asked: Instant) {
        let (inner, bucket) = (Arc::clone(&self.0), Arc::clone(bucket));
        tokio::spawn(async move {
            let (Some(shared), Some(counted)) = (&inner.shared, &bucket.counted) else {
                return;
            };
            let ask = Ask {
                redis_key: &counted.redis_key,
                rate: counted.rate,
                need: 0,
                ahead,
                shadow: false,
            };
            let answers = shared.step(&[ask]).await.unwrap_or_default();
            let mut held = counted.held();
            let given = answers.first().map_or(0, |answer| answer.ahead);
            if let Some(answer) = answers.first() {
                held.told(answer.outcome.reset_after_us, asked);
            }
            held.lease.answered(ahead, given, asked, asked);
        });
    }
}

/// Takes note of what Redis said of each limit. It has charged all of them, or none.
fn settle<'c, 'p: 'c>(
    answers: impl Iterator<Item = (&'c mut Claim<'p>, Answer)>,
    now: Instant,
) -> Result<u32, Why> {
    let answers: Vec<_> = answers.collect();
    let refuses =
        |(claim, answer): &(&mut Claim<'_>, Answer)| !answer.outcome.allowed && claim.refuses();
    let admitted = !answers.iter().any(refuses);
    // The caller is told of the limit that it must wait for longest.
    let longest = answers
        .iter()
        .filter(|answer| refuses(answer))
        .max_by_key(|(_, answer)| answer.outcome.retry_after_us);
    let why = longest.map(|(claim, answer)| claim.exceeded(answer.outcome.retry_after_us));
    let mut spared = 0;
    for (claim, answer) in answers {
        spared += claim.answered(answer, admitted, now);
    }
    why.map_or(Ok(spared), Err)
}

/// What the operations of a request cost together; 0 where the limit covers none.
fn cost(limit: &RateLimit, permits: &[Permit]) -> u32 {
    let counted = permits.iter().filter(|permit| is_counted(permit));
    let costs = counted.map(|permit| {
        let operation = permit.operation();
        let cost = limit.scope.cost(operation.store, &operation.classification);
        cost.saturating_mul(statements(&operation.payload))
    });
    costs.fold(0, u32::saturating_add)
}

/// How many statements an operation is: the commands of a Redis pipeline come as one.
fn statements(payload: &Payload) -> u32 {
    match payload {
        Payload::Redis { commands, .. } => u32::try_from(commands.len()).unwrap_or(u32::MAX),
        Payload::Sql(_) | Payload::Control(_) | Payload::Mongodb { .. } => 1,
    }
}

fn is_counted(permit: &Permit) -> bool {
    !matches!(
        permit.operation().payload,
        Payload::Control(Control::Commit | Control::RollBack)
    )
}
