//! When something runs by itself: keys that the tables of plans, drills and verifications share.

use super::text;
use crate::schedule::Schedule;
use crate::span::Span;
use crate::window::{self, Window};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When something runs by itself, and within what bounds.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct When {
    /// Schedule in cron form, five fields, UTC.
    #[serde(default)]
    #[schemars(with = "Option<text::Cron>")]
    pub schedule: Option<String>,
    /// Longest delay after the time of the schedule, so that many hosts do not begin at once. The
    /// delay of one plan on one application is always the same. Only the daemon waits it out.
    #[serde(default)]
    pub spread: Option<Span>,
    /// Windows of the week in which it is not begun: `"Mon-Fri 08:00-18:00"`, UTC.
    #[serde(default)]
    pub not_during: Vec<Window>,
    /// Time after which a run is ended.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// What to do when a run fails.
    #[serde(default)]
    pub retry: Retry,
}

impl When {
    /// The schedule, parsed. A configuration that was loaded has only schedules that parse.
    pub fn schedule(&self) -> Option<Schedule> {
        Schedule::parse(self.schedule.as_deref()?).ok()
    }

    /// The longest time between the beginnings of two runs: the longest gap of the schedule, the
    /// spread, and the longest wait for the windows to end.
    pub fn gap_max(&self) -> Option<Span> {
        let gap = self.schedule()?.gap_max().seconds;
        let spread = self.spread.map_or(0, |spread| spread.seconds);
        let wait = window::longest_wait(&self.not_during).unwrap_or(0);
        Some(Span {
            seconds: gap.saturating_add(spread).saturating_add(wait),
        })
    }
}

/// How often, and after what time, a run that failed or was partial is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Runs for one time of the schedule, the first included.
    pub attempts: u32,
    /// Time between the end of the first run and the second; it doubles with each further one.
    pub wait: Span,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            attempts: 3,
            wait: Span { seconds: 300 },
        }
    }
}
