//! Tests of restores that need several rounds. Rounds are short in tests.

use super::{Options, Source, run};
use crate::backup::tests::back_up;
use crate::{Author, Repository};
use lifeboat_store::LocalStore;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may write files directly")]
fn a_large_restore_takes_several_rounds() {
    let directory = tempfile::tempdir().unwrap();
    let (tree, back) = (directory.path().join("tree"), directory.path().join("back"));
    for number in 0..9 {
        let at = tree.join(format!("{number}/deeper/{number}"));
        fs::create_dir_all(&at).unwrap();
        for file in 0..70 {
            // One file in three shares its content with another.
            let content = format!("{}", file * 2 / 3);
            fs::write(at.join(file.to_string()), content).unwrap();
        }
        if number > 0 {
            fs::hard_link(tree.join("0/deeper/0/1"), at.join("other name")).unwrap();
        }
    }
    let store = Arc::new(LocalStore::create(&directory.path().join("r")).unwrap());
    let repository = Repository::create(store, "", b"x", &Author::default()).unwrap();
    let backup = back_up(&repository, &tree, None);
    let (index, _) = repository.load_index().unwrap();
    for delete in [false, true] {
        let mut options = Options::new(Source::Snapshot(backup.snapshot), &back);
        options.within = tree.clone();
        options.delete = delete;
        let report = run(&repository, &index, &options).unwrap();
        assert!(
            report.failed.is_empty() && report.unset.is_empty(),
            "{report:?}"
        );
        let files = report.files + report.unchanged + report.hard_links;
        assert_eq!(
            (files, report.directories, report.deleted),
            (9 * 70 + 8, 27, 0)
        );
        let progress = &options.progress;
        assert_eq!(progress.files.load(Ordering::Relaxed), 9 * 70 + 8);
        assert_eq!(progress.files_done.load(Ordering::Relaxed), 9 * 70 + 8);
        for number in 0..9 {
            let at = |root: &std::path::Path| root.join(format!("{number}/deeper/{number}"));
            for file in 0..70 {
                let content = fs::read_to_string(at(&back).join(file.to_string())).unwrap();
                assert_eq!(content, format!("{}", file * 2 / 3));
            }
            let time = |root| fs::metadata(at(root)).unwrap().mtime_nsec();
            assert_eq!(time(&tree), time(&back));
        }
        let first = fs::metadata(back.join("0/deeper/0/1")).unwrap();
        assert_eq!(first.nlink(), 9);
    }
}
