//! A proxy for real sockets that does to connections what networks do to them.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(
    clippy::disallowed_methods,
    reason = "it stands outside of the runtime: threads, and the real clock"
)]

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From who has dialled.
    There = 0,
    /// To it.
    Back = 1,
}

const BOTH: [Way; 2] = [Way::There, Way::Back];

#[derive(Default)]
struct Faults {
    /// Bytes are kept.
    held: [AtomicBool; 2],
    /// Milliseconds before each piece.
    delay: AtomicU64,
    /// Bytes of a piece at most; 0: all.
    piece: AtomicU64,
    /// The next piece loses its first byte, or has a bit turned.
    lose: AtomicBool,
    turn: AtomicBool,
    refuse: AtomicBool,
    over: AtomicBool,
    sockets: Mutex<Vec<(TcpStream, TcpStream)>>,
}

/// Passes connections on, with the faults that are set. All ends when it is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    faults: Arc<Faults>,
}

impl Proxy {
    pub(crate) fn new(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let faults = Arc::new(Faults::default());
        let of_thread = Arc::clone(&faults);
        thread::spawn(move || accept(&listener, target, &of_thread));
        Proxy { address, faults }
    }

    /// Bytes of this direction are kept from now on; the sockets stay open. With both: a black hole.
    pub(crate) fn hold(&self, way: Way) {
        self.faults.held[way as usize].store(true, Ordering::SeqCst);
    }

    pub(crate) fn hold_all(&self) {
        BOTH.into_iter().for_each(|way| self.hold(way));
    }

    /// What was kept goes on.
    pub(crate) fn heal(&self) {
        self.faults.held.iter().for_each(|held| held.store(false, Ordering::SeqCst));
    }

    /// So long before each piece.
    pub(crate) fn delay(&self, time: Duration) {
        self.faults.delay.store(time.as_millis() as u64, Ordering::SeqCst);
    }

    /// Pieces of so many bytes: a slow line, together with a delay.
    pub(crate) fn pieces(&self, bytes: u64) {
        self.faults.piece.store(bytes, Ordering::SeqCst);
    }

    /// A byte is lost.
    pub(crate) fn lose_a_byte(&self) {
        self.faults.lose.store(true, Ordering::SeqCst);
    }

    /// A bit is turned.
    pub(crate) fn turn_a_bit(&self) {
        self.faults.turn.store(true, Ordering::SeqCst);
    }

    /// Connections break, and no new ones come about until [`Proxy::accept_again`].
    pub(crate) fn cut(&self) {
        self.faults.refuse.store(true, Ordering::SeqCst);
        for (one, other) in self.faults.sockets.lock().expect("no panic").drain(..) {
            let _ = one.shutdown(Shutdown::Both);
            let _ = other.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn accept_again(&self) {
        self.faults.refuse.store(false, Ordering::SeqCst);
    }

    /// Who has dialled sees its connection end; the other is not told.
    pub(crate) fn half_open(&self) {
        self.hold_all();
        for (one, _) in self.faults.sockets.lock().expect("no panic").iter() {
            let _ = one.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.faults.over.store(true, Ordering::SeqCst);
        self.cut();
        // The listener looks.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, faults: &Arc<Faults>) {
    for one in listener.incoming() {
        if faults.over.load(Ordering::SeqCst) {
            return;
        }
        let Ok(one) = one else { continue };
        if faults.refuse.load(Ordering::SeqCst) {
            continue;
        }
        let Ok(other) = TcpStream::connect(target) else { continue };
        let _ = (one.set_nodelay(true), other.set_nodelay(true));
        let clone = |socket: &TcpStream| socket.try_clone().expect("a descriptor");
        let (a, b, c, d) = (clone(&one), clone(&other), clone(&one), clone(&other));
        let (there, back) = (Arc::clone(faults), Arc::clone(faults));
        thread::spawn(move || pump(a, b, Way::There, &there));
        thread::spawn(move || pump(d, c, Way::Back, &back));
        faults.sockets.lock().expect("no panic").push((one, other));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, way: Way, faults: &Faults) {
    let mut buffer = vec![0; 64 * 1024];
    let wait = || {
        while faults.held[way as usize].load(Ordering::SeqCst) && !faults.over.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(2));
        }
    };
    loop {
        wait();
        let room = match faults.piece.load(Ordering::SeqCst) {
            0 => buffer.len(),
            bytes => bytes as usize,
        };
        let count = from.read(&mut buffer[..room]).unwrap_or(0);
        wait();
        if faults.over.load(Ordering::SeqCst) {
            return;
        }
        if count == 0 {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
        let delay = faults.delay.load(Ordering::SeqCst);
        if delay > 0 {
            thread::sleep(Duration::from_millis(delay));
        }
        let mut start = 0;
        if faults.lose.swap(false, Ordering::SeqCst) {
            start = 1;
        }
        if faults.turn.swap(false, Ordering::SeqCst) {
            buffer[count / 2] ^= 4;
        }
        if to.write_all(&buffer[start..count]).is_err() {
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
    }
}
