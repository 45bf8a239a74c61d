use super::*;
use crate::clock::Clock;
use crate::config::Config;
use crate::context::Context;
use crate::copies;
use crate::observe::Reporter;
use crate::sign::{Signer, TrustedSigners};
use crate::stores::OpenStore;
use std::collections::BTreeMap;

/// A store with points that `signer` signs, and a catalog in the same directory.
struct Held {
    context: Context,
    store: OpenStore,
    signer: Signer,
    directory: tempfile::TempDir,
}

impl Held {
    fn new() -> Held {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        std::fs::create_dir(directory.path().join("store")).unwrap();
        let text = format!(
            r#"version = 1
app = {{ name = "crm", state = "{root}/state" }}
source.vault = {{ kind = "command", command = ["true"] }}
store.disk = {{ kind = "local", path = "{root}/store" }}
plan.hourly = {{ sources = ["vault"], stores = ["disk"] }}"#
        );
        let config = Config::parse(&text, &directory.path().join("lifeboat.toml")).unwrap();
        let context = Context::open(config, Clock::System, Reporter::silent(), &[]).unwrap();
        Held {
            store: context.stores.open("disk").unwrap(),
            context,
            signer: Signer::generate().unwrap(),
            directory,
        }
    }

    /// A catalog, opened anew.
    fn catalog(&self) -> Catalog {
        Catalog::open(&self.directory.path().join("catalog.db")).unwrap()
    }

    /// Commits a point that was taken for this reason.
    fn commit(&self, point: &str, reason: &str) {
        let manifest = manifest(point, reason);
        copies::commit(&self.signer, &self.store, &manifest).unwrap();
    }

    fn sync(&self, catalog: &Catalog) -> Vec<PointCopy> {
        let (copies, errors) = catalog.sync(&self.store).unwrap();
        assert!(errors.is_empty(), "{errors:?}");
        copies
    }

    fn noted(&self, catalog: &Catalog) -> Vec<PointCopy> {
        catalog.copies(&self.store.store.location()).unwrap()
    }

    /// Replaces a manifest and leaves its signature.
    fn put(&self, point: &str, text: &str) {
        copies::put_bytes(&self.store, &key(point), text.as_bytes(), false).unwrap();
    }

    /// Lets a manifest have been put at this time.
    fn put_at(&self, point: &str, time: std::time::SystemTime) {
        let file = std::fs::File::options()
            .write(true)
            .open(self.path(point))
            .unwrap();
        file.set_modified(time).unwrap();
    }

    fn path(&self, point: &str) -> PathBuf {
        self.directory.path().join("store").join(key(point))
    }
}

const POINT: &str = "20261120T060000Z-7f3a";

fn key(point: &str) -> String {
    crate::point::manifest_key(&PointId::parse(point).unwrap())
}

fn manifest(point: &str, reason: &str) -> Manifest {
    serde_json::from_value(serde_json::json!({
        "schema": 1, "point": point, "app": "crm", "environment": "production", "plan": "hourly",
        "host": "web1", "author": "ops", "reason": reason, "lifeboat": "0.1.0",
        "outcome": "complete", "started": "2026-11-20T06:00:00Z",
        "finished": "2026-11-20T06:01:00Z", "store": "disk", "stores": ["disk"], "sources": [],
        "artifacts": [], "evidence": {}, "signer": "SHA256:abc",
        "details": { "key": "d.json", "bytes": 10, "sha256": "00" },
    }))
    .unwrap()
}

fn trusting(signer: &Signer) -> TrustedSigners {
    let mut trusted = TrustedSigners::default();
    trusted.add(&signer.public());
    trusted
}

fn change(catalog: &Catalog, statement: &str) {
    let rows = catalog.run(|c| c.execute(statement, [])).unwrap();
    assert_eq!(rows, 1, "{statement}");
}

#[test]
fn a_signer_who_is_revoked_is_not_believed_though_the_signature_is_remembered() {
    let held = Held::new();
    held.commit(POINT, "first");
    let copies = held.sync(&held.catalog());
    assert!(copies[0].check_trust(&trusting(&held.signer)).is_ok());
    let catalog = held.catalog();
    let own = held.signer.public().to_openssh();
    let fits = "UPDATE fit SET key = key WHERE key = '".to_owned() + &own + "'";
    change(&catalog, &fits);
    for copies in [held.noted(&catalog), held.sync(&catalog)] {
        let other = trusting(&Signer::generate().unwrap());
        let error = copies[0].check_trust(&other).unwrap_err();
        assert_eq!(error.code, Code::Untrusted);
        assert!(copies[0].check_trust(&trusting(&held.signer)).is_ok());
    }
}

#[test]
fn what_is_remembered_of_a_signature_is_used_for_the_same_bytes_only() {
    let held = Held::new();
    held.commit(POINT, "first");
    let catalog = held.catalog();
    held.sync(&catalog);
    let other = Signer::generate().unwrap();
    let other_key = other.public().to_openssh();
    change(&catalog, &format!("UPDATE fit SET key = '{other_key}'"));
    let copies = held.noted(&catalog);
    assert_eq!(copies[0].signer(), Some(other.id()), "it was checked again");
    change(
        &catalog,
        "UPDATE manifest SET bytes = CAST(replace(CAST(bytes AS TEXT), 'first', 'worst') AS BLOB)",
    );
    let copies = held.noted(&catalog);
    assert_eq!(copies[0].manifest.reason.as_deref(), Some("worst"));
    assert_eq!(copies[0].signer(), None);
    for signers in [&other, &held.signer] {
        assert!(copies[0].check_trust(&trusting(signers)).is_err());
    }
}

#[test]
fn a_manifest_that_changed_under_its_key_is_read_again() {
    let held = Held::new();
    held.commit(POINT, "first");
    let catalog = held.catalog();
    held.sync(&catalog);
    held.commit(POINT, "another size");
    let copies = held.sync(&catalog);
    assert_eq!(copies[0].manifest.reason.as_deref(), Some("another size"));
    assert_eq!(copies[0].signer(), Some(held.signer.id()));
    // The same size at the same time is noticed only when everything is read.
    let time = std::fs::metadata(held.path(POINT)).unwrap();
    held.commit(POINT, "another side");
    held.put_at(POINT, time.modified().unwrap());
    let copies = held.sync(&catalog);
    assert_eq!(copies[0].manifest.reason.as_deref(), Some("another size"));
    let synced = catalog.sync_points(&held.store, true).unwrap();
    let noted = held.noted(&catalog);
    for copy in synced.copies.values().chain(&noted) {
        assert_eq!(copy.manifest.reason.as_deref(), Some("another side"));
        assert_eq!(copy.signer(), Some(held.signer.id()));
    }
    // A signature that fits no longer is not remembered as one that does.
    let text = std::fs::read_to_string(held.path(POINT)).unwrap();
    held.put(POINT, &text.replace("another side", "a third size"));
    catalog.sync_points(&held.store, true).unwrap();
    assert_eq!(held.noted(&catalog)[0].signer(), None);
}

#[test]
fn a_copy_that_another_host_put_anew_is_read_again_and_not_doubted() {
    let held = Held::new();
    let (point, other) = (PointId::parse(POINT).unwrap(), "20261120T070000Z-0001");
    held.commit(POINT, "another size");
    held.commit(other, "first");
    let catalog = held.catalog();
    held.sync(&catalog);
    let location = held.store.store.location();
    let now = Clock::System.now();
    for point in [&point, &PointId::parse(other).unwrap()] {
        catalog.note_doubt(&location, point, "a bit", now).unwrap();
    }
    // What stands there untouched stays in doubt, even if all of it is read again.
    held.sync(&catalog);
    catalog.sync_points(&held.store, true).unwrap();
    assert_eq!(catalog.doubts(&location).unwrap().len(), 2);
    held.commit(POINT, "another side");
    held.put_at(
        POINT,
        std::time::SystemTime::now() + std::time::Duration::from_secs(1),
    );
    let copies = held.sync(&catalog);
    assert_eq!(copies[0].manifest.reason.as_deref(), Some("another side"));
    let doubts: Vec<_> = catalog.doubts(&location).unwrap().into_keys().collect();
    assert_eq!(doubts, [PointId::parse(other).unwrap()]);
}

#[test]
fn a_manifest_that_was_replaced_after_it_was_listed_is_read_whole() {
    let held = Held::new();
    held.commit(POINT, "first");
    let (point, listed) = copies::list(&held.store).unwrap().pop_first().unwrap();
    held.commit(POINT, "a longer reason");
    let (stored, copy) = copies::read_listed(&held.store, &point, listed.sizes).unwrap();
    assert_eq!(copy.manifest.reason.as_deref(), Some("a longer reason"));
    assert_eq!(copy.signer(), Some(held.signer.id()));
    assert_eq!(stored.bytes, std::fs::read(held.path(POINT)).unwrap());
}

#[test]
fn signatures_in_a_catalog_of_an_older_version_are_remembered_from_then_on() {
    let held = Held::new();
    held.commit(POINT, "first");
    let catalog = held.catalog();
    held.sync(&catalog);
    change(&catalog, "DELETE FROM fit");
    let copies = held.noted(&catalog);
    assert_eq!(copies[0].signer(), Some(held.signer.id()));
    change(&catalog, "UPDATE fit SET key = key");
}

#[test]
fn several_may_make_it_at_once() {
    for _ in 0..40 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog.db");
        std::thread::scope(|scope| {
            let opened: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| Catalog::open(&path)))
                .collect();
            for catalog in opened {
                catalog.join().unwrap().unwrap();
            }
        });
    }
}

/// A run of this host commits while another has listed the store already.
#[test]
fn a_point_that_came_after_the_listing_is_not_missing() {
    let held = Held::new();
    let catalog = held.catalog();
    let trusted = trusting(&held.signer);
    held.commit(POINT, "beside the listing");
    let seen = catalog.sync_points(&held.store, false).unwrap();
    let location = held.store.store.location();
    catalog.remember_new(&location, &seen).unwrap();
    let point = PointId::parse(POINT).unwrap();
    catalog.drop_notes(&location, [&point]).unwrap();
    let lost = || {
        let mut listed = sync::Synced {
            copies: BTreeMap::new(),
            errors: BTreeMap::new(),
        };
        let lost = catalog.lost(&trusted, &held.store, &mut listed, &|_| false);
        lost.unwrap().len()
    };
    assert_eq!(lost(), 0);
    std::fs::remove_file(held.path(POINT)).unwrap();
    assert_eq!(lost(), 1);
}

#[test]
fn many_points_are_all_noted_and_remembered_and_forgotten() {
    let held = Held::new();
    let points = |range: std::ops::Range<u32>| range.map(|n| format!("20261120T060000Z-{n:04x}"));
    for point in points(0..300) {
        held.commit(&point, "one of many");
    }
    let damaged = "20261120T060000Z-0100";
    held.put(damaged, "{}");
    let catalog = held.catalog();
    let trusted = trusting(&held.signer);
    let mut synced = catalog.sync_points(&held.store, false).unwrap();
    assert_eq!((synced.copies.len(), synced.errors.len()), (299, 1));
    let lost = |synced: &mut sync::Synced| {
        let lost = catalog
            .lost(&trusted, &held.store, synced, &|_| false)
            .unwrap();
        let points = lost.into_iter().map(|l| l.copy.manifest.point.to_string());
        points.collect::<Vec<_>>()
    };
    assert_eq!(lost(&mut synced), [""; 0]);
    let gone: Vec<String> = points(0x80..0x90).collect();
    for point in &gone {
        std::fs::remove_file(held.path(point)).unwrap();
    }
    for _ in 0..2 {
        let mut synced = catalog.sync_points(&held.store, false).unwrap();
        assert_eq!(synced.copies.len(), 283);
        assert_eq!(lost(&mut synced), gone);
    }
    assert_eq!(held.noted(&catalog).len(), 283);
    let fits = catalog.run(|c| c.query_row("SELECT count(*) FROM fit", [], |r| r.get::<_, i64>(0)));
    assert_eq!(fits.unwrap(), 283);
    assert_eq!(
        held.context
            .state
            .catalog
            .copies("elsewhere")
            .unwrap()
            .len(),
        0
    );
}
