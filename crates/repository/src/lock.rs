//! Locks: files that say who is at work, written and honoured as in restic.
//!
//! Any number of processes may add to a repository at once; whoever removes something must hold an
//! exclusive lock. A lock is written anew every few minutes. A lock that was not refreshed is
//! stale, and so is a lock whose process ran on this host and is gone. A wrong clock must not make
//! a live lock look stale. So a lock's age is also measured by the store's own clock, against our
//! own lock, which was just written.
//!
//! In a store that refuses to delete, locks stay and become stale.

use crate::encoding::or_default;
use crate::error::{Error, FileKind, Result};
use crate::id::Id;
use crate::repository::{Author, Repository};
use crate::time::Time;
use jiff::{SignedDuration, Timestamp};
use rustix::io::Errno;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A lock as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockFile {
    /// The time at which it was taken or last refreshed.
    pub time: Time,
    /// True if the lock is exclusive.
    #[serde(default)]
    pub exclusive: bool,
    /// The host of its holder.
    #[serde(default, deserialize_with = "or_default")]
    pub hostname: String,
    /// The user name of its holder.
    #[serde(default, deserialize_with = "or_default")]
    pub username: String,
    /// The process id of its holder.
    #[serde(default)]
    pub pid: i32,
    /// The user id of its holder.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// The group id of its holder.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde requires this signature"
)]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl fmt::Display for LockFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.exclusive { "exclusively " } else { "" };
        write!(
            f,
            "{how}by process {} of {} on {}, since {}",
            self.pid,
            self.username,
            self.hostname,
            self.time.to_the_second()
        )
    }
}

/// The age at which a lock that was not refreshed is stale.
const STALE: SignedDuration = SignedDuration::from_mins(30);
/// The time between two refreshes of a lock.
const REFRESH: Duration = Duration::from_mins(5);
/// The time until the next try after a refresh that failed.
const REFRESH_AGAIN: Duration = Duration::from_secs(30);
/// The time after the last refresh at which work stops: well before others consider the lock stale.
const HOLDS: Duration = Duration::from_mins(22);
/// The pause between writing a lock and looking for other locks again, in a store whose listings
/// may lag behind: longer than a store takes to list a new file.
const SETTLE: Duration = Duration::from_millis(200);
/// The time between two checks, while waiting, whether to end early.
const LOOK: Duration = Duration::from_millis(100);
/// The pauses while somebody else holds a lock: the first, doubled each time, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(20)];

/// The kinds of lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For reading or adding, beside others who do the same.
    Shared,
    /// For removing, while nobody else holds a lock.
    Exclusive,
}

/// A function that returns true when the work is to end.
struct Stop(Box<dyn Fn() -> bool + Send + Sync>);

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stop")
    }
}

/// The conditions under which work on a repository may go on.
#[derive(Debug)]
pub(crate) struct Hold {
    /// The time at which the lock expires, in milliseconds of a clock that runs on while the
    /// machine sleeps.
    until: AtomicU64,
    /// Returns true once somebody asked to end early.
    stop: OnceLock<Stop>,
}

impl Default for Hold {
    fn default() -> Self {
        Hold {
            until: AtomicU64::new(u64::MAX),
            stop: OnceLock::new(),
        }
    }
}

impl Hold {
    /// Fails if a lock has perhaps expired, or if the work is to end early.
    pub(crate) fn check(&self) -> Result<()> {
        if milliseconds() > self.until.load(Ordering::Relaxed) {
            return Err(Error::LockLost);
        }
        self.check_stop()
    }

    /// Fails if the work is to end early.
    pub(crate) fn check_stop(&self) -> Result<()> {
        match self.stop.get().is_some_and(|stop| (stop.0)()) {
            true => Err(Error::Stopped),
            false => Ok(()),
        }
    }

    /// Waits for this long, but fails as soon as the work is to end early.
    fn pause(&self, length: Duration) -> Result<()> {
        let end = Instant::now() + length;
        loop {
            self.check_stop()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    /// Makes the work end as soon as `stop` returns true.
    pub(crate) fn stop_when(&self, stop: impl Fn() -> bool + Send + Sync + 'static) {
        // Only the first call has an effect.
        let _ = self.stop.set(Stop(Box::new(stop)));
    }

    /// Records that a lock was written at this time.
    fn renew(&self, written: u64) {
        let holds = u64::try_from(HOLDS.as_millis()).unwrap_or(u64::MAX);
        self.until.store(written + holds, Ordering::Relaxed);
    }

    fn end(&self) {
        self.until.store(u64::MAX, Ordering::Relaxed);
    }
}

fn milliseconds() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanoseconds) = (now.tv_sec, now.tv_nsec);
    u64::try_from(seconds).unwrap_or(0) * 1000 + u64::try_from(nanoseconds).unwrap_or(0) / 1_000_000
}

/// A lock that is held, and refreshed by a thread. It is removed when dropped.
pub struct Lock {
    shared: Arc<Shared>,
    refreshing: Option<JoinHandle<()>>,
}

struct Shared {
    repository: Repository,
    /// The lock file that is in the repository now.
    state: Mutex<State>,
    ended: Condvar,
}

struct State {
    id: Id,
    file: LockFile,
    ended: bool,
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lock {}", self.shared.state().id.short())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refreshes the lock until told to end.
    fn refresh(&self) {
        let mut pause = REFRESH;
        let mut state = self.state();
        loop {
            let waited = self.ended.wait_timeout_while(state, pause, |s| !s.ended);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.ended {
                return;
            }
            let (written, mut file) = (milliseconds(), state.file.clone());
            file.time = now();
            pause = match write(&self.repository, &file) {
                Ok(id) => {
                    self.repository.hold().renew(written);
                    let before = std::mem::replace(&mut state.id, id);
                    state.file = file;
                    // If the old file stays, it becomes stale.
                    let _ = self.repository.delete(FileKind::Lock, &before);
                    REFRESH
                }
                // Others may be at work already: writing the lock again would allow two exclusive
                // holders.
                Err(Error::LockLost) => return,
                Err(_) => REFRESH_AGAIN,
            };
        }
    }
}

impl Lock {
    /// Takes a lock. While a conflicting lock is held, tries again for up to `wait`, then fails
    /// with [`Error::Locked`].
    pub fn take(repository: &Repository, mode: Mode, wait: Duration, by: &Author) -> Result<Self> {
        let begun = Instant::now();
        let mut pause = PAUSES[0];
        loop {
            match Lock::try_take(repository, mode, by) {
                Err(locked @ Error::Locked { .. }) => {
                    let left = wait.saturating_sub(begun.elapsed());
                    if left.is_zero() {
                        return Err(locked);
                    }
                    repository.hold().pause(pause.min(left))?;
                    pause = (pause * 2).min(PAUSES[1]);
                }
                other => return other,
            }
        }
    }

    fn try_take(repository: &Repository, mode: Mode, by: &Author) -> Result<Self> {
        // Checked before our lock is written, so that a locked repository is not written to.
        conflict(repository, mode, None)?;
        let (written, file) = (milliseconds(), own(mode, by));
        let id = write(repository, &file)?;
        let settled = match repository.lists_at_once() {
            true => Ok(()),
            false => repository.hold().pause(SETTLE),
        };
        let free = settled.and_then(|()| conflict(repository, mode, Some(&id)));
        if let Err(error) = free {
            let _ = repository.delete_regardless(FileKind::Lock, &id);
            return Err(error);
        }
        repository.hold().renew(written);
        let shared = Arc::new(Shared {
            repository: repository.handle(),
            state: Mutex::new(State {
                id,
                file,
                ended: false,
            }),
            ended: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let refreshing = std::thread::Builder::new()
            .name("lock".into())
            .spawn(move || theirs.refresh())
            .map_err(Error::Threads)?;
        Ok(Lock {
            shared,
            refreshing: Some(refreshing),
        })
    }
}

impl Lock {
    /// Removes the lock. Fails if it cannot be removed.
    pub fn release(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(refreshing) = self.refreshing.take() else {
            return Ok(());
        };
        self.shared.state().ended = true;
        self.shared.ended.notify_all();
        let _ = refreshing.join();
        let id = self.shared.state().id;
        self.shared.repository.hold().end();
        self.shared
            .repository
            .delete_regardless(FileKind::Lock, &id)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A lock that cannot be removed becomes stale.
        let _ = self.end();
    }
}

fn now() -> Time {
    Time::utc(Timestamp::now())
}

fn own(mode: Mode, by: &Author) -> LockFile {
    LockFile {
        time: now(),
        exclusive: mode == Mode::Exclusive,
        hostname: by.host.clone(),
        username: by.user.clone(),
        pid: rustix::process::getpid().as_raw_nonzero().get(),
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
    }
}

fn write(repository: &Repository, file: &LockFile) -> Result<Id> {
    repository.save(FileKind::Lock, file)
}

/// A lock found in a repository.
#[derive(Debug)]
pub struct Found {
    /// Its name.
    pub id: Id,
    /// Its content, or the error if it cannot be read.
    pub file: Result<LockFile>,
    /// True if the lock is stale.
    pub stale: bool,
}

/// Lists the locks of a repository. `own` is the lock that this process has just written, if any.
pub fn find(repository: &Repository, own: Option<&Id>) -> Result<Vec<Found>> {
    let listed = repository.list_times(FileKind::Lock)?;
    let stored_now = listed.iter().find(|(id, _)| Some(id) == own);
    let stored_now = stored_now.and_then(|(_, at)| *at);
    let now = Timestamp::now();
    let mut found = Vec::new();
    for (id, stored) in listed {
        if Some(&id) == own {
            continue;
        }
        let file = match read(repository, &id) {
            // It was released since it was listed.
            Err(Error::Missing { .. }) => continue,
            Err(error @ Error::Damaged { .. }) => Err(error),
            Err(error) => return Err(error),
            Ok(file) => Ok(file),
        };
        let stored_age = stored.map(|at| stored_now.unwrap_or(now).duration_since(at));
        let stale = is_stale(file.as_ref().ok(), now, stored_age);
        found.push(Found { id, file, stale });
    }
    Ok(found)
}

fn read(repository: &Repository, id: &Id) -> Result<LockFile> {
    repository.parse_document(FileKind::Lock, id)
}

/// Returns whether a lock is stale. `stored_age` is measured by the store's clock, and is all there
/// is for a lock that cannot be read.
fn is_stale(file: Option<&LockFile>, now: Timestamp, stored_age: Option<SignedDuration>) -> bool {
    let old_there = stored_age.is_none_or(|age| age > STALE);
    match file {
        Some(file) => {
            let old = now.duration_since(file.time.at) > STALE;
            (old && old_there) || is_dead(file)
        }
        None => stored_age.is_some() && old_there,
    }
}

/// Returns whether the lock's process ran on this host and is gone.
fn is_dead(file: &LockFile) -> bool {
    let node = rustix::system::uname();
    let here = node.nodename().to_str().is_ok_and(|n| n == file.hostname);
    // The file may say anything; numbers below 1 are no processes.
    let pid = (here && file.pid > 0).then(|| Pid::from_raw(file.pid));
    let Some(pid) = pid.flatten() else {
        return false;
    };
    rustix::process::test_kill_process(pid) == Err(Errno::SRCH)
}

/// Fails if a conflicting lock is held. Removes stale locks on the way.
fn conflict(repository: &Repository, mode: Mode, own: Option<&Id>) -> Result<()> {
    for found in find(repository, own)? {
        if found.stale {
            let _ = repository.delete(FileKind::Lock, &found.id);
            continue;
        }
        let lock = found.file?;
        if mode == Mode::Exclusive || lock.exclusive {
            return Err(Error::Locked {
                id: found.id,
                lock: Box::new(lock),
            });
        }
    }
    Ok(())
}

/// Removes the stale locks, or all of them, and returns the removed ones.
pub fn unlock(repository: &Repository, all: bool) -> Result<Vec<Found>> {
    let mut removed = Vec::new();
    for found in find(repository, None)? {
        if all || found.stale {
            repository.delete(FileKind::Lock, &found.id)?;
            removed.push(found);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_store::MemoryStore;

    fn repository() -> Repository {
        let store = Arc::new(MemoryStore::new());
        Repository::create(store, "", b"x", &author()).unwrap()
    }

    fn author() -> Author {
        Author {
            user: "ada".into(),
            host: "elsewhere".into(),
            now: now(),
        }
    }

    fn take(repository: &Repository, mode: Mode) -> Result<Lock> {
        Lock::take(repository, mode, Duration::ZERO, &author())
    }

    fn count(repository: &Repository) -> usize {
        repository.list(FileKind::Lock).unwrap().len()
    }

    fn aged(minutes: i64) -> LockFile {
        let mut file = own(Mode::Exclusive, &author());
        file.time = Time::utc(Timestamp::now() - SignedDuration::from_mins(minutes));
        file
    }

    #[test]
    fn a_lock_without_a_valid_process_id_is_not_dead() {
        let mut file = own(Mode::Shared, &author());
        let node = rustix::system::uname();
        file.hostname = node.nodename().to_str().unwrap().to_owned();
        for pid in [0, -1, -33_334, i32::MIN] {
            file.pid = pid;
            assert!(!is_dead(&file), "{pid}");
        }
        file.pid = i32::MAX;
        assert!(is_dead(&file));
    }

    #[test]
    fn many_may_add_and_only_one_may_remove() {
        let repository = repository();
        let first = take(&repository, Mode::Shared).unwrap();
        let second = take(&repository, Mode::Shared).unwrap();
        let refused = take(&repository, Mode::Exclusive).unwrap_err();
        assert!(
            matches!(&refused, Error::Locked { lock, .. } if lock.username == "ada"),
            "{refused}"
        );
        assert_eq!(count(&repository), 2);
        drop((first, second));
        let alone = take(&repository, Mode::Exclusive).unwrap();
        assert!(take(&repository, Mode::Shared).is_err());
        assert!(take(&repository, Mode::Exclusive).is_err());
        assert_eq!(count(&repository), 1);
        drop(alone);
        assert_eq!(count(&repository), 0);
    }

    #[test]
    fn waiting_gets_the_lock_once_it_is_free() {
        let repository = repository();
        let first = take(&repository, Mode::Exclusive).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                Lock::take(
                    &repository,
                    Mode::Exclusive,
                    Duration::from_mins(1),
                    &author(),
                )
            });
            drop(first);
            waiting.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_stale_lock_blocks_nobody_and_is_removed() {
        let repository = repository();
        write(&repository, &aged(31)).unwrap();
        drop(take(&repository, Mode::Exclusive).unwrap());
        assert_eq!(count(&repository), 0);
        write(&repository, &aged(29)).unwrap();
        assert!(take(&repository, Mode::Shared).is_err());
        assert!(unlock(&repository, false).unwrap().is_empty());
        assert_eq!(unlock(&repository, true).unwrap().len(), 1);
    }

    #[test]
    fn a_dead_process_of_this_host_holds_nothing() {
        let node = rustix::system::uname();
        let mut file = aged(0);
        file.hostname = node.nodename().to_str().unwrap().to_owned();
        assert!(!is_dead(&file));
        // A number above any that the kernel assigns.
        file.pid = 1 << 23;
        assert!(is_dead(&file));
        file.hostname.push('x');
        assert!(!is_dead(&file));
    }

    #[test]
    fn a_wrong_clock_does_not_make_a_live_lock_stale() {
        let now = Timestamp::now();
        let minutes = |minutes| Some(SignedDuration::from_mins(minutes));
        assert!(is_stale(Some(&aged(40)), now, None));
        assert!(is_stale(Some(&aged(40)), now, minutes(35)));
        // It was stored five minutes ago, whatever the clocks of its holder and this host say.
        assert!(!is_stale(Some(&aged(40)), now, minutes(5)));
        assert!(!is_stale(Some(&aged(-40)), now, minutes(45)));
        // A lock that cannot be read.
        assert!(is_stale(None, now, minutes(31)));
        assert!(!is_stale(None, now, minutes(29)));
        assert!(!is_stale(None, now, None));
    }

    #[test]
    fn stopped_work_neither_reads_nor_writes_and_leaves_no_lock() {
        let repository = repository();
        let id = repository.write_document(FileKind::Index, b"{}").unwrap();
        let lock = take(&repository, Mode::Shared).unwrap();
        repository.stop_when(|| true);
        let written = repository.write_document(FileKind::Index, b"{ }");
        assert!(matches!(written, Err(Error::Stopped)), "{written:?}");
        let read = repository.index_file(&id);
        assert!(matches!(read, Err(Error::Stopped)), "{read:?}");
        drop(lock);
        assert_eq!(count(&repository), 0);
    }

    #[test]
    fn stopped_work_does_not_wait_for_a_lock() {
        let store = Arc::new(MemoryStore::new());
        let repository = Repository::create(store.clone(), "", b"x", &author()).unwrap();
        let held = take(&repository, Mode::Exclusive).unwrap();
        static STOP: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        let other = Repository::open(store, "", b"x").unwrap();
        other.stop_when(|| STOP.load(Ordering::Relaxed));
        let waiting = std::thread::spawn(move || {
            let by = author();
            Lock::take(&other, Mode::Shared, Duration::from_secs(600), &by).map(drop)
        });
        STOP.store(true, Ordering::Relaxed);
        let ended = waiting.join().unwrap();
        assert!(matches!(ended, Err(Error::Stopped)), "{ended:?}");
        drop(held);
        assert_eq!(count(&repository), 0);
    }

    #[test]
    fn a_lock_that_could_not_be_refreshed_stops_all_writing() {
        let repository = repository();
        let lock = take(&repository, Mode::Shared).unwrap();
        repository.hold().until.store(1, Ordering::Relaxed);
        let written = repository.write_document(FileKind::Index, b"{}");
        assert!(matches!(written, Err(Error::LockLost)), "{written:?}");
        drop(lock);
        repository.write_document(FileKind::Index, b"{}").unwrap();
    }
}
