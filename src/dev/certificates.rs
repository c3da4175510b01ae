//! A private certificate authority for one data folder, and a certificate for each server.
//!
//! No key leaves the folder, and none is shared: whoever copies one store's key cannot pose as another's.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::error::DevError;
use super::folder::{self, Account};

/// Long enough that a kept folder does not stop working, short enough for clients that object to centuries.
const VALID_FROM_YEAR: i32 = 2025;
const VALID_TO_YEAR: i32 = 2045;

/// The names that every server certificate carries: clients come over loopback only.
const SERVER_NAMES: [&str; 2] = ["127.0.0.1", "localhost"];

/// The authority of one data folder.
pub(crate) struct Authority {
    certificate: PathBuf,
    pem: String,
    key_pem: String,
}

/// The files of one server's certificate.
#[derive(Debug, Clone)]
pub(crate) struct ServerCertificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Certificate and key in one file, which is how mongod wants them.
    pub both: PathBuf,
}

impl ServerCertificate {
    pub(crate) fn within(folder: &Path) -> Self {
        Self {
            certificate: folder.join("server.pem"),
            key: folder.join("server.key"),
            both: folder.join("server-both.pem"),
        }
    }
}

impl Authority {
    /// Reads the authority of this folder, or makes it when there is none.
    pub(crate) fn open(folder: &Path) -> Result<Self, DevError> {
        let certificate = folder.join("ca.pem");
        let key = folder.join("ca.key");
        if is_whole(&certificate, &key)? {
            let read =
                |path: &Path| std::fs::read_to_string(path).map_err(DevError::file("read", path));
            let (pem, key_pem) = (read(&certificate)?, read(&key)?);
            return Ok(Self {
                certificate,
                pem,
                key_pem,
            });
        }
        let pair = KeyPair::generate()?;
        let mut params = parameters("Bulkhead development CA", Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&pair)?.pem();
        let key_pem = pair.serialize_pem();
        folder::write_private(&key, key_pem.as_bytes(), &Account::Current)?;
        folder::write_public(&certificate, pem.as_bytes())?;
        Ok(Self {
            certificate,
            pem,
            key_pem,
        })
    }

    pub(crate) fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Issues a server certificate into a folder that only `account` can read.
    pub(crate) fn issue(
        &self,
        name: &str,
        folder: &Path,
        account: &Account,
    ) -> Result<(), DevError> {
        let names = SERVER_NAMES.map(str::to_owned).to_vec();
        let mut params = parameters(&format!("Bulkhead development {name}"), names)?;
        // mongod also presents its certificate when it connects to itself.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let (certificate, key) = self.sign(params)?;

        let files = ServerCertificate::within(folder);
        folder::write_private(&files.certificate, certificate.as_bytes(), account)?;
        folder::write_private(&files.key, key.as_bytes(), account)?;
        let both = format!("{certificate}{key}");
        folder::write_private(&files.both, both.as_bytes(), account)?;
        // Servers that want the authority's file must be able to read it from their own folder.
        folder::write_private(&folder.join("ca.pem"), self.pem.as_bytes(), account)
    }

    /// Issues `NAME.pem` and `NAME.key` into a folder, unless both are there. Returns whether it did.
    pub(crate) fn issue_pair(&self, leaf: &Leaf, folder: &Path) -> Result<bool, DevError> {
        let certificate = folder.join(format!("{}.pem", leaf.file));
        let key = folder.join(format!("{}.key", leaf.file));
        if is_whole(&certificate, &key)? {
            return Ok(false);
        }
        let mut params = parameters(&leaf.common_name, leaf.names.clone())?;
        if let Some(uri) = &leaf.uri {
            let uri = SanType::URI(uri.as_str().try_into()?);
            params.subject_alt_names.push(uri);
        }
        params.extended_key_usages = vec![leaf.usage.clone()];
        let (certificate_pem, key_pem) = self.sign(params)?;
        folder::write_private(&key, key_pem.as_bytes(), &Account::Current)?;
        folder::write_public(&certificate, certificate_pem.as_bytes())?;
        Ok(true)
    }

    /// A new key and its certificate (PEM).
    fn sign(&self, mut params: CertificateParams) -> Result<(String, String), DevError> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let issuer_key = KeyPair::from_pem(&self.key_pem)?;
        let mut issuer_params = parameters("Bulkhead development CA", Vec::new())?;
        issuer_params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let issuer = Issuer::new(issuer_params, issuer_key);
        let pair = KeyPair::generate()?;
        let certificate = params.signed_by(&pair, &issuer)?.pem();
        Ok((certificate, pair.serialize_pem()))
    }
}

/// A certificate to be issued.
pub(crate) struct Leaf {
    /// The files' name, without its ending.
    pub file: String,
    pub common_name: String,
    /// DNS names and addresses.
    pub names: Vec<String>,
    pub uri: Option<String>,
    pub usage: ExtendedKeyUsagePurpose,
}

/// Whether both files of a pair are there. One without the other is neither used nor written over.
pub(crate) fn is_whole(certificate: &Path, key: &Path) -> Result<bool, DevError> {
    match (certificate.exists(), key.exists()) {
        (true, true) => Ok(true),
        (false, false) => Ok(false),
        (true, false) => Err(DevError::half(certificate, key)),
        (false, true) => Err(DevError::half(key, certificate)),
    }
}

fn parameters(common_name: &str, names: Vec<String>) -> Result<CertificateParams, DevError> {
    let mut params = CertificateParams::new(names)?;
    params.not_before = rcgen::date_time_ymd(VALID_FROM_YEAR, 1, 1);
    params.not_after = rcgen::date_time_ymd(VALID_TO_YEAR, 1, 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    Ok(params)
}
