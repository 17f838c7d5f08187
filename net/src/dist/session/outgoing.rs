//! What goes out: lanes, streams, credit, the bound (rules 1 to 4 of the session).

use super::{Control, STREAMS, SessionError, Settings};
use crate::dist::{
    frame::{self, Kind},
    handshake::{Agreement, feature},
    packet,
};
use std::collections::{HashMap, VecDeque};

/// Bytes of a packet in one fragment.
pub const FRAGMENT: usize = 64 * 1024;
/// Packets from this size are compressed, if that was agreed.
const COMPRESS: usize = 1024;
/// No more than so many times smaller: the other side takes more for a bomb.
pub(super) const RATIO: u64 = 64;
/// Bytes of a batch after which the next one begins.
const BATCH: usize = 32 * 1024;

pub(super) const PLAIN: u8 = 0;
pub(super) const LZ4: u8 = 1;

/// Who sends: all of its packets keep their order.
pub type SenderKey = (u64, u32);

/// The two lanes of packets. Each has its own bound: who sends little does not wait for who sends much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Packets in batches.
    Small,
    /// Packets in fragments, and what their senders send after them.
    Bulk,
}

/// How full the lane is after a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Pressure {
    /// Below the limit.
    Low,
    /// At or above it.
    High,
}

/// The other side does not take packets of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// Bytes of the packet.
    pub size: u64,
    /// What the other takes.
    pub limit: u64,
}

/// What has gone out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that were taken in.
    pub packets: u64,
    /// Their bytes, as sent.
    pub bytes: u64,
    /// Fragments that were made.
    pub fragments: u64,
}

/// Makes a packet of bytes whose first byte was left free: `[0, …]`. With `compress`, what is large becomes smaller.
#[must_use]
pub fn seal(mut bytes: Vec<u8>, compress: bool) -> Vec<u8> {
    bytes[0] = PLAIN;
    let size = bytes.len() - 1;
    if !compress || size < COMPRESS {
        return bytes;
    }
    let mut small = vec![LZ4];
    packet::write_number(&mut small, size as u64);
    small.extend_from_slice(&lz4_flex::block::compress(&bytes[1..]));
    let worth_it = small.len() < bytes.len() && (size as u64) <= RATIO * small.len() as u64;
    if worth_it { small } else { bytes }
}

/// A sender that has sent something large.
#[derive(Debug, Default)]
struct Stream {
    packets: VecDeque<Vec<u8>>,
    /// Bytes of the first packet that are gone.
    sent: usize,
    /// The number that it goes under now.
    number: Option<u16>,
    /// Batches that go before it: packets of this sender may be in them.
    after: u64,
}

/// The sending half.
#[derive(Debug)]
pub struct Outgoing {
    control: Vec<u8>,
    small: VecDeque<Vec<u8>>,
    /// Batches that are gone.
    batches: u64,
    streams: HashMap<SenderKey, Stream>,
    /// Senders with a number, in turn; then those without.
    turns: VecDeque<SenderKey>,
    waiting: VecDeque<SenderKey>,
    numbers: Vec<u16>,
    /// Bytes that wait, in small and in bulk.
    queued: [usize; 2],
    limit: usize,
    max_packet: u64,
    window: u64,
    /// Bytes that may go.
    credit: u64,
    compress: bool,
    counters: Counters,
    /// The next turn is a batch's.
    small_next: bool,
}

impl Outgoing {
    /// After the handshake.
    #[must_use]
    pub fn new(settings: &Settings, agreement: &Agreement) -> Self {
        let window = u64::from(agreement.peer.limits.window);
        Outgoing {
            control: Vec::new(),
            small: VecDeque::new(),
            batches: 0,
            streams: HashMap::new(),
            turns: VecDeque::new(),
            waiting: VecDeque::new(),
            numbers: (0..STREAMS as u16).rev().collect(),
            queued: [0; 2],
            limit: settings.queue,
            max_packet: agreement.peer.limits.max_packet,
            window,
            credit: window,
            compress: settings.compress && agreement.features & feature::LZ4 != 0,
            counters: Counters::default(),
            small_next: true,
        }
    }

    /// Shall packets be compressed ([`seal`])?
    #[must_use]
    pub fn compresses(&self) -> bool {
        self.compress
    }

    /// Takes a sealed packet in, whatever waits already: signals always go. Who sends messages stops at
    /// [`Pressure::High`], or asks [`Outgoing::is_full`] before and drops.
    ///
    /// # Errors
    ///
    /// [`TooLarge`].
    pub fn push(&mut self, sender: SenderKey, packet: &[u8]) -> Result<Pressure, TooLarge> {
        let size = packet.len() as u64;
        if size > self.max_packet {
            return Err(TooLarge { size, limit: self.max_packet });
        }
        let lane = self.lane(sender, packet.len());
        self.queued[lane as usize] += packet.len();
        self.counters.packets += 1;
        self.counters.bytes += size;
        if let Some(stream) = self.streams.get_mut(&sender) {
            stream.packets.push_back(packet.to_vec());
        } else if packet.len() > BATCH {
            let packets = VecDeque::from([packet.to_vec()]);
            let after = self.batches + self.small.len() as u64;
            self.streams.insert(sender, Stream { packets, after, ..Stream::default() });
            self.waiting.push_back(sender);
        } else {
            match self.small.back_mut() {
                Some(batch) if batch.len() + packet.len() <= BATCH => packet::write(batch, packet),
                _ => {
                    let mut batch = Vec::with_capacity(packet.len() + 512);
                    packet::write(&mut batch, packet);
                    self.small.push_back(batch);
                }
            }
        }
        Ok(if self.is_full(lane) { Pressure::High } else { Pressure::Low })
    }

    /// A packet of the connection.
    pub fn control(&mut self, control: &Control) {
        let mut bytes = Vec::new();
        packet::encode(&mut bytes, control);
        packet::write(&mut self.control, &bytes);
    }

    /// The other has taken so many bytes.
    ///
    /// # Errors
    ///
    /// [`SessionError::BadCredit`].
    pub fn credit(&mut self, bytes: u64) -> Result<(), SessionError> {
        let credit = self.credit.checked_add(bytes).filter(|credit| *credit <= self.window);
        self.credit = credit.ok_or(SessionError::BadCredit { bytes })?;
        Ok(())
    }

    /// The lane of a packet of this size.
    #[must_use]
    pub fn lane(&self, sender: SenderKey, size: usize) -> Lane {
        if size > BATCH || self.streams.contains_key(&sender) { Lane::Bulk } else { Lane::Small }
    }

    /// Is the limit of waiting bytes reached?
    #[must_use]
    pub fn is_full(&self, lane: Lane) -> bool {
        self.queued[lane as usize] >= self.limit
    }

    /// Is the lane half empty again?
    #[must_use]
    pub fn has_room(&self, lane: Lane) -> bool {
        self.queued[lane as usize] <= self.limit / 2
    }

    /// Bytes that wait in a lane.
    #[must_use]
    pub fn queued_in(&self, lane: Lane) -> usize {
        self.queued[lane as usize]
    }

    /// Bytes that wait, those of the control lane not counted.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued.iter().sum()
    }

    /// What has gone out.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Could [`Outgoing::produce`] write something?
    #[must_use]
    pub fn has_work(&self) -> bool {
        let batch = self.small.front().is_some_and(|batch| batch.len() as u64 <= self.credit);
        let begins = self.waiting.front().is_some_and(|sender| self.may_begin(*sender));
        let stream = (begins || !self.turns.is_empty()) && self.credit >= frame::MAX_PAYLOAD as u64;
        !self.control.is_empty() || batch || stream
    }

    /// Appends frames until `out` has `budget` bytes, or nothing may go now.
    pub fn produce(&mut self, out: &mut Vec<u8>, budget: usize) {
        self.produce_control(out);
        while out.len() < budget {
            let went = (self.small_next && self.batch(out)) || self.fragment(out) || self.batch(out);
            if !went {
                return;
            }
        }
    }

    fn produce_control(&mut self, out: &mut Vec<u8>) {
        let control = std::mem::take(&mut self.control);
        let mut rest = &control[..];
        while !rest.is_empty() {
            // Whole packets, as many as fit.
            let mut end = rest;
            while let Some(before) = (!end.is_empty()).then_some(end) {
                if packet::read(&mut end).is_err() || rest.len() - end.len() > frame::MAX_PAYLOAD {
                    end = before;
                    break;
                }
            }
            let len = rest.len() - end.len();
            frame::write(out, Kind::Control, 0, 0, &rest[..len]);
            rest = end;
        }
    }

    fn pay(&mut self, bytes: usize) -> bool {
        match self.credit.checked_sub(bytes as u64) {
            Some(credit) => {
                self.credit = credit;
                true
            }
            None => false,
        }
    }

    fn batch(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(len) = self.small.front().map(Vec::len) else { return false };
        if !self.pay(len) {
            return false;
        }
        self.small_next = false;
        self.batches += 1;
        if let Some(batch) = self.small.pop_front() {
            frame::write(out, Kind::Batch, 0, 0, &batch);
            let mut rest = &batch[..];
            while let Ok(Some(packet)) = packet::read(&mut rest) {
                self.queued[Lane::Small as usize] -= packet.len();
            }
        }
        true
    }

    fn may_begin(&self, sender: SenderKey) -> bool {
        self.streams.get(&sender).is_some_and(|stream| stream.after <= self.batches)
    }

    fn fragment(&mut self, out: &mut Vec<u8>) -> bool {
        // With less credit than for a whole fragment it waits: fragments do not get smaller and smaller.
        if self.streams.is_empty() || self.credit < frame::MAX_PAYLOAD as u64 {
            return false;
        }
        while let (Some(number), Some(sender)) = (self.numbers.last().copied(), self.waiting.front().copied())
        {
            if !self.may_begin(sender) {
                break;
            }
            self.waiting.pop_front();
            if let Some(stream) = self.streams.get_mut(&sender) {
                stream.number = Some(number);
                self.numbers.pop();
                self.turns.push_back(sender);
            }
        }
        let Some(sender) = self.turns.pop_front() else { return false };
        let Some(stream) = self.streams.get_mut(&sender) else { return false };
        let (Some(number), Some(packet)) = (stream.number, stream.packets.front()) else { return false };
        let total = packet.len();
        let at = frame::begin(out);
        let mut flags = 0;
        if stream.sent == 0 {
            flags |= frame::FIRST;
            packet::write_number(out, total as u64);
        }
        let end = total.min(stream.sent + FRAGMENT);
        out.extend_from_slice(&packet[stream.sent..end]);
        self.queued[Lane::Bulk as usize] -= end - stream.sent;
        stream.sent = end;
        if end == total {
            flags |= frame::LAST;
            stream.packets.pop_front();
            stream.sent = 0;
        }
        let finished = stream.packets.is_empty();
        frame::end(out, at, Kind::Fragment, flags, number);
        let paid = out.len() - at - frame::HEADER;
        if finished {
            self.streams.remove(&sender);
            self.numbers.push(number);
        } else {
            self.turns.push_back(sender);
        }
        self.pay(paid);
        self.counters.fragments += 1;
        self.small_next = true;
        true
    }
}
