//! TLS towards a store: rustls with the ring provider, certificate and name always verified.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::settings::{TlsMode, TlsSettings};

/// Why no TLS configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read the CA file `{}`: {reason}", path.display())]
    CaFile { path: PathBuf, reason: String },
    #[error("the CA file `{}` holds no usable certificate", .0.display())]
    CaFileEmpty(PathBuf),
    #[error("the system has no CA certificates: install ca-certificates or set `ca_file`")]
    NoNativeRoots,
    #[error("rustls: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The client configuration that `settings` asks for; `None` where TLS is off.
pub fn client_config(settings: &TlsSettings) -> Result<Option<ClientConfig>, TlsError> {
    match settings.mode {
        TlsMode::Disable => Ok(None),
        TlsMode::VerifyFull => {
            let mut roots = RootCertStore::empty();
            for certificate in root_certificates(settings)? {
                roots.add(certificate)?;
            }
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth();
            Ok(Some(config))
        }
    }
}

/// The certificates to trust: those of the CA file, or else the system's. Never none.
pub fn root_certificates(settings: &TlsSettings) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let Some(path) = &settings.ca_file else {
        let found = rustls_native_certs::load_native_certs().certs;
        // A system's bundle may hold certificates that rustls cannot read; those are left out, not fatal.
        let usable: Vec<_> = found
            .into_iter()
            .filter(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok())
            .collect();
        return if usable.is_empty() {
            Err(TlsError::NoNativeRoots)
        } else {
            Ok(usable)
        };
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| TlsError::CaFile {
            path: path.clone(),
            reason: error.to_string(),
        })?;
    if certificates.is_empty() {
        return Err(TlsError::CaFileEmpty(path.clone()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(ca_file: Option<PathBuf>) -> TlsSettings {
        TlsSettings {
            mode: TlsMode::VerifyFull,
            ca_file,
        }
    }

    #[test]
    fn faults_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "no certificate here").unwrap();
        let missing = folder.path().join("missing.pem");
        for path in [empty, missing] {
            let error = client_config(&settings(Some(path.clone()))).unwrap_err();
            assert!(
                error.to_string().contains(&path.display().to_string()),
                "{error}"
            );
        }
    }

    #[test]
    fn a_private_ca_is_read_and_off_means_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        std::fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
        assert!(client_config(&settings(Some(path))).unwrap().is_some());

        let off = TlsSettings {
            mode: TlsMode::Disable,
            ca_file: None,
        };
        assert!(client_config(&off).unwrap().is_none());
    }
}
