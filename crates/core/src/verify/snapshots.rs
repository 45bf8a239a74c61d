//! Snapshots that somebody else keeps, when a point is verified.

use super::Soundness;
use crate::context::Context;
use crate::machines::{Keepers, Named};
use crate::name::Name;
use crate::point::External;
use crate::source::machine::{Snapshot, State};
use serde::{Serialize, Serializer};

/// A snapshot that somebody else keeps. Its bytes are not read.
#[derive(Debug, Clone, Serialize)]
pub struct VerifiedSnapshot {
    /// The source.
    pub source: Name,
    /// Its name.
    pub name: String,
    /// The region that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What its keeper says: intact means available and of the machine, and is called so.
    #[serde(serialize_with = "said")]
    pub outcome: Soundness,
    /// True if it was given up by `keep_at_source`; then it counts for nothing.
    pub released: bool,
    /// The fault, if there is one.
    pub detail: Option<String>,
}

/// Nothing of it was read, so that nothing is known to be intact.
fn said<S: Serializer>(outcome: &Soundness, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match outcome {
        Soundness::Intact => "available",
        other => other.as_str(),
    })
}

impl VerifiedSnapshot {
    /// Asks the keepers of a snapshot and of its copies for them.
    pub(super) fn of(context: &Context, named: &Named, keepers: &mut Keepers) -> Vec<Self> {
        let all = named.external.everywhere();
        all.map(|one| VerifiedSnapshot::one(context, named, one, keepers))
            .collect()
    }

    fn one(
        context: &Context,
        named: &Named,
        external: &External,
        keepers: &mut Keepers,
    ) -> VerifiedSnapshot {
        let keeper = keepers.of(&context.config, &named.source, external.region.as_deref());
        let (outcome, detail) = match keeper.map(|keeper| &keeper.there) {
            None => (
                Soundness::Unread,
                Some("the machine is not configured here".to_owned()),
            ),
            Some(Err(error)) => (Soundness::Unread, Some(error.with_hint())),
            Some(Ok(all)) => match all.iter().find(|snapshot| snapshot.id == external.id) {
                None => (
                    Soundness::Missing,
                    Some("it is not there any more".to_owned()),
                ),
                Some(snapshot) => judge(snapshot, external),
            },
        };
        VerifiedSnapshot {
            source: named.source.clone(),
            name: external.name.clone(),
            region: external.region.clone(),
            released: outcome == Soundness::Missing && !named.stays,
            outcome,
            detail,
        }
    }
}

/// Compares what a keeper says of a snapshot with what it said when it was taken.
fn judge(snapshot: &Snapshot, external: &External) -> (Soundness, Option<String>) {
    let differs = |what: &str, was: &str, is: &str| {
        let text = format!("its {what} was {was}, and is {is} now");
        (Soundness::Damaged, Some(text))
    };
    match &snapshot.state {
        State::Pending => {
            return (
                Soundness::Unread,
                Some("it is not available now".to_owned()),
            );
        }
        State::Broken(why) => return (Soundness::Damaged, Some(why.clone())),
        State::Ready => {}
    }
    match &snapshot.machine {
        Some(machine) if *machine != external.machine => {
            return differs("machine", &external.machine, machine);
        }
        _ => {}
    }
    match (external.created, snapshot.created) {
        (Some(was), Some(is)) if was != is => differs("time", &was.to_string(), &is.to_string()),
        _ => (Soundness::Intact, None),
    }
}
