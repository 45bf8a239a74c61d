//! `lifeboat metrics` and `run.metrics_file`, read by the client library of Prometheus.

use crate::support::{App, BASIC, Output, run};
use lifeboat_testkit::s3::tool;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Prints each sample that the client's parser finds, as JSON: name, type, unit, labels, value.
const PARSE: &str = r#"
import json, sys
form, path = sys.argv[1:]
if form == "openmetrics":
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
else:
    from prometheus_client.parser import text_string_to_metric_families
text = open(path).read()
print(json.dumps([
    {"name": s.name, "type": f.type, "unit": f.unit, "help": f.documentation, "labels": s.labels, "value": s.value}
    for f in text_string_to_metric_families(text) for s in f.samples]))
"#;

fn scheduled() -> App {
    let plan = "[plan.main]\nschedule = \"0 3 1 1 *\"\n";
    let drill = "[drill.main]\nschedule = \"0 4 1 1 *\"\nmax_age = \"370d\"\n";
    let rest = BASIC
        .replace("[plan.main]\n", plan)
        .replace("[drill.main]\n", drill);
    let app = App::with(&rest);
    app.edit(
        "environment = \"test\"",
        "environment = \"test\"\nrto = \"30m\"",
    );
    app
}

fn parse(form: &str, path: &Path) -> Output {
    let mut command = Command::new(tool("venv/bin/python3"));
    run(command.args(["-c", PARSE, form]).arg(path))
}

/// The samples of a file in this form.
fn samples(form: &str, path: &Path) -> Vec<Value> {
    let parsed = parse(form, path);
    assert_eq!(parsed.code, 0, "{parsed}");
    parsed.json().as_array().unwrap().clone()
}

/// The value of the one sample with this name and these labels.
fn value(samples: &[Value], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let fits = |sample: &&Value| {
        let mut labels = labels.iter();
        sample["name"] == name && labels.all(|(label, text)| sample["labels"][label] == *text)
    };
    let found: Vec<&Value> = samples.iter().filter(fits).collect();
    assert!(found.len() <= 1, "{name} {labels:?}: {found:#?}");
    found
        .first()
        .map(|sample| sample["value"].as_f64().unwrap())
}

#[test]
fn the_official_parser_reads_what_is_printed() {
    let app = scheduled();
    let read = |app: &App| {
        let printed = app.ok(&["metrics"]);
        assert!(printed.stdout.ends_with("\n# EOF\n"), "{printed}");
        samples(
            "openmetrics",
            &app.write("printed", printed.stdout.as_bytes()),
        )
    };
    let before = read(&app);
    let overdue = |samples: &[Value]| value(samples, "lifeboat_plan_overdue", &[("plan", "main")]);
    assert_eq!(overdue(&before), Some(1.0));
    for name in ["lifeboat_point_age_seconds", "lifeboat_drill_rto_seconds"] {
        assert_eq!(value(&before, name, &[]), None, "nothing is known of it");
    }

    app.ok(&["run"]);
    let after = read(&app);
    assert_eq!(overdue(&after), Some(0.0));
    let of = |name: &str, labels: &[(&str, &str)]| {
        let found = value(&after, name, labels);
        found.unwrap_or_else(|| panic!("{name} {labels:?} is not in {after:#?}"))
    };
    let whole = [("app", "crm"), ("environment", "test")];
    assert_eq!(of("lifeboat_rto_seconds", &whole), 1800.0);
    assert_eq!(value(&after, "lifeboat_rpo_seconds", &[]), None);
    let plan = [whole[0], whole[1], ("plan", "main")];
    assert!(of("lifeboat_point_age_seconds", &plan) < 600.0);
    let now = of("lifeboat_status_timestamp_seconds", &whole);
    assert!((now - of("lifeboat_point_timestamp_seconds", &plan)) < 600.0);
    assert!(of("lifeboat_point_age_limit_seconds", &plan) > 31_536_000.0);
    let drill = [whole[0], whole[1], ("drill", "main")];
    assert!(of("lifeboat_drill_rto_seconds", &drill) > 0.0);
    assert!(of("lifeboat_drill_age_seconds", &drill) < 600.0);
    let name = "lifeboat_drill_outcome";
    assert_eq!(of(name, &[drill[2], (name, "verified")]), 1.0);
    assert_eq!(of(name, &[drill[2], (name, "failed")]), 0.0);
    let name = "lifeboat_job_last_outcome";
    for kind in ["backup", "drill"] {
        let job = [("kind", kind), ("subject", "main")];
        assert_eq!(of(name, &[job[0], job[1], (name, "done")]), 1.0);
        assert_eq!(of(name, &[job[0], job[1], (name, "not-proved")]), 0.0);
        assert!(of("lifeboat_job_duration_seconds", &job) < 600.0);
        assert!(of("lifeboat_next_run_timestamp_seconds", &job) > now);
        let finished = of("lifeboat_job_last_finished_timestamp_seconds", &job);
        assert!(now - finished < 600.0);
    }
    let store = [("store", "disk")];
    assert_eq!(of("lifeboat_store_points", &store), 1.0);
    assert!(of("lifeboat_store_bytes", &store) > 100_000.0);
    assert_eq!(of("lifeboat_store_up", &store), 1.0);
    assert_eq!(of("lifeboat_missing_copies", &[plan[2], store[0]]), 0.0);
    let told = |name: &str, key: &str| {
        let sample = after.iter().find(|sample| sample["name"] == name).unwrap();
        sample[key].clone()
    };
    assert_eq!(told("lifeboat_drill_outcome", "type"), "stateset");
    assert_eq!(told("lifeboat_store_bytes", "unit"), "bytes");
    assert_eq!(told("lifeboat_store_up", "help"), "1 if a store answered.");
}

#[test]
fn the_parser_of_the_test_refuses_what_is_wrong() {
    let app = App::basic();
    let text = app.ok(&["metrics"]).stdout;
    let cut = app.write("cut", text.trim_end_matches("# EOF\n").as_bytes());
    assert_ne!(parse("openmetrics", &cut).code, 0);
    let wrong = text.replace("_timestamp_seconds seconds", "_timestamp_seconds days");
    assert_ne!(wrong, text);
    let wrong = app.write("wrong", wrong.as_bytes());
    assert_ne!(parse("openmetrics", &wrong).code, 0);
}

#[test]
fn the_document_holds_the_same_samples() {
    let app = scheduled();
    app.ok(&["run"]);
    let document = app.json(&["metrics"]);
    let metrics = document["metrics"].as_array().unwrap();
    let up = metrics
        .iter()
        .find(|metric| metric["name"] == "lifeboat_store_up")
        .unwrap();
    assert_eq!(up["type"], "gauge");
    let labels = serde_json::json!({ "app": "crm", "environment": "test", "store": "disk" });
    assert_eq!(up["samples"][0]["labels"], labels);
    assert_eq!(up["samples"][0]["value"], 1.0);
}

#[test]
fn a_run_replaces_the_metrics_file() {
    let app = scheduled();
    std::fs::create_dir(app.path("textfile")).unwrap();
    app.configure_also("[run]\nmetrics_file = \"{root}/textfile/lifeboat.prom\"\n");
    let file = app.write("textfile/lifeboat.prom", b"old");
    app.ok(&["run"]);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);
    assert_eq!(app.listing("textfile"), ["lifeboat.prom"]);
    let read = samples("prometheus", &file);
    assert_eq!(value(&read, "lifeboat_store_points", &[]), Some(1.0));
    let name = "lifeboat_job_last_outcome";
    let last = [("kind", "drill"), (name, "done")];
    assert_eq!(value(&read, name, &last), Some(1.0));
    // The collector of the node exporter refuses a file with a type that it does not know.
    for line in std::fs::read_to_string(&file).unwrap().lines() {
        let kind = line.strip_prefix("# TYPE ");
        assert!(kind.is_none_or(|kind| kind.ends_with(" gauge")), "{line}");
    }
    // Also when nothing is due.
    std::fs::remove_file(&file).unwrap();
    app.ok(&["run"]);
    assert!(file.exists());
}

#[test]
fn a_metrics_file_that_cannot_be_written_is_a_warning() {
    let app = scheduled();
    app.configure_also("[run]\nmetrics_file = \"{root}/data/notes.txt/lifeboat.prom\"\n");
    let ran = app.exits(0, &["--json", "run"]);
    assert_eq!(ran.json()["jobs"].as_array().unwrap().len(), 2);
    assert!(ran.stderr.contains("the metrics in"), "{ran}");
}
