//! The private PostgreSQL: system tables, three accounts, TLS or nothing.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::ExposeSecret;
use tokio_postgres::Client;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::binaries;
use super::error::DevError;
use super::folder;
use super::guardian::Guardian;
use super::process::Launch;
use super::server::{Credentials, Site};
use crate::operation::Store;

pub(crate) const DATABASE: &str = "enterprise_system_db";
/// What the two accounts may do; the same file serves production.
const GRANTS: &str = include_str!("../../deploy/postgres/grants.sql");

/// What comes makes tables that neither of the sidecar's accounts owns. A folder of an older program has them owned by
/// the system account.
const OWNED: &str = "DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bulkhead_owner') THEN CREATE ROLE bulkhead_owner NOLOGIN; END IF;
    END $$;
    REASSIGN OWNED BY $system TO bulkhead_owner;
    GRANT CREATE ON SCHEMA public TO bulkhead_owner;
    SET ROLE bulkhead_owner";

/// TCP with TLS and a password is the only way in; the first line that matches decides.
const HOST_RULES: &str = "\
hostssl   all all 127.0.0.1/32 scram-sha-256\n\
hostnossl all all all          reject\n";

/// A crash of the server loses nothing with these (the operating system still has the pages); a crash of
/// the machine may, which is no matter to a development database.
const SETTINGS: [&str; 13] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "ssl=on",
    "ssl_min_protocol_version=TLSv1.2",
    "password_encryption=scram-sha-256",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=on",
    "shared_buffers=64MB",
    "max_connections=200",
    "timezone=UTC",
    "log_timezone=UTC",
    "logging_collector=off",
];

pub(crate) async fn initialise(site: &Site, guardian: &Guardian) -> Result<(), DevError> {
    let programs = binaries::postgres()?;
    let password_file = site.folder.join("first-password");
    let password = site.administrator.password.expose_secret();
    folder::write_private(&password_file, password.as_bytes(), &site.account)?;
    let rules = site.folder.join("pg_hba.conf");
    folder::write_private(&rules, HOST_RULES.as_bytes(), &site.account)?;
    let mut pwfile = OsString::from("--pwfile=");
    pwfile.push(&password_file);
    let arguments = vec![
        OsString::from("--pgdata=data"),
        OsString::from(format!("--username={}", site.administrator.user)),
        pwfile,
        OsString::from("--encoding=UTF8"),
        OsString::from("--locale=C.UTF-8"),
        OsString::from("--auth=scram-sha-256"),
        OsString::from("--no-sync"),
        OsString::from("--no-instructions"),
    ];
    let outcome = launcher(site, programs.initdb, arguments)
        .run(guardian)
        .await;
    let _ = std::fs::remove_file(&password_file);
    outcome
}

pub(crate) fn launch(site: &Site, port: u16) -> Result<Launch, DevError> {
    let programs = binaries::postgres()?;
    let mut arguments: Vec<OsString> = vec!["-D".into(), "data".into()];
    let mut set = |setting: OsString| arguments.extend([OsString::from("-c"), setting]);
    for setting in SETTINGS {
        set(setting.into());
    }
    set(format!("port={port}").into());
    for (name, path) in [
        ("hba_file=", &site.folder.join("pg_hba.conf")),
        ("ssl_cert_file=", &site.certificate.certificate),
        ("ssl_key_file=", &site.certificate.key),
    ] {
        let mut setting = OsString::from(name);
        setting.push(path);
        set(setting);
    }
    Ok(launcher(site, programs.server, arguments))
}

pub(crate) async fn answers(site: &Site, port: u16) -> Result<(), String> {
    let client = connect(&site.ca, port, &site.administrator, "postgres").await?;
    let outcome = client.simple_query("SELECT 1").await;
    outcome.map(drop).map_err(|error| error.to_string())
}

/// Accounts and database once; migrations and grants at every start, so that a kept folder follows the program.
pub(crate) async fn furnish(site: &Site, port: u16, first: bool) -> Result<(), DevError> {
    let failed = DevError::set_up::<String>;
    let system = site.system.as_ref().ok_or_else(|| {
        DevError::set_up(site.store, "find the system account")("it was not made")
    })?;
    if first {
        let client = connect(&site.ca, port, &site.administrator, "postgres")
            .await
            .map_err(failed(site.store, "connect as administrator"))?;
        create_accounts(&client, system, &site.app).await?;
    }
    let mut client = connect(&site.ca, port, &site.administrator, DATABASE)
        .await
        .map_err(failed(site.store, "connect as administrator"))?;
    let owned = OWNED.replace("$system", system.user);
    client
        .batch_execute(&owned)
        .await
        .map_err(DevError::set_up(site.store, "set the tables' owner"))?;
    crate::schema::apply(&mut client)
        .await
        .map_err(DevError::set_up(site.store, "apply the schema"))?;
    crate::schema::grant(&client, system.user, Some(site.app.user))
        .await
        .map_err(DevError::set_up(site.store, "grant privileges"))?;
    client
        .batch_execute(GRANTS)
        .await
        .map_err(DevError::set_up(site.store, "grant privileges"))
}

pub(crate) fn url(site: &Site, port: u16) -> String {
    format!(
        "postgres://{}:{}@127.0.0.1:{port}/{DATABASE}?sslmode=verify-full&sslrootcert={}",
        site.administrator.user,
        site.administrator.password.expose_secret(),
        site.ca.display()
    )
}

/// Connects over verified TLS. The connection ends when the client is dropped.
pub(crate) async fn connect(
    ca: &Path,
    port: u16,
    credentials: &Credentials,
    database: &str,
) -> Result<Client, String> {
    let tls = MakeRustlsConnect::new(client_tls(ca)?);
    let (client, connection) = tokio_postgres::Config::new()
        .host("127.0.0.1")
        .port(port)
        .user(credentials.user)
        .password(credentials.password.expose_secret())
        .dbname(database)
        .ssl_mode(tokio_postgres::config::SslMode::Require)
        .application_name("bulkhead dev")
        .connect(tls)
        .await
        .map_err(|error| cause_of(&error))?;
    // Whatever ends the connection also reaches the client's next call, which reports it.
    tokio::spawn(connection);
    Ok(client)
}

async fn create_accounts(
    client: &Client,
    system: &Credentials,
    app: &Credentials,
) -> Result<(), DevError> {
    let role = |credentials: &Credentials| {
        format!(
            "CREATE ROLE {} LOGIN PASSWORD '{}'",
            credentials.user,
            credentials.password.expose_secret()
        )
    };
    let statements = [
        role(system),
        role(app),
        "CREATE ROLE bulkhead_owner NOLOGIN".to_owned(),
        format!("CREATE DATABASE {DATABASE} OWNER bulkhead_owner"),
        format!("REVOKE ALL ON DATABASE {DATABASE}, postgres, template1 FROM PUBLIC"),
        format!(
            "GRANT CONNECT ON DATABASE {DATABASE} TO {}, {}",
            app.user, system.user
        ),
    ];
    for statement in statements {
        // The statement holds a password, so the error must not quote it; PostgreSQL's message does not.
        client
            .batch_execute(&statement)
            .await
            .map_err(|error| cause_of(&error))
            .map_err(DevError::set_up(Store::Postgres, "create accounts"))?;
    }
    Ok(())
}

fn launcher(site: &Site, program: std::path::PathBuf, arguments: Vec<OsString>) -> Launch {
    Launch {
        program,
        arguments,
        folder: site.folder.clone(),
        account: site.account.clone(),
        log: site.log.clone(),
        inherit: &[],
        stop: Signal::INT,
        // SIGKILL would leave a System V shared memory segment behind.
        abort: Signal::QUIT,
    }
}

/// Trusts this folder's authority and no other.
pub(crate) fn client_tls(ca: &Path) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(|error| error.to_string())? {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// tokio-postgres' own text is only "db error"; the cause is one level down.
fn cause_of(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error)
        .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}
