//! What would be in each store in the time to come, if the plans run by their schedules.

use crate::config::PrunedBy;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::kept::{self, Judged};
use crate::kind::Kind;
use crate::name::Name;
use crate::point::Manifest;
use crate::retention::{self, Held};
use crate::schedule::Schedule;
use crate::span::Span;
use crate::survey;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// Most points of a plan that are simulated.
const POINTS_MAX: usize = 500_000;
/// Ages by which points are counted, in days: up to each of these, and older.
const AGES_DAYS: [u64; 5] = [1, 7, 30, 90, 365];
/// Newest points from whose sizes the growth is taken.
const MEASURED: usize = 60;

/// The document of `prune --simulate`.
#[derive(Debug, Clone, Serialize)]
pub struct Simulated {
    /// The time that is looked at.
    pub at: Timestamp,
    /// Each plan in each of its stores.
    pub stores: Vec<SimulatedStore>,
    /// Errors of stores that could not be asked.
    pub errors: Vec<Error>,
}

/// What there would be of a plan in a store.
#[derive(Debug, Clone, Serialize)]
pub struct SimulatedStore {
    /// The store.
    pub store: Name,
    /// The plan.
    pub plan: Name,
    /// Why nothing can be said of it; absent if something can.
    pub unknown: Option<String>,
    /// Points by their age.
    pub ages: Vec<Aged>,
    /// All points.
    pub now: Amount,
    /// All points then.
    pub then: Amount,
}

/// Points of an age.
#[derive(Debug, Clone, Serialize)]
pub struct Aged {
    /// The age up to which they are counted, in seconds, and above that of the row before; absent in
    /// the last.
    pub up_to_seconds: Option<u64>,
    /// How many there are.
    pub now: usize,
    /// How many there would be.
    pub then: usize,
}

/// Points and their bytes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Amount {
    /// How many points.
    pub points: usize,
    /// Their stored bytes; absent where points share what is stored, and where nothing was measured.
    pub bytes: Option<u64>,
}

impl Simulated {
    /// Returns the exit code: partial where a store could not be asked.
    pub fn exit(&self) -> Exit {
        match self.errors.is_empty() {
            true => Exit::Done,
            false => Exit::Partial,
        }
    }
}

/// Says what would be there after `span`.
pub fn simulate(context: &Context, plan: Option<&str>, span: Span) -> Result<Simulated> {
    if let Some(plan) = plan {
        crate::backup::choose_plan(&context.config, Some(plan))?;
    }
    let now = context.clock.now();
    let seconds = i64::try_from(span.seconds).unwrap_or(i64::MAX);
    let at = now.checked_add(SignedDuration::from_secs(seconds));
    let at =
        at.map_err(|error| Error::new(Code::Usage, format!("{span} is too long")).cause(error))?;
    let survey = survey::survey(context, false)?;
    let judged = kept::judge(context, &survey, &kept::proofs(context));
    let mut stores = Vec::new();
    for (name, config) in &context.config.plan {
        if plan.is_some_and(|plan| name != plan) {
            continue;
        }
        for store in &config.stores {
            let here = judged.iter().find(|j| j.store == *store && j.plan == *name);
            stores.push(of_store(context, name, store, here, now, at)?);
        }
    }
    let errors = survey
        .unread
        .into_iter()
        .filter(|unread| unread.point.is_none());
    Ok(Simulated {
        at,
        stores,
        errors: errors.map(|unread| unread.error).collect(),
    })
}

fn of_store(
    context: &Context,
    plan: &Name,
    store: &Name,
    judged: Option<&Judged<'_>>,
    now: Timestamp,
    at: Timestamp,
) -> Result<SimulatedStore> {
    let held: Vec<Held> = judged.map(|judged| judged.held.clone()).unwrap_or_default();
    let manifests: Vec<&Manifest> = judged
        .iter()
        .flat_map(|judged| &judged.copies)
        .map(|copy| copy.manifest.as_ref())
        .collect();
    let growth = Growth::measure(&manifests);
    let config = context.config.plan.get(plan);
    let schedule = config.and_then(|config| config.when.schedule());
    let elsewhere = context.config.store.get(store);
    let elsewhere = elsewhere.is_some_and(|store| store.pruned_by == PrunedBy::Elsewhere);
    let unknown = match (&schedule, elsewhere) {
        (None, _) => Some("the plan has no schedule".to_owned()),
        (Some(_), true) => Some("others delete there (pruned_by)".to_owned()),
        (Some(_), false) => None,
    };
    let then = match (schedule, kept::rules(context, plan, store)) {
        (Some(schedule), Some(rules)) if unknown.is_none() => {
            let times = times(&schedule, plan, now, at)?;
            retention::simulate(held.clone(), &rules, times)
        }
        _ => Vec::new(),
    };
    Ok(SimulatedStore {
        store: store.clone(),
        plan: plan.clone(),
        ages: match unknown {
            None => ages(&held, now, &then, at),
            Some(_) => Vec::new(),
        },
        unknown,
        now: Amount {
            points: held.len(),
            bytes: growth.as_ref().map(|_| {
                let bytes = manifests.iter().map(|manifest| manifest.stored_bytes());
                bytes.sum()
            }),
        },
        then: Amount {
            points: then.len(),
            bytes: growth.map(|growth| growth.of(&then, &manifests)),
        },
    })
}

/// The times of a schedule after `now`, up to `at`.
fn times(
    schedule: &Schedule,
    plan: &Name,
    now: Timestamp,
    at: Timestamp,
) -> Result<Vec<Timestamp>> {
    let mut times = Vec::new();
    let mut last = now;
    while let Some(next) = schedule.next_after(last).filter(|next| *next <= at) {
        if times.len() >= POINTS_MAX {
            let message = format!("plan {plan} takes more than {POINTS_MAX} points by {at}");
            return Err(Error::new(Code::Usage, message).hint("simulate a shorter time"));
        }
        times.push(next);
        last = next;
    }
    Ok(times)
}

fn ages(held: &[Held], now: Timestamp, then: &[Held], at: Timestamp) -> Vec<Aged> {
    let count = |points: &[Held], now: Timestamp, above: u64, up_to: Option<u64>| {
        let ages = points.iter().map(|held| {
            let seconds = now.as_second() - held.point.time().as_second();
            u64::try_from(seconds).unwrap_or(0)
        });
        let fits =
            |age: &u64| (*age > above || above == 0) && up_to.is_none_or(|up_to| *age <= up_to);
        ages.filter(fits).count()
    };
    let mut above = 0;
    let limits = AGES_DAYS.into_iter().map(|days| Some(days * 86_400));
    let rows = limits.chain([None]).map(|up_to| {
        let aged = Aged {
            up_to_seconds: up_to,
            now: count(held, now, above, up_to),
            then: count(then, at, above, up_to),
        };
        above = up_to.unwrap_or(above);
        aged
    });
    rows.collect()
}

/// How the size of a point grows: a line through the newest sizes.
struct Growth {
    /// Bytes at the time `from`.
    bytes: f64,
    /// Bytes by second.
    slope: f64,
    from: f64,
}

impl Growth {
    /// `None` where points share what they store, or there is none.
    fn measure(manifests: &[&Manifest]) -> Option<Growth> {
        let shares = |manifest: &Manifest| {
            let snapshot = manifest.artifacts.iter().any(|a| a.snapshot.is_some());
            snapshot || manifest.sources.iter().any(|s| s.kind.is(Kind::Bucket))
        };
        if manifests.iter().any(|manifest| shares(manifest)) {
            return None;
        }
        let newest = manifests
            .iter()
            .rev()
            .filter(|m| m.lacks().is_none() && !m.safety);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let sizes: Vec<(f64, f64)> = newest
            .take(MEASURED)
            .map(|m| (m.point.time().as_second() as f64, m.stored_bytes() as f64))
            .collect();
        let (from, bytes) = *sizes.first()?;
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let count = sizes.len() as f64;
        let mean = |of: &dyn Fn(&(f64, f64)) -> f64| sizes.iter().map(of).sum::<f64>() / count;
        let (time, size) = (mean(&|(time, _)| *time), mean(&|(_, size)| *size));
        let apart = mean(&|(t, _)| (t - time) * (t - time));
        let together = mean(&|(t, s)| (t - time) * (s - size));
        Some(match apart > 0.0 {
            true => Growth {
                bytes: size,
                slope: together / apart,
                from: time,
            },
            false => Growth {
                bytes,
                slope: 0.0,
                from,
            },
        })
    }

    /// Bytes of points: measured where they are known, and by the line where they are to come.
    fn of(&self, points: &[Held], known: &[&Manifest]) -> u64 {
        let measured: std::collections::BTreeMap<_, _> = known
            .iter()
            .map(|manifest| (&manifest.point, manifest.stored_bytes()))
            .collect();
        let bytes = points.iter().map(|held| {
            measured.get(&held.point).copied().unwrap_or_else(|| {
                #[expect(clippy::cast_precision_loss, reason = "an estimate")]
                let apart = held.point.time().as_second() as f64 - self.from;
                let bytes = (self.bytes + self.slope * apart).max(0.0);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it is not negative, and a cast of a float keeps to the bounds"
                )]
                let bytes = bytes as u64;
                bytes
            })
        });
        bytes.fold(0, u64::saturating_add)
    }
}
