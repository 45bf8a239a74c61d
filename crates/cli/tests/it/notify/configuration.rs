//! Configurations of channels: what is refused, with what to write instead; and the documents.

use super::{CHANNELS, Channels};
use crate::support::App;
use std::collections::BTreeSet;
use std::path::Path;

/// Tables, what is wrong with each, and what its hint says; `{ntfy}` is a channel that is right.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "kind = \"slack\"",
        "notify.x: it has no secret",
        "SLACK_BOT_TOKEN",
    ),
    (
        "kind = \"slack\"\ntoken = \"env:T\"",
        "notify.x: it has no channel",
        "channel = ",
    ),
    (
        "kind = \"slack\"\ntoken = \"env:T\"\nwebhook = \"env:W\"",
        "given beside token",
        "one of",
    ),
    (
        "kind = \"slack\"\nwebhook = \"env:W\"\nchannel = \"C1\"",
        "given beside webhook",
        "remove",
    ),
    (
        "kind = \"discord\"",
        "notify.x has no webhook",
        "env:DISCORD_WEBHOOK",
    ),
    (
        "kind = \"teams\"",
        "notify.x has no webhook",
        "env:TEAMS_WEBHOOK",
    ),
    (
        "kind = \"telegram\"\nchat = \"1\"",
        "notify.x has no token",
        "env:TELEGRAM_BOT_TOKEN",
    ),
    (
        "kind = \"telegram\"\ntoken = \"env:T\"\nchat = \"\"",
        "it is empty",
        "chat = ",
    ),
    ("kind = \"ntfy\"", "notify.x has no topic", "env:NTFY_TOPIC"),
    (
        "kind = \"gotify\"\nurl = \"https://push.example.org\"",
        "notify.x has no token",
        "env:GOTIFY_TOKEN",
    ),
    (
        "kind = \"gotify\"\ntoken = \"env:T\"",
        "notify.x has no url",
        "URL of the server",
    ),
    (
        "kind = \"gotify\"\nurl = \"http://push.example.org\"\ntoken = \"env:T\"",
        "in clear",
        "allow_http",
    ),
    (
        "kind = \"gotify\"\nurl = \"https://u:p@push.example.org\"\ntoken = \"env:T\"",
        "holds credentials",
        "without them",
    ),
    (
        "kind = \"pushover\"\ntoken = \"env:T\"",
        "notify.x has no user",
        "env:PUSHOVER_USER",
    ),
    (
        "kind = \"pagerduty\"",
        "notify.x has no routing_key",
        "env:PAGERDUTY_ROUTING_KEY",
    ),
    (
        "kind = \"opsgenie\"",
        "notify.x has no key",
        "env:OPSGENIE_KEY",
    ),
    (
        "kind = \"opsgenie\"\nkey = \"env:T\"\nregion = \"uk\"",
        "unknown word \"uk\"",
        "us",
    ),
    (
        "kind = \"webhook\"",
        "notify.x has no url",
        "env:WEBHOOK_URL",
    ),
    (
        "kind = \"webhook\"\nurl = \"https://example.org/hook\"",
        "a secret stands here itself",
        "env:X_URL",
    ),
    (
        "kind = \"command\"\ncommand = []",
        "it names no program",
        "PROGRAM",
    ),
    ("kind = \"pigeon\"", "unknown kind \"pigeon\"", "known here"),
    (
        "kind = \"telegramm\"",
        "unknown kind",
        "did you mean \"telegram\"?",
    ),
    (
        "kind = \"email\"\nfrom = \"a@b.example\"\nto = []\nserver = \"mail\"",
        "0 recipients",
        "from 1 to 50",
    ),
    (
        "kind = \"email\"\nfrom = \"nobody\"\nto = [\"a@b.example\"]\nserver = \"mail\"",
        "no mail address",
        "ADDRESS@HOST",
    ),
    (
        "kind = \"email\"\nfrom = \"a@b.example\"\nto = [\"a@b.example\\nBcc: c@d.example\"]\nserver = \"mail\"",
        "no mail address",
        "ADDRESS",
    ),
    (
        "kind = \"email\"\nfrom = \"a@b.example\"\nto = [\"a@b.example\"]\nserver = \"mail\"\nuser = \"u\"",
        "no password",
        "SMTP_PASSWORD",
    ),
    (
        "kind = \"email\"\nfrom = \"a@b.example\"\nto = [\"a@b.example\"]\nserver = \"mail\"\nuser = \"u\"\npassword = \"env:P\"\ntls = \"none\"",
        "in clear",
        "implicit",
    ),
    (
        "kind = \"email\"\nfrom = \"a@b.example\"\nto = [\"a@b.example\"]\nserver = \"mail\"\ntls = \"ssl\"",
        "unknown word \"ssl\"",
        "implicit",
    ),
    (
        "{ntfy}\non = [\"faild\"]",
        "unknown word \"faild\"",
        "did you mean \"failed\"?",
    ),
    ("{ntfy}\non = [\"overdu\"]", "unknown word", "\"overdue\"?"),
    ("{ntfy}\non = [\"recovered\"]", "never told", "all"),
    ("{ntfy}\nrepeat = \"0s\"", "told without end", "never"),
    ("{ntfy}\nrepeat = \"often\"", "no length of time", ""),
    (
        "{ntfy}\nescalate = [{ after = \"2d\", to = [] }]",
        "escalates to nobody",
        "oncall",
    ),
    (
        "{ntfy}\nescalate = [{ after = \"2d\", to = [\"oncal\"] }]",
        "there is no notify \"oncal\"",
        "did you mean \"oncall\"?",
    ),
    (
        "{ntfy}\nescalate = [{ after = \"2d\", to = [\"x\"] }]",
        "escalates to itself",
        "another",
    ),
    (
        "{ntfy}\nescalate = [{ after = \"0s\", to = [\"oncall\"] }]",
        "at once",
        "after which time",
    ),
    (
        "{ntfy}\nescalate = [{ after = \"2d\", to = [\"oncall\"], all = [\"plan.mian\"] }]",
        "there is no \"plan.mian\"",
        "\"plan.main\"?",
    ),
    (
        "{ntfy}\nescalate = [{ after = \"2d\", to = [\"oncall\"], kinds = [\"late\"] }]",
        "unknown word \"late\"",
        "",
    ),
    (
        "{ntfy}\nescalate = [{ after = \"2d\", whom = [\"oncall\"] }]",
        "unknown key \"whom\"",
        "",
    ),
    ("{ntfy}\nchannel = \"C1\"", "belongs to kind \"slack\"", ""),
];

/// Every table is refused for a reason, with a hint.
#[test]
fn a_channel_that_could_tell_nobody_is_refused() {
    let app = App::basic();
    let basic = std::fs::read_to_string(app.path("lifeboat.toml")).unwrap();
    for (table, told, hint) in REFUSED {
        let table = table.replace("{ntfy}", "kind = \"ntfy\"\ntopic = \"env:T\"");
        let oncall = "[notify.oncall]\nkind = \"ntfy\"\ntopic = \"env:T\"\non = []\n";
        app.configure(&format!("{basic}\n[notify.x]\n{table}\n\n{oncall}"));
        let output = app.exits(2, &["config", "check"]);
        assert!(output.stderr.contains(told), "{table}:\n{output}");
        assert!(output.stderr.contains(hint), "{table}: {hint}\n{output}");
        assert!(
            output.stderr.contains("lifeboat.toml:"),
            "{table}: no place\n{output}"
        );
        output.never_says(&["u:p@", "example.org/hook"]);
    }
}

#[test]
fn contacts_are_short_and_few() {
    let app = App::basic();
    let basic = std::fs::read_to_string(app.path("lifeboat.toml")).unwrap();
    let many: String = (0..21).map(|n| format!("r{n} = \"x\"\n")).collect();
    for (contacts, told) in [
        ("db = \"\"", "it is empty"),
        ("db = \"a\\nb\"", "more than one line"),
        (&format!("db = \"{}\"", "x".repeat(201)), "longer than 200"),
        (&many, "21 entries are too many"),
    ] {
        app.configure(&format!("{basic}\n[contacts]\n{contacts}\n"));
        app.exits(2, &["config", "check"]).says(&[told, "hint: "]);
    }
    app.configure(&format!(
        "{basic}\n[contacts]\ndb = \"Ann, +44 20 7946 0000\"\n"
    ));
    app.ok(&["config", "check"]);
}

#[test]
fn a_configuration_shows_references_and_survives_being_shown() {
    let channels = Channels::start();
    channels.app.configure_also("[notify.mail]\nkind = \"email\"\nfrom = \"a@b.example\"\nto = [\"c@d.example\"]\nserver = \"mail.example.org\"\non = []\n\n[notify.more]\nkind = \"command\"\ncommand = [\"true\"]\nrepeat = \"never\"\nwait = \"10m\"\non = [\"failed\", \"warning\", \"recovered\"]\nescalate = [{ after = \"2d\", kinds = [\"failed\", \"overdue\"], all = [\"plan.main\", \"source.db\"], to = [\"mail\"] }]\n");
    let shown = channels.app.ok(&["config", "show"]);
    super::keeps_secrets(&shown, &channels.server);
    shown.says(&[
        "env:TELEGRAM",
        "repeat = \"never\"",
        "repeat = \"1d\"",
        "on = []",
    ]);
    channels.app.write("lifeboat.toml", shown.stdout.as_bytes());
    let again = channels.app.ok(&["config", "show"]);
    assert_eq!(shown.stdout, again.stdout);
}

#[test]
fn there_must_be_a_channel_to_test() {
    let app = App::basic();
    app.exits(2, &["notify", "test"])
        .says(&["there is no channel to test", "hint: add a table"]);
    app.configure_also(&CHANNELS.replace("{url}", "http://127.0.0.1:9"));
    let output = app.exits(2, &["notify", "test", "telegramm"]);
    output.says(&["there is no channel \"telegramm\"", "hint: "]);
}

/// Every configuration in docs/channels.md is accepted, and there is one of each kind.
#[test]
fn channels_in_the_documents_are_accepted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/channels.md");
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```toml\n").skip(1);
    let blocks: Vec<&str> = blocks
        .map(|block| block.split("```").next().unwrap())
        .collect();
    let app = App::basic();
    let basic = std::fs::read_to_string(app.path("lifeboat.toml")).unwrap();
    let mut kinds = BTreeSet::new();
    for block in &blocks {
        let lines = block
            .lines()
            .filter_map(|line| line.strip_prefix("kind = \""));
        kinds.extend(lines.map(|rest| rest.split('"').next().unwrap().to_owned()));
        app.configure(&format!("{basic}\n{block}"));
        let output = app.run(&["config", "check"]);
        assert_eq!(output.code, 0, "{block}\n{output}");
    }
    let all = [
        "command",
        "discord",
        "email",
        "gotify",
        "ntfy",
        "opsgenie",
        "pagerduty",
        "pushover",
        "slack",
        "teams",
        "telegram",
        "webhook",
    ];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), all);
}
