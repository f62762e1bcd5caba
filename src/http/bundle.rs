//! The SPIFFE bundle as a JWK set (SPIFFE Trust Domain and Bundle §4).

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use countersign_api::{Bundle, BundleKey, ProblemCode};

use super::problem::Failure;
use crate::{service::Ca, signer::coordinates};

/// How often others should ask: roots change once in years, and ahead of their use.
const REFRESH_SECONDS: u64 = 300;

/// The roots of this trust domain, and the key of its JWT-SVIDs.
pub(super) fn jwks(ca: &Ca) -> Result<Bundle, Failure> {
    let keys = ca.keys();
    let root = keys.root();
    let (x, y) = coordinates(root.spki()).ok_or_else(|| {
        Failure::new(ProblemCode::Internal, "the root's key is not an uncompressed P-256 point")
    })?;
    let root_key = BundleKey {
        usage: "x509-svid".into(),
        kty: "EC".into(),
        crv: "P-256".into(),
        x: URL_SAFE_NO_PAD.encode(x),
        y: URL_SAFE_NO_PAD.encode(y),
        kid: None,
        x5c: Some(vec![STANDARD.encode(root.der())]),
    };
    let jwt_key = serde_json::from_value(keys.jwt_svid().jwk().clone())
        .map_err(|error| Failure::new(ProblemCode::Internal, error))?;
    Ok(Bundle {
        keys: vec![root_key, jwt_key],
        spiffe_sequence: ca.roots_version(),
        spiffe_refresh_hint: REFRESH_SECONDS,
    })
}
