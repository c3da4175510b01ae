//! The private mongod: a replica set of one (transactions and change streams need one), two accounts, TLS or nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bson::{Document, doc};
use mongodb::Client;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, Credential, IndexOptions, ServerAddress, Tls, TlsOptions};
use mongodb::{Database, IndexModel};
use rustix::process::Signal;
use secrecy::ExposeSecret;

use super::binaries;
use super::error::DevError;
use super::folder::{self, Account};
use super::process::Launch;
use super::server::{Credentials, Site};
use crate::operation::Store;

pub(crate) const DATABASE: &str = "enterprise_db";
const REPLICA_SET: &str = "rs0";
/// Random bytes in the file with which members of a replica set know one another.
const KEY_FILE_BYTES: usize = 48;
const CONNECT_TIMEOUT_MS: u64 = 2_000;
/// A set of one elects itself in a fraction of a second; one that looks for itself under an address that
/// another program holds takes longer.
const SET_TIMEOUT_S: u64 = 60;
const POLL_INTERVAL_MS: u64 = 20;
/// mongod's codes for what a start that was repeated meets.
const ALREADY_INITIALIZED: i32 = 23;
const NOT_YET_INITIALIZED: i32 = 94;

const SETTINGS: [&str; 24] = [
    "--dbpath",
    "data",
    "--bind_ip",
    "127.0.0.1",
    "--nounixsocket",
    "--replSet",
    REPLICA_SET,
    "--oplogSize",
    "16",
    "--wiredTigerCacheSizeGB",
    "0.25",
    "--wiredTigerEngineConfigString",
    "log=(prealloc=false,file_max=10MB)",
    "--auth",
    "--tlsMode",
    "requireTLS",
    "--tlsAllowConnectionsWithoutCertificates",
    // Fail points, with which tests make the server misbehave.
    "--setParameter",
    "enableTestCommands=1",
    "--setParameter",
    "diagnosticDataCollectionEnabled=false",
    "--setParameter",
    "shutdownTimeoutMillisForSignaledShutdown=100",
    "--quiet",
];

pub(crate) fn initialise(site: &Site) -> Result<(), DevError> {
    folder::private_folder(&site.folder.join("data"), &site.account)?;
    let mut bytes = [0u8; KEY_FILE_BYTES];
    getrandom::fill(&mut bytes)?;
    let key = folder::hex(&bytes);
    folder::write_private(&key_file(site), key.as_bytes(), &site.account)
}

pub(crate) fn launch(site: &Site, port: u16) -> Result<Launch, DevError> {
    let program = reachable(binaries::mongodb()?, site)?;
    let mut arguments: Vec<OsString> = SETTINGS.iter().map(OsString::from).collect();
    arguments.extend([OsString::from("--port"), OsString::from(port.to_string())]);
    for (option, path) in [
        ("--keyFile", key_file(site)),
        ("--tlsCertificateKeyFile", site.certificate.both.clone()),
        ("--tlsCAFile", site.folder.join("ca.pem")),
    ] {
        arguments.extend([OsString::from(option), path.into_os_string()]);
    }
    Ok(Launch {
        program,
        arguments,
        folder: site.folder.clone(),
        account: site.account.clone(),
        log: site.log.clone(),
        inherit: &[],
        stop: Signal::TERM,
        abort: Signal::KILL,
    })
}

/// Ready means: answers over TLS, and is the primary if the set was made already.
pub(crate) async fn answers(site: &Site, port: u16) -> Result<(), String> {
    let client = client(site, port, None)?;
    let admin = client.database("admin");
    let outcome = admin.run_command(doc! {"hello": 1}).await;
    client.shutdown().immediate(true).await;
    outcome.map(drop).map_err(|error| error.to_string())
}

pub(crate) async fn furnish(site: &Site, port: u16, first: bool) -> Result<(), DevError> {
    if !first {
        return resume(site, port).await;
    }
    // Until the first account exists, mongod lets a loopback client make it.
    let anonymous = connect(site, port, None)?;
    let admin = anonymous.database("admin");
    initiate(&admin, port).await?;
    wait_for_primary(&admin, &site.log).await?;
    create_user(
        &admin,
        &site.administrator,
        doc! {"role": "root", "db": "admin"},
    )
    .await?;
    anonymous.shutdown().immediate(true).await;

    let client = connect(site, port, Some(&site.administrator))?;
    let admin = client.database("admin");
    create_user(
        &admin,
        &site.app,
        doc! {"role": "readWrite", "db": DATABASE},
    )
    .await?;
    fill(&client.database(DATABASE)).await?;
    client.shutdown().immediate(true).await;
    Ok(())
}

pub(crate) fn url(site: &Site, port: u16) -> String {
    format!(
        "mongodb://{}:{}@127.0.0.1:{port}/?tls=true&tlsCAFile={}&authSource=admin&directConnection=true",
        site.administrator.user,
        site.administrator.password.expose_secret(),
        site.ca.display()
    )
}

/// After a restart the set finds itself by its address; where the port had to change, it must be told.
async fn resume(site: &Site, port: u16) -> Result<(), DevError> {
    const STEP: &str = "resume the replica set";
    let client = connect(site, port, Some(&site.administrator))?;
    let admin = client.database("admin");
    let answer = stored_config(&admin, &site.log).await?;
    let mut config = answer
        .get_document("config")
        .map_err(DevError::set_up(Store::Mongodb, STEP))?
        .clone();
    let here = format!("127.0.0.1:{port}");
    let known = config
        .get_array("members")
        .map_err(DevError::set_up(Store::Mongodb, STEP))?
        .iter()
        .filter_map(|member| member.as_document()?.get_str("host").ok())
        .any(|host| host == here);
    if !known {
        let version = config.get_i32("version").unwrap_or(1);
        config.insert("version", version.saturating_add(1));
        config.insert("members", vec![doc! {"_id": 0, "host": &here}]);
        admin
            .run_command(doc! {"replSetReconfig": config, "force": true})
            .await
            .map_err(DevError::set_up(Store::Mongodb, STEP))?;
    }
    wait_for_primary(&admin, &site.log).await?;
    client.shutdown().immediate(true).await;
    Ok(())
}

/// A set that starts has no configuration until it has looked for itself under the address in it.
async fn stored_config(admin: &Database, log: &Path) -> Result<Document, DevError> {
    let poll = async {
        loop {
            match admin.run_command(doc! {"replSetGetConfig": 1}).await {
                Ok(answer) => return Ok(answer),
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    return Err(DevError::set_up(Store::Mongodb, "read the replica set")(
                        error,
                    ));
                }
            }
            tokio::time::sleep(Duration::from_millis(POLL_INTERVAL_MS)).await;
        }
    };
    within_bound(poll, "it has no configuration", log).await
}

async fn initiate(admin: &Database, port: u16) -> Result<(), DevError> {
    let members = vec![doc! {"_id": 0, "host": format!("127.0.0.1:{port}")}];
    let command = doc! {"replSetInitiate": {"_id": REPLICA_SET, "members": members}};
    match admin.run_command(command).await {
        Ok(_) => Ok(()),
        Err(error) if code(&error) == Some(ALREADY_INITIALIZED) => Ok(()),
        Err(error) => Err(DevError::set_up(Store::Mongodb, "initiate the replica set")(error)),
    }
}

async fn wait_for_primary(admin: &Database, log: &Path) -> Result<(), DevError> {
    let poll = async {
        loop {
            match admin.run_command(doc! {"hello": 1}).await {
                Ok(answer)
                    if answer
                        .get_bool("isWritablePrimary")
                        .is_ok_and(|primary| primary) =>
                {
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    return Err(DevError::set_up(Store::Mongodb, "find the primary")(error));
                }
            }
            tokio::time::sleep(Duration::from_millis(POLL_INTERVAL_MS)).await;
        }
    };
    within_bound(poll, "it has no primary", log).await
}

/// Whether it will pass: a member closes its connections whenever its state changes.
fn is_passing(error: &Error) -> bool {
    let is_closed = matches!(
        *error.kind,
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. }
    );
    is_closed || code(error) == Some(NOT_YET_INITIALIZED)
}

async fn within_bound<T>(
    poll: impl Future<Output = Result<T, DevError>>,
    cause: &str,
    log: &Path,
) -> Result<T, DevError> {
    tokio::time::timeout(Duration::from_secs(SET_TIMEOUT_S), poll)
        .await
        .unwrap_or_else(|_| {
            Err(DevError::Silent {
                what: "the replica set".to_owned(),
                seconds: SET_TIMEOUT_S,
                log: log.to_owned(),
                cause: cause.to_owned(),
            })
        })
}

async fn create_user(
    admin: &Database,
    credentials: &Credentials,
    role: Document,
) -> Result<(), DevError> {
    let command = doc! {
        "createUser": credentials.user,
        "pwd": credentials.password.expose_secret(),
        "roles": [role],
        "mechanisms": ["SCRAM-SHA-256"],
    };
    admin
        .run_command(command)
        .await
        .map(drop)
        .map_err(DevError::set_up(Store::Mongodb, "create accounts"))
}

/// A few documents in the pattern's collections, and the indexes that their use asks for.
async fn fill(database: &Database) -> Result<(), DevError> {
    let failed = || DevError::set_up(Store::Mongodb, "create the example collections");
    let collections = [
        (
            "activity_logs",
            doc! {"user_id": 1, "at": -1},
            false,
            vec![
                doc! {"user_id": 1, "action": "login", "at": bson::DateTime::now()},
                doc! {"user_id": 2, "action": "post.created", "at": bson::DateTime::now()},
            ],
        ),
        (
            "analytics_events",
            doc! {"name": 1, "at": -1},
            false,
            vec![
                doc! {"name": "page_view", "path": "/", "count": 1_i64, "at": bson::DateTime::now()},
            ],
        ),
        (
            "event_store",
            doc! {"stream": 1, "version": 1},
            true,
            vec![
                doc! {"stream": "user-1", "version": 1_i64, "type": "user.created", "data": {"name": "Ada"}},
            ],
        ),
    ];
    for (name, keys, unique, documents) in collections {
        let collection = database.collection::<Document>(name);
        let options = IndexOptions::builder().unique(unique).build();
        let index = IndexModel::builder().keys(keys).options(options).build();
        collection.create_index(index).await.map_err(failed())?;
        collection.insert_many(documents).await.map_err(failed())?;
    }
    Ok(())
}

fn connect(site: &Site, port: u16, credentials: Option<&Credentials>) -> Result<Client, DevError> {
    client(site, port, credentials).map_err(DevError::set_up(site.store, "connect"))
}

fn client(site: &Site, port: u16, credentials: Option<&Credentials>) -> Result<Client, String> {
    let timeout = Duration::from_millis(CONNECT_TIMEOUT_MS);
    let credential = credentials.map(|credentials| {
        Credential::builder()
            .username(credentials.user.to_owned())
            .password(credentials.password.expose_secret().to_owned())
            .source("admin".to_owned())
            .build()
    });
    let tls = TlsOptions::builder().ca_file_path(site.ca.clone()).build();
    let options = ClientOptions::builder()
        .hosts(vec![ServerAddress::Tcp {
            host: "127.0.0.1".to_owned(),
            port: Some(port),
        }])
        .direct_connection(true)
        .connect_timeout(timeout)
        .server_selection_timeout(timeout)
        .tls(Tls::Enabled(tls))
        .credential(credential)
        .build();
    Client::with_options(options).map_err(|error| error.to_string())
}

fn code(error: &Error) -> Option<i32> {
    if let ErrorKind::Command(command) = error.kind.as_ref() {
        Some(command.code)
    } else {
        None
    }
}

fn key_file(site: &Site) -> PathBuf {
    site.folder.join("replica-set.key")
}

/// The cache is in our own home, which the servers' account may not enter: then the program is linked, or
/// copied where a link cannot be, into the data folder.
fn reachable(program: PathBuf, site: &Site) -> Result<PathBuf, DevError> {
    let real = program
        .canonicalize()
        .map_err(DevError::file("find", &program))?;
    if site.account == Account::Current || site.account.stopped_at(&real).is_none() {
        return Ok(real);
    }
    let near = site.folder.join("mongod");
    if !near.exists() && std::fs::hard_link(&real, &near).is_err() {
        std::fs::copy(&real, &near).map_err(DevError::file("copy", &real))?;
    }
    Ok(near)
}
