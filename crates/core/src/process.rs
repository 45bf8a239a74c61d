//! A permanent name for a process: its id, its start and the boot it runs in. A process id alone is
//! reused.

use crate::error::{Code, Error, Result};
use serde::{Deserialize, Serialize};

/// A process of some host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessName {
    /// Its id.
    pub pid: u32,
    /// Ticks from boot to its start.
    pub started: u64,
    /// The boot it runs in.
    pub boot: String,
}

impl ProcessName {
    /// This process.
    pub fn this() -> Result<Self> {
        let pid = std::process::id();
        let unknown = || Error::new(Code::State, "this process cannot be found under /proc");
        Ok(ProcessName {
            pid,
            started: started(pid).ok_or_else(unknown)?,
            boot: boot().ok_or_else(unknown)?,
        })
    }

    /// Returns true if it is still running on this host.
    pub fn is_alive(&self) -> bool {
        boot().is_none_or(|boot| boot == self.boot) && started(self.pid) == Some(self.started)
    }

    /// Returns true if both belong to the same boot of the same machine.
    pub fn same_boot(&self, other: &ProcessName) -> bool {
        self.boot == other.boot
    }
}

fn boot() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// Field 22 of `/proc/PID/stat`; the name before it may hold spaces and parentheses.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    let state = after_name.split_whitespace().next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    after_name.split_whitespace().nth(19)?.parse().ok()
}
