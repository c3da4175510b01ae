//! A private Redis, two ways into it, and reading of its replies.

use bulkhead::dev::{Options, Servers};
use redis::aio::MultiplexedConnection;
use redis::{
    Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, TlsCertificates, Value,
};
use secrecy::ExposeSecret;

/// Of the users that the oracle makes.
pub const PASSWORD: &str = "oracle";

pub struct Private(Servers);

impl Private {
    pub async fn start() -> Self {
        let mut servers = Servers::prepare(&Options::default()).unwrap();
        servers.redis.start().await.unwrap();
        Self(servers)
    }

    pub async fn administrator(&self) -> MultiplexedConnection {
        let account = self.0.redis.administrator();
        let password = account.password.expose_secret();
        self.connect(account.user, password).await
    }

    pub async fn connect(&self, user: &str, password: &str) -> MultiplexedConnection {
        let address = ConnectionAddr::TcpTls {
            host: "127.0.0.1".to_owned(),
            port: self.0.redis.port(),
            insecure: false,
            tls_params: None,
        };
        let account = RedisConnectionInfo::default()
            .set_username(user)
            .set_password(password);
        let info = address
            .into_connection_info()
            .unwrap()
            .set_redis_settings(account);
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: Some(std::fs::read(self.0.ca_file()).unwrap()),
        };
        // A script may run longer than the driver's default patience.
        let config = redis::AsyncConnectionConfig::new()
            .set_response_timeout(Some(std::time::Duration::from_secs(20)));
        Client::build_with_tls(info, certificates)
            .unwrap()
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .unwrap()
    }
}

pub fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) | Value::Set(items) => items,
        _ => &[],
    }
}

pub fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Okay => "OK".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::ServerError(error) => error.to_string(),
        other => format!("{other:?}"),
    }
}

/// A member of a map, which Redis sends as an array of names and values.
pub fn member<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    items(map)
        .chunks_exact(2)
        .find(|pair| text(&pair[0]) == name)
        .map(|pair| &pair[1])
}

/// `ACL SETUSER` with these keys and nothing else; `None` where a key cannot stand in a rule.
pub fn user_for(name: &str, touches: &[bulkhead::operation::Touch]) -> Option<redis::Cmd> {
    use bulkhead::operation::{Action, Object};
    let mut command = redis::cmd("ACL");
    command.arg("SETUSER").arg(name).arg("resetkeys");
    for touch in touches {
        let kind = if touch.action == Action::Write {
            "%W~"
        } else {
            "%R~"
        };
        let pattern = match &touch.object {
            Object::Key(key) => literal(key)?,
            // Redis' rules for `SORT … BY` and `KEYS` know all keys or nothing.
            Object::Keys(_) => b"*".to_vec(),
            Object::Named { .. } => panic!("{touch:?}"),
        };
        command.arg([kind.as_bytes(), &pattern].concat());
    }
    Some(command)
}

fn literal(key: &[u8]) -> Option<Vec<u8>> {
    if key
        .iter()
        .any(|byte| byte.is_ascii_whitespace() || *byte == 0)
    {
        return None;
    }
    let mut pattern = Vec::new();
    for byte in key {
        if b"*?[]\\^".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    Some(pattern)
}
