//! Checks of sources that are machines.

use super::{Gravity, Issue};
use crate::archive::KeyTemplate;
use crate::config::{
    AccountConfig, Check, Config, Ec2Config, ExternalConfig, LightsailConfig, SnapshotConfig,
    SourceKind,
};
use crate::name::Name;
use std::collections::{BTreeMap, BTreeSet};

/// Reports commands that are missing or name no program.
pub(super) fn external(subject: &str, external: &ExternalConfig, issues: &mut Vec<Issue>) {
    if external.machine.is_empty() {
        let issue = Issue::refused(subject, "machine", "it is empty");
        issues.push(issue.hint("write what your commands call the machine"));
    }
    for (key, words) in external.commands() {
        let must = matches!(key, "create" | "list" | "delete");
        if must && words.is_empty() || words.first().is_some_and(String::is_empty) {
            let issue = Issue::refused(subject, key, "it names no program");
            issues.push(issue.hint(format!("write {key} = [\"PROGRAM\", \"ARGUMENT\"]")));
        }
    }
    if external.restore.is_empty() != external.destroy.is_empty() {
        let (has, lacks) = match external.restore.is_empty() {
            true => ("destroy", "restore"),
            false => ("restore", "destroy"),
        };
        let issue = Issue::refused(subject, has, format!("it is given without {lacks}"));
        issues.push(
            issue.hint("a drill makes a machine with the one and destroys it with the other"),
        );
    }
    if external.holder.is_empty() != external.lead.is_empty() {
        let (has, lacks) = match external.lead.is_empty() {
            true => ("holder", "move"),
            false => ("move", "holder"),
        };
        let issue = Issue::refused(subject, has, format!("it is given without {lacks}"));
        issues
            .push(issue.hint(
                "a restore asks the one where an address leads, and leads it with the other",
            ));
    }
    snapshots(subject, &external.snapshots, issues);
}

/// Reports names that are none, and networks that are the whole world.
pub(super) fn lightsail(subject: &str, lightsail: &LightsailConfig, issues: &mut Vec<Issue>) {
    for (key, text) in [
        ("instance", &lightsail.instance),
        ("region", &lightsail.account.region),
    ] {
        if text.is_empty() {
            issues.push(
                Issue::refused(subject, key, "it is empty")
                    .hint("aws lightsail get-instances shows it"),
            );
        }
    }
    for network in &lightsail.reach_from {
        let address = network.split_once('/').and_then(|(address, bits)| {
            let bits: u8 = bits.parse().ok()?;
            let address: std::net::IpAddr = address.parse().ok()?;
            (bits > 0).then_some(address)
        });
        if address.is_none() {
            let issue = Issue::refused(subject, "reach_from", format!("{network:?} is no network"));
            issues.push(issue.hint(
                "write the address of whoever checks, with /32 behind it; never the whole world",
            ));
        }
    }
    let is_hour = |text: &str| {
        let hour = text.strip_suffix(":00").filter(|hour| hour.len() == 2);
        hour.and_then(|hour| hour.parse::<u8>().ok())
            .is_some_and(|hour| hour < 24)
    };
    if let Some(at) = lightsail.automatic.as_deref().filter(|at| !is_hour(at)) {
        let issue = Issue::refused(subject, "automatic", format!("{at:?} is no full hour"));
        issues.push(issue.hint("write it in UTC: automatic = \"06:00\""));
    }
    if lightsail.ports.contains(&0) {
        issues
            .push(Issue::refused(subject, "ports", "0 is no port").hint("write ports = [22, 443]"));
    }
    copy(subject, &lightsail.account, issues);
    snapshots(subject, &lightsail.snapshots, issues);
}

/// Reports ids that are none.
pub(super) fn ec2(subject: &str, ec2: &Ec2Config, issues: &mut Vec<Issue>) {
    if ec2.account.region.is_empty() {
        issues.push(
            Issue::refused(subject, "region", "it is empty")
                .hint("write the region of the instance: region = \"eu-central-1\""),
        );
    }
    let ids = [
        ("instance", Some(&ec2.instance), "i-"),
        ("security_group", ec2.security_group.as_ref(), "sg-"),
        ("subnet", ec2.subnet.as_ref(), "subnet-"),
    ];
    for (key, id, prefix) in ids {
        let Some(id) = id.filter(|id| !id.starts_with(prefix)) else {
            continue;
        };
        let issue = Issue::refused(subject, key, format!("{id:?} is no id"));
        issues.push(issue.hint(format!(
            "write its id, and not its name: {key} = \"{prefix}…\""
        )));
    }
    let address = ec2.snapshots.address.as_ref();
    let is_one = |address: &str| {
        address.starts_with("eipalloc-") || address.parse::<std::net::Ipv4Addr>().is_ok()
    };
    if let Some(address) = address.filter(|address| !is_one(address)) {
        let issue = Issue::refused(
            subject,
            "address",
            format!("{address:?} is no Elastic IP address"),
        );
        issues.push(issue.hint("write the address, or its allocation id: eipalloc-…"));
    }
    copy(subject, &ec2.account, issues);
    snapshots(subject, &ec2.snapshots, issues);
}

/// Reports a copy that would be where the snapshot is.
fn copy(subject: &str, account: &AccountConfig, issues: &mut Vec<Issue>) {
    let why = match account.copy_to.as_deref() {
        Some("") => "it is empty",
        Some(region) if region == account.region => "it is the region of the machine",
        _ => return,
    };
    let issue = Issue::refused(subject, "copy_to", why);
    issues.push(issue.hint("name another region: what one region loses, the other has"));
}

/// Reports what no snapshot can be.
fn snapshots(subject: &str, config: &SnapshotConfig, issues: &mut Vec<Issue>) {
    if let Err(error) = KeyTemplate::parse(&config.name) {
        let issue = Issue::refused(subject, "name", error.to_string());
        issues.push(issue.hint("write it as keys are: {app}-backup-{date}"));
    }
    if config
        .keep_at_source
        .as_ref()
        .is_some_and(|rules| rules.is_empty())
    {
        let issue = Issue::refused(subject, "keep_at_source", "no snapshot would stay");
        issues.push(issue.hint("write keep_at_source = { last = 7 }"));
    }
    for (key, span) in [("wait", config.wait), ("lifetime", config.lifetime)] {
        if span.seconds == 0 {
            let issue = Issue::refused(subject, key, "no time is too short");
            issues.push(issue.hint(format!("write {key} = \"1h\"")));
        }
    }
}

/// Reports databases that a machine is said to hold, and cannot be found on one that is made of it.
pub(super) fn holds(config: &Config, issues: &mut Vec<Issue>) {
    for (name, source) in &config.source {
        let Some(snapshots) = source.kind.snapshots() else {
            continue;
        };
        let subject = format!("source.{name}");
        let mut refuse = |message: String, hint: &str| {
            issues.push(Issue::refused(&subject, "holds", message).hint(hint));
        };
        for held in &snapshots.holds {
            let Some(kind) = config.source.get(held).map(|source| &source.kind) else {
                refuse(
                    format!("there is no source named {held:?}"),
                    "name a database of the configuration",
                );
                continue;
            };
            let has_path = matches!(source.kind, SourceKind::External(_));
            if let Some(why) = kind.is_out_of_sight(has_path) {
                refuse(
                    format!("source {held:?} cannot be compared on another machine: {why}"),
                    "name a database that is reached over SSH, or by the name of its host",
                );
            }
            let together = |sources: &[Name]| sources.contains(name) && sources.contains(held);
            if !config.plan.values().any(|plan| together(&plan.sources)) {
                refuse(
                    format!("no plan takes source {held:?} together with it"),
                    "add both to the sources of one plan, the database first",
                );
            }
        }
    }
}

/// Warns of drills over machines that cannot be made anew: each ends without a proof.
pub(super) fn drilled(config: &Config, issues: &mut Vec<Issue>) {
    let lacks = |kind: &SourceKind| match kind {
        SourceKind::External(external) if external.restore.is_empty() => {
            Some(("has no command `restore`", "add restore and destroy to"))
        }
        SourceKind::Ec2(ec2) if ec2.security_group.is_none() => {
            Some(("names no `security_group`", "add security_group to"))
        }
        _ => None,
    };
    for (name, drill) in &config.drill {
        let plans = drill.plans.iter().filter_map(|plan| config.plan.get(plan));
        let sources: BTreeSet<&Name> = plans.flat_map(|plan| &plan.sources).collect();
        for source in sources {
            let kind = config.source.get(source).map(|source| &source.kind);
            if let Some((lack, add)) = kind.and_then(lacks) {
                let message = format!(
                    "source {source:?} {lack}: the drill cannot prove it, and is never verified"
                );
                let subject = format!("drill.{name}");
                let issue = Issue::new(Gravity::Warning, subject, "plans", message);
                issues.push(issue.hint(format!("{add} source {source:?}, or drill other plans")));
            }
        }
    }
}

/// What is wrong with where a check is asked.
pub(super) fn on(
    subject: &str,
    at: &str,
    check: &Check,
    scope: &BTreeMap<Name, &SourceKind>,
) -> Option<Issue> {
    let (machine, wanted) = match check {
        Check::Sql {
            source,
            on: Some(on),
            ..
        } => (on, Some(source)),
        Check::Command { on: Some(on), .. } => (on, None),
        _ => return None,
    };
    let refuse =
        |message: String, hint: &str| Some(Issue::refused(subject, at, message).hint(hint));
    // That it is there and a machine is said of a command elsewhere.
    let kind = scope.get(machine.as_str());
    let Some(snapshots) = kind.and_then(|kind| kind.snapshots()) else {
        let message = format!("`on` names {machine:?}, which is no machine of its plans");
        return refuse(
            message,
            "name a source of kind \"lightsail\", \"ec2\" or \"external\"",
        );
    };
    let is_by_ssh = |held: &Name| {
        scope
            .get(held)
            .is_some_and(|kind| kind.host_by_ssh().is_some())
    };
    match wanted {
        Some(source) if !snapshots.holds.iter().any(|held| *held == **source) => refuse(
            format!("source {machine:?} is not said to hold {source:?}"),
            "add it to `holds` of the machine",
        ),
        None if !snapshots.holds.iter().any(is_by_ssh) => refuse(
            format!("it is not known how to log in to a machine of source {machine:?}"),
            "let it hold a database with `via = \"ssh:…\"`, whose login is used",
        ),
        _ => None,
    }
}
