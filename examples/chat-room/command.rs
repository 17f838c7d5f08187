//! What users type.

use std::fmt;

pub const HELP: &str = "/join ROOM  /leave  /who  /rooms  /kick NAME  /ban NAME  /unban NAME  /crash  /help; \
                        anything else is said in the room";

/// A line of input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub user: String,
    pub command: Command,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Join(String),
    Leave,
    Say(String),
    Who,
    Rooms,
    Kick(String),
    Ban(String),
    Unban(String),
    /// The crash button: the room panics.
    Crash,
    Help,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    NoName(String),
    BadName(String),
    NoText,
    UnknownCommand(String),
    /// The command needs a word after it.
    NeedsWord(String),
    /// The command takes no word.
    TakesNone(String),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::NoName(line) => write!(f, "a line is \"NAME: TEXT\", not {line:?}"),
            ParseError::BadName(name) => {
                write!(f, "{name:?} is no name: 1 to 20 letters, digits, or - and _")
            }
            ParseError::NoText => f.write_str("there is nothing after the name"),
            ParseError::UnknownCommand(command) => {
                write!(f, "there is no command {command} (/help lists them)")
            }
            ParseError::NeedsWord(command) => write!(f, "{command} needs a name"),
            ParseError::TakesNone(command) => write!(f, "{command} takes no word after it"),
        }
    }
}

impl std::error::Error for ParseError {}

/// Names of users and rooms.
fn name(text: &str) -> Result<String, ParseError> {
    let fits = (1..=20).contains(&text.chars().count())
        && text.chars().all(|letter| letter.is_alphanumeric() || letter == '-' || letter == '_');
    if fits { Ok(text.to_owned()) } else { Err(ParseError::BadName(text.to_owned())) }
}

pub fn parse(line: &str) -> Result<Line, ParseError> {
    let Some((user, text)) = line.split_once(':') else {
        return Err(ParseError::NoName(line.trim().to_owned()));
    };
    Ok(Line { user: name(user.trim())?, command: command(text.trim())? })
}

fn command(text: &str) -> Result<Command, ParseError> {
    if text.is_empty() {
        return Err(ParseError::NoText);
    }
    if !text.starts_with('/') {
        return Ok(Command::Say(text.to_owned()));
    }
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    let with_name = |make: fn(String) -> Command| match rest {
        "" => Err(ParseError::NeedsWord(word.to_owned())),
        rest => name(rest).map(make),
    };
    let alone = |command| match rest {
        "" => Ok(command),
        _ => Err(ParseError::TakesNone(word.to_owned())),
    };
    match word {
        "/join" => with_name(Command::Join),
        "/kick" => with_name(Command::Kick),
        "/ban" => with_name(Command::Ban),
        "/unban" => with_name(Command::Unban),
        "/leave" => alone(Command::Leave),
        "/who" => alone(Command::Who),
        "/rooms" => alone(Command::Rooms),
        "/crash" => alone(Command::Crash),
        "/help" => alone(Command::Help),
        _ => Err(ParseError::UnknownCommand(word.to_owned())),
    }
}
