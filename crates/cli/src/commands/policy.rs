//! `lifeboat policy`.

use super::Run;
use crate::args::{self, PolicyFormat};
use lifeboat_core::policy::{self, Format, Role};
use lifeboat_core::{Exit, Result};

pub fn run(run: &Run<'_>, args: &args::Policy) -> Result<Exit> {
    let config = run.config()?;
    let document = match &args.lifecycle {
        Some(store) => policy::lifecycle(&config, store)?,
        None => {
            let named: Result<Vec<Role>> = args.role.iter().map(|role| role.parse()).collect();
            let roles = match args.role.is_empty() {
                true => Role::ALL.to_vec(),
                false => named?,
            };
            let format = match args.format {
                PolicyFormat::Aws => Format::Aws,
                PolicyFormat::Minio => Format::Minio,
            };
            policy::policy(&config, &roles, format)?
        }
    };
    run.results();
    match run.out.is_json() {
        true => run.out.json(&document)?,
        // A document for other programs, whoever reads it.
        false => run.out.line(format!("{document:#}")),
    }
    Ok(Exit::Done)
}
