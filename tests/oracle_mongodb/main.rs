//! mongod itself says what a command touches: exact or refused, never confidently wrong.
//!
//! A user whose role holds exactly the classified actions on the classified collections runs each command; a
//! refusal by the server (`Unauthorized`) means that something was missed. `BULKHEAD_ORACLE_CASES` makes the
//! campaign longer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

#[path = "../chance/mod.rs"]
mod chance;
mod change;
mod coverage;
mod generate;
mod roles;
mod server;
