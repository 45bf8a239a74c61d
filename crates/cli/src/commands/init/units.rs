//! `lifeboat init --systemd`.

use crate::args::Init;
use crate::commands::Run;
use crate::output::Printer;
use lifeboat_core::config::Config;
use lifeboat_core::units::{self, DIRECTORY, Document, Unit, Units, Writes, Written};
use lifeboat_core::{Code, Error, Exit, Result, place};
use std::path::{Path, PathBuf};

pub fn run(run: &Run<'_>, args: &Init) -> Result<Exit> {
    let given = Config::locate(run.cli.config.as_deref())?.0;
    let given = std::path::absolute(&given).unwrap_or(given);
    let program = std::env::current_exe().map_err(|error| {
        Error::new(Code::Io, "the path of this program is not known").cause(error)
    })?;
    let configurations = configurations(run, &given)?;
    let units = match given.is_dir() {
        true => units::several(&configurations, &program, &given)?,
        false => units::units(&configurations, &program, &given)?,
    };
    let output = args.output.as_deref().unwrap_or(Path::new(DIRECTORY));
    let directory = (output != Path::new("-")).then_some(output);
    if let Some(directory) = directory {
        write(&units.units, directory, args.force)?;
    }
    let absent = units
        .writes
        .directories
        .iter()
        .filter(|path| !path.exists());
    let absent: Vec<PathBuf> = absent.cloned().collect();
    let document = document(&units, directory, &absent);
    run.answer(
        &lifeboat_core::document::Document::new(&document),
        |out| match directory {
            Some(directory) => {
                tell(out, &document, directory, &units.writes);
                tell_next(run, out, given.is_dir());
            }
            None => print(out, &units.units),
        },
    )?;
    Ok(Exit::Done)
}

/// The configurations that the units will read. One that is refused would be no use to them.
fn configurations(run: &Run<'_>, given: &Path) -> Result<Vec<Config>> {
    if !given.is_dir() {
        return Ok(vec![run.config()?]);
    }
    let found = Config::load_directory(given)?;
    found.into_iter().map(|(_, config)| config).collect()
}

/// Writes the units, and replaces none that is different without `force`.
fn write(units: &[Unit], directory: &Path, force: bool) -> Result<()> {
    if !directory.is_dir() {
        let message = format!("{} is no directory", directory.display());
        return Err(Error::new(Code::Target, message).hint(
            "this host does not seem to run systemd; write the units elsewhere with --output DIR, or see them with --output -",
        ));
    }
    let stands = |unit: &&Unit| {
        let old = std::fs::read(directory.join(unit.name));
        old.map_or(true, |old| old != unit.text.as_bytes())
    };
    let wanted: Vec<&Unit> = units.iter().filter(stands).collect();
    let other = wanted.iter().map(|unit| directory.join(unit.name));
    let mut other = other.filter(|path| path.symlink_metadata().is_ok());
    if !force && let Some(path) = other.next() {
        let message = format!("{} is there already, and different", path.display());
        return Err(Error::new(Code::Target, message).hint(
            "compare with --output -, and replace what is there with --force; what you add yourself is kept in `systemctl edit` instead",
        ));
    }
    for unit in wanted {
        let path = directory.join(unit.name);
        place::replace_file(&mut unit.text.as_bytes(), &path, 0o644).map_err(|error| Error {
            message: format!("{} cannot be written", path.display()),
            ..error.hint("mend the cause; where only root may write, run it as root, or write the units elsewhere with --output DIR")
        })?;
    }
    Ok(())
}

fn document<'a>(
    units: &'a Units,
    directory: Option<&'a Path>,
    absent: &'a [PathBuf],
) -> Document<'a> {
    let written = units.units.iter().map(|unit| Written {
        name: unit.name,
        text: directory.is_none().then_some(unit.text.as_str()),
    });
    Document {
        directory,
        units: written.collect(),
        writable: &units.writes.directories,
        absent,
        commands: &units.writes.commands,
        environment: &units.environment,
    }
}

fn print(out: &Printer, units: &[Unit]) {
    for (number, unit) in units.iter().enumerate() {
        if number > 0 {
            out.line("");
        }
        out.line(format!("# {DIRECTORY}/{}", unit.name));
        out.line(unit.text.trim_end());
    }
}

fn tell(out: &Printer, document: &Document<'_>, directory: &Path, writes: &Writes) {
    for unit in &document.units {
        out.line(format!(
            "written      {}",
            directory.join(unit.name).display()
        ));
    }
    for path in document.writable {
        out.line(format!("may write    {}", path.display()));
    }
    for key in document.commands {
        out.line(format!("runs inside  {key}"));
    }
    out.line(format!("environment  {}", document.environment.display()));
    if !document.commands.is_empty() {
        out.line(
            "\nWhat these commands write must be writable for the unit, too. Add it to the unit",
        );
        out.line("that you start: systemctl edit lifeboat.service");
        out.line("  [Service]");
        out.line("  ReadWritePaths=PATH");
    }
    for path in document.absent {
        let mode = if writes.shared.contains(path) {
            "755"
        } else {
            "700"
        };
        let path = lifeboat_core::shell::quote(&path.to_string_lossy());
        out.line(format!(
            "\n{path} is not there yet, and must be when the unit starts:"
        ));
        out.line(format!("  install -d -m {mode} {path}"));
    }
}

fn tell_next(run: &Run<'_>, out: &Printer, several: bool) {
    if several {
        out.line("\nnext: systemctl daemon-reload && systemctl enable --now lifeboat.service");
        out.line(
            "There is no timer: `lifeboat run` takes one configuration, the daemon all of them.",
        );
    } else {
        out.line("\nnext: systemctl daemon-reload, and then one of the two:");
        out.line("  systemctl enable --now lifeboat.service     stays, and does what is due");
        out.line("  systemctl enable --now lifeboat-run.timer   looks every ten minutes");
    }
    let see = run.command(if several { "daemon status" } else { "status" });
    out.line(format!("then see what runs when: {see}"));
    out.line("A live restore is run by hand, outside of these units: lifeboat restore.");
}
