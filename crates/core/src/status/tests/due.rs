//! Backups: when a time of the schedule is kept, and when one may begin.

use super::*;

#[test]
fn a_plan_that_never_ran_is_due_and_says_so() {
    let facts = facts("20T06:30", &[plan("p", when("0 * * * *"))]);
    assert_eq!(now(&facts), ["backup p 20T06:00 #1"]);
    let agenda = agenda(&facts, Terms::default());
    assert_eq!(agenda.now[0].reason, "it never ran");
    assert_eq!(
        agenda.when(JobKind::Backup, "p", facts.now),
        Some(facts.now)
    );
    assert_eq!(agenda.when(JobKind::Drill, "p", facts.now), None);
}

#[test]
fn a_plan_without_a_schedule_is_never_due() {
    let facts = facts("20T06:30", &[plan("p", When::default())]);
    assert_eq!(agenda(&facts, Terms::default()), Agenda::default());
}

#[test]
fn missed_times_collapse_into_one_run() {
    let mut facts = facts("20T06:30", &[plan("p", when("0 * * * *"))]);
    facts.points = vec![point("11T06:00")];
    assert_eq!(now(&facts), ["backup p 20T06:00 #1"]);
    let agenda = agenda(&facts, Terms::default());
    assert_eq!(agenda.now[0].reason, "scheduled for 2026-11-20T06:00:00Z");
    facts.points.push(point("20T06:30"));
    assert_eq!(now(&facts), [""; 0]);
    assert_eq!(
        later(&facts),
        [(at("20T07:00"), "backup p 20T07:00 #1".to_owned())]
    );
}

#[test]
fn a_complete_point_consumes_the_time_of_the_schedule() {
    let mut facts = facts("20T06:30", &[plan("p", when("0 6 * * *"))]);
    let due = ["backup p 20T06:00 #1"];
    let scheduled = |time| Point {
        slot: Some(at("20T06:00")),
        ..point(time)
    };
    for (point, expected) in [
        (point("20T06:00"), &[][..]),
        (point("20T06:29"), &[]),
        (scheduled("20T06:10"), &[]),
        // The clock was set back by some seconds in between.
        (scheduled("20T05:59:57"), &[]),
        (point("20T05:59:57"), &due[..]),
        (point_of("other", "20T06:10"), &due),
    ] {
        facts.points = vec![point.clone()];
        assert_eq!(now(&facts), expected, "{point:?}");
    }
}

#[test]
fn a_point_that_does_not_count_consumes_nothing() {
    let mut facts = facts("20T06:30", &[plan("p", when("0 6 * * *"))]);
    for outcome in [Outcome::Complete, Outcome::Partial, Outcome::Failed] {
        let point = Point {
            counts: false,
            outcome,
            ..point("20T06:10")
        };
        facts.points = vec![point];
        assert_eq!(now(&facts), ["backup p 20T06:00 #1"], "{outcome:?}");
    }
}

#[test]
fn what_runs_is_not_due_a_second_time() {
    let mut facts = facts("20T06:30", &[plan("p", when("0 * * * *"))]);
    facts.jobs = vec![under_way("20T06:00")];
    assert_eq!(agenda(&facts, Terms::default()), Agenda::default());
    facts.jobs[0].subject = name("other");
    assert_eq!(now(&facts), ["backup p 20T06:00 #1"]);
    facts.jobs[0] = job(JobKind::Drill, "p", "", "20T06:00", JobOutcome::Done);
    facts.jobs[0].outcome = None;
    assert_eq!(now(&facts), ["backup p 20T06:00 #1"]);
}

#[test]
fn backups_come_first_and_among_them_the_one_that_waited_longest() {
    let plans = [
        plan("a", when("30 * * * *")),
        plan("p", when("0 6 * * *")),
        plan("c", when("30 * * * *")),
    ];
    let mut facts = facts("20T06:31", &plans);
    facts.points = vec![point("19T06:00")];
    facts.drills = vec![drill(when("0 3 * * *"))];
    assert_eq!(
        now(&facts),
        [
            // These two never ran.
            "backup a 20T06:30 #1",
            "backup c 20T06:30 #1",
            "backup p 20T06:00 #1",
            "drill weekly 20T03:00 #1",
        ]
    );
    // What began last comes last, however old its time of the schedule is: where there is more to do
    // than time, each has its turn.
    facts.jobs = vec![
        job(
            JobKind::Backup,
            "c",
            "20T05:30",
            "20T05:31",
            JobOutcome::Failed,
        ),
        job(
            JobKind::Backup,
            "a",
            "20T05:30",
            "20T05:32",
            JobOutcome::Failed,
        ),
    ];
    let begun: Vec<String> = now(&facts).into_iter().take(3).collect();
    assert_eq!(
        begun,
        [
            "backup p 20T06:00 #1",
            "backup c 20T06:30 #1",
            "backup a 20T06:30 #1",
        ]
    );
}

#[test]
fn what_comes_later_is_in_order_and_the_first_of_it_is_next() {
    let plans = [plan("z", when("0 8 * * *")), plan("a", when("0 9 * * *"))];
    let mut facts = facts("20T07:00", &plans);
    facts.points = vec![point_of("z", "19T08:00"), point_of("a", "19T09:00")];
    let agenda = agenda(&facts, Terms::default());
    assert_eq!(agenda.next(), Some(at("20T08:00")));
    assert_eq!(
        agenda.when(JobKind::Backup, "a", facts.now),
        Some(at("20T09:00"))
    );
    assert_eq!(later(&facts)[1].1, "backup a 20T09:00 #1");
}

fn spread(seconds: u64) -> When {
    When {
        spread: Some(Span { seconds }),
        ..when("0 * * * *")
    }
}

/// The delay within the spread: how long after its time of the schedule it begins.
fn delay(app: &str, plan_name: &str, seconds: u64) -> i64 {
    let mut facts = facts("20T06:00", &[plan(plan_name, spread(seconds))]);
    facts.app = name(app);
    facts.points = vec![point_of(plan_name, "20T05:59:59")];
    let agenda = agenda(&facts, Terms { spread: true });
    let begin = agenda.when(JobKind::Backup, plan_name, facts.now).unwrap();
    begin.as_second() - facts.now.as_second()
}

#[test]
fn the_delay_of_a_name_is_stable_and_within_the_spread() {
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..200 {
        let plan = format!("p{number}");
        let delay = delay("crm", &plan, 599);
        assert!((0..=599).contains(&delay), "{plan}: {delay}");
        assert_eq!(delay, super::due::delay("crm", &plan, 599));
        seen.insert(delay);
    }
    assert!(seen.len() > 100, "{seen:?}");
    assert!(seen.first() < Some(&60) && seen.last() > Some(&540));
    let shortest: std::collections::BTreeSet<i64> = (0..20)
        .map(|number| super::due::delay("crm", &format!("p{number}"), 1))
        .collect();
    assert_eq!(shortest, [0, 1].into());
    assert_ne!(delay("crm", "p", 599), delay("shop", "p", 599));
}

#[test]
fn with_a_spread_the_time_before_holds_until_the_delay_is_over() {
    let mut facts = facts("20T06:00", &[plan("p", spread(1800))]);
    let spread = Terms { spread: true };
    let delay = delay("crm", "p", 1800);
    assert!(delay > 60);
    facts.points = vec![point("20T05:59:59")];
    facts.now = plus(at("20T06:00"), delay - 1);
    let before = agenda(&facts, spread);
    assert_eq!(before.now, []);
    assert_eq!(before.next(), Some(plus(at("20T06:00"), delay)));
    facts.now = plus(at("20T06:00"), delay);
    let due = agenda(&facts, spread).now;
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].slot, Some(at("20T06:00")));
    // A point that somebody took meanwhile is young enough.
    facts.points.push(point("20T06:00:30"));
    assert_eq!(agenda(&facts, spread).now, []);
    // A time that was missed stays due until the delay of the next one is over.
    facts.points = vec![point("20T04:59:59")];
    facts.now = plus(at("20T06:00"), delay - 1);
    assert_eq!(agenda(&facts, spread).now[0].slot, Some(at("20T05:00")));
}

#[test]
fn the_spread_is_ignored_unless_the_runner_keeps_to_it() {
    let mut facts = facts("20T06:00", &[plan("p", spread(1800))]);
    facts.points = vec![point("20T05:59:59")];
    assert_eq!(now(&facts), ["backup p 20T06:00 #1"]);
}

#[test]
fn due_work_waits_until_no_window_covers_the_time() {
    let office = not_during("0 * * * *", &["Mon-Fri 08:00-18:00"]);
    let night = not_during("0 3 * * *", &["22:00-06:00"]);
    for (when, time, begin) in [
        (&office, "20T07:59:59", "20T07:59:59"),
        (&office, "20T08:00", "20T18:00"),
        (&office, "20T12:34:56", "20T18:00"),
        (&office, "20T18:00", "20T18:00"),
        (&office, "21T12:00", "21T12:00"),
        (&night, "20T03:00", "20T06:00"),
        (&night, "20T23:59:59", "21T06:00"),
        (&night, "20T21:59", "20T21:59"),
    ] {
        let mut facts = facts(time, &[plan("p", when.clone())]);
        facts.points = vec![point("18T00:00")];
        let agenda = agenda(&facts, Terms::default());
        let found = agenda.when(JobKind::Backup, "p", facts.now);
        assert_eq!(found, Some(at(begin)), "{time}");
        assert_eq!(agenda.now.is_empty(), time != begin, "{time}");
    }
}

#[test]
fn a_time_of_the_schedule_within_a_window_is_foretold_for_its_end() {
    let plan = plan("p", not_during("0 3 * * *", &["22:00-06:00"]));
    let mut facts = facts("20T21:00", &[plan]);
    facts.points = vec![point("20T06:00")];
    assert_eq!(
        later(&facts),
        [(at("21T06:00"), "backup p 21T03:00 #1".to_owned())]
    );
}

#[test]
fn a_window_that_begins_while_an_attempt_waits_is_kept_to() {
    let when = When {
        retry: retrying("", 3, "20m").retry,
        ..not_during("0 6 * * *", &["06:10-07:00"])
    };
    let mut facts = facts("20T06:02", &[plan("p", when)]);
    facts.jobs = vec![run("20T06:00", "20T06:00", JobOutcome::Failed)];
    let expected = [(at("20T07:00"), "backup p 20T06:00 #2".to_owned())];
    assert_eq!(later(&facts), expected);
    assert_eq!(later(&then(&facts, "20T06:30")), expected);
    assert_eq!(now(&then(&facts, "20T07:00")), ["backup p 20T06:00 #2"]);
}
