//! The issuers of a snapshot: the only ones whose certificates count, and anchors that save a signature check.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_identity::{KeyHash, TrustDomain, Validity};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use serde::Deserialize;

use super::fault::{IssuerFault, SnapshotFault};
use crate::authority::{self, Rules};
use crate::certificate::Certificate;
use crate::profile::Place;
use crate::refusal::AuthorityRule;
use crate::trust::Roots;

/// More issuers than stand side by side in a rotation of all of them.
const LIMIT: usize = 64;

/// The issuers listed, each certified by a root of the same snapshot.
#[derive(Debug)]
pub(super) struct Issuers {
    known: Vec<Known>,
    anchors: Option<Roots>,
}

#[derive(Debug)]
struct Known {
    key: KeyHash,
    /// Its subjectKeyIdentifier, by which revocations name it.
    key_id: Vec<u8>,
    validity: Validity,
}

#[derive(Deserialize)]
struct Written {
    issuers: Vec<String>,
}

impl Issuers {
    /// Reads the part `issuers`, and judges each of them.
    pub(super) fn read(
        octets: &[u8],
        roots: &[Vec<u8>],
        domain: &TrustDomain,
        known: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<Self, SnapshotFault> {
        let malformed = |what| SnapshotFault::PartMalformed { part: "issuers", what };
        let written: Written =
            serde_json::from_slice(octets).map_err(|fault| malformed(fault.to_string()))?;
        if written.issuers.len() > LIMIT {
            return Err(malformed(format!("there are {}, at most {LIMIT} are read", written.issuers.len())));
        }
        let roots: Vec<_> = roots.iter().filter_map(|root| Certificate::read(root).ok()).collect();
        let mut all = Vec::with_capacity(written.issuers.len());
        let mut anchors = Vec::new();
        let mut plain = roots.iter().all(is_plain);
        for (at, issuer) in written.issuers.iter().enumerate() {
            let der = STANDARD.decode(issuer).map_err(|fault| malformed(fault.to_string()))?;
            let refused = |fault| SnapshotFault::Issuer { number: at.saturating_add(1), fault };
            let unreadable = |what| refused(IssuerFault::Authority(AuthorityRule::Malformed(what)));
            let certificate = Certificate::read(&der).map_err(unreadable)?;
            let issuer = Known::judge(&certificate, &roots, domain, known).map_err(refused)?;
            plain &= is_plain(&certificate);
            anchors.push((CertificateDer::from(der.clone()), issuer.validity));
            all.push(issuer);
        }
        // Constraints are obeyed along a whole path, so whoever uses them gets whole paths.
        let anchors = if plain { Some(anchors) } else { None };
        let anchors = anchors.map(Roots::anchored).transpose();
        let anchors = anchors.map_err(|rule| malformed(rule.to_string()))?;
        Ok(Self { known: all, anchors })
    }

    /// The issuers as anchors of paths, unless something about them or their roots needs whole paths.
    pub(super) const fn anchors(&self) -> Option<&Roots> {
        self.anchors.as_ref()
    }

    /// The key identifiers of the issuers with this key; none if it is not listed.
    pub(super) fn key_ids(&self, key: KeyHash) -> impl Iterator<Item = &[u8]> {
        self.known.iter().filter(move |known| known.key == key).map(|known| known.key_id.as_slice())
    }

    /// From when to when the issuer with this key and its root are valid together.
    pub(super) fn validity(&self, key: KeyHash) -> Option<Validity> {
        let same = self.known.iter().filter(|known| known.key == key);
        same.map(|known| known.validity).max_by_key(Validity::not_after)
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

impl Known {
    fn judge(
        certificate: &Certificate<'_>,
        roots: &[Certificate<'_>],
        domain: &TrustDomain,
        known: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<Self, IssuerFault> {
        authority::judge(certificate, Place::Between, Rules::Svid(domain)).map_err(IssuerFault::Authority)?;
        let root = roots.iter().find(|root| certificate.is_signed_by(root, known));
        let root = root.ok_or(IssuerFault::NotByRoot)?.validity;
        let own = certificate.validity;
        let first = own.not_before().max(root.not_before());
        let validity = Validity::new(first, own.not_after().min(root.not_after()));
        Ok(Self {
            key: certificate.key.hash(),
            key_id: certificate.extensions.subject_key.unwrap_or_default().to_vec(),
            validity: validity.map_err(|_| IssuerFault::NeverValid)?,
        })
    }
}

/// Whether nothing about an authority but its signature bears on the leaves below its issuers: no name constraints, no
/// policies, no purposes. A path length does not: between a listed issuer and a leaf stands nobody.
fn is_plain(certificate: &Certificate<'_>) -> bool {
    let extensions = &certificate.extensions;
    extensions.for_authorities.is_none() && extensions.purposes.is_none()
}
