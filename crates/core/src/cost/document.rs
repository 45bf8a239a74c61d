//! The document of `lifeboat cost`.

use super::money::{Amount, Money};
use super::prices::PriceList;
use crate::error::Error;
use crate::exit::Exit;
use crate::name::Name;
use jiff::Timestamp;
use serde::Serialize;

/// What an application's backups cost in a month.
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
    /// What is paid for.
    pub items: Vec<Item>,
    /// All of it.
    pub total: Totals,
    /// What may cost something and is in no item.
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
pub enum What {
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

impl What {
    /// Its name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Storage => "storage",
            What::NoncurrentVersions => "noncurrent versions",
            What::Requests => "requests",
            What::Keys => "keys",
            What::Snapshots => "snapshots",
            What::Reading => "reading",
            What::MachineHours => "machine hours",
            What::RunnerMinutes => "runner minutes",
        }
    }

    /// What is counted of it: `point`.
    pub fn unit(self) -> &'static str {
        match self {
            What::Storage | What::NoncurrentVersions => "point",
            What::Requests | What::Keys => "request",
            What::Snapshots => "snapshot",
            What::Reading => "run",
            What::MachineHours => "hour",
            What::RunnerMinutes => "minute",
        }
    }
}

/// One thing that is paid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Its kind.
    pub what: What,
    /// What it belongs to: `store offsite (STANDARD), plan daily`.
    pub of: String,
    /// What is there now, as if it stayed for a month; absent where it has no price.
    pub now: Option<Figure>,
    /// What there would be in the end; absent where it has no price.
    pub steady: Option<Figure>,
    /// Where the figures are from.
    pub from: Vec<String>,
    /// What is not known of it, or how it is to be understood.
    pub notes: Vec<String>,
}

/// An amount of money, and what it is for.
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

/// What all items come to.
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
    /// What it would save in a month in the end; unknown where nothing is deleted now.
    pub saves: Amount,
    /// What it would cost when something has to be brought back.
    pub costs: String,
}
