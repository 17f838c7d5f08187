//! Servers: starting, messages, events, timeouts, ending (semantics rows B1 and B8).

mod support;

use engset_runtime::{
    CallError, Config, DownReason, Event, ExitReason, Mailbox, NameError, Node, Received, Reply, exit,
    is_alive, kill, lookup, monitor, now, process_info, run_with, self_pid, sleep, spawn, start_timer,
    trap_exits, whereis,
};
use engset_stdlib::{Agent, Context, GenServer, Next, StartError, from_fn};
use std::time::Duration;
use support::{down_of, event, eventually, everywhere, nothing_more, wait_dead};

const SECOND: Duration = Duration::from_secs(1);

enum Request {
    Add(u64),
    Get(Reply<u64>),
    Keep(Reply<u64>),
    Idle(Duration),
    Watch(engset_runtime::Pid),
    Timer(Duration),
    Again,
    Stop,
    StopWith(&'static str),
    Panic,
}

type Log = Option<engset_runtime::Address<&'static str>>;

#[derive(Default)]
struct Counter {
    total: u64,
    kept: Vec<Reply<u64>>,
    log: Log,
}

impl Counter {
    fn log(&self, text: &'static str) {
        if let Some(log) = self.log {
            log.send(text);
        }
    }
}

impl GenServer for Counter {
    type Message = Request;

    fn handle(&mut self, message: Request, _: &mut Context<Request>) -> Next {
        match message {
            Request::Add(number) => self.total += number,
            Request::Get(reply) => reply.send(self.total),
            Request::Keep(reply) => self.kept.push(reply),
            Request::Idle(time) => return Next::wait_for(time),
            Request::Watch(pid) => drop(monitor(pid)),
            Request::Timer(time) => drop(start_timer(time)),
            Request::Again => return Next::again(),
            Request::Stop => return Next::stop(),
            Request::StopWith(why) => return Next::stop_with(ExitReason::error(why)),
            Request::Panic => panic!("asked to"),
        }
        Next::wait()
    }

    fn event(&mut self, event: Event, _: &mut Context<Request>) -> Next {
        self.log(match event {
            Event::Down(_) => "down",
            Event::Exit(_) => "exit",
            Event::Timer(_) => "timer",
            _ => "other",
        });
        Next::wait()
    }

    fn again(&mut self, _: &mut Context<Request>) -> Next {
        self.total += 1000;
        Next::wait()
    }

    fn timeout(&mut self, _: &mut Context<Request>) -> Next {
        self.log("timeout");
        Next::wait()
    }

    fn terminate(&mut self, reason: &ExitReason, _: &mut Context<Request>) {
        self.log(match reason {
            ExitReason::Normal => "terminated: normal",
            ExitReason::Shutdown => "terminated: shutdown",
            _ => "terminated: other",
        });
    }
}

/// A counter that reports to the test.
fn counter(mailbox: &Mailbox<&'static str>) -> Counter {
    Counter { log: Some(mailbox.address()), ..Counter::default() }
}

/// A server whose `init` does as told.
enum Init {
    Fail,
    Stop,
    Panic,
    Sleep(Duration),
    Fine,
}

impl GenServer for Init {
    type Message = ();

    fn init(&mut self, _: &mut Context<()>) -> Result<Next, ExitReason> {
        match self {
            Init::Fail => return Err(ExitReason::error("no disk")),
            Init::Stop => return Ok(Next::stop()),
            Init::Panic => panic!("in init"),
            Init::Sleep(time) => sleep(*time),
            Init::Fine => {}
        }
        Ok(Next::wait())
    }

    fn handle(&mut self, (): (), _: &mut Context<()>) -> Next {
        Next::wait()
    }
}

#[test]
fn a_call_is_answered_with_the_state_that_earlier_messages_made() {
    everywhere::<()>(|_| {
        let counter = Counter::default().start_link().unwrap();
        (1..=10).for_each(|number| counter.send(Request::Add(number)));
        assert_eq!(counter.call(Request::Get), Ok(55));
    });
}

#[test]
fn start_returns_when_init_has() {
    everywhere::<()>(|_| {
        let before = now();
        Init::Sleep(SECOND / 50).start().unwrap();
        assert!(now() - before >= SECOND / 50);
    });
}

#[test]
fn a_failed_init_is_an_error_value_and_no_exit_signal() {
    everywhere::<()>(|mailbox| {
        let reason = ExitReason::error("no disk");
        // Not trapping: an exit signal would end the test.
        assert_eq!(Init::Fail.start_link(), Err(StartError::InitFailed(reason.clone())));
        trap_exits(true);
        assert_eq!(Init::Fail.start_link(), Err(StartError::InitFailed(reason.clone())));
        assert_eq!(Init::Fail.start(), Err(StartError::InitFailed(reason.clone())));
        assert_eq!(Init::Fail.start_monitor().unwrap_err(), StartError::InitFailed(reason));
        assert_eq!(Init::Stop.start_link(), Err(StartError::InitFailed(ExitReason::Normal)));
        nothing_more(mailbox);
    });
}

#[test]
fn a_panic_in_init_is_an_error_value_and_no_exit_signal() {
    everywhere::<()>(|mailbox| {
        for trapping in [false, true] {
            trap_exits(trapping);
            for tied in [Init::start_link, Init::start] {
                let Err(StartError::InitExited(reason)) = tied(Init::Panic) else { panic!("it started") };
                assert_eq!(reason.panic().unwrap().message, "in init");
            }
            assert!(matches!(Init::Panic.start_monitor(), Err(StartError::InitExited(_))));
        }
        nothing_more(mailbox);
    });
}

#[test]
fn an_init_that_takes_too_long_is_killed_and_its_name_is_free() {
    everywhere::<()>(|mailbox| {
        trap_exits(true);
        let hangs = || Init::Sleep(Duration::MAX).options().name("slow").init_timeout(SECOND / 50);
        for _ in 0..3 {
            assert_eq!(hangs().start_link(), Err(StartError::InitTimeout(SECOND / 50)));
            assert_eq!(whereis("slow"), None);
        }
        assert_eq!(hangs().start_monitor().unwrap_err(), StartError::InitTimeout(SECOND / 50));
        nothing_more(mailbox);
    });
}

#[test]
fn a_server_killed_in_init_is_an_error_value() {
    everywhere::<()>(|mailbox| {
        trap_exits(true);
        let me = self_pid();
        spawn(move || {
            eventually("it has its name", || whereis("victim").is_some());
            let victim = whereis("victim").unwrap();
            assert_ne!(victim, me);
            kill(victim);
        });
        let started = Init::Sleep(Duration::MAX).options().name("victim").start_link();
        assert_eq!(started, Err(StartError::InitExited(ExitReason::Killed)));
        nothing_more(mailbox);
    });
}

#[test]
fn a_starter_that_dies_meanwhile_takes_a_linked_server_with_it() {
    everywhere::<()>(|_| {
        let starter = spawn(|| drop(Init::Sleep(Duration::MAX).options().name("linked").start_link()));
        eventually("it starts", || whereis("linked").is_some());
        let server = whereis("linked").unwrap();
        kill(starter);
        wait_dead(server);
    });
}

#[test]
fn a_name_is_registered_before_start_returns_and_freed_at_the_end() {
    everywhere::<()>(|_| {
        let server = Counter::default().options().name("counter").start().unwrap();
        assert_eq!(lookup("counter"), Ok(server));
        let second = Counter::default().options().name("counter").start();
        assert_eq!(
            second,
            Err(StartError::Name(NameError::Taken { name: "counter".into(), by: server.pid() }))
        );
        assert!(matches!(
            Init::Fine.options().name("").start(),
            Err(StartError::Name(NameError::Invalid { .. }))
        ));
        server.send(Request::Stop);
        wait_dead(server.pid());
        assert_eq!(whereis("counter"), None);
    });
}

#[test]
fn outside_of_a_process_nothing_starts() {
    assert_eq!(Init::Fine.start(), Err(StartError::OutsideOfProcess));
    assert_eq!(Init::Fine.start_link(), Err(StartError::OutsideOfProcess));
}

#[test]
fn a_monitored_start_tells_the_end() {
    everywhere::<()>(|mailbox| {
        let (server, monitor) = Counter::default().start_monitor().unwrap();
        server.send(Request::StopWith("enough"));
        let Event::Down(down) = event(mailbox) else { panic!("another event") };
        assert_eq!((down.reference, down.pid), (monitor, server.pid()));
        assert_eq!(down.reason, DownReason::Exited(ExitReason::error("enough")));
    });
}

#[test]
fn a_server_gets_events() {
    everywhere(|mailbox| {
        let server = counter(mailbox).options().trap_exits().start().unwrap();
        server.send(Request::Watch(spawn(|| ())));
        assert_eq!(mailbox.message(), "down");
        server.send(Request::Timer(SECOND / 100));
        assert_eq!(mailbox.message(), "timer");
        exit(server, ExitReason::error("from no parent"));
        assert_eq!(mailbox.message(), "exit");
        assert!(is_alive(server));
    });
}

#[test]
fn a_timeout_comes_if_nothing_else_does() {
    everywhere(|mailbox| {
        let server = counter(mailbox).start().unwrap();
        let before = now();
        server.send(Request::Idle(SECOND / 50));
        assert_eq!(mailbox.message(), "timeout");
        assert!(now() - before >= SECOND / 50, "never early");
        nothing_more(mailbox);
    });
}

#[test]
fn any_message_or_event_cancels_the_timeout() {
    everywhere(|mailbox| {
        let server = counter(mailbox).start().unwrap();
        server.send(Request::Idle(SECOND / 100));
        server.send(Request::Add(1));
        nothing_more(mailbox);
        server.send(Request::Idle(SECOND / 20));
        server.send(Request::Watch(spawn(|| ())));
        assert_eq!(mailbox.message(), "down");
        assert!(mailbox.message_timeout(SECOND / 10).is_none(), "cancelled by the event");
    });
}

#[test]
fn the_latest_timeout_counts() {
    everywhere(|mailbox| {
        let server = counter(mailbox).start().unwrap();
        // Longer, shorter, longer: the timers of the former ones must not show.
        for time in [SECOND / 20, SECOND / 100, SECOND / 10] {
            server.send(Request::Idle(time));
        }
        let before = now();
        assert_eq!(mailbox.message(), "timeout");
        assert!(now() - before >= SECOND / 10 - SECOND / 100);
        nothing_more(mailbox);
        server.send(Request::Idle(Duration::ZERO));
        assert_eq!(mailbox.message(), "timeout");
        nothing_more(mailbox);
    });
}

#[test]
fn again_comes_before_the_next_message() {
    everywhere::<()>(|_| {
        let server = Counter::default().start().unwrap();
        server.send(Request::Again);
        assert_eq!(server.call(Request::Get), Ok(1000));
    });
}

#[test]
fn terminate_runs_when_a_callback_stops_the_server() {
    everywhere(|mailbox| {
        let server = counter(mailbox).start().unwrap();
        server.send(Request::Stop);
        assert_eq!(mailbox.message(), "terminated: normal");
        let server = counter(mailbox).start().unwrap();
        server.send(Request::StopWith("x"));
        assert_eq!(mailbox.message(), "terminated: other");
    });
}

#[test]
fn terminate_runs_on_the_parents_shutdown_if_the_server_traps_exits() {
    everywhere(|mailbox| {
        let server = counter(mailbox).options().trap_exits().start_link().unwrap();
        trap_exits(true);
        exit(server, ExitReason::Shutdown);
        assert_eq!(mailbox.message(), "terminated: shutdown");
        let Event::Exit(ended) = event(mailbox) else { panic!("another event") };
        assert_eq!((ended.from, ended.reason), (server.pid(), ExitReason::Shutdown));
    });
}

#[test]
fn terminate_runs_when_the_parent_ends_if_the_server_traps_exits() {
    everywhere(|mailbox| {
        let server = counter(mailbox).options().trap_exits();
        spawn(move || drop(server.start_link()));
        assert_eq!(mailbox.message(), "terminated: normal");
    });
}

#[test]
fn terminate_does_not_run_if_the_server_does_not_trap_or_panics_or_is_killed() {
    everywhere(|mailbox| {
        let plain = counter(mailbox).start().unwrap();
        exit(plain, ExitReason::Shutdown);
        let panics = counter(mailbox).start().unwrap();
        panics.send(Request::Panic);
        let killed = counter(mailbox).options().trap_exits().start().unwrap();
        kill(killed);
        for server in [plain, panics, killed] {
            wait_dead(server.pid());
        }
        nothing_more(mailbox);
    });
}

struct BadEnd;

impl GenServer for BadEnd {
    type Message = ();

    fn handle(&mut self, (): (), _: &mut Context<()>) -> Next {
        Next::stop()
    }

    fn terminate(&mut self, _: &ExitReason, _: &mut Context<()>) {
        panic!("in terminate");
    }
}

#[test]
fn a_panic_in_terminate_is_the_reason_of_the_end() {
    everywhere::<()>(|mailbox| {
        let (server, _) = BadEnd.start_monitor().unwrap();
        server.send(());
        let DownReason::Exited(reason) = down_of(mailbox, server.pid()) else { panic!("it was alive") };
        assert_eq!(reason.panic().unwrap().message, "in terminate");
    });
}

#[test]
fn callers_learn_the_reason_if_the_server_ends_with_their_request() {
    everywhere::<()>(|_| {
        let server = Counter::default().start().unwrap();
        spawn(move || {
            sleep(SECOND / 100);
            server.send(Request::StopWith("gone"));
        });
        let answer = server.call(Request::Keep);
        assert_eq!(answer, Err(CallError::Down(DownReason::Exited(ExitReason::error("gone")))));
        assert_eq!(server.call(Request::Get), Err(CallError::Down(DownReason::NoProc)));
    });
}

#[test]
fn a_request_whose_caller_has_given_up_is_skipped_and_counted() {
    everywhere::<()>(|_| {
        let server = from_fn(0_u32, |handled, request: Option<Reply<u32>>, _| {
            match request {
                Some(reply) => {
                    *handled += 1;
                    reply.send(*handled);
                }
                None => sleep(SECOND / 20),
            }
            Next::wait()
        })
        .start()
        .unwrap();
        server.send(None);
        let answer = server.call_timeout(Some, SECOND / 100);
        assert_eq!(answer, Err(CallError::Timeout(SECOND / 100)));
        assert_eq!(server.call(Some), Ok(1), "the first request was not handled");
        assert_eq!(Node::current().unwrap().expired_requests(), 1);
    });
}

#[test]
fn an_idle_server_holds_no_stack() {
    everywhere::<()>(|_| {
        let server = Counter::default().start().unwrap();
        assert_eq!(server.call(Request::Get), Ok(0));
        assert!(!process_info(server).unwrap().has_stack);
    });
}

#[test]
fn the_context_knows_address_and_parent() {
    everywhere::<()>(|_| {
        type Ask = Reply<(engset_runtime::Pid, Option<engset_runtime::Pid>)>;
        let make = || {
            from_fn((), |(), reply: Ask, context: &mut Context<Ask>| {
                reply.send((context.address().pid(), context.parent()));
                Next::wait()
            })
        };
        let linked = make().start_link().unwrap();
        assert_eq!(linked.call(|reply| reply), Ok((linked.pid(), Some(self_pid()))));
        let free = make().start().unwrap();
        assert_eq!(free.call(|reply| reply), Ok((free.pid(), None)));
    });
}

#[test]
fn an_agent_runs_closures_in_order() {
    everywhere::<()>(|_| {
        let agent = Agent::start_link_named(vec![1], "numbers").unwrap();
        agent.cast(|numbers| numbers.push(2));
        assert_eq!(agent.update(|numbers| numbers.pop()), Ok(Some(2)));
        assert_eq!(Agent::<Vec<i32>>::named("numbers").unwrap().get(Vec::len), Ok(1));
        assert!(Agent::<String>::named("numbers").is_err());
    });
}

#[test]
fn an_agent_ends_with_a_closure_that_panics() {
    everywhere::<()>(|_| {
        let agent = Agent::start(0).unwrap();
        let answer: Result<(), _> = agent.get(|_| panic!("bad closure"));
        assert!(matches!(answer, Err(CallError::Down(DownReason::Exited(ExitReason::Panic(_))))));
        assert!(!is_alive(agent.pid()));
    });
}

#[test]
fn nodes_one_after_the_other_and_side_by_side_start_servers_alike() {
    for _ in 0..3 {
        run_with(Config::new().seed(1), || Counter::default().start().map(|_| ()).unwrap()).unwrap();
        let node = Node::start(Config::new().workers(1)).unwrap();
        let server = node.spawn(|mut mailbox: Mailbox<Reply<Result<u64, CallError>>>| {
            let counter = Counter::default().start().unwrap();
            if let Received::Message(reply) = mailbox.receive() {
                reply.send(counter.call(Request::Get));
            }
        });
        assert_eq!(server.unwrap().call(|reply| reply), Ok(Ok(0)));
        assert!(node.stop());
    }
}
