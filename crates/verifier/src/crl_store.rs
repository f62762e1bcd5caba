//! The revocation lists a verifier holds: verified once, the newest of each issuer and scope, asked from memory.

use std::collections::HashMap;

use countersign_identity::{KeyHash, Timestamp};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::certificate::Certificate;
use crate::crl::{Crl, CrlFault, PaddedSerial, padded};
use crate::peer::PeerFacts;
use crate::revocation::{Inquiry, Revocation, Standing};
use crate::scope::{Reasons, Scope};

/// Revocation by CRLs (RFC 5280 §5, §6.3).
///
/// A list is believed about the certificates signed by the very key that signed the list, and about no others: so an
/// issuer of the same name elsewhere can neither revoke nor absolve. It is read and its signature verified once; what
/// stays in memory are 20 octets a serial number.
///
/// ```no_run
/// # fn example(issuers: &[rustls::pki_types::CertificateDer<'_>]) -> Result<(), Box<dyn std::error::Error>> {
/// use countersign_verifier::{Clock, CrlStore, SystemClock, crls_from_pem, provider};
/// let lists = crls_from_pem(&std::fs::read("issuers.crl.pem")?)?;
/// let (store, left_out) = CrlStore::load(&lists, issuers, &provider(), SystemClock.now());
/// for one in &left_out {
///     eprintln!("revocation list {one}");
/// }
/// // `store.required()` refuses certificates that no current list speaks for.
/// # let _ = store; Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct CrlStore {
    by_key: HashMap<KeyHash, Vec<Held>>,
    required: bool,
}

/// A list that was left out, and why.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{number} was left out: {fault}")]
pub struct LeftOut {
    /// Which of those given, counted from 1.
    pub number: usize,
    /// What is wrong with it.
    pub fault: CrlFault,
}

#[derive(Clone, Debug)]
struct Held {
    /// Which of those given, counted from 1.
    given: usize,
    scope: Scope,
    number: Box<[u8]>,
    this_update: Timestamp,
    next_update: Timestamp,
    serials: Box<[PaddedSerial]>,
}

impl CrlStore {
    /// Reads lists and verifies them by the keys of `issuers`: roots and the signing certificates below them. Whether
    /// an issuer is itself to be believed does not matter here; paths are judged elsewhere.
    ///
    /// A list that cannot be used is left out and said, and harms no other. One that is past its next update is held:
    /// what it lists stays revoked, but it vouches for nothing any more.
    #[must_use]
    pub fn load(
        lists: &[CertificateRevocationListDer<'_>],
        issuers: &[CertificateDer<'_>],
        provider: &CryptoProvider,
        now: Timestamp,
    ) -> (Self, Vec<LeftOut>) {
        let issuers: Vec<_> = issuers.iter().filter_map(|der| Certificate::read(der).ok()).collect();
        let mut store = Self::default();
        let mut left_out = Vec::new();
        for (at, list) in lists.iter().enumerate() {
            let number = at.saturating_add(1);
            match Held::read(number, list, &issuers, provider, now) {
                Ok((key, held)) => left_out.extend(store.keep(key, held)),
                Err(fault) => left_out.push(LeftOut { number, fault }),
            }
        }
        left_out.sort_by_key(|one| one.number);
        (store, left_out)
    }

    /// Also refuses a certificate that no current list speaks for, instead of letting it pass.
    #[must_use]
    pub fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// How many serial numbers are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held().map(|held| held.serials.len()).sum()
    }

    /// Whether no serial number is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How much memory the serial numbers take: 20 octets each.
    #[must_use]
    pub fn heap_octets(&self) -> usize {
        self.held().map(|held| size_of_val(&*held.serials)).sum()
    }

    /// When the first of the lists held needs its successor.
    #[must_use]
    pub fn next_update(&self) -> Option<Timestamp> {
        self.held().map(|held| held.next_update).min()
    }

    fn held(&self) -> impl Iterator<Item = &Held> {
        self.by_key.values().flatten()
    }

    /// Holds the newer of two lists of one issuer and scope, and says which goes.
    fn keep(&mut self, key: KeyHash, new: Held) -> Option<LeftOut> {
        let of_key = self.by_key.entry(key).or_default();
        let older = match of_key.iter_mut().find(|held| held.scope == new.scope) {
            None => {
                of_key.push(new);
                return None;
            }
            Some(held) if new.is_newer_than(held) => std::mem::replace(held, new),
            Some(_) => new,
        };
        Some(LeftOut { number: older.given, fault: CrlFault::Superseded })
    }

    fn standing_of(&self, certificate: &Certificate<'_>, issuer_key: KeyHash, now: Timestamp) -> Standing {
        let mut spoken_for = Reasons::default();
        let serial = padded(certificate.serial);
        for held in self.by_key.get(&issuer_key).into_iter().flatten() {
            let covered = held.scope.covers(certificate);
            if !covered.any() {
                continue;
            }
            if serial.is_some_and(|serial| held.lists(&serial)) {
                return Standing::Revoked;
            }
            if now <= held.next_update {
                spoken_for = spoken_for.and(covered);
            }
        }
        if self.required && !spoken_for.all() { Standing::Unknown } else { Standing::Good }
    }
}

impl Revocation for CrlStore {
    /// For who asks again about a connection; a handshake has asked about the [`standing`](Revocation::standing).
    fn is_revoked(&self, facts: &PeerFacts) -> bool {
        let Some(serial) = padded(facts.serial_octets()) else { return false };
        let mut of_key = self.by_key.get(&facts.issuer_key()).into_iter().flatten();
        of_key.any(|held| held.lists(&serial) && held.speaks_for(facts.leaf_der()))
    }

    fn standing(&self, inquiry: &Inquiry<'_>) -> Standing {
        self.standing_of(inquiry.certificate, inquiry.issuer_key, inquiry.now)
    }
}

impl Held {
    fn read(
        given: usize,
        list: &[u8],
        issuers: &[Certificate<'_>],
        provider: &CryptoProvider,
        now: Timestamp,
    ) -> Result<(KeyHash, Self), CrlFault> {
        let crl = Crl::read(list)?;
        let known = provider.signature_verification_algorithms.all;
        let mut verdict = Err(CrlFault::UnknownIssuer);
        for issuer in issuers.iter().filter(|issuer| issuer.subject == crl.issuer) {
            match crl.is_signed_by(issuer, known) {
                Ok(()) => {
                    verdict = Ok(issuer.key.hash());
                    break;
                }
                // That its signer may not sign says more than that others did not.
                Err(CrlFault::Signature) if verdict == Err(CrlFault::MayNotSign) => {}
                Err(fault) => verdict = Err(fault),
            }
        }
        let key = verdict?;
        if now < crl.this_update {
            return Err(CrlFault::NotYetValid { this_update: crl.this_update });
        }
        let held = Self {
            given,
            number: crl.number.into(),
            this_update: crl.this_update,
            next_update: crl.next_update,
            serials: crl.serials()?,
            scope: crl.scope,
        };
        Ok((key, held))
    }

    fn lists(&self, serial: &PaddedSerial) -> bool {
        self.serials.binary_search(serial).is_ok()
    }

    /// Whether the certificate is in its scope; one that cannot be read any more is.
    fn speaks_for(&self, der: &[u8]) -> bool {
        Certificate::read(der).map_or(true, |certificate| self.scope.covers(&certificate).any())
    }

    /// RFC 5280 §5.2.3: the higher number supersedes.
    fn is_newer_than(&self, other: &Self) -> bool {
        let order = |held: &Self| (held.number.len(), held.number.clone(), held.this_update);
        order(self) > order(other)
    }
}
