//! OAuth clients and resource servers of others, unmodified, against the authorization server.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use oauth2::{
    AuthType, ClientId, HttpRequest, HttpResponse, Scope, TokenResponse as _, TokenUrl, basic::BasicClient,
};
use serde_json::Value;

use crate::{
    assertions::{Assertion, JWT_BEARER},
    ca::{Ca, id},
    machine::Machine,
    oauth::house,
    program::{self, python_tool, tool},
    protected::Ledger,
    wire::{self, Connection, Papers},
};

/// A CA with three machines of the agent's making: a client, the service, and somebody else; and with a key of the client's
/// that is in no certificate.
fn cast() -> Ca {
    let ca = house();
    for (path, dir) in [("/payments", "client"), ("/post", "other")] {
        ca.enroll_agent(path, dir);
    }
    let invitation = ca.invite("/ledger", &["--dns", "localhost"]);
    ca.agent(&["enroll", "--invitation", &invitation, "--dir", "service"]).succeeded();
    let key = countersign_testkit::KeyPair::generate().unwrap();
    std::fs::write(ca.scratch("deploy.key"), key.serialize_pem()).unwrap();
    std::fs::write(ca.scratch("deploy.pem"), key.public_key_pem()).unwrap();
    let add = ["registrations", "add-key", &id("/payments"), "deploy.pem", "--id", "deploy"];
    ca.run(&[&add[..], &["--until", "2100-01-01T00:00:00Z"]].concat()).succeeded();
    ca
}

/// Lets a script play with the CA, and with a service that has our verifier.
#[track_caller]
fn play(mut command: Command, script: &str, ca: &Ca) {
    let ledger = Ledger::at(ca, &ca.scratch("service"), |resource| resource);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script);
    command.arg(script).arg(format!("https://{}", ca.listen()));
    // A developer's own certificate authorities are not asked.
    command.env_remove("REQUESTS_CA_BUNDLE").env_remove("CURL_CA_BUNDLE").env_remove("SSL_CERT_FILE");
    command.args(["client", "service", "other"].map(|dir| ca.scratch(dir))).arg(id("/payments"));
    command.arg(format!("https://localhost:{}/entries", ledger.address.port()));
    let said = program::run(&mut command).succeeded();
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn authlib_requests_and_pyjwt_go_from_discovery_to_a_protected_call() {
    let Some(python) = python_tool("python") else { return };
    play(Command::new(python), "oauth.py", &cast());
}

#[test]
fn openid_client_oauth4webapi_and_jose_go_from_discovery_to_a_protected_call_and_revocation() {
    let Some(node) = tool("node") else { return };
    if !program::node_modules("jose") {
        return;
    }
    play(Command::new(node), "oauth.mjs", &cast());
}

/// How the oauth2 crate reaches a server is its user's choice; here with a machine's certificate, or without one.
fn over(ca: &Ca, papers: Option<&Papers>, request: &HttpRequest) -> std::io::Result<HttpResponse> {
    let mut connection = Connection::open(ca.listen(), papers)?;
    let kind = request.headers()["content-type"].to_str().unwrap();
    let answer = connection.ask("POST", request.uri().path(), Some((kind, request.body())))?;
    let response = oauth2::http::Response::builder().status(answer.status);
    let response = response.header("content-type", answer.header("content-type").unwrap());
    Ok(response.body(answer.body).unwrap())
}

#[test]
fn the_oauth2_crate_goes_from_discovery_to_a_protected_call_and_gets_no_refresh_token() {
    let ca = house();
    let ledger = Ledger::of(&ca);
    let machine = Machine::enrolled(&ca, "/payments");
    let metadata: Value = wire::get(ca.listen(), None, "/.well-known/oauth-authorization-server").json();
    let endpoint = TokenUrl::new(metadata["token_endpoint"].as_str().unwrap().to_owned()).unwrap();
    let client = BasicClient::new(ClientId::new(id("/payments"))).set_token_uri(endpoint);
    let client = client.set_auth_type(AuthType::RequestBody);
    let over_mtls = |request: HttpRequest| over(&ca, Some(&machine.papers), &request);
    let scope = |name: &str| Scope::new(name.to_owned());
    let ask = |name: &str| client.exchange_client_credentials().add_scope(scope(name)).request(&over_mtls);
    let granted = ask("ledger:read").unwrap();
    assert_eq!(granted.scopes(), Some(&vec![scope("ledger:read")]));
    assert!(granted.expires_in().is_some() && granted.refresh_token().is_none());
    // The same without a certificate, by a signature with its key; a server that has just started takes none yet.
    let signed = || {
        let assertion = Assertion::of(&ca, &machine).sign(&machine.key);
        let request = client.exchange_client_credentials().add_scope(scope("ledger:read"));
        let request = request.add_extra_param("client_assertion", assertion);
        let request = request.add_extra_param("client_assertion_type", JWT_BEARER);
        request.request(&|request: HttpRequest| over(&ca, None, &request))
    };
    let until = Instant::now() + Duration::from_secs(20);
    let by_signature = loop {
        match signed() {
            Ok(granted) => break granted,
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(500)),
            Err(refused) => panic!("{refused}"),
        }
    };
    for token in [granted.access_token(), by_signature.access_token()] {
        let read = ledger.ask(Some(&machine.papers), token.secret()).unwrap();
        assert_eq!((read.status, read.text()), (200, id("/payments")));
        assert_eq!(ledger.ask(None, token.secret()).unwrap().status, 401, "bound to the certificate");
    }
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
