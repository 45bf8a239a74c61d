//! Checks every source, store, key and tool, and says what is unsafe and how to fix it.

mod locks;
mod space;

use crate::archive::{self, Expiry, Identities, KeyTemplate, Recipients};
use crate::condition::ConditionKind;
use crate::config::{SourceKind, StoreConfig, StoreKind};
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::exposure;
use crate::finding::{Finding, Severity};
use crate::given;
use crate::ownership;
use crate::place::aside;
use crate::posture::{self, owners::Owners};
use crate::resolve::resolve;
use crate::restore::leftovers::{self, Leftover};
use crate::restoring::{self, Restore};
use crate::runbook;
use crate::scratch;
use crate::secret::Scrubber;
use crate::shell::quote;
use crate::snapshot;
use crate::source::{self, CaptureContext};
use crate::status;
use crate::stores::OpenStore;
use crate::survey::{self, Survey};
use crate::wrong_clock;
use std::collections::{BTreeSet, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Returns all findings, good and bad.
pub fn examine(context: &Context) -> Vec<Finding> {
    let mut findings = context.config.check();
    findings.extend(state(context));
    findings.extend(keys(context));
    findings.extend(to_people(context));
    let owners = Owners::of_stores(context);
    findings.extend(sources(context, &owners));
    findings.extend(stores(context, &owners));
    findings.extend(posture::independence(context, Some(&owners)));
    match survey::survey(context, false) {
        Ok(survey) => {
            findings.extend(missing(&survey));
            let buckets = posture::examine(context, &survey, &[], false).unwrap_or_default();
            // `lifeboat posture` says what is as it should be, too.
            let wrong = buckets
                .into_iter()
                .filter(|found| found.severity != Severity::Ok);
            findings.extend(wrong);
            findings.extend(space::examine(context, &survey.copies));
            let wrong = runbook::check_all(context, survey.copies.iter());
            findings.extend(wrong.iter().map(|error| failed("instructions", error)));
            let ahead = survey.ahead(context);
            findings.extend(wrong_clock::clock_findings(context.clock.now(), &ahead));
            findings.extend(
                status::overdue(context, &survey)
                    .into_iter()
                    .map(|(plan, text)| Finding {
                        hint: Some(format!(
                            "run `lifeboat backup {plan}`, and see that it runs by itself"
                        )),
                        ..finding(&format!("plan.{plan}"), Severity::Warning, text)
                    }),
            );
        }
        Err(error) => findings.push(failed("app.state", &error)),
    }
    findings
}

/// Returns what a runner looks at from time to time, and somebody should be told of: keys that
/// expire, disks that fill up, stores that others of this host can enter, and buckets that are not what
/// they should be.
pub fn watch(context: &Context) -> Vec<Finding> {
    let (mut findings, mut copies) = (Vec::new(), Vec::new());
    for (name, config) in &context.config.store {
        let subject = format!("store.{name}");
        let open = open_to_others(&subject, config);
        findings.extend(open.map(|finding| finding.of_kind(ConditionKind::Posture)));
        // One that cannot be opened is told of by itself.
        if let Ok(store) = context.stores.open(name) {
            findings.extend(recipients(&subject, &store, context.clock.now()));
            findings.extend(locks::examine(&subject, &store));
            // The runner has just asked the store: what is noted of it is enough.
            let noted = context.state.catalog.copies(&store.store.location());
            let noted = noted.unwrap_or_default().into_iter();
            copies.extend(noted.map(|copy| (name.clone(), copy)));
        }
    }
    let app = &context.config.app;
    copies.retain(|(_, copy)| {
        let (is, environment) = (&copy.manifest.app, &copy.manifest.environment);
        (is, environment) == (&app.name, &app.environment)
    });
    findings.extend(space::examine(context, &copies));
    findings.extend(posture::watch(context, &|| survey::survey(context, false)));
    findings.retain(|finding| finding.kind.is_some() && finding.severity != Severity::Ok);
    findings
}

fn finding(subject: &str, severity: Severity, message: impl Into<String>) -> Finding {
    Finding::new(subject, severity, message, None)
}

fn failed(subject: &str, error: &Error) -> Finding {
    Finding::new(
        subject,
        Severity::Error,
        error.to_string(),
        error.hint.clone(),
    )
}

/// Reports lost points and unreadable manifests. Stores that cannot be read are reported elsewhere.
fn missing(survey: &Survey) -> Vec<Finding> {
    let gone = survey.missing.iter().map(|lost| Finding {
        hint: Some(survey.missing_hint(&lost.store, &lost.copy.manifest.point)),
        ..finding(
            &format!("store.{}", lost.store),
            Severity::Error,
            lost.text(),
        )
    });
    let unread = survey.unread.iter().filter(|unread| unread.point.is_some());
    let unread = unread.map(|unread| failed(&format!("store.{}", unread.store), &unread.error));
    gone.chain(unread).collect()
}

/// Reports what other users can do with the configuration and read in the state directory, and what
/// is unencrypted on this host and should not be.
fn state(context: &Context) -> Vec<Finding> {
    let hinted = |subject: &str, severity, message: String, hint| Finding {
        hint: Some(hint),
        ..finding(subject, severity, message)
    };
    let mut findings = Vec::new();
    if let Some(fault) = ownership::exposed(&context.config.origin) {
        findings.push(hinted(
            "configuration",
            Severity::Error,
            format!("others can change it, and with it what runs as this user: {fault}"),
            format!("run `{}`", fault.mend()),
        ));
    }
    let state = &context.config.app.state;
    let mode = std::fs::metadata(state).map_or(0, |metadata| metadata.mode());
    if mode & 0o077 != 0 {
        findings.push(hinted(
            "app.state",
            Severity::Warning,
            format!(
                "others can enter {}, where names of what was backed up are in clear",
                state.display()
            ),
            format!("run `chmod 700 {}`", quote(&state.to_string_lossy())),
        ));
    }
    findings.extend(context.sweep().iter().map(|stays| {
        hinted(
            "app.state",
            Severity::Warning,
            format!("what a run that was killed had restored is there in clear: {stays}"),
            format!(
                "look why, then run `rm -rf {}`",
                quote(&stays.path.to_string_lossy())
            ),
        )
    }));
    findings.extend(interrupted(context));
    findings.extend(leftovers::find(context).iter().map(|left| {
        hinted(
            &format!("source.{}", left.source),
            Severity::Warning,
            left.to_string(),
            left.hint().to_owned(),
        )
    }));
    findings
}

/// Restores that were interrupted while something of them was live.
fn interrupted(context: &Context) -> Vec<Finding> {
    let subject = "app.restores";
    match restoring::all::<Restore>(&context.state) {
        Ok(all) => {
            let all = all.into_iter().filter(Restore::is_interrupted);
            all.map(|restore| {
                let error = restore.interrupted();
                Finding::new(subject, Severity::Error, error.message, error.hint)
            })
            .collect()
        }
        Err(error) => vec![Finding::new(
            subject,
            Severity::Error,
            error.to_string(),
            error.hint,
        )],
    }
}

fn keys(context: &Context) -> Vec<Finding> {
    let mut findings = Vec::new();
    let signer = format!(
        "manifests and evidence are signed by {}",
        context.state.signer.id()
    );
    findings.push(finding("app.signing_key", Severity::Ok, signer));
    if context.config.app.signing_key.is_none() {
        findings.push(Finding {
            hint: Some(
                "keep a copy elsewhere: lifeboat kit export -o FILE --passphrase env:NAME".into(),
            ),
            ..finding(
                "app.signing_key",
                Severity::Warning,
                "the signing key was made here and is only in the state directory",
            )
        });
    }
    let templates = context
        .config
        .store
        .iter()
        .map(|(n, s)| (format!("store.{n}.key"), Some(&s.key)));
    let own = context
        .config
        .source
        .iter()
        .map(|(n, s)| (format!("source.{n}.key"), s.key.as_ref()));
    for (subject, template) in templates.chain(own) {
        if let Some(Err(error)) = template.map(|t| KeyTemplate::parse(t)) {
            findings.push(failed(&subject, &error));
        }
    }
    findings
}

/// Reports secrets of channels and pings that are not there.
fn to_people(context: &Context) -> Vec<Finding> {
    let channels = context.config.notify.iter().flat_map(|(name, channel)| {
        let secrets = channel.kind.secrets().into_iter();
        secrets.map(move |(_, reference)| (format!("notify.{name}"), reference))
    });
    let pings = context.config.ping.iter();
    let pings = pings.map(|(name, ping)| (format!("ping.{name}"), &ping.url));
    let findings = channels.chain(pings).filter_map(|(subject, reference)| {
        let error = resolve(reference).err()?;
        Some(failed(&subject, &error))
    });
    findings.collect()
}

fn sources(context: &Context, owners: &Owners) -> Vec<Finding> {
    let mut findings = Vec::new();
    let scratch = match scratch::Directory::create(&context.state.scratch(), "doctor") {
        Ok(scratch) => scratch,
        Err(error) => return vec![failed("app.state", &error)],
    };
    let capture_context = CaptureContext {
        render: &|template| Ok(template.to_owned()),
        scratch: scratch.path(),
        scrubber: &context.scrubber,
        reporter: &context.reporter,
        queries: &[],
    };
    let told = leftovers::find(context);
    for (name, config) in &context.config.source {
        let subject = format!("source.{name}");
        context.reporter.step(&subject, None);
        if let SourceKind::Bucket(bucket) = &config.kind {
            findings.extend(owners.shared(context, &subject, bucket));
        }
        findings.extend(set_aside(&subject, &config.kind, &told));
        match source::open(&config.kind) {
            Ok(source) => {
                let examined = source.examine(&subject, &capture_context);
                let answers = examined.iter().all(|f| f.severity < Severity::Error);
                findings.extend(examined);
                if answers {
                    findings.extend(restore_rights(&context.scrubber, &subject, &config.kind));
                }
            }
            Err(error) => findings.push(failed(&subject, &error)),
        }
    }
    findings
}

/// Reports rights that a live restore of a database would lack.
fn restore_rights(scrubber: &Scrubber, subject: &str, kind: &SourceKind) -> Option<Finding> {
    let database = source::live_database(kind)?;
    let rights = database.and_then(|database| database.restore_rights(scrubber));
    Some(match rights {
        Err(error) => Finding {
            severity: Severity::Warning,
            ..failed(subject, &error)
        },
        Ok(rights) => match rights.lack() {
            None => finding(
                subject,
                Severity::Ok,
                format!("{} may restore it live", rights.account),
            ),
            Some(lack) => Finding {
                hint: Some(rights.remedy()),
                ..finding(subject, Severity::Warning, lack)
            },
        },
    })
}

/// Reports what other users of this host can do with a local store.
fn open_to_others(subject: &str, config: &StoreConfig) -> Option<Finding> {
    let StoreKind::Local(local) = &config.kind else {
        return None;
    };
    let path = quote(&local.path.to_string_lossy());
    if let Some(fault) = ownership::exposed(&local.path) {
        let message =
            format!("others can change what is stored, or put another in its place: {fault}");
        return Some(Finding {
            hint: Some(format!("run `{}`", fault.mend())),
            ..finding(subject, Severity::Warning, message)
        });
    }
    let found = std::fs::metadata(&local.path).ok()?;
    (found.is_dir() && found.mode() & 0o077 != 0).then(|| Finding {
        hint: Some(format!("run `chmod 700 {path}`")),
        ..finding(
            subject,
            Severity::Warning,
            "others can enter it, and see what is there and when it came",
        )
    })
}

/// Reports what restores set aside beside the paths of a source and is still there, except what
/// `told` already names.
fn set_aside(subject: &str, kind: &SourceKind, told: &[Leftover]) -> Vec<Finding> {
    let left: BTreeSet<PathBuf> = kind.roots().into_iter().flat_map(aside::left).collect();
    let is_told = |path: &PathBuf| told.iter().any(|left| left.path() == Some(path));
    let untold = left.into_iter().filter(|path| !is_told(path));
    let findings = untold.map(|path| Finding {
        hint: Some(
            "see which restore keeps it, and let it go with that: lifeboat restores list; no backup takes it"
                .into(),
        ),
        ..finding(
            subject,
            Severity::Warning,
            format!(
                "{} was set aside by a restore and is still there",
                path.display()
            ),
        )
    });
    findings.collect()
}

fn stores(context: &Context, owners: &Owners) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, config) in &context.config.store {
        let subject = format!("store.{name}");
        context.reporter.step(&subject, None);
        let store = match context.stores.open(name) {
            Ok(store) => store,
            Err(error) => {
                findings.push(failed(&subject, &error));
                continue;
            }
        };
        match store.store.probe() {
            Ok(()) => {
                let message = format!(
                    "{} takes objects and gives them back",
                    store.store.location()
                );
                findings.push(finding(&subject, Severity::Ok, message));
                findings.extend(exposure::examine(context, &subject, &store));
                findings.extend(owners.of_store(&subject, name));
                findings.extend(open_to_others(&subject, config));
                findings.extend(locks::examine(&subject, &store));
            }
            Err(error) => findings.push(failed(&subject, &error.into())),
        }
        findings.extend(recipients(&subject, &store, context.clock.now()));
        match store.identities().and_then(check_gpg) {
            Ok(_) if config.is_repository() => {
                findings.push(repository(&subject, &store));
                findings.extend(orphans(context, &subject, &store));
            }
            Ok(Some(identities)) => findings.extend(key_fits(&subject, &store, &identities)),
            Ok(None) if config.encrypt.is_none() => findings.push(Finding {
                hint: Some(
                    "add encrypt = { age = [\"age1…\"] }, with the private key kept elsewhere"
                        .into(),
                ),
                ..finding(
                    &subject,
                    Severity::Warning,
                    "what it holds is not encrypted",
                )
            }),
            Ok(None) => {}
            Err(error) => findings.push(failed(&subject, &error)),
        }
    }
    findings
}

/// Reports whether the private key of a store opens what is encrypted for it. An unusable public
/// key is reported elsewhere.
fn key_fits(subject: &str, store: &OpenStore, identities: &Identities) -> Option<Finding> {
    let sealing = &store.sealing;
    if sealing.recipients.is_none() {
        return Some(finding(
            subject,
            Severity::Ok,
            "its decryption key can be read",
        ));
    }
    sealing.usable().ok()?;
    Some(match archive::rehearse(sealing, identities) {
        Ok(()) => finding(subject, Severity::Ok, "its decryption key opens what is encrypted for it"),
        Err(error) if error.code == Code::Decryption => Finding {
            hint: Some(
                "let `decrypt` name the private key of one of the public keys in `encrypt`: nothing that is backed up now could be drilled or restored with this one"
                    .into(),
            ),
            ..finding(
                subject,
                Severity::Error,
                format!("its decryption key does not open what is encrypted for it: {error}"),
            )
        },
        Err(error) => failed(subject, &error),
    })
}

/// Reports whether the repository of a store opens.
fn repository(subject: &str, store: &OpenStore) -> Finding {
    match store
        .snapshots()
        .and_then(|snapshots| snapshots.repository())
    {
        Ok(_) => finding(
            subject,
            Severity::Ok,
            "its repository opens with the password",
        ),
        Err(error) if error.code == Code::ObjectMissing => finding(
            subject,
            Severity::Ok,
            "it has no repository yet: the first backup makes one",
        ),
        Err(error) => failed(subject, &error),
    }
}

/// Reports orphans: snapshots of points that were never committed, which only take space.
fn orphans(context: &Context, subject: &str, store: &OpenStore) -> Option<Finding> {
    let named = || -> Result<HashSet<String>> {
        let (copies, errors) = context.state.catalog.sync(store)?;
        // An unreadable manifest may name any snapshot.
        errors.into_iter().next().map_or(Ok(()), Err)?;
        let artifacts = copies.iter().flat_map(|c| &c.manifest.artifacts);
        let mut named: HashSet<String> = artifacts.filter_map(|a| a.snapshot.clone()).collect();
        named.extend(copies.iter().map(|c| c.manifest.details.sha256.clone()));
        Ok(named)
    };
    let plans = &context.config.plan;
    let now = context.clock.now();
    let found = store
        .snapshots()
        .and_then(|snapshots| snapshots.orphans(|plan| plans.contains_key(plan), named, now))
        .ok()
        .filter(|found| !found.is_empty())?;
    let points: BTreeSet<&str> = found.iter().map(|u| u.point.as_str()).collect();
    let points: Vec<&str> = points.into_iter().collect();
    let ids: Vec<String> = found.iter().map(|u| u.snapshot.short()).collect();
    let have = match found.len() {
        1 => "a snapshot that no manifest names, of point".to_owned(),
        count => format!("{count} snapshots that no manifest names, of points"),
    };
    let (ids, place) = (ids.join(" "), place(&store.config));
    Some(Finding {
        hint: Some(format!(
            "a backup was killed before its end, or a manifest was lost; unless it is wanted still: lifeboat repo forget {ids} {place}, then lifeboat repo prune {place}"
        )),
        ..finding(
            subject,
            Severity::Warning,
            format!("its repository has {have} {}", points.join(", ")),
        )
    })
}

/// Options of `lifeboat repo` that name the repository of a store.
fn place(config: &StoreConfig) -> String {
    let name = snapshot::PREFIX.trim_end_matches('/');
    let url = match &config.kind {
        StoreKind::Local(local) => local.path.join(name).to_string_lossy().into_owned(),
        kind => {
            let url = given::url_of(kind);
            match url.split_once('?') {
                Some((place, query)) => format!("{place}/{name}?{query}"),
                None => format!("{url}/{name}"),
            }
        }
    };
    let password = config.password.as_ref().map(|reference| {
        let reference = quote(&reference.to_string());
        format!(" --password {reference}")
    });
    let password = password.unwrap_or_default();
    format!("--repo {}{password}", quote(&url))
}

/// Time before the expiry of a key at which the doctor warns.
const EXPIRY_NOTICE: jiff::SignedDuration = jiff::SignedDuration::from_hours(30 * 24);

/// Reports OpenPGP keys that cannot encrypt or sign, or soon will not.
fn recipients(subject: &str, store: &OpenStore, now: jiff::Timestamp) -> Vec<Finding> {
    if let Err(error) = store.sealing.usable() {
        return vec![failed(subject, &error).of_kind(ConditionKind::Expiring)];
    }
    let Some(Recipients::OpenPgp(keys)) = &store.sealing.recipients else {
        return Vec::new();
    };
    let mut findings: Vec<Finding> = keys
        .expiring(now, EXPIRY_NOTICE)
        .into_iter()
        .map(|expiry| expires(subject, expiry))
        .collect();
    if let Some(signer) = &store.sealing.signer {
        let by = signer.fingerprint().unwrap_or_default();
        let message = format!("what it holds is signed inside by OpenPGP key {by}");
        findings.push(finding(subject, Severity::Ok, message));
        let expiry = signer.expiring(now, EXPIRY_NOTICE);
        findings.extend(expiry.map(|expiry| expires(subject, &expiry)));
    }
    findings
}

fn expires(subject: &str, expiry: &Expiry) -> Finding {
    Finding {
        hint: Some(format!(
            "extend it (gpg --quick-set-expire {} 2y) and export it again before then; backups to this store fail afterwards",
            expiry.fingerprint
        )),
        ..finding(
            subject,
            Severity::Warning,
            format!(
                "{} expires on {}",
                expiry.key,
                expiry.at.strftime("%Y-%m-%d")
            ),
        )
    }
    .of_kind(ConditionKind::Expiring)
}

/// Checks that the user's `gpg` has a key at all; other keys were checked when they were read.
fn check_gpg(identities: Option<Identities>) -> Result<Option<Identities>> {
    if let Some(gpg) = identities.as_ref().and_then(Identities::gpg) {
        gpg.examine()?;
    }
    Ok(identities)
}
