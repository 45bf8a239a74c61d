//! Real restic programs: that of this release of Debian, and the current one.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A restic program.
#[derive(Debug, Clone)]
pub struct Restic(PathBuf);

/// What a run ended with.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Restic {
    /// The one that is installed: 0.14.
    pub fn installed() -> Self {
        Restic("restic".into())
    }

    /// The current one, which `scripts/tools` unpacks: 0.19.
    pub fn current() -> Self {
        Restic(crate::mariadb::sid().join("usr/bin/restic"))
    }

    /// Both.
    pub fn all() -> [Self; 2] {
        [Restic::installed(), Restic::current()]
    }

    /// The command, without cache, for a repository with this password.
    pub fn command(&self, repository: &Path, password: &str) -> Command {
        let mut command = Command::new(&self.0);
        command
            .args(["--no-cache", "-r"])
            .arg(repository)
            .env("RESTIC_PASSWORD", password);
        command
    }

    /// Runs it.
    pub fn run(&self, repository: &Path, password: &str, args: &[&str]) -> Ended {
        let output = self.command(repository, password).args(args).output();
        let output = output.expect("scripts/tools installs restic");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Runs it; it must end well. What it printed.
    pub fn ok(&self, repository: &Path, password: &str, args: &[&str]) -> String {
        let ended = self.run(repository, password, args);
        assert_eq!(ended.code, 0, "{:?} {args:?}: {ended:?}", self.0);
        ended.stdout
    }
}
