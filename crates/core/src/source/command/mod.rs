//! The standard output of a command as a source, for anything that has its own export program.
//!
//! Guarantees: the whole output of a command that succeeded, hashed as it passes. No shell is used.
//! Secrets are passed in the environment and are scrubbed from the command's messages. The meaning
//! of the bytes is unknown, so their consistency is whatever the command guarantees.

mod descriptor;

pub use descriptor::OfCommand;

use super::{ArtifactSpec, CaptureContext, Captured, Live, Source, no_artifact};
use crate::config::CommandConfig;
use crate::error::{Code, Error, Result};
use crate::finding::{Finding, Severity};
use crate::name::Name;
use crate::resolve::resolve;
use crate::transport::{Command, Running, Transport, debian_package};
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, ExitStatus};

/// The one artifact of a command.
const ARTIFACT: &str = "output";
/// Bytes read at a time.
const BUFFER_BYTES: usize = 256 << 10;
/// Pipe size asked of the kernel, so that the command rarely waits for us; the most that an
/// unprivileged user may have.
const PIPE_BYTES: usize = 1 << 20;

/// A command whose standard output is backed up.
#[derive(Debug, Clone)]
pub struct CommandSource {
    config: CommandConfig,
    program: String,
    transport: Transport,
}

impl CommandSource {
    /// Checks the configuration; nothing is run or resolved.
    pub fn new(config: CommandConfig) -> Result<Self> {
        let program = config.command.first().filter(|program| !program.is_empty());
        let Some(program) = program.cloned() else {
            return Err(
                Error::new(Code::Configuration, "`command` names no program")
                    .hint("write it as a list: command = [\"program\", \"argument\"]"),
            );
        };
        let transport = config.place.transport();
        Ok(CommandSource {
            config,
            program,
            transport,
        })
    }

    /// The command with its secrets resolved.
    fn command(&self, context: &CaptureContext<'_>) -> Result<Command> {
        let mut command = Command::new(&self.program).args(self.config.command.iter().skip(1));
        for (name, reference) in &self.config.env {
            command = command.secret_env(name, &resolve(reference)?);
        }
        Ok(command.scrub_with(context.scrubber))
    }

    fn failed(&self, how: &str) -> Error {
        Error::new(Code::SourceFailed, format!("{} {how}", self.program))
            .hint("run the command by hand as the user that runs lifeboat")
    }

    /// Passes all output of the command to `output`. Returns its length in bytes.
    fn stream(
        &self,
        mut stdout: ChildStdout,
        output: &mut dyn Write,
        context: &CaptureContext<'_>,
    ) -> Result<u64> {
        // A small pipe is slower, not wrong.
        let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_BYTES);
        let mut bytes = 0;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = match stdout.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed("cannot be read from").cause(error)),
            };
            output
                .write_all(buffer.get(..count).unwrap_or_default())
                .map_err(|error| {
                    let doing = format!("the output of {} cannot be passed on", self.program);
                    Error::from_io(Code::Io, doing, error)
                })?;
            bytes += count as u64;
            context.reporter.advance(count as u64);
        }
        Ok(bytes)
    }

    /// Waits for the end of the command. Fails unless it succeeded and printed enough bytes.
    fn conclude(&self, running: Running, bytes: u64) -> Result<()> {
        let (status, stderr) = running.wait()?;
        if !status.success() {
            return Err(self.failed(&ended(status)).cause(stderr));
        }
        let least = self.config.min_bytes;
        if bytes < least {
            return Err(Error::new(
                Code::SourceFailed,
                format!(
                    "{} printed {bytes} bytes, fewer than min_bytes = {least}",
                    self.program
                ),
            )
            .cause(stderr)
            .hint("run the command by hand, or lower min_bytes if so little is right"));
        }
        Ok(())
    }
}

impl CommandSource {
    fn examine_here(&self, subject: &str) -> Finding {
        match find_program(&self.program) {
            Some(path) => Finding::new(
                subject,
                Severity::Ok,
                format!("the command is {}", path.display()),
                None,
            ),
            None => Finding::new(
                subject,
                Severity::Error,
                format!("{} is no program this user can run", self.program),
                Some(match debian_package(&self.program) {
                    Some(package) => format!("install it: apt-get install {package}"),
                    None => format!("install {}, or correct the command", self.program),
                }),
            ),
        }
    }

    /// Checks that the other side answers and has the program.
    fn examine_there(&self, subject: &str) -> Finding {
        let place = self.transport.place().unwrap_or_default();
        let look = Command::new("sh").args(["-c", "command -v \"$1\"", "look", &self.program]);
        match self.transport.output(&look) {
            Err(error) => Finding::new(subject, Severity::Error, error.to_string(), error.hint),
            Ok(output) if output.status.success() => {
                let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                let message = format!("{place} answers, and the command there is {path}");
                Finding::new(subject, Severity::Ok, message, None)
            }
            Ok(_) => Finding::new(
                subject,
                Severity::Error,
                format!("{} is no program on {place}", self.program),
                Some(match debian_package(&self.program) {
                    Some(package) => format!("install it there: apt-get install {package}"),
                    None => format!("install {} there, or correct the command", self.program),
                }),
            ),
        }
    }
}

/// Describes how a failed command ended.
fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => format!("ended with {status}"),
    }
}

impl Source for CommandSource {
    fn live(&self) -> Live {
        Live::Nowhere(
            "a command's output has no live place; restore it with --to and load it by hand",
        )
    }

    fn artifacts(&self) -> Vec<ArtifactSpec> {
        vec![ArtifactSpec {
            name: Name::own(ARTIFACT),
            extension: self.config.extension.clone(),
        }]
    }

    fn capture(
        &self,
        artifact: &str,
        output: &mut dyn Write,
        context: &CaptureContext<'_>,
    ) -> Result<Captured> {
        if artifact != ARTIFACT {
            return Err(no_artifact(artifact));
        }
        let mut running = self.transport.spawn(&self.command(context)?)?;
        let stdout = running
            .stdout
            .take()
            .ok_or_else(|| self.failed("was started without a pipe"))?;
        // On an error, dropping `running` kills the command.
        let bytes = self.stream(stdout, output, context)?;
        self.conclude(running, bytes)?;
        Ok(Captured::of_bytes())
    }

    fn examine(&self, subject: &str, _context: &CaptureContext<'_>) -> Vec<Finding> {
        let mut findings = Vec::new();
        match &self.transport {
            Transport::Remote(_) => findings.push(self.examine_there(subject)),
            Transport::Local => findings.push(self.examine_here(subject)),
        }
        for (name, reference) in &self.config.env {
            if let Err(error) = resolve(reference) {
                let message = format!("{name} of the command's environment: {error}");
                findings.push(Finding::new(subject, Severity::Error, message, error.hint));
            }
        }
        findings
    }
}

/// The path of the program: itself if it has a slash, else the first executable in `PATH`.
fn find_program(program: &str) -> Option<PathBuf> {
    let runs = |path: &Path| {
        path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| runs(path));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| runs(candidate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Extension;
    use crate::observe::Reporter;
    use crate::point::Consistency;
    use crate::secret::{Reference, Scrubber};
    use std::collections::BTreeMap;

    fn source(script: &str) -> CommandSource {
        CommandSource::new(config(&["sh", "-c", script])).unwrap()
    }

    fn config(command: &[&str]) -> CommandConfig {
        CommandConfig {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            extension: Extension::own("json"),
            env: BTreeMap::new(),
            min_bytes: 1,
            place: crate::config::PlaceConfig::default(),
        }
    }

    fn capture(source: &CommandSource, output: &mut dyn Write) -> Result<Captured> {
        source.capture(
            ARTIFACT,
            output,
            &CaptureContext {
                render: &|template| Ok(template.to_owned()),
                scratch: Path::new("/"),
                scrubber: &Scrubber::default(),
                reporter: &Reporter::silent(),
                queries: &[],
            },
        )
    }

    #[test]
    fn what_it_prints_is_captured() {
        let source = source("seq 1 500000; echo progress >&2");
        assert_eq!(source.artifacts()[0].extension, "json");
        let mut output = Vec::new();
        let captured = capture(&source, &mut output).unwrap();
        assert!(output.starts_with(b"1\n2\n") && output.ends_with(b"\n500000\n"));
        assert_eq!(
            captured.proof, None,
            "its bytes are all that is known of it"
        );
        assert_eq!(captured.consistency, Consistency::Unknown);
    }

    #[test]
    fn a_command_that_fails_after_its_output_fails_the_capture() {
        let error = capture(
            &source("echo whole; echo no route >&2; exit 3"),
            &mut Vec::new(),
        );
        let error = error.unwrap_err();
        assert_eq!(error.code, Code::SourceFailed);
        assert_eq!(error.message, "sh ended with exit status 3");
        assert_eq!(error.cause.as_deref(), Some("no route"));
        let error = capture(&source("echo whole; kill -9 $$"), &mut Vec::new()).unwrap_err();
        assert_eq!(error.message, "sh was killed by signal 9");
    }

    #[test]
    fn too_little_is_a_failure() {
        let error = capture(&source("true"), &mut Vec::new()).unwrap_err();
        assert_eq!(error.code, Code::SourceFailed);
        assert!(error.message.contains("min_bytes = 1"), "{error}");
        let mut config = config(&["printf", "12345"]);
        config.min_bytes = 5;
        assert!(
            capture(
                &CommandSource::new(config.clone()).unwrap(),
                &mut Vec::new()
            )
            .is_ok()
        );
        config.min_bytes = 6;
        assert!(capture(&CommandSource::new(config).unwrap(), &mut Vec::new()).is_err());
    }

    #[test]
    fn secrets_reach_the_command_and_no_message() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"hunter2\n").unwrap();
        let reference = format!("file:{}", file.path().display());
        let mut config = config(&[
            "sh",
            "-c",
            "printf %s \"$TOKEN\"; echo \"$TOKEN\" >&2; exit $BAD",
        ]);
        let secret = Reference::parse(&reference).unwrap();
        config.env.insert("TOKEN".into(), secret);
        let mut output = Vec::new();
        capture(&CommandSource::new(config.clone()).unwrap(), &mut output).unwrap();
        assert_eq!(output, b"hunter2");
        file.as_file().set_len(0).unwrap();
        let unresolved = capture(
            &CommandSource::new(config.clone()).unwrap(),
            &mut Vec::new(),
        );
        assert_eq!(unresolved.unwrap_err().code, Code::Secret);
        std::io::Seek::rewind(&mut file).unwrap();
        file.write_all(b"hunter2").unwrap();
        config.command[2] = config.command[2].replace("$BAD", "1");
        let error = capture(&CommandSource::new(config).unwrap(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.cause.as_deref(), Some("***"));
    }

    #[test]
    fn a_failing_output_shows_as_itself_and_ends_the_command() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(Error::new(Code::Store, "the disk is full").into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let error = capture(&source("while :; do echo endless; done"), &mut Full).unwrap_err();
        assert_eq!(error.message, "the disk is full");
    }

    #[test]
    fn a_missing_program_and_an_empty_command_are_reported() {
        let missing = CommandSource::new(config(&["no-such-program-here"])).unwrap();
        assert_eq!(
            capture(&missing, &mut Vec::new()).unwrap_err().code,
            Code::ToolMissing
        );
        let context = CaptureContext {
            render: &|template| Ok(template.to_owned()),
            scratch: Path::new("/"),
            scrubber: &Scrubber::default(),
            reporter: &Reporter::silent(),
            queries: &[],
        };
        let severities = |source: &CommandSource| -> Vec<Severity> {
            source
                .examine("source.x", &context)
                .iter()
                .map(|f| f.severity)
                .collect()
        };
        assert_eq!(severities(&missing), [Severity::Error]);
        assert_eq!(severities(&source("true")), [Severity::Ok]);
        let plain_file = CommandSource::new(config(&["/etc/passwd"])).unwrap();
        assert_eq!(severities(&plain_file), [Severity::Error]);
        let mut unset = config(&["true"]);
        unset.env.insert(
            "T".into(),
            Reference::parse("env:LIFEBOAT_NEVER_SET").unwrap(),
        );
        let unset = CommandSource::new(unset).unwrap();
        assert_eq!(severities(&unset), [Severity::Ok, Severity::Error]);
        assert!(CommandSource::new(config(&[])).is_err());
    }
}
