//! MongoDB and Redis, whose few documents and keys are put there anew for every case.

use bson::raw::RawDocumentBuf;
use bson::{Document, doc};
use bulkhead::classify::mongodb::without_database;
use bulkhead::wire::extended_json::parse_extended_json;
use redis::{Client as RedisClient, ConnectionAddr, IntoConnectionInfo, TlsCertificates};

use super::{Outcome, Who};
use crate::corpus::Case;
use crate::support::Dev;

/// Commands that end, lock or reconfigure a mongod, or take its accounts away.
const HARM_MONGODB: [&str; 17] = [
    "shutdown",
    "fsync",
    "fsyncUnlock",
    "setParameter",
    "setUserWriteBlockMode",
    "setFeatureCompatibilityVersion",
    "replSetStepDown",
    "replSetReconfig",
    "replSetFreeze",
    "dropAllUsersFromDatabase",
    "dropUser",
    "updateUser",
    "configureFailPoint",
    "killAllSessions",
    "killOp",
    "logRotate",
    "rotateCertificates",
];

/// Parts of scripts that keep Redis busy for minutes, or fill the machine's memory.
const HARM_SCRIPTS: [&str; 6] = [
    ".-.-.-",
    "300000000",
    "s = s .. s",
    "s = s .. t",
    "table.sort(t)",
    "for j = 1, #t",
];

/// Commands that end, empty, reconfigure or wait for the server, or turn the connection into something else.
const HARM_REDIS: [&str; 27] = [
    "ACL",
    "BGREWRITEAOF",
    "BGSAVE",
    "CLIENT",
    "CLUSTER",
    "CONFIG",
    "DEBUG",
    "FAILOVER",
    "FLUSHALL",
    "FLUSHDB",
    "FUNCTION",
    "MIGRATE",
    "MODULE",
    "MONITOR",
    "PSUBSCRIBE",
    "PSYNC",
    "QUIT",
    "REPLICAOF",
    "RESET",
    "SAVE",
    "SCRIPT",
    "SHUTDOWN",
    "SLAVEOF",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SWAPDB",
    "SYNC",
];

/// One key of each kind where the corpus' cases look for them.
const KEYS: [&str; 16] = [
    "SET cache:user:1 abc",
    "SET cache:a 1",
    "SET cache:ptr ratelimit:1",
    "SADD cache:set a b",
    "GEOADD cache:geo 13.36 38.11 a",
    "SET ratelimit:1 5",
    "RPUSH ratelimit:list a b",
    "ZADD ratelimit:zset 1 a",
    "SADD ratelimit:set a",
    "PFADD ratelimit:hll a",
    "GEOADD ratelimit:geo 13.36 38.11 a",
    "XGROUP CREATE ratelimit:stream g $ MKSTREAM",
    "XGROUP CREATE STREAMS g $ MKSTREAM",
    "SET jwt:blacklist:abc 1",
    "RPUSH queue:ids abc",
    "ZADD queue:schedule 1 a",
];

/// mongod's code for a privilege that is missing.
const UNAUTHORIZED: i32 = 13;

pub struct Mongodb {
    client: mongodb::Client,
    administrator: mongodb::Client,
}

impl Mongodb {
    pub async fn open(dev: &Dev, who: Who) -> Self {
        let open = async |who: Who| {
            let url = who.url(dev, "mongodb");
            mongodb::Client::with_uri_str(url).await.unwrap()
        };
        Self {
            client: open(who).await,
            administrator: open(Who::Administrator).await,
        }
    }

    pub async fn put(&self, case: &Case) -> Outcome {
        let bytes = match &case.bytes {
            Some(bytes) => bytes.clone(),
            None => match parse_extended_json(&case.request.to_string()) {
                Ok(bytes) => bytes,
                Err(error) => return Outcome::NotHere(format!("not a document: {error}")),
            },
        };
        let Ok((database, command)) = without_database(&bytes) else {
            return Outcome::NotHere("the driver writes `$db` itself".into());
        };
        let command = RawDocumentBuf::from_bytes(command).unwrap();
        let name = command
            .iter()
            .next()
            .and_then(|first| Some(first.ok()?.0.as_str().to_owned()));
        if name.is_none_or(|name| {
            HARM_MONGODB
                .iter()
                .any(|harm| name.eq_ignore_ascii_case(harm))
        }) {
            return Outcome::KeptBack;
        }
        self.refill().await;
        let database = self
            .client
            .database(&database.unwrap_or("enterprise_db".into()));
        match database.run_raw_command(command).await {
            Ok(_) => Outcome::Succeeded,
            Err(error) => {
                let mongodb::error::ErrorKind::Command(command) = error.kind.as_ref() else {
                    return Outcome::Failed(error.to_string());
                };
                match command.code {
                    // Nobody but another server may, whatever its roles.
                    UNAUTHORIZED if command.message.contains("command { _") => {
                        Outcome::NotHere("it is for the servers among themselves".into())
                    }
                    UNAUTHORIZED => Outcome::Refused(command.message.clone()),
                    _ => Outcome::Failed(error.to_string()),
                }
            }
        }
    }

    async fn refill(&self) {
        let database = self.administrator.database("enterprise_db");
        for name in [
            "activity_logs",
            "analytics_events",
            "event_store",
            "secrets",
        ] {
            let collection = database.collection::<Document>(name);
            let _ = collection.drop().await;
            let row = doc! {"user_id": 1, "a": 1, "value": "s"};
            collection.insert_one(row).await.unwrap();
        }
    }
}

pub struct Redis {
    client: RedisClient,
    administrator: RedisClient,
}

impl Redis {
    pub async fn open(dev: &Dev, who: Who) -> Self {
        Self {
            client: Self::client(dev, &who.url(dev, "redis")),
            administrator: Self::client(dev, dev.store_url("redis")),
        }
    }

    pub fn client(dev: &Dev, url: &str) -> RedisClient {
        let url = url.strip_prefix("rediss://").unwrap();
        let (account, place) = url.split_once('@').unwrap();
        let (user, password) = account.split_once(':').unwrap();
        let port = place.split_once(':').unwrap().1;
        let address = ConnectionAddr::TcpTls {
            host: "127.0.0.1".to_owned(),
            port: port.trim_end_matches("/0").parse().unwrap(),
            insecure: false,
            tls_params: None,
        };
        let account = redis::RedisConnectionInfo::default()
            .set_username(user)
            .set_password(password);
        let info = address
            .into_connection_info()
            .unwrap()
            .set_redis_settings(account);
        let settings = bulkhead::config::Config::load(&dev.config).unwrap();
        let ca = settings.stores.postgres.unwrap().tls.ca_file.unwrap();
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: Some(std::fs::read(ca).unwrap()),
        };
        RedisClient::build_with_tls(info, certificates).unwrap()
    }

    pub async fn put(&self, case: &Case) -> Outcome {
        let words = words_of(&case.request);
        let name = words.first().map(|word| word.to_uppercase());
        let is_harm = |word: &String| HARM_SCRIPTS.iter().any(|part| word.contains(part));
        if name.is_none_or(|name| HARM_REDIS.contains(&name.as_str())) || words.iter().any(is_harm)
        {
            return Outcome::KeptBack;
        }
        let open = async |client: &RedisClient| {
            let connection = client.get_multiplexed_async_connection().await;
            connection.unwrap()
        };
        let mut conn = open(&self.administrator).await;
        for key in KEYS {
            let words: Vec<String> = key.split(' ').map(str::to_owned).collect();
            // A key that is there already is as good.
            let _ = command(&words).exec_async(&mut conn).await;
        }
        for setup in &case.setup {
            if let Err(error) = command(&words_of(setup)).exec_async(&mut conn).await {
                return Outcome::Failed(format!("setup: {error}"));
            }
        }
        let mut conn = open(&self.client).await;
        let answer: redis::RedisResult<redis::Value> = command(&words).query_async(&mut conn).await;
        match answer {
            Ok(redis::Value::ServerError(error)) => Outcome::Failed(format!("{error:?}")),
            Ok(_) => Outcome::Succeeded,
            Err(error)
                if error.to_string().contains("NOPERM") || error.code() == Some("NOPERM") =>
            {
                Outcome::Refused(error.to_string())
            }
            // A script's own command was refused.
            Err(error)
                if error
                    .to_string()
                    .contains("can't run this command or subcommand")
                    || error.to_string().contains("ACL failure") =>
            {
                Outcome::Refused(error.to_string())
            }
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }
}

fn words_of(request: &serde_json::Value) -> Vec<String> {
    let words = request.as_array().unwrap().iter();
    words
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

fn command(words: &[String]) -> redis::Cmd {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(word);
    }
    command
}
