use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use super::*;

const MIB: u64 = 1024 * 1024;

/// Bounds a wait that would otherwise hang a failing test.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tells a re-executed test binary which folder to work in.
const CHILD_DIR: &str = "BULKHEAD_SPOOL_TEST_DIR";

fn opened(dir: &Path, bytes_max: u64) -> (Spool, Drain) {
    let dir = dir.to_owned();
    open(SpoolSettings { dir, bytes_max }).unwrap()
}

/// A record that has a name, and at least so many bytes.
fn record(name: &str, bytes: usize) -> Vec<u8> {
    let filler = "x".repeat(bytes);
    serde_json::to_vec(&serde_json::json!({"name": name, "filler": filler})).unwrap()
}

fn names(records: &[Vec<u8>]) -> Vec<String> {
    let name = |record: &Vec<u8>| {
        let value: serde_json::Value = serde_json::from_slice(record).unwrap();
        value["name"].as_str().unwrap().to_owned()
    };
    records.iter().map(name).collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.extension().unwrap() == "spool";
    files(dir).into_iter().filter(is_segment).collect()
}

/// What the database would hold.
#[derive(Default)]
struct Database {
    positions: BTreeMap<String, u64>,
    records: Vec<String>,
}

impl Database {
    /// One transaction, or the position from which to go on.
    fn commit(&mut self, batch: &Batch) -> Result<(), u64> {
        let position = self.positions.get(&batch.spool).copied().unwrap_or(0);
        if position > batch.from {
            return Err(position);
        }
        self.positions.insert(batch.spool.clone(), batch.to);
        self.records.extend(names(&batch.records));
        Ok(())
    }

    /// Drains until the spool is closed and all are empty.
    async fn drain(&mut self, drain: &mut Drain) {
        while let Some(batch) = next(drain, 64).await {
            match self.commit(&batch) {
                Ok(()) => drain.confirm(batch).await.unwrap(),
                Err(position) => drain.resume(&batch.spool, position),
            }
        }
    }
}

async fn next(drain: &mut Drain, records_max: usize) -> Option<Batch> {
    let next = tokio::time::timeout(PATIENCE, drain.next(records_max));
    next.await.expect("a batch in time").unwrap()
}

/// As if the process had ended: nothing is left that holds the lock.
async fn leave(spool: Spool, mut drain: Drain) {
    let shared = Arc::downgrade(&spool.writing.0);
    drop(spool);
    drain.closed().await;
    drop(drain);
    while shared.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
}

async fn append(spool: &Spool, name: &str) {
    spool.append(record(name, 10)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_appends_share_a_sync() {
    let home = TempDir::new().unwrap();
    let (spool, mut drain) = opened(home.path(), 8 * MIB);
    let tasks = (0..64).map(|task| {
        let spool = spool.clone();
        async move {
            for number in 0..20 {
                append(&spool, &format!("{task}-{number}")).await;
            }
        }
    });
    join_all(tasks).await;
    assert_eq!(spool.records(), 1280);
    assert!(spool.syncs() < 1280 / 4, "{} syncs", spool.syncs());
    drop(spool);
    let mut database = Database::default();
    database.drain(&mut drain).await;
    let distinct: BTreeSet<_> = database.records.iter().collect();
    assert_eq!((database.records.len(), distinct.len()), (1280, 1280));
    assert!(files(home.path()).is_empty());
}

#[tokio::test]
async fn notes_keep_their_place_and_one_append_makes_them_durable() {
    let home = TempDir::new().unwrap();
    let dir = home.path().join("made/here");
    let (spool, mut drain) = opened(&dir, MIB);
    for name in ["a", "b"] {
        spool.note(record(name, 10)).unwrap();
    }
    append(&spool, "c").await;
    let batch = next(&mut drain, 10).await.unwrap();
    assert_eq!(names(&batch.records), ["a", "b", "c"]);
    let again = next(&mut drain, 10).await.unwrap();
    assert_eq!(batch, again, "until it is confirmed");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(files(&dir).len(), 2);
    assert!(files(&dir).iter().all(|file| mode(file) == 0o600));
}

#[tokio::test]
async fn what_may_not_be_spooled_is_refused() {
    let home = TempDir::new().unwrap();
    let (spool, _drain) = opened(home.path(), MIB);
    let long = vec![b' '; RECORD_BYTES_MAX + 1];
    let bytes = long.len();
    assert_eq!(
        spool.append(long).await,
        Err(SpoolError::TooLarge { bytes })
    );
    assert_eq!(spool.note(b"1\n2".to_vec()), Err(SpoolError::Newline));
    assert_eq!(spool.append(vec![b' '; RECORD_BYTES_MAX]).await, Ok(()));

    let settings = |dir: &Path, bytes_max| SpoolSettings {
        dir: dir.to_owned(),
        bytes_max,
    };
    let error = open(settings(home.path(), 1000)).unwrap_err();
    assert_eq!(error, SpoolError::Small { bytes_max: 1000 });
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    let error = open(settings(&file, MIB)).unwrap_err().to_string();
    assert!(
        error.contains("set [audit] spool_dir to a folder"),
        "{error}"
    );
}

#[tokio::test]
async fn a_full_spool_refuses_until_records_are_confirmed() {
    let home = TempDir::new().unwrap();
    let (spool, mut drain) = opened(home.path(), MIB);
    let mut taken = 0;
    let full = loop {
        match spool.append(record("r", 50_000)).await {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    let (bytes, bytes_max) = (spool.bytes(), MIB);
    assert_eq!(full, SpoolError::Full { bytes, bytes_max });
    assert_eq!(spool.note(record("r", 50_000)), Err(full));
    assert_eq!(taken, spool.records());
    assert_eq!(taken, 20);
    // Segments of a small spool are a quarter of it, and go when all that is in them is drained.
    assert_eq!(segments(home.path()).len(), 4);
    let batch = next(&mut drain, 7).await.unwrap();
    assert!(!batch.is_last);
    let drained = batch.records.len() as u64;
    drain.confirm(batch).await.unwrap();
    assert_eq!(spool.records(), 20 - drained);
    assert!(segments(home.path()).len() < 4);
    spool.append(record("r", 50_000)).await.unwrap();
}

#[tokio::test]
async fn a_drain_that_died_after_its_commit_is_resumed() {
    let home = TempDir::new().unwrap();
    let (spool, mut drain) = opened(home.path(), MIB);
    for name in ["a", "b", "c", "d", "e"] {
        append(&spool, name).await;
    }
    let mut database = Database::default();
    let first = next(&mut drain, 2).await.unwrap();
    database.commit(&first).unwrap();
    leave(spool, drain).await;

    let (spool, mut drain) = opened(home.path(), MIB);
    assert!(spool.adopted_bytes() > 0);
    assert_eq!((spool.bytes(), spool.records()), (0, 0));
    let again = next(&mut drain, 3).await.unwrap();
    assert_eq!(names(&again.records), ["a", "b", "c"]);
    assert_eq!(database.commit(&again), Err(first.to));
    drain.resume(&again.spool, first.to);
    drain.resume(&again.spool, 0);
    drain.resume("another's", 7);
    let rest = next(&mut drain, 9).await.unwrap();
    assert_eq!((rest.from, rest.is_last), (first.to, true));
    assert_eq!(names(&rest.records), ["c", "d", "e"]);
    database.commit(&rest).unwrap();
    leave(spool, drain).await;

    // It died again, before anything was removed: only the end is left to tell.
    let (spool, mut drain) = opened(home.path(), MIB);
    let again = next(&mut drain, 1).await.unwrap();
    drain.resume(&again.spool, database.commit(&again).unwrap_err());
    let end = next(&mut drain, 9).await.unwrap();
    assert_eq!((end.records.len(), end.is_last), (0, true));
    drain.confirm(end).await.unwrap();
    assert_eq!(spool.adopted_bytes(), 0);
    drop(spool);
    assert_eq!(next(&mut drain, 9).await, None);
    assert!(files(home.path()).is_empty());
}

#[tokio::test]
async fn a_segment_whose_sync_failed_is_given_up() {
    let home = TempDir::new().unwrap();
    let (spool, mut drain) = opened(home.path(), MIB);
    append(&spool, "a").await;
    let shared = Arc::clone(&spool.writing.0);
    for round in ["b", "c"] {
        shared.failing_syncs.store(1, Ordering::SeqCst);
        let failed = spool.append(record("not durable", 10)).await;
        assert!(matches!(failed, Err(SpoolError::Disk(_))), "{failed:?}");
        assert_eq!(spool.bytes(), shared.extent().end);
        append(&spool, round).await;
    }
    // What was noted outlives a failure.
    shared.failing_syncs.store(1, Ordering::SeqCst);
    spool.note(record("d", 10)).unwrap();
    spool.note(record("e", 10)).unwrap();
    drop(spool);
    assert_eq!(shared.extent().segments.first(), Some(&0));
    assert!(shared.extent().segments.len() >= 3);
    let mut database = Database::default();
    database.drain(&mut drain).await;
    assert_eq!(database.records, ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn damage_costs_what_it_hit_and_no_more() {
    let home = TempDir::new().unwrap();
    let (spool, mut drain) = opened(home.path(), MIB);
    for number in 0..40 {
        let bytes = if number == 7 { 10 } else { 50_000 };
        let name = format!("{number}");
        if number == 20 {
            let batch = next(&mut drain, 3).await.unwrap();
            drain.confirm(batch).await.unwrap();
        }
        if spool.append(record(&name, bytes)).await.is_err() {
            break;
        }
    }
    leave(spool, drain).await;
    let before = segments(home.path());
    assert!(before.len() >= 4);

    // Two records of the second segment around its first newline, the whole of the third, the end of the last one.
    let mut second = fs::read(&before[1]).unwrap();
    let newline = second.iter().position(|byte| *byte == b'\n').unwrap();
    second[newline - 3..newline + 3].fill(0);
    fs::write(&before[1], &second).unwrap();
    let held = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let line = |line: &str| line.as_bytes()[9..].to_vec();
        names(&text.lines().map(line).collect::<Vec<_>>())
    };
    let third = held(&before[2]);
    fs::remove_file(&before[2]).unwrap();
    let last = before.last().unwrap();
    let torn = held(last).last().unwrap().clone();
    let cut = fs::metadata(last).unwrap().len() - 9;
    fs::File::options()
        .write(true)
        .open(last)
        .unwrap()
        .set_len(cut)
        .unwrap();
    let second: Vec<String> = String::from_utf8(second)
        .unwrap()
        .split("\"name\":\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();

    let (spool, mut drain) = opened(home.path(), MIB);
    drop(spool);
    let mut database = Database::default();
    database.drain(&mut drain).await;
    let mut lost: BTreeSet<String> = third.into_iter().chain([torn]).collect();
    lost.extend(second.into_iter().take(2));
    let found: BTreeSet<String> = database.records.iter().cloned().collect();
    assert!(found.is_disjoint(&lost), "{found:?} {lost:?}");
    // Of the twenty that fit, and the segment's file that went with the three that were drained.
    let all: BTreeSet<String> = found.union(&lost).cloned().collect();
    let numbers: BTreeSet<u32> = all.iter().map(|name| name.parse().unwrap()).collect();
    let (first, end) = (numbers.first().unwrap(), numbers.last().unwrap());
    assert_eq!(numbers.len() as u32, end - first + 1, "{numbers:?}");
    assert_eq!(found.len(), database.records.len());
    assert!(files(home.path()).is_empty());
}

/// Another process: this binary, running one of the tests below that do nothing else.
fn child(test: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg(format!("record::spool::tests::{test}"))
        .env(CHILD_DIR, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn child_dir() -> PathBuf {
    PathBuf::from(std::env::var_os(CHILD_DIR).expect("run by another test"))
}

/// Names that a child says were acknowledged.
fn acknowledged(lines: impl BufRead) -> impl Iterator<Item = String> {
    lines.lines().map_while(Result::ok).filter_map(|line| {
        let (_, name) = line.split_once("acknowledged ")?;
        name.strip_suffix('.').map(ToOwned::to_owned)
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by another test, as a process of its own"]
async fn child_that_appends() {
    let (spool, _drain) = opened(&child_dir(), 64 * MIB);
    let process = std::process::id();
    let tasks = (0..8).map(|task| {
        let spool = spool.clone();
        async move {
            for number in 0..100_000 {
                let name = format!("{process}-{task}-{number}");
                let is_long = number % 50 == 7;
                let bytes = if is_long { 60_000 } else { number % 300 };
                spool.append(record(&name, bytes)).await.unwrap();
                // One call, so that no other task's words stand between.
                let said = format!("acknowledged {name}.\n");
                std::io::stdout().write_all(said.as_bytes()).unwrap();
            }
        }
    });
    join_all(tasks.map(tokio::spawn)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_killed_processes_acknowledged_is_drained_exactly_once() {
    let home = TempDir::new().unwrap();
    let mut said = Vec::new();
    let mut database = Database::default();
    for _ in 0..12 {
        let mut process = child("child_that_appends", home.path());
        let mut lines = acknowledged(BufReader::new(process.stdout.take().unwrap()));
        said.push(lines.next().expect("a child that appends"));
        let delay = getrandom::u32().unwrap() % 60_000;
        tokio::time::sleep(Duration::from_micros(delay.into())).await;
        process.kill().unwrap();
        process.wait().unwrap();
        said.extend(lines);

        // A drain that dies between commit and confirm, and one that goes on.
        let (spool, mut drain) = opened(home.path(), MIB);
        let batch = next(&mut drain, 5).await.unwrap();
        database.commit(&batch).unwrap();
        leave(spool, drain).await;
        let (spool, mut drain) = opened(home.path(), MIB);
        drop(spool);
        database.drain(&mut drain).await;
        assert!(files(home.path()).is_empty());
    }
    let found: BTreeSet<&String> = database.records.iter().collect();
    assert_eq!(found.len(), database.records.len(), "drained twice");
    let missing: Vec<_> = said.iter().filter(|name| !found.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?} of {}", said.len());
    eprintln!("{} acknowledged, {} drained", said.len(), found.len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by another test, as a process of its own"]
async fn child_that_stays() {
    let (spool, _drain) = opened(&child_dir(), MIB);
    append(&spool, "child's").await;
    println!("acknowledged child's.");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_dead_sidecars_spool_is_taken_over_and_by_one() {
    let home = TempDir::new().unwrap();
    let mut process = child("child_that_stays", home.path());
    let mut lines = acknowledged(BufReader::new(process.stdout.take().unwrap()));
    lines.next().expect("a child that appends");

    let (one, mut drain_one) = opened(home.path(), MIB);
    let (two, mut drain_two) = opened(home.path(), MIB);
    append(&one, "one's").await;
    append(&two, "two's").await;
    for (drain, name) in [(&mut drain_one, "one's"), (&mut drain_two, "two's")] {
        let batch = next(drain, 9).await.unwrap();
        assert_eq!(names(&batch.records), [name]);
        drain.confirm(batch).await.unwrap();
    }
    assert_eq!(one.adopted_bytes() + two.adopted_bytes(), 0);

    // The next look of either finds it, while that one waits.
    process.kill().unwrap();
    process.wait().unwrap();
    let (mut drain, batch) = tokio::select! {
        batch = next(&mut drain_one, 9) => (drain_one, batch.unwrap()),
        batch = next(&mut drain_two, 9) => (drain_two, batch.unwrap()),
    };
    assert_eq!(names(&batch.records), ["child's"]);
    assert!(batch.is_last);
    let (three, mut drain_three) = opened(home.path(), MIB);
    append(&three, "three's").await;
    let other = next(&mut drain_three, 9).await.unwrap();
    assert_eq!(names(&other.records), ["three's"]);
    drain.confirm(batch).await.unwrap();
    assert!(one.adopted_bytes() + two.adopted_bytes() == 0);
}

/// Fills the disk, makes room in two ways, and looks that all that was acknowledged is drained once.
async fn fill_and_recover(dir: &Path, make_room: impl FnOnce()) {
    let (spool, mut drain) = opened(dir, 64 * MIB);
    let mut said = Vec::new();
    let mut number = 0;
    let mut appended = async |said: &mut Vec<String>| {
        number += 1;
        let name = number.to_string();
        let outcome = spool.append(record(&name, 9000)).await;
        if outcome.is_ok() {
            said.push(name);
        }
        outcome
    };
    while appended(&mut said).await.is_ok() {}
    assert!(!said.is_empty());
    let refused = appended(&mut said).await;
    assert!(matches!(refused, Err(SpoolError::Disk(_))), "{refused:?}");
    spool.note(record("noted", 9000)).unwrap();
    make_room();
    appended(&mut said).await.unwrap();
    while appended(&mut said).await.is_ok() {
        assert!(said.len() < 1000, "a disk that is never full again");
    }
    // Here it is the drain that makes room.
    let mut database = Database::default();
    while spool.records() > 0 {
        let batch = next(&mut drain, 64).await.unwrap();
        database.commit(&batch).unwrap();
        drain.confirm(batch).await.unwrap();
    }
    appended(&mut said).await.unwrap();
    drop(spool);
    database.drain(&mut drain).await;
    database.records.sort();
    said.push("noted".to_owned());
    said.sort();
    assert_eq!(database.records, said);
}

struct Mounted(TempDir);

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg(self.0.path()).status().unwrap();
    }
}

fn tmpfs() -> Option<Mounted> {
    let home = TempDir::new().unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]);
    let is_mounted = mount.arg(home.path()).stderr(Stdio::null()).status();
    is_mounted
        .is_ok_and(|status| status.success())
        .then_some(Mounted(home))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_recovered_from() {
    let Some(mounted) = tmpfs() else {
        eprintln!("no tmpfs may be mounted: only the limited file stands for a full disk");
        return a_limited_file();
    };
    let ballast = mounted.0.path().join("ballast");
    fs::write(&ballast, vec![0; 400 * 1024]).unwrap();
    let dir = mounted.0.path().join("spool");
    fill_and_recover(&dir, || fs::remove_file(ballast).unwrap()).await;
}

#[test]
fn a_limited_file() {
    let home = TempDir::new().unwrap();
    // Only a process of its own may be limited, and ignores the signal if its shell did.
    let shell = "trap '' XFSZ; exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", shell])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact"])
        .arg("record::spool::tests::child_that_is_limited")
        .env(CHILD_DIR, home.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by another test, as a process of its own"]
async fn child_that_is_limited() {
    let (spool, mut drain) = opened(&child_dir(), 64 * MIB);
    // A line that ends up half in the file: the limit is no multiple of its length.
    let maximum = getrlimit(Resource::Fsize).maximum;
    let limit = |current| setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
    limit(Some(5000));
    let failed = spool.append(record("refused", 9000)).await;
    assert!(matches!(failed, Err(SpoolError::Disk(_))), "{failed:?}");
    append(&spool, "a").await;
    let failed = spool.append(record("refused", 9000)).await;
    assert!(matches!(failed, Err(SpoolError::Disk(_))), "{failed:?}");
    let sizes = segments(&child_dir());
    let sizes = sizes.iter().map(|path| fs::metadata(path).unwrap().len());
    assert_eq!(sizes.sum::<u64>(), spool.bytes(), "the half line was cut");
    limit(maximum);
    spool.append(record("b", 9000)).await.unwrap();
    drop(spool);
    let mut database = Database::default();
    database.drain(&mut drain).await;
    assert_eq!(database.records, ["a", "b"]);
}
