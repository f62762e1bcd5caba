//! Roots documents: which roots a trust domain has, signed by the roots themselves (DESIGN §4).
//!
//! A verifier or agent changes its roots only by walking these, so a stolen issuer cannot add one.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_identity::{TrustDomain, hex};
use countersign_issuance::{IssuerCertificate, Signer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::signer::{JwsError, Signature, sign_general};

/// `typ` of every roots document.
const KIND: &str = "countersign-roots+jws";

/// The first roots document of a trust domain: one root, signed by itself.
///
/// # Errors
/// When the root's pen fails.
pub(super) async fn first_roots_document(
    trust_domain: &TrustDomain,
    root: &IssuerCertificate,
    signer: &dyn Signer,
) -> Result<Value, JwsError> {
    let payload = json!({
        "trust_domain": trust_domain.as_str(),
        "version": 1,
        "roots": [STANDARD.encode(root.der())],
        "previous": null,
    });
    let kid = hex::encode(&Sha256::digest(root.der()));
    sign_general(KIND, payload.to_string().as_bytes(), &[Signature { kid: &kid, signer }]).await
}
