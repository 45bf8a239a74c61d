//! `lifeboat man`: manual pages, from the definitions of the command line.

use super::Run;
use crate::args::{self, Man};
use crate::output;
use clap::Command;
use clap_mangen::roff::{Roff, bold, roman};
use lifeboat_core::{Code, Error, Exit, Result, place};
use serde::Serialize;
use std::path::Path;

/// The document of `man --output`.
#[derive(Serialize)]
struct Written<'a> {
    directory: &'a Path,
    pages: Vec<String>,
}

pub fn run(run: &Run<'_>, args: &Man) -> Result<Exit> {
    let program = program();
    let Some(directory) = &args.output else {
        let (command, path) = find(&program, &args.words)?;
        run.results();
        run.out.line(page(command, &path)?.trim_end());
        return Ok(Exit::Done);
    };
    // For everybody to read, as the pages are.
    std::fs::create_dir_all(directory).map_err(|error| {
        let message = format!("{} cannot be made", directory.display());
        Error::new(Code::Target, message)
            .cause(error)
            .hint("name a directory that you may write to")
    })?;
    let mut pages = Vec::new();
    for (command, path) in all(&program, String::new()) {
        let name = format!("{}.1", name(command));
        let text = page(command, &path)?;
        place::replace_file(&mut text.as_bytes(), &directory.join(&name), 0o644)?;
        pages.push(name);
    }
    let written = Written { directory, pages };
    run.answer(&written, |out| {
        let count = output::count(written.pages.len(), "page");
        let first = directory.join("lifeboat.1");
        out.line(format!("{count} in {}", directory.display()));
        out.line(format!("read one with: man -l {}", first.display()));
    })?;
    Ok(Exit::Done)
}

/// The definitions, with the options of all commands in each, and the commands named as their pages.
fn program() -> Command {
    let mut program = args::command().disable_help_subcommand(true);
    program.build();
    program
}

/// The name of a page without its section: `lifeboat-repo-snapshots`.
fn name(command: &Command) -> &str {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
}

/// The command that these words name, and its words as one text.
fn find<'c>(program: &'c Command, words: &[String]) -> Result<(&'c Command, String)> {
    let mut command = program;
    for word in words {
        command = command.find_subcommand(word).ok_or_else(|| {
            let message = format!("lifeboat has no command {}", words.join(" "));
            Error::new(Code::Usage, message).hint("see `lifeboat --help`")
        })?;
    }
    Ok((command, words.join(" ")))
}

/// A command and all below it, each with its words.
fn all(command: &Command, path: String) -> Vec<(&Command, String)> {
    let below = command.get_subcommands().flat_map(|below| {
        let path = format!("{path} {}", below.get_name());
        all(below, path.trim_start().to_owned())
    });
    let below: Vec<_> = below.collect();
    std::iter::once((command, path)).chain(below).collect()
}

/// Lines that the generator writes before each section and a page needs once: how an apostrophe is set.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// The page of a command: as clap's generator writes it, with the exit codes in a section of their own.
fn page(command: &Command, path: &str) -> Result<String> {
    let man = clap_mangen::Man::new(command.clone())
        .source(concat!("lifeboat ", env!("CARGO_PKG_VERSION")))
        .manual("Lifeboat");
    let mut page = Vec::new();
    let mut render = || {
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        if command
            .get_arguments()
            .any(|argument| !argument.is_hide_set())
        {
            man.render_options_section(&mut page)?;
        }
        if command.has_subcommands() {
            man.render_subcommands_section(&mut page)?;
        }
        if let Some(exits) = args::exits::of(path) {
            exit_status(&exits).to_writer(&mut page)?;
        }
        Ok(())
    };
    render().map_err(|error: std::io::Error| Error::io("a man page cannot be written", &error))?;
    let sections = String::from_utf8_lossy(&page).replace(PREAMBLE, "");
    Ok(format!("{PREAMBLE}{sections}"))
}

fn exit_status(exits: &[args::exits::Meaning]) -> Roff {
    let mut section = Roff::default();
    section.control("SH", ["EXIT STATUS"]);
    for (exit, means) in exits {
        section.control("TP", []);
        section.text([bold(exit.code().to_string())]);
        section.text([roman(*means)]);
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_of_its_own_name() {
        let program = program();
        let all = all(&program, String::new());
        let names: Vec<&str> = all.iter().map(|(command, _)| name(command)).collect();
        for wanted in [
            "lifeboat",
            "lifeboat-backup",
            "lifeboat-config",
            "lifeboat-repo-snapshots",
            "lifeboat-repo-key-add",
        ] {
            assert!(names.contains(&wanted), "{wanted}: {names:?}");
        }
        let different: std::collections::BTreeSet<&&str> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "{names:?}");
        for (command, path) in &all {
            let text = page(command, path).expect("a page");
            assert!(text.contains(".SH NAME\n"), "{path}: {text}");
            assert_eq!(text.matches(".ds Aq \\(aq").count(), 1, "{path}: {text}");
            let has_exits = args::exits::of(path).is_some();
            assert_eq!(text.contains(".SH \"EXIT STATUS\"\n"), has_exits, "{path}");
        }
    }

    #[test]
    fn a_page_says_what_the_help_says() {
        let program = program();
        let words = ["repo", "snapshots"].map(str::to_owned);
        let (command, path) = find(&program, &words).expect("a command");
        let text = page(command, &path).expect("a page");
        assert!(text.contains("lifeboat\\-repo\\-snapshots"), "{text}");
        assert!(text.contains("\\-\\-latest"), "{text}");
        assert!(text.contains("\\-\\-json"), "{text}");
        assert!(text.contains("another process is at work there"), "{text}");
        let (command, path) = find(&program, &["demo".to_owned()]).expect("a command");
        let text = page(command, &path).expect("a page");
        assert!(
            text.contains("the demonstration\\*(Aqs directory"),
            "{text}"
        );
        let unknown = find(&program, &["snapshot".to_owned()]);
        assert_eq!(unknown.err().map(|error| error.code), Some(Code::Usage));
    }
}
