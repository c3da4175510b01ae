//! The audit trail as it can be checked: rows that form chains of hashes, seals over the chains' heads, and what is wrong
//! with them. Pure: rows come from the table or from an exported file, and it is the same to this module.
//!
//! Every row's hash is that of its content and of the row before, so a row that was changed, removed or put in between
//! breaks its chain where it stands. Whoever may switch off triggers could write a chain's rest anew, and its head; the seals
//! know what the head was, each seal knows the one before, and what is signed or kept outside of the database cannot be
//! written anew at all. What remains unseen: rows that no seal covers yet, in the hands of such a one, and what was never
//! recorded.

pub mod chain;
pub mod fault;
pub mod file;
pub mod row;
pub mod seal;
mod sealed;
pub mod sql;
mod text;
pub mod verify;

#[cfg(test)]
mod verify_tests;

pub use fault::{Fault, Kind};
pub use row::Row;
pub use seal::{Head, PublicKey, Seal, SealKey};
pub use text::{Hex, Micros};
pub use verify::{Report, Verifier};
