//! The kinds of channels, in the tables `[notify.NAME]`. A channel's URL is a secret where whoever
//! knows it can post.

use super::text;
use crate::secret::Reference;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kinds of channels.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ChannelKind {
    /// A Slack channel, through a bot or an incoming webhook.
    Slack(SlackConfig),
    /// A Discord channel, through a webhook.
    Discord(DiscordConfig),
    /// A Microsoft Teams channel or chat, through a workflow.
    Teams(TeamsConfig),
    /// A Telegram chat, through a bot.
    Telegram(TelegramConfig),
    /// A topic of an ntfy server.
    Ntfy(NtfyConfig),
    /// An application of a Gotify server.
    Gotify(GotifyConfig),
    /// A user or group of Pushover.
    Pushover(PushoverConfig),
    /// Mail, through an SMTP server.
    Email(EmailConfig),
    /// A service of PagerDuty.
    Pagerduty(PagerdutyConfig),
    /// A team of Opsgenie.
    Opsgenie(OpsgenieConfig),
    /// Any URL, with the message as JSON.
    Webhook(WebhookConfig),
    /// Any program, with the message as JSON on its standard input.
    Command(CommandChannel),
}

impl ChannelKind {
    /// Name of the kind in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            ChannelKind::Slack(_) => "slack",
            ChannelKind::Discord(_) => "discord",
            ChannelKind::Teams(_) => "teams",
            ChannelKind::Telegram(_) => "telegram",
            ChannelKind::Ntfy(_) => "ntfy",
            ChannelKind::Gotify(_) => "gotify",
            ChannelKind::Pushover(_) => "pushover",
            ChannelKind::Email(_) => "email",
            ChannelKind::Pagerduty(_) => "pagerduty",
            ChannelKind::Opsgenie(_) => "opsgenie",
            ChannelKind::Webhook(_) => "webhook",
            ChannelKind::Command(_) => "command",
        }
    }

    /// Returns whether it takes reports: one that calls people does not.
    pub fn takes_reports(&self) -> bool {
        !matches!(self, ChannelKind::Pagerduty(_) | ChannelKind::Opsgenie(_))
    }

    /// Its references to secrets, by their keys.
    pub fn secrets(&self) -> Vec<(&'static str, &Reference)> {
        fn given<'a>(
            key: &'static str,
            reference: Option<&'a Reference>,
        ) -> impl Iterator<Item = (&'static str, &'a Reference)> {
            reference.into_iter().map(move |r| (key, r))
        }
        match self {
            ChannelKind::Slack(c) => given("token", c.token.as_ref())
                .chain(given("webhook", c.webhook.as_ref()))
                .collect(),
            ChannelKind::Discord(c) => vec![("webhook", &c.webhook)],
            ChannelKind::Teams(c) => vec![("webhook", &c.webhook)],
            ChannelKind::Telegram(c) => vec![("token", &c.token)],
            ChannelKind::Ntfy(c) => [("topic", &c.topic)]
                .into_iter()
                .chain(given("token", c.token.as_ref()))
                .collect(),
            ChannelKind::Gotify(c) => vec![("token", &c.token)],
            ChannelKind::Pushover(c) => vec![("token", &c.token), ("user", &c.user)],
            ChannelKind::Email(c) => given("password", c.password.as_ref()).collect(),
            ChannelKind::Pagerduty(c) => vec![("routing_key", &c.routing_key)],
            ChannelKind::Opsgenie(c) => vec![("key", &c.key)],
            ChannelKind::Webhook(c) => [("url", &c.url)]
                .into_iter()
                .chain(given("secret", c.secret.as_ref()))
                .collect(),
            ChannelKind::Command(_) => vec![],
        }
    }
}

/// A Slack channel.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SlackConfig {
    /// Token of a bot with the scope `chat:write`, as `token = "env:SLACK_BOT_TOKEN"`.
    #[serde(default)]
    pub token: Option<Reference>,
    /// Id of the channel, person or group that the bot writes to, beside `token`.
    #[serde(default)]
    pub channel: Option<String>,
    /// Instead of `token` and `channel`: URL of an incoming webhook.
    #[serde(default)]
    pub webhook: Option<Reference>,
    /// URL of another server with Slack's API.
    #[serde(default = "slack_api")]
    #[schemars(with = "text::ServerUrl")]
    pub api: String,
    /// Send over plain http to another host, where others can read it.
    #[serde(default)]
    pub allow_http: bool,
}

fn slack_api() -> String {
    "https://slack.com".into()
}

/// A Discord channel.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DiscordConfig {
    /// URL of a webhook of the channel, as `webhook = "env:DISCORD_WEBHOOK"`.
    pub webhook: Reference,
    /// Send over plain http to another host, where others can read it.
    #[serde(default)]
    pub allow_http: bool,
}

/// A Microsoft Teams channel or chat.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TeamsConfig {
    /// URL of a workflow that posts what a webhook receives, as `webhook = "env:TEAMS_WEBHOOK"`.
    pub webhook: Reference,
    /// Send over plain http to another host, where others can read it.
    #[serde(default)]
    pub allow_http: bool,
}

/// A Telegram chat.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TelegramConfig {
    /// Token of the bot, as `token = "env:TELEGRAM_BOT_TOKEN"`.
    pub token: Reference,
    /// Id of the chat, or `@NAME` of a public channel.
    pub chat: String,
    /// URL of another server with Telegram's bot API.
    #[serde(default = "telegram_api")]
    #[schemars(with = "text::ServerUrl")]
    pub api: String,
    /// Send over plain http to another host, where others can read it.
    #[serde(default)]
    pub allow_http: bool,
}

fn telegram_api() -> String {
    "https://api.telegram.org".into()
}

/// A topic of an ntfy server.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NtfyConfig {
    /// URL of the server.
    #[serde(default = "ntfy_url")]
    #[schemars(with = "text::ServerUrl")]
    pub url: String,
    /// The topic, as `topic = "env:NTFY_TOPIC"`: on a public server whoever knows it can read it.
    pub topic: Reference,
    /// Access token of a user who may publish there.
    #[serde(default)]
    pub token: Option<Reference>,
    /// Send over plain http to another host, where others can read it.
    #[serde(default)]
    pub allow_http: bool,
}

fn ntfy_url() -> String {
    "https://ntfy.sh".into()
}

/// An application of a Gotify server.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct GotifyConfig {
    /// URL of the server.
    #[schemars(with = "text::ServerUrl")]
    pub url: String,
    /// Token of the application, as `token = "env:GOTIFY_TOKEN"`.
    pub token: Reference,
    /// Send over plain http to another host, where others can read it.
    #[serde(default)]
    pub allow_http: bool,
}

/// A user or group of Pushover.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PushoverConfig {
    /// Token of the application, as `token = "env:PUSHOVER_TOKEN"`.
    pub token: Reference,
    /// Key of the user or group, as `user = "env:PUSHOVER_USER"`.
    pub user: Reference,
    /// URL of another server with Pushover's API.
    #[serde(default = "pushover_api")]
    #[schemars(with = "text::ServerUrl")]
    pub api: String,
    /// Send over plain http to another host, where others can read it.
    #[serde(default)]
    pub allow_http: bool,
}

fn pushover_api() -> String {
    "https://api.pushover.net".into()
}

/// Mail.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct EmailConfig {
    /// Sender, as `lifeboat@example.org` or `Lifeboat <lifeboat@example.org>`.
    #[schemars(with = "text::MailAddress")]
    pub from: String,
    /// Recipients.
    #[schemars(with = "Vec<text::MailAddress>")]
    pub to: Vec<String>,
    /// Name of the SMTP server.
    pub server: String,
    /// Its port; 587 when absent, 465 with `tls = "implicit"`, 25 with `tls = "none"`.
    #[serde(default)]
    pub port: Option<u16>,
    /// `starttls`: encrypted from the first command on; `implicit`: encrypted from the first byte
    /// on; `none`: in clear.
    #[serde(default)]
    pub tls: MailTls,
    /// User to log in as, where the server asks for one.
    #[serde(default)]
    pub user: Option<String>,
    /// Password of `user`.
    #[serde(default)]
    pub password: Option<Reference>,
}

impl EmailConfig {
    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            MailTls::Starttls => 587,
            MailTls::Implicit => 465,
            MailTls::None => 25,
        })
    }
}

/// How the connection to a mail server is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// Encrypted once the server greeted; refused if it cannot.
    #[default]
    Starttls,
    /// Encrypted from the first byte on.
    Implicit,
    /// In clear.
    None,
}

/// A service of PagerDuty.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PagerdutyConfig {
    /// Integration key of an Events API v2 integration, as
    /// `routing_key = "env:PAGERDUTY_ROUTING_KEY"`.
    pub routing_key: Reference,
    /// URL of another server with PagerDuty's events API: `https://events.eu.pagerduty.com`.
    #[serde(default = "pagerduty_api")]
    #[schemars(with = "text::ServerUrl")]
    pub api: String,
    /// Send over plain http to another host, where others can read it.
    #[serde(default)]
    pub allow_http: bool,
}

fn pagerduty_api() -> String {
    "https://events.pagerduty.com".into()
}

/// A team of Opsgenie.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct OpsgenieConfig {
    /// Key of an API integration, as `key = "env:OPSGENIE_KEY"`.
    pub key: Reference,
    /// Where the account is: `us` or `eu`.
    #[serde(default)]
    pub region: OpsgenieRegion,
    /// URL of another server with Opsgenie's API.
    #[serde(default)]
    #[schemars(with = "Option<text::ServerUrl>")]
    pub api: Option<String>,
    /// Send over plain http to another host, where others can read it.
    #[serde(default)]
    pub allow_http: bool,
}

impl OpsgenieConfig {
    /// URL of the API.
    pub fn api(&self) -> &str {
        match (&self.api, self.region) {
            (Some(api), _) => api,
            (None, OpsgenieRegion::Us) => "https://api.opsgenie.com",
            (None, OpsgenieRegion::Eu) => "https://api.eu.opsgenie.com",
        }
    }
}

/// Where an account of Opsgenie is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OpsgenieRegion {
    /// The United States.
    #[default]
    Us,
    /// The European Union.
    Eu,
}

/// Any URL.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WebhookConfig {
    /// The URL, as `url = "env:WEBHOOK_URL"`.
    pub url: Reference,
    /// Key that signs the message, so that the receiver knows whom it is from.
    #[serde(default)]
    pub secret: Option<Reference>,
    /// Send over plain http to another host, where others can read it.
    #[serde(default)]
    pub allow_http: bool,
}

/// Any program.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CommandChannel {
    /// The program and its arguments. It is ended after 30 seconds.
    pub command: Vec<String>,
}
