//! A certificate authority in a test: a real TLS server that answers as it is told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign_api::{
    CertificateResponse, Invitation, Problem, ProblemCode, RenewalWindow, WorkloadRegistrations, pem_block,
};
use countersign_identity::{Clock, Timestamp, TrustBundle};
use countersign_verifier::{FrontDoor, OwnIdentity, Presented, SvidVerifier, TrustStore, provider};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::FromDer as _;

pub(crate) const TD: &str = "prod.example";
pub(crate) const PAYMENTS: &str = "spiffe://prod.example/payments";
pub(crate) const CA_ID: &str = "spiffe://prod.example/countersign/ca";
/// What stands for a certificate that the door did not find valid.
const REFUSED: &str = "refused";
const LIFE: Duration = Duration::from_secs(3600);

/// What a request looked like.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) body: serde_json::Value,
    /// The public key of the request's CSR, if it holds one.
    pub(crate) spki: Vec<u8>,
    pub(crate) presented: Option<String>,
}

pub(crate) type Answer = (u16, String);
type Behaviour = Box<dyn Fn(&Ca, &Asked) -> Option<Answer> + Send + Sync>;

/// The authority, its book and what it was asked.
pub(crate) struct Ca {
    root: CertificateDer<'static>,
    root_params: CertificateParams,
    root_key: KeyPair,
    issuer: CertificateDer<'static>,
    issuer_params: CertificateParams,
    issuer_key: KeyPair,
    clock: Arc<dyn Clock>,
    port: u16,
    /// Public key to certificate: the same key gets the same certificate again.
    book: Mutex<BTreeMap<Vec<u8>, CertificateResponse>>,
    asked: Mutex<Vec<Asked>>,
    behaviour: Mutex<Option<Behaviour>>,
    pub(crate) workloads: watch::Sender<WorkloadRegistrations>,
    pub(crate) jwt_key: KeyPair,
    /// What is answered to who asks for the renewal window.
    pub(crate) window: Mutex<Option<RenewalWindow>>,
    /// The roots documents, oldest first, and the roots of its bundle.
    pub(crate) documents: Mutex<Vec<serde_json::Value>>,
    pub(crate) bundled: Mutex<Vec<CertificateDer<'static>>>,
}

/// The subject of a certificate, known by its public key alone.
struct Spki {
    bits: Vec<u8>,
}

impl PublicKeyData for Spki {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl Ca {
    /// Starts an honest authority on a free port of the loopback interface.
    pub(crate) async fn start(clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::start_as(clock, CA_ID).await
    }

    /// Starts an authority whose server certificate names somebody.
    pub(crate) async fn start_as(clock: Arc<dyn Clock>, server_id: &str) -> Arc<Self> {
        Self::start_for(clock, server_id, LIFE).await
    }

    /// The same, with a server certificate of another life.
    pub(crate) async fn start_for(clock: Arc<dyn Clock>, server_id: &str, life: Duration) -> Arc<Self> {
        Self::start_after(&[], clock, server_id, life).await
    }

    /// An authority that has a new root and issuer, and still knows the machines of the ones before.
    pub(crate) async fn start_after(
        before: &[&Self],
        clock: Arc<dyn Clock>,
        server_id: &str,
        life: Duration,
    ) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ca = Arc::new(Self::new(clock, listener.local_addr().unwrap().port()));
        let key = KeyPair::generate().unwrap();
        let leaf = ca.leaf_of(life, server_id, key.der_bytes().to_vec(), ca.clock.now());
        let chain = vec![leaf, ca.issuer.clone(), ca.root.clone()];
        let own =
            OwnIdentity::new(chain, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
                .unwrap();
        let roots = before.iter().map(|ca| ca.root.to_vec()).chain([ca.root.to_vec()]).collect();
        let bundle = TrustBundle::new(TD.parse().unwrap(), roots);
        let trust = Arc::new(TrustStore::new([bundle]).unwrap());
        let door = FrontDoor::new(SvidVerifier::new(provider(), trust, Arc::clone(&ca.clock)));
        let acceptor = TlsAcceptor::from(door.config(own).unwrap());
        tokio::spawn(accept(listener, acceptor, door, Arc::clone(&ca)));
        ca
    }

    fn new(clock: Arc<dyn Clock>, port: u16) -> Self {
        let (root_key, issuer_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root_params = authority("root", clock.now(), &root_key);
        let issuer_params = authority("issuer", clock.now(), &issuer_key);
        let root = root_params.self_signed(&root_key).unwrap().der().clone();
        let signer = Issuer::from_params(&root_params, &root_key);
        let issuer = issuer_params.signed_by(&issuer_key, &signer).unwrap().der().clone();
        let ca = Self {
            root,
            root_params,
            root_key,
            issuer,
            issuer_params,
            issuer_key,
            clock,
            port,
            book: Mutex::default(),
            asked: Mutex::default(),
            behaviour: Mutex::default(),
            workloads: watch::Sender::new(WorkloadRegistrations {
                sequence: 1,
                registrations: Vec::new(),
                server_time: String::new(),
            }),
            jwt_key: KeyPair::generate().unwrap(),
            window: Mutex::default(),
            documents: Mutex::default(),
            bundled: Mutex::default(),
        };
        *ca.bundled.lock().unwrap() = vec![ca.root.clone()];
        *ca.documents.lock().unwrap() = vec![ca.roots_document(1, &[&ca], None, &[&ca])];
        ca
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub(crate) fn root_sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.root).into()
    }

    pub(crate) fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn invitation(&self, secret: u8) -> Invitation {
        Invitation {
            url: self.url(),
            trust_domain: TD.into(),
            root_sha256: self.root_sha256(),
            secret: [secret; 32],
        }
    }

    /// Answers by this from now on; where it answers nothing, honestly.
    pub(crate) fn behave(&self, behaviour: impl Fn(&Self, &Asked) -> Option<Answer> + Send + Sync + 'static) {
        *self.behaviour.lock().unwrap() = Some(Box::new(behaviour));
    }

    /// Answers honestly from now on.
    pub(crate) fn behave_well(&self) {
        *self.behaviour.lock().unwrap() = None;
    }

    /// What it was asked, roots documents excepted.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.path != "/v1/roots").cloned().collect()
    }

    /// Who asked for roots documents, each with the certificate shown.
    pub(crate) fn asked_for_roots(&self) -> Vec<Option<String>> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.path == "/v1/roots").map(|asked| asked.presented.clone()).collect()
    }

    pub(crate) const fn root_key(&self) -> &KeyPair {
        &self.root_key
    }

    pub(crate) const fn issuer_key(&self) -> &KeyPair {
        &self.issuer_key
    }

    pub(crate) const fn issuer(&self) -> &CertificateDer<'static> {
        &self.issuer
    }

    /// The number of certificates issued to machines.
    pub(crate) fn issued(&self) -> usize {
        self.book.lock().unwrap().len()
    }

    /// A certificate of the usual shape for a public key.
    fn leaf_of(&self, life: Duration, id: &str, bits: Vec<u8>, now: Timestamp) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = to_time(now - Duration::from_secs(60));
        params.not_after = to_time(now + life - Duration::from_secs(1));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![SanType::URI(ia5(id))];
        params.use_authority_key_identifier_extension = true;
        let mut serial = Sha256::digest(&bits)[..18].to_vec();
        serial[0] = serial[0] & 0x7f | 1;
        params.serial_number = Some(SerialNumber::from(serial));
        let issuer = Issuer::from_params(&self.issuer_params, &self.issuer_key);
        params.signed_by(&Spki { bits }, &issuer).unwrap().der().clone()
    }

    /// Another root of the same authority, signed by nobody else.
    pub(crate) fn another_root(&self) -> CertificateDer<'static> {
        self.root_params.self_signed(&self.root_key).unwrap().der().clone()
    }

    /// The honest answer for a key, as the one it names.
    pub(crate) fn answer(&self, id: &str, spki: &[u8]) -> CertificateResponse {
        self.answer_of(LIFE, id, spki)
    }

    /// The same with a certificate of another life.
    pub(crate) fn answer_of(&self, life: Duration, id: &str, spki: &[u8]) -> CertificateResponse {
        let now = self.clock.now();
        // The last 65 octets of a P-256 SubjectPublicKeyInfo are the point.
        let leaf = self.leaf_of(life, id, spki[spki.len() - 65..].to_vec(), now);
        let end = now + life - Duration::from_secs(1);
        CertificateResponse {
            machine: "m-00112233aabbccdd".into(),
            chain: pem(&leaf) + &pem(&self.issuer),
            bundle: self.bundled.lock().unwrap().iter().map(pem).collect(),
            not_after: end.to_string(),
            renew_after: (now + life / 3).to_string(),
            renew_before: (now + life / 2).to_string(),
            server_time: now.to_string(),
        }
    }

    fn reply(&self, asked: &Asked) -> Answer {
        self.asked.lock().unwrap().push(asked.clone());
        let told = self.behaviour.lock().unwrap().as_ref().and_then(|behaviour| behaviour(self, asked));
        told.unwrap_or_else(|| self.honest(asked))
    }

    fn honest(&self, asked: &Asked) -> Answer {
        if asked.path == "/v1/bundle" {
            return self.bundle();
        }
        if asked.path == "/v1/roots" {
            return (200, serde_json::json!({ "documents": *self.documents.lock().unwrap() }).to_string());
        }
        if asked.path != "/v1/enroll" && asked.presented.is_none() {
            return problem(401, ProblemCode::CertificateRequired);
        }
        if asked.path != "/v1/recover" && asked.presented.as_deref() == Some(REFUSED) {
            return problem(401, ProblemCode::CertificateExpired);
        }
        match asked.path.as_str() {
            "/v1/deployed" => (200, "{}".into()),
            "/v1/recover" => self.certify(PAYMENTS, asked),
            "/v1/renewal" => (200, serde_json::to_string(&*self.window.lock().unwrap()).unwrap()),
            "/v1/enroll" | "/v1/renew" => self.certify(PAYMENTS, asked),
            "/v1/registrations" => (200, serde_json::to_string(&*self.workloads.borrow()).unwrap()),
            "/v1/workload" => self.workload(asked),
            "/v1/jwt-svid" => self.jwt_svid(asked),
            _ => problem(404, ProblemCode::NotFound),
        }
    }

    pub(crate) fn certify(&self, id: &str, asked: &Asked) -> Answer {
        let mut book = self.book.lock().unwrap();
        let answer = book.entry(asked.spki.clone()).or_insert_with(|| self.answer(id, &asked.spki)).clone();
        (200, serde_json::to_string(&answer).unwrap())
    }
}

pub(crate) fn ok(answer: &CertificateResponse) -> Answer {
    (200, serde_json::to_string(answer).unwrap())
}

pub(crate) fn problem(status: u16, code: ProblemCode) -> Answer {
    let problem = Problem {
        kind: "about:blank".into(),
        status,
        title: "Refused".into(),
        code: code.as_str().into(),
        detail: format!("told to answer {code}"),
        hint: Some("change the test".into()),
        server_time: None,
        retry_after: None,
    };
    (status, serde_json::to_string(&problem).unwrap())
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, door: FrontDoor, ca: Arc<Ca>) {
    while let Ok((tcp, _)) = listener.accept().await {
        tokio::spawn(serve(tcp, acceptor.clone(), door.clone(), Arc::clone(&ca)));
    }
}

async fn serve(tcp: TcpStream, acceptor: TlsAcceptor, door: FrontDoor, ca: Arc<Ca>) {
    // A client that does not like this server breaks off here.
    let Ok(stream) = acceptor.accept(tcp).await else { return };
    let presented = match door.judge(stream.get_ref().1.peer_certificates()) {
        Presented::Verified(peer) => Some(peer.serial_hex()),
        Presented::None => None,
        Presented::Refused(_) => Some(REFUSED.into()),
    };
    let service = service_fn(move |request| {
        let (ca, presented) = (Arc::clone(&ca), presented.clone());
        async move { Ok::<_, hyper::Error>(handle(&ca, presented, request).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn handle(ca: &Ca, presented: Option<String>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let uri = request.uri();
    let (path, query) = (uri.path().to_owned(), uri.query().unwrap_or_default().to_owned());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let spki = body["csr"].as_str().map(public_key_of_request).unwrap_or_default();
    if path == "/v1/registrations" {
        ca.hold(&query).await;
    }
    let (status, text) = ca.reply(&Asked { path, body, spki, presented });
    let response = Response::builder().status(status);
    // A proxy before a CA that is away does not know for how long.
    let response = if status == 502 { response } else { response.header("Retry-After", "2") };
    response.body(Full::new(Bytes::from(text))).unwrap()
}

fn public_key_of_request(pem: &str) -> Vec<u8> {
    let (_, csr) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let (_, csr) =
        x509_parser::certification_request::X509CertificationRequest::from_der(&csr.contents).unwrap();
    csr.certification_request_info.subject_pki.raw.to_vec()
}

fn authority(role: &str, now: Timestamp, key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let mark = key.der_bytes()[1];
    params.distinguished_name.push(DnType::CommonName, format!("{role} {mark:02x}"));
    params.not_before = to_time(now - Duration::from_secs(86_400));
    params.not_after = to_time(now + Duration::from_secs(30 * 86_400));
    params.serial_number = Some(SerialNumber::from(key.der_bytes()[1..17].to_vec()));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![SanType::URI(ia5(&format!("spiffe://{TD}")))];
    params.use_authority_key_identifier_extension = true;
    params
}

fn to_time(at: Timestamp) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(at.unix()).unwrap()
}

fn ia5(text: &str) -> Ia5String {
    text.try_into().unwrap()
}

pub(crate) fn pem(der: &CertificateDer<'_>) -> String {
    pem_block("CERTIFICATE", der)
}

/// The public key of the private key in a PEM file.
pub(crate) fn public_key_of(path: &std::path::Path) -> Vec<u8> {
    let key = KeyPair::from_pem(&std::fs::read_to_string(path).unwrap()).unwrap();
    key.subject_public_key_info()
}

/// The public key of the first certificate of a PEM file.
pub(crate) fn certified_key_of(path: &std::path::Path) -> Vec<u8> {
    let der = CertificateDer::from_pem_file(path).unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    certificate.public_key().raw.to_vec()
}
