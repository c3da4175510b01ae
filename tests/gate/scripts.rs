//! Scripts that the policy lists by their digest, on a real Redis.

use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use crate::support::{Dev, Reply, Sidecar, shared};

/// Which key it counts in shows only when it runs.
const LISTED: &str =
    "return redis.call('INCR', (KEYS[1] or 'cache:none') .. ':' .. (ARGV[1] or ''))";

/// The digest of a script as Redis makes it.
fn digest(script: &str) -> String {
    let bytes = Sha1::digest(script);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A sidecar whose policy is the shared one and a file that lists the script.
async fn sidecar(dev: &Dev) -> (Sidecar, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let policy = dev.policy().to_string();
    std::fs::write(folder.path().join("policy.toml"), policy).unwrap();
    let listed = digest(LISTED);
    let text = format!("version = 1\n[stores.redis]\nscripts = [\"{listed}\"]\n");
    std::fs::write(folder.path().join("scripts.toml"), text).unwrap();
    let sidecar = Sidecar::start_under(dev, folder.path()).await;
    (sidecar, folder)
}

async fn ask(sidecar: &Sidecar, key: &str, command: &Value) -> Reply {
    let body = json!({ "command": command });
    sidecar.post(key, "/v1/redis/command", &body).await
}

#[tokio::test]
async fn a_listed_script_runs_and_no_other() {
    let dev = shared();
    let (sidecar, _policy) = sidecar(dev).await;
    let listed = digest(LISTED);
    let capitals = listed.to_ascii_uppercase();
    // Redis has it not yet: a library that is told so sends the script, or loads it.
    let reply = ask(
        &sidecar,
        &dev.app,
        &json!(["EVALSHA", listed, "1", "cache:n", "a"]),
    )
    .await;
    assert!(reply.text.contains("NOSCRIPT"), "{}", reply.text);
    for (command, result) in [
        (json!(["SCRIPT", "EXISTS", listed]), json!([0])),
        (json!(["SCRIPT", "LOAD", LISTED]), json!(listed)),
        (json!(["SCRIPT", "EXISTS", capitals]), json!([1])),
        (json!(["EVALSHA", listed, "1", "cache:n", "a"]), json!(1)),
        (json!(["evalsha", capitals, "1", "cache:n", "a"]), json!(2)),
        (json!(["EVAL", LISTED, "1", "cache:n", "a"]), json!(3)),
        (json!(["GET", "cache:n:a"]), json!("3")),
        (json!(["EVALSHA", listed, "0"]), json!(1)),
    ] {
        let reply = ask(&sidecar, &dev.app, &command).await;
        assert_eq!(reply.status, 200, "{command}: {}", reply.text);
        let number = |value: &Value| value.as_str().and_then(|text| text.parse::<i64>().ok());
        let got = &reply.body["result"];
        assert!(
            *got == result || number(got) == result.as_i64(),
            "{command}: {}",
            reply.text
        );
    }
    // The server stops what would write under the commands that only read.
    let reply = ask(
        &sidecar,
        &dev.app,
        &json!(["EVALSHA_RO", listed, "1", "cache:n"]),
    )
    .await;
    assert!(reply.text.contains("not allowed"), "{}", reply.text);

    let other = format!("{LISTED} ");
    let unlisted = digest(&other);
    let forbidden = "policy.forbidden_statement";
    for (key, command, code) in [
        (
            &dev.app,
            json!(["EVALSHA", unlisted, "1", "cache:n", "a"]),
            forbidden,
        ),
        (
            &dev.app,
            json!(["EVAL", other, "1", "cache:n", "a"]),
            forbidden,
        ),
        (&dev.app, json!(["SCRIPT", "LOAD", other]), forbidden),
        (&dev.app, json!(["SCRIPT", "LOAD", "return 1"]), forbidden),
        (
            &dev.app,
            json!(["SCRIPT", "EXISTS", listed, unlisted]),
            forbidden,
        ),
        (&dev.app, json!(["SCRIPT", "FLUSH"]), forbidden),
        (
            &dev.app,
            json!(["EVALSHA", &listed[1..], "0"]),
            "statement.unparsable",
        ),
        (
            &dev.app,
            json!(["EVALSHA", listed, "2", "cache:n"]),
            "statement.unparsable",
        ),
        (
            &dev.app,
            json!(["EVALSHA", listed, "-1", "cache:n"]),
            "statement.unparsable",
        ),
        // Its keys must be granted, to be read and to be written.
        (
            &dev.app,
            json!(["EVALSHA", listed, "1", "ratelimit:x", "a"]),
            "policy.denied",
        ),
        (
            &dev.app,
            json!(["EVALSHA", listed, "2", "cache:n", "ratelimit:x"]),
            "policy.denied",
        ),
        (
            &dev.app,
            json!(["EVALSHA", listed, "1", "elsewhere", "a"]),
            "policy.unknown_object",
        ),
        (
            &dev.admin_key,
            json!(["EVALSHA", listed, "1", "cache:n", "a"]),
            "policy.denied",
        ),
    ] {
        let reply = ask(&sidecar, key, &command).await;
        assert_eq!(reply.code(), code, "{command}: {}", reply.text);
        if code == forbidden && command.as_array().unwrap().len() > 2 {
            assert!(
                reply.text.contains("scripts = [...]"),
                "{command}: {}",
                reply.text
            );
        }
    }
    // One that is not listed takes the whole pipeline with it.
    let commands = json!([
        ["EVALSHA", listed, "1", "cache:n", "b"],
        ["EVALSHA", unlisted, "0"]
    ]);
    let body = json!({ "commands": commands });
    let reply = sidecar.post(&dev.app, "/v1/redis/pipeline", &body).await;
    assert_eq!(reply.code(), forbidden, "{}", reply.text);
    let reply = ask(&sidecar, &dev.app, &json!(["EXISTS", "cache:n:b"])).await;
    assert!(reply.text.contains('0'), "{}", reply.text);
    // Under the policy that lists nothing, the same script is refused although Redis has it.
    let body = json!({"command": ["EVALSHA", listed, "1", "cache:n", "a"]});
    let reply = dev.post(&dev.app, "/v1/redis/command", &body).await;
    assert_eq!(reply.code(), forbidden, "{}", reply.text);
}
