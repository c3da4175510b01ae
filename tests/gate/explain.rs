//! `POST /v1/explain` gives the reasons of a decision, and tells of nobody else.

use serde_json::{Value, json};

use crate::support::{self, Sidecar};

const ROLES: &str = r#"
mask_salt = "pepper"
[roles.app]
timeout_ms = 9000
[[roles.app.grants]]
store = "mysql"
tables = ["users"]
actions = ["select"]
mask_columns = { email = "hash" }
deny_columns = ["created_at"]
rows = "id = :caller.user_id"
max_rows = 2
[[roles.app.grants]]
store = "postgres"
tables = ["sessions"]
actions = ["select"]
hours = "mon 00:00-00:01 Pacific/Kiritimati"
[[roles.app.grants]]
store = "redis"
keys = ["cache:*"]
actions = ["read"]
[[roles.app.deny]]
store = "redis"
keys = ["cache:secret:*"]
[roles.admin]
mode = "shadow"
[[roles.admin.grants]]
store = "mysql"
tables = ["posts"]
actions = ["select"]
max_rows = 987654
"#;

#[tokio::test]
async fn a_decision_comes_with_its_reasons() {
    let dev = support::shared();
    let mut policy = dev.policy();
    policy.remove("rate_limits");
    policy.extend(ROLES.parse::<toml::Table>().unwrap());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), policy.to_string()).unwrap();
    let text = std::fs::read_to_string(folder.path().join("policy.toml")).unwrap();
    let lines = |of: &str| {
        let lines = text.lines().enumerate();
        let mut found = lines.filter(|(_, line)| *line == of);
        found.next().map(|(at, _)| at + 1).unwrap()
    };
    let sidecar = Sidecar::start_under(dev, folder.path()).await;
    let explain = async |key: &str, store: &str, request: Value| {
        let body = json!({"store": store, "request": request});
        let reply = sidecar.post(key, "/v1/explain", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        for secret in ["pepper", folder.path().to_str().unwrap()] {
            assert!(!reply.text.contains(secret), "{secret}: {}", reply.text);
        }
        if key == dev.app {
            assert!(
                !reply.text.contains("admin") && !reply.text.contains("987654"),
                "{}",
                reply.text
            );
        }
        reply.body
    };

    let body = explain(&dev.app, "mysql", "SELECT email FROM users".into()).await;
    assert_eq!(body["decision"], "allow", "{body}");
    assert_eq!(body["touches"][0]["rule"]["file"], "policy.toml");
    let rules = &body["rules"][0];
    for (key, expected) in [
        ("object", json!("users")),
        ("mask_columns", json!({"email": "hash"})),
        ("deny_columns", json!(["created_at"])),
        ("rows", json!("id = :caller.user_id")),
    ] {
        assert_eq!(rules[key], expected, "{body}");
    }
    assert_eq!(body["bounds"], json!({"max_rows": 2, "timeout_ms": 9000}));

    // The first line of a grant that the file has once is where the rule stands.
    let denied = explain(&dev.app, "redis", json!(["GET", "cache:secret:1"])).await;
    let touch = &denied["touches"][0];
    assert_eq!(touch["verdict"], "denied_by", "{denied}");
    assert_eq!(touch["rule"]["line"], lines("[[roles.app.deny]]"), "{text}");

    let missing = explain(&dev.app, "mysql", "DELETE FROM posts".into()).await;
    assert_eq!(missing["code"], "policy.denied");
    let grants: toml::Table = missing["missing_grants"].as_str().unwrap().parse().unwrap();
    let grant = &grants["roles"]["app"]["grants"][0];
    assert_eq!(
        (grant["tables"][0].as_str(), grant["actions"][0].as_str()),
        (Some("posts"), Some("delete"))
    );

    let early = explain(&dev.app, "postgres", "SELECT id FROM sessions".into()).await;
    // But for one minute of a week.
    if early["decision"] == "deny" {
        let hours = &early["touches"][0]["hours"];
        assert_eq!(
            *hours,
            json!(["mon 00:00-00:01 Pacific/Kiritimati"]),
            "{early}"
        );
    }

    let refused = explain(&dev.app, "mysql", "SELECT created_at FROM users".into()).await;
    assert_eq!(refused["decision"], "deny", "{refused}");
    assert_eq!(refused["rules"][0]["at"][0]["file"], "policy.toml");
    let unparsable = explain(&dev.app, "mysql", "SELEKT".into()).await;
    assert_eq!(unparsable["code"], "statement.unparsable");
    let elsewhere = explain(&dev.app, "postgres", "SELECT 1 FROM users".into()).await;
    assert_eq!(
        (&elsewhere["lives_in"], &elsewhere["missing_grants"]),
        (&"mysql".into(), &"".into())
    );

    // A role in shadow mode is told what it is spared.
    let spared = explain(&dev.admin_key, "mysql", "DELETE FROM posts".into()).await;
    assert_eq!(
        (
            &spared["decision"],
            &spared["mode"],
            &spared["spared"]["code"]
        ),
        (&"allow".into(), &"shadow".into(), &"policy.denied".into()),
        "{spared}"
    );
}
