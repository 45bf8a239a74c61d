//! `lifeboat points` and `lifeboat show`.

use super::Run;
use crate::args;
use crate::output::{self, Printer};
use jiff::Timestamp;
use lifeboat_core::catalog::memory::Forgotten;
use lifeboat_core::cold::Want;
use lifeboat_core::context::Context;
use lifeboat_core::name::Name;
use lifeboat_core::point::{External, Selector};
use lifeboat_core::points::{self, ListedPoint, Listing, Options, Problem, Shown, Standing};
use lifeboat_core::restore::summarize;
use lifeboat_core::wrong_clock;
use lifeboat_core::{Exit, Result};
use std::collections::BTreeSet;

pub fn list(run: &Run<'_>, args: &args::Points) -> Result<Exit> {
    let context = run.context_as_of(
        &args.cold,
        &args.as_of,
        args.within.store.as_deref(),
        &Want::List,
    )?;
    if !args.forget.is_empty() {
        return forget(run, &context, args);
    }
    let options = Options {
        plan: args.plan.clone(),
        store: args.within.store.clone(),
        rescan: args.rescan,
    };
    let listing = points::list(&context, &options)?;
    run.results();
    warn(run, &listing, context.clock.now());
    run.answer(&listing, |out| tell(out, &context, &listing))?;
    Ok(listing.exit())
}

fn forget(run: &Run<'_>, context: &Context, args: &args::Points) -> Result<Exit> {
    let reason = args.reason.as_deref().unwrap_or_default();
    let forgot = points::forget(context, &args.forget, reason)?;
    run.answer(&forgot, |out| {
        for one in &forgot.forgotten {
            let point = &one.point;
            out.line(match one.was {
                Forgotten::Missing => {
                    format!("{point} may be gone: it is not called missing any more")
                }
                Forgotten::Disowned => format!("{point} is disowned: it is chosen only by its id"),
            });
        }
    })?;
    Ok(Exit::Done)
}

/// Warns of what stands in no table.
fn warn(run: &Run<'_>, listing: &Listing, now: Timestamp) {
    for problem in &listing.errors {
        match problem {
            Problem::Unread(error) => run.warn(&error.to_string()),
            Problem::Instructions(error) => run.warn(&error.with_hint()),
        }
    }
    for point in listing.points.iter().filter(|point| point.ahead) {
        let text = wrong_clock::ahead(&point.point, now);
        run.warn(&format!("{text}; {}", wrong_clock::AHEAD_HINT));
    }
    for overdue in &listing.overdue {
        run.warn(&format!("plan {}: {}", overdue.plan, overdue.why));
    }
}

fn tell(out: &Printer, context: &Context, listing: &Listing) {
    let mut points: Vec<&ListedPoint> = listing.points.iter().collect();
    points.sort_by(|a, b| a.point.cmp(&b.point));
    if points.is_empty() {
        return out.line(match listing.is_cut_short() {
            false => "there is no restore point yet",
            true => "there is no restore point, as far as the stores could be read",
        });
    }
    let newest_first = points.iter().rev().copied();
    table(
        out,
        newest_first,
        context.shows_every_app(),
        context.clock.now(),
    );
    for point in points.iter().rev() {
        if let Some(at) = point.unchanged_at {
            let ago = output::age(at, context.clock.now());
            let (plan, point) = (&point.plan, &point.point);
            out.line(format!(
                "plan {plan} is unchanged since {point}: last looked {ago} ago"
            ));
        }
    }
    if context.is_cold() {
        tell_signers(out, &points);
    }
    for text in points.iter().flat_map(|point| &point.losses) {
        out.line(format!("missing: {text}"));
    }
}

/// The stores of a point in a table: where it is, and where it should be.
fn stores(point: &ListedPoint) -> String {
    let leaving = |store: &Name| point.leaving.iter().any(|leaving| leaving.store == *store);
    let stores = point.stores.iter().map(|store| match leaving(store) {
        true => format!("leaving {store}"),
        false => store.to_string(),
    });
    let mut stores: Vec<String> = stores.collect();
    if !point.missing_copies.is_empty() {
        let missing = point.missing_copies.join(", ");
        stores.push(format!("copy missing in {missing}"));
    }
    stores.join(", ")
}

/// Prints points in their order. What is the same of all of them is said once, below.
fn table<'l>(
    out: &Printer,
    points: impl Iterator<Item = &'l ListedPoint>,
    every_app: bool,
    now: Timestamp,
) {
    let rows: Vec<(&ListedPoint, String)> = points.map(|point| (point, stores(point))).collect();
    let places: BTreeSet<&String> = rows.iter().map(|(_, stores)| stores).collect();
    let only_if = |shown: bool, text: String| match shown {
        true => text,
        false => String::new(),
    };
    let cells = rows.iter().map(|(point, stores)| {
        let held = point.outcome != Standing::Missing;
        let proof = match point.trusted {
            true => point.proof.as_str(),
            false => "untrusted",
        };
        let app = format!("{}/{}", point.app, point.environment);
        vec![
            point.point.to_string(),
            output::age(point.started, now),
            point.plan.to_string(),
            point.outcome.as_str().to_owned(),
            point.stored_bytes.map(output::bytes).unwrap_or_default(),
            only_if(held, proof.to_owned()),
            only_if(held && every_app, app),
            only_if(places.len() > 1, stores.clone()),
            output::reason(point.reason.as_deref()),
            output::reason(point.pinned.as_deref()),
        ]
    });
    let columns = [
        "point",
        "age",
        "plan",
        "outcome",
        "stored",
        "proof",
        "application",
        "stores",
        "reason",
        "pinned",
    ];
    out.table(&columns, cells);
    if let (1, Some(one)) = (places.len(), places.first()) {
        out.line(format!("stores: {one}"));
    }
}

/// Says who signed what is not believed here, and what to do about it.
fn tell_signers(out: &Printer, points: &[&ListedPoint]) {
    let signers: BTreeSet<&String> = points.iter().flat_map(|p| &p.distrusted).collect();
    for signer in signers {
        out.line(format!(
            "untrusted: the store says {signer} signed; compare it with `allowed_signers` of the recovery kit, then add --trust-signer {signer}"
        ));
    }
}

pub fn show(run: &Run<'_>, args: &args::Show) -> Result<Exit> {
    let selector = Selector::parse(&args.point)?;
    let (store, want) = (args.from.store.as_deref(), Want::Point(selector.clone()));
    let context = run.context_as_of(&args.cold, &args.as_of, store, &want)?;
    let shown = points::show(&context, &selector, store)?;
    run.results();
    match run.out.is_json() {
        // The manifest says which version of the format it is.
        true => run.out.json(&shown)?,
        false => tell_point(run.out, &shown),
    }
    Ok(Exit::Done)
}

/// A snapshot that somebody else keeps, in a line.
fn snapshot(external: &External) -> String {
    let mut text = format!("snapshot {} of {}", external.name, external.machine);
    if let Some(region) = &external.region {
        text += &format!(" in {region}");
    }
    if let Some(bytes) = external.bytes {
        text += &format!(", {}", output::bytes(bytes));
    }
    if let Some(created) = external.created {
        text += &format!(", taken {}", created.strftime("%Y-%m-%dT%H:%M:%SZ"));
    }
    let regions = external.copies.iter();
    let regions: Vec<&str> = regions.filter_map(|copy| copy.region.as_deref()).collect();
    if !regions.is_empty() {
        text += &format!("; a copy in {}", regions.join(", "));
    }
    text
}

fn tell_point(out: &Printer, shown: &Shown) {
    let manifest = &shown.manifest;
    let point = &manifest.point;
    out.line(format!(
        "{point} of {}/{}, plan {}: {}",
        manifest.app,
        manifest.environment,
        manifest.plan,
        manifest.outcome.as_str()
    ));
    out.line(format!(
        "  taken {} to {} on {} by {}",
        manifest.started, manifest.finished, manifest.host, manifest.author
    ));
    if let Some(reason) = &manifest.reason {
        out.line(format!("  reason: {reason}"));
    }
    out.line(format!("  signed by {}", manifest.signer));
    for source in &manifest.sources {
        if let Some(external) = &source.external {
            out.line(format!("  {}: {}", source.name, snapshot(external)));
        }
    }
    let tried = shown.proof.proof_tried;
    let tried =
        tried.map(|tried| format!("; tried again {}: {}", tried.at, tried.outcome.as_str()));
    out.line(format!(
        "  proof: {}{}",
        shown.proof.as_str(),
        tried.unwrap_or_default()
    ));
    for name in &shown.copies {
        out.line(format!("  copy in store {name}"));
    }
    for name in shown.missing_copies.iter().flatten() {
        out.line(format!(
            "  missing in store {name}: lifeboat copy {point} --to {name}"
        ));
    }
    tell_artifacts(out, shown);
    for (signer, count) in &shown.signed_inside {
        out.line(format!(
            "signed inside by OpenPGP key {signer}: {count} objects"
        ));
    }
    if shown.unsigned_inside > 0 {
        out.line(format!(
            "note: {} objects are not signed inside: they were stored before `encrypt.sign` was set",
            shown.unsigned_inside
        ));
    }
    let details = shown.details.iter();
    for text in details.flat_map(|d| d.warnings.iter().chain(&d.errors)) {
        out.line(format!("note: {}", output::joined(text)));
    }
}

fn tell_artifacts(out: &Printer, shown: &Shown) {
    let rows = shown.manifest.artifacts.iter().map(|a| {
        let details = shown.details.as_ref();
        let known = details.and_then(|d| d.artifact(&a.source, &a.name));
        vec![
            a.source.to_string(),
            a.name.to_string(),
            known.map(|d| output::bytes(d.bytes)).unwrap_or_default(),
            output::bytes(a.bytes),
            known.map(|d| summarize(&d.proof)).unwrap_or_default(),
            a.key.to_string(),
        ]
    });
    out.table(
        &["source", "artifact", "bytes", "stored", "content", "key"],
        rows,
    );
}
