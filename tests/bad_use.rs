//! Wrong use has clear errors.

mod support;

use engset::{
    BuildError, Builder, CallError, Config, DownReason, Limit, Mailbox, Node, Reply, RunError, SendError,
    SpawnError, kill, run_with, self_pid, sleep, spawn, spawn_monitor, unregister,
};
use std::{
    any::Any,
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};
use support::{await_end, both, down_of};

fn text_of(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<&'static str>() {
        Some(text) => text,
        None => payload.downcast_ref::<String>().map_or("", String::as_str),
    }
}

/// What `f` panics with.
#[track_caller]
fn panic_of<T>(f: impl FnOnce() -> T) -> String {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("it did not panic"),
        Err(payload) => text_of(&*payload).to_owned(),
    }
}

#[test]
fn too_many_processes_are_an_error_that_says_how_many_there_may_be() {
    let node = Node::start(Config::new().workers(1).max_processes(4096_u32)).expect("a node");
    let (tell, told) = std::sync::mpsc::channel();
    node.spawn(move |mut mailbox: Mailbox<()>| {
        let mut children = Vec::new();
        let error = loop {
            match Builder::new().spawn(|| sleep(Duration::MAX)) {
                Ok(child) => children.push(child),
                Err(error) => break error,
            }
            assert!(children.len() <= 4096, "more than the limit");
        };
        assert!(matches!(&error, BuildError::Spawn(SpawnError::Limit { .. })), "{error}");
        let panic = panic_of(|| spawn(|| ()));
        assert!(children.len() >= 2048, "the limit is far below what was asked for: {}", children.len());
        // When some have gone there is room again.
        for child in children.drain(..100) {
            kill(child);
            await_end(&mut mailbox, child);
        }
        let again = Builder::new().spawn(|| ()).map(|_| ());
        tell.send((error.to_string(), panic, again)).expect("the test waits");
    })
    .expect("a process");
    let (error, panic, again) = told.recv_timeout(support::DEADLINE).expect("an error");
    assert!(error.contains("4096"), "{error}");
    assert!(panic.contains("spawn") && panic.contains("4096"), "{panic}");
    assert_eq!(again, Ok(()));
    assert!(node.stop());
}

#[test]
fn a_node_within_a_process_is_refused() {
    both(|_mailbox: Mailbox<()>| {
        let error = run_with(Config::new(), || ()).unwrap_err();
        assert!(matches!(error, RunError::Nested));
        assert!(error.to_string().contains("Node::start"), "{error}");
    });
}

#[test]
fn a_node_cannot_be_stopped_by_its_own_processes() {
    both(|_mailbox: Mailbox<()>| {
        let panic = panic_of(|| Node::current().expect("a node").stop());
        assert!(panic.contains("Node::stop"), "{panic}");
    });
}

#[test]
fn what_needs_a_process_says_so_outside_of_one() {
    let panics = [
        panic_of(self_pid),
        panic_of(|| spawn(|| ())),
        panic_of(|| engset::spawn_link(|| ())),
        panic_of(|| spawn_monitor(|| ())),
        panic_of(|| engset::trap_exits(true)),
        panic_of(|| engset::register("x")),
        panic_of(|| unregister("x")),
        panic_of(|| engset::start_timer(Duration::ZERO)),
        panic_of(|| engset::exit_self(engset::ExitReason::Normal)),
        panic_of(|| engset::monitor_name("x")),
        panic_of(|| engset::serve_with((), |_, _: engset::Received<()>| engset::Flow::Continue)),
    ];
    for panic in panics {
        assert!(panic.contains("process"), "{panic}");
    }
    assert_eq!(engset::try_self_pid(), None);
    assert_eq!(engset::whereis("x"), None);
    assert!(engset::processes().is_empty());
    assert!(engset::registered().is_empty());
    assert!(Node::current().is_none());
}

#[test]
fn options_that_need_a_process_are_an_error_outside_of_one() {
    let error = Builder::new().spawn(|| ()).unwrap_err();
    assert!(matches!(error, BuildError::OutsideOfProcess { what: "spawn" }), "{error}");
    assert!(error.to_string().contains("Node::spawn"), "{error}");
    let error = Builder::new().name("x").link().spawn_monitor(|| ()).unwrap_err();
    assert!(matches!(error, BuildError::OutsideOfProcess { what: "spawn_monitor" }), "{error}");
}

thread_local! {
    static LEAKED: RefCell<Option<Mailbox<u32>>> = const { RefCell::new(None) };
}

#[test]
fn a_mailbox_in_a_thread_local_does_not_work_in_another_process() {
    support::threaded(Config::new().workers(1), |mut mailbox: Mailbox<()>| {
        let (owner, _) = spawn_monitor(|mailbox: Mailbox<u32>| {
            LEAKED.with(|place| *place.borrow_mut() = Some(mailbox));
            sleep(Duration::MAX);
        });
        sleep(Duration::from_millis(2));
        let (_, reference) = spawn_monitor(move || {
            let mut stolen = LEAKED.with(|place| place.borrow_mut().take()).expect("the mailbox");
            let me = self_pid().to_string();
            let panics = [
                panic_of(|| stolen.receive()),
                panic_of(|| stolen.try_receive()),
                panic_of(|| stolen.message_timeout(Duration::ZERO)),
                panic_of(|| stolen.select(|_| true)),
            ];
            for panic in panics {
                assert!(panic.contains(&me) && panic.contains(&owner.pid().to_string()), "{panic}");
            }
            let panic = panic_of(|| engset::Alias::new(&stolen));
            assert!(panic.contains("another process"), "{panic}");
        });
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(engset::ExitReason::Normal));
    });
}

#[test]
fn a_mailbox_in_a_thread_local_does_not_work_after_the_end_of_its_process() {
    support::threaded(Config::new().workers(1), |mut mailbox: Mailbox<()>| {
        let (owner, reference) = spawn_monitor(|mailbox: Mailbox<u32>| {
            LEAKED.with(|place| *place.borrow_mut() = Some(mailbox));
        });
        down_of(&mut mailbox, reference);
        // The next process may live in the same place of the table.
        let (_, reference) = spawn_monitor(move || {
            let mut stolen = LEAKED.with(|place| place.borrow_mut().take()).expect("the mailbox");
            let panic = panic_of(|| stolen.receive());
            assert!(panic.contains(&owner.pid().to_string()), "{panic}");
        });
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(engset::ExitReason::Normal));
    });
}

#[test]
fn impossible_stack_sizes_are_errors_that_say_what_is_possible() {
    both(|_mailbox: Mailbox<()>| {
        for bytes in [0, usize::MAX, 1 << 40] {
            match Builder::new().stack_size(bytes).spawn(|| ()) {
                Err(BuildError::Spawn(error @ SpawnError::Stack { .. })) => {
                    let text = error.to_string();
                    assert!(text.contains(&bytes.to_string()), "{text}");
                }
                other => panic!("{bytes}: {other:?}"),
            }
        }
        for bytes in [16 << 10, 17 << 10, 1 << 20] {
            assert!(Builder::new().stack_size(bytes).spawn(|| ()).is_ok(), "{bytes}");
        }
    });
}

#[test]
fn impossible_settings_of_a_node_are_errors_that_name_the_setting() {
    for (config, word) in [
        (Config::new().workers(0_usize), "workers"),
        (Config::new().workers(100_000_usize), "workers"),
        (Config::new().max_processes(0_u32), "max_"),
        (Config::new().stack_size(0_usize), "stack"),
        (Config::new().slice(0_u32), "slice"),
    ] {
        let shown = format!("{config:?}");
        match Node::start(config) {
            Ok(node) => panic!("{node:?} has started with {shown}"),
            Err(error) => assert!(error.to_string().contains(word), "{error}"),
        }
    }
}

#[test]
fn settings_that_cannot_be_read_are_errors_that_name_key_and_value() {
    let text = |toml: &str| Config::new().toml(toml).unwrap_err().to_string();
    assert!(text("workers = 'four'").contains("workers") && text("workers = 'four'").contains("four"));
    assert!(text("workers = -1").contains("-1"));
    assert!(text("wrkers = 1").contains("wrkers") && text("wrkers = 1").contains("did you mean workers?"));
    assert!(text("zoom = 1").contains("zoom") && text("zoom = 1").contains("max_processes"));
    assert!(text("workers = ").contains("TOML"));
    let missing = Config::new().file("/nonexistent/engset.toml").unwrap_err();
    assert!(missing.to_string().contains("/nonexistent/engset.toml"), "{missing}");
}

#[test]
fn an_empty_limit_is_refused() {
    assert!(panic_of(|| Limit::messages(0)).contains("0 messages"));
    assert!(panic_of(|| Limit::bytes(0)).contains("0 bytes"));
}

#[test]
fn a_dead_receiver_a_full_mailbox_and_a_call_to_oneself_are_three_errors() {
    both(|mut mailbox: Mailbox<Reply<()>>| {
        let (dead, reference) = spawn_monitor(|_: Mailbox<u8>| ());
        down_of(&mut mailbox, reference);
        assert_eq!(dead.try_send(1), Err(SendError::Dead(1)));
        assert!(dead.try_send(1).unwrap_err().to_string().contains("dead"));
        let me = mailbox.address();
        let error = me.call(|reply| reply).unwrap_err();
        assert_eq!(error, CallError::CallingSelf);
        assert!(error.to_string().contains("itself"));
    });
}

#[test]
fn a_spawn_on_a_node_that_has_stopped_is_an_error() {
    let node = Node::start(Config::new().workers(1)).expect("a node");
    assert!(node.stop());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let stopped = matches!(node.spawn(|| ()), Err(BuildError::Spawn(SpawnError::Stopped)));
        tell.send((stopped, node.stop())).expect("the test waits");
    });
    let (stopped, twice) = told.recv_timeout(Duration::from_secs(15)).expect("the spawn hangs");
    assert!(stopped);
    assert!(twice, "to stop twice does no harm");
}

#[test]
fn a_process_local_variable_that_is_used_within_itself_says_so() {
    engset::process_local! {
        static NESTED: u32 = 5;
        static FRAGILE: u32 = if FIRST.with(|first| std::mem::replace(first, false)) { panic!("not yet") } else { 7 };
        static FIRST: bool = true;
    }
    both(|_mailbox: Mailbox<()>| {
        let panic = panic_of(|| NESTED.with(|_| NESTED.with(|value| *value)));
        assert!(panic.contains("while it is in use"), "{panic}");
        assert_eq!(NESTED.with(|value| *value), 5);
        assert_eq!(panic_of(|| FRAGILE.with(|value| *value)), "not yet");
        assert_eq!(FRAGILE.with(|value| *value), 7, "a failed start is no use");
        assert!(panic_of(|| NESTED.with(|_| panic!("within"))).contains("within"));
        assert_eq!(NESTED.with(|value| *value), 5);
    });
    assert!(panic_of(|| NESTED.with(|value| *value)).contains("process"));
}
