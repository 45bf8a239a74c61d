//! The directories of the store: lists their entries, makes and removes them, and gives a finished
//! file its name.

use super::Inner;
use super::incoming;
use super::session::{Fail, Session};
use super::wire::{Entry, FileKind, Reply, kind, open, status};
use crate::key::INCOMING;
use crate::listed::{LISTED_MAX, check_listed};
use crate::{ObjectInfo, StoreError};
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

/// The longest key. Nothing deeper can be an object.
const KEY_BYTES_MAX: usize = 1024;

/// The directories that are read at a time.
const LISTERS: usize = 8;

/// The number of attempts to place an object whose directory a deletion has just removed.
const PLACE_ATTEMPTS: usize = 16;

/// The keys of the directories above `key`, from the top.
fn parents(key: &str) -> impl Iterator<Item = &str> {
    key.match_indices('/').filter_map(|(at, _)| key.get(..at))
}

/// The entries of a directory; none if it does not exist.
fn read_directory(session: &Session, path: &str) -> Result<Vec<Entry>, Fail> {
    let handle = match session.start(kind::OPENDIR, |b| b.string(path)) {
        Ok(ticket) => match session.handle(&ticket) {
            Err(fail) if fail.is(status::NO_SUCH_FILE) => return Ok(Vec::new()),
            other => other?,
        },
        Err(fail) => return Err(fail),
    };
    let mut entries = Vec::new();
    let ended = loop {
        match session.call(kind::READDIR, |b| b.string(&handle)) {
            Ok(Reply::Names(_)) if entries.len() > LISTED_MAX => {
                break Err(Fail::Status {
                    code: status::FAILURE,
                    message: format!("{path} has more than {LISTED_MAX} entries"),
                });
            }
            Ok(Reply::Names(mut more)) if !more.is_empty() => entries.append(&mut more),
            Ok(_) => break Ok(entries),
            Err(fail) if fail.is(status::EOF) => break Ok(entries),
            Err(fail) => break Err(fail),
        }
    };
    session.close(&handle);
    ended
}

/// Lists every object whose key starts with `prefix`, in no particular order.
pub(super) fn list(inner: &Inner, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
    let base = prefix
        .rfind('/')
        .map_or("", |at| prefix.get(..at).unwrap_or_default());
    let odd = |part: &str| matches!(part, "" | "." | "..");
    // No key has such a component, nor begins in the incoming directory.
    let no_key = prefix.contains('/') && base.split('/').any(odd);
    if no_key || base.split('/').next() == Some(INCOMING) {
        return Ok(Vec::new());
    }
    // A file in place of the prefix's directory holds no objects.
    if !base.is_empty() && inner.look(base)?.map(|a| a.kind()) != Some(FileKind::Directory) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let mut level = vec![base.to_owned()];
    // A key has at most 512 components, so this ends.
    while !level.is_empty() {
        level = list_level(inner, prefix, &level, &mut found)?;
        check_listed(found.len() + level.len(), || inner.location())?;
    }
    Ok(found)
}

/// Reads the directories of one level, a few at a time, and returns those of the next level.
fn list_level(
    inner: &Inner,
    prefix: &str,
    level: &[String],
    found: &mut Vec<ObjectInfo>,
) -> Result<Vec<String>, StoreError> {
    let todo = Mutex::new(level.iter());
    let next = || todo.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || -> Result<(Vec<ObjectInfo>, Vec<String>), StoreError> {
        let (mut objects, mut directories) = (Vec::new(), Vec::new());
        while let Some(base) = next() {
            let path = inner.path(base);
            let entries = inner.with(base, |s| read_directory(s, &path))?;
            for entry in entries {
                sort_out(inner, prefix, base, entry, &mut objects, &mut directories)?;
            }
        }
        Ok((objects, directories))
    };
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..LISTERS.min(level.len()))
            .map_while(|_| Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut results = vec![work()];
        results.extend(threads.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| {
                Err(StoreError::Other {
                    location: inner.location(),
                    detail: "a thread that listed it died".to_owned(),
                })
            })
        }));
        results
    });
    let mut deeper = Vec::new();
    for result in results {
        let (mut objects, mut directories) = result?;
        found.append(&mut objects);
        deeper.append(&mut directories);
    }
    Ok(deeper)
}

fn sort_out(
    inner: &Inner,
    prefix: &str,
    base: &str,
    entry: Entry,
    objects: &mut Vec<ObjectInfo>,
    directories: &mut Vec<String>,
) -> Result<(), StoreError> {
    // A file whose name is not UTF-8, or impossible, was not put here by this store.
    let Ok(name) = String::from_utf8(entry.name) else {
        return Ok(());
    };
    let reserved = base.is_empty() && matches!(name.as_str(), INCOMING | "lost+found");
    if matches!(name.as_str(), "" | "." | "..") || name.contains('/') || reserved {
        return Ok(());
    }
    let key = match base {
        "" => name,
        base => format!("{base}/{name}"),
    };
    let leads_on = key.starts_with(prefix) || prefix.starts_with(&format!("{key}/"));
    if key.len() > KEY_BYTES_MAX || !leads_on {
        return Ok(());
    }
    let mut attributes = entry.attributes;
    if attributes.mode.is_none() || attributes.bytes.is_none() {
        match inner.look(&key)? {
            Some(found) => attributes = found,
            None => return Ok(()),
        }
    }
    match attributes.kind() {
        FileKind::Regular if key.starts_with(prefix) => objects.push(ObjectInfo {
            bytes: attributes.size(),
            modified: attributes.modified_at(),
            version: None,
            key,
        }),
        FileKind::Directory => directories.push(key),
        // Links and devices are not objects.
        _ => {}
    }
    Ok(())
}

impl Inner {
    pub(super) fn already_exists(&self, key: &str) -> StoreError {
        StoreError::AlreadyExists {
            location: self.location(),
            key: key.to_owned(),
        }
    }

    fn both(&self, key: &str) -> StoreError {
        StoreError::Other {
            location: self.location(),
            detail: format!(
                "{key:?} would be both a file and a directory: one object's key is the beginning of another's"
            ),
        }
    }

    /// Removes an object, and the directories above it that are then empty.
    pub(super) fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.look(key)?.map(|found| found.kind()) {
            // A directory is not an object, so there is nothing to delete.
            None | Some(FileKind::Directory) => return Ok(()),
            Some(_) => {}
        }
        let path = self.path(key);
        match self.repeat(|s| s.order(kind::REMOVE, |b| b.string(&path))) {
            Err(fail) if !fail.is(status::NO_SUCH_FILE) => return Err(self.error(key, fail)),
            _ => {}
        }
        let above: Vec<_> = parents(key).collect();
        for directory in above.into_iter().rev() {
            let path = self.path(directory);
            // The first directory that is not empty ends it.
            let removed = self.repeat(|s| s.order(kind::RMDIR, |b| b.string(&path)));
            if removed.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Makes the missing directories above `key`.
    pub(super) fn make_parents(&self, key: &str) -> Result<(), StoreError> {
        let made = self.with(key, |session| {
            let tickets: Vec<_> = parents(key)
                .map(|directory| {
                    let path = self.path(directory);
                    session.start(kind::MKDIR, |b| b.string(path).mode(0o700))
                })
                .collect::<Result<_, _>>()?;
            let mut made = Vec::new();
            for ticket in &tickets {
                made.push(match session.done(ticket) {
                    Err(Fail::Cut(cut)) => return Err(Fail::Cut(cut)),
                    other => other,
                });
            }
            Ok(made)
        })?;
        // Most exist already, which the protocol reports as a general failure.
        for (directory, made) in parents(key).zip(made) {
            let Err(fail) = made else { continue };
            match self.look(directory)?.map(|found| found.kind()) {
                Some(FileKind::Directory | FileKind::Symlink) => {}
                Some(_) => return Err(self.both(key)),
                // A deletion removed it again; the caller tries once more.
                None if fail.is(status::NO_SUCH_FILE) => return Ok(()),
                None => return Err(self.error(key, fail)),
            }
        }
        Ok(())
    }

    /// Asks the server to sync the directory entries above `key` to its disk, as far as it can. It
    /// syncs all of them, each time: an entry that existed already may have been made a moment ago
    /// by a writer that has not synced it yet.
    pub(super) fn sync_parents(&self, key: &str) {
        let sync = |session: &Session| -> Result<(), Fail> {
            if !session.can.sync {
                return Ok(());
            }
            let mut paths = vec![self.path("")];
            match key {
                // The store's directory is itself an entry of its parent.
                "" => {
                    paths = paths
                        .iter()
                        .filter_map(|p| Some(p.rsplit_once('/')?.0.to_owned() + "/"))
                        .collect()
                }
                key => paths.extend(parents(key).map(|directory| self.path(directory))),
            }
            let opening = paths
                .iter()
                .map(|path| {
                    session.start(kind::OPEN, |b| {
                        b.string(path).u32(open::READ).no_attributes()
                    })
                })
                .collect::<Result<Vec<_>, _>>()?;
            // Some servers cannot open directories; then nothing more can be done.
            let handles: Vec<_> = opening
                .iter()
                .filter_map(|t| session.handle(t).ok())
                .collect();
            let mut syncing = Vec::new();
            for handle in &handles {
                syncing.extend(session.start_sync(handle)?);
                session.close(handle);
            }
            for ticket in &syncing {
                if let Err(Fail::Cut(cut)) = session.done(ticket) {
                    return Err(Fail::Cut(cut));
                }
            }
            Ok(())
        };
        let _ = self.repeat(sync);
    }

    /// Renames the finished file at `from` to `key`; then both are on the disk.
    pub(super) fn place(
        &self,
        from: &str,
        key: &str,
        bytes: u64,
        if_absent: bool,
    ) -> Result<(), StoreError> {
        let to = self.path(key);
        let mut attempt = 0;
        for _ in 0..PLACE_ATTEMPTS {
            let renamed = self
                .session()
                .and_then(|session| rename(&session, from, &to, if_absent));
            let fail = match renamed {
                Ok(()) => {
                    self.sync_parents(key);
                    return Ok(());
                }
                Err(fail) => fail,
            };
            if let Fail::Cut(_) = fail {
                self.before_retry(fail, &mut attempt)
                    .map_err(|fail| self.error(key, fail))?;
                // The rename may have been carried out, and only its answer lost.
                let gone = self
                    .with(key, |s| s.attributes(kind::LSTAT, from))?
                    .is_none();
                if gone && self.object(key)?.is_some_and(|found| found.size() == bytes) {
                    self.sync_parents(key);
                    return Ok(());
                }
                continue;
            }
            match self.look(key)?.map(|found| found.kind()) {
                Some(FileKind::Directory) => return Err(self.both(key)),
                Some(_) if if_absent => return Err(self.already_exists(key)),
                None if fail.is(status::NO_SUCH_FILE) => self.make_parents(key)?,
                _ => return Err(self.error(key, fail)),
            }
        }
        Err(StoreError::Other {
            location: self.location(),
            detail: format!("{key:?} cannot be given its name: its directory goes away each time"),
        })
    }

    /// Removes unfinished objects whose writers are gone. `now` is the server's time. If that is
    /// not permitted, the store can still be used.
    pub(super) fn sweep(&self, session: &Session, now: Option<u32>) {
        let directory = self.path(INCOMING);
        let Ok(entries) = read_directory(session, &directory) else {
            return;
        };
        for entry in entries {
            let Ok(name) = String::from_utf8(entry.name) else {
                continue;
            };
            let age = match (now, entry.attributes.modified) {
                (Some(now), Some(modified)) => now.saturating_sub(modified),
                _ => 0,
            };
            let file = entry.attributes.kind() == FileKind::Regular;
            if file && !name.contains('/') && incoming::is_left_over(&name, age) {
                let _ = session.order(kind::REMOVE, |b| b.string(format!("{directory}/{name}")));
            }
        }
    }
}

fn rename(session: &Session, from: &str, to: &str, if_absent: bool) -> Result<(), Fail> {
    let plain = || session.order(kind::RENAME, |b| b.string(from).string(to));
    match (if_absent, session.can.posix_rename) {
        // It fails if the name exists.
        (true, _) => plain(),
        (false, true) => session.order(kind::EXTENDED, |b| {
            b.string("posix-rename@openssh.com").string(from).string(to)
        }),
        (false, false) => match plain() {
            Err(fail) if fail.is(status::FAILURE) => {
                session.order(kind::REMOVE, |b| b.string(to))?;
                plain()
            }
            other => other,
        },
    }
}
