//! The example in which a service has the authorization server inside: it mints, verifies and protects in one process.

use countersign_verifier::OwnIdentity;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::Value;
use std::path::Path;
use tokio::runtime::Runtime;

use crate::wire::{Answer, Connection, Papers};

#[expect(dead_code, reason = "its main is for whoever runs it by hand")]
#[path = "../../examples/embedded.rs"]
mod embedded;

fn papers(dir: &Path) -> Papers {
    let file = |name: &str| dir.join(name);
    OwnIdentity::from_files(file("svid.pem"), file("svid.key")).expect("certificate and key match");
    Papers {
        chain: CertificateDer::pem_file_iter(file("svid.pem")).unwrap().map(Result::unwrap).collect(),
        key: PrivateKeyDer::from_pem_file(file("svid.key")).unwrap(),
    }
}

#[test]
fn a_service_mints_verifies_and_protects_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let (embedded, payments, other) = runtime.block_on(async {
        let embedded = embedded::Embedded::start(dir.path()).await.unwrap();
        let payments = embedded.enroll("/payments").await.unwrap();
        let other = embedded.enroll("/other").await.unwrap();
        (embedded, papers(&payments), papers(&other))
    });
    let ask = |papers: &Papers, method: &str, path: &str, header: &str| -> Answer {
        let mut connection = Connection::open(embedded.address, Some(papers)).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: ledger\r\n{header}content-length: 0\r\n\r\n");
        connection.send(head.as_bytes()).unwrap();
        connection.read().unwrap()
    };
    let minted: Value = ask(&payments, "POST", "/token", "").json();
    let bearer = format!("authorization: Bearer {}\r\n", minted["access_token"].as_str().unwrap());
    let read = ask(&payments, "GET", "/entries", &bearer);
    assert_eq!((read.status, read.text().as_str()), (200, "entries for spiffe://prod.example/payments"));
    assert_eq!(ask(&other, "GET", "/entries", &bearer).status, 401, "stolen");
    assert_eq!(ask(&other, "POST", "/token", "").status, 403, "the policy gives it nothing");
    assert_eq!(ask(&payments, "GET", "/entries", "authorization: Bearer x\r\n").status, 401);
}
