//! The server, driven by the official `aws` command.

//! Drives the stand-in with Amazon's own command, and with its library where the command would refuse.

use super::{Fault, Lightsail};
use crate::s3::tool;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

const HOME: &str = "us-east-1";
const AWAY: &str = "eu-west-1";

fn run(sail: &Lightsail, region: &str, secret_key: &str, arguments: &[&str]) -> Output {
    Command::new(tool("venv/bin/aws"))
        .arg("lightsail")
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("AWS_ENDPOINT_URL", sail.endpoint())
        .env("AWS_DEFAULT_REGION", region)
        .env("AWS_ACCESS_KEY_ID", &sail.access_key)
        .env("AWS_SECRET_ACCESS_KEY", secret_key)
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_MAX_ATTEMPTS", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn aws(sail: &Lightsail, region: &str, arguments: &[&str]) -> Value {
    let output = run(sail, region, &sail.secret_key, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    let log = sail.log();
    assert!(
        output.status.success(),
        "{arguments:?}: {error}\nlog: {log}"
    );
    assert_eq!(log, "");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The message of a command that must fail.
fn refused(sail: &Lightsail, region: &str, arguments: &[&str]) -> String {
    let output = run(sail, region, &sail.secret_key, arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    String::from_utf8(output.stderr).unwrap()
}

fn status_of(sail: &Lightsail, region: &str, answer: &Value) -> String {
    let id = answer["operations"][0]["id"].as_str().unwrap();
    let answer = aws(sail, region, &["get-operation", "--operation-id", id]);
    answer["operation"]["status"].as_str().unwrap().to_owned()
}

fn snapshot(sail: &Lightsail, name: &str) -> Value {
    let of = ["create-instance-snapshot", "--instance-name", "web"];
    let named = ["--instance-snapshot-name", name];
    aws(sail, HOME, &[&of[..], &named[..]].concat())
}

/// What comes out of a pipe until its end.
fn text_of(pipe: PathBuf) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(std::fs::read_to_string(pipe).unwrap()));
    receiver
}

fn has(message: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(message.contains(wanted), "{wanted} is not in: {message}");
    }
}

#[test]
fn snapshots_are_taken_listed_copied_and_deleted() {
    let sail = Lightsail::start();
    sail.make_instance(HOME, "web");
    sail.delay(1000.0, 0.0);
    let made = snapshot(&sail, "one");
    let get = ["get-instance-snapshot", "--instance-snapshot-name", "one"];
    let pending = aws(&sail, HOME, &get);
    assert_eq!(pending["instanceSnapshot"]["state"], "pending");
    assert_eq!(status_of(&sail, HOME, &made), "Started");
    let copy = [
        "copy-snapshot",
        "--source-region",
        HOME,
        "--source-snapshot-name",
        "one",
        "--target-snapshot-name",
        "copied",
    ];
    has(&refused(&sail, AWAY, &copy), &["not available: one"]);
    sail.finish();
    let available = aws(&sail, HOME, &get);
    assert_eq!(available["instanceSnapshot"]["state"], "available");
    assert_eq!(available["instanceSnapshot"]["sizeInGb"], 60);
    assert_eq!(status_of(&sail, HOME, &made), "Succeeded");

    sail.delay(0.0, 0.0);
    snapshot(&sail, "two");
    snapshot(&sail, "three");
    sail.page(2);
    sail.calls();
    let listed = aws(&sail, HOME, &["get-instance-snapshots"]);
    assert_eq!(listed["instanceSnapshots"].as_array().unwrap().len(), 3);
    let pages = sail.calls();
    assert_eq!(pages.len(), 2, "{pages:?}");
    assert_eq!(pages[0].operation, "GetInstanceSnapshots");
    assert!(pages[1].parameters["pageToken"].is_string());

    aws(&sail, AWAY, &copy);
    assert_eq!(sail.names(AWAY, "snapshots"), ["copied"]);
    let delete = [
        "delete-instance-snapshot",
        "--instance-snapshot-name",
        "one",
    ];
    aws(&sail, HOME, &delete);
    assert_eq!(sail.names(HOME, "snapshots"), ["two", "three"]);
    let gone = refused(&sail, HOME, &delete);
    let message = "The InstanceSnapshot does not exist: one";
    has(&gone, &["(NotFoundException)", message]);
}

#[test]
fn an_instance_comes_from_a_snapshot_and_runs_its_command_until_it_is_deleted() {
    let sail = Lightsail::start();
    sail.make_instance(HOME, "web");
    let address = sail.make_static_ip(HOME, "web-ip", Some("web"));
    snapshot(&sail, "one");
    let directory = tempfile::tempdir().unwrap();
    let (said, life) = (directory.path().join("said"), directory.path().join("life"));
    for pipe in [&said, &life] {
        assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    }
    // The end of `life` comes when the process is killed, and not before.
    let script = format!(
        "exec 3> {}; echo {{instance}} {{snapshot}} > {}; exec sleep 1000",
        life.display(),
        said.display()
    );
    sail.boot(&["sh", "-c", &script]);
    let (said, life) = (text_of(said), text_of(life));
    let limit = Duration::from_secs(60);
    let create = |bundle| {
        [
            "create-instances-from-snapshot",
            "--instance-names",
            "new",
            "--instance-snapshot-name",
            "one",
            "--availability-zone",
            "us-east-1b",
            "--bundle-id",
            bundle,
        ]
    };
    has(
        &refused(&sail, HOME, &create("micro_3_0")),
        &["(InvalidInputException)", "smaller"],
    );
    aws(&sail, HOME, &create("medium_3_0"));
    assert_eq!(said.recv_timeout(limit).unwrap(), "new one\n");
    let new = ["get-instance", "--instance-name", "new"];
    let running = aws(&sail, HOME, &new);
    let own = running["instance"]["publicIpAddress"].as_str().unwrap();
    assert!(own.starts_with("127.77."), "{own}");
    assert_eq!(running["instance"]["state"]["code"], 16);

    let attach = ["--static-ip-name", "web-ip", "--instance-name", "new"];
    let attach = [&["attach-static-ip"], &attach[..]].concat();
    has(&refused(&sail, HOME, &attach), &["already attached to web"]);
    let detach = ["detach-static-ip", "--static-ip-name", "web-ip"];
    aws(&sail, HOME, &detach);
    aws(&sail, HOME, &attach);
    let moved = aws(&sail, HOME, &new);
    assert_eq!(moved["instance"]["publicIpAddress"], *address);
    assert_eq!(moved["instance"]["isStaticIp"], true);

    let add_on = "addOnType=AutoSnapshot,autoSnapshotAddOnRequest={snapshotTimeOfDay=03:00}";
    let enable = ["enable-add-on", "--resource-name", "new"];
    let enable = [&enable[..], &["--add-on-request", add_on]].concat();
    aws(&sail, HOME, &enable);
    let delete = ["delete-instance", "--instance-name", "new"];
    let kept = refused(&sail, HOME, &delete);
    has(&kept, &["You cannot delete the Instance new with addons."]);
    assert_eq!(life.try_recv(), Err(TryRecvError::Empty));
    let delete = [&delete[..], &["--force-delete-add-ons"]].concat();
    aws(&sail, HOME, &delete);
    assert_eq!(life.recv_timeout(limit).unwrap(), "");
    assert_eq!(sail.names(HOME, "instances"), ["web"]);
    let free = aws(
        &sail,
        HOME,
        &["get-static-ip", "--static-ip-name", "web-ip"],
    );
    assert_eq!(free["staticIp"]["isAttached"], false);
}

#[test]
fn what_is_wrong_is_refused() {
    let sail = Lightsail::start();
    sail.make_instance(HOME, "web");
    sail.make_static_ip(HOME, "taken", None);
    let named = |name| {
        let of = ["create-instance-snapshot", "--instance-name", "web"];
        [&of[..], &["--instance-snapshot-name", name]].concat()
    };
    let taken = refused(&sail, HOME, &named("taken"));
    let message = "Some names are already in use: taken";
    has(&taken, &["(InvalidInputException)", message]);
    let spaced = refused(&sail, HOME, &named("a name"));
    has(&spaced, &["(InvalidInputException)", "must fit"]);
    let get = ["get-instance", "--instance-name", "web"];
    has(&refused(&sail, AWAY, &get), &["(NotFoundException)"]);
    let unserved = refused(&sail, HOME, &["get-domains"]);
    has(&unserved, &["does not serve GetDomains"]);
    let wrong = run(&sail, HOME, "another-key", &get);
    let wrong = String::from_utf8(wrong.stderr).unwrap();
    has(&wrong, &["(InvalidSignatureException)"]);
    let refusals: Vec<_> = sail.calls().into_iter().map(|call| call.refused).collect();
    let expected = [
        "InvalidInputException",
        "InvalidInputException",
        "NotFoundException",
        "UnknownOperationException",
        "InvalidSignatureException",
    ];
    assert_eq!(refusals, expected.map(|kind| Some(kind.to_owned())));

    let signed = |body: &str, token: &str| {
        let output = Command::new(tool("venv/bin/python"))
            .args(["-c", SIGNED, &sail.endpoint(), body, token])
            .args([&sail.access_key, &sail.secret_key])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let unknown = signed(r#"{"instanceName": "web", "name": "web"}"#, "");
    has(
        &unknown,
        &["400 ", "InvalidInputException", "Unknown parameter"],
    );
    let typed = signed(r#"{"instanceName": 7}"#, "");
    has(&typed, &["400 ", "InvalidInputException"]);
    let good = r#"{"instanceName": "web"}"#;
    has(&signed(good, ""), &["200 ", "172.26."]);
    let stranger = signed(good, "unknown-token");
    has(&stranger, &["403 ", "UnrecognizedClientException"]);
    sail.accept(&sail.access_key, &sail.secret_key, "unknown-token");
    has(&signed(good, "unknown-token"), &["200 "]);
}

/// Sends a body to `GetInstance` as it is, with the signature of Amazon's library.
const SIGNED: &str = r#"
import sys
import urllib.error
import urllib.request
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

url, body, token, access_key, secret_key = sys.argv[1:]
headers = {"X-Amz-Target": "Lightsail_20161128.GetInstance", "Content-Type": "application/x-amz-json-1.1"}
request = AWSRequest("POST", url + "/", headers, body)
SigV4Auth(Credentials(access_key, secret_key, token or None), "lightsail", "us-east-1").add_auth(request)
prepared = urllib.request.Request(url + "/", body.encode(), dict(request.headers))
try:
    answer = urllib.request.urlopen(prepared)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode())
"#;

#[test]
fn faults_come_as_often_as_they_were_asked_for() {
    let sail = Lightsail::start();
    sail.make_instance(HOME, "web");
    let operation = Some("CreateInstanceSnapshot");
    let create = |name| {
        let of = ["create-instance-snapshot", "--instance-name", "web"];
        [&of[..], &["--instance-snapshot-name", name]].concat()
    };
    let loud = [
        (Fault::Throttle, "(ThrottlingException)"),
        (Fault::Status(503), "(ServiceUnavailableException)"),
        (Fault::Close, "closed"),
        (
            Fault::Denied,
            "not authorized to perform: lightsail:CreateInstanceSnapshot",
        ),
        (Fault::Quota, "maximum limit"),
        (Fault::CloseAfter, "closed"),
    ];
    for (fault, message) in loud {
        sail.fail(fault, operation, Some(1));
        has(&refused(&sail, HOME, &create("lost")), &[message]);
    }
    // The last one was carried out.
    assert_eq!(sail.names(HOME, "snapshots"), ["lost"]);
    sail.fail(Fault::Nothing, operation, Some(1));
    snapshot(&sail, "promised");
    sail.fail(Fault::SnapshotError, None, Some(1));
    let failed = snapshot(&sail, "failed");
    assert_eq!(status_of(&sail, HOME, &failed), "Failed");
    assert_eq!(sail.names(HOME, "snapshots"), ["lost", "failed"]);
    sail.fail(Fault::Vanish, None, None);
    snapshot(&sail, "last");
    sail.reset();
    assert_eq!(sail.names(HOME, "instances"), [""; 0]);
    let state = sail.state();
    let states: Vec<_> = state["regions"][HOME]["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|snapshot| &snapshot["state"])
        .collect();
    assert_eq!(states, ["available", "error", "error"]);
}

#[test]
fn the_rest_of_what_a_restore_asks_for_is_served() {
    let sail = Lightsail::start();
    sail.make_instance(HOME, "web");
    sail.make_auto_snapshot(HOME, "web", "2026-01-01");
    sail.make_auto_snapshot(HOME, "web", "2026-01-02");
    let taken = aws(
        &sail,
        HOME,
        &["get-auto-snapshots", "--resource-name", "web"],
    );
    assert_eq!(taken["autoSnapshots"][0]["date"], "2026-01-02");
    let copy = [
        "copy-snapshot",
        "--source-region",
        HOME,
        "--source-resource-name",
        "web",
    ];
    let as_kept = [
        "--target-snapshot-name",
        "kept",
        "--restore-date",
        "2026-01-01",
    ];
    aws(&sail, AWAY, &[&copy[..], &as_kept[..]].concat());
    let get = ["get-instance-snapshot", "--instance-snapshot-name", "kept"];
    let kept = aws(&sail, AWAY, &get);
    assert_eq!(kept["instanceSnapshot"]["isFromAutoSnapshot"], true);

    let ports = "fromPort=443,toPort=443,protocol=tcp,cidrs=192.0.2.0/24";
    let put = [
        "put-instance-public-ports",
        "--instance-name",
        "web",
        "--port-infos",
        ports,
    ];
    aws(&sail, HOME, &put);
    let get = ["get-instance-port-states", "--instance-name", "web"];
    let states = aws(&sail, HOME, &get);
    assert_eq!(states["portStates"].as_array().unwrap().len(), 1);
    assert_eq!(states["portStates"][0]["cidrs"][0], "192.0.2.0/24");
    let tag = [
        "tag-resource",
        "--resource-name",
        "web",
        "--tags",
        "key=kept,value=yes",
    ];
    aws(&sail, HOME, &tag);
    let listed = aws(&sail, HOME, &["get-instances"]);
    assert_eq!(listed["instances"][0]["tags"][0]["key"], "kept");

    // The second page fails, and the first does not.
    sail.page(5);
    sail.fail_after(1, Fault::Throttle, Some("GetBundles"), Some(1));
    has(
        &refused(&sail, HOME, &["get-bundles"]),
        &["(ThrottlingException)"],
    );
    let bundles = aws(&sail, HOME, &["get-bundles"]);
    assert_eq!(bundles["bundles"].as_array().unwrap().len(), 11);
    let zones = ["get-regions", "--include-availability-zones"];
    let regions = aws(&sail, HOME, &zones);
    let first = &regions["regions"][0]["availabilityZones"][0]["zoneName"];
    assert_eq!(first, "us-east-1a");
    sail.forget(HOME, "web");
    assert_eq!(sail.names(HOME, "instances"), [""; 0]);
}

#[test]
fn the_host_key_of_an_instance_is_told() {
    let sail = Lightsail::start();
    sail.make_instance(HOME, "web");
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("web.pub");
    std::fs::write(&keys, "ssh-ed25519 AAAAC3Nz root@web\n").unwrap();
    let path = directory.path().join("{instance}.pub");
    sail.host_keys(&path.display().to_string());
    let asked = ["get-instance-access-details", "--instance-name", "web"];
    let told = aws(&sail, HOME, &asked);
    let key = &told["accessDetails"]["hostKeys"][0];
    assert_eq!(key["algorithm"], "ssh-ed25519");
    assert_eq!(key["publicKey"], "AAAAC3Nz");
}
