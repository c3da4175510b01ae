//! The record of requests: who asked which store for what, and the decision, so that a change of the policy can be
//! tried on real traffic (`policy diff --replay`).
//!
//! A line holds what decides and nothing else: the objects that the request reaches, each with its action, and the
//! functions that it calls. No text of a statement, so no literal and no parameter; no document. Names are not
//! values, as in the log: tables, collections and Redis keys do stand here, so a key should not hold a secret. What no
//! classifier understood is not recorded, since no policy decides it.
//!
//! Lines are written off the request's path by one task, to a file that its owner alone may read. One that is full
//! gives way to a new one. Where the task does not keep up, lines are left out, and counted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use crate::config::Recording;
use crate::error::Code;
use crate::operation::{Action, Classification, Object, Script, Store, Touch};

/// Requests that wait to be written.
const QUEUED_MAX: usize = 4096;

/// Requests that are written at once.
const BATCH_MAX: usize = 256;

/// Objects of one request; one that touches more is not recorded.
const TOUCHES_MAX: usize = 256;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// When it was decided, RFC 3339 with milliseconds; not in lines of older sidecars.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "milliseconds"
    )]
    pub at: Option<Timestamp>,
    pub role: String,
    pub store: String,
    /// Whether it came over a connection of the caller's own.
    #[serde(default)]
    pub session: bool,
    pub touches: Vec<RecordedTouch>,
    #[serde(default)]
    pub functions: Vec<String>,
    /// Digests of the Redis scripts that only a policy can vouch for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<String>,
    /// `allow`, or the code of the refusal.
    pub decision: String,
    /// The digest of the policy that decided.
    pub policy: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedTouch {
    pub action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A Redis key; `key_b64` where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_b64: Option<String>,
    /// A glob that stands for keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<String>,
}

impl Recorded {
    /// `None` where it touches too much to be worth a line.
    pub fn of(
        role: &str,
        store: Store,
        classification: &Classification,
        refused: Option<Code>,
        policy: &str,
        at: Timestamp,
    ) -> Option<Self> {
        if classification.touches.len() > TOUCHES_MAX {
            return None;
        }
        let scripts = classification.scripts.iter();
        Some(Self {
            at: Some(at),
            role: role.to_owned(),
            store: store.as_str().to_owned(),
            session: false,
            touches: classification
                .touches
                .iter()
                .map(RecordedTouch::of)
                .collect(),
            functions: classification.functions.clone(),
            scripts: scripts.map(|script| script.digest.clone()).collect(),
            decision: refused.map_or("allow", Code::as_str).to_owned(),
            policy: policy.to_owned(),
        })
    }

    /// What the request touched; `None` where this program does not know its words.
    pub fn classification(&self) -> Option<(Store, Classification)> {
        let touches: Option<Vec<Touch>> = self.touches.iter().map(RecordedTouch::touch).collect();
        let scripts = self.scripts.iter().map(|digest| Script {
            digest: digest.clone(),
            why: String::new(),
        });
        let classification = Classification {
            touches: touches?,
            functions: self.functions.clone(),
            scripts: scripts.collect(),
            ..Classification::default()
        };
        Some((Store::parse(&self.store)?, classification))
    }
}

fn milliseconds<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(&format_args!("{at:.3}")),
        None => serializer.serialize_none(),
    }
}

impl RecordedTouch {
    fn of(touch: &Touch) -> Self {
        let mut recorded = Self {
            action: touch.action.as_str().to_owned(),
            namespace: None,
            name: None,
            key: None,
            key_b64: None,
            keys: None,
        };
        match &touch.object {
            Object::Named { namespace, name } => {
                recorded.namespace.clone_from(namespace);
                recorded.name = Some(name.clone());
            }
            Object::Key(key) => match std::str::from_utf8(key) {
                Ok(text) => recorded.key = Some(text.to_owned()),
                Err(_) => recorded.key_b64 = Some(BASE64.encode(key)),
            },
            Object::Keys(glob) => recorded.keys = Some(String::from_utf8_lossy(glob).into_owned()),
        }
        recorded
    }

    fn touch(&self) -> Option<Touch> {
        let action = Store::ALL
            .into_iter()
            .flat_map(|store| Action::of(store).iter().copied())
            .find(|action| action.as_str() == self.action)?;
        let object = match (&self.name, &self.key, &self.key_b64, &self.keys) {
            (Some(name), None, None, None) => Object::named(self.namespace.as_deref(), name),
            (None, Some(key), None, None) => Object::Key(key.clone().into_bytes()),
            (None, None, Some(base64), None) => Object::Key(BASE64.decode(base64).ok()?),
            (None, None, None, Some(glob)) => Object::Keys(glob.clone().into_bytes()),
            _ => return None,
        };
        Some(Touch { object, action })
    }
}

/// Where the gate hands requests in.
#[derive(Debug, Clone)]
pub struct Requests {
    queue: mpsc::Sender<Recorded>,
    left_out: Arc<AtomicU64>,
}

impl Requests {
    /// Notes a request without waiting.
    pub fn note(&self, recorded: Recorded) {
        if self.queue.try_send(recorded).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Starts the task that writes, which ends when every [`Requests`] is gone.
    pub fn start(settings: Recording) -> Self {
        let (queue, requests) = mpsc::channel(QUEUED_MAX);
        let left_out = Arc::new(AtomicU64::new(0));
        tokio::spawn(write(settings, requests, Arc::clone(&left_out)));
        Self { queue, left_out }
    }
}

async fn write(
    settings: Recording,
    mut requests: mpsc::Receiver<Recorded>,
    left_out: Arc<AtomicU64>,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut open: Option<(File, u64)> = None;
    let mut failing = false;
    while requests.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let mut lines = Vec::new();
        for recorded in batch.drain(..) {
            // Its fields are texts, so it has a JSON form.
            if serde_json::to_writer(&mut lines, &recorded).is_ok() {
                lines.push(b'\n');
            }
        }
        match append(&settings, &mut open, &lines).await {
            Ok(()) => failing = false,
            Err(error) => {
                open = None;
                if !failing {
                    tracing::error!(%error, file = %settings.path.display(), "the record of requests cannot be written");
                }
                failing = true;
            }
        }
        let missed = left_out.swap(0, Ordering::Relaxed);
        if missed > 0 {
            tracing::warn!(missed, "the record of requests does not keep up");
        }
    }
}

async fn append(
    settings: &Recording,
    open: &mut Option<(File, u64)>,
    lines: &[u8],
) -> std::io::Result<()> {
    let (file, written) = match open.take() {
        Some(open) => open,
        None => appended(&settings.path).await?,
    };
    let length = lines.len() as u64;
    let (mut file, written) = if written > 0 && written.saturating_add(length) > settings.bytes_max
    {
        drop(file);
        tokio::fs::rename(&settings.path, before(&settings.path)).await?;
        appended(&settings.path).await?
    } else {
        (file, written)
    };
    file.write_all(lines).await?;
    file.flush().await?;
    *open = Some((file, written + length));
    Ok(())
}

async fn appended(path: &Path) -> std::io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .await?;
    let length = file.metadata().await?.len();
    Ok((file, length))
}

/// `requests.jsonl.1` beside `requests.jsonl`.
fn before(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_line_gives_back_what_was_touched() {
        let mut classification = Classification::default();
        for (object, action) in [
            (Object::named(Some("s"), "a.b"), Action::Select),
            (Object::named(None, "t"), Action::Find),
            (Object::Key(b"cache:1".to_vec()), Action::Read),
            (Object::Key(vec![0xff, 0]), Action::Write),
            (Object::Keys(b"cache:*".to_vec()), Action::Read),
        ] {
            classification.touch(object, action);
        }
        classification.functions.push("f".to_owned());
        classification.scripts.push(Script {
            digest: "0a".to_owned(),
            why: String::new(),
        });
        let at: Timestamp = "2026-01-05T09:00:00.0429Z".parse().unwrap();
        let recorded = Recorded::of("app", Store::Redis, &classification, None, "d", at).unwrap();
        let line = serde_json::to_string(&recorded).unwrap();
        assert!(
            line.starts_with(r#"{"at":"2026-01-05T09:00:00.042Z","role":"app""#),
            "{line}"
        );
        let read: Recorded = serde_json::from_str(&line).unwrap();
        assert_eq!(read.classification(), Some((Store::Redis, classification)));
    }

    #[test]
    fn a_line_of_an_older_sidecar_has_no_time() {
        let line = r#"{"role":"app","store":"mysql","session":false,"touches":[{"action":"select","name":"t"}],"functions":[],"decision":"allow","policy":"d"}"#;
        let read: Recorded = serde_json::from_str(line).unwrap();
        assert_eq!((read.at, read.scripts.len()), (None, 0));
        assert!(read.classification().is_some());
    }

    #[tokio::test]
    async fn a_full_file_gives_way_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("requests.jsonl");
        let settings = Recording {
            path: path.clone(),
            bytes_max: 1024,
        };
        let mut open = None;
        for _ in 0..20 {
            append(&settings, &mut open, &[b'x'; 100]).await.unwrap();
        }
        for file in [path.clone(), before(&path)] {
            let metadata = std::fs::metadata(file).unwrap();
            assert!(metadata.len() <= 1024 && metadata.len() > 0);
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
