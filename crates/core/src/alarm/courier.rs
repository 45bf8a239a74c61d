//! Delivers the messages that wait.
//!
//! Each channel has a thread of its own, so that one that hangs holds up no other. A message that a
//! process delivered and did not note, since it was killed, is delivered again, with the same identity.

use super::outbox::{Attempt, Outbox, Waiting};
use crate::cancel;
use crate::clock::Clock;
use crate::error::Result;
use crate::name::Name;
use crate::notify::Message;
use crate::thread;
use std::collections::BTreeMap;

/// Sends a message through a channel of this name and configuration, within bounds.
pub type Send<'a, C> = dyn Fn(&Name, &C, &Message) -> Attempt + Sync + 'a;

/// Tries each message that is to be tried now, once. Returns the first error of the outbox itself;
/// what the channels answer is noted there.
pub fn deliver<C: Sync>(
    outbox: &Outbox,
    channels: &BTreeMap<Name, C>,
    clock: &Clock,
    send: &Send<'_, C>,
) -> Result<()> {
    let mut queues = Vec::new();
    for (name, queue) in outbox.due(clock.now())? {
        match channels.get(&name) {
            Some(channel) => queues.push((channel, queue)),
            None => outbox.drop_channel(&name, clock.now())?,
        }
    }
    std::thread::scope(|scope| {
        let threads = queues.into_iter().map(|(channel, queue)| {
            let work = move || deliver_queue(outbox, channel, queue, clock, send);
            thread::start_in(scope, work)
        });
        let threads: Vec<_> = threads.collect();
        let ended = threads.into_iter().map(|started| match started?.join() {
            Ok(done) => done,
            // What panicked is tried again in the next round.
            Err(_) => Ok(()),
        });
        ended.collect()
    })
}

/// Delivers the messages of one channel in their order. Where it does not answer, the rest waits, so
/// that it never hears that something is over before it heard of it.
fn deliver_queue<C>(
    outbox: &Outbox,
    channel: &C,
    queue: Vec<Waiting>,
    clock: &Clock,
    send: &Send<'_, C>,
) -> Result<()> {
    for waiting in queue {
        cancel::check()?;
        let attempt = send(&waiting.channel, channel, &waiting.message);
        outbox.note(&waiting, &attempt, clock.now())?;
        if let Attempt::Later(..) = attempt {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::tests::outgoing;
    use jiff::Timestamp;
    use std::sync::Mutex;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn each_channel_hears_in_order_and_one_that_does_not_answer_holds_up_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-11-20T06:00:00Z".parse().unwrap();
        let clock = Clock::fixed(now);
        let (app, environment) = (name("crm"), name("production"));
        let outbox = Outbox::open(directory.path(), &app, &environment, |_| ()).unwrap();
        let told = [
            "silent a-1",
            "silent a-2",
            "picky b-1",
            "picky b-2",
            "well c-1",
            "gone d-1",
        ];
        outbox
            .step(now, |ledger| {
                let told = told.iter().map(|told| {
                    let (channel, id) = told.split_once(' ').unwrap();
                    outgoing(channel, id)
                });
                (ledger.clone(), told.collect())
            })
            .unwrap();
        let heard = Mutex::new(Vec::new());
        let send = |channel: &Name, (): &(), message: &Message| {
            heard
                .lock()
                .unwrap()
                .push(format!("{channel} {}", message.id));
            match (channel.as_str(), message.id.as_str()) {
                ("silent", _) => Attempt::Later(None, "it hangs".into()),
                ("picky", "b-1") => Attempt::Refused("it is odd".into()),
                _ => Attempt::Delivered,
            }
        };
        let channels = ["silent", "picky", "well"].map(|of| (name(of), ()));
        let channels = BTreeMap::from(channels);
        let round = || {
            deliver(&outbox, &channels, &clock, &send).unwrap();
            let mut heard = std::mem::take(&mut *heard.lock().unwrap());
            heard.sort();
            heard
        };
        assert_eq!(
            round(),
            ["picky b-1", "picky b-2", "silent a-1", "well c-1"]
        );
        assert_eq!(round(), [""; 0], "a-2 does not overtake a-1");
        clock.wait(std::time::Duration::from_secs(61)).unwrap();
        assert_eq!(round(), ["silent a-1"]);
        assert_eq!(round(), [""; 0]);
    }
}
