//! A point in time, in whole seconds.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A second in UTC between the years 0 and 9999, the range that RFC 3339 and X.509 can both write.
/// Arithmetic stops at the ends of the range instead of overflowing.
///
/// ```
/// use countersign_identity::Timestamp;
/// use std::time::Duration;
///
/// let noon: Timestamp = "2026-11-23T12:00:00Z".parse()?;
/// assert_eq!(noon.unix(), 1_795_435_200);
/// assert_eq!((noon + Duration::from_secs(90)).to_string(), "2026-11-23T12:01:30Z");
/// # Ok::<(), countersign_identity::TimestampError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Why a text is not a time.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("found no RFC 3339 time, expected one such as 2026-11-23T10:00:00Z: {reason}")]
pub struct TimestampError {
    reason: String,
}

impl Timestamp {
    /// The earliest: 0000-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_167_219_200);
    /// The latest: 9999-12-31T23:59:59Z, which RFC 5280 §4.1.2.5 reads as "no end".
    pub const MAX: Self = Self(253_402_300_799);

    /// The second this many seconds after the Unix epoch, or the nearest end of the range.
    #[must_use]
    pub const fn from_unix(seconds: i64) -> Self {
        if seconds < Self::MIN.0 {
            Self::MIN
        } else if seconds > Self::MAX.0 {
            Self::MAX
        } else {
            Self(seconds)
        }
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub const fn unix(self) -> i64 {
        self.0
    }

    /// The second that `time` lies in.
    #[must_use]
    pub fn from_system(time: SystemTime) -> Self {
        let seconds = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            Err(before) => {
                let before = before.duration();
                let started = u64::from(before.subsec_nanos() > 0);
                i64::try_from(before.as_secs().saturating_add(started)).map_or(i64::MIN, |s| -s)
            }
        };
        Self::from_unix(seconds)
    }

    /// The same as the standard library's time.
    #[must_use]
    pub fn to_system(self) -> SystemTime {
        let distance = Duration::from_secs(self.0.unsigned_abs());
        let moved =
            if self.0 < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
        moved.unwrap_or(UNIX_EPOCH)
    }

    /// How long after `earlier` this is; zero if it is not after.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Year, month, day, hour, minute, second in UTC.
    #[must_use]
    pub fn civil(self) -> (i32, u8, u8, u8, u8, u8) {
        // The range of `Self` is within that of `OffsetDateTime`, so the epoch never stands in.
        let at = OffsetDateTime::from_unix_timestamp(self.0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        (at.year(), at.month().into(), at.day(), at.hour(), at.minute(), at.second())
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Later by the whole seconds of `distance`.
    fn add(self, distance: Duration) -> Self {
        Self::from_unix(self.0.saturating_add_unsigned(distance.as_secs()))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// Earlier by the whole seconds of `distance`.
    fn sub(self, distance: Duration) -> Self {
        Self::from_unix(self.0.saturating_sub_unsigned(distance.as_secs()))
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// Reads RFC 3339 with any offset; a fraction of a second is cut off.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match OffsetDateTime::parse(text, &Rfc3339) {
            Ok(at) => Ok(Self::from_unix(at.unix_timestamp())),
            Err(error) => Err(TimestampError { reason: error.to_string() }),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, hour, minute, second) = self.civil();
        let pair = |number: i32| u8::try_from(number).unwrap_or_default();
        let parts = [(pair(year / 100), ""), (pair(year % 100), "-"), (month, "-"), (day, "T"), (hour, ":")];
        // Written out, because every certificate and event has several and formatting is dear.
        let mut text = String::with_capacity(20);
        for (number, after) in parts.into_iter().chain([(minute, ":"), (second, "Z")]) {
            text.push(char::from(b'0' + number / 10));
            text.push(char::from(b'0' + number % 10));
            text.push_str(after);
        }
        f.pad(&text)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}
