//! The keys that sign requests to Amazon's services and to what speaks as they do.
//!
//! Guarantees: keys that expire are fetched again in time, by one caller at a time. Nothing here shows a
//! key. Where keys come from is for the caller to say: see [`Source`].

mod error;

pub use crate::sign::{Call, between, host_of, signed};
pub use error::CredentialError;

use crate::StoreError;
use crate::runtime;
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Mutex;

/// Seconds before they expire at which keys are fetched anew, if they last long enough for that.
const RENEW_SECONDS: i64 = 300;

/// Seconds for which keys that were fetched are beyond doubt.
const NEW_SECONDS: i64 = 5;

/// Keys that sign requests. They are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// The access key.
    pub access_key: String,
    /// The secret key.
    pub secret_key: String,
    /// The token of temporary keys.
    pub session_token: Option<String>,
    /// The time from which they are refused.
    pub expires: Option<Timestamp>,
    /// Where they were found, for people: `profile backup`.
    pub from: String,
}

impl Keys {
    /// Keys that do not expire, as far as it is known.
    pub fn new(
        access_key: impl Into<String>,
        secret_key: impl Into<String>,
        session_token: Option<String>,
        from: impl Into<String>,
    ) -> Self {
        Keys {
            access_key: access_key.into(),
            secret_key: secret_key.into(),
            session_token,
            expires: None,
            from: from.into(),
        }
    }

    /// Fails if they cannot stand in a header: a request without one would be that of a stranger.
    fn check(self) -> Result<Self, CredentialError> {
        let is_odd = |text: &str| text.contains(|c: char| !c.is_ascii_graphic());
        let token = self.session_token.as_deref().unwrap_or_default();
        match is_odd(&self.access_key) || is_odd(token) {
            true => Err(CredentialError::Odd { from: self.from }),
            false => Ok(self),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("from", &self.from)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Where keys come from.
pub trait Source: Send + Sync {
    /// Fetches keys; may take a while.
    fn fetch(&self) -> Result<Keys, CredentialError>;
}

/// Keys that are known.
struct Known(Keys);

impl Source for Known {
    fn fetch(&self) -> Result<Keys, CredentialError> {
        Ok(self.0.clone())
    }
}

/// The keys of a client. Clones share what was fetched.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    source: Box<dyn Source>,
    held: Mutex<Option<Held>>,
    /// True once a server said that the keys that are held have expired.
    expired: AtomicBool,
}

struct Held {
    keys: Keys,
    fetched: Timestamp,
}

impl Held {
    /// Returns whether they are to be fetched anew: in the last five minutes, or in the last third of
    /// the time for which they last.
    fn is_old(&self, now: Timestamp) -> bool {
        self.keys.expires.is_some_and(|expires| {
            let lasts = expires.duration_since(self.fetched).as_secs();
            let margin = SignedDuration::from_secs(RENEW_SECONDS.min(lasts / 3));
            now + margin >= expires
        })
    }
}

impl Credentials {
    /// Keys that are known.
    pub fn given(access_key: &str, secret_key: &str, session_token: Option<&str>) -> Self {
        let token = session_token.map(str::to_owned);
        let from = "the configuration";
        Self::new(Known(Keys::new(access_key, secret_key, token, from)))
    }

    /// Keys from a source. Nothing is fetched before it is needed.
    pub fn new(source: impl Source + 'static) -> Self {
        Credentials(Arc::new(Inner {
            source: Box::new(source),
            held: Mutex::new(None),
            expired: AtomicBool::new(false),
        }))
    }

    /// The keys to sign with now. Those that are held are used on when new ones cannot be had and the
    /// old ones are still valid.
    pub(crate) async fn current(&self) -> Result<Keys, CredentialError> {
        let mut held = self.0.held.lock().await;
        let refused = self.0.expired.load(Ordering::Relaxed);
        if let Some(known) = held.as_ref()
            && !refused
            && !known.is_old(Timestamp::now())
        {
            return Ok(known.keys.clone());
        }
        let fetched = Timestamp::now();
        let own = self.clone();
        let fetching = tokio::task::spawn_blocking(move || own.0.source.fetch());
        let keys = fetching.await.unwrap_or_else(|_| {
            let looked = vec!["what fetches them ended".to_owned()];
            Err(CredentialError::Nowhere { looked })
        });
        match keys.and_then(Keys::check) {
            Ok(keys) => {
                self.0.expired.store(false, Ordering::Relaxed);
                *held = Some(Held {
                    keys: keys.clone(),
                    fetched,
                });
                Ok(keys)
            }
            Err(error) => {
                let valid = |known: &&Held| {
                    let expires = known.keys.expires;
                    !refused && expires.is_none_or(|expires| expires > Timestamp::now())
                };
                let known = held.as_ref().filter(valid);
                known.map(|known| known.keys.clone()).ok_or(error)
            }
        }
    }

    /// A server said that the keys have expired. Returns whether others can be had: only keys that were
    /// given for a time are replaced by others.
    pub(crate) async fn expired(&self) -> bool {
        self.doubt(0).await
    }

    /// A server refused something without saying why, as in every answer to HEAD. Returns whether that may
    /// be since the keys have expired, and others can be had: they are not new.
    pub(crate) async fn may_have_expired(&self) -> bool {
        self.doubt(NEW_SECONDS).await
    }

    /// Has keys fetched anew that are so many seconds old.
    async fn doubt(&self, seconds: i64) -> bool {
        let held = self.0.held.lock().await;
        let renews = held.as_ref().is_some_and(|held| {
            let age = Timestamp::now().duration_since(held.fetched);
            held.keys.expires.is_some() && age.as_secs() >= seconds
        });
        if renews {
            self.0.expired.store(true, Ordering::Relaxed);
        }
        renews
    }

    /// The keys to sign with now, for a caller that may wait.
    pub fn keys(&self, ending: &crate::Ending) -> Result<Keys, StoreError> {
        let (own, location) = (self.clone(), "the credentials");
        let done = runtime::run(ending.work(), location, async move { own.current().await })?;
        done.map_err(|error| StoreError::NoCredentials {
            location: location.to_owned(),
            error,
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_renewed_in_the_last_third_of_a_short_life_and_five_minutes_before_a_long_one_ends()
    {
        let at = |second| Timestamp::from_second(second).unwrap();
        let old = |lasts: Option<i64>, now| {
            let keys = Keys {
                expires: lasts.map(at),
                ..Keys::new("a", "b", None, "")
            };
            let fetched = at(0);
            let held = Held { keys, fetched };
            held.is_old(at(now))
        };
        assert!(!old(Some(15), 9));
        assert!(old(Some(15), 10));
        assert!(!old(Some(3600), 3299));
        assert!(old(Some(3600), 3300));
        assert!(!old(None, 1_000_000));
    }

    #[test]
    fn what_is_no_key_is_told_instead_of_a_request_without_one() {
        let of = |key: &str, token: Option<&str>| {
            let ending = crate::Ending::default();
            Credentials::given(key, "s", token).keys(&ending)
        };
        assert!(of("AKIA1", Some("to/ken+=")).is_ok());
        for (key, token) in [("AKIA1\n", None), ("AK IA", None), ("AKIA1", Some("tö"))] {
            let error = of(key, token).unwrap_err().to_string();
            assert!(error.contains("a character that no key has"), "{error}");
        }
    }
}
