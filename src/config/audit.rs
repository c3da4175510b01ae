//! `[audit]`: the spool, and seals.

use std::path::{Path, PathBuf};

use super::reader::{Reader, Section};
use crate::record::audit::WhenFull;
use crate::record::spool::SPOOL_BYTES_MIN;

/// The folder of the spool where nothing is said, beside the configuration.
const SPOOL_DIR: &str = "audit-spool";

/// Where what must be audited waits for PostgreSQL, and how the trail is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    pub spool_dir: PathBuf,
    pub spool_bytes_max: u64,
    pub when_full: WhenFull,
    pub seal_interval_s: u64,
    /// An Ed25519 private key (PKCS#8, PEM); `None`: seals are not signed.
    pub seal_key_file: Option<PathBuf>,
    /// Seals are appended to it, outside of the database, as JSON lines.
    pub seals_file: Option<PathBuf>,
}

pub(super) fn read(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Audit {
    let mut section = reader.section(root, "audit");
    let choices = [("block", WhenFull::Block), ("drop", WhenFull::Drop)];
    let audit = Audit {
        spool_dir: reader
            .path(&mut section, "spool_dir")
            .unwrap_or_else(|| reader.beside(Path::new(SPOOL_DIR))),
        spool_bytes_max: reader.integer(
            &mut section,
            "spool_bytes_max",
            SPOOL_BYTES_MIN..=1 << 40,
            64 << 20,
        ),
        when_full: reader.choice(&mut section, "when_full", &choices, WhenFull::Block),
        seal_interval_s: reader.integer(&mut section, "seal_interval_s", 1..=86_400, 10),
        seal_key_file: reader.path(&mut section, "seal_key_file"),
        seals_file: reader.path(&mut section, "seals_file"),
    };
    reader.finish(section);
    audit
}
