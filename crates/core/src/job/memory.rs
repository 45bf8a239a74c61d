//! The end of the history in a store, for a runner whose host is thrown away after each run.
//!
//! It is one small signed object, written at the end of a run. It is a help, as the history is: one
//! that cannot be read or written is told, and nothing else.

use super::tell::Desk;
use crate::alarm::{Ledger, Outgoing};
use crate::context::Context;
use crate::copies::{put_bytes, read_optional};
use crate::document::to_json;
use crate::error::{Code, Error, Result};
use crate::history::{History, Job};
use crate::name::Name;
use crate::stores::OpenStore;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Newest jobs that it holds.
const JOBS_KEPT: usize = 200;

#[derive(Debug, Serialize, Deserialize)]
struct Memory {
    schema: u32,
    app: Name,
    environment: Name,
    at: Timestamp,
    jobs: Vec<Job>,
    #[serde(default)]
    alarms: Ledger,
    /// Messages that could not be delivered.
    #[serde(default)]
    messages: Vec<Outgoing>,
}

fn key(context: &Context) -> String {
    let app = &context.config.app;
    format!("lifeboat/runner/{}/{}.json", app.name, app.environment)
}

fn store(context: &Context) -> Option<Result<OpenStore>> {
    let name = context.config.run.memory.as_ref()?;
    Some(context.stores.open(name))
}

/// Adds the jobs that the store remembers to the history of this host, unless it knows them; and takes
/// over the alarms, if they are newer there.
pub(super) fn recall(context: &Context, history: &History, desk: Option<&Desk>) {
    let Some(store) = store(context) else {
        return;
    };
    let read = store.and_then(|store| read(context, &store));
    let learnt = read.and_then(|memory| {
        let Some(memory) = memory else {
            return Ok(());
        };
        history.learn(&memory.jobs)?;
        let now = context.clock.now();
        desk.map_or(Ok(()), |desk| {
            desk.outbox().learn(&memory.alarms, &memory.messages, now)
        })
    });
    if let Err(error) = learnt {
        context
            .reporter
            .warn(&format!("the memory of earlier runs is not used: {error}"));
    }
}

fn read(context: &Context, store: &OpenStore) -> Result<Option<Memory>> {
    let key = key(context);
    let Some(bytes) = read_optional(store, &key)? else {
        return Ok(None);
    };
    let signature = read_optional(store, &format!("{key}.sig"))?.unwrap_or_default();
    let memory: Memory = serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(
            Code::ObjectDamaged,
            format!("{key} in store {} is damaged", store.name),
        )
        .cause(error)
    })?;
    let app = &context.config.app;
    let signature = String::from_utf8_lossy(&signature);
    context
        .trusted
        .verify(&app.name, &bytes, &signature, memory.at)?;
    let ours = memory.app == app.name && memory.environment == app.environment;
    Ok((ours && memory.schema == 1).then_some(memory))
}

/// Writes the newest jobs and the alarms of this application to the store.
pub(super) fn keep(context: &Context, history: &History, desk: &Desk) {
    let Some(store) = store(context) else {
        return;
    };
    let kept = store.and_then(|store| write(context, history, desk, &store));
    if let Err(error) = kept {
        context
            .reporter
            .warn(&format!("the next run will not remember this one: {error}"));
    }
}

fn write(context: &Context, history: &History, desk: &Desk, store: &OpenStore) -> Result<()> {
    let app = &context.config.app;
    let mut jobs = history.jobs(&app.name, &app.environment)?;
    let beyond = jobs.len().saturating_sub(JOBS_KEPT);
    jobs.drain(..beyond);
    let waiting = desk.outbox().waiting()?.into_iter();
    let messages = waiting.map(|waiting| Outgoing {
        channel: waiting.channel,
        message: waiting.message,
    });
    let memory = Memory {
        alarms: desk.outbox().ledger()?,
        messages: messages.collect(),
        schema: 1,
        app: app.name.clone(),
        environment: app.environment.clone(),
        at: context.clock.now(),
        jobs,
    };
    let (key, bytes) = (key(context), to_json(&memory)?);
    let signature = context.state.signer.sign(&bytes)?;
    // A kill in between leaves a signature that does not fit, and the next run starts without.
    put_bytes(store, &key, &bytes, false)?;
    put_bytes(store, &format!("{key}.sig"), signature.as_bytes(), false)?;
    Ok(())
}
