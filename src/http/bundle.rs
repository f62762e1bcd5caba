//! The SPIFFE bundle as a JWK set (SPIFFE Trust Domain and Bundle §4).

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use countersign_api::{Bundle, BundleKey, ProblemCode};
use x509_parser::{prelude::FromDer as _, x509::SubjectPublicKeyInfo};

use super::problem::Failure;
use crate::service::Ca;

/// How often others should ask: roots change once in years, and ahead of their use.
const REFRESH_SECONDS: u64 = 300;

/// The roots of this trust domain.
pub(super) fn jwks(ca: &Ca) -> Result<Bundle, Failure> {
    let keys = ca.keys();
    let root = keys.root();
    let (x, y) = coordinates(root.spki()).ok_or_else(|| {
        Failure::new(ProblemCode::Internal, "the root's key is not an uncompressed P-256 point")
    })?;
    Ok(Bundle {
        keys: vec![BundleKey {
            usage: "x509-svid".into(),
            kty: "EC".into(),
            crv: "P-256".into(),
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
            kid: None,
            x5c: Some(vec![STANDARD.encode(root.der())]),
        }],
        spiffe_sequence: ca.roots_version(),
        spiffe_refresh_hint: REFRESH_SECONDS,
    })
}

/// The coordinates of an uncompressed P-256 point (SEC 1 §2.3.3).
fn coordinates(spki: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    let (_, info) = SubjectPublicKeyInfo::from_der(spki).ok()?;
    let point = info.subject_public_key.data.as_ref();
    let point = point.strip_prefix(&[0x04])?;
    Some((point.get(..32)?.try_into().ok()?, point.get(32..)?.try_into().ok()?))
}
