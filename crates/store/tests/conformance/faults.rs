//! Networks that cut, lose and damage. Whatever they do, data is whole or there is an error.

use super::{Noise, get, keys, s3s};
use lifeboat_store::{PutOptions, S3Store, Store, StoreError};
use lifeboat_testkit::s3::{Fault, FaultyProxy, S3sServer, Way};
use std::io::Read;

const MIB: u64 = 1 << 20;

struct Net {
    server: S3sServer,
    proxy: FaultyProxy,
    /// Through the proxy.
    store: S3Store,
    /// Past it.
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

fn put(store: &dyn Store, bytes: u64, if_absent: bool) -> Result<u64, StoreError> {
    let options = PutOptions {
        if_absent,
        bytes_hint: None,
    };
    let receipt = store.put("k", &mut Noise::new(1, bytes), &options)?;
    Ok(receipt.bytes)
}

/// Parts that an upload left in the server's directory.
fn parts(server: &S3sServer) -> Vec<String> {
    let entries = std::fs::read_dir(server.data()).unwrap();
    entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".upload"))
        .collect()
}

#[test]
fn a_download_that_is_cut_is_taken_up_where_it_broke() {
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
fn a_download_that_stays_cut_is_an_error_and_not_an_end() {
    let net = net();
    put(&net.direct, 40 * MIB, false).unwrap();
    let mut reader = net.store.open("k", 0).unwrap();
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
fn an_object_replaced_while_it_is_read_is_never_mixed() {
    let net = net();
    put(&net.direct, 40 * MIB, false).unwrap();
    let mut reader = net.store.open("k", 0).unwrap();
    let other = &mut Noise::new(99, 40 * MIB);
    net.direct.put("k", other, &PutOptions::default()).unwrap();
    // The rest must come over a new connection, to the new object.
    net.proxy.set(Fault::Cut(Way::Down, 0), 1);
    let mut out = Vec::new();
    let error = reader.read_to_end(&mut out).unwrap_err();
    let old = Noise::all(1, 40 * MIB);
    assert!(out == old[..out.len()], "old and new are mixed");
    assert!(error.to_string().contains("changed meanwhile"), "{error}");
}

#[test]
fn an_upload_that_is_cut_is_sent_again() {
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
fn an_upload_that_stays_cut_is_an_error_and_leaves_nothing() {
    let net = net();
    net.proxy.set(Fault::Cut(Way::Up, MIB), i64::MAX);
    let error = put(&net.store, 40 * MIB, false).unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    assert_eq!(keys(&net.direct, ""), [""; 0]);
    assert_eq!(parts(&net.server), [""; 0]);
}

/// The server did the work and its answer was lost; the repetition must not be taken for a rival.
#[test]
fn an_answer_that_is_lost_is_not_mistaken() {
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
        // The next attempt goes through.
        put(&net.store, bytes, false).unwrap();
    }
}

/// The next requests that contain `text` are answered like this.
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
    let error = net.store.put("other", body, &PutOptions::default());
    assert!(
        matches!(error, Err(StoreError::Unreachable { .. })),
        "{error:?}"
    );
}

#[test]
fn a_server_without_conditions_is_served_all_the_same() {
    let net = net();
    answer(&net, "if-none-match: *", 501, "NotImplemented", 1);
    put(&net.store, MIB, true).unwrap();
    assert_eq!(net.proxy.done(), 1);
    // It was understood: the next attempt puts no condition, but still looks first.
    answer(&net, "if-none-match: *", 501, "NotImplemented", 1);
    let error = put(&net.store, MIB, true).unwrap_err();
    assert!(matches!(error, StoreError::AlreadyExists { .. }));
    net.direct.delete("k").unwrap();
    put(&net.store, 20 * MIB, true).unwrap();
    assert_eq!(net.proxy.done(), 1);
}

#[test]
fn refusals_are_called_what_they_are() {
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
    let error = refused(403, "AccessDenied");
    assert!(matches!(&error, StoreError::Denied { .. }), "{error:?}");
    let error = refused(403, "QuotaExceeded");
    assert!(matches!(&error, StoreError::Full { .. }), "{error:?}");
    let error = refused(400, "InvalidStorageClass");
    assert!(matches!(&error, StoreError::Other { .. }), "{error:?}");
    assert_eq!(get(&net.direct, "k", 0).len(), 10);
}
