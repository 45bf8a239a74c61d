//! State that a host keeps between runs: the state directory with the signing key, the catalog of
//! the stores, locks and scratch space.
//!
//! All of it but the signing key can be rebuilt from the stores. Concurrent runs may share one.

use crate::catalog::Catalog;
use crate::config::App;
use crate::error::{Code, Error, Result};
use crate::ownership;
use crate::place;
use crate::resolve::resolve;
use crate::scratch::{self, Directory};
use crate::secret::{Reference, Scrubber, Secret};
use crate::shell::quote;
use crate::sign::{Signer, TrustedSigners};
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The state of an application on this host.
pub struct State {
    /// Signs manifests and evidence.
    pub signer: Signer,
    /// The catalog of the stores.
    pub catalog: Catalog,
    directory: PathBuf,
    /// Set if the state is temporary: the directory, removed when the value is dropped.
    _passing: Option<Directory>,
}

impl State {
    /// Opens the state directory, the signing key and the catalog, and makes what is missing.
    /// `scrubber` learns the key.
    pub fn open(app: &App, scrubber: &Scrubber) -> Result<Self> {
        let directory = app.state.clone();
        if let Some(shared) = &app.shared_state {
            open_state(shared)?;
        }
        open_state(&directory)?;
        Ok(State {
            signer: open_signer(app.signing_key.as_ref(), app.host_state(), scrubber)?,
            catalog: Catalog::open(&directory.join("catalog.db"))?,
            directory,
            _passing: None,
        })
    }

    /// A temporary state in `home`, removed when it is dropped. Nobody trusts its signing key.
    pub(crate) fn passing(home: Directory) -> Result<Self> {
        let directory = home.path().to_owned();
        for part in PARTS {
            make_private(&directory.join(part))?;
        }
        Ok(State {
            signer: Signer::generate()?,
            catalog: Catalog::open(&directory.join("catalog.db"))?,
            directory,
            _passing: Some(home),
        })
    }

    /// The directory for spools and scratch targets, 0700.
    pub fn scratch(&self) -> PathBuf {
        self.directory.join("scratch")
    }

    /// Removes what killed runs left in scratch directories. Returns what cannot be removed.
    pub fn sweep(&self) -> Vec<crate::removal::Stays> {
        scratch::sweep(&self.scratch()).stays
    }

    /// A directory for data worth keeping on this host, with mode 0700. It is made if missing.
    pub fn private_directory(&self, parts: &[&str]) -> Result<PathBuf> {
        let mut path = self.directory.clone();
        for part in parts {
            path.push(part);
            make_private(&path)?;
        }
        Ok(path)
    }

    /// Such a directory, if it is there: whoever only looks makes none.
    pub fn existing_directory(&self, parts: &[&str]) -> Option<PathBuf> {
        let path = parts
            .iter()
            .fold(self.directory.clone(), |path, part| path.join(part));
        path.is_dir().then_some(path)
    }

    /// The file that lists the trusted signers, for `ssh-keygen -Y verify`.
    pub fn allowed_signers(&self) -> PathBuf {
        self.directory.join("allowed_signers")
    }

    /// Writes the list of trusted signers to a file, so that stock tools can check our signatures.
    pub(crate) fn keep_allowed_signers(&self, trusted: &TrustedSigners, app: &str) -> Result<()> {
        let lines = trusted.lines_for(app).into_iter();
        let text: String = lines.map(|line| line + "\n").collect();
        let path = self.allowed_signers();
        if crate::plain::read(&path).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        place::replace_file(&mut text.as_bytes(), &path, 0o644)
            .map(|_| ())
            .map_err(|e| Error {
                code: Code::State,
                ..e
            })
    }

    /// Takes a lock of this host. It is held until the value is dropped or the process ends,
    /// however it ends. `None` if another run holds it.
    pub fn lock(&self, name: &str) -> Result<Option<File>> {
        lock(&self.directory, name)
    }

    /// Makes a state directory unless it exists, and nothing in it but the places of locks and
    /// scratch space.
    pub fn prepare(directory: &Path) -> Result<()> {
        open_state(directory)
    }
}

/// Takes a lock of this host in a state directory: see [`State::lock`].
pub fn lock(directory: &Path, name: &str) -> Result<Option<File>> {
    let path = directory.join("locks").join(format!("{name}.lock"));
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|e| state_error(&path, &e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(state_error(&path, &error.into())),
    }
}

/// The directories that every state directory has.
const PARTS: [&str; 2] = ["locks", "scratch"];

fn state_error(path: &Path, error: &std::io::Error) -> Error {
    Error::new(
        Code::State,
        format!("the state directory cannot be used: {}", path.display()),
    )
    .cause(error)
    .hint(
        "make it writable for the user that runs lifeboat, or set app.state to another directory; in a unit of systemd, make the directory, and see `lifeboat init --systemd`",
    )
}

/// Makes the state directory unless it exists. Refuses one that others can write to or replace:
/// whoever writes there can sign, and decides what is trusted.
fn open_state(state: &Path) -> Result<()> {
    let safe = || {
        ownership::private_directory(state, &["locks"]).map_err(|error| Error {
            message: format!("the state directory {}", error.message),
            ..error
        })
    };
    safe()?;
    make_private(state)?;
    for part in PARTS {
        make_private(&state.join(part))?;
    }
    // Another run may have made it meanwhile.
    safe()
}

/// Makes a directory for this user alone, unless it exists.
fn make_private(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| state_error(path, &error))?;
    rustix::fs::access(
        path,
        rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
    )
    .map_err(|error| state_error(path, &error.into()))
}

fn open_signer(reference: Option<&Reference>, state: &Path, scrubber: &Scrubber) -> Result<Signer> {
    if let Some(reference) = reference {
        let secret = resolve(reference)?;
        scrubber.learn(&secret);
        return Signer::from_openssh(&secret);
    }
    let path = state.join("signing.key");
    // Made for this user alone; an access control list shows as rights of the group.
    let mode = std::fs::metadata(&path).map_or(0, |metadata| metadata.mode());
    if mode & 0o077 != 0 {
        let path = quote(&path.to_string_lossy());
        let message = format!("the signing key {path} is open to other users");
        return Err(Error::new(Code::State, message).hint(format!(
            "they can sign as this host: find out who could read it, then run `setfacl -b {path}; chmod 600 {path}`, or remove it, to have another made"
        )));
    }
    match crate::plain::read(&path) {
        Ok(bytes) => Signer::from_openssh(&Secret::new(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let signer = Signer::generate()?;
            let text = signer.to_openssh()?;
            match place::write_file(&mut text.as_bytes(), &path, 0o600) {
                Ok(_) => Ok(signer),
                // Another run may have made one in between: that one holds.
                Err(error) => match crate::plain::read(&path) {
                    Ok(bytes) => Signer::from_openssh(&Secret::new(bytes)),
                    Err(_) => Err(Error {
                        code: Code::State,
                        ..error
                    }),
                },
            }
        }
        Err(error) => Err(state_error(&path, &error)),
    }
}
