//! Callers that are known by the certificate of their connection: a name in it stands for a role.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::{Error, Peer, Principal};

/// Names of a certificate that stands for no role which the log repeats, and characters of each.
const NAMES_TOLD_MAX: usize = 8;
const NAME_CHARACTERS_MAX: usize = 128;

/// Before the name in a principal's id. No API key's id has a colon.
const ID_PREFIX: &str = "cert:";

/// What a URI must begin with to stand for a role.
pub const SPIFFE: &str = "spiffe://";

/// Names of certificates (exact `spiffe://…` URIs, or DNS names without a wildcard) and their principals.
#[derive(Debug, Default)]
pub struct Certificates(BTreeMap<String, Arc<Principal>>);

impl Certificates {
    /// `roles`: the names and their roles.
    pub fn new(roles: &BTreeMap<String, String>) -> Self {
        let principal = |name: &String, role: &String| {
            Arc::new(Principal {
                key_id: format!("{ID_PREFIX}{name}"),
                user_id: None,
                role: role.clone(),
            })
        };
        Self(
            roles
                .iter()
                .map(|(name, role)| (name.clone(), principal(name, role)))
                .collect(),
        )
    }

    /// Whom the peer's certificate names; `None` where it shows none, or none with a name that stands for a role.
    ///
    /// # Errors
    /// When its names stand for several roles, or it has ended since the connection began.
    pub fn principal(
        &self,
        peer: &Peer,
        clock: Timestamp,
    ) -> Result<Option<Arc<Principal>>, Error> {
        if peer.has_expired(clock) {
            return Err(Error::CertificateExpired);
        }
        let Some(certificate) = peer.certificate().filter(|_| !self.0.is_empty()) else {
            return Ok(None);
        };
        let names = names(certificate)?;
        let mut principals = names.iter().filter_map(|name| self.0.get(name));
        let Some(first) = principals.next() else {
            return Ok(None);
        };
        match principals.find(|other| other.role != first.role) {
            None => Ok(Some(Arc::clone(first))),
            Some(other) => Err(Error::Disagree {
                key_id: other.key_id.clone(),
                certificate: first.key_id.clone(),
            }),
        }
    }

    /// Why a peer without a key, and without a name that stands for a role, is nobody.
    pub fn nobody(&self, peer: &Peer) -> Error {
        let certificate = peer.certificate().filter(|_| !self.0.is_empty());
        let Some(Ok(names)) = certificate.map(names) else {
            return Error::Missing;
        };
        let short = |name: &String| {
            let short: String = name.chars().take(NAME_CHARACTERS_MAX).collect();
            format!("`{}`", short.escape_debug())
        };
        let mut told: Vec<_> = names.iter().take(NAMES_TOLD_MAX).map(short).collect();
        match names.len().saturating_sub(told.len()) {
            0 if told.is_empty() => told.push("no SPIFFE ID and no DNS name".to_owned()),
            0 => {}
            more => told.push(format!("and {more} more")),
        }
        Error::Unlisted(told.join(", "))
    }
}

/// The names in a certificate that could stand for a role, in order, so that a certificate with two names of one role is
/// always the same caller.
fn names(certificate: &CertificateDer<'_>) -> Result<BTreeSet<String>, Error> {
    // The handshake has verified it, so it can be read.
    let certificate = EndEntityCert::try_from(certificate).map_err(|_| Error::Invalid)?;
    let uris = certificate.valid_uri_names().map(str::to_owned);
    // So that no URI passes for a DNS name.
    let uris = uris.filter(|uri| uri.starts_with(SPIFFE));
    let hosts = certificate.valid_dns_names().map(str::to_ascii_lowercase);
    Ok(uris.chain(hosts).collect())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn peer(uris: &[&str], hosts: &[&str]) -> Peer {
        let mut params = CertificateParams::new(
            hosts
                .iter()
                .map(|host| (*host).to_owned())
                .collect::<Vec<_>>(),
        )
        .unwrap();
        for uri in uris {
            let uri = SanType::URI((*uri).try_into().unwrap());
            params.subject_alt_names.push(uri);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Peer::new([127, 0, 0, 1].into(), vec![certificate.der().clone()])
    }

    #[test]
    fn a_name_stands_for_a_role_exactly_or_not_at_all() {
        let roles = [
            ("spiffe://cluster/ns/shop/sa/web", "app"),
            ("web.shop.internal", "app"),
            ("spiffe://cluster/ns/ops/sa/console", "admin"),
        ];
        let roles = roles.map(|(name, role)| (name.to_owned(), role.to_owned()));
        let certificates = Certificates::new(&BTreeMap::from(roles));
        let web = "spiffe://cluster/ns/shop/sa/web";
        let console = "spiffe://cluster/ns/ops/sa/console";
        let check = |uris: &[&str], hosts: &[&str], expected: Result<Option<(&str, &str)>, ()>| {
            let found = certificates.principal(&peer(uris, hosts), Timestamp::UNIX_EPOCH);
            let found = found
                .map(|found| found.map(|found| (found.key_id.clone(), found.role.clone())))
                .map_err(|_| ());
            let expected =
                expected.map(|one| one.map(|(name, role)| (format!("cert:{name}"), role.into())));
            assert_eq!(found, expected, "{uris:?} {hosts:?}");
        };
        check(&[web], &[], Ok(Some((web, "app"))));
        check(
            &[],
            &["WEB.shop.internal"],
            Ok(Some(("web.shop.internal", "app"))),
        );
        check(
            &[console],
            &["other.internal"],
            Ok(Some((console, "admin"))),
        );
        check(&[web], &["web.shop.internal"], Ok(Some((web, "app"))));
        check(&[web, console], &[], Err(()));
        check(
            &["spiffe://cluster/ns/shop/sa/web/x"],
            &["*.shop.internal"],
            Ok(None),
        );
        check(&["SPIFFE://cluster/ns/shop/sa/web"], &[], Ok(None));
        check(&["web.shop.internal"], &[], Ok(None));
        check(&[], &[], Ok(None));
        let nobody = Peer::new([127, 0, 0, 1].into(), Vec::new());
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(certificates.principal(&nobody, now), Ok(None));
        let ended = certificates.principal(&peer(&[web], &[]), Timestamp::MAX);
        assert_eq!(ended, Err(Error::CertificateExpired));
    }

    #[test]
    fn a_name_that_nobody_listed_is_told_within_bounds() {
        let roles = BTreeMap::from([("web.shop.internal".to_owned(), "app".to_owned())]);
        let (listing, none) = (Certificates::new(&roles), Certificates::default());
        let told = |uris: &[&str], hosts: &[&str]| {
            let error = listing.nobody(&peer(uris, hosts));
            let Error::Unlisted(names) = error else {
                panic!("{error:?}");
            };
            names
        };
        assert_eq!(
            told(&["spiffe://cluster/web"], &["Web.internal"]),
            "`spiffe://cluster/web`, `web.internal`"
        );
        assert_eq!(told(&[], &[]), "no SPIFFE ID and no DNS name");
        let many: Vec<String> = (0..20)
            .map(|n| format!("h{n}.{}", "x".repeat(60)))
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let long = format!("spiffe://c/{}", "y".repeat(4000));
        let names = told(&[&long], &many);
        assert!(
            names.ends_with(", and 13 more") && names.len() < 1024,
            "{names}"
        );
        // Where certificates stand for nothing, none is missing.
        assert_eq!(none.nobody(&peer(&[], &["web"])), Error::Missing);
        let bare = Peer::new([127, 0, 0, 1].into(), Vec::new());
        assert_eq!(listing.nobody(&bare), Error::Missing);
    }
}
