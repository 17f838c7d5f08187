//! Frames: the unit in which bytes travel between two nodes.
//!
//! ```text
//!  0       4      5       6        8         12
//!  ├───────┼──────┼───────┼────────┼─────────┼──────────────┤   little-endian
//!  │ len   │ kind │ flags │ stream │ check   │ payload, len │
//!  └───────┴──────┴───────┴────────┴─────────┴──────────────┘
//! ```
//!
//! * `len` counts the payload: 1 to [`MAX_PAYLOAD`]. It is looked at before anything is stored.
//! * `check` is the CRC-32 of the first 8 bytes and the payload. It finds accidents, not attackers.
//! * A wrong frame ends the connection: after it nobody knows where the next one begins.
//!
//! [`Decoder`] takes bytes in pieces of any size, and holds at most one frame and one piece.

use std::fmt;

/// Bytes before the payload.
pub const HEADER: usize = 12;

/// The longest payload: a fragment of 64 KiB, and its head.
pub const MAX_PAYLOAD: usize = 64 * 1024 + 256;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Packets of the connection itself: heartbeats, credit, types, the end.
    Control = 1,
    /// Whole packets of processes.
    Batch = 2,
    /// A part of one packet that is larger than a frame, or that follows one.
    Fragment = 3,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Kind::Control),
            2 => Some(Kind::Batch),
            3 => Some(Kind::Fragment),
            _ => None,
        }
    }
}

/// On the first fragment of a packet.
pub const FIRST: u8 = 1;
/// On the last one.
pub const LAST: u8 = 2;
/// All flags that there are.
const FLAGS: u8 = FIRST | LAST;

/// A frame, as it lies in the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it carries.
    pub kind: Kind,
    /// [`FIRST`], [`LAST`]; 0 for others than fragments.
    pub flags: u8,
    /// The stream of a fragment; 0 for others.
    pub stream: u16,
    /// Its contents, not empty.
    pub payload: &'a [u8],
}

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The length is above [`MAX_PAYLOAD`] (a negative one is, too).
    Oversized {
        /// What it says.
        len: u32,
    },
    /// The length is 0.
    Empty,
    /// There is no such kind.
    UnknownKind {
        /// What it says.
        kind: u8,
    },
    /// Flags or a stream where there are none.
    BadFlags {
        /// The kind.
        kind: Kind,
        /// The flags.
        flags: u8,
        /// The stream.
        stream: u16,
    },
    /// The check does not match the bytes.
    BadCheck {
        /// What it says.
        sent: u32,
        /// What the bytes have.
        computed: u32,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Oversized { len } => {
                write!(f, "a frame of {len} bytes, {MAX_PAYLOAD} is the most")
            }
            FrameError::Empty => f.write_str("a frame of 0 bytes"),
            FrameError::UnknownKind { kind } => write!(f, "a frame of the unknown kind {kind}"),
            FrameError::BadFlags { kind, flags, stream } => {
                write!(f, "a frame of the kind {kind:?} with flags {flags:#x} and stream {stream}")
            }
            FrameError::BadCheck { sent, computed } => {
                write!(f, "a frame with the check {sent:08x}, its bytes have {computed:08x}")
            }
        }
    }
}

impl std::error::Error for FrameError {}

fn check(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

/// Begins a frame at the end of `out`; the payload is appended by the caller, then [`end`] is called with what
/// this returns.
#[must_use]
pub fn begin(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; HEADER]);
    at
}

/// Ends the frame that was begun at `at`.
///
/// # Panics
///
/// If the payload is empty or too long: the sender's own mistake.
pub fn end(out: &mut [u8], at: usize, kind: Kind, flags: u8, stream: u16) {
    let frame = &mut out[at..];
    let (header, payload) = frame.split_at_mut(HEADER);
    assert!((1..=MAX_PAYLOAD).contains(&payload.len()), "a frame of {} bytes is written", payload.len());
    header[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[4] = kind as u8;
    header[5] = flags;
    header[6..8].copy_from_slice(&stream.to_le_bytes());
    let check = check(&header[..8], payload);
    header[8..].copy_from_slice(&check.to_le_bytes());
}

/// Appends a frame.
///
/// # Panics
///
/// As [`end`].
pub fn write(out: &mut Vec<u8>, kind: Kind, flags: u8, stream: u16, payload: &[u8]) {
    let at = begin(out);
    out.extend_from_slice(payload);
    end(out, at, kind, flags, stream);
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Its length is the place that there is.
    buffer: Vec<u8>,
    /// What has been taken from the front of the buffer.
    taken: usize,
    /// What has come.
    end: usize,
}

impl Decoder {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes in. Call [`Decoder::next`] until there is no frame before the next bytes, or the buffer grows.
    pub fn push(&mut self, bytes: &[u8]) {
        self.space(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// A place for at least so many bytes, to read into; [`Decoder::filled`] takes them in.
    pub fn space(&mut self, room: usize) -> &mut [u8] {
        if self.taken == self.end {
            (self.taken, self.end) = (0, 0);
        } else if self.end + room > self.buffer.len() && self.taken > 0 {
            // What is left of one frame goes to the front.
            self.buffer.copy_within(self.taken..self.end, 0);
            (self.taken, self.end) = (0, self.end - self.taken);
        }
        if self.end + room > self.buffer.len() {
            self.buffer.resize(self.end + room, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// So many bytes of [`Decoder::space`] were read.
    ///
    /// # Panics
    ///
    /// If there was less space.
    pub fn filled(&mut self, count: usize) {
        assert!(count <= self.buffer.len() - self.end, "{count} bytes read into less");
        self.end += count;
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.end - self.taken
    }

    /// The next frame, if it is complete.
    ///
    /// # Errors
    ///
    /// The bytes are no frame. The decoder is of no use after that.
    #[allow(clippy::should_implement_trait, reason = "what it returns borrows from it")]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let bytes = &self.buffer[self.taken..self.end];
        let Some((header, rest)) = bytes.split_at_checked(HEADER) else { return Ok(None) };
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (len, flags, stream) = (word(0), header[5], u16::from_le_bytes([header[6], header[7]]));
        if len as usize > MAX_PAYLOAD {
            return Err(FrameError::Oversized { len });
        }
        if len == 0 {
            return Err(FrameError::Empty);
        }
        let Some(kind) = Kind::from_byte(header[4]) else {
            return Err(FrameError::UnknownKind { kind: header[4] });
        };
        if flags & !FLAGS != 0 || (kind != Kind::Fragment && (flags != 0 || stream != 0)) {
            return Err(FrameError::BadFlags { kind, flags, stream });
        }
        let Some(payload) = rest.get(..len as usize) else { return Ok(None) };
        let (sent, computed) = (word(8), check(&header[..8], payload));
        if sent != computed {
            return Err(FrameError::BadCheck { sent, computed });
        }
        self.taken += HEADER + len as usize;
        Ok(Some(Frame { kind, flags, stream, payload }))
    }
}
