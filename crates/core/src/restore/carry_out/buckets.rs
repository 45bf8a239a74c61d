//! Restores a bucket: to another bucket, or onto the live one.

use super::super::leftovers::{self, Place};
use super::super::swap::{PreparedSwap, What};
use super::{Restoring, Wanted};
use crate::config::{BucketConfig, SourceKind};
use crate::error::{Code, Error, Result};
use crate::given::BucketUrl;
use crate::kind::Kind;
use crate::place;
use crate::source::Target;
use crate::source::bucket::{BucketPlace, connect, put};
use crate::staging;
use std::path::Path;

impl Restoring<'_> {
    /// Restores into another bucket: on the same server and with the same credentials as the
    /// source's bucket, unless the URL says otherwise.
    pub fn restore_to_bucket(&mut self, url: &BucketUrl) -> Result<()> {
        let buckets: Vec<_> = self
            .wanted
            .iter()
            .filter(|w| w.source.kind.is(Kind::Bucket))
            .cloned()
            .collect();
        let [wanted] = buckets.as_slice() else {
            let names: Vec<_> = buckets.iter().map(|w| w.name().as_str()).collect();
            let message = format!("{} bucket sources fit, one is needed", buckets.len());
            return Err(Error::new(Code::Usage, message)
                .cause(names.join(", "))
                .hint("name it: --source NAME"));
        };
        let source = &wanted.source;
        let known = self
            .context
            .config
            .source
            .get(&source.name)
            .map(|s| &s.kind);
        let config = match known {
            Some(SourceKind::Bucket(config)) => url.config(Some(config))?,
            _ if self.context.is_cold() || url.says_where() => url.config(None)?,
            _ => {
                let message = format!("source {} is no bucket in the configuration", source.name);
                return Err(Error::new(Code::Target, message).hint(
                    "put it back, whose endpoint and credentials are used; or add them: --to s3://BUCKET/PREFIX?endpoint=URL&access_key=env:NAME&secret_key=env:NAME",
                ));
            }
        };
        let bucket = connect(&config, &self.context.scrubber)?;
        let place = BucketPlace::new(&self.context.state.scratch(), bucket, &url.prefix)?;
        self.wanted = vec![wanted.clone()];
        self.bring(
            wanted,
            &self.context.state.scratch(),
            &mut Target::Bucket(place),
        )
    }

    /// Stages objects in the state directory: a bucket has no place beside it to swap with.
    pub(super) fn prepare_bucket(
        &mut self,
        wanted: &Wanted<'_>,
        config: &BucketConfig,
    ) -> Result<Vec<PreparedSwap>> {
        let (source, point) = (&wanted.source, wanted.point());
        let state = self.context.state.private_directory(&["restores"])?;
        let aside = place::aside::within(&state)?;
        let name = format!("{point}-{}", source.name);
        leftovers::note(
            self.context,
            &source.name,
            point,
            Place::Path(aside.path().join(&name)),
        )?;
        // The remains of a killed run.
        aside.remove(Path::new(&name));
        let staging = aside.new_directory(&name)?.path().to_owned();
        if let Err(error) = self.bring(wanted, &staging, &mut Target::Files) {
            staging::remove(&staging);
            return Err(error);
        }
        let unique = self.context.clock.random();
        Ok(vec![PreparedSwap {
            source: source.name.clone(),
            what: What::Bucket(put::Aside {
                bucket: connect(config, &self.context.scrubber)?,
                prefix: config.prefix.clone().unwrap_or_default(),
                own: staging.join(&source.name),
                scratch: self.context.state.scratch(),
                keep: aside
                    .path()
                    .join(format!("{}-before-{point}-{unique:016x}", source.name)),
            }),
            staging: Some(staging),
        }])
    }
}
