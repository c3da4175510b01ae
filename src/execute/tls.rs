//! TLS towards a store: rustls with the ring provider, certificate and name always verified.
//!
//! The files are read again whenever a connection is opened ([`Renewed`]), so that a certificate that was renewed
//! counts from the next connection on. One that cannot be used does not replace one that can.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest as _, Sha256};

use super::settings::{TlsMode, TlsSettings};
use crate::lock::Unpoisoned as _;

/// Why no TLS configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read the {what} `{}`: {reason}", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        reason: String,
    },
    #[error("the {what} `{}` holds no usable certificate", path.display())]
    Empty { what: &'static str, path: PathBuf },
    #[error("the system has no CA certificates: install ca-certificates or set `ca_file`")]
    NoNativeRoots,
    #[error("`cert_file` and `key_file` do not belong together: {0}")]
    Pair(rustls::Error),
    #[error("rustls: {0}")]
    Rustls(#[from] rustls::Error),
    /// A driver's own words.
    #[error("{0}")]
    Driver(String),
}

/// What tells one state of the files from another.
type Digest = [u8; 32];

/// A private key and the certificate that goes with it, as their files have them (PEM).
pub struct Identity {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// The files of one server's TLS, read and checked.
pub struct Files {
    digest: Digest,
    /// The CAs to trust; never none.
    pub roots: Vec<CertificateDer<'static>>,
    /// The CA file, where one is named (PEM).
    pub ca: Option<Vec<u8>>,
    identity: Option<Identity>,
    config: ClientConfig,
}

impl Files {
    /// Reads the files; `None` where TLS is off.
    ///
    /// # Errors
    /// When a file cannot be read or used, or the key is not the certificate's.
    pub fn read(settings: &TlsSettings) -> Result<Option<Self>, TlsError> {
        if settings.mode == TlsMode::Disable {
            return Ok(None);
        }
        let mut hash = Sha256::new();
        let mut bytes = |what, path: &Path| {
            let read = std::fs::read(path).map_err(|error| file(what, path, error))?;
            hash.update((read.len() as u64).to_le_bytes());
            hash.update(&read);
            Ok::<_, TlsError>(read)
        };
        let (ca, roots) = match &settings.ca_file {
            Some(path) => {
                let pem = bytes("CA file", path)?;
                let roots = certificates("CA file", path, &pem)?;
                (Some(pem), roots)
            }
            None => (None, native_roots()?),
        };
        let identity = match &settings.identity {
            Some(files) => Some(Identity {
                certificate: bytes("certificate", &files.cert_file)?,
                key: bytes("key", &files.key_file)?,
            }),
            None => None,
        };
        let digest = hash.finalize().into();
        let config = config(settings, &roots, identity.as_ref())?;
        Ok(Some(Self {
            digest,
            roots,
            ca,
            identity,
            config,
        }))
    }

    /// The client's certificate and key (PEM), if it has them.
    pub fn identity(&self) -> Option<(&[u8], &[u8])> {
        let identity = self.identity.as_ref()?;
        Some((&identity.certificate, &identity.key))
    }

    pub fn config(&self) -> &ClientConfig {
        &self.config
    }
}

/// The client configuration that `settings` asks for, by the files as they are now; `None` where TLS is off.
pub fn client_config(settings: &TlsSettings) -> Result<Option<ClientConfig>, TlsError> {
    Ok(Files::read(settings)?.map(|files| files.config))
}

fn config(
    settings: &TlsSettings,
    roots: &[CertificateDer<'static>],
    identity: Option<&Identity>,
) -> Result<ClientConfig, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in roots {
        store.add(certificate.clone())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(settings.min_version.protocols())?
        .with_root_certificates(store);
    let (Some(identity), Some(files)) = (identity, &settings.identity) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates("certificate", &files.cert_file, &identity.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&identity.key)
        .map_err(|error| file("key", &files.key_file, error))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(TlsError::Pair)
}

fn native_roots() -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = rustls_native_certs::load_native_certs().certs;
    // A system's bundle may hold certificates that rustls cannot read; those are left out, not fatal.
    let usable: Vec<_> = found
        .into_iter()
        .filter(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok())
        .collect();
    if usable.is_empty() {
        return Err(TlsError::NoNativeRoots);
    }
    Ok(usable)
}

fn certificates(
    what: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| file(what, path, error))?;
    if found.is_empty() {
        let path = path.to_owned();
        return Err(TlsError::Empty { what, path });
    }
    Ok(found)
}

fn file(what: &'static str, path: &Path, reason: impl ToString) -> TlsError {
    TlsError::File {
        what,
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// What a driver needs for TLS, made anew when the files have changed.
pub struct Renewed<T> {
    settings: TlsSettings,
    make: Make<T>,
    current: Mutex<Current<T>>,
}

type Make<T> = Box<dyn Fn(&Files) -> Result<T, TlsError> + Send + Sync>;

struct Current<T> {
    digest: Digest,
    made: T,
    /// Why the files cannot be used as they are; said once.
    refused: Option<String>,
}

impl<T: Clone> Renewed<T> {
    /// `None` where TLS is off.
    ///
    /// # Errors
    /// When the files cannot be used to begin with.
    pub fn new(
        settings: &TlsSettings,
        make: impl Fn(&Files) -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Option<Self>, TlsError> {
        let Some(files) = Files::read(settings)? else {
            return Ok(None);
        };
        let current = Mutex::new(Current {
            digest: files.digest,
            made: make(&files)?,
            refused: None,
        });
        Ok(Some(Self {
            settings: settings.clone(),
            make: Box::new(make),
            current,
        }))
    }

    /// By the files as they are now, or where these cannot be used, as they last could. Reads them: a matter of
    /// microseconds beside the handshake that follows.
    pub fn get(&self) -> T {
        self.look().0
    }

    /// [`Self::get`], where it is another than before.
    pub fn changed(&self) -> Option<T> {
        let (made, changed) = self.look();
        changed.then_some(made)
    }

    fn look(&self) -> (T, bool) {
        let mut current = self.current.lock().unpoisoned();
        if !self.settings.has_files() {
            return (current.made.clone(), false);
        }
        let found = Files::read(&self.settings);
        let made = match &found {
            Ok(Some(files)) if files.digest == current.digest => Ok(None),
            Ok(Some(files)) => (self.make)(files).map(|made| Some((files.digest, made))),
            Ok(None) => Ok(None),
            Err(error) => Err(TlsError::Driver(error.to_string())),
        };
        let changed = match made {
            Ok(None) => {
                current.refused = None;
                false
            }
            Ok(Some((digest, made))) => {
                tracing::info!(files = %self.settings.names(), "renewed certificates are in use");
                *current = Current {
                    digest,
                    made,
                    refused: None,
                };
                true
            }
            Err(error) => {
                let reason = error.to_string();
                if current.refused.as_ref() != Some(&reason) {
                    tracing::error!(%reason, "the changed certificates cannot be used; those before stay in use");
                    current.refused = Some(reason);
                }
                false
            }
        };
        (current.made.clone(), changed)
    }
}

#[cfg(test)]
mod tests;
