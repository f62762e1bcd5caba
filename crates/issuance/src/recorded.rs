//! A certificate whose intent is durable

use crate::issued::Issued;
use crate::ledger::{Intent, Ledger};
use crate::prepared::IssuerKey;
use crate::signature;
use crate::signer::{Signer, SignerError};
use crate::tbs;

/// What the book has: from here on the certificate counts as live, whether or not it is ever signed.
#[derive(Debug)]
pub struct Recorded {
    intent: Intent,
    issuer: IssuerKey,
}

impl Recorded {
    /// Only [`Prepared::record`](crate::Prepared::record) calls it, after the book has said yes.
    pub(crate) const fn new(intent: Intent, issuer: IssuerKey) -> Self {
        Recorded { intent, issuer }
    }

    /// What was recorded.
    #[must_use]
    pub const fn intent(&self) -> &Intent {
        &self.intent
    }

    /// Signs exactly the recorded bytes, once, and hands the certificate to the book to keep.
    ///
    /// # Errors
    /// When the signer is not the issuer's, cannot sign, or returns something that is no signature.
    pub async fn sign<S, L>(self, signer: &S, ledger: &L) -> Result<Issued, SignerError>
    where
        S: Signer + ?Sized,
        L: Ledger + ?Sized,
    {
        let Recorded { intent, issuer } = self;
        signature::check_signer(signer, &issuer.spki, issuer.algorithm)?;
        let signature = signer.sign(intent.tbs()).await?;
        signature::check_form(&signature, issuer.algorithm)?;
        let issued =
            Issued::new(&intent, tbs::certificate(intent.tbs(), issuer.algorithm, &signature).into());
        ledger.keep(issued.serial(), issued.shared_der());
        Ok(issued)
    }
}
