//! The shape of a certificate, as an operator writes it

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use countersign_identity::{Timestamp, Validity, duration};
use thiserror::Error;

use crate::approval::BACKDATE;
use crate::key::KeyKind;

/// Below a minute the backdating alone would outweigh the life; above a week revocation lists stop being short.
pub const LIFETIMES: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(7 * 86_400);

/// How long an expired certificate may still speak for its machine, at most.
pub const MAX_RECOVERY: Duration = Duration::from_secs(30 * 86_400);

/// Every key a profile may have; the first is the only one without a default.
const KEYS: [&str; 6] = ["lifetime", "renew", "key_kinds", "on_clone", "recovery", "approve_recovery"];

/// The shape of a certificate: lifetime, renewal window, key kinds, recovery, and what a second holder leads to.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    name: String,
    lifetime: Duration,
    renew: RenewWindow,
    key_kinds: Vec<KeyKind>,
    on_clone: OnClone,
    recovery: Duration,
    approve_recovery: bool,
}

/// The part of a certificate's life in which its holder renews it, as fractions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RenewWindow {
    /// Where it begins, above 0.
    pub from: f64,
    /// Where it ends, below 1.
    pub to: f64,
}

impl Default for RenewWindow {
    /// A third leaves time for the fleet to spread out; by half, a CA that is down for as long as it was up before
    /// still finds every certificate alive.
    fn default() -> Self {
        RenewWindow { from: 0.33, to: 0.5 }
    }
}

/// What happens when two holders of one lineage are seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OnClone {
    /// Refuse and tell.
    Report,
    /// Refuse, tell, and let the machine renew only after an operator approves it.
    Hold,
    /// Refuse, tell, and suspend the machine. The default: one of the two holders is not supposed to exist.
    #[default]
    Suspend,
}

impl OnClone {
    /// The word used in profiles.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            OnClone::Report => "report",
            OnClone::Hold => "hold",
            OnClone::Suspend => "suspend",
        }
    }
}

impl fmt::Display for OnClone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OnClone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [OnClone::Report, OnClone::Hold, OnClone::Suspend]
            .into_iter()
            .find(|choice| choice.as_str() == text)
            .ok_or_else(|| format!("{text:?} is none of report, hold and suspend"))
    }
}

/// Why a profile is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProfileError {
    /// Not TOML.
    #[error("profile {profile:?} is not TOML: {message}")]
    Syntax {
        /// The profile.
        profile: String,
        /// What the parser says, with line and column.
        message: String,
    },
    /// A key no profile has.
    #[error("profile {profile:?} has the unknown key {key:?}, did you mean {nearest:?}?")]
    UnknownKey {
        /// The profile.
        profile: String,
        /// The key.
        key: String,
        /// The known key that looks most like it.
        nearest: &'static str,
    },
    /// A key without a default is missing.
    #[error("profile {profile:?} has no {key:?}, expected {expected}")]
    Missing {
        /// The profile.
        profile: String,
        /// The key.
        key: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
    /// A value that is not allowed.
    #[error("profile {profile:?} has {key} = {found}, expected {expected}")]
    Value {
        /// The profile.
        profile: String,
        /// The key.
        key: &'static str,
        /// What stands there.
        found: String,
        /// What belongs there.
        expected: &'static str,
    },
}

impl Profile {
    /// Reads the profile `name` from its TOML file's text.
    ///
    /// ```
    /// use countersign_issuance::Profile;
    ///
    /// let profile = Profile::parse("workload", r#"lifetime = "1h""#)?;
    /// assert_eq!(profile.lifetime().as_secs(), 3600);
    ///
    /// let mistyped = Profile::parse("workload", r#"livetime = "1h""#).unwrap_err();
    /// assert!(mistyped.to_string().ends_with(r#"unknown key "livetime", did you mean "lifetime"?"#));
    /// # Ok::<(), countersign_issuance::ProfileError>(())
    /// ```
    ///
    /// # Errors
    /// When the text is no TOML, a key is unknown, or a value outside its limits.
    pub fn parse(name: &str, text: &str) -> Result<Self, ProfileError> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| ProfileError::Syntax {
            profile: name.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let written = Written { profile: name, table };
        written.check_keys()?;
        Ok(Profile {
            name: name.to_owned(),
            lifetime: written.lifetime()?,
            renew: written.renew()?,
            key_kinds: written.key_kinds()?,
            on_clone: written.on_clone()?,
            recovery: written.recovery()?,
            approve_recovery: written.approve_recovery()?,
        })
    }

    /// Its name: that of its file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long a certificate lives from its issuance on.
    #[must_use]
    pub const fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// When in its life a certificate is renewed.
    #[must_use]
    pub const fn renew(&self) -> RenewWindow {
        self.renew
    }

    /// The kinds of key it takes.
    #[must_use]
    pub fn key_kinds(&self) -> &[KeyKind] {
        &self.key_kinds
    }

    /// What a second holder of a lineage leads to.
    #[must_use]
    pub const fn on_clone(&self) -> OnClone {
        self.on_clone
    }

    /// How long after its expiry a certificate may still be exchanged for a new one.
    #[must_use]
    pub const fn recovery(&self) -> Duration {
        self.recovery
    }

    /// Whether an operator has to approve each recovery.
    #[must_use]
    pub const fn approve_recovery(&self) -> bool {
        self.approve_recovery
    }

    /// The moments between which the holder of a certificate should renew it. The backdated part of its validity was
    /// over before it was issued and does not count: a short life would otherwise be due at once.
    #[must_use]
    pub fn renewal_window(&self, validity: &Validity) -> (Timestamp, Timestamp) {
        let issued = (validity.not_before() + BACKDATE).min(validity.not_after());
        // The last second counts (RFC 5280 §4.1.2.5).
        let life = validity.not_after().since(issued) + Duration::from_secs(1);
        let at = |fraction: f64| issued + life.mul_f64(fraction);
        (at(self.renew.from), at(self.renew.to))
    }
}

/// A profile as it stands in its file.
struct Written<'a> {
    profile: &'a str,
    table: toml::Table,
}

impl Written<'_> {
    fn check_keys(&self) -> Result<(), ProfileError> {
        let Some(unknown) = self.table.keys().find(|key| !KEYS.contains(&key.as_str())) else {
            return Ok(());
        };
        let likeness = |known: &&str| strsim::jaro_winkler(known, unknown);
        let nearest = KEYS.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        Err(ProfileError::UnknownKey {
            profile: self.profile.to_owned(),
            key: unknown.clone(),
            nearest: nearest.unwrap_or_default(),
        })
    }

    fn refuse(&self, key: &'static str, found: &toml::Value, expected: &'static str) -> ProfileError {
        ProfileError::Value { profile: self.profile.to_owned(), key, found: found.to_string(), expected }
    }

    fn lifetime(&self) -> Result<Duration, ProfileError> {
        const KEY: &str = "lifetime";
        const EXPECTED: &str = "a duration from \"1m\" to \"7d\", such as \"1h\"";
        let Some(value) = self.table.get(KEY) else {
            return Err(ProfileError::Missing {
                profile: self.profile.to_owned(),
                key: KEY,
                expected: EXPECTED,
            });
        };
        duration_in(value, &LIFETIMES).ok_or_else(|| self.refuse(KEY, value, EXPECTED))
    }

    fn renew(&self) -> Result<RenewWindow, ProfileError> {
        let Some(value) = self.table.get("renew") else {
            return Ok(RenewWindow::default());
        };
        let fractions: Option<Vec<f64>> =
            value.as_array().and_then(|fractions| fractions.iter().map(toml::Value::as_float).collect());
        match fractions.as_deref() {
            Some(&[from, to]) if 0.0 < from && from <= to && to < 1.0 => Ok(RenewWindow { from, to }),
            _ => Err(self.refuse(
                "renew",
                value,
                "two fractions of the life, 0 < from <= to < 1, such as [0.33, 0.5]",
            )),
        }
    }

    fn key_kinds(&self) -> Result<Vec<KeyKind>, ProfileError> {
        let Some(value) = self.table.get("key_kinds") else {
            // What every SPIFFE library reads.
            return Ok(vec![KeyKind::P256]);
        };
        let kinds: Option<Vec<KeyKind>> = value.as_array().and_then(|kinds| {
            kinds.iter().map(|kind| kind.as_str().and_then(|text| text.parse().ok())).collect()
        });
        match kinds {
            Some(kinds) if !kinds.is_empty() => Ok(kinds),
            _ => Err(self.refuse("key_kinds", value, "one or more of \"p256\", \"p384\" and \"ed25519\"")),
        }
    }

    fn on_clone(&self) -> Result<OnClone, ProfileError> {
        let Some(value) = self.table.get("on_clone") else {
            return Ok(OnClone::default());
        };
        let choice = value.as_str().and_then(|text| text.parse().ok());
        choice.ok_or_else(|| self.refuse("on_clone", value, "\"report\", \"hold\" or \"suspend\""))
    }

    fn recovery(&self) -> Result<Duration, ProfileError> {
        let Some(value) = self.table.get("recovery") else {
            // A machine switched off on Friday evening is back on Monday without anybody's help.
            return Ok(Duration::from_secs(72 * 3_600));
        };
        duration_in(value, &(Duration::ZERO..=MAX_RECOVERY))
            .ok_or_else(|| self.refuse("recovery", value, "a duration up to \"30d\", such as \"72h\""))
    }

    fn approve_recovery(&self) -> Result<bool, ProfileError> {
        // Off: a recovering machine proves its key as it did at every renewal before.
        let Some(value) = self.table.get("approve_recovery") else {
            return Ok(false);
        };
        value.as_bool().ok_or_else(|| self.refuse("approve_recovery", value, "true or false"))
    }
}

fn duration_in(value: &toml::Value, limits: &RangeInclusive<Duration>) -> Option<Duration> {
    let parsed = duration::parse(value.as_str()?).ok()?;
    limits.contains(&parsed).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Profile::parse("workload", text).expect_err(text).to_string()
    }

    #[test]
    fn a_lifetime_alone_makes_a_profile_with_the_documented_defaults() {
        let profile = Profile::parse("workload", "lifetime = \"1h\"").unwrap();
        assert_eq!(profile.name(), "workload");
        assert_eq!(profile.renew(), RenewWindow { from: 0.33, to: 0.5 });
        assert_eq!(profile.key_kinds(), [KeyKind::P256]);
        assert_eq!(profile.on_clone(), OnClone::Suspend);
        assert_eq!(profile.recovery(), Duration::from_secs(72 * 3600));
        assert!(!profile.approve_recovery());
    }

    #[test]
    fn lifetimes_outside_a_minute_to_a_week_are_refused() {
        for lifetime in ["1m", "7d"] {
            assert!(Profile::parse("p", &format!("lifetime = \"{lifetime}\"")).is_ok());
        }
        for lifetime in ["59s", "7d 1s", "0s", "1y", ""] {
            assert!(refused(&format!("lifetime = \"{lifetime}\"")).contains("from \"1m\" to \"7d\""));
        }
        assert!(refused("lifetime = 3600").contains("lifetime = 3600"));
        assert!(refused("").contains("no \"lifetime\""));
    }

    #[test]
    fn renewal_windows_lie_inside_the_life() {
        for window in
            ["[0.0, 0.5]", "[0.5, 0.4]", "[0.5, 1.0]", "[0.5]", "[nan, 0.5]", "[0.1, 0.2, 0.3]", "\"x\""]
        {
            assert!(refused(&format!("lifetime = \"1h\"\nrenew = {window}")).contains("0 < from <= to < 1"));
        }
    }

    #[test]
    fn every_other_value_outside_its_limits_is_refused() {
        for (line, expected) in [
            ("key_kinds = []", "one or more"),
            ("key_kinds = [\"rsa\"]", "one or more"),
            ("on_clone = \"ignore\"", "\"report\", \"hold\" or \"suspend\""),
            ("recovery = \"31d\"", "up to \"30d\""),
            ("approve_recovery = \"yes\"", "true or false"),
        ] {
            assert!(refused(&format!("lifetime = \"1h\"\n{line}")).contains(expected), "{line}");
        }
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_known_one() {
        assert!(refused("lifetime = \"1h\"\nkey_kind = [\"p256\"]").ends_with("did you mean \"key_kinds\"?"));
        assert!(refused("lifetime = \"1h\"\nrenewal = [0.3, 0.5]").ends_with("did you mean \"renew\"?"));
    }

    #[test]
    fn broken_toml_is_refused_with_its_place() {
        assert!(refused("lifetime = ").contains("line 1"));
    }

    #[test]
    fn the_renewal_window_is_counted_from_the_issuance_not_from_the_backdated_beginning() {
        let profile = Profile::parse("p", "lifetime = \"1h\"\nrenew = [0.25, 0.5]").unwrap();
        let start = Timestamp::from_unix(10_000);
        let validity = Validity::new(start - BACKDATE, start + Duration::from_secs(3_599)).unwrap();
        let (from, to) = profile.renewal_window(&validity);
        assert_eq!(
            (from.since(start), to.since(start)),
            (Duration::from_secs(900), Duration::from_secs(1_800))
        );
    }
}
