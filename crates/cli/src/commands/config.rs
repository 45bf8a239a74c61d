//! `lifeboat config check|show|schema`.

use super::Run;
use crate::args::ConfigCommand;
use crate::output::{self, line};
use lifeboat_core::Result;
use lifeboat_core::config;
use lifeboat_core::finding::Severity;

pub fn run(run: &Run<'_>, command: ConfigCommand) -> Result<u8> {
    match command {
        ConfigCommand::Schema => {
            run.results();
            output::json(&config::schema())?;
            Ok(0)
        }
        ConfigCommand::Show => {
            let config = run.config()?;
            run.results();
            if run.cli.json {
                output::json(&config)?;
            } else {
                line(config.masked_toml().trim_end());
            }
            Ok(0)
        }
        ConfigCommand::Check => {
            let config = run.config()?;
            let findings = config.check();
            run.results();
            let code = super::doctor::show(run, &findings)?;
            if code == 0 && !run.cli.json && !findings.iter().any(|f| f.severity > Severity::Ok) {
                line(format!("{} is valid", config.origin.display()));
            }
            Ok(if code == 0 { 0 } else { 2 })
        }
    }
}
