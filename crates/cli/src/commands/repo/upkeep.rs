//! `lifeboat repo copy`, `tag` and `repair`.

use super::{Open, meant, reference};
use crate::args::repo::{Copy, Tag};
use crate::output::{self, line};
use lifeboat_core::Result;
use lifeboat_core::explain::explain;
use lifeboat_core::repo::Place;
use lifeboat_repository::check::Depth;
use lifeboat_repository::lock::{Lock, Mode};
use lifeboat_repository::snapshot::{Filter, TagChange};
use lifeboat_repository::{FileKind, copy, repair};
use serde_json::json;

pub fn copy(open: &Open<'_>, args: &Copy) -> Result<u8> {
    let place = Place {
        url: args.from_repo.clone(),
        password: Some(reference(&args.from_password, "--from-password")?),
        ..Place::default()
    };
    let from = place.open()?;
    let _theirs = Lock::take(&from, Mode::Shared, open.wait()?, &open.author).map_err(explain)?;
    let _ours = open.lock(Mode::Shared)?;
    let (all, errors) = from.snapshots().map_err(explain)?;
    for error in errors {
        open.warn(&error.to_string());
    }
    let wanted = meant(&all, &Filter::from(&args.filter), &args.snapshots)?;
    let wanted: Vec<_> = wanted.into_iter().cloned().collect();
    let (index, errors) = from.load_index().map_err(explain)?;
    for error in errors {
        open.warn(&error.to_string());
    }
    open.step("copying");
    let report = copy::run((&from, &index), &open.repository, &wanted).map_err(explain)?;
    open.run.results();
    if open.json() {
        let copied = report.copied.iter();
        output::json(&json!({
            "schema": 1,
            "copied": copied.map(|(from, to)| json!({ "from": from, "to": to })).collect::<Vec<_>>(),
            "there": report.there,
            "stored_bytes": report.added.stored_bytes,
        }))?;
        return Ok(0);
    }
    for (from, to) in &report.copied {
        line(format!(
            "{} copied; it is {} here",
            from.short(),
            to.short()
        ));
    }
    line(format!(
        "{} copied, {} stored; {} here already",
        output::count(report.copied.len(), "snapshot"),
        output::bytes(report.added.stored_bytes),
        report.there.len()
    ));
    Ok(0)
}

pub fn tag(open: &Open<'_>, args: &Tag) -> Result<u8> {
    let change = match (&args.change.set, &args.change.add, &args.change.remove) {
        (Some(tags), _, _) => TagChange::Set(tags.clone()),
        (_, Some(tags), _) => TagChange::Add(tags.clone()),
        (_, _, tags) => TagChange::Remove(tags.clone().unwrap_or_default()),
    };
    let _lock = open.lock(Mode::Exclusive)?;
    let all = open.snapshots()?;
    let mut changed = Vec::new();
    for (id, snapshot) in meant(&all, &Filter::from(&args.filter), &args.snapshots)? {
        if let Some(new) = snapshot.retagged(id, &change) {
            // The new one first: killed in between, both are there.
            let made = open.repository.save_snapshot(&new).map_err(explain)?;
            open.repository
                .delete(FileKind::Snapshot, id)
                .map_err(explain)?;
            changed.push((*id, made));
        }
    }
    open.run.results();
    if open.json() {
        let changed = changed
            .iter()
            .map(|(from, to)| json!({ "from": from, "to": to }));
        output::json(&json!({ "schema": 1, "changed": changed.collect::<Vec<_>>() }))?;
        return Ok(0);
    }
    for (from, to) in &changed {
        line(format!("{} is {} now", from.short(), to.short()));
    }
    let count = output::count(changed.len(), "snapshot");
    line(format!("the tags of {count} changed"));
    Ok(0)
}

pub fn repair_index(open: &Open<'_>, read_data: bool) -> Result<u8> {
    open.step("reading packs");
    let wait = open.wait()?;
    let depth = match read_data {
        true => Depth::Data,
        false => Depth::Structure,
    };
    let report = repair::index(&open.repository, depth, wait, &open.author).map_err(explain)?;
    open.run.results();
    let damaged: Vec<String> = report.damaged.iter().map(ToString::to_string).collect();
    if open.json() {
        output::json(&json!({
            "schema": 1,
            "packs": report.packs,
            "replaced": report.replaced,
            "saved_blobs": report.saved_blobs,
            "damaged": damaged,
        }))?;
    } else {
        for error in &damaged {
            line(error);
        }
        if read_data && !damaged.is_empty() {
            line(match report.saved_blobs {
                1 => "1 blob that is whole was copied out of damaged packs, which are in the index no more".to_owned(),
                count => format!(
                    "{count} blobs that are whole were copied out of damaged packs, which are in the index no more"
                ),
            });
        }
        line(format!(
            "a new index of {} replaces {}; `lifeboat repo check` says what is still missing",
            output::count(report.packs, "pack"),
            output::count(report.replaced, "file")
        ));
    }
    Ok(if damaged.is_empty() { 0 } else { 3 })
}
