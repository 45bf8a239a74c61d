//! Channels, end to end: `lifeboat notify test` sends to servers that answer as the real services
//! do, and to real mail servers.

mod configuration;
mod faults;
mod mail;

use crate::support::{App, Output};
use lifeboat_testkit::channels::{ChannelServer, Secrets};
use lifeboat_testkit::s3::tool;
use std::collections::BTreeMap;
use std::process::Command;

/// One channel of every kind that is sent over HTTP; `{url}` is the server.
pub const CHANNELS: &str = r#"
[notify.slack]
kind = "slack"
token = "env:SLACK"
channel = "C0123456789"
api = "{url}"

[notify.slack-hook]
kind = "slack"
webhook = "env:SLACK_WEBHOOK"

[notify.discord]
kind = "discord"
webhook = "env:DISCORD"

[notify.teams]
kind = "teams"
webhook = "env:TEAMS"

[notify.telegram]
kind = "telegram"
token = "env:TELEGRAM"
chat = "-1001234567890"
api = "{url}"

[notify.ntfy]
kind = "ntfy"
url = "{url}"
topic = "env:NTFY_TOPIC"
token = "env:NTFY"

[notify.gotify]
kind = "gotify"
url = "{url}"
token = "env:GOTIFY"

[notify.pushover]
kind = "pushover"
token = "env:PUSHOVER"
user = "env:PUSHOVER_USER"
api = "{url}"

[notify.pagerduty]
kind = "pagerduty"
routing_key = "env:PAGERDUTY"
api = "{url}"

[notify.opsgenie]
kind = "opsgenie"
key = "env:OPSGENIE"
api = "{url}"

[notify.webhook]
kind = "webhook"
url = "env:WEBHOOK"
secret = "env:WEBHOOK_KEY"
"#;

/// Names of the channels in [`CHANNELS`].
const NAMES: [&str; 11] = [
    "discord",
    "gotify",
    "ntfy",
    "opsgenie",
    "pagerduty",
    "pushover",
    "slack",
    "slack-hook",
    "teams",
    "telegram",
    "webhook",
];

/// Key that signs what the webhook receives.
const WEBHOOK_KEY: &str = "whsec-1f2e3d4c5b6a";

/// An application with every channel, and the server they lead to.
struct Channels {
    app: App,
    server: ChannelServer,
}

impl Channels {
    fn start() -> Self {
        let server = ChannelServer::start();
        let mut app = App::basic();
        app.configure_also(&CHANNELS.replace("{url}", &server.url()));
        for (name, value) in environment(&server) {
            app.env(name, value);
        }
        Channels { app, server }
    }

    /// Runs the test of every channel, as text.
    fn test(&self, code: i32) -> Output {
        self.app.exits(code, &["notify", "test"])
    }
}

pub fn environment(server: &ChannelServer) -> BTreeMap<&'static str, String> {
    let url = server.url();
    let s = server.secrets();
    let at = |path: &str| format!("{url}{path}");
    BTreeMap::from([
        ("SLACK", s.slack.clone()),
        ("SLACK_WEBHOOK", at(&s.slack_webhook)),
        ("DISCORD", at(&s.discord)),
        ("TEAMS", at(&s.teams)),
        ("TELEGRAM", s.telegram.clone()),
        ("NTFY_TOPIC", s.ntfy_topic.clone()),
        ("NTFY", s.ntfy.clone()),
        ("GOTIFY", s.gotify.clone()),
        ("PUSHOVER", s.pushover.clone()),
        ("PUSHOVER_USER", s.pushover_user.clone()),
        ("PAGERDUTY", s.pagerduty.clone()),
        ("OPSGENIE", s.opsgenie.clone()),
        ("WEBHOOK", at(&s.webhook)),
        ("WEBHOOK_KEY", WEBHOOK_KEY.to_owned()),
    ])
}

/// What must appear in no output: every secret, and the telling part of each URL.
fn markers(secrets: &Secrets) -> Vec<String> {
    let last = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    let signature = secrets.teams.rsplit_once("sig=").unwrap().1.to_owned();
    vec![
        secrets.slack.clone(),
        last(&secrets.slack_webhook),
        last(&secrets.discord),
        signature,
        secrets.telegram.clone(),
        secrets.ntfy_topic.clone(),
        secrets.ntfy.clone(),
        secrets.gotify.clone(),
        secrets.pushover.clone(),
        secrets.pushover_user.clone(),
        secrets.pagerduty.clone(),
        secrets.opsgenie.clone(),
        last(&secrets.webhook),
        WEBHOOK_KEY.to_owned(),
    ]
}

fn keeps_secrets(output: &Output, server: &ChannelServer) {
    let markers = markers(server.secrets());
    let markers: Vec<&str> = markers.iter().map(String::as_str).collect();
    output.never_says(&markers);
}

fn fits_a_terminal(output: &Output) {
    for line in output.stdout.lines() {
        // A hint is one line, however long, so that it can be copied.
        let free =
            line.trim_start().starts_with("hint:") || line.trim_start().starts_with("cause:");
        assert!(free || line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn a_test_arrives_through_every_channel() {
    let channels = Channels::start();
    let output = channels.test(0);
    fits_a_terminal(&output);
    keeps_secrets(&output, &channels.server);
    output.says(&["ok    slack (slack): http://127.0.0.1:"]);
    let mut seen = channels.server.take();
    seen.sort_by_key(|seen| seen.api);
    let apis: Vec<&str> = seen.iter().map(|seen| seen.api).collect();
    // A test closes what it opened.
    let expected = [
        "discord",
        "gotify",
        "ntfy",
        "opsgenie",
        "opsgenie",
        "pagerduty",
        "pagerduty",
        "pushover",
        "slack",
        "slack webhook",
        "teams",
        "telegram",
        "webhook",
    ];
    assert_eq!(apis, expected);
    for seen in &seen {
        assert_eq!(seen.refused, None, "{}: {:#}", seen.api, seen.body);
        let body = String::from_utf8_lossy(&seen.raw);
        let resolves = seen.body["event_action"] == "resolve";
        assert!(
            resolves || body.contains("crm/test"),
            "{}: {body}",
            seen.api
        );
        assert!(
            resolves || body.contains("this is a test"),
            "{}: {body}",
            seen.api
        );
    }

    // As a document, and one by its name.
    let report = channels.app.json(&["notify", "test", "telegram"]);
    assert_eq!(report["channels"].as_array().unwrap().len(), 1);
    assert_eq!(report["channels"][0]["outcome"], "delivered");
    assert_eq!(report["channels"][0]["to"], channels.server.url());
    assert_eq!(channels.server.take().len(), 1);
    let report = channels.app.json(&["notify", "test"]);
    let names = report["channels"].as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|c| c["channel"].as_str().unwrap()).collect();
    assert_eq!(names, NAMES);
}

#[test]
fn hostile_names_call_nobody_and_break_no_channel() {
    let channels = Channels::start();
    channels.app.configure_also(
        "[contacts]\ndatabase = \"<!channel> @everyone @here <@U0123456> @admin *b* \\u202Emoc.elpmaxe & [x](http://evil.example)\"\n",
    );
    channels.test(0);
    let seen = channels.server.take();
    let mut told = 0;
    for seen in &seen {
        assert_eq!(seen.refused, None, "{}: {:#}", seen.api, seen.body);
        assert!(seen.called.is_empty(), "{}: {:?}", seen.api, seen.called);
        let body = String::from_utf8_lossy(&seen.raw);
        if seen.api != "webhook" {
            assert!(!body.contains('\u{202e}'), "{}: {body}", seen.api);
        }
        told += usize::from(body.contains("evil.example"));
    }
    // All but what closes an alert; the names are still there to be read.
    assert_eq!(told, seen.len() - 2);
}

#[test]
fn a_webhook_can_be_sure_who_sent_it() {
    let channels = Channels::start();
    channels.app.ok(&["notify", "test", "webhook"]);
    let seen = channels.server.take().remove(0);
    assert_eq!(seen.body["schema"], 1);
    assert_eq!(seen.body["event"], "test");
    assert_eq!(
        seen.headers["idempotency-key"],
        seen.body["id"].as_str().unwrap()
    );
    // What the documents tell a receiver to do, with somebody else's HMAC.
    let script = "import hmac, os, sys; body = sys.stdin.buffer.read(); print(hmac.new(os.environb[b'KEY'], os.environb[b'TIME'] + b'.' + body, 'sha256').hexdigest())";
    let body = channels.app.write("body", &seen.raw);
    let output = Command::new(tool("venv/bin/python"))
        .args(["-c", script])
        .env("KEY", WEBHOOK_KEY)
        .env("TIME", &seen.headers["lifeboat-timestamp"])
        .stdin(std::fs::File::open(body).unwrap())
        .output()
        .unwrap();
    let computed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        seen.headers["lifeboat-signature"],
        format!("v1={}", computed.trim())
    );
}

#[test]
fn a_program_is_given_the_message_on_its_input() {
    let app = App::basic();
    let script = app.script("tell", "cat > \"$1\"; echo told");
    app.configure_also(&format!(
        "[notify.program]\nkind = \"command\"\ncommand = [\"{}\", \"{}\"]\n",
        script.display(),
        app.path("told").display()
    ));
    app.ok(&["notify", "test"]).never_says(&["told\n"]);
    let told = std::fs::read_to_string(app.path("told")).unwrap();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["schema"], 1);
    assert_eq!(told["app"], "crm");
    assert_eq!(told["event"], "test");
}

/// Somebody else's library, written against the real services, is accepted by the server that the
/// other tests send to.
#[test]
fn a_library_of_others_is_accepted_by_the_same_server() {
    let server = ChannelServer::start();
    let s = server.secrets();
    let part = |path: &str, back: usize| path.rsplit('/').nth(back).unwrap().to_owned();
    let (workflow, signature) = (
        s.teams.split('/').nth(2).unwrap(),
        s.teams.rsplit_once("sig=").unwrap().1,
    );
    let address = server.url().replace("http://", "");
    let urls = [
        format!("slack://{}/#C0123456789", s.slack),
        format!(
            "slack://{}/{}/{}",
            part(&s.slack_webhook, 2),
            part(&s.slack_webhook, 1),
            part(&s.slack_webhook, 0)
        ),
        format!("discord://{}/{}", part(&s.discord, 1), part(&s.discord, 0)),
        format!("workflows://prod-1.example.logic.azure.com:443/{workflow}/{signature}/"),
        format!("tgram://{}/1234567890/", s.telegram),
        format!("ntfy://{}@{address}/{}?auth=token", s.ntfy, s.ntfy_topic),
        format!("gotify://{address}/{}", s.gotify),
        format!("pover://{}@{}", s.pushover_user, s.pushover),
        format!("pagerduty://{}@{}/source/component", s.pagerduty, "ABCDEF"),
        format!("opsgenie://{}/", s.opsgenie),
    ];
    let output = Command::new(tool("venv/bin/python"))
        .args(["-c", include_str!("apprise_to.py"), &address])
        .args(&urls)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let told = String::from_utf8(output.stdout).unwrap();
    for seen in server.take() {
        assert_eq!(
            seen.refused, None,
            "{} {}: {:#}",
            seen.api, seen.target, seen.body
        );
    }
    assert_eq!(told.lines().count(), urls.len(), "{said}");
    for (line, url) in told.lines().zip(&urls) {
        let scheme = url.split(':').next().unwrap();
        assert_eq!(line, format!("{scheme} True"), "{said}");
    }
}
