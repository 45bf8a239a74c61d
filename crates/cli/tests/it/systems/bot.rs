//! The bot: SQLite, files, service units and secrets of one host, to a dated directory and to
//! buckets.

use super::{Host, System, free_port, hours, keys};
use lifeboat_testkit::s3::MotoServer;

/// The bot itself: it answers on its port while it can read its database.
const BOT: &str = r#"
import http.server, sqlite3, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        users = sqlite3.connect("/opt/bot/data/auth.db").execute("select count(*) from users").fetchone()[0]
        self.send_response(200 if users else 503)
        self.end_headers()
    def log_message(self, *words):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

/// Starts and stops it, and writes down what it was asked.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >> /fixture/systemctl.log
case "$*" in
  "start bot") python3 /fixture/bot.py PORT </dev/null >/dev/null 2>&1 & echo $! > /run/bot.pid;;
  "stop bot") [ ! -e /run/bot.pid ] || kill "$(cat /run/bot.pid)"; rm -f /run/bot.pid;;
  *) exit 1;;
esac
"#;

/// Gives a host the programs that a bot needs, as a new host would get them from the repository.
fn programs(host: &Host, port: u16) {
    host.write("/fixture/bot.py", BOT);
    host.program("systemctl", &SYSTEMCTL.replace("PORT", &port.to_string()));
}

/// Gives a host the bot and its data.
fn application(host: &Host) {
    host.write(
        "/opt/bot/config/bot.json",
        r#"{"locale": "en", "channel": "general"}"#,
    );
    host.write("/opt/bot/config/commands/help.txt", "how to ask for help\n");
    host.write(
        "/opt/bot/data/attachments/2026/diagram.png",
        crate::support::noise(50_000, 3),
    );
    host.write("/opt/bot/data/attachments/2026/naïve name.txt", "ünïcode\n");
    host.write(
        "/opt/bot/ecosystem.config.js",
        "module.exports = { apps: [{ name: 'bot' }] }\n",
    );
    host.write(
        "/etc/systemd/system/bot.service",
        "[Service]\nExecStart=/usr/bin/node /opt/bot/index.js\n",
    );
    host.write("/opt/bot/.env", "BOT_TOKEN=s3cret-of-the-bot\n");
    host.write(
        "/opt/bot/secrets/webhook.key",
        "another-secret-of-the-bot\n",
    );
    host.write("/opt/bot/index.js", "// code is not backed up\n");
    host.sh("chmod 600 /opt/bot/.env /opt/bot/secrets/webhook.key
         sqlite3 /opt/bot/data/auth.db \"
           create table users (id integer primary key, name text not null, joined text);
           create index users_name on users (name);
           create table sessions (token text primary key, user integer references users (id));
           with recursive n (i) as (select 1 union all select i + 1 from n where i < 1200)
             insert into users select i, 'user ' || i, '2026-01-01' from n;
           insert into sessions select hex(id * 7919), id from users where id % 3 = 0;\"");
}

fn credentials(host: &Host) {
    for name in ["offsite", "vault"] {
        host.write(&format!("/etc/lifeboat/{name}.access"), "access\n");
        host.write(
            &format!("/etc/lifeboat/{name}.secret"),
            format!("secret-of-{name}\n"),
        );
    }
    host.sh("chmod 600 /etc/lifeboat/*");
}

#[test]
fn the_bot_is_protected_as_its_page_says() {
    if super::host::is_impossible() {
        return;
    }
    let s3 = MotoServer::start();
    s3.create_bucket("bot-backups");
    s3.create_bucket("bot-secrets");
    let port = free_port();
    let mut bot = System::new("bot");
    bot.stand_in("https://s3.example.org", &s3.endpoint());
    bot.stand_in("127.0.0.1:3000", &format!("127.0.0.1:{port}"));
    programs(&bot.host, port);
    application(&bot.host);
    bot.install();
    credentials(&bot.host);
    bot.host.sh("systemctl start bot");

    let host = &bot.host;
    let new = Host::new("bot2");
    programs(&new, port);
    new.write("/opt/bot/index.js", "// from the repository\n");
    let before = content(host);
    bot.follow(&new, |command| {
        if command.contains("was deleted") {
            host.sh("rm -r /opt/bot/config && sqlite3 /opt/bot/data/auth.db 'delete from users'");
        }
        // What a person carries from one machine to another.
        if command.starts_with("lifeboat kit export") {
            host.write("/root/kit.pub", new.sh("age-keygen -y /root/kit.key"));
        }
        if command.starts_with("lifeboat kit test") {
            new.write(
                "/root/bot.kit",
                std::fs::read(host.path("/root/bot.kit")).unwrap(),
            );
            assert_eq!(content(host), before, "what was restored is what there was");
            host.sh("systemctl stop bot");
        }
    });
    assert_eq!(
        content(&new),
        before,
        "the new host has what the old one had"
    );
    assert_eq!(new.sh("stat -c %a /opt/bot/.env"), "600\n");
    let asked = host.read("/fixture/systemctl.log");
    assert_eq!(
        asked.lines().collect::<Vec<_>>(),
        [
            "start bot",
            "stop bot",
            "start bot",
            "stop bot",
            "start bot",
            "stop bot"
        ],
        "a backup with the bot stopped, a live restore, and the end"
    );
    assert_eq!(host.sh("stat -c %a /var/backups/bot"), "700\n");

    // Nothing of the secrets is where data is, and nothing off this host is in clear.
    let kept = host.sh("find /var/backups/bot /var/lib/lifeboat -type f | xargs zgrep -c -a 's3cret-of-the-bot' -- | grep -v ':0$' || true");
    assert_eq!(kept, "");
    for bucket in ["bot-backups", "bot-secrets"] {
        let keys = keys(&s3, bucket);
        assert!(keys.len() > 5, "{keys:?}");
        for key in keys {
            let body = s3
                .request("GET", &format!("/{bucket}/{key}"), &[], b"")
                .text();
            assert!(
                !body.contains("s3cret-of-the-bot") && !body.contains("user 17"),
                "{key} is in clear"
            );
        }
    }
    hours::live(&bot);
}

/// Hashes of everything that is protected, asked of stock tools.
fn content(host: &Host) -> String {
    host.sh(
        "sqlite3 /opt/bot/data/auth.db .dump | sha256sum
         find /opt/bot/config /opt/bot/data/attachments /opt/bot/.env /opt/bot/secrets /opt/bot/ecosystem.config.js /etc/systemd/system/bot.service -type f \\
           | grep -v lifeboat-aside | sort | xargs -d '\\n' sha256sum",
    )
}
