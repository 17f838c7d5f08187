//! Signals of the operating system as messages.
//!
//! 1. A process that subscribes gets a message for each signal that comes; several may subscribe to the same.
//! 2. The first subscription to a signal takes away its default action. When a signal comes and no subscriber lives any more,
//!    its default action is done: a program whose subscribers are dead can still be ended by `SIGTERM`.
//! 3. The system merges equal signals that come close to each other: one message may stand for several.
//! 4. In systematic mode real signals are left alone, for nothing would repeat them. [`simulate`] makes one, there as everywhere.
//!
//! One thread of the program waits for the signals (`signal-hook`) and sends the messages; no code runs in a signal handler.

use crate::subscribers::{Subscribers, offer};
use engset_runtime::{Address, Extension, ExtensionError, Node, extension};
use signal_hook::{consts, iterator::Handle, iterator::Signals as Incoming, low_level};
use std::{
    error::Error,
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

macro_rules! signals {
    ($($(#[$doc:meta])* $name:ident = $number:ident;)*) => {
        /// A signal of the operating system.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum OsSignal {
            $($(#[$doc])* $name,)*
        }

        impl OsSignal {
            const ALL: &[OsSignal] = &[$(OsSignal::$name),*];

            /// Its number.
            #[must_use]
            pub fn number(self) -> i32 {
                match self {
                    $(OsSignal::$name => consts::$number,)*
                }
            }
        }

        impl fmt::Display for OsSignal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(OsSignal::$name => stringify!($number),)*
                })
            }
        }
    };
}

signals! {
    /// The terminal is gone; by custom: read the configuration anew.
    Hangup = SIGHUP;
    /// Control-C.
    Interrupt = SIGINT;
    /// Control-backslash.
    Quit = SIGQUIT;
    /// Please end.
    Terminate = SIGTERM;
    /// Whatever the program says.
    User1 = SIGUSR1;
    /// Whatever the program says.
    User2 = SIGUSR2;
    /// An alarm clock of the system's.
    Alarm = SIGALRM;
    /// A child process of the system's has ended or stopped.
    Child = SIGCHLD;
    /// The program goes on after it was stopped.
    Continue = SIGCONT;
    /// Control-Z.
    TerminalStop = SIGTSTP;
    /// The terminal's window has changed its size.
    WindowChange = SIGWINCH;
}

impl OsSignal {
    fn of_number(number: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|signal| signal.number() == number)
    }
}

/// Why there is no subscription.
#[derive(Debug)]
#[non_exhaustive]
pub enum SignalError {
    /// The system refuses.
    System {
        /// The signal.
        signal: OsSignal,
        /// Why.
        error: io::Error,
    },
    /// The node stops, or this is no process.
    Extension(ExtensionError),
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignalError::System { signal, error } => write!(f, "{signal} cannot be subscribed to: {error}"),
            SignalError::Extension(error) => error.fmt(f),
        }
    }
}

impl Error for SignalError {}

impl From<ExtensionError> for SignalError {
    fn from(error: ExtensionError) -> Self {
        SignalError::Extension(error)
    }
}

/// A subscription, for [`unsubscribe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subscription(u64);

/// From now on each of these signals that comes is a message for `to`, made by `map`. It ends with the process, or by
/// [`unsubscribe`].
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::{Mailbox, spawn};
/// use engset_stdlib::signals::{self, OsSignal};
///
/// enum Message { Dump }
///
/// let process = spawn(|mut mailbox: Mailbox<Message>| {
///     let Message::Dump = mailbox.message();
/// });
/// signals::subscribe(&[OsSignal::User1], process, |_| Message::Dump)?;
/// signals::simulate(OsSignal::User1)?;
/// # Ok::<(), signals::SignalError>(())
/// # }).unwrap().unwrap();
/// ```
///
/// # Errors
///
/// The system refuses; the node stops; or this is no process.
pub fn subscribe<M: Send + 'static>(
    signals: &[OsSignal],
    to: Address<M>,
    map: impl Fn(OsSignal) -> M + Send + Sync + 'static,
) -> Result<Subscription, SignalError> {
    let table = extension::<Signals>()?;
    table.subscribe(signals, move |signal| offer(to, map(signal)))
}

/// Ends a subscription. False: there was none.
pub fn unsubscribe(subscription: Subscription) -> bool {
    extension::<Signals>().is_ok_and(|table| table.0.subscribers.remove(subscription.0))
}

/// Does as if the system had sent this signal, for the subscribers of the caller's node only; how many have heard of it. There is no
/// default action.
///
/// # Errors
///
/// The node stops, or this is no process.
pub fn simulate(signal: OsSignal) -> Result<usize, SignalError> {
    Ok(extension::<Signals>()?.0.deliver(signal))
}

/// The subscriptions of a node.
pub(crate) struct Signals(Arc<Shared>);

struct Shared {
    /// Told of all signals; each looks whether it is its own.
    subscribers: Subscribers<Incident>,
    /// Does it hear of real ones?
    real: bool,
}

/// A signal, and how many subscribers it concerns.
struct Incident {
    signal: OsSignal,
    concerned: AtomicUsize,
}

impl Shared {
    fn deliver(&self, signal: OsSignal) -> usize {
        let incident = Incident { signal, concerned: AtomicUsize::new(0) };
        self.subscribers.publish(&incident);
        incident.concerned.into_inner()
    }
}

impl Extension for Signals {
    fn create(node: &Node) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let real = node.config().get_seed().is_none();
        let shared = Arc::new(Shared { subscribers: Subscribers::default(), real });
        if real {
            let mut program = lock();
            program.nodes.retain(|node| node.strong_count() > 0);
            program.nodes.push(Arc::downgrade(&shared));
        }
        Ok(Signals(shared))
    }

    fn stop(&self, _: &Node) {
        self.0.subscribers.clear();
    }
}

impl Signals {
    /// `deliver` runs on the thread of the signals; false: nobody is there any more.
    pub(crate) fn subscribe(
        &self,
        signals: &[OsSignal],
        deliver: impl Fn(OsSignal) -> bool + Send + Sync + 'static,
    ) -> Result<Subscription, SignalError> {
        let wanted = signals.to_vec();
        let id = self.0.subscribers.add(move |incident| {
            if !wanted.contains(&incident.signal) {
                return true;
            }
            let told = deliver(incident.signal);
            incident.concerned.fetch_add(usize::from(told), Ordering::Relaxed);
            told
        });
        if self.0.real {
            // After the subscriber is there: from now on there is no default action.
            for signal in signals {
                if let Err(error) = listen(*signal) {
                    self.0.subscribers.remove(id);
                    return Err(SignalError::System { signal: *signal, error });
                }
            }
        }
        Ok(Subscription(id))
    }
}

/// What the program listens to. Signals belong to the program, not to a node.
struct Program {
    handle: Option<Handle>,
    nodes: Vec<Weak<Shared>>,
}

static PROGRAM: Mutex<Program> = Mutex::new(Program { handle: None, nodes: Vec::new() });

fn lock() -> MutexGuard<'static, Program> {
    PROGRAM.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(signal: OsSignal) -> io::Result<()> {
    let mut program = lock();
    if let Some(handle) = &program.handle {
        return handle.add_signal(signal.number());
    }
    let incoming = Incoming::new([signal.number()])?;
    let handle = incoming.handle();
    thread::Builder::new().name("engset-signals".to_owned()).spawn(move || receive(incoming))?;
    program.handle = Some(handle);
    Ok(())
}

/// The thread.
fn receive(mut incoming: Incoming) {
    for number in incoming.forever() {
        let Some(signal) = OsSignal::of_number(number) else { continue };
        let nodes: Vec<_> = lock().nodes.iter().filter_map(Weak::upgrade).collect();
        let told: usize = nodes.iter().map(|node| node.deliver(signal)).sum();
        if told == 0
            && let Err(error) = low_level::emulate_default_handler(number)
        {
            tracing::error!(target: "engset", %signal, %error, "the default action failed");
        }
    }
}
