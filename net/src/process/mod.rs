//! Child programs of the operating system, for processes.
//!
//! As `std::process`, but a process that waits for a program, or for what it writes, suspends itself and not its worker.
//!
//! 1. *Ownership.* A [`Child`] is a value. When it is dropped, and so when the process that owns it ends, for whatever reason, the program is
//!    killed (`SIGKILL`), unless [`Command::keep_on_drop`] was said. To hand it over is to move it.
//! 2. *No zombies.* A program that is not waited for is reaped by a thread of the runtime, when it ends.
//! 3. Waiting is a descriptor of the program (`pidfd`) in the poller of the worker. No signal handler is installed, and children that
//!    others have started are left alone.
//! 4. The end of a program can come as a message ([`Child::notify`]), and so can what it writes ([`PipeReader::activate`]): what
//!    Erlang calls a port.
//! 5. Starting a program may take milliseconds: it is done on a thread for blocking calls.
//! 6. In systematic mode there are no child programs: it is an error of the kind [`Unsupported`](std::io::ErrorKind::Unsupported).
//!
//! ```
//! # engset_runtime::run(|| -> std::io::Result<()> {
//! use engset_net::process::Command;
//! use std::time::Duration;
//!
//! let output = Command::new("sh").args(["-c", "tr a-z A-Z; exit 3"]).input("hello").output()?;
//! assert_eq!((output.stdout.as_slice(), output.status.code()), (&b"HELLO"[..], Some(3)));
//!
//! let mut child = Command::new("sleep").arg("1000").spawn()?;
//! let status = child.stop(Duration::from_secs(5))?; // SIGTERM; after 5 seconds SIGKILL
//! assert!(!status.success());
//! # Ok(())
//! # }).unwrap().unwrap();
//! ```

mod child;
mod command;
mod pipe;
mod reaper;

pub use {
    child::Child,
    command::Command,
    pipe::{PipeReader, PipeWriter},
};

pub use std::process::{ExitStatus, Output, Stdio};
