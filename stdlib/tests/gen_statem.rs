//! State machines: starting, postponing, timeouts, events, ending (semantics row B9). What they do in which order is compared
//! with Erlang in `statem_oracle.rs`.

mod support;

use engset_runtime::{
    Address, CallError, DownReason, Event, ExitReason, Mailbox, Reply, exit, is_alive, kill, lookup, monitor,
    now, process_info, send_after, sleep, spawn, start_timer, trap_exits, yield_now,
};
use engset_stdlib::{
    ChildSpec, Context, Entering, GenStatem, Input, StartError, Starting, Supervisor, TimeoutKind, Transition,
};
use std::time::Duration;
use support::{down_of, event, eventually, everywhere, nothing_more, wait_dead};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A machine that does what it is told, and tells what it gets.
struct Puppet {
    log: Address<String>,
    init: fn() -> Result<Starting<Puppet>, ExitReason>,
    enter: fn(u8, u8) -> Entering<Puppet>,
}

enum Order {
    /// Do this.
    Do(Box<dyn FnOnce(u8) -> Transition<Puppet> + Send>),
    /// Answer in state 1; postponed elsewhere.
    Ask(Reply<u32>),
}

impl Puppet {
    fn new(mailbox: &Mailbox<String>) -> Self {
        Puppet { log: mailbox.address(), init: || Ok(Transition::start(0)), enter: |_, _| Transition::keep() }
    }
}

fn order(order: impl FnOnce(u8) -> Transition<Puppet> + Send + 'static) -> Order {
    Order::Do(Box::new(order))
}

impl GenStatem for Puppet {
    type State = u8;
    type Message = Order;
    type Internal = &'static str;
    type Timer = u32;

    fn init(&mut self, _: &mut Context<Order>) -> Result<Starting<Self>, ExitReason> {
        (self.init)()
    }

    fn handle(&mut self, state: &u8, input: Input<Self>, _: &mut Context<Order>) -> Transition<Self> {
        let text = match input {
            Input::Message(Order::Do(order)) => return order(*state),
            Input::Message(Order::Ask(reply)) if *state == 1 => return Transition::keep().reply(reply, 42),
            ask @ Input::Message(Order::Ask(_)) => return Transition::keep().postpone(ask),
            Input::Internal(text) => format!("internal {text}"),
            Input::StateTimeout(text) => format!("state timeout {text}"),
            Input::EventTimeout(text) => format!("event timeout {text}"),
            Input::Timeout(name, text) => format!("timeout {name} {text}"),
            Input::Event(Event::Timer(_)) => "timer".to_owned(),
            Input::Event(Event::Down(_)) => "down".to_owned(),
            Input::Event(Event::Exit(exit)) => format!("exit {}", exit.reason),
            Input::Event(_) => "another event".to_owned(),
        };
        self.log.send(format!("{text} in {state}"));
        Transition::keep()
    }

    fn enter(&mut self, former: &u8, state: &u8, _: &mut Context<Order>) -> Entering<Self> {
        self.log.send(format!("enter {state} from {former}"));
        (self.enter)(*former, *state)
    }

    fn terminate(&mut self, reason: &ExitReason, state: &u8, _: &mut Context<Order>) {
        self.log.send(format!("terminate {reason} in {state}"));
    }
}

/// A puppet that has started.
fn puppet(mailbox: &mut Mailbox<String>) -> Address<Order> {
    let puppet = Puppet::new(mailbox).start().unwrap();
    assert_eq!(mailbox.message(), "enter 0 from 0");
    puppet
}

#[test]
fn a_failed_init_is_an_error_value() {
    everywhere(|mailbox| {
        let mut fails = Puppet::new(mailbox);
        fails.init = || Err(ExitReason::error("no disk"));
        assert_eq!(fails.start_link(), Err(StartError::InitFailed(ExitReason::error("no disk"))));
        let mut panics = Puppet::new(mailbox);
        panics.init = || panic!("in init");
        assert!(matches!(panics.start_link(), Err(StartError::InitExited(ExitReason::Panic(_)))));
        nothing_more(mailbox);
    });
}

#[test]
fn the_starter_does_not_wait_for_the_first_enter_call() {
    everywhere(|mailbox| {
        let mut slow = Puppet::new(mailbox);
        slow.enter = |_, _| {
            sleep(Duration::MAX);
            Transition::keep()
        };
        let slow = slow.start().unwrap();
        assert_eq!(mailbox.message(), "enter 0 from 0");
        assert!(process_info(slow).unwrap().has_stack, "it sleeps in enter");
        kill(slow);
    });
}

#[test]
fn what_init_wants_comes_after_the_first_enter_call_and_before_messages() {
    everywhere(|mailbox| {
        let mut eager = Puppet::new(mailbox);
        eager.init = || {
            let start = Transition::start(7).next_event("a").next_event("b");
            Ok(start.state_timeout(Duration::ZERO, "c"))
        };
        let eager = eager.start_link().unwrap();
        eager.send(order(|state| Transition::keep().next_event(if state == 7 { "message" } else { "?" })));
        for expected in [
            "enter 7 from 7",
            "internal a in 7",
            "internal b in 7",
            "state timeout c in 7",
            "internal message in 7",
        ] {
            assert_eq!(mailbox.message(), expected);
        }
    });
}

#[test]
fn a_postponed_request_is_answered_after_a_change_of_state() {
    everywhere(|mailbox| {
        let puppet = puppet(mailbox);
        send_after(MS * 20, puppet, order(|_| Transition::next(1)));
        assert_eq!(puppet.call(Order::Ask), Ok(42));
        assert_eq!(mailbox.message(), "enter 1 from 0");
    });
}

#[test]
fn neither_an_equal_state_nor_a_repeated_one_brings_postponed_events_back() {
    everywhere(|mailbox| {
        let puppet = puppet(mailbox);
        puppet.send(order(|_| Transition::repeat()));
        puppet.send(order(|_| Transition::next(0)));
        assert_eq!(puppet.call_timeout(Order::Ask, MS * 20), Err(CallError::Timeout(MS * 20)));
        assert_eq!(mailbox.message(), "enter 0 from 0", "repeated");
        puppet.send(order(|_| Transition::repeat()));
        puppet.send(order(|_| Transition::next(0)));
        assert_eq!(puppet.call_timeout(Order::Ask, MS * 20), Err(CallError::Timeout(MS * 20)));
        assert_eq!(mailbox.message(), "enter 0 from 0", "repeated");
        nothing_more(mailbox);
    });
}

#[test]
fn who_waits_for_a_postponed_request_learns_of_the_end() {
    everywhere(|mailbox| {
        let puppet = puppet(mailbox);
        send_after(MS * 20, puppet, order(|_| Transition::stop_with(ExitReason::error("gone"))));
        let answer = puppet.call(Order::Ask);
        assert_eq!(answer, Err(CallError::Down(DownReason::Exited(ExitReason::error("gone")))));
    });
}

#[test]
fn a_state_timeout_comes_never_early_and_not_in_another_state() {
    everywhere(|mailbox| {
        let puppet = puppet(mailbox);
        let before = now();
        puppet.send(order(|_| Transition::keep().state_timeout(MS * 20, "late")));
        assert_eq!(mailbox.message(), "state timeout late in 0");
        assert!(now() - before >= MS * 20);
        // The second one belongs to the state that it is set with.
        puppet
            .send(order(|_| Transition::keep().state_timeout(MS * 10, "cancelled").next_event("before it")));
        assert_eq!(mailbox.message(), "internal before it in 0");
        puppet.send(order(|_| Transition::next(1).state_timeout(MS * 30, "of the new state")));
        assert_eq!(mailbox.message(), "enter 1 from 0");
        loop {
            // On a slow machine it may have come in time.
            match mailbox.message().as_str() {
                "state timeout of the new state in 1" => break,
                other => assert_eq!(other, "state timeout cancelled in 0"),
            }
        }
        nothing_more(mailbox);
    });
}

#[test]
fn any_event_cancels_the_event_timeout() {
    everywhere(|mailbox| {
        let puppet = puppet(mailbox);
        puppet.send(order(|_| Transition::keep().event_timeout(MS * 20, "quiet")));
        assert_eq!(mailbox.message(), "event timeout quiet in 0");
        puppet.send(order(|_| Transition::keep().event_timeout(MS * 20, "cancelled").next_event("a")));
        assert_eq!(mailbox.message(), "internal a in 0");
        puppet.send(order(|_| Transition::keep().event_timeout(Duration::ZERO, "cancelled").next_event("b")));
        assert_eq!(mailbox.message(), "internal b in 0");
        assert_eq!(mailbox.message_timeout(MS * 60), None);
    });
}

#[test]
fn named_timeouts_outlive_changes_of_state_and_come_by_their_times() {
    everywhere(|mailbox| {
        let puppet = puppet(mailbox);
        let before = now();
        puppet.send(order(move |_| {
            Transition::next(1)
                .timeout(1, MS * 60, "third")
                .timeout(2, MS * 20, "first")
                .start_timeout_at(TimeoutKind::Named(3), before + MS * 40, "second")
                .timeout(4, MS * 30, "cancelled")
                .timeout(5, MS * 80, "old")
        }));
        puppet.send(order(|_| {
            Transition::next(2)
                .cancel_timeout(TimeoutKind::Named(4))
                .update_timeout(TimeoutKind::Named(5), "updated")
                .update_timeout(TimeoutKind::Named(6), "at once")
        }));
        let mut seen: Vec<_> = (0..7).map(|_| mailbox.message()).collect();
        // On a slow machine the second order may come late: all else must be so.
        seen.retain(|text| text != "timeout 4 cancelled in 1");
        let timeouts: Vec<_> = seen.iter().filter(|text| !text.starts_with("enter")).collect();
        let of = |text: &str| timeouts.iter().position(|seen| seen.starts_with(text));
        assert!(of("timeout 2 first") < of("timeout 3 second"), "{seen:?}");
        assert!(of("timeout 3 second") < of("timeout 1 third"), "{seen:?}");
        assert!(of("timeout 6 at once in 2").is_some(), "{seen:?}");
        assert!(now() - before >= MS * 60);
    });
}

#[test]
fn a_time_that_is_past_comes_with_the_mailboxs_turn() {
    everywhere(|mailbox| {
        let puppet = puppet(mailbox);
        puppet.send(order(|_| {
            let past = Transition::keep().start_timeout_at(TimeoutKind::State, Duration::ZERO, "past");
            past.event_timeout(Duration::ZERO, "zero")
        }));
        assert_eq!(mailbox.message(), "event timeout zero in 0");
        assert_eq!(mailbox.message(), "state timeout past in 0");
        nothing_more(mailbox);
    });
}

#[test]
fn the_machine_gets_events_and_its_own_timers() {
    everywhere(|mailbox| {
        let puppet = Puppet::new(mailbox).options().trap_exits().start().unwrap();
        assert_eq!(mailbox.message(), "enter 0 from 0");
        puppet.send(order(|_| {
            monitor(spawn(|| ()));
            Transition::keep()
        }));
        assert_eq!(mailbox.message(), "down in 0");
        puppet.send(order(|_| {
            start_timer(MS);
            Transition::keep()
        }));
        assert_eq!(mailbox.message(), "timer in 0");
        exit(puppet, ExitReason::error("from no parent"));
        assert_eq!(mailbox.message(), "exit error: from no parent in 0");
    });
}

#[test]
fn events_can_be_postponed_like_messages() {
    struct Waits(Address<&'static str>);
    impl GenStatem for Waits {
        type State = bool;
        type Message = ();
        type Internal = ();
        type Timer = ();

        fn init(&mut self, _: &mut Context<()>) -> Result<Starting<Self>, ExitReason> {
            monitor(spawn(|| ()));
            Ok(Transition::start(false))
        }

        fn handle(&mut self, ready: &bool, input: Input<Self>, _: &mut Context<()>) -> Transition<Self> {
            match (ready, input) {
                (false, Input::Message(())) => Transition::next(true),
                (false, early) => {
                    self.0.send("postponed");
                    Transition::keep().postpone(early)
                }
                (true, Input::Event(Event::Down(_))) => {
                    self.0.send("down");
                    Transition::stop()
                }
                (true, other) => panic!("{other:?}"),
            }
        }
    }
    everywhere(|mailbox| {
        let waits = Waits(mailbox.address()).start().unwrap();
        assert_eq!(mailbox.message(), "postponed");
        waits.send(());
        assert_eq!(mailbox.message(), "down");
        wait_dead(waits.pid());
    });
}

#[test]
fn terminate_gets_the_state_in_an_orderly_end_and_does_not_run_after_a_panic() {
    everywhere(|mailbox| {
        trap_exits(true);
        let ends = Puppet::new(mailbox).options().trap_exits().start_link().unwrap();
        assert_eq!(mailbox.message(), "enter 0 from 0");
        ends.send(order(|_| Transition::next(3)));
        assert_eq!(mailbox.message(), "enter 3 from 0");
        exit(ends, ExitReason::Shutdown);
        assert_eq!(mailbox.message(), "terminate shutdown in 3");
        let Event::Exit(ended) = event(mailbox) else { panic!("another event") };
        assert_eq!((ended.from, ended.reason), (ends.pid(), ExitReason::Shutdown));
        let (panics, _) = Puppet::new(mailbox).start_monitor().unwrap();
        assert_eq!(mailbox.message(), "enter 0 from 0");
        panics.send(order(|_| panic!("in handle")));
        assert!(matches!(down_of(mailbox, panics.pid()), DownReason::Exited(ExitReason::Panic(_))));
        nothing_more(mailbox);
    });
}

#[test]
fn an_enter_call_can_repeat_itself_and_stop_the_machine() {
    everywhere(|mailbox| {
        let mut restless = Puppet::new(mailbox);
        restless.enter = |former, state| match (former, state) {
            (0, 0) => Transition::keep(),
            (_, 5) => Transition::stop_with(ExitReason::error("five")),
            _ => Transition::keep().state_timeout(MS, "of enter"),
        };
        let restless = restless.start().unwrap();
        restless.send(order(|_| Transition::next(4)));
        for expected in ["enter 0 from 0", "enter 4 from 0", "state timeout of enter in 4"] {
            assert_eq!(mailbox.message(), expected);
        }
        restless.send(order(|_| Transition::next(5)));
        assert_eq!(mailbox.message(), "enter 5 from 4");
        assert_eq!(mailbox.message(), "terminate error: five in 5");
        wait_dead(restless.pid());
    });
}

#[test]
fn a_machine_that_talks_to_itself_for_ever_can_be_killed_and_holds_up_nobody() {
    everywhere(|mailbox| {
        struct Endless(Address<()>);
        impl GenStatem for Endless {
            type State = ();
            type Message = ();
            type Internal = ();
            type Timer = ();

            fn init(&mut self, _: &mut Context<()>) -> Result<Starting<Self>, ExitReason> {
                Ok(Transition::start(()).next_event(()))
            }

            fn handle(&mut self, (): &(), _: Input<Self>, _: &mut Context<()>) -> Transition<Self> {
                Transition::keep().next_event(())
            }

            fn terminate(&mut self, _: &ExitReason, (): &(), _: &mut Context<()>) {
                self.0.send(());
            }
        }
        let endless = Endless(mailbox.address()).start().unwrap();
        // In systematic mode the clock stands still as long as anybody runs: no sleep here.
        (0..100).for_each(|_| yield_now());
        assert!(is_alive(endless));
        kill(endless);
        wait_dead(endless.pid());
        nothing_more(mailbox);
    });
}

#[test]
fn an_idle_machine_holds_no_stack() {
    everywhere(|mailbox| {
        let puppet = puppet(mailbox);
        puppet.send(order(|_| Transition::next(1).state_timeout(SECOND * 3600, "never")));
        assert_eq!(puppet.call(Order::Ask), Ok(42));
        eventually("its callback returns", || !process_info(puppet).unwrap().has_stack);
    });
}

#[test]
fn a_machine_has_the_options_of_a_server_and_is_a_child_like_one() {
    everywhere(|mailbox| {
        let log = mailbox.address();
        let make =
            move || Puppet { log, init: || Ok(Transition::start(0)), enter: |_, _| Transition::keep() };
        let child = ChildSpec::server("machine", move || make().options().name("machine"));
        Supervisor::one_for_one().child(child).start_link().unwrap();
        assert_eq!(mailbox.message(), "enter 0 from 0");
        let first: Address<Order> = lookup("machine").unwrap();
        kill(first);
        assert_eq!(mailbox.message(), "enter 0 from 0");
        eventually("it is there again", || lookup::<Order>("machine").is_ok_and(|second| second != first));
    });
}
