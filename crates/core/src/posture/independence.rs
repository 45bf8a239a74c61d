//! What a single loss would take of all copies of a plan.

use super::owners::Owners;
use crate::condition::ConditionKind;
use crate::config::{Config, StoreKind};
use crate::finding::{Finding, Severity};
use crate::name::Name;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

/// Something that copies can have in common, the gravest loss first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Common {
    Credentials,
    Account,
    Disk,
    Host,
    Region,
    Provider,
}

impl Common {
    fn what(self) -> &'static str {
        match self {
            Common::Credentials => "the same credentials",
            Common::Account => "one account",
            Common::Disk => "one file system",
            Common::Host => "one host",
            Common::Region => "one region",
            Common::Provider => "one provider",
        }
    }

    fn loss(self) -> &'static str {
        match self {
            Common::Credentials => "whoever gets hold of them can destroy every copy",
            Common::Account => "whoever takes it over, or closes it, takes every copy",
            Common::Disk => "its failure takes every copy",
            Common::Host => "its loss takes every copy",
            Common::Region => "while it is down no copy can be had",
            Common::Provider => "a provider that fails, or closes the account, takes every copy",
        }
    }
}

/// What a store has that others may have too.
type Traits = BTreeMap<Common, String>;

/// Says of each plan what all its copies have in common.
pub(super) fn findings(config: &Config, owners: Option<&Owners>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (plan, of_plan) in &config.plan {
        let traits: Vec<Traits> = of_plan
            .stores
            .iter()
            .filter_map(|store| traits(config, owners, store))
            .collect();
        if traits.len() < 2 {
            continue;
        }
        let subject = format!("plan.{plan}.copies");
        let Some((common, value)) = gravest(&traits) else {
            continue;
        };
        let stores: Vec<&str> = of_plan.stores.iter().map(Name::as_str).collect();
        let message = format!(
            "the copies in {} share {} ({value}): {}",
            stores.join(" and "),
            common.what(),
            common.loss()
        );
        let hint = "let one of them be elsewhere: another account, another provider, or a disk of another host".to_owned();
        let severity = match common {
            // It is worth knowing, and few can change it.
            Common::Provider => Severity::Ok,
            _ => Severity::Warning,
        };
        let finding = Finding::new(&subject, severity, message, Some(hint));
        findings.push(match severity {
            Severity::Ok => finding,
            _ => finding.of_kind(ConditionKind::Posture),
        });
    }
    findings
}

/// The gravest thing that all have in common.
fn gravest(traits: &[Traits]) -> Option<(Common, &str)> {
    let (first, others) = traits.split_first()?;
    first
        .iter()
        .find(|(common, value)| others.iter().all(|other| other.get(common) == Some(value)))
        .map(|(common, value)| (*common, value.as_str()))
}

fn traits(config: &Config, owners: Option<&Owners>, name: &Name) -> Option<Traits> {
    let store = config.store.get(name)?;
    let mut traits = Traits::new();
    match &store.kind {
        StoreKind::Local(local) => {
            traits.insert(Common::Host, "this one".to_owned());
            if let Ok(found) = std::fs::metadata(&local.path) {
                traits.insert(Common::Disk, format!("device {}", found.dev()));
            }
        }
        StoreKind::Sftp(sftp) => {
            traits.insert(Common::Host, sftp.host.clone());
            let user = sftp.user.as_deref().unwrap_or_default();
            traits.insert(Common::Credentials, format!("{user}@{}", sftp.host));
        }
        StoreKind::S3(s3) => {
            let server = &s3.server;
            let provider = match &server.endpoint {
                None => "Amazon".to_owned(),
                Some(endpoint) => {
                    let host = endpoint.split("://").last().unwrap_or_default();
                    host.split(['/', ':']).next().unwrap_or_default().to_owned()
                }
            };
            traits.insert(Common::Region, format!("{} at {provider}", server.region));
            traits.insert(Common::Provider, provider);
            if let Some(key) = &server.access_key {
                traits.insert(Common::Credentials, key.to_string());
            }
            if let Some((credentials, account)) = owners.and_then(|owners| owners.whose(name)) {
                traits.insert(Common::Credentials, credentials);
                traits.extend(account.map(|account| (Common::Account, account)));
            }
        }
    }
    Some(traits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(stores: &str) -> Vec<(Severity, String)> {
        let text = format!(
            "version = 1\napp = {{ name = \"crm\" }}\n{stores}\nsource.x = {{ kind = \"command\", command = [\"true\"] }}\n\
             plan.p = {{ sources = [\"x\"], stores = [\"a\", \"b\"] }}\n"
        );
        let config = Config::parse(&text, std::path::Path::new("/lifeboat.toml")).unwrap();
        let found = findings(&config, None).into_iter();
        found
            .map(|finding| (finding.severity, finding.message))
            .collect()
    }

    fn s3(name: &str, more: &str) -> String {
        format!("store.{name} = {{ kind = \"s3\", bucket = \"{name}\", {more} }}\n")
    }

    #[test]
    fn the_gravest_common_loss_of_all_copies_is_told() {
        let key = |key: &str| format!("access_key = \"env:{key}\", secret_key = \"env:S\"");
        let both = s3("a", &key("A")) + &s3("b", &key("A"));
        let [(Severity::Warning, message)] = &found(&both)[..] else {
            panic!("one warning");
        };
        assert!(message.starts_with("the copies in a and b share the same credentials (env:A)"));
        let regions = s3("a", &key("A")) + &s3("b", &key("B"));
        assert!(
            found(&regions)[0]
                .1
                .contains("share one region (us-east-1 at Amazon)")
        );
        let far = s3("a", &key("A")) + &s3("b", &(key("B") + ", region = \"eu-west-1\""));
        let (severity, message) = &found(&far)[0];
        assert_eq!(*severity, Severity::Ok);
        assert!(message.contains("share one provider (Amazon)"));
        let apart =
            s3("a", &key("A")) + "store.b = { kind = \"sftp\", host = \"h\", path = \"/p\" }\n";
        assert_eq!(found(&apart), []);
    }

    #[test]
    fn two_directories_of_one_disk_fail_together() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display();
        std::fs::create_dir(directory.path().join("a")).unwrap();
        std::fs::create_dir(directory.path().join("b")).unwrap();
        let stores = format!(
            "store.a = {{ kind = \"local\", path = \"{path}/a\" }}\nstore.b = {{ kind = \"local\", path = \"{path}/b\" }}\n"
        );
        assert!(found(&stores)[0].1.contains("share one file system"));
    }
}
