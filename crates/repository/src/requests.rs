//! Many small requests to a store at a time.

use crate::error::{Error, Result};
use rayon::prelude::*;

/// So many are under way at a time: it is the store that they wait for, not the processor.
const REQUESTS: usize = 16;

/// Does something with each of many small files, and ends at the first error.
pub(crate) fn each<T: Sync, R: Send>(
    files: &[T],
    request: impl Fn(&T) -> Result<R> + Sync + Send,
) -> Result<Vec<R>> {
    if let [] | [_] = files {
        return files.iter().map(request).collect();
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(REQUESTS.min(files.len()))
        .build()
        .map_err(|error| Error::Threads(std::io::Error::other(error)))?;
    pool.install(|| files.par_iter().map(request).collect())
}
