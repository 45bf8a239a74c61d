//! An anomaly in words.

use super::{Anomaly, What};
use crate::amount::{bytes, count};
use crate::visible::visible;

impl Anomaly {
    /// One sentence with the figures, without a full stop: `table public.client of source db shrank
    /// to 480 rows, usually 1000 (-52 %)`.
    pub fn text(&self) -> String {
        let Anomaly {
            source,
            observed,
            usual,
            ..
        } = self;
        let (observed, usual) = (*observed, *usual);
        let moved = match observed < usual {
            true => "shrank",
            false => "grew",
        };
        let table = visible(self.table.as_deref().unwrap_or_default());
        let change = change(observed, usual);
        match self.what {
            What::Bytes => {
                let (observed, usual) = (bytes(observed), bytes(usual));
                format!("source {source} {moved} to {observed}, usually {usual}{change}")
            }
            What::StoredBytes => {
                let (observed, usual) = (bytes(observed), bytes(usual));
                format!("source {source} takes {observed} in a store, usually {usual}{change}")
            }
            What::Files => {
                let observed = count(observed, "file");
                format!("source {source} {moved} to {observed}, usually {usual}{change}")
            }
            What::Rows => {
                let observed = count(observed, "row");
                format!(
                    "table {table} of source {source} {moved} to {observed}, usually {usual}{change}"
                )
            }
            What::TableGone => {
                let usual = count(usual, "row");
                format!("table {table} of source {source} is gone, usually {usual}")
            }
            What::Ratio => format!(
                "source {source} compresses to {observed} %, usually to {usual} %: was it encrypted?"
            ),
            What::FilesChanged => {
                let all = count(self.of.unwrap_or(0), "file");
                format!(
                    "source {source}: {observed} of {all} were replaced, usually {usual}: encrypted?"
                )
            }
            What::MinBytes => {
                let (observed, least) = (bytes(observed), bytes(usual));
                format!("source {source} has {observed}, less than min_bytes allows ({least})")
            }
            What::MinRows => {
                let observed = count(observed, "row");
                format!("source {source} has {observed}, fewer than min_rows allows ({usual})")
            }
        }
    }
}

/// The change from the usual figure, in percent: ` (-52 %)`.
fn change(observed: u64, usual: u64) -> String {
    if usual == 0 {
        return String::new();
    }
    let apart = u128::from(observed.abs_diff(usual)) * 100 / u128::from(usual);
    let sign = match observed < usual {
        true => '-',
        false => '+',
    };
    format!(" ({sign}{apart} %)")
}
