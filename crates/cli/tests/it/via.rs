//! Sources on other hosts, over a real SSH server, and in containers, with stand-ins for the
//! clients that check what they are given and then really run it.

use crate::support::{App, HEAD};
use lifeboat_testkit::postgres::PostgresServer;
use lifeboat_testkit::ssh::SshServer;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const REST: &str = r#"
[store.disk]
kind = "local"
path = "{root}/store"

[plan.main]
sources = ["SOURCES"]
stores = ["disk"]

[drill.main]
plans = ["main"]
"#;

fn application(sources: &str, names: &str) -> App {
    let mut app = App::with("");
    app.configure(&format!(
        "{HEAD}{sources}{}",
        REST.replace("SOURCES", names)
    ));
    std::fs::create_dir(app.path("tmp")).unwrap();
    let temporary = app.path("tmp").display().to_string();
    app.env("TMPDIR", temporary);
    app
}

/// A PostgreSQL source and a command source on the other host.
fn over_ssh(ssh: &SshServer, server: &PostgresServer) -> App {
    server.create_database("crm");
    server.psql(
        "crm",
        "CREATE TABLE client (id integer PRIMARY KEY, name text NOT NULL);
         INSERT INTO client SELECT i, 'client ' || i FROM generate_series(1, 40) i;",
    );
    let via = format!(
        "via = \"ssh:{}\"\nssh = {{ config = \"{}\" }}\n",
        ssh.address(),
        ssh.config_path().display()
    );
    let sources = format!(
        "[source.crm]\nkind = \"postgres\"\nurl = \"env:CRM_URL\"\n{via}\n\
         [source.words]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"echo \\\"$WORD\\\"; pwd\"]\nenv = {{ WORD = \"env:WORD\" }}\n{via}"
    );
    let mut app = application(&sources, "crm\", \"words");
    app.env("CRM_URL", server.url("crm"));
    app.env("WORD", "orchid-of-via\nlily-of-via");
    app
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "it never happens: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The argument vectors of the processes that this test started, or whatever those started, and of
/// those that nobody waits for. Other tests may write what they like into theirs.
fn arguments() -> String {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let own = |directory: &Path| {
        let mut pid: u32 = directory.file_name()?.to_str()?.parse().ok()?;
        while pid > 1 && pid != std::process::id() {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name before it may hold anything.
            let after_name = stat.rsplit_once(')')?.1;
            pid = after_name.split_whitespace().nth(1)?.parse().ok()?;
        }
        std::fs::read(directory.join("cmdline")).ok()
    };
    let lines = processes.filter_map(|entry| own(&entry.path()));
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_database_over_ssh_is_backed_up_drilled_and_restored_with_one_login_a_run() {
    let ssh = SshServer::start();
    let server = PostgresServer::start();
    let app = over_ssh(&ssh, &server);
    app.ok(&["doctor"])
        .says(&["through", ssh.user(), "answers, and the command there is"]);
    assert_eq!(ssh.logins(), 1, "{}", ssh.log());

    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let look = scope.spawn(|| {
            let mut seen = String::new();
            while !done.load(Ordering::Relaxed) {
                seen.push_str(&arguments());
            }
            seen
        });
        app.backup();
        done.store(true, Ordering::Relaxed);
        look.join().unwrap()
    });
    assert!(seen.contains("pg_dump"), "nothing was seen of the dump");
    for secret in [
        lifeboat_testkit::postgres::PASSWORD,
        "pass%2Fword",
        "orchid-of-via",
    ] {
        assert!(
            !seen.contains(secret),
            "{secret} stood in an argument vector"
        );
    }
    assert_eq!(ssh.logins(), 2, "{}", ssh.log());
    assert!(ssh.connections().is_empty());
    app.ok(&["drill"]).says(&["verified"]);

    server.psql("crm", "DELETE FROM client");
    app.ok(&[
        "restore",
        "latest",
        "--live",
        "--confirm",
        "crm/test",
        "--reason=lost",
    ])
    .says(&["verified"]);
    assert_eq!(server.psql("crm", "SELECT count(*) FROM client"), "40");
    assert_eq!(app.listing("tmp"), Vec::<String>::new());
}

#[test]
fn a_host_that_is_not_known_is_refused_with_the_remedy() {
    let ssh = SshServer::start();
    let server = PostgresServer::start();
    let app = over_ssh(&ssh, &server);
    std::fs::write(ssh.known_hosts_path(), "").unwrap();
    app.exits(1, &["backup"]).says(&[
        "is not known: it shows ssh-ed25519",
        &ssh.host_fingerprint(),
        "hint: compare",
        "ssh-keyscan",
    ]);
    app.exits(1, &["doctor"])
        .says(&["is not known", "ssh-keyscan"]);
    assert_eq!(app.points(), Vec::<String>::new());
}

#[test]
fn a_missing_client_there_names_the_host_and_the_package() {
    let ssh = SshServer::start();
    let via = format!(
        "via = \"ssh:{}\"\nssh = {{ config = \"{}\" }}\n",
        ssh.address(),
        ssh.config_path().display()
    );
    let source =
        format!("[source.a]\nkind = \"command\"\ncommand = [\"/nowhere/mariadb-dump\"]\n{via}");
    let app = application(&source, "a");
    let place = format!("mariadb-dump is not installed on {}", ssh.address());
    app.exits(1, &["backup"])
        .says(&[&place, "install it there: apt-get install mariadb-client"]);
}

/// A dump that waits for a lock that a test holds.
fn waiting(app: &App, server: &PostgresServer) -> (Child, Child) {
    let mut holder = server.psql_command("crm");
    let mut holder = holder.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = holder.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"BEGIN; LOCK TABLE client;\n").unwrap();
    until("the table is locked", || {
        server.psql(
            "crm",
            "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted",
        ) != "0"
    });
    holder.stdin = Some(input);
    let running = app
        .command(&["backup"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the dump waits for the lock", || {
        server.psql(
            "postgres",
            "SELECT count(*) FROM pg_locks WHERE NOT granted",
        ) != "0"
    });
    (holder, running)
}

fn sessions(server: &PostgresServer) -> String {
    let sql = "SELECT string_agg(query, E'\\n') FROM pg_stat_activity WHERE application_name IN ('lifeboat', 'pg_dump')";
    server.psql("postgres", sql)
}

#[test]
fn a_connection_that_is_cut_leaves_no_complete_point_and_nothing_running() {
    let ssh = SshServer::start();
    let server = PostgresServer::start();
    let app = over_ssh(&ssh, &server);
    let (mut holder, running) = waiting(&app, &server);
    ssh.kill_connections();
    until("the dump there ends", || sessions(&server).is_empty());
    holder.kill().unwrap();
    holder.wait().unwrap();
    let output = running.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // The second source came through by another connection.
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("connection"), "{said}");
    let points = app.json(&["points"]);
    assert_eq!(points["points"][0]["outcome"], "partial", "{points:#}");
    assert_eq!(app.listing("tmp"), Vec::<String>::new());
}

#[test]
fn a_run_that_is_told_to_end_leaves_nothing_there() {
    let ssh = SshServer::start();
    let server = PostgresServer::start();
    let app = over_ssh(&ssh, &server);
    let (mut holder, running) = waiting(&app, &server);
    let told = std::process::Command::new("kill")
        .args(["-TERM", &running.id().to_string()])
        .status();
    assert!(told.unwrap().success());
    let output = running.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    until("the dump there ends", || sessions(&server).is_empty());
    until("the connection ends", || ssh.connections().is_empty());
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(app.points(), Vec::<String>::new());
    assert_eq!(app.listing("tmp"), Vec::<String>::new());
}

#[test]
fn after_kill_9_the_dump_there_ends_and_neither_agent_nor_connection_is_left() {
    let ssh = SshServer::start();
    let server = PostgresServer::start();
    let app = over_ssh(&ssh, &server);
    let key = ssh.user_key("locked", "ed25519", "sesame");
    let word = app.write("word", b"sesame\n");
    let by_key = format!(
        "ssh = {{ key = \"file:{}\", passphrase = \"file:{}\",",
        key.path.display(),
        word.display()
    );
    app.edit("ssh = {", &by_key);
    let (mut holder, mut running) = waiting(&app, &server);
    let root = app.path("tmp").display().to_string();
    let now = arguments();
    let of_run = |text: &str| {
        now.lines()
            .any(|line| line.contains(&root) && line.contains(text))
    };
    assert!(of_run("ssh-agent") && of_run("ControlMaster=yes"), "{now}");
    running.kill().unwrap();
    running.wait().unwrap();
    until("the dump there ends", || sessions(&server).is_empty());
    until("every helper ends", || !arguments().contains(&root));
    until("the connection ends", || ssh.connections().is_empty());
    holder.kill().unwrap();
    holder.wait().unwrap();
    // What is left are sockets that nobody listens on, and the next run removes them.
    for file in app.listing("tmp") {
        let left = std::fs::read_to_string(app.path("tmp").join(&file));
        assert!(!left.is_ok_and(|text| text.contains("PRIVATE")), "{file}");
    }
    app.backup();
    assert_eq!(app.listing("tmp"), Vec::<String>::new());
}

/// A stand-in for a container client: it notes its arguments, holds the first ones against what they
/// must be, and runs the rest.
fn client(app: &App, name: &str, expected: &str) -> String {
    let count = expected.split(' ').count();
    let body = format!(
        "printf '%s\\n' \"$*\" >> '{root}/arguments'\n\
         words=\"$1\"; i=1; while [ $i -lt {count} ]; do shift; words=\"$words $1\"; i=$((i+1)); done; shift\n\
         [ \"$words\" = '{expected}' ] || {{ echo \"unexpected: $words\" >&2; exit 99; }}\n\
         exec env -u CRM_URL -u WORD \"$@\"",
        root = app.root().display()
    );
    app.script(&format!("bin/{name}"), &body);
    let path = std::env::var("PATH").unwrap();
    format!("{}:{path}", app.path("bin").display())
}

#[test]
fn a_database_in_a_container_is_backed_up_and_drilled() {
    let server = PostgresServer::start();
    let ssh_less = "[source.crm]\nkind = \"postgres\"\nurl = \"env:CRM_URL\"\nvia = \"docker:shop-db\"\n\
        [source.words]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"echo \\\"$WORD\\\"\"]\nenv = { WORD = \"env:WORD\" }\nvia = \"kubectl:shop/db-0/app\"\n";
    let mut app = application(ssh_less, "crm\", \"words");
    server.create_database("crm");
    server.psql(
        "crm",
        "CREATE TABLE client (id integer); INSERT INTO client VALUES (1)",
    );
    app.env("CRM_URL", server.url("crm"));
    app.env("WORD", "orchid-of-via\nlily-of-via");
    client(&app, "docker", "exec -i shop-db");
    let path = client(&app, "kubectl", "exec -i -n shop db-0 -c app --");
    app.env("PATH", path);
    app.ok(&["doctor"])
        .says(&["through container shop-db", "pod shop/db-0 answers"]);
    app.backup();
    app.ok(&["drill"]).says(&["verified"]);
    let noted = std::fs::read_to_string(app.path("arguments")).unwrap();
    for line in noted.lines() {
        assert!(
            line.ends_with(r#"sh -c IFS= read -r lifeboat && eval "$lifeboat""#),
            "{line}"
        );
    }
    app.ok(&[
        "restore",
        "latest",
        "--to",
        app.path("out").to_str().unwrap(),
    ]);
    let out = app.listing("out");
    let words = out.iter().find(|file| file.contains("words")).unwrap();
    let words = std::fs::read(app.path("out").join(words)).unwrap();
    assert_eq!(words, b"orchid-of-via\nlily-of-via\n");
}

#[test]
fn container_clients_that_do_not_come_through_say_why() {
    let source = |via: &str| {
        format!("[source.a]\nkind = \"command\"\ncommand = [\"echo\", \"here\"]\nvia = \"{via}\"\n")
    };
    for (via, name, said, says) in [
        (
            "docker:web",
            "docker",
            "Error response from daemon: No such container: web",
            "container web is not there",
        ),
        (
            "docker:web",
            "docker",
            "Error response from daemon: container 0a1b is not running",
            "container web is not running",
        ),
        (
            "docker:web",
            "docker",
            "OCI runtime exec failed: exec failed: unable to start container process: exec: \"sh\": executable file not found in $PATH: unknown",
            "container web has no shell",
        ),
        (
            "docker:web",
            "docker",
            "permission denied while trying to connect to the Docker daemon socket",
            "docker may not be used",
        ),
        (
            "docker:web",
            "docker",
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.",
            "docker cannot reach",
        ),
        (
            "kubectl:shop/db-0",
            "kubectl",
            "Error from server (NotFound): pods \"db-0\" not found",
            "pod shop/db-0 is not there",
        ),
        (
            "kubectl:shop/db-0",
            "kubectl",
            "The connection to the server localhost:8080 was refused",
            "kubectl cannot reach",
        ),
        (
            "kubectl:shop/db-0",
            "kubectl",
            "something new",
            "the connection to pod shop/db-0 ended before echo did",
        ),
    ] {
        let mut app = application(&source(via), "a");
        app.script(
            &format!("bin/{name}"),
            &format!("cat >/dev/null & echo '{said}' >&2; exit 1"),
        );
        let path = std::env::var("PATH").unwrap();
        app.env("PATH", format!("{}:{path}", app.path("bin").display()));
        app.exits(1, &["backup"]).says(&[says, "hint:"]);
    }
    let mut app = application(&source("docker:web"), "a");
    app.env("PATH", app.path("nowhere").display().to_string());
    app.exits(1, &["backup"])
        .says(&["docker cannot be started", "install it"]);
}

/// The other side is left as it was: the home directory, and where temporary files go.
#[test]
fn nothing_is_written_there() {
    let home = tempfile::tempdir().unwrap();
    let set = format!("SetEnv HOME={0} TMPDIR={0}", home.path().display());
    let ssh = SshServer::start_with(&[&set]);
    let server = PostgresServer::start();
    let app = over_ssh(&ssh, &server);
    app.backup();
    assert_eq!(crate::support::listing(home.path()), Vec::<String>::new());
    assert!(
        Path::new(&ssh.sftp_root())
            .read_dir()
            .unwrap()
            .next()
            .is_none()
    );
}
