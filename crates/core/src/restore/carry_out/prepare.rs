//! Stages a source beside what is live, ready to be swapped in. Nothing live is changed.

use super::{Restoring, Wanted};
use crate::error::{Code, Error, Result};
use crate::ownership;
use crate::place::{self, Within};
use crate::point::{FileAttributes, ManifestSource, PointId};
use crate::restore::leftovers::{self, Place};
use crate::restore::swap::{PreparedSwap, What, one_file_system};
use crate::source::{self, Database, Live, Placed, Target};
use crate::staging;
use std::path::{Path, PathBuf};

/// Limit on restores of one point that each keep what was live before them.
const NAMES_MAX: u32 = 1000;

impl Restoring<'_> {
    pub(super) fn prepare(&mut self, wanted: &Wanted<'_>) -> Result<Vec<PreparedSwap>> {
        let source = &wanted.source;
        let config = self
            .context
            .config
            .source
            .get(&source.name)
            .ok_or_else(|| {
                Error::new(
                    Code::Target,
                    format!(
                        "source {} is not in the configuration any more",
                        source.name
                    ),
                )
                .hint("restore it with --to, or put it back into the configuration")
            })?;
        let (kind, now) = (source.kind.known(&source.name)?, config.kind.kind());
        if !kind.lives_where(now) {
            let message = format!(
                "source {} was captured as {kind}, and the configuration has it as {now} now",
                source.name
            );
            return Err(Error::new(Code::Target, message)
                .hint("restore it with --to, or correct the kind in the configuration"));
        }
        match source::live(&config.kind)? {
            Live::Tree { roots, .. } => self.prepare_paths(wanted, &roots),
            Live::File(path) => self.prepare_paths(wanted, &[path]),
            Live::Bucket(config) => self.prepare_bucket(wanted, &config),
            Live::Database(live) => self.prepare_database(wanted, &live),
            Live::Nowhere(why) => {
                let text = format!("source {}: {why}", source.name);
                self.limits.push(text.clone());
                self.warnings.push(text);
                self.left.push(source.name.clone());
                Ok(vec![])
            }
        }
    }

    fn prepare_paths(
        &mut self,
        wanted: &Wanted<'_>,
        roots: &[PathBuf],
    ) -> Result<Vec<PreparedSwap>> {
        let (source, point) = (&wanted.source, wanted.point());
        let Some(first) = roots.first() else {
            return Ok(vec![]);
        };
        for root in roots {
            let above = root.parent().unwrap_or(root);
            ownership::led_astray(above).map_err(|error| Error {
                message: format!(
                    "source {}: {} {}",
                    source.name,
                    root.display(),
                    error.message
                ),
                ..error
            })?;
        }
        one_file_system(&source.name, roots)?;
        let made = staging::make_above(roots)?;
        let aside = place::aside::beside(first)?;
        let name = |addition: &str| format!("{point}-{}{addition}", source.name);
        let staging = free_name(|addition| {
            let name = name(addition);
            Ok(aside.look(Path::new(&name))?.is_none().then_some(name))
        })?;
        if staging != name("") {
            // A restore that was killed between the two renames of an exchange left there what was
            // live.
            self.warnings.push(format!(
                "source {}: {} was left by a restore that was ended: look whether it holds what was live before, then remove it",
                source.name,
                aside.path().join(name("")).display()
            ));
        }
        leftovers::note(
            self.context,
            &source.name,
            point,
            Place::Path(aside.path().join(&staging)),
        )?;
        let staging = aside.new_directory(&staging)?.path().to_owned();
        let mut swaps = vec![];
        let brought = self.bring(wanted, &staging, &mut Target::Files);
        if let Err(error) = brought {
            staging::remove(&staging);
            place::aside::forget_empty(first);
            staging::remove_empty(&made);
            return Err(error);
        }
        let placed = self.restored.last().map(|r| r.placed.clone());
        let made = self.forget_needless(source, roots, made, &staging, placed.as_ref());
        self.adopt_directories(wanted, &made, placed.as_ref())?;
        for root in roots {
            let aside = match &placed {
                Some(Placed::Tree(tree)) => match place_in(tree, root)? {
                    Some(aside) => aside,
                    None => continue,
                },
                Some(Placed::File(file)) => file.clone(),
                _ => continue,
            };
            self.adopt_attributes(wanted, &aside)?;
            swaps.push(PreparedSwap {
                source: source.name.clone(),
                staging: Some(staging.clone()),
                what: What::Path {
                    aside,
                    live: root.clone(),
                    keep: keep_path(root, point)?,
                },
            });
        }
        Ok(swaps)
    }

    /// Removes directories that were made above paths that the point turned out not to hold, such
    /// as optional ones that did not exist. Directories that are not empty are needed and stay.
    fn forget_needless(
        &mut self,
        source: &ManifestSource,
        roots: &[PathBuf],
        made: Vec<PathBuf>,
        staging: &Path,
        placed: Option<&Placed>,
    ) -> Vec<PathBuf> {
        let mut needed = vec![staging.to_owned()];
        for root in roots {
            match placed {
                Some(Placed::Tree(tree)) if matches!(place_in(tree, root), Ok(None)) => {
                    self.warnings.push(format!(
                        "source {}: {} was not there at capture; what is there now, if anything, is left as it is",
                        source.name,
                        root.display()
                    ));
                }
                _ => needed.push(root.clone()),
            }
        }
        let (made, needless): (Vec<_>, Vec<_>) = made
            .into_iter()
            .partition(|directory| needed.iter().any(|path| path.starts_with(directory)));
        staging::remove_empty(&needless);
        self.made.extend(made.iter().cloned());
        made
    }

    /// Gives directories above a live place that were missing the attributes they had at capture. A
    /// database has no record of them: there they get the database's owner.
    fn adopt_directories(
        &mut self,
        wanted: &Wanted<'_>,
        made: &[PathBuf],
        placed: Option<&Placed>,
    ) -> Result<()> {
        let source = &wanted.source;
        let details = wanted.fetched.details.as_ref().ok();
        let database = details.and_then(|d| d.artifact(&source.name, "database")?.attributes);
        for directory in made {
            let captured = match placed {
                Some(Placed::Tree(tree)) => place_in(tree, directory)?
                    .as_deref()
                    .and_then(staging::attributes),
                _ => database.map(|d| FileAttributes { mode: 0o750, ..d }),
            };
            let mut warning = format!(
                "the directory {} was missing and was made",
                directory.display()
            );
            if let Some(attributes) = captured
                && let Some(more) = staging::apply_attributes(directory, attributes)?
            {
                warning = format!("{warning}; {more}");
            }
            self.warnings
                .push(format!("source {}: {warning}", source.name));
        }
        Ok(())
    }

    /// Gives a database file the mode and owner it had at capture, before it is swapped in.
    fn adopt_attributes(&mut self, wanted: &Wanted<'_>, aside: &Path) -> Result<()> {
        let source = &wanted.source;
        let details = wanted.fetched.details.as_ref().ok();
        let known = details.and_then(|d| d.artifact(&source.name, "database")?.attributes);
        if let Some(attributes) = known {
            let warning = staging::apply_attributes(aside, attributes)?;
            self.warnings
                .extend(warning.map(|w| format!("source {}: {w}", source.name)));
        }
        Ok(())
    }

    fn prepare_database(
        &mut self,
        wanted: &Wanted<'_>,
        live: &Database,
    ) -> Result<Vec<PreparedSwap>> {
        let (source, point) = (&wanted.source, wanted.point());
        let name = live.name()?.to_owned();
        let suffix = point.as_str().to_lowercase().replace('-', "_");
        let aside = live.name_beside(&format!("_restored_{suffix}"))?;
        let admin = live.administrative();
        let scrubber = &self.context.scrubber;
        let ours = live.with_database(&aside).display();
        let in_use = self.restored.iter().any(
            |restored| matches!(&restored.placed, Placed::Database(other) if other.display() == ours),
        );
        if !in_use && admin.exists(&aside, scrubber)? {
            admin.drop(&aside, scrubber)?;
            self.warnings.push(format!(
                "source {}: database {aside} was left by a restore that was ended, and was removed",
                source.name
            ));
        }
        let keep = free_name(|addition| {
            let keep =
                live.name_beside(&format!("_before_{suffix}{}", addition.replace('-', "_")))?;
            Ok((!admin.exists(&keep, scrubber)?).then_some(keep))
        })?;
        let captured = wanted
            .fetched
            .details
            .as_ref()
            .ok()
            .and_then(|d| d.artifact(&source.name, "dump"));
        leftovers::note(
            self.context,
            &source.name,
            point,
            Place::Database(aside.clone()),
        )?;
        admin.create(&aside, captured.map(|d| &d.proof), &self.context.scrubber)?;
        let mut target = Target::Made(live.with_database(&aside));
        if let Err(error) = self.bring(wanted, &self.context.state.scratch(), &mut target) {
            let _ = admin.drop(&aside, &self.context.scrubber);
            return Err(error);
        }
        Ok(vec![PreparedSwap {
            source: source.name.clone(),
            staging: None,
            what: What::Database {
                admin,
                live: name,
                aside,
                keep,
            },
        }])
    }
}

/// The path that keeps what was live: set aside, and named after it and the point that replaced it.
fn keep_path(live: &Path, point: &PointId) -> Result<PathBuf> {
    let aside = place::aside::beside(live)?;
    free_name(|addition| {
        let mut name = live.file_name().unwrap_or_default().to_owned();
        name.push(format!(".before-{point}{addition}"));
        let is_free = aside.look(Path::new(&name))?.is_none();
        Ok(is_free.then(|| aside.path().join(name)))
    })
}

/// The first free name: what an earlier restore of the same point kept is not touched. `attempt` is
/// given a suffix, and returns a value if the name with it is free.
fn free_name<T>(attempt: impl Fn(&str) -> Result<Option<T>>) -> Result<T> {
    let additions = (1..=NAMES_MAX).map(|number| match number {
        1 => String::new(),
        number => format!("-{number}"),
    });
    for addition in additions {
        if let Some(name) = attempt(&addition)? {
            return Ok(name);
        }
    }
    Err(Error::new(
        Code::Target,
        format!("{NAMES_MAX} restores of this point have kept what was live before"),
    )
    .hint(
        "remove what is no longer needed of what they kept: names with `before` and the point's id",
    ))
}

/// The place of a live path in a staged tree, if it is there. Fails for an archive in which a link
/// leads to it: the target of the link is not part of the tree.
fn place_in(tree: &Path, live: &Path) -> Result<Option<PathBuf>> {
    let relative = live.strip_prefix("/").unwrap_or(live);
    let found = Within::open(tree)?.look(relative)?;
    Ok(found.map(|_| tree.join(relative)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_a_tree_leads_to_nothing_that_is_swapped_in() {
        let base = tempfile::tempdir().unwrap();
        let tree = base.path().join("tree");
        for directory in ["tree/srv/crm", "outside/crm"] {
            std::fs::create_dir_all(base.path().join(directory)).unwrap();
        }
        std::os::unix::fs::symlink(base.path().join("outside"), tree.join("opt")).unwrap();
        std::os::unix::fs::symlink("/nowhere", tree.join("srv/link")).unwrap();
        let place = |live: &str| place_in(&tree, Path::new(live));
        assert_eq!(place("/srv/crm").unwrap(), Some(tree.join("srv/crm")));
        // What was captured may itself be a link.
        assert_eq!(place("/srv/link").unwrap(), Some(tree.join("srv/link")));
        assert_eq!(place("/srv/gone/deeper").unwrap(), None);
        assert_eq!(place("/opt/crm").unwrap_err().code, Code::ObjectDamaged);
    }
}
