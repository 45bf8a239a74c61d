//! Reading the stores as they stood at a time: the way back after somebody overwrote or deleted
//! what is in them.
//!
//! Guarantees: nothing is written to a store, and nothing that is read enters the catalog of this
//! host or its memory of missing points. Signatures and hashes are checked as ever. It does not
//! bring back what a store removed for good, and cannot say when a store that has no versions of an
//! object lost it.

use crate::context::Context;
use crate::error::{Code, Error, Fact, Result};
use crate::name::Name;
use crate::point::parse_time;
use crate::scratch::Directory;
use crate::stores::Stores;
use crate::survey::survey;
use jiff::Timestamp;

/// Reads the time of `--as-of`, which has passed at `now`.
pub fn time(text: &str, now: Timestamp) -> Result<Timestamp> {
    let wrong = |message: String| Error::new(Code::Usage, message);
    let at = parse_time(text).map_err(|cause| {
        wrong(format!("--as-of {text:?} is no time"))
            .cause(cause)
            .hint("write a date, which is its midnight in UTC, or a time: --as-of 2026-11-20T06:00:00Z")
    })?;
    match at > now {
        false => Ok(at),
        true => Err(wrong(format!("--as-of {at} is in the future"))
            .cause(format!("by the clock of this host it is {now}"))
            .hint("give a time that has passed; times without an offset are not taken, and dates are UTC")),
    }
}

/// Opens the stores of `present` as they stood at a time; only `store` if it is given. A store that
/// keeps no versions is left out with a warning, and is an error if no other is left. Fails with
/// [`Code::PointUnknown`] if no restore point stood there.
pub fn open(present: &Context, at: Timestamp, store: Option<&str>) -> Result<Context> {
    let home = Directory::create(&present.state.scratch(), "as-of")?;
    let context = Context::past(present, at, home)?;
    let names: Vec<Name> = match store {
        Some(store) => vec![Name::made(store.to_owned())?],
        None => context.config.store.keys().cloned().collect(),
    };
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    for name in names {
        match context.stores.open(&name) {
            Err(error) if error.fact == Some(Fact::WithoutVersions) => left_out.push(error),
            Err(error) if error.code == Code::Usage => return Err(error),
            // A survey tells about a store that cannot be asked.
            _ => kept.push(name),
        }
    }
    match left_out.first() {
        Some(error) if kept.is_empty() => return Err(error.clone()),
        _ => {}
    }
    for error in &left_out {
        let text = format!("{}: it is left out", error.message);
        context.reporter.warn(&text);
    }
    let survey = survey(&context, false)?;
    if survey.copies.iter().any(|(name, _)| kept.contains(name)) {
        return Ok(context);
    }
    let mut unread = survey.unread.into_iter();
    match unread.find(|unread| kept.contains(&unread.store)) {
        Some(unread) => Err(unread.error),
        None => Err(nothing(&context.stores, &kept, at)),
    }
}

/// The error of stores in which no restore point stood at a time.
pub(crate) fn nothing(stores: &Stores, names: &[Name], at: Timestamp) -> Error {
    let empty = names.iter().all(|name| {
        let store = stores.open(name).map(|open| open.store);
        store.is_ok_and(|store| store.list("").is_ok_and(|objects| objects.is_empty()))
    });
    let what = if empty { "nothing" } else { "no restore point" };
    let names: Vec<&str> = names.iter().map(Name::as_str).collect();
    Error::new(
        Code::PointUnknown,
        format!("{what} was in store {} at {at}", names.join(", ")),
    )
    .hint("give a later time; the id of a point begins with the time at which its capture began, and it is stored when that has ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_or_a_moment_that_has_passed() {
        let now = "2026-11-20T06:00:00Z".parse().unwrap();
        let read = |text: &str| time(text, now).map(|at| at.to_string());
        assert_eq!(read("2026-11-19").unwrap(), "2026-11-19T00:00:00Z");
        assert_eq!(
            read("2026-11-20T06:30:00+01:00").unwrap(),
            "2026-11-20T05:30:00Z"
        );
        assert_eq!(
            read("2026-11-20T06:00:00Z").unwrap(),
            "2026-11-20T06:00:00Z"
        );
        for text in ["2026-11-21", "2026-11-20T06:00:01Z", "yesterday", ""] {
            let error = read(text).unwrap_err();
            assert_eq!(error.code, Code::Usage, "{text}");
            assert!(error.hint.is_some(), "{text}");
        }
    }
}
