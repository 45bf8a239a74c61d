//! Facts that costs follow from, as values: the contents of the stores, the rules, and how often what
//! runs.

use crate::name::Name;
use crate::point::PointId;
use crate::posture::Versions;
use crate::retention::{Held, Rules};
use crate::schedule::Schedule;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// Days of a month, here and in the list of prices.
pub(super) const MONTH_DAYS: u32 = 30;
/// Months over which runs are counted.
const COUNTED_MONTHS: u32 = 12;
/// Newest points whose mean is the size of those to come.
pub(super) const MEASURED: usize = 7;
/// Most runs that are counted in a stretch of time.
const TIMES_MAX: usize = 500_000;

/// All facts.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Now.
    pub at: Timestamp,
    /// Each plan in each of its stores.
    pub copies: Vec<Copies>,
    /// The stores of plans.
    pub stores: BTreeMap<Name, StoreFacts>,
    /// Each machine in each of its plans.
    pub machines: Vec<MachineFacts>,
    /// Reads of drills and verifications.
    pub reads: Vec<ReadFacts>,
    /// Runs that would use a runner.
    pub runs: Vec<RunFacts>,
    /// The runner, if plans run on one that is paid by the minute.
    pub runner: Option<Runner>,
}

/// A runner that is paid by the minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner {
    /// Price of a minute, if one was given; else it comes from the table.
    pub minute: Option<super::Money>,
    /// Evidence that plans run on one, in a few words.
    pub why: String,
}

/// Place of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A bucket of Amazon.
    Amazon {
        /// Its region.
        region: String,
    },
    /// A bucket of somebody else.
    Server,
    /// A directory of this host.
    Local,
    /// A directory of another host.
    Sftp,
}

/// Key that the server of a store encrypts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKey {
    /// The one that comes with the account.
    OfAccount,
    /// One of the operator's own.
    Own,
}

/// A store.
#[derive(Debug, Clone)]
pub struct StoreFacts {
    /// Its place.
    pub place: Place,
    /// The storage class of its objects, if it names one.
    pub class: Option<String>,
    /// The key of KMS, if there is one.
    pub key: Option<ServerKey>,
    /// True if others delete there.
    pub elsewhere: bool,
    /// Its versions.
    pub versions: Versions,
    /// False if it could not be asked now.
    pub asked: bool,
}

/// Sharing of stored bytes among the points of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Each point has objects of its own.
    Nothing,
    /// They share packs of a bucket, each of which a manifest names with its size.
    Packs,
    /// They share what is in a repository.
    Repository,
}

/// The points of a plan in a store.
#[derive(Debug, Clone)]
pub struct Copies {
    /// The plan.
    pub plan: Name,
    /// The store.
    pub store: Name,
    /// The points, the oldest first.
    pub held: Vec<Held>,
    /// Sizes of the objects of each, in bytes.
    pub objects: BTreeMap<PointId, Vec<u64>>,
    /// The bytes of all objects, each counted once.
    pub bytes: u64,
    /// What they share.
    pub sharing: Sharing,
    /// Rules that keep them.
    pub rules: Rules,
    /// How often a point is taken.
    pub pace: Pace,
}

impl Copies {
    /// The newest points that are measured: neither partial nor taken before a restore.
    pub(super) fn measured(&self) -> impl Iterator<Item = &Vec<u64>> {
        let newest = self.held.iter().rev();
        let newest = newest.filter(|held| held.sound && !held.safety);
        let objects = newest.filter_map(|held| self.objects.get(&held.point));
        objects.take(MEASURED)
    }

    /// The mean of a measure over the newest points; `None` without points.
    pub(super) fn mean(&self, measure: impl Fn(&[u64]) -> f64) -> Option<f64> {
        mean(self.measured().map(|objects| measure(objects)))
    }
}

/// A list of prices of machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineList {
    /// What has it.
    pub service: MachineService,
    /// The region.
    pub region: String,
    /// The bundle or instance type of the machines that drills make, if the configuration names it.
    pub size: Option<String>,
}

/// A service with machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineService {
    /// Amazon Lightsail, with bundles.
    Lightsail,
    /// Amazon EC2, with instance types.
    Ec2,
}

impl MachineList {
    /// Its table of prices: `lightsail.us-east-1`.
    pub fn table(&self) -> String {
        let service = match self.service {
            MachineService::Lightsail => "lightsail",
            MachineService::Ec2 => "ec2",
        };
        format!("{service}.{}", self.region)
    }

    /// The table of that with the prices of machines, and the key that names one in the configuration.
    pub fn sizes(&self) -> (String, &'static str) {
        let (table, key) = match self.service {
            MachineService::Lightsail => ("bundle_month", "bundle"),
            MachineService::Ec2 => ("type_hour", "instance_type"),
        };
        (format!("{}.{table}", self.table()), key)
    }
}

/// Snapshots of a machine.
#[derive(Debug, Clone)]
pub struct MachineFacts {
    /// The source.
    pub source: Name,
    /// The plan.
    pub plan: Name,
    /// The region of the copies, if they are not the snapshots themselves.
    pub copies_in: Option<String>,
    /// The list of prices that it is in; `None` for a provider without one.
    pub list: Option<MachineList>,
    /// Points whose snapshots stay, the oldest first.
    pub held: Vec<Held>,
    /// The full size of the snapshot of each, where the provider tells it.
    pub bytes: BTreeMap<PointId, u64>,
    /// False if a store of the plan could not be asked now.
    pub asked: bool,
    /// True if `keep_at_source` says which stay.
    pub at_source: bool,
    /// The rules that keep them; where there are several, each keeps its own.
    pub rules: Vec<Rules>,
    /// How often one is taken.
    pub pace: Pace,
}

/// Reads of a drill or a verification.
#[derive(Debug, Clone)]
pub struct ReadFacts {
    /// Its name: `drill weekly`.
    pub name: String,
    /// Runs in a month; `None` without a schedule.
    pub runs: Option<f64>,
    /// The copies that it reads of, by plan and store.
    pub copies: Vec<(Name, Name)>,
    /// The share of all points that it reads, in percent; the newest alone when absent.
    pub percent: Option<u8>,
    /// The machines of which it makes one.
    pub machines: Vec<Name>,
}

/// Runs of a plan or a drill, and their duration.
#[derive(Debug, Clone)]
pub struct RunFacts {
    /// Its name: `plan daily`.
    pub name: String,
    /// Runs in a month; `None` if that is not known.
    pub runs: Option<f64>,
    /// Seconds of the newest runs.
    pub seconds: Vec<u64>,
    /// Source of those seconds: `jobs of this host`.
    pub measured: &'static str,
}

/// How often points are taken.
#[derive(Debug, Clone)]
pub enum Pace {
    /// By a schedule.
    Scheduled(Schedule),
    /// As often as until now.
    Measured {
        /// Seconds from one to the next.
        gap_seconds: i64,
        /// Number of points it was measured of.
        points: usize,
    },
    /// Unknown.
    Unknown,
}

impl Pace {
    /// The pace at which these points came, which are the oldest first. Fewer than three say nothing.
    pub fn measure(times: &[Timestamp]) -> Pace {
        let newest = times.iter().rev().take(MEASURED + 1);
        let newest: Vec<i64> = newest.map(|time| time.as_second()).collect();
        let span = newest.first().zip(newest.last()).map(|(a, b)| a - b);
        let gaps = i64::try_from(newest.len()).unwrap_or(1) - 1;
        match span.filter(|_| gaps >= 2).map(|span| span / gaps) {
            Some(gap_seconds @ 60..) => Pace::Measured {
                gap_seconds,
                points: newest.len(),
            },
            _ => Pace::Unknown,
        }
    }

    /// The times of points after `after`, up to `until`.
    pub(super) fn times(&self, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        let next = |last: Timestamp| match self {
            Pace::Scheduled(schedule) => schedule.next_after(last),
            Pace::Measured { gap_seconds, .. } => {
                let next = last.as_second().div_euclid(*gap_seconds) + 1;
                Timestamp::from_second(next.saturating_mul(*gap_seconds)).ok()
            }
            Pace::Unknown => None,
        };
        let times = std::iter::successors(next(after), |last| next(*last));
        let times = times.take_while(|time| *time <= until);
        times.take(TIMES_MAX).collect()
    }

    /// Points in a month; `None` if that is not known.
    pub(super) fn in_month(&self, now: Timestamp) -> Option<f64> {
        let until = days_after(now, MONTH_DAYS * COUNTED_MONTHS);
        match self {
            Pace::Unknown => None,
            Pace::Scheduled(_) | Pace::Measured { .. } => {
                Some(float(self.times(now, until).len() as u64) / f64::from(COUNTED_MONTHS))
            }
        }
    }

    /// Source of the pace, in a few words.
    pub(super) fn from(&self) -> Option<String> {
        match self {
            Pace::Scheduled(schedule) => Some(format!("schedule {:?}", schedule.text())),
            Pace::Measured { points, .. } => {
                Some(format!("as often as the newest {points} points came"))
            }
            Pace::Unknown => None,
        }
    }
}

/// The mean of numbers; `None` if there are none.
pub(super) fn mean(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = numbers.fold((0.0, 0_u32), |(sum, count), n| (sum + n, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// A time this many days later.
pub(super) fn days_after(time: Timestamp, days: u32) -> Timestamp {
    let span = SignedDuration::from_secs(i64::from(days) * 86_400);
    time.checked_add(span).unwrap_or(Timestamp::MAX)
}

/// A number of bytes or requests, for an estimate.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

/// The same, back.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is not negative, and a cast of a float keeps to the bounds"
)]
pub(super) fn whole(number: f64) -> u64 {
    number.max(0.0).round() as u64
}
