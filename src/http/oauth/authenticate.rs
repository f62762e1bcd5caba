//! Who asks: the one place that reads how a client proves itself (RFC 6749 §2.3).

use axum::http::{HeaderMap, header};
use countersign_verifier::{Presented, VerifiedPeer};

use super::form::Form;
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
    if headers.contains_key(header::AUTHORIZATION) {
        return Err(Ungranted::Client(
            "the Authorization header holds nothing that proves an identity".to_owned(),
        ));
    }
    let client = by_certificate(ca, visitor).await?;
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

fn shown(peer: &VerifiedPeer) -> Result<Shown<'_>, Ungranted> {
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
