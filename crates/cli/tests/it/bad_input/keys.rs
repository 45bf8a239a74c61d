//! Keys that are missing, wrong or not keys: decryption, signing, and the recovery kit.

use crate::support::{App, age_key};

/// The basic application with a store that encrypts; returns its identity too.
fn sealed() -> (App, String) {
    let app = App::basic();
    let (public, secret) = age_key();
    let seal =
        format!("encrypt = {{ age = [\"{public}\"] }}\ncompress = \"zstd\"\nkind = \"local\"");
    app.edit("kind = \"local\"", &seal);
    (app, secret)
}

/// Gives the store a decryption key from a file outside the backup.
fn unlock(app: &App, secret: &str) {
    app.write("key.txt", secret.as_bytes());
    let path = app.path("key.txt").display().to_string();
    app.edit(
        "compress = \"zstd\"",
        &format!("decrypt = {{ age = \"file:{path}\" }}\ncompress = \"zstd\""),
    );
}

#[test]
fn without_a_decryption_key_a_host_backs_up_and_verifies_but_proves_nothing() {
    let (app, secret) = sealed();
    app.backup();
    app.ok(&["verify"]);
    app.forget_state_but_key();
    let drill = app.json_exits(4, &["drill"]);
    assert_eq!(drill["outcome"], "unverifiable", "{drill:#}");
    let target = app.path("out").display().to_string();
    let refusal = app.refuses(1, "decryption", &["restore", "latest", "--to", &target]);
    refusal.names(&["disk"]).advises(&["decrypt"]);
    assert_eq!(
        app.listing("out"),
        [""; 0],
        "nothing of it is in the target"
    );
    unlock(&app, &secret);
    assert_eq!(app.json(&["drill"])["outcome"], "verified");
    std::fs::remove_dir_all(app.path("out")).ok();
    app.ok(&["restore", "latest", "--to", &target]);
}

#[test]
fn a_wrong_decryption_key() {
    let (app, _) = sealed();
    app.backup();
    unlock(&app, &age_key().1);
    let drill = app.exits(4, &["drill"]);
    drill
        .says(&["unverifiable", "key"])
        .never_says(&["AGE-SECRET-KEY"]);
    let target = app.path("out").display().to_string();
    let refusal = app.refuses(1, "decryption", &["restore", "latest", "--to", &target]);
    refusal.names(&["decrypt"]);
    assert_eq!(app.listing("out"), [""; 0]);
}

#[test]
fn a_decryption_key_that_is_not_there_or_not_a_key() {
    let (app, _) = sealed();
    app.backup();
    unlock(&app, "correct horse battery staple\n");
    let target = app.path("out").display().to_string();
    let restore = ["restore", "latest", "--to", &target];
    app.refuses(1, "decryption", &restore)
        .names(&["decryption key of store disk"]);
    app.exits(1, &["doctor"])
        .says(&["store.disk"])
        .never_says(&["correct horse"]);
    std::fs::remove_file(app.path("key.txt")).unwrap();
    let refusal = app.refuses(1, "decryption", &restore);
    refusal
        .names(&["decryption key of store disk", "key.txt"])
        .because(&["No such file"]);
    app.exits(1, &["doctor"]).says(&["key.txt", "hint:"]);
    assert!(!app.path("out").exists() || app.listing("out").is_empty());
}

#[test]
fn a_recipient_that_is_no_public_key() {
    let app = App::basic();
    app.edit(
        "kind = \"local\"",
        "encrypt = { age = [\"age1nonsense\"] }\nkind = \"local\"",
    );
    let refusal = app.refuses(2, "configuration", &["backup"]);
    assert!(
        refusal.message.contains("age1nonsense") || refusal.cause.contains("age1nonsense"),
        "{refusal:#?}"
    );
    app.holds_no_point("store");
    let secret = age_key()
        .1
        .lines()
        .find(|l| l.starts_with("AGE-SECRET"))
        .unwrap()
        .to_owned();
    app.edit("age1nonsense", &secret);
    let output = app.exits(2, &["backup"]);
    output.never_says(&[&secret]).says(&["hint:"]);
}

#[test]
fn a_signing_key_that_is_no_key() {
    let app = App::basic();
    app.backup();
    app.private("state/signing.key", b"not a key\n");
    let output = app.run(&["points"]);
    assert!(output.code == 1 || output.code == 2, "{output}");
    output.refusal().names(&["signing key"]);
    app.private("state/signing.key", b"");
    app.run(&["points"]).refusal().names(&["signing key"]);
}

#[test]
fn a_kit_with_a_wrong_passphrase() {
    let mut app = App::basic();
    app.backup();
    app.env("KIT", "correct horse battery staple");
    app.env("WRONG", "incorrect horse");
    let kit = app.path("kit.age").display().to_string();
    app.ok(&["kit", "export", "-o", &kit, "--passphrase", "env:KIT"]);
    let refusal = app.refuses(
        1,
        "decryption",
        &["kit", "test", &kit, "--passphrase", "env:WRONG"],
    );
    refusal
        .names(&["passphrase", "recovery kit"])
        .advises(&["check the passphrase"]);
    app.ok(&["kit", "test", &kit, "--passphrase", "env:KIT"]);
}

#[test]
fn kits_that_cannot_be_written_or_read() {
    let mut app = App::basic();
    app.env("KIT", "correct horse battery staple");
    let kit = app.write("kit.age", b"there already").display().to_string();
    let passphrase = ["--passphrase", "env:KIT"];
    let refusal = app.refuses(
        1,
        "target",
        &["kit", "export", "-o", &kit, "--passphrase", "env:KIT"],
    );
    refusal.names(&["kit.age"]);
    assert_eq!(std::fs::read(&kit).unwrap(), b"there already");
    app.refuses(
        4,
        "object-damaged",
        &["kit", "test", &kit, passphrase[0], passphrase[1]],
    );
    app.refuses(
        2,
        "usage",
        &[
            "kit",
            "test",
            "/nowhere/kit.age",
            passphrase[0],
            passphrase[1],
        ],
    )
    .names(&["/nowhere/kit.age"]);
    app.refuses(
        2,
        "secret",
        &["kit", "test", &kit, "--passphrase", "env:UNSET"],
    )
    .names(&["UNSET"]);
    let refusal = app.refuses(
        2,
        "usage",
        &["kit", "test", &kit, "--passphrase", "hunter2"],
    );
    assert!(!format!("{refusal:?}").contains("hunter2"), "{refusal:#?}");
}
