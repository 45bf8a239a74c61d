//! Units, sites, certificates and database servers of the host.

use super::database::Kind;
use super::environment::{Environment, text_of};
use super::{Found, Server, Unit};
use std::collections::BTreeMap;
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

/// Finds units that somebody made on this host, and the environment files of units that run an
/// application.
pub(super) fn units(found: &mut Found, environments: &mut Vec<Environment>) {
    for path in files(&found.root.join("etc/systemd/system")) {
        // A link is an enabled unit of a package.
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
        // What `init --systemd` wrote, with the secrets of Lifeboat: they are made again, and a live
        // restore need not stop them.
        if crate::units::is_one(&name) {
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

/// Finds configurations of nginx and Apache, and cron tables.
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
    let postgres = at("var/run/postgresql");
    let entries = std::fs::read_dir(&postgres).into_iter().flatten().flatten();
    let mut sockets: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    sockets.sort();
    for server in sockets.iter().filter_map(|path| postgres_at(path)) {
        add(found, server);
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
        add(found, mysql_at(kind, &socket));
    }
    if root == Path::new("/") {
        let table = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
        listening(&table, &owners())
            .into_iter()
            .filter(|server| server.socket.as_ref().is_some_and(|socket| socket.exists()))
            .for_each(|server| add(found, server));
    }
    let seen = |kind, seen: String| Server {
        kind,
        seen,
        socket: None,
        port: None,
    };
    for (kind, path) in [
        (Kind::Postgres, "etc/postgresql"),
        (Kind::Mariadb, "etc/mysql/mariadb.conf.d"),
        (Kind::Mysql, "etc/mysql/mysql.conf.d"),
    ] {
        let path = at(path);
        let mut listed = std::fs::read_dir(&path).into_iter().flatten().flatten();
        if listed.next().is_some() {
            add(
                found,
                seen(kind, format!("a configuration in {}", path.display())),
            );
        }
    }
    if root == Path::new("/") {
        for (kind, name) in running() {
            add(found, seen(kind, format!("a running {name}")));
        }
    }
}

/// Adds a server unless its socket is known already or, if no socket was seen, its kind.
fn add(found: &mut Found, server: Server) {
    let place = |server: &Server| {
        let socket = server.socket.as_ref()?;
        Some((
            socket.canonicalize().unwrap_or_else(|_| socket.clone()),
            server.port,
        ))
    };
    let own = place(&server);
    let mut known = found
        .servers
        .iter()
        .filter(|known| known.kind == server.kind);
    if !known.any(|known| own.is_none() || place(known) == own) {
        found.servers.push(server);
    }
}

/// The server of a socket that has PostgreSQL's form of name: `.s.PGSQL.5432`.
fn postgres_at(socket: &Path) -> Option<Server> {
    let name = socket.file_name()?.to_str()?;
    let port: u16 = name.strip_prefix(".s.PGSQL.")?.parse().ok()?;
    Some(Server {
        kind: Kind::Postgres,
        seen: format!("the socket {}", socket.display()),
        socket: socket.parent().map(Path::to_owned),
        port: (port != 5432).then_some(port),
    })
}

fn mysql_at(kind: Kind, socket: &Path) -> Server {
    Server {
        kind,
        seen: format!("the socket {}", socket.display()),
        socket: Some(socket.to_owned()),
        port: None,
    }
}

/// Finds database servers that listen on a socket, by the table of `/proc/net/unix` and the
/// processes that own the sockets.
fn listening(table: &str, owners: &BTreeMap<u64, Kind>) -> Vec<Server> {
    /// `SO_ACCEPTCON`: the socket listens.
    const ACCEPTS: &str = "00010000";
    let mut servers = Vec::new();
    for line in table.lines() {
        let mut fields = line.split_ascii_whitespace().skip(3);
        let (flags, inode) = (fields.next(), fields.nth(2));
        // A path may contain spaces, and is the last field.
        let path = inode.and_then(|inode| line.split_once(&format!(" {inode} ")));
        let (Some(ACCEPTS), Some(inode), Some((_, path))) = (flags, inode, path) else {
            continue;
        };
        let path = Path::new(path.trim_start());
        let owner = inode.parse().ok().and_then(|inode: u64| owners.get(&inode));
        servers.extend(match (postgres_at(path), owner) {
            (Some(server), _) => Some(server),
            // Dump programs do not speak the X protocol.
            (None, Some(kind @ (Kind::Mariadb | Kind::Mysql)))
                if path.is_absolute() && !path.ends_with("mysqlx.sock") =>
            {
                Some(mysql_at(*kind, path))
            }
            _ => None,
        });
    }
    servers.sort_by(|a, b| a.seen.cmp(&b.seen));
    servers
}

/// Finds the sockets of database servers, by inode, as far as this user may look.
fn owners() -> BTreeMap<u64, Kind> {
    let mut owners = BTreeMap::new();
    for (kind, process) in processes() {
        let files = std::fs::read_dir(process.join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        for target in files.filter_map(|file| std::fs::read_link(file.path()).ok()) {
            let target = target.to_string_lossy();
            let inode = target
                .strip_prefix("socket:[")
                .and_then(|rest| rest.strip_suffix(']'));
            owners.extend(
                inode
                    .and_then(|inode| inode.parse().ok())
                    .map(|inode| (inode, kind)),
            );
        }
    }
    owners
}

/// Finds the processes that are database servers, with their directories below `/proc`.
fn processes() -> Vec<(Kind, PathBuf)> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let kind = |process: PathBuf| {
        let name = std::fs::read_to_string(process.join("comm")).ok()?;
        let kind = match name.trim() {
            "postgres" => Kind::Postgres,
            "mariadbd" => Kind::Mariadb,
            "mysqld" => Kind::Mysql,
            _ => return None,
        };
        Some((kind, process))
    };
    processes.filter_map(|entry| kind(entry.path())).collect()
}

/// Returns the kinds of database server that run, once each.
fn running() -> BTreeMap<Kind, &'static str> {
    let name = |kind| match kind {
        Kind::Mariadb => "mariadbd",
        Kind::Mysql => "mysqld",
        _ => "postgres",
    };
    processes()
        .into_iter()
        .map(|(kind, _)| (kind, name(kind)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_on_unusual_sockets_are_found() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path
0000000000000001: 00000002 00000000 00010000 0001 01 11 /tmp/my servers/.s.PGSQL.5433
0000000000000002: 00000003 00000000 00000000 0001 03 12 /tmp/my servers/.s.PGSQL.5433
0000000000000003: 00000002 00000000 00010000 0001 01 13 /srv/db/my.sock
0000000000000004: 00000002 00000000 00010000 0001 01 14 /srv/db/mysqlx.sock
0000000000000005: 00000002 00000000 00010000 0001 01 15 /run/other.sock
0000000000000006: 00000002 00000000 00010000 0001 01 16 @/srv/abstract
0000000000000007: 00000003 00000000 00000000 0001 03 17
";
        let owners = [
            (13, Kind::Mysql),
            (14, Kind::Mysql),
            (16, Kind::Mysql),
            (11, Kind::Postgres),
        ];
        let found = listening(table, &owners.into());
        let shown: Vec<_> = found
            .iter()
            .map(|s| (s.kind, s.socket.as_deref(), s.port))
            .collect();
        let socket = |path| Some(Path::new(path));
        assert_eq!(
            shown,
            [
                (Kind::Mysql, socket("/srv/db/my.sock"), None),
                (Kind::Postgres, socket("/tmp/my servers"), Some(5433)),
            ]
        );
        let mut all = Found::default();
        found
            .iter()
            .chain(&found)
            .for_each(|server| add(&mut all, server.clone()));
        assert_eq!(all.servers, found);
    }
}
