//! The helpdesk: MariaDB on another machine, dumped over SSH from a runner.

use super::{Host, System, damage, free_port, hours};
use lifeboat_testkit::s3::MotoServer;

const SCHEMA: &str = "
create database helpdesk character set utf8mb4;
use helpdesk
create table users (id int primary key, email varchar(200) not null unique) engine=innodb;
create table conversations (id int primary key auto_increment, user int not null, subject varchar(300), body mediumtext, created datetime(6)) engine=innodb;
create table threads (id int primary key auto_increment, conversation int, body text, foreign key (conversation) references conversations (id)) engine=innodb;
insert into users select seq, concat('user', seq, '@example.org') from seq_1_to_300;
insert into conversations (user, subject, body, created) select 1 + seq mod 300, concat('Ticket ', seq, ': it''s \"broken\"'), repeat('Grüße ', seq mod 50), '2026-03-01 10:00:00.123456' from seq_1_to_1500;
insert into threads (conversation, body) select seq, 'answer' from seq_1_to_1500;
create user helpdesk@'%' identified by 'of-the-database';
grant all on helpdesk.* to helpdesk@'%';
grant all on `helpdesk\\_%`.* to helpdesk@'%';
grant select on mysql.proc to helpdesk@'%';
create definer=helpdesk@'%' view latest as select * from conversations order by created desc limit 10;
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
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

const SYSTEMCTL: &str = r#"#!/bin/sh
echo "systemctl $*" >> /fixture/asked.log
case "$*" in
  "start apache2") setsid python3 /fixture/site.py PORT </dev/null >/dev/null 2>&1 & echo $! > /run/site.pid;;
  "stop apache2") [ ! -e /run/site.pid ] || kill "$(cat /run/site.pid)"; rm -f /run/site.pid;;
esac
"#;

/// The instance: its database, its web server, and its SSH server on `port`.
fn instance(database: u16, site: u16, ssh: u16) -> Host {
    let host = Host::new("helpdesk");
    super::mariadb(&host, Some(database));
    super::sql(&host, SCHEMA);
    host.write("/fixture/site.py", SITE);
    host.program("systemctl", &SYSTEMCTL.replace("PORT", &site.to_string()));
    host.program(
        "sudo",
        "#!/bin/sh\n[ \"$1\" != -u ] || shift 2\nexec \"$@\"\n",
    );
    host.program("php", "#!/bin/sh\necho \"php $*\" >> /fixture/asked.log\n");
    host.write("/var/www/html/helpdesk/artisan", "<?php\n");
    host.write(
        "/fixture/sshd_config",
        format!(
            "ListenAddress 127.0.0.1:{ssh}\nHostKey /fixture/hostkey\nAuthorizedKeysFile /home/admin/.ssh/authorized_keys\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nUseDNS no\n\
             SetEnv PATH=/fixture/bin:/usr/bin:/bin\n"
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

#[test]
fn the_helpdesk_is_protected_as_its_page_says() {
    if super::host::is_impossible() {
        return;
    }
    let s3 = MotoServer::start();
    s3.create_bucket("helpdesk-attachments");
    let (database, site, ssh) = (free_port(), free_port(), free_port());
    let instance = instance(database, site, ssh);
    let mut helpdesk = System::new("helpdesk");
    helpdesk.stand_in("https://s3.example.org", &s3.endpoint());
    helpdesk.stand_in(
        "https://helpdesk.example.org/",
        &format!("http://127.0.0.1:{site}/"),
    );
    helpdesk.stand_in(
        "ssh:admin@helpdesk.example.org",
        &format!("ssh:admin@helpdesk.example.org:{ssh}"),
    );
    helpdesk.stand_in(
        "host = \"127.0.0.1\"",
        &format!("host = \"127.0.0.1\"\nport = {database}"),
    );
    helpdesk.show_as("127.0.0.1:3306", &format!("127.0.0.1:{database}"));
    helpdesk.show_as(
        "admin@helpdesk.example.org",
        &format!("admin@helpdesk.example.org:{ssh}"),
    );
    helpdesk.install();
    let signing = helpdesk
        .host
        .sh("ssh-keygen -q -t ed25519 -N '' -C helpdesk -f /root/signing && cat /root/signing");
    for (name, value) in [
        (
            "HELPDESK_SSH_KEY",
            instance.read("/home/admin/.ssh/id").as_str(),
        ),
        ("HELPDESK_DB_PASSWORD", "of-the-database"),
        ("HELPDESK_SIGNING_KEY", &signing),
        ("BACKUP_ACCESS_KEY_ID", "access"),
        ("BACKUP_SECRET_ACCESS_KEY", "secret"),
    ] {
        helpdesk.host.env(name, value);
    }
    let host = &helpdesk.host;
    let key = instance.read("/fixture/hostkey.pub");
    host.write(
        "/etc/lifeboat/known_hosts",
        format!("[helpdesk.example.org]:{ssh} {key}"),
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
        format!("Host helpdesk.example.org\n  Port {ssh}\n  IdentityFile /root/.ssh/id\n  UserKnownHostsFile /etc/lifeboat/known_hosts\n"),
    );
    host.sh("rm /root/signing; chmod -R go= /root/.ssh; echo '127.0.0.1 helpdesk.example.org' >> /etc/hosts");

    let before = content(&instance);
    helpdesk.follow(&instance, |command| {
        if command.contains("was dropped") {
            super::sql(&instance, "use helpdesk\nset foreign_key_checks = 0; drop table conversations; delete from threads");
        }
    });
    assert_eq!(
        content(&instance),
        before,
        "what was restored is what there was"
    );
    // A view that did not work any more, because its table was dropped, is kept as its statement.
    let kept = super::sql(&instance, "show databases like 'helpdesk_before_%'");
    let broken = super::sql(
        &instance,
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
        host.sh("grep -rl 'PRIVATE KEY' /var /etc/lifeboat /tmp /run || true"),
        ""
    );

    // Any stock tool reads what is stored.
    let body = stored(&s3, "db-backups/helpdesk/");
    instance.write("/tmp/dump.sql.gz", &body);
    super::sql(&instance, "create database byhand character set utf8mb4");
    instance.sh("gunzip -c /tmp/dump.sql.gz | mariadb --no-defaults --socket=/run/mysqld/mysqld.sock -uroot byhand");
    assert_eq!(
        super::sql(
            &instance,
            "select (select count(*) from byhand.conversations), (select count(*) from byhand.threads)"
        ),
        "1500\t1500\n"
    );
    assert_eq!(helpdesk.json(0, "drill")["outcome"], "verified");
    damage(&s3, "helpdesk-attachments", "db-backups/helpdesk/");
    assert_eq!(helpdesk.json(4, "drill")["outcome"], "failed");
    assert_eq!(helpdesk.json(0, "evidence verify")["outcome"], "intact");
    hours::live(&helpdesk);
}

fn stored(s3: &MotoServer, part: &str) -> Vec<u8> {
    let keys = super::keys(s3, "helpdesk-attachments");
    let key = keys.iter().find(|key| key.contains(part)).unwrap();
    assert!(key.ends_with(".sql.gz"), "{key}");
    let answer = s3.request("GET", &format!("/helpdesk-attachments/{key}"), &[], b"");
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
