//! Ends the servers when we cannot: after SIGKILL, a crash, or a power-hungry debugger.
//!
//! One small shell reads commands from a pipe whose other end only we hold. When we are gone, whatever the
//! reason, the kernel closes the pipe; the shell then ends the servers that remain and removes the folder
//! that we made. `PR_SET_PDEATHSIG` would not do: it fires when the *thread* that spawned a server ends,
//! and runtimes end threads as they please.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::error::DevError;
use crate::lock::Unpoisoned as _;

/// Servers lead process groups of their own: Ctrl-C at the terminal reaches us alone, and what a server or
/// installer started can be found. The first signal goes to the leader only; its helpers then end by
/// themselves, in order, where a signal would make them leave shared memory behind.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
pids= folder= contents=
alive() {
  cat /proc/[0-9]*/stat 2>/dev/null |
    awk -v group="$1" '{ sub(/^.*\) /, "") } $1 != "Z" && $3 == group { n++ } END { exit !n }'
}
while read -r verb what; do
  case $verb in
    add) pids="$pids $what" ;;
    drop)
      rest=
      for p in $pids; do [ "${p%:*}" = "$what" ] || rest="$rest $p"; done
      pids=$rest ;;
    remove) folder=$what ;;
    empty) contents=$what ;;
    keep) folder= contents= ;;
  esac
done
for p in $pids; do kill -s "${p#*:}" "${p%:*}" 2>/dev/null; done
tenths=0
for p in $pids; do
  while alive "${p%:*}" && [ "$tenths" -lt 50 ]; do sleep 0.1; tenths=$((tenths + 1)); done
  kill -s KILL -- "-${p%:*}" 2>/dev/null
done
for try in 1 2 3 4 5; do
  [ -z "$folder" ] || rm -rf -- "$folder" 2>/dev/null || { sleep 0.2; continue; }
  [ -z "$contents" ] || rm -rf -- "$contents"/* 2>/dev/null || { sleep 0.2; continue; }
  break
done
"#;

/// What becomes of the data folder when everything has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtEnd {
    Keep,
    /// The folder is ours.
    Remove,
    /// The folder was there, empty; what is in it is ours.
    Empty,
}

/// Cheap to clone. The pipe closes when the last clone is gone.
#[derive(Debug, Clone)]
pub(crate) struct Guardian {
    shell: Arc<Mutex<Option<Child>>>,
}

impl Guardian {
    pub(crate) fn start() -> Result<Self, DevError> {
        let program = "/bin/sh";
        let child = Command::new(program)
            .arg("-c")
            .arg(SCRIPT)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .map_err(|source| DevError::Spawn {
                program: program.into(),
                source,
            })?;
        Ok(Self {
            shell: Arc::new(Mutex::new(Some(child))),
        })
    }

    /// From now on this process, which leads a group, is ended when we are gone.
    pub(crate) fn add(&self, pid: u32, signal: &str) {
        self.tell(&format!("add {pid}:{signal}\n"));
    }

    /// The process has been waited for; its id may soon be another's.
    pub(crate) fn drop_pid(&self, pid: u32) {
        self.tell(&format!("drop {pid}\n"));
    }

    pub(crate) fn at_end(&self, folder: &Path, at_end: AtEnd) {
        let verb = match at_end {
            AtEnd::Keep => "keep",
            AtEnd::Remove => "remove",
            AtEnd::Empty => "empty",
        };
        self.tell(&format!("{verb} {}\n", folder.display()));
    }

    /// Closes the pipe and waits until the shell has ended what was left and removed the folder.
    pub(crate) async fn finish(self) {
        let taken = self.shell.lock().unpoisoned().take();
        if let Some(mut child) = taken {
            drop(child.stdin.take());
            // A failed wait means that the shell is gone already, which is all that is wanted.
            let _ = tokio::task::spawn_blocking(move || child.wait()).await;
        }
    }

    /// A few bytes into an empty pipe: this cannot block. If the shell was killed, the write fails and
    /// there is nobody to tell.
    fn tell(&self, line: &str) {
        let mut shell = self.shell.lock().unpoisoned();
        if let Some(stdin) = shell.as_mut().and_then(|child| child.stdin.as_mut()) {
            let _ = stdin.write_all(line.as_bytes());
        }
    }
}
