//! Access tokens: forged, stolen, stretched and revoked ones, each refused with its own reason.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_identity::ManualClock;
use countersign_testkit::{Authority, Forged, SnapshotForge, TokenForge, TokenKey, noon, noon_clock};
use countersign_verifier::{
    Binding, Caller, Credential, ForeignIssuer, ForeignKeys, LiveTrust, Permission, ResourceError,
    ResourceServer, ResourceSettings, SignedBy, SpiffeId, SvidVerifier, TokenRefusal, TrustStore, Usage,
    VerifiedPeer, provider,
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::snapshots::Domain;
use crate::world::PAYMENTS;

pub(crate) const CA: &str = "https://ca.prod.example:8443";
pub(crate) const LINEAGE: &str = "l-00112233445566778899aabbccddeeff";
pub(crate) const POLICY: &str = r#"
version = 1
[service.ledger]
permissions = ["read", "write", "close"]
[service.archive]
permissions = ["read"]
[[grant]]
id = "spiffe://prod.example/payments"
permissions = ["ledger:read", "ledger:write", "archive:read"]
[[grant]]
id = "spiffe://login.example/*"
permissions = ["ledger:read"]
"#;

/// A ledger that takes tokens, and all that others need to make them.
struct Ledger {
    domain: Domain,
    key: TokenKey,
    clock: Arc<ManualClock>,
    live: LiveTrust,
}

impl Ledger {
    fn new() -> Self {
        let (domain, clock) = (Domain::new(), noon_clock());
        let live = LiveTrust::anchored(domain.root.bundle()).clock(Arc::clone(&clock) as _).open();
        let ledger = Self { key: TokenKey::new("key-1"), clock, live: live.expect("good roots"), domain };
        ledger.publish(ledger.snapshot(1));
        ledger
    }

    fn snapshot(&self, sequence: u64) -> SnapshotForge<'_> {
        self.domain.forge().sequence(sequence).policy(POLICY).token_keys(&self.key.jwks())
    }

    fn publish(&self, forge: SnapshotForge<'_>) {
        let forged = forge.forge();
        self.live.offer(forged.jws(), forged.parts()).expect("a good snapshot");
    }

    fn settings(&self) -> ResourceSettings {
        ResourceServer::of("ledger", &self.live).tokens_of(CA)
    }

    fn judge(&self, token: &str, peer: Option<&VerifiedPeer>) -> Result<Caller, TokenRefusal> {
        self.settings().build().expect("a resource server").judge(token, peer)
    }

    fn refuse(&self, token: &str) -> TokenRefusal {
        self.settings()
            .unbound_tokens()
            .build()
            .expect("a resource server")
            .judge(token, None)
            .expect_err(token)
    }

    fn peer(&self, machine: &Forged) -> VerifiedPeer {
        let verifier = SvidVerifier::new(provider(), self.live.store(), Arc::clone(&self.clock) as _);
        verifier.verify(&machine.chain(), Usage::Client).expect("a good certificate")
    }

    fn machine(&self, id: &str, lineage: &str) -> (Forged, VerifiedPeer) {
        let machine = self.domain.issuer.leaf(id).lineage(lineage).forge();
        let peer = self.peer(&machine);
        (machine, peer)
    }

    /// A good token that is bound to nobody.
    fn unbound(&self) -> TokenForge {
        token().unbound()
    }
}

fn token() -> TokenForge {
    TokenForge::new(CA, "ledger", PAYMENTS).scope("ledger:read")
}

fn may(caller: &Caller, permission: &str) -> bool {
    caller.authorize(&permission.parse().expect("a permission")).allowed
}

#[test]
fn a_bound_token_is_taken_from_whoever_holds_its_certificate() {
    let ledger = Ledger::new();
    let (machine, peer) = ledger.machine(PAYMENTS, LINEAGE);
    let caller = ledger.judge(&token().bound_to(&machine, LINEAGE).sign(&ledger.key), Some(&peer));
    let caller = caller.expect("its holder");
    assert_eq!(caller.spiffe_id().as_str(), PAYMENTS);
    let Credential::Token(token) = caller.credential() else { panic!("by a token") };
    assert!(matches!(token.binding(), Binding::Bound { lineage: Some(_), .. }));
    assert_eq!((token.issuer(), token.id(), token.issued()), (CA, Some("t-1"), noon()));
    assert!(may(&caller, "ledger:read"));
}

#[test]
fn a_renewed_certificate_keeps_using_its_token() {
    let ledger = Ledger::new();
    let (machine, _) = ledger.machine(PAYMENTS, LINEAGE);
    let (_, renewed) = ledger.machine(PAYMENTS, LINEAGE);
    let token = token().bound_to(&machine, LINEAGE).sign(&ledger.key);
    assert!(ledger.judge(&token, Some(&renewed)).is_ok());
}

#[test]
fn a_stolen_token_is_worth_nothing_to_another_machine() {
    let ledger = Ledger::new();
    let (victim, _) = ledger.machine(PAYMENTS, LINEAGE);
    let other = "l-ffeeddccbbaa99887766554433221100";
    let thieves = [
        ledger.machine("spiffe://prod.example/thief", other).1,
        // The same service on another machine: another lineage.
        ledger.machine(PAYMENTS, other).1,
        // Another subject that somehow has the lineage.
        ledger.machine("spiffe://prod.example/thief", LINEAGE).1,
    ];
    let stolen = token().bound_to(&victim, LINEAGE).sign(&ledger.key);
    for thief in &thieves {
        assert_eq!(ledger.judge(&stolen, Some(thief)).err(), Some(TokenRefusal::NotTheHolder), "{thief:?}");
    }
    assert_eq!(ledger.judge(&stolen, None).err(), Some(TokenRefusal::NoCertificate));
}

#[test]
fn a_token_bound_by_thumbprint_alone_ends_with_that_certificate() {
    let ledger = Ledger::new();
    let (machine, peer) = ledger.machine(PAYMENTS, LINEAGE);
    let (_, renewed) = ledger.machine(PAYMENTS, LINEAGE);
    let token = token().bound_to(&machine, LINEAGE).without("cs_lineage").sign(&ledger.key);
    assert!(ledger.judge(&token, Some(&peer)).is_ok());
    assert_eq!(ledger.judge(&token, Some(&renewed)).err(), Some(TokenRefusal::NotTheHolder));
}

#[test]
fn a_lineage_claimed_under_a_foreign_issuer_is_not_believed() {
    let ledger = Ledger::new();
    let (victim, _) = ledger.machine(PAYMENTS, LINEAGE);
    let stolen = token().bound_to(&victim, LINEAGE).sign(&ledger.key);
    // A federated domain whose authority writes whatever lineage it likes.
    let foreign = Authority::root("partner.example");
    ledger.live.store().replace(foreign.bundle()).expect("good roots");
    let thief = ledger.peer(&foreign.leaf("spiffe://partner.example/payments").lineage(LINEAGE).forge());
    assert_eq!(ledger.judge(&stolen, Some(&thief)).err(), Some(TokenRefusal::NotTheHolder));
    // Even one that was verified by an issuer which the snapshot no longer lists.
    let retired = ledger.domain.root.issuer();
    ledger.publish(ledger.snapshot(2).issuer(&retired));
    let old = ledger.peer(&retired.leaf(PAYMENTS).lineage(LINEAGE).forge());
    assert!(ledger.judge(&stolen, Some(&old)).is_ok());
    ledger.publish(ledger.snapshot(3));
    assert_eq!(ledger.judge(&stolen, Some(&old)).err(), Some(TokenRefusal::NotTheHolder));
}

#[test]
fn an_unbound_token_is_taken_only_where_the_service_says_so() {
    let ledger = Ledger::new();
    let token = ledger.unbound().sign(&ledger.key);
    assert_eq!(ledger.judge(&token, None).err(), Some(TokenRefusal::Unbound));
    let (_, peer) = ledger.machine(PAYMENTS, LINEAGE);
    assert_eq!(ledger.judge(&token, Some(&peer)).err(), Some(TokenRefusal::Unbound));
    let taken = ledger.settings().unbound_tokens().build().expect("a resource server").judge(&token, None);
    assert!(may(&taken.expect("taken"), "ledger:read"));
}

#[test]
fn a_token_is_bound_or_says_that_it_is_not_and_never_both() {
    let ledger = Ledger::new();
    let (machine, _) = ledger.machine(PAYMENTS, LINEAGE);
    let bound = || token().bound_to(&machine, LINEAGE);
    for odd in [
        token(),
        bound().unbound(),
        token().claim("cs_unbound", false),
        token().claim("cs_unbound", "true"),
        token().claim("cs_lineage", LINEAGE),
        bound().claim("cs_serial", "ab"),
        bound().claim("cs_lineage", "l-nonsense"),
        ledger.unbound().claim("cs_lineage", "l-nonsense"),
        ledger.unbound().claim("cs_serial", "none"),
        ledger.unbound().claim("cs_serial", 7),
        bound().claim("cnf", json!({"jkt": "x"})),
        bound().claim("cnf", json!({"x5t#S256": "AA"})),
        bound().claim("cnf", json!({"x5t#S256": "x", "jkt": "x"})),
        bound().claim("cnf", "x"),
        bound().claim("cnf", json!({})),
    ] {
        let token = odd.clone().sign(&ledger.key);
        assert!(matches!(ledger.refuse(&token), TokenRefusal::Claims { .. }), "{}", odd.claims());
    }
}

#[test]
fn no_algorithm_but_the_issuers_is_heard() {
    let ledger = Ledger::new();
    let none = ledger.unbound().header("alg", "none").header("kid", "key-1").sign_by(|_| String::new());
    assert!(matches!(ledger.refuse(&none), TokenRefusal::Algorithm { found, .. } if found == "none"));
    for alg in ["None", "NONE", "nOnE", "es256", "ES256K", "RS256", "EdDSA", ""] {
        let token = ledger.unbound().header("alg", alg).sign(&ledger.key);
        assert!(matches!(ledger.refuse(&token), TokenRefusal::Algorithm { .. }), "{alg}");
    }
    let number = ledger.unbound().header("alg", 7).sign(&ledger.key);
    assert!(matches!(ledger.refuse(&number), TokenRefusal::Algorithm { .. }));
}

#[test]
fn the_public_key_is_no_secret_to_sign_with() {
    let ledger = Ledger::new();
    let jwks = ledger.key.jwks();
    for secret in [ledger.key.point(), &ledger.key.point()[1..], jwks.as_bytes()] {
        let forged = ledger.unbound().header("alg", "HS256").header("kid", "key-1").sign_by(|message| {
            let key = EncodingKey::from_secret(secret);
            jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("a MAC")
        });
        assert!(matches!(ledger.refuse(&forged), TokenRefusal::Algorithm { found, .. } if found == "HS256"));
    }
}

#[test]
fn no_other_kind_of_token_passes_for_an_access_token() {
    let ledger = Ledger::new();
    // An ID token, a JWT-SVID, a logout token, an assertion, a trust snapshot, and none that says what it is.
    for kind in
        ["JWT", "JOSE", "logout+jwt", "client-authentication+jwt", "countersign-trust+jws", "AT+JWT", ""]
    {
        let token = ledger.unbound().header("typ", kind).sign(&ledger.key);
        assert!(matches!(ledger.refuse(&token), TokenRefusal::Kind { .. }), "{kind}");
    }
    let claims = ledger.unbound().claims().to_string();
    let bare =
        TokenForge::of(r#"{"alg":"ES256","kid":"key-1"}"#, &claims, |message| ledger.key.sign(message));
    assert!(matches!(ledger.refuse(&bare), TokenRefusal::Kind { .. }));
}

#[test]
fn a_key_name_is_looked_up_and_nothing_else_is_done_with_it() {
    let ledger = Ledger::new();
    for kid in
        ["key-2", "", "../../../../dev/null", "key-1' OR '1'='1", "key-1\u{0}", "https://evil.example/key"]
    {
        let token = ledger.unbound().header("kid", kid).sign(&ledger.key);
        assert_eq!(ledger.refuse(&token), TokenRefusal::UnknownKey { kid: kid.to_owned() });
    }
    for kid in [json!(7), json!(["key-1"]), json!(null)] {
        let token = ledger.unbound().header("kid", kid).sign(&ledger.key);
        assert!(matches!(ledger.refuse(&token), TokenRefusal::UnknownKey { .. }));
    }
    let claims = ledger.unbound().claims().to_string();
    let nameless = TokenForge::of(r#"{"alg":"ES256","typ":"at+jwt"}"#, &claims, |text| ledger.key.sign(text));
    assert!(matches!(ledger.refuse(&nameless), TokenRefusal::UnknownKey { .. }));
}

#[test]
fn a_token_that_brings_its_own_key_or_says_where_one_is_is_refused() {
    let ledger = Ledger::new();
    let thief = TokenKey::new("key-1");
    for (name, value) in [
        ("jwk", thief.jwk()),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/chain")),
        ("x5c", json!(["MAA="])),
        ("crit", json!(["exp"])),
        ("cty", json!("JWT")),
        ("anything", json!(1)),
    ] {
        let token = ledger.unbound().header(name, value).sign(&thief);
        assert_eq!(ledger.refuse(&token), TokenRefusal::Header { member: name.to_owned() });
    }
    assert_eq!(ledger.refuse(&ledger.unbound().sign(&thief)), TokenRefusal::Signature);
}

#[test]
fn a_token_for_another_service_is_refused() {
    let ledger = Ledger::new();
    for (aud, shown) in [
        (json!("archive"), "archive"),
        (json!(["ledger"]), ""),
        (json!("Ledger"), "Ledger"),
        (json!(null), ""),
    ] {
        let token = ledger.unbound().claim("aud", aud).sign(&ledger.key);
        let (found, expected) = (shown.to_owned(), "ledger".to_owned());
        assert_eq!(ledger.refuse(&token), TokenRefusal::Audience { found, expected });
    }
    assert!(matches!(
        ledger.refuse(&ledger.unbound().without("aud").sign(&ledger.key)),
        TokenRefusal::Audience { .. }
    ));
}

#[test]
fn an_issuer_nobody_named_is_refused() {
    let ledger = Ledger::new();
    for iss in ["https://evil.example", "https://ca.prod.example:8443/", "https://CA.prod.example:8443", ""] {
        let token = ledger.unbound().claim("iss", iss).sign(&ledger.key);
        assert_eq!(ledger.refuse(&token), TokenRefusal::Issuer { found: iss.to_owned() });
    }
    let without = ledger.unbound().without("iss").sign(&ledger.key);
    assert_eq!(ledger.refuse(&without), TokenRefusal::Issuer { found: String::new() });
}

#[test]
fn a_token_is_good_from_its_first_second_to_its_last_and_the_clocks_may_differ_a_little() {
    let ledger = Ledger::new();
    let resource =
        ledger.settings().unbound_tokens().skew(Duration::from_secs(30)).build().expect("a server");
    let token = ledger.unbound().sign(&ledger.key);
    let at = |seconds: i64| {
        ledger.clock.set(countersign_verifier::Timestamp::from_unix(noon().unix() + seconds));
        resource.judge(&token, None).err()
    };
    assert_eq!(at(-31), Some(TokenRefusal::NotYetValid { by: Duration::from_secs(31) }));
    assert_eq!(at(-30), None);
    assert_eq!(at(929), None);
    assert_eq!(at(930), Some(TokenRefusal::Expired { by: Duration::from_secs(30) }));
    ledger.clock.set(noon());
    let caller = resource.judge(&token, None).expect("a good token");
    ledger.clock.set(noon() + Duration::from_secs(930));
    assert!(!may(&caller, "ledger:read"), "whoever kept the caller has nothing of it");
    ledger.clock.set(noon());
    let soon = noon().unix() + 31;
    let not_before = ledger.unbound().claim("nbf", soon).sign(&ledger.key);
    assert!(matches!(resource.judge(&not_before, None), Err(TokenRefusal::NotYetValid { .. })));
}

#[test]
fn claims_that_are_missing_or_odd_are_refused() {
    let ledger = Ledger::new();
    for name in ["sub", "client_id", "exp", "iat", "jti", "scope"] {
        let token = ledger.unbound().without(name).sign(&ledger.key);
        assert!(matches!(ledger.refuse(&token), TokenRefusal::Claims { .. }), "{name}");
    }
    let odd: [(&str, Value); 10] = [
        ("sub", json!("payments")),
        ("sub", json!("spiffe://prod.example/other")),
        ("client_id", json!("spiffe://prod.example/other")),
        ("exp", json!("soon")),
        ("exp", json!(noon().unix())),
        ("iat", json!({})),
        ("nbf", json!("x")),
        ("jti", json!(7)),
        ("scope", json!(["ledger:read"])),
        ("cs_key", json!(7)),
    ];
    for (name, value) in odd {
        let token = ledger.unbound().claim(name, value.clone()).sign(&ledger.key);
        assert!(matches!(ledger.refuse(&token), TokenRefusal::Claims { .. }), "{name} {value}");
    }
    let elsewhere = "spiffe://partner.example/payments";
    let token = ledger.unbound().claim("sub", elsewhere).claim("client_id", elsewhere).sign(&ledger.key);
    assert!(matches!(ledger.refuse(&token), TokenRefusal::Claims { .. }), "our CA names our own alone");
}

#[test]
fn a_scope_carries_no_more_than_the_policy_gives_and_the_policy_no_more_than_the_scope() {
    let ledger = Ledger::new();
    let resource = ledger.settings().unbound_tokens().build().expect("a resource server");
    let caller = |scope: &str| resource.judge(&ledger.unbound().scope(scope).sign(&ledger.key), None);
    let greedy = caller("ledger:read ledger:close").expect("a good token");
    assert!(may(&greedy, "ledger:read"));
    assert!(!may(&greedy, "ledger:close"), "the policy does not give it");
    assert!(!may(&greedy, "ledger:write"), "the token does not carry it");
    assert_eq!(greedy.permissions(), ["ledger:read".parse::<Permission>().expect("a permission")]);
    assert!(caller("").expect("a good token").permissions().is_empty());
    for odd in
        ["archive:read", "ledger:read archive:read", "ledger:read  ledger:write", "ledger", " ", "ledger:*"]
    {
        assert!(matches!(caller(odd).err(), Some(TokenRefusal::Claims { .. })), "{odd:?}");
    }
}

#[test]
fn a_grant_that_was_withdrawn_is_gone_from_tokens_that_were_made_before() {
    let ledger = Ledger::new();
    let resource = ledger.settings().unbound_tokens().build().expect("a resource server");
    let caller = resource.judge(&ledger.unbound().sign(&ledger.key), None).expect("a good token");
    assert!(may(&caller, "ledger:read"));
    let less = POLICY.replace(r#""ledger:read", "ledger:write", "#, "");
    ledger.publish(ledger.snapshot(2).policy(&less));
    assert!(!may(&caller, "ledger:read"));
}

#[test]
fn a_token_dies_with_what_was_revoked() {
    let ledger = Ledger::new();
    let (machine, peer) = ledger.machine(PAYMENTS, LINEAGE);
    let now = noon().unix();
    let bound = token().bound_to(&machine, LINEAGE).claim("cs_key", "00000000000000a1").sign(&ledger.key);
    assert!(ledger.judge(&bound, Some(&peer)).is_ok());
    let cases = [
        ("token_ids", json!(["t-1"]), "token"),
        ("api_keys", json!(["00000000000000a1"]), "API key it came from"),
        // In the very second in which the token was made.
        ("lineages", json!([[LINEAGE, now, now + 3600]]), "holder of the token"),
        ("subjects", json!([[PAYMENTS, now, now + 3600]]), "holder of the token"),
    ];
    for (sequence, (list, entries, what)) in (2..).zip(cases) {
        ledger.publish(ledger.snapshot(sequence).list(list, entries));
        assert_eq!(ledger.judge(&bound, Some(&peer)).err(), Some(TokenRefusal::Revoked { what }), "{list}");
    }
    let others = json!([["l-ffeeddccbbaa99887766554433221100", now, now + 3600]]);
    let earlier = json!([[PAYMENTS, now - 1, now + 3600]]);
    ledger.publish(ledger.snapshot(9).list("lineages", others).list("subjects", earlier));
    assert!(ledger.judge(&bound, Some(&peer)).is_ok(), "others, and what was before it");
}

#[test]
fn an_unbound_token_dies_with_the_certificate_it_was_bought_with_and_with_its_lineage() {
    let ledger = Ledger::new();
    let bought = ledger.unbound().claim("cs_lineage", LINEAGE).claim("cs_serial", "ab01");
    let bought = bought.claim("cs_key", "00000000000000a1").sign(&ledger.key);
    let resource = ledger.settings().unbound_tokens().build().expect("a resource server");
    let refused = || resource.judge(&bought, None).err();
    assert_eq!(refused(), None);
    let (_, peer) = ledger.machine(PAYMENTS, "l-ffeeddccbbaa99887766554433221100");
    let now = noon().unix();
    let serials =
        |serial: &str, end: i64| json!([{ "issuer": "00", "entries": [["aa", now + 3600], [serial, end]] }]);
    let cases = [
        ("serials", serials("ab01", now), "certificate it was bought with"),
        ("lineages", json!([[LINEAGE, now, now + 3600]]), "holder of the token"),
        ("subjects", json!([[PAYMENTS, now, now + 3600]]), "holder of the token"),
        ("token_ids", json!(["t-1"]), "token"),
        ("api_keys", json!(["00000000000000a1"]), "API key it came from"),
    ];
    for (sequence, (list, entries, what)) in (2..).zip(cases) {
        ledger.publish(ledger.snapshot(sequence).list(list, entries));
        assert_eq!(refused(), Some(TokenRefusal::Revoked { what }), "{list}");
        assert!(resource.judge(&bought, Some(&peer)).is_err(), "no certificate makes it good again: {list}");
    }
    ledger.publish(ledger.snapshot(9).list("serials", serials("ab02", now + 3600)));
    assert_eq!(refused(), None, "others, and what was resumed");
}

#[test]
fn a_key_that_left_the_snapshot_signs_no_more_and_a_new_one_does() {
    let mut ledger = Ledger::new();
    let resource = ledger.settings().unbound_tokens().build().expect("a resource server");
    let old = ledger.unbound().sign(&ledger.key);
    assert!(resource.judge(&old, None).is_ok());
    ledger.key = TokenKey::new("key-2");
    ledger.publish(ledger.snapshot(2));
    assert_eq!(resource.judge(&old, None).err(), Some(TokenRefusal::UnknownKey { kid: "key-1".to_owned() }));
    assert!(resource.judge(&ledger.unbound().sign(&ledger.key), None).is_ok());
}

#[test]
fn without_fresh_trust_no_token_is_judged() {
    let ledger = Ledger::new();
    let token = ledger.unbound().claim("exp", noon().unix() + 100_000).sign(&ledger.key);
    ledger.clock.set(noon() + Duration::from_secs(86_401));
    assert!(matches!(ledger.refuse(&token), TokenRefusal::NotKnown { .. }));
    let waiting = LiveTrust::anchored(ledger.domain.root.bundle()).clock(noon_clock()).open().expect("roots");
    let resource = ResourceServer::of("ledger", &waiting).tokens_of(CA).build().expect("a resource server");
    let refusal = resource.judge(&token, None).expect_err("no snapshot yet");
    assert!(refusal.is_ours() && refusal.code() == "token_not_judged", "{refusal}");
    let store = Arc::new(TrustStore::new([ledger.domain.root.bundle()]).expect("good roots"));
    let plain = LiveTrust::anchored(ledger.domain.root.bundle()).store(store).clock(noon_clock()).open();
    let resource = ResourceServer::of("ledger", &plain.expect("roots")).tokens_of(CA).build();
    let refusal = resource.expect("a resource server").judge(&token, None).expect_err("a bundle alone");
    assert!(matches!(refusal, TokenRefusal::NotKnown { .. }), "{refusal}");
}

#[test]
fn oversized_nested_and_ambiguous_tokens_are_refused_before_any_signature() {
    let ledger = Ledger::new();
    let long = ledger.unbound().claim("padding", "x".repeat(8192)).sign(&ledger.key);
    assert!(matches!(ledger.refuse(&long), TokenRefusal::TooLong { limit: 8192, .. }));
    let mut deep = json!(1);
    for _ in 0..20 {
        deep = json!([deep]);
    }
    let (header, claims) =
        (r#"{"alg":"ES256","typ":"at+jwt","kid":"key-1"}"#, ledger.unbound().claims().to_string());
    let signed = |header: &str, claims: &str| TokenForge::of(header, claims, |text| ledger.key.sign(text));
    let deep = ledger.unbound().claim("deep", deep).sign(&ledger.key);
    let good = signed(header, &claims);
    let twice = claims.replacen('{', r#"{"sub":"spiffe://prod.example/admin","#, 1);
    let header_twice = header.replacen('{', r#"{"alg":"none","#, 1);
    let dotted = format!("{good}.x");
    let padded = format!("{good}=");
    for odd in [
        deep.as_str(),
        &signed(header, &twice),
        &signed(&header_twice, &claims),
        &signed(header, &format!("{claims}{claims}")),
        &signed(header, "[]"),
        &signed("[]", &claims),
        &signed(header, ""),
        &dotted,
        &padded,
        "",
        "..",
        "a.b.c",
        "e30.e30",
    ] {
        assert!(matches!(ledger.refuse(odd), TokenRefusal::Malformed { .. }), "{odd}");
    }
}

#[test]
fn each_attack_on_a_token_is_refused_with_its_own_code() {
    let ledger = Ledger::new();
    let (key, thief, now) = (&ledger.key, TokenKey::new("key-1"), noon().unix());
    let ((machine, _), (_, other)) =
        (ledger.machine(PAYMENTS, LINEAGE), ledger.machine("spiffe://prod.example/thief", LINEAGE));
    let good = || ledger.unbound();
    let unsigned = |alg: &str| good().header("alg", alg).header("kid", "key-1").sign_by(|_| String::new());
    let by_a_secret = |message: &str| {
        let key = EncodingKey::from_secret(ledger.key.point());
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("a MAC")
    };
    let twice = good().claims().to_string().replacen('{', r#"{"sub":"spiffe://prod.example/admin","#, 1);
    let header = r#"{"alg":"ES256","typ":"at+jwt","kid":"key-1"}"#;
    let early = good().claim("iat", now + 60);
    let cases = [
        ("token_algorithm", unsigned("none")),
        ("token_algorithm", good().header("alg", "HS256").header("kid", "key-1").sign_by(by_a_secret)),
        ("token_type", good().header("typ", "JWT").sign(key)),
        ("token_type", good().header("typ", "client-authentication+jwt").sign(key)),
        ("token_foreign", good().header("kid", "../../etc/passwd").sign(key)),
        ("token_header", good().header("jwk", thief.jwk()).sign(&thief)),
        ("token_header", good().header("jku", "https://evil.example/keys").sign(&thief)),
        ("token_header", good().header("x5u", "https://evil.example/chain").sign(&thief)),
        ("token_signature", good().sign(&thief)),
        ("token_audience", good().claim("aud", "archive").sign(key)),
        ("token_foreign", good().claim("iss", "https://evil.example").sign(key)),
        ("token_expired", good().claim("iat", now - 900).claim("exp", now - 31).sign(key)),
        ("token_not_yet_valid", early.claim("exp", now + 900).sign(key)),
        ("token_not_holder", token().bound_to(&machine, LINEAGE).sign(key)),
        ("token_claims", good().scope("ledger:read archive:read").sign(key)),
        ("token_claims", token().sign(key)),
        ("token_malformed", good().claim("x", "x".repeat(9000)).sign(key)),
        ("token_malformed", good().claim("x", json!([[[[[[[[1]]]]]]]])).sign(key)),
        ("token_malformed", TokenForge::of(header, &twice, |text| key.sign(text))),
        ("token_revoked", good().claim("jti", "t-2").sign(key)),
    ];
    ledger.publish(ledger.snapshot(2).list("token_ids", json!(["t-2"])));
    let resource = ledger.settings().unbound_tokens().build().expect("a resource server");
    for (code, token) in &cases {
        let refusal = resource.judge(token, Some(&other)).expect_err(code);
        assert_eq!(refusal.code(), *code, "{refusal}");
    }
    assert_eq!(ledger.judge(&good().sign(key), None).expect_err("bound ones only").code(), "token_unbound");
}

#[test]
fn another_implementation_agrees_on_what_a_good_token_is() {
    let ledger = Ledger::new();
    let theirs =
        Header { typ: Some("at+jwt".into()), kid: Some("key-1".into()), ..Header::new(Algorithm::ES256) };
    let key = EncodingKey::from_ec_der(&ledger.key.pkcs8());
    let made = jsonwebtoken::encode(&theirs, ledger.unbound().claims(), &key).expect("a token");
    let resource = ledger.settings().unbound_tokens().build().expect("a resource server");
    assert!(resource.judge(&made, None).is_ok());

    let ours = ledger.unbound().sign(&ledger.key);
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(ledger.key.jwk()).expect("a JWK");
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["ledger"]);
    validation.set_issuer(&[CA]);
    validation.validate_exp = false;
    let key = DecodingKey::from_jwk(&jwk).expect("a key");
    let read = jsonwebtoken::decode::<Value>(&ours, &key, &validation).expect("they read ours");
    assert_eq!(read.claims["sub"], PAYMENTS);
}

fn login(keys: &TokenKey) -> ForeignIssuer {
    let keys = ForeignKeys::fixed(keys.jwks().as_bytes()).expect("a set");
    let domain = "login.example".parse().expect("a domain");
    ForeignIssuer::new("https://login.example", "https://ledger.example", domain, keys, |claims| {
        let subject: SpiffeId = claims.text("sub")?.parse().ok()?;
        let scope = claims.text("scope")?.split(' ').filter_map(|word| match word {
            "entries.read" => "ledger:read".parse().ok(),
            "entries.write" => "ledger:write".parse().ok(),
            _ => None,
        });
        Some((subject, scope.collect()))
    })
}

fn foreign(subject: &str) -> TokenForge {
    TokenForge::new("https://login.example", "https://ledger.example", subject)
        .scope("entries.read entries.write openid")
}

const ANNA: &str = "spiffe://login.example/anna";

#[test]
fn tokens_of_another_authorization_server_are_mapped_and_held_to_the_policy() {
    let (ledger, keys) = (Ledger::new(), TokenKey::new("l-1"));
    let resource = ledger.settings().also(login(&keys).unbound()).build().expect("a resource server");
    let others = json!(["https://other.example", "https://ledger.example"]);
    let token = foreign(ANNA).claim("aud", others).header("typ", "application/at+jwt").sign(&keys);
    let caller = resource.judge(&token, None).expect("a good token");
    assert_eq!(caller.spiffe_id().as_str(), ANNA);
    assert!(may(&caller, "ledger:read"));
    assert!(!may(&caller, "ledger:write"), "carried, and not granted");
}

#[test]
fn another_authorization_server_vouches_for_its_own_alone() {
    let (ledger, keys) = (Ledger::new(), TokenKey::new("key-1"));
    let resource =
        |issuer| ledger.settings().unbound_tokens().also(issuer).build().expect("a resource server");
    let open = resource(login(&keys).unbound());
    // An identity of ours, claimed by a foreign server.
    assert!(matches!(open.judge(&foreign(PAYMENTS).sign(&keys), None), Err(TokenRefusal::Claims { .. })));
    // Its key under our issuer's name, and ours under its name.
    assert_eq!(open.judge(&ledger.unbound().sign(&keys), None).err(), Some(TokenRefusal::Signature));
    assert_eq!(open.judge(&foreign(ANNA).sign(&ledger.key), None).err(), Some(TokenRefusal::Signature));
    // Its tokens for somebody else, unbound ones, other algorithms, keys brought along.
    let elsewhere = foreign(ANNA).claim("aud", "https://other.example").sign(&keys);
    assert!(matches!(open.judge(&elsewhere, None), Err(TokenRefusal::Audience { .. })));
    let closed = resource(login(&keys));
    assert_eq!(closed.judge(&foreign(ANNA).sign(&keys), None).err(), Some(TokenRefusal::Unbound));
    let rsa = resource(login(&keys).unbound().signed_by(SignedBy::Rs256));
    assert!(matches!(rsa.judge(&foreign(ANNA).sign(&keys), None), Err(TokenRefusal::Algorithm { .. })));
    let jwk = foreign(ANNA).header("jwk", keys.jwk()).sign(&keys);
    assert!(matches!(open.judge(&jwk, None), Err(TokenRefusal::Header { .. })));
    let odd = foreign(ANNA).header("x5t", "abc").sign(&keys);
    assert!(open.judge(&odd, None).is_ok(), "a header may hold what does no harm");
    // A lineage counts under our own issuers alone.
    let (machine, _) = ledger.machine(PAYMENTS, LINEAGE);
    let (_, renewed) = ledger.machine(PAYMENTS, LINEAGE);
    let bound = foreign(ANNA).bound_to(&machine, LINEAGE).sign(&keys);
    assert_eq!(open.judge(&bound, Some(&renewed)).err(), Some(TokenRefusal::NotTheHolder));
}

#[test]
fn a_server_that_could_name_our_own_machines_is_an_error_of_configuration() {
    let (ledger, keys) = (Ledger::new(), TokenKey::new("key-1"));
    let keys = || ForeignKeys::fixed(keys.jwks().as_bytes()).expect("a set");
    let home =
        ForeignIssuer::new("https://x", "y", "prod.example".parse().expect("a domain"), keys(), |_| None);
    let fault = ledger.settings().also(home).build().expect_err("it could name our machines");
    assert!(matches!(fault, ResourceError::ForeignHome { .. }), "{fault}");
    let same = ForeignIssuer::new(CA, "y", "login.example".parse().expect("a domain"), keys(), |_| None);
    assert!(matches!(ledger.settings().also(same).build(), Err(ResourceError::IssuerTwice(_))));
    for url in ["http://ledger.example", "ledger", "https://ledger.example/?x"] {
        assert!(matches!(ledger.settings().at(url).build(), Err(ResourceError::Url { .. })), "{url}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_octets_instead_of_a_token_are_refused_without_a_panic(text in "\\PC{0,80}", parts in prop::array::uniform3(any::<Vec<u8>>())) {
        let ledger = Ledger::new();
        let encoded = parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        for text in [text, encoded] {
            prop_assert!(ledger.judge(&text, None).is_err());
        }
    }

    #[test]
    fn no_changed_character_of_a_token_lets_it_pass(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.-]") {
        let ledger = Ledger::new();
        let token = ledger.unbound().sign(&ledger.key);
        let at = at.index(token.len());
        let changed = format!("{}{to}{}", &token[..at], &token[at + 1..]);
        let resource = ledger.settings().unbound_tokens().build().expect("a resource server");
        prop_assert_eq!(resource.judge(&changed, None).is_ok(), changed == token);
    }
}
