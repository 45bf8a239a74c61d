//! What is known of an application, what follows from it, and what is due.
//!
//! [`Facts`] are gathered from the stores, the evidence and the job history. Everything else is a
//! pure function of them: [`judge`] computes every age and verdict, and [`agenda`] what is due. No
//! other module computes one of its own.

mod aged;
mod cover;
mod due;
mod facts;
mod failing;
mod gap;
mod heal;
mod judge;
mod limit;
mod metrics;
mod overdue;
mod prunes;
mod silence;

pub use cover::{Covered, Gate, gate};
pub use due::{Agenda, Due, Terms, agenda};
pub use facts::{
    Check, DrillFacts, Facts, PlanFacts, Point, Proved, ReportFacts, StoreFacts, Uncopied,
    VerifyFacts, current_at, gather, gather_measured, unchanged, unchanged_here,
};
pub use judge::{
    DamagedCopy, DrillStanding, DrillStatus, Freshness, LastJob, LastRestore, OpenRestore,
    PlanStatus, ReportStatus, Running, Status, StoreStatus, VerifyStatus, judge,
};
pub use limit::{Limit, LimitOf};
pub use metrics::{Form, Metric, MetricKind, Metrics, Sample, metrics};
pub use overdue::overdue;
pub use silence::{Silence, longest_silence};

#[cfg(test)]
pub(crate) mod tests;

/// The value in the middle; of an even number of values, the larger of the two.
fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}
