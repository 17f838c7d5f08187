//! The Redis protocol (RESP2), as far as a server needs it. Pure functions.

use std::fmt;

/// The longest line and the largest argument that is taken, in bytes, and the most arguments.
const LINE: usize = 64 * 1024;
const ARGUMENT: usize = 64 * 1024 * 1024;
const ARGUMENTS: usize = 1024 * 1024;

/// What the input begins with.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A command with its arguments, and the bytes that it takes up.
    Command(Vec<Vec<u8>>, usize),
    /// The beginning of one.
    More,
}

/// What is wrong with the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Malformed {
    Line,
    Count(String),
    Length(String),
    Kind(u8),
    End,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Line => write!(f, "too big inline request"),
            Malformed::Count(text) => write!(f, "invalid multibulk length {text:?}"),
            Malformed::Length(text) => write!(f, "invalid bulk length {text:?}"),
            Malformed::Kind(byte) => write!(f, "expected '$', got {:?}", char::from(*byte)),
            Malformed::End => write!(f, "an argument does not end where it should"),
        }
    }
}

/// The first command of the input.
pub fn parse(input: &[u8]) -> Result<Parsed, Malformed> {
    let Some((first, mut at)) = line(input)? else { return Ok(Parsed::More) };
    let Some((b'*', count)) = first.split_first() else {
        // Typed by a person: words in a line.
        let words = first.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        return Ok(Parsed::Command(words.map(<[u8]>::to_vec).collect(), at));
    };
    let count = number(count, ARGUMENTS).map_err(Malformed::Count)?;
    let mut arguments = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        let Some((header, length)) = line(&input[at..])? else { return Ok(Parsed::More) };
        at += length;
        let size = match header.split_first() {
            Some((b'$', size)) => number(size, ARGUMENT).map_err(Malformed::Length)?,
            Some((other, _)) => return Err(Malformed::Kind(*other)),
            None => return Err(Malformed::End),
        };
        let Some(rest) = input.get(at..at + size + 2) else { return Ok(Parsed::More) };
        if &rest[size..] != b"\r\n" {
            return Err(Malformed::End);
        }
        arguments.push(rest[..size].to_vec());
        at += size + 2;
    }
    Ok(Parsed::Command(arguments, at))
}

/// The first line without its end, and the bytes with it.
fn line(input: &[u8]) -> Result<Option<(&[u8], usize)>, Malformed> {
    match input.iter().position(|byte| *byte == b'\n') {
        Some(end) if end <= LINE => {
            Ok(Some((input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]), end + 1)))
        }
        None if input.len() <= LINE => Ok(None),
        _ => Err(Malformed::Line),
    }
}

fn number(text: &[u8], most: usize) -> Result<usize, String> {
    let text = String::from_utf8_lossy(text);
    text.parse().ok().filter(|number| *number <= most).ok_or_else(|| text.into_owned())
}

pub fn simple(output: &mut Vec<u8>, text: &str) {
    output.extend_from_slice(format!("+{text}\r\n").as_bytes());
}

pub fn error(output: &mut Vec<u8>, text: &str) {
    output.extend_from_slice(format!("-ERR {text}\r\n").as_bytes());
}

pub fn integer(output: &mut Vec<u8>, number: i64) {
    output.extend_from_slice(format!(":{number}\r\n").as_bytes());
}

/// `None`: the null value.
pub fn bulk(output: &mut Vec<u8>, data: Option<&[u8]>) {
    let Some(data) = data else { return output.extend_from_slice(b"$-1\r\n") };
    output.extend_from_slice(format!("${}\r\n", data.len()).as_bytes());
    output.extend_from_slice(data);
    output.extend_from_slice(b"\r\n");
}

pub fn array(output: &mut Vec<u8>, items: &[&[u8]]) {
    output.extend_from_slice(format!("*{}\r\n", items.len()).as_bytes());
    for item in items {
        bulk(output, Some(item));
    }
}
