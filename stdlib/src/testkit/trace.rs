//! A run as a text: one line for each thing that has happened.

use super::recorder::{Fact, Notes, Record};
use engset_runtime::{Pid, observe::Parcel};
use std::fmt::Write;

/// A process as the kit shows it. The node's number is left out: it is another one in each run.
pub(super) fn label(pid: Pid, name: Option<&str>) -> String {
    let text = pid.to_string();
    let short = text.split_once('.').map_or(text.as_str(), |(_, rest)| rest);
    match name {
        Some(name) => format!("<{short} {name}"),
        None => format!("<{short}"),
    }
}

/// The same with the name of its node, where several have names.
fn show(pid: Pid, notes: &Notes) -> String {
    let own = label(pid, notes.names.get(&pid).map(String::as_str));
    match notes.nodes.get(&pid.node()) {
        Some(node) => format!("{node}{own}"),
        None => own,
    }
}

/// A type's name without the paths in it.
pub(super) fn short(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut start = 0;
    for (at, letter) in name.char_indices() {
        if !(letter.is_alphanumeric() || letter == '_' || letter == ':') {
            text.push_str(last_segment(&name[start..at]));
            text.push(letter);
            start = at + letter.len_utf8();
        }
    }
    text.push_str(last_segment(&name[start..]));
    text
}

fn last_segment(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

/// All that has been kept.
pub(super) fn text(notes: &Notes) -> String {
    let mut text = String::new();
    if notes.forgotten > 0 {
        // Writing to a `String` cannot fail, here and below.
        let _ = writeln!(text, "({} older lines are not kept)", notes.forgotten);
    }
    for record in &notes.records {
        if let Some(line) = line(record, notes) {
            let millis = record.at.as_secs_f64() * 1000.0;
            let _ = writeln!(text, "{millis:>14.3} ms  {line}");
        }
    }
    text
}

/// What a process has done last.
pub(super) fn last_of(pid: Pid, notes: &Notes) -> Option<String> {
    notes.records.iter().rev().find(|record| actor(&record.fact) == Some(pid)).and_then(|record| {
        let line = line(record, notes)?;
        let own = show(pid, notes);
        Some(line.strip_prefix(&own).map_or(line.as_str(), str::trim_start).to_owned())
    })
}

fn actor(fact: &Fact) -> Option<Pid> {
    match fact {
        // What a long call sends besides says nothing.
        Fact::Sent { what: Parcel::Monitor | Parcel::Demonitor, .. } => None,
        Fact::Spawned { by, .. } | Fact::Sent { by, .. } | Fact::Noted { by, .. } => *by,
        Fact::Received { pid, .. } => Some(*pid),
        Fact::Named { .. }
        | Fact::Acted { .. }
        | Fact::DeadLetter { .. }
        | Fact::Crashed(_)
        | Fact::Ended { .. } => None,
    }
}

/// `None`: nothing that a reader wants to see.
fn line(record: &Record, notes: &Notes) -> Option<String> {
    let names = &notes.names;
    let show = |pid: &Pid| show(*pid, notes);
    let by = |pid: &Option<Pid>, otherwise: &str| pid.as_ref().map_or(otherwise.to_owned(), &show);
    let is_the_library_s = |pid: &Pid| names.get(pid).is_some_and(|name| name.starts_with("engset."));
    Some(match &record.fact {
        Fact::Sent { to: pid, .. } | Fact::Acted { pid, .. } if is_the_library_s(pid) => return None,
        Fact::Sent { by: Some(by), .. } if is_the_library_s(by) => return None,
        Fact::Spawned { by: parent, pid } => format!("{} spawns {}", by(parent, "(outside)"), show(pid)),
        Fact::Named { pid, name } => format!("{} is named {name:?}", show(pid)),
        Fact::Sent { what: Parcel::Internal, .. } | Fact::Received { what: Parcel::Internal, .. } => {
            return None;
        }
        Fact::Sent { by: from, to, what } => {
            format!("{} sends {} to {}", by(from, "(timer)"), parcel(what, notes), show(to))
        }
        // Everything else is seen by what follows from it.
        Fact::Acted { pid, what: what @ Parcel::Exit(_) } => format!("{} is reached by {what}", show(pid)),
        Fact::Acted { .. } => return None,
        Fact::Received { pid, what } => format!("{} receives {}", show(pid), parcel(what, notes)),
        Fact::DeadLetter { message } => format!("(dead letter) {}", short(message)),
        Fact::Crashed(crash) => crash.to_string(),
        Fact::Ended { pid, reason } => format!("{} ends: {reason}", show(pid)),
        Fact::Noted { by: who, text } => format!("{} notes: {text}", by(who, "(outside)")),
    })
}

fn parcel(what: &Parcel, notes: &Notes) -> String {
    match what {
        Parcel::Message(name) => short(name),
        Parcel::Down(pid, reason) => {
            format!("down of {}: {reason}", show(*pid, notes))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_types_lose_their_paths() {
        assert_eq!(
            short("alloc::vec::Vec<core::option::Option<my_app::bank::Request>>"),
            "Vec<Option<Request>>"
        );
        assert_eq!(short("(u32, a::B)"), "(u32, B)");
        assert_eq!(short("u8"), "u8");
    }
}
