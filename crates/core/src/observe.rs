//! How the core tells of progress without printing.
//!
//! Work is told as *tasks*, each with an identity, a name, and where it is known a total in some
//! unit; several may be under way at once. Whoever works has a [`Reporter`]; whoever shows is an
//! [`Observer`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Which task, among those of one observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Objects of a bucket, or of a store.
    Objects,
}

/// A task that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task<'a> {
    /// Its identity, which no later task of the same observer has.
    pub id: TaskId,
    /// For people: `restore db`.
    pub name: &'a str,
    /// How much there is to do, where that is known.
    pub total: Option<u64>,
    /// Of what.
    pub unit: Unit,
}

/// Hears of progress. Methods are called from several threads.
pub trait Observer: Send + Sync {
    /// A task begins.
    fn began(&self, _task: Task<'_>) {}
    /// So much more of it is done.
    fn advanced(&self, _task: TaskId, _amount: u64) {}
    /// It is over, whether done or given up.
    fn ended(&self, _task: TaskId) {}
    /// Something an operator should see now; it is also in the result.
    fn warned(&self, _message: &str) {}
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}

/// Tells an observer of one row of tasks, of which one is under way at a time. Clones tell of the
/// same row; [`Reporter::beside`] begins another.
#[derive(Clone)]
pub struct Reporter {
    shared: Arc<Shared>,
    row: Arc<Row>,
}

/// What all rows share.
struct Shared {
    observer: Arc<dyn Observer>,
    next: AtomicU64,
}

/// One row of tasks; the last of them is over when nobody tells of it any more.
struct Row {
    shared: Arc<Shared>,
    current: Mutex<Option<TaskId>>,
}

impl Reporter {
    /// Tells this observer.
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        let next = AtomicU64::new(1);
        Self::of(Arc::new(Shared { observer, next }))
    }

    /// Tells nobody.
    pub fn silent() -> Self {
        Self::new(Arc::new(Silent))
    }

    fn of(shared: Arc<Shared>) -> Self {
        let row = Row {
            shared: Arc::clone(&shared),
            current: Mutex::default(),
        };
        Reporter {
            shared,
            row: Arc::new(row),
        }
    }

    /// A row of its own, for work that goes on at the same time.
    pub fn beside(&self) -> Self {
        Self::of(Arc::clone(&self.shared))
    }

    /// The next task begins, and the one before is over. `total_bytes` when it is known.
    pub fn step(&self, name: &str, total_bytes: Option<u64>) {
        self.step_in(Unit::Bytes, name, total_bytes);
    }

    /// The same for a task that is counted in this unit.
    pub fn step_in(&self, unit: Unit, name: &str, total: Option<u64>) {
        let id = TaskId(self.shared.next.fetch_add(1, Ordering::Relaxed));
        let before = self.row.current().replace(id);
        let observer = &self.shared.observer;
        before.into_iter().for_each(|task| observer.ended(task));
        observer.began(Task {
            id,
            name,
            total,
            unit,
        });
    }

    /// So much more of the current task is done.
    pub fn advance(&self, amount: u64) {
        let current = *self.row.current();
        if let Some(task) = current {
            self.shared.observer.advanced(task, amount);
        }
    }

    /// Something an operator should see now; it is also in the result.
    pub fn warn(&self, message: &str) {
        self.shared.observer.warned(message);
    }
}

impl Row {
    fn current(&self) -> std::sync::MutexGuard<'_, Option<TaskId>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        let last = self.current().take();
        last.into_iter()
            .for_each(|task| self.shared.observer.ended(task));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Heard {
        fn note(&self, text: String) {
            self.0.lock().unwrap().push(text);
        }
    }

    impl Observer for Heard {
        fn began(&self, task: Task<'_>) {
            let Task {
                id, name, total, ..
            } = task;
            self.note(format!("{} {name} {total:?}", id.0));
        }
        fn advanced(&self, task: TaskId, amount: u64) {
            self.note(format!("{} +{amount}", task.0));
        }
        fn ended(&self, task: TaskId) {
            self.note(format!("{} over", task.0));
        }
        fn warned(&self, message: &str) {
            self.note(message.to_owned());
        }
    }

    #[test]
    fn tasks_at_once_are_told_apart() {
        let heard = Arc::new(Heard::default());
        let one = Reporter::new(heard.clone());
        one.advance(1);
        one.step("dump", Some(10));
        let other = one.beside();
        other.step("upload", None);
        one.clone().advance(3);
        other.advance(5);
        other.warn("careful");
        drop(other);
        one.step("commit", None);
        drop(one);
        let expected = [
            "1 dump Some(10)",
            "2 upload None",
            "1 +3",
            "2 +5",
            "careful",
            "2 over",
            "1 over",
            "3 commit None",
            "3 over",
        ];
        assert_eq!(*heard.0.lock().unwrap(), expected);
    }
}
