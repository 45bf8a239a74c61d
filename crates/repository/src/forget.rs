//! Chooses what a policy keeps: of snapshots exactly those that `restic forget` keeps by the same
//! rules. Whatever else has a time and labels ([`Dated`]) is judged by the same code.
//!
//! The choice is pure; only [`remove`] changes the repository. Periods (an hour, a day, an ISO
//! week, a month, a year) are in each snapshot's own time zone.

use crate::error::{FileKind, Result};
use crate::id::Id;
use crate::repository::Repository;
use crate::requests;
use crate::snapshot::Snapshot;
use crate::time::Time;
use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Span, Timestamp};
use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

/// The number of snapshots that a rule keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Count {
    /// The rule keeps none.
    #[default]
    None,
    /// The rule keeps this many.
    Some(u32),
    /// The rule keeps all.
    Unlimited,
}

impl FromStr for Count {
    type Err = String;

    /// Parses a number or `unlimited`; -1 means `unlimited` too.
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

/// A length of time by the calendar, such as `1y5m7d2h`.
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
    /// Seconds, which the text form lacks.
    pub seconds: i64,
}

impl FromStr for Within {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no length of time; write it as 1y5m7d2h, or only some of these parts"
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

    /// The time this long before `at`. Days beyond the end of a month run on into the next month.
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
        let at = at.timestamp().checked_sub(hours).ok()?;
        at.checked_sub(SignedDuration::from_secs(self.seconds)).ok()
    }
}

/// What a policy can be applied to.
pub trait Dated {
    /// When it was made, in its own time zone.
    fn time(&self) -> Time;

    /// Returns whether it has all of these tags. A single empty tag stands for no tag at all.
    fn has_tags(&self, tags: &[String]) -> bool;
}

impl Dated for Snapshot {
    fn time(&self) -> Time {
        self.time
    }

    fn has_tags(&self, tags: &[String]) -> bool {
        Snapshot::has_tags(self, tags)
    }
}

/// A retention policy. A snapshot is kept if any rule keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Keep the newest snapshots.
    pub last: Count,
    /// Keep the newest snapshot of each of the newest periods, by [`Period`].
    pub each: [Count; 5],
    /// Keep every snapshot that is at most this much older than the newest.
    pub within: Within,
    /// Keep the newest snapshot of each period, among those at most this much older than the
    /// newest.
    pub within_each: [Within; 5],
    /// Keep the snapshots that have all tags of one of these lists. A list of one empty tag means
    /// no tag.
    pub tags: Vec<Vec<String>>,
    /// Keep the oldest of each period in place of the newest. restic has no such rule.
    pub first_of_period: bool,
}

/// The periods of the calendar. Their numbers are positions in [`Policy`].
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

    /// The period as an adjective, such as `hourly`.
    pub const fn name(self) -> &'static str {
        match self {
            Period::Hour => "hourly",
            Period::Day => "daily",
            Period::Week => "weekly",
            Period::Month => "monthly",
            Period::Year => "yearly",
        }
    }

    /// A number that is the same for all times in one period.
    pub fn of(self, at: DateTime) -> i64 {
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

/// The reason why a snapshot is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The policy has no rule at all.
    NoRule,
    /// It has the tags of a list.
    Tags,
    /// It is young enough.
    Within,
    /// It is one of the newest.
    Last,
    /// It is the newest of its period, or the oldest where the policy wants that.
    Newest(Period),
    /// It is the oldest of all, while the rule would keep more.
    Oldest(Period),
    /// It is the newest of its period, or the oldest where the policy wants that, and young enough.
    NewestWithin(Period),
    /// It is the oldest of all, and young enough.
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
    /// Returns whether the policy has no rule, and so keeps everything.
    pub fn is_empty(&self) -> bool {
        *self == Policy::default()
    }

    /// Returns the reasons why each snapshot of a group is kept, in the order given; a snapshot
    /// without reasons is not kept. `now` tells which snapshots lie in the future: none of them
    /// counts as the newest. `zone` is the host's time zone.
    pub fn apply<T: Dated>(
        &self,
        snapshots: &[&T],
        now: Timestamp,
        zone: &TimeZone,
    ) -> Vec<Vec<Reason>> {
        // A snapshot that lies in the future is never the newest.
        let past = snapshots.iter().map(|s| s.time()).filter(|t| t.at < now);
        let newest = past.max_by_key(|time| time.at).unwrap_or_default();
        self.apply_from(snapshots, newest, zone)
    }

    /// Judges as [`Policy::apply`] does, with spans that reach back from the time given.
    pub fn apply_from<T: Dated>(
        &self,
        snapshots: &[&T],
        newest: Time,
        zone: &TimeZone,
    ) -> Vec<Vec<Reason>> {
        let mut reasons = vec![Vec::new(); snapshots.len()];
        let mut newest_first: Vec<usize> = (0..snapshots.len()).collect();
        // Of two snapshots of the same instant, the later one in the list is the newer, as for
        // `latest`.
        newest_first.sort_by_key(|&i| Reverse(snapshots.get(i).map(|s| (s.time().at, i))));
        let limits = Limits::of(self, newest, zone);
        let mut rules = Rules::of(self);
        for (number, index) in newest_first.iter().enumerate() {
            let older = newest_first.get(number + 1);
            let older = older.and_then(|index| snapshots.get(*index)).copied();
            if let (Some(snapshot), Some(reasons)) =
                (snapshots.get(*index), reasons.get_mut(*index))
            {
                rules.judge(self, &limits, *snapshot, older, reasons);
            }
        }
        reasons
    }
}

/// The earliest times at which a snapshot is young enough.
struct Limits {
    within: Option<Timestamp>,
    within_each: [Option<Timestamp>; 5],
}

impl Limits {
    fn of(policy: &Policy, newest: Time, zone: &TimeZone) -> Self {
        // Use the host's time zone, with its daylight saving, if its offset matches that of the
        // time. But a time written in UTC tells nothing of the place, even where winter time equals
        // UTC.
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

/// The number that each rule may still keep, and the period of the snapshot before.
struct Rules {
    last: Count,
    each: [(Count, Option<i64>); 5],
    within_each: [Option<i64>; 5],
}

/// The place of a snapshot among those of its period.
struct InPeriod {
    /// True if it is the one of its period that the policy wants.
    wanted: bool,
    /// True if it is the oldest of all.
    oldest: bool,
}

impl Rules {
    fn of(policy: &Policy) -> Self {
        Rules {
            last: policy.last,
            each: policy.each.map(|count| (count, None)),
            within_each: [None; 5],
        }
    }

    /// Judges the next older snapshot; `older` is the one after it.
    fn judge<T: Dated>(
        &mut self,
        policy: &Policy,
        limits: &Limits,
        snapshot: &T,
        older: Option<&T>,
        reasons: &mut Vec<Reason>,
    ) {
        if policy.is_empty() {
            reasons.push(Reason::NoRule);
        }
        if policy.tags.iter().any(|tags| snapshot.has_tags(tags)) {
            reasons.push(Reason::Tags);
        }
        let Time { at, offset } = snapshot.time();
        if limits.within.is_some_and(|limit| at > limit) {
            reasons.push(Reason::Within);
        }
        if take_one(&mut self.last) {
            reasons.push(Reason::Last);
        }
        let local = offset.to_datetime(at);
        let older = older.map(|older| older.time());
        let older = older.map(|older| older.offset.to_datetime(older.at));
        let place = |period: Period, before: Option<i64>| {
            let this = Some(period.of(local));
            InPeriod {
                wanted: match policy.first_of_period {
                    false => before != this,
                    true => older.map(|older| period.of(older)) != this,
                },
                oldest: older.is_none(),
            }
        };
        for (period, (left, kept)) in Period::ALL.into_iter().zip(&mut self.each) {
            let InPeriod { wanted, oldest } = place(period, *kept);
            if *left != Count::None && (wanted || oldest) {
                take_one(left);
                *kept = Some(period.of(local));
                reasons.push(match wanted {
                    true => Reason::Newest(period),
                    false => Reason::Oldest(period),
                });
            }
        }
        let within = limits.within_each.iter().zip(&mut self.within_each);
        for (period, (limit, kept)) in Period::ALL.into_iter().zip(within) {
            let InPeriod { wanted, oldest } = place(period, *kept);
            if limit.is_some_and(|limit| at > limit) && (wanted || oldest) {
                *kept = Some(period.of(local));
                reasons.push(match wanted {
                    true => Reason::NewestWithin(period),
                    false => Reason::OldestWithin(period),
                });
            }
        }
    }
}

/// Takes one from a count. Returns false if none was left.
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

/// Removes snapshots. Data that only they need stays until the next prune.
pub fn remove(repository: &Repository, snapshots: &[Id]) -> Result<()> {
    requests::each(snapshots, |id| repository.delete(FileKind::Snapshot, id)).map(drop)
}
