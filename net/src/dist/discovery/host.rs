//! The nodes of one host, by name: what Erlang has `epmd` for, without a daemon.
//!
//! # Why a directory
//!
//! A node listens on any free port, and writes it into a file of its own in a directory that the nodes of one user share. It keeps the file
//! *locked* as long as it lives. The other way would be a well-known port, served by the first node and taken over by another one when that
//! ends. The directory is better in each point that matters:
//!
//! * *Death.* The system gives up the lock of a process that ends, in whatever way. So a file that nobody has locked is a
//!   stale one, for certain and at once, also after `kill -9` and a restart of the machine. Nobody has to take anything over; there is no
//!   moment in which names are not known, and no race for the port.
//! * *Trust.* The directory belongs to the user, and nobody else may write into it, or it is refused. A port of the loopback
//!   interface belongs to whoever binds it first.
//! * *Names.* One name, one file, one lock: two nodes of one name cannot be there.
//!
//! Its limit: who does not see the directory (another user, a container with other mounts) does not see the nodes. A common directory can be
//! named ([`HostNames::at`]); or those nodes have fixed ports.
//!
//! # The rules
//!
//! 1. The file `CLUSTER~NAME` (escaped) has the lines `engset 1`, name, address. Who holds its lock owns it.
//! 2. Who gets the lock of a file holds the lock of what the path leads to only if that is still the same file: it looks. Only who holds
//!    that removes the file.
//! 3. What is in a file is not believed further than it has to be: at most [`MAX_BYTES`], at most [`MAX_FILES`] files; a file that is
//!    something else is passed over. The handshake finds out who really answers.

use super::{Discovery, DiscoveryError, Found, is_name};
use std::{
    env, fmt, fs,
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

/// Bytes that a file may have.
const MAX_BYTES: u64 = 4096;
/// Files that are looked at.
const MAX_FILES: usize = 4096;
/// Who only looks whether a file is stale holds its lock for a moment: so often, and so long, the owner-to-be tries.
const TRIES: u32 = 100;
const BETWEEN: Duration = Duration::from_millis(5);
const FIRST_LINE: &str = "engset 1";

/// The directory of this host's nodes. See the head of `host.rs` for how it works.
///
/// ```
/// use engset_net::dist::{Config, HostNames, Secret, tcp};
/// use engset_runtime::Node;
///
/// let directory = std::env::temp_dir().join(format!("engset-doc-{}", std::process::id()));
/// let any_port = "127.0.0.1:0".parse()?;
/// let config = |name| -> Result<_, Box<dyn std::error::Error>> {
///     Ok(Config::new(name, Secret::new("for this example")).on_host(HostNames::at(&directory)?))
/// };
/// let (one, two) = (Node::start(Default::default())?, Node::start(Default::default())?);
/// let (ones_others, _) = tcp::join(&one, config("one")?, any_port)?;
/// tcp::join(&two, config("two")?, any_port)?;
/// let (tell, told) = std::sync::mpsc::channel();
/// one.spawn(move || tell.send(ones_others.connect("two")).unwrap())?;
/// assert_eq!(told.recv()?, Ok(()));
/// assert!(one.stop() & two.stop());
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct HostNames {
    directory: PathBuf,
}

/// Why the directory of the host's nodes is of no use.
#[derive(Debug)]
#[non_exhaustive]
pub enum HostError {
    /// Another node of this host has the name.
    Taken {
        /// The name.
        name: String,
    },
    /// Others might write into the directory.
    Unsafe {
        /// The directory.
        directory: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The names of cluster and node are together too long for a file.
    TooLong {
        /// The name.
        name: String,
    },
    /// The system refuses something.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The trouble.
        error: io::Error,
    },
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostError::Taken { name } => write!(f, "another node of this host has the name {name:?}"),
            HostError::Unsafe { directory, why } => {
                write!(f, "{} cannot be trusted: {why}", directory.display())
            }
            HostError::TooLong { name } => write!(f, "the name {name:?} is too long for a file"),
            HostError::Io { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for HostError {}

impl HostNames {
    /// The directory of the user: `$ENGSET_RUNTIME_DIR`, else `$XDG_RUNTIME_DIR/engset`, else `engset-UID` among the temporary
    /// files. It is made if it is not there.
    ///
    /// # Errors
    ///
    /// It cannot be made, or others could write into it.
    pub fn new() -> Result<Self, HostError> {
        let given = env::var_os("ENGSET_RUNTIME_DIR").map(PathBuf::from);
        let runtime = || env::var_os("XDG_RUNTIME_DIR").map(|directory| Path::new(&directory).join("engset"));
        let temporary = || env::temp_dir().join(format!("engset-{}", own_uid()));
        Self::at(given.or_else(runtime).unwrap_or_else(temporary))
    }

    /// Another one.
    ///
    /// # Errors
    ///
    /// As [`HostNames::new`].
    pub fn at(directory: impl Into<PathBuf>) -> Result<Self, HostError> {
        let directory = directory.into();
        let failed = |error| HostError::Io { path: directory.clone(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
        // Not what a link leads to: the link could be another user's.
        let found = fs::symlink_metadata(&directory).map_err(failed)?;
        let why = if !found.is_dir() {
            "it is no directory"
        } else if found.uid() != own_uid() {
            "it belongs to another user"
        } else if found.mode() & 0o022 != 0 {
            "others may write into it"
        } else {
            return Ok(HostNames { directory });
        };
        Err(HostError::Unsafe { directory, why })
    }

    /// The nodes that live, of a cluster.
    ///
    /// # Errors
    ///
    /// The directory cannot be read.
    pub fn nodes(&self, cluster: &str) -> Result<Vec<Found>, DiscoveryError> {
        let failed = |error| DiscoveryError::Io { what: self.directory.display().to_string(), error };
        let prefix = format!("{}~", escape(cluster));
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)?.take(MAX_FILES) {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
                found.extend(read(&entry.path()));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn path(&self, cluster: &str, name: &str) -> PathBuf {
        self.directory.join(format!("{}~{}", escape(cluster), escape(name)))
    }

    /// Puts a node that listens at this address into the directory.
    pub(crate) fn enter(
        self,
        cluster: &str,
        name: &str,
        address: SocketAddr,
    ) -> Result<HostEntry, HostError> {
        let path = self.path(cluster, name);
        if path.file_name().is_some_and(|name| name.len() > 255) {
            return Err(HostError::TooLong { name: name.to_owned() });
        }
        let failed = |error| HostError::Io { path: path.clone(), error };
        let mut file = claim(&path).map_err(failed)?.ok_or(HostError::Taken { name: name.to_owned() })?;
        let text = format!("{FIRST_LINE}\n{name}\n{}\n", dialled(address));
        file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(failed)?;
        let cluster = cluster.to_owned();
        Ok(HostEntry { names: self, cluster, path, file: Mutex::new(Some(file)) })
    }
}

/// A node's entry, until it is given up; and a source of the others.
pub(crate) struct HostEntry {
    names: HostNames,
    cluster: String,
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl HostEntry {
    /// The node has left.
    pub(crate) fn give_up(&self) {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Rule 2. What is left would be stale, and be removed by the next who looks.
        if file.is_some_and(|file| is_at(&file, &self.path) && fs::remove_file(&self.path).is_err()) {
            tracing::warn!(target: "engset", path = %self.path.display(), "the file of a node that has left was not removed");
        }
    }
}

impl Discovery for HostEntry {
    fn nodes(&self) -> Result<Vec<Found>, DiscoveryError> {
        self.names.nodes(&self.cluster)
    }

    fn find(&self, name: &str) -> Option<String> {
        read(&self.names.path(&self.cluster, name))?.address
    }
}

impl Drop for HostEntry {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// An address that nodes of this host can dial.
fn dialled(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Letters, digits and a few signs stand for themselves.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'@' | b':' => out.push(char::from(byte)),
            b'.' if !out.is_empty() => out.push('.'),
            _ => out.push_str(&format!("%{byte:02x}")),
        }
    }
    out
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    // Neither through a link nor a pipe, which would wait.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create).mode(0o600).custom_flags(flags.bits() as i32).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(file), Ok(there)) => (file.dev(), file.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// The locked file of this path. `None`: somebody else has it.
fn claim(path: &Path) -> io::Result<Option<File>> {
    for _ in 0..TRIES {
        let file = open(path, true)?;
        match file.try_lock() {
            Ok(()) if is_at(&file, path) => return Ok(Some(file)),
            // It was removed as a stale one meanwhile.
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                #[allow(
                    clippy::disallowed_methods,
                    reason = "a node that starts, on a thread of the user's"
                )]
                thread::sleep(BETWEEN);
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

/// What a file says, if its node lives. A stale one is removed.
fn read(path: &Path) -> Option<Found> {
    let mut file = open(path, false).ok().filter(|file| file.metadata().is_ok_and(|it| it.is_file()))?;
    match file.try_lock() {
        Ok(()) => {
            if is_at(&file, path) {
                // Somebody may be faster.
                let _ = fs::remove_file(path);
            }
            return None;
        }
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(_)) => return None,
    }
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let text = std::str::from_utf8(&bytes).ok()?;
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let (first, name, address) = (lines.next()?, lines.next()?, lines.next()?);
    let address: SocketAddr = address.parse().ok()?;
    let is_good = first == FIRST_LINE && is_name(name) && lines.next().is_none();
    is_good.then(|| Found::at(name, address.to_string()))
}
