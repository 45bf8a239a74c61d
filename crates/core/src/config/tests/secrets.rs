//! Literal secrets in a configuration, where references belong.

use super::{APP, only_problem, parse};

/// Puts secrets wherever somebody may write one: each report says what to write instead.
#[test]
fn a_literal_secret_is_refused() {
    let elsewhere = "move it to a file or an environment variable and refer to that, as in \
                     \"file:PATH\" or \"env:NAME\"; a command can read it from its environment";
    let table = [
        (
            "[source.db]\nkind = \"postgres\"\nurl = \"postgres://u:hunter2@h/d\"",
            "6:7",
            "source.db.url: a secret stands here itself, not a reference to it",
            "write url = \"env:DB_URL\"",
        ),
        (
            "[source.my-db]\nkind = \"postgres\"\ndatabase = \"d\"\npassword = \"hunter2\"",
            "7:12",
            "source.my-db.password: a secret stands here itself, not a reference to it",
            "write password = \"env:MY_DB_PASSWORD\"",
        ),
        (
            "[store.o]\nkind = \"s3\"\nbucket = \"b\"\naccess_key = \"env:A\"\nsecret_key = \"hunter2\"",
            "8:14",
            "store.o.secret_key: a secret stands here itself, not a reference to it",
            "write secret_key = \"env:O_SECRET_KEY\"",
        ),
        (
            "[store.d]\nkind = \"local\"\npath = \"/b\"\ndecrypt = { age = \"AGE-SECRET-KEY-1HUNTER2\" }",
            "7:19",
            "store.d.decrypt.age: a secret stands here itself, not a reference to it",
            "write age = \"file:/etc/lifeboat/d.key\"",
        ),
        (
            "[store.d]\nkind = \"local\"\npath = \"/b\"\nencrypt = { age = [\"AGE-SECRET-KEY-1HUNTER2\"] }",
            "7:20",
            "store.d.encrypt.age[0]: a secret stands here itself, not a reference to it",
            elsewhere,
        ),
        (
            "[source.c]\nkind = \"command\"\ncommand = [\"mydump\", \"mysql://u:hunter2@h/d\"]",
            "6:22",
            "source.c.command[1]: a secret stands here itself, not a reference to it",
            elsewhere,
        ),
        (
            "[source.c]\nkind = \"command\"\ncommand = [\"x\"]\nenv = { TOKEN = \"hunter2\" }",
            "7:17",
            "source.c.env.TOKEN: a secret stands here itself, not a reference to it",
            "write TOKEN = \"env:TOKEN\"",
        ),
        (
            "[source.db]\nkind = \"postgres\"\nurl = \"cmd:echo postgres://u:hunter2@h/d\"",
            "6:7",
            "source.db.url: a secret stands here itself, not a reference to it",
            elsewhere,
        ),
        (
            "[source.db]\nkind = \"postgres://u:hunter2@h/d\"",
            "5:8",
            "source.db.kind: a secret stands here itself, not a reference to it",
            elsewhere,
        ),
    ];
    for (fragment, place, message, hint) in table {
        let told = only_problem(&format!("{APP}{fragment}\n"));
        assert_eq!(
            told,
            (place.into(), message.into(), hint.into()),
            "{fragment}"
        );
    }
}

/// Holds whatever else is wrong at that position.
#[test]
fn no_problem_shows_a_literal_secret() {
    for fragment in [
        "[app]\nsigning_key = \"hunter2",
        "[source.db]\nkind = \"postgres\"\npasswort = \"hunter2\"",
        "[source.db]\nkind = \"postgres\"\npassword = [\"hunter2\"]",
        "[source.db]\nkind = \"postgres\"\npassword = { value = \"hunter2\" }",
        "[source.db]\nkind = \"postgres\"\npassword = hunter2",
        "[source.db]\nkind = \"postgres\"\npassword = \"a\" hunter2",
        "[source.db]\nkind = \"postgres\"\npassword = \"\\hunter2\"",
        "[source.db]\nkind = \"postgres\"\npassword = 0xhunter2",
        "[source.db]\nkind = \"mysql\"\npassword = \"hunter2\"",
        "[source.db]\nkind = \"lightsail\"\npassword = \"hunter2\"",
        "[notify.ops]\nkind = \"slack\"\ntoken = \"hunter2\"",
        "[store.o]\nkind = \"s3\"\nendpoint = \"https://key:hunter2@h\"",
        "[store.o]\nkind = \"s3\"\nendpoint = \"https://hunter2@h\"",
        "[store.o]\nkind = \"s3\"\nendpoint = \"AKID:hunter2@minio:9000\"",
        "[store.o]\nkind = \"s3\"\nendpoint = \"https://h/?secret=hunter2\"",
        "[source.o]\nkind = \"bucket\"\nbucket = \"b\"\nendpoint = \"https://h/?secret=hunter2\"",
        "[store.d]\nkind = \"local\"\npath = \"/b\"\nencrypt = { age = [\"hunter2\"] }",
    ] {
        let error = parse(&format!("version = 1\n{fragment}\n")).unwrap_err();
        let all = format!("{error:?}").to_lowercase();
        assert!(!all.contains("hunter2"), "{fragment}: {all}");
    }
}
