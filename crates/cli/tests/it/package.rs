//! The Debian package: made from the program under test, installed, used, upgraded, removed and purged in
//! a Debian of its own; and its units, under a systemd of their own.

use crate::support::{LIFEBOAT, Output, run};
use lifeboat_testkit::debian::Debian;
use lifeboat_testkit::privilege::needs_root;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `systemd-analyze security` may say of the services at most, in tenths: 0 is a program that can do
/// nothing, 100 one that can do everything. Both have 30; other releases of systemd weigh a little otherwise.
const EXPOSURE_MAX: u32 = 32;
const UNITS: [&str; 3] = [
    "lifeboat.service",
    "lifeboat-run.service",
    "lifeboat-run.timer",
];

/// Makes the package of this revision.
fn package(directory: &Path, revision: u32) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/deb/build");
    let mut build = Command::new(script);
    build
        .args(["--compress", "none", "--binary", LIFEBOAT, "--output"])
        .arg(directory)
        .args(["--revision", &revision.to_string()])
        .env("SOURCE_DATE_EPOCH", "1790000000");
    let built = run(&mut build);
    assert_eq!(built.code, 0, "{built}");
    PathBuf::from(built.stdout.trim_end())
}

/// A Debian with the packages `/1.deb` and `/2.deb`.
struct Host(Debian);

impl Host {
    fn new() -> Self {
        let host = Host(Debian::lay());
        let directory = tempfile::tempdir().unwrap();
        for revision in [1, 2] {
            let package = package(directory.path(), revision);
            host.0.put(&package, &format!("/{revision}.deb"));
        }
        host
    }

    fn run(&self, line: &str) -> Output {
        run(&mut self.0.command("sh", &["-euc", line]))
    }

    /// Runs a line of shell, which must succeed; what it prints.
    fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        if output.code != 0 {
            let journal = self.run("journalctl --no-pager -n 30 2>&1 || true");
            panic!("{line}\n{output}\n{}", journal.stdout);
        }
        output.stdout
    }

    /// Every file and directory, but for what dpkg keeps for itself.
    fn files(&self) -> BTreeSet<String> {
        let own = "-path /var/lib/dpkg -o -path /var/log -o -path /var/cache -o -path '/*.deb'";
        let found = self.ok(&format!(
            "find / -xdev \\( {own} \\) -prune -o -printf '%M %u %p\\n'"
        ));
        found.lines().map(str::to_owned).collect()
    }

    fn is_there(&self, path: &str) -> bool {
        self.run(&format!("test -e {path}")).code == 0
    }
}

/// Left out where only root could run it.
fn host() -> Option<Host> {
    (!needs_root("install a package")).then(Host::new)
}

const CONFIGURATION: &str = r#"
version = 1
app = { name = "crm" }
source.db = { kind = "sqlite", path = "/srv/crm/app.db" }
source.files = { kind = "files", paths = ["/srv/crm/uploads"] }
store.disk = { kind = "local", path = "/var/backups/lifeboat" }
plan.daily = { schedule = "0 6 * * *", sources = ["db", "files"], stores = ["disk"] }
"#;

/// Writes a configuration, and what it protects.
fn set_up(host: &Host) {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("lifeboat.toml"), CONFIGURATION).unwrap();
    std::fs::write(file("picture"), "a picture").unwrap();
    let database = rusqlite::Connection::open(file("app.db")).unwrap();
    database
        .execute_batch("PRAGMA journal_mode = wal; CREATE TABLE client (id INTEGER PRIMARY KEY)")
        .unwrap();
    drop(database);
    host.0
        .put(&file("lifeboat.toml"), "/etc/lifeboat/lifeboat.toml");
    host.0.put(&file("picture"), "/srv/crm/uploads/picture");
    host.0.put(&file("app.db"), "/srv/crm/app.db");
    host.ok("chmod 600 /etc/lifeboat/lifeboat.toml");
}

#[test]
fn a_package_that_is_installed_and_purged_unused_leaves_nothing() {
    let Some(host) = host() else { return };
    let before = host.files();
    let users = host.ok("cat /etc/passwd /etc/group");
    let installed = host.ok("dpkg -i /1.deb");
    assert!(
        installed.contains("next: cd /etc/lifeboat && lifeboat init"),
        "{installed}"
    );
    let after = host.files();
    let new: Vec<&String> = after.difference(&before).collect();
    for line in [
        "-rwxr-xr-x root /usr/bin/lifeboat",
        "drwx------ root /etc/lifeboat",
        "drwx------ root /var/lib/lifeboat",
        "-rw-r--r-- root /usr/lib/systemd/system/lifeboat.service",
        "-rw-r--r-- root /usr/share/zsh/vendor-completions/_lifeboat",
        "-rw-r--r-- root /usr/share/doc/lifeboat/docs/restore.md",
    ] {
        assert!(new.iter().any(|new| *new == line), "{line}: {new:#?}");
    }
    let others = |line: &&&String| {
        !line.contains(" root ") || line.contains("rw-rw") || line.contains("rwxrwx")
    };
    let links = |line: &&&String| line.starts_with('l');
    let odd: Vec<_> = new
        .iter()
        .copied()
        .filter(|line| others(&line) && !links(&line))
        .collect();
    assert!(odd.is_empty(), "{odd:#?}");
    assert_eq!(host.ok("cat /etc/passwd /etc/group"), users);
    let purged = host.ok("dpkg --purge lifeboat");
    assert!(
        !purged.contains("These stay") && !purged.contains("disable"),
        "{purged}"
    );
    let left = host.files();
    let left: Vec<_> = left.symmetric_difference(&before).collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn what_is_installed_is_whole() {
    let Some(host) = host() else { return };
    host.ok("dpkg -i /1.deb");
    host.ok("dpkg --verify lifeboat && dpkg --audit");
    let enabled = host.run("systemctl is-enabled lifeboat.service lifeboat-run.timer");
    assert_eq!(enabled.stdout, "disabled\ndisabled\n", "{enabled}");
    let units = UNITS
        .map(|name| format!("/usr/lib/systemd/system/{name}"))
        .join(" ");
    let verified = host.run(&format!("systemd-analyze verify --man=no {units}"));
    assert_eq!(
        (verified.code, verified.stderr.as_str()),
        (0, ""),
        "{verified}"
    );
    for service in ["lifeboat.service", "lifeboat-run.service"] {
        let security = "systemd-analyze security --no-pager --offline=true";
        host.ok(&format!("{security} --threshold={EXPOSURE_MAX} {service}"));
    }
    // Man pages of all commands, as this program writes them.
    host.ok("lifeboat man --output /pages");
    let pages = host.ok("cd /pages; ls | sed 's/$/.gz/'");
    assert_eq!(host.ok("cd /usr/share/man/man1; ls lifeboat*"), pages);
    host.ok(
        "cd /pages; for page in *; do gunzip -c /usr/share/man/man1/$page.gz | cmp - $page; done",
    );
    let named = host.ok("cat /usr/lib/systemd/system/lifeboat*");
    for page in named
        .lines()
        .filter_map(|line| line.strip_prefix("Documentation=man:"))
    {
        let page = page.replace("(1)", ".1.gz");
        assert!(
            host.is_there(&format!("/usr/share/man/man1/{page}")),
            "{page}"
        );
    }
    let completed = "COMP_WORDS=(lifeboat evid) COMP_CWORD=1; _lifeboat lifeboat evid lifeboat; echo ${COMPREPLY[*]}";
    let completions = "/usr/share/bash-completion/completions/lifeboat";
    let completed = host.ok(&format!("bash -c '. {completions}; {completed}'"));
    assert_eq!(completed, "evidence\n");
}

/// systemd reads each path of a unit in a way of its own.
#[test]
fn systemd_understands_units_for_paths_with_odd_names() {
    let Some(host) = host() else { return };
    host.ok("dpkg -i /1.deb");
    set_up(&host);
    for odd in [
        "a b",
        "100%h",
        r#"it's \"it\""#,
        "$HOME",
        r"b\s",
        "[a]*?",
        "x ; y",
        "\u{fc}",
    ] {
        let quote = lifeboat_core::shell::quote;
        let at = quote(&format!("/srv/{odd}"));
        let metrics = quote(&format!("{:?}", format!("/srv/{odd}/l.prom")));
        host.ok(&format!(
            "mkdir -p {at} /units && cp -p /etc/lifeboat/lifeboat.toml {at}/l.toml
            printf 'run.metrics_file = %s\\n' {metrics} >>{at}/l.toml
            lifeboat --config {at}/l.toml init --systemd --force --output /units"
        ));
        let verified = host.run("systemd-analyze verify --man=no /units/lifeboat*");
        assert_eq!(
            (verified.code, verified.stderr.as_str()),
            (0, ""),
            "{odd}: {verified}"
        );
    }
}

#[test]
fn what_is_kept_is_kept_through_an_upgrade_a_removal_and_a_purge() {
    let Some(host) = host() else { return };
    host.ok("dpkg -i /1.deb");
    set_up(&host);
    host.ok("lifeboat backup && lifeboat verify && lifeboat drill");
    // The usual configuration needs no other units than those that ship.
    host.ok("lifeboat init --systemd");
    host.ok("cd /usr/lib/systemd/system; for unit in lifeboat*; do cmp $unit /etc/systemd/system/$unit; done");
    // They would start with a host without the program.
    host.ok("systemctl enable lifeboat-run.timer");
    let removed = host.ok("dpkg --remove lifeboat");
    assert!(
        removed.contains(": systemctl disable lifeboat-run.timer\n"),
        "{removed}"
    );
    host.ok(
        "systemctl disable lifeboat-run.timer; rm /etc/systemd/system/lifeboat*; dpkg -i /1.deb",
    );
    host.ok("systemctl enable lifeboat-run.timer");
    let key = host.ok("sha256sum /var/lib/lifeboat/signing.key");
    let points = host.ok("lifeboat --json points");
    let is_kept = |programs: bool| {
        assert_eq!(host.ok("sha256sum /var/lib/lifeboat/signing.key"), key);
        host.ok(
            "test -f /etc/lifeboat/lifeboat.toml && test -d /var/backups/lifeboat/lifeboat/points",
        );
        assert_eq!(host.is_there("/usr/bin/lifeboat"), programs);
    };
    let upgraded = host.ok("dpkg -i /2.deb");
    assert!(!upgraded.contains("next:"), "{upgraded}");
    is_kept(true);
    assert_eq!(
        host.ok("systemctl is-enabled lifeboat-run.timer"),
        "enabled\n"
    );
    assert_eq!(host.ok("lifeboat --json points"), points);
    host.ok("dpkg --remove lifeboat");
    is_kept(false);
    assert!(host.is_there("/var/lib/lifeboat/catalog.db"));
    let purged = host.ok("dpkg --purge lifeboat");
    is_kept(false);
    for line in [
        "/etc/lifeboat",
        "/var/lib/lifeboat",
        "/var/backups/lifeboat",
    ] {
        assert!(
            purged.contains(&format!("lifeboat:   {line}\n")),
            "{purged}"
        );
    }
    let stays = host.ok("ls -A /var/lib/lifeboat");
    assert_eq!(stays, "evidence\nsigning.key\n");
    let wants = host.ok("find /etc/systemd /var/lib/systemd/deb-systemd-helper* -name 'lifeboat*'");
    assert_eq!(wants, "");
    // What stayed is enough: the same points, with the same signer, are trusted as before.
    host.ok("dpkg -i /1.deb && lifeboat verify && lifeboat evidence verify && lifeboat gate");
}

/// Where the directories of the package are links, they and what is behind them are the operator's.
#[test]
fn links_in_place_of_its_directories_are_not_followed_and_stay() {
    let Some(host) = host() else { return };
    let state = "/srv/state/apps/crm-production";
    host.ok("mkdir -p /srv/state /srv/etc; ln -s /srv/state /var/lib/lifeboat; ln -s /srv/etc /etc/lifeboat");
    host.ok("mkdir -p /mnt; ln -s /mnt/disk/that/is/away /var/backups/lifeboat");
    host.ok("dpkg -i /1.deb");
    host.ok(&format!("mkdir -p {state}/jobs /srv/state/locks; touch {state}/catalog.db /srv/state/signing.key /srv/etc/lifeboat.toml"));
    let look = "find /srv | sort; readlink /var/lib/lifeboat /etc/lifeboat /var/backups/lifeboat";
    let before = host.ok(look);
    host.ok("dpkg -i /2.deb && dpkg -i /2.deb && dpkg -i --force-downgrade /1.deb");
    host.ok("dpkg --remove lifeboat");
    assert_eq!(host.ok(look), before);
    host.ok("dpkg -i /1.deb");
    let purged = host.ok("dpkg --purge lifeboat");
    assert_eq!(host.ok(look), before);
    assert!(
        purged.contains("/var/lib/lifeboat -> /srv/state, untouched"),
        "{purged}"
    );
    let again = host.ok("dpkg -i /1.deb");
    assert!(again.contains("next: lifeboat doctor"), "{again}");
}

#[test]
fn a_purge_leaves_what_is_not_its_own_below_the_state_directory() {
    let Some(host) = host() else { return };
    host.ok("dpkg -i /1.deb && mkdir -p /srv/apps/crm-production && touch /srv/apps/crm-production/catalog.db");
    host.ok("cd /var/lib/lifeboat; mkdir -p store/locks jobs.db-old scratch locks; ln -s /srv/apps apps
        touch store/catalog.db catalog.db catalog.db-wal jobs.db.damaged-1 catalog.db.mine; ln -s /srv jobs");
    host.ok("unshare --mount sh -euc 'mount -t tmpfs scratch /var/lib/lifeboat/scratch; dpkg --purge lifeboat'");
    let left = host.ok("cd /var/lib/lifeboat; find . | sort; ls /srv/apps/crm-production");
    let kept = ".\n./apps\n./catalog.db.mine\n./jobs.db-old\n./scratch\n./store\n./store/catalog.db\n./store/locks\ncatalog.db\n";
    assert_eq!(left, kept);
}

/// A host with systemd, whose package is installed and set up; none where there can be no systemd.
fn booted() -> Option<Host> {
    let mut host = host()?;
    host.ok("dpkg -i /1.deb");
    set_up(&host);
    if let Err(why) = host.0.boot() {
        eprintln!("left out: no systemd can run here: {why}");
        return None;
    }
    Some(host)
}

/// A plan more.
const SECOND: &str =
    r#"plan.second = { schedule = "0 7 * * *", sources = ["files"], stores = ["disk"] }"#;

/// A file that only a program with privileges can restore as it was.
const HARD: &str =
    "chown 1234:5678 /srv/crm/uploads/picture && chmod 4750 /srv/crm/uploads/picture";

#[test]
fn a_backup_and_a_drill_succeed_in_the_units_and_nothing_else_can_be_written() {
    let Some(host) = booted() else { return };
    host.ok(HARD);
    let drill = "drill.weekly = { schedule = \"0 3 * * 0\", plans = [\"daily\"], checks = [{ live = \"db\" }] }";
    host.ok(&format!("echo '{drill}' >>/etc/lifeboat/lifeboat.toml"));
    let before = host.ok("ls -lR /srv; sha256sum /srv/crm/app.db");
    // By the timer's service first, then by the daemon, which takes the place of the timer.
    host.ok("systemctl start lifeboat-run.timer lifeboat-run.service");
    host.ok("lifeboat gate && lifeboat status --check");
    // Owners are proved, too, which takes privileges.
    let proved = host.ok("lifeboat --json evidence list");
    let proved: serde_json::Value = serde_json::from_str(&proved).unwrap();
    let limits = &proved["evidence"][0]["limits"];
    assert_eq!(limits.as_array().map(Vec::len), Some(0), "{limits:#}");
    assert_eq!(host.ok("ls -lR /srv; sha256sum /srv/crm/app.db"), before);
    host.ok("systemctl start lifeboat.service");
    let timer = host.run("systemctl is-active --quiet lifeboat-run.timer");
    assert_ne!(timer.code, 0);
    host.ok(&format!("echo '{SECOND}' >>/etc/lifeboat/lifeboat.toml"));
    host.ok("systemctl reload lifeboat.service");
    // A plan that never ran is due at once.
    let taken = "lifeboat --json points | grep -q '\"plan\": \"second\"'";
    host.ok(&format!(
        "for n in $(seq 200); do if {taken}; then exit 0; fi; sleep 0.1; done; exit 1"
    ));
    host.ok("echo nonsense >>/etc/lifeboat/lifeboat.toml");
    assert_ne!(host.run("systemctl reload lifeboat.service").code, 0);
    host.ok("systemctl is-active --quiet lifeboat.service && systemctl stop lifeboat.service");
    // The sandbox of the unit, around a shell.
    let probe = "touch /var/lib/lifeboat/x /var/backups/lifeboat/x; cat /etc/shadow >/var/lib/lifeboat/read; \
        for path in /srv/crm/x /etc/x /root/x /usr/x /run/x; do touch $path; done; mount -t tmpfs t /mnt; \
        unshare --user true; test -e /srv/crm/app.db && touch /tmp/x";
    let services = "/usr/lib/systemd/system";
    host.ok(&format!(
        "sed -e 's|^ExecStart=.*|ExecStart=-/bin/sh /probe|' {services}/lifeboat-run.service >/etc/systemd/system/probe.service
         printf '%s' '{probe}' >/probe; systemctl daemon-reload; systemctl start probe.service"
    ));
    host.ok("test -e /var/lib/lifeboat/x && test -e /var/backups/lifeboat/x && test -s /var/lib/lifeboat/read");
    for path in [
        "/srv/crm/x",
        "/etc/x",
        "/root/x",
        "/usr/x",
        "/run/x",
        "/tmp/x",
    ] {
        assert!(!host.is_there(path), "{path}");
    }
}

#[test]
fn an_upgrade_restarts_the_daemon_and_a_removal_stops_it() {
    let Some(host) = booted() else { return };
    host.ok("systemctl enable --now lifeboat.service");
    let process = "systemctl show --property MainPID --value lifeboat.service";
    let before = host.ok(process);
    host.ok("dpkg -i /2.deb");
    host.ok("systemctl is-active --quiet lifeboat.service");
    assert_ne!(host.ok(process), before);
    host.ok("dpkg --remove lifeboat");
    assert_ne!(
        host.run("systemctl is-active --quiet lifeboat.service")
            .code,
        0
    );
    host.ok("dpkg -i /1.deb");
    assert_eq!(
        host.ok("systemctl is-enabled lifeboat.service"),
        "enabled\n"
    );
    host.ok("dpkg --purge lifeboat");
    assert_ne!(host.run("systemctl is-enabled lifeboat.service").code, 0);
}

/// What makes a static program possible: nothing of the system is needed that is not in the program.
#[test]
fn the_program_needs_its_libraries_and_nothing_else() {
    if needs_root("change the root directory") {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/static/prove");
    let proved = run(Command::new(script).arg(LIFEBOAT));
    assert_eq!(proved.code, 0, "{proved}");
    proved.says(&["prove: passed"]);
}
