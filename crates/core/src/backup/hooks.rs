//! The commands around a plan: before its first source, and after its last one.

use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::transport::{Command, Transport};

/// Stage at which commands around a plan run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// Before the first source; the first command that fails ends the stage.
    Before,
    /// After the last source, also when the run was interrupted: every command runs, and the first
    /// error is returned.
    Finally,
}

impl Hook {
    fn as_str(self) -> &'static str {
        match self {
            Hook::Before => "before",
            Hook::Finally => "finally",
        }
    }
}

/// Runs the commands around a plan.
pub(super) fn run_commands(context: &Context, hook: Hook, commands: &[Vec<String>]) -> Result<()> {
    let when = hook.as_str();
    let mut first = None;
    for words in commands {
        let Some((program, arguments)) = words.split_first() else {
            continue;
        };
        context
            .reporter
            .step(&format!("{when}: {}", words.join(" ")), None);
        let command = Command::new(program)
            .args(arguments)
            .scrub_with(&context.scrubber);
        let command = match hook {
            Hook::Before => command,
            Hook::Finally => command.cleanup(),
        };
        let failed = match Transport::Local.output(&command) {
            Ok(output) if output.status.success() => continue,
            Ok(output) => {
                let message = format!(
                    "the `{when}` command {} ended with {}",
                    words.join(" "),
                    output.status
                );
                Error::new(Code::SourceFailed, message)
                    .cause(output.stderr)
                    .hint("run it by hand as the user that runs lifeboat")
            }
            Err(error) => error,
        };
        if hook == Hook::Before {
            return Err(failed);
        }
        first.get_or_insert(failed);
    }
    first.map_or(Ok(()), Err)
}
