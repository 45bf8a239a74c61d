//! Captures and restores by a user who is not root, and what an examination reports to that user.

use super::*;
use std::os::unix::fs::PermissionsExt;

/// Runs the rest of a test as nobody, in a child process.
fn as_nobody(test: &str, directory: &Path) {
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
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Prepares what the test examines as nobody: `tree`, parts of which only root can read, the
/// archive that root captured of it, and `work`, where anybody can write.
fn lay_out_as_root(outer: &Path) {
    let top = outer.join("tree");
    tree::awkward(&top);
    fs::create_dir(top.join("closed")).unwrap();
    fs::write(top.join("closed/in"), b"x").unwrap();
    for (path, mode) in [("closed", 0o000), ("first", 0o600)] {
        set_mode(&top.join(path), mode);
    }
    // Nobody restores what root captured.
    let (archive, captured) = take(&top);
    fs::write(outer.join("by-root.tar"), archive).unwrap();
    fs::write(
        outer.join("by-root.json"),
        serde_json::to_vec(captured.proof.as_ref().unwrap()).unwrap(),
    )
    .unwrap();
    let work = outer.join("work");
    fs::create_dir(&work).unwrap();
    set_mode(&work, 0o777);
    set_mode(outer, 0o755);
}

#[test]
fn without_privilege_what_cannot_be_read_is_partial_and_owners_are_a_limit() {
    let outer = tempfile::tempdir().unwrap();
    let directory = match std::env::var_os("LIFEBOAT_TEST_AS_NOBODY") {
        Some(directory) => PathBuf::from(directory),
        None if needs_root("capture as another user") => return,
        None => {
            lay_out_as_root(outer.path());
            let name = "source::files::tests::privilege::without_privilege_what_cannot_be_read_is_partial_and_owners_are_a_limit";
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
    let extracted = extract(&mut &archive[..], target.path(), &Reporter::silent()).unwrap();
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
    let extracted = extract(&mut &archive[..], target.path(), &Reporter::silent()).unwrap();
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
fn examination_names_what_cannot_be_read() {
    let scratch = tempfile::tempdir().unwrap();
    let context = CaptureContext {
        render: &|template| Ok(template.to_owned()),
        scratch: scratch.path(),
        scrubber: &Scrubber::default(),
        reporter: &Reporter::silent(),
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
