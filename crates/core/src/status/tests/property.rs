//! What holds over days of simulated running.

use super::simulator::{Dice, Host, World};
use super::*;
use std::collections::BTreeMap;

const MONTH: (&str, &str) = ("2026-11-01T00:30:00Z", "2026-12-01T00:30:00Z");

/// A month with a drill at 03:10 of so many minutes beside backups of five.
fn month(
    plans: &[(&str, &str)],
    drills: &str,
    minutes: i64,
    hosts: usize,
) -> (usize, usize, usize) {
    let plans: Vec<PlanFacts> = plans
        .iter()
        .map(|(of, schedule)| plan(of, when(schedule)))
        .collect();
    let mut facts = facts(MONTH.0, &plans);
    facts.drills = vec![drill(when(drills))];
    let deed = move |due: &Due| match due.kind {
        JobKind::Backup => (300, JobOutcome::Done),
        _ => (minutes * 60, JobOutcome::Done),
    };
    let mut world = World::new(facts, hosts, Box::new(deed));
    world.run_until(at(MONTH.1));
    let count = |kind, outcome| world.ended(kind, outcome).len();
    (
        count(JobKind::Backup, JobOutcome::Done),
        count(JobKind::Drill, JobOutcome::Done),
        count(JobKind::Drill, JobOutcome::PutOff),
    )
}

const EVERY_OTHER_HOUR: &[(&str, &str)] = &[("p", "0 */2 * * *")];
/// Two plans whose gaps are long enough one by one, and not together.
const IN_TURN: &[(&str, &str)] = &[("p", "0 */2 * * *"), ("q", "0 1-23/2 * * *")];

/// 30 nights, and one for the day before.
#[test]
fn over_a_month_a_drill_that_fits_runs_every_night_beside_no_backup() {
    assert_eq!(month(EVERY_OTHER_HOUR, "10 3 * * *", 20, 1), (361, 31, 0));
}

/// The first, whose duration is not known, may give way once, and ends after the second is due.
#[test]
fn over_a_month_a_drill_that_fits_after_the_next_backup_runs_every_night() {
    let (backups, drills, put_off) = month(EVERY_OTHER_HOUR, "10 3 * * *", 112, 1);
    assert_eq!((backups, drills), (361, 30));
    assert!(put_off <= 1, "{put_off}");
}

#[test]
fn over_a_month_a_drill_that_fits_no_gap_runs_all_the_same_and_delays_no_backup() {
    let (backups, drills, put_off) = month(EVERY_OTHER_HOUR, "10 3 * * *", 116, 1);
    assert_eq!((backups, drills), (361, 30));
    assert!(put_off <= 31, "{put_off}");
    let (backups, drills, _) = month(IN_TURN, "10 3 * * *", 80, 1);
    assert_eq!((backups, drills), (722, 31));
}

#[test]
fn a_host_that_sleeps_for_nine_days_runs_once_for_them() {
    let mut facts = facts("01T00:30", &[plan("p", when("0 * * * *"))]);
    facts.points = vec![point("01T00:00")];
    let mut world = World::new(facts, 1, Box::new(|_: &Due| (60, JobOutcome::Done)));
    world.hosts[0].asleep = vec![(at("01T00:40"), at("10T00:40"))];
    world.run_until(at("10T00:59"));
    assert_eq!(world.ended(JobKind::Backup, JobOutcome::Done).len(), 1);
}

/// A clock that is wrong for a day, then right again.
#[test]
fn a_clock_that_jumps_forth_and_back_does_not_stop_the_work_of_two_hosts() {
    for forgets in [true, false] {
        let mut facts = facts("01T00:30", &[plan("p", when("0 * * * *"))]);
        facts.points = vec![point("01T00:00")];
        facts.drills = vec![drill(when("10 3 * * *"))];
        let mut world = World::new(facts, 2, Box::new(|_: &Due| (60, JobOutcome::Done)));
        world.hosts[0].forgets = forgets;
        let decade = 10 * 365 * 86_400;
        world.hosts[0].clock = vec![(at("05T12:20"), decade), (at("06T12:20"), 0)];
        world.run_until(at("08T00:30"));
        let is_ahead = |point: &&Point| point.id.time() > at("2030-01-01T00:00:00Z");
        let ahead = world.points().filter(is_ahead).count();
        let hours = 7 * 24;
        let normal = world.points().count() - ahead;
        assert_eq!(ahead, 25);
        // One from before; at most one more at the return.
        assert!((hours + 1..=hours + 2).contains(&normal), "{normal}");
        let proofs = world.facts.records.len();
        // Each host drills again what it cannot know of the other, whose records are of the future.
        assert!((7..=10).contains(&proofs), "{proofs}");
    }
}

/// The times of a schedule from one time to another.
fn slots(when: &When, from: Timestamp, to: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let schedule = when.schedule().unwrap();
    let mut slots = Vec::new();
    let mut slot = schedule.next_after(from).unwrap();
    while slot < to {
        let next = schedule.next_after(slot).unwrap();
        slots.push((slot, next));
        slot = next;
    }
    slots
}

/// Spans in which a host sleeps, of up to two days.
fn sleeps(dice: &mut Dice, from: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let mut spans = Vec::new();
    let mut time = from;
    for _ in 0..dice.below(4) {
        let begin = plus(time, 3600 + i64::try_from(dice.below(2 * 86_400)).unwrap());
        time = plus(begin, 60 + i64::try_from(dice.below(2 * 86_400)).unwrap());
        spans.push((begin, time));
    }
    spans
}

/// Worlds that are tried: a few, or as many as the environment says.
fn seeds() -> u64 {
    let wanted = std::env::var("LIFEBOAT_SEEDS").ok();
    wanted.map_or(4, |wanted| wanted.parse().unwrap())
}

fn random_when(dice: &mut Dice) -> When {
    const SCHEDULES: [&str; 8] = [
        "0 * * * *",
        "17 * * * *",
        "30 */2 * * *",
        "0 3 * * *",
        "*/20 3-5 * * *",
        "0 9,17 * * 1-5",
        "45 1,2,3,20 * * *",
        "0 4 * * 0",
    ];
    const WINDOWS: [&str; 4] = [
        "Mon-Fri 08:00-18:00",
        "22:00-06:00",
        "Sat,Sun 00:00-24:00",
        "03:10-03:50",
    ];
    let pick = |dice: &mut Dice, of: &[&'static str]| {
        of[usize::try_from(dice.below(of.len() as u64)).unwrap()]
    };
    let schedule = pick(dice, &SCHEDULES);
    let attempts = u32::try_from(1 + dice.below(4)).unwrap();
    let wait = pick(dice, &["1m", "5m", "40m", "3h"]);
    let mut when = retrying(schedule, attempts, wait);
    if dice.percent(30) {
        when.not_during = vec![pick(dice, &WINDOWS).parse().unwrap()];
    }
    if dice.percent(40) {
        when.spread = Some(Span {
            seconds: dice.below(1200),
        });
    }
    when
}

/// Four days of a world that this seed makes.
fn random_world(seed: u64) -> World<'static> {
    let mut dice = Dice(seed);
    let from = "01T00:30";
    let plans: Vec<PlanFacts> = (0..=dice.below(3))
        .map(|number| plan(&format!("p{number}"), random_when(&mut dice)))
        .collect();
    let mut facts = facts(from, &plans);
    facts.drills = vec![DrillFacts {
        plans: vec![name("p0")],
        ..drill(random_when(&mut dice))
    }];
    facts.verifications = vec![VerifyFacts {
        name: name("deep"),
        when: random_when(&mut dice),
        max_age: None,
    }];
    let hosts: Vec<Host> = (0..=dice.below(2))
        .map(|_| Host::that_sleeps(sleeps(&mut dice, at(from))))
        .collect();
    let spread = dice.percent(50);
    let percent = [0, 0, 10, 30, 100][usize::try_from(dice.below(5)).unwrap()];
    let deed = move |due: &Due| {
        let most = match due.kind {
            JobKind::Backup => 240,
            _ => 900,
        };
        let seconds = i64::try_from(1 + dice.below(most)).unwrap();
        let outcome = match dice.percent(percent) {
            false => JobOutcome::Done,
            true => [
                JobOutcome::Failed,
                JobOutcome::Partial,
                JobOutcome::Interrupted,
                JobOutcome::TimedOut,
            ][usize::try_from(dice.below(4)).unwrap()],
        };
        (seconds, outcome)
    };
    let mut world = World::new(facts, 0, Box::new(deed));
    world.terms = Terms { spread };
    world.hosts = hosts;
    world
}

#[test]
fn no_time_is_kept_twice_and_none_is_missed_by_hosts_that_were_awake() {
    for seed in 0..seeds() {
        let mut world = random_world(seed);
        let (from, to) = (world.facts.now, at("05T00:30"));
        world.run_until(to);
        let mut kept: BTreeMap<(&Name, Timestamp), usize> = BTreeMap::new();
        for point in world.points() {
            if point.outcome == Outcome::Complete {
                *kept.entry((&point.plan, point.slot.unwrap())).or_default() += 1;
            }
        }
        let twice: Vec<_> = kept.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "seed {seed}: {twice:?}");
        for plan in &world.facts.plans {
            for (slot, next) in slots(&plan.when, from, to) {
                let missed = missed(&world, plan, slot, next.min(to));
                assert!(!missed, "seed {seed}: {} misses {slot}", plan.name);
            }
        }
    }
}

/// Time within which a backup begins that is due: the delay, the others before it, and a wait for
/// one that a host which sleeps since has begun.
const SLACK: i64 = 1200 + 3 * 240 + 60;

/// Returns whether nothing shows that a time of the schedule was kept or given up, though a host
/// could have kept it.
fn missed(world: &World<'_>, plan: &PlanFacts, slot: Timestamp, next: Timestamp) -> bool {
    let is_covered = world.points().any(|point| {
        let time = point.id.time();
        point.plan == plan.name
            && point.outcome == Outcome::Complete
            && time >= slot
            && time <= plus(next, SLACK)
    });
    let jobs = (0..world.hosts.len()).flat_map(|host| world.jobs(host));
    // It was tried in vain: how often and when is tested elsewhere.
    let was_tried = jobs
        .filter(|job| job.kind == JobKind::Backup && job.subject == plan.name)
        .any(|job| job.slot == Some(slot) && job.outcome.is_none_or(|outcome| !outcome.is_void()));
    let begin = crate::window::free_from(&plan.when.not_during, slot).unwrap();
    let closes = |from: i64| {
        crate::window::free_from(&plan.when.not_during, plus(begin, from))
            != Some(plus(begin, from))
    };
    let long_enough = plus(begin, SLACK) < next && !(0..SLACK).step_by(60).any(closes);
    let awake = |host: &Host| {
        (0..=SLACK)
            .step_by(60)
            .all(|from| host.sleeps(plus(begin, from)).is_none())
    };
    // A host that fell asleep within the run keeps the lease in this world.
    let asleep = world.hosts.iter().any(|host| !awake(host));
    long_enough && !asleep && !is_covered && !was_tried
}

#[test]
fn without_failures_every_drill_and_verification_runs_once_for_its_time() {
    for seed in 0..seeds() {
        let mut world = random_world(seed);
        let mut dice = Dice(seed);
        world.deed = Box::new(move |due: &Due| {
            let most = match due.kind {
                JobKind::Backup => 240,
                _ => 900,
            };
            (
                i64::try_from(1 + dice.below(most)).unwrap(),
                JobOutcome::Done,
            )
        });
        for host in &mut world.hosts {
            host.asleep.clear();
        }
        let (from, to) = (world.facts.now, at("05T00:30"));
        world.run_until(to);
        for (kind, when) in [
            (JobKind::Drill, &world.facts.drills[0].when),
            (JobKind::Verify, &world.facts.verifications[0].when),
        ] {
            for host in 0..world.hosts.len() {
                let mut runs: BTreeMap<Timestamp, usize> = BTreeMap::new();
                for job in world.ended(kind, JobOutcome::Done) {
                    if job.host == format!("web{host}") {
                        *runs.entry(job.slot.unwrap()).or_default() += 1;
                    }
                }
                assert!(
                    runs.values().all(|count| *count == 1),
                    "seed {seed}: {runs:?}"
                );
            }
            let ran = world.ended(kind, JobOutcome::Done).len();
            let wanted = slots(when, from, to).len();
            // A run that is longer than the gap of its own schedule keeps several times at once, and
            // windows make several into one.
            let hours = when.schedule().unwrap().gap_max().seconds / 3600;
            if when.not_during.is_empty() && hours >= 20 {
                assert!(ran + 1 >= wanted.min(4), "seed {seed}: {ran} of {wanted}");
            }
        }
    }
}
