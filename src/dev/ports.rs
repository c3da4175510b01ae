//! Free loopback ports for servers that will be killed and restarted on the same port.

use std::net::{Ipv4Addr, TcpListener};

use super::error::DevError;

/// Below this, ports belong to well-known services.
const PORT_MIN: u16 = 10_240;
/// Where the kernel's range for outgoing connections starts unless it says otherwise.
const EPHEMERAL_START_DEFAULT: u16 = 32_768;
const ATTEMPTS_MAX: u32 = 200;

/// A port that nothing listens on now. It may be taken before it is used, so callers try again then.
///
/// The port is drawn from below the kernel's ephemeral range: a client that keeps connecting to a dead
/// server's ephemeral port is, sooner or later, given that very port as its own, connects to itself, and
/// keeps the server from coming back.
pub(crate) fn free() -> Result<u16, DevError> {
    let end = ephemeral_start();
    for _ in 0..ATTEMPTS_MAX {
        let port = if end > PORT_MIN.saturating_add(1000) {
            let span = u32::from(end - PORT_MIN);
            let offset = getrandom::u32()? % span;
            PORT_MIN + u16::try_from(offset).unwrap_or(0)
        } else {
            0
        };
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            && let Ok(address) = listener.local_addr()
        {
            return Ok(address.port());
        }
    }
    Err(DevError::NoPort {
        attempts: ATTEMPTS_MAX,
    })
}

/// Whether a listener can be opened on the port now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn ephemeral_start() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(EPHEMERAL_START_DEFAULT)
}
