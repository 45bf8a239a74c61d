//! A Debian to install packages in: the bare one that `scripts/tools` made, with a file system over it
//! that takes what is written and goes with the value. systemd is installed there, and runs when asked to.

use crate::s3::tool;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Mounts the bare Debian at `$1`, starts systemd in it after a line of input, and ends with its input.
/// systemd has namespaces of its own, a control group that is the root of what it sees, and no way to the
/// settings of the kernel. What fails is said on standard error.
const HOLD: &str = r#"set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
root=/mnt/root
mkdir /mnt/upper /mnt/work /mnt/control $root
mount -t overlay -o lowerdir="$1",upperdir=/mnt/upper,workdir=/mnt/work overlay $root
mount -t proc proc $root/proc
mount -t tmpfs -o mode=755 tmpfs $root/run
echo ready
read -r _ || exit 0
mount -t cgroup2 cgroup2 /mnt/control
group=/mnt/control/lifeboat-test-$$
mkdir $group
sh -c 'echo 0 >"$1/cgroup.procs"
exec setpriv --pdeathsig KILL unshare --mount --pid --uts --ipc --cgroup --fork --kill-child sh -euc "$2"' sh $group '
root=/mnt/root
read -r process _ </proc/self/stat
mount -t proc proc $root/proc
mount --bind $root/proc/sys $root/proc/sys
mount -o remount,ro,bind $root/proc/sys
mount -t sysfs -o ro sysfs $root/sys
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs $root/dev
for device in null zero full random urandom tty; do
    touch $root/dev/$device
    mount --bind /dev/$device $root/dev/$device
done
mkdir $root/dev/pts $root/dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts $root/dev/pts
ln -s pts/ptmx $root/dev/ptmx
mount -t tmpfs -o mode=1777 tmpfs $root/dev/shm
echo "$process"
exec chroot $root env -i container=test PATH=/usr/sbin:/usr/bin /lib/systemd/systemd --system --log-target=journal' &
read -r _ || true
kill -KILL $!
wait
# What ran in it ends a little later.
for _ in 1 2 3 4 5 6 7 8 9 10; do
    find $group -depth -type d -exec rmdir {} + 2>/dev/null && break
    sleep 0.1
done"#;

/// Longest time that systemd takes to start.
const BOOT: Duration = Duration::from_secs(60);

/// The Debian. Only root can make one.
pub struct Debian {
    holder: Child,
    said: BufReader<ChildStdout>,
    /// The process of systemd, if it was started.
    systemd: Option<String>,
}

impl Debian {
    /// Lays one over the bare Debian.
    ///
    /// # Panics
    /// Panics if it cannot be mounted; the message says why.
    pub fn lay() -> Self {
        let bare = tool("debian").canonicalize().unwrap();
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", HOLD, "sh"])
            .arg(bare)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(holder.stdout.take().unwrap());
        let mut debian = Debian {
            holder,
            said,
            systemd: None,
        };
        assert_eq!(
            debian.hear().as_deref(),
            Ok("ready"),
            "no Debian can be mounted here"
        );
        debian
    }

    /// The next line that the holder says, or why it ended.
    fn hear(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut why = String::new();
            let _ = self.holder.stderr.take().unwrap().read_to_string(&mut why);
            return Err(why);
        }
        Ok(line.trim_end().to_owned())
    }

    /// Starts systemd, and waits until it has started everything. An error says why there can be none, as
    /// where control groups cannot be mounted. Nothing can be `put` from then on.
    ///
    /// # Panics
    /// Panics if it starts and does not come up.
    pub fn boot(&mut self) -> Result<(), String> {
        let start = self.holder.stdin.as_mut().unwrap().write_all(b"boot\n");
        start.map_err(|error| error.to_string())?;
        self.systemd = Some(self.hear()?);
        let begun = Instant::now();
        loop {
            let mut state = self.command("systemctl", &["is-system-running", "--wait"]);
            let state = state.output().unwrap();
            let said = String::from_utf8_lossy(&state.stdout).into_owned();
            if ["running\n", "degraded\n"].contains(&said.as_str()) {
                return Ok(());
            }
            assert!(begun.elapsed() < BOOT, "systemd does not come up: {said}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// A program of this machine in the mounts, with the root of this process, which may be no root of
    /// mounts; not started.
    fn beside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.holder.id()))
            .args(["--mount", "--root"])
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// A program of the Debian in it, as root with nothing of this environment; not started.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = match &self.systemd {
            None => {
                let mut command = self.beside("chroot");
                command.arg("/mnt/root");
                command
            }
            Some(process) => {
                let mut command = Command::new("nsenter");
                command
                    .arg(format!("--target={process}"))
                    .args([
                        "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--root", "--wd",
                    ])
                    .stdin(Stdio::null());
                command
            }
        };
        command
            .arg(program)
            .args(args)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Copies a file of this machine to a path in it.
    ///
    /// # Panics
    /// Panics if it cannot be copied.
    pub fn put(&self, file: &Path, to: &str) {
        let to = format!("/mnt/root{to}");
        let copied = self
            .beside("install")
            .args(["-D"])
            .arg(file)
            .arg(to)
            .status();
        assert!(
            copied.unwrap().success(),
            "{} cannot be copied",
            file.display()
        );
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
