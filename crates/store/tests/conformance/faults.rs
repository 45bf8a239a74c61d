//! Networks that cut connections, and lose or damage data. Whatever they do, data is complete or
//! there is an error.

use super::{Noise, get, keys, s3s};
use lifeboat_store::{PutOptions, S3Store, Store, StoreError};
use lifeboat_testkit::s3::{Fault, FaultyProxy, S3sServer, Way};
use std::io::Read;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

struct Net {
    server: S3sServer,
    proxy: FaultyProxy,
    /// The store through the proxy.
    store: S3Store,
    /// The store without the proxy.
    direct: S3Store,
}

fn net() -> Net {
    let server = S3sServer::start();
    server.create_bucket("bkt");
    let proxy = FaultyProxy::start(server.address());
    let store = s3s(&server, "bkt", |o| o.endpoint = Some(proxy.endpoint()));
    let direct = s3s(&server, "bkt", |_| {});
    Net {
        server,
        proxy,
        store,
        direct,
    }
}

impl Net {
    /// The store through the proxy, with shorter pauses between attempts: for a network that does
    /// not recover.
    fn impatient(&self) -> S3Store {
        s3s(&self.server, "bkt", |o| {
            o.endpoint = Some(self.proxy.endpoint());
            o.stall = Duration::from_secs(2);
        })
    }
}

fn put(store: &dyn Store, bytes: u64, if_absent: bool) -> Result<u64, StoreError> {
    let options = PutOptions {
        if_absent,
        bytes_hint: None,
    };
    let receipt = store.put("k", &mut Noise::new(1, bytes), &options)?;
    Ok(receipt.bytes)
}

/// The parts of uploads that are left in the server's directory.
fn parts(server: &S3sServer) -> Vec<String> {
    let entries = std::fs::read_dir(server.data()).unwrap();
    entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".upload"))
        .collect()
}

#[test]
fn a_broken_download_resumes_where_it_broke() {
    let net = net();
    put(&net.direct, 8 * MIB, false).unwrap();
    net.proxy.set(Fault::Cut(Way::Down, MIB), 4);
    assert!(get(&net.store, "k", 0) == Noise::all(1, 8 * MIB));
    assert_eq!(net.proxy.done(), 4);
    net.proxy.set(Fault::Cut(Way::Down, MIB), 1);
    let tail = get(&net.store, "k", 3 * MIB + 7);
    assert!(tail == Noise::all(1, 8 * MIB)[usize::try_from(3 * MIB + 7).unwrap()..]);
    assert_eq!(net.proxy.done(), 5);
}

#[test]
fn a_download_that_keeps_breaking_is_an_error_and_not_an_end() {
    let net = net();
    put(&net.direct, 40 * MIB, false).unwrap();
    let mut reader = net.impatient().open("k", 0).unwrap();
    net.proxy.set(Fault::Cut(Way::Down, 0), i64::MAX);
    let mut out = Vec::new();
    let error = reader.read_to_end(&mut out).unwrap_err();
    let inner = error.get_ref().and_then(|e| e.downcast_ref());
    assert!(
        matches!(inner, Some(StoreError::Unreachable { .. })),
        "{error:?}"
    );
    assert!(out.len() < usize::try_from(40 * MIB).unwrap());
    assert!(out == Noise::all(1, 40 * MIB)[..out.len()]);
}

#[test]
fn a_server_that_refuses_large_pages_is_listed_in_its_own() {
    let net = net();
    put(&net.direct, 3, false).unwrap();
    let refusal = "<Error><Code>InvalidArgument</Code></Error>".to_owned();
    let large = Fault::Answer("max-keys=".into(), 400, refusal);
    net.proxy.set(large, i64::MAX);
    let listed = net.store.list("").unwrap();
    let keys: Vec<&str> = listed.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(keys, ["k"]);
    assert_eq!(net.proxy.done(), 1);
}

#[test]
fn an_object_replaced_while_it_is_read_is_never_mixed() {
    let net = net();
    put(&net.direct, 40 * MIB, false).unwrap();
    let mut reader = net.store.open("k", 0).unwrap();
    let other = &mut Noise::new(99, 40 * MIB);
    net.direct.put("k", other, &PutOptions::default()).unwrap();
    // The rest must come over a new connection, which finds the new object.
    net.proxy.set(Fault::Cut(Way::Down, 0), 1);
    let mut out = Vec::new();
    let error = reader.read_to_end(&mut out).unwrap_err();
    let old = Noise::all(1, 40 * MIB);
    assert!(out == old[..out.len()], "old and new are mixed");
    assert!(error.to_string().contains("changed meanwhile"), "{error}");
}

#[test]
fn a_broken_upload_is_sent_again() {
    for bytes in [8 * MIB, 40 * MIB] {
        let net = net();
        net.proxy.set(Fault::Cut(Way::Up, MIB), 4);
        assert_eq!(put(&net.store, bytes, false).unwrap(), bytes);
        assert_eq!(net.proxy.done(), 4);
        assert!(get(&net.direct, "k", 0) == Noise::all(1, bytes));
        assert_eq!(parts(&net.server), [""; 0]);
    }
}

#[test]
fn an_upload_that_keeps_breaking_is_an_error_and_leaves_nothing() {
    let net = net();
    net.proxy.set(Fault::Cut(Way::Up, MIB), i64::MAX);
    let error = put(&net.impatient(), 40 * MIB, false).unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    assert_eq!(keys(&net.direct, ""), [""; 0]);
    assert_eq!(parts(&net.server), [""; 0]);
}

/// The server did the work but its answer was lost; the repeat must not be taken for a rival.
#[test]
fn a_lost_answer_is_not_taken_for_a_rival() {
    for if_absent in [false, true] {
        let net = net();
        let text = "PUT /bkt/k ".to_owned();
        net.proxy.set(Fault::LoseAnswerTo(text), 1);
        put(&net.store, MIB, if_absent).unwrap();
        assert_eq!(net.proxy.done(), 1);
        assert!(get(&net.direct, "k", 0) == Noise::all(1, MIB));

        net.direct.delete("k").unwrap();
        let text = "POST /bkt/k?uploadId=".to_owned();
        net.proxy.set(Fault::LoseAnswerTo(text), 1);
        put(&net.store, 40 * MIB, if_absent).unwrap();
        assert_eq!(net.proxy.done(), 2);
        assert!(get(&net.direct, "k", 0) == Noise::all(1, 40 * MIB));
    }
}

#[test]
fn a_rival_is_still_seen_when_answers_are_lost() {
    let net = net();
    put(&net.direct, MIB, false).unwrap();
    let error = put(&net.store, MIB, true).unwrap_err();
    assert!(matches!(error, StoreError::AlreadyExists { .. }));
}

#[test]
fn data_damaged_on_its_way_is_not_confirmed() {
    for bytes in [8 * MIB, 40 * MIB] {
        let net = net();
        net.proxy.set(Fault::Flip(Way::Up, 2 * MIB), 1);
        let error = put(&net.store, bytes, false).unwrap_err();
        assert_eq!(net.proxy.done(), 1);
        assert!(matches!(error, StoreError::Unconfirmed { .. }), "{error:?}");
        assert!(error.to_string().contains("ETag"), "{error}");
        // The next attempt succeeds.
        put(&net.store, bytes, false).unwrap();
    }
}

/// Answers the next requests that contain `text` with this status and code.
fn answer(net: &Net, text: &str, status: u16, code: &str, times: i64) {
    let body = match code {
        "" => String::new(),
        code => format!("<Error><Code>{code}</Code><Message>why</Message></Error>"),
    };
    net.proxy
        .set(Fault::Answer(text.to_owned(), status, body), times);
}

#[test]
fn keys_that_may_only_write_can_write() {
    for bytes in [MIB, 40 * MIB] {
        let net = net();
        answer(&net, "HEAD /bkt/k ", 403, "", i64::MAX);
        put(&net.store, bytes, false).unwrap();
        assert_eq!(net.proxy.done(), 1);
        assert!(get(&net.direct, "k", 0) == Noise::all(1, bytes));
    }
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let net = net();
    for (text, bytes) in [("PUT /bkt/k", MIB), ("POST /bkt/k?uploads", 20 * MIB)] {
        answer(&net, text, 503, "SlowDown", 2);
        put(&net.store, bytes, false).unwrap();
    }
    answer(&net, "GET /bkt?list-type=2", 500, "InternalError", 2);
    assert_eq!(keys(&net.store, ""), ["k"]);
    answer(&net, "GET /bkt/k", 503, "", 2);
    assert!(get(&net.store, "k", 0) == Noise::all(1, 20 * MIB));
    assert_eq!(net.proxy.done(), 8);
    answer(&net, "PUT /bkt/other", 503, "SlowDown", i64::MAX);
    let body = &mut Noise::new(1, 10);
    let error = net.impatient().put("other", body, &PutOptions::default());
    assert!(
        matches!(error, Err(StoreError::Unreachable { .. })),
        "{error:?}"
    );
}

#[test]
fn a_server_without_conditional_requests_can_be_used() {
    let net = net();
    answer(&net, "if-none-match: *", 501, "NotImplemented", 1);
    put(&net.store, MIB, true).unwrap();
    assert_eq!(net.proxy.done(), 1);
    // The client has learnt it: the next attempt sets no condition, but still looks first.
    answer(&net, "if-none-match: *", 501, "NotImplemented", 1);
    let error = put(&net.store, MIB, true).unwrap_err();
    assert!(matches!(error, StoreError::AlreadyExists { .. }));
    net.direct.delete("k").unwrap();
    put(&net.store, 20 * MIB, true).unwrap();
    assert_eq!(net.proxy.done(), 1);
}

#[test]
fn every_refusal_becomes_the_right_error() {
    let net = net();
    put(&net.direct, 10, false).unwrap();
    let refused = |status, code| {
        answer(&net, "PUT /bkt/k ", status, code, i64::MAX);
        put(&net.store, 20, false).unwrap_err()
    };
    let error = refused(403, "RequestTimeTooSkewed");
    assert!(
        matches!(&error, StoreError::Credentials { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("clock"), "{error}");
    let error = refused(403, "ExpiredToken");
    assert!(
        matches!(&error, StoreError::Credentials { .. }),
        "{error:?}"
    );
    assert!(error.is_expired_session(), "{error}");
    let error = refused(403, "InvalidObjectState");
    assert!(matches!(&error, StoreError::Archived { .. }), "{error:?}");
    let error = refused(403, "AccessDenied");
    assert!(matches!(&error, StoreError::Denied { .. }), "{error:?}");
    let error = refused(403, "QuotaExceeded");
    assert!(matches!(&error, StoreError::Full { .. }), "{error:?}");
    let error = refused(400, "InvalidStorageClass");
    assert!(matches!(&error, StoreError::Other { .. }), "{error:?}");
    assert_eq!(get(&net.direct, "k", 0).len(), 10);
}

/// A call to a store.
type Call = fn(&S3Store) -> Result<(), StoreError>;

/// Stores an object that no other call reads: the server takes it, and only its answer stalls.
fn put_other(store: &S3Store, bytes: u64) -> Result<(), StoreError> {
    let options = PutOptions::default();
    let put = store.put("other", &mut Noise::new(1, bytes), &options);
    put.map(drop)
}

const CALLS: [(&str, Call); 8] = [
    ("put", |store| put_other(store, 10)),
    ("put if absent", |store| {
        let options = PutOptions {
            if_absent: true,
            bytes_hint: None,
        };
        store.put("new", &mut &b"x"[..], &options).map(drop)
    }),
    ("put in parts", |store| put_other(store, 20 * MIB)),
    ("read", |store| {
        let mut reader = store.open("k", 0)?;
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        Err(error.downcast::<StoreError>().unwrap())
    }),
    ("read a part", |store| {
        let mut reader = store.open_part("k", 0, 8 * MIB)?;
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        Err(error.downcast::<StoreError>().unwrap())
    }),
    ("list", |store| store.list("").map(drop)),
    ("delete", |store| store.delete("nothing")),
    ("probe", |store| store.probe()),
];

/// Every call, with the answer stopped at every place: before it, in its head, in its body.
#[test]
fn every_call_to_a_server_that_stalls_ends_in_time() {
    let server = S3sServer::start();
    server.create_bucket("bkt");
    let direct = s3s(&server, "bkt", |_| {});
    put(&direct, 8 * MIB, false).unwrap();
    let stall = Duration::from_secs(1);
    let stalls = |name: &str, call: Call, way: Way, after: u64| {
        let proxy = FaultyProxy::start(server.address());
        let store = s3s(&server, "bkt", |o| {
            o.endpoint = Some(proxy.endpoint());
            o.stall = stall;
        });
        proxy.set(Fault::Stall(way, after), i64::MAX);
        let begun = Instant::now();
        let error = call(&store).unwrap_err();
        let took = begun.elapsed();
        let what = format!("{name} after {after} bytes {way:?}: {took:?} {error:?}");
        assert!(matches!(error, StoreError::Unreachable { .. }), "{what}");
        assert!(took < 12 * stall, "{what}");
        proxy.requests();
        // The server is not asked again at once.
        let again = store.stat("k").unwrap_err();
        assert!(matches!(again, StoreError::Unreachable { .. }), "{what}");
        assert_eq!(proxy.requests(), [""; 0], "{what}");
    };
    std::thread::scope(|scope| {
        for (name, call) in CALLS {
            let stalls = &stalls;
            scope.spawn(move || {
                stalls(name, call, Way::Down, 0);
                stalls(name, call, Way::Up, 0);
            });
        }
        let stalls = &stalls;
        let named = |wanted| {
            CALLS
                .into_iter()
                .find(|(name, _)| *name == wanted)
                .unwrap()
                .1
        };
        let (read, part, list) = (named("read"), named("read a part"), named("list"));
        scope.spawn(move || stalls("read", read, Way::Down, MIB));
        scope.spawn(move || stalls("read a part", part, Way::Down, MIB));
        scope.spawn(move || stalls("list", list, Way::Down, 60));
    });
}

#[test]
fn a_server_that_only_fails_is_given_up_in_time() {
    for (status, code) in [(503, "SlowDown"), (500, "InternalError"), (429, "")] {
        let server = S3sServer::start();
        server.create_bucket("bkt");
        let proxy = FaultyProxy::start(server.address());
        let store = s3s(&server, "bkt", |o| {
            o.endpoint = Some(proxy.endpoint());
            o.stall = Duration::from_secs(1);
        });
        let body = format!("<Error><Code>{code}</Code></Error>");
        proxy.set(Fault::Answer("/bkt".to_owned(), status, body), i64::MAX);
        let begun = Instant::now();
        for key in 0..20 {
            let error = store.open(&key.to_string(), 0).err().unwrap();
            assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
        }
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(10), "{status}: {took:?}");
        assert!(proxy.done() > 20, "it was tried again while there was time");
    }
}

#[test]
fn a_permanent_failure_is_not_retried() {
    let net = net();
    put(&net.direct, 10, false).unwrap();
    for (status, code) in [(404, "NoSuchKey"), (403, "AccessDenied")] {
        answer(&net, "GET /bkt/k", status, code, i64::MAX);
        net.proxy.requests();
        net.store.open("k", 0).map(drop).unwrap_err();
        let asked = net.proxy.requests();
        let gets = asked.iter().filter(|r| r.starts_with("GET /bkt/k"));
        assert_eq!(gets.count(), 1, "{asked:?}");
    }
}

#[test]
fn a_failed_listing_is_never_not_found() {
    let net = net();
    put(&net.direct, 10, false).unwrap();
    answer(&net, "GET /bkt", 404, "NoSuchKey", i64::MAX);
    let error = net.store.list("lifeboat/points/").unwrap_err();
    assert!(matches!(error, StoreError::Other { .. }), "{error:?}");
}
