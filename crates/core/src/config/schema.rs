//! The JSON Schema of the configuration, for completion in editors and for validation when loading.
//! It is derived from the types, so that the two cannot disagree.

use super::Config;
use serde_json::{Map, Value, json};

/// JSON Schema, draft 2020-12. Unknown keys are refused in every table of it.
pub fn schema() -> Value {
    let mut schema = Value::from(schemars::schema_for!(Config));
    tidy(&mut schema);
    merge_kinds(&mut schema);
    schema
}

/// Adapts the schema to TOML: there is no null, and integer formats become bounds. Line breaks in
/// doc comments are removed.
fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(object) => {
            drop_null(object);
            let format = object.get("format").and_then(Value::as_str);
            let word = format == Some("uint32");
            if format.is_some() {
                object.shift_remove("format");
            }
            if word {
                object.insert("maximum".into(), u32::MAX.into());
            }
            if let Some(Value::String(text)) = object.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            // A table that shares keys with others lists them as its own.
            if let Some(others) = object.shift_remove("unevaluatedProperties") {
                object.insert("additionalProperties".into(), others);
            }
            object.values_mut().for_each(tidy);
        }
        _ => {}
    }
}

fn drop_null(object: &mut Map<String, Value>) {
    if object.get("default").is_some_and(Value::is_null) {
        object.shift_remove("default");
    }
    if let Some(Value::Object(table)) = object.get_mut("default") {
        table.retain(|_, value| !value.is_null());
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else {
        return;
    };
    choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
    if let [Value::Object(only)] = choices.as_slice() {
        let only = only.clone();
        object.shift_remove("anyOf");
        for (key, value) in only {
            object.entry(key).or_insert(value);
        }
    }
}

/// Turns "common fields, and one of several kinds" into one closed table per kind, so that each can
/// refuse the keys of the others.
fn merge_kinds(schema: &mut Value) {
    let Some(Value::Object(definitions)) = schema.get_mut("$defs") else {
        return;
    };
    let mut merged = Vec::new();
    for (name, common) in definitions.iter() {
        if common.get("properties").is_none() || common.get("oneOf").is_none() {
            continue;
        }
        let variants = common.get("oneOf").and_then(Value::as_array);
        let (kinds, used): (Vec<_>, Vec<_>) = variants
            .into_iter()
            .flatten()
            .filter_map(|variant| merge(common, variant, definitions))
            .unzip();
        let table = json!({
            "description": common.get("description"),
            "type": "object",
            "required": ["kind"],
            "oneOf": kinds,
        });
        merged.push((name.clone(), table, used));
    }
    for (name, table, used) in merged {
        definitions.insert(name, table);
        for name in used {
            definitions.shift_remove(&name);
        }
    }
}

/// Makes the closed table of one kind, and the name of the definition that it replaces.
fn merge(common: &Value, variant: &Value, all: &Map<String, Value>) -> Option<(Value, String)> {
    let name = definition_name(variant)?;
    let own = all.get(name)?;
    let kind = variant.pointer("/properties/kind/const")?;
    let parts = [variant, common, own];
    let mut properties = Map::new();
    let mut required = Vec::new();
    for part in parts {
        let keys = part.get("properties").and_then(Value::as_object);
        properties.extend(keys.cloned().unwrap_or_default());
        let needs = part.get("required").and_then(Value::as_array);
        required.extend(needs.cloned().unwrap_or_default());
    }
    let table = json!({
        "title": kind,
        "description": variant.get("description"),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    Some((table, name.to_owned()))
}

/// The name a `$ref` refers to.
pub(super) fn definition_name(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}
