//! A file for each verb: it calls the core and shows what it returned.

mod alarms;
mod backup;
mod config;
mod copy;
mod cost;
mod daemon;
mod demo;
mod diff;
mod doctor;
mod drill;
mod evidence;
mod init;
mod kit;
mod man;
mod notify;
mod points;
mod policy;
mod posture;
mod prune;
mod repo;
mod report;
mod restore;
mod restores;
mod run;
mod status;
mod verify;

use crate::args::{self, Cli, Command};
use crate::output::Printer;
use crate::progress::Progress;
use jiff::Timestamp;
use lifeboat_core::clock::Clock;
use lifeboat_core::cold::{self, Want};
use lifeboat_core::config::Config;
use lifeboat_core::context::Context;
use lifeboat_core::given::Given;
use lifeboat_core::observe::Reporter;
use lifeboat_core::past;
use lifeboat_core::secret::Reference;
use lifeboat_core::shell::quote;
use lifeboat_core::{Code, Error, Exit, Result};
use serde::Serialize;

/// What every verb is given.
pub struct Run<'a> {
    /// The command line.
    pub cli: &'a Cli,
    /// Who hears of progress.
    pub progress: &'a Progress,
    /// Tells of it.
    pub reporter: &'a Reporter,
    /// Prints the results.
    pub out: &'a Printer,
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

    /// The same; or, where a store is given instead of a configuration, opens that.
    pub fn context_for(&self, given: &args::Cold, want: &Want) -> Result<Context> {
        match &given.store_url {
            Some(url) => self.cold(given, url, want, None),
            None => self.context(),
        }
    }

    /// The same; or, with `--as-of`, all that as it stood at a time. Of a configuration only
    /// `store` is read, if one is named.
    pub fn context_as_of(
        &self,
        given: &args::Cold,
        as_of: &args::AsOf,
        store: Option<&str>,
        want: &Want,
    ) -> Result<Context> {
        let Some(url) = &given.store_url else {
            let present = self.context()?;
            return Ok(self.past(&present, as_of, store)?.unwrap_or(present));
        };
        let at = as_of.time.as_deref();
        let at = at.map(|time| past::time(time, Clock::System.now()));
        self.cold(given, url, want, at.transpose()?)
    }

    /// The stores of a configuration as they stood at the time of `--as-of`, if it is given; only
    /// `store`, if one is named.
    pub fn past(
        &self,
        present: &Context,
        as_of: &args::AsOf,
        store: Option<&str>,
    ) -> Result<Option<Context>> {
        let Some(time) = &as_of.time else {
            return Ok(None);
        };
        let at = past::time(time, present.clock.now())?;
        past::open(present, at, store).map(Some)
    }

    /// Opens the store of a URL, perhaps as it stood at a time.
    fn cold(
        &self,
        given: &args::Cold,
        url: &str,
        want: &Want,
        as_of: Option<Timestamp>,
    ) -> Result<Context> {
        let reference = |text: &Option<String>, option: &str| {
            let parse = |text: &String| {
                Reference::parse(text).map_err(|why| {
                    Error::new(Code::Usage, format!("{option} is no reference to a secret"))
                        .cause(why)
                })
            };
            text.as_ref().map(parse).transpose()
        };
        let typed = std::env::args().map(|word| quote(&word));
        let given = Given {
            url: url.to_owned(),
            identity: reference(&given.identity, "--identity")?,
            passphrase: reference(&given.passphrase, "--passphrase")?,
            password: reference(&given.password, "--password")?,
            access_key: reference(&given.access_key, "--access-key")?,
            secret_key: reference(&given.secret_key, "--secret-key")?,
            app: given.app.clone(),
            trusted_signers: given.trusted_signers.clone(),
            trust: self.cli.command.trust().to_vec(),
            as_of,
            again: typed.collect::<Vec<_>>().join(" "),
        };
        let reporter = self.reporter.clone();
        cold::open(&given, want, Clock::System, reporter)
    }

    /// Opens the state of a configuration.
    pub fn context_of(&self, config: Config) -> Result<Context> {
        let reporter = self.reporter.clone();
        Context::open(config, Clock::System, reporter, self.cli.command.trust())
    }

    /// Removes the bar, so that results can be printed.
    pub fn results(&self) {
        self.progress.finish();
    }

    /// Prints what a verb came to: as one JSON document, or as `tell` puts it for people.
    pub fn answer<T: Serialize>(&self, document: &T, tell: impl FnOnce(&Printer)) -> Result<()> {
        self.results();
        match self.out.is_json() {
            true => self.out.document(document),
            false => {
                tell(self.out);
                Ok(())
            }
        }
    }

    /// Names the command that comes next, of this configuration.
    pub fn next(&self, out: &Printer, words: &str) {
        out.line(format!("next: {}", self.command(words)));
    }

    /// The command of these words, of this configuration.
    pub fn command(&self, words: &str) -> String {
        let config = self.cli.config.as_ref();
        let config = config.map(|path| format!(" --config {}", quote(&path.to_string_lossy())));
        format!("lifeboat{} {words}", config.unwrap_or_default())
    }

    /// Tells the operator of something that is no result.
    pub fn warn(&self, message: &str) {
        self.reporter.warn(message);
    }
}

/// Runs the verb; how it ends the program.
pub fn run(cli: &Cli, progress: &Progress, reporter: &Reporter, out: &Printer) -> Result<Exit> {
    let run = Run {
        cli,
        progress,
        reporter,
        out,
    };
    match cli.command.is_cold() {
        true => carry_out(&run).map_err(cold::explain),
        false => carry_out(&run),
    }
}

fn carry_out(run: &Run<'_>) -> Result<Exit> {
    match &run.cli.command {
        Command::Init(args) => init::run(run, args),
        Command::Doctor => doctor::run(run),
        Command::Policy(args) => policy::run(run, args),
        Command::Posture(args) => posture::run(run, args),
        Command::Config { command } => config::run(run, *command),
        Command::Backup(args) => backup::run(run, args),
        Command::Points(args) => points::list(run, args),
        Command::Show(args) => points::show(run, args),
        Command::Diff(args) => diff::run(run, args),
        Command::Verify(args) => verify::run(run, args),
        Command::Copy(args) => copy::run(run, args),
        Command::Prune(args) => prune::run(run, args),
        Command::Pin(args) => prune::pin(run, args, true),
        Command::Unpin(args) => prune::pin(run, args, false),
        Command::Drill(args) => drill::run(run, args),
        Command::Restore(args) => restore::run(run, args),
        Command::Restores { command } => restores::run(run, command),
        Command::Run(args) => run::run(run, args),
        Command::Daemon(args) => daemon::run(run, args),
        Command::Jobs(args) => run::jobs(run, args),
        Command::Status(args) => status::run(run, args),
        Command::Metrics => status::metrics(run),
        Command::Gate(args) => status::gate(run, args),
        Command::Report(args) => report::run(run, args),
        Command::Cost(args) => cost::run(run, args),
        Command::Alarms => alarms::run(run),
        Command::Ack(args) => alarms::acknowledge(run, args),
        Command::Notify { command } => notify::run(run, command),
        Command::Evidence { command } => evidence::run(run, command),
        Command::Kit { command } => kit::run(run, command),
        Command::Repo(args) => repo::run(run, args),
        Command::Completions { shell } => {
            run.results();
            // It panics when it cannot write, as when its reader has gone.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut args::command(), "lifeboat", &mut script);
            run.out.line(String::from_utf8_lossy(&script).trim_end());
            Ok(Exit::Done)
        }
        Command::Man(args) => man::run(run, args),
        Command::Demo(args) => demo::run(run, args),
    }
}
