//! The gate end to end, on four real databases over TLS.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod audit;
mod batch;
mod catalogue;
#[allow(dead_code)]
#[path = "../chance/mod.rs"]
mod chance;
mod chaos;
mod codes;
mod http2_floods;
mod isolation;
mod keys;
mod lifecycle;
mod memory;
mod outage;
mod outcome;
mod overload;
mod raw;
mod routes;
mod rules;
mod scripts;
mod sessions;
mod smuggling;
mod stream;
#[path = "../support/mod.rs"]
mod support;
mod transactions;
mod transactions_end;
mod views;
