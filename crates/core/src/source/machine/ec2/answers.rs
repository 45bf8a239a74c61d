//! What EC2 tells of images, instances, addresses and security groups, in the words of its API reference.

use crate::aws::{List, Listing};
use crate::source::machine::{Machine, Snapshot, State};
use serde::Deserialize;

/// EC2 counts in these.
const GIB: u64 = 1 << 30;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Tag {
    pub(super) key: String,
    #[serde(default)]
    pub(super) value: String,
}

/// The value of a tag.
pub(super) fn tag<'a>(tags: &'a List<Tag>, key: &str) -> Option<&'a str> {
    let found = tags.items.iter().find(|tag| tag.key == key);
    found.map(|tag| tag.value.as_str())
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Reason {
    message: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Image {
    pub(super) image_id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    image_state: String,
    image_owner_id: Option<String>,
    creation_date: Option<String>,
    /// Missing in answers of servers that are older than this field.
    source_instance_id: Option<String>,
    #[serde(default)]
    state_reason: Reason,
    #[serde(default)]
    pub(super) block_device_mapping: List<Device>,
    #[serde(default)]
    pub(super) tag_set: List<Tag>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Device {
    #[serde(default)]
    pub(super) device_name: String,
    pub(super) ebs: Option<Ebs>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ebs {
    pub(super) snapshot_id: Option<String>,
    volume_size: Option<u64>,
}

impl Image {
    /// The snapshots of its disks, with the names of their devices.
    pub(super) fn disks(&self) -> impl Iterator<Item = (&str, &str)> {
        let devices = self.block_device_mapping.items.iter();
        devices.filter_map(|device| {
            let id = device.ebs.as_ref()?.snapshot_id.as_deref()?;
            Some((device.device_name.as_str(), id))
        })
    }

    /// As a snapshot of a machine. `machine` is the key of the tag that says of which.
    pub(super) fn snapshot(&self, machine: &str, region: &str) -> Snapshot {
        let devices = self.block_device_mapping.items.iter();
        let sizes = devices.filter_map(|device| device.ebs.as_ref()?.volume_size);
        let of = self
            .source_instance_id
            .as_deref()
            .filter(|id| !id.is_empty());
        Snapshot {
            id: self.image_id.clone(),
            name: self.name.clone(),
            state: match self.image_state.as_str() {
                "available" => State::Ready,
                "pending" => State::Pending,
                other => State::Broken(match &self.state_reason.message {
                    Some(why) => format!("its state is {other}: {why}"),
                    None => format!("its state is {other}"),
                }),
            },
            bytes: Some(sizes.sum::<u64>() * GIB).filter(|bytes| *bytes > 0),
            created: self
                .creation_date
                .as_deref()
                .and_then(|date| date.parse().ok()),
            machine: of
                .or_else(|| tag(&self.tag_set, machine))
                .map(str::to_owned),
            region: Some(region.to_owned()),
            account: self.image_owner_id.clone(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Images {
    #[serde(default)]
    images_set: List<Image>,
    next_token: Option<String>,
}

impl Listing for Images {
    type Item = Image;

    fn page(self) -> (Vec<Image>, Option<String>) {
        (self.images_set.items, self.next_token)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MadeImage {
    pub(super) image_id: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instance {
    pub(super) instance_id: String,
    instance_state: Named,
    #[serde(default)]
    state_reason: Reason,
    ip_address: Option<String>,
    private_ip_address: Option<String>,
    pub(super) instance_type: Option<String>,
    pub(super) subnet_id: Option<String>,
    pub(super) key_name: Option<String>,
    pub(super) iam_instance_profile: Option<Profile>,
    #[serde(default)]
    pub(super) metadata_options: MetadataOptions,
    #[serde(default)]
    pub(super) group_set: List<GroupOf>,
    #[serde(default)]
    pub(super) tag_set: List<Tag>,
}

#[derive(Debug, Clone, Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Profile {
    pub(super) arn: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct MetadataOptions {
    pub(super) http_tokens: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupOf {
    pub(super) group_id: String,
}

impl Instance {
    /// Whether it is gone, or will be in a moment.
    pub(super) fn is_over(&self) -> bool {
        matches!(
            self.instance_state.name.as_str(),
            "shutting-down" | "terminated"
        )
    }

    /// The ids of its security groups.
    pub(super) fn groups(&self) -> Vec<&str> {
        let groups = self.group_set.items.iter();
        groups.map(|group| group.group_id.as_str()).collect()
    }

    pub(super) fn machine(&self) -> Machine {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let state = self.instance_state.name.as_str();
        Machine {
            id: self.instance_id.clone(),
            name: tag(&self.tag_set, "Name").unwrap_or_default().to_owned(),
            state: match state {
                "running" => State::Ready,
                "" | "pending" => State::Pending,
                other => State::Broken(match &self.state_reason.message {
                    Some(why) => format!("its state is {other}: {why}"),
                    None => format!("its state is {other}"),
                }),
            },
            address: filled(&self.ip_address).or_else(|| filled(&self.private_ip_address)),
            path: None,
            host_keys: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reservations {
    #[serde(default)]
    reservation_set: List<Reservation>,
    next_token: Option<String>,
}

/// Instances that were made by one call.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reservation {
    #[serde(default)]
    pub(super) instances_set: List<Instance>,
}

impl Listing for Reservations {
    type Item = Instance;

    fn page(self) -> (Vec<Instance>, Option<String>) {
        let all = self.reservation_set.items.into_iter();
        let instances = all.flat_map(|reservation| reservation.instances_set.items);
        (instances.collect(), self.next_token)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Addresses {
    #[serde(default)]
    pub(super) addresses_set: List<Address>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Address {
    pub(super) allocation_id: Option<String>,
    pub(super) instance_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Groups {
    #[serde(default)]
    pub(super) security_group_info: List<Group>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    #[serde(default)]
    ip_permissions: List<Permission>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Permission {
    #[serde(default)]
    ip_ranges: List<Range>,
    #[serde(default)]
    ipv6_ranges: List<Range6>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Range {
    cidr_ip: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Range6 {
    cidr_ipv6: String,
}

impl Group {
    /// A network that it lets in and that is the whole world.
    pub(super) fn world(&self) -> Option<&str> {
        let networks = self.ip_permissions.items.iter().flat_map(|permission| {
            let four = permission
                .ip_ranges
                .items
                .iter()
                .map(|range| &range.cidr_ip);
            let six = permission.ipv6_ranges.items.iter();
            four.chain(six.map(|range| &range.cidr_ipv6))
        });
        let mut open = networks.filter(|network| network.ends_with("/0"));
        open.next().map(String::as_str)
    }
}

#[derive(Deserialize)]
pub(super) struct Console {
    #[serde(default)]
    pub(super) output: String,
}

/// An answer that says no more than that it was done.
#[derive(Deserialize)]
pub(super) struct Done {}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DiskSnapshots {
    #[serde(default)]
    snapshot_set: List<DiskSnapshot>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DiskSnapshot {
    snapshot_id: String,
}

impl Listing for DiskSnapshots {
    /// The id of one.
    type Item = String;

    fn page(self) -> (Vec<String>, Option<String>) {
        let all = self.snapshot_set.items.into_iter();
        (all.map(|one| one.snapshot_id).collect(), self.next_token)
    }
}
