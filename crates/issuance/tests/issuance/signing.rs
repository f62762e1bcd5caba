//! Pens that are wrong

use std::sync::Arc;

use countersign_identity::Validity;
use countersign_issuance::{BoxFuture, Signer, SignerError, SigningAlgorithm};

use crate::premises::{DAY, Log, NOW, Pen, Premises, enroll, lineage, serial};
use crate::requests::{key_of, p256, proven};

/// A pen that lies about itself or writes nonsense.
struct Crooked {
    spki: Vec<u8>,
    algorithm: SigningAlgorithm,
    writes: Result<Vec<u8>, SignerError>,
}

impl Signer for Crooked {
    fn public_key(&self) -> &[u8] {
        &self.spki
    }

    fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    fn sign<'a>(&'a self, _: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignerError>> {
        let answer = self.writes.clone();
        Box::pin(async move { answer })
    }
}

#[tokio::test]
async fn what_a_crooked_pen_writes_is_no_certificate() {
    let premises = Premises::new().await;
    let unavailable = SignerError::Unavailable { why: "no card in the reader".to_owned() };
    let (p256_algorithm, p384) = (SigningAlgorithm::EcdsaP256Sha256, SigningAlgorithm::EcdsaP384Sha384);
    for (algorithm, writes, expected) in [
        (p256_algorithm, Ok(vec![0; 64]), SignerError::Malformed { found: 64, expected: p256_algorithm }),
        (p256_algorithm, Ok(vec![]), SignerError::Malformed { found: 0, expected: p256_algorithm }),
        (p256_algorithm, Err(unavailable.clone()), unavailable),
        (p384, Ok(vec![]), SignerError::WrongAlgorithm { found: p384, expected: p256_algorithm }),
    ] {
        let crooked = Crooked { spki: premises.issuer.spki().to_vec(), algorithm, writes };
        let prepared = premises
            .approve(proven(&p256(), vec![]))
            .unwrap()
            .prepare(serial(3), lineage(), &premises.house())
            .unwrap();
        let recorded = prepared.record(&premises.book, enroll()).await.unwrap();
        assert_eq!(recorded.sign(&crooked, &premises.book).await.unwrap_err(), expected);
    }
}

#[tokio::test]
async fn issuers_of_every_kind_of_key_sign() {
    for (algorithm, kind) in [
        (SigningAlgorithm::EcdsaP384Sha384, &rcgen::PKCS_ECDSA_P384_SHA384),
        (SigningAlgorithm::Ed25519, &rcgen::PKCS_ED25519),
    ] {
        let log = Log::default();
        let pen = Pen::new(key_of(kind), algorithm, Arc::clone(&log));
        let validity = Validity::new(NOW - DAY, NOW + DAY).unwrap();
        let premises = Premises::with_pens(Pen::p256(&log), pen, validity, log).await;
        assert_eq!(premises.issuer.algorithm(), algorithm);
        let issued = premises.issue(proven(&p256(), vec![])).await;
        let (_, certificate) = x509_parser::parse_x509_certificate(issued.der()).unwrap();
        assert_eq!(certificate.signature_algorithm, certificate.tbs_certificate.signature);
    }
}
