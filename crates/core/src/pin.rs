//! Pins a point, so that no rule deletes it, or takes the pin off.
//!
//! What is said stands as a signed note in every store that answers, so that every host and an empty
//! state know it. A point that is leaving stays once it is pinned, as long as its manifest is still
//! there.

use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::fetch;
use crate::marks::{DOUBTFUL, Pin};
use crate::name::Name;
use crate::point::{OnlyPartial, PointId, Selector};
use crate::survey::{self, Survey};
use serde::Serialize;

/// The document of `pin` and `unpin`.
#[derive(Debug, Clone, Serialize)]
pub struct Pinned {
    /// The point.
    pub point: PointId,
    /// True if it is pinned now.
    pub pinned: bool,
    /// The reason.
    pub reason: String,
    /// The stores that were told.
    pub stores: Vec<Name>,
    /// Stores that it was leaving, and stays in.
    pub was_leaving: Vec<Name>,
    /// Stores that could not be told.
    pub errors: Vec<Error>,
}

impl Pinned {
    /// Returns the exit code: partial where a store could not be told.
    pub fn exit(&self) -> Exit {
        match self.errors.is_empty() {
            true => Exit::Done,
            false => Exit::Partial,
        }
    }
}

/// Pins a point, for a reason. Fails if no store could be told, and if the point was deleted
/// meanwhile.
pub fn pin(context: &Context, selector: &Selector, reason: &str) -> Result<Pinned> {
    check_reason(reason)?;
    let before = survey::survey(context, false)?;
    let point = fetch::choose_in(context, &before, selector, &[], None, OnlyPartial::Take)?;
    let mut pinned = say(context, &before, &point, true, reason)?;
    let after = survey::survey(context, false)?;
    let holders = |survey: &Survey| -> Vec<Name> {
        let copies = survey.copies.iter();
        let of_point = copies.filter(|(_, copy)| copy.manifest.point == point);
        of_point.map(|(store, _)| store.clone()).collect()
    };
    if holders(&after).is_empty() {
        let message = format!("point {point} was deleted while it was pinned");
        return Err(
            Error::new(Code::PointUnknown, message).hint("see what is there: lifeboat points")
        );
    }
    let still = holders(&after);
    for store in holders(&before) {
        if !still.contains(&store) {
            let message = format!("store {store} deleted its copy of {point} while it was pinned");
            let hint = format!("give it back: lifeboat copy {point} --to {store}");
            pinned
                .errors
                .push(Error::new(Code::ObjectMissing, message).hint(hint));
        }
    }
    let leaving = before.copies.iter().filter(|(store, copy)| {
        let left = before.leaving(store, copy).is_some();
        copy.manifest.point == point && left && still.contains(store)
    });
    pinned.was_leaving = leaving.map(|(store, _)| store.clone()).collect();
    Ok(pinned)
}

/// Takes the pin off a point. Fails if it is not pinned, and if no store could be told.
pub fn unpin(context: &Context, selector: &Selector, reason: &str) -> Result<Pinned> {
    check_reason(reason)?;
    let survey = survey::survey(context, false)?;
    let point = fetch::choose_in(context, &survey, selector, &[], None, OnlyPartial::Take)?;
    match survey.pinned(&point) {
        Some(DOUBTFUL) => {
            let errors = survey.marks.values().flat_map(|marks| &marks.errors);
            let cause = errors.map(ToString::to_string).next().unwrap_or_default();
            let message = format!("point {point} has a pin that cannot be checked");
            Err(Error::new(Code::Untrusted, message).cause(cause).hint(
                "believe its signer (app.trusted_signers), or remove that object from the store",
            ))
        }
        Some(_) => say(context, &survey, &point, false, reason),
        None => {
            let message = format!("point {point} is not pinned");
            Err(Error::new(Code::Usage, message).hint("see which are: lifeboat points"))
        }
    }
}

fn check_reason(reason: &str) -> Result<()> {
    match reason.trim().is_empty() {
        false => Ok(()),
        true => Err(Error::new(Code::Usage, "a pin needs a reason")
            .hint("add --reason TEXT; it stands in the store beside the point")),
    }
}

fn say(
    context: &Context,
    survey: &Survey,
    point: &PointId,
    pinned: bool,
    reason: &str,
) -> Result<Pinned> {
    let before = survey.last_pin(point).map(|pin| pin.header.at);
    let mark = Pin::new(context, point, pinned, reason, before);
    let (mut stores, mut errors) = (Vec::new(), Vec::new());
    for name in context.config.store.keys() {
        let told = match survey.unasked(name) {
            Some(error) => Err(error.clone()),
            None => context
                .stores
                .open(name)
                .and_then(|store| mark.put(context, &store)),
        };
        match told {
            Ok(()) => stores.push(name.clone()),
            Err(error) => {
                let message = format!("store {name} does not know of it: {}", error.message);
                errors.push(Error { message, ..error });
            }
        }
    }
    match errors.first() {
        Some(error) if stores.is_empty() => Err(error.clone()),
        _ => Ok(Pinned {
            point: point.clone(),
            pinned,
            reason: reason.to_owned(),
            stores,
            was_leaving: Vec::new(),
            errors,
        }),
    }
}
