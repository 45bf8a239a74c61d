//! Compression of streams, as the configuration names it.

use std::fmt;

/// Compression of artifacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compress {
    /// No compression.
    None,
    /// gzip, level 1 to 12.
    Gzip(u8),
    /// Zstandard, level 1 to 19.
    Zstd(u8),
}

impl Default for Compress {
    fn default() -> Self {
        Compress::Gzip(3)
    }
}

impl std::str::FromStr for Compress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level)),
            None => (text, None),
        };
        let level = |default: u8, max: u8| match level {
            None => Ok(default),
            Some(level) => level
                .parse()
                .ok()
                .filter(|l| (1..=max).contains(l))
                .ok_or_else(|| format!("{name} has levels 1 to {max}, not {level:?}")),
        };
        match name {
            "none" if !text.contains(':') => Ok(Compress::None),
            "gzip" => Ok(Compress::Gzip(level(3, 12)?)),
            "zstd" => Ok(Compress::Zstd(level(3, 19)?)),
            _ => Err(format!(
                "unknown compression {text:?}; use gzip, zstd or none, with an optional level: zstd:9"
            )),
        }
    }
}

impl fmt::Display for Compress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Compress::None => f.write_str("none"),
            Compress::Gzip(level) => write!(f, "gzip:{level}"),
            Compress::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}
