//! The plans that are overdue, each with a sentence.

use super::due::Terms;
use super::facts::Facts;
use super::judge::{Freshness, PlanStatus, judge};
use super::limit::LimitOf;
use crate::context::Context;
use crate::name::Name;
use crate::span::Span;
use crate::survey::Survey;

/// The plans whose newest complete point is older than it may be, each with a sentence. While no
/// plan has one, there is nothing to tell.
pub fn overdue(context: &Context, survey: &Survey) -> Vec<(Name, String)> {
    late(&Facts::of(context, survey, &[], Vec::new()))
}

pub(super) fn late(facts: &Facts) -> Vec<(Name, String)> {
    let plans = judge(facts, Terms::default()).plans;
    if plans.iter().all(|plan| plan.point.is_none()) {
        return Vec::new();
    }
    let late = plans.iter().filter(|plan| plan.freshness.is_overdue());
    late.map(|plan| (plan.plan.clone(), sentence(plan)))
        .collect()
}

fn sentence(plan: &PlanStatus) -> String {
    let limit = plan.limit_seconds.map(|seconds| Span { seconds });
    let limit = limit.map(|limit| match plan.limit_of {
        Some(LimitOf::Objective) => format!("; the objective (app.rpo) is {limit}"),
        _ => format!(
            "; by its schedule it is no older than {}",
            whole(limit.seconds)
        ),
    });
    let limit = limit.unwrap_or_default();
    match (&plan.point, plan.freshness) {
        (Some(point), Freshness::Overdue) => {
            let age = whole(plan.age_seconds.unwrap_or(0));
            format!("its newest complete point, {point}, is {age} old{limit}")
        }
        _ => format!("it has no complete point{limit}"),
    }
}

/// A span in its largest whole unit, rounded down.
fn whole(seconds: u64) -> Span {
    let unit = [86_400, 3600, 60, 1].into_iter().find(|u| seconds >= *u);
    let unit = unit.unwrap_or(1);
    Span {
        seconds: seconds / unit * unit,
    }
}
