//! The listeners' certificates, and what is asked of their clients'.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;

use crate::config::{ClientAuth, ListenerTls, TlsVersion};

const TLS13_ALONE: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

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

/// HTTP/2 and HTTP/1.1 by ALPN. `section` names the configuration's part in errors.
///
/// # Errors
/// When a file cannot be read or holds something else, or the key is not the certificate's.
pub fn acceptor(section: &'static str, files: &ListenerTls) -> Result<TlsAcceptor, Error> {
    let chain = certificates(section, &files.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&files.key_file)
        .map_err(|error| pem(section, &files.key_file, error))?;
    let builder = ServerConfig::builder_with_protocol_versions(versions(files.min_version));
    let (builder, asks) = match verifier(section, &files.clients)? {
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
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match min {
        TlsVersion::V1_2 => rustls::ALL_VERSIONS,
        TlsVersion::V1_3 => TLS13_ALONE,
    }
}

fn verifier(
    section: &'static str,
    clients: &ClientAuth,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Error> {
    let (ca_file, optional) = match clients {
        ClientAuth::Off => return Ok(None),
        ClientAuth::Optional { ca_file } => (ca_file, true),
        ClientAuth::Require { ca_file } => (ca_file, false),
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(section, ca_file)? {
        roots
            .add(certificate)
            .map_err(|error| pem(section, ca_file, error))?;
    }
    let builder = WebPkiClientVerifier::builder(Arc::new(roots));
    let builder = if optional {
        builder.allow_unauthenticated()
    } else {
        builder
    };
    let verifier = builder.build();
    verifier
        .map(Some)
        .map_err(|error| pem(section, ca_file, error))
}

fn certificates(section: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
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
