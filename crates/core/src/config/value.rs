//! The small values of the configuration, and how they are written.

use super::notify::Repeat;
use crate::compress::Compress;
use crate::expect::Percent;
use crate::span::Span;
use crate::transport::Via;
use crate::window::Window;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::borrow::Cow;

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
    "^[0-9]+[smhdwy]$",
    "A length of time: 90s, 15m, 36h, 9d, 2w, 1y"
);
as_text!(
    Repeat,
    "Repeat",
    "^([0-9]+[smhdwy]|never)$",
    "A length of time, or `never`"
);
as_text!(
    Window,
    "Window",
    "^\\s*([A-Za-z,-]+\\s+)?[0-9]+:[0-9]+-[0-9]+:[0-9]+\\s*$",
    "Days and hours of the week, in UTC: Mon-Fri 08:00-18:00, 22:00-06:00"
);
as_text!(
    Percent,
    "Tolerance",
    "^[0-9]+(\\.[0-9]{1,3})?\\s*%$",
    "A share from `0%` to `100%`"
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
