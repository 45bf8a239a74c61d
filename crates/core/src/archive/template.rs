//! Keys of stored objects: a template with fields, rendered to a key that every store accepts.
//!
//! Guarantees: whatever the values, the result is a valid key, and never one under which Lifeboat
//! keeps its own objects. Two points may get the same key: that depends on the fields used, and the
//! caller resolves conflicts.

use crate::error::{Code, Error, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fmt;

/// A field of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "each is the name it stands for in the configuration"
)]
pub enum KeyField {
    App,
    Environment,
    Plan,
    Source,
    Artifact,
    Host,
    Date,
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Time,
    Point,
}

impl KeyField {
    const ALL: [KeyField; 14] = [
        KeyField::App,
        KeyField::Environment,
        KeyField::Plan,
        KeyField::Source,
        KeyField::Artifact,
        KeyField::Host,
        KeyField::Date,
        KeyField::Year,
        KeyField::Month,
        KeyField::Day,
        KeyField::Hour,
        KeyField::Minute,
        KeyField::Time,
        KeyField::Point,
    ];

    /// The name between the braces.
    pub fn name(self) -> &'static str {
        match self {
            KeyField::App => "app",
            KeyField::Environment => "environment",
            KeyField::Plan => "plan",
            KeyField::Source => "source",
            KeyField::Artifact => "artifact",
            KeyField::Host => "host",
            KeyField::Date => "date",
            KeyField::Year => "year",
            KeyField::Month => "month",
            KeyField::Day => "day",
            KeyField::Hour => "hour",
            KeyField::Minute => "minute",
            KeyField::Time => "time",
            KeyField::Point => "point",
        }
    }

    fn parse(name: &str, template: &str) -> Result<Self> {
        if let Some(field) = KeyField::ALL.into_iter().find(|field| field.name() == name) {
            return Ok(field);
        }
        let nearest = KeyField::ALL
            .into_iter()
            .map(|field| (strsim::damerau_levenshtein(field.name(), name), field))
            .min_by_key(|(distance, _)| *distance)
            .filter(|(distance, _)| *distance <= 2);
        let error = wrong(template, &format!("{{{name}}} is no field"));
        Err(match nearest {
            Some((_, field)) => error.hint(format!("did you mean {{{}}}?", field.name())),
            None => {
                let names = KeyField::ALL.map(|field| format!("{{{}}}", field.name()));
                error.hint(format!("the fields are {}", names.join(" ")))
            }
        })
    }
}

/// Values of the fields of a template, for one artifact of one point.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each is the field of that name")]
pub struct KeyFields<'a> {
    pub app: &'a str,
    pub environment: &'a str,
    pub plan: &'a str,
    pub source: &'a str,
    pub artifact: &'a str,
    pub host: &'a str,
    pub point: &'a str,
    /// Source of the date and time fields, in UTC.
    pub at: Timestamp,
}

impl KeyFields<'_> {
    fn value(&self, field: KeyField) -> String {
        let at = self.at.to_zoned(TimeZone::UTC);
        match field {
            KeyField::App => sanitized(self.app),
            KeyField::Environment => sanitized(self.environment),
            KeyField::Plan => sanitized(self.plan),
            KeyField::Source => sanitized(self.source),
            KeyField::Artifact => sanitized(self.artifact),
            KeyField::Host => sanitized(self.host),
            KeyField::Point => sanitized(self.point),
            KeyField::Date => at.strftime("%Y-%m-%d").to_string(),
            KeyField::Year => at.strftime("%Y").to_string(),
            KeyField::Month => at.strftime("%m").to_string(),
            KeyField::Day => at.strftime("%d").to_string(),
            KeyField::Hour => at.strftime("%H").to_string(),
            KeyField::Minute => at.strftime("%M").to_string(),
            KeyField::Time => at.strftime("%H%M%S").to_string(),
        }
    }
}

/// Largest number of bytes that one value adds to a key.
const VALUE_BYTES_MAX: usize = 64;
/// Largest number of bytes a template may render to: stores accept 1024, and an extension and
/// `-<point>` are added.
const KEY_BYTES_MAX: usize = 900;

/// Makes a value fit into a key: no separator, no control character, not too long.
fn sanitized(value: &str) -> String {
    let mut tamed = String::with_capacity(value.len().min(VALUE_BYTES_MAX));
    for c in value.chars() {
        if tamed.len() + c.len_utf8() > VALUE_BYTES_MAX {
            break;
        }
        tamed.push(if c == '/' || c == '\\' || c.is_control() {
            '-'
        } else {
            c
        });
    }
    tamed
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(KeyField),
}

/// A parsed key template: `{app}/{source}/{artifact}/{date}/{hour}`. `{{` and `}}` are braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTemplate {
    text: String,
    parts: Vec<Part>,
}

impl KeyTemplate {
    /// Parses a template; an error shows it and, for an unknown field, the nearest known one.
    pub fn parse(template: &str) -> Result<Self> {
        let parts = parse_parts(template)?;
        let bytes: usize = parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.len(),
                Part::Field(_) => VALUE_BYTES_MAX,
            })
            .sum();
        if bytes > KEY_BYTES_MAX {
            return Err(
                wrong(template, "it may become longer than a key can be").hint(format!(
                    "use less text, or at most {} fields",
                    KEY_BYTES_MAX / VALUE_BYTES_MAX
                )),
            );
        }
        let parsed = KeyTemplate {
            text: template.to_owned(),
            parts,
        };
        let sample = parsed.join(|_| "x".to_owned());
        lifeboat_store::check_key(&sample).map_err(|error| {
            wrong(template, "it makes no valid key")
                .cause(error)
                .hint("write it relative, without empty, `.` or `..` components")
        })?;
        Ok(parsed)
    }

    /// The fields that the template uses, in order, each once.
    pub fn fields(&self) -> Vec<KeyField> {
        let mut fields = Vec::new();
        for part in &self.parts {
            if let Part::Field(field) = part
                && !fields.contains(field)
            {
                fields.push(*field);
            }
        }
        fields
    }

    /// Renders the key for these values, which [`lifeboat_store::check_key`] always accepts. An
    /// empty component becomes `-`, dots alone become dashes, and a key that would fall under
    /// `lifeboat/` or `repository/`, where a store keeps its own objects, goes under `archive/`.
    pub fn render(&self, fields: &KeyFields<'_>) -> String {
        let key = self.join(|field| fields.value(field));
        let mut components: Vec<String> = key
            .split('/')
            .map(|component| match component {
                "" | "." => "-".to_owned(),
                ".." => "--".to_owned(),
                component => component.to_owned(),
            })
            .collect();
        let first = components.first().map(String::as_str);
        if matches!(first, Some("lifeboat" | "repository")) {
            components.insert(0, "archive".to_owned());
        }
        components.join("/")
    }

    fn join(&self, value: impl Fn(KeyField) -> String) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Field(field) => value(*field),
            })
            .collect()
    }
}

impl fmt::Display for KeyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_parts(template: &str) -> Result<Vec<Part>> {
    let (mut parts, mut text) = (Vec::new(), String::new());
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        if (c == '{' || c == '}') && chars.peek() == Some(&c) {
            chars.next();
            text.push(c);
        } else if c == '{' {
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            let mut name = String::new();
            loop {
                match chars.next() {
                    Some('}') => break,
                    Some(c) => name.push(c),
                    None => {
                        return Err(wrong(template, "a { is not closed")
                            .hint("close it with }, or write {{ for a brace"));
                    }
                }
            }
            parts.push(Part::Field(KeyField::parse(&name, template)?));
        } else if c == '}' {
            return Err(wrong(template, "a } stands alone").hint("write }} for a brace"));
        } else {
            text.push(c);
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

fn wrong(template: &str, why: &str) -> Error {
    Error::new(
        Code::Configuration,
        format!("key template {template:?} cannot be used: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> KeyFields<'static> {
        KeyFields {
            app: "crm",
            environment: "production",
            plan: "hourly",
            source: "db",
            artifact: "dump",
            host: "web-1",
            point: "20261120T060708Z-7f3a",
            at: "2026-11-20T06:07:08Z".parse().unwrap(),
        }
    }

    #[test]
    fn the_default_and_every_field_render() {
        let render = |text| KeyTemplate::parse(text).unwrap().render(&fields());
        assert_eq!(
            render(crate::config::KEY_DEFAULT),
            "crm/db/dump/2026-11-20/06"
        );
        assert_eq!(
            render(
                "{environment}/{plan}@{host}/{year}.{month}.{day}T{hour}:{minute}/{time}/{point}"
            ),
            "production/hourly@web-1/2026.11.20T06:07/060708/20261120T060708Z-7f3a"
        );
        assert_eq!(render("a{{{app}}}b"), "a{crm}b");
        assert_eq!(
            render("db-backups/helpdesk/{date}"),
            "db-backups/helpdesk/2026-11-20"
        );
    }

    #[test]
    fn fields_are_listed_once() {
        let template = KeyTemplate::parse("{app}/{date}/{app}").unwrap();
        assert_eq!(template.fields(), [KeyField::App, KeyField::Date]);
    }

    #[test]
    fn mistakes_are_named_with_the_nearest_field() {
        let error = KeyTemplate::parse("{app}/{sorce}").unwrap_err();
        assert_eq!(error.code, Code::Configuration);
        assert!(error.message.contains("{sorce}"), "{error}");
        assert_eq!(error.hint.as_deref(), Some("did you mean {source}?"));
        let error = KeyTemplate::parse("{app}/{xyzzy}").unwrap_err();
        assert!(error.hint.unwrap().contains("{environment}"));
        for bad in [
            "",
            "/{app}",
            "{app}/",
            "{app}//{date}",
            "../{app}",
            "{app}/./x",
            "{app",
            "app}",
            "{}",
            "a\nb",
            &"{app}/".repeat(20),
        ] {
            let error = KeyTemplate::parse(bad).unwrap_err();
            assert!(error.hint.is_some(), "{bad:?}");
        }
    }

    /// Puts strings that tend to break keys into every field of a template that joins them in
    /// awkward ways.
    #[test]
    fn no_value_makes_an_invalid_or_reserved_key() {
        let template = KeyTemplate::parse("{app}/{plan}{source}/.{artifact}/{host}").unwrap();
        let long = "ü".repeat(500);
        let values = [
            "",
            ".",
            "..",
            "/",
            "../..",
            "a/../b",
            "\n",
            "\0",
            "lifeboat",
            "repository",
            "x",
            &long,
        ];
        let mut seen = 0;
        for app in values {
            for plan in values {
                for source in values {
                    for artifact in values {
                        let fields = KeyFields {
                            app,
                            plan,
                            source,
                            artifact,
                            host: plan,
                            ..fields()
                        };
                        let key = template.render(&fields);
                        lifeboat_store::check_key(&key).unwrap();
                        assert!(
                            !key.starts_with("lifeboat/") && !key.starts_with("repository/"),
                            "{key}"
                        );
                        assert!(key.len() <= KEY_BYTES_MAX + 8, "{}", key.len());
                        seen += 1;
                    }
                }
            }
        }
        assert_eq!(seen, values.len().pow(4));
    }
}
