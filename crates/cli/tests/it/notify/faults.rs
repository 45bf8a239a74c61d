//! What goes wrong on the way: each is told apart, within bounds, and without a secret.

use super::{CHANNELS, Channels, NAMES, environment, fits_a_terminal, keeps_secrets};
use crate::support::App;
use lifeboat_testkit::channels::{Manner, TlsServer};
use std::time::{Duration, Instant};

#[test]
fn each_fault_of_a_server_is_told_apart_and_no_secret_with_it() {
    let channels = Channels::start();
    for (manner, outcome, told) in [
        (Manner::Status(500), "later", "it has a fault of its own"),
        (
            Manner::Status(401),
            "refused",
            "it does not accept the secret",
        ),
        (
            Manner::Status(404),
            "refused",
            "there is nothing at this address",
        ),
        (Manner::TooMany, "later", "it asks to wait 17 s"),
        (Manner::Garbage, "later", "does not speak HTTP"),
        (Manner::Close, "later", "does not speak HTTP"),
        (
            Manner::Redirect,
            "refused",
            "it redirects to another address",
        ),
        (Manner::Repeat, "refused", "***"),
    ] {
        channels.server.behave(manner);
        let output = channels.test(1);
        keeps_secrets(&output, &channels.server);
        fits_a_terminal(&output);
        assert_eq!(
            output.stdout.matches("hint: ").count(),
            NAMES.len(),
            "{output}"
        );
        // Where the reason is only in the status; some of them say it in a body.
        assert!(output.stdout.contains(told), "{manner:?}: {output}");
        let report = channels.app.run(&["--json", "notify", "test"]);
        keeps_secrets(&report, &channels.server);
        for channel in report.json()["channels"].as_array().unwrap() {
            let name = &channel["channel"];
            assert_eq!(
                channel["outcome"], outcome,
                "{manner:?} {name}: {channel:#}"
            );
            assert_eq!(channel["error"]["code"], "channel", "{channel:#}");
            let message = channel["error"]["message"].as_str().unwrap();
            assert!(message.starts_with(&format!("channel {}: ", name.as_str().unwrap())));
            assert!(!channel["error"]["hint"].is_null(), "{channel:#}");
        }
    }
    // A page of a proxy is no success, except where any answer is one.
    channels.server.behave(Manner::Page);
    let output = channels.test(3);
    let taken: Vec<&str> = output
        .stdout
        .lines()
        .filter(|line| line.starts_with("ok"))
        .collect();
    assert_eq!(taken.len(), 1, "{output}");
    output.says(&["ok    webhook", "what answers there is not this service"]);
}

#[test]
fn a_secret_that_a_service_does_not_know_is_refused() {
    let mut channels = Channels::start();
    for (name, value) in environment(&channels.server) {
        let wrong = match name {
            "WEBHOOK" => format!("{}/hooks/elsewhere", channels.server.url()),
            "WEBHOOK_KEY" => value,
            // Of the same length and form.
            _ => {
                let mut wrong: Vec<char> = value.chars().collect();
                let last = wrong.len() - 1;
                wrong[last] = if wrong[last] == '1' { '2' } else { '1' };
                wrong.into_iter().collect()
            }
        };
        channels.app.env(name, wrong);
    }
    let report = channels.app.json_exits(1, &["notify", "test"]);
    for channel in report["channels"].as_array().unwrap() {
        assert_eq!(channel["outcome"], "refused", "{channel:#}");
    }
    for seen in channels.server.take() {
        assert!(seen.refused.is_some(), "{} took it", seen.api);
    }
}

#[test]
fn one_channel_that_fails_does_not_stop_the_others() {
    let mut channels = Channels::start();
    channels.app.env("GOTIFY", "wrong");
    let output = channels.test(3);
    output.says(&["error channel gotify: http://127.0.0.1:", "ok    slack"]);
    let ok = output
        .stdout
        .lines()
        .filter(|line| line.starts_with("ok"))
        .count();
    assert_eq!(ok, NAMES.len() - 1);
}

#[test]
fn a_server_that_never_answers_holds_nobody_for_long() {
    let channels = Channels::start();
    channels.app.configure_also("[notify.program]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"sleep 50123 & sleep 50124\"]\n");
    // A secret that does not come.
    channels
        .app
        .edit("key = \"env:OPSGENIE\"", "key = \"cmd:sleep 50125\"");
    channels.server.behave(Manner::Hang);
    let begun = Instant::now();
    let output = channels.test(1);
    assert!(
        begun.elapsed() < Duration::from_secs(50),
        "{:?}",
        begun.elapsed()
    );
    keeps_secrets(&output, &channels.server);
    output.says(&[
        "did not answer in time",
        "sh did not end within 30 s",
        "channel opsgenie: sending did not end within 40 seconds",
    ]);
    let answered = output.stdout.matches("did not answer in time").count();
    assert_eq!(answered, NAMES.len() - 1, "{output}");
    // Nothing of it is left.
    let left = |seconds: &str| {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let line = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).ok();
        let wanted = format!("sleep\0{seconds}\0").into_bytes();
        processes.filter_map(line).any(|line| line == wanted)
    };
    let begun = Instant::now();
    while left("50123") || left("50124") || left("50125") {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "a process is left"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_certificate_is_believed_only_if_it_is_right() {
    for (fault, reason) in [
        (None, "certificate that is not believed"),
        (Some("other-name"), "certificate that is not believed"),
        (Some("expired"), "certificate that is not believed"),
    ] {
        let server = TlsServer::start(fault);
        let mut app = App::basic();
        app.configure_also("[notify.hook]\nkind = \"webhook\"\nurl = \"env:URL\"\n");
        app.env("URL", format!("{}/s3cret-path", server.url()));
        let output = app.exits(1, &["notify", "test"]);
        output
            .says(&[reason, "SSL_CERT_FILE"])
            .never_says(&["s3cret-path"]);
        // Its authority is believed: only the one without a fault is taken.
        app.env("SSL_CERT_FILE", server.authority().to_str().unwrap());
        let code = if fault.is_none() { 0 } else { 1 };
        app.exits(code, &["notify", "test"])
            .never_says(&["s3cret-path"]);
    }
}

#[test]
fn a_secret_is_not_sent_in_clear() {
    let mut app = App::basic();
    app.configure_also("[notify.hook]\nkind = \"webhook\"\nurl = \"env:URL\"\n");
    app.env("URL", "http://192.0.2.1/s3cret-path");
    let begun = Instant::now();
    let output = app.exits(1, &["notify", "test"]);
    output.says(&[
        "its secret would reach http://192.0.2.1 in clear",
        "allow_http",
    ]);
    output.never_says(&["s3cret-path"]);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_secret_that_is_none_is_told_by_its_reference() {
    let channels = Channels::start();
    for (from, to, told) in [
        (
            "env:DISCORD",
            "env:NOWHERE",
            "environment variable NOWHERE is not set",
        ),
        (
            "env:NOWHERE",
            "cmd:echo hunter2-no-url",
            "is no http or https URL",
        ),
        (
            "env:GOTIFY",
            "cmd:printf hunter2\\\\nsecond",
            "what no header may",
        ),
        ("env:NTFY_TOPIC", "cmd:echo hunter2/topic", "is no topic"),
    ] {
        channels.app.edit(from, to);
        let output = channels.test(3);
        // A command is quoted as it stands in the configuration, and only there.
        let said = output
            .stdout
            .replace("cmd:echo hunter2-no-url", "")
            .replace("cmd:echo hunter2/topic", "");
        assert!(!said.contains("hunter2"), "{output}");
        output.says(&[told, "hint: "]);
    }
}

#[test]
fn nothing_answers_and_no_name_resolves() {
    let mut app = App::basic();
    app.configure_also(&CHANNELS.replace("{url}", "http://127.0.0.1:9"));
    let server = lifeboat_testkit::channels::ChannelServer::start();
    for (name, value) in environment(&server) {
        app.env(name, value.replace(&server.url(), "http://127.0.0.1:9"));
    }
    let output = app.exits(1, &["notify", "test"]);
    keeps_secrets(&output, &server);
    assert_eq!(
        output.stdout.matches("cannot be reached").count(),
        NAMES.len(),
        "{output}"
    );
    app.env("DISCORD", "https://no-such-host.invalid/s3cret");
    let output = app.exits(1, &["notify", "test", "discord"]);
    output.says(&["the name of https://no-such-host.invalid does not resolve"]);
    output.never_says(&["s3cret\n", "/s3cret"]);
}

#[test]
fn what_a_program_says_is_scrubbed() {
    let mut app = App::basic();
    app.configure_also("[notify.program]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"cat; echo cannot use $TOKEN >&2; exit 4\"]\n\n[notify.hook]\nkind = \"webhook\"\nurl = \"env:URL\"\nsecret = \"env:TOKEN\"\n");
    app.env("TOKEN", "s3cret-token");
    app.env("URL", "http://127.0.0.1:9/x");
    let output = app.exits(1, &["notify", "test", "program"]);
    output
        .says(&["sh failed (exit 4)", "cannot use ***"])
        .never_says(&["s3cret-token"]);
    app.edit("\"sh\", \"-c\"", "\"no-such-program\"");
    app.exits(1, &["notify", "test", "program"])
        .says(&["cannot be started"]);
}
