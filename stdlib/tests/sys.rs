//! Looking into behaviours (semantics row B10).

mod support;

use engset_runtime::{
    Address, CallError, DownReason, Event, ExitReason, Mailbox, Pid, Received, Reply, exit, kill, monitor,
    self_pid, send_system, sleep, spawn, spawn_monitor,
};
use engset_stdlib::{
    Agent, ChildSpec, Context, DynamicSupervisor, GenServer, GenStatem, Input, Next, Starting, Supervisor,
    Task, TaskSupervisor, Transition, from_fn,
    sys::{self, SysError, TraceEvent, Traced},
};
use std::{fmt, time::Duration};
use support::{down_of, everywhere, nothing_more, wait_dead};

const LONG: Duration = Duration::from_secs(3600);

/// A server that shows what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Counter {
    count: u32,
}

#[derive(Debug)]
enum Request {
    Add(u32),
    Get(Reply<u32>),
    Crash,
}

impl GenServer for Counter {
    type Message = Request;

    fn handle(&mut self, request: Request, _: &mut Context<Request>) -> Next {
        match request {
            Request::Add(number) => self.count += number,
            Request::Get(reply) => reply.send(self.count),
            Request::Crash => panic!("crash"),
        }
        Next::wait()
    }

    fn format_state(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        assert!(self.count != 13, "unlucky");
        write!(out, "{self:?}")
    }

    fn format_message(message: &Request, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{message:?}")
    }
}

fn counter(count: u32) -> Address<Request> {
    Counter { count }.start().unwrap()
}

#[test]
fn the_state_can_be_copied_looked_at_and_replaced_in_order_with_messages() {
    everywhere(|_: &mut Mailbox<()>| {
        let counter = counter(1);
        counter.send(Request::Add(1));
        assert_eq!(sys::get_state(counter), Ok(Counter { count: 2 }));
        assert_eq!(sys::with_state(counter, |counter: &mut Counter| counter.count * 10), Ok(20));
        assert_eq!(sys::replace_state(counter, |old: &Counter| Counter { count: old.count + 40 }), Ok(()));
        assert_eq!(counter.call(Request::Get), Ok(42));
        assert_eq!(sys::state_text(counter), Ok("Counter { count: 42 }".to_owned()));
    });
}

#[test]
fn the_state_of_another_type_is_a_typed_error_and_changes_nothing() {
    everywhere(|_: &mut Mailbox<()>| {
        let counter = counter(1);
        assert_eq!(sys::get_state::<u32>(counter), Err(SysError::WrongType { asked: "u32" }));
        assert_eq!(counter.call(Request::Get), Ok(1));
    });
}

#[test]
fn a_look_that_panics_is_the_callers_error_and_the_server_lives_on() {
    everywhere(|_: &mut Mailbox<()>| {
        let counter = counter(1);
        let failed = sys::replace_state(counter, |_: &Counter| -> Counter { panic!("clumsy") });
        assert_eq!(failed, Err(SysError::Panicked("clumsy".to_owned())));
        counter.send(Request::Add(12));
        assert_eq!(sys::state_text(counter), Err(SysError::Panicked("unlucky".to_owned())));
        assert!(sys::get_status(counter).unwrap().state.contains("unlucky"));
        assert_eq!(counter.call(Request::Get), Ok(13));
    });
}

#[test]
fn a_suspended_server_leaves_everything_in_its_mailbox_and_goes_on_in_order() {
    everywhere(|mailbox: &mut Mailbox<u32>| {
        let me = mailbox.address();
        let echo = from_fn((), move |(), number: u32, _: &mut Context<u32>| {
            me.send(number);
            Next::wait()
        });
        let echo = echo.start().unwrap();
        echo.send(0);
        sys::suspend(echo).unwrap();
        sys::suspend(echo).unwrap();
        (1..100).for_each(|number| echo.send(number));
        let status = sys::get_status(echo).unwrap();
        assert!(status.suspended && !status.waiting);
        assert_eq!(status.mailbox_len, 99);
        assert_eq!(mailbox.message(), 0);
        nothing_more(mailbox);
        sys::resume(echo).unwrap();
        (1..100).for_each(|number| assert_eq!(mailbox.message(), number));
        assert!(!sys::get_status(echo).unwrap().suspended);
    });
}

#[test]
fn a_suspended_server_is_ended_by_a_kill_by_an_exit_signal_and_by_its_supervisor() {
    everywhere(|mailbox: &mut Mailbox<ExitReason>| {
        let stop: [fn(Pid); 2] = [|pid| kill(pid), |pid| exit(pid, ExitReason::Shutdown)];
        for stop in stop {
            let counter = counter(1);
            monitor(counter);
            sys::suspend(counter).unwrap();
            stop(counter.pid());
            let reason = down_of(mailbox, counter.pid());
            assert!(
                matches!(reason, DownReason::Exited(ExitReason::Killed | ExitReason::Shutdown)),
                "{reason}"
            );
        }

        struct Trapping(Address<ExitReason>);
        impl GenServer for Trapping {
            type Message = ();
            fn handle(&mut self, (): (), _: &mut Context<()>) -> Next {
                Next::wait()
            }
            fn terminate(&mut self, reason: &ExitReason, _: &mut Context<()>) {
                self.0.send(reason.clone());
            }
        }
        let me = mailbox.address();
        let child = ChildSpec::server("child", move || Trapping(me).options().trap_exits());
        let supervisor = Supervisor::one_for_one().child(child).start_link().unwrap();
        let child = supervisor.which_children().unwrap()[0].pid().unwrap();
        sys::suspend(child).unwrap();
        supervisor.terminate_child("child").unwrap();
        assert_eq!(mailbox.message(), ExitReason::Shutdown);
    });
}

#[test]
fn a_caller_of_a_suspended_server_waits_until_it_is_resumed() {
    everywhere(|_: &mut Mailbox<()>| {
        let counter = counter(1);
        sys::suspend(counter).unwrap();
        let short = counter.call_timeout(Request::Get, Duration::from_millis(20));
        assert!(matches!(short, Err(CallError::Timeout(_))), "{short:?}");
        spawn(move || {
            sleep(Duration::from_millis(20));
            sys::resume(counter).unwrap();
        });
        assert_eq!(counter.call_timeout(Request::Get, LONG), Ok(1));
    });
}

#[test]
fn statistics_count_from_when_they_are_switched_on() {
    everywhere(|_: &mut Mailbox<()>| {
        let counter = counter(0);
        assert_eq!(sys::statistics(counter), Ok(None));
        counter.send(Request::Add(1));
        sys::statistics_on(counter).unwrap();
        (0..5).for_each(|_| counter.send(Request::Add(1)));
        let statistics = sys::statistics(counter).unwrap().unwrap();
        assert_eq!((statistics.messages, statistics.events), (5, 0));
        assert!(statistics.busy <= statistics.time);
        sys::statistics_off(counter).unwrap();
        assert_eq!(sys::statistics(counter), Ok(None));
    });
}

#[test]
fn a_trace_tells_a_process_of_messages_in_order_until_it_is_switched_off() {
    everywhere(|mailbox: &mut Mailbox<TraceEvent>| {
        let counter = counter(0);
        sys::trace_to(counter, mailbox.address()).unwrap();
        counter.send(Request::Add(7));
        sys::suspend(counter).unwrap();
        sys::resume(counter).unwrap();
        let expected = [Traced::Message("Add(7)".to_owned()), Traced::Suspended, Traced::Resumed];
        for what in expected {
            let event = mailbox.message();
            assert_eq!((event.pid, event.what), (counter.pid(), what));
        }
        assert!(sys::get_status(counter).unwrap().traced);
        sys::trace_off(counter).unwrap();
        counter.send(Request::Add(8));
        assert_eq!(counter.call(Request::Get), Ok(15));
        nothing_more(mailbox);
    });
}

#[test]
fn every_behaviour_answers() {
    everywhere(|_: &mut Mailbox<()>| {
        let agent = Agent::start(5_u8).unwrap().pid();
        let spec = ChildSpec::server("child", || from_fn((), |(), (), _: &mut Context<()>| Next::wait()));
        let supervisor = Supervisor::one_for_one().child(spec.clone()).start_link().unwrap().pid();
        let dynamic = DynamicSupervisor::builder().start_link().unwrap();
        dynamic.start_child(spec).unwrap();
        let tasks = TaskSupervisor::start_link(3).unwrap().pid();
        let task = Task::spawn(|| sleep(LONG));
        for pid in [agent, supervisor, dynamic.pid(), tasks, task.pid()] {
            sys::suspend(pid).unwrap();
            let status = sys::get_status(pid).unwrap();
            assert!(status.suspended && status.pid == pid, "{status:?}");
            sys::resume(pid).unwrap();
            sys::statistics_on(pid).unwrap();
            assert_eq!(sys::statistics(pid).unwrap().unwrap().messages, 0);
            assert!(!sys::state_text(pid).unwrap().is_empty());
        }
        assert_eq!(sys::get_state(agent), Ok(5_u8));
        assert_eq!(sys::replace_state(agent, |old: &u8| old + 1), Ok(()));
        assert_eq!(sys::get_state(agent), Ok(6_u8));
        let text = sys::state_text(supervisor).unwrap();
        assert!(text.contains("1 of 1 children run") && text.contains("child"), "{text}");
        assert_eq!(sys::get_status(supervisor).unwrap().behaviour, "Supervisor");
        assert!(sys::state_text(task.pid()).unwrap().contains("running in"));
        task.cancel();
    });
}

#[test]
fn a_suspended_supervisor_restarts_its_children_when_it_is_resumed() {
    everywhere(|_: &mut Mailbox<()>| {
        let spec = ChildSpec::server("child", || Counter { count: 0 }.options().name("the child"));
        let supervisor = Supervisor::one_for_one().child(spec).start_link().unwrap();
        let child: Address<Request> = engset_runtime::lookup("the child").unwrap();
        sys::suspend(supervisor).unwrap();
        child.send(Request::Crash);
        wait_dead(child.pid());
        assert_eq!(engset_runtime::whereis("the child"), None);
        sys::resume(supervisor).unwrap();
        let children = supervisor.which_children().unwrap();
        assert_eq!(children[0].restarts, 1);
        assert_eq!(children[0].pid(), engset_runtime::whereis("the child"));
    });
}

#[test]
fn a_plain_process_says_at_once_that_it_does_not_support_it_also_if_it_never_receives() {
    everywhere(|_: &mut Mailbox<()>| {
        let deaf = spawn(|_: Mailbox<()>| sleep(LONG));
        assert_eq!(sys::get_state::<u32>(deaf), Err(SysError::NotSupported));
        assert_eq!(sys::suspend(deaf), Err(SysError::NotSupported));
        let receives = spawn(|mut mailbox: Mailbox<()>| mailbox.message());
        assert_eq!(sys::get_status(receives), Err(SysError::NotSupported));
        kill(deaf);
        kill(receives);
    });
}

#[test]
fn the_dead_and_oneself_are_typed_errors() {
    everywhere(|mailbox: &mut Mailbox<()>| {
        let (gone, _) = spawn_monitor(|| ());
        down_of(mailbox, gone);
        assert_eq!(sys::get_status(gone), Err(SysError::Call(CallError::Down(DownReason::NoProc))));
        assert_eq!(sys::get_status(self_pid()), Err(SysError::Call(CallError::CallingSelf)));
    });
}

#[test]
fn a_request_of_which_nobody_knows_is_dropped_by_a_behaviour() {
    everywhere(|_: &mut Mailbox<()>| {
        let counter = counter(3);
        send_system(counter, "what is this?");
        let asked = engset_runtime::call_system(counter, |reply: Reply<()>| (reply, 7), LONG);
        assert_eq!(asked, Err(CallError::NoReply));
        assert_eq!(counter.call(Request::Get), Ok(3));
    });
}

#[test]
fn a_server_that_dies_with_the_request_in_its_mailbox_tells_why() {
    everywhere(|mailbox: &mut Mailbox<()>| {
        let slow = from_fn((), |(), (), _: &mut Context<()>| {
            sleep(Duration::from_millis(5));
            panic!("slowly");
        });
        let slow = slow.start().unwrap();
        monitor(slow);
        slow.send(());
        match sys::get_status(slow) {
            Err(SysError::Call(CallError::Down(DownReason::Exited(reason)))) => {
                assert_eq!(reason.panic().unwrap().message, "slowly");
            }
            // It had died before the request came.
            Err(SysError::Call(CallError::Down(DownReason::NoProc))) => {}
            other => panic!("{other:?}"),
        }
        assert!(matches!(down_of(mailbox, slow.pid()), DownReason::Exited(ExitReason::Panic(_))));
    });
}

#[test]
fn a_thread_that_is_no_process_can_ask_too() {
    let node = engset_runtime::Node::start(engset_runtime::Config::new().workers(2)).unwrap();
    let started = node.spawn(|mut mailbox: Mailbox<Reply<Pid>>| {
        mailbox.message().send(counter(9).pid());
    });
    let counter = started.unwrap().call(|reply| reply).unwrap();
    assert_eq!(sys::get_state(counter), Ok(Counter { count: 9 }));
    let plain = node.spawn(|| sleep(LONG)).unwrap();
    assert_eq!(sys::get_state::<Counter>(plain), Err(SysError::NotSupported));
    kill(counter);
    while node.is_alive(counter) {
        std::thread::yield_now();
    }
    assert!(matches!(sys::get_state::<Counter>(counter), Err(SysError::Call(CallError::Down(_)))));
    assert!(node.stop());
}

#[test]
fn ancestors_are_who_started_it_nearest_first() {
    everywhere(|_: &mut Mailbox<()>| {
        let inner = ChildSpec::server("leaf", || Counter { count: 0 }.options().name("leaf"));
        let tree = Supervisor::one_for_one()
            .name("root")
            .child(ChildSpec::supervisor("branch", Supervisor::one_for_one().name("branch").child(inner)))
            .start_link()
            .unwrap();
        let status = sys::get_status(engset_runtime::whereis("leaf").unwrap()).unwrap();
        let names: Vec<_> = status.ancestors.iter().map(|ancestor| ancestor.name.as_deref()).collect();
        assert_eq!(names, [Some("branch"), Some("root"), None]);
        assert_eq!(status.ancestors[1].pid, tree.pid());
        assert_eq!(status.ancestors[2].pid, self_pid());
        assert_eq!(status.parent, Some(status.ancestors[0].pid));
    });
}

#[test]
fn a_chain_of_starters_does_not_grow_for_ever() {
    fn chain(left: u32, end: Address<usize>) {
        engset_runtime::Builder::new()
            .ancestry()
            .spawn(move || match left {
                0 => end.send(engset_runtime::process_info(self_pid()).unwrap().ancestors.len()),
                left => chain(left - 1, end),
            })
            .unwrap();
    }
    everywhere(|mailbox: &mut Mailbox<usize>| {
        chain(100, mailbox.address());
        assert_eq!(mailbox.message(), 16);
    });
}

#[test]
fn events_are_counted_and_traced_too() {
    everywhere(|mailbox: &mut Mailbox<TraceEvent>| {
        let watcher = from_fn((), |(), pid: Pid, _: &mut Context<Pid>| {
            monitor(pid);
            Next::wait()
        });
        let watcher = watcher.start().unwrap();
        sys::statistics_on(watcher).unwrap();
        sys::trace_to(watcher, mailbox.address()).unwrap();
        watcher.send(spawn(|| ()));
        assert!(matches!(mailbox.message().what, Traced::Message(_)));
        match mailbox.receive() {
            Received::Message(TraceEvent { what: Traced::Event(text), .. }) => {
                assert!(text.contains("Down"), "{text}")
            }
            other => panic!("{other:?}"),
        }
        let statistics = sys::statistics(watcher).unwrap().unwrap();
        assert_eq!((statistics.messages, statistics.events), (1, 1));
        assert!(!matches!(mailbox.try_receive(), Some(Received::Event(Event::Down(_)))));
    });
}

/// A door that counts how often it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Door(u32);

enum Push {
    Push,
    IsOpen(Reply<bool>),
}

impl GenStatem for Door {
    type State = bool;
    type Message = Push;
    type Internal = ();
    type Timer = ();

    fn init(&mut self, _: &mut Context<Push>) -> Result<Starting<Self>, ExitReason> {
        Ok(Transition::start(false))
    }

    fn handle(&mut self, open: &bool, input: Input<Self>, _: &mut Context<Push>) -> Transition<Self> {
        match input {
            Input::Message(Push::Push) => {
                self.0 += u32::from(!open);
                Transition::next(!open)
            }
            Input::Message(Push::IsOpen(reply)) => Transition::keep().reply(reply, *open),
            _ => Transition::keep(),
        }
    }

    fn format_state(&self, open: &bool, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "open: {open}, {self:?}")
    }
}

#[test]
fn a_state_machine_shows_its_state_and_data_and_waits_when_it_is_suspended() {
    everywhere(|_: &mut Mailbox<()>| {
        let door = Door(0).start().unwrap();
        door.send(Push::Push);
        assert_eq!(sys::state_text(door).unwrap(), "open: true, Door(1)");
        assert_eq!(sys::get_state::<Door>(door).unwrap(), Door(1));
        sys::suspend(door).unwrap();
        door.send(Push::Push);
        sys::replace_state(door, |door: &Door| Door(door.0 + 6)).unwrap();
        assert_eq!(sys::state_text(door).unwrap(), "open: true, Door(7)");
        sys::resume(door).unwrap();
        assert_eq!(door.call(Push::IsOpen), Ok(false));
        door.send(Push::Push);
        assert_eq!(sys::get_state::<Door>(door).unwrap(), Door(8));
    });
}
