//! PostgreSQL itself as the judge of the classifier and of the catalogue.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../attack_table/mod.rs"]
mod attack_table;
mod catalogue;
mod catalogue_types;
mod coverage;
mod grammar;
mod mutation;
mod oracle;
mod random;
mod restrict;
mod server;
