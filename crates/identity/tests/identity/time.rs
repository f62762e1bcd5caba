//! Timestamps, validities, durations, and the clock set by hand.

use countersign_identity::duration::{self, DurationError};
use countersign_identity::{Clock, ManualClock, Timestamp, TrustBundle, Validity, ValidityState};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn timestamps_are_written_in_utc_by_the_second() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (253_402_300_799, "9999-12-31T23:59:59Z"),
        (-62_167_219_200, "0000-01-01T00:00:00Z"),
    ] {
        assert_eq!(Timestamp::from_unix(seconds).to_string(), text);
        assert_eq!(text.parse(), Ok(Timestamp::from_unix(seconds)));
    }
}

#[test]
fn offsets_are_converted_and_fractions_cut_off() {
    let expected: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
    assert_eq!("2026-11-23T12:00:00.999+02:00".parse(), Ok(expected));
    assert_eq!(expected.civil(), (2026, 11, 23, 10, 0, 0));
}

#[test]
fn times_that_are_not_rfc_3339_are_refused_with_an_example() {
    for text in ["", "2026-11-23", "2026-11-23T10:00:00", "2026-13-01T00:00:00Z", "tomorrow", "1700000000"] {
        let error = text.parse::<Timestamp>().expect_err(text).to_string();
        assert!(error.contains("such as 2026-11-23T10:00:00Z"), "{error}");
    }
}

#[test]
fn arithmetic_stops_at_the_ends_of_the_range() {
    assert_eq!(Timestamp::from_unix(i64::MAX), Timestamp::MAX);
    assert_eq!(Timestamp::from_unix(i64::MIN), Timestamp::MIN);
    assert_eq!(Timestamp::MAX + Duration::MAX, Timestamp::MAX);
    assert_eq!(Timestamp::MIN - Duration::MAX, Timestamp::MIN);
    assert_eq!(Timestamp::MIN.since(Timestamp::MAX), Duration::ZERO);
}

#[test]
fn system_times_round_down_on_both_sides_of_the_epoch() {
    let half = Duration::from_millis(500);
    assert_eq!(Timestamp::from_system(UNIX_EPOCH + half).unix(), 0);
    assert_eq!(Timestamp::from_system(UNIX_EPOCH - half).unix(), -1);
    assert_eq!(Timestamp::from_unix(-7).to_system(), UNIX_EPOCH - 7 * SECOND);
}

#[test]
fn both_ends_of_a_validity_belong_to_it() {
    let (start, end) = (Timestamp::from_unix(100), Timestamp::from_unix(159));
    let minute = Validity::new(start, end).unwrap();
    assert_eq!((minute.not_before(), minute.not_after()), (start, end));
    assert_eq!(minute.lifetime(), Duration::from_secs(60));
    assert_eq!(minute.state(start - SECOND), ValidityState::NotYet { by: SECOND });
    assert_eq!(minute.state(start), ValidityState::Current);
    assert_eq!(minute.state(end), ValidityState::Current);
    assert_eq!(minute.state(end + SECOND), ValidityState::Expired { by: SECOND });
    assert!(minute.contains(end) && !minute.contains(end + SECOND));
    assert_eq!(minute.to_string(), "1970-01-01T00:01:40Z to 1970-01-01T00:02:39Z");
}

#[test]
fn a_validity_that_ends_before_it_begins_is_refused() {
    let at = Timestamp::from_unix(0);
    assert!(Validity::new(at, at - SECOND).is_err());
    assert_eq!(Validity::new(at, at).unwrap().lifetime(), SECOND);
}

#[test]
fn durations_are_read_as_people_write_them() {
    for (text, seconds) in
        [("90s", 90), ("15m", 900), ("1h", 3_600), ("7d", 604_800), ("1d 2h 3m 4s", 93_784), ("0s", 0)]
    {
        assert_eq!(duration::parse(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    assert_eq!(duration::format(Duration::from_secs(5_400)), "1h 30m");
    assert_eq!(duration::format(Duration::from_secs(90)), "1m 30s");
    assert_eq!(duration::format(Duration::from_millis(999)), "0s");
}

#[test]
fn durations_without_unit_sign_or_order_are_refused() {
    for text in ["", " ", "15", "m", "-1m", "+1m", "1.5h", "1 h", "1w", "1h  2m", "1µ", "٣m"] {
        assert!(matches!(duration::parse(text), Err(DurationError::Part { .. })), "{text}");
    }
    for text in ["1m 1h", "1h 1h"] {
        assert!(matches!(duration::parse(text), Err(DurationError::Order { .. })), "{text}");
    }
    for text in ["18446744073709551616s", "18446744073709551615d", "213503982334601d 23h"] {
        assert!(matches!(duration::parse(text), Err(DurationError::TooLong { .. })), "{text}");
    }
}

#[test]
fn a_manual_clock_shows_what_it_was_set_to() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix(10)));
    let shared: Arc<dyn Clock> = clock.clone();
    clock.advance(Duration::from_secs(5));
    assert_eq!(shared.now(), Timestamp::from_unix(15));
    clock.set(Timestamp::MAX);
    clock.advance(SECOND);
    assert_eq!(shared.now(), Timestamp::MAX);
}

#[test]
fn an_empty_bundle_is_legal_and_starts_at_sequence_0() {
    let bundle = TrustBundle::new("td".parse().unwrap(), Vec::new());
    assert_eq!((bundle.trust_domain().as_str(), bundle.roots().len(), bundle.sequence()), ("td", 0, 0));
}

proptest! {
    #[test]
    fn timestamps_round_trip(seconds in any::<i64>()) {
        let at = Timestamp::from_unix(seconds);
        prop_assert_eq!(at.to_string().parse(), Ok(at));
        prop_assert_eq!(Timestamp::from_system(at.to_system()), at);
    }

    #[test]
    fn durations_round_trip(seconds in any::<u64>()) {
        let duration = Duration::from_secs(seconds);
        prop_assert_eq!(duration::parse(&duration::format(duration)), Ok(duration));
    }

    #[test]
    fn no_text_panics(text in any::<String>(), near in "[0-9]{0,22}[smhd ]{0,3}[0-9]{0,2}[smhdé]{0,1}") {
        let _ = (text.parse::<Timestamp>(), duration::parse(&text), duration::parse(&near));
    }
}
