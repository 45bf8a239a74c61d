//! Tests that apply only to S3: the meaning of refusals, what is kept with an object, and what a
//! failed upload leaves behind.

use super::{Breaks, Noise, get, keys, moto, s3s};
use lifeboat_store::aws::Credentials;
use lifeboat_store::{PutOptions, S3Options, S3Store, Store, StoreError};
use lifeboat_testkit::s3::{MotoServer, S3sServer};
use std::io::Read;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

fn put(store: &dyn Store, key: &str, bytes: u64) -> Result<(), StoreError> {
    store
        .put(key, &mut Noise::new(1, bytes), &PutOptions::default())
        .map(|_| ())
}

/// The errors of every way to use a store.
fn every_error(store: &S3Store) -> Vec<StoreError> {
    vec![
        store.probe().unwrap_err(),
        store.stat("k").unwrap_err(),
        store.open("k", 0).err().unwrap(),
        store.list("k").unwrap_err(),
        put(store, "k", 10).unwrap_err(),
        put(store, "k", 20 * MIB).unwrap_err(),
    ]
}

#[test]
fn a_missing_bucket_is_reported_as_missing() {
    let (files, memory) = (S3sServer::start(), MotoServer::start());
    let mut errors = every_error(&moto(&memory, "no-such-bucket", |_| {}));
    // With `s3s-fs`, a put would make the bucket.
    let store = s3s(&files, "no-such-bucket", |_| {});
    errors.push(store.stat("k").unwrap_err());
    errors.push(store.open("k", 0).err().unwrap());
    errors.push(store.list("").unwrap_err());
    for error in errors {
        assert!(matches!(&error, StoreError::Missing { .. }), "{error:?}");
        assert!(error.to_string().contains("no-such-bucket"), "{error}");
    }
}

#[test]
fn wrong_keys_are_reported_as_credentials() {
    let (files, memory) = (S3sServer::start(), MotoServer::start());
    files.create_bucket("bkt");
    memory.create_bucket("bkt");
    let (access, _) = memory.enforce(ALL);
    let stores = [
        s3s(&files, "bkt", |o| {
            o.credentials = with_keys(&files.access_key, "wrong-secret")
        }),
        s3s(&files, "bkt", |o| {
            o.credentials = with_keys("nobody", &files.secret_key)
        }),
        moto(&memory, "bkt", |o| {
            o.credentials = with_keys("AKIANOBODYNOBODYNOBO", &memory.secret_key)
        }),
        moto(&memory, "bkt", |o| {
            o.credentials = with_keys(&access, &memory.secret_key)
        }),
    ];
    for store in &stores {
        for error in every_error(store) {
            assert!(
                matches!(&error, StoreError::Credentials { .. }),
                "{error:?}"
            );
            assert!(!error.to_string().contains("wrong-secret"), "{error}");
        }
    }
}

fn with_keys(access_key: &str, secret_key: &str) -> Credentials {
    Credentials::given(access_key, secret_key, None)
}

const ALL: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
const READ: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Action":["s3:GetObject","s3:ListBucket"],"Resource":"*"}]}"#;
/// A store whose keys have the rights of the policy, with one object that exists already.
fn allowed(server: &MotoServer, policy: &str) -> S3Store {
    server.create_bucket("bkt");
    put(&moto(server, "bkt", |_| {}), "old", 10).unwrap();
    let (access, secret) = server.enforce(policy);
    moto(server, "bkt", |o| {
        o.credentials = with_keys(&access, &secret);
    })
}

#[test]
fn a_read_only_key_reads_and_is_denied_writes() {
    let server = MotoServer::start();
    let store = allowed(&server, READ);
    assert_eq!(get(&store, "old", 0), Noise::all(1, 10));
    assert_eq!(keys(&store, ""), ["old"]);
    for error in [
        store.probe().unwrap_err(),
        put(&store, "k", 10).unwrap_err(),
        put(&store, "k", 20 * MIB).unwrap_err(),
        store.delete("old").unwrap_err(),
    ] {
        assert!(matches!(&error, StoreError::Denied { .. }), "{error:?}");
    }
}

#[test]
fn an_unreachable_endpoint_is_reported_soon() {
    // Nobody listens; the name does not exist; a server listens and never answers.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let unknown = "https://s3.does-not-exist.invalid".to_owned();
    for endpoint in [refused, unknown, silent_url] {
        let store = S3Store::open(S3Options {
            bucket: "bkt".to_owned(),
            endpoint: Some(endpoint.clone()),
            credentials: with_keys("a", "s"),
            ..S3Options::default()
        })
        .unwrap();
        let begun = Instant::now();
        let error = put(&store, "k", 10).unwrap_err();
        println!("{endpoint}: {:?} {error}", begun.elapsed());
        assert!(
            matches!(&error, StoreError::Unreachable { .. }),
            "{error:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(15), "{endpoint}");
    }
}

#[test]
fn storage_class_and_encryption_are_kept_with_the_object() {
    let server = MotoServer::start();
    server.create_bucket("bkt");
    for bytes in [10, 20 * MIB] {
        for (encryption, key) in [
            ("AES256", None),
            ("aws:kms", None),
            ("aws:kms", Some("key-1")),
        ] {
            let store = moto(&server, "bkt", |o| {
                o.storage_class = Some("STANDARD_IA".to_owned());
                o.server_side_encryption = Some(encryption.to_owned());
                o.kms_key_id = key.map(str::to_owned);
            });
            put(&store, "k", bytes).unwrap();
            let head = server.request("HEAD", "/bkt/k", &[], b"");
            assert_eq!(head.status, 200);
            assert_eq!(head.header("content-length"), Some(&*bytes.to_string()));
            assert_eq!(head.header("x-amz-storage-class"), Some("STANDARD_IA"));
            assert_eq!(
                head.header("x-amz-server-side-encryption"),
                Some(encryption)
            );
            let kms = head.header("x-amz-server-side-encryption-aws-kms-key-id");
            assert_eq!(kms, key, "{head:?}");
            assert!(get(&store, "k", 0) == Noise::all(1, bytes));
        }
    }
    // Without these options nothing is sent, so the bucket's own settings apply.
    put(&moto(&server, "bkt", |_| {}), "plain", 10).unwrap();
    let head = server.request("HEAD", "/bkt/plain", &[], b"");
    assert_eq!(head.header("x-amz-storage-class"), None);
    let metadata = |(name, _): &(String, String)| name.starts_with("x-amz-meta-");
    assert!(!head.headers.iter().any(metadata), "{head:?}");
}

#[test]
fn all_parts_but_the_last_are_equal() {
    let server = MotoServer::start();
    server.create_bucket("bkt");
    let store = moto(&server, "bkt", |_| {});
    put(&store, "k", 40 * MIB).unwrap();
    for (part, expected) in [(1, 16 * MIB), (2, 16 * MIB), (3, 8 * MIB)] {
        let head = server.request("HEAD", &format!("/bkt/k?partNumber={part}"), &[], b"");
        assert_eq!(head.header("content-length"), Some(&*expected.to_string()));
    }
    let etag = server.request("HEAD", "/bkt/k", &[], b"");
    assert!(etag.header("etag").unwrap().ends_with("-3\""), "{etag:?}");
}

#[test]
fn an_upload_that_fails_leaves_no_parts() {
    let (files, memory) = (S3sServer::start(), MotoServer::start());
    files.create_bucket("bkt");
    memory.create_bucket("bkt");
    let stores = [s3s(&files, "bkt", |_| {}), moto(&memory, "bkt", |_| {})];
    for store in &stores {
        let mut body = Breaks(Noise::new(1, 70 * MIB));
        let error = store.put("k", &mut body, &PutOptions::default());
        assert!(matches!(error, Err(StoreError::Body { .. })));
        assert_eq!(keys(store, ""), [""; 0]);
    }
    let pending = memory.request("GET", "/bkt?uploads", &[], b"").text();
    assert!(pending.contains("<ListMultipartUploadsResult"), "{pending}");
    assert!(!pending.contains("<UploadId>"), "{pending}");
    let parts = std::fs::read_dir(files.data()).unwrap();
    let parts: Vec<_> = parts.map(|e| e.unwrap().file_name()).collect();
    assert_eq!(parts, ["bkt"]);
}

#[test]
fn a_reader_may_be_dropped_early() {
    let server = S3sServer::start();
    server.create_bucket("bkt");
    let store = s3s(&server, "bkt", |_| {});
    put(&store, "k", 20 * MIB).unwrap();
    for _ in 0..20 {
        let mut start = [0; 100];
        store.open("k", 0).unwrap().read_exact(&mut start).unwrap();
        assert_eq!(start[..], Noise::all(1, 100));
    }
}

#[test]
fn nothing_is_taken_from_the_environment_when_keys_are_given() {
    let server = S3sServer::start();
    server.create_bucket("bkt");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "s3::child_in_a_misleading_environment"])
        .env("LIFEBOAT_TEST_ENDPOINT", server.endpoint())
        .env("AWS_ACCESS_KEY_ID", "wrong")
        .env("AWS_SECRET_ACCESS_KEY", "wrong")
        .env("AWS_SESSION_TOKEN", "wrong")
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .env("AWS_REGION", "mars-north-1")
        .env("AWS_PROFILE", "nobody")
        .status();
    assert!(status.unwrap().success());
    assert!(server.data().join("bkt/from-child").exists());
}

#[test]
fn child_in_a_misleading_environment() {
    let Ok(endpoint) = std::env::var("LIFEBOAT_TEST_ENDPOINT") else {
        return;
    };
    let store = S3Store::open(S3Options {
        bucket: "bkt".to_owned(),
        endpoint: Some(endpoint),
        credentials: with_keys("s3s-access", "s3s-secret"),
        ..S3Options::default()
    })
    .unwrap();
    put(&store, "from-child", 10).unwrap();
}

#[test]
fn keys_are_never_shown() {
    let options = S3Options {
        bucket: "bkt".to_owned(),
        endpoint: Some("https://user:endpoint-secret@s3.example.org/".to_owned()),
        credentials: Credentials::given("access-id", "very-secret", Some("token-secret")),
        ..S3Options::default()
    };
    let shown = format!("{options:?}");
    assert!(!shown.contains("secret"), "{shown}");
    assert!(!shown.contains("access-id"), "{shown}");
    let store = S3Store::open(options).unwrap();
    let shown = format!("{store:?} {}", store.location());
    assert!(!shown.contains("secret"), "{shown}");
    assert!(shown.contains("s3://bkt at s3.example.org"), "{shown}");
}

#[test]
fn a_key_that_opendal_would_change_is_refused() {
    let server = S3sServer::start();
    server.create_bucket("bkt");
    let store = s3s(&server, "bkt", |_| {});
    for key in [" a", "a ", "a/b\u{a0}"] {
        let error = put(&store, key, 1).unwrap_err();
        assert!(matches!(error, StoreError::InvalidKey { .. }), "{error:?}");
    }
}

#[test]
fn two_prefixes_in_one_bucket_do_not_see_each_other() {
    let server = S3sServer::start();
    server.create_bucket("bkt");
    let one = s3s(&server, "bkt", |o| o.prefix = "one".to_owned());
    let two = s3s(&server, "bkt", |o| o.prefix = "/one/two/".to_owned());
    let whole = s3s(&server, "bkt", |_| {});
    put(&one, "k", 1).unwrap();
    put(&two, "k", 2).unwrap();
    assert_eq!(keys(&one, ""), ["k", "two/k"]);
    assert_eq!(keys(&two, ""), ["k"]);
    assert_eq!(keys(&whole, ""), ["one/k", "one/two/k"]);
    assert_eq!(two.stat("k").unwrap().unwrap().bytes, 2);
}

#[test]
fn a_versioned_bucket_gives_each_object_its_version() {
    let server = MotoServer::start();
    server.create_bucket("kept");
    let plain = moto(&server, "kept", |_| {});
    let stored = |store: &S3Store, key: &str, bytes| {
        let options = PutOptions::default();
        store.put(key, &mut Noise::new(1, bytes), &options).unwrap()
    };
    assert_eq!(stored(&plain, "before", 10).version, None);
    server.version("kept");
    let versioned = moto(&server, "kept", |_| {});
    let mut versions: Vec<String> = Vec::new();
    // One upload in one request, and one in parts.
    for bytes in [10, 10, 20 * MIB] {
        let receipt = stored(&versioned, "object", bytes);
        assert_eq!(receipt.bytes, bytes);
        versions.push(receipt.version.unwrap());
    }
    versions.sort();
    versions.dedup();
    assert_eq!(versions.len(), 3, "{versions:?}");
}
