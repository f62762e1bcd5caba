//! Who asks at the authorization server, and how they proved who they are.

use countersign_identity::{Lineage, Serial, SpiffeId, Timestamp};
use countersign_store::{ApiKeyRecord, Presentation};

use super::{Ca, Ungranted};

/// A certificate under our own issuers that somebody proved to hold: on a connection, or by a signature.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Its serial.
    pub serial: Serial,
    /// Whose it is.
    pub spiffe_id: &'a SpiffeId,
    /// The lineage in its subject.
    pub lineage: Option<Lineage>,
    /// SHA-256 of the whole certificate.
    pub thumbprint: [u8; 32],
    /// Its last second.
    pub not_after: Timestamp,
}

/// Whom a token is bound to: whoever has the key of this certificate, or of another one of its lineage.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    pub(super) serial: Serial,
    pub(super) thumbprint: [u8; 32],
    pub(super) lineage: Lineage,
    pub(super) not_after: Timestamp,
}

/// The certificate that a client's proof rests on: a token that is bound to nobody dies with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Basis {
    pub(super) serial: Serial,
    pub(super) lineage: Lineage,
    pub(super) not_after: Timestamp,
}

/// How a client proved who it is.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    /// By its certificate, on this connection (RFC 8705 §2).
    Certificate(Holder),
    /// By a signature with the key of its certificate (RFC 7523 §2.2).
    Assertion(Holder),
    /// By a signature with a key that an operator registered; perhaps beside a certificate of the same identity.
    RegisteredKey {
        /// When the key ends.
        until: Timestamp,
        /// What its tokens can be bound to.
        holder: Option<Holder>,
    },
    /// By a JWT-SVID of ours, which says with which certificate it was asked for.
    JwtSvid(Basis),
    /// By an API key (RFC 6749 §2.3.1); perhaps beside a certificate of the same identity.
    ApiKey {
        /// The key.
        key: Box<ApiKeyRecord>,
        /// What its tokens can be bound to.
        holder: Option<Holder>,
    },
}

/// An identity that proved itself to the authorization server.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) id: SpiffeId,
    pub(super) proof: Proof,
}

impl Client {
    /// Who it is.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// As events name the way it proved itself.
    pub(super) fn method(&self) -> &'static str {
        match self.proof {
            Proof::Certificate(_) => "certificate",
            Proof::Assertion(_) => "private_key_jwt",
            Proof::RegisteredKey { .. } => "registered_key",
            Proof::JwtSvid(_) => "jwt_svid",
            Proof::ApiKey { .. } => "api_key",
        }
    }

    /// What its tokens can be bound to, if it showed a key that lasts.
    pub(super) fn holder(&self) -> Option<&Holder> {
        match &self.proof {
            Proof::Certificate(holder) | Proof::Assertion(holder) => Some(holder),
            Proof::JwtSvid(_) => None,
            Proof::RegisteredKey { holder, .. } | Proof::ApiKey { holder, .. } => holder.as_ref(),
        }
    }

    /// The certificate behind its proof, where there is one.
    pub(super) fn basis(&self) -> Option<Basis> {
        match &self.proof {
            Proof::JwtSvid(basis) => Some(*basis),
            _ => self.holder().map(|&Holder { serial, lineage, not_after, .. }| Basis {
                serial,
                lineage,
                not_after,
            }),
        }
    }

    /// When what it proved itself with ends, besides a certificate.
    pub(super) fn ends(&self) -> Option<Timestamp> {
        match &self.proof {
            Proof::RegisteredKey { until, .. } => Some(*until),
            Proof::ApiKey { key, .. } => Some(key.expires),
            Proof::Certificate(_) | Proof::Assertion(_) | Proof::JwtSvid(_) => None,
        }
    }

    /// The API key it came with.
    pub(super) fn api_key(&self) -> Option<&ApiKeyRecord> {
        match &self.proof {
            Proof::ApiKey { key, .. } => Some(key),
            Proof::Certificate(_) | Proof::Assertion(_) | Proof::RegisteredKey { .. } | Proof::JwtSvid(_) => {
                None
            }
        }
    }
}

impl Ca {
    /// The client that holds a certificate, judged as at every door but renewal: live, not revoked, its machine active.
    ///
    /// # Errors
    /// `invalid_client`, with the reason.
    pub async fn client_by_certificate(&self, shown: &Shown<'_>) -> Result<Client, Ungranted> {
        let holder = self.holder_of(shown).await?;
        Ok(Client { id: shown.spiffe_id.clone(), proof: Proof::Certificate(holder) })
    }

    /// The client that holds an API key; `named` is what it calls itself. A certificate of the same identity on the same
    /// connection is what its tokens are bound to.
    ///
    /// # Errors
    /// `invalid_client`, without a reason.
    pub async fn client_by_secret(
        &self,
        named: &str,
        secret: &str,
        beside: Option<&Shown<'_>>,
    ) -> Result<Client, Ungranted> {
        let holder = match beside {
            Some(shown) => self.holder_of(shown).await.ok().map(|holder| (shown.spiffe_id, holder)),
            None => None,
        };
        self.client_by_api_key(secret, named, holder)
    }

    pub(super) async fn holder_of(&self, shown: &Shown<'_>) -> Result<Holder, Ungranted> {
        let refused = |why: &str| Ungranted::Client(format!("the certificate {}: {why}", shown.serial));
        match self.present_elsewhere(shown.serial).await? {
            Presentation::Current { .. } | Presentation::Confirmed { .. } | Presentation::Older { .. } => {}
            Presentation::Revoked { .. } => return Err(refused("it was revoked")),
            Presentation::NotActive { status, .. } => {
                return Err(refused(&format!("its machine is {status}")));
            }
            Presentation::Expired { .. } => return Err(refused("it has ended")),
            Presentation::Unknown | Presentation::Clone { .. } => {
                return Err(refused("this CA has no live record of it"));
            }
        }
        let lineage = shown.lineage.ok_or_else(|| refused("it names no lineage"))?;
        let Shown { serial, thumbprint, not_after, .. } = *shown;
        Ok(Holder { serial, thumbprint, lineage, not_after })
    }
}
