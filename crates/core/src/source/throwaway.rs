//! The throwaway servers that a drill restores databases into.

use super::mariadb::{Flavor, ScratchMariadb};
use super::postgres::ScratchPostgres;
use crate::error::{Code, Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Throwaway servers of one drill: PostgreSQL's by major version, the others' by source.
pub struct ScratchServers {
    base: PathBuf,
    running: BTreeMap<u32, ScratchPostgres>,
    mariadb: BTreeMap<(Flavor, String), ScratchMariadb>,
}

impl ScratchServers {
    /// No server is started yet; all will live under `base`.
    pub fn new(base: &Path) -> Self {
        ScratchServers {
            base: base.to_owned(),
            running: BTreeMap::new(),
            mariadb: BTreeMap::new(),
        }
    }

    pub(super) fn postgres(&mut self, major: Option<u32>) -> Result<&ScratchPostgres> {
        let key = major.unwrap_or(0);
        if !self.running.contains_key(&key) {
            self.running
                .insert(key, ScratchPostgres::start(&self.base, major)?);
        }
        self.running
            .get(&key)
            .ok_or_else(|| Error::new(Code::Io, "the scratch server is gone"))
    }

    pub(super) fn mariadb(&mut self, flavor: Flavor, source: &str) -> Result<&ScratchMariadb> {
        let templates = self.base.with_file_name("templates");
        let server = ScratchMariadb::start(&self.base, &templates, flavor)?;
        let key = (flavor, source.to_owned());
        self.mariadb.insert(key.clone(), server);
        self.mariadb
            .get(&key)
            .ok_or_else(|| Error::new(Code::Io, "the scratch server is gone"))
    }
}
