//! Calls of Amazon EC2. Source: its API reference, version 2016-11-15.

use super::regional::{Failed, Regional};
use super::service::{Post, Service};
use crate::error::Result;
use lifeboat_store::aws::Credentials;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

const EC2: Service = Service {
    name: "EC2",
    patience: Duration::from_secs(30),
    // `call` asks again.
    attempts: 1,
};
const VERSION: &str = "2016-11-15";
/// Things that a page of an answer may hold: each has some kilobytes, and answers are bounded.
const PAGE: &str = "50";

/// EC2 in a region.
pub struct Ec2 {
    at: Regional,
}

/// What is asked, as names and values: `Filter.1.Name`.
#[derive(Debug, Clone, Default)]
pub struct Form(Vec<(String, String)>);

/// A list, as EC2 writes it.
#[derive(Debug, Clone, Deserialize)]
pub struct List<T> {
    /// What it holds.
    #[serde(rename = "item", default = "Vec::new")]
    pub items: Vec<T>,
}

/// An answer that may be a page of several.
pub trait Listing: DeserializeOwned {
    /// What it lists.
    type Item;

    /// What this page lists, and the token of the next one.
    fn page(self) -> (Vec<Self::Item>, Option<String>);
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "Errors")]
    errors: Errors,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(rename = "Error")]
    error: Told,
}

#[derive(Deserialize)]
struct Told {
    #[serde(rename = "Code")]
    code: String,
    #[serde(rename = "Message", default)]
    message: String,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        List { items: Vec::new() }
    }
}

impl Form {
    /// Adds a value.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.push((name.into(), value.into()));
        self
    }

    /// Adds a condition on what is listed; any of the values will do.
    pub fn only(self, name: &str, values: &[&str]) -> Self {
        let counted = self.0.iter();
        let number = 1 + counted.filter(|(key, _)| is_filter(key)).count();
        let form = self.with(format!("Filter.{number}.Name"), name);
        form.numbered(&format!("Filter.{number}.Value"), values)
    }

    /// Adds the values of a list.
    pub fn numbered(mut self, name: &str, values: &[impl AsRef<str>]) -> Self {
        for (value, number) in values.iter().zip(1..) {
            self = self.with(format!("{name}.{number}"), value.as_ref());
        }
        self
    }

    /// Adds the tags that what is made is to have.
    pub fn tagged(mut self, what: &str, tags: &[(&str, &str)]) -> Self {
        let is_one =
            |key: &str| key.starts_with("TagSpecification.") && key.ends_with(".ResourceType");
        let one = 1 + self.0.iter().filter(|(key, _)| is_one(key)).count();
        self = self.with(format!("TagSpecification.{one}.ResourceType"), what);
        for ((key, value), number) in tags.iter().zip(1..) {
            let tag = format!("TagSpecification.{one}.Tag.{number}");
            self = self.with(format!("{tag}.Key"), *key);
            self = self.with(format!("{tag}.Value"), *value);
        }
        self
    }
}

fn is_filter(key: &str) -> bool {
    key.starts_with("Filter.") && key.ends_with(".Name")
}

impl Ec2 {
    /// EC2 in a region, asked with these credentials.
    pub fn new(region: &str, credentials: Credentials) -> Self {
        Ec2 {
            at: Regional {
                service: EC2,
                region: region.to_owned(),
                credentials,
            },
        }
    }

    /// Makes a call, again where it is throttled or not answered as it should be.
    pub fn call<T: DeserializeOwned>(&self, action: &str, form: &Form) -> Result<T, Failed> {
        let form = form.clone().with("Action", action).with("Version", VERSION);
        self.at.call(
            action,
            |keys| {
                self.at
                    .service
                    .post(Post::form("ec2", &self.at.region, &form.0, Some(keys)))
            },
            |answer| {
                let text = String::from_utf8_lossy(&answer.body);
                match answer.status {
                    200 => quick_xml::de::from_str(&text)
                        .map_err(|error| self.at.odd(action, &error.to_string())),
                    status => {
                        let told = quick_xml::de::from_str::<Refusal>(&text).ok();
                        let told = told.map(|told| told.errors.error);
                        let of = |told: &Told| (told.code.clone(), told.message.clone());
                        let (kind, message) = told.as_ref().map(of).unwrap_or_default();
                        Err(self.at.refused(action, status, &kind, &message))
                    }
                }
            },
        )
    }

    /// All that the pages of a list hold.
    pub fn all<T: Listing>(&self, action: &str, form: &Form) -> Result<Vec<T::Item>, Failed> {
        let form = form.clone().with("MaxResults", PAGE);
        self.at.all(action, |token| {
            let form = match token {
                Some(token) => form.clone().with("NextToken", token),
                None => form.clone(),
            };
            Ok(self.call::<T>(action, &form)?.page())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Images {
        #[serde(default)]
        images_set: List<Image>,
        next_token: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Image {
        image_id: String,
        description: Option<String>,
    }

    #[test]
    fn lists_are_read_whether_they_hold_something_or_not() {
        let none = "<R><imagesSet/></R>";
        let none: Images = quick_xml::de::from_str(none).unwrap();
        assert_eq!(none.images_set.items.len(), 0);
        assert_eq!(none.next_token, None);
        let two = "<?xml version=\"1.0\"?>\n<R xmlns=\"http://ec2\">\n <requestId>r</requestId> <imagesSet>\n<item><imageId>a</imageId><description>x &amp; &lt;y&gt;</description><tagSet/></item><item><imageId>b</imageId></item></imagesSet><nextToken>t</nextToken></R>";
        let two: Images = quick_xml::de::from_str(two).unwrap();
        let ids: Vec<&str> = two.images_set.items.iter().map(|i| &*i.image_id).collect();
        assert_eq!(ids, ["a", "b"]);
        assert_eq!(
            two.images_set.items[0].description.as_deref(),
            Some("x & <y>")
        );
        assert_eq!(two.next_token.as_deref(), Some("t"));
    }

    #[test]
    fn conditions_and_tags_are_numbered_from_one() {
        let form = Form::default()
            .only("image-id", &["a"])
            .only("state", &["pending", "available"])
            .tagged("image", &[("k", "v")])
            .tagged("snapshot", &[("s", "w")]);
        let of = |name: &str| {
            let found = form.0.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(of("Filter.1.Name"), Some("image-id"));
        assert_eq!(of("Filter.2.Name"), Some("state"));
        assert_eq!(of("Filter.2.Value.2"), Some("available"));
        assert_eq!(of("TagSpecification.1.Tag.1.Key"), Some("k"));
        assert_eq!(of("TagSpecification.2.Tag.1.Value"), Some("w"));
    }
}
