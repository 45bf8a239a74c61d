//! `lifeboat daemon`.

use super::Run;
use crate::args::{self, DaemonCommand};
use crate::output::{self, Printer};
use crate::service::Systemd;
use lifeboat_core::clock::Clock;
use lifeboat_core::job::daemon::{self, Command, Options, Request, Wake};
use lifeboat_core::{Code, Error, Exit, Result};
use serde_json::Value;
use signal_hook::consts::SIGHUP;
use std::path::PathBuf;
use std::sync::Arc;

pub fn run(run: &Run<'_>, args: &args::Daemon) -> Result<Exit> {
    let Some(command) = &args.command else {
        return stay(run, args);
    };
    let command = match command {
        DaemonCommand::Status => Command::Status,
        DaemonCommand::Metrics => Command::Metrics,
        DaemonCommand::Wake => Command::Wake,
        DaemonCommand::Reload => Command::Reload,
        DaemonCommand::Cancel { job } => Command::Cancel { job: job.clone() },
        DaemonCommand::Stop => Command::Stop,
    };
    let request = Request::new(command, args.app.clone());
    let answer = daemon::ask(&socket(run, args)?, &request)?;
    if let Some(error) = answer.get("error") {
        let text = |key: &str| error.get(key).and_then(Value::as_str).map(str::to_owned);
        let code = match text("code").as_deref() {
            Some("usage") => Code::Usage,
            Some("configuration") => Code::Configuration,
            Some("busy") => Code::Busy,
            _ => Code::State,
        };
        let mut told = Error::new(code, text("message").unwrap_or_default());
        told.cause = text("cause");
        told.hint = text("hint");
        return Err(told);
    }
    run.results();
    match run.out.is_json() {
        true => run.out.json(&answer)?,
        false => tell(run.out, &answer),
    }
    Ok(Exit::Done)
}

/// The socket of the daemon that has this configuration.
fn socket(run: &Run<'_>, args: &args::Daemon) -> Result<PathBuf> {
    match &args.socket {
        Some(socket) => Ok(socket.clone()),
        None => daemon::socket(run.cli.config.as_deref()),
    }
}

fn stay(run: &Run<'_>, args: &args::Daemon) -> Result<Exit> {
    let (wake, wakes) = daemon::channel();
    let reload = wake.clone();
    if let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGHUP]) {
        lifeboat_core::thread::start(move || {
            for _ in signals.forever() {
                let _ = reload.send(Wake::Reload);
            }
        })?;
    }
    let service = Systemd::new(run.cli.log_format, run.cli.quiet);
    let options = Options {
        config: run.cli.config.clone(),
        socket: args.socket.clone(),
        turns: args.turns,
        clock: Clock::System,
        service: Arc::new(service),
    };
    daemon::run(options, (wake, wakes))?;
    Ok(Exit::Done)
}

fn tell(out: &Printer, answer: &Value) {
    let text = |value: &Value, key: &str| {
        let found = value.get(key).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    if let Some(metrics) = answer.get("metrics").and_then(Value::as_str) {
        return metrics.lines().for_each(|line| out.line(line));
    }
    if let Some(done) = answer.get("done").and_then(Value::as_str) {
        return out.line(done);
    }
    let pid = answer.get("pid").and_then(Value::as_u64).unwrap_or(0);
    out.line(format!(
        "lifeboat {}, process {pid}, since {}",
        text(answer, "version"),
        text(answer, "started")
    ));
    let applications = answer.get("applications").and_then(Value::as_array);
    let applications = applications.map(Vec::as_slice).unwrap_or_default();
    let rows = applications.iter().map(|app| {
        let running = app.get("running").and_then(Value::as_array);
        let running = running.into_iter().flatten().map(|job| {
            format!(
                "{} {} ({})",
                text(job, "kind"),
                text(job, "subject"),
                text(job, "job")
            )
        });
        let message = |key: &str| app.get(key).map(|error| text(error, "message"));
        let refused = message("refused").filter(|text| !text.is_empty());
        let failed = message("error").filter(|text| !text.is_empty());
        vec![
            text(app, "app"),
            text(app, "next"),
            running.collect::<Vec<_>>().join(", "),
            output::reason(refused.or(failed).as_deref()),
        ]
    });
    out.table(&["application", "next", "running", "wrong"], rows);
}
