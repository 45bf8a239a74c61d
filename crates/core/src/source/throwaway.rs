//! The throwaway servers that a drill restores databases into.

use super::machine::{Machine, Provider, Quarantine, Quarantined};
use super::mariadb::{Flavor, ScratchMariadb};
use super::postgres::ScratchPostgres;
use crate::config::SnapshotConfig;
use crate::error::{Code, Error, Result};
use crate::name::Name;
use crate::point::External;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Throwaway servers of one drill: PostgreSQL's by major version, the others' by source; and machines.
pub struct ScratchServers {
    base: PathBuf,
    quarantine: Quarantine,
    machines: Vec<Quarantined>,
    running: BTreeMap<u32, ScratchPostgres>,
    mariadb: BTreeMap<(Flavor, String), ScratchMariadb>,
}

impl ScratchServers {
    /// No server is started yet; all will live under `base`, and machines in that quarantine.
    pub fn new(base: &Path, quarantine: Quarantine) -> Self {
        ScratchServers {
            base: base.to_owned(),
            quarantine,
            machines: Vec::new(),
            running: BTreeMap::new(),
            mariadb: BTreeMap::new(),
        }
    }

    /// Makes a machine of a snapshot.
    pub(super) fn quarantine(
        &mut self,
        source: &Name,
        provider: Box<dyn Provider>,
        snapshot: &External,
        config: &SnapshotConfig,
    ) -> Result<Machine> {
        let (machine, quarantined) =
            self.quarantine
                .make(source, provider, snapshot, config.lifetime, config.wait)?;
        self.machines.push(quarantined);
        Ok(machine)
    }

    /// Destroys all machines. Returns what to tell of those that are still there.
    pub fn end(mut self) -> Vec<String> {
        let machines = std::mem::take(&mut self.machines).into_iter();
        machines.filter_map(Quarantined::end).collect()
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
