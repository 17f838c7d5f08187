//! S13: timers.

mod support;

use engset::{
    Address, Config, DownReason, Event, ExitReason, Mailbox, Node, Received, exit_after, kill, now, self_pid,
    send_after, send_at, send_interval, sleep, spawn, spawn_monitor, start_timer, trap_exits,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use support::{OnDrop, assert_silence, await_end, boom, both, counter, down_of, exit_of, systematic};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_timer_is_never_early() {
    both(|mut mailbox: Mailbox<Duration>| {
        let me = mailbox.address();
        for micros in [0, 1, 100, 262, 263, 1000, 3333] {
            let due = now() + Duration::from_micros(micros);
            send_after(Duration::from_micros(micros), me, due);
        }
        for _ in 0..7 {
            let due = mailbox.message();
            assert!(now() >= due);
        }
    });
}

#[test]
fn a_sleep_and_a_timeout_are_never_early() {
    both(|mut mailbox: Mailbox<()>| {
        for micros in [1, 100, 262, 263, 1000, 2500] {
            let (start, time) = (now(), Duration::from_micros(micros));
            sleep(time);
            assert!(now() - start >= time, "sleep {time:?}");
            let start = now();
            assert!(mailbox.receive_timeout(time).is_none());
            assert!(now() - start >= time, "timeout {time:?}");
        }
    });
}

#[test]
fn a_sleep_is_not_ended_by_messages_nor_by_signals() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        spawn(move || {
            for number in 0..10 {
                me.send(number);
                support::signals_have_acted(me);
                engset::link(me);
                engset::unlink(me);
            }
        });
        let start = now();
        sleep(10 * MS);
        assert!(now() - start >= 10 * MS);
        (0..10).for_each(|number| assert_eq!(mailbox.message(), number));
    });
}

#[test]
fn timers_fire_in_the_order_of_their_times() {
    systematic(|mut mailbox: Mailbox<u64>| {
        let me = mailbox.address();
        for millis in [50, 10, 40, 3_600_000, 20, 30, 90_000_000] {
            send_after(Duration::from_millis(millis), me, millis);
        }
        for millis in [10, 20, 30, 40, 50, 3_600_000, 90_000_000] {
            assert_eq!(mailbox.message(), millis);
            assert!(now() >= Duration::from_millis(millis));
            assert!(now() < Duration::from_millis(millis + 1), "late in virtual time: {:?}", now());
        }
    });
}

#[test]
fn a_timer_to_a_process_that_dies_is_dropped_with_its_message() {
    both(|mut mailbox: Mailbox<()>| {
        let drops = counter();
        let (victim, reference) = spawn_monitor(|_: Mailbox<OnDrop<Box<dyn FnMut() + Send>>>| sleep(HOUR));
        let count = Arc::clone(&drops);
        let timer = send_after(
            3 * MS,
            victim,
            OnDrop(Box::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            })),
        );
        kill(victim);
        down_of(&mut mailbox, reference);
        support::wait_until(|| timer.remaining().is_none());
        support::wait_until(|| drops.load(Ordering::SeqCst) == 1);
    });
}

#[test]
fn timers_of_the_dead_do_not_hold_memory_for_an_hour() {
    systematic(|mut mailbox: Mailbox<()>| {
        let drops = counter();
        let (victim, reference) = spawn_monitor(|_: Mailbox<OnDrop<Box<dyn FnMut() + Send>>>| sleep(HOUR));
        for _ in 0..4000 {
            let count = Arc::clone(&drops);
            let guard: Box<dyn FnMut() + Send> = Box::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            });
            send_after(HOUR, victim, OnDrop(guard));
        }
        kill(victim);
        down_of(&mut mailbox, reference);
        let me = mailbox.address();
        for _ in 0..5000 {
            send_after(HOUR, me, ());
        }
        sleep(MS);
        assert_eq!(drops.load(Ordering::SeqCst), 4000, "a sweep finds the timers of dead processes");
    });
}

#[test]
fn a_cancel_tells_the_time_that_was_left_and_nothing_comes() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let timer = send_after(HOUR, me, 1);
        let left = timer.remaining().expect("it is set");
        assert!(left <= HOUR + MS && left > HOUR - Duration::from_secs(60), "{left:?}");
        let left = timer.cancel().expect("it is set");
        assert!(left <= HOUR + MS && left > HOUR - Duration::from_secs(60), "{left:?}");
        assert_eq!(timer.cancel(), None);
        assert_eq!(timer.remaining(), None);
        let soon = send_after(5 * MS, me, 2);
        if soon.cancel().is_some() {
            sleep(8 * MS);
            assert_silence(&mut mailbox);
        }
    });
}

#[test]
fn a_cancel_of_a_timer_that_has_fired_says_so() {
    both(|mut mailbox: Mailbox<u32>| {
        let timer = send_after(MS, mailbox.address(), 1);
        assert_eq!(mailbox.message(), 1);
        assert_eq!(timer.cancel(), None);
    });
}

#[test]
fn any_process_can_cancel_a_timer_also_from_another_worker_and_from_outside() {
    both(|mut mailbox: Mailbox<u32>| {
        let timer = send_after(HOUR, mailbox.address(), 1);
        let (_, reference) = spawn_monitor(move || assert!(timer.cancel().is_some()));
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Normal));
        assert_eq!(timer.cancel(), None);
    });
    let node = Node::start(Config::new().workers(2)).expect("a node");
    let (tell, told) = std::sync::mpsc::channel();
    node.spawn(move || {
        let sleeper = spawn(|_: Mailbox<u32>| sleep(HOUR));
        tell.send(send_after(HOUR, sleeper, 1)).expect("the test waits");
        sleep(HOUR);
    })
    .expect("a process");
    let timer = told.recv().expect("a timer");
    assert!(timer.remaining().is_some());
    assert!(timer.cancel().is_some());
    assert_eq!(timer.cancel(), None);
    assert!(node.stop());
}

#[test]
fn an_absolute_time_is_of_the_clock_of_now() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let due = now() + 5 * MS;
        send_at(due, me, 1);
        send_at(Duration::ZERO, me, 0);
        assert_eq!(mailbox.message(), 0, "a time that has passed is now");
        assert_eq!(mailbox.message(), 1);
        assert!(now() >= due);
    });
}

#[test]
fn an_interval_does_not_drift() {
    systematic(|mut mailbox: Mailbox<()>| {
        let start = now();
        let period = Duration::from_micros(700);
        let timer = send_interval(period, mailbox.address(), ());
        for turn in 1..=1000_u32 {
            mailbox.message();
            let at = now() - start;
            assert!(at >= period * turn, "turn {turn} is early: {at:?}");
            assert!(at < period * turn + MS, "turn {turn} has drifted: {at:?}");
        }
        assert!(timer.cancel().is_some());
        sleep(10 * MS);
        assert_silence(&mut mailbox);
    });
}

#[test]
fn an_interval_ends_with_its_receiver() {
    both(|mut mailbox: Mailbox<()>| {
        let (victim, reference) = spawn_monitor(|mut mailbox: Mailbox<()>| {
            (0..3).for_each(|_| mailbox.message());
        });
        let timer = send_interval(MS, victim, ());
        down_of(&mut mailbox, reference);
        support::wait_until(|| timer.remaining().is_none());
    });
}

#[test]
fn a_cancelled_interval_sends_no_more() {
    both(|mut mailbox: Mailbox<()>| {
        let timer = send_interval(MS, mailbox.address(), ());
        (0..3).for_each(|_| mailbox.message());
        assert!(timer.remaining().is_some());
        assert!(timer.cancel().is_some());
        while mailbox.try_receive().is_some() {}
        sleep(3 * MS);
        assert_silence(&mut mailbox);
    });
}

#[test]
fn the_event_of_a_cancelled_timer_cannot_be_mistaken_for_that_of_a_new_one() {
    both(|mut mailbox: Mailbox<()>| {
        let (old, stale) = start_timer(MS);
        sleep(3 * MS);
        support::wait_until(|| old.cancel().is_none());
        let (_, fresh) = start_timer(MS);
        assert_ne!(stale, fresh);
        assert!(matches!(mailbox.receive(), Received::Event(Event::Timer(reference)) if reference == stale));
        assert!(matches!(mailbox.receive(), Received::Event(Event::Timer(reference)) if reference == fresh));
        assert_silence(&mut mailbox);
    });
}

#[test]
fn an_exit_signal_can_come_later() {
    both(|mut mailbox: Mailbox<()>| {
        let (_, reference) = {
            let (victim, reference) = spawn_monitor(|| sleep(Duration::MAX));
            exit_after(2 * MS, victim, boom());
            (victim, reference)
        };
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(boom()));
        let (victim, _) = spawn_monitor(|| sleep(Duration::MAX));
        assert!(exit_after(HOUR, victim, boom()).cancel().is_some());
        trap_exits(true);
        let me = self_pid();
        exit_after(MS, me, ExitReason::Normal);
        assert_eq!(exit_of(&mut mailbox, me).reason, ExitReason::Normal);
    });
}

#[test]
fn ten_thousand_timers_fire_once_each() {
    both(|mut mailbox: Mailbox<u32>| {
        let me: Address<u32> = mailbox.address();
        for number in 0..2000 {
            send_after(Duration::from_micros(u64::from(number * 7919 % 5000)), me, number);
        }
        let mut seen = vec![false; 2000];
        for _ in 0..2000 {
            let number = mailbox.message() as usize;
            assert!(!std::mem::replace(&mut seen[number], true), "{number} twice");
        }
        assert_silence(&mut mailbox);
    });
}

#[test]
fn an_endless_timeout_is_endless_and_a_huge_one_is_huge() {
    both(|mut mailbox: Mailbox<()>| {
        let victims = [
            spawn(|| sleep(Duration::MAX)),
            spawn(|| sleep(Duration::from_secs(u64::MAX / 2))),
            spawn(|| {
                let me = spawn(|mut mailbox: Mailbox<()>| {
                    let _ = mailbox.receive_timeout(Duration::from_secs(1 << 40));
                });
                send_after(Duration::MAX, me, ());
                sleep(Duration::MAX);
            }),
        ];
        sleep(3 * MS);
        for victim in victims {
            assert!(engset::is_alive(victim));
            kill(victim);
            await_end(&mut mailbox, victim);
        }
    });
}
