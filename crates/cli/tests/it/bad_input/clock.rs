//! A clock that lost its time: points sort by it, and retention will delete by it.

use crate::support::{App, run};

/// Debian's package libfaketime puts it under a name of the architecture.
fn library() -> std::path::PathBuf {
    let architectures = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let mut found = architectures.map(|e| e.path().join("faketime/libfaketime.so.1"));
    found
        .find(|path| path.exists())
        .expect("this test needs apt-get install libfaketime")
}

/// The program with a clock that says `time`.
fn at(app: &App, time: &str, args: &[&str]) -> crate::support::Output {
    run(app
        .command(args)
        .env("LD_PRELOAD", library())
        .env("FAKETIME", time))
}

#[test]
fn a_clock_before_the_newest_point_takes_no_point() {
    let app = App::basic();
    let point = app.backup();
    let output = at(&app, "-2d", &["backup"]);
    assert_eq!(output.code, 1, "{output}");
    let refusal = output.refusal();
    refusal
        .names(&["clock", "before the newest restore point"])
        .advises(&["set-ntp"]);
    let output = at(&app, "-2d", &["--json", "backup"]);
    output.json_refusal("clock");
    // The state is of no importance: the store knows.
    app.forget_state_but_key();
    assert_eq!(at(&app, "-2d", &["backup"]).code, 1);
    assert_eq!(app.points(), [point]);
    app.ok(&["verify"]);
}

#[test]
fn a_clock_that_starts_anew_takes_no_point() {
    let app = App::basic();
    let output = at(&app, "1970-01-02 00:00:00", &["backup"]);
    assert_eq!(output.code, 1, "{output}");
    output
        .refusal()
        .names(&["clock", "1970", "cannot be"])
        .advises(&["set-ntp"]);
    app.holds_no_point("store");
    let output = at(&app, "1970-01-02 00:00:00", &["doctor"]);
    assert_eq!(output.code, 1, "{output}");
    output.says(&["clock", "set-ntp"]);
}

#[test]
fn a_small_difference_between_hosts_is_no_matter() {
    let app = App::basic();
    app.backup();
    let output = at(&app, "-20s", &["backup"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(app.points().len(), 2);
}
