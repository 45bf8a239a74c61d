//! The one small Tokio runtime in which all S3 clients of this process run, and the means to wait
//! for it from ordinary threads. Waiting parks the calling thread and nothing else, so it cannot
//! panic wherever it is called from.

use crate::StoreError;
use crate::ending::{Wait, interrupted};
use futures::future::{Either, select};
use std::future::Future;
use std::sync::OnceLock;
use tokio::runtime::{Builder, Runtime};

const WORKERS: usize = 2;

/// Runs `work` on the runtime and returns its result, unless waiting ends before.
pub(super) fn run<T, F>(wait: Wait, location: &str, work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let bounded = async move { within(wait, work).await };
    run_beside(location, bounded, || ())?.ok_or_else(|| interrupted(location))
}

/// Awaits `work`; `None` if waiting ends first, which also drops the work.
pub(super) async fn within<F: Future>(wait: Wait, work: F) -> Option<F::Output> {
    let (work, over) = (std::pin::pin!(work), std::pin::pin!(wait.over()));
    match select(work, over).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

/// Runs work that ends by itself. Meanwhile the calling thread does other work.
pub(super) fn run_beside<T, F>(
    location: &str,
    work: F,
    beside: impl FnOnce(),
) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let task = runtime(location)?.spawn(work);
    beside();
    futures::executor::block_on(task).map_err(|e| failed(location, &e))
}

/// Starts `work` on the runtime.
pub(super) fn start<F>(location: &str, work: F) -> Result<(), StoreError>
where
    F: Future<Output = ()> + Send + 'static,
{
    runtime(location)?.spawn(work);
    Ok(())
}

fn runtime(location: &str) -> Result<&'static Runtime, StoreError> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            // Tokio would panic without the first of its threads, and without the last it would
            // wait forever for a name lookup.
            if crate::threads::available(WORKERS + 1) <= WORKERS {
                return Err("threads cannot be started".to_owned());
            }
            Builder::new_multi_thread()
                .worker_threads(WORKERS)
                // For name lookups, which block.
                .max_blocking_threads(4)
                .thread_name("lifeboat-s3")
                .enable_all()
                .build()
                .map_err(|e| e.to_string())
        })
        .as_ref()
        .map_err(|e| failed(location, e))
}

fn failed(location: &str, why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Other {
        location: location.to_owned(),
        detail: format!("the client cannot run: {why}"),
    }
}
