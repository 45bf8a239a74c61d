//! `lifeboat repo copy`, `tag` and `repair`.

use super::{Open, meant, reference};
use crate::args::repo::{Copy, Tag};
use crate::output;
use lifeboat_core::explain::explain;
use lifeboat_core::repo::Place;
use lifeboat_core::repo::document::{Copied, IndexRepaired, Tagged};
use lifeboat_core::{Exit, Result};
use lifeboat_repository::check::Depth;
use lifeboat_repository::lock::{Lock, Mode};
use lifeboat_repository::snapshot::{Filter, TagChange};
use lifeboat_repository::{FileKind, copy, repair};

pub fn copy(open: &Open<'_>, args: &Copy) -> Result<Exit> {
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
    open.run.answer(&Copied::from(&report), |out| {
        for (from, to) in &report.copied {
            let (from, to) = (from.short(), to.short());
            out.line(format!("{from} copied; it is {to} here"));
        }
        out.line(format!(
            "{} copied, {} stored; {} here already",
            output::count(report.copied.len(), "snapshot"),
            output::bytes(report.added.stored_bytes),
            report.there.len()
        ));
    })?;
    Ok(Exit::Done)
}

pub fn tag(open: &Open<'_>, args: &Tag) -> Result<Exit> {
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
    open.run.answer(&Tagged::from(changed.as_slice()), |out| {
        for (from, to) in &changed {
            out.line(format!("{} is {} now", from.short(), to.short()));
        }
        let count = output::count(changed.len(), "snapshot");
        out.line(format!("the tags of {count} changed"));
    })?;
    Ok(Exit::Done)
}

pub fn repair_index(open: &Open<'_>, read_data: bool) -> Result<Exit> {
    open.step("reading packs");
    let wait = open.wait()?;
    let depth = match read_data {
        true => Depth::Data,
        false => Depth::Structure,
    };
    let report = repair::index(&open.repository, depth, wait, &open.author).map_err(explain)?;
    let repaired = IndexRepaired::from(&report);
    open.run.answer(&repaired, |out| {
        let damaged = &repaired.damaged;
        damaged.iter().for_each(|error| out.line(error));
        if read_data && !damaged.is_empty() {
            out.line(match report.saved_blobs {
                1 => "1 blob that is whole was copied out of damaged packs, which are in the index no more".to_owned(),
                count => format!(
                    "{count} blobs that are whole were copied out of damaged packs, which are in the index no more"
                ),
            });
        }
        out.line(format!(
            "a new index of {} replaces {}; `lifeboat repo check` says what is still missing",
            output::count(report.packs, "pack"),
            output::count(report.replaced, "file")
        ));
    })?;
    Ok(repaired.exit())
}
