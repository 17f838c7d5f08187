//! A look at a MessagePack value before it is decoded.
//!
//! The decoder recurses, and its own limit of depth does not count everything: some kilobytes of nested options or
//! maps of one entry would use up any stack, and so end the whole program. And a count of elements that the bytes
//! cannot hold might make a decoder reserve memory for them. So every value from outside is walked first, by a
//! loop without recursion, in time linear in its bytes:
//!
//! * nesting is at most the given depth,
//! * no array, map, string or binary claims more than the bytes that are left,
//! * it is exactly one value, and nothing after it.

use std::fmt;

/// Nesting that is allowed if nothing else is said.
pub const DEFAULT_DEPTH: usize = 32;

/// The most that can be asked for. A level costs the decoder up to half a kilobyte of stack.
pub const MAX_DEPTH: usize = 128;

/// Why a value is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NestingError {
    /// Deeper than allowed.
    TooDeep {
        /// What is allowed.
        limit: usize,
    },
    /// It says that there are more elements or bytes than are left.
    Claims {
        /// How many it says.
        claimed: u64,
        /// Bytes that are left.
        left: usize,
    },
    /// It ends in the middle.
    Truncated,
    /// Something follows the value.
    Trailing {
        /// Bytes after it.
        bytes: usize,
    },
    /// A byte that MessagePack never uses.
    Reserved,
}

impl fmt::Display for NestingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NestingError::TooDeep { limit } => write!(f, "a value nested deeper than {limit}"),
            NestingError::Claims { claimed, left } => {
                write!(f, "a value that claims {claimed} elements or bytes with {left} bytes left")
            }
            NestingError::Truncated => f.write_str("a value that ends in the middle"),
            NestingError::Trailing { bytes } => write!(f, "{bytes} bytes after a value"),
            NestingError::Reserved => f.write_str("a byte that is not MessagePack"),
        }
    }
}

impl std::error::Error for NestingError {}

/// Looks at one value.
///
/// # Errors
///
/// See [`NestingError`].
///
/// # Panics
///
/// If `depth` is above [`MAX_DEPTH`].
pub fn check(bytes: &[u8], depth: usize) -> Result<(), NestingError> {
    assert!(depth <= MAX_DEPTH, "a nesting of {depth}, {MAX_DEPTH} is the most");
    // A small table is cleared sooner.
    if depth <= DEFAULT_DEPTH {
        walk::<{ DEFAULT_DEPTH + 1 }>(bytes, depth)
    } else {
        walk::<{ MAX_DEPTH + 1 }>(bytes, depth)
    }
}

fn walk<const LEVELS: usize>(bytes: &[u8], depth: usize) -> Result<(), NestingError> {
    // How many values are still to come, on each open level.
    let mut open = [0_u64; LEVELS];
    let mut level = 0;
    open[0] = 1;
    let mut at = 0;
    let number = |at: usize, width: usize| -> Result<u64, NestingError> {
        let digits = bytes.get(at..at + width).ok_or(NestingError::Truncated)?;
        Ok(digits.iter().fold(0, |number, digit| number << 8 | u64::from(*digit)))
    };
    loop {
        while open[level] == 0 {
            if level == 0 {
                let rest = bytes.len() - at;
                return if rest == 0 { Ok(()) } else { Err(NestingError::Trailing { bytes: rest }) };
            }
            level -= 1;
        }
        open[level] -= 1;
        let marker = *bytes.get(at).ok_or(NestingError::Truncated)?;
        at += 1;
        // Bytes to skip, or values to look into.
        let (skip, inner) = match marker {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 0),
            0x80..=0x8f => (0, 2 * u64::from(marker & 0x0f)),
            0x90..=0x9f => (0, u64::from(marker & 0x0f)),
            0xa0..=0xbf => (u64::from(marker & 0x1f), 0),
            0xc1 => return Err(NestingError::Reserved),
            0xc4..=0xc6 | 0xd9..=0xdb | 0xc7..=0xc9 => {
                let (first, extra) = match marker {
                    0xc4..=0xc6 => (0xc4, 0),
                    0xd9..=0xdb => (0xd9, 0),
                    // An extension has a byte of type.
                    _ => (0xc7, 1),
                };
                let width = 1 << (marker - first);
                let len = number(at, width)?;
                at += width;
                (len + extra, 0)
            }
            0xcc | 0xd0 => (1, 0),
            0xcd | 0xd1 => (2, 0),
            0xca | 0xce | 0xd2 => (4, 0),
            0xcb | 0xcf | 0xd3 => (8, 0),
            0xd4..=0xd8 => (1 + (1 << (marker - 0xd4)), 0),
            0xdc..=0xdf => {
                let width = if marker & 1 == 0 { 2 } else { 4 };
                let len = number(at, width)?;
                at += width;
                (0, if marker >= 0xde { 2 * len } else { len })
            }
        };
        let left = bytes.len() - at;
        // Each inner value takes a byte at least.
        let claimed = skip.max(inner);
        if claimed > left as u64 {
            return Err(NestingError::Claims { claimed, left });
        }
        at += skip as usize;
        if inner > 0 {
            if level == depth {
                return Err(NestingError::TooDeep { limit: depth });
            }
            level += 1;
            open[level] = inner;
        }
    }
}
