//! Where the server programs are. Debian keeps some of them off an ordinary user's PATH.

use std::path::{Path, PathBuf};

use super::error::DevError;

/// Folders searched after PATH, in this order.
const MORE_FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/usr/bin"];

#[derive(Debug, Clone)]
pub(crate) struct PostgresPrograms {
    pub server: PathBuf,
    pub initdb: PathBuf,
}

/// MariaDB and MySQL share a protocol and most options, yet make their first data folder differently.
#[derive(Debug, Clone)]
pub(crate) enum MysqlPrograms {
    Mariadb { server: PathBuf, install: PathBuf },
    Mysql { server: PathBuf },
}

impl MysqlPrograms {
    pub(crate) fn server(&self) -> &Path {
        match self {
            Self::Mariadb { server, .. } | Self::Mysql { server } => server,
        }
    }
}

pub(crate) fn postgres() -> Result<PostgresPrograms, DevError> {
    let missing = DevError::Missing {
        program: "postgres",
        otherwise: "put PostgreSQL's `bin` folder on PATH",
    };
    // The two must be of one version, so initdb is looked for beside the server itself.
    for server in on_path("postgres").into_iter().chain(newest_postgres()) {
        let real = server.canonicalize().unwrap_or(server);
        let initdb = real.with_file_name("initdb");
        if is_program(&initdb) {
            return Ok(PostgresPrograms {
                server: real,
                initdb,
            });
        }
    }
    Err(missing)
}

pub(crate) fn mysql() -> Result<MysqlPrograms, DevError> {
    let server = on_path("mariadbd")
        .or_else(|| on_path("mysqld"))
        .ok_or(DevError::Missing {
            program: "mariadbd",
            otherwise: "put `mariadbd` or `mysqld` on PATH",
        })?;
    if !is_mariadb(&server)? {
        return Ok(MysqlPrograms::Mysql { server });
    }
    let install = on_path("mariadb-install-db")
        .or_else(|| on_path("mysql_install_db"))
        .ok_or(DevError::Missing {
            program: "mariadb-install-db",
            otherwise: "put it on PATH",
        })?;
    Ok(MysqlPrograms::Mariadb { server, install })
}

pub(crate) fn mongodb() -> Result<PathBuf, DevError> {
    std::env::var_os("MONGOD_BIN")
        .map(PathBuf::from)
        .filter(|path| is_program(path))
        .or_else(|| on_path("mongod"))
        .or_else(|| Some(cache()?.join("mongod")).filter(|path| is_program(path)))
        .ok_or(DevError::Missing {
            program: "mongod",
            otherwise: "name one in MONGOD_BIN",
        })
}

pub(crate) fn redis() -> Result<PathBuf, DevError> {
    on_path("redis-server").ok_or(DevError::Missing {
        program: "redis-server",
        otherwise: "put it on PATH",
    })
}

/// The folder that `scripts/setup.sh` fills, found by the same rule.
fn cache() -> Option<PathBuf> {
    let named = |variable: &str| {
        std::env::var_os(variable)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    named("BULKHEAD_CACHE")
        .or_else(|| Some(named("XDG_CACHE_HOME")?.join("bulkhead")))
        .or_else(|| Some(named("HOME")?.join(".cache/bulkhead")))
}

fn is_mariadb(server: &Path) -> Result<bool, DevError> {
    let output = std::process::Command::new(server)
        .args(["--no-defaults", "--version"])
        .output()
        .map_err(|source| DevError::Spawn {
            program: server.to_owned(),
            source,
        })?;
    Ok(String::from_utf8_lossy(&output.stdout).contains("MariaDB"))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(MORE_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| is_program(candidate))
}

/// Debian installs each major version beside the others; the newest one that is complete is used.
fn newest_postgres() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin/postgres")))
        })
        .filter(|(_, server)| is_program(server))
        .collect();
    versions.sort();
    versions.pop().map(|(_, server)| server)
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}
