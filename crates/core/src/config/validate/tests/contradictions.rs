//! Configurations that contradict themselves: each is refused with its position and a remedy.

use super::{HEAD, base, parse, refused};

/// The general hint; an empty hint in the tables stands for it.
const GENERAL: &str = "correct it there; `lifeboat config schema` describes every key";

/// Text that is added to [`base`], and the expected message and hint.
type Case = (&'static str, &'static str, &'static str);

fn each_is_refused(cases: &[Case]) {
    for (fragment, message, hint) in cases {
        let told = refused(&format!("{}{fragment}\n", base()));
        let hint = if hint.is_empty() { GENERAL } else { hint };
        assert_eq!(told, ((*message).into(), hint.into()), "{fragment}");
    }
}

const PLANS_AND_DRILLS: &[Case] = &[
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
        "[source.b]\nkind = \"bucket\"\nbucket = \"b\"\nendpoint = \"https://s3.example\"\naccess_key = \"env:A\"\nsecret_key = \"env:S\"\n[plan.q]\nsources = [\"b\"]\nstores = [\"disk\"]\nskip_unchanged = true",
        "plan.q.skip_unchanged: source b is a bucket, of which each point stores only what is new",
        "leave skip_unchanged out, or give the bucket a plan of its own",
    ),
    (
        "[store.r]\nkind = \"local\"\npath = \"/mnt/r\"\nlayout = \"repository\"\npassword = \"env:P\"\n[plan.q]\nsources = [\"db\"]\nstores = [\"disk\", \"r\"]\nskip_unchanged = true",
        "plan.q.skip_unchanged: store r has a repository, which stores only what changed",
        "leave skip_unchanged out, or give that store a plan of its own",
    ),
    (
        "[plan.q]\nsources = [\"db\"]\nstores = [\"disk\"]\nkeep_in.safe = { last = 3 }",
        "plan.q.keep_in.safe: store safe is not among the stores of this plan",
        "they are: disk",
    ),
    (
        "[plan.q]\nsources = [\"db\"]\nstores = [\"disk\"]\nkeep_in.disk = { last = 0 }",
        "plan.q.keep_in.disk: it keeps nothing at all",
        "add daily = 30 or another rule, or write keep = \"forever\"",
    ),
    (
        "[plan.q]\nsources = [\"db\"]\nstores = [\"disk\"]\nkeep = { last = 3, daily = \"0d\" }",
        "plan.q.keep.daily: 0s is no time at all",
        "write a length of time, as 30d, or leave the key out",
    ),
    (
        "[plan.q]\nsources = [\"db\"]\nstores = [\"disk\"]\nkeep_manual = \"0s\"",
        "plan.q.keep_manual: 0s is no time at all",
        "write a length of time, as 30d, or leave the key out",
    ),
    (
        "[plan.q]\nsources = [\"db\"]\nstores = [\"disk\"]\nprune_grace = \"59m\"",
        "plan.q.prune_grace: a restore that reads a point would lose it on the way",
        "write 1h or more, and more than the longest restore takes",
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

#[test]
fn plans_and_drills_that_cannot_be_meant_are_refused() {
    each_is_refused(PLANS_AND_DRILLS);
}

const SOURCES: &[Case] = &[
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
];

#[test]
fn sources_that_cannot_be_meant_are_refused() {
    each_is_refused(SOURCES);
}

const STORES: &[Case] = &[
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
        "[store.x]\nkind = \"s3\"\nbucket = \"b/c\"\naccess_key = \"env:A\"\nsecret_key = \"env:B\"",
        "store.x.bucket: \"b/c\" is no bucket",
        "write its name alone; a path within it is its prefix",
    ),
];

#[test]
fn stores_that_cannot_be_meant_are_refused() {
    each_is_refused(STORES);
}

const ENCRYPTION: &[Case] = &[
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
        "[store.x]\nkind = \"s3\"\nbucket = \"b\"\naccess_key = \"env:A\"\nsecret_key = \"env:B\"\nkms_key_id = \"k\"",
        "store.x.kms_key_id: nothing uses it",
        "add server_side_encryption = \"aws:kms\"",
    ),
    (
        "[store.x]\nkind = \"s3\"\nbucket = \"b\"\naccess_key = \"env:A\"\nsecret_key = \"env:B\"\nobject_lock = { mode = \"governance\", for = \"36h\" }",
        "store.x.object_lock.for: 36h is too short: a lock is extended once a day, and must not end before",
        "write for = \"5d\" or longer",
    ),
    (
        "[store.x]\nkind = \"s3\"\nbucket = \"b\"\naccess_key = \"env:A\"\nsecret_key = \"env:B\"\nobject_lock = { mode = \"governance\", for = \"101y\" }",
        "store.x.object_lock.for: 36865d is longer than S3 locks anything",
        "write for = \"100y\" or less",
    ),
];

#[test]
fn encryption_that_cannot_be_meant_is_refused() {
    each_is_refused(ENCRYPTION);
}

#[test]
fn a_contradiction_is_reported_at_its_place() {
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

/// Checks, and what is wrong with each.
const WRONG_CHECKS: &[(&str, &str)] = &[
    (
        "{}",
        "a check needs one of sql, file, command, live, http and tcp",
    ),
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
    ("{ tcp = \"files\" }", "a tcp check needs a port"),
    (
        "{ tcp = \"files\", port = 22 }",
        "source \"files\" is of kind \"files\", not a machine",
    ),
    (
        "{ http = \"http://{db}/\" }",
        "source \"db\" is of kind \"sqlite\", not a machine",
    ),
    (
        "{ http = \"http://www.example.org/\" }",
        "it asks nothing that was restored",
    ),
    (
        "{ http = \"www.example.org\" }",
        "\"www.example.org\" begins with neither http:// nor https://",
    ),
    (
        "{ tcp = \"files\", port = 22, status = 200 }",
        "status belongs to a http check, not to a tcp check",
    ),
    (
        "{ sql = \"db\", query = \"q\", expect = \"same\", contains = \"x\" }",
        "contains belongs to a file or http check, not to a sql check",
    ),
    (
        "{ live = \"files\" }",
        "source \"files\" is of kind \"files\", not a database",
    ),
    (
        "{ live = \"db\", expect = \"> 0\" }",
        "expect belongs to a sql check, not to a live check",
    ),
];

#[test]
fn a_check_is_one_thing_and_asks_what_can_answer() {
    for (check, message) in WRONG_CHECKS {
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
    // The grammars of expect and tolerance are checked at their own position.
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

#[test]
fn what_could_never_run_by_itself_is_refused() {
    let with = |line: &str| {
        base().replace(
            "stores = [\"disk\"]\n",
            &format!("stores = [\"disk\"]\n{line}\n"),
        )
    };
    let table = [
        (
            "not_during = [\"00:00-24:00\"]",
            "these windows cover the whole week",
        ),
        ("not_during = [\"Mon 8-18\"]", "is no window of the week"),
        ("retry = { attempts = 0 }", "0 attempts are not possible"),
        ("timeout = \"0s\"", "it would be ended at once"),
        (
            "schedule = \"0 * * * *\"\nspread = \"1h\"",
            "it is not shorter than the 1h between two runs",
        ),
        ("[verify.v]\nsample = \"200%\"", "\"200%\" is no share"),
        (
            "[verify.v]\nsample = \"10%\"\npoint = \"latest\"",
            "it is given beside point",
        ),
        ("[verify.v]\nstore = \"dusk\"", "there is no store \"dusk\""),
        ("[run]\nparallel = 0", "0 jobs at a time are not possible"),
        ("[run]\nmemory = \"dusk\"", "there is no store \"dusk\""),
    ];
    for (line, expected) in table {
        let error = parse(&with(line)).unwrap_err();
        let said = format!("{} {}", error.message, error.cause.unwrap_or_default());
        assert!(said.contains(expected), "{line}: {said}");
    }
    let good = "not_during = [\"Mon-Fri 08:00-18:00\"]\nretry = { attempts = 5, wait = \"1m\" }\ntimeout = \"2h\"\nspread = \"10m\"\nschedule = \"7 * * * *\"\n[verify.v]\nschedule = \"0 4 * * 6\"\nsample = \"10%\"\nstore = \"disk\"\n[run]\nparallel = 2\nmemory = \"disk\"";
    parse(&with(good)).unwrap();
}
