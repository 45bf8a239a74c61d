//! Expected answers and tolerances: small grammars of the configuration.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The expected answer to a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// The same text as at capture.
    Same,
    /// A comparison with a value.
    Compared {
        /// The operator.
        by: Comparison,
        /// The value to compare with.
        value: String,
    },
}

/// Operator that compares an answer with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// Operators, longer ones first, because `>=` begins with `>`.
const OPERATORS: [(&str, Comparison); 6] = [
    (">=", Comparison::GreaterOrEqual),
    ("<=", Comparison::LessOrEqual),
    ("!=", Comparison::Unequal),
    ("=", Comparison::Equal),
    (">", Comparison::Greater),
    ("<", Comparison::Less),
];

impl Expect {
    /// Parses `> N`, `>= N`, `< N`, `<= N`, `= TEXT`, `!= TEXT` or `same`. The error completes a
    /// sentence that names the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "same" {
            return Ok(Expect::Same);
        }
        let parts = OPERATORS
            .iter()
            .find_map(|(operator, by)| Some((*by, text.strip_prefix(operator)?)));
        let Some((by, value)) = parts else {
            return Err(format!(
                "{text:?} is no expectation; write > N, >= N, < N, <= N, = TEXT, != TEXT or same"
            ));
        };
        let value = value.trim();
        let ordered = !matches!(by, Comparison::Equal | Comparison::Unequal);
        if ordered && Number::parse(value).is_none() {
            return Err(format!(
                "{text:?} compares with {value:?}, which is no number"
            ));
        }
        Ok(Expect::Compared {
            by,
            value: value.to_owned(),
        })
    }

    /// Returns whether `observed` is as expected. Two numbers are compared as numbers; other texts
    /// only for equality. [`Expect::Same`] compares with `captured`, the answer at capture, and
    /// never matches without it.
    pub fn matches(&self, observed: &str, captured: Option<&str>) -> bool {
        let (by, value) = match self {
            Expect::Same => return captured == Some(observed),
            Expect::Compared { by, value } => (by, value),
        };
        let order = match (Number::parse(observed), Number::parse(value)) {
            (Some(observed), Some(value)) => Some(observed.cmp(&value)),
            _ if observed == value => Some(Ordering::Equal),
            _ => None,
        };
        match by {
            Comparison::Equal => order == Some(Ordering::Equal),
            Comparison::Unequal => order != Some(Ordering::Equal),
            Comparison::Less => order == Some(Ordering::Less),
            Comparison::LessOrEqual => order.is_some_and(Ordering::is_le),
            Comparison::Greater => order == Some(Ordering::Greater),
            Comparison::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Expect::Compared { by, value } = self else {
            return f.write_str("same");
        };
        let operator = OPERATORS.iter().find(|(_, known)| known == by);
        write!(f, "{} {value}", operator.map_or("", |(text, _)| text))
    }
}

/// A decimal number of any length, compared digit by digit: a sum of money or a 64-bit id must not
/// pass through a float. Exponents are refused: `12e4` may be a revision.
#[derive(PartialEq, Eq)]
struct Number<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Number<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (digits, ""),
        };
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        Some(Number {
            negative: negative && !(whole.is_empty() && fraction.is_empty()),
            whole,
            fraction,
        })
    }

    fn cmp(&self, other: &Self) -> Ordering {
        let size = |a: &Self, b: &Self| {
            let whole = a.whole.len().cmp(&b.whole.len());
            let whole = whole.then_with(|| a.whole.cmp(b.whole));
            whole.then_with(|| a.fraction.cmp(b.fraction))
        };
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => size(self, other),
            (true, true) => size(other, self),
        }
    }
}

/// A percentage such as `5%` or `0.5%`, in thousandths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Percent {
    thousandths: u32,
}

impl Percent {
    /// 50 %.
    pub const HALF: Percent = Percent {
        thousandths: 50_000,
    };
    /// 20 %.
    pub const FIFTH: Percent = Percent {
        thousandths: 20_000,
    };

    /// Returns whether two counts differ by at most this percentage of the larger one.
    pub fn allows(self, one: u64, other: u64) -> bool {
        let apart = u128::from(one.abs_diff(other)) * 100_000;
        apart <= u128::from(one.max(other)) * u128::from(self.thousandths)
    }
}

impl Percent {
    /// This percentage of a number, rounded down.
    pub fn of(self, number: u64) -> u64 {
        let share = u128::from(number) * u128::from(self.thousandths) / 100_000;
        // At most 100 %.
        u64::try_from(share).unwrap_or(number)
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no tolerance; write one from 0% to 100%, as in 5%");
        let number = text.strip_suffix('%').ok_or_else(wrong)?.trim_end();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if fraction.is_empty() || fraction.len() > 3 {
            return Err(wrong());
        }
        let digits = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse::<u32>().map_err(|_| wrong()),
            false => Err(wrong()),
        };
        let fraction = digits(&format!("{fraction:0<3}"))?;
        let thousandths = digits(whole)?
            .checked_mul(1000)
            .and_then(|whole| whole.checked_add(fraction))
            .filter(|thousandths| *thousandths <= 100_000)
            .ok_or_else(wrong)?;
        Ok(Percent { thousandths })
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.thousandths / 1000, self.thousandths % 1000);
        if fraction == 0 {
            return write!(f, "{whole}%");
        }
        let fraction = format!("{fraction:03}");
        write!(f, "{whole}.{}%", fraction.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged() {
        let table = [
            ("> 0", "1", true),
            ("> 0", "0", false),
            (">0", "12", true),
            (">= 10", "9", false),
            (">= 10", "10.0", true),
            ("< 10", "9", true),
            ("< 10", "-9", true),
            ("< -10", "-9", false),
            ("<= -9", "-9.50", true),
            ("<= 10", "11", false),
            ("> 0", "", false),
            ("> 0", "many", false),
            ("< 9", "1e3", false),
            ("= 5", "5", true),
            ("= 5", "5.0", true),
            ("= 5", "05", true),
            ("= -0", "0", true),
            ("= open", "open", true),
            ("= open", "Open", false),
            ("= two words", "two words", true),
            ("=", "", true),
            ("!= open", "closed", true),
            ("!= 5", "5.00", false),
            ("!= 5", "", true),
            // More digits than a float can hold.
            ("> 9007199254740992", "9007199254740993", true),
            ("= 18446744073709551616", "18446744073709551617", false),
            ("= 0.1", "0.10000000000000000001", false),
            // Revisions are texts; as floats these two would be equal.
            ("= 1e3", "1000", false),
        ];
        for (expect, observed, matches) in table {
            let parsed = Expect::parse(expect).unwrap();
            assert_eq!(
                parsed.matches(observed, None),
                matches,
                "{observed:?} {expect}"
            );
        }
    }

    #[test]
    fn same_matches_only_the_text_at_capture() {
        let same = Expect::parse(" same ").unwrap();
        assert!(same.matches("7f3a", Some("7f3a")));
        assert!(!same.matches("7f3a", Some("7f3b")));
        assert!(!same.matches("1", Some("1.0")));
        assert!(!same.matches("7f3a", None));
    }

    #[test]
    fn invalid_expectations_are_refused() {
        assert_eq!(
            Expect::parse("more than 5").unwrap_err(),
            "\"more than 5\" is no expectation; write > N, >= N, < N, <= N, = TEXT, != TEXT or same"
        );
        assert_eq!(
            Expect::parse("> lots").unwrap_err(),
            "\"> lots\" compares with \"lots\", which is no number"
        );
        assert!(Expect::parse("").is_err());
        assert!(Expect::parse("== 5").is_ok_and(|e| !e.matches("5", None)));
    }

    #[test]
    fn an_expectation_prints_as_it_parses() {
        for text in ["> 0", ">= 1.5", "< 3", "<= -2", "= a b", "!= x", "same"] {
            assert_eq!(Expect::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_tolerance_is_a_percentage_of_the_larger_count() {
        let five: Percent = "5%".parse().unwrap();
        assert!(five.allows(95, 100) && five.allows(100, 95));
        assert!(!five.allows(94, 100) && !five.allows(100, 94));
        assert!(five.allows(0, 0) && !five.allows(0, 1));
        assert!(five.allows(u64::MAX, u64::MAX) && !five.allows(0, u64::MAX));
        let none: Percent = "0%".parse().unwrap();
        assert!(none.allows(3, 3) && !none.allows(3, 4));
    }

    #[test]
    fn a_tolerance_prints_as_it_parses() {
        for (text, printed) in [
            ("5%", "5%"),
            ("0.50%", "0.5%"),
            ("100 %", "100%"),
            ("1.005%", "1.005%"),
        ] {
            assert_eq!(text.parse::<Percent>().unwrap().to_string(), printed);
        }
        for text in [
            "", "5", "%", "101%", "-1%", "+1%", "5.%", "1.0005%", "5 %%", "100.001%",
        ] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }
}
