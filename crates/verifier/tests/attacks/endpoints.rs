//! Bundle endpoints by both profiles of SPIFFE Federation: who is believed, what is taken, and what is left aside.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_testkit::{Authority, Forged, noon_clock};
use countersign_verifier::{
    Admission, ArcSwap, Arrival, BundleEndpoint, EndpointHandle, EndpointHealth, EndpointUrl, Limits,
    Refusal, SvidVerifier, TrustStore, Usage, WebRoots, WebRootsError, provider, serve_connections,
};
use rustls::ServerConfig;
use rustls::version::TLS13;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const PARTNER: &str = "spiffe://partner.example/api";
const SERVER: &str = "spiffe://partner.example/bundles";
const SOON: Duration = Duration::from_millis(20);

/// What the endpoint answers at present, and how often it was asked for each path.
#[derive(Clone)]
struct Page {
    answer: Arc<Mutex<(StatusCode, String, String)>>,
    asked: Arc<Mutex<Vec<String>>>,
    identity: Arc<ArcSwap<ServerConfig>>,
}

async fn answer(State(page): State<Page>, uri: Uri) -> Response {
    page.asked.lock().expect("the list").push(uri.path().to_owned());
    let (status, location, body) = page.answer.lock().expect("the answer").clone();
    if uri.path() == "/moved" || location.is_empty() {
        let status = if location.is_empty() { status } else { StatusCode::OK };
        return (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    }
    (status, [(header::LOCATION, location)]).into_response()
}

impl Page {
    /// A server under this identity that asks nobody for a certificate, as the standard demands.
    async fn serving(me: &Forged, body: String) -> (Self, SocketAddr) {
        let page = Self {
            answer: Arc::new(Mutex::new((StatusCode::OK, String::new(), body))),
            asked: Arc::default(),
            identity: Arc::new(ArcSwap::new(config(me))),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let router = Router::new().fallback(answer).with_state(page.clone());
        let admit = |_: &Arrival<'_>| Ok::<_, Refusal>(Admission::new(()));
        let limits = Arc::new(ArcSwap::from_pointee(Limits::default()));
        let identity = Arc::clone(&page.identity);
        tokio::spawn(serve_connections(listener, identity, limits, admit, router, std::future::pending()));
        (page, addr)
    }

    fn say(&self, status: StatusCode, location: &str, body: String) {
        *self.answer.lock().expect("the answer") = (status, location.to_owned(), body);
    }

    fn be(&self, me: &Forged) {
        self.identity.store(config(me));
    }

    fn asked(&self, path: &str) -> usize {
        self.asked.lock().expect("the list").iter().filter(|asked| *asked == path).count()
    }
}

fn config(me: &Forged) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(me.chain(), me.key_der())
        .expect("an identity");
    Arc::new(config)
}

fn jwks(roots: &[&Authority], sequence: u64) -> String {
    let keys: Vec<_> = roots
        .iter()
        .map(|root| serde_json::json!({"kty": "EC", "use": "x509-svid", "x5c": [STANDARD.encode(root.certificate())]}))
        .collect();
    serde_json::json!({"keys": keys, "spiffe_sequence": sequence, "spiffe_refresh_hint": 0}).to_string()
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
}

struct Followed {
    store: Arc<TrustStore>,
    health: EndpointHandle,
    task: JoinHandle<()>,
}

impl Followed {
    fn by(endpoint: BundleEndpoint) -> Self {
        let store = Arc::new(TrustStore::default());
        let endpoint = endpoint.clock(noon_clock()).no_more_often_than(SOON);
        let health = endpoint.health();
        let task = tokio::spawn(endpoint.follow(Arc::clone(&store)).expect("an endpoint"));
        Self { store, health, task }
    }

    async fn until(&self, what: impl Fn(&EndpointHealth) -> bool) -> EndpointHealth {
        for _ in 0..2000 {
            let health = self.health.get();
            if what(&health) {
                return health;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never came: {:?}", self.health.get());
    }

    /// The fault after two more failures.
    async fn fault(&self) -> String {
        let before = self.health.get().faults;
        let health = self.until(|health| health.faults >= before + 2).await;
        health.last_fault.expect("a fault")
    }

    async fn fetched_again(&self) {
        let before = self.health.get().fetches;
        self.until(|health| health.fetches >= before + 2).await;
    }

    fn knows(&self, machine: &Forged) -> bool {
        let verifier = SvidVerifier::new(provider(), Arc::clone(&self.store), noon_clock());
        verifier.verify(&machine.chain(), Usage::Client).is_ok()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Web {
    root: Authority,
    partner: Authority,
    machine: Forged,
    page: Page,
    url: EndpointUrl,
}

impl Web {
    async fn new(name: &str) -> Self {
        let (root, partner) = (Authority::root("web.example"), Authority::root("partner.example"));
        let me = root.issuer().leaf("spiffe://web.example/server").dns(name).forge();
        let (page, addr) = Page::serving(&me, jwks(&[&partner], 7)).await;
        let url = format!("https://localhost:{}/bundle", addr.port()).parse().expect("a URL");
        Self { machine: partner.leaf(PARTNER).forge(), root, partner, page, url }
    }

    fn endpoint(&self, authority: &Authority) -> BundleEndpoint {
        let roots = WebRoots::from_pem(pem(authority.certificate()).as_bytes()).expect("an authority");
        BundleEndpoint::https_web("partner.example".parse().expect("a domain"), self.url.clone(), roots)
    }
}

#[tokio::test]
async fn a_bundle_comes_over_the_web_and_survives_a_restart_without_its_endpoint() {
    let web = Web::new("localhost").await;
    let dir = TempDir::new().expect("a directory");
    let kept = dir.path().join("partner.json");
    let followed = Followed::by(web.endpoint(&web.root).kept_at(&kept));
    followed.until(|health| health.fetches > 0).await;
    assert!(followed.knows(&web.machine));
    drop(followed);
    web.page.say(StatusCode::OK, "", jwks(&[], 6));
    let again = Followed::by(web.endpoint(&web.root).kept_at(&kept));
    assert!(again.knows(&web.machine), "before anybody was asked");
    assert!(again.fault().await.contains("edition 6"), "what was seen before is not forgotten");
    assert!(again.knows(&web.machine));
}

#[tokio::test]
async fn a_web_server_of_another_name_is_not_believed() {
    let web = Web::new("other.example").await;
    let followed = Followed::by(web.endpoint(&web.root));
    let fault = followed.fault().await;
    assert!(fault.contains("not valid for name"), "{fault}");
    assert!(!followed.knows(&web.machine));
    assert_eq!(web.page.asked("/bundle"), 0);
}

#[tokio::test]
async fn only_the_authorities_handed_in_vouch_for_a_web_server() {
    let web = Web::new("localhost").await;
    let followed = Followed::by(web.endpoint(&Authority::root("web.example")));
    let fault = followed.fault().await;
    assert!(fault.contains("UnknownIssuer") || fault.contains("unknown issuer"), "{fault}");
    assert!(!followed.knows(&web.machine));
    let leaf = web.root.leaf("spiffe://web.example/x").forge();
    assert!(matches!(WebRoots::from_pem(b"nothing"), Err(WebRootsError::Pem(_))));
    assert!(
        WebRoots::from_pem(pem(leaf.leaf()).as_bytes()).is_ok(),
        "what it may sign, path building judges"
    );
}

#[tokio::test]
async fn an_older_edition_is_left_aside_and_an_empty_one_trusts_nobody() {
    let web = Web::new("localhost").await;
    let followed = Followed::by(web.endpoint(&web.root));
    followed.until(|health| health.sequence == Some(7)).await;
    web.page.say(StatusCode::OK, "", jwks(&[&Authority::root("partner.example")], 6));
    assert!(followed.fault().await.contains("edition 6, edition 7 was seen before"));
    assert!(followed.knows(&web.machine));
    web.page.say(StatusCode::OK, "", jwks(&[], 8));
    followed.until(|health| health.sequence == Some(8)).await;
    assert!(!followed.knows(&web.machine));
}

#[tokio::test]
async fn what_cannot_be_read_leaves_what_was_held() {
    let web = Web::new("localhost").await;
    let followed = Followed::by(web.endpoint(&web.root));
    followed.until(|health| health.fetches > 0).await;
    let workload = web.partner.leaf(PARTNER).forge();
    let not_a_root = serde_json::json!({"spiffe_sequence": 9, "keys": [
        {"kty": "EC", "use": "x509-svid", "x5c": [STANDARD.encode(workload.leaf())]}]});
    for (status, body, expected) in [
        (StatusCode::INTERNAL_SERVER_ERROR, String::new(), "500"),
        (StatusCode::OK, "{".to_owned(), "not a SPIFFE bundle"),
        (StatusCode::OK, not_a_root.to_string(), "may not sign"),
        (StatusCode::OK, " ".repeat(2 << 20), "cannot be read"),
    ] {
        web.page.say(status, "", body);
        let fault = followed.fault().await;
        assert!(fault.contains(expected), "{fault}");
        assert!(followed.knows(&web.machine), "{expected}");
    }
}

#[tokio::test]
async fn a_new_edition_replaces_the_old_one_and_is_never_merged_with_it() {
    let web = Web::new("localhost").await;
    let followed = Followed::by(web.endpoint(&web.root));
    followed.until(|health| health.fetches > 0).await;
    let next = Authority::root("partner.example");
    web.page.say(StatusCode::OK, "", jwks(&[&next], 8));
    followed.until(|health| health.sequence == Some(8)).await;
    assert!(followed.knows(&next.leaf(PARTNER).forge()));
    assert!(!followed.knows(&web.machine));
}

#[tokio::test]
async fn a_redirection_is_followed_within_the_rules_and_not_remembered() {
    let web = Web::new("localhost").await;
    web.page.say(StatusCode::TEMPORARY_REDIRECT, "/moved", jwks(&[&web.partner], 7));
    let followed = Followed::by(web.endpoint(&web.root));
    followed.until(|health| health.fetches > 0).await;
    followed.fetched_again().await;
    assert!(followed.knows(&web.machine));
    assert!(web.page.asked("/bundle") >= web.page.asked("/moved"), "each look begins at the URL given");
    for location in ["http://localhost/moved", "//evil.example/moved", "https://u@localhost/moved"] {
        web.page.say(StatusCode::FOUND, location, String::new());
        let fault = followed.fault().await;
        assert!(fault.contains("it redirects: found"), "{fault}");
    }
    web.page.say(StatusCode::FOUND, "/bundle", String::new());
    let fault = followed.fault().await;
    assert!(fault.contains("more than 3 times"), "{fault}");
    assert!(followed.knows(&web.machine));
}

struct Spiffe {
    root: Authority,
    page: Page,
    url: EndpointUrl,
}

impl Spiffe {
    async fn new(server: &str) -> Self {
        let root = Authority::root("partner.example");
        let (page, addr) = Page::serving(&root.issuer().leaf(server).forge(), jwks(&[&root], 1)).await;
        let url = format!("https://{addr}/bundle").parse().expect("a URL");
        Self { root, page, url }
    }

    fn endpoint(&self) -> BundleEndpoint {
        let domain = "partner.example".parse().expect("a domain");
        let server = SERVER.parse().expect("an ID");
        BundleEndpoint::https_spiffe(domain, self.url.clone(), server, self.root.bundle())
    }
}

#[tokio::test]
async fn a_server_known_by_its_spiffe_id_is_believed_whatever_its_host_is_called() {
    let spiffe = Spiffe::new(SERVER).await;
    let followed = Followed::by(spiffe.endpoint());
    followed.until(|health| health.fetches > 0).await;
    assert!(followed.knows(&spiffe.root.leaf(PARTNER).forge()));
}

#[tokio::test]
async fn another_workload_of_the_domain_is_not_the_endpoint() {
    let spiffe = Spiffe::new(PARTNER).await;
    let followed = Followed::by(spiffe.endpoint());
    let fault = followed.fault().await;
    assert!(fault.contains("not admitted"), "{fault}");
    assert_eq!(spiffe.page.asked("/bundle"), 0);
}

#[tokio::test]
async fn an_endpoint_under_another_root_is_not_believed() {
    let spiffe = Spiffe::new(SERVER).await;
    spiffe.page.be(&Authority::root("partner.example").leaf(SERVER).forge());
    let followed = Followed::by(spiffe.endpoint());
    let fault = followed.fault().await;
    assert!(fault.contains("not issued by any root"), "{fault}");
}

#[tokio::test]
async fn the_endpoint_is_known_by_the_newest_bundle_it_published() {
    let spiffe = Spiffe::new(SERVER).await;
    let followed = Followed::by(spiffe.endpoint());
    followed.until(|health| health.fetches > 0).await;
    let next = Authority::root("partner.example");
    spiffe.page.say(StatusCode::OK, "", jwks(&[&next], 2));
    followed.until(|health| health.sequence == Some(2)).await;
    let fault = followed.fault().await;
    assert!(fault.contains("not issued by any root"), "the first bundle counts no more: {fault}");
    spiffe.page.be(&next.leaf(SERVER).forge());
    followed.fetched_again().await;
    assert!(followed.knows(&next.leaf(PARTNER).forge()));
}

#[tokio::test]
async fn a_redirection_does_not_lead_to_another_identity() {
    let spiffe = Spiffe::new(SERVER).await;
    let (other, addr) = Page::serving(&spiffe.root.leaf(PARTNER).forge(), jwks(&[&spiffe.root], 9)).await;
    spiffe.page.say(StatusCode::FOUND, &format!("https://{addr}/elsewhere"), String::new());
    let followed = Followed::by(spiffe.endpoint());
    let fault = followed.fault().await;
    assert!(fault.contains("not admitted"), "{fault}");
    assert_eq!(other.asked("/elsewhere"), 0);
}
