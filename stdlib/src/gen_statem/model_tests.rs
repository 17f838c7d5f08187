//! The engine against a naive model: one list of all events that are not done, in the order in which they count,
//! each with a mark if it was handled since the state last changed.

use super::{
    engine::{Engine, Upcoming},
    timeouts::{TimeoutKind, Timing},
};
use proptest::prelude::*;
use std::time::Duration;

type Kind = TimeoutKind<u8>;
type What = Upcoming<u32, u8, u32>;

/// What the callback does with the event in hand.
#[derive(Clone, Debug)]
struct Decision {
    postpone: bool,
    next: Option<u8>,
    insert: usize,
    timings: Vec<Timing<u8, u32>>,
}

#[derive(Clone, Debug)]
enum Action {
    /// A message comes, if nothing is queued.
    Message,
    /// Time passes, and the next deadline is served if it is reached.
    Pass(u64),
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(TimeoutKind::State), Just(TimeoutKind::Event), (0..3_u8).prop_map(TimeoutKind::Named)]
}

fn timings() -> impl Strategy<Value = Timing<u8, u32>> {
    let time = prop_oneof![
        3 => (0..6_u64).prop_map(Duration::from_millis),
        1 => Just(Duration::MAX),
    ];
    (kinds(), 0..4_u8, time, 0..100_u32).prop_map(|(kind, what, time, content)| match what {
        0 | 1 => Timing::After(kind, time, content),
        2 => Timing::Update(kind, content),
        _ if time == Duration::MAX => Timing::Cancel(kind),
        _ => Timing::At(kind, time * 4, content),
    })
}

fn decisions() -> impl Strategy<Value = Decision> {
    (any::<bool>(), proptest::option::of(0..3_u8), 0..10_usize, proptest::collection::vec(timings(), 0..3))
        .prop_map(|(postpone, next, insert, timings)| Decision {
            postpone,
            next,
            // Few, or the machine would talk to itself for ever.
            insert: insert.saturating_sub(7),
            timings,
        })
}

fn actions() -> impl Strategy<Value = Action> {
    prop_oneof![2 => Just(Action::Message), 1 => (0..5_u64).prop_map(Action::Pass)]
}

#[derive(Default)]
struct Model {
    state: u8,
    /// Events with their marks.
    events: Vec<(u32, bool)>,
    /// In the order in which they were set: which, at which time (`None`: zero), and what.
    timeouts: Vec<(Kind, Option<Duration>, u32)>,
}

impl Model {
    fn next(&mut self) -> Option<What> {
        if let Some(at) = self.events.iter().position(|(_, handled)| !handled) {
            return Some(Upcoming::Event(self.events.remove(at).0));
        }
        let at = self.timeouts.iter().position(|(_, at, _)| at.is_none())?;
        let (kind, _, content) = self.timeouts.remove(at);
        Some(Upcoming::Timeout(kind, content))
    }

    fn due(&mut self, now: Duration) -> Option<What> {
        let mut first: Option<usize> = None;
        for at in 0..self.timeouts.len() {
            let deadline = |at: usize| self.timeouts[at].1.unwrap_or_default();
            if deadline(at) <= now && first.is_none_or(|first| deadline(at) < deadline(first)) {
                first = Some(at);
            }
        }
        let (kind, _, content) = self.timeouts.remove(first?);
        Some(Upcoming::Timeout(kind, content))
    }

    fn cancel(&mut self, kind: &Kind) {
        self.timeouts.retain(|(other, _, _)| other != kind);
    }

    fn set(&mut self, kind: &Kind, at: Option<Duration>, content: u32) {
        self.cancel(kind);
        self.timeouts.push((*kind, at, content));
    }

    fn settle(&mut self, postponed: Option<u32>, next: Option<u8>, inserted: &[u32]) -> Option<u8> {
        let front = |events: &[(u32, bool)]| events.iter().filter(|(_, handled)| *handled).count();
        if let Some(event) = postponed {
            let at = front(&self.events);
            self.events.insert(at, (event, true));
        }
        self.cancel(&TimeoutKind::Event);
        let changed = next.is_some_and(|next| next != self.state);
        let former = changed.then_some(self.state);
        if changed {
            self.state = next.unwrap_or_default();
            self.events.iter_mut().for_each(|(_, handled)| *handled = false);
            self.cancel(&TimeoutKind::State);
        }
        let at = front(&self.events);
        for (place, event) in inserted.iter().enumerate() {
            self.events.insert(at + place, (*event, false));
        }
        former
    }

    fn apply(&mut self, timings: &[Timing<u8, u32>], now: Duration) {
        let mut last: Vec<(Kind, &Timing<u8, u32>)> = Vec::new();
        for timing in timings {
            let (Timing::After(kind, ..)
            | Timing::At(kind, ..)
            | Timing::Update(kind, _)
            | Timing::Cancel(kind)) = timing;
            last.retain(|(other, _)| other != kind);
            last.push((*kind, timing));
        }
        for (kind, timing) in last {
            match timing {
                Timing::After(_, Duration::MAX, _) | Timing::Cancel(_) => self.cancel(&kind),
                Timing::After(_, Duration::ZERO, content) => self.set(&kind, None, *content),
                Timing::After(_, after, content) => self.set(&kind, Some(now + *after), *content),
                Timing::At(_, at, content) => self.set(&kind, Some(*at), *content),
                Timing::Update(_, content) => {
                    match self.timeouts.iter_mut().find(|(other, _, _)| *other == kind) {
                        Some((_, _, old)) => *old = *content,
                        None => self.set(&kind, None, *content),
                    }
                }
            }
        }
    }

    fn deadline(&self) -> Option<Duration> {
        self.timeouts.iter().filter_map(|(_, at, _)| *at).min()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn the_engine_does_what_the_model_does(
        actions in proptest::collection::vec(actions(), 1..30),
        decisions in proptest::collection::vec(decisions(), 1..30),
    ) {
        let mut engine: Engine<u8, u32, u8, u32> = Engine::new(0);
        let mut model = Model::default();
        let mut decisions = decisions.iter().cycle();
        let (mut fresh, mut now) = (0.., Duration::ZERO);
        // A bound, since zero timeouts and inserted events may follow each other for ever.
        let mut left = 500;
        for action in actions {
            let mut in_hand: Option<What> = match action {
                Action::Message => fresh.next().map(Upcoming::Event),
                Action::Pass(millis) => {
                    now += Duration::from_millis(millis);
                    let due = engine.timeouts.pop_due(now).map(|(kind, what)| Upcoming::Timeout(kind, what));
                    prop_assert_eq!(&due, &model.due(now));
                    due
                }
            };
            while let Some(what) = in_hand {
                left -= 1;
                if left == 0 {
                    return Ok(());
                }
                let Some(Decision { postpone, next, insert, timings }) = decisions.next() else { break };
                // A timeout that is postponed is an event like any other.
                let number = match what {
                    Upcoming::Event(event) => event,
                    Upcoming::Timeout(_, content) => content + 1_000_000,
                };
                let postponed = postpone.then_some(number);
                let inserted: Vec<_> = fresh.by_ref().take(*insert).collect();
                let former = engine.settle(postponed, *next, inserted.iter().copied());
                prop_assert_eq!(former, model.settle(postponed, *next, &inserted));
                prop_assert_eq!(engine.state(), &model.state);
                engine.timeouts.apply(timings.clone(), now);
                model.apply(timings, now);
                in_hand = engine.next();
                prop_assert_eq!(&in_hand, &model.next());
            }
            prop_assert_eq!(engine.timeouts.deadline(), model.deadline());
            let postponed = model.events.iter().filter(|(_, handled)| *handled).count();
            prop_assert_eq!(engine.postponed(), postponed);
        }
    }
}
