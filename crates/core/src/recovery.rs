//! Recovery kits: what goes into one, and a test whether it is enough.
//!
//! A kit holds what a restore needs when this host is gone: the configuration, the keys that
//! decrypt and sign, the credentials of the stores, the trusted signers, and instructions. The test
//! uses nothing but the kit.

use crate::clock::Clock;
use crate::config::{Config, StoreConfig, StoreKind};
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::fetch;
use crate::given;
use crate::kit::KitEntry;
use crate::name::Name;
use crate::observe::Reporter;
use crate::place;
use crate::point::{OnlyPartial, PointId, Selector};
use crate::resolve::resolve;
use crate::secret::Reference;
use crate::shell::quote;
use crate::staging;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The files for a kit, and warnings about what it lacks.
pub struct Contents {
    /// Its files.
    pub entries: Vec<KitEntry>,
    /// What an operator should know before relying on it.
    pub warnings: Vec<String>,
}

/// Gathers the files for a kit of this configuration.
pub fn contents(context: &Context) -> Result<Contents> {
    let config = &context.config;
    let mut entries: Vec<KitEntry> = vec![
        ("README.md".into(), text(&instructions(config))),
        ("lifeboat.toml".into(), text(&config.text)),
        ("allowed_signers".into(), text(&allowed_signers(context))),
        (
            "signing.key".into(),
            text(&context.state.signer.to_openssh()?),
        ),
    ];
    let mut warnings = Vec::new();
    for (name, store) in &config.store {
        let password = store.password.iter().map(|password| ("password", password));
        for (file, reference) in references(&store.kind).into_iter().chain(password) {
            let secret = resolve(reference)?;
            entries.push((
                format!("stores/{name}/{file}"),
                Zeroizing::new(secret.expose().to_vec()),
            ));
        }
        if let StoreKind::Sftp(sftp) = &store.kind {
            let ssh = sftp.ssh.clone().unwrap_or_default();
            for (file, path) in [
                ("known_hosts", &ssh.known_hosts),
                ("ssh_config", &ssh.config),
            ] {
                let Some(path) = path else { continue };
                let bytes = crate::plain::read(path).map_err(|error| {
                    let shown = path.display();
                    Error::new(
                        Code::Configuration,
                        format!("{shown}, which store {name} uses, cannot be read"),
                    )
                    .cause(error)
                    .hint(format!("correct ssh.{file} of [store.{name}]"))
                })?;
                entries.push((format!("stores/{name}/{file}"), Zeroizing::new(bytes)));
            }
            for (missing, what) in [
                (ssh.key.is_none(), "ssh.key: the key that logs in there"),
                (
                    ssh.known_hosts.is_none(),
                    "ssh.known_hosts: the host key that is believed",
                ),
            ] {
                if missing {
                    warnings.push(format!(
                        "store {name} has no {what} is not in the kit, so keep it with the kit"
                    ));
                }
            }
        }
        // A store is opened with its public keys, even to read from it.
        for (number, path) in recipient_files(store).iter().enumerate() {
            let bytes = crate::plain::read(path).map_err(|error| {
                Error::new(
                    Code::Configuration,
                    format!(
                        "the public keys of store {name} cannot be read: {}",
                        path.display()
                    ),
                )
                .cause(error)
                .hint("put the file there, or correct `encrypt` of the store")
            })?;
            entries.push((recipient_entry(name, number), Zeroizing::new(bytes)));
        }
        let decrypt = store.decrypt.clone().unwrap_or_default();
        let sign = store.encrypt.as_ref().and_then(|e| e.sign.clone());
        let sign = sign.unwrap_or_default();
        for (file, reference) in [
            ("decrypt.age", &decrypt.age),
            ("decrypt.openpgp", &decrypt.openpgp),
            ("decrypt.passphrase", &decrypt.passphrase),
            ("sign.openpgp", &sign.openpgp),
            ("sign.passphrase", &sign.passphrase),
        ] {
            if let Some(reference) = reference {
                let secret = resolve(reference)?;
                entries.push((
                    format!("stores/{name}/{file}"),
                    Zeroizing::new(secret.expose().to_vec()),
                ));
            }
        }
        if let Some(home) = &decrypt.gpg {
            warnings.push(format!(
                "the decryption key of store {name} is in GnuPG's {} and so not in the kit: export it there (gpg --armor --export-secret-keys) and keep it with the kit",
                home.display()
            ));
        } else if store
            .encrypt
            .as_ref()
            .is_some_and(|e| !decrypt.opens(e.format()))
        {
            warnings.push(format!(
                "the decryption key of store {name} is not known here and so not in the kit: keep it with the kit"
            ));
        }
    }
    if config
        .store
        .values()
        .all(|s| matches!(s.kind, StoreKind::Local(_)))
    {
        warnings
            .push("every store is on this host: a kit does not help when the host is lost".into());
    }
    Ok(Contents { entries, warnings })
}

fn text(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.as_bytes().to_vec())
}

fn allowed_signers(context: &Context) -> String {
    let mut text = context
        .trusted
        .lines_for(&context.config.app.name)
        .join("\n");
    text.push('\n');
    text
}

/// The files of public keys that a store encrypts to.
fn recipient_files(store: &StoreConfig) -> Vec<&Path> {
    let encrypt = store.encrypt.iter();
    let age = encrypt.clone().flat_map(|encrypt| &encrypt.age);
    let age = age.filter(|entry| entry.starts_with('/')).map(Path::new);
    let openpgp = encrypt.flat_map(|encrypt| &encrypt.openpgp);
    age.chain(openpgp.map(PathBuf::as_path)).collect()
}

/// The name of such a file in the kit.
fn recipient_entry(store: &str, number: usize) -> String {
    format!("stores/{store}/recipients.{}.txt", number + 1)
}

/// The credentials a store needs, by file name in the kit.
fn references(kind: &StoreKind) -> Vec<(&'static str, &Reference)> {
    match kind {
        StoreKind::Local(_) => Vec::new(),
        StoreKind::Sftp(sftp) => {
            let ssh = sftp.ssh.as_ref();
            let key = ssh.and_then(|ssh| Some(("ssh_key", ssh.key.as_ref()?)));
            let passphrase = ssh.and_then(|ssh| Some(("ssh_passphrase", ssh.passphrase.as_ref()?)));
            key.into_iter().chain(passphrase).collect()
        }
        StoreKind::S3(s3) => s3.server.credentials().collect(),
    }
}

fn instructions(config: &Config) -> String {
    let stores: Vec<_> = config
        .store
        .iter()
        .map(|(name, s)| format!("{name} ({})", s.kind.name()))
        .collect();
    format!(
        "# Recovery kit of {app} ({environment})\n\n\
         Everything that is needed to bring {app} back when its host is gone. It holds secrets: keep it\n\
         encrypted, in two places, none of them the host itself. Owner: {owner}.\n\n\
         Stores: {stores}. In each, `lifeboat/restore/{app}/{environment}.md`\n\
         says how to restore with stock tools alone.\n\n\
         With Lifeboat, KIT being this kit as it was kept, and REFERENCE `file:PATH` or `env:NAME` of what opens it:\n\n\
         1. `lifeboat kit unpack KIT --to KITDIR --passphrase REFERENCE` (or `--identity REFERENCE`): writes these files,\n   \
            and a `lifeboat.toml` that refers to them where it referred to those of the lost host.\n\
         2. `lifeboat --config KITDIR/lifeboat.toml points`\n\
         3. `lifeboat --config KITDIR/lifeboat.toml restore latest --to DIRECTORY`\n\n\
         Or for one store and one look, which leaves nothing behind, from an empty directory that only you can read,\n\
         after `age -d KIT | tar -x` there (`gpg -d KIT | tar -x`, if it is sealed to an OpenPGP key):\n\n\
         {cold}\n",
        cold = cold_commands(config),
        app = config.app.name,
        environment = config.app.environment,
        owner = config.app.owner.as_deref().unwrap_or("not named"),
        stores = stores.join(", "),
    )
}

/// For each store, the command that restores from it alone.
fn cold_commands(config: &Config) -> String {
    let each = config.store.iter().map(|(name, store)| {
        let decrypt = store.decrypt.clone().unwrap_or_default();
        let key = match (&decrypt.age, &decrypt.openpgp) {
            (Some(_), _) => format!(" --identity file:stores/{name}/decrypt.age"),
            (None, Some(_)) => format!(" --identity file:stores/{name}/decrypt.openpgp"),
            (None, None) if store.encrypt.is_some() => " --identity file:PATH".to_owned(),
            (None, None) => String::new(),
        };
        let passphrase = match decrypt.passphrase {
            Some(_) => format!(" --passphrase file:stores/{name}/decrypt.passphrase"),
            None => String::new(),
        };
        let password = match store.password {
            Some(_) => format!(" --password file:stores/{name}/password"),
            None => String::new(),
        };
        let access = match &store.kind {
            StoreKind::S3(_) => format!(
                " --access-key file:stores/{name}/access_key --secret-key file:stores/{name}/secret_key"
            ),
            StoreKind::Local(_) | StoreKind::Sftp(_) => String::new(),
        };
        let mut url = given::url_of(&store.kind);
        if let StoreKind::Sftp(sftp) = &store.kind {
            let ssh = sftp.ssh.clone().unwrap_or_default();
            let parts = [
                ssh.key.map(|_| format!("key=file:stores/{name}/ssh_key")),
                ssh.passphrase
                    .map(|_| format!("passphrase=file:stores/{name}/ssh_passphrase")),
                ssh.known_hosts
                    .map(|_| format!("known_hosts=stores/{name}/known_hosts")),
                ssh.config.map(|_| format!("config=stores/{name}/ssh_config")),
            ];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            if !parts.is_empty() {
                url = format!("{url}?{}", parts.join("&"));
            }
        }
        format!(
            "    lifeboat restore latest --store-url {}{access}{key}{passphrase}{password} --trusted-signers allowed_signers --to DIRECTORY",
            quote(&url)
        )
    });
    each.collect::<Vec<_>>().join("\n")
}

/// The document of `kit export`.
#[derive(Debug, Clone, Serialize)]
pub struct Exported<'a> {
    /// The file that was written.
    pub file: &'a Path,
    /// Its bytes.
    pub bytes: usize,
    /// Names of its files.
    pub entries: Vec<&'a str>,
    /// What an operator should know before relying on it.
    pub warnings: &'a [String],
}

/// The document of `kit test`.
#[derive(Debug, Serialize)]
pub struct Trial {
    outcome: TrialOutcome,
    stores: Vec<Tried>,
}

/// The judgement on a kit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrialOutcome {
    /// It opens at least one store.
    Enough,
    /// It opens none.
    NotEnough,
}

impl Trial {
    fn new(stores: Vec<Tried>) -> Self {
        let outcome = match stores.iter().any(|tried| tried.result.is_ok()) {
            true => TrialOutcome::Enough,
            false => TrialOutcome::NotEnough,
        };
        Trial { outcome, stores }
    }

    /// Returns what the trial showed of each store.
    pub fn stores(&self) -> &[Tried] {
        &self.stores
    }

    /// Returns the exit code of the trial.
    pub fn exit(&self) -> Exit {
        match self.outcome {
            TrialOutcome::Enough => Exit::Done,
            TrialOutcome::NotEnough => Exit::NotProved,
        }
    }
}

/// The result of a kit for one store.
#[derive(Debug)]
pub struct Tried {
    /// The store.
    pub store: Name,
    /// The newest point there, of which every byte was read and decrypted; or the error.
    pub result: Result<PointId>,
}

impl Serialize for Tried {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Tried", 3)?;
        fields.serialize_field("store", &self.store)?;
        match &self.result {
            Ok(point) => {
                fields.serialize_field("outcome", "readable")?;
                fields.serialize_field("point", point)?;
            }
            Err(error) => {
                fields.serialize_field("outcome", "unreadable")?;
                fields.serialize_field("error", error)?;
            }
        }
        fields.end()
    }
}

/// The document of `kit unpack`.
#[derive(Debug, Clone, Serialize)]
pub struct Unpacked<'a> {
    /// The path of the `lifeboat.toml` that works from there.
    pub config: &'a Path,
    /// Names of the files in the kit.
    pub entries: Vec<&'a str>,
}

/// Writes the files of a kit into `directory`, which must be new or empty, and a `lifeboat.toml`
/// that refers to them instead of the files of the lost host. Returns the path of the latter.
/// References that are not about stores (passwords of databases) stay as they were.
pub fn unpack_kit(entries: &[KitEntry], directory: &Path) -> Result<PathBuf> {
    let directory = std::path::absolute(directory)
        .map_err(|error| Error::new(Code::Usage, "the current directory is gone").cause(error))?;
    place::ensure_empty_or_new(&directory)?;
    let config = unpack(entries, &directory)?;
    let path = directory.join("lifeboat.toml");
    place::replace_file(&mut config.masked_toml().as_bytes(), &path, 0o600)?;
    Ok(path)
}

/// Unpacks a kit into `directory`, which must be private and empty, and reads the newest point of
/// each store with nothing but the kit.
pub fn try_kit(entries: &[KitEntry], directory: &Path, reporter: &Reporter) -> Result<Trial> {
    let config = unpack(entries, directory)?;
    let context = Context::open(config, Clock::System, reporter.clone(), &[])?;
    let names: Vec<_> = context.config.store.keys().cloned().collect();
    let tried = names.into_iter().map(|store| Tried {
        result: read_newest(&context, &store),
        store,
    });
    Ok(Trial::new(tried.collect()))
}

fn unpack(entries: &[KitEntry], directory: &Path) -> Result<Config> {
    let mut toml = None;
    for (name, bytes) in entries {
        if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(Error::new(
                Code::ObjectDamaged,
                format!("the kit holds a file with the name {name:?}"),
            ));
        }
        let path = directory.join(name);
        if let Some(parent) = path.parent() {
            staging::create_directory(parent)?;
        }
        place::write_file(&mut bytes.as_slice(), &path, 0o600)?;
        if name == "lifeboat.toml" {
            toml = Some(String::from_utf8_lossy(bytes).into_owned());
        }
    }
    let toml =
        toml.ok_or_else(|| Error::new(Code::ObjectDamaged, "the kit holds no lifeboat.toml"))?;
    let mut config = Config::parse(&toml, &directory.join("lifeboat.toml"))?;
    rebase(&mut config, directory);
    Ok(config)
}

/// Redirects the references of stores and of the signing key, and the state, into the kit. Those of
/// sources stay as they were.
fn rebase(config: &mut Config, directory: &Path) {
    let file = |name: String| Reference::File(directory.join(name).to_string_lossy().into_owned());
    config.app.state = directory.join("state");
    config.app.signing_key = Some(file("signing.key".into()));
    config.app.trusted_signers = Some(directory.join("allowed_signers"));
    for (name, store) in &mut config.store {
        if let StoreKind::Sftp(sftp) = &mut store.kind
            && let Some(ssh) = &mut sftp.ssh
        {
            for (entry, reference) in [
                ("ssh_key", &mut ssh.key),
                ("ssh_passphrase", &mut ssh.passphrase),
            ] {
                if reference.is_some() {
                    *reference = Some(file(format!("stores/{name}/{entry}")));
                }
            }
            for (file, path) in [
                ("known_hosts", &mut ssh.known_hosts),
                ("ssh_config", &mut ssh.config),
            ] {
                if path.is_some() {
                    *path = Some(directory.join(format!("stores/{name}/{file}")));
                }
            }
        }
        if let StoreKind::S3(s3) = &mut store.kind {
            for (entry, reference) in s3.server.keys_mut() {
                *reference = file(format!("stores/{name}/{entry}"));
            }
        }
        if store.password.is_some() {
            store.password = Some(file(format!("stores/{name}/password")));
        }
        if let Some(encrypt) = &mut store.encrypt {
            let own = |number| directory.join(recipient_entry(name, number));
            let files = encrypt
                .age
                .iter_mut()
                .filter(|entry| entry.starts_with('/'));
            let mut number = 0;
            for path in files {
                *path = own(number).to_string_lossy().into_owned();
                number += 1;
            }
            for path in &mut encrypt.openpgp {
                *path = own(number);
                number += 1;
            }
            if let Some(sign) = &mut encrypt.sign {
                for (key, reference) in [
                    ("openpgp", &mut sign.openpgp),
                    ("passphrase", &mut sign.passphrase),
                ] {
                    if reference.is_some() {
                        *reference = Some(file(format!("stores/{name}/sign.{key}")));
                    }
                }
                sign.gpg = sign.gpg.as_ref().map(|_| directory.join("gnupg"));
            }
        }
        if let Some(decrypt) = &mut store.decrypt {
            for (key, reference) in [
                ("age", &mut decrypt.age),
                ("openpgp", &mut decrypt.openpgp),
                ("passphrase", &mut decrypt.passphrase),
            ] {
                if reference.is_some() {
                    *reference = Some(file(format!("stores/{name}/decrypt.{key}")));
                }
            }
            // A GnuPG of this host is not in the kit.
            decrypt.gpg = decrypt.gpg.as_ref().map(|_| directory.join("gnupg"));
        }
    }
}

fn read_newest(context: &Context, store: &str) -> Result<PointId> {
    let point = fetch::choose(
        context,
        &Selector::Latest,
        &[],
        Some(store),
        OnlyPartial::Take,
    )?;
    let fetched = fetch::fetch(context, &point, Some(store))?;
    if let Err(error) = &fetched.details {
        return Err(error.clone());
    }
    let mut buffer = vec![0; 256 << 10];
    for artifact in &fetched.copy.manifest.artifacts {
        context.reporter.step(
            &format!("read {} from {store}", artifact.key),
            artifact.stored_bytes(),
        );
        let mut reader = fetch::open_artifact(&fetched, artifact)?;
        let failed = |e| {
            Error::from_io(
                Code::ObjectDamaged,
                format!("{} cannot be read", artifact.key),
                e,
            )
        };
        while reader.read(&mut buffer).map_err(failed)? > 0 {}
    }
    Ok(point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::assert_document;

    #[test]
    fn the_document_of_a_kit() {
        let exported = Exported {
            file: Path::new("kit.age"),
            bytes: 7,
            entries: vec!["README.md"],
            warnings: &["no passphrase".to_owned()],
        };
        let expected = r#"{
  "schema": 1,
  "file": "kit.age",
  "bytes": 7,
  "entries": [
    "README.md"
  ],
  "warnings": [
    "no passphrase"
  ]
}"#;
        assert_document(exported, expected);
    }

    #[test]
    fn the_document_of_a_kit_that_was_tried() {
        let tried = |store: &str, result| Tried {
            store: Name::parse(store).unwrap(),
            result,
        };
        let error = || Err(Error::new(Code::Decryption, "no key fits"));
        let point = PointId::parse("20261120T060000Z-7f3a").unwrap();
        let trial = Trial::new(vec![tried("disk", Ok(point)), tried("offsite", error())]);
        assert_eq!(trial.exit(), Exit::Done);
        let expected = r#"{
  "schema": 1,
  "outcome": "enough",
  "stores": [
    {
      "store": "disk",
      "outcome": "readable",
      "point": "20261120T060000Z-7f3a"
    },
    {
      "store": "offsite",
      "outcome": "unreadable",
      "error": {
        "code": "decryption",
        "message": "no key fits",
        "cause": null,
        "hint": null
      }
    }
  ]
}"#;
        assert_document(trial, expected);
        let trial = Trial::new(vec![tried("offsite", error())]);
        assert_eq!(trial.exit(), Exit::NotProved);
        assert_eq!(trial.outcome, TrialOutcome::NotEnough);
    }

    #[test]
    fn the_document_of_a_kit_that_was_unpacked() {
        let unpacked = Unpacked {
            config: Path::new("/tmp/kit/lifeboat.toml"),
            entries: vec!["README.md", "lifeboat.toml"],
        };
        let expected = r#"{
  "schema": 1,
  "config": "/tmp/kit/lifeboat.toml",
  "entries": [
    "README.md",
    "lifeboat.toml"
  ]
}"#;
        assert_document(unpacked, expected);
    }
}
