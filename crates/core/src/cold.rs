//! Reading a store that no configuration names: on a machine that has nothing but its address, its
//! credentials and the decryption key.
//!
//! Guarantees: nothing is written to the store, and nothing is left on this machine but what was
//! restored; nobody's signature is believed because it is there. Whose key signed is for the
//! operator to say, who is told which one did. It makes no signing key, and so no evidence.

use crate::archive::Identities;
use crate::clock::Clock;
use crate::config::{Config, StoreConfig, StoreKind};
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::observe::Observer;
use crate::percent;
use crate::point::{PointId, Selector};
use crate::restore::fetch;
use crate::scratch;
use crate::secret::Reference;
use crate::sign;
use crate::{catalog, runbook};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    scratch::sweep(&temporary)?;
    let home = scratch::Directory::create(&temporary, "cold")?;
    let config = config(given, home.path())?;
    let mut context = Context::cold(config, home, clock, observer, &given.trust)?;
    let survey = catalog::survey(&context, false)?;
    if survey.copies.is_empty() {
        return Err(nothing_there(&context, survey.errors));
    }
    let apps: BTreeSet<(String, String)> = survey
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
        let point = fetch::choose(&context, selector, &[], None)?;
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

fn nothing_there(context: &Context, errors: Vec<Error>) -> Error {
    if let Some(error) = errors.into_iter().next() {
        return error;
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

fn no_such_app(given: &Given, copies: &[(String, crate::point::copies::PointCopy)]) -> Error {
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

fn several(given: &Given, apps: &BTreeSet<(String, String)>) -> Error {
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
        .and_then(|store| crate::point::copies::read(&store, point));
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
        return match copy.check_trust(context) {
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
        Code::Decryption => {
            "give the key that decrypts this store: --identity file:PATH (an age identity or an OpenPGP secret key), and --passphrase REFERENCE when it has one"
        }
        Code::Secret if error.message.contains("AWS_") => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give --access-key REFERENCE and --secret-key REFERENCE"
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

fn insert(table: &mut Value, key: &str, value: Value) {
    if let Value::Object(map) = table {
        map.insert(key.into(), value);
    }
}

/// Which kind of key it is shows in its text.
fn decrypt(given: &Given, identity: &Reference) -> Result<Value> {
    let secret = identity.resolve()?;
    let text = secret.expose();
    // Binary packets of OpenPGP have their first bit set.
    let openpgp = text.starts_with(b"-----BEGIN PGP") || text.first().is_some_and(|b| *b >= 0x80);
    let mut table = json!({});
    let key = if openpgp { "openpgp" } else { "age" };
    insert(&mut table, key, json!(identity));
    match (&given.passphrase, openpgp) {
        (Some(passphrase), true) => insert(&mut table, "passphrase", json!(passphrase)),
        (Some(_), false) => {
            // An error now that says what is wrong with the key, or with giving a passphrase.
            Identities::parse(&secret)?;
            return Err(usage(
                "--passphrase is for an OpenPGP key, and the identity is none",
            ));
        }
        (None, _) => {}
    }
    Ok(table)
}

/// The configuration of the store that a URL names, with `state` for its directory.
pub(crate) fn store_config(given: &Given, state: &Path) -> Result<StoreConfig> {
    let mut config = config(given, state)?;
    let store = config.store.remove(NAME);
    store.ok_or_else(|| usage("the URL names no store"))
}

fn usage(message: impl Into<String>) -> Error {
    Error::new(Code::Usage, message).hint(
        "write file:///PATH, s3://BUCKET/PREFIX?region=REGION&endpoint=URL or sftp://USER@HOST:PORT/PATH",
    )
}

/// The table of the store in a configuration.
fn store(given: &Given) -> Result<Map<String, Value>> {
    let url = &given.url;
    let Some((scheme, rest)) = url.split_once("://") else {
        let path = std::path::absolute(url)
            .map_err(|error| usage(format!("{url:?} is no store")).cause(error))?;
        return table(json!({ "kind": "local", "path": path }), Vec::new(), &[]);
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let query = parameters(query)?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let path = decoded(path)?;
    if path.is_empty() && matches!(scheme, "file" | "sftp") {
        return Err(usage("the URL has no path"));
    }
    match scheme {
        "file" if matches!(authority, "" | "localhost") => {
            table(json!({ "kind": "local", "path": path }), query, &[])
        }
        "file" => Err(usage("a file URL has three slashes: file:///PATH")),
        "s3" => {
            let mut store = json!({ "kind": "s3", "bucket": decoded(authority)? });
            let prefix = path.trim_matches('/');
            if !prefix.is_empty() {
                insert(&mut store, "prefix", json!(prefix));
            }
            credentials(given, &mut store);
            let known = ["region", "endpoint", "virtual_host_style"];
            for (key, names) in [
                ("region", ["AWS_REGION", "AWS_DEFAULT_REGION"]),
                ("endpoint", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]),
            ] {
                let found = names.iter().find_map(|n| std::env::var(n).ok());
                if let Some(value) = found.filter(|value| !value.is_empty()) {
                    insert(&mut store, key, json!(value));
                }
            }
            table(store, query, &known)
        }
        "sftp" => {
            let mut store = json!({ "kind": "sftp", "path": path });
            let (user, place) = match authority.rsplit_once('@') {
                Some((user, place)) => (Some(decoded(user)?), place),
                None => (None, authority),
            };
            if user.as_ref().is_some_and(|user| user.contains(':')) {
                return Err(usage(
                    "a password in the URL can be seen by every user of this host; a key logs in",
                ));
            }
            let (host, port) = host_and_port(place)?;
            insert(&mut store, "host", json!(host));
            if let Some(user) = user {
                insert(&mut store, "user", json!(user));
            }
            if let Some(port) = port {
                insert(&mut store, "port", json!(port));
            }
            table(
                store,
                query,
                &["key", "passphrase", "known_hosts", "config"],
            )
        }
        _ => Err(usage(format!(
            "{scheme}:// is no kind of store that is known"
        ))),
    }
}

fn credentials(given: &Given, store: &mut Value) {
    let from_environment = |name: &str| Reference::Env(name.to_owned());
    let key = |given: &Option<Reference>, name: &str| {
        json!(given.clone().unwrap_or_else(|| from_environment(name)))
    };
    let own = given.access_key.is_some();
    insert(
        store,
        "access_key",
        key(&given.access_key, "AWS_ACCESS_KEY_ID"),
    );
    insert(
        store,
        "secret_key",
        key(&given.secret_key, "AWS_SECRET_ACCESS_KEY"),
    );
    if !own && std::env::var_os("AWS_SESSION_TOKEN").is_some_and(|token| !token.is_empty()) {
        let token = from_environment("AWS_SESSION_TOKEN");
        insert(store, "session_token", json!(token));
    }
}

/// The table with what the query of the URL says.
fn table(
    mut store: Value,
    query: Vec<(String, String)>,
    known: &[&str],
) -> Result<Map<String, Value>> {
    let mut ssh = Map::new();
    for (key, value) in query {
        if !known.contains(&key.as_str()) {
            return Err(
                usage(format!("the URL has {key:?}, which is not known there")).hint(match known {
                    [] => "leave out everything from the question mark on".to_owned(),
                    known => format!("known there: {}", known.join(", ")),
                }),
            );
        }
        match key.as_str() {
            "virtual_host_style" => insert(&mut store, &key, json!(value == "true")),
            "region" | "endpoint" => insert(&mut store, &key, json!(value)),
            "key" | "passphrase" => {
                let reference = Reference::parse(&value)
                    .map_err(|why| usage(format!("{key} of the URL: {why}")))?;
                ssh.insert(key, json!(reference));
            }
            _ => {
                let path = std::path::absolute(&value)
                    .map_err(|error| usage(format!("{key} of the URL is no path")).cause(error))?;
                ssh.insert(key, json!(path));
            }
        }
    }
    if !ssh.is_empty() {
        insert(&mut store, "ssh", Value::Object(ssh));
    }
    match store {
        Value::Object(store) => Ok(store),
        _ => Ok(Map::new()),
    }
}

fn host_and_port(place: &str) -> Result<(String, Option<u16>)> {
    let (host, port) = match place
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((host, after)) => (host, after.strip_prefix(':')),
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let wrong = |_| usage(format!("{:?} is no port", port.unwrap_or_default()));
    let port = port.map(|port| port.parse().map_err(wrong)).transpose()?;
    Ok((host.to_owned(), port))
}

fn parameters(query: &str) -> Result<Vec<(String, String)>> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
            Ok((decoded(key)?, decoded(value)?))
        })
        .collect()
}

/// `%20` and the like are what they stand for.
fn decoded(text: &str) -> Result<String> {
    let wrong = || {
        usage(format!(
            "{text:?} in the URL has a % that two hex digits do not follow"
        ))
    };
    percent::decode(text).map_err(|_| wrong())
}

/// The URL that names a store of a configuration, without any credentials.
pub fn url_of(kind: &StoreKind) -> String {
    match kind {
        StoreKind::Local(local) => format!(
            "file://{}",
            percent::encode_path(&local.path.to_string_lossy())
        ),
        StoreKind::S3(s3) => {
            let prefix = s3.prefix.as_deref().unwrap_or_default().trim_matches('/');
            let mut url = format!("s3://{}", s3.bucket);
            if !prefix.is_empty() {
                url = format!("{url}/{}", percent::encode_path(prefix));
            }
            url = format!("{url}?region={}", percent::encode_path(&s3.region));
            if let Some(endpoint) = &s3.endpoint {
                url = format!(
                    "{url}&endpoint={}",
                    endpoint.replace('%', "%25").replace('&', "%26")
                );
            }
            if s3.virtual_host_style {
                url.push_str("&virtual_host_style=true");
            }
            url
        }
        StoreKind::Sftp(sftp) => {
            let user = sftp
                .user
                .as_deref()
                .map(|user| format!("{}@", percent::encode_path(user)));
            let port = sftp.port.map(|port| format!(":{port}"));
            format!(
                "sftp://{}{}{}{}",
                user.unwrap_or_default(),
                sftp.bracketed(),
                port.unwrap_or_default(),
                percent::encode_path(&sftp.path.to_string_lossy())
            )
        }
    }
}

/// The command that restores a point of a store on a machine without a configuration.
pub fn command(kind: &StoreKind, point: &str, encrypted: bool, signer: &str) -> String {
    let identity = if encrypted {
        " --identity file:PATH"
    } else {
        ""
    };
    format!(
        "lifeboat restore {point} --store-url {}{identity} --trust-signer {signer} --to DIRECTORY",
        runbook::quote(&url_of(kind))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Result<Config> {
        let given = Given {
            url: url.into(),
            ..Given::default()
        };
        config(&given, Path::new("/tmp/state"))
    }

    #[test]
    fn a_url_says_what_a_configuration_would() {
        for url in [
            "file:///srv/back%20ups",
            "s3://crm/some/where?region=eu-west-1&endpoint=https://s3.example.org:9000&virtual_host_style=true",
            "s3://crm?region=eu-west-1",
            "sftp://backup@nas.example.org:2222/srv/b%C3%BCcher",
            "sftp://[::1]/srv",
        ] {
            let config = parsed(url).unwrap();
            assert_eq!(url_of(&config.store[NAME].kind), url);
        }
        let config = parsed("sftp://h/p?key=file:/k&known_hosts=/hosts").unwrap();
        let StoreKind::Sftp(sftp) = &config.store[NAME].kind else {
            panic!("another kind");
        };
        let ssh = sftp.ssh.as_ref().unwrap();
        assert_eq!(ssh.known_hosts.as_deref(), Some(Path::new("/hosts")));
        assert_eq!(ssh.key.as_ref().unwrap().to_string(), "file:/k");
        let config = parsed("relative/store").unwrap();
        let StoreKind::Local(local) = &config.store[NAME].kind else {
            panic!("another kind");
        };
        assert!(local.path.is_absolute() && local.path.ends_with("relative/store"));
    }

    #[test]
    fn what_a_url_cannot_say_is_refused() {
        for (url, says) in [
            ("ftp://host/path", "is no kind of store"),
            ("file://host/path", "three slashes"),
            ("s3://crm?regoin=x", "\"regoin\""),
            ("s3://?region=x", "is no bucket"),
            ("sftp://u:p@h/path", "a password in the URL"),
            ("sftp://h:port/path", "is no port"),
            ("sftp://-oProxyCommand=x/path", "is no host"),
            ("sftp://h/p?key=secret", "must be a reference"),
            ("file:///a%2", "hex digits"),
        ] {
            let error = parsed(url).unwrap_err();
            assert_eq!(error.code.exit_code(), 2, "{url}: {error}");
            let told = format!("{error} {}", error.hint.clone().unwrap_or_default());
            assert!(told.contains(says), "{url}: {told}");
        }
    }

    #[test]
    fn an_application_is_named_alone_or_with_its_environment() {
        assert!(fits(None, "crm", "production"));
        assert!(fits(Some("crm"), "crm", "production"));
        assert!(fits(Some("crm/production"), "crm", "production"));
        assert!(!fits(Some("crm/test"), "crm", "production"));
        assert!(!fits(Some("cr"), "crm", "production"));
    }
}
