//! Lifecycle rules of a bucket against what is still needed in it. Pure.

use crate::config::KeepRules;
use crate::point::PointId;
use crate::retention::{Held, Rules, simulate};
use jiff::Timestamp;
use lifeboat_store::bucket::control::{Expiry, Rule};

/// Classes from which nothing is read before it was brought back, which takes hours.
const FROZEN: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];
/// Days that are simulated at most.
const DAYS_MAX: u32 = 3660;
/// Days in which each rule of retention chooses a point at least once.
const ROUND_DAYS: u32 = 366;
const SECONDS_PER_DAY: i64 = 86_400;

/// What must stay in a bucket.
#[derive(Debug, Default)]
pub struct Needs {
    /// The keys that are needed for good: their prefixes, complete.
    pub forever: Vec<(String, &'static str)>,
    /// The points of each plan.
    pub plans: Vec<Points>,
    /// The prefix of everything.
    pub prefix: String,
    /// Whether this configuration deletes there.
    pub prunes: bool,
    /// Now.
    pub now: Timestamp,
}

impl Needs {
    /// Returns whether nothing is needed.
    pub fn is_empty(&self) -> bool {
        self.forever.is_empty() && self.plans.is_empty()
    }
}

/// The points of a plan in a store.
#[derive(Debug)]
pub struct Points {
    /// The plan.
    pub plan: String,
    /// The points, the oldest first.
    pub held: Vec<Held>,
    /// What keeps them.
    pub rules: Rules,
    /// The keys of each point that goes some day, complete: one for each object.
    pub keys: Vec<(PointId, Vec<String>)>,
}

/// Returns for each rule that takes what is needed its name, and what it would do first.
pub fn harm(rules: &[Rule], needs: &Needs) -> Vec<(String, String)> {
    let mut harm = Vec::new();
    for (number, rule) in (1..).zip(rules) {
        if !rule.is_enabled || rule.needs_tags {
            // No object of ours has tags.
            continue;
        }
        let name = match rule.id.is_empty() {
            true => format!("rule-{number}"),
            false => rule.id.clone(),
        };
        let frozen = rule.transitions.iter();
        let frozen = frozen.filter(|transition| FROZEN.contains(&transition.class.as_str()));
        let deeds = rule.expiry.iter().map(|when| ("deletes", when));
        let deeds = deeds.chain(frozen.map(|transition| ("freezes", &transition.when)));
        let first = deeds
            .into_iter()
            .find_map(|(deed, when)| first(deed, when, &rule.prefix, needs));
        if let Some(what) = first {
            let prefix = match rule.prefix.is_empty() {
                true => "everything".to_owned(),
                false => format!("{:?}", rule.prefix),
            };
            harm.push((
                name.clone(),
                format!("lifecycle rule {name}, about {prefix}, {what}"),
            ));
        }
    }
    harm
}

/// What a rule would do first to something that is needed.
fn first(deed: &str, when: &Expiry, prefix: &str, needs: &Needs) -> Option<String> {
    let days = match when {
        Expiry::Days(days) => *days,
        // At a date it takes everything that is there then, and all that comes later.
        Expiry::Date(_) => 0,
    };
    let when = match when {
        Expiry::Days(days) => format!("after {days} days"),
        Expiry::Date(date) => format!("from {date} on"),
    };
    let overlaps = |key: &str| key.starts_with(prefix) || prefix.starts_with(key);
    if let Some((key, what)) = needs.forever.iter().find(|(key, _)| overlaps(key)) {
        return Some(format!(
            "{deed} {what} ({key}) {when}, which are needed for good"
        ));
    }
    needs.plans.iter().find_map(|points| {
        let point = hit(days, prefix, points, needs)?;
        Some(match point {
            Hit::Point(point, key) => {
                let at = add_days(point.time(), days).map_or(String::new(), |at| {
                    format!(" on {}", at.strftime("%Y-%m-%d"))
                });
                format!(
                    "{deed} {key} of point {point}{at}, which plan {} still keeps then",
                    points.plan
                )
            }
            Hit::Coming => format!(
                "{deed} points of plan {} {when}, and it keeps some for longer",
                points.plan
            ),
        })
    })
}

/// What a rule hits first.
enum Hit<'a> {
    /// A point that there is, by one of its keys.
    Point(&'a PointId, &'a str),
    /// Points that will be taken.
    Coming,
}

fn hit<'a>(days: u32, prefix: &str, points: &'a Points, needs: &Needs) -> Option<Hit<'a>> {
    let of_point = |(point, keys): &'a (PointId, Vec<String>)| {
        let key = keys.iter().find(|key| key.starts_with(prefix))?;
        Some((point, key.as_str()))
    };
    let matched: Vec<(&PointId, &str)> = points.keys.iter().filter_map(of_point).collect();
    let none_yet = points.keys.is_empty()
        && (needs.prefix.starts_with(prefix) || prefix.starts_with(&needs.prefix));
    if matched.is_empty() && !none_yet {
        return None;
    }
    let keeps_everything = |rules: &KeepRules| rules.is_empty();
    if points.rules.rules.as_ref().is_none_or(keeps_everything) {
        let first = matched.first();
        return Some(first.map_or(Hit::Coming, |(point, key)| Hit::Point(point, key)));
    }
    if days > DAYS_MAX {
        return None;
    }
    let now = needs.now;
    // A point that is older already is taken by the rule today.
    let overdue = points.held.iter().filter(|held| {
        held.leaving.is_none() && add_days(held.point.time(), days).is_some_and(|at| at <= now)
    });
    let mut kept: Vec<PointId> = overdue.map(|held| held.point.clone()).collect();
    kept.extend(stays(points, now, days, days));
    if let Some((point, key)) = matched.into_iter().find(|(point, _)| kept.contains(point)) {
        return Some(Hit::Point(point, key));
    }
    let coming = stays(points, now, days.saturating_add(ROUND_DAYS), days);
    (!coming.is_empty()).then_some(Hit::Coming)
}

/// The points that are still kept in so many days, if a point is taken each day, and are so many days old
/// then.
fn stays(points: &Points, now: Timestamp, in_days: u32, age: u32) -> Vec<PointId> {
    let times = (0..=in_days).filter_map(|day| add_days(now, day));
    let stays = simulate(points.held.clone(), &points.rules, times);
    let taken_before = add_days(now, in_days.saturating_sub(age)).unwrap_or(now);
    let kept = stays
        .into_iter()
        .filter(|held| held.leaving.is_none() && held.point.time() <= taken_before);
    kept.map(|held| held.point).collect()
}

fn add_days(time: Timestamp, days: u32) -> Option<Timestamp> {
    let seconds = i64::from(days).checked_mul(SECONDS_PER_DAY)?;
    Timestamp::from_second(time.as_second().checked_add(seconds)?).ok()
}

/// Returns whether versions expire some day that are not the newest, wherever this store puts objects.
pub fn clears(rules: &[Rule], needs: &Needs) -> bool {
    rules.iter().any(|rule| {
        rule.is_enabled
            && !rule.needs_tags
            && rule.noncurrent_days.is_some()
            && needs.prefix.starts_with(&rule.prefix)
    })
}

#[cfg(test)]
mod tests;
