//! Gaps between backups that are long enough for something else. Pure.

use super::due::{Basis, Due, later};
use crate::config::When;
use crate::history::JobKind;
use crate::schedule::Schedule;
use crate::window;
use jiff::Timestamp;

/// Most backups between which a gap is sought.
const BACKUPS_MAX: u32 = 1000;

/// The backups to come.
pub(super) struct Backups<'a>(Vec<Coming<'a>>);

/// The next backup of a plan.
#[derive(Clone)]
struct Coming<'a> {
    at: Timestamp,
    when: &'a When,
    schedule: Schedule,
    delay: i64,
    /// Its usual duration in seconds.
    length: i64,
}

impl<'a> Backups<'a> {
    /// `turns` holds the next turn of each plan.
    pub(super) fn new(basis: &Basis<'a>, turns: &[(Timestamp, Due)]) -> Self {
        let coming = turns.iter().filter_map(|(at, due)| {
            let mut plans = basis.facts.plans.iter();
            let when = &plans.find(|plan| plan.name == due.subject)?.when;
            Some(Coming {
                at: *at,
                when,
                schedule: when.schedule()?,
                delay: basis.delay(when, JobKind::Backup, &due.subject),
                length: whole(due.usual),
            })
        });
        Backups(coming.collect())
    }

    /// When the first one will have ended.
    pub(super) fn first_end(&self, now: Timestamp) -> Option<Timestamp> {
        let first = self.0.iter().min_by_key(|coming| coming.at)?;
        Some(later(first.at.max(now), first.length.saturating_add(1)))
    }
}

impl Coming<'_> {
    /// The first one of this plan that begins after this time.
    fn after(mut self, time: Timestamp) -> Option<Self> {
        if self.at <= time {
            let slot = self.schedule.next_after(later(time, -self.delay))?;
            self.at = window::free_from(&self.when.not_during, later(slot, self.delay))?;
        }
        Some(self)
    }
}

fn whole(seconds: Option<u64>) -> i64 {
    i64::try_from(seconds.unwrap_or(0)).unwrap_or(i64::MAX)
}

/// Puts something off that would still run when the next backup is due: until the first gap between
/// backups that is long enough. If there is none before its own next time, it runs beside.
pub(super) fn give_way(
    basis: &Basis<'_>,
    backups: &Backups<'_>,
    when: &When,
    (at, due): (Timestamp, Due),
) -> (Timestamp, Due) {
    let usual = whole(due.usual);
    if usual == 0 {
        return (at, due);
    }
    let begin = at.max(basis.facts.now);
    let delay = basis.delay(when, due.kind, &due.subject);
    let following = when
        .schedule()
        .and_then(|schedule| schedule.next_after(later(begin, -delay)));
    let until = following.map_or(Timestamp::MAX, |slot| later(slot, delay));
    let coming = backups.0.iter().cloned();
    let mut coming: Vec<Coming<'_>> = coming.filter_map(|one| one.after(begin)).collect();
    let mut free = begin;
    for _ in 0..BACKUPS_MAX {
        let first = coming.iter().enumerate();
        let first = first.min_by_key(|(_, coming)| coming.at);
        let Some(place) = first.map(|(place, _)| place) else {
            break;
        };
        let next = coming.swap_remove(place);
        let time = next.at;
        if later(free, usual) <= time {
            return (if free == begin { at } else { free }, due);
        }
        let end = later(free.max(time), next.length.saturating_add(1));
        free = match window::free_from(&when.not_during, end) {
            Some(free) if free < until => free,
            _ => break,
        };
        coming.extend(next.after(time));
    }
    (at, due)
}
