//! Finds out how many threads can be started, where processes or memory are limited.
//!
//! Libraries that start their own threads panic if they cannot. So this is tried before. Other
//! processes may use up what was available a moment later.

use crossbeam_channel::bounded;
use std::thread::Builder;

/// The number of threads that can be started at this moment, up to `wanted`.
pub fn available(wanted: usize) -> usize {
    let (hold, held) = bounded::<()>(0);
    let threads: Vec<_> = (0..wanted)
        .map_while(|_| {
            let held = held.clone();
            let wait = move || held.recv().is_ok();
            Builder::new().spawn(wait).ok()
        })
        .collect();
    let count = threads.len();
    drop(hold);
    for thread in threads {
        // The thread only waited.
        let _ = thread.join();
    }
    count
}

#[cfg(test)]
mod tests {
    #[test]
    fn available_threads_are_counted() {
        assert_eq!(super::available(0), 0);
        assert_eq!(super::available(3), 3);
    }
}
