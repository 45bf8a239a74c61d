//! The exit codes that each command can end with, from one table: what `--help` and the man pages
//! say of them comes from here.

use lifeboat_core::Exit;

/// An exit code of a command, and its meaning there.
pub type Meaning = (Exit, &'static str);

/// Exit codes of every command. A command's own words go before these.
const ALWAYS: [Meaning; 3] = [
    (Exit::Done, "done"),
    (Exit::Failed, "failed, or ended by a signal"),
    (
        Exit::Usage,
        "usage or configuration: something that is asked for cannot be",
    ),
];

const UNSOUND: Meaning = (
    Exit::NotProved,
    "something stored is damaged, missing or not to be trusted",
);
const UNTRUSTED: Meaning = (
    Exit::NeedsConfirmation,
    "nothing says whether the signer is to be believed (--store-url)",
);
const LOCKED: Meaning = (
    Exit::Busy,
    "another process is at work there, or was in between",
);

const RESTORING: Meaning = (Exit::Busy, "a restore is running");
const UNCONFIRMED: Meaning = (
    Exit::NeedsConfirmation,
    "nothing was done: it was not confirmed",
);

/// Exit codes of every command of a repository, beside its own.
const OF_REPOSITORY: &[Meaning] = &[UNSOUND, LOCKED];

/// Each command by its words, with what it can end with beside [`ALWAYS`].
const TABLE: &[(&str, &[Meaning])] = &[
    ("init", &[]),
    (
        "doctor",
        &[
            (Exit::Failed, "something does not work"),
            (Exit::Usage, "the configuration cannot hold"),
        ],
    ),
    ("policy", &[]),
    (
        "cost",
        &[(Exit::Partial, "a store or a manifest could not be read")],
    ),
    (
        "posture",
        &[
            (
                Exit::Failed,
                "a bucket is not what it must be, or cannot be looked at",
            ),
            (
                Exit::NeedsConfirmation,
                "the calls of --fix were shown, and --yes was not given",
            ),
        ],
    ),
    (
        "config check",
        &[(Exit::Usage, "there is an error in the configuration")],
    ),
    ("config show", &[]),
    ("config schema", &[]),
    (
        "backup",
        &[
            (
                Exit::Partial,
                "the point is partial, or a store did not receive its copy",
            ),
            UNSOUND,
            (
                Exit::Busy,
                "another backup of this plan, or a restore, is at work or not over",
            ),
        ],
    ),
    (
        "points",
        &[
            (Exit::Partial, "a store or a manifest could not be read"),
            (
                Exit::NotProved,
                "a copy that was there is missing, or a restore page misleads",
            ),
            (Exit::Busy, LOCKED.1),
        ],
    ),
    ("show", &[UNSOUND, LOCKED, UNTRUSTED]),
    ("diff", &[UNSOUND, LOCKED, UNTRUSTED]),
    (
        "verify",
        &[
            (
                Exit::Failed,
                "nothing is known to be wrong, but not all of it could be read",
            ),
            (Exit::NotProved, "something is damaged or missing"),
            LOCKED,
            UNTRUSTED,
        ],
    ),
    (
        "copy",
        &[
            (
                Exit::Partial,
                "another store, or a manifest, could not be read",
            ),
            UNSOUND,
            LOCKED,
        ],
    ),
    (
        "prune",
        &[
            (Exit::Partial, "something went wrong in one of the stores"),
            UNSOUND,
            LOCKED,
            (
                Exit::NeedsConfirmation,
                "more would go than prune_limit allows",
            ),
        ],
    ),
    (
        "pin",
        &[
            (Exit::Partial, "a store could not be told"),
            UNSOUND,
            LOCKED,
        ],
    ),
    (
        "unpin",
        &[
            (Exit::Partial, "a store could not be told"),
            UNSOUND,
            LOCKED,
        ],
    ),
    (
        "drill",
        &[
            (Exit::Failed, "failed, or someone ended it"),
            (
                Exit::NotProved,
                "not verified: it differs, or could not be proved here",
            ),
            LOCKED,
        ],
    ),
    (
        "restore",
        &[
            (Exit::Partial, "restored, from a point that is partial"),
            (
                Exit::NotProved,
                "failed: it differs, is not all there, or was swapped back",
            ),
            (
                Exit::Busy,
                "another restore is running, or was interrupted and not ended",
            ),
            (
                Exit::NeedsConfirmation,
                "nothing was done: it was planned, or not confirmed",
            ),
        ],
    ),
    ("restores list", &[]),
    (
        "restores resume",
        &[
            (
                Exit::NotProved,
                "failed: it differs, is not all there, or was swapped back",
            ),
            RESTORING,
            UNCONFIRMED,
        ],
    ),
    ("restores undo", &[RESTORING, UNCONFIRMED]),
    (
        "restores finish",
        &[
            (Exit::Busy, "a restore is running, or this one is not over"),
            UNCONFIRMED,
        ],
    ),
    (
        "run",
        &[
            (Exit::Failed, "a job failed, or someone ended it"),
            (Exit::Partial, "a job did only a part"),
            (
                Exit::NotProved,
                "a drill or verification found something wrong",
            ),
            (Exit::Busy, "another runner is at work on this host"),
        ],
    ),
    ("daemon", &[(Exit::Busy, "another daemon is at work here")]),
    ("daemon status", &[]),
    ("daemon metrics", &[]),
    ("daemon wake", &[]),
    ("daemon reload", &[]),
    ("daemon cancel", &[]),
    ("daemon stop", &[]),
    ("jobs", &[]),
    (
        "status",
        &[
            (Exit::Partial, "with --check: a store could not be read"),
            (
                Exit::NotProved,
                "with --check: the newest proof of a drill failed",
            ),
            (
                Exit::Overdue,
                "with --check: something is overdue, or never ran",
            ),
            UNTRUSTED,
        ],
    ),
    ("metrics", &[]),
    ("report", &[]),
    (
        "gate",
        &[(
            Exit::Overdue,
            "closed: a source was not verified recently enough",
        )],
    ),
    ("alarms", &[]),
    ("ack", &[]),
    (
        "notify test",
        &[
            (Exit::Failed, "no channel took the message"),
            (Exit::Partial, "a channel did not take the message"),
        ],
    ),
    ("evidence list", &[]),
    ("evidence show", &[]),
    (
        "evidence verify",
        &[
            (
                Exit::Failed,
                "nothing is known to be wrong, but not all of it could be read",
            ),
            (Exit::NotProved, "a chain, record or signature is wrong"),
            UNTRUSTED,
        ],
    ),
    ("kit export", &[]),
    (
        "kit test",
        &[(
            Exit::NotProved,
            "it is damaged, or no store could be read with what is in it",
        )],
    ),
    ("kit unpack", &[(Exit::NotProved, "the kit is damaged")]),
    ("repo init", &[]),
    (
        "repo backup",
        &[(Exit::Partial, "something was left out, and is named")],
    ),
    ("repo snapshots", &[]),
    ("repo ls", &[]),
    ("repo find", &[]),
    ("repo diff", &[]),
    ("repo dump", &[]),
    ("repo mount", &[]),
    (
        "repo restore",
        &[(Exit::Partial, "something was not restored, and is named")],
    ),
    (
        "repo check",
        &[(Exit::NotProved, "something is wrong, and is named")],
    ),
    ("repo copy", &[]),
    ("repo tag", &[]),
    ("repo rewrite", &[]),
    ("repo stats", &[]),
    (
        "repo repair index",
        &[(Exit::Partial, "packs are damaged, and are named")],
    ),
    ("repo repair snapshots", &[]),
    ("repo forget", &[]),
    ("repo prune", &[]),
    ("repo key list", &[]),
    ("repo key add", &[]),
    ("repo key remove", &[]),
    ("repo key passwd", &[]),
    ("repo unlock", &[]),
    ("completions", &[]),
    ("man", &[]),
    (
        "demo",
        &[(Exit::NotProved, "what came back is not what was destroyed")],
    ),
];

/// Exit codes of the program, whatever the command.
const OF_PROGRAM: [Meaning; 5] = [
    (Exit::Partial, "done in part: something was skipped"),
    (
        Exit::NotProved,
        "not proved: damaged, missing, not to be trusted, or not as it was",
    ),
    (
        Exit::Overdue,
        "overdue: too old, or not proved recently enough",
    ),
    (Exit::Busy, "busy: another run holds it"),
    (
        Exit::NeedsConfirmation,
        "needs confirmation: nothing was done",
    ),
];

/// The exit codes of a command, by number; of the program itself where `path` is empty. None of what
/// is no command of its own: `config`, `repo key`.
pub fn of(path: &str) -> Option<Vec<Meaning>> {
    let own: &[Meaning] = match path {
        "" => &OF_PROGRAM,
        path => TABLE.iter().find(|(command, _)| *command == path)?.1,
    };
    let shared: &[Meaning] = match path.starts_with("repo ") {
        true => OF_REPOSITORY,
        false => &[],
    };
    let mut meanings: Vec<Meaning> = Vec::new();
    for meaning in own.iter().chain(shared).chain(&ALWAYS) {
        if !meanings.iter().any(|(exit, _)| *exit == meaning.0) {
            meanings.push(*meaning);
        }
    }
    meanings.sort();
    Some(meanings)
}

/// A command and all below it, each with its exit codes at the end of its help.
pub fn tell(command: clap::Command, path: &str) -> clap::Command {
    let command = match of(path) {
        Some(meanings) => command.after_help(text(&meanings)),
        None => command,
    };
    command.mut_subcommands(|below| {
        let below_path = match path {
            "" => below.get_name().to_owned(),
            path => format!("{path} {}", below.get_name()),
        };
        tell(below, &below_path)
    })
}

fn text(meanings: &[Meaning]) -> String {
    let line = |(exit, means): &Meaning| format!("\n  {}  {means}", exit.code());
    let lines: String = meanings.iter().map(line).collect();
    format!("Exit codes:{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::CommandFactory;
    use std::collections::BTreeSet;

    /// Every command that can be run, by its words.
    fn commands(command: &clap::Command, path: &str) -> Vec<String> {
        let below = command.get_subcommands().flat_map(|below| {
            let path = format!("{path} {}", below.get_name());
            commands(below, path.trim_start())
        });
        let mut below: Vec<String> = below.collect();
        if below.is_empty() || !command.is_subcommand_required_set() && !path.is_empty() {
            below.push(path.to_owned());
        }
        below
    }

    #[test]
    fn every_command_says_how_it_ends() {
        let known: BTreeSet<String> = commands(&Cli::command(), "").into_iter().collect();
        let told: BTreeSet<String> = TABLE.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(known, told);
        assert_eq!(TABLE.len(), told.len(), "a command is in the table twice");
    }

    #[test]
    fn what_a_command_says_fits_a_terminal_and_begins_with_what_all_have() {
        for (path, _) in TABLE.iter().chain(&[("", &[] as &[Meaning])]) {
            let meanings = of(path).expect("it is in the table");
            let numbers: Vec<u8> = meanings.iter().map(|(exit, _)| exit.code()).collect();
            assert!(numbers.starts_with(&[0, 1, 2]), "{path}: {numbers:?}");
            assert!(numbers.is_sorted(), "{path}: {numbers:?}");
            for line in text(&meanings).lines() {
                assert!(line.chars().count() <= 80, "{path}: {line}");
            }
        }
    }

    #[test]
    fn a_command_has_its_own_words_for_what_it_can_end_with() {
        let expected = "Exit codes:
  0  done
  1  failed, or ended by a signal
  2  usage or configuration: something that is asked for cannot be
  3  the point is partial, or a store did not receive its copy
  4  something stored is damaged, missing or not to be trusted
  6  another backup of this plan, or a restore, is at work or not over";
        assert_eq!(text(&of("backup").expect("a command")), expected);
        assert!(of("repo key").is_none());
        let all: Vec<Exit> = of("").expect("the program").iter().map(|m| m.0).collect();
        assert_eq!(all, Exit::ALL);
        let help = crate::args::command().render_help().to_string();
        assert!(
            help.ends_with("needs confirmation: nothing was done\n"),
            "{help}"
        );
    }
}
