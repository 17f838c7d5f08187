//! Nodes by the addresses of a host's name.

use super::{Discovery, DiscoveryError, Found, MOST};
use std::net::{SocketAddr, ToSocketAddrs};

/// A node for each address that the system's resolver knows of a host: `BASE@ADDRESS:PORT`. All nodes of the cluster have the same
/// base and the same port.
///
/// The system's resolver asks for A and AAAA records (and reads `/etc/hosts`), as it is set up. SRV records it does not read.
///
/// ```
/// use engset_net::dist::discovery::{Discovery, Dns, Found};
///
/// let shop = Dns::new("shop", "localhost", 7100);
/// assert!(shop.nodes()?.contains(&Found::named("shop@127.0.0.1:7100")));
/// # Ok::<(), engset_net::dist::discovery::DiscoveryError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Dns {
    base: String,
    host: String,
    port: u16,
}

impl Dns {
    /// The nodes `base` at the addresses of `host`.
    pub fn new(base: impl Into<String>, host: impl Into<String>, port: u16) -> Self {
        Dns { base: base.into(), host: host.into(), port }
    }
}

impl Discovery for Dns {
    fn nodes(&self) -> Result<Vec<Found>, DiscoveryError> {
        let failed = |error| DiscoveryError::Io { what: format!("the host {}", self.host), error };
        let addresses = (&*self.host, self.port).to_socket_addrs().map_err(failed)?;
        let node = |address: SocketAddr| Found::named(format!("{}@{address}", self.base));
        Ok(addresses.map(node).take(MOST).collect())
    }

    fn find(&self, _: &str) -> Option<String> {
        // The names say it.
        None
    }
}
