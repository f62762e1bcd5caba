//! The resource server over real connections: one handler for callers with certificates, tokens and API keys.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{RawForm, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use countersign_identity::ManualClock;
use countersign_testkit::{Authority, Forged, SnapshotForge, TokenForge, TokenKey, noon, noon_clock};
use countersign_verifier::{
    Admission, Allowed, ArcSwap, Arrival, Caller, ClientBuilder, Clock as _, ForeignIssuer, ForeignKeys,
    HardLimit, Limits, LiveTrust, PeerRule, Refusal, ResourceServer, ResourceSettings, ServerBuilder,
    SpiffeId, WebRoots, axum_serve, axum_serve_resource, permissions, provider, serve_connections,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::snapshots::Domain;
use crate::tokens::{CA, LINEAGE, POLICY};
use crate::world::{LEDGER, PAYMENTS, only, own, trust};

const PATIENCE: Duration = Duration::from_secs(20);
const AUTHORITY: &str = "spiffe://prod.example/countersign/ca";

permissions! {
    mod ledger = "ledger" { Read = "read", Write = "write" }
}

async fn who(caller: Caller) -> String {
    format!(
        "{} may {:?}",
        caller.spiffe_id(),
        caller
            .permissions()
            .iter()
            .map(ToString::to_string)
            .filter(|text| text.starts_with("ledger:"))
            .collect::<Vec<_>>()
    )
}

async fn read(allowed: Allowed<ledger::Read>) -> String {
    format!("entries for {}", allowed.caller().spiffe_id())
}

async fn write(allowed: Allowed<ledger::Write>) -> String {
    format!("written for {}", allowed.caller().spiffe_id())
}

/// What a certificate authority answers about API keys, and what it was asked.
#[derive(Clone, Default)]
struct Introspection {
    asked: Arc<Mutex<Vec<String>>>,
    answer: Arc<Mutex<Option<Value>>>,
    /// It answers as many as this has room for.
    hold: Option<Arc<tokio::sync::Semaphore>>,
}

async fn introspect(State(desk): State<Introspection>, RawForm(form): RawForm) -> Response {
    desk.asked.lock().expect("the list").push(String::from_utf8_lossy(&form).into_owned());
    if let Some(hold) = &desk.hold {
        drop(hold.acquire().await);
    }
    match desk.answer.lock().expect("the answer").clone() {
        Some(answer) => axum::Json(answer).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

struct Ledger {
    domain: Domain,
    key: TokenKey,
    clock: Arc<ManualClock>,
    live: LiveTrust,
    addr: SocketAddr,
}

impl Ledger {
    async fn serving(change: impl FnOnce(ResourceSettings) -> ResourceSettings) -> Self {
        Self::with(Introspection::default(), change).await
    }

    async fn with(desk: Introspection, change: impl FnOnce(ResourceSettings) -> ResourceSettings) -> Self {
        let (domain, clock) = (Domain::new(), noon_clock());
        let live =
            LiveTrust::anchored(domain.root.bundle()).clock(Arc::clone(&clock) as _).open().expect("roots");
        let ca = authority(&domain, &desk).await;
        let me = own(&domain.issuer.leaf(LEDGER).forge());
        let link =
            live.link(format!("https://{ca}").parse().expect("an address"), me.clone()).expect("a link");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let ledger = Self { domain, key: TokenKey::new("key-1"), clock, live, addr };
        ledger.publish(ledger.snapshot(1));
        let resource = ResourceServer::of("ledger", &ledger.live)
            .tokens_of(CA)
            .api_keys(link)
            .at("https://ledger.prod.example:8444")
            .scopes(ledger::ALL);
        let resource = change(resource).build().expect("a resource server");
        let rule = PeerRule::trust_domain("prod.example".parse().expect("a domain"));
        let acceptor =
            ServerBuilder::new(me, ledger.live.store()).admit(rule).clock(ledger.clock.clone() as _);
        let acceptor = acceptor.certificate_optional().build().expect("a server");
        let router = Router::new().route("/entries", get(read).post(write)).route("/who", get(who));
        tokio::spawn(axum_serve_resource(listener, acceptor, resource, router, std::future::pending()));
        ledger
    }

    fn snapshot(&self, sequence: u64) -> SnapshotForge<'_> {
        self.domain.forge().sequence(sequence).policy(POLICY).token_keys(&self.key.jwks())
    }

    fn publish(&self, forge: SnapshotForge<'_>) {
        let forged = forge.forge();
        self.live.offer(forged.jws(), forged.parts()).expect("a good snapshot");
    }

    fn machine(&self, id: &str) -> Forged {
        self.domain.issuer.leaf(id).lineage(LINEAGE).forge()
    }

    async fn connect(&self, machine: Option<&Forged>) -> TlsStream<TcpStream> {
        let client =
            ClientBuilder::new(trust([self.domain.root.bundle()])).expect(only(LEDGER)).clock(noon_clock());
        let client = match machine {
            Some(machine) => client.identity(own(machine)),
            None => client,
        };
        let socket = TcpStream::connect(self.addr).await.expect("a connection");
        client.build().expect("a client").connect(socket).await.expect("the ledger").0
    }

    fn token(&self, scope: &str) -> TokenForge {
        TokenForge::new(CA, "ledger", PAYMENTS).scope(scope)
    }
}

/// The certificate authority, as far as API keys go.
async fn authority(domain: &Domain, desk: &Introspection) -> SocketAddr {
    let me = own(&domain.issuer.leaf(AUTHORITY).forge());
    let acceptor =
        ServerBuilder::new(me, trust([domain.root.bundle()])).admit(only(LEDGER)).clock(noon_clock());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let router = Router::new().route("/oauth2/introspect", post(introspect)).with_state(desk.clone());
    tokio::spawn(axum_serve(listener, acceptor.build().expect("a server"), router, std::future::pending()));
    addr
}

/// One request on an open connection; the whole answer.
async fn ask(stream: &mut TlsStream<TcpStream>, line: &str, headers: &[&str]) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let request = format!("{line} HTTP/1.1\r\nhost: ledger\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = Vec::new();
    for _ in 0..64 {
        let mut octets = [0; 4096];
        let read = timeout(PATIENCE, stream.read(&mut octets)).await.expect("in time").expect("an answer");
        answer.extend_from_slice(&octets[..read]);
        if is_whole(&answer) || read == 0 {
            break;
        }
    }
    String::from_utf8(answer).expect("text")
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}")
}

fn challenge(answer: &str) -> &str {
    answer.lines().find_map(|line| line.strip_prefix("www-authenticate: ")).unwrap_or_default()
}

const WHERE: &str =
    r#"resource_metadata="https://ledger.prod.example:8444/.well-known/oauth-protected-resource""#;

#[tokio::test]
async fn a_handler_need_not_know_what_proved_its_caller() {
    let desk = Introspection::default();
    *desk.answer.lock().expect("the answer") = Some(active("ledger:read ledger:write"));
    let ledger = Ledger::with(desk, |resource| resource.unbound_tokens()).await;
    let machine = ledger.machine(PAYMENTS);
    let bound = ledger.token("ledger:read ledger:write").bound_to(&machine, LINEAGE).sign(&ledger.key);
    let unbound = ledger.token("ledger:read ledger:write").unbound().sign(&ledger.key);
    let mut with = ledger.connect(Some(&machine)).await;
    let mut without = ledger.connect(None).await;
    let mut answers = vec![ask(&mut with, "GET /who", &[]).await];
    answers.push(ask(&mut with, "GET /who", &[&bearer(&bound)]).await);
    answers.push(ask(&mut without, "GET /who", &[&bearer(&unbound)]).await);
    answers.push(ask(&mut without, "GET /who", &[&bearer(KEY)]).await);
    for answer in &answers {
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(
            answer.ends_with(r#"spiffe://prod.example/payments may ["ledger:read", "ledger:write"]"#),
            "{answer}"
        );
    }
    let written = ask(&mut without, "POST /entries", &[&bearer(&unbound)]).await;
    assert!(written.ends_with("written for spiffe://prod.example/payments"), "{written}");
}

#[tokio::test]
async fn whoever_proves_nothing_is_told_where_to_look_and_nothing_else() {
    let ledger = Ledger::serving(|resource| resource).await;
    let mut stream = ledger.connect(None).await;
    let nobody = ask(&mut stream, "GET /entries", &[]).await;
    assert!(nobody.starts_with("HTTP/1.1 401"), "{nobody}");
    assert_eq!(challenge(&nobody), format!("Bearer {WHERE}"));
    let metadata = ask(&mut stream, "GET /.well-known/oauth-protected-resource", &[]).await;
    let body = metadata.split_once("\r\n\r\n").expect("a body").1;
    let document: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(document["authorization_servers"], json!([CA]));
    assert_eq!(document["scopes_supported"], json!(["ledger:read", "ledger:write"]));
    let forged = ledger.token("ledger:read").unbound().sign(&TokenKey::new("key-1"));
    let expired = ledger
        .token("ledger:read")
        .unbound()
        .claim("exp", noon().unix() - 60)
        .claim("iat", 1)
        .sign(&ledger.key);
    for token in [forged.as_str(), &expired, "nonsense", "", KEY] {
        let refused = ask(&mut stream, "GET /entries", &[&bearer(token)]).await;
        if token == KEY {
            assert!(refused.starts_with("HTTP/1.1 503"), "the authority is away: {refused}");
            continue;
        }
        assert!(refused.starts_with("HTTP/1.1 401"), "{token}: {refused}");
        assert_eq!(challenge(&refused), format!(r#"Bearer error="invalid_token", {WHERE}"#));
        assert!(refused.contains("token_not_accepted") && refused.contains("reference"), "{refused}");
        for reason in ["expired", "signature", "issuer", "JWS"] {
            assert!(!refused.contains(reason), "nothing is revealed: {refused}");
        }
    }
}

#[tokio::test]
async fn a_bad_token_is_not_helped_by_a_good_certificate() {
    let ledger = Ledger::serving(|resource| resource).await;
    let machine = ledger.machine(PAYMENTS);
    let mut stream = ledger.connect(Some(&machine)).await;
    assert!(ask(&mut stream, "GET /entries", &[]).await.starts_with("HTTP/1.1 200"));
    let unbound = ledger.token("ledger:read").unbound().sign(&ledger.key);
    let refused = ask(&mut stream, "GET /entries", &[&bearer(&unbound)]).await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let narrow = ledger.token("ledger:read").bound_to(&machine, LINEAGE).sign(&ledger.key);
    let refused = ask(&mut stream, "POST /entries", &[&bearer(&narrow)]).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "the certificate would, the token does not: {refused}");
    let expected = format!(r#"Bearer error="insufficient_scope", scope="ledger:write", {WHERE}"#);
    assert_eq!(challenge(&refused), expected);
}

#[tokio::test]
async fn a_request_with_two_credentials_is_nobodys() {
    let ledger = Ledger::serving(|resource| resource.unbound_tokens()).await;
    let mut stream = ledger.connect(None).await;
    let token = bearer(&ledger.token("ledger:read").unbound().sign(&ledger.key));
    for headers in [[token.as_str(), token.as_str()], [token.as_str(), "authorization: Basic eDp5"]] {
        let refused = ask(&mut stream, "GET /entries", &headers).await;
        assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
        assert!(challenge(&refused).contains("invalid_request"), "{refused}");
    }
    let elsewhere = ask(&mut stream, "GET /entries?access_token=x", &["authorization: Basic eDp5"]).await;
    assert!(elsewhere.starts_with("HTTP/1.1 401"), "{elsewhere}");
    let lower = ask(&mut stream, "GET /entries", &[&token.replace("Bearer", "bEARER")]).await;
    assert!(lower.starts_with("HTTP/1.1 200"), "a scheme has no case (RFC 9110 §11.1): {lower}");
}

#[tokio::test]
async fn a_token_seen_before_on_a_connection_dies_there_with_its_time_and_with_trust() {
    let ledger = Ledger::serving(|resource| resource.unbound_tokens()).await;
    let mut stream = ledger.connect(None).await;
    let token = bearer(&ledger.token("ledger:read").unbound().sign(&ledger.key));
    let other = bearer(&ledger.token("ledger:read").unbound().claim("jti", "t-2").sign(&ledger.key));
    for _ in 0..3 {
        assert!(ask(&mut stream, "GET /entries", &[&token]).await.starts_with("HTTP/1.1 200"));
        assert!(ask(&mut stream, "GET /entries", &[&other]).await.starts_with("HTTP/1.1 200"));
    }
    ledger.publish(ledger.snapshot(2).list("token_ids", json!(["t-1"])));
    assert!(ask(&mut stream, "GET /entries", &[&token]).await.starts_with("HTTP/1.1 401"));
    assert!(ask(&mut stream, "GET /entries", &[&other]).await.starts_with("HTTP/1.1 200"));
    ledger.clock.set(noon() + Duration::from_secs(931));
    assert!(ask(&mut stream, "GET /entries", &[&other]).await.starts_with("HTTP/1.1 401"));
}

const KEY: &str = "csk1_00000000000000a1_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc.67808ede";

fn active(scope: &str) -> Value {
    json!({
        "active": true, "sub": PAYMENTS, "client_id": PAYMENTS, "aud": "ledger", "scope": scope,
        "exp": noon().unix() + 3600,
    })
}

#[tokio::test]
async fn an_api_key_is_asked_about_once_in_a_minute_and_dies_when_it_is_revoked() {
    let desk = Introspection::default();
    *desk.answer.lock().expect("the answer") = Some(active("ledger:read"));
    let ledger = Ledger::with(desk.clone(), |resource| resource).await;
    let asked = || desk.asked.lock().expect("the list").clone();
    let mut stream = ledger.connect(None).await;
    for _ in 0..3 {
        assert!(ask(&mut stream, "GET /entries", &[&bearer(KEY)]).await.starts_with("HTTP/1.1 200"));
    }
    let mut another = ledger.connect(None).await;
    assert!(ask(&mut another, "GET /entries", &[&bearer(KEY)]).await.starts_with("HTTP/1.1 200"));
    assert_eq!(asked(), [format!("token={KEY}")], "once, by whatever connection");
    let refused = ask(&mut stream, "POST /entries", &[&bearer(KEY)]).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "the policy would, the key does not: {refused}");
    ledger.clock.advance(Duration::from_secs(60));
    assert!(ask(&mut stream, "GET /entries", &[&bearer(KEY)]).await.starts_with("HTTP/1.1 200"));
    assert_eq!(asked().len(), 2);
    ledger.publish(ledger.snapshot(2).list("api_keys", json!(["00000000000000a1"])));
    assert!(ask(&mut stream, "GET /entries", &[&bearer(KEY)]).await.starts_with("HTTP/1.1 401"));
    assert_eq!(asked().len(), 2, "the snapshot says it");
}

#[tokio::test]
async fn an_api_key_of_another_service_or_none_is_nobodys() {
    let desk = Introspection::default();
    let ledger = Ledger::with(desk.clone(), |resource| resource).await;
    let mut stream = ledger.connect(None).await;
    let mut elsewhere = active("ledger:read");
    elsewhere["aud"] = json!("archive");
    for answer in [json!({"active": false}), elsewhere] {
        *desk.answer.lock().expect("the answer") = Some(answer);
        let refused = ask(&mut stream, "GET /entries", &[&bearer(KEY)]).await;
        assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
        ledger.clock.advance(Duration::from_secs(10));
    }
    let before = desk.asked.lock().expect("the list").len();
    for odd in ["csk1_", "csk1_x", &KEY.replace("a1_", "a1&"), &format!("{KEY}x")] {
        let refused = ask(&mut stream, "GET /entries", &[&bearer(odd)]).await;
        assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    }
    assert_eq!(desk.asked.lock().expect("the list").len(), before, "nobody is asked about what is no key");
}

#[tokio::test]
async fn invented_keys_do_not_flood_the_authority() {
    let desk = Introspection::default();
    let silent = Arc::new(tokio::sync::Semaphore::new(0));
    let ledger =
        Ledger::with(Introspection { hold: Some(Arc::clone(&silent)), ..desk.clone() }, |resource| resource)
            .await;
    let mut asking = Vec::new();
    for number in 0..16 {
        let mut stream = ledger.connect(None).await;
        let key = bearer(&KEY.replace("00a1", &format!("00{number:02x}")));
        asking.push(tokio::spawn(async move { ask(&mut stream, "GET /entries", &[&key]).await }));
    }
    for _ in 0..2000 {
        if desk.asked.lock().expect("the list").len() == 16 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut stream = ledger.connect(None).await;
    let busy = ask(&mut stream, "GET /entries", &[&bearer(KEY)]).await;
    assert!(busy.starts_with("HTTP/1.1 503"), "{busy}");
    assert_eq!(desk.asked.lock().expect("the list").len(), 16);
    *desk.answer.lock().expect("the answer") = Some(json!({"active": false}));
    silent.add_permits(100);
    for asked in asking {
        assert!(asked.await.expect("an answer").starts_with("HTTP/1.1 401"));
    }
    assert!(
        ask(&mut stream, "GET /entries", &[&bearer(KEY)]).await.starts_with("HTTP/1.1 401"),
        "its turn came"
    );
}

/// An authorization server of the web, and the keys it publishes.
struct Login {
    root: Authority,
    jwks: Arc<Mutex<String>>,
    asked: Arc<Mutex<usize>>,
    addr: SocketAddr,
}

impl Login {
    async fn new(key: &TokenKey) -> Self {
        let root = Authority::root("web.example");
        let (issuer, end) = (root.issuer(), noon() + Duration::from_secs(200_000));
        let me = issuer.leaf("spiffe://web.example/login").dns("localhost").ends(end).forge();
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(me.chain(), me.key_der())
            .expect("an identity");
        let (jwks, asked) = (Arc::new(Mutex::new(key.jwks())), Arc::new(Mutex::new(0)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let (page, count) = (Arc::clone(&jwks), Arc::clone(&asked));
        let answer = move || {
            *count.lock().expect("the count") += 1;
            std::future::ready(page.lock().expect("the keys").clone())
        };
        let router = Router::new().route("/keys", get(answer));
        let admit = |_: &Arrival<'_>| Ok::<_, Refusal>(Admission::new(()));
        let config = Arc::new(ArcSwap::from_pointee(config));
        let limits = Arc::new(ArcSwap::from_pointee(Limits::default()));
        tokio::spawn(serve_connections(listener, config, limits, admit, router, std::future::pending()));
        Self { root, jwks, asked, addr }
    }

    fn issuer(&self, clock: Arc<ManualClock>) -> ForeignIssuer {
        self.issuer_until(clock, HardLimit::default())
    }

    fn issuer_until(&self, clock: Arc<ManualClock>, limit: HardLimit) -> ForeignIssuer {
        use base64::Engine as _;
        let der = base64::engine::general_purpose::STANDARD.encode(self.root.certificate());
        let roots = format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
        let roots = WebRoots::from_pem(roots.as_bytes()).expect("an authority");
        let url = format!("https://localhost:{}/keys", self.addr.port()).parse().expect("a URL");
        let keys = ForeignKeys::by(url, &roots, clock).expect("keys").hard_limit(limit);
        let domain = "login.example".parse().expect("a domain");
        ForeignIssuer::new("https://login.example", "https://ledger.example", domain, keys, |claims| {
            let subject: SpiffeId = claims.text("sub")?.parse().ok()?;
            Some((subject, vec!["ledger:read".parse().ok()?]))
        })
        .unbound()
    }
}

#[tokio::test]
async fn keys_of_another_server_are_fetched_and_looked_at_anew_but_never_in_a_hurry() {
    let (first, second) = (TokenKey::new("k-1"), TokenKey::new("k-2"));
    let login = Login::new(&first).await;
    let clock = noon_clock();
    let issuer = login.issuer(Arc::clone(&clock));
    let domain = Domain::new();
    let live =
        LiveTrust::anchored(domain.root.bundle()).clock(Arc::clone(&clock) as _).open().expect("roots");
    let forged = domain.forge().policy(POLICY).forge();
    live.offer(forged.jws(), forged.parts()).expect("a good snapshot");
    let resource = ResourceServer::of("ledger", &live).also(issuer).build().expect("a resource server");
    let by = |key: &TokenKey| {
        TokenForge::new("https://login.example", "https://ledger.example", "spiffe://login.example/anna")
            .sign(key)
    };
    let asked = || *login.asked.lock().expect("the count");
    assert!(resource.caller(&by(&first), None).await.is_ok());
    assert!(resource.caller(&by(&first), None).await.is_ok());
    assert_eq!(asked(), 1);
    // A key that was published a moment ago; the floor holds, then it is found.
    *login.jwks.lock().expect("the keys") = second.jwks();
    for _ in 0..20 {
        assert!(resource.caller(&by(&second), None).await.is_err());
    }
    assert_eq!(asked(), 1, "strangers choose what they name");
    clock.set(clock.now() + Duration::from_secs(60));
    assert!(resource.caller(&by(&second), None).await.is_ok());
    assert_eq!(asked(), 2);
    // One that was taken back is gone with it.
    assert!(resource.caller(&by(&first), None).await.is_err());
    // A server that is away leaves what was held.
    *login.jwks.lock().expect("the keys") = "nonsense".to_owned();
    clock.set(clock.now() + Duration::from_secs(800));
    let long =
        TokenForge::new("https://login.example", "https://ledger.example", "spiffe://login.example/anna");
    let long = long.claim("exp", noon().unix() + 3600).sign(&second);
    assert!(resource.caller(&long, None).await.is_ok());
    clock.set(clock.now() + Duration::from_secs(900));
    assert!(resource.caller(&long, None).await.is_ok());
    assert_eq!(asked(), 3, "it was looked at, and left aside");
}

#[tokio::test]
async fn keys_of_a_server_that_is_kept_away_count_for_a_day_or_what_was_said() {
    let key = TokenKey::new("k-1");
    let (day, second) = (Duration::from_secs(24 * 60 * 60), Duration::from_secs(1));
    for (limit, counts, ends) in [
        (HardLimit::default(), day, true),
        (HardLimit::After(Duration::from_secs(3600)), Duration::from_secs(3600), true),
        (HardLimit::Never, 30 * day, false),
    ] {
        let (login, clock, domain) = (Login::new(&key).await, noon_clock(), Domain::new());
        let live = LiveTrust::anchored(domain.root.bundle()).hard_limit(HardLimit::Never);
        let live = live.clock(Arc::clone(&clock) as _).open().expect("roots");
        let forged = domain.forge().policy(POLICY).forge();
        live.offer(forged.jws(), forged.parts()).expect("a good snapshot");
        let resource =
            ResourceServer::of("ledger", &live).also(login.issuer_until(Arc::clone(&clock), limit));
        let resource = resource.build().expect("a resource server");
        let token =
            TokenForge::new("https://login.example", "https://ledger.example", "spiffe://login.example/anna");
        let token = token.claim("exp", noon().unix() + 100 * 86_400).sign(&key);
        let never = resource.judge(&token, None).expect_err("they were never had");
        assert!(never.is_ours(), "{never}");
        let visitor = resource.visitor(None);
        let bearer = HeaderValue::from_str(&format!("Bearer {token}")).expect("a header");
        let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer)]);
        assert!(visitor.recognise(&headers).await.is_ok());
        *login.jwks.lock().expect("the keys") = "nonsense".to_owned();
        clock.set(noon() + counts);
        assert!(visitor.recognise(&headers).await.is_ok(), "{limit:?}");
        assert!(resource.caller(&token, None).await.is_ok(), "{limit:?}");
        clock.set(noon() + counts + second);
        let later =
            [visitor.recognise(&headers).await.is_err(), resource.caller(&token, None).await.is_err()];
        assert_eq!(later, [ends, ends], "{limit:?}, on the same connection, too");
        *login.jwks.lock().expect("the keys") = key.jwks();
        clock.set(noon() + counts + 2 * Duration::from_secs(60));
        assert!(visitor.recognise(&headers).await.is_ok(), "it is back: {limit:?}");
    }
}
