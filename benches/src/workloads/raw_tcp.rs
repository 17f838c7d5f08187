//! `tcp_pingpong`, `tcp_stream`: what remote_* is measured against. Two OS processes with a blocking socket of the standard library
//! each, and nothing between. `tcp_node` is the other one.

use crate::{
    measure::{Failure, Figure, timed},
    options::Options,
};
use engset::Node;
use std::{
    io::{self, BufReader, BufWriter, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

/// Bytes of a ping and of a pong.
const PING: usize = 16;
const WARM_UP: u64 = 2000;
/// Of the buffers on both sides.
const BUFFER: usize = 64 * 1024;

fn failed(error: io::Error) -> Failure {
    panic!("a socket: {error}")
}

/// Answers pings, or counts messages: as the first byte says.
pub(super) fn node(_: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let mut socket = TcpStream::connect(("127.0.0.1", options.number("port") as u16)).map_err(failed)?;
    socket.set_nodelay(true).map_err(failed)?;
    let mut head = [0; 17];
    socket.read_exact(&mut head).map_err(failed)?;
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&head[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let (n, size) = (number(1), number(9) as usize);
    if head[0] == 0 {
        let mut bytes = [0; PING];
        while socket.read_exact(&mut bytes).is_ok() {
            socket.write_all(&bytes).map_err(failed)?;
        }
        return Ok(Vec::new());
    }
    let mut reader = BufReader::with_capacity(BUFFER, socket.try_clone().map_err(failed)?);
    // A message is its length and its bytes, and becomes a value of its own, as it does in a mailbox.
    for _ in 0..n {
        let mut len = [0; 4];
        reader.read_exact(&mut len).map_err(failed)?;
        let mut message = vec![0; u32::from_le_bytes(len) as usize];
        reader.read_exact(&mut message).map_err(failed)?;
        assert_eq!(std::hint::black_box(message).len(), size, "a message");
    }
    socket.write_all(&[1]).map_err(failed)?;
    Ok(Vec::new())
}

fn start(kind: u8, n: u64, size: usize) -> io::Result<(Child, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let child = Command::new(std::env::current_exe()?).args(["tcp_node", &format!("port={port}")]).spawn()?;
    let (mut socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    let mut head = vec![kind];
    head.extend_from_slice(&n.to_le_bytes());
    head.extend_from_slice(&(size as u64).to_le_bytes());
    socket.write_all(&head)?;
    Ok((child, socket))
}

pub(super) fn pingpong(_: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let n = options.number("n");
    let (mut child, mut socket) = start(0, n, PING).map_err(failed)?;
    let mut bytes = [7; PING];
    let mut trip = |_| {
        socket
            .write_all(&bytes)
            .and_then(|()| socket.read_exact(&mut bytes))
            .unwrap_or_else(|error| panic!("{error}"));
    };
    (0..WARM_UP).for_each(&mut trip);
    let (time, ()) = timed(|| (0..n).for_each(trip));
    drop(socket);
    child.wait().map_err(failed)?;
    Ok(vec![Figure::new("rtt", time.as_secs_f64() * 1e6 / n as f64, "us")])
}

pub(super) fn stream(_: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (n, size) = (options.number("n"), options.number("size") as usize);
    let (mut child, mut socket) = start(1, n, size).map_err(failed)?;
    let (time, result) = timed(|| {
        let mut writer = BufWriter::with_capacity(BUFFER, &socket);
        for _ in 0..n {
            let message = std::hint::black_box(vec![7; size]);
            writer.write_all(&(size as u32).to_le_bytes())?;
            writer.write_all(&message)?;
        }
        writer.flush()?;
        drop(writer);
        socket.read_exact(&mut [0])
    });
    result.map_err(failed)?;
    child.wait().map_err(failed)?;
    let megabytes = n as f64 * size as f64 / 1e6 / time.as_secs_f64();
    Ok(vec![Figure::rate("rate", n, time, "msgs/s"), Figure::new("bytes", megabytes, "MB/s")])
}
