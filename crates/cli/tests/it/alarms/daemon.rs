//! The daemon tells what is wrong with its configuration, and with itself.

use super::{in_short, told_in};
use crate::daemon::{Daemon, PATIENCE, schedule};
use crate::support::App;
use rustix::process::Signal;
use std::time::Instant;

/// What the program was told, once it was told anything.
fn until_told(app: &App) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let told = told_in(app, "told");
        if !told.is_empty() {
            return told.iter().map(in_short).collect();
        }
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn application() -> App {
    let app = super::application();
    app.edit("0 3 * * *", &schedule());
    app
}

#[test]
fn a_configuration_that_is_refused_is_told_at_once_and_so_is_its_end() {
    let app = application();
    let daemon = Daemon::start(&app, "lifeboat.toml");
    daemon.until_told("backup main done", 1);
    app.edit("[plan.main]", "[plan.mian]\nodd = 1");
    daemon.signal(Signal::HUP);
    assert_eq!(until_told(&app), ["new: configuration/configuration"]);
    app.edit("[plan.mian]\nodd = 1", "[plan.main]");
    daemon.signal(Signal::HUP);
    assert_eq!(until_told(&app), ["recovered: configuration/configuration"]);
    daemon.stop();
}

/// What keeps the runner from looking at all is told, and nothing is told as recovered by that.
#[test]
fn a_runner_that_cannot_look_is_told() {
    let app = application();
    std::fs::remove_file(app.path("vault")).unwrap();
    assert_eq!(app.run(&["run"]).code, 1);
    let told = |app: &App| -> Vec<String> { told_in(app, "told").iter().map(in_short).collect() };
    assert_eq!(told(&app), ["new: plan.main/failed plan.main/overdue"]);
    app.edit("[app]\n", "[app]\ntrusted_signers = \"{root}/signers\"\n");
    let signers = app.path("signers");
    std::fs::write(&signers, "no signer at all\n").unwrap();
    assert_ne!(app.run(&["run"]).code, 0);
    assert_eq!(told(&app), ["new: runner/failed"]);
    assert_ne!(app.run(&["run"]).code, 0);
    assert_eq!(told(&app), [""; 0]);
    std::fs::write(&signers, "").unwrap();
    app.run(&["run"]);
    assert_eq!(told(&app), ["recovered: runner/failed"]);
}
