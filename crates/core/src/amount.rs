//! Amounts as people read them.

/// Formats a number of bytes with its unit: `1.2 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!(
        "{value:.1} {}",
        UNITS.get(unit).copied().unwrap_or_default()
    )
}

/// A number of things, for people: `1 file`, `2 entries`.
pub fn count(number: impl TryInto<u64>, what: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    match (number, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {what}s"),
    }
}

/// A share of something in percent, from 1 to 100: `10%`, `10`.
pub fn share(text: &str) -> Option<u8> {
    let number = text.trim().trim_end_matches('%').parse().ok();
    number.filter(|percent| (1..=100).contains(percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_readable() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 30), "5.0 GiB");
    }

    #[test]
    fn a_share_lies_between_one_and_a_hundred() {
        assert_eq!(share(" 10%"), Some(10));
        assert_eq!(share("100"), Some(100));
        for wrong in ["0%", "101%", "%", "ten", "-1%", "1.5%"] {
            assert_eq!(share(wrong), None, "{wrong}");
        }
    }
}
