//! Rotating the issuer: a root act, done in the operator's own process with the passphrase at hand.

use countersign_identity::Clock;

use super::root_hand::{RootActError, RootHand, unlock_secret};
use crate::{config::Config, signer::Entropy};

/// The trust signer's epoch, which only a restore raises.
const EPOCH: u64 = 1;

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
    root.new_trust_signer(state, EPOCH, &unlock).await?;
    // The issuer last: only with it does the running CA see a change.
    root.new_issuer(state, &unlock).await?;
    Ok(())
}
