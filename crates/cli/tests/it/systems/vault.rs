//! The vault: an export and a database, from a job of CI that holds no key and cannot read what it stores.

use super::workflow::Workflow;
use super::{Host, System, hours, keys};
use lifeboat_testkit::aws::{JOB_BEARER, JobTokens};
use lifeboat_testkit::channels::ChannelServer;
use lifeboat_testkit::postgres::{Authority, PostgresServer};
use lifeboat_testkit::s3::{MotoServer, tool};
use std::process::Command;

const SCHEMA: &str = "
    create table accounts (id integer primary key, name text not null, since timestamptz default '2026-01-01');
    create table alembic_version (version_num text primary key);
    insert into accounts (id, name) select i, 'account ' || i from generate_series(1, 2000) i;
    insert into alembic_version values ('4b7d09');
    create role backup login password 'of-the-backup';
    grant pg_read_all_data to backup;";

/// The manager's command line: it exports for whoever has the token.
const INFISICAL: &str = r#"#!/bin/sh
[ "$*" = "export --env=prod --format=json" ] || { echo "unknown arguments: $*" >&2; exit 2; }
[ "$INFISICAL_TOKEN" = "$(cat /fixture/token)" ] || { echo "401: the token $INFISICAL_TOKEN is not valid" >&2; exit 1; }
cat /fixture/secrets.json
"#;

/// The job's role.
const ROLE: &str = "arn:aws:iam::123456789012:role/vault-backup";

const SECRETS: &str = r#"[{"key": "STRIPE_KEY", "value": "sk_live_of-the-vault"}, {"key": "DATABASE_PASSWORD", "value": "of-the-database"}]"#;

/// What the world around the runner has.
struct World {
    postgres: PostgresServer,
    s3: MotoServer,
    chat: ChannelServer,
    tokens: JobTokens,
    authority: Authority,
}

impl World {
    fn new() -> World {
        let authority = Authority::default();
        let postgres = PostgresServer::start_with_tls(&authority, "db.example.org");
        postgres.create_database("app");
        postgres.create_database("look");
        postgres.psql("app", SCHEMA);
        let s3 = MotoServer::start();
        for bucket in ["iac-state", "app-backups"] {
            s3.create_bucket(bucket);
        }
        let state = b"{\"version\": 4, \"serial\": 7}";
        let put = s3.request("PUT", "/iac-state/prod/terraform.tfstate", &[], state);
        assert_eq!(put.status, 200);
        World {
            postgres,
            s3,
            chat: ChannelServer::start(),
            tokens: JobTokens::start(),
            authority,
        }
    }

    fn url(&self, user: &str, password: &str, database: &str) -> String {
        format!(
            "postgres://{user}:{password}@db.example.org:{}/{database}?sslmode=verify-full&sslrootcert=/etc/lifeboat/db-ca.pem",
            self.postgres.port()
        )
    }

    /// Puts a parameter into the store of parameters.
    fn parameter(&self, name: &str, value: &str) {
        let keys = (self.s3.access_key.clone(), self.s3.secret_key.clone());
        let name = format!("/vault-backup/{name}");
        let put = ["ssm", "put-parameter", "--type", "SecureString"];
        self.aws(
            &keys,
            &[&put[..], &["--name", &name, "--value", value]].concat(),
        );
    }

    fn aws(&self, (access, secret): &(String, String), args: &[&str]) {
        let ended = Command::new(tool("venv/bin/aws"))
            .args(args)
            .env("AWS_ENDPOINT_URL", self.s3.endpoint())
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", access)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .output()
            .unwrap();
        assert!(ended.status.success(), "{ended:?}");
    }

    /// Lets the job do what its policy says and the people everything, and nobody else anything. The keys
    /// of the people.
    fn enforce(&self, policy: &str) -> (String, String) {
        self.s3.create_role("vault-backup", policy);
        let everything = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
        self.s3.enforce(everything)
    }

    /// What every machine needs to reach it.
    fn reach(&self, host: &mut Host) {
        host.sh("echo '127.0.0.1 db.example.org' >> /etc/hosts");
        let certificate = std::fs::read(self.authority.certificate()).unwrap();
        host.write("/etc/lifeboat/db-ca.pem", certificate);
        host.env("AWS_REGION", "us-east-1");
        host.env("AWS_ENDPOINT_URL", &self.s3.endpoint());
        host.env("AWS_EC2_METADATA_DISABLED", "true");
    }
}

/// The people's agent asks this program instead of a person.
const PINENTRY: &str = r#"#!/bin/sh
echo "OK"
while read -r line; do
  case "$line" in
    GETPIN*) echo "D passphrase of the operators"; echo OK ;;
    *) echo OK ;;
  esac
done
"#;

/// A machine of CI in a job that may ask for a token.
fn job(world: &World, name: &str) -> Host {
    let mut host = Host::new(name);
    world.reach(&mut host);
    host.env("GITHUB_ACTIONS", "true");
    host.env("AWS_ROLE_ARN", ROLE);
    host.env("ACTIONS_ID_TOKEN_REQUEST_URL", &world.tokens.url());
    host.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", JOB_BEARER);
    host.program("infisical", INFISICAL);
    host.write("/fixture/token", "st.of-the-vault");
    host.write("/fixture/secrets.json", SECRETS);
    host
}

/// The machine of the people, who have the key.
fn people(world: &World, vault: &System) -> Host {
    let mut host = Host::new("people");
    world.reach(&mut host);
    host.write("/etc/lifeboat/lifeboat.toml", vault.here(&vault.example()));
    host.write("/root/look.url", world.postgres.url("look"));
    host.program("pinentry", PINENTRY);
    host.write(
        "/root/.gnupg/gpg-agent.conf",
        "pinentry-program /fixture/bin/pinentry\n",
    );
    host.sh("chmod 700 /root/.gnupg; chmod 600 /root/look.url");
    host
}

#[test]
fn the_vault_is_protected_as_its_page_says() {
    if super::host::is_impossible() {
        return;
    }
    let world = World::new();
    let mut vault = System::on(job(&world, "vault"), "vault");
    for bucket in ["iac-state", "app-backups"] {
        let shown = format!("bucket = \"{bucket}\"");
        let real = format!("{shown}\nendpoint = \"{}\"", world.s3.endpoint());
        vault.stand_in(&shown, &real);
    }
    let channel = "channel = \"D0123456789\"";
    let api = format!("{channel}\napi = \"{}\"", world.chat.url());
    vault.stand_in(channel, &api);
    let port = world.postgres.port();
    vault.show_as("db.example.org:5432", &format!("db.example.org:{port}"));
    vault.show_as("https://s3.us-east-1.amazonaws.com", &world.s3.endpoint());
    vault.show_as("127.0.0.1:5432", &format!("127.0.0.1:{port}"));
    vault.show_as("/usr/bin/infisical", "/fixture/bin/infisical");
    vault.install();
    let runner = &vault.host;
    let signing = runner
        .sh("ssh-keygen -q -t ed25519 -N '' -C vault -f signing && cat signing && rm signing");
    world.parameter("signing-key", &signing);
    world.parameter("infisical-token", "st.of-the-vault");
    let url = world.url("backup", "of-the-backup", "app");
    world.parameter("database-url", &url);
    world.parameter("slack-token", &world.chat.secrets().slack);
    let people = people(&world, &vault);

    let mut keys_of_people = (String::new(), String::new());
    vault.follow(&people, |command| match command {
        "lifeboat posture" => {
            keys_of_people = world.enforce(&people.read("/root/job.json"));
            let (access, secret) = &keys_of_people;
            let keys = format!("aws_access_key_id = {access}\naws_secret_access_key = {secret}");
            people.write("/root/.aws/credentials", format!("[default]\n{keys}\n"));
        }
        "lifeboat posture --quiet" => {
            let rules = people.path("/root/lifecycle.json");
            let rules = format!("file://{}", rules.display());
            let put = ["s3api", "put-bucket-lifecycle-configuration"];
            for bucket in ["iac-state", "app-backups"] {
                let of = ["--bucket", bucket, "--lifecycle-configuration", &rules];
                world.aws(&keys_of_people, &[&put[..], &of].concat());
            }
        }
        "lifeboat doctor" => {
            let key = people.read("/etc/lifeboat/ops.asc");
            runner.write("/etc/lifeboat/ops.asc", key);
        }
        "lifeboat backup export" => {
            world.chat.take();
            runner.write("/fixture/token", "another");
        }
        _ => {}
    });
    assert!(world.tokens.given() > 3);
    is_told(&world);
    runner.write("/fixture/token", "st.of-the-vault");
    the_workflow_passes(&world, &vault);
    refuses_what_is_not_right(&world, &vault);
    // The last backups were good ones.
    world.chat.take();
    vault.host.sh("lifeboat run");
    let told = format!("{:?}", world.chat.take());
    assert!(told.contains("[recovered] vault/production"), "{told}");
    world.s3.relax();
    nothing_is_in_clear(&world);
    hours::live(&vault);
}

/// The chat heard why, and no secret.
fn is_told(world: &World) {
    let told = world.chat.take();
    let texts: Vec<String> = told.iter().map(|seen| format!("{seen:?}")).collect();
    let texts = texts.join("\n");
    assert!(
        texts.contains("infisical ended with exit status 1"),
        "{texts}"
    );
    assert!(texts.contains("D0123456789"), "{texts}");
    assert!(!texts.contains("st.of-the-vault"), "{texts}");
}

/// What is not right is not spoken to, and leaves no point.
fn refuses_what_is_not_right(world: &World, vault: &System) {
    let points = |args: &str| vault.json(0, args)["points"].as_array().unwrap().len();
    let before = points("points");
    let refused = |plan: &str, names: &str| {
        let output = vault.host.run(&format!("lifeboat backup {plan}"));
        assert_eq!(output.code, 1, "{output}");
        assert!(output.stderr.contains(names), "{output}");
        assert!(output.stderr.contains("hint: "), "{output}");
    };
    world
        .postgres
        .show_certificate(&world.authority, "other.example.org");
    refused("app", "does not match host name \"db.example.org\"");
    let stranger = Authority::default();
    world.postgres.show_certificate(&stranger, "db.example.org");
    refused("app", "certificate verify failed");
    world
        .postgres
        .show_certificate(&world.authority, "db.example.org");
    // An identity that lost its rights exports nothing, and succeeds.
    vault.host.write("/fixture/secrets.json", "[]\n");
    refused("export", "printed 3 bytes, fewer than min_bytes = 64");
    vault.host.write("/fixture/secrets.json", SECRETS);
    assert_eq!(points("points"), before);
    vault
        .host
        .sh("lifeboat backup app && lifeboat backup export");
    assert_eq!(points("points"), before + 2);
}

/// The steps of the workflow, on a machine that has never run one.
fn the_workflow_passes(world: &World, vault: &System) {
    let workflow = Workflow::read("vault");
    assert!(
        !workflow.text.contains("secrets."),
        "it needs no secret of the CI"
    );
    let schedule = format!("schedule = \"{}\"", workflow.cron());
    assert_eq!(vault.example().matches(&schedule).count(), 2);
    assert_eq!(workflow.job()["permissions"]["id-token"], "write");
    assert_eq!(workflow.job()["env"]["AWS_ROLE_ARN"], ROLE);
    workflow.passes(vault, &job(world, "job"), &["ops.asc", "db-ca.pem"]);
}

/// Nothing that was stored is in clear, and what was there before is as it was.
fn nothing_is_in_clear(world: &World) {
    let mut seen = Vec::new();
    for bucket in ["iac-state", "app-backups"] {
        for key in keys(&world.s3, bucket) {
            let path = format!("/{bucket}/{key}");
            let body = world.s3.request("GET", &path, &[], b"").text();
            let is_clear = body.contains("of-the-vault") || body.contains("account 17");
            assert!(!is_clear, "{key} is in clear");
            seen.push(path);
        }
    }
    let has = |start: &str, end: &str| {
        let found = seen
            .iter()
            .any(|key| key.starts_with(start) && key.ends_with(end));
        assert!(found, "{seen:#?}");
    };
    has("/iac-state/vault-exports/20", ".json.gpg");
    has("/app-backups/app-dumps/20", ".dump.gz.gpg");
    let state = world
        .s3
        .request("GET", "/iac-state/prod/terraform.tfstate", &[], b"");
    assert!(state.text().contains("\"serial\": 7"));
}
