//! How long functions are: found by their braces in code without comments and literals.

use super::text::Source;

/// Functions that are over the limit today, each with its lines. An entry can be lowered or struck,
/// never added.
pub const LONG: &[(&str, usize)] = &[
    ("crates/cli/src/commands/repo/backup.rs run", 93),
    ("crates/core/src/explain.rs explain", 114),
    ("crates/core/src/recovery.rs contents", 111),
    ("crates/core/src/runbook.rs write_all", 94),
    ("crates/core/src/source/bucket/descriptor.rs stock", 82),
    ("crates/core/src/source/files/walk.rs entry", 86),
    ("crates/core/src/source/mariadb/capture.rs run", 89),
    ("crates/core/src/source/mariadb/examine.rs look", 83),
    ("crates/core/src/source/mariadb/stream.rs run_part", 87),
    ("crates/repository/src/tree/mod.rs write_node", 81),
    // Tests, and what is made for them.
    (
        "crates/cli/tests/it/bucket_stores.rs what_was_kept_long_enough_is_let_go_and_packs_with_it",
        100,
    ),
    (
        "crates/cli/tests/it/json.rs documents_have_the_fields_they_promise",
        230,
    ),
    ("crates/cli/tests/it/repo.rs what_is_wrong_is_said", 90),
    ("crates/cli/tests/it/secrets.rs when_everything_fails", 92),
    (
        "crates/core/src/fingerprint/objects.rs what_is_no_difference_is_told_from_what_is",
        85,
    ),
    (
        "crates/core/src/ownership.rs what_others_can_change_is_a_fault",
        82,
    ),
    ("crates/repository/examples/pieces.rs main", 86),
];

/// A function with a body, and its lines from `fn` to the closing brace.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub lines: usize,
}

/// Every function of a file, tests and functions within functions as well, in the order in which
/// they begin.
pub fn all(source: &Source) -> Vec<Function> {
    let code: Vec<char> = source.all_code.join("\n").chars().collect();
    let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
    let mut found = Vec::new();
    for at in 0..code.len() {
        let begins = at == 0 || !is_word(&code[at - 1]);
        if !begins || !code[at..].starts_with(&['f', 'n', ' ']) {
            continue;
        }
        let name: String = code[at + 3..].iter().take_while(|c| is_word(c)).collect();
        if name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(&code, at) {
            let breaks = code[at..end].iter().filter(|c| **c == '\n').count();
            found.push(Function {
                name,
                lines: breaks + 1,
            });
        }
    }
    found
}

/// Where the body that follows ends, if there is one: a declaration ends in a semicolon.
fn body_end(code: &[char], from: usize) -> Option<usize> {
    let mut inside = 0_usize;
    let mut braces = 0_usize;
    for (offset, c) in code[from..].iter().enumerate() {
        match c {
            '(' | '[' => inside += 1,
            ')' | ']' => inside = inside.saturating_sub(1),
            ';' if inside == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return Some(from + offset);
                }
            }
            _ => {}
        }
    }
    None
}

#[test]
fn functions_are_measured() {
    let source = Source::parse(concat!(
        "trait T {\n    fn declared(&self) -> [u8; 2];\n}\n",
        "pub fn one() { \"}\"; }\n",
        "fn four<F: Fn(u8) -> u8>(\n    f: fn(u8), // }\n) -> [u8; 2] {\n}\n",
        "#[cfg(test)]\nmod tests {\n    fn outer() {\n        fn inner() {\n        }\n    }\n}\n",
    ));
    let found: Vec<_> = all(&source)
        .into_iter()
        .map(|function| (function.name, function.lines))
        .collect();
    let expected = [("one", 1), ("four", 4), ("outer", 4), ("inner", 2)];
    assert_eq!(
        found,
        expected.map(|(name, lines)| (name.to_owned(), lines))
    );
}
