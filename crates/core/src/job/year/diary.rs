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
            Some(JobOutcome::Busy | JobOutcome::NotDue)
                if std::env::var_os("LIFEBOAT_YEAR_VOID").is_none() =>
            {
                return;
            }
            None => return,
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

impl What {
    /// What happens, in a sentence.
    fn text(&self, begins: bool, system: &System) -> String {
        let store = |number: &usize| system.stores.get(*number).copied().unwrap_or_default();
        let source = |number: &usize| system.sources.get(*number).copied().unwrap_or_default();
        let (what, over) = match self {
            What::Down(host) => (
                format!("host {host} goes down"),
                format!("host {host} is up again"),
            ),
            What::Kill(host) => (
                format!("the process of host {host} is killed"),
                String::new(),
            ),
            What::KillAfter(host, steps) => (
                format!("host {host} will be killed within its next job, after {steps} changes"),
                String::new(),
            ),
            What::Clock(host, by) => (
                format!("the clock of host {host} jumps by {by} s"),
                format!("the clock of host {host} is set right"),
            ),
            What::NewKey(host) => (format!("host {host} gets a new signing key"), String::new()),
            What::NoCatalog(host) => (format!("host {host} loses its catalog"), String::new()),
            What::NoState(host) => (format!("host {host} loses its state"), String::new()),
            What::Away(s) => (
                format!("store {} is away", store(s)),
                format!("store {} is back", store(s)),
            ),
            What::Denied(s) => (
                format!("store {} refuses its key", store(s)),
                format!("store {} takes its key again", store(s)),
            ),
            What::Full(s) => (
                format!("store {} is full", store(s)),
                format!("store {} has room", store(s)),
            ),
            What::Lies(s) => (
                format!("store {} spoils what it is given", store(s)),
                format!("store {} is honest again", store(s)),
            ),
            What::Loses(s) => (
                format!("somebody deletes a point in store {}", store(s)),
                String::new(),
            ),
            What::Rots(s) => (
                format!("an object in store {} rots", store(s)),
                String::new(),
            ),
            What::Slow => (
                "everything is slow".to_owned(),
                "everything is as fast as before".to_owned(),
            ),
            What::SourceFails(s) => (
                format!("source {} fails", source(s)),
                format!("source {} works again", source(s)),
            ),
            What::SourceShrinks(s) => (
                format!("source {} loses most of its rows", source(s)),
                format!("source {} has its rows again", source(s)),
            ),
            What::ChannelDown => (
                "the channels take nothing".to_owned(),
                "the channels work again".to_owned(),
            ),
            What::Changed => (
                "the operator changes the configuration".to_owned(),
                String::new(),
            ),
            What::Acknowledge => (
                "the operator acknowledges the oldest alarm".to_owned(),
                String::new(),
            ),
            What::Manual => (
                "the operator takes a point by hand".to_owned(),
                String::new(),
            ),
            What::Pin => (
                "the operator pins the newest point".to_owned(),
                String::new(),
            ),
            What::Mend => (
                "the operator mends what needs a person".to_owned(),
                String::new(),
            ),
        };
        if begins { what } else { over }
    }
}
