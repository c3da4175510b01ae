//! Listeners, TLS, connection caps, drain. `http` is the HTTP front door, `admin` the operator's.

pub mod admin;
pub mod body;
mod caps;
mod coding;
mod conduct;
mod connection;
mod doubt;
pub mod http;
pub mod listener;
mod patience;
pub mod phase;
mod reply_body;
mod request_id;
mod respond;
mod routes;
mod stream;
pub mod tls;
mod transactions;

pub use listener::{Bound, Limits, Listener};
pub use phase::Phase;
