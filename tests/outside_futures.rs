//! Calls and mailboxes for futures of callers outside.

#![allow(
    clippy::disallowed_methods,
    reason = "tests and benchmarks look at the real clock and block real threads"
)]

mod support;

use engset::{
    CallError, Config, Down, DownReason, Event, ExitReason, Inbox, Limit, Mailbox, Node, Overflow, Received,
    Reply, SendError, block_on, kill, monitor, sleep, spawn,
};
use futures_util::{FutureExt, StreamExt, future::join_all};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
    time::Duration,
};
use support::{both, counter, threaded, wait_until_outside};

const MS: Duration = Duration::from_millis(1);

type Doubling = (u32, Reply<u32>);

fn doubler(mut mailbox: Mailbox<Doubling>) {
    loop {
        let (number, reply) = mailbox.message();
        reply.send(2 * number);
    }
}

/// Keeps all requests.
fn silent(mut mailbox: Mailbox<Doubling>) {
    let mut kept = Vec::new();
    loop {
        kept.push(mailbox.message());
    }
}

/// Drops all requests.
fn rude(mut mailbox: Mailbox<Doubling>) {
    loop {
        drop(mailbox.message());
    }
}

fn node() -> Node {
    Node::start(Config::new().workers(2)).expect("a node")
}

#[test]
fn answers_come_to_an_executor_outside() {
    let node = node();
    let server = node.spawn(doubler).expect("it starts");
    let calls = (0..200).map(|number| server.call_async(move |reply| (number, reply)));
    // With wakers of its own for each, by `join_all`.
    let answers = block_on(join_all(calls));
    let expected: Vec<_> = (0..200).map(|number| Ok(2 * number)).collect();
    assert_eq!(answers, expected);
    assert!(node.stop());
}

#[test]
fn the_deadline_is_kept_outside() {
    let node = node();
    let server = node.spawn(silent).expect("it starts");
    let late = [30, 10, 20].map(|time| server.call_async_timeout(|reply| (1, reply), time * MS));
    let errors = block_on(join_all(late));
    assert_eq!(errors, [30, 10, 20].map(|time| Err(CallError::Timeout(time * MS))));
    // The process that keeps the time has gone: only the server is left.
    wait_until_outside(|| node.processes() == [server.pid()]);
    assert!(node.stop());
}

#[test]
fn a_call_without_a_timeout_waits_for_the_end_of_the_node() {
    let node = node();
    let server = node.spawn(silent).expect("it starts");
    let call = server.call_async_timeout(|reply| (1, reply), Duration::MAX);
    let other = node.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(20 * MS);
        assert!(other.stop());
    });
    assert!(matches!(block_on(call), Err(CallError::Down(_))));
    thread.join().expect("no panic");
    assert_eq!(
        block_on(server.call_async(|reply| (1, reply))),
        Err(CallError::Down(DownReason::NoConnection))
    );
}

#[test]
fn the_end_of_the_server_is_an_answer() {
    let node = node();
    let killed = Err(CallError::Down(DownReason::Exited(ExitReason::Killed)));
    // While it keeps the request, and before it has received it.
    for keeps in [true, false] {
        let server =
            if keeps { node.spawn(silent) } else { node.spawn(|_: Mailbox<Doubling>| sleep(Duration::MAX)) };
        let server = server.expect("it starts");
        let call = server.call_async(|reply| (1, reply));
        kill(server);
        assert_eq!(block_on(call), killed);
        wait_until_outside(|| !node.is_alive(server));
        assert_eq!(block_on(server.call_async(|reply| (1, reply))), Err(CallError::Down(DownReason::NoProc)));
    }
    let server = node.spawn(rude).expect("it starts");
    assert_eq!(block_on(server.call_async(|reply| (1, reply))), Err(CallError::NoReply));
    assert!(node.stop());
}

#[test]
fn a_future_that_is_dropped_has_given_up() {
    let node = node();
    let server = node.spawn(doubler).expect("it starts");
    for number in 0..1000 {
        drop(server.call_async(|reply| (number, reply)));
        let _ = server.call_async_timeout(|reply| (number, reply), 50 * MS).now_or_never();
    }
    assert_eq!(block_on(server.call_async(|reply| (4, reply))), Ok(8));
    wait_until_outside(|| node.processes() == [server.pid()]);
    assert!(node.stop());
}

#[test]
fn the_request_is_sent_at_once_and_in_order() {
    let node = node();
    let (tell, told) = std::sync::mpsc::channel();
    let server = node
        .spawn(move |mut mailbox: Mailbox<Doubling>| {
            loop {
                let (number, reply) = mailbox.message();
                tell.send(number).expect("it listens");
                reply.send(number);
            }
        })
        .expect("it starts");
    let calls: Vec<_> = (0..100).map(|number| server.call_async(move |reply| (number, reply))).collect();
    // Not polled yet.
    (0..100).for_each(|number| assert_eq!(told.recv(), Ok(number)));
    assert_eq!(block_on(join_all(calls)).len(), 100);
    assert!(node.stop());
}

#[test]
fn a_full_mailbox_makes_the_future_wait_or_refuses() {
    let node = node();
    for overflow in [Overflow::Block, Overflow::DropNewest] {
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let slow = move |mut mailbox: Mailbox<Doubling>| {
            engset::blocking(move || gate.recv()).expect("it opens");
            loop {
                let (number, reply) = mailbox.message();
                reply.send(number);
            }
        };
        let limit = Limit::messages(1).overflow(overflow);
        let server = engset::Builder::new().mailbox(limit).spawn_on(&node, slow).expect("it starts");
        let first = server.call_async_timeout(|reply| (1, reply), Duration::from_secs(60));
        let second = server.call_async_timeout(|reply| (2, reply), Duration::from_secs(60));
        let third = server.call_async_timeout(|reply| (3, reply), 20 * MS);
        if overflow == Overflow::Block {
            assert_eq!(block_on(third), Err(CallError::Timeout(20 * MS)));
        } else {
            assert!(matches!(block_on(third), Err(CallError::Refused(_))));
        }
        open.send(()).expect("it waits");
        assert_eq!(block_on(first), Ok(1));
        let second = block_on(second);
        if overflow == Overflow::Block {
            assert_eq!(second, Ok(2));
        } else {
            assert!(matches!(second, Err(CallError::Refused(_))), "{second:?}");
        }
        kill(server);
    }
    assert!(node.stop());
}

#[test]
fn a_process_makes_several_calls_at_once() {
    both(|_mailbox: Mailbox<()>| {
        let servers: Vec<_> = (0..5)
            .map(|_| {
                spawn(|mut mailbox: Mailbox<Doubling>| {
                    let (number, reply) = mailbox.message();
                    sleep(5 * MS);
                    reply.send(2 * number);
                })
            })
            .collect();
        let calls =
            servers.iter().zip(0..).map(|(server, number)| server.call_async(move |reply| (number, reply)));
        let expected: Vec<_> = (0..5).map(|number| Ok(2 * number)).collect();
        assert_eq!(block_on(join_all(calls)), expected);
        let dead = join_all(servers.iter().map(|server| server.call_async(|reply| (1, reply))));
        assert!(block_on(dead).iter().all(|answer| matches!(answer, Err(CallError::Down(_)))));
    });
}

#[test]
fn the_deadline_is_kept_inside() {
    both(|mailbox: Mailbox<Doubling>| {
        let server = spawn(silent);
        let call = server.call_async_timeout(|reply| (1, reply), 7 * MS);
        assert_eq!(block_on(call), Err(CallError::Timeout(7 * MS)));
        kill(server);
        assert_eq!(block_on(mailbox.address().call_async(|reply| (1, reply))), Err(CallError::CallingSelf));
    });
}

#[test]
fn the_latest_waker_is_woken() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Release);
        }
    }
    let node = node();
    let server = node.spawn(silent).expect("it starts");
    let mut call = server.call_async_timeout(|reply| (1, reply), 2000 * MS);
    let counts: Vec<_> = (0..3).map(|_| Arc::new(Count(AtomicUsize::new(0)))).collect();
    for count in &counts {
        let waker = Waker::from(count.clone());
        assert!(call.poll_unpin(&mut std::task::Context::from_waker(&waker)).is_pending());
    }
    wait_until_outside(|| counts[2].0.load(Ordering::Acquire) == 1);
    assert_eq!(block_on(call), Err(CallError::Timeout(2000 * MS)));
    assert!(node.stop());
}

#[test]
fn a_stream_of_messages_outside() {
    let node = node();
    let mut inbox = Inbox::new(&node).expect("it starts");
    let address = inbox.address();
    assert_eq!(inbox.try_recv(), None);
    node.spawn(move || (0..1000).for_each(|number| address.send(number))).expect("it starts");
    let got: Vec<u32> = block_on(inbox.by_ref().take(1000).collect());
    assert_eq!(got, (0..1000).collect::<Vec<_>>());
    // It is a process: a call from a process is answered outside.
    let mut requests = Inbox::new(&node).expect("it starts");
    let server = requests.address();
    let asks = node.spawn(move || assert_eq!(server.call(|reply| (4, reply)), Ok(8))).expect("it starts");
    let (number, reply): Doubling = requests.recv().expect("a request");
    reply.send(2 * number);
    wait_until_outside(|| !node.is_alive(asks));
    // A killed porter ends the stream after what is in the queue.
    address.send(7);
    assert_eq!(inbox.recv(), Some(7));
    kill(address);
    assert_eq!(block_on(inbox.next()), None);
    assert_eq!(inbox.recv(), None);
    // A dropped inbox is a dead process.
    drop(requests);
    wait_until_outside(|| !node.is_alive(server));
    assert_eq!(node.crashes(), 0);
    assert!(node.stop());
}

#[test]
fn a_bounded_inbox_holds_its_senders_up() {
    let node = node();
    let mut inbox = Inbox::with_limit(&node, Limit::messages(10)).expect("it starts");
    let address = inbox.address();
    let sent = counter();
    let count = sent.clone();
    let sender = node
        .spawn(move || {
            for number in 0..1000_u32 {
                address.send(number);
                count.fetch_add(1, Ordering::Release);
            }
        })
        .expect("it starts");
    // 64 in the queue, and up to ten in the mailbox: senders go on when it is half empty.
    wait_until_outside(|| sent.load(Ordering::Acquire) >= 64);
    std::thread::sleep(20 * MS);
    assert!(sent.load(Ordering::Acquire) <= 76, "{sent:?}");
    for number in 0..1000 {
        assert_eq!(inbox.recv(), Some(number));
    }
    wait_until_outside(|| !node.is_alive(sender));
    drop(inbox);
    wait_until_outside(|| matches!(address.try_send(1), Err(SendError::Dead(1))));
    assert!(node.stop());
}

#[test]
fn the_end_of_the_node_ends_the_stream() {
    let node = node();
    let mut inbox = Inbox::<u32>::new(&node).expect("it starts");
    let other = node.clone();
    let thread = std::thread::spawn(move || assert!(other.stop()));
    assert_eq!(inbox.recv(), None);
    thread.join().expect("no panic");
    assert!(Inbox::<u32>::new(&node).is_err());
}

#[test]
fn an_inbox_within_a_process() {
    threaded(Config::new().workers(2), |mut mailbox: Mailbox<u32>| {
        let node = Node::current().expect("a process");
        let mut inbox = Inbox::new(&node).expect("it starts");
        let (me, address) = (mailbox.address(), inbox.address());
        spawn(move || (0..500).for_each(|number| address.send(number)));
        me.send(1);
        let sum: u32 = block_on(inbox.by_ref().take(500).fold(0, |sum, number| async move { sum + number }));
        assert_eq!(sum, 499 * 500 / 2);
        assert_eq!(mailbox.message(), 1);
        let reference = monitor(address);
        drop(inbox);
        let Received::Event(Event::Down(Down { reason, reference: of, .. })) = mailbox.receive() else {
            panic!()
        };
        assert_eq!((of, reason), (reference, DownReason::Exited(ExitReason::Killed)));
    });
}
