//! Checks of buckets: of stores, of sources, and of those that are watched.

use super::Issue;
use super::shape::invalid;
use crate::config::{BucketServer, Config, Requirement, S3Config};

/// Refuses credentials of a bucket that contradict each other.
pub(super) fn credentials(subject: &str, server: &BucketServer, issues: &mut Vec<Issue>) {
    let mut refuse = |key: &str, message: &str, hint: &str| {
        issues.push(Issue::refused(subject, key, message.to_owned()).hint(hint.to_owned()));
    };
    let (access, secret) = (server.access_key.is_some(), server.secret_key.is_some());
    if access != secret {
        let (key, other) = match access {
            true => ("secret_key", "access_key"),
            false => ("access_key", "secret_key"),
        };
        let hint = "give both, or neither: then they are found where the AWS tools find them";
        refuse(key, &format!("{other} is given without it"), hint);
    }
    if server.session_token.is_some() && !(access && secret) {
        let hint = "give access_key and secret_key, too, or remove it";
        refuse(
            "session_token",
            "it belongs to keys that are not given",
            hint,
        );
    }
    if server.profile.is_some() && (access || secret) {
        let hint = "give the keys, or the profile that has them";
        refuse("profile", "it is given beside keys", hint);
    }
    if server.external_id.is_some() && server.role_arn.is_none() {
        refuse(
            "external_id",
            "nothing uses it",
            "add role_arn, or remove it",
        );
    }
    let role = server.role_arn.as_deref();
    if role.is_some_and(|arn| !arn.starts_with("arn:") || !arn.contains(":role/")) {
        let hint = "write arn:aws:iam::ACCOUNT:role/NAME";
        refuse("role_arn", "this is not the name of a role", hint);
    }
}

fn bucket_name(subject: &str, bucket: &str, issues: &mut Vec<Issue>) {
    if bucket.is_empty() || bucket.contains('/') {
        let issue = Issue::refused(subject, "bucket", invalid(bucket, "bucket"));
        issues.push(issue.hint("write its name alone; a path within it is its prefix"));
    }
}

pub(super) fn postures(config: &Config, issues: &mut Vec<Issue>) {
    for (name, watched) in &config.posture {
        let subject = format!("posture.{name}");
        credentials(&subject, &watched.server, issues);
        bucket_name(&subject, &watched.bucket, issues);
        if config.store.contains_key(name) {
            let what = format!("store.{name} has the same name");
            let issue = Issue::refused(&subject, "", what);
            issues.push(
                issue.hint("give it another name: each bucket of a store is watched by itself"),
            );
        }
        if watched.require.contains(&Requirement::Undeletable) {
            let issue = Issue::refused(&subject, "require", "nothing is put there to try it with");
            issues.push(issue.hint("require \"undeletable\" of stores only"));
        }
    }
}

pub(super) fn s3_store(subject: &str, s3: &S3Config, issues: &mut Vec<Issue>) {
    credentials(subject, &s3.server, issues);
    bucket_name(subject, &s3.bucket, issues);
    let encryption = s3.server_side_encryption.as_deref();
    if let Some(word) = encryption.filter(|word| !matches!(*word, "AES256" | "aws:kms")) {
        let issue = Issue::refused(
            subject,
            "server_side_encryption",
            format!("unknown word {word:?}"),
        );
        issues.push(issue.hint("use \"AES256\" or \"aws:kms\""));
    }
    if s3.kms_key_id.is_some() && encryption != Some("aws:kms") {
        let issue = Issue::refused(subject, "kms_key_id", "nothing uses it");
        issues.push(issue.hint("add server_side_encryption = \"aws:kms\""));
    }
}
