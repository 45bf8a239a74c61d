//! Configuration of a store that the command line gives by URL.

mod url;

pub use url::{BucketUrl, url_of};

use crate::archive::Identities;
use crate::config::{Config, StoreConfig};
use crate::error::{Error, Result};
use crate::resolve::resolve;
use crate::secret::Reference;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use url::{insert, store, usage};

/// Name of such a store.
pub const NAME: &str = "given";

/// The URL of a store, and what is needed to open it.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// `file:///path` or a path, `s3://bucket/prefix?region=…`, `sftp://user@host:port/path?…`.
    pub url: String,
    /// The age or OpenPGP secret key.
    pub identity: Option<Reference>,
    /// Passphrase of the secret key.
    pub passphrase: Option<Reference>,
    /// Password of the repository.
    pub password: Option<Reference>,
    /// S3 access key; `AWS_ACCESS_KEY_ID` when absent.
    pub access_key: Option<Reference>,
    /// S3 secret key; `AWS_SECRET_ACCESS_KEY` when absent.
    pub secret_key: Option<Reference>,
    /// `APP` or `APP/ENVIRONMENT`, when a store holds several.
    pub app: Option<String>,
    /// Path of an `allowed_signers` file.
    pub trusted_signers: Option<PathBuf>,
    /// Ids of further trusted signers.
    pub trust: Vec<String>,
    /// The time as of which the store is read; as it is now when absent.
    pub as_of: Option<Timestamp>,
    /// The command as it was typed, for hints that repeat it.
    pub again: String,
}

/// Makes a configuration that has only this store.
pub(crate) fn config(given: &Given, state: &Path) -> Result<Config> {
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

/// The `decrypt` table for a key, whose text shows its format.
fn decrypt(given: &Given, identity: &Reference) -> Result<Value> {
    let secret = resolve(identity)?;
    let text = secret.expose();
    // The first bit of a binary OpenPGP packet is set.
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

/// Makes the configuration of the store that a URL names, with `state` as its base directory.
pub(crate) fn store_config(given: &Given, state: &Path) -> Result<StoreConfig> {
    let mut config = config(given, state)?;
    let store = config.store.remove(NAME);
    store.ok_or_else(|| usage("the URL names no store"))
}
