//! Bytes as Go's JSON encodes them: base64 in the standard alphabet, with padding.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes that are base64 text in JSON.
#[derive(Clone, PartialEq, Eq, Default, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct Base64(pub Vec<u8>);

impl std::fmt::Debug for Base64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        decode(&text)
            .map(Base64)
            .ok_or_else(|| de::Error::custom("not base64"))
    }
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    use base64ct::{Base64 as Standard, Encoding};
    Standard::encode_string(bytes)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    use base64ct::{Base64 as Standard, Encoding};
    Standard::decode_vec(text).ok()
}

/// Deserializes a value or `null`, which Go writes for empty lists and rustic for a missing number.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
