//! Objectives: whether schedules can meet them, and whether anything is left out.

use super::{Gravity, Issue};
use crate::config::Config;
use crate::name::Name;
use crate::schedule::suggestion;
use crate::span::Span;
use std::collections::BTreeMap;

/// Reports sources that no plan captures often enough for `app.rpo`: a weekly plan beside an hourly
/// one of the same sources is no problem.
pub(super) fn recovery_point(config: &Config, issues: &mut Vec<Issue>) {
    let Some(rpo) = config.app.rpo else {
        return;
    };
    for (plan, (gap, sources)) in late_sources(config, rpo) {
        let sources = sources.join(", ");
        let message = format!(
            "two runs can be {gap} apart, so that {gap} of work in {sources} can be lost; app.rpo is {rpo}"
        );
        let issue = Issue::new(Gravity::Error, format!("plan.{plan}"), "schedule", message);
        let example = suggestion(rpo.seconds.saturating_sub(1));
        let example = example.map_or(String::new(), |text| format!(" (schedule = \"{text}\")"));
        issues.push(issue.hint(format!(
            "run more often than every {rpo}{example}, or raise app.rpo above {gap}: a run takes time, too"
        )));
    }
    // A plan that is started by hand, beside a scheduled one, keeps more than is required.
    let by_itself = |source: &Name| {
        let mut plans = config.plan.values();
        plans.any(|plan| plan.when.schedule.is_some() && plan.sources.contains(source))
    };
    for (name, _) in config
        .plan
        .iter()
        .filter(|(_, plan)| plan.when.schedule.is_none() && !plan.sources.iter().all(by_itself))
    {
        let message = format!("it has no schedule, so that nothing here keeps app.rpo = {rpo}");
        let issue = Issue::new(Gravity::Warning, format!("plan.{name}"), "", message);
        issues.push(issue.hint("add a schedule, unless something else starts this plan"));
    }
}

/// The sources that no scheduled plan captures within `rpo`, by the plan that comes closest, with
/// its gap. Sources that have only plans without a schedule are left out.
fn late_sources(config: &Config, rpo: Span) -> BTreeMap<&str, (Span, Vec<&str>)> {
    let gaps: BTreeMap<_, _> = config
        .plan
        .iter()
        .filter_map(|(name, plan)| Some((name.as_str(), plan.when.gap_max()?)))
        .collect();
    let mut late: BTreeMap<&str, (Span, Vec<&str>)> = BTreeMap::new();
    for source in config.source.keys() {
        let plans = config
            .plan
            .iter()
            .filter(|(_, plan)| plan.sources.contains(source));
        let best = plans
            .filter_map(|(name, _)| Some((*gaps.get(name.as_str())?, name.as_str())))
            .min();
        // Equal is not enough: a run takes time, too.
        if let Some((gap, plan)) = best.filter(|(gap, _)| *gap >= rpo) {
            late.entry(plan).or_insert((gap, Vec::new())).1.push(source);
        }
    }
    late
}

/// Reports sources that are never backed up, and plans that are never proved.
pub(super) fn unused(config: &Config, issues: &mut Vec<Issue>) {
    let warning = |subject: String, message: &str, hint: &str| {
        Issue::new(Gravity::Warning, subject, "", message).hint(hint)
    };
    for name in config.source.keys() {
        if !config.plan.values().any(|plan| plan.sources.contains(name)) {
            issues.push(warning(
                format!("source.{name}"),
                "it is in no plan, so that it is never backed up",
                "add it to the sources of a plan",
            ));
        }
    }
    let drilled = |name: &Name| {
        config
            .drill
            .values()
            .any(|drill| drill.plans.contains(name))
    };
    for (name, plan) in &config.plan {
        // A plan that is started by hand is proved by the drills of plans with the same sources.
        let same_is_drilled = plan.when.schedule.is_none()
            && plan.sources.iter().all(|source| {
                let mut plans = config.plan.iter();
                plans.any(|(other, plan)| drilled(other) && plan.sources.contains(source))
            });
        if !drilled(name) && !same_is_drilled {
            issues.push(warning(
                format!("plan.{name}"),
                "no drill restores it, so that nothing proves that it can be restored",
                "add a [drill.NAME] that has it among its plans",
            ));
        }
    }
    if config.plan.is_empty() {
        issues.push(warning(
            "app".into(),
            "there is no plan, so that nothing is backed up",
            "add a [plan.NAME] with sources and stores",
        ));
    }
}

/// Reports drills that cannot run, or are overdue before they run again.
pub(super) fn drills(config: &Config, issues: &mut Vec<Issue>) {
    for (name, drill) in &config.drill {
        let subject = format!("drill.{name}");
        let first_plan = drill.plans.first().and_then(|plan| config.plan.get(plan));
        let store = drill.store.as_ref();
        let store = store.or_else(|| first_plan?.stores.first());
        let stored = store.and_then(|name| Some((name, config.store.get(name)?)));
        // One without a schedule may be for another host, which has the key.
        if let Some((store, stored)) = stored.filter(|_| drill.when.schedule.is_some())
            && let Some(encrypt) = &stored.encrypt
            && !stored
                .decrypt
                .as_ref()
                .is_some_and(|d| d.opens(encrypt.format()))
        {
            let message =
                format!("store {store:?} encrypts, and no key to decrypt it is named here");
            let issue = Issue::new(Gravity::Warning, &subject, "store", message);
            let format = encrypt.format();
            issues.push(issue.hint(format!(
                "add decrypt = {{ {format} = \"file:PATH\" }} to [store.{store}] where drills run, or drill another store"
            )));
        }
        if let (Some(gap), Some(max_age)) = (drill.when.gap_max(), drill.max_age)
            && gap > max_age
        {
            let message = format!("it runs every {gap} and is overdue after {max_age}");
            let issue = Issue::new(Gravity::Warning, &subject, "max_age", message);
            issues.push(issue.hint(format!("raise max_age above {gap}, or drill more often")));
        }
    }
}
