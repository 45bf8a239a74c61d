//! Reading a store that no configuration names: on a machine that has nothing but its address, its
//! credentials and the decryption key.
//!
//! Guarantees: nothing is written to the store, and nothing is left on this machine but what was
//! restored; nobody's signature is believed because it is there. Whose key signed is for the
//! operator to say, who is told which one did. It makes no signing key, and so no evidence.

mod url;

use crate::archive::Identities;
use crate::clock::Clock;
use crate::config::{Config, StoreConfig, StoreKind};
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::observe::Observer;
use crate::point::{Manifest, OnlyPartial, PointId, Selector};
use crate::restore::fetch;
use crate::scratch;
use crate::secret::Reference;
use crate::shell::quote;
use crate::sign;
use crate::snapshot;
use crate::survey;
use crate::survey::Survey;
use crate::transport::resolve;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
pub use url::{BucketUrl, url_of};
use url::{insert, store, usage};

/// What such a store is called here.
pub const NAME: &str = "given";

/// What is known of the store, and how to open it.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// `file:///path` or a path, `s3://bucket/prefix?region=…`, `sftp://user@host:port/path?…`.
    pub url: String,
    /// The age or OpenPGP secret key.
    pub identity: Option<Reference>,
    /// Its passphrase.
    pub passphrase: Option<Reference>,
    /// The password of its repository.
    pub password: Option<Reference>,
    /// S3 access key; `AWS_ACCESS_KEY_ID` when absent.
    pub access_key: Option<Reference>,
    /// S3 secret key; `AWS_SECRET_ACCESS_KEY` when absent.
    pub secret_key: Option<Reference>,
    /// `APP` or `APP/ENVIRONMENT`, where a store holds several.
    pub app: Option<String>,
    /// An `allowed_signers` file.
    pub trusted_signers: Option<PathBuf>,
    /// Ids of signers to believe.
    pub trust: Vec<String>,
    /// The command as it was typed, to show how to go on.
    pub again: String,
}

/// What is wanted of it.
#[derive(Debug, Clone)]
pub enum Want {
    /// To see what is there, which needs no trust.
    List,
    /// A point that can be believed.
    Point(Selector),
}

/// Opens the store for reading, with a private state that goes with the value.
pub fn open(
    given: &Given,
    want: &Want,
    clock: Clock,
    observer: Arc<dyn Observer>,
) -> Result<Context> {
    let temporary = std::env::temp_dir();
    for stays in scratch::sweep(&temporary).stays {
        observer.warn(&format!(
            "what a run that was killed had restored is there in clear: {stays}"
        ));
    }
    let home = scratch::Directory::create(&temporary, "cold")?;
    let config = config(given, home.path())?;
    let mut context = Context::cold(config, home, clock, observer, &given.trust)?;
    let survey = survey::survey(&context, false)?;
    if survey.copies.is_empty() {
        return Err(nothing_there(&context, survey));
    }
    let apps: BTreeSet<(Name, Name)> = survey
        .copies
        .iter()
        .map(|(_, copy)| (copy.manifest.app.clone(), copy.manifest.environment.clone()))
        .filter(|(app, environment)| fits(given.app.as_deref(), app, environment))
        .collect();
    let of_point = |id: &str| {
        let mut copies = survey.copies.iter().map(|(_, copy)| &copy.manifest);
        copies
            .find(|m| m.point.as_str().starts_with(id))
            .map(|m| (m.app.clone(), m.environment.clone()))
    };
    let one = match (apps.len(), want) {
        (0, _) => return Err(no_such_app(given, &survey.copies)),
        (1, _) => apps.first().cloned(),
        (_, Want::Point(Selector::Prefix(id))) => of_point(id),
        _ => None,
    };
    match (one, want) {
        (Some((app, environment)), _) => context.settle(&app, &environment),
        // A list can show them all.
        (None, Want::List) if given.app.is_none() => {}
        (None, _) => return Err(several(given, &apps)),
    }
    if let Want::Point(selector) = want
        && given.trust.is_empty()
        && given.trusted_signers.is_none()
    {
        let point = fetch::choose(&context, selector, &[], None, OnlyPartial::Take)?;
        return Err(nobody_to_trust(given, &context, &point));
    }
    Ok(context)
}

fn fits(wanted: Option<&str>, app: &str, environment: &str) -> bool {
    match wanted.map(|wanted| wanted.split_once('/').ok_or(wanted)) {
        None => true,
        Some(Ok((name, within))) => name == app && within == environment,
        Some(Err(name)) => name == app,
    }
}

fn nothing_there(context: &Context, survey: Survey) -> Error {
    if let Some(unread) = survey.unread.into_iter().next() {
        return unread.error;
    }
    let place = context
        .store(NAME)
        .map_or_else(|_| "the store".to_owned(), |s| s.store.location());
    Error::new(
        Code::PointUnknown,
        format!("there is no restore point in {place}"),
    )
    .hint("check the path, bucket or prefix: it is the one that has the directory `lifeboat` in it")
}

fn no_such_app(given: &Given, copies: &[(Name, crate::copies::PointCopy)]) -> Error {
    let all: BTreeSet<String> = copies
        .iter()
        .map(|(_, c)| format!("{}/{}", c.manifest.app, c.manifest.environment))
        .collect();
    let wanted = given.app.as_deref().unwrap_or_default();
    Error::new(
        Code::PointUnknown,
        format!("the store holds no restore point of {wanted}"),
    )
    .hint(format!("it holds points of: {}", listed(all)))
}

fn several(given: &Given, apps: &BTreeSet<(Name, Name)>) -> Error {
    let all = apps.iter().map(|(app, within)| format!("{app}/{within}"));
    let first = all.clone().next().unwrap_or_default();
    Error::new(
        Code::PointAmbiguous,
        "the store holds points of several applications",
    )
    .cause(listed(all))
    .hint(format!(
        "say which, or name a point by its id: {} --app {first}",
        given.again
    ))
}

fn listed(all: impl IntoIterator<Item = String>) -> String {
    all.into_iter().collect::<Vec<_>>().join(", ")
}

/// Who signed the point; what is wrong with its signature, if nobody did.
fn nobody_to_trust(given: &Given, context: &Context, point: &PointId) -> Error {
    let copy = context
        .store(NAME)
        .and_then(|store| crate::copies::read(&store, point));
    let copy = match copy {
        Ok(copy) => copy,
        Err(error) => return error,
    };
    let signer = copy
        .signature
        .as_ref()
        .and_then(|signature| sign::signer_of(&copy.bytes, signature).ok());
    let Some(signer) = signer else {
        // No signature, or none of these bytes: that is another matter.
        return match copy.check_trust(&context.trusted) {
            Err(error) => error,
            Ok(()) => Error::new(Code::Untrusted, format!("{point} has no signature")),
        };
    };
    let manifest = &copy.manifest;
    Error::new(
        Code::NeedsConfirmation,
        format!(
            "{point} of {}/{} is signed by {signer}, and nothing here says whose key that is",
            manifest.app, manifest.environment
        ),
    )
    .cause("whoever can write to the store could have put it there")
    .hint(format!(
        "compare the key with `allowed_signers` of the recovery kit, or with what `lifeboat doctor` showed on the host; if it is the same: {} --trust-signer {signer}",
        given.again
    ))
}

/// The same errors, with hints that fit a machine without a configuration.
pub fn explain(error: Error) -> Error {
    let hint = match error.code {
        Code::Decryption if error.message.contains("repository") => {
            "give the password of the repository: --password REFERENCE (file:PATH, env:NAME or cmd:PROGRAM)"
        }
        Code::Decryption => {
            "give the key that decrypts this store: --identity file:PATH (an age identity or an OpenPGP secret key), and --passphrase REFERENCE when it has one"
        }
        Code::Secret if error.message.contains("AWS_") => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give --access-key REFERENCE and --secret-key REFERENCE (for the bucket of --to: its ?access_key=REFERENCE&secret_key=REFERENCE)"
        }
        Code::Store if error.message.contains("refused the credentials") => {
            "check the access key and the secret key (the environment, or --access-key and --secret-key), and the clock of this host"
        }
        _ => return error,
    };
    error.hint(hint)
}

/// A configuration of this one store.
fn config(given: &Given, state: &Path) -> Result<Config> {
    let mut store = store(given)?;
    if let Some(identity) = &given.identity {
        store.insert("decrypt".into(), decrypt(given, identity)?);
    } else if given.passphrase.is_some() {
        return Err(usage(
            "--passphrase is given, and no --identity that it opens",
        ));
    }
    if let Some(password) = &given.password {
        store.insert("layout".into(), json!("repository"));
        store.insert("password".into(), json!(password));
    }
    let mut app = json!({ "name": "unknown", "environment": "unknown", "state": state });
    if let Some(path) = &given.trusted_signers {
        let path = std::path::absolute(path)
            .map_err(|e| Error::io(format!("{} is no path", path.display()), &e))?;
        insert(&mut app, "trusted_signers", json!(path));
    }
    let whole = json!({ "version": 1, "app": app, "store": { NAME: Value::Object(store) } });
    Config::of_value(whole).map_err(|error| {
        let message = format!("the store's URL cannot be used: {}", error.message);
        Error { message, ..error }
    })
}

/// Which kind of key it is shows in its text.
fn decrypt(given: &Given, identity: &Reference) -> Result<Value> {
    let secret = resolve(identity)?;
    let text = secret.expose();
    // Binary packets of OpenPGP have their first bit set.
    let openpgp = text.starts_with(b"-----BEGIN PGP") || text.first().is_some_and(|b| *b >= 0x80);
    let mut table = json!({});
    let key = if openpgp { "openpgp" } else { "age" };
    insert(&mut table, key, json!(identity));
    if let Some(passphrase) = &given.passphrase {
        if !openpgp && Identities::parse(&secret, None).is_ok() {
            return Err(usage(
                "--passphrase is given, and the identity is not protected by one",
            ));
        }
        insert(&mut table, "passphrase", json!(passphrase));
    }
    Ok(table)
}

/// The configuration of the store that a URL names, with `state` for its directory.
pub(crate) fn store_config(given: &Given, state: &Path) -> Result<StoreConfig> {
    let mut config = config(given, state)?;
    let store = config.store.remove(NAME);
    store.ok_or_else(|| usage("the URL names no store"))
}

/// The command that restores a point of a store on a machine without a configuration.
pub fn command(kind: &StoreKind, manifest: &Manifest, signer: &str) -> String {
    let point = &manifest.point;
    let mut encrypt = manifest.artifacts.iter().map(|a| a.encrypt.as_deref());
    let key = match encrypt.find_map(|encrypt| encrypt) {
        Some(snapshot::ENCRYPTION) => " --password file:PATH",
        Some(_) => " --identity file:PATH",
        None => "",
    };
    format!(
        "lifeboat restore {point} --store-url {}{key} --trust-signer {signer} --to DIRECTORY",
        quote(&url_of(kind))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_named_alone_or_with_its_environment() {
        assert!(fits(None, "crm", "production"));
        assert!(fits(Some("crm"), "crm", "production"));
        assert!(fits(Some("crm/production"), "crm", "production"));
        assert!(!fits(Some("crm/test"), "crm", "production"));
        assert!(!fits(Some("cr"), "crm", "production"));
    }
}
