//! Listeners, TLS, connection caps, drain. `http` is the HTTP front door, `admin` the operator's.

pub mod admin;
pub mod body;
pub mod http;
pub mod listener;
mod respond;
mod routes;
pub mod tls;

pub use listener::{Listener, Shutdown};
