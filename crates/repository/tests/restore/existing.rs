//! Restores over existing entries: from an earlier restore, changed since, or in the way.

use super::*;

/// Makes a backup of a tree, and a target that differs from it in every way.
fn changed() -> (Place, Repository, Id) {
    let place = Place::new();
    let (tree, back) = (place.tree(), place.back());
    let write = |path: &Path, content: &[u8], time: i64| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        set_mtime(path, time, 0);
    };
    let large = noise(5 << 20, 5);
    let mut changed = large.clone();
    changed[3 << 20] ^= 1;
    for (name, content, old, time) in [
        ("same", &b"same"[..], Some(&b"same"[..]), 1000),
        ("older there", b"new", Some(b"old"), 500),
        ("newer there", b"new", Some(b"old"), 2000),
        ("same time", b"new", Some(b"old"), 1000),
        ("same time other size", b"new", Some(b"older"), 1000),
        ("absent", b"new", None, 0),
        ("dir/longer", b"new", Some(b"new and more"), 500),
        ("large", &large, Some(&changed), 500),
        ("large cut", &large, Some(&large[..2 << 20]), 500),
    ] {
        write(&tree.join(name), content, 1000);
        if let Some(old) = old {
            write(&back.join(name), old, time);
        }
    }
    symlink("there", tree.join("link")).unwrap();
    symlink("elsewhere", back.join("link")).unwrap();
    set_mtime(&back.join("link"), 500, 0);
    set_mtime(&tree.join("link"), 1000, 0);
    write(&back.join("extra"), b"extra", 1000);
    write(&back.join("dir/extra/deep"), b"extra", 1000);
    set_attribute(&back.join("same"), "user.stale", b"x");
    let repository = create(&place.path("r"));
    let backup = back_up(&repository, &tree, None);
    (place, repository, backup.snapshot)
}

/// The content of each file that can differ, in the order of `names`.
fn contents(place: &Place, names: &[&str]) -> Vec<String> {
    let read = |name: &&str| fs::read(place.back().join(name)).unwrap_or_default();
    let text = |content: Vec<u8>| String::from_utf8_lossy(&content).into_owned();
    names.iter().map(read).map(text).collect()
}

const NAMES: [&str; 6] = [
    "older there",
    "newer there",
    "same time",
    "same time other size",
    "absent",
    "dir/longer",
];

#[test]
fn existing_entries_become_what_the_snapshot_has() {
    let (place, repository, snapshot) = changed();
    let mut options = place.options(snapshot);
    let told = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&told);
    options.observer = Observer(Some(Arc::new(move |path: &Path, action| {
        hears.lock().unwrap().push((path.to_owned(), action));
    })));
    let inode = |name: &str| fs::metadata(place.back().join(name)).unwrap().ino();
    let (same, large) = (inode("same"), inode("large"));
    let report = run_well(&repository, &options);
    assert_eq!(contents(&place, &NAMES), ["new"; 6]);
    assert_eq!((report.unchanged, report.files, report.specials), (1, 8, 1));
    assert_eq!(same, inode("same"));
    // A new file replaced the old one, so that a reader of the old one is not disturbed.
    assert_ne!(large, inode("large"));
    assert!(place.back().join("extra").exists());
    let told = told.lock().unwrap();
    assert!(told.contains(&("/same".into(), Action::Unchanged)));
    assert!(told.contains(&("/dir/longer".into(), Action::Restored)));
    assert_eq!(told.len(), 10);

    options.delete = true;
    options.observer = Observer::default();
    let report = run_well(&repository, &options);
    assert_eq!(report.deleted, 3);
    assert_same(&place.tree(), &place.back());
}

#[test]
fn parts_that_are_right_are_not_fetched() {
    // The places of the cuts are random: in one of these repositories they suit the test.
    let most_is_reused = |_| {
        let (place, repository, snapshot) = changed();
        let report = run_well(&repository, &place.options(snapshot));
        report.bytes_reused > 2 << 20 && report.bytes_read < 5 << 20
    };
    assert!((0..8).any(most_is_reused));
}

#[test]
fn every_overwrite_mode_works_as_in_restic() {
    let (place, repository, snapshot) = changed();
    let mut options = place.options(snapshot);
    options.overwrite = Overwrite::Never;
    let report = run_well(&repository, &options);
    let expected = ["old", "old", "old", "older", "new", "new and more"];
    assert_eq!(contents(&place, &NAMES), expected);
    assert_eq!((report.files, report.skipped), (1, 9));
    assert_eq!(
        fs::read_link(place.back().join("link")).unwrap(),
        Path::new("elsewhere")
    );

    let (place, repository, snapshot) = changed();
    let mut options = place.options(snapshot);
    options.overwrite = Overwrite::IfNewer;
    let report = run_well(&repository, &options);
    let expected = ["new", "old", "old", "older", "new", "new"];
    assert_eq!(contents(&place, &NAMES), expected);
    assert_eq!((report.files, report.skipped, report.specials), (5, 4, 1));

    let (place, repository, snapshot) = changed();
    let mut options = place.options(snapshot);
    options.overwrite = Overwrite::IfChanged;
    let report = run_well(&repository, &options);
    let expected = ["new", "new", "old", "new", "new", "new"];
    assert_eq!(contents(&place, &NAMES), expected);
    assert_eq!((report.files, report.unchanged), (7, 2));
    // A file taken to be right has its metadata set all the same.
    assert!(
        xattr::get(place.back().join("same"), "user.stale")
            .unwrap()
            .is_none()
    );
}

#[test]
fn a_dry_run_reports_and_changes_nothing() {
    let (place, repository, snapshot) = changed();
    let before = common::listing(&place.back());
    let mut options = place.options(snapshot);
    options.dry_run = true;
    options.delete = true;
    let report = run_well(&repository, &options);
    assert_eq!((report.files, report.unchanged, report.specials), (8, 1, 1));
    assert_eq!(report.deleted, 2);
    assert_eq!(before, common::listing(&place.back()));
    options.target = place.path("nowhere");
    let report = run_well(&repository, &options);
    assert_eq!((report.files, report.unchanged, report.specials), (9, 0, 1));
    assert!(!place.path("nowhere").exists());
}

#[test]
fn deleting_is_bounded_by_the_patterns_and_never_all_of_root() {
    let (place, repository, snapshot) = changed();
    let mut options = place.options(snapshot);
    options.delete = true;
    options.include = Patterns::new(&["/dir"], &[]).unwrap();
    fs::write(place.back().join("dir/mine.keep"), "x").unwrap();
    options.exclude = Patterns::new(&["*.keep"], &[]).unwrap();
    let report = run_well(&repository, &options);
    assert_eq!(report.deleted, 2);
    assert!(!place.back().join("dir/extra").exists());
    for kept in ["extra", "dir/mine.keep"] {
        assert!(place.back().join(kept).exists(), "{kept}");
    }
    assert_eq!(fs::read(place.back().join("same time")).unwrap(), b"old");

    let mut options = Options::new(Source::Snapshot(snapshot), Path::new("/."));
    options.delete = true;
    options.dry_run = true;
    let (index, _) = repository.load_index().unwrap();
    let error = restore::run(&repository, &index, &options).unwrap_err();
    assert!(matches!(error, Error::DeletesAll), "{error}");
}

#[test]
fn entries_in_the_way_are_replaced_and_links_are_not_followed() {
    let place = Place::new();
    let (tree, back) = (place.tree(), place.back());
    fs::create_dir_all(tree.join("dir")).unwrap();
    for name in ["dir/file", "file", "emptied", "full"] {
        fs::write(tree.join(name), "restored").unwrap();
    }
    symlink("target", tree.join("link")).unwrap();
    let outside = place.path("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("file"), "mine").unwrap();
    fs::create_dir_all(back.join("full/of")).unwrap();
    fs::create_dir_all(back.join("emptied")).unwrap();
    fs::create_dir_all(back.join("link")).unwrap();
    symlink(&outside, back.join("dir")).unwrap();
    symlink(outside.join("file"), back.join("file")).unwrap();
    let repository = create(&place.path("r"));
    let snapshot = back_up(&repository, &tree, None).snapshot;
    let mut options = place.options(snapshot);

    options.overwrite = Overwrite::Never;
    let report = run(&repository, &options);
    assert_eq!(report.failed.len(), 1, "{:?}", report.failed);
    assert_eq!(report.failed[0].path, Path::new("/dir"));

    options.overwrite = Overwrite::Always;
    let report = run(&repository, &options);
    assert_eq!(report.failed.len(), 1, "{:?}", report.failed);
    assert_eq!(report.failed[0].path, Path::new("/full"));
    assert!(back.join("full/of").exists());
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);

    options.delete = true;
    run_well(&repository, &options);
    assert_same(&tree, &back);
}

#[test]
fn a_replaced_file_stays_under_its_other_names() {
    let place = Place::new();
    let (tree, back) = (place.tree(), place.back());
    for root in [&tree, &back] {
        fs::create_dir_all(root).unwrap();
        fs::write(root.join("one"), "content").unwrap();
    }
    fs::hard_link(back.join("one"), place.path("elsewhere")).unwrap();
    let repository = create(&place.path("r"));
    let snapshot = back_up(&repository, &tree, None).snapshot;
    let report = run_well(&repository, &place.options(snapshot));
    assert_eq!((report.files, report.bytes_reused), (1, 7));
    assert_same(&tree, &back);
    assert_eq!(fs::metadata(place.path("elsewhere")).unwrap().nlink(), 1);
}

#[test]
fn an_interrupted_restore_continues() {
    let place = Place::new();
    let (tree, back) = (place.tree(), place.back());
    fs::create_dir_all(&tree).unwrap();
    fs::create_dir_all(&back).unwrap();
    let content = noise(9 << 20, 9);
    fs::write(tree.join("large"), &content).unwrap();
    let repository = create(&place.path("r"));
    let snapshot = back_up(&repository, &tree, None).snapshot;
    let mut half = content.clone();
    half[5 << 20..].fill(0);
    fs::write(back.join("large.lifeboat-partial"), &half).unwrap();
    let mut options = place.options(snapshot);
    options.sparse = true;
    let report = run_well(&repository, &options);
    // Only parts that are not entirely in the right section are fetched.
    let (mut right, mut buffer) = (0, Vec::new());
    let mut chunks = Chunks::new(repository.chunker(), content.as_slice(), &mut buffer);
    while let Some(chunk) = chunks.next().unwrap() {
        if right + chunk.len() > 5 << 20 {
            break;
        }
        right += chunk.len();
    }
    let rest = (content.len() - right) as u64;
    assert!(report.bytes_read < rest + 200_000, "{}", report.bytes_read);
    assert_same(&tree, &back);

    // Something else may have that name; it stays.
    for other in ["link", "linked"] {
        fs::remove_file(back.join("large")).unwrap();
        let partial = back.join("large.lifeboat-partial");
        fs::write(place.path("mine"), "mine").unwrap();
        match other {
            "link" => symlink(place.path("mine"), &partial).unwrap(),
            _ => fs::hard_link(place.path("mine"), &partial).unwrap(),
        }
        run_well(&repository, &options);
        assert_eq!(fs::read(&partial).unwrap(), b"mine");
        fs::remove_file(partial).unwrap();
        assert_same(&tree, &back);
    }
    fs::remove_file(place.path("mine")).unwrap();
}

#[test]
fn a_file_of_the_snapshot_may_have_the_name_of_a_partial_one() {
    let place = Place::new();
    fs::create_dir_all(place.tree()).unwrap();
    let content = noise(5 << 20, 9);
    fs::write(place.tree().join("x"), &content).unwrap();
    for name in ["x.lifeboat-partial", "x.lifeboat-partial-1"] {
        fs::write(place.tree().join(name), noise(5 << 20, 10)).unwrap();
    }
    let long = "l".repeat(255);
    fs::write(place.tree().join(&long), &content).unwrap();
    let repository = create(&place.path("r"));
    let snapshot = back_up(&repository, &place.tree(), None).snapshot;
    for _ in 0..2 {
        run_well(&repository, &place.options(snapshot));
        assert_same(&place.tree(), &place.back());
        fs::write(place.back().join("x"), "changed").unwrap();
        fs::write(place.back().join(&long), "changed").unwrap();
    }
}
