use super::*;
use crate::condition::ConditionKind as Kind;
use crate::finding::Severity;
use crate::name::Name;
use crate::notify::{Event, Message};
use crate::span::Span;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

mod conditions;
mod outbox;
mod property;
mod remembered;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// So many hours after the beginning.
fn hour(hours: f64) -> Timestamp {
    let begin: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
    let span = std::time::Duration::from_secs_f64(hours * 3600.0);
    begin + SignedDuration::try_from(span).unwrap()
}

fn hours(hours: u64) -> Span {
    Span {
        seconds: hours * 3600,
    }
}

pub(super) fn whose() -> Whose {
    Whose {
        app: name("crm"),
        environment: name("production"),
        host: "web1".into(),
        contacts: vec!["owner: ops@example.org".into()],
    }
}

/// An alarm that nobody was told of.
pub(super) fn alarm() -> Alarm {
    Alarm::new(&whose(), "x", Timestamp::UNIX_EPOCH)
}

/// A message with this identity.
pub(super) fn outgoing(channel: &str, id: &str) -> Outgoing {
    let whose = whose();
    Outgoing {
        channel: name(channel),
        message: Message {
            id: id.to_owned(),
            alarm: "crm/production/x".into(),
            event: Event::New,
            severity: Severity::Error,
            at: Timestamp::UNIX_EPOCH,
            app: whose.app,
            environment: whose.environment,
            host: whose.host,
            title: "it is broken".into(),
            items: Vec::new(),
            contacts: whose.contacts,
            report: None,
        },
    }
}

/// A channel that hears of everything, once a day.
fn listener(of: &str) -> Listener {
    Listener {
        name: name(of),
        kinds: Kind::ALL.into_iter().collect(),
        severity: Severity::Warning,
        recovered: true,
        wait: hours(0),
        repeat: Some(hours(24)),
        escalations: Vec::new(),
    }
}

fn down(store: &str) -> Condition {
    let subject = format!("store.{store}");
    let text = format!("store {store} does not answer");
    Condition::new(
        subject,
        Kind::StoreUnreachable,
        Severity::Warning,
        None,
        text,
    )
}

fn overdue(plan: &str, because: Option<&str>) -> Condition {
    let subject = format!("plan.{plan}");
    let text = format!("plan {plan} is overdue");
    let condition = Condition::new(subject, Kind::Overdue, Severity::Error, None, text);
    Condition {
        cause: because.map_or(condition.cause.clone(), |store| format!("store.{store}")),
        ..condition
    }
}

fn failed(plan: &str) -> Condition {
    let subject = format!("plan.{plan}");
    Condition::new(subject, Kind::Failed, Severity::Error, None, "it failed")
}

/// Goes from look to look, and says what was told: `hour channel event: condition …`.
struct Life {
    ledger: Ledger,
    listeners: Vec<Listener>,
    told: Vec<String>,
    ids: BTreeSet<String>,
}

impl Life {
    fn of(listeners: Vec<Listener>) -> Life {
        Life {
            ledger: Ledger::default(),
            listeners,
            told: Vec::new(),
            ids: BTreeSet::new(),
        }
    }

    fn look(&mut self, at: f64, wrong: &[Condition]) -> &mut Self {
        let (next, outgoing) = step(
            &self.ledger,
            wrong,
            Known::All,
            hour(at),
            &whose(),
            &self.listeners,
        );
        // A run that was killed before it wrote this decides the same again.
        let again = step(
            &self.ledger,
            wrong,
            Known::All,
            hour(at),
            &whose(),
            &self.listeners,
        );
        assert_eq!((&next, &outgoing), (&again.0, &again.1));
        // Written, it is decided once.
        let (after, repeated) = step(
            &next,
            wrong,
            Known::All,
            hour(at),
            &whose(),
            &self.listeners,
        );
        assert_eq!((after, repeated), (next.clone(), Vec::new()));
        for out in outgoing {
            let message = &out.message;
            assert!(self.ids.insert(message.id.clone()), "{}", message.id);
            let items = message.items.iter().map(|item| {
                let id = item.condition.strip_prefix("crm/production/").unwrap();
                id.to_owned()
            });
            self.told.push(format!(
                "{at} {} {}: {}",
                out.channel,
                message.event.as_str(),
                items.collect::<Vec<_>>().join(" ")
            ));
        }
        // It is stored and read back between two looks.
        let stored = serde_json::to_string(&next).unwrap();
        self.ledger = serde_json::from_str(&stored).unwrap();
        self
    }

    fn assert(&self, told: &[&str]) {
        assert_eq!(self.told, told, "{:#?}", self.ledger);
    }
}

#[test]
fn what_is_wrong_is_told_once_then_repeated_and_then_told_as_recovered() {
    let mut life = Life::of(vec![listener("ops")]);
    for at in [0.0, 1.0, 5.0, 23.9] {
        life.look(at, &[failed("main")]);
    }
    life.look(24.0, &[failed("main")]);
    life.look(47.0, &[failed("main")]);
    life.look(47.5, &[]).look(48.0, &[]);
    life.look(49.0, &[failed("main")]);
    life.assert(&[
        "0 ops new: plan.main/failed",
        "24 ops repeated: plan.main/failed",
        "47.5 ops recovered: plan.main/failed",
        "49 ops new: plan.main/failed",
    ]);
}

#[test]
fn a_clock_that_was_ahead_puts_off_nothing() {
    let mut life = Life::of(vec![listener("ops")]);
    // A month ahead, and then set right.
    life.look(720.0, &[failed("main")]);
    life.look(1.0, &[failed("main")]);
    life.look(24.5, &[failed("main")]);
    life.look(25.0, &[failed("main")]);
    life.assert(&[
        "720 ops new: plan.main/failed",
        "25 ops repeated: plan.main/failed",
    ]);
}

#[test]
fn after_nine_days_of_silence_there_is_one_message() {
    let mut life = Life::of(vec![listener("ops")]);
    life.look(0.0, &[failed("main")]);
    life.look(9.0 * 24.0, &[failed("main"), overdue("main", None)]);
    life.look(9.0 * 24.0 + 1.0, &[failed("main"), overdue("main", None)]);
    life.assert(&[
        "0 ops new: plan.main/failed",
        "216 ops repeated: plan.main/failed plan.main/overdue",
    ]);
}

#[test]
fn ten_conditions_of_one_cause_are_one_message() {
    let mut wrong = vec![down("offsite")];
    wrong.extend((0..9).map(|n| overdue(&format!("p{n}"), Some("offsite"))));
    let mut life = Life::of(vec![listener("ops")]);
    life.look(0.0, &wrong);
    assert_eq!(life.told.len(), 1);
    assert_eq!(life.ledger.alarms.len(), 1);
    // The gravest comes first.
    assert!(
        life.told[0].starts_with("0 ops new: plan.p0/overdue"),
        "{}",
        life.told[0]
    );
    life.look(1.0, &[]).look(1.6, &[]);
    assert_eq!(life.told.len(), 2, "{:#?}", life.told);
}

#[test]
fn what_joins_a_told_alarm_is_told_only_if_it_is_graver() {
    let mut life = Life::of(vec![listener("ops")]);
    life.look(0.0, &[down("offsite")]);
    life.look(1.0, &[down("offsite"), overdue("main", Some("offsite"))]);
    life.look(
        2.0,
        &[
            down("offsite"),
            overdue("main", Some("offsite")),
            overdue("other", Some("offsite")),
        ],
    );
    life.assert(&[
        "0 ops new: store.offsite/store-unreachable",
        "1 ops new: plan.main/overdue store.offsite/store-unreachable",
    ]);
}

#[test]
fn what_is_left_when_its_cause_is_gone_is_not_told_anew() {
    let mut life = Life::of(vec![listener("ops")]);
    let wrong = [down("offsite"), overdue("main", Some("offsite"))];
    life.look(0.0, &wrong);
    // The store is back, and the plan is late for a while.
    life.look(1.0, &[overdue("main", None)]);
    life.look(2.0, &[]).look(2.5, &[]);
    life.assert(&[
        "0 ops new: plan.main/overdue store.offsite/store-unreachable",
        "2 ops recovered: plan.main/overdue",
    ]);
}

/// Where it could not be looked, nothing is told as recovered.
#[test]
fn what_could_not_be_looked_at_is_not_over() {
    let listeners = [listener("ops")];
    let mut life = Life::of(listeners.to_vec());
    life.look(0.0, &[failed("main")]);
    let (kind, text) = (Kind::Failed, "the state cannot be opened");
    let runner = Condition::new("runner", kind, Severity::Error, None, text);
    let (next, told) = step(
        &life.ledger,
        &[runner],
        Known::Some,
        hour(1.0),
        &whose(),
        &listeners,
    );
    assert_eq!((next.alarms.len(), told.len()), (2, 1));
    life.ledger = next;
    life.look(2.0, &[failed("main")]);
    assert_eq!(life.told[1..], ["2 ops recovered: runner/failed"]);
}

fn anomaly(table: &str) -> Condition {
    let subject = format!("plan.main.db.rows.{table}");
    let text = format!("{table} lost most of its rows");
    let condition = Condition::new(subject, Kind::Anomaly, Severity::Error, None, text);
    Condition {
        cause: "plan.main.db".into(),
        ..condition
    }
}

/// The next point hides a loss: it stays until somebody says that he looked, and another one is news.
#[test]
fn an_anomaly_stays_until_somebody_looked_and_each_is_news() {
    let mut life = Life::of(vec![listener("ops")]);
    life.look(0.0, &[anomaly("a")]);
    life.look(24.0, &[]);
    life.look(25.0, &[anomaly("b")]);
    life.assert(&[
        "0 ops new: plan.main.db.rows.a/anomaly",
        "24 ops repeated: plan.main.db.rows.a/anomaly",
        "25 ops new: plan.main.db.rows.a/anomaly plan.main.db.rows.b/anomaly",
    ]);
    let acknowledge = |life: &mut Life, at: f64| {
        let alarm = life.ledger.alarms.values_mut().next().unwrap();
        alarm.acknowledged = Some(Acknowledged {
            until: hour(at + 1000.0),
            by: "ops".into(),
            reason: "they were moved".into(),
            at: hour(at),
        });
    };
    acknowledge(&mut life, 26.0);
    // What comes then is news all the same.
    life.look(30.0, &[anomaly("c")]);
    acknowledge(&mut life, 31.0);
    life.look(32.0, &[]);
    life.look(33.0, &[anomaly("d")]).look(60.0, &[]);
    life.look(60.0 + 24.0 * 8.0, &[]);
    let told: Vec<&str> = life.told[3..]
        .iter()
        .map(|told| &told[..told.find(':').unwrap()])
        .collect();
    assert_eq!(
        told,
        [
            "30 ops new",
            "32 ops recovered",
            "33 ops new",
            "60 ops repeated",
            "252 ops recovered"
        ]
    );
}

#[test]
fn a_flapping_store_rings_once() {
    // Looked at every quarter of an hour, and every hour.
    for every in [0.25, 1.0] {
        let mut life = Life::of(vec![listener("ops")]);
        for look in 0..40 {
            let wrong = [down("offsite")];
            let wrong = &wrong[usize::from(look % 2 == 1)..];
            life.look(f64::from(look) * every, wrong);
        }
        let end = 40.0 * every;
        let mut expected = vec!["0 ops new: store.offsite/store-unreachable"];
        if end > 24.0 {
            expected.push("24 ops repeated: store.offsite/store-unreachable");
        }
        life.assert(&expected);
        life.look(end + 1.0, &[]).look(end + 2.0, &[]);
        let last = life.told.last().unwrap();
        assert!(last.contains("recovered"), "{last}");
    }
    // A runner that looks once a day needs no second look.
    let mut life = Life::of(vec![listener("ops")]);
    life.look(0.0, &[down("offsite")]).look(23.0, &[]);
    life.assert(&[
        "0 ops new: store.offsite/store-unreachable",
        "23 ops recovered: store.offsite/store-unreachable",
    ]);
}

#[test]
fn what_is_acknowledged_is_quiet_until_then_and_told_as_recovered() {
    let mut life = Life::of(vec![listener("ops")]);
    life.look(0.0, &[failed("main")]);
    let acknowledged = Acknowledged {
        until: hour(30.0),
        by: "ops".into(),
        reason: "at it".into(),
        at: hour(1.0),
    };
    let alarm = life.ledger.alarms.values_mut().next().unwrap();
    alarm.acknowledged = Some(acknowledged);
    life.look(25.0, &[failed("main")]);
    life.look(30.5, &[failed("main")]);
    life.look(31.0, &[]);
    life.assert(&[
        "0 ops new: plan.main/failed",
        "30.5 ops repeated: plan.main/failed",
        "31 ops recovered: plan.main/failed",
    ]);
}

#[test]
fn what_gets_graver_is_told_though_it_is_acknowledged() {
    let mut life = Life::of(vec![listener("ops")]);
    life.look(0.0, &[down("offsite")]);
    let alarm = life.ledger.alarms.values_mut().next().unwrap();
    alarm.acknowledged = Some(Acknowledged {
        until: hour(30.0),
        by: "ops".into(),
        reason: "at it".into(),
        at: hour(0.5),
    });
    life.look(2.0, &[down("offsite"), overdue("main", Some("offsite"))]);
    assert_eq!(life.told.len(), 2);
}

#[test]
fn a_channel_waits_before_it_is_told_unless_it_is_urgent() {
    let waiting = Listener {
        wait: hours(2),
        ..listener("ops")
    };
    let mut life = Life::of(vec![waiting]);
    life.look(0.0, &[failed("main")])
        .look(1.9, &[failed("main")]);
    life.assert(&[]);
    life.look(2.0, &[failed("main")]);
    life.assert(&["2 ops new: plan.main/failed"]);
    let denied = Condition::new(
        "store.s",
        Kind::StoreDenied,
        Severity::Error,
        None,
        "denied",
    );
    let wrong = [failed("main"), denied];
    life.look(2.5, &wrong);
    life.assert(&[
        "2 ops new: plan.main/failed",
        "2.5 ops new: store.s/store-denied",
    ]);
    // Nobody hears that something is over that nobody was told of.
    let mut life = Life::of(vec![Listener {
        wait: hours(2),
        ..listener("ops")
    }]);
    life.look(0.0, &[failed("main")]).look(1.0, &[]);
    life.assert(&[]);
}

#[test]
fn channels_hear_of_what_they_want() {
    let only = Listener {
        kinds: BTreeSet::from([Kind::Overdue]),
        recovered: false,
        repeat: None,
        ..listener("pager")
    };
    let errors = Listener {
        severity: Severity::Error,
        ..listener("errors")
    };
    let mut life = Life::of(vec![only, errors]);
    life.look(0.0, &[down("s"), overdue("main", None)]);
    life.look(50.0, &[down("s"), overdue("main", None)]);
    life.look(51.0, &[]).look(52.0, &[]);
    life.assert(&[
        "0 pager new: plan.main/overdue",
        "0 errors new: plan.main/overdue",
        "50 errors repeated: plan.main/overdue",
        "51 errors recovered: plan.main/overdue",
    ]);
}

#[test]
fn what_stays_open_escalates_once_and_those_who_were_told_hear_of_its_end() {
    let rule = |all: &[&str]| Escalation {
        after: hours(48),
        kinds: BTreeSet::from([Kind::Failed, Kind::Overdue]),
        all: all.iter().map(|one| vec![one.to_string()]).collect(),
        to: vec![name("oncall")],
    };
    let oncall = Listener {
        kinds: BTreeSet::new(),
        recovered: false,
        ..listener("oncall")
    };
    let ops = Listener {
        repeat: None,
        escalations: vec![rule(&[])],
        ..listener("ops")
    };
    let mut life = Life::of(vec![ops.clone(), oncall.clone()]);
    life.look(0.0, &[failed("main")])
        .look(47.0, &[failed("main")]);
    life.look(48.0, &[failed("main")])
        .look(50.0, &[failed("main")]);
    life.look(72.0, &[failed("main")]);
    life.look(73.0, &[]);
    life.assert(&[
        "0 ops new: plan.main/failed",
        "48 oncall escalated: plan.main/failed",
        "72 oncall repeated: plan.main/failed",
        "73 oncall recovered: plan.main/failed",
        "73 ops recovered: plan.main/failed",
    ]);
    // Two tiers: only when both fail.
    let both = Listener {
        repeat: None,
        escalations: vec![rule(&["plan.main", "plan.machine"])],
        ..ops
    };
    let mut life = Life::of(vec![both, oncall]);
    life.look(0.0, &[failed("main")])
        .look(60.0, &[failed("main")]);
    life.assert(&["0 ops new: plan.main/failed"]);
    life.look(61.0, &[failed("main"), failed("machine")]);
    assert_eq!(
        life.told[1..],
        [
            "61 ops new: plan.machine/failed",
            "61 oncall escalated: plan.main/failed"
        ]
    );
}

/// While a backup is at work that may end it, what was told is not told again.
#[test]
fn what_is_being_ended_is_not_repeated() {
    let ops = Listener {
        escalations: vec![Escalation {
            after: hours(20),
            kinds: BTreeSet::new(),
            all: Vec::new(),
            to: vec![name("mail")],
        }],
        ..listener("ops")
    };
    let under_way = Condition {
        under_way: true,
        ..failed("main")
    };
    let mut life = Life::of(vec![ops, listener("mail")]);
    life.look(0.0, std::slice::from_ref(&under_way));
    life.look(25.0, &[under_way]);
    life.look(25.1, &[failed("main")]);
    life.assert(&[
        "0 ops new: plan.main/failed",
        "0 mail new: plan.main/failed",
        "25.1 ops repeated: plan.main/failed",
        "25.1 mail repeated: plan.main/failed",
        "25.1 mail escalated: plan.main/failed",
    ]);
}

#[test]
fn a_channel_does_not_hear_that_it_is_broken_itself() {
    let broken = || {
        Condition::new(
            "notify.ops",
            Kind::Channel,
            Severity::Warning,
            None,
            "it does not deliver",
        )
    };
    let mut life = Life::of(vec![listener("ops"), listener("mail")]);
    life.look(0.0, &[broken()]).look(1.0, &[]).look(2.0, &[]);
    life.assert(&[
        "0 mail new: notify.ops/channel",
        "2 mail recovered: notify.ops/channel",
    ]);
}

#[test]
fn the_next_change_is_when_something_is_told() {
    let ops = Listener {
        wait: hours(1),
        escalations: vec![Escalation {
            after: hours(30),
            kinds: BTreeSet::new(),
            all: Vec::new(),
            to: vec![name("oncall")],
        }],
        ..listener("ops")
    };
    let oncall = Listener {
        kinds: BTreeSet::new(),
        repeat: None,
        ..listener("oncall")
    };
    let listeners = vec![ops, oncall];
    let mut life = Life::of(listeners.clone());
    life.look(0.0, &[failed("main")]);
    // Looking at the times that it says, and at no other, everything is told when it is due.
    let mut at = BTreeMap::new();
    for _ in 0..3 {
        let last = at.keys().next_back().copied().unwrap_or(hour(0.0));
        let next = next_change(&life.ledger, last, &listeners).unwrap();
        let hours = next.duration_since(hour(0.0)).as_secs_f64() / 3600.0;
        life.look(hours, &[failed("main")]);
        at.insert(next, ());
    }
    life.assert(&[
        "1 ops new: plan.main/failed",
        "25 ops repeated: plan.main/failed",
        "30 oncall escalated: plan.main/failed",
    ]);
}
