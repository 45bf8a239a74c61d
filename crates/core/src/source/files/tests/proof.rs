//! The proof of a tree shows every change.

use super::*;

/// A change to the tree of [`tree::awkward`].
type Change = fn(&Path);

/// Changes, each with the part of the proof in which it must show.
const CHANGES: &[(&str, &str, Change)] = &[
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

/// Each change to a restored tree must show in the part of the proof that is about it.
#[test]
fn every_change_to_a_restored_tree_shows() {
    let source = tempfile::tempdir().unwrap();
    let top = source.path().join("top");
    tree::awkward(&top);
    let (archive, captured) = take(&top);
    let expected = settable(captured.proof.as_ref().unwrap());
    for (what, part, change) in CHANGES {
        let (target, proof) = restored(&archive);
        assert_eq!(settable(&proof), expected, "before: {what}");
        change(&inside(target.path(), &top));
        let observed = observe(target.path()).unwrap();
        let observed = totals(&observed);
        match *part {
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
