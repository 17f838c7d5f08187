//! Reports of crashes and long schedules, and the panic hook.
//!
//! A panic in a process is not printed by the panic hook (a million crashes would be a flood): the hook
//! notes where it happened, and when the process has ended one report is written, at most so many in a
//! second. Reports go to `tracing`; if no subscriber was installed they go to standard error, for a crash
//! that nobody sees is worse.

use crate::{config::Config, pid::Pid, reason::Panic, state};
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
    window: Mutex<Window>,
    /// The same for long schedules: one kind must not use up the other's.
    schedules: Mutex<Window>,
    crashes: AtomicU64,
    long_queues: AtomicU64,
}

/// Reports in the present second.
struct Window {
    second: u64,
    written: u32,
    suppressed: u64,
}

impl Reports {
    pub(crate) fn new(config: &Config) -> Self {
        Reports {
            per_second: config.get_reports(),
            window: Mutex::new(Window { second: 0, written: 0, suppressed: 0 }),
            schedules: Mutex::new(Window { second: 0, written: 0, suppressed: 0 }),
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
    pub(crate) fn crashed(&self, pid: Pid, name: Option<&str>, panic: &Panic) {
        self.panicked("process crashed", "crashed", pid, name, panic);
    }

    /// A process has caught a panic of code that it ran for others.
    #[cold]
    pub(crate) fn caught(&self, pid: Pid, name: Option<&str>, panic: &Panic) {
        self.panicked("panic caught", "has caught a panic", pid, name, panic);
    }

    fn panicked(&self, what: &str, verb: &str, pid: Pid, name: Option<&str>, panic: &Panic) {
        let Some(suppressed) = self.permit(&self.window) else { return };
        let name = name.unwrap_or("");
        tracing::error!(target: "engset", %pid, name, location = panic.location, suppressed, "{what}: {}", panic.message);
        if !tracing::dispatcher::has_been_set() {
            let more =
                if suppressed > 0 { format!(" ({suppressed} reports left out)") } else { String::new() };
            let backtrace = panic.backtrace.as_deref().map(|trace| format!("\n{trace}")).unwrap_or_default();
            write_line(&format!(
                "engset: process {pid}{}{name} {verb} at {}: {}{more}{backtrace}",
                if name.is_empty() { "" } else { " " },
                panic.location,
                panic.message
            ));
        }
    }

    /// A mailbox has grown to the alarm's mark.
    pub(crate) fn long_queue(&self, pid: Pid, name: Option<&str>, messages: u32) {
        self.long_queues.fetch_add(1, Ordering::Relaxed);
        let Some(suppressed) = self.permit(&self.schedules) else { return };
        let name = name.unwrap_or("");
        tracing::warn!(target: "engset", %pid, name, messages, suppressed, "long mailbox");
        if !tracing::dispatcher::has_been_set() {
            let space = if name.is_empty() { "" } else { " " };
            write_line(&format!("engset: {messages} messages wait for process {pid}{space}{name}"));
        }
    }

    pub(crate) fn long_schedule(&self, pid: Pid, name: Option<&str>, report: &LongSchedule) {
        let Some(suppressed) = self.permit(&self.schedules) else { return };
        let (name, time) = (name.unwrap_or(""), Duration::from_nanos(report.nanos));
        tracing::warn!(target: "engset", %pid, name, ?time, moved = report.moved, suppressed, "long schedule");
        if !tracing::dispatcher::has_been_set() {
            write_line(&format!(
                "engset: process {pid}{}{name} has held its worker for {time:?} without a reduction point; \
                 {} others were moved. See engset::reduce, engset::preemptible, engset::blocking",
                if name.is_empty() { "" } else { " " },
                report.moved
            ));
        }
    }

    /// Would a report be written now?
    fn has_room(&self) -> bool {
        let window = crate::node::lock(&self.window);
        window.written < self.per_second || window.second != current::now() / 1_000_000_000
    }

    /// May one more be written? Then, how many were left out since the last.
    fn permit(&self, window: &Mutex<Window>) -> Option<u64> {
        let second = current::now() / 1_000_000_000;
        let mut window = crate::node::lock(window);
        if window.second != second {
            window.second = second;
            window.written = 0;
        }
        if window.written >= self.per_second {
            window.suppressed += 1;
            return None;
        }
        window.written += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
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
