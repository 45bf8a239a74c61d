//! Random lives: whatever goes wrong and ends, and whenever it is looked, what is told keeps to the
//! rules. The rules are checked on the messages alone, by a model that knows nothing of ledgers.

use super::*;
use crate::status::tests::simulator::Dice;

/// A message, as the model sees it.
#[derive(Debug, Clone)]
struct Heard {
    minute: i64,
    channel: String,
    alarm: String,
    event: Event,
    severity: Severity,
    conditions: BTreeSet<String>,
}

struct World {
    heard: Vec<Heard>,
    /// What was wrong at each look.
    looks: Vec<(i64, Vec<Condition>)>,
}

fn minute(minute: i64) -> Timestamp {
    hour(0.0) + SignedDuration::from_mins(minute)
}

/// What may go wrong: three things with one cause, and two with their own.
fn faults() -> Vec<Condition> {
    vec![
        down("a"),
        overdue("p", Some("a")),
        overdue("q", Some("a")),
        failed("r"),
        overdue("r", None),
    ]
}

fn channels() -> Vec<Listener> {
    let pager = Listener {
        severity: Severity::Error,
        wait: hours(1),
        repeat: None,
        ..listener("pager")
    };
    vec![listener("ops"), pager]
}

fn live(seed: u64) -> World {
    let mut dice = Dice(seed);
    let mut wrong = vec![false; faults().len()];
    let (mut ledger, mut now) = (Ledger::default(), 0);
    let mut world = World {
        heard: Vec::new(),
        looks: Vec::new(),
    };
    for _ in 0..300 {
        now += 5 + i64::try_from(dice.below(90)).unwrap();
        for one in &mut wrong {
            if dice.below(12) == 0 {
                *one = !*one;
            }
        }
        let found = faults().into_iter().zip(&wrong);
        let found: Vec<Condition> = found.filter(|(_, wrong)| **wrong).map(|(c, _)| c).collect();
        let at = minute(now);
        let (next, outgoing) = step(&ledger, &found, Known::All, at, &whose(), &channels());
        ledger = next;
        world.heard.extend(outgoing.into_iter().map(|out| Heard {
            minute: now,
            channel: out.channel.to_string(),
            alarm: out.message.alarm,
            event: out.message.event,
            severity: out.message.severity,
            conditions: out.message.items.into_iter().map(|i| i.condition).collect(),
        }));
        world.looks.push((now, found));
    }
    world
}

/// The messages to a channel about an alarm, from its first to its end, one list for each time.
fn episodes<'h>(heard: &'h [Heard], channel: &str) -> Vec<Vec<&'h Heard>> {
    let mut open: BTreeMap<&str, Vec<&Heard>> = BTreeMap::new();
    let mut over = Vec::new();
    for one in heard.iter().filter(|heard| heard.channel == channel) {
        open.entry(&one.alarm).or_default().push(one);
        if one.event == Event::Recovered {
            over.extend(open.remove(one.alarm.as_str()));
        }
    }
    over.extend(open.into_values());
    over
}

#[test]
fn what_is_told_keeps_to_the_rules() {
    let mut told = 0;
    for seed in 0..200 {
        let world = live(seed);
        told += world.heard.len();
        for channel in channels() {
            for episode in episodes(&world.heard, channel.name.as_str()) {
                let [first, rest @ ..] = episode.as_slice() else {
                    panic!("an empty episode");
                };
                assert_eq!(first.event, Event::New, "seed {seed}: {episode:#?}");
                let mut last = *first;
                let mut gravest = first.severity;
                for next in rest {
                    let apart = next.minute - last.minute;
                    match next.event {
                        // Told anew only because it is graver.
                        Event::New => assert!(next.severity > gravest, "seed {seed}: {episode:#?}"),
                        Event::Repeated => {
                            let repeat = channel.repeat.expect("it never repeats").seconds;
                            assert!(apart >= i64::try_from(repeat / 60).unwrap(), "seed {seed}");
                        }
                        Event::Recovered => {}
                        Event::Escalated | Event::Test | Event::Report => {
                            panic!("seed {seed}: {next:?}")
                        }
                    }
                    gravest = gravest.max(next.severity);
                    last = next;
                }
            }
            // What held for longer than the wait, at two looks, was told at the second or before.
            for (look, pair) in world.looks.windows(2).enumerate() {
                let [(before, was), (now, is)] = pair else {
                    unreachable!("windows of two");
                };
                let wait = i64::try_from(channel.wait.seconds / 60).unwrap();
                let held = is
                    .iter()
                    .filter(|c| was.contains(c) && channel.severity <= c.severity);
                for condition in held.filter(|_| now - before >= wait) {
                    let episodes = episodes(&world.heard, channel.name.as_str());
                    let is_open = episodes.iter().any(|episode| {
                        let begun = episode[0].minute <= *now;
                        let end = episode.last().filter(|last| last.event == Event::Recovered);
                        let open = end.is_none_or(|end| end.minute > *now);
                        begun && open && is_of(episode, condition)
                    });
                    assert!(
                        is_open,
                        "seed {seed}, look {look}, {channel:?}: {condition:?}"
                    );
                }
            }
        }
    }
    assert!(told > 5000, "{told}");
}

/// Returns whether an episode is about the alarm that a condition may be in.
fn is_of(episode: &[&Heard], condition: &Condition) -> bool {
    let causes = [&condition.cause, &condition.subject];
    let of_cause = causes
        .iter()
        .any(|cause| episode[0].alarm.ends_with(&format!("/{cause}")));
    let named = episode.iter().any(|heard| {
        let mut conditions = heard.conditions.iter();
        conditions.any(|id| id.ends_with(&condition.id()))
    });
    of_cause || named
}
