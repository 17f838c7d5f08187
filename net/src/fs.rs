//! Files, for processes.
//!
//! The system has no way to wait for a file, so what touches a disk is done on the threads for blocking calls, and the process waits
//! meanwhile, without a worker. Such a hop costs some microseconds: a [`File`] reads and writes by 64 KiB, and
//! hops once for each.
//!
//! Outside of a process the same functions block the thread. In systematic mode they run at once; what is in the files is not
//! repeated by the seed.

use engset_runtime::{blocking, future::detach};
use std::{
    fmt,
    fs::{self, DirEntry, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// What is read or written in one go.
const PIECE: usize = 64 * 1024;

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident($($path:ident),+) -> $result:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// As the function of this name in [`std::fs`].
        ///
        /// # Signals
        ///
        /// If an exit signal ends the process, its stack unwinds from here; what has begun is done all the same.
        pub fn $name($($path: impl AsRef<Path>),+) -> io::Result<$result> {
            $(let $path = $path.as_ref().to_owned();)+
            blocking(move || fs::$name($($path),+))
        }
    )*};
}

functions! {
    /// All of a file.
    read(path) -> Vec<u8>;
    /// All of a file, as text.
    read_to_string(path) -> String;
    /// What the system knows of a file.
    metadata(path) -> Metadata;
    /// The real path, without links.
    canonicalize(path) -> PathBuf;
    /// Copies a file; how many bytes.
    copy(from, to) -> u64;
    /// Renames a file or folder, in one step.
    rename(from, to) -> ();
    /// Removes a file.
    remove_file(path) -> ();
    /// Makes a folder.
    create_dir(path) -> ();
    /// Makes a folder, and those above it.
    create_dir_all(path) -> ();
    /// Removes an empty folder.
    remove_dir(path) -> ();
    /// Removes a folder with all that is in it.
    remove_dir_all(path) -> ();
}

/// Writes a file anew.
///
/// ```
/// # engset_runtime::run(|| -> std::io::Result<()> {
/// use engset_net::fs;
///
/// let path = std::env::temp_dir().join(format!("engset-fs-{}", std::process::id()));
/// fs::write(&path, "hello")?;
/// assert_eq!(fs::read_to_string(&path)?, "hello");
/// fs::remove_file(&path)
/// # }).unwrap().unwrap();
/// ```
///
/// # Errors
///
/// As [`std::fs::write`].
///
/// # Signals
///
/// If an exit signal ends the process, its stack unwinds from here; the file is written all the same.
pub fn write(path: impl AsRef<Path>, data: impl Into<Vec<u8>>) -> io::Result<()> {
    let (path, data) = (path.as_ref().to_owned(), data.into());
    blocking(move || fs::write(path, data))
}

/// What is in a folder.
///
/// # Errors
///
/// As [`std::fs::read_dir`].
///
/// # Signals
///
/// If an exit signal ends the process, its stack unwinds from here.
pub fn read_dir(path: impl AsRef<Path>) -> io::Result<Vec<DirEntry>> {
    let path = path.as_ref().to_owned();
    blocking(move || fs::read_dir(path)?.collect())
}

/// A file that is open, with buffers: as [`std::fs::File`] in a `BufReader` and a `BufWriter`.
///
/// What was written is in the file after [`flush`](Write::flush), or when the value is dropped; an error is seen
/// by `flush` only. A process that is killed drops its files: what is in their buffers is then written by another thread, some time.
///
/// ```
/// # engset_runtime::run(|| -> std::io::Result<()> {
/// use engset_net::fs::{self, File};
/// use std::io::{BufRead, BufReader, Write};
///
/// let path = std::env::temp_dir().join(format!("engset-file-{}", std::process::id()));
/// let mut file = File::create(&path)?;
/// for number in 0..1000 {
///     writeln!(file, "line {number}")?; // one hop for all
/// }
/// file.flush()?;
/// assert_eq!(BufReader::new(File::open(&path)?).lines().count(), 1000);
/// fs::remove_file(&path)
/// # }).unwrap().unwrap();
/// ```
pub struct File {
    file: Arc<fs::File>,
    /// Read ahead: what is left begins at `at`.
    ahead: Vec<u8>,
    at: usize,
    /// Not written yet.
    behind: Vec<u8>,
}

impl File {
    /// Opens a file for reading.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::open`].
    ///
    /// # Signals
    ///
    /// If an exit signal ends the process, its stack unwinds from here. So it is for all methods.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::open_with(path, OpenOptions::new().read(true))
    }

    /// Opens a file for writing; makes it, or makes it empty.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::create`].
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::open_with(path, OpenOptions::new().write(true).create(true).truncate(true))
    }

    /// Opens a file in any way.
    ///
    /// # Errors
    ///
    /// As [`OpenOptions::open`].
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> io::Result<Self> {
        let (path, options) = (path.as_ref().to_owned(), options.clone());
        Ok(Self::from_std(blocking(move || options.open(path))?))
    }

    /// Makes one of a file of the standard library.
    #[must_use]
    pub fn from_std(file: fs::File) -> Self {
        File { file: Arc::new(file), ahead: Vec::new(), at: 0, behind: Vec::new() }
    }

    /// What the system knows of it, without what is in the buffer.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn metadata(&self) -> io::Result<Metadata> {
        let file = Arc::clone(&self.file);
        blocking(move || file.metadata())
    }

    /// Writes all to the disk, and waits for it.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn sync_all(&mut self) -> io::Result<()> {
        self.flush()?;
        let file = Arc::clone(&self.file);
        blocking(move || file.sync_all())
    }

    /// Cuts it, or fills it with zeros, to this length.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.flush()?;
        // It may be gone.
        self.forget_ahead()?;
        let file = Arc::clone(&self.file);
        blocking(move || file.set_len(length))
    }

    /// What has been read ahead is forgotten; the position is where the user believes it to be.
    fn forget_ahead(&mut self) -> io::Result<()> {
        let left = self.ahead.len() - self.at;
        self.ahead.clear();
        self.at = 0;
        if left > 0 {
            let file = Arc::clone(&self.file);
            blocking(move || (&*file).seek(SeekFrom::Current(-(left as i64))))?;
        }
        Ok(())
    }

    fn write_behind(&mut self) -> io::Result<()> {
        if self.behind.is_empty() {
            return Ok(());
        }
        let (file, data) = (Arc::clone(&self.file), std::mem::take(&mut self.behind));
        let (result, mut data) = blocking(move || ((&*file).write_all(&data), data));
        data.clear();
        self.behind = data;
        result
    }
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.write_behind()?;
        if self.at == self.ahead.len() && !buffer.is_empty() {
            let (file, mut ahead) = (Arc::clone(&self.file), std::mem::take(&mut self.ahead));
            self.at = 0;
            let (result, ahead) = blocking(move || {
                ahead.resize(PIECE, 0);
                let result = (&*file).read(&mut ahead);
                ahead.truncate(*result.as_ref().unwrap_or(&0));
                (result, ahead)
            });
            self.ahead = ahead;
            result?;
        }
        let count = buffer.len().min(self.ahead.len() - self.at);
        buffer[..count].copy_from_slice(&self.ahead[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

impl Write for File {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.forget_ahead()?;
        if self.behind.len() >= PIECE {
            self.write_behind()?;
        }
        let count = data.len().min(PIECE - self.behind.len());
        self.behind.extend_from_slice(&data[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_behind()
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.write_behind()?;
        self.forget_ahead()?;
        let file = Arc::clone(&self.file);
        blocking(move || (&*file).seek(to))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if self.behind.is_empty() {
            return;
        }
        if engset_scheduler::current::may_wait() || !engset_scheduler::current::on_worker() {
            // Nobody would see the error.
            let _ = self.write_behind();
        } else {
            let (file, data) = (Arc::clone(&self.file), std::mem::take(&mut self.behind));
            detach(move || drop((&*file).write_all(&data)));
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("File").field(&self.file).finish()
    }
}
