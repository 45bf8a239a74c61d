//! Sources that are machines, of which somebody else keeps snapshots.

use super::{BucketServer, KeepRules, PlaceConfig, text};
use crate::expect::Percent;
use crate::name::Name;
use crate::secret::Reference;
use crate::span::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Snapshots that stay where they are taken.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotConfig {
    /// Template of the name of a snapshot, with the fields of keys.
    #[serde(default = "default_name")]
    pub name: String,
    /// Which of them stay there; without it, each as long as its point.
    #[serde(default)]
    pub keep_at_source: Option<KeepRules>,
    /// How long it may take until a snapshot is available, or a machine that is made of one runs.
    #[serde(default = "default_wait")]
    pub wait: Span,
    /// How long a machine may live that a drill makes.
    #[serde(default = "default_lifetime")]
    pub lifetime: Span,
    /// The address that leads users to the machine: of Lightsail the name of a static IP address, of
    /// EC2 an Elastic IP address or its allocation id. A restore lets it lead to the new machine, and
    /// snapshots are taken of the one that it leads to.
    #[serde(default)]
    pub address: Option<String>,
    /// Databases of the same plan that live on it. A drill compares them, as they come back with the
    /// machine, with what was captured of them.
    #[serde(default)]
    pub holds: Vec<Name>,
    /// Largest difference of the row counts of their tables, as a percentage of the larger one, since they
    /// are written to between the two captures; when absent, nothing may differ.
    #[serde(default)]
    #[schemars(with = "Option<text::Tolerance>")]
    pub tolerance: Option<Percent>,
}

fn default_name() -> String {
    "{app}-{source}-{date}".to_owned()
}

fn default_wait() -> Span {
    Span { seconds: 2 * 3600 }
}

fn default_lifetime() -> Span {
    Span { seconds: 3600 }
}

/// An account of Amazon in a region.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AccountConfig {
    /// The region.
    pub region: String,
    /// Another region, into which each snapshot is copied.
    #[serde(default)]
    pub copy_to: Option<String>,
    /// Access key id. Without keys, they are taken from where the AWS tools find them.
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
}

impl AccountConfig {
    /// The same account in another region.
    pub fn in_region(&self, region: &str) -> Self {
        AccountConfig {
            region: region.to_owned(),
            copy_to: None,
            ..self.clone()
        }
    }

    /// Whose credentials are used, and where.
    pub fn server(&self) -> BucketServer {
        BucketServer {
            region: self.region.clone(),
            endpoint: None,
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.clone(),
            session_token: self.session_token.clone(),
            profile: self.profile.clone(),
            role_arn: self.role_arn.clone(),
            external_id: self.external_id.clone(),
            virtual_host_style: false,
        }
    }

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
}

/// An instance of Amazon Lightsail.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LightsailConfig {
    /// Name of the instance.
    pub instance: String,
    /// Whose it is, and where.
    #[serde(flatten)]
    pub account: AccountConfig,
    /// Hour at which Lightsail is to take a snapshot of its own each day, as `06:00`, UTC: it keeps seven, and
    /// nothing here counts on them.
    #[serde(default)]
    pub automatic: Option<String>,
    /// Availability zone of the machines that drills make; `a` of the region when absent.
    #[serde(default)]
    pub zone: Option<String>,
    /// Bundle of those machines; that of the instance when absent.
    #[serde(default)]
    pub bundle: Option<String>,
    /// Networks that reach those machines, as `203.0.113.7/32`; without any, nobody does.
    #[serde(default)]
    pub reach_from: Vec<String>,
    /// TCP ports that they reach.
    #[serde(default = "default_ports")]
    pub ports: Vec<u16>,
    /// Its snapshots.
    #[serde(flatten)]
    pub snapshots: SnapshotConfig,
}

fn default_ports() -> Vec<u16> {
    vec![22]
}

/// An instance of Amazon EC2.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Ec2Config {
    /// Id of the instance: `i-0123456789abcdef0`.
    pub instance: String,
    /// Whose it is, and where.
    #[serde(flatten)]
    pub account: AccountConfig,
    /// Security group of the machines that drills make: it lets in whoever checks them, and nobody else.
    /// Drills need it.
    #[serde(default)]
    pub security_group: Option<String>,
    /// Subnet of those machines; that of the instance when absent.
    #[serde(default)]
    pub subnet: Option<String>,
    /// Instance type of those machines; that of the instance when absent.
    #[serde(default)]
    pub instance_type: Option<String>,
    /// Its snapshots.
    #[serde(flatten)]
    pub snapshots: SnapshotConfig,
}

/// Snapshots by commands: of a provider without a kind of its own, or of a file system.
///
/// Each reads a JSON object from its standard input and prints one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ExternalConfig {
    /// What the commands call the machine.
    pub machine: String,
    /// Takes a snapshot.
    pub create: Vec<String>,
    /// Lists the snapshots of the machine.
    pub list: Vec<String>,
    /// Deletes a snapshot.
    pub delete: Vec<String>,
    /// Makes a machine of a snapshot, out of everybody's reach; drills need it.
    #[serde(default)]
    pub restore: Vec<String>,
    /// Lists the machines that `restore` made.
    #[serde(default)]
    pub machines: Vec<String>,
    /// Destroys a machine that `restore` made.
    #[serde(default)]
    pub destroy: Vec<String>,
    /// Says which machine an address leads to; a restore needs it.
    #[serde(default)]
    pub holder: Vec<String>,
    /// Lets an address lead to a machine; a restore needs it.
    #[serde(default, rename = "move")]
    pub lead: Vec<String>,
    /// Environment variables of the commands, each a reference.
    #[serde(default)]
    #[schemars(extend("propertyNames" = super::text::variables()))]
    pub env: BTreeMap<String, Reference>,
    /// Its snapshots.
    #[serde(flatten)]
    pub snapshots: SnapshotConfig,
    /// Place where the commands run.
    #[serde(flatten)]
    pub place: PlaceConfig,
}

impl ExternalConfig {
    /// Its commands, by their keys.
    pub fn commands(&self) -> [(&'static str, &Vec<String>); 8] {
        [
            ("create", &self.create),
            ("list", &self.list),
            ("delete", &self.delete),
            ("restore", &self.restore),
            ("machines", &self.machines),
            ("destroy", &self.destroy),
            ("holder", &self.holder),
            ("move", &self.lead),
        ]
    }
}
