//! Tests that every store must pass that keeps versions, and tests for those that keep none.

use super::{get, keys, moto, s3s};
use jiff::Timestamp;
use lifeboat_store::{LocalStore, Lock, MemoryStore, PutOptions, S3Store, Store, StoreError};
use lifeboat_testkit::s3::{Fault, FaultyProxy, MotoServer, S3sServer};
use std::io::Read;
use std::time::Duration;

/// A store that keeps versions, and its clock.
struct Kept {
    store: Box<dyn Store>,
    /// Lets the store's clock go on to another second. Returns a time that is after everything that
    /// was stored before, and before everything that is stored later.
    pass: Box<dyn Fn() -> Timestamp>,
}

type Case = (&'static str, fn(&Kept));

const CASES: &[Case] = &[
    ("every put has its version", every_put_has_its_version),
    ("opens any version", opens_any_version),
    ("removes one version", removes_one_version),
    ("stands as it stood", stands_as_it_stood),
    ("the past cannot be changed", the_past_cannot_be_changed),
];

fn run(make: &dyn Fn() -> Kept) {
    for (name, case) in CASES {
        println!("- {name}");
        case(&make());
    }
}

#[test]
fn memory_keeps_versions() {
    run(&|| {
        let store = MemoryStore::versioned();
        let clock = store.clone();
        let seconds = std::cell::Cell::new(1_000_000);
        let pass = move || {
            let at = Timestamp::from_second(seconds.get()).unwrap();
            seconds.set(seconds.get() + 2);
            clock.set_time(at + Duration::from_secs(1));
            at
        };
        pass();
        Kept {
            store: Box::new(store),
            pass: Box::new(pass),
        }
    });
}

#[test]
fn s3_on_moto_keeps_versions() {
    let server = MotoServer::start();
    let made = std::cell::Cell::new(0);
    run(&|| {
        made.set(made.get() + 1);
        let bucket = format!("kept-{}", made.get());
        server.create_bucket(&bucket);
        server.version(&bucket);
        // Another store in the same bucket, which a view must not show.
        let other = moto(&server, &bucket, |o| o.prefix = "deep/other".to_owned());
        put(&other, "of another", b"x");
        Kept {
            store: Box::new(moto(&server, &bucket, |o| o.prefix = "deep/er".to_owned())),
            pass: Box::new(next_second),
        }
    });
}

/// Waits for the next second, since S3 tells times in whole seconds. The server has the same clock.
fn next_second() -> Timestamp {
    let now = Timestamp::now();
    let next = Timestamp::from_second(now.as_second() + 1).unwrap();
    while Timestamp::now() < next {
        std::thread::sleep(Duration::from_millis(5));
    }
    Timestamp::from_second(now.as_second()).unwrap()
}

fn put(store: &dyn Store, key: &str, bytes: &[u8]) -> Option<String> {
    let options = PutOptions::default();
    store.put(key, &mut &bytes[..], &options).unwrap().version
}

/// Puts an object, and returns its version.
fn put_version(store: &dyn Store, key: &str, bytes: &[u8]) -> String {
    put(store, key, bytes).unwrap()
}

fn get_version(store: &dyn Store, key: &str, version: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut reader = store.open_version(key, version, 0).unwrap();
    reader.read_to_end(&mut out).unwrap();
    out
}

fn is_absent(opened: Result<Box<dyn Read + Send>, StoreError>) -> bool {
    matches!(opened.err(), Some(StoreError::NotFound { .. }))
}

fn every_put_has_its_version(kept: &Kept) {
    let store = &*kept.store;
    let mut versions = vec![
        put_version(store, "k", b"one"),
        put_version(store, "k", b"two"),
    ];
    let whole = bytes::Bytes::from_static(b"three");
    let receipt = store.put_whole("k", whole, &PutOptions::default()).unwrap();
    versions.push(receipt.version.unwrap());
    let new = PutOptions {
        if_absent: true,
        bytes_hint: None,
    };
    let receipt = store.put("new", &mut &b"new"[..], &new).unwrap();
    versions.push(receipt.version.unwrap());
    let large = vec![7; 20 << 20];
    versions.push(put_version(store, "k", &large));
    let current = store.stat("k").unwrap().unwrap();
    assert_eq!(current.version.as_ref(), versions.last());
    versions.sort();
    versions.dedup();
    assert_eq!(versions.len(), 5, "{versions:?}");
}

fn opens_any_version(kept: &Kept) {
    let store = &*kept.store;
    let first = put_version(store, "k", b"first");
    let second = put_version(store, "k", b"the second");
    store.delete("k").unwrap();
    assert!(is_absent(store.open("k", 0)));
    assert_eq!(get_version(store, "k", &first), b"first");
    assert_eq!(get_version(store, "k", &second), b"the second");
    let mut rest = String::new();
    let mut reader = store.open_version("k", &second, 4).unwrap();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "second");
    assert!(store.open_version("k", &first, 6).is_err());
    // Of another object, of another store, and of nothing.
    assert!(is_absent(store.open_version("other", &first, 0)));
    for version in ["3c2b0cb3-7a8e-4b32-9e0c-8f6a0f6b2d11", "null", "x/y?z&a"] {
        assert!(is_absent(store.open_version("k", version, 0)), "{version}");
    }
}

fn removes_one_version(kept: &Kept) {
    let store = &*kept.store;
    let first = put_version(store, "k", b"first");
    let second = put_version(store, "k", b"second");
    store.delete_version("k", &second).unwrap();
    assert!(is_absent(store.open_version("k", &second, 0)));
    // No marker hides the older one.
    assert_eq!(get(store, "k", 0), b"first");
    store.delete_version("k", &second).unwrap();
    store.delete_version("k", "no such version").unwrap();
    store.delete_version("never was", &first).unwrap();
    assert_eq!(keys(store, ""), ["k"]);
    store.delete_version("k", &first).unwrap();
    assert_eq!(keys(store, ""), [""; 0]);
    let after = (kept.pass)();
    let seen = store.as_of(after).map(|view| keys(&*view, ""));
    match seen {
        // Nothing is left by which a bucket could show that it keeps versions.
        Err(StoreError::WithoutVersions { .. }) => {}
        other => assert_eq!(other.unwrap(), [""; 0]),
    }
}

fn stands_as_it_stood(kept: &Kept) {
    let store = &*kept.store;
    let before = (kept.pass)();
    put(store, "a/changed", b"old");
    put(store, "a/deleted", b"deleted");
    put(store, "a/kept", b"kept");
    let whole = (kept.pass)();
    put(store, "a/changed", b"rubbish of an attacker");
    store.delete("a/deleted").unwrap();
    let broken = (kept.pass)();
    put(store, "a/deleted", b"back");
    put(store, "b", b"later");
    let later = (kept.pass)();

    let view = |at| store.as_of(at).unwrap();
    let all = |at| keys(&*view(at), "");
    assert_eq!(all(before), [""; 0]);
    assert_eq!(all(whole), ["a/changed", "a/deleted", "a/kept"]);
    assert_eq!(all(broken), ["a/changed", "a/kept"]);
    assert_eq!(all(later), ["a/changed", "a/deleted", "a/kept", "b"]);
    assert_eq!(keys(&*view(later), "a/d"), ["a/deleted"]);
    let content = |at, key| get(&*view(at), key, 0);
    assert_eq!(content(whole, "a/changed"), b"old");
    assert_eq!(content(broken, "a/changed"), b"rubbish of an attacker");
    assert_eq!(content(whole, "a/deleted"), b"deleted");
    assert_eq!(content(later, "a/deleted"), b"back");
    assert!(is_absent(view(broken).open("a/deleted", 0)));
    assert!(is_absent(view(before).open("a/kept", 0)));
    assert!(is_absent(view(whole).open_part("b", 0, 1)));
    let mut part = String::new();
    let mut reader = view(broken).open_part("a/changed", 8, 2).unwrap();
    reader.read_to_string(&mut part).unwrap();
    assert_eq!(part, "of");

    let stood = view(whole);
    let found = stood.stat("a/changed").unwrap().unwrap();
    assert_eq!((found.bytes, stood.list("a/c").unwrap()), (3, vec![found]));
    assert_eq!(stood.stat("b").unwrap(), None);
    // A view of a view goes further back, and never forward.
    assert_eq!(keys(&*view(broken).as_of(later).unwrap(), "a/d"), [""; 0]);
    assert_eq!(
        keys(&*view(later).as_of(whole).unwrap(), "a/d"),
        ["a/deleted"]
    );
}

fn the_past_cannot_be_changed(kept: &Kept) {
    let store = &*kept.store;
    let version = put_version(store, "k", b"x");
    let view = store.as_of((kept.pass)()).unwrap();
    let location = view.location();
    assert!(location.starts_with(&store.location()), "{location}");
    assert!(location.contains(" as of "), "{location}");
    let whole = bytes::Bytes::from_static(b"y");
    let options = PutOptions::default();
    for refused in [
        view.put("k", &mut &b"y"[..], &options).map(drop),
        view.put_whole("k", whole, &options).map(drop),
        view.delete("k"),
        view.delete_version("k", &version),
        view.probe(),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    }
    assert_eq!(get(store, "k", 0), b"x");
    assert_eq!(get_version(&*view, "k", &version), b"x");
}

#[test]
fn a_store_without_versions_says_so_and_loses_nothing() {
    let (files, memory) = (S3sServer::start(), MotoServer::start());
    files.create_bucket("bkt");
    memory.create_bucket("bkt");
    let directory = tempfile::tempdir().unwrap();
    let stores: [Box<dyn Store>; 4] = [
        Box::new(LocalStore::create(directory.path()).unwrap()),
        Box::new(MemoryStore::new()),
        Box::new(s3s(&files, "bkt", |_| {})),
        Box::new(moto(&memory, "bkt", |_| {})),
    ];
    for store in &stores {
        assert_eq!(put(&**store, "k", b"x"), None);
        let error = store.as_of(Timestamp::now()).err().unwrap();
        let says = matches!(error, StoreError::WithoutVersions { .. });
        assert!(says, "{error:?}");
        assert!(is_absent(store.open_version("k", "1", 0)));
        assert_eq!(store.lock("k", None).unwrap(), None);
        // A server that keeps no versions may ignore the version, and would delete the object.
        let _ = store.delete_version("k", "1");
        assert_eq!(get(&**store, "k", 0), b"x", "{}", store.location());
    }
}

#[test]
fn what_was_stored_before_a_bucket_kept_versions_stands_too() {
    let server = MotoServer::start();
    server.create_bucket("bkt");
    let store = moto(&server, "bkt", |_| {});
    put(&store, "old", b"old");
    server.version("bkt");
    put(&store, "new", b"new");
    let view = store.as_of(next_second()).unwrap();
    assert_eq!(keys(&*view, ""), ["new", "old"]);
    assert_eq!(get(&*view, "old", 0), b"old");
}

#[test]
fn a_view_shows_more_versions_than_fit_on_a_page() {
    let server = MotoServer::start();
    server.create_bucket("bkt");
    server.version("bkt");
    // With its own page size it returns a thousand at most.
    let proxy = FaultyProxy::start(server.address());
    let refused = Fault::Answer("max-keys".to_owned(), 501, String::new());
    proxy.set(refused, i64::MAX);
    let store = moto(&server, "bkt", |o| o.endpoint = Some(proxy.endpoint()));
    std::thread::scope(|scope| {
        for part in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..260 {
                    put(store, &format!("k/{part}/{n:03}"), b"x");
                }
            });
        }
    });
    put(&store, "k/0/000", b"once more");
    let view = store.as_of(next_second()).unwrap();
    proxy.requests();
    assert_eq!(view.list("k/").unwrap().len(), 4 * 260);
    let pages = proxy.requests();
    let next = pages.iter().filter(|r| r.contains("version-id-marker"));
    assert_eq!(next.count(), 1, "{pages:?}");
    assert_eq!(get(&*view, "k/0/000", 0), b"once more");
}

/// A store in a bucket that locks objects, and its server.
fn locking() -> (MotoServer, S3Store) {
    let server = MotoServer::start();
    server.create_locking_bucket("bkt");
    let store = moto(&server, "bkt", |_| {});
    (server, store)
}

#[test]
fn a_locked_version_says_until_when_and_cannot_be_removed() {
    let (server, store) = locking();
    let first = put_version(&store, "k", b"first");
    let second = put_version(&store, "k", b"second");
    assert_eq!(store.lock("k", None).unwrap(), None);
    server.retain("bkt", "k", &first, "2040-01-02T03:04:05Z");
    let until = Lock::Until("2040-01-02T03:04:05Z".parse().unwrap());
    assert_eq!(store.lock("k", Some(&first)).unwrap(), Some(until));
    assert_eq!(store.lock("k", Some(&second)).unwrap(), None);
    assert_eq!(store.lock("k", None).unwrap(), None);
    let denied = store.delete_version("k", &first).unwrap_err();
    assert!(matches!(denied, StoreError::Denied { .. }), "{denied:?}");
    store.delete_version("k", &second).unwrap();
    assert_eq!(get(&store, "k", 0), b"first");

    server.hold("bkt", "k", &first, true);
    assert_eq!(store.lock("k", Some(&first)).unwrap(), Some(Lock::Held));
    server.hold("bkt", "k", &first, false);
    assert_eq!(store.lock("k", Some(&first)).unwrap(), Some(until));
    assert_eq!(store.lock("k", Some("no such")).unwrap(), None);
    assert_eq!(store.lock("none", None).unwrap(), None);
    // Its view locks what stood then.
    let view = store.as_of(next_second()).unwrap();
    assert_eq!(view.lock("k", None).unwrap(), Some(until));
}

#[test]
fn a_bucket_is_asked_once_whether_it_locks_objects() {
    let server = MotoServer::start();
    server.create_bucket("bkt");
    server.version("bkt");
    let proxy = FaultyProxy::start(server.address());
    let store = moto(&server, "bkt", |o| o.endpoint = Some(proxy.endpoint()));
    let version = put_version(&store, "k", b"x");
    proxy.requests();
    for _ in 0..3 {
        assert_eq!(store.lock("k", Some(&version)).unwrap(), None);
    }
    let requests = proxy.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].contains("object-lock"), "{requests:?}");
}

#[test]
fn metadata_of_an_object_cannot_pretend_a_lock() {
    let (server, store) = locking();
    let forged = [
        ("x-amz-meta-lifeboat-locked-until", "2040-01-02T03:04:05Z"),
        ("x-amz-meta-lifeboat-legal-hold", "ON"),
    ];
    let answer = server.request("PUT", "/bkt/k", &forged, b"x");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(store.lock("k", None).unwrap(), None);
}

#[test]
fn a_key_that_may_not_ask_about_the_bucket_asks_about_each_object() {
    let (server, store) = locking();
    let version = put_version(&store, "k", b"x");
    server.retain("bkt", "k", &version, "2040-01-02T03:04:05Z");
    let proxy = FaultyProxy::start(server.address());
    let denied = "<Error><Code>AccessDenied</Code></Error>".to_owned();
    let lock = |fault: Fault| {
        proxy.set(fault, 9);
        let store = moto(&server, "bkt", |o| o.endpoint = Some(proxy.endpoint()));
        let lock = store.lock("k", Some(&version)).unwrap();
        assert!(proxy.done() > 0);
        lock
    };
    let bucket = Fault::Answer("?object-lock".to_owned(), 403, denied.clone());
    let until = Lock::Until("2040-01-02T03:04:05Z".parse().unwrap());
    assert_eq!(lock(bucket), Some(until));
    // And if it may not ask about those either, it knows of none.
    let object = Fault::Answer("HEAD ".to_owned(), 403, String::new());
    assert_eq!(lock(object), None);
}
