//! Callers known by the certificate of their connection: a name stands for a role, and a key must agree with it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Version};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::isolation::postgres;
use crate::support::tls::{Speaker, connect};
use crate::support::{Sidecar, eventually, shared};

/// A certificate authority of the test's own, and a server's certificate by it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let authority = Self {
            issuer: Issuer::new(params, key),
            folder,
        };
        let (certificate, key) = authority.sign(&[], &["localhost", "127.0.0.1"]);
        std::fs::write(authority.path("cert.pem"), certificate).unwrap();
        std::fs::write(authority.path("key.pem"), key).unwrap();
        authority
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate with these names and its key, both as PEM.
    fn sign(&self, uris: &[&str], hosts: &[&str]) -> (String, String) {
        self.sign_until(uris, hosts, None)
    }

    /// The same, that ends so long after 1970.
    fn sign_until(&self, uris: &[&str], hosts: &[&str], end: Option<Duration>) -> (String, String) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        for uri in uris {
            let uri = SanType::URI((*uri).try_into().unwrap());
            params.subject_alt_names.push(uri);
        }
        if let Some(end) = end {
            params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// `whoami` over TLS, or a statement: status and body. `None`: the connection was refused.
async fn ask(
    https: &str,
    ca: &Path,
    certificate: Option<(String, String)>,
    key: Option<&str>,
    sql: Option<&str>,
) -> Option<(u16, Value)> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let stream = TcpStream::connect(https).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    tokio::spawn(connection);
    let mut request = match sql {
        None => Request::get("/v1/whoami"),
        Some(_) => Request::post("/v1/postgres/query").header("content-type", "application/json"),
    };
    request = request.header("host", "localhost");
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    let body = sql.map(|sql| serde_json::json!({ "sql": sql }).to_string());
    let body = Full::new(Bytes::from(body.unwrap_or_default()));
    let reply = sender
        .send_request(request.body(body).unwrap())
        .await
        .ok()?;
    let status = reply.status().as_u16();
    let body = reply.into_body().collect().await.ok()?.to_bytes();
    Some((status, serde_json::from_slice(&body).unwrap_or_default()))
}

const WEB: &str = "spiffe://cluster/ns/shop/sa/web";
const CONSOLE: &str = "spiffe://cluster/ns/ops/sa/console";

#[tokio::test]
async fn a_certificate_is_a_caller_and_a_key_must_agree_with_it() {
    let dev = shared();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let path = |name: &str| authority.path(name).display().to_string();
    let sidecar = Sidecar::start(dev, |config| {
        let tls = format!(
            "cert_file = '{}'\nkey_file = '{}'\nclient_ca_file = '{}'\nclient_auth = 'optional'",
            path("cert.pem"),
            path("key.pem"),
            path("ca.pem")
        );
        let server = config["server"].as_table_mut().unwrap();
        server.insert("tls".into(), tls.parse::<toml::Table>().unwrap().into());
        let auth = format!(
            "[certificates]\n'{WEB}' = 'app'\n'{CONSOLE}' = 'admin'\n'web.shop.internal' = 'app'"
        );
        config.insert("auth".into(), auth.parse::<toml::Table>().unwrap().into());
    });
    let https = sidecar.http.strip_prefix("http://").unwrap();
    let ca = authority.path("ca.pem");
    let web = || Some(authority.sign(&[WEB], &[]));
    let console = || Some(authority.sign(&[CONSOLE], &[]));
    let nameless =
        || Some(authority.sign(&["spiffe://cluster/ns/shop/sa/other"], &["other.internal"]));
    let app_id = &dev.app[4..20];
    let cert = |name: &str| format!("cert:{name}");
    let cases = [
        ("a name", web(), None, Ok((cert(WEB), "app"))),
        ("another", console(), None, Ok((cert(CONSOLE), "admin"))),
        (
            "a host's",
            Some(authority.sign(&[], &["web.shop.internal"])),
            None,
            Ok((cert("web.shop.internal"), "app")),
        ),
        (
            "a name that stands for nothing",
            nameless(),
            None,
            Err("auth.missing"),
        ),
        (
            "two roles",
            Some(authority.sign(&[WEB, CONSOLE], &[])),
            None,
            Err("auth.invalid"),
        ),
        ("no certificate", None, None, Err("auth.missing")),
        (
            "a key alone",
            None,
            Some(dev.app.as_str()),
            Ok((app_id.to_owned(), "app")),
        ),
        (
            "a key that agrees",
            web(),
            Some(dev.app.as_str()),
            Ok((app_id.to_owned(), "app")),
        ),
        (
            "a key beside a name that stands for nothing",
            nameless(),
            Some(dev.app.as_str()),
            Ok((app_id.to_owned(), "app")),
        ),
        (
            "a key that does not agree",
            web(),
            Some(dev.admin_key.as_str()),
            Err("auth.invalid"),
        ),
        (
            "nor the other way round",
            console(),
            Some(dev.app.as_str()),
            Err("auth.invalid"),
        ),
        (
            "a wrong key beside a right certificate",
            web(),
            Some("bhk_x"),
            Err("auth.invalid"),
        ),
    ];
    for (what, certificate, key, expected) in cases {
        let (status, body) = ask(https, &ca, certificate, key, None).await.unwrap();
        match expected {
            Ok((id, role)) => {
                assert_eq!(
                    (&body["key_id"], &body["role"]),
                    (&id.into(), &role.into()),
                    "{what}: {body}"
                );
            }
            Err(code) => assert_eq!(
                (status, &body["code"]),
                (401, &code.into()),
                "{what}: {body}"
            ),
        }
    }
    // Signed by somebody else, the name is worth nothing.
    let forged = ask(https, &ca, Some(stranger.sign(&[WEB], &[])), None, None).await;
    assert_eq!(forged, None);
    // What it may not do stands in the audit under its name.
    let sql = Some("SELECT id FROM api_keys");
    let (status, body) = ask(https, &ca, web(), None, sql).await.unwrap();
    assert_eq!(
        (status, &body["code"]),
        (403, &"policy.denied".into()),
        "{body}"
    );
    let client = postgres(dev).await;
    let rows = "SELECT count(*) FROM audit_logs WHERE key_id = $1 AND role = 'app' AND code = 'policy.denied'";
    eventually("the refusal is audited", || async {
        let count: i64 = client.query_one(rows, &[&cert(WEB)]).await.unwrap().get(0);
        count == 1
    })
    .await;
    // Who lists the names is told which there were; the caller, that they stand for nothing.
    let (_, body) = ask(https, &ca, nameless(), None, None).await.unwrap();
    let detail = body["detail"].as_str().unwrap();
    assert!(
        detail.contains("the certificate of the connection stands for no role"),
        "{body}"
    );
    assert!(!detail.contains("other"), "{body}");
    let named = "which has `other.internal`, `spiffe://cluster/ns/shop/sa/other`";
    eventually("the log has the names", || async {
        sidecar.has_logged(named)
    })
    .await;
}

/// A connection may stand for longer than what its client showed when it began.
#[tokio::test]
async fn a_certificate_that_ends_stands_for_nobody_on_a_connection_that_stands() {
    let dev = shared();
    let authority = Authority::new();
    let path = |name: &str| authority.path(name).display().to_string();
    let sidecar = Sidecar::start(dev, |config| {
        let tls = format!(
            "cert_file = '{}'\nkey_file = '{}'\nclient_ca_file = '{}'",
            path("cert.pem"),
            path("key.pem"),
            path("ca.pem")
        );
        let server = config["server"].as_table_mut().unwrap();
        server.insert("tls".into(), tls.parse::<toml::Table>().unwrap().into());
        let auth = format!("[certificates]\n'{WEB}' = 'app'");
        config.insert("auth".into(), auth.parse::<toml::Table>().unwrap().into());
    });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let end = now + Duration::from_secs(3);
    let mut speakers = Vec::new();
    for (version, protocol) in [(Version::HTTP_11, "http/1.1"), (Version::HTTP_2, "h2")] {
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(authority.path("ca.pem")).unwrap();
        roots.add(ca).unwrap();
        let (certificate, key) = authority.sign_until(&[WEB], &[], Some(end));
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        let stream = connect(&sidecar.http, config, protocol).await.unwrap();
        let mut speaker = Speaker::new(stream, version).await.unwrap();
        let (status, text) = speaker.get("/v1/whoami").await.unwrap();
        assert_eq!(status, 200, "{text}");
        speakers.push(speaker);
    }
    for mut speaker in speakers {
        let answer = loop {
            let (status, text) = speaker.get("/v1/whoami").await.unwrap();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            if status != 200 || now > end + Duration::from_secs(30) {
                break (status.as_u16(), text);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(answer.0, 401, "{}", answer.1);
        assert!(answer.1.contains("auth.expired") && answer.1.contains("connect again"));
    }
}
