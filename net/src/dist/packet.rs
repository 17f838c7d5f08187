//! Packets within a frame, and how their contents are encoded.
//!
//! A packet is a length (LEB128) and that many bytes. What the connection says of itself is one MessagePack value, of structs without
//! recursion, written by position: fields are only ever appended.

use super::nesting::{self, NestingError};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;

/// Why a packet cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketError {
    /// The length is not one, or goes beyond the frame.
    BadLength,
    /// The bytes are refused before they are decoded.
    Nesting(NestingError),
    /// They are not what they should be.
    Decode(String),
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PacketError::BadLength => f.write_str("a packet that goes beyond its frame"),
            PacketError::Nesting(error) => error.fmt(f),
            PacketError::Decode(error) => write!(f, "a value that cannot be decoded: {error}"),
        }
    }
}

impl std::error::Error for PacketError {}

impl From<NestingError> for PacketError {
    fn from(error: NestingError) -> Self {
        PacketError::Nesting(error)
    }
}

/// Appends a number.
pub fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number from the front.
///
/// # Errors
///
/// There is none, or it is longer than need be.
#[inline]
pub fn read_number(bytes: &mut &[u8]) -> Result<u64, PacketError> {
    match bytes.split_first() {
        // Most are small.
        Some((&byte, rest)) if byte < 0x80 => {
            *bytes = rest;
            Ok(u64::from(byte))
        }
        _ => read_long(bytes),
    }
}

fn read_long(bytes: &mut &[u8]) -> Result<u64, PacketError> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        let digit = u64::from(byte & 0x7f);
        if at == 9 && digit > 1 {
            break;
        }
        number |= digit << (7 * at);
        if byte & 0x80 == 0 {
            if at > 0 && digit == 0 {
                break;
            }
            *bytes = &bytes[at + 1..];
            return Ok(number);
        }
    }
    Err(PacketError::BadLength)
}

/// Appends a packet.
pub fn write(out: &mut Vec<u8>, packet: &[u8]) {
    write_number(out, packet.len() as u64);
    out.extend_from_slice(packet);
}

/// Takes a packet from the front; `None`: nothing is left.
///
/// # Errors
///
/// [`PacketError::BadLength`].
pub fn read<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, PacketError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let len = usize::try_from(read_number(bytes)?).map_err(|_| PacketError::BadLength)?;
    let (packet, rest) = bytes.split_at_checked(len).ok_or(PacketError::BadLength)?;
    *bytes = rest;
    Ok(Some(packet))
}

/// Encodes a value of our own.
///
/// # Panics
///
/// If it cannot be encoded; the values of the protocol always can.
pub fn encode<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    if let Err(error) = rmp_serde::encode::write(out, value) {
        panic!("a value of the protocol was not encoded: {error}");
    }
}

/// Decodes a value, after a look at its nesting.
///
/// # Errors
///
/// See [`PacketError`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PacketError> {
    nesting::check(bytes, nesting::DEFAULT_DEPTH)?;
    rmp_serde::from_slice(bytes).map_err(|error| PacketError::Decode(error.to_string()))
}
