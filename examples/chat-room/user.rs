//! A user: carries out commands, and comes back into a room that has crashed.

use crate::{
    command::{self, Command},
    lobby, room,
    screen::Screen,
};
use engset::{
    NameError, TimerRef, demonitor, lookup,
    prelude::*,
    start_timer,
    stdlib::{Context, GenServer, Next},
};
use std::{fmt, time::Duration};

/// Between two attempts to come back into a room.
const PAUSE: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub enum Request {
    /// Do it; answers when it has been done, or has not.
    Do(Command, Reply<()>),
    /// Something has happened in the room.
    Notice(Notice),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Joined { room: String, name: String },
    Left { room: String, name: String },
    Said { room: String, name: String, text: String },
    Kicked { room: String, name: String },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Joined { room, name } => write!(f, "#{room} * {name} is here"),
            Notice::Left { room, name } => write!(f, "#{room} * {name} has left"),
            Notice::Said { room, name, text } => write!(f, "#{room} <{name}> {text}"),
            Notice::Kicked { room, name } => write!(f, "#{room} * {name} was sent out"),
        }
    }
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    NowhereYet,
    Lobby(String),
    Room(room::RoomError),
    /// The room's process does not answer.
    Unreachable(CallError),
    /// There is none, at this moment.
    NoProcess(NameError),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::NowhereYet => f.write_str("you are in no room (/join one)"),
            CommandError::Lobby(error) => f.write_str(error),
            CommandError::Room(error) => write!(f, "{error}"),
            CommandError::Unreachable(error) => write!(f, "{error}"),
            CommandError::NoProcess(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for CommandError {}

impl From<CallError> for CommandError {
    fn from(error: CallError) -> Self {
        CommandError::Unreachable(error)
    }
}

impl From<NameError> for CommandError {
    fn from(error: NameError) -> Self {
        CommandError::NoProcess(error)
    }
}

/// The room that a user is in, or wants to be back in.
struct Place {
    room: String,
    monitor: Option<MonitorRef>,
    retry: Option<TimerRef>,
}

pub struct User {
    name: String,
    screen: Screen,
    place: Option<Place>,
}

impl User {
    pub fn new(name: String, screen: Screen) -> Self {
        User { name, screen, place: None }
    }

    fn show(&self, text: impl fmt::Display) {
        self.screen.show(&self.name, &text.to_string());
    }

    fn room(&self) -> Result<(Address<room::Request>, String), CommandError> {
        let place = self.place.as_ref().ok_or(CommandError::NowhereYet)?;
        Ok((lookup(&lobby::registered(&place.room))?, place.room.clone()))
    }

    /// Asks the room that this user is in.
    fn ask(
        &self,
        make: impl FnOnce(Reply<Result<(), room::RoomError>>) -> room::Request,
    ) -> Result<(), CommandError> {
        self.room()?.0.call(make)?.map_err(CommandError::Room)
    }

    fn join(&mut self, room: String, me: Address<Request>) -> Result<(), CommandError> {
        if self.place.is_some() {
            // A room that is gone has been left, too.
            let _ = self.leave();
        }
        let by = self.name.clone();
        let name = room.clone();
        let opened = lobby::address().call(|reply| lobby::Request::Open { room: name, by, reply })?;
        opened.map_err(CommandError::Lobby)?;
        self.enter(room, me, false)
    }

    fn enter(&mut self, room: String, me: Address<Request>, back: bool) -> Result<(), CommandError> {
        let address: Address<room::Request> = lookup(&lobby::registered(&room))?;
        let watch = monitor(address);
        let name = self.name.clone();
        let entered = match address.call(|reply| room::Request::Join { name, user: me, back, reply }) {
            Ok(entered) => entered.map_err(CommandError::Room),
            Err(error) => Err(error.into()),
        };
        match entered {
            Ok(()) => {
                self.place = Some(Place { room, monitor: Some(watch), retry: None });
                Ok(())
            }
            Err(error) => {
                demonitor(watch, true);
                Err(error)
            }
        }
    }

    fn leave(&mut self) -> Result<(), CommandError> {
        let name = self.name.clone();
        let left = self.ask(|reply| room::Request::Leave { name, reply });
        self.forget();
        left
    }

    fn forget(&mut self) {
        if let Some(watch) = self.place.take().and_then(|place| place.monitor) {
            demonitor(watch, true);
        }
    }

    fn carry_out(&mut self, command: Command, me: Address<Request>) -> Result<(), CommandError> {
        let by = self.name.clone();
        match command {
            Command::Join(room) => self.join(room, me),
            Command::Leave => {
                self.leave()?;
                self.show("* you have left");
                Ok(())
            }
            Command::Say(text) => self.ask(|reply| room::Request::Say { name: by, text, reply }),
            Command::Kick(name) => self.ask(|reply| room::Request::Kick { by, name, ban: false, reply }),
            Command::Ban(name) => self.ask(|reply| room::Request::Kick { by, name, ban: true, reply }),
            Command::Unban(name) => self.ask(|reply| room::Request::Unban { by, name, reply }),
            Command::Who => {
                let (address, room) = self.room()?;
                let names = address.call(room::Request::Who)?;
                self.show(format_args!("#{room}: {}", names.join(", ")));
                Ok(())
            }
            Command::Rooms => {
                let rooms = lobby::address().call(lobby::Request::Rooms)?;
                self.show(format_args!("rooms: {}", rooms.join(", ")));
                Ok(())
            }
            Command::Crash => {
                let (address, _) = self.room()?;
                address.send(room::Request::Crash { by });
                Ok(())
            }
            Command::Help => {
                self.show(command::HELP);
                Ok(())
            }
        }
    }

    /// The room has crashed: back into it, as soon as it is there again.
    fn come_back(&mut self, me: Address<Request>) {
        let Some(place) = &self.place else { return };
        let room = place.room.clone();
        match self.enter(room.clone(), me, true) {
            Ok(()) => self.show(format_args!("#{room} * you are back")),
            Err(CommandError::Room(error)) => {
                self.place = None;
                self.show(format_args!("#{room} ! {error}"));
            }
            // Not yet there, or gone again.
            Err(_) => {
                let (_, retry) = start_timer(PAUSE);
                self.place = Some(Place { room, monitor: None, retry: Some(retry) });
            }
        }
    }
}

impl GenServer for User {
    type Message = Request;

    fn handle(&mut self, request: Request, context: &mut Context<Request>) -> Next {
        match request {
            Request::Do(command, reply) => {
                if let Err(error) = self.carry_out(command, context.address()) {
                    self.show(format_args!("! {error}"));
                }
                reply.send(());
            }
            Request::Notice(notice) => {
                self.show(&notice);
                if matches!(&notice, Notice::Kicked { name, .. } if *name == self.name) {
                    self.forget();
                }
            }
        }
        Next::wait()
    }

    fn event(&mut self, event: Event, context: &mut Context<Request>) -> Next {
        let place = self.place.as_ref();
        match event {
            Event::Down(down) if place.is_some_and(|place| place.monitor == Some(down.reference)) => {
                let room = place.map(|place| place.room.clone()).unwrap_or_default();
                let why = match &down.reason {
                    DownReason::Exited(ExitReason::Panic(panic)) => panic.message.clone(),
                    other => other.to_string(),
                };
                self.show(format_args!("#{room} ! the room has crashed ({why})"));
                self.come_back(context.address());
            }
            Event::Timer(timer) if place.is_some_and(|place| place.retry == Some(timer)) => {
                self.come_back(context.address());
            }
            _ => {}
        }
        Next::wait()
    }
}
