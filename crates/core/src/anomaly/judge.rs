//! The judgement of a point by the points before it.

use super::{
    Anomaly, Compared, Content, Judged, Least, Measure, Measured, POINTS_MAX, POINTS_MIN, Watch,
    What,
};
use crate::config::AnomalyLimits;
use crate::expect::Percent;
use crate::finding::Severity;
use crate::name::Name;
use crate::point::FileChanges;
use std::cmp::Reverse;

/// Difference in bytes that is too small to tell of.
const BYTES_FLOOR: u64 = 1 << 20;
/// Difference in rows that is too small to tell of.
const ROWS_FLOOR: u64 = 100;
/// Difference in files that is too small to tell of.
const FILES_FLOOR: u64 = 100;
/// Stored size, in percent of the bare size, from which compression is too weak to be missed.
const RATIO_WEAK: u64 = 90;
/// Largest share of the files, in percent, that usually changes where the change of half of them
/// is odd.
const CHANGING_MAX: u64 = 25;
/// Largest number of anomalies of one source that are listed.
const LISTED_MAX: usize = 20;

/// Judges a point by the complete points of its plan before it, the oldest first. At most 20
/// anomalies of each source are listed, the gravest first.
pub fn judge(before: &[Measured], point: &Measured, watch: &Watch) -> Judged {
    let from = before.len().saturating_sub(POINTS_MAX);
    let before = before.get(from..).unwrap_or_default();
    let mut judged = Judged::default();
    let mut compared = Vec::new();
    for (source, measure) in point {
        let mut found = Found {
            source,
            anomalies: Vec::new(),
        };
        if let (Some(content), Some(least)) = (&measure.content, watch.least.get(source)) {
            found.less_than(content, *least);
        }
        let past: Vec<&Measure> = before.iter().filter_map(|p| p.get(source)).collect();
        compared.push(match &watch.limits {
            Some(limits) => found.compare(measure, &past, limits),
            None => Compared::Off,
        });
        let mut anomalies = found.anomalies;
        let apart = |a: &Anomaly| a.observed.abs_diff(a.usual);
        anomalies.sort_by_key(|a| (Reverse(a.severity), a.what, Reverse(apart(a))));
        judged.unlisted += anomalies.len().saturating_sub(LISTED_MAX) as u64;
        anomalies.truncate(LISTED_MAX);
        judged.anomalies.extend(anomalies);
    }
    // A source that is new to the plan says nothing about the others.
    let old = compared.iter().filter(|c| **c != Compared::TooFewPoints);
    judged.compared = old.max().copied().unwrap_or_default();
    judged
}

/// What is found about a source.
struct Found<'a> {
    source: &'a Name,
    anomalies: Vec<Anomaly>,
}

impl Found<'_> {
    /// An anomaly of this source, about no table.
    fn anomaly(&self, what: What, observed: u64, usual: u64, severity: Severity) -> Anomaly {
        Anomaly {
            source: self.source.clone(),
            what,
            table: None,
            observed,
            usual,
            severity,
            of: None,
        }
    }

    fn add(&mut self, what: What, observed: u64, usual: u64, severity: Severity) {
        let anomaly = self.anomaly(what, observed, usual, severity);
        self.anomalies.push(anomaly);
    }

    /// Finds less content than there must be.
    fn less_than(&mut self, content: &Content, least: Least) {
        if let Some(bytes) = least.bytes.filter(|bytes| content.bytes < *bytes) {
            self.add(What::MinBytes, content.bytes, bytes, Severity::Error);
        }
        let rows = content.tables.values().sum();
        if let Some(least) = least.rows.filter(|least| rows < *least) {
            self.add(What::MinRows, rows, least, Severity::Error);
        }
    }

    /// Compares a source with what it was, as far as both are known.
    fn compare(&mut self, now: &Measure, past: &[&Measure], limits: &AnomalyLimits) -> Compared {
        if past.len() < POINTS_MIN {
            return Compared::TooFewPoints;
        }
        self.compare_ratio(now, past);
        let contents: Vec<&Content> = past.iter().filter_map(|p| p.content.as_ref()).collect();
        match &now.content {
            Some(content) if contents.len() >= POINTS_MIN => {
                self.compare_content(content, &contents, limits);
                Compared::Content
            }
            _ => self.compare_stored(now, past, limits.bytes),
        }
    }

    fn compare_content(&mut self, now: &Content, past: &[&Content], limits: &AnomalyLimits) {
        let bytes: Vec<u64> = past.iter().map(|p| p.bytes).collect();
        if let Some(usual) = odd(&bytes, now.bytes, limits.bytes, BYTES_FLOOR) {
            self.add(What::Bytes, now.bytes, usual, gravity(now.bytes, usual));
        }
        let files: Vec<u64> = past.iter().filter_map(|p| p.files).collect();
        if let Some(files_now) = now.files
            && let Some(usual) = odd(&files, files_now, limits.files, FILES_FLOOR)
        {
            self.add(What::Files, files_now, usual, gravity(files_now, usual));
        }
        self.compare_tables(now, past, limits.rows);
        self.compare_changes(now, past);
    }

    fn compare_tables(&mut self, now: &Content, past: &[&Content], limit: Percent) {
        for (table, rows) in &now.tables {
            let counts = past.iter().filter_map(|p| p.tables.get(table));
            let counts: Vec<u64> = counts.copied().collect();
            if let Some(usual) = odd(&counts, *rows, limit, ROWS_FLOOR) {
                let anomaly = self.anomaly(What::Rows, *rows, usual, gravity(*rows, usual));
                self.of_table(table, anomaly);
            }
        }
        let known = past.last().into_iter().flat_map(|last| last.tables.keys());
        for table in known.filter(|table| !now.tables.contains_key(*table)) {
            let counts = past.iter().map(|p| p.tables.get(table).copied());
            // One that was missing before is no news.
            if let Some(counts) = counts.collect::<Option<Vec<u64>>>() {
                let usual = median(counts).unwrap_or(0);
                let anomaly = self.anomaly(What::TableGone, 0, usual, Severity::Error);
                self.of_table(table, anomaly);
            }
        }
    }

    fn of_table(&mut self, table: &str, anomaly: Anomaly) {
        self.anomalies.push(Anomaly {
            table: Some(table.to_owned()),
            ..anomaly
        });
    }

    /// Finds that half of all files were replaced at once, of a tree in which that is not usual.
    fn compare_changes(&mut self, now: &Content, past: &[&Content]) {
        let Some(changes) = now.changes.filter(|changes| changes.before >= FILES_FLOOR) else {
            return;
        };
        let share = |changes: FileChanges| percent(replaced(changes), changes.before);
        let known = past.iter().filter_map(|p| p.changes);
        let usual_share = median(known.clone().map(share).collect()).unwrap_or(0);
        if replaced(changes).saturating_mul(2) < changes.before || usual_share > CHANGING_MAX {
            return;
        }
        let usual = median(known.map(replaced).collect()).unwrap_or(0);
        let found = self.anomaly(
            What::FilesChanged,
            replaced(changes),
            usual,
            Severity::Error,
        );
        self.anomalies.push(Anomaly {
            of: Some(changes.before),
            ..found
        });
    }

    /// Compares the sizes in the first store that has kept enough of them.
    fn compare_stored(&mut self, now: &Measure, past: &[&Measure], limit: Percent) -> Compared {
        for (store, stored) in &now.stored {
            let sizes = past.iter().filter_map(|p| p.stored.get(store));
            let sizes: Vec<u64> = sizes.map(|stored| stored.bytes).collect();
            if sizes.len() < POINTS_MIN {
                continue;
            }
            if let Some(usual) = odd(&sizes, stored.bytes, limit, BYTES_FLOOR) {
                let severity = gravity(stored.bytes, usual);
                self.add(What::StoredBytes, stored.bytes, usual, severity);
            }
            return Compared::StoredBytes;
        }
        Compared::Unknown
    }

    /// Finds that the content can hardly be compressed any more: less than half of what compression
    /// used to save is saved.
    fn compare_ratio(&mut self, now: &Measure, past: &[&Measure]) {
        let ratio = |measure: &Measure, store: &Name| {
            let stored = measure.stored.get(store).filter(|s| s.compressed)?;
            let bytes = measure.content.as_ref()?.bytes;
            (bytes >= BYTES_FLOOR).then(|| percent(stored.bytes, bytes))
        };
        for store in now.stored.keys() {
            let usual: Vec<u64> = past.iter().filter_map(|p| ratio(p, store)).collect();
            if usual.len() < POINTS_MIN {
                continue;
            }
            if let (Some(observed), Some(usual)) = (ratio(now, store), median(usual))
                && usual < RATIO_WEAK
                && 100_u64.saturating_sub(observed).saturating_mul(2) < 100 - usual
            {
                return self.add(What::Ratio, observed, usual, Severity::Error);
            }
        }
    }
}

/// Files that have other content, or stand there under another name.
fn replaced(changes: FileChanges) -> u64 {
    // What is gone without anything in its place was deleted.
    changes.changed + changes.added.min(changes.removed)
}

/// One number in percent of another, rounded down.
fn percent(part: u64, whole: u64) -> u64 {
    let share = u128::from(part) * 100 / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// The severity of a change. A loss is graver than growth.
fn gravity(observed: u64, usual: u64) -> Severity {
    match observed < usual {
        true => Severity::Error,
        false => Severity::Warning,
    }
}

/// The median of `past` if a number is farther from it than the limit allows. What varies by itself
/// is allowed as much again.
fn odd(past: &[u64], observed: u64, limit: Percent, floor: u64) -> Option<u64> {
    if past.len() < POINTS_MIN {
        return None;
    }
    let usual = median(past.to_vec())?;
    let spread = median(past.iter().map(|value| value.abs_diff(usual)).collect())?;
    let allowed = limit.of(usual).saturating_add(spread.saturating_mul(2));
    let is_out = |value: u64| value.abs_diff(usual) > allowed && value.abs_diff(usual) >= floor;
    let is_like_it = |value: u64| {
        is_out(value)
            && (value < usual) == (observed < usual)
            && observed.abs_diff(usual) <= value.abs_diff(usual).saturating_add(limit.of(value))
    };
    (is_out(observed) && !comes_and_goes(past, is_out, is_like_it)).then_some(usual)
}

/// Returns whether the numbers went that far twice before, and came back each time: a season.
fn comes_and_goes(
    past: &[u64],
    is_out: impl Fn(u64) -> bool,
    is_like_it: impl Fn(u64) -> bool,
) -> bool {
    let (mut seasons, mut in_season) = (0, false);
    for value in past {
        if is_like_it(*value) {
            in_season = true;
        } else if in_season && !is_out(*value) {
            in_season = false;
            seasons += 1;
        }
    }
    seasons >= 2
}

/// The value in the middle; of an even number of values, the larger of the two.
fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}
