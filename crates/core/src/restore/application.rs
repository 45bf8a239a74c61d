//! The points that make up one application whose sources are spread over several plans.
//!
//! Nothing here checks that those points were captured at times that fit each other.

use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::fetch;
use crate::name::Name;
use crate::point::{OnlyPartial, PointId, Selector};
use crate::survey::Survey;
use std::collections::BTreeSet;

/// The points chosen for an application.
#[derive(Debug)]
pub struct ApplicationPoints {
    /// One point for each plan that has any.
    pub points: Vec<PointId>,
    /// The plans that have no point, each with the error that says why.
    pub left_out: Vec<(Name, Error)>,
}

/// Chooses a point of each plan by the selector. A plan is left out only if it has no point that
/// fits. If no plan has one, returns the error of the first plan.
pub fn choose(
    context: &Context,
    survey: &Survey,
    selector: &Selector,
    plans: &[Name],
    store: Option<&str>,
    partial: OnlyPartial,
) -> Result<ApplicationPoints> {
    let mut chosen = ApplicationPoints {
        points: vec![],
        left_out: vec![],
    };
    for plan in plans {
        let only = std::slice::from_ref(plan);
        match fetch::choose_in(context, survey, selector, only, store, partial) {
            Ok(point) => chosen.points.push(point),
            Err(error) if error.code == Code::PointUnknown => {
                chosen.left_out.push((plan.clone(), error));
            }
            Err(error) => {
                return Err(Error {
                    message: format!("plan {plan}: {}", error.message),
                    ..error
                });
            }
        }
    }
    match (chosen.points.is_empty(), chosen.left_out.first()) {
        (true, Some((_, error))) => Err(error.clone()),
        _ => Ok(chosen),
    }
}

/// The plans of the application: those of the configuration, or, without a configuration, those
/// that the surveyed points belong to.
pub fn plans(context: &Context, survey: &Survey) -> Vec<Name> {
    if !context.is_cold() {
        return context.config.plan.keys().cloned().collect();
    }
    let plans: BTreeSet<&Name> = survey
        .copies
        .iter()
        .map(|(_, c)| &c.manifest.plan)
        .collect();
    plans.into_iter().cloned().collect()
}

/// Ids of points in one line, for a message.
pub fn join_ids<'a>(points: impl IntoIterator<Item = &'a PointId>) -> String {
    let points = points.into_iter().map(PointId::as_str);
    points.collect::<Vec<_>>().join(" with ")
}
