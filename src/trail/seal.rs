//! Seals: the heads of the chains that moved, together, at intervals; and the keys that sign them.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::text::{Canonical, Hex, Micros, digest};

/// What stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The last row of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    pub chain: i64,
    pub seq: i64,
    pub hash: Hex,
}

/// A row of `audit_seals`, and a line of the file of exported seals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// Counted from 1.
    pub seal: i64,
    pub sealed_at: Micros,
    pub sidecar: Option<String>,
    pub chains: Vec<i64>,
    pub seqs: Vec<i64>,
    pub hashes: Vec<Hex>,
    /// The hash of the seal before; zeros for the first.
    pub prev_hash: Hex,
    pub hash: Hex,
    pub key_id: Option<String>,
    /// Over `hash`.
    pub signature: Option<Hex>,
}

impl Seal {
    /// The seal after `before` (its number and hash), signed if there is a key.
    pub fn new(
        before: Option<(i64, &Hex)>,
        sealed_at: Micros,
        sidecar: Option<String>,
        heads: &[Head],
        key: Option<&SealKey>,
    ) -> Self {
        let mut seal = Self {
            seal: before.map_or(0, |(number, _)| number) + 1,
            sealed_at,
            sidecar,
            chains: heads.iter().map(|head| head.chain).collect(),
            seqs: heads.iter().map(|head| head.seq).collect(),
            hashes: heads.iter().map(|head| head.hash.clone()).collect(),
            prev_hash: before.map_or_else(Hex::zeros, |(_, hash)| hash.clone()),
            hash: Hex::default(),
            key_id: None,
            signature: None,
        };
        seal.hash = seal.digest();
        if let Some(key) = key {
            seal.key_id = Some(key.public().id());
            seal.signature = Some(key.sign(&seal.hash));
        }
        seal
    }

    /// The text of `json_build_array(seal, microseconds, sidecar, chains, seqs, hashes as hexadecimal texts)`.
    pub fn canonical(&self) -> String {
        Canonical::begin()
            .number(self.seal)
            .number(self.sealed_at.0)
            .text(self.sidecar.as_deref())
            .numbers(&self.chains)
            .numbers(&self.seqs)
            .texts(self.hashes.iter().map(|hash| Some(hash.to_string())))
            .end()
    }

    /// What its hash should be.
    pub fn digest(&self) -> Hex {
        digest(&self.prev_hash, &self.canonical())
    }
}

/// Why a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("not a private key in PEM (PKCS#8): `openssl genpkey -algorithm ed25519` makes one")]
    NotPrivate,
    #[error("the private key is encrypted: it is needed without a passphrase")]
    Encrypted,
    #[error(
        "not a public key in PEM: `openssl pkey -pubout` or `bulkhead audit public-key` gives it"
    )]
    NotPublic,
    #[error("not an Ed25519 key")]
    NotEd25519,
}

/// Signs seals. Never printed.
pub struct SealKey(Ed25519KeyPair);

impl SealKey {
    /// Reads what `openssl genpkey -algorithm ed25519` writes.
    ///
    /// # Errors
    /// When it is not a private key of this kind.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyFault> {
        let Ok(key) = PrivatePkcs8KeyDer::from_pem_slice(pem) else {
            let label = b"BEGIN ENCRYPTED PRIVATE KEY";
            let is_encrypted = pem.windows(label.len()).any(|part| part == label);
            return Err(if is_encrypted {
                KeyFault::Encrypted
            } else {
                KeyFault::NotPrivate
            });
        };
        // OpenSSL leaves the public key out, so there is nothing to compare with.
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der())
            .map(Self)
            .map_err(|_| KeyFault::NotEd25519)
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().as_ref().to_vec())
    }

    fn sign(&self, hash: &Hex) -> Hex {
        Hex(self.0.sign(&hash.0).as_ref().to_vec())
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({})", self.public().id())
    }
}

/// Tells whether a seal was signed by the key that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Reads what `openssl pkey -pubout` writes.
    ///
    /// # Errors
    /// When it is not a public key of this kind.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyFault> {
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| KeyFault::NotPublic)?;
        match spki.strip_prefix(&SPKI_PREFIX) {
            Some(key) if key.len() == 32 => Ok(Self(key.to_vec())),
            _ => Err(KeyFault::NotEd25519),
        }
    }

    fn spki(&self) -> Vec<u8> {
        [&SPKI_PREFIX[..], &self.0].concat()
    }

    /// The first 16 digits of the SHA-256 of its SubjectPublicKeyInfo:
    /// `openssl pkey -pubin -in FILE -outform DER | sha256sum`.
    pub fn id(&self) -> String {
        let mut id = Hex(Sha256::digest(self.spki()).to_vec()).to_string();
        id.truncate(16);
        id
    }

    pub fn pem(&self) -> String {
        let base64 = BASE64.encode(self.spki());
        format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n")
    }

    pub fn has_signed(&self, hash: &Hex, signature: &Hex) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        key.verify(&hash.0, &signature.0).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `openssl pkey -pubout` and `sha256sum` give for the key of [`private`].
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=
-----END PUBLIC KEY-----
";
    const ID: &str = "324be2dea8bc4446";

    /// The form that `openssl genpkey -algorithm ed25519` writes (RFC 8410, section 7), of a key that nobody uses.
    fn private() -> String {
        let prefix = [
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22,
            0x04, 0x20,
        ];
        let base64 = BASE64.encode([&prefix[..], &[7; 32]].concat());
        let label = "PRIVATE KEY";
        format!(
            "-----BEGIN {label}-----
{base64}
-----END {label}-----
"
        )
    }

    #[test]
    fn a_key_of_openssl_signs_and_its_public_key_tells() {
        let key = SealKey::from_pem(private().as_bytes()).unwrap();
        let public = PublicKey::from_pem(PUBLIC.as_bytes()).unwrap();
        assert_eq!(key.public(), public);
        assert_eq!((public.pem().as_str(), public.id().as_str()), (PUBLIC, ID));
        assert_eq!(format!("{key:?}"), format!("SealKey({ID})"));
        let head = Head {
            chain: 7,
            seq: 1,
            hash: Hex(vec![1; 32]),
        };
        let seal = Seal::new(None, Micros(5), Some("s".into()), &[head], Some(&key));
        let text = format!(r#"[1, 5, "s", [7], [1], ["{}"]]"#, "01".repeat(32));
        assert_eq!(seal.canonical(), text);
        let signature = seal.signature.clone().unwrap();
        assert!(public.has_signed(&seal.hash, &signature));
        assert!(!public.has_signed(&Hex(vec![0; 32]), &signature));
        assert!(!public.has_signed(&seal.hash, &Hex(vec![0; 64])));
    }

    #[test]
    fn what_is_not_such_a_key_is_said() {
        let encrypted = private().replace(" PRIVATE", " ENCRYPTED PRIVATE");
        for (pem, fault) in [
            ("", KeyFault::NotPrivate),
            (PUBLIC, KeyFault::NotPrivate),
            (encrypted.as_str(), KeyFault::Encrypted),
        ] {
            assert_eq!(SealKey::from_pem(pem.as_bytes()).unwrap_err(), fault);
        }
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let of_other = SealKey::from_pem(other.serialize_pem().as_bytes());
        assert_eq!(of_other.unwrap_err(), KeyFault::NotEd25519);
        let of_other = PublicKey::from_pem(other.public_key_pem().as_bytes());
        assert_eq!(of_other.unwrap_err(), KeyFault::NotEd25519);
        let no_public = PublicKey::from_pem(private().as_bytes());
        assert_eq!(no_public.unwrap_err(), KeyFault::NotPublic);
    }
}
