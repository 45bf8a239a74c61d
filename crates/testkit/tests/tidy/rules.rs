//! The rules, each a function from a file to what is wrong with it and what to do instead.

use crate::text::Source;

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// Counted from one.
    pub line: usize,
    /// What it is, and what to do instead.
    pub message: String,
}

/// Lines of code that have one of these words (each may end in punctuation, and begins a word).
fn words(source: &Source, words: &[&str], instead: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in source.code.iter().enumerate() {
        if let Some(word) = words.iter().find(|word| has_word(line, word)) {
            let message = format!("{word} stands here: {instead}");
            found.push(Finding {
                line: index + 1,
                message,
            });
        }
    }
    found
}

/// Whether the word stands in the line and no other word runs into it.
fn has_word(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|l| l.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|l| l.chars().next());
        let opens = word.chars().next().is_some_and(joins);
        let closes = word.chars().next_back().is_some_and(joins);
        !(opens && before.is_some_and(joins) || closes && after.is_some_and(joins))
    })
}

pub fn printing(source: &Source) -> Vec<Finding> {
    let printing = [
        "print!(",
        "println!(",
        "eprint!(",
        "eprintln!(",
        "dbg!(",
        "io::stdout(",
        "io::stderr(",
        "process::exit",
        "process::abort",
    ];
    words(
        source,
        &printing,
        "return a value, or tell it through observe::Observer",
    )
}

pub fn handwritten_json(source: &Source) -> Vec<Finding> {
    words(
        source,
        &["json!("],
        "answer with a type that serialises, in core beside what it describes",
    )
}

pub fn durable_writes(source: &Source) -> Vec<Finding> {
    let writes = [
        "fs::rename",
        "renameat",
        "renameat_with",
        "fs::write",
        "fs::copy",
        "File::create",
        "sync_all",
        "sync_data",
        "fsync",
        "fdatasync",
        "syncfs",
        "set_len",
        "ftruncate",
        "truncate(true)",
        "set_permissions",
        "chmod",
        "fchmod",
        "fchmodat",
    ];
    words(source, &writes, "go through store::local, place or staging")
}

pub fn threads(source: &Source) -> Vec<Finding> {
    words(
        source,
        &[
            "thread::spawn(",
            "scope.spawn(||",
            "scope.spawn(work",
            "scope.spawn(move ||",
        ],
        "it panics where no thread can be had: use std::thread::Builder, or core::thread",
    )
}

pub fn processes(source: &Source) -> Vec<Finding> {
    let instead = "start processes through transport::Transport";
    let mut found = words(
        source,
        &[
            "CommandExt",
            "process::Command",
            "posix_spawn",
            "libc::fork",
            "libc::system",
        ],
        instead,
    );
    // `use std::process::{Command, …}`, over as many lines as it takes.
    let mut importing = false;
    for (index, line) in source.code.iter().enumerate() {
        importing |= line.contains("std::process::{");
        if importing && has_word(line, "Command") {
            let message = format!("std::process::Command is imported here: {instead}");
            found.push(Finding {
                line: index + 1,
                message,
            });
        }
        importing &= !line.contains('}');
    }
    found
}

pub fn drill(source: &Source) -> Vec<Finding> {
    let own = [
        "compare",
        "fingerprint::",
        "place::",
        "staging::",
        "archive::",
        "postgres::",
        "sqlite::",
        "files::",
        "Transport",
        "File",
        "fs::",
        "put(",
        "sha256",
        "Difference",
        "Inventory",
    ];
    words(
        source,
        &own,
        "restoring and comparing belong to `restore`, which real restores use too",
    )
}

pub fn panics(source: &Source) -> Vec<Finding> {
    let panics = [
        ".unwrap()",
        ".expect(",
        "panic!(",
        "unreachable!(",
        ".unwrap_err()",
        ".expect_err(",
    ];
    words(source, &panics, "return an Error that says what to do next")
}

pub fn allowances(source: &Source) -> Vec<Finding> {
    let lints = [
        "clippy::unwrap_used",
        "clippy::expect_used",
        "clippy::panic",
        "clippy::print_stdout",
        "clippy::print_stderr",
        "clippy::exit",
        "clippy::all",
        "warnings",
        "unsafe_code",
        "missing_docs",
        "dead_code",
    ];
    let lines = source.code.iter().enumerate();
    let allowing = lines.filter(|(_, line)| has_word(line, "allow(") && line.contains('#'));
    allowing
        .filter_map(|(index, line)| {
            let lint = lints.iter().find(|lint| has_word(line, lint))?;
            let message = format!("{lint} is switched off here: mend what it says instead");
            Some(Finding {
                line: index + 1,
                message,
            })
        })
        .collect()
}

pub fn introduction(source: &Source) -> Vec<Finding> {
    if source.text.starts_with("//! ") {
        return vec![];
    }
    let message =
        "open the module with what it guarantees and what it does not: `//! …`".to_owned();
    vec![Finding { line: 1, message }]
}

/// Lines of comment that run on where an editor has no room.
pub fn wide_comments(text: &str, columns_max: usize) -> Vec<Finding> {
    let lines = text.lines().enumerate();
    let comments = lines.filter(|(_, line)| line.trim_start().starts_with("//"));
    let wide = comments.filter_map(|(index, line)| {
        let columns = line.chars().count();
        (columns > columns_max).then(|| Finding {
            line: index + 1,
            message: format!("a comment of {columns} columns, {columns_max} at most: break it"),
        })
    });
    wide.collect()
}

/// Spelled in pieces, so that this file passes.
const UNFINISHED: &[&str] = &[
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("HA", "CK"),
    concat!("#[", "ignore"),
];

pub fn unfinished(text: &str) -> Vec<Finding> {
    in_lines(
        text,
        UNFINISHED,
        "do it now, or leave it out and say so in the documents",
    )
}

const MACHINE: &[&str] = &[concat!("/wo", "rk/"), concat!("/fa", "rm/")];

pub fn machine(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        // A path that begins so, not one that passes through.
        let begins = |at: usize| {
            let before = line.get(..at).and_then(|l| l.chars().next_back());
            !before.is_some_and(|c| c.is_alphanumeric() || "._-/}".contains(c))
        };
        let named = MACHINE
            .iter()
            .find(|path| line.match_indices(**path).any(|(at, _)| begins(at)));
        if let Some(path) = named {
            let message =
                format!("{path} is a path of one machine: use a relative or temporary one");
            found.push(Finding {
                line: index + 1,
                message,
            });
        }
    }
    let indexes = [
        "index-url",
        "--registry",
        "replace-with",
        "PIP_INDEX",
        "CARGO_REGISTRIES",
    ];
    let indexes: Vec<String> = indexes.iter().map(|word| (*word).to_owned()).collect();
    let quoted = |word: &str| text.contains(&format!("\"{word}\""));
    for word in indexes.iter().filter(|word| !quoted(word)) {
        found.extend(in_lines(
            text,
            &[word],
            "take packages from where the machine takes them",
        ));
    }
    found
}

fn in_lines(text: &str, words: &[&str], instead: &str) -> Vec<Finding> {
    let lines = text.lines().enumerate();
    let found = lines.filter_map(|(index, line)| {
        let word = words.iter().find(|word| has_word(line, word))?;
        Some(Finding {
            line: index + 1,
            message: format!("{word} stands here: {instead}"),
        })
    });
    found.collect()
}

/// Of `Cargo.lock`: every package is ours or from crates.io.
pub fn registries(lock: &str) -> Vec<Finding> {
    const CRATES_IO: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let lines = lock.lines().enumerate();
    let other = lines.filter(|(_, line)| line.starts_with("source = ") && *line != CRATES_IO);
    other
        .map(|(index, line)| {
            let message = format!("{line}: take crates from crates.io only");
            Finding {
                line: index + 1,
                message,
            }
        })
        .collect()
}

/// What a crate must never know, by its folder.
pub const FORBIDDEN_DEPENDENCIES: &[(&str, &[&str])] = &[
    (
        "store",
        &[
            "lifeboat",
            "lifeboat-core",
            "age",
            "clap",
            "serde_json",
            "tar",
            "toml",
            "zstd",
        ],
    ),
    (
        "core",
        &[
            "lifeboat",
            "anstream",
            "clap",
            "comfy-table",
            "indicatif",
            "opendal",
            "reqwest",
            "tokio",
        ],
    ),
    (
        "cli",
        &["lifeboat-store", "age", "opendal", "reqwest", "tokio"],
    ),
];

/// Of a `Cargo.toml`: the section `[dependencies]` has none of these.
pub fn dependencies(manifest: &str, forbidden: &[&str]) -> Vec<Finding> {
    let mut section = "";
    let mut found = Vec::new();
    for (index, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            section = line.trim();
        }
        let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
        if section == "[dependencies]" && forbidden.contains(&name) {
            let message = format!("{name} must not be known here: see ARCHITECTURE.md, the house");
            found.push(Finding {
                line: index + 1,
                message,
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rule: fn(&Source) -> Vec<Finding>, text: &str) -> Vec<usize> {
        rule(&Source::parse(text))
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn printing_is_seen() {
        let text =
            "fn f() {\n println!(\"x\");\n let s = \"println!(\";\n std::process::exit(1);\n}";
        assert_eq!(lines(printing, text), [2, 4]);
        assert_eq!(lines(printing, "// eprintln!(x)\nmy_print!(x);"), [0; 0]);
    }

    #[test]
    fn json_written_by_hand_is_seen() {
        let text = "fn f() {\n out(&json!({}));\n out(&serde_json::json!([1]));\n}";
        assert_eq!(lines(handwritten_json, text), [2, 3]);
        assert_eq!(
            lines(handwritten_json, "// json!({})\nto_json!(x);"),
            [0; 0]
        );
    }

    #[test]
    fn durable_writes_are_seen() {
        assert_eq!(lines(durable_writes, "\nstd::fs::rename(a, b)?;"), [2]);
        assert_eq!(lines(durable_writes, "file.sync_all()?;"), [1]);
        assert_eq!(
            lines(durable_writes, "open.truncate(true).write(true);"),
            [1]
        );
        assert_eq!(
            lines(durable_writes, "rustix::fs::fchmod(&file, mode)?;"),
            [1]
        );
        assert_eq!(
            lines(durable_writes, "text.truncate(9);\nbar.set_length(7);"),
            [0; 0]
        );
    }

    #[test]
    fn processes_are_seen() {
        assert_eq!(
            lines(
                processes,
                "use std::process::{\n    Child,\n    Command,\n};"
            ),
            [3]
        );
        assert_eq!(lines(processes, "std::process::Command::new(x)"), [1]);
        assert_eq!(lines(processes, "use std::process::ExitStatus;"), [0; 0]);
        let ours = "use crate::transport::Command;\nuse std::process::{ExitStatus, id};";
        assert_eq!(lines(processes, ours), [0; 0]);
    }

    #[test]
    fn threads_that_panic_are_seen() {
        let text = "std::thread::spawn(f);\nBuilder::new().spawn(f);\nscope.spawn(move |_| f());\nscope.spawn(move || f());";
        assert_eq!(lines(threads, text), [1, 4]);
    }

    #[test]
    fn a_drill_of_its_own_is_seen() {
        let text = "use crate::fingerprint::compare;\nplace::extract(x)?;\nbring_back(x)?;";
        assert_eq!(lines(drill, text), [1, 2]);
    }

    #[test]
    fn panics_and_allowances_are_seen() {
        assert_eq!(
            lines(panics, "a.unwrap();\nb.unwrap_or(0);\nc.expect(\"x\");"),
            [1, 3]
        );
        assert_eq!(
            lines(
                panics,
                "#[cfg(test)]\nmod tests {\n fn f() { a.unwrap() }\n}"
            ),
            [0; 0]
        );
        assert_eq!(lines(allowances, "#![allow(clippy::unwrap_used)]"), [1]);
        assert_eq!(
            lines(allowances, "#[allow(clippy::large_enum_variant)]"),
            [0; 0]
        );
    }

    #[test]
    fn a_module_without_words_is_seen() {
        assert_eq!(lines(introduction, "use a;"), [1]);
        assert_eq!(lines(introduction, "//! It is."), [0; 0]);
    }

    #[test]
    fn wide_comments_are_seen() {
        let text = "// 3456789\n    /// 9012\n//! 5678901\nlet x = 890123; // x\n";
        let lines: Vec<_> = wide_comments(text, 10).iter().map(|f| f.line).collect();
        assert_eq!(lines, [2, 3]);
    }

    #[test]
    fn unfinished_work_is_seen() {
        for word in UNFINISHED {
            assert_eq!(unfinished(&format!("a\n  {word} b")).len(), 1, "{word}");
        }
        assert_eq!(unfinished("mktemp -d /tmp/x.XXXXXX"), []);
    }

    #[test]
    fn machines_are_seen() {
        for path in MACHINE {
            assert_eq!(machine(&format!("let p = \"{path}x\";")).len(), 1, "{path}");
            assert_eq!(
                machine(&format!("https://example.org{path}x")).len(),
                0,
                "{path}"
            );
        }
        assert_eq!(machine(concat!("pip install --index", "-url x")).len(), 1);
        assert_eq!(
            registries("source = \"registry+https://mirror.example/index\"").len(),
            1
        );
        assert_eq!(registries("name = \"serde\"\nchecksum = \"0\""), []);
    }

    #[test]
    fn dependencies_upwards_are_seen() {
        let text = "[dependencies]\nclap.workspace = true\n[dev-dependencies]\ntokio = \"1\"\n";
        assert_eq!(dependencies(text, &["clap", "tokio"]).len(), 1);
        assert_eq!(
            dependencies("[dependencies]\nclap_complete = \"4\"", &["clap"]),
            []
        );
    }
}
