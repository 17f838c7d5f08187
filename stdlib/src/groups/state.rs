//! Who is in which group, on which node: the algorithm of Erlang's `pg`, as a value without processes and sockets.
//!
//! 1. A process joins and leaves on its own node only: each node is the only writer of its members. So there is nothing to
//!    agree on, and no lock over nodes.
//! 2. Nodes that see each other ask ([`GroupsMessage::Discover`]); who is asked answers with all its members
//!    ([`GroupsMessage::Sync`]), and tells each change from then on ([`GroupsMessage::Join`], [`GroupsMessage::Leave`]), in order.
//! 3. A `Sync` replaces what was known of the sender; the difference is what has changed.
//! 4. A node that is lost takes its members with it. Views of different nodes may differ for a while; when all is
//!    delivered, nodes that are connected have the same.
//! 5. A member may join many times, and then has to leave as often. It is in the list as often.

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    hash::Hash,
};

/// The groups of one scope, as one node sees them. `N`: node, `G`: group, `P`: member.
///
/// ```
/// use engset_stdlib::groups::{GroupsMessage, GroupsOutput, GroupsState};
///
/// // Two nodes, 'a' and 'b'; members are numbers.
/// let (mut a, mut b) = (GroupsState::default(), GroupsState::default());
/// a.join("even", &[2, 4]);
/// let found = a.peer_up('b');
/// assert_eq!(found, [GroupsOutput::Send { to: 'b', message: GroupsMessage::Discover }]);
/// for output in b.received('a', GroupsMessage::Discover) {
///     if let GroupsOutput::Send { message, .. } = output {
///         for answer in a.received('b', message) {
///             if let GroupsOutput::Send { message, .. } = answer {
///                 b.received('a', message);
///             }
///         }
///     }
/// }
/// assert_eq!(b.members(&"even"), [2, 4]);
/// assert_eq!(b.local_members(&"even"), []);
/// b.peer_down(&'a');
/// assert_eq!(b.members(&"even"), []);
/// ```
#[derive(Clone, Debug)]
pub struct GroupsState<N, G, P> {
    /// By group, in the order of joining.
    groups: HashMap<G, Group<P>>,
    /// A local member's groups, one for each time that it has joined.
    local: HashMap<P, Vec<G>>,
    peers: BTreeMap<N, HashMap<G, Vec<P>>>,
}

#[derive(Clone, Debug)]
struct Group<P> {
    all: Vec<P>,
    local: Vec<P>,
}

/// What nodes tell each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupsMessage<G, P> {
    /// Who is there?
    Discover,
    /// All my members.
    Sync(Vec<(G, Vec<P>)>),
    /// These have joined a group, each once for each time that it is in the list.
    Join {
        /// The group.
        group: G,
        /// Who.
        members: Vec<P>,
    },
    /// One has left these groups, each as often as it is in the list.
    Leave {
        /// Who.
        member: P,
        /// Which groups.
        groups: Vec<G>,
    },
}

/// What has changed in a group, wherever.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupChange<G, P> {
    /// These have joined.
    Joined {
        /// The group.
        group: G,
        /// Who, as often as they have joined.
        members: Vec<P>,
    },
    /// These have left: of their own, or because they or their node ended.
    Left {
        /// The group.
        group: G,
        /// Who, as often as they have left.
        members: Vec<P>,
    },
}

impl<G, P> GroupChange<G, P> {
    /// The group that it is about.
    pub fn group(&self) -> &G {
        match self {
            GroupChange::Joined { group, .. } | GroupChange::Left { group, .. } => group,
        }
    }
}

/// What is to be done after a step, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupsOutput<N, G, P> {
    /// To be sent; messages to one node keep their order.
    Send {
        /// The node.
        to: N,
        /// What.
        message: GroupsMessage<G, P>,
    },
    /// To be told to who is interested.
    Changed(GroupChange<G, P>),
}

impl<N, G, P> Default for GroupsState<N, G, P> {
    fn default() -> Self {
        GroupsState { groups: HashMap::new(), local: HashMap::new(), peers: BTreeMap::new() }
    }
}

impl<N: Clone + Ord, G: Clone + Eq + Hash, P: Clone + Eq + Hash> GroupsState<N, G, P> {
    /// Members of this node join a group, once each time that they are in the list.
    pub fn join(&mut self, group: G, members: &[P]) -> Vec<GroupsOutput<N, G, P>> {
        if members.is_empty() {
            return Vec::new();
        }
        for member in members {
            self.local.entry(member.clone()).or_default().push(group.clone());
        }
        let entry = self.entry(&group);
        entry.local.extend_from_slice(members);
        entry.all.extend_from_slice(members);
        let mut out = self.tell(&GroupsMessage::Join { group: group.clone(), members: members.to_vec() });
        out.push(GroupsOutput::Changed(GroupChange::Joined { group, members: members.to_vec() }));
        out
    }

    /// A member of this node leaves a group, once. `None`: it is not in it.
    pub fn leave(&mut self, group: &G, member: &P) -> Option<Vec<GroupsOutput<N, G, P>>> {
        let groups = self.local.get_mut(member)?;
        let at = groups.iter().position(|own| own == group)?;
        let group = groups.remove(at);
        if groups.is_empty() {
            self.local.remove(member);
        }
        Some(self.left(member, vec![group]))
    }

    /// A member of this node has ended: it leaves all its groups.
    pub fn down(&mut self, member: &P) -> Vec<GroupsOutput<N, G, P>> {
        match self.local.remove(member) {
            Some(groups) => self.left(member, groups),
            None => Vec::new(),
        }
    }

    fn left(&mut self, member: &P, groups: Vec<G>) -> Vec<GroupsOutput<N, G, P>> {
        let mut out = self.tell(&GroupsMessage::Leave { member: member.clone(), groups: groups.clone() });
        for group in groups {
            self.take_out(&group, member, true);
            let members = vec![member.clone()];
            out.push(GroupsOutput::Changed(GroupChange::Left { group, members }));
        }
        out
    }

    /// A node can be reached: it is asked who is there.
    pub fn peer_up(&mut self, node: N) -> Vec<GroupsOutput<N, G, P>> {
        vec![GroupsOutput::Send { to: node, message: GroupsMessage::Discover }]
    }

    /// A node cannot be reached any more. Messages of the old connection must not be given to [`received`](Self::received)
    /// after this.
    pub fn peer_down(&mut self, node: &N) -> Vec<GroupsOutput<N, G, P>> {
        let known = self.peers.remove(node).unwrap_or_default();
        let mut out = Vec::new();
        for (group, members) in known {
            self.remote_left(group, members, &mut out);
        }
        out
    }

    /// A message of another node has come.
    pub fn received(&mut self, from: N, message: GroupsMessage<G, P>) -> Vec<GroupsOutput<N, G, P>> {
        let mut out = Vec::new();
        match message {
            GroupsMessage::Discover => {
                let sync = GroupsMessage::Sync(self.all_local());
                out.push(GroupsOutput::Send { to: from.clone(), message: sync });
                if let Entry::Vacant(new) = self.peers.entry(from) {
                    out.push(GroupsOutput::Send { to: new.key().clone(), message: GroupsMessage::Discover });
                    new.insert(HashMap::new());
                }
            }
            GroupsMessage::Sync(groups) => self.sync(from, groups, &mut out),
            GroupsMessage::Join { group, members } => {
                // Of a node that is not known: its `Sync` is still to come, and has it.
                if let Some(known) = self.peers.get_mut(&from) {
                    known.entry(group.clone()).or_default().extend_from_slice(&members);
                    self.remote_joined(group, members, &mut out);
                }
            }
            GroupsMessage::Leave { member, groups } => {
                for group in groups {
                    let Some(known) = self.peers.get_mut(&from) else { break };
                    let Some(members) = known.get_mut(&group) else { continue };
                    if take_one(members, &member) {
                        if members.is_empty() {
                            known.remove(&group);
                        }
                        self.remote_left(group, vec![member.clone()], &mut out);
                    }
                }
            }
        }
        out
    }

    /// Rule 3.
    fn sync(&mut self, from: N, groups: Vec<(G, Vec<P>)>, out: &mut Vec<GroupsOutput<N, G, P>>) {
        let mut old = self.peers.insert(from, groups.iter().cloned().collect()).unwrap_or_default();
        for (group, mut joined) in groups {
            let mut left = old.remove(&group).unwrap_or_default();
            joined.retain(|member| !take_one(&mut left, member));
            self.remote_left(group.clone(), left, out);
            self.remote_joined(group, joined, out);
        }
        for (group, left) in old {
            self.remote_left(group, left, out);
        }
    }

    fn remote_joined(&mut self, group: G, members: Vec<P>, out: &mut Vec<GroupsOutput<N, G, P>>) {
        if !members.is_empty() {
            self.entry(&group).all.extend_from_slice(&members);
            out.push(GroupsOutput::Changed(GroupChange::Joined { group, members }));
        }
    }

    fn remote_left(&mut self, group: G, members: Vec<P>, out: &mut Vec<GroupsOutput<N, G, P>>) {
        if !members.is_empty() {
            members.iter().for_each(|member| self.take_out(&group, member, false));
            out.push(GroupsOutput::Changed(GroupChange::Left { group, members }));
        }
    }

    fn entry(&mut self, group: &G) -> &mut Group<P> {
        self.groups.entry(group.clone()).or_insert_with(|| Group { all: Vec::new(), local: Vec::new() })
    }

    fn take_out(&mut self, group: &G, member: &P, local: bool) {
        let Some(entry) = self.groups.get_mut(group) else { return };
        take_one(&mut entry.all, member);
        if local {
            take_one(&mut entry.local, member);
        }
        if entry.all.is_empty() {
            self.groups.remove(group);
        }
    }

    fn tell(&self, message: &GroupsMessage<G, P>) -> Vec<GroupsOutput<N, G, P>> {
        let send = |to: &N| GroupsOutput::Send { to: to.clone(), message: message.clone() };
        self.peers.keys().map(send).collect()
    }

    fn all_local(&self) -> Vec<(G, Vec<P>)> {
        let all = self.groups.iter().filter(|(_, entry)| !entry.local.is_empty());
        all.map(|(group, entry)| (group.clone(), entry.local.clone())).collect()
    }

    /// The members of a group, on all nodes.
    pub fn members(&self, group: &G) -> &[P] {
        self.groups.get(group).map_or(&[], |entry| &entry.all)
    }

    /// Those of this node.
    pub fn local_members(&self, group: &G) -> &[P] {
        self.groups.get(group).map_or(&[], |entry| &entry.local)
    }

    /// The groups that have members, in no order.
    pub fn groups(&self) -> impl Iterator<Item = &G> {
        self.groups.keys()
    }

    /// The groups that have members on this node, in no order.
    pub fn local_groups(&self) -> impl Iterator<Item = &G> {
        self.groups.iter().filter(|(_, entry)| !entry.local.is_empty()).map(|(group, _)| group)
    }

    /// Is it in a group, on this node?
    pub fn is_local(&self, member: &P) -> bool {
        self.local.contains_key(member)
    }
}

/// The oldest of equal ones goes.
fn take_one<P: Eq>(members: &mut Vec<P>, member: &P) -> bool {
    match members.iter().position(|other| other == member) {
        Some(at) => {
            members.remove(at);
            true
        }
        None => false,
    }
}
