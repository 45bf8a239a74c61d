//! Tests of what the outbox remembers, and of messages that are there once.

use super::outgoing;
use crate::alarm::{Attempt, Outbox};
use crate::name::Name;
use jiff::{SignedDuration, Timestamp};
use std::path::Path;

fn at(seconds: i64) -> Timestamp {
    let begin: Timestamp = "2026-11-20T06:00:00Z".parse().unwrap();
    begin + SignedDuration::from_secs(seconds)
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn open(directory: &Path) -> Outbox {
    Outbox::open(directory, &name("crm"), &name("production"), |_| ()).unwrap()
}

fn ids(outbox: &Outbox, from: i64, until: i64, most: usize) -> Vec<String> {
    let messages = outbox.remembered(at(from), at(until), most).unwrap();
    messages.into_iter().map(|message| message.id).collect()
}

#[test]
fn messages_are_remembered_after_they_were_delivered_within_a_bound() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path());
    for (number, id) in ["a-1", "a-2", "a-3"].iter().enumerate() {
        let seconds = i64::try_from(number).unwrap() * 60;
        outbox.post(&[outgoing("ops", id)], at(seconds)).unwrap();
    }
    for waiting in outbox.waiting().unwrap() {
        outbox.note(&waiting, &Attempt::Delivered, at(200)).unwrap();
    }
    assert_eq!(outbox.waiting().unwrap(), []);
    assert_eq!(ids(&outbox, 0, 300, 10), ["a-1", "a-2", "a-3"]);
    assert_eq!(ids(&outbox, 60, 120, 10), ["a-2"]);
    assert_eq!(ids(&outbox, 0, 300, 2), ["a-2", "a-3"]);
    let other = Outbox::open(directory.path(), &name("crm"), &name("staging"), |_| ());
    assert_eq!(ids(&other.unwrap(), 0, 300, 10), [""; 0]);
}

#[test]
fn a_message_is_posted_once_to_each_channel_though_a_run_repeats_it() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path());
    let post = |channels: &[&str], seconds| {
        let messages = channels.iter().map(|channel| outgoing(channel, "report-1"));
        outbox
            .post(&messages.collect::<Vec<_>>(), at(seconds))
            .unwrap();
    };
    post(&["ops"], 0);
    for waiting in outbox.waiting().unwrap() {
        outbox.note(&waiting, &Attempt::Delivered, at(1)).unwrap();
    }
    post(&["ops", "mail"], 2);
    post(&["ops", "mail"], 3);
    let waiting = outbox.waiting().unwrap();
    let channels: Vec<&str> = waiting.iter().map(|w| w.channel.as_str()).collect();
    assert_eq!(channels, ["mail"]);
}
