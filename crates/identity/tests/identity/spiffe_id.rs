//! SPIFFE IDs and trust domains: the vectors of SPIFFE-ID §2.

use countersign_identity::{SpiffeId, SpiffeIdError, TrustDomain, TrustDomainError};
use proptest::prelude::*;

fn refusal(text: &str) -> SpiffeIdError {
    text.parse::<SpiffeId>().expect_err(text)
}

fn character(found: char, at: usize) -> SpiffeIdError {
    SpiffeIdError::Character { found, at }
}

fn domain_character(found: char, at: usize) -> SpiffeIdError {
    SpiffeIdError::TrustDomain(TrustDomainError::Character { found, at })
}

#[test]
fn every_form_the_standard_allows_is_accepted_as_it_is() {
    for (text, domain, path) in [
        ("spiffe://example.org", "example.org", ""),
        ("spiffe://example.org/a", "example.org", "/a"),
        ("spiffe://example.org/payments/mysql", "example.org", "/payments/mysql"),
        (
            "spiffe://example.org/9eebccd2-12bf-40a6-b262-65fe0487d453",
            "example.org",
            "/9eebccd2-12bf-40a6-b262-65fe0487d453",
        ),
        ("spiffe://example.org/UPPER/lower/0.9-_", "example.org", "/UPPER/lower/0.9-_"),
        ("spiffe://example.org/.../.a/a..", "example.org", "/.../.a/a.."),
        ("spiffe://192.0.2.1/a", "192.0.2.1", "/a"),
        ("spiffe://1/a", "1", "/a"),
        ("spiffe://a_b-c.d/x", "a_b-c.d", "/x"),
        ("spiffe://-/x", "-", "/x"),
    ] {
        let id: SpiffeId = text.parse().expect(text);
        assert_eq!((id.trust_domain_str(), id.path()), (domain, path));
        assert_eq!(id.to_string(), text);
        assert_eq!(id.has_path(), !path.is_empty());
        assert_eq!(id.trust_domain().with_path(path), Ok(id.clone()));
        assert_eq!(SpiffeId::try_from(text), Ok(id));
    }
}

#[test]
fn another_scheme_is_refused() {
    for text in
        ["", "spiffe", "spiffe:", "spiffe:/a/b", "https://a/b", "//a/b", " spiffe://a/b", "spiffe:///"]
    {
        let expected =
            if text == "spiffe:///" { TrustDomainError::Empty.into() } else { SpiffeIdError::Scheme };
        assert_eq!(refusal(text), expected, "{text}");
    }
}

#[test]
fn an_upper_case_scheme_is_refused_rather_than_folded() {
    assert_eq!(refusal("SPIFFE://example.org/a"), SpiffeIdError::Scheme);
    assert_eq!(refusal("Spiffe://example.org/a"), SpiffeIdError::Scheme);
}

#[test]
fn an_upper_case_trust_domain_is_refused_rather_than_folded() {
    assert_eq!(refusal("spiffe://Example.org/a"), domain_character('E', 0));
    assert_eq!("exAmple".parse::<TrustDomain>(), Err(TrustDomainError::Character { found: 'A', at: 2 }));
}

#[test]
fn an_empty_trust_domain_is_refused() {
    assert_eq!(refusal("spiffe://"), TrustDomainError::Empty.into());
    assert_eq!(refusal("spiffe:///a"), TrustDomainError::Empty.into());
    assert_eq!("".parse::<TrustDomain>(), Err(TrustDomainError::Empty));
}

#[test]
fn userinfo_port_and_ipv6_are_refused_in_the_trust_domain() {
    assert_eq!(refusal("spiffe://user@example.org/a"), domain_character('@', 4));
    assert_eq!(refusal("spiffe://example.org:8443/a"), domain_character(':', 11));
    assert_eq!(refusal("spiffe://[::1]/a"), domain_character('[', 0));
}

#[test]
fn query_and_fragment_are_refused_wherever_they_stand() {
    assert_eq!(refusal("spiffe://example.org?q=1"), domain_character('?', 11));
    assert_eq!(refusal("spiffe://example.org#f"), domain_character('#', 11));
    assert_eq!(refusal("spiffe://example.org/a?q=1"), character('?', 22));
    assert_eq!(refusal("spiffe://example.org/a#f"), character('#', 22));
}

#[test]
fn percent_encoding_is_refused_in_both_parts() {
    assert_eq!(refusal("spiffe://ex%61mple/a"), domain_character('%', 2));
    assert_eq!(refusal("spiffe://example.org/%61"), character('%', 21));
}

#[test]
fn characters_outside_the_set_are_refused_and_named() {
    for found in [
        ' ', '\0', '\n', '\\', '~', '!', '$', '&', '\'', '(', '*', '+', ',', ';', '=', ':', '@', '|', '{',
        'é', '🦀',
    ] {
        assert_eq!(refusal(&format!("spiffe://td/a/x{found}y")), character(found, 15));
        assert_eq!(refusal(&format!("spiffe://t{found}/a")), domain_character(found, 1));
    }
}

#[test]
fn relative_segments_are_refused() {
    for (text, found) in [("spiffe://td/.", "."), ("spiffe://td/../a", ".."), ("spiffe://td/a/./b", ".")] {
        assert_eq!(refusal(text), SpiffeIdError::DotSegment { found: found.to_owned() });
    }
}

#[test]
fn empty_segments_and_trailing_slashes_are_refused() {
    assert_eq!(refusal("spiffe://td//a"), SpiffeIdError::EmptySegment);
    assert_eq!(refusal("spiffe://td/a//b"), SpiffeIdError::EmptySegment);
    assert_eq!(refusal("spiffe://td/"), SpiffeIdError::TrailingSlash);
    assert_eq!(refusal("spiffe://td/a/"), SpiffeIdError::TrailingSlash);
}

#[test]
fn a_trust_domain_of_255_bytes_is_accepted_and_one_of_256_refused() {
    let longest = "d".repeat(255);
    assert_eq!(longest.parse::<TrustDomain>().unwrap().as_str(), longest);
    assert_eq!("d".repeat(256).parse::<TrustDomain>(), Err(TrustDomainError::TooLong { found: 256 }));
}

#[test]
fn an_id_of_2048_bytes_is_accepted_and_one_of_2049_refused() {
    let prefix = "spiffe://td/";
    let longest = format!("{prefix}{}", "p".repeat(2048 - prefix.len()));
    assert_eq!(longest.parse::<SpiffeId>().unwrap().as_str(), longest);
    assert_eq!(refusal(&format!("{longest}p")), SpiffeIdError::TooLong { found: 2049 });
    let domain: TrustDomain = "td".parse().unwrap();
    assert_eq!(
        domain.with_path(&format!("/{}", "p".repeat(2048))),
        Err(SpiffeIdError::TooLong { found: 2060 })
    );
}

#[test]
fn a_path_can_not_change_the_trust_domain_it_is_joined_to() {
    let domain: TrustDomain = "td".parse().unwrap();
    for path in ["evil", ".evil", "@evil", ":1"] {
        assert_eq!(domain.with_path(path), Err(SpiffeIdError::RelativePath), "{path}");
    }
    assert_eq!(domain.with_path("").unwrap(), SpiffeId::from(&domain));
}

#[test]
fn a_uri_is_refused_as_name_of_a_trust_domain() {
    assert_eq!("spiffe://td".parse::<TrustDomain>(), Err(TrustDomainError::Uri));
}

#[test]
fn paths_that_differ_in_case_are_different_identities() {
    let (one, other): (SpiffeId, SpiffeId) =
        ("spiffe://td/A".parse().unwrap(), "spiffe://td/a".parse().unwrap());
    assert_ne!(one, other);
}

#[test]
fn membership_compares_whole_names() {
    let domain: TrustDomain = "example".parse().unwrap();
    for (text, inside) in
        [("spiffe://example/a", true), ("spiffe://example.org/a", false), ("spiffe://exampl/e", false)]
    {
        assert_eq!(text.parse::<SpiffeId>().unwrap().in_trust_domain(&domain), inside, "{text}");
    }
}

// Invariant 11: the names of the CA itself are recognised as such.
#[test]
fn the_path_countersign_and_everything_below_is_reserved() {
    for (path, reserved) in [
        ("/countersign", true),
        ("/countersign/ca", true),
        ("/countersign/a/b", true),
        ("/countersignx", false),
        ("/Countersign", false),
        ("/a/countersign", false),
        ("", false),
    ] {
        let id: SpiffeId = format!("spiffe://td{path}").parse().unwrap();
        assert_eq!(id.is_reserved(), reserved, "{path}");
    }
}

#[test]
fn debug_shows_the_text() {
    let id: SpiffeId = "spiffe://td/a".parse().unwrap();
    assert_eq!(format!("{id:?} {:?}", id.trust_domain()), "SpiffeId(spiffe://td/a) TrustDomain(td)");
}

proptest! {
    #[test]
    fn display_round_trips(text in "spiffe://[a-z0-9._-]{1,40}(/[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,12}){0,6}") {
        let id: SpiffeId = text.parse().unwrap();
        prop_assert_eq!(id.to_string(), text.as_str());
        prop_assert_eq!(format!("{}{}", id.trust_domain().id(), id.path()), text);
        prop_assert_eq!(id.trust_domain().to_string().parse(), Ok(id.trust_domain()));
        let joined: String = id.segments().map(|segment| format!("/{segment}")).collect();
        prop_assert_eq!(joined, id.path());
    }

    #[test]
    fn no_text_panics(text in any::<String>(), tail in any::<String>()) {
        for text in [text, format!("spiffe://{tail}"), format!("spiffe://td/{tail}")] {
            if let Ok(id) = text.parse::<SpiffeId>() {
                prop_assert_eq!(id.as_str(), text);
            }
        }
    }

    #[test]
    fn no_name_or_path_panics(name in any::<String>(), path in any::<String>()) {
        let _ = name.parse::<TrustDomain>();
        if let Ok(id) = "td".parse::<TrustDomain>().unwrap().with_path(&path) {
            prop_assert_eq!(id.trust_domain_str(), "td");
        }
    }
}
