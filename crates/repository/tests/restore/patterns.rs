//! Tests which entries of a snapshot are restored: by path, and by patterns.

use super::*;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The files of the tree on which patterns are tried.
const PATHS: &[&str] = &[
    "a/b/c.txt",
    "a/b/d.TXT",
    "a/e/c.txt",
    "foo/bar/x",
    "foo/x/bar",
    "x/foo/bar/y",
    "[a]/b",
    "st*r/q",
    "é/ü",
    "-dash/^",
    "foo",
    "a.b/c",
];

/// The patterns of each command, without the path of the tree.
const LISTS: &[&[&str]] = &[
    &["c.txt"],
    &["*.txt"],
    &["*.[a-z][^a-z][a-z]"],
    &["foo/bar"],
    &["foo/**/bar"],
    &["**/bar"],
    &["b/**"],
    &["?"],
    &["[^a-z]*"],
    &["[é-ü]"],
    &[r"\[a\]"],
    &[r"st\*r"],
    &["st*r/"],
    &["./a//b/../e"],
    &["a.*"],
    &["bad?"],
    &["bad[^x]"],
    &["*", "!b"],
    &["*", "!*.txt", "c.txt"],
    &["x", "!bar"],
    &["/"],
    &["**"],
    &["tree"],
    &["../a"],
    &["TREE", "!B"],
    &["É"],
    &["*.Txt"],
    &["!a"],
];

#[test]
fn a_part_of_a_snapshot_is_restored() {
    let place = Place::new();
    fs::create_dir_all(place.tree().join("a/b")).unwrap();
    fs::write(place.tree().join("a/b/file"), "one").unwrap();
    fs::write(place.tree().join("a/other"), "two").unwrap();
    fs::write(place.tree().join("top"), "three").unwrap();
    let repository = create(&place.path("r"));
    let backup = back_up(&repository, &place.tree(), None);
    let mut options = place.options(backup.snapshot);
    options.within = place.tree().join("a");
    run_well(&repository, &options);
    assert_same(&place.tree().join("a"), &place.back());

    options.within = place.tree().join("a/b/file");
    options.target = place.path("one");
    let report = run_well(&repository, &options);
    assert_eq!(report.files, 1);
    assert_same(&place.tree().join("a/b"), &place.path("one"));

    for absent in ["a/x", "a/b/file/x", "../tree"] {
        options.within = place.tree().join(absent);
        let (index, _) = repository.load_index().unwrap();
        let error = restore::run(&repository, &index, &options).unwrap_err();
        assert!(matches!(error, Error::NotInSnapshot { .. }), "{error}");
    }
}

#[test]
fn only_what_is_included_and_not_excluded_is_restored() {
    let place = Place::new();
    for path in [
        "a/keep.txt",
        "a/drop.bin",
        "b/c/keep.txt",
        "b/c/KEEP.TXT2",
        "empty/x",
    ] {
        let path = place.tree().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    set_mtime(&place.tree().join("b"), 7, 7);
    let repository = create(&place.path("r"));
    let backup = back_up(&repository, &place.tree(), None);
    let mut options = place.options(backup.snapshot);
    options.include = Patterns::new(&["*.txt"], &["keep.t*2"]).unwrap();
    options.exclude = Patterns::new(&["/a"], &[]).unwrap();
    let report = run_well(&repository, &options);
    assert_eq!((report.files, report.directories), (2, 2));
    let mut there: Vec<PathBuf> = common::listing(&place.back()).into_keys().collect();
    there.sort();
    let expected = ["b", "b/c", "b/c/KEEP.TXT2", "b/c/keep.txt"];
    assert_eq!(there, expected.map(PathBuf::from));
    // A directory that only leads to a selected entry has its metadata, too.
    assert_eq!(fs::metadata(place.back().join("b")).unwrap().mtime(), 7);
}

#[test]
fn patterns_mean_the_same_as_in_restic() {
    let place = Place::new();
    for path in PATHS {
        let path = place.tree().join(path);
        if path.is_dir() {
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    fs::write(place.tree().join(OsStr::from_bytes(b"bad\xff")), "x").unwrap();
    let repository = create(&place.path("r"));
    let tree = back_up(&repository, &place.tree(), None).tree;
    let root = place.tree().to_str().unwrap().to_owned();
    let rooted = |pattern: &str| format!("{root}{pattern}");
    let lists: Vec<Vec<String>> = LISTS
        .iter()
        .map(|list| list.iter().map(|pattern| (*pattern).to_owned()).collect())
        .chain([
            vec![rooted("/a")],
            vec![rooted("/a/*/c.txt")],
            vec![rooted("/**/c.txt")],
            vec![rooted("/foo/bar/nothing")],
            vec![rooted("/a"), format!("!{}", rooted("/a/b"))],
            vec![rooted("/*"), "!c.txt".to_owned()],
            vec![rooted("/a/b/"), rooted("/x/**/y")],
        ])
        .collect();
    for (number, list) in lists.iter().enumerate() {
        for (flag, exclude, insensitive) in [
            ("--include", false, false),
            ("--exclude", true, false),
            ("--iinclude", false, true),
            ("--iexclude", true, true),
        ] {
            let cased = list.iter().any(|p| p.chars().any(char::is_uppercase));
            if insensitive && !cased || exclude && number % 2 == 1 {
                continue;
            }
            let theirs = place.path("theirs");
            let ours = place.back();
            let mut args = vec!["restore", "latest", "--target", theirs.to_str().unwrap()];
            list.iter().for_each(|pattern| args.extend([flag, pattern]));
            restic(&place.path("r"), "x", &args);
            let mut options = Options::new(Source::Tree(tree), &ours);
            let patterns = match insensitive {
                true => Patterns::new(&[], list),
                false => Patterns::new(list, &[]),
            };
            match exclude {
                true => options.exclude = patterns.unwrap(),
                false => options.include = patterns.unwrap(),
            }
            run_well(&repository, &options);
            let there = |root: &Path| match root.exists() {
                true => common::listing(root).into_keys().collect(),
                false => Vec::new(),
            };
            assert_eq!(there(&ours), there(&theirs), "{flag} {list:?}");
            let _ = fs::remove_dir_all(&theirs);
            fs::remove_dir_all(&ours).unwrap();
        }
    }
}
