//! The documents say what the program does: every command in them exists, every configuration in
//! them is valid, every key has its row, and every JSON field that is named is printed.

use crate::support::{App, LIFEBOAT, run};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every document for people, by name.
fn documents() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for directory in [root(), root().join("docs"), root().join("docs/systems")] {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "md") {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 5, "{} documents only", found.len());
    found
}

fn document(name: &str) -> String {
    let found = documents().into_iter().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("there is no {name}")).1
}

/// Code blocks: their language, and their text.
fn blocks(markdown: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in markdown.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// What stands between backticks outside code blocks.
fn spans(markdown: &str) -> Vec<String> {
    let mut fenced = false;
    let mut prose = String::new();
    for line in markdown.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if !fenced && !line.trim_start().starts_with("```") {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Command lines of the program in a document, each without the program's name.
fn commands(markdown: &str) -> Vec<String> {
    const STARTS: [&str; 2] = ["lifeboat ", "cargo run --release -- "];
    let lines = blocks(markdown).into_iter().flat_map(|(_, text)| {
        // Output is told apart from input by the prompt, where there is one.
        let prompted = text.lines().any(|line| line.starts_with("$ "));
        let lines: Vec<String> = text
            .lines()
            .filter_map(|line| match prompted {
                true => line.strip_prefix("$ ").map(str::to_owned),
                false => Some(line.trim().to_owned()),
            })
            .collect();
        lines
    });
    lines
        .chain(spans(markdown))
        .filter_map(|line| {
            let line = line.strip_prefix("sudo ").unwrap_or(&line);
            STARTS
                .iter()
                .find_map(|start| Some(line.strip_prefix(start)?.to_owned()))
        })
        .collect()
}

/// The program's help, by the words of a command.
#[derive(Default)]
struct Help(BTreeMap<Vec<String>, String>);

impl Help {
    fn of(&mut self, words: &[String]) -> &str {
        // `lifeboat help` is the help of what stands before it.
        let words: Vec<String> = words.iter().filter(|w| *w != "help").cloned().collect();
        self.0.entry(words.clone()).or_insert_with(|| {
            let output = run(Command::new(LIFEBOAT).args(&words).arg("--help"));
            assert_eq!(output.code, 0, "{output}");
            output.stdout
        })
    }

    fn subcommands(&mut self, words: &[String]) -> BTreeSet<String> {
        let help = self.of(words).to_owned();
        let Some((_, listed)) = help.split_once("\nCommands:\n") else {
            return BTreeSet::new();
        };
        let names = listed.lines().take_while(|line| !line.is_empty());
        // A name stands two columns in; what is further in goes on with a description.
        names
            .filter(|line| !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
            .collect()
    }

    /// What is wrong with a command line, if anything is.
    fn refuses(&mut self, line: &str) -> Option<String> {
        let ends = ["#", "|", "&&", ";", ">", "<", "||", "→", "…", "COMMAND"];
        let tokens = line
            .split_whitespace()
            .take_while(|token| !ends.contains(token));
        let mut words: Vec<String> = Vec::new();
        let mut flags: Vec<String> = Vec::new();
        let mut value_follows = false;
        for token in tokens {
            let token = token.trim_matches(|c| "[]().,'\"".contains(c));
            if let Some(flag) = token.split('=').next().filter(|t| t.starts_with('-')) {
                flags.extend(flag.split('|').map(str::to_owned));
                value_follows = flag == "--config" || flag == "--log-format";
                continue;
            }
            let subcommands = self.subcommands(&words);
            if !std::mem::take(&mut value_follows) && !subcommands.is_empty() {
                if let Some(unknown) = token.split('|').find(|w| !subcommands.contains(*w)) {
                    return Some(format!("there is no command {unknown:?} after {words:?}"));
                }
                words.extend(token.split('|').next().map(str::to_owned));
            }
        }
        let help = self.of(&words);
        let known = |flag: &String| {
            help.split(|c: char| !(c.is_alphanumeric() || c == '-'))
                .any(|word| word == flag)
        };
        let unknown = flags.iter().find(|flag| !known(flag))?;
        Some(format!("{words:?} has no {unknown}"))
    }
}

#[test]
fn commands_in_documents_exist() {
    let mut help = Help::default();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (name, text) in documents() {
        for command in commands(&text) {
            count += 1;
            let why = help.refuses(&command);
            wrong.extend(why.map(|why| format!("{name}: lifeboat {command}: {why}")));
        }
    }
    assert!(
        count > 40,
        "{count} commands only: are they still recognised?"
    );
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// Hints say what to do next, so what they say must be there.
#[test]
fn commands_in_hints_exist() {
    let mut help = Help::default();
    let (mut wrong, mut count) = (Vec::new(), 0);
    let mut directories = vec![
        root().join("crates/core/src"),
        root().join("crates/cli/src"),
    ];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for line in text.lines() {
                for quoted in line.split('`').skip(1).step_by(2) {
                    let Some(command) = quoted.strip_prefix("lifeboat ") else {
                        continue;
                    };
                    count += 1;
                    let why = help.refuses(&command.replace(['{', '}'], ""));
                    wrong.extend(why.map(|w| format!("{}: {command}: {w}", path.display())));
                }
            }
        }
    }
    assert!(
        count > 20,
        "{count} commands only: are they still recognised?"
    );
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn commands_that_do_not_exist_are_seen() {
    let mut help = Help::default();
    assert_eq!(help.refuses("restore latest --to DIR"), None);
    assert_eq!(help.refuses("--config x.toml config check|show"), None);
    assert!(help.refuses("reprot").is_some());
    assert!(help.refuses("config chekc").is_some());
    assert!(help.refuses("config check|edit").is_some());
    assert!(help.refuses("backup --dry").is_some());
    assert!(help.refuses("--configuration x.toml backup").is_some());
    let text =
        "run `lifeboat a`\n```\n$ lifeboat b\nlifeboat output\n```\n```sh\nsudo lifeboat c\n```";
    assert_eq!(commands(text), ["b", "c", "a"]);
}

#[test]
fn configurations_in_documents_are_valid() {
    let app = App::basic();
    let mut count = 0;
    for (name, text) in documents() {
        for (language, toml) in blocks(&text) {
            if language != "toml" || !toml.trim_start().starts_with("version = 1") {
                continue;
            }
            count += 1;
            app.write("lifeboat.toml", toml.as_bytes());
            let output = app.run(&["config", "check"]);
            assert_eq!(output.code, 0, "{name}:\n{toml}\n{output}");
        }
    }
    assert!(count > 1, "{count} configurations only");
}

/// The sections of docs/configuration.md and the tables of the schema that they describe; where
/// there are kinds, each kind's keys are its own and those of the section before.
const TABLES: &[(&str, &str, &str)] = &[
    ("The file", "", ""),
    ("[app]", "App", ""),
    ("[source.NAME]", "SourceConfig", "*"),
    ("kind = \"files\"", "SourceConfig", "files"),
    ("kind = \"sqlite\"", "SourceConfig", "sqlite"),
    ("kind = \"postgres\"", "SourceConfig", "postgres"),
    ("kind = \"mariadb\"", "SourceConfig", "mariadb"),
    ("kind = \"mysql\"", "SourceConfig", "mysql"),
    ("kind = \"command\"", "SourceConfig", "command"),
    ("ssh", "SshConfig", ""),
    ("kind = \"bucket\"", "SourceConfig", "bucket"),
    ("kind = \"lightsail\"", "SourceConfig", "lightsail"),
    ("kind = \"ec2\"", "SourceConfig", "ec2"),
    ("kind = \"external\"", "SourceConfig", "external"),
    ("[store.NAME]", "StoreConfig", "*"),
    ("kind = \"local\"", "StoreConfig", "local"),
    ("kind = \"s3\"", "StoreConfig", "s3"),
    ("object_lock", "ObjectLockConfig", ""),
    ("kind = \"sftp\"", "StoreConfig", "sftp"),
    ("encrypt", "EncryptConfig", ""),
    ("sign", "SignConfig", ""),
    ("decrypt", "DecryptConfig", ""),
    ("[plan.NAME]", "PlanConfig", ""),
    ("retry", "Retry", ""),
    ("keep", "KeepRules", ""),
    ("anomaly", "AnomalyLimits", ""),
    ("[drill.NAME]", "DrillConfig", ""),
    ("Checks", "CheckConfig", ""),
    ("[verify.NAME]", "VerifyConfig", ""),
    ("[report.NAME]", "ReportConfig", ""),
    ("[run]", "RunConfig", ""),
    ("[restore]", "RestoreConfig", ""),
    ("[evidence]", "EvidenceConfig", ""),
    ("[notify.NAME]", "NotifyConfig", "*"),
    ("notify: kind = \"slack\"", "NotifyConfig", "slack"),
    ("notify: kind = \"discord\"", "NotifyConfig", "discord"),
    ("notify: kind = \"teams\"", "NotifyConfig", "teams"),
    ("notify: kind = \"telegram\"", "NotifyConfig", "telegram"),
    ("notify: kind = \"ntfy\"", "NotifyConfig", "ntfy"),
    ("notify: kind = \"gotify\"", "NotifyConfig", "gotify"),
    ("notify: kind = \"pushover\"", "NotifyConfig", "pushover"),
    ("notify: kind = \"email\"", "NotifyConfig", "email"),
    ("notify: kind = \"pagerduty\"", "NotifyConfig", "pagerduty"),
    ("notify: kind = \"opsgenie\"", "NotifyConfig", "opsgenie"),
    ("notify: kind = \"webhook\"", "NotifyConfig", "webhook"),
    ("notify: kind = \"command\"", "NotifyConfig", "command"),
    ("escalate", "EscalateConfig", ""),
    ("[posture.NAME]", "PostureConfig", ""),
    ("[ping.NAME]", "PingConfig", ""),
];

/// The rows of a section's table: a key, and the whole row.
fn rows(markdown: &str, heading: &str) -> BTreeMap<String, String> {
    let title = |line: &str| {
        let title = line.trim_start_matches('#').trim().replace('`', "");
        line.starts_with('#').then_some(title)
    };
    let lines = markdown
        .lines()
        .skip_while(|line| title(line).as_deref() != Some(heading));
    let section = lines.skip(1).take_while(|line| title(line).is_none());
    let keys = section.filter_map(|line| {
        let (key, _) = line.strip_prefix("| `")?.split_once('`')?;
        Some((key.to_owned(), line.to_owned()))
    });
    keys.collect()
}

fn properties(schema: &Value, table: &str, kind: &str) -> BTreeMap<String, Value> {
    let definition = match table {
        "" => schema,
        table => &schema["$defs"][table],
    };
    let described = match kind {
        "" => definition,
        kind => definition["oneOf"]
            .as_array()
            .unwrap()
            .iter()
            .find(|choice| choice["title"] == kind)
            .unwrap_or_else(|| panic!("{table} has no kind {kind}")),
    };
    let properties = described["properties"].as_object().unwrap();
    properties
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let schema = run(Command::new(LIFEBOAT).args(["config", "schema"])).json();
    let text = document("configuration.md");
    let mut wrong = Vec::new();
    let mut common = BTreeMap::new();
    for (heading, table, kind) in TABLES {
        let mut documented = rows(&text, heading);
        if *kind == "*" {
            common = documented;
            continue;
        }
        let own = documented.clone();
        if !kind.is_empty() {
            documented.extend(common.clone());
        }
        let known = properties(&schema, table, kind);
        for (key, schema_of_key) in &known {
            let Some(row) = documented.get(key) else {
                wrong.push(format!("{heading}: {key} has no row"));
                continue;
            };
            let default = match schema_of_key.get("default") {
                Some(Value::String(text)) => text.clone(),
                Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
                _ => continue,
            };
            if !row.contains(&format!("`{default}`")) {
                wrong.push(format!(
                    "{heading}: {key}: the default is `{default}`: {row}"
                ));
            }
        }
        let unknown = own.keys().filter(|key| !known.contains_key(*key));
        wrong.extend(unknown.map(|key| format!("{heading}: there is no key {key}")));
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));

    // No table of the schema is left out of the list above.
    let tables: BTreeSet<&str> = TABLES.iter().map(|(_, table, _)| *table).collect();
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        let has_keys = definition.get("properties").is_some() || definition.get("oneOf").is_some();
        let is_table = definition["type"] == "object" && has_keys;
        assert!(
            !is_table || tables.contains(name.as_str()),
            "{name} is not documented"
        );
    }
    for table in ["SourceConfig", "StoreConfig", "NotifyConfig"] {
        for choice in schema["$defs"][table]["oneOf"].as_array().unwrap() {
            let kind = choice["title"].as_str().unwrap();
            let listed = TABLES.iter().any(|(_, t, k)| *t == table && *k == kind);
            assert!(listed, "{table} of kind {kind} is not documented");
        }
    }
}

/// The fields that docs/commands.md names behind `JSON:` for a command: those that are always
/// there, in the first sentence, and all that may be.
fn documented_fields(markdown: &str, command: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let heading = match command {
        "errors" => "## Errors".to_owned(),
        command => format!("## lifeboat {command}"),
    };
    let section = markdown
        .lines()
        .skip_while(|line| line.replace('`', "") != heading)
        .skip(1)
        .take_while(|line| !line.starts_with("## "));
    let paragraph: Vec<&str> = section
        .skip_while(|line| !line.starts_with("JSON:"))
        .take_while(|line| !line.is_empty())
        .collect();
    let text = paragraph.join(" ");
    let names = |text: &str| {
        text.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    (
        names(text.split(". ").next().unwrap_or_default()),
        names(&text),
    )
}

/// Each kind of condition has a row in docs/alarms.md, and there is no row of another.
#[test]
fn every_condition_is_documented() {
    let text = document("alarms.md");
    let documented: BTreeSet<String> = rows(&text, "Conditions").into_keys().collect();
    let kinds = lifeboat_core::condition::ConditionKind::ALL.into_iter();
    let known: BTreeSet<String> = kinds.map(|kind| kind.as_str().to_owned()).collect();
    assert_eq!(documented, known);
}

#[test]
fn json_fields_are_documented() {
    let mut app = App::basic();
    app.env("PASSPHRASE", "correct horse battery staple");
    let text = document("commands.md");
    let check = |command: &str, printed: &Value| {
        let printed: BTreeSet<String> = printed.as_object().unwrap().keys().cloned().collect();
        let (always, all) = documented_fields(&text, command);
        assert!(
            !always.is_empty(),
            "lifeboat {command}: no fields are documented"
        );
        let lacking: Vec<_> = always.difference(&printed).collect();
        assert!(
            lacking.is_empty(),
            "lifeboat {command} does not print {lacking:?}"
        );
        let unknown: Vec<_> = printed.difference(&all).collect();
        assert!(unknown.is_empty(), "lifeboat {command} prints {unknown:?}");
    };
    check("doctor", &app.json(&["doctor"]));
    check("config check", &app.json(&["config", "check"]));
    let backup = app.json(&["backup", "--reason", "a test"]);
    check("backup", &backup);
    let points = app.json(&["points"]);
    check("points", &points);
    check("diff", &app.json(&["diff", "latest", "latest"]));
    check("show", &app.json(&["show", "latest"]));
    check("verify", &app.json(&["verify"]));
    check("copy", &app.json(&["copy", "--to", "disk"]));
    check("drill", &app.json(&["drill"]));
    let target = app.path("restored");
    let to = target.to_str().unwrap();
    check(
        "restore",
        &app.json(&["restore", "latest", "--to", to, "--reason", "a test"]),
    );
    check("run", &app.json(&["run"]));
    check("run", &app.json(&["run", "--dry-run"]));
    check("jobs", &app.json(&["jobs"]));
    check("status", &app.json(&["status"]));
    check("metrics", &app.json(&["metrics"]));
    check("report", &app.json(&["report"]));
    check("cost", &app.json(&["cost"]));
    let channel = "[notify.program]\nkind = \"command\"\ncommand = [\"true\"]\n";
    app.configure_also(channel);
    check("notify test", &app.json(&["notify", "test"]));
    check("gate", &app.json(&["gate", "--plan", "main"]));
    let list = app.json(&["evidence", "list"]);
    check("evidence list", &list);
    let records = list["evidence"].as_array().unwrap();
    let id = records.last().unwrap()["id"].as_str().unwrap();
    check("evidence show", &app.json(&["evidence", "show", id]));
    check("evidence verify", &app.json(&["evidence", "verify"]));
    let passphrase = ["--passphrase", "env:PASSPHRASE"];
    let export = [
        "kit",
        "export",
        "--output",
        "crm.kit",
        passphrase[0],
        passphrase[1],
    ];
    check("kit export", &app.json(&export));
    check(
        "kit test",
        &app.json(&["kit", "test", "crm.kit", passphrase[0], passphrase[1]]),
    );
    let error = app.json_exits(2, &["show", "20200101T000000Z-0000"]);
    check("errors", &error);
}

/// The script of docs/evidence.md, as it stands there, on a store of ours.
#[test]
fn evidence_can_be_checked_with_stock_tools_as_documented() {
    let app = App::basic();
    app.backup();
    app.ok(&["drill"]);
    app.ok(&["drill"]);
    let text = document("evidence.md");
    let (_, script) = blocks(&text)
        .into_iter()
        .find(|(language, _)| language == "sh")
        .unwrap();
    let check = || {
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .env("STORE", app.path("store"));
        command
            .env("ALLOWED_SIGNERS", app.path("state/allowed_signers"))
            .env("APP", "crm");
        run(&mut command)
    };
    let sound = check();
    assert_eq!(sound.code, 0, "{sound}");
    assert_eq!(
        sound
            .stdout
            .matches("Good \"lifeboat\" signature for crm")
            .count(),
        2,
        "{sound}"
    );

    // A record that is gone breaks the chain, and one that was changed its signature.
    let evidence = app.path("store/lifeboat/evidence");
    let names: Vec<String> = app
        .listing("store/lifeboat/evidence")
        .into_iter()
        .filter(|n| n.ends_with(".json") && !n.contains("/details/"))
        .collect();
    let (first, second) = (evidence.join(&names[0]), evidence.join(&names[1]));
    let bytes = std::fs::read_to_string(&first).unwrap();
    std::fs::write(&first, bytes.replace("verified", "restored")).unwrap();
    assert_ne!(check().code, 0);
    std::fs::write(&first, bytes.replace("\n", "\n ")).unwrap();
    assert_ne!(check().code, 0);
    std::fs::write(&first, &bytes).unwrap();
    assert_eq!(check().code, 0);
    std::fs::rename(&second, evidence.join("keep")).unwrap();
    app.ok(&["drill"]);
    let healed: Vec<String> = app.listing("store/lifeboat/evidence");
    assert!(
        healed.contains(&names[1]),
        "the next record brings the lost one back: {healed:?}"
    );
    std::fs::remove_file(&second).unwrap();
    assert_ne!(check().code, 0);
}
