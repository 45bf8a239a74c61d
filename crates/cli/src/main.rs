//! The program: arguments in, tables and JSON out. What a backup means is in `lifeboat-core`.

mod args;
mod commands;
mod output;
mod progress;
mod service;
mod words;

use args::{Cli, LogFormat};
use clap::FromArgMatches;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use lifeboat_core::cancel::Cancel;
use lifeboat_core::observe::Reporter;
use lifeboat_core::{Code, Error, Exit};
use output::Printer;
use progress::{Detail, Progress};
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    ExitCode::from(run().code())
}

fn run() -> Exit {
    let parsed = args::command().try_get_matches();
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let detail = match (cli.quiet, cli.verbose) {
        (true, _) => Detail::Quiet,
        (false, 0) => Detail::Normal,
        _ => Detail::Verbose,
    };
    let silent = cli.quiet && !cli.json && cli.command.acts();
    let out = Printer::new(cli.json, silent);
    start_log(cli.verbose, cli.log_format);
    let cancel = Cancel::default();
    if let Err(error) = listen_for_signals(cancel.clone(), cli.command.stays()) {
        out.finish(None);
        out.error(&error);
        return error.code.exit();
    }
    let progress = Arc::new(Progress::new(detail, cli.log_format == LogFormat::Json));
    let reporter = Reporter::new(progress.clone());
    let result = cancel.run(|| commands::run(&cli, &progress, &reporter, &out));
    drop(reporter);
    progress.finish();
    out.finish(result.as_ref().ok().copied());
    result.unwrap_or_else(|error| {
        out.error(&error);
        error.code.exit()
    })
}

/// Help and version are results; anything else that clap refuses is a usage error.
fn refuse(error: &clap::Error) -> Exit {
    let shown = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    let as_json = std::env::args_os().any(|a| a == "--json");
    let out = Printer::new(as_json, false);
    if let Some(error) = word_of_another_tool(error) {
        out.error(&error);
        return Exit::Usage;
    }
    if !shown && as_json {
        let text = error.render().to_string();
        // The sentence, and the list that may follow it.
        let said = text
            .lines()
            .map(str::trim)
            .take_while(|line| !line.is_empty());
        let said = said.collect::<Vec<_>>().join(" ");
        let message = said.trim_start_matches("error: ");
        out.error(&Error::new(Code::Usage, message).hint("see `lifeboat --help`"));
        return Exit::Usage;
    }
    // The help's own printing cannot fail in a way that matters more than the exit code.
    let _ = error.print();
    match shown {
        true => Exit::Done,
        false => Exit::Usage,
    }
}

/// A command that other tools have, with what to run here.
fn word_of_another_tool(error: &clap::Error) -> Option<Error> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let repo = std::env::args_os().any(|argument| argument == "repo");
    let hint = words::home(word, repo)?;
    let message = match repo {
        true => format!("`lifeboat repo` has no command {word}"),
        false => format!("lifeboat has no command {word}"),
    };
    Some(Error::new(Code::Usage, message).hint(hint))
}

/// The first signal ends the run in order; the second ends it at once. SIGHUP has another meaning
/// for a process that `stays`.
fn listen_for_signals(cancel: Cancel, stays: bool) -> lifeboat_core::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let ends: &[i32] = match stays {
        true => &[SIGINT, SIGTERM],
        false => &[SIGINT, SIGTERM, SIGHUP],
    };
    // Without the handler a signal simply ends the process.
    let Ok(mut signals) = signal_hook::iterator::Signals::new(ends) else {
        return Ok(());
    };
    let listen = move || {
        for (count, signal) in signals.forever().enumerate() {
            if count > 0 {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
            cancel.request();
        }
    };
    lifeboat_core::thread::start(listen).map(drop)
}

fn start_log(verbose: u8, format: LogFormat) {
    use tracing_subscriber::filter::LevelFilter;
    let level = match verbose {
        0 => LevelFilter::ERROR,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr);
    // Only one subscriber is ever set in this process.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
