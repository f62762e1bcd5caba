//! Clients that prove themselves by a signature in the form (RFC 7521 §4.2): with the key of their certificate, with one
//! that an operator registered, or by a JWT-SVID.

use countersign_verifier::{Presented, VerifiedPeer};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{authenticate::shown, form::Form};
use crate::{
    http::visitor::Visitor,
    service::{Assertion, Ca, Client, Ungranted},
};

/// `private_key_jwt` (RFC 7523 §2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// A JWT-SVID (draft-ietf-oauth-spiffe-client-auth).
const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// The client that the assertion in a form names; `None` without one.
///
/// # Errors
/// `invalid_client`, with the reason.
pub(super) async fn by_assertion(
    ca: &Ca,
    visitor: Option<&Visitor>,
    form: &Form,
) -> Result<Option<Client>, Ungranted> {
    let Some(text) = form.one("client_assertion")? else { return Ok(None) };
    match form.one("client_assertion_type")? {
        Some(JWT_BEARER) => by_signature(ca, visitor, text).await.map(Some),
        Some(JWT_SPIFFE) => ca.client_by_jwt_svid(text).map(Some),
        found => {
            let found = found.unwrap_or_default();
            Err(Ungranted::Client(format!("client_assertion_type is {found:?}, expected {JWT_BEARER:?}")))
        }
    }
}

async fn by_signature(ca: &Ca, visitor: Option<&Visitor>, text: &str) -> Result<Client, Ungranted> {
    let assertion = Assertion::read(text)?;
    let mut chain = assertion.chain()?;
    if chain.is_empty() {
        if let Some(client) = by_registered_key(ca, visitor, &assertion).await? {
            return Ok(client);
        }
        let named = assertion.kid().map(|kid| ca.certificate_named(kid)).transpose()?.flatten();
        chain.extend(named);
    }
    if !chain.is_empty() {
        // Whoever signs with a certificate of ours need not bring our issuers along.
        chain.extend(ca.keys().issuers().iter().map(|issuer| issuer.der().to_vec()));
    }
    let peer = judged(visitor, chain)?;
    let spki = X509Certificate::from_der(peer.leaf_der()).map(|(_, leaf)| leaf.public_key().raw.to_vec());
    ca.client_by_assertion(&assertion, &shown(&peer)?, &spki.unwrap_or_default()).await
}

/// A certificate on the connection proves nothing here, but may be what the token is bound to.
async fn by_registered_key(
    ca: &Ca,
    visitor: Option<&Visitor>,
    assertion: &Assertion,
) -> Result<Option<Client>, Ungranted> {
    let beside = visitor.and_then(|visitor| match visitor.presented(ca.now()) {
        Presented::Verified(peer) => Some(peer),
        Presented::Refused(_) | Presented::None => None,
    });
    let beside = beside.as_ref().map(shown).transpose()?;
    ca.client_by_registered_key(assertion, beside.as_ref()).await
}

/// The certificate is judged by the door of this connection, as if it had been shown in TLS.
fn judged(visitor: Option<&Visitor>, chain: Vec<Vec<u8>>) -> Result<VerifiedPeer, Ungranted> {
    let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
    let none = || {
        Ungranted::Client(
            "the assertion names no key: x5c, or kid with the serial or lineage of a certificate of this CA, or the id of a registered key"
                .to_owned(),
        )
    };
    if chain.is_empty() {
        return Err(none());
    }
    match visitor.ok_or_else(none)?.judge(&chain) {
        Presented::Verified(peer) => Ok(peer),
        Presented::Refused(refusal) => Err(Ungranted::Client(refusal.to_string())),
        Presented::None => Err(none()),
    }
}
