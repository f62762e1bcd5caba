//! OAuth clients and resource servers of others, unmodified, against the authorization server.

use std::{path::Path, process::Command};

use oauth2::{
    AuthType, ClientId, HttpRequest, HttpResponse, Scope, TokenResponse as _, TokenUrl, basic::BasicClient,
};
use serde_json::Value;

use crate::{
    ca::{Ca, id},
    machine::Machine,
    oauth::house,
    program::{self, python_tool, tool},
    wire::Connection,
};

/// A CA with three machines of the agent's making: a client, the service, and somebody else; and with a key of the client's
/// that is in no certificate.
fn cast() -> Ca {
    let ca = house();
    for (path, dir) in [("/payments", "client"), ("/ledger", "service"), ("/post", "other")] {
        ca.enroll_agent(path, dir);
    }
    let key = countersign_testkit::KeyPair::generate().unwrap();
    std::fs::write(ca.scratch("deploy.key"), key.serialize_pem()).unwrap();
    std::fs::write(ca.scratch("deploy.pem"), key.public_key_pem()).unwrap();
    let add = ["registrations", "add-key", &id("/payments"), "deploy.pem", "--id", "deploy"];
    ca.run(&[&add[..], &["--until", "2100-01-01T00:00:00Z"]].concat()).succeeded();
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
    if !program::node_modules("jose") {
        return;
    }
    play(Command::new(node), "oauth.mjs", &cast());
}

#[test]
fn the_oauth2_crate_gets_a_token_and_no_refresh_token() {
    let ca = house();
    let machine = Machine::enrolled(&ca, "/payments");
    let endpoint = TokenUrl::new(format!("https://{}/oauth2/token", ca.listen())).unwrap();
    let client = BasicClient::new(ClientId::new(id("/payments"))).set_token_uri(endpoint);
    let client = client.set_auth_type(AuthType::RequestBody);
    // How a client reaches a server is its user's choice; this one shows the machine's certificate.
    let over_mtls = |request: HttpRequest| -> std::io::Result<HttpResponse> {
        let mut connection = Connection::open(ca.listen(), Some(&machine.papers))?;
        let kind = request.headers()["content-type"].to_str().unwrap();
        let answer = connection.ask("POST", request.uri().path(), Some((kind, request.body())))?;
        let response = oauth2::http::Response::builder().status(answer.status);
        let response = response.header("content-type", answer.header("content-type").unwrap());
        Ok(response.body(answer.body).unwrap())
    };
    let scope = |name: &str| Scope::new(name.to_owned());
    let ask = |name: &str| client.exchange_client_credentials().add_scope(scope(name)).request(&over_mtls);
    let granted = ask("ledger:read").unwrap();
    assert_eq!(granted.scopes(), Some(&vec![scope("ledger:read")]));
    assert!(granted.expires_in().is_some() && granted.refresh_token().is_none());
    let oauth2::RequestTokenError::ServerResponse(refused) = ask("ledger:nothing").unwrap_err() else {
        panic!("a refusal is read as one");
    };
    assert_eq!(refused.error().as_ref(), "invalid_scope");
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
