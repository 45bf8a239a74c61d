//! Rust source as lines of code: without comments, without what stands in quotes, and without the
//! test module. A lexer good enough for this tree, not a parser.

/// A file of Rust.
pub struct Source {
    /// As it is.
    pub text: String,
    /// Its lines, each blank where the file has a comment or a literal, or a test.
    pub code: Vec<String>,
    /// The same with the tests.
    pub all_code: Vec<String>,
}

impl Source {
    pub fn parse(text: &str) -> Source {
        let blanked = blank(text);
        let all_code: Vec<String> = blanked.lines().map(str::to_owned).collect();
        let mut code = all_code.clone();
        blank_tests(&mut code);
        Source {
            text: text.to_owned(),
            code,
            all_code,
        }
    }
}

/// Replaces comments and the contents of literals with spaces; line breaks stay.
fn blank(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match (bytes[at], bytes.get(at + 1).copied()) {
            ('/', Some('/')) => find(&bytes, at, &['\n']).unwrap_or(bytes.len()),
            ('/', Some('*')) => find(&bytes, at + 2, &['*', '/']).map_or(bytes.len(), |e| e + 2),
            ('"', _) => string_end(&bytes, at + 1),
            ('r', Some('"' | '#')) if !follows_word(&bytes, at) => raw_string_end(&bytes, at),
            ('\'', _) => char_end(&bytes, at),
            _ => at,
        };
        if end == at {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        out.extend(
            bytes[at..end]
                .iter()
                .map(|c| if *c == '\n' { '\n' } else { ' ' }),
        );
        at = end;
    }
    out
}

fn find(text: &[char], from: usize, what: &[char]) -> Option<usize> {
    (from..text.len()).find(|at| text[*at..].starts_with(what))
}

fn follows_word(text: &[char], at: usize) -> bool {
    // `br"…"` is a raw string as well.
    at > 0 && (text[at - 1].is_alphanumeric() || text[at - 1] == '_') && text[at - 1] != 'b'
}

fn string_end(text: &[char], mut at: usize) -> usize {
    while at < text.len() {
        match text[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// The end of a raw string, or `at` where `r` begins something else.
fn raw_string_end(text: &[char], at: usize) -> usize {
    let hashes = text[at + 1..].iter().take_while(|c| **c == '#').count();
    if text.get(at + 1 + hashes) != Some(&'"') {
        return at;
    }
    let mut close = vec!['"'];
    close.extend(std::iter::repeat_n('#', hashes));
    find(text, at + 2 + hashes, &close).map_or(text.len(), |e| e + close.len())
}

/// The end of a character, or `at` where the quote begins a lifetime.
fn char_end(text: &[char], at: usize) -> usize {
    match (text.get(at + 1), text.get(at + 2)) {
        (Some('\\'), _) => find(text, at + 3, &['\'']).map_or(text.len(), |e| e + 1),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// Blanks every inline module that stands behind `#[cfg(test)]`.
fn blank_tests(code: &mut [String]) {
    let mut at = 0;
    while at < code.len() {
        if code[at].trim() != "#[cfg(test)]" {
            at += 1;
            continue;
        }
        let mut depth = 0;
        let mut opened = false;
        while at < code.len() {
            let line = std::mem::take(&mut code[at]);
            at += 1;
            depth += line.matches('{').count();
            depth -= line.matches('}').count().min(depth);
            opened |= line.contains('{');
            if opened && depth == 0 || !opened && line.trim_end().ends_with(';') {
                break;
            }
        }
    }
}

#[test]
fn comments_literals_and_tests_are_not_code() {
    let source = Source::parse(concat!(
        "let a = \"print \\\" x\"; // dbg\n",
        "let b = r#\"print \" x\"#; /* dbg\n dbg */ real();\n",
        "let c = '\"'; let d: &'static str = here; let e = '\\''; after();\n",
        "#[cfg(test)]\nmod tests {\n fn f() { test_only() }\n}\n",
        "#[cfg(test)]\nmod other;\nfn last() {}\n",
    ));
    let code = source.code.join("\n");
    for gone in ["print", "dbg", "test_only", "mod other"] {
        assert!(!code.contains(gone), "{gone} in\n{code}");
    }
    for kept in ["real();", "here;", "after();", "fn last() {}"] {
        assert!(code.contains(kept), "no {kept} in\n{code}");
    }
    assert_eq!(source.code.len(), source.text.lines().count());
    let all = source.all_code.join("\n");
    assert!(all.contains("test_only") && !all.contains("print"), "{all}");
}
