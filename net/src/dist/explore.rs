//! The process that looks for other nodes, and connects with them.
//!
//! * What sources name ([`discovery`](super::discovery)) is connected with, and tried again at each look.
//! * If all are to see each other ([`Config::connect_all`](super::Config::connect_all)), a node that comes up is asked whom *it* sees,
//!   and at each look one of those that are up is asked again, in turn: so what a partition has cut grows together again.
//! * Each attempt has a process of its own: one that does not answer keeps nobody else waiting. There is at most one for each name.

use super::{
    discovery::{DiscoveryError, MOST, is_name},
    endpoint::Endpoint,
    wire::Request,
};
use engset_runtime::{Builder, Event, Mailbox, Received, now};
use std::{collections::BTreeSet, sync::Arc};

/// What it is told by those that try.
pub(crate) enum Told {
    /// An attempt is over.
    Tried(String),
    /// A node sees these.
    Sees(Vec<String>),
}

pub(crate) fn run(endpoint: &Arc<Endpoint>, mut mailbox: Mailbox<Told>, connect_all: bool) {
    let mut trying = BTreeSet::new();
    let mut turn = 0;
    let mut wrong = String::new();
    let sources = endpoint.sources();
    let mut look = (!sources.is_empty()).then(now);
    for (name, _) in endpoint.watch(engset_runtime::self_pid(), Some(false)) {
        ask(endpoint, &mailbox, connect_all, &name);
    }
    loop {
        if let Some(at) = look
            && at <= now()
        {
            let (found, errors) = sources.look();
            say(&errors, &mut wrong);
            for node in found {
                connect(endpoint, &mailbox, &mut trying, node.name);
            }
            let up = endpoint.up(false);
            if let Some((name, _)) = up.get(turn % up.len().max(1)) {
                ask(endpoint, &mailbox, connect_all, name);
            }
            turn = turn.wrapping_add(1);
            look = Some(now() + sources.every());
        }
        let received = match look {
            Some(at) => match mailbox.receive_timeout(at.saturating_sub(now())) {
                Some(received) => received,
                // A timeout is never early: the process is ending.
                None if now() < at => return,
                None => continue,
            },
            None => mailbox.receive(),
        };
        match received {
            Received::Message(Told::Tried(name)) => drop(trying.remove(&name)),
            Received::Message(Told::Sees(names)) => {
                for name in names {
                    connect(endpoint, &mailbox, &mut trying, name);
                }
            }
            Received::Event(Event::NodeUp(up)) => ask(endpoint, &mailbox, connect_all, &up.name),
            Received::Event(_) => {}
        }
    }
}

/// Sources that fail are told of when they begin to, and when they fail in another way.
fn say(errors: &[DiscoveryError], before: &mut String) {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let text = texts.join("; ");
    if text != *before && !text.is_empty() {
        tracing::warn!(target: "engset", error = text, "nodes cannot be looked for");
    }
    *before = text;
}

fn connect(endpoint: &Arc<Endpoint>, mailbox: &Mailbox<Told>, trying: &mut BTreeSet<String>, name: String) {
    let is_known = name == endpoint.identity().name || endpoint.knows_connection(&name);
    if is_known || trying.len() >= MOST || !trying.insert(name.clone()) {
        return;
    }
    let (me, of) = (mailbox.address(), Arc::clone(endpoint));
    let attempt = name.clone();
    let body = move || {
        // What has gone wrong was logged where it did.
        let _ = of.ask_for(&attempt, &Request::Ping, None);
        me.send(Told::Tried(attempt));
    };
    if Builder::new().spawn(body).is_err() {
        trying.remove(&name);
    }
}

fn ask(endpoint: &Arc<Endpoint>, mailbox: &Mailbox<Told>, connect_all: bool, name: &str) {
    if !connect_all {
        return;
    }
    let (me, of, name) = (mailbox.address(), Arc::clone(endpoint), name.to_owned());
    let body = move || {
        if let Ok(names) = of.ask::<Vec<String>>(&name, &Request::Nodes, None) {
            let names: Vec<String> = names.into_iter().filter(|name| is_name(name)).take(MOST).collect();
            me.send(Told::Sees(names));
        }
    };
    // If there is no room for a process there is no room for more nodes.
    let _ = Builder::new().spawn(body);
}
