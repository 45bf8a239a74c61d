//! Free space: in the stores for the next point, and on this host for a drill.

use super::finding;
use crate::amount::bytes;
use crate::condition::ConditionKind;
use crate::context::Context;
use crate::copies::PointCopy;
use crate::finding::{Finding, Severity};
use crate::name::Name;
use crate::point::{Manifest, Outcome};
use std::collections::BTreeMap;

/// Compares the free space of the stores that report it, and of the state directory, with the size
/// of the newest of these copies.
pub(super) fn examine(context: &Context, copies: &[(Name, PointCopy)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in context.config.store.keys() {
        let free = context
            .stores
            .open(name)
            .ok()
            .and_then(|store| store.store.free_bytes());
        let Some(free) = free else { continue };
        let held = copies.iter().filter(|(store, _)| store == name);
        let newest = newest(held.map(|(_, copy)| &*copy.manifest));
        let taken = newest
            .values()
            .map(|manifest| manifest.stored_bytes())
            .sum();
        findings.push(judge(
            &format!("store.{name}"),
            free,
            taken,
            "the newest point of each plan took",
            "free some there, or the next backup may find it full",
        ));
    }
    if let Ok(space) = rustix::fs::statvfs(context.state.scratch()) {
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        let newest = newest(copies.iter().map(|(_, copy)| &*copy.manifest));
        let clear = |manifest: &&Manifest| {
            let outline = context
                .state
                .catalog
                .outline(&manifest.point)
                .ok()
                .flatten();
            let clear = outline.map(|d| d.artifacts.iter().map(|a| a.bytes).sum());
            clear.unwrap_or_else(|| manifest.stored_bytes())
        };
        findings.push(judge(
            "app.state",
            free,
            newest.values().map(clear).sum(),
            "a drill of the newest point of each plan restores",
            "free some there, or let app.state be on a larger file system: drills restore below it",
        ));
    }
    findings
}

/// The newest complete point of each plan, except those taken before a restore.
fn newest<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> BTreeMap<&'a Name, &'a Manifest> {
    let mut newest: BTreeMap<&Name, &Manifest> = BTreeMap::new();
    for manifest in manifests.filter(|m| m.outcome == Outcome::Complete && !m.safety) {
        let known = newest.entry(&manifest.plan).or_insert(manifest);
        if known.point < manifest.point {
            *known = manifest;
        }
    }
    newest
}

fn judge(subject: &str, free: u64, needed: u64, what: &str, hint: &str) -> Finding {
    let text = format!("{} are free", bytes(free));
    if free > needed {
        return finding(subject, Severity::Ok, text);
    }
    Finding {
        hint: Some(hint.to_owned()),
        ..finding(
            subject,
            Severity::Warning,
            format!("only {text}, and {what} {}", bytes(needed)),
        )
    }
    .of_kind(ConditionKind::Disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_free_space_is_a_warning() {
        let judge = |free| judge("store.disk", free, 2 << 20, "it took", "free some");
        assert_eq!(judge(3 << 20).severity, Severity::Ok);
        let finding = judge(2 << 20);
        assert_eq!(finding.severity, Severity::Warning);
        assert_eq!(
            finding.message,
            "only 2.0 MiB are free, and it took 2.0 MiB"
        );
        assert_eq!(finding.hint.as_deref(), Some("free some"));
    }
}
