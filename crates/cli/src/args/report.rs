//! What `lifeboat report` is asked.

use clap::{Args, ValueEnum};
use lifeboat_core::config::Period;
use std::path::PathBuf;

/// Tell of a period.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// How long it is
    #[arg(long, value_name = "day|week|month|quarter|year", value_parser = period, default_value = "week")]
    pub period: Period,
    /// When it ends: a time, or a date, which is its midnight in UTC; now when not given
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// The form
    #[arg(long, value_name = "md|html|json", value_enum, default_value_t = ReportForm::Md, hide_possible_values = true)]
    pub format: ReportForm,
    /// Write it into this file, in one step
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportForm {
    /// Markdown
    Md,
    /// One page that needs nothing else
    Html,
    /// The document
    Json,
}

fn period(text: &str) -> Result<Period, String> {
    let mut all = Period::ALL.into_iter();
    let known = all.find(|period| period.as_str() == text);
    known.ok_or_else(|| "write day, week, month, quarter or year".to_owned())
}
