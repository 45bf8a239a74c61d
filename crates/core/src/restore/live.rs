//! Restores for real: to a directory, to another database, or onto the live application.
//!
//! Every restore begins with a plan; without a target it ends there. A live restore stages and
//! compares everything, takes a safety point, stops what writes, and only then swaps the sources
//! in, one by one. What was there is kept beside it. If the swap or a check afterwards fails,
//! everything is swapped back.

use super::carry_out::{Restoring, Wanted, is_aside, is_of_machine, plan_machine};
use super::{application, checks, interrupted, leftovers, open};
use crate::cancel;
use crate::config::Config;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::evidence::Appended;
use crate::fetch::{self, Fetched};
use crate::given::BucketUrl;
use crate::name::Name;
use crate::point::{self, Manifest, ManifestSource, OnlyPartial, Outcome, PointId, Selector};
use crate::probe::{Subject, name_of};
use crate::resolve::resolve;
use crate::secret::{Reference, Secret};
use crate::source::{self, Live, is_server_url};
use crate::survey::{self, Survey};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The target of a restore.
#[derive(Debug, Clone)]
pub enum Target {
    /// A directory that is new or empty.
    Directory(PathBuf),
    /// Another database, for the one source of the kind that fits.
    Database(Secret),
    /// A prefix of a bucket, for the one source that is a bucket.
    Bucket(BucketUrl),
    /// The configured application.
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
            let secret = resolve(&reference)?;
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

/// Options of a restore.
#[derive(Debug, Clone)]
pub struct Options {
    /// The point; it is chosen for each plan of the application, unless the selector names one.
    pub point: Selector,
    /// The only plan to restore.
    pub plan: Option<String>,
    /// The sources to restore; all if empty.
    pub sources: Vec<String>,
    /// Restore what a partial point holds, if the point is named by its id.
    pub allow_partial: bool,
    /// The store to read from; the first with a sound copy if absent.
    pub store: Option<String>,
    /// The target; without it, only the plan is made.
    pub target: Option<Target>,
    /// `APP/ENVIRONMENT`, for a live restore.
    pub confirm: Option<String>,
    /// The reason, for a live restore.
    pub reason: Option<String>,
    /// Restore onto the live application even what cannot be proved to equal what was captured.
    pub unproven: bool,
}

/// The plan of a restore.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    /// The newest of the points.
    pub point: PointId,
    /// The store to read from.
    pub store: String,
    /// All the points, newest first.
    pub points: Vec<PointId>,
    /// The steps, in order, a line each.
    pub steps: Vec<String>,
}

/// The result of a restore.
#[derive(Debug)]
pub struct Report {
    /// The signed record, and where it is stored.
    pub evidence: Appended,
    /// The points taken before a live restore, one by each plan.
    pub safety_points: Vec<PointId>,
    /// True if everything was swapped back, false if not; `None` if that was not tried.
    pub undone: Option<bool>,
    /// The message that only a part was restored because the point holds no more; `None` if all
    /// was.
    pub partial: Option<String>,
    /// The place of each source now.
    pub places: Vec<(String, String)>,
    /// Warnings for an operator.
    pub warnings: Vec<String>,
}

/// The result of [`run`].
#[derive(Debug)]
pub enum Answer {
    /// No target was given: these steps would be taken on the live application.
    Planned(Planned),
    /// It was carried out. The record says whether it succeeded.
    Done(Box<Report>),
}

/// Plans or carries out a restore of points in the stores of `from`: those of `context`, or the
/// same stores as they stood at a time ([`crate::past`]). Safety points and evidence go to the
/// stores of `context`.
pub fn run(from: &Context, context: &Context, options: &Options) -> Result<Answer> {
    context.sweep();
    let Chosen {
        points,
        left_out,
        partial,
    } = choose(from, options)?;
    let wanted = choose_sources(&points, &options.sources)?;
    // A directory takes the reference to its snapshot beside everything else.
    let is_live = matches!(options.target, None | Some(Target::Live));
    let asked = is_live && !options.sources.is_empty();
    let is_machine = asked && is_of_machine(context, &wanted)?;
    let Some(target) = &options.target else {
        if let Some(wanted) = wanted.first().filter(|_| is_machine) {
            return planned(&points, plan_machine(context, wanted)?).map(Answer::Planned);
        }
        let steps = plan(context, &points, &wanted, &left_out);
        return steps.map(Answer::Planned);
    };
    let mut restoring = Restoring::new(context, &points, wanted);
    restoring.leave_out(left_out);
    if let Some(at) = from.as_of() {
        restoring.read_as_of(at);
    }
    let attempt = match target {
        Target::Directory(directory) => {
            let names: Vec<Name> = restoring.source_names();
            context.config.check_target(directory, &names)?;
            restoring.restore_to_directory(directory)
        }
        Target::Database(url) => restoring.restore_to_database(url),
        Target::Bucket(url) => restoring.restore_to_bucket(url),
        Target::Live => {
            confirm(&context.config, options)?;
            checks::can_be_asked(&context.config.restore.checks, &restoring.source_names())?;
            let _restore = open::alone(context)?;
            let reason = options.reason.clone();
            match is_machine {
                true => restoring.as_new_machine(reason),
                false => restoring
                    .recover()
                    .and_then(|()| restoring.onto_live(reason, options.unproven)),
            }
        }
    };
    let report = concluded(restoring, attempt, target, options.reason.clone())?;
    Ok(Answer::Done(Box::new(Report { partial, ..report })))
}

/// Signs what a restore came to. An error of it is returned once it is signed.
pub(super) fn concluded(
    mut restoring: Restoring<'_>,
    attempt: Result<()>,
    target: &Target,
    reason: Option<String>,
) -> Result<Report> {
    let attempt = attempt.map_err(cancel::explain);
    if let Err(error) = &attempt {
        restoring.failed(Subject::word("restore"), "every source comes back", error);
    }
    let report = restoring.report(target, reason);
    attempt?;
    report
}

/// The points to restore, newest first.
struct Chosen {
    points: Vec<Fetched>,
    /// Messages about the plans that have no point.
    left_out: Vec<String>,
    /// The message that this is only a part because the points hold no more; `None` if it is all.
    partial: Option<String>,
}

fn choose(context: &Context, options: &Options) -> Result<Chosen> {
    let store = options.store.as_deref();
    let survey = survey::survey(context, false)?;
    let plan = options.plan.clone().map(Name::made).transpose()?;
    let one = |plans: &[Name]| {
        let refuse = OnlyPartial::Refuse;
        let point = fetch::choose_in(context, &survey, &options.point, plans, store, refuse)?;
        Ok::<_, Error>((vec![point], vec![]))
    };
    let (ids, left_out) = match (&options.point, plan) {
        (_, Some(plan)) => one(&[plan])?,
        (Selector::Prefix(_) | Selector::LatestOf(_), None) => one(&[])?,
        (selector, None) => {
            let (plans, refuse) = (application::plans(context, &survey), OnlyPartial::Refuse);
            let found = application::choose(context, &survey, selector, &plans, store, refuse)?;
            (found.points, found.left_out)
        }
    };
    let held = |plan: &Name| {
        let mut of_plan = survey.copies.iter().map(|(_, c)| &c.manifest);
        of_plan.any(|m| m.plan == *plan && !m.safety)
    };
    let text = |(plan, error): &(Name, Error)| format!("plan {plan} is left out: {error}");
    // A plan that never took a point does not make the application partial.
    let lacking = left_out.iter().find(|(plan, _)| held(plan));
    let lacking = lacking.filter(|_| options.sources.is_empty());
    let mut chosen = Chosen {
        points: needed(&survey, &ids, &options.sources)
            .into_iter()
            .map(|point| fetch::fetch(context, point, store))
            .collect::<Result<_>>()?,
        left_out: left_out.iter().map(text).collect(),
        partial: lacking.map(|lacking| format!("PARTIAL: {}", text(lacking))),
    };
    if let [Fetched { copy, .. }] = chosen.points.as_slice()
        && let Some(lacks) = lacks(context, &survey, &copy.manifest, options)?
    {
        chosen.partial = Some(lacks);
    }
    Ok(chosen)
}

/// The points from which anything is taken, newest first. A point is left out if newer ones hold
/// everything in it, or if nothing in it was asked for. All points if none holds what was asked
/// for.
fn needed<'a>(survey: &Survey, ids: &'a [PointId], sources: &[String]) -> Vec<&'a PointId> {
    let manifest = |id: &PointId| {
        let mut copies = survey.copies.iter().map(|(_, c)| &*c.manifest);
        copies.find(|m| m.point == *id)
    };
    let owners = point::owners(ids.iter().filter_map(manifest));
    let asked = |name: &Name| sources.is_empty() || sources.iter().any(|s| *name == **s);
    let taken = owners.iter().filter(|(name, _)| asked(name));
    let taken: BTreeSet<&PointId> = taken.map(|(_, point)| point).collect();
    let mut needed: Vec<&PointId> = ids.iter().collect();
    if !taken.is_empty() {
        needed.retain(|id| taken.contains(id));
    }
    needed.sort_by(|a, b| b.cmp(a));
    needed
}

/// The message about what a point that was named by its id lacks. Fails if partial points are not
/// allowed.
fn lacks(
    context: &Context,
    survey: &Survey,
    manifest: &Manifest,
    options: &Options,
) -> Result<Option<String>> {
    let lacks = match options.sources.as_slice() {
        [] => manifest.lacks(),
        wanted => manifest.lacks_of(wanted),
    };
    let Some(lacks) = lacks else {
        return Ok(None);
    };
    let (plans, refuse) = (std::slice::from_ref(&manifest.plan), OnlyPartial::Refuse);
    let newest = fetch::choose_in(context, survey, &Selector::Latest, plans, None, refuse);
    let newest = newest.map_or_else(
        |_| "there is no complete point of its plan".to_owned(),
        |point| format!("the newest complete point is {point}"),
    );
    let text = format!("PARTIAL: {} lacks {lacks}; {newest}", manifest.point);
    match options.allow_partial {
        true => Ok(Some(text)),
        false => Err(Error::new(Code::Usage, text)
            .hint("restore a complete point, only sources that are whole (--source NAME), or what there is (--allow-partial)")),
    }
}

/// The sources to restore, each from the newest of the points that hold it.
pub(super) fn choose_sources<'a>(
    points: &'a [Fetched],
    wanted: &[String],
) -> Result<Vec<Wanted<'a>>> {
    let owners = point::owners(points.iter().map(|p| &*p.copy.manifest));
    for name in wanted {
        if !owners.keys().any(|held| held == name.as_str()) {
            let sources = points.iter().flat_map(|p| &p.copy.manifest.sources);
            let mut known: Vec<&str> = Vec::new();
            for source in sources.map(|s| s.name.as_str()) {
                if !known.contains(&source) {
                    known.push(source);
                }
            }
            let ids = application::join_ids(points.iter().map(|p| &p.copy.manifest.point));
            let message = format!("point {ids} has no source named {name}");
            return Err(
                Error::new(Code::Usage, message).hint(format!("it has: {}", known.join(", ")))
            );
        }
    }
    let mut chosen = Vec::new();
    for fetched in points {
        let manifest = &fetched.copy.manifest;
        for source in &manifest.sources {
            let asked = wanted.iter().any(|name| *name == source.name);
            let all = wanted.is_empty() && source.outcome != Outcome::Failed;
            if (asked || all) && owners.get(&source.name) == Some(&manifest.point) {
                let source = source.clone();
                chosen.push(Wanted { source, fetched });
            }
        }
    }
    Ok(chosen)
}

/// Checks that a live restore is confirmed and has a reason. Fails with
/// [`Code::NeedsConfirmation`].
pub fn confirm(config: &Config, options: &Options) -> Result<()> {
    let app = &config.app;
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

/// The steps of a live restore, in order. Nothing is changed.
fn plan(
    context: &Context,
    points: &[Fetched],
    wanted: &[Wanted<'_>],
    left_out: &[String],
) -> Result<Planned> {
    let restore = &context.config.restore;
    let command = |words: &Vec<String>| format!("run {}", words.join(" "));
    let mut steps = interrupted::pending(context, wanted.iter().map(|w| w.name().as_str()));
    for error in points.iter().filter_map(|p| p.details.as_ref().err()) {
        steps.push(format!(
            "refuse, unless --unproven is given: what was captured cannot be read, so nothing can be proved ({error})"
        ));
    }
    steps.extend(
        leftovers::find(context)
            .iter()
            .map(|left| format!("deal with a leftover of source {}: {left}", left.source)),
    );
    steps.extend(
        wanted
            .iter()
            .filter_map(|w| lacks_rights(context, w.name())),
    );
    steps.extend(left_out.iter().cloned());
    let several = points.len() > 1;
    let fetched = wanted
        .iter()
        .filter(|w| !is_left_out(&context.config, &w.source));
    steps.extend(fetched.map(|wanted| {
        let of = match several {
            true => format!(" as in {}", wanted.point()),
            false => String::new(),
        };
        format!(
            "fetch source {} ({}){of}, place it aside, compare it with the manifest",
            wanted.name(),
            wanted.source.kind
        )
    }));
    let plans: BTreeSet<&Name> = points.iter().map(|p| &p.copy.manifest.plan).collect();
    steps.extend(
        plans
            .iter()
            .map(|plan| format!("take a safety point by plan {plan}")),
    );
    steps.extend(restore.stop.iter().map(command));
    steps.extend(wanted.iter().map(|w| plan_swap(&context.config, &w.source)));
    let commands = restore
        .prepare
        .iter()
        .chain(&restore.start)
        .chain(&restore.after);
    steps.extend(commands.map(command));
    let checks = restore.checks.iter().filter(|check| !is_aside(check));
    steps
        .extend(checks.map(|c| format!("check {}; if it fails, swap everything back", name_of(c))));
    steps.push("sign the evidence".into());
    planned(points, steps)
}

/// A plan of these steps.
fn planned(points: &[Fetched], steps: Vec<String>) -> Result<Planned> {
    let Some(newest) = points.first() else {
        return Err(Error::new(
            Code::PointUnknown,
            "there is no restore point yet",
        ));
    };
    Ok(Planned {
        point: newest.copy.manifest.point.clone(),
        store: newest.store.name.to_string(),
        points: points
            .iter()
            .map(|p| p.copy.manifest.point.clone())
            .collect(),
        steps,
    })
}

/// The rights that the account of a database lacks for this.
fn lacks_rights(context: &Context, name: &Name) -> Option<String> {
    let kind = &context.config.source.get(name)?.kind;
    // A database that does not answer is reported where it is needed.
    let rights = source::live_database(kind)?
        .ok()?
        .restore_rights(&context.scrubber)
        .ok()?;
    let lack = rights.lack()?;
    let remedy = rights.remedy();
    Some(format!(
        "see to the rights for source {name}: {lack}; {remedy}"
    ))
}

/// Whether a live restore leaves a source alone.
fn is_left_out(config: &Config, source: &ManifestSource) -> bool {
    let config = config.source.get(&source.name);
    config.is_some_and(|config| matches!(source::live(&config.kind), Ok(Live::Nowhere(_))))
}

/// The step that swaps a source in.
fn plan_swap(config: &Config, source: &ManifestSource) -> String {
    let name = &source.name;
    let Some(config) = config.source.get(name) else {
        return format!("stop at source {name}: the configuration no longer has it");
    };
    let mut excluded = "";
    let place = match source::live(&config.kind) {
        Ok(Live::Tree { roots, excludes }) => {
            if excludes {
                excluded = " (what `exclude` leaves out of a backup is then only in the copy that is kept)";
            }
            let roots = roots.iter().map(|root| root.display().to_string());
            roots.collect::<Vec<_>>().join(", ")
        }
        Ok(Live::File(path)) => path.display().to_string(),
        Ok(Live::Database(database)) => database.display(),
        Ok(Live::Bucket(bucket)) => {
            return format!(
                "put what differs of source {name} back into the bucket {}; what it replaces is kept in the state directory, and objects that are not in the point are left alone",
                bucket.bucket
            );
        }
        Ok(Live::Nowhere(why)) => return format!("leave source {name}: {why}"),
        Err(error) => format!("its database ({error})"),
    };
    format!("swap in source {name}: {place}; what is there now is kept beside it{excluded}")
}
