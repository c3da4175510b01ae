//! The two JSON files of `bulkhead dev`: its own memory (`dev.json`) and the ready file, which is an interface.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::error::DevError;
use super::folder::{self, Account, STATE_FILE};
use crate::operation::Store;

const STATE_VERSION: u32 = 1;

/// What the next start in the same folder needs to look the same from outside. Passwords and keys are not in
/// it: they are files of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    version: u32,
    ports: Ports,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ports {
    postgres: Option<u16>,
    mysql: Option<u16>,
    mongodb: Option<u16>,
    redis: Option<u16>,
    http: Option<u16>,
    admin: Option<u16>,
}

/// The sidecar's two loopback ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listeners {
    pub http: u16,
    pub admin: u16,
}

impl State {
    pub(crate) fn read(folder: &Path) -> Result<Self, DevError> {
        let path = folder.join(STATE_FILE);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(&path).map_err(DevError::file("read", &path))?;
        let fault = |cause: String| DevError::State {
            path: path.clone(),
            cause,
        };
        let state: Self = serde_json::from_str(&text).map_err(|error| fault(error.to_string()))?;
        if state.version == STATE_VERSION {
            Ok(state)
        } else {
            Err(fault(format!("it has version {}", state.version)))
        }
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<(), DevError> {
        let state = Self {
            version: STATE_VERSION,
            ports: self.ports.clone(),
        };
        let path = folder.join(STATE_FILE);
        let text = serde_json::to_string_pretty(&state).map_err(|error| DevError::State {
            path: path.clone(),
            cause: error.to_string(),
        })?;
        folder::write_private(&path, text.as_bytes(), &Account::Current)
    }

    pub(crate) fn port(&self, store: Store) -> Option<u16> {
        match store {
            Store::Postgres => self.ports.postgres,
            Store::Mysql => self.ports.mysql,
            Store::Mongodb => self.ports.mongodb,
            Store::Redis => self.ports.redis,
        }
    }

    pub(crate) fn set_port(&mut self, store: Store, port: u16) {
        let place = match store {
            Store::Postgres => &mut self.ports.postgres,
            Store::Mysql => &mut self.ports.mysql,
            Store::Mongodb => &mut self.ports.mongodb,
            Store::Redis => &mut self.ports.redis,
        };
        *place = Some(port);
    }

    pub(crate) fn listeners(&self) -> Option<Listeners> {
        let (http, admin) = self.ports.http.zip(self.ports.admin)?;
        Some(Listeners { http, admin })
    }

    pub(crate) fn set_listeners(&mut self, listeners: Listeners) {
        self.ports.http = Some(listeners.http);
        self.ports.admin = Some(listeners.admin);
    }
}

/// The two API keys that `bulkhead dev` makes, one for each role of the example policy.
#[derive(Debug, Clone)]
pub struct Keys {
    pub app: SecretString,
    pub admin: SecretString,
}

/// What a test, a benchmark or a script learns about a running `bulkhead dev`.
#[derive(Debug)]
pub struct Ready<'a> {
    /// `None`: the sidecar was not asked for.
    pub listeners: Option<Listeners>,
    pub config: &'a Path,
    pub ca: &'a Path,
    pub keys: &'a Keys,
    /// Each store with its address, which holds the administrator's password.
    pub stores: [(Store, String); 4],
}

impl Ready<'_> {
    /// Writes the ready file, whole and readable by us alone.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), DevError> {
        let text = format!("{:#}\n", self.to_json());
        folder::write_private(path, text.as_bytes(), &Account::Current)
    }

    fn to_json(&self) -> serde_json::Value {
        let address = |port: Option<u16>| port.map(|port| format!("http://127.0.0.1:{port}"));
        let stores: serde_json::Map<_, _> = self
            .stores
            .iter()
            .map(|(store, url)| (store.as_str().to_owned(), url.as_str().into()))
            .collect();
        serde_json::json!({
            "http": address(self.listeners.map(|listeners| listeners.http)),
            "admin": address(self.listeners.map(|listeners| listeners.admin)),
            "config": self.config.display().to_string(),
            "keys": {
                "app": self.keys.app.expose_secret(),
                "admin": self.keys.admin.expose_secret(),
            },
            "stores": stores,
            "ca": self.ca.display().to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), State::default());
        let mut state = State::default();
        state.set_port(Store::Mongodb, 12_345);
        state.set_listeners(Listeners { http: 1, admin: 2 });
        state.write(dir.path()).unwrap();
        let read = State::read(dir.path()).unwrap();
        assert_eq!(read.port(Store::Mongodb), Some(12_345));
        assert_eq!(read.port(Store::Redis), None);
        assert_eq!(read.listeners(), Some(Listeners { http: 1, admin: 2 }));
    }

    #[test]
    fn a_state_that_is_not_ours_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["{}", "not json", r#"{"version": 99, "ports": {}}"#] {
            std::fs::write(dir.path().join(STATE_FILE), text).unwrap();
            let read = State::read(dir.path());
            assert!(matches!(read, Err(DevError::State { .. })), "{text}");
        }
    }

    #[test]
    fn the_ready_file_has_the_promised_members() {
        let keys = Keys {
            app: "a".to_owned().into(),
            admin: "b".to_owned().into(),
        };
        let ready = Ready {
            listeners: Some(Listeners {
                http: 8080,
                admin: 9090,
            }),
            config: Path::new("/d/bulkhead.toml"),
            ca: Path::new("/d/ca.pem"),
            keys: &keys,
            stores: Store::ALL.map(|store| (store, format!("{store}://"))),
        };
        let expected = serde_json::json!({
            "http": "http://127.0.0.1:8080",
            "admin": "http://127.0.0.1:9090",
            "config": "/d/bulkhead.toml",
            "keys": {"app": "a", "admin": "b"},
            "stores": {"postgres": "postgres://", "mysql": "mysql://", "mongodb": "mongodb://", "redis": "redis://"},
            "ca": "/d/ca.pem",
        });
        assert_eq!(ready.to_json(), expected);
    }
}
