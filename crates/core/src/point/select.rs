//! Parses and resolves a POINT, as given on the command line or in a drill. Pure.

use super::PointId;
use crate::clock::is_ahead;
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::span::Span;
use jiff::Timestamp;

/// A parsed POINT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// A point by its id, or by the beginning of its id.
    Prefix(String),
    /// The newest point.
    Latest,
    /// The newest point of a plan.
    LatestOf(String),
    /// The newest point begun before a time.
    Before(Timestamp),
    /// Any point whose age lies between two spans.
    Random(Span, Span),
}

/// Facts about a point that may be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub point: PointId,
    /// Its plan.
    pub plan: Name,
    /// True if it was taken before a live restore, or disowned. It is then chosen only by its id,
    /// like one dated in the future.
    pub by_id_only: bool,
    /// True if something is missing in it, wholly or in part.
    pub partial: bool,
}

/// What to do if a POINT that is not an id fits only partial points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnlyPartial {
    /// Choose none: a partial point must be asked for by its id.
    Refuse,
    /// Choose the newest, which is better than none.
    Take,
}

impl Selector {
    /// Parses an id, a prefix of one, `latest`, `latest:PLAN`, `before:TIME`, `random` or
    /// `random:14d..21d`.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |cause: String| {
            Error::new(Code::Usage, format!("{text:?} names no restore point"))
                .cause(cause)
                .hint("write an id or its beginning, latest, latest:PLAN, before:2026-11-20T06:00:00Z, random or random:14d..21d")
        };
        match text.split_once(':') {
            None if text == "latest" => Ok(Selector::Latest),
            None if text == "random" => Ok(Selector::Random(
                Span { seconds: 0 },
                Span { seconds: u64::MAX },
            )),
            Some(("latest", plan)) if !plan.is_empty() => Ok(Selector::LatestOf(plan.to_owned())),
            Some(("before", time)) => parse_time(time).map(Selector::Before).map_err(wrong),
            Some(("random", range)) => {
                let (young, old) = range
                    .split_once("..")
                    .ok_or_else(|| wrong("a range is two lengths of time, as 14d..21d".into()))?;
                let (young, old): (Span, Span) =
                    (young.parse().map_err(wrong)?, old.parse().map_err(wrong)?);
                if young > old {
                    return Err(wrong(
                        "the first length of time is longer than the second".into(),
                    ));
                }
                Ok(Selector::Random(young, old))
            }
            None if !text.is_empty()
                && text
                    .bytes()
                    .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'T' | b'Z' | b'-')) =>
            {
                Ok(Selector::Prefix(text.to_owned()))
            }
            _ => Err(wrong(String::new())),
        }
    }

    /// Chooses among `candidates` (in any order). `random` is any number. Unless it is named by its
    /// id, a partial point is chosen only if no complete one fits, and only if `partial` allows it.
    pub fn choose(
        &self,
        candidates: &[Candidate],
        now: Timestamp,
        random: u64,
        partial: OnlyPartial,
    ) -> Result<PointId> {
        let by_id = matches!(self, Selector::Prefix(_));
        // A safety point may be of something broken, and the date of a point from the future is
        // wrong. Nobody who says `latest` means either.
        let counts = |c: &&Candidate| by_id || !c.by_id_only && !is_ahead(c.point.time(), now);
        let mut points: Vec<&Candidate> = candidates.iter().filter(counts).collect();
        points.sort_by(|a, b| a.point.cmp(&b.point));
        points.dedup_by(|a, b| a.point == b.point);
        let age = |c: &&Candidate| {
            u64::try_from(now.as_second() - c.point.time().as_second()).unwrap_or(0)
        };
        match self {
            Selector::Latest => {}
            Selector::LatestOf(plan) => points.retain(|c| &c.plan == plan),
            Selector::Before(time) => points.retain(|c| c.point.time() < *time),
            Selector::Random(young, old) => {
                points.retain(|c| (young.seconds..=old.seconds).contains(&age(c)));
            }
            Selector::Prefix(prefix) => {
                points.retain(|c| c.point.as_str().starts_with(prefix.as_str()));
                if points.len() > 1 {
                    let ids: Vec<_> = points.iter().take(5).map(|c| c.point.as_str()).collect();
                    let message = format!("{prefix} begins {} restore points", points.len());
                    return Err(Error::new(Code::PointAmbiguous, message)
                        .cause(ids.join(", "))
                        .hint("give more of the id"));
                }
            }
        }
        let newest = points.last().map(|c| c.point.clone());
        if !by_id {
            let complete = |c: &&Candidate| !c.partial;
            match (points.iter().any(|c| !c.partial), partial) {
                (false, OnlyPartial::Take) => {}
                _ => points.retain(complete),
            }
            if let (true, Some(newest)) = (points.is_empty(), newest) {
                return Err(only_partial(&newest));
            }
        }
        if matches!(self, Selector::Random(..)) {
            let count = u64::try_from(points.len()).unwrap_or(1).max(1);
            let index = usize::try_from(random % count).unwrap_or(0);
            points = points.get(index).copied().into_iter().collect();
        }
        points
            .last()
            .map(|c| c.point.clone())
            .ok_or_else(|| match candidates.is_empty() || by_id {
                false if candidates.iter().all(|c| is_ahead(c.point.time(), now)) => all_ahead(now),
                _ => self.none(candidates.len()),
            })
    }

    fn none(&self, known: usize) -> Error {
        let what = match self {
            Selector::Latest => "there is no restore point yet".to_owned(),
            Selector::LatestOf(plan) => format!("there is no restore point of plan {plan}"),
            Selector::Before(time) => format!("there is no restore point before {time}"),
            Selector::Random(young, old) if old.seconds == u64::MAX => {
                format!("there is no restore point older than {young}")
            }
            Selector::Random(young, old) => format!("no restore point is aged {young} to {old}"),
            Selector::Prefix(prefix) => format!("no restore point begins with {prefix}"),
        };
        let hint = if known == 0 {
            "run `lifeboat backup`, or `lifeboat points --rescan` if the stores hold some"
        } else {
            "run `lifeboat points` to see what there is"
        };
        Error::new(Code::PointUnknown, what).hint(hint)
    }
}

fn only_partial(newest: &PointId) -> Error {
    let message = format!(
        "no complete restore point fits; the newest that does is {newest}, which is PARTIAL"
    );
    Error::new(Code::PointUnknown, message).hint(format!(
        "see what it lacks (lifeboat show {newest}); what there is of it can be restored by its id: lifeboat restore {newest} --allow-partial"
    ))
}

fn all_ahead(now: Timestamp) -> Error {
    let message =
        format!("every restore point is dated after what the clock of this host says, {now}");
    Error::new(Code::Clock, message)
        .hint("set the clock of this host (`timedatectl set-ntp true`); until then, name a point by its id")
}

/// A time: RFC 3339, or a date, which is midnight UTC. The error says how to write one.
pub fn parse_time(text: &str) -> std::result::Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let date: jiff::civil::Date = text.parse().map_err(|_| {
        format!("{text:?} is no time; write it as 2026-11-20 or 2026-11-20T06:00:00Z")
    })?;
    date.to_zoned(jiff::tz::TimeZone::UTC)
        .map(|z| z.timestamp())
        .map_err(|e| e.to_string())
}

/// The limit on what is known of the age of a point that is dated in the future; `None` for any
/// other.
pub(crate) fn age_limit(point: &PointId, now: Timestamp) -> Option<String> {
    let ahead = is_ahead(point.time(), now);
    ahead.then(|| format!("the age of {point} cannot be told: it is dated in the future"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates() -> Vec<Candidate> {
        [
            ("20261101T000000Z-aaaa", "daily"),
            ("20261110T000000Z-bbbb", "hourly"),
            ("20261119T000000Z-cccc", "daily"),
            ("20261110T000000Z-bbbb", "hourly"),
            ("20261119T120000Z-dddd", "daily"),
            ("20361119T120000Z-eeee", "daily"),
        ]
        .map(|(id, plan)| Candidate {
            point: PointId::parse(id).unwrap(),
            plan: Name::parse(plan).unwrap(),
            by_id_only: id.ends_with("dddd"),
            partial: false,
        })
        .to_vec()
    }

    fn choose(text: &str) -> Result<String> {
        let now = "2026-11-20T00:00:00Z".parse().unwrap();
        Ok(Selector::parse(text)?
            .choose(&candidates(), now, 7, OnlyPartial::Refuse)?
            .as_str()[15..]
            .to_owned())
    }

    #[test]
    fn a_clock_behind_every_point_is_reported_and_an_id_still_chooses() {
        let now = "1999-12-31T23:59:58Z".parse().unwrap();
        let choose = |text: &str| {
            let selector = Selector::parse(text).unwrap();
            selector.choose(&candidates(), now, 7, OnlyPartial::Take)
        };
        for text in ["latest", "latest:daily", "random:0s..2d"] {
            assert_eq!(choose(text).unwrap_err().code, Code::Clock, "{text}");
        }
        assert_eq!(
            choose("20261119T12").unwrap().as_str(),
            "20261119T120000Z-dddd"
        );
        assert_eq!(choose("2027").unwrap_err().code, Code::PointUnknown);
    }

    #[test]
    fn each_form_chooses_what_it_says() {
        for (text, expected) in [
            ("latest", "Z-cccc"),
            ("latest:daily", "Z-cccc"),
            ("before:2026-11-20", "Z-cccc"),
            ("random:0s..2d", "Z-cccc"),
            ("20261119T12", "Z-dddd"),
            ("2036", "Z-eeee"),
            ("before:2040-01-01", "Z-cccc"),
            ("random:0s..1d", "Z-cccc"),
            ("latest:hourly", "Z-bbbb"),
            ("before:2026-11-19", "Z-bbbb"),
            ("before:2026-11-10T00:00:00Z", "Z-aaaa"),
            ("20261110", "Z-bbbb"),
            ("random:15d..30d", "Z-aaaa"),
            ("random:9d..11d", "Z-bbbb"),
        ] {
            assert_eq!(choose(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_partial_point_is_chosen_by_its_id_or_as_a_last_resort() {
        let now = "2026-11-20T00:00:00Z".parse().unwrap();
        let choose = |partial: &[&str], text: &str, only: OnlyPartial| {
            let mut all = candidates();
            for candidate in &mut all {
                candidate.partial = partial
                    .iter()
                    .any(|p| candidate.point.as_str().ends_with(p));
            }
            let chosen = Selector::parse(text).unwrap().choose(&all, now, 7, only);
            chosen.map(|point| point.as_str()[17..].to_owned())
        };
        let newest = ["cccc"];
        for (text, expected) in [
            ("latest", "bbbb"),
            ("latest:daily", "aaaa"),
            ("before:2026-11-20", "bbbb"),
            ("random:0s..10d", "bbbb"),
            ("20261119T00", "cccc"),
        ] {
            for only in [OnlyPartial::Refuse, OnlyPartial::Take] {
                assert_eq!(choose(&newest, text, only).unwrap(), expected, "{text}");
            }
        }
        let all = ["aaaa", "bbbb", "cccc"];
        for text in ["latest", "latest:daily", "random"] {
            let error = choose(&all, text, OnlyPartial::Refuse).unwrap_err();
            assert!(error.message.contains("cccc, which is PARTIAL"), "{error}");
        }
        assert_eq!(choose(&all, "latest", OnlyPartial::Take).unwrap(), "cccc");
    }

    #[test]
    fn a_selector_that_fits_nothing_or_too_much_says_so() {
        for (text, code) in [
            ("2026", Code::PointAmbiguous),
            ("2027", Code::PointUnknown),
            ("latest:weekly", Code::PointUnknown),
            ("random:3d..4d", Code::PointUnknown),
            ("random:4d..3d", Code::Usage),
            ("before:yesterday", Code::Usage),
            ("", Code::Usage),
            ("../x", Code::Usage),
        ] {
            assert_eq!(choose(text).unwrap_err().code, code, "{text}");
        }
        assert!(choose("random").is_ok());
    }
}
