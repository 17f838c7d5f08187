//! What turns a stream into an encrypted one, on either side.

use super::{Identity, TlsStream, invalid, session::Session, stream::Carrier};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    crypto::{CryptoProvider, ring},
    pki_types::ServerName,
    server::WebPkiClientVerifier,
};
use std::{fmt, io, sync::Arc, time::Duration};

/// A handshake may take this long, unless it is set.
const HANDSHAKE: Duration = Duration::from_secs(10);

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The server's side. Cloning it is cheap.
#[derive(Clone)]
pub struct TlsAcceptor {
    config: Arc<ServerConfig>,
    timeout: Option<Duration>,
}

impl TlsAcceptor {
    /// Shows this identity, and asks clients for none.
    ///
    /// # Errors
    ///
    /// The key is of an unknown kind, or not the certificate's.
    pub fn new(identity: Identity) -> io::Result<Self> {
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(identity.chain, identity.key))
            .map_err(invalid)?;
        Ok(Self::from_config(config))
    }

    /// The same, but a client must show a certificate of one of these authorities.
    ///
    /// # Errors
    ///
    /// As [`TlsAcceptor::new`]; there are no authorities.
    pub fn with_clients(identity: Identity, authorities: RootCertStore) -> io::Result<Self> {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider())
            .build()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_client_cert_verifier(verifier).with_single_cert(identity.chain, identity.key)
            })
            .map_err(invalid)?;
        Ok(Self::from_config(config))
    }

    /// With a configuration of your own.
    #[must_use]
    pub fn from_config(config: impl Into<Arc<ServerConfig>>) -> Self {
        TlsAcceptor { config: config.into(), timeout: Some(HANDSHAKE) }
    }

    /// The protocols above that are spoken (ALPN), the best one first: `h2`, `http/1.1`. A client that offers only others
    /// is refused; one that offers none is not.
    #[must_use]
    pub fn alpn<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// How long a handshake may take in all; `None`: for ever. 10 s by default.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// Does the handshake. Not in the process that accepts connections: it waits for the peer.
    ///
    /// # Errors
    ///
    /// The stream's own; [`TimedOut`](io::ErrorKind::TimedOut); [`UnexpectedEof`](io::ErrorKind::UnexpectedEof): the peer has gone;
    /// [`InvalidData`](io::ErrorKind::InvalidData): what it says is no TLS, or its certificate is refused.
    ///
    /// # Signals
    ///
    /// If an exit signal ends the process, its stack unwinds from here.
    pub fn accept<S: Carrier>(&self, stream: S) -> io::Result<TlsStream<S>> {
        self.begin(stream)?.finish_within(self.timeout)
    }

    /// The same without the handshake: for a carrier that does not block, see [`TlsStream::handshake`]. Nothing has been
    /// read or written yet, and there is no limit.
    ///
    /// # Errors
    ///
    /// The configuration does not work.
    pub fn begin<S: Carrier>(&self, stream: S) -> io::Result<TlsStream<S>> {
        let session = ServerConnection::new(Arc::clone(&self.config)).map_err(invalid)?;
        Ok(TlsStream::new(Session::new(session.into()), stream))
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// The client's side. Cloning it is cheap, and clones share what they know of servers (sessions are resumed).
#[derive(Clone)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
    timeout: Option<Duration>,
}

impl TlsConnector {
    /// Trusts servers with a certificate of one of these authorities, and shows none itself.
    ///
    /// # Errors
    ///
    /// The provider of cryptography does not work.
    pub fn new(authorities: RootCertStore) -> io::Result<Self> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(invalid)?
            .with_root_certificates(authorities)
            .with_no_client_auth();
        Ok(Self::from_config(config))
    }

    /// The same, and shows this identity to servers that ask for one.
    ///
    /// # Errors
    ///
    /// The key is of an unknown kind, or not the certificate's.
    pub fn with_identity(authorities: RootCertStore, identity: Identity) -> io::Result<Self> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_root_certificates(authorities)
                    .with_client_auth_cert(identity.chain, identity.key)
            })
            .map_err(invalid)?;
        Ok(Self::from_config(config))
    }

    /// With a configuration of your own.
    #[must_use]
    pub fn from_config(config: impl Into<Arc<ClientConfig>>) -> Self {
        TlsConnector { config: config.into(), timeout: Some(HANDSHAKE) }
    }

    /// The protocols above that are offered (ALPN), the best one first.
    #[must_use]
    pub fn alpn<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        Arc::make_mut(&mut self.config).alpn_protocols = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// How long a handshake may take in all; `None`: for ever. 10 s by default.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// Does the handshake. `name` is what the server's certificate must be for: a host's name or an address.
    ///
    /// # Errors
    ///
    /// As [`TlsAcceptor::accept`]; [`InvalidInput`](io::ErrorKind::InvalidInput): the name is none.
    ///
    /// # Signals
    ///
    /// If an exit signal ends the process, its stack unwinds from here.
    pub fn connect<S: Carrier>(&self, name: &str, stream: S) -> io::Result<TlsStream<S>> {
        self.begin(name, stream)?.finish_within(self.timeout)
    }

    /// The same without the handshake, as [`TlsAcceptor::begin`].
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput): the name is none.
    pub fn begin<S: Carrier>(&self, name: &str, stream: S) -> io::Result<TlsStream<S>> {
        let server = ServerName::try_from(name.to_owned()).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name:?} is neither a host's name nor an address"),
            )
        })?;
        let session = ClientConnection::new(Arc::clone(&self.config), server).map_err(invalid)?;
        Ok(TlsStream::new(Session::new(session.into()), stream))
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnector").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
