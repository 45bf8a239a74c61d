//! `lifeboat cost`.

use super::Run;
use crate::args;
use crate::output::{Printer, bytes, count};
use lifeboat_core::cost::{Amount, Cost, Figure, Item, Money, Prices, Runner, SHIPPED};
use lifeboat_core::{Exit, Result, job};

/// Columns of what an item is.
const LABEL: usize = 44;
/// Columns of an amount.
const AMOUNT: usize = 16;
/// Set by GitHub in every job of a workflow.
const OF_GITHUB: &str = "GITHUB_ACTIONS";

pub fn run(run: &Run<'_>, args: &args::Cost) -> Result<Exit> {
    if args.print_prices {
        run.results();
        run.out.line(SHIPPED.trim_end());
        return Ok(Exit::Done);
    }
    let prices = match &args.prices {
        Some(path) => Prices::load(path)?,
        None => Prices::shipped()?,
    };
    let cost = job::cost(&run.context()?, &prices, runner(args.runner_minute))?;
    for error in &cost.errors {
        run.warn(&error.with_hint());
    }
    run.answer(&cost, |out| tell(run, out, &cost))?;
    Ok(cost.exit())
}

/// The runner that plans run on: one with a price, or the one that this runs on itself.
fn runner(minute: Option<Money>) -> Option<Runner> {
    let here = std::env::var_os(OF_GITHUB).is_some_and(|value| value == "true");
    let why = match (minute, here) {
        (Some(_), _) => "--runner-minute",
        (None, true) => "it runs on a runner of GitHub now",
        (None, false) => return None,
    };
    Some(Runner {
        minute,
        why: why.to_owned(),
    })
}

fn tell(run: &Run<'_>, out: &Printer, cost: &Cost) {
    let row = |label: &str, now: &str, steady: &str| {
        if label.chars().count() > LABEL {
            out.line(label);
            return out.line(format!("{:LABEL$} {now:>AMOUNT$} {steady:>AMOUNT$}", ""));
        }
        out.line(format!("{label:LABEL$} {now:>AMOUNT$} {steady:>AMOUNT$}"));
    };
    let label = format!(
        "{}/{}: {} a month",
        cost.app, cost.environment, cost.currency
    );
    row(&label, "NOW", "STEADY STATE");
    for item in &cost.items {
        let label = format!("{}: {}", item.kind.as_str(), item.subject);
        row(
            &label,
            &amount(item.now.as_ref()),
            &amount(item.steady.as_ref()),
        );
        out.sentence(format!("    {}", about(item)));
    }
    row(
        "what is counted",
        &cost.total.now.amount.to_string(),
        &cost.total.steady.amount.to_string(),
    );
    for (when, total) in [
        ("now", &cost.total.now),
        ("at steady state", &cost.total.steady),
    ] {
        let least = total.amount.least_micros;
        let differs = total.known_most_micros.to_string() != least.to_string();
        if total.amount.most_micros.is_none() && differs {
            let most = Amount::between(least, total.known_most_micros);
            out.sentence(format!(
                "  {when}: of what is known, {most}; the rest is unknown"
            ));
        }
    }
    out.line("");
    if cost.points == 0 && cost.errors.is_empty() {
        out.line("nothing is measured yet: there is no point");
        run.next(out, "backup");
    }
    for list in cost.prices.iter().filter(|list| list.old) {
        let date = list.date.map(|date| date.to_string()).unwrap_or_default();
        let page = list.source.as_deref().unwrap_or("its page");
        out.sentence(format!(
            "the prices of {} are old, of {date}: look at {page}",
            list.table
        ));
    }
    for not in &cost.not_counted {
        out.sentence(format!("not counted: {not}"));
    }
    match cost.cheaper.is_empty() {
        true if cost.points == 0 => {}
        true => out.sentence("cheaper: other storage classes that are read at once, and rules that reach half as far, would not save 0.05 a month where that can be said"),
        false => out.line("cheaper:"),
    }
    for cheaper in &cost.cheaper {
        let saves = match cheaper.saves {
            Amount::UNKNOWN => String::new(),
            saves => format!(" saves {saves} a month at steady state"),
        };
        out.sentence(format!("  {}{saves}", cheaper.change));
        out.sentence(format!("    for a restore: {}", cheaper.costs));
    }
}

fn amount(figure: Option<&Figure>) -> String {
    figure.map_or("not priced".to_owned(), |figure| figure.amount.to_string())
}

/// What an item is for, where its figures are from, and what is not known of it.
fn about(item: &Item) -> String {
    let quantity = |figure: &Figure| {
        let number = figure.count.map(|number| count(number, item.kind.unit()));
        let bytes = figure.bytes.map(bytes);
        let parts: Vec<String> = number.into_iter().chain(bytes).collect();
        parts.join(", ")
    };
    let now = item.now.as_ref().map(quantity).unwrap_or_default();
    let steady = item.steady.as_ref().map(quantity).unwrap_or_default();
    let amounts = match (now.is_empty(), steady.is_empty()) {
        (true, true) => None,
        _ if now == steady => Some(now),
        (false, true) => Some(format!("now {now}")),
        (true, false) => Some(format!("at steady state {steady}")),
        (false, false) => Some(format!("{now} now, {steady} at steady state")),
    };
    let parts = amounts.into_iter().chain(item.from.iter().cloned());
    let parts: Vec<String> = parts.chain(item.notes.iter().cloned()).collect();
    parts.join("; ")
}
