//! Every test runs in a process of a node with two workers, and again with one. There are no real sockets in systematic
//! mode; `systematic.rs` says what happens there.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::disallowed_methods, reason = "a net for tests that hang, outside of the runtime")]

use engset_net::{TcpListener, TcpStream};
use engset_runtime::{Config, Down, Event, Item, Mailbox, MonitorRef, Received, now, run_with, sleep};
use std::{io, net::SocketAddr, time::Duration};

/// After this something hangs.
pub(crate) const NET: Duration = Duration::from_secs(60);

/// Runs the test as a process with a mailbox.
#[track_caller]
pub(crate) fn process<M: Send + 'static>(test: fn(&mut Mailbox<M>)) {
    for workers in [2_usize, 1] {
        let (done, finished) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let config = Config::new().workers(workers).crash_reports_per_second(0_u32);
            let run = run_with(config, move || scene(test));
            let _ = done.send(());
            run
        });
        if finished.recv_timeout(NET) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            panic!("on {workers} workers: it hangs");
        }
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("on {workers} workers: {error}"),
            Err(_) => panic!("on {workers} workers: the run panicked"),
        }
    }
}

fn scene<M: Send + 'static>(test: fn(&mut Mailbox<M>)) {
    let watcher =
        engset_runtime::spawn(move |mut mailbox: Mailbox<engset_runtime::Reply<Option<String>>>| {
            let reply = mailbox.message();
            let (_, reference) =
                engset_runtime::spawn_monitor(move |mut mailbox: Mailbox<M>| test(&mut mailbox));
            let down = down_of(&mut mailbox, reference);
            let is_normal =
                down.reason == engset_runtime::DownReason::Exited(engset_runtime::ExitReason::Normal);
            reply.send((!is_normal).then(|| down.reason.to_string()));
        });
    match watcher.call_timeout(|reply| reply, Duration::MAX) {
        Ok(None) => {}
        Ok(Some(why)) => panic!("{why}"),
        Err(error) => panic!("{error}"),
    }
}

/// The `Down` of this monitor; everything else stays in the mailbox.
pub(crate) fn down_of<M: Send + 'static>(mailbox: &mut Mailbox<M>, reference: MonitorRef) -> Down {
    let is_it =
        |item: Item<'_, M>| matches!(item, Item::Event(Event::Down(down)) if down.reference == reference);
    match mailbox.select(is_it) {
        Received::Event(Event::Down(down)) => down,
        _ => unreachable!("selected"),
    }
}

/// A listener at a port of the system's choice.
pub(crate) fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Two ends of a connection.
pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listener();
    let client = TcpStream::connect(address).expect("it listens");
    let (server, _) = listener.accept().expect("one has connected");
    (client, server)
}

/// Waits, in a process, until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let start = now();
    while !condition() {
        assert!(now() - start < NET / 2, "waited for too long");
        sleep(Duration::from_millis(1));
    }
}

pub(crate) fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> io::ErrorKind {
    result.expect_err("an error").kind()
}
