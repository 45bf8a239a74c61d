//! Projection of the points of a plan by its schedule and rules, until as many points go as are taken. Pure:
//! [`crate::retention`] decides which points stay.

use super::facts::{MONTH_DAYS, Pace, days_after, float, mean};
use crate::point::PointId;
use crate::retention::{Held, Rules, simulate};
use jiff::Timestamp;

/// Months of a round, after which the number of points is compared with that of the round before: the
/// long round is for points that are taken or kept once a year.
const ROUND_MONTHS_LONG: u32 = 12;
const ROUND_MONTHS: u32 = 3;
/// Fewest months of a projection, so that the last 180 days are simulated, and most.
const MONTHS_MIN: u32 = 9;
const MONTHS_MAX: u32 = 144;
/// Most decisions about single points, so that an answer comes in seconds.
const DECISIONS_MAX: usize = 1_000_000;
/// Difference between the mean numbers of points of two rounds that counts as none.
const SAME: f64 = 0.5;

/// A projection of the points of a plan.
#[derive(Debug)]
pub(super) struct Projection {
    /// Points at the end of each month of the last round.
    months: Vec<Month>,
    /// When points were taken, the oldest first.
    taken: Vec<Timestamp>,
    /// Days from now until the number of points grows no more; `None` if it still does.
    pub steady_after_days: Option<u32>,
}

#[derive(Debug)]
struct Month {
    end: Timestamp,
    points: Vec<PointId>,
}

/// Projects the points from `held` on. With several rules, each keeps its own points, and a point counts
/// as long as one of them keeps it.
pub(super) fn project(held: &[Held], rules: &[Rules], pace: &Pace, now: Timestamp) -> Projection {
    project_within(held, rules, pace, now, DECISIONS_MAX)
}

/// Does the same with at most about this many decisions.
fn project_within(
    held: &[Held],
    rules: &[Rules],
    pace: &Pace,
    now: Timestamp,
    decisions_max: usize,
) -> Projection {
    let mut places: Vec<Vec<Held>> = rules.iter().map(|_| held.to_vec()).collect();
    let mut projection = Projection {
        months: Vec::new(),
        taken: Vec::new(),
        steady_after_days: None,
    };
    let mut counts: Vec<usize> = Vec::new();
    let (mut at, mut before, mut decisions) = (now, None, 0);
    let round = round_months(rules, pace, now);
    for round_number in 1..=MONTHS_MAX / round {
        projection.months.clear();
        for _ in 0..round {
            let end = days_after(at, MONTH_DAYS);
            let times = pace.times(at, end);
            for (place, rules) in places.iter_mut().zip(rules) {
                let points = std::mem::take(place);
                *place = simulate(points, rules, times.iter().copied());
            }
            projection.taken.extend(&times);
            let placed = places.iter().zip(rules).flat_map(|(place, rules)| {
                // Without a grace period, what is announced goes in the same run.
                let stays = |held: &&Held| held.leaving.is_none() || rules.grace.seconds > 0;
                place.iter().filter(stays)
            });
            let mut points: Vec<PointId> = placed.map(|held| held.point.clone()).collect();
            points.sort_unstable();
            points.dedup();
            // A prune each day decides about every point.
            decisions += points.len().max(times.len()) * 30;
            counts.push(points.len());
            projection.months.push(Month { end, points });
            at = end;
        }
        let count = projection.points();
        let is_same = before.is_some_and(|before: f64| (count - before).abs() < SAME);
        if is_same && round_number * round >= MONTHS_MIN {
            projection.steady_after_days = Some(steady_after(&counts, round));
            break;
        }
        if decisions > decisions_max {
            break;
        }
        before = Some(count);
    }
    projection
}

/// Chooses the months of a round, so that a number that grows at all grows by a point in each.
fn round_months(rules: &[Rules], pace: &Pace, now: Timestamp) -> u32 {
    let is_yearly = |rules: &Rules| {
        rules
            .rules
            .as_ref()
            .is_some_and(|rules| rules.yearly.is_some())
    };
    let is_seldom = pace.in_month(now).is_none_or(|points| points < 1.0);
    match is_seldom || rules.iter().any(is_yearly) {
        true => ROUND_MONTHS_LONG,
        false => ROUND_MONTHS,
    }
}

/// Days until the number of points, month by month, is first what it is in the last round for good.
fn steady_after(counts: &[usize], round: u32) -> u32 {
    let round = usize::try_from(round).unwrap_or(usize::MAX);
    let last = counts.iter().rev().take(round);
    let (least, most) = (last.clone().min(), last.max());
    let is_other = |count: &usize| Some(count) < least || Some(count) > most;
    let months = counts
        .iter()
        .rposition(is_other)
        .map_or(0, |place| place + 1);
    u32::try_from(months + 1)
        .unwrap_or(u32::MAX)
        .saturating_mul(MONTH_DAYS)
}

impl Projection {
    /// The mean number of points.
    pub fn points(&self) -> f64 {
        let counts = self
            .months
            .iter()
            .map(|month| float(month.points.len() as u64));
        mean(counts).unwrap_or(0.0)
    }

    /// The mean of what all points come to: `known` says it of one that is there today, and `coming` is
    /// what each one comes to that is still to be taken. One that went before `minimum_days` counts
    /// until then.
    pub fn sum(
        &self,
        known: &dyn Fn(&PointId) -> Option<f64>,
        coming: f64,
        minimum_days: u32,
    ) -> f64 {
        let first = self.taken.first().copied().unwrap_or(Timestamp::MAX);
        let of_month = |month: &Month| {
            let seconds = i64::from(minimum_days) * 86_400;
            let begin = month.end.as_second().saturating_sub(seconds);
            let charged = |time: &&Timestamp| time.as_second() > begin && **time <= month.end;
            let young = self.taken.iter().rev().filter(charged).count();
            let old = month.points.iter().filter(|point| {
                let time = point.time();
                time < first || time.as_second() <= begin
            });
            let old: f64 = old.map(|point| known(point).unwrap_or(coming)).sum();
            old + float(young as u64) * coming
        };
        mean(self.months.iter().map(of_month)).unwrap_or(0.0)
    }

    /// The mean age of the oldest point, in days.
    pub fn oldest_days(&self) -> f64 {
        let ages = self.months.iter().filter_map(|month| {
            let oldest = month.points.iter().map(PointId::time).min()?;
            let seconds = month.end.as_second().saturating_sub(oldest.as_second());
            Some(float(u64::try_from(seconds).unwrap_or(0)) / 86_400.0)
        });
        mean(ages).unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KeepRules;
    use crate::schedule::Schedule;
    use crate::span::Span;

    #[test]
    fn a_projection_without_an_end_is_given_up() {
        let day = Span { seconds: 86_400 };
        let rules = Rules {
            rules: Some(KeepRules {
                last: Some(5000),
                ..KeepRules::default()
            }),
            manual: day,
            safety: day,
            minimum: 1,
            grace: day,
        };
        let pace = Pace::Scheduled(Schedule::parse("0 6 * * *").unwrap());
        let now: Timestamp = "2026-12-01T12:00:00Z".parse().unwrap();
        let projection = project_within(&[], &[rules], &pace, now, 10_000);
        assert_eq!(projection.steady_after_days, None);
        assert!(projection.points() > 30.0);
    }
}
