//! A machine that follows a script, and scripts that are made up by chance.
//!
//! Its timeouts are of zero or of an hour, so that no clock decides what it does.

use super::{Say, Tester};
use engset_runtime::ExitReason;
use engset_stdlib::{Context, Entering, GenStatem, Input, Starting, TimeoutKind, Transition};
use std::{fmt::Write, time::Duration};

const HOUR: Duration = Duration::from_secs(3600);
const STOP: u32 = u32::MAX;

#[derive(Clone)]
pub(crate) struct Script {
    messages: Vec<u32>,
    start: (usize, Vec<Timing>),
    decisions: Vec<Decision>,
    enters: Vec<(bool, Vec<Timing>)>,
}

#[derive(Clone)]
struct Decision {
    postpone: bool,
    next: Where,
    insert: usize,
    timings: Vec<Timing>,
}

#[derive(Clone, Copy)]
enum Where {
    Keep,
    Repeat,
    To(u8),
}

#[derive(Clone, Copy)]
struct Timing {
    what: What,
    kind: TimeoutKind<u8>,
    content: u32,
}

#[derive(Clone, Copy)]
enum What {
    Zero,
    Long,
    Infinity,
    Update,
    Cancel,
}

/// Numbers that look random and are the same each time (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed >> 33) % end as u64) as usize
    }

    fn timings(&mut self) -> Vec<Timing> {
        (0..[0, 0, 1, 1, 2, 3][self.below(6)])
            .map(|_| Timing {
                what: [What::Zero, What::Zero, What::Long, What::Infinity, What::Update, What::Cancel]
                    [self.below(6)],
                kind: [
                    TimeoutKind::State,
                    TimeoutKind::Event,
                    TimeoutKind::Named(0),
                    TimeoutKind::Named(1),
                    TimeoutKind::Named(2),
                ][self.below(5)],
                content: self.below(100) as u32,
            })
            .collect()
    }

    fn insert(&mut self) -> usize {
        [0, 0, 0, 0, 1, 1, 2][self.below(7)]
    }
}

impl Script {
    pub(crate) fn by_chance(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let messages = (1..=1 + chance.below(8) as u32).collect();
        let start = (chance.insert(), chance.timings());
        let decisions = (0..=chance.below(9))
            .map(|_| Decision {
                postpone: chance.below(3) == 0,
                next: match chance.below(6) {
                    0 | 1 => Where::Keep,
                    2 => Where::Repeat,
                    _ => Where::To(chance.below(3) as u8),
                },
                insert: chance.insert(),
                timings: chance.timings(),
            })
            .collect();
        let mut enters: Vec<_> =
            (0..chance.below(4)).map(|_| (chance.below(3) == 0, chance.timings())).collect();
        // The last one does not repeat, or it might go on for ever.
        enters.push((false, chance.timings()));
        Script { messages, start, decisions, enters }
    }

    /// As an Erlang term.
    pub(crate) fn term(&self) -> String {
        let decisions: Vec<_> = self
            .decisions
            .iter()
            .map(|decision| {
                let next = match decision.next {
                    Where::Keep => "keep".to_owned(),
                    Where::Repeat => "repeat".to_owned(),
                    Where::To(state) => state.to_string(),
                };
                format!(
                    "{{{},{next},{},{}}}",
                    decision.postpone,
                    decision.insert,
                    timings_term(&decision.timings)
                )
            })
            .collect();
        let enters: Vec<_> = self
            .enters
            .iter()
            .map(|(repeat, timings)| format!("{{{repeat},{}}}", timings_term(timings)))
            .collect();
        format!(
            "{{{:?},{{{},{}}},[{}],[{}]}}.",
            self.messages,
            self.start.0,
            timings_term(&self.start.1),
            decisions.join(","),
            enters.join(",")
        )
    }

    pub(crate) fn play(&self, number: usize, tester: &mut Tester<'_>) {
        let machine =
            Follower { say: tester.say(), script: self.clone(), at: 0, entered: 0, left: 150, fresh: 1000 };
        let machine = machine.start().expect("it starts");
        tester.scenario(format!("script {number}"), machine);
        self.messages.iter().for_each(|message| machine.send(*message));
        machine.send(STOP);
        tester.until("end");
    }
}

fn timings_term(timings: &[Timing]) -> String {
    let mut term = String::from("[");
    for (at, timing) in timings.iter().enumerate() {
        let what = match timing.what {
            What::Zero => "zero",
            What::Long => "long",
            What::Infinity => "infinity",
            What::Update => "update",
            What::Cancel => "cancel",
        };
        let kind = match timing.kind {
            TimeoutKind::State => "state".to_owned(),
            TimeoutKind::Event => "event".to_owned(),
            TimeoutKind::Named(name) => name.to_string(),
        };
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(term, "{comma}{{{what},{kind},{}}}", timing.content);
    }
    term + "]"
}

struct Follower {
    say: Say,
    script: Script,
    at: usize,
    entered: usize,
    left: u32,
    fresh: u32,
}

impl GenStatem for Follower {
    type State = u8;
    type Message = u32;
    type Internal = u32;
    type Timer = u8;

    fn init(&mut self, _: &mut Context<u32>) -> Result<Starting<Self>, ExitReason> {
        let (insert, timings) = self.script.start.clone();
        let mut start = Transition::start(0);
        for _ in 0..insert {
            start = start.next_event(self.fresh());
        }
        Ok(with_timings(start, &timings))
    }

    fn handle(&mut self, state: &u8, input: Input<Self>, _: &mut Context<u32>) -> Transition<Self> {
        let (kind, content) = match &input {
            Input::Message(STOP) => {
                self.say.say("end");
                return Transition::stop();
            }
            Input::Message(content) => ("message".to_owned(), *content),
            Input::Internal(content) => ("internal".to_owned(), *content),
            Input::StateTimeout(content) => ("state_timeout".to_owned(), *content),
            // As Erlang calls it.
            Input::EventTimeout(content) => ("timeout".to_owned(), *content),
            Input::Timeout(name, content) => (format!("timeout {name}"), *content),
            Input::Event(event) => panic!("{event:?}"),
        };
        if self.left == 0 {
            self.say.say("end");
            return Transition::stop();
        }
        self.left -= 1;
        self.say.say(format_args!("{kind} {content} in {state}"));
        let decision = self.script.decisions[self.at % self.script.decisions.len()].clone();
        self.at += 1;
        let mut transition = match decision.next {
            Where::Keep => Transition::keep(),
            Where::Repeat => Transition::repeat(),
            Where::To(state) => Transition::next(state),
        };
        if decision.postpone {
            transition = transition.postpone(input);
        }
        for _ in 0..decision.insert {
            transition = transition.next_event(self.fresh());
        }
        with_timings(transition, &decision.timings)
    }

    fn enter(&mut self, former: &u8, state: &u8, _: &mut Context<u32>) -> Entering<Self> {
        self.say.say(format_args!("enter {state} from {former}"));
        let (repeat, timings) = &self.script.enters[self.entered % self.script.enters.len()];
        self.entered += 1;
        with_timings(if *repeat { Transition::repeat() } else { Transition::keep() }, timings)
    }
}

impl Follower {
    fn fresh(&mut self) -> u32 {
        self.fresh += 1;
        self.fresh - 1
    }
}

fn with_timings<P>(mut transition: Transition<Follower, P>, timings: &[Timing]) -> Transition<Follower, P> {
    for Timing { what, kind, content } in timings.iter().copied() {
        transition = match what {
            What::Zero => transition.start_timeout(kind, Duration::ZERO, content),
            What::Long => transition.start_timeout(kind, HOUR, content),
            What::Infinity => transition.start_timeout(kind, Duration::MAX, content),
            What::Update => transition.update_timeout(kind, content),
            What::Cancel => transition.cancel_timeout(kind),
        };
    }
    transition
}
