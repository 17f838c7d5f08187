//! Names to addresses.
//!
//! Looking a name up blocks, so it is done on a thread for blocking calls while the process waits. What is an address
//! already takes no such way.

use engset_runtime::blocking;
use std::{
    io,
    net::{self, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
};

/// What can be turned into addresses: as [`std::net::ToSocketAddrs`], but a process that looks up a name
/// does not hold its worker.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_net::ToSocketAddrs;
///
/// let found = "localhost:80".to_addrs().unwrap();
/// assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 80));
/// # }).unwrap();
/// ```
pub trait ToSocketAddrs {
    /// What is known without asking, or the name to ask for.
    ///
    /// # Errors
    ///
    /// It is neither an address nor a name with a port.
    fn names(&self) -> io::Result<Names>;

    /// All addresses, in the order in which they are to be tried; looks them up if need be.
    ///
    /// # Errors
    ///
    /// The name has none, or nobody knows it, or it cannot be asked for.
    ///
    /// # Signals
    ///
    /// If an exit signal ends the process while it looks a name up, its stack unwinds from here.
    fn to_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = match self.names()? {
            Names::Known(addresses) => return Ok(addresses),
            Names::Name(host, port) => (host, port),
        };
        let name = host.clone();
        let found = blocking(move || {
            net::ToSocketAddrs::to_socket_addrs(&(name.as_str(), port)).map(Iterator::collect::<Vec<_>>)
        })?;
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address")));
        }
        Ok(found)
    }
}

/// See [`ToSocketAddrs::names`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// These addresses.
    Known(Vec<SocketAddr>),
    /// A host's name, and a port.
    Name(String, u16),
}

impl ToSocketAddrs for SocketAddr {
    fn names(&self) -> io::Result<Names> {
        Ok(Names::Known(vec![*self]))
    }
}

macro_rules! addresses {
    ($($kind:ty),*) => {$(
        impl ToSocketAddrs for $kind {
            fn names(&self) -> io::Result<Names> {
                SocketAddr::from(*self).names()
            }
        }
    )*};
}

addresses!(SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

impl ToSocketAddrs for [SocketAddr] {
    fn names(&self) -> io::Result<Names> {
        Ok(Names::Known(self.to_vec()))
    }
}

impl ToSocketAddrs for (&str, u16) {
    fn names(&self) -> io::Result<Names> {
        match self.0.parse::<IpAddr>() {
            Ok(address) => SocketAddr::from((address, self.1)).names(),
            Err(_) => Ok(Names::Name(self.0.to_owned(), self.1)),
        }
    }
}

impl ToSocketAddrs for str {
    fn names(&self) -> io::Result<Names> {
        if let Ok(address) = self.parse::<SocketAddr>() {
            return address.names();
        }
        let invalid = || {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{self:?} is no address, and no host:port"))
        };
        let (host, port) = self.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().map_err(|_| invalid())?;
        if host.is_empty() { Err(invalid()) } else { Ok(Names::Name(host.to_owned(), port)) }
    }
}

impl ToSocketAddrs for String {
    fn names(&self) -> io::Result<Names> {
        self.as_str().names()
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    fn names(&self) -> io::Result<Names> {
        (**self).names()
    }
}

/// Tries all addresses until one works.
pub(crate) fn each<T>(
    addresses: &[SocketAddr],
    mut f: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "no address was given");
    for address in addresses {
        match f(*address) {
            Ok(made) => return Ok(made),
            Err(error) => last = error,
        }
    }
    Err(last)
}
