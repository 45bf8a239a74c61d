//! Validates a TOML document against the schema, and reports everything in it that does not fit.
//!
//! Deserialisation alone would stop at the first problem, lose positions inside kinds, and quote
//! values, which may be secrets. Whatever passes here deserialises.

use super::later;
use super::places::{Places, Problem, did_you_mean, join, nearest};
use super::schema::definition_name;
use super::text::{self, Place};
use crate::expect::Percent;
use crate::span::Span;
use serde_json::{Map, Value};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Result of walking a document.
pub(super) struct Walked {
    pub(super) problems: Vec<Problem>,
    pub(super) places: Places,
}

/// Walks the whole document. `base` is the directory of the file, for suggestions.
pub(super) fn walk(schema: &Value, document: &DeTable<'_>, base: &Path) -> Walked {
    let empty = Map::new();
    let mut walk = Walk {
        definitions: schema
            .get("$defs")
            .and_then(Value::as_object)
            .unwrap_or(&empty),
        base,
        keys: Vec::new(),
        problems: Vec::new(),
        places: Places::default(),
    };
    walk.table("Config", schema, document, "");
    for (key, value) in document {
        walk.guard(value, key.as_ref());
    }
    Walked {
        problems: walk.problems,
        places: walk.places,
    }
}

struct Walk<'a> {
    definitions: &'a Map<String, Value>,
    base: &'a Path,
    /// The keys that lead to the current position.
    keys: Vec<String>,
    problems: Vec<Problem>,
    places: Places,
}

impl<'a> Walk<'a> {
    fn problem(&mut self, offset: usize, message: String, hint: Option<String>) {
        self.problems.push(Problem {
            offset,
            message,
            hint,
            discreet: false,
        });
    }

    /// Reports a problem without the value.
    fn discreet_problem(&mut self, offset: usize, message: String, hint: Option<String>) {
        self.problem(offset, message, hint);
        if let Some(problem) = self.problems.last_mut() {
            problem.discreet = true;
        }
    }

    /// The name and content of the definition that a schema refers to; without a reference, no name
    /// and the schema itself.
    fn resolve<'s>(&self, schema: &'s Value) -> (&'s str, &'s Value)
    where
        'a: 's,
    {
        let definition =
            definition_name(schema).and_then(|name| Some((name, self.definitions.get(name)?)));
        definition.unwrap_or(("", schema))
    }

    fn value(&mut self, schema: &Value, value: &Spanned<DeValue<'_>>, path: &str) {
        let (name, schema) = self.resolve(schema);
        let offset = value.span().start;
        if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
            return self.either(choices, value, path);
        }
        let (expected, fits) = match (schema.get("oneOf"), type_of(schema)) {
            (Some(Value::Array(choices)), "object") => match value.get_ref() {
                DeValue::Table(table) => return self.kinds(name, choices, table, path),
                _ => ("a table", false),
            },
            (Some(Value::Array(choices)), _) => match value.get_ref() {
                DeValue::String(word) => return self.word(name, choices, word, offset, path),
                _ => ("text in quotes", false),
            },
            (_, "object") => match value.get_ref() {
                DeValue::Table(table) => return self.table(name, schema, table, path),
                _ => ("a table", false),
            },
            (_, "array") => match value.get_ref() {
                DeValue::Array(items) => {
                    let items_schema = schema.get("items").unwrap_or(&Value::Null);
                    for (index, item) in items.iter().enumerate() {
                        let path = format!("{path}[{index}]");
                        self.places.note(&path, item.span().start);
                        self.value(items_schema, item, &path);
                    }
                    return;
                }
                _ => ("a list, in [ ]", false),
            },
            (_, "string") => match value.get_ref() {
                DeValue::String(text) => return self.text(name, text, offset, path),
                _ => (text::described(name), false),
            },
            (_, "integer") => match value.get_ref() {
                DeValue::Integer(number) => {
                    let number = i128::from_str_radix(number.as_str(), number.radix());
                    return self.integer(schema, number.ok(), offset, path);
                }
                _ => ("a whole number", false),
            },
            (_, "boolean") => ("true or false", value.get_ref().is_bool()),
            _ => ("what the schema says", true),
        };
        if !fits {
            let actual = type_name(value.get_ref());
            self.problem(
                offset,
                format!("{path} must be {expected}, not {actual}"),
                rule_hint(name, path, value.get_ref()),
            );
        }
    }

    /// Chooses one of several shapes by the type of the value.
    fn either(&mut self, choices: &[Value], value: &Spanned<DeValue<'_>>, path: &str) {
        let of_type = |is: &dyn Fn(&str) -> bool| {
            let mut choices = choices.iter();
            choices.find(|choice| is(type_of(self.resolve(choice).1)))
        };
        let choice = match value.get_ref() {
            DeValue::Table(_) => of_type(&|of| of == "object"),
            DeValue::Integer(_) => of_type(&|of| of == "integer"),
            DeValue::String(_) => of_type(&|of| of == "string"),
            _ => None,
        };
        // Words and the like have no type of their own.
        let is_table = value.get_ref().is_table();
        let choice = choice.or_else(|| of_type(&|of| of.is_empty() && !is_table));
        if let Some(choice) = choice {
            return self.value(choice, value, path);
        }
        let expected = choices.iter().filter_map(|choice| {
            let (name, schema) = self.resolve(choice);
            match type_of(schema) {
                "integer" => Some("a whole number"),
                "string" => Some(text::described(name)),
                "object" => Some("a table"),
                _ => None,
            }
        });
        let expected: Vec<&str> = expected.collect();
        let actual = type_name(value.get_ref());
        let message = format!("{path} must be {}, not {actual}", expected.join(" or "));
        self.problem(value.span().start, message, None);
    }

    fn kinds(&mut self, name: &str, choices: &[Value], table: &DeTable<'_>, path: &str) {
        let known = choices.iter().filter_map(kind_of);
        let given = table.iter().find(|(key, _)| key.get_ref() == "kind");
        let Some((_, kind)) = given else {
            let known: Vec<_> = known.collect();
            let hint = format!("add kind = \"…\", one of {}", known.join(", "));
            let offset = self.places.find(path);
            return self.problem(offset, format!("{path} has no kind"), Some(hint));
        };
        let offset = kind.span().start;
        self.places.note(&join(path, "kind"), offset);
        let DeValue::String(word) = kind.get_ref() else {
            let message = format!("{path}.kind must be text in quotes");
            return self.problem(offset, message, None);
        };
        if let Some(choice) = choices.iter().find(|c| kind_of(c) == Some(word)) {
            return self.kind_table(name, choices, choice, table, path);
        }
        match later::word(name, word) {
            Some(instead) => self.problem(
                offset,
                format!("{path}: kind {word:?} is not available in this version"),
                Some(instead.into()),
            ),
            None => self.problem(
                offset,
                format!("{path}: unknown kind {word:?}"),
                did_you_mean(word, known),
            ),
        }
    }

    /// Checks the table of a known kind. Reports a key that only other kinds have as such.
    fn kind_table(
        &mut self,
        name: &str,
        choices: &[Value],
        choice: &Value,
        table: &DeTable<'_>,
        path: &str,
    ) {
        let before = self.problems.len();
        self.table(name, choice, table, path);
        let kind = kind_of(choice).unwrap_or_default();
        for (key, _) in table {
            let word: &str = key.get_ref();
            let has = |choice: &Value| {
                choice
                    .pointer("/properties")
                    .is_some_and(|p| p.get(word).is_some())
            };
            let others: Vec<_> = choices
                .iter()
                .filter(|c| has(c))
                .filter_map(kind_of)
                .collect();
            if others.is_empty() || has(choice) {
                continue;
            }
            let found = self.problems.iter_mut().skip(before);
            for problem in found.filter(|problem| problem.offset == key.span().start) {
                problem.message = format!(
                    "{path}: key {word:?} belongs to kind {}, not {kind:?}",
                    others
                        .iter()
                        .map(|k| format!("{k:?}"))
                        .collect::<Vec<_>>()
                        .join(" and "),
                );
            }
        }
    }

    fn table(&mut self, name: &str, schema: &Value, table: &DeTable<'_>, path: &str) {
        let empty = Map::new();
        let known = schema.get("properties").and_then(Value::as_object);
        let known = known.unwrap_or(&empty);
        let any = schema
            .get("additionalProperties")
            .filter(|any| any.is_object());
        for (key, value) in table {
            let word: &str = key.get_ref();
            let inner = join(path, word);
            let at_key = key.span().start;
            let place = match value.get_ref() {
                DeValue::Table(_) => at_key,
                _ => value.span().start,
            };
            self.places.note(&inner, place);
            self.keys.push(word.to_owned());
            match known.get(word).or(any) {
                Some(schema_of_value) => {
                    if any.is_some() {
                        self.key_name(schema, word, at_key, &inner);
                    }
                    self.value(schema_of_value, value, &inner);
                }
                None => self.unknown_key(name, known, word, at_key, path),
            }
            self.keys.pop();
        }
        let required = schema.get("required").and_then(Value::as_array);
        for key in required.into_iter().flatten().filter_map(Value::as_str) {
            if !table.iter().any(|(given, _)| given.get_ref() == key) {
                self.missing_key(known, key, path);
            }
        }
    }

    fn key_name(&mut self, schema: &Value, word: &str, offset: usize, path: &str) {
        let Some(names) = schema.get("propertyNames") else {
            return;
        };
        let title = names.get("title").and_then(Value::as_str);
        let grammar = definition_name(names).or(title).unwrap_or_default();
        let place = Place {
            keys: &self.keys,
            base: self.base,
        };
        if let Err(unfit) = text::check(grammar, word, &place) {
            self.problem(offset, format!("{path}: {}", unfit.message), unfit.hint);
        }
    }

    fn unknown_key(
        &mut self,
        name: &str,
        known: &Map<String, Value>,
        word: &str,
        offset: usize,
        path: &str,
    ) {
        let place = match path {
            "" => "at the top level".to_owned(),
            path => format!("in {path}"),
        };
        if let Some(now) = later::renamed(name, word) {
            return self.problem(
                offset,
                format!("{} is called {now}", join(path, word)),
                Some(format!(
                    "write {now} instead of {word}: it runs whatever happened"
                )),
            );
        }
        match later::key(name, word) {
            Some(instead) => self.problem(
                offset,
                format!("{} is not available in this version", join(path, word)),
                Some(instead.into()),
            ),
            None => self.problem(
                offset,
                format!("unknown key {word:?} {place}"),
                did_you_mean(word, known.keys().map(String::as_str)),
            ),
        }
    }

    fn missing_key(&mut self, known: &Map<String, Value>, key: &str, path: &str) {
        let description = known.get(key).and_then(|schema| schema.get("description"));
        let description = description.and_then(Value::as_str).unwrap_or_default();
        let place = match path {
            "" => "the configuration".to_owned(),
            path => path.to_owned(),
        };
        let offset = self.places.find(path);
        let table = known
            .get(key)
            .is_some_and(|schema| type_of(self.resolve(schema).1) == "object");
        let shown = match table {
            true => format!("[{key}]"),
            false => key.to_owned(),
        };
        self.problem(
            offset,
            format!("{place} has no {key}"),
            Some(format!("add {shown}: {description}")),
        );
    }

    fn word(&mut self, name: &str, choices: &[Value], word: &str, offset: usize, path: &str) {
        let known = choices.iter().filter_map(|c| c.get("const")?.as_str());
        if known.clone().any(|known| known == word) {
            return;
        }
        match later::word(name, word) {
            Some(instead) => self.problem(
                offset,
                format!("{path} = {word:?} is not available in this version"),
                Some(instead.into()),
            ),
            None => {
                let value = DeValue::String(word.into());
                let hint = match (nearest(word, known.clone()), rule_hint(name, path, &value)) {
                    (_, Some(hint)) => hint,
                    (Some(nearest), None) => format!("did you mean {nearest:?}?"),
                    (None, None) => format!("known here: {}", known.collect::<Vec<_>>().join(", ")),
                };
                self.problem(offset, format!("{path}: unknown word {word:?}"), Some(hint));
            }
        }
    }

    fn text(&mut self, grammar: &str, text: &str, offset: usize, path: &str) {
        let place = Place {
            keys: &self.keys,
            base: self.base,
        };
        if let Err(unfit) = text::check(grammar, text, &place) {
            let message = format!("{path}: {}", unfit.message);
            match text::is_discreet(grammar, text) {
                true => self.discreet_problem(offset, message, unfit.hint),
                false => self.problem(offset, message, unfit.hint),
            }
        }
    }

    fn integer(&mut self, schema: &Value, number: Option<i128>, offset: usize, path: &str) {
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64).map(i128::from);
        let (least, most) = (
            bound("minimum"),
            bound("maximum").unwrap_or(i64::MAX.into()),
        );
        let least = least.unwrap_or(0);
        if !number.is_some_and(|number| (least..=most).contains(&number)) {
            let message = format!("{path} must be a whole number from {least} to {most}");
            self.problem(offset, message, None);
        }
    }

    /// Refuses secrets where no reference is expected: in commands, URLs and lists.
    fn guard(&mut self, value: &Spanned<DeValue<'_>>, path: &str) {
        match value.get_ref() {
            DeValue::Table(table) => {
                for (key, value) in table {
                    self.guard(value, &join(path, key.get_ref()));
                }
            }
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.guard(item, &format!("{path}[{index}]"));
                }
            }
            DeValue::String(text) if text::holds_secret(text) => {
                let offset = value.span().start;
                let told = |problem: &Problem| problem.offset == offset && problem.discreet;
                if self.problems.iter().any(told) {
                    return;
                }
                // An earlier message may quote the secret.
                self.problems.retain(|problem| problem.offset != offset);
                let hint = "move it to a file or an environment variable and refer to that, as in \
                            \"file:PATH\" or \"env:NAME\"; a command can read it from its environment";
                let message = format!("{path}: a secret stands here itself, not a reference to it");
                self.discreet_problem(offset, message, Some(hint.into()));
            }
            _ => {}
        }
    }
}

/// Hint for writing a rule in the place of one with another shape: `keep = "30d"`, `keep = 7`,
/// `daily = "30d"`, `anomaly = false`.
fn rule_hint(name: &str, path: &str, value: &DeValue<'_>) -> Option<String> {
    let (_, key) = path.rsplit_once('.')?;
    match (name, value) {
        ("KeepWord", DeValue::Integer(number)) => Some(format!(
            "write keep = {{ last = {number} }} for the newest {number} points, or keep = {{ daily = {number} }} for one of each of so many days"
        )),
        ("KeepWord", DeValue::String(text)) => {
            text.parse::<Span>().ok()?;
            Some(format!(
                "write keep = {{ within = {text:?} }} for all of that time, keep = {{ daily = {text:?} }} for one of each day, or both in one table"
            ))
        }
        ("AnomalyWord", DeValue::String(text)) if text.parse::<Percent>().is_ok() => Some(format!(
            "write anomaly = {{ bytes = {text:?}, files = {text:?}, rows = {text:?} }}"
        )),
        ("AnomalyWord", _) => {
            Some("write anomaly = \"off\" to compare nothing, or leave it out".to_owned())
        }
        (_, DeValue::String(text)) if key == "last" => {
            text.parse::<Span>().ok()?;
            Some(format!(
                "write how many are kept; all of a span of time is within = {text:?}"
            ))
        }
        _ => None,
    }
}

fn type_of(schema: &Value) -> &str {
    schema.get("type").and_then(Value::as_str).unwrap_or("")
}

fn kind_of(choice: &Value) -> Option<&str> {
    choice.pointer("/properties/kind/const")?.as_str()
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
