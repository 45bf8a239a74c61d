//! A year of operation, lived in seconds: the five systems, with everything that goes wrong, against a
//! model that knows what must be so.
//!
//! The jobs are the real ones, and so are the decisions; only the stores, the sources and the clock are
//! simulated. A life follows from its seed. One that fails is shortened to the fewest things that have
//! to go wrong for it, and prints its diary.
//!
//! Not lived here: timeouts, jobs side by side, pings and reports, real networks.
//! What [`super::super::turn`] does is done by `host`, since that waits for real time.

#![expect(
    clippy::disallowed_methods,
    reason = "what a simulated world writes need not last"
)]

mod diary;
mod end;
mod fault;
mod host;
mod model;
mod place;
mod real;
mod stay;
mod system;
mod told;
mod world;

use fault::{Fault, faults};
use jiff::Timestamp;
use real::Servers;
use std::collections::BTreeMap;
use std::io::Write;
use std::rc::Rc;
use std::time::Instant;
use system::{Ground, SYSTEMS, System};
use world::World;

/// How a life went.
struct Lived {
    problem: Option<(Timestamp, String)>,
    counts: BTreeMap<&'static str, u64>,
    diary: String,
}

/// The system of a seed.
fn system_of(seed: u64) -> System {
    let count = SYSTEMS.len() as u64;
    SYSTEMS[usize::try_from(seed % count).unwrap_or(0)]
}

fn live(ground: &Ground, system: System, seed: u64, days: i64, faults: &[Fault]) -> Lived {
    let world: Rc<World> = World::new(ground.clone(), system, seed, days, faults);
    world.live();
    let model = world.model.borrow();
    Lived {
        problem: model.problem().cloned(),
        counts: model.counts.clone(),
        diary: world.diary.borrow().since(Timestamp::MIN),
    }
}

/// Lives a seed, and panics with the shortest life that fails in the same way.
fn must_live(ground: &Ground, seed: u64, days: i64) -> Lived {
    let system = system_of(seed);
    let all = faults(&system, seed, days);
    let lived = live(ground, system, seed, days, &all);
    let Some((at, text)) = &lived.problem else {
        return lived;
    };
    let mut left = all;
    // What comes after it has no part in it.
    let begin = lived_seconds(*at);
    left.retain(|fault| fault.at <= begin);
    let (mut at, mut text, mut diary) = (*at, text.clone(), lived.diary.clone());
    let mut number = 0;
    while number < left.len() && std::env::var_os("LIFEBOAT_YEAR_WHOLE").is_none() {
        let mut fewer = left.clone();
        fewer.remove(number);
        let again = live(ground, system, seed, days, &fewer);
        match again.problem {
            Some((when, what)) if kind_of(&what) == kind_of(&text) => {
                (left, at, text, diary) = (fewer, when, what, again.diary);
                let until = lived_seconds(at);
                left.retain(|fault| fault.at <= until);
            }
            _ => number += 1,
        }
    }
    panic!(
        "seed {seed} ({}): at {at}: {text}\nwith {left:#?}\n{diary}",
        system.name
    );
}

fn lived_seconds(at: Timestamp) -> i64 {
    at.as_second() - world::begin().as_second()
}

/// A problem without its times and numbers.
fn kind_of(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c == '/');
    let words = words.filter(|word| !word.chars().any(|c| c.is_ascii_digit()));
    words.collect::<Vec<_>>().join(" ")
}

fn number(name: &str, otherwise: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(otherwise, |value| value.parse().expect(name))
}

/// Lives of a system: `LIFEBOAT_YEARS` seeds from `LIFEBOAT_YEAR_FROM` on, each for
/// `LIFEBOAT_YEAR_DAYS` days, or for 400 if that is 0. Says what happened in each where
/// `LIFEBOAT_YEAR_DIARY` is set.
fn lives(ground: &Ground, name: &str, lives: u64) {
    let system = SYSTEMS.iter().find(|system| system.name == name);
    let few = system.expect("a system").few_days;
    lives_of(ground, name, lives, few);
}

/// The same, for so many days unless the environment says otherwise.
fn lives_of(ground: &Ground, name: &str, lives: u64, few_days: i64) {
    let count = SYSTEMS.len() as u64;
    let place = SYSTEMS.iter().position(|system| system.name == name);
    let place = place.expect("a system") as u64;
    let from = number("LIFEBOAT_YEAR_FROM", 0);
    for number_of in from..from + number("LIFEBOAT_YEARS", lives) {
        let seed = number_of * count + place;
        let system = system_of(seed);
        let few = u64::try_from(few_days).expect("days");
        let days = match i64::try_from(number("LIFEBOAT_YEAR_DAYS", few)).expect("days") {
            0 => system.days,
            days => days,
        };
        let begun = Instant::now();
        let lived = must_live(ground, seed, days);
        let (took, counts) = (begun.elapsed().as_secs_f64(), &lived.counts);
        let diary = std::env::var_os("LIFEBOAT_YEAR_DIARY").map(|_| lived.diary);
        let (text, mut output) = (diary.unwrap_or_default(), std::io::stderr());
        writeln!(
            output,
            "seed {seed} {name}: {days} days in {took:.1} s: {counts:?}\n{text}"
        )
        .expect("standard error");
    }
}

#[test]
fn the_helpdesk_lives() {
    lives(&Ground::Memory, "helpdesk", 3);
}

#[test]
fn the_vault_lives() {
    lives(&Ground::Memory, "vault", 3);
}

#[test]
fn the_crm_lives() {
    lives(&Ground::Memory, "crm", 3);
}

#[test]
fn the_bot_lives() {
    lives(&Ground::Memory, "bot", 3);
}

#[test]
fn the_finance_system_lives() {
    lives(&Ground::Memory, "finance", 3);
}

/// The same with directories as stores, and a SQLite database, files and a command as sources.
#[test]
fn systems_live_with_real_stores_and_sources() {
    for system in SYSTEMS {
        lives(&Ground::Real, system.name, 1);
    }
}

/// The same with databases of PostgreSQL and MariaDB, for a week.
#[test]
fn a_system_lives_a_week_with_servers() {
    let ground = Ground::Servers(Servers::start());
    let all = std::env::var_os("LIFEBOAT_YEARS").is_some();
    for system in SYSTEMS.iter().filter(|system| all || system.name == "bot") {
        lives_of(&ground, system.name, 1, 7);
    }
}
