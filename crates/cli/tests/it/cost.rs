//! What backups cost, by the program, over points in a bucket and in a directory.

use crate::support::{App, HEAD};
use lifeboat_testkit::s3::MotoServer;
use serde_json::Value;

const PRICES: &str = r#"
version = 1
currency = "EUR"

[store.offsite]
date = "2026-10-01"
source = "https://provider.example/prices"
gb_month = 1000
put_1000 = 1
get_1000 = 0.1
egress_gb = 10

[machine.server]
snapshot_gb_month = 2
"#;

/// The machine of the tests, whose snapshots have a GiB each.
const MACHINE: &str = r#"
case "$(tee -a asked | grep -o '"verb":"[a-z]*"' | cut -d'"' -f4)" in
  create) n=$(ls taken | wc -l); : > taken/s$n; echo "{\"id\": \"s$n\", \"bytes\": 1073741824}";;
  list) echo '{"snapshots": ['; for s in $(ls taken); do [ -z "$f" ] || echo ,; f=1; echo "{\"id\": \"$s\", \"bytes\": 1073741824}"; done; echo ']}';;
  *) echo '{"machines": []}';;
esac"#;

/// An application that stores files in a bucket and in a directory.
fn application(server: &MotoServer) -> App {
    let mut app = App::with("");
    app.configure(&format!(
        r#"{HEAD}
[source.data]
kind = "files"
paths = ["{{root}}/data"]

[store.offsite]
kind = "s3"
bucket = "bkt"
endpoint = "{endpoint}"
access_key = "env:KEY"
secret_key = "env:SECRET"

[store.disk]
kind = "local"
path = "{{root}}/store"

[plan.daily]
schedule = "0 6 * * *"
sources = ["data"]
stores = ["offsite", "disk"]
keep = {{ last = 4 }}

[drill.weekly]
schedule = "0 7 * * 0"
plans = ["daily"]
"#,
        endpoint = server.endpoint()
    ));
    app.env("KEY", &server.access_key);
    app.env("SECRET", &server.secret_key);
    app
}

/// The items of a kind.
fn items(cost: &Value, kind: &str) -> Vec<Value> {
    let items = cost["items"].as_array().unwrap().iter();
    items.filter(|item| item["kind"] == kind).cloned().collect()
}

/// An item of a kind about something.
fn item(cost: &Value, kind: &str, subject: &str) -> Value {
    let mut items = items(cost, kind).into_iter();
    let found = items.find(|item| item["subject"].as_str().unwrap().contains(subject));
    found.unwrap_or_else(|| panic!("no {kind} of {subject}: {cost:#}"))
}

/// The bytes that a point's artifacts have in a store.
fn stored_bytes(app: &App, point: &str, store: &str) -> u64 {
    let shown = app.json(&["show", point, "--store", store]);
    let artifacts = shown["artifacts"].as_array().unwrap().iter();
    artifacts
        .map(|artifact| artifact["bytes"].as_u64().unwrap())
        .sum()
}

#[test]
fn points_in_a_bucket_cost_what_was_measured_of_them() {
    let server = MotoServer::start();
    server.create_bucket("bkt");
    let app = application(&server);
    let none = app.json(&["cost"]);
    assert_eq!(none["points"], 0);
    assert_eq!(
        item(&none, "storage", "offsite")["steady"]["most_micros"],
        Value::Null
    );
    app.ok(&["cost"])
        .says(&["nothing is measured yet", "next: lifeboat backup"]);

    app.backup();
    let point = app.backup();
    app.write("prices.toml", PRICES.as_bytes());
    let before = app.listing("store");
    let cost = app.json(&["cost", "--prices", "prices.toml"]);
    assert_eq!(app.listing("store"), before, "nothing is written");
    assert_eq!(
        (&cost["points"], &cost["currency"]),
        (&2.into(), &"EUR".into())
    );

    let stored = item(&cost, "storage", "offsite");
    let artifacts = stored_bytes(&app, &point, "offsite");
    let bytes = stored["now"]["bytes"].as_u64().unwrap();
    // Details and manifests are small, and stored too.
    assert!(
        (2 * artifacts..2 * artifacts + 40_000).contains(&bytes),
        "{bytes}, {artifacts}"
    );
    let now = stored["now"]["least_micros"].as_u64().unwrap();
    assert!(
        now.abs_diff(bytes * 1_000_000_000 / (1 << 30)) <= 1,
        "{now}"
    );
    assert_eq!(stored["now"]["most_micros"], now);
    // The newest four, and one that is leaving.
    assert_eq!(stored["steady"]["count"], 5);
    let steady = stored["steady"]["most_micros"].as_u64().unwrap();
    assert!(steady.abs_diff(now * 5 / 2) < now / 10, "{now}, {steady}");
    let from = stored["from"].to_string();
    assert!(from.contains("measured of 2 points"), "{from}");
    assert!(
        from.contains("list price of 2026-10-01 (store.offsite)"),
        "{from}"
    );
    assert_eq!(
        item(&cost, "storage", "disk")["now"],
        Value::Null,
        "not priced"
    );
    app.ok(&["cost", "--prices", "prices.toml"]).says(&[
        "at least",
        "not priced",
        "lifeboat posture",
    ]);
}

#[test]
fn reading_requests_minutes_and_old_versions_have_their_bounds() {
    let server = MotoServer::start();
    server.create_bucket("bkt");
    let app = application(&server);
    app.backup();
    app.backup();
    app.write("prices.toml", PRICES.as_bytes());
    let cost = app.json(&[
        "cost",
        "--prices",
        "prices.toml",
        "--runner-minute",
        "0.008",
    ]);
    let read = item(&cost, "reading", "drill weekly");
    assert_eq!(read["steady"]["least_micros"], 0, "free in the region");
    assert!(read["steady"]["most_micros"].as_u64().unwrap() > 0);
    assert!(
        item(&cost, "requests", "offsite")["now"]["most_micros"]
            .as_u64()
            .unwrap()
            > 0
    );
    let minutes = item(&cost, "runner-minutes", "plan daily");
    assert_eq!(
        minutes["steady"]["most_micros"], 240_000,
        "30 of a minute: {minutes:#}"
    );
    assert!(
        minutes["from"].to_string().contains("measured of 2 jobs"),
        "{minutes:#}"
    );
    // The drill has never run, and nobody looked whether the bucket keeps versions.
    assert_eq!(cost["total"]["steady"]["most_micros"], Value::Null);

    // Posture looked, and the versions of the bucket stay for good.
    server.version("bkt");
    app.run(&["posture"]);
    let cost = app.json(&["cost", "--prices", "prices.toml"]);
    let old = item(&cost, "noncurrent-versions", "offsite");
    assert_eq!(old["steady"]["most_micros"], Value::Null);
    assert!(
        old["notes"]
            .to_string()
            .contains("stays as an old version for good"),
        "{old:#}"
    );
    assert!(items(&cost, "runner-minutes").is_empty());
}

#[test]
fn nothing_is_known_of_a_store_that_does_not_answer() {
    let server = MotoServer::start();
    server.create_bucket("bkt");
    let app = application(&server);
    app.backup();
    app.write("prices.toml", PRICES.as_bytes());
    drop(server);
    let cost = app.json_exits(3, &["cost", "--prices", "prices.toml"]);
    assert_eq!(cost["errors"].as_array().unwrap().len(), 1, "{cost:#}");
    let stored = item(&cost, "storage", "offsite");
    assert_eq!(stored["now"]["most_micros"], Value::Null);
    assert_eq!(stored["now"]["count"], Value::Null);
    assert!(
        stored["notes"].to_string().contains("could not be asked"),
        "{stored:#}"
    );
}

#[test]
fn snapshots_of_a_machine_cost_at_most_their_full_size() {
    let app = App::with("");
    app.write("taken/.keep", b"");
    std::fs::remove_file(app.path("taken/.keep")).unwrap();
    let program = app.script(
        "machine",
        &format!("cd {}\n{MACHINE}", app.root().display()),
    );
    let program = program.display();
    app.configure(&format!(
        r#"{HEAD}
[source.server]
kind = "external"
machine = "vm"
create = ["{program}"]
list = ["{program}"]
delete = ["{program}"]
restore = ["{program}"]
machines = ["{program}"]
destroy = ["{program}"]
keep_at_source = {{ last = 3 }}

[store.disk]
kind = "local"
path = "{{root}}/store"

[plan.daily]
schedule = "0 6 * * *"
sources = ["server"]
stores = ["disk"]
keep = {{ last = 4 }}
"#
    ));
    app.backup();
    app.backup();
    let snapshots = item(&app.json(&["cost"]), "snapshots", "machine server");
    assert_eq!(snapshots["now"]["bytes"], 2_u64 << 30);
    assert_eq!(
        snapshots["now"]["most_micros"],
        Value::Null,
        "{snapshots:#}"
    );
    app.write("prices.toml", PRICES.as_bytes());
    let cost = app.json(&["cost", "--prices", "prices.toml"]);
    let snapshots = item(&cost, "snapshots", "machine server");
    assert_eq!(snapshots["now"]["least_micros"], 0);
    assert_eq!(snapshots["now"]["most_micros"], 4_000_000);
    assert_eq!(
        snapshots["steady"]["most_micros"], 6_000_000,
        "{snapshots:#}"
    );
    assert_eq!(cost["total"]["steady"]["most_micros"], 6_000_000);
    let cheaper = cost["cheaper"].to_string();
    assert!(
        cheaper.contains("source.server.keep_at_source = { last = 2 }"),
        "{cheaper}"
    );
}

#[test]
fn the_table_of_prices_is_printed_taken_back_and_checked() {
    let app = App::basic();
    let table = app.ok(&["cost", "--print-prices"]).stdout;
    app.write("prices.toml", table.as_bytes());
    app.backup();
    let cost = app.json(&["cost", "--prices", "prices.toml"]);
    assert_eq!(cost["prices"], app.json(&["cost"])["prices"]);
    app.write(
        "prices.toml",
        table
            .replace("minute = 0.006", "minute = \"six\"")
            .as_bytes(),
    );
    let refused = app.refuses(2, "usage", &["cost", "--prices", "prices.toml"]);
    refused
        .names(&["prices.toml:", "a price such as 0.023"])
        .advises(&["--print-prices"]);
    app.refuses(2, "usage", &["cost", "--prices", "absent.toml"])
        .names(&["absent.toml cannot be read"]);
    app.run(&["cost", "--runner-minute", "dear"])
        .says(&["is no price; write one as 0.006"]);
}

#[test]
fn a_runner_of_github_is_known_by_its_environment() {
    let mut app = App::basic();
    app.backup();
    assert!(items(&app.json(&["cost"]), "runner-minutes").is_empty());
    app.env("GITHUB_ACTIONS", "true");
    let minutes = item(&app.json(&["cost"]), "runner-minutes", "plan main");
    // Without a schedule, nobody knows how often it runs.
    assert_eq!(minutes["now"]["most_micros"], Value::Null);
    assert!(
        minutes["notes"].to_string().contains("how often it runs"),
        "{minutes:#}"
    );
}
