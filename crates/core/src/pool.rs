//! Runs jobs on a few threads and returns them in the order they were submitted.
//!
//! Guarantees: the number of jobs in flight is bounded, threads start only as they are needed, and
//! none is left when the pool is dropped. A job whose thread panicked comes back as an error. Where
//! no thread can be started, the submitting thread does the job.

use crate::error::{Error, Result};
use crate::thread;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::collections::VecDeque;
use std::io;
use std::sync::OnceLock;
use std::thread::JoinHandle;

/// A worker: does one job in place.
pub(crate) type Worker<J> = Box<dyn FnMut(&mut J) + Send>;

/// Upper limit of threads, however many cores there are: with more, the stages around the pool are
/// slower.
const WORKERS_MAX: usize = 8;

/// Number of workers that suits this host.
pub(crate) fn workers() -> usize {
    static WORKERS: OnceLock<usize> = OnceLock::new();
    let find = || std::thread::available_parallelism().map_or(1, |n| n.get().min(WORKERS_MAX));
    *WORKERS.get_or_init(find)
}

type Task<J> = (J, Sender<J>);

pub(crate) struct Pool<J: Send + 'static> {
    make_worker: Box<dyn Fn() -> Worker<J> + Send>,
    workers_max: usize,
    workers: Vec<JoinHandle<()>>,
    /// Does the jobs if no thread can be started.
    instead: Option<Worker<J>>,
    /// `None` only while dropping.
    tasks: Option<Sender<Task<J>>>,
    queue: Receiver<Task<J>>,
    pending: VecDeque<Receiver<J>>,
}

impl<J: Send + 'static> Pool<J> {
    pub(crate) fn new(
        workers_max: usize,
        make_worker: impl Fn() -> Worker<J> + Send + 'static,
    ) -> Self {
        let (tasks, queue) = unbounded();
        Pool {
            make_worker: Box::new(make_worker),
            workers_max: workers_max.max(1),
            workers: Vec::new(),
            instead: None,
            tasks: Some(tasks),
            queue,
            pending: VecDeque::new(),
        }
    }

    /// Returns true if [`Pool::next`] must be called before another job is submitted. The limit is
    /// one job for each worker and two waiting, so that no worker is idle while the caller writes a
    /// result.
    pub(crate) fn full(&self) -> bool {
        self.pending.len() >= self.workers_max + 2
    }

    /// Submits a job. The queue itself is unbounded; [`Pool::full`] is the bound.
    pub(crate) fn submit(&mut self, mut job: J) -> io::Result<()> {
        if self.workers.len() < self.workers_max && self.workers.len() <= self.pending.len() {
            self.hire();
        }
        let (done, result) = bounded(1);
        self.pending.push_back(result);
        if let Some(work) = &mut self.instead {
            work(&mut job);
            return done.send(job).map_err(|_| worker_lost());
        }
        let sent = self.tasks.as_ref().map(|tasks| tasks.send((job, done)));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(worker_lost()),
        }
    }

    /// Waits for the oldest job and returns it; `None` if none is pending.
    pub(crate) fn next(&mut self) -> io::Result<Option<J>> {
        let Some(result) = self.pending.pop_front() else {
            return Ok(None);
        };
        result.recv().map(Some).map_err(|_| worker_lost())
    }

    fn hire(&mut self) {
        let queue = self.queue.clone();
        let mut work = (self.make_worker)();
        let started = thread::start_named("worker", move || {
            for (mut job, done) in queue {
                work(&mut job);
                // Nobody waits any more when the pool is being dropped.
                let _ = done.send(job);
            }
        });
        match started {
            Ok(worker) => self.workers.push(worker),
            // Fewer threads are slower, not wrong.
            Err(_) => self.hire_no_more(),
        }
    }

    /// Stops starting threads: goes on with those that run, or with none.
    fn hire_no_more(&mut self) {
        self.workers_max = self.workers.len();
        if self.workers.is_empty() {
            self.instead = Some((self.make_worker)());
        }
    }
}

/// Does `work` with each item, on at most `workers_max` threads, and passes each result to `take`,
/// in the order of the items. Ends with the first error of `take`.
pub(crate) fn each<I: Send + 'static, T: Send + 'static>(
    workers_max: usize,
    items: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> T + Clone + Send + 'static,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let mut pool = Pool::new(workers_max, move || {
        let work = work.clone();
        Box::new(move |(item, result): &mut (Option<I>, Option<T>)| {
            *result = item.take().map(&work);
        })
    });
    let failed = |error| Error::io("work on several threads failed", &error);
    let mut items = items.into_iter();
    loop {
        let next = match pool.full() {
            true => None,
            false => items.next(),
        };
        if let Some(item) = next {
            pool.submit((Some(item), None)).map_err(failed)?;
            continue;
        }
        match pool.next().map_err(failed)? {
            Some((_, result)) => result.map_or(Ok(()), &mut take)?,
            None => return Ok(()),
        }
    }
}

fn worker_lost() -> io::Error {
    io::Error::other("a worker thread ended early")
}

impl<J: Send + 'static> Drop for Pool<J> {
    fn drop(&mut self) {
        drop(self.tasks.take());
        // Jobs that no worker has begun are dropped.
        while self.queue.try_recv().is_ok() {}
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn results_keep_the_order_though_work_does_not() {
        let mut pool = Pool::new(4, || {
            Box::new(|job: &mut u64| {
                std::thread::sleep(Duration::from_micros((*job * 7919) % 500));
                *job *= 2;
            })
        });
        let mut results = Vec::new();
        for job in 0..200u64 {
            while pool.full() {
                results.push(pool.next().unwrap().unwrap());
            }
            pool.submit(job).unwrap();
        }
        while let Some(result) = pool.next().unwrap() {
            results.push(result);
        }
        assert_eq!(results, (0..200).map(|n| n * 2).collect::<Vec<u64>>());
    }

    #[test]
    fn each_item_is_worked_on_until_one_is_refused() {
        let mut results = Vec::new();
        let work = |n: u64| n * 2;
        each(4, 0..50, work, |n| {
            results.push(n);
            Ok(())
        })
        .unwrap();
        assert_eq!(results, (0..50).map(|n| n * 2).collect::<Vec<u64>>());
        let mut taken = 0;
        let refused = each(4, 0.., work, |n| {
            taken += 1;
            match n {
                10 => Err(Error::io("refused", &worker_lost())),
                _ => Ok(()),
            }
        });
        assert!(refused.is_err());
        assert_eq!(taken, 6);
    }

    #[test]
    fn threads_come_only_as_jobs_wait() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let mut pool = Pool::new(8, move || {
            count.fetch_add(1, Ordering::Relaxed);
            Box::new(|_: &mut ()| ())
        });
        for _ in 0..10 {
            pool.submit(()).unwrap();
            pool.next().unwrap();
        }
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn jobs_are_done_even_if_no_thread_can_be_started() {
        let mut pool = Pool::new(4, || Box::new(|job: &mut u64| *job *= 2));
        pool.hire_no_more();
        let mut results = Vec::new();
        for job in 0..20 {
            while pool.full() {
                results.push(pool.next().unwrap().unwrap());
            }
            pool.submit(job).unwrap();
        }
        while let Some(result) = pool.next().unwrap() {
            results.push(result);
        }
        assert_eq!(results, (0..20).map(|n| n * 2).collect::<Vec<u64>>());
        assert!(pool.workers.is_empty());
    }

    #[test]
    fn a_panic_in_a_worker_is_an_error_and_not_a_hang() {
        let mut pool = Pool::new(1, || Box::new(|job: &mut u32| assert!(*job != 1)));
        pool.submit(0).unwrap();
        pool.submit(1).unwrap();
        pool.submit(2).unwrap();
        assert_eq!(pool.next().unwrap(), Some(0));
        assert!(pool.next().is_err());
        // The queue of a pool without workers is emptied when it is dropped.
        drop(pool);
    }
}
