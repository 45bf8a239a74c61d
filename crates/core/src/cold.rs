//! Reading a store without a configuration, on a machine that has only the store's address, its
//! credentials and the decryption key.
//!
//! Guarantees: nothing is written to the store, and nothing but what was restored stays on this
//! machine. No signature is trusted merely because it is there: the operator is told which key
//! signed, and decides whether to trust it. No signing key is made, and so no evidence.

use crate::clock::Clock;
use crate::context::Context;
use crate::error::{Code, Error, Fact, Result};
use crate::fetch;
use crate::given::{Given, NAME, config};
use crate::name::Name;
use crate::observe::Reporter;
use crate::past;
use crate::point::{OnlyPartial, PointId, Selector};
use crate::scratch;
use crate::stores::Stores;
use crate::survey::{self, Survey};
use std::collections::BTreeSet;

/// Purpose for which the store is opened.
#[derive(Debug, Clone)]
pub enum Want {
    /// Listing what the store holds, which needs no trust.
    List,
    /// Reading a point, which must be signed by a trusted signer.
    Point(Selector),
}

/// Opens the store for reading, with a temporary state directory that is removed with the context.
pub fn open(given: &Given, want: &Want, clock: Clock, reporter: Reporter) -> Result<Context> {
    let temporary = std::env::temp_dir();
    for stays in scratch::sweep(&temporary).stays {
        reporter.warn(&format!(
            "what a run that was killed had restored is there in clear: {stays}"
        ));
    }
    let home = scratch::Directory::create(&temporary, "cold")?;
    let config = config(given, home.path())?;
    let trust = &given.trust;
    let mut context = Context::cold(config, home, clock, reporter, trust, given.as_of)?;
    let survey = survey::survey(&context, false)?;
    if survey.copies.is_empty() {
        return Err(no_points(given, &context.stores, survey));
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
        // A list can show all applications.
        (None, Want::List) if given.app.is_none() => {}
        (None, _) => return Err(several_apps(given, &apps)),
    }
    if let Want::Point(selector) = want
        && given.trust.is_empty()
        && given.trusted_signers.is_none()
    {
        let point = fetch::choose(&context, selector, &[], None, OnlyPartial::Take)?;
        return Err(no_trusted_signer(given, &context, &point));
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

fn no_points(given: &Given, stores: &Stores, survey: Survey) -> Error {
    if let Some(unread) = survey.unread.into_iter().next() {
        return unread.error;
    }
    if let Some(at) = given.as_of {
        return past::nothing(stores, &[Name::own(NAME)], at);
    }
    let place = stores
        .open(NAME)
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

fn several_apps(given: &Given, apps: &BTreeSet<(Name, Name)>) -> Error {
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

/// The error that names who signed the point, or what is wrong with its signature.
fn no_trusted_signer(given: &Given, context: &Context, point: &PointId) -> Error {
    let copy = context
        .stores
        .open(NAME)
        .and_then(|store| crate::copies::read(&store, point));
    let copy = match copy {
        Ok(copy) => copy,
        Err(error) => return error,
    };
    let Some(signer) = copy.signer() else {
        // There is no signature, or it does not fit these bytes: trusting a key would not help.
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

/// Replaces hints by ones that fit a machine without a configuration.
pub fn explain(error: Error) -> Error {
    let hint = match error.code {
        Code::Decryption if error.fact == Some(Fact::RepositoryPassword) => {
            "give the password of the repository: --password REFERENCE (file:PATH, env:NAME or cmd:PROGRAM)"
        }
        Code::Decryption => {
            "give the key that decrypts this store: --identity file:PATH (an age identity or an OpenPGP secret key), and --passphrase REFERENCE when it has one"
        }
        Code::Secret if matches!(&error.fact, Some(Fact::Variable(name)) if name.starts_with("AWS_")) => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give --access-key REFERENCE and --secret-key REFERENCE (for the bucket of --to: its ?access_key=REFERENCE&secret_key=REFERENCE)"
        }
        Code::Store if error.fact == Some(Fact::Credentials) => {
            "check the access key and the secret key (the environment, or --access-key and --secret-key), and the clock of this host"
        }
        _ => return error,
    };
    error.hint(hint)
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
