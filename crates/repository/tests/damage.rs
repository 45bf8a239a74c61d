//! Restores from damaged or hostile repositories, and to targets that refuse. What is damaged is
//! named, everything else is restored, and no incomplete file looks complete.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "tests fail by panicking"
)]

mod common;

use common::{back_up, create, listing, noise};
use lifeboat_repository::index::Index;
use lifeboat_repository::pack::BlobKind;
use lifeboat_repository::restore::{self, Options, Report, Source};
use lifeboat_repository::saver::with_saver;
use lifeboat_repository::tree::{Node, NodeKind, TreeBuilder, mode};
use lifeboat_repository::{FileKind, Id, Repository};
use lifeboat_testkit::privilege::needs_root;
use lifeboat_testkit::tree::{ACL, directory_acl, give, set_attribute};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes a tree whose files are spread over several packs.
fn tree(root: &Path) {
    for number in 0..24_u64 {
        let directory = root.join(format!("d{}", number / 8));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join(format!("f{number}"));
        fs::write(file, noise(100_000, number)).unwrap();
    }
    // Longer than the longest chunk.
    fs::write(root.join("large"), noise(8_800_000, 100)).unwrap();
    fs::hard_link(root.join("large"), root.join("large again")).unwrap();
    fs::write(root.join("small"), "small").unwrap();
}

fn run(repository: &Repository, options: &Options) -> Report {
    let (index, _) = repository.load_index().unwrap();
    restore::run(repository, &index, options).unwrap()
}

fn paths(report: &Report) -> Vec<&Path> {
    report
        .failed
        .iter()
        .map(|failed| failed.path.as_path())
        .collect()
}

fn pack_path(repository: &Path, id: &Id) -> PathBuf {
    repository.join(FileKind::Pack.key(id))
}

fn is_partial(path: &Path) -> bool {
    path.to_string_lossy().contains(".lifeboat-partial")
}

/// Asserts that everything restored is as it was, and that everything else is named in the report.
fn assert_delivered(tree: &Path, back: &Path, report: &Report) {
    let (wanted, there) = (listing(tree), listing(back));
    for (path, text) in &wanted {
        let location = Path::new("/").join(path);
        let failed = report
            .failed
            .iter()
            .any(|failed| location.starts_with(&failed.path));
        match there.get(path) {
            // The other name of a file with two names is one of its links.
            Some(found) if found == text => {
                assert!(!failed || text.starts_with("mode 4"), "{path:?}")
            }
            Some(found) => assert!(
                failed && fs::metadata(back.join(path)).unwrap().is_dir(),
                "{path:?}: {found}"
            ),
            None => assert!(failed, "{path:?} is missing and nobody says so"),
        }
    }
    for path in there.keys().filter(|path| !wanted.contains_key(*path)) {
        assert!(is_partial(path), "{path:?} is too much");
    }
    let partial = there.keys().filter(|path| is_partial(path)).count();
    let named = report
        .failed
        .iter()
        .filter(|failed| failed.partial.is_some());
    assert_eq!(partial, named.count());
}

/// Makes the tree, and a repository with a snapshot of it.
fn backed_up(directory: &Path) -> (Repository, Id) {
    tree(&directory.join("tree"));
    let repository = create(&directory.join("r"));
    let snapshot = back_up(&repository, &directory.join("tree"), None).snapshot;
    (repository, snapshot)
}

#[test]
fn a_damaged_pack_affects_only_what_is_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (repository, snapshot) = backed_up(directory.path());
    let (index, _) = repository.load_index().unwrap();
    let mut packs: Vec<(Id, BlobKind)> = index.blobs().map(|(_, at)| (at.pack, at.kind)).collect();
    packs.sort_by_key(|(id, kind)| (*kind, *id));
    packs.dedup();
    assert!(packs.len() >= 2, "{}", packs.len());
    let mut options = Options::new(Source::Snapshot(snapshot), &at("back"));
    options.within = at("tree");
    for (pack, kind) in packs {
        let path = pack_path(&at("r"), &pack);
        let whole = fs::read(&path).unwrap();
        let middle = whole.len() / 2;
        let mut flipped = whole.clone();
        flipped[middle] ^= 0x40;
        let damages: [(&str, Option<&[u8]>); 4] = [
            ("flipped", Some(&flipped)),
            ("cut", Some(&whole[..middle])),
            ("empty", Some(b"")),
            ("missing", None),
        ];
        for (name, damaged) in damages {
            fs::remove_file(&path).unwrap();
            if let Some(damaged) = damaged {
                fs::write(&path, damaged).unwrap();
            }
            // The damage may be in the root tree; then nothing can be restored.
            let restored = restore::run(&repository, &index, &options);
            match (restored, kind) {
                (Ok(report), _) => {
                    assert!(!report.failed.is_empty(), "{name} {kind:?}");
                    assert_delivered(&at("tree"), &at("back"), &report);
                    if name == "flipped" && kind == BlobKind::Data {
                        // One blob of one file, which may have two names.
                        assert!(report.failed.len() <= 2, "{:?}", report.failed);
                    }
                }
                (Err(error), BlobKind::Tree) => {
                    assert!(
                        error.to_string().contains("is damaged")
                            || error.to_string().contains("is missing"),
                        "{error}"
                    );
                }
                (Err(error), BlobKind::Data) => panic!("{name}: {error}"),
            }
            let _ = fs::remove_dir_all(at("back"));
        }
        fs::write(&path, &whole).unwrap();
    }
    let report = run(&repository, &options);
    assert!(report.failed.is_empty(), "{:?}", report.failed);
}

#[test]
fn a_damaged_file_stays_partial_until_the_rest_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (repository, snapshot) = backed_up(directory.path());
    let mut options = Options::new(Source::Snapshot(snapshot), &at("back"));
    options.within = at("tree");
    options.delete = true;
    // The target has an older version of the file.
    fs::create_dir(at("back")).unwrap();
    fs::write(at("back/large"), "older").unwrap();
    fs::write(at("back/stray"), "x").unwrap();
    let (index, _) = repository.load_index().unwrap();
    let (_, blob) = index.blobs().find(|(_, at)| at.length > 600_000).unwrap();
    let path = pack_path(&at("r"), &blob.pack);
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, u64::from(blob.offset) + 100)
        .unwrap();
    file.write_all_at(&[!byte[0]], u64::from(blob.offset) + 100)
        .unwrap();

    let report = run(&repository, &options);
    assert_eq!(report.failed.len(), 2, "{:?}", report.failed);
    let failed = report
        .failed
        .iter()
        .find(|failed| failed.partial.is_some())
        .unwrap();
    assert_eq!(failed.missing_bytes, u64::from(blob.plain_bytes));
    let large = failed.path.strip_prefix("/").unwrap();
    let other = report
        .failed
        .iter()
        .find(|failed| failed.partial.is_none())
        .unwrap();
    assert!(
        other.cause.to_string().contains("another name of /large"),
        "{}",
        other.cause
    );
    let partial = at("back").join(failed.partial.as_ref().unwrap());
    let (whole, part) = (
        fs::read(at("tree").join(large)).unwrap(),
        fs::read(&partial).unwrap(),
    );
    let wrong = whole.iter().zip(&part).filter(|(a, b)| a != b).count() as u64;
    assert!(wrong <= failed.missing_bytes && wrong > failed.missing_bytes / 2);
    assert_eq!(fs::read(at("back/large")).unwrap(), b"older");
    assert!(!at("back/stray").exists());

    file.write_all_at(&byte, u64::from(blob.offset) + 100)
        .unwrap();
    let report = run(&repository, &options);
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert!(
        report.bytes_read < 2 * failed.missing_bytes + 100_000,
        "{report:?}"
    );
    assert!(!partial.exists());
    assert_delivered(&at("tree"), &at("back"), &report);
}

#[test]
fn another_copy_of_a_damaged_blob_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (repository, snapshot) = backed_up(directory.path());
    let (index, _) = repository.load_index().unwrap();
    // As if two hosts had stored everything at the same time.
    let all: Vec<(Id, BlobKind, Vec<u8>)> = index
        .blobs()
        .map(|(id, at)| (id, at.kind, repository.read_blob(&id, &at).unwrap()))
        .collect();
    with_saver(&repository, &Index::default(), |saver| {
        for (id, kind, content) in &all {
            assert_eq!(saver.save(*kind, content)?, *id);
        }
        Ok(())
    })
    .unwrap();
    let (both, _) = repository.load_index().unwrap();
    assert_eq!(both.len(), 2 * index.len());
    // The packs from which each blob is read first.
    let first = |(id, kind, _): &(Id, BlobKind, Vec<u8>)| both.locations(*kind, id).next();
    let mut packs: Vec<Id> = all.iter().filter_map(first).map(|at| at.pack).collect();
    packs.sort();
    packs.dedup();
    for (number, pack) in packs.iter().enumerate() {
        let path = pack_path(&at("r"), pack);
        match number % 2 {
            0 => fs::remove_file(path).unwrap(),
            _ => {
                let bytes = fs::metadata(&path).unwrap().len() as usize;
                fs::write(&path, vec![7; bytes]).unwrap();
            }
        }
    }
    let mut options = Options::new(Source::Snapshot(snapshot), &at("back"));
    options.within = at("tree");
    let report = run(&repository, &options);
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_delivered(&at("tree"), &at("back"), &report);
}

/// Stores hostile trees and content, and returns the id of the last tree.
fn hostile(repository: &Repository, json: &[u8], content: &[&[u8]]) -> Id {
    let (index, _) = repository.load_index().unwrap();
    let (id, _) = with_saver(repository, &index, |saver| {
        for content in content {
            saver.save(BlobKind::Data, content)?;
        }
        saver.save(BlobKind::Tree, json)
    })
    .unwrap();
    id
}

fn file(name: &[u8], content: &[&[u8]]) -> Node {
    let mut node = Node::new(name, NodeKind::File);
    node.mode = 0o644;
    node.content = Some(content.iter().map(|content| Id::of(content)).collect());
    node.size = content.iter().map(|content| content.len() as u64).sum();
    node
}

#[test]
fn a_hostile_tree_writes_nothing_outside_the_target() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let repository = create(&at("r"));
    let good = String::from_utf8({
        let mut builder = TreeBuilder::default();
        builder.add(&file(b"good", &[b"evil"])).unwrap();
        builder.finish()
    })
    .unwrap();
    let good = good
        .trim_end()
        .trim_start_matches("{\"nodes\":[")
        .strip_suffix("]}")
        .unwrap();
    let evil = Id::of(b"evil");
    let inner = hostile(
        &repository,
        format!("{{\"nodes\":[{good}]}}").as_bytes(),
        &[b"evil"],
    );
    let outside = at("outside");
    fs::create_dir(&outside).unwrap();
    let names = [
        "../outside/x",
        "..",
        ".",
        "",
        "/outside",
        r"a\\x00b",
        r"..\\x2foutside\\x2fx",
    ];
    for name in names {
        for (kind, rest) in [
            ("file", format!("\"content\":[\"{evil}\"],\"size\":4")),
            ("dir", format!("\"subtree\":\"{inner}\"")),
            ("symlink", "\"linktarget\":\"x\"".to_owned()),
        ] {
            let json = format!(
                "{{\"nodes\":[{{\"name\":\"{name}\",\"type\":\"{kind}\",{rest}}},{good}]}}"
            );
            let tree = hostile(&repository, json.as_bytes(), &[]);
            let report = run(&repository, &Options::new(Source::Tree(tree), &at("back")));
            assert_eq!(report.failed.len(), 1, "{name} {kind}: {:?}", report.failed);
            let there: Vec<PathBuf> = listing(&at("back")).into_keys().collect();
            assert_eq!(there, [PathBuf::from("good")], "{name} {kind}");
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
            fs::remove_dir_all(at("back")).unwrap();
        }
    }

    // A link, then a directory or a file of the same name.
    let link = format!(
        "{{\"name\":\"n\",\"type\":\"symlink\",\"linktarget\":{:?}}}",
        outside.to_str().unwrap()
    );
    for second in [
        format!("{{\"name\":\"n\",\"type\":\"dir\",\"subtree\":\"{inner}\"}}"),
        format!("{{\"name\":\"n\",\"type\":\"file\",\"content\":[\"{evil}\"],\"size\":4}}"),
    ] {
        for nodes in [format!("{link},{second}"), format!("{second},{link}")] {
            let tree = hostile(
                &repository,
                format!("{{\"nodes\":[{nodes}]}}").as_bytes(),
                &[],
            );
            let report = run(&repository, &Options::new(Source::Tree(tree), &at("back")));
            assert_eq!(paths(&report), [Path::new("/n")]);
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
            // A directory without a mode is inaccessible to users other than root.
            let _ = fs::set_permissions(at("back/n"), fs::Permissions::from_mode(0o700));
            fs::remove_dir_all(at("back")).unwrap();
        }
    }
}

#[test]
fn invalid_entries_are_named_and_the_rest_is_restored() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let repository = create(&at("r"));
    let mut builder = TreeBuilder::default();
    let mut directory_without_tree = Node::new(b"a", NodeKind::Directory);
    directory_without_tree.mode = mode::DIRECTORY | 0o755;
    let mut unknown_tree = Node::new(b"b", NodeKind::Directory);
    unknown_tree.subtree = Some(Id::of(b"nothing"));
    let long = [b'c'; 300];
    let mut wrong_size = file(b"e wrong size", &[b"one", b"two"]);
    wrong_size.size = 77;
    let mut nobody = file(b"f nobody", &[b"one"]);
    (nobody.uid, nobody.gid) = (u32::MAX, u32::MAX);
    let mut endless = Node::new(b"g no target", NodeKind::Symlink);
    endless.mode = mode::SYMLINK | 0o777;
    for node in [
        directory_without_tree,
        unknown_tree,
        file(&long, &[b"one"]),
        file(b"d1 unknown", &[b"unknown"]),
        file(b"d2 one unknown", &[b"one", b"unknown", b"two"]),
        file(b"d3 two unknown", &[b"unknown", b"one", b"lost"]),
        wrong_size,
        nobody,
        endless,
        Node::new(b"h irregular", NodeKind::Irregular),
        Node::new(b"i socket", NodeKind::Socket),
        file(b"z good", &[b"one", b"two"]),
    ] {
        builder.add(&node).unwrap();
    }
    let tree = hostile(&repository, &builder.finish(), &[b"one", b"two"]);
    let report = run(&repository, &Options::new(Source::Tree(tree), &at("back")));
    let long = Path::new("/").join(str::from_utf8(&long).unwrap());
    let expected = [
        "/a",
        "/b",
        long.to_str().unwrap(),
        "/d1 unknown",
        "/d2 one unknown",
        "/d3 two unknown",
        "/g no target",
    ];
    assert_eq!(paths(&report), expected.map(Path::new));
    assert!(
        report.failed[2].cause.to_string().contains("too long"),
        "{}",
        report.failed[2].cause
    );
    let half = &report.failed[4];
    assert_eq!(half.missing_bytes, 7);
    let partial = at("back").join(half.partial.as_ref().unwrap());
    assert_eq!(fs::read(partial).unwrap(), b"one\0\0\0\0\0\0\0two");
    assert_eq!(fs::read(at("back/z good")).unwrap(), b"onetwo");
    assert_eq!(fs::read(at("back/e wrong size")).unwrap(), b"onetwo");
    assert_eq!(report.unset.len(), 1, "{:?}", report.unset);
    assert_eq!(report.unset[0].what, "size");
    assert_eq!((report.files, report.skipped), (3, 2));
    assert!(!at("back/g no target").exists());
}

#[test]
fn a_tree_deeper_than_any_path_is_restored() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let repository = create(&at("r"));
    let mut builder = TreeBuilder::default();
    builder.add(&file(b"bottom", &[b"one"])).unwrap();
    let (index, _) = repository.load_index().unwrap();
    let depth = 700;
    let (tree, _) = with_saver(&repository, &index, |saver| {
        saver.save(BlobKind::Data, b"one")?;
        let mut id = saver.save(BlobKind::Tree, &builder.finish())?;
        for level in 0..depth {
            let mut node = Node::new(format!("level {level}").as_bytes(), NodeKind::Directory);
            node.mode = mode::DIRECTORY | 0o755;
            node.subtree = Some(id);
            let mut builder = TreeBuilder::default();
            builder
                .add(&node)
                .map_err(|_| lifeboat_repository::Error::UnknownBlob { id })?;
            id = saver.save(BlobKind::Tree, &builder.finish())?;
        }
        Ok(id)
    })
    .unwrap();
    let mut options = Options::new(Source::Tree(tree), &at("back"));
    options.include = lifeboat_repository::pattern::Patterns::new(&["bottom"], &[]).unwrap();
    let report = run(&repository, &options);
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!((report.files, report.directories), (1, depth));
    options.delete = true;
    options.include = Default::default();
    let empty = hostile(&repository, b"{\"nodes\":[]}", &[]);
    options.source = Source::Tree(empty);
    let report = run(&repository, &options);
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(report.deleted, depth + 1);
}

/// A small file system, mounted until dropped.
struct Mount(PathBuf);

impl Mount {
    /// Mounts it; `None` if mounting is not possible.
    fn new(path: &Path, options: &str) -> Option<Mount> {
        fs::create_dir(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(path)
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Mount(path.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_an_error_with_the_names_of_files() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (repository, snapshot) = backed_up(directory.path());
    // Enough space for some of the small files, but not for the large one.
    let Some(mount) = Mount::new(&at("back"), "size=1500k") else {
        assert!(needs_root("mount a small file system"), "root may mount");
        return;
    };
    for sparse in [false, true] {
        let mut options = Options::new(Source::Snapshot(snapshot), &mount.0);
        options.within = at("tree");
        options.sparse = sparse;
        let report = run(&repository, &options);
        assert!(report.files > 5, "{report:?}");
        assert!(report.failed.len() > 5, "{report:?}");
        assert_delivered(&at("tree"), &mount.0, &report);
        for failed in &report.failed {
            let text = failed.cause.to_string();
            assert!(
                text.contains("No space left") || text.contains("another name"),
                "{text}"
            );
            assert!(failed.partial.is_none());
        }
        for entry in fs::read_dir(&mount.0).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => fs::remove_dir_all(path).unwrap(),
                false => fs::remove_file(path).unwrap(),
            }
        }
    }
}

/// Runs `work` as another user. Only this thread changes its user.
fn as_user<T: Send>(uid: u32, work: impl FnOnce() -> T + Send) -> T {
    use rustix::fs::{Gid, Uid};
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            work()
        });
        worker.join().unwrap()
    })
}

/// Makes a tree of one user, who may not read or write some of it, with a device that root owns.
fn shut_tree(tree: &Path, user: u32) {
    for name in ["closed/in/file", "plain", "set-user-id", "secret", "acl"] {
        fs::create_dir_all(tree.join(name).parent().unwrap()).unwrap();
        fs::write(tree.join(name), name).unwrap();
    }
    symlink("plain", tree.join("link")).unwrap();
    set_attribute(&tree.join("plain"), "user.note", b"kept");
    set_attribute(&tree.join("acl"), "system.posix_acl_access", ACL);
    set_attribute(
        &tree.join("secret"),
        "user.note",
        b"of a file that its owner may not write",
    );
    let mode = |name: &str, mode| {
        fs::set_permissions(tree.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("secret", 0o000);
    mode("closed/in", 0o111);
    mode("closed", 0o555);
    mode("set-user-id", 0o4755);
    for name in [
        "plain",
        "secret",
        "acl",
        "closed",
        "closed/in",
        "closed/in/file",
        "link",
    ] {
        give(&tree.join(name), user, user);
    }
    rustix::fs::mknodat(
        rustix::fs::CWD,
        tree.join("zero"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::RUSR,
        rustix::fs::makedev(1, 5),
    )
    .unwrap();
}

#[test]
fn a_user_restores_everything_but_owners_and_devices() {
    if needs_root("become another user") {
        return;
    }
    const USER: u32 = 54_321;
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let at = |name: &str| directory.path().join(name);
    let tree = at("tree");
    shut_tree(&tree, USER);
    let repository = create(&at("r"));
    let snapshot = back_up(&repository, &tree, None).snapshot;
    let opened = Command::new("chmod")
        .args(["-R", "a+rX"])
        .arg(at("r"))
        .status();
    assert!(opened.unwrap().success());
    fs::create_dir(at("back")).unwrap();
    give(&at("back"), USER, USER);
    let mut options = Options::new(Source::Snapshot(snapshot), &at("back"));
    options.within = tree.clone();
    let (index, _) = repository.load_index().unwrap();
    let restore =
        |options: &Options| as_user(USER, || restore::run(&repository, &index, options).unwrap());
    // Twice: the second time there are directories and files in the way that the user may not
    // write.
    for round in 0..2 {
        let report = restore(&options);
        assert_eq!(paths(&report), [Path::new("/zero")], "{report:#?}");
        assert!(report.unset.is_empty(), "{:#?}", report.unset);
        assert_eq!(report.owners_unset, 1);
        let (wanted, there) = (listing(&tree), listing(&at("back")));
        for (path, text) in wanted
            .iter()
            .filter(|(path, _)| !path.ends_with("set-user-id") && !path.ends_with("zero"))
        {
            assert_eq!(there.get(path), Some(text), "{path:?} in round {round}");
        }
        // Nobody runs it as the wrong user.
        let given = fs::metadata(at("back/set-user-id")).unwrap();
        assert_eq!((given.mode() & 0o7777, given.uid()), (0o755, USER));
    }

    // A directory that belongs to another user and is not writable.
    let shut = at("shut");
    fs::create_dir_all(shut.join("closed")).unwrap();
    give(&shut, USER, USER);
    options.target = shut.clone();
    let report = restore(&options);
    assert!(
        paths(&report).contains(&Path::new("/closed/in")),
        "{report:#?}"
    );
    assert!(
        report
            .failed
            .iter()
            .all(|failed| !failed.cause.to_string().is_empty())
    );
    assert_eq!(fs::read(shut.join("plain")).unwrap(), b"plain");
    assert!(
        report
            .unset
            .iter()
            .all(|unset| unset.path == Path::new("/closed"))
    );
}

#[test]
fn access_control_lists_of_the_target_are_not_inherited() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("tree/inner")).unwrap();
    fs::write(at("tree/file"), "x").unwrap();
    fs::write(at("tree/inner/file"), "x").unwrap();
    let repository = create(&at("r"));
    let snapshot = back_up(&repository, &at("tree"), None).snapshot;
    fs::create_dir(at("back")).unwrap();
    set_attribute(&at("back"), "system.posix_acl_default", &directory_acl());
    let mut options = Options::new(Source::Snapshot(snapshot), &at("back"));
    options.within = at("tree");
    let report = run(&repository, &options);
    assert!(
        report.failed.is_empty() && report.unset.is_empty(),
        "{report:?}"
    );
    let difference = common::difference(&at("tree"), &at("back"));
    assert!(difference.is_empty(), "{difference:#?}");
}

#[test]
fn a_target_that_cannot_be_made_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("tree")).unwrap();
    let repository = create(&at("r"));
    let snapshot = back_up(&repository, &at("tree"), None).snapshot;
    fs::write(at("file"), "x").unwrap();
    for target in [at("file"), at("file/below")] {
        let options = Options::new(Source::Snapshot(snapshot), &target);
        let (index, _) = repository.load_index().unwrap();
        let error = restore::run(&repository, &index, &options).unwrap_err();
        assert!(error.to_string().contains("Not a directory"), "{error}");
    }
}
