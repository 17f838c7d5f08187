//! A test that has failed: why, and how to repeat it.

use super::{
    recorder::Crash,
    replay::{self, Replay},
};
use engset_runtime::ExitReason;
use std::{fmt, panic::Location, time::Duration};

/// A test that has failed under some seed, or by some schedule.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// What repeats it.
    pub replay: Replay,
    /// The command that repeats it.
    pub command: Option<String>,
    /// What has happened, a line for each thing: who has spawned whom, sent, received, and how all have ended, with the
    /// time.
    pub trace: String,
    /// It was a replay.
    replayed: bool,
}

/// Why a test has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The process of the test has ended with this reason: an assertion in it, as a rule.
    Test(ExitReason),
    /// Others have crashed, and so many should have.
    Crashes(u64),
    /// The process of the test waits, and nothing can ever happen any more. Who waits:
    Deadlock(Vec<Waiting>),
    /// It has not ended in this time, which is virtual but for a test with threads. Who lives:
    Time(Duration, Vec<Waiting>),
    /// It has not ended in so many slices. Who lives:
    Steps(u64, Vec<Waiting>),
    /// These processes live on after the test.
    Leaks(Vec<Waiting>),
    /// Messages of these types have found their receivers dead.
    DeadLetters(Vec<String>),
    /// The program does not do the same when its choices are the same: it depends on something that the runtime does not
    /// see (a clock, a random number, the order of a hash map, a thread).
    Diverged,
    /// What a driver of its own ([`Check::try_runs`](super::Check::try_runs)) says.
    Scenario(String),
    /// The node could not be started.
    Start(String),
    /// One of the others, with processes that have crashed meanwhile, unexpectedly or not.
    AndCrashes(Box<Cause>, Vec<Crash>),
}

/// A process that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// Who, with its name.
    pub process: String,
    /// Messages in its mailbox.
    pub messages: u32,
    /// The last thing that it has done.
    pub last: Option<String>,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} messages in its mailbox", self.process, self.messages)?;
        match &self.last {
            Some(last) => write!(f, "; at last it {last}"),
            None => Ok(()),
        }
    }
}

impl Cause {
    /// With what has crashed besides.
    pub(super) fn with(self, crashes: Vec<Crash>) -> Self {
        if crashes.is_empty() { self } else { Cause::AndCrashes(Box::new(self), crashes) }
    }

    /// The cause without the crashes that came with it.
    #[must_use]
    pub fn main(&self) -> &Cause {
        match self {
            Cause::AndCrashes(cause, _) => cause.main(),
            cause => cause,
        }
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    items.iter().try_for_each(|item| write!(f, "\n  {item}"))
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Test(ExitReason::Panic(panic)) => write!(f, "{}\n  at {}", panic.message, panic.location),
            Cause::Test(reason) => write!(f, "the test's process ended: {reason}"),
            Cause::Crashes(0) => f.write_str("a process crashed, which nobody expected"),
            Cause::Crashes(count) => write!(f, "{count} processes should have crashed"),
            Cause::Deadlock(waiting) => {
                f.write_str("deadlock: the test waits, and nothing can ever happen")?;
                list(f, waiting)
            }
            Cause::Time(time, waiting) => {
                write!(f, "it has not ended after {time:?}")?;
                list(f, waiting)
            }
            Cause::Steps(steps, waiting) => {
                write!(f, "it has not ended after {steps} slices")?;
                list(f, waiting)
            }
            Cause::Leaks(waiting) => {
                f.write_str("these processes live on after the test")?;
                list(f, waiting)
            }
            Cause::DeadLetters(messages) => {
                f.write_str("messages have found their receivers dead, which nobody expected")?;
                list(f, messages)
            }
            Cause::Diverged => f.write_str(
                "the run is another one though all choices are the same: the test depends on something that the \
                 runtime does not see",
            ),
            Cause::Scenario(text) => f.write_str(text),
            Cause::Start(error) => write!(f, "the node does not start: {error}"),
            Cause::AndCrashes(cause, crashes) => {
                write!(f, "{cause}\n crashed:")?;
                list(f, crashes)
            }
        }
    }
}

impl Failure {
    pub(super) fn new(
        (cause, trace): (Cause, String),
        replay: Replay,
        at: &Location<'_>,
        replayed: bool,
    ) -> Box<Self> {
        let command = replay::command(&replay, at);
        Box::new(Failure { cause, replay, command, trace, replayed })
    }

    /// # Panics
    ///
    /// Always. A replay prints its trace before.
    #[track_caller]
    pub(super) fn raise(&self) -> ! {
        if self.replayed {
            // By the macro, so that the test harness keeps it with the output of this test.
            eprintln!("--- trace\n{}---", self.trace);
        }
        panic!("{self}");
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.replay {
            Replay::Seed(seed) => write!(f, "seed {seed}: ")?,
            Replay::Schedule(choices) => write!(f, "with {} unusual choices: ", choices.len())?,
            Replay::Nothing => f.write_str("with threads: ")?,
        }
        write!(f, "{}", self.cause)?;
        match &self.command {
            Some(command) if !self.replayed => write!(f, "\n replay: {command}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}
