//! `lifeboat report`.

use super::Run;
use crate::args::{ReportArgs, ReportForm};
use lifeboat_core::document::{Document, to_json};
use lifeboat_core::place;
use lifeboat_core::point::parse_time;
use lifeboat_core::report::{Report, to_html, to_markdown};
use lifeboat_core::{Code, Error, Exit, Result, job};

pub fn run(run: &Run<'_>, args: &ReportArgs) -> Result<Exit> {
    let until = args.until.as_deref().map(|text| {
        parse_time(text).map_err(|cause| {
            let message = format!("--until {text:?} is no time");
            Error::new(Code::Usage, message).cause(cause)
        })
    });
    let report = job::report(&run.context()?, args.period, until.transpose()?)?;
    let form = match run.out.is_json() {
        true => ReportForm::Json,
        false => args.format,
    };
    let Some(path) = &args.output else {
        run.results();
        match form {
            ReportForm::Json => run.out.document(&report)?,
            form => run.out.line(text(&report, form)?.trim_end()),
        }
        return Ok(Exit::Done);
    };
    let written = text(&report, form)?;
    place::replace_file(&mut written.as_bytes(), path, 0o600)?;
    run.results();
    Ok(Exit::Done)
}

fn text(report: &Report, form: ReportForm) -> Result<String> {
    Ok(match form {
        ReportForm::Md => to_markdown(report),
        ReportForm::Html => to_html(report),
        ReportForm::Json => {
            let bytes = to_json(&Document::new(report))?;
            String::from_utf8_lossy(&bytes).into_owned()
        }
    })
}
