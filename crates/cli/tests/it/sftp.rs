//! The whole round through a store on another host, over SFTP, with a real OpenSSH server.

use crate::partial::{heals, is_partial, two_stores};
use crate::restore_md::{compare, follow};
use crate::roundtrip::{SOURCES, same_tree};
use crate::support::{App, HEAD, listing};
use lifeboat_testkit::ssh::SshServer;
use serde_json::Value;

/// `[store.nas]` on this server, in its directory `backups`.
fn store(server: &SshServer, ssh: &str) -> String {
    format!(
        "kind = \"sftp\"\nhost = \"{}\"\nport = {}\nuser = \"{}\"\npath = \"{}\"\nssh = {{ {ssh} }}\n",
        server.host(),
        server.port(),
        server.user(),
        server.sftp_root().join("backups").display(),
    )
}

/// By a key with a passphrase that nobody but the references knows, and a list of host keys.
fn by_reference(app: &App, server: &SshServer) -> String {
    let key = server.user_key("protected", "ed25519", "open sesame");
    app.write("nas.key", key.private.as_bytes());
    app.write("nas.pass", b"open sesame");
    app.write("known_hosts", server.known_hosts().as_bytes());
    "key = \"file:{root}/nas.key\", passphrase = \"file:{root}/nas.pass\", known_hosts = \"{root}/known_hosts\"".to_owned()
}

/// An application whose one store is on the server; its temporary directory is of its own.
fn application(server: &SshServer) -> App {
    let mut app = App::with("");
    let store = store(server, &by_reference(&app, server));
    app.configure(&format!(
        "{HEAD}{SOURCES}\n[store.nas]\n{store}\n[plan.main]\nsources = [\"files\", \"db\", \"vault\"]\nstores = [\"nas\"]\n\n[drill.main]\nplans = [\"main\"]\n"
    ));
    std::fs::create_dir(app.path("tmp")).unwrap();
    let temporary = app.path("tmp").display().to_string();
    app.env("TMPDIR", temporary);
    app
}

#[test]
fn backed_up_proved_and_brought_back() {
    let server = SshServer::start();
    let app = application(&server);
    // Larger than what is kept of an upload.
    app.write("data/large.bin", &crate::support::noise(60 << 20, 3));
    app.ok(&["doctor"]);
    let point = app.backup();
    app.forget_state_but_key();
    assert_eq!(app.points(), [point.as_str()]);
    app.ok(&["verify", &point]);
    let report = app.json(&["drill"]);
    assert_eq!(
        (&report["outcome"], &report["store"]),
        (&Value::from("verified"), &Value::from("nas")),
        "{report:#}"
    );
    app.ok(&["evidence", "verify"]);
    let target = app.path("restored");
    app.ok(&["restore", &point, "--to", target.to_str().unwrap()]);
    let data = app.path("data");
    let restored = target.join("files");
    same_tree(&data, &restored.join(data.strip_prefix("/").unwrap()));
    assert_eq!(listing(&app.path("tmp")), Vec::<String>::new());
    let backups = server.sftp_root().join("backups");
    assert_eq!(listing(&backups.join(".incoming")), Vec::<String>::new());

    // With stock tools alone, as the store itself says.
    let key = server.user_key("plain", "ed25519", "");
    let text = std::fs::read_to_string(backups.join("lifeboat/restore/crm/test.md")).unwrap();
    let options = format!(
        "-i {} -o UserKnownHostsFile={} -o BatchMode=yes -o StrictHostKeyChecking=yes",
        key.path.display(),
        app.path("known_hosts").display()
    );
    let allowed = app.path("state/allowed_signers");
    let env = [
        ("SSH_OPTIONS", options.as_str()),
        ("ALLOWED_SIGNERS", allowed.to_str().unwrap()),
    ];
    let output = follow(&app, "by hand", &text, &env);
    assert_eq!(output.code, 0, "{text}\n{output}");
    compare(&app, "by hand");

    // And what is stored is what is proved.
    let sqlite = listing(&backups)
        .into_iter()
        .find(|n| n.contains(".sqlite"));
    let path = backups.join(sqlite.unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(path, bytes).unwrap();
    app.exits(4, &["verify", &point]).says(&["damaged"]);
    app.exits(4, &["drill"]);
}

#[test]
fn a_kit_has_the_key_and_the_host_key() {
    let server = SshServer::start();
    let mut app = application(&server);
    app.backup();
    app.write("pass", b"correct horse battery\n");
    let pass = format!("file:{}", app.path("pass").display());
    let export = [
        "kit",
        "export",
        "--output",
        "kit.age",
        "--passphrase",
        &pass,
    ];
    let exported = app.json(&export);
    let entries = exported["entries"].to_string();
    for name in ["ssh_key", "ssh_passphrase", "known_hosts"] {
        assert!(entries.contains(&format!("stores/nas/{name}")), "{entries}");
    }
    assert_eq!(exported["warnings"].as_array().unwrap().len(), 0);
    for name in ["nas.key", "nas.pass", "known_hosts", "lifeboat.toml"] {
        std::fs::remove_file(app.path(name)).unwrap();
    }
    app.forget_state();
    app.env("LIFEBOAT_CONFIG", "/nowhere/lifeboat.toml");
    let tried = app.json(&["kit", "test", "kit.age", "--passphrase", &pass]);
    assert_eq!(tried["outcome"], "enough", "{tried:#}");
    assert_eq!(listing(&app.path("tmp")), Vec::<String>::new());
}

#[test]
fn a_host_that_is_down_costs_its_copy_and_no_more() {
    let mut server = SshServer::start();
    let ssh = format!("config = \"{}\"", server.config_path().display());
    let app = two_stores(&store(&server, &ssh));
    server.stop();
    let report = app.json_exits(3, &["backup"]);
    let point = is_partial(&app, &report);
    let errors = report["errors"].to_string();
    assert!(errors.contains("nothing listens on that port"), "{errors}");
    server.restart();
    heals(&app, &point);
}

#[test]
fn connections_that_are_cut_during_a_backup_cost_nothing() {
    let server = SshServer::start();
    let app = application(&server);
    app.write("data/large.bin", &crate::support::noise(30 << 20, 3));
    // The plan's last source cuts what is open while it is captured.
    app.edit(
        "sources = [\"files\", \"db\", \"vault\"]",
        "sources = [\"files\", \"cutter\", \"db\", \"vault\"]",
    );
    let marker = app.path("cut").display().to_string();
    let gone = app.path("gone").display().to_string();
    app.configure_also(&format!(
        "[source.cutter]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"echo begun; touch '{marker}'; while [ ! -e '{gone}' ]; do sleep 0.05; done; echo ended\"]\nextension = \"txt\"\n"
    ));
    let backup = app.command(&["--json", "backup"]);
    let output = std::thread::scope(|scope| {
        let mut backup = backup;
        let run = scope.spawn(move || crate::support::run(&mut backup));
        while !app.path("cut").exists() && !run.is_finished() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        server.kill_connections();
        app.write("gone", b"");
        run.join().unwrap()
    });
    assert_eq!(output.code, 0, "{output}");
    app.ok(&["verify"]);
    assert_eq!(app.json(&["drill"])["outcome"], "verified");
}

#[test]
fn what_keeps_a_login_out_is_said_with_its_remedy() {
    let mut server = SshServer::start();
    let app = two_stores("kind = \"local\"\npath = \"{root}/second\"");
    let refused = |server: &SshServer, ssh: &str, says: &[&str]| {
        let app = two_stores(&store(server, ssh));
        app.write("known_hosts", server.known_hosts().as_bytes());
        let stranger = server.stranger_key(&format!("s{}", says[0].len()), "ed25519", "");
        app.write("stranger.key", stranger.private.as_bytes());
        let report = app.json_exits(3, &["backup"]);
        let point = is_partial(&app, &report);
        app.exits(1, &["verify", &point, "--store", "second"])
            .says(says);
        app.exits(1, &["doctor"]).says(says);
        assert_eq!(listing(&server.sftp_root()), Vec::<String>::new());
    };
    drop(app);
    let key = format!("key = \"file:{}\"", server.identity_path().display());
    refused(
        &server,
        &format!("{key}, known_hosts = \"/dev/null\""),
        &["the host key of", "is not known", "ssh-keyscan"],
    );
    refused(
        &server,
        "key = \"file:{root}/stranger.key\", known_hosts = \"{root}/known_hosts\"",
        &["refused the login", "authorized_keys"],
    );
    let old = server.known_hosts_path().display().to_string();
    server.rotate_host_key();
    refused(
        &server,
        &format!("{key}, known_hosts = \"{old}\""),
        &["has changed", "somebody else may answer"],
    );
}

#[test]
fn what_a_store_over_sftp_may_say_is_checked() {
    let refused = |from: &str, to: &str, says: &str| {
        let server = "kind = \"sftp\"\nhost = \"nas\"\nuser = \"backup\"\npath = \"/srv/crm\"\n";
        assert!(server.contains(from));
        two_stores(&server.replace(from, to))
            .exits(2, &["config", "check"])
            .says(&[says]);
    };
    refused("\"nas\"", "\"-oProxyCommand=x\"", "is no host");
    refused("\"nas\"", "\"backup@nas\"", "is no host");
    refused("\"backup\"", "\"-l\"", "is no user");
    refused("\"/srv/crm\"", "\"crm\"", "is a relative path");
    refused("host = \"nas\"\n", "", "host");
    refused(
        "user =",
        "ssh = { passphrase = \"env:X\" }\nuser =",
        "no key that it opens",
    );
    refused(
        "user =",
        "ssh = { key = \"-----BEGIN\" }\nuser =",
        "reference",
    );
}
