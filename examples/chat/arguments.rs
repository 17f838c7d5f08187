//! The command line.

use std::{env, net::SocketAddr};

pub(crate) const HELP: &str = "\
A chat over nodes.

Usage: chat --name NAME[@HOST:PORT] [--room ROOM] [--join NAME@HOST:PORT]...

  --name NAME             what others see; the chat listens on a free port of this machine, for this machine only
  --name NAME@HOST:PORT   it listens there
  --room ROOM             the room (default: lobby)
  --join NAME@HOST:PORT   a node of another machine; one is enough, it knows the others
  --help                  this text

Whoever has the secret is let in: the variable ENGSET_CHAT_SECRET. Off this machine it has to have 32 bytes at least.
Then type; /who says who is there, /quit or the end of the input ends it.";

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Chat(Arguments),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// Of the node.
    pub(crate) name: String,
    pub(crate) listen: SocketAddr,
    pub(crate) room: String,
    pub(crate) join: Vec<String>,
    pub(crate) secret: String,
}

/// Reads the words of a command line.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Command, String> {
    let (mut name, mut room, mut join) = (None, "lobby".to_owned(), Vec::new());
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match &*word {
            "--help" | "-h" => return Ok(Command::Help),
            "--name" => name = Some(value()?),
            "--room" => room = value()?,
            "--join" => join.push(value()?),
            other => return Err(format!("{other:?} is not known")),
        }
    }
    let name = name.ok_or("a name is missing")?;
    let listen = match name.split_once('@') {
        None => SocketAddr::from(([127, 0, 0, 1], 0)),
        Some((_, address)) => {
            address.parse().map_err(|_| format!("{address:?} is no address, as 127.0.0.1:7101"))?
        }
    };
    let secret = env::var("ENGSET_CHAT_SECRET").unwrap_or_else(|_| "among friends".to_owned());
    Ok(Command::Chat(Arguments { name, listen, room, join, secret }))
}
