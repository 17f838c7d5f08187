//! The rows B1 to B10.
//!
//! What children say goes into a log that all share: the order in which several of them speak to one tester is not promised, the
//! order in which their supervisor lets them act is.

use crate::stage::{LONG, QUIET, Stage, name};
use engset::{
    Address, CallError, ExitReason, Reply, exit, is_alive, kill, monitor, sleep,
    stdlib::{
        AutoShutdown, Backoff, ChildSpec, Context, DynamicSupervisor, GenServer, GenStatem, InheritedMailbox,
        Input, Next, Restart, Shutdown, StartError, Starting, Supervisor, SupervisorBuilder, Transition,
        from_fn, sys,
    },
    trap_exits, unlink, whereis,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

const MS: Duration = Duration::from_millis(1);
const FOR_EVER: Duration = Duration::from_secs(1000);

/// What children have done, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, text: String) {
        self.0.lock().expect("nobody panics with it").push(text);
    }

    /// Waits for so many lines, and for a while whether there are more; empties it.
    fn take(&self, count: usize) -> String {
        let start = engset::now();
        while self.0.lock().expect("nobody panics with it").len() < count && engset::now() - start < LONG {
            sleep(MS);
        }
        sleep(QUIET / 3);
        std::mem::take(&mut *self.0.lock().expect("nobody panics with it")).join(", ")
    }
}

#[derive(Clone, Copy)]
enum Order {
    Crash,
    Finish,
    Shutdown,
}

#[derive(Clone)]
struct Child {
    id: &'static str,
    log: Log,
}

impl GenServer for Child {
    type Message = Order;

    fn init(&mut self, _: &mut Context<Order>) -> Result<Next, ExitReason> {
        self.log.add(format!("{} starts", self.id));
        Ok(Next::wait())
    }

    fn handle(&mut self, order: Order, _: &mut Context<Order>) -> Next {
        match order {
            Order::Crash => Next::stop_with(ExitReason::error("crash")),
            Order::Finish => Next::stop(),
            Order::Shutdown => Next::stop_with(ExitReason::Shutdown),
        }
    }

    fn terminate(&mut self, reason: &ExitReason, _: &mut Context<Order>) {
        self.log.add(format!("{} ends: {}", self.id, name(reason)));
    }
}

fn child(id: &'static str, log: &Log) -> ChildSpec {
    let log = log.clone();
    ChildSpec::server(id, move || Child { id, log: log.clone() }.options().name(id).trap_exits())
}

fn order(id: &str, order: Order) {
    engset::send_named(id, order).expect("it is there");
}

/// Ends a supervisor from outside, and waits until it has.
fn end(stage: &mut Stage, supervisor: Supervisor) -> String {
    unlink(supervisor);
    let reference = monitor(supervisor);
    exit(supervisor, ExitReason::Shutdown);
    stage.down(reference)
}

pub(crate) fn b1(stage: &mut Stage) {
    struct Starter(&'static str);
    impl GenServer for Starter {
        type Message = Reply<u32>;

        fn init(&mut self, _: &mut Context<Reply<u32>>) -> Result<Next, ExitReason> {
            match self.0 {
                "fails" => Err(ExitReason::error("boom")),
                "hangs" => {
                    sleep(FOR_EVER);
                    Ok(Next::wait())
                }
                _ => Ok(Next::wait()),
            }
        }

        fn handle(&mut self, reply: Reply<u32>, _: &mut Context<Reply<u32>>) -> Next {
            reply.send(1);
            Next::wait()
        }
    }
    for how in ["works", "fails", "hangs"] {
        let started =
            Starter(how).options().init_timeout(if how == "hangs" { 30 * MS } else { LONG }).start();
        stage.line(format!(
            "{how}: {}",
            match started {
                Ok(server) => format!("started, and answers {:?}", server.call(|reply| reply)),
                Err(StartError::InitFailed(reason)) => format!("error {}", name(&reason)),
                Err(StartError::InitTimeout(_)) => "error timeout".to_owned(),
                Err(other) => format!("{other:?}"),
            }
        ));
    }
}

/// A name, how it is built, and how many lines a crash makes.
type Case = (&'static str, fn() -> SupervisorBuilder, usize);

fn strategies() -> [Case; 3] {
    [
        ("one_for_one", Supervisor::one_for_one, 2),
        ("one_for_all", Supervisor::one_for_all, 6),
        ("rest_for_one", Supervisor::rest_for_one, 4),
    ]
}

pub(crate) fn b2(stage: &mut Stage) {
    trap_exits(true);
    let log = Log::default();
    let supervisor = Supervisor::one_for_one()
        .intensity(1, FOR_EVER)
        .children([child("a", &log), child("b", &log)])
        .start_link()
        .expect("it starts");
    let reference = monitor(supervisor);
    order("a", Order::Crash);
    let first = log.take(4);
    stage.line(first);
    order("a", Order::Crash);
    let reason = stage.down(reference);
    let second = log.take(2);
    stage.line(format!("{second}; the supervisor: {reason}"));
    stage.drain();
    trap_exits(false);
}

pub(crate) fn b3(stage: &mut Stage) {
    for (kind, restart) in [
        ("permanent", Restart::Permanent),
        ("transient", Restart::Transient),
        ("temporary", Restart::Temporary),
    ] {
        for (how, what) in [("crash", Order::Crash), ("normal", Order::Finish), ("shutdown", Order::Shutdown)]
        {
            let log = Log::default();
            let supervisor = Supervisor::one_for_one()
                .intensity(5, FOR_EVER)
                .child(child("a", &log).restart(restart))
                .start_link()
                .expect("it starts");
            order("a", what);
            let is_restarted = match (restart, what) {
                (Restart::Permanent, _) | (Restart::Transient, Order::Crash) => 3,
                _ => 2,
            };
            let lines = log.take(is_restarted);
            end(stage, supervisor);
            stage.line(format!("{kind} {how}: {lines}"));
        }
    }
}

pub(crate) fn b4(stage: &mut Stage) {
    for (strategy, builder, count) in strategies() {
        let log = Log::default();
        let supervisor = builder()
            .intensity(5, FOR_EVER)
            .children([child("a", &log), child("b", &log), child("c", &log)])
            .start_link()
            .expect("it starts");
        let started = log.take(3);
        order("b", Order::Crash);
        let crash = log.take(count);
        end(stage, supervisor);
        let ended = log.take(3);
        stage.line(format!("{strategy}: {started}; {crash}; {ended}"));
    }
}

/// Children of a dynamic supervisor stop together: each of these would need its whole second.
pub(crate) fn b4_dynamic(stage: &mut Stage) {
    let log = Log::default();
    let supervisor = DynamicSupervisor::builder().start_link().expect("it starts");
    for _ in 0..3 {
        let log = log.clone();
        let slow = ChildSpec::function("slow", move || {
            trap_exits(true);
            sleep(FOR_EVER);
            log.add("it went on".to_owned());
        });
        supervisor.start_child(slow.shutdown_after(200 * MS)).expect("it starts");
    }
    let start = engset::now();
    unlink(supervisor);
    let reference = monitor(supervisor);
    exit(supervisor, ExitReason::Shutdown);
    let reason = stage.down(reference);
    // Virtual or real, one after the other would take three times as long at least.
    let together = engset::now() - start;
    stage.line(format!("{reason}, not before their time: {}, {}", together >= 200 * MS, log.take(0)));
}

pub(crate) fn b5(stage: &mut Stage) {
    for (how, shutdown) in [
        ("after a time", Shutdown::After(30 * MS)),
        ("brutal kill", Shutdown::BrutalKill),
        ("asked", Shutdown::After(LONG)),
    ] {
        let log = Log::default();
        let obeys = how == "asked";
        let kid = if obeys {
            child("a", &log)
        } else {
            ChildSpec::function("a", || {
                engset::register("a").expect("it is free");
                trap_exits(true);
                // It takes the exit signal for a message, and goes on.
                sleep(FOR_EVER);
            })
        };
        let supervisor =
            Supervisor::one_for_one().child(kid.shutdown(shutdown)).start_link().expect("it starts");
        let pid = loop {
            match whereis("a") {
                Some(pid) => break pid,
                None => sleep(MS),
            }
        };
        let reference = monitor(pid);
        // The monitor is there when it has answered.
        let _ = is_alive(pid);
        let stopped = supervisor.terminate_child("a").is_ok();
        let reason = stage.down(reference);
        end(stage, supervisor);
        stage.line(format!("{how}: {stopped}, {reason}"));
    }
}

pub(crate) fn b6(stage: &mut Stage) {
    trap_exits(true);
    let log = Log::default();
    let supervisor = Supervisor::one_for_one()
        .auto_shutdown(AutoShutdown::AnySignificant)
        .children([child("a", &log), child("b", &log).transient().significant()])
        .start_link()
        .expect("it starts");
    let reference = monitor(supervisor);
    order("b", Order::Finish);
    let reason = stage.down(reference);
    let lines = log.take(4);
    stage.line(format!("{lines}; the supervisor: {reason}"));
    let refused = Supervisor::one_for_one()
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(child("a", &log).significant())
        .start_link();
    stage
        .line(format!("permanent and significant: {}", if refused.is_err() { "refused" } else { "started" }));
    stage.drain();
    trap_exits(false);
}

pub(crate) fn b7(stage: &mut Stage) {
    let log = Log::default();
    let seen = log.clone();
    let heir = InheritedMailbox::new(move || {
        let log = seen.clone();
        from_fn((), move |(), number: u32, _: &mut Context<u32>| {
            assert!(number != 0, "as told");
            log.add(number.to_string());
            Next::wait()
        })
        .into_named("heir")
    });
    let supervisor = Supervisor::one_for_one()
        .intensity(5, FOR_EVER)
        .child(heir.child("heir"))
        .start_link()
        .expect("it starts");
    let address: Address<u32> = engset::lookup("heir").expect("it is there");
    (0..4).for_each(|number| address.send(number));
    let queued = log.take(3);
    stage.line(format!("the queue after a crash: {queued}; the address: {}", is_alive(address)));
    end(stage, supervisor);
    let again = child("a", &log).backoff(Backoff::new(50 * MS, 100 * MS).random_factor(0.0));
    let supervisor =
        Supervisor::one_for_one().intensity(5, FOR_EVER).child(again).start_link().expect("it starts");
    let start = engset::now();
    order("a", Order::Crash);
    let lines = log.take(3);
    stage.line(format!("back-off: {lines}; not before its time: {}", engset::now() - start >= 50 * MS));
    end(stage, supervisor);
}

/// A server with a name, which `from_fn` has no word for.
trait IntoNamed: GenServer + Sized {
    fn into_named(self, name: &'static str) -> engset::stdlib::ServerBuilder<Self> {
        self.options().name(name)
    }
}

impl<S: GenServer> IntoNamed for S {}

enum Request {
    Cast,
    Call(Reply<u32>),
    Later(Reply<u32>),
    Continue,
    Idle,
    Stop,
}

struct Server {
    log: Log,
    later: Option<Reply<u32>>,
}

impl GenServer for Server {
    type Message = Request;

    fn init(&mut self, _: &mut Context<Request>) -> Result<Next, ExitReason> {
        self.log.add("init".to_owned());
        Ok(Next::again())
    }

    fn again(&mut self, _: &mut Context<Request>) -> Next {
        self.log.add("continue".to_owned());
        if let Some(reply) = self.later.take() {
            reply.send(2);
        }
        Next::wait()
    }

    fn handle(&mut self, request: Request, _: &mut Context<Request>) -> Next {
        let (text, next) = match request {
            Request::Cast => ("cast", Next::wait()),
            Request::Call(reply) => {
                reply.send(1);
                ("call", Next::wait())
            }
            Request::Later(reply) => {
                self.later = Some(reply);
                ("later", Next::again())
            }
            Request::Continue => ("again", Next::again()),
            Request::Idle => ("idle", Next::wait_for(10 * MS)),
            Request::Stop => ("stop", Next::stop()),
        };
        self.log.add(text.to_owned());
        next
    }

    fn event(&mut self, _: engset::Event, _: &mut Context<Request>) -> Next {
        self.log.add("info".to_owned());
        Next::wait()
    }

    fn timeout(&mut self, _: &mut Context<Request>) -> Next {
        self.log.add("timeout".to_owned());
        Next::wait()
    }

    fn terminate(&mut self, reason: &ExitReason, _: &mut Context<Request>) {
        self.log.add(format!("terminate {}", name(reason)));
    }
}

pub(crate) fn b8(stage: &mut Stage) {
    let log = Log::default();
    let server = Server { log: log.clone(), later: None }.options().trap_exits().start().expect("it starts");
    server.send(Request::Cast);
    server.send(Request::Continue);
    let answers = (server.call(Request::Call), server.call(Request::Later));
    exit(server, ExitReason::error("hello"));
    server.send(Request::Idle);
    let lines = log.take(11);
    stage.line(lines);
    stage.line(format!(
        "answers {}",
        [answers.0, answers.1].map(|answer| answer.map_or(0, |it| it)).map(|it| it.to_string()).join(" ")
    ));
    let reference = monitor(server);
    server.send(Request::Stop);
    let reason = stage.down(reference);
    let lines = log.take(2);
    stage.line(format!("{lines}; {reason}"));
    let dead = server.call(Request::Call);
    stage.line(if matches!(dead, Err(CallError::Down(_))) {
        "a call to the dead: error"
    } else {
        "a call to the dead: an answer"
    });
}

struct Machine {
    log: Log,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Closed,
    Open,
}

enum Key {
    Knock(u32),
    Open,
    Close,
}

impl GenStatem for Machine {
    type State = State;
    type Message = Key;
    type Internal = &'static str;
    type Timer = &'static str;

    fn init(&mut self, _: &mut Context<Key>) -> Result<Starting<Self>, ExitReason> {
        Ok(Transition::start(State::Closed))
    }

    fn enter(&mut self, _: &State, to: &State, _: &mut Context<Key>) -> engset::stdlib::Entering<Self> {
        let what = if *to == State::Open { "enter open" } else { "enter closed" };
        self.log.add(what.to_owned());
        Transition::keep()
    }

    fn handle(&mut self, state: &State, input: Input<Self>, _: &mut Context<Key>) -> Transition<Self> {
        match (state, input) {
            (State::Closed, key @ Input::Message(Key::Knock(_) | Key::Close)) => {
                Transition::keep().postpone(key)
            }
            (State::Closed, Input::Message(Key::Open)) => {
                self.log.add("open".to_owned());
                Transition::next(State::Open).next_event("first").state_timeout(FOR_EVER, "never").timeout(
                    "named",
                    10 * MS,
                    "named",
                )
            }
            (State::Open, Input::Message(Key::Close)) => {
                self.log.add("close".to_owned());
                Transition::next(State::Closed)
            }
            (_, Input::Message(Key::Knock(number))) => {
                self.log.add(format!("knock {number}"));
                Transition::keep()
            }
            (_, Input::Internal(text) | Input::StateTimeout(text)) => {
                self.log.add(text.to_owned());
                Transition::keep()
            }
            (_, Input::Timeout(_, text)) => {
                self.log.add(text.to_owned());
                Transition::keep()
            }
            _ => Transition::keep(),
        }
    }
}

pub(crate) fn b9(stage: &mut Stage) {
    let log = Log::default();
    let machine = Machine { log: log.clone() }.start().expect("it starts");
    for number in 1..=3 {
        machine.send(Key::Knock(number));
    }
    machine.send(Key::Close);
    // The named timeout that this sets outlives the state.
    machine.send(Key::Open);
    let lines = log.take(10);
    stage.line(lines);
    kill(machine);
}

pub(crate) fn b10(stage: &mut Stage) {
    let log = Log::default();
    let seen = log.clone();
    let server = from_fn(1_u32, move |sum: &mut u32, number: u32, _: &mut Context<u32>| {
        *sum += number;
        seen.add(sum.to_string());
        Next::wait()
    });
    let server = server.start().expect("it starts");
    server.send(1);
    stage.line(format!("state {:?}", sys::get_state::<u32>(server)));
    sys::suspend(server).expect("it answers");
    server.send(10);
    let suspended = log.take(1);
    stage.line(format!("suspended: {suspended}, state {:?}", sys::get_state::<u32>(server)));
    sys::replace_state(server, |state: &u32| state + 100).expect("it answers");
    sys::resume(server).expect("it answers");
    let resumed = log.take(1);
    stage.line(format!("resumed: {resumed}"));
}
