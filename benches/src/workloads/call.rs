//! `call`: request and reply.

use crate::{
    measure::{Failure, Figure, first_process, timed},
    options::{Kind, Options},
};
use engset::{Address, Flow, Mailbox, Node, Received, Reply, serve_with, spawn};

/// To the server: answer with this number.
pub(super) struct Echo(u64, Reply<u64>);

/// Calls that are made before anything is measured.
const WARM_UP: u64 = 1000;

pub(super) fn echo_server(kind: Kind) -> Address<Echo> {
    match kind {
        Kind::Plain => spawn(|mut mailbox: Mailbox<Echo>| {
            loop {
                let Echo(number, reply) = mailbox.message();
                reply.send(number);
            }
        }),
        Kind::Server => serve_with((), |(), received| {
            if let Received::Message(Echo(number, reply)) = received {
                reply.send(number);
            }
            Flow::Continue
        }),
    }
}

/// One call, with the default timeout.
pub(super) fn echo(server: Address<Echo>, number: u64) {
    let answer = server.call(|reply| Echo(number, reply));
    assert_eq!(answer, Ok(number), "the answer to call {number}");
}

pub(super) fn call(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (n, kind) = (options.number("n"), options.kind());
    let (time, ()) = first_process(node, move |_mailbox: Mailbox<()>| {
        let server = echo_server(kind);
        (0..WARM_UP).for_each(|number| echo(server, number));
        timed(|| (0..n).for_each(|number| echo(server, number)))
    })?;
    Ok(vec![Figure::each("rtt", n, time)])
}
