//! The contract of the book as tests: the suite runs on every engine, then what each engine owes besides.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on may panic")]

mod agent;
mod api_keys;
mod archive;
mod enrollment;
mod faults;
mod house;
mod lineage;
mod model;
mod on_disk;
mod recovery;
mod registrations;
mod restoration;
mod revocation;
mod sweep;
mod upkeep;
mod workloads;

use countersign_store::Options;

/// Options whose randomness is a counter: tests compare books octet by octet.
fn options() -> Options {
    let mut counter = 0_u8;
    Options::new(Box::new(move |octets| {
        counter = counter.wrapping_add(1);
        octets.fill(counter);
    }))
}

/// Runs each case on each engine.
macro_rules! conformance {
    ($($room:ident: $($case:ident)+;)+) => {
        mod on_memory {
            $(mod $room {
                $(#[tokio::test]
                async fn $case() {
                    let book = countersign_store::Book::in_memory(crate::options()).unwrap();
                    crate::$room::$case(&book).await;
                })+
            })+
        }
        mod on_fjall {
            $(mod $room {
                $(#[tokio::test]
                async fn $case() {
                    let dir = tempfile::tempdir().unwrap();
                    let book = countersign_store::Book::open(dir.path(), crate::options()).unwrap();
                    crate::$room::$case(&book).await;
                })+
            })+
        }
        mod on_sled {
            $(mod $room {
                $(#[tokio::test]
                async fn $case() {
                    let dir = tempfile::tempdir().unwrap();
                    let engine = countersign_store::engine::SledEngine::open(dir.path()).unwrap();
                    let book = countersign_store::Book::on(std::sync::Arc::new(engine), crate::options()).unwrap();
                    crate::$room::$case(&book).await;
                })+
            })+
        }
    };
}

conformance! {
    api_keys:
        a_key_is_found_by_its_id_and_listed_by_whom_and_where
        a_revoked_key_is_withdrawn_until_its_end
        a_key_that_is_replaced_ends_early_and_names_its_successor
        a_key_is_told_of_three_times_before_its_end_and_leaves_long_after
        the_last_use_of_a_key_is_known_to_the_hour
        a_revoked_token_is_withdrawn_until_its_end_and_then_forgotten
    ;
    enrollment:
        an_enrolled_machine_stands_with_all_that_a_door_must_know
        one_invitation_redeemed_by_two_keys_at_once_succeeds_once
        an_invitation_with_several_uses_serves_so_many_keys
        an_unknown_expired_or_foreign_invitation_is_refused
        the_same_key_repeats_an_enrollment_whose_certificate_was_lost
        an_enrollment_is_not_repeated_once_its_certificate_has_ended
        a_key_of_an_unexpired_certificate_is_refused
        a_registration_that_lost_a_name_since_the_approval_is_refused
        a_serial_is_never_given_twice
        an_enrollment_replaces_the_machine_before_unless_there_may_be_many
        the_cas_own_certificate_is_recorded_without_a_machine
        a_refused_command_leaves_nothing
    ;
    lineage:
        a_renewal_is_pending_until_it_is_presented
        renewing_with_the_pending_certificate_confirms_it_in_the_same_step
        the_same_new_key_finds_its_pending_certificate
        a_lost_pending_certificate_is_replaced_for_the_same_key_and_accuses_nobody
        another_new_key_supersedes_the_pending_one_three_times_at_most
        two_parallel_renewals_leave_one_pending_certificate
        an_older_certificate_at_renewal_suspends_the_machine
        a_superseded_certificate_at_renewal_is_a_clone_too
        a_clone_that_is_only_reported_changes_nothing
        a_clone_holds_the_machine_until_it_is_approved
        an_expired_certificate_is_told_of_and_never_suspends
        other_doors_accept_older_certificates_and_never_accuse
        a_restored_copy_cannot_renew_behind_the_machines_back
        a_renewal_needs_the_registration_as_it_stands_now
        only_the_machines_own_lineage_renews_it
    ;
    registrations:
        an_invitation_that_differs_from_the_registration_names_the_difference
        a_name_belongs_to_one_identity_unless_both_share_it
        a_changed_or_removed_registration_gives_its_names_back
        an_import_changes_all_or_nothing_and_a_dry_run_nothing
        removing_a_registration_removes_its_invitations
        keys_of_a_registration_come_and_go_with_their_events
        lists_come_in_pieces_that_fit_together
    ;
    recovery:
        an_expired_machine_comes_back_once_until_an_operator_resets_it
        whoever_is_away_for_longer_than_the_allowance_enrolls_again
        a_recovery_whose_answer_was_lost_is_repeated
        a_recovery_takes_a_new_key
        nobody_comes_back_after_a_second_holder_was_seen
        a_revoked_suspended_or_unregistered_machine_does_not_come_back
        a_profile_may_want_an_operators_word_before_a_machine_comes_back
        a_hurried_machine_knows_until_when_and_why
        what_was_seen_being_served_is_written_once
    ;
    restoration:
        a_restored_book_never_un_revokes
        a_lineage_of_the_forgotten_time_waits_for_an_operator
        a_known_lineage_goes_on_from_its_newest_certificate
        without_a_word_of_the_time_between_every_machine_waits
        what_was_issued_after_the_restore_is_never_forgotten
    ;
    revocation:
        a_revoked_machine_is_listed_and_never_renews_again
        a_revoked_serial_ends_that_certificate_and_not_its_machine
        a_revoked_serial_or_key_takes_along_what_was_renewed_from_it
        a_revoked_pending_serial_leaves_the_confirmed_one_its_renewals
        lineages_keys_and_identities_are_revoked_with_all_they_have
        a_dry_run_says_what_would_be_revoked_and_revokes_nothing
        a_revoked_key_is_never_certified_again
        what_is_unknown_or_expired_cannot_be_revoked
        a_suspended_machine_is_listed_until_it_resumes
        a_removed_machine_is_revoked_and_gone_for_good
        whoever_follows_the_list_holds_the_list
        whoever_is_far_behind_reads_the_list_anew
    ;
    upkeep:
        expired_issuances_leave_in_whole_partitions
        a_revoked_line_leaves_with_its_certificate
        an_invitation_leaves_when_nobody_can_use_or_repeat_it
        machines_leave_when_they_have_ended_or_can_no_longer_recover
        issuances_are_found_by_machine_and_end
        events_are_canonical_numbered_without_gaps_and_commit_to_persons
        one_issuer_is_active_and_the_one_before_retires
        a_policy_is_applied_once_and_long_ones_are_kept_whole
        roots_documents_follow_one_another_and_never_go_back
        the_trust_sequence_rises_with_trust_and_with_nothing_else
        a_backup_restores_the_same_book
        a_damaged_or_cut_backup_is_refused_before_it_writes
    ;
    workloads:
        a_machine_fetches_certificates_for_its_workloads_in_one_lineage
        only_the_parent_fetches_and_only_machines_do
        workloads_fall_with_their_machine
        a_machine_enrolled_anew_takes_its_workloads_along
        a_suspended_workload_stays_so_when_its_machine_resumes
        a_parent_learns_of_each_change_of_what_is_under_it
        a_use_is_kept_to_the_hour_and_for_a_quarter
    ;
}

/// Runs each case with a shop that opens a book of each engine, and the same one again.
macro_rules! conformance_of_reopened {
    ($($case:ident)+) => {
        mod reopened_on_memory {
            $(#[tokio::test]
            async fn $case() {
                let engine = std::sync::Arc::new(countersign_store::engine::MemoryEngine::new());
                let open = |options| countersign_store::Book::on(engine.clone(), options).unwrap();
                crate::archive::$case(open).await;
            })+
        }
        mod reopened_on_fjall {
            $(#[tokio::test]
            async fn $case() {
                let dir = tempfile::tempdir().unwrap();
                let open = |options| countersign_store::Book::open(dir.path(), options).unwrap();
                crate::archive::$case(open).await;
            })+
        }
        mod reopened_on_sled {
            $(#[tokio::test]
            async fn $case() {
                let dir = tempfile::tempdir().unwrap();
                let open = |options| {
                    let engine = countersign_store::engine::SledEngine::open(dir.path()).unwrap();
                    countersign_store::Book::on(std::sync::Arc::new(engine), options).unwrap()
                };
                crate::archive::$case(open).await;
            })+
        }
    };
}

conformance_of_reopened! {
    old_events_leave_in_whole_ranges_and_are_told_as_before
    a_book_without_its_archive_says_where_its_events_are
    events_that_cannot_leave_stay_and_nothing_else_stops
    a_damaged_file_is_refused_by_name_and_later_events_are_readable
    old_files_may_be_moved_away_but_none_from_the_middle
    a_link_that_leads_nowhere_is_refused_by_name_and_is_left_out_of_no_backup
    a_person_is_forgotten_and_the_octets_stay
    no_file_with_other_events_is_written_over
    a_backup_names_the_files_that_belong_to_it
}
