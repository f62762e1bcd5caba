//! The engines against one another: the same commands leave the same book, octet by octet.

use countersign_issuance::{Act, LedgerRefusal, Machines, OnClone, Registration};
use countersign_store::{Actor, Book, Door, NewInvitation, Order, Store, Target, Whom};
use proptest::prelude::*;
use rcgen::KeyPair;

use crate::agent::{renewal, source};
use crate::house::{
    HOUR, MINUTE, authority, key, lineage_from, machine_from, noon, registration, serial_from,
};

const NAMES: [&str; 3] = ["/a", "/b", "/c"];

/// A command with small numbers in it, so that commands meet.
#[derive(Debug, Clone)]
enum Command {
    Invite { name: usize, number: u8, uses: u32 },
    Enroll { name: usize, invitation: u8, key: usize, number: u64 },
    Renew { name: usize, machine: u64, presented: u64, key: usize, number: u64 },
    Present { serial: u64, judged: bool },
    Revoke { target: u8, number: u64 },
    Order { order: u8, number: u64 },
    Import { name: usize, many: bool, shared: bool },
    Remove { name: usize },
    Pass { minutes: u32 },
    Expire,
}

fn command() -> impl Strategy<Value = Command> {
    let (name, number, key) = (0..NAMES.len(), 0..6_u64, 0..8_usize);
    prop_oneof![
        3 => (name.clone(), 0..3_u8, 1..3_u32).prop_map(|(name, number, uses)| Command::Invite { name, number, uses }),
        6 => (name.clone(), 0..3_u8, key.clone(), number.clone())
            .prop_map(|(name, invitation, key, number)| Command::Enroll { name, invitation, key, number }),
        8 => (name.clone(), number.clone(), 0..24_u64, key, 6..24_u64).prop_map(
            |(name, machine, presented, key, number)| Command::Renew { name, machine, presented, key, number }
        ),
        3 => (0..24_u64, any::<bool>()).prop_map(|(serial, judged)| Command::Present { serial, judged }),
        1 => (0..4_u8, 0..24_u64).prop_map(|(target, number)| Command::Revoke { target, number }),
        2 => (0..4_u8, number).prop_map(|(order, number)| Command::Order { order, number }),
        1 => (name.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(name, many, shared)| Command::Import { name, many, shared }),
        1 => name.prop_map(|name| Command::Remove { name }),
        2 => (1..40_u32).prop_map(|minutes| Command::Pass { minutes }),
        1 => Just(Command::Expire),
    ]
}

fn named(name: usize, many: bool, shared: bool) -> Registration {
    let machines = if many { Machines::Many } else { Machines::One };
    let dns = vec!["shared.example".parse().unwrap()];
    Registration { machines, shared, dns, ..registration(NAMES[name]) }
}

/// Carries out one command and says how it ended. Both books get the same intent.
async fn run(
    book: &Book,
    command: &Command,
    keys: &[KeyPair],
    now: countersign_identity::Timestamp,
) -> String {
    let actor = Actor::House;
    match command {
        Command::Invite { name, number, uses } => {
            let registration = named(*name, *uses > 1, true);
            let new = NewInvitation { hash: [*number; 32], registration, expires: now + HOUR, uses: *uses };
            format!("{:?}", book.invite(new, actor, now).await)
        }
        Command::Enroll { name, invitation, key, number } => {
            let ids = (serial_from(*number), lineage_from(*number));
            let prepared = authority().prepare(&named(*name, true, true), &keys[*key], ids.0, ids.1, now);
            let machine = machine_from(*number);
            let act = Act::Enroll { invitation: [*invitation; 32], machine, source: source() };
            format!("{:?}", prepared.record(book, act).await.map(drop))
        }
        Command::Renew { name, machine, presented, key, number } => {
            let ids = (serial_from(*number), lineage_from(*machine));
            let prepared = authority().prepare(&named(*name, true, true), &keys[*key], ids.0, ids.1, now);
            let (machine, presented) = (machine_from(*machine), serial_from(*presented));
            let recorded = prepared.record(book, Act::Renew { machine, presented, source: source() });
            format!("{:?}", recorded.await.map(drop))
        }
        Command::Present { serial, judged } => {
            let door = if *judged { renewal(OnClone::Suspend, source()) } else { Door::Other };
            format!("{:?}", book.present(serial_from(*serial), door, now).await)
        }
        Command::Revoke { target, number } => {
            let target = match target {
                0 => Target::Machine(machine_from(*number)),
                1 => Target::Serial(serial_from(*number)),
                2 => Target::Lineage(lineage_from(*number)),
                _ => Target::Identity(registration(NAMES[0]).id),
            };
            format!("{:?}", book.revoke(target, "why".into(), false, actor, now).await)
        }
        Command::Order { order, number } => {
            let (whom, why) = (Whom::Machine(machine_from(*number)), String::new());
            let done = match order {
                0 => book.order(Order::Suspend, whom, why, actor, now).await,
                1 => book.order(Order::Approve, whom, why, actor, now).await,
                2 => book.order(Order::Resume, whom, why, actor, now).await,
                _ => book.order(Order::Remove, whom, why, actor, now).await,
            };
            format!("{done:?}")
        }
        Command::Import { name, many, shared } => {
            let registrations = vec![named(*name, *many, *shared)];
            format!("{:?}", book.import_registrations(registrations, false, actor, now).await)
        }
        Command::Remove { name } => {
            format!("{:?}", book.remove_registration(registration(NAMES[*name]).id, actor, now).await)
        }
        Command::Pass { .. } => String::new(),
        Command::Expire => format!("{:?}", book.expire(now).await),
    }
}

/// What must hold in any book after any commands.
fn holds_together(book: &Book) {
    let counts = book.counts().unwrap();
    let machines = book.machines(&Default::default(), None, 1000).unwrap().items;
    assert_eq!(counts.active + counts.held + counts.suspended + counts.ended, machines.len() as u64);
    let issuances = book.issuances(&Default::default(), None, 1000).unwrap().items;
    assert_eq!(counts.issuances, issuances.len() as u64);
    assert_eq!(counts.events, book.events(0, usize::MAX).unwrap().len() as u64);
    assert_eq!(counts.registrations, book.registrations(None, 1000).unwrap().items.len() as u64);
    for machine in machines.iter().filter(|machine| machine.pending.is_some()) {
        assert_ne!(machine.pending.unwrap().key_hash, machine.confirmed.key_hash, "Invariant 5");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_same_commands_leave_the_same_book_on_every_engine(commands in prop::collection::vec(command(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let keys: Vec<KeyPair> = (0..8).map(|_| key()).collect();
        let dir = tempfile::tempdir().unwrap();
        let memory = Book::in_memory(crate::options()).unwrap();
        let fjall = Book::open(&dir.path().join("book"), crate::options()).unwrap();
        let mut now = noon();
        for command in &commands {
            if let Command::Pass { minutes } = command {
                now = now + MINUTE * *minutes;
            }
            let ended = runtime.block_on(run(&memory, command, &keys, now));
            prop_assert_eq!(&ended, &runtime.block_on(run(&fjall, command, &keys, now)), "{:?}", command);
            prop_assert!(!ended.contains("Corrupt"), "{}", ended);
        }
        holds_together(&memory);
        let (one, other) = (dir.path().join("memory"), dir.path().join("fjall"));
        memory.backup(&one).unwrap();
        fjall.backup(&other).unwrap();
        prop_assert_eq!(std::fs::read(one).unwrap(), std::fs::read(other).unwrap());
    }
}

#[test]
fn the_model_reaches_what_it_should() {
    // A guard against a model whose commands all fail.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let keys: Vec<KeyPair> = (0..2).map(|_| key()).collect();
    let book = Book::in_memory(crate::options()).unwrap();
    let mut ends = Vec::new();
    for command in [
        Command::Invite { name: 0, number: 0, uses: 1 },
        Command::Enroll { name: 0, invitation: 0, key: 0, number: 0 },
        Command::Renew { name: 0, machine: 0, presented: 0, key: 1, number: 6 },
        Command::Present { serial: 6, judged: true },
        Command::Present { serial: 0, judged: true },
        Command::Renew { name: 0, machine: 0, presented: 6, key: 0, number: 7 },
    ] {
        ends.push(runtime.block_on(run(&book, &command, &keys, noon())));
    }
    assert!(ends[..4].iter().all(|end| end.starts_with("Ok")), "{ends:?}");
    assert!(ends[4].contains("Clone"), "{ends:?}");
    assert!(ends[5].contains(&format!("{:?}", LedgerRefusal::MachineSuspended)), "{ends:?}");
}
