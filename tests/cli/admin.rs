//! Commands that talk to a running CA.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
};

use crate::place::Place;

const WEB: &str = "spiffe://prod.example/web";

#[test]
fn an_invitation_stands_alone_on_standard_output_and_its_secret_nowhere_else() {
    // Invariant 8.
    let place = Place::with_ca();
    let end = place.run(&["invite", WEB, "--dns", "web.example", "--ttl", "5m"]);
    let invitation: countersign_api::Invitation = end.out.trim().parse().unwrap();
    assert_eq!(end.out.lines().count(), 1);
    assert_eq!(invitation.trust_domain, "prod.example");
    assert!(end.err.contains("hint: on the machine: countersign-agent enroll"), "{end:?}");
    assert!(!end.err.contains("csinv1_"), "{end:?}");
    assert!(end.done().starts_with("csinv1_"));
}

#[test]
fn an_invitation_that_states_otherwise_is_refused_naming_the_difference() {
    let place = Place::with_ca();
    place.run(&["invite", WEB, "--dns", "web.example"]).done();
    place.run(&["invite", WEB]).done();
    place.run(&["invite", WEB, "--dns", "other.example"]).fails(1, "(registration_differs)");
    let set = place.run(&["registrations", "set", WEB, "--dns", "other.example", "--owner", "me"]).done();
    assert_eq!(set, "dns: web.example → other.example\nowner: none → me\n");
    place.run(&["invite", WEB, "--dns", "other.example"]).done();
}

#[test]
fn the_list_of_certificates_is_one_complete_array_with_serials_in_lower_case() {
    let place = Place::with_ca();
    let api = place.enroll("spiffe://prod.example/api", "api");
    let issued = place.json(&["issued", "list"]);
    let serials: Vec<_> =
        issued.as_array().unwrap().iter().map(|row| row["serial"].as_str().unwrap()).collect();
    assert!(serials.contains(&&*api.serial().to_string()), "{serials:?}");
    assert!(serials.iter().all(|serial| serial.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))));
    // As openssl prints it.
    let upper = api.serial().to_string().to_uppercase();
    // The certificate is kept a moment after it was answered.
    let kept = (0..100).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        place.json(&["issued", "show", &upper])["certificate"].as_str().map(str::to_owned)
    });
    assert!(kept.unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    place.run(&["issued", "show", "0a"]).fails(1, "0a");
    assert_eq!(place.json(&["issued", "expiring", "--within", "1m"]), serde_json::json!([]));
}

#[test]
fn what_expires_is_only_the_newest_certificate_of_each_machine() {
    let place = Place::with_ca();
    let old = place.enroll(WEB, "web").serial().to_string();
    let expiring = |place: &Place| -> Vec<String> {
        let rows = place.json(&["issued", "expiring", "--within", "24h"]);
        rows.as_array().unwrap().iter().map(|row| row["serial"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(expiring(&place), [old.as_str()]);
    let new = place.renew("web").serial().to_string();
    assert_eq!(expiring(&place), [new]);
    assert!(place.run(&["issued", "list"]).done().contains(&old));
    place.run(&["machines", "remove", WEB]).done();
    assert_eq!(expiring(&place), Vec::<String>::new());
}

#[test]
fn a_machine_is_shown_by_its_identity_too() {
    let place = Place::with_ca();
    place.run(&["registrations", "set", WEB, "--machines", "many"]).done();
    let machines = [place.enroll(WEB, "one"), place.enroll(WEB, "two")];
    let shown = place.run(&["machines", "show", WEB]).done();
    assert!(machines.iter().all(|machine| shown.contains(&machine.machine().to_string())), "{shown}");
    assert_eq!(place.json(&["machines", "show", WEB]).as_array().unwrap().len(), 2);
    place.run(&["machines", "show", "spiffe://prod.example/nobody"]).fails(1, "no machine of");
}

#[test]
fn an_act_that_does_not_fit_says_which_does() {
    let place = Place::with_ca();
    let machine = place.enroll(WEB, "web").machine().to_string();
    place.run(&["machines", "suspend", &machine]).done();
    place.run(&["machines", "approve", &machine]).fails(1, &format!("machines resume {machine}"));
    let reached = place.run(&["revoke", "machine", WEB]).done();
    assert!(reached.ends_with("reached: 1 machine, 1 live certificate\n"), "{reached}");
    place.run(&["revoke", "machine", WEB]).fails(1, "is already revoked");
    place.run(&["revoke", "machine", &machine]).fails(1, "is already revoked");
}

#[test]
fn an_import_that_is_refused_names_the_line() {
    let place = Place::with_ca();
    let lines: String = (1..=50)
        .map(|n| {
            let name = if n == 37 { 12 } else { n };
            format!("{{\"spiffe_id\":\"spiffe://prod.example/w/{n}\",\"dns\":[\"w{name}.example\"]}}\n")
        })
        .collect();
    fs::write(place.path("lines"), lines).unwrap();
    place
        .run(&["registrations", "import", "lines"])
        .fails(1, "refused: line 37, spiffe://prod.example/w/37: the name w12.example belongs to");
    assert_eq!(place.json(&["registrations", "list"]), serde_json::json!([]));
}

#[test]
fn a_result_lost_on_a_full_disk_is_a_failure() {
    let place = Place::with_ca();
    for words in [
        &["registrations", "set", WEB][..],
        &["registrations", "export"],
        &["bundle", "show"],
        &["issued", "list", "--json"],
        &["invite", WEB],
        &["check"],
    ] {
        place.run_into_a_full_disk(words).fails(1, "cannot write to standard output");
    }
    place.run(&["registrations", "export", "/dev/full"]).fails(1, "cannot write /dev/full");
    assert!(place.run(&["bundle", "export", "/dev/stdout"]).done().starts_with("{\"countersign_trust\":1"));
    assert!(place.run(&["bundle", "export", "-"]).done().starts_with("{\"countersign_trust\":1"));
}

#[test]
fn check_of_a_stopped_ca_sees_a_lost_book_and_another_trust_domain() {
    let mut place = Place::with_ca();
    place.stop();
    fs::remove_dir_all(place.path("ca-config/state/book")).unwrap();
    let file = place.path("ca-config/countersign.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"prod.example\"", "\"other.example\"")).unwrap();
    let end = place.run(&["check"]);
    for said in
        ["/book is missing", "is of spiffe://prod.example, the configuration says spiffe://other.example"]
    {
        assert!(end.out.contains(said), "{end:#?}");
    }
    end.fails(1, "checks failed");
}

#[test]
fn several_machines_need_a_yes_or_all() {
    let place = Place::with_ca();
    place.run(&["registrations", "set", WEB, "--machines", "many"]).done();
    let (one, two) = (place.enroll(WEB, "one"), place.enroll(WEB, "two"));
    place.run(&["machines", "suspend", WEB]).fails(1, "names 2 machines, so nothing was done");
    place.run(&["revoke", "machine", WEB, "--dry-run"]).done();
    let active =
        |place: &Place| place.json(&["machines", "list", "--status", "active"]).as_array().unwrap().len();
    assert_eq!(active(&place), 2, "neither the refusal nor the dry run did anything");
    place.run(&["machines", "suspend", &one.machine().to_string()]).done();
    assert_eq!(active(&place), 1);
    place.run(&["machines", "resume", &one.machine().to_string()]).done();
    let reached = place.json(&["revoke", "machine", WEB, "--all", "--reason", "moved"]);
    assert_eq!(reached["machines"].as_array().unwrap().len(), 2);
    let mut serials = [one.serial().to_string(), two.serial().to_string()];
    serials.sort();
    let mut reached: Vec<_> =
        reached["serials"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    reached.sort_unstable();
    assert_eq!(reached, serials);
    assert_eq!(place.json(&["issued", "list", "--status", "revoked"]).as_array().unwrap().len(), 2);
}

#[test]
fn a_target_that_does_not_exist_is_refused_and_a_misspelt_one_is_wrong_usage() {
    let place = Place::with_ca();
    place.run(&["machines", "show", "m-0000000000000000"]).fails(1, "m-0000000000000000");
    place.run(&["revoke", "machine", "m-0000000000000000"]).fails(1, "m-0000000000000000");
    place.run(&["revoke", "serial", "spiffe://prod.example/web"]).fails(2, "usage: ");
    place.run(&["machines", "suspend", "web"]).fails(2, "web");
    place.run(&["registrations", "show", WEB]).fails(1, WEB);
}

#[test]
fn what_is_exported_is_imported_and_a_dry_run_changes_nothing() {
    let (from, to) = (Place::with_ca(), Place::with_ca());
    let lines: String = (0..2_500)
        .map(|n| format!("{{\"spiffe_id\":\"spiffe://prod.example/w/{n:04}\",\"owner\":\"w\"}}\n"))
        .collect();
    fs::write(from.path("lines"), lines).unwrap();
    assert_eq!(
        from.json(&["registrations", "import", "lines"]),
        serde_json::json!({"created": 2500, "changed": 0, "unchanged": 0})
    );
    from.run(&["registrations", "export", "all"]).done();
    fs::copy(from.path("all"), to.path("all")).unwrap();
    let dry = to.run(&["registrations", "import", "all", "--dry-run"]).done();
    assert_eq!(dry, "it would be: 2500 created, 0 changed, 0 were so already\n");
    assert_eq!(to.json(&["registrations", "list"]), serde_json::json!([]));
    to.run(&["registrations", "import", "all"]).done();
    let again = to.run(&["registrations", "import", "all"]).done();
    assert_eq!(again, "done: 0 created, 0 changed, 2500 were so already\n");
    assert_eq!(to.json(&["registrations", "list"]).as_array().unwrap().len(), 2_500);
}

#[test]
fn an_import_with_a_bad_line_names_it_and_takes_nothing() {
    let place = Place::with_ca();
    fs::write(place.path("lines"), "{\"spiffe_id\":\"spiffe://prod.example/a\"}\n{\"spiffe_id\":7}\n")
        .unwrap();
    place.run(&["registrations", "import", "lines"]).fails(1, "line 2 is no registration");
    fs::write(
        place.path("lines"),
        "{\"spiffe_id\":\"spiffe://prod.example/a\"}\n{\"spiffe_id\":\"spiffe://x/b\"}\n",
    )
    .unwrap();
    place.run(&["registrations", "import", "lines"]).fails(1, "spiffe://x/b");
    assert_eq!(place.json(&["registrations", "list"]), serde_json::json!([]));
}

#[test]
fn a_backup_is_for_its_owner_only_and_never_overwrites() {
    let place = Place::with_ca();
    place.run(&["backup", "copy"]).done();
    assert_eq!(fs::metadata(place.path("copy")).unwrap().permissions().mode() & 0o777, 0o600);
    place.run(&["backup", "copy"]).fails(1, "copy exists and is not overwritten");
}

#[test]
fn a_reload_that_needs_a_restart_is_refused_naming_the_key() {
    let place = Place::with_ca();
    assert_eq!(place.run(&["reload"]).done(), "reloaded; nothing has changed\n");
    let file = place.path("ca-config/countersign.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"prod.example\"", "\"other.example\"")).unwrap();
    place.run(&["reload"]).fails(1, "trust_domain");
}

#[test]
fn the_bundle_is_pem_or_a_jwk_set() {
    let place = Place::with_ca();
    let pem = place.run(&["bundle", "show"]).done();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"));
    place.run(&["bundle", "export", "b.pem"]).done();
    assert_eq!(fs::read_to_string(place.path("b.pem")).unwrap(), pem);
    assert_eq!(place.json(&["bundle", "show"])["keys"][0]["use"], "x509-svid");
}

#[test]
fn a_policy_is_compared_and_applied() {
    let place = Place::with_ca();
    let text = place.run(&["policy", "show"]).done();
    fs::write(place.path("same.toml"), &text).unwrap();
    assert!(
        place.run(&["policy", "diff", "same.toml", "--ci"]).done().contains("no identity gains or loses")
    );
    assert_eq!(place.json(&["policy", "apply", "same.toml"])["changed"], false);
    let more =
        format!("{text}\n[[grant]]\nid = \"spiffe://prod.example/audit\"\npermissions = [\"ledger:read\"]\n");
    fs::write(place.path("more.toml"), &more).unwrap();
    let shown = place.run(&["policy", "diff", "more.toml", "--ci"]).done();
    assert_eq!(shown.trim(), "+ grant spiffe://prod.example/audit ledger:read");
    place.run(&["policy", "apply", "more.toml"]).done();
    assert_eq!(place.run(&["policy", "show"]).done(), more);
    let fewer = place.json(&["policy", "diff", "same.toml"]);
    assert_eq!((&fewer["lost"], &fewer["changes"][0]["takes_away"]), (&1.into(), &true.into()), "{fewer}");
    // Nobody used it, so nobody will miss it.
    assert!(place.run(&["policy", "diff", "same.toml", "--ci"]).done().contains("- grant"));
    fs::write(place.path("wrong.toml"), "version = 1\ngrants = 1\n").unwrap();
    place.run(&["policy", "apply", "wrong.toml"]).fails(1, "wrong.toml:2:1: ");
    let failing = text.replace("may_not = [\"ledger:write\"]", "may_not = [\"ledger:read\"]");
    fs::write(place.path("failing.toml"), failing).unwrap();
    place.run(&["policy", "apply", "failing.toml"]).fails(1, "policy_invalid");
    assert_eq!(place.run(&["policy", "show"]).done(), more);
}

#[test]
fn events_are_followed_as_they_happen_until_nobody_reads() {
    let place = Place::with_ca();
    let known = place.json(&["events", "list"]).as_array().unwrap().len().to_string();
    let mut follow = place.command(&["events", "follow", "--json", "--after", &known]);
    let mut follow = follow.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    place.run(&["invite", WEB]).done();
    let mut kind = || {
        let event: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        event["kind"].as_str().unwrap().to_owned()
    };
    assert_eq!((kind(), kind()), ("registration.created".into(), "invitation.created".into()));
    drop(lines);
    place.run(&["invite", WEB]).done();
    assert_eq!(follow.wait().unwrap().code(), Some(0));
}

#[test]
fn events_are_listed_from_any_point() {
    let place = Place::with_ca();
    place.run(&["invite", WEB]).done();
    let all = place.json(&["events", "list"]);
    let kinds: Vec<_> = all.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"registration.created") && kinds.contains(&"invitation.created"), "{kinds:?}");
    let first = all[0]["seq"].to_string();
    let rest = place.json(&["events", "list", "--after", &first]);
    assert_eq!(rest.as_array().unwrap().len(), kinds.len() - 1);
    assert_eq!(place.json(&["events", "list", "--limit", "1"]).as_array().unwrap().len(), 1);
}

#[test]
fn check_passes_on_a_sound_ca_and_names_the_remedy_for_an_open_key() {
    let place = Place::with_ca();
    place.run(&["check"]).done();
    let key = place.path("ca-config/state/keys/root.key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let end = place.run(&["check"]);
    assert!(end.out.contains("root.key.pem is open to others (mode 644, expected 600)"), "{end:?}");
    assert!(end.out.contains("→ chmod 600"), "{end:?}");
    end.fails(1, "one check failed");
}

#[test]
fn check_of_a_machine_sees_a_foreign_key_and_a_ca_that_is_away() {
    let mut place = Place::with_ca();
    place.enroll(WEB, "web");
    let other = place.enroll("spiffe://prod.example/other", "other");
    place.run(&["check", "--dir", "web"]).done();
    fs::copy(other.home().join("svid.key"), place.path("web/svid.key")).unwrap();
    let end = place.run(&["check", "--dir", "web"]);
    assert!(end.out.contains("the key does not belong to the certificate"), "{end:?}");
    end.fails(1, "one check failed");
    place.stop();
    let end = place.run(&["check", "--dir", "other"]);
    assert!(end.out.contains("is the CA running"), "{end:?}");
    end.fails(1, "one check failed");
    place.run(&["check"]).fails(1, "check");
}

#[test]
fn a_live_endpoint_is_explained_with_its_key_exchange() {
    let place = Place::with_ca();
    let config = fs::read_to_string(place.path("ca-config/countersign.toml")).unwrap();
    let listen =
        config.lines().find_map(|line| line.strip_prefix("listen = ")).unwrap().trim_matches('"').to_owned();
    place.run(&["bundle", "export", "roots.pem"]).done();
    let shown = place.run(&["inspect", &listen, "--bundle", "roots.pem"]).done();
    assert!(shown.contains("X25519MLKEM768"), "{shown}");
    assert!(shown.contains("✓ a verifier accepts it as spiffe://prod.example/countersign/ca"), "{shown}");
}

#[test]
fn the_socket_is_its_owners_alone() {
    let place = Place::with_ca();
    let mode = fs::metadata(place.path("ca-config/state/admin.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "DESIGN §6: the socket is its owner's alone");
}
