//! What the code under test logs, by `tracing`.
//!
//! A run of the kit puts a subscriber before the one that is there already, which gets everything all the same. It keeps
//! events only while a test expects some. In systematic mode all runs on the calling thread, so the subscriber is this
//! thread's. With threads it would have to be the whole program's, which is not the kit's to take: there [`expect_log`]
//! panics.

use super::{PATIENCE, eventually};
use std::{
    fmt::{self, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber, dispatcher,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};

/// The subscriber of a run. The one who waits for events finds it as the current one.
pub(super) struct Capture {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Tests that expect something now.
    listeners: AtomicUsize,
    lines: Mutex<Vec<(Level, String)>>,
}

impl Shared {
    fn lines(&self) -> MutexGuard<'_, Vec<(Level, String)>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Capture {
    pub(super) fn new() -> Self {
        Capture { shared: Arc::default() }
    }

    /// A new run begins.
    pub(super) fn begin(&self) {
        self.shared.listeners.store(0, Ordering::Relaxed);
        self.shared.lines().clear();
    }

    pub(super) fn on_this_thread<R>(&self, f: impl FnOnce() -> R) -> R {
        let before = dispatcher::get_default(Clone::clone);
        let subscriber = Capturing { shared: Arc::clone(&self.shared), before };
        dispatcher::with_default(&Dispatch::new(subscriber), f)
    }
}

struct Capturing {
    shared: Arc<Shared>,
    before: Dispatch,
}

impl Subscriber for Capturing {
    fn register_callsite(&self, _metadata: &'static Metadata<'static>) -> Interest {
        // It changes while the program runs.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let listens = self.shared.listeners.load(Ordering::Relaxed) > 0 && metadata.is_event();
        listens || self.before.enabled(metadata)
    }

    fn event(&self, event: &Event<'_>) {
        if self.shared.listeners.load(Ordering::Relaxed) > 0 {
            let mut line = Line(String::new());
            event.record(&mut line);
            self.shared.lines().push((*event.metadata().level(), line.0));
        }
        if self.before.enabled(event.metadata()) {
            self.before.event(event);
        }
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        self.before.new_span(attributes)
    }

    fn record(&self, span: &span::Id, values: &span::Record<'_>) {
        self.before.record(span, values);
    }

    fn record_follows_from(&self, span: &span::Id, follows: &span::Id) {
        self.before.record_follows_from(span, follows);
    }

    fn enter(&self, span: &span::Id) {
        self.before.enter(span);
    }

    fn exit(&self, span: &span::Id) {
        self.before.exit(span);
    }

    fn clone_span(&self, span: &span::Id) -> span::Id {
        self.before.clone_span(span)
    }

    fn try_close(&self, span: span::Id) -> bool {
        self.before.try_close(span)
    }
}

/// The message and the fields of an event, as `message key=value`.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let space = if self.0.is_empty() { "" } else { " " };
        // Writing to a `String` cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{space}{value:?}"),
            name => write!(self.0, "{space}{name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// Runs `body`, and expects that an event of this level is logged meanwhile, or within 3 seconds after it, whose message and
/// fields (as `message key=value`) contain `text`. Only in systematic and exhaustive runs.
///
/// ```
/// use engset_stdlib::testkit;
/// use tracing::Level;
///
/// testkit::systematic(10, || {
///     testkit::expect_log(Level::WARN, "attempt=3", || {
///         engset_runtime::spawn(|| tracing::warn!(attempt = 3, "it failed again"));
///     });
/// });
/// ```
///
/// # Panics
///
/// If none is, with what was logged; outside of a run of the kit, and in a run with threads.
#[track_caller]
pub fn expect_log<R>(level: Level, text: &str, body: impl FnOnce() -> R) -> R {
    drop(super::recorder_here());
    let shared = dispatcher::get_default(|subscriber| {
        subscriber.downcast_ref::<Capturing>().map(|capturing| Arc::clone(&capturing.shared))
    });
    let Some(shared) = shared else {
        panic!("expect_log in a run with threads: what they log goes to the program's subscriber")
    };
    let start = shared.lines().len();
    let listening = Listening::new(&shared);
    let result = body();
    let is_there =
        || shared.lines()[start..].iter().any(|(event, line)| *event == level && line.contains(text));
    if !eventually(PATIENCE, is_there) {
        let lines: String =
            shared.lines()[start..].iter().map(|(level, line)| format!("\n  {level} {line}")).collect();
        let instead = if lines.is_empty() { "nothing was".to_owned() } else { format!("these were:{lines}") };
        panic!("no {level} event with {text:?} was logged within {PATIENCE:?}; {instead}");
    }
    drop(listening);
    result
}

struct Listening<'a>(&'a Shared);

impl<'a> Listening<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.listeners.fetch_add(1, Ordering::Relaxed);
        Listening(shared)
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        // Saturating: a new run may have begun meanwhile, for which this one does not count.
        let _ =
            self.0.listeners.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
    }
}
