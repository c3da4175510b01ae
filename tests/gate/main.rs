//! The gate end to end, on four real databases over TLS.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod audit;
mod batch;
mod catalogue;
mod certificates;
mod changes;
mod codes;
mod isolation;
mod keys;
mod keys_changes;
mod keys_command;
mod keys_guessing;
mod lifecycle;
mod memory;
mod outage;
mod routes;
mod rules;
mod scripts;
mod sessions;
mod stream;
#[path = "../support/mod.rs"]
mod support;
mod tokens;
mod transactions;
mod transactions_end;
mod views;
