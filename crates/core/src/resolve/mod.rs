//! Fetches secrets, from wherever a reference says: runs the commands of `cmd:`, and asks the managers of
//! secrets.

mod vault;

use crate::aws::{self, Manager};
use crate::error::{Code, Error, Result};
use crate::secret::{Follow, Reference, Secret};
use crate::transport::{Command, Transport};
use serde_json::Value;

/// See [`Reference::resolve`].
pub fn resolve(reference: &Reference) -> Result<Secret> {
    reference.resolve(&FromHere)
}

/// See [`Reference::resolve_as_restic`].
pub fn resolve_as_restic(reference: &Reference) -> Result<Secret> {
    reference.resolve_as_restic(&FromHere)
}

/// Follows references from this host.
struct FromHere;

impl Follow for FromHere {
    fn run(&self, line: &str) -> Result<Vec<u8>> {
        run(line)
    }

    fn parameter(&self, name: &str) -> Result<Vec<u8>> {
        aws::managed(Manager::Ssm, name)
    }

    fn managed(&self, name: &str, key: Option<&str>) -> Result<Vec<u8>> {
        let secret = aws::managed(Manager::SecretsManager, name)?;
        match key {
            None => Ok(secret),
            Some(key) => of_object(name, &secret, key),
        }
    }

    fn vault(&self, path: &str, key: &str) -> Result<Vec<u8>> {
        vault::fetch(path, key)
    }
}

/// A field of the JSON object that a secret is.
fn of_object(name: &str, secret: &[u8], key: &str) -> Result<Vec<u8>> {
    let what = format!("secretsmanager:{name}");
    match serde_json::from_slice(secret) {
        Ok(Value::Object(fields)) => field(&what, &fields, key),
        _ => Err(
            Error::new(Code::Secret, format!("{what} is not a JSON object")).hint(format!(
                "name the secret without #{key} if all of it is meant, or store fields: {{\"{key}\": \"…\"}}"
            )),
        ),
    }
}

/// The text of a field. Errors name the fields that there are, and never a value.
fn field(what: &str, fields: &serde_json::Map<String, Value>, key: &str) -> Result<Vec<u8>> {
    match fields.get(key) {
        Some(Value::String(text)) => Ok(text.clone().into_bytes()),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string().into_bytes()),
        Some(_) => Err(Error::new(
            Code::Secret,
            format!("the field {key} of {what} is not a text"),
        )
        .hint("store the secret as a text")),
        None => {
            let names: Vec<&str> = fields.keys().map(String::as_str).collect();
            let there = match names.is_empty() {
                true => "it has none".to_owned(),
                false => format!("it has {}", names.join(", ")),
            };
            Err(
                Error::new(Code::Secret, format!("{what} has no field {key}"))
                    .cause(there)
                    .hint("correct the field after # in the reference, or add it there"),
            )
        }
    }
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
