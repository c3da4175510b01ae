//! Sealing: turns, keys, and the file outside of the database.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bulkhead::record::seal::{SealCounts, SealSettings, Sealer, run};
use bulkhead::trail::SealKey;
use prometheus::IntCounter;

use crate::trail::Trail;

pub fn counts() -> SealCounts {
    let counter = |name: &str| IntCounter::new(name, "for a test").unwrap();
    SealCounts {
        sealed: counter("sealed"),
        failures: counter("failures"),
        export_failures: counter("export_failures"),
    }
}

/// A key that openssl has made: the private file and the public one.
pub fn openssl_key(trail: &Trail, name: &str) -> (PathBuf, PathBuf) {
    let (private, public) = (trail.path(name), trail.path(&format!("{name}.pub")));
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let (to, out) = (private.to_str().unwrap(), public.to_str().unwrap());
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", to]);
    openssl(&["pkey", "-in", to, "-pubout", "-out", out]);
    (private, public)
}

pub fn settings(every: Duration, key: Option<&PathBuf>, export: Option<PathBuf>) -> SealSettings {
    let key = key.map(|path| SealKey::from_pem(&std::fs::read(path).unwrap()).unwrap());
    SealSettings {
        every,
        key,
        export,
        sidecar: Some("test".into()),
    }
}

/// One that seals whenever it is told.
pub fn sealer(trail: &Trail, key: Option<&PathBuf>, export: Option<PathBuf>) -> Sealer {
    let settings = settings(Duration::ZERO, key, export);
    Sealer::new(trail.settings.clone(), settings, counts())
}

const ROW: &str = "INSERT INTO audit_logs (action) VALUES ('tested')";

#[tokio::test]
async fn sidecars_take_turns_and_each_file_has_every_seal() {
    let trail = Trail::new("seal_turns").await;
    let client = trail.client().await;
    let files = [trail.path("one.jsonl"), trail.path("two.jsonl")];
    let mut sealers = files.clone().map(|file| sealer(&trail, None, Some(file)));
    for turn in 0..6 {
        client.batch_execute(ROW).await.unwrap();
        sealers[turn % 2].round(false).await;
        // There is nothing left to seal for the other one.
        sealers[(turn + 1) % 2].round(false).await;
    }
    let seals: i64 = client
        .query_one("SELECT count(*) FROM audit_seals", &[])
        .await
        .unwrap()
        .get(0);
    // Each seals all at its first.
    assert_eq!(seals, 7);
    for file in files {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert_eq!(lines, 7);
        let (code, text, errors) = trail.audit(&["verify", "--seals", file.to_str().unwrap()]);
        assert_eq!(code, 0, "{text}{errors}");
        assert!(text.contains("unsealed 0 rows"), "{text}");
    }
    // A seal that is young enough is everybody's.
    let settings = settings(Duration::from_secs(3600), None, None);
    let mut lazy = Sealer::new(trail.settings.clone(), settings, counts());
    client.batch_execute(ROW).await.unwrap();
    lazy.round(false).await;
    let (_, text, _) = trail.audit(&["verify"]);
    assert!(text.contains("unsealed 1 rows"), "{text}");
    lazy.round(true).await;
    let (_, text, _) = trail.audit(&["verify"]);
    assert!(text.contains("unsealed 0 rows"), "{text}");
}

#[tokio::test]
async fn many_sidecars_at_once_leave_one_row_of_seals() {
    let trail = Trail::new("seal_race").await;
    let client = trail.client().await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let mut sealer = sealer(&trail, None, None);
        tasks.push(tokio::spawn(async move {
            for _ in 0..10 {
                sealer.round(false).await;
            }
        }));
    }
    for _ in 0..50 {
        client.batch_execute(ROW).await.unwrap();
    }
    for task in tasks {
        task.await.unwrap();
    }
    let mut last = sealer(&trail, None, None);
    last.round(true).await;
    assert_eq!(trail.is_clean(), 50);
}

#[tokio::test]
async fn a_draining_sidecar_seals_once_more() {
    let trail = Trail::new("seal_drain").await;
    let client = trail.client().await;
    client.batch_execute(ROW).await.unwrap();
    let counts = counts();
    let settings = settings(Duration::from_secs(3600), None, None);
    run(trail.settings.clone(), settings, counts.clone(), async {}).await;
    assert_eq!(counts.sealed.get(), 1);
}

#[tokio::test]
async fn seals_that_the_file_could_not_take_are_caught_up() {
    let trail = Trail::new("seal_file").await;
    let client = trail.client().await;
    let folder = trail.path("mounted");
    let file = folder.join("seals.jsonl");
    let counts = counts();
    let settings = settings(Duration::ZERO, None, Some(file.clone()));
    let mut sealer = Sealer::new(trail.settings.clone(), settings, counts.clone());
    for _ in 0..3 {
        client.batch_execute(ROW).await.unwrap();
        sealer.round(false).await;
    }
    assert_eq!((counts.sealed.get(), counts.export_failures.get()), (3, 3));
    std::fs::create_dir(&folder).unwrap();
    // There is nothing new to seal, and all the same something to export.
    sealer.round(false).await;
    let lines = || std::fs::read_to_string(&file).unwrap().lines().count();
    assert_eq!(lines(), 3);
    // What a crash has cut is written again.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &text[..text.len() - 20]).unwrap();
    let mut after = crate::seals::sealer(&trail, None, Some(file.clone()));
    after.round(false).await;
    let (code, text, errors) = trail.audit(&["verify", "--seals", file.to_str().unwrap()]);
    assert_eq!((code, lines()), (0, 5), "{text}{errors}");
}

#[tokio::test]
async fn a_sealer_notices_that_its_seals_are_gone() {
    let trail = Trail::new("seal_gone").await;
    let client = trail.client().await;
    let counts = counts();
    let settings = settings(Duration::ZERO, None, None);
    let mut sealer = Sealer::new(trail.settings.clone(), settings, counts.clone());
    client.batch_execute(ROW).await.unwrap();
    sealer.round(false).await;
    assert_eq!(counts.failures.get(), 0);
    client
        .batch_execute("ALTER TABLE audit_seals DISABLE TRIGGER ALL; DELETE FROM audit_seals")
        .await
        .unwrap();
    sealer.round(false).await;
    assert_eq!((counts.failures.get(), counts.sealed.get()), (1, 2));
}

#[tokio::test]
async fn the_account_that_seals_needs_no_more_than_it_is_said_to() {
    let trail = Trail::new("seal_account").await;
    let client = trail.client().await;
    client.batch_execute(ROW).await.unwrap();
    client
        .batch_execute(
            "CREATE ROLE seal_account LOGIN PASSWORD 'seal-account-password';
            GRANT SELECT ON audit_chains, audit_seals TO seal_account; GRANT INSERT ON audit_seals TO seal_account",
        )
        .await
        .unwrap();
    let mut system = trail.settings.clone();
    system.user = "seal_account".into();
    system.password = "seal-account-password".to_owned().into();
    let counts = counts();
    let export = Some(trail.path("seals.jsonl"));
    let settings = settings(Duration::ZERO, None, export);
    let mut sealer = Sealer::new(system, settings, counts.clone());
    sealer.round(false).await;
    assert_eq!(
        (
            counts.sealed.get(),
            counts.failures.get(),
            counts.export_failures.get()
        ),
        (1, 0, 0)
    );
}

#[tokio::test]
async fn signatures_are_checked_with_the_keys_that_are_given() {
    let trail = Trail::new("seal_keys").await;
    let client = trail.client().await;
    let (first, first_public) = openssl_key(&trail, "first.pem");
    let (second, second_public) = openssl_key(&trail, "second.pem");
    for key in [None, Some(&first), Some(&second)] {
        client.batch_execute(ROW).await.unwrap();
        sealer(&trail, key, None).round(false).await;
    }
    let (first_public, second_public) = (
        first_public.to_str().unwrap(),
        second_public.to_str().unwrap(),
    );
    let verify = |more: &[&str], expected: &[&str]| {
        let (code, text, errors) = trail.audit(&[&["verify"], more].concat());
        let faults: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("fault"))
            .collect();
        assert_eq!(faults.len(), expected.len(), "{text}{errors}");
        for (fault, part) in faults.iter().zip(expected) {
            assert!(fault.contains(part), "{text}");
        }
        assert_eq!(code, i32::from(!expected.is_empty()));
    };
    verify(&[], &[]);
    let both = ["--public-key", first_public, "--public-key", second_public];
    verify(&both, &["seal 1 seal unsigned"]);
    verify(&[&both[..], &["--signed-from", "2"]].concat(), &[]);
    verify(
        &[&both[..2], &["--signed-from", "2"]].concat(),
        &["seal 3 unknown key"],
    );
    // The public key as this program gives it is that of openssl.
    let (code, pem, said) = trail.audit(&["public-key", "--key", first.to_str().unwrap()]);
    assert_eq!(
        (code, pem),
        (0, std::fs::read_to_string(first_public).unwrap())
    );
    let signed_by: String = client
        .query_one("SELECT key_id FROM audit_seals WHERE seal = 2", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(said.trim(), format!("key id {signed_by}"));
    let (code, _, said) = trail.audit(&["verify", "--public-key", first.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(said.contains("not a public key"), "{said}");
}
