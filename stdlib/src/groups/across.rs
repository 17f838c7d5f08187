//! The process that speaks for a scope with the scopes of other nodes.
//!
//! 1. It is linked with the scope's own process: they end together.
//! 2. All that goes to other nodes goes out from here, in the order in which the table has changed; all that comes is applied here. So what
//!    one node is told by another keeps its order (S1), which is what [`GroupsState`](super::GroupsState) needs.
//! 3. Nodes find each other's by the scope's name. A node that comes up is asked who is there; one that has no such scope does not answer.
//! 4. A message to another node may be dropped, if the connection stays full for too long. So what is told has numbers, and every
//!    [`EACH`] the last one is told again. Who has missed one asks for everything.
//! 5. The process of the other side is watched. If it ends, alone or with the connection, its node is down for this scope, and after that nothing
//!    comes from it any more. A new one of the same node that speaks first replaces it.

use super::{GroupsMessage, Shared, Wake};
use crate::{
    StartError,
    registry::Key,
    start::{self, Ack, Tie},
};
use engset_runtime::{
    Address, Builder, Event, Flow, MonitorRef, NodeId, Received, Server, TimerRef, demonitor, monitor,
    remote::{self, Remote},
    start_timer,
};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, sync::Arc, time::Duration};

/// How often the number of what was told last is told.
const EACH: Duration = Duration::from_secs(10);

/// What it takes.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "G: Key + Remote, M: Remote", deserialize = "G: Key + Remote, M: Remote"))]
pub(super) enum Spoken<G, M: Send + 'static> {
    /// From this node: there is something in the outbox.
    Look,
    /// From another node.
    Tells {
        /// The process that speaks for it.
        from: Address<Spoken<G, M>>,
        /// How much it has told this one, with this.
        number: u64,
        message: GroupsMessage<G, Address<M>>,
    },
    /// So much was told until now.
    Told { from: Address<Spoken<G, M>>, number: u64 },
}

impl<G: Key + Remote, M: Remote> Remote for Spoken<G, M> {
    const NAME: &'static str = "engset.groups";

    fn name() -> Cow<'static, str> {
        Cow::Owned(format!("{}({}, {})", Self::NAME, G::name(), M::name()))
    }
}

struct Peer<G, M: Send + 'static> {
    address: Address<Spoken<G, M>>,
    watch: MonitorRef,
    /// How much it has told without a gap since it told all; `None`: it has not yet, or there was a gap.
    heard: Option<u64>,
}

struct Speaker<G, M: Send + 'static> {
    shared: Arc<Shared<G, M>>,
    name: Arc<str>,
    me: Option<Address<Spoken<G, M>>>,
    /// Names of the nodes that are up.
    up: HashMap<NodeId, Arc<str>>,
    peers: HashMap<NodeId, Peer<G, M>>,
    /// How much was told to each.
    told: HashMap<NodeId, u64>,
    timer: Option<TimerRef>,
    ack: Option<Ack>,
}

/// Starts it, in the process of the scope.
pub(super) fn start<G: Key + Remote, M: Remote>(
    shared: &Arc<Shared<G, M>>,
    name: &str,
) -> Result<(), StartError> {
    let name: Arc<str> = format!("engset.groups.{name}").into();
    let make = |ack| Speaker {
        shared: Arc::clone(shared),
        name: Arc::clone(&name),
        me: None,
        up: HashMap::new(),
        peers: HashMap::new(),
        told: HashMap::new(),
        timer: None,
        ack: Some(ack),
    };
    let options = Builder::new().name(Arc::clone(&name));
    start::start(options, Tie::Link, Duration::MAX, make).map(drop)
}

impl<G: Key + Remote, M: Remote> Speaker<G, M> {
    fn node_up(&mut self, node: NodeId, name: Arc<str>) {
        self.up.insert(node, name);
        let wake = self.shared.write(|table| {
            let outputs = table.state.peer_up(node);
            table.apply(outputs)
        });
        self.wake(wake);
    }

    /// A node is lost for this scope.
    fn lost(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.remove(&node) {
            demonitor(peer.watch, true);
        }
        self.told.remove(&node);
        let wake = self.shared.write(|table| {
            let outputs = table.state.peer_down(&node);
            table.apply(outputs)
        });
        self.wake(wake);
    }

    /// Who speaks for a node, as it is now.
    fn peer(&mut self, from: Address<Spoken<G, M>>) -> &mut Peer<G, M> {
        let node = from.pid().node();
        if self.peers.get(&node).is_some_and(|peer| peer.address != from) {
            // Rule 5.
            self.lost(node);
        }
        let fresh = || Peer { address: from, watch: monitor(from), heard: None };
        self.peers.entry(node).or_insert_with(fresh)
    }

    fn hear(&mut self, from: Address<Spoken<G, M>>, number: u64, message: GroupsMessage<G, Address<M>>) {
        let node = from.pid().node();
        let peer = self.peer(from);
        match &message {
            GroupsMessage::Discover => {}
            GroupsMessage::Sync(_) => peer.heard = Some(number),
            GroupsMessage::Join { .. } | GroupsMessage::Leave { .. } => {
                let expected = peer.heard.map(|heard| heard + 1);
                if expected.is_none() {
                    // It will tell all, and this with it.
                    return;
                }
                if expected != Some(number) {
                    return self.missed(node);
                }
                peer.heard = expected;
            }
        }
        let wake = self.shared.write(|table| {
            let outputs = table.state.received(node, message);
            table.apply(outputs)
        });
        self.wake(wake);
    }

    /// Rule 4.
    fn missed(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.heard = None;
        }
        tracing::debug!(target: "engset", scope = %self.name, ?node, "something about groups was lost, and is asked for");
        let wake = self.shared.write(|table| {
            let outputs = table.state.peer_up(node);
            table.apply(outputs)
        });
        self.wake(wake);
    }

    /// Tells all how much they were told, and waits for the next time.
    fn tick(&mut self) {
        self.timer = Some(start_timer(EACH).1);
        let Some(me) = self.me else { return };
        for (node, peer) in &self.peers {
            let number = self.told.get(node).copied().unwrap_or(0);
            peer.address.send(Spoken::Told { from: me, number });
        }
    }

    /// The outbox is looked into after each step anyway.
    fn wake(&self, wake: Wake) {
        self.shared.wake(Wake { speaker: false, ..wake });
    }

    fn flush(&mut self) {
        let Some(me) = self.me else { return };
        let all = self.shared.write(|table| std::mem::take(&mut table.outbox));
        for (node, message) in all {
            let told = self.told.entry(node).or_default();
            *told += u64::from(!matches!(message, GroupsMessage::Discover));
            let spoken = Spoken::Tells { from: me, number: *told, message };
            match (self.peers.get(&node), self.up.get(&node)) {
                (Some(peer), _) => peer.address.send(spoken),
                // It has not spoken yet.
                (None, Some(name)) => {
                    remote::named(Arc::clone(name), Arc::clone(&self.name)).send(spoken);
                }
                // It was lost meanwhile.
                (None, None) => drop(self.told.remove(&node)),
            }
        }
    }
}

impl<G: Key + Remote, M: Remote> Server for Speaker<G, M> {
    type Message = Spoken<G, M>;

    fn start(&mut self, me: Address<Spoken<G, M>>) -> Flow {
        self.me = Some(me);
        remote::register::<Spoken<G, M>>();
        // It is started once.
        let _ = self.shared.speaker.set(Box::new(move || me.send(Spoken::Look)));
        for (name, node) in remote::monitor_nodes(true) {
            self.node_up(node, name);
        }
        self.flush();
        self.tick();
        if let Some(ack) = self.ack.take() {
            ack.succeed();
        }
        Flow::Continue
    }

    fn handle(&mut self, received: Received<Spoken<G, M>>) -> Flow {
        match received {
            Received::Message(Spoken::Look) => {}
            Received::Message(Spoken::Tells { from, number, message }) => self.hear(from, number, message),
            Received::Message(Spoken::Told { from, number }) => {
                if self.peer(from).heard != Some(number) {
                    self.missed(from.pid().node());
                }
            }
            Received::Event(Event::Timer(timer)) if Some(timer) == self.timer => self.tick(),
            Received::Event(Event::NodeUp(up)) => self.node_up(up.id, up.name),
            Received::Event(Event::NodeDown(down)) => {
                self.up.remove(&down.id);
                self.lost(down.id);
            }
            Received::Event(Event::Down(down)) => {
                let node = down.pid.node();
                if self.peers.get(&node).is_some_and(|peer| peer.watch == down.reference) {
                    self.lost(node);
                }
            }
            Received::Event(_) => {}
        }
        self.flush();
        Flow::Continue
    }
}
