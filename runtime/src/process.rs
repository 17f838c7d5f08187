//! Spawning, and what a process can ask about itself.

use crate::{
    builder::Builder,
    event::MonitorRef,
    mailbox::Mailbox,
    names::Message,
    node,
    pid::{Address, Pid},
};
use engset_scheduler::{
    Body, Step,
    current::{self, Wake},
};
use std::time::Duration;

/// What a process can be made of: a function without argument, or one that takes a [`Mailbox`].
///
/// `A` tells the two apart; it is never named.
pub trait Entry<A>: Send + 'static {
    /// What one gets to talk to the process: a [`Pid`], or an [`Address`].
    type Handle: Copy + Into<Pid> + Send;

    #[doc(hidden)]
    fn handle(pid: Pid) -> Self::Handle;

    #[doc(hidden)]
    fn run(self, pid: Pid);

    #[doc(hidden)]
    fn message() -> Message;
}

impl<F: FnOnce() + Send + 'static> Entry<()> for F {
    type Handle = Pid;

    fn handle(pid: Pid) -> Pid {
        pid
    }

    fn run(self, _pid: Pid) {
        self();
    }

    fn message() -> Message {
        Message::none()
    }
}

impl<M: Send + 'static, F: FnOnce(Mailbox<M>) + Send + 'static> Entry<(M,)> for F {
    type Handle = Address<M>;

    fn handle(pid: Pid) -> Address<M> {
        Address::new(pid)
    }

    fn run(self, pid: Pid) {
        self(Mailbox::of_current(pid));
    }

    fn message() -> Message {
        Message::of::<M>()
    }
}

/// The body of a process that is one function call.
pub(crate) struct Once<A, E> {
    entry: Option<E>,
    args: std::marker::PhantomData<fn(A)>,
}

impl<A, E: Entry<A>> Once<A, E> {
    pub(crate) fn new(entry: E) -> Self {
        Once { entry: Some(entry), args: std::marker::PhantomData }
    }
}

impl<A, E: Entry<A>> Body for Once<A, E> {
    fn step(&mut self) -> Step {
        if let Some(entry) = self.entry.take() {
            entry.run(self_pid());
        }
        Step::Done
    }
}

/// Spawns a process on this node, from within a process.
///
/// `entry` is a closure without argument, or one that takes a [`Mailbox`]. It is `Send`: it may start
/// on another thread. Once it has started it never changes its thread, so what it makes for itself need not
/// be `Send`: `Rc`, `RefCell`, guards, thread-locals' references are all fine on its stack. That is
/// why this function is safe.
///
/// # Panics
///
/// Outside of a process (there, use [`run`](crate::run) or [`Node::spawn`](crate::Node::spawn)), and if the
/// limit of processes is reached ([`Builder::spawn`] gives an error instead).
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::{Mailbox, spawn};
///
/// let pid = spawn(|| println!("no mailbox"));
/// let address = spawn(|mut mailbox: Mailbox<String>| assert_eq!(mailbox.message(), "hello"));
/// address.send("hello".to_owned());
/// # let _ = pid;
/// # }).unwrap();
/// ```
#[track_caller]
pub fn spawn<A, E: Entry<A>>(entry: E) -> E::Handle
where
    A: 'static,
{
    Builder::new().spawn(entry).unwrap_or_else(|error| panic!("spawn: {error}"))
}

/// [`spawn`] and [`link`](crate::link) in one step: there is no moment at which the new process runs unlinked.
///
/// # Panics
///
/// As [`spawn`].
#[track_caller]
pub fn spawn_link<A: 'static, E: Entry<A>>(entry: E) -> E::Handle {
    Builder::new().link().spawn(entry).unwrap_or_else(|error| panic!("spawn_link: {error}"))
}

/// [`spawn`] and [`monitor`](crate::monitor) in one step: the `Down` tells how it really ended, however soon.
///
/// # Panics
///
/// As [`spawn`].
#[track_caller]
pub fn spawn_monitor<A: 'static, E: Entry<A>>(entry: E) -> (E::Handle, MonitorRef) {
    Builder::new().spawn_monitor(entry).unwrap_or_else(|error| panic!("spawn_monitor: {error}"))
}

/// The pid of the process that runs here.
///
/// # Panics
///
/// Outside of a process.
#[track_caller]
pub fn self_pid() -> Pid {
    match try_self_pid() {
        Some(pid) => pid,
        None => panic!("this can only be done within a process"),
    }
}

/// The pid of the process that runs here, if one does.
#[inline]
#[must_use]
pub fn try_self_pid() -> Option<Pid> {
    let task = current::task()?;
    let id = node::with_current(|inner| inner.id)?;
    Some(Pid::new(id, task))
}

/// Waits. Messages that come meanwhile stay in the mailbox.
///
/// Outside of a process it blocks the thread. In a process that is ending (a destructor calls it while
/// the stack unwinds) it returns at once.
///
/// # Signals
///
/// If an exit signal ends the process, its stack unwinds from here.
pub fn sleep(duration: Duration) {
    if !current::on_worker() || current::task().is_none() {
        #[allow(clippy::disallowed_methods, reason = "no process: a thread of the user's")]
        return std::thread::sleep(duration);
    }
    let deadline = deadline(duration);
    while !matches!(current::sleep(deadline), Wake::TimedOut | Wake::Ending) {}
}

/// Nanoseconds on the scheduler's clock; `u64::MAX`: never.
pub(crate) fn deadline(timeout: Duration) -> u64 {
    if timeout == Duration::MAX {
        return u64::MAX;
    }
    if timeout.is_zero() {
        return 0;
    }
    add(current::soon(), timeout)
}

#[inline]
pub(crate) fn add(now: u64, timeout: Duration) -> u64 {
    u64::try_from(timeout.as_nanos()).map_or(u64::MAX, |nanos| now.saturating_add(nanos))
}

/// Time since this process' node started, on its clock (virtual in systematic mode); zero outside of a
/// process. Use it, and not `Instant`, in code that is tested in systematic mode.
#[must_use]
pub fn now() -> Duration {
    Duration::from_nanos(current::now())
}

/// A number from the node's generator; in systematic mode it follows from the seed. For choices that need no secret: it
/// can be predicted. Outside of a process it comes from a counter, mixed.
#[must_use]
pub fn random() -> u64 {
    current::random().unwrap_or_else(|| {
        // The output function of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
        let mut mixed = node::unique_outside().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}
