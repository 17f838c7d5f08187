//! The bridge to tokio.

#![cfg(feature = "tokio")]
#![allow(clippy::disallowed_methods, reason = "tests look at the real clock and block real threads")]

mod support;

use engset_net::tokio_bridge::{Bridge, BridgeError};
use engset_runtime::{Inbox, Mailbox, Node, Reply, block_on, kill, now, sleep, spawn, spawn_monitor};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use support::{down_of, process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(3600);

struct OnDrop(Arc<AtomicUsize>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    let start = now();
    while !condition() {
        assert!(now() - start < Duration::from_secs(20), "waited for too long");
        sleep(MS);
    }
}

#[test]
fn tokio_timers_sockets_and_tasks() {
    process(|_: &mut Mailbox<()>| {
        let bridge = Bridge::with_threads(2).expect("a runtime");
        let text = bridge.run(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await?;
                tokio::time::sleep(MS).await;
                stream.write_all(b"from tokio").await
            });
            let mut text = String::new();
            tokio::net::TcpStream::connect(address).await?.read_to_string(&mut text).await?;
            server.await.expect("no panic")?;
            Ok::<_, std::io::Error>(text)
        });
        assert_eq!(text.expect("no panic").expect("no error"), "from tokio");
    });
}

#[test]
fn the_worker_is_free_meanwhile() {
    process(|mailbox: &mut Mailbox<u32>| {
        let me = mailbox.address();
        let bridge = Bridge::new().expect("a runtime");
        let other = bridge.clone();
        let (open, gate) = tokio::sync::oneshot::channel::<u32>();
        spawn(move || me.send(other.run(gate).expect("no panic").expect("it is sent")));
        // On one worker too.
        for number in 0..10 {
            spawn(move || me.send(number));
            assert_eq!(mailbox.message(), number);
        }
        open.send(77).expect("it waits");
        assert_eq!(mailbox.message(), 77);
        drop(bridge);
    });
}

#[test]
fn a_panic_is_an_error() {
    process(|_: &mut Mailbox<()>| {
        let bridge = Bridge::new().expect("a runtime");
        let result = bridge.run(async { panic!("on the other {}", "side") });
        assert_eq!(result, Err::<(), _>(BridgeError::Panicked("on the other side".to_owned())));
        assert_eq!(bridge.run(async { 1 }), Ok(1), "the bridge still stands");
        let late = bridge.run_timeout(5 * MS, async { tokio::time::sleep(LONG).await });
        assert_eq!(late, Err(BridgeError::TimedOut(5 * MS)));
    });
}

#[test]
fn a_killed_process_aborts_its_task() {
    process(|mailbox: &mut Mailbox<()>| {
        let bridge = Bridge::new().expect("a runtime");
        let dropped = Arc::new(AtomicUsize::new(0));
        let (guard, other) = (OnDrop(Arc::clone(&dropped)), bridge.clone());
        let (pid, reference) = spawn_monitor(move || {
            let _ = other.run(async move {
                let _guard = guard;
                tokio::time::sleep(LONG).await;
            });
        });
        sleep(5 * MS);
        kill(pid);
        down_of(mailbox, reference);
        wait_until(|| dropped.load(Ordering::Acquire) == 1);
        assert_eq!(bridge.run(async { 2 }), Ok(2));
    });
}

#[test]
fn the_end_of_the_runtime_is_an_error() {
    process(|mailbox: &mut Mailbox<Result<(), BridgeError>>| {
        let me = mailbox.address();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let bridge = Bridge::to(runtime.handle().clone());
        spawn(move || me.send(bridge.run(std::future::pending())));
        sleep(5 * MS);
        runtime.shutdown_background();
        assert_eq!(mailbox.message(), Err(BridgeError::Cancelled));
    });
}

#[test]
fn tasks_call_processes_and_processes_send_to_tasks() {
    process(|_: &mut Mailbox<()>| {
        let bridge = Bridge::new().expect("a runtime");
        let doubler = spawn(|mut mailbox: Mailbox<(u32, Reply<u32>)>| {
            loop {
                let (number, reply) = mailbox.message();
                reply.send(2 * number);
            }
        });
        let sum = bridge.run(async move {
            let mut sum = 0;
            for number in 0..100 {
                sum += doubler.call_async(|reply| (number, reply)).await.expect("it lives");
            }
            sum
        });
        assert_eq!(sum, Ok(9900));
        let mut inbox = Inbox::<u32>::new(&Node::current().expect("a process")).expect("it starts");
        let address = inbox.address();
        let task = bridge.spawn(async move {
            let mut sum = 0;
            while sum < 4950 {
                sum += std::future::poll_fn(|context| inbox.poll_recv(context)).await.expect("it lives");
            }
            sum
        });
        (0..100).for_each(|number| address.send(number));
        assert_eq!(block_on(task), Ok(4950));
        kill(doubler);
    });
}
