//! Somebody who chats: one process, which hears everything in order.

use super::say;
use engset::{
    Address, Event, Mailbox, Pid, Received,
    remote::{self, Remote},
    stdlib::{GroupChange, Groups},
};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// What a person hears. Only `Says` comes from other nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Heard {
    Says { who: String, text: String },
    Joined(Vec<String>),
    Left(Vec<String>),
    Typed(String),
    End,
}

impl Remote for Heard {
    const NAME: &'static str = "chat.Heard";
}

type Rooms = Groups<String, Heard>;

/// The name of a person: that of its node, without the address.
fn name_of(pid: Pid) -> String {
    let node = remote::identity(pid.node()).map(|(name, _)| name);
    short(&node.unwrap_or_else(|| "somebody".into())).to_owned()
}

fn short(node: &str) -> &str {
    node.split_once('@').map_or(node, |(name, _)| name)
}

fn names(members: &[Address<Heard>]) -> Vec<String> {
    members.iter().map(|member| name_of(member.pid())).collect()
}

/// Chats until the input ends.
pub(crate) fn run(mut mailbox: Mailbox<Heard>, node: &str, address: SocketAddr, room: &str) {
    let (me, room) = (short(node).to_owned(), room.to_owned());
    // One scope of this name on each node, and all are one.
    let rooms: Rooms = match Rooms::builder().name("rooms").across_nodes().start_link() {
        Ok(rooms) => rooms,
        Err(error) => return say(&format!("* {error}")),
    };
    let change = |change: &GroupChange<String, Address<Heard>>| match change {
        GroupChange::Joined { members, .. } => Heard::Joined(names(members)),
        GroupChange::Left { members, .. } => Heard::Left(names(members)),
        _ => Heard::Joined(Vec::new()),
    };
    // Who is there already is told as who comes later.
    let here = rooms.monitor(&room, mailbox.address(), change).map(|(members, _)| names(&members));
    let joined = here.and_then(|here| rooms.join(room.clone(), mailbox.address()).map(|()| here));
    remote::monitor_nodes(true);
    match joined {
        Ok(here) => {
            say(&format!("* {me} is in {room}, at {address}"));
            tell(&here, &me, "has joined");
        }
        Err(error) => return say(&format!("* {error}")),
    }
    loop {
        match mailbox.receive() {
            Received::Message(Heard::Says { who, text }) if who != me => say(&format!("{who}: {text}")),
            Received::Message(Heard::Says { .. }) => {}
            Received::Message(Heard::Joined(all)) => tell(&all, &me, "has joined"),
            Received::Message(Heard::Left(all)) => tell(&all, &me, "has left"),
            Received::Message(Heard::Typed(line)) => match line.trim() {
                "" => {}
                "/quit" => return,
                "/who" => say(&format!("* here: {}", names(&rooms.members(&room)).join(", "))),
                text => {
                    rooms.broadcast(&room, &Heard::Says { who: me.clone(), text: text.to_owned() });
                }
            },
            Received::Message(Heard::End) => return,
            Received::Event(Event::NodeDown(down)) => {
                say(&format!("* no connection with {}: {}", down.name, down.why));
            }
            Received::Event(_) => {}
        }
    }
}

fn tell(all: &[String], me: &str, what: &str) {
    all.iter().filter(|name| *name != me).for_each(|name| say(&format!("* {name} {what}")));
}
