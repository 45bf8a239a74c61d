//! Sets what is wrong with a bucket and can be set, and reads it back.

use super::{Watched, judge, unknown_bucket, watched};
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::name::Name;
use lifeboat_store::bucket::Bucket;
use lifeboat_store::bucket::control::Mend;
use serde::Serialize;

/// What is set for a bucket.
#[derive(Debug, Clone, Serialize)]
pub struct Mending {
    /// Its name in the configuration.
    pub name: Name,
    /// The bucket.
    pub bucket: String,
    /// The calls, in their order.
    pub calls: Vec<Call>,
}

/// A call.
#[derive(Debug, Clone, Serialize)]
pub struct Call {
    /// What is put, for people.
    pub call: String,
    /// The action that a policy must allow.
    pub action: &'static str,
    /// Whether it is so now, which was read back; `false` before the call.
    pub done: bool,
    #[serde(skip)]
    mend: Option<Mend>,
}

fn find<'a>(context: &'a Context, name: &str) -> Result<Watched<'a>> {
    let mut all = watched(&context.config).into_iter();
    all.find(|watched| watched.name.as_str() == name)
        .ok_or_else(|| unknown_bucket(&context.config, name))
}

/// Returns what would be set for a bucket; nothing is set.
pub fn mendable(context: &Context, name: &str) -> Result<Mending> {
    let watched = find(context, name)?;
    let bucket = watched.open(context)?;
    let may_create = watched.store.is_some_and(|store| store.create);
    let mut calls = Vec::new();
    let wrong = match may_create && !bucket.exists()? {
        true => {
            calls.push(Call {
                call: format!(
                    "CreateBucket {} in {}",
                    watched.bucket, watched.server.region
                ),
                action: "s3:CreateBucket",
                done: false,
                mend: None,
            });
            vec![Mend::Versioning, Mend::PublicAccess, Mend::Encryption]
        }
        false => judge::mends(&bucket.settings()?),
    };
    calls.extend(wrong.into_iter().map(|mend| Call {
        call: mend.call().to_owned(),
        action: mend.action(),
        done: false,
        mend: Some(mend),
    }));
    Ok(Mending {
        name: watched.name.clone(),
        bucket: bucket.location().to_owned(),
        calls,
    })
}

/// Makes the calls, and says of each whether it is so then.
pub fn mend(context: &Context, mending: Mending) -> Result<Mending> {
    let watched = find(context, &mending.name)?;
    let bucket = watched.open(context)?;
    for call in &mending.calls {
        let made = match call.mend {
            Some(mend) => bucket.mend(mend),
            None => {
                let locks = watched
                    .store
                    .is_some_and(|store| store.object_lock.is_some());
                bucket.create(&watched.server.region, locks)
            }
        };
        made.map_err(|error| about(call, error.into()))?;
    }
    read_back(&bucket, mending)
}

fn about(call: &Call, error: Error) -> Error {
    Error {
        message: format!("{} was refused: {}", call.call, error.message),
        hint: Some(format!(
            "allow {} on the bucket, or let somebody run it who may",
            call.action
        )),
        ..error
    }
}

fn read_back(bucket: &Bucket, mut mending: Mending) -> Result<Mending> {
    let wrong = judge::mends(&bucket.settings()?);
    for call in &mut mending.calls {
        call.done = call.mend.is_none_or(|mend| !wrong.contains(&mend));
    }
    match mending.calls.iter().find(|call| !call.done) {
        None => Ok(mending),
        Some(call) => Err(Error::new(
            Code::Store,
            format!(
                "{} was accepted, and the bucket does not say that it is so",
                call.call
            ),
        )
        .hint("run it again; if it stays so, this server does not support it")),
    }
}
