//! A machine that really runs, under QEMU without KVM: its database is dumped over SSH and its disk copied by
//! the recipe `qcow2` while it runs; a drill boots the copy, compares its database, and asks it what it is.

use crate::support::{App, HEAD, Output, run};
use lifeboat_testkit::privilege::needs_root;
use lifeboat_testkit::s3::tool;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time that a machine takes to boot where others use the processors, too.
const BOOT: Duration = Duration::from_secs(240);
const SSH: u16 = 20022;
const WEB: u16 = 20080;

const SCHEMA: &str = "
create database helpdesk character set utf8mb4;
use helpdesk
create table users (id int primary key, email varchar(200) not null unique) engine=innodb;
create table tickets (id int primary key, user int not null, body mediumtext, foreign key (user) references users (id)) engine=innodb;
insert into users select seq, concat('user', seq, '@example.org') from seq_1_to_200;
insert into tickets select seq, 1 + seq mod 200, repeat('Grüße ', seq mod 50) from seq_1_to_1000;
";

/// Arguments that the machine and its copies have in common.
const ARGUMENTS: &str = "-machine
accel=tcg
-cpu
Nehalem
-m
512M
-kernel
{guest}/kernel
-initrd
{guest}/initrd
-append
root=/dev/vda rootfstype=ext4 net.ifnames=0 mitigations=off console=ttyS0 quiet
-device
virtio-rng-pci
";

/// Whether no machine can be booted here.
fn is_impossible() -> bool {
    if needs_root("make the disk of a machine that boots") {
        return true;
    }
    let is_there = Path::new("/usr/bin/qemu-system-x86_64").exists();
    if !is_there {
        eprintln!("left out: qemu-system-x86_64 is missing, which scripts/tools installs");
    }
    !is_there
}

fn recipe() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/machines/qcow2")
}

/// The machine that users use. It ends with its value, and so do its copies.
struct Live {
    directory: tempfile::TempDir,
    address: String,
    qemu: Child,
}

impl Live {
    fn boot() -> Live {
        let directory = tempfile::tempdir().unwrap();
        let guest = tool("guest").canonicalize().unwrap();
        let number = std::process::id();
        let address = format!("127.67.{}.{}", number / 250 % 250, number % 250 + 1);
        let path = |name: &str| directory.path().join(name);
        std::fs::copy(guest.join("id"), path("id")).unwrap();
        let key = std::fs::read_to_string(guest.join("hostkey.pub")).unwrap();
        std::fs::write(path("known_hosts"), format!("[{address}]:{SSH} {key}")).unwrap();
        let arguments = ARGUMENTS.replace("{guest}", &guest.display().to_string());
        std::fs::write(path("arguments"), &arguments).unwrap();
        let disk = guest.join("disk");
        let made = run(Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
            .arg(disk)
            .arg(path("live")));
        assert_eq!(made.code, 0, "{made}");
        let forwards = format!("hostfwd=tcp:{address}:{SSH}-:22,hostfwd=tcp:{address}:{WEB}-:80");
        let qemu = Command::new("qemu-system-x86_64")
            .args(arguments.lines())
            .args(["-display", "none", "-serial", "file:console"])
            .args(["-drive", "file=live,format=qcow2,if=virtio"])
            .args(["-netdev", &format!("user,id=net,{forwards}")])
            .args(["-device", "virtio-net-pci,netdev=net"])
            .args(["-qmp", "unix:qmp,server=on,wait=off"])
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let live = Live {
            directory,
            address,
            qemu,
        };
        let begun = Instant::now();
        while live.ssh("mariadb -e 'select 1'").code != 0 {
            assert!(begun.elapsed() < BOOT, "{}", live.console());
            std::thread::sleep(Duration::from_millis(500));
        }
        eprintln!("booted after {} s", begun.elapsed().as_secs());
        live
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn console(&self) -> String {
        let said = std::fs::read(self.path("console")).unwrap_or_default();
        String::from_utf8_lossy(&said).into_owned()
    }

    fn ssh(&self, script: &str) -> Output {
        let known = format!("UserKnownHostsFile={}", self.path("known_hosts").display());
        run(Command::new("ssh")
            .args([
                "-F",
                "none",
                "-o",
                "BatchMode=yes",
                "-o",
                "ConnectTimeout=10",
            ])
            .args(["-o", &known, "-i"])
            .arg(self.path("id"))
            .args(["-p", &SSH.to_string(), &format!("root@{}", self.address)])
            .arg(script)
            .stdin(Stdio::null()))
    }

    fn sql(&self, statements: &str) {
        let done = self.ssh(&format!("mariadb <<'END'\n{statements}\nEND"));
        assert_eq!(done.code, 0, "{done}");
    }

    /// The names of the copies that drills made.
    fn copies(&self) -> Vec<String> {
        let found = std::fs::read_dir(self.path("machines"));
        let found = found.into_iter().flatten().flatten();
        found
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect()
    }

    /// The processes of copies.
    fn processes(&self) -> usize {
        let machines = self.path("machines").display().to_string();
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let words = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        words
            .filter(|words| {
                let words = String::from_utf8_lossy(words);
                words.contains("qemu-system") && words.contains(&machines)
            })
            .count()
    }

    /// Asks the recipe.
    fn ask(&self, verb: &str, rest: serde_json::Value) -> serde_json::Value {
        let mut asked = rest;
        asked["verb"] = verb.into();
        asked["machine"] = self.directory.path().display().to_string().into();
        let mut child = Command::new(recipe())
            .args([format!("{SSH}:22")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(asked.to_string().as_bytes()).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{asked}");
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        for copy in self.copies() {
            self.ask("destroy", serde_json::json!({ "id": copy }));
        }
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Answers every request to this host, at the port that is returned.
fn neighbour() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhere\n");
        }
    });
    port
}

fn application(live: &Live, neighbour: &str) -> App {
    let app = App::with("");
    let program = recipe().display().to_string();
    app.configure(&format!(
        r#"{HEAD}
[source.db]
kind = "mariadb"
via = "ssh:root@{address}:{SSH}"
ssh = {{ key = "file:{key}", known_hosts = "{known}" }}
socket = "/run/mysqld/mysqld.sock"
user = "root"
database = "helpdesk"

[source.machine]
kind = "external"
machine = "{machine}"
create = ["{program}"]
list = ["{program}"]
delete = ["{program}"]
restore = ["{program}", "{SSH}:22", "{WEB}:80"]
machines = ["{program}"]
destroy = ["{program}"]
keep_at_source = {{ last = 1 }}
holds = ["db"]

[store.here]
kind = "local"
path = "{{root}}/store"

[plan.daily]
sources = ["db", "machine"]
stores = ["here"]

[drill.weekly]
plans = ["daily"]
checks = [
  {{ sql = "db", query = "select count(*) from users", expect = "= 200", on = "machine" }},
  {{ command = ["systemctl", "is-active", "mariadb", "ssh", "site"], on = "machine" }},
  {{ http = "http://{{machine}}:{WEB}/cgi-bin/login", contains = "Sign in, one of 200" }},
  {{ command = ["sh", "-c", "! {neighbour}"], on = "machine" }},
]
"#,
        address = live.address,
        key = live.path("id").display(),
        known = live.path("known_hosts").display(),
        machine = live.directory.path().display(),
    ));
    app
}

#[test]
fn a_machine_that_runs_is_copied_booted_in_quarantine_and_proved() {
    if is_impossible() {
        return;
    }
    let live = Live::boot();
    live.sql(SCHEMA);
    let neighbour = format!(
        "timeout 10 busybox wget -qO- http://10.0.2.2:{}/",
        neighbour()
    );
    let seen = live.ssh(&neighbour);
    assert_eq!(seen.stdout, "here\n", "{seen}");
    let app = application(&live, &neighbour);
    let begun = Instant::now();
    app.backup();
    eprintln!("backed up in {} s", begun.elapsed().as_secs());

    // What is in the copy, and not what is live by now.
    live.sql("set foreign_key_checks = 0; delete from helpdesk.users;");
    let begun = Instant::now();
    let drilled = app.json(&["drill", "weekly"]);
    eprintln!("drilled in {} s", begun.elapsed().as_secs());
    assert_eq!(drilled["outcome"], "verified", "{drilled:#}");
    let checks = drilled["checks"].to_string();
    assert!(checks.contains("db on machine: content"), "{checks}");
    assert_eq!((live.copies().len(), live.processes()), (0, 0));

    a_killed_drill_is_reaped(&live, &app);
    a_copy_ends_when_its_time_is_over(&live);
    let answers = live.ssh("systemctl is-active mariadb");
    assert_eq!(answers.stdout, "active\n", "{answers}");
}

/// The next backup destroys what it left.
fn a_killed_drill_is_reaped(live: &Live, app: &App) {
    app.kill_once(&["drill", "weekly"], "a machine is made", || {
        live.processes() == 2
    });
    let left = live.copies();
    assert_eq!((left.len(), live.processes()), (1, 2), "it runs on");
    let backed_up = app.ok(&["backup"]);
    backed_up.says(&[&left[0], "of a drill that was ended is destroyed"]);
    assert_eq!((live.copies().len(), live.processes()), (0, 0));
}

/// A copy ends although nobody comes by who would destroy it; then its snapshot is deleted.
fn a_copy_ends_when_its_time_is_over(live: &Live) {
    let snapshots = live.ask("list", serde_json::json!({}));
    let snapshots = snapshots["snapshots"].as_array().unwrap();
    assert_eq!(snapshots.len(), 2, "{snapshots:?}");
    let id = &snapshots[0]["id"];
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4);
    let expires = expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let wanted = serde_json::json!({ "id": id, "name": "brief", "expires": expires });
    let made = live.ask("restore", wanted);
    assert_eq!(made["id"], "brief", "{made}");
    let begun = Instant::now();
    while live.processes() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it lives on");
        std::thread::sleep(Duration::from_millis(100));
    }
    let listed = live.ask("machines", serde_json::json!({}));
    assert_eq!(listed["machines"][0]["state"], "error", "{listed}");
    live.ask("destroy", serde_json::json!({ "id": "brief" }));
    assert_eq!(live.copies().len(), 0);
    live.ask("delete", serde_json::json!({ "id": id }));
    live.ask("delete", serde_json::json!({ "id": id }));
    let left = live.ask("list", serde_json::json!({}));
    assert_eq!(left["snapshots"].as_array().unwrap().len(), 1, "{left}");
}
