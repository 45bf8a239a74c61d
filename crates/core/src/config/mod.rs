//! The configuration: one TOML file, typed, with unknown keys refused.
//!
//! Each table has a file that defines its shape. [`Config::load`] reads a file and returns a
//! configuration only when every key is known, every value fits and no two of them contradict each
//! other. Every secret is a [`Reference`] and is not resolved here, so that a configuration can be
//! printed, and checked on a host that has none of the secrets. Nothing is connected to.

use crate::name::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The whole configuration file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of this format; write `version = 1`.
    pub version: u32,
    /// The application that is protected.
    pub app: App,
    /// Sources to back up, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = text::names()))]
    pub source: BTreeMap<Name, SourceConfig>,
    /// Stores that receive backups, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = text::names()))]
    pub store: BTreeMap<Name, StoreConfig>,
    /// Plans that say which sources go to which stores, and when, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = text::names()))]
    pub plan: BTreeMap<Name, PlanConfig>,
    /// Rehearsed restores, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = text::names()))]
    pub drill: BTreeMap<Name, DrillConfig>,
    /// Verifications that run by themselves, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = text::names()))]
    pub verify: BTreeMap<Name, VerifyConfig>,
    /// Reports that are written and sent by themselves, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = text::names()))]
    pub report: BTreeMap<Name, ReportConfig>,
    /// How `run` and `daemon` work.
    #[serde(default)]
    pub run: RunConfig,
    /// Commands and checks around a live restore.
    #[serde(default)]
    pub restore: RestoreConfig,
    /// The record of drills and restores.
    #[serde(default)]
    pub evidence: EvidenceConfig,
    /// Channels that tell people what is wrong, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = text::names()))]
    pub notify: BTreeMap<Name, NotifyConfig>,
    /// Whom to ask, by role: each message ends in it.
    #[serde(default)]
    #[schemars(extend("propertyNames" = text::names()))]
    pub contacts: BTreeMap<Name, String>,
    /// Checks elsewhere that raise an alarm when they hear nothing from here, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = text::names()))]
    pub ping: BTreeMap<Name, PingConfig>,
    /// Buckets that are watched beside the stores, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = text::names()))]
    pub posture: BTreeMap<Name, PostureConfig>,
    /// The file it was read from, absolute.
    #[serde(skip)]
    pub origin: PathBuf,
    /// The text of that file, without secrets.
    #[serde(skip)]
    pub text: String,
}

mod app;
mod bucket_server;
mod channel;
mod checks;
mod document;
mod drill;
mod encryption;
mod later;
mod load;
mod machine;
mod notify;
mod object_lock;
mod ping;
mod places;
mod plan;
mod posture;
mod report;
mod restore;
mod run;
mod schema;
mod show;
mod source;
mod ssh;
mod store;
mod text;
mod validate;
mod value;
mod verify;
mod when;

pub use app::App;
pub use bucket_server::BucketServer;
pub use channel::{
    ChannelKind, CommandChannel, DiscordConfig, EmailConfig, GotifyConfig, MailTls, NtfyConfig,
    OpsgenieConfig, OpsgenieRegion, PagerdutyConfig, PushoverConfig, SlackConfig, TeamsConfig,
    TelegramConfig, WebhookConfig,
};
pub use checks::{Check, CheckConfig};
pub use drill::DrillConfig;
pub use encryption::{DecryptConfig, EncryptConfig, EvidenceConfig, SignConfig};
pub use machine::{AccountConfig, Ec2Config, ExternalConfig, LightsailConfig, SnapshotConfig};
pub use notify::{EscalateConfig, NotifyConfig, Repeat, Topic};
pub use object_lock::{ObjectLockConfig, ObjectLockMode};
pub use ping::PingConfig;
pub use plan::{
    AnomalyLimits, AnomalyRule, AnomalyWord, Keep, KeepRules, KeepWord, OfPeriod, PlanConfig, Reach,
};
pub use posture::{PostureConfig, PostureKind, Requirement};
pub use report::{Period, ReportConfig, ReportFormat};
pub use restore::RestoreConfig;
pub use run::RunConfig;
pub use schema::schema;
pub use source::{
    BucketConfig, CommandConfig, FilesConfig, LeastBytes, LeastRows, PlaceConfig, PostgresConfig,
    ServerConfig, SourceConfig, SourceKind, SqliteConfig,
};
pub use ssh::SshConfig;
pub use store::{
    KEY_DEFAULT, Layout, LocalConfig, PrunedBy, S3Config, SftpConfig, StoreConfig, StoreKind,
};
pub use verify::VerifyConfig;
pub use when::{Retry, When};

#[cfg(test)]
mod tests;
