//! `lifeboat init`.

mod units;

use super::Run;
use crate::args::Init;
use crate::output::Printer;
use lifeboat_core::discover::{self, Document, Found, Missing, Proposal};
use lifeboat_core::host::host;
use lifeboat_core::place;
use lifeboat_core::shell::quote;
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
        "\n{} is written: read it, and correct it.",
        file.display()
    ));
    show_next(out, file, proposal);
}

/// What has to be made and filled in, as commands to type, and the command that follows.
fn show_next(out: &Printer, file: &Path, proposal: &Proposal) {
    let is_there = |missing: &&Missing| {
        let path = missing.reference.trim_start_matches("file:");
        Path::new(path).exists()
    };
    let absent = proposal.missing.iter().filter(|m| !is_there(m));
    let make: Vec<&String> = absent.filter_map(|m| m.make.as_ref()).collect();
    if !make.is_empty() {
        out.line("\nnext, make the keys that backups are encrypted with:");
        for command in make {
            out.line(format!("  {command}"));
        }
        out.line("Copy the private key to where you find it when this host is gone: no backup");
        out.line("can be opened without it.");
    }
    let mut secrets = proposal
        .missing
        .iter()
        .filter(|m| m.make.is_none())
        .peekable();
    if secrets.peek().is_some() {
        let file = quote(&proposal.secrets.to_string_lossy());
        out.line(format!(
            "\nnext, put the secrets into {file}, as NAME='value':"
        ));
        for missing in secrets {
            let name = missing.reference.trim_start_matches("env:");
            out.line(format!("  {name}: now {}", missing.now));
        }
        out.line("let nobody else read it, and give them to the commands that follow:");
        out.line(format!("  chmod 600 {file}; set -a; . {file}; set +a"));
    }
    // Where a configuration is looked for without being named.
    let found = [
        "lifeboat.toml",
        "./lifeboat.toml",
        "/etc/lifeboat/lifeboat.toml",
    ];
    let named = match found.iter().any(|known| file == Path::new(known)) {
        true => String::new(),
        false => format!(" --config {}", quote(&file.to_string_lossy())),
    };
    out.line(format!("\nnext: lifeboat{named} doctor"));
}
