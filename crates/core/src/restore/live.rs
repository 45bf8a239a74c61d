//! A real restore: to a directory, to another database, or onto the live application.
//!
//! Every verb here first makes a plan; without a target it is all that happens. Onto the live
//! application: everything is placed aside and compared, a safety point is taken, what writes is
//! stopped, and only then is it swapped in, source by source. What was there is kept beside it.
//! When the swap or a check afterwards fails, it is swapped back.

use super::carry_out::Restoring;
use super::fetch::{self, Fetched};
use super::{Database, half_way, is_server_url, left_aside};
use crate::cold::BucketUrl;
use crate::config::SourceKind;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::evidence::Appended;
use crate::interrupt;
use crate::name::Name;
use crate::point::{ManifestSource, Outcome, PointId, Selector};
use crate::probe::{Subject, name_of};
use crate::secret::{Reference, Secret};
use serde::Serialize;
use std::path::PathBuf;

/// Where to restore to.
#[derive(Debug, Clone)]
pub enum Target {
    /// Into a directory that is new or empty.
    Directory(PathBuf),
    /// Into another database: the one source of the kind that fits.
    Database(Secret),
    /// Into a bucket, under a prefix: the one source that is a bucket.
    Bucket(BucketUrl),
    /// Onto the configured application.
    Live,
}

impl Target {
    /// Reads `--to`: a path, a URL of a database without a password, or a reference to a URL.
    pub fn parse(text: &str) -> Result<Self> {
        if is_server_url(text) {
            let authority = text
                .split("://")
                .nth(1)
                .unwrap_or_default()
                .split('/')
                .next()
                .unwrap_or_default();
            if authority
                .rsplit_once('@')
                .is_some_and(|(user, _)| user.contains(':'))
            {
                return Err(Error::new(
                    Code::Usage,
                    "a password in --to can be seen by every user of this host",
                )
                .hint("put the URL into an environment variable and write --to env:NAME"));
            }
            return Ok(Target::Database(Secret::new(text.as_bytes().to_vec())));
        }
        if let Ok(reference) = Reference::parse(text) {
            let secret = reference.resolve()?;
            if secret.expose_str().is_ok_and(is_server_url) {
                return Ok(Target::Database(secret));
            }
            return Err(
                Error::new(Code::Usage, format!("{reference} holds no URL of a database"))
                    .hint("name a directory, a postgres://, mariadb:// or mysql:// URL, or a reference to one"),
            );
        }
        if let Some(url) = BucketUrl::parse(text) {
            return url.map(Target::Bucket);
        }
        if text.is_empty() {
            return Err(Error::new(Code::Usage, "--to is empty")
                .hint("name a directory, or a postgres://, mariadb:// or mysql:// URL"));
        }
        Ok(Target::Directory(PathBuf::from(text)))
    }
}

/// What a restore is asked.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which point.
    pub point: Selector,
    /// Which sources; all when empty.
    pub sources: Vec<String>,
    /// From which store; the first with a sound copy when absent.
    pub store: Option<String>,
    /// Where to; without it, only the plan is made.
    pub target: Option<Target>,
    /// `APP/ENVIRONMENT`, for a live restore.
    pub confirm: Option<String>,
    /// Why, for a live restore.
    pub reason: Option<String>,
    /// Also onto the live application what cannot be proved to be what was captured.
    pub unproven: bool,
}

/// What a restore will do.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    /// Which point.
    pub point: PointId,
    /// From which store.
    pub store: String,
    /// What will be done, in order, a line each.
    pub steps: Vec<String>,
}

/// What a restore did.
#[derive(Debug)]
pub struct Report {
    /// The signed record, and where it is.
    pub evidence: Appended,
    /// Taken before a live restore.
    pub safety_point: Option<PointId>,
    /// Where each source is now.
    pub places: Vec<(String, String)>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// What [`run`] came to.
#[derive(Debug)]
pub enum Answer {
    /// No target was given: this is what would be done onto the live application.
    Planned(Planned),
    /// It was carried out; whether it succeeded is in the record.
    Done(Box<Report>),
}

/// Plans or carries out a restore.
pub fn run(context: &Context, options: &Options) -> Result<Answer> {
    context.sweep();
    let point = fetch::choose(context, &options.point, &[], options.store.as_deref())?;
    let fetched = fetch::fetch(context, &point, options.store.as_deref())?;
    let sources = choose_sources(&fetched, &options.sources)?;
    let Some(target) = &options.target else {
        return Ok(Answer::Planned(plan(context, &fetched, &sources)));
    };
    let mut restoring = Restoring::new(context, &fetched, sources);
    let attempt = match target {
        Target::Directory(directory) => {
            let names: Vec<Name> = restoring.source_names();
            context.config.check_target(directory, &names)?;
            restoring.restore_to_directory(directory)
        }
        Target::Database(url) => restoring.restore_to_database(url),
        Target::Bucket(url) => restoring.restore_to_bucket(url),
        Target::Live => {
            confirm(context, options)?;
            let _restore = context.lock("restore")?.ok_or_else(|| {
                Error::new(Code::Busy, "another restore is running").hint("wait until it has ended")
            })?;
            restoring
                .recover()
                .and_then(|()| restoring.onto_live(options.reason.clone(), options.unproven))
        }
    };
    let attempt = attempt.map_err(interrupt::explain);
    if let Err(error) = &attempt {
        restoring.failed(Subject::word("restore"), "every source comes back", error);
    }
    let report = restoring.report(target, options.reason.clone());
    attempt?;
    report.map(|r| Answer::Done(Box::new(r)))
}

fn choose_sources(fetched: &Fetched, wanted: &[String]) -> Result<Vec<ManifestSource>> {
    let held = &fetched.copy.manifest.sources;
    for name in wanted {
        if !held.iter().any(|s| &s.name == name) {
            let known: Vec<_> = held.iter().map(|s| s.name.as_str()).collect();
            return Err(Error::new(
                Code::Usage,
                format!(
                    "point {} has no source named {name}",
                    fetched.copy.manifest.point
                ),
            )
            .hint(format!("it has: {}", known.join(", "))));
        }
    }
    let chosen = held
        .iter()
        .filter(|s| wanted.is_empty() || wanted.iter().any(|name| *name == s.name));
    Ok(chosen
        .filter(|s| s.outcome != Outcome::Failed || !wanted.is_empty())
        .cloned()
        .collect())
}

fn confirm(context: &Context, options: &Options) -> Result<()> {
    let app = &context.config.app;
    let expected = format!("{}/{}", app.name, app.environment);
    let needs = |message: String| {
        Error::new(Code::NeedsConfirmation, message)
            .hint(format!("read the plan (lifeboat restore POINT), then add --live --confirm {expected} --reason TEXT"))
    };
    match &options.confirm {
        None => {
            return Err(needs(format!(
                "a live restore of {expected} needs --confirm"
            )));
        }
        Some(given) if *given != expected => {
            return Err(needs(format!(
                "--confirm says {given}, this configuration is of {expected}"
            )));
        }
        Some(_) => {}
    }
    if options
        .reason
        .as_deref()
        .is_none_or(|r| r.trim().is_empty())
    {
        return Err(needs("a live restore needs --reason".into()));
    }
    Ok(())
}

/// What a live restore would do, in the order in which it does it. Nothing is changed.
fn plan(context: &Context, fetched: &Fetched, sources: &[ManifestSource]) -> Planned {
    let manifest = &fetched.copy.manifest;
    let restore = &context.config.restore;
    let command = |words: &Vec<String>| format!("run {}", words.join(" "));
    let names = sources.iter().map(|source| source.name.as_str());
    let mut steps = half_way::pending(context, names);
    if let Err(error) = &fetched.details {
        steps.push(format!(
            "refuse, unless --unproven is given: what was captured cannot be read, so nothing can be proved ({error})"
        ));
    }
    steps.extend(
        left_aside::left(context)
            .iter()
            .map(|left| format!("see to what lies aside of source {}: {left}", left.source)),
    );
    steps.extend(sources.iter().map(|source| {
        format!(
            "fetch source {} ({}), place it aside, compare it with the manifest",
            source.name, source.kind
        )
    }));
    steps.push(format!("take a safety point by plan {}", manifest.plan));
    steps.extend(restore.stop.iter().map(command));
    steps.extend(sources.iter().map(|source| plan_swap(context, source)));
    steps.extend(restore.start.iter().chain(&restore.after).map(command));
    steps.extend(
        restore
            .checks
            .iter()
            .map(|c| format!("check {}; if it fails, swap everything back", name_of(c))),
    );
    steps.push("sign the evidence".into());
    Planned {
        point: manifest.point.clone(),
        store: fetched.store.name.to_string(),
        steps,
    }
}

/// Where a source would be swapped in.
fn plan_swap(context: &Context, source: &ManifestSource) -> String {
    let name = &source.name;
    let place = match context.config.source.get(name).map(|s| &s.kind) {
        Some(kind @ (SourceKind::Files(_) | SourceKind::Sqlite(_))) => {
            crate::source::roots(kind).join(", ")
        }
        Some(SourceKind::Bucket(bucket)) => {
            return format!(
                "put what differs of source {name} back into the bucket {}; what it replaces is kept in the state directory, and objects that are not in the point are left alone",
                bucket.bucket
            );
        }
        Some(SourceKind::Command(_)) => {
            return format!("leave source {name}: a command's output has no place of its own");
        }
        Some(kind) => match Database::of_source(kind) {
            Some(Ok(database)) => database.display(),
            Some(Err(error)) => format!("its database ({error})"),
            None => format!("its {}", kind.name()),
        },
        None => return format!("stop at source {name}: the configuration no longer has it"),
    };
    let excluded = match context.config.source.get(name).map(|s| &s.kind) {
        Some(SourceKind::Files(files)) if !files.exclude.is_empty() => {
            " (what `exclude` leaves out of a backup is then only in the copy that is kept)"
        }
        _ => "",
    };
    format!("swap in source {name}: {place}; what is there now is kept beside it{excluded}")
}
