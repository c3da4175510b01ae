//! `[server.tls]` and `[admin.tls]`: a listener's certificate, and what it asks of its clients.

use std::path::PathBuf;

use super::reader::{Reader, Section};

/// What one listener needs for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// A PEM file: the certificate, then those between it and its CA.
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    pub min_version: TlsVersion,
    pub clients: ClientAuth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    #[default]
    V1_2,
    V1_3,
}

impl TlsVersion {
    /// As the configuration writes them.
    pub(super) const CHOICES: [(&'static str, Self); 2] =
        [("1.2", Self::V1_2), ("1.3", Self::V1_3)];
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
