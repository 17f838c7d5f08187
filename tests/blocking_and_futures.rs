//! Waiting for threads and for futures.

#![allow(
    clippy::disallowed_methods,
    reason = "tests and benchmarks look at the real clock and block real threads"
)]

mod support;

use engset::{
    Builder, Config, DownReason, Event, ExitReason, Limit, Mailbox, Node, Received, block_on, blocking, kill,
    now, sleep, spawn, spawn_monitor,
};
use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use support::{OnDrop, both, both_with, counter, down_of, threaded};

#[test]
fn blocking_returns_the_value() {
    both(|_mailbox: Mailbox<()>| {
        for number in 0..5 {
            assert_eq!(blocking(move || 2 * number), 2 * number);
        }
    });
    assert_eq!(blocking(|| 7), 7, "outside of a process it is a call");
}

#[test]
fn a_panic_of_a_blocking_job_goes_on_in_the_process() {
    both_with(Config::new(), Some(1), |mut mailbox: Mailbox<()>| {
        let (_, reference) = spawn_monitor(|| blocking(|| panic!("on another thread")));
        match down_of(&mut mailbox, reference).reason {
            DownReason::Exited(ExitReason::Panic(panic)) => assert_eq!(panic.message, "on another thread"),
            other => panic!("{other}"),
        }
        assert_eq!(blocking(|| 1), 1);
    });
}

#[test]
fn a_worker_serves_others_while_its_processes_block() {
    threaded(Config::new().workers(1), |mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let (open, gate) = mpsc::channel::<()>();
        spawn(move || {
            assert!(blocking(move || gate.recv()).is_ok());
            me.send(2);
        });
        for number in 0..10 {
            spawn(move || me.send(number * 10));
            assert_eq!(mailbox.message(), number * 10);
        }
        open.send(()).expect("it waits");
        assert_eq!(mailbox.message(), 2);
    });
}

#[test]
fn more_blocking_jobs_than_threads_are_all_done() {
    threaded(Config::new().workers(2).blocking_threads(3_usize), |mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        for number in 0..50 {
            spawn(move || me.send(blocking(move || number)));
        }
        let mut seen: Vec<_> = (0..50).map(|_| mailbox.message()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
    });
}

#[test]
fn messages_and_events_that_come_while_a_process_blocks_are_there_after_it() {
    threaded(Config::new().workers(2), |mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let (_, reference) = spawn_monitor(move || (0..10).for_each(|number| me.send(number)));
        let (open, gate) = mpsc::channel::<()>();
        spawn(move || {
            sleep(Duration::from_millis(5));
            open.send(()).expect("it waits");
        });
        assert!(blocking(move || gate.recv()).is_ok());
        (0..10).for_each(|number| assert_eq!(mailbox.message(), number));
        assert!(
            matches!(mailbox.receive(), Received::Event(Event::Down(down)) if down.reference == reference)
        );
    });
}

#[test]
fn a_future_that_is_ready_is_ready() {
    both(|_mailbox: Mailbox<()>| assert_eq!(block_on(async { 6 * 7 }), 42));
    assert_eq!(block_on(async { 1 }), 1, "outside of a process it blocks the thread");
}

#[test]
fn a_future_that_wakes_itself_goes_on() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        me.send(1);
        let mut left = 100;
        block_on(poll_fn(|context: &mut Context<'_>| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        }));
        assert_eq!(left, 0);
        assert_eq!(mailbox.message(), 1);
    });
}

/// A value that another thread puts there.
#[derive(Default)]
struct Cellar {
    value: Mutex<(Option<u32>, Option<Waker>)>,
}

impl Cellar {
    fn put(&self, value: u32) {
        let mut place = self.value.lock().expect("not poisoned");
        place.0 = Some(value);
        if let Some(waker) = place.1.take() {
            waker.wake();
        }
    }

    fn take(self: &Arc<Self>) -> impl Future<Output = u32> + Send + use<> {
        let cellar = Arc::clone(self);
        poll_fn(move |context| {
            let mut place = cellar.value.lock().expect("not poisoned");
            match place.0.take() {
                Some(value) => Poll::Ready(value),
                None => {
                    place.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
    }
}

#[test]
fn wakers_work_from_other_threads() {
    threaded(Config::new().workers(2), |_mailbox: Mailbox<()>| {
        let cellar = Arc::<Cellar>::default();
        let other = Arc::clone(&cellar);
        let taken = Arc::<Cellar>::default();
        let acknowledge = Arc::clone(&taken);
        let thread = std::thread::spawn(move || {
            for number in 0..500 {
                other.put(number);
                assert_eq!(block_on(acknowledge.take()), number);
            }
        });
        for number in 0..500 {
            assert_eq!(block_on(cellar.take()), number);
            taken.put(number);
        }
        assert!(blocking(move || thread.join()).is_ok());
    });
}

#[test]
fn wakers_work_from_other_processes() {
    both(|_mailbox: Mailbox<()>| {
        let cellar = Arc::<Cellar>::default();
        for number in 0..10 {
            let other = Arc::clone(&cellar);
            spawn(move || other.put(number));
            assert_eq!(block_on(cellar.take()), number);
        }
    });
}

#[test]
fn killing_the_process_drops_the_future() {
    both(|mut mailbox: Mailbox<()>| {
        let drops = counter();
        let count = Arc::clone(&drops);
        let (victim, reference) = spawn_monitor(move || {
            let guard = OnDrop(move || {
                count.fetch_add(1, Ordering::SeqCst);
            });
            block_on(async move {
                let _guard = guard;
                std::future::pending::<()>().await;
            });
        });
        sleep(Duration::from_millis(1));
        kill(victim);
        assert_eq!(down_of(&mut mailbox, reference).reason, DownReason::Exited(ExitReason::Killed));
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_waker_that_outlives_its_process_does_nothing() {
    both(|mut mailbox: Mailbox<()>| {
        let cellar = Arc::<Cellar>::default();
        let future = cellar.take();
        let (victim, reference) = spawn_monitor(move || {
            block_on(future);
        });
        sleep(Duration::from_millis(1));
        kill(victim);
        down_of(&mut mailbox, reference);
        cellar.put(1);
        // A new process may live in the same place: it is not disturbed.
        let start = now();
        let (_, reference) = spawn_monitor(|| sleep(Duration::from_millis(3)));
        down_of(&mut mailbox, reference);
        assert!(now() - start >= Duration::from_millis(3));
    });
}

#[test]
fn a_future_may_use_everything_that_a_process_can() {
    struct NotSend(Cell<u32>, std::marker::PhantomData<*mut ()>);
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let server = spawn(|mut mailbox: Mailbox<engset::Reply<u32>>| {
            loop {
                mailbox.message().send(5);
            }
        });
        let value = NotSend(Cell::new(1), std::marker::PhantomData);
        let sum = block_on(async {
            sleep(Duration::from_millis(1));
            me.send(1);
            let received = mailbox.message();
            value.0.set(value.0.get() + received);
            let answer = server.call(|reply| reply).expect("an answer");
            block_on(async { answer + value.0.get() })
        });
        assert_eq!(sum, 7);
    });
}

#[test]
fn a_waker_that_wakes_in_a_wait_within_the_poll_is_not_lost() {
    both(|_mailbox: Mailbox<()>| {
        // The poll itself waits, and the wake comes in that very wait.
        let ready = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ready);
        block_on(poll_fn(move |context: &mut Context<'_>| {
            if flag.load(Ordering::SeqCst) {
                return Poll::Ready(());
            }
            let (waker, flag) = (context.waker().clone(), Arc::clone(&flag));
            spawn(move || {
                flag.store(true, Ordering::SeqCst);
                waker.wake();
            });
            sleep(Duration::from_millis(2));
            Poll::Pending
        }));
        assert!(ready.load(Ordering::SeqCst));
    });
}

#[test]
fn a_wake_does_not_end_another_wait() {
    both(|mut mailbox: Mailbox<u32>| {
        let waker = Arc::new(Mutex::new(None::<Waker>));
        let place = Arc::clone(&waker);
        let mut first = true;
        block_on(poll_fn(move |context| {
            *place.lock().expect("not poisoned") = Some(context.waker().clone());
            if std::mem::take(&mut first) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        }));
        let stale = waker.lock().expect("not poisoned").take().expect("a waker");
        spawn(move || stale.wake());
        let start = now();
        sleep(Duration::from_millis(4));
        assert!(now() - start >= Duration::from_millis(4), "a stale wake ended a sleep");
        assert!(mailbox.message_timeout(Duration::from_millis(1)).is_none());
    });
}

#[test]
fn a_panic_of_a_future_is_a_panic_of_the_process() {
    both_with(Config::new(), Some(1), |mut mailbox: Mailbox<()>| {
        let (_, reference) = spawn_monitor(|| block_on(async { panic!("in the future") }));
        match down_of(&mut mailbox, reference).reason {
            DownReason::Exited(ExitReason::Panic(panic)) => assert_eq!(panic.message, "in the future"),
            other => panic!("{other}"),
        }
    });
}

#[test]
fn waiting_for_room_and_waiting_for_a_future_do_not_take_each_others_wakes() {
    both(|mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let slow = Builder::new().mailbox(Limit::messages(1)).spawn(move |mut mailbox: Mailbox<u32>| {
            for _ in 0..10 {
                sleep(Duration::from_micros(500));
                me.send(mailbox.message());
            }
        });
        let slow = slow.expect("it can be spawned");
        let cellar = Arc::<Cellar>::default();
        for number in 0..10 {
            let other = Arc::clone(&cellar);
            spawn(move || other.put(number));
            let future: Pin<Box<dyn Future<Output = u32>>> = Box::pin(cellar.take());
            let value = block_on(async move {
                slow.send(number);
                future.await
            });
            assert_eq!(value, number);
        }
        (0..10).for_each(|number| assert_eq!(mailbox.message(), number));
    });
}

#[test]
fn stopping_a_node_with_blocking_jobs_that_wait_does_not_hang() {
    let node = Node::start(Config::new().workers(1).blocking_threads(1_usize)).expect("a node");
    let (open, gate) = mpsc::channel::<()>();
    node.spawn(move || blocking(move || support::ignore(gate.recv()))).expect("a process");
    node.spawn(|| blocking(|| ())).expect("a process");
    std::thread::sleep(Duration::from_millis(20));
    assert!(node.stop());
    drop(open);
}
