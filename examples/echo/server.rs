//! The server: it accepts connections, and each has a process, with its handshake.

use engset::{
    Builder, blocking,
    net::{
        Packet, Packets, TcpListener, TcpStream,
        tls::{Identity, TlsAcceptor, roots_from_pem},
    },
};
use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Who says nothing for so long is closed.
const PATIENCE: Duration = Duration::from_secs(300);
/// Longest line of an HTTP request, in bytes, and most lines.
const LINE: usize = 8192;
const LINES: usize = 100;

/// What the server is to do.
#[derive(Debug)]
pub struct Options {
    /// 0: one that is free.
    pub port: u16,
    /// The files of a certificate and its key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The file of those who sign the certificates of clients.
    pub clients: Option<PathBuf>,
    /// Answer requests of HTTP.
    pub http: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { port: 7000, tls: None, clients: None, http: false }
    }
}

/// See the head of this file.
pub struct Server {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    http: bool,
}

impl Server {
    /// Reads the files and listens.
    ///
    /// # Errors
    ///
    /// A file cannot be read or used, the port is taken.
    pub fn new(options: &Options) -> io::Result<Self> {
        let tls = match &options.tls {
            None => None,
            Some((chain, key)) => {
                let identity = Identity::from_pem(&file(chain)?, &file(key)?)?;
                let acceptor = match &options.clients {
                    None => TlsAcceptor::new(identity)?,
                    Some(clients) => TlsAcceptor::with_clients(identity, roots_from_pem(&file(clients)?)?)?,
                };
                Some(if options.http { acceptor.alpn(["http/1.1"]) } else { acceptor })
            }
        };
        Ok(Server {
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?,
            tls,
            http: options.http,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves for ever.
    ///
    /// # Errors
    ///
    /// No connection can be accepted any more.
    pub fn serve(self) -> io::Result<()> {
        let shared = Arc::new((self.tls, self.http));
        loop {
            let (stream, peer) = self.listener.accept()?;
            let shared = Arc::clone(&shared);
            let connection = move || {
                if let Err(error) = connection(stream, shared.0.as_ref(), shared.1) {
                    eprintln!("echo: {peer}: {error}");
                }
            };
            Builder::new().spread().spawn(connection).map_err(io::Error::other)?;
        }
    }
}

fn connection(stream: TcpStream, tls: Option<&TlsAcceptor>, http: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let serve = |stream: &mut dyn Stream| if http { pages(stream) } else { echo(stream) };
    match tls {
        None => serve(&mut { stream }),
        Some(tls) => {
            let mut stream = tls.accept(stream)?;
            serve(&mut stream)?;
            stream.close()
        }
    }
}

/// Plain and encrypted streams.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

fn echo(stream: &mut dyn Stream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count])?,
        }
    }
}

/// Answers requests without a body by themselves, until the client closes.
fn pages(stream: &mut dyn Stream) -> io::Result<()> {
    let mut lines = Packets::new(stream, Packet::Line).limit(LINE);
    let mut request = Vec::new();
    let mut count = 0;
    while let Some(line) = lines.receive()? {
        request.extend_from_slice(&line);
        count += 1;
        if count > LINES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a request of more than 100 lines"));
        }
        if line == b"\r\n" || line == b"\n" {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
                request.len()
            );
            lines.send(&[head.as_bytes(), &request].concat())?;
            request.clear();
            count = 0;
        }
    }
    Ok(())
}

fn file(path: &Path) -> io::Result<Vec<u8>> {
    let path = path.to_owned();
    // Files block: not on a worker.
    blocking(move || {
        std::fs::read(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    })
}
