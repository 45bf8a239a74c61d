//! Names that are safe to use as a component of a path or of an object key.
//!
//! The configuration and every document read from a store are parsed into these types. A text that
//! could lead out of a directory is therefore refused where it is read, and a text that was never
//! checked cannot be used as a name. A name does not mean that a thing of that name exists.

use crate::error::{Code, Error};
use crate::short::Short;
use lifeboat_store::check_key;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::{Borrow, Cow};
use std::fmt;
use std::ops::Deref;
use std::path::Path;

/// The reason why a text is not a valid name: the rest of a sentence that begins with the text.
type Refusal = &'static str;

/// A text with rules: it is checked when it is parsed, and written as an ordinary string.
macro_rules! checked_text {
    ($(#[$documentation:meta])* $name:ident, $what:literal, $fits:expr) => {
        $(#[$documentation])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "Short", into = "Short")]
        pub struct $name(Short);

        impl $name {
            /// Parses a text; `None` if it breaks the rules.
            pub fn parse(text: &str) -> Option<Self> {
                $name::try_from(Short::from(text)).ok()
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                $name::try_from(Short::from(text.as_str()))
            }
        }

        impl TryFrom<Short> for $name {
            type Error = String;

            fn try_from(text: Short) -> Result<Self, String> {
                const WHAT: Refusal = $what;
                let fits: fn(&str) -> bool = $fits;
                match fits(&text) {
                    true => Ok($name(text)),
                    false => Err(format!("{text:?} {WHAT}")),
                }
            }
        }

        impl From<$name> for Short {
            fn from(name: $name) -> Short {
                name.0
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_str().to_owned()
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<Path> for $name {
            fn as_ref(&self) -> &Path {
                Path::new(self.as_str())
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl PartialEq<String> for $name {
            fn eq(&self, other: &String) -> bool {
                self.as_str() == *other
            }
        }

        impl PartialEq<$name> for str {
            fn eq(&self, other: &$name) -> bool {
                self == other.as_str()
            }
        }

        impl PartialEq<$name> for String {
            fn eq(&self, other: &$name) -> bool {
                other == self
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

checked_text! {
    /// The name of an application, environment, source, artifact, store, plan or drill: letters,
    /// digits, `-`, `_` and `.`, beginning with a letter or a digit.
    Name, "is no name", |text| {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(fits)
    }
}

checked_text! {
    /// A file name extension without its dot: `json`, `tar.xz`.
    Extension, "is no file name extension", |text| {
        let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric());
        text.split('.').all(part)
    }
}

checked_text! {
    /// The key of an object in a store, or, with a leading `/`, a path in a snapshot.
    StoredKey, "is no key of an object", |text| {
        check_key(text.strip_prefix('/').unwrap_or(text)).is_ok()
    }
}

impl Name {
    /// A key that this program put together. Fails if it breaks the rules.
    pub(crate) fn made(text: String) -> crate::error::Result<Self> {
        Name::try_from(text).map_err(|error| Error::new(Code::Configuration, error))
    }
}

impl StoredKey {
    /// A name that this program put together from a template. Fails if it breaks the rules.
    pub(crate) fn made(text: String) -> crate::error::Result<Self> {
        StoredKey::try_from(text).map_err(|error| Error::new(Code::Configuration, error))
    }
}

impl JsonSchema for Name {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "String".into()
    }

    // Where a name is defined, the configuration adds its grammar. Where a name is used, it must be
    // one that is defined.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Serialises a name that older records leave empty where it is not known.
pub(crate) mod or_empty {
    use super::{Deserialize, Deserializer, Name, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        name: &Option<Name>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        name.as_deref().unwrap_or_default().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Name>, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.is_empty() {
            true => Ok(None),
            false => Name::try_from(text)
                .map(Some)
                .map_err(serde::de::Error::custom),
        }
    }
}

impl Name {
    /// A word that stands in this program and keeps the rules.
    pub(crate) const fn own(text: &'static str) -> Self {
        Name(Short::own(text))
    }
}

impl Extension {
    /// A word that stands in this program and keeps the rules.
    pub(crate) const fn own(text: &'static str) -> Self {
        Extension(Short::own(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_out_of_a_directory() {
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "/abs",
            "a/../../x",
            ".hidden",
            "-rf",
            "a b",
            "a\n",
            "a\0",
            "ä",
        ] {
            assert_eq!(Name::parse(bad), None, "{bad:?}");
            let json = serde_json::to_string(bad).unwrap();
            assert!(serde_json::from_str::<Name>(&json).is_err(), "{bad:?}");
        }
        for good in ["a", "0", "crm.example_org-2", "a.."] {
            assert_eq!(Name::parse(good).unwrap(), good);
        }
    }

    #[test]
    fn an_extension_has_no_separator() {
        for bad in ["", ".", "/../x", "../../x", ".tar", "tar.", "a-b", "a/b"] {
            assert_eq!(Extension::parse(bad), None, "{bad:?}");
        }
        for good in ["tar", "tar.xz", "7z"] {
            assert_eq!(Extension::parse(good).unwrap(), good);
        }
    }

    #[test]
    fn a_key_stays_below_the_store() {
        for bad in ["", "/", "//a", "../x", "a/../b", "a//b", "a/", "a\n"] {
            assert_eq!(StoredKey::parse(bad), None, "{bad:?}");
        }
        for good in [
            "crm/db/2026/11/20.dump.age",
            "/db/dump.dump",
            "/.lifeboat/details.json",
        ] {
            assert_eq!(StoredKey::parse(good).unwrap(), good);
        }
    }
}
