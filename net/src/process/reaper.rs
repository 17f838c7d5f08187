//! Waiting for programs that nobody waits for any more: one thread of the whole program, which is there from the first of them on.
//! It sleeps until one of them ends.

use crate::poller::lock;
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    io::{read, write},
};
use std::{
    io,
    os::fd::OwnedFd,
    process::Child,
    sync::{Mutex, OnceLock},
    thread,
};

struct Reaper {
    fresh: Mutex<Vec<(Child, OwnedFd)>>,
    /// An eventfd.
    bell: OwnedFd,
}

/// Sees to it that the program leaves no zombie when it ends. `end`: its pidfd.
pub(super) fn hand_over(mut child: Child, end: Option<OwnedFd>) {
    static REAPER: OnceLock<Option<Reaper>> = OnceLock::new();
    let reaper = REAPER.get_or_init(|| start().inspect_err(|error| {
        tracing::error!(target: "engset", %error, "child programs that are not waited for will stay as zombies");
    }).ok());
    let started = reaper.as_ref().zip(end);
    let Some((reaper, end)) = started else {
        // The last chance; it does not wait.
        let _ = child.try_wait();
        return;
    };
    lock(&reaper.fresh).push((child, end));
    static THREAD: OnceLock<bool> = OnceLock::new();
    THREAD.get_or_init(|| {
        let spawned = thread::Builder::new().name("engset-reaper".to_owned()).spawn(move || reaper.run());
        spawned.is_ok()
    });
    // It fails only if the bell rings already.
    let _ = write(&reaper.bell, &1_u64.to_ne_bytes());
}

fn start() -> io::Result<Reaper> {
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    Ok(Reaper { fresh: Mutex::default(), bell })
}

impl Reaper {
    fn run(&self) {
        let mut waiting: Vec<(Child, OwnedFd)> = Vec::new();
        loop {
            waiting.append(&mut lock(&self.fresh));
            // An error is as good as an end: who is not our child any more is nobody's zombie.
            waiting.retain_mut(|(child, _)| matches!(child.try_wait(), Ok(None)));
            let ends = waiting.iter().map(|(_, end)| PollFd::new(end, PollFlags::IN));
            let mut all: Vec<_> = ends.chain([PollFd::new(&self.bell, PollFlags::IN)]).collect();
            // Interrupted: it looks again.
            let _ = poll(&mut all, None);
            drop(all);
            let _ = read(&self.bell, &mut [0; 8]);
        }
    }
}
