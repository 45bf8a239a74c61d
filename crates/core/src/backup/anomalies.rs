//! Warnings of what differs from the points before more than it should. They never fail a backup.

use super::Run;
use crate::anomaly::{self, Copy, Watch, measure};
use crate::fingerprint::{Entries, FileEntry, FileKind, Fingerprint, Inventory};
use crate::measures::{self, Noted};
use crate::point::{Details, DetailsArtifact, FileChanges};

impl Run<'_> {
    /// Compares what was captured with the complete points of the plan before it that are noted
    /// here, and warns.
    pub(super) fn look_for_anomalies(&mut self) {
        let stores = self.stores.iter().filter(|s| s.failed.is_none());
        let stores = stores.map(|receiving| &receiving.store);
        let noted = measures::noted(self.context, self.plan_name, stores);
        self.note_changes(&noted);
        let before = measures::measured_of(self.context, &noted);
        let stores = self.stores.iter().filter(|s| s.failed.is_none());
        let copies = stores.map(|s| Copy {
            store: &s.store.name,
            sources: &self.sources,
            artifacts: match s.deposit {
                // It is known only when the snapshot is there, and says nothing anyway.
                Some(_) => &[],
                None => &s.artifacts,
            },
        });
        let point = measure(copies, Some(&self.details));
        let watch = Watch::of(&self.context.config, self.plan);
        let judged = anomaly::judge(&before, &point, &watch);
        let more = judged.unlisted;
        let more = (more > 0).then(|| format!("… and {more} more anomalies"));
        let texts = judged.anomalies.iter().map(anomaly::Anomaly::text);
        for text in texts.chain(more) {
            self.context.reporter.warn(&text);
            self.details.warnings.push(text);
        }
    }

    /// Notes what became of the files of each tree since the newest complete point of the plan, if
    /// the catalog has the inventory of that point.
    fn note_changes(&mut self, noted: &Noted) {
        let Some((point, _)) = noted.last_key_value() else {
            return;
        };
        let catalog = &self.context.state.catalog;
        let Some(outline) = catalog.outline(point).ok().flatten() else {
            return;
        };
        // The inventories are read only if some tree differs.
        let mut whole: Option<Option<Details>> = None;
        for artifact in &mut self.details.artifacts {
            let known = outline.artifact(&artifact.source, &artifact.name);
            artifact.changes = known.and_then(|known| {
                same_content(known, artifact).or_else(|| {
                    let whole = whole.get_or_insert_with(|| catalog.details(point).ok().flatten());
                    let before = whole.as_ref()?.artifact(&artifact.source, &artifact.name)?;
                    Some(changes(entries(before)?, entries(artifact)?))
                })
            });
        }
    }
}

/// No changes, if the fingerprints of two trees say that their files are equal.
fn same_content(before: &DetailsArtifact, now: &DetailsArtifact) -> Option<FileChanges> {
    match (&before.proof.fingerprint, &now.proof.fingerprint) {
        (Fingerprint::Files(before), Fingerprint::Files(now))
            if (before.files, &before.content) == (now.files, &now.content) =>
        {
            Some(FileChanges {
                before: before.files,
                ..FileChanges::default()
            })
        }
        _ => None,
    }
}

fn entries(artifact: &DetailsArtifact) -> Option<&Entries> {
    match &artifact.proof.inventory {
        Inventory::Files { entries } => Some(entries),
        Inventory::None | Inventory::Database(_) => None,
    }
}

/// Counts what became of the files of a tree.
fn changes(before: &Entries, now: &Entries) -> FileChanges {
    let mut changes = FileChanges::default();
    let is_file = |entry: &&FileEntry| entry.kind == FileKind::File;
    before.beside(now, |a, b| match (a.filter(is_file), b.filter(is_file)) {
        (Some(a), Some(b)) => {
            changes.before += 1;
            changes.changed += u64::from((a.bytes, &a.hash) != (b.bytes, &b.hash));
        }
        (Some(_), None) => {
            changes.before += 1;
            changes.removed += 1;
        }
        (None, Some(_)) => changes.added += 1,
        (None, None) => {}
    });
    changes
}
