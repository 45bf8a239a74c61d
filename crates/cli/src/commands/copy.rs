//! `lifeboat copy`.

use super::Run;
use crate::args;
use crate::output;
use lifeboat_core::copy::{self, Copies};
use lifeboat_core::history::JobKind;
use lifeboat_core::job;
use lifeboat_core::point::Selector;
use lifeboat_core::{Exit, Result};

pub fn run(run: &Run<'_>, args: &args::Copy) -> Result<Exit> {
    let context = run.context()?;
    let selector = args.point.as_deref().map(Selector::parse).transpose()?;
    let from = args.from.as_deref();
    let past = run.past(&context, &args.as_of, from)?;
    let source = past.as_ref().unwrap_or(&context);
    let work = || copy::run(source, &context, selector.as_ref(), from, &args.to);
    let known = context.config.store.get_key_value(args.to.as_str());
    let copies = match known {
        Some((to, _)) => job::record(&context, JobKind::Copy, to, work, job::of_copy)?,
        // The refusal names the stores there are.
        None => work()?,
    };
    run.results();
    for error in &copies.unread {
        run.warn(&error.to_string());
    }
    run.answer(&copies, |out| {
        let Copies { to, copied, unread } = &copies;
        for point in copied {
            let bytes = output::bytes(point.bytes);
            out.line(format!("{} copied to {to}: {bytes}", point.point));
        }
        if !copied.is_empty() {
            return;
        }
        let known = match unread.is_empty() {
            true => "",
            false => " of the points that could be read",
        };
        out.line(format!("store {to} lacks nothing{known}"));
        let mut plans = context.config.plan.values();
        if selector.is_none() && !plans.any(|plan| plan.stores.contains(to)) {
            out.line("no plan stores anything there: name a point to copy it all the same");
        }
    })?;
    Ok(copies.exit())
}
