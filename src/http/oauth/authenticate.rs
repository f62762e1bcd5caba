//! Who asks: the one place that reads how a client proves itself (RFC 6749 §2.3).

use axum::http::{HeaderMap, HeaderValue, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_verifier::{Presented, VerifiedPeer};

use zeroize::Zeroizing;

use super::{
    assertion::by_assertion,
    form::{Form, decoded},
};
use crate::{
    http::visitor::Visitor,
    service::{Ca, Client, Shown, Ungranted},
};

/// The client that sent a form over the connection of `visitor`.
///
/// # Errors
/// `invalid_client`, with the reason, or `invalid_request` when it proves itself in two ways at once.
pub(super) async fn authenticate(
    ca: &Ca,
    visitor: Option<&Visitor>,
    headers: &HeaderMap,
    form: &Form,
) -> Result<Client, Ungranted> {
    if form.one("client_secret")?.is_some() {
        return Err(Ungranted::Client("a secret belongs into the Authorization header".to_owned()));
    }
    let asserted = by_assertion(ca, visitor, form).await?;
    let client = match (asserted, headers.get(header::AUTHORIZATION)) {
        (Some(_), Some(_)) => {
            return Err(Ungranted::Request("two ways to prove an identity at once".to_owned()));
        }
        (Some(client), None) => client,
        (None, Some(basic)) => by_secret(ca, visitor, basic).await?,
        (None, None) => by_certificate(ca, visitor).await?,
    };
    match form.one("client_id")? {
        Some(id) if id != client.id().as_str() => {
            Err(Ungranted::Client(format!("client_id is {id:?}, and what was proven is {}", client.id())))
        }
        _ => Ok(client),
    }
}

/// RFC 8705 §2.1.2, `tls_client_auth_san_uri`: the SPIFFE ID of the certificate is the client, without a registration of
/// its own.
async fn by_certificate(ca: &Ca, visitor: Option<&Visitor>) -> Result<Client, Ungranted> {
    match visitor.map(|visitor| visitor.presented(ca.now())) {
        Some(Presented::Verified(peer)) => ca.client_by_certificate(&shown(&peer)?).await,
        Some(Presented::Refused(refusal)) => Err(Ungranted::Client(refusal.to_string())),
        Some(Presented::None) | None => Err(Ungranted::Client(
            "nothing proves who asks: connect with a certificate of this CA".to_owned(),
        )),
    }
}

/// RFC 6749 §2.3.1, `client_secret_basic`: the name is the key's id or the identity, the secret an API key.
async fn by_secret(ca: &Ca, visitor: Option<&Visitor>, basic: &HeaderValue) -> Result<Client, Ungranted> {
    let (name, secret) = credentials(basic).ok_or_else(|| {
        Ungranted::Client("the Authorization header: expected Basic with a name and an API key".to_owned())
    })?;
    let peer = match visitor.map(|visitor| visitor.presented(ca.now())) {
        Some(Presented::Verified(peer)) => Some(peer),
        _ => None,
    };
    let beside = peer.as_ref().map(shown).transpose()?;
    ca.client_by_secret(&name, &secret, beside.as_ref()).await
}

/// Name and secret of a Basic header (RFC 7617 §2), each percent-encoded before (RFC 6749 §2.3.1).
fn credentials(header: &HeaderValue) -> Option<(String, Zeroizing<String>)> {
    let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let octets = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
    let at = octets.iter().position(|octet| *octet == b':')?;
    // A SPIFFE ID that was not percent-encoded has a colon of its own before that of the header; a key has none.
    let last = octets.iter().rposition(|octet| *octet == b':')?;
    let (name, secret) = octets.split_at(if octets.starts_with(b"spiffe:") { last } else { at });
    Some((decoded(name)?, Zeroizing::new(decoded(secret.get(1..)?)?)))
}

pub(super) fn shown(peer: &VerifiedPeer) -> Result<Shown<'_>, Ungranted> {
    let serial = peer.serial().ok_or_else(|| {
        Ungranted::Client(format!("the serial {} was never issued here", peer.serial_hex()))
    })?;
    Ok(Shown {
        serial,
        spiffe_id: peer.spiffe_id(),
        lineage: peer.lineage(),
        thumbprint: *peer.thumbprint(),
        not_after: peer.not_after(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, String)> {
        let header = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(text))).unwrap();
        credentials(&header).map(|(name, secret)| (name, secret.to_string()))
    }

    #[test]
    fn a_name_may_be_a_spiffe_id_encoded_or_not() {
        let pair = |name: &str| Some((name.to_owned(), "csk1_x".to_owned()));
        assert_eq!(read("00:csk1_x"), pair("00"));
        assert_eq!(read("spiffe%3A%2F%2Ftd%2Fa:csk1_x"), pair("spiffe://td/a"));
        assert_eq!(read("spiffe://td/a:csk1_x"), pair("spiffe://td/a"));
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        assert_eq!(read("name"), None);
        assert_eq!(read("%zz:secret"), None);
        for header in ["Bearer x", "Basic", "Basic %%%"] {
            assert!(credentials(&HeaderValue::from_static(header)).is_none(), "{header}");
        }
    }
}
