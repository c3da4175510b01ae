//! Rows of `rate_limit_overrides` that do not do what somebody meant by them under a policy. What they would replace is
//! then as the policy has it.

use super::{OverrideRow, Subject};
use crate::decide::limits::Per;
use crate::decide::{Policy, RateLimit};
use crate::limit::Numbers;
use crate::limit::gcra::Rate;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the policy has no role `{0}`")]
    NoRole(String),
    #[error("no role that it is for has a rate limit `{0}`")]
    NoLimit(String),
    #[error("no role that it is for has a rate limit")]
    Unlimited,
    #[error("rate limit `{0}` is of the whole role: only an override for a role replaces it")]
    OfRole(String),
    #[error("rate limit `{0}` has no rate, only a bound on what is in flight")]
    NoRate(String),
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

/// Why numbers cannot stand in for a limit's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("`requests`, `per_ms` and `burst` must be positive")]
    Nothing,
    #[error("it is faster than one request a microsecond")]
    TooFast,
    #[error("a burst of {burst} would take longer than 35 years to come back")]
    TooLong { burst: u32 },
    #[error(
        "a statement of rate limit `{limit}` may cost {cost}, and no more than {burst} would be admitted at once"
    )]
    BelowCost {
        limit: String,
        cost: u32,
        burst: u32,
    },
}

impl Numbers {
    /// Whether these may stand in for the numbers of `limit`.
    pub(super) fn fit(self, limit: &RateLimit) -> Result<(), Unfit> {
        let (burst, cost) = (self.burst, limit.scope.cost_max());
        if self.requests == 0 || self.period_ms == 0 || burst == 0 {
            return Err(Unfit::Nothing);
        }
        if u64::from(self.requests) > self.period_ms.saturating_mul(1_000) {
            return Err(Unfit::TooFast);
        }
        if Rate::of(self).burst() < u64::from(burst) {
            return Err(Unfit::TooLong { burst });
        }
        if burst < cost {
            let limit = limit.name.clone();
            return Err(Unfit::BelowCost { limit, cost, burst });
        }
        Ok(())
    }
}

impl OverrideRow {
    /// Whether it replaces something under `policy`, for anybody that it may be for.
    pub fn check(&self, policy: &Policy) -> Result<(), Fault> {
        let role = match &self.subject {
            Subject::Role(name) => Some(name),
            Subject::Key(_) => self.key_role.as_ref(),
            // Keys of a user may have any role.
            Subject::User(_) => None,
        };
        let mut roles = policy.roles();
        if let Some(name) = role {
            roles.retain(|role| role.name() == name);
            if roles.is_empty() {
                return Err(Fault::NoRole(name.clone()));
            }
        }
        let mut fault = match &self.one.limit {
            Some(name) => Fault::NoLimit(name.clone()),
            None => Fault::Unlimited,
        };
        for role in roles {
            for (at, limit) in role.rate_limits().iter().enumerate() {
                if self.one.is_about(&limit.name, at == 0) {
                    match self.replaces(limit) {
                        Ok(()) => return Ok(()),
                        Err(found) => fault = found,
                    }
                }
            }
        }
        Err(fault)
    }

    fn replaces(&self, limit: &RateLimit) -> Result<(), Fault> {
        let is_for_role = matches!(self.subject, Subject::Role(_));
        if limit.per == Per::Role && !is_for_role {
            return Err(Fault::OfRole(limit.name.clone()));
        }
        if limit.rate.is_none() {
            return Err(Fault::NoRate(limit.name.clone()));
        }
        Ok(self.one.numbers.fit(limit)?)
    }
}
