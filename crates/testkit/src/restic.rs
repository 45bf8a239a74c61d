//! Real restic programs: the one of this release of Debian, and the current one.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A restic program.
#[derive(Debug, Clone)]
pub struct Restic(PathBuf);

/// The result of a run.
#[derive(Debug)]
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// The standard output.
    pub stdout: String,
    /// The standard error.
    pub stderr: String,
}

impl Restic {
    /// The installed restic: 0.14.
    pub fn installed() -> Self {
        Restic("restic".into())
    }

    /// The current restic, which `scripts/tools` unpacks: 0.19.
    pub fn current() -> Self {
        Restic(crate::mariadb::sid().join("usr/bin/restic"))
    }

    /// Both restics.
    pub fn all() -> [Self; 2] {
        [Restic::installed(), Restic::current()]
    }

    /// The command for a repository with this password, without a cache.
    pub fn command(&self, repository: &Path, password: &str) -> Command {
        let mut command = Command::new(&self.0);
        command
            .args(["--no-cache", "-r"])
            .arg(repository)
            .env("RESTIC_PASSWORD", password);
        command
    }

    /// Runs restic.
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

    /// Runs restic and returns what it printed. Panics if it fails.
    pub fn ok(&self, repository: &Path, password: &str, args: &[&str]) -> String {
        let ended = self.run(repository, password, args);
        assert_eq!(ended.code, 0, "{:?} {args:?}: {ended:?}", self.0);
        ended.stdout
    }
}
