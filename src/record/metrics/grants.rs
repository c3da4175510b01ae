//! Metrics of how the databases' own grants compare with the policy.

use prometheus::IntGaugeVec;

use super::{Made, Maker};
use crate::operation::Store;
use crate::record::health::Grants;

/// How the databases' own grants differ from the policy, by database; nothing where nobody looks.
pub(super) struct NativeGrants {
    differences: IntGaugeVec,
    known: IntGaugeVec,
    held_back: IntGaugeVec,
}

impl NativeGrants {
    pub(super) fn new(make: &Maker) -> Made<Self> {
        Ok(Self {
            differences: make.gauges(
                "bulkhead_native_grants_differences",
                "Differences between what the database grants and the policy, when last compared.",
            )?,
            known: make.gauges(
                "bulkhead_native_grants_known",
                "Whether the database's grants could be compared.",
            )?,
            held_back: make.gauges(
                "bulkhead_store_held_back",
                "Whether nothing is sent to the database for its grants' sake.",
            )?,
        })
    }

    pub(super) fn set(&self, store: Store, grants: Grants, held_back: bool) {
        let labels = [store.as_str()];
        let (known, differences) = match grants {
            Grants::Unknown => (false, 0),
            Grants::Clean => (true, 0),
            Grants::Drift(differences) => (true, i64::try_from(differences).unwrap_or(i64::MAX)),
        };
        self.known.with_label_values(&labels).set(known.into());
        self.differences.with_label_values(&labels).set(differences);
        self.held_back
            .with_label_values(&labels)
            .set(held_back.into());
    }
}
