//! Invitations that are not, or no longer, good for anything.

use std::{sync::Barrier, time::Duration};

use countersign_api::Invitation;
use countersign_testkit::csr;

use crate::{
    ca::{Ca, id},
    machine::{Machine, enroll},
};

#[track_caller]
fn attempt(ca: &Ca, invitation: &str) -> crate::wire::Answer {
    enroll(ca, invitation, &csr::plain(&csr::p256()))
}

/// The invitation with something about it changed, its checksum right again.
#[track_caller]
fn changed(invitation: &str, change: impl FnOnce(&mut Invitation)) -> String {
    let mut invitation: Invitation = invitation.parse().unwrap();
    change(&mut invitation);
    invitation.to_string()
}

#[test]
fn an_invitation_nobody_made_is_unknown() {
    let ca = Ca::start();
    let guessed = changed(&ca.invite("/payments", &[]), |invitation| invitation.secret = [7; 32]);
    let problem = attempt(&ca, &guessed).refused(401, "invitation_unknown");
    assert!(problem.hint.unwrap().contains("countersign invite"));
}

#[test]
fn an_expired_invitation_is_refused() {
    let ca = Ca::start();
    let invitation = ca.invite("/payments", &["--ttl", "1s"]);
    std::thread::sleep(Duration::from_millis(2100));
    attempt(&ca, &invitation).refused(401, "invitation_expired");
}

#[test]
fn a_used_up_invitation_takes_no_other_key() {
    let ca = Ca::start();
    let invitation = ca.invite("/payments", &[]);
    let key = csr::p256();
    let first = Machine::from(&enroll(&ca, &invitation, &csr::plain(&key)), key);
    attempt(&ca, &invitation).refused(403, "invitation_used");
    let again =
        enroll(&ca, &invitation, &csr::plain(&first.key)).json::<countersign_api::CertificateResponse>();
    assert_eq!(again.chain, first.response.chain, "the same key is given its certificate again");
}

#[test]
fn a_mistyped_invitation_is_refused_before_anything_is_looked_up() {
    let ca = Ca::start();
    let invitation = ca.invite("/payments", &[]);
    let middle = invitation.len() / 2;
    let typo = format!("{}{}{}", &invitation[..middle], "~", &invitation[middle + 1..]);
    for wrong in [&typo, &invitation[..invitation.len() - 1], &invitation[1..], "", "csinv1_", "payments"] {
        let problem = attempt(&ca, wrong).refused(400, "invitation_malformed");
        assert!(!problem.detail.contains(&invitation[8..40]), "the refusal repeats the secret");
    }
    // The agent finds it without asking anybody.
    let said = ca.agent(&["enroll", "--invitation", &typo, "--dir", "m"]).failed(1, &["checksum"]);
    assert!(!said.contains(&invitation[8..40]), "{said}");
    assert!(!ca.scratch("m").exists());
}

#[test]
fn two_keys_at_once_on_one_invitation_and_one_of_them_wins() {
    let ca = Ca::start();
    for round in 0..5 {
        let path = format!("/racer/{round}");
        let invitation = ca.invite(&path, &[]);
        let start = Barrier::new(2);
        let answers: Vec<_> = std::thread::scope(|scope| {
            let racers = [(); 2].map(|()| {
                scope.spawn(|| {
                    let request = csr::plain(&csr::p256());
                    start.wait();
                    enroll(&ca, &invitation, &request)
                })
            });
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let won = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(won, 1, "{answers:?}");
        answers.iter().find(|answer| answer.status != 200).unwrap().refused(403, "invitation_used");
        let machines = ca.json(&["machines", "list", "--spiffe-id", &id(&path)]);
        assert_eq!(machines.as_array().unwrap().len(), 1);
    }
}

#[test]
fn one_key_twice_at_once_is_one_machine() {
    let ca = Ca::start();
    let invitation = ca.invite("/payments", &[]);
    let request = csr::plain(&csr::p256());
    let machines: Vec<String> = std::thread::scope(|scope| {
        let tries = [(); 4].map(|()| scope.spawn(|| enroll(&ca, &invitation, &request)));
        let answers = tries.into_iter().map(|one| one.join().unwrap());
        answers.map(|answer| answer.json::<countersign_api::CertificateResponse>().machine).collect()
    });
    assert!(machines.iter().all(|machine| *machine == machines[0]), "{machines:?}");
}

#[test]
fn an_invitation_for_several_machines_needs_a_registration_for_many() {
    let ca = Ca::start();
    ca.run(&["invite", &id("/payments"), "--uses", "2"]).ended(1, &["uses_need_many"]);
    let invitation = ca.invite("/fleet", &["--uses", "2", "--machines", "many"]);
    attempt(&ca, &invitation).json::<countersign_api::CertificateResponse>();
    attempt(&ca, &invitation).json::<countersign_api::CertificateResponse>();
    attempt(&ca, &invitation).refused(403, "invitation_used");
}

#[test]
fn an_invitation_for_another_trust_domain_is_refused_at_the_command_line() {
    let ca = Ca::start();
    ca.run(&["invite", "spiffe://other.example/payments"]).ended(1, &["other.example", "prod.example"]);
}

#[test]
fn the_ca_own_names_are_never_given_away() {
    let ca = Ca::start();
    for flags in [
        &[id("/countersign/ca")][..],
        &[id("/countersign/helper/7")],
        &[id("/payments"), "--ip".into(), "127.0.0.1".into()],
    ] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        ca.run(&[&["invite"], flags.as_slice()].concat()).ended(1, &["name_reserved"]);
    }
    assert!(ca.json(&["registrations", "list"]).as_array().unwrap().is_empty());
}

#[test]
fn an_invitation_outlives_a_restart_of_the_ca() {
    let mut ca = Ca::start();
    let invitation = ca.invite("/payments", &[]);
    assert!(ca.stop().success());
    ca.start_again();
    attempt(&ca, &invitation).json::<countersign_api::CertificateResponse>();
}

#[test]
fn inviting_again_with_other_flags_names_the_difference() {
    let ca = Ca::start();
    ca.invite("/payments", &["--dns", "pay.example"]);
    ca.invite("/payments", &[]);
    let words = ["registration_differs", "dns", "pay.example", "other.example"];
    ca.run(&["invite", &id("/payments"), "--dns", "other.example"]).ended(1, &words);
}

#[test]
fn a_name_of_another_identity_is_refused_unless_both_share_it() {
    let ca = Ca::start();
    ca.invite("/payments", &["--dns", "pay.example"]);
    let mut invite = vec!["invite", "spiffe://prod.example/reporting", "--dns", "pay.example"];
    ca.run(&invite).ended(1, &["name_taken", "pay.example", &id("/payments")]);
    invite.push("--shared");
    // Both must say so.
    ca.run(&invite).ended(1, &["name_taken"]);
    ca.invite("/blue", &["--dns", "www.example", "--shared"]);
    ca.invite("/green", &["--dns", "www.example", "--shared"]);
}
