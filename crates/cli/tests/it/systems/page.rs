//! A page whose console blocks are run, and whose output is what came out.

use std::path::{Path, PathBuf};

/// The language of blocks that are run: `$ COMMAND` in a line, then what it prints. A word after it
/// says on which other host.
const CONSOLE: &str = "```console";

/// A page of the documents.
pub struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    pub fn read(path: &Path) -> Page {
        let text = std::fs::read_to_string(path).unwrap();
        Page {
            path: path.to_owned(),
            text,
        }
    }

    /// Runs each command in turn and holds what it prints against the page, all but what differs
    /// from run to run: ids, times, sizes and hashes. With `LIFEBOAT_UPDATE_DOCS` the page is
    /// rewritten instead.
    pub fn follow(&self, mut carry_out: impl FnMut(&str, &str) -> String) {
        let update = std::env::var_os("LIFEBOAT_UPDATE_DOCS").is_some();
        let (mut written, mut wrong, mut count) = (String::new(), Vec::new(), 0);
        let mut lines = self.text.lines().peekable();
        while let Some(line) = lines.next() {
            written.push_str(&format!("{line}\n"));
            let Some(on) = line.strip_prefix(CONSOLE).map(str::trim) else {
                continue;
            };
            while let Some(line) = lines.next_if(|line| !line.starts_with("```")) {
                let Some(mut command) = line.strip_prefix("$ ").map(str::to_owned) else {
                    panic!("{}: no command before {line:?}", self.path.display());
                };
                while command.ends_with('\\') {
                    command = format!("{command}\n{}", lines.next().unwrap());
                }
                let mut expected = String::new();
                while let Some(line) =
                    lines.next_if(|l| !l.starts_with("$ ") && !l.starts_with("```"))
                {
                    expected.push_str(&format!("{line}\n"));
                }
                let observed = carry_out(on, &command);
                written.push_str(&format!("$ {command}\n{observed}"));
                count += 1;
                if settled(&expected) != settled(&observed) {
                    wrong.push(format!(
                        "$ {command}\n--- the page says\n{expected}--- it prints\n{observed}"
                    ));
                }
            }
        }
        assert!(
            count > 5,
            "{} shows {count} commands only",
            self.path.display()
        );
        if update {
            std::fs::write(&self.path, written).unwrap();
            return;
        }
        assert!(
            wrong.is_empty(),
            "{}: run the test with LIFEBOAT_UPDATE_DOCS=1 and look at the difference\n\n{}",
            self.path.display(),
            wrong.join("\n")
        );
    }
}

/// Output without what differs from run to run.
pub fn settled(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut kept: Vec<String> = Vec::new();
        let mut at = 0;
        while let Some(word) = words.get(at) {
            let amount = amount(&words[at..]);
            let stored = at > 0
                && ["has", "says"].contains(&words[at - 1])
                && word.chars().all(|c| c.is_ascii_digit());
            // Pages are not written anew for each patch release of a server.
            let released = at > 0
                && ["PostgreSQL", "MariaDB", "MySQL", "(Debian"].contains(&words[at - 1])
                && word.starts_with(|c: char| c.is_ascii_digit());
            let alarm = at > 0 && words[at - 1].eq_ignore_ascii_case("alarm");
            if alarm {
                kept.push("ALARM".into());
                at += 1;
            } else if stored {
                kept.push("SIZE".into());
                at += 1;
            } else if released {
                // Newer packages of Debian say where they are from.
                let from = matches!(words[at + 1..], ["from", of, ..] if of.starts_with("Debian"));
                at += if from { 2 } else { 0 };
                let tail: String = words[at].chars().filter(|c| ",)".contains(*c)).collect();
                kept.push(format!("VERSION{tail}"));
                at += 1;
            } else if amount > 0 {
                let tail: String = words[at + amount - 1]
                    .chars()
                    .filter(|c| ",);:".contains(*c))
                    .collect();
                let head: String = word.chars().take_while(|c| *c == '(').collect();
                kept.push(format!("{head}AMOUNT{tail}"));
                at += amount;
            } else {
                kept.push(word_settled(word));
                at += 1;
            }
        }
        kept.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// How many words an amount takes: `1.5 KiB`, `3 min 20 s`.
fn amount(words: &[&str]) -> usize {
    let mut taken = 0;
    while let [number, unit, ..] = &words[taken..] {
        let number = number.trim_start_matches('(');
        let digits = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.');
        let ends = unit.ends_with([',', ')', ';', ':']);
        let unit = unit.trim_end_matches([',', ')', ';', ':']);
        if !digits
            || ![
                "B", "kB", "KiB", "MiB", "GiB", "bytes", "s", "min", "h", "d",
            ]
            .contains(&unit)
        {
            break;
        }
        taken += 2;
        if ends {
            break;
        }
    }
    taken
}

/// A word with its ids, dates and hashes replaced by what they are.
fn word_settled(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let (name, length) = [
            ("POINT", like(rest, "dddddddd*dddddd*-xxxx")),
            ("POINT", like(rest, "dddddddd*dddddd*_xxxx")),
            ("TIME", like(rest, "dddd-dd-ddTdd:dd:dd")),
            // What the name of a machine that was made ends with, and where machines answer.
            ("NAME", like(rest, "dddddddd-xxxx")),
            (
                "ADDRESS",
                rest.starts_with("198.51.").then(|| {
                    let is_part = |c: &char| c.is_ascii_digit() || *c == '.';
                    rest.chars().take_while(is_part).count()
                }),
            ),
            ("DATE/HH", like(rest, "dddd-dd-dd/dd")),
            ("DATE", like(rest, "dddd-dd-dd")),
            (
                "KEY",
                rest.strip_prefix("SHA256:").map(str::len).map(|l| l + 7),
            ),
            ("AGE", rest.starts_with("age1").then_some(rest.len())),
        ]
        .into_iter()
        .find_map(|(name, length)| Some((name, length?)))
        .unwrap_or(("", 0));
        if length > 0 {
            out.push_str(name);
            rest = &rest[length..];
            continue;
        }
        let run: String = rest
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        let hexadecimal = run
            .chars()
            .all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
        if run.len() >= 8 && hexadecimal && run.contains(|c: char| c.is_ascii_digit()) {
            out.push_str("HASH");
        } else if run.is_empty() {
            out.push(first);
        } else {
            out.push_str(&run);
        }
        rest = &rest[run
            .len()
            .max(if run.is_empty() { first.len_utf8() } else { 0 })..];
    }
    out
}

/// The length of what `text` begins with, if it is like `pattern`: `d` is a digit, `x` a
/// hexadecimal one, `*` anything.
fn like(text: &str, pattern: &str) -> Option<usize> {
    let mut chars = text.chars();
    let fits = pattern.chars().all(|expected| {
        chars.next().is_some_and(|found| match expected {
            'd' => found.is_ascii_digit(),
            'x' => found.is_ascii_hexdigit(),
            '*' => found.is_ascii_alphabetic(),
            other => found == other,
        })
    });
    fits.then(|| text.len() - chars.as_str().len())
}

#[test]
fn what_differs_from_run_to_run_is_left_out_and_nothing_else() {
    let table = [
        (
            "20261120T185530Z-163e complete: 729.4 KiB captured, 0.3 s",
            "POINT complete: AMOUNT captured, AMOUNT",
        ),
        (
            "recovery time 1.5 s (target 30 min 0 s), done",
            "recovery time AMOUNT (target AMOUNT), done",
        ),
        (
            "expected 2 tables,  5006 rows",
            "expected 2 tables, 5006 rows",
        ),
        (
            "shop/data/2026-11-20/18.gz is 28c8aff2…",
            "shop/data/DATE/HH.gz is HASH…",
        ),
        (
            "x.before-20261120T060000Z-7f3a y_20261120t060000z_7f3a",
            "x.before-POINT y_POINT",
        ),
        ("signed by SHA256:R5zk+q/1GFU", "signed by KEY"),
        ("at 2026-11-20T18:55:30Z", "at TIMEZ"),
        ("decade beef 1 file", "decade beef 1 file"),
    ];
    for (text, expected) in table {
        assert_eq!(settled(text), expected);
    }
}
