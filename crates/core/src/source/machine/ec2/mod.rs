//! Instances of Amazon EC2. A snapshot is an image (AMI) of all disks of an instance at one instant. What is made
//! has tags that say of which instance it is: names are the user's, and ids are known only once it is made.

mod answers;
mod console;
mod shape;

use super::amazon::{self, Client};
use super::quarantine::DRILL;
use super::{Machine, Provider, Snapshot, Wanted};
use crate::aws::{Ec2, Failed, Form};
use crate::cancel;
use crate::config::{AccountConfig, Ec2Config};
use crate::digest::sha256_hex;
use crate::error::{Code, Error, Result};
use crate::point::External;
use answers::{Addresses, Console, Done, Groups, Image, Images, Instance, MadeImage, Reservation};
use answers::{DiskSnapshots, Reservations, tag};
use base64ct::{Base64, Encoding};
use shape::Shape;
use std::time::{Duration, Instant as Moment};

/// The tag of whatever is made here, and its values.
const OWN: &str = "lifeboat";
const SNAPSHOT: &str = "snapshot";
const OF_DRILL: &str = "drill";
const OF_RESTORE: &str = "restored";
const TO_DELETE: &str = "deleted";
/// The tag with the id of the original.
const ORIGINAL: &str = "lifeboat-original";
/// The tag with the id of the machine that an image was taken of.
const MACHINE: &str = "lifeboat-machine";
const EXPIRES: &str = "lifeboat-expires";
/// How long a console is read for host keys; it is shown some minutes after it was written.
const CONSOLE: Duration = Duration::from_secs(300);
const CONSOLE_PAUSE: Duration = Duration::from_secs(5);

/// An instance of EC2.
pub struct Ec2Instance {
    config: Ec2Config,
    client: Client<Ec2>,
}

impl Ec2Instance {
    /// That of a configuration.
    pub fn new(config: Ec2Config) -> Self {
        Ec2Instance {
            config,
            client: Client::new(),
        }
    }

    fn client(&self) -> Result<&Ec2> {
        self.client.of(&self.config.account, Ec2::new)
    }

    fn in_region(&self) -> &str {
        &self.config.account.region
    }

    /// The same instance, asked for in another region.
    fn elsewhere(&self, region: &str) -> Ec2Instance {
        let mut config = self.config.clone();
        config.account = config.account.in_region(region);
        config.snapshots.address = None;
        Ec2Instance::new(config)
    }

    /// With the tags of an image of a machine, and of its disks.
    fn tagged(&self, form: Form, machine: &str, shape: &Shape) -> Form {
        let shape = shape.tags();
        let mut tags = vec![
            (OWN, SNAPSHOT),
            (ORIGINAL, self.config.instance.as_str()),
            (MACHINE, machine),
        ];
        let noted = shape.iter();
        tags.extend(noted.map(|(key, value)| (key.as_str(), value.as_str())));
        form.tagged("image", &tags).tagged("snapshot", &tags)
    }

    /// An image that was made in this region, under a name that was free a moment ago. One that was made by a call
    /// whose answer was lost is found by its name; `of` is the machine that it is of.
    fn begun(
        &self,
        made: Result<MadeImage, Failed>,
        name: &str,
        of: &str,
        not: impl FnOnce(Failed) -> Error,
    ) -> Result<Snapshot> {
        let id = match made {
            Ok(made) => made.image_id,
            Err(failed) => {
                let ours =
                    |image: &Image| image.name == name && tag(&image.tag_set, MACHINE) == Some(of);
                let there = match failed.is_unsure() {
                    true => self.images()?.into_iter().find(ours),
                    false => None,
                };
                there.ok_or_else(|| not(failed))?.image_id
            }
        };
        // What says that it did is believed once it is seen.
        Ok(match self.image(&id)? {
            Some(image) => image.snapshot(MACHINE, self.in_region()),
            None => Snapshot::unseen(id, name),
        })
    }

    /// A question for what belongs to this machine.
    fn own(&self) -> Form {
        Form::default().only(&format!("tag:{ORIGINAL}"), &[&self.config.instance])
    }

    fn images(&self) -> Result<Vec<Image>> {
        let form = self.own().with("Owner.1", "self");
        let all = self.client()?.all::<Images>("DescribeImages", &form);
        all.map_err(|failed| {
            let doing = format!("the images of {} cannot be listed", self.config.instance);
            failed.into_error(&doing, "ec2:DescribeImages")
        })
    }

    fn image(&self, id: &str) -> Result<Option<Image>> {
        let all = self.images()?.into_iter();
        Ok(all.into_iter().find(|image| image.image_id == id))
    }

    fn instances(&self, form: &Form) -> Result<Vec<Instance>> {
        let all = self
            .client()?
            .all::<Reservations>("DescribeInstances", form);
        let all = all.map_err(|failed| {
            failed.into_error("the instances cannot be listed", "ec2:DescribeInstances")
        })?;
        Ok(all.into_iter().filter(|one| !one.is_over()).collect())
    }

    /// An instance that is not on its way out.
    fn instance(&self, id: &str) -> Result<Option<Instance>> {
        let form = Form::default().only("instance-id", &[id]);
        Ok(self.instances(&form)?.into_iter().next())
    }

    /// Whether an instance is the machine, or was made to take its place.
    fn is_own(&self, id: &str) -> Result<bool> {
        if id == self.config.instance {
            return Ok(true);
        }
        let found = self.instance(id)?;
        let is = |key, value| {
            let tags = found.as_ref().map(|found| &found.tag_set);
            tags.and_then(|tags| tag(tags, key)) == Some(value)
        };
        Ok(is(ORIGINAL, &self.config.instance) && is(OWN, OF_RESTORE))
    }

    fn address(&self, address: &str) -> Result<answers::Address> {
        let key = match address.starts_with("eipalloc-") {
            true => "AllocationId.1",
            false => "PublicIp.1",
        };
        let form = Form::default().with(key, address);
        let said = self.client()?.call::<Addresses>("DescribeAddresses", &form);
        let doing = format!("address {address} cannot be looked up");
        let said = said.map_err(|failed| failed.into_error(&doing, "ec2:DescribeAddresses"))?;
        said.addresses_set.items.into_iter().next().ok_or_else(|| {
            Error::new(
                Code::SourceMissing,
                format!("{doing}: it is not in {}", self.in_region()),
            )
            .hint("aws ec2 describe-addresses shows what is there")
        })
    }

    /// The shape of a machine of a drill. Fails where others could reach it.
    fn quarantined(&self, of: Shape) -> Result<Shape> {
        let Some(group) = &self.config.security_group else {
            let message = "no security group is named for the machines that drills make";
            return Err(Error::new(Code::Configuration, message).hint(
                "add security_group = \"sg-…\" to the source: a group that lets in whoever checks, and nobody else",
            ));
        };
        let form = Form::default().with("GroupId.1", group);
        let said = self
            .client()?
            .call::<Groups>("DescribeSecurityGroups", &form);
        let said = said.map_err(|failed| {
            let doing = format!("security group {group} cannot be looked up");
            failed.into_error(&doing, "ec2:DescribeSecurityGroups")
        })?;
        let open = said
            .security_group_info
            .items
            .iter()
            .find_map(answers::Group::world);
        if let Some(network) = open {
            let message = format!(
                "security group {group} lets {network} in: no drill's machine is made in it"
            );
            return Err(Error::new(Code::Configuration, message)
                .hint("name a group that lets in whoever checks, and nobody else"));
        }
        Ok(Shape {
            instance_type: self.config.instance_type.clone().or(of.instance_type),
            subnet: self.config.subnet.clone().or(of.subnet),
            groups: vec![group.clone()],
            // It is not to do anything in the name of the original.
            profile: None,
            key: None,
            tokens: of.tokens,
        })
    }

    /// The image that a point names, as it is there.
    fn named(&self, snapshot: &External) -> Result<Image> {
        self.image(&snapshot.id)?.ok_or_else(|| {
            let message = format!(
                "image {} ({}) is not in {}",
                snapshot.id,
                snapshot.name,
                self.in_region()
            );
            Error::new(Code::ObjectMissing, message).hint("choose a newer point: `lifeboat points`")
        })
    }

    /// Deletes the snapshots of disks whose images are gone, those that a run that was killed left, too.
    fn sweep(&self) -> Result<()> {
        let client = self.client()?;
        let form = self
            .own()
            .only(&format!("tag:{OWN}"), &[TO_DELETE])
            .with("Owner.1", "self");
        let cannot = |failed: Failed| {
            let doing = "the snapshots of deleted images cannot be listed";
            failed.into_error(doing, "ec2:DescribeSnapshots")
        };
        for id in client
            .all::<DiskSnapshots>("DescribeSnapshots", &form)
            .map_err(cannot)?
        {
            let form = Form::default().with("SnapshotId", &id);
            match client.call::<Done>("DeleteSnapshot", &form) {
                // Another image has it, or this one could not be deleted.
                Err(failed) if !failed.is_missing() && !failed.is_in_use() => {
                    let doing = format!("snapshot {id} of a deleted image cannot be deleted");
                    return Err(failed.into_error(&doing, "ec2:DeleteSnapshot"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Provider for Ec2Instance {
    fn describe(&self) -> String {
        format!("EC2 in {}", self.in_region())
    }

    fn original(&self) -> &str {
        &self.config.instance
    }

    fn machine(&self) -> Result<String> {
        match &self.config.snapshots.address {
            None => Ok(self.config.instance.clone()),
            Some(address) => {
                let attach = "aws ec2 associate-address";
                amazon::at(self, address, |holder| self.is_own(holder), attach)
            }
        }
    }

    fn create(&self, machine: &str, name: &str) -> Result<Snapshot> {
        let Some(of) = self.instance(machine)? else {
            let message = format!("instance {machine} is not in {}", self.in_region());
            return Err(Error::new(Code::SourceMissing, message).hint(
                "correct `instance` or `region`: aws ec2 describe-instances shows what is there",
            ));
        };
        let form = Form::default()
            .with("InstanceId", machine)
            .with("Name", name)
            .with("NoReboot", "true");
        let form = self.tagged(form, machine, &Shape::of_instance(&of));
        let made = self.client()?.call::<MadeImage>("CreateImage", &form);
        self.begun(made, name, machine, |failed| {
            let doing = format!("no image of {machine} can be made");
            failed.into_error(&doing, "ec2:CreateImage")
        })
    }

    fn account(&self) -> Option<&AccountConfig> {
        Some(&self.config.account)
    }

    fn keeper_in(&self, region: &str) -> Option<Box<dyn Provider>> {
        Some(Box::new(self.elsewhere(region)))
    }

    fn copy(&self, taken: &Snapshot, region: &str, name: &str) -> Result<Snapshot> {
        let there = self.elsewhere(region);
        let image = self.image(&taken.id)?;
        let noted = image.map(|image| Shape::of_tags(&image.tag_set));
        let machine = taken.machine.as_deref().unwrap_or_default();
        let form = Form::default()
            .with("SourceImageId", &taken.id)
            .with("SourceRegion", self.in_region())
            .with("Name", name)
            // A call that is made again makes no second image.
            .with(
                "ClientToken",
                sha256_hex(format!("{} {region}", taken.id).as_bytes()),
            );
        let form = self.tagged(form, machine, &noted.unwrap_or_default().anywhere());
        let made = there.client()?.call::<MadeImage>("CopyImage", &form);
        there.begun(made, name, machine, |failed| {
            let doing = format!("image {} cannot be copied to {region}", taken.name);
            failed.into_error(&doing, "ec2:CopyImage")
        })
    }

    fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let all = self.images()?;
        let all = all
            .iter()
            .map(|image| image.snapshot(MACHINE, self.in_region()));
        Ok(all.collect())
    }

    fn delete(&self, id: &str) -> Result<()> {
        let client = self.client()?;
        if let Some(image) = self.image(id)? {
            let disks: Vec<&str> = image.disks().map(|(_, id)| id).collect();
            if !disks.is_empty() {
                // Without an image nothing tells that they were its disks.
                let form = Form::default()
                    .numbered("ResourceId", &disks)
                    .with("Tag.1.Key", OWN)
                    .with("Tag.1.Value", TO_DELETE)
                    .with("Tag.2.Key", ORIGINAL)
                    .with("Tag.2.Value", &self.config.instance);
                let marked = client.call::<Done>("CreateTags", &form);
                marked.map_err(|failed| {
                    let doing = format!("the snapshots of image {id} cannot be marked");
                    failed.into_error(&doing, "ec2:CreateTags")
                })?;
            }
            let form = Form::default().with("ImageId", id);
            if let Err(failed) = client.call::<Done>("DeregisterImage", &form)
                && !failed.is_missing()
            {
                let doing = format!("image {id} cannot be deregistered");
                return Err(failed.into_error(&doing, "ec2:DeregisterImage"));
            }
        }
        self.sweep()
    }

    fn restore(&self, wanted: &Wanted<'_>) -> Result<Machine> {
        let image = self.named(wanted.snapshot)?;
        let noted = Shape::of_tags(&image.tag_set);
        let mut tags = vec![("Name", wanted.name), (ORIGINAL, &self.config.instance)];
        let mut form = Form::default();
        let expires = wanted
            .expires
            .map(|expires| expires.as_second().to_string());
        let shape = match &expires {
            Some(expires) => {
                tags.extend([(OWN, OF_DRILL), (EXPIRES, expires)]);
                for ((device, disk), number) in image.disks().zip(1..) {
                    // A disk that stays costs money when nobody knows of it any more.
                    let mapping = format!("BlockDeviceMapping.{number}");
                    form = form
                        .with(format!("{mapping}.DeviceName"), device)
                        .with(format!("{mapping}.Ebs.SnapshotId"), disk)
                        .with(format!("{mapping}.Ebs.DeleteOnTermination"), "true");
                }
                self.quarantined(noted)?
            }
            None => {
                tags.push((OWN, OF_RESTORE));
                // What was noted of a copy is not of its region.
                let subnet = noted.subnet.clone().or(self.config.subnet.clone());
                Shape { subnet, ..noted }
            }
        };
        if shape.instance_type.is_none() {
            let message = format!(
                "image {} does not say which type its machine was of",
                image.image_id
            );
            return Err(Error::new(Code::Configuration, message)
                .hint("add instance_type = \"…\" to the source"));
        }
        let form = shape
            .ask(form)
            .with("ImageId", &image.image_id)
            .with("MinCount", "1")
            .with("MaxCount", "1")
            // A call that is made again makes no second machine.
            .with("ClientToken", sha256_hex(wanted.name.as_bytes()))
            .tagged("instance", &tags);
        let made = self.client()?.call::<Reservation>("RunInstances", &form);
        let there = || -> Result<Option<Machine>> {
            let all = self.machines()?.unwrap_or_default();
            Ok(all.into_iter().find(|machine| machine.name == wanted.name))
        };
        let doing = format!("no machine can be made of image {}", image.image_id);
        match made {
            Ok(made) => match made.instances_set.items.first() {
                Some(instance) => Ok(instance.machine()),
                None => Err(Error::new(Code::SourceFailed, doing)
                    .cause("EC2 says that it did, and names none")),
            },
            Err(failed) => {
                let there = if failed.is_unsure() { there()? } else { None };
                there.ok_or_else(|| failed.into_error(&doing, "ec2:RunInstances"))
            }
        }
    }

    fn open_like(&self, machine: &Machine, other: &str) -> Result<Option<String>> {
        let Some(like) = self.instance(other)? else {
            return Ok(Some(format!(
                "{other} is not in {}: {} has the security groups that were noted with the snapshot, and that of its network if none were",
                self.in_region(),
                machine.name
            )));
        };
        let form = Form::default()
            .with("InstanceId", &machine.id)
            .numbered("GroupId", &like.groups());
        let done = self
            .client()?
            .call::<Done>("ModifyInstanceAttribute", &form);
        done.map(|_| None).map_err(|failed| {
            let doing = format!("the security groups of {} cannot be set", machine.name);
            failed.into_error(&doing, "ec2:ModifyInstanceAttribute")
        })
    }

    /// As cloud-init wrote them to the console when it made them.
    fn host_keys(&self, machine: &Machine) -> Result<Vec<String>> {
        let begun = Moment::now();
        let form = Form::default().with("InstanceId", &machine.id);
        loop {
            let said = self.client()?.call::<Console>("GetConsoleOutput", &form);
            let said = said.map_err(|failed| {
                let doing = format!("the console of machine {} cannot be read", machine.name);
                failed.into_error(&doing, "ec2:GetConsoleOutput")
            })?;
            let text: String = said.output.split_whitespace().collect();
            let text = Base64::decode_vec(&text).unwrap_or_default();
            match console::read(&String::from_utf8_lossy(&text)) {
                console::Console::Keys(keys) => return Ok(keys),
                console::Console::NoKeys => return Ok(Vec::new()),
                console::Console::NotYet if begun.elapsed() > CONSOLE => return Ok(Vec::new()),
                console::Console::NotYet => cancel::wait(CONSOLE_PAUSE)?,
            }
        }
    }

    fn holder(&self, address: &str) -> Result<Option<String>> {
        let holder = self.address(address)?.instance_id;
        Ok(holder.filter(|holder| !holder.is_empty()))
    }

    fn lead(&self, address: &str, to: &str) -> Result<()> {
        let there = self.address(address)?;
        if there.instance_id.as_deref() == Some(to) {
            return Ok(());
        }
        let doing = format!("address {address} cannot be led to {to}");
        let id = there.allocation_id.ok_or_else(|| {
            Error::new(Code::SourceFailed, &*doing).cause("EC2 tells of no allocation id")
        })?;
        // One step: it leads to the one or to the other.
        let form = Form::default()
            .with("AllocationId", id)
            .with("InstanceId", to)
            .with("AllowReassociation", "true");
        let led = self.client()?.call::<Done>("AssociateAddress", &form);
        let holder = self.holder(address)?;
        if holder.as_deref() == Some(to) {
            return Ok(());
        }
        let leads = match holder {
            Some(holder) => format!("it leads to {holder}"),
            None => "it leads to no machine".to_owned(),
        };
        let error = match led {
            Err(failed) => failed.into_error(&doing, "ec2:AssociateAddress"),
            Ok(_) => amazon::not_shown(&doing, "EC2"),
        };
        Err(Error {
            message: format!("{}; {leads}", error.message),
            ..error
        })
    }

    fn machines(&self) -> Result<Option<Vec<Machine>>> {
        let all = self.instances(&self.own())?;
        Ok(Some(all.iter().map(Instance::machine).collect()))
    }

    fn destroy(&self, id: &str) -> Result<()> {
        let Some(found) = self.instance(id)? else {
            return Ok(());
        };
        let is = |key, value: &str| tag(&found.tag_set, key) == Some(value);
        let name = tag(&found.tag_set, "Name").unwrap_or_default();
        if !is(OWN, OF_DRILL) || !is(ORIGINAL, &self.config.instance) || !name.starts_with(DRILL) {
            let message = format!("instance {id} is no machine of a drill, and is not destroyed");
            return Err(Error::new(Code::Target, message));
        }
        let form = Form::default().with("InstanceId.1", id);
        match self.client()?.call::<Done>("TerminateInstances", &form) {
            Err(failed) if !failed.is_missing() => {
                let doing = format!("machine {name} ({id}) cannot be terminated");
                Err(failed.into_error(&doing, "ec2:TerminateInstances"))
            }
            _ => Ok(()),
        }
    }
}
