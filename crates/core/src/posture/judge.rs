//! What is wrong with a bucket, from what its server says of it. Pure.

use super::document::Policy;
use super::lifecycle::{self, Needs};
use crate::condition::ConditionKind;
use crate::config::Requirement;
use crate::finding::{Finding, Severity};
use lifeboat_store::bucket::control::{Answer, Mend, Setting, Settings, Versioning};
use lifeboat_store::{LockMode, LockSettings};

/// The topic of old versions that never expire.
const NONCURRENT: &str = "noncurrent-versions";
/// What is said of a bucket without versions.
const KEEPS_NONE: &str = "it keeps no versions: what is overwritten or deleted there is gone";

/// What is wanted of a bucket.
pub struct Wanted<'a> {
    /// What findings are about: `store.offsite`.
    pub subject: &'a str,
    /// Its name for `lifeboat posture`: `offsite`.
    pub name: &'a str,
    /// Whether it is a store: that strangers read what is not sensitive is no error there.
    pub is_store: bool,
    /// What must be so.
    pub require: &'a [Requirement],
    /// The region that the configuration names, where it matters.
    pub region: Option<&'a str>,
    /// What must stay in it.
    pub needs: &'a Needs,
}

/// Returns all findings about a bucket, good and bad.
pub fn judge(wanted: &Wanted<'_>, settings: &Settings) -> Vec<Finding> {
    let mut found = Found {
        wanted,
        findings: Vec::new(),
        unasked: Vec::new(),
    };
    found.region(&settings.region);
    found.versioning(&settings.versioning);
    found.object_lock(&settings.object_lock);
    found.public_access(settings);
    found.policy(settings);
    found.encryption(settings);
    found.lifecycle(settings);
    found.switches(settings);
    found.unasked();
    found.findings
}

/// What is known of the versions that a bucket keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// It keeps none.
    NotKept,
    /// Those that are not the newest expire some day.
    Expire,
    /// They stay for good.
    Stay,
    /// Nothing is known.
    Unknown,
}

/// Tells from findings about a bucket what it does with versions.
pub fn versions(subject: &str, findings: &[Finding]) -> Versions {
    let about = |topic: &str| {
        let subject = format!("{subject}.{topic}");
        findings.iter().find(|finding| finding.subject == subject)
    };
    let Some(versioning) = about("versioning") else {
        return Versions::Unknown;
    };
    let rules = about("lifecycle").map(|finding| finding.severity);
    match versioning.severity {
        _ if versioning.message == KEEPS_NONE => Versions::NotKept,
        Severity::Ok if about(NONCURRENT).is_some() => Versions::Stay,
        // Of rules that could not be read, or that do harm, it is not said that they are good.
        Severity::Ok if rules == Some(Severity::Ok) => Versions::Expire,
        Severity::Ok | Severity::Warning | Severity::Error => Versions::Unknown,
    }
}

/// Returns what can be mended of a bucket, in the order in which it is.
pub fn mends(settings: &Settings) -> Vec<Mend> {
    let mut mends = Vec::new();
    if let Some((Versioning::Off | Versioning::Suspended, _)) = settings.versioning.known() {
        mends.push(Mend::Versioning);
    }
    let block = settings.public_access.known();
    if block.is_some_and(|block| !block.is_some_and(|block| block.is_complete())) {
        mends.push(Mend::PublicAccess);
    }
    if let Some(None) = settings.encryption.known() {
        mends.push(Mend::Encryption);
    }
    mends
}

/// Findings that come together.
struct Found<'a> {
    wanted: &'a Wanted<'a>,
    findings: Vec<Finding>,
    /// What could not be asked and does not have to be known.
    unasked: Vec<Setting>,
}

impl Found<'_> {
    fn add(&mut self, topic: &str, severity: Severity, message: String, hint: Option<String>) {
        let subject = format!("{}.{topic}", self.wanted.subject);
        let finding = Finding::new(&subject, severity, message, hint);
        self.findings.push(match severity {
            Severity::Ok => finding,
            Severity::Warning | Severity::Error => finding.of_kind(ConditionKind::Posture),
        });
    }

    fn good(&mut self, topic: &str, message: impl Into<String>) {
        self.add(topic, Severity::Ok, message.into(), None);
    }

    /// How grave it is that something is not so: an error where it is required.
    fn grade(&self, requirement: Requirement, otherwise: Severity) -> Severity {
        match self.wanted.require.contains(&requirement) {
            true => Severity::Error,
            false => otherwise,
        }
    }

    /// How grave it is that strangers are let in.
    fn openness(&self) -> Severity {
        let otherwise = match self.wanted.is_store {
            true => Severity::Warning,
            false => Severity::Error,
        };
        self.grade(Requirement::PublicAccessBlock, otherwise)
    }

    fn fix(&self) -> Option<String> {
        Some(format!("run `lifeboat posture --fix {}`", self.wanted.name))
    }

    /// Reports what is not known, if it must be; `None` then.
    fn known<'t, T>(
        &mut self,
        setting: Setting,
        requirement: Option<Requirement>,
        answer: &'t Answer<T>,
    ) -> Option<&'t T> {
        let is_required = requirement.is_some_and(|r| self.wanted.require.contains(&r));
        let topic = requirement.map_or("unknown", Requirement::as_str);
        match answer {
            Answer::Is(known) => return Some(known),
            Answer::Denied if !is_required => self.unasked.push(setting),
            Answer::Denied => {
                let message = "it is required, and these credentials may not ask whether it is so";
                let hint = format!("allow {} on the bucket", setting.action());
                self.add(topic, Severity::Error, message.to_owned(), Some(hint));
            }
            Answer::Unknown(why) if is_required => {
                let message = format!("it is required, and not known: {why}");
                let hint = "drop it from `require` if this server has no such thing".to_owned();
                self.add(topic, Severity::Error, message, Some(hint));
            }
            Answer::Unknown(_) => {}
        }
        None
    }

    fn region(&mut self, region: &Answer<String>) {
        let Some(is) = self.known(Setting::Location, None, region) else {
            return;
        };
        match self.wanted.region {
            Some(wanted) if wanted != is => {
                let message = format!("the bucket is in {is}, and the configuration says {wanted}");
                let hint = format!("write region = \"{is}\"");
                self.add("region", Severity::Error, message, Some(hint));
            }
            Some(_) => self.good("region", format!("it is in {is}")),
            None => {}
        }
    }

    fn versioning(&mut self, versioning: &Answer<(Versioning, bool)>) {
        let topic = "versioning";
        let known = self.known(
            Setting::Versioning,
            Some(Requirement::Versioning),
            versioning,
        );
        let Some((versioning, needs_factor)) = known else {
            return;
        };
        match versioning {
            Versioning::On => self.good(topic, "it keeps versions"),
            Versioning::Off | Versioning::Suspended => {
                let severity = self.grade(Requirement::Versioning, Severity::Warning);
                let message = KEEPS_NONE.to_owned();
                let hint = self.fix();
                self.add(topic, severity, message, hint);
            }
        }
        let factor = match needs_factor {
            true => {
                return self.good(
                    "mfa-delete",
                    "versions are deleted with a second factor only",
                );
            }
            false => self.grade(Requirement::MfaDelete, Severity::Ok),
        };
        let hint = "only the root user of the account can switch it on: aws s3api put-bucket-versioning --versioning-configuration Status=Enabled,MFADelete=Enabled --mfa 'SERIAL CODE'";
        let message = "versions are deleted without a second factor".to_owned();
        self.add("mfa-delete", factor, message, Some(hint.to_owned()));
    }

    fn object_lock(&mut self, lock: &Answer<LockSettings>) {
        let topic = "object-lock";
        let known = self.known(Setting::ObjectLock, Some(Requirement::ObjectLock), lock);
        let Some(settings) = known else {
            return;
        };
        match (settings.enabled, settings.default) {
            (true, None) => self.good(topic, "it can lock objects"),
            (true, Some((mode, days))) => {
                let mode = match mode {
                    LockMode::Compliance => "compliance",
                    LockMode::Governance => "governance",
                };
                let message = format!("it locks objects by itself, in {mode} mode for {days} days");
                self.good(topic, message);
            }
            (false, _) => {
                let severity = self.grade(Requirement::ObjectLock, Severity::Ok);
                let hint = "it is chosen when a bucket is made: make another one, with create = true and object_lock; Amazon can also switch it on later";
                let message = "it cannot lock objects".to_owned();
                self.add(topic, severity, message, Some(hint.to_owned()));
            }
        }
    }

    fn public_access(&mut self, settings: &Settings) {
        let topic = "public-access-block";
        let requirement = Some(Requirement::PublicAccessBlock);
        let known = self.known(
            Setting::PublicAccessBlock,
            requirement,
            &settings.public_access,
        );
        match known {
            None => {}
            Some(Some(block)) if block.is_complete() => {
                self.good(topic, "all public access is blocked");
            }
            Some(block) => {
                let what = match block {
                    None => "no public access is blocked",
                    Some(_) => "not all public access is blocked",
                };
                let severity = self.grade(Requirement::PublicAccessBlock, Severity::Warning);
                let hint = self.fix();
                self.add(
                    topic,
                    severity,
                    format!("{what}: a mistake in a policy opens it"),
                    hint,
                );
            }
        }
        let grants = self.known(Setting::Acl, None, &settings.acl);
        let public = grants.into_iter().flatten().find(|grant| grant.is_public());
        if let Some(grant) = public {
            let message = format!(
                "its access control list gives everybody {}",
                grant.permission
            );
            let hint = "take it back: aws s3api put-bucket-acl --acl private; and think of what was in it as known to others";
            let severity = self.openness();
            self.add("acl", severity, message, Some(hint.to_owned()));
        }
    }

    fn policy(&mut self, settings: &Settings) {
        let is_public = self.known(Setting::PolicyStatus, None, &settings.is_public);
        let is_public = is_public.is_some_and(|is| *is);
        let known = self.known(
            Setting::Policy,
            Some(Requirement::TlsOnly),
            &settings.policy,
        );
        let read = known.map(|text| text.as_deref().map_or(Ok(Policy::default()), Policy::parse));
        let policy = match read {
            None => None,
            Some(Ok(policy)) => Some(policy),
            Some(Err(why)) => {
                let message = format!("its policy cannot be read: {why}");
                self.add("policy", Severity::Warning, message, None);
                None
            }
        };
        let open = policy.as_ref().and_then(|policy| policy.open.first());
        if is_public || open.is_some() {
            let who = match open {
                Some(statement) => format!(": {statement}"),
                None => String::new(),
            };
            let message = format!("its policy lets strangers in{who}");
            let hint = "remove that statement; and think of what was in it as known to others";
            let severity = self.openness();
            self.add("policy", severity, message, Some(hint.to_owned()));
        }
        let Some(policy) = policy else {
            return;
        };
        match policy.demands_tls {
            true => self.good("tls-only", "its policy refuses what comes without TLS"),
            false => {
                let severity = self.grade(Requirement::TlsOnly, Severity::Ok);
                let hint = "add a statement that denies s3:* to everybody where aws:SecureTransport is false";
                let message = "its policy does not refuse what comes without TLS".to_owned();
                self.add("tls-only", severity, message, Some(hint.to_owned()));
            }
        }
    }

    fn encryption(&mut self, settings: &Settings) {
        let topic = "encryption";
        let requirement = Some(Requirement::Encryption);
        match self.known(Setting::Encryption, requirement, &settings.encryption) {
            None => {}
            Some(Some(encryption)) => {
                self.good(
                    topic,
                    format!("the server encrypts with {}", encryption.algorithm),
                );
            }
            Some(None) => {
                let severity = self.grade(Requirement::Encryption, Severity::Warning);
                let hint = self.fix();
                let message = "the server encrypts nothing by itself".to_owned();
                self.add(topic, severity, message, hint);
            }
        }
    }

    fn lifecycle(&mut self, settings: &Settings) {
        let topic = "lifecycle";
        let rules = match &settings.lifecycle {
            Answer::Is(rules) => rules,
            Answer::Denied => {
                if !self.wanted.needs.is_empty() {
                    self.unasked.push(Setting::Lifecycle);
                }
                return;
            }
            Answer::Unknown(why) => {
                if !self.wanted.needs.is_empty() && !why.starts_with("the server does not") {
                    let message = format!("{why}: whether its rules delete points is not known");
                    let hint = "look at them: aws s3api get-bucket-lifecycle-configuration";
                    self.add(topic, Severity::Warning, message, Some(hint.to_owned()));
                }
                return;
            }
        };
        let harm = lifecycle::harm(rules, self.wanted.needs);
        let is_harmless = harm.is_empty();
        for (rule, message) in harm {
            let hint = format!(
                "change or remove that rule: what Lifeboat keeps and deletes is said by `keep`; `lifeboat policy --lifecycle {}` prints rules that do no harm",
                self.wanted.name
            );
            let topic = format!("{topic}.{rule}");
            self.add(&topic, Severity::Error, message, Some(hint));
        }
        if is_harmless && !self.wanted.needs.is_empty() {
            self.good(topic, "no lifecycle rule takes what is still needed");
        }
        let keeps_versions = matches!(settings.versioning.known(), Some((Versioning::On, _)));
        if keeps_versions
            && self.wanted.needs.prunes
            && !lifecycle::clears(rules, self.wanted.needs)
        {
            let message = "versions that are not the newest never expire: what prune deletes stays there, and costs".to_owned();
            let hint = format!(
                "add a rule that lets them expire: `lifeboat policy --lifecycle {}` prints one",
                self.wanted.name
            );
            self.add(NONCURRENT, Severity::Warning, message, Some(hint));
        }
    }

    fn switches(&mut self, settings: &Settings) {
        let replication = Some(Requirement::Replication);
        let rules = self.known(Setting::Replication, replication, &settings.replication);
        let replicates = rules.map(|rules| *rules > 0);
        let logging = Some(Requirement::Logging);
        let logs = self
            .known(Setting::Logging, logging, &settings.logging)
            .copied();
        let switches = [
            (Requirement::Replication, replicates, "is replicated"),
            (Requirement::Logging, logs, "logs who reads and writes"),
        ];
        for (requirement, is, what) in switches {
            match is {
                Some(true) => self.good(requirement.as_str(), format!("it {what}")),
                Some(false) if self.wanted.require.contains(&requirement) => {
                    let message = format!("it is required that the bucket {what}, and it does not");
                    let message = message.replace(
                        "is replicated, and it does not",
                        "is replicated, and it is not",
                    );
                    self.add(requirement.as_str(), Severity::Error, message, None);
                }
                Some(false) | None => {}
            }
        }
    }

    /// One line for everything that could not be asked and does not have to be known.
    fn unasked(&mut self) {
        let actions: Vec<&str> = self
            .unasked
            .iter()
            .map(|setting| setting.action())
            .collect();
        if !actions.is_empty() {
            let message = format!(
                "{} of its settings are not known, since these credentials may not ask",
                actions.len()
            );
            let hint = format!("to have them checked, allow {}", actions.join(", "));
            self.add("unasked", Severity::Ok, message, Some(hint));
        }
    }
}

#[cfg(test)]
mod tests;
