//! The path validation suites: every case through `verify-jsonl`, results counted, allow lists obeyed.
//!
//! The suites are data of this workplace and no part of the repository. Where they are absent the test says so.

#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::print_stderr, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What the verifier must not see of a case.
const ANSWERS: [&str; 7] = [
    "ref",
    "expected_result",
    "expected_peer_name",
    "expected_peer_names",
    "expected_spiffe_id",
    "verdict",
    "description",
];

/// Valid paths of PKITS that are refused, by the number of the test.
const PKITS_REFUSED: &str = "
    4.2.3 4.3.3 4.3.4 4.3.5 4.3.6 4.3.10 4.3.11 4.4.19 4.5.1 4.5.4 4.5.6 4.6.8 4.6.14 4.6.15 4.6.17 4.13.1 4.13.4
    4.13.5 4.13.6 4.13.11 4.13.14 4.13.18 4.13.19 4.13.21 4.13.23 4.13.25 4.13.27 4.13.34 4.13.36 4.14.13";

/// How long one case may take.
const LIMIT: Duration = Duration::from_secs(1);

type Outcome = BTreeMap<&'static str, BTreeSet<String>>;

fn suites() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/suites");
    let folder = std::env::var_os("COUNTERSIGN_SUITES").map_or_else(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no path validation suites at {}; set COUNTERSIGN_SUITES", folder.display());
    None
}

/// The example, as cargo built it beside this test.
fn verify_jsonl() -> PathBuf {
    let this = std::env::current_exe().expect("a path");
    let profile = this.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    let program = profile.join("examples/verify-jsonl");
    assert!(program.is_file(), "{} is not built: run the tests of the package", program.display());
    program
}

/// Runs a suite, one case a line, and sorts its cases by what came of them.
fn run(suite: &Path, arguments: &[&str]) -> Outcome {
    let text = fs::read_to_string(suite).expect("a suite");
    let suite: Value = serde_json::from_str(&text).expect("JSON");
    let mut verifier = Command::new(verify_jsonl())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example");
    let mut questions = verifier.stdin.take().expect("a pipe");
    let mut answers = BufReader::new(verifier.stdout.take().expect("a pipe")).lines();
    let mut outcome = Outcome::new();
    for (at, case) in suite["testcases"].as_array().expect("cases").iter().enumerate() {
        let mut question = case.clone();
        let fields = question.as_object_mut().expect("an object");
        fields.retain(|name, _| !ANSWERS.contains(&name.as_str()));
        fields.insert("id".into(), at.to_string().into());
        let begun = Instant::now();
        writeln!(questions, "{question}").expect("the verifier lives");
        let answer = answers.next().expect("the verifier lives").expect("a line");
        let name = case["id"].as_str().expect("a name").to_owned();
        assert!(begun.elapsed() < LIMIT, "{name} took {:?}", begun.elapsed());
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer["id"], at.to_string());
        outcome.entry(verdict(case, &answer)).or_default().insert(name);
    }
    drop(questions);
    assert!(verifier.wait().expect("an end").success());
    outcome
}

fn verdict(case: &Value, answer: &Value) -> &'static str {
    let expected = match (case["verdict"].as_str(), case["expected_result"].as_str()) {
        (Some("policy"), _) => return "policy",
        (Some("must-accept"), _) | (None, Some("SUCCESS")) => "SUCCESS",
        _ => "FAILURE",
    };
    match (answer["result"].as_str(), expected) {
        (Some("SKIPPED"), _) => "skipped",
        (Some("SUCCESS"), "FAILURE") => "false accept",
        (Some("FAILURE"), "SUCCESS") => "false reject",
        (Some("SUCCESS"), _)
            if case["expected_spiffe_id"].is_string()
                && case["expected_spiffe_id"] != answer["spiffe_id"] =>
        {
            "wrong identity"
        }
        (Some("SUCCESS" | "FAILURE"), _) => "right",
        _ => "no answer",
    }
}

fn listed(file: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(file).expect("a list");
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
}

fn count(outcome: &Outcome) -> BTreeMap<&str, usize> {
    outcome.iter().map(|(what, cases)| (*what, cases.len())).collect()
}

fn names(outcome: &Outcome, what: &str) -> BTreeSet<String> {
    outcome.get(what).cloned().unwrap_or_default()
}

#[test]
fn limbo_is_accepted_and_refused_as_it_must_be() {
    let Some(folder) = suites() else { return };
    let outcome = run(&folder.join("limbo-client.json"), &[]);
    eprintln!("limbo-client: {:?}", count(&outcome));
    assert_eq!(names(&outcome, "wrong identity"), BTreeSet::new());
    assert_eq!(names(&outcome, "no answer"), BTreeSet::new());
    assert_eq!(names(&outcome, "skipped"), BTreeSet::new());
    // docs/VERIFIER.md argues each.
    let accepted = [
        "client::rfc5280::aki::cross-signed-root-missing-aki",
        "client::rfc5280::nc::permitted-dns-match-noncritical",
        "client::webpki::eku::ee-critical-eku",
        "client::webpki::eku::ee-without-eku",
        "client::webpki::eku::root-has-eku",
    ];
    let accepted: BTreeSet<_> = accepted.into_iter().map(str::to_owned).collect();
    assert!(accepted.is_subset(&listed(&folder.join("webpki-known-accept.txt"))));
    assert_eq!(names(&outcome, "false accept"), accepted);
    let refused = names(&outcome, "false reject");
    assert!(refused.is_subset(&listed(&folder.join("webpki-known-reject.txt"))), "{refused:#?}");
}

#[test]
fn pkits_has_no_false_accept_in_path_mode() {
    let Some(folder) = suites() else { return };
    let outcome = run(&folder.join("pkits.json"), &["--mode", "path"]);
    eprintln!("pkits: {:?}; skipped: {:#?}", count(&outcome), names(&outcome, "skipped"));
    assert_eq!(names(&outcome, "false accept"), BTreeSet::new());
    assert_eq!(names(&outcome, "no answer"), BTreeSet::new());
    // docs/VERIFIER.md argues each.
    let number = |name: &String| name.trim_start_matches("pkits::").split('_').next().map(str::to_owned);
    let refused: BTreeSet<String> = names(&outcome, "false reject").iter().filter_map(number).collect();
    let argued: BTreeSet<String> = PKITS_REFUSED.split_whitespace().map(str::to_owned).collect();
    assert_eq!(refused, argued);
}
