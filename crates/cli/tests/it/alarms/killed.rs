//! Killed at any instant between deciding and recording, nothing is lost, and nothing is told twice
//! beyond what the identity of a message lets its receiver drop.

use super::{application, told_in};
use crate::prune::{command_on, on};
use crate::support::run;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Runs until the so many-th call of the runner that writes, or forks. Returns false if it ended
/// before.
fn killed_at(app: &crate::support::App, call: u32) -> bool {
    let known = command_on(app, 2, "03:01:00", &["run"]);
    let calls = "pwrite64,fdatasync,fsync,unlink,unlinkat,ftruncate,wait4,waitid";
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-o", "/dev/null", "-P"])
        .arg(app.path("state/alarms.db"))
        .arg("-P")
        .arg(app.path("state/alarms.db-wal"))
        .arg("-e")
        .arg(format!("trace={calls}"))
        .arg("-e")
        .arg(format!("inject={calls}:signal=KILL:when={call}"));
    for (name, value) in known
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)))
    {
        command
            .arg("-E")
            .arg(format!("{}={}", name.display(), value.display()));
    }
    command.arg(known.get_program()).args(known.get_args());
    command.current_dir(known.get_current_dir().unwrap_or(Path::new(".")));
    matches!(run(&mut command).code, -9 | 137)
}

#[test]
fn a_run_that_is_killed_anywhere_tells_all_of_it_once() {
    let mut kills = 0;
    for call in 1.. {
        let app = application();
        on(&app, 1, "03:01:00", &["run"]);
        std::fs::remove_file(app.path("vault")).unwrap();
        let killed = killed_at(&app, call);
        for time in ["03:05:00", "03:10:00", "04:00:00"] {
            on(&app, 2, time, &["run"]);
        }
        let messages = told_in(&app, "told");
        let ids: BTreeSet<&str> = messages.iter().map(|m| m["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 1, "call {call}: {messages:#?}");
        assert!(messages.len() <= 2, "call {call}: {messages:#?}");
        let first = &messages[0]["items"][0]["condition"];
        assert_eq!(first, "crm/test/plan.main/failed", "call {call}");
        if !killed {
            break;
        }
        kills += 1;
    }
    assert!(kills > 5, "{kills}");
}
