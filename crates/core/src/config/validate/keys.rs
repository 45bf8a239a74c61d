//! Keys and secrets on this host: not inside the data they protect, and not readable by others.

use super::apart::routes;
use super::{Entry, Gravity, Issue, covers};
use crate::config::{
    Config, Ec2Config, LightsailConfig, PingConfig, PostgresConfig, SourceKind, SshConfig,
    StoreKind,
};
use crate::name::Name;
use crate::ownership;
use crate::resolve::resolve;
use crate::secret::{Reference, Scrubber};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Use of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use<'a> {
    /// Decrypts what this store holds.
    Decrypts(&'a str),
    /// Opens this store.
    Opens(&'a str),
    /// Signs in this host's name.
    Signs,
    /// Reaches a source or a channel.
    Reaches,
}

impl Config {
    /// Every reference to a secret.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        secrets(self)
            .into_iter()
            .filter_map(|(_, _, reference, _)| reference)
    }

    /// Tells a scrubber of the secrets in the environment, before any reference is resolved: every
    /// child process inherits the environment and may print it.
    pub fn learn_environment(&self, scrubber: &Scrubber) {
        for reference in self.references() {
            if let Reference::Env(_) = reference
                && let Ok(secret) = resolve(reference)
            {
                scrubber.learn(&secret);
            }
        }
    }
}

/// Every key of the configuration that may refer to a secret: its subject, its name, the reference,
/// and its use.
fn secrets(config: &Config) -> Vec<(String, &str, Option<&Reference>, Use<'_>)> {
    let mut all: Vec<(String, &str, Option<&Reference>, Use<'_>)> = Vec::new();
    all.push((
        "app".into(),
        "signing_key",
        config.app.signing_key.as_ref(),
        Use::Signs,
    ));
    for (name, store) in &config.store {
        let subject = format!("store.{name}");
        let decrypt = store.decrypt.as_ref();
        for (key, reference) in [
            ("password", store.password.as_ref()),
            ("decrypt.age", decrypt.and_then(|d| d.age.as_ref())),
            ("decrypt.openpgp", decrypt.and_then(|d| d.openpgp.as_ref())),
            (
                "decrypt.passphrase",
                decrypt.and_then(|d| d.passphrase.as_ref()),
            ),
        ] {
            all.push((subject.clone(), key, reference, Use::Decrypts(name)));
        }
        let sign = store.encrypt.as_ref().and_then(|e| e.sign.as_ref());
        for (key, reference) in [
            (
                "encrypt.sign.openpgp",
                sign.and_then(|s| s.openpgp.as_ref()),
            ),
            (
                "encrypt.sign.passphrase",
                sign.and_then(|s| s.passphrase.as_ref()),
            ),
        ] {
            all.push((subject.clone(), key, reference, Use::Signs));
        }
        if let StoreKind::Sftp(sftp) = &store.kind
            && let Some(ssh) = &sftp.ssh
        {
            let used = Use::Opens(name);
            all.push((subject.clone(), "ssh.key", ssh.key.as_ref(), used));
            let passphrase = ssh.passphrase.as_ref();
            all.push((subject.clone(), "ssh.passphrase", passphrase, used));
        }
        if let StoreKind::S3(s3) = &store.kind {
            for (key, reference) in s3.server.credentials() {
                all.push((subject.clone(), key, Some(reference), Use::Opens(name)));
            }
        }
    }
    for (name, source) in &config.source {
        let subject = format!("source.{name}");
        all.extend(of_source(&subject, &source.kind));
    }
    all.extend(of_channels(config));
    all.extend(of_postures(config));
    let pings = config.ping.iter();
    all.extend(pings.map(|(name, ping)| of_ping(name, ping)));
    all
}

/// The secrets of a source, by their keys.
fn of_source<'a>(
    subject: &str,
    kind: &'a SourceKind,
) -> Vec<(String, &'a str, Option<&'a Reference>, Use<'a>)> {
    let mut all = Vec::new();
    let mut reaches = |key: &'a str, reference: Option<&'a Reference>| {
        all.push((subject.to_owned(), key, reference, Use::Reaches));
    };
    let place = match kind {
        SourceKind::Postgres(PostgresConfig { server, .. })
        | SourceKind::Mariadb(server)
        | SourceKind::Mysql(server) => {
            reaches("url", server.url.as_ref());
            reaches("password", server.password.as_ref());
            Some(&server.place)
        }
        SourceKind::Command(command) => {
            command
                .env
                .values()
                .for_each(|one| reaches("env", Some(one)));
            Some(&command.place)
        }
        SourceKind::External(external) => {
            external
                .env
                .values()
                .for_each(|one| reaches("env", Some(one)));
            Some(&external.place)
        }
        SourceKind::Bucket(bucket) => {
            let credentials = bucket.server.credentials();
            credentials.for_each(|(key, one)| reaches(key, Some(one)));
            None
        }
        SourceKind::Lightsail(LightsailConfig { account, .. })
        | SourceKind::Ec2(Ec2Config { account, .. }) => {
            let credentials = account.credentials();
            credentials.for_each(|(key, one)| reaches(key, Some(one)));
            None
        }
        SourceKind::Files(_) | SourceKind::Sqlite(_) => None,
    };
    all.extend(of_ssh(subject, place.and_then(|place| place.ssh.as_ref())));
    all
}

fn of_postures(
    config: &Config,
) -> impl Iterator<Item = (String, &str, Option<&Reference>, Use<'_>)> {
    config.posture.iter().flat_map(|(name, posture)| {
        let credentials = posture.server.credentials();
        credentials.map(move |(key, reference)| {
            let subject = format!("posture.{name}");
            (subject, key, Some(reference), Use::Reaches)
        })
    })
}

fn of_channels(
    config: &Config,
) -> impl Iterator<Item = (String, &str, Option<&Reference>, Use<'_>)> {
    config.notify.iter().flat_map(|(name, channel)| {
        let secrets = channel.kind.secrets().into_iter();
        secrets.map(move |(key, reference)| {
            let subject = format!("notify.{name}");
            (subject, key, Some(reference), Use::Reaches)
        })
    })
}

fn of_ping<'a>(
    name: &Name,
    ping: &'a PingConfig,
) -> (String, &'a str, Option<&'a Reference>, Use<'a>) {
    let url = Some(&ping.url);
    (format!("ping.{name}"), "url", url, Use::Reaches)
}

fn of_ssh<'a>(
    subject: &str,
    ssh: Option<&'a SshConfig>,
) -> [(String, &'a str, Option<&'a Reference>, Use<'a>); 2] {
    let entry = |key, reference| (subject.to_owned(), key, reference, Use::Reaches);
    [
        entry("ssh.key", ssh.and_then(|ssh| ssh.key.as_ref())),
        entry(
            "ssh.passphrase",
            ssh.and_then(|ssh| ssh.passphrase.as_ref()),
        ),
    ]
}

/// The secrets that are files on this host.
fn secret_files(config: &Config) -> Vec<(String, &str, &Path, Use<'_>)> {
    secrets(config)
        .into_iter()
        .filter_map(|(subject, key, reference, used)| {
            let path = match reference {
                Some(Reference::File(path)) => Path::new(path.as_str()),
                _ => return None,
            };
            Some((subject, key, path, used))
        })
        .collect()
}

/// Reports secrets inside sources. A key inside the backup that it opens is lost with the host; one
/// in an unencrypted backup is disclosed to everybody who reads it.
pub(super) fn inside_sources(config: &Config, on_disk: bool, issues: &mut Vec<Issue>) {
    for (subject, key, path, used) in secret_files(config) {
        let sources = config.files_sources();
        for (source, _) in sources.filter(|(_, files)| covers(files, path, Entry::File, on_disk)) {
            let stores = stores_of(config, source);
            if stores.is_empty() {
                continue;
            }
            let in_clear = stores.iter().find(|(_, encrypts)| !**encrypts);
            let issue = |gravity, message: String, hint: String| {
                Issue::new(gravity, &subject, key, message).hint(hint)
            };
            let shown = path.display();
            issues.extend(match (used, in_clear) {
                (Use::Decrypts(store), Some((clear, _))) => Some(issue(
                    Gravity::Error,
                    format!(
                        "the key that decrypts store {store:?} is inside source {source:?}, which store {clear:?} keeps in clear: who reads that store can decrypt this one"
                    ),
                    format!("add \"{shown}\" to exclude of [source.{source}], and keep a copy of the key elsewhere"),
                )),
                (Use::Decrypts(store), None) => Some(issue(
                    Gravity::Error,
                    format!(
                        "the key that decrypts store {store:?} is inside source {source:?}: after a loss of this host it exists only in the backup that it decrypts"
                    ),
                    format!("export a recovery kit (`lifeboat kit export`) and keep it elsewhere, then add \"{shown}\" to exclude of [source.{source}]"),
                )),
                (Use::Opens(store), None) if stores.keys().all(|only| *only == store) => {
                    Some(issue(
                        Gravity::Warning,
                        format!(
                            "the credentials of store {store:?} are inside source {source:?}, which only this store holds: after a loss of this host they are needed to reach themselves"
                        ),
                        "keep a copy elsewhere: export a recovery kit (`lifeboat kit export`)".into(),
                    ))
                }
                (_, Some((clear, _))) => Some(issue(
                    Gravity::Warning,
                    format!("the secret file {shown} is inside source {source:?}, which store {clear:?} keeps in clear"),
                    format!("add \"{shown}\" to exclude of [source.{source}], or encrypt what [store.{clear}] receives"),
                )),
                (_, None) => None,
            });
        }
    }
}

/// The stores that receive a source, each with whether it encrypts.
fn stores_of<'a>(config: &'a Config, source: &str) -> BTreeMap<&'a str, bool> {
    routes(config)
        .filter(|(_, routed, _)| *routed == source)
        .filter_map(|(_, _, store)| {
            let store_config = config.store.get(store)?;
            let encrypts = store_config.encrypt.is_some() || store_config.is_repository();
            Some((store, encrypts))
        })
        .collect()
}

/// Reports secret files that others on this host can read.
pub(super) fn readable_by_others(config: &Config, issues: &mut Vec<Issue>) {
    for (subject, key, path, _) in secret_files(config) {
        // An unreadable file is reported when it is resolved.
        let Ok(metadata) = path.metadata() else {
            continue;
        };
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            let path = path.display();
            let message =
                format!("others can read or write the secret file {path} (mode {mode:04o})");
            let issue = Issue::new(Gravity::Warning, subject, key, message);
            issues.push(issue.hint(format!("run `chmod 600 {path}`")));
        } else if let Some(fault) = ownership::exposed(path) {
            let path = path.display();
            let message = format!("others can change the secret file {path}: {fault}");
            let issue = Issue::new(Gravity::Warning, subject, key, message);
            issues.push(issue.hint(format!("run `{}`", fault.mend())));
        }
    }
}
