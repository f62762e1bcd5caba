//! What issuance policy approves and denies

use std::time::Duration;

use countersign_identity::{SpiffeId, Timestamp, Validity};
use countersign_issuance::{Denial, Profile, Registration, approve, approve_own};
use proptest::prelude::*;

use crate::premises::{DAY, NOW, Premises, registration, workload};
use crate::requests::{
    algorithms, der, dns, extension, extension_request, forged, ip, key_of, p256, proven, request_with, uri,
};
use countersign_issuance::ProvenKey;

#[tokio::test]
async fn a_request_may_ask_for_what_it_will_get_or_for_less() {
    let premises = Premises::new().await;
    let id = "spiffe://prod.example/payments/api";
    for names in [
        vec![],
        vec![uri(id)],
        vec![dns("api.prod.example")],
        vec![dns("API.prod.example")],
        vec![ip("2001:db8::7"), ip("10.0.0.7"), dns("pay.prod.example"), uri(id)],
    ] {
        assert!(premises.approve(proven(&p256(), names)).is_ok());
    }
}

#[tokio::test]
async fn a_request_that_asks_for_anything_else_is_denied() {
    let premises = Premises::new().await;
    for name in [
        uri("spiffe://prod.example/payments"),
        uri("spiffe://prod.example/payments/api/"),
        uri("spiffe://other.example/payments/api"),
        uri("https://prod.example"),
        dns("other.prod.example"),
        dns("ca.prod.example"),
        dns("*.prod.example"),
        ip("10.0.0.8"),
        rcgen::SanType::Rfc822Name("root@prod.example".try_into().unwrap()),
    ] {
        let denial = premises.approve(proven(&p256(), vec![name.clone()])).unwrap_err();
        assert_eq!(denial.code(), "csr_names_refused", "{name:?}: {denial}");
    }
}

#[tokio::test]
async fn a_request_for_an_extension_is_denied_though_it_is_the_one_it_would_get() {
    let premises = Premises::new().await;
    let key = p256();
    let ca = extension(19, &[0x30, 3, 1, 1, 0xff]);
    let key_usage = extension(15, &[3, 2, 7, 0x80]);
    for extensions in
        [ca.clone(), key_usage, extension(99, &[]), [extension(17, &der(0x30, &[])), ca].concat()]
    {
        let request = forged(&key, &extension_request(&extensions));
        let denial = premises.approve(ProvenKey::from_csr(&request, algorithms()).unwrap()).unwrap_err();
        assert!(matches!(denial, Denial::CsrNames { .. }), "{denial}");
    }
    let by_rcgen = request_with(&key, vec![], |params| {
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    });
    let denial = premises.approve(ProvenKey::from_csr(&by_rcgen, algorithms()).unwrap()).unwrap_err();
    assert!(denial.to_string().contains("2.5.29.15"), "{denial}");
}

#[tokio::test]
async fn kinds_of_key_are_taken_as_the_profile_says() {
    let premises = Premises::new().await;
    let ed25519 = Profile::parse("workload", "lifetime = \"1h\"\nkey_kinds = [\"ed25519\"]").unwrap();
    let approve = |algorithm, profile: &Profile| {
        approve(proven(&key_of(algorithm), vec![]), &registration(), profile, &premises.house(), NOW)
    };
    assert!(approve(&rcgen::PKCS_ED25519, &ed25519).is_ok());
    for (algorithm, profile) in [
        (&rcgen::PKCS_ED25519, &workload()),
        (&rcgen::PKCS_ECDSA_P384_SHA384, &workload()),
        (&rcgen::PKCS_ECDSA_P256_SHA256, &ed25519),
    ] {
        assert_eq!(approve(algorithm, profile).unwrap_err().code(), "key_kind_refused");
    }
}

/// Invariant 5: no key of the CA's own in another certificate.
#[tokio::test]
async fn a_key_of_the_ca_is_never_certified() {
    let mut premises = Premises::new().await;
    for pen in [&premises.root_pen, &premises.pen] {
        let denial = premises.approve(proven(pen.key(), vec![])).unwrap_err();
        assert_eq!((&denial, denial.code()), (&Denial::CaKey, "key_in_use"));
    }
    premises.ca_keys.clear();
    let issuers_own = premises.approve(proven(premises.pen.key(), vec![])).unwrap_err();
    assert_eq!(issuers_own, Denial::CaKey, "the issuer's key is refused even if nobody listed it");
    let own =
        approve_own(proven(premises.pen.key(), vec![]), &premises.reserved, DAY, &premises.house(), NOW);
    assert_eq!(own.unwrap_err(), Denial::CaKey);
}

#[tokio::test]
async fn a_registration_that_no_longer_stands_is_denied() {
    let premises = Premises::new().await;
    let denied = |change: &dyn Fn(&mut Registration)| {
        let mut registration = registration();
        change(&mut registration);
        let key = proven(&p256(), vec![]);
        approve(key, &registration, &workload(), &premises.house(), NOW).unwrap_err().code()
    };
    let id = |text: &str| -> SpiffeId { text.parse().unwrap() };
    assert_eq!(denied(&|r| r.until = Some(NOW)), "registration_gone");
    assert_eq!(denied(&|r| r.id = id("spiffe://other.example/payments/api")), "trust_domain_foreign");
    assert_eq!(denied(&|r| r.id = id("spiffe://prod.example/countersign/ca")), "name_reserved");
    assert_eq!(denied(&|r| r.dns = vec!["ca.prod.example".parse().unwrap()]), "name_reserved");
    assert_eq!(denied(&|r| r.ip = vec!["10.255.0.1".parse().unwrap()]), "name_reserved");
    assert_eq!(denied(&|r| r.id = id("spiffe://prod.example")), "registration_invalid");
    assert_eq!(denied(&|r| r.profile = "gateway".to_owned()), "profile_unknown");
}

#[tokio::test]
async fn an_issuer_that_is_nearly_over_or_has_not_begun_issues_nothing() {
    let key = p256();
    for (validity, code) in [
        (Validity::new(NOW - DAY, NOW + Duration::from_secs(58)), "issuer_expiring"),
        (Validity::new(NOW - DAY, NOW - DAY), "issuer_expiring"),
        (Validity::new(NOW + Duration::from_secs(1), NOW + DAY), "issuer_expiring"),
    ] {
        let premises = Premises::with_issuer(validity.unwrap()).await;
        assert_eq!(premises.approve(proven(&key, vec![])).unwrap_err().code(), code);
    }
    let minute = Validity::new(NOW - DAY, NOW + Duration::from_secs(59)).unwrap();
    assert!(Premises::with_issuer(minute).await.approve(proven(&key, vec![])).is_ok());
}

#[tokio::test]
async fn a_certificate_is_backdated_a_minute_and_lives_for_its_profile_counting_the_last_second() {
    let premises = Premises::new().await;
    let validity = premises.approve(proven(&p256(), vec![])).unwrap().validity();
    assert_eq!(validity.not_before(), NOW - Duration::from_secs(60));
    assert_eq!(validity.not_after(), NOW + Duration::from_secs(3_599));
}

#[tokio::test]
async fn the_ca_certifies_itself_for_a_week_at_most_and_on_p256() {
    let premises = Premises::new().await;
    let own = |key: &rcgen::KeyPair, lifetime| {
        approve_own(proven(key, vec![]), &premises.reserved, lifetime, &premises.house(), NOW)
    };
    assert_eq!(own(&p256(), DAY).unwrap().spiffe_id().as_str(), "spiffe://prod.example/countersign/ca");
    assert!(matches!(own(&p256(), 8 * DAY), Err(Denial::Lifetime { .. })));
    assert!(matches!(own(&key_of(&rcgen::PKCS_ED25519), DAY), Err(Denial::KeyKind { .. })));
    let asked = proven(&p256(), vec![dns("pay.prod.example")]);
    let denied = approve_own(asked, &premises.reserved, DAY, &premises.house(), NOW);
    assert!(matches!(denied, Err(Denial::CsrNames { .. })));
}

/// Invariant 4: no certificate outlives its issuer, its registration or its profile's limit.
#[test]
fn no_certificate_outlives_issuer_registration_or_profile() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (issuer_begun, issuer_end) = (NOW - DAY, NOW + 10 * DAY);
    let premises = runtime.block_on(Premises::with_issuer(Validity::new(issuer_begun, issuer_end).unwrap()));
    let key = proven(&p256(), vec![]);
    let at = |seconds: i64| Timestamp::from_unix(NOW.unix() + seconds);
    let (minute, week) = (60u64, 7 * 86_400u64);
    proptest!(|(lifetime in minute..=week, until in prop::option::of(-86_000..900_000i64), now in -90_000..900_000i64)| {
        let profile = Profile::parse("workload", &format!("lifetime = \"{lifetime}s\"")).unwrap();
        let registration = Registration { until: until.map(at), ..registration() };
        let now = at(now);
        match approve(key.clone(), &registration, &profile, &premises.house(), now) {
            Ok(approved) => {
                let validity = approved.validity();
                prop_assert!(validity.not_before() >= issuer_begun && validity.not_after() <= issuer_end);
                prop_assert!(validity.contains(now));
                prop_assert!(now.since(validity.not_before()) <= Duration::from_secs(60));
                prop_assert!(validity.not_after() < now + profile.lifetime());
                prop_assert!(registration.until.is_none_or(|until| validity.not_after() < until));
            }
            Err(denial) => {
                let ended = registration.until.is_some_and(|until| until <= now);
                let issuer_over = now < issuer_begun || issuer_end < now + Duration::from_secs(59);
                prop_assert!(ended || issuer_over, "{}", denial);
            }
        }
    });
}
