//! The private Redis: no plaintext port, no default user, two accounts.

use std::path::PathBuf;

use redis::aio::MultiplexedConnection;
use redis::{Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, TlsCertificates};
use rustix::process::Signal;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::binaries;
use super::error::DevError;
use super::folder;
use super::process::Launch;
use super::server::{Credentials, Site};

/// What callers' commands may do at most: all data commands, none that administers the server or empties it.
/// `@dangerous` also holds harmless readers, which are given back one by one.
const APP_COMMANDS: &str = "+@all -@admin -@dangerous +keys +sort +sort_ro +info";
/// Written at every change, as the operating system keeps it over a crash of the server.
const SETTINGS: &str = "\
port 0
bind 127.0.0.1
tls-auth-clients no
tls-protocols \"TLSv1.2 TLSv1.3\"
daemonize no
appendonly yes
appendfsync everysec
save \"\"
user default off
";
/// Keys of the pattern's kinds: a cached reply and a session.
const SAMPLE: [(&str, &str); 2] = [
    ("cache:greeting", "hello from the cache"),
    ("session:example", r#"{"user_id": 1}"#),
];

pub(crate) fn initialise(site: &Site) -> Result<(), DevError> {
    let files = &site.certificate;
    let mut text = String::from(SETTINGS);
    for (name, path) in [
        ("dir", &site.folder),
        ("tls-cert-file", &files.certificate),
        ("tls-key-file", &files.key),
        ("tls-ca-cert-file", &site.folder.join("ca.pem")),
    ] {
        text.push_str(&format!("{name} {}\n", quoted(&path.display().to_string())));
    }
    for (credentials, commands) in [(&site.administrator, "+@all"), (&site.app, APP_COMMANDS)] {
        let hash = Sha256::digest(credentials.password.expose_secret());
        text.push_str(&format!(
            "user {} on #{} ~* &* {commands}\n",
            credentials.user,
            folder::hex(&hash)
        ));
    }
    folder::write_private(&configuration(site), text.as_bytes(), &site.account)
}

pub(crate) fn launch(site: &Site, port: u16) -> Result<Launch, DevError> {
    Ok(Launch {
        program: binaries::redis()?,
        arguments: vec![
            configuration(site).into_os_string(),
            "--tls-port".into(),
            port.to_string().into(),
        ],
        folder: site.folder.clone(),
        account: site.account.clone(),
        log: site.log.clone(),
        inherit: &[],
        stop: Signal::TERM,
        abort: Signal::KILL,
    })
}

pub(crate) async fn answers(site: &Site, port: u16) -> Result<(), String> {
    let mut conn = connect(site, port, &site.administrator).await?;
    let pong: redis::RedisResult<String> = redis::cmd("PING").query_async(&mut conn).await;
    pong.map(drop).map_err(|error| error.to_string())
}

pub(crate) async fn furnish(site: &Site, port: u16, first: bool) -> Result<(), DevError> {
    if !first {
        return Ok(());
    }
    let mut conn = connect(site, port, &site.administrator)
        .await
        .map_err(DevError::set_up(site.store, "connect as administrator"))?;
    for (key, value) in SAMPLE {
        redis::cmd("SET")
            .arg(key)
            .arg(value)
            .exec_async(&mut conn)
            .await
            .map_err(DevError::set_up(site.store, "set the example keys"))?;
    }
    Ok(())
}

pub(crate) fn url(site: &Site, port: u16) -> String {
    format!(
        "rediss://{}:{}@127.0.0.1:{port}/0",
        site.administrator.user,
        site.administrator.password.expose_secret()
    )
}

async fn connect(
    site: &Site,
    port: u16,
    credentials: &Credentials,
) -> Result<MultiplexedConnection, String> {
    let text = |error: redis::RedisError| error.to_string();
    let ca = std::fs::read(&site.ca).map_err(|error| error.to_string())?;
    let address = ConnectionAddr::TcpTls {
        host: "127.0.0.1".to_owned(),
        port,
        insecure: false,
        tls_params: None,
    };
    let account = RedisConnectionInfo::default()
        .set_username(credentials.user)
        .set_password(credentials.password.expose_secret());
    let info = address
        .into_connection_info()
        .map_err(text)?
        .set_redis_settings(account);
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: Some(ca),
    };
    Client::build_with_tls(info, certificates)
        .map_err(text)?
        .get_multiplexed_async_connection()
        .await
        .map_err(text)
}

fn configuration(site: &Site) -> PathBuf {
    site.folder.join("redis.conf")
}

/// Redis' configuration takes double-quoted strings with C's escapes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
