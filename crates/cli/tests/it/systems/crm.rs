//! The CRM: PostgreSQL by the hour, a bucket mirrored, settings in a bucket of their own.

use super::{System, damage, hours, keys};
use lifeboat_testkit::postgres::PostgresServer;
use lifeboat_testkit::s3::MotoServer;

/// The application's own check that its key fits its data, as the page shows it.
const KEY_FITS: &str = r#"#!/bin/sh
set -e
. "$LIFEBOAT_RESTORED/settings/srv/crm/.env"
psql --no-psqlrc -tA -c "select encode(secret, 'base64') from credentials where id = 1" "$LIFEBOAT_URL_DB" \
  | openssl enc -d -aes-256-cbc -pbkdf2 -base64 -A -pass "pass:$ENCRYPTION_KEY" > /dev/null 2>&1 \
  || { echo "ENCRYPTION_KEY does not decrypt credentials 1" >&2; exit 1; }
"#;

const SCHEMA: &str = "
    create table clients (id integer primary key, name text not null, balance numeric(12,2), joined timestamptz default '2026-01-01');
    create index on clients (name);
    create table credentials (id integer primary key, secret bytea);
    create table alembic_version (version_num text primary key);
    insert into clients (id, name, balance) select i, 'client ' || i, i / 3.0 from generate_series(1, 3000) i;
    insert into alembic_version values ('8f2c1a');
    create schema billing;
    create table billing.invoices (id integer primary key, client integer references clients, cents bigint);
    insert into billing.invoices select i, i, i * 100 from generate_series(1, 500) i;
    create view debtors as select * from clients where balance > 900;
    create function total() returns bigint language sql as 'select sum(cents)::bigint from billing.invoices';";

fn application(crm: &System, postgres: &PostgresServer, s3: &MotoServer) {
    let host = &crm.host;
    postgres.create_database("crm");
    postgres.create_database("look");
    postgres.psql("crm", SCHEMA);
    postgres.psql(
        "postgres",
        "create role backup login password 'of-the-backup'; grant pg_read_all_data to backup",
    );
    host.write("/srv/crm/.env", "ENCRYPTION_KEY=of-the-application\n");
    let sealed = host.sh("printf secret-of-a-client | openssl enc -aes-256-cbc -pbkdf2 -base64 -A -pass pass:of-the-application");
    postgres.psql(
        "crm",
        &format!("insert into credentials values (1, decode('{sealed}', 'base64'))"),
    );
    host.write("/srv/crm/bin/key-fits", KEY_FITS);
    host.write(
        "/etc/lifeboat/database.url",
        postgres.url_as("backup", "of-the-backup", "crm"),
    );
    host.write("/etc/lifeboat/look.url", postgres.url("look"));
    host.write("/etc/lifeboat/ops.pass", "passphrase of the operators\n");
    for name in ["uploads", "offsite", "vault"] {
        // This server takes any key; the doctor minds one that is used twice.
        let access = format!("{}-{name}", s3.access_key);
        host.write(&format!("/etc/lifeboat/{name}.access"), access);
        host.write(&format!("/etc/lifeboat/{name}.secret"), &s3.secret_key);
    }
    for (key, bytes) in [
        ("2026/contract%20%C3%BC.pdf", 70_000),
        ("2026/a/b/c.png", 3_000),
        ("logo.svg", 0),
    ] {
        let path = format!("/crm-uploads/{key}");
        let answer = s3.request(
            "PUT",
            &path,
            &[("content-type", "image/png")],
            &crate::support::noise(bytes, 11),
        );
        assert_eq!(answer.status, 200);
    }
    host.program(
        "systemctl",
        "#!/bin/sh\necho \"$*\" >> /fixture/asked.log\n",
    );
    host.sh("chmod 755 /srv/crm/bin/key-fits; chmod 600 /etc/lifeboat/* /srv/crm/.env");
}

#[test]
fn the_crm_is_protected_as_its_page_says() {
    if super::host::is_impossible() {
        return;
    }
    let postgres = PostgresServer::start();
    let s3 = MotoServer::start();
    for bucket in ["crm-uploads", "crm-backups", "crm-settings"] {
        s3.create_bucket(bucket);
    }
    let mut crm = System::new("crm");
    crm.stand_in("https://s3.example.org", &s3.endpoint());
    let uploads = s3.endpoint().replace("127.0.0.1", "localhost");
    crm.stand_in("https://minio.example.org", &uploads);
    crm.show_as("127.0.0.1:5432", &format!("127.0.0.1:{}", postgres.port()));
    crm.install();
    application(&crm, &postgres, &s3);
    let host = &crm.host;
    crm.follow(host, |_| {});
    let counts = "select (select count(*) from clients), (select count(*) from billing.invoices), (select sum(balance) from clients), total()";
    assert_eq!(postgres.psql("look", counts), postgres.psql("crm", counts));
    // The settings are nowhere in clear, and only in their own bucket.
    for bucket in ["crm-settings", "crm-backups"] {
        for key in keys(&s3, bucket) {
            let body = s3
                .request("GET", &format!("/{bucket}/{key}"), &[], b"")
                .text();
            assert!(!body.contains("of-the-application"), "{key} is in clear");
            assert!(
                bucket == "crm-settings" || !key.starts_with("settings/"),
                "{key}"
            );
        }
    }
    host.sh("sed -i 's/^ENCRYPTION_KEY=.*/ENCRYPTION_KEY=of-the-application/' /srv/crm/.env && lifeboat backup settings");
    // What was changed at rest is found.
    damage(&s3, "crm-backups", "pg/crm/");
    let failed = crm.json(4, "drill weekly");
    assert_eq!(failed["outcome"], "failed", "{failed:#}");
    assert_eq!(crm.json(0, "evidence verify")["outcome"], "intact");
    let uploads = host.sh("cd /root/look/uploads && find . -type f | sort");
    assert!(uploads.contains("2026/contract ü.pdf"), "{uploads}");
    hours::live(&crm);
}
