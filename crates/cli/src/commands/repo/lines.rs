//! Files that hold names and patterns, a line each.

use lifeboat_core::{Code, Error, Result};
use std::io::Read;
use std::path::Path;

/// All of a file; `-` is standard input.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().read_to_end(&mut text).map(|_| text),
        false => lifeboat_core::plain::read(file),
    };
    read.map_err(|error| {
        Error::new(Code::Usage, format!("{} cannot be read", file.display()))
            .cause(error)
            .hint("correct the path")
    })
}

/// The lines of a text without space around them, and without those that are empty or begin with `#`.
pub fn without_comments(text: &[u8]) -> Vec<Vec<u8>> {
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    lines.map(<[u8]>::to_vec).collect()
}

/// The patterns in a file; `$NAME` and `${NAME}` stand for what the environment has, `$$` for a
/// dollar.
pub fn patterns(file: &Path) -> Result<Vec<String>> {
    let lines = without_comments(&read(file)?);
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let text = |line: Vec<u8>| match String::from_utf8(line) {
        Ok(line) => Ok(with_variables(&line, variable)),
        Err(_) => Err(
            Error::new(Code::Usage, format!("{} is not UTF-8", file.display()))
                .hint("write ? for the characters that are not"),
        ),
    };
    lines.into_iter().map(text).collect()
}

fn with_variables(line: &str, variable: impl Fn(&str) -> String) -> String {
    let (mut out, mut rest) = (String::new(), line);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let plain = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, behind) = after.split_at(plain.unwrap_or(after.len()));
        rest = match (after.strip_prefix('$'), after.strip_prefix('{')) {
            (Some(behind), _) => {
                out.push('$');
                behind
            }
            (_, Some(braced)) if braced.contains('}') => {
                let (name, behind) = braced.split_once('}').unwrap_or_default();
                out.push_str(&variable(name));
                behind
            }
            _ if name.is_empty() => {
                out.push('$');
                behind
            }
            _ => {
                out.push_str(&variable(name));
                behind
            }
        };
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_space_are_no_lines() {
        let text = b"\xef\xbb\xbfone\r\n\n  # two\n\t three # 3 \n#four\nfive";
        let lines = without_comments(text);
        assert_eq!(lines, [&b"one"[..], b"three # 3", b"five"]);
    }

    #[test]
    fn variables_are_what_the_environment_has() {
        let variable = |name: &str| format!("<{name}>");
        for (line, expected) in [
            ("$HOME/*.log", "<HOME>/*.log"),
            ("${A_1}x$B", "<A_1>x<B>"),
            ("a$$HOME$", "a$HOME$"),
            ("$/x${", "$/x${"),
            ("plain", "plain"),
        ] {
            assert_eq!(with_variables(line, variable), expected);
        }
    }
}
