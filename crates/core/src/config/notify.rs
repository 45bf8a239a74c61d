//! The tables `[notify.NAME]` and `[contacts]`: who is told of what, and when again.

use super::channel::ChannelKind;
use super::{Config, text};
use crate::condition::ConditionKind;
use crate::finding::Severity;
use crate::name::Name;
use crate::span::Span;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Keys of every channel, and those of its kind.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NotifyConfig {
    /// What it is told: kinds of conditions, `recovered` for their end, or `all`; `error` leaves
    /// warnings out. With an empty list it is told only what is escalated to it.
    #[serde(default = "default_on")]
    pub on: Vec<Topic>,
    /// Time after which it is told again of what is still so; `never` for once only.
    #[serde(default)]
    pub repeat: Repeat,
    /// Time for which something must be so before it is told.
    #[serde(default = "default_wait")]
    pub wait: Span,
    /// Who else is told of what lasts.
    #[serde(default)]
    pub escalate: Vec<EscalateConfig>,
    /// Kind of the channel, with its own keys.
    #[serde(flatten)]
    pub kind: ChannelKind,
}

fn default_on() -> Vec<Topic> {
    vec![Topic::All]
}

fn default_wait() -> Span {
    Span { seconds: 0 }
}

impl NotifyConfig {
    /// The kinds of conditions that it is told of. Where `on` names none but says something, it is
    /// told of every kind.
    pub fn kinds(&self) -> BTreeSet<ConditionKind> {
        let named = self.on.iter().filter_map(|topic| match topic {
            Topic::Kind(kind) => Some(*kind),
            _ => None,
        });
        let named: BTreeSet<_> = named.collect();
        let every = self.on.contains(&Topic::All) || named.is_empty() && !self.on.is_empty();
        match every {
            true => ConditionKind::ALL.into(),
            false => named,
        }
    }

    /// The least severity that it is told of.
    pub fn severity(&self) -> Severity {
        let says = |topic| self.on.contains(&topic);
        match says(Topic::Error) && !says(Topic::Warning) {
            true => Severity::Error,
            false => Severity::Warning,
        }
    }

    /// Returns whether it is told that something it was told of is over. A channel that is told
    /// only what is escalated to it is.
    pub fn recovered(&self) -> bool {
        let mut topics = self.on.iter();
        self.on.is_empty() || topics.any(|t| matches!(t, Topic::All | Topic::Recovered))
    }
}

impl Config {
    /// Whom to ask, a line each: `role: name or address`.
    pub fn contact_lines(&self) -> Vec<String> {
        let contacts = self.contacts.iter();
        contacts
            .map(|(role, text)| format!("{role}: {text}"))
            .collect()
    }
}

/// A word of `on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Every condition, and its end.
    All,
    /// The end of a condition that was told.
    Recovered,
    /// Only what is a warning or an error.
    Warning,
    /// Only what is an error.
    Error,
    /// Every condition of a kind.
    Kind(ConditionKind),
}

/// The words of `on` that are no kinds of conditions, with what they mean.
const WORDS: [(Topic, &str, &str); 4] = [
    (Topic::All, "all", "Every condition, and its end."),
    (
        Topic::Recovered,
        "recovered",
        "The end of a condition that was told.",
    ),
    (
        Topic::Warning,
        "warning",
        "Only what is a warning or an error.",
    ),
    (Topic::Error, "error", "Only what is an error."),
];

impl Topic {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Topic::Kind(kind) => kind.as_str(),
            Topic::All => "all",
            Topic::Recovered => "recovered",
            Topic::Warning => "warning",
            Topic::Error => "error",
        }
    }
}

impl Serialize for Topic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        if let Some((topic, ..)) = WORDS.iter().find(|(_, known, _)| *known == word) {
            return Ok(*topic);
        }
        word.parse().map(Topic::Kind).map_err(D::Error::custom)
    }
}

impl JsonSchema for Topic {
    fn schema_name() -> Cow<'static, str> {
        "Topic".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let kinds = ConditionKind::json_schema(generator);
        let kinds = kinds.get("oneOf").and_then(|kinds| kinds.as_array());
        let words = WORDS.iter().map(|(_, word, means)| {
            serde_json::json!({ "description": means, "type": "string", "const": word })
        });
        let choices: Vec<_> = words.chain(kinds.into_iter().flatten().cloned()).collect();
        json_schema!({ "description": "A kind of condition, a severity, or a word for several", "oneOf": choices })
    }
}

impl Repeat {
    /// The time; `None` for once only.
    pub fn span(self) -> Option<Span> {
        match self {
            Repeat::Every(span) => Some(span),
            Repeat::Never => None,
        }
    }
}

/// Time after which something is told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Every so often.
    Every(Span),
    /// Once only.
    Never,
}

impl Default for Repeat {
    fn default() -> Self {
        Repeat::Every(Span { seconds: 86_400 })
    }
}

impl FromStr for Repeat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Repeat::Never),
            span => match span.parse::<Span>() {
                Ok(span) => Ok(Repeat::Every(span)),
                Err(why) => Err(format!("{why}, or \"never\"")),
            },
        }
    }
}

impl fmt::Display for Repeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Repeat::Every(span) => span.fmt(f),
            Repeat::Never => f.write_str("never"),
        }
    }
}

/// Who else is told of what lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EscalateConfig {
    /// Time for which something must have been so.
    pub after: Span,
    /// Kinds of conditions that are escalated; every kind when empty.
    #[serde(default)]
    pub kinds: Vec<ConditionKind>,
    /// Plans, sources, stores, drills and verifications, as `plan.NAME`: it is escalated only when
    /// something is wrong with each of them.
    #[serde(default)]
    pub all: Vec<String>,
    /// Channels that are told.
    #[schemars(with = "Vec<text::Name>")]
    pub to: Vec<Name>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(on: &str) -> NotifyConfig {
        let text = format!("kind = \"command\"\ncommand = [\"true\"]\non = {on}");
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn words_choose_kinds_a_severity_and_the_end() {
        use ConditionKind::{Failed, Overdue};
        let every = ConditionKind::ALL.len();
        for (on, kinds, severity, recovered) in [
            (r#"["all"]"#, every, Severity::Warning, true),
            (r#"["all", "failed"]"#, every, Severity::Warning, true),
            (r#"["all", "error"]"#, every, Severity::Error, true),
            (r#"["error"]"#, every, Severity::Error, false),
            (r#"["error", "warning"]"#, every, Severity::Warning, false),
            (r#"["failed", "overdue"]"#, 2, Severity::Warning, false),
            (
                r#"["failed", "error", "recovered"]"#,
                1,
                Severity::Error,
                true,
            ),
            ("[]", 0, Severity::Warning, true),
        ] {
            let channel = channel(on);
            assert_eq!(channel.kinds().len(), kinds, "{on}");
            assert_eq!(channel.severity(), severity, "{on}");
            assert_eq!(channel.recovered(), recovered, "{on}");
        }
        let two = channel(r#"["failed", "overdue"]"#).kinds();
        assert_eq!(two, [Failed, Overdue].into());
    }
}
