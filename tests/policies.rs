//! The example policies decide what their cases say, through the command that users run.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what fails in a helper fails its test"
)]

use std::path::Path;

use bulkhead::command::Exit;
use bulkhead::command::policy::{PolicyCommand, run_on};
use clap::Parser;

#[path = "policies/diff.rs"]
mod diff;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: PolicyCommand,
}

/// Runs `bulkhead policy ARGS`; gives the outcome, what it printed and what it complained about.
fn policy(arguments: &[&str], input: &str) -> (Exit, String, String) {
    let cli = Cli::parse_from(std::iter::once(&"policy").chain(arguments));
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let outcome = run_on(
        &cli.command,
        &mut input.as_bytes(),
        &mut output,
        &mut errors,
    )
    .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (outcome, text(output), text(errors))
}

const DEFAULT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/default.toml");

#[test]
fn every_example_policy_is_valid_and_passes_its_cases() {
    let directory = Path::new(DEFAULT).parent().unwrap();
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_str().unwrap();
        if !name.ends_with(".toml") || name.ends_with(".test.toml") {
            continue;
        }
        let (outcome, output, errors) = policy(&["check", name], "");
        assert_eq!((outcome, errors.as_str()), (Exit::Done, ""), "{output}");
        let (outcome, output, errors) = policy(&["test", name, "--require-coverage"], "");
        assert_eq!(outcome, Exit::Done, "{output}{errors}");
    }
}

#[test]
fn a_failed_case_is_shown_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.toml");
    std::fs::copy(DEFAULT, &path).unwrap();
    let path = path.to_str().unwrap();
    let cases = "[[case]]\nrole = 'app'\nstore = 'mysql'\nrequest = 'SELECT * FROM users'\nexpect = 'deny'\n\n\
                 [[case]]\nname = 'two'\nrole = 'app'\nstore = 'mysql'\nrequest = 'SELECT * FROM api_keys'\n\
                 expect = 'deny'\ncode = 'policy.denied'\n";
    std::fs::write(directory.path().join("p.test.toml"), cases).unwrap();
    let (outcome, output, _) = policy(&["test", path], "");
    assert_eq!(outcome, Exit::No);
    for expected in [
        "p.test.toml:1: FAILED SELECT * FROM users\n",
        "expected deny, got allow\n",
        "p.test.toml:7: FAILED two\n",
        "expected deny (policy.denied), got deny (policy.wrong_store)\n",
        "0 passed, 2 failed; ",
    ] {
        assert!(output.contains(expected), "{expected} is not in {output}");
    }
    let (_, output, _) = policy(&["test", path, "--format", "json"], "");
    let report: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!(report["failed"], 2);
    assert_eq!(report["cases"][1]["place"]["line"], 7);

    std::fs::write(
        directory.path().join("p.test.toml"),
        "[[case]]\nrole = 'app'\n",
    )
    .unwrap();
    let (outcome, _, errors) = policy(&["test", path], "");
    assert_eq!(outcome, Exit::Usage);
    assert!(errors.contains("a case has no `store`"), "{errors}");
    std::fs::remove_file(directory.path().join("p.test.toml")).unwrap();
    let (outcome, _, errors) = policy(&["test", path], "");
    assert_eq!(outcome, Exit::Usage);
    assert!(errors.contains("no case"), "{errors}");
}

#[test]
fn explain_says_the_rule_and_what_is_missing() {
    let explain = |arguments: &[&str], input| {
        let mut all = vec!["explain", "--policy", DEFAULT, "--role", "app", "--store"];
        all.extend(arguments);
        policy(&all, input)
    };
    for (arguments, input, outcome, expected) in [
        (
            &["mysql", "SELECT 1"][..],
            "",
            Exit::Done,
            "it touches nothing",
        ),
        (
            &["mysql", "SELECT * FROM users"],
            "",
            Exit::Done,
            "select  users: granted at ",
        ),
        (
            &["mysql", "-"],
            "SELECT * FROM users\n",
            Exit::Done,
            "granted at ",
        ),
        (
            &["postgres", "SELECT * FROM users"],
            "",
            Exit::No,
            "select  users: lives in mysql",
        ),
        (
            &["postgres", "SELECT * FROM api_keys"],
            "",
            Exit::No,
            "tables = [\"api_keys\"]",
        ),
        (
            &["redis", "GET jwt:blacklist:1"],
            "",
            Exit::No,
            "keys = [\"jwt:blacklist:1\"]",
        ),
        (
            &["mysql", "SELEKT"],
            "",
            Exit::No,
            "deny: statement.unparsable",
        ),
        (
            &["mysql", "BEGIN"],
            "",
            Exit::No,
            "deny: policy.forbidden_statement",
        ),
        (&["mysql", "--session", "BEGIN"], "", Exit::Done, "allow"),
    ] {
        let (got, output, _) = explain(arguments, input);
        assert_eq!(got, outcome, "{arguments:?} {output}");
        assert!(output.contains(expected), "{expected} is not in {output}");
    }
    let (_, output, _) = explain(&["postgres", "SELECT * FROM users", "--format", "json"], "");
    let answer: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!(answer["code"], "policy.wrong_store");
    assert_eq!(answer["lives_in"], "mysql");
    assert_eq!(answer["objects"], serde_json::json!(["users"]));
}

#[test]
fn a_batch_answers_every_line_in_order() {
    let lines = [
        (
            r#"{"id":1,"role":"app","store":"mysql","request":"SELECT * FROM users"}"#,
            "allow",
            None,
        ),
        (
            r#"{"id":"b","role":"app","store":"mysql","request":"SELECT * FROM api_keys"}"#,
            "deny",
            Some("policy.wrong_store"),
        ),
        (
            r#"{"id":null,"role":"app","store":"redis","request":["GET","cache:1"]}"#,
            "allow",
            None,
        ),
        (
            r#"{"role":"app","store":"redis","request_b64":"KjINCiQzDQpHRVQNCiQ3DQpjYWNoZTr/DQo="}"#,
            "allow",
            None,
        ),
        (
            r#"{"role":"app","store":"mongodb","request":{"find":"event_store","$db":"enterprise_db"}}"#,
            "allow",
            None,
        ),
        (
            r#"{"role":"app","store":"mongodb","request":{"ping":1},"session":true}"#,
            "allow",
            None,
        ),
        (
            r#"{"role":"app","store":"mysql","request":"BEGIN","session":true}"#,
            "allow",
            None,
        ),
        (
            r#"{"role":"app","store":"mysql","request":"BEGIN"}"#,
            "deny",
            Some("policy.forbidden_statement"),
        ),
        (
            r#"{"role":"app","store":"mysql","request_b64":"U0VMRUNUIDE=","request":"DROP TABLE users"}"#,
            "allow",
            None,
        ),
        (
            r#"{"role":"app","store":"mysql","request_b64":"/w=="}"#,
            "deny",
            Some("statement.unparsable"),
        ),
        (
            r#"{"role":"app","store":"mysql","request_b64":"?"}"#,
            "deny",
            Some("request.invalid"),
        ),
        (
            r#"{"role":"x","store":"mysql","request":"SELECT 1"}"#,
            "deny",
            Some("policy.denied"),
        ),
        (
            r#"{"role":"app","store":"oracle","request":"SELECT 1"}"#,
            "deny",
            Some("request.invalid"),
        ),
        (
            r#"{"role":"app","store":"mysql"}"#,
            "deny",
            Some("request.invalid"),
        ),
        (
            r#"{"role":"app","store":"mysql","request":7}"#,
            "deny",
            Some("request.invalid"),
        ),
        (
            r#"{"role":"app","store":"mongodb","request":{"find":"event_store","$db":5}}"#,
            "deny",
            Some("request.invalid"),
        ),
        (
            r#"{"role":"app","store":"mysql","request":"SELECT 1","session":"yes"}"#,
            "deny",
            Some("request.invalid"),
        ),
        ("not json", "deny", Some("request.invalid")),
        ("[]", "deny", Some("request.invalid")),
    ];
    let input: Vec<&str> = lines.iter().map(|(line, ..)| *line).collect();
    let (outcome, output, _) = policy(
        &["explain", "--policy", DEFAULT, "--batch"],
        &input.join("\n"),
    );
    assert_eq!(outcome, Exit::Done);
    let answers: Vec<serde_json::Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), lines.len());
    for ((line, decision, code), answer) in lines.iter().zip(&answers) {
        assert_eq!(answer["decision"], *decision, "{line} {answer}");
        assert_eq!(answer["code"].as_str(), *code, "{line} {answer}");
    }
    assert_eq!(
        (&answers[0]["id"], &answers[1]["id"]),
        (&1.into(), &"b".into())
    );
    assert_eq!(
        answers[0]["touches"],
        serde_json::json!([{"object": "users", "action": "select"}])
    );
}

#[test]
fn a_refused_policy_shows_every_fault_with_a_caret() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.toml");
    let text = "version = 1\n[stores.redis]\nkeys = ['a[']\n[roles.r]\nrate_limt = 'x'\n";
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let (outcome, _, errors) = policy(&["check", path], "");
    assert_eq!(outcome, Exit::Usage);
    for expected in [
        "p.toml:3:9]",
        "────",
        "did you mean `rate_limit`?",
        "refused: 2 faults",
    ] {
        assert!(errors.contains(expected), "{expected} is not in {errors}");
    }
    let (outcome, output, _) = policy(&["check", "--format", "json", path], "");
    let report: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!((outcome, &report["valid"]), (Exit::Usage, &false.into()));
    let (outcome, ..) = policy(&["explain", "--policy", path, "--batch"], "");
    assert_eq!(outcome, Exit::Usage);
}

#[test]
fn an_unknown_role_is_told_the_roles() {
    let (outcome, output, _) = policy(
        &[
            "explain", "--policy", DEFAULT, "--role", "ap", "--store", "mysql", "SELECT 1",
        ],
        "",
    );
    assert_eq!(outcome, Exit::No);
    assert!(
        output.contains("roles of this policy\n  admin, app\n"),
        "{output}"
    );
}

#[test]
fn grants_without_a_case_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.toml");
    std::fs::write(&path, diff::OLD).unwrap();
    let case =
        "[[case]]\nrole = 'app'\nstore = 'mysql'\nrequest = 'SELECT 1 FROM a'\nexpect = 'allow'\n";
    std::fs::write(directory.path().join("p.test.toml"), case).unwrap();
    let (outcome, output, _) = policy(&["test", path.to_str().unwrap()], "");
    assert_eq!(outcome, Exit::Done);
    for expected in [
        "role app may update a in mysql\n",
        "role gone may read * in redis\n",
        "1 passed, 0 failed; 1 of 3 grants of an action are exercised\n",
    ] {
        assert!(output.contains(expected), "{expected} is not in {output}");
    }
    let path = path.to_str().unwrap();
    let (outcome, ..) = policy(&["test", path, "--require-coverage"], "");
    assert_eq!(outcome, Exit::No);

    let denied = format!(
        "{}\n[[roles.app.deny]]\nstore = 'mysql'\ntables = ['b']\n",
        diff::OLD
    );
    std::fs::write(path, denied).unwrap();
    let (_, output, _) = policy(&["test", path], "");
    assert!(
        output.contains("no case is refused by ") && output.contains(", 0 of 1 deny rules"),
        "{output}"
    );
    let case = format!(
        "{case}{}",
        case.replace("1 FROM a", "1 FROM b")
            .replace("'allow'", "'deny'")
    );
    std::fs::write(directory.path().join("p.test.toml"), case).unwrap();
    let (_, output, _) = policy(&["test", path], "");
    assert!(output.contains(", 1 of 1 deny rules\n"), "{output}");
    let (_, output, _) = policy(&["test", path, "--format", "json"], "");
    let report: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!(report["uncovered"][0]["role"], "app");
}

#[test]
fn both_policies_of_a_difference_tell_their_faults() {
    let directory = tempfile::tempdir().unwrap();
    let [one, two] = ["one.toml", "two.toml"].map(|name| {
        let path = directory.path().join(name);
        std::fs::write(&path, "versin = 1\n").unwrap();
        path.display().to_string()
    });
    let (outcome, _, errors) = policy(&["diff", &one, &two], "");
    assert_eq!(outcome, Exit::Usage);
    assert!(
        errors.contains("one.toml:1:1]") && errors.contains("two.toml:1:1]"),
        "{errors}"
    );
}

#[test]
fn explain_tells_rules_times_and_names_nearby() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.toml");
    let text = "version = 1\nmask_salt = 'pepper'\n[stores.mysql]\ndatabase = 'd'\ntables = ['users', 'posts']\n\
        [roles.r]\ntimeout_ms = 70\n[[roles.r.grants]]\nstore = 'mysql'\ntables = ['users']\nactions = ['select']\n\
        mask_columns = { email = 'hash' }\nrows = 'id = :caller.user_id'\nmax_rows = 9\n\
        [[roles.r.grants]]\nstore = 'mysql'\ntables = ['posts']\nactions = ['select']\nhours = 'mon 08:00-10:00 UTC'\n\
        [[roles.r.deny]]\nstore = 'mysql'\ntables = ['users']\nactions = ['delete']\n";
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let tuesday = "2026-01-06T09:00:00Z";
    for (sql, expected) in [
        (
            "SELECT email FROM users",
            &[
                "allow: role `r`",
                "\nrules\n  users, from ",
                "    mask_columns = { email = \"hash\" }\n    max_rows = 9\n    rows = \"id = :caller.user_id\"\n",
                "\nbounds of the request\n  max_rows = 9\n  timeout_ms = 70\n",
            ][..],
        ),
        (
            "SELECT 1 FROM posts",
            &["not granted now, but mon 08:00-10:00 UTC at ", "p.toml:15"],
        ),
        (
            "DELETE FROM users",
            &["denied at ", "p.toml:20, whatever else is granted"],
        ),
        (
            "SELECT 1 FROM user",
            &["lives nowhere; did you mean `users`?"],
        ),
        (
            "SELECT f() FROM users",
            &["would have to be granted\n  [stores.mysql]\n  functions = [\"f\"]\n"],
        ),
    ] {
        let arguments = [
            "explain", "--policy", path, "--role", "r", "--store", "mysql", "--at", tuesday, sql,
        ];
        let (_, output, errors) = policy(&arguments, "");
        for expected in expected {
            assert!(
                output.contains(expected),
                "{sql}: {expected} is not in\n{output}{errors}"
            );
        }
        let (_, json, _) = policy(&[&arguments[..], &["--format", "json"]].concat(), "");
        assert!(!(output + &json).contains("pepper"));
    }
}

#[test]
fn examples_name_the_schema() {
    let directory = Path::new(DEFAULT).parent().unwrap();
    for name in ["default.toml", "teams.toml", "analyst.toml"] {
        let text = std::fs::read_to_string(directory.join(name)).unwrap();
        assert!(
            text.starts_with("#:schema ./policy.schema.json\n"),
            "{name}"
        );
    }
    let (outcome, output, _) = policy(&["schema"], "");
    assert_eq!(outcome, Exit::Done);
    let file = std::fs::read_to_string(directory.join("policy.schema.json")).unwrap();
    assert_eq!(output, file);
}
