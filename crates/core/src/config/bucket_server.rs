//! The server of a bucket, in the tables of sources and stores.

use super::text;
use crate::secret::Reference;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The server of a bucket, and the credentials for it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BucketServer {
    /// Region.
    #[serde(default = "default_region")]
    pub region: String,
    /// URL of a server that is not Amazon's.
    #[serde(default)]
    #[schemars(with = "Option<text::Url>")]
    pub endpoint: Option<String>,
    /// Access key id; preferably not the same for a source as for a store. Without keys, they are taken
    /// from where the AWS tools find them.
    #[serde(default)]
    pub access_key: Option<Reference>,
    /// Secret access key.
    #[serde(default)]
    pub secret_key: Option<Reference>,
    /// Session token of temporary credentials.
    #[serde(default)]
    pub session_token: Option<Reference>,
    /// Profile of the AWS tools that has the keys.
    #[serde(default)]
    pub profile: Option<String>,
    /// Role to assume with the keys.
    #[serde(default)]
    pub role_arn: Option<String>,
    /// What the owner of the role wants to hear from those who may assume it.
    #[serde(default)]
    pub external_id: Option<String>,
    /// Address the bucket as `https://bucket.host/` rather than `https://host/bucket/`.
    #[serde(default)]
    pub virtual_host_style: bool,
}

impl BucketServer {
    /// Its credentials, by their keys.
    pub fn credentials(&self) -> impl Iterator<Item = (&'static str, &Reference)> {
        let all = [
            ("access_key", &self.access_key),
            ("secret_key", &self.secret_key),
            ("session_token", &self.session_token),
        ];
        let given = all.into_iter();
        given.filter_map(|(key, reference)| Some((key, reference.as_ref()?)))
    }

    /// The same, to be replaced.
    pub fn keys_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Reference)> {
        let all = [
            ("access_key", &mut self.access_key),
            ("secret_key", &mut self.secret_key),
            ("session_token", &mut self.session_token),
        ];
        let given = all.into_iter();
        given.filter_map(|(key, reference)| Some((key, reference.as_mut()?)))
    }

    /// Returns whether another has the same credentials, as far as the configuration says.
    pub fn has_same_credentials(&self, other: &Self) -> bool {
        let of = |server: &Self| {
            let (key, profile) = (server.access_key.clone(), server.profile.clone());
            (key, profile, server.role_arn.clone())
        };
        of(self) == of(other)
    }
}

fn default_region() -> String {
    "us-east-1".into()
}
