//! Passes a command to a shell on the other side of a connection, and reports its exit status.
//!
//! Guarantees: arguments, variables and secrets go through the connection's standard input. They
//! appear in no argument vector, here or there, except the command's own, and nothing is written
//! there. A command that was not given an input ends when the connection does. An exit status
//! counts only if the other side states it together with a number that nobody can guess: a broken
//! connection never looks like a command that succeeded.

use super::{Command, Reach, debian_package};
use crate::cancel;
use crate::error::{Code, Error, Fact, Result};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The argument of `sh -c` on the other side. It has no quote, backslash or exclamation mark, so
/// that any login shell leaves it unchanged between single quotes.
pub(super) const READ: &str = "IFS= read -r lifeboat && eval \"$lifeboat\"";

/// Starts a second shell with almost nothing in its environment, which reads the next line.
const CLEAN: &str = "exec env -i ${PATH+\"PATH=$PATH\"} ${HOME+\"HOME=$HOME\"} \
    sh -c 'IFS= read -r lifeboat && eval \"$lifeboat\"'\n";

/// Ends the command when the connection ends, together with what it started if it has a session of
/// its own (as under `sshd` and in a container).
const WATCH: &str = "( trap : TERM; exec >/dev/null 2>&1; IFS= read -r x <&3; exec 3<&-; \
    IFS=' ' read -r p n t f g s r </proc/$$/stat; \
    if test -n \"$g\" && test \"$g\" = \"$s\"; then kill -s TERM -- \"-$g\"; sleep 5; kill -s KILL -- \"-$g\"; \
    else kill -s TERM \"$c\"; sleep 5; kill -s KILL \"$c\"; fi ) & w=$!; ";

/// Number of bytes of a greeting that are held at a time.
const GREETING_BYTES: usize = 4096;

/// The other side of a running command.
#[derive(Debug)]
pub(super) struct Far {
    reach: Reach,
    program: String,
    marker: String,
}

impl Far {
    pub(super) fn new(reach: Reach, command: &Command) -> Result<Self> {
        let mut bytes = [0; 8];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| Error::io("no random bytes", &error.into()))?;
        Ok(Far {
            reach,
            program: command.program(),
            marker: format!("lifeboat-{:016x} ", u64::from_ne_bytes(bytes)),
        })
    }

    /// The input that is written to the other side first.
    pub(super) fn prologue(&self, command: &Command) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        if command.clean_env {
            line.extend_from_slice(CLEAN.as_bytes());
        }
        let begin = format!("echo \"{0}\"; echo \"{0}\" >&2; ", self.begin());
        line.extend_from_slice(begin.as_bytes());
        line.extend_from_slice(b"unset lifeboat; lbn=\"$(printf '\\nx')\"; lbn=\"${lbn%x}\"; ");
        if let Some(directory) = &command.directory {
            line.extend_from_slice(b"cd ");
            quote(&mut line, directory.as_os_str().as_bytes())?;
            line.extend_from_slice(b" || ");
            self.ends(&mut line, "exit 126", "126");
        }
        let secrets = command.secrets.iter().map(|(n, v)| (n, v.expose()));
        let plain = command.env.iter().map(|(n, v)| (n, v.as_bytes()));
        for (name, value) in plain.chain(secrets) {
            variable(name.as_bytes())?;
            line.extend_from_slice(b"export ");
            line.extend_from_slice(name.as_bytes());
            line.push(b'=');
            quote(&mut line, value)?;
            line.extend_from_slice(b"; ");
        }
        line.extend_from_slice(b"set --");
        for word in std::iter::once(&command.program).chain(&command.args) {
            line.push(b' ');
            quote(&mut line, word.as_bytes())?;
        }
        line.extend_from_slice(
            b"; unset lbn; case \"$1\" in */*) test -f \"$1\" && test -x \"$1\" ;; \
              *) command -v \"$1\" >/dev/null 2>&1 ;; esac || ",
        );
        self.ends(&mut line, "missing", "127");
        if command.stdin {
            line.extend_from_slice(b"\"$@\"; s=$?; ");
        } else {
            line.extend_from_slice(b"trap : TERM; exec 3<&0 </dev/null; \"$@\" 3<&- & c=$!; ");
            line.extend_from_slice(WATCH.as_bytes());
            line.extend_from_slice(
                b"exec 3<&-; wait \"$c\"; s=$?; { kill -s KILL \"$w\"; wait \"$w\"; } 2>/dev/null; ",
            );
        }
        self.ends(&mut line, "exit $s", "$s");
        line.push(b'\n');
        Ok(line)
    }

    /// A marker on a line of its own, on both outputs, before the command's output. A login shell
    /// may have printed something before.
    fn begin(&self) -> String {
        format!("{}begin", self.marker)
    }

    /// Reads up to the beginning of the command's output, and no further. At the end of the output
    /// it does nothing: the command's exit status tells why.
    pub(super) fn skip_greeting(&self, output: &mut dyn Read) {
        let begin = format!("{}\n", self.begin());
        let (mut seen, mut byte) = (Vec::new(), [0]);
        while !seen.ends_with(begin.as_bytes()) {
            match output.read(&mut byte) {
                Ok(1..) => seen.extend_from_slice(&byte),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return,
            }
            if seen.len() >= GREETING_BYTES {
                seen.drain(..GREETING_BYTES / 2);
            }
        }
    }

    /// The command's own output, without what came before it.
    fn own<'a>(&self, said: &'a str) -> &'a str {
        let own = said.split_once(&self.begin());
        own.map_or(said, |(_, own)| own.trim_start_matches('\n').trim_end())
    }

    /// Reports the exit status and exits.
    fn ends(&self, line: &mut Vec<u8>, how: &str, status: &str) {
        let text = format!("{{ echo \"{}{how}\" >&2; exit {status}; }}; ", self.marker);
        line.extend_from_slice(text.as_bytes());
    }

    /// The exit status of the command and its output, from the exit status of the client here and
    /// all of its output.
    pub(super) fn conclude(&self, status: ExitStatus, said: &str) -> Result<(ExitStatus, String)> {
        let told = said
            .rsplit_once(&self.marker)
            .map(|(before, after)| (before, after.lines().next().unwrap_or_default().trim()));
        if let Some((_, "missing")) = told {
            return Err(self.missing());
        }
        let code = told.and_then(|(_, how)| how.strip_prefix("exit ")?.parse::<u8>().ok());
        match (told, code) {
            (Some((before, _)), Some(code)) => {
                let status = ExitStatus::from_raw(i32::from(code) << 8);
                Ok((status, self.own(before).to_owned()))
            }
            _ => {
                cancel::check()?;
                let spoken = self.spoken(said);
                Err(self.reach.broken(&self.program, status, &spoken))
            }
        }
    }

    /// All of the output, without our own lines.
    pub(super) fn spoken(&self, said: &str) -> String {
        let lines = said.lines().filter(|line| !line.contains(&self.marker));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn missing(&self) -> Error {
        let (program, place) = (&self.program, self.reach.place());
        let error = Error::new(
            Code::ToolMissing,
            format!("{program} is not installed on {place}"),
        )
        .about(Fact::NotInstalled);
        error.hint(match debian_package(program) {
            Some(package) => format!("install it there: apt-get install {package}"),
            None => format!("install {program} there, or correct the command"),
        })
    }
}

/// Quotes bytes as `'…'` for a shell that reads a line; quotes and line breaks are put together
/// from pieces.
fn quote(line: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    line.push(b'\'');
    for byte in bytes {
        match byte {
            b'\'' => line.extend_from_slice(b"'\\''"),
            b'\n' => line.extend_from_slice(b"'\"$lbn\"'"),
            0 => {
                return Err(Error::new(
                    Code::Configuration,
                    "an argument or a variable holds a zero byte, which no program can be given",
                )
                .hint("correct the secret or the argument"));
            }
            other => line.push(*other),
        }
    }
    line.push(b'\'');
    Ok(())
}

/// Refuses the name of a variable that a shell cannot set.
fn variable(name: &[u8]) -> Result<()> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let begins = name
        .first()
        .is_some_and(|byte| !byte.is_ascii_digit() && fits(byte));
    if begins && name.iter().all(fits) {
        return Ok(());
    }
    Err(Error::new(
        Code::Configuration,
        format!(
            "{:?} is no name of an environment variable",
            String::from_utf8_lossy(name)
        ),
    )
    .hint("use letters, digits and _, beginning with a letter"))
}
