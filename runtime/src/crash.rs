//! What a crash report says of a process, and how it is gathered.
//!
//! 1. When a server panics, or stops with a reason that is not orderly, and the rate limit leaves room for a report,
//!    it is asked to describe itself ([`note`]): while its value still is there, before its destructors run.
//! 2. When the process ends, the rest is read from its mailbox and its relations ([`Crash::gather`]).
//! 3. When everybody who must know has been told, `report.rs` writes it.
//!
//! A crash that is not reported costs the look at the rate limit, and nothing is formatted.

use crate::{
    node,
    pid::Pid,
    reason::{ExitReason, Panic},
    server::Server,
    state::{self, Lineage, State},
};
use engset_scheduler::{Doomed, current};
use std::{
    any::Any,
    fmt::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

/// The most bytes of a state or a message in a report.
const LONGEST_TEXT: usize = 4096;

const UNDESCRIBED: &str = "(a panic while it was being described)";

/// What a server says of itself in a crash report: [`Server::describe`](crate::Server::describe).
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct CrashDetails {
    /// What it is: the name of its type, as a rule.
    pub behaviour: Option<&'static str>,
    /// What it was dealing with.
    pub last_message: Option<String>,
    /// Its state.
    pub state: Option<String>,
}

impl CrashDetails {
    /// A text of something, cut off where it would be too long for a report (4 KiB).
    pub fn text(format: impl FnOnce(&mut dyn Write) -> fmt::Result) -> String {
        struct Cut(String);
        impl Write for Cut {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                let mut end = text.len().min(LONGEST_TEXT.saturating_sub(self.0.len()));
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                self.0.push_str(text.get(..end).unwrap_or_default());
                if end == text.len() { Ok(()) } else { Err(fmt::Error) }
            }
        }
        let mut cut = Cut(String::new());
        // An error is the cut, or a formatter that gives up: what is there is told.
        if format(&mut cut).is_err() {
            cut.0.push('\u{2026}');
        }
        cut.0
    }
}

/// What is kept from [`note`] to the report.
pub(crate) struct Noted {
    details: CrashDetails,
    born: u64,
}

/// Rule 1.
#[cold]
pub(crate) fn note<S: Server>(server: &S, born: u64, panicked: bool) {
    // Of a panic it is known later that it is left out (`gather`), of a stop only here.
    let reported = node::with_current(|node| match panicked {
        true => node.reports.has_room(),
        false => node.reports.has_room_or_leave_out(),
    });
    if reported != Some(true) {
        return;
    }
    // A panic in `describe` must not be taken for the one that is reported.
    let panics = state::with_existing(|state| {
        state.rare.as_mut().map(|rare| (rare.panic.take(), rare.panic_before.take()))
    });
    let mut details = CrashDetails::default();
    if catch_unwind(AssertUnwindSafe(|| server.describe(&mut details))).is_err() {
        details.state = Some(UNDESCRIBED.to_owned());
    }
    state::with(|state| {
        let rare = state.rare();
        (rare.panic, rare.panic_before) = panics.flatten().unwrap_or_default();
        rare.noted = Some(Box::new(Noted { details, born }));
    });
}

/// The reason of a panic that was caught within a process, as its end would have had it, with the place and the
/// backtrace that the panic hook has noted.
///
/// # Errors
///
/// The payload, if it is no panic: an exit signal ends the process, and the payload must be resumed
/// ([`resume_unwind`](std::panic::resume_unwind)).
pub fn caught(payload: Box<dyn Any + Send>) -> Result<ExitReason, Box<dyn Any + Send>> {
    if payload.is::<Doomed>() {
        return Err(payload);
    }
    let reason = panic_reason(&*payload);
    current::drop_outside(payload);
    Ok(reason)
}

/// Writes a crash report of the process that runs, which goes on: it has caught a panic. `describe` is called if there
/// is room for a report.
pub fn report_caught(reason: &ExitReason, describe: impl FnOnce(&mut CrashDetails)) {
    let Some(me) = crate::try_self_pid() else { return };
    if node::with_current(|node| node.reports.has_room_or_leave_out()) != Some(true) {
        return;
    }
    let mut details = CrashDetails::default();
    if catch_unwind(AssertUnwindSafe(|| describe(&mut details))).is_err() {
        details.state = Some(UNDESCRIBED.to_owned());
    }
    let crash = Crash::of(me, details, None);
    let name = crate::name_of(me);
    node::with_current(|node| node.reports.crashed(&crash, name.as_deref(), reason));
}

/// What is known of a panic: the payload's text, and what the hook saw of it.
pub(crate) fn panic_reason(payload: &(dyn Any + Send)) -> ExitReason {
    let noted =
        state::with_existing(|state| state.rare.as_mut().and_then(|rare| rare.panic.take())).flatten();
    let message = match payload.downcast_ref::<&'static str>() {
        Some(text) => (*text).to_owned(),
        None => match payload.downcast_ref::<String>() {
            Some(text) => text.clone(),
            None => "a panic whose payload is not a text".to_owned(),
        },
    };
    let panic = match noted {
        Some(panic) if panic.message == message => panic,
        _ => Panic { message, location: String::new(), backtrace: None },
    };
    ExitReason::Panic(Arc::new(panic))
}

/// All that is known of a process that has crashed.
pub(crate) struct Crash {
    pub(crate) pid: Pid,
    pub(crate) details: CrashDetails,
    pub(crate) ancestors: Option<Arc<Lineage>>,
    pub(crate) links: Vec<Pid>,
    pub(crate) mailbox_len: u32,
    pub(crate) uptime: Option<Duration>,
}

impl Crash {
    /// Rule 2. `None`: it is not to be reported.
    pub(crate) fn gather(me: Pid, panicked: bool) -> Option<Box<Self>> {
        let noted =
            state::with_existing(|state| state.rare.as_mut().and_then(|rare| rare.noted.take())).flatten();
        let told = noted.as_ref().is_some_and(|noted| noted.details.behaviour.is_some());
        if !(panicked || told) {
            return None;
        }
        // With a note there was room just now.
        if noted.is_none() && node::with_current(|node| node.reports.has_room_or_leave_out()) != Some(true) {
            return None;
        }
        let uptime =
            noted.as_ref().map(|noted| Duration::from_nanos(current::now().saturating_sub(noted.born)));
        Some(Box::new(Self::of(me, noted.map(|noted| noted.details).unwrap_or_default(), uptime)))
    }

    /// Of the process that runs, or that a hook is called for.
    fn of(me: Pid, details: CrashDetails, uptime: Option<Duration>) -> Self {
        let mut crash = Crash {
            pid: me,
            details,
            ancestors: None,
            links: Vec::new(),
            mailbox_len: current::queued(me.task()),
            uptime,
        };
        state::with_existing(|state: &mut State| {
            crash.ancestors = state.ancestors.clone();
            crash.links = state.relations.links().collect();
            crash.links.sort_unstable();
        });
        crash
    }

    pub(crate) fn ancestors(&self) -> impl fmt::Display + '_ {
        List(self.ancestors.as_deref().map_or(&[], |ancestors| &**ancestors))
    }

    pub(crate) fn links(&self) -> impl fmt::Display + '_ {
        List(&self.links)
    }
}

/// The message of a report.
pub(crate) fn headline(reason: &ExitReason) -> String {
    match reason {
        ExitReason::Panic(panic) => format!("process crashed: {}", panic.message),
        other => format!("process ended: {other}"),
    }
}

pub(crate) fn place(reason: &ExitReason) -> &str {
    reason.panic().map_or("", |panic: &Panic| &panic.location)
}

/// Written with spaces between.
struct List<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, item) in self.0.iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{item}")?;
        }
        Ok(())
    }
}
