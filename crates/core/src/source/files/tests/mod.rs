#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod large;
mod live;

use super::*;
use crate::fingerprint::{FileEntry, FileKind, FilesFingerprint, Fingerprint, Inventory, Proof};
use crate::observe::{Observer, Silent};
use crate::place::{self, Extracted, Within};
use crate::secret::Scrubber;
use lifeboat_testkit::privilege::needs_root;
use lifeboat_testkit::tree;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

fn extract(
    input: &mut dyn std::io::Read,
    directory: &Path,
    observer: &Silent,
) -> Result<Extracted> {
    place::extract(input, &Within::open(directory)?, observer)
}

fn observe(directory: &Path) -> Result<Proof> {
    let observer: Arc<dyn Observer> = Arc::new(Silent);
    super::observe(directory, &observer)
}

fn capture(config: FilesConfig, output: &mut dyn Write) -> Result<Captured> {
    let scratch = tempfile::tempdir().unwrap();
    let context = CaptureContext {
        scratch: scratch.path(),
        scrubber: &Scrubber::default(),
        observer: &Silent,
        queries: &[],
    };
    let captured = FilesSource::new(config)?.capture("files", output, &context);
    assert_eq!(
        fs::read_dir(scratch.path()).unwrap().count(),
        0,
        "scratch is empty again"
    );
    captured
}

fn config(paths: &[&Path]) -> FilesConfig {
    FilesConfig {
        paths: paths.iter().map(|path| path.to_path_buf()).collect(),
        ..FilesConfig::default()
    }
}

fn take(path: &Path) -> (Vec<u8>, Captured) {
    let mut bytes = Vec::new();
    let captured = capture(config(&[path]), &mut bytes).unwrap();
    (bytes, captured)
}

fn restored(archive: &[u8]) -> (tempfile::TempDir, Proof) {
    let target = tempfile::tempdir().unwrap();
    let extracted = extract(&mut &archive[..], target.path(), &Silent).unwrap();
    assert_eq!(extracted.warnings, Vec::<String>::new());
    let proof = observe(target.path()).unwrap();
    (target, proof)
}

fn totals(proof: &Proof) -> &FilesFingerprint {
    match &proof.fingerprint {
        Fingerprint::Files(totals) => totals,
        other => panic!("{other:?}"),
    }
}

fn entries(proof: &Proof) -> Vec<FileEntry> {
    match &proof.inventory {
        Inventory::Files { entries } => entries.iter().collect(),
        other => panic!("{other:?}"),
    }
}

/// The totals of what this user can restore: only root can set owners, and those of the directories
/// above a source are root's.
fn settable(proof: &Proof) -> FilesFingerprint {
    let mut totals = totals(proof).clone();
    if !tree::privileged() {
        totals.ownership.clear();
    }
    totals
}

/// Fails with the entries that differ rather than with two thousand lines.
fn assert_same(captured: &Proof, restored: &Proof) {
    // Times of directories and links are outside the proof.
    let comparable = |entry: &FileEntry| {
        let timed = matches!(entry.kind, FileKind::File | FileKind::Hardlink);
        let owned = tree::privileged();
        FileEntry {
            mtime: if timed { entry.mtime } else { 0 },
            uid: if owned { entry.uid } else { 0 },
            gid: if owned { entry.gid } else { 0 },
            ..entry.clone()
        }
    };
    let (a, b) = (entries(captured), entries(restored));
    for entry in a.iter().map(comparable) {
        let other = b
            .iter()
            .find(|other| other.path == entry.path)
            .map(comparable);
        assert_eq!(Some(entry), other);
    }
    assert_eq!(a.len(), b.len());
    assert_eq!(settable(captured), settable(restored));
}

fn inside(target: &Path, source: &Path) -> PathBuf {
    target.join(source.strip_prefix("/").unwrap())
}

#[test]
fn an_awkward_tree_comes_back_as_it_was() {
    let source = tempfile::tempdir().unwrap();
    let top = source.path().join("top");
    tree::awkward(&top);
    let (archive, captured) = take(&top);
    assert!(
        archive.len() < 20 << 20,
        "holes are not stored: {}",
        archive.len()
    );
    let mut skipped: Vec<_> = captured
        .skipped
        .iter()
        .map(|s| (s.reason.as_str(), s.partial))
        .collect();
    skipped.sort_unstable();
    assert_eq!(
        skipped,
        [("is a named pipe", false), ("is a socket", false)]
    );
    let (target, proof) = restored(&archive);
    assert_same(captured.proof.as_ref().unwrap(), &proof);

    let back = inside(target.path(), &top);
    let terabyte = fs::metadata(back.join("sparse/terabyte")).unwrap();
    assert_eq!(terabyte.size(), 1 << 40);
    assert!(terabyte.blocks() * 512 < 1 << 20, "holes stay holes");
    assert_eq!(
        fs::metadata(back.join("sparse/all hole")).unwrap().blocks(),
        0
    );
    let dangling = fs::symlink_metadata(back.join("dangling")).unwrap();
    assert_eq!(
        (dangling.mtime(), dangling.mtime_nsec()),
        (1_000_000_000, 7)
    );
    let time = fs::metadata(back.join("time-3")).unwrap();
    assert_eq!((time.mtime(), time.mtime_nsec()), (-5, 300_000_000));
    let link = fs::metadata(back.join("first")).unwrap().ino();
    assert_eq!(fs::metadata(back.join("second")).unwrap().ino(), link);
    assert_eq!(
        fs::metadata(back.join("zz").join("t".repeat(150)))
            .unwrap()
            .ino(),
        link
    );
    let list = xattr::get(back.join("acl"), "system.posix_acl_access")
        .unwrap()
        .unwrap();
    assert_eq!(list, tree::ACL);
    let directory = fs::metadata(&top).unwrap();
    let directory_back = fs::metadata(&back).unwrap();
    assert_eq!(directory.mtime(), directory_back.mtime());
    assert_eq!(directory.mtime_nsec(), directory_back.mtime_nsec());
}

#[test]
fn gnu_tar_restores_our_archives_alike() {
    let source = tempfile::tempdir().unwrap();
    let top = source.path().join("top");
    tree::awkward(&top);
    let (archive, captured) = take(&top);
    for locale in ["C", "C.UTF-8"] {
        let target = tempfile::tempdir().unwrap();
        let file = target.path().join("files.tar");
        fs::write(&file, &archive).unwrap();
        let directory = target.path().join("out");
        fs::create_dir(&directory).unwrap();
        let output = Command::new("tar")
            .args(["--xattrs", "--xattrs-include=*", "--acls", "-xpf"])
            .arg(&file)
            .arg("-C")
            .arg(&directory)
            .env("LC_ALL", locale)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert_eq!(said.lines().find(|line| !line.contains("time stamp")), None);
        assert_same(
            captured.proof.as_ref().unwrap(),
            &observe(&directory).unwrap(),
        );
        let terabyte = inside(&directory, &top).join("sparse/terabyte");
        assert!(fs::metadata(terabyte).unwrap().blocks() * 512 < 1 << 20);
    }
}

#[test]
fn gnu_tar_archives_of_every_format_extract_alike() {
    let source = tempfile::tempdir().unwrap();
    let top = source.path().join("top");
    tree::awkward(&top);
    fs::remove_dir_all(top.join("special")).unwrap();
    // GNU tar gives up on names and numbers that its older format cannot hold.
    let proof = observe(source.path()).unwrap();
    for arguments in [
        [
            "--format=posix",
            "--xattrs",
            "--xattrs-include=*",
            "--acls",
            "--sparse",
        ],
        [
            "--format=gnu",
            "--sparse",
            "--numeric-owner",
            "--no-xattrs",
            "--no-acls",
        ],
    ] {
        let target = tempfile::tempdir().unwrap();
        let file = target.path().join("files.tar");
        let output = Command::new("tar")
            .args(arguments)
            .arg("-cf")
            .arg(&file)
            .arg("-C")
            .arg(source.path())
            .arg(".")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let directory = target.path().join("out");
        fs::create_dir(&directory).unwrap();
        let extracted = extract(&mut fs::File::open(&file).unwrap(), &directory, &Silent).unwrap();
        assert_eq!(extracted.warnings, Vec::<String>::new());
        let mut observed = observe(&directory).unwrap();
        // GNU tar keeps its own idea of which name of a hard-linked file is the first, which the
        // proof does not see: it looks at the restored tree.
        let mut expected = proof.clone();
        if arguments[0] == "--format=gnu" {
            assert_eq!(totals(&expected).content, totals(&observed).content);
            for proof in [&mut expected, &mut observed] {
                if let Fingerprint::Files(totals) = &mut proof.fingerprint {
                    (totals.metadata, totals.ownership) = Default::default();
                }
                if let Inventory::Files { entries } = &mut proof.inventory {
                    *entries = entries
                        .iter()
                        .map(|entry| FileEntry {
                            xattrs: None,
                            ..entry
                        })
                        .collect();
                }
            }
        }
        assert_same(&expected, &observed);
    }
}

/// Each change to a restored tree must show in the part of the proof that is about it.
#[test]
fn every_change_to_a_restored_tree_shows() {
    let source = tempfile::tempdir().unwrap();
    let top = source.path().join("top");
    tree::awkward(&top);
    let (archive, captured) = take(&top);
    let expected = settable(captured.proof.as_ref().unwrap());
    type Change = fn(&Path);
    let changes: [(&str, &str, Change); 12] = [
        ("content", "content", |top| {
            let path = top.join("first");
            let time = fs::metadata(&path).unwrap();
            fs::write(&path, b"Shared by three names").unwrap();
            tree::set_mtime(&path, time.mtime(), 0);
        }),
        ("one byte in a terabyte", "content", |top| {
            let path = top.join("sparse/terabyte");
            let time = fs::metadata(&path).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.write_all_at(b"!", 3 << 38).unwrap();
            tree::set_mtime(&path, time.mtime(), 0);
        }),
        ("a deleted file", "content", |top| {
            fs::remove_file(top.join("acl")).unwrap()
        }),
        ("an added file", "content", |top| {
            fs::write(top.join("new"), b"").unwrap()
        }),
        ("an added directory", "content", |top| {
            fs::create_dir(top.join("new")).unwrap()
        }),
        ("a renamed file", "content", |top| {
            fs::rename(top.join("acl"), top.join("lca")).unwrap()
        }),
        ("a link's target", "content", |top| {
            fs::remove_file(top.join("dangling")).unwrap();
            symlink("elsewhere", top.join("dangling")).unwrap();
            if tree::privileged() {
                tree::give(&top.join("dangling"), 12, 13);
            }
        }),
        ("a hard link cut", "content", |top| {
            fs::copy(top.join("second"), top.join("third")).unwrap();
            fs::rename(top.join("third"), top.join("second")).unwrap();
        }),
        ("mode", "metadata", |top| {
            fs::set_permissions(
                top.join("first"),
                std::os::unix::fs::PermissionsExt::from_mode(0o600),
            )
            .unwrap();
        }),
        ("time", "metadata", |top| {
            tree::set_mtime(&top.join("acl"), 5, 0)
        }),
        ("attribute", "metadata", |top| {
            tree::set_attribute(&top.join("attributes"), "user.plain", b"Value")
        }),
        ("access control list", "metadata", |top| {
            xattr::remove(top.join("acl directory"), "system.posix_acl_default").unwrap();
        }),
    ];
    for (what, part, change) in changes {
        let (target, proof) = restored(&archive);
        assert_eq!(settable(&proof), expected, "before: {what}");
        change(&inside(target.path(), &top));
        let observed = observe(target.path()).unwrap();
        let observed = totals(&observed);
        match part {
            "content" => assert_ne!(observed.content, expected.content, "{what}"),
            _ => {
                assert_ne!(observed.metadata, expected.metadata, "{what}");
                assert_eq!(observed.content, expected.content, "{what}");
            }
        }
    }
    if tree::privileged() {
        let (target, _) = restored(&archive);
        tree::give(&inside(target.path(), &top).join("acl"), 77, 77);
        let observed = observe(target.path()).unwrap();
        assert_ne!(totals(&observed).ownership, expected.ownership);
        assert_eq!(totals(&observed).metadata, expected.metadata);
        xattr::remove(
            inside(target.path(), &top).join("capable"),
            "security.capability",
        )
        .unwrap();
        let without = observe(target.path()).unwrap();
        assert_ne!(totals(&without).ownership, totals(&observed).ownership);
    }
}

#[test]
fn missing_paths_fail_before_a_byte_and_optional_ones_warn() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("there"), b"x").unwrap();
    let absent = source.path().join("absent");
    let mut bytes = Vec::new();
    let error = capture(config(&[source.path(), &absent]), &mut bytes).unwrap_err();
    assert_eq!(error.code, Code::SourceMissing);
    assert!(error.message.contains("absent") && error.hint.is_some());
    assert!(bytes.is_empty());
    let optional = FilesConfig {
        optional: vec![absent],
        ..config(&[source.path()])
    };
    let captured = capture(optional, &mut bytes).unwrap();
    assert!(
        captured
            .warnings
            .iter()
            .any(|warning| warning.contains("absent"))
    );
    assert!(captured.skipped.is_empty());
    for path in ["relative", "/a/../b"] {
        let error = FilesSource::new(config(&[Path::new(path)])).unwrap_err();
        assert_eq!(error.code, Code::Configuration);
    }
    let error = FilesSource::new(FilesConfig::default()).unwrap_err();
    assert_eq!(error.code, Code::Configuration);
}

#[test]
fn excludes_overlapping_paths_and_links_are_honoured() {
    let source = tempfile::tempdir().unwrap();
    let top = source.path().canonicalize().unwrap();
    for directory in ["a/node_modules/kept/in", "a/logs", "b", "real"] {
        fs::create_dir_all(top.join(directory)).unwrap();
    }
    for file in [
        "a/x.log",
        "a/x.txt",
        "a/node_modules/lost",
        "a/node_modules/kept/in/y",
        "b/z",
        "real/q",
    ] {
        fs::write(top.join(file), file).unwrap();
    }
    symlink("real", top.join("through")).unwrap();
    symlink("real", top.join("link")).unwrap();
    let config = FilesConfig {
        // Out of order, overlapping, below an excluded directory, twice, and through a link.
        paths: ["b", "a/node_modules/kept", "a", "a", "link", "through/q"]
            .map(|p| top.join(p))
            .to_vec(),
        exclude: vec!["node_modules".into(), "*.log".into(), "logs/".into()],
        ..FilesConfig::default()
    };
    let mut bytes = Vec::new();
    let captured = capture(config, &mut bytes).unwrap();
    let (_target, proof) = restored(&bytes);
    assert_same(captured.proof.as_ref().unwrap(), &proof);
    let prefix = format!("{}/", relative(&top).display());
    let entries = entries(&proof);
    let names: Vec<&str> = entries
        .iter()
        .filter_map(|entry| entry.path.strip_prefix(&prefix))
        .collect();
    let expected = [
        "a",
        "a/node_modules",
        "a/node_modules/kept",
        "a/node_modules/kept/in",
        "a/node_modules/kept/in/y",
        "a/x.txt",
        "b",
        "b/z",
        "link",
        "through",
        "through/q",
    ];
    assert_eq!(names, expected);
    assert!(
        captured
            .warnings
            .iter()
            .any(|w| w.contains("/link is a symbolic link"))
    );
    let first = &entries[0];
    assert_eq!(
        (first.kind, first.path.contains('/')),
        (FileKind::Directory, false)
    );
}

#[test]
fn one_file_system_is_not_left() {
    if needs_root("mount a file system") {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    let mounted = source.path().join("mounted");
    fs::create_dir(&mounted).unwrap();
    fs::write(source.path().join("here"), b"x").unwrap();
    let mount = |arguments: &[&str]| {
        Command::new(arguments[0])
            .args(&arguments[1..])
            .arg(&mounted)
            .status()
    };
    if !mount(&["mount", "-t", "tmpfs", "tmpfs"]).is_ok_and(|status| status.success()) {
        return;
    }
    fs::write(mounted.join("elsewhere"), b"x").unwrap();
    let take = |one_file_system, paths: &[&Path]| {
        let mut bytes = Vec::new();
        let config = FilesConfig {
            one_file_system,
            ..config(paths)
        };
        let captured = capture(config, &mut bytes).unwrap();
        totals(captured.proof.as_ref().unwrap()).files
    };
    let counts = [
        take(false, &[source.path()]),
        take(true, &[source.path()]),
        take(true, &[source.path(), &mounted]),
    ];
    mount(&["umount"]).unwrap();
    assert_eq!(counts, [2, 1, 2]);
}

#[test]
fn a_failing_store_shows_as_itself() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(Error::new(Code::Store, "the store is full").into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("large"), vec![1; 1 << 20]).unwrap();
    let error = capture(config(&[source.path()]), &mut Full).unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (Code::Store, "the store is full")
    );
}

/// Runs the rest of a test as nobody, in a child of its own.
fn as_nobody(test: &str, directory: &Path) -> Option<bool> {
    if !tree::privileged() || std::env::var_os("LIFEBOAT_TEST_AS_NOBODY").is_some() {
        return None;
    }
    let program = std::env::current_exe().unwrap();
    let copy = directory.join("test-program");
    fs::copy(program, &copy).unwrap();
    let status = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .args(["--exact", test, "--nocapture"])
        .env("LIFEBOAT_TEST_AS_NOBODY", directory)
        .env("TMPDIR", directory.join("work"))
        .output()
        .unwrap();
    let said = [status.stdout, status.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        status.status.success() && said.contains("1 passed"),
        "{said}"
    );
    Some(true)
}

#[test]
fn without_privilege_what_cannot_be_read_is_partial_and_owners_are_a_limit() {
    let outer = tempfile::tempdir().unwrap();
    let directory = match std::env::var_os("LIFEBOAT_TEST_AS_NOBODY") {
        Some(directory) => PathBuf::from(directory),
        None => {
            let top = outer.path().join("tree");
            tree::awkward(&top);
            fs::create_dir(top.join("closed")).unwrap();
            fs::write(top.join("closed/in"), b"x").unwrap();
            for (path, mode) in [("closed", 0o000), ("first", 0o600)] {
                fs::set_permissions(
                    top.join(path),
                    std::os::unix::fs::PermissionsExt::from_mode(mode),
                )
                .unwrap();
            }
            // What root takes, nobody restores.
            let (archive, captured) = take(&top);
            fs::write(outer.path().join("by-root.tar"), archive).unwrap();
            fs::write(
                outer.path().join("by-root.json"),
                serde_json::to_vec(captured.proof.as_ref().unwrap()).unwrap(),
            )
            .unwrap();
            let work = outer.path().join("work");
            fs::create_dir(&work).unwrap();
            fs::set_permissions(&work, std::os::unix::fs::PermissionsExt::from_mode(0o777))
                .unwrap();
            fs::set_permissions(
                outer.path(),
                std::os::unix::fs::PermissionsExt::from_mode(0o755),
            )
            .unwrap();
            let name = "source::files::tests::without_privilege_what_cannot_be_read_is_partial_and_owners_are_a_limit";
            as_nobody(name, outer.path());
            return;
        }
    };
    let (archive, captured) = take(&directory.join("tree"));
    for (name, reason) in [("tree/first", "opened"), ("tree/closed", "entered")] {
        let found = captured
            .skipped
            .iter()
            .find(|s| s.name.ends_with(name))
            .unwrap();
        assert!(found.partial && found.reason.contains(reason), "{found:?}");
    }
    let target = tempfile::tempdir().unwrap();
    let extracted = extract(&mut &archive[..], target.path(), &Silent).unwrap();
    assert!(!extracted.owners_restored);
    assert!(!extracted.owners_restored);
    let proof = observe(target.path()).unwrap();
    assert_eq!(
        totals(&proof).content,
        totals(captured.proof.as_ref().unwrap()).content
    );

    let archive = fs::read(directory.join("by-root.tar")).unwrap();
    let captured: Proof =
        serde_json::from_slice(&fs::read(directory.join("by-root.json")).unwrap()).unwrap();
    let target = tempfile::tempdir().unwrap();
    let extracted = extract(&mut &archive[..], target.path(), &Silent).unwrap();
    assert!(!extracted.owners_restored);
    assert!(
        extracted
            .warnings
            .iter()
            .any(|w| w.contains("trusted.note")),
        "{:?}",
        extracted.warnings
    );
    let proof = observe(target.path()).unwrap();
    let owned = |entry: &FileEntry| FileEntry {
        uid: 0,
        gid: 0,
        mtime: 0,
        ..entry.clone()
    };
    for (expected, found) in entries(&captured).iter().zip(&entries(&proof)) {
        assert_eq!(owned(expected), owned(found));
    }
    assert_eq!(totals(&proof).content, totals(&captured).content);
    assert_eq!(totals(&proof).metadata, totals(&captured).metadata);
    assert_ne!(totals(&proof).ownership, totals(&captured).ownership);
}

#[test]
fn many_small_files_are_quick() {
    let source = tempfile::tempdir().unwrap();
    for directory in 0..100 {
        let directory = source.path().join(format!("d{directory}"));
        fs::create_dir(&directory).unwrap();
        for file in 0..100 {
            fs::write(directory.join(format!("f{file}")), format!("{file}")).unwrap();
        }
    }
    let started = Instant::now();
    let captured = capture(config(&[source.path()]), &mut std::io::sink()).unwrap();
    assert_eq!(totals(captured.proof.as_ref().unwrap()).files, 10_000);
    let seconds = started.elapsed().as_secs_f64();
    println!("10,000 files in {seconds:.2} s");
    assert!(seconds < 20.0, "{seconds}");
}

#[test]
fn examination_names_what_cannot_be_read() {
    let scratch = tempfile::tempdir().unwrap();
    let context = CaptureContext {
        scratch: scratch.path(),
        scrubber: &Scrubber::default(),
        observer: &Silent,
        queries: &[],
    };
    let config = FilesConfig {
        optional: vec!["/no/such/optional".into()],
        ..config(&[scratch.path(), Path::new("/no/such")])
    };
    let findings = FilesSource::new(config)
        .unwrap()
        .examine("source.files", &context);
    let grave: Vec<_> = findings.iter().map(|f| f.severity).collect();
    assert_eq!(grave, [Severity::Error, Severity::Warning]);
    assert!(findings[0].message.contains("/no/such") && findings[0].hint.is_some());
}

#[test]
fn a_mount_that_does_not_answer_is_named_and_an_excluded_one_not_touched() {
    let place = tempfile::tempdir().unwrap();
    let (tree, mount) = (place.path().join("d"), place.path().join("d/m"));
    fs::create_dir_all(&mount).unwrap();
    fs::write(tree.join("z"), "z").unwrap();
    // Without /dev/fuse, or the right to mount, there is nothing to test.
    let Some(_silent) = lifeboat_testkit::silent::Silent::mount(&mount) else {
        return;
    };
    let context = CaptureContext {
        scratch: place.path(),
        scrubber: &Scrubber::default(),
        observer: &Silent,
        queries: &[],
    };
    let taken = |config: FilesConfig, patience| {
        let mut source = FilesSource::new(config).unwrap();
        source.patience = patience;
        source.capture("files", &mut Vec::new(), &context)
    };
    let short = Duration::from_millis(200);
    let captured = taken(config(&[&tree]), short).unwrap();
    let [skipped] = captured.skipped.as_slice() else {
        panic!("{:?}", captured.skipped);
    };
    assert_eq!(skipped.name, mount.display().to_string());
    assert!(
        skipped.partial && skipped.reason.contains("does not answer"),
        "{skipped:?}"
    );
    assert_eq!(totals(captured.proof.as_ref().unwrap()).files, 1);
    let captured = taken(config(&[&mount, &tree.join("z")]), short).unwrap();
    assert_eq!(captured.skipped.len(), 1, "{:?}", captured.skipped);
    let error = taken(config(&[&mount]), short).unwrap_err();
    assert_eq!(error.code, Code::SourceUnreachable);
    // By name, by path, as a directory, and as another file system.
    for exclude in ["m", "d/m", "m/", ""] {
        let leaves_out = FilesConfig {
            exclude: vec![exclude.to_owned()]
                .into_iter()
                .filter(|e| !e.is_empty())
                .collect(),
            one_file_system: exclude.is_empty(),
            ..config(&[&tree])
        };
        let captured = taken(leaves_out, Duration::from_secs(3600)).unwrap();
        assert_eq!(
            captured.skipped.len(),
            0,
            "{exclude:?}: {:?}",
            captured.skipped
        );
    }
}
