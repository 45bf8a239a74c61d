//! Databases in compose files. Files are read by lines and indentation, in their usual form;
//! services in another form are not found.

use super::database::{Database, Where, of_image};
use super::environment::text_of;
use std::path::Path;

/// Finds the services of a compose file that are databases.
pub(super) fn databases(path: &Path) -> Vec<Database> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !super::walk::is_compose(&name) {
        return Vec::new();
    }
    let Some(text) = text_of(path) else {
        return Vec::new();
    };
    services(&text)
        .into_iter()
        .filter_map(|service| service.database(path))
        .collect()
}

#[derive(Default)]
struct Service<'a> {
    name: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
}

impl Service<'_> {
    fn get(&self, keys: &[&str]) -> Option<String> {
        let (_, value) = self.pairs.iter().find(|(key, _)| keys.contains(key))?;
        let value = value.trim_matches(['"', '\'']);
        // ${NAME:-default}
        let value = match value
            .strip_prefix("${")
            .and_then(|rest| rest.strip_suffix('}'))
        {
            Some(inner) => inner.split_once(":-").or_else(|| inner.split_once('-'))?.1,
            None => value,
        };
        (!value.is_empty() && !value.contains('$')).then(|| value.to_owned())
    }

    fn database(&self, path: &Path) -> Option<Database> {
        let kind = of_image(&self.get(&["image"])?)?;
        let mut database = Database::new(kind, Where::said(&path.display().to_string()));
        database.container = Some(
            self.get(&["container_name"])
                .unwrap_or_else(|| self.name.to_owned()),
        );
        database.database = self.get(&["POSTGRES_DB", "MYSQL_DATABASE", "MARIADB_DATABASE"]);
        database.user = self.get(&["POSTGRES_USER", "MYSQL_USER", "MARIADB_USER"]);
        let passwords = ["POSTGRES_PASSWORD", "MYSQL_PASSWORD", "MARIADB_PASSWORD"];
        let password = passwords
            .into_iter()
            .find(|key| self.pairs.iter().any(|(k, _)| k == key));
        database.password = password.map(|key| Where {
            key: Some(key.to_owned()),
            place: path.display().to_string(),
        });
        Some(database)
    }
}

fn services(text: &str) -> Vec<Service<'_>> {
    let mut found: Vec<Service<'_>> = Vec::new();
    let (mut inside, mut depth) = (false, None);
    for line in text.lines() {
        let body = line.trim_start();
        if body.is_empty() || body.starts_with('#') {
            continue;
        }
        let indent = line.len() - body.len();
        if indent == 0 {
            inside = body.trim_end() == "services:";
            continue;
        }
        if !inside {
            continue;
        }
        let depth = *depth.get_or_insert(indent);
        let body = body.trim_start_matches("- ").trim();
        if indent == depth {
            let name = body.split(':').next().unwrap_or_default();
            found.push(Service {
                name,
                pairs: Vec::new(),
            });
        } else if let (Some(service), Some((key, value))) = (
            found.last_mut(),
            body.split_once(": ").or_else(|| body.split_once('=')),
        ) {
            service.pairs.push((key.trim(), value.trim()));
        }
    }
    found
}
