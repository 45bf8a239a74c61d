//! Channels: that each can send, that a secret is not sent in clear, and that an escalation reaches
//! somebody.

use super::Issue;
use crate::config::places::did_you_mean;
use crate::config::{
    ChannelKind, Config, EmailConfig, EscalateConfig, MailTls, NotifyConfig, Repeat, SlackConfig,
    Topic,
};
use crate::http::{Url, is_loopback};
use crate::name::Name;

/// Most channels.
const CHANNELS_MAX: usize = 50;
/// Most escalations of a channel.
const ESCALATIONS_MAX: usize = 20;
/// Most recipients of a mail.
const RECIPIENTS_MAX: usize = 50;
/// Most people to ask.
const CONTACTS_MAX: usize = 20;
/// Longest text that says whom to ask.
const CONTACT_CHARS_MAX: usize = 200;

/// Refuses channels that could tell nobody anything, or would tell it to everybody.
pub(super) fn channels(config: &Config, issues: &mut Vec<Issue>) {
    if config.notify.len() > CHANNELS_MAX {
        let message = format!("{} channels are too many", config.notify.len());
        let issue = Issue::refused("notify", "", message);
        issues.push(issue.hint(format!("keep {CHANNELS_MAX} at most")));
    }
    for (name, ping) in &config.ping {
        let unknown = ping.plans.iter().enumerate();
        for (index, plan) in unknown.filter(|(_, plan)| !config.plan.contains_key(*plan)) {
            let at = format!("plans[{index}]");
            let message = format!("there is no plan {plan:?}");
            let issue = Issue::refused(format!("ping.{name}"), at, message);
            let known = config.plan.keys().map(Name::as_str);
            issues.push(match did_you_mean(plan, known) {
                Some(hint) => issue.hint(hint),
                None => issue.hint("name a plan of this configuration, or none for all of them"),
            });
        }
    }
    for (name, channel) in &config.notify {
        let subject = format!("notify.{name}");
        if matches!(channel.repeat, Repeat::Every(span) if span.seconds == 0) {
            let issue = Issue::refused(&subject, "repeat", "it would be told without end");
            issues.push(issue.hint("write how often, as \"24h\", or \"never\" for once only"));
        }
        if channel.on == [Topic::Recovered] {
            let message = "it would be told the end of what it was never told";
            let issue = Issue::refused(&subject, "on", message);
            issues.push(issue.hint("add kinds of conditions, or \"all\""));
        }
        kind(&subject, &channel.kind, issues);
        escalations(config, &subject, channel, issues);
    }
}

fn kind(subject: &str, kind: &ChannelKind, issues: &mut Vec<Issue>) {
    let (key, url, allowed) = match kind {
        ChannelKind::Slack(c) => {
            slack(subject, c, issues);
            ("api", c.api.as_str(), c.allow_http)
        }
        ChannelKind::Telegram(c) => {
            named(
                subject,
                "chat",
                &c.chat,
                "chat = \"-1001234567890\"",
                issues,
            );
            ("api", c.api.as_str(), c.allow_http)
        }
        ChannelKind::Ntfy(c) => ("url", c.url.as_str(), c.allow_http),
        ChannelKind::Gotify(c) => ("url", c.url.as_str(), c.allow_http),
        ChannelKind::Pushover(c) => ("api", c.api.as_str(), c.allow_http),
        ChannelKind::Pagerduty(c) => ("api", c.api.as_str(), c.allow_http),
        ChannelKind::Opsgenie(c) => ("api", c.api(), c.allow_http),
        ChannelKind::Email(c) => return email(subject, c, issues),
        ChannelKind::Command(c) => {
            if c.command.first().is_none_or(String::is_empty) {
                let issue = Issue::refused(subject, "command", "it names no program");
                issues.push(issue.hint("write it as command = [\"PROGRAM\", \"ARGUMENT\"]"));
            }
            return;
        }
        // Their URLs are secrets, and looked at when they are used.
        ChannelKind::Discord(_) | ChannelKind::Teams(_) | ChannelKind::Webhook(_) => return,
    };
    match Url::parse(url) {
        None => {
            let issue = Issue::refused(subject, key, format!("{url:?} is no URL"));
            issues.push(issue.hint("write it whole, as in \"https://push.example.org\""));
        }
        Some(url) if url.is_readable_by_others() && !allowed => {
            let message = format!(
                "the secret of this channel would reach {} in clear",
                url.site()
            );
            let issue = Issue::refused(subject, key, message);
            issues.push(
                issue.hint("write https://, or allow_http = true where nobody else is on the way"),
            );
        }
        Some(_) => {}
    }
}

fn named(subject: &str, key: &str, value: &str, example: &str, issues: &mut Vec<Issue>) {
    if value.trim().is_empty() {
        let issue = Issue::refused(subject, key, "it is empty");
        issues.push(issue.hint(format!("write it as {example}")));
    }
}

fn slack(subject: &str, slack: &SlackConfig, issues: &mut Vec<Issue>) {
    let mut refuse = |at: &str, message: &str, hint: &str| {
        issues.push(Issue::refused(subject, at, message).hint(hint));
    };
    match (&slack.webhook, &slack.token, &slack.channel) {
        (None, None, _) => refuse(
            "",
            "it has no secret",
            "add token = \"env:SLACK_BOT_TOKEN\" and channel = \"C0123456789\", or webhook = \"env:SLACK_WEBHOOK\"",
        ),
        (Some(_), Some(_), _) => refuse(
            "webhook",
            "it is given beside token",
            "give one of token and webhook",
        ),
        (Some(_), None, Some(_)) => refuse(
            "channel",
            "it is given beside webhook",
            "remove it: a webhook leads to one channel",
        ),
        (None, Some(_), None) => refuse(
            "",
            "it has no channel",
            "add channel = \"C0123456789\": the id stands at the end of the channel's details",
        ),
        (None, Some(_), Some(channel)) => {
            named(
                subject,
                "channel",
                channel,
                "channel = \"C0123456789\"",
                issues,
            );
        }
        (Some(_), None, None) => {}
    }
}

fn email(subject: &str, email: &EmailConfig, issues: &mut Vec<Issue>) {
    let mut refuse = |at: &str, message: String, hint: &str| {
        issues.push(Issue::refused(subject, at, message).hint(hint));
    };
    if !(1..=RECIPIENTS_MAX).contains(&email.to.len()) {
        let message = format!("{} recipients are not possible", email.to.len());
        refuse(
            "to",
            message,
            "write from 1 to 50, as to = [\"ops@example.org\"]",
        );
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-:[]_".contains(c);
    if email.server.is_empty() || !email.server.chars().all(fits) {
        let message = format!("{:?} is no name of a server", email.server);
        refuse("server", message, "write its name alone; its port is port");
    }
    match (&email.user, &email.password) {
        (Some(_), None) => refuse(
            "user",
            "it has no password".into(),
            "add password = \"env:SMTP_PASSWORD\"",
        ),
        (None, Some(_)) => refuse("password", "nobody has it".into(), "add user = \"…\""),
        (Some(_), Some(_)) if email.tls == MailTls::None && !is_loopback(&email.server) => refuse(
            "tls",
            format!("the password would reach {} in clear", email.server),
            "remove tls, or write tls = \"implicit\"",
        ),
        _ => {}
    }
}

fn escalations(config: &Config, subject: &str, channel: &NotifyConfig, issues: &mut Vec<Issue>) {
    if channel.escalate.len() > ESCALATIONS_MAX {
        let message = format!("{} escalations are too many", channel.escalate.len());
        let issue = Issue::refused(subject, "escalate", message);
        issues.push(issue.hint(format!("keep {ESCALATIONS_MAX} at most")));
    }
    for (index, escalation) in channel.escalate.iter().enumerate() {
        let at = format!("escalate[{index}]");
        escalates(config, subject, &at, escalation, issues);
    }
}

fn escalates(
    config: &Config,
    subject: &str,
    at: &str,
    escalation: &EscalateConfig,
    issues: &mut Vec<Issue>,
) {
    if escalation.after.seconds == 0 {
        let issue = Issue::refused(subject, format!("{at}.after"), "it would escalate at once");
        issues.push(issue.hint("write after which time, or add another channel instead"));
    }
    if escalation.to.is_empty() {
        let issue = Issue::refused(subject, format!("{at}.to"), "it escalates to nobody");
        issues.push(issue.hint("name channels: to = [\"oncall\"], with a [notify.oncall]"));
    }
    for (index, to) in escalation.to.iter().enumerate() {
        let at = format!("{at}.to[{index}]");
        if format!("notify.{to}") == subject {
            let issue = Issue::refused(subject, at, "it escalates to itself");
            issues.push(issue.hint("name another channel; repeat tells this one again"));
        } else if !config.notify.contains_key(to) {
            let known = &config.notify;
            issues.push(super::shape::unknown(subject, &at, to, known, "notify"));
        }
    }
    let known = subjects(config);
    for (index, one) in escalation.all.iter().enumerate() {
        if !known.contains(one) {
            let at = format!("{at}.all[{index}]");
            let message = format!("there is no {one:?}");
            let issue = Issue::refused(subject, at, message);
            issues.push(match did_you_mean(one, known.iter().map(String::as_str)) {
                Some(hint) => issue.hint(hint),
                None => {
                    issue.hint("name a plan, source, store, drill or verification, as plan.NAME")
                }
            });
        }
    }
}

/// Everything of the configuration that conditions speak of, as `plan.NAME`.
fn subjects(config: &Config) -> Vec<String> {
    let plans = config.plan.keys().map(|name| format!("plan.{name}"));
    let sources = config.source.keys().map(|name| format!("source.{name}"));
    let stores = config.store.keys().map(|name| format!("store.{name}"));
    let drills = config.drill.keys().map(|name| format!("drill.{name}"));
    let verify = config.verify.keys().map(|name| format!("verify.{name}"));
    plans
        .chain(sources)
        .chain(stores)
        .chain(drills)
        .chain(verify)
        .collect()
}

/// Refuses contacts that would not fit at the end of a message.
pub(super) fn contacts(config: &Config, issues: &mut Vec<Issue>) {
    if config.contacts.len() > CONTACTS_MAX {
        let message = format!("{} entries are too many", config.contacts.len());
        let issue = Issue::refused("contacts", "", message);
        issues.push(issue.hint(format!("keep {CONTACTS_MAX} at most")));
    }
    for (role, text) in &config.contacts {
        let why = match text {
            text if text.trim().is_empty() => "it is empty",
            text if text.contains(char::is_control) => "it is more than one line",
            text if text.chars().count() > CONTACT_CHARS_MAX => "it is longer than 200 characters",
            _ => continue,
        };
        let issue = Issue::refused(format!("contacts.{role}"), "", why);
        issues.push(issue.hint("write a name, address or telephone number on one line"));
    }
}
