//! What goes out: lanes, streams, credit, the bound (rules 1 to 4 of the session).

use super::{
    Control, STREAMS, SessionError, Settings,
    fair::{Fair, QUANTUM, Turn},
};
use crate::dist::{
    frame::{self, Kind},
    handshake::{Agreement, feature},
    packet,
};
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// Bytes of a packet in one fragment: 64 KiB and what is around them, so that a message of that size is one.
pub const FRAGMENT: usize = 64 * 1024 + 192;
/// Packets from this size are compressed, if that was agreed.
const COMPRESS: usize = 1024;
/// No more than so many times smaller: the other side takes more for a bomb.
pub(super) const RATIO: u64 = 64;
/// Bytes that may always be under way.
const LEAST: u64 = 128 * 1024;
/// So much longer than the shortest time is what a fragment may take until it is taken: then less of them are under way.
const PATIENCE: Duration = Duration::from_micros(500);
/// Bytes that fresh senders may have under way beyond that.
const AHEAD: u64 = 32 * 1024;
/// Frames that are smaller do not tell how long the way is.
const MARKED: usize = 4 * 1024;
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

/// A packet, as it was given.
#[derive(Debug)]
struct Parts {
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Parts {
    fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Appends its bytes from `start` to `end`.
    fn copy(&self, start: usize, end: usize, out: &mut Vec<u8>) {
        let head = self.head.len();
        out.extend_from_slice(&self.head[start.min(head)..end.min(head)]);
        out.extend_from_slice(&self.body[start.saturating_sub(head)..end.saturating_sub(head)]);
    }
}

/// How much is under way (rule 7).
#[derive(Debug)]
struct Pace {
    now: Duration,
    /// Bytes that went, and that the other has taken, since the beginning.
    sent: u64,
    taken: u64,
    /// Frames under way: up to which byte, since when.
    marks: VecDeque<(u64, Duration)>,
    /// The shortest time that one took.
    shortest: Duration,
    limit: u64,
}

impl Pace {
    fn may_go(&self, ahead: u64) -> bool {
        self.sent - self.taken < self.limit + ahead
    }

    /// A frame of so many bytes has gone, and was paid for.
    fn mark(&mut self, bytes: usize) {
        if bytes >= MARKED {
            self.marks.push_back((self.sent, self.now));
        }
    }

    fn taken(&mut self, bytes: u64, window: u64) {
        let was_limited = self.sent - self.taken + frame::MAX_PAYLOAD as u64 >= self.limit;
        self.taken += bytes;
        let mut took = None;
        while let Some((end, since)) = self.marks.front().copied()
            && end <= self.taken
        {
            self.marks.pop_front();
            // Credit is given when the last of its frames was taken: that one says how long it takes. Others have waited for credit.
            took = (end == self.taken).then(|| self.now.saturating_sub(since));
        }
        let Some(took) = took else { return };
        self.shortest = self.shortest.min(took);
        if took > self.shortest + PATIENCE {
            self.limit = (self.limit - self.limit / 8).max(LEAST);
        } else if was_limited {
            self.limit = (self.limit + FRAGMENT as u64).min(window.max(LEAST));
        }
    }
}

/// A sender that has sent something large. It begins when nothing small of it waits.
#[derive(Debug, Default)]
struct Stream {
    packets: VecDeque<Parts>,
    /// Bytes of the first packet that are gone.
    sent: usize,
    /// The number that it goes under now.
    number: Option<u16>,
}

/// The sending half.
#[derive(Debug)]
pub struct Outgoing {
    control: Vec<u8>,
    small: Fair,
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
    pace: Pace,
    compress: bool,
    counters: Counters,
    /// The next turn is one of fresh senders; else, one of those that stand.
    fresh_next: bool,
    small_next: bool,
}

impl Outgoing {
    /// After the handshake.
    #[must_use]
    pub fn new(settings: &Settings, agreement: &Agreement) -> Self {
        let window = u64::from(agreement.peer.limits.window);
        Outgoing {
            control: Vec::new(),
            small: Fair::default(),
            streams: HashMap::new(),
            turns: VecDeque::new(),
            waiting: VecDeque::new(),
            numbers: (0..STREAMS as u16).rev().collect(),
            queued: [0; 2],
            limit: settings.queue,
            max_packet: agreement.peer.limits.max_packet,
            window,
            credit: window,
            pace: Pace {
                now: Duration::ZERO,
                sent: 0,
                taken: 0,
                marks: VecDeque::new(),
                shortest: Duration::MAX / 4,
                limit: LEAST,
            },
            compress: settings.compress && agreement.features & feature::LZ4 != 0,
            counters: Counters::default(),
            fresh_next: true,
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
        if self.lane(sender, packet.len()) == Lane::Small {
            self.push_small(sender, packet)
        } else {
            self.push_bulk(sender, packet.to_vec())
        }
    }

    /// The same; a large packet is taken out of its buffer, not copied.
    ///
    /// # Errors
    ///
    /// [`TooLarge`].
    pub fn push_from(&mut self, sender: SenderKey, packet: &mut Vec<u8>) -> Result<Pressure, TooLarge> {
        if self.lane(sender, packet.len()) == Lane::Small {
            self.push_small(sender, packet)
        } else {
            self.push_bulk(sender, std::mem::take(packet))
        }
    }

    /// The same for a packet in two parts, of which the second one is large.
    ///
    /// # Errors
    ///
    /// [`TooLarge`], and the second part.
    pub fn push_parts(
        &mut self,
        sender: SenderKey,
        head: &[u8],
        body: Vec<u8>,
    ) -> Result<Pressure, (TooLarge, Vec<u8>)> {
        match self.take_in(Lane::Bulk, head.len() + body.len()) {
            Ok(pressure) => {
                self.queue_bulk(sender, Parts { head: head.to_vec(), body });
                Ok(pressure)
            }
            Err(error) => Err((error, body)),
        }
    }

    fn take_in(&mut self, lane: Lane, len: usize) -> Result<Pressure, TooLarge> {
        let size = len as u64;
        if size > self.max_packet {
            return Err(TooLarge { size, limit: self.max_packet });
        }
        self.queued[lane as usize] += len;
        self.counters.packets += 1;
        self.counters.bytes += size;
        Ok(if self.is_full(lane) { Pressure::High } else { Pressure::Low })
    }

    fn push_small(&mut self, sender: SenderKey, packet: &[u8]) -> Result<Pressure, TooLarge> {
        let pressure = self.take_in(Lane::Small, packet.len())?;
        self.small.push(sender, packet);
        Ok(pressure)
    }

    fn push_bulk(&mut self, sender: SenderKey, packet: Vec<u8>) -> Result<Pressure, TooLarge> {
        let pressure = self.take_in(Lane::Bulk, packet.len())?;
        self.queue_bulk(sender, Parts { head: packet, body: Vec::new() });
        Ok(pressure)
    }

    fn queue_bulk(&mut self, sender: SenderKey, packet: Parts) {
        if let Some(stream) = self.streams.get_mut(&sender) {
            stream.packets.push_back(packet);
        } else {
            let packets = VecDeque::from([packet]);
            self.streams.insert(sender, Stream { packets, ..Stream::default() });
            self.waiting.push_back(sender);
        }
    }

    /// A packet of the connection.
    pub fn control(&mut self, control: &Control) {
        let mut bytes = Vec::new();
        packet::encode(&mut bytes, control);
        packet::write(&mut self.control, &bytes);
    }

    /// The time, for the pace of fragments: to be told before anything is produced, and before credit is taken in.
    pub fn tell_time(&mut self, now: Duration) {
        self.pace.now = now;
    }

    /// The other has taken so many bytes.
    ///
    /// # Errors
    ///
    /// [`SessionError::BadCredit`].
    pub fn credit(&mut self, bytes: u64) -> Result<(), SessionError> {
        let credit = self.credit.checked_add(bytes).filter(|credit| *credit <= self.window);
        self.credit = credit.ok_or(SessionError::BadCredit { bytes })?;
        self.pace.taken(bytes, self.window);
        Ok(())
    }

    /// The lane of a packet of this size.
    #[must_use]
    pub fn lane(&self, sender: SenderKey, size: usize) -> Lane {
        if size > BATCH || (!self.streams.is_empty() && self.streams.contains_key(&sender)) {
            Lane::Bulk
        } else {
            Lane::Small
        }
    }

    /// Is the limit of waiting bytes reached?
    #[must_use]
    pub fn is_full(&self, lane: Lane) -> bool {
        self.queued[lane as usize] >= self.limit
    }

    /// Has this sender to wait before it sends something of this size more? Each may fill a fair share of the lane; who has nothing in it
    /// yet does not wait for those who have much, as far as `limit` holds twice.
    #[must_use]
    pub fn must_wait(&self, sender: SenderKey, size: usize, limit: usize) -> bool {
        let lane = self.lane(sender, size);
        let queued = self.queued[lane as usize];
        if lane == Lane::Bulk || queued <= limit / 2 {
            return queued >= limit;
        }
        let own = self.small.bytes_of(sender);
        let share = limit / self.small.senders().max(1);
        if own == 0 { queued >= limit.saturating_mul(2) } else { queued >= limit || own >= share }
    }

    /// Do more small packets of this sender wait than go in one turn, and others as well?
    #[must_use]
    pub fn is_crowding(&self, sender: SenderKey) -> bool {
        self.small.senders() > 1 && self.small.bytes_of(sender) > QUANTUM
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
        let batch = self.may_batch(Turn::Fresh) || self.may_batch(Turn::Standing);
        let begins = self.waiting.front().is_some_and(|sender| self.may_begin(*sender));
        let stream = (begins || !self.turns.is_empty())
            && self.credit >= frame::MAX_PAYLOAD as u64
            && self.pace.may_go(0);
        !self.control.is_empty() || batch || stream
    }

    /// Appends frames until `out` has `budget` bytes, or nothing may go now.
    pub fn produce(&mut self, out: &mut Vec<u8>, budget: usize) {
        self.produce_control(out);
        while out.len() < budget {
            // Fresh senders have every second turn at least, if there are any.
            let fresh = self.fresh_next && self.batch(Turn::Fresh, out);
            let went = fresh || self.standing(out) || self.batch(Turn::Fresh, out);
            if !went {
                return;
            }
            self.fresh_next = !fresh;
        }
    }

    /// Batches of those that stand, and fragments, in turn.
    fn standing(&mut self, out: &mut Vec<u8>) -> bool {
        (self.small_next && self.batch(Turn::Standing, out))
            || self.fragment(out)
            || self.batch(Turn::Standing, out)
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
                self.pace.sent += bytes as u64;
                true
            }
            None => false,
        }
    }

    fn may_batch(&self, turn: Turn) -> bool {
        // Who is fresh need not keep step with those that are not, but cannot be without bound either.
        let ahead = if turn == Turn::Fresh { AHEAD } else { 0 };
        self.small.next_len(turn).is_some_and(|len| len as u64 <= self.credit) && self.pace.may_go(ahead)
    }

    fn batch(&mut self, turn: Turn, out: &mut Vec<u8>) -> bool {
        if !self.may_batch(turn) {
            return false;
        }
        let at = frame::begin(out);
        let mut len = 0;
        while let Some(next) = self.small.next_len(turn)
            && (len == 0 || len + next <= BATCH)
            && self.pay(next)
            && let Some(chunk) = self.small.take(turn)
        {
            len += next;
            out.extend_from_slice(&chunk.bytes);
            self.queued[Lane::Small as usize] -= chunk.packets;
            self.small.give_back(chunk.bytes);
        }
        frame::end(out, at, Kind::Batch, 0, 0);
        self.pace.mark(len);
        if turn == Turn::Standing {
            self.small_next = false;
        }
        true
    }

    fn may_begin(&self, sender: SenderKey) -> bool {
        !self.small.has(sender)
    }

    fn fragment(&mut self, out: &mut Vec<u8>) -> bool {
        // With less credit than for a whole fragment it waits: fragments do not get smaller and smaller.
        if self.streams.is_empty() || self.credit < frame::MAX_PAYLOAD as u64 || !self.pace.may_go(0) {
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
        out.reserve(FRAGMENT + 256);
        let at = frame::begin(out);
        let mut flags = 0;
        if stream.sent == 0 {
            flags |= frame::FIRST;
            packet::write_number(out, total as u64);
        }
        let end = total.min(stream.sent + FRAGMENT);
        packet.copy(stream.sent, end, out);
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
        self.pace.mark(paid);
        self.counters.fragments += 1;
        self.small_next = true;
        true
    }
}
