//! Readers: a process for each directory and each file.
//!
//! What a reader cannot read makes it crash. System calls that may block go through [`blocking`], so that
//! they hold up no worker; counting is done here, and is preemptible.

use crate::{
    Note,
    index::{Counts, Request},
};
use engset::prelude::*;
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

/// Directories that are not looked into.
const SKIPPED: [&str; 2] = [".git", "target"];
/// Bytes of the largest file that is read: some hundreds of them may be in memory at a time.
const LARGEST_BYTES: u64 = 16 << 20;
/// How long the index may take for one answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What there is to be read.
#[derive(Debug)]
pub enum Job {
    Directory(PathBuf),
    File(PathBuf),
}

impl Job {
    pub fn path(&self) -> &Path {
        match self {
            Job::Directory(path) | Job::File(path) => path,
        }
    }
}

/// The reader of one directory or file.
pub fn read(job: Job, overseer: Address<Note>, index: Address<Request>) {
    match job {
        Job::Directory(path) => {
            let found = blocking(move || list(&path)).unwrap_or_else(|error| panic!("{error}"));
            overseer.send(Note::Found(found));
        }
        Job::File(path) => {
            let bytes = blocking(move || load(&path)).unwrap_or_else(|error| panic!("{error}"));
            let text = String::from_utf8(bytes).unwrap_or_else(|error| panic!("no text: {error}"));
            let counts = Counts::of(&text);
            // A call, not a send: when this process has ended well its words are in the index. And so no more
            // counts wait there than readers run.
            index.call_timeout(|reply| Request::Add(counts, reply), PATIENCE).expect("the index answers");
        }
    }
}

fn list(directory: &Path) -> io::Result<Vec<Job>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            if !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                found.push(Job::Directory(path));
            }
        } else if kind.is_file() || (kind.is_symlink() && leads_to_file(&path)) {
            found.push(Job::File(path));
        }
    }
    Ok(found)
}

/// Links to directories are not followed, they may go in circles. A link to nothing counts as a file: its
/// reader will say what is wrong.
fn leads_to_file(link: &Path) -> bool {
    fs::metadata(link).map_or(true, |target| target.is_file())
}

fn load(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_BYTES {
        return Err(io::Error::other(format!("larger than {} MiB", LARGEST_BYTES >> 20)));
    }
    Ok(bytes)
}
