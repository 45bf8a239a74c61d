//! What a manifest says beside what it names: what made the point be taken, what was promised then,
//! which point came before, and whether its content is that of another.

use crate::forge;
use crate::support::App;
use serde_json::Value;

fn manifest(app: &App, point: &str) -> Value {
    let bytes = std::fs::read(forge::manifest_path(app, point)).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// SHA-256 of the stored manifest, hex.
fn hash(app: &App, point: &str) -> String {
    let bytes = std::fs::read(forge::manifest_path(app, point)).unwrap();
    lifeboat_core::archive::Tally::of(&bytes).sha256
}

/// The names of the content of an artifact.
fn mac(manifest: &Value, source: &str) -> String {
    let artifacts = manifest["artifacts"].as_array().unwrap();
    let artifact = artifacts.iter().find(|a| a["source"] == source).unwrap();
    artifact["proof_mac"].as_str().unwrap().to_owned()
}

#[test]
fn it_says_what_made_it_and_what_was_promised() {
    let app = App::basic();
    app.edit("[app]\n", "[app]\nrpo = \"90m\"\nrto = \"30m\"\n");
    app.edit("[plan.main]\n", "[plan.main]\nschedule = \"7 * * * *\"\n");
    app.edit("[drill.main]\n", "[drill.main]\nmax_age = \"9d\"\n");
    let first = app.backup();
    let told = manifest(&app, &first);
    assert_eq!(told["trigger"], serde_json::json!({ "by": "command" }));
    let targets = serde_json::json!({
        "rpo_seconds": 5400, "rto_seconds": 1800, "schedule": "7 * * * *",
        "drill_max_age_seconds": { "main": 777_600 },
    });
    assert_eq!(told["targets"], targets);
    let machine = std::fs::read_to_string("/etc/machine-id").ok();
    let machine = machine.filter(|id| !id.trim().is_empty());
    assert_eq!(told["machine"].is_string(), machine.is_some(), "{told:#}");
    if let Some(id) = machine {
        assert_ne!(told["machine"], id.trim(), "the id itself is a secret");
    }
    assert!(told.get("previous").is_none(), "{told:#}");

    let live = [
        "restore",
        &first,
        "--live",
        "--confirm",
        "crm/test",
        "--reason",
        "x",
    ];
    let safety = app.json(&live)["safety_points"][0]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(manifest(&app, &safety)["trigger"]["by"], "restore");
}

#[test]
fn it_names_the_one_before_and_tells_equal_content() {
    let app = App::basic();
    let first = app.backup();
    let second = app.backup();
    let (one, two) = (manifest(&app, &first), manifest(&app, &second));
    assert_eq!(two["previous"], hash(&app, &first));
    assert_eq!(mac(&one, "files"), mac(&two, "files"));
    assert_eq!(mac(&one, "db"), mac(&two, "db"));
    assert_ne!(mac(&one, "files"), mac(&one, "db"));

    app.write("data/notes.txt", b"remember the bread\n");
    let third = manifest(&app, &app.backup());
    assert_eq!(third["previous"], hash(&app, &second));
    assert_ne!(mac(&third, "files"), mac(&two, "files"));
    assert_eq!(mac(&third, "db"), mac(&two, "db"));

    // Another key makes other names of the same content: nobody else can compare, or guess.
    let other = App::basic();
    app.write("data/notes.txt", b"remember the milk\n");
    let foreign = manifest(&other, &other.backup());
    assert_ne!(mac(&foreign, "db"), mac(&two, "db"));
}
