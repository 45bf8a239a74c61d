//! The names of objects that are being written, in `<path>/.incoming`. A name tells which process
//! writes it, so that a later process on the same host can tell which writers are gone. What
//! writers on other hosts left is recognised by its age.

use crate::StoreError;
use crate::probe::random_name;
use md5::{Digest, Md5};

/// The longest time in seconds for which a writer may send no byte of an object.
const AGE_MAX: u32 = 24 * 3600;

/// Makes a new name.
pub(super) fn name(location: &str) -> Result<String, StoreError> {
    let pid = std::process::id();
    let begun = begun(pid).unwrap_or(0);
    Ok(format!(
        "{}-{pid}-{begun}-{}",
        world(),
        random_name(location)?
    ))
}

/// Returns whether the writer of `name` is gone. `age` is the time in seconds since it last wrote.
pub(super) fn is_left_over(name: &str, age: u32) -> bool {
    if age > AGE_MAX {
        return true;
    }
    let mut parts = name.split('-');
    let (Some(of), Some(pid), Some(at)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let (Ok(pid), Ok(at)) = (pid.parse(), at.parse::<u64>()) else {
        return false;
    };
    // Without /proc, nothing is known about any process.
    let can_tell = begun(std::process::id()).is_some();
    can_tell && of == world() && begun(pid) != Some(at)
}

/// Identifies where process ids mean the same: this host since its start, and this container.
fn world() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let host = rustix::system::uname();
    let mut hash = Md5::new();
    hash.update(host.nodename().to_bytes());
    hash.update(boot.trim().as_bytes());
    hash.update(space.to_string_lossy().as_bytes());
    let hash = hash.finalize();
    hash.iter().take(6).map(|b| format!("{b:02x}")).collect()
}

/// The start time of a process in ticks; `None` if there is no such process.
fn begun(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses that may hold anything. The 22nd field is needed.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_dead_writers_are_leftovers() {
        let mine = name("x").unwrap();
        assert!(!is_left_over(&mine, 0));
        assert!(is_left_over(&mine, AGE_MAX + 1));
        let world = world();
        assert_eq!(world.len(), 12);
        // Another process had this process id before; no process has the largest.
        let before = format!("{world}-{}-1-abc", std::process::id());
        assert!(is_left_over(&before, 0));
        assert!(is_left_over(&format!("{world}-4294967295-1-abc"), 0));
        assert!(!is_left_over("0123456789ab-4294967295-1-abc", 0));
        assert!(!is_left_over("somebody's file", 0));
    }
}
