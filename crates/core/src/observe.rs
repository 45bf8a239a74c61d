//! Reports progress without printing.
//!
//! Work is reported as *tasks*. Each has an identity, a name and, where it is known, a total in
//! some unit; several may run at once. Code that works has a [`Reporter`]; code that shows progress
//! is an [`Observer`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Identity of a task in this process: several jobs may report to one observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

/// The unit a task is counted in.
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
    /// Its identity. No other task has it.
    pub id: TaskId,
    /// Its name for people: `restore db`.
    pub name: &'a str,
    /// The amount of work, where it is known.
    pub total: Option<u64>,
    /// The unit of `total`.
    pub unit: Unit,
}

/// Receives progress. Methods are called from several threads.
pub trait Observer: Send + Sync {
    /// A task begins.
    fn began(&self, _task: Task<'_>) {}
    /// A task has advanced by this amount.
    fn advanced(&self, _task: TaskId, _amount: u64) {}
    /// A task is over: done or given up.
    fn ended(&self, _task: TaskId) {}
    /// A warning that an operator should see now. It is also in the result.
    fn warned(&self, _message: &str) {}
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}

/// Reports a row of tasks to an observer; one task of the row runs at a time. Clones report to the
/// same row; [`Reporter::beside`] begins another.
#[derive(Clone)]
pub struct Reporter {
    shared: Arc<Shared>,
    row: Arc<Row>,
}

/// Identity of the next task.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// State that all rows share.
struct Shared {
    observer: Arc<dyn Observer>,
}

/// A row of tasks. Its last task ends when the last reporter of the row is dropped.
struct Row {
    shared: Arc<Shared>,
    current: Mutex<Option<TaskId>>,
}

impl Reporter {
    /// A reporter for this observer.
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        Self::of(Arc::new(Shared { observer }))
    }

    /// The observer that it reports to.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.shared.observer)
    }

    /// A reporter that reports to nobody.
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

    /// A reporter with a row of its own, for work that runs at the same time.
    pub fn beside(&self) -> Self {
        Self::of(Arc::clone(&self.shared))
    }

    /// Ends the current task and begins the next. `total_bytes` is given when it is known.
    pub fn step(&self, name: &str, total_bytes: Option<u64>) {
        self.step_in(Unit::Bytes, name, total_bytes);
    }

    /// Does what [`Self::step`] does, for a task that is counted in another unit.
    pub fn step_in(&self, unit: Unit, name: &str, total: Option<u64>) {
        let id = TaskId(NEXT.fetch_add(1, Ordering::Relaxed));
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

    /// Reports that the current task has advanced by this amount.
    pub fn advance(&self, amount: u64) {
        let current = *self.row.current();
        if let Some(task) = current {
            self.shared.observer.advanced(task, amount);
        }
    }

    /// Reports a warning that an operator should see now. It is also in the result.
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

    /// What was heard; tasks are numbered as they began.
    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>, Mutex<Vec<TaskId>>);

    impl Heard {
        fn note(&self, text: String) {
            self.0.lock().unwrap().push(text);
        }

        fn number(&self, task: TaskId) -> usize {
            let mut known = self.1.lock().unwrap();
            let place = known.iter().position(|id| *id == task);
            place.unwrap_or_else(|| {
                known.push(task);
                known.len() - 1
            }) + 1
        }
    }

    impl Observer for Heard {
        fn began(&self, task: Task<'_>) {
            let Task {
                id, name, total, ..
            } = task;
            self.note(format!("{} {name} {total:?}", self.number(id)));
        }
        fn advanced(&self, task: TaskId, amount: u64) {
            self.note(format!("{} +{amount}", self.number(task)));
        }
        fn ended(&self, task: TaskId) {
            self.note(format!("{} over", self.number(task)));
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
