//! What waits, what was taken, and what is given up.

#![allow(clippy::disallowed_methods)]

use crate::alarm::Ledger;
use crate::alarm::ledger::Told;
use crate::alarm::outbox::*;
use crate::alarm::tests::{alarm, outgoing};
use crate::name::Name;
use crate::notify::Event;
use jiff::SignedDuration;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

struct Box {
    directory: tempfile::TempDir,
    outbox: Outbox,
}

fn now() -> Timestamp {
    "2026-11-20T06:00:00Z".parse().unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn open(directory: &Path) -> Outbox {
    let warn = |text: &str| panic!("{text}");
    Outbox::open(directory, &name("crm"), &name("production"), warn).unwrap()
}

fn new() -> Box {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path());
    Box { directory, outbox }
}

fn tell(outbox: &Outbox, channel: &str, id: &str, at: Timestamp) {
    let step = |ledger: &Ledger| (ledger.clone(), vec![outgoing(channel, id)]);
    outbox.step(at, step).unwrap();
}

fn ids(outbox: &Outbox, at: Timestamp) -> Vec<String> {
    let due = outbox.due(at).unwrap().into_values().flatten();
    due.map(|waiting| waiting.message.id).collect()
}

fn only(outbox: &Outbox, at: Timestamp) -> Waiting {
    let mut due: Vec<Waiting> = outbox.due(at).unwrap().into_values().flatten().collect();
    assert_eq!(due.len(), 1);
    due.pop().unwrap()
}

fn later(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

#[test]
fn what_is_told_waits_until_its_channel_took_it() {
    let it = new();
    tell(&it.outbox, "ops", "a-1", now());
    // Another process finds it.
    let outbox = open(it.directory.path());
    let waiting = only(&outbox, now());
    outbox
        .note(&waiting, &Attempt::Later(None, "no".into()), now())
        .unwrap();
    assert_eq!(ids(&it.outbox, later(59)), [""; 0]);
    assert_eq!(it.outbox.next().unwrap(), Some(later(60)));
    let waiting = only(&it.outbox, later(60));
    assert_eq!(waiting.attempts, 1);
    let failing = it.outbox.channels().unwrap().remove(&name("ops")).unwrap();
    assert_eq!(
        (failing.failing, failing.error),
        (Some(now()), Some("no".into()))
    );
    it.outbox
        .note(&waiting, &Attempt::Later(None, "no".into()), later(60))
        .unwrap();
    assert_eq!(it.outbox.next().unwrap(), Some(later(60 + 120)));
    let failing = it.outbox.channels().unwrap().remove(&name("ops")).unwrap();
    assert_eq!(failing.failing, Some(now()));
    it.outbox
        .note(&waiting, &Attempt::Delivered, later(200))
        .unwrap();
    assert_eq!(it.outbox.next().unwrap(), None);
    let well = it.outbox.channels().unwrap().remove(&name("ops")).unwrap();
    assert_eq!((well.failing, well.sent), (None, Some(later(200))));
}

#[test]
fn a_channel_says_when_it_wants_to_be_asked_again() {
    let asked = |attempt: Attempt, attempts| wait(&attempt, attempts);
    let later = |seconds| Attempt::Later(Some(Duration::from_secs(seconds)), String::new());
    assert_eq!(asked(later(7), 0), 7);
    assert_eq!(asked(later(0), 0), 1);
    assert_eq!(asked(later(u64::MAX), 0), ASKED_SECONDS_MAX);
    assert_eq!(asked(Attempt::Later(None, String::new()), 40), 3600);
    assert_eq!(asked(Attempt::Refused(String::new()), 0), 3600);
}

#[test]
fn what_nobody_takes_is_given_up_after_days_or_when_there_is_too_much() {
    let it = new();
    tell(&it.outbox, "ops", "old", now());
    for number in 0..120 {
        tell(&it.outbox, "ops", &format!("n-{number}"), later(number));
    }
    let due = ids(&it.outbox, later(200));
    assert_eq!(due.len(), WAITING_MAX);
    assert_eq!((&*due[0], &*due[99]), ("n-20", "n-119"));
    tell(&it.outbox, "mail", "new", later(4 * 86_400));
    assert_eq!(ids(&it.outbox, later(4 * 86_400)), ["new"]);
    it.outbox
        .drop_channel(&name("mail"), later(4 * 86_400))
        .unwrap();
    assert_eq!(it.outbox.next().unwrap(), None);
}

/// A ledger with one alarm, which `ops` is told of by this message.
fn told_of(it: &Outbox, message: &str) {
    let step = |_: &Ledger| {
        let mut ledger = Ledger::default();
        let mut open = alarm();
        let told = Told {
            at: now(),
            severity: crate::finding::Severity::Error,
            escalated: false,
            conditions: BTreeSet::new(),
            delivered: None,
        };
        open.told.insert(name("ops"), told);
        ledger.alarms.insert("x".into(), open);
        let id = format!("{}-{message}", alarm().id);
        (ledger, vec![outgoing("ops", &id)])
    };
    it.step(now(), step).unwrap();
}

fn told(it: &Outbox) -> Option<Told> {
    let ledger = it.ledger().unwrap();
    ledger.alarms["x"].told.get(&name("ops")).cloned()
}

#[test]
fn told_is_what_the_channel_took_and_what_is_given_up_is_told_anew() {
    let it = new();
    told_of(&it.outbox, "1");
    assert_eq!(told(&it.outbox).unwrap().delivered, None);
    let waiting = only(&it.outbox, now());
    let delivered = Attempt::Delivered;
    it.outbox.note(&waiting, &delivered, later(5)).unwrap();
    assert_eq!(told(&it.outbox).unwrap().delivered, Some(later(5)));
    told_of(&it.outbox, "2");
    it.outbox.drop_channel(&name("ops"), later(10)).unwrap();
    assert_eq!(told(&it.outbox), None);
    told_of(&it.outbox, "3");
    // Days later, it is given up.
    let empty = |ledger: &Ledger| (ledger.clone(), vec![outgoing("mail", "other-1")]);
    it.outbox.step(later(4 * 86_400), empty).unwrap();
    assert_eq!(told(&it.outbox), None);
}

#[test]
fn a_channel_that_was_away_hears_of_an_alarm_once() {
    let it = new();
    told_of(&it.outbox, "1");
    let again = |id: &str| {
        let mut out = outgoing("ops", &format!("{}-{id}", alarm().id));
        out.message.event = Event::Repeated;
        out
    };
    let repeat = |id: &str, at| {
        let step = |ledger: &Ledger| (ledger.clone(), vec![again(id)]);
        it.outbox.step(at, step).unwrap();
    };
    repeat("2", later(86_400));
    let waiting = only(&it.outbox, later(86_400));
    assert!(waiting.message.id.ends_with("-1"), "{}", waiting.message.id);
    // What becomes graver is told all the same, and is what it hears once the first is given up.
    let graver = format!("{}-3", alarm().id);
    tell(&it.outbox, "ops", &graver, later(2 * 86_400));
    let day = 86_400;
    repeat("4", later(3 * day + 60));
    assert_eq!(ids(&it.outbox, later(3 * day + 60)), [graver]);
    assert!(
        told(&it.outbox).is_some(),
        "it is not told anew beside that"
    );
    let waiting = only(&it.outbox, later(3 * day + 60));
    it.outbox
        .note(&waiting, &Attempt::Delivered, later(3 * day + 60))
        .unwrap();
    repeat("5", later(4 * day));
    assert!(ids(&it.outbox, later(4 * day))[0].ends_with("-5"));
}

#[test]
fn a_reminder_that_is_given_up_takes_nothing_back() {
    let it = new();
    told_of(&it.outbox, "1");
    let waiting = only(&it.outbox, now());
    it.outbox
        .note(&waiting, &Attempt::Delivered, later(5))
        .unwrap();
    let step = |ledger: &Ledger| {
        let mut out = outgoing("ops", &format!("{}-2", alarm().id));
        out.message.event = Event::Repeated;
        (ledger.clone(), vec![out])
    };
    it.outbox.step(later(86_400), step).unwrap();
    it.outbox.drop_channel(&name("ops"), later(90_000)).unwrap();
    // It is due again, and not new.
    assert_eq!(told(&it.outbox).unwrap().at, later(5));
}

#[test]
fn a_clock_that_is_set_back_holds_up_nothing() {
    let it = new();
    tell(&it.outbox, "ops", "a-1", later(7200));
    let waiting = only(&it.outbox, later(7200));
    let failed = Attempt::Later(None, "no".into());
    it.outbox.note(&waiting, &failed, later(7200)).unwrap();
    tell(&it.outbox, "ops", "a-2", now());
    // The channel is asked again when it was to be, and in order.
    assert_eq!(ids(&it.outbox, now()), [""; 0]);
    assert_eq!(ids(&it.outbox, later(7260)), ["a-1", "a-2"]);
    let before = later(-86_400);
    assert_eq!(ids(&it.outbox, before), ["a-1", "a-2"]);
}

#[test]
fn applications_of_one_state_have_their_own() {
    let it = new();
    tell(&it.outbox, "ops", "a-1", now());
    let other = Outbox::open(
        it.directory.path(),
        &name("shop"),
        &name("production"),
        |_| (),
    );
    let other = other.unwrap();
    assert_eq!(ids(&other, now()), [""; 0]);
    assert_eq!(other.next().unwrap(), None);
    assert!(other.channels().unwrap().is_empty());
}

#[test]
fn damaged_alarms_are_put_aside_and_a_full_disk_is_no_reason_to_be_silent() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("alarms.db"),
        b"no database at all, by far",
    )
    .unwrap();
    let warned = std::cell::Cell::new(false);
    let opened = Outbox::open(
        directory.path(),
        &name("crm"),
        &name("production"),
        |text| {
            assert!(text.contains("alarms.db.damaged"), "{text}");
            warned.set(true);
        },
    );
    tell(&opened.unwrap(), "ops", "a-1", now());
    assert!(warned.get());
    // A directory that is not there stands for a disk that takes nothing.
    let warned = std::cell::Cell::new(false);
    let nowhere = directory.path().join("nowhere");
    let opened = Outbox::open(&nowhere, &name("crm"), &name("production"), |text| {
        assert!(text.contains("alarms cannot be kept"), "{text}");
        warned.set(true);
    });
    let outbox = opened.unwrap();
    assert!(warned.get());
    tell(&outbox, "ops", "a-1", now());
    assert_eq!(ids(&outbox, now()), ["a-1"]);
}

#[test]
fn what_was_told_before_the_disk_was_full_is_known_afterwards() {
    let it = new();
    tell(&it.outbox, "ops", "a-1", now());
    let mut ledger = Ledger::default();
    ledger.alarms.insert("x".into(), alarm());
    it.outbox
        .step(now(), |_| (ledger.clone(), Vec::new()))
        .unwrap();
    it.outbox
        .inner()
        .connection
        .execute_batch("PRAGMA query_only = 1")
        .unwrap();
    tell(&it.outbox, "ops", "a-2", now());
    assert_eq!(it.outbox.ledger().unwrap(), ledger);
    assert_eq!(ids(&it.outbox, now()), ["a-2"]);
}
