//! An application whose sources are spread over several plans: which points are it together.
//!
//! It does not see whether what they hold was captured at times that fit each other.

use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::fetch;
use crate::name::Name;
use crate::point::{OnlyPartial, PointId, Selector};
use crate::survey::Survey;
use std::collections::BTreeSet;

/// The points that are an application together.
#[derive(Debug)]
pub struct Together {
    /// One of each plan that has one.
    pub points: Vec<PointId>,
    /// The plans that have none, and why.
    pub left_out: Vec<(Name, Error)>,
}

/// Chooses a point of each plan, as the selector says. Only a plan that has no point at all is left
/// out; where none has any, the error is of the first.
pub fn choose(
    context: &Context,
    survey: &Survey,
    selector: &Selector,
    plans: &[Name],
    store: Option<&str>,
    partial: OnlyPartial,
) -> Result<Together> {
    let mut together = Together {
        points: vec![],
        left_out: vec![],
    };
    for plan in plans {
        let only = std::slice::from_ref(plan);
        match fetch::choose_in(context, survey, selector, only, store, partial) {
            Ok(point) => together.points.push(point),
            Err(error) if error.code == Code::PointUnknown => {
                together.left_out.push((plan.clone(), error));
            }
            Err(error) => {
                return Err(Error {
                    message: format!("plan {plan}: {}", error.message),
                    ..error
                });
            }
        }
    }
    match (together.points.is_empty(), together.left_out.first()) {
        (true, Some((_, error))) => Err(error.clone()),
        _ => Ok(together),
    }
}

/// The plans of the application: those of the configuration; without one, those that points are of.
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

/// Points, for a message.
pub fn named<'a>(points: impl IntoIterator<Item = &'a PointId>) -> String {
    let points = points.into_iter().map(PointId::as_str);
    points.collect::<Vec<_>>().join(" with ")
}
