//! Paths on the same disk, as far as the kernel reports it: two partitions, volumes or file systems
//! of a disk fail together.
//!
//! Two disks in one enclosure, and two exports of one file server, count as separate.

use super::settled;
use lifeboat_repository::mounts::Mounts;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Largest number of volumes built on one another.
const LEVELS_MAX: u32 = 8;

/// Returns whether two paths, or the directories where they will be created, share a disk.
pub(super) fn shared(one: &Path, two: &Path) -> bool {
    let disks = |path: &Path| {
        let device = device(path)?;
        Some(beneath(Path::new("/sys/dev/block"), device))
    };
    match (disks(one), disks(two)) {
        (Some(one), Some(two)) => !one.is_disjoint(&two),
        _ => false,
    }
}

/// Device number of the file system that holds a path.
fn device(path: &Path) -> Option<u64> {
    let path = settled(path, true);
    let reach = Mounts::of_this_process(super::PATIENCE_AT_NAMES);
    let looked_at = path.ancestors().find_map(|path| {
        let metadata = reach.ask_anyway(path, |path| path.metadata());
        Some((path, metadata.ok()?))
    });
    let (there, metadata) = looked_at?;
    let own = metadata.dev();
    // Some file systems number each of their subvolumes, but all are mounted from one device.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let from = mounted_from(&mounts, there).filter(|from| from.starts_with("/dev/"));
    let block = from.and_then(|from| from.metadata().ok()).map(|m| m.rdev());
    Some(block.filter(|device| *device != 0).unwrap_or(own))
}

/// Device that the mount of `path` was made from. A later mount hides an earlier one.
fn mounted_from(mounts: &str, path: &Path) -> Option<PathBuf> {
    let mut best: Option<(usize, PathBuf)> = None;
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let point = before.split(' ').nth(4).map(unescaped);
        let from = after.split(' ').nth(1).map(unescaped);
        let (Some(point), Some(from)) = (point, from) else {
            continue;
        };
        let steps = Path::new(&point).components().count();
        let longer = best.as_ref().is_none_or(|(known, _)| steps >= *known);
        if longer && path.starts_with(&point) {
            best = Some((steps, from.into()));
        }
    }
    best.map(|(_, from)| from)
}

/// Decodes the kernel's mount table, in which `\040` stands for a space.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\134", "\\")
}

/// Names of the disks under a block device; its own number if there are none.
fn beneath(blocks: &Path, device: u64) -> BTreeSet<String> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let number = format!("{major}:{minor}");
    let Ok(device) = blocks.join(&number).canonicalize() else {
        return BTreeSet::from([number]);
    };
    let mut found = BTreeSet::new();
    descend(&device, LEVELS_MAX, &mut found);
    found
}

fn descend(device: &Path, levels: u32, found: &mut BTreeSet<String>) {
    // Read this before following the link: a partition's directory lies in that of its disk.
    let whole = match device.join("partition").exists() {
        true => device.parent().unwrap_or(device),
        false => device,
    };
    let slaves: Vec<PathBuf> = std::fs::read_dir(whole.join("slaves"))
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    if slaves.is_empty() || levels == 0 {
        found.extend(
            whole
                .file_name()
                .map(|name| name.to_string_lossy().into_owned()),
        );
    }
    if levels > 0 {
        for slave in slaves.iter().filter_map(|slave| slave.canonicalize().ok()) {
            descend(&slave, levels - 1, found);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]

    use super::*;

    #[test]
    fn partitions_and_volumes_lead_to_their_disks() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let make = |path: &str| std::fs::create_dir_all(root.join(path)).unwrap();
        let link = |to: &str, at: &str| {
            let at = root.join(at);
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(root.join(to), at).unwrap();
        };
        for disk in ["sda", "sdb"] {
            make(&format!("devices/{disk}/slaves"));
            for number in [1, 2] {
                let partition = format!("devices/{disk}/{disk}{number}");
                make(&partition);
                std::fs::write(root.join(&partition).join("partition"), "1\n").unwrap();
            }
        }
        make("devices/dm-0/slaves");
        link("devices/sda/sda2", "devices/dm-0/slaves/sda2");
        link("devices/sdb/sdb1", "devices/dm-0/slaves/sdb1");
        link("devices/sda/sda1", "block/8:1");
        link("devices/sda/sda2", "block/8:2");
        link("devices/sdb/sdb2", "block/8:18");
        link("devices/dm-0", "block/253:0");
        let disks = |major, minor| {
            let found = beneath(&root.join("block"), rustix::fs::makedev(major, minor));
            found.into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(disks(8, 1), "sda");
        assert_eq!(disks(8, 2), "sda");
        assert_eq!(disks(8, 18), "sdb");
        assert_eq!(disks(253, 0), "sda sdb");
        assert_eq!(disks(0, 44), "0:44");
    }

    #[test]
    fn the_mount_of_a_path_has_the_longest_path_and_comes_last() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      2 1 0:30 /sub /mnt/with\\040space rw shared:1 - btrfs /dev/sdb1 rw\n\
                      3 1 0:31 / /mnt rw - tmpfs tmpfs rw\n\
                      4 1 8:2 / /mnt rw - ext4 /dev/sda2 rw\n";
        let from = |path: &str| mounted_from(mounts, Path::new(path)).unwrap();
        assert_eq!(from("/var/x"), Path::new("/dev/sda1"));
        assert_eq!(from("/mnt/with space/a"), Path::new("/dev/sdb1"));
        assert_eq!(from("/mnt/a"), Path::new("/dev/sda2"));
        assert_eq!(from("/mntx"), Path::new("/dev/sda1"));
    }

    #[test]
    fn a_directory_shares_its_disk_with_itself_and_its_future_content() {
        let directory = tempfile::tempdir().unwrap();
        assert!(shared(directory.path(), &directory.path().join("not/yet")));
        assert!(!shared(directory.path(), Path::new("/proc")));
    }
}
