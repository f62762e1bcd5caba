//! Trust snapshots and roots documents, correct until told otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign_identity::{Timestamp, hex};
use rcgen::{CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, KeyPair, SigningKey as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::authority::Authority;
use crate::forged::Forged;
use crate::noon::noon;

const EXTENDED_KEY_USAGE: [u64; 4] = [2, 5, 29, 37];
const TRUST_EPOCH: [u64; 4] = [2, 25, 250_477_940, 2];

/// `SEQUENCE { OBJECT IDENTIFIER 2.25.250477940.1 }`.
const TRUST_SIGNING: [u8; 10] = [0x30, 8, 6, 6, 0x69, 0xf7, 0xb7, 0xfa, 0x74, 1];

/// A trust snapshot in the making; each method sets or breaks one thing.
#[derive(Debug)]
pub struct SnapshotForge<'a> {
    signer: &'a Forged,
    header: Value,
    payload: Value,
    issuers: Vec<String>,
    serials: BTreeMap<String, Vec<(String, i64)>>,
    lists: Value,
    policy: String,
    token_keys: String,
}

/// A finished snapshot and its parts.
#[derive(Clone, Debug)]
pub struct ForgedSnapshot {
    jws: String,
    parts: BTreeMap<[u8; 32], Vec<u8>>,
}

impl Authority {
    /// A trust signer of this epoch, certified by this authority for ninety days.
    #[must_use]
    pub fn trust_signer(&self, epoch: u8) -> Forged {
        self.trust_signer_with(epoch, |_| {})
    }

    /// The same with something about it changed.
    #[must_use]
    pub fn trust_signer_with(&self, epoch: u8, change: impl FnOnce(&mut CertificateParams)) -> Forged {
        let id = format!("spiffe://{}/countersign/trust", self.trust_domain());
        let mut purpose = CustomExtension::from_oid_content(&EXTENDED_KEY_USAGE, TRUST_SIGNING.to_vec());
        purpose.set_criticality(true);
        let epoch = CustomExtension::from_oid_content(&TRUST_EPOCH, vec![2, 1, epoch]);
        let none: [ExtendedKeyUsagePurpose; 0] = [];
        let end = noon() + Duration::from_secs(90 * 86_400);
        let leaf = self.leaf(&id).ends(end).extended_key_usages(&none).with(|params| {
            params.custom_extensions.extend([purpose, epoch]);
        });
        leaf.with(change).forge()
    }
}

impl<'a> SnapshotForge<'a> {
    /// A snapshot of number 1, issued at noon, of a domain with this root and no issuer.
    #[must_use]
    pub fn new(root: &Authority, signer: &'a Forged) -> Self {
        let payload = json!({
            "trust_domain": root.trust_domain(), "epoch": 1, "sequence": 1, "refresh_hint": 60,
            "roots": [roots_document(1, &[root], None, &[root])],
        });
        let header = json!({
            "alg": "ES256", "typ": "countersign-trust+jws", "x5c": [STANDARD.encode(signer.leaf())],
        });
        let forge = Self {
            signer,
            header,
            payload,
            issuers: Vec::new(),
            serials: BTreeMap::new(),
            lists: json!({}),
            policy: "version = 1\n".to_owned(),
            token_keys: r#"{"keys":[]}"#.to_owned(),
        };
        forge.issued(noon())
    }

    /// Of this epoch, whatever its signer was certified for.
    #[must_use]
    pub fn epoch(self, epoch: u64) -> Self {
        self.member("epoch", epoch.into())
    }

    /// Of this number.
    #[must_use]
    pub fn sequence(self, sequence: u64) -> Self {
        self.member("sequence", sequence.into())
    }

    /// Issued then, for an hour.
    #[must_use]
    pub fn issued(self, at: Timestamp) -> Self {
        let expires = (at + Duration::from_secs(3600)).to_string();
        self.member("issued", at.to_string().into()).member("expires", expires.into())
    }

    /// With these roots documents.
    #[must_use]
    pub fn roots(self, documents: &[Value]) -> Self {
        self.member("roots", documents.into())
    }

    /// With anything in the place of a member of the payload.
    #[must_use]
    pub fn member(mut self, name: &str, value: Value) -> Self {
        if let Some(members) = self.payload.as_object_mut() {
            members.insert(name.to_owned(), value);
        }
        self
    }

    /// With anything in the place of a member of the header.
    #[must_use]
    pub fn header(mut self, name: &str, value: Value) -> Self {
        if let Some(members) = self.header.as_object_mut() {
            members.insert(name.to_owned(), value);
        }
        self
    }

    /// Lists this issuer.
    #[must_use]
    pub fn issuer(mut self, issuer: &Authority) -> Self {
        self.issuers.push(STANDARD.encode(issuer.certificate()));
        self
    }

    /// Revokes a serial number, in hex, of an issuer until `end`.
    #[must_use]
    pub fn revoke(mut self, issuer: &Authority, serial: &str, end: Timestamp) -> Self {
        let of_issuer = self.serials.entry(hex::encode(&issuer.key_id())).or_default();
        of_issuer.push((serial.to_owned(), end.unix()));
        self
    }

    /// Lists anything else that is revoked.
    #[must_use]
    pub fn list(mut self, name: &str, entries: Value) -> Self {
        if let Some(members) = self.lists.as_object_mut() {
            members.insert(name.to_owned(), entries);
        }
        self
    }

    /// With this permission policy.
    #[must_use]
    pub fn policy(self, text: &str) -> Self {
        Self { policy: text.to_owned(), ..self }
    }

    /// With these keys of access tokens, a JWK Set.
    #[must_use]
    pub fn token_keys(self, jwks: &str) -> Self {
        Self { token_keys: jwks.to_owned(), ..self }
    }

    /// Signs it with the signer's own key.
    #[must_use]
    pub fn forge(self) -> ForgedSnapshot {
        let signer = self.signer;
        self.signed_by(signer.key())
    }

    /// Signs it with any key.
    #[must_use]
    pub fn signed_by(mut self, key: &KeyPair) -> ForgedSnapshot {
        let serials: Vec<_> = self
            .serials
            .iter()
            .map(|(issuer, entries)| json!({ "issuer": issuer, "entries": entries }))
            .collect();
        let mut parts = BTreeMap::new();
        let mut part = |octets: Vec<u8>| {
            let sha256: [u8; 32] = Sha256::digest(&octets).into();
            let reference = json!({ "sha256": hex::encode(&sha256), "size": octets.len() });
            parts.insert(sha256, octets);
            reference
        };
        let revoked = [json!({ "serials": serials }), self.lists.clone()];
        let members = [
            ("issuers", part(json!({ "issuers": self.issuers }).to_string().into_bytes())),
            ("revoked", revoked.map(|chunk| part(chunk.to_string().into_bytes())).into_iter().collect()),
            ("policy", part(self.policy.clone().into_bytes())),
            ("token_keys", part(self.token_keys.clone().into_bytes())),
        ];
        for (name, value) in members {
            if self.payload.get(name).is_none() {
                self = self.member(name, value);
            }
        }
        let header = URL_SAFE_NO_PAD.encode(self.header.to_string());
        let payload = URL_SAFE_NO_PAD.encode(self.payload.to_string());
        let signed = format!("{header}.{payload}");
        ForgedSnapshot { jws: format!("{signed}.{}", es256(key, &signed)), parts }
    }
}

impl ForgedSnapshot {
    /// Its compact JWS.
    #[must_use]
    pub const fn jws(&self) -> &[u8] {
        self.jws.as_bytes()
    }

    /// Its parts by their SHA-256.
    #[must_use]
    pub const fn parts(&self) -> &BTreeMap<[u8; 32], Vec<u8>> {
        &self.parts
    }

    /// The one file that holds it all.
    #[must_use]
    pub fn file(&self) -> Vec<u8> {
        let parts: BTreeMap<_, _> =
            self.parts.iter().map(|(name, octets)| (hex::encode(name), STANDARD.encode(octets))).collect();
        json!({ "countersign_trust": 1, "snapshot": self.jws, "parts": parts }).to_string().into_bytes()
    }
}

/// A roots document of a version: its roots, the document before, and whoever signs it.
///
/// # Panics
/// When it has no root.
#[must_use]
pub fn roots_document(
    version: u64,
    roots: &[&Authority],
    previous: Option<&Value>,
    signers: &[&Authority],
) -> Value {
    let payload_of = |document: &Value| {
        let payload = document.get("payload").and_then(Value::as_str).unwrap_or_default();
        hex::encode(&Sha256::digest(URL_SAFE_NO_PAD.decode(payload).unwrap_or_default()))
    };
    let payload = json!({
        "trust_domain": roots.first().expect("a root").trust_domain(),
        "version": version,
        "roots": roots.iter().map(|root| STANDARD.encode(root.certificate())).collect::<Vec<_>>(),
        "previous": previous.map(payload_of),
    });
    let payload = URL_SAFE_NO_PAD.encode(payload.to_string());
    let sign = |signer: &&Authority| {
        let kid = hex::encode(&Sha256::digest(signer.certificate()));
        let header = json!({ "alg": "ES256", "kid": kid, "typ": "countersign-roots+jws" });
        let protected = URL_SAFE_NO_PAD.encode(header.to_string());
        let signature = es256(signer.key(), &format!("{protected}.{payload}"));
        json!({ "protected": protected, "signature": signature })
    };
    json!({ "payload": payload, "signatures": signers.iter().map(sign).collect::<Vec<_>>() })
}

/// A signature by ES256 as JWS writes it (RFC 7518 §3.4).
pub(crate) fn es256(key: &KeyPair, message: &str) -> String {
    let der = key.sign(message.as_bytes()).expect("a P-256 key that signs");
    let mut raw = Vec::with_capacity(64);
    let mut rest = der.get(2..).unwrap_or_default();
    for _ in 0..2 {
        let length = usize::from(*rest.get(1).expect("an integer"));
        let (integer, after) = rest.split_at(2 + length);
        let digits: Vec<u8> = integer.iter().skip(2).copied().skip_while(|octet| *octet == 0).collect();
        raw.resize(raw.len() + 32_usize.saturating_sub(digits.len()), 0);
        raw.extend(digits);
        rest = after;
    }
    URL_SAFE_NO_PAD.encode(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_has_two_halves() {
        let key = crate::csr::p256();
        for message in 0..200 {
            let signature = es256(&key, &message.to_string());
            assert_eq!(URL_SAFE_NO_PAD.decode(signature).expect("base64url").len(), 64);
        }
    }
}
