//! `lifeboat report`: what a week came to, in days that pass in seconds; and reports that are sent.

use crate::notify::{CHANNELS, environment};
use crate::prune::{json_on, ok_on, on};
use crate::support::{App, run};
use lifeboat_testkit::channels::{ChannelServer, MailServer, Want};
use lifeboat_testkit::s3::tool;
use serde_json::Value;
use std::process::Command;

/// A plan with a source that can fail, a drill, a verification, and a table whose name is hostile.
const WEEK: &str = r#"
[source.db]
kind = "sqlite"
path = "{root}/live/app.db"

[source.vault]
kind = "command"
command = ["sh", "-c", "cat {root}/vault || { echo \"no <b>vault</b> | *here* $VAULT_TOKEN\" >&2; exit 1; }"]
extension = "json"
env = { VAULT_TOKEN = "env:VAULT_TOKEN" }

[store.disk]
kind = "local"
path = "{root}/store"

[plan.main]
schedule = "0 3 * * *"
retry = { attempts = 1 }
sources = ["vault", "db"]
stores = ["disk"]
keep = { last = 3, monthly = 12 }
prune_grace = "1h"

[drill.weekly]
schedule = "0 4 * * 0"
plans = ["main"]
max_age = "9d"

[verify.weekly]
schedule = "0 5 * * 6"

[notify.program]
kind = "command"
command = ["sh", "-c", "cat >>{root}/told; echo >>{root}/told"]
"#;

const TOKEN: &str = "t0ken-of-the-vault-1234";

/// A week from Monday, the 7th of December 2026, to Sunday: a backup each day, of which that of the
/// 9th fails; a verification on Saturday, and a drill on Sunday.
fn week() -> App {
    let mut app = App::with(WEEK);
    app.env("VAULT_TOKEN", TOKEN);
    app.write("vault", b"{}\n");
    for day in 7..=13 {
        if day == 9 {
            std::fs::remove_file(app.path("vault")).unwrap();
            std::fs::rename(app.path("live"), app.path("away")).unwrap();
            assert_eq!(on(&app, day, "03:01:00", &["run"]).code, 1);
            app.write("vault", b"{}\n");
            std::fs::rename(app.path("away"), app.path("live")).unwrap();
            continue;
        }
        ok_on(&app, day, "05:01:00", &["run"]);
    }
    app
}

fn item<'r>(report: &'r Value, task: &str) -> &'r Value {
    let lists = report["checklists"].as_array().unwrap().iter();
    let mut items = lists.flat_map(|list| list["items"].as_array().unwrap());
    items
        .find(|item| item["task"] == task)
        .unwrap_or_else(|| panic!("no {task}: {report:#}"))
}

fn of_kind<'r>(report: &'r Value, kind: &str) -> &'r Value {
    let mut kinds = report["ran"]["jobs"].as_array().unwrap().iter();
    kinds.find(|found| found["kind"] == kind).unwrap()
}

#[test]
fn a_report_of_a_week_tells_what_ran_what_was_proved_and_what_was_not() {
    let app = week();
    let report = json_on(&app, 14, "00:00:00", &["report"]);
    assert_eq!(report["period"], "week");
    assert_eq!(report["from"], "2026-12-07T00:00:00Z");
    let backups = of_kind(&report, "backup");
    assert_eq!(backups["outcomes"]["done"], 6, "{report:#}");
    assert_eq!(backups["outcomes"]["failed"], 1, "{report:#}");
    let failures = report["ran"]["failures"].as_array().unwrap();
    let failure = failures.iter().find(|f| f["kind"] == "backup").unwrap();
    assert!(failure["message"].as_str().unwrap().contains("vault"));
    // What was missed before the first point runs after it, and then on its day.
    assert_eq!(of_kind(&report, "verify")["outcomes"]["done"], 2);

    let record = &report["drills"][0]["records"][1];
    assert_eq!(record["outcome"], "verified", "{report:#}");
    assert!(record["rto_seconds"].as_f64().unwrap() >= 0.0);
    assert_eq!(report["unproved"]["sources"], serde_json::json!([]));
    // The rules keep three: what they deleted is told with the rule.
    let deleted = &report["deleted"];
    assert!(deleted["copies"].as_u64().unwrap() >= 1, "{deleted:#}");
    assert_eq!(deleted["listed"][0]["why"], "no-rule");

    // What failed was told, and told as over.
    let told = report["told"].as_array().unwrap();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0]["opened"].is_string() && told[0]["ended"].is_string());
    assert_eq!(report["alarms"], serde_json::json!([]));
    let next = &report["next"][0];
    assert_eq!(
        (&next["kind"], &next["subject"]),
        (&"backup".into(), &"main".into())
    );
    assert_eq!(next["at"], "2026-12-14T03:00:00Z");

    // Nothing is ticked but what the period shows.
    let evidence = &record["evidence"];
    for (task, kind) in [
        ("stored-intact", "job"),
        ("copies-complete", "point"),
        ("recent-points", "point"),
        ("sizes-usual", "point"),
        ("decrypts", "evidence"),
    ] {
        let item = item(&report, task);
        assert_eq!(item["done"], true, "{item:#}");
        assert_eq!(item["shown_by"][0]["kind"], kind, "{item:#}");
        assert!(item["command"].is_null());
    }
    assert_eq!(&item(&report, "decrypts")["shown_by"][1]["id"], evidence);
    for task in ["backups-ran", "jobs-succeeded", "warnings-read"] {
        let item = item(&report, task);
        assert_eq!(item["done"], false, "{item:#}");
        assert_eq!(item["shown_by"], serde_json::json!([]));
        assert!(item["command"].as_str().unwrap().starts_with("lifeboat "));
    }
    let quarter = json_on(&app, 14, "00:00:00", &["report", "--period", "quarter"]);
    assert_eq!(quarter["checklists"].as_array().unwrap().len(), 4);
    assert_eq!(
        &item(&quarter, "restore-tested")["shown_by"][0]["id"],
        evidence
    );
    assert_eq!(item(&quarter, "procedures-updated")["done"], false);
    assert_eq!(item(&quarter, "month-kept")["done"], true, "{quarter:#}");
}

#[test]
fn a_report_of_another_period_ticks_nothing_that_was_shown_later() {
    let app = week();
    let before = ["report", "--until", "2026-12-07"];
    let before = json_on(&app, 14, "00:00:00", &before);
    assert_eq!(before["ran"]["jobs"], serde_json::json!([]));
    for task in [
        "backups-ran",
        "stored-intact",
        "decrypts",
        "recent-points",
        "jobs-succeeded",
    ] {
        assert_eq!(item(&before, task)["done"], false, "{task}: {before:#}");
    }
    let ahead = on(&app, 14, "00:00:00", &["report", "--until", "2027-01-01"]);
    assert_eq!(ahead.code, 2, "{ahead}");
}

#[test]
fn a_report_without_a_history_tells_what_the_stores_tell() {
    let app = week();
    std::fs::remove_file(app.path("state/jobs.db")).unwrap();
    let report = json_on(&app, 14, "00:00:00", &["report"]);
    assert!(report["ran"]["noted_since"].is_null(), "{report:#}");
    let taken = &report["ran"]["points"][0];
    assert_eq!(taken["complete"], taken["unnoted"], "{report:#}");
    assert!(taken["complete"].as_u64().unwrap() >= 3);
    assert_eq!(report["drills"][0]["records"][0]["outcome"], "verified");
    // The job that verified is not known any more, but the record is.
    assert_eq!(
        item(&report, "stored-intact")["shown_by"][0]["kind"],
        "evidence"
    );
    assert_eq!(item(&report, "jobs-succeeded")["done"], false);
}

#[test]
fn a_report_is_readable_in_80_columns_and_its_html_is_well_formed_and_harmless() {
    let app = week();
    let md = ok_on(&app, 14, "00:00:00", &["report", "--period", "quarter"]).stdout;
    for line in md.lines() {
        let long = line.chars().count() > 80;
        // Only what cannot be broken may be longer: a command.
        assert!(!long || !line.starts_with('|'), "{line}");
    }
    assert!(md.contains("- [x] ") && md.contains("- [ ] "), "{md}");
    let one_line = md.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        one_line.contains("no \\<b\\>vault\\</b\\> \\| \\*here\\* \\*\\*\\*"),
        "{md}"
    );
    let page = app.path("report.html");
    let path = page.to_str().unwrap();
    let args = [
        "report", "--period", "quarter", "--format", "html", "--output", path,
    ];
    assert_eq!(ok_on(&app, 14, "00:00:00", &args).stdout, "");
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("no &lt;b&gt;vault&lt;/b&gt;"), "{html}");
    for text in [&md, &html] {
        assert!(!text.contains(TOKEN), "a secret is in the report");
    }
    for active in ["<script", "<b>", "http:", "https:", "src=", "href="] {
        assert!(!html.contains(active), "{active} in {html}");
    }
    // XML is stricter than HTML: each tag is closed, and every text is escaped.
    let check = "import sys, xml.dom.minidom as m; m.parse(sys.argv[1])";
    let parsed = run(Command::new(tool("venv/bin/python")).args(["-c", check, path]));
    assert_eq!(parsed.code, 0, "{parsed}");
    // The file is replaced in one step, and the JSON is the same document.
    let json = app.path("report.json");
    for _ in 0..2 {
        let args = [
            "report",
            "--format",
            "json",
            "--output",
            json.to_str().unwrap(),
        ];
        ok_on(&app, 14, "00:00:00", &args);
    }
    let written: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(written, json_on(&app, 14, "00:00:00", &["report"]));
    assert_eq!(written["schema"], 1);
}

/// The messages that the program was told.
fn told(app: &App) -> Vec<Value> {
    let text = std::fs::read_to_string(app.path("told")).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_scheduled_report_arrives_once_by_mail_and_through_a_program() {
    let server = MailServer::start(Want::Clear);
    let app = App::basic();
    app.edit("[plan.main]\n", "[plan.main]\nschedule = \"0 3 * * *\"\n");
    app.configure_also(&format!(
        r#"[notify.mail]
kind = "email"
from = "lifeboat@example.org"
to = ["ops@example.org"]
server = "localhost"
port = {}
tls = "none"
on = []

[notify.program]
kind = "command"
command = ["sh", "-c", "cat >>{{root}}/told; echo >>{{root}}/told"]
on = []

[report.weekly]
schedule = "0 6 * * 1"
to = ["mail", "program"]

[report.daily]
schedule = "0 7 * * *"
period = "day"
format = "json"
to = ["program"]
"#,
        server.port()
    ));
    for (day, time) in [(12, "03:01:00"), (13, "03:01:00"), (14, "03:01:00")] {
        ok_on(&app, day, time, &["run"]);
    }
    let before = server.mails().len();
    let _ = std::fs::remove_file(app.path("told"));
    for time in ["06:00:30", "06:10:00", "06:30:00"] {
        ok_on(&app, 14, time, &["run"]);
    }
    let mails = server.mails().split_off(before);
    assert_eq!(mails.len(), 1, "{mails:#?}");
    let mail = &mails[0].text;
    for part in [
        "Content-Type: multipart/alternative",
        "Content-Type: text/plain",
        "Content-Type: text/html",
        "Subject: crm/test: report of the week until 2026-12-14 06:00 UTC",
        "Auto-Submitted: auto-generated",
    ] {
        assert!(mail.contains(part), "no {part:?} in\n{mail}");
    }
    let messages = told(&app);
    let [message] = messages.as_slice() else {
        panic!("{messages:#?}")
    };
    assert_eq!(message["event"], "report");
    assert!(
        message["report"]["md"]
            .as_str()
            .unwrap()
            .contains("## What ran")
    );
    assert!(
        message["report"]["html"]
            .as_str()
            .unwrap()
            .starts_with("<!DOCTYPE html>")
    );
    // The other one brings the whole document.
    ok_on(&app, 14, "07:00:30", &["run"]);
    let daily = told(&app).pop().unwrap();
    let document = &daily["report"]["document"];
    assert_eq!(document["period"], "day", "{daily:#}");
    assert_eq!(document["until"], "2026-12-14T07:00:00Z");
    let jobs = json_on(&app, 14, "07:01:00", &["jobs"]);
    assert_eq!(jobs["jobs"][0]["kind"], "report", "{jobs:#}");
    let status = json_on(&app, 14, "07:01:00", &["status"]);
    let weekly = &status["reports"][1];
    assert_eq!(weekly["next"], "2026-12-21T06:00:00Z", "{status:#}");
}

#[test]
fn a_report_fits_every_kind_of_channel() {
    let server = ChannelServer::start();
    let mut app = App::basic();
    app.edit("[plan.main]\n", "[plan.main]\nschedule = \"0 3 * * *\"\n");
    let channels = CHANNELS.replace("{url}", &server.url());
    let to = [
        "slack",
        "slack-hook",
        "discord",
        "teams",
        "telegram",
        "ntfy",
        "gotify",
        "pushover",
        "webhook",
    ];
    app.configure_also(&format!(
        "{}\n[report.weekly]\nschedule = \"0 6 * * 1\"\nto = {to:?}\n",
        channels.replace("kind = ", "on = []\nkind = ")
    ));
    for (name, value) in environment(&server) {
        app.env(name, value);
    }
    app.ok(&["run"]);
    let seen = server.take();
    assert_eq!(seen.len(), to.len(), "{seen:#?}");
    let alarms = app.json(&["alarms"]);
    for channel in alarms["channels"].as_array().unwrap() {
        let name = channel["channel"].as_str().unwrap();
        assert_eq!(
            channel["sent"].is_string(),
            to.contains(&name),
            "{channel:#}"
        );
        assert!(channel["error"].is_null(), "{channel:#}");
    }
}

#[test]
fn a_report_that_nobody_would_receive_is_refused() {
    for (report, why) in [
        (
            "schedule = \"0 6 * * 1\"\nto = []",
            "nobody would receive it",
        ),
        (
            "schedule = \"0 6 * * 1\"\nto = [\"opps\"]",
            "there is no notify \"opps\"",
        ),
        ("schedule = \"0 6 * *\"\nto = [\"ops\"]", "schedule"),
        ("to = [\"ops\"]", "it has no schedule"),
        ("schedule = \"0 6 * * 1\"\nto = [\"pager\"]", "calls people"),
        (
            "schedule = \"0 6 * * 1\"\nto = [\"ops\", \"ops\"]",
            "named twice",
        ),
        (
            "schedule = \"0 6 * * 1\"\nto = [\"ops\"]\nperiod = \"fortnight\"",
            "fortnight",
        ),
    ] {
        let app = App::basic();
        app.configure_also(&format!(
            "[notify.ops]\nkind = \"command\"\ncommand = [\"true\"]\n\n[notify.pager]\nkind = \"pagerduty\"\nrouting_key = \"env:P\"\n\n[report.weekly]\n{report}\n"
        ));
        let refused = app.exits(2, &["config", "check"]);
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(said.contains(why), "{report}: {said}");
    }
}
