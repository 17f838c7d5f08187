//! Reports of crashes and long schedules, and the panic hook.
//!
//! A panic in a process is not printed by the panic hook (a million crashes would be a flood): the hook
//! notes where it happened, and when the process has ended one report is written, at most so many in a
//! second. Reports go to `tracing`; if no subscriber was installed they go to standard error, for a crash
//! that nobody sees is worse.

use crate::{
    config::Config,
    crash::{self, Crash},
    pid::Pid,
    reason::{ExitReason, Panic},
    state,
};
use engset_scheduler::{LongSchedule, current};
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::Write,
    panic,
    sync::{
        Mutex, Once,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The reports of a node, with their rate limit.
pub(crate) struct Reports {
    per_second: u32,
    crashed: Limit,
    /// The same for long schedules: one kind must not use up the other's.
    schedules: Limit,
    /// And for what the behaviours report.
    behaviours: Limit,
    crashes: AtomicU64,
    long_queues: AtomicU64,
}

/// How many reports of a kind are written in a second.
#[derive(Default)]
struct Limit {
    window: Mutex<Window>,
    /// The number of the second in which there is no more room, from 1; 0: none. A look at it is all that a crash
    /// costs that is not reported.
    full: AtomicU64,
    /// Reports that were not written, since the last one.
    left_out: AtomicU64,
}

/// Reports in the present second.
#[derive(Default)]
struct Window {
    second: u64,
    written: u32,
}

/// The present second, from 1, as of the worker's last look at the clock.
fn second() -> u64 {
    current::coarse_now() / 1_000_000_000 + 1
}

impl Reports {
    pub(crate) fn new(config: &Config) -> Self {
        Reports {
            per_second: config.get_reports(),
            crashed: Limit::default(),
            schedules: Limit::default(),
            behaviours: Limit::default(),
            crashes: AtomicU64::new(0),
            long_queues: AtomicU64::new(0),
        }
    }

    /// Processes that have crashed.
    pub(crate) fn crashes(&self) -> u64 {
        self.crashes.load(Ordering::Relaxed)
    }

    /// Counted before anybody is told of the death; the report comes after.
    pub(crate) fn count_crash(&self) {
        self.crashes.fetch_add(1, Ordering::Relaxed);
    }

    /// A process has crashed: not one that was ended by another's crash.
    #[cold]
    pub(crate) fn crashed(&self, crash: &Crash, name: Option<&str>, reason: &ExitReason) {
        let Some(suppressed) = self.permit(&self.crashed) else { return };
        let name = name.unwrap_or("");
        let (pid, details) = (crash.pid, &crash.details);
        let backtrace = reason.panic().and_then(|panic| panic.backtrace.as_deref());
        tracing::error!(
            target: "engset",
            report = "crash",
            %pid,
            name,
            behaviour = details.behaviour,
            ancestors = %crash.ancestors(),
            last_message = details.last_message,
            state = details.state,
            mailbox_len = crash.mailbox_len,
            links = %crash.links(),
            %reason,
            location = crash::place(reason),
            uptime = crash.uptime.map(|uptime| uptime.as_secs_f64()),
            backtrace,
            suppressed,
            "{}", crash::headline(reason)
        );
        if !is_listened_to() {
            write_line(&as_text(crash, name, reason, suppressed));
        }
    }

    /// A mailbox has grown to the alarm's mark.
    pub(crate) fn long_queue(&self, pid: Pid, name: Option<&str>, messages: u32) {
        self.long_queues.fetch_add(1, Ordering::Relaxed);
        let Some(suppressed) = self.permit(&self.schedules) else { return };
        let name = name.unwrap_or("");
        tracing::warn!(target: "engset", %pid, name, messages, suppressed, "long mailbox");
        if !is_listened_to() {
            let space = if name.is_empty() { "" } else { " " };
            write_line(&format!("engset: {messages} messages wait for process {pid}{space}{name}"));
        }
    }

    pub(crate) fn long_schedule(&self, pid: Pid, name: Option<&str>, report: &LongSchedule) {
        let Some(suppressed) = self.permit(&self.schedules) else { return };
        let (name, time) = (name.unwrap_or(""), Duration::from_nanos(report.nanos));
        tracing::warn!(target: "engset", %pid, name, ?time, moved = report.moved, suppressed, "long schedule");
        if !is_listened_to() {
            write_line(&format!(
                "engset: process {pid}{}{name} has held its worker for {time:?} without a reduction point; \
                 {} others were moved. See engset::reduce, engset::preemptible, engset::blocking",
                if name.is_empty() { "" } else { " " },
                report.moved
            ));
        }
    }

    /// Would a report of a crash be written now?
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        // Relaxed: a hint; `permit` decides.
        self.per_second > 0 && self.crashed.full.load(Ordering::Relaxed) != second()
    }

    /// The same; if not, it is counted as left out.
    pub(crate) fn has_room_or_leave_out(&self) -> bool {
        let room = self.has_room();
        if !room {
            self.crashed.left_out.fetch_add(1, Ordering::Relaxed);
        }
        room
    }

    /// May one more be written? Then, how many were left out since the last.
    fn permit(&self, limit: &Limit) -> Option<u64> {
        let second = second();
        let mut window = crate::node::lock(&limit.window);
        if window.second != second {
            *window = Window { second, written: 0 };
        }
        if window.written >= self.per_second {
            limit.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        window.written += 1;
        if window.written == self.per_second {
            limit.full.store(second, Ordering::Relaxed);
        }
        Some(limit.left_out.swap(0, Ordering::Relaxed))
    }
}

/// May a behaviour write a report of its own through `tracing` now? Then, how many were left out since the last. The
/// limit is that of crash reports ([`Config::crash_reports_per_second`]), counted apart. For the behaviours.
#[must_use]
pub fn permit_report() -> Option<u64> {
    crate::node::with_current(|node| node.reports.permit(&node.reports.behaviours)).flatten()
}

impl crate::Node {
    /// How often a mailbox has grown to [`Config::mailbox_alarm`] messages.
    #[must_use]
    pub fn mailbox_alarms(&self) -> u64 {
        self.inner.reports.long_queues.load(Ordering::Relaxed)
    }

    /// Processes of this node that have ended by a panic.
    #[must_use]
    pub fn crashes(&self) -> u64 {
        self.inner.reports.crashes()
    }
}

/// A crash report for standard error.
fn as_text(crash: &Crash, name: &str, reason: &ExitReason, suppressed: u64) -> String {
    let (pid, details) = (crash.pid, &crash.details);
    let space = if name.is_empty() { "" } else { " " };
    let mut text = match reason.panic() {
        Some(panic) => {
            format!("engset: process {pid}{space}{name} crashed at {}: {}", panic.location, panic.message)
        }
        None => format!("engset: process {pid}{space}{name} ended: {reason}"),
    };
    if suppressed > 0 {
        text.push_str(&format!(" ({suppressed} reports left out)"));
    }
    let ancestors = crash.ancestors().to_string();
    let parts = [
        ("", details.behaviour),
        ("last message ", details.last_message.as_deref()),
        ("state ", details.state.as_deref()),
        ("started by ", (!ancestors.is_empty()).then_some(&*ancestors)),
    ];
    let parts: Vec<_> =
        parts.into_iter().filter_map(|(what, part)| part.map(|part| format!("{what}{part}"))).collect();
    if !parts.is_empty() {
        text.push_str(&format!(" [{}]", parts.join("; ")));
    }
    if let Some(backtrace) = reason.panic().and_then(|panic| panic.backtrace.as_deref()) {
        text.push_str(&format!("\n{backtrace}"));
    }
    text
}

/// Does a subscriber of this thread take what is reported? (One that was set for another thread, or has been taken
/// away again, does not.)
fn is_listened_to() -> bool {
    tracing::dispatcher::get_default(|subscriber| !subscriber.is::<tracing::subscriber::NoSubscriber>())
}

fn write_line(line: &str) {
    // A standard error that cannot be written to is nothing that a report could tell of.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Notes the panics of processes; passes the others on to the hook that was there before.
pub(crate) fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if current::task().is_none() {
                return before(info);
            }
            // Resolving the names of a backtrace takes milliseconds: only for a crash that will be reported.
            let reported = crate::node::with_current(|node| node.reports.has_room()).unwrap_or(true);
            let backtrace = if reported { Backtrace::capture() } else { Backtrace::disabled() };
            let noted = Panic {
                message: match info.payload_as_str() {
                    Some(text) => text.to_owned(),
                    None => "a panic whose payload is not a text".to_owned(),
                },
                location: info.location().map(ToString::to_string).unwrap_or_default(),
                backtrace: (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string()),
            };
            let fatal = noted.message.contains("panic in a destructor during cleanup")
                || noted.message.contains("panic in a function that cannot unwind");
            let before = state::with(|state| {
                let rare = state.rare();
                let before = (rare.panic_before.take(), rare.panic.take());
                if !fatal {
                    rare.panic_before = before.1.clone();
                    rare.panic = Some(noted.clone());
                }
                before
            });
            if fatal {
                // The program ends here: nobody will write a report later.
                let (first, second) = before.unwrap_or_default();
                let pid = current::task().map_or(String::new(), |_| {
                    crate::try_self_pid().map_or(String::new(), |pid| match crate::name_of(pid) {
                        Some(name) => format!("{pid} {name}"),
                        None => pid.to_string(),
                    })
                });
                let lines: Vec<_> = first
                    .into_iter()
                    .chain(second)
                    .map(|panic| format!("{}: {}", panic.location, panic.message))
                    .collect();
                write_line(&format!(
                    "engset: process {pid} panicked while it was unwinding, the program aborts: {}",
                    lines.join("; then ")
                ));
            }
        }));
    });
}
