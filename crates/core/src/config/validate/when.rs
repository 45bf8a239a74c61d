//! What runs by itself: schedules with their bounds, verifications, and the table `[run]`.

use super::Issue;
use crate::config::{Config, When};
use crate::window;

/// Most jobs of one application at a time.
const PARALLEL_MAX: u32 = 16;
/// Most runs for one time of a schedule.
const ATTEMPTS_MAX: u32 = 20;

/// Refuses bounds within which nothing could ever run.
pub(super) fn bounds(config: &Config, issues: &mut Vec<Issue>) {
    let plans = config
        .plan
        .iter()
        .map(|(name, plan)| (format!("plan.{name}"), &plan.when));
    let drills = config
        .drill
        .iter()
        .map(|(name, drill)| (format!("drill.{name}"), &drill.when));
    let verify = config
        .verify
        .iter()
        .map(|(name, verify)| (format!("verify.{name}"), &verify.when));
    let reports = config
        .report
        .iter()
        .map(|(name, report)| (format!("report.{name}"), &report.when));
    for (subject, when) in plans.chain(drills).chain(verify).chain(reports) {
        bound(&subject, when, issues);
    }
}

fn bound(subject: &str, when: &When, issues: &mut Vec<Issue>) {
    let mut refuse = |at: &str, message: String, hint: &str| {
        issues.push(Issue::refused(subject, at, message).hint(hint));
    };
    if window::longest_wait(&when.not_during).is_none() {
        let message = "these windows cover the whole week, so that it would never run".to_owned();
        refuse("not_during", message, "leave time in which it may run");
    }
    if !(1..=ATTEMPTS_MAX).contains(&when.retry.attempts) {
        let message = format!("{} attempts are not possible", when.retry.attempts);
        let hint = "use a number from 1, which tries nothing again, to 20";
        refuse("retry.attempts", message, hint);
    }
    if when.timeout.is_some_and(|timeout| timeout.seconds == 0) {
        let hint = "write how long it may take, or remove the key";
        refuse("timeout", "it would be ended at once".to_owned(), hint);
    }
    if let (Some(spread), Some(schedule)) = (when.spread, when.schedule()) {
        let gap = schedule.gap_max();
        if spread >= gap {
            let message = format!("it is not shorter than the {gap} between two runs");
            refuse("spread", message, "shorten it, or run less often");
        }
    }
}

/// Refuses verifications of nothing that exists.
pub(super) fn verifications(config: &Config, issues: &mut Vec<Issue>) {
    for (name, verify) in &config.verify {
        let subject = format!("verify.{name}");
        if verify.point.is_some() && verify.sample.is_some() {
            let issue = Issue::refused(&subject, "sample", "it is given beside point");
            issues.push(issue.hint("give one of point and sample"));
        }
        if let Some(sample) = &verify.sample
            && crate::amount::share(sample).is_none()
        {
            let issue = Issue::refused(&subject, "sample", format!("{sample:?} is no share"));
            issues.push(issue.hint("write it as \"10%\""));
        }
        if let Some(store) = &verify.store
            && !config.store.contains_key(store)
        {
            issues.push(super::shape::unknown(
                &subject,
                "store",
                store,
                &config.store,
                "store",
            ));
        }
    }
}

/// Refuses reports that nobody would receive.
pub(super) fn reports(config: &Config, issues: &mut Vec<Issue>) {
    for (name, report) in &config.report {
        let subject = format!("report.{name}");
        if report.when.schedule.is_none() {
            let issue = Issue::refused(&subject, "", "it has no schedule, and is never sent");
            issues
                .push(issue.hint("add schedule = \"0 6 * * 1\"; `lifeboat report` prints one now"));
        }
        if report.to.is_empty() {
            let issue = Issue::refused(&subject, "to", "nobody would receive it");
            issues.push(issue.hint("name channels: to = [\"ops\"], with a [notify.ops]"));
        }
        for (index, to) in report.to.iter().enumerate() {
            let at = format!("to[{index}]");
            match config.notify.get(to) {
                None => {
                    let known = &config.notify;
                    issues.push(super::shape::unknown(&subject, &at, to, known, "notify"));
                }
                Some(channel) if !channel.kind.takes_reports() => {
                    let kind = channel.kind.name();
                    let message = format!("channel {to} is a {kind}, which calls people");
                    let issue = Issue::refused(&subject, at, message);
                    issues.push(issue.hint("name a channel of another kind, as email or slack"));
                }
                Some(_) if report.to.iter().take(index).any(|earlier| earlier == to) => {
                    let issue =
                        Issue::refused(&subject, at, format!("channel {to} is named twice"));
                    issues.push(issue.hint("name each channel once"));
                }
                Some(_) => {}
            }
        }
    }
}

/// Checks the table `[run]`.
pub(super) fn run(config: &Config, issues: &mut Vec<Issue>) {
    let run = &config.run;
    if !(1..=PARALLEL_MAX).contains(&run.parallel) {
        let message = format!("{} jobs at a time are not possible", run.parallel);
        let issue = Issue::refused("run", "parallel", message);
        issues.push(issue.hint("use a number from 1 to 16"));
    }
    if let Some(store) = &run.memory
        && !config.store.contains_key(store)
    {
        issues.push(super::shape::unknown(
            "run",
            "memory",
            store,
            &config.store,
            "store",
        ));
    }
}
