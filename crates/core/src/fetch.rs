//! Choosing a restore point and reading back its artifacts: decrypted, decompressed, and checked
//! against the manifest to the last byte.

use crate::archive::{self, TapReader};
use crate::clock::is_ahead;
use crate::context::Context;
use crate::copies::{self, PointCopy};
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::observe::Reporter;
use crate::point::{Candidate, Details, ManifestArtifact, OnlyPartial, PointId, Selector};
use crate::stores::OpenStore;
use crate::survey::{self, Survey};
use crate::wrong_clock;
use std::collections::BTreeSet;
use std::io::{self, Read};

/// A trusted copy of a point, in an open store.
pub struct Fetched {
    /// The store it is read from.
    pub store: OpenStore,
    /// Its manifest, signed by a trusted signer.
    pub copy: PointCopy,
    /// The details of what was captured, or the error that prevents reading them.
    pub details: Result<Details>,
}

/// Chooses a point of the given plans (any plan when empty) among those that `store` holds, or any
/// store when absent. Warns of newer points that it passes over.
pub fn choose(
    context: &Context,
    selector: &Selector,
    plans: &[Name],
    store: Option<&str>,
    partial: OnlyPartial,
) -> Result<PointId> {
    let survey = survey::survey(context, false)?;
    choose_in(context, &survey, selector, plans, store, partial)
}

/// Chooses as [`choose`] does, from a survey of the stores.
pub fn choose_in(
    context: &Context,
    survey: &Survey,
    selector: &Selector,
    plans: &[Name],
    store: Option<&str>,
    partial: OnlyPartial,
) -> Result<PointId> {
    if let Some(name) = store {
        context.stores.open(name)?;
    }
    let now = context.clock.now();
    let candidate = candidates(survey);
    let of_plans = survey
        .copies
        .iter()
        .filter(|(_, copy)| plans.is_empty() || plans.contains(&copy.manifest.plan));
    let (fitting, elsewhere): (Vec<_>, Vec<_>) =
        of_plans.partition(|(name, _)| store.is_none_or(|s| s == name));
    let fitting: Vec<&PointCopy> = fitting.into_iter().map(|(_, copy)| copy).collect();
    let mut candidates: Vec<Candidate> = fitting.iter().copied().map(&candidate).collect();
    if !matches!(selector, Selector::Prefix(_)) {
        // The operator named no point: untrusted points must not displace trusted ones. If no point
        // is trusted, one is chosen all the same, so that the reason is reported.
        let trusted = fitting
            .iter()
            .filter(|c| c.check_trust(&context.trusted).is_ok());
        let trusted: Vec<Candidate> = trusted.copied().map(&candidate).collect();
        if !trusted.is_empty() {
            candidates = trusted;
        }
    }
    if !matches!(selector, Selector::Prefix(_)) {
        let mut ahead: Vec<&Candidate> = candidates.iter().collect();
        ahead.retain(|c| !c.by_id_only && is_ahead(c.point.time(), now));
        for candidate in ahead {
            let text = wrong_clock::ahead(&candidate.point, now);
            context
                .reporter
                .warn(&format!("{text}; {}", wrong_clock::AHEAD_HINT));
        }
    }
    let chosen = selector.choose(&candidates, now, context.clock.random(), partial);
    if let Ok(chosen) = &chosen
        && !matches!(selector, Selector::Prefix(_))
    {
        warn_of_lost(context, chosen, plans, store, survey);
        if matches!(selector, Selector::Latest | Selector::LatestOf(_)) {
            warn_of_partial(context, chosen, &candidates, &fitting);
        }
    }
    chosen.or_else(|error| {
        let is_only_elsewhere = fitting.is_empty() && !elsewhere.is_empty();
        unknown(context, survey, selector, store, is_only_elsewhere, error)
    })
}

/// The point that is meant although no store holds it, since one did; or else `error`, as far as it is
/// known what became of the point.
fn unknown(
    context: &Context,
    survey: &Survey,
    selector: &Selector,
    store: Option<&str>,
    is_only_elsewhere: bool,
    error: Error,
) -> Result<PointId> {
    if error.code != Code::PointUnknown {
        return Err(error);
    }
    if let Selector::Prefix(prefix) = selector
        && let Some(lost) = survey.missing.iter().find(|lost| {
            lost.copy.manifest.point.as_str().starts_with(prefix)
                && store.is_none_or(|s| lost.store == s)
        })
    {
        if lost.found.is_none() {
            return Err(error.cause(lost.text()));
        }
        // Reading the point reports what is wrong with it, and a drill records that.
        context.reporter.warn(&lost.text());
        return Ok(lost.copy.manifest.point.clone());
    }
    if let Selector::Prefix(prefix) = selector
        && let Some(pruned) = survey.pruned(prefix, store)
    {
        return Err(survey.as_far_as_read(pruned, store));
    }
    // Where the store has something else in its place, that is worse than nothing.
    let mut lost = survey.missing.iter().rev();
    if is_only_elsewhere
        && let Some(lost) = lost.find(|lost| store.is_some_and(|name| lost.store == name))
        && let Some(found) = lost.found.clone()
    {
        let message = lost.text();
        return Err(Error { message, ..found });
    }
    Err(match store {
        Some(name) if survey.unread.is_empty() && is_only_elsewhere => only_elsewhere(name),
        // The point may exist in a store that could not be read.
        _ => survey.as_far_as_read(error, None),
    })
}

/// Says of each copy how it may be chosen. A point that leaves every store that holds it is chosen
/// only by its id.
fn candidates(survey: &Survey) -> impl Fn(&PointCopy) -> Candidate {
    let copies = survey.copies.iter();
    let staying = copies.filter(|(store, copy)| survey.leaving(store, copy).is_none());
    let staying: BTreeSet<&PointId> = staying.map(|(_, copy)| &copy.manifest.point).collect();
    move |copy| {
        let manifest = &copy.manifest;
        let point = &manifest.point;
        let set_aside = survey.disowned.contains(point) || !staying.contains(point);
        Candidate {
            by_id_only: manifest.safety || set_aside,
            point: point.clone(),
            plan: manifest.plan.clone(),
            partial: manifest.lacks().is_some(),
        }
    }
}

/// Warns of points that may be newer than the chosen one: lost or unreadable points, and stores
/// that could not be read.
fn warn_of_lost(
    context: &Context,
    chosen: &PointId,
    plans: &[Name],
    store: Option<&str>,
    survey: &Survey,
) {
    let fits = |name: &Name| store.is_none_or(|s| name == s);
    let is_held = |point: &PointId| {
        let mut held = survey.copies.iter();
        held.any(|(_, c)| &c.manifest.point == point && c.check_trust(&context.trusted).is_ok())
    };
    for lost in survey.missing.iter().filter(|lost| fits(&lost.store)) {
        let manifest = &lost.copy.manifest;
        let of_plans = plans.is_empty() || plans.contains(&manifest.plan);
        if of_plans && &manifest.point > chosen && !is_held(&manifest.point) {
            let text = lost.text();
            context
                .reporter
                .warn(&format!("{text}; it is newer than {chosen}"));
        }
    }
    for unread in survey.unread.iter().filter(|unread| fits(&unread.store)) {
        let error = &unread.error;
        match &unread.point {
            Some(point) if point <= chosen || is_held(point) => {}
            Some(_) => context
                .reporter
                .warn(&format!("{error}; it is newer than {chosen}")),
            None => context.reporter.warn(&format!(
                "{error}; it may hold points that are newer than {chosen}"
            )),
        }
    }
}

/// Warns that newer points of the plan are passed over because they are partial.
fn warn_of_partial(
    context: &Context,
    chosen: &PointId,
    candidates: &[Candidate],
    fitting: &[&PointCopy],
) {
    let plan = candidates.iter().find(|c| &c.point == chosen);
    let plan = plan.map(|c| &c.plan);
    let newer = candidates
        .iter()
        .filter(|c| c.partial && !c.by_id_only && &c.point > chosen && Some(&c.plan) == plan);
    let newer = newer.filter(|c| !is_ahead(c.point.time(), context.clock.now()));
    let Some(newest) = newer.max_by(|a, b| a.point.cmp(&b.point)) else {
        return;
    };
    let copy = fitting.iter().find(|c| c.manifest.point == newest.point);
    let lacks = copy.and_then(|c| c.manifest.lacks()).unwrap_or_default();
    context.reporter.warn(&format!(
        "point {}, newer than {chosen}, is PARTIAL and is passed over: it lacks {lacks}",
        newest.point
    ));
}

fn only_elsewhere(store: &str) -> Error {
    let message = format!("there is no restore point in store {store}");
    Error::new(Code::PointUnknown, message).hint(format!(
        "see what the others hold (lifeboat points), and give it copies: lifeboat copy POINT --to {store}"
    ))
}

/// Reads the copy of a point in `store`; without it, the first sound copy in any of its stores, if
/// possible one whose details can be read. A trusted signer must have signed it.
pub fn fetch(context: &Context, point: &PointId, store: Option<&str>) -> Result<Fetched> {
    let names: Vec<&str> = match store {
        Some(name) => vec![name],
        None => context.config.store.keys().map(Name::as_str).collect(),
    };
    let mut first: Option<Error> = None;
    let mut unproved: Option<Fetched> = None;
    for name in names {
        match fetch_from(context, point, name) {
            Ok(fetched) if fetched.details.is_err() => drop(unproved.get_or_insert(fetched)),
            Ok(fetched) => {
                warn_of_another_copy(&context.reporter, unproved.as_ref(), &fetched);
                return Ok(fetched);
            }
            Err(error) => {
                // Show an error that says more than "not here".
                let weak = first.as_ref().is_none_or(|f| f.code == Code::ObjectMissing);
                if weak {
                    first = Some(error);
                }
            }
        }
    }
    let none = || Error::new(Code::Configuration, "the configuration has no store");
    unproved.ok_or_else(|| first.unwrap_or_else(none))
}

/// Says why the copy of another store is read instead of the first.
fn warn_of_another_copy(reporter: &Reporter, passed_over: Option<&Fetched>, chosen: &Fetched) {
    let error = passed_over.and_then(|p| Some((&p.store.name, p.details.as_ref().err()?)));
    if let Some((name, error)) = error {
        reporter.warn(&format!(
            "store {name} does not tell what was captured, and the copy in store {} is used: {error}",
            chosen.store.name
        ));
    }
}

fn fetch_from(context: &Context, point: &PointId, name: &str) -> Result<Fetched> {
    let store = context.stores.open(name)?;
    let copy = copies::read(&store, point).map_err(|error| match error.code {
        Code::ObjectMissing => Error::new(
            Code::ObjectMissing,
            format!("store {name} holds no copy of {point}"),
        )
        .hint("run `lifeboat points` to see where it is, and `lifeboat copy` to heal this store"),
        _ => error,
    })?;
    copy.check_trust(&context.trusted)?;
    let (is, app) = (&copy.manifest, &context.config.app);
    if !context.shows_every_app() && (&is.app, &is.environment) != (&app.name, &app.environment) {
        let message = format!(
            "point {point} in store {name} is of {}/{}",
            is.app, is.environment
        );
        return Err(Error::new(Code::Untrusted, message)
            .hint("it was put there in the place of this application's point"));
    }
    let details = copies::read_details(&store, &copy.manifest);
    Ok(Fetched {
        store,
        copy,
        details,
    })
}

/// Opens the stored bytes of an artifact unchanged, in the version that the manifest names. Reading
/// fails at the end if they are not those of the manifest.
pub fn open_stored(
    fetched: &Fetched,
    artifact: &ManifestArtifact,
) -> Result<impl Read + Send + use<>> {
    let version = artifact.version.as_deref();
    let stored = fetched.store.open_named(&artifact.key, version)?;
    let what = format!("{} in store {}", artifact.key, fetched.store.name);
    Ok(Checked::new(
        stored,
        artifact.bytes,
        &artifact.sha256,
        &what,
    ))
}

/// Opens an artifact for reading: decrypted and decompressed. If the stored bytes are not those of
/// the manifest, or the bare stream is not the one that was captured, reading fails and never
/// simply ends.
pub fn open_artifact(
    fetched: &Fetched,
    artifact: &ManifestArtifact,
) -> Result<Box<dyn Read + Send>> {
    let object = format!("{} in store {}", artifact.key, fetched.store.name);
    let plain = match &artifact.snapshot {
        Some(snapshot) => fetched.store.snapshots()?.open_artifact(snapshot, artifact),
        None => open_object(fetched, artifact),
    };
    let plain = Box::new(Named {
        inner: plain.map_err(|error| named(&object, error))?,
        object,
    });
    let details = fetched.details.as_ref().ok();
    Ok(
        match details.and_then(|d| d.artifact(&artifact.source, &artifact.name)) {
            Some(known) => {
                let what = format!("{} of source {}", artifact.name, artifact.source);
                Box::new(Checked::new(plain, known.bytes, &known.sha256, &what))
            }
            None => plain,
        },
    )
}

/// Opens an artifact that is stored as an object: decrypted and decompressed.
fn open_object(fetched: &Fetched, artifact: &ManifestArtifact) -> Result<Box<dyn Read + Send>> {
    let stored = open_stored(fetched, artifact)?;
    let identities = match artifact.encrypt {
        Some(_) => fetched.store.identities()?,
        None => None,
    };
    let signer = artifact.openpgp_signer.as_deref();
    let identities = identities.map(|identities| identities.expecting(signer));
    let opened = archive::open(
        stored,
        &artifact.compress,
        artifact.encrypt.as_deref(),
        identities.as_ref(),
    );
    opened.map_err(|error| match (error.code, &identities) {
        // A damaged header looks like one sealed for another key.
        (Code::Decryption, Some(_)) => damage(fetched, artifact).unwrap_or(error),
        _ => error,
    })
}

/// Reads the stored bytes of an artifact and returns the error that they are damaged, if they are.
fn damage(fetched: &Fetched, artifact: &ManifestArtifact) -> Option<Error> {
    let mut stored = open_stored(fetched, artifact).ok()?;
    let read = io::copy(&mut stored, &mut io::sink());
    let error = Error::from_io(Code::Store, "it cannot be read", read.err()?);
    (error.code == Code::ObjectDamaged).then_some(error)
}

/// Adds the object's name to an error.
fn named(object: &str, error: Error) -> Error {
    if error.message.contains(object) {
        return error;
    }
    let message = format!("{object}: {}", error.message);
    Error { message, ..error }
}

/// A reader whose errors name the object that is read.
struct Named<R> {
    inner: R,
    object: String,
}

impl<R: Read> Read for Named<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            let error = Error::from_io(Code::Store, "it cannot be read to its end", error);
            match error.code {
                Code::Interrupted => error.into(),
                _ => named(&self.object, error).into(),
            }
        })
    }
}

/// A reader that at its end compares the bytes that passed with the expected size and hash.
struct Checked<R> {
    inner: Option<TapReader<R>>,
    bytes: u64,
    sha256: String,
    what: String,
}

impl<R: Read> Checked<R> {
    fn new(inner: R, bytes: u64, sha256: &str, what: &str) -> Self {
        Checked {
            inner: Some(TapReader::new(inner)),
            bytes,
            sha256: sha256.to_owned(),
            what: what.to_owned(),
        }
    }

    fn check(&mut self) -> io::Result<usize> {
        let Some(inner) = self.inner.take() else {
            return Ok(0);
        };
        let (_, tally) = inner.finish();
        if tally.bytes == self.bytes && tally.sha256 == self.sha256 {
            return Ok(0);
        }
        let cause = if tally.bytes == self.bytes {
            format!(
                "SHA-256 is {}, the manifest says {}",
                tally.sha256, self.sha256
            )
        } else {
            format!(
                "it has {} bytes, the manifest says {}",
                tally.bytes, self.bytes
            )
        };
        Err(
            Error::new(Code::ObjectDamaged, format!("{} is damaged", self.what))
                .cause(cause)
                .hint("use another copy (--store), and heal this one with `lifeboat copy`")
                .into(),
        )
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(inner) = &mut self.inner else {
            return Ok(0);
        };
        crate::cancel::check()?;
        match inner.read(buffer)? {
            0 if !buffer.is_empty() => self.check(),
            count => Ok(count),
        }
    }
}
