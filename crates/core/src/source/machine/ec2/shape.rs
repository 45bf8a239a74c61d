//! What a machine needs besides its disks: noted in tags of the image, so that it can be made when the original is
//! gone. Pure.

use super::answers::{Instance, Tag, tag};
use crate::aws::{Form, List};

/// The tags that it is noted in. A group has a tag of its own, since a value has at most 256 characters.
const TYPE: &str = "lifeboat-type";
const SUBNET: &str = "lifeboat-subnet";
const GROUP: &str = "lifeboat-group-";
const PROFILE: &str = "lifeboat-profile";
const KEY: &str = "lifeboat-key";
const TOKENS: &str = "lifeboat-tokens";

/// What a machine is made with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) instance_type: Option<String>,
    pub(super) subnet: Option<String>,
    pub(super) groups: Vec<String>,
    /// ARN of its instance profile.
    pub(super) profile: Option<String>,
    pub(super) key: Option<String>,
    /// Whether its metadata service wants tokens: `required` or `optional`.
    pub(super) tokens: Option<String>,
}

impl Shape {
    pub(super) fn of_instance(instance: &Instance) -> Self {
        let groups = instance.groups().into_iter();
        let profile = instance.iam_instance_profile.as_ref();
        Shape {
            instance_type: instance.instance_type.clone(),
            subnet: instance.subnet_id.clone(),
            groups: groups.map(str::to_owned).collect(),
            profile: profile.and_then(|profile| profile.arn.clone()),
            key: instance.key_name.clone(),
            tokens: instance.metadata_options.http_tokens.clone(),
        }
    }

    pub(super) fn of_tags(tags: &List<Tag>) -> Self {
        let of = |key| tag(tags, key).map(str::to_owned);
        let groups = tags.items.iter().filter(|tag| tag.key.starts_with(GROUP));
        Shape {
            instance_type: of(TYPE),
            subnet: of(SUBNET),
            groups: groups.map(|tag| tag.value.clone()).collect(),
            profile: of(PROFILE),
            key: of(KEY),
            tokens: of(TOKENS),
        }
    }

    /// What of it there is in every region.
    pub(super) fn anywhere(self) -> Self {
        Shape {
            instance_type: self.instance_type,
            profile: self.profile,
            tokens: self.tokens,
            ..Shape::default()
        }
    }

    /// The tags that hold it.
    pub(super) fn tags(&self) -> Vec<(String, String)> {
        let single = [
            (TYPE, &self.instance_type),
            (SUBNET, &self.subnet),
            (PROFILE, &self.profile),
            (KEY, &self.key),
            (TOKENS, &self.tokens),
        ];
        let single = single.into_iter().filter_map(|(key, value)| {
            let value = value.clone().filter(|value| !value.is_empty())?;
            Some((key.to_owned(), value))
        });
        let groups = self.groups.iter().zip(1..);
        let groups = groups.map(|(group, number)| (format!("{GROUP}{number}"), group.clone()));
        single.chain(groups).collect()
    }

    /// A question for a machine of this shape.
    pub(super) fn ask(&self, mut form: Form) -> Form {
        let single = [
            ("InstanceType", &self.instance_type),
            ("SubnetId", &self.subnet),
            ("IamInstanceProfile.Arn", &self.profile),
            ("KeyName", &self.key),
            ("MetadataOptions.HttpTokens", &self.tokens),
        ];
        for (name, value) in single {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                form = form.with(name, value);
            }
        }
        form.numbered("SecurityGroupId", &self.groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_comes_back_from_its_tags() {
        let shape = Shape {
            instance_type: Some("t3.small".to_owned()),
            subnet: Some("subnet-1".to_owned()),
            groups: (0..16).map(|n| format!("sg-{n:017}")).collect(),
            profile: None,
            key: Some("ops".to_owned()),
            tokens: Some("required".to_owned()),
        };
        let tags = shape.tags();
        assert!(tags.iter().all(|(_, value)| value.len() <= 256));
        let items = tags.into_iter().map(|(key, value)| Tag { key, value });
        let items = List {
            items: items.collect(),
        };
        assert_eq!(Shape::of_tags(&items), shape);
    }
}
