//! What others make of our certificates: openssl, curl, the SPIFFE libraries, a linter.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use countersign_testkit::csr;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};

use crate::{
    ca::{Ca, id},
    program::{self, python_tool, tool},
    wire::{self, Connection},
};

/// A CA with a machine that has every kind of name, its files in `m`.
fn house() -> (Ca, PathBuf) {
    let ca = Ca::start();
    let flags = ["--dns", "pay.prod.example", "--ip", "192.0.2.7", "--ip", "2001:db8::7"];
    let invitation = ca.invite("/payments", &flags);
    ca.agent(&["enroll", "--invitation", &invitation, "--dir", "m"]).succeeded();
    let dir = ca.scratch("m");
    (ca, dir)
}

#[test]
fn openssl_verifies_a_certificate_strictly_for_both_ends_of_tls() {
    let Some(openssl) = tool("openssl") else { return };
    let (_ca, dir) = house();
    for purpose in ["sslclient", "sslserver"] {
        let mut verify = Command::new(&openssl);
        verify.args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"]);
        verify
            .arg(dir.join("bundle.pem"))
            .arg("-untrusted")
            .arg(dir.join("svid.pem"))
            .arg(dir.join("svid.pem"));
        assert!(program::run(&mut verify).succeeded().contains("OK"), "{purpose}");
    }
    let mut names = Command::new(&openssl);
    names.args(["x509", "-noout", "-ext", "subjectAltName", "-in"]).arg(dir.join("svid.pem"));
    let names = program::run(&mut names).succeeded();
    for name in ["URI:spiffe://prod.example/payments", "DNS:pay.prod.example", "IP Address:192.0.2.7"] {
        assert!(names.contains(name), "{names}");
    }
}

#[test]
fn openssl_reads_the_key_and_it_is_that_of_the_certificate() {
    let Some(openssl) = tool("openssl") else { return };
    let (_ca, dir) = house();
    let public = |arguments: &[&str], file: &str| {
        program::run(Command::new(&openssl).args(arguments).arg(dir.join(file))).succeeded()
    };
    let of_key = public(&["pkey", "-pubout", "-in"], "svid.key");
    assert_eq!(of_key, public(&["x509", "-noout", "-pubkey", "-in"], "svid.pem"));
    assert_eq!(of_key, public(&["pkey", "-pubout", "-in"], "svid-combined.pem"));
}

/// The settings of `curl` as the machine.
fn curl(ca: &Ca, dir: &Path) -> Option<Command> {
    let mut curl = Command::new(tool("curl")?);
    curl.args(["--silent", "--show-error", "--fail-with-body", "--cacert"]).arg(dir.join("bundle.pem"));
    curl.arg("--cert").arg(dir.join("svid.pem")).arg("--key").arg(dir.join("svid.key"));
    curl.env("CA_URL", format!("https://{}", ca.listen()));
    Some(curl)
}

#[test]
fn curl_reads_the_bundle_in_both_forms() {
    let (ca, dir) = house();
    let url = format!("https://{}/v1/bundle", ca.listen());
    let Some(mut json) = curl(&ca, &dir) else { return };
    let jwks: Value = serde_json::from_str(&program::run(json.arg(&url)).succeeded()).unwrap();
    assert_eq!(jwks["keys"][0]["use"], "x509-svid");
    assert!(jwks["spiffe_sequence"].is_u64() && jwks["spiffe_refresh_hint"].is_u64(), "{jwks}");
    let mut pem = curl(&ca, &dir).unwrap();
    pem.args(["-H", "accept: application/x-pem-file"]);
    assert_eq!(program::run(pem.arg(&url)).succeeded(), fs::read_to_string(dir.join("bundle.pem")).unwrap());
    let roots = format!("https://{}/v1/roots", ca.listen());
    let roots: Value =
        serde_json::from_str(&program::run(curl(&ca, &dir).unwrap().arg(roots)).succeeded()).unwrap();
    assert_eq!(roots["documents"].as_array().unwrap().len(), 1);
}

#[test]
fn curl_renews_with_a_request_that_openssl_made() {
    let (Some(openssl), (ca, dir)) = (tool("openssl"), house()) else { return };
    let request = dir.join("next.csr");
    let mut make = Command::new(openssl);
    make.args([
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/",
    ]);
    make.arg("-keyout").arg(dir.join("next.key")).arg("-out").arg(&request);
    program::run(&mut make).succeeded();
    fs::write(dir.join("body"), json!({ "csr": fs::read_to_string(&request).unwrap() }).to_string()).unwrap();
    let Some(mut renew) = curl(&ca, &dir) else { return };
    renew.args([
        "-H",
        "content-type: application/json",
        "--data-binary",
        &format!("@{}", dir.join("body").display()),
    ]);
    renew.arg(format!("https://{}/v1/renew", ca.listen()));
    let answer: Value = serde_json::from_str(&program::run(&mut renew).succeeded()).unwrap();
    assert!(answer["chain"].as_str().unwrap().matches("BEGIN CERTIFICATE").count() == 2, "{answer}");
}

#[test]
fn curl_enrolls_without_any_program_of_ours() {
    let (ca, dir) = house();
    let invitation = ca.invite("/by-hand", &[]);
    let body = json!({ "invitation": invitation, "csr": csr::to_pem(&csr::plain(&csr::p256())) });
    fs::write(dir.join("body"), body.to_string()).unwrap();
    let Some(curl) = tool("curl") else { return };
    let mut enroll = Command::new(curl);
    enroll.args(["-sS", "--fail-with-body", "--cacert"]).arg(dir.join("bundle.pem"));
    enroll.args([
        "-H",
        "content-type: application/json",
        "--data-binary",
        &format!("@{}", dir.join("body").display()),
    ]);
    enroll.arg(format!("https://{}/v1/enroll", ca.listen()));
    let answer: Value = serde_json::from_str(&program::run(&mut enroll).succeeded()).unwrap();
    assert!(answer["machine"].as_str().unwrap().starts_with("m-"));
}

#[test]
fn the_python_package_spiffe_takes_our_files() {
    let Some(python) = python_tool("python") else { return };
    let (_ca, dir) = house();
    let script = "import sys; from cryptography.hazmat.primitives.serialization import Encoding; \
                  from spiffe import X509Svid, X509Bundle, TrustDomain; d = sys.argv[1]; \
                  svid = X509Svid.load(d + '/svid.pem', d + '/svid.key', Encoding.PEM); \
                  bundle = X509Bundle.load(TrustDomain('prod.example'), d + '/bundle.pem', Encoding.PEM); \
                  print(svid.spiffe_id, len(svid.cert_chain), len(bundle.x509_authorities))";
    let said = program::run(Command::new(python).args(["-c", script]).arg(&dir)).succeeded();
    assert_eq!(said.trim(), "spiffe://prod.example/payments 2 1");
}

#[test]
fn the_rust_crate_spiffe_takes_our_files() {
    let (ca, dir) = house();
    let pem = fs::read(dir.join("svid.pem")).unwrap();
    let chain: Vec<u8> = CertificateDer::pem_slice_iter(&pem).flat_map(|der| der.unwrap().to_vec()).collect();
    let key = PrivateKeyDer::from_pem_file(dir.join("svid.key")).unwrap();
    let svid = spiffe::X509Svid::parse_from_der(&chain, key.secret_der()).unwrap();
    assert_eq!(svid.spiffe_id().to_string(), id("/payments"));
    let root = CertificateDer::from_pem_file(dir.join("bundle.pem")).unwrap();
    let bundle = spiffe::X509Bundle::parse_from_der("prod.example".try_into().unwrap(), &root).unwrap();
    assert_eq!(bundle.authorities().len(), 1);
    // What the server itself shows is an SVID as well, of the one name no workload can have.
    let server = Connection::open(ca.listen(), None).unwrap().server_chain();
    let names = format!("{:?}", String::from_utf8_lossy(&server[0]));
    assert!(server.len() == 3 && names.contains(&id("/countersign/ca")));
}

/// The codes of what pkilint finds, those apart that it says of every SPIFFE certificate.
fn lint(tool: &Path, arguments: &[&Path]) -> Vec<String> {
    let mut lint = Command::new(tool);
    lint.args(["lint", "-s", "WARNING", "-f", "JSON"]).args(arguments);
    let ended = program::run(&mut lint);
    let found: Value =
        serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{}{}", ended.out, ended.err));
    let mut codes = Vec::new();
    collect_codes(&found, &mut codes);
    // RECIPES, trap 10: it knows no spiffe:// URIs, and no host called localhost.
    codes.retain(|code| code != "pkix.invalid_uri_syntax" && !code.contains("localhost"));
    codes
}

fn collect_codes(value: &Value, codes: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            codes.extend(fields.get("code").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|field| collect_codes(field, codes));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_codes(item, codes)),
        _ => {}
    }
}

#[test]
fn pkilint_finds_nothing_in_leaf_issuer_root_and_server() {
    let (Some(one), Some(pair)) =
        (python_tool("lint_pkix_cert"), python_tool("lint_pkix_signer_signee_cert_chain"))
    else {
        return;
    };
    let (ca, dir) = house();
    let answer = wire::get(ca.listen(), None, "/v1/bundle");
    assert_eq!(answer.status, 200);
    let chain = Connection::open(ca.listen(), None).unwrap().server_chain();
    let leaf = CertificateDer::from_pem_file(dir.join("svid.pem")).unwrap();
    let all = [
        ("leaf", leaf.to_vec()),
        ("server", chain[0].to_vec()),
        ("issuer", chain[1].to_vec()),
        ("root", chain[2].to_vec()),
    ];
    let files = all.map(|(name, der)| {
        let file = ca.scratch(name);
        fs::write(&file, der).unwrap();
        file
    });
    let [leaf, server, issuer, root] = &files;
    for file in &files {
        let codes = lint(&one, &[file]);
        assert!(codes.is_empty(), "{}: {codes:?}", file.display());
    }
    for [signer, signed] in [[issuer, leaf], [issuer, server], [root, issuer]] {
        let codes = lint(&pair, &[signer, signed]);
        assert!(codes.is_empty(), "{} below {}: {codes:?}", signed.display(), signer.display());
    }
}
