//! Debian's PgBouncer and Webdis, started with settings that stand here, where they are installed.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use bulkhead::operation::Store;

use crate::Fallible;
use crate::environment::Environment;
use crate::process::{Launch, Process, free_address};
use crate::questions::{ROWS, redis_key, text};

/// Debian's `nobody`: PgBouncer does not run as root.
const NOBODY: u32 = 65_534;
/// As many as the sidecar's and the bare handler's pools have.
const CONNECTIONS: usize = 10;

/// A program by its name, where it is installed.
fn installed(name: &str) -> Option<PathBuf> {
    let found = ["/usr/bin", "/usr/sbin", "/usr/local/bin"]
        .map(|folder| Path::new(folder).join(name))
        .into_iter()
        .find(|path| path.exists());
    if found.is_none() {
        eprintln!("gate: {name} is not installed, and left out");
    }
    found
}

/// Transaction pooling over as many connections as the others have, TLS to the server.
pub async fn pgbouncer(environment: &Environment) -> Fallible<Option<Process>> {
    let Some(program) = installed("pgbouncer") else {
        return Ok(None);
    };
    let endpoint = environment.ready.endpoint(Store::Postgres)?;
    let address = free_address()?;
    let folder = folder(environment, "pgbouncer")?;
    let ca = folder.join("ca.pem");
    std::fs::copy(&environment.ready.ca, &ca)?;
    let config = folder.join("pgbouncer.ini");
    let text = format!(
        "[databases]\n\
         bench = host={} port={} dbname={} user={} password={}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {}\n\
         unix_socket_dir =\n\
         auth_type = any\n\
         pool_mode = transaction\n\
         default_pool_size = {CONNECTIONS}\n\
         min_pool_size = {CONNECTIONS}\n\
         max_client_conn = 2000\n\
         server_tls_sslmode = verify-ca\n\
         server_tls_ca_file = {}\n\
         log_connections = 0\n\
         log_disconnections = 0\n",
        endpoint.host,
        endpoint.port,
        endpoint.database,
        endpoint.user,
        endpoint.password,
        address.port(),
        ca.display()
    );
    std::fs::write(&config, text)?;
    let mut arguments: Vec<OsString> = vec![config.clone().into()];
    if rustix::process::geteuid().is_root() {
        for path in [&folder, &ca, &config] {
            chown(path, Some(NOBODY), None)?;
        }
        open_way(environment)?;
        arguments.extend(["-u".into(), "nobody".into()]);
    }
    let launch = Launch {
        program,
        arguments,
        address,
        log: environment.folder.path().join("pgbouncer.log"),
    };
    launch.listening().await.map(Some)
}

/// Webdis, and a Redis of its own with the same values: it speaks no TLS, and the private one nothing else.
pub struct Webdis {
    pub process: Process,
    _redis: Process,
}

/// With the package's threads and pool.
pub async fn webdis(environment: &Environment) -> Fallible<Option<Webdis>> {
    let (Some(program), Some(redis)) = (installed("webdis"), installed("redis-server")) else {
        return Ok(None);
    };
    let folder = folder(environment, "webdis")?;
    let behind = free_address()?;
    let arguments = [
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--port",
    ];
    let mut arguments: Vec<OsString> = arguments.map(OsString::from).into();
    arguments.push(behind.port().to_string().into());
    let redis = Launch {
        program: redis,
        arguments,
        address: behind,
        log: folder.join("redis.log"),
    };
    let redis = redis.listening().await?;
    fill(behind).await?;
    let address = free_address()?;
    let config = folder.join("webdis.json");
    let text = serde_json::json!({
        "redis_host": "127.0.0.1", "redis_port": behind.port(), "redis_auth": null, "database": 0,
        "http_host": "127.0.0.1", "http_port": address.port(), "threads": 2, "daemonize": false,
        "acl": [{"disabled": ["DEBUG"]}], "verbosity": 0, "logfile": folder.join("webdis.log"),
    });
    std::fs::write(&config, text.to_string())?;
    let launch = Launch {
        program,
        arguments: vec![config.into()],
        address,
        log: folder.join("out.log"),
    };
    Ok(Some(Webdis {
        process: launch.listening().await?,
        _redis: redis,
    }))
}

async fn fill(address: SocketAddr) -> Fallible {
    let client = redis::Client::open(format!("redis://{address}/"))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut command = redis::cmd("MSET");
    for number in 0..ROWS {
        command.arg(redis_key(number)).arg(text(number));
    }
    Ok(command.exec_async(&mut connection).await?)
}

fn folder(environment: &Environment, name: &str) -> Fallible<PathBuf> {
    let folder = environment.folder.path().join(name);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Lets others through our own folder, though not look into it.
fn open_way(environment: &Environment) -> Fallible {
    use std::os::unix::fs::PermissionsExt as _;
    let through = std::fs::Permissions::from_mode(0o711);
    Ok(std::fs::set_permissions(
        environment.folder.path(),
        through,
    )?)
}
