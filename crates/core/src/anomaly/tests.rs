#![allow(clippy::disallowed_methods)]

use super::*;
use crate::document::assert_document;

fn name(text: &'static str) -> Name {
    Name::own(text)
}

/// A point of the source `db` with one table.
fn rows(rows: u64) -> Measured {
    with_tables(&[("public.client", rows)])
}

fn with_tables(tables: &[(&str, u64)]) -> Measured {
    let tables = tables
        .iter()
        .map(|(name, rows)| ((*name).to_owned(), *rows));
    content_of(Content {
        tables: tables.collect(),
        ..Content::default()
    })
}

fn bytes(bytes: u64) -> Measured {
    content_of(Content {
        bytes,
        ..Content::default()
    })
}

fn content_of(content: Content) -> Measured {
    let measure = Measure {
        content: Some(content),
        stored: BTreeMap::new(),
    };
    BTreeMap::from([(name("db"), measure)])
}

/// A point of which only the bytes in a store are known.
fn stored(bytes: u64) -> Measured {
    let stored = Stored {
        bytes,
        compressed: true,
    };
    let measure = Measure {
        content: None,
        stored: BTreeMap::from([(name("disk"), stored)]),
    };
    BTreeMap::from([(name("db"), measure)])
}

fn usual() -> Watch {
    Watch::unconfigured()
}

fn texts(before: &[Measured], point: &Measured) -> Vec<String> {
    let judged = judge(before, point, &usual());
    judged.anomalies.iter().map(Anomaly::text).collect()
}

/// Whether a number of rows rings after these.
fn rings(before: &[u64], now: u64) -> bool {
    let before: Vec<Measured> = before.iter().copied().map(rows).collect();
    !texts(&before, &rows(now)).is_empty()
}

/// Numbers that look random, the same for the same seed, from 0 to 1.
fn noise(seed: u64) -> impl Iterator<Item = f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as f64 / f64::from(u32::MAX)
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(number: f64) -> u64 {
    number as u64
}

/// How often the last number rings when these come one after the other.
fn ringing(numbers: &[u64]) -> usize {
    let at = |i: &usize| rings(&numbers[i.saturating_sub(POINTS_MAX)..*i], numbers[*i]);
    (0..numbers.len()).filter(at).count()
}

#[test]
fn anomaly_of_rows_by_table() {
    let steady = [1000; POINTS_MAX];
    let odd = {
        let mut odd = steady;
        odd[5] = 100_000;
        odd
    };
    let table: &[(&[u64], u64, bool)] = &[
        (&steady, 1000, false),
        (&steady, 500, true),
        (&steady, 2000, true),
        (&steady, 800, false),
        (&steady, 799, true),
        (&steady, 1200, false),
        (&steady, 1201, true),
        (&steady, 0, true),
        // One odd point among them changes nothing.
        (&odd, 1000, false),
        (&odd, 500, true),
        (&odd, 2000, true),
        (&odd, 100_000, true),
        // Too few to compare with.
        (&[], 5, false),
        (&[1000, 1000], 0, false),
        (&[1000, 1000, 1000], 0, true),
        // Too small to tell of.
        (&[100, 100, 100], 1, false),
        (&[100, 100, 100], 0, true),
        (&[0, 0, 0], 99, false),
        (&[0, 0, 0], 100, true),
        // Only the last points count.
        (&[[9000; 20].as_slice(), &steady].concat(), 1000, false),
        // A week-end that comes and goes, and one that came only once.
        (&[9, 9, 9, 9, 9, 5, 5, 9, 9, 9, 9, 9, 5, 5], 9, false),
    ];
    for (before, now, expected) in table {
        assert_eq!(rings(before, *now), *expected, "{before:?} then {now}");
    }
}

#[test]
fn anomaly_texts_have_figures_and_units() {
    let before = |measured: Measured| vec![measured; POINTS_MAX];
    assert_eq!(
        texts(&before(rows(1000)), &rows(480)),
        ["table public.client of source db shrank to 480 rows, usually 1000 (-52 %)"]
    );
    assert_eq!(
        texts(&before(rows(1000)), &rows(2000)),
        ["table public.client of source db grew to 2000 rows, usually 1000 (+100 %)"]
    );
    assert_eq!(
        texts(&before(bytes(10 << 20)), &bytes(2 << 20)),
        ["source db shrank to 2.0 MiB, usually 10.0 MiB (-80 %)"]
    );
    assert_eq!(
        texts(&before(stored(10 << 20)), &stored(30 << 20)),
        ["source db takes 30.0 MiB in a store, usually 10.0 MiB (+200 %)"]
    );
    let two = with_tables(&[("a\n\u{202e}b", 7), ("c", 5)]);
    assert_eq!(
        texts(&before(two), &with_tables(&[("c", 5)])),
        ["table a\\n\\u{202e}b of source db is gone, usually 7 rows"]
    );
    let files = |files, changed, added, removed| {
        content_of(Content {
            files: Some(files),
            changes: Some(FileChanges {
                before: 1000,
                changed,
                added,
                removed,
            }),
            ..Content::default()
        })
    };
    assert_eq!(
        texts(&before(files(1000, 3, 0, 0)), &files(1500, 0, 500, 0)),
        ["source db grew to 1500 files, usually 1000 (+50 %)"]
    );
    let replaced = "source db: 600 of 1000 files were replaced, usually 3: encrypted?";
    for now in [files(1000, 600, 0, 0), files(1000, 100, 500, 500)] {
        assert_eq!(texts(&before(files(1000, 3, 0, 0)), &now), [replaced]);
    }
    // Where half of the files always change, it says nothing.
    assert!(texts(&before(files(1000, 600, 0, 0)), &files(1000, 900, 0, 0)).is_empty());
    // What was deleted is told once, as fewer files.
    let deleted = texts(&before(files(1000, 3, 0, 0)), &files(400, 0, 0, 600));
    assert_eq!(
        deleted,
        ["source db shrank to 400 files, usually 1000 (-60 %)"]
    );
}

#[test]
fn anomaly_of_content_that_no_longer_compresses() {
    let point = |stored_mib: u64, compressed| {
        let stored = Stored {
            bytes: stored_mib << 20,
            compressed,
        };
        let mut measured = bytes(100 << 20);
        let db = measured.get_mut("db").unwrap();
        db.stored.insert(name("disk"), stored);
        measured
    };
    let text = "source db compresses to 99 %, usually to 30 %: was it encrypted?";
    for (usual, now, compressed, expected) in [
        (30, 99, true, vec![text]),
        (30, 40, true, vec![]),
        (30, 64, true, vec![]),
        (95, 100, true, vec![]),
        (30, 99, false, vec![]),
    ] {
        let before = vec![point(usual, true); POINTS_MAX];
        assert_eq!(texts(&before, &point(now, compressed)), expected, "{now}");
    }
}

#[test]
fn anomaly_of_a_minimum_needs_no_points_before() {
    let watch = Watch {
        limits: None,
        least: BTreeMap::from([(
            name("db"),
            Least {
                bytes: Some(1 << 20),
                rows: Some(100),
            },
        )]),
    };
    let judged = judge(&[], &rows(99), &watch);
    let texts: Vec<String> = judged.anomalies.iter().map(Anomaly::text).collect();
    assert_eq!(
        texts,
        [
            "source db has 0 B, less than min_bytes allows (1.0 MiB)",
            "source db has 99 rows, fewer than min_rows allows (100)",
        ]
    );
    assert_eq!(judged.compared, Compared::Off);
    assert!(judge(&[], &stored(5), &watch).anomalies.is_empty());
}

#[test]
fn anomaly_of_many_tables_is_bounded() {
    let names: Vec<String> = (0..50).map(|n| format!("t{n:02}")).collect();
    let tables: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 500)).collect();
    let before = vec![with_tables(&tables); POINTS_MIN];
    let judged = judge(&before, &with_tables(&[]), &usual());
    assert_eq!((judged.anomalies.len(), judged.unlisted), (20, 30));
    assert!(judged.anomalies.iter().all(|a| a.what == What::TableGone));
    // It was told once: the point after it misses nothing that the one before had.
    let mut after = before.clone();
    after.push(with_tables(&[]));
    assert_eq!(judge(&after, &with_tables(&[]), &usual()).anomalies, []);
}

#[test]
fn what_an_anomaly_was_compared_by_is_said() {
    let compared =
        |before: &[Measured], point: &Measured, watch: &Watch| judge(before, point, watch).compared;
    let sealed = vec![stored(5 << 20); 5];
    let known = vec![rows(5); 5];
    let nothing = BTreeMap::from([(name("db"), Measure::default())]);
    let off = Watch::default();
    assert_eq!(compared(&known, &rows(5), &usual()), Compared::Content);
    assert_eq!(
        compared(&known[..2], &rows(5), &usual()),
        Compared::TooFewPoints
    );
    assert_eq!(compared(&known, &rows(5), &off), Compared::Off);
    assert_eq!(
        compared(&sealed, &stored(5), &usual()),
        Compared::StoredBytes
    );
    let empty = vec![nothing.clone(); 5];
    assert_eq!(compared(&empty, &nothing, &usual()), Compared::Unknown);
    // Another source that is new to the plan hides nothing.
    let mut both = rows(5);
    both.insert(name("new"), Measure::default());
    assert_eq!(compared(&known, &both, &usual()), Compared::Content);
}

#[test]
fn steady_growth_is_no_anomaly() {
    for (from, percent) in [(1000.0, 1.0), (50_000.0, 1.0), (1e6, -1.0)] {
        let day = |day: i32| whole(from * (1.0_f64 + percent / 100.0).powi(day));
        let year: Vec<u64> = (0..365).map(day).collect();
        assert_eq!(ringing(&year), 0, "{percent} % from {from}");
    }
}

#[test]
fn noise_within_fifteen_percent_is_no_anomaly() {
    for seed in 1..200 {
        let year = noise(seed).take(200);
        let year: Vec<u64> = year.map(|n| whole(10_000.0 * (1.0 + 0.15 * n))).collect();
        assert_eq!(ringing(&year), 0, "seed {seed}");
    }
    // Also to both sides, once there are enough points to know it by.
    for seed in 1..50 {
        let both = noise(seed).map(|n| whole(10_000.0 * (0.85 + 0.3 * n)));
        let both: Vec<u64> = both.take(100).collect();
        let told = (POINTS_MAX..both.len()).filter(|i| rings(&both[..*i], both[*i]));
        assert_eq!(told.count(), 0, "seed {seed}");
    }
}

#[test]
fn anomaly_is_told_in_noise_too() {
    for seed in 1..200 {
        let noisy = noise(seed).map(|n| whole(10_000.0 * (0.925 + 0.15 * n)));
        let before: Vec<u64> = noisy.take(POINTS_MAX).collect();
        assert!(rings(&before, 5000), "seed {seed}");
        assert!(rings(&before, 20_000), "seed {seed}");
    }
}

#[test]
fn seasons_are_no_anomaly() {
    // Twice as much at every week-end: told in the first two weeks, and never again.
    let day = |day: usize| if day % 7 > 4 { 1900 } else { 1000 };
    let weeks: Vec<u64> = (0..365).map(day).collect();
    assert_eq!((ringing(&weeks[..14]), ringing(&weeks)), (4, 4));
    // A year that comes and goes by half.
    let season = |day: u32| whole(10_000.0 * (1.0 + 0.5 * (f64::from(day) / 58.0).sin()));
    let years: Vec<u64> = (0..800).map(season).collect();
    assert_eq!(ringing(&years), 0);
}

#[test]
fn a_loss_rings_until_it_is_usual() {
    let mut points = vec![1000; POINTS_MAX];
    for _ in 0..6 {
        assert!(rings(&points[points.len() - POINTS_MAX..], 500));
        points.push(500);
    }
}

#[test]
fn an_anomaly_is_a_document() {
    let before = vec![rows(1000); POINTS_MIN];
    let judged = judge(&before, &rows(480), &usual());
    #[derive(Serialize)]
    struct Told {
        anomalies: Vec<Anomaly>,
        compared: Compared,
    }
    let told = Told {
        anomalies: judged.anomalies,
        compared: judged.compared,
    };
    assert_document(
        told,
        r#"{
  "schema": 1,
  "anomalies": [
    {
      "source": "db",
      "what": "rows",
      "table": "public.client",
      "observed": 480,
      "usual": 1000,
      "severity": "error"
    }
  ],
  "compared": "content"
}"#,
    );
}
