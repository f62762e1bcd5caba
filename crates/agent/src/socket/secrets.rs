//! Envoy's secrets by name: certificates with their keys, and what peers are judged by.

use std::collections::BTreeMap;

use countersign_identity::hex;
use prost::Message as _;
use prost_types::Any;
use sha2::{Digest as _, Sha256};
use tonic::Status;

use super::follower::Known;
use crate::custody::{Svid, pem};
use crate::generated::sds::data_source::Specifier;
use crate::generated::sds::secret::Type;
use crate::generated::sds::{CertificateValidationContext, DataSource, Secret, TlsCertificate};

/// The type of everything that is served here.
pub(super) const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
/// The caller's first identity.
const DEFAULT: &str = "default";
/// The roots of the trust domain.
const ROOT_CA: &str = "ROOTCA";
/// The roots of every trust domain that is known: one, as long as there is no federation.
const ALL: &str = "ALL";

/// One secret as it travels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sealed {
    pub(super) name: String,
    /// Says what is in it: the same content has the same version, through restarts too.
    pub(super) version: String,
    pub(super) secret: Any,
}

/// Refuses a request for anything but secrets.
pub(super) fn check_type(type_url: &str) -> Result<(), Status> {
    if type_url.is_empty() || type_url == SECRET {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("type_url: found {type_url:?}, expected {SECRET:?}")))
}

/// The secrets of these names that a caller may have, by name; without names, its identities and the trust domain's
/// roots. What it may not have is left out: it comes once the caller has a right to it.
pub(super) fn secrets(names: &[String], known: &Known) -> BTreeMap<String, Sealed> {
    let domain = known.view.trust_domain.as_ref().map(|domain| format!("spiffe://{domain}"));
    let all = || known.svids.iter().map(|svid| svid.id().to_string()).chain(domain.clone());
    let names: Vec<String> = if names.is_empty() { all().collect() } else { names.to_vec() };
    let mut found = BTreeMap::new();
    for name in names {
        let kind = if [Some(ROOT_CA), Some(ALL), domain.as_deref()].contains(&Some(&name)) {
            Some(roots(known))
        } else {
            let wanted = known.svids.iter().find(|svid| name == DEFAULT || svid.id().to_string() == name);
            wanted.map(|svid| certificate(svid))
        };
        match kind {
            Some(kind) => drop(found.insert(name.clone(), seal(name, kind))),
            None => tracing::debug!(name, "a secret was asked for that the caller has no right to"),
        }
    }
    found
}

/// One version for several secrets.
pub(super) fn version_of(secrets: &BTreeMap<String, Sealed>) -> String {
    let mut hash = Sha256::new();
    for sealed in secrets.values() {
        hash.update(format!("{}\0{}\0", sealed.name, sealed.version));
    }
    shortened(hash)
}

fn seal(name: String, kind: Type) -> Sealed {
    let value = Secret { name: name.clone(), r#type: Some(kind) }.encode_to_vec();
    let mut hash = Sha256::new();
    hash.update(&value);
    Sealed { name, version: shortened(hash), secret: Any { type_url: SECRET.to_owned(), value } }
}

fn shortened(hash: Sha256) -> String {
    let digest: [u8; 32] = hash.finalize().into();
    hex::encode(digest.get(..16).unwrap_or_default())
}

fn certificate(svid: &Svid) -> Type {
    Type::TlsCertificate(TlsCertificate {
        certificate_chain: Some(inline(svid.chain_pem().into_bytes())),
        private_key: Some(inline(svid.key_pem().as_bytes().to_vec())),
    })
}

fn roots(known: &Known) -> Type {
    let trusted_ca = Some(inline(pem(&known.view.roots).into_bytes()));
    Type::ValidationContext(CertificateValidationContext { trusted_ca })
}

fn inline(octets: Vec<u8>) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(octets)) }
}
