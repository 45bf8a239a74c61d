//! Copies that a store should hold and does not.

use super::{Soundness, VerifiedObject, verdict};
use crate::context::Context;
use crate::copies::PointCopy;
use crate::lease;
use crate::name::Name;
use crate::point::{PointId, manifest_key};
use crate::survey::Survey;

/// What became of a copy that was not there when the stores were asked.
pub(super) enum Came {
    Not,
    Committed(Box<PointCopy>),
    /// A backup that took the point is still at work.
    OnItsWay,
}

/// Looks whether a copy of the newest point of a plan is there after all: the stores are asked one
/// after the other, and a backup may have been committing it meanwhile.
pub(super) fn came_since(
    context: &Context,
    survey: &Survey,
    store: &Name,
    point: &PointId,
) -> Came {
    let copies = || survey.copies.iter().map(|(store, copy)| (store, copy));
    let Some((_, known)) = copies().find(|(_, copy)| copy.manifest.point == *point) else {
        return Came::Not;
    };
    let plan = &known.manifest.plan;
    let newest = copies().filter(|(_, copy)| copy.manifest.plan == *plan);
    if newest.map(|(_, copy)| &copy.manifest.point).max() != Some(point) {
        return Came::Not;
    }
    let is_leased = |store: &Name| {
        let store = context.stores.open(store);
        store.is_ok_and(|store| lease::is_held(context, &store, plan))
    };
    let mut holders = copies().filter(|(_, copy)| copy.manifest.point == *point);
    if holders.any(|(store, _)| is_leased(store)) || is_leased(store) {
        return Came::OnItsWay;
    }
    let opened = context.stores.open(store);
    let read = opened.and_then(|opened| crate::copies::read(&opened, point));
    read.map_or(Came::Not, |copy| Came::Committed(Box::new(copy)))
}

/// A copy that a store should have and does not.
pub(super) fn absent_copy(survey: &Survey, store: &Name, point: &PointId) -> VerifiedObject {
    let mut lost = survey.missing.iter();
    let lost = lost.find(|lost| &lost.store == store && &lost.copy.manifest.point == point);
    let mut unread = survey.unread.iter();
    let unread =
        unread.find(|u| &u.store == store && u.point.as_ref().is_none_or(|unread| unread == point));
    let (outcome, detail) = match (lost, unread) {
        (None, Some(unread)) => verdict(&unread.error),
        (lost, _) => {
            let outcome = match lost.is_some_and(|lost| lost.found.is_some()) {
                true => Soundness::Damaged,
                false => Soundness::Missing,
            };
            let none = || "this store has no copy".to_owned();
            let what = lost.map_or_else(none, |lost| lost.text());
            let hint = survey.missing_hint(store, point);
            (outcome, Some(format!("{what}; {hint}")))
        }
    };
    VerifiedObject {
        store: store.clone(),
        key: manifest_key(point),
        outcome,
        detail,
    }
}
