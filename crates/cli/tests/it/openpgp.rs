//! Stores that are sealed to OpenPGP keys: whole cycles, what `gpg` alone can do with them, and keys
//! that are missing, locked, expired or not the right ones.

use crate::restore_md::{follow, instructions};
use crate::roundtrip::{SOURCES, same_tree};
use crate::support::{App, HEAD, age_key};
use lifeboat_testkit::gpg::GpgHome;

const PASSPHRASE: &str = "correct horse battery staple";

/// Every kind of source that needs no server, in one store sealed to a key with a passphrase.
pub fn application(home: &GpgHome) -> App {
    home.key("ops@example.org", "ed25519", "cv25519", PASSPHRASE);
    let app = App::with("");
    let public = std::fs::read(home.export("ops.asc", &["ops@example.org"])).unwrap();
    app.write("ops.asc", &public);
    app.write(
        "ops-secret.asc",
        &home.export_secret("--armor", "ops@example.org", PASSPHRASE),
    );
    app.write("ops.pass", format!("{PASSPHRASE}\n").as_bytes());
    for private in ["ops-secret.asc", "ops.pass"] {
        close(&app, private);
    }
    app.configure(&format!(
        "{HEAD}{SOURCES}
[store.vault]
kind = \"local\"
path = \"{{root}}/vault\"
encrypt = {{ openpgp = [\"{{root}}/ops.asc\"] }}
decrypt = {{ openpgp = \"file:{{root}}/ops-secret.asc\", passphrase = \"file:{{root}}/ops.pass\" }}

[plan.main]
sources = [\"files\", \"db\", \"vault\"]
stores = [\"vault\"]

[drill.main]
plans = [\"main\"]
"
    ));
    app
}

fn close(app: &App, file: &str) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(app.path(file), mode).unwrap();
}

/// Restores into a new directory, whose files must be those that were captured.
fn restore(app: &App, name: &str) {
    let target = app.path(name);
    app.ok(&["restore", "latest", "--to", target.to_str().unwrap()]);
    let data = app.path("data");
    let files = crate::support::listing(&target);
    let found = files.iter().find(|f| f.ends_with("/notes.txt")).unwrap();
    same_tree(&data, target.join(found).parent().unwrap());
}

#[test]
fn a_whole_cycle_and_what_gpg_alone_restores() {
    let home = GpgHome::new();
    let app = application(&home);
    app.ok(&["doctor"])
        .says(&["its decryption key opens what is encrypted for it"])
        .never_says(&["not encrypted"]);
    app.backup();
    let keys = app.listing("vault");
    for end in [
        ".tar.gz.gpg",
        ".sqlite.gz.gpg",
        ".txt.gz.gpg",
        ".details.json.gpg",
    ] {
        assert!(
            keys.iter().any(|key| key.ends_with(end)),
            "{end}: {keys:#?}"
        );
    }
    assert_eq!(app.json(&["verify"])["outcome"], "intact");
    // The details come out of the store, not out of the catalog.
    app.forget_state_but_key();
    let drill = app.json(&["drill"]);
    assert_eq!(drill["outcome"], "verified", "{drill:#}");
    restore(&app, "out");

    // The restore page as it stands, with a gpg that has the key and is told its passphrase.
    let text = instructions(&app.path("vault"));
    let pass = app.path("ops.pass");
    let options = format!(
        "--batch --pinentry-mode loopback --passphrase-file {}",
        pass.display()
    );
    let env = [
        ("GNUPGHOME", home.path().to_str().unwrap()),
        ("GPG_OPTIONS", &options),
    ];
    let output = follow(&app, "by hand", &text, &env);
    assert_eq!(output.code, 0, "{text}\n{output}");
    let restored = app.path("by hand/restored");
    let data = app.path("data");
    same_tree(
        &data,
        &restored.join("files").join(data.strip_prefix("/").unwrap()),
    );
    assert_eq!(
        std::fs::read(restored.join("vault/vault.txt")).unwrap(),
        b"secret one\n"
    );

    // One byte of what is stored, and the drill must not be satisfied.
    let stored = keys
        .iter()
        .find(|key| key.ends_with(".sqlite.gz.gpg"))
        .unwrap();
    let path = app.path("vault").join(stored);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(app.json_exits(4, &["drill"])["outcome"], "failed");
    app.exits(4, &["verify"]);
    let target = app.path("damaged").display().to_string();
    let restored = app.exits(4, &["restore", "latest", "--to", &target]);
    restored.says(&["Modification Detection Code"]);
    let left = app.listing("damaged");
    assert!(!left.iter().any(|file| file.contains("db")), "{left:?}");
}

#[test]
fn through_the_users_gpg() {
    let home = GpgHome::new();
    let app = application(&home);
    app.backup();
    // A copy of the key without a passphrase, as an agent that knows it would have.
    let own = GpgHome::new();
    let secret = std::fs::read(app.path("ops-secret.asc")).unwrap();
    own.ok(&["--passphrase", PASSPHRASE, "--import"], &secret);
    let with = |home: &GpgHome| format!("decrypt = {{ gpg = \"{}\" }}\n#", home.path().display());
    app.edit("decrypt = ", &with(&own));
    // The agent has the key locked, and nobody is there to ask.
    std::fs::write(
        own.path().join("gpg-agent.conf"),
        "pinentry-program /bin/false\n",
    )
    .unwrap();
    lifeboat_testkit::gpg::reload(&own);
    app.forget_state_but_key();
    let target = app.path("out").display().to_string();
    let refusal = app.refuses(1, "decryption", &["restore", "latest", "--to", &target]);
    refusal
        .names(&["gpg cannot use the secret key"])
        .advises(&["agent"]);
    // A backup host that only has gpg for another key.
    let other = GpgHome::new();
    other.key("other@example.org", "ed25519", "cv25519", "");
    app.edit(&with(&own), &with(&other));
    app.exits(1, &["doctor"])
        .says(&["its decryption key does not open what is encrypted for it"]);
    let refusal = app.refuses(1, "decryption", &["restore", "latest", "--to", &target]);
    refusal
        .names(&["gpg has no secret key"])
        .advises(&["import"]);
    assert_eq!(app.listing("out"), [""; 0]);
    // The agent was told the passphrase.
    std::fs::remove_file(own.path().join("gpg-agent.conf")).unwrap();
    lifeboat_testkit::gpg::reload(&own);
    let sample = own.ok(&["--encrypt", "-r", "ops@example.org"], b"x");
    own.ok(&["--passphrase", PASSPHRASE, "--decrypt"], &sample);
    app.edit(&with(&other), &with(&own));
    app.ok(&["doctor"]);
    assert_eq!(app.json(&["drill"])["outcome"], "verified");
    restore(&app, "out");
    let empty = GpgHome::new();
    app.edit(&with(&own), &with(&empty));
    app.exits(1, &["doctor"])
        .says(&["no secret key that decrypts", "gpg --import"]);
}

#[test]
fn keys_that_do_not_decrypt() {
    let home = GpgHome::new();
    let app = application(&home);
    app.backup();
    app.forget_state_but_key();
    let target = app.path("out").display().to_string();
    let restore = ["restore", "latest", "--to", &target];
    app.write("ops.pass", b"incorrect horse\n");
    let refusal = app.refuses(1, "decryption", &restore);
    refusal.names(&["decryption key of store vault", "passphrase does not open"]);
    app.exits(1, &["doctor"])
        .says(&["passphrase does not open"])
        .never_says(&["incorrect horse"]);
    let drill = app.exits(4, &["drill"]);
    drill.never_says(&["incorrect horse"]);
    app.edit(
        ", passphrase = \"file:{root}/ops.pass\""
            .replace("{root}", &app.root().display().to_string())
            .as_str(),
        "",
    );
    app.refuses(1, "decryption", &restore)
        .names(&["is protected by a passphrase"])
        .advises(&["passphrase = "]);
    let other = GpgHome::new();
    other.key("other@example.org", "rsa2048", "rsa2048", "");
    app.write(
        "ops-secret.asc",
        &other.export_secret("--armor", "other@example.org", ""),
    );
    let refusal = app.refuses(1, "decryption", &restore);
    refusal.because(&["it is encrypted to", "the secret key here is"]);
    app.write(
        "ops-secret.asc",
        &std::fs::read(app.path("ops.asc")).unwrap(),
    );
    app.refuses(1, "decryption", &restore)
        .names(&["a public key, and no secret key"]);
    std::fs::remove_file(app.path("ops-secret.asc")).unwrap();
    app.refuses(1, "decryption", &restore)
        .names(&["ops-secret.asc"])
        .because(&["No such file"]);
    assert_eq!(app.listing("out"), [""; 0]);
    // Without any, a host backs up and verifies, and proves nothing.
    app.edit("decrypt = ", "#");
    app.backup();
    app.ok(&["verify"]);
    app.forget_state_but_key();
    assert_eq!(app.json_exits(4, &["drill"])["outcome"], "unverifiable");
    app.refuses(1, "decryption", &restore)
        .advises(&["openpgp = "]);
}

#[test]
fn keys_that_are_not_encrypted_to_and_what_was_stored_before() {
    let home = GpgHome::new();
    let app = application(&home);
    app.backup();
    let expired = GpgHome::new();
    expired.primary("old@example.org", "ed25519", "1y", "", "20200101T000000");
    let public = std::fs::read(expired.export("old.asc", &["old@example.org"])).unwrap();
    let good = std::fs::read(app.path("ops.asc")).unwrap();
    app.write("ops.asc", &public);
    let refusal = app.refuses(2, "configuration", &["backup"]);
    refusal.names(&["store vault", "old@example.org", "expired on 2020-12-31"]);
    refusal.advises(&["gpg --quick-set-expire"]);
    app.exits(1, &["doctor"]).says(&["expired on 2020-12-31"]);
    // What was stored while the key was good comes back all the same, and so it does without it.
    restore(&app, "out");
    assert_eq!(app.json(&["drill"])["outcome"], "verified");
    std::fs::remove_file(app.path("ops.asc")).unwrap();
    restore(&app, "again");
    app.refuses(2, "configuration", &["backup"])
        .names(&["ops.asc"]);
    let secret = std::fs::read(app.path("ops-secret.asc")).unwrap();
    app.write("ops.asc", &secret);
    app.refuses(2, "configuration", &["backup"])
        .names(&["holds a private key"]);
    app.write("ops.asc", &good);
    app.backup();
    // Soon to expire.
    home.ok(
        &[
            "--passphrase",
            PASSPHRASE,
            "--quick-set-expire",
            &first(&home),
            "20d",
        ],
        b"",
    );
    app.write(
        "ops.asc",
        &std::fs::read(home.export("ops.asc", &["ops@example.org"])).unwrap(),
    );
    app.ok(&["doctor"]).says(&["expires on", "extend it"]);
}

fn first(home: &GpgHome) -> String {
    let listed = home.ok(&["--list-keys", "--with-colons"], b"");
    let text = String::from_utf8(listed).unwrap();
    let line = text.lines().find(|l| l.starts_with("fpr:")).unwrap();
    line.trim_start_matches("fpr:").trim_matches(':').to_owned()
}

#[test]
fn copies_between_formats_and_kits() {
    let home = GpgHome::new();
    let mut app = application(&home);
    let (public, secret) = age_key();
    app.write("age.txt", secret.as_bytes());
    close(&app, "age.txt");
    app.configure_also(&format!(
        "[store.aged]\nkind = \"local\"\npath = \"{{root}}/aged\"\nencrypt = {{ age = [\"{public}\"] }}\ndecrypt = {{ age = \"file:{{root}}/age.txt\" }}\n"
    ));
    let point = app.backup();
    app.ok(&["copy", &point, "--from", "vault", "--to", "aged"]);
    assert!(
        app.listing("aged")
            .iter()
            .any(|key| key.ends_with(".tar.gz.age"))
    );
    std::fs::remove_dir_all(app.path("vault")).unwrap();
    app.ok(&["copy", &point, "--from", "aged", "--to", "vault"]);
    assert!(
        app.listing("vault")
            .iter()
            .any(|key| key.ends_with(".tar.gz.gpg"))
    );
    restore(&app, "out");
    // The store is changed to the other format: what it held before is still read.
    app.edit(
        "encrypt = { openpgp = [",
        &format!("encrypt = {{ age = [\"{public}\"] }}\n# ["),
    );
    app.edit(
        "passphrase = \"file",
        &format!(
            "age = \"file:{}\", passphrase = \"file",
            app.path("age.txt").display()
        ),
    );
    restore(&app, "after");
    app.backup();
    restore(&app, "newer");

    let ops = app.path("ops.asc").display().to_string();
    let exported = app.json(&["kit", "export", "-o", "kit.gpg", "--recipient", &ops]);
    let entries = exported["entries"].to_string();
    for entry in [
        "stores/vault/decrypt.openpgp",
        "stores/vault/decrypt.passphrase",
        "stores/vault/decrypt.age",
    ] {
        assert!(entries.contains(entry), "{entries}");
    }
    app.env("PASS", PASSPHRASE);
    app.env("WRONG", "incorrect");
    let identity = format!("file:{}", app.path("ops-secret.asc").display());
    let test = [
        "kit",
        "test",
        "kit.gpg",
        "--identity",
        &identity,
        "--identity-passphrase",
    ];
    let tried = app.json(&[&test[..], &["env:PASS"]].concat());
    assert_eq!(tried["outcome"], "enough", "{tried:#}");
    app.refuses(1, "decryption", &[&test[..], &["env:WRONG"]].concat());
    let kit = std::fs::read(app.path("kit.gpg")).unwrap();
    let tar = home.ok(&["--passphrase", PASSPHRASE, "--decrypt"], &kit);
    assert!(tar.windows(13).any(|w| w == b"lifeboat.toml"));
}

#[test]
fn a_machine_without_configuration_opens_it_with_the_key_and_its_passphrase() {
    let home = GpgHome::new();
    let app = application(&home);
    app.backup();
    let store = app.path("vault").display().to_string();
    let reference = |name: &str| format!("file:{}", app.path(name).display());
    let (key, passphrase) = (reference("ops-secret.asc"), reference("ops.pass"));
    let access = ["--store-url", &store, "--identity", &key];
    let machine = crate::cold::Machine::new();
    let whole = [&access[..], &["--passphrase", &passphrase]].concat();
    crate::cold::whole_round(&machine, &app, &whole);
    let signers = reference("state/allowed_signers");
    let signers = signers.trim_start_matches("file:");
    let restore = [
        "restore",
        "latest",
        "--to",
        "out",
        "--trusted-signers",
        signers,
    ];
    machine
        .exits(1, &[&restore[..], &access].concat())
        .says(&["passphrase"]);
    app.write("wrong.pass", b"guess");
    let wrong = reference("wrong.pass");
    machine
        .exits(
            1,
            &[&restore[..], &access, &["--passphrase", &wrong]].concat(),
        )
        .says(&["passphrase"]);
}

/// Lets a key of its own sign inside; its fingerprint, and the home that has it.
fn signing(app: &App) -> (GpgHome, String) {
    let host = GpgHome::new();
    let fingerprint = host.primary("host@example.org", "ed25519", "never", PASSPHRASE, "");
    let secret = host.export_secret("--armor", "host@example.org", PASSPHRASE);
    app.write("sign.asc", &secret);
    app.write("sign.pass", format!("{PASSPHRASE}\n").as_bytes());
    for private in ["sign.asc", "sign.pass"] {
        close(app, private);
    }
    let root = app.root().display();
    app.edit(
        "ops.asc\"] }",
        &format!("ops.asc\"], sign = {{ openpgp = \"file:{root}/sign.asc\", passphrase = \"file:{root}/sign.pass\" }} }}"),
    );
    (host, fingerprint)
}

#[test]
fn objects_that_are_signed_inside() {
    let home = GpgHome::new();
    let app = application(&home);
    let unsigned = app.backup();
    let (host, fingerprint) = signing(&app);
    app.ok(&["doctor"])
        .says(&["signed inside by OpenPGP key", &fingerprint]);
    // What was stored before is named, and read.
    app.ok(&["show", &unsigned])
        .says(&["objects are not signed inside"]);
    restore(&app, "before");
    let point = app.backup();
    app.ok(&["show", &point])
        .says(&["signed inside by OpenPGP key", &fingerprint])
        .never_says(&["not signed inside"]);
    let shown = app.json(&["show", &point]);
    for artifact in shown["artifacts"].as_array().unwrap() {
        assert_eq!(artifact["openpgp_signer"], fingerprint.as_str());
    }
    assert_eq!(shown["details"]["openpgp_signer"], fingerprint.as_str());

    // gpg alone says who made each object, and when it cannot know that it restores all the same.
    let text = instructions(&app.path("vault"));
    assert!(text.contains(&fingerprint), "{text}");
    let options = format!(
        "--batch --pinentry-mode loopback --passphrase-file {}",
        app.path("ops.pass").display()
    );
    let env = [
        ("GNUPGHOME", home.path().to_str().unwrap()),
        ("GPG_OPTIONS", options.as_str()),
    ];
    let output = follow(&app, "a stranger", &text, &env);
    assert_eq!(output.code, 0, "{text}\n{output}");
    output.never_says(&["Good signature"]);
    let public = std::fs::read(host.export("host.asc", &["host@example.org"])).unwrap();
    home.ok(&["--import"], &public);
    let output = follow(&app, "by hand", &text, &env);
    assert_eq!(output.code, 0, "{text}\n{output}");
    output.says(&["Good signature from \"host@example.org\""]);
    let data = app.path("data");
    let restored = app.path("by hand/restored/files");
    same_tree(&data, &restored.join(data.strip_prefix("/").unwrap()));

    // A host that proves it knows nothing of the key that signs; then not even the point's catalog.
    app.json(&["verify"]);
    assert_eq!(app.json(&["drill"])["outcome"], "verified");
    std::fs::remove_file(app.path("sign.asc")).unwrap();
    app.forget_state_but_key();
    assert_eq!(app.json(&["drill"])["outcome"], "verified");
    restore(&app, "out");
    app.refuses(2, "secret", &["backup"])
        .names(&["store vault", "sign.asc"]);
}

#[test]
fn keys_that_cannot_sign_stop_a_backup_and_nothing_else() {
    let home = GpgHome::new();
    let app = application(&home);
    let (host, fingerprint) = signing(&app);
    let point = app.backup();
    let good = std::fs::read(app.path("sign.asc")).unwrap();
    let refused = |code: &str, names: &[&str], hint: &str| {
        app.refuses(2, code, &["backup"])
            .names(&[&["store vault", "its OpenPGP signing key"], names].concat())
            .advises(&[hint]);
        app.exits(1, &["doctor"])
            .says(names)
            .never_says(&["incorrect horse", PASSPHRASE]);
        // And no point that is not signed, of which nobody would know.
        assert_eq!(app.json(&["points"])["points"].as_array().unwrap().len(), 1);
    };
    app.write("sign.pass", b"incorrect horse\n");
    refused("secret", &["passphrase does not open"], "`sign`");
    app.write("sign.pass", format!("{PASSPHRASE}\n").as_bytes());
    let public = std::fs::read(host.export("host.asc", &["host@example.org"])).unwrap();
    app.write("sign.asc", &public);
    refused("secret", &["a public key"], "--export-secret-keys");
    let other = GpgHome::new();
    other.primary("old@example.org", "ed25519", "1y", "", "20200101T000000");
    app.write(
        "sign.asc",
        &other.export_secret("--armor", "old@example.org", ""),
    );
    let expired = ["old@example.org", "expired on 2020-12-31"];
    refused("configuration", &expired, "gpg --quick-set-expire");
    restore(&app, "out");
    app.write("sign.asc", &good);
    app.backup();

    // Through the agent, which knows the passphrase or does not.
    let root = app.root().display();
    let file =
        format!("openpgp = \"file:{root}/sign.asc\", passphrase = \"file:{root}/sign.pass\" }} }}");
    let gpg = format!(
        "gpg = \"{}\", key = \"{fingerprint}\" }} }}",
        host.path().display()
    );
    app.edit(&file, &gpg);
    let conf = host.path().join("gpg-agent.conf");
    std::fs::write(&conf, "pinentry-program /bin/false\n").unwrap();
    lifeboat_testkit::gpg::reload(&host);
    app.refuses(2, "secret", &["backup"])
        .names(&["store vault", "gpg-agent does not sign"])
        .advises(&["let it know the passphrase"]);
    std::fs::remove_file(conf).unwrap();
    lifeboat_testkit::gpg::reload(&host);
    host.ok(&["--passphrase", PASSPHRASE, "--sign"], b"x");
    app.ok(&["doctor"]).says(&[&fingerprint]);
    let newest = app.backup();
    assert_ne!(newest, point);
    app.ok(&["show", &newest]).says(&[&fingerprint]);
    assert_eq!(app.json(&["drill"])["outcome"], "verified");
}

#[test]
fn a_kit_has_what_signs() {
    let home = GpgHome::new();
    let mut app = application(&home);
    signing(&app);
    app.backup();
    let ops = app.path("ops.asc").display().to_string();
    let exported = app.json(&["kit", "export", "-o", "kit.gpg", "--recipient", &ops]);
    let entries = exported["entries"].to_string();
    for entry in ["stores/vault/sign.openpgp", "stores/vault/sign.passphrase"] {
        assert!(entries.contains(entry), "{entries}");
    }
    app.env("PASS", PASSPHRASE);
    let identity = format!("file:{}", app.path("ops-secret.asc").display());
    let test = ["kit", "test", "kit.gpg", "--identity", &identity];
    let tried = app.json(&[&test[..], &["--identity-passphrase", "env:PASS"]].concat());
    assert_eq!(tried["outcome"], "enough", "{tried:#}");
}
