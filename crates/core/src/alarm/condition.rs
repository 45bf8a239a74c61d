//! What is wrong with an application now. Pure.

use crate::amount::count;
use crate::condition::ConditionKind;
use crate::error::{Code, Fact};
use crate::evidence::Verdict;
use crate::finding::{Finding, Severity};
use crate::history::{JobKind, JobOutcome};
use crate::notify::Item;
use crate::point::PointId;
use crate::secret::Scrubber;
use crate::span::Span;
use crate::status::{
    DrillStanding, DrillStatus, Freshness, LastJob, OpenRestore, PlanStatus, Running, Status,
    StoreStatus, Uncopied, VerifyStatus,
};
use crate::visible::visible;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Time that healing is given before a copy that a store missed counts as missing.
const HEALED_WITHIN_SECONDS: i64 = 3600;
/// Time by which a run may be late before its time of the schedule counts as missed.
const LATE_SECONDS: i64 = 3600;
/// Time for which a restore that brought back something else is told of, unless a later one does not.
const DIFFERS_DAYS: i64 = 30;

/// Time before what was live before a restore is removed by which that is told.
const TOLD_BEFORE_DAYS: i64 = 3;

/// What to do first about a store that refuses this host.
const DENIED_HINT: &str =
    "find out whether somebody disabled or replaced its key: it may be an attack";

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its subject: `plan.hourly`, `store.offsite`.
    pub subject: String,
    /// Its kind. With the subject, it is its identity.
    pub kind: ConditionKind,
    /// The subject that explains it; its own, if nothing else does. What has one cause is told
    /// together.
    pub cause: String,
    /// True if a job is at work that may end it: until then it is told when it is new, and not again.
    pub under_way: bool,
    /// How grave it is.
    pub severity: Severity,
    /// Since when it holds, where that is known.
    pub since: Option<Timestamp>,
    /// One sentence that says what is wrong.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Condition {
    /// A condition that nothing else explains.
    pub fn new(
        subject: impl Into<String>,
        kind: ConditionKind,
        severity: Severity,
        since: Option<Timestamp>,
        text: impl Into<String>,
    ) -> Self {
        let subject = subject.into();
        Condition {
            cause: subject.clone(),
            under_way: false,
            subject,
            kind,
            severity,
            since,
            text: text.into(),
            hint: None,
        }
    }

    /// Makes it a warning.
    fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Removes known secrets from its texts, which go to people and services elsewhere.
    pub fn scrub(&mut self, scrubber: &Scrubber) {
        self.text = scrubber.scrub(&self.text);
        self.hint = self.hint.take().map(|hint| scrubber.scrub(&hint));
    }

    /// Its identity within an application.
    pub fn id(&self) -> String {
        format!("{}/{}", self.subject, self.kind.as_str())
    }

    /// As a message tells it. `since` is when it was seen first.
    pub fn item(&self, whose: &str, since: Timestamp) -> Item {
        Item {
            condition: format!("{whose}/{}", self.id()),
            kind: self.kind,
            severity: self.severity,
            since: self.since.unwrap_or(since),
            text: self.text.clone(),
            hint: self.hint.clone(),
        }
    }

    /// Returns whether it may come and go with a network. What comes and goes is told once.
    pub fn flaps(kind: ConditionKind) -> bool {
        matches!(
            kind,
            ConditionKind::StoreDenied
                | ConditionKind::StoreUnreachable
                | ConditionKind::Channel
                | ConditionKind::Disk
        )
    }

    /// Returns whether each of its kind is news, whatever else is wrong for the same cause, and stays
    /// until somebody looked: the next point hides it.
    pub fn lasts(kind: ConditionKind) -> bool {
        kind == ConditionKind::Anomaly
    }

    /// Returns whether it is told without waiting: it may be an attack, or the end of the recovery.
    pub fn is_urgent(kind: ConditionKind) -> bool {
        matches!(
            kind,
            ConditionKind::StoreDenied | ConditionKind::RestoreDiffers
        )
    }
}

/// The conditions that hold, by identity. `begun` are the plans whose backup was begun just now.
/// `findings` are those of the checks that a runner makes beside; what has no kind is left out.
pub fn conditions(
    status: &Status,
    begun: &BTreeSet<String>,
    findings: &[Finding],
) -> Vec<Condition> {
    let mut found = Vec::new();
    let failing: BTreeSet<&str> = status
        .stores
        .iter()
        .filter(|store| store.error.is_some())
        .map(|store| store.store.as_str())
        .collect();
    for store in &status.stores {
        of_store(store, &mut found);
    }
    for plan in &status.plans {
        of_plan(status, plan, begun, &failing, &mut found);
        found.extend(of_anomalies(plan));
    }
    for drill in &status.drills {
        of_drill(drill, &mut found);
    }
    for verify in &status.verifications {
        of_verify(verify, &mut found);
    }
    for report in &status.reports {
        if let Some(job) = in_vain(&report.failing) {
            let subject = format!("report.{}", report.report);
            found.push(failed(&subject, &format!("report {}", report.report), job).warning());
        }
    }
    of_restore(status, &mut found);
    found.extend(of_open_restores(status));
    if let Some(point) = status.points_ahead.first() {
        let severity = Severity::Error;
        let text = format!("{point} is dated in the future: some clock is or was wrong");
        let clock = Condition::new("clock", ConditionKind::Clock, severity, None, text);
        found.push(clock.hint("run `lifeboat doctor`, which says what to do about it"));
    }
    found.extend(findings.iter().filter_map(of_finding));
    found.sort_by_cached_key(Condition::id);
    found.dedup_by(|a, b| a.id() == b.id());
    found
}

fn of_finding(finding: &Finding) -> Option<Condition> {
    let kind = finding.kind?;
    if finding.severity == Severity::Ok {
        return None;
    }
    let condition = Condition::new(
        finding.subject.clone(),
        kind,
        finding.severity,
        None,
        format!("{}: {}", finding.subject, finding.message),
    );
    Some(Condition {
        hint: finding.hint.clone(),
        ..condition
    })
}

fn of_store(store: &StoreStatus, found: &mut Vec<Condition>) {
    let subject = format!("store.{}", store.store);
    if let Some(error) = &store.error {
        let denied = error.code == Code::Store
            && matches!(error.fact, Some(Fact::Denied | Fact::Credentials));
        let (kind, severity) = match denied {
            true => (ConditionKind::StoreDenied, Severity::Error),
            false => (ConditionKind::StoreUnreachable, Severity::Warning),
        };
        let mut condition = Condition::new(&*subject, kind, severity, None, error.message.clone());
        condition.hint = match (denied, &error.hint) {
            (true, Some(hint)) => Some(format!("{DENIED_HINT}; else {hint}")),
            (true, None) => Some(DENIED_HINT.to_owned()),
            (false, hint) => hint.clone(),
        };
        found.push(condition);
    }
    if let Some(first) = store.damaged.iter().min_by_key(|copy| copy.since) {
        let count = store.damaged.len();
        let text = match count {
            1 => format!(
                "the copy of {} in store {} is damaged: {}",
                first.point, store.store, first.why
            ),
            _ => format!(
                "{count} copies in store {} are damaged; of {}: {}",
                store.store, first.point, first.why
            ),
        };
        let damaged = ConditionKind::Damaged;
        let condition = Condition::new(
            format!("{subject}.copies"),
            damaged,
            Severity::Error,
            Some(first.since),
            text,
        );
        found.push(condition.hint(format!(
            "heal it from another store: lifeboat copy {} --to {}",
            first.point, store.store
        )));
    }
}

fn of_plan(
    status: &Status,
    plan: &PlanStatus,
    begun: &BTreeSet<String>,
    failing: &BTreeSet<&str>,
    found: &mut Vec<Condition>,
) {
    let name = &plan.plan;
    let subject = format!("plan.{name}");
    let mut of_plan = Vec::new();
    if let Some(job) = in_vain(&plan.failing) {
        of_plan.push(failed(&subject, &format!("backup of plan {name}"), job));
    }
    if let Some(job) = &plan.prune_failing {
        let mut condition = failed(&subject, &format!("prune of plan {name}"), job);
        condition.kind = ConditionKind::PruneFailed;
        condition.severity = Severity::Warning;
        condition.hint = Some(format!("see why: lifeboat prune {name} --dry-run"));
        of_plan.push(condition);
    }
    of_plan.extend(late(status, plan, begun));
    let down = plan
        .destinations
        .iter()
        .find(|store| failing.contains(store.as_str()));
    if let Some(store) = down {
        for condition in &mut of_plan {
            condition.cause = format!("store.{store}");
        }
    }
    let at_work = begun.contains(name.as_str()) || running(status, plan).is_some();
    for condition in &mut of_plan {
        condition.under_way = at_work && condition.kind != ConditionKind::PruneFailed;
    }
    found.append(&mut of_plan);
    for (store, points) in &plan.missing_copies {
        let since = plan.missing_since.get(store).copied();
        let waited = since.is_none_or(|since| seconds(since, status.at) >= HEALED_WITHIN_SECONDS);
        if waited {
            let text = format!(
                "store {store} lacks {} of plan {name}",
                count(*points, "point")
            );
            let condition = missing(&subject, store, Severity::Warning, since, text);
            found
                .push(condition.hint(format!("give it what it lacks: lifeboat copy --to {store}")));
        }
    }
    for (store, points) in &plan.lost_copies {
        let text = format!(
            "store {store} lost {} of plan {name}",
            count(*points, "point")
        );
        let condition = missing(&subject, store, Severity::Error, None, text);
        found.push(condition.hint("find out who deleted them: `lifeboat points` names them"));
    }
    found.extend(of_regions(plan));
}

/// Snapshots of machines that are in one region alone, although the configuration names another.
fn of_regions(plan: &PlanStatus) -> impl Iterator<Item = Condition> {
    plan.uncopied.iter().map(|one| {
        let Uncopied { source, region } = one;
        let text = format!(
            "the newest snapshot of machine {source} (plan {}) has no copy in {region}",
            plan.plan
        );
        let since = plan.point.as_ref().map(PointId::time);
        let kind = ConditionKind::CopyMissing;
        let subject = format!("plan.{}.{source}", plan.plan);
        Condition::new(subject, kind, Severity::Warning, since, text).hint(match &plan.point {
            Some(point) => format!("see why: lifeboat show {point}; the next backup tries again"),
            None => "the next backup tries again".to_owned(),
        })
    })
}

/// Anomalies of the newest complete point of a plan; those of a source have one cause.
fn of_anomalies(plan: &PlanStatus) -> Vec<Condition> {
    let conditions = plan.anomalies.iter().map(|anomaly| {
        let source = format!("plan.{}.{}", plan.plan, anomaly.source);
        let what = anomaly.what.as_str();
        let subject = match &anomaly.table {
            Some(table) => format!("{source}.{what}.{}", visible(table)),
            None => format!("{source}.{what}"),
        };
        let since = plan.point.as_ref().map(PointId::time);
        let kind = ConditionKind::Anomaly;
        let condition = Condition::new(subject, kind, anomaly.severity, since, anomaly.text());
        let condition = Condition {
            cause: source,
            ..condition
        };
        match &plan.point {
            Some(point) => condition.hint(format!("see what changed: lifeboat diff {point}")),
            None => condition,
        }
    });
    conditions.collect()
}

fn missing(
    plan: &str,
    store: &str,
    severity: Severity,
    since: Option<Timestamp>,
    text: String,
) -> Condition {
    let subject = format!("{plan}.{store}");
    let condition = Condition::new(subject, ConditionKind::CopyMissing, severity, since, text);
    Condition {
        cause: format!("store.{store}"),
        ..condition
    }
}

/// The last run of something, if it failed and is not tried again by itself, or was so before: what was
/// told is not over because it is tried anew.
fn in_vain(failing: &Option<LastJob>) -> Option<&LastJob> {
    failing
        .as_ref()
        .filter(|job| job.retry.is_none() || job.before.is_some())
}

fn failed(subject: &str, what: &str, job: &LastJob) -> Condition {
    // What was partial becomes no graver before the last attempt of the next time has failed.
    let told = match job.before {
        Some(JobOutcome::Partial) if job.retry.is_some() => JobOutcome::Partial,
        _ => job.outcome,
    };
    let (kind, severity) = match told {
        JobOutcome::Partial => (ConditionKind::Partial, Severity::Warning),
        _ => (ConditionKind::Failed, Severity::Error),
    };
    let how = match job.outcome {
        JobOutcome::Partial => "was partial",
        JobOutcome::TimedOut => "took longer than its timeout",
        JobOutcome::Interrupted => "was interrupted",
        _ => "failed",
    };
    let text = match job.message.as_deref() {
        // It begins with how much was captured.
        Some(message) if job.outcome == JobOutcome::Partial => format!("the {what} is {message}"),
        Some(message) => format!("the {what} {how}: {message}"),
        None => format!("the {what} {how}"),
    };
    let condition = Condition::new(subject, kind, severity, Some(job.at), text);
    condition.hint(format!("see its log: lifeboat jobs {}", job.job))
}

/// What is late about a plan.
fn late(status: &Status, plan: &PlanStatus, begun: &BTreeSet<String>) -> Vec<Condition> {
    let (name, subject) = (&plan.plan, format!("plan.{}", plan.plan));
    let run = format!("run it: lifeboat backup {name}");
    let mut found = Vec::new();
    match (plan.freshness, plan.age_seconds, plan.limit_seconds) {
        (Freshness::Overdue, Some(age), Some(limit)) if !will_meet(status, plan, age, limit) => {
            let text = format!(
                "plan {name} is overdue: its newest complete point is {} old, and may be {}",
                rough(age),
                Span { seconds: limit }
            );
            let late = Span {
                seconds: age.saturating_sub(limit),
            };
            let since = Some(late.before(status.at));
            let kind = ConditionKind::Overdue;
            found.push(Condition::new(&*subject, kind, Severity::Error, since, text).hint(&*run));
        }
        (Freshness::Never, ..)
            if !begun.contains(name.as_str())
                && running(status, plan).is_none()
                && !waits_its_turn(status, plan) =>
        {
            let text = format!("plan {name} never made a complete point");
            let kind = ConditionKind::Overdue;
            found.push(Condition::new(&*subject, kind, Severity::Error, None, text).hint(&*run));
        }
        _ => {}
    }
    if let Some(slot) = plan.due_since
        && !begun.contains(name.as_str())
        && !waits_its_turn(status, plan)
        && seconds(slot, status.at) > LATE_SECONDS
    {
        let text = format!("plan {name} was to run at {slot}, and was not begun");
        let kind = ConditionKind::Missed;
        found.push(Condition::new(&*subject, kind, Severity::Warning, Some(slot), text).hint(run));
    }
    found
}

/// Returns whether a plan is due and begins as soon as what was begun lately has ended.
fn waits_its_turn(status: &Status, plan: &PlanStatus) -> bool {
    let mut running = status.running.iter();
    let lately = |job: &Running| seconds(job.started, status.at) <= LATE_SECONDS;
    plan.due_since.is_some() && running.any(lately)
}

/// The backup of a plan that runs on this host.
fn running<'s>(status: &'s Status, plan: &PlanStatus) -> Option<&'s Running> {
    let mut running = status.running.iter();
    running.find(|job| job.kind == JobKind::Backup && job.subject == plan.plan)
}

/// Returns whether a backup is at work that was begun in time and does not take unusually long: its
/// point will be young enough.
fn will_meet(status: &Status, plan: &PlanStatus, age: u64, limit: u64) -> bool {
    running(status, plan).is_some_and(|job| {
        let taken = u64::try_from(seconds(job.started, status.at)).unwrap_or(0);
        let in_time = age.saturating_sub(taken) <= limit;
        let usual = plan.usual_seconds.unwrap_or(0).saturating_mul(2).max(900);
        in_time && taken <= usual
    })
}

/// A length of time in its largest unit, rounded down: `26h`, `9d`.
fn rough(seconds: u64) -> String {
    let unit = match seconds {
        0..7_200 => 60,
        7_200..172_800 => 3600,
        _ => 86_400,
    };
    let whole = Span {
        seconds: seconds - seconds % unit,
    };
    whole.to_string()
}

fn of_drill(drill: &DrillStatus, found: &mut Vec<Condition>) {
    let (name, subject) = (&drill.drill, format!("drill.{}", drill.drill));
    if drill.standing == DrillStanding::Failed {
        let id = drill.evidence.as_ref().map(ToString::to_string);
        let text = format!("drill {name} did not bring back what was captured");
        let kind = ConditionKind::ProofFailed;
        let condition = Condition::new(&*subject, kind, Severity::Error, drill.at, text);
        let id = id.unwrap_or_default();
        found.push(condition.hint(format!("see what differs: lifeboat evidence show {id}")));
    }
    if let Some(job) = in_vain(&drill.failing)
        && job.outcome != JobOutcome::NotProved
    {
        found.push(failed(&subject, &format!("drill {name}"), job).warning());
    }
    if drill.is_overdue() {
        let since = match (drill.verified_at, drill.max_age_seconds) {
            (Some(at), Some(seconds)) => Some(Span { seconds }.after(at)),
            _ => None,
        };
        let text = match drill.verified_at {
            Some(at) => format!("drill {name} proved nothing since {at}"),
            None => format!("drill {name} never proved anything"),
        };
        let kind = ConditionKind::ProofOverdue;
        let condition = Condition::new(&*subject, kind, Severity::Warning, since, text);
        found.push(condition.hint(format!("run it: lifeboat drill {name}")));
    }
}

fn of_verify(verify: &VerifyStatus, found: &mut Vec<Condition>) {
    let (name, subject) = (&verify.verify, format!("verify.{}", verify.verify));
    if let Some(job) = in_vain(&verify.failing)
        && job.outcome != JobOutcome::NotProved
    {
        found.push(failed(&subject, &format!("verification {name}"), job).warning());
    }
    if verify.overdue {
        let text = match verify.at {
            Some(at) => format!("verification {name} did not run since {at}"),
            None => format!("verification {name} never ran"),
        };
        let kind = ConditionKind::ProofOverdue;
        let condition = Condition::new(&*subject, kind, Severity::Warning, None, text);
        found.push(condition.hint("let `lifeboat run` or the daemon run, or verify by hand"));
    }
}

/// A restore that is half done wants somebody; what is removed soon is told before.
fn of_open_restores(status: &Status) -> impl Iterator<Item = Condition> {
    status.open_restores.iter().filter_map(|restore| {
        let OpenRestore { id, begun, .. } = restore;
        let (subject, kind) = (format!("restore.{id}"), ConditionKind::RestoreOpen);
        if restore.interrupted {
            let text = format!("restore {id} was interrupted while something of it was live");
            let condition = Condition::new(subject, kind, Severity::Error, Some(*begun), text);
            return Some(condition.hint(format!(
                "go on with it, or take it back: lifeboat restores resume {id}, lifeboat restores undo {id}"
            )));
        }
        let until = restore.until?;
        let soon = seconds(status.at, until) <= TOLD_BEFORE_DAYS * 86_400;
        soon.then(|| {
            let text = format!(
                "what was live before restore {id} is removed at {until}: it cannot be taken back from then on"
            );
            let condition = Condition::new(subject, kind, Severity::Warning, None, text);
            condition.hint(format!("if all is well, let it go: lifeboat restores finish {id}"))
        })
    })
}

fn of_restore(status: &Status, found: &mut Vec<Condition>) {
    let Some(restore) = &status.restore else {
        return;
    };
    let is_told = seconds(restore.at, status.at) <= DIFFERS_DAYS * 86_400;
    if restore.outcome == Verdict::Failed && is_told {
        let text = "a restore brought back something else than was captured, or failed".to_owned();
        let kind = ConditionKind::RestoreDiffers;
        let condition = Condition::new("restore", kind, Severity::Error, Some(restore.at), text);
        found.push(condition.hint(format!(
            "see what differs: lifeboat evidence show {}",
            restore.evidence
        )));
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.as_second().saturating_sub(from.as_second())
}
