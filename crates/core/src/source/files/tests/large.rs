//! A tree with more entries than fit in one batch.

use super::*;

#[test]
fn a_large_tree_is_observed_by_several_threads_as_it_was_captured() {
    let source = tempfile::tempdir().unwrap();
    for directory in 0..30 {
        let above = source.path().join(format!("d{directory:02}/deep"));
        fs::create_dir_all(&above).unwrap();
        for file in 0..40 {
            let content = vec![u8::try_from(file).unwrap(); directory * 100 + file];
            fs::write(above.join(format!("f{file:02}")), content).unwrap();
        }
        symlink("f00", above.join("link")).unwrap();
        // The first name of each lies in an earlier batch.
        fs::hard_link(
            source.path().join("d00/deep/f01"),
            above.join(format!("again{directory}")),
        )
        .unwrap();
    }
    let (archive, captured) = take(source.path());
    let target = tempfile::tempdir().unwrap();
    extract(&mut &archive[..], target.path(), &Reporter::silent()).unwrap();
    let observed = observe(target.path()).unwrap();
    let captured = captured.proof.unwrap();
    assert_eq!(captured.fingerprint, observed.fingerprint);
    assert_eq!(captured.inventory, observed.inventory);
    let damaged = find(target.path(), "f39");
    fs::write(damaged, b"x").unwrap();
    let observed = observe(target.path()).unwrap();
    assert_ne!(totals(&captured).content, totals(&observed).content);
}

/// The path of a file of this name somewhere below a directory.
fn find(directory: &Path, name: &str) -> PathBuf {
    let mut entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .find_map(|path| match path.is_dir() {
            true => Some(find(&path, name)),
            false => path.ends_with(name).then_some(path),
        })
        .unwrap()
}
