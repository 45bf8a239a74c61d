//! The schema closes every table, and whatever it accepts can be loaded.

use super::super::*;
use super::{WHOLE, parse};

/// Replaces every value of a whole configuration by values of every type: either it loads or it is
/// refused with its position. A value that only the types refuse would have no position.
#[test]
fn the_types_accept_what_the_schema_accepts() {
    let whole: toml::Table = WHOLE.parse().unwrap();
    let replacements: [toml::Value; 9] = [
        toml::Value::String("text".into()),
        toml::Value::String(String::new()),
        toml::Value::Integer(1),
        toml::Value::Integer(i64::MAX),
        toml::Value::Integer(-1),
        toml::Value::Float(1.5),
        toml::Value::Boolean(true),
        toml::Value::Array(vec![toml::Value::Array(vec![])]),
        toml::Value::Table(toml::Table::new()),
    ];
    let mut tried = 0;
    let mut paths = Vec::new();
    collect(
        &toml::Value::Table(whole.clone()),
        &mut Vec::new(),
        &mut paths,
    );
    for path in &paths {
        for replacement in &replacements {
            let mut changed = toml::Value::Table(whole.clone());
            *at(&mut changed, path) = replacement.clone();
            let text = toml::to_string(&changed).unwrap();
            tried += 1;
            if let Err(error) = parse(&text) {
                assert!(
                    !error.message.contains("the value at byte"),
                    "{path:?} = {replacement}: {error:?}"
                );
            }
        }
    }
    assert!(tried > 900, "{tried}");
}

fn collect(value: &toml::Value, here: &mut Vec<String>, all: &mut Vec<Vec<String>>) {
    if !here.is_empty() {
        all.push(here.clone());
    }
    let inner: Vec<(String, &toml::Value)> = match value {
        toml::Value::Table(table) => table.iter().map(|(k, v)| (k.clone(), v)).collect(),
        toml::Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, v)| (i.to_string(), v))
            .collect(),
        _ => Vec::new(),
    };
    for (key, value) in inner {
        here.push(key);
        collect(value, here, all);
        here.pop();
    }
}

fn at<'a>(value: &'a mut toml::Value, path: &[String]) -> &'a mut toml::Value {
    path.iter().fold(value, |value, key| match value {
        toml::Value::Array(items) => &mut items[key.parse::<usize>().unwrap()],
        table => &mut table[key.as_str()],
    })
}

#[test]
fn the_schema_closes_every_table() {
    let schema = schema();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let mut tables = 0;
    closed(&schema, &mut tables);
    assert!(tables >= 14, "{tables}");
    let kinds = schema["$defs"]["SourceConfig"]["oneOf"].as_array().unwrap();
    let names: Vec<_> = kinds
        .iter()
        .map(|kind| kind["title"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "files",
            "sqlite",
            "postgres",
            "mariadb",
            "mysql",
            "bucket",
            "command",
            "lightsail",
            "ec2",
            "external"
        ]
    );
    assert_eq!(kinds[0]["properties"]["exclude"]["type"], "array");
    assert_eq!(kinds[0]["properties"]["sensitive"]["type"], "boolean");
    assert_eq!(
        schema["$defs"]["PlanConfig"]["properties"]["schedule"]["description"],
        "Schedule in cron form, five fields, UTC."
    );
    let text = schema.to_string();
    assert!(!text.contains("null"), "{text}");
}

/// Asserts that every table with properties refuses others, and that every reference in the schema
/// resolves.
fn closed(schema: &serde_json::Value, tables: &mut usize) {
    let Some(object) = schema.as_object() else {
        return;
    };
    if object
        .get("properties")
        .is_some_and(|p| p.get("type").is_none())
    {
        assert_eq!(
            object.get("additionalProperties"),
            Some(&false.into()),
            "{object:?}"
        );
        *tables += 1;
    }
    for value in object.values() {
        closed(value, tables);
        value
            .as_array()
            .into_iter()
            .flatten()
            .for_each(|item| closed(item, tables));
    }
}
