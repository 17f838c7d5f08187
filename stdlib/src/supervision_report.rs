//! What supervisors report, through `tracing`: OTP's supervisor and progress reports.
//!
//! | `report` | level | when |
//! |---|---|---|
//! | `child_started` | DEBUG | a child has started, or has begun again |
//! | `child_terminated` | ERROR; DEBUG if its end was orderly | a child has ended by itself |
//! | `child_failed` | ERROR | a child with an inherited mailbox has failed, and lives |
//! | `start_error` | ERROR | a child was to be started again, and did not start |
//! | `shutdown` | ERROR | too many restarts: the supervisor gives up |
//!
//! All have the target `engset::supervisor`, and the fields `supervisor` (pid), `name`, `child` (id) and, where there is
//! one, `pid`. Errors are limited like crash reports: the field `suppressed` tells how many were left out.
//! If nobody listens, none of it costs more than the look whether somebody does.

use crate::StartError;
use engset_runtime::{ExitReason, Pid, name_of, permit_report, self_pid};
use std::{sync::Arc, time::Duration};
use tracing::Level;

const TARGET: &str = "engset::supervisor";

/// The supervisor that runs here.
fn me() -> (Pid, Arc<str>) {
    let me = self_pid();
    (me, name_of(me).unwrap_or_default())
}

pub(crate) fn started(child: &str, pid: Pid, restarts: u64) {
    if tracing::enabled!(target: TARGET, Level::DEBUG) {
        let (supervisor, name) = me();
        tracing::debug!(target: TARGET, report = "child_started", %supervisor, name = &*name, child, %pid, restarts, "child started");
    }
}

pub(crate) fn terminated(child: &str, pid: Pid, reason: &ExitReason) {
    if reason.is_orderly() {
        if tracing::enabled!(target: TARGET, Level::DEBUG) {
            let (supervisor, name) = me();
            tracing::debug!(target: TARGET, report = "child_terminated", %supervisor, name = &*name, child, %pid, %reason, "child ended");
        }
    } else if let Some((supervisor, name, suppressed)) = error() {
        tracing::error!(target: TARGET, report = "child_terminated", %supervisor, name = &*name, child, %pid, %reason, suppressed, "child ended");
    }
}

pub(crate) fn failed(child: &str, pid: Pid, reason: &ExitReason) {
    if let Some((supervisor, name, suppressed)) = error() {
        tracing::error!(target: TARGET, report = "child_failed", %supervisor, name = &*name, child, %pid, %reason, suppressed, "child failed, and begins again");
    }
}

pub(crate) fn start_error(child: &str, why: &StartError) {
    if let Some((supervisor, name, suppressed)) = error() {
        tracing::error!(target: TARGET, report = "start_error", %supervisor, name = &*name, child, error = %why, suppressed, "child did not start");
    }
}

pub(crate) fn gave_up(child: &str, most: usize, period: Duration) {
    if let Some((supervisor, name, suppressed)) = error() {
        tracing::error!(target: TARGET, report = "shutdown", %supervisor, name = &*name, child, most, ?period, suppressed, "more restarts than allowed");
    }
}

fn error() -> Option<(Pid, Arc<str>, u64)> {
    if !tracing::enabled!(target: TARGET, Level::ERROR) {
        return None;
    }
    let suppressed = permit_report()?;
    let (supervisor, name) = me();
    Some((supervisor, name, suppressed))
}
