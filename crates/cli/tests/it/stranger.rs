//! Somebody who knows nothing of the program: runs `init`, and from then on only what the end of each
//! command names.

use crate::support::{App, LIFEBOAT, Output, run};
use std::process::Command;

/// What a stranger who reads to the end would type next.
fn named(output: &Output) -> Vec<String> {
    let lines: Vec<&str> = output.stdout.lines().collect();
    let command = lines.iter().filter_map(|line| line.strip_prefix("next: "));
    let command = command.filter(|text| text.starts_with("lifeboat "));
    // What it is for stands behind it.
    let command = command.map(|text| text.split("   ").next().unwrap().to_owned());
    let block = lines.iter().skip_while(|line| !line.starts_with("next, "));
    let block = block
        .filter_map(|line| line.strip_prefix("  "))
        .map(str::to_owned);
    block.chain(command).collect()
}

/// Runs a line of shell as the stranger.
fn typed(app: &App, line: &str) -> Output {
    let known = app.command(&[]);
    let mut shell = Command::new("sh");
    shell
        .args([
            "-c",
            &format!("lifeboat() {{ {LIFEBOAT} \"$@\"; }}; {line}"),
        ])
        .env_clear()
        .envs(
            known
                .get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        )
        .env_remove("LIFEBOAT_CONFIG")
        .current_dir(app.root());
    run(&mut shell)
}

#[test]
fn from_init_to_a_proved_point_nothing_has_to_be_looked_up() {
    let app = App::with("");
    std::fs::remove_file(app.path("lifeboat.toml")).unwrap();
    app.database("host/srv/notes/notes.db", 40);
    app.write("host/srv/notes/uploads/picture.jpg", b"a picture");
    std::fs::create_dir_all(app.path("host/var/backups")).unwrap();
    std::fs::create_dir_all(app.path("host/var/lib")).unwrap();

    let mut waiting = vec!["lifeboat init --root host".to_owned()];
    let mut history = Vec::new();
    while let Some(line) = waiting.first().cloned() {
        waiting.remove(0);
        let output = typed(&app, &line);
        assert_eq!(output.code, 0, "{line}\n{output}");
        history.push((line, output.stdout.clone()));
        let named = named(&output);
        if waiting.is_empty() {
            waiting = named;
        }
        assert!(history.len() < 20, "{history:#?}");
        // Units are for a host with systemd.
        if waiting
            .first()
            .is_some_and(|next| next == "lifeboat init --systemd")
        {
            break;
        }
    }
    let lines: Vec<&str> = history.iter().map(|(line, _)| line.as_str()).collect();
    assert_eq!(lines.len(), 6, "{lines:#?}");
    assert!(
        lines[1].contains("age-keygen -o") && lines[2].contains("age-keygen -y"),
        "{lines:#?}"
    );
    assert_eq!(lines[3..5], ["lifeboat doctor", "lifeboat backup"]);
    let (last, said) = history.last().unwrap();
    assert!(
        last.starts_with("lifeboat drill --point ") && said.contains("verified"),
        "{said}"
    );
    assert_eq!(waiting, ["lifeboat init --systemd"]);
    // A stranger who comes back, and one who looks first.
    let again = typed(&app, "lifeboat doctor");
    again.never_says(&["next: lifeboat backup"]);
    assert_eq!(
        named(&typed(&app, "lifeboat config check")),
        ["lifeboat doctor"]
    );
    assert_eq!(named(&typed(&app, "lifeboat verify")), ["lifeboat drill"]);
    // Once schedules are followed, nobody has to be led.
    let plan = "\n[plan.second]\nschedule = \"30 2 * * *\"\nsources = [\"notes-db\"]\nstores = [\"disk\"]\n";
    let text = std::fs::read_to_string(app.path("lifeboat.toml")).unwrap();
    app.write("lifeboat.toml", format!("{text}{plan}").as_bytes());
    let ran = typed(&app, "lifeboat run");
    ran.says(&["second", "complete"]);
    typed(&app, "lifeboat verify").never_says(&["next:"]);
    typed(&app, "lifeboat drill").never_says(&["next:"]);
}

#[test]
fn a_configuration_that_is_named_is_named_again() {
    let app = App::basic();
    std::fs::rename(app.path("lifeboat.toml"), app.path("my own.toml")).unwrap();
    let check = typed(&app, "lifeboat --config 'my own.toml' config check");
    check.says(&["next: lifeboat --config 'my own.toml' doctor"]);
    app.write("host/srv/x/index.html", b"hello");
    let written = typed(&app, "lifeboat init --root host --output 'a b.toml'");
    written.says(&["next: lifeboat --config 'a b.toml' doctor"]);
}

#[test]
fn what_is_damaged_leads_to_another_copy() {
    let app = App::basic();
    let second = "\n[store.second]\nkind = \"local\"\npath = \"{root}/second\"\n";
    let point = app.backup();
    let object = app.listing("store");
    let object = object.iter().find(|key| key.contains("files")).unwrap();
    app.write(&format!("store/{object}"), b"something else");
    app.exits(4, &["drill"])
        .says(&[&format!("next: lifeboat verify {point}")]);
    app.exits(4, &["verify"]).says(&["next: lifeboat backup"]);
    app.configure_also(second);
    app.edit(r#"stores = ["disk"]"#, r#"stores = ["disk", "second"]"#);
    app.exits(4, &["verify"])
        .says(&[&format!("next: lifeboat copy {point} --to disk")]);
}
