//! JWT bearer tokens on real servers: the issuer's keys over HTTPS, and the pattern's blacklist in Redis.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::certificates::Authority;
use crate::keys::whoami;
use crate::support::link::{Link, Mode};
use crate::support::{Dev, Sidecar, eventually, shared};

struct Issuer {
    kid: &'static str,
    key: Ed25519KeyPair,
}

impl Issuer {
    fn new(kid: &'static str) -> Self {
        let random = ring::rand::SystemRandom::new();
        let key = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap();
        Self { kid, key }
    }

    fn set(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": x}]}).to_string()
    }

    /// In force for ten minutes, with these claims besides.
    fn token(&self, claims: &Value) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let mut all = json!({
            "iss": "https://issuer", "aud": "bulkhead", "iat": now, "exp": now + 600, "sub": "alice", "role": "app",
        });
        for (name, claim) in claims.as_object().unwrap() {
            all[name] = claim.clone();
        }
        self.sign("EdDSA", &all)
    }

    fn sign(&self, algorithm: &str, claims: &Value) -> String {
        let header = json!({"alg": algorithm, "kid": self.kid});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

/// Serves a set of keys over HTTPS, and counts how often it is asked for.
struct Publisher {
    address: SocketAddr,
    set: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Publisher {
    async fn start(authority: &Authority, set: String) -> Self {
        let chain = vec![CertificateDer::from_pem_file(authority.path("cert.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(authority.path("key.pem")).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let publisher = Self {
            address: listener.local_addr().unwrap(),
            set: Arc::new(Mutex::new(set)),
            asked: Arc::default(),
        };
        let (set, asked) = (Arc::clone(&publisher.set), Arc::clone(&publisher.asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                asked.fetch_add(1, Ordering::SeqCst);
                let body = set.lock().unwrap().clone();
                let reply = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(reply.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        publisher
    }
}

fn sidecar(dev: &Dev, jwt: &str, edit: impl FnOnce(&mut toml::Table)) -> Sidecar {
    Sidecar::start(dev, |config| {
        let auth = format!(
            "[jwt]\nissuer = 'https://issuer'\naudience = 'bulkhead'\nalgorithms = ['EdDSA']\n{jwt}"
        );
        config.insert("auth".into(), auth.parse::<toml::Table>().unwrap().into());
        edit(config);
    })
}

async fn code(sidecar: &Sidecar, token: &str) -> String {
    let reply = whoami(&sidecar.http, token).await;
    if reply.status == 200 {
        "ok".into()
    } else {
        reply.code().to_owned()
    }
}

async fn redis(dev: &Dev) -> redis::aio::MultiplexedConnection {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = dev.config.parent().unwrap().join("ca.pem");
    let client = redis::Client::build_with_tls(
        dev.store_url("redis").split('?').next().unwrap(),
        redis::TlsCertificates {
            client_tls: None,
            root_cert: Some(std::fs::read(ca).unwrap()),
        },
    );
    client
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap()
}

/// The keys are served while `check` is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_until_it_is_in_the_blacklist() {
    let dev = shared();
    let authority = Authority::new();
    let issuer = Issuer::new("one");
    let publisher = Publisher::start(&authority, issuer.set()).await;
    let jwt = format!(
        "jwks_url = 'https://localhost:{}/keys'\nca_file = '{}'\nuser_claim = 'uid'",
        publisher.address.port(),
        authority.path("ca.pem").display()
    );
    let sidecar = sidecar(dev, &jwt, |_| {});
    sidecar.ready().await;
    let token = issuer.token(&json!({"jti": "gate-1", "uid": "u9"}));
    eventually("the token opens", || async {
        code(&sidecar, &token).await == "ok"
    })
    .await;
    let body = whoami(&sidecar.http, &token).await.body;
    assert_eq!(
        (&body["key_id"], &body["user_id"], &body["role"]),
        (&"jwt:alice".into(), &"u9".into(), &"app".into())
    );
    // What the policy grants the role, the token has, and no more.
    let sql = json!({"sql": "SELECT count(*) AS n FROM users"});
    let reply = sidecar.post(&token, "/v1/mysql/query", &sql).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let sql = json!({"sql": "SELECT id FROM api_keys"});
    let reply = sidecar.post(&token, "/v1/postgres/query", &sql).await;
    assert_eq!(reply.code(), "policy.denied", "{}", reply.text);

    let mut redis = redis(dev).await;
    let other = issuer.token(&json!({"jti": "gate-2"}));
    assert_eq!(code(&sidecar, &other).await, "ok");
    redis::cmd("SET")
        .arg(&["jwt:blacklist:gate-1", "1", "EX", "600"])
        .exec_async(&mut redis)
        .await
        .unwrap();
    eventually("the token is revoked", || async {
        code(&sidecar, &token).await == "auth.revoked"
    })
    .await;
    assert_eq!(code(&sidecar, &other).await, "ok");
    // Who is taken out of the blacklist is let in again.
    redis::cmd("DEL")
        .arg("jwt:blacklist:gate-1")
        .exec_async(&mut redis)
        .await
        .unwrap();
    eventually("the token opens again", || async {
        code(&sidecar, &token).await == "ok"
    })
    .await;

    // Tokens of a key that nobody published have it looked for, but not each of them.
    let before = publisher.asked.load(Ordering::SeqCst);
    let stranger = Issuer::new("stranger");
    for turn in 0..10 {
        let token = stranger.token(&json!({"jti": format!("s{turn}")}));
        assert_eq!(code(&sidecar, &token).await, "auth.invalid");
    }
    let asked = publisher.asked.load(Ordering::SeqCst) - before;
    assert!(asked <= 1, "asked {asked} times");
    assert_eq!(
        bulkhead(&sidecar, "check")
            .lines()
            .find(|line| line.contains("token issuer")),
        Some(&*format!(
            "ok    token issuer   1 usable key in `localhost:{}/keys`",
            publisher.address.port()
        ))
    );
    assert_eq!(
        sidecar
            .metric("bulkhead_token_issuer_keys{state=\"fresh\"}")
            .await,
        1.0
    );
    publisher.set.lock().unwrap().clear();
    assert_eq!(
        code(&sidecar, &other).await,
        "ok",
        "the keys hold while they cannot be read"
    );
}

fn bulkhead(sidecar: &Sidecar, command: &str) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bulkhead"))
        .args([command, "--config"])
        .arg(&sidecar.config)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Who looks for the cause must not be sent to a database.
#[tokio::test]
async fn an_issuer_that_cannot_be_asked_is_named() {
    let dev = shared();
    let issuer = Issuer::new("one");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let jwt = format!("jwks_url = 'https://localhost:{port}/keys'");
    let sidecar = sidecar(dev, &jwt, |_| {});
    sidecar.ready().await;
    let reply = whoami(&sidecar.http, &issuer.token(&json!({"jti": "i1"}))).await;
    assert_eq!(
        (reply.status, reply.code()),
        (503, "auth.unavailable"),
        "{}",
        reply.text
    );
    let detail = reply.body["detail"].as_str().unwrap();
    assert!(
        detail.contains("issuer") && !reply.text.contains("database"),
        "{}",
        reply.text
    );
    eventually("health and metrics tell it", || async {
        let url = format!("{}/health", sidecar.admin);
        let health = crate::support::send(hyper::Method::GET, &url, &[], None).await;
        let series = "bulkhead_token_issuer_keys{state=\"fresh\"} 0";
        let url = format!("{}/metrics", sidecar.admin);
        let metrics = crate::support::send(hyper::Method::GET, &url, &[], None).await;
        health.text.contains("no token is honoured") && metrics.text.contains(series)
    })
    .await;
    let checked = bulkhead(&sidecar, "check");
    let line = checked
        .lines()
        .find(|line| line.starts_with("FAIL  token issuer"));
    assert!(
        line.is_some_and(|line| line.contains("refused")),
        "{checked}"
    );

    // A set without a key for the algorithms is none.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, issuer.set()).unwrap();
    let text = std::fs::read_to_string(&sidecar.config).unwrap();
    let mut config: toml::Table = text.parse().unwrap();
    let jwt = config["auth"]["jwt"].as_table_mut().unwrap();
    jwt.remove("jwks_url");
    jwt.insert("jwks_file".into(), file.to_str().unwrap().into());
    jwt.insert("algorithms".into(), vec!["RS256"].into());
    std::fs::write(&sidecar.config, config.to_string()).unwrap();
    let checked = bulkhead(&sidecar, "check");
    let line = checked
        .lines()
        .find(|line| line.starts_with("FAIL  token issuer"));
    let words = "no key with a `kid` and one of the allowed algorithms";
    assert!(line.is_some_and(|line| line.contains(words)), "{checked}");
}

/// Without the blacklist nobody knows what was revoked: refused by default, honoured where the operator said so.
#[tokio::test]
async fn redis_away_fails_closed_unless_told_otherwise() {
    let dev = shared();
    let issuer = Issuer::new("one");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, issuer.set()).unwrap();
    for (setting, away) in [
        ("", "store.unavailable"),
        ("blacklist_unavailable = 'allow'", "ok"),
    ] {
        let port = dev.store_url("redis").split('?').next().unwrap();
        let port: u16 = port
            .rsplit(':')
            .next()
            .unwrap()
            .split('/')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let link = Link::to(SocketAddr::from(([127, 0, 0, 1], port))).await;
        let jwt = format!("jwks_file = '{}'\n{setting}", file.display());
        let sidecar = sidecar(dev, &jwt, |config| {
            let url = format!("rediss://127.0.0.1:{}/0", link.port);
            let redis = config["stores"]["redis"].as_table_mut().unwrap();
            redis.insert("url".into(), url.into());
        });
        let token = issuer.token(&json!({"jti": "away-1"}));
        eventually("the token opens", || async {
            code(&sidecar, &token).await == "ok"
        })
        .await;
        link.set(Mode::Cut);
        eventually(away, || async { code(&sidecar, &token).await == away }).await;
        let fresh = issuer.token(&json!({"jti": "away-2"}));
        assert_eq!(code(&sidecar, &fresh).await, away);
        link.set(Mode::Open);
        eventually("it opens again", || async {
            code(&sidecar, &token).await == "ok"
        })
        .await;
    }
}

/// A caller learns how a good token ended and nothing else; the operator's log says which check failed, not of which
/// token.
#[tokio::test]
async fn the_log_tells_what_is_wrong_with_a_token() {
    let dev = shared();
    let (issuer, other) = (Issuer::new("one"), Issuer::new("one"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, issuer.set()).unwrap();
    let sidecar = sidecar(dev, &format!("jwks_file = '{}'", file.display()), |_| {});
    sidecar.ready().await;
    let mut redis = redis(dev).await;
    redis::cmd("SET")
        .arg(&["jwt:blacklist:told-1", "1", "EX", "600"])
        .exec_async(&mut redis)
        .await
        .unwrap();
    let good = json!({"jti": "told-2"});
    let (now, long_ago) = (SystemTime::now(), json!({"jti": "told-3", "exp": 1}));
    let now = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let old = json!({"jti": "told-4", "iat": now - 100_000});
    let invalid = "auth.invalid";
    let cases = [
        ("nonsense".into(), invalid, "is no key and no JWT"),
        (other.token(&good), invalid, "signature is wrong"),
        (
            Issuer::new("two").token(&good),
            invalid,
            "has no key with the token's `kid`",
        ),
        (
            issuer.sign("none", &good),
            invalid,
            "algorithm is not that of its key",
        ),
        (
            issuer.token(&json!({"jti": "x", "iss": "i"})),
            invalid,
            "from another issuer",
        ),
        (
            issuer.token(&json!({"jti": "x", "aud": "a"})),
            invalid,
            "for another audience",
        ),
        (issuer.token(&json!({})), invalid, "claim `jti` is missing"),
        (
            issuer.token(&json!({"jti": "x", "nbf": now + 900})),
            invalid,
            "not in force yet",
        ),
        (
            issuer.token(&long_ago),
            "auth.expired",
            "token of `jwt:alice` has expired",
        ),
        (issuer.token(&old), "auth.expired", "older than `max_age_s`"),
        (
            issuer.token(&json!({"jti": "told-1"})),
            "auth.revoked",
            "is in the blacklist",
        ),
    ];
    for (token, expected, cause) in &cases {
        // Redis may come a moment later than the rest.
        eventually(cause, || async { code(&sidecar, token).await == *expected }).await;
        eventually(cause, || async { sidecar.has_logged(cause) }).await;
        assert!(
            *token == "nonsense" || !sidecar.has_logged(token),
            "{cause}"
        );
    }
    let nobody = issuer.token(&json!({"jti": "told-5", "role": "nobody"}));
    let sql = json!({"sql": "SELECT 1"});
    let reply = sidecar.post(&nobody, "/v1/mysql/query", &sql).await;
    assert_eq!(reply.code(), "policy.denied", "{}", reply.text);
    eventually("the role", || async {
        sidecar.has_logged("the policy has no role `nobody`")
    })
    .await;

    // From an address that has failed too often, what the issuer signed gets in all the same.
    let wrong = other.token(&json!({"jti": "told-6"}));
    eventually("guessing is throttled", || async {
        code(&sidecar, &wrong).await == "rate_limit.exceeded"
    })
    .await;
    for turn in 0..30 {
        let token = issuer.token(&json!({"jti": format!("told-good-{turn}")}));
        assert_eq!(code(&sidecar, &token).await, "ok", "{turn}");
    }
    assert_eq!(
        code(&sidecar, &issuer.token(&long_ago)).await,
        "auth.expired"
    );
    assert!(sidecar.has_logged("this one: the token's signature is wrong"));
}

/// A sidecar does not start with keys that it cannot read, nor with a blacklist that it cannot ask.
#[tokio::test]
async fn a_configuration_that_cannot_hold_is_refused() {
    let dev = shared();
    let folder = tempfile::tempdir().unwrap();
    let check = |jwt: &str, without_redis: bool, expected: &str| {
        let text = std::fs::read_to_string(&dev.config).unwrap();
        let mut config: toml::Table = text.parse().unwrap();
        for section in ["server", "admin"] {
            config.insert(
                section.into(),
                toml::Table::from_iter([("listen".to_owned(), "127.0.0.1:0".into())]).into(),
            );
        }
        if without_redis {
            config["stores"].as_table_mut().unwrap().remove("redis");
        }
        let auth = format!("[jwt]\nissuer = 'i'\naudience = 'a'\n{jwt}");
        config.insert("auth".into(), auth.parse::<toml::Table>().unwrap().into());
        let path = folder.path().join("bulkhead.toml");
        std::fs::write(&path, config.to_string()).unwrap();
        let ended = std::process::Command::new(env!("CARGO_BIN_EXE_bulkhead"))
            .args(["serve", "--config"])
            .arg(&path)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{told}");
        assert!(told.contains(expected), "{expected}: {told}");
    };
    let good = "algorithms = ['ES256']";
    check(good, false, "needs one of `jwks_file` and `jwks_url`");
    for url in [
        "http://issuer/keys",
        "https://me:secret@issuer/keys",
        "issuer",
    ] {
        check(
            &format!("{good}\njwks_url = '{url}'"),
            false,
            "must be an https URL without user and password",
        );
    }
    check(
        &format!("{good}\njwks_file = '/nowhere/keys'"),
        false,
        "/nowhere/keys",
    );
    check(
        &format!("{good}\njwks_url = 'https://issuer/keys'"),
        true,
        "blacklist_unavailable",
    );
    check(
        "jwks_url = 'https://issuer/keys'",
        false,
        "`algorithms` is missing",
    );
    for algorithm in ["none", "HS256", "PS256"] {
        let jwt = format!("algorithms = ['{algorithm}']\njwks_url = 'https://issuer/keys'");
        check(&jwt, false, "`algorithms` may list RS256, ES256, EdDSA");
    }
}
