//! Messages to people, before any channel gave them its form.
//!
//! Every text in a message is plain and may hold anything: names of tables and files, what a server
//! said. Whoever renders it escapes it.

use crate::condition::ConditionKind;
use crate::finding::Severity;
use crate::name::Name;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A message about one alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Identity of the message: it may arrive twice, and whoever receives it can drop the second.
    pub id: String,
    /// Identity of the alarm: the same from its first message until it is told as recovered.
    pub alarm: String,
    /// What happened to the alarm.
    pub event: Event,
    /// The gravest severity of its items.
    pub severity: Severity,
    /// When it was decided.
    pub at: Timestamp,
    /// The application.
    pub app: Name,
    /// The environment of that application.
    pub environment: Name,
    /// The host that tells it.
    pub host: String,
    /// One sentence, without markup and without a full stop.
    pub title: String,
    /// What is wrong, or was; empty in a test.
    pub items: Vec<Item>,
    /// Whom to ask, as `role: name or address`.
    pub contacts: Vec<String>,
    /// The report, in a message that brings one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Body>,
}

/// A report in the forms that channels take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// As Markdown.
    pub md: String,
    /// As an HTML page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// The document of `lifeboat report`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<serde_json::Value>,
}

/// What happened to an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// It is new.
    New,
    /// It is still open.
    Repeated,
    /// It has been open for so long that others are told.
    Escalated,
    /// It is over.
    Recovered,
    /// There is no alarm: somebody tests a channel.
    Test,
    /// There is no alarm: it brings a report.
    Report,
}

impl Event {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Event::New => "new",
            Event::Repeated => "repeated",
            Event::Escalated => "escalated",
            Event::Recovered => "recovered",
            Event::Test => "test",
            Event::Report => "report",
        }
    }
}

/// A condition, as a message tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Identity of the condition: `crm/production/plan.hourly/overdue`.
    pub condition: String,
    /// Its kind.
    pub kind: ConditionKind,
    /// Its severity.
    pub severity: Severity,
    /// Since when it holds.
    pub since: Timestamp,
    /// One sentence that says what is wrong.
    pub text: String,
    /// What to do about it, with the command to run.
    pub hint: Option<String>,
}
