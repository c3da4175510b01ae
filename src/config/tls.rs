//! TLS: a listener's certificate and what it asks of its clients (`[server.tls]`, `[admin.tls]`), and the way to a
//! database (`tls = { … }` of `[system]` and each store).

use std::path::{Path, PathBuf};

use super::reach::Reach;
use super::reader::{Reader, Section};
use crate::execute::settings::{IdentityFiles, TlsMode, TlsSettings, TlsVersion};

/// What one listener needs for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// A PEM file: the certificate, then those between it and its CA.
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    pub min_version: TlsVersion,
    pub clients: ClientAuth,
}

/// Whether clients show certificates, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuth {
    Off,
    /// A client may show a certificate, which must then be one that these CAs signed.
    Optional {
        ca_file: PathBuf,
    },
    /// A client without such a certificate is not served.
    Require {
        ca_file: PathBuf,
    },
}

impl ClientAuth {
    pub fn ca_file(&self) -> Option<&Path> {
        match self {
            Self::Off => None,
            Self::Optional { ca_file } | Self::Require { ca_file } => Some(ca_file),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Off,
    Optional,
    Require,
}

/// The section `tls` of a listener.
pub(super) fn listener(reader: &mut Reader<'_>, parent: &mut Section<'_>) -> Option<ListenerTls> {
    let mut section = reader.section(parent, "tls");
    let cert_file = reader.path(&mut section, "cert_file");
    let key_file = reader.path(&mut section, "key_file");
    let min_version = reader.choice(
        &mut section,
        "min_version",
        &TlsVersion::CHOICES,
        TlsVersion::default(),
    );
    let clients = clients(reader, &mut section);
    let files = cert_file.zip(key_file);
    if section.is_present() && files.is_none() {
        let name = section.name().to_owned();
        reader.missing(
            &section,
            format!("[{name}] needs both `cert_file` and `key_file`"),
        );
    }
    reader.finish(section);
    let (cert_file, key_file) = files?;
    Some(ListenerTls {
        cert_file,
        key_file,
        min_version,
        clients,
    })
}

/// Who names a CA for clients' certificates means to ask for them.
fn clients(reader: &mut Reader<'_>, section: &mut Section<'_>) -> ClientAuth {
    let ca_file = reader.path(section, "client_ca_file");
    let default = if ca_file.is_some() {
        Asked::Require
    } else {
        Asked::Off
    };
    let choices = [
        ("off", Asked::Off),
        ("optional", Asked::Optional),
        ("require", Asked::Require),
    ];
    match (
        reader.choice(section, "client_auth", &choices, default),
        ca_file,
    ) {
        (Asked::Off, None) => ClientAuth::Off,
        (Asked::Optional, Some(ca_file)) => ClientAuth::Optional { ca_file },
        (Asked::Require, Some(ca_file)) => ClientAuth::Require { ca_file },
        (Asked::Off, Some(_)) => {
            reader.missing(
                section,
                "`client_ca_file` has no use with `client_auth = \"off\"`: leave one of them out",
            );
            ClientAuth::Off
        }
        (Asked::Optional | Asked::Require, None) => {
            reader.missing(
                section,
                "`client_auth` needs `client_ca_file`: the CA that signs the clients' certificates",
            );
            ClientAuth::Off
        }
    }
}

/// `tls = { mode = "verify-full" | "disable", ca_file, cert_file, key_file, min_version }`. Plaintext is for what does not
/// leave the machine; where nothing is said, that is plaintext and everything else is verified. `encrypted`: the
/// address itself asks for TLS.
pub(super) fn client(
    reader: &mut Reader<'_>,
    parent: &mut Section<'_>,
    reach: &Reach,
    encrypted: bool,
) -> TlsSettings {
    let mut section = reader.section(parent, "tls");
    let is_plain = match reach {
        Reach::Socket => true,
        Reach::Loopback => !encrypted && !section.is_present(),
        Reach::Network(_) => false,
    };
    let default = if is_plain {
        TlsMode::Disable
    } else {
        TlsMode::VerifyFull
    };
    let modes = [
        ("verify-full", TlsMode::VerifyFull),
        ("disable", TlsMode::Disable),
    ];
    let mode = reader.choice(&mut section, "mode", &modes, default);
    let ca_file = reader.path(&mut section, "ca_file");
    let identity = identity(reader, &mut section);
    let min_version = reader.choice(
        &mut section,
        "min_version",
        &TlsVersion::CHOICES,
        TlsVersion::default(),
    );
    let plaintext = reader.choice(
        &mut section,
        "allow_plaintext_over_network",
        &[("no", false), ("yes, I accept the risk", true)],
        false,
    );
    let fault = match (mode, reach) {
        (TlsMode::Disable, Reach::Network(why)) if !plaintext => Some(format!(
            "{why}, so the connection must be encrypted: set `mode = \"verify-full\"` (or `allow_plaintext_over_network = \"yes, I accept the risk\"`)"
        )),
        (TlsMode::VerifyFull, Reach::Socket) => Some(
            "there is no TLS on a Unix socket: leave `tls` out, or set `mode = \"disable\"`".into(),
        ),
        (TlsMode::Disable, _) if encrypted => {
            Some("the address asks for TLS and `mode` is \"disable\": take one of them out".into())
        }
        (TlsMode::Disable, _) if identity.is_some() => {
            Some("`cert_file` has no use with `mode = \"disable\"`".into())
        }
        (TlsMode::VerifyFull | TlsMode::Disable, _) => None,
    };
    if let Some(fault) = fault {
        reader.missing(&section, fault);
    }
    reader.finish(section);
    TlsSettings {
        mode,
        ca_file,
        identity,
        min_version,
        plaintext_over_network: plaintext,
    }
}

fn identity(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<IdentityFiles> {
    let cert_file = reader.path(section, "cert_file");
    let key_file = reader.path(section, "key_file");
    if cert_file.is_some() != key_file.is_some() {
        reader.missing(
            section,
            "`cert_file` and `key_file` go together: the certificate and its key",
        );
    }
    let (cert_file, key_file) = cert_file.zip(key_file)?;
    Some(IdentityFiles {
        cert_file,
        key_file,
    })
}
