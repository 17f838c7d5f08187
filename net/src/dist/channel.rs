//! A connection as those see it who read from it and write to it.
//!
//! 1. *Writing.* Who pushes a packet calls [`Channel::kick`]: when much waits it writes at once, else its worker does, as soon as it has
//!    nothing else to run, and every 50 µs when it is busy ([`EventPoller::soon`]). So a lone message goes out at once, and many
//!    go out together. One writes at a time; who finds another one at it leaves a mark, and that one looks again.
//! 2. *Reading.* The worker whose poller watches the socket reads, decodes, and puts the messages into their mailboxes, on its thread's own
//!    stack (which is large) and without a process between. One reads at a time: it takes the [`Reader`] out of its place, and puts it
//!    back when all that it has sent is under way ([`driver::flush`]); who takes it puts what is under way to himself in its place first
//!    ([`driver::take_in`]). So the order of what a node sends is kept, whoever reads next, and who
//!    has taken the reader away ([`Channel::stop`]) knows that nothing more comes.
//! 3. *Where.* If messages go to processes of another worker for a while, the socket moves there, on one of two conditions. If that one also
//!    writes: question and answer then need no second thread. If it has been idle whenever something was read: then messages cross
//!    from one core to another for nothing. (A receiver that is busy is better left alone.) And if nothing but credit
//!    comes, the socket moves to the worker that writes.
//! 4. *How long.* Writing and reading end after 100 µs in favour of the worker's processes; the rest is done when it next looks at its poller.
//! 5. In systematic mode, and if a worker does not get on, the peer process does it all (`peer.rs`).
//!
//! No lock is held while anything is called that might wait, or run code of users.

use super::{
    inbound::{Addressees, Come, End, Reader},
    link::Link,
    peer::PeerMessage,
    session::Pulse,
    transport::Stream,
};
use crate::poller::{self, EventPoller, Job};
use engset_runtime::remote;
use engset_scheduler::driver::{self, WorkerName};
use std::{
    io::{self, IoSlice},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    },
    time::Duration,
};

/// Bytes that wait when a sender does not leave them to its worker.
const INLINE: usize = 64 * 1024;
/// Bytes that are made into frames in one go.
const PIECE: usize = 64 * 1024;
/// Pieces that are written before others have their turn.
const WRITES: usize = 4;
/// The same, and for pieces that are read, by the time that they take.
pub(crate) const LONG: Duration = Duration::from_micros(100);
/// Pieces that are read before others have their turn.
const READS: usize = 8;
/// So many times nothing was read for the worker that reads: it is the wrong one.
const ASTRAY: usize = 8;
/// So many times more than not another worker was idle before it got all that was read.
const DRAWN: usize = 32;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the reader is.
enum Place {
    Here(Box<Reader>),
    /// Somebody reads. True: he is to look again.
    Out(bool),
    /// The connection is over.
    Stopped,
}

#[derive(Default)]
struct Writer {
    out: Vec<u8>,
    /// Bytes of it that are gone.
    written: usize,
    failed: bool,
}

/// See the head of this file.
pub(crate) struct Channel {
    pub(crate) number: u64,
    pub(crate) stream: Box<dyn Stream>,
    pub(crate) pulse: Mutex<Pulse>,
    link: Arc<Link>,
    place: Mutex<Place>,
    writer: Mutex<Writer>,
    /// There may be something to write.
    wanted: AtomicBool,
    /// The poller that has promised to write: its address.
    promised: AtomicUsize,
    /// There was no room in the socket: senders need not try.
    blocked: AtomicBool,
    /// Reads in a row that had nothing for the worker that did it.
    astray: AtomicUsize,
    drawn: Mutex<Drawn>,
}

/// Where the socket may move to, though nothing is written there (rule 3).
#[derive(Default)]
struct Drawn {
    to: Option<WorkerName>,
    /// Reads that were for that worker alone: those when it was idle less those when it was not.
    reads: usize,
}

/// What a push asks of who has pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kick {
    No,
    Yes,
}

impl Channel {
    pub(crate) fn new(
        number: u64,
        stream: Box<dyn Stream>,
        pulse: Pulse,
        link: Arc<Link>,
        reader: Reader,
        unsent: Vec<u8>,
    ) -> Arc<Self> {
        Arc::new(Channel {
            number,
            stream,
            pulse: Mutex::new(pulse),
            link,
            place: Mutex::new(Place::Here(Box::new(reader))),
            writer: Mutex::new(Writer { out: unsent, ..Writer::default() }),
            wanted: AtomicBool::new(false),
            promised: AtomicUsize::new(0),
            blocked: AtomicBool::new(false),
            astray: AtomicUsize::new(0),
            drawn: Mutex::default(),
        })
    }

    /// Begins to read.
    pub(crate) fn begin(self: &Arc<Self>) {
        // What this process has told others comes before all that the connection brings.
        driver::flush();
        let channel = Arc::downgrade(self);
        self.stream.set_waker(Arc::new(move || {
            if let Some(channel) = channel.upgrade() {
                channel.happened();
            }
        }));
    }

    /// An event of the socket.
    fn happened(self: &Arc<Self>) {
        self.blocked.store(false, Ordering::SeqCst);
        if driver::is_dispatching() {
            Arc::clone(self).run();
        } else {
            self.link.tell(PeerMessage::Ready(self.number));
        }
    }

    /// Something was pushed, and so much waits. Under the link's lock.
    pub(crate) fn is_kick_needed(&self, queued: usize) -> Kick {
        // Relaxed: who has promised looks again after it has taken the promise back.
        self.wanted.store(true, Ordering::Relaxed);
        let promised = self.promised.load(Ordering::Relaxed);
        if self.blocked.load(Ordering::Relaxed) {
            return Kick::No;
        }
        let here = promised != 0 && poller::here() == Some(promised);
        if here && queued < INLINE { Kick::No } else { Kick::Yes }
    }

    /// See rule 1. Not under the link's lock.
    pub(crate) fn kick(self: &Arc<Self>, queued: usize) {
        if queued >= INLINE || !driver::on_worker() {
            return self.flush();
        }
        self.flush_later();
    }

    /// This worker writes soon; or the peer process.
    fn flush_later(self: &Arc<Self>) {
        let promise = |poller: &Arc<EventPoller>| {
            self.promised.store(Arc::as_ptr(poller).addr(), Ordering::Relaxed);
            poller.soon(Arc::clone(self) as Arc<dyn Job>);
            Ok(())
        };
        // Systematic mode has no pollers.
        if !matches!(poller::with(promise), Some(Ok(()))) {
            self.link.tell(PeerMessage::Flush);
        }
    }

    /// The writer. `None`: somebody else writes, and looks again when he is done, for this leaves the mark. (Not only who pushes marks: an event
    /// that makes room while another one gives up for want of it would be lost.)
    fn writer(&self) -> Option<MutexGuard<'_, Writer>> {
        for again in [false, true] {
            match self.writer.try_lock() {
                Ok(writer) => return Some(writer),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if again => return None,
                Err(TryLockError::WouldBlock) => {
                    // Relaxed: ordered by the fence, which pairs with the one of `flush`.
                    self.wanted.store(true, Ordering::Relaxed);
                    fence(Ordering::SeqCst);
                }
            }
        }
        None
    }

    /// Writes what there is to write, as far as there is room; not for long.
    pub(crate) fn flush(self: &Arc<Self>) {
        let end = engset_runtime::now() + LONG;
        for _ in 0..WRITES {
            let Some(mut writer) = self.writer() else { return };
            self.wanted.store(false, Ordering::Relaxed);
            if writer.failed {
                return;
            }
            let result = self.write(&mut writer, end);
            if writer.out.capacity() > 2 * PIECE && writer.out.is_empty() {
                writer.out = Vec::new();
            }
            writer.failed = result.is_err();
            drop(writer);
            self.link.wake_senders();
            if let Err(error) = result {
                return self.link.tell(PeerMessage::Broken(self.number, error));
            }
            // Pairs with the one of `writer`: who has found the lock taken has left a mark, or now finds it free.
            fence(Ordering::SeqCst);
            if !self.wanted.load(Ordering::Relaxed) {
                return;
            }
            if engset_runtime::now() >= end {
                break;
            }
        }
        self.flush_later();
    }

    fn write(&self, writer: &mut Writer, end: Duration) -> io::Result<()> {
        for turn in 0..WRITES {
            let now = engset_runtime::now();
            if turn > 0 && now >= end {
                break;
            }
            if writer.written == writer.out.len() {
                writer.out.clear();
                writer.written = 0;
                if let Some(up) = &mut self.link.lock().up
                    && up.channel.number == self.number
                {
                    up.outgoing.tell_time(now);
                    up.outgoing.produce(&mut writer.out, PIECE);
                }
                if writer.out.is_empty() {
                    return Ok(());
                }
            }
            match self.stream.write(&[IoSlice::new(&writer.out[writer.written..])]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => writer.written += count,
                // An event that comes from now on takes the mark back; one that came before makes the second try succeed.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.blocked.swap(true, Ordering::SeqCst) {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.wanted.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Reads and delivers what is there. True: there may be more.
    pub(crate) fn read(self: &Arc<Self>) -> bool {
        let mut reader = {
            let mut place = lock(&self.place);
            match std::mem::replace(&mut *place, Place::Out(false)) {
                Place::Here(reader) => reader,
                Place::Out(_) => {
                    *place = Place::Out(true);
                    return false;
                }
                Place::Stopped => {
                    *place = Place::Stopped;
                    return false;
                }
            }
        };
        // Who has read before may have been another worker.
        driver::take_in();
        let was_idle = lock(&self.drawn).to.is_some_and(driver::is_idle);
        let result = reader.read(self, READS);
        let addressees = reader.take_addressees();
        driver::flush();
        let drawn = self.judge(addressees, was_idle);
        match result {
            Ok(more) => {
                let before = std::mem::replace(&mut *lock(&self.place), Place::Here(reader));
                if let Some(worker) = drawn {
                    self.move_to(worker);
                }
                more || matches!(before, Place::Out(true))
            }
            Err(end) => {
                *lock(&self.place) = Place::Stopped;
                self.link.tell(PeerMessage::Ended(self.number, end));
                false
            }
        }
    }

    /// Takes in what came together with the last bytes of the handshake.
    pub(crate) fn take_in(&self, bytes: &[u8]) -> Result<(), End> {
        let mut place = lock(&self.place);
        let Place::Here(mut reader) = std::mem::replace(&mut *place, Place::Out(false)) else {
            return Ok(());
        };
        drop(place);
        let result = reader.take_in(self, Come::Bytes(bytes));
        *lock(&self.place) = Place::Here(reader);
        result
    }

    /// Nothing is delivered any more; what was delivered comes before all that the caller sends. False: somebody reads still, ask again.
    pub(crate) fn stop(&self) -> bool {
        let mut place = lock(&self.place);
        if matches!(*place, Place::Out(_)) {
            return false;
        }
        let before = std::mem::replace(&mut *place, Place::Stopped);
        drop(place);
        drop(before);
        driver::take_in();
        true
    }

    /// After a read: was this the right worker (rule 3)? Returns the one that the socket is to move to.
    fn judge(&self, addressees: Addressees, was_idle: bool) -> Option<WorkerName> {
        // Relaxed: the count is a hint, here and below.
        let astray = self.astray.load(Ordering::Relaxed);
        let Addressees { here, elsewhere, other } = addressees;
        if here > 0 {
            self.astray.store(0, Ordering::Relaxed);
            *lock(&self.drawn) = Drawn::default();
            return None;
        }
        if elsewhere == 0 {
            // Credit: it is for who writes.
            let writer = self.promised.load(Ordering::Relaxed);
            if writer != 0 && poller::here() != Some(writer) {
                self.astray.store(astray + 1, Ordering::Relaxed);
            }
            return None;
        }
        self.astray.store(astray + 1, Ordering::Relaxed);
        let worker = other.and_then(remote::worker_of)?;
        let mut drawn = lock(&self.drawn);
        if drawn.to != Some(worker) {
            *drawn = Drawn { to: Some(worker), reads: 0 };
        } else if was_idle {
            drawn.reads += 1;
        } else {
            drawn.reads = drawn.reads.saturating_sub(1);
        }
        if drawn.reads < DRAWN {
            return None;
        }
        *drawn = Drawn::default();
        Some(worker)
    }

    /// The socket moves to this worker if it should (rule 3).
    fn move_here(&self) {
        if self.astray.load(Ordering::Relaxed) >= ASTRAY {
            self.attach();
        }
    }

    fn attach(&self) {
        // Nobody reads meanwhile, and all that was read is under way.
        let place = lock(&self.place);
        if matches!(*place, Place::Here(_)) {
            self.astray.store(0, Ordering::Relaxed);
            self.stream.attach();
        }
    }

    /// The socket moves to another worker.
    fn move_to(self: &Arc<Self>, worker: WorkerName) {
        poller::soon_at(worker, Arc::new(Move(Arc::clone(self))));
    }
}

/// Moves the socket to the worker that runs this.
struct Move(Arc<Channel>);

impl Job for Move {
    fn run(self: Arc<Self>) {
        self.0.attach();
    }
}

impl Job for Channel {
    fn run(self: Arc<Self>) {
        match poller::here() {
            // Relaxed: it is this worker's own promise, if it is one.
            Some(here) if self.promised.load(Ordering::Relaxed) == here => {
                self.promised.store(0, Ordering::Relaxed);
                self.move_here();
            }
            Some(_) => {}
            // In place of a worker that does not get on. Whose promise it was is not known; none is never wrong.
            None => self.promised.store(0, Ordering::Relaxed),
        }
        self.flush();
        if !driver::is_dispatching() {
            return self.link.tell(PeerMessage::Ready(self.number));
        }
        if self.read() {
            let again = poller::with(|poller| {
                poller.soon(Arc::clone(&self) as Arc<dyn Job>);
                Ok(())
            });
            if !matches!(again, Some(Ok(()))) {
                self.link.tell(PeerMessage::Ready(self.number));
            }
        }
        // Credit, and what was answered.
        self.flush();
    }
}
