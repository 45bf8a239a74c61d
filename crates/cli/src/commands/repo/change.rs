//! `lifeboat repo repair snapshots` and `rewrite`.

use super::backup::{patterns, time};
use super::{Open, meant};
use crate::args::repo::{Deed as Given, RepairSnapshots, Rewrite};
use crate::output::Printer;
use jiff::tz::TimeZone;
use lifeboat_core::explain::explain;
use lifeboat_core::repo::document::{Repaired, Rewritten};
use lifeboat_core::{Code, Error, Exit, Result};
use lifeboat_repository::Id;
use lifeboat_repository::index::Index;
use lifeboat_repository::lock::{Lock, Mode};
use lifeboat_repository::repair::snapshots::{self, Look};
use lifeboat_repository::rewrite::{self, Became, Changes, Deed};
use lifeboat_repository::snapshot::{Filter, Snapshot};

impl From<Given> for Deed {
    fn from(given: Given) -> Self {
        Deed {
            forget: given.forget,
            dry_run: given.dry_run,
        }
    }
}

/// What removes snapshots must know that nobody else is at work.
fn mode(deed: Given) -> Mode {
    match deed.forget && !deed.dry_run {
        true => Mode::Exclusive,
        false => Mode::Shared,
    }
}

/// What there is, kept from others as long as the deed wants it.
struct Begun {
    _lock: Option<Lock>,
    snapshots: Vec<(Id, Snapshot)>,
    /// Snapshots that cannot be read.
    unreadable: Vec<Id>,
    index: Index,
}

fn begin(open: &Open<'_>, deed: Given) -> Result<Begun> {
    let lock = open.lock(mode(deed))?;
    let (snapshots, unreadable) = open.all_snapshots()?;
    let index = open.index()?;
    open.step("reading snapshots");
    Ok(Begun {
        _lock: lock,
        snapshots,
        unreadable,
        index,
    })
}

pub fn repair(open: &Open<'_>, args: &RepairSnapshots) -> Result<Exit> {
    let look = match args.read_data {
        true => Look::Data,
        false => Look::Index,
    };
    let begun = begin(open, args.deed)?;
    let filter = Filter::from(&args.filter);
    let wanted = meant(&begun.snapshots, &filter, &args.snapshots)?;
    let deed = args.deed.into();
    let snapshots = (begun.snapshots.as_slice(), wanted.as_slice());
    let report = snapshots::run(&open.repository, &begun.index, snapshots, look, deed);
    let mut report = report.map_err(explain)?;
    // Of those that cannot be read nobody can say whose they are: only who means all means them.
    if filter == Filter::default() && args.snapshots.is_empty() {
        let given_up = snapshots::give_up(&open.repository, &begun.unreadable, deed);
        report.snapshots.extend(given_up.map_err(explain)?);
    }
    open.run
        .answer(&Repaired::new(deed.dry_run, &report), |out| {
            for mended in &report.mended {
                out.line(format!("{}: {}", mended.path.display(), mended.what));
            }
            tell(out, &report.snapshots, deed);
        })?;
    Ok(Exit::Done)
}

pub fn rewrite(open: &Open<'_>, args: &Rewrite) -> Result<Exit> {
    let (exclude, _) = patterns(&args.exclude)?;
    let time = |text: &String| time(text, "--new-time", &TimeZone::system());
    let changes = Changes {
        exclude,
        host: args.new_host.clone(),
        time: args.new_time.as_ref().map(time).transpose()?,
    };
    if changes.exclude.is_empty() && changes.host.is_none() && changes.time.is_none() {
        return Err(
            Error::new(Code::Usage, "nothing is given that would be changed")
                .hint("say what: --exclude, --new-host or --new-time"),
        );
    }
    let begun = begin(open, args.deed)?;
    let filter = Filter::from(&args.filter);
    let wanted = meant(&begun.snapshots, &filter, &args.snapshots)?;
    let deed = args.deed.into();
    let snapshots = (begun.snapshots.as_slice(), wanted.as_slice());
    let report = rewrite::run(&open.repository, &begun.index, snapshots, &changes, deed);
    let report = report.map_err(explain)?;
    open.run
        .answer(&Rewritten::new(deed.dry_run, &report), |out| {
            tell(out, &report.snapshots, deed);
        })?;
    Ok(Exit::Done)
}

/// Says what became of each snapshot.
fn tell(out: &Printer, became: &[(Id, Became)], deed: Deed) {
    let (is, was) = match deed.dry_run {
        true => ("would be", "would be"),
        false => ("is", "were"),
    };
    let mut changed = 0;
    for (id, became) in became {
        let old = id.short();
        let text = match became {
            Became::Same => continue,
            Became::New(Some(new)) => format!("{old}: the new snapshot is {}", new.short()),
            Became::New(None) => format!("{old}: a new snapshot would be made"),
            Became::Earlier(new) => {
                format!(
                    "{old}: {} was made of it earlier, and is the same",
                    new.short()
                )
            }
            Became::Nothing => format!("{old}: nothing of it is left"),
        };
        changed += 1;
        out.line(match deed.forget {
            true => format!("{text}; the old one {is} removed"),
            false => text,
        });
    }
    out.line(format!(
        "{changed} of {} snapshots {was} changed",
        became.len()
    ));
    if changed > 0 && !deed.forget && !deed.dry_run {
        out.line("the old ones stay: remove them with `lifeboat repo forget ID`, or use --forget");
    }
}
