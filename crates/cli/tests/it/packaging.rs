//! What ships beside the program: a dashboard and alert rules over the metrics that it prints.

use crate::support::{App, run};
use lifeboat_testkit::s3::tool;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The names of metrics in a text. A state set has a label of its own name.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let metrics = words.filter(|word| word.starts_with("lifeboat_"));
    metrics.map(str::to_owned).collect()
}

/// The metrics that the program knows: each is written out where it is computed.
fn known() -> BTreeSet<String> {
    let sources = ["status/metrics.rs", "alarm/metrics.rs"];
    let sources = sources.map(|path| text(&format!("crates/core/src/{path}")));
    named(&sources.concat())
}

fn dashboard() -> (Value, BTreeSet<String>) {
    let dashboard: Value = serde_json::from_str(&text("packaging/grafana/lifeboat.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let queries = targets.flatten().map(|t| t["expr"].as_str().unwrap());
    let queries: Vec<&str> = queries.collect();
    let names = named(&queries.join(" "));
    (dashboard, names)
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let app = App::basic();
    app.backup();
    app.ok(&["drill"]);
    let printed = app.json(&["metrics"]);
    let printed = printed["metrics"].as_array().unwrap().iter();
    let printed: BTreeSet<String> = printed
        .map(|metric| metric["name"].as_str().unwrap().to_owned())
        .collect();
    let known = known();
    let unknown: Vec<_> = printed.difference(&known).collect();
    assert!(unknown.is_empty() && printed.len() > 10, "{unknown:?}");
    let (dashboard, shown) = dashboard();
    assert_eq!(shown, known);
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel:#}");
        assert!(!panel["title"].as_str().unwrap().is_empty());
    }
}

#[test]
fn the_alert_rules_name_metrics_that_are_printed_and_pass_their_tests() {
    let rules = named(&text("packaging/prometheus/lifeboat.rules.yml"));
    let unknown: Vec<_> = rules.difference(&known()).cloned().collect();
    assert!(unknown.is_empty() && rules.len() > 8, "{unknown:?}");
    let directory = root().join("packaging/prometheus");
    for args in [
        ["check", "rules", "lifeboat.rules.yml"],
        ["test", "rules", "lifeboat.test.yml"],
    ] {
        let mut promtool = Command::new(tool("promtool/promtool"));
        let checked = run(promtool.args(args).current_dir(&directory));
        assert_eq!(checked.code, 0, "{checked}");
    }
}
