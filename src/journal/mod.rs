//! The durable record of what this host has promised and what it still has to finish.
//!
//! The journal knows records, not their meaning: the core writes JSON under a kind and an id and reads everything back once, at start.
//! One thread owns the database. It takes whatever waits, commits it as one transaction and only then answers, so fifty containers
//! started at once share a few disk flushes.

mod writer;

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::mpsc,
};

use nix::fcntl::{Flock, FlockArg};
use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};
use tokio::sync::oneshot;

use self::writer::Batch;

/// Why the journal cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory cannot be made or written.
    #[error("state directory {path}: {source}; kuryr needs to write there, see [kuryr] state_path")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another daemon works on the same state.
    #[error("another kuryr holds {path}; stop it first, or give this one a [kuryr] state_path of its own")]
    Held {
        /// The lock file.
        path: PathBuf,
    },
    /// The file is no database any more.
    #[error("journal {path} is damaged: {reason}; check the disk that it lies on")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// The file is another program's, or was written by a newer kuryr.
    #[error("journal {path}: {reason}; if a newer kuryr wrote it, run that one; else move the file away and kuryr reads Neutron instead")]
    Unusable {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// A record could not be made durable, so the promise it stands for was not given.
    #[error("cannot write the journal {path}: {reason}; check the space and the rights of that file system and try again")]
    Write {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
}

/// What a commit has to outlive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// A loss of power: it is on the disk before the commit returns.
    PowerLoss,
    /// The end of this process, however it comes: it reaches the disk with the next commit of the other kind. A loss of power may take it, but
    /// never without all that was committed after it.
    ProcessEnd,
}

/// One record to write, or to drop when `body` is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What the record is, such as `port`.
    pub kind: &'static str,
    /// The record's key among its kind.
    pub id: String,
    /// The record as JSON.
    pub body: Option<String>,
}

/// A record as read back at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// See [`Change::kind`].
    pub kind: &'a str,
    /// See [`Change::id`].
    pub id: &'a str,
    /// See [`Change::body`].
    pub body: &'a str,
}

/// All records, in one piece of memory: what is made of each of them would else lie between small ones, which could then not go back to the
/// system.
#[derive(Debug, Default)]
pub struct Records {
    text: String,
    /// Where kind, id and body of each end.
    ends: Vec<[usize; 3]>,
}

impl Records {
    fn push(&mut self, parts: [&str; 3]) {
        let ends = parts.map(|part| {
            self.text.push_str(part);
            self.text.len()
        });
        self.ends.push(ends);
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.ends.iter().scan(0, |start, [kind, id, body]| {
            let begin = std::mem::replace(start, *body);
            Some(Record { kind: &self.text[begin..*kind], id: &self.text[*kind..*id], body: &self.text[*id..*body] })
        })
    }
}

/// The open journal of one state directory; dropping it waits for the last commit and frees the directory.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    batches: Option<mpsc::Sender<Batch>>,
    writer: Option<std::thread::JoinHandle<()>>,
    _lock: Flock<File>,
}

impl Journal {
    /// Opens or makes the journal in `directory` and reads it whole. Blocking.
    pub fn open(directory: &Path) -> Result<(Self, Records), Error> {
        let unwritable = |source| Error::Directory { path: directory.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unwritable)?;
        let lock = hold(directory)?;
        let path = directory.join("journal.db");
        if !path.exists() {
            tracing::info!(journal = %path.display(), "a new journal: what this host has in Neutron is taken up as the engine names it");
        }
        let (connection, records) = match open_database(&path) {
            Err(Error::Damaged { reason, .. }) => {
                let aside = set_aside(&path).map_err(unwritable)?;
                tracing::error!(
                    aside = %aside.display(),
                    "the journal is damaged ({reason}) and was set aside; what this host has in Neutron is taken up as the engine names it"
                );
                open_database(&path)?
            }
            outcome => outcome?,
        };
        let (batches, waiting) = mpsc::channel();
        let writer = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer::run(connection, &waiting))
            .map_err(|source| Error::Directory { path: directory.to_owned(), source })?;
        Ok((Self { path, batches: Some(batches), writer: Some(writer), _lock: lock }, records))
    }

    /// Makes `changes` durable, all or none, and returns when they are.
    pub async fn commit(&self, changes: Vec<Change>, lasting: Lasting) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        let failed = |reason: &str| Error::Write { path: self.path.clone(), reason: reason.to_owned() };
        let batches = self.batches.as_ref().ok_or_else(|| failed("the journal is closed"))?;
        batches.send(Batch { changes, lasting, done }).map_err(|_| failed("its writer has ended"))?;
        match answer.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(failed(&reason)),
            Err(_) => Err(failed("its writer has ended")),
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has nothing left to save.
            let _ = writer.join();
        }
    }
}

/// Takes the directory's lock file, which the kernel frees with the process however it ends.
fn hold(directory: &Path) -> Result<Flock<File>, Error> {
    let path = directory.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|source| Error::Directory { path: directory.to_owned(), source })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| Error::Held { path })
}

/// Opens the database and reads it whole.
fn open_database(path: &Path) -> Result<(Connection, Records), Error> {
    let refused = |error: rusqlite::Error| refusal(path, &error);
    let mut connection = Connection::open(path).map_err(refused)?;
    // All is read once, and then a few pages are written at a time: in KiB, what is worth keeping in memory.
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA cache_size = -256").map_err(refused)?;
    migrations().to_latest(&mut connection).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => refused(err),
        other => Error::Unusable { path: path.to_owned(), reason: other.to_string() },
    })?;
    let records = read(&connection).map_err(refused)?;
    Ok((connection, records))
}

/// Moves a damaged database out of the way, and its companions with it, so that a person may still look into them.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let named = |suffix: &str, end: &str| PathBuf::from(format!("{}{suffix}{end}", path.display()));
    for suffix in ["-wal", "-shm", ""] {
        match fs::rename(named(suffix, ""), named(suffix, ".damaged")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(named("", ".damaged"))
}

/// Whether the file system stands in the way, or the file itself.
fn refusal(path: &Path, error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase, PermissionDenied, ReadOnly, SystemIoFailure,
    };
    let (path, reason) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => Error::Damaged { path, reason },
        Some(CannotOpen | DatabaseBusy | DatabaseLocked | DiskFull | PermissionDenied | ReadOnly | SystemIoFailure) => {
            Error::Write { path, reason }
        }
        _ => Error::Unusable { path, reason },
    }
}

fn migrations() -> Migrations<'static> {
    Migrations::new(vec![M::up(
        "CREATE TABLE record (kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id)) STRICT, WITHOUT ROWID",
    )])
}

fn read(connection: &Connection) -> rusqlite::Result<Records> {
    let mut statement = connection.prepare("SELECT kind, id, body FROM record")?;
    let mut rows = statement.query([])?;
    let mut records = Records::default();
    while let Some(row) = rows.next()? {
        let text = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str()?);
        records.push([text(0)?, text(1)?, text(2)?]);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(id: &str, body: &str) -> Change {
        Change { kind: "port", id: id.into(), body: Some(body.into()) }
    }

    #[tokio::test]
    async fn what_was_committed_is_read_back_and_what_was_dropped_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, records) = Journal::open(directory.path()).unwrap();
        assert_eq!(records.iter().next(), None);
        journal.commit(vec![put("a", "1"), put("b", "2")], Lasting::PowerLoss).await.unwrap();
        let late = Change { kind: "task", id: "c".into(), body: Some(String::new()) };
        journal.commit(vec![put("a", "3"), Change { body: None, ..put("b", "") }, late], Lasting::PowerLoss).await.unwrap();
        drop(journal);
        let (_journal, records) = Journal::open(directory.path()).unwrap();
        let expected = [Record { kind: "port", id: "a", body: "3" }, Record { kind: "task", id: "c", body: "" }];
        assert_eq!(records.iter().collect::<Vec<_>>(), expected);
    }

    #[tokio::test]
    async fn many_commits_at_once_all_arrive() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(directory.path()).unwrap();
        let journal = std::sync::Arc::new(journal);
        let commits: Vec<_> = (0..200)
            .map(|n| {
                let journal = journal.clone();
                tokio::spawn(async move { journal.commit(vec![put(&n.to_string(), "x")], Lasting::PowerLoss).await })
            })
            .collect();
        for commit in commits {
            commit.await.unwrap().unwrap();
        }
        drop(journal);
        assert_eq!(Journal::open(directory.path()).unwrap().1.iter().count(), 200);
    }

    #[test]
    fn a_second_daemon_is_refused_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let first = Journal::open(directory.path()).unwrap();
        let error = Journal::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("another kuryr") && error.contains("state_path"), "{error}");
        drop(first);
        Journal::open(directory.path()).unwrap();
    }

    #[test]
    fn a_journal_of_a_newer_kuryr_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        drop(Journal::open(directory.path()).unwrap());
        let file = directory.path().join("journal.db");
        Connection::open(&file).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
        let error = Journal::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("newer kuryr"), "{error}");
    }

    #[tokio::test]
    async fn a_damaged_journal_is_set_aside_and_a_new_one_begun() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(directory.path()).unwrap();
        journal.commit(vec![put("a", "1")], Lasting::PowerLoss).await.unwrap();
        drop(journal);
        let file = directory.path().join("journal.db");
        let text = "no database, whatever it was before; ".repeat(200);
        fs::write(&file, &text).unwrap();
        let (journal, records) = Journal::open(directory.path()).unwrap();
        assert_eq!(records.iter().next(), None);
        journal.commit(vec![put("b", "2")], Lasting::PowerLoss).await.unwrap();
        drop(journal);
        assert_eq!(Journal::open(directory.path()).unwrap().1.iter().count(), 1);
        assert_eq!(fs::read_to_string(directory.path().join("journal.db.damaged")).unwrap(), text);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let error = Journal::open(&directory.path().join("file/state")).unwrap_err().to_string();
        assert!(error.contains("file/state") && error.contains("state_path"), "{error}");
    }

    #[tokio::test]
    async fn a_full_disk_refuses_the_promise_and_later_ones_are_kept_again() {
        use nix::mount::{MntFlags, MsFlags, mount, umount2};
        // The runner gives each test a mount namespace of its own, so a small file system can stand in for a full one.
        let directory = tempfile::tempdir().unwrap();
        mount(Some("tmpfs"), directory.path(), Some("tmpfs"), MsFlags::empty(), Some("size=512k")).unwrap();
        let (journal, _) = Journal::open(directory.path()).unwrap();
        let error = journal.commit(vec![put("big", &"x".repeat(1 << 20))], Lasting::PowerLoss).await.unwrap_err().to_string();
        assert!(error.contains("full") && error.contains("space"), "{error}");
        journal.commit(vec![put("small", "y")], Lasting::PowerLoss).await.unwrap();
        drop(journal);
        umount2(directory.path(), MntFlags::MNT_DETACH).unwrap();
    }
}
