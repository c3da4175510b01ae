use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::*;
use crate::execute::settings::IdentityFiles;

/// A folder with `ca.pem`, `client.pem` and `client.key`.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write();
        folder
    }

    /// A new authority with a new client certificate.
    fn write(&self) {
        let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(params, ca_key);
        let client = CertificateParams::new(Vec::new()).unwrap();
        let client = client.signed_by(&key, &issuer).unwrap();
        std::fs::write(self.path("ca.pem"), ca.pem()).unwrap();
        std::fs::write(self.path("client.pem"), client.pem()).unwrap();
        std::fs::write(self.path("client.key"), key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn settings(&self) -> TlsSettings {
        TlsSettings {
            mode: TlsMode::VerifyFull,
            ca_file: Some(self.path("ca.pem")),
            identity: Some(IdentityFiles {
                cert_file: self.path("client.pem"),
                key_file: self.path("client.key"),
            }),
            ..TlsSettings::default()
        }
    }
}

#[test]
fn faults_name_the_file() {
    let folder = Folder::new();
    for name in ["ca.pem", "client.pem", "client.key"] {
        let path = folder.path(name);
        let good = std::fs::read(&path).unwrap();
        let check = || {
            let error = client_config(&folder.settings()).unwrap_err().to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
        };
        std::fs::write(&path, "nothing here").unwrap();
        check();
        std::fs::remove_file(&path).unwrap();
        check();
        std::fs::write(&path, good).unwrap();
    }
    assert!(client_config(&folder.settings()).unwrap().is_some());
}

#[test]
fn off_means_off() {
    let off = TlsSettings {
        mode: TlsMode::Disable,
        ..TlsSettings::default()
    };
    assert!(client_config(&off).unwrap().is_none());
}

#[test]
fn renewed_files_count_and_bad_ones_do_not() {
    let folder = Folder::new();
    let made = |files: &Files| Ok(files.roots.clone());
    let renewed = Renewed::new(&folder.settings(), made).unwrap().unwrap();
    let first = renewed.get();
    assert!(renewed.changed().is_none());

    folder.write();
    let second = renewed.changed().unwrap();
    assert!(second != first && renewed.get() == second);

    // The key of another certificate: all of it is refused, and taken once it is whole.
    let key = KeyPair::generate().unwrap().serialize_pem();
    let whole = std::fs::read(folder.path("client.key")).unwrap();
    std::fs::write(folder.path("client.key"), key).unwrap();
    assert!(renewed.changed().is_none() && renewed.get() == second);
    std::fs::write(folder.path("client.key"), whole).unwrap();
    assert!(renewed.changed().is_none() && renewed.get() == second);
    folder.write();
    assert!(renewed.get() != second);
}
