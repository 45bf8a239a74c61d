use super::database::of_environment;
use super::environment::Environment;
use super::*;
use std::fs;

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        Root(tempfile::tempdir().unwrap())
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).write(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        path
    }

    fn databases(&self, name: &str, text: &str) -> Vec<Database> {
        let path = self.write(&format!("srv/app/{name}"), text);
        of_environment(&Environment::read(&path).unwrap(), self.0.path())
    }

    fn found(&self) -> Found {
        discover(self.0.path(), &[])
    }
}

/// Kind, database, host, port, user, and key of the password of each database.
fn shown(databases: &[Database]) -> Vec<String> {
    let text = |o: &Option<String>| o.clone().unwrap_or_default();
    let one = |d: &Database| {
        let port = d.port.map(|p| p.to_string()).unwrap_or_default();
        let key = d
            .password
            .as_ref()
            .and_then(|w| w.key.clone())
            .unwrap_or_default();
        [
            d.kind.name().into(),
            text(&d.database),
            text(&d.host),
            port,
            text(&d.user),
            key,
        ]
        .join(" ")
    };
    databases.iter().map(one).collect()
}

#[test]
fn variables_of_every_kind_of_file() {
    let root = Root::new();
    for (name, text, expected) in [
        (
            ".env",
            "DB_CONNECTION=pgsql\nDB_HOST=10.0.0.5\nDB_PORT=5433\nDB_DATABASE=crm\nDB_USERNAME='crm user'\nDB_PASSWORD=\"s3cret # not a comment\"\n",
            "postgres crm 10.0.0.5 5433 crm user DB_PASSWORD",
        ),
        (
            ".env.production",
            "# x\nexport DATABASE_URL=postgresql+psycopg2://bot:s3cret@db.example.org:5432/bot?sslmode=require # now\n",
            "postgres bot db.example.org 5432 bot DATABASE_URL",
        ),
        (
            ".env.b",
            "MYSQL_DATABASE=finance\nMYSQL_USER=fin\nMYSQL_PASSWORD=s3cret\n",
            "mysql finance   fin MYSQL_PASSWORD",
        ),
        (
            ".env.c",
            "SQLALCHEMY_DATABASE_URI=mysql+pymysql://u@localhost/shop\n",
            "mysql shop localhost  u ",
        ),
        (
            "wp-config.php",
            "<?php\ndefine( 'DB_NAME', 'wp' );\ndefine('DB_USER', \"wp\");\ndefine('DB_PASSWORD', 's3cret');\ndefine('DB_HOST', 'localhost:3307');\n",
            "mysql wp localhost 3307 wp DB_PASSWORD",
        ),
        (
            "database.yml",
            "default:\n  adapter: mysql2\nproduction:\n  adapter: postgresql\n  database: rails\n  username: rails\n  password: <%= ENV['X'] %>\ntest:\n  database: t\n",
            "postgres rails   rails ",
        ),
        (
            ".env.d",
            "DB_ENGINE=django.db.backends.postgresql\nDB_NAME=dj\nDB_USER=dj\n",
            "postgres dj   dj ",
        ),
    ] {
        let found = root.databases(name, text);
        assert_eq!(shown(&found), [expected], "{name}");
        assert!(!format!("{found:?}").contains("s3cret"));
    }
    for text in [
        "APP_KEY=1\n",
        "DB_CONNECTION=sqlite\nDB_DATABASE=/nowhere.db\n",
        "DATABASE_URL=${OTHER}\n",
        "URL=https://x/y\n",
    ] {
        assert_eq!(shown(&root.databases(".env.x", text)), [""; 0], "{text}");
    }
}

#[test]
fn services_of_a_compose_file() {
    let root = Root::new();
    root.write("opt/shop/compose.yaml", "services:\n  web:\n    image: nginx\n  db:\n    image: \"docker.io/library/postgres:16-alpine\"\n    environment:\n      POSTGRES_DB: shop\n      POSTGRES_USER: ${DB_USER:-shop}\n      POSTGRES_PASSWORD: s3cret\n  old:\n    image: mariadb:10\n    container_name: old-one\n    environment:\n      - MARIADB_DATABASE=legacy\nvolumes:\n  db:\n");
    let found = root.found();
    assert_eq!(
        shown(&found.databases),
        [
            "postgres shop   shop POSTGRES_PASSWORD",
            "mariadb legacy    "
        ]
    );
    let containers: Vec<_> = found.databases.iter().flat_map(|d| &d.container).collect();
    assert_eq!(containers, ["db", "old-one"]);
    let text = render(&found, "host").unwrap().text;
    assert!(
        text.contains("docker:old-one") && !text.contains("s3cret"),
        "{text}"
    );
}

#[test]
fn what_lifeboat_keeps_is_no_application() {
    let root = Root::new();
    root.write("srv/kept/state/signing.key", "");
    root.write("srv/kept/state/catalog.db", "SQLite format 3\0 and so on");
    root.write("srv/backups/lifeboat/points/crm/1.json", "{}");
    root.write("srv/backups/crm/.env", "KEY=s3cret\n");
    root.write("srv/crm/signing.key", "");
    let found = root.found();
    let names: Vec<_> = found.applications.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["crm"]);
    assert!(found.databases.is_empty() && found.secrets.is_empty());
}

/// A Laravel application, with what is not its own beside it.
fn write_crm(root: &Root) {
    root.write("var/www/crm/artisan", "#!/usr/bin/env php\n");
    root.write("var/www/crm/.env", "DB_CONNECTION=mysql\nDB_HOST=127.0.0.1\nDB_DATABASE=crm\nDB_USERNAME=crm\nDB_PASSWORD=s3cret\n");
    root.write(
        "var/www/crm/.env.example",
        "DB_CONNECTION=pgsql\nDB_DATABASE=no\n",
    );
    root.write(
        "var/www/crm/node_modules/x/.env",
        "DATABASE_URL=postgres://u:p@h/no\n",
    );
}

#[test]
fn a_host_with_everything() {
    let root = Root::new();
    write_crm(&root);
    root.write("srv/bot/data/auth.db", "SQLite format 3\0 and so on");
    root.write("srv/bot/data/other.db", "not one");
    root.write("srv/empty/.keep", "");
    fs::create_dir_all(root.0.path().join("opt/nothing")).unwrap();
    root.write(
        "etc/systemd/system/bot.service",
        "[Service]\nExecStart=/srv/bot/run\nEnvironmentFile=-/etc/default/bot\n",
    );
    root.write("etc/systemd/system/bot.timer", "[Timer]\n");
    root.write("etc/default/bot", "TOKEN=s3cret\n");
    // Lifeboat's own, which runs something below the application.
    root.write(
        "etc/systemd/system/lifeboat-run.service",
        "[Service]\nEnvironmentFile=-/etc/lifeboat/secrets.env\nReadWritePaths=-/srv/bot\n",
    );
    root.write("etc/lifeboat/secrets.env", "KEY='s3cret'\n");
    root.write("etc/nginx/sites-available/crm", "server {}\n");
    root.write("etc/nginx/sites-available/default", "server {}\n");
    root.write("etc/letsencrypt/live/crm/privkey.pem", "s3cret");
    root.write("etc/mysql/mariadb.conf.d/50-server.cnf", "");
    root.write("etc/postgresql/15/main/postgresql.conf", "");
    let found = root.found();
    let names: Vec<_> = found
        .applications
        .iter()
        .map(|a| (a.name.as_str(), a.framework.as_str()))
        .collect();
    assert_eq!(
        names,
        [
            ("crm", "laravel"),
            ("bot", "directory"),
            ("empty", "directory")
        ]
    );
    // The server on this host is MariaDB, whatever the framework calls it.
    let kinds: Vec<_> = found
        .databases
        .iter()
        .map(|d| (d.name.as_str(), d.kind))
        .collect();
    assert_eq!(
        kinds,
        [("auth-db", Kind::Sqlite), ("crm-db", Kind::Mariadb)]
    );
    assert_eq!(found.secrets.len(), 2, "{:?}", found.secrets);
    let proposal = render(&found, "web1").unwrap();
    let text = &proposal.text;
    for part in [
        "[app]\nname = \"web1\"",
        "[source.auth-db]",
        "[source.crm-files]",
        "sensitive = true",
        "[source.certificates]",
        "sites-available/crm\"",
        "[\"systemctl\", \"stop\", \"bot.service\"]",
        "kind = \"postgres\"\n# database",
        "DB_PASSWORD in",
        "auth.db-wal",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    for absent in [
        "s3cret",
        "lifeboat-run.service",
        "sites-available/default",
        "node_modules/x",
        "opt/nothing",
    ] {
        assert!(!text.contains(absent), "{absent}\n{text}");
    }
    assert!(!serde_json::to_string(&found).unwrap().contains("s3cret"));
}

#[test]
fn awkward_names_make_a_valid_configuration() {
    let root = Root::new();
    for name in ["we\"ird [x]", "näme", "a.b", "-", "a b", "system"] {
        root.write(
            &format!("srv/{name}/data.db"),
            "SQLite format 3\0 and so on",
        );
        root.write(&format!("srv/{name}/.env"), "A=1\n");
    }
    render(&root.found(), "-host-").unwrap();
    render(&discover(tempfile::tempdir().unwrap().path(), &[]), "").unwrap();
}

#[test]
fn a_silent_mount_is_reported_and_the_rest_is_found() {
    let root = Root::new();
    root.write("srv/app/index.html", "");
    root.write("srv/app/data/app.db", "SQLite format 3\0");
    let (share, inner) = (
        root.0.path().join("srv/share"),
        root.0.path().join("srv/app/m"),
    );
    fs::create_dir_all(&share).unwrap();
    fs::create_dir_all(&inner).unwrap();
    // Without /dev/fuse, or the right to mount, there is nothing to test.
    let silent = [&share, &inner].map(|at| lifeboat_testkit::silent::Silent::mount(at));
    if silent.iter().any(Option::is_none) {
        return;
    }
    let mut found = Found {
        root: root.0.path().to_owned(),
        ..Found::default()
    };
    let mounts = Mounts::of_this_process(std::time::Duration::from_millis(200));
    walk::applications(&mut found, &mut Vec::new(), &mounts);
    assert_eq!(found.applications.len(), 1, "{:?}", found.applications);
    assert_eq!(found.databases.len(), 1, "{:?}", found.databases);
    for at in [share, inner] {
        let named = |line: &String| line.starts_with(&format!("{}: ", at.display()));
        assert!(found.unread.iter().any(named), "{:?}", found.unread);
    }
}
