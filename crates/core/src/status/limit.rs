//! The age up to which the newest point of a plan is fresh.

use super::facts::PlanFacts;
use crate::name::Name;
use crate::span::Span;
use std::collections::BTreeMap;

/// Least time that a run of a plan without an objective may be late.
const GRACE_SECONDS_MIN: u64 = 3600;

/// Where a limit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitOf {
    /// The recovery point objective, `app.rpo`.
    Objective,
    /// The schedule of the plan, with the usual duration and some time for a run that is late.
    Schedule,
}

/// The age up to which the newest complete point of a plan is fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The age.
    pub seconds: u64,
    /// Its origin.
    pub of: LimitOf,
}

/// The limit of each plan; `usual` is the usual duration of its runs in seconds. A plan answers for
/// the objective if no other plan captures one of its sources more often, or if its schedule alone
/// would meet it; it answers for its schedule otherwise. A plan without a schedule answers for the
/// sources that no plan with one has.
pub(super) fn limits(
    plans: &[PlanFacts],
    rpo: Option<Span>,
    usual: impl Fn(&Name) -> u64,
) -> BTreeMap<Name, Limit> {
    let gaps: Vec<(&PlanFacts, Option<u64>)> = plans
        .iter()
        .map(|plan| (plan, plan.when.gap_max().map(|gap| gap.seconds)))
        .collect();
    let scheduled = |source: &Name| {
        let mut gaps = gaps.iter();
        gaps.any(|(plan, gap)| gap.is_some() && plan.sources.contains(source))
    };
    let closest = |source: &Name, own: u64| {
        let of_source = gaps
            .iter()
            .filter(|(plan, _)| plan.sources.contains(source));
        of_source.filter_map(|(_, gap)| *gap).all(|gap| own <= gap)
    };
    let limit = |plan: &PlanFacts, gap: Option<u64>| {
        let objective = rpo.map(|rpo| Limit {
            seconds: rpo.seconds,
            of: LimitOf::Objective,
        });
        let Some(gap) = gap else {
            let answers = plan.sources.iter().any(|source| !scheduled(source));
            return objective.filter(|_| answers);
        };
        let answers = |limit: &Limit| {
            gap < limit.seconds || plan.sources.iter().any(|source| closest(source, gap))
        };
        objective.filter(answers).or(Some(Limit {
            seconds: gap
                .saturating_add(usual(&plan.name))
                .saturating_add(GRACE_SECONDS_MIN.max(gap / 4)),
            of: LimitOf::Schedule,
        }))
    };
    gaps.iter()
        .filter_map(|(plan, gap)| Some((plan.name.clone(), limit(plan, *gap)?)))
        .collect()
}
