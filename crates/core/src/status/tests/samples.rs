//! Statuses for tests.

use crate::name::Name;
use crate::status::{Freshness, PlanStatus, Status};
use std::collections::BTreeMap;

/// A plan of which nothing is known.
pub(crate) fn plan(name: &'static str) -> PlanStatus {
    PlanStatus {
        prune_failing: None,
        destinations: Vec::new(),
        due_since: None,
        missing_since: BTreeMap::new(),
        plan: Name::own(name),
        point: None,
        unchanged_at: None,
        age_seconds: None,
        limit_seconds: None,
        limit_of: None,
        freshness: Freshness::Unlimited,
        usual_seconds: None,
        longest_seconds: None,
        stores: Vec::new(),
        missing_copies: BTreeMap::new(),
        lost_copies: BTreeMap::new(),
        uncopied: Vec::new(),
        failing: None,
        proof: None,
        proved_at: None,
        anomalies: Vec::new(),
        anomalies_unlisted: 0,
        compared: None,
        next: None,
    }
}

/// An application of which nothing is known.
pub(crate) fn status() -> Status {
    Status {
        points_ahead: Vec::new(),
        restore: None,
        open_restores: Vec::new(),
        app: Name::own("crm"),
        environment: Name::own("production"),
        at: "2026-11-20T07:00:00Z".parse().unwrap(),
        rpo_target_seconds: None,
        rto_target_seconds: None,
        plans: Vec::new(),
        drills: Vec::new(),
        verifications: Vec::new(),
        reports: Vec::new(),
        stores: Vec::new(),
        running: Vec::new(),
    }
}
