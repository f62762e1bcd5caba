//! Rotating the issuer: a root act, done in the operator's own process with the passphrase at hand.

use countersign_identity::Clock;

use super::{
    root_hand::{RootActError, RootHand, certificate_in, generations, unlock_secret},
    trust_signer,
};
use crate::{
    config::{Config, StateDir},
    signer::Entropy,
};

/// Leaves a new issuer and a new trust signer in the state directory; a running CA takes them up when told.
///
/// # Errors
/// When the passphrase is wrong, or a file cannot be read or written.
pub async fn rotate_issuer(
    config: &Config,
    passphrase: &[u8],
    entropy: &Entropy,
    clock: &dyn Clock,
) -> Result<(), RootActError> {
    let state = &config.state;
    let unlock = unlock_secret(state)?;
    let root = RootHand::open(&config.trust_domain, state, passphrase, entropy, clock)?;
    root.new_trust_signer(state, epoch_of(state)?, &unlock).await?;
    // The issuer last: only with it does the running CA see a change.
    root.new_issuer(state, &unlock).await?;
    Ok(())
}

/// The epoch of the newest trust signer: only a restore raises it.
///
/// # Errors
/// When a certificate cannot be read.
pub(super) fn epoch_of(state: &StateDir) -> Result<u64, RootActError> {
    let dir = state.trust_signers();
    let mut newest = 0;
    for (_, generation) in generations(&dir).map_err(RootActError::file(&dir))? {
        newest = newest.max(trust_signer::read(&certificate_in(&generation))?.epoch);
    }
    Ok(newest)
}
