//! Makes restore points that are signed and whole, and hold something else than was captured.
//!
//! The proof of one point is put together with the stored objects of another, by the program's own
//! library and with the application's own key. Every hash in the result is right; only what comes
//! back is not what the proof says. That is what a drill is there to notice.

use crate::support::App;
use lifeboat_core::clock::Clock;
use lifeboat_core::config::Config;
use lifeboat_core::context::Context;
use lifeboat_core::copies::{self, PointCopy};
use lifeboat_core::deliver;
use lifeboat_core::name::StoredKey;
use lifeboat_core::observe::Reporter;
use lifeboat_core::point::{Details, PointId, manifest_key};
use lifeboat_core::stores::OpenStore;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The application, opened in this process.
pub fn open(app: &App) -> Context {
    let config = Config::load(Some(&app.path("lifeboat.toml"))).unwrap();
    Context::open(config, Clock::System, Reporter::silent(), &[]).unwrap()
}

/// One point as one store holds it.
pub struct Held {
    store: OpenStore,
    context: Context,
    pub copy: PointCopy,
    pub details: Details,
}

impl Held {
    pub fn read(app: &App, store: &str, point: &str) -> Held {
        let context = open(app);
        let store = context.stores.open(store).unwrap();
        let copy = copies::read(&store, &PointId::parse(point).unwrap()).unwrap();
        let details = copies::read_details(&store, &copy.manifest).unwrap();
        Held {
            store,
            context,
            copy,
            details,
        }
    }

    /// Gives this point the stored objects of another, and keeps its own proofs.
    pub fn with_objects_of(mut self, other: &Held) -> Held {
        self.copy
            .manifest
            .artifacts
            .clone_from(&other.copy.manifest.artifacts);
        for artifact in &mut self.details.artifacts {
            let there = other
                .details
                .artifact(&artifact.source, &artifact.name)
                .unwrap();
            artifact.bytes = there.bytes;
            artifact.sha256.clone_from(&there.sha256);
        }
        self
    }

    /// Signs it as it is now, and puts it where it was.
    pub fn commit(mut self) {
        self.copy.manifest.details = deliver::put_details(&self.store, &self.details).unwrap();
        copies::commit(&self.context.state.signer, &self.store, &self.copy.manifest).unwrap();
    }
}

/// Has the manifest of a point say that a source's artifact is under another key; the one before.
pub fn move_artifact(app: &App, store: &str, point: &str, source: &str, key: &str) -> String {
    let context = open(app);
    let store = context.stores.open(store).unwrap();
    let mut manifest = copies::read(&store, &PointId::parse(point).unwrap())
        .unwrap()
        .manifest;
    let mut artifacts = manifest.artifacts.iter_mut();
    let artifact = artifacts.find(|a| a.source == source).unwrap();
    let was = std::mem::replace(&mut artifact.key, StoredKey::parse(key).unwrap());
    copies::commit(&context.state.signer, &store, &manifest).unwrap();
    was.into()
}

/// Replaces a signed document at `path` by what `change` makes of it, signed with the application's
/// own key. What it says is not looked at.
pub fn change(app: &App, path: &Path, change: impl FnOnce(&mut Value)) {
    let mut document = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut document);
    let bytes = lifeboat_core::document::to_json(&document).unwrap();
    let signature = open(app).state.signer.sign(&bytes).unwrap();
    std::fs::write(format!("{}.sig", path.display()), signature).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Where a local store in `{root}/store` keeps the manifest of a point.
pub fn manifest_path(app: &App, point: &str) -> PathBuf {
    app.path("store")
        .join(manifest_key(&PointId::parse(point).unwrap()))
}
