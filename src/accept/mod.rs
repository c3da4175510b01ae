//! Listeners, TLS, connection caps, drain. `http` is the HTTP front door, `admin` the operator's.

pub mod admin;
pub mod body;
mod caps;
mod coding;
mod conduct;
mod host;
pub mod http;
pub mod listener;
mod patience;
mod reply_body;
mod respond;
mod routes;
mod stream;
pub mod tls;
mod transactions;

pub use listener::{Limits, Listener, Shutdown};
