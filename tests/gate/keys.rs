//! API keys through the sidecar: missing, malformed, unknown, expired, revoked.

use hyper::Method;
use serde_json::json;

use crate::support::{self, Reply, shared};

/// Whom a sidecar takes the holder of `key` for.
pub async fn whoami(http: &str, key: &str) -> Reply {
    let headers = [("x-api-key", key.to_owned())];
    support::send(Method::GET, &format!("{http}/v1/whoami"), &headers, None).await
}

async fn code_of(headers: &[(&str, String)]) -> (u16, String) {
    let url = format!("{}/v1/whoami", shared().http);
    let reply = support::send(Method::GET, &url, headers, None).await;
    (reply.status, reply.code().to_owned())
}

#[tokio::test]
async fn keys_that_are_none() {
    let dev = shared();
    assert_eq!(code_of(&[]).await, (401, "auth.missing".into()));
    // RFC 6750 section 3: how to authenticate, and an error where something was shown.
    let url = format!("{}/v1/whoami", dev.http);
    for (headers, expected) in [
        (&[][..], "Bearer realm=\"bulkhead\""),
        (
            &[("x-api-key", "x".to_owned())],
            "Bearer realm=\"bulkhead\", error=\"invalid_token\"",
        ),
    ] {
        let reply = support::send(Method::GET, &url, headers, None).await;
        assert_eq!(reply.headers["www-authenticate"], expected);
    }
    let mut damaged = dev.app.clone();
    let last = damaged.pop().unwrap();
    damaged.push(if last == '0' { '1' } else { '0' });
    let unknown = bulkhead::authenticate::key::generate().unwrap().key;
    let unknown = secrecy::ExposeSecret::expose_secret(&unknown).to_owned();
    for key in ["x", &damaged, &unknown] {
        let headers = [("authorization", format!("Bearer {key}"))];
        assert_eq!(
            code_of(&headers).await,
            (401, "auth.invalid".into()),
            "{key}"
        );
    }
}

#[tokio::test]
async fn a_key_works_until_it_is_revoked() {
    let dev = shared();
    let made = dev.bulkhead(&[
        "keys", "--format", "json", "create", "--role", "app", "--name", "brief",
    ]);
    assert!(made.status.success(), "{made:?}");
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let headers = [("x-api-key", made["key"].as_str().unwrap().to_owned())];
    assert_eq!(code_of(&headers).await.0, 200);
    let id = made["id"].as_str().unwrap();
    assert!(dev.bulkhead(&["keys", "revoke", id]).status.success());
    support::eventually("the revoked key is refused", || async {
        code_of(&headers).await == (401, "auth.revoked".into())
    })
    .await;
    assert_eq!(dev.bulkhead(&["keys", "revoke", id]).status.code(), Some(1));
    let listed = dev.bulkhead(&["keys", "list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed
            .lines()
            .any(|line| line.contains(id) && line.contains("revoked"))
    );
    assert!(!listed.contains(made["key"].as_str().unwrap()));
}

#[tokio::test]
async fn an_expired_key_is_refused() {
    let dev = shared();
    let made = dev.bulkhead(&[
        "keys",
        "--format",
        "json",
        "create",
        "--role",
        "app",
        "--name",
        "short",
        "--expires-in",
        "1s",
    ]);
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let headers = [("x-api-key", made["key"].as_str().unwrap().to_owned())];
    support::eventually("the key expires", || async {
        code_of(&headers).await == (401, "auth.expired".into())
    })
    .await;
}

#[tokio::test]
async fn a_role_that_the_policy_lacks_gets_no_key() {
    let made = shared().bulkhead(&["keys", "create", "--role", "nobody", "--name", "x"]);
    assert_eq!(made.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&made.stderr).contains("no role `nobody`"));
}

#[tokio::test]
async fn whoami_tells_role_grants_and_limits() {
    let dev = shared();
    let headers = [("x-api-key", dev.app.clone())];
    let url = format!("{}/v1/whoami", dev.http);
    let reply = support::send(Method::GET, &url, &headers, None).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.body["role"], "app");
    assert!(
        reply.body["grants"]
            .as_array()
            .is_some_and(|grants| !grants.is_empty())
    );
    assert_eq!(reply.body["limits"][0]["policy"], "app");
    assert_ne!(reply.body["key_id"], json!(null));
}
