//! Which snapshots a policy keeps: exactly those that `restic forget` keeps by the same rules.
//!
//! Pure: deciding is here, removing is [`remove`]. Periods (an hour, a day, an ISO week, a month, a
//! year) are those of each snapshot's own time zone.

use crate::error::{FileKind, Result};
use crate::id::Id;
use crate::repository::Repository;
use crate::requests;
use crate::snapshot::Snapshot;
use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Span, Timestamp};
use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

/// How many snapshots of a kind to keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Count {
    /// None for this reason.
    #[default]
    None,
    /// This many.
    Some(u32),
    /// All.
    Unlimited,
}

impl FromStr for Count {
    type Err = String;

    /// A number, or `unlimited`; -1 means that, too.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "unlimited" | "-1" => Ok(Count::Unlimited),
            "0" => Ok(Count::None),
            _ => text
                .parse()
                .map(Count::Some)
                .map_err(|_| format!("{text:?} is no count; write a number or unlimited")),
        }
    }
}

/// A length of time by the calendar, as `1y5m7d2h`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Within {
    /// Years.
    pub years: i32,
    /// Months.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Hours.
    pub hours: i32,
}

impl FromStr for Within {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no length of time; write it as 1y5m7d2h, of which any part may be left out"
            )
        };
        let mut within = Within::default();
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, unit) = rest.split_at(digits);
            let number: i32 = number.parse().map_err(|_| wrong())?;
            let mut unit = unit.chars();
            match unit.next() {
                Some('y') => within.years = number,
                Some('m') => within.months = number,
                Some('d') => within.days = number,
                Some('h') => within.hours = number,
                _ => return Err(wrong()),
            }
            rest = unit.as_str();
        }
        Ok(within)
    }
}

impl Within {
    fn is_zero(&self) -> bool {
        *self == Within::default()
    }

    /// So long before `at`. Months and days beyond the end of a month run on into the next.
    fn before(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let local = zone.to_datetime(at);
        let months = i32::from(local.year()) * 12 + i32::from(local.month())
            - 1
            - self.years.checked_mul(12)?
            - self.months;
        let year = i16::try_from(months.div_euclid(12)).ok()?;
        let month = i8::try_from(months.rem_euclid(12) + 1).ok()?;
        let days = i64::from(local.day()) - 1 - i64::from(self.days);
        let date = Date::new(year, month, 1)
            .ok()?
            .checked_add(Span::new().try_days(days).ok()?)
            .ok()?;
        let begun = DateTime::from_parts(date, local.time());
        let hours = SignedDuration::from_hours(i64::from(self.hours));
        let at = zone.to_ambiguous_zoned(begun).compatible().ok()?;
        at.timestamp().checked_sub(hours).ok()
    }
}

/// What to keep. A snapshot is kept when any rule keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest.
    pub last: Count,
    /// The newest of each of the newest periods, by [`Period`].
    pub each: [Count; 5],
    /// Everything that is at most so much older than the newest.
    pub within: Within,
    /// The newest of each period, of what is at most so much older than the newest.
    pub within_each: [Within; 5],
    /// Those that have all tags of one of these lists. A list of one empty tag means no tag.
    pub tags: Vec<Vec<String>>,
}

/// Parts of the calendar; their numbers are places in [`Policy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// An hour.
    Hour = 0,
    /// A day.
    Day = 1,
    /// An ISO week.
    Week = 2,
    /// A month.
    Month = 3,
    /// A year.
    Year = 4,
}

impl Period {
    /// All of them, shortest first.
    pub const ALL: [Period; 5] = [
        Period::Hour,
        Period::Day,
        Period::Week,
        Period::Month,
        Period::Year,
    ];

    /// The adjective: `hourly`.
    pub const fn name(self) -> &'static str {
        match self {
            Period::Hour => "hourly",
            Period::Day => "daily",
            Period::Week => "weekly",
            Period::Month => "monthly",
            Period::Year => "yearly",
        }
    }

    /// A number that is the same for all times in the same period.
    fn of(self, at: DateTime) -> i64 {
        let (year, month) = (i64::from(at.year()), i64::from(at.month()));
        let (day, hour) = (i64::from(at.day()), i64::from(at.hour()));
        match self {
            Period::Hour => ((year * 100 + month) * 100 + day) * 100 + hour,
            Period::Day => (year * 100 + month) * 100 + day,
            Period::Week => {
                let week = at.date().iso_week_date();
                i64::from(week.year()) * 100 + i64::from(week.week())
            }
            Period::Month => year * 100 + month,
            Period::Year => year,
        }
    }
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The policy has no rule at all.
    NoRule,
    /// It has the tags.
    Tags,
    /// It is young enough.
    Within,
    /// One of the newest.
    Last,
    /// The newest of its period.
    Newest(Period),
    /// The oldest of all, while the rule would keep more.
    Oldest(Period),
    /// The newest of its period, and young enough.
    NewestWithin(Period),
    /// The oldest of all, and young enough.
    OldestWithin(Period),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NoRule => f.write_str("no rule"),
            Reason::Tags => f.write_str("tags"),
            Reason::Within => f.write_str("within"),
            Reason::Last => f.write_str("last"),
            Reason::Newest(period) => f.write_str(period.name()),
            Reason::Oldest(period) => write!(f, "oldest {}", period.name()),
            Reason::NewestWithin(period) => write!(f, "{} within", period.name()),
            Reason::OldestWithin(period) => write!(f, "oldest {} within", period.name()),
        }
    }
}

impl Policy {
    /// Whether it has no rule, and so keeps everything.
    pub fn is_empty(&self) -> bool {
        *self == Policy::default()
    }

    /// Why each snapshot of a group is kept, in the order given; no reason means that it is not.
    /// `now` is to tell what is from the future: it does not count as the newest. `zone` is the
    /// host's.
    pub fn apply(
        &self,
        snapshots: &[&Snapshot],
        now: Timestamp,
        zone: &TimeZone,
    ) -> Vec<Vec<Reason>> {
        let mut reasons = vec![Vec::new(); snapshots.len()];
        let mut newest_first: Vec<usize> = (0..snapshots.len()).collect();
        // Of two of one instant, the later one in the list is the newer, as for `latest`.
        newest_first.sort_by_key(|&i| Reverse(snapshots.get(i).map(|s| (s.time.at, i))));
        let limits = Limits::of(self, snapshots, now, zone);
        let mut rules = Rules::of(self);
        let oldest = snapshots.len().saturating_sub(1);
        for (number, index) in newest_first.into_iter().enumerate() {
            if let (Some(snapshot), Some(reasons)) = (snapshots.get(index), reasons.get_mut(index))
            {
                rules.judge(self, &limits, snapshot, number == oldest, reasons);
            }
        }
        reasons
    }
}

/// From when on a snapshot is young enough.
struct Limits {
    within: Option<Timestamp>,
    within_each: [Option<Timestamp>; 5],
}

impl Limits {
    fn of(policy: &Policy, snapshots: &[&Snapshot], now: Timestamp, zone: &TimeZone) -> Self {
        let past = snapshots.iter().map(|s| s.time).filter(|t| t.at < now);
        let newest = past.max_by_key(|time| time.at).unwrap_or_default();
        // The host's zone, with its summer, where its offset is that of the time. But what is written
        // as of UTC is of no place whose winter has the same time.
        let is_local = zone.to_offset(newest.at) == newest.offset && newest.offset != Offset::UTC;
        let zone = match is_local {
            true => zone.clone(),
            false => newest.offset.to_time_zone(),
        };
        let limit = |within: &Within| match within.is_zero() {
            true => None,
            false => within.before(newest.at, &zone).or(Some(Timestamp::MIN)),
        };
        Limits {
            within: limit(&policy.within),
            within_each: policy.within_each.each_ref().map(limit),
        }
    }
}

/// What the rules have left, and the period each has kept last.
struct Rules {
    last: Count,
    each: [(Count, Option<i64>); 5],
    within_each: [Option<i64>; 5],
}

impl Rules {
    fn of(policy: &Policy) -> Self {
        Rules {
            last: policy.last,
            each: policy.each.map(|count| (count, None)),
            within_each: [None; 5],
        }
    }

    fn judge(
        &mut self,
        policy: &Policy,
        limits: &Limits,
        snapshot: &Snapshot,
        oldest: bool,
        reasons: &mut Vec<Reason>,
    ) {
        if policy.is_empty() {
            reasons.push(Reason::NoRule);
        }
        if policy.tags.iter().any(|tags| snapshot.has_tags(tags)) {
            reasons.push(Reason::Tags);
        }
        let at = snapshot.time.at;
        if limits.within.is_some_and(|limit| at > limit) {
            reasons.push(Reason::Within);
        }
        if take_one(&mut self.last) {
            reasons.push(Reason::Last);
        }
        let local = snapshot.time.offset.to_datetime(at);
        for (period, (left, kept)) in Period::ALL.into_iter().zip(&mut self.each) {
            let this = Some(period.of(local));
            let newest = *kept != this;
            if *left != Count::None && (newest || oldest) {
                take_one(left);
                *kept = this;
                reasons.push(match newest {
                    true => Reason::Newest(period),
                    false => Reason::Oldest(period),
                });
            }
        }
        let within = limits.within_each.iter().zip(&mut self.within_each);
        for (period, (limit, kept)) in Period::ALL.into_iter().zip(within) {
            let this = Some(period.of(local));
            let newest = *kept != this;
            if limit.is_some_and(|limit| at > limit) && (newest || oldest) {
                *kept = this;
                reasons.push(match newest {
                    true => Reason::NewestWithin(period),
                    false => Reason::OldestWithin(period),
                });
            }
        }
    }
}

/// Whether a count had one left, which it has not now.
fn take_one(count: &mut Count) -> bool {
    match count {
        Count::None => false,
        Count::Unlimited => true,
        Count::Some(left) => {
            *count = match *left {
                0 | 1 => Count::None,
                more => Count::Some(more - 1),
            };
            true
        }
    }
}

/// Removes snapshots. What only they need stays until the next prune.
pub fn remove(repository: &Repository, snapshots: &[Id]) -> Result<()> {
    requests::each(snapshots, |id| repository.delete(FileKind::Snapshot, id)).map(drop)
}
