//! Configurations that load with findings of `config check`.

use super::super::*;
use super::{AGE, base, findings, parse};

#[test]
fn what_is_never_backed_up_or_proved_is_a_warning() {
    let config = parse(&format!(
        "{}[source.x]\nkind = \"sqlite\"\npath = \"/x\"\n",
        base()
    ))
    .unwrap();
    let told: Vec<_> = config
        .check()
        .into_iter()
        .map(|f| (f.subject, f.message))
        .collect();
    assert_eq!(
        told,
        [
            (
                "source.x".into(),
                "it is in no plan, so that it is never backed up".to_owned()
            ),
            (
                "plan.p".into(),
                "no drill restores it, so that nothing proves that it can be restored".to_owned()
            ),
        ]
    );
}

#[test]
fn a_schedule_is_held_against_the_objective() {
    let with = |rpo: &str, plans: &str| {
        base()
            .replace(
                "name = \"crm\"",
                &format!("name = \"crm\"\nrpo = \"{rpo}\""),
            )
            .replace(
                "stores = [\"disk\"]\n",
                "stores = [\"disk\"]\nschedule = \"0 3 * * *\"\n",
            )
            + plans
    };
    assert_eq!(findings(&with("25h", "")), []);
    // A run takes time, too: a day between two runs is more than a day of work.
    assert_eq!(findings(&with("1d", "")).len(), 1);
    let spread =
        |bound: &str| with("25h", "").replace("schedule =", &format!("{bound}\nschedule ="));
    assert_eq!(findings(&spread("spread = \"59m\"")), []);
    assert_eq!(findings(&spread("spread = \"1h\"")).len(), 1);
    assert_eq!(findings(&spread("not_during = [\"02:30-04:00\"]")).len(), 1);
    assert_eq!(
        findings(&with("1h", "")),
        [(
            "plan.p".into(),
            Severity::Error,
            "schedule: two runs can be 1d apart, so that 1d of work in db, files can be lost; app.rpo is 1h".into(),
            "run more often than every 1h (schedule = \"*/30 * * * *\"), or raise app.rpo above 1d: a run takes time, too".into(),
        )]
    );
    // The weekday gap counts, not the usual one.
    let weekdays = with("1d", "").replace("0 3 * * *", "0 3 * * 1-5");
    assert!(
        findings(&weekdays)[0]
            .2
            .starts_with("schedule: two runs can be 3d apart")
    );
    // Another plan of the same source keeps it: only the other source is late.
    let hourly = "[plan.h]\nsources = [\"db\"]\nstores = [\"disk\"]\nschedule = \"7 * * * *\"\n";
    let told = findings(&with("2h", hourly));
    assert_eq!(told.len(), 1);
    assert!(
        told[0].2.contains("1d of work in files can be lost"),
        "{told:?}"
    );
    // A plan that is started by another program.
    let unscheduled = base().replace("name = \"crm\"", "name = \"crm\"\nrpo = \"1h\"");
    assert_eq!(
        findings(&unscheduled),
        [(
            "plan.p".into(),
            Severity::Warning,
            "it has no schedule, so that nothing here keeps app.rpo = 1h".into(),
            "add a schedule, unless something else starts this plan".into(),
        )]
    );
}

#[test]
fn a_key_inside_the_backup_it_decrypts_is_an_error() {
    let with = |stores: &str, exclude: &str| {
        base()
            .replace("stores = [\"disk\"]", &format!("stores = [{stores}]"))
            .replace(
                "paths = [\"/srv/app\"]",
                &format!("paths = [\"/srv/app\"]\nexclude = [{exclude}]"),
            )
            .replace(
                "encrypt =",
                "decrypt = { age = \"file:/srv/app/keys/age.key\" }\nencrypt =",
            )
    };
    assert_eq!(
        findings(&with("\"safe\"", "")),
        [(
            "store.safe".into(),
            Severity::Error,
            "decrypt.age: the key that decrypts store \"safe\" is inside source \"files\": after a loss of this host it exists only in the backup that it decrypts".into(),
            "export a recovery kit (`lifeboat kit export`) and keep it elsewhere, then add \"/srv/app/keys/age.key\" to exclude of [source.files]".into(),
        )]
    );
    assert_eq!(
        findings(&with("\"safe\", \"disk\"", "")),
        [(
            "store.safe".into(),
            Severity::Error,
            "decrypt.age: the key that decrypts store \"safe\" is inside source \"files\", which store \"disk\" keeps in clear: who reads that store can decrypt this one".into(),
            "add \"/srv/app/keys/age.key\" to exclude of [source.files], and keep a copy of the key elsewhere".into(),
        )]
    );
    assert_eq!(findings(&with("\"safe\"", "\"keys\"")), []);
    // The pattern matches only directories, and the key is a file.
    assert_eq!(findings(&with("\"safe\"", "\"age.key/\"")).len(), 1);
}

#[test]
fn other_secrets_inside_a_backup_are_warnings() {
    let signing = base().replace(
        "name = \"crm\"",
        "name = \"crm\"\nsigning_key = \"file:/srv/app/sign\"",
    );
    assert_eq!(
        findings(&signing),
        [(
            "app".into(),
            Severity::Warning,
            "signing_key: the secret file /srv/app/sign is inside source \"files\", which store \"disk\" keeps in clear".into(),
            "add \"/srv/app/sign\" to exclude of [source.files], or encrypt what [store.disk] receives".into(),
        )]
    );
    // In an encrypted store, a signing key is no finding; the credentials of the only store are.
    assert_eq!(
        findings(&signing.replace("stores = [\"disk\"]", "stores = [\"safe\"]")),
        []
    );
    let s3 = format!(
        "{}[store.o]\nkind = \"s3\"\nbucket = \"b\"\naccess_key = \"env:A\"\nsecret_key = \"file:/srv/app/s3\"\nencrypt = {{ age = [\"{AGE}\"] }}\n",
        base().replace("stores = [\"disk\"]", "stores = [\"o\"]")
    );
    let told = findings(&s3);
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0].2,
        "secret_key: the credentials of store \"o\" are inside source \"files\", which only this store holds: after a loss of this host they are needed to reach themselves"
    );
}

#[test]
fn a_drill_that_cannot_decrypt_or_comes_too_late_is_a_warning() {
    let text = base().replace("stores = [\"disk\"]", "stores = [\"safe\"]")
        + "[drill.d]\nplans = [\"p\"]\nschedule = \"0 3 * * 0\"\nmax_age = \"5d\"\n";
    assert_eq!(
        findings(&text),
        [
            (
                "drill.d".into(),
                Severity::Warning,
                "store: store \"safe\" encrypts, and no key to decrypt it is named here".into(),
                "add decrypt = { age = \"file:PATH\" } to [store.safe] where drills run, or drill another store".into(),
            ),
            (
                "drill.d".into(),
                Severity::Warning,
                "max_age: it runs every 7d and is overdue after 5d".into(),
                "raise max_age above 7d, or drill more often".into(),
            ),
        ]
    );
}

#[test]
fn the_state_directory_inside_a_source_is_a_warning() {
    let text = base().replace(
        "name = \"crm\"",
        "name = \"crm\"\nstate = \"/srv/app/state\"",
    );
    let told = findings(&text);
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].0.as_str(), told[0].1),
        ("source.files", Severity::Warning)
    );
    assert_eq!(told[0].3, "add \"/srv/app/state\" to exclude");
    let excluded = text.replace(
        "paths = [\"/srv/app\"]",
        "paths = [\"/srv/app\"]\nexclude = [\"/srv/app/state\"]",
    );
    assert_eq!(findings(&excluded), []);
}

/// Covers checks on disk: links that lead further than names show, and modes.
#[test]
fn links_and_modes_of_this_host_are_examined() {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let (data, link) = (root.join("data"), root.join("link"));
    std::fs::create_dir(&data).unwrap();
    symlink(&data, &link).unwrap();
    let key = data.join("age.key");
    let mut options = std::fs::OpenOptions::new();
    options
        .write(true)
        .create(true)
        .mode(0o600)
        .open(&key)
        .unwrap();
    let text = base()
        .replace("stores = [\"disk\"]", "stores = [\"safe\"]")
        .replace("/srv/app\"", &format!("{}\"", data.display()))
        .replace(
            "encrypt =",
            &format!(
                "decrypt = {{ age = \"file:{}/age.key\" }}\nencrypt =",
                link.display()
            ),
        );
    let told = findings(&text);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].2.contains("only in the backup that it decrypts"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let told = findings(&text);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(
        told[1].2,
        format!(
            "decrypt.age: others can read or write the secret file {}/age.key (mode 0640)",
            link.display()
        )
    );
    assert_eq!(
        told[1].3,
        format!("run `chmod 600 {}/age.key`", link.display())
    );
    // A store behind a link cannot be seen by name, but is seen on disk.
    let store = text.replace(
        "path = \"/mnt/safe\"",
        &format!("path = \"{}/backups\"", link.display()),
    );
    let told = findings(&store);
    assert!(
        told.iter()
            .any(|t| t.0 == "source.files" && t.2.contains("which is store \"safe\"")),
        "{told:?}"
    );
}
