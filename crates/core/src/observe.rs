//! How the core tells of progress without printing.

/// Hears of progress. Methods are called from several threads.
pub trait Observer: Send + Sync {
    /// A new step begins; `total_bytes` when it is known.
    fn step(&self, _what: &str, _total_bytes: Option<u64>) {}
    /// So many more bytes went through the current step.
    fn advance(&self, _bytes: u64) {}
    /// Something an operator should see now; it is also in the result.
    fn warn(&self, _message: &str) {}
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
