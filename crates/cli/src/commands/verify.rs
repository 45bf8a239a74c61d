//! `lifeboat verify`.

use super::Run;
use crate::args;
use crate::output::{self, line};
use lifeboat_core::cold::Want;
use lifeboat_core::point::Selector;
use lifeboat_core::verify::{self, Soundness, Verified, VerifiedObject, VerifiedPoint, Which};
use lifeboat_core::{Code, Error, Result};
use serde_json::{Value, json};

pub fn run(run: &Run<'_>, args: &args::Verify) -> Result<u8> {
    let which = match (&args.point, args.all, &args.sample) {
        (Some(point), _, _) => Which::One(Selector::parse(point)?),
        (None, true, _) => Which::All,
        (None, false, Some(sample)) => Which::Sample(percent(sample)?),
        (None, false, None) => Which::Newest,
    };
    let want = Want::Point(match &which {
        Which::One(selector) => selector.clone(),
        _ => Selector::Latest,
    });
    let context = run.context_for(&args.cold, &want)?;
    let verified = verify::run(&context, &which, args.store.as_deref())?;
    run.results();
    let worst = verified.worst();
    if run.cli.json {
        output::json(&document(&verified, worst))?;
    } else {
        verified.points.iter().for_each(show);
        let others = verified.instructions.iter().chain(&verified.unread);
        others.for_each(show_unsound);
    }
    Ok(match worst {
        Soundness::Intact => 0,
        Soundness::Unread => 1,
        Soundness::Missing | Soundness::Damaged => 4,
    })
}

fn percent(text: &str) -> Result<u8> {
    let number = text
        .trim()
        .trim_end_matches('%')
        .parse()
        .ok()
        .filter(|p| (1..=100).contains(p));
    number.ok_or_else(|| {
        Error::new(Code::Usage, format!("{text:?} is no share")).hint("write it as --sample 10%")
    })
}

/// One document for one point; the points of several under `points`.
fn document(verified: &Verified, worst: Soundness) -> Value {
    let Verified {
        instructions,
        unread,
        ..
    } = verified;
    match verified.points.as_slice() {
        [only] => {
            json!({ "schema": 1, "point": only.point, "outcome": worst, "objects": only.objects, "instructions": instructions, "unread": unread })
        }
        points => {
            json!({ "schema": 1, "outcome": worst, "points": points, "instructions": instructions, "unread": unread })
        }
    }
}

/// Shows an object, unless it is intact.
fn show_unsound(object: &VerifiedObject) {
    if object.outcome == Soundness::Intact {
        return;
    }
    let detail = object.detail.as_deref().unwrap_or_default();
    line(format!(
        "  {} {}: {}: {detail}",
        object.store,
        object.key,
        object.outcome.as_str()
    ));
}

fn show(verified: &VerifiedPoint) {
    line(format!("{} {}", verified.point, verified.outcome.as_str()));
    verified.objects.iter().for_each(show_unsound);
    let intact = verified
        .objects
        .iter()
        .filter(|o| o.outcome == Soundness::Intact)
        .count();
    line(format!(
        "  {intact} of {} objects intact",
        verified.objects.len()
    ));
}
