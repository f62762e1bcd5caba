//! Bundles in the SPIFFE form: a JWK set (SPIFFE Trust Domain and Bundle §4).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_identity::{TrustBundle, TrustDomain};
use serde::Deserialize;

/// Larger than any honest bundle.
const LIMIT: usize = 1 << 20;

/// Why a text is no SPIFFE bundle.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a SPIFFE bundle: {what}")]
pub struct JwksError {
    what: String,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Key>,
    #[serde(default)]
    spiffe_sequence: u64,
    spiffe_refresh_hint: Option<u64>,
}

#[derive(Deserialize)]
struct Key {
    kty: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    x5c: Option<Vec<String>>,
}

/// The X.509 authorities of a SPIFFE bundle as the roots of `trust_domain`.
///
/// Keys of another use, or of none, are passed over, as the standard has it. A set without keys trusts nobody.
///
/// # Errors
/// When it is no JWK set, or an X.509 authority does not carry exactly one certificate.
///
/// ```
/// use countersign_verifier::bundle_from_jwks;
/// let bundle = bundle_from_jwks("prod.example".parse()?, br#"{"keys":[],"spiffe_sequence":4}"#)?;
/// assert_eq!((bundle.roots().len(), bundle.sequence()), (0, 4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn bundle_from_jwks(trust_domain: TrustDomain, jwks: &[u8]) -> Result<TrustBundle, JwksError> {
    read_bundle(trust_domain, jwks).map(|published| published.bundle)
}

/// A bundle as an endpoint publishes it.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) bundle: TrustBundle,
    /// How soon to look again (`spiffe_refresh_hint`).
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "only endpoints are looked at again"))]
    pub(crate) hint: Option<Duration>,
}

/// The same with what an endpoint adds.
pub(crate) fn read_bundle(trust_domain: TrustDomain, jwks: &[u8]) -> Result<Published, JwksError> {
    let refused = |what: String| JwksError { what };
    if jwks.len() > LIMIT {
        return Err(refused(format!("it has {} octets, at most {LIMIT} are read", jwks.len())));
    }
    let set: Set = serde_json::from_slice(jwks).map_err(|fault| refused(fault.to_string()))?;
    let mut roots = Vec::new();
    for key in set.keys {
        if key.kty.is_none() || key.purpose.as_deref() != Some("x509-svid") {
            continue;
        }
        let x5c = key.x5c.unwrap_or_default();
        let [certificate] = x5c.as_slice() else {
            return Err(refused(format!("an authority has {} certificates, expected 1", x5c.len())));
        };
        roots.push(
            STANDARD.decode(certificate).map_err(|fault| refused(format!("x5c is no base64: {fault}")))?,
        );
    }
    let bundle = TrustBundle::new(trust_domain, roots).with_sequence(set.spiffe_sequence);
    Ok(Published { bundle, hint: set.spiffe_refresh_hint.map(Duration::from_secs) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TrustBundle, JwksError> {
        bundle_from_jwks("prod.example".parse().expect("a trust domain"), text.as_bytes())
    }

    #[test]
    fn keys_of_another_use_or_none_are_passed_over() {
        let text = r#"{"keys":[
            {"kty":"EC","use":"x509-svid","x5c":["MAA="]},
            {"kty":"EC","use":"jwt-svid","kid":"a"},
            {"kty":"EC","use":"X509-SVID","x5c":["MAA="]},
            {"kty":"EC","x5c":["MAA="]},
            {"use":"x509-svid","x5c":["MAA="]}
        ],"spiffe_refresh_hint":300,"anything":{}}"#;
        assert_eq!(read(text).expect("a bundle").roots(), [vec![0x30, 0]]);
    }

    #[test]
    fn a_set_without_keys_or_with_odd_certificates_is_refused() {
        for text in [
            "",
            "{}",
            r#"{"keys":[{"kty":"EC","use":"x509-svid"}]}"#,
            r#"{"keys":[{"kty":"EC","use":"x509-svid","x5c":["MAA=","MAA="]}]}"#,
            r#"{"keys":[{"kty":"EC","use":"x509-svid","x5c":["*"]}]}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
