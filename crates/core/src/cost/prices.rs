//! The table of prices, with the date and the public page of each list.
//!
//! One ships with the program. Another one is refused as a whole if anything in it is not understood, with
//! its line and column: a price that was misread would be a wrong certainty.

use super::facts::{MachineList, MachineService, Place, StoreFacts};
use super::money::Money;
use crate::error::{Code, Error, Result};
use crate::name::Name;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// The table that ships with the program.
pub const SHIPPED: &str = include_str!("prices.toml");
/// Version of the form of the table.
const VERSION: u32 = 1;
/// Largest table, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Age of a list from which it is said to be old, in days.
const OLD_DAYS: i64 = 400;
/// Hours of a month in the prices of Lightsail.
const MONTH_HOURS: f64 = 744.0;
/// Class of objects of a store that names none.
const CLASS_DEFAULT: &str = "STANDARD";

/// Prices of everything that is known to cost something.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    version: u32,
    /// The currency of every price, by its three letters.
    pub currency: String,
    /// Buckets of Amazon, by region.
    #[serde(default)]
    s3: BTreeMap<String, S3Prices>,
    /// Keys of Amazon, by region.
    #[serde(default)]
    pub(super) kms: BTreeMap<String, KmsPrices>,
    /// Instances of Lightsail, by region.
    #[serde(default)]
    lightsail: BTreeMap<String, LightsailPrices>,
    /// Instances of EC2, by region.
    #[serde(default)]
    ec2: BTreeMap<String, Ec2Prices>,
    /// A runner that is paid by the minute.
    #[serde(default)]
    pub(super) runner: Option<RunnerPrices>,
    /// Stores by their name in the configuration.
    #[serde(default)]
    store: BTreeMap<String, StorePrices>,
    /// Machines by the name of their source.
    #[serde(default)]
    pub(super) machine: BTreeMap<String, MachinePrices>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct S3Prices {
    date: Date,
    source: String,
    egress_gb: Money,
    class: BTreeMap<String, ClassPrices>,
}

/// Prices of a storage class.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClassPrices {
    pub gb_month: Money,
    pub put_1000: Money,
    pub get_1000: Money,
    #[serde(default)]
    pub retrieval_gb: Money,
    #[serde(default)]
    pub minimum_days: u32,
    #[serde(default)]
    pub minimum_object_bytes: u64,
    /// False if objects must be brought back for hours before they can be read.
    #[serde(default = "yes")]
    pub at_once: bool,
    /// True if one building holds all of it.
    #[serde(default)]
    pub one_zone: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KmsPrices {
    pub date: Date,
    pub source: String,
    pub request_10000: Money,
    #[serde(default)]
    pub key_month: Money,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct LightsailPrices {
    date: Date,
    source: String,
    snapshot_gb_month: Money,
    #[serde(default)]
    bundle_month: BTreeMap<String, Money>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ec2Prices {
    date: Date,
    source: String,
    snapshot_gb_month: Money,
    #[serde(default)]
    type_hour: BTreeMap<String, Money>,
}

/// What a list says of snapshots and of a machine.
pub(super) struct MachineTariff {
    pub(super) date: Date,
    pub(super) snapshot_gb_month: Money,
    /// An hour of a machine of the size that is named; `None` without one, or if it is not in the list.
    pub(super) hour: Option<Money>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunnerPrices {
    pub date: Date,
    pub source: String,
    pub minute: Money,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct StorePrices {
    #[serde(default)]
    date: Option<Date>,
    #[serde(default)]
    source: Option<String>,
    gb_month: Money,
    #[serde(default)]
    put_1000: Money,
    #[serde(default)]
    get_1000: Money,
    #[serde(default)]
    retrieval_gb: Money,
    #[serde(default)]
    egress_gb: Money,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MachinePrices {
    #[serde(default)]
    pub date: Option<Date>,
    #[serde(default)]
    pub source: Option<String>,
    #[serde(default)]
    pub snapshot_gb_month: Option<Money>,
    #[serde(default)]
    pub hour: Option<Money>,
}

fn yes() -> bool {
    true
}

/// Prices of a store.
#[derive(Debug, Clone)]
pub(super) struct Tariff {
    /// Its storage class, where there are several.
    pub class: Option<String>,
    pub prices: ClassPrices,
    pub egress_gb: Money,
    /// Source of the prices, in a few words.
    pub from: String,
}

/// Answer of the table about a store.
#[derive(Debug, Clone)]
pub(super) enum Priced {
    /// These prices.
    Is(Tariff),
    /// It has no price, and nobody charges for it.
    Not,
    /// It has no price and costs something: the reason.
    Unknown(String),
}

/// A list of prices that is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PriceList {
    /// Its table: `s3.us-east-1`.
    pub table: String,
    /// The day of the list; absent if the table does not say.
    pub date: Option<Date>,
    /// The page that has it; absent if the table does not say.
    pub source: Option<String>,
    /// True if it is so old that it should be looked at again.
    pub old: bool,
}

impl Prices {
    /// The prices that ship with the program.
    pub fn shipped() -> Result<Prices> {
        Prices::parse(SHIPPED, Path::new("prices.toml"))
    }

    /// Reads a table of prices.
    pub fn load(path: &Path) -> Result<Prices> {
        let failed = |error: std::io::Error| {
            let message = format!("the prices {} cannot be read", path.display());
            Error::new(Code::Usage, message).cause(error).hint(HINT)
        };
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut text = String::new();
        let mut limited = file.take(FILE_BYTES_MAX + 1);
        limited.read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            let message = format!("the prices {} are more than 1 MiB", path.display());
            return Err(Error::new(Code::Usage, message).hint(HINT));
        }
        Prices::parse(&text, path)
    }

    /// Parses a table of prices. `origin` is the file that holds the text.
    pub fn parse(text: &str, origin: &Path) -> Result<Prices> {
        let prices: Prices = toml::from_str(text).map_err(|error| {
            let place = error.span().map(|span| place(text, span.start));
            let place = place.unwrap_or_default();
            let message = format!("{}{place}: {}", origin.display(), error.message());
            Error::new(Code::Usage, message.replace('\n', " ")).hint(HINT)
        })?;
        prices.check().map_err(|why| {
            Error::new(Code::Usage, format!("{}: {why}", origin.display())).hint(HINT)
        })?;
        Ok(prices)
    }

    fn check(&self) -> std::result::Result<(), String> {
        if self.version != VERSION {
            let version = self.version;
            return Err(format!(
                "version = {version}, and {VERSION} is the only one that is known"
            ));
        }
        let is_letter = |c: char| c.is_ascii_uppercase();
        if self.currency.len() != 3 || !self.currency.chars().all(is_letter) {
            let currency = &self.currency;
            return Err(format!(
                "currency = {currency:?} is no currency; write three letters, as \"USD\""
            ));
        }
        for (region, prices) in &self.s3 {
            if prices.class.is_empty() {
                return Err(format!(
                    "s3.{region} has no class: write [s3.{region}.class.STANDARD]"
                ));
            }
        }
        for (name, machine) in &self.machine {
            if machine.snapshot_gb_month.is_none() && machine.hour.is_none() {
                return Err(format!(
                    "machine.{name} has no price: write snapshot_gb_month or hour"
                ));
            }
        }
        Ok(())
    }

    /// Refuses lists from days to come.
    pub fn check_dates(&self, now: Timestamp) -> Result<()> {
        let tomorrow = today(now).saturating_add(1.day());
        let dated = self.lists(now).into_iter();
        let mut ahead = dated.filter(|list| list.date.is_some_and(|date| date > tomorrow));
        match ahead.next() {
            None => Ok(()),
            Some(list) => {
                let date = list.date.map(|date| date.to_string()).unwrap_or_default();
                let message = format!(
                    "the prices of {} are of {date}, which is still to come",
                    list.table
                );
                Err(Error::new(Code::Usage, message)
                    .hint("write the day on which the list said so, as date = \"2026-06-01\""))
            }
        }
    }

    /// Every list of the table.
    pub fn lists(&self, now: Timestamp) -> Vec<PriceList> {
        let today = today(now);
        let list = |table: String, date: Option<Date>, source: Option<&String>| PriceList {
            table,
            date,
            source: source.cloned(),
            old: date.is_some_and(|date| {
                let age = today.since(date).map_or(0, |age| i64::from(age.get_days()));
                age > OLD_DAYS
            }),
        };
        let s3 = self
            .s3
            .iter()
            .map(|(region, of)| list(format!("s3.{region}"), Some(of.date), Some(&of.source)));
        let kms = self
            .kms
            .iter()
            .map(|(region, of)| list(format!("kms.{region}"), Some(of.date), Some(&of.source)));
        let lightsail = self.lightsail.iter().map(|(region, of)| {
            list(
                format!("lightsail.{region}"),
                Some(of.date),
                Some(&of.source),
            )
        });
        let runner = self
            .runner
            .iter()
            .map(|of| list("runner".to_owned(), Some(of.date), Some(&of.source)));
        let stores = self
            .store
            .iter()
            .map(|(name, of)| list(format!("store.{name}"), of.date, of.source.as_ref()));
        let machines = self
            .machine
            .iter()
            .map(|(name, of)| list(format!("machine.{name}"), of.date, of.source.as_ref()));
        let ec2 = self
            .ec2
            .iter()
            .map(|(region, of)| list(format!("ec2.{region}"), Some(of.date), Some(&of.source)));
        let all = s3.chain(kms).chain(lightsail).chain(ec2).chain(runner);
        all.chain(stores).chain(machines).collect()
    }

    /// Finds what a list says of machines; `None` if there is no such list.
    pub(super) fn of_machines(&self, list: &MachineList) -> Option<MachineTariff> {
        let size = list.size.as_ref();
        match list.service {
            MachineService::Lightsail => self.lightsail.get(&list.region).map(|of| {
                let month = size.and_then(|size| of.bundle_month.get(size));
                MachineTariff {
                    date: of.date,
                    snapshot_gb_month: of.snapshot_gb_month,
                    hour: month.map(|month| month.times(1.0 / MONTH_HOURS)),
                }
            }),
            MachineService::Ec2 => self.ec2.get(&list.region).map(|of| MachineTariff {
                date: of.date,
                snapshot_gb_month: of.snapshot_gb_month,
                hour: size.and_then(|size| of.type_hour.get(size)).copied(),
            }),
        }
    }

    /// Finds the prices of a store, in its own table or in the list of its region.
    pub(super) fn of_store(&self, name: &Name, store: &StoreFacts) -> Priced {
        if let Some(own) = self.store.get(name.as_str()) {
            return Priced::Is(Tariff {
                class: None,
                prices: ClassPrices {
                    gb_month: own.gb_month,
                    put_1000: own.put_1000,
                    get_1000: own.get_1000,
                    retrieval_gb: own.retrieval_gb,
                    minimum_days: 0,
                    minimum_object_bytes: 0,
                    at_once: true,
                    one_zone: false,
                },
                egress_gb: own.egress_gb,
                from: dated(&format!("store.{name}"), own.date),
            });
        }
        let region = match &store.place {
            Place::Amazon { region } => region,
            Place::Server => {
                return Priced::Unknown(format!(
                    "its server is not Amazon's: [store.{name}] in a table of prices says what it costs"
                ));
            }
            Place::Local | Place::Sftp => return Priced::Not,
        };
        let class = store.class.as_deref().unwrap_or(CLASS_DEFAULT);
        match self.s3.get(region).map(|of| (of, of.class.get(class))) {
            None => Priced::Unknown(no_table(&format!("s3.{region}"))),
            Some((_, None)) => Priced::Unknown(no_table(&format!("s3.{region}.class.{class}"))),
            Some((of, Some(prices))) => Priced::Is(Tariff {
                class: Some(class.to_owned()),
                prices: prices.clone(),
                egress_gb: of.egress_gb,
                from: dated(&format!("s3.{region}"), Some(of.date)),
            }),
        }
    }

    /// Lists the classes of a store's region that are read at once and outlive a building.
    pub(super) fn classes_beside(&self, store: &StoreFacts) -> Vec<String> {
        let Place::Amazon { region } = &store.place else {
            return Vec::new();
        };
        let classes = self.s3.get(region).map(|of| &of.class);
        let classes = classes.into_iter().flatten();
        let fit = classes.filter(|(_, prices)| prices.at_once && !prices.one_zone);
        fit.map(|(class, _)| class.clone()).collect()
    }
}

const HINT: &str = "`lifeboat cost --print-prices` prints the table that ships, to begin with";

/// Says that a list is not there.
pub(super) fn no_table(table: &str) -> String {
    format!("the table of prices has no [{table}]")
}

/// Names a list with its day.
pub(super) fn dated(table: &str, date: Option<Date>) -> String {
    match date {
        Some(date) => format!("list price of {date} ({table})"),
        None => format!("your price ({table})"),
    }
}

fn today(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

/// `:LINE:COLUMN` of a place in a text.
fn place(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(start..).unwrap_or_default().chars().count() + 1;
    format!(":{line}:{column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let error = Prices::parse(text, Path::new("my.toml")).unwrap_err();
        assert!(error.hint.is_some(), "{error}");
        assert_eq!(error.code, Code::Usage);
        error.message
    }

    const HEAD: &str = "version = 1\ncurrency = \"USD\"\n";

    #[test]
    fn the_shipped_table_is_whole_and_each_list_names_its_page() {
        let prices = Prices::shipped().unwrap();
        let now: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
        prices.check_dates(now).unwrap();
        let lists = prices.lists(now);
        assert_eq!(lists.len(), 5, "{lists:?}");
        for list in lists {
            assert!(
                list.source.unwrap().starts_with("https://"),
                "{}",
                list.table
            );
            assert!(list.date.is_some() && !list.old, "{}", list.table);
        }
        let later: Timestamp = "2028-12-01T00:00:00Z".parse().unwrap();
        assert!(prices.lists(later).iter().all(|list| list.old));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, says) in [
            ("[runner]\nminute = \"dear\"", "my.toml:4:10"),
            ("[runner]\nminute = -1", "my.toml:4:10"),
            ("[runner]\nprice = 1", "unknown field `price`"),
            ("[store.a]\nput_1000 = 1", "missing field `gb_month`"),
            ("[machine.a]", "machine.a has no price"),
            ("[runner]\ndate = \"soon\"", "my.toml:4:8"),
            (
                "[kms.x]\ndate = \"2026-01-01\"\nsource = \"\"\nrequest_10000 = 0.0000001",
                "six decimals",
            ),
            (
                "[s3.x]\ndate = \"2026-01-01\"\nsource = \"\"\negress_gb = 1\nclass = {}",
                "s3.x has no class",
            ),
        ] {
            let said = refused(&format!("{HEAD}{text}\n"));
            assert!(said.contains(says), "{text}: {said}");
        }
        assert!(refused("version = 2\ncurrency = \"USD\"").contains("version = 2"));
        assert!(refused("version = 1\ncurrency = \"dollars\"").contains("no currency"));
        assert!(refused("version = ").contains("my.toml:1:"));
    }

    #[test]
    fn a_list_from_the_future_is_refused() {
        let text = format!("{HEAD}[runner]\ndate = \"2031-01-01\"\nsource = \"\"\nminute = 1\n");
        let prices = Prices::parse(&text, Path::new("my.toml")).unwrap();
        let now: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
        let error = prices.check_dates(now).unwrap_err();
        assert!(
            error.message.contains("2031-01-01, which is still to come"),
            "{error}"
        );
    }
}
