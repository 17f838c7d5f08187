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

mod error;
mod message;

pub use error::{HandshakeError, Refusal};
pub use message::{Identity, Limits, MAGIC, MAX_MESSAGE, MAX_NAME, TIME, VERSIONS, feature};

use super::{packet, secret::Secret};
use message::{Challenge, Hello, MessageKind, decode};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{mem, time::Duration};

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
