//! The systems that are shipped as examples, each run as its page says: the very file in
//! `examples/`, on a host of its own, with the commands of `docs/systems/` and what they print.
//!
//! Only what a test cannot have is put in its place, by exact words that must be there: the
//! addresses of servers. With `LIFEBOAT_UPDATE_DOCS` set, the pages are rewritten with what came out.

mod bot;
mod crm;
mod finance;
mod helpdesk;
mod host;
mod hours;
mod page;
mod vault;
mod workflow;

use host::Host;
use lifeboat_testkit::s3::MotoServer;
use page::Page;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A system on a host of its own.
struct System {
    host: Host,
    name: &'static str,
    /// What stands in the example and on its page, and what stands for it here.
    stands_for: Vec<(String, String)>,
    /// The same, of what only comes out.
    shows_as: Vec<(String, String)>,
}

impl System {
    /// A clean host of that name, with no part of the system yet.
    fn new(name: &'static str) -> System {
        System::on(Host::new(name), name)
    }

    /// On that clean host.
    fn on(host: Host, name: &'static str) -> System {
        System {
            host,
            name,
            stands_for: Vec::new(),
            shows_as: Vec::new(),
        }
    }

    /// Puts `real` in the place of `shown`, which must be in the example.
    fn stand_in(&mut self, shown: &str, real: &str) {
        let example = self.example();
        assert!(example.contains(shown), "the example has no {shown:?}");
        self.stands_for.push((shown.into(), real.into()));
    }

    /// What comes out as `real` is shown as `shown`; the example does not name it.
    fn show_as(&mut self, shown: &str, real: &str) {
        self.shows_as.push((shown.into(), real.into()));
    }

    fn example(&self) -> String {
        let path = root().join("examples").join(format!("{}.toml", self.name));
        std::fs::read_to_string(path).unwrap()
    }

    /// Text of the example or of its page, as it is here.
    fn here(&self, text: &str) -> String {
        let stands = self.stands_for.iter();
        stands.fold(text.to_owned(), |text, (shown, real)| {
            text.replace(shown, real)
        })
    }

    /// What came out here, as the page shows it.
    fn shown(&self, text: &str) -> String {
        let stands = self.stands_for.iter().chain(&self.shows_as);
        stands.fold(text.to_owned(), |text, (shown, real)| {
            text.replace(real, shown)
        })
    }

    /// Puts the example where the program finds it.
    fn install(&self) {
        self.host
            .write("/etc/lifeboat/lifeboat.toml", self.here(&self.example()));
    }

    /// Runs every command of the system's page, in order, and holds what each prints against what
    /// the page says. Those of another host run on `elsewhere`. `between` is asked before each.
    fn follow(&self, elsewhere: &Host, mut between: impl FnMut(&str)) {
        let path = root()
            .join("docs/systems")
            .join(format!("{}.md", self.name));
        Page::read(&path).follow(|on, command| {
            between(command);
            let host = match on {
                "" => &self.host,
                "elsewhere" | "people" => elsewhere,
                other => panic!("there is no host {other:?}"),
            };
            let output = host.run(&format!("exec 2>&1\n{}", self.here(command)));
            let mut text = self.shown(&output.stdout);
            if output.code != 0 {
                text.push_str(&format!("# exit code {}\n", output.code));
            }
            text
        });
    }

    /// Runs the program there with `--json`, which must exit with `code`; its document.
    fn json(&self, code: i32, args: &str) -> serde_json::Value {
        let text = self.host.exits(code, &format!("lifeboat --json {args}"));
        serde_json::from_str(&text).unwrap()
    }
}

/// A port that nobody has now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Starts a MariaDB server on a host, on the usual socket and, where a port is given, on that.
fn mariadb(host: &Host, port: Option<u16>) {
    let network = match port {
        Some(port) => format!("--bind-address=127.0.0.1 --port={port}"),
        None => "--skip-networking".to_owned(),
    };
    host.sh(&format!(
        "install -d -o mysql -g mysql /var/lib/mysql /run/mysqld
         mariadb-install-db --no-defaults --user=mysql --datadir=/var/lib/mysql --auth-root-authentication-method=normal --skip-test-db > /fixture/install.log 2>&1
         setsid mariadbd --no-defaults --user=mysql --datadir=/var/lib/mysql --socket=/run/mysqld/mysqld.sock {network} \
           --innodb-buffer-pool-size=32M --innodb-log-file-size=8M </dev/null > /fixture/mariadbd.log 2>&1 &
         for attempt in $(seq 600); do
           mariadb-admin --no-defaults --socket=/run/mysqld/mysqld.sock -uroot ping > /dev/null 2>&1 && exit 0
           sleep 0.05
         done
         cat /fixture/mariadbd.log; exit 1"
    ));
}

/// Runs SQL on the MariaDB server of a host, as its root; the rows.
fn sql(host: &Host, script: &str) -> String {
    host.write("/fixture/script.sql", script);
    host.sh(
        "mariadb --no-defaults --socket=/run/mysqld/mysqld.sock -uroot -N -B < /fixture/script.sql",
    )
}

/// The keys in a bucket.
fn keys(s3: &MotoServer, bucket: &str) -> Vec<String> {
    let listed = s3
        .request("GET", &format!("/{bucket}?list-type=2"), &[], b"")
        .text();
    let keys = listed
        .split("<Key>")
        .skip(1)
        .filter_map(|rest| rest.split("</Key>").next());
    keys.map(str::to_owned).collect()
}

/// Changes one byte of every object whose key begins so.
fn damage(s3: &MotoServer, bucket: &str, prefix: &str) {
    let keys = keys(s3, bucket);
    let keys: Vec<_> = keys.iter().filter(|key| key.starts_with(prefix)).collect();
    assert!(!keys.is_empty(), "nothing begins with {prefix}");
    for key in keys {
        let path = format!("/{bucket}/{key}");
        let mut body = s3.request("GET", &path, &[], b"").body;
        let middle = body.len() / 2;
        body[middle] ^= 1;
        assert_eq!(s3.request("PUT", &path, &[], &body).status, 200);
    }
}

/// Every example is valid as it stands, and says what to change.
#[test]
fn examples_pass_the_check_as_they_stand() {
    if host::is_impossible() {
        return;
    }
    let host = Host::new("check");
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        host.write("/etc/lifeboat/lifeboat.toml", &text);
        let output = host.run("lifeboat config check");
        assert_eq!(output.code, 0, "{}\n{output}", path.display());
        assert!(
            !output.stdout.contains("warning"),
            "{}\n{output}",
            path.display()
        );
        let introduction: Vec<&str> = text.lines().take_while(|l| l.starts_with('#')).collect();
        let introduction = introduction.join("\n");
        assert!(
            introduction.contains("# Change: "),
            "{} does not say what to change",
            path.display()
        );
        assert!(
            introduction.contains("docs/systems/"),
            "{} does not name its page",
            path.display()
        );
        count += 1;
    }
    assert!(count > 0);
}
