//! The processes that shake hands: one for each attempt, until there is a connection, or none.

use super::{
    endpoint::{self, Endpoint},
    handshake::{Agreement, Handshake, HandshakeError, Refusal, Step},
    link::Link,
    peer::PeerMessage,
    transport::Stream,
};
use engset_runtime::{Mailbox, now};
use std::{
    io::{self, IoSlice},
    sync::Arc,
};

enum Fault {
    Io(io::Error),
    Handshake(HandshakeError),
}

impl From<HandshakeError> for Fault {
    fn from(error: HandshakeError) -> Self {
        Fault::Handshake(error)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Io(error) => error.fmt(f),
            Fault::Handshake(error) => error.fmt(f),
        }
    }
}

/// Dials the other node of a link.
pub(crate) fn dial(endpoint: &Arc<Endpoint>, link: &Arc<Link>, mailbox: Mailbox<()>) {
    let address = endpoint.resolve(&link.name);
    let begun =
        endpoint.transport().dial(&address).and_then(|stream| Ok((stream, endpoint::nonce(endpoint)?)));
    let result = begun.map_err(Fault::Io).and_then(|(stream, nonce)| {
        let (own, secret) = (endpoint.identity().clone(), endpoint.secret().clone());
        let machine = Handshake::dial(own, secret, nonce, Some(link.name.to_string()), endpoint::time());
        shake(endpoint, stream, machine, mailbox)
    });
    if let Err(fault) = result {
        // There is another handshake, or it is done: what it makes may reach the peer process after this.
        let await_other = matches!(
            &fault,
            Fault::Handshake(
                HandshakeError::Refused(Refusal::Simultaneous) | HandshakeError::Declined(Refusal::Kept)
            )
        );
        link.tell(PeerMessage::Failed(fault.to_string(), await_other));
    }
}

/// Takes a connection that another node has opened.
pub(crate) fn accept(endpoint: &Arc<Endpoint>, stream: Box<dyn Stream>, mailbox: Mailbox<()>) {
    let result = endpoint::nonce(endpoint).map_err(Fault::Io).and_then(|nonce| {
        let (own, secret) = (endpoint.identity().clone(), endpoint.secret().clone());
        let machine = Handshake::listen(own, secret, nonce, endpoint::time());
        shake(endpoint, stream, machine, mailbox)
    });
    if let Err(fault) = result {
        tracing::warn!(target: "engset", error = %fault, "a connection was refused");
    }
}

fn shake(
    endpoint: &Arc<Endpoint>,
    stream: Box<dyn Stream>,
    mut machine: Handshake,
    mut mailbox: Mailbox<()>,
) -> Result<(), Fault> {
    let me = mailbox.address();
    stream.set_waker(Arc::new(move || me.send(())));
    let mut out = Vec::new();
    loop {
        let result = read(endpoint, &*stream, &mut machine);
        if let Ok(Some((agreement, _))) = &result {
            endpoint.link(&agreement.peer.name).comes(agreement.peer.creation);
        }
        out.extend(machine.take_output());
        let written = write(&*stream, &mut out);
        if let Some((agreement, rest)) = result? {
            let link = endpoint.link(&agreement.peer.name);
            endpoint.start_link(&link);
            link.await_peer();
            link.tell(PeerMessage::Connected { stream, agreement: Box::new(agreement), rest, unsent: out });
            return Ok(());
        }
        written.map_err(Fault::Io)?;
        let left = machine.deadline().saturating_sub(now());
        // A call of the waker, or the end of the time for it.
        if mailbox.message_timeout(left).is_none() && now() < machine.deadline() {
            // A timeout is never early: the process is ending.
            return Err(Fault::Io(io::ErrorKind::Interrupted.into()));
        }
        machine.tick(now())?;
    }
}

/// Reads what is there. `Some`: it is done, and these bytes belong to the session.
fn read(
    endpoint: &Arc<Endpoint>,
    stream: &dyn Stream,
    machine: &mut Handshake,
) -> Result<Option<(Agreement, Vec<u8>)>, Fault> {
    let mut buffer = [0; 1024];
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Err(Fault::Io(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fault::Io(error)),
        };
        let mut bytes = &buffer[..count];
        while !bytes.is_empty() {
            let mut step = machine.receive(&mut bytes)?;
            loop {
                step = match step {
                    Step::Read => break,
                    Step::Admit(peer) => machine.admit(endpoint.admission(&peer))?,
                    Step::Confirm => {
                        let known = machine.peer().is_some_and(|peer| endpoint.knows_connection(&peer.name));
                        machine.confirm(!known)?
                    }
                    Step::Done(agreement) => return Ok(Some((agreement, bytes.to_vec()))),
                };
            }
        }
    }
}

fn write(stream: &dyn Stream, out: &mut Vec<u8>) -> io::Result<()> {
    while !out.is_empty() {
        match stream.write(&[IoSlice::new(out)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => drop(out.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // Not yet connected: what is wrong shows when it is read.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
