//! A bucket without keys in the configuration: they are found where the AWS tools find them.

use crate::support::{App, HEAD};
use lifeboat_testkit::aws::{CONTAINER_TOKEN, Gate, JOB_BEARER, JobTokens, Metadata};
use lifeboat_testkit::s3::MotoServer;

/// An application whose bucket has these settings, and no others for credentials.
fn application(endpoint: &str, settings: &str) -> App {
    let app = App::with("");
    app.configure(&format!(
        r#"{HEAD}
[source.big]
kind = "files"
paths = ["{{root}}/big"]

[store.cloud]
kind = "s3"
bucket = "bkt"
endpoint = "{endpoint}"
region = "eu-west-1"
compress = "none"
{settings}

[plan.main]
sources = ["big"]
stores = ["cloud"]
"#
    ));
    app.write("big/file", b"worth keeping");
    app
}

/// A host without a metadata service.
fn bare(app: &mut App) {
    app.env("AWS_EC2_METADATA_DISABLED", "true");
}

fn moto() -> MotoServer {
    let server = MotoServer::start();
    server.create_bucket("bkt");
    server
}

#[test]
fn the_environment_has_them() {
    let server = moto();
    let mut app = application(&server.endpoint(), "");
    bare(&mut app);
    app.env("AWS_ACCESS_KEY_ID", &server.access_key);
    app.env("AWS_SECRET_ACCESS_KEY", &server.secret_key);
    app.backup();
    app.env("AWS_ENDPOINT_URL_STS", server.endpoint());
    app.run(&["doctor"]).says(&[
        "its credentials are those of arn:aws:",
        "from the environment",
    ]);
    app.env("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1");
    app.run(&["doctor"]).says(&[
        "takes objects and gives them back",
        "it is not known whose its credentials from the environment are: STS: ",
    ]);
}

#[test]
fn profiles_have_them_or_name_a_role() {
    let server = moto();
    let mut app = application(&server.endpoint(), "profile = \"backup\"");
    bare(&mut app);
    app.env("AWS_ENDPOINT_URL_STS", server.endpoint());
    app.refuses(1, "store", &["backup"])
        .names(&["profile backup", "it is not in"])
        .advises(&["aws configure list-profiles"]);
    let (access, secret) = (&server.access_key, &server.secret_key);
    app.write(
        ".aws/credentials",
        format!("[base]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n")
            .as_bytes(),
    );
    app.write(
        ".aws/config",
        b"[profile backup]\nrole_arn = arn:aws:iam::123456789012:role/backup\nsource_profile = base\n",
    );
    app.backup();
    app.run(&["doctor"]).says(&[
        "assumed-role/backup/lifeboat",
        "account 123456789012",
        "profile base",
    ]);
}

#[test]
fn a_role_is_assumed_by_the_token_of_another_system() {
    let server = moto();
    let mut app = application(&server.endpoint(), "");
    bare(&mut app);
    app.env("AWS_ENDPOINT_URL_STS", server.endpoint());
    app.env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/runner");
    let token = app.path("token");
    app.env("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_string_lossy());
    app.refuses(1, "store", &["backup"])
        .names(&["the web identity token at", "cannot be read"])
        .advises(&["readable by the user that runs lifeboat"]);
    app.write("token", b"eyJ.eyJ.sig\n");
    app.backup();
    app.run(&["doctor"])
        .says(&["assumed-role/runner/lifeboat", "by web identity"]);
}

#[test]
fn a_role_is_assumed_by_the_token_of_a_ci_job() {
    let (server, tokens) = (moto(), JobTokens::start());
    let mut app = application(&server.endpoint(), "");
    bare(&mut app);
    app.env("AWS_ENDPOINT_URL_STS", server.endpoint());
    app.env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/runner");
    app.env("GITHUB_ACTIONS", "true");
    app.refuses(1, "store", &["backup"]).names(&[
        "no credentials were found",
        "`permissions: id-token: write`",
    ]);
    app.env("ACTIONS_ID_TOKEN_REQUEST_URL", tokens.url());
    app.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-another-job");
    app.refuses(1, "store", &["backup"])
        .names(&["the token service of the CI job: it answers with status 401"]);
    app.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", JOB_BEARER);
    app.backup();
    assert!(tokens.given() > 0);
    app.run(&["doctor"])
        .says(&["assumed-role/runner/lifeboat", "by web identity"]);
}

#[test]
fn the_container_and_the_instance_give_them() {
    let (server, metadata) = (moto(), Metadata::start(3600, 3600));
    let mut app = application(&server.endpoint(), "");
    bare(&mut app);
    let url = format!("{}/container", metadata.endpoint());
    app.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url);
    app.refuses(1, "store", &["backup"])
        .names(&["the container's credential service", "status 401"]);
    app.env("AWS_CONTAINER_AUTHORIZATION_TOKEN", CONTAINER_TOKEN);
    app.backup();
    assert!(metadata.issued.count() > 0);

    let before = metadata.issued.count();
    let mut app = application(&server.endpoint(), "");
    bare(&mut app);
    app.env("AWS_EC2_METADATA_DISABLED", "false");
    app.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.endpoint());
    app.backup();
    assert_eq!(metadata.issued.count(), before + 1, "one run asks once");
}

#[test]
fn where_there_are_none_each_place_that_was_looked_at_is_told() {
    let server = moto();
    let mut app = application(&server.endpoint(), "");
    bare(&mut app);
    app.refuses(1, "store", &["backup"])
        .names(&[
            "no credentials were found",
            "AWS_ACCESS_KEY_ID is not set",
            "no profile default",
        ])
        .advises(&["set access_key and secret_key, or profile"]);
    // It takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    app.env("AWS_EC2_METADATA_DISABLED", "false");
    app.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", url);
    let began = std::time::Instant::now();
    app.refuses(1, "store", &["backup"])
        .names(&["the instance's metadata service", "did not answer"]);
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
}

/// Three hundred megabytes at ten a second, with keys that last fifteen seconds; some are refused before
/// the time that was told.
#[test]
fn keys_that_expire_during_an_upload_do_not_break_it() {
    let (server, metadata) = (moto(), Metadata::start(15, 9));
    let gate = Gate::start(server.address(), metadata.issued.clone(), 10 << 20);
    let mut app = application(&gate.endpoint(), "stall_timeout = \"2m\"");
    bare(&mut app);
    app.env("AWS_EC2_METADATA_DISABLED", "false");
    app.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.endpoint());
    let bytes = crate::support::noise(300 << 20, 7);
    app.write("big/file", &bytes);
    app.backup();
    assert!(metadata.issued.count() > 2, "{}", metadata.issued.count());
    assert!(gate.refused() > 0);
    app.ok(&["verify", "--all"]);
}

#[test]
fn contradictions_are_refused() {
    for (settings, says) in [
        ("access_key = \"env:A\"", "access_key is given without it"),
        (
            "session_token = \"env:A\"",
            "it belongs to keys that are not given",
        ),
        (
            "profile = \"x\"\naccess_key = \"env:A\"\nsecret_key = \"env:B\"",
            "it is given beside keys",
        ),
        ("external_id = \"x\"", "nothing uses it"),
        ("role_arn = \"backup\"", "this is not the name of a role"),
    ] {
        let app = application("http://127.0.0.1:1", settings);
        app.exits(2, &["config", "check"]).says(&[says]);
    }
}
