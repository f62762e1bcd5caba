//! What must hold of any certificates and revocation lists that strangers show.

use std::slice;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign_identity::{KeyHash, ManualClock, Serial, Timestamp, TrustBundle, TrustDomain, hex};
use countersign_verifier::{
    Binding, ClientProof, Credential, CrlStore, ForeignIssuer, ForeignKeys, FrontDoor, HardLimit,
    Introspection, KnownBy, LiveSet, LiveTrust, Parts, PathVerifier, Presented, ResourceServer, SnapshotFile,
    SvidVerifier, TrustStore, Trusted, Usage, VerifiedPeer, WebRoots, bundle_from_jwks, bundle_from_pem,
    certificates_from_pem, crls_from_pem, provider,
};
use rustls::SignatureScheme;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, CertificateRevocationListDer, InvalidSignature,
    SignatureVerificationAlgorithm, alg_id,
};
use sha2::{Digest as _, Sha256};

const NOON: Timestamp = Timestamp::from_unix(1_795_435_200);
const ROOT: &[u8] = include_bytes!("fixtures/root.der");
const ISSUER: &[u8] = include_bytes!("fixtures/issuer.der");
const REVOKED: &[u8] = include_bytes!("fixtures/revoked.der");

/// The root of the snapshots, the header of one of them, and its roots document.
const TRUST_ROOT: &[u8] = include_bytes!("fixtures/trust_root.der");
const TRUST_HEADER: &str = include_str!("fixtures/trust_header");
const TRUST_ROOTS: &str = include_str!("fixtures/trust_roots.json");

/// Every leaf that the issuer has signed and that is good but for revocation.
const GENUINE: [&[u8]; 4] = [
    include_bytes!("corpus/certificate/leaf"),
    include_bytes!("corpus/certificate/reserved"),
    include_bytes!("corpus/certificate/ed25519"),
    REVOKED,
];

/// One certificate, in every place one can stand: as a leaf known by the live set, as a leaf by path, as a root.
pub fn certificate(octets: &[u8]) {
    let der = CertificateDer::from(octets);
    let known = verifier(provider()).with_live_set(Arc::new(KnowsAll));
    if let Ok(peer) = known.verify(slice::from_ref(&der), Usage::Client) {
        is_a_leaf_of_ours(&peer);
    }
    let bundle = TrustBundle::new(trust_domain(), vec![octets.to_vec()]);
    if TrustStore::new([bundle]).is_ok() {
        assert!(
            known.verify(slice::from_ref(&der), Usage::Client).is_err(),
            "no certificate is root and leaf at once"
        );
    }
    let _ = PathVerifier::new(provider(), &[der], clock());
}

/// A chain as TLS hands it over, each certificate behind two octets of length, judged twice: with real signatures, where
/// only what was signed may pass, and with signatures that all count, where only what keeps the rules may pass.
pub fn client_chain(octets: &[u8]) {
    let chain = certificates(octets);
    if let Presented::Verified(peer) = FrontDoor::new(verifier(provider())).judge(Some(&chain)) {
        let genuine =
            GENUINE.map(|leaf| verifier(provider()).verify(&[leaf.into(), ISSUER.into()], Usage::Client));
        let is_it = |one: &VerifiedPeer| {
            one.spiffe_id() == peer.spiffe_id()
                && one.serial_octets() == peer.serial_octets()
                && one.key_hash() == peer.key_hash()
                && one.validity() == peer.validity()
        };
        assert!(genuine.iter().flatten().any(is_it), "nobody signed this: {peer:?}");
    }
    for usage in [Usage::Client, Usage::Server] {
        if let Ok(peer) = verifier(any_signature()).verify(&chain, usage) {
            is_a_leaf_of_ours(&peer);
            assert!(chain.len() > 1 || chain.first().is_some_and(|leaf| leaf.as_ref() != ROOT));
        }
    }
    if let Ok(paths) = PathVerifier::new(any_signature(), &[ROOT.into()], clock()) {
        let _ = paths.verify(&chain);
    }
}

/// A revocation list, alone and beside a good one: it never absolves what the good one lists.
pub fn crl(octets: &[u8]) {
    let list = CertificateRevocationListDer::from(octets);
    let good = CertificateRevocationListDer::from(include_bytes!("fixtures/issuer.crl").as_slice());
    let issuers = [CertificateDer::from(ISSUER), CertificateDer::from(ROOT)];
    let chain = [CertificateDer::from(REVOKED), ISSUER.into()];
    let (held, left_out) = CrlStore::load(&[list.clone(), good], &issuers, &provider(), NOON);
    assert!(left_out.len() <= 1, "the good list is never left out for another: {left_out:?}");
    let judged = verifier(provider()).with_revocation(Arc::new(held)).verify(&chain, Usage::Client);
    assert!(judged.is_err(), "what was revoked stays revoked");
    // Here a list may say anything, since every signature counts.
    let (held, _) = CrlStore::load(&[list], &issuers, &any_signature(), NOON);
    assert_eq!(held.heap_octets(), held.len() * 20);
    let _ = verifier(provider()).with_revocation(Arc::new(held.required())).verify(&chain, Usage::Client);
}

/// A file of certificates or lists, as an operator names one.
pub fn pem(octets: &[u8]) {
    if let Ok(certificates) = certificates_from_pem(octets) {
        assert!(!certificates.is_empty());
    }
    if let Ok(bundle) = bundle_from_pem(trust_domain(), octets) {
        let _ = TrustStore::new([bundle]);
    }
    if let Ok(lists) = crls_from_pem(octets) {
        let _ = CrlStore::load(&lists, &[ISSUER.into()], &provider(), NOON);
    }
}

/// A trust snapshot in one file. With real signatures only what was signed passes; with signatures that all count,
/// whatever passes can be judged again and never goes backwards.
pub fn trust_snapshot(octets: &[u8]) {
    let Ok(file) = SnapshotFile::read(octets) else { return };
    for provider in [provider(), any_signature()] {
        let Ok(judged) = trusted().judge(file.jws(), NOON, &provider) else { continue };
        let Ok(snapshot) = judged.complete(None, file.parts(), &provider) else { continue };
        assert!(snapshot.trusted().judge(file.jws(), NOON, &provider).is_ok(), "the same again");
        let missing = snapshot.trusted().judge(file.jws(), NOON, &provider);
        assert_eq!(missing.map(|same| same.missing(Some(&snapshot)).len()), Ok(0));
        let _ = TrustStore::default().adopt(&snapshot, HardLimit::default());
    }
    if let Ok(judged) = trusted().judge(file.jws(), NOON, &provider())
        && let Ok(snapshot) = judged.complete(None, file.parts(), &provider())
    {
        assert_eq!(snapshot.bundle().roots(), [TRUST_ROOT.to_vec()]);
        assert_eq!((snapshot.epoch(), snapshot.issued()), (1, NOON));
    }
}

/// One part, in every place of a snapshot that is otherwise good.
pub fn trust_part(octets: &[u8]) {
    let sha256: [u8; 32] = Sha256::digest(octets).into();
    let named = |octets: &[u8]| {
        let sha256 = hex::encode(&Sha256::digest(octets));
        format!(r#"{{"sha256":"{sha256}","size":{}}}"#, octets.len())
    };
    const NOTHING: [&[u8]; 4] = [br#"{"issuers":[]}"#, b"{}", b"version = 1\n", br#"{"keys":[]}"#];
    for place in 0..NOTHING.len() {
        let mut parts: Parts =
            NOTHING.iter().map(|part| (Sha256::digest(part).into(), part.to_vec())).collect();
        parts.insert(sha256, octets.to_vec());
        let part = |at: usize, nothing: &[u8]| named(if at == place { octets } else { nothing });
        let [issuers, revoked, policy, token_keys] = NOTHING;
        let payload = format!(
            r#"{{"trust_domain":"prod.example","epoch":1,"sequence":1,"issued":"{NOON}","expires":"{NOON}",
            "refresh_hint":60,"roots":[{TRUST_ROOTS}],"issuers":{},"revoked":[{}],"policy":{},"token_keys":{}}}"#,
            part(0, issuers),
            part(1, revoked),
            part(2, policy),
            part(3, token_keys)
        );
        let jws =
            [TRUST_HEADER, &URL_SAFE_NO_PAD.encode(payload), &URL_SAFE_NO_PAD.encode([1; 64])].join(".");
        let judged = trusted().judge(jws.as_bytes(), NOON, &any_signature()).expect("only a part is odd");
        if let Ok(snapshot) = judged.complete(None, &parts, &any_signature()) {
            assert_eq!(snapshot.heap_octets(), snapshot.revoked_serials() * 24);
            let _ = (snapshot.policy().is_ok(), snapshot.revokes_token("t"), snapshot.revokes_api_key("k"));
        }
    }
}

/// A bundle of another trust domain, or the keys of another authorization server.
pub fn jwks(octets: &[u8]) {
    let _ = ForeignKeys::fixed(octets);
    if let Ok(bundle) = bundle_from_jwks(trust_domain(), octets) {
        let _ = TrustStore::new([bundle]);
    }
}

/// What another authorization server answers about a token: only an active access token of its own, for this service, in its time,
/// names anybody, and only of its own domain.
pub fn answer(octets: &[u8]) {
    static LOGIN: LazyLock<ForeignIssuer> = LazyLock::new(|| login(asked()).unbound());
    match LOGIN.answered(octets, NOON) {
        Ok(token) => {
            assert_eq!(token.issuer(), "https://login.example");
            assert_eq!(token.subject().trust_domain_str(), "login.example");
            assert!(token.expires() > NOON && token.issued() <= NOON + Duration::from_secs(30));
            assert!(token.lineage().is_none() && token.serial().is_none(), "those are ours to give");
            assert_eq!(
                LOGIN.answered(octets, token.expires()).err().map(|refusal| refusal.code()),
                Some("token_expired")
            );
        }
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
}

/// An endpoint that nobody listens at.
fn asked() -> Introspection {
    let root = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(ROOT));
    let roots = WebRoots::from_pem(root.as_bytes()).expect("the fixture is a root");
    let url = "https://login.example/introspect".parse().expect("a URL");
    Introspection::at(url, &roots, ClientProof::secret("ledger", "x")).expect("an endpoint")
}

/// An access token, of our own authorization server or of another: with signatures that all count, only what keeps the rules may pass;
/// with real ones, nothing does, since nobody has these keys.
pub fn token(octets: &[u8]) {
    static LENIENT: LazyLock<ResourceServer> = LazyLock::new(|| resource(any_signature()));
    static STRICT: LazyLock<ResourceServer> = LazyLock::new(|| resource(provider()));
    let Ok(text) = str::from_utf8(octets) else { return };
    assert!(STRICT.judge(text, None).is_err(), "nobody signed this");
    let Ok(caller) = LENIENT.judge(text, None) else { return };
    assert!(matches!(caller.credential(), Credential::Token(_)), "it is a token");
    let Credential::Token(token) = caller.credential() else { return };
    assert!(text.len() <= 8192 && text.split('.').count() == 3);
    assert_eq!(token.binding(), &Binding::Unbound, "there was no certificate");
    assert!(token.expires() > token.issued() && token.issued() <= NOON + Duration::from_secs(30));
    let own = token.issuer() == TOKEN_ISSUER;
    assert_eq!(caller.spiffe_id().in_trust_domain(&trust_domain()), own, "each issuer names its own");
    assert!(token.scope().iter().all(|permission| permission.service() == "ledger"));
    assert!(caller.permissions().iter().all(|permission| token.scope().contains(permission)));
}

const TOKEN_ISSUER: &str = "https://ca.prod.example:8443";

/// The key of the example in RFC 7515 A.3, whose private half signs nothing here.
const TOKEN_KEYS: &[u8] = br#"{"keys":[{"kty":"EC","crv":"P-256","kid":"k","use":"sig","alg":"ES256",
    "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

const TOKEN_POLICY: &[u8] = br#"version = 1
[service.ledger]
permissions = ["read", "write"]
[[grant]]
id = "spiffe://prod.example/**"
permissions = ["ledger:read"]
"#;

/// A resource server under a snapshot that these signatures are good for.
fn resource(provider: Arc<CryptoProvider>) -> ResourceServer {
    let bundle = TrustBundle::new(trust_domain(), vec![TRUST_ROOT.to_vec()]);
    let live = LiveTrust::anchored(bundle).clock(clock()).provider(provider).open().expect("a root");
    let parts: [&[u8]; 4] = [br#"{"issuers":[]}"#, b"{}", TOKEN_POLICY, TOKEN_KEYS];
    let [issuers, revoked, policy, keys] = parts.map(|part| {
        format!(r#"{{"sha256":"{}","size":{}}}"#, hex::encode(&Sha256::digest(part)), part.len())
    });
    let payload = format!(
        r#"{{"trust_domain":"prod.example","epoch":1,"sequence":1,"issued":"{NOON}","expires":"{NOON}",
        "refresh_hint":60,"roots":[{TRUST_ROOTS}],"issuers":{issuers},"revoked":[{revoked}],"policy":{policy},"token_keys":{keys}}}"#
    );
    let jws = [TRUST_HEADER, &URL_SAFE_NO_PAD.encode(payload), &URL_SAFE_NO_PAD.encode([1; 64])].join(".");
    let parts: Parts = parts.iter().map(|part| (Sha256::digest(part).into(), part.to_vec())).collect();
    // By real signatures nobody believes it; then there is nothing to judge tokens by.
    let _ = live.offer(jws.as_bytes(), &parts);
    let keys = ForeignKeys::fixed(TOKEN_KEYS).expect("a set");
    let login = login(keys).unbound();
    let settings = ResourceServer::of("ledger", &live).tokens_of(TOKEN_ISSUER).unbound_tokens().also(login);
    settings.build().expect("a resource server")
}

/// Another authorization server.
fn login(known_by: impl Into<KnownBy>) -> ForeignIssuer {
    let domain = "login.example".parse().expect("a trust domain");
    ForeignIssuer::new("https://login.example", "ledger", domain, known_by, |claims| {
        let scope = claims.text("scope")?.split(' ').filter_map(|word| format!("ledger:{word}").parse().ok());
        Some((claims.text("sub")?.parse().ok()?, scope.collect()))
    })
}

fn trusted() -> Trusted {
    Trusted::anchored(TrustBundle::new(trust_domain(), vec![TRUST_ROOT.to_vec()]))
}

fn is_a_leaf_of_ours(peer: &VerifiedPeer) {
    assert!(peer.spiffe_id().in_trust_domain(&trust_domain()) && peer.spiffe_id().has_path());
    assert!(peer.validity().contains(NOON));
    assert!(!peer.serial_octets().is_empty());
}

/// As many certificates as there are whole ones.
fn certificates(mut octets: &[u8]) -> Vec<CertificateDer<'_>> {
    let mut chain = Vec::new();
    while let Some((length, rest)) = octets.split_first_chunk() {
        let Some((der, rest)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))) else {
            break;
        };
        chain.push(der.into());
        octets = rest;
    }
    chain
}

fn verifier(provider: Arc<CryptoProvider>) -> SvidVerifier {
    let bundle = TrustBundle::new(trust_domain(), vec![ROOT.to_vec()]);
    let trust = TrustStore::new([bundle]).expect("the fixture is a root");
    SvidVerifier::new(provider, Arc::new(trust), clock())
}

fn trust_domain() -> TrustDomain {
    "prod.example".parse().expect("a trust domain")
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(NOON))
}

/// Knows every certificate as its own.
#[derive(Debug)]
struct KnowsAll;

impl LiveSet for KnowsAll {
    fn signed_here(&self, _: Serial, _: &[u8; 32]) -> Option<KeyHash> {
        Some(KeyHash::from_bytes([7; 32]))
    }
}

/// A provider to which every signature is good that its key could have made.
fn any_signature() -> Arc<CryptoProvider> {
    static ALL: [&dyn SignatureVerificationAlgorithm; 3] = [
        &AnySignature(alg_id::ECDSA_P256, alg_id::ECDSA_SHA256),
        &AnySignature(alg_id::ECDSA_P384, alg_id::ECDSA_SHA384),
        &AnySignature(alg_id::ED25519, alg_id::ED25519),
    ];
    static BY_SCHEME: [(SignatureScheme, &[&dyn SignatureVerificationAlgorithm]); 1] =
        [(SignatureScheme::ED25519, &ALL)];
    let algorithms = WebPkiSupportedAlgorithms { all: &ALL, mapping: &BY_SCHEME };
    Arc::new(CryptoProvider { signature_verification_algorithms: algorithms, ..(*provider()).clone() })
}

#[derive(Debug)]
struct AnySignature(AlgorithmIdentifier, AlgorithmIdentifier);

impl SignatureVerificationAlgorithm for AnySignature {
    fn verify_signature(&self, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), InvalidSignature> {
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.0
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.1
    }
}
