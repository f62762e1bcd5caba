//! API keys, introspection and revocation: what a service learns, what others do not, and what dies when.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_verifier::Timestamp;
use serde_json::{Value, json};

use crate::{
    ca::{Ca, Setup, id},
    machine::Machine,
    oauth::{self, ask, form, house, post, read, refused, token},
    program::faketime,
    wire::{self, Answer, Connection, Papers},
};

/// The ledger's caller, the ledger, and another service.
struct Cast {
    ca: Ca,
    payments: Machine,
    ledger: Machine,
    post: Machine,
}

fn cast() -> Cast {
    cast_in(house())
}

fn cast_in(ca: Ca) -> Cast {
    let [payments, ledger, post] = ["/payments", "/ledger", "/post"].map(|path| Machine::enrolled(&ca, path));
    Cast { ca, payments, ledger, post }
}

impl Cast {
    #[track_caller]
    fn introspect(&self, who: &Machine, text: &str) -> Value {
        let answer = post(&self.ca, Some(&who.papers), "/oauth2/introspect", &[("token", text)]);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        answer.json()
    }

    #[track_caller]
    fn revoke(&self, who: &Machine, text: &str) {
        let answer = post(&self.ca, Some(&who.papers), "/oauth2/revoke", &[("token", text)]);
        assert_eq!((answer.status, answer.text()), (200, String::new()));
    }

    #[track_caller]
    fn token(&self) -> String {
        token(&ask(&self.ca, Some(&self.payments.papers), &[("audience", "ledger")]))
    }

    /// Makes a key for payments at the ledger: its secret and its id.
    #[track_caller]
    fn key(&self, flags: &[&str]) -> (String, String) {
        let id = id("/payments");
        let made = self.ca.json(&[&["keys", "create", &id, "--service", "ledger"], flags].concat());
        (made["secret"].as_str().unwrap().to_owned(), made["key"]["key"].as_str().unwrap().to_owned())
    }

    /// Every part of the trust snapshot that tells of revoked keys and tokens.
    #[track_caller]
    fn withdrawn(&self) -> Vec<Value> {
        let papers = Some(&self.ledger.papers);
        let snapshot = read(&wire::get(self.ca.listen(), papers, "/v1/trust").text()).1;
        let parts = snapshot["revoked"].as_array().unwrap().iter();
        let part = |one: &Value| {
            let path = format!("/v1/trust/part/{}", one["sha256"].as_str().unwrap());
            wire::get(self.ca.listen(), papers, &path).json()
        };
        parts.map(part).filter(|part: &Value| part.get("serials").is_none()).collect()
    }
}

fn inactive() -> Value {
    json!({ "active": false })
}

/// Posts a form with a name and a secret in a Basic header.
#[track_caller]
pub(crate) fn post_basic(
    ca: &Ca,
    papers: Option<&Papers>,
    pair: (&str, &str),
    fields: &[(&str, &str)],
) -> Answer {
    let body = form(&[&[("grant_type", "client_credentials")], fields].concat());
    let basic = STANDARD.encode(format!("{}:{}", pair.0, pair.1));
    let mut connection = Connection::open(ca.listen(), papers).unwrap();
    let head = format!(
        "POST /oauth2/token HTTP/1.1\r\nhost: ca\r\nauthorization: Basic {basic}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.send(head.as_bytes()).unwrap();
    connection.read().unwrap()
}

#[test]
fn a_service_learns_of_tokens_for_it_and_nobody_else_does() {
    let cast = cast();
    let text = cast.token();
    let said = cast.introspect(&cast.ledger, &text);
    let claims = read(&text).1;
    assert_eq!((&said["active"], &said["token_type"]), (&json!(true), &json!("Bearer")));
    for name in ["iss", "sub", "client_id", "aud", "exp", "iat", "jti", "scope", "cnf", "cs_lineage"] {
        assert_eq!(said[name], claims[name], "{name}");
    }
    for other in [&cast.post, &cast.payments] {
        assert_eq!(cast.introspect(other, &text), inactive());
    }
    let answer = post(&cast.ca, None, "/oauth2/introspect", &[("token", &text)]);
    assert_eq!(refused(&answer), (401, "invalid_client".to_owned()));
    let answer = post(&cast.ca, Some(&cast.ledger.papers), "/oauth2/introspect", &[]);
    assert_eq!(refused(&answer), (400, "invalid_request".to_owned()));
}

/// Why somebody reads no more than that a token is inactive is written down, and how often that happens is not.
#[test]
fn refused_introspections_and_revocations_leave_events_within_a_rate() {
    let cast = cast();
    let text = cast.token();
    cast.introspect(&cast.ledger, &text);
    assert_eq!(cast.ca.events("introspection.refused"), Vec::<Value>::new());
    cast.introspect(&cast.post, &text);
    cast.introspect(&cast.ledger, "a.b.c");
    cast.revoke(&cast.payments, &text);
    cast.introspect(&cast.ledger, &text);
    let refused = cast.ca.events("introspection.refused");
    let told: Vec<_> =
        refused.iter().map(|one| (&one["error"], &one["spiffe_id"], &one["service"])).collect();
    let (someone, ledger, service) = (json!(id("/post")), json!(id("/ledger")), json!("ledger"));
    let expected = [
        (&json!("not_for_caller"), &someone, &service),
        (&json!("unknown"), &ledger, &Value::Null),
        (&json!("ended"), &ledger, &service),
    ];
    assert_eq!(told, expected);
    assert_eq!(refused[0]["source"], "127.0.0.1");
    for path in ["/oauth2/introspect", "/oauth2/revoke"] {
        for _ in 0..15 {
            post(&cast.ca, None, path, &[("token", &text)]);
        }
    }
    for kind in ["introspection.refused", "revocation.refused"] {
        let strangers = cast.ca.events(kind);
        let strangers = strangers.iter().filter(|one| one["error"] == "invalid_client").count();
        assert_eq!(strangers, 10, "{kind}");
    }
}

#[test]
fn what_is_no_token_of_ours_is_inactive() {
    let cast = cast();
    let text = cast.token();
    let [header, payload, signature] = text.split('.').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let flipped = format!("{}{}", if signature.starts_with('A') { "B" } else { "A" }, &signature[1..]);
    let none = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#);
    let jwk = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(
        r#"{"alg":"ES256","typ":"at+jwt","jwk":{"kty":"EC"},"jku":"https://attacker.example/","kid":"x"}"#,
    );
    for forged in [
        String::new() + "x",
        "a.b.c".to_owned(),
        format!("{header}.{payload}."),
        format!("{header}.{payload}.{flipped}"),
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{signature}"),
        format!("{jwk}.{payload}.{signature}"),
        format!("{header}.{header}.{signature}"),
        format!("{text}.{signature}"),
        "a".repeat(20_000),
    ] {
        assert_eq!(cast.introspect(&cast.ledger, &forged), inactive(), "{forged}");
    }
}

#[test]
fn a_token_dies_with_its_machine_and_lives_again_with_it() {
    let cast = cast();
    let text = cast.token();
    let machine = &cast.payments.response.machine;
    cast.ca.run(&["machines", "suspend", machine]).succeeded();
    assert_eq!(cast.introspect(&cast.ledger, &text), inactive());
    cast.ca.run(&["machines", "resume", machine]).succeeded();
    assert_eq!(cast.introspect(&cast.ledger, &text)["active"], true);
    cast.ca.run(&["revoke", "machine", machine]).succeeded();
    assert_eq!(cast.introspect(&cast.ledger, &text), inactive());
}

#[test]
fn a_token_outlives_the_renewal_of_its_certificate() {
    let cast = cast();
    let text = cast.token();
    let renewed = cast.payments.renewed(&cast.ca);
    let after = token(&ask(&cast.ca, Some(&renewed.papers), &[("audience", "ledger")]));
    assert_eq!(cast.introspect(&cast.ledger, &text)["active"], true);
    let (before, after) = (read(&text).1, read(&after).1);
    assert_eq!(before["cs_lineage"], after["cs_lineage"]);
    assert_ne!(before["cnf"], after["cnf"]);
}

#[test]
fn a_token_and_a_key_are_dead_once_their_registration_has_ended_and_live_again_with_it() {
    let Some(library) = faketime() else { return };
    let cast = cast_in(Setup::new().policy(oauth::POLICY).clock(library).start());
    let (text, (secret, _)) = (cast.token(), cast.key(&[]));
    let bought = read(&text).1["iat"].as_i64().unwrap();
    let ends = |until: &str| {
        cast.ca.run(&["registrations", "set", &id("/payments"), "--until", until]).succeeded();
    };
    ends(&Timestamp::from_unix(bought + 120).to_string());
    for credential in [&text, &secret] {
        assert_eq!(cast.introspect(&cast.ledger, credential)["active"], true);
    }
    // The token itself is good for longer than that.
    cast.ca.set_clock("+3m");
    for credential in [&text, &secret] {
        assert_eq!(cast.introspect(&cast.ledger, credential), inactive());
    }
    let refused = cast.ca.events("introspection.refused");
    assert_eq!(refused.iter().map(|event| &event["error"]).collect::<Vec<_>>(), ["ended", "ended"]);
    ends("2100-01-01T00:00:00Z");
    for credential in [&text, &secret] {
        assert_eq!(cast.introspect(&cast.ledger, credential)["active"], true);
    }
}

#[test]
fn a_token_is_revoked_by_its_holder_or_its_service_and_the_snapshot_says_so() {
    let cast = cast();
    for who in [&cast.payments, &cast.ledger] {
        let text = cast.token();
        cast.revoke(&cast.post, &text);
        assert_eq!(cast.introspect(&cast.ledger, &text)["active"], true);
        cast.revoke(who, &text);
        assert_eq!(cast.introspect(&cast.ledger, &text), inactive());
        let id = read(&text).1["jti"].clone();
        let listed = cast.withdrawn();
        assert!(listed.iter().any(|part| part["token_ids"].as_array().unwrap().contains(&id)), "{listed:?}");
        cast.revoke(who, &text);
    }
    cast.revoke(&cast.payments, "no token of ours");
    assert_eq!(cast.ca.events("token.revoked").len(), 2);
    let answer = post(&cast.ca, None, "/oauth2/revoke", &[("token", "x")]);
    assert_eq!(refused(&answer), (401, "invalid_client".to_owned()));
}

#[test]
fn a_key_is_shown_once_and_known_to_its_service_only() {
    let cast = cast();
    let flags = ["--permission", "ledger:read", "--ttl", "7d", "--note", "nightly"];
    let (secret, key) = cast.key(&flags);
    assert!(secret.starts_with("csk1_"), "the kind is plain");
    let said = cast.introspect(&cast.ledger, &secret);
    assert_eq!((&said["active"], &said["sub"]), (&json!(true), &json!(id("/payments"))));
    assert_eq!((&said["aud"], &said["scope"]), (&json!("ledger"), &json!("ledger:read")));
    assert_eq!(said["cs_key"], json!(key));
    assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 7 * 86_400);
    for other in [&cast.post, &cast.payments] {
        assert_eq!(cast.introspect(other, &secret), inactive());
    }
    let listed = cast.ca.run(&["keys", "list"]).succeeded();
    assert!(listed.contains(&key) && listed.contains("nightly") && !listed.contains(&secret), "{listed}");
    let half = &secret[22..60];
    let book = cast.ca.json(&["events", "list"]).to_string();
    assert!(!book.contains(half) && !cast.ca.log().contains(half));
}

#[test]
fn a_key_with_one_character_changed_or_of_an_unknown_id_is_inactive() {
    let cast = cast();
    let (secret, _) = cast.key(&[]);
    let sealed = |text: &str| format!("{text}.{:08x}", crc32fast::hash(text.as_bytes()));
    let head = secret.split('.').next().unwrap();
    assert_eq!(sealed(head), secret);
    let with = |at: usize| {
        let other = if head.as_bytes()[at] == b'0' { '1' } else { '0' };
        format!("{}{other}{}", &head[..at], &head[at + 1..])
    };
    for forged in [format!("{}x", &secret[..secret.len() - 1]), sealed(&with(10)), sealed(&with(30))] {
        assert_eq!(cast.introspect(&cast.ledger, &forged), inactive(), "{forged}");
    }
    assert_eq!(cast.introspect(&cast.ledger, &secret)["active"], true);
}

#[test]
fn a_key_buys_tokens_for_its_service_only_and_unbound_ones_only_where_the_registration_says_so() {
    let cast = cast();
    let (secret, key) = cast.key(&["--permission", "ledger:read"]);
    let me = id("/payments");
    let alone = post_basic(&cast.ca, None, (&key, &secret), &[]);
    assert_eq!(refused(&alone), (400, "unauthorized_client".to_owned()));
    // Beside a certificate of the same identity the token is bound to that.
    let beside = post_basic(&cast.ca, Some(&cast.payments.papers), (&key, &secret), &[]);
    assert!(read(&token(&beside)).1["cnf"].is_object());
    let other = post_basic(&cast.ca, Some(&cast.post.papers), (&key, &secret), &[]);
    assert_eq!(refused(&other), (400, "unauthorized_client".to_owned()));
    cast.ca.run(&["registrations", "set", &me, "--tokens", "bearer"]).succeeded();
    for name in [&*key, &me, &me.replace(':', "%3A").replace('/', "%2F")] {
        let text = token(&post_basic(&cast.ca, None, (name, &secret), &[]));
        let claims = read(&text).1;
        assert_eq!((&claims["aud"], &claims["scope"]), (&json!("ledger"), &json!("ledger:read")), "{name}");
        assert_eq!((&claims["cs_key"], &claims["cs_unbound"]), (&json!(key), &json!(true)));
        assert_eq!(cast.introspect(&cast.ledger, &text)["active"], true);
    }
    let wrong = post_basic(&cast.ca, None, (&key, "csk1_x"), &[]);
    assert_eq!(wrong.header("www-authenticate"), Some("Basic realm=\"countersign\""));
    let basic =
        |pair: (&str, &str), fields: &[(&str, &str)]| refused(&post_basic(&cast.ca, None, pair, fields));
    assert_eq!(basic((&key, &secret), &[("audience", "post")]), (400, "invalid_target".to_owned()));
    assert_eq!(basic((&key, &secret), &[("scope", "ledger:write")]), (400, "invalid_scope".to_owned()));
    let invalid = (401, "invalid_client".to_owned());
    assert_eq!(basic(("0000000000000000", &secret), &[]), invalid);
    assert_eq!(basic((&id("/ledger"), &secret), &[]), invalid);
    assert_eq!(basic((&key, "csk1_x"), &[]), invalid);
    let text = token(&post_basic(&cast.ca, None, (&key, &secret), &[]));
    cast.ca.run(&["keys", "revoke", &key]).succeeded();
    assert_eq!(cast.introspect(&cast.ledger, &text), inactive());
    assert_eq!(basic((&key, &secret), &[]), invalid);
}

#[test]
fn a_revoked_key_is_dead_at_once_and_in_the_snapshot() {
    let cast = cast();
    let (secret, key) = cast.key(&[]);
    cast.ca.run(&["keys", "revoke", &key, "--reason", "leaked"]).succeeded();
    assert_eq!(cast.introspect(&cast.ledger, &secret), inactive());
    let listed = cast.withdrawn();
    assert!(listed.iter().any(|part| part["api_keys"] == json!([key])), "{listed:?}");
    assert_eq!(cast.ca.json(&["keys", "list", "--status", "revoked"])[0]["key"], json!(key));
    assert_eq!(cast.ca.events("api_key.revoked")[0]["reason"], "leaked");
    cast.ca.run(&["keys", "revoke", "0000000000000000"]).ended(1, &["no API key 0000000000000000"]);
    let (secret, _) = cast.key(&[]);
    cast.revoke(&cast.ledger, &secret);
    assert_eq!(cast.introspect(&cast.ledger, &secret), inactive());
}

#[test]
fn a_rotated_key_goes_on_for_a_while_beside_its_successor() {
    let cast = cast();
    let (old, key) = cast.key(&["--permission", "ledger:read"]);
    let made = cast.ca.json(&["keys", "rotate", &key, "--overlap", "1h"]);
    let new = made["secret"].as_str().unwrap();
    for secret in [&old, new] {
        let said = cast.introspect(&cast.ledger, secret);
        assert_eq!((&said["active"], &said["scope"]), (&json!(true), &json!("ledger:read")));
    }
    let rotated = cast.ca.json(&["keys", "rotate", made["key"]["key"].as_str().unwrap(), "--overlap", "0s"]);
    assert_eq!(cast.introspect(&cast.ledger, new), inactive());
    assert_eq!(cast.introspect(&cast.ledger, rotated["secret"].as_str().unwrap())["active"], true);
    assert_eq!(cast.ca.events("api_key.rotated").len(), 2);
}

#[test]
fn a_key_gives_no_more_than_the_policy_and_the_registration_do_now() {
    let cast = cast();
    let create = |flags: &[&str]| {
        let me = id("/payments");
        cast.ca.run(&[&["keys", "create", &me, "--service"], flags].concat())
    };
    create(&["ledger", "--permission", "ledger:tenant:globex"]).ended(1, &["does not give"]);
    create(&["nobody"]).ended(1, &["gives"]);
    create(&["countersign"]).ended(1, &["certificates only"]);
    create(&["ledger", "--ttl", "91d"]).ended(1, &["between 1s and 90d"]);
    let stranger = id("/stranger");
    cast.ca.run(&["keys", "create", &stranger, "--service", "ledger"]).ended(1, &["not registered"]);
    let (secret, _) = cast.key(&[]);
    assert_eq!(
        cast.introspect(&cast.ledger, &secret)["scope"],
        "ledger:read ledger:tenant:acme ledger:write"
    );
    let deny = "\n[[deny]]\nid = \"spiffe://prod.example/payments\"\npermissions = [\"ledger:write\"]\n";
    let file = cast.ca.scratch("policy.toml");
    std::fs::write(&file, format!("{}{deny}", oauth::POLICY)).unwrap();
    cast.ca.run(&["policy", "apply", file.to_str().unwrap()]).succeeded();
    assert_eq!(cast.introspect(&cast.ledger, &secret)["scope"], "ledger:read ledger:tenant:acme");
    cast.ca.run(&["registrations", "remove", &id("/payments")]).succeeded();
    assert_eq!(cast.introspect(&cast.ledger, &secret), inactive());
}

#[test]
fn over_mutual_tls_nobody_makes_a_key_of_an_identity_that_holds_a_permission_of_the_ca() {
    let policy = format!(
        "{}\n[[grant]]\nid = \"spiffe://prod.example/keeper\"\npermissions = [\"countersign:keys\"]\n\
         [[grant]]\nid = \"spiffe://prod.example/keeper\"\npermissions = [\"ledger:read\"]\n",
        oauth::POLICY
    );
    let ca = Setup::new().policy(&policy).start();
    let [keeper, payments] = ["/keeper", "/payments"].map(|path| Machine::enrolled(&ca, path));
    let create = |who: &Machine, whom: &str| {
        let body = json!({ "spiffe_id": id(whom), "service": "ledger", "ttl_seconds": 3600 });
        wire::post(ca.listen(), Some(&who.papers), "/v1/admin/keys", &body)
    };
    create(&keeper, "/keeper").refused(403, "permission_denied");
    create(&payments, "/payments").refused(403, "permission_denied");
    let made: Value = create(&keeper, "/payments").json();
    assert_eq!(made["key"]["status"], "active");
    let own = ca.json(&["keys", "create", &id("/keeper"), "--service", "ledger"]);
    let rotate = json!({ "key": own["key"]["key"], "overlap_seconds": 0 });
    let answer = wire::post(ca.listen(), Some(&keeper.papers), "/v1/admin/keys/rotate", &rotate);
    answer.refused(403, "permission_denied");
}

#[test]
fn keys_and_their_hash_outlive_a_restart() {
    let mut cast = cast();
    let (secret, _) = cast.key(&[]);
    cast.ca.stop();
    cast.ca.start_again();
    assert_eq!(cast.introspect(&cast.ledger, &secret)["active"], true);
}
