//! Small packets that wait: a queue for each sender, which take turns (deficit round robin with new senders first, after RFC 8290).
//!
//! 1. A sender that had nothing waiting is *fresh*, and has its first turn before those that have waited through one. So who
//!    sends little never waits behind who sends much, and nobody has to say which of both he is.
//! 2. A turn is one *chunk*: [`QUANTUM`] bytes, or one packet if that is larger. Packets are put together into chunks when they come, so a turn moves
//!    one piece of memory. A sender that is alone makes chunks as large as a frame.
//! 3. What is left after a turn waits for the next one among those that *stand*. Who has had more than [`QUANTUM`] is passed over as many times as it
//!    was a turn too many, unless nobody else waits. A sender without packets is forgotten.

use super::SenderKey;
use crate::dist::packet;
use std::collections::{HashMap, VecDeque};

/// Bytes of a turn, while several wait.
pub(super) const QUANTUM: usize = 4 * 1024;
/// Bytes of a chunk after which the next one begins in any case.
const CHUNK: usize = 32 * 1024;
/// Buffers that are kept.
const SPARE: usize = 8;

/// Packets with their lengths, as in a frame.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    /// Bytes of the packets alone.
    pub(super) packets: usize,
}

#[derive(Debug)]
struct Flow {
    sender: SenderKey,
    /// Not empty, but of one that is free.
    chunks: VecDeque<Chunk>,
    /// Bytes of its packets.
    bytes: usize,
    /// Bytes that it has had beyond its turns.
    debt: usize,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Fresh,
    Standing,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Fair {
    flows: Vec<Flow>,
    free: Vec<usize>,
    places: HashMap<SenderKey, usize>,
    /// Where the latest packet went.
    latest: Option<usize>,
    fresh: VecDeque<usize>,
    standing: VecDeque<usize>,
    spare: Vec<Vec<u8>>,
}

impl Fair {
    /// Senders that have something here.
    pub(super) fn senders(&self) -> usize {
        self.places.len()
    }

    pub(super) fn has(&self, sender: SenderKey) -> bool {
        self.find(sender).is_some()
    }

    /// Bytes of this sender's packets.
    pub(super) fn bytes_of(&self, sender: SenderKey) -> usize {
        self.find(sender).map_or(0, |place| self.flows[place].bytes)
    }

    fn find(&self, sender: SenderKey) -> Option<usize> {
        match self.latest {
            Some(place) if self.flows[place].sender == sender => Some(place),
            _ => self.places.get(&sender).copied(),
        }
    }

    pub(super) fn push(&mut self, sender: SenderKey, packet: &[u8]) {
        let place = match self.latest {
            Some(place) if self.flows[place].sender == sender => place,
            _ => self.place(sender),
        };
        let chunk = if self.places.len() == 1 { CHUNK } else { QUANTUM };
        let flow = &mut self.flows[place];
        flow.bytes += packet.len();
        if flow.chunks.back().is_none_or(|last| last.bytes.len() + packet.len() > chunk) {
            let bytes = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(packet.len() + 512));
            flow.chunks.push_back(Chunk { bytes, packets: 0 });
        }
        if let Some(last) = flow.chunks.back_mut() {
            packet::write(&mut last.bytes, packet);
            last.packets += packet.len();
        }
    }

    fn place(&mut self, sender: SenderKey) -> usize {
        let (flows, free, fresh) = (&mut self.flows, &mut self.free, &mut self.fresh);
        let place = *self.places.entry(sender).or_insert_with(|| {
            let place = free.pop().unwrap_or_else(|| {
                flows.push(Flow { sender, chunks: VecDeque::new(), bytes: 0, debt: 0 });
                flows.len() - 1
            });
            flows[place].sender = sender;
            fresh.push_back(place);
            place
        });
        self.latest = Some(place);
        place
    }

    fn queue(&self, turn: Turn) -> &VecDeque<usize> {
        match turn {
            Turn::Fresh => &self.fresh,
            Turn::Standing => &self.standing,
        }
    }

    /// Bytes of the chunk that is next.
    pub(super) fn next_len(&self, turn: Turn) -> Option<usize> {
        let place = self.queue(turn).front()?;
        self.flows[*place].chunks.front().map(|chunk| chunk.bytes.len())
    }

    pub(super) fn take(&mut self, turn: Turn) -> Option<Chunk> {
        let place = match turn {
            Turn::Fresh => self.fresh.pop_front(),
            Turn::Standing => self.standing.pop_front(),
        }?;
        let flow = &mut self.flows[place];
        let chunk = flow.chunks.pop_front()?;
        flow.bytes -= chunk.packets;
        if flow.chunks.is_empty() {
            self.places.remove(&flow.sender);
            self.free.push(place);
            self.latest = None;
            flow.debt = 0;
        } else {
            flow.debt += chunk.bytes.len().saturating_sub(QUANTUM);
            self.standing.push_back(place);
        }
        self.pass_over_debtors();
        Some(chunk)
    }

    /// Rule 3. Afterwards whoever stands in front may have his turn.
    fn pass_over_debtors(&mut self) {
        while self.standing.len() > 1
            && let Some(place) = self.standing.front().copied()
            && self.flows[place].debt > 0
        {
            self.flows[place].debt = self.flows[place].debt.saturating_sub(QUANTUM);
            self.standing.rotate_left(1);
        }
    }

    /// The buffer of a chunk that is gone.
    pub(super) fn give_back(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < SPARE {
            bytes.clear();
            self.spare.push(bytes);
        }
    }
}
