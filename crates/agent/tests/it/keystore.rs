//! The PKCS#12 file beside the others: made of the same generation, read by openssl and, where it is installed, by Java.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use countersign_agent::config::Config;
use countersign_agent::{AgentError, Dir, EnrollOptions, Identity, RenewOptions, enroll, renew};
use countersign_testkit::noon_clock;
use rcgen::{KeyPair, PublicKeyData as _};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tempfile::TempDir;

use crate::ca::{Ca, public_key_of};

const PASSWORD: &str = "correct horse";

struct Machine {
    ca: Arc<Ca>,
    scratch: TempDir,
}

impl Machine {
    async fn enrolled() -> Self {
        let ca = Ca::start(noon_clock()).await;
        let scratch = tempfile::tempdir().unwrap();
        let options = EnrollOptions::new(ca.invitation(1), scratch.path()).clock(noon_clock());
        enroll(&options).await.unwrap();
        let machine = Self { ca, scratch };
        fs::write(machine.password_file(), format!("{PASSWORD}\n")).unwrap();
        fs::set_permissions(machine.password_file(), Permissions::from_mode(0o600)).unwrap();
        machine
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn password_file(&self) -> PathBuf {
        self.file("password")
    }

    /// Renews by a configuration with these lines.
    async fn renewed(&self, lines: &str) -> Result<Identity, AgentError> {
        let config = Config::parse(&format!("dir = \".\"\n{lines}\n"), &self.file("agent.toml")).unwrap();
        let options = RenewOptions::default().outputs(config.files).clock(noon_clock());
        renew(&Dir::at(self.scratch.path()), &options).await
    }

    /// What openssl says of the file; its own complaints if it does not read it.
    fn openssl(&self, password: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("openssl");
        command.args(["pkcs12", "-in"]).arg(self.file("svid.p12")).args(arguments);
        said(command.args(["-passin", &format!("pass:{password}")]))
    }
}

fn said(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if output.status.success() { Ok(text) } else { Err(text) }
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
}

fn of_file(path: &Path) -> Vec<CertificateDer<'static>> {
    certificates(&fs::read_to_string(path).unwrap())
}

const WANTED: &str = "[pkcs12]\npassword_file = \"password\"";

#[tokio::test]
async fn a_pkcs12_file_holds_the_key_and_chain_of_its_generation_and_changes_with_them() {
    let machine = Machine::enrolled().await;
    assert!(!machine.file("svid.p12").exists(), "nobody asked for it");
    for _ in 0..2 {
        machine.renewed(WANTED).await.unwrap();
        let key = machine.openssl(PASSWORD, &["-nodes", "-nocerts"]).unwrap();
        let key = &key[key.find("-----BEGIN").unwrap()..];
        let public = KeyPair::from_pem(key).unwrap().subject_public_key_info();
        assert_eq!(public, public_key_of(&machine.file("svid.key")));
        let chain = machine.openssl(PASSWORD, &["-nokeys"]).unwrap();
        assert_eq!(certificates(&chain), of_file(&machine.file("svid.pem")));
        assert_eq!(fs::metadata(machine.file("svid.p12")).unwrap().mode() & 0o777, 0o600);
    }
    let facts = machine.openssl(PASSWORD, &["-info", "-noout"]).unwrap();
    for fact in
        ["MAC: sha256, Iteration 10000", "PBES2, PBKDF2, AES-256-CBC, Iteration 10000, PRF hmacWithSHA256"]
    {
        assert!(facts.contains(fact), "{facts}");
    }
    let error = machine.openssl("wrong horse", &["-noout"]).unwrap_err();
    assert!(error.contains("invalid password"), "{error}");
    machine.renewed("").await.unwrap();
    assert!(fs::symlink_metadata(machine.file("svid.p12")).is_err(), "no link to nothing is left");
}

#[tokio::test]
async fn a_pkcs12_file_may_hold_the_roots_for_programs_that_read_one_file() {
    let machine = Machine::enrolled().await;
    let gid = rustix::process::getegid().as_raw();
    let lines = format!("{WANTED}\ntrusted = true\n[files.\"svid.p12\"]\nmode = \"0640\"\ngroup = {gid}");
    machine.renewed(&lines).await.unwrap();
    let found = fs::metadata(machine.file("svid.p12")).unwrap();
    assert_eq!((found.mode() & 0o777, found.gid()), (0o640, gid));
    let all = certificates(&machine.openssl(PASSWORD, &["-nokeys"]).unwrap());
    assert_eq!(all.len(), 3, "leaf, issuer, root");
    assert!(all.contains(machine.ca.root()));
    let mut keytool = Command::new("keytool");
    keytool.args(["-list", "-v", "-storetype", "PKCS12", "-storepass", PASSWORD, "-keystore"]);
    if Command::new("keytool").arg("-help").output().is_err() {
        return;
    }
    let listed = said(keytool.arg(machine.file("svid.p12"))).unwrap();
    for line in ["contains 2 entries", "Alias name: svid", "Entry type: PrivateKeyEntry", "chain length: 3"] {
        assert!(listed.contains(line), "{listed}");
    }
    assert!(listed.contains("Alias name: root-1") && listed.contains("trustedCertEntry"), "{listed}");
}

#[tokio::test]
async fn without_its_password_nothing_is_asked_of_the_ca_and_the_password_is_in_no_message() {
    // Invariant 8.
    let machine = Machine::enrolled().await;
    fs::set_permissions(machine.password_file(), Permissions::from_mode(0o644)).unwrap();
    let error = machine.renewed(WANTED).await.unwrap_err();
    assert!(error.to_string().contains("open to every user"), "{error}");
    fs::remove_file(machine.password_file()).unwrap();
    let error = machine.renewed(WANTED).await.unwrap_err();
    assert!(error.to_string().contains("password"), "{error}");
    assert!(!error.to_string().contains(PASSWORD));
    assert_eq!(machine.ca.asked().len(), 1, "the enrollment");
}

#[tokio::test]
async fn a_file_of_somebody_else_in_the_place_of_the_keystore_is_left_alone() {
    let machine = Machine::enrolled().await;
    fs::write(machine.file("svid.p12"), "mine").unwrap();
    let error = machine.renewed(WANTED).await.unwrap_err();
    assert!(error.to_string().contains("svid.p12"), "{error}");
    machine.renewed("").await.unwrap();
    assert_eq!(fs::read_to_string(machine.file("svid.p12")).unwrap(), "mine");
}
