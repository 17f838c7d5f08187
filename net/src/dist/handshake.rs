//! Who is there? The first messages of a connection, as a machine: bytes in, bytes out, and questions to the one that keeps the table
//! of nodes.
//!
//! ```text
//! who dials                                who listens
//!   Hello(name, incarnation, nonce, …)  →
//!                                       ←  Challenge(name, incarnation, nonce, …)
//!   Auth(proof)                         →  ?  the table is asked: Admission
//!                                       ←  Welcome(proof), or Refused(why), or
//!                                       ←  Alive:  "I have a connection with you"
//!   Confirm: "I have none, go on"       →
//!                                       ←  Welcome(proof)
//! ```
//!
//! * A proof is HMAC-SHA256 under a key made of the secret, over the role of the one that proves and the hash of all messages before it. Both
//!   nonces and both names are in there, so a proof is good for one conversation and one direction: it can be neither
//!   replayed nor reflected.
//! * Nothing that a peer says changes anything before it has proved itself.
//! * Each message is `len u16, kind u8, body`, at most [`MAX_MESSAGE`] bytes; each direction begins with [`MAGIC`]. All of it takes at most
//!   [`TIME`].
//! * Two nodes that dial each other at once: the attempt of the greater name wins ([`simultaneous`]).

use super::{
    packet::{self, PacketError},
    secret::Secret,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fmt, mem, time::Duration};

/// The first bytes of each direction.
pub const MAGIC: [u8; 4] = *b"EGS\x01";
/// Bytes that a message may have.
pub const MAX_MESSAGE: usize = 1024;
/// How long all of it may take.
pub const TIME: Duration = Duration::from_secs(5);
/// Versions of the protocol that this implementation speaks.
pub const VERSIONS: (u16, u16) = (1, 1);
/// Bytes that a name may have.
pub const MAX_NAME: usize = 255;

/// Features that both sides may have.
pub mod feature {
    /// Packets may be compressed (LZ4).
    pub const LZ4: u64 = 1;
    /// The node is a hidden one: its connections do not count when nodes tell each other whom they know. (One side suffices.)
    pub const HIDDEN: u64 = 2;
}

/// What a node says of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The largest packet that it takes, in bytes.
    pub max_packet: u64,
    /// Bytes of packets that may be under way to it without its word that they were taken.
    pub window: u32,
    /// How often it will send a heartbeat, in milliseconds.
    pub heartbeat: u32,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster that it belongs to.
    pub cluster: String,
    /// Its name, unique in the cluster.
    pub name: String,
    /// Its incarnation: greater than that of any node that had the name before.
    pub creation: u64,
    /// What it can do ([`feature`]).
    pub features: u64,
    /// See [`Limits`].
    pub limits: Limits,
}

impl Identity {
    fn check(&self) -> Result<(), HandshakeError> {
        let name = &self.name;
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(HandshakeError::BadName { name: name.escape_debug().to_string() });
        }
        let Limits { max_packet, window, heartbeat } = self.limits;
        let least = 2 * super::frame::MAX_PAYLOAD as u32;
        if max_packet < 1024 || window < least || !(10..=60_000).contains(&heartbeat) {
            return Err(HandshakeError::BadLimits { limits: self.limits });
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Hello {
    versions: (u16, u16),
    identity: Identity,
    nonce: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct Challenge {
    version: u16,
    identity: Identity,
    nonce: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum MessageKind {
    Hello = 1,
    Challenge = 2,
    Auth = 3,
    Alive = 4,
    Confirm = 5,
    Welcome = 6,
    Refused = 7,
}

/// Why a node does not want the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refusal {
    /// No version is common to both.
    Incompatible {
        /// What it speaks.
        versions: (u16, u16),
    },
    /// It belongs to another cluster.
    WrongCluster,
    /// The proof is wrong: another secret.
    NotAllowed,
    /// The other has the same name.
    SameName,
    /// It is dialling too, and its own attempt wins.
    Simultaneous,
    /// It knows a later incarnation of the name.
    Stale,
    /// The other has a connection already, and meant to keep it.
    Kept,
    /// It is shutting down, or has as many connections as it may.
    Unavailable,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Incompatible { versions: (min, max) } => {
                write!(f, "it speaks versions {min} to {max} of the protocol")
            }
            Refusal::WrongCluster => f.write_str("it belongs to another cluster"),
            Refusal::NotAllowed => f.write_str("the secrets differ"),
            Refusal::SameName => f.write_str("both have the same name"),
            Refusal::Simultaneous => f.write_str("both dial, and its own attempt wins"),
            Refusal::Stale => f.write_str("it knows a later incarnation of this name"),
            Refusal::Kept => f.write_str("there is a connection already"),
            Refusal::Unavailable => f.write_str("it takes no connections now"),
        }
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The first bytes are of something else (a web browser, TLS, …).
    BadMagic {
        /// They.
        bytes: Vec<u8>,
    },
    /// A message is empty, or longer than [`MAX_MESSAGE`].
    BadLength {
        /// What it says.
        len: usize,
    },
    /// A message that does not belong here.
    Unexpected {
        /// Its kind, as a number.
        kind: u8,
    },
    /// A message that cannot be read.
    Malformed(PacketError),
    /// A name that no node may have.
    BadName {
        /// It.
        name: String,
    },
    /// Limits that nobody can work with.
    BadLimits {
        /// They.
        limits: Limits,
    },
    /// Another node than the one that was dialled.
    WrongNode {
        /// Who was meant.
        dialled: String,
        /// Who it is.
        found: String,
    },
    /// No version is common to both.
    Incompatible {
        /// What the other speaks.
        versions: (u16, u16),
    },
    /// The other belongs to this cluster.
    WrongCluster {
        /// Its name.
        cluster: String,
    },
    /// Both have the same name.
    SameName,
    /// The other does not know the secret.
    WrongSecret,
    /// The other has refused.
    Refused(Refusal),
    /// This side has refused.
    Declined(Refusal),
    /// It took longer than [`TIME`].
    TooSlow,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::BadMagic { bytes } => {
                write!(f, "this is no node: it begins with \"{}\"", bytes.escape_ascii())
            }
            HandshakeError::BadLength { len } => {
                write!(f, "a message of {len} bytes in the handshake, {MAX_MESSAGE} is the most")
            }
            HandshakeError::Unexpected { kind } => {
                write!(f, "an unexpected message of kind {kind} in the handshake")
            }
            HandshakeError::Malformed(error) => write!(f, "a malformed message in the handshake: {error}"),
            HandshakeError::BadName { name } => write!(f, "\"{name}\" is no name for a node"),
            HandshakeError::BadLimits { limits } => write!(f, "impossible limits: {limits:?}"),
            HandshakeError::WrongNode { dialled, found } => {
                write!(f, "{dialled} was dialled, and {found} answers")
            }
            HandshakeError::Incompatible { versions: (min, max) } => {
                write!(
                    f,
                    "the other speaks versions {min} to {max} of the protocol, this one {} to {}",
                    VERSIONS.0, VERSIONS.1
                )
            }
            HandshakeError::WrongCluster { cluster } => {
                write!(f, "the other belongs to the cluster \"{cluster}\"")
            }
            HandshakeError::SameName => f.write_str("the other has this node's own name"),
            HandshakeError::WrongSecret => f.write_str("the other does not know the secret"),
            HandshakeError::Refused(refusal) => write!(f, "the other has refused: {refusal}"),
            HandshakeError::Declined(refusal) => write!(f, "this node has refused: {refusal}"),
            HandshakeError::TooSlow => write!(f, "the handshake took longer than {TIME:?}"),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// What a finished handshake has agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The other.
    pub peer: Identity,
    /// The version of the protocol.
    pub version: u16,
    /// What both can do.
    pub features: u64,
}

/// What the machine wants now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// More bytes.
    Read,
    /// The other has proved itself: shall it be let in? Answer with [`Handshake::admit`].
    Admit(Identity),
    /// The other has a connection with this node already. Is it an old one, that this side knows nothing of? Answer with
    /// [`Handshake::confirm`].
    Confirm,
    /// It is done. What is left of the bytes belongs to the session.
    Done(Agreement),
}

/// The answer to [`Step::Admit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Let it in.
    Welcome,
    /// There is a connection with that incarnation: ask the other which one counts.
    Alive,
    /// Refuse.
    Refuse(Refusal),
}

/// Both dial at once: does the attempt of the node `own` win against that of `other`?
#[must_use]
pub fn simultaneous(own: &str, other: &str) -> bool {
    own > other
}

#[derive(Debug)]
enum State {
    /// Who listens waits for Hello.
    Listening,
    /// Who listens has challenged, and waits for Auth.
    Challenged(Identity),
    /// The table is being asked.
    Asking(Identity),
    /// Who listens waits for Confirm.
    Doubting(Identity),
    /// Who dials waits for Challenge.
    Greeted,
    /// Who dials has proved itself.
    Proved(Identity),
    /// It is being asked whether it goes on.
    Confirming(Identity),
    Over,
}

const DIALS: &[u8] = b"engset dist v1: who dials";
const LISTENS: &[u8] = b"engset dist v1: who listens";

/// One side of a handshake.
#[derive(Debug)]
pub struct Handshake {
    own: Identity,
    secret: Secret,
    nonce: [u8; 32],
    dialled: Option<String>,
    state: State,
    version: u16,
    deadline: Duration,
    /// The other's magic has come.
    magic: bool,
    /// Ours has gone out.
    greeted: bool,
    /// A message that is not complete.
    partial: Vec<u8>,
    transcript: Sha256,
    out: Vec<u8>,
}

impl Handshake {
    /// The side that dials. `dialled`: who is expected to answer, if it is known.
    #[must_use]
    pub fn dial(
        own: Identity,
        secret: Secret,
        nonce: [u8; 32],
        dialled: Option<String>,
        now: Duration,
    ) -> Self {
        let mut this = Self::new(own, secret, nonce, State::Greeted, now);
        this.dialled = dialled;
        let hello = Hello { versions: VERSIONS, identity: this.own.clone(), nonce };
        this.say(MessageKind::Hello, &hello);
        this
    }

    /// The side that listens.
    #[must_use]
    pub fn listen(own: Identity, secret: Secret, nonce: [u8; 32], now: Duration) -> Self {
        Self::new(own, secret, nonce, State::Listening, now)
    }

    fn new(own: Identity, secret: Secret, nonce: [u8; 32], state: State, now: Duration) -> Self {
        Handshake {
            own,
            secret,
            nonce,
            dialled: None,
            state,
            version: VERSIONS.1,
            deadline: now + TIME,
            magic: false,
            greeted: false,
            partial: Vec::new(),
            transcript: Sha256::new(),
            out: Vec::new(),
        }
    }

    /// Who is on the other side, as far as it has said.
    #[must_use]
    pub fn peer(&self) -> Option<&Identity> {
        match &self.state {
            State::Challenged(peer)
            | State::Asking(peer)
            | State::Doubting(peer)
            | State::Proved(peer)
            | State::Confirming(peer) => Some(peer),
            State::Listening | State::Greeted | State::Over => None,
        }
    }

    /// Until when it has to be done.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Has it taken too long?
    ///
    /// # Errors
    ///
    /// [`HandshakeError::TooSlow`].
    pub fn tick(&mut self, now: Duration) -> Result<(), HandshakeError> {
        if now >= self.deadline && !matches!(self.state, State::Over) {
            self.state = State::Over;
            return Err(HandshakeError::TooSlow);
        }
        Ok(())
    }

    /// Bytes for the other. Also after an error: it may say why.
    #[must_use]
    pub fn take_output(&mut self) -> Vec<u8> {
        mem::take(&mut self.out)
    }

    /// Takes bytes from the front of `bytes`, one message at most.
    ///
    /// # Errors
    ///
    /// See [`HandshakeError`]; send what [`Handshake::take_output`] has, and close.
    pub fn receive(&mut self, bytes: &mut &[u8]) -> Result<Step, HandshakeError> {
        let result = self.take_in(bytes);
        if result.is_err() {
            self.state = State::Over;
        }
        result
    }

    fn take_in(&mut self, bytes: &mut &[u8]) -> Result<Step, HandshakeError> {
        if !self.magic {
            self.fill(bytes, MAGIC.len());
            if !MAGIC.starts_with(&self.partial) {
                return Err(HandshakeError::BadMagic { bytes: mem::take(&mut self.partial) });
            }
            if self.partial.len() < MAGIC.len() {
                return Ok(Step::Read);
            }
            self.partial.clear();
            self.magic = true;
        }
        self.fill(bytes, 2);
        if self.partial.len() < 2 {
            return Ok(Step::Read);
        }
        let len = usize::from(u16::from_le_bytes([self.partial[0], self.partial[1]]));
        if len > MAX_MESSAGE || len == 0 {
            return Err(HandshakeError::BadLength { len });
        }
        self.fill(bytes, 2 + len);
        if self.partial.len() < 2 + len {
            return Ok(Step::Read);
        }
        let message = mem::take(&mut self.partial);
        self.message(message[2], &message[3..], &message)
    }

    /// Moves bytes into `partial` until it has `len` bytes.
    fn fill(&mut self, bytes: &mut &[u8], len: usize) {
        let missing = len.saturating_sub(self.partial.len()).min(bytes.len());
        let (taken, rest) = bytes.split_at(missing);
        self.partial.extend_from_slice(taken);
        *bytes = rest;
    }

    fn message(&mut self, kind: u8, body: &[u8], whole: &[u8]) -> Result<Step, HandshakeError> {
        let unexpected = Err(HandshakeError::Unexpected { kind });
        let state = mem::replace(&mut self.state, State::Over);
        match state {
            State::Listening if kind == MessageKind::Hello as u8 => {
                self.transcript.update(whole);
                self.hello(decode(body)?)
            }
            State::Greeted if kind == MessageKind::Challenge as u8 => {
                self.transcript.update(whole);
                self.challenge(decode(body)?)
            }
            State::Greeted | State::Proved(_) if kind == MessageKind::Refused as u8 => {
                Err(HandshakeError::Refused(decode(body)?))
            }
            State::Challenged(peer) if kind == MessageKind::Auth as u8 => {
                let proof: [u8; 32] = decode(body)?;
                if !self.secret.verify(DIALS, &self.hash(), &proof) {
                    self.refuse(&Refusal::NotAllowed);
                    return Err(HandshakeError::WrongSecret);
                }
                self.transcript.update(whole);
                self.state = State::Asking(peer.clone());
                Ok(Step::Admit(peer))
            }
            State::Doubting(peer) if kind == MessageKind::Confirm as u8 => {
                if !decode::<bool>(body)? {
                    return Err(HandshakeError::Declined(Refusal::Kept));
                }
                Ok(self.welcome(peer))
            }
            State::Proved(peer) if kind == MessageKind::Alive as u8 => {
                decode::<()>(body)?;
                self.state = State::Confirming(peer);
                Ok(Step::Confirm)
            }
            State::Proved(peer) if kind == MessageKind::Welcome as u8 => {
                let proof: [u8; 32] = decode(body)?;
                if !self.secret.verify(LISTENS, &self.hash(), &proof) {
                    return Err(HandshakeError::WrongSecret);
                }
                Ok(Step::Done(self.agreement(peer)))
            }
            _ => unexpected,
        }
    }

    fn hello(&mut self, hello: Hello) -> Result<Step, HandshakeError> {
        let peer = hello.identity;
        peer.check()?;
        let version = hello.versions.1.min(VERSIONS.1);
        if version < hello.versions.0.max(VERSIONS.0) {
            self.refuse(&Refusal::Incompatible { versions: VERSIONS });
            return Err(HandshakeError::Incompatible { versions: hello.versions });
        }
        if peer.cluster != self.own.cluster {
            self.refuse(&Refusal::WrongCluster);
            return Err(HandshakeError::WrongCluster { cluster: peer.cluster });
        }
        if peer.name == self.own.name {
            self.refuse(&Refusal::SameName);
            return Err(HandshakeError::SameName);
        }
        self.version = version;
        let challenge = Challenge { version, identity: self.own.clone(), nonce: self.nonce };
        self.say(MessageKind::Challenge, &challenge);
        self.state = State::Challenged(peer);
        Ok(Step::Read)
    }

    fn challenge(&mut self, challenge: Challenge) -> Result<Step, HandshakeError> {
        let peer = challenge.identity;
        peer.check()?;
        if !(VERSIONS.0..=VERSIONS.1).contains(&challenge.version) {
            return Err(HandshakeError::Incompatible { versions: (challenge.version, challenge.version) });
        }
        if peer.cluster != self.own.cluster {
            return Err(HandshakeError::WrongCluster { cluster: peer.cluster });
        }
        if peer.name == self.own.name {
            return Err(HandshakeError::SameName);
        }
        if let Some(dialled) = self.dialled.take()
            && dialled != peer.name
        {
            return Err(HandshakeError::WrongNode { dialled, found: peer.name });
        }
        self.version = challenge.version;
        let proof = self.secret.prove(DIALS, &self.hash());
        self.say(MessageKind::Auth, &proof);
        self.state = State::Proved(peer);
        Ok(Step::Read)
    }

    /// The answer to [`Step::Admit`].
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Declined`], if it was to refuse.
    ///
    /// # Panics
    ///
    /// If it was not asked.
    pub fn admit(&mut self, admission: Admission) -> Result<Step, HandshakeError> {
        let State::Asking(peer) = mem::replace(&mut self.state, State::Over) else {
            panic!("admit without a question");
        };
        match admission {
            Admission::Welcome => Ok(self.welcome(peer)),
            Admission::Alive => {
                self.say(MessageKind::Alive, &());
                self.state = State::Doubting(peer);
                Ok(Step::Read)
            }
            Admission::Refuse(refusal) => {
                self.refuse(&refusal);
                Err(HandshakeError::Declined(refusal))
            }
        }
    }

    /// The answer to [`Step::Confirm`]: shall the new connection count?
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Declined`], if not.
    ///
    /// # Panics
    ///
    /// If it was not asked.
    pub fn confirm(&mut self, go_on: bool) -> Result<Step, HandshakeError> {
        let State::Confirming(peer) = mem::replace(&mut self.state, State::Over) else {
            panic!("confirm without a question");
        };
        self.say(MessageKind::Confirm, &go_on);
        if !go_on {
            return Err(HandshakeError::Declined(Refusal::Kept));
        }
        self.state = State::Proved(peer);
        Ok(Step::Read)
    }

    fn welcome(&mut self, peer: Identity) -> Step {
        let proof = self.secret.prove(LISTENS, &self.hash());
        self.say(MessageKind::Welcome, &proof);
        Step::Done(self.agreement(peer))
    }

    fn agreement(&self, peer: Identity) -> Agreement {
        Agreement { features: self.own.features & peer.features, version: self.version, peer }
    }

    fn refuse(&mut self, refusal: &Refusal) {
        self.say(MessageKind::Refused, refusal);
    }

    /// The hash of the conversation: Hello, Challenge, Auth.
    fn hash(&self) -> [u8; 32] {
        self.transcript.clone().finalize().into()
    }

    fn say<T: Serialize>(&mut self, kind: MessageKind, body: &T) {
        if !mem::replace(&mut self.greeted, true) {
            self.out.extend_from_slice(&MAGIC);
        }
        let mut message = vec![0, 0, kind as u8];
        packet::encode(&mut message, body);
        let len = (message.len() - 2) as u16;
        message[..2].copy_from_slice(&len.to_le_bytes());
        if matches!(kind, MessageKind::Hello | MessageKind::Challenge | MessageKind::Auth) {
            self.transcript.update(&message);
        }
        self.out.extend_from_slice(&message);
    }
}

fn decode<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, HandshakeError> {
    packet::decode(body).map_err(HandshakeError::Malformed)
}
