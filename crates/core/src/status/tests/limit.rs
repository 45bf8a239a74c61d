//! The age up to which a plan is fresh.

use super::super::limit::{Limit, LimitOf, limits};
use super::*;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

fn limit_of(plans: &[PlanFacts], rpo: Option<&str>, of: &str) -> Option<(u64, LimitOf)> {
    let limits = limits(plans, rpo.map(span), |_| 0);
    let Limit { seconds, of } = *limits.get(of)?;
    Some((seconds, of))
}

#[test]
fn a_weekly_plan_beside_an_hourly_one_is_judged_by_its_schedule() {
    let hourly = plan("hourly", when("0 * * * *"));
    let weekly = plan("weekly", when("0 3 * * 0"));
    let plans = [hourly, weekly];
    let rpo = Some("25h");
    let objective = (25 * HOUR, LimitOf::Objective);
    assert_eq!(limit_of(&plans, rpo, "hourly"), Some(objective));
    let schedule = (7 * DAY + 42 * HOUR, LimitOf::Schedule);
    assert_eq!(limit_of(&plans, rpo, "weekly"), Some(schedule));
    // It answers for the objective alone, and for a source that it alone has.
    let weekly = &plans[1..];
    assert_eq!(limit_of(weekly, rpo, "weekly"), Some(objective));
    let wider = plan_over("weekly", when("0 3 * * 0"), &["db", "files"]);
    let plans = [plans[0].clone(), wider];
    assert_eq!(limit_of(&plans, rpo, "weekly"), Some(objective));
}

#[test]
fn a_slower_plan_that_meets_the_objective_answers_for_it_and_equal_is_not_enough() {
    let hourly = plan("hourly", when("0 * * * *"));
    let daily = plan("daily", when("0 3 * * *"));
    let plans = [hourly, daily];
    let objective = |seconds| Some((seconds, LimitOf::Objective));
    assert_eq!(limit_of(&plans, Some("25h"), "daily"), objective(25 * HOUR));
    let schedule = Some((30 * HOUR, LimitOf::Schedule));
    assert_eq!(limit_of(&plans, Some("24h"), "daily"), schedule);
    assert_eq!(limit_of(&plans, Some("86401s"), "daily"), objective(86_401));
    assert_eq!(limit_of(&plans, None, "daily"), schedule);
    // Two that run equally often both answer.
    let plans = [plans[1].clone(), plan("p", when("0 4 * * *"))];
    assert_eq!(limit_of(&plans, Some("1h"), "daily"), objective(HOUR));
    assert_eq!(limit_of(&plans, Some("1h"), "p"), objective(HOUR));
}

#[test]
fn a_plan_without_a_schedule_answers_for_what_no_other_takes() {
    let by_hand = plan_over("hand", When::default(), &["db"]);
    let hourly = plan("hourly", when("0 * * * *"));
    let rpo = Some("2h");
    let objective = Some((2 * HOUR, LimitOf::Objective));
    assert_eq!(
        limit_of(std::slice::from_ref(&by_hand), rpo, "hand"),
        objective
    );
    let plans = [by_hand, hourly.clone()];
    assert_eq!(limit_of(&plans, rpo, "hand"), None);
    assert_eq!(limit_of(&plans, rpo, "hourly"), objective);
    let wider = plan_over("hand", When::default(), &["db", "files"]);
    let plans = [wider, hourly];
    assert_eq!(limit_of(&plans, rpo, "hand"), objective);
    assert_eq!(limit_of(&plans, None, "hand"), None);
}

#[test]
fn a_limit_by_the_schedule_allows_for_lateness_spread_windows_and_duration() {
    let limit = |when: When, usual| {
        let limits = limits(&[plan("p", when)], None, |_| usual);
        limits["p"].seconds
    };
    assert_eq!(limit(when("*/5 * * * *"), 0), 300 + HOUR);
    assert_eq!(limit(when("0 * * * *"), 0), 2 * HOUR);
    assert_eq!(limit(when("0 3 * * *"), 0), 30 * HOUR);
    assert_eq!(limit(when("0 3 * * *"), 8 * HOUR), 38 * HOUR);
    let spread = When {
        spread: Some(span("4h")),
        ..when("0 3 * * *")
    };
    assert_eq!(limit(spread, 0), 35 * HOUR);
    let waits = not_during("0 3 * * *", &["02:00-06:00"]);
    assert_eq!(limit(waits, 0), 35 * HOUR);
}
