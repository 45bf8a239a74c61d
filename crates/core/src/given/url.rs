//! URLs that name a store or a bucket without a configuration.
//!
//! They hold no secret: credentials are references, either in the URL or to the variables that
//! other tools use.

use super::Given;
use crate::config::{BucketConfig, StoreKind};
use crate::error::{Code, Error, Result};
use crate::percent;
use crate::secret::Reference;
use serde_json::{Map, Value, json};

pub(super) fn insert(table: &mut Value, key: &str, value: Value) {
    if let Value::Object(map) = table {
        map.insert(key.into(), value);
    }
}

pub(super) fn usage(message: impl Into<String>) -> Error {
    Error::new(Code::Usage, message).hint(
        "write file:///PATH, s3://BUCKET/PREFIX?region=REGION&endpoint=URL or sftp://USER@HOST:PORT/PATH",
    )
}

/// Makes the table of the store, as in a configuration.
pub(super) fn store(given: &Given) -> Result<Map<String, Value>> {
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
            for (key, value) in server_of_environment() {
                insert(&mut store, key, json!(value));
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

/// Region and endpoint from the variables that other tools use.
fn server_of_environment() -> impl Iterator<Item = (&'static str, String)> {
    let known = [
        ("region", ["AWS_REGION", "AWS_DEFAULT_REGION"]),
        ("endpoint", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]),
    ];
    known.into_iter().filter_map(|(key, names)| {
        let found = names.iter().find_map(|name| std::env::var(name).ok());
        Some((key, found.filter(|value| !value.is_empty())?))
    })
}

fn from_environment(name: &str) -> Reference {
    Reference::Env(name.to_owned())
}

fn credentials(given: &Given, store: &mut Value) {
    // Without them, they are found where the AWS tools find them.
    let half = given.access_key.is_some() != given.secret_key.is_some();
    for (key, given, name) in [
        ("access_key", &given.access_key, "AWS_ACCESS_KEY_ID"),
        ("secret_key", &given.secret_key, "AWS_SECRET_ACCESS_KEY"),
    ] {
        let named = given.clone();
        if let Some(reference) = named.or_else(|| half.then(|| from_environment(name))) {
            insert(store, key, json!(reference));
        }
    }
}

/// A bucket, and a prefix to put objects under.
#[derive(Debug, Clone)]
pub struct BucketUrl {
    bucket: String,
    /// Prefix of every key; may be empty.
    pub prefix: String,
    query: Vec<(String, String)>,
}

impl BucketUrl {
    /// Parses `s3://BUCKET/PREFIX?region=…`; `None` for any other text.
    pub fn parse(text: &str) -> Option<Result<Self>> {
        Some(Self::read(text.strip_prefix("s3://")?))
    }

    fn read(rest: &str) -> Result<Self> {
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let url = BucketUrl {
            bucket: decoded(bucket)?,
            prefix: decoded(prefix)?,
            query: parameters(query)?,
        };
        if url.bucket.is_empty() || url.bucket.contains('/') {
            return Err(wrong_target("--to names no bucket"));
        }
        let known = [
            "region",
            "endpoint",
            "virtual_host_style",
            "access_key",
            "secret_key",
        ];
        if let Some((key, _)) = url.query.iter().find(|(k, _)| !known.contains(&k.as_str())) {
            let message = format!("--to has {key:?}, which is not known there");
            return Err(wrong_target(message).cause(format!("known there: {}", known.join(", "))));
        }
        if url.value("access_key").is_some() != url.value("secret_key").is_some() {
            return Err(wrong_target(
                "access_key and secret_key of --to go together",
            ));
        }
        url.reference("access_key")?;
        url.reference("secret_key")?;
        Ok(url)
    }

    /// Returns whether the URL names a server or keys.
    pub fn says_where(&self) -> bool {
        !self.query.is_empty()
    }

    fn value(&self, key: &str) -> Option<&str> {
        let found = self.query.iter().find(|(k, _)| k == key);
        found.map(|(_, value)| value.as_str())
    }

    fn reference(&self, key: &str) -> Result<Option<Reference>> {
        let parsed = self.value(key).map(Reference::parse).transpose();
        parsed.map_err(|why| wrong_target(format!("{key} of --to: {why}")))
    }

    /// Settings for reaching it: those of the URL, then those of `like` or else of the environment.
    pub fn config(&self, like: Option<&BucketConfig>) -> Result<BucketConfig> {
        let mut config = match like {
            Some(like) => like.clone(),
            None => of_environment(&self.bucket)?,
        };
        config.bucket.clone_from(&self.bucket);
        config.prefix = None;
        if let Some(region) = self.value("region") {
            region.clone_into(&mut config.server.region);
        }
        if let Some(endpoint) = self.value("endpoint") {
            config.server.endpoint = Some(endpoint.to_owned());
        }
        if let Some(style) = self.value("virtual_host_style") {
            config.server.virtual_host_style = style == "true";
        }
        if let (Some(access), Some(secret)) =
            (self.reference("access_key")?, self.reference("secret_key")?)
        {
            (config.server.access_key, config.server.secret_key) = (Some(access), Some(secret));
            config.server.session_token = None;
            config.server.profile = None;
            (config.server.role_arn, config.server.external_id) = (None, None);
        }
        Ok(config)
    }
}

fn of_environment(bucket: &str) -> Result<BucketConfig> {
    let mut table = json!({ "bucket": bucket });
    for (key, value) in server_of_environment() {
        insert(&mut table, key, json!(value));
    }
    serde_json::from_value(table)
        .map_err(|error| wrong_target("--to names no bucket that can be used").cause(error))
}

fn wrong_target(message: impl Into<String>) -> Error {
    Error::new(Code::Usage, message).hint(
        "write --to s3://BUCKET/PREFIX; elsewhere than the source: ?region=REGION&endpoint=URL&access_key=env:NAME&secret_key=env:NAME",
    )
}

/// Adds the query of the URL to the table.
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

/// Decodes `%20` and the like.
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
            url = format!("{url}?region={}", percent::encode_path(&s3.server.region));
            if let Some(endpoint) = &s3.server.endpoint {
                url = format!(
                    "{url}&endpoint={}",
                    endpoint.replace('%', "%25").replace('&', "%26")
                );
            }
            if s3.server.virtual_host_style {
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

#[cfg(test)]
mod tests {
    use super::super::{NAME, config};
    use super::*;
    use crate::config::Config;
    use crate::exit::Exit;
    use std::path::Path;

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
    fn urls_that_cannot_name_a_store_are_refused() {
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
            assert_eq!(error.code.exit(), Exit::Usage, "{url}: {error}");
            let told = format!("{error} {}", error.hint.clone().unwrap_or_default());
            assert!(told.contains(says), "{url}: {told}");
        }
    }

    #[test]
    fn a_bucket_to_restore_to_is_like_the_source_but_for_what_the_url_says() {
        let like: BucketConfig = serde_json::from_value(json!({
            "bucket": "live", "prefix": "here/", "endpoint": "https://live", "region": "x",
            "access_key": "env:A", "secret_key": "env:S", "session_token": "env:T",
        }))
        .unwrap();
        let url = |text: &str| BucketUrl::parse(text).unwrap().unwrap();
        let same = url("s3://look/some%20where");
        assert_eq!(same.prefix, "some where");
        assert!(!same.says_where());
        let config = same.config(Some(&like)).unwrap();
        assert_eq!((config.bucket.as_str(), config.prefix), ("look", None));
        assert_eq!(config.server.endpoint.as_deref(), Some("https://live"));
        assert!(config.server.session_token.is_some());
        let other = url("s3://look?endpoint=https://other&access_key=file:/a&secret_key=env:B");
        assert!(other.says_where());
        let config = other.config(Some(&like)).unwrap();
        assert_eq!(config.server.endpoint.as_deref(), Some("https://other"));
        assert_eq!(
            (config.server.region.as_str(), config.server.session_token),
            ("x", None)
        );
        let key = config.server.access_key.as_ref().map(ToString::to_string);
        assert_eq!(key.as_deref(), Some("file:/a"));
        let config = url("s3://look?region=r").config(None).unwrap();
        assert_eq!(config.server.region, "r");
        assert_eq!(config.server.access_key, None);
        assert!(BucketUrl::parse("/a/directory").is_none());
        for (wrong, says) in [
            ("s3://", "names no bucket"),
            ("s3:///prefix", "names no bucket"),
            ("s3://b?regoin=x", "\"regoin\""),
            ("s3://b?access_key=env:A", "go together"),
            ("s3://b?secret_key=env:A", "go together"),
            (
                "s3://b?access_key=AKIA&secret_key=env:S",
                "access_key of --to",
            ),
            ("s3://b/%zz", "hex digits"),
        ] {
            let error = BucketUrl::parse(wrong).unwrap().unwrap_err();
            assert_eq!(error.code, Code::Usage);
            assert!(error.to_string().contains(says), "{wrong}: {error}");
            assert!(!error.to_string().contains("AKIA"), "{error}");
        }
    }
}
