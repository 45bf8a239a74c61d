//! Money in millionths of a currency, and amounts of it that are known within bounds.

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// Millionths in one unit of a currency.
const MICROS: f64 = 1_000_000.0;
/// Largest price, in units of the currency.
const PRICE_MAX: f64 = 1_000_000.0;
/// Part of a millionth that is taken for an error of rounding.
const ROUNDING: f64 = 1e-3;

/// A sum of money, in millionths of the currency of the prices. It is never negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Money {
    micros: u64,
}

impl Money {
    /// Nothing.
    pub const NONE: Money = Money { micros: 0 };

    /// A sum of this many millionths.
    pub const fn micros(micros: u64) -> Self {
        Money { micros }
    }

    /// The price times a quantity, rounded to the nearest millionth.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate, which is not negative; a cast of a float keeps to the bounds"
    )]
    pub fn times(self, quantity: f64) -> Self {
        let micros = (self.micros as f64 * quantity.max(0.0)).round() as u64;
        Money { micros }
    }

    /// The sum of both.
    pub fn plus(self, other: Self) -> Self {
        Money {
            micros: self.micros.saturating_add(other.micros),
        }
    }

    /// The difference, or nothing where `other` is larger.
    pub fn less(self, other: Self) -> Self {
        Money {
            micros: self.micros.saturating_sub(other.micros),
        }
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Money>>(sums: I) -> Money {
        sums.fold(Money::NONE, Money::plus)
    }
}

/// Hundredths up to 100, and whole units from there on: an estimate is not more precise than that.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cents = self.micros.saturating_add(5_000) / 10_000;
        let text = match (self.micros, cents) {
            (0, _) => "0".to_owned(),
            (_, 0) => "<0.01".to_owned(),
            (_, cents @ ..10_000) => format!("{}.{:02}", cents / 100, cents % 100),
            (micros, _) => micros
                .saturating_add(500_000)
                .div_euclid(1_000_000)
                .to_string(),
        };
        f.pad(&text)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Price)
    }
}

impl std::str::FromStr for Money {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no price; write one as 0.006");
        price(text.trim().parse().map_err(|_| wrong())?)
    }
}

/// A price as a number of units of the currency.
fn price(units: f64) -> Result<Money, String> {
    if !(0.0..=PRICE_MAX).contains(&units) {
        return Err(format!("{units} is no price; it is from 0 to {PRICE_MAX}"));
    }
    let money = Money { micros: 1 }.times(units * MICROS);
    #[expect(clippy::cast_precision_loss, reason = "no price has that many digits")]
    let apart = (money.micros as f64 - units * MICROS).abs();
    match apart < ROUNDING {
        true => Ok(money),
        false => Err(format!("{units} has more than six decimals")),
    }
}

struct Price;

impl Visitor<'_> for Price {
    type Value = Money;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a price such as 0.023")
    }

    fn visit_f64<E: serde::de::Error>(self, units: f64) -> Result<Money, E> {
        price(units).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, units: i64) -> Result<Money, E> {
        let units = i32::try_from(units).map_err(|_| E::custom(format!("{units} is no price")))?;
        price(f64::from(units)).map_err(E::custom)
    }
}

/// An amount of money that sharing between two bounds. Where nobody knows the upper one, it is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// At least this much.
    pub least_micros: Money,
    /// At most this much; absent if that is not known.
    pub most_micros: Option<Money>,
}

impl Amount {
    /// Nothing at all.
    pub const NONE: Amount = Amount::exactly(Money::NONE);
    /// An amount of which nothing is known.
    pub const UNKNOWN: Amount = Amount::at_least(Money::NONE);

    /// An estimate of this much.
    pub const fn exactly(money: Money) -> Self {
        Amount::between(money, money)
    }

    /// An amount between two bounds.
    pub const fn between(least: Money, most: Money) -> Self {
        Amount {
            least_micros: least,
            most_micros: Some(most),
        }
    }

    /// An amount whose upper bound is not known.
    pub const fn at_least(money: Money) -> Self {
        Amount {
            least_micros: money,
            most_micros: None,
        }
    }

    /// The sum of both, of which an upper bound is known if it is known of both.
    pub fn plus(self, other: Self) -> Self {
        let most = self.most_micros.zip(other.most_micros);
        Amount {
            least_micros: self.least_micros.plus(other.least_micros),
            most_micros: most.map(|(a, b)| a.plus(b)),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = self.least_micros.to_string();
        let most = self.most_micros.map(|most| most.to_string());
        let text = match most {
            None if self.least_micros == Money::NONE => "unknown".to_owned(),
            None => format!("at least {least}"),
            Some(most) if most == least => least,
            // What is next to nothing needs no lower bound.
            Some(most) if most.starts_with('<') => most,
            Some(most) if self.least_micros == Money::NONE => format!("up to {most}"),
            Some(most) => format!("{least} to {most}"),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_without_false_precision() {
        for (micros, shown) in [
            (0, "0"),
            (1, "<0.01"),
            (4_999, "<0.01"),
            (5_000, "0.01"),
            (34_500, "0.03"),
            (1_204_999, "1.20"),
            (99_994_999, "99.99"),
            (99_995_000, "100"),
            (1_234_567_890, "1235"),
        ] {
            assert_eq!(Money::micros(micros).to_string(), shown, "{micros}");
        }
    }

    #[test]
    fn amounts_say_how_far_they_are_known() {
        let (low, high) = (Money::micros(1_230_000), Money::micros(4_730_000));
        assert_eq!(Amount::exactly(high).to_string(), "4.73");
        assert_eq!(Amount::between(low, high).to_string(), "1.23 to 4.73");
        assert_eq!(Amount::between(Money::NONE, high).to_string(), "up to 4.73");
        assert_eq!(Amount::at_least(low).to_string(), "at least 1.23");
        assert_eq!(Amount::UNKNOWN.to_string(), "unknown");
        assert_eq!(Amount::NONE.to_string(), "0");
        assert_eq!(
            Amount::between(Money::NONE, Money::micros(1)).to_string(),
            "<0.01"
        );
        let sum = Amount::exactly(low).plus(Amount::UNKNOWN);
        assert_eq!(sum, Amount::at_least(low), "what is unknown is never 0");
    }

    #[test]
    fn prices_are_exact_to_the_millionth() {
        let parse = |text: &str| text.parse::<Money>();
        assert_eq!(parse("0.00099"), Ok(Money::micros(990)));
        assert_eq!(parse("0.0004"), Ok(Money::micros(400)));
        assert_eq!(parse("1764"), Ok(Money::micros(1_764_000_000)));
        for wrong in ["-0.01", "0.0000001", "much", "", "inf", "nan", "2000000"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
