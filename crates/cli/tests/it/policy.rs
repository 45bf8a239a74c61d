//! With the policy that is printed for a role its whole job passes, and without any one action of it
//! something fails that names the action.

use crate::support::{App, HEAD, Output, age_key, at};
use lifeboat_testkit::s3::MotoServer;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// An application with a bucket that keeps versions.
struct Ground {
    app: App,
    server: MotoServer,
}

impl Ground {
    fn new(layout: &str) -> Self {
        let server = MotoServer::start();
        server.create_bucket("bkt");
        let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        server.request("PUT", "/bkt?versioning", &[], on.as_bytes());
        let mut app = App::with("");
        let (public, private) = age_key();
        let sealing = match layout {
            "archive" => format!(
                "encrypt = {{ age = [\"{public}\"] }}\ndecrypt = {{ age = \"file:{{root}}/age.key\" }}"
            ),
            _ => "password = \"env:PASSWORD\"".to_owned(),
        };
        app.private("age.key", private.as_bytes());
        app.env("PASSWORD", "of the repository");
        app.env("SECRET", &server.secret_key);
        app.configure(&format!(
            r#"{HEAD}
[source.data]
kind = "files"
paths = ["{{root}}/data"]

[store.cloud]
kind = "s3"
bucket = "bkt"
prefix = "crm"
endpoint = "{}"
access_key = "env:KEY"
secret_key = "env:SECRET"
layout = "{layout}"
{sealing}

[plan.main]
sources = ["data"]
stores = ["cloud"]
keep = {{ last = 1 }}
keep_minimum = 1
prune_grace = "1h"
prune_limit = "100%"
"#,
            server.endpoint()
        ));
        app.env("KEY", &server.access_key);
        app.write("data/file", b"worth keeping");
        Ground { app, server }
    }

    fn policy(&self, role: &str) -> Value {
        serde_json::from_str(&self.app.ok(&["policy", "--role", role]).stdout).unwrap()
    }

    fn become_user(&mut self, (key, secret): &(String, String)) {
        self.app.env("KEY", key);
        self.app.env("SECRET", secret);
    }
}

/// The actions of a policy.
fn actions(policy: &Value) -> BTreeSet<String> {
    let statements = policy["Statement"].as_array().unwrap();
    let actions = statements
        .iter()
        .flat_map(|s| s["Action"].as_array().unwrap());
    actions
        .map(|action| action.as_str().unwrap().to_owned())
        .collect()
}

/// The policy without an action.
fn without(policy: &Value, action: &str) -> String {
    let mut policy = policy.clone();
    for statement in policy["Statement"].as_array_mut().unwrap() {
        statement["Action"]
            .as_array_mut()
            .unwrap()
            .retain(|known| known != action);
    }
    let statements = policy["Statement"].as_array_mut().unwrap();
    statements.retain(|statement| !statement["Action"].as_array().unwrap().is_empty());
    policy.to_string()
}

/// What a role does, and what of its policy it does not come to need.
struct Job<'a> {
    layout: &'a str,
    role: &'a str,
    idle: &'a [&'a str],
    /// Done by somebody who may do everything, before each time.
    before: &'a mut dyn FnMut(&App),
    job: &'a mut dyn FnMut(&App) -> Output,
}

/// Holds the policy of a role against a server that enforces it.
fn holds(job: Job<'_>) {
    let (role, layout) = (job.role, job.layout);
    let mut ground = Ground::new(layout);
    ground.app.backup();
    let policy = ground.policy(role);
    let everything = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }] });
    let removed: Vec<String> = actions(&policy).into_iter().collect();
    let mut policies = vec![everything.to_string(), policy.to_string()];
    policies.extend(removed.iter().map(|action| without(&policy, action)));
    let users = ground.server.enforce_each(&policies);
    ground.become_user(&users[0]);
    (job.before)(&ground.app);
    ground.become_user(&users[1]);
    let whole = (job.job)(&ground.app);
    assert_eq!(whole.code, 0, "{role} of {layout} with its policy\n{whole}");
    whole.never_says(&["denied", "is needed"]);
    for (action, user) in removed.iter().zip(&users[2..]) {
        ground.become_user(&users[0]);
        (job.before)(&ground.app);
        ground.become_user(user);
        let ended = (job.job)(&ground.app);
        let named = format!("{}{}", ended.stdout, ended.stderr).contains(action.as_str());
        match job.idle.contains(&action.as_str()) {
            true => assert!(
                !named,
                "{role} of {layout} needs {action} after all\n{ended}"
            ),
            false => assert!(
                named,
                "{role} of {layout} without {action} does not name it\n{ended}"
            ),
        }
    }
}

/// Changes the data, so that there is something to take.
fn touched(app: &App) {
    let now = std::time::SystemTime::now();
    app.write("data/more", format!("{now:?}").as_bytes());
}

/// Needed only where an upload is ended early.
const ABORT: &str = "s3:AbortMultipartUpload";
/// A lock of a repository that is not removed is found stale later, and nothing is said of it.
const UNLOCK: &str = "s3:DeleteObject";
/// Without it, what is under the key now is read, and compared all the same.
const VERSION: &str = "s3:GetObjectVersion";
/// Without it, each object is asked.
const LOCKS: &str = "s3:GetBucketObjectLockConfiguration";

#[test]
fn backup() {
    for (layout, idle) in [("archive", &[ABORT][..]), ("repository", &[ABORT, UNLOCK])] {
        holds(Job {
            layout,
            role: "backup",
            idle,
            before: &mut |_| (),
            job: &mut |app| {
                touched(app);
                app.run(&["backup"])
            },
        });
    }
}

#[test]
fn drill_and_restore() {
    for layout in ["archive", "repository"] {
        holds(Job {
            layout,
            role: "drill",
            idle: &[VERSION, UNLOCK],
            before: &mut |_| (),
            job: &mut |app| app.run(&["drill"]),
        });
        holds(Job {
            layout,
            role: "restore",
            idle: &[VERSION, UNLOCK],
            before: &mut |_| (),
            job: &mut |app| {
                let _ = std::fs::remove_dir_all(app.path("out"));
                app.run(&["restore", "latest", "--to", "out"])
            },
        });
    }
}

#[test]
fn prune() {
    // All that a manifest names with its version is deleted by it.
    for (layout, idle) in [
        ("archive", &[ABORT, LOCKS, UNLOCK][..]),
        ("repository", &[ABORT, LOCKS]),
    ] {
        // Days go by: a point is announced, and deleted the next time.
        let hours = std::cell::Cell::new(0);
        holds(Job {
            layout,
            role: "prune",
            idle,
            before: &mut |app| {
                hours.set(hours.get() + 30);
                let now = format!("+{}h", hours.get());
                touched(app);
                at(app, &now, &["backup"]);
                at(app, &now, &["prune"]);
            },
            job: &mut |app| at(app, &format!("+{}h", hours.get() + 2), &["prune"]),
        });
    }
}

#[test]
fn posture() {
    holds(Job {
        layout: "archive",
        role: "posture",
        // Only what came since is read.
        idle: &["s3:GetObject"],
        before: &mut |_| (),
        job: &mut |app| app.run(&["posture"]),
    });
}

/// Who backs up into archives can read no artifact, and destroy nothing.
#[test]
fn a_backup_reads_no_artifact_and_destroys_nothing() {
    let ground = Ground::new("archive");
    let policy = ground.policy("backup");
    let of = |action: &str| -> Vec<String> {
        let statements = policy["Statement"].as_array().unwrap().iter();
        let with = statements.filter(|s| s["Action"].as_array().unwrap().contains(&action.into()));
        let resources = with.flat_map(|s| s["Resource"].as_array().unwrap());
        resources
            .map(|resource| resource.as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(of("s3:GetObject"), ["arn:aws:s3:::bkt/crm/lifeboat/*"]);
    assert_eq!(of("s3:PutObject"), ["arn:aws:s3:::bkt/crm/*"]);
    assert_eq!(of("s3:DeleteObject"), [""; 0]);
    assert_eq!(of("s3:DeleteObjectVersion"), [""; 0]);
    let rules = ground.app.ok(&["policy", "--lifecycle", "cloud"]).stdout;
    let rules: Value = serde_json::from_str(&rules).unwrap();
    assert_eq!(rules["Rules"][0]["Filter"]["Prefix"], "crm/");
    ground
        .app
        .refuses(2, "usage", &["policy", "--role", "king"]);
}
