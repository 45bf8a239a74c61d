//! Snapshots of an instance of Lightsail, against a server that checks each call and fails on demand.

use crate::support::{App, with_machine};
use lifeboat_testkit::lightsail::{Fault, Lightsail};
use std::collections::BTreeSet;

const REGION: &str = "us-east-1";
const SNAPSHOTS: &str = "snapshots";
/// Where a machine's own web server listens: machines of these tests are this host.
fn port() -> u16 {
    20_000 + u16::try_from(std::process::id() % 20_000).unwrap()
}

/// An application with files and an instance in one plan.
fn application(server: &Lightsail, more: &str) -> App {
    let mut app = App::with("");
    let machine = format!(
        r#"kind = "lightsail"
instance = "web"
region = "{REGION}"
name = "{{app}}-backup-{{date}}"
wait = "5s"
access_key = "env:KEY"
secret_key = "env:SECRET"
{more}"#
    );
    let rest = format!(
        r#"[drill.weekly]
plans = ["daily"]
checks = [
  {{ command = ["sh", "-c", "case $LIFEBOAT_ADDRESS_MACHINE in 127.77.*) ;; *) exit 1;; esac"] }},
  {{ tcp = "machine", port = {port} }},
  {{ http = "http://{{machine}}:{port}/", contains = "Directory listing" }},
]"#,
        port = port()
    );
    app.configure(&with_machine(&machine, &rest));
    app.env("AWS_ENDPOINT_URL", server.endpoint());
    app.env("KEY", &server.access_key);
    app.env("SECRET", &server.secret_key);
    app.write("data/file", b"worth keeping");
    app
}

fn lightsail() -> Lightsail {
    let server = Lightsail::start();
    server.make_instance(REGION, "web");
    server.delay(0.3, 0.3);
    let port = port().to_string();
    server.boot(&["python3", "-m", "http.server", &port, "--bind", "{address}"]);
    server
}

#[test]
fn snapshots_of_an_instance_are_taken_verified_drilled_and_pruned() {
    let server = lightsail();
    server.page(2);
    let app = application(&server, "keep_at_source = { last = 2 }");
    app.run(&["doctor"])
        .says(&["Lightsail in us-east-1 answers"]);
    let points: Vec<String> = (0..4).map(|_| app.backup()).collect();
    assert_eq!(server.names(REGION, SNAPSHOTS).len(), 4);
    app.ok(&["verify", "--all"])
        .says(&["is available; its bytes were not read"]);
    let shown = app.json(&["show", &points[3]]).to_string();
    assert!(shown.contains("InstanceSnapshot/"), "{shown}");

    server.make_instance(REGION, "other");
    app.ok(&["prune"])
        .says(&["2 snapshots of plan daily kept where they are, 2 deleted"]);
    assert_eq!(server.names(REGION, SNAPSHOTS).len(), 2);

    server.calls();
    let drilled = app.json_exits(4, &["drill", "weekly"]);
    assert_eq!(drilled["outcome"], "restored", "{drilled:#}");
    assert_eq!(
        server.names(REGION, "instances"),
        ["web", "other"],
        "the machine is gone"
    );
    let calls = server.calls();
    let closed = calls
        .iter()
        .find(|call| call.operation == "PutInstancePublicPorts");
    let closed = closed.expect("the machine is closed to others");
    assert_eq!(closed.parameters["portInfos"], serde_json::json!([]));
    let log = server.log();
    assert!(
        !log.contains("Traceback") && !log.contains("does not fit"),
        "{log}"
    );

    server.forget(REGION, server.names(REGION, SNAPSHOTS).last().unwrap());
    app.exits(4, &["verify"])
        .says(&["missing: it is not there any more"]);
}

/// Each operation that was called since it was last asked, as a policy names it.
fn actions(server: &Lightsail) -> BTreeSet<String> {
    let calls = server.calls().into_iter();
    calls
        .map(|call| format!("lightsail:{}", call.operation))
        .collect()
}

#[test]
fn no_call_is_made_that_the_policy_does_not_allow() {
    let server = lightsail();
    let more = "copy_to = \"eu-west-1\"\nkeep_at_source = { last = 1 }";
    let app = application(&server, more);
    app.backup();
    for (role, code, job) in [
        ("backup", 0, &["backup"][..]),
        ("prune", 0, &["prune"]),
        ("drill", 4, &["drill", "weekly"]),
    ] {
        server.calls();
        app.exits(code, job);
        let made = actions(&server);
        let policy = app.json(&["policy", "--role", role]);
        let allowed = policy["Statement"][0]["Action"].as_array().unwrap();
        let mut allowed: BTreeSet<String> = allowed
            .iter()
            .map(|action| action.as_str().unwrap().to_owned())
            .collect();
        // What is made has tags from its beginning, which takes no call.
        allowed.remove("lightsail:TagResource");
        assert_eq!(made, allowed, "{role}");
        assert_eq!(policy["Statement"][0]["Resource"], serde_json::json!(["*"]));
    }
}

#[test]
fn snapshots_are_copied_into_another_region_and_go_together() {
    const OTHER: &str = "eu-west-1";
    let server = lightsail();
    let more = format!("copy_to = \"{OTHER}\"\nkeep_at_source = {{ last = 1 }}");
    let app = application(&server, &more);
    app.run(&["doctor"])
        .says(&["Lightsail in eu-west-1 answers: 0 copies of them are there"]);
    app.backup();
    // A call whose answer was lost makes no second one.
    server.fail(Fault::CloseAfter, Some("CopySnapshot"), Some(1));
    let second = app.backup();
    let copies = || server.names(OTHER, SNAPSHOTS);
    assert_eq!(copies().len(), 2);
    app.ok(&["show", &second]).says(&["; a copy in eu-west-1"]);
    app.ok(&["verify", "--all"])
        .says(&["in us-east-1 is available", "in eu-west-1 is available"]);
    app.ok(&["status"]).never_says(&["has no copy in"]);

    // Where the other region does not let it go, somebody still names both.
    server.fail_after(1, Fault::Denied, Some("DeleteInstanceSnapshot"), Some(1));
    app.exits(1, &["prune"])
        .says(&["allow lightsail:DeleteInstanceSnapshot"])
        .never_says(&["left alone"]);
    assert_eq!(
        (server.names(REGION, SNAPSHOTS).len(), copies().len()),
        (1, 2)
    );
    app.ok(&["prune"])
        .says(&["1 snapshot of plan daily kept where they are, 1 deleted"]);
    assert_eq!(
        (server.names(REGION, SNAPSHOTS).len(), copies().len()),
        (1, 1)
    );

    server.fail(Fault::Denied, Some("CopySnapshot"), Some(1));
    let told = "has no copy in eu-west-1";
    app.ok(&["backup"])
        .says(&[told, "allow lightsail:CopySnapshot"]);
    app.ok(&["status"]).says(&[told]);
    app.run(&["run"]);
    app.ok(&["alarms"]).says(&[told]);
    app.backup();
    let plan = &app.json(&["status"])["plans"][0];
    assert_eq!(plan["uncopied"], serde_json::Value::Null, "{plan:#}");

    // The region of the machine is lost: with the other one in its place, a drill passes.
    app.edit(
        &format!("region = \"{REGION}\""),
        &format!("region = \"{OTHER}\""),
    );
    app.exits(2, &["config", "check"])
        .says(&["copy_to", "it is the region of the machine"]);
    app.edit(&format!("copy_to = \"{OTHER}\"\n"), "");
    server.calls();
    let drilled = app.json_exits(4, &["drill", "weekly"]);
    assert_eq!(drilled["outcome"], "restored", "{drilled:#}");
    let calls = server.calls();
    let made = calls
        .iter()
        .find(|call| call.operation == "CreateInstancesFromSnapshot");
    let zone = &made.expect("a machine was made").parameters["availabilityZone"];
    assert_eq!(zone, "eu-west-1a");

    app.edit(
        &format!("region = \"{OTHER}\""),
        &format!("region = \"{REGION}\""),
    );
    server.forget(OTHER, copies().last().unwrap());
    app.exits(4, &["verify"])
        .says(&["in eu-west-1: missing: it is not there any more"]);
    let log = server.log();
    assert!(
        !log.contains("Traceback") && !log.contains("does not fit"),
        "{log}"
    );
}

#[test]
fn what_passes_is_waited_for_and_makes_one_snapshot() {
    for (fault, operation, times) in [
        (Fault::Throttle, "CreateInstanceSnapshot", 3),
        (Fault::Throttle, "GetInstanceSnapshots", 3),
        (Fault::Status(503), "CreateInstanceSnapshot", 2),
        (Fault::Half, "GetInstanceSnapshots", 1),
        (Fault::Half, "CreateInstanceSnapshot", 1),
        (Fault::CloseAfter, "CreateInstanceSnapshot", 1),
        (Fault::Close, "CreateInstanceSnapshot", 1),
    ] {
        let server = lightsail();
        let app = application(&server, "");
        server.fail(fault, Some(operation), Some(times));
        app.backup();
        let there = server.names(REGION, SNAPSHOTS);
        assert_eq!(there.len(), 1, "{fault:?} of {operation}: {there:?}");
    }
}

#[test]
fn what_does_not_pass_makes_no_point_complete() {
    let server = lightsail();
    let app = application(&server, "");
    for (fault, operation, says) in [
        (
            Fault::Nothing,
            "CreateInstanceSnapshot",
            "is not ready after 5 s: it is not there",
        ),
        (
            Fault::SnapshotError,
            "CreateInstanceSnapshot",
            "came to nothing: its state is error",
        ),
        (
            Fault::Denied,
            "CreateInstanceSnapshot",
            "allow lightsail:CreateInstanceSnapshot",
        ),
        (
            Fault::Denied,
            "GetInstanceSnapshots",
            "allow lightsail:GetInstanceSnapshots",
        ),
        (
            Fault::Quota,
            "CreateInstanceSnapshot",
            "ask for a larger quota",
        ),
        (Fault::Vanish, "CreateInstanceSnapshot", "came to nothing"),
    ] {
        server.fail(fault, Some(operation), Some(1));
        let output = app.exits(3, &["backup"]);
        output.says(&["partial"]);
        let text = format!("{output}");
        assert!(text.contains(says), "{fault:?}: {text}");
        server.reset();
        if fault == Fault::Vanish {
            app.exits(3, &["backup"])
                .says(&["The Instance does not exist: web"]);
        }
    }
}

#[test]
fn snapshots_of_the_provider_itself_are_switched_on_where_they_are_asked_for() {
    let server = lightsail();
    let app = application(&server, "automatic = \"06:00\"");
    let off = "automatic snapshots of web are off";
    app.run(&["doctor"])
        .says(&[off, "the next backup switches them on"]);
    server.fail(Fault::Denied, Some("EnableAddOn"), Some(1));
    let refused = app.ok(&["backup"]);
    refused.says(&[off, "allow lightsail:EnableAddOn"]);
    app.ok(&["backup"]).says(&[off, "they are switched on now"]);
    app.ok(&["backup"]).never_says(&["automatic"]);
    app.run(&["doctor"]).never_says(&["automatic"]);
    app.edit("\"06:00\"", "\"07:00\"");
    app.ok(&["backup"])
        .says(&["are taken at 06:00 UTC, and not at 07:00"]);
    let policy = app.json(&["policy", "--role", "backup"]).to_string();
    assert!(policy.contains("lightsail:EnableAddOn"), "{policy}");
    app.edit("\"07:00\"", "\"7:30\"");
    app.exits(2, &["config", "check"])
        .says(&["\"7:30\" is no full hour"]);
}

#[test]
fn keys_that_are_wrong_are_told_with_what_to_do() {
    let server = lightsail();
    let mut app = application(&server, "");
    app.env("SECRET", "of-somebody-else");
    app.exits(3, &["backup"]).says(&[
        "InvalidSignatureException",
        "get new keys, or check the clock",
    ]);
    app.env("KEY", "nobody");
    app.exits(1, &["doctor"])
        .says(&["UnrecognizedClientException", "get new keys"]);
}

#[test]
fn a_name_of_somebody_else_and_an_unknown_instance_are_told() {
    let server = lightsail();
    server.make_instance(REGION, "other");
    let app = application(&server, "");
    app.edit("{app}-backup-{date}", "theirs");
    let theirs = application(&server, "");
    theirs.edit("instance = \"web\"", "instance = \"other\"");
    theirs.edit("{app}-backup-{date}", "theirs");
    theirs.backup();
    app.exits(3, &["backup"]).says(&["already in use: theirs"]);
    app.edit("instance = \"web\"", "instance = \"wbe\"");
    app.edit("\"theirs\"", "\"ours\"");
    app.exits(3, &["backup"]).says(&[
        "no snapshot of wbe can be taken",
        "aws lightsail get-instances",
    ]);
    for (settings, says) in [
        ("reach_from = [\"0.0.0.0/0\"]", "is no network"),
        ("ports = [0]", "0 is no port"),
        ("keep_at_source = { last = 0 }", "no snapshot would stay"),
        ("lifetime = \"0s\"", "no time is too short"),
    ] {
        application(&server, settings)
            .exits(2, &["config", "check"])
            .says(&[says]);
    }
}
