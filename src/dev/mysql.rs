//! The private MariaDB or MySQL: application tables, two accounts, TLS or nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, SslOpts};
use rustix::process::Signal;
use secrecy::ExposeSecret;

use super::binaries::{self, MysqlPrograms};
use super::error::DevError;
use super::folder;
use super::guardian::Guardian;
use super::process::Launch;
use super::server::{Credentials, Site};
use crate::operation::Store;

pub(crate) const DATABASE: &str = "enterprise_app_db";
const SAMPLE: &str = include_str!("samples/mysql.sql");

/// `loose-` options are skipped by the server that does not know them: MariaDB or MySQL.
/// A crash of the server loses nothing with these; a crash of the machine may lose a second's commits.
const SETTINGS: [&str; 20] = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    // The folder is private, and the name relative to it: a long folder must not exceed a socket's limit.
    "--socket=mysql.sock",
    "--pid-file=mysql.pid",
    "--require-secure-transport=ON",
    "--tls-version=TLSv1.2,TLSv1.3",
    "--local-infile=OFF",
    "--symbolic-links=OFF",
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_unicode_ci",
    "--default-time-zone=+00:00",
    "--innodb-buffer-pool-size=64M",
    "--innodb-flush-log-at-trx-commit=2",
    "--max-allowed-packet=64M",
    "--max-connections=300",
    "--event-scheduler=OFF",
    "--loose-innodb-log-file-size=16M",
    "--loose-disable-log-bin",
    "--loose-mysqlx=OFF",
    "--loose-performance-schema=OFF",
];

pub(crate) async fn initialise(site: &Site, guardian: &Guardian) -> Result<(), DevError> {
    // Read by the server at its first start: no account without a password is ever reachable over TCP.
    let administrator = &site.administrator;
    let first = format!(
        "CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}' REQUIRE SSL;\n\
         GRANT ALL PRIVILEGES ON *.* TO '{user}'@'%' WITH GRANT OPTION;\n",
        user = administrator.user,
        password = administrator.password.expose_secret(),
    );
    folder::write_private(&first_statements(site), first.as_bytes(), &site.account)?;
    let data = with_path("--datadir=", &site.folder.join("data"));
    let (program, arguments) = match binaries::mysql()? {
        MysqlPrograms::Mariadb { install, .. } => (
            install,
            vec![
                OsString::from("--no-defaults"),
                data,
                OsString::from("--auth-root-authentication-method=normal"),
                OsString::from("--skip-test-db"),
                OsString::from("--skip-name-resolve"),
                OsString::from("--innodb-log-file-size=16M"),
            ],
        ),
        MysqlPrograms::Mysql { server } => (
            server,
            vec![
                OsString::from("--no-defaults"),
                data,
                OsString::from("--initialize-insecure"),
            ],
        ),
    };
    launcher(site, program, arguments).run(guardian).await
}

pub(crate) fn launch(site: &Site, port: u16) -> Result<Launch, DevError> {
    let programs = binaries::mysql()?;
    let mut arguments = vec![
        OsString::from("--no-defaults"),
        with_path("--datadir=", &site.folder.join("data")),
        OsString::from(format!("--port={port}")),
        with_path("--ssl-ca=", &site.folder.join("ca.pem")),
        with_path("--ssl-cert=", &site.certificate.certificate),
        with_path("--ssl-key=", &site.certificate.key),
    ];
    arguments.extend(SETTINGS.iter().map(OsString::from));
    let first = first_statements(site);
    if first.exists() {
        arguments.push(with_path("--init-file=", &first));
    }
    Ok(launcher(site, programs.server().to_owned(), arguments))
}

pub(crate) async fn answers(site: &Site, port: u16) -> Result<(), String> {
    let mut conn = connect(&site.ca, port, &site.administrator).await?;
    let outcome = conn.query_drop("SELECT 1").await;
    let _ = conn.disconnect().await;
    outcome.map_err(|error| error.to_string())
}

pub(crate) async fn furnish(site: &Site, port: u16, first: bool) -> Result<(), DevError> {
    if !first {
        return Ok(());
    }
    let mut conn = connect(&site.ca, port, &site.administrator)
        .await
        .map_err(DevError::set_up(site.store, "connect as administrator"))?;
    drop_other_accounts(&mut conn).await?;
    let account = format!(
        "CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4;\
         CREATE USER '{user}'@'%' IDENTIFIED BY '{password}' REQUIRE SSL;\
         GRANT SELECT, INSERT, UPDATE, DELETE, SHOW VIEW, TRIGGER ON {DATABASE}.* TO '{user}'@'%';\
         USE {DATABASE}",
        user = site.app.user,
        password = site.app.password.expose_secret(),
    );
    conn.query_drop(account)
        .await
        .map_err(DevError::set_up(site.store, "create accounts"))?;
    conn.query_drop(SAMPLE)
        .await
        .map_err(DevError::set_up(site.store, "create the example tables"))?;
    let _ = conn.disconnect().await;
    let statements = first_statements(site);
    std::fs::remove_file(&statements).map_err(DevError::file("remove", &statements))
}

pub(crate) fn url(site: &Site, port: u16) -> String {
    format!(
        "mysql://{}:{}@127.0.0.1:{port}/{DATABASE}?ssl-mode=VERIFY_IDENTITY&ssl-ca={}",
        site.administrator.user,
        site.administrator.password.expose_secret(),
        site.ca.display()
    )
}

pub(crate) async fn connect(
    ca: &Path,
    port: u16,
    credentials: &Credentials,
) -> Result<Conn, String> {
    let tls = SslOpts::default()
        .with_root_certs(vec![ca.to_owned().into()])
        .with_disable_built_in_roots(true);
    let opts = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .user(Some(credentials.user))
        .pass(Some(credentials.password.expose_secret()))
        .prefer_socket(false)
        .ssl_opts(tls);
    Conn::new(opts).await.map_err(|error| error.to_string())
}

/// Installers leave accounts without a password, reachable through the socket; ours is the only one to stay
/// beside those that the server keeps locked for itself.
async fn drop_other_accounts(conn: &mut Conn) -> Result<(), DevError> {
    let failed = || DevError::set_up(Store::Mysql, "drop the installer's accounts");
    let accounts: Vec<(String, String)> = conn
        .query("SELECT user, host FROM mysql.user WHERE user IN ('', 'root')")
        .await
        .map_err(failed())?;
    for (user, host) in accounts {
        let host = host.replace('\'', "''");
        conn.query_drop(format!("DROP USER '{user}'@'{host}'"))
            .await
            .map_err(failed())?;
    }
    Ok(())
}

fn first_statements(site: &Site) -> PathBuf {
    site.folder.join("first-statements.sql")
}

fn with_path(option: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(option);
    argument.push(path);
    argument
}

fn launcher(site: &Site, program: PathBuf, arguments: Vec<OsString>) -> Launch {
    Launch {
        program,
        arguments,
        folder: site.folder.clone(),
        account: site.account.clone(),
        log: site.log.clone(),
        inherit: &[],
        stop: Signal::TERM,
        abort: Signal::KILL,
    }
}
