//! Nodes named by a file.

use super::{Discovery, DiscoveryError, Found, MOST, is_name};
use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

/// Bytes that a file may have.
const MAX_BYTES: u64 = 1 << 20;

/// A file with a node in each line: its name, or its name and the address at which it is dialled. What follows a `#` is a comment.
/// It is read again at each look; a file with a mistake changes nothing.
///
/// ```text
/// # The shop.
/// till@10.0.0.1:7100
/// store       10.0.0.2:7100
/// ```
#[derive(Clone, Debug)]
pub struct NodesFile {
    path: PathBuf,
}

impl NodesFile {
    /// It need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        NodesFile { path: path.into() }
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(&self.path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Discovery for NodesFile {
    fn nodes(&self) -> Result<Vec<Found>, DiscoveryError> {
        let file = self.path.display().to_string();
        let bytes = self.read().map_err(|error| DiscoveryError::Io { what: file.clone(), error })?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(DiscoveryError::TooMany { what: file });
        }
        let text = String::from_utf8_lossy(&bytes);
        let mut found = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(name) = words.next() else { continue };
            let address = words.next().map(str::to_owned);
            if words.next().is_some() || !is_name(name) || name.contains(char::REPLACEMENT_CHARACTER) {
                let text = line.chars().take(80).collect();
                return Err(DiscoveryError::BadLine { file, line: at + 1, text });
            }
            if found.len() == MOST {
                return Err(DiscoveryError::TooMany { what: file });
            }
            found.push(Found { name: name.to_owned(), address });
        }
        Ok(found)
    }
}
