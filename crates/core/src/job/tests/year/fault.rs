//! What goes wrong in a life, and what people do in it: a list that follows from a seed, and that can
//! be shortened.

use super::system::System;
use crate::status::tests::simulator::Dice;

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
/// Most days at the end in which nothing goes wrong, so that everything must come to rest.
const QUIET_DAYS_MAX: i64 = 12;

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Seconds from the beginning.
    pub(super) at: i64,
    /// Seconds that it lasts; 0 for what happens at once.
    pub(super) lasts: i64,
    pub(super) what: What,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// A host is down.
    Down(usize),
    /// The process of a host is killed.
    Kill(usize),
    /// The process of a host is killed within its next job, after so many changes of stores.
    KillAfter(usize, i64),
    /// The clock of a host is wrong by seconds.
    Clock(usize, i64),
    /// The signing key of a host is replaced.
    NewKey(usize),
    /// The catalog of a host is lost.
    NoCatalog(usize),
    /// All of a host's state but its key is lost.
    NoState(usize),
    Away(usize),
    Denied(usize),
    Full(usize),
    /// What the store is given is stored with a byte changed.
    Lies(usize),
    /// Somebody deletes a point that a store holds.
    Loses(usize),
    /// A stored object rots.
    Rots(usize),
    /// Everything takes much longer.
    Slow,
    SourceFails(usize),
    SourceShrinks(usize),
    /// A channel takes nothing.
    ChannelDown,
    /// The operator changes the configuration.
    Changed,
    /// The operator acknowledges the oldest alarm, and forgets it.
    Acknowledge,
    /// The operator takes a point by hand, with a reason.
    Manual,
    /// The operator takes a point by hand, without one.
    Called,
    /// The operator pins the newest point.
    Pin,
    /// The operator makes room, while backups fail.
    Prune,
    /// The operator does what only a person can: forgets what is lost, and heals what is damaged.
    Mend,
}

/// The list of a life of so many days.
pub(super) fn faults(system: &System, seed: u64, days: i64) -> Vec<Fault> {
    let mut dice = Dice(seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(7));
    let mut faults = Vec::new();
    let quiet = QUIET_DAYS_MAX.min(days / 2);
    let troubled = (days - quiet).max(1);
    // A quiet life and a hard one are both worth living.
    let per_month = 4 + dice.below(24);
    let count = u64::try_from(troubled).unwrap_or(1) * per_month / 30;
    for _ in 0..count {
        let at = seconds(&mut dice, troubled * DAY);
        let (what, lasts) = one(system, &mut dice);
        let lasts = lasts.min((troubled * DAY - at).max(0));
        faults.push(Fault { at, lasts, what });
    }
    // A person looks a day and a half after what needs one.
    let needs = faults.iter().filter(|fault| {
        matches!(
            fault.what,
            What::Loses(_) | What::Rots(_) | What::Lies(_) | What::Clock(..)
        )
    });
    let mends = needs.map(|fault| fault.at + fault.lasts + 36 * HOUR);
    // A person makes room after days in which nothing was backed up.
    let fail = faults.iter().filter(|fault| {
        let long = fault.lasts >= 2 * DAY;
        long && matches!(fault.what, What::SourceFails(_) | What::SourceShrinks(_))
    });
    let prunes: Vec<Fault> = fail
        .map(|fault| Fault {
            at: fault.at + fault.lasts - HOUR,
            lasts: 0,
            what: What::Prune,
        })
        .collect();
    let last = (1..=6).map(|part| troubled * DAY + part * quiet * DAY / 8);
    let mends: Vec<i64> = mends.chain(last).collect();
    faults.extend(mends.into_iter().map(|at| Fault {
        at,
        lasts: 0,
        what: What::Mend,
    }));
    faults.extend(prunes);
    faults.sort_by_key(|fault| fault.at);
    faults
}

fn seconds(dice: &mut Dice, below: i64) -> i64 {
    let below = u64::try_from(below).unwrap_or(1).max(1);
    i64::try_from(dice.below(below)).unwrap_or(0)
}

fn index(dice: &mut Dice, of: usize) -> usize {
    usize::try_from(dice.below(of as u64)).unwrap_or(0)
}

fn one(system: &System, dice: &mut Dice) -> (What, i64) {
    let host = index(dice, system.hosts);
    let store = index(dice, system.stores.len());
    let source = index(dice, system.sources.len());
    // Minutes are common, days are not.
    let short = 60 + seconds(dice, 3 * HOUR);
    let long = match dice.below(4) {
        0 => seconds(dice, 9 * DAY),
        1 => seconds(dice, 2 * DAY),
        _ => short,
    };
    match dice.below(34) {
        0..3 => (What::Down(host), long),
        3..5 => (What::Kill(host), 0),
        5..9 => (What::KillAfter(host, seconds(dice, 12)), 0),
        9 => (What::Clock(host, jump(dice)), long.min(DAY)),
        10 => (What::NewKey(host), 0),
        11 => (What::NoCatalog(host), 0),
        12 => (What::NoState(host), 0),
        13..17 => (What::Away(store), long),
        17 => (What::Denied(store), long),
        18..20 => (What::Full(store), long),
        20 => (What::Lies(store), long.min(DAY)),
        21 => (What::Loses(store), 0),
        22 => (What::Rots(store), 0),
        23 => (What::Slow, long),
        24..26 => (What::SourceFails(source), long),
        26 => (What::SourceShrinks(source), long.max(DAY)),
        27 => (What::ChannelDown, long.min(2 * DAY)),
        28 => (What::Changed, 0),
        29 => (What::Acknowledge, 0),
        30 => (What::Manual, 0),
        31..33 => (What::Called, 0),
        _ => (What::Pin, 0),
    }
}

fn jump(dice: &mut Dice) -> i64 {
    match dice.below(4) {
        0 => -(HOUR + seconds(dice, DAY)),
        1 => HOUR + seconds(dice, 40 * DAY),
        2 => -seconds(dice, 600),
        _ => seconds(dice, 600),
    }
}
