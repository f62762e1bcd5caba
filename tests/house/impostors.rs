//! Servers that are not the CA: whoever answers there, the agent tells it nothing (invariant 11).

use std::{
    io::Read as _,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use countersign_api::Invitation;
use countersign_testkit::Authority;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use crate::{ca::Ca, machine::Machine, wire::Papers};

/// A TLS server that takes one connection and returns what it was told.
struct Impostor {
    address: SocketAddr,
    heard: JoinHandle<Vec<u8>>,
}

impl Impostor {
    fn with(papers: &Papers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(papers.chain.clone(), papers.key.clone_key())
            .unwrap();
        let heard = std::thread::spawn(move || {
            let (tcp, _) = listener.accept().unwrap();
            tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), tcp);
            let mut heard = Vec::new();
            // It ends with the alert or the end of the connection.
            let _ = stream.read_to_end(&mut heard);
            heard
        });
        Self { address, heard }
    }

    /// The agent refuses to enroll here, and says these things; the impostor has heard nothing.
    #[track_caller]
    fn turned_away(self, ca: &Ca, invitation: &str, words: &[&str]) {
        let url = format!("https://{}", self.address);
        let enroll = ["enroll", "--invitation", invitation, "--dir", "m", "--url", &url];
        ca.agent(&enroll).failed(1, words);
        assert!(!ca.scratch("m/svid.pem").exists());
        let heard = self.heard.join().unwrap();
        assert!(heard.is_empty(), "the impostor heard {}", String::from_utf8_lossy(&heard));
    }
}

#[test]
fn a_workload_certificate_cannot_answer_as_the_ca() {
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    let root = CertificateDer::from_pem_slice(machine.response.bundle.as_bytes()).unwrap();
    let chain = machine.papers.chain.iter().cloned().chain([root]).collect();
    let papers = Papers { chain, key: machine.papers.key };
    let words = ["not the CA of the invitation", "spiffe://prod.example/payments", "nothing was sent"];
    Impostor::with(&papers).turned_away(&ca, &ca.invite("/victim", &[]), &words);
}

#[test]
fn a_machine_with_the_issuers_chain_but_without_the_root_is_refused() {
    let ca = Ca::start();
    let machine = Machine::enrolled(&ca, "/payments");
    Impostor::with(&machine.papers).turned_away(
        &ca,
        &ca.invite("/victim", &[]),
        &["not the CA of the invitation"],
    );
}

#[test]
fn another_ca_of_the_same_trust_domain_is_refused() {
    let ca = Ca::start();
    let forged =
        Authority::root("prod.example").issuer().leaf("spiffe://prod.example/countersign/ca").forge();
    let papers = Papers { chain: forged.chain_with_root(), key: forged.key_der() };
    Impostor::with(&papers).turned_away(&ca, &ca.invite("/victim", &[]), &["pinned root", "fingerprint"]);
}

#[test]
fn a_real_ca_that_is_another_one_is_refused() {
    let (ours, other) = (Ca::start(), Ca::start());
    let mut invitation: Invitation = ours.invite("/victim", &[]).parse().unwrap();
    invitation.url = format!("https://{}", other.listen());
    let enroll = ["enroll", "--invitation", &invitation.to_string(), "--dir", "m"];
    ours.agent(&enroll).failed(1, &["not the CA of the invitation", "pinned root"]);
    assert!(other.events("machine.enrolled").is_empty());
}

#[test]
fn an_invitation_into_another_trust_domain_than_the_ca_serves_is_refused() {
    let ca = Ca::start();
    let mut invitation: Invitation = ca.invite("/victim", &[]).parse().unwrap();
    invitation.trust_domain = "other.example".into();
    let enroll = ["enroll", "--invitation", &invitation.to_string(), "--dir", "m"];
    ca.agent(&enroll).failed(1, &["other.example"]);
}

#[test]
fn a_renewal_does_not_trust_another_ca_either() {
    let (ours, other) = (Ca::start(), Ca::start());
    let dir = ours.enroll_agent("/payments", "m");
    let config = ours.scratch("agent.toml");
    let url = format!("https://{}", other.listen());
    std::fs::write(&config, format!("dir = {dir:?}\nurl = {url:?}\n")).unwrap();
    ours.agent(&["renew", "--config", "agent.toml"]).failed(1, &["pinned root"]);
    ours.agent(&["renew", "--dir", "m"]).succeeded();
}

#[test]
fn a_server_that_speaks_no_tls_is_told_apart() {
    let ca = Ca::start();
    let url = format!("https://{}", ca.ops());
    let invitation = ca.invite("/victim", &[]);
    let enroll = ["enroll", "--invitation", &invitation, "--dir", "m", "--url", &url];
    ca.agent(&enroll).failed(1, &["does not speak TLS"]);
}

#[test]
fn nobody_at_all_is_worth_another_try() {
    let ca = Ca::start();
    let mut invitation: Invitation = ca.invite("/victim", &[]).parse().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    invitation.url = format!("https://{nobody}");
    let enroll = ["enroll", "--invitation", &invitation.to_string(), "--dir", "m"];
    ca.agent(&enroll).failed(3, &["unreachable"]);
}
