//! The CA away for half the life of its certificates: nothing fails meanwhile, and everything is renewed afterwards.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    ca::{Ca, Setup},
    program,
};

/// The life of a certificate; an hour's, scaled down. Long enough for a CA that takes half a minute to start.
const LIFE: Duration = Duration::from_secs(120);
const MACHINES: [&str; 4] = ["one", "two", "three", "four"];

/// An agent that runs; it is ended when this is dropped.
struct Agent {
    name: &'static str,
    process: Child,
}

impl Agent {
    fn run(ca: &Ca, name: &'static str) -> Self {
        let invitation = ca.invite(&format!("/{name}"), &["--profile", "brief"]);
        ca.agent(&["enroll", "--invitation", &invitation, "--dir", name]).succeeded();
        let log = File::create(ca.scratch(&format!("{name}.log"))).unwrap();
        let mut command = program::agent();
        command.args(["run", "--dir"]).arg(ca.scratch(name)).stdin(Stdio::null());
        Self { name, process: command.stderr(log).spawn().unwrap() }
    }

    /// How its identity stands, in the words of `status`.
    fn status(&self, ca: &Ca) -> Value {
        let said = ca.agent(&["status", "--dir", self.name, "--json"]);
        serde_json::from_str(&said.succeeded()).unwrap()
    }

    fn log(&self, ca: &Ca) -> String {
        fs::read_to_string(ca.scratch(&format!("{}.log", self.name))).unwrap()
    }

    fn pair(&self, ca: &Ca) -> [PathBuf; 2] {
        ["svid.pem", "svid.key"].map(|name| ca.scratch(self.name).join(name))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_ca_away_for_half_the_life_of_its_certificates_costs_nobody_the_identity() {
    let mut ca = Setup::new().profile("brief", "lifetime = \"2m\"\n").start();
    let agents = MACHINES.map(|name| Agent::run(&ca, name));
    let serials = |ca: &Ca| agents.each_ref().map(|agent| agent.status(ca)["serial"].clone());
    let first = serials(&ca);
    ca.stop();
    let back = Instant::now() + LIFE / 2;
    while Instant::now() < back {
        // `status` fails where the identity cannot be used.
        let serving = agents.each_ref().map(|agent| agent.status(&ca));
        assert!(serving.iter().all(|status| status["state"] == "valid"), "{serving:?}");
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(serials(&ca), first, "nobody renewed, and the windows are over by now");
    assert!(agents.iter().all(|agent| agent.log(&ca).contains("renewal failed")), "{}", agents[0].log(&ca));
    ca.start_again();
    let until = Instant::now() + LIFE / 4;
    loop {
        let now = serials(&ca);
        if now.iter().zip(&first).all(|(now, first)| now != first) {
            break;
        }
        assert!(Instant::now() < until, "{now:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(ca.events("machine.recovered").is_empty(), "nobody had expired");
    for agent in &agents {
        let [certificate, key] = agent.pair(&ca);
        countersign_verifier::OwnIdentity::from_files(certificate, key).unwrap();
    }
}
