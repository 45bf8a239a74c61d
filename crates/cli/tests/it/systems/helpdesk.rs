//! The helpdesk: MariaDB on an instance of Lightsail, dumped over SSH from a runner, and a snapshot of the
//! instance. Instances that are made of snapshots really boot: each is a host of its own with the files of the
//! snapshot, its database and its servers, behind the static address if that is led to it.

use super::host::boot;
use super::workflow::Workflow;
use super::{Host, System, damage, free_port, hours};
use lifeboat_testkit::channels::ChannelServer;
use lifeboat_testkit::lightsail::{Fault, Lightsail};
use lifeboat_testkit::s3::{MotoServer, tool};
use serde_json::json;
use std::process::Command;

const SCHEMA: &str = "
create database helpdesk character set utf8mb4;
use helpdesk
create table users (id int primary key, email varchar(200) not null unique) engine=innodb;
create table conversations (id int primary key auto_increment, user int not null, subject varchar(300), body mediumtext, created datetime(6)) engine=innodb;
create table threads (id int primary key auto_increment, conversation int, body text, foreign key (conversation) references conversations (id)) engine=innodb;
insert into users select seq, concat('user', seq, '@example.org') from seq_1_to_300;
insert into conversations (user, subject, body, created) select 1 + seq mod 300, concat('Ticket ', seq, ': it''s \"broken\"'), repeat('Grüße ', seq mod 50), '2026-03-01 10:00:00.123456' from seq_1_to_1500;
insert into threads (conversation, body) select seq, 'answer' from seq_1_to_1500;
create user helpdesk@localhost identified by 'of-the-database';
grant all on helpdesk.* to helpdesk@localhost;
grant all on `helpdesk\\_%`.* to helpdesk@localhost;
grant select on mysql.proc to helpdesk@localhost;
create definer=helpdesk@localhost view latest as select * from conversations order by created desc limit 10;
";

/// The site: it answers while the server runs and the database has users.
const SITE: &str = r#"
import http.server, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = subprocess.run(["mariadb", "--no-defaults", "--socket=/run/mysqld/mysqld.sock", "-uroot", "-N", "-e", "select count(*) from helpdesk.users"], capture_output=True, text=True)
        self.send_response(200 if asked.stdout.strip() not in ("", "0") else 500)
        self.end_headers()
    def log_message(self, *words):
        pass
http.server.HTTPServer((sys.argv[2], int(sys.argv[1])), Handler).serve_forever()
"#;

const SYSTEMCTL: &str = r#"#!/bin/sh
echo "systemctl $*" >> /fixture/asked.log
case "$*" in
  "start apache2") setsid python3 /fixture/site.py PORT "$(cat /fixture/address)" </dev/null >/dev/null 2>&1 & echo $! > /run/site.pid;;
  "stop apache2") [ ! -e /run/site.pid ] || kill "$(cat /run/site.pid)"; rm -f /run/site.pid;;
esac
"#;

/// Boots the instance, at an address.
const BOOT: &str = r#"
set -e
echo "$1" > /fixture/address
install -d -o mysql -g mysql /run/mysqld
install -d -m 755 /run/sshd
chmod 777 /run
setsid mariadbd --no-defaults --user=mysql --datadir=/var/lib/mysql --socket=/run/mysqld/mysqld.sock --skip-networking \
  --innodb-buffer-pool-size=32M --innodb-log-file-size=8M </dev/null > /fixture/mariadbd.log 2>&1 &
sed "s/^ListenAddress .*/ListenAddress $1:SSH/" /fixture/sshd_config > /run/sshd_config
/usr/sbin/sshd -f /run/sshd_config
systemctl start apache2
exec sleep 86400
"#;

const REGION: &str = "us-east-1";
const BUCKET: &str = "helpdesk-attachments";

/// Addresses of this test, and the ports at which instances answer.
struct Places {
    instance: String,
    users: String,
    ssh: u16,
    site: u16,
}

impl Places {
    fn new() -> Places {
        let number = std::process::id();
        let part = format!("{}.{}", number / 250 % 250, number % 250 + 1);
        Places {
            instance: format!("127.76.{part}"),
            users: format!("127.88.{part}"),
            ssh: free_port(),
            site: free_port(),
        }
    }
}

/// The instance: its database, its web server, and its SSH server.
fn instance(places: &Places) -> Host {
    let host = Host::new("helpdesk");
    super::mariadb(&host, None);
    super::sql(&host, SCHEMA);
    host.write("/fixture/site.py", SITE);
    host.write("/fixture/address", &places.instance);
    host.write(
        "/fixture/boot",
        BOOT.replace("SSH", &places.ssh.to_string()),
    );
    host.program(
        "systemctl",
        &SYSTEMCTL.replace("PORT", &places.site.to_string()),
    );
    host.program(
        "sudo",
        "#!/bin/sh\n[ \"$1\" != -u ] || shift 2\nexec \"$@\"\n",
    );
    host.program("php", "#!/bin/sh\necho \"php $*\" >> /fixture/asked.log\n");
    host.write("/var/www/html/helpdesk/artisan", "<?php\n");
    host.write(
        "/var/www/html/helpdesk/.env",
        "DB_PASSWORD=of-the-database\n",
    );
    host.write(
        "/fixture/sshd_config",
        format!(
            "ListenAddress {}:{}\nHostKey /fixture/hostkey\nAuthorizedKeysFile /home/admin/.ssh/authorized_keys\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nUseDNS no\n\
             SetEnv PATH=/fixture/bin:/usr/bin:/bin\n",
            places.instance, places.ssh
        ),
    );
    host.sh(
        "echo 'admin:x:1000:1000::/home/admin:/bin/sh' >> /etc/passwd
         echo 'admin:x:1000:' >> /etc/group
         echo 'admin:*:19000:0:99999:7:::' >> /etc/shadow
         touch /fixture/asked.log && chmod 666 /fixture/asked.log && chmod 777 /run
         mkdir -p /home/admin/.ssh /run/sshd && chmod 755 /run/sshd
         ssh-keygen -q -t ed25519 -N '' -C '' -f /fixture/hostkey
         ssh-keygen -q -t ed25519 -N '' -C '' -f /home/admin/.ssh/id
         cp /home/admin/.ssh/id.pub /home/admin/.ssh/authorized_keys
         chown -R 1000:1000 /home/admin && chmod 700 /home/admin /home/admin/.ssh
         /usr/sbin/sshd -f /fixture/sshd_config
         systemctl start apache2",
    );
    host
}

/// What the world around the runner has.
struct World {
    places: Places,
    instance: Host,
    s3: MotoServer,
    lightsail: Lightsail,
    chat: ChannelServer,
    /// Where snapshots and host keys are kept.
    kept: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let places = Places::new();
        let instance = instance(&places);
        let (s3, lightsail) = (MotoServer::start(), Lightsail::start());
        let kept = tempfile::tempdir().unwrap();
        let path = |name: &str| kept.path().join(name).display().to_string();
        lightsail.make_instance_at(REGION, "helpdesk", &places.instance);
        lightsail.forward(&[places.ssh, places.site]);
        lightsail.make_static_ip_at(REGION, "helpdesk-ip", &places.users, "helpdesk");
        let take = instance.snapshot(&path("{snapshot}.tar"), "mariadbd");
        lightsail.on_snapshot(&["sh", "-c", &take]);
        let words = boot(
            &path("{snapshot}.tar"),
            &path("{instance}.pub"),
            "{address}",
        );
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        lightsail.boot(&words);
        lightsail.host_keys(&path("{instance}.pub"));
        lightsail.delay(0.5, 0.5);
        World {
            places,
            instance,
            s3,
            lightsail,
            chat: ChannelServer::start(),
            kept,
        }
    }

    /// Puts a parameter into the store of parameters.
    fn parameter(&self, name: &str, value: &str) {
        let name = format!("/helpdesk/{name}");
        let put = [
            "ssm",
            "put-parameter",
            "--type",
            "SecureString",
            "--overwrite",
        ];
        let ended = Command::new(tool("venv/bin/aws"))
            .args([&put[..], &["--name", &name, "--value", value]].concat())
            .env("AWS_ENDPOINT_URL", self.s3.endpoint())
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", &self.s3.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &self.s3.secret_key)
            .output()
            .unwrap();
        assert!(ended.status.success(), "{ended:?}");
    }

    /// Lets a runner have these keys, which Lightsail knows too, and reach everybody.
    fn reach(&self, host: &mut Host, (access, secret): (&str, &str)) {
        self.lightsail
            .control(&json!({ "do": "key", "access_key": access, "secret_key": secret }));
        host.env("AWS_ACCESS_KEY_ID", access);
        host.env("AWS_SECRET_ACCESS_KEY", secret);
        host.env("AWS_REGION", REGION);
        host.env("AWS_ENDPOINT_URL", &self.s3.endpoint());
        host.env("AWS_ENDPOINT_URL_LIGHTSAIL", &self.lightsail.endpoint());
        host.env("AWS_EC2_METADATA_DISABLED", "true");
        host.sh(&format!(
            "grep -q helpdesk.example.org /etc/hosts || echo '{} helpdesk.example.org' >> /etc/hosts",
            self.places.users
        ));
    }

    /// The instances that there are.
    fn instances(&self) -> Vec<String> {
        self.lightsail.names(REGION, "instances")
    }
}

/// The runner, as its page begins.
fn runner(world: &World) -> System {
    let mut helpdesk = System::new("helpdesk");
    let (places, s3) = (&world.places, &world.s3);
    let bucket = format!("bucket = \"{BUCKET}\"");
    let real = format!("{bucket}\nendpoint = \"{}\"", s3.endpoint());
    helpdesk.stand_in(&bucket, &real);
    helpdesk.stand_in(
        "https://helpdesk.example.org/",
        &format!("http://helpdesk.example.org:{}/", places.site),
    );
    helpdesk.stand_in(
        "ssh:admin@helpdesk.example.org",
        &format!("ssh:admin@helpdesk.example.org:{}", places.ssh),
    );
    for channel in ["channel = \"D0123456789\"", "channel = \"C0AWAKE0001\""] {
        let real = format!("{channel}\napi = \"{}\"", world.chat.url());
        helpdesk.stand_in(channel, &real);
    }
    helpdesk.show_as("https://s3.us-east-1.amazonaws.com", &s3.endpoint());
    helpdesk.show_as("198.51.", "127.77.");
    helpdesk.show_as(
        "admin@helpdesk.example.org",
        &format!("admin@helpdesk.example.org:{}", places.ssh),
    );
    let keys = (s3.access_key.as_str(), s3.secret_key.as_str());
    world.reach(&mut helpdesk.host, keys);
    helpdesk.install();
    let host = &helpdesk.host;
    let signing =
        host.sh("ssh-keygen -q -t ed25519 -N '' -C helpdesk -f /root/signing && cat /root/signing");
    let instance = &world.instance;
    for (name, value) in [
        ("ssh_key", instance.read("/home/admin/.ssh/id").as_str()),
        ("db_password", "of-the-database"),
        ("signing_key", &signing),
        ("slack_token", &world.chat.secrets().slack),
    ] {
        world.parameter(name, value);
    }
    let key = instance.read("/fixture/hostkey.pub");
    host.write(
        "/etc/lifeboat/known_hosts",
        format!("[helpdesk.example.org]:{} {key}", places.ssh),
    );
    host.write(
        "/etc/lifeboat/allowed_signers",
        format!(
            "helpdesk namespaces=\"lifeboat\" {}",
            host.read("/root/signing.pub")
        ),
    );
    // Who restores has a way in of their own.
    host.write("/root/.ssh/id", instance.read("/home/admin/.ssh/id"));
    host.write(
        "/root/.ssh/config",
        format!(
            "Host helpdesk.example.org\n  Port {}\n  IdentityFile /root/.ssh/id\n  UserKnownHostsFile /etc/lifeboat/known_hosts\n",
            places.ssh
        ),
    );
    host.sh("rm /root/signing; chmod -R go= /root/.ssh");
    helpdesk
}

#[test]
fn the_helpdesk_is_protected_as_its_page_says() {
    if super::host::is_impossible() {
        return;
    }
    let world = World::new();
    let instance = &world.instance;
    let helpdesk = runner(&world);
    let before = content(instance);
    helpdesk.follow(instance, |command| {
        if command.contains("was dropped") {
            super::sql(instance, "use helpdesk\nset foreign_key_checks = 0; drop table conversations; delete from threads");
        }
    });
    assert_eq!(
        content(instance),
        before,
        "what was restored is what there was"
    );
    is_as_it_was(instance, &helpdesk.host);
    reads_with_stock_tools(&world);
    the_new_instance_is_protected(&world, &helpdesk);
    neither_tier_stops_the_other(&world, &helpdesk);
    the_workflow_passes(&world, &helpdesk);
    // The bucket keeps versions, and points name theirs: what is put over a dump is not read.
    damage(&world.s3, BUCKET, "db-backups/helpdesk/");
    assert_eq!(helpdesk.json(0, "drill")["outcome"], "verified");
    assert_eq!(helpdesk.json(0, "evidence verify")["outcome"], "intact");
    wakes_a_person(&world, &helpdesk);
    hours::live(&helpdesk);
    let log = world.lightsail.log();
    assert!(
        !log.contains("Traceback") && !log.contains("does not fit"),
        "{log}"
    );
}

/// What the restore of the database did on the instance, and did not.
fn is_as_it_was(instance: &Host, runner: &Host) {
    // A view that did not work any more, because its table was dropped, is kept as its statement.
    let kept = super::sql(instance, "show databases like 'helpdesk_before_%'");
    let broken = super::sql(
        instance,
        &format!("select name from {}.lifeboat_broken_views", kept.trim()),
    );
    assert_eq!(broken, "latest\n");
    assert_eq!(
        instance
            .read("/fixture/asked.log")
            .lines()
            .collect::<Vec<_>>(),
        [
            "systemctl start apache2",
            "systemctl stop apache2",
            "php artisan cache:clear",
            "php artisan config:cache",
            "systemctl start apache2",
        ]
    );
    // Nothing was written on the instance beside its database, and no key became a file here.
    assert_eq!(
        instance
            .sh("find /tmp /home/admin -newer /fixture/sshd_config -type f | grep -v .ssh || true"),
        ""
    );
    assert_eq!(
        runner.sh("grep -rl 'PRIVATE KEY' /var /etc/lifeboat /tmp /run || true"),
        ""
    );
}

/// Any stock tool reads what is stored.
fn reads_with_stock_tools(world: &World) {
    let (instance, body) = (&world.instance, stored(&world.s3, "db-backups/helpdesk/"));
    instance.write("/tmp/dump.sql.gz", &body);
    super::sql(instance, "create database byhand character set utf8mb4");
    instance.sh("gunzip -c /tmp/dump.sql.gz | mariadb --no-defaults --socket=/run/mysqld/mysqld.sock -uroot byhand");
    let counted = super::sql(
        instance,
        "select (select count(*) from byhand.conversations), (select count(*) from byhand.threads)",
    );
    assert_eq!(counted, "1500\t1500\n");
}

/// Users are on the new instance, whose key is the one that is known now, and backups are of it.
fn the_new_instance_is_protected(world: &World, helpdesk: &System) {
    let state = world.lightsail.state();
    let holder = &state["regions"][REGION]["staticIps"][0]["attachedTo"];
    let holder = holder.as_str().unwrap();
    assert!(holder.starts_with("helpdesk-restored-"), "{holder}");
    assert_eq!(world.instances(), ["helpdesk", holder], "no drill left one");
    let key = std::fs::read_to_string(world.kept.path().join(format!("{holder}.pub"))).unwrap();
    let known = helpdesk.host.read("/etc/lifeboat/known_hosts");
    assert!(known.contains(key.trim()), "{known}");
    assert_eq!(known.lines().count(), 1, "{known}");
    let newest = helpdesk.json(0, "show latest").to_string();
    assert!(newest.contains(holder), "{newest}");
    // The old one may go: what is there now does not need it.
    world.lightsail.forget(REGION, "helpdesk");
    helpdesk.host.sh("lifeboat backup && lifeboat verify");
    assert_eq!(helpdesk.json(0, "drill")["outcome"], "verified");
}

/// Each is taken when the other cannot be.
fn neither_tier_stops_the_other(world: &World, helpdesk: &System) {
    let denied = |times| {
        let operation = Some("CreateInstanceSnapshot");
        world.lightsail.fail(Fault::Denied, operation, times);
    };
    let outcomes = || {
        let points = helpdesk.json(0, "points");
        let ids = points["points"].as_array().unwrap().iter();
        let newest = ids.map(|point| point["point"].as_str().unwrap()).max();
        let shown = helpdesk.json(0, &format!("show {}", newest.unwrap()));
        let outcome = |name: &str| {
            let sources = shown["sources"].as_array().unwrap();
            let found = sources.iter().find(|source| source["name"] == name);
            found.unwrap()["outcome"].as_str().unwrap().to_owned()
        };
        (outcome("db"), outcome("machine"))
    };
    let words = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    denied(Some(1));
    let output = helpdesk.host.run("lifeboat backup");
    assert_eq!(output.code, 3, "{output}");
    output.says(&["allow lightsail:CreateInstanceSnapshot"]);
    assert_eq!(outcomes(), words("complete", "failed"));
    world.parameter("db_password", "wrong");
    let before = world.lightsail.names(REGION, "snapshots").len();
    let output = helpdesk.host.run("lifeboat backup");
    assert_eq!(output.code, 3, "{output}");
    output.says(&["Access denied for user 'helpdesk'"]);
    assert_eq!(outcomes(), words("failed", "complete"));
    assert_eq!(world.lightsail.names(REGION, "snapshots").len(), before + 1);
    world.parameter("db_password", "of-the-database");
}

/// The steps of the workflow, on a machine that has never run one.
fn the_workflow_passes(world: &World, helpdesk: &System) {
    let workflow = Workflow::read("helpdesk");
    let secrets: Vec<&str> = workflow.text.split("secrets.").skip(1).collect();
    assert!(
        secrets.len() == 2 && secrets.iter().all(|name| name.starts_with("AWS_BACKUP_")),
        "the CI keeps the keys of the account, and no other secret"
    );
    let schedule = format!("schedule = \"{}\"", workflow.cron());
    assert_eq!(helpdesk.example().matches(&schedule).count(), 1);
    let mut host = Host::new("job");
    let keys = (world.s3.access_key.as_str(), world.s3.secret_key.as_str());
    world.reach(&mut host, keys);
    workflow.passes(helpdesk, &host, &["known_hosts", "allowed_signers"]);
}

/// While one tier works nobody is woken; once both failed for two days, somebody is.
fn wakes_a_person(world: &World, helpdesk: &System) {
    let host = &helpdesk.host;
    // Several attempts would take their time, and show nothing more.
    host.sh("sed -E -i 's/^(sources|plans) = .*/&\\nretry = { attempts = 1 }/' /etc/lifeboat/lifeboat.toml; lifeboat config check");
    world.lightsail.any_time();
    let library = crate::support::library();
    let on_day = |day: u32| {
        let run = format!(
            "LD_PRELOAD={} DONT_FAKE_MONOTONIC=1 FAKETIME='+{day}d' lifeboat run",
            library.display()
        );
        host.run(&run);
        let told = world.chat.take();
        let woken = told
            .iter()
            .any(|seen| format!("{seen:?}").contains("C0AWAKE0001"));
        (told.len(), woken)
    };
    world.parameter("db_password", "wrong");
    for day in 1..=4 {
        assert!(!on_day(day).1, "one tier works on day {day}");
    }
    let operation = Some("CreateInstanceSnapshot");
    world.lightsail.fail(Fault::Denied, operation, None);
    let (told, woken) = on_day(5);
    assert!(told > 0 && !woken, "{told}");
    assert!(!on_day(6).1);
    assert!(on_day(8).1, "both failed for more than two days");
    world.lightsail.reset();
    world.parameter("db_password", "of-the-database");
    host.sh("rm -rf /var/lib/lifeboat/*");
}

fn stored(s3: &MotoServer, part: &str) -> Vec<u8> {
    let keys = super::keys(s3, BUCKET);
    let key = keys.iter().find(|key| key.contains(part)).unwrap();
    assert!(key.ends_with(".sql.gz"), "{key}");
    let answer = s3.request("GET", &format!("/{BUCKET}/{key}"), &[], b"");
    assert_eq!(
        answer.header("x-amz-server-side-encryption"),
        Some("aws:kms")
    );
    answer.body
}

/// A dump of the whole database by the stock tool.
fn content(host: &Host) -> String {
    host.sh("mariadb-dump --no-defaults --socket=/run/mysqld/mysqld.sock -uroot --skip-dump-date --skip-comments --routines --events --triggers --order-by-primary helpdesk | sha256sum")
}
