//! `lifeboat repo check`.

use super::{Open, span};
use crate::args::repo::Check;
use crate::output::{self, Printer};
use jiff::{SignedDuration, Timestamp};
use lifeboat_core::explain::explain;
use lifeboat_core::repo::document::Checked;
use lifeboat_core::repo::record::{self, Record};
use lifeboat_core::{Code, Error, Exit, Result};
use lifeboat_repository::check::{self, Reading, Report, Subset};
use lifeboat_repository::{FileKind, Id, crypto};
use std::sync::Mutex;

pub fn run(open: &Open<'_>, args: &Check) -> Result<Exit> {
    let subset = subset(args)?;
    let _lock = open.read_lock()?;
    let noted = match &args.not_verified_since {
        Some(text) => Some(Noted::open(open, text)?),
        None => None,
    };
    let mut seed = [0; 32];
    crypto::random(&mut seed).map_err(explain)?;
    let choose = |mut packs: Vec<(Id, u64)>| {
        packs.retain(|(id, _)| !noted.as_ref().is_some_and(|noted| noted.is_fresh(id)));
        subset.unwrap_or(Subset::All).choose(&packs, &seed)
    };
    let told = |id: &Id, is_whole| noted.iter().for_each(|noted| noted.note(id, is_whole));
    let reading = Reading {
        choose: &choose,
        told: &told,
    };
    open.step("checking");
    let report = check::run_reading(&open.repository, subset.map(|_| &reading));
    let report = report.map_err(explain)?;
    open.not_interrupted(match noted {
        Some(_) => "run it again: it goes on with what was not read yet",
        None => "nothing is known of what was not read; run it again",
    })?;
    let fresh = noted.as_ref().map_or(0, |noted| noted.fresh);
    if let Some(error) = noted.and_then(Noted::failure) {
        return Err(error);
    }
    let checked = Checked::new(&report, fresh);
    open.run
        .answer(&checked, |out| tell(out, &report, subset.is_some(), fresh))?;
    Ok(checked.exit())
}

/// Which packs are to be read, if any.
fn subset(args: &Check) -> Result<Option<Subset>> {
    match (&args.read_data_subset, args.read_data) {
        (Some(text), _) => text.parse().map(Some).map_err(|why: String| {
            Error::new(Code::Usage, format!("--read-data-subset: {why}"))
                .hint("write it as 2/5, 10% or 50G")
        }),
        (None, true) => Ok(Some(Subset::All)),
        (None, false) if args.not_verified_since.is_some() => Err(Error::new(
            Code::Usage,
            "--not-verified-since says which packs are read, and none are to be",
        )
        .hint("add --read-data or --read-data-subset")),
        (None, false) => Ok(None),
    }
}

/// What is noted on this host of packs that were read.
struct Noted {
    record: Record,
    since: Timestamp,
    now: Timestamp,
    /// Packs that need not be read.
    fresh: usize,
    failed: Mutex<Option<Error>>,
}

impl Noted {
    fn open(open: &Open<'_>, text: &str) -> Result<Self> {
        let ago = span(text, "--not-verified-since")?;
        let now = Timestamp::now();
        let since = SignedDuration::try_from(ago).ok();
        let since = since.and_then(|ago| now.checked_sub(ago).ok());
        let listed = open.repository.list(FileKind::Pack).map_err(explain)?;
        let packs: Vec<Id> = listed.into_iter().map(|(id, _)| id).collect();
        let id = &open.repository.config().id;
        let mut noted = Noted {
            record: Record::open(&record::directory()?, id, &packs)?,
            since: since.unwrap_or(Timestamp::MIN),
            now,
            fresh: 0,
            failed: Mutex::default(),
        };
        noted.fresh = packs.iter().filter(|id| noted.is_fresh(id)).count();
        Ok(noted)
    }

    fn is_fresh(&self, pack: &Id) -> bool {
        self.record.is_fresh(pack, self.since, self.now)
    }

    fn note(&self, pack: &Id, is_whole: bool) {
        if let Err(error) = self.record.note(pack, is_whole, Timestamp::now())
            && let Ok(mut failed) = self.failed.lock()
        {
            failed.get_or_insert(error);
        }
    }

    /// Why something was not noted.
    fn failure(self) -> Option<Error> {
        self.failed.into_inner().ok().flatten()
    }
}

fn tell(out: &Printer, report: &Report, reads: bool, fresh: usize) {
    for error in &report.errors {
        out.line(error.to_string());
    }
    let bytes = output::bytes(report.bytes_read);
    let read = match report.packs_read == report.packs {
        _ if !reads => String::new(),
        true => format!(", {bytes} read"),
        false => match report.packs_read {
            1 => format!(", of which 1 was read, {bytes}"),
            count => format!(", of which {count} were read, {bytes}"),
        },
    };
    out.line(format!(
        "{}, {}, {}{read}",
        output::count(report.snapshots, "snapshot"),
        output::count(report.trees, "tree"),
        output::count(report.packs, "pack"),
    ));
    if fresh > 0 {
        out.line(match fresh {
            1 => "1 pack was found whole before, within that time".to_owned(),
            _ => format!("{fresh} packs were found whole before, within that time"),
        });
    }
    if !report.unknown_packs.is_empty() {
        let (are, them) = match report.unknown_packs.len() {
            1 => ("1 pack is".to_owned(), "it"),
            count => (format!("{count} packs are"), "them"),
        };
        out.line(match report.errors.is_empty() {
            true => format!("{are} in no index, of a backup that did not end; prune frees {them}"),
            false => {
                format!("{are} in no index, of one that is lost or of a backup that did not end")
            }
        });
    }
    match report.errors.len() {
        0 => return out.line("no errors were found"),
        1 => out.line("1 error was found"),
        count => out.line(format!("{count} errors were found")),
    }
    out.line(
        "to mend it: lifeboat repo repair index --read-data, then back up what is still there; what `check` names after that is lost, and lifeboat repo repair snapshots makes snapshots without it",
    );
}
