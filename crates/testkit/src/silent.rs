//! A file system that never answers, as one of a server that is gone.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

/// It is mounted until this is dropped; then whoever waits for it gets an error.
pub struct Silent {
    at: PathBuf,
    /// Nobody reads the questions from it.
    _device: File,
}

impl Silent {
    /// Mounts it; `None` where there is no `/dev/fuse`, or no right to mount.
    pub fn mount(at: &Path) -> Option<Silent> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let device = device.ok()?;
        let options = "fd=0,rootmode=40000,user_id=0,group_id=0";
        let mounted = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o", options, "silent"])
            .arg(at)
            .stdin(device.try_clone().unwrap())
            .output()
            .unwrap();
        mounted.status.success().then(|| Silent {
            at: at.to_owned(),
            _device: device,
        })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}
