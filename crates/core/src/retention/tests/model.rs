//! What the manual says is kept, word by word, for one point at a time. It shares no code with what
//! it checks.

use super::super::{Held, Rules};
use crate::config::{OfPeriod, Reach};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The calendar, by the name of the rule.
const PERIODS: [&str; 5] = ["hourly", "daily", "weekly", "monthly", "yearly"];

fn period(held: &Held, rule: &str) -> String {
    let at = held.point.time().to_zoned(TimeZone::UTC);
    let form = match rule {
        "hourly" => "%Y-%m-%d %H",
        "daily" => "%Y-%m-%d",
        "weekly" => "%G week %V",
        "monthly" => "%Y-%m",
        _ => "%Y",
    };
    at.strftime(form).to_string()
}

fn seconds(at: Timestamp) -> i128 {
    i128::from(at.as_second())
}

/// Says if a point stays.
pub fn is_kept(held: &Held, all: &[Held], rules: &Rules) -> bool {
    let Some(keep) = &rules.rules else {
        return true;
    };
    let complete: Vec<&Held> = all.iter().filter(|h| h.sound && !h.safety).collect();
    // "The newest complete point stays", and "the newest keep_minimum complete points".
    let newer = complete.iter().filter(|h| h.point > held.point).count();
    let is_complete = held.sound && !held.safety;
    if is_complete && newer < (rules.minimum as usize).max(1) {
        return true;
    }
    // "Spans reach back from the newest complete point."
    let newest = complete.iter().map(|h| &h.point).max();
    let newest = newest.or_else(|| all.iter().map(|h| &h.point).max());
    let newest = seconds(newest.unwrap().time());
    let age = newest - seconds(held.point.time());
    if held.safety {
        return age < i128::from(rules.safety.seconds);
    }
    if held.manual {
        return age < i128::from(rules.manual.seconds);
    }
    let ruled: Vec<&Held> = all.iter().filter(|h| !h.safety && !h.manual).collect();
    let sound: Vec<&Held> = ruled.iter().filter(|h| h.sound).copied().collect();
    let young =
        |span: u64, held: &Held| newest - seconds(held.point.time()) < i128::from(span) && span > 0;
    let newer_in = |list: &[&Held]| list.iter().filter(|h| h.point > held.point).count();
    // "last": the newest points. "within": every point that is young enough.
    let list = if held.sound { &sound } else { &ruled };
    if newer_in(list) < keep.last.unwrap_or(0) as usize {
        return true;
    }
    if keep.within.is_some_and(|span| young(span.seconds, held)) {
        return true;
    }
    let reaches = [
        keep.hourly,
        keep.daily,
        keep.weekly,
        keep.monthly,
        keep.yearly,
    ];
    let mut rules = PERIODS.into_iter().zip(reaches);
    rules.any(|(rule, reach)| {
        reach.is_some_and(|reach| by_period(held, &ruled, rule, reach, keep.of_period, newest))
    })
}

/// Says if one rule about periods keeps a point.
fn by_period(
    held: &Held,
    ruled: &[&Held],
    rule: &str,
    reach: Reach,
    of_period: OfPeriod,
    newest: i128,
) -> bool {
    let sound: Vec<&Held> = ruled.iter().filter(|h| h.sound).copied().collect();
    let young = |span: u64| newest - seconds(held.point.time()) < i128::from(span) && span > 0;
    // "A point that is not sound stands only in a period that has no sound one."
    let has_sound = |h: &Held| sound.iter().any(|s| period(s, rule) == period(h, rule));
    let list: Vec<&Held> = match held.sound {
        true => sound.clone(),
        false => ruled
            .iter()
            .filter(|h| h.sound || !has_sound(h))
            .copied()
            .collect(),
    };
    if !list.iter().any(|h| h.point == held.point) {
        return false;
    }
    let beside: Vec<&&Held> = list
        .iter()
        .filter(|h| period(h, rule) == period(held, rule))
        .collect();
    let chosen = match of_period {
        OfPeriod::Last => beside.iter().map(|h| &h.point).max(),
        OfPeriod::First => beside.iter().map(|h| &h.point).min(),
    };
    let is_chosen = chosen == Some(&held.point);
    let is_oldest = list.iter().all(|h| h.point >= held.point);
    let mut periods: Vec<String> = list.iter().map(|h| period(h, rule)).collect();
    periods.sort();
    periods.dedup();
    match reach {
        // "So many periods that have points"; "while there are fewer, the oldest of all".
        Reach::Count(count) => {
            let count = count as usize;
            let before = periods.iter().filter(|p| **p > period(held, rule)).count();
            is_chosen && before < count || is_oldest && periods.len() < count
        }
        // "Periods this recent."
        Reach::Span(span) => (is_chosen || is_oldest) && young(span.seconds),
    }
}
