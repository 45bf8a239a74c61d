//! Fetches secrets on this host; runs the commands of `cmd:` references.

use super::{Command, Transport};
use crate::error::{Code, Error, Result};
use crate::secret::{Reference, Secret};

/// See [`Reference::resolve`].
pub fn resolve(reference: &Reference) -> Result<Secret> {
    reference.resolve(&run)
}

/// See [`Reference::resolve_as_restic`].
pub fn resolve_as_restic(reference: &Reference) -> Result<Secret> {
    reference.resolve_as_restic(&run)
}

fn run(line: &str) -> Result<Vec<u8>> {
    let words = split_words(line)
        .ok_or_else(|| Error::new(Code::Secret, format!("cmd:{line} has an unclosed quote")))?;
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| Error::new(Code::Secret, "cmd: names no program"))?;
    let output = Transport::Local.output(&Command::new(program).args(arguments))?;
    if !output.status.success() {
        // Its output may hold the secret: only the status is reported.
        return Err(Error::new(
            Code::Secret,
            format!("cmd:{program} ended with {}", output.status),
        )
        .hint(format!(
            "run `{line}` by hand as the user that runs lifeboat"
        )));
    }
    Ok(output.stdout)
}

/// Splits on white space; `'…'` and `"…"` keep words together. `None` if a quote stays open.
fn split_words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote, mut open) = (Vec::new(), String::new(), None, false);
    for c in line.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => word.push(c),
            None if c == '\'' || c == '"' => (quote, open) = (Some(c), true),
            None if c.is_whitespace() => {
                if open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            None => word.push(c),
        }
    }
    if open || !word.is_empty() {
        words.push(word);
    }
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_quoted_spaces() {
        assert_eq!(
            split_words("pass 'a b' \"\" c").unwrap(),
            ["pass", "a b", "", "c"]
        );
        assert!(split_words("pass 'a").is_none());
    }

    #[test]
    fn a_command_gives_its_output_without_the_newline() {
        let secret = resolve(&Reference::parse("cmd:printf 'a b\\n'").unwrap()).unwrap();
        assert_eq!(secret.expose(), b"a b");
        let error = resolve(&Reference::parse("cmd:sh -c 'echo s3cret; exit 3'").unwrap());
        assert!(!format!("{:?}", error.unwrap_err()).contains("s3cret\""));
    }
}
