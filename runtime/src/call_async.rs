//! Calls for futures: of callers outside, on any executor, and of processes that want several answers at once.
//!
//! The promises are those of [`Address::call`], with these differences.
//!
//! 1. The request is sent at once, not at the first poll: so it keeps its place among what the caller sends.
//! 2. The caller is no process (`Reply::caller` is `None`), even if the future is polled by one: the answer wakes a waker.
//! 3. If the mailbox is full and its policy makes senders wait, a process of the node waits in the caller's place.
//! 4. Dropping the future is giving up: the answer is dropped when it comes. The request is not taken back.

use crate::{
    Builder, bound,
    call::{self, DEFAULT_CALL_TIMEOUT, Reply},
    error::{CallError, SendError},
    event::MonitorRef,
    future::{self, keep},
    hooks,
    node::{self, Slot, Waiter},
    pid::{Address, Pid},
    process::{add, try_self_pid},
    reason::DownReason,
    relations, remote, send,
    signal::Signal,
};
use engset_scheduler::Envelope;
use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

impl<M: Send + 'static> Address<M> {
    /// Sends the request that `make` builds around a [`Reply`], at once. The future is the answer, or why there is none; it waits for 5
    /// seconds at most. It can be polled by any executor, and within a process.
    ///
    /// ```
    /// use engset_runtime::{Config, Mailbox, Node, Reply, future::block_on};
    ///
    /// let node = Node::start(Config::new().workers(1))?;
    /// let server = node.spawn(|mut mailbox: Mailbox<(u32, Reply<u32>)>| loop {
    ///     let (number, reply) = mailbox.message();
    ///     reply.send(2 * number);
    /// })?;
    /// let answer = async { server.call_async(|reply| (21, reply)).await };
    /// assert_eq!(block_on(answer), Ok(42)); // or tokio's, smol's, …
    /// assert!(node.stop());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn call_async<T: Send + 'static>(self, make: impl FnOnce(Reply<T>) -> M) -> CallFuture<T> {
        self.call_async_timeout(make, DEFAULT_CALL_TIMEOUT)
    }

    /// The same with another timeout; [`Duration::MAX`]: none.
    pub fn call_async_timeout<T: Send + 'static>(
        self,
        make: impl FnOnce(Reply<T>) -> M,
        timeout: Duration,
    ) -> CallFuture<T> {
        let callee = self.pid();
        if try_self_pid() == Some(callee) {
            return CallFuture::failed(CallError::CallingSelf);
        }
        let home = remote::home(callee.node());
        let Some(((waiter, slot), scheduler)) = Waiter::future(home).zip(node::scheduler_of(home)) else {
            return CallFuture::failed(CallError::Down(DownReason::NoConnection));
        };
        let (start, reference) = (scheduler.now(), waiter.reference());
        let deadline = if timeout == Duration::MAX { u64::MAX } else { add(start, timeout) };
        let expiry = hooks::expiry(start, deadline);
        let request = make(Reply::new(waiter.pid(), reference));
        // From here on a drop says that nobody watches any more.
        let mut waiting = Waiting {
            callee,
            waiter,
            slot,
            home,
            deadline,
            timeout,
            watches: true,
            helper: None,
            alarm: Alarm::None,
        };
        // Before the request, which may be the last one that the process receives.
        let watcher = waiting.waiter.pid();
        send::signal(callee, Signal::Monitor { watcher, reference: MonitorRef(reference) });
        let sent = if send::is_marked(callee) {
            bound::send_request(self, request, expiry, None)
        } else {
            let mut envelope = Envelope::message(request);
            envelope.set_tag(expiry);
            send::envelope(callee, envelope).map_err(send::dead)
        };
        match sent {
            Ok(()) => {}
            Err(SendError::Dead(request)) => {
                mem::drop(request);
                waiting.watches = false;
                return CallFuture::failed(CallError::Down(send::verdict_of_dead(callee)));
            }
            Err(SendError::Full(request)) if bound::makes_wait(callee) => {
                // Rule 3. If it does not start, or ends before it has sent the request, that drops the `Reply`. At the
                // deadline it is killed.
                let wait = move || {
                    if let Err(error) = bound::send_request(self, request, expiry, Some(u64::MAX)) {
                        mem::drop(error);
                    }
                };
                let node = node::find(home);
                waiting.helper = node.and_then(|node| Builder::new().spawn_on(&node, wait).ok());
            }
            Err(error) => return CallFuture::failed(CallError::Refused(error.to_string())),
        }
        CallFuture { state: State::Waiting(Box::new(waiting)), gives: PhantomData }
    }
}

/// The answer to a call, in time. See [`Address::call_async`].
#[must_use = "the answer is lost"]
pub struct CallFuture<T> {
    state: State,
    gives: PhantomData<fn() -> T>,
}

enum State {
    Failed(CallError),
    Waiting(Box<Waiting>),
    Over,
}

struct Waiting {
    callee: Pid,
    waiter: Waiter,
    slot: Arc<Slot>,
    home: node::NodeId,
    deadline: u64,
    timeout: Duration,
    /// A monitor is set.
    watches: bool,
    /// Waits for room in the mailbox.
    helper: Option<Pid>,
    alarm: Alarm,
}

/// What wakes the future when its time is over.
enum Alarm {
    None,
    /// It is polled by a process.
    Inside(Pid, future::Sleep),
    Outside(future::Kept),
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.watches {
            let reference = MonitorRef(self.waiter.reference());
            send::signal(self.callee, Signal::Demonitor { watcher: self.waiter.pid(), reference });
        }
        if let Some(helper) = self.helper {
            relations::kill(helper);
        }
    }
}

impl Waiting {
    /// Is the time over? If not, the waker is woken when it is.
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        if self.deadline == u64::MAX {
            return false;
        }
        let me = try_self_pid().filter(|me| me.node() == self.home);
        if let Some(me) = me {
            if !matches!(&self.alarm, Alarm::Inside(owner, _) if *owner == me) {
                let at = Duration::from_nanos(self.deadline);
                self.alarm = Alarm::Inside(me, future::sleep_until(at));
            }
            let Alarm::Inside(_, sleep) = &mut self.alarm else { return false };
            return Pin::new(sleep).poll(context).is_ready();
        }
        let Some(now) = node::scheduler_of(self.home).map(|scheduler| scheduler.now()) else { return false };
        if now >= self.deadline {
            return true;
        }
        match &self.alarm {
            Alarm::Outside(kept) => kept.set_waker(context.waker()),
            _ => {
                // If the node is stopping there is no alarm; its end wakes the future.
                self.alarm =
                    keep(self.home, self.deadline, context.waker()).map_or(Alarm::None, Alarm::Outside);
            }
        }
        false
    }
}

impl<T> CallFuture<T> {
    fn failed(error: CallError) -> Self {
        CallFuture { state: State::Failed(error), gives: PhantomData }
    }
}

impl<T: Send + 'static> Future for CallFuture<T> {
    type Output = Result<T, CallError>;

    /// # Panics
    ///
    /// After its end.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let result = match &mut this.state {
            State::Failed(_) => match mem::replace(&mut this.state, State::Over) {
                State::Failed(error) => Err(error),
                _ => unreachable!("just seen"),
            },
            State::Waiting(waiting) => match waiting.slot.poll(context) {
                Poll::Ready(Ok(envelope)) => {
                    let result = call::open(envelope, waiting.waiter.reference());
                    let result = result.unwrap_or(Err(CallError::NoReply));
                    call::unless_late(result, waiting.home, waiting.deadline, waiting.timeout)
                }
                Poll::Ready(Err(())) => Err(CallError::Down(DownReason::NoConnection)),
                Poll::Pending if waiting.is_late(context) => Err(CallError::Timeout(waiting.timeout)),
                Poll::Pending => return Poll::Pending,
            },
            State::Over => panic!("a call's future is polled after its end"),
        };
        this.state = State::Over;
        Poll::Ready(result)
    }
}

impl<T> fmt::Debug for CallFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Failed(error) => f.debug_tuple("CallFuture").field(error).finish(),
            State::Waiting(waiting) => write!(f, "CallFuture({})", waiting.callee),
            State::Over => f.write_str("CallFuture(over)"),
        }
    }
}
