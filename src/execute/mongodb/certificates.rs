//! Certificates for a driver that takes nothing but paths: files in memory, so that a private key stands on no disk
//! twice, and their renewal by a new client.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{MemfdFlags, memfd_create};

use super::{Inner, connection};
use crate::execute::tls::{Files, Renewed};

/// Pause between two looks at the files. The driver opens connections by itself, so nobody can look just before.
const LOOK_INTERVAL_MS: u64 = 1_000;

/// Files without a name, which this process alone can open while this lives.
#[derive(Debug)]
pub struct OpenFiles {
    ca: File,
    identity: Option<File>,
}

impl OpenFiles {
    /// # Errors
    /// When the kernel has no memory for them.
    pub fn new(files: &Files) -> std::io::Result<Self> {
        let mut roots = String::new();
        for root in &files.roots {
            roots.push_str("-----BEGIN CERTIFICATE-----\n");
            roots.push_str(&STANDARD.encode(root));
            roots.push_str("\n-----END CERTIFICATE-----\n");
        }
        let identity = files.identity().map(|(certificate, key)| {
            let parts = [certificate, b"\n", key];
            hold(&parts.concat())
        });
        Ok(Self {
            ca: hold(roots.as_bytes())?,
            identity: identity.transpose()?,
        })
    }

    pub fn ca_path(&self) -> PathBuf {
        path(&self.ca)
    }

    /// Certificate and key in one.
    pub fn identity_path(&self) -> Option<PathBuf> {
        self.identity.as_ref().map(path)
    }
}

fn hold(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(memfd_create("bulkhead-tls", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}

fn path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Replaces the client when the certificates have changed, as long as the store lives. What runs on the old one ends
/// there: sessions keep their client.
pub(super) async fn renew(store: std::sync::Weak<Inner>) {
    let renewed = match store.upgrade() {
        Some(store) => match Renewed::new(&store.settings.tls, |_| Ok(())) {
            Ok(Some(renewed)) if store.settings.tls.has_files() => renewed,
            Ok(_) | Err(_) => return,
        },
        None => return,
    };
    loop {
        tokio::time::sleep(Duration::from_millis(LOOK_INTERVAL_MS)).await;
        let Some(store) = store.upgrade() else {
            return;
        };
        // A client that was never made reads the files when it is.
        if renewed.changed().is_none() || store.client.load().is_none() {
            continue;
        }
        match connection::client(&store.settings, &store.watch).await {
            Ok(client) => store.client.store(Some(Arc::new(client))),
            Err(error) => tracing::error!(%error, "MongoDB keeps its old certificates"),
        }
    }
}
