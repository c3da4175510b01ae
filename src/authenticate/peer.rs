//! Who is at the other end of a connection, as the listener knows it and no request can claim.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;

use crate::certificates::expiry;

/// The other end of a client's connection.
#[derive(Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address; an IPv4 address that came over an IPv6 socket is an IPv4 address here.
    pub address: IpAddr,
    /// The certificate chain that it proved to hold, leaf first, verified against `client_ca_file` when the
    /// connection began; empty where it showed none, or none was asked for.
    pub certificates: Vec<CertificateDer<'static>>,
    /// When the first of them ends.
    ends_at: Option<Timestamp>,
}

impl Peer {
    pub fn new(address: IpAddr, certificates: Vec<CertificateDer<'static>>) -> Self {
        Self {
            address: address.to_canonical(),
            // The handshake has read it; what cannot be read has ended.
            ends_at: certificates
                .first()
                .map(|leaf| expiry(leaf).unwrap_or(Timestamp::MIN)),
            certificates,
        }
    }

    /// Whether its certificate has ended since the connection began.
    pub fn has_expired(&self, clock: Timestamp) -> bool {
        self.ends_at.is_some_and(|end| end < clock)
    }

    /// The certificate of the peer itself (DER), if it proved to hold one.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificates.first()
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("address", &self.address)
            .field("certificates", &self.certificates.len())
            .finish()
    }
}
