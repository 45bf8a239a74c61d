//! A store in a directory on another host, over SFTP.
//!
//! Guarantees: an object appears under its key in one step and complete. If the server supports
//! `fsync@openssh.com`, the object's bytes are on the server's disk before that, and its name is
//! when `put` returns. A broken connection is opened again a few times; an upload resumes after
//! what is on the disk, and a download where the reader is. Every wait is bounded, and so is
//! memory. It does not guarantee `if_absent` against racing writers on servers whose renaming is
//! not exclusive (OpenSSH's is), nor that a replaced object exists at every moment on servers
//! without `posix-rename@openssh.com`. Symbolic links on the server are its owner's business. It
//! cannot hold both `a` and `a/b`.

mod download;
mod incoming;
mod link;
mod session;
mod tree;
mod upload;
mod wire;

pub use link::{Connect, Link, LinkError, Pipes};

use crate::ending::{Ending, interrupted};
use crate::health::{Health, Patience};
use crate::key::check_file_key;
use crate::memory::beyond;
use crate::probe::{jittered, probe};
use crate::read::Exact;
use crate::{ObjectInfo, PutOptions, Receipt, Store, StoreError};
use session::{Cut, Fail, Session};
use std::fmt;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use wire::{Attributes, FileKind, Parser, Reply, kind, status};

/// The most attempts to open a broken connection again, and the delays between them.
const RECONNECTS_MAX: u32 = 6;
const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(250);
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(8);

/// The concurrent requests of one upload or download.
const IN_FLIGHT: usize = 32;

/// The location of the directory, and how to use it.
#[derive(Debug, Clone)]
pub struct SftpOptions {
    /// The location for people: `sftp://user@host:port/path`.
    pub location: String,
    /// The absolute path of the directory on the server.
    pub path: String,
    /// Make the directory if it is missing; its parent must exist.
    pub create: bool,
    /// The time for which a server may be silent before it is given up.
    pub stall: Duration,
    /// Ends the waits for this store.
    pub ending: Ending,
}

/// A store of objects as files below a directory on another host.
pub struct SftpStore {
    inner: Arc<Inner>,
}

/// The state that uploads and downloads share.
struct Inner {
    options: SftpOptions,
    connector: Box<dyn Connect>,
    session: Mutex<Option<Arc<Session>>>,
    /// True once the server has answered.
    reached: AtomicBool,
    /// True once the directory was seen or made.
    rooted: AtomicBool,
    /// True once the leftovers of interrupted writers were removed.
    swept: AtomicBool,
    health: Mutex<Health>,
}

impl SftpStore {
    /// Prepares a client. Nothing is sent, so a wrong host or key shows at the first use;
    /// [`Store::probe`] is such a use.
    pub fn open(connector: Box<dyn Connect>, options: SftpOptions) -> Self {
        let patience = Patience {
            stall: options.stall,
        };
        SftpStore {
            inner: Arc::new(Inner {
                health: Mutex::new(Health::new(patience)),
                options,
                connector,
                session: Mutex::default(),
                reached: AtomicBool::default(),
                rooted: AtomicBool::default(),
                swept: AtomicBool::default(),
            }),
        }
    }
}

impl Inner {
    fn location(&self) -> String {
        self.options.location.clone()
    }

    /// The path of a key; for an empty key, that of the directory itself.
    fn path(&self, key: &str) -> String {
        let root = self.options.path.trim_end_matches('/');
        match key {
            "" if root.is_empty() => "/".to_owned(),
            "" => root.to_owned(),
            key => format!("{root}/{key}"),
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the open connection, or opens a new one.
    fn session(&self) -> Result<Arc<Session>, Fail> {
        let mut current = self.current();
        if let Some(session) = current.as_ref().filter(|session| session.is_open()) {
            return Ok(Arc::clone(session));
        }
        *current = None;
        if self.options.ending.work().is_over() {
            return Err(Fail::Cut(Cut::Over));
        }
        if self.health().is_given_up(Instant::now()) {
            return Err(Fail::Cut(Cut::Stalled(self.options.stall)));
        }
        let opened = Session::open(
            &*self.connector,
            self.options.stall,
            self.options.ending.clone(),
        );
        let session = Arc::new(opened.map_err(Fail::Cut)?);
        self.reached.store(true, Ordering::Relaxed);
        *current = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Records that the server carried out a request.
    fn did(&self) {
        self.health().answered();
    }

    /// Waits before the next attempt, or returns the failure if there should be none. `attempt`
    /// counts the failed attempts.
    fn before_retry(&self, fail: Fail, attempt: &mut u32) -> Result<(), Fail> {
        // A server that was never reached gets one more attempt.
        let most = match self.reached.load(Ordering::Relaxed) {
            true => RECONNECTS_MAX,
            false => 1,
        };
        let now = Instant::now();
        let in_time = match &fail {
            Fail::Cut(Cut::Stalled(waited)) if !self.health().is_given_up(now) => {
                self.health().was_silent(now, *waited)
            }
            Fail::Cut(Cut::Link(_)) => self.health().failed(now),
            _ => false,
        };
        match &fail {
            Fail::Cut(cut) if in_time && cut.may_pass() && *attempt < most => {}
            _ => return Err(fail),
        }
        let delay = RECONNECT_DELAY_MIN.saturating_mul(1 << (*attempt).min(16));
        // Keeps the last pause from dominating the total.
        let delay_max = RECONNECT_DELAY_MAX.min(self.options.stall / 4);
        *attempt += 1;
        let pause = delay.min(delay_max.max(RECONNECT_DELAY_MIN));
        self.options.ending.work().sleep(jittered(pause));
        Ok(())
    }

    /// Does something that may be done twice, and repeats it when the connection breaks.
    fn repeat<T>(&self, mut work: impl FnMut(&Session) -> Result<T, Fail>) -> Result<T, Fail> {
        let mut attempt = 0;
        loop {
            match self.session().and_then(|session| work(&session)) {
                Err(fail) => self.before_retry(fail, &mut attempt)?,
                Ok(done) => {
                    self.did();
                    return Ok(done);
                }
            }
        }
    }

    /// Does the same, and converts a failure to an error about `key`.
    fn with<T>(
        &self,
        key: &str,
        work: impl FnMut(&Session) -> Result<T, Fail>,
    ) -> Result<T, StoreError> {
        self.repeat(work).map_err(|fail| self.error(key, fail))
    }

    /// Fails unless the directory exists; it is made if the options say so.
    fn root(&self) -> Result<(), StoreError> {
        if self.rooted.load(Ordering::Relaxed) {
            return Ok(());
        }
        let missing = |detail: &str| StoreError::Missing {
            location: self.location(),
            detail: detail.to_owned(),
        };
        let path = self.path("");
        let mut found = self.with("", |s| s.attributes(kind::STAT, &path))?;
        if found.is_none() && self.options.create {
            let made = self.repeat(|s| s.order(kind::MKDIR, |b| b.string(&path).mode(0o700)));
            match made {
                Err(fail) if fail.is(status::NO_SUCH_FILE) => {
                    return Err(missing(
                        "its parent directory does not exist there; is the disk mounted?",
                    ));
                }
                // Another process may have made it first.
                Err(fail) if !fail.is(status::FAILURE) => return Err(self.error("", fail)),
                _ => {}
            }
            found = self.with("", |s| s.attributes(kind::STAT, &path))?;
            self.sync_parents("");
        }
        match found.map(|found| found.kind()) {
            Some(FileKind::Directory) => {
                self.rooted.store(true, Ordering::Relaxed);
                Ok(())
            }
            Some(_) => Err(missing("it is not a directory")),
            None => Err(missing("there is no such directory")),
        }
    }

    /// Returns what the server reports about an object's file, without following links.
    fn look(&self, key: &str) -> Result<Option<Attributes>, StoreError> {
        let path = self.path(key);
        self.with(key, |s| s.attributes(kind::LSTAT, &path))
    }

    /// Returns the same about an object. Anything but a regular file counts as missing, but a link
    /// is an error.
    fn object(&self, key: &str) -> Result<Option<Attributes>, StoreError> {
        let found = self.look(key)?;
        match found.map(|found| found.kind()) {
            Some(FileKind::Regular) => Ok(found),
            Some(FileKind::Symlink) => Err(StoreError::Denied {
                location: self.location(),
                key: key.to_owned(),
                detail: "a symbolic link stands in its way, and none is followed".to_owned(),
            }),
            _ => Ok(None),
        }
    }

    fn error(&self, key: &str, fail: Fail) -> StoreError {
        let location = self.location();
        let (code, message) = match fail {
            Fail::Cut(Cut::Link(link)) => {
                return StoreError::Link {
                    location,
                    reason: link.reason,
                };
            }
            Fail::Cut(Cut::Stalled(patience)) => {
                let seconds = patience.as_secs_f64();
                return StoreError::Unreachable {
                    location,
                    detail: format!(
                        "the connection is open, and it gave no answer for {seconds} s"
                    ),
                };
            }
            Fail::Cut(Cut::Over) => return interrupted(&location),
            Fail::Cut(Cut::Garbage(detail)) => return StoreError::Other { location, detail },
            Fail::Status { code, message } => (code, message),
        };
        match code {
            status::NO_SUCH_FILE => StoreError::NotFound {
                location,
                key: key.to_owned(),
            },
            status::PERMISSION_DENIED => StoreError::Denied {
                location,
                key: key.to_owned(),
                detail: message,
            },
            status::FAILURE => self.diagnose(key, message),
            status::BAD_MESSAGE | status::OP_UNSUPPORTED => StoreError::Other {
                location,
                detail: format!("{key:?}: it cannot do what was asked ({message})"),
            },
            code => StoreError::Other {
                location,
                detail: format!("{key:?}: it says {message:?} (status {code})"),
            },
        }
    }

    /// Finds the likely cause of `Failure`, which is all that the protocol has for a full disk and
    /// a read-only one.
    fn diagnose(&self, key: &str, message: String) -> StoreError {
        let location = self.location();
        match self.space() {
            Some(space) if space.read_only => StoreError::ReadOnly {
                location,
                detail: "its file system is mounted read-only".to_owned(),
            },
            Some(space) if space.free < FREE_MIN || space.no_more_files => StoreError::Full {
                location,
                detail: format!("{} bytes are free there", space.free),
            },
            _ => StoreError::Other {
                location,
                detail: format!(
                    "{key:?}: it says {message:?} and no more; a quota, or a limit of file sizes there, would look like this"
                ),
            },
        }
    }

    fn space(&self) -> Option<Space> {
        let session = self.session().ok().filter(|s| s.can.statvfs)?;
        let path = self.path("");
        let answer = session.call(kind::EXTENDED, |b| {
            b.string("statvfs@openssh.com").string(&path)
        });
        let Ok(Reply::Extended(bytes)) = answer else {
            return None;
        };
        let mut numbers = Parser::new(&bytes);
        let mut next = || numbers.u64().ok();
        let (_, fragment, _, _, available) = (next()?, next()?, next()?, next()?, next()?);
        let (files, _, files_available) = (next()?, next()?, next()?);
        let (_, flags) = (next()?, next()?);
        Some(Space {
            free: fragment.saturating_mul(available),
            no_more_files: files > 0 && files_available == 0,
            read_only: flags & 1 != 0,
        })
    }
}

/// The free bytes below which a failed write is blamed on lack of space.
const FREE_MIN: u64 = 1 << 20;

/// The free space of a file system.
struct Space {
    free: u64,
    no_more_files: bool,
    read_only: bool,
}

impl Store for SftpStore {
    fn free_bytes(&self) -> Option<u64> {
        self.inner.space().map(|space| space.free)
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn put(
        &self,
        key: &str,
        body: &mut (dyn Read + Send),
        options: &PutOptions,
    ) -> Result<Receipt, StoreError> {
        check_file_key(key)?;
        self.inner.root()?;
        // Checked before the body is read, and once more when the file takes its name.
        if options.if_absent && self.inner.object(key)?.is_some() {
            return Err(self.inner.already_exists(key));
        }
        upload::put(&self.inner, key, body, options.if_absent)
    }

    fn open(&self, key: &str, offset: u64) -> Result<Box<dyn Read + Send>, StoreError> {
        check_file_key(key)?;
        self.inner.root()?;
        let location = self.inner.location();
        let Some(found) = self.inner.object(key)? else {
            return Err(StoreError::NotFound {
                location,
                key: key.to_owned(),
            });
        };
        let bytes = found.size();
        if offset > bytes {
            return Err(beyond(&location, key, offset, bytes));
        }
        if offset == bytes {
            return Ok(Box::new(std::io::empty()));
        }
        let reader = download::start(&self.inner, key, offset, found)?;
        let what = format!("{key:?} in {location}");
        Ok(Box::new(Exact::new(reader, bytes - offset, what)))
    }

    fn stat(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        check_file_key(key)?;
        self.inner.root()?;
        Ok(self.inner.object(key)?.map(|found| ObjectInfo {
            key: key.to_owned(),
            bytes: found.size(),
            modified: found.modified_at(),
            version: None,
        }))
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.inner.root()?;
        let mut found = tree::list(&self.inner, prefix)?;
        found.sort_by(|a, b| a.key.as_bytes().cmp(b.key.as_bytes()));
        Ok(found)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        check_file_key(key)?;
        self.inner.root()?;
        self.inner.delete(key)
    }

    fn probe(&self) -> Result<(), StoreError> {
        probe(self)
    }
}

impl fmt::Debug for SftpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SftpStore")
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}
