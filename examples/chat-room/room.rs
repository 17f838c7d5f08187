//! A room: passes on what is said to all who are in it.

use crate::{
    lobby::{self, Charter},
    user::{self, Notice},
};
use engset::{
    demonitor,
    prelude::*,
    stdlib::{Context, GenServer, Next},
};
use std::{collections::BTreeMap, fmt};

pub enum Request {
    /// `back`: after a crash of the room, which is not worth a notice.
    Join {
        name: String,
        user: Address<user::Request>,
        back: bool,
        reply: Reply<Result<(), RoomError>>,
    },
    Leave {
        name: String,
        reply: Reply<Result<(), RoomError>>,
    },
    Say {
        name: String,
        text: String,
        reply: Reply<Result<(), RoomError>>,
    },
    Who(Reply<Vec<String>>),
    /// A moderator sends somebody out; with `ban` for good.
    Kick {
        by: String,
        name: String,
        ban: bool,
        reply: Reply<Result<(), RoomError>>,
    },
    Unban {
        by: String,
        name: String,
        reply: Reply<Result<(), RoomError>>,
    },
    /// The crash button.
    Crash {
        by: String,
    },
}

/// Why a room does not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomError {
    Banned,
    NotHere(String),
    NoModerator { moderator: String },
}

impl fmt::Display for RoomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RoomError::Banned => f.write_str("you are banned"),
            RoomError::NotHere(name) => write!(f, "{name} is not here"),
            RoomError::NoModerator { moderator } => write!(f, "only {moderator} may do that"),
        }
    }
}

impl std::error::Error for RoomError {}

struct Member {
    user: Address<user::Request>,
    monitor: MonitorRef,
}

pub struct Room {
    name: String,
    charter: Charter,
    members: BTreeMap<String, Member>,
}

impl Room {
    pub fn new(name: String) -> Self {
        Room { name, charter: Charter::default(), members: BTreeMap::new() }
    }

    fn tell_all(&self, notice: &Notice) {
        for member in self.members.values() {
            member.user.send(user::Request::Notice(notice.clone()));
        }
    }

    fn join(&mut self, name: String, user: Address<user::Request>, back: bool) -> Result<(), RoomError> {
        if self.charter.banned.contains(&name) {
            return Err(RoomError::Banned);
        }
        let member = Member { user, monitor: monitor(user) };
        if let Some(former) = self.members.insert(name.clone(), member) {
            demonitor(former.monitor, true);
            return Ok(());
        }
        if !back {
            self.tell_all(&Notice::Joined { room: self.name.clone(), name });
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<Member, RoomError> {
        let member = self.members.remove(name).ok_or_else(|| RoomError::NotHere(name.to_owned()))?;
        demonitor(member.monitor, true);
        Ok(member)
    }

    fn leave(&mut self, name: String) -> Result<(), RoomError> {
        self.remove(&name)?;
        self.tell_all(&Notice::Left { room: self.name.clone(), name });
        Ok(())
    }

    fn say(&self, name: String, text: String) -> Result<(), RoomError> {
        if !self.members.contains_key(&name) {
            return Err(RoomError::NotHere(name));
        }
        self.tell_all(&Notice::Said { room: self.name.clone(), name, text });
        Ok(())
    }

    fn check_moderator(&self, by: &str) -> Result<(), RoomError> {
        if self.charter.moderator == by {
            return Ok(());
        }
        Err(RoomError::NoModerator { moderator: self.charter.moderator.clone() })
    }

    fn kick(&mut self, by: &str, name: String, ban: bool) -> Result<(), RoomError> {
        self.check_moderator(by)?;
        if ban {
            // The lobby keeps it: this process may crash.
            lobby::address().send(lobby::Request::Ban { room: self.name.clone(), name: name.clone() });
            self.charter.banned.insert(name.clone());
        }
        match self.remove(&name) {
            Ok(member) => {
                let notice = Notice::Kicked { room: self.name.clone(), name };
                member.user.send(user::Request::Notice(notice.clone()));
                self.tell_all(&notice);
                Ok(())
            }
            Err(_) if ban => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn unban(&mut self, by: &str, name: String) -> Result<(), RoomError> {
        self.check_moderator(by)?;
        self.charter.banned.remove(&name);
        lobby::address().send(lobby::Request::Unban { room: self.name.clone(), name });
        Ok(())
    }
}

impl GenServer for Room {
    type Message = Request;

    fn init(&mut self, _: &mut Context<Request>) -> Result<Next, ExitReason> {
        // Not here: the lobby waits for this start.
        Ok(Next::again())
    }

    fn again(&mut self, _: &mut Context<Request>) -> Next {
        let room = self.name.clone();
        match lobby::address().call(|reply| lobby::Request::Charter { room, reply }) {
            Ok(charter) => {
                self.charter = charter;
                Next::wait()
            }
            Err(error) => Next::stop_with(ExitReason::error(error.to_string())),
        }
    }

    fn handle(&mut self, request: Request, _: &mut Context<Request>) -> Next {
        match request {
            Request::Join { name, user, back, reply } => reply.send(self.join(name, user, back)),
            Request::Leave { name, reply } => reply.send(self.leave(name)),
            Request::Say { name, text, reply } => reply.send(self.say(name, text)),
            Request::Who(reply) => reply.send(self.members.keys().cloned().collect()),
            Request::Kick { by, name, ban, reply } => reply.send(self.kick(&by, name, ban)),
            Request::Unban { by, name, reply } => reply.send(self.unban(&by, name)),
            Request::Crash { by } => panic!("{by} has pressed the button"),
        }
        Next::wait()
    }

    /// A user's process is gone: that user has left.
    fn event(&mut self, event: Event, _: &mut Context<Request>) -> Next {
        if let Event::Down(down) = event {
            let gone = self.members.iter().find(|(_, member)| member.monitor == down.reference);
            if let Some(name) = gone.map(|(name, _)| name.clone()) {
                self.members.remove(&name);
                self.tell_all(&Notice::Left { room: self.name.clone(), name });
            }
        }
        Next::wait()
    }
}
