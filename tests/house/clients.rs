//! OAuth clients and resource servers of others, unmodified, against the authorization server.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::{
    ca::{Ca, id},
    oauth::house,
    program::{self, python_tool, tool},
};

/// A CA with three machines of the agent's making: a client, the service, and somebody else.
fn cast() -> Ca {
    let ca = house();
    for (path, dir) in [("/payments", "client"), ("/ledger", "service"), ("/post", "other")] {
        ca.enroll_agent(path, dir);
    }
    ca
}

#[track_caller]
fn play(mut command: Command, script: &str, ca: &Ca) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script);
    command.arg(script).arg(format!("https://{}", ca.listen()));
    // A developer's own certificate authorities are not asked.
    command.env_remove("REQUESTS_CA_BUNDLE").env_remove("CURL_CA_BUNDLE").env_remove("SSL_CERT_FILE");
    command.args(["client", "service", "other"].map(|dir| ca.scratch(dir))).arg(id("/payments"));
    let said = program::run(&mut command).succeeded();
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn authlib_requests_and_pyjwt_go_from_discovery_to_a_protected_call() {
    let Some(python) = python_tool("python") else { return };
    play(Command::new(python), "oauth.py", &cast());
}

#[test]
fn openid_client_oauth4webapi_and_jose_go_from_discovery_to_revocation() {
    let Some(node) = tool("node") else { return };
    if !program::node_modules() {
        return;
    }
    play(Command::new(node), "oauth.mjs", &cast());
}

#[test]
fn plain_curl_buys_a_token() {
    let Some(curl) = tool("curl") else { return };
    let ca = cast();
    let file = |name: &str| ca.scratch("client").join(name);
    let mut command = Command::new(curl);
    command.args(["--silent", "--show-error", "--fail-with-body", "--cacert"]).arg(file("bundle.pem"));
    command.arg("--cert").arg(file("svid.pem")).arg("--key").arg(file("svid.key"));
    command.args(["-d", "grant_type=client_credentials", "-d", "audience=ledger"]);
    command.arg(format!("https://{}/oauth2/token", ca.listen()));
    let said: Value = serde_json::from_str(&program::run(&mut command).succeeded()).unwrap();
    assert_eq!(said["scope"], "ledger:read ledger:tenant:acme ledger:write");
}
