//! A resource server with the verifier of this house and the authorization server of this house: tokens and API keys from
//! the first discovery to their end.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use countersign_api::JwtSvidResponse;
use countersign_verifier::{
    Allowed, LiveTrust, OwnIdentity, PeerRule, ResourceServer, ResourceSettings, ServerBuilder,
    axum_serve_resource, bundle_from_pem, permissions,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime};

use crate::{
    api_keys::post_basic,
    assertions::Assertion,
    ca::{Ca, TRUST_DOMAIN, id},
    machine::Machine,
    oauth::{ask, house, read, token},
    wire::{self, Answer, Connection, Papers},
};

/// What a service learns from the CA, it learns within so much.
const PATIENCE: Duration = Duration::from_secs(20);

permissions! {
    /// What may be done with the ledger.
    mod ledger = "ledger" {
        /// See entries.
        Read = "read",
    }
}

pub(crate) struct Ledger {
    pub(crate) address: SocketAddr,
    _runtime: Runtime,
}

impl Ledger {
    #[track_caller]
    pub(crate) fn of(ca: &Ca) -> Self {
        Self::with(ca, |resource| resource)
    }

    #[track_caller]
    fn with(ca: &Ca, change: impl FnOnce(ResourceSettings) -> ResourceSettings) -> Self {
        let dir = ca.enroll_agent("/ledger", "ledger");
        Self::at(ca, &dir, change)
    }

    /// With the identity in a directory.
    #[track_caller]
    pub(crate) fn at(ca: &Ca, dir: &Path, change: impl FnOnce(ResourceSettings) -> ResourceSettings) -> Self {
        let runtime = Runtime::new().unwrap();
        let address = runtime.block_on(async {
            let me = OwnIdentity::from_files(dir.join("svid.pem"), dir.join("svid.key")).unwrap();
            let domain: countersign_verifier::TrustDomain = TRUST_DOMAIN.parse().unwrap();
            let roots = bundle_from_pem(domain.clone(), &fs::read(dir.join("bundle.pem")).unwrap()).unwrap();
            let trust = LiveTrust::anchored(roots).kept_in(dir.join("trust")).open().unwrap();
            let url = format!("https://{}", ca.listen());
            tokio::spawn(trust.clone().follow_ca(url.parse().unwrap(), Some(me.clone())));
            trust.ready().await;
            let link = trust.link(url.parse().unwrap(), me.clone()).unwrap();
            let resource = ResourceServer::of("ledger", &trust).tokens_of(&url).api_keys(link);
            let resource = change(resource).build().unwrap();
            let acceptor = ServerBuilder::new(me, trust.store()).admit(PeerRule::trust_domain(domain));
            let acceptor = acceptor.certificate_optional().build().unwrap();
            let entries = |may: Allowed<ledger::Read>| async move { may.caller().spiffe_id().to_string() };
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let router = Router::new().route("/entries", get(entries));
            tokio::spawn(axum_serve_resource(listener, acceptor, resource, router, std::future::pending()));
            address
        });
        Self { address, _runtime: runtime }
    }

    pub(crate) fn ask(&self, papers: Option<&Papers>, bearer: &str) -> Option<Answer> {
        let mut connection = Connection::open(self.address, papers).ok()?;
        let head = format!("GET /entries HTTP/1.1\r\nhost: ledger\r\nauthorization: Bearer {bearer}\r\n\r\n");
        connection.send(head.as_bytes()).ok()?;
        connection.read().ok()
    }

    /// The status of an answer; 0 where the door was not opened.
    fn status(&self, papers: Option<&Papers>, bearer: &str) -> u16 {
        self.ask(papers, bearer).map_or(0, |answer| answer.status)
    }

    /// Waits until a credential is taken, or is not.
    #[track_caller]
    fn until(&self, status: u16, what: &str, bearer: &str) {
        let until = Instant::now() + PATIENCE;
        while self.status(None, bearer) != status {
            assert!(Instant::now() < until, "{what}: not {status}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    fn until_refused(&self, what: &str, papers: Option<&Papers>, bearer: &str) {
        let until = Instant::now() + PATIENCE;
        while self.status(papers, bearer) == 200 {
            assert!(Instant::now() < until, "{what} is still taken");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[track_caller]
fn buy(ca: &Ca, machine: &Machine) -> String {
    token(&ask(ca, Some(&machine.papers), &[("audience", "ledger")]))
}

#[track_caller]
fn jwt_svid(ca: &Ca, machine: &Machine, audience: &str) -> String {
    let wish = json!({ "spiffe_id": id("/payments"), "audience": [audience] });
    let answer = wire::post(ca.listen(), Some(&machine.papers), "/v1/jwt-svid", &wish);
    let svid: JwtSvidResponse = answer.json();
    svid.svid
}

/// A token for a JWT-SVID, on a connection without a certificate.
#[track_caller]
fn buy_by_jwt_svid(ca: &Ca, machine: &Machine) -> String {
    token(&buy_for(ca, &jwt_svid(ca, machine, &format!("https://{}", ca.listen()))))
}

#[track_caller]
fn buy_for(ca: &Ca, svid: &str) -> Answer {
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
    let proof = [("client_assertion_type", kind), ("client_assertion", svid), ("audience", "ledger")];
    ask(ca, None, &proof)
}

#[test]
fn a_renewed_certificate_keeps_using_its_token_and_a_stolen_one_is_refused() {
    let ca = house();
    let ledger = Ledger::of(&ca);
    let machine = Machine::enrolled(&ca, "/payments");
    let bought = buy(&ca, &machine);
    let read = ledger.ask(Some(&machine.papers), &bought).unwrap();
    assert_eq!((read.status, read.text()), (200, id("/payments")));
    let renewed = machine.renewed(&ca);
    assert_eq!(ledger.status(Some(&renewed.papers), &bought), 200, "another key of the lineage");
    let thief = Machine::enrolled(&ca, "/post");
    assert_eq!(ledger.status(Some(&thief.papers), &bought), 401, "a key of another lineage");
    assert_eq!(ledger.status(None, &bought), 401, "no key at all");
    // The very certificate it is bound to, which is no secret, and a key of one's own.
    let impostor = Papers { chain: machine.papers.chain.clone(), key: thief.papers.key.clone_key() };
    assert_eq!(ledger.status(Some(&impostor), &bought), 0, "its thumbprint, and another key: no connection");
    // Another machine of the same identity has another lineage.
    ca.run(&["registrations", "set", &id("/payments"), "--machines", "many"]).succeeded();
    let twin = Machine::enrolled(&ca, "/payments");
    assert_eq!(ledger.status(Some(&twin.papers), &bought), 401, "its twin");
    assert_eq!(ledger.status(Some(&twin.papers), &buy(&ca, &twin)), 200);
}

#[test]
fn a_token_dies_with_its_revocation_and_with_its_machine() {
    let ca = house();
    let ledger = Ledger::of(&ca);
    let machine = Machine::enrolled(&ca, "/payments");
    let (one, other) = (buy(&ca, &machine), buy(&ca, &machine));
    let papers = Some(&machine.papers);
    assert_eq!((ledger.status(papers, &one), ledger.status(papers, &other)), (200, 200));
    crate::oauth::post(&ca, papers, "/oauth2/revoke", &[("token", &one)]);
    ledger.until_refused("a revoked token", papers, &one);
    assert_eq!(ledger.status(papers, &other), 200);
    let name = machine.response.machine.as_str();
    ca.run(&["machines", "suspend", name]).succeeded();
    ledger.until_refused("a token of a suspended machine", papers, &other);
    // Its certificate opens no door meanwhile, and then again.
    ca.run(&["machines", "resume", name]).succeeded();
    let until = Instant::now() + PATIENCE;
    while ledger.status(papers, &other) != 200 {
        assert!(Instant::now() < until, "a token of a resumed machine");
        std::thread::sleep(Duration::from_millis(20));
    }
    ca.run(&["revoke", "machine", name]).succeeded();
    ledger.until_refused("a token of a revoked machine", papers, &other);
}

#[test]
fn neither_a_jwt_svid_nor_an_assertion_nor_a_trust_snapshot_is_an_access_token() {
    let ca = house();
    let ledger = Ledger::with(&ca, ResourceSettings::unbound_tokens);
    ca.run(&["registrations", "set", &id("/payments"), "--tokens", "bearer"]).succeeded();
    let machine = Machine::enrolled(&ca, "/payments");
    let issuer = format!("https://{}", ca.listen());
    let others = [
        jwt_svid(&ca, &machine, "ledger"),
        jwt_svid(&ca, &machine, &issuer),
        Assertion::of(&ca, &machine).claim("aud", "ledger").sign(&machine.key),
        wire::get(ca.listen(), Some(&machine.papers), "/v1/trust").text(),
    ];
    for other in others {
        let refused = ledger.ask(None, &other).unwrap();
        assert_eq!(refused.status, 401, "{other}");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer error=\"invalid_token\""), "{other}");
    }
    assert_eq!(ledger.status(None, &buy(&ca, &machine)), 200);
}

#[test]
fn an_unbound_token_dies_with_its_machine_though_nobody_asks_the_ca() {
    let ca = house();
    let ledger = Ledger::with(&ca, ResourceSettings::unbound_tokens);
    let bearer = |path: &str| {
        ca.run(&["registrations", "set", &id(path), "--tokens", "bearer"]).succeeded();
        Machine::enrolled(&ca, path)
    };
    let machine = bearer("/payments");
    let name = machine.response.machine.as_str();
    let (bought, by_svid) = (buy(&ca, &machine), buy_by_jwt_svid(&ca, &machine));
    ledger.until(200, "an unbound token", &bought);
    ledger.until(200, "one bought by JWT-SVID", &by_svid);
    ca.run(&["machines", "suspend", name]).succeeded();
    ledger.until(401, "an unbound token of a suspended machine", &bought);
    assert_eq!(ledger.status(None, &by_svid), 401, "one bought by JWT-SVID");
    ca.run(&["machines", "resume", name]).succeeded();
    ledger.until(200, "an unbound token of a resumed machine", &bought);
    // The certificate of a lineage changes, and the machine stays the same one.
    let renewed = machine.renewed(&ca);
    assert_eq!(ledger.status(None, &bought), 200, "bought before the renewal");
    let later = buy(&ca, &renewed);
    ca.run(&["revoke", "machine", name]).succeeded();
    ledger.until(401, "an unbound token of a revoked machine", &later);
    assert_eq!((ledger.status(None, &bought), ledger.status(None, &by_svid)), (401, 401));
}

#[test]
fn a_token_bought_by_jwt_svid_dies_with_the_machine_that_asked_and_not_with_its_twin() {
    let ca = house();
    let ledger = Ledger::with(&ca, ResourceSettings::unbound_tokens);
    ca.run(&["registrations", "set", &id("/payments"), "--tokens", "bearer", "--machines", "many"])
        .succeeded();
    let (one, twin) = (Machine::enrolled(&ca, "/payments"), Machine::enrolled(&ca, "/payments"));
    let (by_one, by_twin) = (buy_by_jwt_svid(&ca, &one), buy_by_jwt_svid(&ca, &twin));
    assert_eq!(read(&by_twin).1["cs_serial"], twin.serial());
    // For anybody else a JWT-SVID says nothing of certificates.
    assert!(read(&jwt_svid(&ca, &one, "ledger")).1.get("cs_serial").is_none());
    ledger.until(200, "a token of one", &by_one);
    let svid = jwt_svid(&ca, &one, &format!("https://{}", ca.listen()));
    ca.run(&["revoke", "machine", &one.response.machine]).succeeded();
    ledger.until(401, "a token of one that is revoked", &by_one);
    assert_eq!(ledger.status(None, &by_twin), 200, "the twin goes on");
    assert_eq!(buy_for(&ca, &svid).status, 401, "and what it asked for before buys nothing");
}

#[test]
fn an_unbound_token_dies_with_the_api_key_it_was_exchanged_for() {
    let ca = house();
    let ledger = Ledger::with(&ca, ResourceSettings::unbound_tokens);
    ca.run(&["registrations", "set", &id("/payments"), "--tokens", "bearer"]).succeeded();
    let made: Value = ca.json(&["keys", "create", &id("/payments"), "--service", "ledger"]);
    let (key, secret) = (made["key"]["key"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let bought = token(&post_basic(&ca, None, (key, secret), &[]));
    ledger.until(200, "a token for an API key", &bought);
    ca.run(&["keys", "revoke", key]).succeeded();
    ledger.until(401, "a token for a revoked API key", &bought);
}

#[test]
fn an_api_key_opens_its_service_until_it_is_revoked() {
    let ca = house();
    let ledger = Ledger::of(&ca);
    ca.run(&["registrations", "set", &id("/payments")]).succeeded();
    let made: Value = ca.json(&["keys", "create", &id("/payments"), "--service", "ledger"]);
    let secret = made["secret"].as_str().unwrap();
    let read = ledger.ask(None, secret).unwrap();
    assert_eq!((read.status, read.text()), (200, id("/payments")));
    let elsewhere = ca.json(&["keys", "create", &id("/payments"), "--service", "post"]);
    assert_eq!(ledger.status(None, elsewhere["secret"].as_str().unwrap()), 401);
    ca.run(&["keys", "revoke", made["key"]["key"].as_str().unwrap()]).succeeded();
    ledger.until_refused("a revoked key", None, secret);
}
