//! ID patterns: what they read, and what they match.

use countersign_identity::{IdPattern, IdPatternError, PatternSegment, SpiffeId, SpiffeIdError};
use proptest::prelude::*;

fn id(path: &str) -> SpiffeId {
    format!("spiffe://td{path}").parse().expect(path)
}

fn pattern(path: &str) -> IdPattern {
    format!("spiffe://td{path}").parse().expect(path)
}

fn refusal(text: &str) -> IdPatternError {
    text.parse::<IdPattern>().expect_err(text)
}

#[test]
fn each_kind_of_segment_matches_what_it_says() {
    for (written, path, matched) in [
        ("", "", true),
        ("", "/a", false),
        ("/a", "/a", true),
        ("/a", "", false),
        ("/a", "/A", false),
        ("/a", "/a/b", false),
        ("/a/b", "/a", false),
        ("/*", "/a", true),
        ("/*", "", false),
        ("/*", "/a/b", false),
        ("/*/b", "/a/b", true),
        ("/*/b", "/a/c", false),
        ("/{x}", "/a", true),
        ("/{x}/b", "/a/c", false),
        ("/**", "/a", true),
        ("/**", "/a/b/c", true),
        ("/a/**", "/a/b", true),
        ("/a/**", "/b/b", false),
        ("/*/{x}/**", "/a/b/c/d", true),
        ("/*/{x}/**", "/a/b", false),
    ] {
        assert_eq!(pattern(written).matches(&id(path)).is_some(), matched, "{written} on {path}");
    }
}

#[test]
fn a_trailing_double_star_needs_one_segment_at_least() {
    assert!(pattern("/**").matches(&id("")).is_none());
    assert!(pattern("/a/**").matches(&id("/a")).is_none());
}

#[test]
fn no_pattern_reaches_into_another_trust_domain() {
    let foreign: SpiffeId = "spiffe://other/a".parse().unwrap();
    for written in ["/**", "/*", "/{x}", "/a"] {
        assert!(pattern(written).matches(&foreign).is_none(), "{written}");
    }
}

#[test]
fn captures_carry_the_segments_they_stood_for() {
    let (pattern, id) = (pattern("/{team}/*/{name}/**"), id("/payments/eu/api/1/2"));
    let captures = pattern.matches(&id).unwrap();
    assert_eq!(captures.iter().collect::<Vec<_>>(), [("team", "payments"), ("name", "api")]);
    assert_eq!((captures.get("team"), captures.get("eu")), (Some("payments"), None));
    assert_eq!(pattern.capture_names().collect::<Vec<_>>(), ["team", "name"]);
}

#[test]
fn the_exact_pattern_of_an_id_matches_only_it() {
    let exact = IdPattern::exact(&id("/a/b"));
    assert_eq!(exact.is_exact(), Some(id("/a/b")));
    assert_eq!(exact.to_string(), "spiffe://td/a/b");
    assert!(exact.matches(&id("/a/b")).is_some());
    assert!(exact.matches(&id("/a/c")).is_none());
    assert_eq!(pattern("/*").is_exact(), None);
}

#[test]
fn segments_are_handed_out_in_order() {
    let expected = [
        PatternSegment::Exact("a".into()),
        PatternSegment::Any,
        PatternSegment::Capture("n".into()),
        PatternSegment::Rest,
    ];
    assert_eq!(pattern("/a/*/{n}/**").pattern_segments(), expected);
}

#[test]
fn wildcards_in_the_trust_domain_are_refused() {
    for text in ["spiffe://*/a", "spiffe://**", "spiffe://{td}/a", "spiffe://*.example/a"] {
        assert_eq!(refusal(text), IdPatternError::TrustDomainWildcard, "{text}");
    }
}

#[test]
fn a_double_star_before_the_end_is_refused() {
    assert_eq!(refusal("spiffe://td/**/a"), IdPatternError::RestNotLast);
    assert_eq!(refusal("spiffe://td/**/**"), IdPatternError::RestNotLast);
}

#[test]
fn wildcards_mixed_with_text_are_refused() {
    for found in ["api*", "*api", "***", "{a}b", "a{b}", "{", "}", "{a", "a}"] {
        let expected = IdPatternError::MixedSegment { found: found.to_owned() };
        assert_eq!(refusal(&format!("spiffe://td/{found}")), expected);
    }
}

#[test]
fn misnamed_captures_are_refused() {
    for found in ["", "A", "1a", "_a", "a-b", "a b", "é", "a*", "a}{b"] {
        let expected = IdPatternError::CaptureName { found: found.to_owned() };
        assert_eq!(refusal(&format!("spiffe://td/{{{found}}}")), expected);
    }
}

#[test]
fn a_capture_named_twice_is_refused() {
    assert_eq!(refusal("spiffe://td/{a}/{b}/{a}"), IdPatternError::CaptureTwice { found: "a".to_owned() });
}

#[test]
fn literal_segments_keep_the_rules_of_spiffe_ids() {
    assert_eq!(refusal("spiffe://td/a/"), SpiffeIdError::TrailingSlash.into());
    assert_eq!(refusal("spiffe://td//a"), SpiffeIdError::EmptySegment.into());
    assert_eq!(refusal("spiffe://td/../a"), SpiffeIdError::DotSegment { found: "..".to_owned() }.into());
    assert_eq!(refusal("spiffe://td/*/a:b"), SpiffeIdError::Character { found: ':', at: 15 }.into());
    assert_eq!(refusal("/td/a"), SpiffeIdError::Scheme.into());
}

/// Segments from a small alphabet, so that patterns and IDs meet.
fn segments() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[ab]", 0..5)
}

proptest! {
    #[test]
    fn no_text_panics_and_display_round_trips(text in "spiffe://[a-z*]{1,3}(/(\\*|\\*\\*|\\{[a-z]{1,2}\\}|[a-z.]{1,3}|\\PC{0,3})){0,5}") {
        if let Ok(pattern) = text.parse::<IdPattern>() {
            prop_assert_eq!(pattern.to_string(), text);
            prop_assert_eq!(pattern.to_string().parse(), Ok(pattern));
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = text.parse::<IdPattern>();
    }

    #[test]
    fn an_exact_pattern_matches_exactly_equal_ids(one in segments(), other in segments()) {
        let path = |s: &[String]| s.iter().map(|s| format!("/{s}")).collect::<String>();
        let (one, other) = (id(&path(&one)), id(&path(&other)));
        prop_assert_eq!(IdPattern::exact(&one).matches(&other).is_some(), one == other);
    }

    #[test]
    fn captured_values_hold_neither_colon_nor_star(path in "(/[a-zA-Z0-9_-]{1,8}){1,4}") {
        let id = id(&path);
        let written: String = (0..id.segments().count()).map(|n| format!("/{{c{n}}}")).collect();
        let pattern = pattern(&written);
        for (_, value) in pattern.matches(&id).unwrap().iter() {
            prop_assert!(!value.contains([':', '*']));
        }
    }
}
