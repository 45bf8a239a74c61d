//! Parts that every throwaway database server needs: a user to run as, a private place, and a
//! thread that keeps it running.
//!
//! Guarantees: a server is gone when its value is dropped; after `kill -9` the kernel kills it.

use crate::error::{Code, Error, Result};
use crate::scratch::{Directory, elsewhere};
use crate::transport::{Command, Running, Transport};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest time a server may take to accept connections.
const START: Duration = Duration::from_secs(60);
/// A socket's path may have 107 bytes; the name of the socket in it takes 15.
const SOCKET_DIRECTORY_BYTES_MAX: usize = 90;

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    ended: Receiver<Ended>,
    stop: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

/// The end of a server that ended by itself: its output, or the error that kept it from starting.
struct Ended(Result<String>);

impl Server {
    /// Starts the server from a thread of its own that lives as long as the server: the kernel
    /// kills a child when the *thread* that started it ends, and the caller's thread may be
    /// short-lived. `end` ends the server; none of its data is worth an orderly shutdown.
    pub fn start(command: Command, end: fn(Running) -> String) -> Result<Self> {
        let (tell, ended) = bounded(1);
        let (stop, stopped) = bounded::<()>(0);
        let keeper = crate::thread::start(move || {
            let mut running = match Transport::Local.spawn(&command) {
                Ok(running) => running,
                Err(error) => {
                    let _ = tell.send(Ended(Err(error)));
                    return;
                }
            };
            // Ends when the sender is dropped.
            while let Err(crossbeam_channel::RecvTimeoutError::Timeout) =
                stopped.recv_timeout(Duration::from_millis(200))
            {
                if running.ended() {
                    let _ = tell.send(Ended(running.wait().map(|(_, said)| said)));
                    return;
                }
            }
            end(running);
        })?;
        Ok(Server {
            ended,
            stop: Some(stop),
            keeper: Some(keeper),
        })
    }

    /// Asks until the server answers. Fails if it has ended or takes too long; `name` is for the
    /// error.
    pub fn wait_until_ready(&self, name: &str, ask: impl Fn() -> Result<()>) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            let Err(error) = ask() else { return Ok(()) };
            let ended = self.ended.try_recv().ok();
            // Waiting does not make a missing client appear.
            let hopeless = error.code == Code::ToolMissing;
            if ended.is_none() && !hopeless && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            let said = match ended {
                Some(Ended(Ok(said))) => said,
                Some(Ended(Err(error))) => return Err(error),
                None if hopeless => return Err(error),
                None => error.to_string(),
            };
            return Err(Error::new(Code::State, format!("{name} does not start"))
                .cause(said)
                .hint("free memory or disk space in the scratch directory, then run again"));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

/// The user to run as if this process is root, which database servers refuse to run as.
pub fn unprivileged(server: &str, user: &str) -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")
        .map_err(|error| Error::io("/etc/passwd cannot be read", &error))?;
    let find = |name: &str| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    find(user)
        .or_else(|| find("nobody"))
        .map(Some)
        .ok_or_else(|| {
            Error::new(
                Code::State,
                format!("{server} refuses to run as root, and there is no user {user} or nobody"),
            )
            .hint(format!("make one: useradd --system {user}"))
        })
}

/// Returns `base`, or the system's temporary directory if that user cannot reach `base`.
pub fn workplace(base: &Path, user: Option<(u32, u32)>) -> Result<PathBuf> {
    match user {
        Some(user) if !reachable(base, user) => {
            let temporary = std::env::temp_dir();
            elsewhere::note(base, &temporary)?;
            Ok(temporary)
        }
        _ => Ok(base.to_owned()),
    }
}

/// A private directory for the socket: the given one or, if its path is too long, a shorter one
/// that must be kept as long as the server. Both are given to that user.
pub fn socket_directory(
    directory: &Directory,
    user: Option<(u32, u32)>,
) -> Result<(PathBuf, Option<Directory>)> {
    give(directory.path(), user)?;
    if directory.path().as_os_str().len() <= SOCKET_DIRECTORY_BYTES_MAX {
        return Ok((directory.path().to_owned(), None));
    }
    let short = Directory::create(Path::new("/tmp"), "s")?;
    give(short.path(), user)?;
    Ok((short.path().to_owned(), Some(short)))
}

/// Returns true if this user can pass through every directory of `path`, the last one included.
fn reachable(path: &Path, (uid, gid): (u32, u32)) -> bool {
    let Ok(path) = std::fs::canonicalize(path) else {
        return false;
    };
    path.ancestors().all(|directory| {
        std::fs::metadata(directory).is_ok_and(|metadata| {
            let bits = match () {
                () if metadata.uid() == uid => metadata.mode() >> 6,
                () if metadata.gid() == gid => metadata.mode() >> 3,
                () => metadata.mode(),
            };
            bits & 1 == 1
        })
    })
}

/// Gives a file or directory to that user, if there is one.
pub fn give(path: &Path, user: Option<(u32, u32)>) -> Result<()> {
    let Some((uid, gid)) = user else {
        return Ok(());
    };
    std::os::unix::fs::chown(path, Some(uid), Some(gid))
        .map_err(|error| Error::io(format!("{} cannot be given away", path.display()), &error))
}

/// Makes the command run as that user, if there is one.
pub fn as_user(command: Command, user: Option<(u32, u32)>) -> Command {
    match user {
        Some((uid, gid)) => command.user(uid, gid),
        None => command,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    /// Number of processes whose working directory is `directory` or lies below it.
    pub fn processes_in(directory: &Path) -> usize {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| std::fs::read_link(entry.path().join("cwd")).ok())
            .filter(|cwd| cwd.starts_with(directory))
            .count()
    }
}
