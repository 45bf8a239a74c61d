use super::*;
use crate::error::Code;
use crate::name::Name;

const HEAD: &str = "version = 1\n[app]\nname = \"crm\"\n";
const AGE: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

/// Two sources, two stores, one plan; what a case adds comes after it.
fn base() -> String {
    format!(
        "{HEAD}\
         [source.db]\nkind = \"sqlite\"\npath = \"/srv/app.db\"\n\
         [source.files]\nkind = \"files\"\npaths = [\"/srv/app\"]\n\
         [store.disk]\nkind = \"local\"\npath = \"/var/backups\"\n\
         [store.safe]\nkind = \"local\"\npath = \"/mnt/safe\"\nencrypt = {{ age = [\"{AGE}\"] }}\n\
         [plan.p]\nsources = [\"db\", \"files\"]\nstores = [\"disk\"]\n"
    )
}

fn parse(text: &str) -> crate::Result<Config> {
    Config::parse(text, Path::new("/etc/lifeboat/lifeboat.toml"))
}

/// The one thing that is refused about `text`, without the place, and the hint.
/// The hint where there is nothing special to say; an empty one in the tables stands for it.
const GENERAL: &str = "correct it there; `lifeboat config schema` describes every key";

fn refused(text: &str) -> (String, String) {
    let error = parse(text).unwrap_err();
    assert_eq!(error.code, Code::Configuration);
    assert_eq!(error.cause, None, "{error:?}");
    let (_, message) = error.message.split_once(": ").unwrap();
    (message.to_owned(), error.hint.unwrap_or_default())
}

#[test]
fn a_plain_configuration_is_not_refused() {
    parse(&base()).unwrap();
}

#[test]
fn contradictions_are_refused() {
    let table = [
        (
            "[plan.q]\nsources = [\"bd\"]\nstores = [\"disk\"]",
            "plan.q.sources[0]: there is no source \"bd\"",
            "did you mean \"db\"?",
        ),
        (
            "[plan.q]\nsources = [\"db\"]\nstores = [\"disk\", \"tape\"]",
            "plan.q.stores[1]: there is no store \"tape\"",
            "known here: disk, safe",
        ),
        (
            "[plan.q]\nsources = []\nstores = [\"disk\"]",
            "plan.q.sources: the list is empty",
            "name at least one source: sources = [\"db\"]",
        ),
        (
            "[plan.q]\nsources = [\"db\", \"db\"]\nstores = [\"disk\"]",
            "plan.q.sources[1]: \"db\" is there twice",
            "",
        ),
        (
            "[plan.q]\nsources = [\"db\"]\nstores = [\"disk\"]\nbefore = [[\"x\"], []]",
            "plan.q.before[1]: it names no program",
            "",
        ),
        (
            "[plan.q]\nsources = [\"db\"]\nstores = [\"disk\"]\nkeep = { daily = 0, of_period = \"first\" }",
            "plan.q.keep: it keeps nothing at all",
            "add daily = 30 or another rule, or write keep = \"forever\"",
        ),
        (
            "[source.x]\nkind = \"files\"",
            "source.x.paths: it names nothing to back up",
            "add paths = [\"/…\"]",
        ),
        (
            "[source.x]\nkind = \"postgres\"\nurl = \"env:U\"\nhost = \"h\"",
            "source.x.host: it is given beside url",
            "give the url, or its parts, not both",
        ),
        (
            "[source.x]\nkind = \"postgres\"\nhost = \"h\"",
            "source.x: it names no database",
            "add url = \"env:DATABASE_URL\", or database and where its server is",
        ),
        (
            "[source.x]\nkind = \"postgres\"\ndatabase = \"d\"\nhost = \"h\"\nsocket = \"/run\"",
            "source.x.socket: it is given beside host",
            "give one of host and socket",
        ),
        (
            "[source.x]\nkind = \"mariadb\"\nurl = \"env:U\"\nuser = \"u\"",
            "source.x.user: it is given beside url",
            "give the url, or its parts, not both",
        ),
        (
            "[source.x]\nkind = \"mysql\"\nuser = \"u\"",
            "source.x: it names no database",
            "add url = \"env:DATABASE_URL\", or database and where its server is",
        ),
        (
            "[source.x]\nkind = \"mariadb\"\ndatabase = \"\"",
            "source.x.database: it is empty",
            "write the database's name, or remove the key",
        ),
        (
            "[source.x]\nkind = \"mysql\"\ndatabase = \"d\"\nhost = \"h\"\nsocket = \"/run/s\"",
            "source.x.socket: it is given beside host",
            "give one of host and socket",
        ),
        (
            "[source.x]\nkind = \"command\"\ncommand = []",
            "source.x.command: it names no program",
            "write it as command = [\"PROGRAM\", \"ARGUMENT\"]",
        ),
        (
            "[store.x]\nkind = \"local\"\npath = \"/x\"\nencrypt = {}",
            "store.x.encrypt: it names no recipient",
            "add age = [\"age1…\"], or remove encrypt to store in clear",
        ),
        (
            "[store.x]\nkind = \"local\"\npath = \"/x\"\ndecrypt = {}",
            "store.x.decrypt: it names no key",
            "add age = \"file:PATH\", or remove decrypt",
        ),
        (
            "[store.x]\nkind = \"local\"\npath = \"/x\"\nencrypt = { age = [\"/a\"], openpgp = [\"/b\"] }",
            "store.x.encrypt.openpgp: it is given beside age, and an object has one format",
            "give one of age and openpgp; a second store can have the other",
        ),
        (
            "[store.x]\nkind = \"local\"\npath = \"/x\"\nencrypt = { age = [\"/a\"], sign = { openpgp = \"file:/k\" } }",
            "store.x.encrypt.sign: only OpenPGP messages can be signed inside",
            "remove it: every manifest is signed anyway, and names the hash of each object",
        ),
        (
            "[store.x]\nkind = \"local\"\npath = \"/x\"\nencrypt = { openpgp = [\"/a\"], sign = {} }",
            "store.x.encrypt.sign: it names no key",
            "add openpgp = \"file:PATH\", or remove sign",
        ),
        (
            "[store.x]\nkind = \"local\"\npath = \"/x\"\nencrypt = { openpgp = [\"/a\"], sign = { openpgp = \"file:/k\", gpg = \"/g\" } }",
            "store.x.encrypt.sign.gpg: it is given beside openpgp",
            "give the secret key, or the home of the gpg that has it, not both",
        ),
        (
            "[store.x]\nkind = \"local\"\npath = \"/x\"\nencrypt = { openpgp = [\"/a\"], sign = { gpg = \"/g\" } }",
            "store.x.encrypt.sign.key: it does not say which key of gpg is to sign",
            "give the 40 digits that `gpg --list-secret-keys` shows",
        ),
        (
            "[store.x]\nkind = \"local\"\npath = \"/x\"\nencrypt = { openpgp = [\"/a\"], sign = { gpg = \"/g\", key = \"ops@example.org\" } }",
            "store.x.encrypt.sign.key: \"ops@example.org\" is no fingerprint",
            "give the 40 digits that `gpg --list-secret-keys` shows",
        ),
        (
            "[store.x]\nkind = \"local\"\npath = \"/x\"\nencrypt = { openpgp = [\"/a\"], sign = { openpgp = \"file:/k\", key = \"AB\" } }",
            "store.x.encrypt.sign.key: nothing uses it",
            "remove it: the file that openpgp refers to holds the one key that signs",
        ),
        (
            "[store.x]\nkind = \"local\"\npath = \"/x\"\nencrypt = { openpgp = [\"/a\"], sign = { gpg = \"/g\", key = \"0123 4567 89AB CDEF 0123  4567 89ab cdef 0123 4567\", passphrase = \"file:/p\" } }",
            "store.x.encrypt.sign.passphrase: nothing uses it",
            "remove it: gpg asks its agent",
        ),
        (
            "[store.x]\nkind = \"local\"\npath = \"/x\"\ndecrypt = { openpgp = \"file:/k\", gpg = \"/root/.gnupg\" }",
            "store.x.decrypt.gpg: it is given beside openpgp",
            "give the secret key, or the home of the gpg that has it, not both",
        ),
        (
            "[store.x]\nkind = \"local\"\npath = \"/x\"\ndecrypt = { gpg = \"/root/.gnupg\", passphrase = \"file:/p\" }",
            "store.x.decrypt.passphrase: nothing uses it",
            "remove it: gpg asks its agent",
        ),
        (
            "[store.x]\nkind = \"local\"\npath = \"/x\"\nencrypt = { age = [\"age1yubikey1q2w7u3vp\"] }",
            "store.x.encrypt.age[0]: \"age1yubikey1q2w7u3vp\" is no age recipient: an age1… key ends in a checksum, and this one does not fit",
            "copy the public key again, whole: `age-keygen -y KEYFILE` prints it",
        ),
        (
            "[store.x]\nkind = \"local\"\npath = \"/var/./backups/\"",
            "store.x: it is the same place as store \"disk\"",
            "give each store its own path, bucket or prefix",
        ),
        (
            "[store.x]\nkind = \"local\"\npath = \"/srv/app/backups\"",
            "source.files: it contains /srv/app/backups, which is store \"x\": each backup would back up those before it",
            "add \"/srv/app/backups\" to exclude, or move the store",
        ),
        (
            "[store.x]\nkind = \"sftp\"\nhost = \"backup:hunter2@h\"\npath = \"/x\"",
            "store.x.host: it is no host",
            "write its name or address alone; user, port and path have keys of their own",
        ),
        (
            "[store.x]\nkind = \"sftp\"\nhost = \"h\"\nuser = \"u:hunter2\"\npath = \"/x\"",
            "store.x.user: it is no user",
            "write the name alone",
        ),
        (
            "[store.x]\nkind = \"s3\"\nbucket = \"AKID:hunter2@b/c\"\naccess_key = \"env:A\"\nsecret_key = \"env:B\"",
            "store.x.bucket: it is no bucket",
            "write its name alone; a path within it is its prefix",
        ),
        (
            "[source.x]\nkind = \"postgres\"\ndatabase = \"d\"\nuser = \"u:hunter2\"",
            "source.x.user: it is no user",
            "write it alone; port and password have keys of their own",
        ),
        (
            "[source.x]\nkind = \"postgres\"\ndatabase = \"d\"\nhost = \"u:hunter2@h\"",
            "source.x.host: it is no host",
            "write it alone; port and password have keys of their own",
        ),
        (
            "[source.x]\nkind = \"mariadb\"\ndatabase = \"d\"\nhost = \"u:hunter2@h\"",
            "source.x.host: it is no host",
            "write it alone; port and password have keys of their own",
        ),
        (
            "[store.x]\nkind = \"s3\"\nbucket = \"b/c\"\naccess_key = \"env:A\"\nsecret_key = \"env:B\"",
            "store.x.bucket: \"b/c\" is no bucket",
            "write its name alone; a path within it is its prefix",
        ),
        (
            "[store.x]\nkind = \"s3\"\nbucket = \"b\"\naccess_key = \"env:A\"\nsecret_key = \"env:B\"\nkms_key_id = \"k\"",
            "store.x.kms_key_id: nothing uses it",
            "add server_side_encryption = \"aws:kms\"",
        ),
        (
            "[drill.d]\nplans = [\"q\"]",
            "drill.d.plans[0]: there is no plan \"q\"",
            "did you mean \"p\"?",
        ),
        (
            "[drill.d]\nplans = [\"p\"]\nstore = \"safe\"",
            "drill.d.store: plan \"p\" does not write to store \"safe\"",
            "drill a store of the plan, or add it to the plan's stores",
        ),
        (
            "[drill.d]\nplans = [\"p\"]\nstore = \"dsk\"",
            "drill.d.store: there is no store \"dsk\"",
            "did you mean \"disk\"?",
        ),
    ];
    for (fragment, message, hint) in table {
        let told = refused(&format!("{}{fragment}\n", base()));
        let hint = if hint.is_empty() { GENERAL } else { hint };
        assert_eq!(told, (message.into(), hint.into()), "{fragment}");
    }
}

#[test]
fn a_contradiction_is_told_where_it_stands() {
    let text = format!(
        "{HEAD}[source.db]\nkind = \"sqlite\"\npath = \"/d\"\n[store.\"a.b\"]\nkind = \"local\"\npath = \"/b\"\nencrypt = {{}}\n[plan.p]\nsources = [\"db\", \"bd\"]\nstores = [\"a.b\"]\n"
    );
    let error = parse(&text).unwrap_err();
    assert_eq!(
        error.message,
        "/etc/lifeboat/lifeboat.toml:10:1: store.\"a.b\".encrypt: it names no recipient"
    );
    assert_eq!(
        error.cause.unwrap(),
        "/etc/lifeboat/lifeboat.toml:12:18: plan.p.sources[1]: there is no source \"bd\" (did you mean \"db\"?)"
    );
}

#[test]
fn a_check_is_one_thing_and_asks_what_can_answer() {
    let table = [
        ("{}", "a check needs one of sql, file, command and live"),
        (
            "{ sql = \"db\", file = \"files\" }",
            "a check is only one of sql and file",
        ),
        ("{ sql = \"db\" }", "a sql check needs a query"),
        (
            "{ sql = \"db\", query = \"q\" }",
            "a sql check needs expect",
        ),
        (
            "{ sql = \"db\", query = \"q\", expect = \"same\", path = \"x\" }",
            "path belongs to a file check, not to a sql check",
        ),
        (
            "{ sql = \"files\", query = \"q\", expect = \"same\" }",
            "source \"files\" is of kind \"files\", not a database",
        ),
        (
            "{ sql = \"dd\", query = \"q\", expect = \"same\" }",
            "there is no source \"dd\"",
        ),
        ("{ file = \"files\" }", "a file check needs a path"),
        (
            "{ file = \"files\", path = \"a/../b\" }",
            "the path \"a/../b\" goes up with ..",
        ),
        (
            "{ file = \"db\", path = \"a\" }",
            "source \"db\" is of kind \"sqlite\", not a files source",
        ),
        ("{ command = [] }", "a command check needs a program"),
        (
            "{ live = \"files\" }",
            "source \"files\" is of kind \"files\", not a database",
        ),
        (
            "{ live = \"db\", expect = \"> 0\" }",
            "expect belongs to a sql check, not to a live check",
        ),
    ];
    for (check, message) in table {
        let (told, _) = refused(&format!(
            "{}[drill.d]\nplans = [\"p\"]\nchecks = [{check}]\n",
            base()
        ));
        assert_eq!(told, format!("drill.d.checks[0]: {message}"), "{check}");
    }
    let (told, hint) = refused(&format!(
        "{}[restore]\nchecks = [{{ live = \"db\" }}]\n",
        base()
    ));
    assert_eq!(
        told,
        "restore.checks[0]: a live check after a live restore compares a database with itself"
    );
    assert_eq!(hint, "put it into a drill");
    // The grammars of expect and tolerance are told where they stand.
    let check = "{ sql = \"db\", query = \"q\", expect = \"lots\" }";
    let (told, _) = refused(&format!(
        "{}[drill.d]\nplans = [\"p\"]\nchecks = [{check}]\n",
        base()
    ));
    assert_eq!(
        told,
        "drill.d.checks[0].expect: \"lots\" is no expectation; write > N, >= N, < N, <= N, = TEXT, != TEXT or same"
    );
    let (told, _) = refused(&format!(
        "{}[drill.d]\nplans = [\"p\"]\nchecks = [{{ live = \"db\", tolerance = \"5\" }}]\n",
        base()
    ));
    assert_eq!(
        told,
        "drill.d.checks[0].tolerance: \"5\" is no tolerance; write one from 0% to 100%, as in 5%"
    );
}

#[test]
fn a_sensitive_source_needs_a_store_that_encrypts() {
    let secret =
        "[source.secrets]\nkind = \"files\"\npaths = [\"/srv/secrets\"]\nsensitive = true\n";
    let plan = |stores: &str| {
        format!(
            "{}{secret}[plan.s]\nsources = [\"secrets\"]\nstores = {stores}\n",
            base()
        )
    };
    parse(&plan("[\"safe\"]")).unwrap();
    let (told, hint) = refused(&plan("[\"safe\", \"disk\"]"));
    assert_eq!(
        told,
        "plan.s.sources: source \"secrets\" is sensitive, and store \"disk\", where this plan puts it, does not encrypt"
    );
    assert_eq!(
        hint,
        "add encrypt = { age = [\"age1…\"] } to [store.disk], or give secrets a plan with stores that encrypt"
    );
}

#[test]
fn a_separate_source_shares_no_bucket_and_no_directory() {
    let s3 = |name: &str, bucket: &str, prefix: &str| {
        format!(
            "[store.{name}]\nkind = \"s3\"\nbucket = \"{bucket}\"\nprefix = \"{prefix}\"\naccess_key = \"env:A\"\nsecret_key = \"env:B\"\n"
        )
    };
    let with = |stores: &str, data: &str, own: &str| {
        format!(
            "{}[source.keys]\nkind = \"files\"\npaths = [\"/srv/keys\"]\nseparate = true\n{stores}\
             [plan.q]\nsources = [\"db\"]\nstores = [\"{data}\"]\n[plan.s]\nsources = [\"keys\"]\nstores = [\"{own}\"]\n",
            base()
        )
    };
    let two = s3("one", "crm", "data") + &s3("two", "crm", "keys") + &s3("three", "other", "data");
    parse(&with(&two, "one", "three")).unwrap();
    let (told, hint) = refused(&with(&two, "one", "two"));
    assert_eq!(
        told,
        "plan.s.stores: source \"keys\" must be kept separate, and the bucket of store \"two\" also receives \"db\" (plan \"q\", store \"one\")"
    );
    assert_eq!(
        hint,
        "give keys a plan of its own, with a store on another bucket or disk"
    );
    let below = "[store.below]\nkind = \"local\"\npath = \"/var/backups/keys\"\n";
    let (told, _) = refused(&with(below, "disk", "below"));
    assert!(
        told.contains("the directory of store \"below\" also receives \"db\""),
        "{told}"
    );
    // The same store through one plan.
    let (told, _) = refused(&with("", "disk", "disk"));
    assert!(
        told.contains("the directory of store \"disk\" also receives"),
        "{told}"
    );
}

/// A bucket has one name and a server many.
#[test]
fn a_separate_source_shares_no_bucket_under_another_name_of_its_server() {
    let s3 = |name: &str, bucket: &str, endpoint: &str| {
        let endpoint = match endpoint {
            "" => String::new(),
            endpoint => format!("endpoint = \"{endpoint}\"\n"),
        };
        format!(
            "[store.{name}]\nkind = \"s3\"\nbucket = \"{bucket}\"\n{endpoint}access_key = \"env:A\"\nsecret_key = \"env:B\"\n"
        )
    };
    let with = |one: &str, two: &str| {
        format!(
            "{HEAD}[source.db]\nkind = \"sqlite\"\npath = \"/srv/app.db\"\n\
             [source.keys]\nkind = \"files\"\npaths = [\"/srv/keys\"]\nseparate = true\n{}{}\
             [plan.d]\nsources = [\"db\"]\nstores = [\"data\"]\n[plan.k]\nsources = [\"keys\"]\nstores = [\"keys\"]\n",
            s3("data", "crm", one),
            s3("keys", "crm", two).replace("access_key", "prefix = \"keys\"\naccess_key"),
        )
    };
    for (one, two) in [
        ("", "https://s3.eu-west-1.amazonaws.com"),
        (
            "https://s3.amazonaws.com",
            "https://s3.dualstack.us-east-1.amazonaws.com/",
        ),
        ("http://S3.example.org:9000", "https://s3.example.org./"),
        ("http://localhost:9000", "http://127.0.0.1:9000"),
        ("http://[::1]:9000", "http://127.0.0.1:9000"),
    ] {
        let (told, _) = refused(&with(one, two));
        assert!(
            told.contains(
                "the bucket of store \"keys\" also receives \"db\" (plan \"d\", store \"data\")"
            ),
            "{one} {two}: {told}"
        );
    }
    let told = findings(&with(
        "https://s3.example.org",
        "https://objects.example.net",
    ));
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].1, Severity::Warning);
    assert!(told[0].2.contains("name a bucket alike"), "{told:?}");
}

/// What `config check` calls an error also stops the plan that it is about, and no other.
#[test]
fn a_plan_that_would_lay_secrets_beside_data_is_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("a")).unwrap();
    std::os::unix::fs::symlink(root.join("a"), root.join("link")).unwrap();
    let text = |own: &str, site: &str| {
        format!(
            "{HEAD}public_dirs = [\"{site}\"]\n[source.db]\nkind = \"sqlite\"\npath = \"/d\"\n[source.keys]\nkind = \"files\"\npaths = [\"/k\"]\nseparate = true\n\
             [store.a]\nkind = \"local\"\npath = \"{}/a\"\n[store.b]\nkind = \"local\"\npath = \"{own}\"\n\
             [plan.d]\nsources = [\"db\"]\nstores = [\"a\"]\n[plan.k]\nsources = [\"keys\"]\nstores = [\"b\"]\n",
            root.display()
        )
    };
    let beside = parse(&text(&root.join("b").display().to_string(), "/nowhere")).unwrap();
    beside.check_plan("d").unwrap();
    let error = beside.check_plan("k").unwrap_err();
    assert_eq!(error.code, Code::Configuration);
    assert!(
        error
            .message
            .starts_with("plan.k.stores: source \"keys\" must be kept separate, and the disk"),
        "{error:?}"
    );
    // By a link, two directories are one.
    let linked = parse(&text(&root.join("link").display().to_string(), "/nowhere")).unwrap();
    let error = linked.check_plan("k").unwrap_err();
    assert!(
        error.message.contains("the directory of store \"b\""),
        "{error:?}"
    );
    // Another disk is well, until somebody copies.
    let apart = parse(&text("/proc/keys", "/nowhere")).unwrap();
    apart.check_plan("k").unwrap();
    let copied = |sources: &[&str], store: &str| {
        let name = |text: &str| Name::parse(text).unwrap();
        let sources: Vec<Name> = sources.iter().map(|s| name(s)).collect();
        apart
            .check_copy(&name("k"), &sources, &name(store))
            .map_err(|e| e.message)
    };
    copied(&["keys"], "b").unwrap();
    let error = copied(&["keys"], "a").unwrap_err();
    assert!(
        error.contains("store \"a\" also receives \"db\""),
        "{error}"
    );
    let error = copied(&["keys", "db"], "b").unwrap_err();
    assert!(error.contains("also receives \"db\""), "{error}");
    // A store that is published stops the plans that write to it.
    let site = root.display().to_string();
    let published = parse(&text("/proc/keys", &site)).unwrap();
    published.check_plan("k").unwrap();
    let error = published.check_plan("d").unwrap_err();
    assert!(error.message.starts_with("store.a.path: "), "{error:?}");
    assert!(
        error
            .message
            .contains("which a web server publishes (listed in app.public_dirs)"),
        "{error:?}"
    );
}

#[test]
fn a_store_that_is_excluded_does_not_back_itself_up() {
    let with = |exclude: &str, path: &str| {
        format!(
            "{HEAD}[source.f]\nkind = \"files\"\npaths = [\"/srv\"]\nexclude = [{exclude}]\n[store.d]\nkind = \"local\"\npath = \"{path}\"\n"
        )
    };
    for (exclude, path, refused) in [
        ("", "/srv/backups", true),
        ("", "/srv", true),
        ("", "/srv2", false),
        ("", "/srv/x/../../mnt", false),
        ("\"backups\"", "/srv/backups", false),
        ("\"backups\"", "/srv/backups/deep", false),
        ("\"back*\"", "/srv/backups", false),
        ("\"/srv/backups\"", "/srv/backups", false),
        ("\"/srv/*\"", "/srv/a/b", false),
        ("\"/srv/other\"", "/srv/backups", true),
        ("\"other\"", "/srv/backups", true),
        ("\"backups/\"", "/srv/backups", false),
        ("\"srv/backups\"", "/srv/backups", false),
        ("\"rv/backups\"", "/srv/backups", true),
        ("\"/backups\"", "/srv/backups", true),
    ] {
        assert_eq!(
            parse(&with(exclude, path)).is_err(),
            refused,
            "{exclude} {path}"
        );
    }
}

/// Subject, severity, message and hint of each finding but those of [`base`] itself.
fn findings(text: &str) -> Vec<(String, Severity, String, String)> {
    let config = parse(text).unwrap();
    let all = config.check().into_iter();
    all.filter(|finding| !finding.message.starts_with("no drill restores it"))
        .map(|f| (f.subject, f.severity, f.message, f.hint.unwrap_or_default()))
        .collect()
}

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
    assert_eq!(findings(&with("1d", "")), []);
    assert_eq!(
        findings(&with("1h", "")),
        [(
            "plan.p".into(),
            Severity::Error,
            "schedule: two runs can be 1d apart, so that 1d of work in db, files can be lost; app.rpo is 1h".into(),
            "run at least every 1h (schedule = \"7 * * * *\"), or raise app.rpo to 1d".into(),
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
    let told = findings(&with("1h", hourly));
    assert_eq!(told.len(), 1);
    assert!(
        told[0].2.contains("1d of work in files can be lost"),
        "{told:?}"
    );
    // A plan that something else starts.
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
    // Directories only: the key is a file.
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
    // Where it is encrypted, a signing key is no finding; the credentials of the only store are.
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

/// On this host, links lead further than names say, and modes are looked at.
#[test]
fn this_hosts_links_and_modes_are_seen() {
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
    // A store behind a link is not seen by name, and is seen here.
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

#[test]
fn a_separate_source_on_the_same_disk_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().display();
    let text = format!(
        "{HEAD}[source.db]\nkind = \"sqlite\"\npath = \"/d\"\n[source.keys]\nkind = \"files\"\npaths = [\"/k\"]\nseparate = true\n\
         [store.a]\nkind = \"local\"\npath = \"{root}/a\"\n[store.b]\nkind = \"local\"\npath = \"{root}/b\"\n\
         [plan.d]\nsources = [\"db\"]\nstores = [\"a\"]\n[plan.k]\nsources = [\"keys\"]\nstores = [\"b\"]\n"
    );
    let told = findings(&text);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1, Severity::Error);
    assert!(
        told[0]
            .2
            .contains("the disk of store \"b\" also receives \"db\""),
        "{told:?}"
    );
}
