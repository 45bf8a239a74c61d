//! The gate: whether each source of each scheduled plan was proved to come back. Pure.

use super::facts::Facts;
use crate::clock::is_ahead;
use crate::exit::Exit;
use crate::name::Name;
use crate::point::PointId;
use crate::span::Span;
use jiff::Timestamp;
use serde::Serialize;

/// The document of `gate`.
#[derive(Debug, Clone, Serialize)]
pub struct Gate {
    /// True if every source is covered.
    pub open: bool,
    /// Each source of each plan that was looked at.
    pub sources: Vec<Covered>,
}

/// A source of a plan, and the newest record in which it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Covered {
    /// The plan.
    pub plan: Name,
    /// The source.
    pub source: Name,
    /// True if that record is young enough.
    pub covered: bool,
    /// True if the source was compared in it; a machine only came back.
    pub compared: bool,
    /// The record.
    pub evidence: Option<PointId>,
    /// When it was made.
    pub at: Option<Timestamp>,
    /// Seconds since then.
    pub age_seconds: Option<u64>,
    /// Seconds that this may reach.
    pub max_age_seconds: u64,
}

impl Gate {
    /// Returns the exit code of `gate`.
    pub fn exit(&self) -> Exit {
        match self.open {
            true => Exit::Done,
            false => Exit::Overdue,
        }
    }
}

/// Looks for each source of each scheduled plan, or of the plan that is named, in the verified
/// records. It must be younger than the smallest `max_age` of the drills of its plan, or else than
/// `max_age`. Nothing is covered where there is no plan to look at.
pub fn gate(facts: &Facts, plan: Option<&str>, max_age: Span) -> Gate {
    let chosen = facts.plans.iter().filter(|known| match plan {
        Some(plan) => known.name == plan,
        None => known.when.schedule.is_some(),
    });
    let mut sources = Vec::new();
    for plan in chosen {
        let drills = facts
            .drills
            .iter()
            .filter(|drill| drill.plans.contains(&plan.name));
        let own = drills.filter_map(|drill| drill.max_age).min();
        let max = own.unwrap_or(max_age).seconds;
        for source in &plan.sources {
            let wanted = (plan.name.clone(), source.clone());
            let newest = facts.records.iter().rev().find(|record| {
                record.is_whole()
                    && record.sources.contains(&wanted)
                    && !is_ahead(record.finished, facts.now)
            });
            let age = newest.map(|record| {
                let seconds = facts.now.as_second() - record.finished.as_second();
                u64::try_from(seconds).unwrap_or(0)
            });
            sources.push(Covered {
                plan: plan.name.clone(),
                source: source.clone(),
                covered: age.is_some_and(|age| age <= max),
                compared: newest.is_some_and(|record| !record.uncompared.contains(source)),
                evidence: newest.map(|record| record.id.clone()),
                at: newest.map(|record| record.finished),
                age_seconds: age,
                max_age_seconds: max,
            });
        }
    }
    Gate {
        open: !sources.is_empty() && sources.iter().all(|source| source.covered),
        sources,
    }
}
