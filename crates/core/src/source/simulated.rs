//! Sources that a test puts in the place of commands.

use super::{ArtifactSpec, CaptureContext, Captured, Live, Source};
use crate::config::SourceKind;
use crate::error::Result;
use crate::finding::Finding;
use crate::name::{Extension, Name};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// Writes the content of a source, and says what it captured.
pub(crate) type Capture = dyn Fn(&mut dyn Write) -> Result<Captured> + Send + Sync;

static COMMANDS: Mutex<BTreeMap<String, Arc<Capture>>> = Mutex::new(BTreeMap::new());

/// The program that stands for a simulated source; its first argument is the name of the source.
pub(crate) const PROGRAM: &str = "simulated";

/// From now on, the source `simulated NAME` is captured by this.
pub(crate) fn put_at(name: &str, capture: Arc<Capture>) {
    let mut commands = COMMANDS.lock().unwrap_or_else(PoisonError::into_inner);
    commands.insert(name.to_owned(), capture);
}

/// Forgets the sources whose names begin so.
pub(crate) fn clear(prefix: &str) {
    let mut commands = COMMANDS.lock().unwrap_or_else(PoisonError::into_inner);
    commands.retain(|name, _| !name.starts_with(prefix));
}

pub(super) fn at(kind: &SourceKind) -> Option<Box<dyn Source>> {
    let SourceKind::Command(config) = kind else {
        return None;
    };
    let [program, name] = config.command.as_slice() else {
        return None;
    };
    let commands = COMMANDS.lock().unwrap_or_else(PoisonError::into_inner);
    let capture = commands.get(name).filter(|_| program == PROGRAM)?;
    Some(Box::new(Simulated(Arc::clone(capture))))
}

struct Simulated(Arc<Capture>);

impl Source for Simulated {
    fn artifacts(&self) -> Vec<ArtifactSpec> {
        vec![ArtifactSpec {
            name: Name::own("output"),
            extension: Extension::own("json"),
        }]
    }

    fn live(&self) -> Live {
        Live::Nowhere("it is simulated")
    }

    fn capture(&self, _: &str, output: &mut dyn Write, _: &CaptureContext<'_>) -> Result<Captured> {
        (self.0)(output)
    }

    fn examine(&self, _: &str, _: &CaptureContext<'_>) -> Vec<Finding> {
        Vec::new()
    }
}
