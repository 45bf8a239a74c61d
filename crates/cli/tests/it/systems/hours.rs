//! A system under the daemon for some of its hours, with a clock that runs fast: libfaketime tells
//! the program and its children another time of day. Waits are as long as ever.

use super::System;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Longest time for the hours.
const PATIENCE: Duration = Duration::from_secs(100);

/// Hours of a system.
struct Hours {
    name: &'static str,
    /// When they begin, UTC.
    begin: &'static str,
    /// How many times as fast the clock runs.
    rate: u32,
    /// The plans, and for how many times of its schedule each is to be taken.
    plans: &'static [(&'static str, usize)],
    /// The drills that are to be run.
    drills: &'static [&'static str],
}

const HOURS: [Hours; 5] = [
    Hours {
        name: "bot",
        begin: "2027-01-03 00:30:00",
        rate: 1200,
        plans: &[("daily", 2), ("secrets", 2)],
        drills: &["weekly", "quarterly"],
    },
    Hours {
        name: "crm",
        begin: "2027-01-03 02:20:00",
        rate: 240,
        plans: &[("database", 2), ("uploads", 2), ("settings", 2)],
        drills: &["weekly"],
    },
    Hours {
        name: "finance",
        begin: "2027-02-01 00:30:00",
        rate: 600,
        plans: &[("daily", 2)],
        drills: &["monthly"],
    },
    Hours {
        name: "helpdesk",
        begin: "2027-01-03 04:30:00",
        rate: 600,
        plans: &[("daily", 2)],
        drills: &["weekly"],
    },
    Hours {
        name: "vault",
        begin: "2027-01-03 05:00:00",
        rate: 600,
        plans: &[("export", 2), ("app", 2)],
        drills: &[],
    },
];

/// Lets the daemon live through the hours of a system until all that is to be done in them is done.
/// Nothing is to run twice for one time of its schedule.
pub fn live(system: &System) {
    let mut all = HOURS.iter();
    let hours = all.find(|hours| hours.name == system.name).unwrap();
    let host = &system.host;
    start(system, hours);
    let began = Instant::now();
    let log = || host.read("/fixture/daemon.log");
    let mut done = done(system);
    while !hours.are_over(&done) {
        assert!(began.elapsed() < PATIENCE, "{done:#?}\n{}", log());
        std::thread::sleep(Duration::from_millis(300));
        done = self::done(system);
    }
    let different: BTreeSet<_> = done.iter().collect();
    let twice = different.len() < done.len();
    assert!(!twice, "something ran twice: {done:#?}\n{}", log());
    let status = system.json(0, "daemon status");
    let own = &status["applications"][0];
    assert_eq!(own["error"], Value::Null, "{own:#}");
    host.sh("lifeboat daemon stop");
    while host.run("pgrep -x lifeboat").code == 0 {
        assert!(began.elapsed() < PATIENCE, "it does not stop: {}", log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Starts the daemon, with the clock of these hours.
fn start(system: &System, hours: &Hours) {
    let host = &system.host;
    match hours.name {
        // A live restore and another host left their own rights.
        "finance" => {
            let grant = "grant all on *.* to backup@localhost";
            super::finance::sql(host, grant);
        }
        // `ssh` takes fright at a clock that runs fast.
        "helpdesk" => host.program(
            "ssh",
            "#!/bin/sh\nunset LD_PRELOAD FAKETIME\nexec /usr/bin/ssh \"$@\"\n",
        ),
        _ => {}
    }
    let library = crate::support::library();
    let (library, begin, rate) = (library.display(), hours.begin, hours.rate);
    // Without `timeout`, a test that fails would leave it until the host ends.
    host.sh(&format!(
        "LD_PRELOAD={library} DONT_FAKE_MONOTONIC=1 FAKETIME='@{begin} x{rate}' \
         setsid timeout 300 lifeboat daemon </dev/null >/fixture/daemon.log 2>&1 &"
    ));
}

/// A job that was done for a time of its schedule: kind, subject and that time.
type Done = (String, String, String);

fn done(system: &System) -> Vec<Done> {
    let listed = system.json(0, "jobs -n 1000");
    let jobs = listed["jobs"].as_array().unwrap().iter();
    jobs.filter(|job| job["state"] == "done" && !job["slot"].is_null())
        .map(|job| {
            let text = |key: &str| job[key].as_str().unwrap().to_owned();
            (text("kind"), text("subject"), text("slot"))
        })
        .collect()
}

impl Hours {
    /// Returns whether all that is to be done in them is done.
    fn are_over(&self, done: &[Done]) -> bool {
        let times = |kind: &str, subject: &str| {
            let of = done.iter().filter(|job| job.0 == kind && job.1 == subject);
            of.map(|job| &job.2).collect::<BTreeSet<_>>().len()
        };
        let mut plans = self.plans.iter();
        plans.all(|(plan, wanted)| times("backup", plan) >= *wanted)
            && self.drills.iter().all(|drill| times("drill", drill) >= 1)
    }
}
