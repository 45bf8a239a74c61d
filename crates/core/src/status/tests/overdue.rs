//! The sentences about plans that are overdue.

use super::super::overdue::late;
use super::*;

#[test]
fn a_plan_whose_newest_point_is_too_old_is_told() {
    let plans = [
        plan("p", when("0 * * * *")),
        plan_over("other", when("0 3 * * *"), &["elsewhere"]),
        plan_over("none", when("0 3 * * *"), &["nowhere"]),
    ];
    let mut facts = facts("20T09:30", &plans);
    facts.plans.retain(|plan| plan.name != name("other"));
    // While no plan has a point, there is nothing to tell.
    assert_eq!(late(&facts), []);
    facts.points = vec![point("20T06:00")];
    let point = facts.points[0].id.clone();
    let by_schedule = late(&facts);
    assert_eq!(by_schedule.len(), 2);
    let (of, told) = &by_schedule[0];
    assert_eq!(of, &name("p"));
    assert!(
        told.starts_with(&format!(
            "its newest complete point, {point}, is 3h old; by its schedule it is no older than 2h"
        )),
        "{told}"
    );
    assert!(
        by_schedule[1]
            .1
            .starts_with("it has no complete point; by its schedule"),
        "{by_schedule:?}"
    );
    facts.rpo = Some(span("90m"));
    let told = late(&facts);
    let expected =
        format!("its newest complete point, {point}, is 3h old; the objective (app.rpo) is 90m");
    assert_eq!(told[0], (name("p"), expected));
    let expected = "it has no complete point; the objective (app.rpo) is 90m".to_owned();
    assert_eq!(told[1], (name("none"), expected));
    let check = Check {
        at: at("20T07:30"),
        plan: name("p"),
        point: point.clone(),
        slot: None,
    };
    facts.checks = vec![check];
    let expected = format!(
        "its newest complete point, {point}, was found unchanged 2h ago; the objective (app.rpo) is 90m"
    );
    assert_eq!(late(&facts)[0], (name("p"), expected));
    facts.checks.clear();
    facts.now = at("20T07:30");
    assert_eq!(late(&facts).len(), 1);
}
