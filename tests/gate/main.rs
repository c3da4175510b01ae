//! The gate end to end, on four real databases over TLS.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod audit;
mod audit_crashes;
mod audit_statements;
mod batch;
mod catalogue;
mod causes;
mod certificates;
#[allow(dead_code)]
#[path = "../chance/mod.rs"]
mod chance;
mod changes;
mod chaos;
mod codes;
mod explain;
mod http2_floods;
mod isolation;
mod keys;
mod keys_changes;
mod keys_command;
mod keys_guessing;
mod lifecycle;
mod limits;
mod limits_faults;
mod limits_overrides;
mod listener_tls;
mod memory;
mod operator;
mod outage;
mod outage_hangs;
mod outcome;
mod overload;
mod policy_change;
mod raw;
mod restart;
mod routes;
mod rules;
mod scripts;
mod sessions;
mod smuggling;
mod store_tls;
mod stream;
#[path = "../support/mod.rs"]
mod support;
mod tokens;
mod transactions;
mod transactions_end;
mod understanding;
mod values;
mod views;
