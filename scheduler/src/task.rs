//! What a task is to this crate, and the seam to the crate above.
//!
//! *Invariant:* this crate knows tasks, mailboxes and signals' envelopes. It does not know process
//! identifiers, links, monitors, names or nodes; the crate above implements [`Hooks`].

use crate::{envelope::Envelope, overflow::LabelBuf};
use std::any::Any;

/// What runs when a task has its turn.
///
/// A body that returns [`Step::Idle`] gives its stack up between two steps and may be moved to another
/// worker there; that is why it has to be `Send`. Within a step it may wait anywhere in its call tree
/// ([`crate::current::wait`]); the stack then stays with it, on this worker, until the step returns.
pub trait Body: Send {
    /// Runs until there is nothing to do.
    fn step(&mut self) -> Step;
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The task is finished.
    Done,
    /// Wait, without a stack, for something to receive; then take another step.
    Idle,
    /// Take another step after others had their turn.
    Yield,
}

/// How a task ended.
#[derive(Debug)]
pub enum Outcome {
    /// Its body returned [`Step::Done`].
    Returned,
    /// Its body panicked with this payload ([`Doomed`] if it was unwound by request).
    Unwound(Box<dyn Any + Send>),
    /// It was doomed while it had no stack: nothing ran.
    NotRunning,
}

/// The payload that unwinds a doomed task's stack.
#[derive(Clone, Copy, Debug)]
pub struct Doomed;

/// A task of one scheduler: an index that is used again, and a serial number that is not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TaskId {
    serial: u64,
    index: u32,
}

impl TaskId {
    /// Puts one together. Any numbers will do: one that names no living task is a dead task's.
    #[must_use]
    pub const fn new(index: u32, serial: u64) -> Self {
        TaskId { serial, index }
    }

    /// The place in the table.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    /// The life in that place; odd.
    #[must_use]
    pub const fn serial(self) -> u64 {
        self.serial
    }
}

/// What became of a signal.
#[derive(Debug)]
#[must_use]
pub enum Handled {
    /// It has acted.
    Done,
    /// It became something to receive: put this into the mailbox, in its place.
    Deliver(Envelope),
    /// It is the answer to a call: for the task if it awaits this tag, else dropped.
    Answer(Envelope),
    /// The task must end.
    Doom,
}

/// What the crate above does when something happens to a task.
///
/// All methods run on the worker that owns the task, inside a runtime section: they must not run code
/// of users, and not wait.
pub trait Hooks: Any + Send + Sync {
    /// A signal has its turn. `current::with_extension` reaches this task's extension.
    fn signal(&self, task: TaskId, signal: Envelope) -> Handled;

    /// The task has ended; its body is dropped. It calls [`crate::current::close_mailbox`] at the right
    /// moment, and tells whoever must know. `current::with_extension` reaches the extension for the
    /// last time.
    fn ended(&self, task: TaskId, outcome: Outcome);

    /// A signal came for a task that has ended.
    fn undeliverable(&self, signal: Envelope);

    /// A message came for a task that has ended. It is dropped after this call.
    fn dead_letter(&self, to: TaskId, message: &Envelope);

    /// The scheduler stops: the task must end.
    fn stop(&self, task: TaskId);

    /// Writes what a reader of a crash report should know of the task (async-signal-safe: no
    /// allocation, no lock).
    fn describe(&self, task: TaskId, label: &mut LabelBuf);

    /// A task's mailbox has grown to [`crate::Config::queue_alarm`] messages.
    fn long_queue(&self, task: TaskId, messages: u32);

    /// A task has held its worker for longer than the configured time.
    fn long_schedule(&self, report: LongSchedule);

    /// Something has happened; called if [`crate::Config::observed`] asks for it.
    fn observed(&self, seen: Seen<'_>) {
        let _ = seen;
    }
}

/// See [`Hooks::observed`].
#[derive(Debug)]
pub enum Seen<'a> {
    /// A task has been spawned, `by` another one.
    Spawned {
        /// `None`: a thread that is no task.
        by: Option<TaskId>,
        /// The new one.
        task: TaskId,
    },
    /// An envelope is on its way. (What comes from threads that are no workers is seen only when it is received.)
    Sent {
        /// `None`: a timer.
        by: Option<TaskId>,
        /// For whom.
        to: TaskId,
        /// What.
        what: &'a Envelope,
    },
    /// A task takes something out of its mailbox, or the answer to its call.
    Received {
        /// Who.
        task: TaskId,
        /// What.
        what: &'a Envelope,
    },
}

/// See [`Hooks::long_schedule`].
#[derive(Clone, Copy, Debug)]
pub struct LongSchedule {
    /// The task that ran.
    pub task: TaskId,
    /// For how long so far, in nanoseconds.
    pub nanos: u64,
    /// Tasks that were taken over by another worker.
    pub moved: usize,
}
