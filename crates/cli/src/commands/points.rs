//! `lifeboat points` and `lifeboat show`.

use super::Run;
use crate::args;
use crate::output::{self, line};
use jiff::Timestamp;
use lifeboat_core::catalog::memory::Forgotten;
use lifeboat_core::cold::Want;
use lifeboat_core::context::Context;
use lifeboat_core::copies::PointCopy;
use lifeboat_core::evidence::{self, Proof};
use lifeboat_core::fetch;
use lifeboat_core::name::Name;
use lifeboat_core::point::{Details, Manifest, OnlyPartial, PointId, Selector};
use lifeboat_core::restore::summarize;
use lifeboat_core::survey::{self, Survey, survey};
use lifeboat_core::{Error, Result, backup, observe::Observer, posture, runbook};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

type Proofs = BTreeMap<PointId, Proof>;

/// What the records that can be believed say of each point.
fn proofs(context: &Context) -> Proofs {
    let Ok((listed, _)) = evidence::list(context) else {
        return Proofs::new();
    };
    let believed = listed.iter().filter(|l| l.distrust.is_none());
    evidence::proofs(believed.map(|l| &l.record))
}

fn proof_name(proof: Option<&Proof>) -> &'static str {
    let decided = proof.and_then(|proof| proof.decided);
    decided.map_or("none", |(verdict, _)| verdict.as_str())
}

/// The fields of a point's JSON that say how it was proved.
fn proof_json(proof: Option<&Proof>) -> [(String, Value); 3] {
    let decided = proof.and_then(|p| p.decided);
    let tried = proof.and_then(|p| p.tried);
    let tried = tried.map(|(outcome, at)| json!({ "outcome": outcome, "at": at }));
    [
        ("proof".to_owned(), json!(proof_name(proof))),
        ("proved_at".to_owned(), json!(decided.map(|(_, at)| at))),
        ("proof_tried".to_owned(), json!(tried)),
    ]
}

/// A JSON object with more fields.
fn with(mut value: Value, fields: impl IntoIterator<Item = (String, Value)>) -> Value {
    if let Value::Object(map) = &mut value {
        map.extend(fields);
    }
    value
}

pub fn list(run: &Run<'_>, args: &args::Points) -> Result<u8> {
    let context = run.context_for(&args.cold, &Want::List)?;
    if !args.forget.is_empty() {
        return forget(run, &context, args);
    }
    if let Some(store) = &args.store {
        context.stores.open(store)?;
    }
    let survey = survey(&context, args.rescan)?;
    let ahead = survey.ahead(&context);
    let gone = gone(&survey, args);
    let of_plan = |plan: &Name| args.plan.as_ref().is_none_or(|p| plan == p);
    let overdue: Vec<(Name, String)> = match context.is_cold() || args.store.is_some() {
        true => vec![],
        false => survey.overdue(&context),
    };
    let overdue: Vec<_> = overdue.into_iter().filter(|(p, _)| of_plan(p)).collect();
    let Survey {
        copies: found,
        disowned,
        unread,
        ..
    } = survey;
    let errors: Vec<Error> = unread.into_iter().map(|unread| unread.error).collect();
    if let Some(plan) = &args.plan
        && !found.iter().any(|(_, c)| c.manifest.plan == *plan)
        && gone.is_empty()
    {
        // A plan that was renamed may still have points; one without must be configured.
        backup::choose_plan(&context.config, Some(plan))?;
    }
    let proofs = proofs(&context);
    let missing = survey::missing_copies(&found);
    let mut points: BTreeMap<PointId, Vec<(Name, PointCopy)>> = BTreeMap::new();
    for (store, copy) in found {
        if args.plan.as_ref().is_none_or(|p| *p == copy.manifest.plan) {
            points
                .entry(copy.manifest.point.clone())
                .or_default()
                .push((store, copy));
        }
    }
    points.retain(|_, copies| {
        args.store
            .as_ref()
            .is_none_or(|s| copies.iter().any(|(n, _)| n == s))
    });
    let instructions = instructions(&context, args, &points);
    run.results();
    for error in &errors {
        run.progress.warn(&error.to_string());
    }
    for error in &instructions {
        let hint = error.hint.as_deref().unwrap_or_default();
        run.progress.warn(&format!("{error}; {hint}"));
    }
    let now = context.clock.now();
    for point in ahead.iter().filter(|point| points.contains_key(point)) {
        let text = posture::ahead(point, now);
        run.progress
            .warn(&format!("{text}; {}", posture::AHEAD_HINT));
    }
    for (plan, why) in &overdue {
        run.progress.warn(&format!("plan {plan}: {why}"));
    }
    if run.cli.json {
        let mut rows: Vec<Value> = points
            .iter()
            .map(|(id, copies)| {
                let row = point_json(&context, id, copies, &proofs, &missing);
                let gone = gone.get(id).into_iter().flatten();
                let gone: Vec<&String> = gone.map(|gone| &gone.store).collect();
                let added = [
                    ("missing", json!(gone)),
                    ("ahead", json!(ahead.contains(id))),
                    ("disowned", json!(disowned.contains(id))),
                ];
                with(row, added.map(|(key, value)| (key.to_owned(), value)))
            })
            .collect();
        let lost = gone.iter().filter(|(id, _)| !points.contains_key(id));
        rows.extend(lost.map(|(id, gone)| gone_json(id, gone, &proofs)));
        let errors: Vec<_> = errors
            .iter()
            .chain(&instructions)
            .map(output::error_value)
            .collect();
        let overdue = overdue
            .iter()
            .map(|(plan, why)| json!({ "plan": plan, "why": why }));
        let overdue: Vec<Value> = overdue.collect();
        output::json(
            &json!({ "schema": 1, "points": rows, "overdue": overdue, "errors": errors }),
        )?;
    } else if points.is_empty() && gone.is_empty() {
        line(match errors.is_empty() {
            true => "there is no restore point yet",
            false => "there is no restore point, as far as the stores could be read",
        });
    } else {
        let every_app = context.shows_every_app();
        let held = points.iter().map(|(id, copies)| {
            (
                id,
                point_row(&context, copies, proofs.get(id), missing.get(id)),
            )
        });
        let lost = gone.iter().filter(|(id, _)| !points.contains_key(id));
        let lost = lost.map(|(id, gone)| (id, gone_row(gone)));
        let rows: BTreeMap<&PointId, Row> = held.chain(lost).collect();
        table(&rows, every_app, now);
        if context.is_cold() {
            tell_signers(&context, &points);
        }
    }
    let texts: Vec<&String> = gone.values().flatten().map(|g| &g.text).collect();
    if !run.cli.json {
        texts
            .iter()
            .for_each(|text| line(format!("missing: {text}")));
    }
    Ok(
        match (
            texts.is_empty() && instructions.is_empty(),
            errors.is_empty(),
        ) {
            (false, _) => 4,
            (true, false) => 3,
            (true, true) => 0,
        },
    )
}

/// A copy that was in a store once and is lost.
struct Gone {
    store: String,
    manifest: Manifest,
    /// What happened, and what can be done.
    text: String,
}

/// The copies that are missing among what is listed.
fn gone(survey: &Survey, args: &args::Points) -> BTreeMap<PointId, Vec<Gone>> {
    let mut gone: BTreeMap<PointId, Vec<Gone>> = BTreeMap::new();
    for lost in &survey.missing {
        let (store, manifest) = (&lost.store, &lost.copy.manifest);
        let of_plan = args.plan.as_ref().is_none_or(|p| *p == manifest.plan);
        if of_plan && args.store.as_ref().is_none_or(|s| s == store) {
            let what = lost.text();
            let hint = survey.missing_hint(store, &manifest.point);
            gone.entry(manifest.point.clone()).or_default().push(Gone {
                store: store.to_string(),
                manifest: manifest.clone(),
                text: format!("{what}; {hint}"),
            });
        }
    }
    gone
}

/// What the table says of a point.
struct Row {
    started: Option<Timestamp>,
    plan: String,
    outcome: String,
    stored: String,
    proof: String,
    app: String,
    stores: String,
    reason: String,
}

/// Prints the points, the newest first. What is the same of all of them is said once, below.
fn table(rows: &BTreeMap<&PointId, Row>, every_app: bool, now: Timestamp) {
    let stores: BTreeSet<&str> = rows.values().map(|row| row.stores.as_str()).collect();
    let only_if = |shown: bool, text: &String| match shown {
        true => text.clone(),
        false => String::new(),
    };
    let cells = rows.iter().rev().map(|(id, row)| {
        let age = row.started.map(|at| output::age(at, now));
        vec![
            id.to_string(),
            age.unwrap_or_default(),
            row.plan.clone(),
            row.outcome.clone(),
            row.stored.clone(),
            row.proof.clone(),
            only_if(every_app, &row.app),
            only_if(stores.len() > 1, &row.stores),
            row.reason.clone(),
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
    ];
    line(output::table(&columns, cells));
    if let (1, Some(one)) = (stores.len(), stores.first()) {
        line(format!("stores: {one}"));
    }
}

fn gone_row(gone: &[Gone]) -> Row {
    let manifest = gone.first().map(|g| &g.manifest);
    let stores: Vec<_> = gone.iter().map(|g| g.store.as_str()).collect();
    Row {
        started: manifest.map(|m| m.started),
        plan: manifest.map(|m| m.plan.to_string()).unwrap_or_default(),
        outcome: "missing".to_owned(),
        stored: String::new(),
        proof: String::new(),
        app: String::new(),
        stores: format!("copy missing in {}", stores.join(", ")),
        reason: output::reason(manifest.and_then(|m| m.reason.as_deref())),
    }
}

fn gone_json(id: &PointId, gone: &[Gone], proofs: &Proofs) -> Value {
    let manifest = gone.first().map(|g| &g.manifest);
    let stores: Vec<_> = gone.iter().map(|g| &g.store).collect();
    let value = json!({
        "point": id,
        "app": manifest.map(|m| &m.app),
        "environment": manifest.map(|m| &m.environment),
        "signer": manifest.map(|m| &m.signer),
        "plan": manifest.map(|m| &m.plan),
        "started": manifest.map(|m| m.started),
        "outcome": "missing",
        "reason": manifest.and_then(|m| m.reason.as_ref()),
        "safety": manifest.is_some_and(|m| m.safety),
        "bytes": Value::Null,
        "stored_bytes": Value::Null,
        "stores": [],
        "missing_copies": &stores,
        "missing": &stores,
        "ahead": false,
        "disowned": false,
        "trusted": true,
    });
    with(value, proof_json(proofs.get(id)))
}

/// What is wrong with the instructions of the stores that hold these points; asked by `--rescan`.
fn instructions(
    context: &Context,
    args: &args::Points,
    points: &BTreeMap<PointId, Vec<(Name, PointCopy)>>,
) -> Vec<Error> {
    match args.rescan {
        true => runbook::check_all(context, points.values().flatten()),
        false => Vec::new(),
    }
}

fn forget(run: &Run<'_>, context: &Context, args: &args::Points) -> Result<u8> {
    let reason = args.reason.as_deref().unwrap_or_default();
    let forgotten = survey::forget(context, &args.forget, reason)?;
    run.results();
    if run.cli.json {
        let rows = forgotten
            .iter()
            .map(|(point, what)| json!({ "point": point, "was": what }));
        let rows: Vec<Value> = rows.collect();
        output::json(&json!({ "schema": 1, "forgotten": rows }))?;
        return Ok(0);
    }
    for (point, what) in forgotten {
        line(match what {
            Forgotten::Missing => format!("{point} may be gone: it is not called missing any more"),
            Forgotten::Disowned => format!("{point} is disowned: it is chosen only by its id"),
        });
    }
    Ok(0)
}

fn app_of(copies: &[(Name, PointCopy)]) -> String {
    let manifest = copies.first().map(|(_, c)| &c.manifest);
    manifest.map_or_else(String::new, |m| format!("{}/{}", m.app, m.environment))
}

/// Who signed what is not believed here, and what to do about it.
fn tell_signers(context: &Context, points: &BTreeMap<PointId, Vec<(Name, PointCopy)>>) {
    let copies = points.values().flatten().map(|(_, copy)| copy);
    let unproved = copies.filter(|copy| copy.check_trust(&context.trusted).is_err());
    let signers: BTreeSet<&str> = unproved.map(|c| c.manifest.signer.as_str()).collect();
    for signer in signers {
        line(format!(
            "untrusted: the store says {signer} signed; compare it with `allowed_signers` of the recovery kit, then add --trust-signer {signer}"
        ));
    }
}

fn point_json(
    context: &Context,
    id: &PointId,
    copies: &[(Name, PointCopy)],
    proofs: &Proofs,
    missing: &BTreeMap<PointId, Vec<Name>>,
) -> Value {
    let manifest = copies.first().map(|(_, c)| &c.manifest);
    let details = context.state.catalog.outline(id).ok().flatten();
    let bytes = details.map(|d| d.artifacts.iter().map(|a| a.bytes).sum::<u64>());
    let value = json!({
        "point": id,
        "app": manifest.map(|m| &m.app),
        "environment": manifest.map(|m| &m.environment),
        "signer": manifest.map(|m| &m.signer),
        "plan": manifest.map(|m| &m.plan),
        "started": manifest.map(|m| m.started),
        "outcome": manifest.map(|m| m.outcome),
        "reason": manifest.and_then(|m| m.reason.as_ref()),
        "safety": manifest.is_some_and(|m| m.safety),
        "bytes": bytes,
        "stored_bytes": manifest.map(|m| m.stored_bytes()),
        "stores": copies.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "missing_copies": missing.get(id),
        "trusted": copies.iter().all(|(_, c)| c.check_trust(&context.trusted).is_ok()),
    });
    with(value, proof_json(proofs.get(id)))
}

fn point_row(
    context: &Context,
    copies: &[(Name, PointCopy)],
    proof: Option<&Proof>,
    missing: Option<&Vec<Name>>,
) -> Row {
    let manifest = copies.first().map(|(_, c)| &c.manifest);
    let mut stores: Vec<String> = copies.iter().map(|(name, _)| name.to_string()).collect();
    let lacking = missing.filter(|missing| !missing.is_empty());
    let lacking = lacking.map(|missing| format!("copy missing in {}", missing.join(", ")));
    stores.extend(lacking);
    Row {
        started: manifest.map(|m| m.started),
        plan: manifest.map(|m| m.plan.to_string()).unwrap_or_default(),
        outcome: manifest.map_or("", |m| m.outcome.as_str()).to_owned(),
        stored: manifest
            .map(|m| output::bytes(m.stored_bytes()))
            .unwrap_or_default(),
        proof: match copies
            .iter()
            .all(|(_, c)| c.check_trust(&context.trusted).is_ok())
        {
            true => proof_name(proof).to_owned(),
            false => "untrusted".to_owned(),
        },
        app: app_of(copies),
        stores: stores.join(", "),
        reason: output::reason(manifest.and_then(|m| m.reason.as_deref())),
    }
}

pub fn show(run: &Run<'_>, args: &args::Show) -> Result<u8> {
    let selector = Selector::parse(&args.point)?;
    let want = Want::Point(selector.clone());
    let context = run.context_for(&args.cold, &want)?;
    let point = fetch::choose(
        &context,
        &selector,
        &[],
        args.store.as_deref(),
        OnlyPartial::Take,
    )?;
    let found = survey(&context, false)?.copies;
    let held: Vec<_> = found
        .iter()
        .filter(|(_, c)| c.manifest.point == point)
        .cloned()
        .collect();
    let fetched = fetch::fetch(&context, &point, args.store.as_deref())?;
    let signers = message_signers(&fetched);
    let details = match fetched.details {
        Ok(details) => Some(details),
        Err(error) => {
            let store = &fetched.store.name;
            run.progress.warn(&format!(
                "what was captured is not known, since store {store} did not tell: {error}"
            ));
            context.state.catalog.outline(&point)?
        }
    };
    let proofs = proofs(&context);
    let missing = survey::missing_copies(&found);
    run.results();
    if run.cli.json {
        let mut value = serde_json::to_value(&fetched.copy.manifest).unwrap_or_default();
        if let Value::Object(map) = &mut value {
            map.extend(proof_json(proofs.get(&point)));
            map.insert(
                "copies".into(),
                json!(held.iter().map(|(name, _)| name).collect::<Vec<_>>()),
            );
            map.insert("missing_copies".into(), json!(missing.get(&point)));
            map.insert("contents".into(), details_json(details.as_ref()));
        }
        output::json(&value)?;
        return Ok(0);
    }
    let manifest = &fetched.copy.manifest;
    line(format!(
        "{} of {}/{}, plan {}: {}",
        point,
        manifest.app,
        manifest.environment,
        manifest.plan,
        manifest.outcome.as_str()
    ));
    line(format!(
        "  taken {} to {} on {} by {}",
        manifest.started, manifest.finished, manifest.host, manifest.author
    ));
    if let Some(reason) = &manifest.reason {
        line(format!("  reason: {reason}"));
    }
    line(format!("  signed by {}", manifest.signer));
    let proof = proofs.get(&point);
    let tried = proof.and_then(|proof| proof.tried);
    let tried = tried.map(|(verdict, at)| format!("; tried again {at}: {}", verdict.as_str()));
    line(format!(
        "  proof: {}{}",
        proof_name(proof),
        tried.unwrap_or_default()
    ));
    for (name, _) in &held {
        line(format!("  copy in store {name}"));
    }
    for name in missing.get(&point).into_iter().flatten() {
        line(format!(
            "  missing in store {name}: lifeboat copy {point} --to {name}"
        ));
    }
    let rows = manifest.artifacts.iter().map(|a| {
        let known = details
            .as_ref()
            .and_then(|d| d.artifact(&a.source, &a.name));
        vec![
            a.source.to_string(),
            a.name.to_string(),
            known.map(|d| output::bytes(d.bytes)).unwrap_or_default(),
            output::bytes(a.bytes),
            known.map(|d| summarize(&d.proof)).unwrap_or_default(),
            a.key.to_string(),
        ]
    });
    line(output::table(
        &["source", "artifact", "bytes", "stored", "content", "key"],
        rows,
    ));
    for text in signers {
        line(text);
    }
    for text in details
        .iter()
        .flat_map(|d| d.warnings.iter().chain(&d.errors))
    {
        line(format!("note: {}", output::joined(text)));
    }
    Ok(0)
}

/// Who signed inside the objects, and which are not signed although their store asks for it.
fn message_signers(fetched: &fetch::Fetched) -> Vec<String> {
    let artifacts = fetched.copy.manifest.artifacts.iter();
    let mut signers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unsigned = 0;
    for artifact in artifacts.filter(|a| a.encrypt.as_deref() == Some("openpgp")) {
        match &artifact.openpgp_signer {
            Some(signer) => *signers.entry(signer.as_str()).or_default() += 1,
            None => unsigned += 1,
        }
    }
    let signed = signers
        .into_iter()
        .map(|(signer, count)| format!("signed inside by OpenPGP key {signer}: {count} objects"));
    let mut lines: Vec<String> = signed.collect();
    let encrypt = fetched.store.config.encrypt.as_ref();
    if unsigned > 0 && encrypt.is_some_and(|e| e.sign.is_some()) {
        lines.push(format!(
            "note: {unsigned} objects are not signed inside: they were stored before `encrypt.sign` was set"
        ));
    }
    lines
}

/// The details without their inventories, which may name every file.
fn details_json(details: Option<&Details>) -> Value {
    let Some(details) = details else {
        return Value::Null;
    };
    let artifacts: Vec<_> = details.artifacts.iter().map(|a| json!({
        "source": a.source, "name": a.name, "bytes": a.bytes, "sha256": a.sha256,
        "fingerprint": a.proof.fingerprint, "skipped": a.skipped, "tools": a.tools, "answers": a.answers,
    })).collect();
    json!({ "artifacts": artifacts, "warnings": details.warnings, "errors": details.errors })
}
