//! GNU tar reads our archives, and we read those of GNU tar.

use super::*;

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
    // GNU tar rejects names and numbers that its older format cannot hold.
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
        let extracted = extract(
            &mut fs::File::open(&file).unwrap(),
            &directory,
            &Reporter::silent(),
        )
        .unwrap();
        assert_eq!(extracted.warnings, Vec::<String>::new());
        let mut observed = observe(&directory).unwrap();
        // GNU tar chooses the first name of a hard-linked file in its own way. The proof looks at
        // the restored tree and does not see the choice.
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
