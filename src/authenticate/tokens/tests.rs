use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use serde_json::{Value, json};

use super::*;

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An issuer with a key of two of the kinds, and the set that it publishes.
struct Issuer {
    ed: Ed25519KeyPair,
    ec: EcdsaKeyPair,
}

impl Issuer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self {
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
            ec: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random)
                .unwrap(),
        }
    }

    fn set(&self) -> Value {
        let point = self.ec.public_key().as_ref();
        json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "use": "sig", "x": base64url(self.ed.public_key())},
            {"kty": "EC", "crv": "P-256", "kid": "ec", "alg": "ES256", "x": base64url(&point[1..33]), "y": base64url(&point[33..])},
            {"kty": "oct", "kid": "shared", "k": base64url("a secret of thirty-two bytes, yes")},
            {"kty": "of the future", "kid": "odd"},
        ]})
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!(
            "{}.{}",
            base64url(header.to_string()),
            base64url(claims.to_string())
        );
        let signature = match header["kid"].as_str() {
            Some("ec") => {
                let random = SystemRandom::new();
                let signed = self.ec.sign(&random, message.as_bytes()).unwrap();
                base64url(signed)
            }
            Some("shared") => {
                let key = ring::hmac::Key::new(
                    ring::hmac::HMAC_SHA256,
                    b"a secret of thirty-two bytes, yes",
                );
                base64url(ring::hmac::sign(&key, message.as_bytes()))
            }
            _ => base64url(self.ed.sign(message.as_bytes())),
        };
        format!("{message}.{signature}")
    }
}

const NOW: i64 = 1_900_000_000;

fn clock(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn settings(file: PathBuf) -> TokenSettings {
    TokenSettings {
        source: KeySource::File(file),
        issuer: "https://issuer".into(),
        audience: "bulkhead".into(),
        role_claim: "role".into(),
        user_claim: "uid".into(),
        algorithms: ALGORITHMS.map(|(_, algorithm)| algorithm).to_vec(),
        skew_s: 30,
        age_max_s: 3600,
        refresh_s: 300,
        stale_max_s: 3600,
        blacklist_unavailable: OnUnavailable::Allow,
    }
}

struct Case {
    issuer: Issuer,
    tokens: Tokens,
    start: Instant,
    folder: tempfile::TempDir,
}

impl Case {
    fn new(edit: impl FnOnce(&mut TokenSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let issuer = Issuer::new();
        let file = folder.path().join("jwks.json");
        std::fs::write(&file, issuer.set().to_string()).unwrap();
        let mut settings = settings(file);
        edit(&mut settings);
        let start = Instant::now();
        let tokens = Tokens::open(settings, None, start).unwrap();
        Self {
            issuer,
            tokens,
            start,
            folder,
        }
    }

    async fn ask(&self, token: &str, second: i64) -> Result<Arc<Principal>, Error> {
        let known = match self.tokens.recall(token) {
            Some(known) => known,
            None => self.tokens.verify(token, self.start, clock(second)).await?,
        };
        self.tokens.admit(&known, self.start, clock(second)).await
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://issuer", "aud": "bulkhead", "sub": "alice", "jti": "t1", "role": "app", "uid": "u7",
        "iat": NOW, "exp": NOW + 600,
    })
}

fn header() -> Value {
    json!({"alg": "EdDSA", "kid": "ed", "typ": "JWT"})
}

fn with(mut value: Value, changes: Value) -> Value {
    for (key, change) in changes.as_object().unwrap() {
        if change.is_null() {
            value.as_object_mut().unwrap().remove(key);
        } else {
            value[key] = change.clone();
        }
    }
    value
}

#[tokio::test]
async fn a_token_is_a_caller_of_its_own_kind() {
    let case = Case::new(|_| {});
    let expected = Principal {
        key_id: "jwt:alice".into(),
        user_id: Some("u7".into()),
        role: "app".into(),
    };
    for header in [header(), json!({"alg": "ES256", "kid": "ec"})] {
        let token = case.issuer.sign(&header, &claims());
        // The second time, from memory.
        for _ in 0..2 {
            let caller = case.ask(&token, NOW).await.unwrap();
            assert_eq!(*caller, expected, "{header}");
        }
    }
    let without_user = case
        .issuer
        .sign(&header(), &with(claims(), json!({"uid": null})));
    assert_eq!(case.ask(&without_user, NOW).await.unwrap().user_id, None);
}

#[tokio::test]
async fn what_is_not_right_in_every_part_is_refused() {
    let case = Case::new(|_| {});
    let refused = async |token: &str, fault: Fault| {
        let found = case.ask(token, NOW).await.map(drop);
        assert_eq!(found, Err(Error::Token(fault)), "{token}");
    };
    let headers = [
        (json!({"alg": "none"}), Fault::Algorithm),
        (json!({"alg": "HS256"}), Fault::Algorithm),
        (json!({"alg": "ES256"}), Fault::Algorithm),
        (json!({"alg": "RS256"}), Fault::Algorithm),
        (json!({"alg": null}), Fault::Malformed),
        (json!({"kid": null}), Fault::NoKid),
        (json!({"kid": "ec"}), Fault::Algorithm),
        (json!({"kid": "odd"}), Fault::unknown_kid("odd")),
        (
            json!({"kid": "a\nb"}),
            Fault::UnknownKid(r#""a\nb""#.into()),
        ),
        (
            json!({"kid": "shared", "alg": "HS256"}),
            Fault::unknown_kid("shared"),
        ),
        (json!({"crit": ["b64"], "b64": false}), Fault::Header),
        (json!({"typ": "JWE"}), Fault::Header),
    ];
    for (changes, fault) in headers {
        let token = case.issuer.sign(&with(header(), changes), &claims());
        refused(&token, fault).await;
    }
    let missing = |claim: &str| Fault::Missing(claim.into());
    let wrong = |claim: &str| Fault::Claim(claim.into());
    let bodies = [
        (json!({"iss": "https://other"}), Fault::Issuer),
        (json!({"iss": null}), missing("iss")),
        (json!({"aud": "other"}), Fault::Audience),
        (json!({"aud": ["other"]}), Fault::Audience),
        (json!({"aud": null}), missing("aud")),
        (json!({"exp": null}), missing("exp")),
        (json!({"exp": "soon"}), wrong("exp")),
        (json!({"iat": null}), missing("iat")),
        (json!({"iat": NOW + 31}), Fault::Early),
        (json!({"nbf": NOW + 31}), Fault::Early),
        (json!({"nbf": "soon"}), wrong("nbf")),
        (json!({"sub": null}), missing("sub")),
        (json!({"sub": ""}), wrong("sub")),
        (json!({"sub": "a\nb"}), wrong("sub")),
        (json!({"sub": "x".repeat(257)}), wrong("sub")),
        (json!({"jti": null}), missing("jti")),
        (json!({"role": null}), missing("role")),
        (json!({"role": ["app", "admin"]}), wrong("role")),
        (json!({"uid": 7}), wrong("uid")),
    ];
    for (changes, fault) in bodies {
        let token = case.issuer.sign(&header(), &with(claims(), changes));
        refused(&token, fault).await;
    }
    let good = case.issuer.sign(&header(), &claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let body = base64url(with(claims(), json!({"role": "admin"})).to_string());
    let forged = format!("{}.{body}.{signature}", good.split_once('.').unwrap().0);
    let unsigned = format!(
        "{}.{body}.",
        base64url(json!({"alg": "none", "kid": "ed"}).to_string())
    );
    for (token, fault) in [
        (&*forged, Fault::Signature),
        (&unsigned, Fault::Algorithm),
        (&format!("{message}."), Fault::Signature),
        (message, Fault::Malformed),
        ("a.b.c", Fault::Malformed),
        ("", Fault::Malformed),
        (&"x".repeat(9000), Fault::TooLong),
    ] {
        refused(token, fault).await;
    }
    assert!(case.ask(&good, NOW).await.is_ok());
}

#[tokio::test]
async fn a_token_ends_by_its_expiry_or_its_age() {
    let case = Case::new(|settings| settings.age_max_s = 300);
    let ended = |fault: fn(String) -> Fault| Err(Error::Token(fault("jwt:alice".into())));
    let short = case
        .issuer
        .sign(&header(), &with(claims(), json!({"exp": NOW + 10})));
    let long = case.issuer.sign(&header(), &claims());
    let early = case.issuer.sign(
        &header(),
        &with(claims(), json!({"nbf": NOW as f64 + 20.5})),
    );
    let cases = [
        (&short, NOW + 39, Ok(())),
        (&short, NOW + 40, ended(Fault::Expired)),
        (&long, NOW + 329, Ok(())),
        (&long, NOW + 330, ended(Fault::TooOld)),
        (&early, NOW - 11, Err(Error::Token(Fault::Early))),
        (&early, NOW - 10, Ok(())),
    ];
    for (token, second, expected) in cases {
        assert_eq!(
            case.ask(token, second).await.map(drop),
            expected,
            "{second}"
        );
    }
}

#[tokio::test]
async fn only_configured_algorithms_count() {
    let case = Case::new(|settings| settings.algorithms = vec![Algorithm::ES256]);
    let token = case.issuer.sign(&header(), &claims());
    let unknown = Error::Token(Fault::unknown_kid("ed"));
    assert_eq!(case.ask(&token, NOW).await.map(drop), Err(unknown));
    let token = case
        .issuer
        .sign(&json!({"alg": "ES256", "kid": "ec"}), &claims());
    assert!(case.ask(&token, NOW).await.is_ok());
}

/// An unknown `kid` has the keys read again once in a while; a key that is gone takes its tokens with it.
#[tokio::test]
async fn keys_change_with_their_source() {
    let case = Case::new(|_| {});
    let old = case.issuer.sign(&header(), &claims());
    assert!(case.ask(&old, NOW).await.is_ok());
    let next = Issuer::new();
    let mut set = next.set();
    set["keys"][0]["kid"] = "next".into();
    let publish = |set: &Value| {
        std::fs::write(case.folder.path().join("jwks.json"), set.to_string()).unwrap();
    };
    publish(&set);
    let new = next.sign(&json!({"alg": "EdDSA", "kid": "next"}), &claims());
    assert!(case.ask(&new, NOW).await.is_ok(), "the set was read again");
    let unknown = |kid| Err(Error::Token(Fault::unknown_kid(kid)));
    assert_eq!(case.ask(&old, NOW).await.map(drop), unknown("ed"));
    // Not again so soon.
    set["keys"][0]["kid"] = "third".into();
    publish(&set);
    let third = next.sign(&json!({"alg": "EdDSA", "kid": "third"}), &claims());
    assert_eq!(case.ask(&third, NOW).await.map(drop), unknown("third"));
    let later = case.start + keyset::UNKNOWN_KID_INTERVAL;
    assert!(case.tokens.verify(&third, later, clock(NOW)).await.is_ok());
    // What cannot be read leaves the keys as they are, until they are stale.
    publish(&json!("nonsense"));
    assert!(case.tokens.verify(&third, later, clock(NOW)).await.is_ok());
    let stale = later + Duration::from_secs(3600);
    let refused = case.tokens.verify(&third, stale, clock(NOW)).await;
    assert!(matches!(refused, Err(Error::IssuerUnavailable)));
}

#[test]
fn a_set_must_be_clear() {
    let all = ALGORITHMS.map(|(_, algorithm)| algorithm);
    let issuer = Issuer::new();
    let parse = |set: &Value| keyset::parse(set.to_string().as_bytes(), &all);
    let names = |set: &Value| parse(set).map(|keys| keys.into_keys().collect::<Vec<_>>());
    assert_eq!(names(&issuer.set()), Ok(vec!["ec".into(), "ed".into()]));
    let mut twice = issuer.set();
    twice["keys"][1]["kid"] = "ed".into();
    assert!(names(&twice).is_err());
    let mut to_encrypt = issuer.set();
    to_encrypt["keys"][0]["use"] = "enc".into();
    assert_eq!(names(&to_encrypt), Ok(vec!["ec".into()]));
    let mut of_another = issuer.set();
    of_another["keys"][1]["alg"] = "ES384".into();
    assert_eq!(names(&of_another), Ok(vec!["ed".into()]));
    let mut to_sign = issuer.set();
    to_sign["keys"][0]["key_ops"] = json!(["sign"]);
    to_sign["keys"][1]["key_ops"] = json!(["sign", "verify"]);
    assert_eq!(names(&to_sign), Ok(vec!["ec".into()]));
    let mut nameless = issuer.set();
    nameless["keys"][0]["kid"] = "".into();
    assert_eq!(names(&nameless), Ok(vec!["ec".into()]));
    for set in [
        json!({"keys": []}),
        json!([]),
        json!({"keys": [{"kty": "oct", "k": "AAAA", "kid": "a"}]}),
    ] {
        assert!(names(&set).is_err(), "{set}");
    }
}

/// Without the blacklist, what the configuration says: refused by default.
#[tokio::test]
async fn a_blacklist_that_is_away_refuses_unless_told_otherwise() {
    let case = Case::new(|settings| settings.blacklist_unavailable = OnUnavailable::Deny);
    let token = case.issuer.sign(&header(), &claims());
    let refused = case.ask(&token, NOW).await;
    assert!(matches!(refused, Err(Error::BlacklistUnavailable(_))));
}
