//! The server: a listener, and a process for each connection.

mod commands;
mod protocol;
mod shard;

use commands::{After, execute};
use engset::{
    Builder,
    net::{TcpListener, TcpStream},
};
use protocol::{Parsed, parse};
use shard::Shards;
use std::io::{self, Read, Write};

/// Shards: more than there are cores, so that they can be spread evenly.
const SHARDS: usize = 8;
/// What a connection reads at a time, in bytes.
const PIECE: usize = 16 * 1024;

/// Listens on a port of this machine only; 0: one of the system's choice.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
}

/// Serves for ever.
pub fn serve(listener: &TcpListener) -> io::Result<()> {
    let shards = Shards::start(SHARDS).map_err(io::Error::other)?;
    for stream in listener.incoming() {
        let (stream, shards) = (stream?, shards.clone());
        let connection = move || {
            // A connection that breaks is nobody's fault and nobody's business.
            drop(talk(stream, &shards));
        };
        if let Err(error) = Builder::new().spread().spawn(connection) {
            eprintln!("kv: a connection is refused: {error}");
        }
    }
    Ok(())
}

/// One connection: all commands that have come are answered by one write.
fn talk(mut stream: TcpStream, shards: &Shards) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut output) = (Vec::new(), Vec::new());
    let mut piece = vec![0; PIECE];
    loop {
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        input.extend_from_slice(&piece[..count]);
        let mut done = 0;
        loop {
            match parse(&input[done..]) {
                Ok(Parsed::Command(command, length)) => {
                    done += length;
                    if execute(&command, shards, &mut output) == After::Close {
                        return stream.write_all(&output);
                    }
                }
                Ok(Parsed::More) => break,
                Err(error) => {
                    protocol::error(&mut output, &format!("Protocol error: {error}"));
                    return stream.write_all(&output);
                }
            }
        }
        input.drain(..done);
        stream.write_all(&output)?;
        output.clear();
    }
}
