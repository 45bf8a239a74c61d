//! `lifeboat kit export|test|unpack`.

use super::Run;
use crate::args::{KitCommand, KitExport, KitFile, KitUnpack};
use crate::output::{self, line};
use lifeboat_core::archive::{Identities, Recipients};
use lifeboat_core::kit::{self, KitEntry, KitKey, KitOpener};
use lifeboat_core::observe::Observer;
use lifeboat_core::place;
use lifeboat_core::secret::{Reference, Secret};
use lifeboat_core::shell::quote;
use lifeboat_core::transport::resolve;
use lifeboat_core::{Code, Error, Result, recovery, scratch};
use serde_json::json;
use std::sync::Arc;

pub fn run(run: &Run<'_>, command: &KitCommand) -> Result<u8> {
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

fn export(run: &Run<'_>, args: &KitExport) -> Result<u8> {
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
    run.results();
    let names: Vec<_> = contents
        .entries
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    if run.cli.json {
        output::json(&json!({
            "schema": 1, "file": args.output, "bytes": sealed.len(), "entries": names, "warnings": contents.warnings,
        }))?;
    } else {
        line(format!(
            "{} holds: {}",
            args.output.display(),
            names.join(", ")
        ));
        let file = std::path::absolute(&args.output).unwrap_or_else(|_| args.output.clone());
        let opened = match &args.passphrase {
            Some(reference) => format!("--passphrase {}", quote(reference)),
            None => "--identity file:PATH, the private key".to_owned(),
        };
        line("keep it in two places, none of them this host; try it with:");
        line(format!(
            "  lifeboat kit test {} {opened}",
            quote(&file.to_string_lossy())
        ));
        contents
            .warnings
            .iter()
            .for_each(|warning| run.progress.warn(warning));
    }
    Ok(0)
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

fn test(run: &Run<'_>, args: &KitFile) -> Result<u8> {
    let entries = open(args)?;
    let directory = scratch::Directory::create(&std::env::temp_dir(), "kit")?;
    let observer = Arc::clone(run.progress) as Arc<dyn Observer>;
    let tried = recovery::try_kit(&entries, &directory.subdirectory("kit")?, &observer)?;
    run.results();
    let enough = tried.iter().any(|t| t.result.is_ok());
    if run.cli.json {
        let stores: Vec<_> = tried.iter().map(|t| match &t.result {
            Ok(point) => json!({ "store": t.store, "outcome": "readable", "point": point }),
            Err(error) => json!({ "store": t.store, "outcome": "unreadable", "error": output::error_value(error) }),
        }).collect();
        output::json(
            &json!({ "schema": 1, "outcome": if enough { "enough" } else { "not-enough" }, "stores": stores }),
        )?;
    } else {
        for store in &tried {
            match &store.result {
                Ok(point) => line(format!(
                    "store {}: the newest point {point} was read and decrypted whole with the kit alone",
                    store.store
                )),
                Err(error) => line(format!("store {}: {error}", store.store)),
            }
        }
    }
    Ok(if enough { 0 } else { 4 })
}

fn unpack(run: &Run<'_>, args: &KitUnpack) -> Result<u8> {
    let entries = open(&args.kit)?;
    let config = recovery::unpack_kit(&entries, &args.to)?;
    run.results();
    if run.cli.json {
        let names: Vec<_> = entries.iter().map(|(name, _)| name).collect();
        output::json(&json!({ "schema": 1, "config": config, "entries": names }))?;
        return Ok(0);
    }
    let config = quote(&config.to_string_lossy());
    line(format!(
        "{} holds the kit, in clear: remove it when all is well again",
        args.to.display()
    ));
    line("next, look what is there, and restore into a directory:");
    line(format!("  lifeboat --config {config} points"));
    line(format!(
        "  lifeboat --config {config} restore latest --to DIRECTORY"
    ));
    Ok(0)
}
