//! Issuers: taking up a new one, and writing down which there are.

use countersign_store::{Actor, IssuerRecord, IssuerState};

use super::{Ca, KeySet, Refused};
use countersign_identity::{KeyHash, Serial};

impl Ca {
    /// Takes up the issuer that `issuer rotate` left in the state directory.
    ///
    /// # Errors
    /// When a file is missing or damaged; then the old issuer goes on signing.
    pub async fn adopt_issuer(&self, actor: Actor) -> Result<(), Refused> {
        let keys = KeySet::open(self.state(), self.trust_domain(), self.unlock(), self.now())
            .map_err(|e| Refused::Issuer(e.to_string()))?;
        if keys.root().der() != self.keys().root().der() {
            return Err(Refused::Issuer("the root certificate changed: restart needed".into()));
        }
        self.write_down_issuers(&keys, actor).await?;
        tracing::info!(ends = %keys.issuer().validity().not_after(), "a new issuer signs");
        self.adopt_keys(keys);
        Ok(())
    }

    /// The key that signed exactly these to-be-signed bytes under this serial, if this CA did and the issuer stands.
    #[must_use]
    pub fn issuer_of(&self, serial: Serial, tbs_sha256: &[u8; 32]) -> Option<KeyHash> {
        // A book that cannot be read knows nobody: the path then decides.
        let issuance = self.book().recorded(serial).ok()??;
        let same = issuance.signed && issuance.tbs_sha256 == *tbs_sha256;
        let keys = self.keys();
        let stands = keys.issuers().iter().find(|one| one.key_hash() == issuance.issuer);
        let now = self.now();
        stands.filter(|one| same && one.validity().contains(now) && keys.root().validity().contains(now))?;
        Some(issuance.issuer)
    }

    /// Writes every issuer in the state directory into the book that is not there yet, oldest first: one that was
    /// made while the CA was stopped, too.
    ///
    /// # Errors
    /// When the book takes no writes.
    pub async fn write_down_issuers(&self, keys: &KeySet, actor: Actor) -> Result<(), Refused> {
        let known = self.book().issuers()?;
        let now = self.now();
        for issuer in keys.issuers().iter().rev() {
            if known.iter().any(|record| record.key_hash == issuer.key_hash()) {
                continue;
            }
            let record = IssuerRecord {
                key_hash: issuer.key_hash(),
                der: issuer.der().to_vec(),
                not_after: issuer.validity().not_after(),
                state: IssuerState::Active,
                created: now,
            };
            self.book().record_issuer(record, actor.clone(), now).await?;
        }
        Ok(())
    }
}
