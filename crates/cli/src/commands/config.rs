//! `lifeboat config check|show|schema`.

use super::{Run, doctor};
use crate::args::ConfigCommand;
use lifeboat_core::config;
use lifeboat_core::finding::{Findings, Severity};
use lifeboat_core::{Exit, Result};

pub fn run(run: &Run<'_>, command: ConfigCommand) -> Result<Exit> {
    match command {
        ConfigCommand::Schema => {
            run.results();
            run.out.json(&config::schema())?;
            Ok(Exit::Done)
        }
        ConfigCommand::Show => {
            let config = run.config()?;
            run.results();
            match run.out.is_json() {
                // As the file has it: `version` says which version of the format it is.
                true => run.out.json(&config)?,
                false => run.out.line(config.masked_toml().trim_end()),
            }
            Ok(Exit::Done)
        }
        ConfigCommand::Check => {
            let config = run.config()?;
            let findings = Findings::new(config.check());
            run.answer(&findings, |out| {
                doctor::show(out, &findings);
                let wrong = findings.count(Severity::Error) + findings.count(Severity::Warning);
                if wrong == 0 {
                    out.line(format!("{} is valid", config.origin.display()));
                }
                if findings.count(Severity::Error) == 0 {
                    run.next(out, "doctor");
                }
            })?;
            Ok(findings.exit(Exit::Usage))
        }
    }
}
