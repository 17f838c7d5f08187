//! The rows S1 to S14.

use crate::stage::{LONG, Note, QUIET, Stage, name, show};
use engset::{
    Builder, Event, ExitReason, Limit, Mailbox, NameError, Overflow, Pid, Priority, Received, demonitor,
    exit, exit_self, is_alive, kill, link, monitor, reduce, self_pid, sleep, spawn, start_timer, trap_exits,
    unlink, yield_now,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

const MS: Duration = Duration::from_millis(1);

fn boom() -> ExitReason {
    ExitReason::error("boom")
}

/// Numbers and then the end.
pub(crate) fn s1(stage: &mut Stage) {
    for (how, reason) in [("down", ExitReason::Normal), ("exit", boom())] {
        trap_exits(how == "exit");
        let partner = stage.partner(move |mut mailbox, tester| {
            mailbox.message();
            (0..200).for_each(|number| tester.send(Note::Number(number)));
            exit_self(reason);
        });
        if how == "exit" {
            link(partner);
        } else {
            monitor(partner);
        }
        partner.send(Note::Number(0));
        let mut expected = 0;
        let end = loop {
            match stage.mailbox.receive_timeout(LONG) {
                Some(Received::Message(Note::Number(number))) if number == expected => expected += 1,
                Some(other) => break show(&other),
                None => break "silence".to_owned(),
            }
        };
        stage.line(format!("{expected} in order, then {end}"));
    }
    trap_exits(false);
}

pub(crate) fn s2(stage: &mut Stage) {
    // It never receives.
    let deaf = stage.sleeper();
    let reference = monitor(deaf);
    exit(deaf, boom());
    let end = stage.down(reference);
    stage.line(format!("deaf: {end}"));
}

/// It computes for ever, so that on another node of a simulation no time would pass.
pub(crate) fn s2_busy(stage: &mut Stage) {
    let tester = stage.me();
    let busy = spawn(move || {
        tester.send(Note::Text("busy".to_owned()));
        loop {
            reduce(1);
        }
    });
    let text = stage.next();
    let reference = monitor(busy);
    kill(busy);
    let end = stage.down(reference);
    stage.line(format!("{text}: {end}"));
}

/// Names are local, so is this.
pub(crate) fn s2_names(stage: &mut Stage) {
    let holder = spawn(|mut mailbox: Mailbox<Note>| {
        engset::register("conformance.holder").expect("it is free");
        if let Note::Ask(reply) = mailbox.message() {
            reply.send(1);
        }
        mailbox.message();
    });
    holder.call(Note::Ask).expect("it answers");
    let reference = monitor(holder);
    exit(holder, boom());
    let end = stage.down(reference);
    let free = engset::whereis("conformance.holder").is_none();
    let mine = engset::register("conformance.holder").is_ok();
    stage.line(format!("{end}, the name is free: {free}, and taken: {mine}"));
    engset::unregister("conformance.holder").expect("it is mine");
}

pub(crate) fn s3(stage: &mut Stage) {
    use ExitReason::{Kill, Normal, Shutdown};
    for origin in ["link", "exit", "self"] {
        for traps in [false, true] {
            for reason in [Normal, Shutdown, Kill, boom()] {
                let outcome = outcome(stage, origin, traps, reason.clone());
                let traps = if traps { "traps" } else { "does not trap" };
                stage.line(format!("{origin} {}, it {traps}: {outcome}", name(&reason)));
            }
        }
    }
}

fn outcome(stage: &mut Stage, origin: &'static str, traps: bool, reason: ExitReason) -> String {
    let own = reason.clone();
    let partner = stage.partner(move |mut mailbox, tester| {
        trap_exits(traps);
        tester.send(Note::Pid(self_pid()));
        if origin == "self" {
            // The monitor is there.
            mailbox.message();
            exit(self_pid(), own);
            // It traps, so it lives.
            mailbox.address().send(Note::Text("mark".to_owned()));
        }
        // From `exit` the mark follows the signal; from a link it comes from another process.
        let outcome = loop {
            match mailbox.receive() {
                Received::Event(Event::Exit(exit)) => break format!("message {}", name(&exit.reason)),
                Received::Message(Note::Text(_)) => break "dropped".to_owned(),
                _ => {}
            }
        };
        tester.send(Note::Text(outcome));
        mailbox.message();
    });
    let reference = monitor(partner);
    let Some(Received::Message(Note::Pid(pid))) = stage.mailbox.receive_timeout(LONG) else {
        return stage.next();
    };
    let mark = || partner.send(Note::Text("mark".to_owned()));
    match origin {
        "exit" => {
            exit(partner, reason);
            mark();
        }
        "link" => {
            // It sends the mark after its last will has been carried out: the one who is linked sends both.
            let is_dropped = reason.is_normal() && !traps;
            let tester = stage.me();
            spawn(move || {
                link(pid);
                // The answer to a question means that the link is there.
                let _ = is_alive(pid);
                if is_dropped {
                    tester.send(Note::Number(0));
                }
                exit_self(reason);
            });
            if is_dropped {
                stage.mailbox.message();
                sleep(QUIET);
                mark();
            }
        }
        _ => mark(),
    }
    let outcome = match stage.mailbox.receive_timeout(LONG) {
        Some(Received::Message(Note::Text(text))) => text,
        Some(Received::Event(Event::Down(down))) => {
            return format!("ends {}", name(&down.reason.as_exit()));
        }
        other => return format!("{other:?}"),
    };
    demonitor(reference, true);
    kill(partner);
    outcome
}

pub(crate) fn s4(stage: &mut Stage) {
    trap_exits(true);
    let twice = stage.sleeper();
    link(twice);
    link(twice);
    exit(twice, boom());
    let seen = stage.drain();
    stage.line(format!("linked twice: {seen}"));
    let dead = stage.dead();
    link(dead);
    let seen = stage.drain();
    stage.line(format!("linked to the dead: {seen}"));
    let free = stage.sleeper();
    link(free);
    unlink(free);
    exit(free, boom());
    let seen = stage.drain();
    stage.line(format!("unlinked: {seen}"));
    let again = stage.sleeper();
    link(again);
    unlink(again);
    link(again);
    exit(again, boom());
    let seen = stage.drain();
    stage.line(format!("unlinked and linked again: {seen}"));
    trap_exits(false);
}

/// A request to link that crosses an unlink must not leave half of a link: it would make the next `link` do nothing.
pub(crate) fn s4_crossing(stage: &mut Stage) {
    trap_exits(true);
    let mut agreed = 0;
    for round in 0..12_u32 {
        let partner = stage.partner(|mut mailbox, tester| {
            tester.send(Note::Pid(self_pid()));
            sleep(4 * MS);
            link(tester);
            mailbox.message();
        });
        stage.next();
        // Between nodes signals take up to 5 ms: in some rounds they cross.
        sleep(round * MS / 2);
        link(partner);
        unlink(partner);
        sleep(QUIET);
        let here = engset::process_info(self_pid()).is_some_and(|info| info.links.contains(&partner.pid()));
        let there = engset::process_info(partner).is_some_and(|info| info.links.contains(&self_pid()));
        agreed += u32::from(here == there);
        kill(partner);
        stage.drain();
    }
    stage.line(format!("agreed in {agreed} of 12 rounds"));
    trap_exits(false);
}

pub(crate) fn s5(stage: &mut Stage) {
    let dead = stage.dead();
    monitor(dead);
    let seen = stage.drain();
    stage.line(format!("of the dead: {seen}"));
    let target = stage.sleeper();
    monitor(target);
    monitor(target);
    exit(target, boom());
    let seen = stage.drain();
    stage.line(format!("two of one: {seen}"));
    for (when, flush) in [("late, with flush", true), ("late, without", false)] {
        let target = stage.sleeper();
        let first = monitor(target);
        let second = monitor(target);
        kill(target);
        stage.down(second);
        demonitor(first, flush);
        let seen = stage.drain();
        stage.line(format!("{when}: {seen}"));
    }
    let target = stage.sleeper();
    let reference = monitor(target);
    demonitor(reference, false);
    kill(target);
    let seen = stage.drain();
    stage.line(format!("early: {seen}"));
}

pub(crate) fn s6(stage: &mut Stage) {
    let dead = stage.dead();
    dead.send(Note::Number(1));
    let seen = stage.drain();
    stage.line(format!("to the dead: {seen}"));
    engset::register("conformance.s6").expect("it is free");
    let tester = stage.me();
    spawn(move || {
        let conflict = match engset::register("conformance.s6") {
            Err(NameError::Taken { .. }) => "refused",
            Ok(()) => "taken twice",
            Err(_) => "another error",
        };
        tester.send(Note::Text(conflict.to_owned()));
    });
    let conflict = stage.next();
    stage.line(format!("a name that is taken: {conflict}"));
    engset::unregister("conformance.s6").expect("it is mine");
}

pub(crate) fn s7(stage: &mut Stage) {
    let server = stage.partner(|mut mailbox, _| {
        if let Note::Ask(reply) = mailbox.message() {
            reply.send(42);
        }
        let late = mailbox.message();
        mailbox.message();
        if let Note::Ask(reply) = late {
            reply.send(7);
        }
        let _unanswered = mailbox.message();
        exit_self(boom());
    });
    let answer = server.call(Note::Ask);
    stage.line(format!("an answer: {answer:?}"));
    let late = server.call_timeout(Note::Ask, 20 * MS);
    stage.line(match late {
        Err(engset::CallError::Timeout(_)) => "none in time: timeout".to_owned(),
        other => format!("none in time: {other:?}"),
    });
    server.send(Note::Number(0));
    let seen = stage.drain();
    stage.line(format!("a late answer: {seen}"));
    let died = server.call(Note::Ask);
    stage.line(match died {
        Err(engset::CallError::Down(reason)) => format!("it dies: {}", name(&reason.as_exit())),
        other => format!("it dies: {other:?}"),
    });
    let died = server.call(Note::Ask);
    stage.line(match died {
        Err(engset::CallError::Down(reason)) => format!("it is dead: {}", name(&reason.as_exit())),
        other => format!("it is dead: {other:?}"),
    });
}

pub(crate) fn s8(stage: &mut Stage) {
    let partner = stage.partner(|mut mailbox, tester| {
        for text in ["a1", "b1", "a2", "b2"] {
            tester.send(Note::Text(text.to_owned()));
        }
        tester.send(Note::Number(0));
        mailbox.message();
    });
    let mut wanted = Vec::new();
    for _ in 0..2 {
        let is_b = |item: engset::Item<'_, Note>| matches!(item, engset::Item::Message(Note::Text(text)) if text.starts_with('b'));
        wanted.push(show(&stage.mailbox.select(is_b)));
    }
    stage.line(format!("the wanted: {}", wanted.join(" ")));
    let rest: Vec<_> = (0..3).map(|_| stage.next()).collect();
    stage.line(format!("the rest: {}", rest.join(" ")));
    kill(partner);
}

pub(crate) fn s9(stage: &mut Stage) {
    let tester = stage.me();
    let starter = Builder::new().priority(Priority::Max).spawn(move || {
        for (priority, text) in
            [(Priority::Normal, "normal"), (Priority::High, "high"), (Priority::Max, "max")]
        {
            let reporter = Builder::new().priority(priority).spawn(move || {
                for _ in 0..2 {
                    tester.send(Note::Text(text.to_owned()));
                    yield_now();
                }
            });
            reporter.expect("a process");
        }
    });
    starter.expect("a process");
    let seen: Vec<_> = (0..6).map(|_| stage.next()).collect();
    stage.line(seen.join(" "));
}

pub(crate) fn s10(stage: &mut Stage) {
    let flag = Arc::new(AtomicBool::new(false));
    let (set, tester) = (Arc::clone(&flag), stage.me());
    let hog = spawn(move || {
        // It never waits, and ends only when the other one has run.
        while !flag.load(SeqCst) {
            reduce(1);
        }
        tester.send(Note::Text("the loop was interrupted".to_owned()));
    });
    spawn(move || set.store(true, SeqCst));
    let seen = stage.next();
    stage.line(seen);
    let alive = is_ended(stage, hog);
    stage.line(format!("alive when it has ended: {alive}"));
}

fn is_ended(stage: &mut Stage, pid: Pid) -> bool {
    let reference = monitor(pid);
    stage.down(reference);
    is_alive(pid)
}

pub(crate) fn s11(stage: &mut Stage) {
    struct Mark(Arc<AtomicBool>);
    impl Drop for Mark {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    let dropped = Arc::new(AtomicBool::new(false));
    let mark = Mark(Arc::clone(&dropped));
    let victim = stage.partner(move |_, tester| {
        let _mark = mark;
        tester.send(Note::Text("waits".to_owned()));
        sleep(Duration::MAX);
    });
    stage.next();
    let reference = monitor(victim);
    kill(victim);
    let end = stage.down(reference);
    stage.line(format!("{end}, its destructors have run: {}", dropped.load(SeqCst)));
}

pub(crate) fn s12(stage: &mut Stage) {
    let crasher = stage.partner(|mut mailbox, _| {
        mailbox.message();
        panic!("broken");
    });
    let reference = monitor(crasher);
    crasher.send(Note::Number(0));
    let end = stage.down(reference);
    stage.line(end);
}

pub(crate) fn s13(stage: &mut Stage) {
    let start = engset::now();
    let me = stage.me();
    for after in [300_u32, 100, 200] {
        engset::send_at(start + after * MS, me, Note::Number(after));
    }
    let order: Vec<_> = (0..3).map(|_| stage.next()).collect();
    stage.line(format!("by deadline: {}", order.join(" ")));
    stage.line(format!("early: {}", engset::now() - start < 300 * MS));
    let (timer, _) = start_timer(Duration::from_secs(1000));
    stage.line(format!("cancelled: {}", if timer.cancel().is_some() { "time left" } else { "fired" }));
    stage.line(format!("again: {}", if timer.cancel().is_some() { "time left" } else { "gone" }));
    let timer = engset::send_after(MS, me, Note::Text("fired".to_owned()));
    let text = stage.next();
    stage.line(text);
    stage.line(format!("too late: {}", if timer.cancel().is_some() { "time left" } else { "gone" }));
    let dead = stage.dead();
    engset::send_after(MS, dead, Note::Number(1));
    let seen = stage.drain();
    stage.line(format!("to the dead: {seen}"));
}

pub(crate) fn s14(stage: &mut Stage) {
    for (policy, overflow, count) in [
        ("drop newest", Overflow::DropNewest, 3),
        ("drop oldest", Overflow::DropOldest, 3),
        ("kill", Overflow::KillReceiver, 5),
        ("block", Overflow::Block, 5),
    ] {
        let tester = stage.me();
        let open = Arc::new(AtomicBool::new(false));
        let gate = Arc::clone(&open);
        let slow = Builder::new().mailbox(Limit::messages(3).overflow(overflow)).spawn(
            move |mut mailbox: Mailbox<Note>| {
                while !gate.load(SeqCst) {
                    sleep(MS);
                }
                (0..count).for_each(|_| tester.send(mailbox.message()));
                while let Some(Received::Message(note)) = mailbox.try_receive() {
                    tester.send(note);
                }
            },
        );
        let slow = slow.expect("a process");
        let reference = monitor(slow);
        let sender = spawn(move || (1..=5).for_each(|number| slow.send(Note::Number(number))));
        let sent = monitor(sender);
        if policy != "block" {
            stage.down(sent);
        }
        open.store(true, SeqCst);
        if policy == "block" {
            stage.down(sent);
        }
        let end = stage.down(reference);
        let seen = stage.drain();
        stage.line(format!("{policy}: {seen}; {end}"));
    }
}
