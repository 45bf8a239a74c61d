//! What programs rely on: the shape of every JSON document, that nothing else is on standard
//! output, and that output to something that is no terminal is plain.

use crate::support::{App, LIFEBOAT, run};
use serde_json::Value;
use std::io::Read;
use std::process::{Command, Stdio};

/// The type of each of these fields: `s`tring, `n`umber, `a`rray, `o`bject, `b`oolean, `t`ime, or
/// `?` before one for null as well.
fn has(value: &Value, fields: &[(&str, &str)]) {
    for (name, kind) in fields {
        let field = value
            .get(*name)
            .unwrap_or_else(|| panic!("no field {name}: {value:#}"));
        let (optional, kind) = match kind.strip_prefix('?') {
            Some(kind) => (true, kind),
            None => (false, *kind),
        };
        let right = match kind {
            "s" => field.is_string(),
            "n" => field.is_number(),
            "a" => field.is_array(),
            "o" => field.is_object(),
            "b" => field.is_boolean(),
            "t" => field
                .as_str()
                .is_some_and(|t| t.parse::<jiff::Timestamp>().is_ok() && t.ends_with('Z')),
            other => panic!("{other}"),
        };
        assert!(
            right || optional && field.is_null(),
            "{name} is no {kind}: {value:#}"
        );
    }
}

fn first<'a>(value: &'a Value, list: &str) -> &'a Value {
    let list = value[list]
        .as_array()
        .unwrap_or_else(|| panic!("no list {list}: {value:#}"));
    list.first()
        .unwrap_or_else(|| panic!("nothing in it: {value:#}"))
}

/// Each document says which version of its format it is.
fn document(app: &App, exit: i32, args: &[&str]) -> Value {
    let document = app.json_exits(exit, args);
    assert_eq!(document["schema"], 1, "{args:?}: {document:#}");
    document
}

#[test]
fn documents_have_the_fields_they_promise() {
    let app = App::basic();
    let planned = document(&app, 0, &["backup", "--dry-run"]);
    has(&planned, &[("plan", "s"), ("steps", "a")]);

    let backup = document(&app, 0, &["backup", "--reason", "before the move"]);
    has(
        &backup,
        &[
            ("point", "s"),
            ("app", "s"),
            ("plan", "s"),
            ("outcome", "s"),
            ("reason", "s"),
            ("started", "t"),
            ("finished", "t"),
            ("seconds", "n"),
            ("artifacts", "a"),
            ("warnings", "a"),
            ("errors", "a"),
        ],
    );
    assert_eq!(backup["reason"], "before the move");
    let artifact = first(&backup, "artifacts");
    has(
        artifact,
        &[
            ("source", "s"),
            ("name", "s"),
            ("bytes", "n"),
            ("sha256", "s"),
            ("stored", "a"),
            ("fingerprint", "o"),
        ],
    );
    has(
        first(artifact, "stored"),
        &[
            ("store", "s"),
            ("key", "s"),
            ("bytes", "n"),
            ("sha256", "s"),
        ],
    );
    let files = &artifact["fingerprint"];
    has(
        files,
        &[
            ("files", "n"),
            ("directories", "n"),
            ("links", "n"),
            ("bytes", "n"),
            ("content", "s"),
            ("metadata", "s"),
            ("ownership", "s"),
        ],
    );
    let tables = &backup["artifacts"][1]["fingerprint"];
    has(
        tables,
        &[
            ("algorithm", "s"),
            ("tables", "o"),
            ("objects", "o"),
            ("limits", "a"),
        ],
    );
    let table = tables["tables"]
        .as_object()
        .unwrap()
        .values()
        .next()
        .unwrap();
    has(table, &[("rows", "n"), ("bytes", "n"), ("hash", "s")]);
    assert_eq!(table["rows"], 50);

    let drill = document(&app, 0, &["drill"]);
    has(
        &drill,
        &[
            ("drill", "s"),
            ("point", "s"),
            ("store", "s"),
            ("outcome", "s"),
            ("checks", "a"),
            ("rto_seconds", "n"),
            ("rpo_seconds", "n"),
            ("phases", "a"),
            ("evidence", "s"),
        ],
    );
    has(
        first(&drill, "checks"),
        &[
            ("name", "s"),
            ("expected", "s"),
            ("observed", "s"),
            ("outcome", "s"),
        ],
    );
    has(first(&drill, "phases"), &[("name", "s"), ("seconds", "n")]);

    let points = document(&app, 0, &["points"]);
    has(
        first(&points, "points"),
        &[
            ("point", "s"),
            ("plan", "s"),
            ("started", "t"),
            ("outcome", "s"),
            ("bytes", "n"),
            ("stored_bytes", "n"),
            ("stores", "a"),
            ("proof", "s"),
            ("proved_at", "t"),
        ],
    );
    assert_eq!(first(&points, "points")["proof"], "verified");

    let show = document(&app, 0, &["show", "latest"]);
    has(
        &show,
        &[
            ("point", "s"),
            ("app", "s"),
            ("environment", "s"),
            ("plan", "s"),
            ("outcome", "s"),
            ("started", "t"),
            ("artifacts", "a"),
            ("sources", "a"),
            ("proof", "s"),
        ],
    );

    let verify = document(&app, 0, &["verify"]);
    has(
        &verify,
        &[("point", "s"), ("outcome", "s"), ("objects", "a")],
    );
    has(
        first(&verify, "objects"),
        &[
            ("store", "s"),
            ("key", "s"),
            ("outcome", "s"),
            ("detail", "?s"),
        ],
    );

    let restore = document(&app, 0, &["restore", "latest", "--to", "out"]);
    has(
        &restore,
        &[
            ("point", "s"),
            ("target", "s"),
            ("outcome", "s"),
            ("sources", "a"),
            ("safety_point", "?s"),
            ("checks", "a"),
            ("seconds", "n"),
            ("evidence", "s"),
        ],
    );
    let plan = document(&app, 7, &["restore", "latest"]);
    has(&plan, &[("point", "s"), ("steps", "a")]);

    let evidence = document(&app, 0, &["evidence", "list"]);
    has(
        first(&evidence, "evidence"),
        &[
            ("id", "s"),
            ("sequence", "n"),
            ("signer", "s"),
            ("activity", "s"),
            ("outcome", "s"),
            ("started", "t"),
            ("finished", "t"),
            ("checks", "a"),
            ("phases", "a"),
            ("key", "s"),
            ("trusted", "b"),
        ],
    );
    let id = first(&evidence, "evidence")["id"].as_str().unwrap();
    assert_eq!(document(&app, 0, &["evidence", "show", id])["id"], id);
    has(
        &document(&app, 0, &["evidence", "verify"]),
        &[
            ("outcome", "s"),
            ("records", "n"),
            ("problems", "a"),
            ("unread", "a"),
            ("notes", "a"),
        ],
    );

    let doctor = document(&app, 0, &["doctor"]);
    has(&doctor, &[("outcome", "s"), ("findings", "a")]);
    has(
        first(&doctor, "findings"),
        &[
            ("subject", "s"),
            ("severity", "s"),
            ("message", "s"),
            ("hint", "?s"),
        ],
    );
    has(
        &document(&app, 0, &["config", "check"]),
        &[("outcome", "s"), ("findings", "a")],
    );
    let config = app.json(&["config", "show"]);
    has(
        &config,
        &[
            ("version", "n"),
            ("app", "o"),
            ("source", "o"),
            ("store", "o"),
            ("plan", "o"),
            ("drill", "o"),
        ],
    );
    assert!(app.json(&["config", "schema"])["properties"]["app"].is_object());
    has(
        &document(&app, 0, &["copy", "--to", "disk"]),
        &[("to", "s"), ("copied", "a")],
    );
}

#[test]
fn several_verified_points_are_a_list() {
    let app = App::basic();
    app.backup();
    app.backup();
    let all = document(&app, 0, &["verify", "--all"]);
    assert_eq!(all["points"].as_array().unwrap().len(), 2, "{all:#}");
    assert_eq!(all["outcome"], "intact");
    let one = document(&app, 0, &["verify", "--sample", "1%"]);
    assert_eq!(one["outcome"], "intact", "{one:#}");
}

#[test]
fn an_error_is_one_document_whatever_else_is_said() {
    let app = App::basic();
    for args in [
        &["--json", "-vv", "show", "1999"][..],
        &["--json", "--log-format", "json", "show", "1999"],
    ] {
        let output = app.exits(2, args);
        let refusal = output.json_refusal("point-unknown");
        refusal.names(&["1999"]);
    }
    app.exits(2, &["--json", "-q", "show", "1999"])
        .json_refusal("point-unknown");
    // Messages in JSON are one object a line.
    let output = app.exits(0, &["--log-format", "json", "-v", "backup"]);
    for line in output.stderr.lines() {
        assert!(
            serde_json::from_str::<Value>(line).is_ok_and(|v| v.is_object()),
            "{line}"
        );
    }
}

#[test]
fn quiet_says_only_what_failed() {
    let app = App::basic();
    assert_eq!(app.ok(&["-q", "backup"]).stderr, "");
    let output = app.exits(2, &["-q", "show", "1999"]);
    output.refusal().names(&["1999"]);
}

#[test]
fn completions_and_help_come_from_the_same_definitions() {
    let app = App::with("");
    for shell in ["bash", "zsh", "fish"] {
        let script = app.ok(&["completions", shell]).stdout;
        for verb in ["backup", "drill", "restore", "evidence"] {
            assert!(script.contains(verb), "{shell} does not complete {verb}");
        }
    }
    let help = app.ok(&["--help"]).stdout;
    for verb in [
        &["doctor"][..],
        &["config"],
        &["config", "check"],
        &["config", "show"],
        &["config", "schema"],
        &["backup"],
        &["points"],
        &["show"],
        &["verify"],
        &["copy"],
        &["drill"],
        &["restore"],
        &["evidence"],
        &["evidence", "list"],
        &["evidence", "show"],
        &["evidence", "verify"],
        &["kit"],
        &["kit", "export"],
        &["kit", "test"],
        &["completions"],
        &["man"],
        &["demo"],
    ] {
        assert!(help.contains(verb[0]), "--help does not list {verb:?}");
        let mut args = verb.to_vec();
        args.push("--help");
        let own = app.ok(&args);
        assert!(
            own.stdout.contains("Usage: lifeboat") && own.stderr.is_empty(),
            "{own}"
        );
        let leads_on = own.stdout.contains("\nCommands:\n");
        assert_eq!(own.stdout.contains("\nExit codes:\n"), !leads_on, "{own}");
    }
    assert!(app.ok(&["--version"]).stdout.starts_with("lifeboat "));
    app.exits(2, &["completions", "tcsh"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let app = App::basic();
    app.backup();
    for args in [
        &["points"][..],
        &["--json", "show", "latest"],
        &["config", "schema"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
        &["config", "show"],
    ] {
        let mut command = app.command(args);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut stderr)
            .unwrap();
        let status = child.wait().unwrap();
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
        assert!(status.success(), "{args:?}: {status}: {stderr}");
    }
}

/// Runs on a terminal of its own, which `script` makes.
fn on_a_terminal(app: &App, args: &[&str], variables: &[(&str, &str)]) -> String {
    let known = app.command(args);
    let line = format!("{LIFEBOAT} {}", args.join(" "));
    let mut command = Command::new("script");
    command
        .args(["-qec", &line, "/dev/null"])
        .env_clear()
        .envs(known.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .env("TERM", "xterm-256color")
        .envs(variables.iter().copied())
        .current_dir(app.root());
    run(&mut command).stdout
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let app = App::basic();
    app.backup();
    for args in [
        &["backup"][..],
        &["points"],
        &["doctor"],
        &["drill"],
        &["verify"],
    ] {
        let output = app.ok(args);
        let all = format!("{}{}", output.stdout, output.stderr);
        assert!(
            !all.contains('\u{1b}') && !all.contains('\r'),
            "{args:?} to a pipe: {all:?}"
        );
    }
    let coloured = on_a_terminal(&app, &["doctor"], &[]);
    assert!(coloured.contains("\u{1b}[32m"), "{coloured:?}");
    let plain = on_a_terminal(&app, &["doctor"], &[("NO_COLOR", "1")]);
    assert!(
        !plain.contains("\u{1b}[32m") && !plain.contains("\u{1b}[33m"),
        "{plain:?}"
    );
    assert!(plain.contains("store.disk"), "{plain:?}");
    let progress = on_a_terminal(&app, &["backup"], &[("NO_COLOR", "1")]);
    assert!(!progress.contains("\u{1b}[3"), "{progress:?}");
}

#[test]
fn json_of_diff() {
    let app = App::basic();
    app.backup();
    let diff = document(&app, 0, &["diff", "latest", "latest"]);
    has(
        &diff,
        &[
            ("app", "s"),
            ("environment", "s"),
            ("before", "o"),
            ("after", "o"),
            ("only_before", "a"),
            ("only_after", "a"),
            ("sources", "a"),
        ],
    );
    has(
        first(&diff, "sources"),
        &[
            ("source", "s"),
            ("kind", "s"),
            ("equal", "b"),
            ("tables", "?o"),
            ("files", "?o"),
            ("streams", "o"),
            ("limits", "a"),
        ],
    );
}
