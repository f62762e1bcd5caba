//! What waits to be reported: bounded, those alike counted together, refused outcomes the last to be left out.

use std::collections::{BTreeMap, HashMap};
use std::mem;

use countersign_identity::Timestamp;
use serde::Serialize;
use serde::ser::Serializer;

use super::note::Note;

/// An outcome that waits, and how many alike it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Waiting {
    #[serde(serialize_with = "rfc3339")]
    time: Timestamp,
    #[serde(flatten)]
    note: Note,
    count: u64,
}

/// The queue. A number for each outcome keeps the order; refused and allowed ones lie apart, so that the oldest allowed one
/// is found at once.
#[derive(Debug)]
pub(super) struct Queue {
    room: usize,
    next: u64,
    refused: BTreeMap<u64, Waiting>,
    allowed: BTreeMap<u64, Waiting>,
    alike: HashMap<Note, u64>,
    /// Left out and not told yet.
    untold: u64,
    dropped: u64,
}

impl Queue {
    pub(super) fn new(room: usize) -> Self {
        Self {
            room,
            next: 1 << 32,
            refused: BTreeMap::new(),
            allowed: BTreeMap::new(),
            alike: HashMap::new(),
            untold: 0,
            dropped: 0,
        }
    }

    /// How many entries wait.
    pub(super) fn len(&self) -> usize {
        self.refused.len() + self.allowed.len()
    }

    /// How many outcomes were left out so far.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes note. Refused outcomes are each an entry while there is plenty of room, since each has its own reference; when
    /// half is taken they are counted together like the allowed ones.
    pub(super) fn push(&mut self, note: Note, time: Timestamp) {
        let each = !note.allowed && self.len() < self.room / 2;
        if !each && self.count(&note, 1) {
            return;
        }
        let at = self.next;
        self.next = self.next.saturating_add(1);
        self.insert(at, Waiting { time, note, count: 1 });
    }

    /// The oldest entries, and how many outcomes were left out since the last time. Nothing if there is nothing to tell.
    pub(super) fn take(&mut self, most: usize) -> Option<(Vec<Waiting>, u64)> {
        let mut taken = Vec::with_capacity(most.min(self.len()));
        while taken.len() < most
            && let Some(waiting) = self.pop()
        {
            taken.push(waiting);
        }
        let untold = mem::take(&mut self.untold);
        (untold > 0 || !taken.is_empty()).then_some((taken, untold))
    }

    /// Takes back what could not be told, before everything else, and what was left out of it too.
    pub(super) fn put_back(&mut self, waiting: Vec<Waiting>, untold: u64) {
        self.untold = self.untold.saturating_add(untold);
        // What was added since comes after; whatever is put back was taken from the front.
        let first = self.first().unwrap_or(self.next);
        let length = u64::try_from(waiting.len()).unwrap_or(u64::MAX);
        let mut at = first.saturating_sub(length);
        for waiting in waiting {
            if !waiting.note.allowed || !self.count(&waiting.note, waiting.count) {
                self.insert(at, waiting);
            }
            at = at.saturating_add(1);
        }
    }

    /// Counts with one that waits already.
    fn count(&mut self, note: &Note, count: u64) -> bool {
        let lane = if note.allowed { &mut self.allowed } else { &mut self.refused };
        let held = self.alike.get(note).and_then(|at| lane.get_mut(at));
        held.map(|held| held.count = held.count.saturating_add(count)).is_some()
    }

    /// Makes room if there is none: by an allowed outcome, the oldest; only if all are refused, by the new one.
    fn insert(&mut self, at: u64, waiting: Waiting) {
        if self.len() >= self.room {
            let oldest = if waiting.note.allowed { None } else { self.allowed.pop_first() };
            let Some((place, oldest)) = oldest else { return self.leave_out(&waiting) };
            self.forget(place, &oldest.note);
            self.leave_out(&oldest);
        }
        self.alike.insert(waiting.note.clone(), at);
        let lane = if waiting.note.allowed { &mut self.allowed } else { &mut self.refused };
        lane.insert(at, waiting);
    }

    /// Leaves out what nobody will ever take.
    #[cfg(feature = "http")]
    pub(super) fn leave_out_all(&mut self, waiting: &[Waiting], untold: u64) {
        self.untold = self.untold.saturating_add(untold);
        waiting.iter().for_each(|waiting| self.leave_out(waiting));
    }

    fn leave_out(&mut self, waiting: &Waiting) {
        self.untold = self.untold.saturating_add(waiting.count);
        self.dropped = self.dropped.saturating_add(waiting.count);
    }

    fn first(&self) -> Option<u64> {
        let of = |lane: &BTreeMap<u64, Waiting>| lane.first_key_value().map(|(at, _)| *at);
        [of(&self.refused), of(&self.allowed)].into_iter().flatten().min()
    }

    fn pop(&mut self) -> Option<Waiting> {
        let at = self.first()?;
        let waiting = self.refused.remove(&at).or_else(|| self.allowed.remove(&at))?;
        self.forget(at, &waiting.note);
        Some(waiting)
    }

    fn forget(&mut self, at: u64, note: &Note) {
        if self.alike.get(note) == Some(&at) {
            self.alike.remove(note);
        }
    }
}

impl Waiting {
    /// How many outcomes it stands for.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }
}

fn rfc3339<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::note::Kind;
    use proptest::prelude::*;

    fn note(allowed: bool, who: u8) -> Note {
        Note {
            kind: Kind::Authorization,
            allowed,
            spiffe_id: Some(who.to_string()),
            serial: None,
            permission: None,
            reason: None,
            policy: None,
            reference: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix(second)
    }

    fn taken(queue: &mut Queue) -> Vec<(bool, String, u64)> {
        let (taken, _) = queue.take(usize::MAX).unwrap_or_default();
        let shown = |one: Waiting| (one.note.allowed, one.note.spiffe_id.unwrap_or_default(), one.count);
        taken.into_iter().map(shown).collect()
    }

    #[test]
    fn allowed_outcomes_that_are_alike_are_counted_together() {
        let mut queue = Queue::new(8);
        for who in [1, 2, 1, 1] {
            queue.push(note(true, who), at(1));
        }
        assert_eq!(taken(&mut queue), [(true, "1".into(), 3), (true, "2".into(), 1)]);
        queue.push(note(true, 1), at(2));
        assert_eq!(taken(&mut queue), [(true, "1".into(), 1)], "what was taken is no longer counted with");
    }

    #[test]
    fn refused_outcomes_are_each_told_while_there_is_room() {
        let mut queue = Queue::new(8);
        for _ in 0..6 {
            queue.push(note(false, 1), at(1));
        }
        let counts: Vec<u64> = taken(&mut queue).into_iter().map(|(_, _, count)| count).collect();
        assert_eq!(counts, [1, 1, 1, 3]);
    }

    #[test]
    fn a_refused_outcome_makes_room_by_the_oldest_allowed_one() {
        let mut queue = Queue::new(3);
        for who in 1..=3 {
            queue.push(note(true, who), at(1));
        }
        queue.push(note(false, 9), at(2));
        queue.push(note(true, 4), at(2));
        assert_eq!(queue.dropped(), 2, "the oldest, and the new one that found no room");
        let who: Vec<_> = taken(&mut queue).into_iter().map(|(_, who, _)| who).collect();
        assert_eq!(who, ["2", "3", "9"]);
    }

    #[test]
    fn what_could_not_be_told_comes_first_the_next_time() {
        let mut queue = Queue::new(4);
        queue.push(note(false, 1), at(1));
        queue.push(note(true, 2), at(1));
        let (report, untold) = queue.take(8).expect("two wait");
        queue.push(note(false, 3), at(2));
        queue.push(note(true, 2), at(2));
        queue.put_back(report, untold);
        let expected = [(false, "1".into(), 1), (false, "3".into(), 1), (true, "2".into(), 2)];
        assert_eq!(taken(&mut queue), expected);
        assert_eq!(queue.take(8), None);
    }

    #[test]
    fn what_was_left_out_is_told_even_when_nothing_else_is() {
        let mut queue = Queue::new(0);
        queue.push(note(true, 1), at(1));
        assert_eq!(queue.take(8), Some((vec![], 1)));
        assert_eq!(queue.take(8), None);
        queue.put_back(vec![], 1);
        assert_eq!(queue.take(8), Some((vec![], 1)), "until somebody has heard it");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(bool, u8),
        Fail(usize),
        Send(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (any::<bool>(), 0_u8..12).prop_map(|(allowed, who)| Step::Push(allowed, who)),
            1 => (1_usize..5).prop_map(Step::Fail),
            1 => (1_usize..5).prop_map(Step::Send),
        ]
    }

    proptest! {
        #[test]
        fn every_outcome_is_told_or_counted_and_none_refused_is_lost_while_an_allowed_one_waits(
            steps in prop::collection::vec(step(), 0..120), room in 0_usize..10,
        ) {
            let mut queue = Queue::new(room);
            let (mut pushed, mut told, mut untold) = (0_u64, 0_u64, 0_u64);
            for step in steps {
                match step {
                    Step::Push(allowed, who) => {
                        let (before, allowed_before) = (queue.dropped(), queue.allowed.len());
                        let refused_before: u64 = queue.refused.values().map(|one| one.count).sum();
                        queue.push(note(allowed, who), at(1));
                        pushed += 1;
                        let refused: u64 = queue.refused.values().map(|one| one.count).sum();
                        prop_assert!(refused >= refused_before, "no refused outcome makes room");
                        if !allowed && allowed_before > 0 {
                            prop_assert_eq!(refused, refused_before + 1);
                        }
                        prop_assert!(queue.dropped() >= before);
                    }
                    Step::Fail(most) => {
                        if let Some((report, left_out)) = queue.take(most) {
                            queue.put_back(report, left_out);
                        }
                    }
                    Step::Send(most) => {
                        if let Some((report, left_out)) = queue.take(most) {
                            told += report.iter().map(Waiting::count).sum::<u64>();
                            untold += left_out;
                        }
                    }
                }
                prop_assert!(queue.len() <= room, "bounded");
                prop_assert!(queue.alike.len() <= queue.len());
            }
            if let Some((report, left_out)) = queue.take(usize::MAX) {
                told += report.iter().map(Waiting::count).sum::<u64>();
                untold += left_out;
            }
            prop_assert_eq!(pushed, told + untold);
            prop_assert_eq!(untold, queue.dropped());
        }
    }
}
