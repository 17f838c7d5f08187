//! What comes in: frames, packets out of them, fragments put together (rules 1, 3 and 6 of the session).

use super::{
    Control, STREAMS, SessionError, Settings,
    outgoing::{LZ4, PLAIN, RATIO},
};
use crate::dist::{
    frame::{self, Decoder, Frame, Kind},
    handshake::{Agreement, feature},
    packet::{self, PacketError},
};

/// Memory that the first fragment of a packet reserves at most, whatever size it says.
const RESERVE: usize = 1 << 20;

/// Bytes after which credit is given back, if that is not a quarter of the window before.
const CREDIT: u64 = 32 * 1024;

/// Something that has come in.
#[derive(Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// A packet of a process.
    Packet(&'a [u8]),
    /// A packet of the connection.
    Control(Control),
}

/// A packet of which some fragments have come.
#[derive(Debug)]
struct Assembly {
    total: u64,
    bytes: Vec<u8>,
}

/// The receiving half.
#[derive(Debug)]
pub struct Incoming {
    decoder: Decoder,
    assemblies: [Option<Assembly>; STREAMS],
    max_packet: u64,
    window: u64,
    /// Bytes of packets that have come, and for which no credit was given back.
    owed: u64,
    lz4: bool,
    scratch: Vec<u8>,
}

impl Incoming {
    /// After the handshake.
    #[must_use]
    pub fn new(settings: &Settings, agreement: &Agreement) -> Self {
        Incoming {
            decoder: Decoder::new(),
            assemblies: [const { None }; STREAMS],
            max_packet: settings.max_packet,
            window: u64::from(settings.window),
            owed: 0,
            lz4: agreement.features & feature::LZ4 != 0,
            scratch: Vec::new(),
        }
    }

    /// Takes bytes in; `on` gets all that is complete, in order.
    ///
    /// # Errors
    ///
    /// See [`SessionError`]: close.
    pub fn receive(&mut self, bytes: &[u8], on: &mut dyn FnMut(Input<'_>)) -> Result<(), SessionError> {
        // In pieces, so that the decoder holds little.
        for piece in bytes.chunks(frame::MAX_PAYLOAD) {
            self.decoder.push(piece);
            self.take_frames(on)?;
        }
        Ok(())
    }

    /// A place to read bytes into, at least so many; then [`Incoming::filled`] takes them in.
    pub fn space(&mut self, room: usize) -> &mut [u8] {
        self.decoder.space(room)
    }

    /// So many bytes of [`Incoming::space`] were read: as [`Incoming::receive`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// If there was less space.
    pub fn filled(&mut self, count: usize, on: &mut dyn FnMut(Input<'_>)) -> Result<(), SessionError> {
        self.decoder.filled(count);
        self.take_frames(on)
    }

    fn take_frames(&mut self, on: &mut dyn FnMut(Input<'_>)) -> Result<(), SessionError> {
        // The decoder and the rest of `self` are used at once.
        let mut decoder = std::mem::take(&mut self.decoder);
        let result = loop {
            match decoder.next() {
                Ok(Some(frame)) => {
                    if let Err(error) = self.frame(frame, on) {
                        break Err(error);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            }
        };
        self.decoder = decoder;
        result
    }

    /// Credit to give back, when it is worth a packet.
    pub fn take_credit(&mut self) -> Option<u64> {
        (self.owed >= (self.window / 4).min(CREDIT)).then(|| std::mem::take(&mut self.owed))
    }

    /// Bytes that are held: a part of a frame, and parts of packets.
    #[must_use]
    pub fn held(&self) -> usize {
        self.decoder.held()
            + self.assemblies.iter().flatten().map(|assembly| assembly.bytes.len()).sum::<usize>()
    }

    fn frame(&mut self, frame: Frame<'_>, on: &mut dyn FnMut(Input<'_>)) -> Result<(), SessionError> {
        let mut payload = frame.payload;
        if frame.kind == Kind::Control {
            while let Some(bytes) = packet::read(&mut payload).map_err(SessionError::Control)? {
                let control: Control = packet::decode(bytes).map_err(SessionError::Control)?;
                if let Control::Goodbye { why } = control {
                    return Err(SessionError::Goodbye { why });
                }
                on(Input::Control(control));
            }
            return Ok(());
        }
        self.owed += payload.len() as u64;
        if self.owed > self.window {
            return Err(SessionError::CreditOverrun { bytes: self.owed, window: self.window });
        }
        if frame.kind == Kind::Batch {
            while let Some(packet) = packet::read(&mut payload).map_err(SessionError::Packet)? {
                self.packet(packet, on)?;
            }
            return Ok(());
        }
        self.fragment(frame, on)
    }

    fn fragment(&mut self, frame: Frame<'_>, on: &mut dyn FnMut(Input<'_>)) -> Result<(), SessionError> {
        let stream = frame.stream;
        let mut payload = frame.payload;
        let Some(place) = self.assemblies.get_mut(usize::from(stream)) else {
            return Err(SessionError::UnknownStream { stream });
        };
        let is_first = frame.flags & frame::FIRST != 0;
        let mut assembly = match (place.take(), is_first) {
            (None, true) => {
                let total = packet::read_number(&mut payload).map_err(SessionError::Packet)?;
                if total > self.max_packet {
                    return Err(SessionError::PacketTooLarge { size: total, limit: self.max_packet });
                }
                if frame.flags & frame::LAST != 0 {
                    // All of it: it need not be put together.
                    let bytes = payload.len() as u64;
                    if bytes != total {
                        return Err(SessionError::BadTotal { total, bytes });
                    }
                    return self.packet(payload, on);
                }
                Assembly { total, bytes: Vec::with_capacity((total as usize).min(RESERVE)) }
            }
            (Some(assembly), false) => assembly,
            (Some(_), true) | (None, false) => return Err(SessionError::OutOfOrder { stream }),
        };
        let bytes = (assembly.bytes.len() + payload.len()) as u64;
        let is_last = frame.flags & frame::LAST != 0;
        if bytes > assembly.total || (bytes == assembly.total) != is_last {
            return Err(SessionError::BadTotal { total: assembly.total, bytes });
        }
        assembly.bytes.extend_from_slice(payload);
        if is_last {
            return self.packet(&assembly.bytes, on);
        }
        self.assemblies[usize::from(stream)] = Some(assembly);
        Ok(())
    }

    fn packet(&mut self, packet: &[u8], on: &mut dyn FnMut(Input<'_>)) -> Result<(), SessionError> {
        match packet.split_first() {
            Some((&PLAIN, bytes)) => on(Input::Packet(bytes)),
            Some((&LZ4, _)) if !self.lz4 => return Err(SessionError::NotAgreed),
            Some((&LZ4, mut bytes)) => {
                let size = packet::read_number(&mut bytes).map_err(SessionError::Packet)?;
                if size >= self.max_packet {
                    return Err(SessionError::PacketTooLarge { size, limit: self.max_packet });
                }
                if size > RATIO * packet.len() as u64 {
                    return Err(SessionError::Bomb { compressed: packet.len(), size });
                }
                let fail = |error: String| SessionError::Decompress { size, error };
                self.scratch.clear();
                self.scratch.resize(size as usize, 0);
                let written = lz4_flex::block::decompress_into(bytes, &mut self.scratch)
                    .map_err(|error| fail(error.to_string()))?;
                if written as u64 != size {
                    return Err(fail(format!("it becomes {written}")));
                }
                on(Input::Packet(&self.scratch));
                self.scratch.shrink_to(RESERVE);
            }
            _ => return Err(SessionError::Packet(PacketError::BadLength)),
        }
        Ok(())
    }
}
