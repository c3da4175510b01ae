//! The audit trail on a real PostgreSQL: what is chained, sealed, exported, retired and asked for, and everything that somebody
//! may do to it (docs/audit-tampering.md).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod commands;
mod retire;
mod seals;
mod tampering;
mod tampering_cases;
mod trail;
mod writers;
