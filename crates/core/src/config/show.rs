//! The configuration as loaded: with every default, and with references in place of secrets.

use super::Config;
use serde_json::Value;

impl Config {
    /// Writes TOML that loads as this same configuration. It holds references, never secrets.
    pub fn masked_toml(&self) -> String {
        let shown = serde_json::to_value(self).ok().and_then(without_nulls);
        let text = shown.and_then(|shown| toml::to_string_pretty(&shown).ok());
        // Every field is a text, a number, a list or a table, all of which TOML can hold.
        text.unwrap_or_default()
    }
}

/// Removes nulls, which TOML lacks, and empty tables.
fn without_nulls(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(object) => {
            let kept = object
                .into_iter()
                .filter_map(|(key, value)| Some((key, without_nulls(value)?)));
            let kept: serde_json::Map<_, _> = kept.collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(items) => Some(items.into_iter().filter_map(without_nulls).collect()),
        other => Some(other),
    }
}
