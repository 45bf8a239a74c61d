//! Many requests to a store at a time: for small files, and the threads that read packs.
//!
//! Results come in the order of what was asked for. After an error no further requests are begun.

use crate::error::{Error, Result};
use crate::repository::Repository;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// So many are under way at a time: it is the store that they wait for, not the processor.
const REQUESTS: usize = 16;

/// So many threads read packs from a store over a network, however few processors there are: each
/// waits for an answer most of the time, and holds a blob or two meanwhile.
const REMOTE_READERS: usize = 8;

/// How many threads are to read packs where there are so many processors.
pub(crate) fn reader_threads(repository: &Repository, processors: usize) -> usize {
    match repository.is_remote() {
        true => processors.max(REMOTE_READERS),
        false => processors,
    }
}

/// A pool whose threads read packs.
pub(crate) fn reader_pool(repository: &Repository) -> Result<ThreadPool> {
    let threads = reader_threads(repository, rayon::current_num_threads());
    pool(ThreadPoolBuilder::new().num_threads(threads))
}

/// Where packs are read on all threads: those that there are anyway, or over a network more.
pub(crate) struct Readers(Option<ThreadPool>);

impl Readers {
    pub(crate) fn new(repository: &Repository) -> Result<Self> {
        let pool = repository.is_remote().then(|| reader_pool(repository));
        Ok(Readers(pool.transpose()?))
    }

    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.0 {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}

fn pool(builder: ThreadPoolBuilder) -> Result<ThreadPool> {
    let made = builder.build();
    made.map_err(|error| Error::Threads(std::io::Error::other(error)))
}

/// Does something with each of many small files, and ends at the first error.
pub(crate) fn each<T: Sync, R: Send>(
    files: &[T],
    request: impl Fn(&T) -> Result<R> + Sync + Send,
) -> Result<Vec<R>> {
    if let [] | [_] = files {
        return files.iter().map(request).collect();
    }
    let pool = pool(ThreadPoolBuilder::new().num_threads(REQUESTS.min(files.len())))?;
    pool.install(|| files.par_iter().map(request).collect())
}
