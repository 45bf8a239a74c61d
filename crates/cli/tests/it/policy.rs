//! With the policy that is printed for a role its whole job passes, and without any one action of it
//! something fails that names the action.

use crate::support::{App, HEAD, Output, age_key};
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
prune_grace = "0s"
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

/// Holds the policy of a role against a server that enforces it. `before` is done by somebody who may do
/// everything; `idle` are actions that this job does not come to need.
fn holds(
    layout: &str,
    role: &str,
    idle: &[&str],
    before: &[&[&str]],
    job: &dyn Fn(&App) -> Output,
) {
    let mut ground = Ground::new(layout);
    ground.app.backup();
    let policy = ground.policy(role);
    let everything = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }] });
    let removed: Vec<String> = actions(&policy).into_iter().collect();
    let mut policies = vec![everything.to_string(), policy.to_string()];
    policies.extend(removed.iter().map(|action| without(&policy, action)));
    let users = ground.server.enforce_each(&policies);
    let prepare = |ground: &mut Ground| {
        ground.become_user(&users[0]);
        for args in before {
            ground.app.run(args);
        }
    };
    prepare(&mut ground);
    ground.become_user(&users[1]);
    let whole = job(&ground.app);
    assert_eq!(whole.code, 0, "{role} with its policy\n{whole}");
    whole.never_says(&["denied", "is needed"]);
    for (action, user) in removed.iter().zip(&users[2..]) {
        prepare(&mut ground);
        ground.become_user(user);
        let ended = job(&ground.app);
        let named = format!("{}{}", ended.stdout, ended.stderr).contains(action.as_str());
        match idle.contains(&action.as_str()) {
            true => assert!(!named, "{role} needs {action} after all\n{ended}"),
            false => assert!(named, "{role} without {action} does not name it\n{ended}"),
        }
    }
}

/// Changes the data, so that there is something to take.
fn touched(app: &App) {
    let now = std::time::SystemTime::now();
    app.write("data/more", format!("{now:?}").as_bytes());
}

#[test]
fn backup() {
    for layout in ["archive", "repository"] {
        // An upload that is ended early is tried elsewhere.
        holds(
            layout,
            "backup",
            &["s3:AbortMultipartUpload"],
            &[],
            &|app| {
                touched(app);
                app.run(&["backup"])
            },
        );
    }
}

#[test]
fn drill() {
    for layout in ["archive", "repository"] {
        holds(layout, "drill", &[], &[], &|app| app.run(&["drill"]));
    }
}

#[test]
fn restore() {
    for layout in ["archive", "repository"] {
        holds(layout, "restore", &[], &[], &|app| {
            let _ = std::fs::remove_dir_all(app.path("out"));
            app.run(&["restore", "latest", "--to", "out"])
        });
    }
}

#[test]
fn prune() {
    for layout in ["archive", "repository"] {
        let before: &[&[&str]] = &[&["backup"], &["backup"], &["prune"]];
        holds(layout, "prune", &[], before, &|app| app.run(&["prune"]));
    }
}

#[test]
fn posture() {
    holds("archive", "posture", &[], &[], &|app| app.run(&["posture"]));
}
