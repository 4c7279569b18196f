//! Network namespaces by name, and running code inside one.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::fs::OpenOptionsExt,
    },
    panic,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::statfs::{NSFS_MAGIC, PROC_SUPER_MAGIC, fstatfs},
};

use super::Error;

/// Where `ip netns` keeps its names (NETNS_RUN_DIR of iproute2).
const DIRECTORY: &str = "/run/netns";
/// Two creators at once must not both turn the directory into a mount.
static MOUNTING: Mutex<()> = Mutex::new(());

/// An open network namespace; it lives at least as long as this.
#[derive(Debug)]
pub struct NetnsFd(OwnedFd);

impl AsRawFd for NetnsFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for NetnsFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The path of a namespace's name.
pub fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Makes a namespace and gives it a name which `ip netns` knows; its loopback interface is down. [`Error::is_exists`] when the name is
/// taken. Needs CAP_SYS_ADMIN.
pub fn create(name: &str) -> Result<NetnsFd, Error> {
    check_name(name)?;
    let path = path(name);
    let what = || format!("create network namespace {name}");
    let system = |source: io::Error| Error::System { what: what(), source };
    share_directory().map_err(system)?;
    OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path).map_err(system)?;
    // A thread of its own, because unshare moves the thread that calls it. The mount then holds the namespace.
    let made = thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns-create".into()).spawn_scoped(scope, || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            mount(Some("/proc/thread-self/ns/net"), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        });
        thread.map(|thread| thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
    });
    let made = match made {
        Ok(Ok(())) => open(&path),
        Ok(Err(errno)) => Err(Error::kernel(what(), errno)),
        Err(error) => Err(system(error)),
    };
    if made.is_err() {
        // The first error is the one to tell.
        let _ = delete(name);
    }
    made
}

/// Does what the first `ip netns add` does: the directory becomes a shared mount, so that names mounted later reach every mount namespace.
fn share_directory() -> Result<(), io::Error> {
    let _one = MOUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    fs::create_dir_all(DIRECTORY)?;
    let share = || mount(None::<&str>, DIRECTORY, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>);
    if share() == Err(Errno::EINVAL) {
        mount(Some(DIRECTORY), DIRECTORY, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
        share()?;
    }
    Ok(())
}

/// Removes the name; the namespace goes when nothing uses it any more. A missing name is fine.
pub fn delete(name: &str) -> Result<(), Error> {
    check_name(name)?;
    let path = path(name);
    let failed = |source: io::Error| Error::System { what: format!("delete network namespace {name}"), source };
    match umount2(&path, MntFlags::MNT_DETACH) {
        // EINVAL: a file that is no mount, left by a creator that was killed.
        Ok(()) | Err(Errno::ENOENT | Errno::EINVAL) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// The names there are, in order.
pub fn list() -> Result<Vec<String>, Error> {
    let failed = |source| Error::System { what: "list the network namespaces".into(), source };
    let entries = match fs::read_dir(DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// Opens a namespace by path: `/run/netns/NAME`, a sandbox of Docker, `/proc/PID/ns/net`.
pub fn open(path: impl AsRef<Path>) -> Result<NetnsFd, Error> {
    let path = path.as_ref();
    let failed = |source| Error::System { what: format!("open network namespace {}", path.display()), source };
    let file = File::open(path).map_err(failed)?;
    let kind = fstatfs(&file).map_err(|errno| failed(errno.into()))?.filesystem_type();
    if kind != NSFS_MAGIC && kind != PROC_SUPER_MAGIC {
        return Err(Error::BadName {
            name: path.display().to_string(),
            object: "a network namespace",
            reason: "it is another kind of file",
        });
    }
    Ok(NetnsFd(file.into()))
}

/// The namespace of the calling thread.
pub fn current() -> Result<NetnsFd, Error> {
    open("/proc/thread-self/ns/net")
}

/// Runs `work` inside the namespace, on a thread made for it that ends afterwards: there is no way back that could fail and leave a thread
/// of the daemon in a container's network. A [`Socket`](super::Socket) opened by `work` and handed back stays with that namespace.
#[allow(clippy::disallowed_methods, reason = "the only place that enters a namespace, on a thread of its own")]
pub fn run_in<T: Send>(netns: &NetnsFd, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let what = "enter a network namespace";
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, || setns(netns, CloneFlags::CLONE_NEWNET).map(|()| work()))
            .map_err(|source| Error::System { what: what.into(), source })?;
        let result = thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
        result.map_err(|errno| Error::kernel(what, errno))
    })
}

fn check_name(name: &str) -> Result<(), Error> {
    let reason = match name {
        "" | "." | ".." => "it is empty or a directory",
        _ if name.len() > 255 => "it is longer than 255 bytes",
        _ if name.contains(['/', '\0']) => "it has a '/' or a zero byte in it",
        _ => return Ok(()),
    };
    Err(Error::BadName { name: name.into(), object: "a network namespace", reason })
}
