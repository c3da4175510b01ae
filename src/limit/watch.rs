//! Tells the log how limits are counted: once for each change, and why.

use std::time::Duration;

use arc_swap::ArcSwap;

use super::shared::Shared;
use super::{Limiter, LimiterMode};
use crate::decide::Policy;

/// How often this is looked at where no request has noticed a change.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

impl Limiter {
    /// Tells changes for as long as it is polled.
    pub async fn tell_modes(&self, policy: &ArcSwap<Policy>) {
        let mut told = Vec::new();
        loop {
            if let Some(shared) = &self.0.shared {
                let noticed = tokio::time::timeout(LOOK_INTERVAL, shared.until_failed());
                let _ = noticed.await;
            }
            self.tell(&policy.load(), &mut told);
            // A Redis that comes and goes fills no log.
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    fn tell(&self, policy: &Policy, told: &mut Vec<LimiterMode>) {
        let failure = self.0.shared.as_ref().and_then(Shared::take_failure);
        let modes = self.modes(policy);
        let words: Vec<_> = modes.iter().map(|mode| mode.as_str()).collect();
        let mode = words.join(", ");
        let (was_shared, is_shared) = (is_shared(told), is_shared(&modes));
        if modes == *told {
            if let (true, Some(cause)) = (is_shared, failure) {
                tracing::warn!(
                    mode,
                    cause,
                    "redis did not count the rate limits for a moment"
                );
            }
            return;
        }
        if self.0.shared.is_none() {
            tracing::info!(
                mode,
                "rate limits are counted here: redis is not configured"
            );
        } else if is_shared {
            tracing::info!(mode, "redis counts the rate limits");
        } else if was_shared || told.is_empty() {
            let cause = failure.unwrap_or_else(|| "not connected".to_owned());
            tracing::warn!(mode, cause, "redis does not count the rate limits");
        } else {
            let cause = "another policy";
            tracing::warn!(mode, cause, "redis does not count the rate limits");
        }
        *told = modes;
    }
}

fn is_shared(modes: &[LimiterMode]) -> bool {
    modes == [LimiterMode::Shared]
}
