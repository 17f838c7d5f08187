//! Request and reply (semantics row S7).
//!
//! In Erlang a call is a monitor, a one-shot alias, a send and a selective receive. The same promises,
//! cheaper:
//!
//! 1. The request carries a [`Reply`] that names the caller and this call. The answer is a reply envelope
//!    with the call's tag: it goes to the one that waits for this tag, past the mailbox, and to nobody else.
//!    So an answer that comes too late is dropped, and no search is needed.
//! 2. Whatever becomes of the request, its `Reply` is used or dropped. Dropped by a live process: `NoReply`.
//!    Dropped because the process unwinds or its mailbox closes: `Down` with the reason of its end,
//!    which the teardown sends when it is known. That is the monitor, in the usual case, for nothing.
//! 3. A `Reply` may be kept by somebody else, or leaked. So a caller that has waited for [`PATIENCE`] sets
//!    a real monitor on the process that it called.
//! 4. The deadline travels in the envelope: a request whose caller has given up is not received.

use crate::{
    bound,
    error::{CallError, SendError, Undecodable},
    event::MonitorRef,
    hooks, node,
    pid::{Address, Pid},
    process,
    reason::DownReason,
    reductions::price,
    related::Watch,
    remote, send,
    signal::Signal,
    state,
};
use engset_scheduler::{
    Envelope,
    current::{self, Wake},
};
use std::{
    fmt,
    marker::PhantomData,
    mem,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

/// How long a call waits if it does not say otherwise.
pub const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// After this a caller sets a monitor (rule 3), in nanoseconds. Guess: long for a call, short for people.
const PATIENCE: u64 = 10_000_000;

/// The right to answer one call. Use it once; it may be kept, and passed on to other processes.
///
/// If it is dropped, the caller gets an error.
#[must_use = "the caller waits for it"]
pub struct Reply<T> {
    caller: Pid,
    /// 0: it is spent, for it went to another node.
    reference: AtomicU64,
    takes: PhantomData<fn(T)>,
}

/// The answer.
pub(crate) struct Answer<T> {
    pub(crate) reference: u64,
    pub(crate) value: T,
}

/// There will be no answer.
#[derive(Debug)]
pub(crate) struct Broken {
    reference: u64,
    why: Why,
}

/// Why there is none.
#[derive(Debug)]
pub(crate) enum Why {
    /// The process lives, and has dropped the reply.
    Dropped,
    Down(DownReason),
    Undecodable(Undecodable),
}

impl Broken {
    pub(crate) fn down(reference: u64, reason: DownReason) -> Self {
        Broken { reference, why: Why::Down(reason) }
    }

    pub(crate) fn into_parts(self) -> (u64, Why) {
        (self.reference, self.why)
    }

    pub(crate) fn no_reply(reference: u64) -> Self {
        Broken { reference, why: Why::Dropped }
    }

    pub(crate) fn undecodable(reference: u64, why: Undecodable) -> Self {
        Broken { reference, why: Why::Undecodable(why) }
    }

    pub(crate) fn seal(self) -> Envelope {
        Envelope::reply(tag_of(self.reference), self)
    }
}

#[inline(always)]
fn tag_of(reference: u64) -> u32 {
    // The low half counts calls of a worker, the top 16 bits name the worker.
    reference as u32 ^ ((reference >> 48) as u32) << 24
}

pub(crate) fn fresh_reference() -> u64 {
    current::unique().unwrap_or_else(node::unique_outside)
}

impl<T: Send + 'static> Reply<T> {
    /// Answers. If the caller has given up, the answer is dropped.
    #[inline]
    pub fn send(self, value: T) {
        let Some((caller, reference)) = self.spend() else { return };
        mem::forget(self);
        to_caller(caller, Envelope::reply(tag_of(reference), Answer { reference, value }));
        current::reduce(price::SEND);
    }
}

impl<T> Reply<T> {
    #[inline]
    pub(crate) fn new(caller: Pid, reference: u64) -> Self {
        Reply { caller, reference: AtomicU64::new(reference), takes: PhantomData }
    }

    /// One that has come from another node.
    pub(crate) fn from_parts(caller: Pid, reference: u64) -> Self {
        Self::new(caller, reference)
    }

    /// Takes the right to answer away; `None`: it is gone already.
    #[inline(always)]
    pub(crate) fn spend(&self) -> Option<(Pid, u64)> {
        // Relaxed, and no exchange: a `Reply` is moved, and serialised by the one that has it.
        let reference = self.reference.load(Ordering::Relaxed);
        self.reference.store(0, Ordering::Relaxed);
        (reference != 0).then_some((self.caller, reference))
    }

    /// For a request that carries it in another form.
    pub(crate) fn into_parts(self) -> (Pid, u64) {
        let parts = (self.caller, self.reference.load(Ordering::Relaxed));
        mem::forget(self);
        parts
    }

    /// The caller and its call.
    pub(crate) fn parts(&self) -> (Pid, u64) {
        // Relaxed: as in `into_parts`.
        (self.caller, self.reference.load(Ordering::Relaxed))
    }

    /// Who waits for it; `None`: a thread that is no process.
    #[must_use]
    pub fn caller(&self) -> Option<Pid> {
        self.caller.outside_waiter().is_none().then_some(self.caller)
    }
}

#[inline(always)]
fn to_caller(caller: Pid, envelope: Envelope) {
    if caller.outside_waiter().is_some() && caller.node().is_here() {
        node::answer_outside(caller, envelope);
    } else if let Err(envelope) = send::envelope(caller, envelope) {
        current::drop_outside(envelope);
    }
}

/// An answer, for [`give`].
pub(crate) fn seal<T: Send + 'static>(reference: u64, value: T) -> Envelope {
    Envelope::reply(tag_of(reference), Answer { reference, value })
}

/// Gives an answer to its caller.
pub(crate) fn give(caller: Pid, answer: Envelope) {
    to_caller(caller, answer);
}

/// Answers a call whose `Reply` was taken apart.
pub(crate) fn answer<T: Send + 'static>(caller: Pid, reference: u64, value: T) {
    to_caller(caller, Envelope::reply(tag_of(reference), Answer { reference, value }));
}

/// Tells a caller that there will be no answer.
pub(crate) fn break_off(caller: Pid, broken: Broken) {
    to_caller(caller, broken.seal());
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        let Some((caller, reference)) = self.spend() else { return };
        if hooks::is_ending() {
            // The reason is not known yet: the teardown tells it (rule 2). Should the process catch its panic and
            // live on, its own signal reminds it.
            let parked = state::with(|state| {
                let abandoned = &mut state.rare().abandoned;
                abandoned.push((caller, reference));
                abandoned.len() == 1
            });
            if let Some(first) = parked {
                if first
                    && !current::is_ending()
                    && let Some(me) = process::try_self_pid()
                {
                    send::signal(me, Signal::Survived);
                }
                return;
            }
        }
        break_off(caller, Broken::no_reply(reference));
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({} {:x})", self.caller, self.reference.load(Ordering::Relaxed))
    }
}

impl<M: Send + 'static> Address<M> {
    /// Sends the request that `make` builds around a [`Reply`], and waits for the answer, 5 seconds at most.
    ///
    /// ```
    /// # engset_runtime::run(|| {
    /// use engset_runtime::{Mailbox, Reply, spawn};
    ///
    /// enum Request { Double(u32, Reply<u32>) }
    ///
    /// let server = spawn(|mut mailbox: Mailbox<Request>| loop {
    ///     let Request::Double(number, reply) = mailbox.message();
    ///     reply.send(2 * number);
    /// });
    /// assert_eq!(server.call(|reply| Request::Double(21, reply)), Ok(42));
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// See [`CallError`]. `unwrap` or `?` is "let it crash".
    ///
    /// # Signals
    ///
    /// If an exit signal ends the caller, its stack unwinds from here.
    #[inline]
    pub fn call<T: Send + 'static>(self, make: impl FnOnce(Reply<T>) -> M) -> Result<T, CallError> {
        self.call_timeout(make, DEFAULT_CALL_TIMEOUT)
    }

    /// The same with another timeout; [`Duration::MAX`]: none.
    ///
    /// # Errors, Signals
    ///
    /// As [`Address::call`].
    pub fn call_timeout<T: Send + 'static>(
        self,
        make: impl FnOnce(Reply<T>) -> M,
        timeout: Duration,
    ) -> Result<T, CallError> {
        let Some(me) = process::try_self_pid() else { return self.call_from_outside(make, timeout) };
        if me == self.pid() {
            return Err(CallError::CallingSelf);
        }
        if !current::may_wait() {
            return Err(CallError::Unwinding);
        }
        let start = current::soon();
        let deadline = process::add(start, timeout);
        let reference = fresh_reference();
        // Awaited before the `Reply` is out: `make` may give it away, and let others run. And once more after
        // that: `make` may have made a call of its own.
        current::await_reply(tag_of(reference));
        let request = make(Reply::new(me, reference));
        current::await_still(tag_of(reference));
        if send::is_marked(self.pid()) {
            match bound::send_request(self, request, hooks::expiry(start, deadline), Some(deadline)) {
                Ok(()) => {}
                Err(SendError::Dead(request)) => {
                    mem::drop(request);
                    current::cancel_reply();
                    return Err(CallError::Down(send::verdict_of_dead(self.pid())));
                }
                Err(SendError::Full(request)) if deadline != u64::MAX && current::now() >= deadline => {
                    mem::drop(request);
                    current::cancel_reply();
                    return Err(CallError::Timeout(timeout));
                }
                Err(error) => {
                    let why = error.to_string();
                    mem::drop(error);
                    current::cancel_reply();
                    return Err(CallError::Refused(why));
                }
            }
        } else {
            let mut envelope = Envelope::message(request);
            envelope.set_tag(hooks::expiry(start, deadline));
            if let Err(envelope) = send::envelope(self.pid(), envelope) {
                mem::drop(envelope);
                current::cancel_reply();
                return Err(CallError::Down(send::verdict_of_dead(self.pid())));
            }
        }
        current::reduce(price::SEND + price::RECEIVE);
        let result = await_answer(self.pid(), reference, start, deadline);
        if result.is_err() {
            current::cancel_reply();
        }
        match result {
            Ok(value) => Ok(value),
            Err(None) => Err(CallError::Timeout(timeout)),
            Err(Some(error)) => Err(error),
        }
    }

    fn call_from_outside<T: Send + 'static>(
        self,
        make: impl FnOnce(Reply<T>) -> M,
        timeout: Duration,
    ) -> Result<T, CallError> {
        let home = remote::home(self.pid().node());
        let Some((waiter, answer)) = node::Waiter::thread(home) else {
            return Err(CallError::Down(DownReason::NoConnection));
        };
        let reference = waiter.reference();
        let now = node::scheduler_of(home).map_or(0, |scheduler| scheduler.now());
        let deadline = process::add(now, timeout);
        let expiry = hooks::expiry(now, deadline);
        let request = make(Reply::new(waiter.pid(), reference));
        // A monitor from the start, and before the request, which may be the last one that the process receives.
        // (Outside, the time for it does not matter.)
        let watch = MonitorRef(reference);
        let demonitor =
            || send::signal(self.pid(), Signal::Demonitor { watcher: waiter.pid(), reference: watch });
        send::signal(self.pid(), Signal::Monitor { watcher: waiter.pid(), reference: watch });
        let sent = if send::is_marked(self.pid()) {
            bound::send_request(self, request, expiry, Some(u64::MAX))
        } else {
            let mut envelope = Envelope::message(request);
            envelope.set_tag(expiry);
            send::envelope(self.pid(), envelope).map_err(send::dead)
        };
        match sent {
            Ok(()) => {}
            Err(SendError::Dead(request)) => {
                mem::drop(request);
                return Err(CallError::Down(send::verdict_of_dead(self.pid())));
            }
            Err(error) => {
                demonitor();
                return Err(CallError::Refused(error.to_string()));
            }
        }
        let result = match node::wait_on_thread(&answer, timeout) {
            Ok(envelope) => {
                let result = open(envelope, reference).unwrap_or(Err(CallError::NoReply));
                unless_late(result, home, deadline, timeout)
            }
            Err(mpsc::RecvTimeoutError::Timeout) => Err(CallError::Timeout(timeout)),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(CallError::Down(DownReason::NoConnection)),
        };
        demonitor();
        result
    }
}

/// A request that was dropped because its caller had given up: the caller has only not been told the time yet.
pub(crate) fn unless_late<T>(
    result: Result<T, CallError>,
    home: node::NodeId,
    deadline: u64,
    timeout: Duration,
) -> Result<T, CallError> {
    match result {
        Err(CallError::NoReply)
            if deadline != u64::MAX
                && node::scheduler_of(home).is_some_and(|scheduler| scheduler.now() >= deadline) =>
        {
            Err(CallError::Timeout(timeout))
        }
        other => other,
    }
}

/// A call whose request is a signal. (A dead process' answer is the signal's: `send.rs`.)
pub(crate) fn call_by_signal<T: Send + 'static>(
    callee: Pid,
    make: impl FnOnce(Reply<T>) -> Signal,
    timeout: Duration,
) -> Result<T, CallError> {
    let Some(me) = process::try_self_pid() else { return signal_from_outside(callee, make, timeout) };
    if me == callee {
        return Err(CallError::CallingSelf);
    }
    if !current::may_wait() {
        return Err(CallError::Unwinding);
    }
    let start = current::now();
    let deadline = process::add(start, timeout);
    let reference = fresh_reference();
    current::await_reply(tag_of(reference));
    let signal = make(Reply::new(me, reference));
    current::await_still(tag_of(reference));
    send::signal(callee, signal);
    current::reduce(price::OTHER);
    let result = await_answer(callee, reference, start, deadline);
    if result.is_err() {
        current::cancel_reply();
    }
    result.map_err(|error| error.unwrap_or(CallError::Timeout(timeout)))
}

/// The same for a thread that is no process: with a monitor from the start.
fn signal_from_outside<T: Send + 'static>(
    callee: Pid,
    make: impl FnOnce(Reply<T>) -> Signal,
    timeout: Duration,
) -> Result<T, CallError> {
    let gone = || CallError::Down(DownReason::NoConnection);
    let (waiter, answer) = node::Waiter::thread(callee.node()).ok_or_else(gone)?;
    let reference = waiter.reference();
    let watch = MonitorRef(reference);
    send::signal(callee, Signal::Monitor { watcher: waiter.pid(), reference: watch });
    send::signal(callee, make(Reply::new(waiter.pid(), reference)));
    let result = match node::wait_on_thread(&answer, timeout) {
        Ok(envelope) => open(envelope, reference).unwrap_or(Err(CallError::NoReply)),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(CallError::Timeout(timeout)),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(gone()),
    };
    send::signal(callee, Signal::Demonitor { watcher: waiter.pid(), reference: watch });
    result
}

/// Rules 1 and 3. `Err(None)`: the deadline has passed.
fn await_answer<T: Send + 'static>(
    callee: Pid,
    reference: u64,
    start: u64,
    deadline: u64,
) -> Result<T, Option<CallError>> {
    let mut until = deadline.min(start + PATIENCE);
    let mut watch = None;
    let result = loop {
        match current::wait_reply(until) {
            Ok(envelope) => match open(envelope, reference) {
                // Its request has been dropped because it had given up: it only has not been told the time yet.
                Some(Err(CallError::NoReply)) if deadline != u64::MAX && current::now() >= deadline => {
                    break Err(None);
                }
                Some(result) => break result.map_err(Some),
                // Of a call long ago whose tag has come round again.
                None => current::await_reply(tag_of(reference)),
            },
            Err(Wake::TimedOut) if until < deadline => {
                until = deadline;
                watch = Some(watch_callee(callee, reference));
            }
            Err(Wake::TimedOut) => break Err(None),
            Err(Wake::Ending) => break Err(Some(CallError::Unwinding)),
            Err(Wake::Ready | Wake::Poked) => {}
        }
    };
    if let Some(watch) = watch {
        let still_set = state::with(|state| state.relations.remove_monitor(watch).is_some());
        if still_set == Some(true)
            && let Some(watcher) = process::try_self_pid()
        {
            send::signal(callee, Signal::Demonitor { watcher, reference: watch });
        }
    }
    result
}

/// Rule 3.
#[cold]
fn watch_callee(target: Pid, reference: u64) -> MonitorRef {
    let watch = MonitorRef(fresh_reference());
    state::with(|state| state.relations.add_monitor(watch, Watch::of_call(target, reference)));
    if let Some(watcher) = process::try_self_pid() {
        send::signal(target, Signal::Monitor { watcher, reference: watch });
    }
    watch
}

/// What is in the envelope for this call; `None`: it is for another one.
#[inline]
pub(crate) fn open<T: Send + 'static>(envelope: Envelope, reference: u64) -> Option<Result<T, CallError>> {
    match envelope.take::<Answer<T>>() {
        Ok(answer) => (answer.reference == reference).then_some(Ok(answer.value)),
        Err(envelope) => {
            let broken = envelope.take::<Broken>().ok()?;
            if broken.reference != reference {
                return None;
            }
            Some(Err(match broken.why {
                Why::Dropped => CallError::NoReply,
                Why::Down(reason) => CallError::Down(reason),
                Why::Undecodable(why) => CallError::Undecodable(why),
            }))
        }
    }
}

/// Waits for a value that somebody computes elsewhere: `start` gets a [`Reply`] for it. The machinery of a
/// call without a process on the other side.
pub(crate) fn wait_for<T: Send + 'static>(start: impl FnOnce(Reply<T>)) -> Result<T, CallError> {
    wait_for_timeout(start, Duration::MAX)
}

/// The same, not for longer than this.
pub(crate) fn wait_for_timeout<T: Send + 'static>(
    start: impl FnOnce(Reply<T>),
    timeout: Duration,
) -> Result<T, CallError> {
    let Some(caller) = process::try_self_pid() else { return Err(CallError::Unwinding) };
    let deadline = process::add(current::now(), timeout);
    let reference = fresh_reference();
    current::await_reply(tag_of(reference));
    start(Reply::new(caller, reference));
    loop {
        match current::wait_reply(deadline) {
            Ok(envelope) => {
                if let Some(result) = open(envelope, reference) {
                    return result;
                }
                current::await_reply(tag_of(reference));
            }
            Err(Wake::Ending) => {
                current::cancel_reply();
                return Err(CallError::Unwinding);
            }
            Err(Wake::TimedOut) if deadline != u64::MAX => {
                current::cancel_reply();
                return Err(CallError::Timeout(timeout));
            }
            Err(_) => {}
        }
    }
}

/// A fresh tag, for a request to the scheduler.
pub(crate) fn fresh_tag() -> u32 {
    tag_of(fresh_reference())
}
