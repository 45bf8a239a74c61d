//! Restore targets that would lose something, and live restores that nobody confirmed.

use crate::support::App;

#[test]
fn a_directory_that_is_not_empty() {
    let app = App::basic();
    app.backup();
    app.write("out/precious.txt", b"do not touch");
    let target = app.path("out").display().to_string();
    let refusal = app.refuses(1, "target", &["restore", "latest", "--to", &target]);
    refusal
        .names(&[&target, "not empty"])
        .advises(&["directory"]);
    assert_eq!(app.listing("out"), ["precious.txt"]);
    assert_eq!(
        std::fs::read(app.path("out/precious.txt")).unwrap(),
        b"do not touch"
    );
}

#[test]
fn a_file_and_a_place_that_cannot_be() {
    let app = App::basic();
    app.backup();
    let file = app.write("file", b"x").display().to_string();
    app.refuses(1, "target", &["restore", "latest", "--to", &file])
        .names(&[&file]);
    assert_eq!(std::fs::read(&file).unwrap(), b"x");
    let below = format!("{file}/below");
    app.refuses(1, "target", &["restore", "latest", "--to", &below])
        .names(&[&below]);
    app.refuses(2, "usage", &["restore", "latest", "--to", ""])
        .names(&["--to is empty"]);
}

#[test]
fn an_empty_directory_is_fine() {
    let app = App::basic();
    app.backup();
    std::fs::create_dir(app.path("out")).unwrap();
    app.ok(&[
        "restore",
        "latest",
        "--to",
        app.path("out").to_str().unwrap(),
    ]);
}

#[test]
fn a_password_on_the_command_line() {
    let app = App::basic();
    app.backup();
    let output = app.exits(
        2,
        &[
            "restore",
            "latest",
            "--to",
            "postgres://me:hunter2@localhost/db",
        ],
    );
    output.refusal().names(&["--to"]).advises(&["env:NAME"]);
    output.never_says(&["hunter2"]);
}

#[test]
fn a_live_restore_that_is_not_confirmed() {
    let app = App::basic();
    app.backup();
    app.write("data/notes.txt", b"newer\n");
    app.exits(7, &["restore", "latest"])
        .says(&["--live --confirm crm/test", "nothing was done"]);
    for args in [
        &["restore", "latest", "--live"][..],
        &["restore", "latest", "--live", "--confirm", "crm/test"],
        &["restore", "latest", "--live", "--reason", "because"],
        &[
            "restore",
            "latest",
            "--live",
            "--confirm",
            "crm/production",
            "--reason",
            "because",
        ],
        &[
            "restore",
            "latest",
            "--live",
            "--confirm",
            "crm/test",
            "--reason",
            "  ",
        ],
    ] {
        app.refuses(7, "needs-confirmation", args)
            .advises(&["--confirm crm/test"]);
    }
    assert_eq!(
        std::fs::read(app.path("data/notes.txt")).unwrap(),
        b"newer\n"
    );
    assert_eq!(app.points().len(), 1, "no safety point was taken");
}

#[test]
fn a_restore_of_another_application_or_of_what_is_not_in_the_point() {
    let app = App::basic();
    app.backup();
    let target = app.path("out").display().to_string();
    app.edit("name = \"crm\"", "name = \"shop\"");
    let refusal = app.refuses(2, "point-unknown", &["restore", "latest", "--to", &target]);
    refusal.names(&["no restore point"]);
    assert!(!app.path("out").exists());
}
