//! The ledger of alarms and the messages that wait, on this host.
//!
//! A step of the ledger and its messages are written in one transaction: a process that is killed has
//! either told all of it or nothing, and the next one decides the same again. A message stays until its
//! channel took it, for [`KEPT_DAYS`] at most. Where the disk takes nothing any more, both go on in
//! memory for as long as the process lives: a full disk is something to be told of.

use super::ledger::{Ledger, Outgoing};
use crate::error::{Code, Error, Result};
use crate::history;
use crate::name::Name;
use crate::notify::{Event, Message};
use crate::sqlite::{self, is_damage};
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, ToSql, TransactionBehavior, params};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Version of the format.
const VERSION: i64 = 1;
/// Time for which a channel must have taken nothing before that is told on others.
pub(super) const CHANNEL_FAILS_SECONDS: i64 = 3600;
/// Days for which it is tried to deliver a message.
pub const KEPT_DAYS: i64 = 3;
/// Messages that wait for one channel at most; beyond, the oldest are given up.
pub(super) const WAITING_MAX: usize = 100;
/// Messages that are remembered after they were delivered or given up.
const REMEMBERED_MAX: usize = 1000;
/// Wait after the first attempt that failed, in seconds; it doubles with each further one.
const WAIT_SECONDS_MIN: i64 = 60;
const WAIT_SECONDS_MAX: i64 = 3600;
/// Longest wait that a channel may ask for, in seconds.
pub(super) const ASKED_SECONDS_MAX: i64 = 6 * 3600;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS ledger (
        app TEXT NOT NULL, environment TEXT NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (app, environment));
    CREATE TABLE IF NOT EXISTS message (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        app TEXT NOT NULL, environment TEXT NOT NULL, channel TEXT NOT NULL, body TEXT NOT NULL,
        created INTEGER NOT NULL, attempts INTEGER NOT NULL, due INTEGER NOT NULL,
        ended INTEGER, error TEXT);
    CREATE INDEX IF NOT EXISTS waiting ON message (due) WHERE ended IS NULL;
    CREATE TABLE IF NOT EXISTS channel (
        app TEXT NOT NULL, environment TEXT NOT NULL, name TEXT NOT NULL,
        failing INTEGER, error TEXT, due INTEGER, sent INTEGER,
        PRIMARY KEY (app, environment, name));";

/// The messages of an application that wait, and their channels: one that did not answer is asked
/// again later, and until then none of its messages overtakes another.
const WAITING: &str = "FROM message m LEFT JOIN channel c
    ON c.app = m.app AND c.environment = m.environment AND c.name = m.channel
    WHERE m.ended IS NULL AND m.app = ?1 AND m.environment = ?2";

/// The alarms of one application, and its messages.
pub struct Outbox {
    app: Name,
    environment: Name,
    path: PathBuf,
    inner: Mutex<Inner>,
}

pub(super) struct Inner {
    pub(super) connection: Connection,
    /// The ledger as it was written last.
    last: Ledger,
    /// True once the file could not be used.
    in_memory: bool,
}

/// A message that waits for its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its place in the order of messages.
    pub sequence: i64,
    /// The channel.
    pub channel: Name,
    /// The message.
    pub message: Message,
    /// Attempts that were made.
    pub attempts: u32,
}

/// How a channel fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelState {
    /// Since when it takes nothing.
    pub failing: Option<Timestamp>,
    /// Why.
    pub error: Option<String>,
    /// When it took a message last.
    pub sent: Option<Timestamp>,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The channel took the message.
    Delivered,
    /// It did not, and may later: after this time, if it said so.
    Later(Option<Duration>, String),
    /// It refused the message as it is.
    Refused(String),
}

impl Outbox {
    /// Opens the alarms of an application in a state directory, or makes them. Damaged ones are put
    /// aside, and where the file cannot be used, they are kept in memory: `warn` is told so.
    pub fn open(state: &Path, app: &Name, environment: &Name, warn: impl Fn(&str)) -> Result<Self> {
        let path = state.join("alarms.db");
        let opened = match connect(&path) {
            Err(error) if is_damage(&error) => begin_anew(&path, &warn),
            opened => opened.map_err(|error| failed(&path, &error)),
        };
        let in_memory = opened.is_err();
        let connection = opened.or_else(|error| {
            warn(&error.with_hint());
            memory().map_err(|error| failed(&path, &error))
        })?;
        let outbox = Outbox {
            app: app.clone(),
            environment: environment.clone(),
            path,
            inner: Mutex::new(Inner {
                connection,
                last: Ledger::default(),
                in_memory,
            }),
        };
        let known = outbox.ledger()?;
        outbox.inner().last = known;
        Ok(outbox)
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the database, in memory if the file takes nothing any more.
    fn run<T>(&self, work: impl Fn(&mut Connection) -> rusqlite::Result<T>) -> Result<T> {
        let mut inner = self.inner();
        let error = match work(&mut inner.connection) {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if inner.in_memory {
            return Err(failed(&self.path, &error));
        }
        let fresh = memory().map_err(|error| failed(&self.path, &error))?;
        self.write_ledger(&fresh, &inner.last)
            .map_err(|error| failed(&self.path, &error))?;
        inner.connection = fresh;
        inner.in_memory = true;
        work(&mut inner.connection).map_err(|error| failed(&self.path, &error))
    }

    fn read_ledger(&self, c: &Connection) -> rusqlite::Result<Ledger> {
        let select = "SELECT body FROM ledger WHERE app = ?1 AND environment = ?2";
        let names = [self.app.as_str(), self.environment.as_str()];
        let body: Option<String> = c.query_row(select, names, |row| row.get(0)).optional()?;
        // One that a newer version wrote differently begins anew.
        Ok(body
            .and_then(|body| serde_json::from_str(&body).ok())
            .unwrap_or_default())
    }

    fn write_ledger(&self, c: &Connection, ledger: &Ledger) -> rusqlite::Result<()> {
        let unfit = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
        let body = serde_json::to_string(ledger).map_err(unfit)?;
        let insert = "INSERT OR REPLACE INTO ledger VALUES (?1, ?2, ?3)";
        let values = params![self.app.as_str(), self.environment.as_str(), body];
        c.execute(insert, values).map(drop)
    }

    /// The ledger.
    pub fn ledger(&self) -> Result<Ledger> {
        self.run(|c| self.read_ledger(c))
    }

    /// Replaces the ledger by the next one, and adds the messages of that step, in one transaction.
    /// `step` may be called more than once. Returns the next ledger.
    pub fn step(
        &self,
        now: Timestamp,
        step: impl Fn(&Ledger) -> (Ledger, Vec<Outgoing>),
    ) -> Result<Ledger> {
        let next = self.run(|c| {
            let transaction = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let ledger = self.read_ledger(&transaction)?;
            let (next, outgoing) = step(&ledger);
            if next != ledger {
                self.write_ledger(&transaction, &next)?;
            }
            for out in &outgoing {
                self.add(&transaction, out, now)?;
            }
            if !outgoing.is_empty() {
                self.trim(&transaction, now)?;
            }
            // What was given up may be told anew.
            let next = self.read_ledger(&transaction)?;
            transaction.commit()?;
            Ok(next)
        })?;
        self.inner().last.clone_from(&next);
        Ok(next)
    }

    fn add(&self, c: &Connection, out: &Outgoing, now: Timestamp) -> rusqlite::Result<()> {
        // A channel that was away hears of an alarm once when it is back, and not of each day.
        if out.message.event == Event::Repeated && self.waits(c, &out.channel, &out.message)? {
            return Ok(());
        }
        let unfit = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
        let body = serde_json::to_string(&out.message).map_err(unfit)?;
        let insert = "INSERT INTO message (app, environment, channel, body, created, attempts, due)
            VALUES (?1, ?2, ?3, ?4, ?5, 0, 0)";
        let (app, environment) = (self.app.as_str(), self.environment.as_str());
        let values = params![
            app,
            environment,
            out.channel.as_str(),
            body,
            now.as_second()
        ];
        c.execute(insert, values).map(drop)
    }

    /// Whether a message about the same alarm waits for the channel.
    fn waits(&self, c: &Connection, channel: &Name, message: &Message) -> rusqlite::Result<bool> {
        let select = "SELECT sequence, channel, body, attempts FROM message
            WHERE ended IS NULL AND app = ?1 AND environment = ?2 AND channel = ?3";
        let (app, environment) = (self.app.as_str(), self.environment.as_str());
        let mut prepared = c.prepare_cached(select)?;
        let rows = prepared.query_map(params![app, environment, channel.as_str()], waiting)?;
        let rows: Vec<Option<Waiting>> = rows.collect::<rusqlite::Result<_>>()?;
        let mut waiting = rows.into_iter().flatten();
        Ok(waiting.any(|waiting| waiting.message.alarm == message.alarm))
    }

    /// Gives up what is too old or too much, and forgets what ended long ago.
    fn trim(&self, c: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        let oldest = now.as_second() - KEPT_DAYS * 86_400;
        self.give_up(
            c,
            now,
            "coalesce(error, 'it was not tried')",
            "(created < ?3 OR sequence NOT IN (SELECT sequence FROM message m
                WHERE m.ended IS NULL AND m.channel = message.channel AND m.app = ?1
                AND m.environment = ?2 ORDER BY sequence DESC LIMIT ?4))",
            &[&oldest, &count(WAITING_MAX)],
        )?;
        c.execute(
            "DELETE FROM message WHERE sequence IN (SELECT sequence FROM message
                WHERE ended IS NOT NULL ORDER BY sequence DESC LIMIT -1 OFFSET ?1)",
            [count(REMEMBERED_MAX)],
        )?;
        Ok(())
    }

    /// Gives up the messages that wait and of which `which` is true, for the reason `why`; both are SQL.
    /// Whoever was to hear of an alarm that is still open is told of it anew.
    fn give_up(
        &self,
        c: &Connection,
        now: Timestamp,
        why: &str,
        which: &str,
        values: &[&dyn ToSql],
    ) -> rusqlite::Result<()> {
        let (app, environment) = (self.app.as_str(), self.environment.as_str());
        let mut all: Vec<&dyn ToSql> = vec![&app, &environment];
        all.extend(values);
        let select = format!(
            "SELECT sequence, channel, body, attempts FROM message
                WHERE ended IS NULL AND app = ?1 AND environment = ?2 AND {which}"
        );
        let rows: Vec<(i64, Option<Waiting>)> = c
            .prepare(&select)?
            .query_map(&*all, |row| Ok((row.get(0)?, waiting(row)?)))?
            .collect::<rusqlite::Result<_>>()?;
        if rows.is_empty() {
            return Ok(());
        }
        let mut ledger = self.read_ledger(c)?;
        let update = format!("UPDATE message SET ended = ?1, error = {why} WHERE sequence = ?2");
        for (sequence, _) in &rows {
            c.execute(&update, params![now.as_second(), sequence])?;
        }
        for waiting in rows.into_iter().filter_map(|(_, waiting)| waiting) {
            // A later one tells it.
            if !self.waits(c, &waiting.channel, &waiting.message)? {
                ledger.untell(&waiting.channel, &waiting.message);
            }
        }
        self.write_ledger(c, &ledger)
    }

    /// The messages that are to be tried now, in their order, by channel.
    pub fn due(&self, now: Timestamp) -> Result<BTreeMap<Name, Vec<Waiting>>> {
        let select = format!(
            "SELECT m.sequence, m.channel, m.body, m.attempts {WAITING}
                AND (max(m.due, coalesce(c.due, 0)) <= ?3
                OR max(m.due, coalesce(c.due, 0)) > ?3 + {ASKED_SECONDS_MAX}) ORDER BY m.sequence"
        );
        let (app, environment) = (self.app.as_str(), self.environment.as_str());
        let rows: Vec<Option<Waiting>> = self.run(|c| {
            let values = params![app, environment, now.as_second()];
            c.prepare_cached(&select)?
                .query_map(values, waiting)?
                .collect()
        })?;
        let mut due: BTreeMap<Name, Vec<Waiting>> = BTreeMap::new();
        for waiting in rows.into_iter().flatten() {
            due.entry(waiting.channel.clone())
                .or_default()
                .push(waiting);
        }
        Ok(due)
    }

    /// When a message is to be tried next; `None` if none waits.
    pub fn next(&self) -> Result<Option<Timestamp>> {
        let select = format!("SELECT min(max(m.due, coalesce(c.due, 0))) {WAITING}");
        let names = [self.app.as_str(), self.environment.as_str()];
        let next: Option<i64> = self.run(|c| c.query_row(&select, names, |row| row.get(0)))?;
        Ok(next.and_then(|at| Timestamp::from_second(at).ok()))
    }

    /// Notes what became of an attempt to deliver a message.
    pub fn note(&self, waiting: &Waiting, attempt: &Attempt, now: Timestamp) -> Result<()> {
        let (app, environment) = (self.app.as_str(), self.environment.as_str());
        let channel = waiting.channel.as_str();
        let at = now.as_second();
        self.run(|c| {
            let transaction = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute(
                "INSERT OR IGNORE INTO channel (app, environment, name) VALUES (?1, ?2, ?3)",
                params![app, environment, channel],
            )?;
            let error = match attempt {
                Attempt::Delivered => None,
                Attempt::Later(_, why) | Attempt::Refused(why) => Some(why.as_str()),
            };
            let due = at.saturating_add(wait(attempt, waiting.attempts));
            let (ended, of_message, of_channel) = match attempt {
                Attempt::Delivered => (Some(at), at, None),
                Attempt::Later(..) => (None, 0, Some(due)),
                Attempt::Refused(_) => (None, due, None),
            };
            transaction.execute(
                "UPDATE message SET ended = ?2, due = ?3, error = ?4, attempts = attempts + 1
                    WHERE sequence = ?1",
                params![waiting.sequence, ended, of_message, error],
            )?;
            let failing = error.map(|_| at);
            transaction.execute(
                "UPDATE channel SET error = ?4, due = ?5, sent = coalesce(?6, sent),
                    failing = CASE WHEN ?4 IS NULL THEN NULL ELSE coalesce(failing, ?7) END
                    WHERE app = ?1 AND environment = ?2 AND name = ?3",
                params![app, environment, channel, error, of_channel, ended, failing],
            )?;
            if *attempt == Attempt::Delivered {
                let mut ledger = self.read_ledger(&transaction)?;
                if ledger.note_delivered(&waiting.channel, &waiting.message, now) {
                    self.write_ledger(&transaction, &ledger)?;
                }
            }
            self.trim(&transaction, now)?;
            transaction.commit()
        })
    }

    /// The messages that wait, in their order.
    pub fn waiting(&self) -> Result<Vec<Waiting>> {
        let all = self.due(Timestamp::MAX)?.into_values().flatten();
        let mut all: Vec<Waiting> = all.collect();
        all.sort_by_key(|waiting| waiting.sequence);
        Ok(all)
    }

    /// Adds messages, but for those that a channel has or had with the same identity.
    pub fn post(&self, messages: &[Outgoing], now: Timestamp) -> Result<()> {
        let known = "SELECT 1 FROM message WHERE app = ?1 AND environment = ?2 AND channel = ?3
            AND json_extract(body, '$.id') = ?4";
        let (app, environment) = (self.app.as_str(), self.environment.as_str());
        self.run(|c| {
            let transaction = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for out in messages {
                let id = out.message.id.as_str();
                let values = params![app, environment, out.channel.as_str(), id];
                if !transaction.prepare_cached(known)?.exists(values)? {
                    self.add(&transaction, out, now)?;
                }
            }
            self.trim(&transaction, now)?;
            transaction.commit()
        })
    }

    /// The newest messages that were decided from one time to another, whatever became of them, at
    /// most so many, the oldest first. One that went to several channels is among them for each.
    pub fn remembered(
        &self,
        from: Timestamp,
        until: Timestamp,
        most: usize,
    ) -> Result<Vec<Message>> {
        let select = "SELECT body FROM message WHERE app = ?1 AND environment = ?2
            AND created >= ?3 AND created < ?4 ORDER BY sequence DESC LIMIT ?5";
        let (app, environment) = (self.app.as_str(), self.environment.as_str());
        let bodies: Vec<String> = self.run(|c| {
            let (from, until) = (from.as_second(), until.as_second());
            let values = params![app, environment, from, until, count(most)];
            c.prepare_cached(select)?
                .query_map(values, |row| row.get(0))?
                .collect()
        })?;
        // What a newer version wrote differently is left out.
        let messages = bodies.iter().rev();
        Ok(messages
            .filter_map(|body| serde_json::from_str(body).ok())
            .collect())
    }

    /// Takes over what another host knew: its ledger, if it is newer than the one here, and the
    /// messages that it could not deliver.
    pub fn learn(&self, ledger: &Ledger, waiting: &[Outgoing], now: Timestamp) -> Result<()> {
        let known = self.waiting()?;
        self.step(now, |own| {
            let next = match own.at < ledger.at {
                true => ledger.clone(),
                false => own.clone(),
            };
            let is_known = |out: &Outgoing| {
                let mut known = known.iter();
                known.any(|k| k.channel == out.channel && k.message.id == out.message.id)
            };
            let new = waiting
                .iter()
                .filter(|out| own.at < ledger.at && !is_known(out));
            (next, new.cloned().collect())
        })
        .map(drop)
    }

    /// Gives up the messages of a channel that is not configured any more.
    pub fn drop_channel(&self, channel: &Name, now: Timestamp) -> Result<()> {
        self.run(|c| {
            let transaction = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let why = "'its channel is not configured any more'";
            self.give_up(&transaction, now, why, "channel = ?3", &[&channel.as_str()])?;
            let delete = "DELETE FROM channel WHERE app = ?1 AND environment = ?2 AND name = ?3";
            let (app, environment) = (self.app.as_str(), self.environment.as_str());
            transaction.execute(delete, [app, environment, channel.as_str()])?;
            transaction.commit()
        })
    }

    /// How each channel fares that was used.
    pub fn channels(&self) -> Result<BTreeMap<Name, ChannelState>> {
        let select = "SELECT name, failing, error, sent FROM channel
            WHERE app = ?1 AND environment = ?2";
        let names = [self.app.as_str(), self.environment.as_str()];
        let time = |row: &Row<'_>, index| -> rusqlite::Result<Option<Timestamp>> {
            let at: Option<i64> = row.get(index)?;
            Ok(at.and_then(|at| Timestamp::from_second(at).ok()))
        };
        let rows: Vec<(String, ChannelState)> = self.run(|c| {
            c.prepare_cached(select)?
                .query_map(names, |row| {
                    let state = ChannelState {
                        failing: time(row, 1)?,
                        error: row.get(2)?,
                        sent: time(row, 3)?,
                    };
                    Ok((row.get(0)?, state))
                })?
                .collect()
        })?;
        let named = rows.into_iter();
        Ok(named
            .filter_map(|(name, state)| Some((Name::parse(&name)?, state)))
            .collect())
    }
}

/// Puts damaged alarms aside, and begins new ones.
fn begin_anew(path: &Path, warn: &impl Fn(&str)) -> Result<Connection> {
    let aside = history::put_aside(path, "alarms")?;
    warn(&format!(
        "the alarms were damaged, and new ones begin; the old ones are {}",
        aside.display()
    ));
    connect(path).map_err(|error| failed(path, &error))
}

/// Seconds until a message is tried again that was tried so often before.
pub(super) fn wait(attempt: &Attempt, attempts: u32) -> i64 {
    let doubled = WAIT_SECONDS_MIN << attempts.min(10);
    match attempt {
        Attempt::Delivered => 0,
        Attempt::Later(Some(asked), _) => {
            let asked = i64::try_from(asked.as_secs()).unwrap_or(i64::MAX);
            asked.clamp(1, ASKED_SECONDS_MAX)
        }
        Attempt::Later(None, _) => doubled.min(WAIT_SECONDS_MAX),
        // Somebody has to change something first.
        Attempt::Refused(_) => WAIT_SECONDS_MAX,
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A message of the database; `None` if a newer version wrote it.
fn waiting(row: &Row<'_>) -> rusqlite::Result<Option<Waiting>> {
    let (channel, body): (String, String) = (row.get(1)?, row.get(2)?);
    let (sequence, attempts) = (row.get(0)?, row.get(3)?);
    Ok(Name::parse(&channel).and_then(|channel| {
        Some(Waiting {
            sequence,
            channel,
            message: serde_json::from_str(&body).ok()?,
            attempts,
        })
    }))
}

fn memory() -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    sqlite::share(&connection)?;
    connection.execute_batch(SCHEMA)?;
    connection.pragma_update(None, "user_version", VERSION)?;
    // A page that is damaged shows only when it is read.
    let read = "SELECT (SELECT count(*) FROM ledger) + (SELECT count(*) FROM message)";
    connection.query_row(read, [], |_| Ok(()))?;
    Ok(connection)
}

fn failed(path: &Path, error: &rusqlite::Error) -> Error {
    let message = format!("the alarms cannot be kept in {}", path.display());
    Error::new(Code::State, message)
        .cause(sqlite::failure(path, error))
        .hint("check the disk and the permissions; until then they are kept in memory, and told again by each process")
}
