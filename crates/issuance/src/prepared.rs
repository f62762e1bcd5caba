//! A certificate that is ready to be recorded

use std::net::IpAddr;
use std::sync::Arc;

use countersign_identity::{KeyHash, Lineage, Serial, SpiffeId, Timestamp, Validity};

use crate::approval::{Approved, ForWhom, House};
use crate::der::oid;
use crate::dns_name::DnsName;
use crate::ledger::{Act, Intent, Ledger, LedgerError, LedgerRefusal};
use crate::lint::{Expectation, LeafExpectation, LintError, judge_leaf};
use crate::recorded::Recorded;
use crate::tbs::{Attribute, Extension, Tbs};

/// The bytes to be signed, judged by `lint`. Nothing is durable yet, nothing signed.
#[derive(Debug)]
pub struct Prepared {
    serial: Serial,
    tbs: Arc<[u8]>,
    spiffe_id: SpiffeId,
    lineage: Lineage,
    key_hash: KeyHash,
    validity: Validity,
    profile: Arc<str>,
    issuer: IssuerKey,
    time: Timestamp,
    for_whom: ForWhom,
    dns: Vec<DnsName>,
    ip: Vec<IpAddr>,
}

/// Whose signature the bytes name.
#[derive(Debug, Clone)]
pub(crate) struct IssuerKey {
    pub(crate) spki: Arc<[u8]>,
    pub(crate) hash: KeyHash,
    pub(crate) algorithm: crate::signer::SigningAlgorithm,
}

impl Approved {
    /// Writes the bytes to be signed and has them judged.
    ///
    /// # Errors
    /// When they break a rule of the certificate profile: a fault of ours, or an issuer that was changed on the way.
    pub fn prepare(self, serial: Serial, lineage: Lineage, house: &House<'_>) -> Result<Prepared, LintError> {
        let issuer = house.issuer;
        let tbs = self.tbs(serial, lineage, house).to_der();
        let expected = LeafExpectation {
            common: Expectation {
                serial,
                spki: self.key.spki(),
                validity: self.validity,
                issuer: issuer.into(),
            },
            id: &self.id,
            own: self.for_whom == ForWhom::House,
            lineage,
            dns: &self.dns,
            ip: &self.ip,
            time: self.time,
            lifetime: self.lifetime,
        };
        judge_leaf(&tbs, &expected)?;
        Ok(Prepared {
            serial,
            tbs: tbs.into(),
            spiffe_id: self.id,
            lineage,
            key_hash: self.key.key_hash(),
            validity: self.validity,
            profile: self.profile,
            issuer: IssuerKey {
                spki: issuer.spki().into(),
                hash: issuer.key_hash(),
                algorithm: issuer.algorithm(),
            },
            time: self.time,
            for_whom: self.for_whom,
            dns: self.dns,
            ip: self.ip,
        })
    }

    fn tbs<'a>(&'a self, serial: Serial, lineage: Lineage, house: &House<'a>) -> Tbs<'a> {
        Tbs {
            serial,
            algorithm: house.issuer.algorithm(),
            issuer: house.issuer.subject(),
            validity: self.validity,
            subject: vec![Attribute::printable(oid::SERIAL_NUMBER, lineage.to_string())],
            spki: self.key.spki(),
            extensions: vec![
                Extension::signs_data(),
                Extension::extended_key_usage(false, &[oid::SERVER_AUTH, oid::CLIENT_AUTH]),
                Extension::no_authority(),
                // RFC 5280 §4.2.1.2: a leaf SHOULD have one, and linters ask for it.
                Extension::subject_key_id(self.key.key_id()),
                Extension::authority_key_id(house.issuer.subject_key_id()),
                Extension::names(self.id.as_str(), &self.dns, &self.ip),
            ],
        }
    }
}

impl Prepared {
    /// Makes the intent durable, and with it whatever `act` does.
    ///
    /// # Errors
    /// When the book refuses the act or cannot write. Nothing has been signed then.
    pub async fn record<L: Ledger + ?Sized>(self, ledger: &L, act: Act) -> Result<Recorded, LedgerError> {
        // Invariant 11: no act of a machine yields the CA's own certificate, and a machine gets none without an act
        // that the book judges.
        if (self.for_whom == ForWhom::House) != matches!(act, Act::Own) {
            return Err(LedgerRefusal::ActMismatch.into());
        }
        let intent = Intent {
            serial: self.serial,
            tbs: self.tbs,
            spiffe_id: self.spiffe_id,
            lineage: self.lineage,
            key_hash: self.key_hash,
            validity: self.validity,
            profile: self.profile,
            issuer: self.issuer.hash,
            time: self.time,
            dns: self.dns.into(),
            ip: self.ip.into(),
            act,
        };
        ledger.record(intent.clone()).await?;
        Ok(Recorded::new(intent, self.issuer))
    }

    /// The certificate's serial number.
    #[must_use]
    pub const fn serial(&self) -> Serial {
        self.serial
    }

    /// The bytes that will be signed (TBSCertificate, DER).
    #[must_use]
    pub fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    /// The identity it will speak for.
    #[must_use]
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// When it will be valid.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }
}
