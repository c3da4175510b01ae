use http_body_util::Full;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;

use super::*;
use crate::config::{ClientAuth, ListenerTls};
use crate::execute::settings::TlsVersion;

const LIMITS: Limits = Limits {
    connections_max: 8,
    connections_per_peer_max: 8,
    receive_timeout: Duration::from_secs(60),
    send_timeout: Duration::from_secs(60),
};

/// Serves what the handler knows of its peer. Returns the address, and what stops it.
fn start(tls: Option<Arc<Certificate>>) -> (SocketAddr, watch::Sender<Phase>) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let counts = crate::record::metrics::Metrics::new()
        .unwrap()
        .listener("data");
    let bound = Bound::bind(any, false, tls, LIMITS, counts).unwrap();
    let address = bound.address().unwrap();
    let listener = bound.listen().unwrap();
    let (phase, phases) = watch::channel(Phase::Serving);
    let handler = |peer: Arc<Peer>, _request| async move {
        let leaf = peer.certificate().map_or(0, |leaf| leaf.len());
        let chain = peer.certificates.len();
        let told = format!("{} {chain} {leaf}", peer.address);
        Response::new(Full::new(Bytes::from(told)))
    };
    tokio::spawn(listener.serve(handler, phases, Duration::from_secs(60)));
    (address, phase)
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    let request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    let (_, body) = reply.split_once("\r\n\r\n").unwrap();
    body.to_owned()
}

#[tokio::test]
async fn a_handler_knows_the_address_and_the_verified_certificate() {
    let (address, _running) = start(None);
    let stream = TcpStream::connect(address).await.unwrap();
    assert_eq!(ask(stream).await, "127.0.0.1 0 0");

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    std::fs::write(path("ca"), params.self_signed(&ca_key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, ca_key);
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(path(name), certificate.pem()).unwrap();
        std::fs::write(path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    let files = ListenerTls {
        cert_file: path("server"),
        key_file: path("server.key"),
        min_version: TlsVersion::V1_2,
        clients: ClientAuth::Optional {
            ca_file: path("ca"),
        },
    };
    let certificate = Certificate::open("server.tls", &files).unwrap();
    let (address, _running) = start(Some(Arc::new(certificate)));
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(path("ca")).unwrap())
        .unwrap();
    let chain = vec![CertificateDer::from_pem_file(path("client")).unwrap()];
    let leaf = chain[0].len();
    let key = PrivateKeyDer::from_pem_file(path("client.key")).unwrap();
    let builder = || rustls::ClientConfig::builder().with_root_certificates(roots.clone());
    let with = builder().with_client_auth_cert(chain, key).unwrap();
    // Shown again and again, since no session is resumed.
    let with = Arc::new(with);
    let without = Arc::new(builder().with_no_client_auth());
    for (config, expected) in [
        (&with, format!("127.0.0.1 1 {leaf}")),
        (&with, format!("127.0.0.1 1 {leaf}")),
        (&without, "127.0.0.1 0 0".to_owned()),
    ] {
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = connector.connect(name, stream).await.unwrap();
        assert_eq!(
            stream.get_ref().1.handshake_kind(),
            Some(rustls::HandshakeKind::Full)
        );
        assert_eq!(ask(stream).await, expected);
    }
}
