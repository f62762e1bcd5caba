//! Roots documents: the one way by which the roots of a trust domain change (DESIGN §4).
//!
//! A document lists the roots of one version and is signed by a root of the version before and by each new root, as in
//! TUF. So a stolen issuer, and a stolen trust signer, can add none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_identity::{TrustBundle, TrustDomain, hex};
use rustls::pki_types::SignatureVerificationAlgorithm;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::fault::RootsFault;
use crate::authority::{self, Rules};
use crate::certificate::Certificate;
use crate::jws::{General, OneOfSeveral};
use crate::profile::Place;

/// `typ` of every roots document.
const KIND: &str = "countersign-roots+jws";

/// More versions than a trust domain has in its life, more roots than it has at once, more signatures than both need.
const DOCUMENT_LIMIT: usize = 256;
const ROOT_LIMIT: usize = 16;
const SIGNATURE_LIMIT: usize = 2 * ROOT_LIMIT;

/// The roots held for a trust domain, and how they came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownRoots {
    roots: Vec<Vec<u8>>,
    walked: Option<Walked>,
}

/// The last document walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Walked {
    version: u64,
    /// SHA-256 of its payload.
    payload: [u8; 32],
}

/// A document as read, and not yet believed.
struct Document<'a> {
    version: u64,
    roots: Vec<Vec<u8>>,
    previous: Option<String>,
    payload: [u8; 32],
    signed: &'a General,
}

#[derive(Deserialize)]
struct Payload {
    trust_domain: String,
    version: u64,
    roots: Vec<String>,
    #[serde(default)]
    previous: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

/// Those who verify signatures, and for whom.
#[derive(Clone, Copy)]
pub(super) struct Walker<'a> {
    pub(super) trust_domain: &'a TrustDomain,
    pub(super) known: &'a [&'a dyn SignatureVerificationAlgorithm],
}

impl KnownRoots {
    /// The roots of a bundle, before any document was seen.
    pub(crate) fn anchored(bundle: &TrustBundle) -> Self {
        Self { roots: bundle.roots().to_vec(), walked: None }
    }

    /// The roots that these documents lead to from one root, known by its SHA-256: one of them shows it.
    pub(super) fn pinned(
        root_sha256: [u8; 32],
        documents: &[General],
        walker: Walker<'_>,
    ) -> Result<Self, RootsFault> {
        let read = read(documents, walker.trust_domain)?;
        let mut roots = read.into_iter().flat_map(|document| document.roots);
        let root = roots.find(|root| <[u8; 32]>::from(Sha256::digest(root)) == root_sha256);
        let pinned = Self { roots: vec![root.ok_or(RootsFault::Unanchored)?], walked: None };
        pinned.walk(documents, walker)
    }

    pub(crate) fn ders(&self) -> &[Vec<u8>] {
        &self.roots
    }

    /// The version of the last document walked; none before the first.
    pub(crate) fn version(&self) -> Option<u64> {
        self.walked.map(|walked| walked.version)
    }

    /// The roots that these documents, oldest first, lead to.
    pub(super) fn walk(&self, documents: &[General], walker: Walker<'_>) -> Result<Self, RootsFault> {
        let documents = read(documents, walker.trust_domain)?;
        let mut at = self.clone();
        for document in &documents {
            at = at.step(document, walker)?;
        }
        match (self.walked, documents.last(), at.walked) {
            (Some(held), Some(last), _) if last.version < held.version => {
                Err(RootsFault::Older { found: last.version, held: held.version })
            }
            (_, Some(_), Some(_)) => Ok(at),
            _ => Err(RootsFault::Unanchored),
        }
    }

    fn step(self, document: &Document<'_>, walker: Walker<'_>) -> Result<Self, RootsFault> {
        let version = document.version;
        match self.walked {
            // The past needs no second look: what counts is what it led to.
            Some(held) if version < held.version => Ok(self),
            Some(held) if version == held.version && document.payload == held.payload => Ok(self),
            Some(held) if version == held.version => Err(RootsFault::Forked { version }),
            Some(held) if version > held.version.saturating_add(1) => {
                Err(RootsFault::Gap { found: version, before: held.version })
            }
            Some(held) => {
                if document.previous.as_ref() != Some(&hex::encode(&held.payload)) {
                    return Err(RootsFault::Previous { version });
                }
                self.accept(document, walker)
            }
            // A bundle says nothing of versions: the first document that one of its roots signed is the next.
            None => match self.clone().accept(document, walker) {
                Err(RootsFault::NotByRoot { .. }) => Ok(self),
                verdict => verdict,
            },
        }
    }

    fn accept(self, document: &Document<'_>, walker: Walker<'_>) -> Result<Self, RootsFault> {
        let version = document.version;
        let signed_by = |root: &Vec<u8>| document.is_signed_by(root, walker);
        if !self.roots.iter().any(signed_by) {
            return Err(RootsFault::NotByRoot { version });
        }
        let mut new = document.roots.iter().filter(|root| !self.roots.contains(root));
        if !new.all(signed_by) {
            return Err(RootsFault::NotByNewRoot { version });
        }
        for root in &document.roots {
            let not_a_root = |rule| RootsFault::NotARoot { version, rule };
            let malformed = |what| not_a_root(crate::AuthorityRule::Malformed(what));
            let certificate = Certificate::read(root).map_err(malformed)?;
            authority::judge(&certificate, Place::Root, Rules::Svid(walker.trust_domain))
                .map_err(not_a_root)?;
        }
        let walked = Some(Walked { version, payload: document.payload });
        Ok(Self { roots: document.roots.clone(), walked })
    }
}

fn read<'a>(documents: &'a [General], domain: &TrustDomain) -> Result<Vec<Document<'a>>, RootsFault> {
    if documents.len() > DOCUMENT_LIMIT {
        let what = format!("there are {} of them, at most {DOCUMENT_LIMIT} are read", documents.len());
        return Err(RootsFault::Malformed { number: DOCUMENT_LIMIT, what });
    }
    let mut read: Vec<Document<'_>> = Vec::with_capacity(documents.len());
    for (at, document) in documents.iter().enumerate() {
        let document = Document::read(document, at.saturating_add(1), domain)?;
        if let Some(before) = read.last().map(|before| before.version)
            && before.checked_add(1) != Some(document.version)
        {
            return Err(RootsFault::Gap { found: document.version, before });
        }
        read.push(document);
    }
    Ok(read)
}

impl<'a> Document<'a> {
    fn read(signed: &'a General, number: usize, domain: &TrustDomain) -> Result<Self, RootsFault> {
        let malformed = |what| RootsFault::Malformed { number, what };
        let octets = signed.payload().map_err(malformed)?;
        let payload: Payload =
            serde_json::from_slice(&octets).map_err(|fault| malformed(fault.to_string()))?;
        if payload.trust_domain != domain.as_str() {
            return Err(RootsFault::ForeignDomain { number, found: payload.trust_domain });
        }
        let version = payload.version;
        if payload.roots.is_empty() {
            return Err(RootsFault::Empty { version });
        }
        if payload.roots.len() > ROOT_LIMIT || signed.signatures.len() > SIGNATURE_LIMIT {
            return Err(malformed(format!("it has more than {ROOT_LIMIT} roots or their signatures")));
        }
        let roots = payload.roots.iter().map(|root| STANDARD.decode(root)).collect::<Result<_, _>>();
        Ok(Self {
            version,
            roots: roots.map_err(|fault| malformed(format!("a root is no base64: {fault}")))?,
            previous: payload.previous,
            payload: Sha256::digest(&octets).into(),
            signed,
        })
    }

    fn is_signed_by(&self, root: &[u8], walker: Walker<'_>) -> bool {
        let kid = hex::encode(&Sha256::digest(root));
        let Ok(certificate) = Certificate::read(root) else { return false };
        let genuine = |one: &&OneOfSeveral| one.is_by(&certificate.key, &self.signed.payload, walker.known);
        let named = self.signed.signatures.iter().filter(|one| is_named(one, &kid));
        named.take(1).any(|one| genuine(&one))
    }
}

fn is_named(signature: &OneOfSeveral, kid: &str) -> bool {
    let header: Option<Header> =
        signature.header().ok().and_then(|header| serde_json::from_slice(&header).ok());
    header.is_some_and(|header| header.alg == "ES256" && header.typ == KIND && header.kid == kid)
}
