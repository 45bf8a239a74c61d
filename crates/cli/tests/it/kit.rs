//! The recovery kit: exported, tried, and opened by stock tools on a day without this host.

use crate::roundtrip::{age_key, application, sh};
use crate::support::{App, listing};
use serde_json::Value;

fn passphrase(app: &App) -> String {
    format!(
        "file:{}",
        app.write("passphrase", b"correct horse battery\n")
            .display()
    )
}

#[test]
fn a_kit_under_a_passphrase_is_enough() {
    let mut app = application();
    let point = app.backup();
    let key = passphrase(&app);
    let kit = app.path("kit.age");
    let kit = kit.to_str().unwrap();
    let exported = app.json(&["kit", "export", "--output", kit, "--passphrase", &key]);
    app.ok(&[
        "kit",
        "export",
        "--output",
        "other kit",
        "--passphrase",
        &key,
    ])
    .says(&[&format!(
        "lifeboat kit test '{}' --passphrase {key}",
        app.path("other kit").display()
    )]);
    let entries = exported["entries"].to_string();
    for name in [
        "README.md",
        "lifeboat.toml",
        "allowed_signers",
        "signing.key",
        "stores/vault/decrypt.age",
    ] {
        assert!(entries.contains(name), "{entries}");
    }
    assert!(
        exported["warnings"]
            .to_string()
            .contains("every store is on this host"),
        "{exported:#}"
    );
    app.exits(1, &["kit", "export", "--output", kit, "--passphrase", &key])
        .says(&["kit.age"]);

    // This host is gone: no state, no identity, only the stores and the kit.
    app.forget_state();
    std::fs::remove_file(app.path("identity.txt")).unwrap();
    let temporary = app.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    app.env("TMPDIR", temporary.to_str().unwrap());
    app.env("LIFEBOAT_CONFIG", "/nowhere/lifeboat.toml");
    let tried = app.json(&["kit", "test", kit, "--passphrase", &key]);
    assert_eq!(tried["outcome"], "enough");
    let stores = tried["stores"].as_array().unwrap();
    assert_eq!(stores.len(), 2);
    for store in stores {
        assert_eq!(
            (&store["outcome"], &store["point"]),
            (&Value::from("readable"), &Value::from(point.as_str())),
            "{store:#}"
        );
    }
    assert_eq!(
        listing(&temporary),
        Vec::<String>::new(),
        "nothing of the kit stays in clear"
    );

    let wrong = format!("file:{}", app.write("wrong", b"incorrect horse").display());
    app.exits(1, &["kit", "test", kit, "--passphrase", &wrong])
        .says(&["passphrase does not open the recovery kit"]);
    // A kit whose stores are damaged is not enough, and says so.
    for store in ["store", "vault"] {
        for name in listing(&app.path(store))
            .iter()
            .filter(|n| n.contains(".sqlite"))
        {
            std::fs::remove_file(app.path(store).join(name)).unwrap();
        }
    }
    let tried = app.json_exits(4, &["kit", "test", kit, "--passphrase", &key]);
    assert_eq!(tried["outcome"], "not-enough", "{tried:#}");
}

/// With stock tools, the kit's own instructions, and the program on another host.
#[test]
fn a_kit_to_a_public_key_is_opened_by_age_and_tar() {
    let mut app = application();
    let point = app.backup();
    let (secret, public) = age_key();
    app.write("kit.key", secret.as_bytes());
    app.ok(&[
        "kit",
        "export",
        "--output",
        "kit.age",
        "--recipient",
        &public,
    ]);
    let identity = format!("file:{}", app.path("kit.key").display());
    assert_eq!(
        app.json(&["kit", "test", "kit.age", "--identity", &identity])["outcome"],
        "enough"
    );

    sh(
        app.root(),
        "mkdir -m 700 opened && age -d -i kit.key kit.age | tar -x -C opened",
    );
    let opened = app.path("opened");
    assert!(sh(&opened, "cat README.md").contains("Recovery kit of crm (test)"));
    assert_eq!(
        sh(&opened, "find . -type f ! -perm 600"),
        "",
        "every file of the kit is for its owner alone"
    );
    assert_eq!(
        sh(&opened, "cat stores/vault/decrypt.age; echo"),
        std::fs::read_to_string(app.path("identity.txt")).unwrap()
    );

    // As its README says, with what is filled in; the directory is not written to twice.
    app.forget_state();
    std::fs::rename(app.path("identity.txt"), app.path("lost")).unwrap();
    let unpacked = [
        "kit",
        "unpack",
        "kit.age",
        "--identity",
        &identity,
        "--to",
        "un packed",
    ];
    let said = app.ok(&unpacked);
    let config = app.path("un packed/lifeboat.toml").display().to_string();
    said.says(&[&format!(
        "lifeboat --config '{config}' restore latest --to DIRECTORY"
    )]);
    app.exits(1, &unpacked).says(&["un packed", "is not empty"]);
    assert_eq!(
        sh(&app.path("un packed"), "find . -perm /77"),
        "",
        "all of it is for its owner alone"
    );
    app.env("LIFEBOAT_CONFIG", &config);
    assert_eq!(app.points(), [point.as_str()]);
    let report = app.json(&["drill", "--store", "vault"]);
    assert_eq!(report["outcome"], "verified", "{report:#}");
    app.ok(&["restore", "latest", "--store", "vault", "--to", "back"]);
    assert_eq!(
        std::fs::read(app.path("back/vault/vault.txt")).unwrap(),
        b"secret one\n"
    );
}

#[test]
fn a_kit_without_the_decryption_key_says_so() {
    let app = application();
    app.backup();
    app.edit("decrypt = { age = ", "# ");
    let key = passphrase(&app);
    app.ok(&["kit", "export", "--output", "kit.age", "--passphrase", &key])
        .says(&["the decryption key of store vault is not known here and so not in the kit"]);
    let tried = app.json(&["kit", "test", "kit.age", "--passphrase", &key]);
    assert_eq!(tried["stores"][0]["outcome"], "readable");
    assert_eq!(tried["stores"][1]["outcome"], "unreadable");
    assert!(
        tried["stores"][1]["error"]["message"]
            .to_string()
            .contains("decrypt"),
        "{tried:#}"
    );
}
