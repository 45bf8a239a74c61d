//! Compares what our policies keep with what restic keeps by the same rules.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use lifeboat_repository::forget::{Count, Dated, Policy};
use lifeboat_repository::snapshot::{Filter, Group, GroupBy, Snapshot};
use lifeboat_repository::time::Time;
use lifeboat_repository::{Id, Repository};
use lifeboat_testkit::restic::Restic;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Pseudo-random numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }
}

/// Something that is no snapshot, and has a time and labels.
struct Other {
    time: Time,
    labels: BTreeSet<String>,
}

impl Other {
    fn like(snapshot: &Snapshot) -> Self {
        Other {
            time: snapshot.time,
            labels: snapshot.tags.iter().flatten().cloned().collect(),
        }
    }
}

impl Dated for Other {
    fn time(&self) -> Time {
        self.time
    }

    fn has_tags(&self, tags: &[String]) -> bool {
        match tags.iter().any(String::is_empty) && self.labels.is_empty() {
            true => true,
            false => tags.iter().all(|tag| self.labels.contains(tag)),
        }
    }
}

/// The times of the newest snapshots: at the end of a month, a day, a year, and of daylight saving
/// time in many places. Fixed times, since the current time differs from run to run. Beside each is
/// the zone in which snapshots are forgotten.
const NEWEST: [(&str, &str); 3] = [
    ("2024-03-31T00:20:00Z", "UTC"),
    ("2023-12-31T23:50:00Z", "Europe/London"),
    ("2025-10-26T01:30:00Z", "America/St_Johns"),
];

/// Snapshots of a few hosts, paths and tags: some close together, some years apart, in several
/// zones, one in the future.
fn snapshots(
    repository: &Repository,
    newest: Timestamp,
    numbers: &mut Numbers,
) -> Vec<(Id, Snapshot)> {
    let mut made = Vec::new();
    for number in 0..120_u64 {
        let scale = numbers.pick(&[3_600, 86_400, 86_400 * 40, 86_400 * 900]);
        let ago = i64::try_from(numbers.below(scale)).unwrap();
        let at = match number {
            0 => Timestamp::now() + SignedDuration::from_hours(30),
            // No two at the same instant: their order would be undefined.
            _ => newest - SignedDuration::new(ago, i32::try_from(number).unwrap()),
        };
        let hours = numbers.pick(&[0, 0, 2, -8, 13]);
        let tags = numbers.pick(&[&[][..], &["a"], &["a", "b"], &["c"]]);
        let paths = numbers.pick(&[&["/srv"][..], &["/srv", "/etc"], &["/etc", "/srv"]]);
        let snapshot = Snapshot {
            paths: paths.iter().map(|&p| p.to_owned()).collect(),
            hostname: numbers.pick(&["ada", "bob"]).to_owned(),
            tags: Some(tags.iter().map(|&t| t.to_owned()).collect()),
            ..snapshot(at, hours)
        };
        made.push((repository.save_snapshot(&snapshot).unwrap(), snapshot));
    }
    made
}

/// A snapshot with only a time. Its tree is never read.
fn snapshot(at: Timestamp, hours: i8) -> Snapshot {
    let offset = Offset::constant(hours);
    common::snapshot(Time { at, offset }, Id::of(b"tree"))
}

/// The ids that restic says it would keep and remove.
fn restic_keeps(path: &Path, args: &[&str], zone: &str) -> (BTreeSet<Id>, BTreeSet<Id>) {
    let fixed = ["forget", "--dry-run", "--json", "--no-lock"];
    // restic 0.14 does not yet keep the oldest snapshot when a rule would keep more.
    let mut restic = Restic::current().command(path, "x");
    let output = restic.env("TZ", zone).args(fixed).args(args).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let groups = said.lines().find(|l| l.starts_with('[')).unwrap();
    let groups: serde_json::Value = serde_json::from_str(groups).unwrap();
    let ids = |which: &str| {
        let groups = groups.as_array().unwrap().iter();
        let listed = groups.flat_map(|group| group[which].as_array().into_iter().flatten());
        listed
            .map(|s| s["id"].as_str().unwrap().parse().unwrap())
            .collect()
    };
    (ids("keep"), ids("remove"))
}

fn we_keep(
    all: &[(Id, Snapshot)],
    policy: &Policy,
    by: GroupBy,
    filter: &Filter,
    zone: &str,
) -> (BTreeSet<Id>, BTreeSet<Id>) {
    let mut groups: BTreeMap<Group, Vec<&(Id, Snapshot)>> = BTreeMap::new();
    for entry in all.iter().filter(|(_, s)| filter.matches(s)) {
        groups.entry(by.group(&entry.1)).or_default().push(entry);
    }
    let (mut kept, mut removed) = (BTreeSet::new(), BTreeSet::new());
    for group in groups.values() {
        let snapshots: Vec<&Snapshot> = group.iter().map(|(_, s)| s).collect();
        let zone = TimeZone::get(zone).unwrap();
        let now = Timestamp::now();
        let reasons = policy.apply(&snapshots, now, &zone);
        let others: Vec<Other> = snapshots.iter().map(|s| Other::like(s)).collect();
        let others: Vec<&Other> = others.iter().collect();
        assert_eq!(policy.apply(&others, now, &zone), reasons);
        for ((id, _), reasons) in group.iter().zip(reasons) {
            match reasons.is_empty() {
                true => removed.insert(*id),
                false => kept.insert(*id),
            };
        }
    }
    (kept, removed)
}

#[test]
fn policies_keep_the_same_snapshots_as_in_restic() {
    let directory = tempfile::tempdir().unwrap();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut sizes = BTreeSet::new();
    for (newest, zone) in NEWEST {
        let path = directory.path().join(newest);
        let repository = common::create(&path);
        let all = snapshots(&repository, newest.parse().unwrap(), &mut numbers);
        try_policies(&all, &path, zone, &mut numbers, &mut sizes);
    }
    assert!(sizes.len() > 20, "{sizes:?}");
}

/// Tries policies, and counts how many snapshots each keeps and removes.
fn try_policies(
    all: &[(Id, Snapshot)],
    path: &Path,
    zone: &str,
    numbers: &mut Numbers,
    sizes: &mut BTreeSet<(usize, usize)>,
) {
    let names = ["hourly", "daily", "weekly", "monthly", "yearly"];
    let lengths = ["1h", "36h", "9d", "1m", "2m3d", "1y5m7d2h", "3y", "0d"];
    let counts = ["1", "2", "5", "30", "unlimited"];
    for _ in 0..15 {
        let mut policy = Policy::default();
        let mut args: Vec<String> = Vec::new();
        let mut option = |name: String, value: &str| args.push(format!("--{name}={value}"));
        while policy.is_empty() {
            for (place, name) in names.iter().enumerate() {
                if numbers.below(4) == 0 {
                    let count = numbers.pick(&counts);
                    policy.each[place] = count.parse().unwrap();
                    option(format!("keep-{name}"), count);
                }
                if numbers.below(6) == 0 {
                    let length = numbers.pick(&lengths);
                    policy.within_each[place] = length.parse().unwrap();
                    option(format!("keep-within-{name}"), length);
                }
            }
            if numbers.below(3) == 0 {
                policy.last = Count::Some(3);
                option("keep-last".into(), "3");
            }
            if numbers.below(4) == 0 {
                let length = numbers.pick(&lengths);
                policy.within = length.parse().unwrap();
                option("keep-within".into(), length);
            }
            if numbers.below(5) == 0 {
                let tags = numbers.pick(&["a,b", "c", ""]);
                policy
                    .tags
                    .push(tags.split(',').map(str::to_owned).collect());
                option("keep-tag".into(), tags);
            }
        }
        let by = numbers.pick(&["host,paths", "host", "tags", "paths,tags", ""]);
        option("group-by".into(), by);
        let mut filter = Filter::default();
        if numbers.below(3) == 0 {
            filter.hosts.push("bob".into());
            option("host".into(), "bob");
        }
        if numbers.below(3) == 0 {
            filter.paths.push("/etc".into());
            option("path".into(), "/etc");
        }
        if numbers.below(3) == 0 {
            let tags = numbers.pick(&["a", "a,b", ""]);
            filter
                .tags
                .push(tags.split(',').map(str::to_owned).collect());
            option("tag".into(), tags);
        }
        let ours = we_keep(all, &policy, by.parse().unwrap(), &filter, zone);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let theirs = restic_keeps(path, &args, zone);
        assert!(
            ours == theirs,
            "{args:?} in {zone}: we keep {} and remove {}, it {} and {}",
            ours.0.len(),
            ours.1.len(),
            theirs.0.len(),
            theirs.1.len()
        );
        sizes.insert((ours.0.len(), ours.1.len()));
    }
}

/// A time written in UTC does not belong to a place whose winter time equals UTC.
#[test]
fn a_time_in_utc_has_no_daylight_saving() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r");
    let repository = common::create(&path);
    let times = ["2024-01-15T12:00:00Z", "2023-07-15T11:30:00Z"];
    let all = times.map(|at| {
        let snapshot = snapshot(at.parse().unwrap(), 0);
        (repository.save_snapshot(&snapshot).unwrap(), snapshot)
    });
    let policy = Policy {
        within: "6m".parse().unwrap(),
        ..Policy::default()
    };
    let (by, zone) = ("".parse().unwrap(), "Europe/London");
    let ours = we_keep(&all, &policy, by, &Filter::default(), zone);
    let theirs = restic_keeps(&path, &["--keep-within=6m", "--group-by="], zone);
    assert_eq!(ours, theirs);
}

/// restic lists snapshots in any order; here the order is the one that `latest` uses.
#[test]
fn at_one_instant_the_later_in_the_list_is_the_newer() {
    let at = "2024-01-15T12:00:00Z".parse().unwrap();
    let both = [snapshot(at, 0), snapshot(at, 2)];
    let policy = Policy {
        last: Count::Some(1),
        ..Policy::default()
    };
    let both: Vec<&Snapshot> = both.iter().collect();
    let reasons = policy.apply(&both, at, &TimeZone::UTC);
    let kept: Vec<bool> = reasons.iter().map(|why| !why.is_empty()).collect();
    assert_eq!(kept, [false, true]);
}
