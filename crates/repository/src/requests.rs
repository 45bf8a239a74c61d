//! Runs many requests to a store at a time: for small files, and on the threads that read packs.
//!
//! Results come in the order of the inputs. After an error no further requests begin.

use crate::error::{Error, Result};
use crate::repository::Repository;
use lifeboat_store::threads::available;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::OnceLock;

/// The number of concurrent requests: they wait for the store, not for the processor.
const REQUESTS: usize = 16;

/// The threads that read packs over a network, whatever the number of processors: each waits for an
/// answer most of the time, and holds a blob or two meanwhile.
const REMOTE_READERS: usize = 8;

/// The number of threads to read packs with, on a host with this many processors.
pub(crate) fn reader_threads(repository: &Repository, processors: usize) -> usize {
    match repository.is_remote() {
        true => processors.max(REMOTE_READERS),
        false => processors,
    }
}

/// Starts a pool of threads that read packs.
pub(crate) fn reader_pool(repository: &Repository) -> Result<ThreadPool> {
    let threads = reader_threads(repository, rayon::current_num_threads());
    pool(threads, None)
}

/// The threads that read packs: the shared pool, or over a network a larger one of their own.
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

/// Starts a pool of this many threads, or of as many as the system allows; 0 means one for each
/// processor. Work that recurses deeply needs a larger stack than the default.
pub(crate) fn pool(mut threads: usize, stack_bytes: Option<usize>) -> Result<ThreadPool> {
    loop {
        let mut builder = ThreadPoolBuilder::new().num_threads(threads);
        if let Some(bytes) = stack_bytes {
            builder = builder.stack_size(bytes);
        }
        match (builder.build(), threads) {
            (Ok(pool), _) => return Ok(pool),
            (Err(error), 1) => return Err(Error::Threads(std::io::Error::other(error))),
            (Err(_), 0) => threads = (processors() / 2).max(1),
            (Err(_), _) => threads /= 2,
        }
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Starts, once, the threads shared by all work outside a pool. If rayon started them itself, it
/// would panic when the system allows fewer than it wants.
pub(crate) fn share_threads() -> Result<()> {
    static SHARED: OnceLock<bool> = OnceLock::new();
    let can_work = *SHARED.get_or_init(|| {
        let wanted = processors();
        let builder = match available(wanted) {
            0 => return false,
            some if some < wanted => ThreadPoolBuilder::new().num_threads(some.div_ceil(2)),
            _ => ThreadPoolBuilder::new(),
        };
        // Other code may have started them.
        let _ = builder.build_global();
        true
    });
    match can_work {
        true => Ok(()),
        false => Err(Error::Threads(rustix::io::Errno::AGAIN.into())),
    }
}

/// Applies a function to each of many small files, and ends at the first error.
pub(crate) fn each<T: Sync, R: Send>(
    files: &[T],
    request: impl Fn(&T) -> Result<R> + Sync + Send,
) -> Result<Vec<R>> {
    if let [] | [_] = files {
        return files.iter().map(request).collect();
    }
    let pool = pool(REQUESTS.min(files.len()), None)?;
    pool.install(|| files.par_iter().map(request).collect())
}
