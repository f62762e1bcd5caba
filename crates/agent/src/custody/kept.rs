//! The trust bundle between two starts. The disk is no authority: a bundle from it counts only for a machine that believes
//! a root it was fetched under, and for a day.

use std::time::Duration;

use countersign_api::Bundle;
use countersign_identity::{Timestamp, hex};
use serde::{Deserialize, Serialize};

/// For how long a bundle counts that is not heard again. A JWT-SVID lives for minutes, so after a day without the CA there is
/// no good one to judge, and a key that was replaced because somebody stole it is believed no longer than that.
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A bundle, and what it is judged by at the next start.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Kept {
    /// When the CA told it (RFC 3339).
    fetched: String,
    /// The SHA-256 of each root that the machine believed then.
    roots: Vec<String>,
    bundle: Bundle,
}

impl Kept {
    /// The CA told this bundle at `now` to a machine that believes `roots`.
    pub(super) fn new(bundle: &Bundle, roots: &[[u8; 32]], now: Timestamp) -> Self {
        let roots = roots.iter().map(|root| hex::encode(root)).collect();
        Self { fetched: now.to_string(), roots, bundle: bundle.clone() }
    }

    /// The bundle and when it was told, for a machine that believes `roots` at `now`; otherwise why it does not count.
    pub(super) fn judge(self, roots: &[[u8; 32]], now: Timestamp) -> Result<(Bundle, Timestamp), String> {
        if !roots.iter().any(|root| self.roots.contains(&hex::encode(root))) {
            return Err("it is of another CA: found none of the machine's roots in it".into());
        }
        let fetched = self.fetched.parse().map_err(|error| format!("its time is not understood: {error}"))?;
        if is_over(fetched, now) {
            return Err(format!("it was told at {fetched}, expected within a day of {now}"));
        }
        Ok((self.bundle, fetched))
    }
}

/// Whether what was told then counts no more. One from a day ahead is from under another clock, and would count for ever.
pub(super) fn is_over(fetched: Timestamp, now: Timestamp) -> bool {
    now.since(fetched) > DAY || fetched.since(now) > DAY
}

#[cfg(test)]
mod tests {
    use countersign_testkit::noon;

    use super::*;

    const OURS: [u8; 32] = [1; 32];
    const NEXT: [u8; 32] = [2; 32];
    const OTHERS: [u8; 32] = [3; 32];

    fn kept(roots: &[[u8; 32]]) -> Kept {
        let bundle = Bundle { keys: Vec::new(), spiffe_sequence: 7, spiffe_refresh_hint: 0 };
        let text = serde_json::to_vec(&Kept::new(&bundle, roots, noon())).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn a_bundle_from_the_disk_counts_for_a_machine_of_the_same_root_and_no_other() {
        // Invariant 9.
        assert_eq!(kept(&[OURS]).judge(&[OURS], noon()).unwrap().0.spiffe_sequence, 7);
        assert!(kept(&[OURS, NEXT]).judge(&[NEXT], noon()).is_ok(), "from root to root");
        for roots in [&[OTHERS][..], &[]] {
            assert!(kept(&[OURS]).judge(roots, noon()).unwrap_err().contains("another CA"));
        }
        assert!(kept(&[]).judge(&[OURS], noon()).is_err());
    }

    #[test]
    fn a_bundle_from_the_disk_counts_for_a_day() {
        let second = Duration::from_secs(1);
        for (at, counts) in [
            (noon() + DAY, true),
            (noon() + DAY + second, false),
            (noon() - DAY, true),
            (noon() - DAY - second, false),
        ] {
            assert_eq!(kept(&[OURS]).judge(&[OURS], at).is_ok(), counts, "{at}");
        }
        let broken = Kept { fetched: "noon".into(), ..kept(&[OURS]) };
        assert!(broken.judge(&[OURS], noon()).unwrap_err().contains("not understood"));
    }
}
