//! The process that speaks for another node here: one for each node that was ever heard of, for good.
//!
//! It makes connections and ends them, keeps time, and answers requests; bytes go past it (`channel.rs`). What it tells others and what a
//! connection brings are in order all the same: `nodeup` comes before all that a connection brings, `nodedown` after it and after the end
//! of links and monitors, and nothing of an old connection after the next `nodeup` (N3, N4). For it begins a connection when it has told of
//! it, and tells of its end when nobody reads from it any more. In systematic mode it also reads and writes; its stack is large enough to decode
//! what others have encoded.

use super::{
    channel::Channel,
    endpoint::Endpoint,
    handshake::{Agreement, feature},
    inbound::{End, Reader},
    link::Link,
    session::{Control, Incoming, Pulse},
    transport::Stream,
    wire::Request,
};
use engset_runtime::{
    Address, Builder, DownReason, Event, Mailbox, NodeDown, NodeId, NodeUp, Pid, Priority, now, remote,
};
use std::{
    io,
    sync::{Arc, PoisonError},
    time::Duration,
};

/// How long a node is tried before what waits for it is given up.
const SETUP: Duration = Duration::from_secs(7);
/// Stack for decoding values nested [`nesting::MAX_DEPTH`](super::nesting::MAX_DEPTH) deep.
const STACK: usize = 1 << 20;

/// What the peer process is told.
pub(crate) enum PeerMessage {
    /// Something is to be sent.
    Flush,
    /// The connection of this number may be read or written, by nobody else.
    Ready(u64),
    /// The connection of this number is over, and nobody reads from it any more.
    Ended(u64, End),
    /// It cannot be written to.
    Broken(u64, io::Error),
    /// A process of the other node asks this one.
    Request { number: u64, from: Pid, reference: u64, request: Request },
    /// A handshake is done.
    Connected { stream: Box<dyn Stream>, agreement: Box<Agreement>, rest: Vec<u8>, unsent: Vec<u8> },
    /// An attempt to dial has failed; `true`: the other's own attempt is awaited.
    Failed(String, bool),
    /// Close the connection, orderly.
    Close(&'static str),
}

/// The connection that there is.
struct Connection {
    channel: Arc<Channel>,
    node: NodeId,
    creation: u64,
    /// One of both nodes is a hidden one.
    hidden: bool,
}

struct Peer {
    endpoint: Arc<Endpoint>,
    link: Arc<Link>,
    me: Address<PeerMessage>,
    connection: Option<Connection>,
    /// Number of the latest connection.
    number: u64,
    /// Until when a connection has to be there, for what waits.
    patience: Option<Duration>,
    tick: Duration,
}

impl Drop for Peer {
    /// The node stops, or somebody has killed the process. Link and channel know each other: the link lets go of its connection, or
    /// neither would ever be freed, nor the socket closed.
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // Who reads at this moment finds out by himself.
            connection.channel.stop();
            let up = self.link.lock().up.take();
            drop(up);
        }
    }
}

/// Spawns it. In a process of the node.
pub(crate) fn start(endpoint: Arc<Endpoint>, link: Arc<Link>) {
    let body = move |mailbox: Mailbox<PeerMessage>| {
        let me = mailbox.address();
        let peer = Peer { endpoint, link, me, connection: None, number: 0, patience: None, tick: now() };
        peer.run(mailbox);
    };
    if let Err(error) = Builder::new().priority(Priority::High).stack_size(STACK).spawn(body) {
        tracing::error!(target: "engset", %error, "no process for another node");
    }
}

impl Peer {
    fn run(mut self, mut mailbox: Mailbox<PeerMessage>) {
        self.link.set_peer(self.me);
        self.flush();
        loop {
            let look = self.next_look();
            let message = match look {
                Some(at) => mailbox.message_timeout(at.saturating_sub(now())),
                None => Some(mailbox.message()),
            };
            match message {
                // A timeout is never early: the process is ending.
                None if look.is_some_and(|at| now() < at) => return,
                None => {}
                Some(PeerMessage::Flush) => self.flush(),
                Some(PeerMessage::Ready(number)) if self.is_current(number) => {
                    self.read();
                    self.flush();
                }
                Some(PeerMessage::Ended(number, end)) if self.is_current(number) => self.end(end),
                Some(PeerMessage::Broken(number, error)) if self.is_current(number) => {
                    // What has come before the connection broke still counts.
                    self.read();
                    self.end(End::Io(error));
                }
                Some(PeerMessage::Request { number, from, reference, request })
                    if self.is_current(number) =>
                {
                    self.endpoint.answer(&self.link, from, reference, request);
                    self.flush();
                }
                Some(
                    PeerMessage::Ready(_)
                    | PeerMessage::Ended(..)
                    | PeerMessage::Broken(..)
                    | PeerMessage::Request { .. },
                ) => {}
                Some(PeerMessage::Connected { stream, agreement, rest, unsent }) => {
                    self.connected(stream, &agreement, &rest, unsent);
                    self.link.arrived(agreement.peer.creation);
                }
                Some(PeerMessage::Failed(why, await_other)) => self.failed(&why, await_other),
                Some(PeerMessage::Close(why)) => self.close(why),
            }
            self.pass_time();
        }
    }

    /// Is there a connection, and has it this number?
    fn is_current(&self, number: u64) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.channel.number == number)
    }

    /// When it has to look without being told.
    fn next_look(&self) -> Option<Duration> {
        let tick = self.connection.is_some().then_some(self.tick);
        [tick, self.patience].into_iter().flatten().min()
    }

    fn pass_time(&mut self) {
        let now = now();
        if self.patience.is_some_and(|end| now >= end) {
            self.patience = None;
            self.give_up("no connection within the time for it");
        }
        let Some(connection) = &self.connection else { return };
        if now < self.tick {
            return;
        }
        self.tick = now + self.endpoint.settings().heartbeat / 4;
        let ticked = connection.channel.pulse.lock().unwrap_or_else(PoisonError::into_inner).tick(now);
        match ticked {
            Ok(false) => {}
            Ok(true) => {
                if let Some(up) = &mut self.link.lock().up {
                    up.outgoing.control(&Control::Ping);
                }
                self.flush();
            }
            Err(error) => self.end(End::Session(error)),
        }
    }

    fn dial(&mut self) {
        if self.connection.is_some() || self.patience.is_some() || !self.link.begin_to_dial() {
            return;
        }
        self.patience = Some(now() + SETUP);
        self.endpoint.dial(&self.link);
    }

    fn failed(&mut self, why: &str, await_other: bool) {
        self.link.lock().dialling = false;
        if self.connection.is_none() && !await_other {
            self.patience = None;
            self.give_up(why);
        }
    }

    fn give_up(&mut self, why: &str) {
        if self.connection.is_some() {
            return;
        }
        tracing::info!(target: "engset", node = %self.link.name, why, "not connected");
        for cargo in self.link.give_up() {
            self.link.fail(&self.endpoint, cargo, &DownReason::NoConnection);
        }
    }

    fn connected(&mut self, stream: Box<dyn Stream>, agreement: &Agreement, rest: &[u8], unsent: Vec<u8>) {
        if let Some(old) = &self.connection {
            let restarted = old.creation < agreement.peer.creation;
            self.end(End::Replaced { restarted });
        }
        let name = &self.link.name;
        let Some(node) = self.endpoint.node_id(name, agreement.peer.creation) else { return };
        self.patience = None;
        self.number += 1;
        let settings = self.endpoint.settings();
        let theirs = Duration::from_millis(u64::from(agreement.peer.limits.heartbeat));
        self.tick = now();
        let incoming = Incoming::new(settings, agreement);
        let reader = Reader::new(Arc::clone(&self.endpoint), Arc::clone(&self.link), node, incoming);
        let pulse = Pulse::new(settings.heartbeat, theirs, now());
        let channel = Channel::new(self.number, stream, pulse, Arc::clone(&self.link), reader, unsent);
        let creation = agreement.peer.creation;
        let both = agreement.peer.features | self.endpoint.identity().features;
        let hidden = both & feature::HIDDEN != 0;
        self.connection = Some(Connection { channel: Arc::clone(&channel), node, creation, hidden });
        tracing::info!(target: "engset", node = %name, "connected");
        self.endpoint.announce(&Event::NodeUp(NodeUp::new(Arc::clone(name), node)), hidden);
        let failed = self.link.set_up(&self.endpoint, settings, agreement, node, &channel);
        for (cargo, reason) in failed {
            self.link.fail(&self.endpoint, cargo, &reason);
        }
        if let Err(end) = channel.take_in(rest) {
            return self.end(end);
        }
        channel.begin();
        self.flush();
    }

    fn close(&mut self, why: &'static str) {
        if let Some(up) = &mut self.link.lock().up {
            up.outgoing.control(&Control::Goodbye { why: why.to_owned() });
        }
        self.flush();
        if self.connection.is_some() {
            self.end(End::Closed(why));
        }
    }

    /// The connection is over: each link and monitor over it ends, then the node is down.
    fn end(&mut self, end: End) {
        let Some(connection) = self.connection.take() else { return };
        let why = end.text();
        tracing::info!(target: "engset", node = %self.link.name, why, "disconnected");
        // Nobody reads any more, and all that was read is under way.
        while !connection.channel.stop() {
            engset_runtime::sleep(Duration::from_millis(1));
        }
        drop(connection.channel);
        let reason = match end {
            End::Replaced { restarted: true } => DownReason::NodeRestarted,
            _ => DownReason::NoConnection,
        };
        let up = self.link.lock().up.take();
        if let Some(up) = up {
            for parcel in up.relations.lost(&reason) {
                // They are no messages: it does not fail.
                let _ = remote::deliver(parcel);
            }
        }
        self.endpoint.lost(&self.link.name, &reason);
        self.link.wake_senders();
        let down = NodeDown::new(Arc::clone(&self.link.name), connection.node, why.into());
        self.endpoint.announce(&Event::NodeDown(down), connection.hidden);
    }

    /// Writes what there is to write; without a connection, dials if something waits.
    fn flush(&mut self) {
        let (up, waiting) = self.link.looked();
        match &self.connection {
            Some(connection) => {
                connection.channel.flush();
                engset_runtime::reduce(200);
            }
            None if waiting && !up => self.dial(),
            None => {}
        }
    }

    fn read(&self) {
        let Some(connection) = &self.connection else { return };
        while connection.channel.read() {
            engset_runtime::reduce(2000);
        }
    }
}
