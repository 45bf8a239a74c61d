//! Checks of shape: names that must exist, lists that must not be empty, keys that exclude each
//! other.

use super::{Issue, buckets, machines};
use crate::archive::AgeRecipients;
use crate::compress::Compress;
use crate::config::places::did_you_mean;
use crate::config::{
    BucketConfig, Check, CheckConfig, CommandConfig, Config, DecryptConfig, EncryptConfig,
    FilesConfig, KEY_DEFAULT, Keep, PlaceConfig, PlanConfig, Reach, ServerConfig, SftpConfig,
    SignConfig, SourceKind, StoreConfig, StoreKind,
};
use crate::kind::Kind;
use crate::name::Name;
use crate::span::Span;
use crate::transport::{Via, is_name};
use std::collections::BTreeMap;

pub(super) fn sources(config: &Config, issues: &mut Vec<Issue>) {
    for (name, source) in &config.source {
        let subject = format!("source.{name}");
        match &source.kind {
            SourceKind::Files(files) => files_source(&subject, files, issues),
            SourceKind::Postgres(postgres) => server_source(&subject, &postgres.server, issues),
            SourceKind::Mariadb(server) | SourceKind::Mysql(server) => {
                server_source(&subject, server, issues);
                named_database(&subject, server, issues);
            }
            SourceKind::Command(command) => {
                command_source(&subject, command, issues);
                remote(&subject, &command.place, issues);
            }
            SourceKind::Bucket(bucket) => bucket_source(&subject, bucket, issues),
            SourceKind::Lightsail(lightsail) => {
                buckets::credentials(&subject, &lightsail.account.server(), issues);
                machines::lightsail(&subject, lightsail, issues);
            }
            SourceKind::Ec2(ec2) => {
                buckets::credentials(&subject, &ec2.account.server(), issues);
                machines::ec2(&subject, ec2, issues);
            }
            SourceKind::External(external) => {
                machines::external(&subject, external, issues);
                remote(&subject, &external.place, issues);
            }
            SourceKind::Sqlite(_) => {}
        }
    }
}

fn bucket_source(subject: &str, bucket: &BucketConfig, issues: &mut Vec<Issue>) {
    buckets::credentials(subject, &bucket.server, issues);
    if bucket.bucket.is_empty() || bucket.bucket.contains('/') {
        let message = format!("{:?} is no bucket", bucket.bucket);
        let issue = Issue::refused(subject, "bucket", message);
        issues.push(issue.hint("write its name alone; a path within it is its prefix"));
    }
    if !(1..=64).contains(&bucket.parallel) {
        let message = format!("{} requests at a time are not possible", bucket.parallel);
        let issue = Issue::refused(subject, "parallel", message);
        issues.push(issue.hint("use a number from 1 to 64"));
    }
    if let Err(error) = bucket.excludes() {
        let message = error.to_string();
        issues.push(
            Issue::refused(subject, "exclude", message)
                .hint("write a glob over whole keys: tmp/**"),
        );
    }
}

fn files_source(subject: &str, files: &FilesConfig, issues: &mut Vec<Issue>) {
    if files.paths.is_empty() && files.optional.is_empty() {
        let issue = Issue::refused(subject, "paths", "it names nothing to back up");
        issues.push(issue.hint("add paths = [\"/…\"]"));
    }
}

fn server_source(subject: &str, server: &ServerConfig, issues: &mut Vec<Issue>) {
    let parts = [
        ("host", server.host.is_some()),
        ("port", server.port.is_some()),
        ("socket", server.socket.is_some()),
        ("user", server.user.is_some()),
        ("password", server.password.is_some()),
        ("database", server.database.is_some()),
    ];
    let hosts = server.host.is_some() && server.socket.is_some();
    database_source(subject, server.url.is_some(), &parts, hosts, issues);
    let parts = [
        ("host", server.host.as_ref()),
        ("user", server.user.as_ref()),
        ("database", server.database.as_ref()),
    ];
    server_parts(subject, parts, issues);
    remote(subject, &server.place, issues);
}

/// Requires the name of a database: PostgreSQL takes an empty name for that of the role.
fn named_database(subject: &str, server: &ServerConfig, issues: &mut Vec<Issue>) {
    if server.database.as_ref().is_some_and(String::is_empty) {
        let issue = Issue::refused(subject, "database", "it is empty");
        issues.push(issue.hint("write the database's name, or remove the key"));
    }
}

/// Requires either a URL or parts that include the database, and not both `host` and `socket`.
fn database_source(
    subject: &str,
    url: bool,
    parts: &[(&str, bool)],
    two_places: bool,
    issues: &mut Vec<Issue>,
) {
    let part = parts.iter().find(|(_, given)| *given).map(|(key, _)| *key);
    let named = parts.contains(&("database", true));
    let refused = |at: &str, message: &str| Issue::refused(subject, at, message);
    match (url, part) {
        (true, Some(part)) => issues.push(
            refused(part, "it is given beside url").hint("give the url, or its parts, not both"),
        ),
        (false, _) if !named => issues.push(
            refused("", "it names no database")
                .hint("add url = \"env:DATABASE_URL\", or database and where its server is"),
        ),
        (false, _) if two_places => issues
            .push(refused("socket", "it is given beside host").hint("give one of host and socket")),
        _ => {}
    }
}

fn command_source(subject: &str, command: &CommandConfig, issues: &mut Vec<Issue>) {
    if !runs(&command.command) {
        let issue = Issue::refused(subject, "command", "it names no program");
        issues.push(issue.hint("write it as command = [\"PROGRAM\", \"ARGUMENT\"]"));
    }
}

/// Allows an `ssh` table only for `via = "ssh:…"`.
fn remote(subject: &str, place: &PlaceConfig, issues: &mut Vec<Issue>) {
    let Some(ssh) = &place.ssh else {
        return;
    };
    if !matches!(&place.via, Some(Via::Ssh { .. })) {
        let issue = Issue::refused(subject, "ssh", "nothing uses it");
        issues.push(issue.hint("add via = \"ssh:USER@HOST\", or remove it"));
    }
    if ssh.passphrase.is_some() && ssh.key.is_none() {
        let issue = Issue::refused(subject, "ssh.passphrase", "there is no key that it opens");
        issues.push(issue.hint(
            "add key = \"file:PATH\" beside it, or add the key to the ssh-agent and remove it",
        ));
    }
}

fn runs(command: &[String]) -> bool {
    command.first().is_some_and(|program| !program.is_empty())
}

fn commands(subject: &str, at: &str, lines: &[Vec<String>], issues: &mut Vec<Issue>) {
    for (index, _) in lines.iter().enumerate().filter(|(_, line)| !runs(line)) {
        let at = format!("{at}[{index}]");
        issues.push(Issue::refused(subject, at, "it names no program"));
    }
}

/// Reports a private key or a typing error among the keys that evidence is sealed to. Files are
/// read only when something is sealed.
pub(super) fn evidence(config: &Config, issues: &mut Vec<Issue>) {
    for (index, entry) in config.evidence.recipients.iter().enumerate() {
        if entry.trim().starts_with('/') {
            continue;
        }
        if let Err(error) = AgeRecipients::parse(std::slice::from_ref(entry)) {
            let at = format!("recipients[{index}]");
            let issue = Issue::refused("evidence", at, error.to_string());
            issues.push(issue.hint(error.hint.unwrap_or_default()));
        }
    }
}

pub(super) fn stores(config: &Config, issues: &mut Vec<Issue>) {
    for (name, store) in &config.store {
        let subject = format!("store.{name}");
        if let Some(encrypt) = &store.encrypt {
            encryption(&subject, encrypt, issues);
        }
        if let Some(decrypt) = &store.decrypt {
            decryption(&subject, decrypt, issues);
        }
        if store.is_repository() {
            repository(&subject, store, issues);
        }
        match &store.kind {
            StoreKind::S3(s3) => buckets::s3_store(&subject, s3, issues),
            StoreKind::Sftp(sftp) => sftp_store(&subject, sftp, issues),
            StoreKind::Local(_) => {}
        }
    }
}

/// Checks the keys of a repository, which encrypts by itself and needs a password.
fn repository(subject: &str, store: &StoreConfig, issues: &mut Vec<Issue>) {
    let mut refused = |at: &str, message: &str, hint: &str| {
        issues.push(Issue::refused(subject, at, message).hint(hint));
    };
    if store.password.is_none() {
        refused(
            "password",
            "layout = \"repository\" needs one",
            "add password = \"file:PATH\" of a file with a long random line, and keep a copy elsewhere: nothing can be read without it",
        );
    }
    if store.encrypt.is_some() {
        refused(
            "encrypt",
            "a repository is encrypted with its password",
            "remove it; decrypt may stay for points that were stored before",
        );
    }
    if store.compress != Compress::default() {
        refused("compress", "a repository compresses by itself", "remove it");
    }
    if store.key != KEY_DEFAULT {
        let hint = "remove it: what is in a snapshot is at /SOURCE";
        refused("key", "a repository has no keys to choose", hint);
    }
}

/// Says that a text is invalid, and quotes it unless it may hold a password.
pub(super) fn invalid(text: &str, what: &str) -> String {
    match text.contains([':', '@', '?']) {
        true => format!("it is no {what}"),
        false => format!("{text:?} is no {what}"),
    }
}

/// Checks the host, user and database of a server, which must not contain a password.
fn server_parts(subject: &str, parts: [(&str, Option<&String>); 3], issues: &mut Vec<Issue>) {
    for (key, text) in parts {
        let text = text.map(String::as_str).unwrap_or_default();
        let holds_more = match key {
            "host" => text.contains(['@', '?', '#']),
            "user" => text.contains(':'),
            _ => text.contains("://"),
        };
        if holds_more {
            let issue = Issue::refused(subject, key, invalid(text, key));
            issues.push(issue.hint("write it alone; port and password have keys of their own"));
        }
    }
}

fn sftp_store(subject: &str, sftp: &SftpConfig, issues: &mut Vec<Issue>) {
    let mut refused = |at: &str, message: String, hint: &str| {
        issues.push(Issue::refused(subject, at, message).hint(hint));
    };
    // A leading `-` would be an option for `ssh`.
    if !is_name(&sftp.host, ".-_:%") {
        let message = invalid(&sftp.host, "host");
        refused(
            "host",
            message,
            "write its name or address alone; user, port and path have keys of their own",
        );
    }
    let user = sftp.user.as_deref();
    if let Some(user) = user.filter(|user| !is_name(user, "_.-\\@+$")) {
        refused("user", invalid(user, "user"), "write the name alone");
    }
    let ssh = sftp.ssh.as_ref();
    if ssh.is_some_and(|ssh| ssh.passphrase.is_some() && ssh.key.is_none()) {
        refused(
            "ssh.passphrase",
            "there is no key that it opens".to_owned(),
            "add key = \"file:PATH\" beside it, or add the key to the ssh-agent and remove it",
        );
    }
}

fn encryption(subject: &str, encrypt: &EncryptConfig, issues: &mut Vec<Issue>) {
    match (encrypt.age.is_empty(), encrypt.openpgp.is_empty()) {
        (true, true) => {
            let issue = Issue::refused(subject, "encrypt", "it names no recipient");
            issues.push(issue.hint("add age = [\"age1…\"], or remove encrypt to store in clear"));
        }
        (false, false) => {
            let message = "it is given beside age, and an object has one format";
            let issue = Issue::refused(subject, "encrypt.openpgp", message);
            issues
                .push(issue.hint("give one of age and openpgp; a second store can have the other"));
        }
        _ => {}
    }
    if let Some(sign) = &encrypt.sign {
        signing(subject, encrypt, sign, issues);
    }
}

fn signing(subject: &str, encrypt: &EncryptConfig, sign: &SignConfig, issues: &mut Vec<Issue>) {
    let mut refused = |key: &str, message: &str, hint: &str| {
        issues.push(Issue::refused(subject, key, message).hint(hint));
    };
    if encrypt.openpgp.is_empty() {
        let hint = "remove it: every manifest is signed anyway, and names the hash of each object";
        refused(
            "encrypt.sign",
            "only OpenPGP messages can be signed inside",
            hint,
        );
    }
    match (&sign.openpgp, &sign.gpg) {
        (None, None) => refused(
            "encrypt.sign",
            "it names no key",
            "add openpgp = \"file:PATH\", or remove sign",
        ),
        (Some(_), Some(_)) => refused(
            "encrypt.sign.gpg",
            "it is given beside openpgp",
            "give the secret key, or the home of the gpg that has it, not both",
        ),
        _ => {}
    }
    if sign.passphrase.is_some() && sign.openpgp.is_none() {
        let hint = match sign.gpg {
            Some(_) => "remove it: gpg asks its agent",
            None => "add openpgp = \"file:PATH\", or remove it",
        };
        refused("encrypt.sign.passphrase", "nothing uses it", hint);
    }
    let fingerprint = "give the 40 digits that `gpg --list-secret-keys` shows";
    match (&sign.key, &sign.gpg) {
        (Some(key), Some(_)) if !is_fingerprint(key) => {
            refused(
                "encrypt.sign.key",
                &format!("{key:?} is no fingerprint"),
                fingerprint,
            );
        }
        (None, Some(_)) if sign.openpgp.is_none() => refused(
            "encrypt.sign.key",
            "it does not say which key of gpg is to sign",
            fingerprint,
        ),
        (Some(_), None) => refused(
            "encrypt.sign.key",
            "nothing uses it",
            "remove it: the file that openpgp refers to holds the one key that signs",
        ),
        _ => {}
    }
}

/// Returns whether this is the fingerprint of a version 4 key, with or without the spaces that
/// `gpg --fingerprint` shows.
fn is_fingerprint(text: &str) -> bool {
    let digits = text.chars().filter(|c| *c != ' ');
    digits.clone().count() == 40 && digits.clone().all(|c| c.is_ascii_hexdigit())
}

/// Checks the decryption keys. Both formats are allowed: data stored before a change of format are
/// still read.
fn decryption(subject: &str, decrypt: &DecryptConfig, issues: &mut Vec<Issue>) {
    if decrypt.age.is_none() && decrypt.openpgp.is_none() && decrypt.gpg.is_none() {
        let issue = Issue::refused(subject, "decrypt", "it names no key");
        issues.push(issue.hint("add age = \"file:PATH\", or remove decrypt"));
        return;
    }
    if decrypt.openpgp.is_some() && decrypt.gpg.is_some() {
        let issue = Issue::refused(subject, "decrypt.gpg", "it is given beside openpgp");
        issues
            .push(issue.hint("give the secret key, or the home of the gpg that has it, not both"));
    }
    let openable = decrypt.openpgp.is_some() || decrypt.age.is_some();
    if decrypt.passphrase.is_some() && !openable {
        let issue = Issue::refused(subject, "decrypt.passphrase", "nothing uses it");
        issues.push(issue.hint("remove it: gpg asks its agent"));
    }
}

pub(super) fn plans(config: &Config, issues: &mut Vec<Issue>) {
    for (name, plan) in &config.plan {
        let subject = format!("plan.{name}");
        names(
            &subject,
            "sources",
            &plan.sources,
            &config.source,
            "source",
            issues,
        );
        names(
            &subject,
            "stores",
            &plan.stores,
            &config.store,
            "store",
            issues,
        );
        commands(&subject, "before", &plan.before, issues);
        commands(&subject, "finally", &plan.finally, issues);
        retention(&subject, plan, issues);
        if plan.skip_unchanged {
            skip_unchanged(&subject, plan, config, issues);
        }
    }
}

/// Refuses `skip_unchanged` where nothing is gained by it: a bucket is mirrored by what is new in it,
/// and a repository stores again only what changed.
fn skip_unchanged(subject: &str, plan: &PlanConfig, config: &Config, issues: &mut Vec<Issue>) {
    let sources = plan.sources.iter();
    let bucket = sources
        .filter_map(|name| Some((name, config.source.get(name)?)))
        .find(|(_, source)| source.kind.kind() == Kind::Bucket);
    if let Some((name, _)) = bucket {
        let message =
            format!("source {name} is a bucket, of which each point stores only what is new");
        let issue = Issue::refused(subject, "skip_unchanged", message);
        issues.push(issue.hint("leave skip_unchanged out, or give the bucket a plan of its own"));
    }
    let stores = plan.stores.iter();
    let repository = stores
        .filter_map(|name| Some((name, config.store.get(name)?)))
        .find(|(_, store)| store.is_repository());
    if let Some((name, _)) = repository {
        let message = format!("store {name} has a repository, which stores only what changed");
        let issue = Issue::refused(subject, "skip_unchanged", message);
        issues.push(issue.hint("leave skip_unchanged out, or give that store a plan of its own"));
    }
}

/// Checks the rules of what a plan keeps.
fn retention(subject: &str, plan: &PlanConfig, issues: &mut Vec<Issue>) {
    let here = plan.keep.iter().map(|keep| ("keep".to_owned(), keep));
    let elsewhere = plan.keep_in.iter();
    let elsewhere = elsewhere.map(|(store, keep)| (format!("keep_in.{store}"), keep));
    for (key, keep) in here.chain(elsewhere) {
        if let Keep::Rules(rules) = keep
            && rules.is_empty()
        {
            let issue = Issue::refused(subject, &key, "it keeps nothing at all");
            issues.push(issue.hint("add daily = 30 or another rule, or write keep = \"forever\""));
        }
    }
    for store in plan.keep_in.keys() {
        if !plan.stores.contains(store) {
            let known = plan.stores.iter().map(Name::as_str);
            let known: Vec<&str> = known.collect();
            let message = format!("store {store} is not among the stores of this plan");
            let issue = Issue::refused(subject, format!("keep_in.{store}"), message);
            issues.push(issue.hint(format!("they are: {}", known.join(", "))));
        }
    }
    if plan.prune_grace.seconds < GRACE_SECONDS_MIN {
        let message = "a restore that reads a point would lose it on the way";
        let issue = Issue::refused(subject, "prune_grace", message);
        issues.push(issue.hint("write 1h or more, and more than the longest restore takes"));
    }
    let own = [
        ("keep_manual", plan.keep_manual),
        ("keep_safety", plan.keep_safety),
    ];
    let mut spans: Vec<(String, Span)> = own.map(|(key, span)| (key.to_owned(), span)).into();
    for (key, keep) in plan.keep.iter().map(|keep| ("keep", keep)) {
        spans.extend(spans_of(key, keep));
    }
    for (store, keep) in &plan.keep_in {
        spans.extend(spans_of(&format!("keep_in.{store}"), keep));
    }
    for (key, span) in spans {
        if span.seconds == 0 {
            let issue = Issue::refused(subject, &key, format!("{span} is no time at all"));
            issues.push(issue.hint("write a length of time, as 30d, or leave the key out"));
        }
    }
}

/// The lengths of time among rules, with their keys.
fn spans_of(key: &str, keep: &Keep) -> Vec<(String, Span)> {
    let Keep::Rules(rules) = keep else {
        return Vec::new();
    };
    let names = ["hourly", "daily", "weekly", "monthly", "yearly"];
    let periods = names.into_iter().zip(rules.periods());
    let periods = periods.filter_map(|(name, reach)| match reach {
        Some(Reach::Span(span)) => Some((name, span)),
        Some(Reach::Count(_)) | None => None,
    });
    let within = rules.within.map(|span| ("within", span));
    let spans = periods.chain(within);
    spans
        .map(|(name, span)| (format!("{key}.{name}"), span))
        .collect()
}

/// Shortest time between the announcement that a point goes and its deletion.
const GRACE_SECONDS_MIN: u64 = 3600;

/// Checks a list of names: not empty, each known, none twice.
fn names<T>(
    subject: &str,
    key: &str,
    names: &[Name],
    known: &BTreeMap<Name, T>,
    kind: &str,
    issues: &mut Vec<Issue>,
) {
    if names.is_empty() {
        let issue = Issue::refused(subject, key, "the list is empty");
        let example = known.keys().next().map_or("NAME", Name::as_str);
        issues.push(issue.hint(format!("name at least one {kind}: {key} = [\"{example}\"]")));
    }
    for (index, name) in names.iter().enumerate() {
        let at = format!("{key}[{index}]");
        if !known.contains_key(name) {
            issues.push(unknown(subject, &at, name, known, kind));
        } else if names.iter().take(index).any(|earlier| earlier == name) {
            issues.push(Issue::refused(
                subject,
                at,
                format!("{name:?} is there twice"),
            ));
        }
    }
}

pub(super) fn unknown<T>(
    subject: &str,
    at: &str,
    name: &str,
    known: &BTreeMap<Name, T>,
    kind: &str,
) -> Issue {
    let issue = Issue::refused(subject, at, format!("there is no {kind} {name:?}"));
    match did_you_mean(name, known.keys().map(Name::as_str)) {
        Some(hint) => issue.hint(hint),
        None => issue.hint(format!("add [{kind}.{name}]")),
    }
}

pub(super) fn drills(config: &Config, issues: &mut Vec<Issue>) {
    for (name, drill) in &config.drill {
        let subject = format!("drill.{name}");
        names(
            &subject,
            "plans",
            &drill.plans,
            &config.plan,
            "plan",
            issues,
        );
        let plans: Vec<_> = drill
            .plans
            .iter()
            .filter_map(|name| Some((name, config.plan.get(name)?)))
            .collect();
        match &drill.store {
            Some(store) if !config.store.contains_key(store) => {
                issues.push(unknown(&subject, "store", store, &config.store, "store"));
            }
            Some(store) => {
                for (plan, _) in plans
                    .iter()
                    .filter(|(_, plan)| !plan.stores.contains(store))
                {
                    let message = format!("plan {plan:?} does not write to store {store:?}");
                    let issue = Issue::refused(&subject, "store", message);
                    issues.push(
                        issue.hint("drill a store of the plan, or add it to the plan's stores"),
                    );
                }
            }
            None => {}
        }
        let scope: BTreeMap<_, _> = plans
            .iter()
            .flat_map(|(_, plan)| &plan.sources)
            .filter_map(|name| Some((name.clone(), &config.source.get(name)?.kind)))
            .collect();
        checks(&subject, Target::Restored, &drill.checks, &scope, issues);
    }
}

pub(super) fn restore(config: &Config, issues: &mut Vec<Issue>) {
    commands("restore", "stop", &config.restore.stop, issues);
    commands("restore", "start", &config.restore.start, issues);
    commands("restore", "prepare", &config.restore.prepare, issues);
    commands("restore", "after", &config.restore.after, issues);
    let sources = config.source.iter();
    let scope = sources
        .map(|(name, source)| (name.clone(), &source.kind))
        .collect();
    checks(
        "restore",
        Target::Live,
        &config.restore.checks,
        &scope,
        issues,
    );
    for (index, check) in config.restore.checks.iter().enumerate() {
        if check.live.is_some() {
            let message = "a live check after a live restore compares a database with itself";
            let issue = Issue::refused("restore", format!("checks[{index}]"), message);
            issues.push(issue.hint("put it into a drill"));
        }
    }
}

/// What checks are asked of.
#[derive(Clone, Copy)]
enum Target {
    /// Throwaway targets.
    Restored,
    /// The live application.
    Live,
}

/// What is wrong with a check of the network: it asks something else than what was restored.
fn misses(subject: &str, at: &str, target: Target, check: &Check) -> Option<Issue> {
    match (check, target) {
        (Check::Http { machine: None, .. }, Target::Restored) => {
            let issue = Issue::refused(subject, at, "it asks nothing that was restored");
            Some(issue.hint("name the machine in braces: http = \"http://{machine}/\""))
        }
        _ => None,
    }
}

/// Requires each check to be of one kind, about a source of the right kind that is in `scope`.
fn checks(
    subject: &str,
    target: Target,
    checks: &[CheckConfig],
    scope: &BTreeMap<Name, &SourceKind>,
    issues: &mut Vec<Issue>,
) {
    for (index, check) in checks.iter().enumerate() {
        let at = format!("checks[{index}]");
        let check = match check.parsed() {
            Ok(check) => check,
            Err(message) => {
                issues.push(Issue::refused(subject, at, message));
                continue;
            }
        };
        if let Some(issue) = misses(subject, &at, target, &check) {
            issues.push(issue);
            continue;
        }
        issues.extend(machines::on(subject, &at, &check, scope));
        let Some(source) = check.source() else {
            continue;
        };
        let Some(kind) = scope.get(source) else {
            issues.push(unknown(subject, &at, source, scope, "source"));
            continue;
        };
        let database = matches!(
            kind,
            SourceKind::Postgres(_)
                | SourceKind::Mariadb(_)
                | SourceKind::Mysql(_)
                | SourceKind::Sqlite(_)
        );
        let (fits, wanted) = match check {
            Check::File { .. } => (matches!(kind, SourceKind::Files(_)), "a files source"),
            Check::Http { .. } | Check::Tcp { .. } | Check::Command { .. } => {
                (kind.snapshots().is_some(), "a machine")
            }
            _ => (database, "a database"),
        };
        if !fits {
            let message = format!(
                "source {source:?} is of kind {:?}, not {wanted}",
                kind.name()
            );
            issues.push(Issue::refused(subject, at, message));
        }
    }
}
