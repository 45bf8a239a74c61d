//! `lifeboat repo key`.

use super::{Open, reference};
use crate::args::repo::KeyCommand;
use lifeboat_core::explain::explain;
use lifeboat_core::repo::document::{Key, KeyChanged, Keys};
use lifeboat_core::resolve::resolve;
use lifeboat_core::{Code, Error, Exit, Result};
use lifeboat_repository::keyfile::Cost;
use lifeboat_repository::lock::Mode;
use lifeboat_repository::{FileKind, Id};

pub fn run(open: &Open<'_>, command: &KeyCommand) -> Result<Exit> {
    match command {
        KeyCommand::List => list(open),
        KeyCommand::Add { new_password } => {
            let id = add(open, new_password)?;
            tell(open, KeyChanged::Added(id))
        }
        KeyCommand::Remove { key } => {
            let id = named(open, key)?;
            if open.repository.opened_by() == Some(id) {
                return Err(Error::new(
                    Code::Usage,
                    format!(
                        "key {} is the one that opens the repository now",
                        id.short()
                    ),
                )
                .hint("use another password, or replace this one: lifeboat repo key passwd"));
            }
            remove(open, &id)?;
            tell(open, KeyChanged::Removed(id))
        }
        KeyCommand::Passwd { new_password } => {
            // The new one first: killed in between, both open it.
            let id = add(open, new_password)?;
            if let Some(before) = open.repository.opened_by() {
                remove(open, &before)?;
                if !open.json() {
                    open.run.out.line(format!(
                        "removed key {}, which the old password opened",
                        before.short()
                    ));
                }
            }
            tell(open, KeyChanged::Added(id))
        }
    }
}

fn ids(open: &Open<'_>) -> Result<Vec<Id>> {
    let listed = open.repository.list(FileKind::Key).map_err(explain)?;
    Ok(listed.into_iter().map(|(id, _)| id).collect())
}

fn list(open: &Open<'_>) -> Result<Exit> {
    let mut keys = Vec::new();
    for id in ids(open)? {
        let current = open.repository.opened_by() == Some(id);
        match open.repository.key_file(&id) {
            Ok(file) => keys.push(Key::new(id, current, file)),
            Err(error) => open.warn(&error.to_string()),
        }
    }
    let listed = Keys { keys };
    open.run.answer(&listed, |out| {
        let rows = listed.keys.iter().map(|key| {
            let mark = if key.current { "*" } else { "" };
            vec![
                format!("{mark}{}", key.id.short()),
                key.user.clone(),
                key.host.clone(),
                key.created.clone(),
            ]
        });
        out.table(&["id", "user", "host", "created"], rows);
    })?;
    Ok(Exit::Done)
}

fn named(open: &Open<'_>, text: &str) -> Result<Id> {
    let all = ids(open)?;
    let mut found = all.iter().filter(|id| id.to_string().starts_with(text));
    match (found.next(), found.next()) {
        (Some(id), None) if !text.is_empty() => Ok(*id),
        (Some(_), _) => Err(Error::new(
            Code::PointAmbiguous,
            format!("{text:?} begins several keys"),
        )
        .hint("give more of the id")),
        (None, _) => Err(
            Error::new(Code::PointUnknown, format!("no key begins with {text}"))
                .hint("see what there is: lifeboat repo key list"),
        ),
    }
}

fn add(open: &Open<'_>, new_password: &str) -> Result<Id> {
    let password = resolve(&reference(new_password, "--new-password")?)?;
    let _lock = open.lock(Mode::Shared)?;
    open.repository
        .add_key(password.expose(), Cost::default(), &open.author)
        .map_err(explain)
}

fn remove(open: &Open<'_>, id: &Id) -> Result<()> {
    let _lock = open.lock(Mode::Exclusive)?;
    open.repository.delete(FileKind::Key, id).map_err(explain)
}

fn tell(open: &Open<'_>, changed: KeyChanged) -> Result<Exit> {
    open.run.answer(&changed, |out| {
        out.line(match changed {
            KeyChanged::Added(id) => format!("added key {}", id.short()),
            KeyChanged::Removed(id) => format!("removed key {}", id.short()),
        });
    })?;
    Ok(Exit::Done)
}
