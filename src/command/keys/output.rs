//! A key as it is handed over: shown once, in the form that whoever keeps it needs.

use clap::ValueEnum;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::authenticate::keys::CreatedKey;

/// What applications read it from.
const VARIABLE: &str = "BULKHEAD_KEY";

/// Bytes of the name of a Kubernetes object (RFC 1123).
const SECRET_NAME_BYTES_MAX: usize = 253;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// `BULKHEAD_KEY=…`
    Env,
    Json,
    /// A Kubernetes Secret, for `kubectl apply -f -`
    Secret,
}

/// A key that was just made or rotated.
pub struct Shown<'k> {
    key: &'k CreatedKey,
    role: &'k str,
    /// Until when the secret before this one opens, too.
    pub previous_until: Option<Timestamp>,
}

impl<'k> Shown<'k> {
    pub fn new(key: &'k CreatedKey, role: &'k str) -> Self {
        Self {
            key,
            role,
            previous_until: None,
        }
    }

    /// The key goes to standard output, and words about it to standard error.
    pub fn print(&self, output: Option<Output>, secret_name: &str) {
        if output.is_none() {
            eprintln!(
                "key `{}` for role `{}`; its secret is shown this once:",
                self.key.id, self.role
            );
        }
        println!("{}", self.text(output, secret_name));
        if let (None, Some(until)) = (output, self.previous_until) {
            eprintln!("the secret before it opens until {until:.0}");
        }
    }

    fn text(&self, output: Option<Output>, secret_name: &str) -> String {
        let secret = self.key.secret.expose_secret();
        match output {
            None => secret.to_owned(),
            Some(Output::Env) => format!("{VARIABLE}={secret}"),
            Some(Output::Json) => {
                let mut members = json!({"id": self.key.id, "role": self.role, "key": secret});
                if let (Some(until), Some(members)) = (self.previous_until, members.as_object_mut())
                {
                    members.insert("previous_until".into(), until.to_string().into());
                }
                members.to_string()
            }
            // What is quoted is a JSON string, which YAML reads the same; the role may hold anything.
            Some(Output::Secret) => format!(
                "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  annotations:\n    bulkhead/key-id: {id}\n    bulkhead/role: {role}\ntype: Opaque\nstringData:\n  key: {key}",
                name = json!(secret_name),
                id = json!(self.key.id),
                role = json!(self.role),
                key = json!(secret),
            ),
        }
    }
}

/// A DNS subdomain name, as Kubernetes wants it.
pub fn secret_name(text: &str) -> Result<String, String> {
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= SECRET_NAME_BYTES_MAX && text.split('.').all(is_label) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "`{text}` cannot name a Secret: lower case letters, digits, `-` and `.` alone"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_holds_the_key_and_reads_back() {
        let key = CreatedKey {
            id: "0123".into(),
            secret: "bhk_0123_ab".to_owned().into(),
        };
        let role = "ro\"le: x";
        let mut shown = Shown::new(&key, role);
        assert_eq!(shown.text(None, "s"), "bhk_0123_ab");
        assert_eq!(
            shown.text(Some(Output::Env), "s"),
            "BULKHEAD_KEY=bhk_0123_ab"
        );
        let manifest: serde_json::Value =
            serde_saphyr::from_str(&shown.text(Some(Output::Secret), "web-key")).unwrap();
        let expected = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": "web-key",
                "annotations": {"bulkhead/key-id": "0123", "bulkhead/role": role},
            },
            "type": "Opaque",
            "stringData": {"key": "bhk_0123_ab"},
        });
        assert_eq!(manifest, expected);
        shown.previous_until = Timestamp::from_second(0).ok();
        let told: serde_json::Value =
            serde_json::from_str(&shown.text(Some(Output::Json), "s")).unwrap();
        assert_eq!(
            told,
            json!({"id": "0123", "role": role, "key": "bhk_0123_ab", "previous_until": "1970-01-01T00:00:00Z"})
        );
    }

    #[test]
    fn a_secret_has_a_name_that_kubernetes_takes() {
        for (text, expected) in [
            ("web-key", true),
            ("web.key1", true),
            ("", false),
            ("Web", false),
            ("-web", false),
            ("web-", false),
            ("a b", false),
            ("a: b", false),
        ] {
            assert_eq!(secret_name(text).is_ok(), expected, "{text}");
        }
    }
}
