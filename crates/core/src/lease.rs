//! Reserves a plan across hosts with a small object in a store that names the run.
//!
//! A lock file of this host (see [`Context::lock`]) does not reach a second runner, nor one whose
//! state directory is thrown away. The lease does. It is created only where there is none,
//! refreshed during the run, and marked as released at the end (never deleted, so that a store that
//! forbids deletion works, too). A lease is taken over when its process on this host is gone, when
//! it was not refreshed for [`EXPIRES_SECONDS`], or when a wrong clock dated it that far in the
//! future. A lease is advisory: points are protected because keys are never overwritten.

use crate::context::Context;
use crate::copies::{put_bytes, read_optional};
use crate::document::to_json;
use crate::error::{Code, Error, Result};
use crate::process::ProcessName;
use crate::stores::OpenStore;
use crossbeam_channel::{Sender, bounded};
use jiff::Timestamp;
use lifeboat_store::StoreError;
use serde::{Deserialize, Serialize};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time after its last refresh at which a lease expires.
pub const EXPIRES_SECONDS: i64 = 300;
const REFRESH_EVERY: Duration = Duration::from_secs(60);

/// Content of the lease object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    schema: u32,
    host: String,
    process: ProcessName,
    begun: Timestamp,
    refreshed: Timestamp,
    released: bool,
}

/// A lease that this run holds. Dropping it releases it.
pub struct Lease {
    stop: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

/// Takes the lease of a plan in `store`, or of what else is reserved by a name. Fails with
/// [`Code::Busy`] when another run holds it: `work` says what that does, as in "backup of plan
/// daily".
pub fn take(context: &Context, store: &OpenStore, plan: &str, work: &str) -> Result<Lease> {
    let key = key(context, plan);
    let now = context.clock.now();
    let mut note = Note {
        schema: 1,
        host: crate::host::host(),
        process: ProcessName::this()?,
        begun: now,
        refreshed: now,
        released: false,
    };
    match put_bytes(store, &key, &to_json(&note)?, true) {
        Ok(()) => {}
        Err(StoreError::AlreadyExists { .. }) => {
            let held = read_optional(store, &key)?;
            let held: Option<Note> = held.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            if let Some(held) = held.filter(|held| held.holds(&note)) {
                return Err(busy(work, &store.name, &held));
            }
            put_bytes(store, &key, &to_json(&note)?, false)?;
        }
        Err(error) => return Err(error.into()),
    }
    let (stop, stopped) = bounded(0);
    let (store, clock) = (store.clone(), context.clock.clone());
    let keeper = crate::thread::start(move || {
        // A failed refresh is no reason to end a run: at worst, another run takes the lease over.
        while let Err(crossbeam_channel::RecvTimeoutError::Timeout) =
            stopped.recv_timeout(REFRESH_EVERY)
        {
            note.refreshed = clock.now();
            let _ = to_json(&note).map(|bytes| put_bytes(&store, &key, &bytes, false));
        }
        note.refreshed = clock.now();
        note.released = true;
        let _ = to_json(&note).map(|bytes| put_bytes(&store, &key, &bytes, false));
    })?;
    Ok(Lease {
        stop: Some(stop),
        keeper: Some(keeper),
    })
}

/// Returns whether a run on any host seems to hold the lease of a plan in `store`. What cannot be
/// read is held by nobody.
pub(crate) fn is_held(context: &Context, store: &OpenStore, plan: &str) -> bool {
    let held = read_optional(store, &key(context, plan)).ok().flatten();
    let held: Option<Note> = held.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let now = context.clock.now();
    let other = ProcessName::this().map(|process| Note {
        schema: 1,
        host: crate::host::host(),
        process,
        begun: now,
        refreshed: now,
        released: false,
    });
    matches!((held, other), (Some(held), Ok(other)) if held.holds(&other))
}

/// Key of the lease of a plan, or of what else is reserved by a name.
pub(crate) fn key(context: &Context, plan: &str) -> String {
    let app = &context.config.app;
    format!(
        "lifeboat/locks/{}-{}-{plan}.json",
        app.name, app.environment
    )
}

fn busy(work: &str, store: &str, held: &Note) -> Error {
    Error::new(Code::Busy, format!("another {work} is running on host {}", held.host))
        .cause(format!("it was begun at {} and last seen at {} in store {store}", held.begun, held.refreshed))
        .hint(format!("wait until it has ended; if that host is dead, this is free {EXPIRES_SECONDS} seconds after it was last seen"))
}

impl Note {
    /// Returns whether this lease still excludes `other`.
    fn holds(&self, other: &Note) -> bool {
        let apart = other.refreshed.as_second() - self.refreshed.as_second();
        let fresh = apart.abs() < EXPIRES_SECONDS;
        let here = self.host == other.host && self.process.same_boot(&other.process);
        !self.released && fresh && (!here || self.process.is_alive())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(refreshed: &str, process: ProcessName) -> Note {
        let refreshed: Timestamp = refreshed.parse().unwrap();
        Note {
            schema: 1,
            host: "a".into(),
            process,
            begun: refreshed,
            refreshed,
            released: false,
        }
    }

    #[test]
    fn only_a_fresh_lease_of_a_running_process_excludes_others() {
        let this = ProcessName::this().unwrap();
        let new = note("2026-11-20T06:00:00Z", this.clone());
        let held = note("2026-11-20T05:58:00Z", this.clone());
        assert!(held.holds(&new));
        assert!(
            !note("2026-11-20T05:50:00Z", this.clone()).holds(&new),
            "expired"
        );
        assert!(
            !note("2036-11-20T06:00:00Z", this.clone()).holds(&new),
            "dated by a clock that was wrong"
        );
        assert!(
            !Note {
                released: true,
                ..held.clone()
            }
            .holds(&new),
            "released"
        );
        let gone = ProcessName {
            pid: u32::MAX,
            ..this
        };
        assert!(
            !Note {
                process: gone.clone(),
                ..held.clone()
            }
            .holds(&new),
            "its process is gone"
        );
        let elsewhere = Note {
            host: "b".into(),
            process: gone,
            ..held
        };
        assert!(
            elsewhere.holds(&new),
            "a process of another host cannot be looked at"
        );
    }
}
