//! TLS on the listeners: certificates that are renewed while connections stand, clients' certificates, versions, HTTP/2.

use hyper::Version;
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::support::tls::{Certificates, Speaker, Versions, connect};
use crate::support::{Sidecar, eventually, shared};

const ANY: Versions = rustls::ALL_VERSIONS;
const V1_2: Versions = &[&rustls::version::TLS12];
const V1_3: Versions = &[&rustls::version::TLS13];

/// A sidecar that has a certificate; `keys` are further ones of its section.
fn start(certificates: &Certificates, keys: &[(&str, String)]) -> Sidecar {
    Sidecar::start(shared(), |config| {
        for listener in ["server", "admin"] {
            let mut tls = toml::Table::new();
            tls.insert("cert_file".into(), certificates.text("server.pem").into());
            tls.insert("key_file".into(), certificates.text("server.key").into());
            if listener == "server" {
                let keys = keys.iter().cloned();
                tls.extend(keys.map(|(key, value)| (key.to_owned(), value.into())));
                let section = config[listener].as_table_mut().unwrap();
                section.insert("tls".into(), tls.into());
            } else if keys.is_empty() {
                // The admin listener of the others is asked for metrics in plaintext.
                let section = config[listener].as_table_mut().unwrap();
                section.insert("tls".into(), tls.into());
            }
        }
    })
}

async fn livez(url: &str, config: rustls::ClientConfig, version: Version) -> bool {
    let protocol = if version == Version::HTTP_2 {
        "h2"
    } else {
        "http/1.1"
    };
    let Ok(stream) = connect(url, config, protocol).await else {
        return false;
    };
    let Ok(mut speaker) = Speaker::new(stream, version).await else {
        return false;
    };
    // A client's certificate is judged after the handshake of TLS 1.3 has ended for the client.
    speaker
        .get("/livez")
        .await
        .is_ok_and(|(status, _)| status == 200)
}

#[tokio::test]
async fn both_listeners_speak_tls_and_http2_by_alpn() {
    let certificates = Certificates::new(&[]);
    let sidecar = start(&certificates, &[]);
    for url in [&sidecar.http, &sidecar.admin] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            for versions in [V1_2, V1_3] {
                let client = certificates.client(None, versions);
                assert!(livez(url, client, version).await, "{url} {version:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_oldest_version_and_who_must_show_a_certificate() {
    let (ours, theirs) = (Certificates::new(&["one"]), Certificates::new(&["one"]));
    let ca = || ("client_ca_file", ours.text("ca.pem"));
    let auth = |how: &str| ("client_auth", how.to_owned());
    let min = |version: &str| ("min_version", version.to_owned());
    // Another authority's certificate, shown by a client that trusts ours.
    let foreign = |versions| {
        std::fs::copy(ours.path("ca.pem"), theirs.path("ca.pem")).unwrap();
        theirs.client(Some("one"), versions)
    };
    let own = |versions| ours.client(Some("one"), versions);
    let none = |versions| ours.client(None, versions);
    // The section's keys, and whether a client is served: with none, our and another authority's certificate, and by
    // TLS 1.2 alone.
    let cases = [
        (vec![], [true, true, true, true]),
        (vec![ca()], [false, true, false, false]),
        (vec![ca(), auth("require")], [false, true, false, false]),
        (vec![ca(), auth("optional")], [true, true, false, true]),
        (vec![min("1.3")], [true, true, true, false]),
        (vec![min("1.2")], [true, true, true, true]),
    ];
    for (keys, expected) in cases {
        let mut with_plain_admin = keys.clone();
        with_plain_admin.push(("min_version", "1.2".to_owned()));
        let keys = if keys.is_empty() {
            with_plain_admin
        } else {
            keys
        };
        let sidecar = start(&ours, &keys);
        let served = [
            livez(&sidecar.http, none(ANY), Version::HTTP_11).await,
            livez(&sidecar.http, own(ANY), Version::HTTP_11).await,
            livez(&sidecar.http, foreign(ANY), Version::HTTP_11).await,
            livez(&sidecar.http, none(V1_2), Version::HTTP_11).await,
        ];
        assert_eq!(served, expected, "{keys:?}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_and_a_bad_pair_is_not() {
    let began = std::time::Instant::now();
    let certificates = Certificates::new(&[]);
    let sidecar = start(&certificates, &[("min_version", "1.2".to_owned())]);
    let shown = async || {
        let stream = connect(&sidecar.http, certificates.client(None, ANY), "http/1.1").await;
        let stream = stream.unwrap();
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        chain[0].to_vec()
    };
    let stream = connect(&sidecar.http, certificates.client(None, ANY), "h2").await;
    let mut standing = Speaker::new(stream.unwrap(), Version::HTTP_2)
        .await
        .unwrap();
    assert_eq!(standing.get("/livez").await.unwrap().0, 200);
    let expiry = "bulkhead_tls_certificate_expiry_seconds{certificate=\"listener\"}";
    eventually("the expiry is a metric", async || {
        sidecar.metric(expiry).await > 1e8
    })
    .await;

    let first = shown().await;
    certificates.renew_server();
    eventually("the renewed certificate is shown", async || {
        shown().await != first
    })
    .await;
    let second = shown().await;

    // The key of another certificate: refused, told and counted, also when SIGHUP asks.
    let other = Certificates::new(&[]);
    let whole = std::fs::read(certificates.path("server.key")).unwrap();
    std::fs::copy(other.path("server.key"), certificates.path("server.key")).unwrap();
    sidecar.signal(Signal::HUP);
    let refused = "bulkhead_tls_reloads_total{certificate=\"listener\",outcome=\"refused\"}";
    eventually("the bad pair is refused", async || {
        sidecar.metric(refused).await > 0.0
    })
    .await;
    assert!(sidecar.has_logged("the certificate is not valid; the one before stays in use"));
    assert_eq!(shown().await, second);

    std::fs::write(certificates.path("server.key"), whole).unwrap();
    certificates.renew_server();
    sidecar.signal(Signal::HUP);
    eventually("the next pair is shown", async || shown().await != second).await;
    let taken = "bulkhead_tls_reloads_total{certificate=\"listener\",outcome=\"ok\"}";
    assert!(sidecar.metric(taken).await >= 2.0);
    // The connection from before has seen none of it.
    assert_eq!(standing.get("/livez").await.unwrap().0, 200);
    let open = "bulkhead_connections_open{listener=\"data\"}";
    assert!(sidecar.metric(open).await >= 1.0);

    // What expires earlier says so as soon as it is in use.
    let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2031, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let reloads = sidecar.metric(taken).await;
    std::fs::write(certificates.path("server.pem"), certificate.pem()).unwrap();
    std::fs::write(certificates.path("server.key"), key.serialize_pem()).unwrap();
    eventually("it is in use", async || {
        sidecar.metric(taken).await > reloads
    })
    .await;
    let year_2032_s = 1_956_528_000.0;
    let now = std::time::SystemTime::now();
    let now = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    eventually("its expiry is the metric", async || {
        sidecar.metric(expiry).await + now < year_2032_s
    })
    .await;
    assert!(
        began.elapsed() < std::time::Duration::from_secs(60),
        "the look of every minute has come first"
    );
}

#[tokio::test]
async fn a_failed_handshake_is_counted_and_told() {
    let certificates = Certificates::new(&[]);
    let sidecar = start(
        &certificates,
        &[("client_ca_file", certificates.text("ca.pem"))],
    );
    let failed = "bulkhead_tls_handshakes_failed_total{listener=\"data\"}";
    assert_eq!(sidecar.metric(failed).await, 0.0);
    assert!(
        !livez(
            &sidecar.http,
            certificates.client(None, ANY),
            Version::HTTP_11
        )
        .await
    );
    eventually("it is counted", async || {
        sidecar.metric(failed).await >= 1.0
    })
    .await;
    eventually("it is told", async || {
        let words = [
            "a client's TLS handshake failed",
            "\"peer\":\"127.0.0.1\"",
            "\"INFO\"",
            "no certificates",
        ];
        sidecar.lines_with(&words) > 0
    })
    .await;
}

/// As where the file is read while it is only half written.
#[tokio::test]
async fn less_is_asked_of_clients_only_after_a_restart() {
    let certificates = Certificates::new(&["web"]);
    let ca = ("client_ca_file", certificates.text("ca.pem"));
    let sidecar = start(&certificates, std::slice::from_ref(&ca));
    sidecar.ready().await;
    let with = |entries: &[(&str, String)]| {
        let text = std::fs::read_to_string(&sidecar.config).unwrap();
        let mut config: toml::Table = text.parse().unwrap();
        let tls = config["server"]["tls"].as_table_mut().unwrap();
        tls.remove("client_ca_file");
        tls.remove("client_auth");
        tls.extend(
            entries
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone().into())),
        );
        std::fs::write(&sidecar.config, config.to_string()).unwrap();
        sidecar.signal(Signal::HUP);
    };
    let stranger = async || {
        livez(
            &sidecar.http,
            certificates.client(None, ANY),
            Version::HTTP_11,
        )
        .await
    };
    let told = "`client_auth` or `client_ca_file` asks less of clients";
    let optional = ("client_auth", "optional".to_owned());
    for (times, weaker) in [(1, &[][..]), (2, &[ca.clone(), optional])] {
        with(weaker);
        eventually("it is told", async || sidecar.lines_with(&[told]) == times).await;
        assert!(!stranger().await);
    }
    assert!(sidecar.has_logged("[server] tls changed: takes a restart"));
    let web = certificates.client(Some("web"), ANY);
    assert!(livez(&sidecar.http, web, Version::HTTP_11).await);
}

/// More is asked at once.
#[tokio::test]
async fn more_is_asked_of_clients_without_a_restart() {
    let certificates = Certificates::new(&["web"]);
    let sidecar = start(&certificates, &[("min_version", "1.2".to_owned())]);
    sidecar.ready().await;
    let stranger = async || {
        livez(
            &sidecar.http,
            certificates.client(None, ANY),
            Version::HTTP_11,
        )
        .await
    };
    assert!(stranger().await);
    let text = std::fs::read_to_string(&sidecar.config).unwrap();
    let mut config: toml::Table = text.parse().unwrap();
    let tls = config["server"]["tls"].as_table_mut().unwrap();
    tls.insert("client_ca_file".into(), certificates.text("ca.pem").into());
    std::fs::write(&sidecar.config, config.to_string()).unwrap();
    sidecar.signal(Signal::HUP);
    eventually("a stranger is turned away", async || !stranger().await).await;
}

#[test]
fn development_certificates_are_made_once_and_never_written_over() {
    use std::os::unix::fs::PermissionsExt as _;

    let certificates = Certificates::new(&["one", "two"]);
    let files = ["ca", "server", "one", "two"]
        .map(|name| ["pem", "key"].map(|ending| certificates.path(&format!("{name}.{ending}"))));
    let read = || {
        files
            .each_ref()
            .map(|pair| pair.each_ref().map(|file| std::fs::read(file).unwrap()))
    };
    let first = read();
    for [_, key] in &files {
        let mode = std::fs::metadata(key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", key.display());
    }
    certificates.make(&["one", "two"]);
    assert_eq!(read(), first);

    // A client may be known by a URI, as `[auth.certificates]` has it.
    let uri = "spiffe://cluster/ns/shop/sa/web";
    let make = |client: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_bulkhead"))
            .args(["certs", "dev", "--client", client, "--dir"])
            .arg(certificates.path(""))
            .output()
            .unwrap()
    };
    assert!(make(&format!("web={uri}")).status.success());
    let web = CertificateDer::from_pem_file(certificates.path("web.pem")).unwrap();
    let web = webpki::EndEntityCert::try_from(&web).unwrap();
    assert_eq!(web.valid_uri_names().collect::<Vec<_>>(), [uri]);
    assert_eq!(web.valid_dns_names().count(), 0);
    for wrong in ["web2=nothing", "we/b=spiffe://a/b", "web2="] {
        assert_eq!(make(wrong).status.code(), Some(2), "{wrong}");
    }

    // A pair that has lost a half is not made anew, and nothing else is made beside it.
    std::fs::remove_file(certificates.path("one.key")).unwrap();
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_bulkhead"))
        .args([
            "certs", "dev", "--client", "one", "--client", "three", "--dir",
        ])
        .arg(certificates.path(""))
        .output()
        .unwrap();
    assert_eq!(made.status.code(), Some(2), "{made:?}");
    assert!(
        String::from_utf8_lossy(&made.stderr).contains("one.pem"),
        "{made:?}"
    );
    assert!(!certificates.path("one.key").exists() && !certificates.path("three.pem").exists());
}
