//! What must hold of any text that a machine's operator writes, and of any bytes that its processes send.

use std::sync::{LazyLock, Mutex, PoisonError};

use countersign_agent::attest::{Cgroup, Selector};
use countersign_agent::config::Config;
use countersign_agent::{Drill, Drilled, Endpoint, ErrorKind, Reload, soften};
use countersign_api::Bundle;
use countersign_testkit::{Authority, noon_clock};
use tonic::Code;

/// The configuration of `run`: understood, or refused as the operator's mistake.
pub fn agent_config(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    match Config::parse(text, "/etc/countersign/agent.toml".as_ref()) {
        Ok(config) => {
            assert!(config.dir.is_absolute(), "a relative directory counts from the file");
            if let Some(Reload::Command(command)) = config.reload {
                assert!(command.first().is_some_and(|program| !program.is_empty()));
            }
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Usage);
            assert!(error.to_string().contains("/etc/countersign/agent.toml"));
        }
    }
    if let Ok(endpoint) = text.trim().parse::<Endpoint>() {
        let written = endpoint.to_string();
        assert_eq!(written.parse::<Endpoint>().map(|again| again.to_string()).ok(), Some(written));
    }
}

/// What a registration asks for and what `/proc` says of a process.
pub fn attestation(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    if let Ok(selector) = text.parse::<Selector>() {
        assert_eq!(selector.to_string(), text, "a selector is written in one way only");
    }
    let Cgroup { unit, container } = Cgroup::read(text);
    assert!(unit.is_none_or(|unit| unit.ends_with(".service") || unit.ends_with(".scope")));
    assert!(container.is_none_or(|id| id.len() == 64 && id.bytes().all(|octet| octet.is_ascii_hexdigit())));
}

/// A header block of a client's: softened, it keeps its length, and nothing but a percent sign changes where it is plain.
pub fn header_block(octets: &[u8]) {
    let mut block = octets.to_vec();
    let _ = soften(&mut block);
    assert_eq!(block.len(), octets.len());
    for (before, after) in octets.iter().zip(&block) {
        assert!(before == after || (before ^ after).count_ones() <= 4, "two hyphens in one octet at most");
    }
    let once = block.clone();
    let _ = soften(&mut block);
    assert_eq!(block, once, "what was softened stays as it is");
}

const ID: &str = "spiffe://prod.example/payments";

/// A machine whose socket is called, and its key as it must never be told to who asks for something else.
struct Served {
    drill: Mutex<Drill>,
    key: Vec<u8>,
    _dir: tempfile::TempDir,
}

static SERVED: LazyLock<Served> = LazyLock::new(|| {
    let root = Authority::root("prod.example");
    let forged = root.issuer().leaf(ID).forge();
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().join("generations/1-ab12");
    std::fs::create_dir_all(&home).expect("a directory");
    let meta = format!(
        r#"{{"machine": "m-00112233aabbccdd", "spiffe_id": "{ID}", "serial": "ab12", "not_before": "2026-11-23T11:59:00Z",
            "not_after": "2026-11-23T13:00:00Z", "renew_after": "2026-11-23T12:20:00Z", "renew_before": "2026-11-23T12:30:00Z",
            "url": "https://127.0.0.1:1", "trust_domain": "prod.example", "root_sha256": "{}"}}"#,
        "09".repeat(32)
    );
    let root = countersign_api::pem_block("CERTIFICATE", root.certificate());
    let files = [
        ("svid.pem", forged.chain_pem()),
        ("svid.key", forged.key_pem()),
        ("bundle.pem", root),
        ("meta.json", meta),
    ];
    for (name, content) in files {
        std::fs::write(home.join(name), content).expect("a file");
    }
    std::os::unix::fs::symlink("generations/1-ab12", dir.path().join("current")).expect("a link");
    let bundle: Bundle = serde_json::from_str(KEYS).expect("a bundle");
    let drill = Drill::open(dir.path(), &bundle, noon_clock()).expect("a drill");
    Served { drill: Mutex::new(drill), key: forged.key_der().secret_der().to_vec(), _dir: dir }
});

/// The point of RFC 7515 appendix A.3, whose private key everybody knows.
const KEYS: &str = r#"{"keys": [{"use": "jwt-svid", "kty": "EC", "crv": "P-256", "kid": "1",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x0g2XfRPiWPM3Zf0KgXdWuJ4Mw3Rc0wd5QG4lAiKhx8"}],
    "spiffe_sequence": 1, "spiffe_refresh_hint": 300}"#;

impl Served {
    fn call(path: &str, body: Vec<u8>, pieces: usize) -> Drilled {
        SERVED.drill.lock().unwrap_or_else(PoisonError::into_inner).call(path, body, pieces)
    }
}

/// A message as gRPC frames it.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    [&[0], &length[..], message].concat()
}

/// Several messages, each behind an octet that says how long it is.
fn messages(mut octets: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some((length, rest)) = octets.split_first() {
        let (message, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        body.extend(framed(message));
        octets = rest;
    }
    body
}

/// Whatever is asked, the answer is one of those that the standard or gRPC has for it, and never "something went wrong here".
fn is_an_answer(answer: &Drilled) {
    let expected = [
        Code::Ok,
        Code::InvalidArgument,
        Code::PermissionDenied,
        Code::Unavailable,
        // A message that cannot be decoded, compressed or too long: the words of gRPC's own layer.
        Code::Internal,
        Code::Unimplemented,
        Code::OutOfRange,
        Code::ResourceExhausted,
        Code::NotFound,
    ];
    assert!(answer.code.is_none_or(|code| expected.contains(&code)), "{:?}", answer.code);
}

fn tells_the_key(answer: &Drilled) -> bool {
    let key = &SERVED.key;
    answer.frames.windows(key.len()).any(|window| window == key)
}

/// Every call of the Workload API; the first octet says which, and whether the rest is a message or a body of its own.
pub fn workload_api(octets: &[u8]) {
    let Some((first, rest)) = octets.split_first() else { return };
    let calls = ["FetchX509SVID", "FetchX509Bundles", "FetchJWTSVID", "FetchJWTBundles", "ValidateJWTSVID"];
    let call = calls[usize::from(*first) % calls.len()];
    let body = if *first < 128 { framed(rest) } else { rest.to_vec() };
    // An answer and how the call ended; what is watched goes on for ever.
    let pieces = if call.ends_with("JWTSVID") { 2 } else { 1 };
    let answer = Served::call(&format!("/SpiffeWorkloadAPI/{call}"), body, pieces);
    is_an_answer(&answer);
    assert!(call == "FetchX509SVID" || !tells_the_key(&answer), "{call} tells the key");
    if octets == [0] {
        assert!(tells_the_key(&answer), "an empty request is answered: {answer:?}");
    }
    if call == "FetchJWTSVID" {
        assert_ne!(answer.code, Some(Code::Ok), "the CA is away");
    }
}

/// Every call of Envoy's secret discovery: a stream of requests.
pub fn sds(octets: &[u8]) {
    let Some((first, rest)) = octets.split_first() else { return };
    let calls = ["StreamSecrets", "DeltaSecrets", "FetchSecrets"];
    let call = calls[usize::from(*first) % calls.len()];
    let body = match (call, *first < 128) {
        (_, false) => rest.to_vec(),
        ("FetchSecrets", true) => framed(rest),
        (_, true) => messages(rest),
    };
    let path = format!("/envoy.service.secret.v3.SecretDiscoveryService/{call}");
    let answer = Served::call(&path, body, 64);
    is_an_answer(&answer);
    let names_it =
        [ID, "default"].iter().any(|name| octets.windows(name.len()).any(|window| window == name.as_bytes()));
    assert!(!tells_the_key(&answer), "a key travels as PEM alone");
    let tells = answer.frames.windows(11).any(|window| window == b"PRIVATE KEY");
    if octets == [2] {
        assert!(tells && answer.code == Some(Code::Ok), "an empty request is answered: {answer:?}");
    }
    // Without names a proxy asks for everything that it may have.
    assert!(!tells || names_it || call != "DeltaSecrets", "a key that was not asked for");
}

/// Reflection in both versions.
pub fn reflection(octets: &[u8]) {
    let Some((first, rest)) = octets.split_first() else { return };
    let version = if first % 2 == 0 { "v1" } else { "v1alpha" };
    let body = if *first < 128 { messages(rest) } else { rest.to_vec() };
    let answer =
        Served::call(&format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"), body, 64);
    is_an_answer(&answer);
}
