//! A file system that never answers, like one whose server is gone.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A silent mount. When it is dropped, all waiting calls fail.
pub struct Silent {
    at: PathBuf,
    /// Nobody reads requests from it.
    _device: File,
}

impl Silent {
    /// Mounts it; `None` if there is no `/dev/fuse`, or mounting is not permitted.
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
