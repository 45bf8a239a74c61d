//! A store in a directory of another host, over SFTP.
//!
//! Guarantees: an object appears under its key in one step and whole; where the server knows
//! `fsync@openssh.com`, its bytes are on the server's disk before that, and its name is when `put`
//! returns. A connection that breaks is opened again a few times, and an upload or a download goes
//! on where the disk, or the reader, has everything before it. Every wait is bounded, and so is
//! memory. It does not guarantee `if_absent` against racing writers on servers whose renaming is
//! not exclusive (OpenSSH's is), nor that a replaced object is there at every moment on servers
//! without `posix-rename@openssh.com`, and symbolic links on the server are its owner's business.
//! It cannot hold both `a` and `a/b`.

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

/// How often a connection is opened again when it broke, and how long between.
const RECONNECTS_MAX: u32 = 6;
const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(250);
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(8);

/// Requests of one upload or download that are under way at once.
const IN_FLIGHT: usize = 32;

/// Where the directory is and how to use it.
#[derive(Debug, Clone)]
pub struct SftpOptions {
    /// For people: `sftp://user@host:port/path`.
    pub location: String,
    /// Absolute path of the directory on the server.
    pub path: String,
    /// Make the directory when it is missing; its parent must exist.
    pub create: bool,
    /// A server that says nothing for so long is given up.
    pub stall: Duration,
    /// Ends what waits for it.
    pub ending: Ending,
}

/// Objects as files beneath a directory of another host.
pub struct SftpStore {
    inner: Arc<Inner>,
}

/// What uploads and downloads share.
struct Inner {
    options: SftpOptions,
    connector: Box<dyn Connect>,
    session: Mutex<Option<Arc<Session>>>,
    /// The server answered at least once.
    reached: AtomicBool,
    /// The directory was seen, or made.
    rooted: AtomicBool,
    /// What killed writers left was removed.
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

    /// The path of a key, or of the directory itself.
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

    /// The open connection, or a new one.
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

    /// Notes that the server did what it was asked.
    fn did(&self) {
        self.health().answered();
    }

    /// Waits before the next attempt, or gives the failure back when there should be none.
    /// `attempt` counts those that came to nothing.
    fn before_retry(&self, fail: Fail, attempt: &mut u32) -> Result<(), Fail> {
        // Of a server that was never reached, one more word is enough.
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
        // So that the last pause is not the longest part of the whole.
        let delay_max = RECONNECT_DELAY_MAX.min(self.options.stall / 4);
        *attempt += 1;
        let pause = delay.min(delay_max.max(RECONNECT_DELAY_MIN));
        self.options.ending.work().sleep(jittered(pause));
        Ok(())
    }

    /// Does something that may be done twice, again when the connection breaks.
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

    /// The same, with the error that `key` deserves.
    fn with<T>(
        &self,
        key: &str,
        work: impl FnMut(&Session) -> Result<T, Fail>,
    ) -> Result<T, StoreError> {
        self.repeat(work).map_err(|fail| self.error(key, fail))
    }

    /// An error unless the directory is there; it is made when that was asked.
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
                // Somebody may have been quicker.
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

    /// What the server says of an object's file, links not followed.
    fn look(&self, key: &str) -> Result<Option<Attributes>, StoreError> {
        let path = self.path(key);
        self.with(key, |s| s.attributes(kind::LSTAT, &path))
    }

    /// The same of an object: what is no ordinary file is none, but a link is an error.
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

    /// `Failure` is all that the protocol has for a full disk and a read-only one, so it is asked
    /// what that could be.
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

/// With less than this, in bytes, a write that failed failed for want of space.
const FREE_MIN: u64 = 1 << 20;

/// What a file system has left.
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
        // Known before the body is read, and once more when the file takes its name.
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
