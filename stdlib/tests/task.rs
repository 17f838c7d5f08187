//! Tasks: results, crashes, giving up, streams.

mod support;

use engset_runtime::{
    DownReason, Event, ExitReason, Mailbox, exit_self, is_alive, kill, now, processes, self_pid, sleep,
    spawn, spawn_monitor, trap_exits,
};
use engset_stdlib::{ChildError, Supervisor, Task, TaskError, TaskStream, TaskSupervisor};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use support::{down_of, event, eventually, everywhere, nothing_more, wait_dead};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::MAX;

#[test]
fn join_brings_the_result_whether_the_task_is_done_or_not() {
    everywhere::<()>(|mailbox| {
        let slow = Task::spawn(|| {
            sleep(SECOND / 50);
            1
        });
        let fast = Task::spawn(|| 2);
        assert_eq!(slow.join(), Ok(1));
        assert_eq!(fast.join(), Ok(2));
        nothing_more(mailbox);
    });
}

#[test]
fn a_linked_task_that_crashes_takes_its_owner_with_it() {
    everywhere::<()>(|mailbox| {
        let (owner, _) = spawn_monitor(|| {
            let _task = Task::spawn(|| -> () { exit_self(ExitReason::error("crash")) });
            sleep(LONG);
        });
        assert_eq!(down_of(mailbox, owner), DownReason::Exited(ExitReason::error("crash")));
    });
}

#[test]
fn an_owner_that_traps_exits_gets_the_signal_and_the_reason_from_join() {
    everywhere::<()>(|mailbox| {
        trap_exits(true);
        let task = Task::spawn(|| -> () { exit_self(ExitReason::error("crash")) });
        let pid = task.pid();
        let Event::Exit(exit) = event(mailbox) else { panic!("another event") };
        assert_eq!((exit.from, exit.reason), (pid, ExitReason::error("crash")));
        assert_eq!(task.join(), Err(TaskError::Exited(ExitReason::error("crash"))));
    });
}

#[test]
fn the_crash_of_an_unlinked_task_is_an_error_of_join_even_long_after() {
    everywhere::<()>(|mailbox| {
        let task = Task::spawn_unlinked(|| -> () { panic!("in the task") });
        sleep(SECOND / 50);
        let Err(TaskError::Exited(reason)) = task.join() else { panic!("it has a result") };
        assert_eq!(reason.panic().unwrap().message, "in the task");
        nothing_more(mailbox);
    });
}

#[test]
fn a_task_ends_with_its_owner_if_it_is_linked() {
    everywhere(|mailbox| {
        let log = mailbox.address();
        let owner = spawn(move || {
            let _task = Task::spawn(move || {
                log.send(self_pid());
                sleep(LONG);
            });
            sleep(LONG);
        });
        let worker = mailbox.message();
        kill(owner);
        wait_dead(worker);
    });
}

#[test]
fn poll_gives_the_task_back_and_join_timeout_kills_it() {
    everywhere(|mailbox| {
        let log = mailbox.address();
        let task = Task::spawn(move || {
            log.send(self_pid());
            sleep(LONG);
        });
        let worker = mailbox.message();
        let task = task.poll(SECOND / 100).unwrap_err();
        assert!(is_alive(worker));
        assert_eq!(task.join_timeout(SECOND / 100), Err(TaskError::Timeout(SECOND / 100)));
        wait_dead(worker);
        assert_eq!(Task::spawn(|| 3).poll(10 * SECOND).unwrap(), Ok(3));
        assert_eq!(Task::spawn(|| 4).join_timeout(10 * SECOND), Ok(4));
    });
}

#[test]
fn cancel_kills_the_task_or_brings_the_result() {
    everywhere(|mailbox| {
        let log = mailbox.address();
        let task = Task::spawn(move || {
            log.send(self_pid());
            sleep(LONG);
        });
        let worker = mailbox.message();
        assert_eq!(task.cancel(), None);
        wait_dead(worker);
        let done = Task::spawn(|| 5);
        let done = done.poll(Duration::ZERO).map_or_else(|task| task, |_| Task::spawn(|| 5));
        sleep(SECOND / 50);
        assert_eq!(done.cancel(), Some(Ok(5)));
    });
}

#[test]
fn a_task_that_is_killed_says_so() {
    everywhere::<()>(|_| {
        let task = Task::spawn_unlinked(|| sleep(LONG));
        kill(task.pid());
        assert!(matches!(task.join(), Err(TaskError::Exited(ExitReason::Killed | ExitReason::NoProc))));
    });
}

#[test]
fn a_task_that_is_dropped_runs_to_its_end_and_leaves_nothing() {
    everywhere(|mailbox: &mut Mailbox<u32>| {
        let before = {
            Task::spawn(|| ()).join().unwrap();
            processes().len()
        };
        let log = mailbox.address();
        drop(Task::spawn_unlinked(move || log.send(7)));
        assert_eq!(mailbox.message(), 7);
        eventually("nothing is left", || processes().len() <= before);
    });
}

#[test]
fn tasks_of_a_supervisor_are_limited_and_end_with_it_and_their_crashes_hurt_nobody() {
    everywhere::<()>(|_| {
        trap_exits(true);
        let top = Supervisor::one_for_one().child(TaskSupervisor::child("tasks", 2)).start_link().unwrap();
        let tasks = TaskSupervisor::named("tasks").unwrap();
        let crash = tasks.spawn(|| -> () { panic!("crash") }).unwrap();
        assert!(matches!(crash.join(), Err(TaskError::Exited(ExitReason::Panic(_)))));
        assert_eq!(tasks.spawn(|| 1).unwrap().join(), Ok(1));
        eventually("there is room", || {
            let first = tasks.spawn(|| sleep(LONG));
            let second = tasks.spawn(|| sleep(LONG));
            let third = tasks.spawn(|| sleep(LONG));
            let full = matches!(third, Err(ChildError::Full { max_children: 2 }));
            let both = first.is_ok() && second.is_ok();
            // All of them: the third has got the place of a second that found none.
            for task in [first, second, third].into_iter().flatten() {
                drop(task.cancel());
            }
            full && both
        });
        let left = loop {
            if let Ok(task) = tasks.spawn(|| sleep(LONG)) {
                break task;
            }
            sleep(SECOND / 1000);
        };
        kill(top);
        assert!(matches!(left.join(), Err(TaskError::Exited(_))));
        wait_dead(tasks.pid());
    });
}

#[test]
fn a_stream_keeps_the_order_of_its_items() {
    everywhere::<()>(|_| {
        let slower_first = |number: u64| {
            sleep(Duration::from_millis(8 - number));
            number * 10
        };
        let results: Vec<_> = TaskStream::new(0..8, slower_first).max_concurrency(3).run().collect();
        assert_eq!(results, (0..8).map(|number| Ok(number * 10)).collect::<Vec<_>>());
    });
}

#[test]
fn an_unordered_stream_brings_what_is_done_first() {
    support::systematic::<()>(|_| {
        let work = |seconds: u32| {
            sleep(seconds * SECOND);
            seconds
        };
        let stream = TaskStream::new([3, 1, 2], work).max_concurrency(3).unordered().run();
        assert_eq!(stream.collect::<Vec<_>>(), [Ok(1), Ok(2), Ok(3)]);
    });
}

#[test]
fn a_stream_never_runs_more_tasks_than_it_may() {
    everywhere::<()>(|_| {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (r, m) = (Arc::clone(&running), Arc::clone(&most));
        let work = move |_: u32| {
            m.fetch_max(r.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(Duration::from_millis(2));
            r.fetch_sub(1, Ordering::SeqCst);
        };
        assert_eq!(TaskStream::new(0..20, work).max_concurrency(4).unordered().run().count(), 20);
        assert!(most.load(Ordering::SeqCst) <= 4);
    });
}

#[test]
fn a_crash_or_a_timeout_in_a_stream_is_the_result_of_its_item() {
    everywhere::<()>(|mailbox| {
        let work = |number: u32| match number {
            1 => exit_self(ExitReason::error("one")),
            2 => sleep(LONG),
            _ => {}
        };
        let before = now();
        let results: Vec<_> = TaskStream::new(0..4, work).timeout(SECOND / 50).run().collect();
        let failed = TaskError::Exited(ExitReason::error("one"));
        assert_eq!(results, [Ok(()), Err(failed), Err(TaskError::Timeout(SECOND / 50)), Ok(())]);
        assert!(now() - before < 20 * SECOND);
        nothing_more(mailbox);
    });
}

#[test]
fn a_stream_that_is_dropped_ends_its_tasks() {
    everywhere(|mailbox| {
        let log = mailbox.address();
        let work = move |number: u32| {
            if number > 0 {
                log.send(self_pid());
                sleep(LONG);
            }
        };
        let mut stream = TaskStream::new(0..3, work).max_concurrency(2).run();
        assert_eq!(stream.next(), Some(Ok(())));
        let worker = mailbox.message();
        drop(stream);
        wait_dead(worker);
    });
}
