//! The finance application: MySQL with routines and triggers, uploads, secrets and the
//! configuration of the host, encrypted to one bucket.

use super::{Host, System, damage, hours};
use lifeboat_testkit::s3::MotoServer;

const SCHEMA: &str = "
create database finance character set utf8mb4;
use finance;
create table customers (id int primary key auto_increment, name varchar(100) not null) engine=innodb;
create table invoices (
  id int primary key auto_increment, customer int not null, amount decimal(14,2) not null, issued date, note text, scan blob,
  key (issued), foreign key (customer) references customers (id)) engine=innodb;
create table audit (id bigint primary key auto_increment, what varchar(200), at timestamp default '2026-01-01 00:00:00') engine=innodb;
delimiter //
create trigger invoice_audit after insert on invoices for each row
  insert into audit (what) values (concat('invoice ', new.id, ': ', new.amount))//
create procedure settle(in c int) begin update invoices set note = 'settled' where customer = c; end//
create function owed(c int) returns decimal(14,2) reads sql data return (select coalesce(sum(amount), 0) from invoices where customer = c)//
create event tidy on schedule every 1 day do delete from audit where at < now() - interval 10 year//
delimiter ;
create view open_invoices as select * from invoices where note is null;
insert into customers (name) with recursive s (i) as (select 1 union all select i + 1 from s where i < 40) select concat('customer ', i) from s;
insert into invoices (customer, amount, issued, scan)
  with recursive s (i) as (select 1 union all select i + 1 from s where i < 900) select 1 + i mod 40, i * 1.37, '2026-02-03', unhex(sha2(i, 256)) from s;
call settle(7);
create user backup@localhost identified by 'of-the-backup';
grant select, show view, trigger, event, lock tables on finance.* to backup@localhost;
grant show_routine, reload, replication client on *.* to backup@localhost;
";

fn files(host: &Host) {
    host.write(
        "/srv/finance/storage/app/invoices/2026/0001.pdf",
        crate::support::noise(40_000, 5),
    );
    host.write(
        "/srv/finance/storage/app/exports/balance q1.csv",
        "customer;owed\n1;12.5\n",
    );
    host.write("/srv/finance/public/index.php", "<?php // code\n");
    host.write(
        "/srv/finance/.env",
        "APP_KEY=base64:c2VjcmV0\nDB_PASSWORD=of-the-application\n",
    );
    host.write("/srv/finance/compose.yaml", "services:\n  queue: {}\n");
    host.write(
        "/etc/letsencrypt/live/finance/privkey.pem",
        "-----BEGIN PRIVATE KEY-----\nnot really\n",
    );
    host.write(
        "/etc/nginx/sites-available/finance",
        "server { listen 443; root /srv/finance/public; }\n",
    );
    host.sh(
        "mkdir /etc/nginx/sites-enabled && ln -s ../sites-available/finance /etc/nginx/sites-enabled/finance
         chmod 600 /srv/finance/.env /etc/letsencrypt/live/finance/privkey.pem",
    );
    host.write("/etc/lifeboat/database.password", "of-the-backup\n");
    host.write("/etc/lifeboat/s3.access", "access\n");
    host.write("/etc/lifeboat/s3.secret", "secret\n");
    host.sh("chmod 600 /etc/lifeboat/*");
    for program in ["systemctl", "php"] {
        host.program(
            program,
            &format!("#!/bin/sh\necho \"{program} $*\" >> /fixture/asked.log\n"),
        );
    }
}

/// Starts a MySQL server on a host, on the usual socket.
fn mysql(host: &Host) {
    host.sh(
        "install -d -o mysql -g mysql /var/lib/mysql /run/mysqld
         mysqld --no-defaults --initialize-insecure --user=mysql --datadir=/var/lib/mysql --innodb-redo-log-capacity=32M > /fixture/install.log 2>&1
         setsid mysqld --no-defaults --user=mysql --datadir=/var/lib/mysql --socket=/run/mysqld/mysqld.sock --skip-networking --mysqlx=OFF \
           --innodb-buffer-pool-size=32M --innodb-redo-log-capacity=32M --secure-file-priv=NULL </dev/null > /fixture/mysqld.log 2>&1 &
         for attempt in $(seq 600); do
           mysqladmin --no-defaults -uroot ping > /dev/null 2>&1 && exit 0
           sleep 0.05
         done
         cat /fixture/mysqld.log; exit 1",
    );
}

/// Runs SQL on the MySQL server of a host, as its root; the rows.
pub fn sql(host: &Host, script: &str) -> String {
    host.write("/fixture/script.sql", script);
    host.sh("mysql --no-defaults -uroot -N -B < /fixture/script.sql")
}

/// A hash of the database, asked of stock tools.
fn database(host: &Host, events: &str) -> String {
    host.sh(&format!(
        "mysqldump --no-defaults -uroot --set-gtid-purged=OFF --skip-dump-date --skip-comments --routines --triggers --order-by-primary {events} finance | sha256sum"
    ))
}

/// Hashes of everything that is protected, asked of stock tools.
fn content(host: &Host) -> String {
    database(host, "--events")
        + &host.sh(
            "cd / && find srv/finance/storage srv/finance/.env srv/finance/compose.yaml etc/letsencrypt etc/nginx \\( -type f -o -type l \\) | grep -v lifeboat-aside | sort | xargs -d '\\n' sha256sum",
        )
}

#[test]
fn the_finance_application_is_protected_as_its_page_says() {
    if super::host::is_impossible() {
        return;
    }
    let s3 = MotoServer::start();
    s3.create_bucket("finance-backups");
    let mut finance = System::on(Host::with_mysql("finance"), "finance");
    finance.stand_in("https://s3.example.org", &s3.endpoint());
    finance.install();
    let host = &finance.host;
    mysql(host);
    sql(host, SCHEMA);
    files(host);
    let before = content(host);
    let captured = database(host, "--skip-events");
    finance.follow(host, |command| {
        if command.contains("was emptied") && command.contains("finance/production") {
            sql(host, "use finance;\nset foreign_key_checks = 0; delete from invoices; drop trigger invoice_audit");
            host.sh("rm /srv/finance/.env /srv/finance/storage/app/invoices/2026/0001.pdf");
        }
    });
    assert_eq!(content(host), before, "what was restored is what there was");
    assert_eq!(
        sql(
            host,
            "use finance;\ninsert into invoices (customer, amount) values (1, 2.5); select count(*) from audit"
        ),
        "901\n"
    );
    assert_eq!(
        host.read("/fixture/asked.log").lines().collect::<Vec<_>>(),
        [
            "systemctl stop nginx finance-queue",
            "php /srv/finance/artisan config:clear",
            "php /srv/finance/artisan cache:clear",
            "php /srv/finance/artisan route:clear",
            "php /srv/finance/artisan view:clear",
            "systemctl start nginx finance-queue",
            "php /srv/finance/artisan queue:restart",
        ]
    );

    // A clean host: the same program and keys, and nothing else.
    let mut new = Host::with_mysql("finance2");
    mysql(&new);
    let keys = host.sh("tar -C / -c etc/lifeboat | base64 -w0");
    new.sh(&format!("echo {keys} | base64 -d | tar -C / -x"));
    sql(
        &new,
        "create database finance; create user backup@localhost identified by 'of-the-backup'; grant all on *.* to backup@localhost",
    );
    new.env(
        "TARGET",
        "mysql://backup:of-the-backup@localhost/finance?socket=/run/mysqld/mysqld.sock",
    );
    new.sh("lifeboat restore before:2099-01-01T00:00:00Z --to env:TARGET --source db");
    // There its event sleeps.
    assert_eq!(database(&new, "--skip-events"), captured);
    let event = "select concat(event_name, ' ', status) from information_schema.events where event_schema = 'finance'";
    assert_eq!(sql(&new, event), "tidy REPLICA_SIDE_DISABLED\n");
    assert_eq!(sql(host, event), "tidy ENABLED\n");
    new.sh("lifeboat restore before:2099-01-01T00:00:00Z --to /root/look --source uploads --source environment --source configuration");
    assert_eq!(
        new.sh("cd /root/look/uploads && find . -type f | sort | xargs -d '\\n' sha256sum"),
        host.sh("cd / && find ./srv/finance/storage/app -type f | sort | xargs -d '\\n' sha256sum")
    );

    // The same drill fails when what is stored was changed.
    assert_eq!(finance.json(0, "drill monthly")["outcome"], "verified");
    damage(&s3, "finance-backups", "production/db/");
    let failed = finance.json(4, "drill monthly");
    assert_eq!(failed["outcome"], "failed", "{failed:#}");
    assert_eq!(finance.json(0, "evidence verify")["outcome"], "intact");
    hours::live(&finance);
    for host in [host, &new] {
        let trace = host.path("/fixture/mariadb.log");
        assert!(!trace.exists(), "{:?}", std::fs::read_to_string(trace));
    }
}
