//! The small values of the configuration, and how they are written.

use super::{Compress, Via};
use crate::span::Span;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::borrow::Cow;
use std::fmt;

impl std::str::FromStr for Compress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level)),
            None => (text, None),
        };
        let level = |default: u8, max: u8| match level {
            None => Ok(default),
            Some(level) => level
                .parse()
                .ok()
                .filter(|l| (1..=max).contains(l))
                .ok_or_else(|| format!("{name} has levels 1 to {max}, not {level:?}")),
        };
        match name {
            "none" if !text.contains(':') => Ok(Compress::None),
            "gzip" => Ok(Compress::Gzip(level(3, 12)?)),
            "zstd" => Ok(Compress::Zstd(level(3, 19)?)),
            _ => Err(format!(
                "unknown compression {text:?}; use gzip, zstd or none, with an optional level: zstd:9"
            )),
        }
    }
}

impl fmt::Display for Compress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Compress::None => f.write_str("none"),
            Compress::Gzip(level) => write!(f, "gzip:{level}"),
            Compress::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

/// Written as text, and described as text that matches a pattern.
macro_rules! as_text {
    ($type:ty, $name:literal, $pattern:literal, $description:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $description })
            }
        }
    };
}

as_text!(
    Span,
    "Span",
    "^[0-9]+[smhdw]$",
    "A length of time: 90s, 15m, 36h, 9d, 2w"
);
as_text!(
    Compress,
    "Compress",
    "^(none|(gzip|zstd)(:[0-9]+)?)$",
    "gzip, zstd or none, with an optional level"
);
as_text!(
    Via,
    "Via",
    "^(ssh|docker|kubectl):[^-]",
    "ssh:USER@HOST[:PORT], docker:CONTAINER or kubectl:NAMESPACE/POD[/CONTAINER]"
);
