//! The log file by its name: where another file has that name, or none, it is opened anew. Source: Python's `WatchedFileHandler`, which oslo.log
//! uses.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tracing_subscriber::fmt::MakeWriter;

/// Appends to the file that has the name at that moment, at the price of one stat a line.
pub(super) struct LogFile {
    path: PathBuf,
    open: Mutex<Open>,
}

/// A file that is open, and which one it is.
struct Open {
    file: Arc<File>,
    identity: (u64, u64),
}

impl LogFile {
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let open = Mutex::new(Open::append_to(&path)?);
        Ok(Self { path, open })
    }
}

impl Open {
    fn append_to(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { identity: identity(&file.metadata()?), file: Arc::new(file) })
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

impl MakeWriter<'_> for LogFile {
    type Writer = Arc<File>;

    /// Called once for each line.
    fn make_writer(&self) -> Arc<File> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let named = fs::metadata(&self.path).ok().map(|file| identity(&file));
        // Where it cannot be opened, the file that was renamed still takes the line.
        if named != Some(open.identity)
            && let Ok(anew) = Open::append_to(&self.path)
        {
            *open = anew;
        }
        open.file.clone()
    }
}
