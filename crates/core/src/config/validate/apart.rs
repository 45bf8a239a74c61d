//! What must not lie together: secrets and stores in clear, secrets and data, a store and what it
//! backs up.

use super::{Entry, Gravity, Issue, covers, settled};
use crate::config::{Config, LocalConfig, S3Config, SourceKind, StoreConfig, StoreKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A sensitive source goes only to stores that encrypt.
pub(super) fn sensitive(config: &Config, issues: &mut Vec<Issue>) {
    for (plan, source, store) in routes(config) {
        let in_clear = config.store.get(store).is_some_and(|s| s.encrypt.is_none());
        let is_sensitive = config.source.get(source).is_some_and(|s| s.sensitive);
        if in_clear && is_sensitive {
            let message = format!(
                "source {source:?} is sensitive, and store {store:?}, where this plan puts it, does not encrypt"
            );
            let issue = Issue::refused(format!("plan.{plan}"), "sources", message);
            issues.push(issue.hint(format!(
                "add encrypt = {{ age = [\"age1…\"] }} to [store.{store}], or give {source} a plan with stores that encrypt"
            )));
        }
    }
}

/// A separate source goes only to stores whose bucket or disk receives nothing else.
pub(super) fn separate(config: &Config, on_disk: bool, issues: &mut Vec<Issue>) {
    let is_separate = |source: &str| config.source.get(source).is_some_and(|s| s.separate);
    for (plan, source, store) in routes(config).filter(|(_, source, _)| is_separate(source)) {
        let others = routes(config).filter(|(_, other, _)| !is_separate(other));
        for (other_plan, other, other_store) in others {
            let (Some(one), Some(two)) = (config.store.get(store), config.store.get(other_store))
            else {
                continue;
            };
            let (gravity, place) = match together(one, two) {
                Some(place) => (Gravity::Refused, place),
                None if on_disk && one_disk(one, two) => (Gravity::Error, "disk"),
                None => continue,
            };
            let message = format!(
                "source {source:?} must be kept separate, and the {place} of store {store:?} also receives {other:?} (plan {other_plan:?}, store {other_store:?})"
            );
            let issue = Issue::new(gravity, format!("plan.{plan}"), "stores", message);
            issues.push(issue.hint(format!(
                "give {source} a plan of its own, with a store on another bucket or disk"
            )));
            break;
        }
    }
}

/// Every way a source takes to a store: plan, source, store.
pub(super) fn routes(config: &Config) -> impl Iterator<Item = (&str, &str, &str)> {
    config.plan.iter().flat_map(|(name, plan)| {
        plan.sources.iter().flat_map(move |source| {
            let stores = plan.stores.iter();
            stores.map(move |store| (name.as_str(), source.as_str(), store.as_str()))
        })
    })
}

/// What two stores share, if anything: a bucket whatever the prefix, or directories one in the
/// other.
fn together(one: &StoreConfig, two: &StoreConfig) -> Option<&'static str> {
    match (&one.kind, &two.kind) {
        (StoreKind::S3(one), StoreKind::S3(two)) => {
            (bucket(one) == bucket(two)).then_some("bucket")
        }
        (StoreKind::Local(one), StoreKind::Local(two)) => {
            let (one, two) = (directory(one), directory(two));
            (one.starts_with(&two) || two.starts_with(&one)).then_some("directory")
        }
        _ => None,
    }
}

fn bucket(s3: &S3Config) -> (&str, &str) {
    let endpoint = s3.endpoint.as_deref().unwrap_or_default();
    (endpoint.trim_end_matches('/'), &s3.bucket)
}

fn directory(local: &LocalConfig) -> std::path::PathBuf {
    settled(&local.path, false)
}

fn one_disk(one: &StoreConfig, two: &StoreConfig) -> bool {
    match (&one.kind, &two.kind) {
        (StoreKind::Local(one), StoreKind::Local(two)) => {
            device(&one.path).is_some_and(|device_one| Some(device_one) == device(&two.path))
        }
        _ => false,
    }
}

/// The file system of a path, or of the directory that it will be made in.
fn device(path: &Path) -> Option<u64> {
    let metadata = path.ancestors().find_map(|path| path.metadata().ok());
    metadata.map(|metadata| metadata.dev())
}

/// Two stores in one place would overwrite each other's points.
pub(super) fn same_place(config: &Config, issues: &mut Vec<Issue>) {
    let place = |store: &StoreConfig| match &store.kind {
        StoreKind::Local(local) => directory(local).display().to_string(),
        StoreKind::S3(s3) => {
            let prefix = s3.prefix.as_deref().unwrap_or_default();
            format!(
                "s3 {} {} {}",
                bucket(s3).0,
                s3.bucket,
                prefix.trim_matches('/')
            )
        }
    };
    for (name, store) in &config.store {
        let earlier = config
            .store
            .iter()
            .take_while(|(earlier, _)| *earlier != name);
        for (other, _) in earlier.filter(|(_, other)| place(other) == place(store)) {
            let message = format!("it is the same place as store {other:?}");
            let issue = Issue::refused(format!("store.{name}"), "", message);
            issues.push(issue.hint("give each store its own path, bucket or prefix"));
        }
    }
}

/// A bucket that is mirrored into itself, or with the keys that its copies are kept by.
pub(super) fn mirrors_into_itself(config: &Config, issues: &mut Vec<Issue>) {
    for (plan, source, store) in routes(config) {
        let (Some(from), Some(to)) = (config.source.get(source), config.store.get(store)) else {
            continue;
        };
        let (SourceKind::Bucket(from), StoreKind::S3(to)) = (&from.kind, &to.kind) else {
            continue;
        };
        let endpoint = from.endpoint.as_deref().unwrap_or_default();
        let subject = format!("plan.{plan}");
        if (endpoint.trim_end_matches('/'), from.bucket.as_str()) == bucket(to) {
            let message = format!(
                "source {source:?} is the bucket {:?} that store {store:?} is in: what destroys the one destroys the other",
                from.bucket
            );
            let issue = Issue::refused(subject, "stores", message);
            issues
                .push(issue.hint("mirror it into another bucket, of another account if possible"));
        } else if from.access_key == to.access_key {
            let message = format!(
                "source {source:?} and store {store:?} have the same access key: whoever gets hold of it can destroy the objects and their copies"
            );
            let issue = Issue::new(Gravity::Warning, subject, "stores", message);
            issues.push(issue.hint(
                "give the source a key that may only list and get, and the store one that may only put, list and get",
            ));
        }
    }
}

/// A store, or the state directory, that a files source captures.
pub(super) fn backs_itself_up(config: &Config, on_disk: bool, issues: &mut Vec<Issue>) {
    for (name, files) in config.files_sources() {
        for (store, local) in config.store.iter().filter_map(local) {
            if covers(files, &local.path, Entry::Directory, on_disk) {
                let path = local.path.display();
                let message = format!(
                    "it contains {path}, which is store {store:?}: each backup would back up those before it"
                );
                let issue = Issue::refused(format!("source.{name}"), "", message);
                issues.push(issue.hint(format!("add \"{path}\" to exclude, or move the store")));
            }
        }
        if covers(files, &config.app.state, Entry::Directory, on_disk) {
            let path = config.app.state.display();
            let message = format!(
                "it contains {path}, the state directory, which changes during every backup and is rebuilt from the stores"
            );
            let issue = Issue::new(Gravity::Warning, format!("source.{name}"), "", message);
            issues.push(issue.hint(format!("add \"{path}\" to exclude")));
        }
    }
}

fn local<'a>((name, store): (&'a String, &'a StoreConfig)) -> Option<(&'a str, &'a LocalConfig)> {
    match &store.kind {
        StoreKind::Local(local) => Some((name, local)),
        StoreKind::S3(_) => None,
    }
}
