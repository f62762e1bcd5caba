//! Our parser against that of the `spiffe` crate: the same verdict on every text, but for a listed set.

use countersign_identity::{SpiffeId, TrustDomain};
use proptest::prelude::*;

/// Why ours may refuse what `spiffe` accepts. There is no list for the other direction: we accept nothing it refuses.
#[derive(Debug, PartialEq)]
enum Stricter {
    /// SPIFFE-ID §2: scheme and trust domain are case-insensitive by RFC 3986, and §2.1 makes lower case canonical.
    /// The text *lets* parsers fold; we refuse, because certificates, policy and book compare bytes, and two
    /// spellings of one identity would be two identities to whoever forgets to fold.
    UpperCase,
    /// SPIFFE-ID §2.3: implementations MUST support 2048 bytes and SHOULD NOT produce more. `spiffe` enforces that
    /// only where it builds IDs; we refuse on reading too, so that every ID has a known bound (Invariant 10).
    TooLong,
    /// SPIFFE-ID §2.1 defines the *name* of a trust domain. `spiffe` also accepts a whole ID there and drops its path;
    /// a configuration that says `spiffe://td/path` where a name belongs is a mistake to be told about.
    UriAsName,
}

fn id_verdicts(text: &str) -> Result<(), String> {
    let ours = text.parse::<SpiffeId>();
    let theirs = spiffe::SpiffeId::new(text);
    match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) if ours.as_str() == theirs.to_string() => Ok(()),
        (Err(_), Err(_)) => Ok(()),
        (Err(_), Ok(theirs)) if id_exception(text, theirs).is_some() => Ok(()),
        _ => Err(format!("{text:?}: ours {ours:?}, theirs {theirs:?}")),
    }
}

fn id_exception(text: &str, theirs: &spiffe::SpiffeId) -> Option<Stricter> {
    if text.len() > SpiffeId::MAX_LEN {
        Some(Stricter::TooLong)
    } else if theirs.to_string() != text {
        // `spiffe` changed nothing but case: it folds the scheme and the trust domain.
        theirs.to_string().eq_ignore_ascii_case(text).then_some(Stricter::UpperCase)
    } else {
        None
    }
}

fn name_verdicts(text: &str) -> Result<(), String> {
    let ours = text.parse::<TrustDomain>();
    let theirs = spiffe::TrustDomain::new(text);
    match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) if ours.as_str() == theirs.as_str() => Ok(()),
        (Err(_), Err(_)) => Ok(()),
        (Err(_), Ok(theirs)) if name_exception(text, theirs).is_some() => Ok(()),
        _ => Err(format!("{text:?}: ours {ours:?}, theirs {theirs:?}")),
    }
}

fn name_exception(text: &str, theirs: &spiffe::TrustDomain) -> Option<Stricter> {
    if text.contains("://") {
        Some(Stricter::UriAsName)
    } else if theirs.as_str() != text {
        theirs.as_str().eq_ignore_ascii_case(text).then_some(Stricter::UpperCase)
    } else {
        None
    }
}

#[test]
fn each_listed_exception_is_real() {
    let theirs = |text: &str| spiffe::SpiffeId::new(text).unwrap();
    let long = format!("spiffe://td/{}", "p".repeat(2048));
    for (text, why) in [
        ("SPIFFE://td/a", Stricter::UpperCase),
        ("spiffe://TD/a", Stricter::UpperCase),
        (long.as_str(), Stricter::TooLong),
    ] {
        assert!(text.parse::<SpiffeId>().is_err());
        assert_eq!(id_exception(text, &theirs(text)), Some(why));
    }
    for (text, why) in [("spiffe://td/a", Stricter::UriAsName), ("TD", Stricter::UpperCase)] {
        assert!(text.parse::<TrustDomain>().is_err());
        assert_eq!(name_exception(text, &spiffe::TrustDomain::new(text).unwrap()), Some(why));
    }
}

/// Texts near the grammar: pieces that are right, almost right, or break one rule.
fn near_ids() -> impl Strategy<Value = String> {
    let scheme = prop_oneof![8 => Just("spiffe://"), 1 => Just("SPIFFE://"), 1 => Just("spiffe:/"), 1 => Just("spiffe:"), 1 => Just("")];
    let domain = prop_oneof![6 => "[a-z0-9._-]{0,12}", 2 => "[a-zA-Z0-9._-]{1,6}", 1 => "[ -~]{0,6}", 1 => "\\PC{0,4}", 1 => "[a-z]{250,260}"];
    let segment = prop_oneof![
        8 => "[a-zA-Z0-9._-]{1,8}",
        1 => Just(String::new()),
        1 => "\\.{1,3}",
        1 => "[ -~]{0,4}",
        1 => "\\PC{0,3}",
        1 => "[a-z]{1000,1100}",
    ];
    let path = prop::collection::vec(segment, 0..5)
        .prop_map(|s| s.iter().map(|s| format!("/{s}")).collect::<String>());
    let tail = prop_oneof![8 => Just(""), 1 => Just("/"), 1 => Just("?q"), 1 => Just("#f")];
    (scheme, domain, path, tail).prop_map(|(s, d, p, t)| format!("{s}{d}{p}{t}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn near_ids_get_the_same_verdict(text in near_ids()) {
        prop_assert_eq!(id_verdicts(&text), Ok(()));
        prop_assert_eq!(name_verdicts(&text), Ok(()));
    }

    #[test]
    fn arbitrary_texts_get_the_same_verdict(text in any::<String>()) {
        prop_assert_eq!(id_verdicts(&text), Ok(()));
        prop_assert_eq!(name_verdicts(&text), Ok(()));
    }

    #[test]
    fn names_get_the_same_verdict(text in "[a-zA-Z0-9._:/@-]{0,20}") {
        prop_assert_eq!(name_verdicts(&text), Ok(()));
    }
}
