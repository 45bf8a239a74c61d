//! Tests channels: sends each of them a message that says so.

use super::send::{Again, send};
use super::{Event, Message};
use crate::clock::Clock;
use crate::config::{Config, NotifyConfig};
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::finding::Severity;
use crate::host;
use crate::name::Name;
use crate::secret::Scrubber;
use crate::thread;
use serde::Serialize;
use std::time::Instant;

/// What became of the messages.
#[derive(Debug, Clone, Serialize)]
pub struct TestReport {
    /// Each channel, by name.
    pub channels: Vec<Tested>,
}

/// What became of a message.
#[derive(Debug, Clone, Serialize)]
pub struct Tested {
    /// Name of the channel.
    pub channel: Name,
    /// Its kind.
    pub kind: &'static str,
    /// What became of the message.
    pub outcome: Outcome,
    /// What took it: scheme and host, a mail server, or a program.
    pub to: Option<String>,
    /// How long it took.
    pub seconds: f64,
    /// Why it was not delivered.
    pub error: Option<Error>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The channel took it.
    Delivered,
    /// It did not, and may if it is sent again.
    Later,
    /// It did not, and will not until something is corrected.
    Refused,
}

impl TestReport {
    /// Returns the exit code: done when all messages were delivered, failed when none was.
    pub fn exit(&self) -> Exit {
        let delivered = |tested: &&Tested| tested.outcome == Outcome::Delivered;
        match self.channels.iter().filter(delivered).count() {
            0 => Exit::Failed,
            count if count == self.channels.len() => Exit::Done,
            _ => Exit::Partial,
        }
    }
}

/// Sends a test message to the channel of this name, or to every channel, all at once.
pub fn run(
    config: &Config,
    name: Option<&str>,
    clock: &Clock,
    scrubber: &Scrubber,
) -> Result<TestReport> {
    let channels = chosen(config, name)?;
    config.learn_environment(scrubber);
    let channels = std::thread::scope(|scope| {
        let sends: Vec<_> = channels
            .into_iter()
            .map(|(name, channel)| {
                thread::start_in(scope, move || one(config, name, channel, clock, scrubber))
            })
            .collect();
        let ended = sends.into_iter().map(|send| {
            let panicked = |_| Error::new(Code::Channel, "sending ended by a fault of lifeboat");
            send.and_then(|send| send.join().map_err(panicked))
        });
        ended.collect::<Result<Vec<_>>>()
    })?;
    Ok(TestReport { channels })
}

fn chosen<'a>(config: &'a Config, name: Option<&str>) -> Result<Vec<(&'a Name, &'a NotifyConfig)>> {
    let Some(name) = name else {
        return match config.notify.is_empty() {
            false => Ok(config.notify.iter().collect()),
            true => Err(Error::new(Code::Usage, "there is no channel to test")
                .hint("add a table [notify.NAME]; docs/channels.md shows one of each kind")),
        };
    };
    match config.notify.get_key_value(name) {
        Some(channel) => Ok(vec![channel]),
        None => {
            let known: Vec<_> = config.notify.keys().map(Name::as_str).collect();
            let error = Error::new(Code::Usage, format!("there is no channel {name:?}"));
            Err(match known.is_empty() {
                true => error.hint("add a table [notify.NAME]"),
                false => error.hint(format!("known here: {}", known.join(", "))),
            })
        }
    }
}

fn one(
    config: &Config,
    name: &Name,
    channel: &NotifyConfig,
    clock: &Clock,
    scrubber: &Scrubber,
) -> Tested {
    let begun = Instant::now();
    let sent = send(name, channel, &message(config, clock), clock, scrubber);
    let (outcome, to, error) = match sent {
        Ok(delivered) => (Outcome::Delivered, Some(delivered.to), None),
        Err(failed) => {
            let outcome = match failed.again {
                Again::Later(_) => Outcome::Later,
                Again::OnceCorrected => Outcome::Refused,
            };
            (outcome, None, Some(failed.error))
        }
    };
    Tested {
        channel: name.clone(),
        kind: channel.kind.name(),
        outcome,
        to,
        seconds: (begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        error,
    }
}

/// A message that says that it is a test.
fn message(config: &Config, clock: &Clock) -> Message {
    let app = &config.app;
    Message {
        id: format!("test-{:016x}", clock.random()),
        alarm: format!("{}/{}/test", app.name, app.environment),
        event: Event::Test,
        severity: Severity::Ok,
        at: clock.now(),
        app: app.name.clone(),
        environment: app.environment.clone(),
        host: host::host(),
        title: "this is a test, nothing is wrong".into(),
        items: Vec::new(),
        contacts: config.contact_lines(),
        report: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::assert_document;

    fn tested(channel: &str, outcome: Outcome) -> Tested {
        let failed = outcome != Outcome::Delivered;
        Tested {
            channel: Name::parse(channel).unwrap(),
            kind: "slack",
            outcome,
            to: (!failed).then(|| "https://slack.com".into()),
            seconds: 0.25,
            error: failed.then(|| Error::new(Code::Channel, "it failed")),
        }
    }

    #[test]
    fn the_document_of_a_test() {
        let report = TestReport {
            channels: vec![
                tested("ops", Outcome::Delivered),
                tested("oncall", Outcome::Refused),
            ],
        };
        let expected = r#"{
  "schema": 1,
  "channels": [
    {
      "channel": "ops",
      "kind": "slack",
      "outcome": "delivered",
      "to": "https://slack.com",
      "seconds": 0.25,
      "error": null
    },
    {
      "channel": "oncall",
      "kind": "slack",
      "outcome": "refused",
      "to": null,
      "seconds": 0.25,
      "error": {
        "code": "channel",
        "message": "it failed",
        "cause": null,
        "hint": null
      }
    }
  ]
}"#;
        assert_document(report, expected);
    }

    #[test]
    fn a_test_ends_as_its_messages_did() {
        let exit = |outcomes: &[Outcome]| {
            let channels = outcomes.iter().map(|outcome| tested("ops", *outcome));
            let channels = channels.collect();
            TestReport { channels }.exit()
        };
        use Outcome::{Delivered, Later, Refused};
        assert_eq!(exit(&[Delivered, Delivered]), Exit::Done);
        assert_eq!(exit(&[Delivered, Later]), Exit::Partial);
        assert_eq!(exit(&[Refused, Later]), Exit::Failed);
    }
}
