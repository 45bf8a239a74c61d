//! Times, amounts and tasks in words.

use super::document::Task;
use crate::config::Period;
use jiff::Timestamp;

/// A time to the minute, UTC: `2026-11-20 06:00`.
pub(super) fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M").to_string()
}

/// A length of time: `40 s`, `3 min`, `2 h 5 min`, `3 d 4 h`.
pub(super) fn seconds(count: u64) -> String {
    match count {
        0..=59 => format!("{count} s"),
        60..=3599 => format!("{} min", count / 60),
        3600..=86_399 => two(count / 3600, "h", count % 3600 / 60, "min"),
        _ => two(count / 86_400, "d", count % 86_400 / 3600, "h"),
    }
}

fn two(large: u64, unit: &str, small: u64, smaller: &str) -> String {
    match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {smaller}"),
    }
}

/// Seconds as they were measured: `2.5 s`, `3 min`.
pub(super) fn measured(count: f64) -> String {
    if !(60.0..1e15).contains(&count) {
        return format!("{count:.1} s");
    }
    seconds(std::time::Duration::from_secs_f64(count).as_secs())
}

/// Texts with commas between them.
pub(super) fn list(texts: impl IntoIterator<Item = String>) -> String {
    texts.into_iter().collect::<Vec<_>>().join(", ")
}

/// A number with its sign: `+12 %`.
pub(super) fn percent(number: i64) -> String {
    match number {
        0 => "0 %".to_owned(),
        _ => format!("{number:+} %"),
    }
}

/// How often the items of a checklist are looked at.
pub(super) fn every(period: Period) -> &'static str {
    match period {
        Period::Day => "Daily",
        Period::Week => "Weekly",
        Period::Month => "Monthly",
        Period::Quarter => "Quarterly",
        Period::Year => "Yearly",
    }
}

/// The thing to be done.
pub(super) fn task(task: Task) -> &'static str {
    match task {
        Task::BackupsRan => "Every scheduled backup succeeded",
        Task::StoredIntact => "Stored backups were read again and are intact",
        Task::CopiesComplete => "Every store has its copy of each point",
        Task::JobsSucceeded => "No job failed",
        Task::RecentPoints => "Recent backups are there",
        Task::SizesUsual => "The sizes of the newest backups are as usual",
        Task::Decrypts => "A backup was opened with the keys, restored and compared",
        Task::WarningsRead => "Read the warnings in the logs",
        Task::MonthKept => "A backup of the month is kept by the rules",
        Task::RoomLeft => "Review the room that is left on the disks",
        Task::StoresReachable => "Every store can be reached",
        Task::DocumentationCurrent => "Bring your own documentation up to date",
        Task::RestoreTested => "Every source of every scheduled plan was restored and is equal",
        Task::ResultsRecorded => "The results of the restore tests are recorded and signed",
        Task::ProceduresUpdated => "Put what was learned into the procedures",
        Task::NextTestScheduled => "The next restore test has a date",
    }
}
