//! Restores the newest snapshot of a local repository, and tells how long that took:
//! `restore REPOSITORY TARGET`, with the password in `RESTIC_PASSWORD`.
//!
//! It is for measuring, with `restic restore` beside it; `--verify`, `--sparse`, `--delete`, `--dry-run`,
//! `--if-changed` and `--threads=N` may follow.

#![allow(clippy::print_stdout, reason = "an example is a program")]

use lifeboat_repository::restore::{self, Options, Overwrite, Source};
use lifeboat_repository::{FileKind, Repository};
use lifeboat_store::LocalStore;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(target)) = (args.next(), args.next()) else {
        return Err("restore REPOSITORY TARGET".into());
    };
    let password = std::env::var("RESTIC_PASSWORD")?;
    let store = Arc::new(LocalStore::open(Path::new(&path))?);
    let repository = Repository::open(store, "", password.as_bytes())?;
    let start = Instant::now();
    let mut newest = None;
    for (id, _) in repository.list(FileKind::Snapshot)? {
        let time = repository.snapshot(&id)?.time;
        if newest.is_none_or(|(known, _)| time.at > known) {
            newest = Some((time.at, id));
        }
    }
    let (_, snapshot) = newest.ok_or("there is no snapshot")?;
    let (index, _) = repository.load_index()?;
    let mut options = Options::new(Source::Snapshot(snapshot), Path::new(&target));
    for arg in args {
        match arg.as_str() {
            "--verify" => options.verify = true,
            "--sparse" => options.sparse = true,
            "--delete" => options.delete = true,
            "--dry-run" => options.dry_run = true,
            "--if-changed" => options.overwrite = Overwrite::IfChanged,
            other => match other.strip_prefix("--threads=") {
                Some(threads) => options.threads = threads.parse()?,
                None => return Err(format!("{other} is not known").into()),
            },
        }
    }
    let report = restore::run(&repository, &index, &options)?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{report:#?}");
    println!("{seconds:.2} s");
    Ok(())
}
