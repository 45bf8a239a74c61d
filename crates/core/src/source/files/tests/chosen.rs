//! Which paths are captured: those that are named, without what is excluded, on file systems that
//! answer.

use super::*;

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
fn a_mount_that_does_not_answer_is_named_and_an_excluded_one_not_touched() {
    let place = tempfile::tempdir().unwrap();
    let (tree, mount) = (place.path().join("d"), place.path().join("d/m"));
    fs::create_dir_all(&mount).unwrap();
    fs::write(tree.join("z"), "z").unwrap();
    // Without /dev/fuse, or without the right to mount, there is nothing to test.
    let Some(_silent) = lifeboat_testkit::silent::Silent::mount(&mount) else {
        return;
    };
    let context = CaptureContext {
        render: &|template| Ok(template.to_owned()),
        scratch: place.path(),
        scrubber: &Scrubber::default(),
        reporter: &Reporter::silent(),
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
