//! age keys that a plugin speaks for: post-quantum ones, through the plugin that comes with the
//! current `age`, which is also what opens the result.

use crate::roundtrip::sh;
use crate::support::App;
use lifeboat_testkit::mariadb::current_age;
use std::os::unix::fs::symlink;

const CONFIG: &str = r#"
[source.data]
kind = "files"
paths = ["{root}/data"]

[store.disk]
kind = "local"
path = "{root}/store"
encrypt = { age = ["{root}/recipients.txt"] }
decrypt = { age = "file:{root}/identity.txt" }

[plan.main]
sources = ["data"]
stores = ["disk"]

[drill.main]
plans = ["main"]
"#;

fn application() -> App {
    let app = App::with(CONFIG);
    std::fs::create_dir_all(app.path("data")).unwrap();
    app.write("data/clients.txt", b"all of them\n");
    let keygen = current_age("age-keygen").display().to_string();
    sh(
        app.root(),
        &format!(
            "'{keygen}' -pq -o identity.txt 2>/dev/null && '{keygen}' -y identity.txt > recipients.txt"
        ),
    );
    app
}

#[test]
fn a_post_quantum_key_seals_and_opens_through_its_plugin() {
    let mut app = application();
    // Without the plugin nothing is stored.
    app.exits(1, &["backup"])
        .says(&["age-plugin-pq is not installed", "hint: install it"]);
    assert_eq!(sh(app.root(), "find store -type f"), "");
    // The doctor says so, too, on a host that has no private key.
    app.edit("decrypt = ", "# ");
    app.exits(1, &["doctor"])
        .says(&["store.disk: age-plugin-pq is not installed"]);
    app.edit("# ", "decrypt = ");

    std::fs::create_dir(app.path("bin")).unwrap();
    symlink(current_age("age-plugin-pq"), app.path("bin/age-plugin-pq")).unwrap();
    let path = std::env::var("PATH").unwrap();
    app.env("PATH", format!("{}:{path}", app.path("bin").display()));
    app.backup();
    let drill = app.json(&["drill"]);
    assert_eq!(drill["outcome"], "verified", "{drill:#}");
    app.ok(&["doctor"])
        .says(&["store.disk: its decryption key opens what is encrypted for it"]);

    // The current age opens it by itself, and so does any age with the plugin.
    let age = current_age("age").display().to_string();
    let stored = sh(app.root(), "find store -name '*.tar.gz.age'");
    let open = |age: &str, identity: &str| {
        sh(
            app.root(),
            &format!(
                "'{age}' -d -i {identity} '{}' | tar -xzO --wildcards '*clients.txt'",
                stored.trim()
            ),
        )
    };
    assert_eq!(open(&age, "identity.txt"), "all of them\n");
    sh(
        app.root(),
        "bin/age-plugin-pq -identity -o plugin.txt identity.txt",
    );

    // The identity as the plugin writes it, and that of somebody else.
    app.edit("identity.txt\"", "plugin.txt\"");
    assert_eq!(app.json(&["drill"])["outcome"], "verified");
    let keygen = current_age("age-keygen").display().to_string();
    sh(
        app.root(),
        &format!("'{keygen}' -pq -o other.txt 2>/dev/null"),
    );
    app.edit("plugin.txt\"", "other.txt\"");
    app.exits(1, &["doctor"])
        .says(&["its decryption key does not open what is encrypted for it"]);
    let drill = app.json_exits(4, &["drill"]);
    assert_eq!(drill["outcome"], "unverifiable", "{drill:#}");

    // Gone again, and said as such.
    app.edit("other.txt\"", "identity.txt\"");
    std::fs::remove_file(app.path("bin/age-plugin-pq")).unwrap();
    app.exits(4, &["drill"])
        .says(&["age-plugin-pq is not installed"]);
}
