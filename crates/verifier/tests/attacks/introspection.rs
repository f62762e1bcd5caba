//! Another authorization server that is asked about tokens: what it answers, what it must not be told, and what follows when it is
//! away.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_identity::ManualClock;
use countersign_testkit::{Authority, Forged, TokenForge, TokenKey, noon, noon_clock};
use countersign_verifier::{
    Admission, ArcSwap, Arrival, Caller, ClientProof, ForeignIssuer, Introspection, Limits, LiveTrust,
    Members, Refusal, ResourceError, ResourceServer, ResourceSettings, SpiffeId, SvidVerifier, TokenRefusal,
    Unrecognised, Usage, VerifiedPeer, WebRoots, provider, serve_connections,
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::snapshots::Domain;
use crate::tokens::{CA, LINEAGE, POLICY};
use crate::world::{LEDGER, PAYMENTS, own};

const LOGIN: &str = "https://login.example";
const AUDIENCE: &str = "https://ledger.example";
const ANNA: &str = "spiffe://login.example/anna";
const OPAQUE: &str = "mF_9.B5f-4.1JqM";

/// What the endpoint was asked and how it answers.
#[derive(Clone)]
struct Desk {
    asked: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    answer: Arc<Mutex<Answer>>,
    connections: Arc<AtomicUsize>,
    /// It answers as many as this has room for.
    turns: Arc<Semaphore>,
}

#[derive(Clone)]
enum Answer {
    Says(Value),
    Text(String),
    Status(StatusCode),
    Error(&'static str),
    Elsewhere(String),
}

async fn introspect(State(desk): State<Desk>, headers: HeaderMap, form: String) -> Response {
    desk.asked.lock().expect("the list").push((headers, form));
    drop(desk.turns.acquire().await);
    let answer = desk.answer.lock().expect("the answer").clone();
    match answer {
        Answer::Says(said) => axum::Json(said).into_response(),
        Answer::Text(text) => text.into_response(),
        Answer::Status(status) => status.into_response(),
        Answer::Error(error) => {
            (StatusCode::BAD_REQUEST, axum::Json(json!({ "error": error }))).into_response()
        }
        Answer::Elsewhere(url) => (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, url)]).into_response(),
    }
}

/// It is always noon.
#[derive(Debug)]
struct Noon;

impl TimeProvider for Noon {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(noon().unix()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// An authorization server of the web.
struct Login {
    root: Authority,
    desk: Desk,
    addr: SocketAddr,
}

impl Login {
    /// It wants certificates of this authority, if of any.
    async fn new(clients: Option<&Authority>) -> Self {
        let root = Authority::root("web.example");
        let me = root.issuer().leaf("spiffe://web.example/login").dns("localhost").forge();
        let config = rustls::ServerConfig::builder_with_details(provider(), Arc::new(Noon));
        let config = config.with_protocol_versions(&[&rustls::version::TLS13]).expect("TLS 1.3");
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(authority.certificate().to_vec().into()).expect("a root");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                config.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let config = config.with_single_cert(me.chain(), me.key_der()).expect("an identity");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let desk = Desk {
            asked: Arc::default(),
            answer: Arc::new(Mutex::new(Answer::Says(active()))),
            connections: Arc::default(),
            turns: Arc::new(Semaphore::new(100)),
        };
        let router = Router::new().route("/introspect", post(introspect)).route("/other", post(introspect));
        let connections = Arc::clone(&desk.connections);
        let admit = move |_: &Arrival<'_>| {
            connections.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Refusal>(Admission::new(()))
        };
        let config = Arc::new(ArcSwap::from_pointee(config));
        let limits = Arc::new(ArcSwap::from_pointee(Limits::default()));
        let router = router.with_state(desk.clone());
        tokio::spawn(serve_connections(listener, config, limits, admit, router, std::future::pending()));
        Self { root, desk, addr }
    }

    fn says(&self, answer: Value) {
        self.answers(Answer::Says(answer));
    }

    fn answers(&self, answer: Answer) {
        *self.desk.answer.lock().expect("the answer") = answer;
    }

    fn asked(&self) -> Vec<(HeaderMap, String)> {
        self.desk.asked.lock().expect("the list").clone()
    }

    fn introspection(&self, proof: ClientProof, clock: &Arc<ManualClock>) -> Introspection {
        introspection(&self.root, self.addr, proof, clock)
    }

    fn issuer(&self, clock: &Arc<ManualClock>) -> ForeignIssuer {
        issuer(self.introspection(ClientProof::secret("ledger", "swordfish"), clock))
    }
}

fn introspection(
    root: &Authority,
    addr: SocketAddr,
    proof: ClientProof,
    clock: &Arc<ManualClock>,
) -> Introspection {
    let roots = pem("CERTIFICATE", root.certificate());
    let roots = WebRoots::from_pem(roots.as_bytes()).expect("an authority");
    let url = format!("https://localhost:{}/introspect", addr.port()).parse().expect("a URL");
    Introspection::by(url, &roots, proof, &(Arc::clone(clock) as _)).expect("an endpoint")
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// Bound tokens only, until told otherwise.
fn issuer(introspection: Introspection) -> ForeignIssuer {
    let domain = "login.example".parse().expect("a domain");
    ForeignIssuer::new(LOGIN, AUDIENCE, domain, introspection, |claims| {
        let subject: SpiffeId = format!("spiffe://login.example/{}", claims.text("sub")?).parse().ok()?;
        let scope = claims.text("scope")?.split(' ').filter_map(|word| match word {
            "entries.read" => "ledger:read".parse().ok(),
            "entries.write" => "ledger:write".parse().ok(),
            _ => None,
        });
        Some((subject, scope.collect()))
    })
}

/// What a good answer says.
fn active() -> Value {
    json!({
        "active": true, "iss": LOGIN, "sub": "anna", "client_id": "anna", "aud": AUDIENCE, "token_type": "Bearer",
        "scope": "entries.read entries.write openid", "iat": noon().unix() - 10, "exp": noon().unix() + 3600,
    })
}

fn but(name: &str, value: impl Into<Value>) -> Value {
    let mut answer = active();
    answer[name] = value.into();
    answer
}

fn without(name: &str) -> Value {
    let mut answer = active();
    answer.as_object_mut().expect("an object").remove(name);
    answer
}

/// The ledger, as far as its trust goes.
struct Ledger {
    domain: Domain,
    live: LiveTrust,
    clock: Arc<ManualClock>,
}

impl Ledger {
    fn new() -> Self {
        let (domain, clock) = (Domain::new(), noon_clock());
        let live = LiveTrust::anchored(domain.root.bundle()).clock(Arc::clone(&clock) as _).open();
        let live = live.expect("good roots");
        let forged = domain.forge().policy(POLICY).token_keys(&TokenKey::new("key-1").jwks()).forge();
        live.offer(forged.jws(), forged.parts()).expect("a good snapshot");
        Self { domain, live, clock }
    }

    fn settings(&self) -> ResourceSettings {
        ResourceServer::of("ledger", &self.live).tokens_of(CA).unbound_tokens()
    }

    fn asking(&self, issuer: ForeignIssuer) -> ResourceServer {
        self.settings().also(issuer).build().expect("a resource server")
    }

    fn machine(&self) -> (Forged, VerifiedPeer) {
        let machine = self.domain.issuer.leaf(PAYMENTS).lineage(LINEAGE).forge();
        let verifier = SvidVerifier::new(provider(), self.live.store(), Arc::clone(&self.clock) as _);
        let peer = verifier.verify(&machine.chain(), Usage::Client).expect("a good certificate");
        (machine, peer)
    }
}

fn may(caller: &Caller, permission: &str) -> bool {
    caller.authorize(&permission.parse().expect("a permission")).allowed
}

#[tokio::test]
async fn a_token_is_asked_about_once_in_a_minute_mapped_and_held_to_the_policy() {
    let (login, ledger) = (Login::new(None).await, Ledger::new());
    let resource = ledger.asking(login.issuer(&ledger.clock).unbound());
    for _ in 0..3 {
        let caller = resource.caller(OPAQUE, None).await.expect("an active token");
        assert_eq!(caller.spiffe_id().as_str(), ANNA);
        assert!(may(&caller, "ledger:read"));
        assert!(!may(&caller, "ledger:write"), "carried, and not granted");
    }
    let [(_, form)] = login.asked().try_into().expect("one question");
    assert_eq!(form, format!("token={OPAQUE}&token_type_hint=access_token"));
    ledger.clock.advance(Duration::from_secs(60));
    assert!(resource.caller(OPAQUE, None).await.is_ok());
    assert_eq!(login.asked().len(), 2);
    login.says(json!({ "active": false }));
    assert!(resource.caller(OPAQUE, None).await.is_ok(), "believed for a minute");
    ledger.clock.advance(Duration::from_secs(60));
    assert_eq!(resource.caller(OPAQUE, None).await.err(), Some(TokenRefusal::NotActive));
    assert_eq!(login.desk.connections.load(Ordering::Relaxed), 1, "all over one connection");
}

#[tokio::test]
async fn an_inactive_token_is_nobodys_and_soon_asked_about_again() {
    let (login, ledger) = (Login::new(None).await, Ledger::new());
    let resource = ledger.asking(login.issuer(&ledger.clock).unbound());
    login.says(json!({ "active": false }));
    for _ in 0..5 {
        assert_eq!(resource.caller(OPAQUE, None).await.err(), Some(TokenRefusal::NotActive));
    }
    assert_eq!(login.asked().len(), 1);
    login.answers(Answer::Error("unsupported_token_type"));
    assert_eq!(resource.caller("another", None).await.err(), Some(TokenRefusal::NotActive));
    login.says(active());
    ledger.clock.advance(Duration::from_secs(10));
    assert!(resource.caller(OPAQUE, None).await.is_ok());
}

#[tokio::test]
async fn an_answer_is_believed_about_access_tokens_of_its_issuer_for_this_audience_in_their_time_alone() {
    let (login, ledger) = (Login::new(None).await, Ledger::new());
    let issuer = login.issuer(&ledger.clock).unbound();
    let read = |answer: &str| issuer.answered(answer.as_bytes(), noon()).map_err(|refusal| refusal.code());
    for good in [
        active(),
        without("iss"),
        without("iat"),
        but("aud", json!(["https://other.example", AUDIENCE])),
        but("token_type", "bearer"),
        but("token_use", "access_token"),
        but("exp", noon().unix() + 1),
    ] {
        assert_eq!(read(&good.to_string()).expect("a good answer").subject().as_str(), ANNA, "{good}");
    }
    let (now, text) = (noon().unix(), active().to_string());
    let twice = text.replacen('{', r#"{"sub":"admin","#, 1);
    for (bad, code) in [
        (json!({ "active": false }).to_string(), "token_inactive"),
        (but("active", "true").to_string(), "token_inactive"),
        (but("active", 1).to_string(), "token_inactive"),
        (without("active").to_string(), "token_inactive"),
        (but("iss", "https://evil.example").to_string(), "token_foreign"),
        (but("iss", json!([LOGIN])).to_string(), "token_foreign"),
        (but("aud", "https://other.example").to_string(), "token_audience"),
        (but("aud", json!([])).to_string(), "token_audience"),
        (without("aud").to_string(), "token_claims"),
        // A refresh token is active, too, and an ID token is no access token.
        (without("token_type").to_string(), "token_type"),
        (but("token_type", "N_A").to_string(), "token_type"),
        (but("token_use", "refresh_token").to_string(), "token_type"),
        (but("exp", now).to_string(), "token_expired"),
        (but("nbf", now + 60).to_string(), "token_not_yet_valid"),
        (without("exp").to_string(), "token_claims"),
        (but("exp", "soon").to_string(), "token_claims"),
        (without("sub").to_string(), "token_claims"),
        (but("sub", "../../prod.example").to_string(), "token_claims"),
        (but("cnf", json!({ "jkt": "x" })).to_string(), "token_claims"),
        (but("cnf", json!({ "x5t#S256": "short" })).to_string(), "token_claims"),
        (twice, "token_not_judged"),
        (format!("{text}{text}"), "token_not_judged"),
        (but("x", json!([[[[[[1]]]]]])).to_string(), "token_not_judged"),
        ("[]".to_owned(), "token_not_judged"),
        ("<html>".to_owned(), "token_not_judged"),
        (String::new(), "token_not_judged"),
    ] {
        assert_eq!(read(&bad).err(), Some(code), "{bad}");
    }
    let bound_only = login.issuer(&ledger.clock);
    assert_eq!(bound_only.answered(text.as_bytes(), noon()).err(), Some(TokenRefusal::Unbound));
}

#[tokio::test]
async fn an_answer_is_never_believed_past_the_end_of_its_token() {
    let (login, ledger) = (Login::new(None).await, Ledger::new());
    let resource = ledger.asking(login.issuer(&ledger.clock).unbound());
    login.says(but("exp", noon().unix() + 20));
    let caller = resource.caller(OPAQUE, None).await.expect("an active token");
    ledger.clock.advance(Duration::from_secs(19));
    assert!(resource.caller(OPAQUE, None).await.is_ok() && may(&caller, "ledger:read"));
    assert_eq!(login.asked().len(), 1);
    // Its server still calls it active; its end has come all the same, without any allowance.
    ledger.clock.advance(Duration::from_secs(1));
    assert_eq!(resource.caller(OPAQUE, None).await.err(), Some(TokenRefusal::Expired { by: Duration::ZERO }));
    assert!(!may(&caller, "ledger:read"), "whoever kept the caller has nothing of it");
}

#[tokio::test]
async fn a_token_seen_before_on_a_connection_is_asked_about_again_after_its_minute() {
    let (login, ledger) = (Login::new(None).await, Ledger::new());
    let visitor = ledger.asking(login.issuer(&ledger.clock).unbound()).visitor(None);
    let bearer = HeaderValue::from_str(&format!("Bearer {OPAQUE}")).expect("a header");
    let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer)]);
    for _ in 0..3 {
        assert!(visitor.recognise(&headers).await.is_ok());
    }
    assert_eq!(login.asked().len(), 1);
    login.says(json!({ "active": false }));
    ledger.clock.advance(Duration::from_secs(60));
    let refused = visitor.recognise(&headers).await.err();
    assert_eq!(refused, Some(Unrecognised::Refused(TokenRefusal::NotActive)));
}

#[tokio::test]
async fn an_endpoint_that_is_away_or_talks_nonsense_lets_nobody_in_and_is_not_believed() {
    let (login, ledger) = (Login::new(None).await, Ledger::new());
    let resource = ledger.asking(login.issuer(&ledger.clock).unbound());
    let elsewhere = format!("https://localhost:{}/other", login.addr.port());
    for (questions, answer) in (1..).zip([
        Answer::Status(StatusCode::INTERNAL_SERVER_ERROR),
        Answer::Status(StatusCode::UNAUTHORIZED),
        Answer::Error("invalid_client"),
        Answer::Status(StatusCode::NO_CONTENT),
        Answer::Elsewhere(elsewhere),
        Answer::Text("nonsense".to_owned()),
        Answer::Text(format!("{}{}", active(), " ".repeat(64 * 1024))),
    ]) {
        login.answers(answer);
        let refusal = resource.caller(OPAQUE, None).await.expect_err("nothing of use was said");
        assert!(refusal.is_ours() && refusal.code() == "token_not_judged", "{refusal}");
        assert_eq!(login.asked().len(), questions, "asked once, and by no redirection: {refusal}");
        let challenge = resource.challenge(&Unrecognised::Refused(refusal));
        assert_eq!(challenge.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    login.says(active());
    assert!(resource.caller(OPAQUE, None).await.is_ok(), "what was not said is not remembered");
    // Nobody listens there any more, and what it said is believed for its minute.
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let away = introspection(&login.root, nobody, ClientProof::secret("ledger", "x"), &ledger.clock);
    let resource = ledger.asking(issuer(away).unbound());
    assert!(resource.caller(OPAQUE, None).await.expect_err("it is away").is_ours());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_never_answers_is_waited_for_ten_seconds() {
    let ledger = Ledger::new();
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = silent.local_addr().expect("an address");
    let proof = ClientProof::secret("ledger", "x");
    let asking = introspection(&Authority::root("web.example"), addr, proof, &ledger.clock);
    let refusal = ledger.asking(issuer(asking).unbound()).caller(OPAQUE, None).await.expect_err("silence");
    assert!(refusal.is_ours() && refusal.to_string().contains("did not answer within 10s"), "{refusal}");
}

#[tokio::test]
async fn a_bound_token_is_worth_nothing_without_its_certificate_whatever_its_server_says() {
    let (login, ledger) = (Login::new(None).await, Ledger::new());
    let resource = ledger.asking(login.issuer(&ledger.clock));
    let ((victim, holder), (_, renewed)) = (ledger.machine(), ledger.machine());
    let bound = TokenForge::new(LOGIN, AUDIENCE, "anna").bound_to(&victim, LINEAGE);
    let mut answer = but("cnf", bound.claims()["cnf"].clone());
    // A lineage is believed of our own authority alone.
    answer["cs_lineage"] = json!(LINEAGE);
    login.says(answer);
    assert!(resource.caller(OPAQUE, Some(&holder)).await.is_ok());
    let refused = |refusal: Result<Caller, TokenRefusal>| refusal.err();
    assert_eq!(refused(resource.caller(OPAQUE, Some(&renewed)).await), Some(TokenRefusal::NotTheHolder));
    assert_eq!(refused(resource.caller(OPAQUE, None).await), Some(TokenRefusal::NoCertificate));
    assert_eq!(login.asked().len(), 1, "the verdict is shared, the binding is asked each time");
}

#[tokio::test]
async fn no_token_of_anybody_else_is_shown_to_the_server_that_is_asked() {
    let (login, ledger) = (Login::new(None).await, Ledger::new());
    let resource = ledger.asking(login.issuer(&ledger.clock).unbound());
    let key = TokenKey::new("key-1");
    let ours = TokenForge::new(CA, "ledger", PAYMENTS).unbound().sign(&key);
    let others = TokenForge::new("https://third.example", "ledger", "x").sign(&key);
    for secret in [
        ours.clone(),
        others,
        // Ours, and no longer in its form: whoever mends it has it.
        format!("{ours}="),
        format!("{ours}.x"),
        ours[..ours.len() - 1].to_owned(),
        ours.replacen('.', "..", 1),
        ours.rsplit_once('.').expect("a signature").0.to_owned(),
        "csk1_00000000000000a1_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc.67808ede".to_owned(),
        "csk1_".to_owned(),
        String::new(),
        "two words".to_owned(),
        "x".repeat(8193),
    ] {
        assert!(resource.caller(&secret, None).await.is_err(), "{secret}");
    }
    assert_eq!(login.asked().len(), 0);
    // One of its own that is a JWT is its to judge, whoever signed it.
    let its = TokenForge::new(LOGIN, AUDIENCE, "anna").sign(&key);
    assert!(resource.caller(&its, None).await.is_ok());
    assert!(resource.judge(&its, None).expect_err("not without asking").is_ours());
}

#[tokio::test]
async fn a_server_of_another_name_or_authority_is_told_nothing() {
    let (login, ledger) = (Login::new(None).await, Ledger::new());
    let proof = || ClientProof::secret("ledger", "swordfish");
    let stranger = introspection(&Authority::root("web.example"), login.addr, proof(), &ledger.clock);
    let refusal = ledger.asking(issuer(stranger).unbound()).caller(OPAQUE, None).await;
    assert!(refusal.expect_err("another authority").is_ours());
    assert_eq!((login.asked().len(), login.desk.connections.load(Ordering::Relaxed)), (0, 0));
}

#[tokio::test]
async fn this_service_proves_itself_by_secret_certificate_or_signature() {
    let ledger = Ledger::new();
    let asked = async |login: &Login, proof: ClientProof| {
        let resource = ledger.asking(issuer(login.introspection(proof, &ledger.clock)).unbound());
        let verdict = resource.caller(OPAQUE, None).await;
        verdict.map(|_| login.asked().pop().expect("a question"))
    };
    let login = Login::new(None).await;
    let (headers, _) = asked(&login, ClientProof::secret("led:ger", "sword fish")).await.expect("an answer");
    // `led%3Ager:sword%20fish`
    assert_eq!(headers[AUTHORIZATION], "Basic bGVkJTNBZ2VyOnN3b3JkJTIwZmlzaA==");

    let key = TokenKey::new("k-1");
    let pem = pem("PRIVATE KEY", &key.pkcs8());
    let proof = ClientProof::signature("ledger", pem.as_bytes(), "k-1").expect("a P-256 key");
    let (headers, form) = asked(&login, proof).await.expect("an answer");
    assert!(headers.get(AUTHORIZATION).is_none() && form.contains("&client_id=ledger&"));
    let bearer = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
    assert!(form.contains(bearer), "{form}");
    let assertion = form.split("client_assertion=").nth(1).expect("an assertion");
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[LOGIN]);
    validation.validate_exp = false;
    let key = DecodingKey::from_jwk(&serde_json::from_value(key.jwk()).expect("a JWK")).expect("a key");
    let read = jsonwebtoken::decode::<Value>(assertion, &key, &validation).expect("they read ours");
    assert_eq!(read.header.kid.as_deref(), Some("k-1"));
    let claims = read.claims;
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("ledger"), &json!("ledger")));
    assert_eq!(claims["exp"].as_i64().expect("a time") - claims["iat"].as_i64().expect("a time"), 60);
    assert!(claims["jti"].as_str().is_some_and(|id| id.len() >= 22));

    let login = Login::new(Some(&ledger.domain.root)).await;
    let me = own(&ledger.domain.issuer.leaf(LEDGER).forge());
    let (_, form) = asked(&login, ClientProof::certificate("ledger", me)).await.expect("an answer");
    assert!(form.ends_with("&client_id=ledger"), "{form}");
    let stranger = Authority::root("prod.example").issuer().leaf(LEDGER).forge();
    for proof in [ClientProof::certificate("ledger", own(&stranger)), ClientProof::secret("ledger", "x")] {
        assert!(asked(&login, proof).await.expect_err("it wants a certificate it knows").is_ours());
    }
    assert!(ClientProof::signature("ledger", b"no key", "k-1").is_err());
}

#[tokio::test]
async fn invented_tokens_do_not_flood_another_server() {
    let (login, ledger) = (Login::new(None).await, Ledger::new());
    let resource = ledger.asking(login.issuer(&ledger.clock).unbound());
    login.desk.turns.forget_permits(100);
    let mut asking = Vec::new();
    for number in 0..16 {
        let resource = resource.clone();
        asking.push(tokio::spawn(async move { resource.caller(&format!("invented-{number}"), None).await }));
    }
    for _ in 0..2000 {
        if login.asked().len() == 16 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(resource.caller(OPAQUE, None).await.expect_err("one too many").is_ours());
    assert_eq!(login.asked().len(), 16);
    login.says(json!({ "active": false }));
    login.desk.turns.add_permits(100);
    for asked in asking {
        assert_eq!(asked.await.expect("an answer").err(), Some(TokenRefusal::NotActive));
    }
    login.says(active());
    assert!(resource.caller(OPAQUE, None).await.is_ok(), "its turn came");
}

#[tokio::test]
async fn a_verdict_of_one_issuer_is_none_of_another_that_asks_the_same_server() {
    let (login, ledger) = (Login::new(None).await, Ledger::new());
    let desk = login.introspection(ClientProof::secret("ledger", "swordfish"), &ledger.clock);
    let bound = issuer(desk.clone());
    let unbound = bound.clone().unbound();
    let other = |audience: &str, domain: &str| {
        let domain = domain.parse().expect("a domain");
        let map = |_: &Members| Some((SpiffeId::from_str(ANNA).ok()?, Vec::new()));
        ForeignIssuer::new(LOGIN, audience, domain, desk.clone(), map).unbound()
    };
    let (archive, elsewhere) =
        (other("https://archive.example", "login.example"), other(AUDIENCE, "x.example"));
    let nothing = other(AUDIENCE, "login.example");
    let resource = ledger.asking(unbound.clone());
    assert!(may(&resource.caller(OPAQUE, None).await.expect("an active token"), "ledger:read"));
    for (issuer, code) in [(bound, "token_unbound"), (archive, "token_audience"), (elsewhere, "token_claims")]
    {
        let refusal = ledger.asking(issuer).caller(OPAQUE, None).await.expect_err(code);
        assert_eq!(refusal.code(), code);
    }
    let nobody = ledger.asking(nothing).caller(OPAQUE, None).await.expect("an active token");
    assert!(!may(&nobody, "ledger:read"), "it is mapped to nothing there");
    // Nor does a no of theirs count here; and the same issuer at another door is the same.
    let again = ledger.asking(unbound).caller(OPAQUE, None).await.expect("an active token");
    assert!(may(&again, "ledger:read") && resource.caller(OPAQUE, None).await.is_ok());
    assert_eq!(login.asked().len(), 5, "each asked for itself, once");
}

#[tokio::test]
async fn many_requests_with_one_token_make_one_question_and_none_of_them_is_turned_away() {
    let (login, ledger) = (Login::new(None).await, Ledger::new());
    let resource = ledger.asking(login.issuer(&ledger.clock).unbound());
    login.desk.turns.forget_permits(100);
    let one = |_| {
        let resource = resource.clone();
        tokio::spawn(async move { resource.caller(OPAQUE, None).await.map(drop) })
    };
    let all: Vec<_> = (0..100).map(one).collect();
    while login.asked().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    login.desk.turns.add_permits(100);
    for one in all {
        assert_eq!(one.await.expect("no panic"), Ok(()));
    }
    assert_eq!(login.asked().len(), 1);
}

#[tokio::test]
async fn two_servers_that_are_asked_about_tokens_are_an_error_of_configuration() {
    let (login, ledger) = (Login::new(None).await, Ledger::new());
    let other = "other.example".parse().expect("a domain");
    let asking = login.introspection(ClientProof::secret("ledger", "x"), &ledger.clock);
    let other = ForeignIssuer::new("https://other.example", AUDIENCE, other, asking, |_| None);
    let built = ledger.settings().also(login.issuer(&ledger.clock)).also(other).build();
    assert!(matches!(built, Err(ResourceError::AskedTwice { .. })), "{built:?}");
}
