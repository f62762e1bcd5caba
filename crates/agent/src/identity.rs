//! The identity a machine holds: what was issued, until when, by whom.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_api::Invitation;
use countersign_identity::{MachineId, Serial, SpiffeId, Timestamp, TrustDomain, Validity, hex};
use countersign_verifier::{OwnIdentity, SetupError};
use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;
use crate::error::AgentError;
use crate::generation;

/// What to do about an identity that was damaged from outside.
pub(crate) const ANEW: &str =
    "the directory was damaged from outside: enroll again with a new invitation and --replace";

/// Which CA a machine deals with: a trust domain and the SHA-256 of its root certificate. Given by the invitation,
/// kept for ever after.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pin {
    /// The trust domain the CA serves.
    pub trust_domain: TrustDomain,
    /// SHA-256 of the root certificate's DER.
    pub root_sha256: [u8; 32],
}

impl Pin {
    /// The CA that an invitation leads to.
    pub(crate) fn of(invitation: &Invitation) -> Result<Self, AgentError> {
        let trust_domain = invitation.trust_domain.parse().map_err(|error| {
            AgentError::refused(format!("the invitation names no valid trust domain: {error}"))
        })?;
        Ok(Self { trust_domain, root_sha256: invitation.root_sha256 })
    }

    /// The root's fingerprint as `init` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex::encode(&self.root_sha256)
    }
}

/// When the CA wants to see the machine again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// Renew no earlier.
    pub after: Timestamp,
    /// Renew no later.
    pub before: Timestamp,
}

/// An identity as it stands published in a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    pub(crate) home: PathBuf,
    pub(crate) machine: MachineId,
    pub(crate) spiffe_id: SpiffeId,
    pub(crate) serial: Serial,
    pub(crate) validity: Validity,
    pub(crate) window: Window,
    pub(crate) url: Endpoint,
    pub(crate) pin: Pin,
    /// Which invitation began it; a renewal carries it on.
    pub(crate) redeemed: Option<String>,
}

impl Identity {
    /// The generation directory that holds certificate and key together. Read both from here to be sure that they
    /// belong together even while a renewal goes on.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Certificate and key as TLS takes them, if it takes them: damage from outside shows here.
    pub(crate) fn own(&self) -> Result<Arc<OwnIdentity>, SetupError> {
        OwnIdentity::from_files(self.home.join(generation::SVID), self.home.join(generation::KEY))
    }

    /// The machine's id at the CA.
    #[must_use]
    pub const fn machine(&self) -> MachineId {
        self.machine
    }

    /// Whom the certificate names.
    #[must_use]
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// The certificate's serial number.
    #[must_use]
    pub const fn serial(&self) -> Serial {
        self.serial
    }

    /// From when to when the certificate is valid.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// When it is to be renewed.
    #[must_use]
    pub const fn window(&self) -> Window {
        self.window
    }

    /// Where the CA listens.
    #[must_use]
    pub const fn url(&self) -> &Endpoint {
        &self.url
    }

    /// The CA this identity is from.
    #[must_use]
    pub const fn pin(&self) -> &Pin {
        &self.pin
    }
}

/// `meta.json`: the same as it stands in a file, for programs in any language.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Meta {
    machine: String,
    spiffe_id: String,
    serial: String,
    not_before: String,
    not_after: String,
    renew_after: String,
    renew_before: String,
    url: String,
    trust_domain: String,
    root_sha256: String,
    /// The beginning of SHA-256 of the invitation's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redeemed: Option<String>,
}

impl From<&Identity> for Meta {
    fn from(identity: &Identity) -> Self {
        Self {
            machine: identity.machine.to_string(),
            spiffe_id: identity.spiffe_id.to_string(),
            serial: identity.serial.to_string(),
            not_before: identity.validity.not_before().to_string(),
            not_after: identity.validity.not_after().to_string(),
            renew_after: identity.window.after.to_string(),
            renew_before: identity.window.before.to_string(),
            url: identity.url.to_string(),
            trust_domain: identity.pin.trust_domain.to_string(),
            root_sha256: identity.pin.fingerprint(),
            redeemed: identity.redeemed.clone(),
        }
    }
}

impl Meta {
    /// The identity these words describe, published in `home`.
    pub(crate) fn identity(
        &self,
        home: PathBuf,
    ) -> Result<Identity, Box<dyn std::error::Error + Send + Sync>> {
        let validity = Validity::new(self.not_before.parse()?, self.not_after.parse()?)?;
        let root = hex::decode(&self.root_sha256)?;
        Ok(Identity {
            home,
            machine: self.machine.parse()?,
            spiffe_id: self.spiffe_id.parse()?,
            serial: self.serial.parse()?,
            validity,
            window: Window { after: self.renew_after.parse()?, before: self.renew_before.parse()? },
            url: self.url.parse()?,
            pin: Pin {
                trust_domain: self.trust_domain.parse()?,
                root_sha256: root.try_into().map_err(|_| "root_sha256 is not 32 octets")?,
            },
            redeemed: self.redeemed.clone(),
        })
    }
}
