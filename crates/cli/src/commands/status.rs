//! `lifeboat status`, `lifeboat metrics` and `lifeboat gate`.

use super::Run;
use crate::args;
use crate::output::{self, Printer};
use jiff::Timestamp;
use lifeboat_core::anomaly::Compared;
use lifeboat_core::cold::Want;
use lifeboat_core::job;
use lifeboat_core::point::Selector;
use lifeboat_core::span::Span;
use lifeboat_core::status::{
    self, Covered, DrillStanding, Freshness, Gate, PlanStatus, Status, Uncopied,
};
use lifeboat_core::{Code, Error, Exit, Result};

pub fn run(run: &Run<'_>, args: &args::StatusArgs) -> Result<Exit> {
    let context = run.context_for(&args.cold, &Want::Point(Selector::Latest))?;
    let document = job::status(&context)?;
    run.answer(&document, |out| {
        tell(out, &document.status);
        for alarm in &document.alarms {
            super::alarms::line(out, alarm);
        }
    })?;
    Ok(match args.check {
        true => document.status.exit(),
        false => Exit::Done,
    })
}

pub fn metrics(run: &Run<'_>) -> Result<Exit> {
    let metrics = job::metrics(&run.context()?)?;
    run.answer(&metrics, |out| {
        out.line(metrics.text(status::Form::OpenMetrics).trim_end());
    })?;
    Ok(Exit::Done)
}

/// A word for a table, in capitals where somebody should look.
fn word(good: bool, text: &str) -> String {
    match good {
        true => text.to_owned(),
        false => text.to_uppercase(),
    }
}

/// A length of time in its largest whole unit, as a configuration has it. One that nobody wrote, such as the limit
/// of a plan without `rpo`, is rounded.
fn whole(seconds: u64) -> String {
    let unit = match seconds {
        _ if seconds.is_multiple_of(60) => 1,
        36_000.. => 3600,
        600.. => 60,
        _ => 1,
    };
    let seconds = (seconds + unit / 2) / unit * unit;
    Span { seconds }.to_string()
}

/// The age of something: `23 min ago`, as in other tables.
fn old(seconds: Option<u64>, now: Timestamp) -> String {
    let at = seconds.and_then(|seconds| {
        let second = now.as_second().checked_sub(i64::try_from(seconds).ok()?)?;
        Timestamp::from_second(second).ok()
    });
    at.map_or_else(String::new, |at| output::age(at, now))
}

/// A time to the minute, without the date if it is today.
fn when(time: Option<Timestamp>, now: Timestamp) -> String {
    let Some(time) = time else {
        return String::new();
    };
    if time <= now {
        return "now".to_owned();
    }
    let text = time.to_string();
    let minute = text.get(..16).unwrap_or(&text).replace('T', " ");
    let today = now.to_string();
    match minute.strip_prefix(today.get(..10).unwrap_or_default()) {
        Some(hour) => hour.trim().to_owned(),
        None => minute,
    }
}

fn tell(out: &Printer, status: &Status) {
    out.line(format!(
        "{}/{} at {}",
        status.app, status.environment, status.at
    ));
    show_plans(out, status);
    show_drills(out, status);
    show_verifications(out, status);
    show_stores(out, status);
    for running in &status.running {
        let since = output::age(running.started, status.at);
        out.line(format!(
            "running: {} {}, for {since} ({})",
            running.kind.as_str(),
            running.subject,
            running.job
        ));
    }
    told(out, status);
}

fn show_plans(out: &Printer, status: &Status) {
    let plans = status.plans.iter().map(|plan| {
        let freshness = plan.freshness;
        let proof = plan.proof.map(|proof| {
            let ago = plan.proved_at.map(|at| output::age(at, status.at));
            format!("{}, {}", proof.as_str(), ago.unwrap_or_default())
        });
        vec![
            plan.plan.to_string(),
            word(!freshness.is_overdue(), freshness.as_str()),
            old(plan.age_seconds, status.at),
            plan.limit_seconds.map_or_else(String::new, whole),
            when(plan.next, status.at),
            proof.unwrap_or_else(|| "not proved".to_owned()),
            plan.stores.join(", "),
        ]
    });
    out.table(
        &["plan", "state", "age", "limit", "next", "proof", "stores"],
        plans,
    );
}

fn show_drills(out: &Printer, status: &Status) {
    if status.drills.is_empty() {
        return;
    }
    let drills = status.drills.iter().map(|drill| {
        let standing = drill.standing;
        let good = !matches!(standing, DrillStanding::Failed | DrillStanding::Overdue);
        let rto = drill
            .rto_seconds
            .map(|took| match drill.rto_target_seconds {
                Some(target) => {
                    let text = format!("{} of {}", output::seconds(took), whole(target));
                    word(!drill.rto_missed, &text)
                }
                None => output::seconds(took),
            });
        vec![
            drill.drill.to_string(),
            word(good, standing.as_str()),
            old(drill.age_seconds, status.at),
            drill.max_age_seconds.map_or_else(String::new, whole),
            when(drill.next, status.at),
            rto.unwrap_or_default(),
        ]
    });
    out.table(
        &["drill", "state", "proved", "limit", "next", "recovery time"],
        drills,
    );
}

fn show_verifications(out: &Printer, status: &Status) {
    if status.verifications.is_empty() {
        return;
    }
    let rows = status.verifications.iter().map(|verify| {
        let state = verify.outcome.map_or("never", |outcome| outcome.as_str());
        let state = if verify.overdue { "overdue" } else { state };
        vec![
            verify.verify.to_string(),
            word(!verify.overdue, state),
            verify
                .at
                .map_or_else(String::new, |at| output::age(at, status.at)),
            when(verify.next, status.at),
        ]
    });
    out.table(&["verify", "state", "last", "next"], rows);
}

fn show_stores(out: &Printer, status: &Status) {
    let stores = status.stores.iter().map(|store| {
        let state = match store.error {
            None => "answers".to_owned(),
            Some(_) => word(false, "unreachable"),
        };
        vec![
            store.store.to_string(),
            state,
            store.points.to_string(),
            output::bytes(store.bytes),
        ]
    });
    out.table(&["store", "state", "points", "bytes"], stores);
}

/// What somebody should look at, a line each.
fn told(out: &Printer, status: &Status) {
    for plan in &status.plans {
        tell_plan(out, plan, status.at);
    }
    for drill in &status.drills {
        if drill.standing == DrillStanding::Failed {
            let id = drill
                .evidence
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            out.sentence(format!(
                "drill {} failed: see `lifeboat evidence show {id}`",
                drill.drill
            ));
        }
        if drill.is_overdue() {
            let run = format!("lifeboat drill {}", drill.drill);
            out.sentence(format!("drill {} is overdue: run `{run}`", drill.drill));
        }
        if let Some(failing) = &drill.failing {
            let message = failing.message.as_deref().unwrap_or_default();
            out.sentence(format!(
                "drill {} {}: {message}",
                drill.drill,
                failing.outcome.as_str()
            ));
        }
    }
    for store in &status.stores {
        if let Some(error) = &store.error {
            out.sentence(format!("store {}: {error}", store.store));
        }
        for copy in &store.damaged {
            let (point, why) = (&copy.point, &copy.why);
            out.sentence(format!("store {}: {point} is damaged: {why}", store.store));
        }
    }
}

/// Says what could not be compared with the points before, and why.
fn not_compared(compared: Compared) -> Option<&'static str> {
    match compared {
        Compared::StoredBytes => Some("rows and files are sealed, only stored bytes were compared"),
        Compared::Unknown => Some("what is in it is sealed, it was not compared"),
        Compared::Content | Compared::TooFewPoints | Compared::Off => None,
    }
}

fn tell_anomalies(out: &Printer, plan: &PlanStatus) {
    if let (Some(point), false) = (&plan.point, plan.anomalies.is_empty()) {
        let name = &plan.plan;
        out.sentence(format!(
            "plan {name} has anomalies: see `lifeboat diff {point}`"
        ));
    }
    for anomaly in &plan.anomalies {
        out.sentence(format!("  {}", anomaly.text()));
    }
    if plan.anomalies_unlisted > 0 {
        out.sentence(format!("  … and {} more", plan.anomalies_unlisted));
    }
}

fn tell_plan(out: &Printer, plan: &PlanStatus, now: Timestamp) {
    let name = &plan.plan;
    if let (Some(point), Some(at)) = (&plan.point, plan.unchanged_at) {
        let ago = output::age(at, now);
        out.sentence(format!(
            "plan {name} is unchanged since {point}: last looked {ago} ago"
        ));
    }
    match plan.freshness {
        Freshness::Never => out.sentence(format!(
            "plan {name} has no complete point: run `lifeboat backup {name}`"
        )),
        Freshness::Overdue => out.sentence(format!(
            "plan {name} is overdue: run `lifeboat backup {name}`"
        )),
        Freshness::Fresh | Freshness::Unlimited => {}
    }
    if let (Some(longest), Some(limit)) = (plan.longest_seconds, plan.limit_seconds)
        && longest >= limit
    {
        out.sentence(format!(
            "plan {name} cannot keep its limit: with the {} that a run takes, points can be {} apart",
            output::seconds(plan.usual_seconds.unwrap_or(0) as f64),
            output::seconds(longest as f64)
        ));
    }
    if let Some(failing) = &plan.failing {
        let message = failing.message.as_deref().unwrap_or_default();
        out.sentence(format!(
            "plan {name} {}: {message}",
            failing.outcome.as_str()
        ));
    }
    if let Some(failing) = &plan.prune_failing {
        let message = failing.message.as_deref().unwrap_or_default();
        let outcome = failing.outcome.as_str();
        out.sentence(format!("prune of plan {name} {outcome}: {message}"));
    }
    tell_anomalies(out, plan);
    if let Some(why) = plan.compared.and_then(not_compared) {
        out.sentence(format!("plan {name}: {why}"));
    }
    for (store, count) in &plan.missing_copies {
        let count = output::count(*count, "point");
        out.sentence(format!(
            "store {store} missed {count} of plan {name}: `lifeboat copy --to {store}`"
        ));
    }
    for (store, count) in &plan.lost_copies {
        let count = output::count(*count, "point");
        out.sentence(format!(
            "store {store} lost {count} of plan {name}: see `lifeboat points`"
        ));
    }
    for Uncopied { source, region } in &plan.uncopied {
        out.sentence(format!(
            "the newest snapshot of {source} (plan {name}) has no copy in {region}"
        ));
    }
}

pub fn gate(run: &Run<'_>, args: &args::GateArgs) -> Result<Exit> {
    let max_age: Span = args.max_age.parse().map_err(|why: String| {
        Error::new(Code::Usage, "--max-age is no length of time").cause(why)
    })?;
    let context = run.context()?;
    if let Some(plan) = &args.plan {
        lifeboat_core::backup::choose_plan(&context.config, Some(plan))?;
    }
    let facts = job::facts(&context)?;
    let gate = status::gate(&facts, args.plan.as_deref(), max_age);
    run.answer(&gate, |out| show_gate(out, &gate, facts.now))?;
    Ok(gate.exit())
}

fn show_gate(out: &Printer, gate: &Gate, now: Timestamp) {
    let rows = gate.sources.iter().map(|source: &Covered| {
        let state = match (source.covered, source.age_seconds) {
            (true, _) if source.compared => "verified",
            (true, _) => "restored",
            (false, Some(_)) => "too old",
            (false, None) => "never verified",
        };
        vec![
            source.plan.to_string(),
            source.source.to_string(),
            word(source.covered, state),
            source
                .at
                .map_or_else(String::new, |at| output::age(at, now)),
            whole(source.max_age_seconds),
            source
                .evidence
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
        ]
    });
    if gate.sources.is_empty() {
        return out.line("closed: no plan has a schedule, so that nothing is covered");
    }
    out.table(
        &["plan", "source", "state", "age", "limit", "evidence"],
        rows,
    );
    out.line(match gate.open {
        true if gate.sources.iter().any(|source| !source.compared) => {
            "open: each source was restored recently enough, and compared but for machines"
        }
        true => "open: each source was restored and compared recently enough",
        false => "closed: drill what is not verified, or too old",
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_nobody_wrote_is_rounded() {
        for (seconds, shown) in [
            (108_002, "30h"),
            (90_000, "25h"),
            (5_400, "90m"),
            (5_429, "90m"),
            (35_990, "10h"),
            (45, "45s"),
            (0, "0s"),
        ] {
            assert_eq!(whole(seconds), shown, "{seconds}");
        }
    }
}
