//! The demonstration runs to its end, shows what it promises, and leaves nothing.

use crate::support::{App, LIFEBOAT, Output, run};
use lifeboat_testkit::privilege::{mount_namespace, needs_mounts};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

fn demo(app: &App, wrap: &[&str]) -> Output {
    let temporary = app.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    // The throwaway PostgreSQL server is another user's.
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o1777)).unwrap();
    std::fs::set_permissions(app.root(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("env");
    command
        .args(wrap)
        .args([LIFEBOAT, "demo"])
        .current_dir(app.root());
    command
        .env_clear()
        .env("TMPDIR", &temporary)
        .env("PATH", std::env::var_os("PATH").unwrap());
    let output = run(&mut command);
    assert_eq!(output.code, 0, "{output}");
    let left: Vec<_> = std::fs::read_dir(&temporary).unwrap().collect();
    assert!(left.is_empty(), "left: {left:?}");
    output
}

fn shows_the_round(output: &Output) {
    output.says(&[
        "$ lifeboat backup",
        "verified",
        "The accident: everything is gone",
        "products: 5000 before, 5000 now",
        "uploads/2026/café menu.png: 200000 bytes",
        "flipped a bit",
        "damaged",
        "every signature and every chain is intact",
        "[plan.daily]",
    ]);
    output.never_says(&["sk_demo", "AGE-SECRET-KEY", "panicked"]);
}

#[test]
fn with_postgres() {
    let output = demo(&App::with(""), &[]);
    shows_the_round(&output);
    output.says(&[
        "customers in PostgreSQL: 2000",
        "dropped the PostgreSQL database crm",
    ]);
}

/// On a host without PostgreSQL, as a namespace where its programs are hidden.
#[test]
fn without_postgres() {
    let hide = "mount -t tmpfs none /usr/lib/postgresql && exec \"$@\"";
    if needs_mounts() {
        return;
    }
    let wrap = [
        &["unshare"],
        mount_namespace(),
        &["sh", "-ec", hide, "hide"],
    ]
    .concat();
    let output = demo(&App::with(""), &wrap);
    shows_the_round(&output);
    output.says(&[
        "no PostgreSQL server was found",
        "apt-get install postgresql",
    ]);
    output.never_says(&["customers in PostgreSQL"]);
}
