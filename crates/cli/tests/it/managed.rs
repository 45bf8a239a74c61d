//! Secrets from their managers: a parameter of the Systems Manager, the Secrets Manager, and Vault.

use crate::support::{App, HEAD, run};
use lifeboat_testkit::s3::{MotoServer, tool};
use lifeboat_testkit::vault::{APP_ROLE, POD_ROLE, ROOT, Vault};
use std::process::Command;

/// An application whose source prints a secret from here.
fn application(reference: &str) -> App {
    let app = App::with("");
    app.configure(&format!(
        r#"{HEAD}
[source.export]
kind = "command"
command = ["sh", "-c", "printf %s \"$TOKEN\" | base64"]
env = {{ TOKEN = "{reference}" }}

[store.here]
kind = "local"
path = "{{root}}/store"
compress = "none"

[plan.main]
sources = ["export"]
stores = ["here"]
"#
    ));
    app
}

/// What the source saw.
fn exported(app: &App) -> String {
    let point = app.backup();
    app.ok(&["restore", &point, "--to", "out"]);
    let files = app.listing("out");
    let print = format!(
        "cat '{}' | base64 -d",
        app.path("out").join(files.last().unwrap()).display()
    );
    let printed = run(Command::new("sh").args(["-c", &print]));
    std::fs::remove_dir_all(app.path("out")).unwrap();
    printed.stdout
}

fn aws(server: &MotoServer, args: &[&str]) {
    let ended = Command::new(tool("venv/bin/aws"))
        .args(args)
        .env("AWS_ENDPOINT_URL", server.endpoint())
        .env("AWS_ACCESS_KEY_ID", &server.access_key)
        .env("AWS_SECRET_ACCESS_KEY", &server.secret_key)
        .output()
        .unwrap();
    assert!(ended.status.success(), "{ended:?}");
}

fn with_keys(app: &mut App, server: &MotoServer) {
    app.env("AWS_ENDPOINT_URL", server.endpoint());
    app.env("AWS_ACCESS_KEY_ID", &server.access_key);
    app.env("AWS_SECRET_ACCESS_KEY", &server.secret_key);
}

#[test]
fn amazon_keeps_them() {
    let server = MotoServer::start();
    let region = ["--region", "eu-west-1"];
    let aws = |args: &[&str]| aws(&server, &[args, &region].concat());
    aws(&[
        "ssm",
        "put-parameter",
        "--type",
        "SecureString",
        "--name",
        "/crm/db",
        "--value",
        "p\u{e4}ss word",
    ]);
    aws(&[
        "secretsmanager",
        "create-secret",
        "--name",
        "crm/db",
        "--secret-string",
        r#"{"password": "s3cret", "port": 5432, "more": {}}"#,
    ]);
    aws(&[
        "secretsmanager",
        "create-secret",
        "--name",
        "crm/raw",
        "--secret-string",
        "as it is",
    ]);

    let mut app = application("ssm:/crm/db");
    app.refuses(2, "secret", &["backup"])
        .names(&["the region of ssm:/crm/db is not known"]);
    app.write(".aws/config", b"[default]\nregion = eu-west-1\n");
    app.env("AWS_EC2_METADATA_DISABLED", "true");
    app.refuses(2, "secret", &["backup"])
        .because(&["no credentials were found"]);
    with_keys(&mut app, &server);
    assert_eq!(exported(&app), "p\u{e4}ss word");
    app.edit("ssm:/crm/db", "secretsmanager:crm/raw");
    assert_eq!(exported(&app), "as it is");
    app.edit("crm/raw", "crm/db#password");
    assert_eq!(exported(&app), "s3cret");
    app.edit("#password", "#port");
    assert_eq!(exported(&app), "5432");

    app.edit("#port", "#more");
    app.refuses(2, "secret", &["backup"]).names(&["not a text"]);
    app.edit("#more", "#user");
    app.refuses(2, "secret", &["backup"])
        .names(&["secretsmanager:crm/db has no field user"])
        .because(&["password", "port"]);
    app.edit("crm/db#user", "crm/raw#user");
    app.refuses(2, "secret", &["backup"])
        .names(&["not a JSON object"]);
    app.edit("crm/raw#user", "crm/none");
    app.refuses(2, "secret", &["backup"])
        .names(&["there is no secret at secretsmanager:crm/none in eu-west-1"])
        .advises(&["aws secretsmanager create-secret"]);
    app.edit("secretsmanager:crm/none", "ssm:/crm/none");
    app.refuses(2, "secret", &["backup"])
        .advises(&["aws ssm put-parameter"]);
    // The region is that of the ARN.
    app.edit(
        "ssm:/crm/none",
        "ssm:arn:aws:ssm:us-west-2:123456789012:parameter/crm/db",
    );
    app.refuses(2, "secret", &["backup"])
        .names(&["in us-west-2"]);
    app.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    app.refuses(1, "secret-unreachable", &["backup"])
        .because(&["cannot be reached"]);
}

/// The stub does what the client for Python expects of a Vault.
#[test]
fn the_stub_of_vault_satisfies_its_client() {
    let vault = Vault::start();
    let script = r#"
import hvac, sys
url, root, role, secret, pod, jwt = sys.argv[1:]
client = hvac.Client(url=url, token=root)
kv = client.secrets.kv.v2
kv.create_or_update_secret(path="crm/db", secret={"password": "s3cret"})
assert kv.read_secret_version(path="crm/db", raise_on_deleted_version=True)["data"]["data"] == {"password": "s3cret"}
client.secrets.kv.v1.create_or_update_secret(path="crm", secret={"password": "0ld"}, mount_point="old")
assert client.secrets.kv.v1.read_secret(path="crm", mount_point="old")["data"]["password"] == "0ld"
kv.create_or_update_secret(path="gone", secret={"password": "s3cret"})
kv.delete_latest_version_of_secret(path="gone")
for path in ["gone", "never"]:
    try:
        kv.read_secret_version(path=path, raise_on_deleted_version=True)
        sys.exit("it is there")
    except hvac.exceptions.InvalidPath:
        pass
kv.create_or_update_secret(path="closed/it", secret={"password": "s3cret"})
client.auth.approle.login(role_id=role, secret_id=secret)
kv.read_secret_version(path="crm/db", raise_on_deleted_version=True)
try:
    kv.read_secret_version(path="closed/it", raise_on_deleted_version=True)
    sys.exit("it is open")
except hvac.exceptions.Forbidden:
    pass
client.auth.kubernetes.login(role=pod, jwt=jwt)
try:
    client.auth.approle.login(role_id=role, secret_id="another")
    sys.exit("it is let in")
except hvac.exceptions.InvalidRequest:
    pass
"#;
    let (role, secret) = APP_ROLE;
    let (pod, token) = POD_ROLE;
    let ended = Command::new(tool("venv/bin/python"))
        .args([
            "-c",
            script,
            &vault.endpoint(),
            ROOT,
            role,
            secret,
            pod,
            token,
        ])
        .output()
        .unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

/// Puts a secret, as the operator.
fn put(vault: &Vault, path: &str, data: &str) {
    let url = format!("{}/v1/{path}", vault.endpoint());
    let ended = Command::new("curl")
        .args([
            "--fail",
            "--silent",
            "--show-error",
            "--output",
            "/dev/null",
        ])
        .args([
            "--header",
            "X-Vault-Request: true",
            "--header",
            &format!("X-Vault-Token: {ROOT}"),
        ])
        .args([
            "--request",
            if data.is_empty() { "DELETE" } else { "POST" },
            "--data",
            data,
            &url,
        ])
        .output()
        .unwrap();
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn vault_keeps_them() {
    let vault = Vault::start();
    put(
        &vault,
        "secret/data/crm/db",
        r#"{"data": {"password": "s3cret"}}"#,
    );
    put(&vault, "old/crm", r#"{"password": "0ld"}"#);
    let mut app = application("vault:secret/crm/db#password");
    app.env("VAULT_ADDR", vault.endpoint());
    app.refuses(2, "secret", &["backup"])
        .names(&["it is not known how to log in to Vault"])
        .advises(&["VAULT_TOKEN"]);
    app.private(".vault-token", format!("{ROOT}\n").as_bytes());
    assert_eq!(exported(&app), "s3cret");
    app.edit("vault:secret/crm/db", "vault:old/crm");
    assert_eq!(exported(&app), "0ld");
    app.edit("vault:old/crm", "vault:secret/crm/db");

    app.env("VAULT_ROLE_ID", APP_ROLE.0);
    app.env("VAULT_SECRET_ID", "another");
    app.refuses(2, "secret", &["backup"])
        .names(&["does not let the AppRole of VAULT_ROLE_ID in"])
        .because(&["invalid role or secret ID"]);
    app.env("VAULT_SECRET_ID", APP_ROLE.1);
    assert_eq!(exported(&app), "s3cret");
    app.env("VAULT_ROLE_ID", "");
    app.env("VAULT_KUBERNETES_ROLE", POD_ROLE.0);
    app.refuses(2, "secret", &["backup"])
        .names(&["serviceaccount/token cannot be read"]);
    let token = app.private("token", POD_ROLE.1.as_bytes());
    app.env("VAULT_KUBERNETES_TOKEN_FILE", token.to_string_lossy());
    assert_eq!(exported(&app), "s3cret");
    app.env("VAULT_TOKEN", "expired");
    app.refuses(2, "secret", &["backup"])
        .names(&["may not be read by the token from VAULT_TOKEN"])
        .advises(&["read on secret/data/crm/db"]);
    app.env("VAULT_TOKEN", ROOT);
    app.edit("#password", "#user");
    app.refuses(2, "secret", &["backup"])
        .names(&["no field user"])
        .because(&["it has password"]);
    app.edit("crm/db#user", "crm/never#user");
    app.refuses(2, "secret", &["backup"])
        .names(&["there is no secret at vault:secret/crm/never"])
        .advises(&["vault kv put -mount=secret crm/never user=-"]);
    put(
        &vault,
        "secret/data/crm/never",
        r#"{"data": {"user": "me"}}"#,
    );
    put(&vault, "secret/data/crm/never", "");
    app.refuses(2, "secret", &["backup"])
        .names(&["was deleted"])
        .advises(&["vault kv undelete -mount=secret -versions=1 crm/never"]);
    vault.seal();
    app.refuses(1, "secret-unreachable", &["backup"])
        .names(&["is sealed"]);
    app.env("VAULT_ADDR", "http://127.0.0.1:1");
    app.refuses(1, "secret-unreachable", &["backup"])
        .names(&["cannot be reached"]);
    app.env("VAULT_SKIP_VERIFY", "true");
    app.refuses(2, "secret", &["backup"])
        .names(&["VAULT_SKIP_VERIFY"]);
    app.edit("#user", "");
    app.refuses(2, "configuration", &["backup"]);
}

/// One login serves several secrets, and one that was revoked is renewed.
#[test]
fn a_login_to_vault_is_used_until_it_is_refused() {
    let vault = Vault::start();
    put(&vault, "secret/data/a", r#"{"data": {"key": "1"}}"#);
    let mut app = application("vault:secret/a#key");
    app.edit(
        "env = { TOKEN",
        "env = { OTHER = \"vault:secret/a#key\", TOKEN",
    );
    app.env("VAULT_ADDR", vault.endpoint());
    app.env("VAULT_ROLE_ID", APP_ROLE.0);
    app.env("VAULT_SECRET_ID", APP_ROLE.1);
    app.backup();
    assert_eq!(vault.logins(), 1);

    let revoke = format!(
        "curl -sf -X POST -H 'X-Vault-Request: true' -H 'X-Vault-Token: {ROOT}' {}/v1/sys/leases/revoke-prefix/auth/approle >&2 && echo done",
        vault.endpoint()
    );
    app.edit(
        "\"printf %s \\\"$TOKEN\\\" | base64\"",
        &format!("\"{revoke}\""),
    );
    app.edit(
        "[store.here]",
        "[source.later]\nkind = \"command\"\ncommand = [\"echo\"]\nenv = { TOKEN = \"vault:secret/a#key\" }\n\n[store.here]",
    );
    app.edit(
        "sources = [\"export\"]",
        "sources = [\"export\", \"later\"]",
    );
    app.backup();
    assert_eq!(vault.logins(), 3);
}
