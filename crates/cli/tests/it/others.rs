//! What another user of this host can put in the way, and where it is refused.

use crate::roundtrip::age_key;
use crate::support::{App, BASIC};
use lifeboat_testkit::privilege::needs_root;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

const NOBODY: u32 = 65534;

fn give(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}

fn list(path: &Path, right: &str) {
    let given = Command::new("setfacl")
        .args(["-m", &format!("u:nobody:{right}")])
        .arg(path)
        .status();
    assert!(given.unwrap().success());
}

#[test]
fn a_list_of_signers_that_others_can_put_another_in_place_of() {
    if needs_root("own what another user does not") {
        return;
    }
    let app = App::basic();
    app.write("theirs/signers", b"");
    app.edit(
        "environment = \"test\"",
        &format!(
            "environment = \"test\"\ntrusted_signers = \"{}\"",
            app.path("theirs/signers").display()
        ),
    );
    app.backup();
    give(&app.path("theirs"));
    app.refuses(2, "configuration", &["backup"])
        .names(&["trusted_signers", "belongs to user nobody"]);
    chown(app.path("theirs"), Some(0), Some(0)).unwrap();
    std::fs::rename(app.path("theirs/signers"), app.path("signers")).unwrap();
    symlink(app.path("signers"), app.path("theirs/signers")).unwrap();
    let link = Command::new("chown")
        .args(["-h", "nobody"])
        .arg(app.path("theirs/signers"))
        .status();
    assert!(link.unwrap().success());
    app.refuses(2, "configuration", &["backup"])
        .names(&["trusted_signers", "is a link of user nobody"]);
}

#[test]
fn a_file_of_recipients_that_others_can_write_to() {
    let (_, public) = age_key();
    let text = "path = \"{root}/store\"\nencrypt = { age = [\"{root}/recipients.txt\"] }\n";
    let app = App::with("");
    let file = app.write("recipients.txt", format!("{public}\n").as_bytes());
    app.configure(&format!(
        "{}{}",
        crate::support::HEAD,
        BASIC.replace("path = \"{root}/store\"\n", text)
    ));
    app.backup();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
    app.refuses(2, "configuration", &["backup"])
        .names(&["recipients.txt", "can be written to by everybody"])
        .advises(&["chmod go-w"]);
}

#[test]
fn what_an_access_control_list_gives_others() {
    let app = App::basic();
    app.backup();
    list(&app.path("lifeboat.toml"), "rw");
    app.exits(1, &["doctor"]).says(&["others can change it"]);
    list(&app.path("state/signing.key"), "r");
    app.refuses(1, "state", &["backup"])
        .names(&["signing.key", "open to other users"])
        .advises(&["setfacl -b"]);
    std::fs::remove_file(app.path("state/signing.key")).unwrap();
    list(&app.path("state"), "rwx");
    app.refuses(1, "state", &["backup"])
        .names(&["state directory", "can be written to by group"]);
}

#[test]
fn a_restore_is_not_led_to_what_the_owner_of_a_link_does_not_own() {
    if needs_root("own what another user does not") {
        return;
    }
    let app = App::basic();
    app.write("home/app/conf/a", b"captured\n");
    let data = app.path("data").display().to_string();
    app.edit(&data, &app.path("home/app/conf").display().to_string());
    for path in ["home", "home/app"] {
        give(&app.path(path));
    }
    let point = app.backup();
    let live = [
        "restore",
        &point,
        "--source",
        "files",
        "--live",
        "--confirm",
        "crm/test",
        "--reason",
        "x",
    ];
    app.ok(&live);
    // Their own link to what is theirs is as good as the directory.
    std::fs::rename(app.path("home/app"), app.path("home/v2")).unwrap();
    symlink("v2", app.path("home/app")).unwrap();
    let own = |path: &str| {
        let done = Command::new("chown")
            .args(["-h", "nobody"])
            .arg(app.path(path))
            .status();
        assert!(done.unwrap().success());
    };
    own("home/app");
    app.ok(&live);
    std::fs::remove_file(app.path("home/app")).unwrap();
    app.write("etc/conf/a", b"root's\n");
    symlink(app.path("etc"), app.path("home/app")).unwrap();
    own("home/app");
    app.exits(1, &live).says(&[
        "home/app, a link of user nobody",
        "does not own what it leads to",
    ]);
    assert_eq!(std::fs::read(app.path("etc/conf/a")).unwrap(), b"root's\n");
    assert!(!app.path("etc/.lifeboat-aside").exists());

    let through = app.path("home/app/out").display().to_string();
    app.exits(
        1,
        &["restore", &point, "--source", "files", "--to", &through],
    )
    .says(&["a link of user nobody"]);
    let theirs = app.path("home/out");
    std::fs::create_dir(&theirs).unwrap();
    give(&theirs);
    app.ok(&[
        "restore",
        &point,
        "--source",
        "files",
        "--to",
        &theirs.display().to_string(),
    ])
    .says(&[
        "others can change what is restored there",
        "belongs to user nobody",
    ]);
}

#[test]
fn a_local_store_that_others_can_enter_is_named() {
    let app = App::basic();
    app.backup();
    app.ok(&["doctor"]).never_says(&["others can"]);
    for (mode, says) in [
        (0o755, "others can enter it"),
        (0o777, "others can change what is stored"),
    ] {
        std::fs::set_permissions(app.path("store"), PermissionsExt::from_mode(mode)).unwrap();
        app.ok(&["doctor"]).says(&[says]);
    }
}
