//! Host keys in a `known_hosts` file.

use super::Host;
use crate::error::{Code, Error, Result};
use crate::scratch::Directory;
use crate::transport::{Command, Transport};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// The text of a `known_hosts` file in which a host has these keys and no others; `None` if it has one of them
/// already. Nothing is written there.
pub fn with_keys(host: &Host, file: &Path, keys: &[String]) -> Result<Option<Vec<u8>>> {
    let name = host.known_as()?;
    let cannot = |error: std::io::Error| {
        let message = format!("the host keys in {} cannot be read", file.display());
        Error::new(Code::Target, message).cause(error)
    };
    let text = crate::plain::read(file).map_err(cannot)?;
    // A copy, since the tool that knows names that are hashed changes the file itself.
    let directory = Directory::create(&std::env::temp_dir(), "known-hosts")?;
    let copy = directory.path().join("known_hosts");
    let opened = OpenOptions::new().write(true).create_new(true).open(&copy);
    opened
        .and_then(|mut file| file.write_all(&text))
        .map_err(cannot)?;
    let keygen = |option: &str| {
        let words = Command::new("ssh-keygen")
            .args([option, &name, "-f"])
            .arg(&copy);
        Transport::Local.output(&words)
    };
    let known = keygen("-F")?;
    let known = String::from_utf8_lossy(&known.stdout);
    if keys
        .iter()
        .any(|key| known.lines().any(|line| line.contains(key.as_str())))
    {
        return Ok(None);
    }
    if known
        .lines()
        .any(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let removed = keygen("-R")?;
        if !removed.status.success() {
            let message = format!("the old host key of {name} cannot be removed");
            return Err(Error::new(Code::Target, message).cause(removed.stderr));
        }
    }
    let mut text = crate::plain::read(&copy).map_err(cannot)?;
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    for key in keys {
        text.extend_from_slice(format!("{name} {key}\n").as_bytes());
    }
    Ok(Some(text))
}
