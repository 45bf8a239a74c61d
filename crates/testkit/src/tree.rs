//! Awkward directory trees, databases under constant writes, and hostile archives.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test kit fails loudly and writes freely"
)]

use rusqlite::Connection;
use rustix::fs::{CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tar::{EntryType, Header};

/// Returns whether this process may change the owners of files.
pub fn privileged() -> bool {
    rustix::process::geteuid().is_root()
}

fn mode(path: &Path, mode: u32) {
    rustix::fs::chmod(path, Mode::from_raw_mode(mode)).unwrap();
}

/// Sets a modification time; of a link, its own.
pub fn set_mtime(path: &Path, seconds: i64, nanoseconds: u32) {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds.into(),
        },
    };
    let nofollow = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(CWD, path, &times, nofollow).unwrap();
}

/// Sets an extended attribute.
pub fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// The list `user::rw-,user:1234:rw-,group::r--,mask::rw-,other::r--` in the kernel's format, in an
/// order that is not canonical.
pub const ACL: &[u8] = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x06\0\xd2\x04\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x06\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";

/// [`ACL`] for a directory. A user other than root must be able to enter its own directory, so then
/// the owner gets all permissions.
pub fn directory_acl() -> Vec<u8> {
    let mut list = ACL.to_vec();
    if !privileged() {
        list[6] = 7;
    }
    list
}

/// Makes the directory `top` with everything that a files backup must preserve.
///
/// It has names with spaces, quotes, newlines and bytes that are not UTF-8; long names and paths;
/// links (dangling, absolute, long); hard links; sparse files; every kind of mode bit; old, future
/// and fractional times; attributes and access control lists; and for root also foreign owners and
/// capabilities. Sockets and pipes, which no archive holds, are beside them in `top/special`.
pub fn awkward(top: &Path) {
    fs::create_dir_all(top).unwrap();
    let odd: [&[u8]; 8] = [
        b"with space",
        b"quote'\"`$(x)",
        b"new\nline",
        b"\xff\xfe not utf-8 \x80",
        "grüße-日本".as_bytes(),
        b"-leading-dash",
        b"back\\slash\ttab",
        b" ",
    ];
    for (number, name) in odd.iter().enumerate() {
        fs::write(
            top.join(OsStr::from_bytes(name)),
            vec![b'a' + number as u8; number * 700],
        )
        .unwrap();
    }
    let long = "long-".repeat(50);
    let mut deep = top.to_owned();
    for _ in 0..4 {
        deep.push(&long);
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("x".repeat(255)), b"deep").unwrap();
    fs::write(top.join("n".repeat(99)), b"99").unwrap();
    fs::write(top.join("n".repeat(100)), b"100").unwrap();
    fs::write(top.join("n".repeat(101)), b"101").unwrap();
    fs::create_dir(top.join("d".repeat(99))).unwrap();

    symlink("/etc/localtime", top.join("absolute link")).unwrap();
    symlink("nowhere", top.join("dangling")).unwrap();
    symlink(OsStr::from_bytes(b"../\xff/\n"), top.join("odd link")).unwrap();
    symlink("t/".repeat(1500), top.join("long link")).unwrap();
    set_mtime(&top.join("dangling"), 1_000_000_000, 7);

    fs::write(top.join("first"), b"shared by three names").unwrap();
    fs::hard_link(top.join("first"), top.join("second")).unwrap();
    fs::create_dir(top.join("zz")).unwrap();
    fs::hard_link(top.join("first"), top.join("zz").join("t".repeat(150))).unwrap();
    set_attribute(&top.join("first"), "user.shared", b"yes");

    modes_and_times(top);
    attributes(top);
    sparse(&top.join("sparse"));
    fs::create_dir(top.join("special")).unwrap();
    UnixListener::bind(top.join("special/socket")).unwrap();
    rustix::fs::mknodat(CWD, top.join("special/pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    if privileged() {
        owners(top);
    }
}

fn modes_and_times(top: &Path) {
    let modes = top.join("modes");
    fs::create_dir(&modes).unwrap();
    for bits in [0o4755, 0o2755, 0o0000, 0o0444, 0o7777, 0o1644, 0o0600] {
        // Only root can read a file whose owner has no permission.
        let bits = if bits == 0 && !privileged() {
            0o0400
        } else {
            bits
        };
        let path = modes.join(format!("{bits:04o}"));
        fs::write(&path, b"mode").unwrap();
        mode(&path, bits);
    }
    for bits in [0o1777, 0o2775, 0o0555, 0o0700] {
        let path = modes.join(format!("d{bits:04o}"));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("in"), b"it").unwrap();
        mode(&path, bits);
    }
    let times = [
        (0, 0),
        (1, 1),
        (-1, 0),
        (-5, 300_000_000),
        (4_102_444_800, 999_999_999),
    ];
    for (number, (seconds, nanoseconds)) in times.into_iter().enumerate() {
        let path = top.join(format!("time-{number}"));
        fs::write(&path, b"").unwrap();
        set_mtime(&path, seconds, nanoseconds);
    }
}

fn attributes(top: &Path) {
    let path = top.join("attributes");
    fs::write(&path, b"has attributes").unwrap();
    set_attribute(&path, "user.plain", b"value");
    set_attribute(&path, "user.binary", b"\0\n=\xff\x01 12 x=y\n");
    set_attribute(&path, "user.a=b%3D%", b"name with = and %");
    set_attribute(&path, "user.empty", b"");
    set_attribute(&path, "user.big", &[b'v'; 2000]);
    let path = top.join("acl");
    fs::write(&path, b"has a list").unwrap();
    set_attribute(&path, "system.posix_acl_access", ACL);
    let path = top.join("acl directory");
    fs::create_dir(&path).unwrap();
    set_attribute(&path, "user.on-directory", b"too");
    set_attribute(&path, "system.posix_acl_access", &directory_acl());
    set_attribute(&path, "system.posix_acl_default", ACL);
    fs::write(path.join("inherits"), b"").unwrap();
}

fn sparse(directory: &Path) {
    fs::create_dir(directory).unwrap();
    let make = |name: &str, size: u64, pieces: &[(u64, &[u8])]| {
        let file = fs::File::create(directory.join(name)).unwrap();
        file.set_len(size).unwrap();
        for (offset, bytes) in pieces {
            file.write_all_at(bytes, *offset).unwrap();
        }
    };
    make(
        "terabyte",
        1 << 40,
        &[(0, b"head"), (1 << 39, b"middle"), ((1 << 40) - 1, b"z")],
    );
    make("all hole", 1 << 30, &[]);
    make("small", 100_000, &[(50_000, b"x")]);
    make("hole at end", 3 << 20, &[(0, &[b'd'; 10_000])]);
    make("hole at start", 3 << 20, &[((3 << 20) - 10, &[b'd'; 10])]);
    let many: Vec<(u64, &[u8])> = (0..60).map(|n| (n * 40_000, b"piece".as_slice())).collect();
    make("many holes", 5 << 20, &many);
    make("zeros", 2 << 20, &[(0, &[0; 2 << 20])]);
    make("odd size", (2 << 20) + 123, &[(0, &[7; (2 << 20) + 123])]);
}

fn owners(top: &Path) {
    for (name, uid, gid) in [
        ("owner small", 1, 2),
        ("owner large", 2_097_151, 2_097_152),
        ("owner huge", 4_294_967_294, 4_000_000_000),
    ] {
        let path = top.join(name);
        fs::write(&path, b"owned").unwrap();
        give(&path, uid, gid);
    }
    fs::create_dir(top.join("owned directory")).unwrap();
    give(&top.join("owned directory"), 1000, 1001);
    give(&top.join("dangling"), 12, 13);
    let path = top.join("capable");
    fs::write(&path, b"may bind low ports").unwrap();
    // cap_net_bind_service=ep, as setcap writes it.
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    set_attribute(&path, "security.capability", capability);
    set_attribute(&path, "trusted.note", b"root only");
    let path = top.join("modes/set-user-id of another");
    fs::write(&path, b"x").unwrap();
    give(&path, 1000, 1000);
    mode(&path, 0o6755);
}

/// Changes the owner of a file or link.
pub fn give(path: &Path, uid: u32, gid: u32) {
    let nofollow = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(CWD, path, uid, gid, nofollow).unwrap();
}

/// A SQLite database to which two other processes write until it is dropped.
///
/// Every transaction moves money between two accounts and appends to a journal table. So in every
/// consistent copy the balances sum to [`LiveDatabase::TOTAL`] and the journal has no gaps.
pub struct LiveDatabase {
    /// The path of the database.
    pub path: PathBuf,
    stop: Arc<AtomicBool>,
    commits: Arc<AtomicU64>,
    writers: Vec<JoinHandle<()>>,
}

impl LiveDatabase {
    /// The sum of all balances.
    pub const TOTAL: i64 = 1000 * 100;

    /// Makes a database with this journal mode (`wal`, `delete`, `truncate`, `persist`) and starts
    /// the writers.
    pub fn start(path: &Path, journal: &str) -> Self {
        let database = Connection::open(path).unwrap();
        database
            .pragma_update(None, "journal_mode", journal)
            .unwrap();
        database
            .execute_batch(
                "create table account (id integer primary key, balance integer not null);
                 create table entry (n integer primary key, note text not null);
                 create index entry_note on entry (note);
                 with recursive c(x) as (select 1 union all select x + 1 from c where x < 1000)
                 insert into account select x, 100 from c;
                 insert into entry values (0, 'start');",
            )
            .unwrap();
        drop(database);
        let stop = Arc::new(AtomicBool::new(false));
        let commits = Arc::new(AtomicU64::new(0));
        let writers = (0..2)
            .map(|_| {
                let (path, stop, commits) = (path.to_owned(), stop.clone(), commits.clone());
                std::thread::spawn(move || write_until(&path, &stop, &commits))
            })
            .collect();
        LiveDatabase {
            path: path.to_owned(),
            stop,
            commits,
            writers,
        }
    }

    /// The number of transactions committed so far.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Waits until this many more transactions are committed.
    pub fn await_commits(&self, count: u64) {
        let target = self.commits() + count;
        while self.commits() < target {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Checks the invariants of a copy. The error names the one that does not hold.
    pub fn check(copy: &Path) -> Result<(), String> {
        let say = |error: rusqlite::Error| error.to_string();
        let database = Connection::open(copy).map_err(say)?;
        let ask = |sql: &str| {
            database
                .query_row(sql, [], |row| row.get::<_, i64>(0))
                .map_err(say)
        };
        let whole: String = database
            .query_row("pragma integrity_check", [], |row| row.get(0))
            .map_err(say)?;
        let total = ask("select sum(balance) from account")?;
        let gaps = ask("select max(n) + 1 - count(*) from entry")?;
        match (whole.as_str(), total, gaps) {
            ("ok", Self::TOTAL, 0) => Ok(()),
            found => Err(format!("{found:?}")),
        }
    }
}

/// Feeds transactions to a `sqlite3` process. A writer in this process would lose its locks
/// whenever something else in it opens and closes the file.
fn write_until(path: &Path, stop: &AtomicBool, commits: &AtomicU64) {
    let mut process = Command::new("sqlite3")
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
    writeln!(input, ".timeout 30000\npragma synchronous = off;").unwrap();
    let mut number: u64 = 1;
    while !stop.load(Ordering::Relaxed) {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let (from, to) = ((number >> 40) % 1000 + 1, (number >> 20) % 1000 + 1);
        // Each statement keeps the invariants by itself, in case a transaction does not begin.
        writeln!(
            input,
            "begin immediate;
             update account set balance = balance + (id = {to}) - (id = {from})
                 where id in ({from}, {to});
             insert into entry select max(n) + 1, hex(randomblob(200)) from entry;
             commit;
             select 'done';"
        )
        .unwrap();
        assert_eq!(output.next().unwrap().unwrap(), "done");
        commits.fetch_add(1, Ordering::Relaxed);
    }
    drop(input);
    process.wait().unwrap();
}

impl Drop for LiveDatabase {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers.drain(..) {
            writer.join().unwrap();
        }
    }
}

/// A member of a hand-made archive, with any fields, valid or not.
pub fn member(kind: u8, name: &[u8], link: &[u8], data: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::new(kind));
    header.set_mode(0o644);
    header.set_uid(u64::from(rustix::process::geteuid().as_raw()));
    header.set_gid(u64::from(rustix::process::getegid().as_raw()));
    header.set_mtime(1);
    header.set_size(data.len() as u64);
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A member whose header states another size than its data has.
pub fn member_of_size(kind: u8, name: &[u8], size: u64, data: &[u8]) -> Vec<u8> {
    let mut bytes = member(kind, name, b"", data);
    let mut header = Header::new_old();
    header.as_mut_bytes().copy_from_slice(&bytes[..512]);
    header.set_size(size);
    header.set_cksum();
    bytes[..512].copy_from_slice(header.as_bytes());
    bytes
}

/// A PAX header with these records.
pub fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest..).find(|n| *n == rest + n.to_string().len()).unwrap();
        body.extend_from_slice(format!("{length} {key}=").as_bytes());
        body.extend_from_slice(value);
        body.push(b'\n');
    }
    member(b'x', b"PaxHeaders/x", b"", &body)
}

/// An archive of these members, with its end marker.
pub fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = members.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// Archives that no honest backup makes, each with the name of its fault. `outside` is a directory
/// that must stay unchanged.
pub fn hostile(outside: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let outside = outside.as_os_str().as_bytes();
    let cases = [
        hostile_names(outside),
        hostile_links(outside),
        hostile_kinds_and_headers(),
        hostile_maps(),
    ];
    let archived = |(what, members): Case| (what, archive(&members));
    cases.into_iter().flatten().map(archived).collect()
}

/// The name of a fault, and the members of its archive.
type Case = (&'static str, Vec<Vec<u8>>);

/// A member with some content.
fn evil(name: &[u8]) -> Vec<u8> {
    member(b'0', name, b"", b"evil")
}

fn hostile_names(outside: &[u8]) -> Vec<Case> {
    let in_outside = |name: &str| [outside, b"/", name.as_bytes()].concat();
    vec![
        ("an absolute name", vec![evil(&in_outside("absolute"))]),
        (
            "an absolute name in PAX",
            vec![pax(&[("path", &in_outside("pax"))]), evil(b"x")],
        ),
        (
            "an absolute long name",
            vec![
                member(b'L', b"././@LongLink", b"", &in_outside("long")),
                evil(b"x"),
            ],
        ),
        ("a name that climbs", vec![evil(b"../climbed")]),
        (
            "a name that climbs later",
            vec![evil(b"a/b/../../../climbed")],
        ),
        ("a name that is `..`", vec![member(b'5', b"..", b"", b"")]),
        ("no name", vec![evil(b"")]),
        ("a name that is `.`", vec![evil(b".")]),
        (
            "a NUL in a name",
            vec![pax(&[("path", b"a\0b")]), evil(b"x")],
        ),
    ]
}

fn hostile_links(outside: &[u8]) -> Vec<Case> {
    let victim = [outside, b"/victim"].concat();
    vec![
        (
            "a write through a link",
            vec![member(b'2', b"link", outside, b""), evil(b"link/through")],
        ),
        (
            "a write through a relative link",
            vec![member(b'2', b"link", b"..", b""), evil(b"link/through")],
        ),
        (
            "a directory through a link",
            vec![
                member(b'2', b"link", outside, b""),
                member(b'5', b"link/made", b"", b""),
            ],
        ),
        (
            "a file over a link",
            vec![member(b'2', b"link", &victim, b""), evil(b"link")],
        ),
        (
            "a directory over a link",
            vec![
                member(b'2', b"link", outside, b""),
                member(b'5', b"link", b"", b""),
            ],
        ),
        (
            "a link over a directory",
            vec![
                member(b'5', b"d", b"", b""),
                member(b'2', b"d", outside, b""),
            ],
        ),
        (
            "a hard link to the outside",
            vec![member(b'1', b"x", &victim, b"")],
        ),
        (
            "a hard link that climbs",
            vec![member(b'1', b"x", b"../victim", b"")],
        ),
        (
            "a hard link to a link",
            vec![
                member(b'2', b"l", &victim, b""),
                member(b'1', b"x", b"l", b""),
            ],
        ),
        (
            "a hard link through a link",
            vec![
                member(b'2', b"l", outside, b""),
                member(b'1', b"x", b"l/victim", b""),
            ],
        ),
        (
            "a hard link to nothing",
            vec![member(b'1', b"x", b"nothing", b"")],
        ),
        (
            "a hard link to a directory",
            vec![member(b'5', b"d", b"", b""), member(b'1', b"x", b"d", b"")],
        ),
    ]
}

fn hostile_kinds_and_headers() -> Vec<Case> {
    vec![
        ("a character device", vec![member(b'3', b"null", b"", b"")]),
        ("a block device", vec![member(b'4', b"disk", b"", b"")]),
        ("an unknown kind", vec![member(b'Z', b"z", b"", b"")]),
        ("the same file twice", vec![evil(b"x"), evil(b"x")]),
        (
            "the same link twice",
            vec![member(b'2', b"x", b"a", b""), member(b'2', b"x", b"b", b"")],
        ),
        ("a file below a file", vec![evil(b"x"), evil(b"x/y")]),
        (
            "an absurd size",
            vec![member_of_size(b'0', b"x", u64::MAX / 4, b"little")],
        ),
        (
            "an absurd size in PAX",
            vec![pax(&[("size", b"9223372036854775807")]), evil(b"x")],
        ),
        (
            "a negative size in PAX",
            vec![pax(&[("size", b"-1")]), evil(b"x")],
        ),
        (
            "a PAX bomb",
            vec![member_of_size(b'x', b"p", 1 << 40, b"30 path=x\n")],
        ),
        (
            "a long-name bomb",
            vec![member_of_size(b'L', b"p", 1 << 40, b"x")],
        ),
        ("endless PAX headers", vec![pax(&[("path", b"x")]); 100]),
        (
            "a PAX record that overruns",
            vec![member(b'x', b"p", b"", b"999 path=x\n"), evil(b"x")],
        ),
        (
            "a PAX record of no length",
            vec![member(b'x', b"p", b"", b"0 path=x\n"), evil(b"x")],
        ),
        (
            "an invalid owner",
            vec![pax(&[("uid", b"4294967295")]), evil(b"x")],
        ),
    ]
}

/// Maps of the data in a sparse file.
fn hostile_maps() -> Vec<Case> {
    let sparse: [(&str, &[u8], &[u8]); 6] = [
        (
            "an absurd sparse size",
            b"18446744073709551615",
            b"1\n0\n4\n",
        ),
        ("a sparse map beyond its file", b"10", b"1\n8\n4\n"),
        ("a sparse map that goes back", b"100", b"2\n50\n2\n0\n2\n"),
        (
            "a sparse map that overflows",
            b"100",
            b"1\n18446744073709551615\n4\n",
        ),
        ("a sparse map of too many pieces", b"100", b"99999999999\n"),
        ("a sparse map of letters", b"100", b"x\n"),
    ];
    let cases = sparse.map(|(what, size, map)| {
        let mut body = map.to_vec();
        body.resize(512, 0);
        body.extend_from_slice(b"data");
        let records: [(&str, &[u8]); 3] = [
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", size),
        ];
        (what, vec![pax(&records), member(b'0', b"x", b"", &body)])
    });
    cases.to_vec()
}
