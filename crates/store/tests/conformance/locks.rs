//! Objects that are locked when they are put, and longer later, on a server that enforces it.

use super::{Noise, moto};
use jiff::{SignedDuration, Timestamp};
use lifeboat_store::{
    Lock, LockMode, LockSettings, ObjectLock, PutOptions, S3Options, S3Store, Store, StoreError,
    Unlocked,
};
use lifeboat_testkit::s3::{Fault, FaultyProxy, MotoServer};

const DAY: u64 = 86_400;

fn lock(mode: LockMode, days: u64) -> impl FnOnce(&mut S3Options) {
    move |options| {
        options.object_lock = Some(ObjectLock {
            mode,
            seconds: days * DAY,
            applies: |key| !key.starts_with("note/"),
        });
    }
}

fn locking(mode: LockMode, days: u64) -> (MotoServer, S3Store) {
    let server = MotoServer::start();
    server.create_locking_bucket("bkt");
    let store = moto(&server, "bkt", |options| {
        options.prefix = "deep/er".to_owned();
        lock(mode, days)(options);
    });
    (server, store)
}

fn in_days(days: i64) -> Timestamp {
    Timestamp::now()
        .checked_add(SignedDuration::from_hours(24 * days))
        .unwrap()
}

fn put(store: &S3Store, key: &str, bytes: &[u8]) -> Result<String, StoreError> {
    let receipt = store.put(key, &mut &bytes[..], &PutOptions::default());
    receipt.map(|receipt| receipt.version.unwrap())
}

fn until(store: &S3Store, key: &str, version: &str) -> Timestamp {
    match store.lock(key, Some(version)).unwrap() {
        Some(Lock::Until(until)) => until,
        other => panic!("{key}: {other:?}"),
    }
}

fn why<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Unlocked {
    match result {
        Err(StoreError::Unlocked { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_put_is_locked_in_one_request_whole_and_in_parts() {
    let (_server, store) = locking(LockMode::Compliance, 35);
    let large = Noise::all(3, 18 << 20);
    let hinted = PutOptions {
        if_absent: true,
        bytes_hint: Some(18 << 20),
    };
    let whole = PutOptions::default();
    let before = in_days(35).as_second();
    let versions = [
        ("small", put(&store, "small", b"x").unwrap()),
        ("empty", put(&store, "empty", b"").unwrap()),
        (
            "parts",
            store
                .put("parts", &mut &large[..], &hinted)
                .unwrap()
                .version
                .unwrap(),
        ),
        (
            "whole",
            store
                .put_whole("whole", large.clone().into(), &whole)
                .unwrap()
                .version
                .unwrap(),
        ),
    ];
    let after = in_days(35).as_second();
    for (key, version) in &versions {
        let until = until(&store, key, version).as_second();
        assert!((before - 1..=after).contains(&until), "{key}: {until}");
        let denied = store.delete_version(key, version).unwrap_err();
        assert!(matches!(denied, StoreError::Denied { .. }), "{denied:?}");
    }
    // What is replaced and deleted is not locked.
    let version = put(&store, "note/lease", b"x").unwrap();
    assert_eq!(store.lock("note/lease", Some(&version)).unwrap(), None);
    store.delete_version("note/lease", &version).unwrap();
}

#[test]
fn a_lock_is_extended_by_version_and_never_shortened() {
    for mode in [LockMode::Compliance, LockMode::Governance] {
        let (_server, store) = locking(mode, 10);
        let first = put(&store, "k", b"first").unwrap();
        let second = put(&store, "k", b"second").unwrap();
        let put_until = until(&store, "k", &first);
        // Long enough already: it stays as it is.
        let is = store.extend_lock("k", Some(&first), in_days(5), in_days(60));
        assert_eq!(is.unwrap(), put_until);
        let later = in_days(40);
        let is = store
            .extend_lock("k", Some(&first), in_days(20), later)
            .unwrap();
        assert_eq!(is.as_second(), later.as_second());
        assert_eq!(until(&store, "k", &first), is);
        assert_eq!(
            until(&store, "k", &second).as_second() / 60,
            put_until.as_second() / 60
        );
        let is = store
            .extend_lock("k", Some(&first), in_days(20), in_days(1))
            .unwrap();
        assert_eq!(is.as_second(), later.as_second());
        let is = store.extend_lock("k", Some(&first), in_days(50), in_days(1));
        assert_eq!(is.unwrap().as_second(), later.as_second());
        assert_eq!(until(&store, "k", &first).as_second(), later.as_second());
        // And what stands under the key.
        let is = store.extend_lock("k", None, in_days(20), later).unwrap();
        assert_eq!(until(&store, "k", &second), is);
        let none = store
            .extend_lock("none", None, in_days(20), later)
            .unwrap_err();
        assert!(matches!(none, StoreError::NotFound { .. }), "{none:?}");
        let none = store
            .extend_lock("k", Some("other"), in_days(20), later)
            .unwrap_err();
        assert!(matches!(none, StoreError::NotFound { .. }), "{none:?}");
    }
}

#[test]
fn what_was_put_without_a_lock_gets_one() {
    let (server, store) = locking(LockMode::Compliance, 10);
    let plain = moto(&server, "bkt", |options| {
        options.prefix = "deep/er".to_owned()
    });
    let version = put(&plain, "k", b"x").unwrap();
    let later = in_days(10);
    let is = store
        .extend_lock("k", Some(&version), in_days(5), later)
        .unwrap();
    assert_eq!(until(&store, "k", &version), is);
    // A store that was not told to lock objects does not.
    assert_eq!(
        why(plain.extend_lock("k", None, later, later)),
        Unlocked::Absent
    );
}

#[test]
fn a_lock_in_a_weaker_mode_is_made_a_stronger_one_and_never_the_other_way() {
    let (server, strong) = locking(LockMode::Compliance, 10);
    let weak = moto(&server, "bkt", |options| {
        options.prefix = "deep/er".to_owned();
        lock(LockMode::Governance, 10)(options);
    });
    let version = put(&weak, "k", b"x").unwrap();
    let asked = (in_days(5), in_days(20));
    strong
        .extend_lock("k", Some(&version), asked.0, asked.1)
        .unwrap();
    weak.extend_lock("k", Some(&version), in_days(30), in_days(40))
        .unwrap();
    let path = format!("/bkt/deep/er/k?versionId={version}");
    let head = server.request("HEAD", &path, &[], b"");
    assert_eq!(head.header("x-amz-object-lock-mode"), Some("COMPLIANCE"));
}

#[test]
fn a_bucket_without_locks_refuses() {
    let server = MotoServer::start();
    server.create_bucket("bkt");
    server.version("bkt");
    let store = moto(&server, "bkt", lock(LockMode::Compliance, 35));
    assert!(matches!(why(put(&store, "k", b"x")), Unlocked::Refused(_)));
    assert_eq!(store.list("").unwrap(), []);
    assert_eq!(
        store.lock_settings().unwrap(),
        Some(LockSettings::default())
    );
}

#[test]
fn a_lock_that_the_server_ignores_shortens_or_weakens_is_an_error() {
    let (server, _) = locking(LockMode::Compliance, 35);
    let proxy = FaultyProxy::start(server.address());
    let store = moto(&server, "bkt", |options| {
        options.endpoint = Some(proxy.endpoint());
        lock(LockMode::Compliance, 35)(options);
    });
    let told = |name: &str, value: &str| {
        // What the server keeps is other than what was sent.
        proxy.set(Fault::Answer("PUT /bkt/k".into(), 200, String::new()), 1);
        let headers = [
            ("x-amz-object-lock-mode", name),
            ("x-amz-object-lock-retain-until-date", value),
            ("content-md5", "ndTkYSaMgDT1yFZOFVxnpg=="),
        ];
        let headers = if name.is_empty() {
            &headers[2..]
        } else {
            &headers[..]
        };
        let answer = server.request("PUT", "/bkt/k", headers, b"x");
        assert_eq!(answer.status, 200, "{}", answer.text());
        why(store.put("k", &mut &b"x"[..], &PutOptions::default()))
    };
    assert_eq!(told("", ""), Unlocked::Absent);
    let date = |days| in_days(days).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    for (mode, days) in [("COMPLIANCE", 34), ("GOVERNANCE", 99)] {
        let told = told(mode, &date(days));
        let is_told = matches!(&told, Unlocked::Less { is, .. } if is.starts_with(mode));
        assert!(is_told, "{told:?}");
    }
}

#[test]
fn a_lock_that_may_not_be_seen_or_set_is_an_error() {
    let (server, _) = locking(LockMode::Compliance, 35);
    let proxy = FaultyProxy::start(server.address());
    let store = moto(&server, "bkt", |options| {
        options.endpoint = Some(proxy.endpoint());
        lock(LockMode::Compliance, 35)(options);
    });
    let version = put(&store, "k", b"x").unwrap();
    let denied = || "<Error><Code>AccessDenied</Code></Error>".to_owned();
    let set = Fault::Answer("PUT /bkt/k?retention".into(), 403, denied());
    proxy.set(set, 1);
    let longer = store.extend_lock("k", Some(&version), in_days(50), in_days(60));
    assert!(matches!(why(longer), Unlocked::Denied(_)));
    // Those who may neither read the object nor its lock.
    proxy.set(Fault::Answer("?retention".into(), 403, denied()), 9);
    let blind = moto(&server, "bkt", |options| {
        options.endpoint = Some(proxy.endpoint());
        lock(LockMode::Compliance, 35)(options);
    });
    let other = moto(&server, "bkt", |_| {});
    put(&other, "plain", b"x").unwrap();
    let longer = blind.extend_lock("plain", None, in_days(50), in_days(60));
    assert!(matches!(why(longer), Unlocked::Denied(_)));
}

#[test]
fn a_bucket_says_what_it_locks_by_itself() {
    let (server, store) = locking(LockMode::Governance, 10);
    let enabled = LockSettings {
        enabled: true,
        default: None,
    };
    assert_eq!(store.lock_settings().unwrap(), Some(enabled));
    server.lock_by_default("bkt", 40);
    let default = Some((LockMode::Governance, 40));
    assert_eq!(
        store.lock_settings().unwrap(),
        Some(LockSettings { default, ..enabled })
    );
    // Each object has its own lock, or that of the bucket.
    let own = put(&store, "k", b"x").unwrap();
    assert!(until(&store, "k", &own) < in_days(11));
    let note = put(&store, "note/lease", b"x").unwrap();
    assert!(until(&store, "note/lease", &note) > in_days(38));
}
