//! The machines of OTP's design principles: a push button, code locks. And a door, and one that stops.

use super::{Say, Tester};
use engset_runtime::{ExitReason, Reply};
use engset_stdlib::{Context, Entering, GenStatem, Input, Starting, TimeoutKind, Transition};
use std::{fmt, time::Duration};

const fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

pub(crate) fn all(tester: &mut Tester<'_>) {
    button(tester);
    lock(tester);
    postponing_lock(tester);
    buttons_lock(tester);
    complex_lock(tester);
    door(tester);
    stops(tester);
}

/// In most of them the states have Erlang's names.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Off,
    On,
    Locked,
    Open,
    Closed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Off => "off",
            State::On => "on",
            State::Locked => "locked",
            State::Open => "open",
            State::Closed => "closed",
        })
    }
}

struct Button {
    say: Say,
    count: u32,
}

enum Press {
    Push(Reply<State>),
    Count(Reply<u32>),
    Stop,
}

impl GenStatem for Button {
    type State = State;
    type Message = Press;
    type Internal = ();
    type Timer = ();

    fn init(&mut self, _: &mut Context<Press>) -> Result<Starting<Self>, ExitReason> {
        Ok(Transition::start(State::Off))
    }

    fn handle(&mut self, state: &State, input: Input<Self>, _: &mut Context<Press>) -> Transition<Self> {
        match (state, input) {
            (State::Off, Input::Message(Press::Push(reply))) => {
                self.count += 1;
                Transition::next(State::On).reply(reply, State::On)
            }
            (_, Input::Message(Press::Push(reply))) => Transition::next(State::Off).reply(reply, State::Off),
            (_, Input::Message(Press::Count(reply))) => Transition::keep().reply(reply, self.count),
            (_, Input::Message(Press::Stop)) => Transition::stop(),
            (_, other) => panic!("{other:?}"),
        }
    }

    fn terminate(&mut self, reason: &ExitReason, state: &State, _: &mut Context<Press>) {
        self.say.say(format_args!("terminate {reason} in {state}"));
    }
}

fn button(tester: &mut Tester<'_>) {
    let button = Button { say: tester.say(), count: 0 }.start().unwrap();
    tester.scenario("button", button);
    for _ in 0..3 {
        tester.answer(button.call(Press::Push));
        tester.answer(button.call(Press::Count));
    }
    button.send(Press::Stop);
    tester.until("terminate normal in on");
}

struct Lock {
    say: Say,
    code: Vec<u8>,
    typed: Vec<u8>,
}

impl Lock {
    fn new(tester: &Tester<'_>, code: &[u8]) -> Self {
        Lock { say: tester.say(), code: code.to_vec(), typed: Vec::new() }
    }

    /// Takes a digit; is the code complete now? `None`: it was a wrong one.
    fn digit(&mut self, digit: u8) -> Option<bool> {
        self.typed.push(digit);
        if self.code.starts_with(&self.typed) {
            return Some(self.typed == self.code);
        }
        self.typed.clear();
        self.say.say("wrong");
        None
    }
}

enum Digit {
    Digit(u8),
    Length(Reply<usize>),
}

impl GenStatem for Lock {
    type State = State;
    type Message = Digit;
    type Internal = ();
    type Timer = ();

    fn init(&mut self, _: &mut Context<Digit>) -> Result<Starting<Self>, ExitReason> {
        Ok(Transition::start(State::Locked))
    }

    fn enter(&mut self, _: &State, state: &State, _: &mut Context<Digit>) -> Entering<Self> {
        self.say.say(state);
        self.typed.clear();
        match state {
            State::Open => Transition::keep().state_timeout(ms(30), ()),
            _ => Transition::keep(),
        }
    }

    fn handle(&mut self, state: &State, input: Input<Self>, _: &mut Context<Digit>) -> Transition<Self> {
        match (state, input) {
            (State::Locked, Input::Message(Digit::Digit(digit))) => match self.digit(digit) {
                Some(true) => Transition::next(State::Open),
                _ => Transition::keep(),
            },
            (State::Open, Input::StateTimeout(())) => Transition::next(State::Locked),
            (_, Input::Message(Digit::Length(reply))) => Transition::keep().reply(reply, self.code.len()),
            _ => Transition::keep(),
        }
    }
}

fn lock(tester: &mut Tester<'_>) {
    let lock = Lock::new(tester, &[1, 2, 3]).start().unwrap();
    tester.scenario("lock", lock);
    tester.until("locked");
    for digits in [vec![1, 3, 3, 1, 2, 3], vec![1, 2, 3]] {
        digits.into_iter().for_each(|digit| lock.send(Digit::Digit(digit)));
        tester.until("open");
        tester.answer(lock.call(Digit::Length));
        tester.until("locked");
    }
}

struct PostponingLock(Lock);

#[derive(Clone, Copy)]
enum Note {
    Digit(u8),
    Idle,
    Forget,
    Lock,
}

impl GenStatem for PostponingLock {
    type State = State;
    type Message = Vec<Note>;
    type Internal = Note;
    type Timer = &'static str;

    fn init(&mut self, _: &mut Context<Vec<Note>>) -> Result<Starting<Self>, ExitReason> {
        Ok(Transition::start(State::Locked))
    }

    fn enter(&mut self, _: &State, state: &State, _: &mut Context<Vec<Note>>) -> Entering<Self> {
        self.0.say.say(state);
        self.0.typed.clear();
        match state {
            State::Open => Transition::keep().timeout("lock", ms(20), Note::Lock),
            _ => Transition::keep(),
        }
    }

    fn handle(&mut self, state: &State, input: Input<Self>, _: &mut Context<Vec<Note>>) -> Transition<Self> {
        match (state, input) {
            (_, Input::Message(all)) => all.into_iter().fold(Transition::keep(), Transition::next_event),
            (State::Open, Input::Timeout("lock", Note::Lock)) => Transition::next(State::Locked),
            (State::Open, digit @ Input::Internal(_)) => {
                self.0.say.say("postponed");
                Transition::keep().postpone(digit)
            }
            (State::Locked, Input::EventTimeout(Note::Forget)) => {
                self.0.say.say("forgotten");
                self.0.typed.clear();
                Transition::keep()
            }
            (State::Locked, Input::Internal(Note::Idle)) => {
                self.0.say.say("idle");
                Transition::keep().event_timeout(ms(20), Note::Forget)
            }
            (State::Locked, Input::Internal(Note::Digit(digit))) => match self.0.digit(digit) {
                Some(true) => Transition::next(State::Open),
                Some(false) => {
                    self.0.say.say("right");
                    Transition::keep().event_timeout(ms(20), Note::Forget)
                }
                None => Transition::keep(),
            },
            (_, other) => panic!("{other:?}"),
        }
    }
}

fn postponing_lock(tester: &mut Tester<'_>) {
    use Note::{Digit, Idle};
    let lock = PostponingLock(Lock::new(tester, &[1, 2])).start().unwrap();
    tester.scenario("postponing_lock", lock);
    tester.until("locked");
    lock.send([1, 2, 7, 1, 2].map(Digit).to_vec());
    for what in ["open", "locked", "open", "locked"] {
        tester.until(what);
    }
    lock.send(vec![Digit(9), Idle, Digit(1)]);
    tester.until("forgotten");
    lock.send([2, 1, 2].map(Digit).to_vec());
    tester.until("open");
}

struct ButtonsLock {
    lock: Lock,
    down: Option<u8>,
}

enum Move {
    Down(u8),
    Up(u8),
}

enum Pressed {
    Button(u8),
    Again,
}

impl GenStatem for ButtonsLock {
    type State = State;
    type Message = Move;
    type Internal = Pressed;
    type Timer = ();

    fn init(&mut self, _: &mut Context<Move>) -> Result<Starting<Self>, ExitReason> {
        Ok(Transition::start(State::Locked))
    }

    fn enter(&mut self, _: &State, state: &State, _: &mut Context<Move>) -> Entering<Self> {
        if *state == State::Open {
            self.lock.say.say("open");
        }
        Transition::keep()
    }

    fn handle(&mut self, state: &State, input: Input<Self>, _: &mut Context<Move>) -> Transition<Self> {
        match (state, input) {
            (_, Input::Message(Move::Down(digit))) => {
                self.down = Some(digit);
                Transition::keep()
            }
            (_, Input::Message(Move::Up(digit))) => match self.down.take() {
                Some(down) if down == digit => Transition::keep().next_event(Pressed::Button(digit)),
                Some(_) => {
                    self.lock.say.say(format_args!("lifted {digit}"));
                    Transition::keep().next_event(Pressed::Button(digit)).next_event(Pressed::Again)
                }
                None => {
                    self.lock.say.say(format_args!("ignored {digit}"));
                    Transition::keep()
                }
            },
            (_, Input::Internal(Pressed::Again)) => {
                self.lock.say.say("again");
                Transition::keep()
            }
            (State::Locked, Input::Internal(Pressed::Button(digit))) => {
                self.lock.say.say(format_args!("button {digit}"));
                match self.lock.digit(digit) {
                    Some(true) => Transition::next(State::Open),
                    _ => Transition::keep(),
                }
            }
            _ => Transition::keep(),
        }
    }
}

fn buttons_lock(tester: &mut Tester<'_>) {
    let lock = ButtonsLock { lock: Lock::new(tester, &[1, 2]), down: None }.start().unwrap();
    tester.scenario("buttons_lock", lock);
    for step in [Move::Down(1), Move::Up(1), Move::Up(2), Move::Down(2), Move::Down(3), Move::Up(2)] {
        lock.send(step);
    }
    tester.until("again");
}

/// The state has a value in it: the button that locks.
struct ComplexLock(Lock);

enum Complex {
    Digit(u8),
    LockButton(u8, Reply<u8>),
}

impl GenStatem for ComplexLock {
    type State = (State, u8);
    type Message = Complex;
    type Internal = ();
    type Timer = ();

    fn init(&mut self, _: &mut Context<Complex>) -> Result<Starting<Self>, ExitReason> {
        Ok(Transition::start((State::Locked, 9)))
    }

    fn enter(&mut self, former: &(State, u8), new: &(State, u8), _: &mut Context<Complex>) -> Entering<Self> {
        self.0.say.say(format_args!("enter {} {} from {} {}", new.0, new.1, former.0, former.1));
        self.0.typed.clear();
        Transition::keep()
    }

    fn handle(
        &mut self,
        (state, button): &(State, u8),
        input: Input<Self>,
        _: &mut Context<Complex>,
    ) -> Transition<Self> {
        match (state, input) {
            (_, Input::Message(Complex::LockButton(new, reply))) => {
                Transition::next((*state, new)).reply(reply, *button)
            }
            (State::Locked, Input::Message(Complex::Digit(digit))) => {
                self.0.typed.push(digit);
                if self.0.typed.ends_with(&self.0.code) {
                    Transition::next((State::Open, *button))
                } else {
                    Transition::keep()
                }
            }
            (_, Input::Message(Complex::Digit(digit))) if digit == *button => {
                Transition::next((State::Locked, *button))
            }
            (_, Input::Message(Complex::Digit(digit))) => {
                self.0.say.say(format_args!("postponed {digit}"));
                Transition::keep().postpone(Input::Message(Complex::Digit(digit)))
            }
            (_, other) => panic!("{other:?}"),
        }
    }
}

fn complex_lock(tester: &mut Tester<'_>) {
    let lock = ComplexLock(Lock::new(tester, &[1, 2])).start().unwrap();
    tester.scenario("complex_lock", lock);
    let digits = |digits: &[u8]| digits.iter().for_each(|digit| lock.send(Complex::Digit(*digit)));
    tester.until("enter locked 9 from locked 9");
    digits(&[1]);
    tester.answer(lock.call(|reply| Complex::LockButton(8, reply)));
    digits(&[1, 2, 5, 8, 1, 2]);
    tester.answer(lock.call(|reply| Complex::LockButton(7, reply)));
    tester.answer(lock.call(|reply| Complex::LockButton(7, reply)));
    digits(&[8, 7]);
    tester.until("enter locked 7 from open 7");
}

/// Timeouts with names, that are updated and cancelled.
struct Door(Say);

#[derive(Clone, Copy, PartialEq)]
enum Will {
    Open,
    Hold,
    Guest,
    Silence,
    Release,
    Close,
    Alarm(&'static str),
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Alarm;

impl GenStatem for Door {
    type State = State;
    type Message = Vec<Will>;
    type Internal = Will;
    type Timer = Alarm;

    fn init(&mut self, _: &mut Context<Vec<Will>>) -> Result<Starting<Self>, ExitReason> {
        Ok(Transition::start(State::Closed))
    }

    fn enter(&mut self, former: &State, state: &State, _: &mut Context<Vec<Will>>) -> Entering<Self> {
        self.0.say(format_args!("enter {state} from {former}"));
        match state {
            State::Open => Transition::keep().state_timeout(ms(40), Will::Close).timeout(
                Alarm,
                ms(20),
                Will::Alarm("nobody"),
            ),
            _ => Transition::keep().cancel_timeout(TimeoutKind::Named(Alarm)),
        }
    }

    fn handle(&mut self, state: &State, input: Input<Self>, _: &mut Context<Vec<Will>>) -> Transition<Self> {
        match (state, input) {
            (_, Input::Message(all)) => all.into_iter().fold(Transition::keep(), Transition::next_event),
            (State::Closed, Input::Internal(Will::Open)) => Transition::next(State::Open),
            (State::Open, Input::Internal(Will::Hold)) => {
                self.0.say("held");
                Transition::keep().cancel_timeout(TimeoutKind::State)
            }
            (State::Open, Input::Internal(Will::Guest)) => {
                Transition::keep().update_timeout(TimeoutKind::Named(Alarm), Will::Alarm("guest"))
            }
            (State::Open, Input::Internal(Will::Silence)) => {
                self.0.say("silent");
                Transition::keep().cancel_timeout(TimeoutKind::Named(Alarm))
            }
            (State::Open, Input::Internal(Will::Release)) => {
                Transition::keep().state_timeout(ms(60), Will::Close)
            }
            (State::Open, Input::Timeout(Alarm, Will::Alarm(who))) => {
                self.0.say(format_args!("alarm {who}"));
                Transition::keep()
            }
            (State::Open, Input::StateTimeout(Will::Close)) => Transition::next(State::Closed),
            (_, other) => panic!("{other:?}"),
        }
    }
}

fn door(tester: &mut Tester<'_>) {
    use Will::{Guest, Hold, Open, Release, Silence};
    let door = Door(tester.say()).start().unwrap();
    tester.scenario("door", door);
    tester.until("enter closed from closed");
    door.send(vec![Open]);
    tester.until("enter closed from open");
    door.send(vec![Open, Hold, Guest, Release]);
    tester.until("alarm guest");
    tester.until("enter closed from open");
    door.send(vec![Open, Silence]);
    tester.until("enter closed from open");
}

struct Stops(Say);

enum Stop {
    AndReply(Reply<&'static str>),
    EnterAndStop,
}

impl GenStatem for Stops {
    type State = &'static str;
    type Message = Stop;
    type Internal = ();
    type Timer = ();

    fn init(&mut self, _: &mut Context<Stop>) -> Result<Starting<Self>, ExitReason> {
        Ok(Transition::start("start"))
    }

    fn enter(&mut self, _: &&'static str, state: &&'static str, _: &mut Context<Stop>) -> Entering<Self> {
        match *state {
            "last" => Transition::stop_with(ExitReason::error("entered")),
            _ => Transition::keep(),
        }
    }

    fn handle(&mut self, _: &&'static str, input: Input<Self>, _: &mut Context<Stop>) -> Transition<Self> {
        match input {
            Input::Message(Stop::AndReply(reply)) => {
                Transition::stop_with(ExitReason::error("bye")).reply(reply, "yes")
            }
            Input::Message(Stop::EnterAndStop) => Transition::next("last"),
            other => panic!("{other:?}"),
        }
    }

    fn terminate(&mut self, reason: &ExitReason, state: &&'static str, _: &mut Context<Stop>) {
        let ExitReason::Error(reason) = reason else { panic!("{reason}") };
        self.0.say(format_args!("terminate {reason} in {state}"));
    }
}

fn stops(tester: &mut Tester<'_>) {
    let stops = Stops(tester.say()).start().unwrap();
    tester.scenario("stops", stops);
    tester.answer(stops.call(Stop::AndReply));
    tester.until("terminate bye in start");
    let stops = Stops(tester.say()).start().unwrap();
    tester.scenario("stops", stops);
    stops.send(Stop::EnterAndStop);
    tester.until("terminate entered in last");
}
