//! The lobby: which rooms there are, and what of a room must outlive its crash.

use crate::room::Room;
use engset::{
    prelude::*,
    stdlib::{ChildSpec, Context, DynamicSupervisor, GenServer, Next},
};
use std::collections::{BTreeMap, BTreeSet};

/// The name under which the lobby is registered.
pub const NAME: &str = "lobby";
/// The supervisor of the rooms.
pub const ROOMS: &str = "rooms";

/// What a room is given, and keeps nowhere else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charter {
    /// Who has opened it moderates it.
    pub moderator: String,
    pub banned: BTreeSet<String>,
}

pub enum Request {
    /// Open the room, if it is not open: `by` this user.
    Open {
        room: String,
        by: String,
        reply: Reply<Result<(), String>>,
    },
    /// For a room that starts.
    Charter {
        room: String,
        reply: Reply<Charter>,
    },
    Ban {
        room: String,
        name: String,
    },
    Unban {
        room: String,
        name: String,
    },
    Rooms(Reply<Vec<String>>),
}

#[derive(Default)]
pub struct Lobby {
    charters: BTreeMap<String, Charter>,
}

impl Lobby {
    fn open(&mut self, room: String, by: String) -> Result<(), String> {
        if self.charters.contains_key(&room) {
            return Ok(());
        }
        let name = room.clone();
        let child = ChildSpec::server(room.clone(), move || {
            Room::new(name.clone()).options().name(registered(&name))
        });
        let rooms = DynamicSupervisor::named(ROOMS).map_err(|error| error.to_string())?;
        // Before it starts: the first thing that it does is to ask for it.
        self.charters.insert(room.clone(), Charter { moderator: by, banned: BTreeSet::new() });
        rooms.start_child(child).map(|_| ()).map_err(|error| {
            self.charters.remove(&room);
            error.to_string()
        })
    }
}

impl GenServer for Lobby {
    type Message = Request;

    fn handle(&mut self, request: Request, _: &mut Context<Request>) -> Next {
        match request {
            Request::Open { room, by, reply } => reply.send(self.open(room, by)),
            Request::Charter { room, reply } => {
                reply.send(self.charters.get(&room).cloned().unwrap_or_default());
            }
            Request::Ban { room, name } => {
                if let Some(charter) = self.charters.get_mut(&room) {
                    charter.banned.insert(name);
                }
            }
            Request::Unban { room, name } => {
                if let Some(charter) = self.charters.get_mut(&room) {
                    charter.banned.remove(&name);
                }
            }
            Request::Rooms(reply) => reply.send(self.charters.keys().cloned().collect()),
        }
        Next::wait()
    }
}

/// The name under which a room's process is registered.
pub fn registered(room: &str) -> String {
    format!("room {room}")
}

/// The lobby.
///
/// # Panics
///
/// If it is not there: then nothing works, and the supervisor of the caller is asked to try again.
pub fn address() -> Address<Request> {
    engset::lookup(NAME).unwrap_or_else(|error| panic!("{error}"))
}
