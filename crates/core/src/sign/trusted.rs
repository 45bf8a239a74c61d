//! Trusted signers: an OpenSSH `allowed_signers` file.
//!
//! Guarantees: a line means here what it means to `ssh-keygen -Y verify` (see ALLOWED SIGNERS in
//! ssh-keygen(1)), and a line that is not understood refuses the whole file rather than trusting
//! less or more than was meant. Certificate authorities are not supported.

use super::{NAMESPACE, PublicKey, SignerId, signed_by, untrusted};
use crate::error::{Code, Error, Result};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A line: a key, and what it is trusted for.
#[derive(Debug, Clone)]
struct Entry {
    /// Patterns of principals, comma-separated.
    principals: String,
    /// Patterns of namespaces; all when absent.
    namespaces: Option<String>,
    valid_after: Option<Timestamp>,
    valid_before: Option<Timestamp>,
    key: PublicKey,
}

/// The keys whose signatures are trusted.
#[derive(Debug, Clone, Default)]
pub struct TrustedSigners {
    entries: Vec<Entry>,
    /// Ids that the operator vouched for in this run.
    vouched: Vec<String>,
}

impl TrustedSigners {
    /// Parses the text of an `allowed_signers` file. Errors name the line.
    pub fn parse(text: &str) -> Result<Self> {
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            entries.push(parse_line(line).map_err(|why| {
                Error::new(
                    Code::Configuration,
                    format!("line {} of the trusted signers {why}", index + 1),
                )
                .hint("write it as: crm namespaces=\"lifeboat\" ssh-ed25519 AAAA…")
            })?);
        }
        Ok(TrustedSigners {
            entries,
            vouched: Vec::new(),
        })
    }

    /// Adds our own key, trusted whatever principal it signs as.
    pub fn add(&mut self, key: &PublicKey) {
        self.entries.push(Entry {
            principals: "*".into(),
            namespaces: Some(NAMESPACE.into()),
            valid_after: None,
            valid_before: None,
            key: key.clone(),
        });
    }

    /// Adds the key with this id (`SHA256:…`), which the operator vouched for in this run.
    pub fn add_id(&mut self, id: &str) -> Result<()> {
        let digest = id.strip_prefix("SHA256:").unwrap_or_default();
        if digest.len() != 43 {
            return Err(
                Error::new(Code::Usage, format!("{id:?} is no id of a signer"))
                    .hint("write it as it is shown: SHA256: and 43 characters"),
            );
        }
        self.vouched.push(id.to_owned());
        Ok(())
    }

    /// The fingerprints of all keys here.
    pub fn ids(&self) -> Vec<SignerId> {
        self.entries.iter().map(|entry| entry.key.id()).collect()
    }

    /// The lines of an `allowed_signers` file that trusts the same keys to sign as `principal`.
    pub fn lines_for(&self, principal: &str) -> Vec<String> {
        self.entries
            .iter()
            .filter(|entry| entry.covers(principal))
            .map(|entry| entry.key.line_for(principal))
            .collect()
    }

    /// Checks that a trusted key signed `message` as `principal`, and returns its signer.
    ///
    /// Every failure is [`Code::Untrusted`] and says which it is: the signature is malformed, was
    /// made for another purpose, does not match the bytes, or is by a key that is unknown or not
    /// (or no longer) trusted at the time `at`.
    pub fn verify(
        &self,
        principal: &str,
        message: &[u8],
        signature: &str,
        at: Timestamp,
    ) -> Result<SignerId> {
        self.check(principal, &signed_by(message, signature)?, at)
    }

    /// Checks that a key, whose signature was checked elsewhere, is trusted to sign as `principal`
    /// at the time `at`, and returns its id. Every failure is [`Code::Untrusted`].
    pub fn check(&self, principal: &str, key: &PublicKey, at: Timestamp) -> Result<SignerId> {
        let id = key.id();
        if self.vouched.iter().any(|vouched| vouched == id.as_str()) {
            return Ok(id);
        }
        let mut refused = None;
        for entry in self.entries.iter().filter(|entry| entry.key == *key) {
            match entry.refuses(principal, at) {
                None => return Ok(id),
                Some(why) => refused = Some(why),
            }
        }
        Err(match refused {
            Some(why) => untrusted(format!("the signer {id} {why}"))
                .hint("check this key's line in the trusted signers"),
            None => untrusted(format!("signed by {id}, who is not trusted here")).hint(format!(
                "if you know this key from elsewhere than the store, use --trust-signer {id} in \
                 this run, or add this line to the file named by trusted_signers: {}",
                key.line_for(principal)
            )),
        })
    }
}

impl Entry {
    fn covers(&self, principal: &str) -> bool {
        matches_list(&self.principals, principal)
            && self
                .namespaces
                .as_ref()
                .is_none_or(|list| matches_list(list, NAMESPACE))
    }

    /// The reason why this line does not make the key trusted; `None` if it does.
    fn refuses(&self, principal: &str, at: Timestamp) -> Option<String> {
        if !matches_list(&self.principals, principal) {
            return Some(format!(
                "is trusted for {}, not for {principal}",
                self.principals
            ));
        }
        if let Some(namespaces) = &self.namespaces
            && !matches_list(namespaces, NAMESPACE)
        {
            return Some(format!(
                "is trusted in namespace {namespaces}, not in {NAMESPACE}"
            ));
        }
        if let Some(after) = self.valid_after
            && at < after
        {
            return Some(format!("is not trusted before {after}"));
        }
        if let Some(before) = self.valid_before
            && at > before
        {
            return Some(format!("is not trusted after {before}"));
        }
        None
    }
}

/// Parses `principals [options] key`. The error says what is wrong.
fn parse_line(line: &str) -> Result<Entry, String> {
    let (principals, rest) = line.split_at(word_bytes(line)?);
    let principals = unquote(principals).unwrap_or(principals);
    let rest = rest.trim_start();
    let (options, key) = match PublicKey::parse(rest) {
        Ok(key) => ("", key),
        Err(_) => {
            let (options, key) = rest.split_at(word_bytes(rest)?);
            let key = PublicKey::parse(key).map_err(|error| {
                format!("has no valid key: {}", error.cause.unwrap_or(error.message))
            })?;
            (options, key)
        }
    };
    let mut entry = Entry {
        principals: principals.to_owned(),
        namespaces: None,
        valid_after: None,
        valid_before: None,
        key,
    };
    for option in split_options(options).filter(|option| !option.is_empty()) {
        entry.apply(option)?;
    }
    if let (Some(after), Some(before)) = (entry.valid_after, entry.valid_before)
        && before <= after
    {
        return Err("is never valid: valid-before is not later than valid-after".into());
    }
    Ok(entry)
}

impl Entry {
    fn apply(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(unquote(value)?)),
            None => (option, None),
        };
        match (name.to_ascii_lowercase().as_str(), value) {
            ("cert-authority", _) => {
                Err("is a certificate authority, which is not supported: list the keys".into())
            }
            ("namespaces", Some(value)) if !value.is_empty() => {
                set(&mut self.namespaces, value.to_owned(), name)
            }
            ("valid-after", Some(value)) => {
                let time = parse_time(value)?;
                set(&mut self.valid_after, time, name)
            }
            ("valid-before", Some(value)) => {
                let time = parse_time(value)?;
                set(&mut self.valid_before, time, name)
            }
            _ => Err(format!("has an option that is not known: {option}")),
        }
    }
}

fn set<T>(slot: &mut Option<T>, value: T, name: &str) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("has {name} twice")),
    }
}

/// Length of the first word: up to the first white space outside double quotes.
fn word_bytes(text: &str) -> Result<usize, String> {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_ascii_whitespace() && !quoted => return Ok(at),
            _ => {}
        }
    }
    if quoted {
        return Err("has an unclosed quote".into());
    }
    Ok(text.len())
}

/// Splits at commas outside quotes.
fn split_options(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
}

fn unquote(value: &str) -> Result<&str, String> {
    value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .ok_or_else(|| format!("has a value without quotes: {value}"))
}

/// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`; UTC with a final `Z`, else this host's time.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("has a time that is not YYYYMMDD[HHMM[SS]][Z]: {text}");
    let (digits, zone) = match text.strip_suffix('Z') {
        Some(digits) => (digits, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let whole = match digits.len() {
        8 => format!("{digits}000000"),
        12 => format!("{digits}00"),
        14 => digits.to_owned(),
        _ => return Err(wrong()),
    };
    DateTime::strptime("%Y%m%d%H%M%S", &whole)
        .and_then(|time| time.to_zoned(zone))
        .map(|time| time.timestamp())
        .map_err(|_| wrong())
}

/// Matches OpenSSH's pattern lists: comma-separated, `*` and `?`, and `!` before a pattern that
/// must not match.
fn matches_list(patterns: &str, text: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches_pattern(pattern.as_bytes(), text.as_bytes()) => return false,
            Some(_) => {}
            None => found |= matches_pattern(pattern.as_bytes(), text.as_bytes()),
        }
    }
    found
}

/// Matches one pattern. Iterative, so that a pattern of many stars costs no more than pattern ×
/// text.
fn matches_pattern(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), text.get(t)) {
            (Some(b'*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(b'?'), _) => (p, t) = (p + 1, t + 1),
            (Some(a), Some(b)) if a == b => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern
        .get(p..)
        .unwrap_or_default()
        .iter()
        .all(|c| *c == b'*')
}
