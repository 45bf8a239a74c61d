//! What an operator of backups is to see done daily, weekly, monthly and quarterly. Pure.
//!
//! An item is done only where something in the period shows it. Where nothing does, it is open, says
//! why, and names the command that does it or helps.

use super::compose::{is_verified, jobs};
use super::document::{Checklist, Item, Report, ShownBy, Task};
use super::words::{day, list};
use super::{Material, Window};
use crate::amount::count;
use crate::anomaly::Compared;
use crate::config::Period;
use crate::evidence::{Activity, Record, Verdict};
use crate::history::{JobKind, JobOutcome};
use crate::name::Name;
use crate::status::{DrillStanding, Freshness, PlanFacts, PlanStatus, Status};

/// Most things that are named as evidence of one item.
const SHOWN_MAX: usize = 10;

/// The checklists that belong into a report of the period: its own, and those of shorter ones.
pub(super) fn checklists(
    material: &Material<'_>,
    status: &Status,
    report: &Report,
    window: &Window,
) -> Vec<Checklist> {
    let look = Look {
        material,
        status,
        report,
        window,
    };
    let mut lists = vec![Checklist {
        every: Period::Day,
        items: vec![
            look.backups_ran(),
            look.stored_intact(),
            look.copies_complete(),
            look.jobs_succeeded(),
        ],
    }];
    if window.period >= Period::Week {
        lists.push(Checklist {
            every: Period::Week,
            items: vec![
                look.recent_points(),
                look.sizes_usual(),
                look.decrypts(),
                look.warnings_read(),
            ],
        });
    }
    if window.period >= Period::Month {
        lists.push(Checklist {
            every: Period::Month,
            items: vec![
                look.month_kept(),
                open(
                    Task::RoomLeft,
                    "sizes are above; room on a disk is for you to judge",
                    "lifeboat doctor",
                ),
                look.stores_reachable(),
                open(
                    Task::DocumentationCurrent,
                    "what people wrote beside Lifeboat is for people to read",
                    "lifeboat points --rescan",
                ),
            ],
        });
    }
    if window.period >= Period::Quarter {
        lists.push(Checklist {
            every: Period::Quarter,
            items: vec![
                look.restore_tested(),
                look.results_recorded(),
                open(
                    Task::ProceduresUpdated,
                    "what was learned is for people to write down",
                    "lifeboat evidence list",
                ),
                look.next_test_scheduled(),
            ],
        });
    }
    lists
}

/// An item that is open.
fn open(task: Task, why: impl Into<String>, command: impl Into<String>) -> Item {
    Item {
        task,
        done: false,
        shown_by: Vec::new(),
        note: Some(why.into()),
        command: Some(command.into()),
    }
}

/// An item that is done: there is always something that shows it.
fn done(task: Task, mut shown_by: Vec<ShownBy>, note: Option<String>) -> Item {
    let unlisted = shown_by.len().saturating_sub(SHOWN_MAX);
    shown_by.drain(..unlisted);
    Item {
        task,
        done: true,
        shown_by,
        note,
        command: None,
    }
}

struct Look<'a> {
    material: &'a Material<'a>,
    status: &'a Status,
    report: &'a Report,
    window: &'a Window,
}

impl Look<'_> {
    /// The plans that run by themselves.
    fn scheduled(&self) -> Vec<(&PlanFacts, &PlanStatus)> {
        let plans = self.material.facts.plans.iter().zip(&self.status.plans);
        plans
            .filter(|(plan, _)| plan.when.schedule.is_some())
            .collect()
    }

    /// An item that is done if each scheduled plan shows something, and else names the first that
    /// does not with the reason and the command.
    fn of_each_plan(
        &self,
        task: Task,
        shown: impl Fn(&PlanFacts, &PlanStatus) -> Result<ShownBy, (String, String)>,
    ) -> Item {
        let plans = self.scheduled();
        let mut all = Vec::new();
        for (plan, status) in &plans {
            match shown(plan, status) {
                Ok(by) => all.push(by),
                Err((why, command)) => return open(task, why, command),
            }
        }
        match all.is_empty() {
            true => open(task, "no plan has a schedule", "lifeboat config check"),
            false => done(task, all, None),
        }
    }

    fn backups_ran(&self) -> Item {
        self.of_each_plan(Task::BackupsRan, |plan, status| {
            let name = &plan.name;
            let run = || format!("lifeboat backup {name}");
            if let Some(failing) = &status.failing {
                let outcome = failing.outcome.as_str();
                let why = format!("the last backup of plan {name} ended as {outcome}");
                return Err((why, format!("lifeboat jobs {}", failing.job)));
            }
            if status.freshness.is_overdue() {
                let why = match status.freshness {
                    Freshness::Never => format!("plan {name} has no complete point"),
                    _ => format!("the newest point of plan {name} is too old"),
                };
                return Err((why, run()));
            }
            let mut taken = self.report.ran.points.iter();
            let taken = taken.find(|taken| taken.plan == *name);
            let silence = taken.and_then(|taken| taken.silence.as_ref());
            if let (Some(silence), Some(limit)) = (silence, status.limit_seconds)
                && silence.seconds > limit
            {
                let (from, until) = (day(silence.from), day(silence.until));
                let why = format!("plan {name} has no complete point from {from} to {until}");
                return Err((why, "lifeboat jobs".to_owned()));
            }
            let mut points = self.material.facts.points.iter().rev();
            let newest =
                points.find(|p| p.counts && p.plan == *name && p.started < self.window.until);
            let none = || (format!("plan {name} had no complete point then"), run());
            newest
                .map(|point| ShownBy::Point(point.id.clone()))
                .ok_or_else(none)
        })
    }

    fn stored_intact(&self) -> Item {
        let task = Task::StoredIntact;
        for store in &self.status.stores {
            if let Some(copy) = store.damaged.first() {
                let (point, store) = (&copy.point, &store.store);
                let why = format!("the copy of {point} in store {store} is damaged");
                return open(task, why, "lifeboat verify --all");
            }
        }
        let verified =
            || jobs(self.material.facts, self.window).filter(|j| j.kind == JobKind::Verify);
        if let Some(last) = verified().last()
            && last.outcome == Some(JobOutcome::NotProved)
        {
            let why = format!("job {} found something damaged or missing", last.id);
            return open(task, why, "lifeboat verify --all");
        }
        let sound = verified().filter(|job| job.outcome == Some(JobOutcome::Done));
        let mut shown: Vec<ShownBy> = sound.map(|job| ShownBy::Job(job.id.clone())).collect();
        shown.extend(self.verified().map(|r| ShownBy::Evidence(r.id.clone())));
        match shown.is_empty() {
            true => {
                let why = "nothing that is stored was read again in this period";
                open(task, why, "lifeboat verify")
            }
            false => done(task, shown, None),
        }
    }

    fn copies_complete(&self) -> Item {
        let task = Task::CopiesComplete;
        for plan in &self.status.plans {
            let missed = plan.missing_copies.iter().find(|(_, count)| **count > 0);
            if let Some((store, number)) = missed {
                let missed = count(*number, "point");
                let why = format!("store {store} missed {missed} of plan {}", plan.plan);
                return open(task, why, format!("lifeboat copy --to {store}"));
            }
            let lost = plan.lost_copies.iter().find(|(_, count)| **count > 0);
            if let Some((store, number)) = lost {
                let lost = count(*number, "point");
                let why = format!("store {store} lost {lost} of plan {}", plan.plan);
                return open(task, why, "lifeboat points");
            }
        }
        if let Some(item) = self.unread(task) {
            return item;
        }
        self.of_each_plan(task, |plan, status| {
            let lacking = plan.stores.iter().find(|s| !status.stores.contains(s));
            match (&status.point, lacking) {
                (Some(point), None) => Ok(ShownBy::Point(point.clone())),
                (Some(point), Some(store)) => {
                    let why = format!("store {store} does not hold {point}");
                    Err((why, format!("lifeboat copy --to {store}")))
                }
                (None, _) => {
                    let why = format!("plan {} has no complete point", plan.name);
                    Err((why, format!("lifeboat backup {}", plan.name)))
                }
            }
        })
    }

    fn jobs_succeeded(&self) -> Item {
        let task = Task::JobsSucceeded;
        let ran = &self.report.ran;
        if let Some(failure) = ran.failures.last() {
            let number = ran.failures.len() as u64 + ran.failures_unlisted;
            let (were, jobs) = match number {
                1 => ("was", "job"),
                _ => ("were", "jobs"),
            };
            let why = format!(
                "{number} {jobs} {were} not successful; the last is {}",
                failure.job
            );
            return open(task, why, format!("lifeboat jobs {}", failure.job));
        }
        let last = jobs(self.material.facts, self.window).last();
        match last {
            Some(last) => {
                let all: u64 = ran.jobs.iter().map(|kind| kind.jobs).sum();
                let note = format!("{}, the last of them named here", count(all, "job"));
                done(task, vec![ShownBy::Job(last.id.clone())], Some(note))
            }
            None => {
                let why = "the history of this host names no job of this period";
                open(task, why, "lifeboat jobs")
            }
        }
    }

    fn recent_points(&self) -> Item {
        let taken = &self.report.ran.points;
        self.of_each_plan(Task::RecentPoints, |plan, status| {
            let own = taken.iter().find(|taken| taken.plan == plan.name);
            let newest = own.and_then(|taken| taken.newest.clone());
            // Found unchanged in the period, the point from before it is as good.
            let unchanged = status.unchanged_at.filter(|at| self.window.has(*at));
            let unchanged = unchanged.and_then(|_| status.point.clone());
            let why = || {
                let why = format!("plan {} has no complete point of this period", plan.name);
                (why, format!("lifeboat backup {}", plan.name))
            };
            newest.or(unchanged).map(ShownBy::Point).ok_or_else(why)
        })
    }

    fn sizes_usual(&self) -> Item {
        self.of_each_plan(Task::SizesUsual, |plan, status| {
            let name = &plan.name;
            let Some(point) = &status.point else {
                let why = format!("plan {name} has no complete point");
                return Err((why, format!("lifeboat backup {name}")));
            };
            if let Some(anomaly) = status.anomalies.first() {
                return Err((anomaly.text(), format!("lifeboat diff {point}")));
            }
            let why = match status.compared {
                Some(Compared::Content | Compared::StoredBytes) => {
                    return Ok(ShownBy::Point(point.clone()));
                }
                None => "nothing is known of its content",
                Some(Compared::Unknown) => "its content is sealed and not known here",
                Some(Compared::TooFewPoints) => "there are too few points before it",
                Some(Compared::Off) => "its plan says so",
            };
            let why = format!("{point} was not compared: {why}");
            Err((why, format!("lifeboat show {point}")))
        })
    }

    /// The records of the period that verified something.
    fn verified(&self) -> impl Iterator<Item = &Record> {
        let records = self.material.records.iter();
        records.filter(|record| is_verified(record, self.window))
    }

    /// The command that rehearses a restore.
    fn drill(&self) -> String {
        match self.status.drills.first() {
            Some(drill) => format!("lifeboat drill {}", drill.drill),
            None => "lifeboat config check".to_owned(),
        }
    }

    /// An open item if what a drill found last speaks against it.
    fn refuted(&self, task: Task) -> Option<Item> {
        let mut drills = self.status.drills.iter();
        let failed = drills.find(|drill| drill.standing == DrillStanding::Failed)?;
        let why = format!("the newest run of drill {} failed", failed.drill);
        let command = match &failed.evidence {
            Some(id) => format!("lifeboat evidence show {id}"),
            None => self.drill(),
        };
        Some(open(task, why, command))
    }

    fn decrypts(&self) -> Item {
        if let Some(item) = self.refuted(Task::Decrypts) {
            return item;
        }
        let shown: Vec<ShownBy> = self
            .verified()
            .map(|record| ShownBy::Evidence(record.id.clone()))
            .collect();
        match shown.is_empty() {
            true => {
                let why = "no drill and no restore of this period was verified";
                open(Task::Decrypts, why, self.drill())
            }
            false => done(Task::Decrypts, shown, None),
        }
    }

    fn warnings_read(&self) -> Item {
        let why = "warnings are in the logs of the jobs, for people to read";
        let last = jobs(self.material.facts, self.window).last();
        let command = match last {
            Some(last) => format!("lifeboat jobs {}", last.id),
            None => "lifeboat jobs".to_owned(),
        };
        open(Task::WarningsRead, why, command)
    }

    fn month_kept(&self) -> Item {
        let kept = &self.material.kept_of_month;
        self.of_each_plan(Task::MonthKept, |plan, _| {
            let point = kept.get(&plan.name).cloned();
            point.map(ShownBy::Point).ok_or_else(|| {
                let why = format!("no rule keeps a point of each month of plan {}", plan.name);
                (why, "lifeboat prune --dry-run".to_owned())
            })
        })
    }

    /// An open item if a store did not answer.
    fn unread(&self, task: Task) -> Option<Item> {
        let mut stores = self.status.stores.iter();
        let silent = stores.find(|store| store.error.is_some())?;
        let why = format!("store {} did not answer", silent.store);
        Some(open(task, why, "lifeboat doctor"))
    }

    fn stores_reachable(&self) -> Item {
        let task = Task::StoresReachable;
        if let Some(item) = self.unread(task) {
            return item;
        }
        let points = &self.material.facts.points;
        let mut shown = Vec::new();
        for store in &self.status.stores {
            let held = points
                .iter()
                .rev()
                .find(|p| p.stores.contains(&store.store));
            let Some(point) = held else {
                let why = format!("store {} holds no point", store.store);
                return open(task, why, "lifeboat points");
            };
            shown.push(ShownBy::Point(point.id.clone()));
        }
        shown.dedup();
        match shown.is_empty() {
            true => open(task, "there is no store", "lifeboat config check"),
            false => {
                let note = "listed there when this report was written".to_owned();
                done(task, shown, Some(note))
            }
        }
    }

    fn restore_tested(&self) -> Item {
        let task = Task::RestoreTested;
        if let Some(item) = self.refuted(task) {
            return item;
        }
        let mut shown: Vec<ShownBy> = Vec::new();
        for (plan, _) in self.scheduled() {
            for source in &plan.sources {
                match self.newest_proof(&plan.name, source) {
                    Some(record) => {
                        let by = ShownBy::Evidence(record.id.clone());
                        if !shown.contains(&by) {
                            shown.push(by);
                        }
                    }
                    None => {
                        let of = format!("source {source} of plan {}", plan.name);
                        let why = format!("{of} was not verified in this period");
                        return open(task, why, self.drill());
                    }
                }
            }
        }
        match shown.is_empty() {
            true => open(task, "no plan has a schedule", "lifeboat config check"),
            false => done(task, shown, None),
        }
    }

    /// The newest record of the period in which a source of a plan is verified.
    fn newest_proof(&self, plan: &Name, source: &Name) -> Option<&Record> {
        let has = |record: &&Record| {
            let mut points = record.points.iter();
            points.any(|p| p.plan.as_ref() == Some(plan) && p.sources.contains(source))
        };
        self.verified().filter(has).last()
    }

    fn results_recorded(&self) -> Item {
        let task = Task::ResultsRecorded;
        let records = self.material.records.iter().filter(|record| {
            let decided = matches!(
                record.outcome,
                Verdict::Verified | Verdict::Restored | Verdict::Failed
            );
            decided && record.activity == Activity::Drill && self.window.has(record.finished)
        });
        let shown: Vec<ShownBy> = records.map(|r| ShownBy::Evidence(r.id.clone())).collect();
        match shown.is_empty() {
            true => open(task, "no drill of this period has a record", self.drill()),
            false => done(task, shown, None),
        }
    }

    fn next_test_scheduled(&self) -> Item {
        let task = Task::NextTestScheduled;
        let drills = self.status.drills.iter();
        let dated: Vec<_> = drills
            .filter_map(|drill| Some((&drill.drill, drill.next?)))
            .collect();
        if dated.is_empty() {
            let why = "no drill has a schedule";
            return open(task, why, "lifeboat config check");
        }
        let dates = dated
            .iter()
            .map(|(drill, next)| format!("{drill} on {}", day(*next)));
        let note = list(dates);
        let shown = dated
            .into_iter()
            .map(|(drill, _)| ShownBy::Drill(drill.clone()));
        done(task, shown.collect(), Some(note))
    }
}
