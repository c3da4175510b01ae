//! The listeners' certificates, and what is asked of their clients'. They may be renewed while connections are open:
//! the next handshake takes what is there.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;

use crate::config::{ClientAuth, ListenerTls};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("[{section}] `{file}`: {cause}")]
    Pem {
        section: &'static str,
        file: String,
        cause: String,
    },
    #[error("[{section}] the certificate and the key do not make a server: {cause}")]
    Pair {
        section: &'static str,
        cause: rustls::Error,
    },
}

/// A listener's certificate and key, as they are now.
pub struct Certificate {
    /// The configuration's part, for errors.
    section: &'static str,
    current: ArcSwap<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    digest: [u8; 32],
}

impl Current {
    fn new(
        section: &'static str,
        files: &ListenerTls,
        contents: &Contents,
    ) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self {
            config: Arc::new(server_config(section, files, contents)?),
            digest: contents.digest(),
        }))
    }
}

impl Certificate {
    /// # Errors
    /// When a file cannot be read or holds something else, or the key is not the certificate's.
    pub fn open(section: &'static str, files: &ListenerTls) -> Result<Self, Error> {
        let contents = Contents::read(section, files)?;
        Ok(Self {
            section,
            current: ArcSwap::new(Current::new(section, files, &contents)?),
        })
    }

    pub const fn section(&self) -> &'static str {
        self.section
    }

    /// Puts what the files hold in the place of what is in use: all of it or nothing.
    ///
    /// # Errors
    /// As [`Certificate::open`]; what was in use stays so.
    pub fn renew(&self, files: &ListenerTls, contents: &Contents) -> Result<(), Error> {
        self.current
            .store(Current::new(self.section, files, contents)?);
        Ok(())
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.load().config))
    }

    /// Of the contents that are in use.
    pub fn digest(&self) -> [u8; 32] {
        self.current.load().digest
    }
}

/// What a listener's files hold.
pub struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    /// # Errors
    /// When a file cannot be read.
    pub fn read(section: &'static str, files: &ListenerTls) -> Result<Self, Error> {
        let read = |file: &Path| std::fs::read(file).map_err(|error| pem(section, file, error));
        Ok(Self {
            certificate: read(&files.cert_file)?,
            key: read(&files.key_file)?,
            client_ca: files.clients.ca_file().map(read).transpose()?,
        })
    }

    /// Tells one state of the files from another.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let client_ca = self.client_ca.as_deref().unwrap_or_default();
        for part in [&self.certificate, &self.key, client_ca] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// HTTP/2 and HTTP/1.1 by ALPN.
fn server_config(
    section: &'static str,
    files: &ListenerTls,
    contents: &Contents,
) -> Result<ServerConfig, Error> {
    let chain = certificates(section, &files.cert_file, &contents.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&contents.key)
        .map_err(|error| pem(section, &files.key_file, error))?;
    let builder = ServerConfig::builder_with_protocol_versions(files.min_version.protocols());
    let (builder, asks) = match verifier(section, files, contents)? {
        None => (builder.with_no_client_auth(), false),
        Some(verifier) => (builder.with_client_cert_verifier(verifier), true),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|cause| Error::Pair { section, cause })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if asks {
        // A resumed session is not verified again, and would outlive its certificate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn verifier(
    section: &'static str,
    files: &ListenerTls,
    contents: &Contents,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Error> {
    let (Some(ca_file), Some(ca)) = (files.clients.ca_file(), &contents.client_ca) else {
        return Ok(None);
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(section, ca_file, ca)? {
        roots
            .add(certificate)
            .map_err(|error| pem(section, ca_file, error))?;
    }
    let builder = WebPkiClientVerifier::builder(Arc::new(roots));
    let verifier = match &files.clients {
        ClientAuth::Optional { .. } => builder.allow_unauthenticated().build(),
        ClientAuth::Off | ClientAuth::Require { .. } => builder.build(),
    };
    verifier
        .map(Some)
        .map_err(|error| pem(section, ca_file, error))
}

fn certificates(
    section: &'static str,
    file: &Path,
    contents: &[u8],
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(contents)
        .collect::<Result<_, _>>()
        .map_err(|error| pem(section, file, error))?;
    if found.is_empty() {
        return Err(pem(section, file, "holds no certificate"));
    }
    Ok(found)
}

fn pem(section: &'static str, file: &Path, cause: impl ToString) -> Error {
    Error::Pem {
        section,
        file: file.display().to_string(),
        cause: cause.to_string(),
    }
}
