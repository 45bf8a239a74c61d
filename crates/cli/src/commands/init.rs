//! `lifeboat init`.

mod units;

use super::Run;
use crate::args::Init;
use crate::output::Printer;
use lifeboat_core::discover::{self, Document, Found, Proposal};
use lifeboat_core::host::host;
use lifeboat_core::place;
use lifeboat_core::{Code, Error, Exit, Result};
use std::path::Path;

pub fn run(run: &Run<'_>, args: &Init) -> Result<Exit> {
    if args.systemd {
        return units::run(run, args);
    }
    let output = args.output.as_deref().unwrap_or(Path::new("lifeboat.toml"));
    let root = args.root.canonicalize().map_err(|error| {
        let message = format!("{} cannot be looked at", args.root.display());
        Error::new(Code::Usage, message)
            .cause(error)
            .hint("name a directory: --root DIR")
    })?;
    let to_stdout = output == Path::new("-");
    if !to_stdout && !args.force && output.symlink_metadata().is_ok() {
        let message = format!("{} is there already", output.display());
        return Err(Error::new(Code::Target, message)
            .hint("look at a new proposal with --output -, write it elsewhere with --output FILE, or replace the file with --force"));
    }
    let containers = match root == Path::new("/") {
        true => discover::containers(),
        false => Vec::new(),
    };
    let found = discover::discover(&root, &containers);
    let proposal = discover::render(&found, &host())?;
    let mut text = proposal.text.as_bytes();
    if !to_stdout {
        match args.force {
            true => place::replace_file(&mut text, output, 0o600)?,
            false => place::write_file(&mut text, output, 0o600)?,
        };
    }
    let file = (!to_stdout).then_some(output);
    run.answer(&Document::new(file, &found, &proposal), |out| match file {
        None => out.line(proposal.text.trim_end()),
        Some(file) => show(out, file, &found, &proposal),
    })?;
    Ok(Exit::Done)
}

fn show(out: &Printer, file: &Path, found: &Found, proposal: &Proposal) {
    for application in &found.applications {
        let (path, framework) = (application.path.display(), &application.framework);
        out.line(format!("application  {path} ({framework})"));
    }
    for database in &found.databases {
        let (name, kind, seen) = (&database.name, database.kind.name(), &database.seen);
        out.line(format!("database     {name} ({kind}), through {seen}"));
    }
    for server in &found.servers {
        out.line(format!(
            "server       {}: {}",
            server.kind.name(),
            server.seen
        ));
    }
    for secret in &found.secrets {
        out.line(format!("secrets      {}", secret.display()));
    }
    for path in &found.certificates {
        out.line(format!("certificates {}", path.display()));
    }
    for unit in &found.units {
        out.line(format!("unit         {}", unit.name));
    }
    for path in &found.system {
        out.line(format!("system       {}", path.display()));
    }
    for unread in &found.unread {
        out.line(format!("not seen     {unread}"));
    }
    out.line(format!(
        "\n{} is written. Read it, then fill in:",
        file.display()
    ));
    for missing in &proposal.missing {
        out.line(format!("  {}: {}", missing.reference, missing.now));
    }
    out.line("Then run lifeboat doctor.");
}
