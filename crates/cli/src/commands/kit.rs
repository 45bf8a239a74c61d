//! `lifeboat kit export|test|unpack`.

use super::Run;
use crate::args::{KitCommand, KitExport, KitFile, KitUnpack};
use crate::output::Printer;
use lifeboat_core::archive::{Identities, Recipients};
use lifeboat_core::kit::{self, KitEntry, KitKey, KitOpener};
use lifeboat_core::place;
use lifeboat_core::recovery::{self, Exported, Unpacked};
use lifeboat_core::resolve::resolve;
use lifeboat_core::secret::{Reference, Secret};
use lifeboat_core::shell::quote;
use lifeboat_core::{Code, Error, Exit, Result, scratch};

pub fn run(run: &Run<'_>, command: &KitCommand) -> Result<Exit> {
    match command {
        KitCommand::Export(args) => export(run, args),
        KitCommand::Test(args) => test(run, args),
        KitCommand::Unpack(args) => unpack(run, args),
    }
}

fn secret(text: &str) -> Result<Secret> {
    let reference = Reference::parse(text).map_err(|wrong| {
        Error::new(Code::Usage, wrong.to_string())
            .hint("put it into a file that only you can read, and write file:PATH")
    })?;
    resolve(&reference)
}

fn export(run: &Run<'_>, args: &KitExport) -> Result<Exit> {
    let context = run.context()?;
    let key = match &args.passphrase {
        Some(reference) => KitKey::Passphrase(secret(reference)?),
        None => {
            let now = context.clock.now();
            KitKey::Recipients(Recipients::parse_any(&args.recipient, now)?)
        }
    };
    let contents = recovery::contents(&context)?;
    let sealed = kit::pack(&contents.entries, &key)?;
    place::write_file(&mut sealed.as_slice(), &args.output, 0o600)?;
    let exported = Exported {
        file: &args.output,
        bytes: sealed.len(),
        entries: names(&contents.entries),
        warnings: &contents.warnings,
    };
    run.answer(&exported, |out| tell_exported(out, args, &exported))?;
    if !run.out.is_json() {
        let warnings = contents.warnings.iter();
        warnings.for_each(|warning| run.warn(warning));
    }
    Ok(Exit::Done)
}

fn names(entries: &[KitEntry]) -> Vec<&str> {
    entries.iter().map(|(name, _)| name.as_str()).collect()
}

fn tell_exported(out: &Printer, args: &KitExport, exported: &Exported<'_>) {
    out.line(format!(
        "{} holds: {}",
        args.output.display(),
        exported.entries.join(", ")
    ));
    let file = std::path::absolute(&args.output).unwrap_or_else(|_| args.output.clone());
    let opened = match &args.passphrase {
        Some(reference) => format!("--passphrase {}", quote(reference)),
        None => "--identity file:PATH, the private key".to_owned(),
    };
    out.line("keep it in two places, none of them this host; try it with:");
    out.line(format!(
        "  lifeboat kit test {} {opened}",
        quote(&file.to_string_lossy())
    ));
}

/// What a kit holds.
fn open(args: &KitFile) -> Result<Vec<KitEntry>> {
    let opener = match (&args.passphrase, &args.identity) {
        (Some(reference), _) => KitOpener::Passphrase(secret(reference)?),
        (None, Some(reference)) => {
            let passphrase = args
                .identity_passphrase
                .as_deref()
                .map(secret)
                .transpose()?;
            let identities = Identities::parse_any(&secret(reference)?, passphrase.as_ref())?;
            KitOpener::Identities(identities)
        }
        (None, None) => return Err(Error::new(Code::Usage, "give --passphrase or --identity")),
    };
    let sealed = lifeboat_core::plain::read(&args.file).map_err(|error| {
        Error::new(
            Code::Usage,
            format!("the kit {} cannot be read", args.file.display()),
        )
        .cause(error)
        .hint("name the file that `lifeboat kit export -o FILE` wrote")
    })?;
    kit::unpack(&sealed, &opener)
}

fn test(run: &Run<'_>, args: &KitFile) -> Result<Exit> {
    let entries = open(args)?;
    let directory = scratch::Directory::create(&std::env::temp_dir(), "kit")?;
    let trial = recovery::try_kit(&entries, &directory.subdirectory("kit")?, run.reporter)?;
    run.answer(&trial, |out| {
        for tried in trial.stores() {
            let store = &tried.store;
            out.line(match &tried.result {
                Ok(point) => format!(
                    "store {store}: the newest point {point} was read and decrypted whole with the kit alone"
                ),
                Err(error) => format!("store {store}: {error}"),
            });
        }
    })?;
    Ok(trial.exit())
}

fn unpack(run: &Run<'_>, args: &KitUnpack) -> Result<Exit> {
    let entries = open(&args.kit)?;
    let config = recovery::unpack_kit(&entries, &args.to)?;
    let unpacked = Unpacked {
        config: &config,
        entries: names(&entries),
    };
    run.answer(&unpacked, |out| {
        let config = quote(&config.to_string_lossy());
        out.line(format!(
            "{} holds the kit, in clear: remove it when all is well again",
            args.to.display()
        ));
        out.line("next, look what is there, and restore into a directory:");
        out.line(format!("  lifeboat --config {config} points"));
        out.line(format!(
            "  lifeboat --config {config} restore latest --to DIRECTORY"
        ));
    })?;
    Ok(Exit::Done)
}
