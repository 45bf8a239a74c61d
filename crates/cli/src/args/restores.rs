//! The arguments of `restores`.

use clap::{Args, Subcommand};

/// Live restores that are open.
#[derive(Debug, Subcommand)]
pub enum RestoresCommand {
    /// List those that were interrupted, and those that keep what was live before
    List,
    /// Go on with one that was interrupted, from where it was
    Resume(OpenRestore),
    /// Take one back: what was live before is live again. Without --confirm, say what that would do and lose
    Undo(UndoRestore),
    /// Remove what was live before: the restore cannot be taken back afterwards
    Finish(OpenRestore),
}

/// One of them.
#[derive(Debug, Args)]
pub struct OpenRestore {
    /// Its id, or the beginning of it
    pub id: String,
    /// Names the application
    #[arg(long, value_name = "APP/ENVIRONMENT")]
    pub confirm: Option<String>,
}

/// Take one back.
#[derive(Debug, Args)]
pub struct UndoRestore {
    #[command(flatten)]
    pub which: OpenRestore,
    /// Why; kept in the evidence
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}
