//! What machines of Amazon need. Source: the service authorization reference of Lightsail and of EC2.

use super::{Collected, Conditional, Role};
use crate::config::{Config, Ec2Config, LightsailConfig, SnapshotConfig, SourceKind};

const OWN: &str = "aws:ResourceTag/lifeboat";
const CREATE_ACTION: &str = "ec2:CreateAction";

/// What a role does with a machine.
struct Does {
    role: Role,
    /// A database that lives on it is reached over SSH.
    holds_by_ssh: bool,
}

impl Does {
    /// It makes machines of snapshots.
    fn makes(&self) -> bool {
        matches!(self.role, Role::Drill | Role::Restore)
    }

    /// It takes snapshots: a restore takes points of what is live before and after.
    fn takes(&self) -> bool {
        matches!(self.role, Role::Backup | Role::Restore)
    }

    /// It compares what a machine holds that it makes, with host keys that it asks for.
    fn asks_host_keys(&self) -> bool {
        self.makes() && self.holds_by_ssh
    }
}

impl Collected {
    pub(super) fn of_machines(&mut self, role: Role, config: &Config) {
        for source in config.source.values() {
            let Some(snapshots) = source.kind.snapshots() else {
                continue;
            };
            if role == Role::Posture || role == Role::Restore && snapshots.address.is_none() {
                // Without an address it is restored by hand.
                continue;
            }
            let does = Does {
                role,
                holds_by_ssh: holds_by_ssh(snapshots, config),
            };
            match &source.kind {
                SourceKind::Lightsail(lightsail) => self.of_lightsail(&does, lightsail),
                SourceKind::Ec2(ec2) => self.of_ec2(&does, ec2),
                _ => {}
            }
        }
    }

    /// Its actions are allowed on everything or nothing.
    fn of_lightsail(&mut self, does: &Does, lightsail: &LightsailConfig) {
        let mut all = Vec::new();
        if does.takes() {
            all.extend([
                "lightsail:CreateInstanceSnapshot",
                "lightsail:GetInstanceSnapshots",
                // It looks for machines that outlived their drill.
                "lightsail:GetInstances",
                "lightsail:TagResource",
            ]);
            if lightsail.snapshots.address.is_some() {
                all.push("lightsail:GetStaticIp");
            }
            if lightsail.automatic.is_some() {
                all.extend(["lightsail:EnableAddOn", "lightsail:GetInstance"]);
            }
        }
        if does.makes() {
            all.extend([
                "lightsail:CreateInstancesFromSnapshot",
                "lightsail:GetInstanceSnapshots",
                "lightsail:GetInstances",
                "lightsail:PutInstancePublicPorts",
                "lightsail:TagResource",
            ]);
        }
        if does.asks_host_keys() {
            all.push("lightsail:GetInstanceAccessDetails");
        }
        if does.takes() && lightsail.account.copy_to.is_some() {
            all.push("lightsail:CopySnapshot");
        }
        match does.role {
            Role::Drill => all.push("lightsail:DeleteInstance"),
            Role::Prune => all.extend([
                "lightsail:DeleteInstanceSnapshot",
                "lightsail:GetInstanceSnapshots",
            ]),
            Role::Restore => all.extend([
                "lightsail:AttachStaticIp",
                "lightsail:DetachStaticIp",
                "lightsail:GetInstancePortStates",
            ]),
            Role::Backup | Role::Posture => {}
        }
        all.into_iter()
            .for_each(|action| self.add(action, "*".to_owned()));
    }

    /// What it looks at has to be everything; what it changes is what it made.
    fn of_ec2(&mut self, does: &Does, ec2: &Ec2Config) {
        let region = &ec2.account.region;
        let of_account = |what: &str| format!("arn:aws:ec2:{region}:*:{what}");
        let of_nobody = |what: &str| format!("arn:aws:ec2:{region}::{what}");
        let instances = of_account("instance/*");
        self.look("ec2:DescribeImages");
        if does.role != Role::Prune {
            self.look("ec2:DescribeInstances");
        }
        if does.takes() {
            let instance = match &ec2.snapshots.address {
                Some(_) => {
                    self.look("ec2:DescribeAddresses");
                    instances.clone()
                }
                None => of_account(&format!("instance/{}", ec2.instance)),
            };
            let made = vec![of_nobody("image/*"), of_nobody("snapshot/*")];
            self.add("ec2:CreateImage", instance);
            for resource in &made {
                self.add("ec2:CreateImage", resource.clone());
            }
            self.copy(ec2, &made);
            self.only("ec2:CreateTags", made, CREATE_ACTION, &["CreateImage"]);
        }
        if does.makes() {
            self.run(does.role, ec2);
            let made = vec![instances.clone()];
            self.only("ec2:CreateTags", made, CREATE_ACTION, &["RunInstances"]);
        }
        if does.asks_host_keys() {
            self.add("ec2:GetConsoleOutput", instances.clone());
        }
        match does.role {
            Role::Drill => {
                self.look("ec2:DescribeSecurityGroups");
                self.only("ec2:TerminateInstances", vec![instances], OWN, &["drill"]);
            }
            Role::Prune => {
                self.look("ec2:DescribeSnapshots");
                let regions = [Some(region), ec2.account.copy_to.as_ref()]
                    .into_iter()
                    .flatten();
                let regions: Vec<&String> = regions.collect();
                let everywhere = |what: &str| {
                    let all = regions.iter();
                    all.map(|region| format!("arn:aws:ec2:{region}::{what}"))
                        .collect()
                };
                let (images, disks): (Vec<String>, Vec<String>) =
                    (everywhere("image/*"), everywhere("snapshot/*"));
                self.only("ec2:DeregisterImage", images, OWN, &["snapshot"]);
                let marked = &["snapshot", "deleted"];
                self.only("ec2:CreateTags", disks.clone(), OWN, marked);
                self.only("ec2:DeleteSnapshot", disks, OWN, &["deleted"]);
            }
            Role::Restore => {
                for what in ["elastic-ip/*", "instance/*", "network-interface/*"] {
                    self.add("ec2:AssociateAddress", of_account(what));
                }
                self.add(
                    "ec2:ModifyInstanceAttribute",
                    of_account("security-group/*"),
                );
                let made = vec![instances];
                self.only("ec2:ModifyInstanceAttribute", made, OWN, &["restored"]);
            }
            Role::Backup | Role::Posture => {}
        }
    }

    /// To copy what is made into another region.
    fn copy(&mut self, ec2: &Ec2Config, made: &[String]) {
        let Some(there) = &ec2.account.copy_to else {
            return;
        };
        let copies = ["image/*", "snapshot/*"].map(|what| format!("arn:aws:ec2:{there}::{what}"));
        for resource in made.iter().chain(&copies) {
            self.add("ec2:CopyImage", resource.clone());
        }
        let copied = &["CopyImage"];
        self.only("ec2:CreateTags", copies.into(), CREATE_ACTION, copied);
    }

    /// To make a machine: a drill only in its own security group.
    fn run(&mut self, role: Role, ec2: &Ec2Config) {
        let region = &ec2.account.region;
        let of_account = |what: &str| format!("arn:aws:ec2:{region}:*:{what}");
        let (group, subnet) = match role {
            Role::Drill => (ec2.security_group.as_deref(), ec2.subnet.as_deref()),
            _ => (None, None),
        };
        let group = format!("security-group/{}", group.unwrap_or("*"));
        let subnet = format!("subnet/{}", subnet.unwrap_or("*"));
        let mut all = vec![
            "instance/*",
            "network-interface/*",
            "volume/*",
            &group,
            &subnet,
        ];
        if role == Role::Restore {
            all.push("key-pair/*");
        }
        for what in all {
            self.add("ec2:RunInstances", of_account(what));
        }
        for what in ["image/*", "snapshot/*"] {
            self.add("ec2:RunInstances", format!("arn:aws:ec2:{region}::{what}"));
        }
    }

    fn look(&mut self, action: &'static str) {
        self.add(action, "*".to_owned());
    }

    fn only(
        &mut self,
        action: &'static str,
        resources: Vec<String>,
        key: &'static str,
        values: &'static [&'static str],
    ) {
        let one = Conditional {
            action,
            resources,
            key,
            values,
        };
        if !self.conditional.contains(&one) {
            self.conditional.push(one);
        }
    }
}

/// Whether a database that lives on it is reached over SSH.
fn holds_by_ssh(snapshots: &SnapshotConfig, config: &Config) -> bool {
    let held = snapshots.holds.iter();
    let mut held = held.filter_map(|name| config.source.get(name));
    held.any(|source| source.kind.host_by_ssh().is_some())
}
