//! A small world in which the agenda is carried out: hosts that sleep, are killed and have clocks of
//! their own, and one store that they share. Events follow each other as they would; nothing waits.

use super::*;
use crate::clock::is_ahead;

/// Most jobs that may begin at one instant on one host before that is an endless loop.
const AT_ONCE_MAX: usize = 12;
/// Points of a plan, and jobs about something, that are not put away.
const KEPT: usize = 40;

/// Numbers that look random and are the same for one seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A job that runs.
struct Run {
    job: PointId,
    due: Due,
    begun: Timestamp,
    ends: Timestamp,
    outcome: JobOutcome,
}

#[derive(Default)]
pub(super) struct Host {
    jobs: Vec<Job>,
    /// Jobs that it does not remember.
    forgotten: Vec<Job>,
    running: Vec<Run>,
    /// Spans in which it sleeps.
    pub(super) asleep: Vec<(Timestamp, Timestamp)>,
    /// Seconds that its clock is ahead, from these times on.
    pub(super) clock: Vec<(Timestamp, i64)>,
    /// Forgets its jobs whenever nothing runs.
    pub(super) forgets: bool,
}

impl Host {
    pub(super) fn that_sleeps(asleep: Vec<(Timestamp, Timestamp)>) -> Self {
        Host {
            asleep,
            ..Host::default()
        }
    }

    pub(super) fn sleeps(&self, time: Timestamp) -> Option<Timestamp> {
        let mut spans = self.asleep.iter();
        let span = spans.find(|(from, to)| (*from..*to).contains(&time));
        span.map(|(_, to)| *to)
    }

    fn ahead(&self, time: Timestamp) -> i64 {
        let mut jumps = self.clock.iter().rev();
        jumps.find(|(at, _)| *at <= time).map_or(0, |(_, by)| *by)
    }
}

type Deed<'a> = Box<dyn FnMut(&Due) -> (i64, JobOutcome) + 'a>;

pub(super) struct World<'a> {
    pub(super) facts: Facts,
    pub(super) hosts: Vec<Host>,
    /// The seconds that something takes, and how it ends.
    pub(super) deed: Deed<'a>,
    pub(super) terms: Terms,
    /// Points that the store no longer holds.
    pruned: Vec<Point>,
    taken: usize,
}

impl<'a> World<'a> {
    pub(super) fn new(facts: Facts, hosts: usize, deed: Deed<'a>) -> Self {
        World {
            facts,
            hosts: (0..hosts).map(|_| Host::default()).collect(),
            deed,
            terms: Terms::default(),
            pruned: Vec::new(),
            taken: 0,
        }
    }

    /// What a host knows, by its own clock.
    pub(super) fn seen_by(&self, host: usize) -> Facts {
        let mut facts = self.facts.clone();
        facts.now = plus(facts.now, self.hosts[host].ahead(facts.now));
        facts.jobs.clone_from(&self.hosts[host].jobs);
        for point in &mut facts.points {
            point.counts =
                point.outcome == Outcome::Complete && !is_ahead(point.started, facts.now);
        }
        facts
            .records
            .retain(|record| !is_ahead(record.finished, facts.now));
        // No chain tells here in which order they were made.
        facts.records.sort_by_key(|record| record.finished);
        facts
    }

    /// Lets time pass until `end`.
    pub(super) fn run_until(&mut self, end: Timestamp) {
        let mut begun_at_once = 0;
        while self.facts.now < end {
            let mut begun = 0;
            for host in 0..self.hosts.len() {
                if self.hosts[host].sleeps(self.facts.now).is_none() {
                    self.finish(host);
                    begun += self.begin(host);
                }
            }
            if begun > 0 {
                begun_at_once += begun;
                assert!(
                    begun_at_once <= AT_ONCE_MAX,
                    "an endless loop at {}: {:#?}",
                    self.facts.now,
                    self.hosts[0].jobs.last()
                );
                continue;
            }
            begun_at_once = 0;
            self.facts.now = self.next_event().min(end);
        }
    }

    fn next_event(&self) -> Timestamp {
        let now = self.facts.now;
        let mut times = vec![Timestamp::MAX];
        for (place, host) in self.hosts.iter().enumerate() {
            if let Some(wakes) = host.sleeps(now) {
                times.push(wakes);
                continue;
            }
            times.extend(host.running.iter().map(|run| run.ends));
            times.extend(host.asleep.iter().map(|(from, _)| *from));
            times.extend(host.clock.iter().map(|(at, _)| *at));
            let next = agenda(&self.seen_by(place), self.terms).next();
            times.extend(next.map(|next| plus(next, -host.ahead(now))));
        }
        let later = times.into_iter().filter(|time| *time > now);
        later.min().unwrap_or(Timestamp::MAX)
    }

    /// Begins what the runner would: one job at a time, and a backup makes what is no backup give
    /// way once. Returns how many began.
    fn begin(&mut self, host: usize) -> usize {
        let mut begun = 0;
        let facts = self.seen_by(host);
        let due_now = agenda(&facts, self.terms).now;
        if self.hosts[host].forgets && self.hosts[host].running.is_empty() && due_now.is_empty() {
            let host = &mut self.hosts[host];
            host.forgotten.append(&mut host.jobs);
        }
        for due in due_now {
            let running = &self.hosts[host].running;
            if running
                .iter()
                .any(|run| run.due.subject == due.subject && run.due.kind == due.kind)
            {
                continue;
            }
            if !running.is_empty() {
                let in_the_way = running.iter().any(|run| run.due.kind <= JobKind::Backup);
                if due.kind != JobKind::Backup || in_the_way {
                    break;
                }
                if let Some(place) = self.first_to_give_way(host) {
                    let run = &mut self.hosts[host].running[place];
                    (run.ends, run.outcome) = (self.facts.now, JobOutcome::PutOff);
                    self.finish(host);
                    return begun + 1;
                }
            }
            self.start(host, &facts, due);
            begun += 1;
        }
        begun
    }

    fn first_to_give_way(&self, host: usize) -> Option<usize> {
        let Host { jobs, running, .. } = &self.hosts[host];
        running.iter().position(|run| {
            !jobs.iter().any(|job| {
                job.outcome == Some(JobOutcome::PutOff)
                    && job.kind == run.due.kind
                    && job.subject == run.due.subject
                    && job.slot == run.due.slot
            })
        })
    }

    fn start(&mut self, host: usize, seen: &Facts, due: Due) {
        // The lease of another host.
        let is_same = |run: &Run| run.due.kind == due.kind && run.due.subject == due.subject;
        let others = self.hosts.iter().enumerate();
        let mut others = others.filter(|(place, _)| *place != host);
        let busy = due.kind != JobKind::Verify
            && others.any(|(_, other)| other.running.iter().any(is_same));
        let (seconds, outcome) = match busy {
            true => (1, JobOutcome::Busy),
            false => (self.deed)(&due),
        };
        let mut job = job(
            due.kind,
            &due.subject,
            "",
            &seen.now.to_string(),
            JobOutcome::Done,
        );
        self.taken += 1;
        job.id = numbered(seen.now, self.taken);
        job.slot = due.slot;
        (job.attempt, job.host) = (due.attempt, format!("web{host}"));
        (job.finished, job.outcome) = (None, None);
        let host = &mut self.hosts[host];
        host.running.push(Run {
            job: job.id.clone(),
            due,
            begun: self.facts.now,
            ends: plus(self.facts.now, seconds),
            outcome,
        });
        let is_like = |other: &Job| other.kind == job.kind && other.subject == job.subject;
        put_away(&mut host.jobs, &mut host.forgotten, is_like);
        host.jobs.push(job);
    }

    /// Ends the jobs of a host whose time has come.
    fn finish(&mut self, host: usize) {
        let now = self.facts.now;
        let own = plus(now, self.hosts[host].ahead(now));
        while let Some(place) = self.hosts[host]
            .running
            .iter()
            .position(|run| run.ends <= now)
        {
            let run = self.hosts[host].running.remove(place);
            let mut jobs = self.hosts[host].jobs.iter_mut();
            let job = jobs.find(|job| job.id == run.job).unwrap();
            (job.finished, job.outcome) = (Some(own), Some(run.outcome));
            let took = now.as_second() - run.begun.as_second();
            match (run.due.kind, run.outcome) {
                (JobKind::Backup, JobOutcome::Done | JobOutcome::Partial) => {
                    job.point = Some(job.id.clone());
                    let outcome = match run.outcome {
                        JobOutcome::Done => Outcome::Complete,
                        _ => Outcome::Partial,
                    };
                    self.facts.points.push(Point {
                        id: job.id.clone(),
                        outcome,
                        started: job.started,
                        finished: own,
                        slot: run.due.slot,
                        ..point_of(&run.due.subject, &job.started.to_string())
                    });
                    let points = &mut self.facts.points;
                    points.sort_by(|a, b| a.id.cmp(&b.id));
                    let is_like = |point: &Point| point.plan == run.due.subject;
                    put_away(points, &mut self.pruned, is_like);
                }
                (JobKind::Drill, JobOutcome::Done) => self.facts.records.push(Proved {
                    started: plus(own, -took),
                    drill: Some(run.due.subject.clone()),
                    ..record(&own.to_string(), Verdict::Verified)
                }),
                (JobKind::Drill, JobOutcome::Failed) => self.facts.records.push(Proved {
                    started: plus(own, -took),
                    drill: Some(run.due.subject.clone()),
                    ..record(&own.to_string(), Verdict::Unverifiable)
                }),
                _ => {}
            }
        }
    }

    /// Every job of a host.
    pub(super) fn jobs(&self, host: usize) -> impl Iterator<Item = &Job> {
        let host = &self.hosts[host];
        host.forgotten.iter().chain(&host.jobs)
    }

    /// Every point that was taken.
    pub(super) fn points(&self) -> impl Iterator<Item = &Point> {
        self.pruned.iter().chain(&self.facts.points)
    }

    /// The jobs of all hosts of this kind and outcome.
    pub(super) fn ended(&self, kind: JobKind, outcome: JobOutcome) -> Vec<&Job> {
        let jobs = (0..self.hosts.len()).flat_map(|host| self.jobs(host));
        jobs.filter(|job| job.kind == kind && job.outcome == Some(outcome))
            .collect()
    }
}

/// Moves the oldest of its like away, where there are many.
fn put_away<T>(all: &mut Vec<T>, away: &mut Vec<T>, is_like: impl Fn(&T) -> bool) {
    if all.iter().filter(|one| is_like(one)).count() > KEPT {
        let oldest = all.iter().position(is_like).unwrap();
        away.push(all.remove(oldest));
    }
}
