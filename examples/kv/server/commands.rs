//! What each command does.

use super::{
    protocol::{array, bulk, error, integer, simple},
    shard::{Ask, Bytes, Shards},
};
use engset::{CallError, now};
use std::time::Duration;

/// What becomes of the connection.
#[derive(Debug, PartialEq, Eq)]
pub enum After {
    GoOn,
    Close,
}

/// Why a command is not carried out.
enum Refused {
    Unknown(String),
    Arguments(String),
    Syntax,
    Number,
    Said(&'static str),
    /// A shard does not answer. It is a bug, or the server is shutting down.
    Shard(CallError),
}

impl From<CallError> for Refused {
    fn from(error: CallError) -> Self {
        Refused::Shard(error)
    }
}

/// Carries a command out and appends its answer.
pub fn execute(command: &[Bytes], shards: &Shards, output: &mut Vec<u8>) -> After {
    let Some((name, arguments)) = command.split_first() else { return After::GoOn };
    let name = String::from_utf8_lossy(name).to_uppercase();
    match run(&name, arguments, shards, output) {
        Ok(()) if name == "QUIT" => return After::Close,
        Ok(()) => {}
        Err(Refused::Unknown(name)) => error(output, &format!("unknown command '{name}'")),
        Err(Refused::Arguments(name)) => {
            error(output, &format!("wrong number of arguments for '{}' command", name.to_lowercase()));
        }
        Err(Refused::Syntax) => error(output, "syntax error"),
        Err(Refused::Number) => error(output, "value is not an integer or out of range"),
        Err(Refused::Said(text)) => error(output, text),
        Err(Refused::Shard(why)) => error(output, &format!("internal: {why}")),
    }
    After::GoOn
}

fn run(name: &str, arguments: &[Bytes], shards: &Shards, output: &mut Vec<u8>) -> Result<(), Refused> {
    match (name, arguments) {
        ("PING", []) => simple(output, "PONG"),
        ("PING" | "ECHO", [text]) => bulk(output, Some(text)),
        ("QUIT", []) => simple(output, "OK"),
        ("GET", [key]) => {
            let found = shards.of(key).call(|reply| Ask::Get(key.clone(), reply))?;
            bulk(output, found.as_deref());
        }
        ("SET", [key, data, options @ ..]) => {
            let time = lifetime(options)?;
            shards.of(key).call(|reply| Ask::Set(key.clone(), data.clone(), time, reply))?;
            simple(output, "OK");
        }
        ("DEL", [_, ..]) => {
            let mut count = 0;
            for key in arguments {
                count += i64::from(shards.of(key).call(|reply| Ask::Delete(key.clone(), reply))?);
            }
            integer(output, count);
        }
        ("EXISTS", [_, ..]) => {
            let mut count = 0;
            for key in arguments {
                count += i64::from(shards.of(key).call(|reply| Ask::Get(key.clone(), reply))?.is_some());
            }
            integer(output, count);
        }
        ("INCR", [key]) => add(key, 1, shards, output)?,
        ("DECR", [key]) => add(key, -1, shards, output)?,
        ("INCRBY", [key, number]) => add(key, parse(number)?, shards, output)?,
        ("EXPIRE", [key, seconds]) => {
            let seconds = u64::try_from(parse(seconds)?).unwrap_or(0);
            let time = Duration::from_secs(seconds);
            integer(output, i64::from(shards.of(key).call(|reply| Ask::Expire(key.clone(), time, reply))?));
        }
        ("TTL", [key]) => {
            let left = shards.of(key).call(|reply| Ask::Left(key.clone(), reply))?;
            let round = |time: Duration| {
                i64::try_from((time + Duration::from_millis(500)).as_secs()).unwrap_or(i64::MAX)
            };
            integer(output, left.map_or(-2, |ends| ends.map_or(-1, round)));
        }
        ("DBSIZE", []) => {
            let mut count = 0;
            for shard in shards.all() {
                count += shard.call(Ask::Count)?;
            }
            integer(output, count as i64);
        }
        ("INFO", _) => {
            let text = format!(
                "# Server\r\nserver:engset kv example\r\nuptime_in_seconds:{}\r\n# Processes\r\nprocesses:{}\r\n",
                now().as_secs(),
                engset::processes().len()
            );
            bulk(output, Some(text.as_bytes()));
        }
        // What redis-benchmark and redis-cli ask for when they start.
        ("CONFIG", [get, key]) if get.eq_ignore_ascii_case(b"get") => array(output, &[key, b""]),
        ("COMMAND", _) => array(output, &[]),
        (
            "PING" | "ECHO" | "QUIT" | "GET" | "SET" | "DEL" | "EXISTS" | "INCR" | "DECR" | "INCRBY"
            | "EXPIRE" | "TTL" | "DBSIZE" | "CONFIG",
            _,
        ) => return Err(Refused::Arguments(name.to_owned())),
        _ => return Err(Refused::Unknown(name.to_owned())),
    }
    Ok(())
}

fn add(key: &Bytes, number: i64, shards: &Shards, output: &mut Vec<u8>) -> Result<(), Refused> {
    let sum = shards.of(key).call(|reply| Ask::Add(key.clone(), number, reply))?;
    integer(output, sum.map_err(Refused::Said)?);
    Ok(())
}

fn lifetime(options: &[Bytes]) -> Result<Option<Duration>, Refused> {
    let (unit, number) = match options {
        [] => return Ok(None),
        [unit, number] => (unit.to_ascii_uppercase(), parse(number)?),
        _ => return Err(Refused::Syntax),
    };
    let number = u64::try_from(number).ok().filter(|number| *number > 0);
    let number = number.ok_or(Refused::Said("invalid expire time in 'set' command"))?;
    match &unit[..] {
        b"EX" => Ok(Some(Duration::from_secs(number))),
        b"PX" => Ok(Some(Duration::from_millis(number))),
        _ => Err(Refused::Syntax),
    }
}

fn parse(text: &[u8]) -> Result<i64, Refused> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Refused::Number)
}
