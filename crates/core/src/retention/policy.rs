//! Rules about periods and numbers, by the policy of the repository engine.
//!
//! Each rule is applied by itself. Sound points are judged as if there were no others; a point that
//! is not sound is kept only in a period that has no sound one.

use super::Held;
use crate::config::{KeepRules, OfPeriod, Reach};
use crate::span::Span;
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use lifeboat_repository::forget::{Count, Dated, Period, Policy, Reason, Within};
use lifeboat_repository::time::Time;
use std::collections::BTreeSet;

/// One rule of a plan.
pub(super) struct Rule {
    policy: Policy,
    /// The period that it is about.
    period: Option<Period>,
}

impl Rule {
    /// The rules that keep anything.
    pub(super) fn all(keep: &KeepRules) -> Vec<Rule> {
        let first_of_period = keep.of_period == OfPeriod::First;
        let none = || Policy {
            first_of_period,
            ..Policy::default()
        };
        let mut rules = Vec::new();
        let mut rule = |period: Option<Period>, policy: Policy| {
            let is_empty = Policy {
                first_of_period: false,
                ..policy.clone()
            }
            .is_empty();
            if !is_empty {
                rules.push(Rule { policy, period });
            }
        };
        rule(
            None,
            Policy {
                last: keep.last.map_or(Count::None, count),
                ..none()
            },
        );
        rule(
            None,
            Policy {
                within: keep.within.map(within).unwrap_or_default(),
                ..none()
            },
        );
        for (period, reach) in Period::ALL.into_iter().zip(keep.periods()) {
            let mut policy = none();
            let each = policy.each.iter_mut().zip(&mut policy.within_each);
            let each = each.zip(Period::ALL).find(|(_, of)| *of == period);
            let (Some(((number, span), _)), Some(reach)) = (each, reach) else {
                continue;
            };
            match reach {
                Reach::Count(count_of) => *number = count(count_of),
                Reach::Span(reached) => *span = within(reached),
            }
            rule(Some(period), policy);
        }
        rules
    }
}

fn count(number: u32) -> Count {
    match number {
        0 => Count::None,
        number => Count::Some(number),
    }
}

fn within(span: Span) -> Within {
    Within {
        seconds: i64::try_from(span.seconds).unwrap_or(i64::MAX),
        ..Within::default()
    }
}

impl Dated for Held {
    fn time(&self) -> Time {
        Time {
            at: self.point.time(),
            offset: Offset::UTC,
        }
    }

    fn has_tags(&self, _: &[String]) -> bool {
        false
    }
}

/// The reasons by which rules keep each point, in the order given. `newest` is the time from which
/// spans reach back.
pub(super) fn reasons(rules: &[Rule], points: &[Held], newest: Timestamp) -> Vec<Vec<Reason>> {
    let mut reasons = vec![Vec::new(); points.len()];
    let mut ordered: Vec<usize> = (0..points.len()).collect();
    // Ids order the points of one second.
    ordered.sort_by_key(|index| points.get(*index).map(|held| &held.point));
    let in_rules = ordered
        .into_iter()
        .filter_map(|index| Some((index, points.get(index)?)));
    let in_rules: Vec<(usize, &Held)> = in_rules
        .filter(|(_, held)| !held.safety && !held.manual)
        .collect();
    for rule in rules {
        let sound: Vec<(usize, &Held)> = in_rules
            .iter()
            .filter(|(_, held)| held.sound)
            .copied()
            .collect();
        let place = |held: &Held| {
            let at = Offset::UTC.to_datetime(held.point.time());
            rule.period.map(|period| period.of(at))
        };
        let taken: BTreeSet<i64> = sound.iter().filter_map(|(_, held)| place(held)).collect();
        let beside: Vec<(usize, &Held)> = in_rules
            .iter()
            .filter(|(_, held)| held.sound || place(held).is_none_or(|p| !taken.contains(&p)))
            .copied()
            .collect();
        for (judged, of_sound) in [(sound, true), (beside, false)] {
            let held: Vec<&Held> = judged.iter().map(|(_, held)| *held).collect();
            let newest = Time {
                at: newest,
                offset: Offset::UTC,
            };
            let found = rule.policy.apply_from(&held, newest, &TimeZone::UTC);
            for ((index, held), found) in judged.into_iter().zip(found) {
                if held.sound == of_sound
                    && let Some(reasons) = reasons.get_mut(index)
                {
                    reasons.extend(found);
                }
            }
        }
    }
    reasons
}
