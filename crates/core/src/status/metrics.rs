//! The status and the last jobs as metrics. Pure.
//!
//! A metric has no sample where nothing is known: an alert on what is absent differs from one on
//! zero. Ages hold for the time of the status; whoever reads a file later computes them from the
//! timestamps.

use super::judge::{DrillStatus, PlanStatus, Status, StoreStatus};
use crate::evidence::Verdict;
use crate::history::{Job, JobKind, JobOutcome};
use crate::name::Name;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Metrics of an application.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metrics {
    /// The metrics, by name.
    pub metrics: Vec<Metric>,
}

/// A metric with its samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: MetricKind,
    /// Its unit, which ends the name.
    pub unit: Option<&'static str>,
    /// What it measures, in a sentence.
    pub help: &'static str,
    /// Its samples; never empty.
    pub samples: Vec<Sample>,
}

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// A number.
    Gauge,
    /// For each of some states a sample, which is 1 for the state that holds and 0 for the others.
    /// The label that names the state is called as the metric.
    StateSet,
}

/// A sample of a metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// Its labels, by name.
    pub labels: BTreeMap<&'static str, String>,
    /// Its value; always finite.
    pub value: f64,
}

/// The text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The older format of Prometheus, in which the textfile collector of its node exporter reads
    /// files. It has no state sets: they are gauges there, with the same samples.
    Prometheus,
}

/// Drill outcomes that a state set names.
const VERDICTS: [Verdict; 3] = [Verdict::Verified, Verdict::Restored, Verdict::Failed];
/// Job outcomes that a state set names.
const OUTCOMES: [JobOutcome; 6] = [
    JobOutcome::Done,
    JobOutcome::Partial,
    JobOutcome::NotProved,
    JobOutcome::Failed,
    JobOutcome::TimedOut,
    JobOutcome::Interrupted,
];

/// Computes the metrics from the status and the jobs of an application, the oldest job first.
pub fn metrics(status: &Status, jobs: &[Job]) -> Metrics {
    let mut builder = Builder {
        app: &status.app,
        environment: &status.environment,
        metrics: Vec::new(),
    };
    application(&mut builder, status);
    plans(&mut builder, &status.plans);
    drills(&mut builder, &status.drills);
    verifications(&mut builder, status);
    stores(&mut builder, &status.stores);
    last_jobs(&mut builder, jobs);
    next_runs(&mut builder, status);
    let mut metrics = builder.metrics;
    metrics.retain(|metric| !metric.samples.is_empty());
    metrics.sort_by_key(|metric| metric.name);
    Metrics { metrics }
}

/// Labels beside those of the application, with a value.
type Labelled<'a, const N: usize> = ([(&'static str, &'a str); N], Option<f64>);

/// Collects metrics of one application.
struct Builder<'a> {
    app: &'a Name,
    environment: &'a Name,
    metrics: Vec<Metric>,
}

impl Builder<'_> {
    fn add<'l, const N: usize>(
        &mut self,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = Labelled<'l, N>>,
    ) {
        self.push(name, MetricKind::Gauge, help, samples);
    }

    fn push<'l, const N: usize>(
        &mut self,
        name: &'static str,
        kind: MetricKind,
        help: &'static str,
        samples: impl IntoIterator<Item = Labelled<'l, N>>,
    ) {
        let samples = samples.into_iter().filter_map(|(labels, value)| {
            let value = value.filter(|value| value.is_finite())?;
            let own = [("app", self.app), ("environment", self.environment)];
            let own = own.map(|(label, name)| (label, name.to_string()));
            let labels = labels.map(|(label, value)| (label, value.to_owned()));
            Some(Sample {
                labels: own.into_iter().chain(labels).collect(),
                value,
            })
        });
        let samples = samples.collect();
        let unit = ["seconds", "bytes"]
            .into_iter()
            .find(|unit| name.ends_with(&format!("_{unit}")));
        self.metrics.push(Metric {
            name,
            kind,
            unit,
            help,
            samples,
        });
    }
}

fn number(value: u64) -> f64 {
    value as f64
}

fn truth(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn second(time: Timestamp) -> f64 {
    time.as_second() as f64
}

fn application(to: &mut Builder<'_>, status: &Status) {
    to.add(
        "lifeboat_rpo_seconds",
        "Recovery point objective.",
        [([], status.rpo_target_seconds.map(number))],
    );
    to.add(
        "lifeboat_rto_seconds",
        "Recovery time objective.",
        [([], status.rto_target_seconds.map(number))],
    );
    to.add(
        "lifeboat_status_timestamp_seconds",
        "Time for which these metrics hold.",
        [([], Some(second(status.at)))],
    );
}

fn plans(to: &mut Builder<'_>, plans: &[PlanStatus]) {
    let each = |value: fn(&PlanStatus) -> Option<f64>| {
        let plans = plans.iter();
        plans.map(move |plan| ([("plan", plan.plan.as_str())], value(plan)))
    };
    to.add(
        "lifeboat_point_age_seconds",
        "Age of the newest complete restore point of a plan, counted from when it was found unchanged.",
        each(|plan| plan.age_seconds.map(number)),
    );
    to.add(
        "lifeboat_point_timestamp_seconds",
        "Time at which the newest complete restore point of a plan was begun.",
        each(|plan| plan.point.as_ref().map(|point| second(point.time()))),
    );
    to.add(
        "lifeboat_point_age_limit_seconds",
        "Age that the newest complete restore point of a plan may reach.",
        each(|plan| plan.limit_seconds.map(number)),
    );
    to.add(
        "lifeboat_plan_overdue",
        "1 if the newest complete restore point of a plan is older than its limit, or there is none.",
        each(|plan| {
            let limited = plan.freshness != super::Freshness::Unlimited;
            limited.then(|| truth(plan.freshness.is_overdue()))
        }),
    );
    to.add(
        "lifeboat_missing_copies",
        "Restore points of a plan that a store missed.",
        copies(plans, |plan| &plan.missing_copies),
    );
    to.add(
        "lifeboat_lost_copies",
        "Restore points of a plan that a store held and lost.",
        copies(plans, |plan| &plan.lost_copies),
    );
}

/// The counts of each store of each plan. A store that holds the newest point is known to lack
/// nothing where no count names it.
fn copies(
    plans: &[PlanStatus],
    counts: fn(&PlanStatus) -> &BTreeMap<Name, u64>,
) -> Vec<Labelled<'_, 2>> {
    let of_plan = |plan| {
        let counts = counts(plan);
        let stores: BTreeSet<&Name> = plan.stores.iter().chain(counts.keys()).collect();
        stores.into_iter().map(move |store| {
            let count = counts.get(store).copied().unwrap_or(0);
            let labels = [("plan", plan.plan.as_str()), ("store", store.as_str())];
            (labels, Some(number(count)))
        })
    };
    plans.iter().flat_map(of_plan).collect()
}

fn drills(to: &mut Builder<'_>, drills: &[DrillStatus]) {
    let each = |value: fn(&DrillStatus) -> Option<f64>| {
        let drills = drills.iter();
        drills.map(move |drill| ([("drill", drill.drill.as_str())], value(drill)))
    };
    to.add(
        "lifeboat_drill_age_seconds",
        "Time since a drill was verified last.",
        each(|drill| drill.age_seconds.map(number)),
    );
    to.add(
        "lifeboat_drill_verified_timestamp_seconds",
        "Time at which a drill was verified last.",
        each(|drill| drill.verified_at.map(second)),
    );
    to.add(
        "lifeboat_drill_age_limit_seconds",
        "Time that may pass since a drill was verified last.",
        each(|drill| drill.max_age_seconds.map(number)),
    );
    to.add(
        "lifeboat_drill_overdue",
        "1 if a drill was not verified for longer than its limit.",
        each(|drill| drill.max_age_seconds.map(|_| truth(drill.is_overdue()))),
    );
    to.add(
        "lifeboat_drill_rto_seconds",
        "Time that the last verified run of a drill took until everything was restored and checked.",
        each(|drill| drill.rto_seconds),
    );
    let name = "lifeboat_drill_outcome";
    let outcomes = drills.iter().flat_map(|drill| {
        VERDICTS.into_iter().map(move |verdict| {
            let labels = [("drill", drill.drill.as_str()), (name, verdict.as_str())];
            (labels, drill.outcome.map(|it| truth(it == verdict)))
        })
    });
    to.push(
        name,
        MetricKind::StateSet,
        "Outcome of the newest run of a drill that says something about the points.",
        outcomes,
    );
}

fn verifications(to: &mut Builder<'_>, status: &Status) {
    let each = status.verifications.iter();
    to.add(
        "lifeboat_verify_overdue",
        "1 if a verification is longer ago than it may be.",
        each.map(|verify| {
            let overdue = truth(verify.overdue);
            ([("verify", verify.verify.as_str())], Some(overdue))
        }),
    );
}

fn stores(to: &mut Builder<'_>, stores: &[StoreStatus]) {
    let each = |value: fn(&StoreStatus) -> Option<f64>| {
        let stores = stores.iter();
        stores.map(move |store| ([("store", store.store.as_str())], value(store)))
    };
    // A store that never answered may hold anything.
    let is_known = |store: &StoreStatus| store.error.is_none() || store.points > 0;
    to.add(
        "lifeboat_store_up",
        "1 if a store answered.",
        each(|store| Some(truth(store.error.is_none()))),
    );
    to.add(
        "lifeboat_store_points",
        "Restore points that a store held when it answered last.",
        stores.iter().map(|store| {
            let points = is_known(store).then(|| number(store.points));
            ([("store", store.store.as_str())], points)
        }),
    );
    to.add(
        "lifeboat_store_bytes",
        "Bytes of the restore points that a store held when it answered last.",
        stores.iter().map(|store| {
            let bytes = is_known(store).then(|| number(store.bytes));
            ([("store", store.store.as_str())], bytes)
        }),
    );
}

fn last_jobs(to: &mut Builder<'_>, jobs: &[Job]) {
    let mut last: BTreeMap<(JobKind, &Name), (&Job, JobOutcome)> = BTreeMap::new();
    for job in jobs {
        if let Some(outcome) = job.outcome.filter(|outcome| !outcome.is_void()) {
            last.insert((job.kind, &job.subject), (job, outcome));
        }
    }
    let each = |value: fn(&Job) -> Option<f64>| {
        let last = last.values();
        last.map(move |(job, _)| (about(job.kind, &job.subject), value(job)))
    };
    to.add(
        "lifeboat_job_duration_seconds",
        "Duration of the last job of its kind and subject.",
        each(|job| job.seconds().map(number)),
    );
    to.add(
        "lifeboat_job_last_finished_timestamp_seconds",
        "Time at which the last job of its kind and subject ended.",
        each(|job| job.finished.map(second)),
    );
    let mut pruned: BTreeMap<&Name, &Job> = BTreeMap::new();
    for job in jobs {
        if job.kind == JobKind::Prune && job.outcome == Some(JobOutcome::Done) {
            pruned.insert(&job.subject, job);
        }
    }
    to.add(
        "lifeboat_prune_last_success_timestamp_seconds",
        "Time at which what no rule keeps of a plan was last pruned without an error.",
        pruned
            .iter()
            .map(|(plan, job)| ([("plan", plan.as_str())], job.finished.map(second))),
    );
    let name = "lifeboat_job_last_outcome";
    let outcomes = last.values().flat_map(|(job, outcome)| {
        OUTCOMES.into_iter().map(move |state| {
            let [kind, subject] = about(job.kind, &job.subject);
            let labels = [kind, subject, (name, state.as_str())];
            (labels, Some(truth(*outcome == state)))
        })
    });
    to.push(
        name,
        MetricKind::StateSet,
        "Outcome of the last job of its kind and subject on this host.",
        outcomes,
    );
}

fn next_runs(to: &mut Builder<'_>, status: &Status) {
    let plans = status.plans.iter();
    let plans = plans.map(|plan| (JobKind::Backup, &plan.plan, plan.next));
    let drills = status.drills.iter();
    let drills = drills.map(|drill| (JobKind::Drill, &drill.drill, drill.next));
    let verifications = status.verifications.iter();
    let verifications = verifications.map(|v| (JobKind::Verify, &v.verify, v.next));
    let reports = status.reports.iter();
    let reports = reports.map(|report| (JobKind::Report, &report.report, report.next));
    let all = plans.chain(drills).chain(verifications).chain(reports);
    to.add(
        "lifeboat_next_run_timestamp_seconds",
        "Time at which something is due next; not after the time of the status if it is due now.",
        all.map(|(kind, subject, next)| (about(kind, subject), next.map(second))),
    );
}

/// The labels of a job.
fn about(kind: JobKind, subject: &Name) -> [(&'static str, &str); 2] {
    [("kind", kind.as_str()), ("subject", subject)]
}

impl Metrics {
    /// These metrics, and others of the same application.
    pub fn and(self, others: Metrics) -> Self {
        Metrics::merge(vec![self, others])
    }

    /// The metrics of several applications as one document: each metric once, with all its samples.
    pub fn merge(all: Vec<Metrics>) -> Self {
        let mut merged: Vec<Metric> = Vec::new();
        for metric in all.into_iter().flat_map(|metrics| metrics.metrics) {
            match merged.iter_mut().find(|known| known.name == metric.name) {
                Some(known) => known.samples.extend(metric.samples),
                None => merged.push(metric),
            }
        }
        Metrics { metrics: merged }
    }

    /// The metrics as text.
    pub fn text(&self, form: Form) -> String {
        let mut text = String::new();
        for metric in &self.metrics {
            metric.write(&mut text, form);
        }
        if form == Form::OpenMetrics {
            text.push_str("# EOF\n");
        }
        text
    }
}

impl Metric {
    fn write(&self, text: &mut String, form: Form) {
        let name = self.name;
        let kind = match (self.kind, form) {
            (MetricKind::StateSet, Form::OpenMetrics) => "stateset",
            (MetricKind::StateSet, Form::Prometheus) | (MetricKind::Gauge, _) => "gauge",
        };
        text.push_str(&format!("# TYPE {name} {kind}\n"));
        if let Some(unit) = self.unit.filter(|_| form == Form::OpenMetrics) {
            text.push_str(&format!("# UNIT {name} {unit}\n"));
        }
        text.push_str(&format!("# HELP {name} {}\n", self.help));
        for sample in &self.samples {
            let labels = sample.labels.iter();
            let labels = labels.map(|(label, value)| format!("{label}=\"{}\"", escaped(value)));
            let labels = labels.collect::<Vec<_>>().join(",");
            text.push_str(&format!("{name}{{{labels}}} {}\n", sample.value));
        }
    }
}

/// A text as the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests;
