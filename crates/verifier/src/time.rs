//! Times in certificates and revocation lists (RFC 5280 §4.1.2.5).

use countersign_identity::Timestamp;

use crate::der::{DerFault, GENERALIZED_TIME, Reader, UTC_TIME};

/// One `Time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) at: Timestamp,
    /// Written with four digits for the year, where RFC 5280 demands two: through 2049.
    pub(crate) long_form: bool,
}

impl Time {
    /// The next value, which must be a time: to the second, in UTC.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DerFault> {
        let value = reader.any()?;
        let (century, digits) = match (value.tag, value.content) {
            (UTC_TIME, [digits @ .., b'Z']) if digits.len() == 12 => {
                // RFC 5280 §4.1.2.5.1: 50 to 99 are of the last century.
                (if number(digits, 0)? >= 50 { 19 } else { 20 }, digits)
            }
            (GENERALIZED_TIME, [digits @ .., b'Z']) if digits.len() == 14 => {
                (number(digits, 0)?, digits.get(2..).unwrap_or_default())
            }
            (UTC_TIME | GENERALIZED_TIME, _) => return Err(DerFault::Value),
            _ => return Err(DerFault::Unexpected),
        };
        let year = century * 100 + number(digits, 0)?;
        let at = seconds(year, number(digits, 2)?, number(digits, 4)?)?
            + time_of_day(number(digits, 6)?, number(digits, 8)?, number(digits, 10)?)?;
        let long_form = value.tag == GENERALIZED_TIME && (1950..2050).contains(&year);
        Ok(Self { at: Timestamp::from_unix(at), long_form })
    }
}

/// Two digits.
fn number(digits: &[u8], at: usize) -> Result<i64, DerFault> {
    match digits.get(at..at + 2) {
        Some([tens @ b'0'..=b'9', ones @ b'0'..=b'9']) => {
            Ok(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
        }
        _ => Err(DerFault::Value),
    }
}

/// Seconds from 1970 to the beginning of a day of the Gregorian calendar.
fn seconds(year: i64, month: i64, day: i64) -> Result<i64, DerFault> {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return Err(DerFault::Value),
    };
    if !(1..=last).contains(&day) {
        return Err(DerFault::Value);
    }
    // Years that begin in March have their leap day last; 719,468 days lead from March of year 0 to 1970.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Ok((days + (153 * month + 2) / 5 + day - 1 - 719_468) * 86_400)
}

fn time_of_day(hour: i64, minute: i64, second: i64) -> Result<i64, DerFault> {
    if hour < 24 && minute < 60 && second < 60 {
        Ok(hour * 3600 + minute * 60 + second)
    } else {
        Err(DerFault::Value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tag: u8, text: &str) -> Result<Time, DerFault> {
        let length = u8::try_from(text.len()).expect("a short time");
        Time::read(&mut Reader::new(&[&[tag, length], text.as_bytes()].concat()))
    }

    fn at(tag: u8, text: &str) -> String {
        read(tag, text).expect("a time").at.to_string()
    }

    #[test]
    fn two_digits_are_of_the_century_around_2000() {
        assert_eq!(at(UTC_TIME, "261123120000Z"), "2026-11-23T12:00:00Z");
        assert_eq!(at(UTC_TIME, "491231235959Z"), "2049-12-31T23:59:59Z");
        assert_eq!(at(UTC_TIME, "500101000000Z"), "1950-01-01T00:00:00Z");
        assert_eq!(at(GENERALIZED_TIME, "20500101000000Z"), "2050-01-01T00:00:00Z");
        assert_eq!(at(GENERALIZED_TIME, "99991231235959Z"), "9999-12-31T23:59:59Z");
        assert_eq!(at(UTC_TIME, "000229000000Z"), "2000-02-29T00:00:00Z");
    }

    #[test]
    fn a_year_before_2050_in_four_digits_is_noticed() {
        assert!(read(GENERALIZED_TIME, "20491231235959Z").is_ok_and(|time| time.long_form));
        assert!(read(GENERALIZED_TIME, "20500101000000Z").is_ok_and(|time| !time.long_form));
    }

    #[test]
    fn every_day_of_four_centuries_is_counted() {
        let mut expected = Timestamp::from_unix(0).unix();
        for year in 1970..2370 {
            for month in 1..=12 {
                for day in 1..=31 {
                    if let Ok(found) = seconds(year, month, day) {
                        assert_eq!(found, expected, "{year}-{month}-{day}");
                        expected += 86_400;
                    }
                }
            }
        }
        assert_eq!(expected, 146_097 * 86_400);
    }

    #[test]
    fn times_of_other_forms_are_refused() {
        for text in [
            "261123120000+0000",
            "2611231200Z",
            "261123120000",
            "2611231200-0Z",
            "261323120000Z",
            "260229120000Z",
            "261131120000Z",
            "261123240000Z",
            "261123126000Z",
            "261123120060Z",
            "260023120000Z",
        ] {
            assert_eq!(read(UTC_TIME, text), Err(DerFault::Value), "{text}");
        }
        for text in ["20261123120000.5Z", "20261123120000", "202611231200Z", "19000229000000Z"] {
            assert_eq!(read(GENERALIZED_TIME, text), Err(DerFault::Value), "{text}");
        }
        assert_eq!(read(4, "261123120000Z"), Err(DerFault::Unexpected));
    }
}
