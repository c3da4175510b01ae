//! Bulkhead: a data-access proxy sidecar in front of PostgreSQL, MySQL, MongoDB and Redis.
//!
//! The modules stand in the order in which a request meets them; `gate` is the pipeline that calls them.

pub mod operation;
pub mod reply;
pub mod transaction;

pub mod certificates;
pub mod config;
pub mod error;
mod lock;
pub mod memory;
pub mod system;

pub mod authenticate;
pub mod classify;

pub mod catalogue;

pub mod decide;
pub mod execute;
pub mod limit;

pub mod gate;
pub mod record;
pub mod trail;

pub mod accept;
pub mod wire;

pub mod native;

pub mod command;
pub mod dev;
pub mod schema;
