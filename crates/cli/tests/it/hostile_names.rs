//! Signed documents with names that lead out of where they are used: whoever has the key of one
//! host must not write or delete on another.

use crate::forge;
use crate::support::{App, listing};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Changes a document.
type Change = fn(&mut Value, &str);

const CHANGES: [(&str, Change); 16] = [
    ("source", |m, root| rename(m, &format!("{root}/canary"))),
    ("source above", |m, _| rename(m, "../../canary")),
    ("source through", |m, _| rename(m, "files/../../../canary")),
    ("source ..", |m, _| rename(m, "..")),
    ("source .", |m, _| rename(m, ".")),
    ("artifact", |m, _| {
        m["artifacts"][0]["name"] = "../../canary/x".into()
    }),
    ("extension", |m, _| {
        m["sources"][0]["kind"] = "command".into();
        m["artifacts"][0]["extension"] = "/../../canary/x".into();
    }),
    ("key", |m, _| {
        m["artifacts"][0]["key"] = "../canary/kept".into()
    }),
    ("key at the root", |m, root| {
        m["artifacts"][0]["key"] = format!("{root}/canary/kept").into();
    }),
    ("details at the root", |m, root| {
        m["details"]["key"] = format!("{root}/canary/kept").into();
    }),
    ("plan", |m, _| m["plan"] = "../../canary".into()),
    ("app", |m, _| m["app"] = "../crm".into()),
    ("environment", |m, _| m["environment"] = "a/b".into()),
    ("store", |m, _| m["store"] = "..".into()),
    ("stores", |m, _| m["stores"][0] = "../canary".into()),
    ("evidence", |m, _| {
        m["evidence"] = json!({ "../../canary": { "sequence": 1, "sha256": "0" } });
    }),
];

fn rename(manifest: &mut Value, to: &str) {
    let from = manifest["sources"][0]["name"].clone();
    manifest["sources"][0]["name"] = to.into();
    for artifact in manifest["artifacts"].as_array_mut().unwrap() {
        if artifact["source"] == from {
            artifact["source"] = to.into();
        }
    }
}

/// The names of what is there, but for what the program may write.
fn around(app: &App) -> Vec<String> {
    let all = listing(app.root()).into_iter();
    let ours = |name: &String| {
        ["state", "store", "here"]
            .iter()
            .any(|own| name.starts_with(own))
    };
    all.filter(|name| !ours(name)).collect()
}

/// Every verb that reads a point, of another host, of this one, and live.
fn verbs(app: &App, point: &str, signer: &str) -> Vec<Vec<String>> {
    let store = app.path("store").display().to_string();
    let target = |name: &str| app.path("here").join(name).display().to_string();
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    vec![
        words(&format!("restore {point} --to {}", target("out"))),
        words(&format!(
            "restore {point} --to {} --store-url {store} --trust-signer {signer}",
            target("cold")
        )),
        words(&format!(
            "restore {point} --live --confirm crm/test --reason x"
        )),
        words(&format!("drill --point {point}")),
        words(&format!("verify {point}")),
    ]
}

#[test]
fn no_verb_uses_a_name_that_the_configuration_would_refuse() {
    let app = App::basic();
    app.write("canary/kept", b"kept");
    std::fs::create_dir(app.path("here")).unwrap();
    let point = app.backup();
    let path = forge::manifest_path(&app, &point);
    let honest = [
        path.clone(),
        PathBuf::from(format!("{}.sig", path.display())),
    ]
    .map(|path| (std::fs::read(&path).unwrap(), path));
    let manifest: Value = serde_json::from_slice(&honest[0].0).unwrap();
    let signer = manifest["signer"].as_str().unwrap().to_owned();
    let before = around(&app);
    let root = app.root().display().to_string();
    for (what, change) in CHANGES {
        forge::change(&app, &path, |manifest| change(manifest, &root));
        for verb in verbs(&app, &point, &signer) {
            let args: Vec<&str> = verb.iter().map(String::as_str).collect();
            let output = app.run(&args);
            assert_ne!(output.code, 0, "{what}: {verb:?}");
            assert_eq!(around(&app), before, "{what}: {verb:?}");
        }
        for (code, verb) in [
            (4, &["points", "--rescan"][..]),
            (4, &["verify", "--all"]),
            (4, &["show", &point]),
            (1, &["doctor"]),
        ] {
            app.exits(code, verb).says(&["is damaged"]);
        }
        assert_eq!(std::fs::read(app.path("canary/kept")).unwrap(), b"kept");
        assert_eq!(
            std::fs::read(app.path("data/notes.txt")).unwrap(),
            b"remember the milk\n"
        );
        for (bytes, path) in &honest {
            std::fs::write(path, bytes).unwrap();
        }
    }
    // What is refused is the name alone.
    app.ok(&["verify", &point]);
    app.ok(&["restore", &point, "--to", &format!("{root}/here/whole")]);
}

#[test]
fn a_source_that_a_manifest_names_twice_is_refused() {
    let app = App::basic();
    let point = app.backup();
    forge::change(&app, &forge::manifest_path(&app, &point), |manifest| {
        let again = manifest["sources"][0].clone();
        manifest["sources"].as_array_mut().unwrap().push(again);
    });
    let target = app.path("out").display().to_string();
    app.exits(4, &["restore", &point, "--to", &target])
        .says(&["it names source files twice"]);
    assert!(!app.path("out").exists());
}

#[test]
fn a_record_of_evidence_with_such_a_name_is_damaged() {
    let app = App::basic();
    app.backup();
    app.ok(&["drill"]);
    let store = app.path("store/lifeboat/evidence");
    let record = listing(&store)
        .into_iter()
        .find(|name| name.ends_with(".json"))
        .unwrap();
    let changes: [Change; 3] = [
        |record, _| record["drill"] = "../x".into(),
        |record, _| record["points"][0]["plan"] = "a/b".into(),
        |record, _| record["points"][0]["sources"][0] = "..".into(),
    ];
    for change in changes {
        let path = store.join(&record);
        let honest = std::fs::read(&path).unwrap();
        forge::change(&app, &path, |record| change(record, ""));
        app.exits(4, &["evidence", "verify"]).says(&["is damaged"]);
        std::fs::write(path, honest).unwrap();
    }
}
