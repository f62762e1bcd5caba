//! The one corridor behind every door: from an approval to a certificate, the book before the pen (DESIGN §1).

use countersign_identity::Lineage;
use countersign_issuance::{Act, Approved, Issued};

use super::{
    Ca, KeySet, Refused,
    failpoint::{self, Arrow},
};

impl Ca {
    /// Prepares, records and signs what was approved. Whatever ends it early leaves nothing but, perhaps, an intent
    /// that was never signed.
    ///
    /// # Errors
    /// When the judge, the book or the pen says no.
    pub(super) async fn walk_corridor(
        &self,
        approved: Approved,
        lineage: Lineage,
        act: Act,
        keys: &KeySet,
    ) -> Result<Issued, Refused> {
        failpoint::pass(Arrow::AfterApprove);
        let prepared = approved.prepare(self.new_serial(), lineage, &self.house(keys))?;
        failpoint::pass(Arrow::AfterPrepare);
        let recorded = prepared.record(self.book(), act).await?;
        failpoint::pass(Arrow::AfterRecord);
        let issued = recorded.sign(keys.signer(), self.book()).await?;
        failpoint::pass(Arrow::AfterSign);
        Ok(issued)
    }
}
