//! The gate end to end, on four real databases over TLS.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod audit;
mod batch;
mod catalogue;
mod changes;
mod codes;
mod isolation;
mod keys;
mod lifecycle;
mod limits;
mod limits_faults;
mod memory;
mod outage;
mod routes;
mod rules;
mod scripts;
mod sessions;
mod stream;
#[path = "../support/mod.rs"]
mod support;
mod transactions;
mod transactions_end;
mod views;
