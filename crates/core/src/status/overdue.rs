//! The plans that are overdue, each with a sentence.

use super::due::Terms;
use super::facts::Facts;
use super::judge::{Freshness, PlanStatus, judge};
use super::limit::LimitOf;
use crate::context::Context;
use crate::evidence;
use crate::name::Name;
use crate::span::Span;
use crate::survey::Survey;

/// The plans whose newest complete point is older than it may be, each with a sentence. While no
/// plan has one, there is nothing to tell.
pub fn overdue(context: &Context, survey: &Survey) -> Vec<(Name, String)> {
    // What was found unchanged counts while no record says that the point does not come back.
    let is_noted = survey
        .marks
        .values()
        .any(|marks| !marks.unchanged.is_empty());
    let listed = match is_noted {
        true => evidence::list(context)
            .map(|(listed, _)| listed)
            .unwrap_or_default(),
        false => Vec::new(),
    };
    late(&Facts::of(context, survey, &listed, Vec::new()))
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
            match plan.unchanged_at {
                None => format!("its newest complete point, {point}, is {age} old{limit}"),
                Some(_) => format!(
                    "its newest complete point, {point}, was found unchanged {age} ago{limit}"
                ),
            }
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
