//! Event managers: handlers that come, go and crash, and who is told.

mod support;

use engset_runtime::{
    Address, CallError, Event, ExitReason, Mailbox, Node, Reply, exit, exit_self, is_alive, kill,
    process_info, sleep, spawn, spawn_link, trap_exits,
};
use engset_stdlib::{
    AddHandlerError, ChildSpec, EventHandler, EventManager, Handled, HandlerId, Removed, StartError,
    Supervisor,
};
use std::time::Duration;
use support::{event, eventually, everywhere, nothing_more, wait_dead};

/// Tells what it gets. Does as the event says, if it is the one that is meant.
struct Teller {
    name: &'static str,
    log: Address<String>,
    seen: u32,
}

#[derive(Clone)]
enum News {
    Plain(u32),
    Panic(&'static str),
    Leave(&'static str),
}

enum Ask {
    Seen(Reply<u32>),
    Panic(Reply<u32>),
    Keep(Reply<u32>),
}

impl Teller {
    fn new(name: &'static str, mailbox: &Mailbox<String>) -> Self {
        Teller { name, log: mailbox.address(), seen: 0 }
    }

    fn log(&self, text: impl std::fmt::Display) {
        self.log.send(format!("{} {text}", self.name));
    }
}

impl EventHandler<News> for Teller {
    type Request = Ask;

    fn init(&mut self) -> Result<(), ExitReason> {
        match self.name {
            "refuses" => Err(ExitReason::error("not today")),
            "panics" => panic!("in init"),
            _ => Ok(()),
        }
    }

    fn handle(&mut self, news: &News) -> Handled {
        self.seen += 1;
        match news {
            News::Plain(number) => self.log(number),
            News::Panic(name) if *name == self.name => panic!("{name} panics"),
            News::Leave(name) if *name == self.name => return Handled::Remove,
            News::Panic(_) | News::Leave(_) => self.log("undisturbed"),
        }
        Handled::Keep
    }

    fn request(&mut self, request: Ask) -> Handled {
        match request {
            Ask::Seen(reply) => reply.send(self.seen),
            Ask::Panic(reply) => {
                let _reply = reply;
                panic!("asked to");
            }
            Ask::Keep(reply) => drop(reply),
        }
        Handled::Keep
    }

    fn event(&mut self, event: &Event) -> Handled {
        if let Event::Exit(exit) = event {
            self.log(format_args!("exit {}", exit.reason));
        }
        Handled::Keep
    }

    fn terminate(&mut self, why: &Removed) {
        assert_ne!(self.name, "bad end");
        self.log(match why {
            Removed::Asked => "asked",
            Removed::Itself => "itself",
            Removed::Swapped { .. } => "swapped",
            Removed::OwnerEnded(_) => "owner ended",
            Removed::ManagerStops(_) => "manager stops",
            _ => "?",
        });
    }
}

fn told(_: HandlerId, why: Removed) -> String {
    match why {
        Removed::Crashed(reason) => format!("told: crashed: {}", reason.panic().expect("a panic").message),
        Removed::Swapped { .. } => "told: swapped".to_owned(),
        other => format!("told: {other:?}"),
    }
}

#[test]
fn all_handlers_get_all_events_in_the_order_in_which_they_were_added() {
    everywhere(|mailbox| {
        let manager = EventManager::start_link().unwrap();
        for name in ["a", "b", "c"] {
            manager.add_handler(Teller::new(name, mailbox)).unwrap();
        }
        manager.notify(News::Plain(1));
        manager.notify(News::Plain(2));
        for expected in ["a 1", "b 1", "c 1", "a 2", "b 2", "c 2"] {
            assert_eq!(mailbox.message(), expected);
        }
    });
}

#[test]
fn sync_notify_returns_when_all_have_handled_it() {
    everywhere(|mailbox: &mut Mailbox<u32>| {
        let manager = EventManager::start_link().unwrap();
        let log = mailbox.address();
        let slow = move |number: &u32| {
            sleep(Duration::from_millis(5));
            log.send(*number);
        };
        manager.add_handler(slow).unwrap();
        manager.sync_notify(7).unwrap();
        assert_eq!(mailbox.try_receive().and_then(engset_runtime::Received::message), Some(7));
    });
}

#[test]
fn a_handler_that_panics_is_removed_and_the_others_are_undisturbed() {
    everywhere(|mailbox| {
        let manager = EventManager::start_link().unwrap();
        for name in ["a", "b", "c"] {
            manager.add_handler(Teller::new(name, mailbox)).unwrap();
        }
        manager.sync_notify(News::Panic("b")).unwrap();
        manager.sync_notify(News::Plain(1)).unwrap();
        for expected in ["a undisturbed", "c undisturbed", "a 1", "c 1"] {
            assert_eq!(mailbox.message(), expected);
        }
        assert_eq!(manager.which_handlers().unwrap().len(), 2);
        assert_eq!(Node::current().unwrap().crashes(), 0, "no process has crashed");
        nothing_more(mailbox);
    });
}

#[test]
fn a_handler_removes_itself_and_is_terminated() {
    everywhere(|mailbox| {
        let manager = EventManager::start_link().unwrap();
        let a = manager.add_handler(Teller::new("a", mailbox)).unwrap();
        manager.sync_notify(News::Leave("a")).unwrap();
        assert_eq!(mailbox.message(), "a itself");
        assert!(manager.which_handlers().unwrap().is_empty());
        assert!(manager.remove_handler(a).unwrap().is_none());
        assert_eq!(manager.call(a, Ask::Seen), Err(CallError::NoReply));
    });
}

#[test]
fn a_handler_that_refuses_or_panics_in_init_is_not_added() {
    everywhere(|mailbox| {
        let manager = EventManager::start_link().unwrap();
        let refused = manager.add_handler(Teller::new("refuses", mailbox));
        assert_eq!(refused.unwrap_err(), AddHandlerError::Refused(ExitReason::error("not today")));
        let panicked = manager.add_handler(Teller::new("panics", mailbox));
        assert!(matches!(panicked, Err(AddHandlerError::Refused(ExitReason::Panic(_)))));
        assert!(manager.which_handlers().unwrap().is_empty());
    });
}

#[test]
fn one_handler_can_be_asked() {
    everywhere(|mailbox| {
        let manager = EventManager::start_link().unwrap();
        let a = manager.add_handler(Teller::new("a", mailbox)).unwrap();
        let b = manager.add_handler(Teller::new("b", mailbox)).unwrap();
        manager.sync_notify(News::Plain(1)).unwrap();
        assert_eq!(manager.call(a, Ask::Seen), Ok(1));
        assert_eq!(manager.call(a, Ask::Keep), Err(CallError::NoReply));
        assert_eq!(manager.call(a, Ask::Panic), Err(CallError::NoReply), "it is gone, the manager is not");
        assert_eq!(manager.call(a, Ask::Seen), Err(CallError::NoReply));
        assert_eq!(manager.call(b, Ask::Seen), Ok(1));
    });
}

#[test]
fn remove_handler_brings_the_handler_back() {
    everywhere(|mailbox| {
        let manager = EventManager::start_link().unwrap();
        let a = manager.add_handler(Teller::new("a", mailbox)).unwrap();
        manager.notify(News::Plain(5));
        assert_eq!(manager.remove_handler(a).unwrap().unwrap().seen, 1);
        assert_eq!((mailbox.message(), mailbox.message()), ("a 5".to_owned(), "a asked".to_owned()));
        let bad = manager.add_handler(Teller::new("bad end", mailbox)).unwrap();
        assert!(manager.remove_handler(bad).unwrap().is_none(), "it panicked in terminate");
        assert!(is_alive(manager.pid()));
    });
}

#[test]
fn the_owner_is_told_once_why_its_handler_is_gone() {
    everywhere(|mailbox| {
        let manager = EventManager::start().unwrap();
        let supervised =
            |name| manager.add_sup_handler(Teller::new(name, mailbox), mailbox.address(), told).unwrap();
        let (_, _, c) = (supervised("a"), supervised("b"), supervised("c"));
        supervised("bad end");
        assert!(process_info(manager.pid()).unwrap().links.contains(&mailbox.address().pid()));
        manager.sync_notify(News::Panic("a")).unwrap();
        manager.sync_notify(News::Leave("b")).unwrap();
        manager.remove_handler(c).unwrap();
        manager.sync_notify(News::Leave("bad end")).unwrap();
        let mut seen: Vec<_> = (0..11).map(|_| mailbox.message()).collect();
        seen.retain(|text| !text.ends_with("undisturbed"));
        assert_eq!(
            seen,
            [
                "told: crashed: a panics",
                "b itself",
                "told: Itself",
                "c asked",
                "told: Asked",
                "told: crashed: assertion `left != right` failed\n  left: \"bad end\"\n right: \"bad end\""
            ]
        );
        eventually("the link goes with the last handler", || {
            process_info(manager.pid()).unwrap().links.is_empty()
        });
        nothing_more(mailbox);
    });
}

#[test]
fn a_supervised_handler_goes_with_its_owner_and_the_others_stay() {
    everywhere(|mailbox| {
        let manager = EventManager::start().unwrap();
        manager.add_handler(Teller::new("free", mailbox)).unwrap();
        let log = mailbox.address();
        let owner = spawn(move |mut mailbox: Mailbox<String>| {
            let handler = Teller { name: "owned", log, seen: 0 };
            manager.add_sup_handler(handler, mailbox.address(), told).unwrap();
            log.send("added".to_owned());
            mailbox.message();
            exit_self(ExitReason::error("enough"));
        });
        assert_eq!(mailbox.message(), "added");
        owner.send("end".to_owned());
        assert_eq!(mailbox.message(), "owned owner ended");
        manager.sync_notify(News::Plain(1)).unwrap();
        assert_eq!(mailbox.message(), "free 1");
        nothing_more(mailbox);
    });
}

#[test]
fn an_owner_that_is_dead_already_owns_nothing() {
    everywhere(|mailbox| {
        let manager = EventManager::start().unwrap();
        let dead = spawn(|_: Mailbox<String>| ());
        wait_dead(dead.pid());
        manager.add_sup_handler(Teller::new("orphan", mailbox), dead, told).unwrap();
        assert_eq!(mailbox.message(), "orphan owner ended");
        assert!(manager.which_handlers().unwrap().is_empty());
    });
}

#[test]
fn the_parent_can_be_an_owner_and_stays_linked() {
    everywhere(|mailbox| {
        trap_exits(true);
        let manager = EventManager::start_link().unwrap();
        let handler = Teller::new("a", mailbox);
        let handler = manager.add_sup_handler(handler, mailbox.address(), told).unwrap();
        manager.remove_handler(handler).unwrap();
        assert_eq!((mailbox.message(), mailbox.message()), ("a asked".to_owned(), "told: Asked".to_owned()));
        kill(manager.pid());
        assert!(matches!(event(mailbox), Event::Exit(exit) if exit.from == manager.pid()));
    });
}

#[test]
fn a_swap_makes_the_new_handler_from_the_old_one_in_its_place() {
    everywhere(|mailbox| {
        let manager = EventManager::start().unwrap();
        let log = mailbox.address();
        let old = manager.add_sup_handler(Teller::new("old", mailbox), log, told).unwrap();
        manager.add_handler(Teller::new("second", mailbox)).unwrap();
        manager.notify(News::Plain(1));
        let make = |old: Option<Teller>| {
            let old = old.expect("it was there");
            Teller { name: "new", ..old }
        };
        let new = manager.swap_handler(old, make).unwrap();
        assert_eq!(manager.call(new, Ask::Seen), Ok(1), "the state is the old one's");
        manager.sync_notify(News::Plain(2)).unwrap();
        for expected in ["old 1", "second 1", "old swapped", "told: swapped", "new 2", "second 2"] {
            assert_eq!(mailbox.message(), expected);
        }
        let info = manager.which_handlers().unwrap();
        assert_eq!(info[0].id, new.id());
        assert_eq!(info[0].owner, Some(log.pid()), "the owner stays");
        assert!(info[0].name.ends_with("Teller"));
        // The old one is gone: the new one is made all the same.
        let newer = manager
            .swap_sup_handler(
                old,
                move |gone| Teller { name: if gone.is_none() { "newer" } else { "?" }, log, seen: 0 },
                log,
                told,
            )
            .unwrap();
        manager.sync_notify(News::Leave("newer")).unwrap();
        for expected in ["new undisturbed", "second undisturbed", "newer itself", "told: Itself"] {
            assert_eq!(mailbox.message(), expected);
        }
        assert!(!manager.which_handlers().unwrap().iter().any(|handler| handler.id == newer.id()));
    });
}

#[test]
fn a_swap_that_panics_leaves_neither() {
    everywhere(|mailbox| {
        let manager = EventManager::start_link().unwrap();
        let old = manager.add_handler(Teller::new("old", mailbox)).unwrap();
        let swapped = manager.swap_handler(old, |_: Option<Teller>| -> Teller { panic!("in make") });
        assert!(matches!(swapped, Err(AddHandlerError::Refused(ExitReason::Panic(_)))));
        assert!(manager.which_handlers().unwrap().is_empty());
        assert!(is_alive(manager.pid()));
    });
}

#[test]
fn handlers_get_what_the_runtime_has_to_tell() {
    everywhere(|mailbox| {
        let manager = EventManager::start().unwrap();
        manager.add_handler(Teller::new("a", mailbox)).unwrap();
        manager.add_handler(Teller::new("b", mailbox)).unwrap();
        exit(manager.pid(), ExitReason::error("a word"));
        assert_eq!(mailbox.message(), "a exit error: a word");
        assert_eq!(mailbox.message(), "b exit error: a word");
    });
}

#[test]
fn the_managers_end_terminates_all_handlers() {
    everywhere(|mailbox| {
        let log = mailbox.address();
        spawn(move || {
            let manager = EventManager::start_link().unwrap();
            for name in ["a", "bad end", "b"] {
                manager.add_handler(Teller { name, log, seen: 0 }).unwrap();
            }
        });
        assert_eq!(mailbox.message(), "a manager stops");
        assert_eq!(mailbox.message(), "b manager stops");
    });
}

#[test]
fn a_kill_while_a_handler_waits_is_no_panic_of_the_handler() {
    everywhere(|mailbox| {
        let manager = EventManager::start().unwrap();
        let log = mailbox.address();
        let waits = move |(): &()| {
            log.send("waits".to_owned());
            sleep(Duration::MAX);
        };
        manager.add_sup_handler(waits, log, told).unwrap();
        trap_exits(true);
        manager.notify(());
        assert_eq!(mailbox.message(), "waits");
        kill(manager.pid());
        assert!(matches!(event(mailbox), Event::Exit(exit) if exit.reason == ExitReason::Killed));
        nothing_more(mailbox);
    });
}

#[test]
fn a_manager_has_a_name_and_is_a_child_and_holds_no_stack() {
    everywhere::<()>(|_| {
        let child = ChildSpec::server("events", || EventManager::<u32>::options().name("events"));
        spawn_link(move || {
            Supervisor::one_for_one().child(child.clone()).start_link().unwrap();
            sleep(Duration::MAX);
        });
        eventually("it is there", || EventManager::<u32>::named("events").is_ok());
        let first = EventManager::<u32>::named("events").unwrap();
        assert!(EventManager::<String>::named("events").is_err());
        first.sync_notify(1).unwrap();
        eventually("its callback returns", || !process_info(first.pid()).unwrap().has_stack);
        kill(first.pid());
        eventually("it is there again", || {
            EventManager::<u32>::named("events").is_ok_and(|second| second.pid() != first.pid())
        });
    });
}

#[test]
fn outside_of_a_process_nothing_starts() {
    assert_eq!(EventManager::<()>::start().unwrap_err(), StartError::OutsideOfProcess);
}
