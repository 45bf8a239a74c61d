//! A status at a later time, if nothing happened in between. Pure.

use super::judge::{DrillStanding, Freshness, Status};
use jiff::Timestamp;

impl Status {
    /// When something becomes overdue, if nothing happens before.
    pub fn next_overdue(&self) -> Option<Timestamp> {
        let plans = self.plans.iter();
        let plans = plans.map(|plan| (plan.age_seconds, plan.limit_seconds));
        let drills = self.drills.iter();
        let drills = drills.map(|drill| (drill.age_seconds, drill.max_age_seconds));
        let left = plans.chain(drills).filter_map(|(age, max)| {
            let left = max?.checked_sub(age?)?;
            i64::try_from(left).ok()
        });
        let seconds = self.at.as_second().checked_add(left.min()? + 1)?;
        Timestamp::from_second(seconds).ok()
    }

    /// The status as of `now`, without looking again.
    pub fn aged(mut self, now: Timestamp) -> Self {
        let passed = now.as_second().saturating_sub(self.at.as_second());
        let passed = u64::try_from(passed).unwrap_or(0);
        self.at = now;
        let over = |age: Option<u64>, max: Option<u64>| matches!((age, max), (Some(age), Some(max)) if age > max);
        for plan in &mut self.plans {
            plan.age_seconds = plan.age_seconds.map(|age| age.saturating_add(passed));
            if plan.freshness == Freshness::Fresh && over(plan.age_seconds, plan.limit_seconds) {
                plan.freshness = Freshness::Overdue;
            }
        }
        for drill in &mut self.drills {
            drill.age_seconds = drill.age_seconds.map(|age| age.saturating_add(passed));
            let proved = matches!(
                drill.standing,
                DrillStanding::Proved | DrillStanding::Restored
            );
            if proved && over(drill.age_seconds, drill.max_age_seconds) {
                drill.standing = DrillStanding::Overdue;
            }
        }
        self
    }
}
