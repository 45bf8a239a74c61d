//! `init` looks at a prepared host, and what it writes works once the secrets are filled in.

use crate::support::{App, LIFEBOAT, age_key};
use lifeboat_testkit::postgres::PostgresServer;
use std::os::unix::fs::PermissionsExt;

/// A host below `host`: a Laravel application with a PostgreSQL database, a bot with a SQLite one.
fn host(server: &PostgresServer) -> App {
    let app = App::with("");
    std::fs::remove_file(app.path("lifeboat.toml")).unwrap();
    let (socket, port) = (server.socket().display().to_string(), server.port());
    app.write("host/var/www/crm/artisan", b"#!/usr/bin/env php\n");
    app.write("host/var/www/crm/storage/app/picture.jpg", b"a picture");
    let env = format!(
        "APP_KEY=base64:hunter2hunter2\nDB_CONNECTION=pgsql\nDB_HOST={socket}\nDB_PORT={port}\nDB_DATABASE=crm\nDB_USERNAME=postgres\nDB_PASSWORD=hunter2hunter2\n"
    );
    app.write("host/var/www/crm/.env", env.as_bytes());
    app.database("host/srv/bot/data/auth.db", 40);
    app.write("host/srv/bot/bot.py", b"print()\n");
    app.write(
        "host/etc/systemd/system/bot.service",
        b"[Service]\nExecStart=/srv/bot/bot.py\n",
    );
    app.write(
        "host/etc/letsencrypt/live/crm/privkey.pem",
        b"hunter2hunter2\n",
    );
    std::fs::create_dir_all(app.path("host/var/backups")).unwrap();
    app
}

#[test]
fn what_it_writes_is_valid_at_once_and_works_when_the_secrets_are_filled_in() {
    let server = PostgresServer::start();
    server.create_database("crm");
    server.psql("crm", "CREATE TABLE client (id int PRIMARY KEY); INSERT INTO client SELECT generate_series(1, 300)");
    let mut app = host(&server);
    let made = app.json(&["init", "--root", "host"]);
    let missing = made["missing"].to_string();
    for part in [
        "env:CRM_DB_PASSWORD",
        "DB_PASSWORD in",
        "identity.txt",
        "age-keygen",
    ] {
        assert!(missing.contains(part), "{made:#}");
    }
    assert!(!made.to_string().contains("hunter2"));
    let path = app.path("lifeboat.toml");
    assert_eq!(
        path.metadata().unwrap().permissions().mode() & 0o7777,
        0o600
    );
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    let check = app.ok(&["config", "check"]);
    check.never_says(&["warning", "error"]).says(&["is valid"]);
    // Nothing is filled in yet, and the doctor says what.
    app.exits(1, &["doctor"])
        .says(&["CRM_DB_PASSWORD", "recipients.txt"]);

    let (public, secret) = age_key();
    app.write(
        "host/etc/lifeboat/recipients.txt",
        format!("{public}\n").as_bytes(),
    );
    let identity = app.write("host/etc/lifeboat/identity.txt", secret.as_bytes());
    std::fs::set_permissions(identity, std::fs::Permissions::from_mode(0o600)).unwrap();
    app.env("CRM_DB_PASSWORD", "hunter2hunter2");
    app.ok(&["doctor"]);
    app.backup();
    let drill = app.json(&["drill"]);
    assert_eq!(drill["outcome"], "verified", "{drill:#}");
    let checks = drill["checks"].to_string();
    for source in [
        "crm-db",
        "auth-db",
        "crm-files",
        "bot-files",
        "system",
        "secrets",
        "certificates",
    ] {
        assert!(checks.contains(source), "{source}: {drill:#}");
    }
}

#[test]
fn it_replaces_nothing_unasked_and_prints_on_request() {
    let app = App::basic();
    let before = std::fs::read(app.path("lifeboat.toml")).unwrap();
    app.write("host/srv/x/index.html", b"hello");
    let refusal = app.refuses(1, "target", &["init", "--root", "host"]);
    refusal
        .names(&["lifeboat.toml is there already"])
        .advises(&["--force"]);
    assert_eq!(std::fs::read(app.path("lifeboat.toml")).unwrap(), before);
    let printed = app.ok(&["init", "--root", "host", "--output", "-"]).stdout;
    assert!(printed.contains("[source.x-files]"), "{printed}");
    let document = app.json(&["init", "--root", "host", "--output", "-"]);
    assert_eq!(
        document["configuration"].as_str().unwrap().trim_end(),
        printed.trim_end()
    );
    app.ok(&["init", "--root", "host", "--force"])
        .says(&["lifeboat.toml is written"]);
    let text = std::fs::read_to_string(app.path("lifeboat.toml")).unwrap();
    assert_eq!(text.trim_end(), printed.trim_end());
    app.ok(&["config", "check"]);
    app.refuses(2, "usage", &["init", "--root", "nowhere"])
        .names(&["nowhere"]);
    app.refuses(
        1,
        "target",
        &[
            "init",
            "--root",
            "host",
            "--output",
            "no/such/directory.toml",
        ],
    );
    // The host the tests run on, whatever is on it.
    app.ok(&["init", "--output", "real.toml"]);
    app.ok(&["--config", "real.toml", "config", "check"]);
}

/// What `init --systemd` says, of a configuration of its own.
#[test]
fn units_are_written_for_the_configuration_that_is_there() {
    let app = App::basic();
    app.edit("[plan.main]", "[plan.main]\nbefore = [[\"true\"]]");
    std::fs::create_dir(app.path("units")).unwrap();
    let made = app.json(&["init", "--systemd", "--output", "units"]);
    let names = [
        "lifeboat-run.service",
        "lifeboat-run.timer",
        "lifeboat.service",
    ];
    assert_eq!(app.listing("units"), names);
    let path = |name: &str| app.path(name).display().to_string();
    assert_eq!(
        made["writable"],
        serde_json::json!([path("state"), path("store")])
    );
    assert_eq!(made["absent"], made["writable"]);
    assert_eq!(made["commands"], serde_json::json!(["plan.main.before"]));
    assert_eq!(made["environment"], path("secrets.env"));
    let service = std::fs::read_to_string(app.path("units/lifeboat.service")).unwrap();
    for line in [
        format!(
            "ExecStart={LIFEBOAT} --config {} daemon",
            path("lifeboat.toml")
        ),
        format!("ReadWritePaths=-{} -{}", path("state"), path("store")),
    ] {
        assert!(
            service.lines().any(|known| known == line),
            "{line}\n{service}"
        );
    }
    let mode = app
        .path("units/lifeboat.service")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o644);
    // The same again changes nothing; another one is not replaced unasked, nor is a part of them.
    app.ok(&["init", "--systemd", "--output", "units"]);
    app.backup();
    let told = app.ok(&["init", "--systemd", "--output", "units"]);
    told.says(&[
        "systemctl enable --now",
        "runs inside  plan.main.before",
        " status\n",
    ]);
    told.never_says(&["install -d"]);
    app.edit("\"{root}/store\"", "\"{root}/elsewhere\"");
    let refusal = app.refuses(1, "target", &["init", "--systemd", "--output", "units"]);
    refusal
        .names(&["units/lifeboat.service"])
        .advises(&["--force"]);
    assert_eq!(
        std::fs::read_to_string(app.path("units/lifeboat.service")).unwrap(),
        service
    );
    let printed = app.ok(&["init", "--systemd", "--output", "-"]).stdout;
    assert!(
        printed.contains("/elsewhere")
            && printed.contains("# /etc/systemd/system/lifeboat.service")
    );
    app.ok(&["init", "--systemd", "--output", "units", "--force"])
        .says(&["install -d -m 700"]);
    app.refuses(1, "target", &["init", "--systemd", "--output", "nowhere"]);
}

#[test]
fn units_for_several_applications_name_their_directory() {
    let app = App::basic();
    let path = |name: &str| app.path(name).display().to_string();
    app.write(
        "conf.d/a.toml",
        &std::fs::read(app.path("lifeboat.toml")).unwrap(),
    );
    let several = app.json(&["--config", "conf.d", "init", "--systemd", "--output", "-"]);
    assert_eq!(several["environment"], path("secrets.env"));
    assert!(
        several["units"][0]["text"]
            .as_str()
            .unwrap()
            .contains("/conf.d daemon")
    );
    // `run` takes no directory, so that there is no timer.
    assert_eq!(several["units"].as_array().unwrap().len(), 1);
    std::fs::create_dir(app.path("units")).unwrap();
    let told = app.ok(&[
        "--config",
        "conf.d",
        "init",
        "--systemd",
        "--output",
        "units",
    ]);
    told.says(&["next: systemctl", "lifeboat --config conf.d daemon status"]);
    told.never_says(&["enable --now lifeboat-run.timer"]);
    assert_eq!(app.listing("units"), ["lifeboat.service"]);
    app.write("conf.d/b.toml", b"version = 1\n");
    app.exits(
        2,
        &["--config", "conf.d", "init", "--systemd", "--output", "-"],
    );
}
