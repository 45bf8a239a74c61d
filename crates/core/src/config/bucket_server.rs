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
    /// Access key id; preferably not the same for a source as for a store.
    pub access_key: Reference,
    /// Secret access key.
    pub secret_key: Reference,
    /// Session token of temporary credentials.
    #[serde(default)]
    pub session_token: Option<Reference>,
    /// Address the bucket as `https://bucket.host/` rather than `https://host/bucket/`.
    #[serde(default)]
    pub virtual_host_style: bool,
}

impl BucketServer {
    /// Its credentials, by their keys.
    pub fn credentials(&self) -> impl Iterator<Item = (&'static str, &Reference)> {
        let token = self.session_token.as_ref();
        [
            ("access_key", &self.access_key),
            ("secret_key", &self.secret_key),
        ]
        .into_iter()
        .chain(token.map(|token| ("session_token", token)))
    }
}

fn default_region() -> String {
    "us-east-1".into()
}
