//! Databases that live on a machine, as they are on one that was made of its snapshot.

use super::Machine;
use crate::config::{ServerConfig, SourceKind};
use crate::error::{Code, Error, Result};
use crate::secret::Scrubber;
use crate::source::{Placed, live_database};
use crate::sqlite;
use crate::transport::{Copy, Transport};
use std::path::{Path, PathBuf};

/// A database on a machine. What was copied for it is removed with this value.
pub struct Held {
    /// Its place.
    pub placed: Placed,
    _copy: Option<sqlite::Spool>,
}

impl Held {
    /// Whether it answers by now.
    pub fn answers(&self, scrubber: &Scrubber) -> Result<()> {
        match &self.placed {
            Placed::Database(database) => database.query("SELECT 1", scrubber).map(|_| ()),
            _ => Ok(()),
        }
    }
}

/// The database of a source on a machine that was made of a snapshot of `of`.
pub fn held(kind: &SourceKind, machine: &Machine, of: &str, scratch: &Path) -> Result<Held> {
    if let Some(why) = kind.is_out_of_sight(machine.path.is_some()) {
        let message = format!("it cannot be asked on machine {}", machine.name);
        return Err(Error::new(Code::Configuration, message).cause(why));
    }
    if let SourceKind::Sqlite(config) = kind {
        return file(&config.path, machine, of, scratch);
    }
    let copy = copy(machine).ok_or_else(|| {
        let message = format!("it is not known where machine {} answers", machine.name);
        Error::new(Code::Target, message)
    })?;
    let mut kind = kind.clone();
    match &mut kind {
        SourceKind::Postgres(postgres) => lead(&mut postgres.server, copy),
        SourceKind::Mariadb(server) | SourceKind::Mysql(server) => lead(server, copy),
        _ => {}
    }
    let database = live_database(&kind).ok_or_else(|| {
        let message = format!("it is no database of machine {}", machine.name);
        Error::new(Code::Configuration, message)
    })??;
    // The client on the new machine would ask the one that is live.
    if kind.host_by_ssh().is_some() && !database.is_at_hand() {
        let message = format!("it cannot be asked on machine {}", machine.name);
        return Err(Error::new(Code::Configuration, message)
            .cause("its server is not on that machine, but where its host or service leads")
            .hint(
                "let the source name the server as seen from the machine: a socket, or localhost",
            ));
    }
    Ok(Held {
        placed: Placed::Database(database),
        _copy: None,
    })
}

/// How commands are run on a machine where the programs of this database run on the original; `None` if that is
/// not over SSH.
pub fn login(kind: &SourceKind, machine: &Machine) -> Option<Transport> {
    let mut place = kind.host_by_ssh()?.clone();
    place.instead = Some(copy(machine)?);
    Some(place.transport())
}

/// The machine, as SSH reaches it.
fn copy(machine: &Machine) -> Option<Copy> {
    Some(Copy {
        address: machine.address.clone()?,
        host_keys: machine.host_keys.clone(),
    })
}

/// Lets a server be reached on a copy of its host.
fn lead(server: &mut ServerConfig, copy: Copy) {
    match server.place.via {
        Some(_) => server.place.instead = Some(copy),
        None => server.host = Some(copy.address),
    }
}

/// A copy of a database's file, as the machine has it and nobody else. It is taken as for a backup, since the
/// snapshot caught it in the midst of its work.
fn file(path: &Path, machine: &Machine, of: &str, scratch: &Path) -> Result<Held> {
    let root = PathBuf::from(machine.path.as_deref().unwrap_or_default());
    let within = path.strip_prefix(of).or_else(|_| path.strip_prefix("/"));
    let there = root.join(within.unwrap_or(path));
    sqlite::must_exist(&there)?;
    // A link of the machine leads to files of this host, which are live.
    let found = |path: &Path| {
        let resolved = path.canonicalize();
        resolved.map_err(|error| Error::io("a file of the machine cannot be found", &error))
    };
    if !found(&there)?.starts_with(found(&root)?) {
        let message = format!("{} leads out of machine {}", there.display(), machine.name);
        return Err(Error::new(Code::NotProved, message)
            .hint("let the source name the file itself, and no link to it"));
    }
    let copy = sqlite::Spool::new(scratch);
    sqlite::backup(&there, copy.path())?;
    Ok(Held {
        placed: Placed::File(copy.path().to_owned()),
        _copy: Some(copy),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::machine::State;
    use serde_json::json;

    #[test]
    fn a_server_that_a_machine_only_leads_to_is_not_asked_there() {
        let machine = Machine {
            id: "m".to_owned(),
            name: "m".to_owned(),
            state: State::Ready,
            address: Some("192.0.2.1".to_owned()),
            path: None,
            host_keys: Vec::new(),
        };
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("url");
        let refused = |kind: &str, url: &str| {
            crate::place::replace_file(&mut url.as_bytes(), &path, 0o600).unwrap();
            let source = json!({ "kind": kind, "url": format!("file:{}", path.display()), "via": "ssh:web" });
            let kind: SourceKind = serde_json::from_value(source).unwrap();
            held(&kind, &machine, "web", scratch.path()).err()
        };
        for (kind, url) in [
            ("postgres", "postgres://u@db.internal/d"),
            ("postgres", "postgres://u@localhost/d?hostaddr=10.0.0.7"),
            ("postgres", "postgres://u@/d?service=live"),
            ("postgres", "postgres://u@127.0.0.1,db.internal/d"),
            ("mariadb", "mariadb://u@db.internal/d"),
        ] {
            let error = refused(kind, url).unwrap_or_else(|| panic!("{url} is asked"));
            let cause = error.cause.unwrap_or_default();
            assert!(cause.contains("is not on that machine"), "{url}: {cause}");
        }
        for (kind, url) in [
            ("postgres", "postgres://u@127.0.0.1/d"),
            ("postgres", "postgres://u@/d?host=/run/postgresql"),
            ("mariadb", "mariadb://u@localhost/d"),
        ] {
            let error = refused(kind, url).map(|error| format!("{error:?}"));
            assert_eq!(error, None, "{url}");
        }
    }
}
