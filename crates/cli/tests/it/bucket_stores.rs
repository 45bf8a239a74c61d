//! Mirrors of a bucket over time: in stores of every kind, out of buckets that keep versions, and
//! when what was deleted has been kept long enough.

use crate::bucket::{DENIED, Live, packs, read};
use crate::openpgp;
use crate::restore_md::{follow, instructions};
use crate::support::noise;
use lifeboat_testkit::gpg::GpgHome;
use lifeboat_testkit::restic::Restic;
use lifeboat_testkit::s3::Fault;
use lifeboat_testkit::ssh::SshServer;
use std::os::unix::fs::PermissionsExt;

/// Two runs, a drill, and both points restored as they were.
fn mirrors_and_restores(live: &Live) {
    let headers = [("content-type", "text/css"), ("x-amz-tagging", "k=v")];
    let large = noise((3 << 20) + 1, 8);
    live.put("a", &headers, b"old");
    live.put("b/c", &[], b"beneath");
    live.put("large", &[], &large);
    let first = live.app.backup();
    live.put("a", &headers, b"new");
    live.delete("b/c");
    live.gets();
    let second = live.app.backup();
    assert_eq!(live.gets().len(), 2, "what changed and its tags");
    live.app.ok(&["verify", "--all"]);
    live.app.ok(&["drill"]).says(&["verified"]);
    // What the index says is asked of the store, not of this host.
    live.app.forget_state_but_key();
    live.gets();
    live.app.backup();
    assert_eq!(live.gets(), [""; 0], "the store tells what is there");
    let old = live.restore(&first, "old");
    assert_eq!(read(&old.join("objects/b/c")), b"beneath");
    assert_eq!(read(&old.join("objects/a")), b"old");
    assert!(read(&old.join("objects/large")) == large);
    let new = live.restore(&second, "new");
    assert_eq!(read(&new.join("objects/a")), b"new");
    assert!(!new.join("objects/b/c").exists());
    let to = ["restore", &second, "--to", "s3://new"];
    live.app.ok(&to).says(&["verified"]);
    assert_eq!(live.get("new/a").text(), "new");
    assert_eq!(live.get("new/a").header("content-type"), Some("text/css"));
}

#[test]
fn into_a_store_sealed_to_openpgp_keys() {
    let home = GpgHome::new();
    let keys = openpgp::application(&home);
    let live = Live::with(
        "kind = \"local\"\npath = \"{root}/store\"\nencrypt = { openpgp = [\"{root}/ops.asc\"] }\ndecrypt = { openpgp = \"file:{root}/ops-secret.asc\", passphrase = \"file:{root}/ops.pass\" }",
    );
    for name in ["ops.asc", "ops-secret.asc", "ops.pass"] {
        let path = live.app.write(name, &read(&keys.path(name)));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    mirrors_and_restores(&live);
    for pack in packs(&live.app) {
        let bytes = read(&pack);
        assert!(pack.to_str().unwrap().ends_with(".tar.gpg"), "{pack:?}");
        assert!(!bytes.windows(7).any(|w| w == b"beneath"), "it is sealed");
    }
    // And by gpg, tar and jq alone.
    let text = instructions(&live.app.path("store"));
    let pass = live.app.path("ops.pass");
    let options = format!(
        "--batch --pinentry-mode loopback --passphrase-file {}",
        pass.display()
    );
    let env = [
        ("GNUPGHOME", home.path().to_str().unwrap()),
        ("GPG_OPTIONS", &options),
    ];
    let output = follow(&live.app, "stock", &text, &env);
    assert_eq!(output.code, 0, "{output}");
    let objects = live.app.path("stock/restored/media/objects");
    assert_eq!(read(&objects.join("a")), b"new");
    assert!(!objects.join("b/c").exists());
}

#[test]
fn into_a_repository() {
    let live = Live::with(
        "kind = \"local\"\npath = \"{root}/store\"\nlayout = \"repository\"\npassword = \"file:{root}/repository.key\"",
    );
    let path = live.app.write("repository.key", b"a long password");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    mirrors_and_restores(&live);
    // Each snapshot has all that its point needs, and restic, tar and jq are enough.
    let restic = Restic::current();
    let repository = live.app.path("store/repository");
    let check = ["check", "--read-data"];
    restic.ok(&repository, "a long password", &check);
    let text = instructions(&live.app.path("store"));
    let env = [
        ("RESTIC_PASSWORD_FILE", path.to_str().unwrap()),
        ("RESTIC_OPTIONS", "--no-cache"),
    ];
    let output = follow(&live.app, "stock", &text, &env);
    assert_eq!(output.code, 0, "{output}");
    let objects = live.app.path("stock/restored/media/objects");
    assert_eq!(read(&objects.join("a")), b"new");
}

#[test]
fn into_a_directory_of_another_host() {
    let server = SshServer::start();
    let live = Live::with(&format!(
        "kind = \"sftp\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"{}\"\npath = \"{}\"\nssh = {{ key = \"file:{}\", known_hosts = \"{}\" }}",
        server.port(),
        server.user(),
        server.sftp_root().join("mirror").display(),
        server.identity_path().display(),
        server.known_hosts_path().display(),
    ));
    mirrors_and_restores(&live);
}

#[test]
fn of_a_bucket_that_keeps_versions_the_current_ones_are_taken() {
    let live = Live::with("kind = \"local\"\npath = \"{root}/store\"");
    let versioning = |bucket: &str| {
        let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        let path = format!("/{bucket}?versioning");
        let answer = live.server.request("PUT", &path, &[], enabled.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    versioning("live");
    versioning("new");
    live.put("a", &[("x-amz-tagging", "n=1")], b"one");
    live.put("a", &[("x-amz-tagging", "n=2")], b"two");
    live.put("gone", &[], b"gone");
    live.put("again", &[], b"first");
    live.put("large", &[], &noise(3 << 20, 2));
    let first = live.app.backup();
    live.delete("gone");
    live.delete("again");
    live.put("again", &[], b"second");
    live.put("a", &[("x-amz-tagging", "n=3")], b"three");
    let second = live.app.backup();
    live.app.ok(&["drill"]).says(&["verified"]);

    let old = live.restore(&first, "old");
    assert_eq!(read(&old.join("objects/a")), b"two");
    assert_eq!(read(&old.join("objects/gone")), b"gone");
    assert_eq!(read(&old.join("objects/again")), b"first");
    let new = live.restore(&second, "new");
    assert_eq!(read(&new.join("objects/a")), b"three");
    assert_eq!(read(&new.join("objects/again")), b"second");
    assert!(!new.join("objects/gone").exists());
    // Each with the tags of its version, and named by it.
    let index = String::from_utf8(read(&new.join("index.ndjson"))).unwrap();
    let line = index.lines().find(|l| l.contains("\"key\":\"a\"")).unwrap();
    let entry: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(entry["tags"]["n"], "3");
    let version = entry["version"].as_str().unwrap();
    let answer = live.get(&format!("live/a?versionId={version}"));
    assert_eq!(answer.text(), "three");

    // Back onto the live one: a deleted object gets a version again, and nothing of the past goes.
    let args = [
        "restore",
        &first,
        "--live",
        "--confirm",
        "crm/test",
        "--reason",
        "test",
    ];
    live.app.ok(&args);
    assert_eq!(live.get("live/a").text(), "two");
    assert_eq!(live.get("live/gone").text(), "gone");
    let before = live.get(&format!("live/a?versionId={version}"));
    assert_eq!(before.text(), "three");
    live.app.ok(&["restore", &second, "--to", "s3://new"]);
    assert_eq!(live.get("new/again").text(), "second");
}

#[test]
fn what_was_kept_long_enough_is_let_go_and_packs_with_it() {
    let live = Live::with("kind = \"local\"\npath = \"{root}/store\"");
    live.app.edit(
        "bucket = \"live\"",
        "bucket = \"live\"\nkeep_deleted = \"30d\"",
    );
    let bytes = |seed| noise(1 << 20, seed);
    for (key, seed) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        live.put(key, &[], &bytes(seed));
    }
    let first = live.app.backup();
    for key in ["b", "c", "d"] {
        live.delete(key);
    }
    let named = |point: &str| {
        let shown = live.app.json(&["show", point]);
        let artifacts = shown["artifacts"].as_array().unwrap().iter();
        let names = artifacts.map(|a| a["name"].as_str().unwrap().to_owned());
        names
            .filter(|n| n.starts_with("objects-"))
            .collect::<Vec<_>>()
    };
    let gone = |point: &str| {
        let index = live
            .restore(point, &format!("look-{point}"))
            .join("index.ndjson");
        let text = String::from_utf8(read(&index)).unwrap();
        text.lines().filter(|l| l.contains("\"gone\"")).count()
    };
    let kept = live.app.backup();
    assert_eq!(
        named(&kept),
        named(&first),
        "they are kept, and so is their pack"
    );

    // Their time is over. What is left of the pack moves; should that not be possible, it stays.
    live.app
        .edit("keep_deleted = \"30d\"", "keep_deleted = \"0s\"");
    live.proxy.set(
        Fault::Answer("GET /live/a".into(), 403, DENIED.into()),
        1000,
    );
    let stays = live.app.backup();
    assert!(live.proxy.done() > 0);
    assert_eq!(named(&stays), named(&first), "nothing is missing");
    assert!(read(&live.restore(&stays, "stays").join("objects/a")) == bytes(1));
    live.proxy
        .set(Fault::Answer("never".into(), 0, String::new()), 0);
    live.gets();
    let moved = live.app.backup();
    assert_eq!(
        live.gets().len(),
        1,
        "what is live in the pack is fetched again"
    );
    assert_eq!(named(&moved).len(), 1);
    assert_ne!(named(&moved), named(&first));
    assert_eq!(gone(&moved), 0);
    live.app.ok(&["drill"]).says(&["verified"]);
    live.gets();
    live.app.backup();
    assert_eq!(live.gets(), [""; 0]);

    // Nothing that an older point names was touched.
    assert_eq!(packs(&live.app).len(), 2);
    live.app.ok(&["verify", "--all"]);
    let old = live.restore(&first, "old");
    for (key, seed) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        assert!(read(&old.join("objects").join(key)) == bytes(seed), "{key}");
    }

    // What docs/buckets.md has one do by hand to get room.
    let mut points = live.app.points();
    let last = points.pop().unwrap();
    for name in live.app.listing("store/lifeboat/points") {
        if !name.starts_with(&last) {
            std::fs::remove_file(live.app.path("store/lifeboat/points").join(name)).unwrap();
        }
    }
    let needed = named(&last);
    for pack in packs(&live.app) {
        let text = pack.display().to_string();
        if !needed.iter().any(|name| text.contains(name.as_str())) {
            std::fs::remove_file(pack).unwrap();
        }
    }
    assert_eq!(packs(&live.app).len(), 1);
    let mut forget = vec!["points", "--reason", "made room"];
    for point in &points {
        forget.extend(["--forget", point]);
    }
    live.app.ok(&forget);
    assert_eq!(live.app.points(), [last]);
    live.app.ok(&["verify", "--all"]).says(&["intact"]);
    live.app.ok(&["drill"]).says(&["verified"]);
    live.gets();
    live.app.backup();
    assert_eq!(live.gets(), [""; 0]);
}

#[test]
fn a_change_of_metadata_alone_is_noticed_and_one_of_tags_alone_is_not() {
    let live = Live::with("kind = \"local\"\npath = \"{root}/store\"");
    live.put("a", &[("x-amz-meta-by", "alice")], b"same");
    live.app.backup();
    let tags = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
    let answer = live
        .server
        .request("PUT", "/live/a?tagging", &[], tags.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    live.gets();
    live.app.backup();
    assert_eq!(live.gets(), [""; 0], "docs/buckets.md says so");
    // A second must have passed, or nothing tells the one from the other.
    let modified = || {
        live.get("live/a")
            .header("last-modified")
            .unwrap()
            .to_owned()
    };
    let before = modified();
    while modified() == before {
        live.put("a", &[("x-amz-meta-by", "bob")], b"same");
    }
    let point = live.app.backup();
    let index = live.restore(&point, "out").join("index.ndjson");
    let index = String::from_utf8(read(&index)).unwrap();
    assert!(index.contains("\"by\":\"bob\""), "{index}");
}
