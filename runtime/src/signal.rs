//! The table of signals: everything that travels between processes but messages.
//!
//! | signal | sent by | does, at the receiver's next scheduling point |
//! |---|---|---|
//! | `Exit` | a linked process that ended; `exit` | the exit rule (`exit_rule.rs`) |
//! | `Link` | `link` | adds the link; to a dead process: answered by `Exit` `noproc` |
//! | `Unlink` | `unlink` | removes the link, answers `UnlinkAck` |
//! | `UnlinkAck` | the former peer | forgets the link that was being removed |
//! | `Monitor` | `monitor` | adds the watcher; to a dead process: answered by `Down` `NoProc` |
//! | `Demonitor` | `demonitor`, or a watcher that ended | removes the watcher |
//! | `Down` | a monitored process that ended | an event, or the end of a call, if the monitor is still set |
//! | `Aliased` | `Alias::send` | a message, if the alias is active |
//! | `Inspect` | `process_info`, `is_alive` | answers with what it knows of itself |
//! | `System` | `send_system`, `call_system` | something to receive, if a server takes it; else it is dropped |
//! | `Hold` | `hold` | adds the resource; of a dead process: released |
//! | `LetGo` | `let_go` | forgets the resource |
//! | `Adopt` | the distribution, for a child that another node has spawned | adds the link and the monitor |
//! | `Poke` | a waker, a mailbox that has room again | ends the wait of the process |
//! | `Survived` | a process, to itself, that drops a `Reply` while it unwinds | tells the caller, if it still lives |
//!
//! All of them, and the messages, go the same way and keep their order (`scheduler`: `owner.rs`).
//! A process touches only its own links and monitors; everything else is one of these.

use crate::{
    event::MonitorRef,
    exit_rule::Origin,
    pid::Pid,
    reason::{DownReason, ExitReason},
    resource::Parcel,
    system::SystemRequest,
};
use engset_scheduler::Envelope;

pub(crate) enum Signal {
    Exit(Box<ExitSignal>),
    Link { from: Pid, to: Pid },
    Unlink { from: Pid, id: u64 },
    UnlinkAck { from: Pid, id: u64 },
    Monitor { watcher: Pid, reference: MonitorRef },
    Demonitor { watcher: Pid, reference: MonitorRef },
    Down { reference: MonitorRef, reason: DownReason },
    Aliased { alias: u64, message: Envelope },
    Inspect { caller: Pid, reference: u64 },
    System(Box<SystemSignal>),
    Hold(Box<Parcel>),
    LetGo { id: u64 },
    Adopt { child: Pid, link: bool, monitor: Option<MonitorRef> },
    Poke,
    Survived,
}

pub(crate) struct ExitSignal {
    pub(crate) from: Pid,
    pub(crate) reason: ExitReason,
    pub(crate) origin: Origin,
}

pub(crate) struct SystemSignal {
    pub(crate) request: SystemRequest,
    /// The caller and its call, if somebody waits for an answer.
    pub(crate) call: Option<(Pid, u64)>,
}

impl Signal {
    pub(crate) fn exit(from: Pid, reason: ExitReason, origin: Origin) -> Self {
        Signal::Exit(Box::new(ExitSignal { from, reason, origin }))
    }
}

const _: () = assert!(size_of::<Signal>() <= 40, "a signal fits into an envelope without a box");
