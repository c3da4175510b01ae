//! `[auth]`: how long keys are remembered, which certificates and which tokens stand for roles.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hyper::Uri;

use super::reader::{Reader, Section};
use crate::authenticate::SPIFFE;
use crate::authenticate::tokens::{ALGORITHMS, KeySource, OnUnavailable, TokenSettings};

#[derive(Debug, Clone)]
pub struct Auth {
    /// How old a cached key may be before it is looked up again while PostgreSQL does not tell what changes.
    pub cache_ttl_ms: u64,
    /// How long a known key keeps working while PostgreSQL is away.
    pub stale_max_s: u64,
    /// Names in clients' certificates (`spiffe://…`, or a DNS name) and the roles that they stand for.
    pub certificates: BTreeMap<String, String>,
    /// `None`: tokens are not honoured.
    pub tokens: Option<TokenSettings>,
}

/// `asks_clients`: whether the data listener asks for clients' certificates; `has_redis`: whether it is configured.
pub(super) fn read(
    reader: &mut Reader<'_>,
    root: &mut Section<'_>,
    asks_clients: bool,
    has_redis: bool,
) -> Auth {
    let mut section = reader.section(root, "auth");
    let auth = Auth {
        cache_ttl_ms: reader.integer(&mut section, "cache_ttl_ms", 0..=60_000, 1000),
        stale_max_s: reader.integer(&mut section, "stale_max_s", 0..=86_400, 300),
        certificates: certificates(reader, &mut section, asks_clients),
        tokens: tokens(reader, &mut section, has_redis),
    };
    reader.finish(section);
    auth
}

fn certificates(
    reader: &mut Reader<'_>,
    parent: &mut Section<'_>,
    asks_clients: bool,
) -> BTreeMap<String, String> {
    let section = reader.section(parent, "certificates");
    let entries = reader.entries(&section);
    if section.is_present() && !asks_clients {
        reader.missing(
            &section,
            "[auth.certificates] needs certificates to look at: set `client_ca_file` in [server.tls]",
        );
    }
    let mut roles = BTreeMap::new();
    for (name, span, role) in entries {
        if is_name(&name) {
            roles.insert(name, role);
        } else {
            let message = format!(
                "`{name}` is no name of a certificate: write its `{SPIFFE}…` URI or its DNS name (lower case, no wildcard) in full"
            );
            reader.fault(span, message);
        }
    }
    roles
}

/// Exact names alone: what a pattern lets in, nobody has counted.
fn is_name(name: &str) -> bool {
    if let Some(path) = name.strip_prefix(SPIFFE) {
        return !path.is_empty()
            && path
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'*');
    }
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(allowed)
    };
    name.split('.').all(is_label)
}

fn tokens(
    reader: &mut Reader<'_>,
    parent: &mut Section<'_>,
    has_redis: bool,
) -> Option<TokenSettings> {
    let mut section = reader.section(parent, "jwt");
    if !section.is_present() {
        return None;
    }
    let source = key_source(reader, &mut section);
    let issuer = required(reader, &mut section, "issuer");
    let audience = required(reader, &mut section, "audience");
    let algorithms = reader.choices(&mut section, "algorithms", &ALGORITHMS);
    if algorithms.is_empty() {
        let known: Vec<_> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
        let message = format!("`algorithms` is missing: list some of {}", known.join(", "));
        reader.missing(&section, message);
    }
    let mut claim = |reader: &mut Reader<'_>, key, default: &str| {
        let claim = reader.string(&mut section, key);
        claim.unwrap_or_else(|| default.to_owned())
    };
    let role_claim = claim(reader, "role_claim", "role");
    let user_claim = claim(reader, "user_claim", "sub");
    let mut seconds = |reader: &mut Reader<'_>, key, range, default| {
        u32::try_from(reader.integer(&mut section, key, range, default)).unwrap_or(u32::MAX)
    };
    let skew_s = seconds(reader, "clock_skew_s", 0..=300, 30);
    let age_max_s = seconds(reader, "max_age_s", 1..=86_400, 3600);
    let refresh_s = seconds(reader, "refresh_s", 5..=86_400, 300);
    let stale_max_s = seconds(reader, "stale_max_s", 60..=604_800, 3600);
    let choices = [
        ("deny", OnUnavailable::Deny),
        ("allow", OnUnavailable::Allow),
    ];
    let blacklist_unavailable = reader.choice(
        &mut section,
        "blacklist_unavailable",
        &choices,
        OnUnavailable::Deny,
    );
    if !has_redis && blacklist_unavailable == OnUnavailable::Deny {
        reader.missing(
            &section,
            "[auth.jwt] asks Redis whether a token was revoked: configure [stores.redis], or set `blacklist_unavailable = \"allow\"`",
        );
    }
    reader.finish(section);
    Some(TokenSettings {
        source: source?,
        issuer: issuer?,
        audience: audience?,
        role_claim,
        user_claim,
        algorithms,
        skew_s,
        age_max_s,
        refresh_s,
        stale_max_s,
        blacklist_unavailable,
    })
}

fn key_source(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<KeySource> {
    let file = reader.path(section, "jwks_file");
    let url = reader.string(section, "jwks_url");
    let ca_file: Option<PathBuf> = reader.path(section, "ca_file");
    match (file, url) {
        (Some(file), None) if ca_file.is_none() => Some(KeySource::File(file)),
        (None, Some(text)) => {
            let url: Option<Uri> = text.parse().ok();
            let url = url.filter(|url| url.scheme_str() == Some("https") && url.host().is_some());
            // It stands in the log when it does not answer.
            let is_plain = |url: &Uri| url.authority().is_none_or(|it| !it.as_str().contains('@'));
            let url = url.filter(is_plain);
            if url.is_none() {
                reader.missing(
                    section,
                    "`jwks_url` must be an https URL without user and password",
                );
            }
            Some(KeySource::Url { url: url?, ca_file })
        }
        (Some(_), None) => {
            reader.missing(
                section,
                "`ca_file` has no use with `jwks_file`: leave it out",
            );
            None
        }
        (Some(_), Some(_)) => {
            reader.missing(
                section,
                "[auth.jwt] has both `jwks_file` and `jwks_url`: leave one out",
            );
            None
        }
        (None, None) => {
            reader.missing(
                section,
                "[auth.jwt] needs one of `jwks_file` and `jwks_url`",
            );
            None
        }
    }
}

fn required(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    key: &'static str,
) -> Option<String> {
    let text = reader.string(section, key).filter(|text| !text.is_empty());
    if text.is_none() {
        reader.missing(section, format!("[auth.jwt] needs `{key}`"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_certificates_are_exact() {
        for (name, expected) in [
            ("spiffe://cluster/ns/shop/sa/web", true),
            ("web.shop.internal", true),
            ("web", true),
            ("spiffe://", false),
            ("spiffe://cluster/*", false),
            ("https://cluster/web", false),
            ("*.shop.internal", false),
            ("Web.shop.internal", false),
            ("web..internal", false),
            ("web shop", false),
            ("", false),
        ] {
            assert_eq!(is_name(name), expected, "{name}");
        }
    }
}
