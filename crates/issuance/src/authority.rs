//! The CA's own certificates: root, issuers, trust signers
//!
//! They are made in root acts (`init`, `issuer rotate`), under the root's passphrase, and never on a request: the
//! corridor leads to none of them.

use countersign_identity::{Serial, Timestamp, TrustDomain, Validity};
use thiserror::Error;

use crate::der::oid;
use crate::issuer::IssuerCertificate;
use crate::key::{KeyError, PublicKey};
use crate::lint::{AuthorityExpectation, AuthorityShape, Expectation, Issuer, LintError, judge_authority};
use crate::signature;
use crate::signer::{Signer, SignerError, SigningAlgorithm};
use crate::tbs::{self, Attribute, Extension, Tbs};

/// The critical extended key usage of trust signers, and of nothing else, in dotted form.
pub const TRUST_SIGNING: &str = "2.25.250477940.1";

/// The extension that carries a trust signer's epoch, an INTEGER, in dotted form.
pub const TRUST_EPOCH: &str = "2.25.250477940.2";

/// Why the CA did not certify itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AuthorityError {
    /// A key that is not certified.
    #[error("the key cannot be certified: {0}")]
    Key(#[from] KeyError),
    /// The certificate would be valid when its issuer is not.
    #[error(
        "the certificate would end at {found}, after the root at {expected}; shorten it or make a new root"
    )]
    OutlivesRoot {
        /// Its end.
        found: Timestamp,
        /// The root's end.
        expected: Timestamp,
    },
    /// The same key for two roles.
    #[error("the key is the root's own, each certificate of the CA needs a key of its own")]
    RootKey,
    /// The bytes break a rule of the certificate profile.
    #[error(transparent)]
    Lint(#[from] LintError),
    /// The root's key did not sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

/// A self-signed root for the trust domain.
///
/// # Errors
/// When the signer's key is of a kind that does not sign here, or does not sign.
pub async fn self_signed_root(
    trust_domain: &TrustDomain,
    serial: Serial,
    validity: Validity,
    signer: &dyn Signer,
) -> Result<Vec<u8>, AuthorityError> {
    let key = PublicKey::read(signer.public_key())?;
    let subject = tbs::name(&subject(trust_domain, "Countersign root", serial));
    let key_id = key.id();
    let issuer = Issuer {
        name: &subject,
        key_id: &key_id,
        algorithm: SigningAlgorithm::of(key.kind),
        not_after: validity.not_after(),
    };
    let shape = AuthorityShape::Root;
    Draft { trust_domain, serial, validity, key, issuer, issuer_spki: key.spki, shape }.signed(signer).await
}

/// A certificate for an issuer of leaves, below the root.
///
/// # Errors
/// When it would outlive the root, the key is the root's own or of a kind that does not sign here, or the root does not
/// sign.
pub async fn issuer_certificate(
    trust_domain: &TrustDomain,
    serial: Serial,
    validity: Validity,
    spki: &[u8],
    root: &IssuerCertificate,
    root_signer: &dyn Signer,
) -> Result<Vec<u8>, AuthorityError> {
    let shape = AuthorityShape::Issuer;
    below_root(trust_domain, serial, validity, spki, root, shape)?.signed(root_signer).await
}

/// A certificate for the trust signer: it signs trust snapshots of this epoch and authenticates nobody.
///
/// # Errors
/// As for [`issuer_certificate`].
pub async fn trust_signer_certificate(
    trust_domain: &TrustDomain,
    epoch: u64,
    serial: Serial,
    validity: Validity,
    spki: &[u8],
    root: &IssuerCertificate,
    root_signer: &dyn Signer,
) -> Result<Vec<u8>, AuthorityError> {
    let shape = AuthorityShape::TrustSigner { epoch };
    below_root(trust_domain, serial, validity, spki, root, shape)?.signed(root_signer).await
}

/// A certificate of the CA's own before it is signed.
struct Draft<'a> {
    trust_domain: &'a TrustDomain,
    serial: Serial,
    validity: Validity,
    key: PublicKey<'a>,
    issuer: Issuer<'a>,
    issuer_spki: &'a [u8],
    shape: AuthorityShape,
}

fn below_root<'a>(
    trust_domain: &'a TrustDomain,
    serial: Serial,
    validity: Validity,
    spki: &'a [u8],
    root: &'a IssuerCertificate,
    shape: AuthorityShape,
) -> Result<Draft<'a>, AuthorityError> {
    let end = root.validity().not_after();
    if validity.not_after() > end {
        return Err(AuthorityError::OutlivesRoot { found: validity.not_after(), expected: end });
    }
    let key = PublicKey::read(spki)?;
    if key.hash() == root.key_hash() {
        return Err(AuthorityError::RootKey);
    }
    Ok(Draft { trust_domain, serial, validity, key, issuer: root.into(), issuer_spki: root.spki(), shape })
}

impl Draft<'_> {
    /// Writes, has judged, and signs.
    async fn signed(self, signer: &dyn Signer) -> Result<Vec<u8>, AuthorityError> {
        let role = match self.shape {
            AuthorityShape::Root => "Countersign root",
            AuthorityShape::Issuer => "Countersign issuer",
            AuthorityShape::TrustSigner { .. } => "Countersign trust signer",
        };
        let attributes = subject(self.trust_domain, role, self.serial);
        let name = tbs::name(&attributes);
        let key_id = self.key.id();
        let tbs = Tbs {
            serial: self.serial,
            algorithm: self.issuer.algorithm,
            issuer: self.issuer.name,
            validity: self.validity,
            subject: attributes,
            spki: self.key.spki,
            extensions: self.extensions(&key_id),
        };
        let bytes = tbs.to_der();
        let common = Expectation {
            serial: self.serial,
            spki: self.key.spki,
            validity: self.validity,
            issuer: self.issuer,
        };
        let expected = AuthorityExpectation {
            common,
            trust_domain: self.trust_domain,
            subject: &name,
            shape: self.shape,
        };
        judge_authority(&bytes, &expected)?;
        signature::check_signer(signer, self.issuer_spki, self.issuer.algorithm)?;
        let signature = signer.sign(&bytes).await.map_err(AuthorityError::Signer)?;
        signature::check_form(&signature, self.issuer.algorithm)?;
        Ok(tbs::certificate(&bytes, self.issuer.algorithm, &signature))
    }

    fn extensions(&self, key_id: &[u8]) -> Vec<Extension> {
        let id = self.trust_domain.id();
        let authority = |path_length| {
            vec![
                Extension::signs_certificates(),
                Extension::authority(path_length),
                Extension::subject_key_id(key_id),
                Extension::authority_key_id(self.issuer.key_id),
                Extension::names(&id, &[], &[]),
            ]
        };
        match self.shape {
            AuthorityShape::Root => authority(None),
            AuthorityShape::Issuer => authority(Some(0)),
            AuthorityShape::TrustSigner { epoch } => vec![
                Extension::signs_data(),
                Extension::extended_key_usage(true, &[oid::TRUST_SIGNING]),
                Extension::no_authority(),
                Extension::subject_key_id(key_id),
                Extension::authority_key_id(self.issuer.key_id),
                Extension::names(&format!("{id}/countersign/trust"), &[], &[]),
                Extension::trust_epoch(epoch),
            ],
        }
    }
}

/// The organization is the trust domain; the serial makes the name distinct, so that verifiers that search by name never
/// try one CA's key for another's (STANDARDS §1.10.8).
fn subject(trust_domain: &TrustDomain, role: &str, serial: Serial) -> Vec<Attribute> {
    let serial = serial.to_string();
    let short = serial.get(..8).unwrap_or(&serial);
    let mut attributes = Vec::with_capacity(2);
    // X.520 bounds an organization's name at 64 characters; UTF8String because `_` is not printable.
    if trust_domain.as_str().len() <= 64 {
        attributes.push(Attribute::utf8(oid::ORGANIZATION, trust_domain.as_str().to_owned()));
    }
    attributes.push(Attribute::utf8(oid::COMMON_NAME, format!("{role} {short}")));
    attributes
}
