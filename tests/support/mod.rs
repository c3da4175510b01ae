//! Starts `bulkhead dev` (real PostgreSQL, MariaDB or MySQL, MongoDB and Redis over TLS, the real sidecar in
//! front) and talks to it as an application would.

#[allow(dead_code)]
pub mod link;
#[allow(dead_code)]
pub mod tls;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// How long the four databases and the sidecar may take to start on a loaded machine.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How much of a sidecar's log is kept.
const LOG_BYTES_MAX: usize = 16 << 20;

/// One running `bulkhead dev`. Its databases end with this process: the pipe to it closes.
pub struct Dev {
    pub http: String,
    pub admin: String,
    pub config: PathBuf,
    pub app: String,
    pub admin_key: String,
    pub stores: Value,
    control: Mutex<Control>,
    _folder: tempfile::TempDir,
}

struct Control {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Reply {
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("")
    }
}

/// The environment that the tests of one binary share.
pub fn shared() -> &'static Dev {
    static DEV: OnceLock<Dev> = OnceLock::new();
    DEV.get_or_init(Dev::start)
}

impl Dev {
    /// The policy that its own sidecar is under.
    pub fn policy(&self) -> toml::Table {
        let config: toml::Table = (std::fs::read_to_string(&self.config).unwrap())
            .parse()
            .unwrap();
        let path = config["policy"]["path"].as_str().unwrap();
        let policy = std::fs::read_to_string(self.config.with_file_name(path)).unwrap();
        policy.parse().unwrap()
    }

    pub fn start() -> Self {
        // The servers run as another user when the tests run as root, so the folder must be reachable.
        let folder = tempfile::Builder::new()
            .prefix("bulkhead-test-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o711))
            .tempdir()
            .unwrap();
        let ready = folder.path().join("ready.json");
        let mut child = Command::new(env!("CARGO_BIN_EXE_bulkhead"))
            .arg("dev")
            .arg("--dir")
            .arg(folder.path().join("dev"))
            .arg("--ready-file")
            .arg(&ready)
            .arg("--exit-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while !ready.exists() {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("bulkhead dev ended with {status} before it was ready");
            }
            assert!(began.elapsed() < START_TIMEOUT, "bulkhead dev is not ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        let told: Value = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            http: text(&told["http"]),
            admin: text(&told["admin"]),
            config: text(&told["config"]).into(),
            app: text(&told["keys"]["app"]),
            admin_key: text(&told["keys"]["admin"]),
            stores: told["stores"].clone(),
            control: Mutex::new(Control {
                input: child.stdin.take(),
                output: BufReader::new(child.stdout.take().unwrap()),
                child,
            }),
            _folder: folder,
        }
    }

    /// Tells `bulkhead dev` to `kill`, `stop`, `start` or `restart` a store, and waits until it has.
    pub fn tell(&self, command: &str) {
        let mut control = self.control.lock().unwrap();
        writeln!(control.input.as_mut().unwrap(), "{command}").unwrap();
        let mut line = String::new();
        while control.output.read_line(&mut line).unwrap() > 0 {
            if let Ok(reply) = serde_json::from_str::<Value>(&line)
                && reply["command"] == command
            {
                assert_eq!(reply["ok"], true, "{line}");
                return;
            }
            line.clear();
        }
        panic!("bulkhead dev ended");
    }

    pub async fn post(&self, key: &str, path: &str, body: &Value) -> Reply {
        let headers = [("authorization", format!("Bearer {key}"))];
        let body = Some(body.to_string());
        send(
            Method::POST,
            &format!("{}{path}", self.http),
            &headers,
            body,
        )
        .await
    }

    /// A SQL statement as the application.
    pub async fn sql(&self, store: &str, sql: &str, params: Value) -> Reply {
        let body = serde_json::json!({"sql": sql, "params": params});
        self.post(&self.app, &format!("/v1/{store}/query"), &body)
            .await
    }

    /// A further key, of the role `app`.
    pub fn new_key(&self, name: &str) -> String {
        self.new_key_as("app", name)
    }

    pub fn new_key_as(&self, role: &str, name: &str) -> String {
        let made = self.bulkhead(&["keys", "create", "--role", role, "--name", name]);
        assert!(made.status.success(), "{made:?}");
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    }

    pub async fn get(&self, path: &str) -> Reply {
        send(Method::GET, &format!("{}{path}", self.http), &[], None).await
    }

    /// The value of one series of `/metrics`; 0 if it is absent.
    pub async fn metric(&self, series: &str) -> f64 {
        metric(&self.admin, series).await
    }

    /// Runs `bulkhead` with this environment's configuration.
    pub fn bulkhead(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(env!("CARGO_BIN_EXE_bulkhead"))
            .args(arguments)
            .env("BULKHEAD_CONFIG", &self.config)
            .output()
            .unwrap()
    }

    pub fn store_url(&self, store: &str) -> &str {
        self.stores[store].as_str().unwrap()
    }
}

/// A further sidecar before the same databases, with a configuration of its own.
pub struct Sidecar {
    pub http: String,
    pub admin: String,
    pub config: PathBuf,
    pub child: Child,
    /// What it has logged.
    log: std::sync::Arc<Mutex<String>>,
    _folder: tempfile::TempDir,
}

impl Sidecar {
    /// Starts `bulkhead serve` with the configuration of `dev`, changed by `edit`, on free ports.
    pub fn start(dev: &Dev, edit: impl FnOnce(&mut toml::Table)) -> Self {
        let text = std::fs::read_to_string(&dev.config).unwrap();
        let mut config: toml::Table = text.parse().unwrap();
        for section in ["server", "admin"] {
            let listen = toml::Table::from_iter([("listen".to_owned(), "127.0.0.1:0".into())]);
            config.insert(section.into(), listen.into());
        }
        edit(&mut config);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bulkhead.toml");
        std::fs::write(&path, config.to_string()).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_bulkhead"))
            .args(["serve", "--config"])
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let mut before = String::new();
        let [http, admin] = loop {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "serve ended");
            before.push_str(&line);
            let told: Value = serde_json::from_str(&line).unwrap();
            if let (Some(data), Some(admin)) = (told["data"].as_str(), told["admin"].as_str()) {
                break [data, admin].map(|address| format!("http://{address}"));
            }
        };
        // Its log goes on, and the pipe must not fill.
        let log = std::sync::Arc::new(Mutex::new(before));
        let kept = std::sync::Arc::clone(&log);
        std::thread::spawn(move || {
            let mut line = String::new();
            while output.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                let mut kept = kept.lock().unwrap();
                if kept.len() < LOG_BYTES_MAX {
                    kept.push_str(&line);
                }
                line.clear();
            }
        });
        Self {
            http,
            admin,
            config: path,
            child,
            log,
            _folder: folder,
        }
    }

    /// Starts one under the policy files of `folder`, and waits until it is ready.
    pub async fn start_under(dev: &Dev, folder: &std::path::Path) -> Self {
        let sidecar = Self::start(dev, |config| {
            config["policy"]["path"] = folder.to_str().unwrap().into();
        });
        sidecar.ready().await;
        sidecar
    }

    pub async fn post(&self, key: &str, path: &str, body: &Value) -> Reply {
        let headers = [("authorization", format!("Bearer {key}"))];
        let url = format!("{}{path}", self.http);
        send(Method::POST, &url, &headers, Some(body.to_string())).await
    }

    /// Whether a line of its log has these words.
    pub fn has_logged(&self, words: &str) -> bool {
        self.log.lock().unwrap().contains(words)
    }

    /// The first line of its log that has these words.
    pub fn line(&self, words: &str) -> Option<String> {
        let log = self.log.lock().unwrap();
        log.lines()
            .find(|line| line.contains(words))
            .map(str::to_owned)
    }

    /// How many lines of its log have all of these words.
    pub fn lines_with(&self, words: &[&str]) -> usize {
        let log = self.log.lock().unwrap();
        let has_all = |line: &&str| words.iter().all(|words| line.contains(words));
        log.lines().filter(has_all).count()
    }

    /// The value of one series of `/metrics`; 0 if it is absent.
    pub async fn metric(&self, series: &str) -> f64 {
        metric(&self.admin, series).await
    }

    /// Waits until the configured stores have been reached.
    pub async fn ready(&self) {
        let url = format!("{}/readyz", self.admin);
        eventually("the sidecar is ready", || async {
            send(Method::GET, &url, &[], None).await.status == 200
        })
        .await;
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let control = self.control.get_mut().unwrap();
        drop(control.input.take());
        let _ = control.child.wait();
    }
}

async fn metric(admin: &str, series: &str) -> f64 {
    let reply = send(Method::GET, &format!("{admin}/metrics"), &[], None).await;
    reply
        .text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
        .unwrap_or(0.0)
}

/// One HTTP request on a connection of its own.
pub async fn send(
    method: Method,
    url: &str,
    headers: &[(&str, String)],
    body: Option<String>,
) -> Reply {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    if body.is_some() && !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    let body = Full::new(Bytes::from(body.unwrap_or_default()));
    let reply = client.request(request.body(body).unwrap()).await.unwrap();
    let (parts, body) = reply.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Reply {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: serde_json::from_str(&text).unwrap_or(Value::Null),
        text,
    }
}

/// Waits until `condition` holds, asking again every 50 ms; fails after 60 s.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
