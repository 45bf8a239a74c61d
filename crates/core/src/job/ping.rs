//! Tells checks elsewhere that a backup begins and how it ended, by the protocol of healthchecks.io:
//! the URL alone for success, with `/start` or an exit code after it for the rest.
//!
//! Success is told after every store confirmed the point, and never before. Pings are sent in threads
//! of their own and hold nothing up; one that cannot be sent is a warning in the log of the job.

use crate::clock::Clock;
use crate::config::{Config, PingConfig};
use crate::error::{Code, Error, Result};
use crate::history::{Job, JobKind, JobOutcome};
use crate::http::{self, Limits, Method, Request, Url};
use crate::name::Name;
use crate::resolve::resolve;
use crate::secret::Scrubber;
use crate::thread;
use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::Duration;

/// Waits between the attempts at one ping, in seconds.
const WAITS_SECONDS: [u64; 3] = [0, 2, 6];
/// Longest text that goes with a ping, in characters.
const TEXT_CHARS_MAX: usize = 2000;
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    total: Duration::from_secs(8),
    body: 64 << 10,
};

/// Pings on their way, by check: each follows the one before it, so that no check hears of a beginning
/// after the end.
#[derive(Default)]
pub(crate) struct Pings(BTreeMap<Name, JoinHandle<Vec<Error>>>);

impl Pings {
    /// Tells that a job begins, to the checks that want to know.
    pub(super) fn begin(&mut self, config: &Config, clock: &Clock, job: &Job) {
        for (name, ping) in of(config, job).filter(|(_, ping)| ping.start) {
            self.send(name, ping, clock, "/start", &job.reason);
        }
    }

    /// Tells how a job ended. What left nothing behind is not told.
    pub(super) fn end(&mut self, config: &Config, clock: &Clock, job: &Job) {
        let Some(suffix) = job.outcome.and_then(suffix) else {
            return;
        };
        let text = job.message.as_deref().unwrap_or_default();
        for (name, ping) in of(config, job) {
            self.send(name, ping, clock, suffix, text);
        }
    }

    fn send(
        &mut self,
        name: &Name,
        ping: &PingConfig,
        clock: &Clock,
        suffix: &'static str,
        text: &str,
    ) {
        let before = self.0.remove(name);
        let (check, ping, clock) = (name.clone(), ping.clone(), clock.clone());
        let text: String = text.chars().take(TEXT_CHARS_MAX).collect();
        let started = thread::start(move || {
            let before = before.and_then(|before| before.join().ok());
            let mut failed = before.unwrap_or_default();
            if let Err(error) = send(&ping, &clock, suffix, &text) {
                let message = format!("ping {check} was not sent: {}", error.message);
                failed.push(Error { message, ..error });
            }
            failed
        });
        // Without a thread there is no ping, and the check raises its alarm.
        if let Ok(started) = started {
            self.0.insert(name.clone(), started);
        }
    }

    /// Waits for the pings, and returns what became of those that were not sent.
    pub(crate) fn finish(self) -> Vec<Error> {
        let ended = self.0.into_values().map(JoinHandle::join);
        ended.filter_map(Result::ok).flatten().collect()
    }
}

/// The checks that are told of a job.
fn of<'c>(config: &'c Config, job: &Job) -> impl Iterator<Item = (&'c Name, &'c PingConfig)> {
    let is_backup = job.kind == JobKind::Backup;
    let subject = job.subject.clone();
    let pings = config.ping.iter();
    pings.filter(move |(_, ping)| {
        is_backup && (ping.plans.is_empty() || ping.plans.contains(&subject))
    })
}

/// What follows the URL for an outcome; `None` if it is not told.
fn suffix(outcome: JobOutcome) -> Option<&'static str> {
    match outcome {
        JobOutcome::Done => Some(""),
        JobOutcome::Partial => Some("/3"),
        JobOutcome::NotProved => Some("/4"),
        JobOutcome::Failed | JobOutcome::TimedOut | JobOutcome::Interrupted => Some("/1"),
        JobOutcome::PutOff | JobOutcome::NotDue | JobOutcome::Busy => None,
    }
}

fn send(ping: &PingConfig, clock: &Clock, suffix: &str, text: &str) -> Result<()> {
    let secret = resolve(&ping.url)?;
    let scrubber = Scrubber::default();
    scrubber.learn(&secret);
    let malformed = || {
        Error::new(Code::Configuration, format!("{} holds no URL", ping.url))
            .hint("put the ping URL of the check there: https://HOST/PATH")
    };
    let url = Url::parse(secret.expose_str()?).ok_or_else(malformed)?;
    let url = match suffix {
        "" => url,
        suffix => url.join(suffix).ok_or_else(malformed)?,
    };
    let request = Request {
        method: Method::Post,
        url,
        headers: Vec::new(),
        body: scrubber.scrub(text).into_bytes(),
    };
    let mut last = None;
    for wait in WAITS_SECONDS {
        if wait > 0 {
            clock.wait(Duration::from_secs(wait))?;
        }
        match http::send(&request, LIMITS, clock.now()) {
            Ok(answer) if (200..300).contains(&answer.status) => return Ok(()),
            Ok(answer) => {
                let status = answer.status;
                let site = request.url.site();
                let message = format!("{site} answers with status {status}");
                let error = Error::new(Code::Channel, message);
                let error = error.hint("compare the URL with the one that the check shows");
                // What is wrong with the request stays wrong.
                if (400..500).contains(&status) && status != 429 {
                    return Err(error);
                }
                last = Some(error);
            }
            Err(error) => {
                let told = Error::new(Code::Channel, error.to_string());
                last = Some(told.hint(error.hint()));
            }
        }
    }
    last.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_store_confirmed_is_a_success() {
        assert_eq!(suffix(JobOutcome::Done), Some(""));
        for outcome in [
            JobOutcome::Partial,
            JobOutcome::NotProved,
            JobOutcome::Failed,
            JobOutcome::TimedOut,
            JobOutcome::Interrupted,
        ] {
            assert!(suffix(outcome).is_some_and(|suffix| suffix.starts_with('/')));
        }
        for outcome in [JobOutcome::PutOff, JobOutcome::NotDue, JobOutcome::Busy] {
            assert_eq!(suffix(outcome), None);
        }
    }
}
