//! `lifeboat copy`.

use super::Run;
use crate::args;
use crate::output::{self, line};
use lifeboat_core::Result;
use lifeboat_core::copy::{self, Copies};
use lifeboat_core::observe::Observer;
use lifeboat_core::point::Selector;

pub fn run(run: &Run<'_>, args: &args::Copy) -> Result<u8> {
    let context = run.context()?;
    let selector = args.point.as_deref().map(Selector::parse).transpose()?;
    let Copies { copied, unread } =
        copy::run(&context, selector.as_ref(), args.from.as_deref(), &args.to)?;
    run.results();
    for error in &unread {
        run.progress.warn(&error.to_string());
    }
    if run.cli.json {
        let errors: Vec<_> = unread.iter().map(output::error_value).collect();
        output::json(
            &serde_json::json!({ "schema": 1, "to": args.to, "copied": copied, "errors": errors }),
        )?;
    } else if copied.is_empty() {
        let known = match unread.is_empty() {
            true => "",
            false => " of the points that could be read",
        };
        line(format!("store {} lacks nothing{known}", args.to));
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
    Ok(match unread.is_empty() {
        true => 0,
        false => 3,
    })
}
