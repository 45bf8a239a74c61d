//! Probes of a restored source: a value, a file, a command, row counts, an answer on the network.
//!
//! Every probe ends in a [`CheckResult`] that says what was expected and what was observed. A probe
//! that could not be made is `unknown`, never `passed`. Nothing here restores, compares with a
//! manifest or knows what a drill is. Whoever holds the connection asks SQL; [`Expect`] judges the
//! answer.

mod file;
mod reach;
mod result;

pub use file::check_file;
pub use reach::{Page, check_http, check_tcp};
pub use result::{CheckOutcome, CheckResult, DIFFERENCES_SHOWN, Observed, SEALED, Subject};

use crate::config::CheckConfig;
use crate::expect::{Expect, Percent};
use crate::fingerprint::Difference;
use crate::secret::{Scrubber, Secret};
use crate::thread;
use crate::transport::{Command, Running, Transport};
use std::collections::BTreeMap;
use std::io::Read;
use std::process::ExitStatus;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The subject of a configured check, without anything that may be data.
pub fn subject_of(check: &CheckConfig) -> Subject {
    let source = |kind, name: &Option<String>| name.as_ref().map(|name| Subject::of(kind, name));
    source("sql", &check.sql)
        .or_else(|| source("file", &check.file))
        .or_else(|| check.command.is_some().then(|| Subject::word("command")))
        .or_else(|| source("live", &check.live))
        .or_else(|| source("tcp", &check.tcp))
        .or_else(|| check.http.is_some().then(|| Subject::word("http")))
        .unwrap_or_else(|| Subject::word("nothing"))
}

/// The name of a configured check, for the operator.
pub fn name_of(check: &CheckConfig) -> String {
    let on = check.on.as_ref().map(|on| format!(" on {on}"));
    let on = on.unwrap_or_default();
    match check {
        CheckConfig {
            sql: Some(source),
            query,
            ..
        } => {
            format!("sql {source}{on}: {}", query.as_deref().unwrap_or_default())
        }
        CheckConfig {
            file: Some(source),
            path,
            ..
        } => {
            format!("file {source}: {}", path.as_deref().unwrap_or_default())
        }
        CheckConfig {
            command: Some(command),
            ..
        } => format!("command{on}: {}", command.join(" ")),
        CheckConfig {
            live: Some(source), ..
        } => format!("live {source}"),
        CheckConfig {
            tcp: Some(source),
            port,
            ..
        } => format!("tcp {source}: port {}", port.unwrap_or_default()),
        CheckConfig {
            http: Some(url), ..
        } => format!("http: {url}"),
        _ => "nothing".into(),
    }
}

/// Judges the answer to a query. `captured` is the answer kept from the capture.
pub fn judge_answer(
    name: Subject,
    expect: &Expect,
    observed: &str,
    captured: Option<&str>,
) -> CheckResult {
    let expected = match (expect, captured) {
        (Expect::Same, Some(captured)) => format!("same as at capture: {captured}"),
        (Expect::Same, None) => {
            return CheckResult::new(
                name,
                "same as at capture",
                format!("{observed}; no answer was kept at capture"),
                CheckOutcome::Unknown,
            );
        }
        (expect, _) => expect.to_string(),
    };
    let outcome = match expect.matches(observed, captured) {
        true => CheckOutcome::Passed,
        false => CheckOutcome::Failed,
    };
    CheckResult::new(name, expected, observed, outcome)
}

/// Number of bytes that are kept of a check command's output.
const OUTPUT_BYTES_MAX: usize = 2048;
/// How long the output of a finished command may stay open, held by processes that it started.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
/// Interval at which a running command is polled.
const POLL: Duration = Duration::from_millis(10);

/// Runs a command that must exit 0 within `timeout`; after that it and everything it started are
/// killed.
///
/// `env` is passed to the command; secrets in it are scrubbed from its output. If the command
/// fails, the last lines of its output are what was observed.
pub fn check_command(
    command: &[String],
    place: &Transport,
    env: &BTreeMap<String, Secret>,
    scrubber: &Scrubber,
    timeout: Duration,
) -> CheckResult {
    let asked = format!("command: {}", command.join(" "));
    CheckResult {
        asked: Some(asked.into()),
        ..run_command(command, place, env, scrubber, timeout)
    }
}

fn run_command(
    command: &[String],
    place: &Transport,
    env: &BTreeMap<String, Secret>,
    scrubber: &Scrubber,
    timeout: Duration,
) -> CheckResult {
    let name = Subject::word("command");
    let unknown = |why: String| CheckResult::unknown(name.clone(), "exit 0", why);
    let Some((program, arguments)) = command.split_first() else {
        return unknown("no command".into());
    };
    let mut child = Command::new(program).args(arguments).own_group();
    for (variable, value) in env {
        child = child.secret_env(variable, value);
    }
    let mut running = match place.spawn(&child.scrub_with(scrubber)) {
        Ok(running) => running,
        Err(error) => return unknown(error.to_string()),
    };
    let stdout = running.stdout.take();
    let (sender, printed) = mpsc::channel();
    let read = move || sender.send(stdout.map(keep_tail).unwrap_or_default());
    if let Err(error) = thread::start(read) {
        return unknown(error.to_string());
    }
    let deadline = Instant::now() + timeout;
    while !running.ended() && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
    if !running.ended() {
        drop(finish(running, true));
        let observed = format!("still running after {} s", timeout.as_secs());
        return CheckResult::new(name, "exit 0", observed, CheckOutcome::Failed);
    }
    let (status, stderr) = match finish(running, false) {
        Ok(Some(ended)) => ended,
        Ok(None) => {
            return unknown("it ended, but something it started holds its output open".into());
        }
        Err(error) => return unknown(error.to_string()),
    };
    if status.success() {
        return CheckResult::new(name, "exit 0", "exit 0", CheckOutcome::Passed);
    }
    let stdout = printed.recv_timeout(CLOSE_WAIT).unwrap_or_default();
    let said = match stderr.is_empty() {
        true => scrubber.scrub(String::from_utf8_lossy(&stdout).trim_end()),
        false => stderr,
    };
    let ended = match status.code() {
        Some(code) => format!("exit {code}"),
        None => status.to_string(),
    };
    let observed = match last_lines(&said) {
        "" => ended,
        said => format!("{ended}: {said}"),
    };
    CheckResult::new(name, "exit 0", observed, CheckOutcome::Failed)
}

/// Waits for the end of the output of `running`, no longer than [`CLOSE_WAIT`].
fn finish(running: Running, kill: bool) -> crate::error::Result<Option<(ExitStatus, String)>> {
    let (sender, receiver) = mpsc::channel();
    thread::start(move || {
        let ended = match kill {
            true => {
                drop(running.kill());
                None
            }
            false => running.wait().ok(),
        };
        // Nobody receives this any more if it took too long.
        let _ = sender.send(ended);
    })?;
    Ok(receiver.recv_timeout(CLOSE_WAIT).ok().flatten())
}

/// Reads to the end and keeps the last [`OUTPUT_BYTES_MAX`].
fn keep_tail(mut pipe: impl Read) -> Vec<u8> {
    let (mut tail, mut buffer) = (Vec::new(), vec![0; 4096]);
    while let Ok(count @ 1..) = pipe.read(&mut buffer) {
        tail.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let excess = tail.len().saturating_sub(OUTPUT_BYTES_MAX);
        tail.drain(..excess);
    }
    tail
}

/// The last lines of a text, as many as fit.
fn last_lines(text: &str) -> &str {
    let mut start = text.len().saturating_sub(OUTPUT_BYTES_MAX);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text.get(start..).unwrap_or_default().trim()
}

/// Compares the row counts of a restored database with those of another, such as `the live source`: the tables
/// must be the same, and counts may differ by `tolerance` of the larger one.
///
/// A backup of the wrong database restores perfectly; only this check notices.
pub fn compare_counts(
    name: Subject,
    restored: &BTreeMap<String, u64>,
    (what, live): (&str, &BTreeMap<String, u64>),
    tolerance: Percent,
) -> CheckResult {
    let expected = format!(
        "the {} tables of {what}, row counts within {tolerance}",
        live.len()
    );
    let mut differences = Vec::new();
    let mut differ = |table: &String, expected: String, observed: String| {
        differences.push(Difference {
            subject: format!("table {table}"),
            expected,
            observed,
        });
    };
    const NONE: &str = "no such table";
    for (table, &live_rows) in live {
        match restored.get(table) {
            None => differ(table, format!("{live_rows} rows"), NONE.into()),
            Some(&rows) if !tolerance.allows(rows, live_rows) => {
                differ(table, format!("{live_rows} rows"), format!("{rows} rows"));
            }
            Some(_) => {}
        }
    }
    for (table, rows) in restored
        .iter()
        .filter(|(table, _)| !live.contains_key(*table))
    {
        differ(table, NONE.into(), format!("{rows} rows"));
    }
    if live.is_empty() && restored.is_empty() {
        let why = "neither has a table";
        return CheckResult::unknown(name, expected, why);
    }
    if differences.is_empty() {
        let observed = format!("{} tables, all within {tolerance}", restored.len());
        return CheckResult::new(name, expected, observed, CheckOutcome::Passed);
    }
    CheckResult::differing(name, expected, &differences, |d| {
        format!(
            "{}: live {}, restored {}",
            d.subject, d.expected, d.observed
        )
    })
}

#[cfg(test)]
mod tests;
