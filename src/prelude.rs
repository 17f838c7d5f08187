//! What most programs use: `use engset::prelude::*`.

pub use crate::{
    Address, CallError, Down, DownReason, Event, Exit, ExitReason, Flow, Mailbox, MonitorRef, Pid, Received,
    Reply, Server, blocking, exit, kill, link, monitor, reduce, self_pid, send_after, serve, serve_with,
    sleep, spawn, spawn_link, spawn_monitor, trap_exits, yield_now,
};
