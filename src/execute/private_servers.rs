//! Private servers for the tests of the MongoDB and Redis executors and of the limiter: real ones, over TLS, on
//! loopback, each in a folder of its own, stopped when dropped. A server that cannot be started fails the test.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::doc;
use secrecy::SecretString;
use tempfile::TempDir;

use super::mongodb::{MongoSettings, MongoStore};
use super::redis::{BlockingSettings, RedisSettings, SentinelLogin};
use super::settings::{TlsMode, TlsSettings};
use crate::authenticate::Principal;
use crate::decide::Permit;
use crate::limit::Ticket;
use crate::operation::{Classification, Operation, Payload, Store};

const START_MAX: Duration = Duration::from_secs(20);

/// A password that every escaping mistake would break.
pub const PASSWORD: &str = "p:@ss/ %41\"ä";

/// A ticket for `payload` in the name of `key_id`; the stages before are not asked.
pub fn ticket(key_id: &str, store: Store, payload: Payload, cursors: Vec<i64>) -> Ticket {
    let classification = Classification {
        cursors,
        ..Classification::default()
    };
    let operation = Operation {
        store,
        classification: Arc::new(classification),
        payload,
    };
    let caller = Arc::new(Principal {
        key_id: key_id.into(),
        user_id: None,
        role: "app".into(),
    });
    Ticket::for_tests(Permit::for_tests(operation, caller, Vec::new()))
}

/// A folder with a certificate authority and a server certificate for loopback.
pub struct Folder {
    dir: TempDir,
}

impl Folder {
    pub fn new() -> Self {
        // Both drivers' TLS asks for the process' provider; the binary installs it at its start.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let certificate = authority.self_signed(&authority_key).unwrap();
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = rcgen::KeyPair::generate().unwrap();
        let mut server = rcgen::CertificateParams::new(names).unwrap();
        // Of the authority's name, OpenSSL would take it for one that signed itself.
        let name = rcgen::DnType::CommonName;
        server.distinguished_name.push(name, "server");
        let server = server.signed_by(&key, &issuer).unwrap();
        let both = key.serialize_pem() + &server.pem();
        std::fs::write(dir.path().join("server.pem"), both).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub fn tls(&self) -> TlsSettings {
        TlsSettings {
            ca_file: Some(PathBuf::from(self.path("ca.pem"))),
            ..TlsSettings::default()
        }
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A running server process.
pub struct Process(Child);

impl Process {
    fn start(program: &Path, arguments: &[String]) -> Self {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{} did not start: {error}", program.display())))
    }

    /// `STOP` and `CONT` stall and wake it, `KILL` ends it.
    pub fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let sent = Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a server that has just been started accepts connections.
fn listens(port: u16) {
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            start.elapsed() < START_MAX,
            "nothing listens on port {port}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub struct RedisServer {
    folder: Folder,
    pub port: u16,
    pub process: Process,
}

impl RedisServer {
    pub fn start() -> Self {
        let folder = Folder::new();
        let port = free_port();
        let process = Self::process(&folder, port);
        Self {
            folder,
            port,
            process,
        }
    }

    fn process(folder: &Folder, port: u16) -> Process {
        let config = format!(
            "port 0\ntls-port {port}\nbind 127.0.0.1\ntls-cert-file {pem}\ntls-key-file {pem}\n\
             tls-ca-cert-file {ca}\ntls-auth-clients no\ndir {dir}\nsave \"\"\nlogfile {dir}/redis.log\n\
             aclfile {dir}/users.acl\n",
            pem = folder.path("server.pem"),
            ca = folder.path("ca.pem"),
            dir = folder.dir.path().display(),
        );
        let hash = <sha2::Sha256 as sha2::Digest>::digest(PASSWORD.as_bytes());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let users = format!("user default off\nuser app on #{hash} ~* &* +@all\n");
        std::fs::write(folder.path("users.acl"), users).unwrap();
        std::fs::write(folder.path("redis.conf"), config).unwrap();
        let process = Process::start(Path::new("redis-server"), &[folder.path("redis.conf")]);
        listens(port);
        process
    }

    pub fn restart(&mut self) {
        self.process = Self::process(&self.folder, self.port);
    }

    pub fn settings(&self) -> RedisSettings {
        RedisSettings {
            url: SecretString::from(format!("redis://127.0.0.1:{}", self.port)),
            user: Some("app".into()),
            password: Some(SecretString::from(PASSWORD)),
            tls: self.folder.tls(),
            command_timeout_ms: 2_000,
            limit_timeout_ms: RedisSettings::LIMIT_TIMEOUT_MS,
            in_flight_max: 64,
            blocking: BlockingSettings {
                max: 4,
                per_key_max: 4,
            },
            sentinel: SentinelLogin::default(),
        }
    }
}

/// A Redis without TLS, in a folder of its own, configured by the test: a node of a cluster, a replica, a Sentinel.
pub struct PlainRedis {
    dir: TempDir,
    pub port: u16,
    sentinel: bool,
    pub process: Process,
}

impl PlainRedis {
    /// With these lines of configuration, in which `$PORT` is its own port.
    pub fn start(config: &str) -> Self {
        Self::launch(config, false)
    }

    pub fn sentinel(config: &str) -> Self {
        Self::launch(config, true)
    }

    fn launch(config: &str, sentinel: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let path = dir.path().display();
        let save = if sentinel { "" } else { "save \"\"\n" };
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {path}\nlogfile {path}/redis.log\n{save}{config}\n"
        );
        let text = text.replace("$PORT", &port.to_string());
        std::fs::write(dir.path().join("redis.conf"), text).unwrap();
        let process = Self::process(dir.path(), sentinel, port);
        Self {
            dir,
            port,
            sentinel,
            process,
        }
    }

    fn process(dir: &Path, sentinel: bool, port: u16) -> Process {
        let mut arguments = vec![dir.join("redis.conf").display().to_string()];
        arguments.extend(sentinel.then(|| "--sentinel".to_owned()));
        let process = Process::start(Path::new("redis-server"), &arguments);
        listens(port);
        process
    }

    pub fn restart(&mut self) {
        self.process = Self::process(self.dir.path(), self.sentinel, self.port);
    }

    /// How to reach what this url names, with this password.
    pub fn settings(url: String, password: &str) -> RedisSettings {
        RedisSettings {
            url: url.into(),
            user: None,
            password: Some(password.to_owned().into()),
            tls: TlsSettings {
                mode: TlsMode::Disable,
                ..TlsSettings::default()
            },
            command_timeout_ms: 2_000,
            limit_timeout_ms: RedisSettings::LIMIT_TIMEOUT_MS,
            in_flight_max: 64,
            blocking: BlockingSettings::default(),
            sentinel: SentinelLogin::default(),
        }
    }
}

pub struct MongoServer {
    folder: Folder,
    pub port: u16,
    pub process: Process,
}

impl MongoServer {
    /// Starts a server without a user, makes `app`, and leaves only `app` able to do anything.
    pub async fn start() -> Self {
        let folder = Folder::new();
        let port = free_port();
        let process = Self::process(&folder, port);
        let server = Self {
            folder,
            port,
            process,
        };
        let store = MongoStore::connect(server.without_user()).await.unwrap();
        while let Err(error) = store.ping().await {
            tracing::debug!(%error, "not yet");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let user = doc! {
            "createUser": "app",
            "pwd": PASSWORD,
            "roles": [{"role": "root", "db": "admin"}],
        };
        let payload = Payload::Mongodb {
            database: "admin".into(),
            document: bson::serialize_to_vec(&user).unwrap(),
        };
        store
            .execute(ticket("test", Store::Mongodb, payload, Vec::new()), None)
            .await
            .unwrap();
        server
    }

    fn process(folder: &Folder, port: u16) -> Process {
        let dir = folder.dir.path().display();
        let arguments = format!(
            "--dbpath {dir} --bind_ip 127.0.0.1 --port {port} --nounixsocket --wiredTigerCacheSizeGB 0.25 --auth \
             --tlsMode requireTLS --tlsCertificateKeyFile {dir}/server.pem --tlsCAFile {dir}/ca.pem \
             --tlsAllowConnectionsWithoutCertificates --setParameter diagnosticDataCollectionEnabled=false \
             --logpath {dir}/mongod.log"
        );
        let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        Process::start(&mongod(), &arguments)
    }

    pub fn restart(&mut self) {
        self.process = Self::process(&self.folder, self.port);
    }

    fn without_user(&self) -> MongoSettings {
        MongoSettings {
            uri: SecretString::from(format!("mongodb://127.0.0.1:{}", self.port)),
            password: None,
            database: "enterprise_db".into(),
            tls: self.folder.tls(),
            pool: MongoSettings::POOL,
            // A cold server on a busy disk may take seconds to make its first collection.
            statement_timeout_ms: 20_000,
        }
    }

    pub fn settings(&self) -> MongoSettings {
        MongoSettings {
            uri: SecretString::from(format!("mongodb://app@127.0.0.1:{}", self.port)),
            password: Some(SecretString::from(PASSWORD)),
            ..self.without_user()
        }
    }
}

/// `MONGOD_BIN`, the set-up script's cache, or `mongod` on the path.
fn mongod() -> PathBuf {
    if let Some(path) = std::env::var_os("MONGOD_BIN") {
        return path.into();
    }
    let cache = std::env::var_os("BULKHEAD_CACHE")
        .map(PathBuf::from)
        .or_else(|| {
            let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
            Some(cache.or_else(home)?.join("bulkhead"))
        });
    match cache
        .map(|cache| cache.join("mongod"))
        .filter(|path| path.exists())
    {
        Some(path) => path,
        None => PathBuf::from("mongod"),
    }
}
