//! Clients that prove themselves by a signature in the form: `private_key_jwt` with the key of their certificate, and
//! JWT-SVIDs.

use std::time::Duration;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use countersign_testkit::KeyPair;
use rcgen::SigningKey as _;
use serde_json::{Value, json};

use crate::{
    ca::{Ca, Setup, id},
    machine::Machine,
    oauth::{self, POLICY, ask, house, read, refused, token},
    wire::{self, Answer, Papers},
};

pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// A CA that has run long enough to know which assertions were used, and a machine.
pub(crate) fn settled() -> (Ca, Machine) {
    let ca = house();
    let machine = Machine::enrolled(&ca, "/payments");
    (ca, machine)
}

pub(crate) fn now() -> i64 {
    i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}

/// An assertion as it should be.
pub(crate) struct Assertion {
    header: Value,
    claims: Value,
}

impl Assertion {
    pub(crate) fn of(ca: &Ca, machine: &Machine) -> Self {
        let (now, me) = (now(), id("/payments"));
        let jti: [u8; 8] = std::array::from_fn(|_| rand::random());
        Self {
            header: json!({ "alg": "ES256", "x5c": [STANDARD.encode(machine.leaf())] }),
            claims: json!({
                "iss": me, "sub": me, "aud": format!("https://{}", ca.listen()),
                "iat": now, "exp": now + 60, "jti": format!("{jti:02x?}"),
            }),
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }

    pub(crate) fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(name);
        self.header.as_object_mut().unwrap().remove(name);
        self
    }

    pub(crate) fn sign(&self, key: &KeyPair) -> String {
        signed(&self.header.to_string(), &self.claims.to_string(), key)
    }
}

fn signed(header: &str, claims: &str, key: &KeyPair) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = raw(&key.sign(message.as_bytes()).unwrap());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Two DER INTEGERs as the 64 octets that JWS wants.
fn raw(der: &[u8]) -> [u8; 64] {
    let mut raw = [0; 64];
    let mut rest = &der[2..];
    for end in [32, 64] {
        let length = usize::from(rest[1]);
        let value: Vec<u8> = rest[2..2 + length].iter().copied().skip_while(|octet| *octet == 0).collect();
        raw[end - value.len()..end].copy_from_slice(&value);
        rest = &rest[2 + length..];
    }
    raw
}

#[track_caller]
fn present_as(ca: &Ca, kind: &str, assertion: &str) -> Answer {
    present_with(ca, None, kind, assertion)
}

/// Presents an assertion on a connection that shows a certificate besides.
#[track_caller]
pub(crate) fn present_with(ca: &Ca, papers: Option<&Papers>, kind: &str, assertion: &str) -> Answer {
    let fields = [("client_assertion_type", kind), ("client_assertion", assertion), ("audience", "ledger")];
    ask(ca, papers, &fields)
}

/// Presents an assertion, made anew as long as the CA says that it has only just started.
#[track_caller]
pub(crate) fn present(ca: &Ca, make: impl Fn() -> String) -> Answer {
    for _ in 0..10 {
        let answer = present_as(ca, JWT_BEARER, &make());
        match answer.header("retry-after") {
            Some(seconds) if answer.status == 401 => {
                std::thread::sleep(Duration::from_secs(seconds.parse().unwrap()));
            }
            _ => return answer,
        }
    }
    panic!("the CA never takes an assertion");
}

#[test]
fn a_signature_by_the_key_of_a_certificate_buys_a_token_bound_to_it() {
    let (ca, machine) = settled();
    let lineage = ca.json(&["machines", "list"])[0]["lineage"].as_str().unwrap().to_owned();
    let over_mtls = read(&token(&ask(&ca, Some(&machine.papers), &[("audience", "ledger")]))).1;
    let by_x5c = || Assertion::of(&ca, &machine);
    let by_kid = |kid: &str| Assertion::of(&ca, &machine).without("x5c").header("kid", kid);
    token(&present(&ca, || by_x5c().sign(&machine.key)));
    for assertion in [by_x5c(), by_kid(&machine.serial()), by_kid(&lineage)] {
        let claims = read(&token(&present(&ca, || assertion.sign(&machine.key)))).1;
        assert_eq!((&claims["cnf"], &claims["cs_lineage"]), (&over_mtls["cnf"], &over_mtls["cs_lineage"]));
        assert_eq!(claims["sub"], id("/payments"));
    }
    assert_eq!(ca.events("token.granted").len(), 2, "one by certificate, one by private_key_jwt");
}

#[test]
fn an_assertion_is_for_this_server_of_now_short_and_of_its_own_certificate() {
    let (ca, machine) = settled();
    let other = Machine::enrolled(&ca, "/other");
    token(&present(&ca, || Assertion::of(&ca, &machine).sign(&machine.key)));
    let good = || Assertion::of(&ca, &machine);
    let (issuer, now) = (format!("https://{}", ca.listen()), now());
    let endpoint = format!("{issuer}/oauth2/token");
    let leaf = |machine: &Machine| json!([STANDARD.encode(machine.leaf())]);
    let bad = [
        ("audience", good().claim("aud", "https://other.example")),
        ("endpoint as audience", good().claim("aud", endpoint.clone())),
        ("two audiences", good().claim("aud", json!([issuer, endpoint]))),
        ("expired", good().claim("exp", now - 1).claim("iat", now - 30)),
        ("long", good().claim("exp", now + 3600)),
        ("early", good().claim("iat", now + 30).claim("exp", now + 60)),
        ("not yet", good().claim("nbf", now + 30)),
        ("no iat", good().without("iat")),
        ("no jti", good().without("jti")),
        ("no exp", good().without("exp")),
        ("issuer", good().claim("iss", id("/other"))),
        ("subject", good().claim("sub", id("/other")).claim("iss", id("/other"))),
        ("foreign certificate", good().header("x5c", leaf(&other))),
        ("no certificate", good().without("x5c")),
        ("unknown kid", good().without("x5c").header("kid", "00")),
        ("embedded key", good().without("x5c").header("jwk", json!({ "kty": "EC" }))),
        ("key elsewhere", good().without("x5c").header("jku", "https://attacker.example/")),
        ("crit", good().header("crit", json!(["exp"]))),
        ("none", good().header("alg", "none")),
        ("HS256", good().header("alg", "HS256")),
    ];
    for (what, assertion) in bad {
        let answer = present_as(&ca, JWT_BEARER, &assertion.sign(&machine.key));
        assert_eq!(refused(&answer), (401, "invalid_client".to_owned()), "{what}: {}", answer.text());
        assert_eq!(answer.header("retry-after"), None, "{what}: {}", answer.text());
    }
    let stolen = present_as(&ca, JWT_BEARER, &good().sign(&other.key));
    assert_eq!(refused(&stolen), (401, "invalid_client".to_owned()));
    let claims = good().claims.to_string();
    let twice = claims.replacen('{', &format!("{{\"sub\":\"{}\",", id("/other")), 1);
    let deep = claims.replacen('{', &format!("{{\"x\":{}{},", "[".repeat(3000), "]".repeat(3000)), 1);
    let long = claims.replacen('{', &format!("{{\"x\":\"{}\",", "x".repeat(9000)), 1);
    for claims in [twice, deep, long, "[]".to_owned(), "{}".to_owned(), String::new()] {
        let answer = present_as(&ca, JWT_BEARER, &signed(&good().header.to_string(), &claims, &machine.key));
        assert_eq!(refused(&answer), (401, "invalid_client".to_owned()), "{}", answer.text());
    }
    for text in ["", "a.b.c", "..", "x"] {
        assert_eq!(refused(&present_as(&ca, JWT_BEARER, text)).0, 401, "{text}");
    }
    assert_eq!(refused(&present_as(&ca, "other", &good().sign(&machine.key))).0, 401);
    token(&present_as(&ca, JWT_BEARER, &good().sign(&machine.key)));
    ca.run(&["revoke", "machine", &machine.response.machine]).succeeded();
    assert_eq!(refused(&present_as(&ca, JWT_BEARER, &good().sign(&machine.key))).0, 401);
}

#[test]
fn an_assertion_counts_once_also_across_a_restart() {
    let (mut ca, machine) = settled();
    token(&present(&ca, || Assertion::of(&ca, &machine).sign(&machine.key)));
    let used = Assertion::of(&ca, &machine).sign(&machine.key);
    token(&present_as(&ca, JWT_BEARER, &used));
    let again = present_as(&ca, JWT_BEARER, &used);
    assert!(again.text().contains("used before"), "{}", again.text());
    assert_eq!(refused(&again), (401, "invalid_client".to_owned()));
    ca.kill();
    ca.start_again();
    let after = present_as(&ca, JWT_BEARER, &used);
    assert_eq!(refused(&after), (401, "invalid_client".to_owned()));
    assert!(after.header("retry-after").is_some(), "{}", after.text());
    token(&present(&ca, || Assertion::of(&ca, &machine).sign(&machine.key)));
}

/// What is remembered of used assertions has room for some thousand of each identity, and for many of them.
#[test]
fn an_identity_that_uses_assertions_too_often_waits_and_others_do_not() {
    let ca = Setup::new().policy(POLICY).set("limits.tokens_per_second_per_identity", 1).start();
    let machine = Machine::enrolled(&ca, "/payments");
    token(&present(&ca, || Assertion::of(&ca, &machine).sign(&machine.key)));
    let unused = Assertion::of(&ca, &machine).sign(&machine.key);
    let answers: Vec<_> = (0..5)
        .map(|_| {
            let text = Assertion::of(&ca, &machine).sign(&machine.key);
            let fields = [("client_assertion_type", JWT_BEARER), ("client_assertion", &text), ("token", "x")];
            oauth::post(&ca, None, "/oauth2/introspect", &fields)
        })
        .collect();
    let late = answers.iter().find(|answer| answer.status == 429).expect("one of five at once is too many");
    assert_eq!(refused(late), (429, "temporarily_unavailable".to_owned()));
    assert!(late.header("retry-after").is_some());
    let other = Machine::enrolled(&ca, "/post");
    assert_eq!(ask(&ca, Some(&other.papers), &[("audience", "ledger")]).status, 400);
    // An assertion that came too early was not used up by that.
    std::thread::sleep(Duration::from_secs(2));
    token(&present_as(&ca, JWT_BEARER, &unused));
    // Whoever plays it again uses nothing up, and keeps nobody waiting.
    for _ in 0..5 {
        assert_eq!(refused(&present_as(&ca, JWT_BEARER, &unused)), (401, "invalid_client".to_owned()));
    }
}

#[test]
fn a_jwt_svid_for_this_server_buys_unbound_tokens_where_the_registration_allows_them() {
    let (ca, machine) = settled();
    let issuer = format!("https://{}", ca.listen());
    let svid = |audience: &[&str]| -> String {
        let body = json!({ "spiffe_id": id("/payments"), "audience": audience });
        let answer = wire::post(ca.listen(), Some(&machine.papers), "/v1/jwt-svid", &body);
        let body: Value = answer.json();
        let texts = body.as_object().unwrap().values().filter_map(Value::as_str);
        texts.filter(|text| text.matches('.').count() == 2).map(str::to_owned).next().unwrap()
    };
    let good = svid(&[&issuer]);
    let bound = present_as(&ca, JWT_SPIFFE, &good);
    assert_eq!(refused(&bound), (400, "unauthorized_client".to_owned()));
    ca.run(&["registrations", "set", &id("/payments"), "--tokens", "bearer"]).succeeded();
    let claims = read(&token(&present_as(&ca, JWT_SPIFFE, &good))).1;
    assert_eq!((&claims["sub"], &claims["cs_unbound"]), (&json!(id("/payments")), &json!(true)));
    let invalid = (401, "invalid_client".to_owned());
    for audience in [&["ledger"][..], &[&issuer, "ledger"]] {
        assert_eq!(refused(&present_as(&ca, JWT_SPIFFE, &svid(audience))), invalid, "{audience:?}");
    }
    assert_eq!(refused(&present_as(&ca, JWT_BEARER, &good)), invalid);
    // An access token is no JWT-SVID, and the reverse.
    let access = token(&ask(&ca, Some(&machine.papers), &[("audience", "ledger")]));
    assert_eq!(refused(&present_as(&ca, JWT_SPIFFE, &access)), invalid);
    assert_eq!(refused(&present_as(&ca, JWT_BEARER, &access)), invalid);
    let forged =
        format!("{}.{}", &good[..good.rfind('.').unwrap()], &access[access.rfind('.').unwrap() + 1..]);
    assert_eq!(refused(&present_as(&ca, JWT_SPIFFE, &forged)), invalid);
    ca.run(&["machines", "suspend", &machine.response.machine]).succeeded();
    assert_eq!(refused(&present_as(&ca, JWT_SPIFFE, &good)), invalid);
    // Nor speaks it for the machine that has the identity next.
    let next = Machine::enrolled(&ca, "/payments");
    assert_eq!(refused(&present_as(&ca, JWT_SPIFFE, &good)), invalid);
    let body = json!({ "spiffe_id": id("/payments"), "audience": [issuer] });
    let own: Value = wire::post(ca.listen(), Some(&next.papers), "/v1/jwt-svid", &body).json();
    token(&present_as(&ca, JWT_SPIFFE, own["svid"].as_str().unwrap()));
}
