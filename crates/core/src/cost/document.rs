//! The document of `lifeboat cost`.

use super::money::{Amount, Money};
use super::prices::PriceList;
use crate::error::Error;
use crate::exit::Exit;
use crate::name::Name;
use jiff::Timestamp;
use serde::Serialize;

/// Monthly cost of an application's backups.
#[derive(Debug, Clone, Serialize)]
pub struct Cost {
    /// The application.
    pub app: Name,
    /// Its environment.
    pub environment: Name,
    /// When it was looked at.
    pub at: Timestamp,
    /// The currency of all amounts.
    pub currency: String,
    /// The lists of prices of the table.
    pub prices: Vec<PriceList>,
    /// Number of points whose sizes were measured.
    pub points: usize,
    /// Things that are paid for.
    pub items: Vec<Item>,
    /// Sum of the items.
    pub total: Totals,
    /// Possible costs that no item counts.
    pub not_counted: Vec<String>,
    /// Changes that would cost less.
    pub cheaper: Vec<Cheaper>,
    /// Stores and manifests that could not be read.
    pub errors: Vec<Error>,
}

impl Cost {
    /// Returns the exit code: partial where a store or a manifest could not be read.
    pub fn exit(&self) -> Exit {
        match self.errors.is_empty() {
            true => Exit::Done,
            false => Exit::Partial,
        }
    }
}

/// A kind of thing that is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ItemKind {
    /// Bytes in a store.
    Storage,
    /// Bytes of versions that are not the newest.
    NoncurrentVersions,
    /// Requests to a store.
    Requests,
    /// Keys of the server that encrypts, and requests to it.
    Keys,
    /// Snapshots that a provider keeps.
    Snapshots,
    /// Bytes that drills and verifications read from a store.
    Reading,
    /// Hours of the machines that drills make.
    MachineHours,
    /// Minutes of a runner.
    RunnerMinutes,
}

impl ItemKind {
    /// Its name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            ItemKind::Storage => "storage",
            ItemKind::NoncurrentVersions => "noncurrent versions",
            ItemKind::Requests => "requests",
            ItemKind::Keys => "keys",
            ItemKind::Snapshots => "snapshots",
            ItemKind::Reading => "reading",
            ItemKind::MachineHours => "machine hours",
            ItemKind::RunnerMinutes => "runner minutes",
        }
    }

    /// Name of the unit that its figures count: `point`.
    pub fn unit(self) -> &'static str {
        match self {
            ItemKind::Storage | ItemKind::NoncurrentVersions => "point",
            ItemKind::Requests | ItemKind::Keys => "request",
            ItemKind::Snapshots => "snapshot",
            ItemKind::Reading => "run",
            ItemKind::MachineHours => "hour",
            ItemKind::RunnerMinutes => "minute",
        }
    }
}

/// One thing that is paid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Its kind.
    pub kind: ItemKind,
    /// The store, plan, machine, drill or runner it belongs to: `store offsite (STANDARD), plan daily`.
    pub subject: String,
    /// Cost of what is there now, if it stayed for a month; absent if it has no price.
    pub now: Option<Figure>,
    /// Cost at steady state; absent if it has no price.
    pub steady: Option<Figure>,
    /// Sources of the figures.
    pub from: Vec<String>,
    /// Remarks: what is unknown, and how to read the figures.
    pub notes: Vec<String>,
}

/// An amount of money, and the quantity it pays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Figure {
    /// The money.
    #[serde(flatten)]
    pub amount: Amount,
    /// How many points, snapshots, requests, runs, hours or minutes; absent if that is not known.
    pub count: Option<u64>,
    /// Bytes, where it is about bytes that are known.
    pub bytes: Option<u64>,
}

impl Figure {
    pub(super) const fn of(amount: Amount) -> Self {
        Figure {
            amount,
            count: None,
            bytes: None,
        }
    }
}

/// Sums of all items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Now.
    pub now: Total,
    /// In the end.
    pub steady: Total,
}

/// A sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Total {
    /// The sum; without an upper bound if something in it is not known.
    #[serde(flatten)]
    pub amount: Amount,
    /// The upper bounds of what is known.
    pub known_most_micros: Money,
}

impl Total {
    /// The sum of figures.
    pub(super) fn of<'i>(figures: impl Iterator<Item = &'i Figure>) -> Self {
        let mut total = Total {
            amount: Amount::NONE,
            known_most_micros: Money::NONE,
        };
        for figure in figures {
            let known = figure.amount.most_micros;
            let known = known.unwrap_or(figure.amount.least_micros);
            total.amount = total.amount.plus(figure.amount);
            total.known_most_micros = total.known_most_micros.plus(known);
        }
        total
    }
}

impl Totals {
    /// The sums of items.
    pub(super) fn of(items: &[Item]) -> Self {
        Totals {
            now: Total::of(items.iter().filter_map(|item| item.now.as_ref())),
            steady: Total::of(items.iter().filter_map(|item| item.steady.as_ref())),
        }
    }
}

/// A change that would cost less.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cheaper {
    /// The change, as the configuration would say it.
    pub change: String,
    /// Monthly saving at steady state; unknown if no rule deletes anything today.
    pub saves: Amount,
    /// Consequences for a restore.
    pub costs: String,
}
