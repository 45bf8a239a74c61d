//! Things that must not lie together: secrets and unencrypted stores, secrets and data, a store and
//! what it backs up.

use super::{Entry, Gravity, Issue, covers, disk, settled};
use crate::config::{Config, LocalConfig, S3Config, SourceKind, StoreConfig, StoreKind};
use crate::name::Name;

/// A sensitive source goes only to stores that encrypt.
pub(super) fn sensitive(config: &Config, issues: &mut Vec<Issue>) {
    for (plan, source, store) in routes(config) {
        let in_clear = config
            .store
            .get(store)
            .is_some_and(|s| s.encrypt.is_none() && !s.is_repository());
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
            let (gravity, place) = match shared_place(one, two, on_disk) {
                Some(place) => (Gravity::Refused, place),
                None if on_disk && one_disk(one, two) => (Gravity::Error, "disk"),
                None if may_share_bucket(one, two) => {
                    issues.push(same_name(plan, source, store, other_store));
                    continue;
                }
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

fn same_name(plan: &str, source: &str, store: &str, other: &str) -> Issue {
    let message = format!(
        "source {source:?} must be kept separate, and stores {store:?} and {other:?} name a bucket alike at two endpoints, which may be one server"
    );
    Issue::new(Gravity::Warning, format!("plan.{plan}"), "stores", message)
        .hint("make sure that they are two servers, or give one bucket another name")
}

/// Every route of a source to a store: plan, source, store.
pub(super) fn routes(config: &Config) -> impl Iterator<Item = (&str, &str, &str)> {
    config.plan.iter().flat_map(|(name, plan)| {
        plan.sources.iter().flat_map(move |source| {
            let stores = plan.stores.iter();
            stores.map(move |store| (name.as_str(), source.as_str(), store.as_str()))
        })
    })
}

/// Common ground of two stores, if any: a bucket under whatever prefixes, or directories one of
/// which contains the other.
fn shared_place(one: &StoreConfig, two: &StoreConfig, on_disk: bool) -> Option<&'static str> {
    match (&one.kind, &two.kind) {
        (StoreKind::S3(one), StoreKind::S3(two)) => {
            (bucket(one) == bucket(two)).then_some("bucket")
        }
        (StoreKind::Sftp(one), StoreKind::Sftp(two)) => {
            (one.host == two.host && one.port == two.port).then_some("host")
        }
        (StoreKind::Local(one), StoreKind::Local(two)) => {
            let (one, two) = (settled(&one.path, on_disk), settled(&two.path, on_disk));
            (one.starts_with(&two) || two.starts_with(&one)).then_some("directory")
        }
        _ => None,
    }
}

/// Returns whether two stores use buckets of one name at two endpoints, which may be names of one
/// server.
fn may_share_bucket(one: &StoreConfig, two: &StoreConfig) -> bool {
    match (&one.kind, &two.kind) {
        (StoreKind::S3(one), StoreKind::S3(two)) => one.bucket == two.bucket,
        _ => false,
    }
}

/// The server and the name of a bucket.
fn bucket(s3: &S3Config) -> (String, &str) {
    (server(s3.server.endpoint.as_deref()), &s3.bucket)
}

/// The host of an endpoint, in one form for all known names of one server: scheme and port do not
/// matter, Amazon's regions share their bucket names, and this host has several names.
fn server(endpoint: Option<&str>) -> String {
    let Some(endpoint) = endpoint else {
        return AMAZON.to_owned();
    };
    let rest = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let of_amazon = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];
    if of_amazon.iter().any(|domain| host.ends_with(domain)) {
        return AMAZON.to_owned();
    }
    match host.as_str() {
        "localhost" | "::1" | "0.0.0.0" => LOOPBACK.to_owned(),
        address if address.starts_with("127.") => LOOPBACK.to_owned(),
        _ => host,
    }
}

const AMAZON: &str = "Amazon";
const LOOPBACK: &str = "127.0.0.1";

fn directory(local: &LocalConfig) -> std::path::PathBuf {
    settled(&local.path, false)
}

fn one_disk(one: &StoreConfig, two: &StoreConfig) -> bool {
    match (&one.kind, &two.kind) {
        (StoreKind::Local(one), StoreKind::Local(two)) => disk::shared(&one.path, &two.path),
        _ => false,
    }
}

/// Reports stores in the same place, which would overwrite each other's points.
pub(super) fn same_place(config: &Config, issues: &mut Vec<Issue>) {
    let place = |store: &StoreConfig| match &store.kind {
        StoreKind::Local(local) => directory(local).display().to_string(),
        StoreKind::Sftp(sftp) => {
            let port = sftp.port.unwrap_or(22);
            let path = sftp.path.to_string_lossy();
            format!("sftp {}:{port} {}", sftp.host, path.trim_end_matches('/'))
        }
        StoreKind::S3(s3) => {
            let prefix = s3.prefix.as_deref().unwrap_or_default();
            // Two ports of a host count as two servers here, so that nothing that may work is
            // refused.
            let endpoint = s3.server.endpoint.as_deref().unwrap_or_default();
            format!(
                "s3 {} {} {}",
                endpoint.trim_end_matches('/'),
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

/// Reports a bucket that is mirrored into itself, or with the keys of a store that keeps its
/// copies.
pub(super) fn mirrors_into_itself(config: &Config, issues: &mut Vec<Issue>) {
    for (plan, source, store) in routes(config) {
        let (Some(from), Some(to)) = (config.source.get(source), config.store.get(store)) else {
            continue;
        };
        let (SourceKind::Bucket(from), StoreKind::S3(to)) = (&from.kind, &to.kind) else {
            continue;
        };
        let subject = format!("plan.{plan}");
        // Two ports of a host count as two servers here, so that nothing that may work is refused.
        let endpoint = |endpoint: &Option<String>| {
            let endpoint = endpoint.as_deref().unwrap_or_default();
            endpoint.trim_end_matches('/').to_owned()
        };
        if endpoint(&from.server.endpoint) == endpoint(&to.server.endpoint)
            && from.bucket == to.bucket
        {
            let message = format!(
                "source {source:?} is the bucket {:?} that store {store:?} is in: what destroys the one destroys the other",
                from.bucket
            );
            let issue = Issue::refused(subject, "stores", message);
            issues
                .push(issue.hint("mirror it into another bucket, of another account if possible"));
        } else if from.server.has_same_credentials(&to.server) {
            let message = format!(
                "source {source:?} and store {store:?} have the same credentials: whoever gets hold of them can destroy the objects and their copies"
            );
            let issue = Issue::new(Gravity::Warning, subject, "stores", message);
            issues.push(issue.hint(
                "give the source a key that may only list and get, and the store one that may only put, list and get",
            ));
        }
    }
}

/// Reports a store or the state directory inside a files source.
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

fn local<'a>((name, store): (&'a Name, &'a StoreConfig)) -> Option<(&'a str, &'a LocalConfig)> {
    match &store.kind {
        StoreKind::Local(local) => Some((name, local)),
        StoreKind::S3(_) | StoreKind::Sftp(_) => None,
    }
}
