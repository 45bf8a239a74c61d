//! A system under the daemon for some of its hours, with a clock that runs fast: libfaketime tells
//! the program and its children another time of day. Waits are as long as ever.

use super::System;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Longest time for the hours.
const PATIENCE: Duration = Duration::from_secs(100);

/// Lets the daemon live from `begin` (UTC), `rate` times as fast, until each of `plans` was taken for
/// as many times of its schedule as are wanted of it, and each of `drills` was run. Nothing is to run
/// twice for one time.
pub fn live(system: &System, begin: &str, rate: u32, plans: &[(&str, usize)], drills: &[&str]) {
    let host = &system.host;
    let library = crate::support::library();
    let fake = format!(
        "LD_PRELOAD={} DONT_FAKE_MONOTONIC=1 FAKETIME='@{begin} x{rate}'",
        library.display()
    );
    // Without `timeout`, a test that fails would leave it until the host ends.
    host.sh(&format!(
        "{fake} setsid timeout 300 lifeboat daemon </dev/null >/fixture/daemon.log 2>&1 &"
    ));
    let began = Instant::now();
    let log = || host.read("/fixture/daemon.log");
    let done = loop {
        let jobs: Vec<Value> = system.json(0, "jobs -n 1000")["jobs"]
            .as_array()
            .unwrap()
            .clone();
        let done: Vec<(String, String, String)> = jobs
            .iter()
            .filter(|job| job["state"] == "done" && !job["slot"].is_null())
            .map(|job| {
                let text = |key: &str| job[key].as_str().unwrap().to_owned();
                (text("kind"), text("subject"), text("slot"))
            })
            .collect();
        let times = |kind: &str, subject: &str| {
            let of = done.iter().filter(|job| job.0 == kind && job.1 == subject);
            of.map(|job| &job.2).collect::<BTreeSet<_>>().len()
        };
        let plans = plans
            .iter()
            .all(|(plan, wanted)| times("backup", plan) >= *wanted);
        if plans && drills.iter().all(|drill| times("drill", drill) >= 1) {
            break done;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{done:#?}\n{}\n{jobs:#?}",
            log()
        );
        std::thread::sleep(Duration::from_millis(300));
    };
    let different: BTreeSet<_> = done.iter().collect();
    assert_eq!(
        different.len(),
        done.len(),
        "something ran twice: {done:#?}\n{}",
        log()
    );
    let status = system.json(0, "daemon status");
    let own = &status["applications"][0];
    assert_eq!(own["error"], Value::Null, "{own:#}");
    for plan in own["status"]["plans"].as_array().unwrap() {
        if plans.iter().any(|(name, _)| plan["plan"] == *name) {
            assert_eq!(plan["freshness"], "fresh", "{plan:#}\n{}", log());
        }
    }
    host.sh("lifeboat daemon stop");
    while host.run("pgrep -x lifeboat").code == 0 {
        assert!(began.elapsed() < PATIENCE, "it does not stop: {}", log());
        std::thread::sleep(Duration::from_millis(100));
    }
}
