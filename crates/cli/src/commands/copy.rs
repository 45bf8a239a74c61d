//! `lifeboat copy`.

use super::Run;
use crate::args;
use crate::output::{self, line};
use lifeboat_core::point::Selector;
use lifeboat_core::{Result, copy};

pub fn run(run: &Run<'_>, args: &args::Copy) -> Result<u8> {
    let context = run.context()?;
    let selector = args.point.as_deref().map(Selector::parse).transpose()?;
    let copied = copy::run(&context, selector.as_ref(), args.from.as_deref(), &args.to)?;
    run.results();
    if run.cli.json {
        output::json(&serde_json::json!({ "schema": 1, "to": args.to, "copied": copied }))?;
    } else if copied.is_empty() {
        line(format!("store {} lacks nothing", args.to));
        let mut plans = context.config.plan.values();
        if selector.is_none() && !plans.any(|plan| plan.stores.iter().any(|s| *s == args.to)) {
            line("no plan stores anything there: name a point to copy it all the same");
        }
    } else {
        for point in &copied {
            line(format!(
                "{} copied to {}: {}",
                point.point,
                args.to,
                output::bytes(point.bytes)
            ));
        }
    }
    Ok(0)
}
