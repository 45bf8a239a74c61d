//! Words of other tools, and where what they do there is here.

/// What to run instead of a command that is not one of ours, below `lifeboat repo` or not; nothing
/// for a word that no tool of the field uses.
pub fn home(word: &str, repo: bool) -> Option<&'static str> {
    Some(match (word, repo) {
        ("list" | "ls" | "snapshots" | "archives" | "info" | "backups" | "history", false) => {
            "`lifeboat points` lists restore points, and `lifeboat show POINT` says what is in one"
        }
        ("state" | "health" | "monitor" | "overview", false) => {
            "`lifeboat status` says how fresh everything is and what was proved, and `lifeboat doctor` what is wrong now"
        }
        ("check" | "test" | "scrub" | "validate", false) => {
            "`lifeboat verify` re-reads what is stored, `lifeboat drill` proves that it comes back, and `lifeboat config check` looks at the configuration alone"
        }
        ("undo" | "rollback" | "abort" | "resume", false) => {
            "`lifeboat restore --undo` undoes the swap that a live restore was killed in; what was live before a restore is a point of its own, in `lifeboat points`"
        }
        ("create" | "dump" | "save" | "start" | "archive" | "export", false) => {
            "`lifeboat backup` takes a restore point"
        }
        ("extract" | "recover" | "recovery" | "import" | "get", false) => {
            "`lifeboat restore POINT --to DIRECTORY` brings a point back, and without --to it prints what a live restore would do"
        }
        ("forget" | "expire" | "delete" | "rm" | "purge" | "remove" | "compact", false) => {
            "`lifeboat prune` deletes what no rule keeps; `lifeboat points --forget ID` says that a missing point may be gone"
        }
        ("mount" | "find" | "stats" | "unlock" | "tag", false) => {
            "`lifeboat repo` has it, for repositories of the restic format"
        }
        ("schedule" | "scheduler" | "cron" | "timer", false) => {
            "`lifeboat run` does what is due: let cron or a systemd timer call it"
        }
        ("log" | "logs" | "audit", false) => {
            "`lifeboat evidence list` is the signed record of drills and restores"
        }
        ("key" | "keys" | "recovery-kit", false) => {
            "`lifeboat kit export` writes the keys and the configuration for the day this host is gone"
        }
        ("setup" | "generate" | "install" | "configure", false) => {
            "`lifeboat init` writes a configuration of what it finds on this host"
        }
        ("sync" | "replicate" | "push" | "mirror", false) => {
            "`lifeboat copy --to STORE` gives a store the copies it lacks"
        }
        ("version", _) => "`lifeboat --version` prints it",
        ("list" | "points" | "archives", true) => "`lifeboat repo snapshots` lists them",
        ("create", true) => {
            "`lifeboat repo backup` makes a snapshot, and `lifeboat repo init` a repository"
        }
        ("extract" | "recover", true) => "`lifeboat repo restore` brings a snapshot back",
        ("verify", true) => "`lifeboat repo check --read-data` re-reads what is stored",
        ("rebuild-index" | "recover-index", true) => "`lifeboat repo repair index` writes it anew",
        ("delete" | "rm" | "remove", true) => {
            "`lifeboat repo forget` removes snapshots, and `lifeboat repo prune` frees their space"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::CommandFactory;

    #[test]
    fn what_is_recommended_is_there_and_what_is_translated_is_not() {
        let cli = Cli::command();
        let words = |command: &clap::Command| {
            let names = command
                .get_subcommands()
                .flat_map(|c| std::iter::once(c.get_name()).chain(c.get_all_aliases()));
            names.map(str::to_owned).collect::<Vec<_>>()
        };
        let (own, repo) = (
            words(&cli),
            words(cli.find_subcommand("repo").expect("repo")),
        );
        let translated = |words: &[String], of_repo| {
            let known = words.iter().filter(|word| home(word, of_repo).is_some());
            known.cloned().collect::<Vec<_>>()
        };
        assert_eq!(translated(&own, false), Vec::<String>::new());
        assert_eq!(translated(&repo, true), Vec::<String>::new());
        for (word, of_repo) in [
            ("list", false),
            ("check", false),
            ("undo", false),
            ("list", true),
        ] {
            let text = home(word, of_repo).expect(word);
            for command in text.split('`').skip(1).step_by(2) {
                let mut words = command.split(' ').skip(1);
                let first = words.next().expect("a command");
                assert!(own.iter().any(|known| known == first), "{command}");
                let second = words.next().filter(|_| first == "repo");
                assert!(
                    second.is_none_or(|second| repo.iter().any(|r| r == second)),
                    "{command}"
                );
            }
        }
    }
}
