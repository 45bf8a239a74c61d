//! The shared configuration and credentials files. Source: the reference guide of the AWS SDKs and
//! tools, "Shared config and credentials files".

use super::chain::{self, Role};
use super::metadata::Given;
use super::web;
use super::{Variable, sts};
use crate::transport::{Command, Transport};
use lifeboat_store::aws::{CredentialError, Keys};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The most profiles that may lead from one to the next.
const STEPS_MAX: usize = 8;

type Settings = BTreeMap<String, String>;
type Fetched = Result<Option<Keys>, CredentialError>;

/// The profiles of both files; what the credentials file says of one goes first.
pub(super) struct Profiles {
    profiles: BTreeMap<String, Settings>,
    places: Vec<String>,
}

impl Profiles {
    /// Reads both files. One that does not exist has no profiles.
    pub(super) fn read(variable: Variable<'_>) -> Result<Self, CredentialError> {
        let home = variable("HOME");
        let place = |name: &str, file: &str| {
            let usual = || home.as_ref().map(|home| format!("{home}/.aws/{file}"));
            variable(name).or_else(usual)
        };
        let mut found = Profiles {
            profiles: BTreeMap::new(),
            places: Vec::new(),
        };
        let config = place("AWS_CONFIG_FILE", "config");
        let credentials = place("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        for (path, is_config) in [(config, true), (credentials, false)] {
            let Some(path) = path else {
                continue;
            };
            match std::fs::read_to_string(&path) {
                Ok(text) => found.add(&text, is_config),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(CredentialError::Nowhere {
                        looked: vec![format!("{path} cannot be read: {error}")],
                    });
                }
            }
            found.places.push(path);
        }
        Ok(found)
    }

    /// Adds the profiles of a file; they replace what is known of each. In the configuration file, the
    /// section of a profile other than the default begins with `profile`.
    fn add(&mut self, text: &str, is_config: bool) {
        let mut current: Option<&mut Settings> = None;
        for line in text.lines() {
            let is_nested = line.starts_with([' ', '\t']);
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(section) = line.strip_prefix('[') {
                let section = section.split(']').next().unwrap_or_default().trim();
                let name = match section.strip_prefix("profile") {
                    Some(name) if is_config && name.starts_with([' ', '\t']) => {
                        Some(name.trim().trim_matches(['"', '\'']))
                    }
                    _ if is_config && section != "default" => None,
                    _ => Some(section),
                };
                current = name.map(|name| self.profiles.entry(name.to_owned()).or_default());
                continue;
            }
            // Nested settings belong to a service.
            if let Some((name, value)) = line.split_once('=').filter(|_| !is_nested)
                && let Some(settings) = &mut current
            {
                // What follows a blank and a comment sign is a comment.
                let value = value.split(" #").next().unwrap_or_default();
                settings.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
            }
        }
    }

    /// Returns whether there is such a profile.
    pub(super) fn has(&self, name: &str) -> bool {
        self.profiles.contains_key(name)
    }

    /// The region that a profile names.
    pub(super) fn region(&self, name: &str) -> Option<String> {
        let region = self.profiles.get(name)?.get("region")?;
        Some(region.clone()).filter(|region| !region.is_empty())
    }

    /// The files that were read, for people.
    pub(super) fn places(&self) -> String {
        match self.places.is_empty() {
            true => "any file, since HOME is not set".to_owned(),
            false => self.places.join(" or "),
        }
    }

    /// The keys of a profile; `None` if it says nothing of any.
    pub(super) fn keys(&self, name: &str, region: &str) -> Fetched {
        self.follow(name, region, 0)
    }

    fn follow(&self, name: &str, region: &str, steps: usize) -> Fetched {
        let wrong = |detail: String| Err(wrong(name, detail));
        let Some(settings) = self.profiles.get(name) else {
            return wrong(format!("it is not in {}", self.places()));
        };
        let profile = Profile { name, settings };
        if steps > STEPS_MAX {
            return wrong("its source_profile leads round in a circle".to_owned());
        }
        if let Some(role) = profile.role() {
            return self.of_role(&profile, &role, region, steps).map(Some);
        }
        if let Some(keys) = profile.keys()? {
            return Ok(Some(keys));
        }
        if let Some(line) = profile.get("credential_process") {
            return from_program(name, line).map(Some);
        }
        match profile.get("sso_session").or(profile.get("sso_start_url")) {
            Some(_) => wrong(format!(
                "it logs in with a browser; let it have the keys by credential_process = aws configure export-credentials --profile {name}"
            )),
            None => Ok(None),
        }
    }

    /// The keys of a role that a profile names, from the source that it names.
    fn of_role(
        &self,
        profile: &Profile<'_>,
        role: &Role,
        region: &str,
        steps: usize,
    ) -> Result<Keys, CredentialError> {
        let wrong = |detail: &str| wrong(profile.name, detail.to_owned());
        if profile.get("mfa_serial").is_some() {
            let detail = "its role asks for a code of a person, who is not there (mfa_serial)";
            return Err(wrong(detail));
        }
        if let Some(path) = profile.get("web_identity_token_file") {
            return web::by_file(path, role, region);
        }
        let base = match (
            profile.get("source_profile"),
            profile.get("credential_source"),
        ) {
            // A profile may be its own source, for the keys beside its role.
            (Some(source), None) if source == profile.name => profile.keys()?,
            (Some(source), None) => self.follow(source, region, steps + 1)?,
            (None, Some(source)) => Some(chain::named(source, profile.name)?),
            _ => {
                let detail = "role_arn needs source_profile or credential_source, one of them";
                return Err(wrong(detail));
            }
        };
        let base = base.ok_or_else(|| wrong("its source_profile has no keys"))?;
        sts::assume(&base, role, region)
    }
}

fn wrong(profile: &str, detail: String) -> CredentialError {
    let profile = profile.to_owned();
    CredentialError::Profile { profile, detail }
}

/// One profile.
struct Profile<'p> {
    name: &'p str,
    settings: &'p Settings,
}

impl Profile<'_> {
    /// A setting that is not empty.
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.settings.get(key).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// The role that it is for.
    fn role(&self) -> Option<Role> {
        let get = |key| self.get(key).map(str::to_owned);
        Some(Role {
            arn: get("role_arn")?,
            external_id: get("external_id"),
            session: get("role_session_name"),
        })
    }

    /// The keys that it holds itself.
    fn keys(&self) -> Fetched {
        let (access, secret) = (
            self.get("aws_access_key_id"),
            self.get("aws_secret_access_key"),
        );
        let lacks = match (access, secret) {
            (Some(access), Some(secret)) => {
                let token = self.get("aws_session_token").map(str::to_owned);
                let from = format!("profile {}", self.name);
                return Ok(Some(Keys::new(access, secret, token, from)));
            }
            (None, None) => return Ok(None),
            (Some(_), None) => "it has aws_access_key_id, and no aws_secret_access_key",
            (None, Some(_)) => "it has aws_secret_access_key, and no aws_access_key_id",
        };
        Err(wrong(self.name, lacks.to_owned()))
    }
}

/// What a program prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    version: u32,
    #[serde(flatten)]
    keys: Given,
}

/// The keys that a program prints.
fn from_program(name: &str, line: &str) -> Result<Keys, CredentialError> {
    let failed = |detail: String| CredentialError::Program {
        profile: name.to_owned(),
        detail,
    };
    // It may hang, and nobody waits for it longer than a minute.
    let program = Command::new("timeout").args(["60", "/bin/sh", "-c", line]);
    let ended = Transport::Local.output(&program);
    let ended = ended.map_err(|error| failed(error.to_string()))?;
    if !ended.status.success() {
        let said = ended.stderr.lines().last().unwrap_or_default().trim();
        return Err(failed(format!("{}: {said}", ended.status)));
    }
    // The text is not quoted: it may hold keys.
    let printed: Printed = serde_json::from_slice(&ended.stdout)
        .map_err(|error| failed(format!("what it prints has no keys: {error}")))?;
    match printed.version {
        1 => Ok(printed
            .keys
            .into_keys(format!("profile {name}, by its program"))),
        version => Err(failed(format!(
            "it prints version {version}, and 1 is known"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles(config: &str, credentials: &str) -> Profiles {
        let mut profiles = Profiles {
            profiles: BTreeMap::new(),
            places: vec!["config".to_owned()],
        };
        profiles.add(config, true);
        profiles.add(credentials, false);
        profiles
    }

    fn keys(profiles: &Profiles, name: &str) -> Fetched {
        profiles.keys(name, "eu-west-1")
    }

    #[test]
    fn both_files_are_read_and_the_credentials_file_goes_first() {
        let config = "[default]\nregion = eu-west-1\n\n[profile a]\naws_access_key_id = old\n\
             aws_secret_access_key=s3cret # with a comment\ns3 =\n  aws_access_key_id = nested\n\
             [a]\naws_access_key_id = of no profile\n[services x]\naws_access_key_id = none\n";
        let both = profiles(config, "[a]\naws_access_key_id = new\n; comment\n");
        let found = keys(&both, "a").unwrap().unwrap();
        assert_eq!(
            (found.access_key.as_str(), found.secret_key.as_str()),
            ("new", "s3cret")
        );
        assert_eq!(keys(&both, "default"), Ok(None));
        assert!(keys(&both, "services x").is_err());
    }

    #[test]
    fn what_a_profile_lacks_is_said() {
        let config = "[profile half]\naws_access_key_id = a\n\
             [profile round]\nrole_arn = r\nsource_profile = trip\n\
             [profile trip]\nrole_arn = r\nsource_profile = round\n\
             [profile alone]\nrole_arn = r\n\
             [profile person]\nrole_arn = r\nsource_profile = half\nmfa_serial = m\n\
             [profile browser]\nsso_start_url = u\n";
        let all = profiles(config, "");
        for (name, expected) in [
            ("half", "no aws_secret_access_key"),
            ("round", "circle"),
            ("alone", "needs source_profile"),
            ("person", "mfa_serial"),
            ("browser", "credential_process"),
            ("missing", "it is not in config"),
        ] {
            let error = keys(&all, name).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }

    #[test]
    fn a_program_may_be_the_source() {
        let printed = r#"{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "SessionToken": "c", "Expiration": "2030-01-01T00:00:00Z"}"#;
        let of = |line: &str| {
            keys(
                &profiles(&format!("[profile p]\ncredential_process = {line}\n"), ""),
                "p",
            )
        };
        let found = of(&format!("echo '{printed}'")).unwrap().unwrap();
        assert_eq!(found.session_token.as_deref(), Some("c"));
        assert!(found.expires.is_some());
        let error = of("echo oh no >&2; exit 3").unwrap_err().to_string();
        assert!(error.contains("oh no") && error.contains('3'), "{error}");
        let error = of("echo '{\"AccessKeyId\": \"hunter2\"}'")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no keys") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
