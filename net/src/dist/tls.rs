//! Nodes whose connections are encrypted: TLS 1.3 by rustls, with certificates on both sides (feature `tls`).
//!
//! * A certificate of the cluster's authority is asked of both nodes, and says: this is a node of the cluster. All of them are for the one name
//!   [`NODE`]; which node it is is proved by the handshake inside (`handshake.rs`), as without TLS. So who has got hold of the secret alone
//!   stays outside, and who listens in learns nothing.
//! * Below it is any other transport. This one holds the session under one lock: both directions change it.
//! * [`certs`](super::certs) makes an authority and certificates.

use super::{
    node::{Config, Distribution, JoinError},
    tcp,
    transport::{Accept, Stream, Transport, Waker},
};
use engset_runtime::Node;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use std::{
    fmt,
    io::{self, IoSlice, Read, Write},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The name in each node's certificate.
pub const NODE: &str = "node.engset";

/// What a node shows to others, and whom it believes.
#[derive(Clone)]
pub struct Credentials {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

impl Credentials {
    /// Of texts in PEM: the cluster's authority, the node's certificate (and those between), its key.
    ///
    /// # Errors
    ///
    /// They are none, or do not belong together.
    pub fn from_pem(authority: &[u8], chain: &[u8], key: &[u8]) -> io::Result<Self> {
        let certificates = |pem| {
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            all.map_err(invalid)
        };
        let mut roots = RootCertStore::empty();
        for authority in certificates(authority)? {
            roots.add(authority).map_err(invalid)?;
        }
        let chain: Vec<CertificateDer<'static>> = certificates(chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(invalid)?;
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let roots = Arc::new(roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(invalid)?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .and_then(|builder| {
                builder.with_client_cert_verifier(verifier).with_single_cert(chain.clone(), key.clone_key())
            })
            .map_err(invalid)?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(chain, key))
            .map_err(invalid)?;
        Ok(Credentials { client: Arc::new(client), server: Arc::new(server) })
    }

    fn dial(&self, below: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        let name = ServerName::try_from(NODE).map_err(invalid)?;
        let session = ClientConnection::new(Arc::clone(&self.client), name).map_err(invalid)?;
        Ok(Box::new(TlsStream { below, session: Mutex::new(session.into()) }))
    }

    fn take(&self, below: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        let session = ServerConnection::new(Arc::clone(&self.server)).map_err(invalid)?;
        Ok(Box::new(TlsStream { below, session: Mutex::new(session.into()) }))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// Joins over TCP, as [`tcp::join`], with encryption.
///
/// # Errors
///
/// See [`JoinError`].
pub fn join(
    node: &Node,
    config: Config,
    listen: SocketAddr,
    credentials: Credentials,
) -> Result<(Distribution, SocketAddr), JoinError> {
    tcp::join_through(node, config, listen, |tcp| Arc::new(Tls { below: tcp, credentials }))
}

/// Encrypts what another transport carries.
struct Tls {
    below: Arc<dyn Transport>,
    credentials: Credentials,
}

impl Transport for Tls {
    fn dial(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        self.credentials.dial(self.below.dial(address)?)
    }

    fn listen(&self, accept: Accept) -> io::Result<()> {
        let credentials = self.credentials.clone();
        self.below.listen(Arc::new(move |stream| match credentials.take(stream) {
            Ok(stream) => accept(stream),
            Err(error) => tracing::error!(target: "engset", %error, "a connection was not taken"),
        }))
    }

    fn entropy(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.below.entropy(bytes)
    }

    fn close(&self) {
        self.below.close();
    }
}

struct TlsStream {
    below: Box<dyn Stream>,
    session: Mutex<Connection>,
}

/// The stream below, for a session.
struct Below<'a>(&'a dyn Stream);

impl Read for Below<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for Below<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TlsStream {
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what the session has to say, as far as there is room.
    fn drain(&self, session: &mut Connection) -> io::Result<()> {
        while session.wants_write() {
            session.write_tls(&mut Below(&*self.below))?;
        }
        Ok(())
    }

    /// The same where it does not matter if there is no room: it goes on at the next event.
    fn try_drain(&self, session: &mut Connection) -> io::Result<()> {
        match self.drain(session) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }
}

impl Stream for TlsStream {
    fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut session = self.lock();
        loop {
            match session.reader().read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            // An event may mean that there is room for what waits.
            self.try_drain(&mut session)?;
            let count = session.read_tls(&mut Below(&*self.below))?;
            if let Err(error) = session.process_new_packets() {
                // An alert says why. What is read from now on does not count.
                drop(self.try_drain(&mut session));
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            if count == 0 {
                // Without a farewell: the session's own reader says whether that is an error.
                return session.reader().read(bytes);
            }
        }
    }

    fn write(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut session = self.lock();
        self.drain(&mut session)?;
        // As much as it takes at once; before the end of its handshake it keeps it.
        let count = session.writer().write_vectored(bytes)?;
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.try_drain(&mut session)?;
        Ok(count)
    }

    fn set_waker(&self, waker: Waker) {
        self.below.set_waker(waker);
    }

    fn attach(&self) {
        self.below.attach();
    }
}
