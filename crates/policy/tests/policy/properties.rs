//! What holds for every policy.

use crate::{id, now, permission, rules};
use countersign_identity::{IdPattern, SpiffeId, Timestamp};
use countersign_policy::{Permission, Policy, RuleKind, explain, who_can};
use proptest::prelude::*;

/// One rule over a small alphabet, so that rules and identities meet.
#[derive(Debug, Clone)]
struct Written {
    kind: RuleKind,
    id: String,
    permissions: Vec<String>,
    from: Option<i64>,
    until: Option<i64>,
}

const TIMES: std::ops::Range<i64> = 1_000..1_010;

fn written() -> impl Strategy<Value = Written> {
    let kind = prop_oneof![3 => Just(RuleKind::Grant), 1 => Just(RuleKind::Deny)];
    let segment = prop_oneof![3 => Just("a"), 3 => Just("b"), 1 => Just("*")];
    let segments = prop::collection::vec(segment, 0..3)
        .prop_map(|s| s.iter().map(|s| format!("/{s}")).collect::<String>());
    let tail = prop_oneof![3 => Just(""), 1 => Just("/**")];
    let given = prop_oneof![
        Just("ledger:read"),
        Just("ledger:write"),
        Just("ledger:tenant:a"),
        Just("ledger:tenant:{t}")
    ];
    let permissions = prop::collection::vec(given.prop_map(str::to_owned), 1..4);
    let edges = (prop::option::weighted(0.2, TIMES), prop::option::weighted(0.2, TIMES));
    (kind, segments, tail, permissions, edges).prop_map(
        |(kind, segments, tail, permissions, (from, until))| {
            let captured = permissions.iter().any(|p| p.contains('{'));
            let id = format!("spiffe://td{}{segments}{tail}", if captured { "/{t}" } else { "" });
            let until = until.filter(|until| from.is_none_or(|from| from < *until));
            Written { kind, id, permissions, from, until }
        },
    )
}

impl Written {
    fn text(&self) -> String {
        let edge = |key: &str, time: Option<i64>| {
            time.map_or_else(String::new, |time| format!("{key} = {}\n", Timestamp::from_unix(time)))
        };
        let Self { kind, id, permissions, from, until } = self;
        format!(
            "[[{kind}]]\nid = \"{id}\"\npermissions = {permissions:?}\n{}{}",
            edge("from", *from),
            edge("until", *until)
        )
    }

    /// Whether the rule is about this question, read straight from the design, without index, trie or hashes.
    fn speaks(&self, id: &SpiffeId, asked: &Permission, now: i64) -> bool {
        let pattern: IdPattern = self.id.parse().expect("a generated pattern");
        let in_force = self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until);
        pattern.matches(id).is_some_and(|captures| {
            let filled = |p: &String| p.replace("{t}", captures.get("t").unwrap_or("{t}"));
            in_force && self.permissions.iter().any(|p| filled(p) == asked.as_str())
        })
    }
}

fn text(written: &[Written]) -> String {
    written.iter().map(Written::text).collect()
}

fn asked() -> impl Strategy<Value = Permission> {
    let text = prop_oneof![
        Just("ledger:read"),
        Just("ledger:write"),
        Just("ledger:tenant:a"),
        Just("ledger:tenant:b"),
        Just("ledger:close")
    ];
    text.prop_map(permission)
}

fn caller() -> impl Strategy<Value = SpiffeId> {
    prop::collection::vec("[abc]", 0..5)
        .prop_map(|s| id(&s.iter().map(|s| format!("/{s}")).collect::<String>()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    // Invariant 6: allowed exactly if a grant in force gives it and no deny in force takes it.
    #[test]
    fn the_compiled_policy_decides_as_the_rules_read(
        written in prop::collection::vec(written(), 0..12), id in caller(), asked in asked(), now in TIMES,
    ) {
        let policy = rules(&text(&written));
        let speaks = |kind| written.iter().any(|rule| rule.kind == kind && rule.speaks(&id, &asked, now));
        let (granted, denied) = (speaks(RuleKind::Grant), speaks(RuleKind::Deny));
        let decision = policy.decide(&id, &asked, Timestamp::from_unix(now));
        prop_assert_eq!(decision.allowed, granted && !denied);
        let named = decision.rule.map(|rule| rule.kind);
        let expected = if denied { Some(RuleKind::Deny) } else { granted.then_some(RuleKind::Grant) };
        prop_assert_eq!(named, expected);
    }

    #[test]
    fn a_standing_answers_the_same_until_its_edge(
        written in prop::collection::vec(written(), 0..12), id in caller(), now in TIMES, later in 0_i64..20,
    ) {
        let policy = rules(&text(&written));
        let (now, later) = (Timestamp::from_unix(now), Timestamp::from_unix(now + later));
        let (standing, then) = (policy.resolve(&id, now), policy.resolve(&id, later));
        if standing.holds_at(later) {
            prop_assert_eq!(standing.permissions().collect::<Vec<_>>(), then.permissions().collect::<Vec<_>>());
        }
    }

    #[test]
    fn deny_always_wins(written in prop::collection::vec(written(), 0..12), id in caller(), asked in asked()) {
        prop_assume!(asked.action() != "close");
        let deny = format!("[[deny]]\nid = \"{id}\"\npermissions = [\"{asked}\"]\n");
        let policy = rules(&(text(&written) + &deny));
        prop_assert!(!policy.decide(&id, &asked, now()).allowed);
    }

    // Invariant 6: default deny.
    #[test]
    fn without_a_grant_nothing_is_allowed(written in prop::collection::vec(written(), 0..12), id in caller(), asked in asked()) {
        let denies: Vec<_> = written.into_iter().map(|rule| Written { kind: RuleKind::Deny, ..rule }).collect();
        let standing = rules(&text(&denies)).resolve(&id, now());
        prop_assert!(!standing.check(&asked));
        prop_assert_eq!(standing.permissions().count(), 0);
    }

    #[test]
    fn whoever_may_is_among_the_holders(written in prop::collection::vec(written(), 0..12), id in caller(), asked in asked(), now in TIMES) {
        let policy = rules(&text(&written));
        let now = Timestamp::from_unix(now);
        let decision = policy.decide(&id, &asked, now);
        let holders = who_can(&policy, &asked);
        let among: Vec<_> = holders.iter().filter(|holder| holder.id.matches(&id).is_some()).collect();
        if decision.allowed {
            prop_assert!(!among.is_empty());
        }
        if let Some(deny) = decision.rule.filter(|rule| rule.kind == RuleKind::Deny) {
            prop_assert!(among.iter().all(|holder| holder.except.contains(&deny)));
        }
        prop_assert_eq!(explain(&policy, &id, now).may.contains(&asked), decision.allowed);
    }

    #[test]
    fn one_service_at_a_time_is_the_whole_in_slices(
        written in prop::collection::vec(written(), 0..12), id in caller(), now in TIMES,
    ) {
        let policy = rules(&text(&written));
        let now = Timestamp::from_unix(now);
        let (whole, slice) = (policy.resolve(&id, now), policy.permissions_at(&id, "ledger", now));
        prop_assert_eq!(whole.permissions().collect::<Vec<_>>(), slice.permissions().collect::<Vec<_>>());
        prop_assert_eq!(whole.valid_until(), slice.valid_until());
        prop_assert_eq!(policy.permissions_at(&id, "countersign", now).permissions().count(), 0);
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>(), tail in "\\PC{0,40}") {
        for text in [text, format!("version = 1\n{tail}"), format!("version = 1\n[[grant]]\n{tail} = {tail}")] {
            let _ = Policy::parse(&text, "policy.toml");
        }
    }

    #[test]
    fn no_value_panics(id in "\\PC{0,20}", permission in "\\PC{0,20}", time in "[0-9T:Z.+-]{0,30}") {
        let text = format!("version = 1\n[service.s]\npermissions = [{permission:?}]\n[[grant]]\nid = {id:?}\npermissions = [{permission:?}]\nuntil = {time}\n");
        if let Err(error) = Policy::parse(&text, "policy.toml") {
            prop_assert!(error.line() <= 8 && error.column() >= 1, "{}", error);
        }
        let _ = permission.parse::<Permission>();
    }

    #[test]
    fn a_cut_or_spliced_policy_never_panics(at in 0_usize..1_000, insert in any::<String>()) {
        let at = (0..=at.min(crate::EXAMPLE.len())).rev().find(|at| crate::EXAMPLE.is_char_boundary(*at)).unwrap_or(0);
        let (head, tail) = crate::EXAMPLE.split_at(at);
        for text in [head.to_owned(), tail.to_owned(), format!("{head}{insert}{tail}")] {
            let _ = Policy::parse(&text, "policy.toml");
        }
    }

    #[test]
    fn permissions_round_trip(text in "[a-zA-Z0-9._-]{1,8}(:[a-zA-Z0-9._-]{1,8}){1,4}") {
        let permission: Permission = text.parse().unwrap();
        prop_assert_eq!(format!("{}:{}", permission.service(), permission.action()), text.as_str());
        prop_assert_eq!(permission.to_string(), text);
    }
}
