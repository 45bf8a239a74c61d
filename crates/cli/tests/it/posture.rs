//! Buckets that are not what they should be, held against a real server.

use crate::support::{App, HEAD};
use lifeboat_testkit::s3::{MotoServer, tool};
use std::process::Command;

struct Ground {
    app: App,
    server: MotoServer,
}

/// An application with a store in the bucket `bkt`, and these settings of the store and beside it.
fn ground(store: &str, beside: &str, keep: &str) -> Ground {
    let server = MotoServer::start();
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
{store}

[plan.main]
sources = ["data"]
stores = ["offsite"]
{keep}

{beside}
"#,
        endpoint = server.endpoint()
    ));
    app.write("data/file", b"worth keeping");
    app.env("KEY", &server.access_key);
    app.env("SECRET", &server.secret_key);
    Ground { app, server }
}

impl Ground {
    /// Runs the AWS command line.
    fn aws(&self, args: &[&str]) -> String {
        let ended = Command::new(tool("venv/bin/aws"))
            .args(args)
            .env("AWS_ENDPOINT_URL", self.server.endpoint())
            .env("AWS_ACCESS_KEY_ID", &self.server.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &self.server.secret_key)
            .env("AWS_REGION", "us-east-1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{args:?}: {said}");
        String::from_utf8(ended.stdout).unwrap()
    }

    fn api(&self, operation: &str, bucket: &str, more: &[&str]) -> String {
        let args = ["s3api", operation, "--bucket", bucket];
        self.aws(&[&args[..], more].concat())
    }
}

#[test]
fn what_is_wrong_is_told_mended_and_read_back() {
    let ground = ground("require = [\"versioning\", \"encryption\"]", "", "");
    ground.server.create_bucket("bkt");
    let app = &ground.app;
    app.exits(1, &["posture"]).says(&[
        "store.offsite.versioning: it keeps no versions",
        "lifeboat posture --fix offsite",
        "store.offsite.public-access-block: no public access is blocked",
    ]);
    let planned = app.exits(7, &["posture", "--fix", "offsite"]);
    planned.says(&["would be set: PutBucketVersioning Status=Enabled (s3:PutBucketVersioning)"]);
    let versioning = || ground.api("get-bucket-versioning", "bkt", &[]);
    assert!(!versioning().contains("Enabled"));
    let made = app.ok(&["posture", "--fix", "offsite", "--yes"]);
    made.says(&[
        "set and read back: PutBucketVersioning",
        "set and read back: PutPublicAccessBlock",
    ]);
    assert!(versioning().contains("Enabled"));
    app.ok(&["posture"]).says(&[
        "it keeps versions",
        "all public access is blocked",
        "the server encrypts with AES256",
    ]);
    app.ok(&["posture", "--fix", "offsite"])
        .says(&["nothing is wrong that can be set"]);
    app.refuses(2, "usage", &["posture", "other"])
        .names(&["no bucket named other"]);
}

#[test]
fn a_rule_that_deletes_what_is_kept_is_an_error_that_names_the_point() {
    let ground = ground("prefix = \"crm\"", "", "keep = { daily = 30 }");
    ground.server.create_bucket("bkt");
    let app = &ground.app;
    let point = app.backup();
    let rule = |days: u32, prefix: &str| {
        let rules = format!(
            r#"{{"Rules": [{{"ID": "tidy", "Status": "Enabled", "Filter": {{"Prefix": "{prefix}"}}, "Expiration": {{"Days": {days}}}}}]}}"#
        );
        let more = ["--lifecycle-configuration", &rules];
        ground.api("put-bucket-lifecycle-configuration", "bkt", &more);
    };
    rule(20, "crm/crm/");
    let told = app.exits(1, &["posture"]);
    told.says(&[
        "store.offsite.lifecycle.tidy",
        "lifecycle rule tidy, about \"crm/crm/\", deletes",
        &point,
    ]);
    rule(40, "crm/crm/");
    app.ok(&["posture"])
        .says(&["no lifecycle rule takes what is still needed"]);
    // Records of evidence are kept for good.
    rule(4000, "");
    app.exits(1, &["posture"])
        .says(&["deletes records of evidence (crm/lifeboat/evidence/)"]);
    rule(1, "others/");
    app.ok(&["posture"]);
    // The doctor says the same.
    rule(20, "");
    app.exits(1, &["doctor"])
        .says(&["store.offsite.lifecycle.tidy"]);
}

#[test]
fn strangers_and_missing_buckets_are_found_in_any_bucket() {
    let ground = ground(
        "",
        "[posture.state]\nkind = \"bucket\"\nbucket = \"tf-state\"\nrequire = [\"versioning\", \"tls-only\"]\naccess_key = \"env:KEY\"\nsecret_key = \"env:SECRET\"\nendpoint = \"ENDPOINT\"\n",
        "",
    );
    let app = &ground.app;
    app.edit("ENDPOINT", &ground.server.endpoint());
    ground.server.create_bucket("bkt");
    app.exits(1, &["posture", "state"])
        .says(&["posture.state.settings: its settings cannot be looked at"]);
    ground.server.create_bucket("tf-state");
    app.exits(1, &["posture", "state"]).says(&[
        "posture.state.versioning: it keeps no versions",
        "posture.state.tls-only: its policy does not refuse what comes without TLS",
    ]);
    app.ok(&["posture", "--fix", "state", "--yes"]);
    let policy = r#"{"Version": "2012-10-17", "Statement": [
        {"Sid": "Tls", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::tf-state/*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        {"Sid": "Site", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::tf-state/*"}]}"#;
    ground.api("put-bucket-policy", "tf-state", &["--policy", policy]);
    app.exits(1, &["posture", "state"]).says(&[
        "its policy lets strangers in: statement \"Site\"",
        "its policy refuses what comes without TLS",
    ]);
    ground.api("delete-bucket-policy", "tf-state", &[]);
    ground.api("delete-public-access-block", "tf-state", &[]);
    ground.api("put-bucket-acl", "tf-state", &["--acl", "public-read"]);
    app.exits(1, &["posture", "state"])
        .says(&["its access control list gives everybody READ"]);
}

#[test]
fn a_missing_bucket_is_made_private_versioned_and_encrypted() {
    let ground = ground("create = true", "", "");
    let app = &ground.app;
    app.backup();
    app.ok(&["posture"]).says(&[
        "it keeps versions",
        "all public access is blocked",
        "the server encrypts",
    ]);
    // It is made once.
    ground.api(
        "put-bucket-versioning",
        "bkt",
        &["--versioning-configuration", "Status=Suspended"],
    );
    app.backup();
    app.ok(&["posture"]).says(&["it keeps no versions"]);
    app.edit("create = true", "");
    app.edit("bucket = \"bkt\"", "bucket = \"other\"");
    app.refuses(1, "store", &["backup"]).advises(&["create"]);
}

#[test]
fn what_credentials_can_destroy_is_found_by_trying() {
    let ground = ground("require = [\"undeletable\"]", "", "");
    ground.server.create_bucket("bkt");
    let app = &ground.app;
    let held = || ground.api("list-object-versions", "bkt", &[]);
    app.exits(1, &["posture"])
        .says(&["these credentials can overwrite for good, which was tried"]);
    assert!(!held().contains("canary"));
    ground.api(
        "put-bucket-versioning",
        "bkt",
        &["--versioning-configuration", "Status=Enabled"],
    );
    app.exits(1, &["posture"])
        .says(&["these credentials can delete versions, which was tried"]);
    assert!(!held().contains("canary"), "{}", held());
    // A bucket that locks what is put: nobody can delete it.
    let locked = r#"{"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}}"#;
    ground.api(
        "create-bucket",
        "locked",
        &["--object-lock-enabled-for-bucket"],
    );
    ground.api(
        "put-object-lock-configuration",
        "locked",
        &["--object-lock-configuration", locked],
    );
    app.edit(
        "bucket = \"bkt\"",
        "bucket = \"locked\"\nobject_lock = { mode = \"compliance\", for = \"5d\" }",
    );
    for _ in 0..2 {
        app.ok(&["posture"]).says(&[
            "could not destroy what they had put, which was tried",
            "lifeboat/canary is left there",
            "locks objects by itself, in compliance mode for 1 days",
        ]);
    }
    assert_eq!(
        ground
            .api("list-object-versions", "locked", &[])
            .matches("\"Key\": \"lifeboat/canary\"")
            .count(),
        2
    );
}

#[test]
fn a_runner_tells_what_is_wrong_and_that_it_is_over() {
    let ground = ground(
        "require = [\"versioning\"]",
        "[notify.ops]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"cat >> {root}/told; echo >> {root}/told\"]\n",
        "schedule = \"7 * * * *\"",
    );
    ground.server.create_bucket("bkt");
    let app = &ground.app;
    app.edit(
        "{root}/told; echo",
        &format!("{}/told; echo", app.root().display()),
    );
    app.edit("{root}/told", &format!("{}/told", app.root().display()));
    app.run(&["run"]);
    let alarms = app.run(&["alarms"]);
    alarms.says(&["store.offsite.versioning"]);
    app.ok(&["posture", "--fix", "offsite", "--yes"]);
    // Looking at it notes what is so now.
    app.ok(&["posture"]);
    app.run(&["run"]);
    app.run(&["alarms"])
        .never_says(&["store.offsite.versioning"]);
}
