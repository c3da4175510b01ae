//! The listener's certificate.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::ListenerTls;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("[server.tls] `{file}`: {cause}")]
    Pem { file: String, cause: String },
    #[error("[server.tls] the certificate and the key do not make a server: {0}")]
    Pair(#[from] rustls::Error),
}

/// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN.
pub fn acceptor(files: &ListenerTls) -> Result<TlsAcceptor, Error> {
    let fault = |file: &std::path::Path, cause: String| Error::Pem {
        file: file.display().to_string(),
        cause,
    };
    let chain = CertificateDer::pem_file_iter(&files.cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fault(&files.cert_file, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key_file)
        .map_err(|error| fault(&files.key_file, error.to_string()))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
