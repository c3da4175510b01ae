//! The months of `audit_logs`: each has its partition before it begins.

use std::time::Duration;

use crate::system::{STATEMENT_TIMEOUT, System, describe};

/// How often it is looked, which has the months of a sidecar that runs for long made.
const LOOK_INTERVAL: Duration = Duration::from_secs(3600);

/// Pause before another try while it fails.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// This month and the two that come, in UTC.
const MAKE: &str = "SELECT public.bulkhead_audit_partition(
        (date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month')::date)
    FROM generate_series(0, 2) AS n";

/// Makes partitions as long as the sidecar serves. Where one is missing all the same, its rows go to `audit_logs_rest`.
pub async fn keep(system: &System) {
    let mut is_failing = false;
    loop {
        let made = async {
            let client = system.client().await.map_err(|error| error.0)?;
            let asked = tokio::time::timeout(STATEMENT_TIMEOUT, client.query(MAKE, &[])).await;
            let rows = asked.map_err(|_| "timed out".to_owned())?;
            rows.map(drop).map_err(|error| describe(&error))
        };
        match made.await {
            Ok(()) => is_failing = false,
            Err(cause) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(
                        cause,
                        "the months of audit_logs cannot be made; rows of a month without one go to audit_logs_rest"
                    );
                }
            }
        }
        tokio::time::sleep(if is_failing {
            RETRY_AFTER
        } else {
            LOOK_INTERVAL
        })
        .await;
    }
}
