//! Hands a message to a program, as JSON on its standard input.

use super::render::webhook;
use super::send::{Delivered, SendError, Sending};
use crate::cancel;
use crate::config::CommandChannel;
use crate::error::{Code, Error};
use crate::thread;
use crate::transport::{Command, Transport};
use crate::visible::{cut, visible};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Time after which the program is killed, with all that it started.
const PROGRAM_MAX: Duration = Duration::from_secs(30);
/// Interval at which its end is looked for.
const LOOK: Duration = Duration::from_millis(10);
/// Longest reason in an error.
const WHY_CHARS_MAX: usize = 300;

/// Runs the program, which must exit with 0.
pub(super) fn send(sending: &Sending<'_>, config: &CommandChannel) -> Result<Delivered, SendError> {
    let Some((program, arguments)) = config.command.split_first() else {
        let error = Error::new(Code::Configuration, "it names no program");
        return Err(SendError::once_corrected(error));
    };
    let command = Command::new(program)
        .args(arguments)
        .stdin_piped()
        .own_group()
        .scrub_with(sending.scrubber);
    let mut running = Transport::Local
        .spawn(&command)
        .map_err(SendError::once_corrected)?;
    let input = webhook::document(sending.message);
    if let Some(mut stdin) = running.stdin.take() {
        // It may print before it has read everything; if it reads nothing, its exit status tells.
        let written = thread::start(move || stdin.write_all(&input));
        written.map_err(SendError::later)?;
    }
    if let Some(mut stdout) = running.stdout.take() {
        let read = thread::start(move || io::copy(&mut stdout, &mut io::sink()));
        read.map_err(SendError::later)?;
    }
    let begun = Instant::now();
    while !running.ended() && begun.elapsed() < PROGRAM_MAX && !cancel::requested() {
        std::thread::sleep(LOOK);
    }
    if !running.ended() {
        drop(running);
        let message = format!("{program} did not end within {} s", PROGRAM_MAX.as_secs());
        let hint = "let it hand the message over and end; what it started was ended, too";
        return Err(SendError::later(
            Error::new(Code::Channel, message).hint(hint),
        ));
    }
    let (status, said) = running.wait().map_err(SendError::later)?;
    if status.success() {
        return Ok(Delivered {
            to: program.clone(),
        });
    }
    let ended = match status.code() {
        Some(code) => format!("exit {code}"),
        None => status.to_string(),
    };
    let message = format!("{program} failed ({ended})");
    Err(SendError::later(
        Error::new(Code::Channel, message)
            .cause(cut(&visible(said.trim()), WHY_CHARS_MAX))
            .hint("run it by hand as the user that runs lifeboat; it is given JSON on its standard input"),
    ))
}
