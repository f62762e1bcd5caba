//! The example in which a service takes tokens of an authorization server that is not ours: a real one, known by its keys
//! and by being asked.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use countersign_verifier::{ClientProof, ForeignKeys, Introspection, KnownBy, OwnIdentity, WebRoots};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    ca::{Ca, Setup, id},
    oauth::POLICY,
    program::{node_modules, tool},
    wire::Connection,
};

#[expect(dead_code, reason = "its main is for whoever runs it by hand")]
#[path = "../../examples/external.rs"]
mod example;

/// The server of others, and its clients.
struct Login(Child);

impl Login {
    #[track_caller]
    fn start(node: &Path, ca: &Ca) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/external.mjs");
        let mut command = Command::new(node);
        command.arg(script).args(["login", "client", "other"].map(|dir| ca.scratch(dir))).arg(id("/ledger"));
        command.env_remove("NODE_EXTRA_CA_CERTS").stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// The next line of JSON that it says; what else it says is for people.
    #[track_caller]
    fn says(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Value {
        let line = lines.map(Result::unwrap).find(|line| line.starts_with('{'));
        serde_json::from_str(&line.expect("the script ended early")).unwrap()
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Everybody's identity, the server's under the host name that it has.
#[track_caller]
fn cast() -> Ca {
    let grant = "\n[[grant]]\nid = \"spiffe://login.example/payments\"\npermissions = [\"ledger:read\"]\n";
    let ca = Setup::new().policy(&format!("{POLICY}{grant}")).start();
    for (path, dir) in [("/payments", "client"), ("/ledger", "ledger"), ("/post", "other")] {
        ca.enroll_agent(path, dir);
    }
    let invitation = ca.invite("/login", &["--dns", "localhost"]);
    ca.agent(&["enroll", "--invitation", &invitation, "--dir", "login"]).succeeded();
    ca
}

#[test]
fn oidc_provider_s_tokens_open_a_service_by_its_keys_and_by_asking_it() {
    let Some(node) = tool("node") else { return };
    if !node_modules("oidc-provider") {
        return;
    }
    let ca = cast();
    let mut login = Login::start(&node, &ca);
    let mut lines = BufReader::new(login.0.stdout.take().unwrap()).lines();
    let at = Login::says(&mut lines);
    let text = |name: &str| at[name].as_str().unwrap().to_owned();
    let dir = ca.scratch("ledger");
    let roots = WebRoots::from_pem(&fs::read(dir.join("bundle.pem")).unwrap()).unwrap();
    let me = OwnIdentity::from_files(dir.join("svid.pem"), dir.join("svid.key")).unwrap();
    let signature = ClientProof::signature("ledger-signature", text("key").as_bytes(), "service").unwrap();
    let asked = [
        ClientProof::secret("ledger-secret", "swordfish & chips: 7"),
        ClientProof::certificate("ledger-certificate", me),
        signature,
    ];
    let runtime = Runtime::new().unwrap();
    let serve = |known_by: KnownBy| -> SocketAddr {
        let (issuer, audience) = (text("issuer"), text("audience"));
        let ca = format!("https://{}", ca.listen());
        let external = example::External { dir: dir.clone(), ca, issuer, audience, known_by };
        runtime.block_on(external.serve()).unwrap()
    };
    let keys = serve(ForeignKeys::at(text("jwks").parse().unwrap(), &roots).unwrap().into());
    let asked = asked.map(|proof| {
        serve(Introspection::at(text("introspection").parse().unwrap(), &roots, proof).unwrap().into())
    });
    let url = |address: &SocketAddr| format!("https://{address}");
    let services = json!({ "keys": url(&keys), "asked": asked.iter().map(url).collect::<Vec<_>>() });
    writeln!(login.0.stdin.as_ref().unwrap(), "{services}").unwrap();
    let said = Login::says(&mut lines);
    assert_eq!(said["done"], true);
    assert!(login.0.wait().unwrap().success());
    // It has gone: a token that it was never asked about opens nothing, and is nobody's fault.
    let token = said["unasked"].as_str().unwrap();
    let mut connection = Connection::open(asked[0], None).unwrap();
    let head = format!("GET /entries HTTP/1.1\r\nhost: ledger\r\nauthorization: Bearer {token}\r\n\r\n");
    connection.send(head.as_bytes()).unwrap();
    assert_eq!(connection.read().unwrap().status, 503);
}
