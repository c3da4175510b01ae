//! When the certificates that the sidecar holds expire.

use std::path::PathBuf;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::config::Config;
use crate::execute::settings::TlsSettings;

/// A certificate that expires so soon is warned of.
pub const WARN_BEFORE_S: i64 = 14 * 24 * 60 * 60;

/// A file with certificates that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What it is for: the metric's label.
    pub label: &'static str,
    pub file: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Our own, with those between it and its CA: it ends with the first of them.
    Own,
    /// Those we trust: nothing is trusted any more once the last has ended.
    Trusted,
}

impl Held {
    /// Every such file of a configuration.
    pub fn all(config: &Config) -> Vec<Self> {
        let mut held = Vec::new();
        let mut add = |label, file: Option<PathBuf>, kind| {
            held.extend(file.map(|file| Self { label, file, kind }));
        };
        let listeners = [
            (["listener", "listener_client_ca"], &config.server.tls),
            (["admin", "admin_client_ca"], &config.admin.tls),
        ];
        for ([own, trusted], tls) in listeners {
            let Some(tls) = tls else { continue };
            add(own, Some(tls.cert_file.clone()), Kind::Own);
            let ca = tls.clients.ca_file().map(ToOwned::to_owned);
            add(trusted, ca, Kind::Trusted);
        }
        let stores = &config.stores;
        let databases: [(_, Option<&TlsSettings>); 5] = [
            (["system", "system_ca"], Some(&config.system.tls)),
            (
                ["postgres", "postgres_ca"],
                stores.postgres.as_ref().map(|store| &store.tls),
            ),
            (
                ["mysql", "mysql_ca"],
                stores.mysql.as_ref().map(|store| &store.tls),
            ),
            (
                ["mongodb", "mongodb_ca"],
                stores.mongodb.as_ref().map(|store| &store.tls),
            ),
            (
                ["redis", "redis_ca"],
                stores.redis.as_ref().map(|store| &store.tls),
            ),
        ];
        for ([own, trusted], tls) in databases {
            let Some(tls) = tls else { continue };
            let own_file = tls.identity.as_ref().map(|files| files.cert_file.clone());
            add(own, own_file, Kind::Own);
            add(trusted, tls.ca_file.clone(), Kind::Trusted);
        }
        held
    }

    /// When it expires.
    ///
    /// # Errors
    /// When the file cannot be read, or holds no certificate.
    pub fn expires(&self) -> Result<Timestamp, String> {
        let place = self.file.display();
        let pem = std::fs::read(&self.file).map_err(|error| format!("`{place}`: {error}"))?;
        let mut ends = Vec::new();
        for der in CertificateDer::pem_slice_iter(&pem) {
            let der = der.map_err(|error| format!("`{place}`: {error}"))?;
            ends.push(expiry(&der).map_err(|reason| format!("`{place}`: {reason}"))?);
        }
        let end = match self.kind {
            Kind::Own => ends.into_iter().min(),
            Kind::Trusted => ends.into_iter().max(),
        };
        end.ok_or_else(|| format!("`{place}` holds no certificate"))
    }
}

/// Its `notAfter`.
///
/// # Errors
/// When it is no certificate.
pub fn expiry(der: &CertificateDer<'_>) -> Result<Timestamp, String> {
    let certificate = Certificate::from_der(der).map_err(|error| error.to_string())?;
    let end = certificate.tbs_certificate.validity.not_after;
    let seconds = i64::try_from(end.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    // None begins so far back that it is not told; 9999-12-31 stands for never (RFC 5280, section 4.1.2.5).
    Ok(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_ends_with_the_first_of_its_chain_and_trust_with_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chain.pem");
        let mut pem = String::new();
        for year in [2031, 2030, 2032] {
            let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let key = rcgen::KeyPair::generate().unwrap();
            pem.push_str(&params.self_signed(&key).unwrap().pem());
        }
        std::fs::write(&file, pem).unwrap();
        let expires = |kind| {
            let file = file.clone();
            let label = "listener";
            let held = Held { label, file, kind };
            held.expires().map(|end| end.to_string())
        };
        assert_eq!(expires(Kind::Own), Ok("2030-01-01T00:00:00Z".into()));
        assert_eq!(expires(Kind::Trusted), Ok("2032-01-01T00:00:00Z".into()));
        std::fs::write(&file, "no certificate").unwrap();
        assert!(expires(Kind::Own).unwrap_err().contains("chain.pem"));
    }
}
