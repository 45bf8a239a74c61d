use super::*;

fn config(text: &str) -> Config {
    Config::parse(text, Path::new(USUAL)).unwrap()
}

const PLAIN: &str = r#"
version = 1
app = { name = "crm" }
source.files = { kind = "files", paths = ["/srv/crm"] }
store.disk = { kind = "local", path = "/var/backups/lifeboat" }
plan.daily = { sources = ["files"], stores = ["disk"] }
"#;

fn made(text: &str) -> Units {
    units(
        &[config(text)],
        Path::new("/usr/bin/lifeboat"),
        Path::new(USUAL),
    )
    .unwrap()
}

/// Values of a key, in each unit that has it.
fn values<'u>(units: &'u Units, key: &str) -> Vec<&'u str> {
    let lines = units.units.iter().flat_map(|unit| unit.text.lines());
    lines
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .collect()
}

#[test]
fn the_usual_configuration_makes_the_units_that_ship() {
    for (unit, (name, shipped)) in made(PLAIN).units.iter().zip(SHIPPED) {
        assert_eq!((unit.name, unit.text.as_str()), (name, shipped));
    }
}

#[test]
fn both_services_are_held_alike() {
    let held = |name: &str| {
        let (_, text) = SHIPPED
            .into_iter()
            .find(|(known, _)| *known == name)
            .unwrap();
        let (_, rest) = text.split_once("# What it may write.").unwrap();
        rest.split("[Install]")
            .next()
            .unwrap()
            .trim_end()
            .to_owned()
    };
    assert_eq!(held("lifeboat.service"), held("lifeboat-run.service"));
}

#[test]
fn what_jobs_write_is_writable_and_nothing_that_is_only_read() {
    let text = r#"
version = 1
app = { name = "crm", state = "/srv/backup state/lifeboat" }
source.files = { kind = "files", paths = ["/srv/crm"] }
source.db = { kind = "sqlite", path = "/srv/crm/app.db" }
source.vault = { kind = "command", command = ["vault", "dump"] }
store.disk = { kind = "local", path = "/srv/backup state" }
store.usb = { kind = "local", path = "/mnt/100%/\"disk\"", encrypt = { openpgp = ["/etc/k.asc"] }, decrypt = { gpg = "/root/.gnupg" } }
plan.daily = { sources = ["files", "db", "vault"], stores = ["disk", "usb"], before = [["true"]] }
drill.weekly = { plans = ["daily"], checks = [{ command = ["true"] }] }
run = { metrics_file = "/var/lib/node/lifeboat.prom" }
restore = { stop = [["systemctl", "stop", "crm"]] }
"#;
    let units = made(text);
    // The state lies below a store that is writable already.
    let expected = r#""-/mnt/100%%/\"disk\"" -/root/.gnupg "-/srv/backup state" -/var/lib/node"#;
    assert_eq!(values(&units, "ReadWritePaths"), [expected; 2]);
    let shared: Vec<_> = units.writes.shared.iter().collect();
    assert_eq!(shared, [Path::new("/var/lib/node")]);
    assert_eq!(values(&units, "StateDirectory"), [""; 0]);
    assert_eq!(values(&units, "StateDirectoryMode"), [""; 0]);
    assert_eq!(values(&units, "PrivateTmp"), ["yes"; 2]);
    assert_eq!(
        units.writes.commands,
        [
            "drill.weekly.checks",
            "plan.daily.before",
            "source.vault.command"
        ]
    );
}

#[test]
fn a_state_below_var_lib_is_made_by_systemd() {
    let units = made(&PLAIN.replace(
        r#"name = "crm""#,
        r#"name = "crm", state = "/var/lib/backup/crm""#,
    ));
    assert_eq!(values(&units, "StateDirectory"), ["backup/crm"; 2]);
    assert_eq!(
        values(&units, "ReadWritePaths"),
        ["-/var/backups/lifeboat"; 2]
    );
    let outside = made(&PLAIN.replace(
        r#"name = "crm""#,
        r#"name = "crm", state = "/var/lib/../state""#,
    ));
    assert_eq!(values(&outside, "StateDirectory"), [""; 0]);
    let remote = PLAIN.replace(
        r#"{ kind = "local", path = "/var/backups/lifeboat" }"#,
        r#"{ kind = "sftp", host = "backup", path = "/srv/points" }"#,
    );
    assert_eq!(values(&made(&remote), "ReadWritePaths"), [""; 0]);
}

#[test]
fn temporary_directories_are_those_of_the_host_where_the_configuration_names_one() {
    for path in [
        r#"paths = ["/srv/crm"]"#,
        r#"path = "/var/backups/lifeboat""#,
    ] {
        let there = path
            .replace("/srv", "/tmp")
            .replace("/var/backups", "/var/tmp");
        let units = made(&PLAIN.replace(path, &there));
        assert_eq!(values(&units, "PrivateTmp"), ["no"; 2], "{there}");
    }
    let socket = format!(
        "{PLAIN}source.db = {{ kind = \"postgres\", database = \"d\", user = \"u\", socket = \"/tmp\" }}\n"
    );
    let socket = socket.replace(r#"sources = ["files"]"#, r#"sources = ["files", "db"]"#);
    assert_eq!(values(&made(&socket), "PrivateTmp"), ["no"; 2]);
}

#[test]
fn the_program_and_the_configuration_are_named() {
    let configs = [config(PLAIN)];
    let program = Path::new("/opt/my $tools/lifeboat");
    let made = several(&configs, program, Path::new("/etc/lifeboat/conf.d")).unwrap();
    let called = r#""/opt/my $$tools/lifeboat" --config /etc/lifeboat/conf.d"#;
    // `run` takes no directory.
    assert_eq!(values(&made, "ExecStart"), [format!("{called} daemon")]);
    assert_eq!(
        values(&made, "ExecReload"),
        [format!("{called} daemon reload")]
    );
    assert_eq!(made.environment, Path::new("/etc/lifeboat/secrets.env"));
    let made = units(&configs, program, Path::new("/srv/a b/lifeboat.toml")).unwrap();
    assert_eq!(
        values(&made, "EnvironmentFile"),
        ["-/srv/a b/secrets.env"; 2]
    );
    // A pattern to the end of the line: no quotes, but escapes.
    let made = units(&configs, program, Path::new(r#"/srv/5% "[a]" b\c/l.toml"#)).unwrap();
    assert_eq!(
        values(&made, "EnvironmentFile"),
        [r#"-/srv/5%% "\[a]" b\\c/secrets.env"#; 2]
    );
    assert_eq!(values(&made, "PrivateTmp"), ["yes"; 2]);
    for (program, given) in [
        ("/tmp/lifeboat", USUAL),
        ("/usr/bin/lifeboat", "/var/tmp/l.toml"),
    ] {
        let made = units(&configs, Path::new(program), Path::new(given)).unwrap();
        assert_eq!(values(&made, "PrivateTmp"), ["no"; 2], "{program} {given}");
    }
    for odd in [&b"/opt/\xff"[..], b"/opt/a\nb", b"/opt/a\tb"] {
        let odd: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(odd);
        let error = units(&configs, Path::new(odd), Path::new(USUAL)).unwrap_err();
        assert_eq!(error.code, Code::Target);
    }
    // Escapes of a line break are not read in paths that may be written.
    let broken = PLAIN.replace("/var/backups/lifeboat", "/mnt/a\\nb");
    let error = units(&[config(&broken)], program, Path::new(USUAL)).unwrap_err();
    assert!(error.message.contains(r"/mnt/a\nb"), "{error:?}");
}
