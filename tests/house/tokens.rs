//! Access tokens over mutual TLS: who gets one, what it says, and who does not.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_testkit::csr;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    ca::{Ca, Setup, id},
    machine::{self, Machine},
    oauth::{self, ask, house, read, refused, token},
    program,
    wire::{self, Connection},
};

fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

#[test]
fn a_token_says_who_what_where_until_when_and_for_whose_key() {
    let ca = house();
    let machine = Machine::enrolled(&ca, "/payments");
    let answer = ask(&ca, Some(&machine.papers), &[("audience", "ledger")]);
    let body: Value = answer.json();
    assert_eq!(body["scope"], "ledger:read ledger:tenant:acme ledger:write");
    let (header, claims) = read(&token(&answer));
    let kid = header["kid"].as_str().unwrap();
    assert_eq!(header, json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid }));
    assert_eq!(claims["iss"], format!("https://{}", ca.listen()));
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(id("/payments")), &json!(id("/payments"))));
    assert_eq!((&claims["aud"], &claims["scope"]), (&json!("ledger"), &body["scope"]));
    let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    assert!((now() - 30..=now()).contains(&iat));
    assert_eq!((exp - iat, body["expires_in"].as_i64()), (900, Some(900)));
    let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(machine.leaf()));
    assert_eq!(claims["cnf"], json!({ "x5t#S256": thumbprint }));
    assert_eq!(claims["cs_lineage"], ca.json(&["machines", "list"])[0]["lineage"]);
    assert!(claims["jti"].as_str().unwrap().len() >= 22);
    let names: Vec<_> = claims.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["aud", "client_id", "cnf", "cs_lineage", "exp", "iat", "iss", "jti", "scope", "sub"]);
    let jwks: Value = wire::get(ca.listen(), None, "/oauth2/jwks").json();
    assert!(jwks["keys"].as_array().unwrap().iter().any(|key| key["kid"] == kid), "{jwks}");
}

#[test]
fn the_service_is_named_in_three_ways_and_is_one() {
    let ca = house();
    let machine = Machine::enrolled(&ca, "/payments");
    let aud =
        |fields: &[(&str, &str)]| read(&token(&ask(&ca, Some(&machine.papers), fields))).1["aud"].clone();
    assert_eq!(aud(&[("resource", "urn:countersign:service:ledger")]), "ledger");
    assert_eq!(aud(&[("audience", "post"), ("resource", "urn:countersign:service:post")]), "post");
    assert_eq!(aud(&[("scope", "post:send")]), "post");
    let error = |fields: &[(&str, &str)]| refused(&ask(&ca, Some(&machine.papers), fields));
    let target = (400, "invalid_target".to_owned());
    assert_eq!(error(&[]), target);
    assert_eq!(error(&[("audience", "ledger"), ("audience", "post")]), target);
    assert_eq!(error(&[("audience", "ledger"), ("resource", "urn:countersign:service:post")]), target);
    for resource in ["https://ledger.example", "ledger", "urn:countersign:service:ledger#x"] {
        assert_eq!(error(&[("resource", resource)]), target, "{resource}");
    }
    assert_eq!(error(&[("audience", "nobody")]), target);
    assert_eq!(error(&[("audience", "countersign")]), target);
}

#[test]
fn asking_for_less_narrows_and_for_more_gives_no_more() {
    let ca = house();
    let machine = Machine::enrolled(&ca, "/payments");
    let scope = |asked: &str| -> Value {
        let answer = ask(&ca, Some(&machine.papers), &[("scope", asked)]);
        let body: Value = answer.json();
        assert_eq!(read(&token(&answer)).1["scope"], body["scope"]);
        body["scope"].clone()
    };
    assert_eq!(scope("ledger:read"), "ledger:read");
    assert_eq!(scope("ledger:write ledger:read"), "ledger:read ledger:write");
    assert_eq!(scope("ledger:read ledger:tenant:globex"), "ledger:read");
    let error = |asked: &str| refused(&ask(&ca, Some(&machine.papers), &[("scope", asked)]));
    for asked in
        ["ledger:tenant:globex", "ledger:read post:send", "ledger", "ledger:read  ledger:write", "\u{e4}"]
    {
        assert_eq!(error(asked), (400, "invalid_scope".to_owned()), "{asked}");
    }
    let other = Machine::enrolled(&ca, "/other");
    let answer = ask(&ca, Some(&other.papers), &[("audience", "ledger")]);
    assert_eq!(refused(&answer), (400, "invalid_scope".to_owned()));
}

#[test]
fn who_proves_nothing_or_another_than_they_say_is_an_invalid_client() {
    let ca = house();
    let machine = Machine::enrolled(&ca, "/payments");
    let wish = [("audience", "ledger")];
    let answer = ask(&ca, None, &wish);
    assert_eq!(answer.header("www-authenticate"), None, "nobody tried a header");
    let invalid = (401, "invalid_client".to_owned());
    assert_eq!(refused(&answer), invalid);
    let named = |name: &str| ask(&ca, Some(&machine.papers), &[wish[0], ("client_id", name)]);
    assert_eq!(refused(&named(&id("/ledger"))), invalid);
    token(&named(&id("/payments")));
    let with_secret = ask(&ca, Some(&machine.papers), &[wish[0], ("client_secret", "x")]);
    assert_eq!(refused(&with_secret), invalid);
}

#[test]
fn a_revoked_suspended_or_unregistered_machine_gets_no_token() {
    let ca = house();
    let machine = Machine::enrolled(&ca, "/payments");
    let answer = || ask(&ca, Some(&machine.papers), &[("audience", "ledger")]);
    token(&answer());
    let invalid = (401, "invalid_client".to_owned());
    ca.run(&["machines", "suspend", &machine.response.machine]).succeeded();
    assert_eq!(refused(&answer()), invalid);
    ca.run(&["machines", "resume", &machine.response.machine]).succeeded();
    token(&answer());
    ca.run(&["registrations", "remove", &id("/payments")]).succeeded();
    assert_eq!(refused(&answer()), invalid);
    ca.run(&["registrations", "set", &id("/payments")]).succeeded();
    token(&answer());
    ca.run(&["revoke", "machine", &machine.response.machine]).succeeded();
    assert_eq!(refused(&answer()), invalid);
}

#[test]
fn a_policy_that_changes_counts_at_the_next_token() {
    let ca = house();
    let machine = Machine::enrolled(&ca, "/payments");
    let answer = || ask(&ca, Some(&machine.papers), &[("audience", "ledger")]);
    token(&answer());
    let deny = "\n[[deny]]\nid = \"spiffe://prod.example/payments\"\npermissions = [\"ledger:write\"]\n";
    let file = ca.scratch("policy.toml");
    std::fs::write(&file, format!("{}{deny}", oauth::POLICY)).unwrap();
    ca.run(&["policy", "apply", file.to_str().unwrap()]).succeeded();
    assert_eq!(answer().json::<Value>()["scope"], "ledger:read ledger:tenant:acme");
}

#[test]
fn a_token_never_outlives_certificate_registration_or_policy() {
    let soon = |seconds: i64| {
        let at = countersign_verifier::Timestamp::from_unix(now() + seconds);
        (at.to_string(), at.unix())
    };
    let (until, end) = soon(300);
    let policy = format!("{}until = {until}\n", oauth::POLICY);
    let ca = Setup::new().policy(&policy).start();
    let exp = |machine: &Machine| {
        read(&token(&ask(&ca, Some(&machine.papers), &[("audience", "ledger")]))).1["exp"].as_i64().unwrap()
    };
    let machine = Machine::enrolled(&ca, "/payments");
    assert_eq!(exp(&machine), end);
    let (until, end) = soon(200);
    ca.run(&["registrations", "set", &id("/payments"), "--until", &until]).succeeded();
    assert_eq!(exp(&machine), end);
    // Its next certificate ends with the registration, one second before.
    let renewed = machine.renewed(&ca);
    ca.run(&["registrations", "set", &id("/payments")]).succeeded();
    assert!((end - 1..=end).contains(&exp(&renewed)));
}

#[test]
fn a_token_is_a_bearer_only_where_the_registration_says_so() {
    let ca = house();
    let machine = Machine::enrolled(&ca, "/payments");
    ca.run(&["registrations", "set", &id("/payments"), "--tokens", "bearer"]).succeeded();
    let claims = read(&token(&ask(&ca, Some(&machine.papers), &[("audience", "ledger")]))).1;
    assert_eq!(claims["cs_unbound"], true);
    assert!(claims.get("cnf").is_none());
    // What it was bought with, so that it dies with that.
    assert_eq!(claims["cs_serial"], machine.serial());
    assert_eq!(claims["cs_lineage"], ca.json(&["machines", "list"])[0]["lineage"]);
}

#[test]
fn forms_are_read_strictly_and_chunked_ones_too() {
    let ca = house();
    let machine = Machine::enrolled(&ca, "/payments");
    let wish = ("audience", "ledger");
    let post =
        |fields: &[(&str, &str)]| refused(&oauth::post(&ca, Some(&machine.papers), "/oauth2/token", fields));
    assert_eq!(post(&[wish]), (400, "invalid_request".to_owned()));
    assert_eq!(post(&[wish, ("grant_type", "password")]), (400, "unsupported_grant_type".to_owned()));
    let twice = [("grant_type", "client_credentials"), ("grant_type", "client_credentials"), wish];
    assert_eq!(post(&twice), (400, "invalid_request".to_owned()));
    let mut connection = Connection::open(ca.listen(), Some(&machine.papers)).unwrap();
    let body = Some(("application/json", &b"{}"[..]));
    let answer = connection.ask("POST", "/oauth2/token", body).unwrap();
    assert_eq!(refused(&answer), (400, "invalid_request".to_owned()));
    let head = "POST /oauth2/token HTTP/1.1\r\nhost: ca\r\ntransfer-encoding: chunked\r\n\
                content-type: application/x-www-form-urlencoded; charset=UTF-8\r\n\r\n";
    let chunks = "1e\r\ngrant_type=client_credentials&\r\nf\r\naudience=ledger\r\n0\r\n\r\n";
    connection.send(format!("{head}{chunks}").as_bytes()).unwrap();
    token(&connection.read().unwrap());
}

#[test]
fn grants_and_refusals_leave_events_and_grants_do_not_grow_the_log() {
    let mut ca = house();
    let machine = Machine::enrolled(&ca, "/payments");
    for _ in 0..20 {
        token(&ask(&ca, Some(&machine.papers), &[("audience", "ledger")]));
    }
    let granted = ca.events("token.granted");
    assert_eq!(granted.len(), 1);
    assert_eq!(granted[0]["spiffe_id"], id("/payments"));
    assert_eq!(granted[0]["service"], "ledger");
    assert_eq!(granted[0]["method"], "certificate");
    assert_eq!(granted[0]["source"], "127.0.0.1");
    ask(&ca, Some(&machine.papers), &[("audience", "nobody")]);
    ask(&ca, None, &[("audience", "ledger")]);
    let refused = ca.events("token.refused");
    assert_eq!(refused.len(), 2);
    assert_eq!((&refused[0]["error"], &refused[0]["service"]), (&json!("invalid_target"), &json!("nobody")));
    assert_eq!(refused[1]["error"], "invalid_client");
    ca.stop();
    ca.start_again();
    let granted = ca.events("token.granted");
    assert_eq!((granted.len(), &granted[1]["repeats"]), (2, &json!(19)));
}

#[test]
fn a_token_leaves_nothing_on_the_disk() {
    let ca = Setup::new().policy(oauth::POLICY).set("limits.tokens_per_second_per_identity", 100_000).start();
    let machine = Machine::enrolled(&ca, "/payments");
    let mut connection = Connection::open(ca.listen(), Some(&machine.papers)).unwrap();
    let body = oauth::form(&[("grant_type", "client_credentials"), ("audience", "ledger")]);
    let mut buy = || {
        let form = Some(("application/x-www-form-urlencoded", body.as_bytes()));
        token(&connection.ask("POST", "/oauth2/token", form).unwrap())
    };
    buy();
    let events = ca.json(&["events", "list"]);
    let before = size(&ca.state());
    for _ in 0..300 {
        buy();
    }
    assert_eq!((size(&ca.state()), ca.json(&["events", "list"])), (before, events));
}

/// Octets of all files below.
fn size(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let one = |entry: std::fs::DirEntry| match entry.metadata().unwrap() {
        metadata if metadata.is_dir() => size(&entry.path()),
        metadata => metadata.len(),
    };
    entries.map(one).sum()
}

#[test]
fn one_identity_that_asks_too_often_waits_and_others_do_not() {
    let ca = Setup::new().policy(oauth::POLICY).set("limits.tokens_per_second_per_identity", 2).start();
    let many = ["--machines", "many"];
    ca.run(&[&["registrations", "set", &id("/payments")], &many[..]].concat()).succeeded();
    let machine = Machine::enrolled(&ca, "/payments");
    let answers: Vec<_> =
        (0..8).map(|_| ask(&ca, Some(&machine.papers), &[("audience", "ledger")])).collect();
    let late = answers.iter().find(|answer| answer.status == 429).expect("one of eight at once is too many");
    assert_eq!(refused(late), (429, "temporarily_unavailable".to_owned()));
    assert!(late.header("retry-after").is_some());
    let key = csr::p256();
    let other = Machine::from(&machine::enroll(&ca, &ca.invite("/other", &[]), &csr::plain(&key)), key);
    assert_eq!(ask(&ca, Some(&other.papers), &[("audience", "ledger")]).status, 400);
}

#[test]
fn one_source_that_asks_too_often_waits_on_every_route_and_others_do_not() {
    let ca = Setup::new()
        .policy(oauth::POLICY)
        .set("limits.requests_per_second_per_source", 1)
        .set("limits.burst_per_source", 6)
        .start();
    let machine = Machine::enrolled(&ca, "/payments");
    let fields = [("grant_type", "client_credentials"), ("audience", "ledger"), ("token", "x")];
    let body = oauth::form(&fields);
    let form = Some(("application/x-www-form-urlencoded", body.as_bytes()));
    let mut flood = Connection::open(ca.listen(), Some(&machine.papers)).unwrap();
    let mut told = |path: &str, many: usize| {
        let late = (0..many).map(|_| flood.ask("POST", path, form).unwrap()).find(|one| one.status == 429);
        late.unwrap_or_else(|| panic!("{path}: {many} at once are too many"))
    };
    for path in ["/oauth2/token", "/oauth2/revoke"] {
        let late = told(path, 10);
        assert!(late.header("retry-after").is_some(), "{path}");
    }
    // A stranger has nothing to ask about, and waits there as everywhere.
    let mut stranger = Connection::open(ca.listen(), None).unwrap();
    let mut told_stranger = (0..10).map(|_| stranger.ask("POST", "/oauth2/introspect", form).unwrap().status);
    assert!(told_stranger.any(|status| status == 429));
    // A service asks about many tokens, so that it may ask more often, and not without end.
    let late = told("/oauth2/introspect", 400);
    assert!(late.header("retry-after").is_some());
    let elsewhere = "127.0.0.2".parse().unwrap();
    let mut other = Connection::open_from(elsewhere, ca.listen(), Some(&machine.papers)).unwrap();
    token(&other.ask("POST", "/oauth2/token", form).unwrap());
    assert_eq!(other.ask("POST", "/oauth2/introspect", form).unwrap().status, 200);
}

#[test]
fn the_keys_of_tokens_stand_in_the_trust_snapshot() {
    let ca = house();
    let machine = Machine::enrolled(&ca, "/payments");
    let jwks: Value = wire::get(ca.listen(), None, "/oauth2/jwks").json();
    let jws = wire::get(ca.listen(), Some(&machine.papers), "/v1/trust").text();
    let payload = read(&jws).1;
    let part = payload["token_keys"]["sha256"].as_str().unwrap();
    let shown: Value =
        wire::get(ca.listen(), Some(&machine.papers), &format!("/v1/trust/part/{part}")).json();
    assert_eq!(shown, jwks);
    assert_eq!(jwks["keys"].as_array().map(Vec::len), Some(1));
}

#[test]
fn the_next_key_of_tokens_is_shown_for_a_day_before_it_signs() {
    let Some(library) = program::faketime() else { return };
    let mut ca = Setup::new().policy(oauth::POLICY).clock(library).start();
    let kids = |ca: &Ca, expected: usize| -> Vec<Value> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let jwks: Value = wire::get(ca.listen(), None, "/oauth2/jwks").json();
            let keys = jwks["keys"].as_array().unwrap();
            if keys.len() == expected {
                return keys.iter().map(|key| key["kid"].clone()).collect();
            }
            assert!(Instant::now() < until, "{jwks}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let signer = |ca: &Ca, path: &str| {
        ca.run(&["registrations", "set", &id(path), "--machines", "many"]).succeeded();
        let machine = Machine::enrolled(ca, path);
        read(&token(&ask(ca, Some(&machine.papers), &[("audience", "ledger")]))).0["kid"].clone()
    };
    let first = kids(&ca, 1);
    let mut later = |offset: &str| {
        ca.stop();
        ca.set_clock(offset);
        ca.start_again();
        let kids = kids(&ca, 2);
        (signer(&ca, "/payments"), kids)
    };
    let (signs, shown) = later("+696h");
    assert_eq!((&signs, &shown[0]), (&first[0], &first[0]));
    let (signs, still) = later("+721h");
    assert_eq!((&signs, &still), (&shown[1], &shown));
}

#[test]
fn the_metadata_is_found_in_both_places_and_names_the_issuer_exactly() {
    let ca: Ca = house();
    let metadata: Value = wire::get(ca.listen(), None, "/.well-known/oauth-authorization-server").json();
    let issuer = format!("https://{}", ca.listen());
    assert_eq!(metadata["issuer"], issuer);
    assert_eq!(metadata["token_endpoint"], format!("{issuer}/oauth2/token"));
    assert_eq!(metadata["jwks_uri"], format!("{issuer}/oauth2/jwks"));
    let openid: Value = wire::get(ca.listen(), None, "/.well-known/openid-configuration").json();
    assert_eq!(openid, metadata);
}
