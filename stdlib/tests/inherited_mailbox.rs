//! Children that keep their mailbox when they crash (semantics row B7).

mod support;

use engset_runtime::{
    Address, CallError, DownReason, Event, ExitReason, Limit, Mailbox, Overflow, Pid, Reply, exit, kill,
    lookup, monitor, now, whereis,
};
use engset_stdlib::{
    Backoff, ChildSpec, ChildState, Context, Decision, DynamicSupervisor, GenServer, InheritedMailbox, Next,
    Restart, Supervisor,
    sys::{self, SysError},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use support::{down_of, eventually, everywhere, nothing_more, wait_dead};

const SECOND: Duration = Duration::from_secs(1);

/// Tells of its starts, and of what it has dealt with since.
#[derive(Clone, Debug)]
struct Ledger {
    log: Address<Note>,
    entries: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Note {
    Started(Pid),
    Entry(u32),
    Dropped(usize),
}
use Note::{Dropped, Entry, Started};

enum Request {
    Put(u32),
    Crash(&'static str),
    Stop,
    Entries(Reply<Vec<u32>>),
    CrashOver(Reply<()>),
}

impl GenServer for Ledger {
    type Message = Request;

    fn init(&mut self, context: &mut Context<Request>) -> Result<Next, ExitReason> {
        self.log.send(Started(context.address().pid()));
        Ok(Next::wait())
    }

    fn handle(&mut self, request: Request, _: &mut Context<Request>) -> Next {
        match request {
            Request::Put(number) => {
                self.entries.push(number);
                self.log.send(Entry(number));
            }
            Request::Crash(why) => panic!("{why}"),
            Request::Stop => return Next::stop_with(ExitReason::error("enough")),
            Request::Entries(reply) => reply.send(self.entries.clone()),
            Request::CrashOver(reply) => {
                let _ = &reply;
                panic!("over a call")
            }
        }
        Next::wait()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if !self.entries.is_empty() {
            self.log.send(Dropped(self.entries.len()));
        }
    }
}

fn ledger(log: Address<Note>) -> InheritedMailbox<engset_stdlib::ServerBuilder<Ledger>> {
    InheritedMailbox::new(move || Ledger { log, entries: Vec::new() }.options().name("ledger"))
}

fn supervised(child: ChildSpec) -> (Supervisor, Address<Request>) {
    let supervisor = Supervisor::one_for_one().intensity(100, SECOND).child(child).start_link().unwrap();
    (supervisor, lookup("ledger").unwrap())
}

#[test]
fn the_address_the_name_and_the_queue_survive_a_crash_and_nobody_is_told_of_a_death() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let (supervisor, ledger) = supervised(ledger(mailbox.address()).child("ledger"));
        let watch = monitor(ledger);
        ledger.send(Request::Put(1));
        ledger.send(Request::Crash("first"));
        (2..50).for_each(|number| ledger.send(Request::Put(number)));
        assert_eq!(mailbox.message(), Started(ledger.pid()));
        assert_eq!(mailbox.message(), Entry(1));
        assert_eq!(mailbox.message(), Dropped(1), "the old state is dropped before the next begins");
        assert_eq!(mailbox.message(), Started(ledger.pid()));
        (2..50).for_each(|number| assert_eq!(mailbox.message(), Entry(number)));
        assert_eq!(whereis("ledger"), Some(ledger.pid()));
        let children = supervisor.which_children().unwrap();
        assert_eq!((children[0].state, children[0].restarts), (ChildState::Running(ledger.pid()), 1));
        assert!(engset_runtime::demonitor(watch, false), "the monitor has not fired");
    });
}

#[test]
fn the_message_in_hand_is_lost_and_its_caller_learns_it_at_once() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let (_, ledger) = supervised(ledger(mailbox.address()).child("ledger"));
        assert_eq!(ledger.call(Request::CrashOver), Err(CallError::NoReply));
        assert_eq!(ledger.call(Request::Entries), Ok(vec![]));
    });
}

/// Fails at a number so often.
#[derive(Clone)]
struct Picky {
    fails: Arc<AtomicU32>,
    log: Address<u32>,
}

impl GenServer for Picky {
    type Message = u32;

    fn handle(&mut self, number: u32, _: &mut Context<u32>) -> Next {
        let left = &self.fails;
        if number == 7
            && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        {
            panic!("not seven");
        }
        self.log.send(number);
        Next::wait()
    }
}

fn picky(log: Address<u32>, fails: u32) -> Address<u32> {
    let fails = Arc::new(AtomicU32::new(fails));
    let make = move || Picky { fails: Arc::clone(&fails), log }.options().name("picky");
    let child = InheritedMailbox::new(make).redeliver().child("picky");
    Supervisor::one_for_one().intensity(100, SECOND).child(child).start_link().unwrap();
    lookup("picky").unwrap()
}

#[test]
fn a_message_is_redelivered_once_before_all_others() {
    everywhere(|mailbox: &mut Mailbox<u32>| {
        let picky = picky(mailbox.address(), 1);
        [6, 7, 8].into_iter().for_each(|number| picky.send(number));
        [6, 7, 8].into_iter().for_each(|number| assert_eq!(mailbox.message(), number));
    });
}

#[test]
fn a_message_that_fails_twice_is_lost() {
    everywhere(|mailbox: &mut Mailbox<u32>| {
        let picky = picky(mailbox.address(), 2);
        [6, 7, 8, 7].into_iter().for_each(|number| picky.send(number));
        [6, 8, 7].into_iter().for_each(|number| assert_eq!(mailbox.message(), number));
    });
}

#[test]
fn resume_keeps_the_state_and_is_not_counted() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let ledger = ledger(mailbox.address()).decide(|failure| {
            assert_eq!(failure.restarts, 0);
            Decision::Resume
        });
        let supervisor = Supervisor::one_for_one()
            .intensity(0, SECOND)
            .child(ledger.child("ledger"))
            .start_link()
            .unwrap();
        let ledger: Address<Request> = lookup("ledger").unwrap();
        ledger.send(Request::Put(1));
        (0..10).for_each(|_| ledger.send(Request::Crash("never mind")));
        ledger.send(Request::Put(2));
        assert_eq!(ledger.call(Request::Entries), Ok(vec![1, 2]));
        assert_eq!(supervisor.which_children().unwrap()[0].restarts, 0);
    });
}

#[test]
fn stop_ends_the_child_for_good_whatever_its_restart_says() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let child =
            ledger(mailbox.address()).decide(|_| Decision::Stop).child("ledger").restart(Restart::Permanent);
        let (supervisor, ledger) = supervised(child);
        monitor(ledger);
        ledger.send(Request::Crash("the last"));
        let reason = down_of(mailbox, ledger.pid());
        assert!(
            matches!(&reason, DownReason::Exited(ExitReason::Panic(panic)) if panic.message == "the last")
        );
        eventually("it rests", || supervisor.which_children().unwrap()[0].state == ChildState::Resting);
        // By hand it can be started: another process.
        let again = supervisor.restart_child("ledger").unwrap();
        assert_ne!(again, ledger.pid());
    });
}

#[test]
fn escalate_ends_the_supervisor_with_the_reason_and_its_supervisor_restarts_all() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let child = ledger(mailbox.address()).decide(|_| Decision::Escalate).child("ledger");
        let inner = Supervisor::one_for_one().intensity(100, SECOND).child(child).name("inner");
        let outer =
            Supervisor::one_for_one().child(ChildSpec::supervisor("inner", inner)).start_link().unwrap();
        let first = outer.which_children().unwrap()[0].pid().unwrap();
        monitor(first);
        let ledger: Address<Request> = lookup("ledger").unwrap();
        ledger.send(Request::Crash("too much"));
        let reason = down_of(mailbox, first);
        assert!(
            matches!(&reason, DownReason::Exited(ExitReason::Panic(panic)) if panic.message == "too much")
        );
        eventually("all is there again", || whereis("ledger").is_some_and(|pid| pid != ledger.pid()));
        assert_eq!(outer.which_children().unwrap()[0].restarts, 1);
    });
}

#[test]
fn restarts_in_place_count_for_the_intensity_and_the_supervisor_gives_up() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let child = ledger(mailbox.address()).child("ledger");
        let supervisor = Supervisor::one_for_one().intensity(3, SECOND).child(child).start().unwrap();
        let ledger: Address<Request> = lookup("ledger").unwrap();
        monitor(supervisor);
        monitor(ledger);
        (0..4).for_each(|_| ledger.send(Request::Crash("again")));
        assert_eq!(down_of(mailbox, supervisor.pid()), DownReason::Exited(ExitReason::Shutdown));
        down_of(mailbox, ledger.pid());
        assert_eq!(whereis("ledger"), None);
    });
}

#[test]
fn with_a_back_off_it_waits_and_keeps_its_mail_and_answers_system_requests() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let backoff = Backoff::new(Duration::from_millis(300), SECOND).random_factor(0.0);
        let (supervisor, ledger) = supervised(ledger(mailbox.address()).child("ledger").backoff(backoff));
        assert_eq!(mailbox.message(), Started(ledger.pid()));
        let before = now();
        ledger.send(Request::Crash("wait"));
        ledger.send(Request::Put(5));
        eventually("it waits", || sys::get_status(ledger).unwrap().waiting);
        let status = sys::get_status(ledger).unwrap();
        // A slow machine may have let the back-off pass.
        assert!(!status.waiting || status.mailbox_len == 1, "{status:?}");
        if status.waiting {
            let state = supervisor.which_children().unwrap()[0].state;
            assert!(matches!(state, ChildState::Restarting | ChildState::Running(_)), "{state:?}");
        }
        assert_eq!(mailbox.message(), Started(ledger.pid()));
        assert!(now() - before >= Duration::from_millis(300));
        assert_eq!(mailbox.message(), Entry(5));
    });
}

#[test]
fn one_that_waits_is_stopped_like_any_other() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let backoff = Backoff::new(Duration::from_secs(600), Duration::from_secs(600));
        let (supervisor, ledger) = supervised(ledger(mailbox.address()).child("ledger").backoff(backoff));
        monitor(ledger);
        ledger.send(Request::Crash("wait"));
        eventually("it waits", || sys::get_status(ledger).unwrap().waiting);
        supervisor.terminate_child("ledger").unwrap();
        assert_eq!(down_of(mailbox, ledger.pid()), DownReason::Exited(ExitReason::Shutdown));
        assert_eq!(supervisor.which_children().unwrap()[0].state, ChildState::Resting);
        supervisor.delete_child("ledger").unwrap();
    });
}

#[test]
fn one_that_waits_and_traps_exits_ends_with_its_supervisor() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let log = mailbox.address();
        let make = move || Ledger { log, entries: Vec::new() }.options().name("ledger").trap_exits();
        let backoff = Backoff::new(Duration::from_secs(600), Duration::from_secs(600));
        let child = InheritedMailbox::new(make).child("ledger").backoff(backoff);
        let supervisor = Supervisor::one_for_one().child(child).start().unwrap();
        let ledger: Address<Request> = lookup("ledger").unwrap();
        monitor(ledger);
        ledger.send(Request::Crash("wait"));
        eventually("it waits", || sys::get_status(ledger).unwrap().waiting);
        exit(supervisor.pid(), ExitReason::Kill);
        assert_eq!(down_of(mailbox, ledger.pid()), DownReason::Exited(ExitReason::Killed));
    });
}

#[test]
fn an_init_that_fails_again_is_tried_again_with_the_mailbox_kept() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        struct Slow(Ledger, u32);
        impl GenServer for Slow {
            type Message = Request;
            fn init(&mut self, context: &mut Context<Request>) -> Result<Next, ExitReason> {
                match self.1 {
                    1 => Err(ExitReason::error("not yet")),
                    2 => panic!("not yet either"),
                    _ => self.0.init(context),
                }
            }
            fn handle(&mut self, request: Request, context: &mut Context<Request>) -> Next {
                self.0.handle(request, context)
            }
        }
        let (log, starts) = (mailbox.address(), AtomicU32::new(0));
        let make = move || {
            let start = starts.fetch_add(1, Ordering::Relaxed);
            assert!(start != 3, "not made");
            Slow(Ledger { log, entries: Vec::new() }, start).options().name("ledger")
        };
        let (supervisor, ledger) = supervised(InheritedMailbox::new(make).child("ledger"));
        assert_eq!(mailbox.message(), Started(ledger.pid()));
        ledger.send(Request::Crash("go"));
        ledger.send(Request::Put(9));
        assert_eq!(mailbox.message(), Started(ledger.pid()));
        assert_eq!(mailbox.message(), Entry(9));
        assert_eq!(supervisor.which_children().unwrap()[0].pid(), Some(ledger.pid()));
    });
}

#[test]
fn an_orderly_or_chosen_end_is_an_end_of_the_process() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let (_, first) = supervised(ledger(mailbox.address()).child("ledger"));
        monitor(first);
        first.send(Request::Stop);
        assert_eq!(down_of(mailbox, first.pid()), DownReason::Exited(ExitReason::error("enough")));
        eventually("a usual restart", || whereis("ledger").is_some_and(|pid| pid != first.pid()));
    });
}

#[test]
fn one_that_is_killed_while_it_waits_is_started_as_another_process() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let backoff = Backoff::new(Duration::from_millis(500), SECOND);
        let (_, first) = supervised(ledger(mailbox.address()).child("ledger").backoff(backoff));
        first.send(Request::Crash("wait"));
        eventually("it waits", || sys::get_status(first).is_ok_and(|status| status.waiting));
        kill(first);
        wait_dead(first.pid());
        eventually("another one", || whereis("ledger").is_some_and(|pid| pid != first.pid()));
    });
}

#[test]
fn under_one_for_all_the_others_are_restarted_and_it_keeps_its_process() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let log = mailbox.address();
        let other =
            ChildSpec::server("other", move || Ledger { log, entries: Vec::new() }.options().name("other"));
        let supervisor = Supervisor::one_for_all()
            .intensity(100, SECOND)
            .child(ledger(log).child("ledger"))
            .child(other)
            .start_link()
            .unwrap();
        let (inheriting, other): (Address<Request>, Address<Request>) =
            (lookup("ledger").unwrap(), lookup("other").unwrap());
        assert_eq!(mailbox.message(), Started(inheriting.pid()));
        assert_eq!(mailbox.message(), Started(other.pid()));
        inheriting.send(Request::Crash("all"));
        inheriting.send(Request::Put(1));
        assert_eq!(mailbox.message(), Started(inheriting.pid()), "in start order");
        // Its mail and the other's start are of two processes: no order between them.
        let mut after = [mailbox.message(), mailbox.message()];
        after.sort_by_key(|note| matches!(note, Started(_)));
        assert_eq!(after[0], Entry(1));
        assert!(matches!(after[1], Started(pid) if pid != other.pid()), "{after:?}");
        // And if the other one crashes, this one is stopped and started as usual.
        let other: Address<Request> = lookup("other").unwrap();
        monitor(inheriting);
        other.send(Request::Crash("the other"));
        assert_eq!(down_of(mailbox, inheriting.pid()), DownReason::Exited(ExitReason::Shutdown));
        eventually("both run", || supervisor.count_children().unwrap().active == 2);
    });
}

#[test]
fn a_dynamic_supervisor_does_the_same() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let supervisor = DynamicSupervisor::builder().intensity(2, SECOND).start().unwrap();
        let decide = |failure: &engset_stdlib::Failure| match failure.reason.panic().unwrap().message.as_str()
        {
            "stop" => Decision::Stop,
            "escalate" => Decision::Escalate,
            _ => Decision::Restart,
        };
        let start = |log| supervisor.start_child(ledger(log).decide(decide).child("ledger")).unwrap();
        let pid = start(mailbox.address());
        let ledger: Address<Request> = lookup("ledger").unwrap();
        ledger.send(Request::Crash("once"));
        ledger.send(Request::Put(1));
        let notes = [mailbox.message(), mailbox.message(), mailbox.message()];
        assert_eq!(notes, [Started(pid), Started(pid), Entry(1)]);
        assert_eq!(supervisor.children().unwrap(), [pid]);
        monitor(pid);
        ledger.send(Request::Crash("stop"));
        down_of(mailbox, pid);
        eventually("it is forgotten", || supervisor.count_children().unwrap().specs == 0);

        let pid = start(mailbox.address());
        monitor(supervisor);
        lookup::<Request>("ledger").unwrap().send(Request::Crash("escalate"));
        let reason = down_of(mailbox, supervisor.pid());
        assert!(
            matches!(&reason, DownReason::Exited(ExitReason::Panic(panic)) if panic.message == "escalate")
        );
        wait_dead(pid);
    });
}

#[test]
fn a_dynamic_supervisor_that_gives_up_stops_the_one_that_waits() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let supervisor = DynamicSupervisor::builder().intensity(1, SECOND).start().unwrap();
        let pid = supervisor.start_child(ledger(mailbox.address()).child("ledger")).unwrap();
        monitor(supervisor);
        monitor(pid);
        let ledger: Address<Request> = lookup("ledger").unwrap();
        (0..2).for_each(|_| ledger.send(Request::Crash("again")));
        assert_eq!(down_of(mailbox, pid), DownReason::Exited(ExitReason::Shutdown));
        assert_eq!(down_of(mailbox, supervisor.pid()), DownReason::Exited(ExitReason::Shutdown));
    });
}

#[test]
fn a_bounded_mailbox_stays_bounded_over_a_restart() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let log = mailbox.address();
        let limit = || Limit::messages(3).overflow(Overflow::DropNewest);
        let make = move || Ledger { log, entries: Vec::new() }.options().name("ledger").mailbox(limit());
        let backoff = Backoff::new(Duration::from_millis(500), SECOND);
        let (_, ledger) = supervised(InheritedMailbox::new(make).child("ledger").backoff(backoff));
        assert_eq!(mailbox.message(), Started(ledger.pid()));
        sys::suspend(ledger).unwrap();
        ledger.send(Request::Crash("go"));
        (0..10).for_each(|number| ledger.send(Request::Put(number)));
        sys::resume(ledger).unwrap();
        assert_eq!(mailbox.message(), Started(ledger.pid()));
        assert_eq!([mailbox.message(), mailbox.message()], [Entry(0), Entry(1)]);
        nothing_more(mailbox);
    });
}

#[test]
fn a_decider_that_panics_ends_the_process_with_that() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let child = ledger(mailbox.address()).decide(|_| panic!("cannot decide")).child("ledger");
        let (_, first) = supervised(child);
        monitor(first);
        first.send(Request::Crash("go"));
        let reason = down_of(mailbox, first.pid());
        assert!(
            matches!(&reason, DownReason::Exited(ExitReason::Panic(panic)) if panic.message == "cannot decide")
        );
        eventually("a usual restart", || whereis("ledger").is_some_and(|pid| pid != first.pid()));
    });
}

#[test]
fn one_that_waits_can_be_looked_at_and_a_suspended_one_begins_again_suspended() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let backoff = Backoff::new(Duration::from_secs(30), Duration::from_secs(30)).random_factor(0.0);
        let (_, ledger) = supervised(ledger(mailbox.address()).child("ledger").backoff(backoff));
        ledger.send(Request::Put(1));
        ledger.send(Request::Crash("wait"));
        eventually("it waits", || sys::get_status(ledger).unwrap().waiting);
        let entries = sys::with_state(ledger, |ledger: &mut Ledger| ledger.entries.clone());
        assert_eq!(entries, Ok(vec![1]), "what is left of the one that has failed");
        assert!(matches!(sys::get_state::<u8>(ledger), Err(SysError::WrongType { .. })));
    });
    support::systematic(|mailbox: &mut Mailbox<Note>| {
        let backoff = Backoff::new(Duration::from_secs(30), Duration::from_secs(30)).random_factor(0.0);
        let (_, ledger) = supervised(ledger(mailbox.address()).child("ledger").backoff(backoff));
        assert_eq!(mailbox.message(), Started(ledger.pid()));
        ledger.send(Request::Crash("wait"));
        eventually("it waits", || sys::get_status(ledger).unwrap().waiting);
        sys::suspend(ledger).unwrap();
        ledger.send(Request::Put(1));
        assert_eq!(mailbox.message(), Started(ledger.pid()));
        nothing_more(mailbox);
        sys::resume(ledger).unwrap();
        assert_eq!(mailbox.message(), Entry(1));
    });
}

#[test]
fn timers_and_monitors_of_the_process_stay() {
    everywhere(|mailbox: &mut Mailbox<&'static str>| {
        struct Watcher(Address<&'static str>);
        impl GenServer for Watcher {
            type Message = Option<Pid>;
            fn handle(&mut self, pid: Option<Pid>, _: &mut Context<Option<Pid>>) -> Next {
                match pid {
                    Some(pid) => drop(monitor(pid)),
                    None => panic!("crash"),
                }
                Next::wait()
            }
            fn event(&mut self, event: Event, _: &mut Context<Option<Pid>>) -> Next {
                self.0.send(if matches!(event, Event::Down(_)) { "down" } else { "else" });
                Next::wait()
            }
        }
        let log = mailbox.address();
        let child = InheritedMailbox::new(move || Watcher(log).options().name("watcher")).child("watcher");
        Supervisor::one_for_one().intensity(100, SECOND).child(child).start_link().unwrap();
        let watcher: Address<Option<Pid>> = lookup("watcher").unwrap();
        let watched = engset_runtime::spawn(|| engset_runtime::sleep(Duration::from_secs(3600)));
        watcher.send(Some(watched));
        watcher.send(None);
        eventually("it has crashed", || sys::get_status(watcher).unwrap().mailbox_len == 0);
        kill(watched);
        assert_eq!(mailbox.message(), "down");
    });
}
