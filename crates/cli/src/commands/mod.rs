//! A file for each verb: it calls the core and shows what it returned.

mod backup;
mod config;
mod copy;
mod demo;
mod doctor;
mod drill;
mod evidence;
mod init;
mod kit;
mod points;
mod restore;
mod verify;

use crate::args::{Cli, Command};
use crate::progress::Progress;
use clap::CommandFactory;
use lifeboat_core::Result;
use lifeboat_core::clock::Clock;
use lifeboat_core::config::Config;
use lifeboat_core::context::Context;
use std::sync::Arc;

/// What every verb is given.
pub struct Run<'a> {
    /// The command line.
    pub cli: &'a Cli,
    /// Who hears of progress.
    pub progress: &'a Arc<Progress>,
}

impl Run<'_> {
    /// Reads the configuration.
    pub fn config(&self) -> Result<Config> {
        Config::load(self.cli.config.as_deref())
    }

    /// Reads the configuration and opens the state.
    pub fn context(&self) -> Result<Context> {
        self.context_of(self.config()?)
    }

    /// Opens the state of a configuration.
    pub fn context_of(&self, config: Config) -> Result<Context> {
        let observer = Arc::clone(self.progress) as Arc<dyn lifeboat_core::observe::Observer>;
        Context::open(config, Clock::System, observer, self.cli.command.trust())
    }

    /// Removes the bar, so that results can be printed.
    pub fn results(&self) {
        self.progress.finish();
    }
}

/// Runs the verb; the exit code.
pub fn run(cli: &Cli, progress: &Arc<Progress>) -> Result<u8> {
    let run = Run { cli, progress };
    match &cli.command {
        Command::Init(args) => init::run(&run, args),
        Command::Doctor => doctor::run(&run),
        Command::Config { command } => config::run(&run, *command),
        Command::Backup(args) => backup::run(&run, args),
        Command::Points(args) => points::list(&run, args),
        Command::Show(args) => points::show(&run, args),
        Command::Verify(args) => verify::run(&run, args),
        Command::Copy(args) => copy::run(&run, args),
        Command::Drill(args) => drill::run(&run, args),
        Command::Restore(args) => restore::run(&run, args),
        Command::Evidence { command } => evidence::run(&run, command),
        Command::Kit { command } => kit::run(&run, command),
        Command::Completions { shell } => {
            progress.finish();
            // It panics when it cannot write, as when its reader has gone.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "lifeboat", &mut script);
            crate::output::line(String::from_utf8_lossy(&script).trim_end());
            Ok(0)
        }
        Command::Demo(args) => demo::run(&run, args),
    }
}
