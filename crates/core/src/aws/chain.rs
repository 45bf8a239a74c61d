//! The places where the AWS tools find keys, in their order: the environment, a web identity, the
//! profile, the container, the instance. Source: the reference guide of the AWS SDKs and tools,
//! "Standardized credential providers".

use super::profile::Profiles;
use super::{Variable, metadata, sts, variable, web};
use lifeboat_store::aws::{CredentialError, Keys, Source};

/// A role to assume with the keys that were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name: `arn:aws:iam::123456789012:role/backup`.
    pub arn: String,
    /// What its owner wants to hear from those who may assume it.
    pub external_id: Option<String>,
    /// The name of the session, as it shows in logs there.
    pub session: Option<String>,
}

/// Where to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Keys that are known; then nothing else is looked at.
    pub given: Option<Keys>,
    /// The profile that has the keys; then nothing else is looked at.
    pub profile: Option<String>,
    /// The role to assume with them.
    pub role: Option<Role>,
    /// The region whose STS is asked.
    pub region: String,
}

impl Source for Chain {
    fn fetch(&self) -> Result<Keys, CredentialError> {
        let keys = match &self.given {
            Some(keys) => keys.clone(),
            None => self.found()?,
        };
        match &self.role {
            Some(role) => sts::assume(&keys, role, &self.region),
            None => Ok(keys),
        }
    }
}

impl Chain {
    fn found(&self) -> Result<Keys, CredentialError> {
        let variable: Variable<'_> = &variable;
        if let Some(name) = &self.profile {
            let keys = Profiles::read(variable)?.keys(name, &self.region)?;
            return keys.ok_or_else(|| CredentialError::Profile {
                profile: name.clone(),
                detail: "it has neither keys nor a source of them".to_owned(),
            });
        }
        let mut looked = Vec::new();
        match environment(variable)? {
            Some(keys) => return Ok(keys),
            None => looked.push("AWS_ACCESS_KEY_ID is not set".to_owned()),
        }
        match web::identity(variable, &self.region)? {
            Ok(keys) => return Ok(keys),
            Err(missing) => looked.push(missing),
        }
        let profiles = Profiles::read(variable)?;
        let named = variable("AWS_PROFILE");
        let name = named.clone().unwrap_or_else(|| "default".to_owned());
        // A profile that somebody named must be there.
        if named.is_some() || profiles.has(&name) {
            if let Some(keys) = profiles.keys(&name, &self.region)? {
                return Ok(keys);
            }
            looked.push(format!("profile {name} has no keys"));
        } else {
            looked.push(format!("no profile {name} in {}", profiles.places()));
        }
        match metadata::container(variable)? {
            Some(keys) => return Ok(keys),
            None => looked.push("no container names a service for them".to_owned()),
        }
        match metadata::instance(variable) {
            Ok(Some(keys)) => return Ok(keys),
            Ok(None) => looked.push("the metadata service is switched off".to_owned()),
            Err(error) => looked.push(error.to_string()),
        }
        Err(CredentialError::Nowhere { looked })
    }
}

fn environment(variable: Variable<'_>) -> Result<Option<Keys>, CredentialError> {
    let Some(access_key) = variable("AWS_ACCESS_KEY_ID") else {
        return Ok(None);
    };
    let Some(secret_key) = variable("AWS_SECRET_ACCESS_KEY") else {
        let looked = vec!["AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not".to_owned()];
        return Err(CredentialError::Nowhere { looked });
    };
    let token = variable("AWS_SESSION_TOKEN");
    let keys = Keys::new(access_key, secret_key, token, "the environment");
    Ok(Some(keys))
}

/// Keys of the environment, the container or the instance, as a profile names them.
pub(super) fn named(source: &str, profile: &str) -> Result<Keys, CredentialError> {
    let variable: Variable<'_> = &variable;
    let keys = match source {
        "Environment" => environment(variable)?,
        "EcsContainer" => metadata::container(variable)?,
        "Ec2InstanceMetadata" => metadata::instance(variable)?,
        _ => None,
    };
    keys.ok_or_else(|| CredentialError::Profile {
        profile: profile.to_owned(),
        detail: format!("its credential_source {source:?} has no keys"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_key_in_the_environment_is_an_error() {
        let of = |set: &'static [(&str, &str)]| {
            environment(&move |name: &str| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(&[]), Ok(None));
        assert!(of(&[("AWS_ACCESS_KEY_ID", "a")]).is_err());
        let keys = of(&[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]);
        assert_eq!(keys.unwrap().unwrap().secret_key, "b");
    }
}
