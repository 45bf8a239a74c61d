//! What belongs to the host: units, sites, certificates, servers.

use super::database::Kind;
use super::environment::{Environment, text_of};
use super::{Found, Server, Unit};
use std::path::{Path, PathBuf};

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|p| p.is_file())
        .collect();
    found.sort();
    found
}

/// Units that somebody made here, with the environment files of those that run an application.
pub(super) fn units(found: &mut Found, environments: &mut Vec<Environment>) {
    for path in files(&found.root.join("etc/systemd/system")) {
        // A link is a unit of a package, enabled.
        if path.is_symlink() {
            continue;
        }
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !name.ends_with(".service") && !name.ends_with(".timer") {
            continue;
        }
        let text = text_of(&path).unwrap_or_default();
        let of_application = found.applications.iter().any(|application| {
            let inside = application
                .path
                .strip_prefix(&found.root)
                .unwrap_or(&application.path);
            text.contains(&format!("/{}", inside.display()))
        });
        for line in text.lines() {
            let Some(file) = line.trim().strip_prefix("EnvironmentFile=") else {
                continue;
            };
            let file = file.trim_start_matches('-').trim_start_matches('/');
            let file = found.root.join(file);
            if let Some(environment) = Environment::read(&file) {
                environments.push(environment);
                found.secrets.push(file);
            }
        }
        found.units.push(Unit {
            name,
            path,
            of_application,
        });
    }
}

/// Configurations of nginx and Apache, and cron tables.
pub(super) fn web_sites(found: &mut Found) {
    for directory in [
        "etc/nginx/sites-available",
        "etc/nginx/conf.d",
        "etc/apache2/sites-available",
        "etc/caddy",
        "etc/cron.d",
        "var/spool/cron/crontabs",
    ] {
        let directory = found.root.join(directory);
        let shipped = [
            "default",
            "default.conf",
            "000-default.conf",
            "default-ssl.conf",
            ".placeholder",
            "e2scrub_all",
            "php",
            "certbot",
            "sysstat",
            "popularity-contest",
        ];
        let own = files(&directory).into_iter().filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            !shipped.contains(&name.as_ref())
        });
        found.system.extend(own);
    }
}

pub(super) fn certificates(found: &mut Found) {
    let letsencrypt = found.root.join("etc/letsencrypt");
    if letsencrypt.join("live").is_dir() {
        found.certificates.push(letsencrypt);
    }
    let own = found.root.join("etc/ssl/private");
    let snakeoil = |path: &PathBuf| path.ends_with("ssl-cert-snakeoil.key");
    if files(&own).iter().any(|path| !snakeoil(path)) {
        found.certificates.push(own);
    }
}

pub(super) fn servers(found: &mut Found) {
    let root = found.root.clone();
    let at = |path: &str| root.join(path);
    let mut add = |kind, seen: String, socket| {
        if !found.servers.iter().any(|known| known.kind == kind) {
            found.servers.push(Server { kind, seen, socket });
        }
    };
    let postgres = at("var/run/postgresql");
    let socket = std::fs::read_dir(&postgres).into_iter().flatten().flatten();
    let mut sockets = socket.map(|entry| entry.file_name().to_string_lossy().into_owned());
    if sockets.any(|name| name.starts_with(".s.PGSQL.") && !name.ends_with(".lock")) {
        add(
            Kind::Postgres,
            format!("a socket in {}", postgres.display()),
            Some(postgres),
        );
    }
    let mysql = [
        "run/mysqld/mysqld.sock",
        "var/run/mysqld/mysqld.sock",
        "var/lib/mysql/mysql.sock",
    ];
    if let Some(socket) = mysql.iter().map(|path| at(path)).find(|path| path.exists()) {
        let kind = match at("etc/mysql/mariadb.conf.d").is_dir() || at("usr/sbin/mariadbd").exists()
        {
            true => Kind::Mariadb,
            false => Kind::Mysql,
        };
        add(
            kind,
            format!("the socket {}", socket.display()),
            Some(socket),
        );
    }
    for (kind, path) in [
        (Kind::Postgres, "etc/postgresql"),
        (Kind::Mariadb, "etc/mysql/mariadb.conf.d"),
        (Kind::Mysql, "etc/mysql/mysql.conf.d"),
    ] {
        let path = at(path);
        let mut listed = std::fs::read_dir(&path).into_iter().flatten().flatten();
        if listed.next().is_some() {
            add(kind, format!("a configuration in {}", path.display()), None);
        }
    }
    if root == Path::new("/") {
        for (kind, name) in running() {
            add(kind, format!("a running {name}"), None);
        }
    }
}

/// Database servers among the processes.
fn running() -> Vec<(Kind, String)> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| {
            let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
            let kind = match name.trim() {
                "postgres" => Kind::Postgres,
                "mariadbd" => Kind::Mariadb,
                "mysqld" => Kind::Mysql,
                _ => return None,
            };
            Some((kind, name.trim().to_owned()))
        })
        .collect()
}
