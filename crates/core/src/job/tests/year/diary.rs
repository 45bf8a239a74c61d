//! What happened in a life, for people: a line for each thing, and quiet days told together.

use super::fault::What;
use super::system::System;
use crate::history::{Job, JobKind, JobOutcome};
use crate::name::Name;
use crate::notify::{Event, Message};
use jiff::Timestamp;

/// The diary of a life.
#[derive(Default)]
pub(super) struct Diary {
    lines: Vec<(Timestamp, String)>,
}

impl Diary {
    pub(super) fn says(&mut self, at: Timestamp, text: String) {
        self.lines.push((at, text));
    }

    pub(super) fn happens(&mut self, at: Timestamp, begins: bool, what: &What, system: &System) {
        let text = what.text(begins, system);
        self.says(at, format!("* {text}"));
    }

    pub(super) fn job(&mut self, at: Timestamp, host: usize, job: &Job, killed: bool) {
        let outcome = match job.outcome {
            _ if killed => "was killed",
            Some(JobOutcome::Busy | JobOutcome::NotDue) | None => return,
            Some(JobOutcome::Done) => "done",
            Some(outcome) => outcome.as_str(),
        };
        let message = job.message.as_deref().unwrap_or_default();
        let quiet =
            job.kind == JobKind::Prune && message.starts_with("0 points deleted, 0 announced");
        if quiet && outcome == "done" {
            return;
        }
        let text = format!(
            "  host {host}: {} {}: {outcome}",
            job.kind.as_str(),
            job.subject
        );
        let text = match message {
            "" => text,
            message => format!("{text} ({message})"),
        };
        self.says(at, text);
    }

    pub(super) fn told(&mut self, at: Timestamp, host: usize, channel: &Name, message: &Message) {
        let text = match message.event {
            Event::Repeated => format!("! host {host} tells {channel} again: {}", message.title),
            _ => format!("! host {host} tells {channel}: {}", message.title),
        };
        self.says(at, text);
    }

    /// The lines from a time on.
    pub(super) fn since(&self, from: Timestamp) -> String {
        let mut text = String::new();
        for (at, line) in self.lines.iter().filter(|(at, _)| *at >= from) {
            let at = at.strftime("%Y-%m-%d %H:%M");
            text += &format!("{at}  {line}\n");
        }
        text
    }
}

/// What happens to a host, and its end.
fn of_host(what: &What) -> Option<(String, String)> {
    let once = |text: String| (text, String::new());
    Some(match what {
        What::Down(host) => (
            format!("host {host} goes down"),
            format!("host {host} is up again"),
        ),
        What::Kill(host) => once(format!("the process of host {host} is killed")),
        What::KillAfter(host, steps) => once(format!(
            "host {host} will be killed within its next job, after {steps} changes"
        )),
        What::Clock(host, by) => (
            format!("the clock of host {host} jumps by {by} s"),
            format!("the clock of host {host} is set right"),
        ),
        What::NewKey(host) => once(format!("host {host} gets a new signing key")),
        What::NoCatalog(host) => once(format!("host {host} loses its catalog")),
        What::NoState(host) => once(format!("host {host} loses its state")),
        _ => return None,
    })
}

/// What happens to a store or a source, what somebody does, and its end.
fn of_others(what: &What, system: &System) -> (String, String) {
    let of =
        |names: &[&str], number: &usize| names.get(*number).copied().unwrap_or_default().to_owned();
    let store = |number| of(system.stores, number);
    let source = |number| of(system.sources, number);
    let both = |name: String, begins: &str, ends: &str| {
        (format!("{name} {begins}"), format!("{name} {ends}"))
    };
    let once = |text: &str| (text.to_owned(), String::new());
    match what {
        What::Away(s) => both(format!("store {}", store(s)), "is away", "is back"),
        What::Denied(s) => both(
            format!("store {}", store(s)),
            "refuses its key",
            "takes its key again",
        ),
        What::Full(s) => both(format!("store {}", store(s)), "is full", "has room"),
        What::Lies(s) => both(
            format!("store {}", store(s)),
            "spoils what it is given",
            "is honest again",
        ),
        What::Loses(s) => once(&format!("somebody deletes a point in store {}", store(s))),
        What::Rots(s) => once(&format!("an object in store {} rots", store(s))),
        What::SourceFails(s) => both(format!("source {}", source(s)), "fails", "works again"),
        What::SourceShrinks(s) => both(
            format!("source {}", source(s)),
            "loses most of its rows",
            "has its rows again",
        ),
        What::Slow => both("everything".to_owned(), "is slow", "is as fast as before"),
        What::ChannelDown => both("the channels".to_owned(), "take nothing", "work again"),
        What::Changed => once("the operator changes the configuration"),
        What::Acknowledge => once("the operator acknowledges the oldest alarm"),
        What::Manual => once("the operator takes a point by hand, with a reason"),
        What::Called => once("the operator takes a point by hand"),
        What::Pin => once("the operator pins the newest point"),
        What::Prune => once("the operator prunes by hand, to make room"),
        What::Mend => once("the operator mends what needs a person"),
        _ => once("something happens"),
    }
}

impl What {
    /// What happens, in a sentence.
    fn text(&self, begins: bool, system: &System) -> String {
        let (what, over) = of_host(self).unwrap_or_else(|| of_others(self, system));
        if begins { what } else { over }
    }
}
