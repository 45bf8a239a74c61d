//! Where a machine without a configuration brings things back to: buckets, databases of other
//! servers; and stores that it opens with an OpenPGP key.

use crate::bucket::{Live, read};
use crate::cold::{Machine, point_and_signer, whole_round};
use crate::openpgp;
use crate::roundtrip::SOURCES;
use crate::support::{App, HEAD, Output};
use lifeboat_testkit::gpg::GpgHome;
use lifeboat_testkit::mariadb::{MariadbServer, MysqlServer, mysql_path};
use lifeboat_testkit::s3::MotoServer;
use lifeboat_testkit::ssh::SshServer;

/// Runs `restore latest` with these words and what the machine always says.
fn restore(machine: &Machine, code: i32, always: &[&str], more: &[&str]) -> Output {
    machine.exits(code, &[&["restore", "latest"], always, more].concat())
}

#[test]
fn a_bucket_comes_back_into_a_directory_and_into_another_bucket() {
    let live = Live::with("kind = \"local\"\npath = \"{root}/store\"");
    let headers = [
        ("content-type", "text/css"),
        ("x-amz-meta-owner", "alice"),
        ("x-amz-tagging", "k=v"),
    ];
    live.put("styles/a.css", &headers, b"styled");
    live.put("odd//key/", &[], b"odd");
    live.app.backup();
    let (point, signer) = point_and_signer(&live.app);
    let store = live.app.path("store").display().to_string();
    let always = ["--store-url", &store, "--trust-signer", &signer];

    let mut machine = Machine::new();
    let listed = machine.json(&["points", "--store-url", &store]);
    assert_eq!(listed["points"][0]["point"], point.as_str());
    restore(&machine, 0, &always, &["--to", "out"]).says(&["verified"]);
    let objects = machine.path("here/out/media");
    assert_eq!(read(&objects.join("objects/styles/a.css")), b"styled");
    let index = String::from_utf8(read(&objects.join("index.ndjson"))).unwrap();
    assert!(index.contains("\"owner\":\"alice\""), "{index}");

    // Into a server of its own, with keys that are nobody else's.
    let other = MotoServer::start();
    for bucket in ["look", "again"] {
        other.create_bucket(bucket);
    }
    let url = format!("s3://look/below?endpoint={}", other.endpoint());
    restore(&machine, 1, &always, &["--to", &url])
        .says(&["AWS_ACCESS_KEY_ID", "access_key=REFERENCE"]);
    machine.env("TARGET_ACCESS", &other.access_key);
    machine.env("TARGET_SECRET", &other.secret_key);
    let keyed = format!("{url}&access_key=env:TARGET_ACCESS&secret_key=env:TARGET_SECRET");
    restore(&machine, 0, &always, &["--to", &keyed]).says(&["verified", "no evidence is kept"]);
    let get = |path: &str| other.request("GET", path, &[], b"");
    let answer = get("/look/below/styles/a.css");
    assert_eq!(answer.text(), "styled");
    assert_eq!(answer.header("content-type"), Some("text/css"));
    assert_eq!(answer.header("x-amz-meta-owner"), Some("alice"));
    assert!(
        get("/look/below/styles/a.css?tagging")
            .text()
            .contains("<Value>v</Value>")
    );
    assert_eq!(get("/look/below/odd//key/").text(), "odd");
    // It is not empty any more.
    restore(&machine, 1, &always, &["--to", &keyed]).says(&["is not empty"]);

    // By what other tools are told, too.
    machine.env("AWS_ACCESS_KEY_ID", &other.access_key);
    machine.env("AWS_SECRET_ACCESS_KEY", &other.secret_key);
    machine.env("AWS_ENDPOINT_URL", &other.endpoint());
    restore(&machine, 0, &always, &["--to", "s3://again"]).says(&["verified"]);
    assert_eq!(get("/again/styles/a.css").text(), "styled");
    restore(&machine, 1, &always, &["--to", "s3://nowhere"]).says(&["does not exist"]);
    restore(
        &machine,
        2,
        &always,
        &["--to", "s3://again?acess_key=env:A"],
    )
    .says(&["\"acess_key\"", "endpoint"]);
}

/// A database of one server brought back into another one of the same.
fn into_another_server(from: &MariadbServer, to: &MariadbServer, kind: &str) {
    from.sql("", "CREATE DATABASE crm");
    from.sql(
        "crm",
        "CREATE TABLE client (id INT PRIMARY KEY, name VARCHAR(50)); INSERT INTO client VALUES (1, 'one'), (2, 'two');
         CREATE VIEW first AS SELECT * FROM client WHERE id = 1",
    );
    let mut app = App::with("");
    app.configure(&format!(
        "{HEAD}\n[source.crm]\nkind = \"{kind}\"\nurl = \"env:CRM_URL\"\n\n[store.disk]\nkind = \"local\"\npath = \"{{root}}/store\"\n\n[plan.main]\nsources = [\"crm\"]\nstores = [\"disk\"]\n"
    ));
    app.env("CRM_URL", from.url("crm"));
    let mut machine = Machine::new();
    if kind == "mysql" {
        app.env("PATH", mysql_path());
        machine.env("PATH", &mysql_path());
    }
    app.backup();
    let (_, signer) = point_and_signer(&app);
    let store = app.path("store").display().to_string();
    let always = ["--store-url", &store, "--trust-signer", &signer];

    let url = to.url("cold");
    machine.env("TARGET", &url);
    let absent = restore(&machine, 1, &always, &["--to", "env:TARGET"]);
    absent.says(&["cold", "hint:"]);
    to.sql("", "CREATE DATABASE cold");
    restore(&machine, 0, &always, &["--to", "env:TARGET"]).says(&["verified"]);
    let all = "SELECT * FROM client; SELECT * FROM first; SHOW FULL TABLES";
    assert_eq!(
        to.sql("cold", all).replace("cold", "crm"),
        from.sql("crm", all)
    );
    // What is there is not written over.
    restore(&machine, 1, &always, &["--to", "env:TARGET"]).says(&["not empty"]);
    // A password where everybody can read it, and a server of another kind.
    restore(&machine, 2, &always, &["--to", &url]).says(&["a password in --to", "env:NAME"]);
    restore(&machine, 2, &always, &["--to", "postgres:///x"]).says(&["no source", "postgres://"]);
    // Without a server there is the dump.
    restore(&machine, 0, &always, &["--to", "out"]).says(&["the dump was written as a file"]);
}

#[test]
fn a_mariadb_database_comes_back_into_another_server() {
    let (from, to) = (MariadbServer::start(), MariadbServer::start());
    into_another_server(&from, &to, "mariadb");
}

#[test]
fn a_mysql_database_comes_back_into_another_server() {
    let (from, to) = (MysqlServer::start(), MysqlServer::start());
    into_another_server(&from, &to, "mysql");
}

#[test]
fn a_store_of_another_host_is_opened_with_an_openpgp_key() {
    let server = SshServer::start();
    let home = GpgHome::new();
    let app = openpgp::application(&home);
    let text = std::fs::read_to_string(app.path("lifeboat.toml")).unwrap();
    let sealed = text.split("[store.vault]").nth(1).unwrap();
    let sealed: Vec<&str> = sealed.lines().filter(|l| l.contains("openpgp")).collect();
    let path = server.sftp_root().join("sealed");
    app.configure(&format!(
        "{HEAD}{SOURCES}\n[store.vault]\nkind = \"sftp\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"{}\"\npath = \"{}\"\nssh = {{ key = \"file:{}\", known_hosts = \"{}\" }}\n{}\n\n[plan.main]\nsources = [\"files\", \"db\", \"vault\"]\nstores = [\"vault\"]\n",
        server.port(),
        server.user(),
        path.display(),
        server.identity_path().display(),
        server.known_hosts_path().display(),
        sealed.join("\n"),
    ));
    app.backup();
    let url = format!(
        "sftp://{}@127.0.0.1:{}{}?key=file:{}&known_hosts={}",
        server.user(),
        server.port(),
        path.display(),
        server.identity_path().display(),
        server.known_hosts_path().display(),
    );
    let reference = |name: &str| format!("file:{}", app.path(name).display());
    let (key, passphrase) = (reference("ops-secret.asc"), reference("ops.pass"));
    let machine = Machine::new();
    let access = [
        "--store-url",
        &url,
        "--identity",
        &key,
        "--passphrase",
        &passphrase,
    ];
    whole_round(&machine, &app, &access);
}
