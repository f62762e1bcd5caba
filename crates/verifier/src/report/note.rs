//! One outcome as the certificate authority is told it (`countersign-api`, `Decision`).

#[cfg(feature = "tokens")]
use countersign_identity::SpiffeId;
use countersign_policy::Decision;
use serde::Serialize;

use crate::outcome::Reference;
use crate::peer::PeerFacts;
use crate::refusal::Refusal;

/// What was judged.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Who calls.
    Authentication,
    /// Whether they may.
    Authorization,
}

/// An outcome; two that are equal can be counted as one.
#[derive(Clone, Debug, Hash, PartialEq, Eq, Serialize)]
pub(crate) struct Note {
    pub(crate) kind: Kind,
    pub(crate) allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spiffe_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) permission: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<String>,
    /// Not among the things that make two outcomes differ: of those counted together, the first one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reference: Option<Told>,
}

/// A reference that was told to the caller. All are equal, since each is new.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Told(String);

impl Note {
    /// Who calls was proven.
    pub(crate) fn authenticated(peer: &PeerFacts) -> Self {
        Self { allowed: true, ..Self::about(Kind::Authentication, Some(peer)) }
    }

    /// Who calls was not proven, or does not stand any more. The reason is the stable word: what a stranger wrote in a
    /// certificate stays in this service's own log.
    pub(crate) fn refused(refusal: &Refusal, peer: Option<&PeerFacts>, reference: Option<Reference>) -> Self {
        let note = Self::about(Kind::Authentication, peer);
        Self { reason: Some(refusal.code().to_owned()), reference: reference.map(Told::from), ..note }
    }

    /// Who calls was proven by a token or an API key.
    #[cfg(feature = "tokens")]
    pub(crate) fn recognised(spiffe_id: &SpiffeId) -> Self {
        let spiffe_id = Some(spiffe_id.to_string());
        Self { allowed: true, spiffe_id, ..Self::about(Kind::Authentication, None) }
    }

    /// A token or an API key proved nobody.
    #[cfg(feature = "tokens")]
    pub(crate) fn not_accepted(code: &str, reference: Option<Reference>) -> Self {
        let note = Self::about(Kind::Authentication, None);
        Self { reason: Some(code.to_owned()), reference: reference.map(Told::from), ..note }
    }

    /// Whether they may.
    pub(crate) fn decided(
        spiffe_id: &str,
        serial: Option<String>,
        decision: &Decision,
        reference: Option<Reference>,
    ) -> Self {
        let rule = decision.rule.as_ref();
        let reason =
            rule.map_or_else(|| "no grant".to_owned(), |rule| format!("{} {}", rule.kind, rule.index));
        Self {
            allowed: decision.allowed,
            spiffe_id: Some(spiffe_id.to_owned()),
            serial,
            permission: Some(decision.permission.to_string()),
            reason: Some(reason),
            policy: Some(decision.version.to_string()),
            reference: reference.map(Told::from),
            ..Self::about(Kind::Authorization, None)
        }
    }

    fn about(kind: Kind, peer: Option<&PeerFacts>) -> Self {
        Self {
            kind,
            allowed: false,
            spiffe_id: peer.map(|peer| peer.spiffe_id().to_string()),
            serial: peer.map(PeerFacts::serial_hex),
            permission: None,
            reason: None,
            policy: None,
            reference: None,
        }
    }
}

impl From<Reference> for Told {
    fn from(reference: Reference) -> Self {
        Self(reference.to_string())
    }
}

impl PartialEq for Told {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Told {}

impl std::hash::Hash for Told {
    fn hash<H: std::hash::Hasher>(&self, _state: &mut H) {}
}
