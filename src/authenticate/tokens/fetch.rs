//! One `GET` over HTTPS for the issuer's keys: verified, bounded in bytes and time, no redirects.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, HOST};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::keyset::SET_BYTES_MAX;
use crate::execute::settings::TlsSettings;
use crate::execute::tls;

/// How long the whole of it may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

const HTTPS_PORT: u16 = 443;

/// May be cancelled.
///
/// # Errors
/// A text for the log.
pub async fn get(url: &Uri, ca_file: Option<&Path>) -> Result<Vec<u8>, String> {
    let place = place(url);
    match tokio::time::timeout(FETCH_TIMEOUT, fetch(url, ca_file)).await {
        Ok(fetched) => fetched.map_err(|error| format!("`{place}`: {error}")),
        Err(_) => Err(format!("`{place}` did not answer in time")),
    }
}

/// The URL as it may be shown: without the query, which may be somebody's secret.
pub fn place(url: &Uri) -> String {
    let authority = url.authority().map_or("", |it| it.as_str());
    format!("{authority}{}", url.path())
}

async fn fetch(
    url: &Uri,
    ca_file: Option<&Path>,
) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let authority = url.authority().ok_or("has no host")?;
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    // Verified in full, by default.
    let settings = TlsSettings {
        ca_file: ca_file.map(Path::to_owned),
        ..TlsSettings::default()
    };
    let config = tls::client_config(&settings)?.ok_or("must be https")?;
    let port = authority.port_u16().unwrap_or(HTTPS_PORT);
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    let name = ServerName::try_from(host)?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(url.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, authority.as_str())
        .header(ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())?;
    // The connection is driven here and not by a task, so that it ends with this future.
    let exchange = async {
        let reply = sender.send_request(request).await?;
        if reply.status() != StatusCode::OK {
            return Err(format!("answered {}", reply.status()).into());
        }
        let body = Limited::new(reply.into_body(), SET_BYTES_MAX);
        Ok(body.collect().await?.to_bytes().to_vec())
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        fetched = &mut exchange => fetched,
        ended = &mut connection => {
            ended?;
            exchange.await
        }
    }
}
