//! Certificates for tests, and clients that speak TLS, HTTP/1.1 and HTTP/2.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A folder with what `bulkhead certs dev` makes: `ca`, `server` and clients.
pub struct Certificates(tempfile::TempDir);

impl Certificates {
    pub fn new(clients: &[&str]) -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        made.make(clients);
        made
    }

    /// What is there stays.
    pub fn make(&self, clients: &[&str]) {
        make(self.0.path(), clients);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Certificate and key of the server, by another of the same authority.
    pub fn renew_server(&self) {
        for name in ["server.pem", "server.key"] {
            std::fs::remove_file(self.path(name)).unwrap();
        }
        self.make(&[]);
    }

    /// A client configuration that trusts this authority.
    pub fn client(&self, identity: Option<&str>, versions: Versions) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.path("ca.pem")).unwrap();
        roots.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let Some(name) = identity else {
            return builder.with_no_client_auth();
        };
        let chain = CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
        builder.with_client_auth_cert(vec![chain], key).unwrap()
    }
}

pub type Versions = &'static [&'static rustls::SupportedProtocolVersion];

pub fn make(folder: &Path, clients: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bulkhead"));
    command.args(["certs", "dev", "--dir"]).arg(folder);
    for client in clients {
        command.args(["--client", client]);
    }
    let made = command.output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// A connection to a sidecar's listener (`http://127.0.0.1:port`), on which `protocol` was agreed.
pub async fn connect(
    url: &str,
    mut config: rustls::ClientConfig,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(url.trim_start_matches("http://")).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await?;
    let agreed = stream.get_ref().1.alpn_protocol().unwrap_or_default();
    assert_eq!(agreed, protocol.as_bytes());
    Ok(stream)
}

/// One side of a connection, which sends requests one after the other.
pub enum Speaker {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Speaker {
    pub async fn new<S>(stream: S, version: Version) -> hyper::Result<Self>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let stream = TokioIo::new(stream);
        if version == Version::HTTP_2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            Ok(Self::Http2(sender))
        } else {
            let (sender, connection) = http1::handshake(stream).await?;
            tokio::spawn(connection);
            Ok(Self::Http1(sender))
        }
    }

    /// `GET path`: the status and the body.
    pub async fn get(&mut self, path: &str) -> hyper::Result<(StatusCode, String)> {
        let request = match self {
            Self::Http1(_) => Request::get(path).header("host", "localhost"),
            Self::Http2(_) => Request::get(format!("https://localhost{path}")),
        };
        let request = request.body(Full::default()).unwrap();
        let reply = match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let status = reply.status();
        let body = reply.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}
