//! The tests that every store must pass.

use super::{Breaks, Noise, get, keys};
use lifeboat_store::{PutOptions, Receipt, Store, StoreError};
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Instant;

const MIB: u64 = 1 << 20;

type Case = (&'static str, fn(Arc<dyn Store>));

const CASES: &[Case] = &[
    ("puts, gets and replaces", puts_gets_and_replaces),
    ("holds empty objects", holds_empty_objects),
    ("opens at an offset", opens_at_an_offset),
    ("puts whole and gives parts", puts_whole_and_gives_parts),
    ("says what is absent", says_what_is_absent),
    ("has no directories", has_no_directories),
    ("lists by any prefix in order", lists_by_any_prefix_in_order),
    ("lists more than a page", lists_more_than_a_page),
    ("deletes again and again", deletes_again_and_again),
    ("takes every sensible key", takes_every_sensible_key),
    ("refuses bad keys", refuses_bad_keys),
    ("holds large objects of unknown length", holds_large_objects),
    (
        "holds objects of exactly one and two parts",
        holds_whole_parts,
    ),
    (
        "a body that fails leaves nothing",
        failing_body_leaves_nothing,
    ),
    (
        "a body that fails keeps the old",
        failing_body_keeps_the_old,
    ),
    ("if_absent never replaces", if_absent_never_replaces),
    ("if_absent lets the first finish win", first_finish_wins),
    ("threads do not disturb each other", threads_do_not_disturb),
    ("proves itself and leaves no trace", proves_itself),
];

/// Runs all tests on empty stores that `make` makes, except those that the server beneath is known
/// to fail.
pub fn run(make: &dyn Fn() -> Box<dyn Store>, except: &[&str]) {
    for name in except {
        assert!(CASES.iter().any(|(n, _)| n == name), "no case {name}");
    }
    for (name, case) in CASES.iter().filter(|(n, _)| !except.contains(n)) {
        let begun = Instant::now();
        println!("- {name}");
        case(Arc::from(make()));
        println!("  {:.2} s", begun.elapsed().as_secs_f64());
    }
}

fn put(store: &dyn Store, key: &str, bytes: &[u8]) -> Result<Receipt, StoreError> {
    store.put(key, &mut &bytes[..], &PutOptions::default())
}

fn put_new(
    store: &dyn Store,
    key: &str,
    body: &mut (dyn Read + Send),
) -> Result<Receipt, StoreError> {
    let options = PutOptions {
        if_absent: true,
        bytes_hint: None,
    };
    store.put(key, body, &options)
}

fn puts_whole_and_gives_parts(store: Arc<dyn Store>) {
    let mut bytes = Vec::new();
    Noise::new(3, 20 * MIB).read_to_end(&mut bytes).unwrap();
    let whole = |key, body: &[u8]| {
        let body = bytes::Bytes::copy_from_slice(body);
        store.put_whole(key, body, &PutOptions::default()).unwrap()
    };
    assert_eq!(whole("p/whole", &bytes).bytes, 20 * MIB);
    assert_eq!(whole("p/empty", b"").bytes, 0);
    let part = |key, offset, length| {
        let mut read = Vec::new();
        let mut reader = store.open_part(key, offset, length).unwrap();
        reader.read_to_end(&mut read).unwrap();
        read
    };
    assert!(part("p/whole", 0, 20 * MIB) == bytes);
    assert_eq!(part("p/whole", 5_000_000, 7), bytes[5_000_000..5_000_007]);
    assert_eq!(part("p/whole", 20 * MIB - 3, 3), bytes[bytes.len() - 3..]);
    // Only as many bytes as there are.
    assert_eq!(part("p/whole", 20 * MIB - 3, 9), bytes[bytes.len() - 3..]);
    assert!(part("p/whole", MIB, u64::MAX) == bytes[1 << 20..]);
    assert!(part("p/whole", 20 * MIB, 9).is_empty());
    assert!(part("p/whole", 5, 0).is_empty());
    assert!(part("p/empty", 0, 9).is_empty());
    assert!(store.open_part("p/whole", 20 * MIB + 1, 9).is_err());
    match store.open_part("p/none", 0, 9).err() {
        Some(StoreError::NotFound { .. }) => {}
        other => panic!("{other:?}"),
    }
}

fn puts_gets_and_replaces(store: Arc<dyn Store>) {
    let receipt = put(&*store, "a/b/c.txt", b"first").unwrap();
    assert_eq!(receipt.bytes, 5);
    assert_eq!(get(&*store, "a/b/c.txt", 0), b"first");
    put(&*store, "a/b/c.txt", b"second!").unwrap();
    assert_eq!(get(&*store, "a/b/c.txt", 0), b"second!");
    let found = store.stat("a/b/c.txt").unwrap().unwrap();
    assert_eq!((found.key.as_str(), found.bytes), ("a/b/c.txt", 7));
    let listed = store.list("").unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].key.as_str(), listed[0].bytes), ("a/b/c.txt", 7));
    // A server may report the fraction of a second in one answer and not in the other.
    let second = |at: Option<jiff::Timestamp>| at.map(|at| at.as_second());
    assert_eq!(second(listed[0].modified), second(found.modified));
    // The servers of these tests use the same clock.
    let age = found
        .modified
        .map_or(0, |at| jiff::Timestamp::now().as_second() - at.as_second());
    assert!((-2..60).contains(&age), "{found:?}");
}

fn holds_empty_objects(store: Arc<dyn Store>) {
    assert_eq!(put(&*store, "empty", b"").unwrap().bytes, 0);
    assert_eq!(store.stat("empty").unwrap().unwrap().bytes, 0);
    assert_eq!(get(&*store, "empty", 0), b"");
    assert_eq!(keys(&*store, ""), ["empty"]);
}

fn opens_at_an_offset(store: Arc<dyn Store>) {
    let data = Noise::all(7, 300_000);
    put(&*store, "k", &data).unwrap();
    for offset in [0, 1, 131_072, 299_999, 300_000] {
        let at = usize::try_from(offset).unwrap();
        assert!(get(&*store, "k", offset) == data[at..], "offset {offset}");
    }
    let beyond = store.open("k", 300_001).err().unwrap();
    assert!(matches!(beyond, StoreError::Other { .. }), "{beyond:?}");
}

fn says_what_is_absent(store: Arc<dyn Store>) {
    put(&*store, "dir/object", b"x").unwrap();
    for key in ["nothing", "dir/other", "other/thing"] {
        assert_eq!(store.stat(key).unwrap(), None, "{key}");
        match store.open(key, 0).err() {
            Some(StoreError::NotFound { key: named, .. }) => assert_eq!(named, key),
            other => panic!("{key}: {other:?}"),
        }
    }
}

/// In every store, `dir` is not an object, and nothing lies below an object.
fn has_no_directories(store: Arc<dyn Store>) {
    put(&*store, "dir/object", b"x").unwrap();
    for key in ["dir", "dir/object/below"] {
        assert_eq!(store.stat(key).unwrap(), None);
        let error = store.open(key, 0).err().unwrap();
        assert!(matches!(error, StoreError::NotFound { .. }), "{error:?}");
        store.delete(key).unwrap();
    }
    assert_eq!(keys(&*store, "dir/object/"), [""; 0]);
    assert_eq!(keys(&*store, "dir/object"), ["dir/object"]);
}

fn lists_by_any_prefix_in_order(store: Arc<dyn Store>) {
    // In ascending byte order, which is not the order of a walk: `-` < `.` < `/` < `0`.
    let all = [
        "a-b", "a.txt", "a/b", "a/b-c/d", "a/b.d/e", "ab/c", "b", "B",
    ];
    for key in all {
        put(&*store, key, key.as_bytes()).unwrap();
    }
    let mut sorted = all;
    sorted.sort_unstable();
    assert_eq!(keys(&*store, ""), sorted);
    for prefix in [
        "a",
        "a/",
        "a/b",
        "a/b-",
        "a/b.d/",
        "a/b.d/e",
        "ab",
        "b",
        "c",
        "a/b/",
        "a//b",
        "/",
        "/a",
        "../",
        "a/.",
        ".incoming",
        ".incoming/",
        " ",
    ] {
        let expected: Vec<_> = sorted.iter().filter(|k| k.starts_with(prefix)).collect();
        assert_eq!(
            keys(&*store, prefix).iter().collect::<Vec<_>>(),
            expected,
            "{prefix:?}"
        );
    }
    assert_eq!(store.list("a.").unwrap()[0].bytes, 5);
}

fn lists_more_than_a_page(store: Arc<dyn Store>) {
    let expected: Vec<_> = (0..1203).map(|n| format!("many/{n:05}")).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(key) = expected.get(next.fetch_add(1, Ordering::Relaxed)) {
                    put(&*store, key, b"x").unwrap();
                }
            });
        }
    });
    put(&*store, "other", b"x").unwrap();
    assert_eq!(keys(&*store, "many/"), expected);
    assert_eq!(keys(&*store, "many/0120"), expected[1200..]);
}

fn deletes_again_and_again(store: Arc<dyn Store>) {
    put(&*store, "d/e/f", b"x").unwrap();
    put(&*store, "d/g", b"y").unwrap();
    store.delete("d/e/f").unwrap();
    store.delete("d/e/f").unwrap();
    store.delete("never/was").unwrap();
    assert_eq!(store.stat("d/e/f").unwrap(), None);
    assert_eq!(keys(&*store, ""), ["d/g"]);
    put(&*store, "d/e/f", b"again").unwrap();
    assert_eq!(get(&*store, "d/e/f", 0), b"again");
}

fn takes_every_sensible_key(store: Arc<dyn Store>) {
    let mut all = vec![
        "with space/and  two",
        "quote'single/double\"/back`tick",
        "percent%20/100%/%",
        "plus+plus",
        "hash#/question?query=1&b=2",
        "semi;colon:at@comma,equals=dollar$",
        "brackets[1]{2}(3)<4>",
        "star*excl!tilde~caret^pipe|back\\slash",
        "ümläut/日本語/🚤.tar.zst",
        "e\u{301} is not \u{e9}",
        "dots..in...names/.hidden/x.",
        "-dash/--help",
    ];
    for key in &all {
        put(&*store, key, key.as_bytes()).unwrap_or_else(|e| panic!("{key:?}: {e}"));
    }
    for key in &all {
        assert_eq!(get(&*store, key, 0), key.as_bytes(), "{key:?}");
        assert_eq!(store.stat(key).unwrap().unwrap().key, *key);
        assert_eq!(keys(&*store, key), [*key]);
    }
    all.sort_unstable();
    assert_eq!(keys(&*store, ""), all);
    for key in &all {
        store.delete(key).unwrap();
    }
    assert_eq!(keys(&*store, ""), [""; 0]);
}

fn refuses_bad_keys(store: Arc<dyn Store>) {
    for key in [
        "", "/a", "a/", "a//b", "../a", "a/../b", ".", "a\nb", "a\0b",
    ] {
        let refused = |e: StoreError| matches!(e, StoreError::InvalidKey { .. });
        assert!(put(&*store, key, b"x").is_err_and(refused), "{key:?}");
        assert!(store.open(key, 0).is_err_and(refused), "{key:?}");
        assert!(store.stat(key).is_err_and(refused), "{key:?}");
        assert!(store.delete(key).is_err_and(refused), "{key:?}");
    }
    assert_eq!(keys(&*store, ""), [""; 0]);
}

/// Compares while reading, so that a failure does not print forty megabytes.
fn assert_holds(store: &dyn Store, key: &str, mut expected: Noise, bytes: u64) {
    assert_eq!(store.stat(key).unwrap().unwrap().bytes, bytes);
    let mut reader = store.open(key, 0).unwrap();
    let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut left = bytes;
    while left > 0 {
        let n = usize::try_from(left.min(1 << 16)).unwrap();
        reader.read_exact(&mut a[..n]).unwrap();
        expected.read_exact(&mut b[..n]).unwrap();
        assert!(a[..n] == b[..n], "{key} differs in the last {left} bytes");
        left -= n as u64;
    }
    assert_eq!(reader.read(&mut a).unwrap(), 0);
}

fn holds_large_objects(store: Arc<dyn Store>) {
    let bytes = 40 * MIB + 12_345;
    let receipt = store
        .put("large", &mut Noise::new(1, bytes), &PutOptions::default())
        .unwrap();
    assert_eq!(receipt.bytes, bytes);
    assert_holds(&*store, "large", Noise::new(1, bytes), bytes);
    let tail = get(&*store, "large", bytes - 10);
    assert_eq!(
        tail,
        Noise::all(1, bytes)[usize::try_from(bytes - 10).unwrap()..]
    );
}

fn holds_whole_parts(store: Arc<dyn Store>) {
    for bytes in [16 * MIB - 1, 16 * MIB, 16 * MIB + 1, 32 * MIB] {
        let key = format!("part-{bytes}");
        let options = PutOptions {
            if_absent: true,
            bytes_hint: Some(1),
        };
        let receipt = store
            .put(&key, &mut Noise::new(2, bytes), &options)
            .unwrap();
        assert_eq!(receipt.bytes, bytes);
        assert_holds(&*store, &key, Noise::new(2, bytes), bytes);
    }
}

fn failing_body_leaves_nothing(store: Arc<dyn Store>) {
    for bytes in [0, 100, 20 * MIB, 50 * MIB] {
        let mut body = Breaks(Noise::new(3, bytes));
        match store.put("x/broken", &mut body, &PutOptions::default()) {
            Err(StoreError::Body { key, source }) => {
                assert_eq!(key, "x/broken");
                assert_eq!(source.to_string(), "the dump ended early");
            }
            other => panic!("{bytes}: {other:?}"),
        }
        assert_eq!(store.stat("x/broken").unwrap(), None);
    }
    assert_eq!(keys(&*store, ""), [""; 0]);
}

fn failing_body_keeps_the_old(store: Arc<dyn Store>) {
    put(&*store, "k", b"old").unwrap();
    let mut body = Breaks(Noise::new(3, 33 * MIB));
    store
        .put("k", &mut body, &PutOptions::default())
        .unwrap_err();
    assert_eq!(get(&*store, "k", 0), b"old");
}

fn if_absent_never_replaces(store: Arc<dyn Store>) {
    put_new(&*store, "once", &mut &b"mine"[..]).unwrap();
    for body in [&b"yours"[..], b"mine", b""] {
        match put_new(&*store, "once", &mut &body[..]) {
            Err(StoreError::AlreadyExists { key, .. }) => assert_eq!(key, "once"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(get(&*store, "once", 0), b"mine");
    store.delete("once").unwrap();
    put_new(&*store, "once", &mut &b"new"[..]).unwrap();
    assert_eq!(get(&*store, "once", 0), b"new");
}

/// A body that reports when it is first read, and waits until told to go on.
struct Held {
    begun: mpsc::Sender<()>,
    go: mpsc::Receiver<()>,
    waited: bool,
    data: Noise,
}

impl Read for Held {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.waited {
            self.waited = true;
            self.begun.send(()).unwrap();
            self.go.recv().unwrap();
        }
        self.data.read(buffer)
    }
}

/// Two writers, both past the first check: the first to finish wins, and the other gets an error.
fn first_finish_wins(store: Arc<dyn Store>) {
    for bytes in [1000, 20 * MIB] {
        let key = format!("race-{bytes}");
        let (begun, has_begun) = mpsc::channel();
        let (go, may_go) = mpsc::channel();
        std::thread::scope(|scope| {
            let late = scope.spawn(|| {
                let mut body = Held {
                    begun,
                    go: may_go,
                    waited: false,
                    data: Noise::new(4, bytes),
                };
                put_new(&*store, &key, &mut body)
            });
            has_begun.recv().unwrap();
            put_new(&*store, &key, &mut &b"quick"[..]).unwrap();
            go.send(()).unwrap();
            let late = late.join().unwrap();
            assert!(
                matches!(late, Err(StoreError::AlreadyExists { .. })),
                "{bytes}: {late:?}"
            );
        });
        assert_eq!(get(&*store, &key, 0), b"quick");
    }
}

fn threads_do_not_disturb(store: Arc<dyn Store>) {
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for n in 0..6_u64 {
            let (store, failed) = (&store, &failed);
            scope.spawn(move || {
                for round in 0..8 {
                    let key = format!("t/{n}/{round}");
                    let data = Noise::all(n * 31 + round, 70_000);
                    put(&**store, &key, &data).unwrap();
                    if get(&**store, &key, 0) != data {
                        failed.lock().unwrap().push(key.clone());
                    }
                    if round % 2 == 0 {
                        store.delete(&key).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(*failed.lock().unwrap(), [""; 0]);
    assert_eq!(keys(&*store, "t/").len(), 24);
}

fn proves_itself(store: Arc<dyn Store>) {
    put(&*store, "z", b"z").unwrap();
    store.probe().unwrap();
    assert_eq!(keys(&*store, ""), ["z"]);
}
