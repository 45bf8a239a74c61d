//! A host of its own for a system: an empty file system in namespaces of its own, with the
//! programs of this host and nothing of its files, so that an example runs as it stands, at its
//! own paths.
//!
//! The host ends with its value, and with the test process however that ends; with it go every
//! process and every file there. The network is this host's.

use crate::support::{LIFEBOAT, Output, run};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Makes the file system, says which process holds it, and waits for the end of its input.
const MAKE: &str = r#"
set -e
root=$1 name=$2 lifeboat=$3 mysql=$4
read -r pid rest < /proc/self/stat
echo "$name" > /proc/sys/kernel/hostname
mount -t tmpfs -o mode=755 host "$root"
cd "$root"
mkdir -p usr etc opt srv home root var/lib var/backups var/log var/tmp tmp run mnt proc dev sys fixture/bin
ln -s /run var/run
chmod 1777 tmp var/tmp
chmod 700 root
for directory in usr dev sys; do mount --rbind "/$directory" "$directory"; done
mount -o remount,bind,ro usr
mount -t proc proc proc
for directory in bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$directory" ]; then ln -s "$(readlink "/$directory")" "$directory"
  elif [ -d "/$directory" ]; then mkdir "$directory"; mount --rbind "/$directory" "$directory"; fi
done
for file in passwd group shadow nsswitch.conf hosts resolv.conf ld.so.cache localtime alternatives postgresql-common perl ssl protocols services mysql; do
  if [ -e "/etc/$file" ]; then cp -a "/etc/$file" etc/; fi
done
touch fixture/bin/lifeboat
mount --bind "$lifeboat" fixture/bin/lifeboat
if [ -n "$mysql" ]; then
  mkdir -p "./$mysql"
  mount --rbind "$mysql" "./$mysql"
  for program in bin/mysql bin/mysqldump bin/mysqladmin sbin/mysqld; do
    ln -s "$mysql/usr/$program" fixture/bin/
  done
  rm -rf etc/mysql
  # Whoever takes one of MariaDB's programs all the same is told, and leaves a trace.
  printf '#!/bin/sh\necho "$0 $*" >> /fixture/mariadb.log\necho "this host has MySQL" >&2\nexit 1\n' > fixture/mariadb
  chmod 755 fixture/mariadb
  for program in usr/bin/mariadb* usr/sbin/mariadbd; do
    [ -L "$program" ] || mount --bind fixture/mariadb "$program"
  done
fi
"#;

/// Whoever looks at the root of this process must find that of the host.
const HOLD: &str = r#"exec chroot . /bin/sh -c 'echo "$1"; exec cat' sh "$pid""#;

/// Puts the files of another host in the place of its own, gives it a host key of its own, as a new machine
/// makes one, and boots it.
const BOOT: &str = r#"
tar -xf "$5" -C .
rm -f fixture/hostkey fixture/hostkey.pub
ssh-keygen -q -t ed25519 -N '' -C '' -f fixture/hostkey
cp fixture/hostkey.pub "$6"
PATH=/fixture/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
export PATH
exec chroot . /bin/sh /fixture/boot "$7"
"#;

/// The words of a command that boots a machine from an archive of files of a host: it runs `/fixture/boot
/// ADDRESS` there, and writes the public host key that it made. It ends with its input, and everything there.
pub fn boot(archive: &str, host_key: &str, address: &str) -> Vec<String> {
    let script = format!("root=$(mktemp -d); set -- \"$root\" \"$@\"\n{MAKE}{BOOT}");
    let words = [
        "unshare",
        "--mount",
        "--uts",
        "--pid",
        "--fork",
        "--kill-child",
        "--propagation",
        "private",
        "sh",
        "-c",
        &script,
        "machine",
        "restored",
        LIFEBOAT,
        "",
        archive,
        host_key,
        address,
    ];
    words.map(str::to_owned).to_vec()
}

/// A clean host.
pub struct Host {
    holder: Child,
    pid: u32,
    env: BTreeMap<String, String>,
    _mountpoint: tempfile::TempDir,
}

/// Whether hosts cannot be made here, which is said.
pub fn is_impossible() -> bool {
    lifeboat_testkit::privilege::needs_root("make a host of namespaces")
}

impl Host {
    /// A host of that name: no application, no configuration, no state.
    pub fn new(name: &str) -> Host {
        Host::make(name, Path::new(""))
    }

    /// A clean host with MySQL's programs, and without MariaDB's.
    pub fn with_mysql(name: &str) -> Host {
        Host::make(name, &lifeboat_testkit::mariadb::sid())
    }

    fn make(name: &str, mysql: &Path) -> Host {
        let mountpoint = tempfile::tempdir().unwrap();
        let mut holder = Command::new("unshare")
            .args(["--mount", "--uts", "--pid", "--fork", "--kill-child"])
            .args(["--propagation", "private", "sh", "-c"])
            .arg(format!("{MAKE}{HOLD}"))
            .arg("host")
            .arg(mountpoint.path())
            .args([name, LIFEBOAT])
            .arg(mysql)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(holder.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let pid = line.trim().parse();
        let pid: u32 = pid.expect("a host is made of namespaces");
        // Never write to this host for that one.
        let fixture = Path::new("/proc")
            .join(pid.to_string())
            .join("root/fixture/bin/lifeboat");
        assert!(fixture.exists(), "{} is not there", fixture.display());
        Host {
            holder,
            pid,
            env: BTreeMap::new(),
            _mountpoint: mountpoint,
        }
    }

    /// Sets an environment variable of every later command.
    pub fn env(&mut self, name: &str, value: &str) {
        self.env.insert(name.into(), value.into());
    }

    /// The script that writes an archive of its files to a file, while this process of it stands still: as a
    /// snapshot of a disk is of one instant.
    pub fn snapshot(&self, file: &str, still: &str) -> String {
        format!(
            "exec nsenter --target {} --mount --uts --pid --root --wd -- /bin/sh -c \
             'pkill -STOP -x {still}; tar -C / --exclude=fixture/bin/lifeboat -cf - etc home root var fixture; pkill -CONT -x {still}' > {file}",
            self.pid
        )
    }

    /// Where a path of that host is found from outside.
    pub fn path(&self, path: &str) -> PathBuf {
        let relative = path.trim_start_matches('/');
        Path::new("/proc")
            .join(self.pid.to_string())
            .join("root")
            .join(relative)
    }

    /// Writes a file, with the directories above it.
    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Reads a file as text.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    /// Writes a program that is found before others.
    pub fn program(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = format!("/fixture/bin/{name}");
        self.write(&path, text);
        std::fs::set_permissions(self.path(&path), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs a shell script there, as root, in root's home.
    pub fn run(&self, script: &str) -> Output {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid.to_string()])
            .args(["--mount", "--uts", "--pid", "--root", "--wd", "--"])
            .args(["/usr/bin/env", "--ignore-environment", "--chdir=/root"])
            .args([
                "PATH=/fixture/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                "HOME=/root",
                "USER=root",
            ])
            .args(
                self.env
                    .iter()
                    .map(|(name, value)| format!("{name}={value}")),
            )
            .args(["/bin/sh", "-c", script])
            .stdin(Stdio::null());
        run(&mut command)
    }

    /// Runs a script that must succeed; what it printed.
    pub fn sh(&self, script: &str) -> String {
        self.exits(0, script)
    }

    /// Runs a script that must exit with `code`; what it printed to standard output.
    pub fn exits(&self, code: i32, script: &str) -> String {
        let output = self.run(script);
        assert_eq!(output.code, code, "{script}\n{output}");
        output.stdout
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
