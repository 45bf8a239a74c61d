//! Who is told of what is wrong: through the runner and real receivers, in days that pass in seconds.

mod daemon;
mod killed;
mod pings;

use crate::prune::{json_on, ok_on, on};
use crate::support::App;
use lifeboat_testkit::s3::{Fault, FaultyProxy, MotoServer};
use serde_json::Value;

/// A plan that fails until `{root}/vault` is there, a store, and a program that is told.
const FAILING: &str = r#"
[source.vault]
kind = "command"
command = ["cat", "{root}/vault"]
extension = "json"

[store.disk]
kind = "local"
path = "{root}/store"

[plan.main]
schedule = "0 3 * * *"
retry = { attempts = 1 }
sources = ["vault"]
stores = ["disk"]

[contacts]
owner = "ops@example.org"

[notify.ops]
kind = "command"
command = ["sh", "-c", "cat >>{root}/told; echo >>{root}/told"]
"#;

fn application() -> App {
    let app = App::with(FAILING);
    app.write("vault", b"{}\n");
    app
}

/// Lets the store refuse everything.
fn take_down(app: &App) {
    std::fs::rename(app.path("store"), app.path("away")).unwrap();
    app.write("store", b"no directory");
}

fn bring_back(app: &App) {
    std::fs::remove_file(app.path("store")).unwrap();
    std::fs::rename(app.path("away"), app.path("store")).unwrap();
}

/// The messages that the program `into` was told since the last time, in order.
fn told_in(app: &App, into: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(app.path(into)).unwrap_or_default();
    // The program has opened the file, and is yet to write into it.
    if !text.ends_with('\n') {
        return Vec::new();
    }
    let _ = std::fs::remove_file(app.path(into));
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What was told since the last time: `event: condition …`.
fn told(app: &App) -> Vec<String> {
    told_in(app, "told").iter().map(in_short).collect()
}

fn in_short(message: &Value) -> String {
    let items = message["items"].as_array().unwrap().iter();
    let items = items.map(|item| {
        let id = item["condition"].as_str().unwrap();
        id.strip_prefix("crm/test/").unwrap().to_owned()
    });
    let items: Vec<String> = items.collect();
    format!(
        "{}: {}",
        message["event"].as_str().unwrap(),
        items.join(" ")
    )
}

#[test]
fn a_failure_is_told_once_then_daily_and_its_end_is_told() {
    let app = application();
    ok_on(&app, 1, "03:01:00", &["run"]);
    assert_eq!(told(&app), [""; 0]);
    std::fs::remove_file(app.path("vault")).unwrap();
    assert_eq!(on(&app, 2, "03:01:00", &["run"]).code, 1);
    let messages = told_in(&app, "told");
    let [message] = messages.as_slice() else {
        panic!("{messages:#?}")
    };
    assert_eq!(in_short(message), "new: plan.main/failed");
    assert_eq!(message["app"], "crm");
    assert_eq!(message["severity"], "error");
    assert_eq!(message["contacts"][0], "owner: ops@example.org");
    let item = &message["items"][0];
    assert!(
        item["text"]
            .as_str()
            .unwrap()
            .contains("the backup of plan main failed")
    );
    assert!(item["hint"].as_str().unwrap().contains("lifeboat jobs"));
    for time in ["04:00:00", "05:00:00", "23:00:00"] {
        ok_on(&app, 2, time, &["run"]);
    }
    assert_eq!(told(&app), [""; 0]);
    // A day later it failed again, and is overdue as well.
    on(&app, 3, "03:02:00", &["run"]);
    assert_eq!(told(&app), ["repeated: plan.main/failed plan.main/overdue"]);
    on(&app, 3, "09:00:00", &["run"]);
    let status = json_on(&app, 3, "09:01:00", &["status"]);
    let alarm = &status["alarms"][0];
    assert_eq!(alarm["cause"], "plan.main", "{status:#}");
    let id = alarm["alarm"].as_str().unwrap();
    ok_on(&app, 3, "09:02:00", &["alarms"]).says(&[id, "plan.main", "told: ops", "works"]);
    app.write("vault", b"{}\n");
    ok_on(&app, 4, "03:01:00", &["run"]);
    let over = told(&app);
    assert_eq!(over.len(), 1, "{over:?}");
    assert!(
        over[0].starts_with("recovered: plan.main/failed"),
        "{over:?}"
    );
    ok_on(&app, 4, "03:02:00", &["alarms"]).says(&["nothing is wrong"]);
}

#[test]
fn after_days_of_silence_there_is_one_message_and_what_is_down_has_one_cause() {
    let app = application();
    ok_on(&app, 1, "03:01:00", &["run"]);
    take_down(&app);
    on(&app, 10, "12:00:00", &["run"]);
    let first = told(&app);
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(
        first[0].contains("store.disk/store-unreachable"),
        "{first:?}"
    );
    assert!(first[0].contains("plan.main/overdue"), "{first:?}");
    bring_back(&app);
    // It flaps: nobody hears of it.
    for (time, down) in [("12:10:00", false), ("12:20:00", true), ("12:30:00", false)] {
        if down {
            take_down(&app);
        }
        on(&app, 10, time, &["run"]);
        if down {
            bring_back(&app);
        }
    }
    assert_eq!(told(&app), [""; 0]);
    ok_on(&app, 10, "13:00:00", &["backup"]);
    ok_on(&app, 10, "13:30:00", &["run"]);
    let over = told(&app);
    assert_eq!(over.len(), 1, "{over:?}");
    assert!(over[0].starts_with("recovered: "), "{over:?}");
}

/// A store that was emptied is told of, though a new backup follows at once.
#[test]
fn points_that_no_store_holds_any_more_are_told() {
    let app = application();
    ok_on(&app, 1, "03:01:00", &["run"]);
    std::fs::remove_dir_all(app.path("store")).unwrap();
    on(&app, 2, "03:01:00", &["run"]);
    let told = told(&app);
    assert_eq!(told, ["new: plan.main.disk/copy-missing"]);
    let status = ok_on(&app, 2, "03:02:00", &["status"]);
    status.says(&["store disk lost 1 point of plan main", "ALARM"]);
}

#[test]
fn what_is_acknowledged_is_quiet() {
    let app = application();
    std::fs::remove_file(app.path("vault")).unwrap();
    on(&app, 1, "03:01:00", &["run"]);
    let first = told(&app);
    assert_eq!(first.len(), 1, "{first:?}");
    let nothing = on(
        &app,
        1,
        "04:00:00",
        &["ack", "plan.other", "--for", "8h", "--reason", "x"],
    );
    assert_eq!(nothing.code, 2, "{nothing}");
    nothing.says(&["no open alarm is called \"plan.other\"", "(plan.main)"]);
    let zero = on(
        &app,
        1,
        "04:00:00",
        &["ack", "plan.main", "--for", "0h", "--reason", "x"],
    );
    assert_eq!(zero.code, 2, "{zero}");
    let silent = on(
        &app,
        1,
        "04:00:00",
        &["ack", "plan.main", "--for", "8h", "--reason", " "],
    );
    assert_eq!(silent.code, 2, "{silent}");
    ok_on(
        &app,
        1,
        "04:00:00",
        &[
            "ack",
            "plan.main",
            "--for",
            "3d",
            "--reason",
            "new disk comes",
        ],
    )
    .says(&["is not repeated until 2026-12-04T04:00:00Z"]);
    on(&app, 2, "04:00:00", &["run"]);
    on(&app, 3, "04:00:00", &["run"]);
    assert_eq!(told(&app), [""; 0]);
    ok_on(&app, 3, "05:00:00", &["alarms"]).says(&["takes care of it until", "new disk comes"]);
    on(&app, 4, "05:00:00", &["run"]);
    assert_eq!(told(&app).len(), 1);
}

#[test]
fn what_stays_open_escalates_and_a_channel_that_hangs_holds_up_nobody() {
    let app = application();
    app.configure_also(
        r#"
[notify.hangs]
kind = "command"
command = ["sleep", "1000"]

[notify.late]
kind = "command"
command = ["sh", "-c", "cat >>{root}/late; echo >>{root}/late"]
on = []
"#,
    );
    app.edit(
        "[notify.ops]\n",
        "[notify.ops]\nescalate = [{ after = \"2d\", kinds = [\"failed\"], all = [\"source.vault\"], to = [\"late\"] }]\n",
    );
    std::fs::remove_file(app.path("vault")).unwrap();
    let begun = std::time::Instant::now();
    on(&app, 1, "03:01:00", &["run"]);
    assert!(begun.elapsed().as_secs() < 100, "{:?}", begun.elapsed());
    assert_eq!(told(&app).len(), 1);
    app.edit("command = [\"sleep\", \"1000\"]", "command = [\"false\"]");
    on(&app, 2, "02:00:00", &["run"]);
    // The one that hangs is itself told of, on the others.
    let of_channel = told(&app);
    assert_eq!(of_channel, ["new: notify.hangs/channel"]);
    ok_on(&app, 2, "02:01:00", &["alarms"]).says(&["FAILING", "nothing is delivered"]);
    assert!(told_in(&app, "late").is_empty());
    on(&app, 3, "03:30:00", &["run"]);
    let late = told_in(&app, "late");
    assert_eq!(late.len(), 1, "{late:#?}");
    assert_eq!(late[0]["event"], "escalated");
    app.write("vault", b"{}\n");
    ok_on(&app, 4, "03:30:00", &["run"]);
    let late = told_in(&app, "late");
    assert_eq!(late.len(), 1, "{late:#?}");
    assert_eq!(late[0]["event"], "recovered");
}

/// A secret that a tool prints reaches no message, and no name of a file does harm.
#[test]
fn a_secret_reaches_nobody() {
    let mut app = application();
    app.env("VAULT_TOKEN", "s3cr3t-of-the-vault");
    app.edit(
        "command = [\"cat\", \"{root}/vault\"]",
        "command = [\"sh\", \"-c\", \"echo @everyone $TOKEN >&2; exit 1\"]\nenv = { TOKEN = \"env:VAULT_TOKEN\" }",
    );
    on(&app, 1, "03:01:00", &["run"]);
    let text = std::fs::read_to_string(app.path("told")).unwrap();
    assert!(text.contains("@everyone"), "{text}");
    for name in [
        "told",
        "state/jobs.db",
        "state/jobs.db-wal",
        "state/alarms.db",
        "state/alarms.db-wal",
    ] {
        let bytes = std::fs::read(app.path(name)).unwrap_or_default();
        let found = bytes.windows(19).any(|w| w == b"s3cr3t-of-the-vault");
        assert!(!found, "{name}");
    }
    let metrics = ok_on(&app, 1, "03:02:00", &["metrics"]);
    metrics.says(&["lifeboat_alarms{", "severity=\"error\"} 1"]);
    assert!(!metrics.stdout.contains("s3cr3t"));
}

/// A host that is thrown away after each run tells once, as long as a store remembers.
#[test]
fn a_runner_that_is_thrown_away_remembers_what_it_told() {
    let app = application();
    std::fs::remove_file(app.path("vault")).unwrap();
    app.edit("[contacts]", "[run]\nmemory = \"disk\"\n\n[contacts]");
    ok_on(&app, 1, "02:00:00", &["points"]);
    on(&app, 1, "03:01:00", &["run"]);
    assert_eq!(told(&app).len(), 1);
    for time in ["04:00:00", "05:00:00"] {
        app.forget_state_but_key();
        on(&app, 1, time, &["run"]);
    }
    assert_eq!(told(&app), [""; 0]);
    app.forget_state_but_key();
    ok_on(
        &app,
        1,
        "06:00:00",
        &["ack", "plan.main", "--for", "2d", "--reason", "at it"],
    );
    app.forget_state_but_key();
    on(&app, 2, "04:00:00", &["run"]);
    assert_eq!(told(&app), [""; 0]);
    app.write("vault", b"{}\n");
    app.forget_state_but_key();
    ok_on(&app, 3, "04:00:00", &["run"]);
    let over = told(&app);
    assert_eq!(over.len(), 1);
    assert!(over[0].starts_with("recovered"), "{over:?}");
    // Without a memory each run tells what is open, and nothing as recovered.
    app.edit("[run]\nmemory = \"disk\"\n", "");
    std::fs::remove_file(app.path("vault")).unwrap();
    for time in ["04:00:00", "05:00:00"] {
        app.forget_state_but_key();
        on(&app, 5, time, &["run"]);
        let again = told(&app);
        assert_eq!(again.len(), 1, "{again:?}");
        assert!(again[0].starts_with("new"), "{again:?}");
    }
    app.write("vault", b"{}\n");
    app.forget_state_but_key();
    ok_on(&app, 6, "04:00:00", &["run"]);
    let over = told(&app);
    assert!(!over.iter().any(|told| told.contains("failed")), "{over:?}");
}

#[test]
fn alarms_are_read_at_a_terminal_of_80_columns() {
    let app = application();
    std::fs::remove_file(app.path("vault")).unwrap();
    assert_eq!(app.run(&["run"]).code, 1);
    let shown = crate::run::at_80_columns(&app, &["alarms"]);
    shown.says(&[
        "ALARM",
        "plan.main",
        "hint: see its log",
        "told: ops",
        "works",
    ]);
    crate::run::at_80_columns(&app, &["status"]).says(&["ALARM"]);
}

/// A key that was disabled may be the work of somebody who wants no backups: nobody waits with that.
#[test]
fn a_key_that_is_refused_is_told_at_once() {
    let server = MotoServer::start();
    server.create_bucket("backup");
    let proxy = FaultyProxy::start(server.address());
    let app = crate::prune_stores::in_bucket(&server, &proxy.endpoint());
    app.configure_also(
        r#"
[notify.ops]
kind = "command"
command = ["sh", "-c", "cat >>{root}/told; echo >>{root}/told"]
wait = "4h"
"#,
    );
    ok_on(&app, 1, "03:00:00", &["backup"]);
    ok_on(&app, 1, "03:10:00", &["run"]);
    assert_eq!(told(&app), [""; 0]);
    let disabled = "<Error><Code>InvalidAccessKeyId</Code><Message>no</Message></Error>";
    proxy.set(
        Fault::Answer("/backup".into(), 403, disabled.into()),
        10_000,
    );
    on(&app, 1, "03:20:00", &["run"]);
    assert_eq!(told(&app), ["new: store.disk/store-denied"]);
    ok_on(&app, 1, "03:21:00", &["alarms"]).says(&["ALARM", "store.disk"]);
}
